/* The registry finds an instance by a key of all that its identity is made of; slots are handed out densely, so that a worker's
 * table of pools stays as short as there are instances. */
#include "upstream/instance.h"

#include "base/hash.h"
#include "base/map.h"
#include "base/memory.h"
#include "base/vector.h"

#define PASSED_OVER_FIRST_MS 100u
#define PASSED_OVER_LAST_MS 10000u

struct instance_registry {
    unsigned workers;
    struct map living;        /* by identity */
    struct vector forgotten;  /* struct instance *: dropped by the last service, workers not yet told */
    struct vector free_slots; /* uint32_t */
    uint32_t slots;           /* ever handed out */
};

struct instance_registry *instance_registry_create(unsigned workers)
{
    struct instance_registry *registry = memory_allocate(sizeof *registry);
    registry->workers = workers;
    map_init(&registry->living);
    vector_init(&registry->forgotten, sizeof(struct instance *));
    vector_init(&registry->free_slots, sizeof(uint32_t));
    return registry;
}

void instance_registry_destroy(struct instance_registry *registry)
{
    PROMISE(registry->living.count == 0);
    struct instance *forgotten;
    while ((forgotten = instance_next_forgotten(registry))) instance_destroy(registry, forgotten);
    map_release(&registry->living);
    vector_release(&registry->forgotten);
    vector_release(&registry->free_slots);
    free(registry);
}

/* "service\nhost:port\naddress": none of the parts holds a line feed. */
static char *write_key(struct slice service_id, struct slice host_port, const struct address *address)
{
    char text[ADDRESS_TEXT_BYTES];
    address_write(address, text);
    return memory_format("%.*s\n%.*s\n%s", SLICE_PRINT(service_id), SLICE_PRINT(host_port), text);
}

static char *write_host_port(struct slice host, uint16_t port)
{
    bool brackets = slice_find_byte(host, ':') != SLICE_NOT_FOUND;
    return memory_format(brackets ? "[%.*s]:%u" : "%.*s:%u", SLICE_PRINT(host), port);
}

static struct slice host_of(struct slice host_port, size_t length)
{
    return slice_of(host_port.at + slice_starts_with(host_port, SLICE("[")), length);
}

static char *write_name(const char *host_port, struct slice host, const struct address *address)
{
    struct address literal;
    if (address_parse_ip(host, 0, &literal)) return memory_copy_slice(slice_from_cstring(host_port));
    char text[ADDRESS_TEXT_BYTES];
    address_write_ip(address, text);
    return memory_format("%s (%s)", host_port, text);
}

/* Any fixed key does: host names and addresses are the operator's, and every process must find the same. */
static uint64_t identity_hash(const char *host_port, const struct address *address)
{
    static const struct hash_key fixed = { { 0, 0 } };
    char text[ADDRESS_TEXT_BYTES];
    size_t length = address_write(address, text);
    return hash_keyed(&fixed, slice_from_cstring(host_port)) ^ (hash_keyed(&fixed, slice_of(text, length)) << 1);
}

static uint32_t take_slot(struct instance_registry *registry)
{
    if (registry->free_slots.count == 0) return registry->slots++;
    uint32_t slot = *(uint32_t *)vector_at(&registry->free_slots, registry->free_slots.count - 1);
    vector_remove_at(&registry->free_slots, registry->free_slots.count - 1);
    return slot;
}

static struct instance *instance_create(struct instance_registry *registry, struct slice service_id, struct slice host,
                                        char *host_port, const struct address *address)
{
    struct instance *instance = memory_allocate_aligned(sizeof *instance +
                                                        (registry->workers + 1) * sizeof instance->lines[0]);
    instance->service_id = memory_copy_slice(service_id);
    instance->host_port = slice_from_cstring(host_port);
    instance->host = host_of(instance->host_port, host.length);
    instance->name = write_name(host_port, host, address);
    instance->address = *address;
    instance->identity_hash = identity_hash(host_port, address);
    instance->slot = take_slot(registry);
    instance->workers = registry->workers;
    return instance;
}

struct instance *instance_get(struct instance_registry *registry, struct slice service_id, struct slice host,
                              uint16_t port, const struct address *address)
{
    char *host_port = write_host_port(host, port);
    char *key = write_key(service_id, slice_from_cstring(host_port), address);
    struct instance *instance = map_find(&registry->living, slice_from_cstring(key));
    if (instance) {
        free(host_port);
    } else {
        instance = instance_create(registry, service_id, host, host_port, address);
        map_set(&registry->living, slice_from_cstring(key), instance);
    }
    free(key);
    instance->references++;
    return instance;
}

void instance_drop(struct instance_registry *registry, struct instance *instance)
{
    PROMISE(instance->references > 0);
    if (--instance->references > 0) return;
    char *key = write_key(slice_from_cstring(instance->service_id), instance->host_port, &instance->address);
    PROMISE(map_remove(&registry->living, slice_from_cstring(key)) == instance);
    free(key);
    vector_push_pointer(&registry->forgotten, instance);
}

struct instance *instance_next_forgotten(struct instance_registry *registry)
{
    if (registry->forgotten.count == 0) return NULL;
    size_t last = registry->forgotten.count - 1;
    struct instance *instance = vector_pointer_at(&registry->forgotten, last);
    vector_remove_at(&registry->forgotten, last);
    return instance;
}

void instance_destroy(struct instance_registry *registry, struct instance *instance)
{
    PROMISE(instance->references == 0);
    vector_push_copy(&registry->free_slots, &instance->slot);
    free(instance->service_id);
    free(instance->name);
    free((char *)instance->host_port.at);
    free(instance);
}

int64_t instance_in_flight(const struct instance *instance)
{
    int64_t sum = 0;
    for (unsigned i = 0; i < instance->workers; i++) sum += gauge_read(&instance->lines[i].in_flight);
    return sum;
}

void instance_strike(struct instance *instance, uint64_t now_ms)
{
    uint64_t until_ms = atomic_load_explicit(&instance->passed_over_until_ms, memory_order_relaxed);
    if (until_ms > now_ms) return;
    uint32_t strikes = atomic_load_explicit(&instance->strikes, memory_order_relaxed);
    uint64_t duration_ms = strikes < 7 ? PASSED_OVER_FIRST_MS << strikes : PASSED_OVER_LAST_MS;
    if (duration_ms > PASSED_OVER_LAST_MS) duration_ms = PASSED_OVER_LAST_MS;
    /* Of several workers that find out at the same moment one counts. */
    if (atomic_compare_exchange_strong_explicit(&instance->passed_over_until_ms, &until_ms, now_ms + duration_ms,
                                                memory_order_relaxed, memory_order_relaxed)) {
        atomic_store_explicit(&instance->strikes, strikes + 1, memory_order_relaxed);
    }
}

void instance_praise(struct instance *instance)
{
    if (LIKELY(atomic_load_explicit(&instance->strikes, memory_order_relaxed) == 0)) return;
    atomic_store_explicit(&instance->strikes, 0, memory_order_relaxed);
    atomic_store_explicit(&instance->passed_over_until_ms, 0, memory_order_relaxed);
}
