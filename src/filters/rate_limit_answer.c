/* filters/rate_limit_answer.c: what answers say of rate limits: X-RateLimit-Limit, -Remaining and -Reset as they are customary (Reset in
 * seconds since 1970), RateLimit and RateLimit-Policy of draft-ietf-httpapi-ratelimit-headers (seconds from now), Retry-After (RFC 9110
 * 10.2.3) and the 429 (RFC 6585 4). */
#include "filters/rate_limit.h"

#include "base/digits.h"

#define NS_A_SECOND UINT64_C(1000000000)

static uint64_t seconds_up(uint64_t ns) { return (ns + NS_A_SECOND - 1) / NS_A_SECOND; }

static bool is_refusal(const struct rate_limit_report *report) { return report->call->outcome.verdict == LIMIT_REFUSE; }

/* --- which of them --- */

struct rate_limit_report *rate_limit_least(struct rate_limit_report *one, struct rate_limit_report *other)
{
    if (!one || !other) return one ? one : other;
    if (is_refusal(one) != is_refusal(other)) return is_refusal(one) ? one : other;
    uint64_t ones = one->call->outcome.remaining * other->value->limit.burst;
    uint64_t others = other->call->outcome.remaining * one->value->limit.burst;
    return ones < others ? one : other;
}

/* --- the refusal --- */

void rate_limit_respond(struct exchange *exchange, const struct rate_limit_report *report)
{
    const struct limit *limit = &report->value->limit;
    unsigned long long quota = limit->quota, window_s = limit->window_ns / NS_A_SECOND;
    struct slice name = report->rule->name;
    if (rate_cost_is_beyond(report->value, report->call->cost))
        exchange_respond_problem(exchange, 429, "rate-limited", name,
                                 "rate limit \"%.*s\": this request costs %llu, and there are never more than %llu: it "
                                 "can't pass, however long it waits",
                                 SLICE_PRINT(name), (unsigned long long)report->call->cost,
                                 (unsigned long long)limit->burst);
    else if (limit->algorithm == LIMIT_CONCURRENCY)
        exchange_respond_problem(exchange, 429, "rate-limited", name,
                                 "rate limit \"%.*s\": %llu requests at once, and so many are under way",
                                 SLICE_PRINT(name), quota);
    else
        exchange_respond_problem(exchange, 429, "rate-limited", name,
                                 "rate limit \"%.*s\": %llu requests in %llu s, and that is used up", SLICE_PRINT(name),
                                 quota, window_s);
}

/* --- headers --- */

enum told_header { TOLD_LIMIT, TOLD_REMAINING, TOLD_RESET, TOLD_POLICY, TOLD_STATE, TOLD_COUNT };

static const struct slice told_names[TOLD_COUNT] = {
    SLICE("X-RateLimit-Limit"), SLICE("X-RateLimit-Remaining"), SLICE("X-RateLimit-Reset"), SLICE("RateLimit-Policy"),
    SLICE("RateLimit"),
};

static char *write_text(char *at, struct slice text) { return mempcpy(at, text.at, text.length); }

/* A service's own would say what isn't so here. Most have none, and one look is enough. */
static bool are_there(const struct headers *headers)
{
    for (const struct header *header = headers_next(headers, NULL); header; header = headers_next(headers, header)) {
        if (header->id != HEADER_OTHER) continue;
        for (int i = 0; i < TOLD_COUNT; i++) {
            if (slice_equal_ignore_case(header->name, told_names[i])) return true;
        }
    }
    return false;
}

static bool write_all(struct headers *headers, const struct slice values[TOLD_COUNT])
{
    bool ok = true, set = are_there(headers);
    for (int i = 0; i < TOLD_COUNT && ok; i++)
        ok = set ? headers_set(headers, told_names[i], values[i]) : headers_add(headers, told_names[i], values[i]);
    return ok;
}

/* How long until it may be tried again; 0: that would be no use, or nobody knows. */
static uint64_t retry_seconds(const struct rate_limit_report *report, uint64_t passed_ns)
{
    if (!is_refusal(report) || rate_cost_is_beyond(report->value, report->call->cost)) return 0;
    if (report->value->limit.algorithm == LIMIT_CONCURRENCY) return 1; /* when one of them has ended: soon */
    if (report->call->outcome.wait_ns == 0) return 0;
    uint64_t wait_ns = report->call->outcome.wait_ns > passed_ns ? report->call->outcome.wait_ns - passed_ns : 1;
    return seconds_up(wait_ns);
}

/* In short memory an answer goes without. */
void rate_limit_write(struct exchange *exchange, const struct rate_limit_report *report)
{
    const struct loop *loop = exchange->worker->loop;
    uint64_t passed_ns = loop->now_ns - report->at_ns;
    uint64_t full_ns = report->call->outcome.full_ns > passed_ns ? report->call->outcome.full_ns - passed_ns : 0;
    struct slice name = report->rule->quoted_name;
    char *text = arena_allocate(exchange->arena, name.length + 128);
    if (!text) return;
    struct slice values[TOLD_COUNT] = {
        [TOLD_LIMIT] = report->value->limit_text, [TOLD_POLICY] = report->value->policy_text
    };
    char *end = digits_write(text, report->call->outcome.remaining);
    values[TOLD_REMAINING] = slice_of(text, (size_t)(end - text));
    text = end;
    end = digits_write(text, seconds_up(loop->wall_ns + full_ns));
    values[TOLD_RESET] = slice_of(text, (size_t)(end - text));
    text = end;
    end = write_text(write_text(text, name), SLICE(";r="));
    end = write_text(write_text(end, values[TOLD_REMAINING]), SLICE(";t="));
    end = digits_write(end, seconds_up(full_ns));
    values[TOLD_STATE] = slice_of(text, (size_t)(end - text));
    struct headers *headers = &exchange->response->headers;
    uint64_t retry_s = retry_seconds(report, passed_ns);
    if (!write_all(headers, values) || retry_s == 0) return;
    text = end;
    end = digits_write(text, retry_s);
    if (!headers_set_known(headers, HEADER_RETRY_AFTER, slice_of(text, (size_t)(end - text)))) return;
}
