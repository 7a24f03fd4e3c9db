/* snapshot/split.c: see split.h. */
#include "snapshot/private.h"

#include <xxhash.h>

void split_ends(const uint64_t *weights, uint32_t *ends, uint32_t count)
{
    uint64_t sum = 0, so_far = 0;
    for (uint32_t i = 0; i < count; i++) sum += weights[i];
    PROMISE(sum > 0);
    for (uint32_t i = 0; i < count; i++) {
        so_far += weights[i];
        ends[i] = (uint32_t)((so_far * SPLIT_BUCKETS + sum / 2) / sum);
    }
}

/* Instances of any version must agree, so neither function nor buckets may ever change. */
uint32_t split_bucket(uint64_t seed, struct slice key)
{
    uint64_t hash = XXH64(key.at, key.length, seed);
    return (uint32_t)((hash >> 32) * SPLIT_BUCKETS >> 32);
}

const struct split_choice *split_find(const struct route_split *split, uint32_t bucket)
{
    uint32_t i = 0;
    while (i + 1 < split->count && bucket >= split->choices[i].end) i++;
    return &split->choices[i];
}

/* --- compiling --- */

static struct slice copy(struct slice text)
{
    return slice_is_absent(text) ? text : slice_of(memory_copy_slice(text), text.length);
}

/* False: a problem was added at `field` of the node. */
static bool choose(const struct split_compile *compile, const struct node *node, const char *field, struct slice wanted,
                   struct split_choice *choice)
{
    struct filter_compile here = *compile->services;
    struct found_service found;
    here.node = node;
    choice->service_index = here.service(&here, field, wanted);
    if (choice->service_index == SERVICE_NONE || !prepared_find_service(compile->prepared, wanted, &found))
        return false;
    choice->name = copy(found.name);
    choice->metrics = metrics_route(compile->metrics, compile->route_name, choice->name);
    return true;
}

/* The canary has the buckets from 0 on, so that they stay its own as it grows. */
static bool take_canary(const struct split_compile *compile, const struct route_config *route,
                        struct route_split *split)
{
    const struct node *node = route->node ? node_find(route->node, "split") : NULL;
    split->is_canary = true;
    split->choices[0].end = (uint32_t)route->split.canary_hundredths;
    split->choices[1].end = SPLIT_BUCKETS;
    return choose(compile, node, "canaryServiceId", route->split.canary_service_id, &split->choices[0]) &&
           choose(compile, route->node, "serviceId", route->service_id, &split->choices[1]);
}

static bool take_services(const struct split_compile *compile, const struct route_config *route,
                          struct route_split *split)
{
    const struct split_service_config *services = route->split.services.items;
    const struct node *node = route->node ? node_find(route->node, "split") : NULL;
    const struct node *list = node ? node_find(node, "services") : NULL;
    const struct node *item = list && list->kind == NODE_LIST ? list->first : NULL;
    uint64_t weights[SPLIT_SERVICES_MAX];
    uint32_t ends[SPLIT_SERVICES_MAX];
    bool good = true;
    PROMISE(split->count <= SPLIT_SERVICES_MAX);
    for (uint32_t i = 0; i < split->count; i++, item = item ? item->next : NULL) {
        weights[i] = (uint64_t)services[i].weight;
        good &= choose(compile, item, "serviceId", services[i].service_id, &split->choices[i]);
    }
    split_ends(weights, ends, split->count);
    for (uint32_t i = 0; i < split->count; i++) split->choices[i].end = ends[i];
    return good;
}

struct route_split *split_compile(const struct split_compile *compile, const struct route_config *route)
{
    const struct split_config *config = &route->split;
    size_t count = config->services.count ? config->services.count : 2;
    struct route_split *split = memory_allocate(sizeof *split + count * sizeof split->choices[0]);
    split->by = (uint8_t)config->by;
    split->by_name = copy(config->by_name);
    split->override_header = copy(config->override_header);
    split->override_cookie = copy(config->override_cookie);
    split->cookie_max_age_s = (uint32_t)(config->cookie_max_age_ms / 1000);
    split->seed = XXH64(config->seed.at ? config->seed.at : "", config->seed.length, 0);
    split->count = (uint32_t)count;
    bool good = config->services.count ? take_services(compile, route, split) : take_canary(compile, route, split);
    if (good) return split;
    split_destroy(split, compile->metrics);
    return NULL;
}

void split_destroy(struct route_split *split, struct metrics *metrics)
{
    if (!split) return;
    for (uint32_t i = 0; i < split->count; i++) {
        if (split->choices[i].metrics) metrics_route_drop(metrics, split->choices[i].metrics);
        free((void *)(uintptr_t)split->choices[i].name.at);
    }
    free((void *)(uintptr_t)split->by_name.at);
    free((void *)(uintptr_t)split->override_header.at);
    free((void *)(uintptr_t)split->override_cookie.at);
    free(split);
}
