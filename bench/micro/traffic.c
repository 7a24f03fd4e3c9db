/* What a request id, a trace, a split's draw and a version's media type cost in process and warm: nanoseconds a call. The budget of request id
 * and trace together is 150.
 *
 * Prints the median and the best of several rounds, and the instructions; the median counts, the best says how quiet the machine was. */
#include "http/media_type.h"
#include "http/request_id.h"
#include "http/trace_context.h"
#include "measure.h"
#include "snapshot/split.h"

#include <stdlib.h>

#define ROUNDS 15
#define CALLS 200000

struct bench {
    struct request_id_source ids;
    struct random random;
    char id[REQUEST_ID_BYTES], parent[TRACEPARENT_BYTES], state[TRACESTATE_BYTES_MAX];
    char value[MEDIA_TYPE_VALUE_BYTES_MAX];
    struct slice client;
    uint64_t sum;
};

static void begin_trace(struct bench *bench)
{
    request_id_write(&bench->ids, bench->id);
    traceparent_begin(&bench->random, TRACE_SAMPLED, bench->parent);
    bench->sum += (uint8_t)bench->parent[40] + (uint8_t)bench->id[20];
}

static void continue_trace(struct bench *bench)
{
    struct traceparent parent;
    struct slice field = SLICE("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    __asm__ volatile("" : "+r"(field.at)::"memory"); /* so that it is read each time */
    request_id_write(&bench->ids, bench->id);
    PROMISE(traceparent_parse(field, &parent));
    traceparent_continue(&bench->random, &parent, bench->parent);
    bench->sum += (uint8_t)bench->parent[40] + (uint8_t)bench->id[20];
}

static void check_state(struct bench *bench)
{
    struct slice state = SLICE("rojo=00f067aa0ba902b7,congo=t61rcWkgMzE");
    __asm__ volatile("" : "+r"(state.at)::"memory");
    bench->sum += tracestate_check(state, bench->state).length;
}

static void draw_bucket(struct bench *bench) { bench->sum += split_bucket(bench->sum & 1, bench->client); }

static void read_media_type(struct bench *bench)
{
    struct slice accept = SLICE("application/vnd.api+json; version=2, */*;q=0.1");
    __asm__ volatile("" : "+r"(accept.at)::"memory");
    bench->sum += media_type_parameter(accept, SLICE("version"), bench->value).length;
}

static void measure(const char *name, void (*call)(struct bench *), struct bench *bench)
{
    double rounds[ROUNDS];
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t start = thread_ns();
        for (int i = 0; i < CALLS; i++) call(bench);
        rounds[round] = (double)(thread_ns() - start) / CALLS;
    }
    char counted[24];
    instructions_begin();
    for (int i = 0; i < COUNTED_CALLS; i++) call(bench);
    double instructions = instructions_end(COUNTED_CALLS);
    qsort(rounds, ROUNDS, sizeof rounds[0], compare_doubles);
    printf("%-44s %7.1f ns  (best %.1f), %s instructions\n", name, rounds[ROUNDS / 2], rounds[0],
           count_text(instructions, counted));
}

int main(void)
{
    static struct bench bench;
    request_id_source_init(&bench.ids);
    random_init(&bench.random);
    bench.client = SLICE("1f0e2d3c-4b5a-6978-8796-a5b4c3d2e1f0");
    measure("a request id and a new trace", begin_trace, &bench);
    measure("a request id and a trace that goes on", continue_trace, &bench);
    measure("a tracestate of two members", check_state, &bench);
    measure("a split's draw by a client id", draw_bucket, &bench);
    measure("a version in Accept", read_media_type, &bench);
    return bench.sum == 0;
}
