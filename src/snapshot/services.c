/* snapshot/services.c: services as the builder remembers them, and the host names they use. */
#include "snapshot/private.h"

static struct slice put_text(char **next, struct slice text)
{
    struct slice copy = slice_of(*next, text.length);
    if (text.length) memcpy(*next, text.at, text.length);
    *next += text.length;
    return copy;
}

/* One block of just the size: with thousands of services, an arena's chunk for each is most of a configuration's memory. */
static struct service_config *copy_config(const struct service_config *config)
{
    const struct health_check_config *check = &config->health_check;
    size_t count = config->instances.count, expected_bytes = check->expected_count * sizeof *check->expected;
    size_t text_bytes = config->id.length + config->name.length + check->path.length;
    const struct instance_config *from = config->instances.items;
    for (size_t i = 0; i < count; i++) text_bytes += from[i].host.length;
    struct service_config *copy = memory_allocate(sizeof *copy + count * sizeof *from + expected_bytes + text_bytes);
    struct instance_config *instances = (struct instance_config *)(void *)(copy + 1);
    struct status_range *expected = (struct status_range *)(void *)(instances + count);
    char *next = (char *)(expected + check->expected_count);
    *copy = *config;
    copy->id = put_text(&next, config->id);
    copy->name = put_text(&next, config->name);
    copy->node = NULL;
    copy->tags = (struct slice_list){ NULL, 0 };
    copy->tls = (struct service_tls_config){ 0 }; /* the transport knows */
    copy->health_check.path = put_text(&next, check->path);
    copy->health_check.expected = expected;
    if (expected_bytes) memcpy(expected, check->expected, expected_bytes);
    copy->instances.items = instances;
    for (size_t i = 0; i < count; i++) {
        instances[i] = from[i];
        instances[i].host = put_text(&next, from[i].host);
    }
    return copy;
}

struct service_entry *service_entry_create(struct snapshot_builder *builder, const struct service_config *config,
                                           struct transport *transport, uint32_t index)
{
    struct service_entry *entry = memory_allocate(sizeof *entry);
    entry->config = copy_config(config);
    entry->transport = transport;
    entry->id = memory_copy_slice(config->id);
    entry->name = memory_copy_slice(config->name);
    entry->index = index;
    entry->hash = config->hash;
    entry->service = service_entry_compile(builder, entry);
    return entry;
}

void service_entry_destroy(struct service_entry *entry)
{
    transport_drop(entry->transport);
    free(entry->config);
    free(entry->id);
    free(entry->name);
    free(entry);
}

static bool is_name(const struct instance_config *instance) { return instance->address.any.sa_family == AF_UNSPEC; }

struct service *service_entry_compile(struct snapshot_builder *builder, const struct service_entry *entry)
{
    size_t count = entry->config->instances.count;
    const struct instance_config *instances = entry->config->instances.items;
    struct resolved_instance *resolved = memory_allocate_array(count + 1, sizeof *resolved);
    for (size_t i = 0; i < count; i++) {
        const struct name_entry *name = is_name(&instances[i]) ? map_find(&builder->names, instances[i].host) : NULL;
        if (name) resolved[i] = (struct resolved_instance){ name->addresses, name->count };
    }
    struct service *service = service_create(entry->config, resolved, entry->transport, builder->instances,
                                             builder->service_states);
    free(resolved);
    return service;
}

bool service_entry_uses(const struct service_entry *entry, struct slice host)
{
    const struct instance_config *instances = entry->config->instances.items;
    for (size_t i = 0; i < entry->config->instances.count; i++) {
        if (is_name(&instances[i]) && slice_equal(instances[i].host, host)) return true;
    }
    return false;
}

static void tell(struct snapshot_builder *builder, struct slice host, bool in_use)
{
    if (builder->settings.name_used) builder->settings.name_used(builder->settings.name_argument, host, in_use);
}

static void use_name(struct snapshot_builder *builder, struct slice host)
{
    struct name_entry *name = map_find(&builder->names, host);
    if (!name) {
        name = memory_allocate(sizeof *name);
        name->host = memory_copy_slice(host);
        map_set(&builder->names, host, name);
        tell(builder, host, true);
    }
    name->uses++;
}

static void leave_name(struct snapshot_builder *builder, struct slice host)
{
    struct name_entry *name = map_find(&builder->names, host);
    if (--name->uses > 0) return;
    tell(builder, host, false);
    map_remove(&builder->names, host);
    free(name->addresses);
    free(name->host);
    free(name);
}

void names_use(struct snapshot_builder *builder, const struct service_entry *entry)
{
    const struct instance_config *instances = entry->config->instances.items;
    for (size_t i = 0; i < entry->config->instances.count; i++) {
        if (is_name(&instances[i])) use_name(builder, instances[i].host);
    }
}

void names_leave(struct snapshot_builder *builder, const struct service_entry *entry)
{
    const struct instance_config *instances = entry->config->instances.items;
    for (size_t i = 0; i < entry->config->instances.count; i++) {
        if (is_name(&instances[i])) leave_name(builder, instances[i].host);
    }
}
