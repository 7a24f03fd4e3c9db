/* shared/limit.c: see limit.h. */
#include "shared/limit.h"

#define NS_A_SECOND UINT64_C(1000000000)
/* Of a bucket's times: so finely that the rounding of an interval is no more than a thousandth at 60 million a second. 36 years fit. */
#define TICKS_A_NS 16

#define COUNT_BITS 30
#define COUNT_MASK ((UINT64_C(1) << COUNT_BITS) - 1)

static uint64_t divide_up(uint64_t dividend, uint64_t divisor) { return (dividend + divisor - 1) / divisor; }

static uint64_t smaller(uint64_t a, uint64_t b) { return a < b ? a : b; }

static uint64_t less(uint64_t from, uint64_t what) { return from > what ? from - what : 0; }

static void init_bucket(struct limit *limit, uint64_t burst)
{
    limit->burst = burst;
    limit->interval = divide_up(limit->window_ns * TICKS_A_NS, limit->quota);
    limit->depth = burst * limit->interval;
}

static void init_sliding(struct limit *limit)
{
    while (limit->window_ns >> limit->shift >> 32) limit->shift++;
    limit->window_short = divide_up(limit->window_ns, UINT64_C(1) << limit->shift);
}

bool limit_init(struct limit *limit, const struct limit_options *options)
{
    uint64_t burst = options->burst ? options->burst : options->quota;
    *limit = (struct limit){
        .algorithm = (uint8_t)options->algorithm,
        .has_queue = options->queue_length > 0,
        .quota = options->quota,
        .burst = options->quota,
        .window_ns = options->window_seconds * NS_A_SECOND,
        .queue_length = options->queue_length,
    };
    switch (options->algorithm) {
    case LIMIT_TOKEN_BUCKET:
    case LIMIT_GCRA:
        /* In floating point: the product may not fit, and a day more or less of four years is none. */
        if ((double)burst * (double)options->window_seconds / (double)options->quota > LIMIT_FILLING_SECONDS_MAX)
            return false;
        init_bucket(limit, burst);
        break;
    case LIMIT_SLIDING_WINDOW: init_sliding(limit); break;
    case LIMIT_FIXED_WINDOW:
    case LIMIT_CONCURRENCY: break;
    }
    return true;
}

/* --- token bucket, GCRA: the state is when it will be full, in ticks --- */

static uint64_t ticks_to_ns(uint64_t ticks) { return divide_up(ticks, TICKS_A_NS); }

static uint64_t idle_at(uint64_t ns) { return smaller(divide_up(ns, NS_A_SECOND), LIMIT_NEVER_IDLE - 1); }

static void set_full_at(struct limit_state *state, uint64_t full_at)
{
    state->value = full_at;
    state->idle_at_s = idle_at(ticks_to_ns(full_at));
}

static struct limit_outcome take_of_bucket(const struct limit *limit, struct limit_state *state, uint64_t cost,
                                           uint64_t now_ns, uint64_t wait_max_ns)
{
    struct limit_outcome outcome = { .verdict = LIMIT_REFUSE };
    uint64_t now = now_ns * TICKS_A_NS;
    uint64_t ahead = less(state->value, now); /* how long until it is full */
    uint64_t added = cost * limit->interval;
    if (cost > limit->burst) {
        added = 0; /* never: it has no such many */
    } else if (ahead + added <= limit->depth) {
        outcome.verdict = LIMIT_PASS;
    } else {
        uint64_t wait = ahead + added - limit->depth;
        outcome.wait_ns = ticks_to_ns(wait);
        if (outcome.wait_ns <= wait_max_ns && divide_up(wait, limit->interval) <= limit->queue_length)
            outcome.verdict = LIMIT_WAIT;
    }
    if (outcome.verdict != LIMIT_REFUSE && cost > 0) {
        ahead += added;
        set_full_at(state, now + ahead);
    }
    outcome.full_ns = ticks_to_ns(ahead);
    outcome.remaining = less(limit->depth, ahead) / limit->interval;
    return outcome;
}

/* Let F be when the bucket will be full and F' when it would be, had this one not come: F - F' = `back` at that time. Later on, counted
 * from now where one of them is in the past, the difference shrinks only while the other bucket is full and overflows, so by no more than the
 * time gone: to take back `back` less that time never leads behind F'. */
static void refund_bucket(const struct limit *limit, struct limit_state *state, const struct limit_taken *taken,
                          uint64_t now_ns)
{
    uint64_t back = taken->cost * limit->interval;
    if (!limit->has_queue)
        set_full_at(state, less(state->value, less(back, less(now_ns, taken->at_ns) * TICKS_A_NS)));
    else if (state->value == taken->value) /* nobody stands behind it */
        set_full_at(state, taken->before);
}

/* --- fixed window: the window's number and its count, which queues push beyond the quota --- */

static uint64_t fixed_window_count(const struct limit *limit, const struct limit_state *state, uint64_t window)
{
    uint64_t count = state->value & UINT32_MAX, passed = less(window, state->value >> 32);
    if (passed == 0) return count;
    return limit->has_queue ? less(count, smaller(passed, UINT32_MAX) * limit->quota) : 0;
}

static void set_fixed_window(const struct limit *limit, struct limit_state *state, uint64_t window, uint64_t count)
{
    uint64_t windows = count ? divide_up(count, limit->quota) : 0;
    state->value = window << 32 | count;
    state->idle_at_s = count ? idle_at((window + windows) * limit->window_ns) : 0;
}

static struct limit_outcome take_of_fixed_window(const struct limit *limit, struct limit_state *state, uint64_t cost,
                                                 uint64_t now_ns, uint64_t wait_max_ns)
{
    struct limit_outcome outcome = { .verdict = LIMIT_REFUSE };
    uint64_t window = now_ns / limit->window_ns, into_window = now_ns % limit->window_ns;
    /* A clock that is read a little late must not take a window back. */
    if (state->value >> 32 > window) window = state->value >> 32, into_window = 0;
    uint64_t count = fixed_window_count(limit, state, window);
    uint64_t windows_ahead = cost ? (count + cost - 1) / limit->quota : 0;
    if (cost <= limit->quota && windows_ahead == 0) {
        outcome.verdict = LIMIT_PASS;
    } else if (cost <= limit->quota) {
        /* What does not fit into the rest of a window begins the next one. */
        uint64_t place = count % limit->quota + cost > limit->quota ? windows_ahead * limit->quota : count;
        outcome.wait_ns = windows_ahead * limit->window_ns - into_window;
        if (outcome.wait_ns <= wait_max_ns && place + cost - limit->quota <= limit->queue_length) {
            outcome.verdict = LIMIT_WAIT;
            count = place;
        }
    }
    if (outcome.verdict != LIMIT_REFUSE && cost > 0) {
        count += cost;
        set_fixed_window(limit, state, window, count);
    }
    outcome.remaining = less(limit->quota, count);
    if (count) outcome.full_ns = divide_up(count, limit->quota) * limit->window_ns - into_window;
    return outcome;
}

/* Of windows in requests, since the first one began. */
static uint64_t fixed_window_position(const struct limit *limit, uint64_t value)
{
    return (value >> 32) * limit->quota + (value & UINT32_MAX);
}

static void refund_fixed_window(const struct limit *limit, struct limit_state *state, const struct limit_taken *taken)
{
    uint64_t window = state->value >> 32;
    if (!limit->has_queue) {
        if (window == taken->value >> 32)
            set_fixed_window(limit, state, window, less(state->value & UINT32_MAX, taken->cost));
    } else if (fixed_window_position(limit, state->value) == fixed_window_position(limit, taken->value)) {
        /* Nobody stands behind it. What didn't fit into a window and began the next one leaves that free as well. */
        struct limit_state before = { .value = taken->before };
        set_fixed_window(limit, state, window, fixed_window_count(limit, &before, window));
    }
}

/* --- sliding window: two counts of 30 bits, and the last four bits of the window's number --- */

/* A state that is not idle is at most three windows old, so four bits tell them apart. */
struct sliding_window {
    uint64_t number, before, now;
};

static struct sliding_window read_sliding(const struct limit_state *state, uint64_t number)
{
    uint64_t passed = (number - (state->value >> 2 * COUNT_BITS)) & 15;
    uint64_t before = state->value >> COUNT_BITS & COUNT_MASK, now = state->value & COUNT_MASK;
    if (before == 0 && now == 0) return (struct sliding_window){ number, 0, 0 };
    if (passed == 0) return (struct sliding_window){ number, before, now };
    if (passed == 1) return (struct sliding_window){ number, now, 0 };
    /* As of a window that is to come: another thread's clock was read a little later. */
    if (passed == 15) return (struct sliding_window){ number + 1, before, now };
    return (struct sliding_window){ number, 0, 0 };
}

static void write_sliding(const struct limit *limit, struct limit_state *state, const struct sliding_window *window)
{
    state->value = (window->number & 15) << 2 * COUNT_BITS | window->before << COUNT_BITS | window->now;
    uint64_t windows = window->now ? 2 : 1;
    bool is_idle = window->now == 0 && window->before == 0;
    state->idle_at_s = is_idle ? 0 : idle_at((window->number + windows) * limit->window_ns);
}

/* What still counts of the window before, rounded up, `into_window` behind its end. */
static uint64_t sliding_share(const struct limit *limit, uint64_t count, uint64_t into_window)
{
    uint64_t left = limit->window_short - (into_window >> limit->shift);
    return divide_up(count * left, limit->window_short);
}

/* How far into a window at most `room` of the window before still counts. */
static uint64_t sliding_until(const struct limit *limit, uint64_t count, uint64_t room)
{
    if (count <= room) return 0;
    uint64_t left = room * limit->window_short / count;
    return smaller((limit->window_short - left) << limit->shift, limit->window_ns);
}

static uint64_t sliding_retry(const struct limit *limit, const struct sliding_window *window, uint64_t cost,
                              uint64_t into_window)
{
    if (cost > limit->quota) return 0;
    if (window->now + cost <= limit->quota)
        return less(sliding_until(limit, window->before, limit->quota - cost - window->now), into_window);
    return limit->window_ns - into_window + sliding_until(limit, window->now, limit->quota - cost);
}

static struct limit_outcome take_of_sliding_window(const struct limit *limit, struct limit_state *state, uint64_t cost,
                                                   uint64_t now_ns)
{
    struct limit_outcome outcome = { .verdict = LIMIT_REFUSE };
    struct sliding_window window = read_sliding(state, now_ns / limit->window_ns);
    uint64_t into_window = window.number > now_ns / limit->window_ns ? 0 : now_ns % limit->window_ns;
    uint64_t used = sliding_share(limit, window.before, into_window) + window.now;
    if (cost == 0 || used + cost <= limit->quota) {
        outcome.verdict = LIMIT_PASS;
        window.now += cost;
        used += cost;
        if (cost > 0) write_sliding(limit, state, &window);
    } else {
        outcome.wait_ns = sliding_retry(limit, &window, cost, into_window);
    }
    outcome.remaining = less(limit->quota, used);
    if (window.now || window.before) outcome.full_ns = (window.now ? 2 : 1) * limit->window_ns - into_window;
    return outcome;
}

static void refund_sliding_window(const struct limit *limit, struct limit_state *state, const struct limit_taken *taken)
{
    uint64_t number = taken->at_ns / limit->window_ns;
    uint64_t taken_at = taken->value >> 2 * COUNT_BITS, kept_at = state->value >> 2 * COUNT_BITS;
    /* It was counted in this window or, by a clock that was behind, in the next one. */
    if (taken_at != (number & 15)) number++;
    struct sliding_window window = { .number = number + ((kept_at - taken_at) & 15),
                                     .before = state->value >> COUNT_BITS & COUNT_MASK,
                                     .now = state->value & COUNT_MASK };
    if (window.number == number) {
        window.now = less(window.now, taken->cost);
    } else if (window.number == number + 1) {
        window.before = less(window.before, taken->cost);
    } else {
        return;
    }
    write_sliding(limit, state, &window);
}

/* --- concurrency --- */

static void set_under_way(struct limit_state *state, uint64_t count)
{
    state->value = count;
    state->idle_at_s = count ? LIMIT_NEVER_IDLE : 0;
}

static struct limit_outcome take_place(const struct limit *limit, struct limit_state *state, uint64_t cost)
{
    struct limit_outcome outcome = { .verdict = LIMIT_REFUSE };
    if (cost == 0 || state->value + cost <= limit->quota) {
        outcome.verdict = LIMIT_PASS;
        set_under_way(state, state->value + cost);
    }
    outcome.remaining = less(limit->quota, state->value);
    return outcome;
}

/* --- all of them --- */

struct limit_outcome limit_take(const struct limit *limit, struct limit_state *state, uint64_t cost, uint64_t now_ns,
                                uint64_t wait_max_ns)
{
    if (state->idle_at_s <= now_ns / NS_A_SECOND) *state = (struct limit_state){ 0 };
    if (!limit->has_queue) wait_max_ns = 0;
    switch ((enum limit_algorithm)limit->algorithm) {
    case LIMIT_TOKEN_BUCKET:
    case LIMIT_GCRA: break;
    case LIMIT_SLIDING_WINDOW: return take_of_sliding_window(limit, state, cost, now_ns);
    case LIMIT_FIXED_WINDOW: return take_of_fixed_window(limit, state, cost, now_ns, wait_max_ns);
    case LIMIT_CONCURRENCY: return take_place(limit, state, cost);
    }
    return take_of_bucket(limit, state, cost, now_ns, wait_max_ns);
}

void limit_refund(const struct limit *limit, struct limit_state *state, const struct limit_taken *taken,
                  uint64_t now_ns)
{
    if (state->idle_at_s <= now_ns / NS_A_SECOND) return;
    switch ((enum limit_algorithm)limit->algorithm) {
    case LIMIT_TOKEN_BUCKET:
    case LIMIT_GCRA: refund_bucket(limit, state, taken, now_ns); break;
    case LIMIT_SLIDING_WINDOW: refund_sliding_window(limit, state, taken); break;
    case LIMIT_FIXED_WINDOW: refund_fixed_window(limit, state, taken); break;
    case LIMIT_CONCURRENCY: set_under_way(state, less(state->value, taken->cost)); break;
    }
}

uint64_t limit_position(const struct limit *limit, uint64_t value)
{
    return limit->algorithm == LIMIT_FIXED_WINDOW ? fixed_window_position(limit, value) : value;
}

uint64_t limit_position_until_s(const struct limit *limit, uint64_t position)
{
    if (limit->algorithm == LIMIT_FIXED_WINDOW) return idle_at(divide_up(position, limit->quota) * limit->window_ns);
    return idle_at(ticks_to_ns(position));
}
