/* snapshot/services.c: services as the builder remembers them, and the host names they use. */
#include "snapshot/private.h"

static struct service_config *copy_config(struct arena *arena, const struct service_config *config)
{
    struct service_config *copy = arena_allocate_zeroed(arena, sizeof *copy);
    struct instance_config *instances = arena_allocate_zeroed(arena, (config->instances.count + 1) * sizeof *instances);
    if (!copy || !instances) abort(); /* control plane: see base/memory.h */
    *copy = *config;
    copy->id = arena_copy(arena, config->id);
    copy->name = arena_copy(arena, config->name);
    copy->node = NULL;
    copy->tags = (struct slice_list){ NULL, 0 };
    copy->instances.items = instances;
    for (size_t i = 0; i < config->instances.count; i++) {
        instances[i] = ((const struct instance_config *)config->instances.items)[i];
        instances[i].host = arena_copy(arena, instances[i].host);
    }
    return copy;
}

struct service_entry *service_entry_create(struct snapshot_builder *builder, const struct service_config *config,
                                           uint32_t index)
{
    struct service_entry *entry = memory_allocate(sizeof *entry);
    arena_init(&entry->arena, NULL);
    entry->config = copy_config(&entry->arena, config);
    entry->id = memory_copy_slice(config->id);
    entry->name = memory_copy_slice(config->name);
    entry->index = index;
    entry->hash = config->hash;
    entry->service = service_entry_compile(builder, entry);
    return entry;
}

void service_entry_destroy(struct service_entry *entry)
{
    arena_release(&entry->arena);
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
    struct service *service = service_create(entry->config, resolved, builder->instances, builder->service_states);
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
