/* What rate limits cost in process.
 *
 *   bench/micro/limits [--json] [--rounds N, default 7] [--keys N, default 10000000] [--memory BYTES, default 320000000]
 *
 *   policy   the filter as a request meets it (request, response_head with its headers, finish): one rule, then one in each of the four
 *            tiers; ns and instructions a call. Bars of issue 6: 150 and 400 ns.
 *   table    one key among N in random order, each asked for on its own: 50th, 99th and 99.99th of a hundred, the longest, memory. Bars: 2 us
 *            at the 99th, 320 MB, no pause.
 *   threads  two threads on one key and on keys of their own: the ratio of their processor time a call. (The bar of 1.05 is a request's, so
 *            the difference is also told, to be held against a request's own time.) */
#include "base/clock.h"
#include "base/memory.h"
#include "base/random.h"
#include "exchange/exchange.h"
#include "filters/filters.h"
#include "measure.h"
#include "shared/limit_counters.h"

#include <pthread.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define CALLS 200000
#define ROUNDS_MAX 99
#define SECOND UINT64_C(1000000000)
#define SETTLE 64 /* calls between two clearings of the arena */

static bool json;
static int rounds = 7;

/* --- the policy --- */

static struct limit_counters *new_counters(uint64_t bytes)
{
    struct error error;
    struct limit_counters *counters = limit_counters_create(bytes, 2, &error);
    if (!counters) fprintf(stderr, "%s\n", error.text), exit(1);
    return counters;
}

static const struct rate_limit_config tiers[] = {
    { .name = SLICE("everybody"), .id = SLICE("1"), .key = RATE_LIMIT_BY_GLOBAL },
    { .name = SLICE("api"), .id = SLICE("2"), .key = RATE_LIMIT_BY_ROUTE },
    { .name = SLICE("client"), .id = SLICE("3"), .key = RATE_LIMIT_BY_CLIENT_ID },
    { .name = SLICE("address"), .id = SLICE("4"), .key = RATE_LIMIT_BY_IP },
};

static void *compile(struct limit_counters *counters, struct rate_limit_config *configs, size_t count)
{
    struct problems problems;
    problems_init(&problems, NULL);
    struct policy_surroundings surroundings = { .limits = counters, .workers = 2 };
    struct filter_compile options = { .problems = &problems,
                                      .route_id = SLICE("route"),
                                      .surroundings = &surroundings };
    struct filter_config filters[COUNT_OF(tiers)] = { 0 };
    const struct filter_config *pointers[COUNT_OF(tiers)];
    void *compiled = NULL;
    for (size_t i = 0; i < count; i++) {
        filters[i] = (struct filter_config){ .config = &configs[i], .owner_id = configs[i].id };
        pointers[i] = &filters[i];
    }
    if (!filter_rate_limit.compile_all(&options, pointers, count, &compiled)) exit(1);
    problems_release(&problems);
    return compiled;
}

/* As much of an exchange as the policy looks at. */
struct bench_exchange {
    struct exchange exchange;
    struct exchange_worker worker;
    struct loop loop;
    struct request_head request;
    struct response_head response;
    struct arena arena;
    struct arena_pool pool;
};

static void begin_exchange(struct bench_exchange *bench)
{
    static const char address[] = "192.0.2.7";
    bench->loop.wall_ns = clock_wall_ns();
    bench->loop.now_ns = clock_monotonic_ns();
    bench->loop.now_ms = bench->loop.now_ns / 1000000;
    bench->worker.loop = &bench->loop;
    arena_pool_init(&bench->pool, 16, NULL);
    arena_init(&bench->arena, &bench->pool);
    bench->exchange.worker = &bench->worker;
    bench->exchange.arena = &bench->arena;
    bench->exchange.request = &bench->request;
    bench->exchange.identity.client_id = SLICE("3f1c6c1e-5d5e-4f0e-9a3e-2b7f0d1c9e55");
    bench->exchange.identity.tier = IDENTITY_TIER_NONE;
    if (!address_parse_ip(slice_of(address, sizeof address - 1), 1, &bench->exchange.client)) exit(1);
}

static void one_request(struct bench_exchange *bench, const void *compiled, void *state)
{
    struct exchange *exchange = &bench->exchange;
    memset(state, 0, filter_rate_limit.state_size);
    exchange->rate_limit_report = NULL;
    response_head_init(&bench->response, &bench->arena);
    exchange->response = &bench->response;
    if (filter_rate_limit.request(exchange, compiled, state) != FILTER_NEXT) fprintf(stderr, "refused\n"), exit(1);
    filter_rate_limit.response_head(exchange, compiled, state);
    filter_rate_limit.finish(exchange, compiled, state);
}

static void measure_policy(const char *word, const size_t *which, size_t count)
{
    static struct bench_exchange bench;
    struct limit_counters *counters = new_counters(32 << 20);
    struct rate_limit_config configs[COUNT_OF(tiers)];
    for (size_t i = 0; i < count; i++) {
        configs[i] = tiers[which[i]];
        configs[i].limit = 1000000000, configs[i].window_seconds = 1, configs[i].cost = 1, configs[i].enabled = true;
    }
    void *compiled = compile(counters, configs, count), *state = memory_allocate(filter_rate_limit.state_size);
    double each[ROUNDS_MAX];
    char counted[24];
    begin_exchange(&bench);
    for (int round = 0; round < rounds; round++) {
        uint64_t begun = thread_ns();
        for (unsigned i = 0; i < CALLS; i++) {
            one_request(&bench, compiled, state);
            if (i % SETTLE == 0) arena_release(&bench.arena);
        }
        each[round] = (double)(thread_ns() - begun) / CALLS;
    }
    instructions_begin();
    for (int i = 0; i < COUNTED_CALLS; i++) one_request(&bench, compiled, state);
    double instructions = instructions_end(COUNTED_CALLS);
    printf(json ? "{\"policy\": \"%s\", \"ns\": %.1f, \"instructions\": %s}\n"
                : "policy, %-10s %6.1f ns, %5s instructions a request\n",
           word, median(each, rounds), count_text(instructions, counted));
    arena_release(&bench.arena);
    arena_pool_release(&bench.pool);
    filter_rate_limit.release(compiled);
    free(state);
    limit_counters_destroy(counters);
}

/* --- the table --- */

static uint64_t hash_of(uint64_t key)
{
    return hash_keyed(hash_process_key(), slice_of((const char *)&key, sizeof key));
}

static uint64_t take_one(struct limit_table *table, const struct limit *limit, struct limit_share *share, uint64_t hash,
                         uint64_t now_ns)
{
    struct limit_lease lease;
    uint64_t begun = clock_monotonic_ns();
    struct limit_place place = limit_table_place(table, hash, share);
    limit_table_take(table, &place, limit, 1, now_ns, 0, &lease);
    return clock_monotonic_ns() - begun;
}

/* How long a call took, by how many: in steps of 10 ns up to 1 ms. */
struct spread {
    uint64_t counts[100001], total, longest_ns;
};

static void note(struct spread *spread, uint64_t ns)
{
    spread->counts[ns / 10 < 100000 ? ns / 10 : 100000]++;
    spread->total++;
    if (ns > spread->longest_ns) spread->longest_ns = ns;
}

static uint64_t quantile_ns(const struct spread *spread, double q)
{
    uint64_t seen = 0;
    for (unsigned i = 0;; i++) {
        seen += spread->counts[i];
        if ((double)seen >= q * (double)spread->total) return (uint64_t)i * 10 + 10;
    }
}

static void tell_spread(const char *word, const struct spread *spread, double memory_mb)
{
    printf(json ? "{\"table\": \"%s\", \"p50_ns\": %llu, \"p99_ns\": %llu, \"p9999_ns\": %llu, \"longest_us\": %.0f, "
                  "\"resident_mb\": %.0f}\n"
                : "table, %-10s p50 %llu ns, p99 %llu ns, p99.99 %llu ns, longest %.0f us; %.0f MB resident\n",
           word, (unsigned long long)quantile_ns(spread, 0.5), (unsigned long long)quantile_ns(spread, 0.99),
           (unsigned long long)quantile_ns(spread, 0.9999), (double)spread->longest_ns / 1e3, memory_mb);
}

/* First all keys come for the first time, then they come again in random order; then their windows are over, and others come. */
static void measure_table(uint64_t keys, uint64_t bytes)
{
    struct error error;
    struct limit limit;
    struct limit_share share = { 0 };
    struct random random;
    struct limit_options options = { .algorithm = LIMIT_TOKEN_BUCKET, .quota = 100, .window_seconds = 1000 };
    struct spread *spread = memory_allocate(sizeof *spread);
    memset(spread, 0, sizeof *spread); /* its pages aren't the table's */
    double before_mb = resident_mb();
    struct limit_table *table = limit_table_create(bytes, &error);
    if (!table || !limit_init(&limit, &options)) exit(1);
    random_init_seeded(&random, 1);
    for (uint64_t i = 0; i < keys; i++) note(spread, take_one(table, &limit, &share, hash_of(i), SECOND));
    tell_spread("new keys", spread, resident_mb() - before_mb);
    memset(spread, 0, sizeof *spread);
    for (uint64_t i = 0; i < keys / 4; i++)
        note(spread, take_one(table, &limit, &share, hash_of(random_below(&random, keys)), SECOND));
    tell_spread("known keys", spread, resident_mb() - before_mb);
    memset(spread, 0, sizeof *spread);
    for (uint64_t i = 0; i < keys / 4; i++)
        note(spread, take_one(table, &limit, &share, hash_of(keys + i), 3000 * SECOND));
    tell_spread("reclaimed", spread, resident_mb() - before_mb);
    struct limit_table_figures figures;
    limit_table_figures(table, SECOND, &figures);
    if (!json) printf("table: %llu keys found no place\n", (unsigned long long)figures.overflowed);
    limit_table_destroy(table);
    free(spread);
}

/* --- threads --- */

#define THREAD_CALLS 3000000

struct runner {
    pthread_t thread;
    struct limit_table *table;
    const struct limit *limit;
    struct limit_share *share;
    uint64_t hash;
    double each_ns;
};

static void *run(void *argument)
{
    struct runner *runner = argument;
    uint64_t begun = thread_ns();
    for (unsigned i = 0; i < THREAD_CALLS; i++) {
        struct limit_lease lease;
        struct limit_place place = limit_table_place(runner->table, runner->hash, runner->share);
        limit_table_take(runner->table, &place, runner->limit, 1, SECOND + i, 0, &lease);
    }
    runner->each_ns = (double)(thread_ns() - begun) / THREAD_CALLS;
    return NULL;
}

static double two_threads(struct limit_table *table, const struct limit *limit, uint64_t first, uint64_t second)
{
    struct limit_share share = { 0 };
    struct runner runners[2] = { { .hash = first }, { .hash = second } };
    for (unsigned i = 0; i < 2; i++) {
        runners[i].table = table, runners[i].limit = limit, runners[i].share = &share;
        if (pthread_create(&runners[i].thread, NULL, run, &runners[i]) != 0) exit(1);
    }
    for (unsigned i = 0; i < 2; i++) pthread_join(runners[i].thread, NULL);
    return (runners[0].each_ns + runners[1].each_ns) / 2;
}

static void measure_threads(void)
{
    struct error error;
    struct limit limit;
    struct limit_options options = { .algorithm = LIMIT_TOKEN_BUCKET, .quota = 1000000000, .window_seconds = 1 };
    double hot[ROUNDS_MAX], apart[ROUNDS_MAX];
    struct limit_table *table = limit_table_create(1 << 20, &error);
    if (!table || !limit_init(&limit, &options)) exit(1);
    for (int round = 0; round < rounds; round++) {
        hot[round] = two_threads(table, &limit, hash_of(1), hash_of(1));
        apart[round] = two_threads(table, &limit, hash_of(2), hash_of(3));
    }
    double hot_ns = median(hot, rounds), apart_ns = median(apart, rounds);
    printf(json ? "{\"threads\": 2, \"one_key_ns\": %.1f, \"own_keys_ns\": %.1f, \"difference_ns\": %.1f}\n"
                : "two threads: one key %.1f ns, keys of their own %.1f ns a call: %.1f ns more\n",
           hot_ns, apart_ns, hot_ns - apart_ns);
    limit_table_destroy(table);
}

int main(int count, char **arguments)
{
    static const size_t one[] = { 3 }, all[] = { 0, 1, 2, 3 };
    uint64_t keys = 10000000, bytes = 320000000;
    for (int i = 1; i < count; i++) {
        if (strcmp(arguments[i], "--json") == 0) {
            json = true;
        } else if (strcmp(arguments[i], "--rounds") == 0 && i + 1 < count && atoi(arguments[i + 1]) > 0) {
            rounds = atoi(arguments[++i]) < ROUNDS_MAX ? atoi(arguments[i]) : ROUNDS_MAX;
        } else if (strcmp(arguments[i], "--keys") == 0 && i + 1 < count) {
            keys = strtoull(arguments[++i], NULL, 10);
        } else if (strcmp(arguments[i], "--memory") == 0 && i + 1 < count) {
            bytes = strtoull(arguments[++i], NULL, 10);
        } else {
            fprintf(stderr, "usage: limits [--json] [--rounds N] [--keys N] [--memory BYTES]\n");
            return 2;
        }
    }
    measure_policy("one rule", one, COUNT_OF(one));
    measure_policy("four tiers", all, COUNT_OF(all));
    measure_table(keys, bytes);
    measure_threads();
    return 0;
}
