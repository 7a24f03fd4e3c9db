/* What routing costs in process: nanoseconds (and instructions) a match against the number and kind of routes, builder time and memory.
 *
 *   bench/micro/router [seconds a row, default 0.2]
 *
 * "spread" asks for routes all over the table (memory is cold), the other rows for one request again and again. */
#include "route/router.h"
#include "measure.h"

#include "base/memory.h"
#include "base/random.h"

#include <malloc.h>
#include <stdio.h>
#include <time.h>

/* ---- Tables of routes -------------------------------------------------------------------------------------------- */

struct table {
    struct route_matcher **matchers;
    size_t count;
    struct router *router;
    struct router_scratch *scratch;
    struct arena arena;
};

typedef void write_rule(size_t index, struct route_rule *, char *text, size_t size);

static struct route_matcher *matcher_of(write_rule *write, size_t index, uint64_t sequence)
{
    char text[256];
    struct route_rule rule = { .sequence = sequence };
    struct error error;
    write(index, &rule, text, sizeof text);
    struct route_matcher *matcher = route_matcher_create(&rule, NULL, &error);
    if (!matcher) {
        fprintf(stderr, "%s\n", error.text);
        exit(1);
    }
    return matcher;
}

static void report_build(const char *what, size_t count, uint64_t compile_ns, uint64_t build_ns, size_t bytes)
{
    printf("%-44s %8.1f ms compiled, %6.1f ms filed, %6.0f bytes a route\n", what, (double)compile_ns / 1e6,
           (double)build_ns / 1e6, (double)bytes / (double)count);
}

static void table_make(struct table *table, const char *what, write_rule *write, size_t count)
{
    size_t bytes = mallinfo2().uordblks;
    uint64_t begin = thread_ns();
    table->count = count;
    table->matchers = memory_allocate_array(count, sizeof *table->matchers);
    for (size_t i = 0; i < count; i++) table->matchers[i] = matcher_of(write, i, i);
    uint64_t compiled = thread_ns();
    struct router *empty = router_create();
    table->router = router_with(empty, table->matchers, count, NULL, 0);
    router_destroy(empty);
    uint64_t built = thread_ns();
    if (what) report_build(what, count, compiled - begin, built - compiled, mallinfo2().uordblks - bytes);
    table->scratch = router_scratch_create();
    arena_init(&table->arena, NULL);
}

static void table_release(struct table *table)
{
    router_destroy(table->router);
    for (size_t i = 0; i < table->count; i++) route_matcher_drop(table->matchers[i]);
    free(table->matchers);
    router_scratch_destroy(table->scratch);
    arena_release(&table->arena);
}

/* One in a hundred a regex with a prefix of its own, one in four with a parameter, one in four with '*'. */
static void write_mixed(size_t index, struct route_rule *rule, char *text, size_t size)
{
    const char *start = index % 100 == 50 ? "~" : "", *tail = "items";
    if (index % 100 == 50)
        tail = "(?<id>[0-9]+)";
    else if (index % 4 == 1)
        tail = "items/{id}/parts";
    else if (index % 4 == 3)
        tail = "*";
    snprintf(text, size, "%s/api/v1/service-%zu/%s", start, index, tail);
    rule->path = slice_from_cstring(text);
}

static void write_header(size_t index, struct route_rule *rule, char *text, size_t size)
{
    static struct route_condition condition;
    snprintf(text, size, "tenant-%zu", index);
    condition = (struct route_condition){ SLICE("X-Tenant"), slice_from_cstring(text) };
    rule->path = SLICE("/api/v1/shared");
    rule->headers = &condition;
    rule->header_count = 1;
}

static void write_middle_star(size_t index, struct route_rule *rule, char *text, size_t size)
{
    snprintf(text, size, "/api/*/orders/action-%zu", index);
    rule->path = slice_from_cstring(text);
}

static void write_regex(size_t index, struct route_rule *rule, char *text, size_t size)
{
    snprintf(text, size, "~.*/(?<kind>[a-z]+)-%zu/[0-9]+", index);
    rule->path = slice_from_cstring(text);
}

static void write_host(size_t index, struct route_rule *rule, char *text, size_t size)
{
    static struct slice host;
    snprintf(text, size, "tenant-%zu.example.com", index);
    host = slice_from_cstring(text);
    rule->path = SLICE("/api/*");
    rule->hosts = &host;
    rule->host_count = 1;
}

/* ---- Requests ---------------------------------------------------------------------------------------------------- */

static void head_init(struct request_head *head, struct arena *arena, struct slice path)
{
    static const char *const fields[][2] = {
        { "Host", "api.example.com" },
        { "User-Agent", "bench/1" },
        { "Accept", "*/*" },
        { "X-Request-Tag", "abcdef" },
    };
    request_head_init(head, arena);
    head->target.path = path;
    head->host = SLICE("api.example.com");
    for (size_t i = 0; i < COUNT_OF(fields); i++) {
        if (!headers_add(&head->headers, slice_from_cstring(fields[i][0]), slice_from_cstring(fields[i][1]))) exit(1);
    }
}

static double seconds_a_row = 0.2;

#define CALLS_A_ROUND 2000
#define ROUNDS_MAX 1000

static int compare_times(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return (left > right) - (left < right);
}

/* One head with one path after the other, until the time is up; the median of the rounds. */
static double measure(struct table *table, struct request_head *head, const struct slice *paths, size_t count,
                      enum route_result expected)
{
    struct route_match match;
    uint64_t times[ROUNDS_MAX];
    uint64_t total_ns = 0;
    size_t rounds = 0, next = 0;
    while (rounds < ROUNDS_MAX && (double)total_ns < seconds_a_row * 1e9) {
        uint64_t begin = thread_ns();
        for (unsigned i = 0; i < CALLS_A_ROUND; i++) {
            head->target.path = paths[next];
            if (++next == count) next = 0;
            enum route_result result = router_match(table->router, table->scratch, head, METHOD_GET, SLICE("GET"), NULL,
                                                    &table->arena, &match);
            if (result != expected) {
                fprintf(stderr, "%.*s: unexpected result\n", SLICE_PRINT(head->target.path));
                exit(1);
            }
        }
        times[rounds] = thread_ns() - begin;
        total_ns += times[rounds++];
    }
    qsort(times, rounds, sizeof *times, compare_times);
    return (double)times[rounds / 2] / CALLS_A_ROUND;
}

static double measure_path(struct table *table, const char *path, enum route_result expected)
{
    struct request_head head;
    head_init(&head, &table->arena, slice_from_cstring(path));
    return measure(table, &head, &head.target.path, 1, expected);
}

/* Instructions of a match that finds a route. */
static double count_path(struct table *table, const char *path)
{
    struct request_head head;
    struct route_match match;
    head_init(&head, &table->arena, slice_from_cstring(path));
    instructions_begin();
    for (int i = 0; i < COUNTED_CALLS; i++)
        (void)router_match(table->router, table->scratch, &head, METHOD_GET, SLICE("GET"), NULL, &table->arena, &match);
    return instructions_end(COUNTED_CALLS);
}

#define ROW(...) (printf(__VA_ARGS__), fflush(stdout))

/* ---- Rows -------------------------------------------------------------------------------------------------------- */

static void bench_one(void)
{
    struct table table;
    table_make(&table, NULL, write_mixed, 1);
    ROW("%-44s %8.0f ns\n", "1 route", measure_path(&table, "/api/v1/service-0/items", ROUTE_FOUND));
    table_release(&table);
}

static void bench_changes(struct table *table)
{
    uint64_t with_ns = 0, compile_ns = 0, destroy_ns = 0, worst_ns = 0;
    struct random random;
    random_init_seeded(&random, 1);
    enum { CHANGES = 2000 };
    for (unsigned i = 0; i < CHANGES; i++) {
        size_t index = random_below(&random, table->count);
        uint64_t begin = thread_ns();
        struct route_matcher *matcher = matcher_of(write_mixed, index, table->count + i);
        uint64_t compiled = thread_ns();
        struct router *next = router_with(table->router, &matcher, 1, &table->matchers[index], 1);
        uint64_t made = thread_ns();
        router_destroy(table->router);
        route_matcher_drop(table->matchers[index]);
        uint64_t destroyed = thread_ns();
        table->router = next;
        table->matchers[index] = matcher;
        compile_ns += compiled - begin;
        with_ns += made - compiled;
        destroy_ns += destroyed - made;
        if (made - compiled > worst_ns) worst_ns = made - compiled;
    }
    ROW("  %-42s %8.1f us (worst %.1f), %.1f to compile, %.1f to drop the old one\n", "one route changed",
        (double)with_ns / CHANGES / 1e3, (double)worst_ns / 1e3, (double)compile_ns / CHANGES / 1e3,
        (double)destroy_ns / CHANGES / 1e3);
}

static void bench_spread(struct table *table)
{
    size_t count = table->count < 20000 ? table->count : 20000;
    struct slice *paths = memory_allocate_array(count, sizeof *paths);
    struct request_head head;
    struct random random;
    random_init_seeded(&random, 2);
    for (size_t i = 0; i < count; i++) {
        size_t index = random_below(&random, table->count);
        const char *tail = index % 100 == 50 ? "12" : index % 4 == 1 ? "items/12/parts" : "items";
        paths[i] = arena_format(&table->arena, "/api/v1/service-%zu/%s", index, tail);
    }
    head_init(&head, &table->arena, paths[0]);
    ROW("  %-42s %8.0f ns\n", "spread", measure(table, &head, paths, count, ROUTE_FOUND));
    free(paths);
}

static void bench_mixed(size_t count)
{
    char what[64], path[128], counted[24];
    struct table table;
    snprintf(what, sizeof what, "%zu routes", count);
    table_make(&table, what, write_mixed, count);
    ROW("  %-42s %8.0f ns\n", "first", measure_path(&table, "/api/v1/service-0/items", ROUTE_FOUND));
    snprintf(path, sizeof path, "/api/v1/service-%zu/items", count - 2);
    ROW("  %-42s %8.0f ns\n", "last literal", measure_path(&table, path, ROUTE_FOUND));
    snprintf(path, sizeof path, "/api/v1/service-%zu/items/17/parts", count - 3);
    ROW("  %-42s %8.0f ns, %s instructions\n", "last with a parameter", measure_path(&table, path, ROUTE_FOUND),
        count_text(count_path(&table, path), counted));
    snprintf(path, sizeof path, "/api/v1/service-%zu/items/17/parts", count - 1);
    ROW("  %-42s %8.0f ns\n", "last with '*'", measure_path(&table, path, ROUTE_FOUND));
    snprintf(path, sizeof path, "/api/v1/service-%zu/17", count - 50);
    ROW("  %-42s %8.0f ns\n", "last regex", measure_path(&table, path, ROUTE_FOUND));
    ROW("  %-42s %8.0f ns\n", "none (404)", measure_path(&table, "/api/v1/service-x/items", ROUTE_NONE));
    bench_spread(&table);
    bench_changes(&table);
    table_release(&table);
}

static void bench_headers(size_t count)
{
    struct table table;
    struct request_head head;
    char value[64];
    struct slice path = SLICE("/api/v1/shared");
    table_make(&table, "10000 routes on one path, by header", write_header, count);
    head_init(&head, &table.arena, path);
    snprintf(value, sizeof value, "tenant-%zu", count - 1);
    if (!headers_add(&head.headers, SLICE("X-Tenant"), slice_from_cstring(value))) exit(1);
    ROW("  %-42s %8.0f ns\n", "last", measure(&table, &head, &path, 1, ROUTE_FOUND));
    table_release(&table);
}

static void bench_middle_stars(size_t count)
{
    struct table table;
    table_make(&table, "10000 routes with '*' in the middle", write_middle_star, count);
    ROW("  %-42s %8.0f ns\n", "last", measure_path(&table, "/api/a/b/orders/action-9999", ROUTE_FOUND));
    table_release(&table);
}

static void bench_hosts(size_t count)
{
    struct table table;
    struct request_head head;
    struct slice path = SLICE("/api/x");
    table_make(&table, "10000 hosts", write_host, count);
    head_init(&head, &table.arena, path);
    head.host = SLICE("tenant-9999.example.com");
    ROW("  %-42s %8.0f ns\n", "last", measure(&table, &head, &path, 1, ROUTE_FOUND));
    table_release(&table);
}

static void bench_regexes(size_t count)
{
    struct table table;
    char path[128];
    table_make(&table, "1000 regexes without prefix", write_regex, count);
    snprintf(path, sizeof path, "/shop/item-%zu/42", count - 1);
    ROW("  %-42s %8.0f ns\n", "last, one by one", measure_path(&table, path, ROUTE_FOUND));
    struct router_prefilter_source *source = router_prefilter_source_create(table.router);
    struct error error;
    uint64_t begin = thread_ns();
    struct router_prefilter *prefilter = router_prefilter_build(source, &error);
    uint64_t built = thread_ns();
    router_prefilter_source_destroy(source);
    if (!prefilter) {
        fprintf(stderr, "%s\n", error.text);
        exit(1);
    }
    struct router *next = router_with_prefilter(table.router, prefilter);
    uint64_t learnt = thread_ns();
    router_destroy(table.router);
    table.router = next;
    ROW("  %-42s %8.0f ms, %.1f us to put in force\n", "prefilter built", (double)(built - begin) / 1e6,
        (double)(learnt - built) / 1e3);
    ROW("  %-42s %8.0f ns\n", "last", measure_path(&table, path, ROUTE_FOUND));
    ROW("  %-42s %8.0f ns\n", "none (404)", measure_path(&table, "/shop/item-x/42", ROUTE_NONE));
    table_release(&table);
}

int main(int argument_count, char **arguments)
{
    if (argument_count > 1) seconds_a_row = strtod(arguments[1], NULL);
    bench_one();
    bench_mixed(10000);
    bench_mixed(100000);
    bench_headers(10000);
    bench_hosts(10000);
    bench_middle_stars(10000);
    bench_regexes(1000);
    return 0;
}
