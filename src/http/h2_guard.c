#include "http/h2_guard.h"

#include "http/h2_output.h"

#include <nghttp2/nghttp2.h>
#include <string.h>

#define FRAMES_MAX 8192
#define FRAMES_A_SECOND 256
#define RESETS_MAX 1000
#define RESETS_A_SECOND 50

#define PRIORITY_HEAD_BYTES 13 /* the frame's, and the stream that the first one depends on */
#define REMEMBERED_STREAMS 64u

static const uint8_t frames_given_back[] = {
    [H2_USE_REQUEST] = 8,
    [H2_USE_CONTENT_RECEIVED] = 2,
    [H2_USE_CONTENT_SENT] = 4,
    [H2_USE_ANSWER] = 4,
};

void h2_guard_init(struct h2_guard *guard, uint64_t now_ms)
{
    *guard = (struct h2_guard){
        .filled_ms = now_ms,
        .frames = FRAMES_MAX,
        .resets = RESETS_MAX,
        .payload_left = NGHTTP2_CLIENT_MAGIC_LEN,
    };
}

/* --- budgets --- */

static void give_back(uint32_t *budget, uint64_t more, uint32_t most)
{
    *budget = more < most - *budget ? *budget + (uint32_t)more : most;
}

/* Time that makes less than a whole token is kept for later. */
static void refill(struct h2_guard *guard, uint64_t now_ms)
{
    uint64_t quarters = (now_ms - guard->filled_ms) / 250;
    if (quarters == 0) return;
    guard->filled_ms += quarters * 250;
    give_back(&guard->frames, quarters * FRAMES_A_SECOND / 4, FRAMES_MAX);
    give_back(&guard->resets, quarters * RESETS_A_SECOND / 4, RESETS_MAX);
}

void h2_guard_note_use(struct h2_guard *guard, enum h2_use use)
{
    give_back(&guard->frames, frames_given_back[use], FRAMES_MAX);
    if (use == H2_USE_ANSWER) give_back(&guard->resets, 1, RESETS_MAX);
}

bool h2_guard_take_reset(struct h2_guard *guard, uint64_t now_ms)
{
    refill(guard, now_ms);
    if (guard->resets == 0) return false;
    guard->resets--;
    return true;
}

/* --- streams --- */

/* Which bit stands for the stream; 0: too old to be remembered. */
static uint64_t bit_of(const struct h2_guard *guard, uint32_t stream)
{
    uint32_t age = (guard->newest - stream) / 2;
    return age < REMEMBERED_STREAMS ? (uint64_t)1 << age : 0;
}

static void open_stream(struct h2_guard *guard, uint32_t stream)
{
    uint32_t steps = (stream - guard->newest + 1) / 2; /* from 0, which is none, to 1 is one step too */
    bool forgets_all = steps >= REMEMBERED_STREAMS;
    guard->opened = forgets_all ? 1 : guard->opened << steps | 1;
    guard->ended = forgets_all ? 0 : guard->ended << steps;
    guard->newest = stream;
}

static enum h2_verdict judge_stream(struct h2_guard *guard, uint8_t type, uint8_t flags, uint32_t stream)
{
    if (stream % 2 == 0) return H2_VERDICT_GOOD; /* nghttp2 knows what to say to those */
    bool carries = type == NGHTTP2_HEADERS || type == NGHTTP2_DATA;
    if (type == NGHTTP2_HEADERS && stream > guard->newest) open_stream(guard, stream);
    if (stream > guard->newest || (!carries && type != NGHTTP2_RST_STREAM)) return H2_VERDICT_GOOD;
    uint64_t bit = bit_of(guard, stream);
    if (carries && bit && !(guard->opened & bit)) return H2_VERDICT_PROTOCOL;
    if (carries && guard->ended & bit) return H2_VERDICT_CLOSED;
    if (type == NGHTTP2_RST_STREAM || flags & NGHTTP2_FLAG_END_STREAM) guard->ended |= bit;
    return H2_VERDICT_GOOD;
}

/* --- frames --- */

static uint32_t load_31_bits(const uint8_t *at)
{
    return ((uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3]) & 0x7fffffff;
}

static uint32_t payload_of(const uint8_t *head) { return (uint32_t)head[0] << 16 | (uint32_t)head[1] << 8 | head[2]; }

static size_t head_bytes_wanted(const struct h2_guard *guard)
{
    bool has_dependency = guard->head_length >= H2_FRAME_HEAD_BYTES && guard->head[3] == NGHTTP2_PRIORITY &&
                          payload_of(guard->head) >= PRIORITY_HEAD_BYTES - H2_FRAME_HEAD_BYTES;
    return has_dependency ? PRIORITY_HEAD_BYTES : H2_FRAME_HEAD_BYTES;
}

static enum h2_verdict judge(struct h2_guard *guard)
{
    const uint8_t *head = guard->head;
    uint8_t type = head[3];
    uint32_t stream = load_31_bits(head + 5);
    if (guard->frames == 0) return H2_VERDICT_FLOOD;
    guard->frames--;
    if (type != NGHTTP2_PRIORITY) return judge_stream(guard, type, head[4], stream);
    bool is_bad = stream == 0 || (guard->head_length == PRIORITY_HEAD_BYTES && load_31_bits(head + 9) == stream);
    return is_bad ? H2_VERDICT_PROTOCOL : H2_VERDICT_GOOD; /* RFC 9113 6.3, RFC 7540 5.3.1 */
}

/* True: the head of a frame is whole. */
static bool collect_head(struct h2_guard *guard, const char **at, const char *end)
{
    for (;;) {
        size_t wanted = head_bytes_wanted(guard) - guard->head_length, there = (size_t)(end - *at);
        if (wanted == 0) return true;
        if (there == 0) return false;
        size_t part = wanted < there ? wanted : there;
        memcpy(guard->head + guard->head_length, *at, part);
        guard->head_length += (uint8_t)part;
        *at += part;
    }
}

enum h2_verdict h2_guard_look(struct h2_guard *guard, const char *bytes, size_t length, uint64_t now_ms, size_t *good)
{
    const char *at = bytes, *end = bytes + length;
    refill(guard, now_ms);
    *good = length;
    for (;;) {
        size_t skipped = guard->payload_left < (size_t)(end - at) ? guard->payload_left : (size_t)(end - at);
        guard->payload_left -= (uint32_t)skipped;
        at += skipped;
        const char *frame = at;
        if (at == end || !collect_head(guard, &at, end)) return H2_VERDICT_GOOD;
        enum h2_verdict verdict = judge(guard);
        if (verdict != H2_VERDICT_GOOD) {
            *good = (size_t)(frame - bytes);
            return verdict;
        }
        guard->payload_left = payload_of(guard->head) - (guard->head_length - H2_FRAME_HEAD_BYTES);
        guard->head_length = 0;
    }
}
