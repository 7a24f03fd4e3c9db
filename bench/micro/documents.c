/* What documents cost in process: microseconds to parse one, to read and check it, to show it; milliseconds to load 10,000 of them.
 *
 *   bench/micro/documents [rounds, default 5] */
#include "config/resource.h"

#include "base/memory.h"

#include <malloc.h>
#include <stdio.h>
#include <time.h>

/* This thread's time on the processor: others may use the machine meanwhile. */
static double now_us(void)
{
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (double)time.tv_sec * 1e6 + (double)time.tv_nsec / 1e3;
}

#define COUNT 5000

static const struct policy_kinds no_kinds;
static struct slice documents[2][COUNT]; /* services, routes */

static bool read_one(struct arena *arena, enum resource_kind kind, struct slice text, struct slice *document)
{
    struct problems problems;
    struct resource resource;
    problems_init(&problems, NULL);
    struct schema_reading reading = { .arena = arena, .problems = &problems, .kinds = &no_kinds, .folder = "/" };
    struct node *root = node_read_json(arena, text, NULL, &problems);
    bool ok = root && resource_read(&reading, kind, root, SLICE_ABSENT, NULL, &resource);
    if (ok && document) *document = resource_write_document(&reading, &resource);
    problems_release(&problems);
    return ok;
}

static void make_document(enum resource_kind kind, size_t index)
{
    struct arena arena;
    struct slice document;
    char text[512];
    arena_init(&arena, NULL);
    if (kind == RESOURCE_SERVICE)
        snprintf(text, sizeof text,
                 "{\"name\":\"service-%zu\",\"instances\":[\"10.%zu.%zu.1:80\",\"10.%zu.%zu.2:80\"]}", index,
                 index / 250, index % 250, index / 250, index % 250);
    else
        snprintf(text, sizeof text,
                 "{\"name\":\"route-%zu\",\"path\":\"/api/v1/things-%zu/*\",\"methods\":[\"GET\",\"POST\"],"
                 "\"serviceId\":\"service-%zu\",\"host\":\"api.example.com\"}",
                 index, index, index);
    PROMISE(read_one(&arena, kind, slice_from_cstring(text), &document));
    documents[kind][index] = slice_of(memory_copy_slice(document), document.length);
    arena_release(&arena);
}

static void parse(struct slice document)
{
    struct arena arena;
    struct problems problems;
    arena_init(&arena, NULL);
    problems_init(&problems, NULL);
    PROMISE(node_read_json(&arena, document, NULL, &problems));
    problems_release(&problems);
    arena_release(&arena);
}

static void check(struct slice document)
{
    struct arena arena;
    arena_init(&arena, NULL);
    PROMISE(read_one(&arena, RESOURCE_ROUTE, document, NULL));
    arena_release(&arena);
}

static void show(struct slice document)
{
    struct arena arena;
    arena_init(&arena, NULL);
    PROMISE(resource_hide_secrets(&arena, RESOURCE_ROUTE, &no_kinds, document).length > 0);
    arena_release(&arena);
}

static double each_route(void (*work)(struct slice document))
{
    double before = now_us();
    for (size_t i = 0; i < COUNT; i++) work(documents[RESOURCE_ROUTE][i]);
    return (now_us() - before) / COUNT;
}

static double load_all(size_t *heap_bytes)
{
    struct document_list lists[RESOURCE_KIND_COUNT] = { { documents[RESOURCE_SERVICE], COUNT },
                                                        { documents[RESOURCE_ROUTE], COUNT } };
    struct problems problems;
    problems_init(&problems, NULL);
    size_t heap = mallinfo2().uordblks;
    double before = now_us();
    struct configuration *configuration = configuration_load_with_documents(SLICE_ABSENT, NULL, "/", &no_kinds, lists,
                                                                            &problems);
    double spent_us = now_us() - before;
    PROMISE(configuration && problems.count == 0);
    *heap_bytes = mallinfo2().uordblks - heap;
    configuration_destroy(configuration);
    problems_release(&problems);
    return spent_us / 1000;
}

int main(int count, char **arguments)
{
    int rounds = count > 1 ? atoi(arguments[1]) : 5;
    for (size_t i = 0; i < COUNT; i++) {
        make_document(RESOURCE_SERVICE, i);
        make_document(RESOURCE_ROUTE, i);
    }
    printf("a route's document has %zu bytes\n", documents[RESOURCE_ROUTE][0].length);
    for (int i = 0; i < rounds; i++) {
        size_t heap_bytes;
        double parsed = each_route(parse), checked = each_route(check), shown = each_route(show);
        double loaded = load_all(&heap_bytes);
        printf("parse %.1f us, parse and check %.1f us, show %.1f us; load %d: %.0f ms, %zu MB\n", parsed, checked,
               shown, 2 * COUNT, loaded, heap_bytes >> 20);
    }
    return 0;
}
