#include "snapshot/builder_bed.h"

#include "base/memory.h"
#include "filters/filters.h"

#include <stdarg.h>
#include <stdlib.h>

static struct builder_bed *current; /* filters and handlers have no place to keep it */

static const char before[] = "listeners: [\"127.0.0.1:8080\"]\n";
static const char services[] = "services:\n"
                               "  - { name: one, instances: [\"127.0.0.1:9001\"] }\n"
                               "  - { name: two, instances: [\"127.0.0.1:9002\"] }\n";

/* What a route that is put may name; which of them are in force is the builder's to know. */
static const char services_put[] = "services:\n"
                                   "  - { name: one, instances: [\"127.0.0.1:1\"] }\n"
                                   "  - { name: two, instances: [\"127.0.0.1:1\"] }\n"
                                   "  - { name: s0, instances: [\"127.0.0.1:1\"] }\n"
                                   "  - { name: s1, instances: [\"127.0.0.1:1\"] }\n"
                                   "  - { name: s2, instances: [\"127.0.0.1:1\"] }\n";

/* --- policies that count --- */

struct count_config {
    struct slice word, service;
};

static const struct field count_fields[] = {
    { .name = "word",
      .type = FIELD_STRING,
      .into = offsetof(struct count_config, word),
      .fallback = "none",
      .summary = "What is compiled." },
    { .name = "service",
      .type = FIELD_STRING,
      .reference = FIELD_REFERENCE_SERVICE,
      .into = offsetof(struct count_config, service),
      .summary = "What it works with." },
    FIELDS_END,
};

static bool filter_compile(const struct filter_compile *compile, const void *config, void **compiled)
{
    const struct count_config *count = config;
    if (slice_equal(count->word, SLICE("bad"))) {
        problems_add(compile->problems, compile->node, NULL, "a bad word");
        return false;
    }
    if (!slice_is_absent(count->service)) {
        current->service_used = compile->service(compile, "service", count->service);
        if (current->service_used == SERVICE_NONE) return false;
    }
    current->filters_compiled++;
    *compiled = memory_copy_slice(count->word);
    return true;
}

static void filter_release(void *compiled)
{
    current->filters_released++;
    free(compiled);
}

static const struct filter filter_count = {
    .name = "count",
    .summary = "Counts its compilations.",
    .phase = PHASE_TRANSFORM,
    .fields = count_fields,
    .config_size = sizeof(struct count_config),
    .all_scopes_apply = true,
    .compile = filter_compile,
    .release = filter_release,
};

static bool handler_takes(const struct route_config *route) { return true; }

static bool handler_compile(const struct filter_compile *compile, const struct route_config *route, void **compiled)
{
    current->handlers_compiled++;
    *compiled = memory_copy_slice(route->name);
    return true;
}

static void handler_release(void *compiled)
{
    current->handlers_released++;
    free(compiled);
}

static const struct handler handler_count = {
    .name = "count",
    .summary = "Counts its compilations.",
    .takes = handler_takes,
    .compile = handler_compile,
    .release = handler_release,
};

static const struct filter *const filters[] = { &filter_count, &filter_rate_limit, NULL };
static const struct handler *const handlers[] = { &handler_count, NULL };
static const struct policy_registry registry = { filters, handlers };

/* --- life --- */

static void note_wake(void *argument)
{
    struct builder_bed *bed = argument;
    bed->wakes++;
}

static void note_name(void *argument, struct slice host, bool in_use)
{
    struct builder_bed *bed = argument;
    size_t length = strlen(bed->names);
    snprintf(bed->names + length, sizeof bed->names - length, "%c%.*s ", in_use ? '+' : '-', SLICE_PRINT(host));
}

void bed_start(struct builder_bed *bed)
{
    *bed = (struct builder_bed){ 0 };
    current = bed;
    bed->kinds = policy_registry_kinds(&registry);
    bed->metrics = metrics_create(2);
    bed->scratch = router_scratch_create();
    problems_init(&bed->problems, "test.yaml");
    bed->builder = snapshot_builder_create(&(struct snapshot_builder_settings){
        .registry = &registry,
        .metrics = bed->metrics,
        .workers = 2,
        .wake = note_wake,
        .wake_argument = bed,
        .name_used = note_name,
        .name_argument = bed,
    });
}

void bed_stop(struct builder_bed *bed)
{
    snapshot_builder_destroy(bed->builder);
    assert_int_equal(bed->handlers_compiled, bed->handlers_released);
    assert_int_equal(bed->filters_compiled, bed->filters_released);
    problems_release(&bed->problems);
    router_scratch_destroy(bed->scratch);
    metrics_destroy(bed->metrics);
    free((void *)(uintptr_t)bed->kinds.items);
    current = NULL;
}

/* --- loads and puts --- */

static struct configuration *read_configuration(struct builder_bed *bed, const char *text)
{
    char *whole = memory_format("%s%s", before, text);
    problems_release(&bed->problems);
    problems_init(&bed->problems, "test.yaml");
    struct configuration *configuration = configuration_load_text(slice_from_cstring(whole), "test.yaml", "/",
                                                                  &bed->kinds, &bed->problems);
    free(whole);
    if (!configuration) fail_msg("%s", problems_to_text(&bed->problems));
    return configuration;
}

struct snapshot *bed_try_load_whole(struct builder_bed *bed, const char *text)
{
    struct configuration *configuration = read_configuration(bed, text);
    return snapshot_builder_load(bed->builder, configuration, &bed->problems);
}

struct snapshot *bed_load_whole(struct builder_bed *bed, const char *text)
{
    struct snapshot *snapshot = bed_try_load_whole(bed, text);
    if (!snapshot) fail_msg("%s", problems_to_text(&bed->problems));
    return snapshot;
}

struct snapshot *bed_load(struct builder_bed *bed, const char *text)
{
    char *whole = memory_format("%s%s", services, text);
    struct snapshot *snapshot = bed_load_whole(bed, whole);
    free(whole);
    return snapshot;
}

/* --- changes --- */

struct configuration_change *bed_change(struct builder_bed *bed, const char *text)
{
    struct configuration_change *change = memory_allocate(sizeof *change);
    char *whole = memory_format("%s%s", services_put, text);
    change->configuration = read_configuration(bed, whole);
    change->configuration->services = (struct object_list){ NULL, 0 };
    free(whole);
    return change;
}

struct configuration_change *bed_change_services(struct builder_bed *bed, const char *text)
{
    struct configuration_change *change = memory_allocate(sizeof *change);
    change->configuration = read_configuration(bed, text);
    return change;
}

struct slice_list bed_ids(struct configuration_change *change, unsigned count, ...)
{
    struct arena *arena = &change->configuration->arena;
    struct slice_list list = { arena_allocate(arena, count * sizeof(struct slice)), count };
    va_list names;
    va_start(names, count);
    for (unsigned i = 0; i < count; i++) list.items[i] = arena_copy(arena, slice_from_cstring(va_arg(names, char *)));
    va_end(names);
    return list;
}

struct snapshot *bed_try(struct builder_bed *bed, struct configuration_change *change)
{
    struct prepared_change *prepared = snapshot_builder_prepare(bed->builder, change, &bed->problems);
    return prepared ? snapshot_builder_commit(bed->builder, prepared) : NULL;
}

struct snapshot *bed_put_route(struct builder_bed *bed, const char *text)
{
    char *whole = memory_format("routes: [%s]\n", text);
    struct configuration_change *change = bed_change(bed, whole);
    free(whole);
    return bed_try(bed, change);
}

/* Its id comes from its name. */
struct snapshot *bed_take_route(struct builder_bed *bed, const char *name)
{
    char *text = memory_format("routes: [{ name: %s, path: /, respond: { status: 200 } }]\n", name);
    struct configuration_change *change = bed_change(bed, text);
    struct route_config *route = change->configuration->routes.items;
    change->removed_routes = (struct slice_list){ &route->id, 1 };
    change->configuration->routes.count = 0;
    free(text);
    return bed_try(bed, change);
}

struct snapshot *bed_put_service(struct builder_bed *bed, const char *text)
{
    char *whole = memory_format("services: [%s]\n", text);
    struct configuration_change *change = bed_change_services(bed, whole);
    free(whole);
    return bed_try(bed, change);
}

/* --- looking --- */

const struct compiled_route *bed_route(struct builder_bed *bed, const struct snapshot *snapshot, const char *path)
{
    struct arena arena;
    struct request_head head;
    struct route_match match;
    arena_init(&arena, NULL);
    request_head_init(&head, &arena);
    head.target.path = slice_from_cstring(path);
    enum route_result result = router_match(snapshot->router, bed->scratch, &head, METHOD_GET, SLICE("GET"), NULL,
                                            &arena, &match);
    arena_release(&arena);
    return result == ROUTE_FOUND ? match.target : NULL;
}

const char *bed_answer(struct builder_bed *bed, const struct snapshot *snapshot, const char *path)
{
    const struct compiled_route *route = bed_route(bed, snapshot, path);
    return route ? route->name : "404";
}

struct service *bed_service(struct builder_bed *bed, const struct snapshot *snapshot, const char *path)
{
    const struct compiled_route *route = bed_route(bed, snapshot, path);
    if (!route || route->service_index == SERVICE_NONE) return NULL;
    assert_true(route->service_index < snapshot->service_count);
    return snapshot->services[route->service_index];
}
