/* Workers match without a lock while the builder makes and drops versions: nothing but the prefilter's count is shared. Meant
 * for the thread sanitizer. */
#include "unit_test.h"

#include "reference.h"

#include <pthread.h>
#include <stdatomic.h>

#define WORKERS 2
#define CHANGES 300
#define REGEXES 12

/* How the gateway hands snapshots on, in small: a worker says which version it has taken up, and the builder drops one when
 * all workers are past it. */
struct shared {
    _Atomic(struct router *) newest;
    _Atomic unsigned version;
    _Atomic unsigned seen[WORKERS];
    _Atomic bool stops;
};

struct worker {
    struct shared *shared;
    unsigned index;
    unsigned wrong;
};

static const char *const paths[] = { "/stays/7", "/x/4", "/none" };
static const enum route_result results[] = { ROUTE_FOUND, ROUTE_FOUND, ROUTE_NONE };

static void *work(void *argument)
{
    struct worker *worker = argument;
    struct shared *shared = worker->shared;
    struct router_scratch *scratch = router_scratch_create();
    struct arena arena;
    arena_init(&arena, NULL);
    struct request_head head;
    request_head_init(&head, &arena);
    while (!atomic_load(&shared->stops)) {
        unsigned version = atomic_load(&shared->version);
        const struct router *router = atomic_load(&shared->newest);
        for (unsigned i = 0; i < COUNT_OF(paths); i++) {
            struct route_match match;
            head.target.path = slice_from_cstring(paths[i]);
            enum route_result result = router_match(router, scratch, &head, METHOD_GET, SLICE("GET"), NULL, &arena,
                                                    &match);
            worker->wrong += result != results[i];
        }
        atomic_store(&shared->seen[worker->index], version);
    }
    router_scratch_destroy(scratch);
    return NULL;
}

static struct route_matcher *matcher_of(const char *form, unsigned number)
{
    char path[64];
    struct error error = { .text = "" };
    snprintf(path, sizeof path, "%s%u", form, number);
    struct route_matcher *matcher = matcher_of_path(path, number, &error);
    if (!matcher) fail_msg("%s: %s", path, error.text);
    return matcher;
}

/* `seen` is the version a worker took up before its last turn; one later turn is surely past an older router. */
static void publish(struct shared *shared, struct router *next)
{
    struct router *before = atomic_exchange(&shared->newest, next);
    unsigned version = atomic_fetch_add(&shared->version, 1) + 1;
    for (unsigned i = 0; i < WORKERS; i++) {
        while (atomic_load(&shared->seen[i]) != version) sched_yield();
    }
    router_destroy(before);
}

static struct router *with_prefilter(const struct router *router)
{
    struct router_prefilter_source *source = router_prefilter_source_create(router);
    struct error error;
    struct router_prefilter *prefilter = router_prefilter_build(source, &error);
    router_prefilter_source_destroy(source);
    assert_non_null(prefilter);
    return router_with_prefilter(router, prefilter);
}

static void workers_match_while_versions_come_and_go(void **state)
{
    struct shared shared = { .version = 0 };
    struct route_matcher *matchers[REGEXES + 1];
    struct error error;
    matchers[0] = matcher_of_path("/stays/{id}", 0, &error);
    for (unsigned i = 0; i < REGEXES; i++) matchers[i + 1] = matcher_of("~.*/x/", i);
    struct router *empty = router_create();
    struct router *router = router_with(empty, matchers, COUNT_OF(matchers), NULL, 0);
    router_destroy(empty);
    for (unsigned i = 0; i < COUNT_OF(matchers); i++) route_matcher_drop(matchers[i]);
    atomic_store(&shared.newest, router);

    pthread_t threads[WORKERS];
    struct worker workers[WORKERS];
    for (unsigned i = 0; i < WORKERS; i++) {
        workers[i] = (struct worker){ .shared = &shared, .index = i };
        assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
    }
    struct route_matcher *last = NULL;
    for (unsigned i = 0; i < CHANGES; i++) {
        struct route_matcher *matcher = matcher_of(i % 2 ? "/stays/and/goes" : "~/y+/", 100 + i);
        struct router *next = router_with(router, &matcher, 1, &last, last != NULL);
        publish(&shared, next);
        router = next;
        if (last) route_matcher_drop(last);
        last = matcher;
        if (i % 100 == 50 && router_wants_prefilter(router)) publish(&shared, router = with_prefilter(router));
    }
    atomic_store(&shared.stops, true);
    for (unsigned i = 0; i < WORKERS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(workers[i].wrong, 0);
    }
    route_matcher_drop(last);
    router_destroy(router);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(workers_match_while_versions_come_and_go) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
