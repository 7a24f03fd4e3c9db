#include "upstream/service.h"

#include "base/log.h"
#include "base/map.h"
#include "base/memory.h"
#include "base/vector.h"
#include "upstream/balancer.h"

#define FAILURES_TOLD_EVERY_MS 1000

struct service_registry {
    unsigned workers;
    struct map states; /* struct service_state by service id */
};

struct service_registry *service_registry_create(unsigned workers)
{
    struct service_registry *registry = memory_allocate(sizeof *registry);
    registry->workers = workers;
    map_init(&registry->states);
    return registry;
}

void service_registry_destroy(struct service_registry *registry)
{
    PROMISE(registry->states.count == 0);
    map_release(&registry->states);
    free(registry);
}

static struct service_state *state_get(struct service_registry *registry, struct slice id)
{
    struct service_state *state = map_find(&registry->states, id);
    if (!state) {
        state = memory_allocate_aligned(sizeof *state + (registry->workers + 1) * sizeof state->lines[0]);
        state->service_id = memory_copy_slice(id);
        state->workers = registry->workers;
        map_set(&registry->states, id, state);
    }
    state->references++;
    return state;
}

static void state_drop(struct service_registry *registry, struct service_state *state)
{
    if (--state->references > 0) return;
    map_remove(&registry->states, slice_from_cstring(state->service_id));
    free(state->service_id);
    free(state);
}

/* An instance that stands there twice (two names of one address and port can't, the same name twice can) becomes one endpoint
 * with both weights: so "another instance" is never the same one again. */
static void add_endpoint(struct vector *endpoints, struct instance_registry *instances, struct instance *instance,
                         uint32_t weight)
{
    for (size_t i = 0; i < endpoints->count; i++) {
        struct endpoint *endpoint = vector_at(endpoints, i);
        if (endpoint->instance != instance) continue;
        endpoint->weight += weight;
        instance_drop(instances, instance);
        return;
    }
    *(struct endpoint *)vector_push(endpoints) = (struct endpoint){ instance, weight };
}

static void collect_endpoints(struct vector *endpoints, const struct service_config *config,
                              const struct resolved_instance *resolved, struct instance_registry *instances)
{
    const struct instance_config *written = config->instances.items;
    for (size_t i = 0; i < config->instances.count; i++) {
        bool is_name = written[i].address.any.sa_family == AF_UNSPEC;
        const struct address *addresses = is_name ? (resolved ? resolved[i].addresses : NULL) : &written[i].address;
        size_t count = is_name ? (resolved ? resolved[i].count : 0) : 1;
        for (size_t j = 0; j < count; j++) {
            struct address address = addresses[j];
            address.v4.sin_port = htons(written[i].port); /* at the same place in sockaddr_in6 */
            struct instance *instance = instance_get(instances, config->id, written[i].host, written[i].port, &address);
            add_endpoint(endpoints, instances, instance, written[i].weight);
        }
    }
}

static uint32_t as_uint32(uint64_t value) { return value < UINT32_MAX ? (uint32_t)value : UINT32_MAX; }

struct service *service_create(const struct service_config *config, const struct resolved_instance *resolved,
                               struct transport *transport, struct instance_registry *instances,
                               struct service_registry *states)
{
    struct vector endpoints;
    vector_init(&endpoints, sizeof(struct endpoint));
    collect_endpoints(&endpoints, config, resolved, instances);
    struct service *service = memory_allocate(sizeof *service + endpoints.count * sizeof service->endpoints[0]);
    atomic_init(&service->references, 1);
    service->id = memory_copy_slice(config->id);
    service->name = memory_copy_slice(config->name);
    service->algorithm = (enum lb_algorithm)config->lb_algorithm;
    service->connect_timeout_ms = as_uint32(config->connect_timeout_ms);
    service->pool_idle_timeout_ms = as_uint32(config->idle_timeout_ms);
    service->connections_per_instance_max = as_uint32((uint64_t)config->connections_per_instance_max);
    service->idle_connections_max = as_uint32((uint64_t)config->idle_connections_max);
    service->transport = transport_retain(transport);
    if (config->has_health_check) service->health_check = health_check_create(&config->health_check);
    service->state = state_get(states, config->id);
    service->is_without_instances = config->instances.count == 0;
    service->endpoint_count = (uint32_t)endpoints.count;
    for (size_t i = 0; i < endpoints.count; i++) {
        service->endpoints[i] = *(struct endpoint *)vector_at(&endpoints, i);
        service->weight_sum += service->endpoints[i].weight;
    }
    if (service->algorithm == LB_IP_HASH) service->ring = hash_ring_create(service->endpoints, service->endpoint_count);
    vector_release(&endpoints);
    return service;
}

/* Those without weight would get nothing anyway. */
void service_explain_down(const struct service *service, uint64_t wall_ns, char into[SERVICE_DOWN_BYTES])
{
    uint64_t last_ms = 0;
    unsigned count = 0;
    for (uint32_t i = 0; i < service->endpoint_count; i++) {
        const struct endpoint *endpoint = &service->endpoints[i];
        if (endpoint->weight == 0) continue;
        uint64_t changed_ms = atomic_load_explicit(&endpoint->instance->health.changed_ms, memory_order_relaxed);
        if (changed_ms > last_ms) last_ms = changed_ms;
        count++;
    }
    uint64_t now_ms = wall_ns / 1000000;
    unsigned long long seconds = now_ms > last_ms ? (now_ms - last_ms) / 1000 : 0;
    if (count == 1)
        snprintf(into, SERVICE_DOWN_BYTES, "its only instance has been down for %llu s", seconds);
    else
        snprintf(into, SERVICE_DOWN_BYTES, "all %u instances are down, the last one for %llu s", count, seconds);
}

static bool may_tell(struct service_state *state, uint64_t now_ms)
{
    uint64_t told_ms = atomic_load_explicit(&state->told_ms, memory_order_relaxed);
    if (told_ms != 0 && now_ms < told_ms + FAILURES_TOLD_EVERY_MS) return false;
    return log_takes_a_line() && atomic_compare_exchange_strong(&state->told_ms, &told_ms, now_ms | 1);
}

void service_tell_failure(const struct service *service, uint64_t now_ms, const char *text)
{
    struct service_state *state = service->state;
    if (!may_tell(state, now_ms)) {
        atomic_fetch_add_explicit(&state->untold, 1, memory_order_relaxed);
        return;
    }
    uint32_t untold = atomic_exchange_explicit(&state->untold, 0, memory_order_relaxed);
    if (untold == 0)
        log_warning("%s", text);
    else
        log_warning("%s; %u more failed since the last such line", text, untold);
}

void service_retain(struct service *service)
{
    atomic_fetch_add_explicit(&service->references, 1, memory_order_relaxed);
}

bool service_drop(struct service *service)
{
    return atomic_fetch_sub_explicit(&service->references, 1, memory_order_acq_rel) == 1;
}

void service_destroy(struct service *service, struct instance_registry *instances, struct service_registry *states)
{
    for (uint32_t i = 0; i < service->endpoint_count; i++) instance_drop(instances, service->endpoints[i].instance);
    state_drop(states, service->state);
    transport_drop(service->transport);
    hash_ring_destroy(service->ring);
    health_check_destroy(service->health_check);
    free(service->id);
    free(service->name);
    free(service);
}
