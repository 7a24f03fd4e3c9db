/* Tokens: a request brings a fifth of one, a retry takes a whole one, so retries stay below 20 % of requests over time. Requests
 * save up to a hundred, for the moment when an instance dies with all that was in flight. A service with little
 * traffic has a floor: 3 tokens a second, as long as it has fewer than 10. */
#include "upstream/private.h"

#define REQUEST_BRINGS_MILLI 200
#define RETRY_TAKES_MILLI 1000
#define SAVED_MAX_MILLI 100000
#define FLOOR_MAX_MILLI 10000
#define FLOOR_MILLI_PER_MS 3

void budget_add_request(struct service_line *line)
{
    counter_add(&line->requests, 1);
    if (line->retry_tokens_milli < SAVED_MAX_MILLI) line->retry_tokens_milli += REQUEST_BRINGS_MILLI;
}

static void refill_floor(struct service_line *line, uint64_t now_ms)
{
    uint64_t elapsed_ms = now_ms - line->retry_refilled_ms;
    line->retry_refilled_ms = now_ms;
    if (line->retry_tokens_milli >= FLOOR_MAX_MILLI) return;
    if (elapsed_ms > FLOOR_MAX_MILLI / FLOOR_MILLI_PER_MS) elapsed_ms = FLOOR_MAX_MILLI / FLOOR_MILLI_PER_MS + 1;
    line->retry_tokens_milli += (int64_t)elapsed_ms * FLOOR_MILLI_PER_MS;
    if (line->retry_tokens_milli > FLOOR_MAX_MILLI) line->retry_tokens_milli = FLOOR_MAX_MILLI;
}

bool budget_take_retry(struct service_line *line, uint64_t now_ms)
{
    refill_floor(line, now_ms);
    if (line->retry_tokens_milli < RETRY_TAKES_MILLI) return false;
    line->retry_tokens_milli -= RETRY_TAKES_MILLI;
    counter_add(&line->retries, 1);
    return true;
}
