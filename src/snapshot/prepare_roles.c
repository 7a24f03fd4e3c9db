/* snapshot/prepare_roles.c: all roles as one set, made anew when one of them changed. */
#include "snapshot/private.h"

#include <xxhash.h>

static struct content_hash hash_of(const struct role_config *roles, size_t count)
{
    XXH3_state_t *state = XXH3_createState();
    PROMISE(state != NULL);
    XXH3_128bits_reset(state);
    for (size_t i = 0; i < count; i++) XXH3_128bits_update(state, &roles[i].hash, sizeof roles[i].hash);
    XXH128_hash_t hash = XXH3_128bits_digest(state);
    XXH3_freeState(state);
    return (struct content_hash){ { hash.low64, hash.high64 } };
}

void roles_prepare(struct prepared_change *prepared)
{
    const struct snapshot_builder *builder = prepared->builder;
    const struct object_list *roles = &prepared->configuration->roles;
    if (!prepared->is_whole && !prepared->change->roles_changed) return;
    prepared->roles_hash = hash_of(roles->items, roles->count);
    bool is_equal = builder->roles &&
                    memcmp(&prepared->roles_hash, &builder->roles_hash, sizeof builder->roles_hash) == 0;
    if (!is_equal) prepared->roles = role_set_create(roles->items, roles->count, prepared->problems);
}

void roles_commit(struct prepared_change *prepared)
{
    struct snapshot_builder *builder = prepared->builder;
    if (!prepared->roles) return;
    role_set_drop(builder->roles);
    builder->roles = prepared->roles;
    builder->roles_hash = prepared->roles_hash;
    prepared->roles = NULL;
}
