/* A service out of a line of text, for the tests of this room. */
#ifndef SLUICE_UNIT_UPSTREAM_SERVICES_H
#define SLUICE_UNIT_UPSTREAM_SERVICES_H

#include "unit_test.h"

#include "upstream/balancer.h"

struct services {
    struct instance_registry *instances;
    struct service_registry *states;
    struct transport *transport; /* of services that are made from now on */
    unsigned workers;
};

static inline void services_init(struct services *services, unsigned workers)
{
    services->instances = instance_registry_create(workers);
    services->states = service_registry_create(workers);
    services->transport = transport_create(&(struct content_hash){ { 1, 0 } }, TRANSPORT_HTTP_1);
    services->workers = workers;
}

/* For services that are made from now on. */
static inline void services_speak(struct services *services, enum transport_version version)
{
    transport_drop(services->transport);
    services->transport = transport_create(&(struct content_hash){ { 1, version } }, version);
}

static inline void services_release(struct services *services)
{
    transport_drop(services->transport);
    instance_registry_destroy(services->instances);
    service_registry_destroy(services->states);
}

/* instances: "10.0.0.1:80=100 10.0.0.2:80=50"; without "=", the weight is 100. */
static inline struct service *services_make(struct services *services, const char *id, enum lb_algorithm algorithm,
                                            const char *instances)
{
    struct instance_config configs[64] = { 0 };
    struct service_config config = {
        .id = slice_from_cstring(id),
        .name = slice_from_cstring(id),
        .instances.items = configs,
        .lb_algorithm = algorithm,
        .connect_timeout_ms = 2000,
        .idle_timeout_ms = 60000,
        .idle_connections_max = 64,
    };
    struct slice rest = slice_from_cstring(instances), piece;
    while (slice_next(&rest, ' ', &piece)) {
        if (piece.length == 0) continue;
        struct instance_config *instance = &configs[config.instances.count++];
        size_t equals = slice_find_byte(piece, '=');
        uint64_t weight = 100;
        if (equals != SLICE_NOT_FOUND) assert_true(slice_parse_uint64(slice_after(piece, equals + 1), &weight));
        struct slice host_port = slice_before(piece, equals);
        assert_true(address_parse(host_port, &instance->address));
        instance->host = slice_before(host_port, slice_find_byte(host_port, ':'));
        instance->port = address_port(&instance->address);
        instance->weight = (uint16_t)weight;
    }
    return service_create(&config, NULL, services->transport, services->instances, services->states);
}

static inline void services_drop(struct services *services, struct service *service)
{
    if (service_drop(service)) service_destroy(service, services->instances, services->states);
}

#endif
