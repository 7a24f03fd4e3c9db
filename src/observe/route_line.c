#include "observe/route_line.h"

#include "base/memory.h"

#include <sched.h>

/* What has one writer is changed by a plain load and store. */
#define READ(place) atomic_load_explicit(&(place), memory_order_relaxed)
#define WRITE(place, value) atomic_store_explicit(&(place), value, memory_order_relaxed)
#define ADD_BIT(place, bit) WRITE(place, READ(place) | UINT64_C(1) << (bit))
#define ADD(place, amount) WRITE(place, READ(place) + (amount))

struct route_line *route_line_create(void)
{
    struct route_line *line = aligned_alloc(CACHE_LINE, sizeof *line);
    if (line) memset(line, 0, sizeof *line);
    return line;
}

void route_line_destroy(struct route_line *line)
{
    if (line) free(READ(line->more));
    free(line);
}

/* --- changes that a reader must not see half of --- */

static void change_begin(struct route_line *line)
{
    ADD(line->version, 1);
    atomic_thread_fence(memory_order_release);
}

static void change_end(struct route_line *line)
{
    atomic_store_explicit(&line->version, READ(line->version) + 1, memory_order_release);
}

/* --- rings: numbered from 1; those of `more` behind those of the line --- */

static struct latency_ring *ring_at(const struct route_line *line, unsigned number)
{
    struct route_line *own = (struct route_line *)line;
    if (LIKELY(number <= LATENCY_RINGS)) return &own->rings[number - 1];
    return &atomic_load_explicit(&own->more, memory_order_acquire)->rings[number - 1 - LATENCY_RINGS];
}

static _Atomic uint8_t *above_of(const struct route_line *line, unsigned number)
{
    struct route_line *own = (struct route_line *)line;
    if (LIKELY(number <= LATENCY_RINGS)) return &own->above[number - 1];
    return &atomic_load_explicit(&own->more, memory_order_acquire)->above[number - 1 - LATENCY_RINGS];
}

static bool ring_is_empty(const struct latency_ring *ring)
{
    for (unsigned i = 0; i < SHORT_STEPS + LONG_STEPS; i++) {
        if (READ(ring->counts[i])) return false;
    }
    return true;
}

/* Takes the ring that `link` names, and those above it, out of use where nothing is in them. */
static void sweep(struct route_line *line, _Atomic uint8_t *link)
{
    unsigned number = READ(*link);
    if (number == 0) return;
    _Atomic uint8_t *above = above_of(line, number);
    sweep(line, above);
    if (READ(*above) || !ring_is_empty(ring_at(line, number))) return;
    WRITE(*above, line->free_ring);
    line->free_ring = (uint8_t)number;
    WRITE(*link, 0);
}

static unsigned take_free_ring(struct route_line *line)
{
    unsigned number = line->free_ring;
    if (number == 0) return 0;
    line->free_ring = READ(*above_of(line, number));
    WRITE(*above_of(line, number), 0);
    return number;
}

/* An empty ring; 0: all are in use. */
static unsigned take_ring(struct route_line *line)
{
    unsigned number = take_free_ring(line);
    if (number) return number;
    if (line->rings_used < LATENCY_RINGS) return ++line->rings_used;
    if (line->swept_step != READ(line->step)) {
        line->swept_step = READ(line->step);
        for (unsigned bucket = 0; bucket < LATENCY_BUCKETS; bucket++) sweep(line, &line->ring_of[bucket]);
        number = take_free_ring(line);
        if (number) return number;
    }
    if (!READ(line->more)) {
        struct more_latency_rings *more = calloc(1, sizeof *more);
        if (!more) return 0;
        atomic_store_explicit(&line->more, more, memory_order_release);
    }
    return line->rings_used < LATENCY_RINGS + LATENCY_RINGS_MORE ? ++line->rings_used : 0;
}

/* Adds 1 to a place of the ring that `link` names, which is made where it isn't there; carries. False: nothing was added. */
static bool ring_add(struct route_line *line, _Atomic uint8_t *link, unsigned at)
{
    unsigned number = READ(*link);
    if (number == 0) {
        number = take_ring(line);
        if (number == 0) return false;
        atomic_store_explicit(link, (uint8_t)number, memory_order_release); /* what it names is there before it */
    }
    _Atomic uint8_t *count = &ring_at(line, number)->counts[at];
    if (READ(*count) == UINT8_MAX && !ring_add(line, above_of(line, number), at)) return false;
    WRITE(*count, (uint8_t)(READ(*count) + 1));
    return true;
}

/* In the bucket, or in the nearest one that has room. */
static void ring_add_near(struct route_line *line, unsigned bucket, unsigned at)
{
    for (unsigned distance = 0; distance < LATENCY_BUCKETS; distance++) {
        if (bucket + distance < LATENCY_BUCKETS && ring_add(line, &line->ring_of[bucket + distance], at)) return;
        if (distance <= bucket && ring_add(line, &line->ring_of[bucket - distance], at)) return;
    }
}

static void count_latency_slowly(struct route_line *line, unsigned bucket)
{
    change_begin(line);
    ADD_BIT(line->durations_used[bucket / 64], bucket % 64); /* the first one has no ring yet and comes here */
    ring_add_near(line, bucket, line->short_at);
    ring_add_near(line, bucket, SHORT_STEPS + line->long_at);
    change_end(line);
}

static void count_latency(struct route_line *line, unsigned bucket)
{
    unsigned number = READ(line->ring_of[bucket]);
    if (LIKELY(number)) {
        struct latency_ring *ring = ring_at(line, number);
        unsigned in_short = READ(ring->counts[line->short_at]),
                 in_long = READ(ring->counts[SHORT_STEPS + line->long_at]);
        if (LIKELY(in_short < UINT8_MAX && in_long < UINT8_MAX)) {
            WRITE(ring->counts[line->short_at], (uint8_t)(in_short + 1));
            WRITE(ring->counts[SHORT_STEPS + line->long_at], (uint8_t)(in_long + 1));
            return;
        }
    }
    count_latency_slowly(line, bucket);
}

/* --- the turn of a step --- */

static void add_now(struct step_counts *to, const struct route_line *line)
{
    for (unsigned i = 0; i < STATUS_CLASSES; i++) ADD(to->by_class[i], READ(line->by_class[i]));
    ADD(to->upstream_errors, READ(line->upstream_errors));
    ADD(to->bytes_in, counter_read(&line->bytes_in));
    ADD(to->bytes_out, counter_read(&line->bytes_out));
}

static void clear(struct step_counts *counts)
{
    for (unsigned i = 0; i < STATUS_CLASSES; i++) WRITE(counts->by_class[i], 0);
    WRITE(counts->upstream_errors, 0);
    WRITE(counts->bytes_in, 0);
    WRITE(counts->bytes_out, 0);
}

static void clear_rings(struct route_line *line, unsigned at)
{
    for (unsigned number = 1; number <= line->rings_used; number++) WRITE(ring_at(line, number)->counts[at], 0);
}

/* What was counted in `now` goes into the rings and the totals. */
static void keep_now(struct route_line *line)
{
    add_now(&line->short_steps[line->short_at], line);
    add_now(&line->long_steps[line->long_at], line);
    counter_add(&line->total_bytes_in, counter_read(&line->bytes_in));
    counter_add(&line->total_bytes_out, counter_read(&line->bytes_out));
    counter_add(&line->total_upstream_errors, READ(line->upstream_errors));
    for (unsigned i = 0; i < STATUS_CLASSES; i++) WRITE(line->by_class[i], 0);
    WRITE(line->upstream_errors, 0);
    WRITE(line->bytes_in.value, 0);
    WRITE(line->bytes_out.value, 0);
}

/* Steps that begin, and those in which nothing was counted, are empty. */
static void turn(struct route_line *line, uint32_t step)
{
    uint32_t before = READ(line->step);
    uint32_t long_before = before / STEPS_A_LONG_STEP, long_step = step / STEPS_A_LONG_STEP;
    uint32_t steps = step - before < SHORT_STEPS ? step - before : SHORT_STEPS;
    uint32_t long_steps = long_step - long_before < LONG_STEPS ? long_step - long_before : LONG_STEPS;
    change_begin(line);
    keep_now(line);
    for (uint32_t i = 0; i < steps; i++) {
        clear(&line->short_steps[(step - i) % SHORT_STEPS]);
        clear_rings(line, (step - i) % SHORT_STEPS);
    }
    for (uint32_t i = 0; i < long_steps; i++) {
        clear(&line->long_steps[(long_step - i) % LONG_STEPS]);
        clear_rings(line, SHORT_STEPS + (long_step - i) % LONG_STEPS);
    }
    line->short_at = (uint8_t)(step % SHORT_STEPS);
    line->long_at = (uint8_t)(long_step % LONG_STEPS);
    WRITE(line->step, step);
    change_end(line);
}

/* --- counting --- */

/* Beginning with the length of both rings, so that no step in them has a number below 0. */
static uint32_t step_of(uint64_t now_ns) { return (uint32_t)(now_ns / STEP_NS) + STEPS_A_LONG_STEP * LONG_STEPS; }

static unsigned class_of(unsigned status)
{
    unsigned class = status / 100;
    return class < STATUS_CLASSES ? class : 0;
}

static void count_request(struct route_line *line, unsigned kind)
{
    if (UNLIKELY(counter_read(&line->requests[kind]) == 0)) ADD_BIT(line->requests_used, kind);
    counter_add(&line->requests[kind], 1);
}

void route_line_count(struct route_line *line, const struct latency_scale *scale, const struct exchange_record *record,
                      uint64_t now_ns)
{
    uint32_t step = step_of(now_ns);
    uint64_t duration_us = record->duration_ns / 1000;
    unsigned class = class_of(record->status), bucket = latency_bucket(scale, duration_us);
    if (UNLIKELY(step > READ(line->step))) turn(line, step);
    ADD(line->by_class[class], 1);
    counter_add(&line->bytes_in, record->bytes_in);
    counter_add(&line->bytes_out, record->bytes_out);
    counter_add(&line->duration_sum_us, duration_us);
    if (record->upstream_failed) ADD(line->upstream_errors, 1);
    count_request(line, record->method * STATUS_CLASSES + class);
    counter_add(&line->durations[bucket], 1);
    count_latency(line, bucket);
    if (!record->upstream_ns) return;
    uint64_t upstream_us = record->upstream_ns / 1000;
    counter_add(&line->upstream[scale->bound_at[latency_bucket(scale, upstream_us)]], 1);
    counter_add(&line->upstream_sum_us, upstream_us);
}

/* --- reading --- */

static void add_step(struct window_sums *sums, const struct step_counts *counts)
{
    for (unsigned i = 0; i < STATUS_CLASSES; i++) sums->by_class[i] += READ(counts->by_class[i]);
    sums->upstream_errors += READ(counts->upstream_errors);
    sums->bytes_in += READ(counts->bytes_in);
    sums->bytes_out += READ(counts->bytes_out);
}

/* places: bit i for byte i of a ring. */
static void add_latencies(struct window_sums *sums, const struct route_line *line, uint32_t places)
{
    for (unsigned bucket = 0; bucket < LATENCY_BUCKETS; bucket++) {
        unsigned number = atomic_load_explicit(&line->ring_of[bucket], memory_order_acquire);
        for (unsigned shift = 0; number != 0 && shift < 64; shift += 8) {
            const struct latency_ring *ring = ring_at(line, number);
            for (uint32_t left = places; left; left &= left - 1)
                sums->latencies[bucket] += (uint64_t)READ(ring->counts[__builtin_ctz(left)]) << shift;
            number = atomic_load_explicit(above_of(line, number), memory_order_acquire);
        }
    }
}

static void add_running(struct window_sums *sums, const struct route_line *line)
{
    for (unsigned i = 0; i < STATUS_CLASSES; i++) sums->by_class[i] += READ(line->by_class[i]);
    sums->upstream_errors += READ(line->upstream_errors);
    sums->bytes_in += counter_read(&line->bytes_in);
    sums->bytes_out += counter_read(&line->bytes_out);
}

static void add_total(struct window_sums *sums, const struct route_line *line)
{
    for (unsigned i = 0; i < METHOD_COUNT * STATUS_CLASSES; i++)
        sums->by_class[i % STATUS_CLASSES] += counter_read(&line->requests[i]);
    for (unsigned bucket = 0; bucket < LATENCY_BUCKETS; bucket++)
        sums->latencies[bucket] += counter_read(&line->durations[bucket]);
    sums->upstream_errors += counter_read(&line->total_upstream_errors) + READ(line->upstream_errors);
    sums->bytes_in += counter_read(&line->total_bytes_in) + counter_read(&line->bytes_in);
    sums->bytes_out += counter_read(&line->total_bytes_out) + counter_read(&line->bytes_out);
}

/* Of the steps that a ring of `length` holds, those that are not too old yet at `now`, as bits. */
static uint32_t places_within(uint32_t now, uint32_t newest, uint32_t length)
{
    uint32_t places = 0;
    for (uint32_t age = now - newest; age < length; age++) places |= UINT32_C(1) << ((now - age) % length);
    return places;
}

static void add_window(struct window_sums *sums, const struct route_line *line, const struct step_counts *steps,
                       uint32_t places, unsigned first_place)
{
    for (uint32_t left = places; left; left &= left - 1) add_step(sums, &steps[__builtin_ctz(left)]);
    if (places) add_running(sums, line); /* the newest step is the last to become too old */
    add_latencies(sums, line, places << first_place);
}

static void read_once(const struct route_line *line, uint32_t now, struct window_sums sums[LINE_WINDOWS])
{
    uint32_t step = READ(line->step);
    if (now < step) now = step; /* the worker's clock has been read later */
    add_window(&sums[LINE_SHORT], line, line->short_steps, places_within(now, step, SHORT_STEPS), 0);
    add_window(&sums[LINE_LONG], line, line->long_steps,
               places_within(now / STEPS_A_LONG_STEP, step / STEPS_A_LONG_STEP, LONG_STEPS), SHORT_STEPS);
    add_total(&sums[LINE_TOTAL], line);
}

static void add_sums(struct window_sums *to, const struct window_sums *sums)
{
    for (unsigned i = 0; i < STATUS_CLASSES; i++) to->by_class[i] += sums->by_class[i];
    for (unsigned i = 0; i < LATENCY_BUCKETS; i++) to->latencies[i] += sums->latencies[i];
    to->upstream_errors += sums->upstream_errors;
    to->bytes_in += sums->bytes_in;
    to->bytes_out += sums->bytes_out;
}

void route_line_read(const struct route_line *line, uint64_t now_ns, struct window_sums sums[LINE_WINDOWS])
{
    struct window_sums read[LINE_WINDOWS];
    for (;;) {
        uint32_t version = atomic_load_explicit(&line->version, memory_order_acquire);
        memset(read, 0, sizeof read);
        if (version % 2 == 0) read_once(line, step_of(now_ns), read);
        atomic_thread_fence(memory_order_acquire);
        if (version % 2 == 0 && READ(line->version) == version) break;
        sched_yield();
    }
    for (unsigned i = 0; i < LINE_WINDOWS; i++) add_sums(&sums[i], &read[i]);
}

uint64_t route_line_span_ns(enum line_window window, uint64_t now_ns)
{
    uint64_t step_ns = window == LINE_LONG ? STEPS_A_LONG_STEP * STEP_NS : STEP_NS;
    uint64_t before = window == LINE_LONG ? LONG_STEPS - 1 : SHORT_STEPS - 1;
    return window == LINE_TOTAL ? UINT64_MAX : before * step_ns + now_ns % step_ns;
}
