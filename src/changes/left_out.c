/* changes/left_out.c: what others wrote and this host can't compile, for want of a file, say: it is left out with all that must not be
 * without it, logged, and the rest put in force. */
#include "changes/private.h"

#include "base/log.h"
#include "base/memory.h"

/* Each round leaves out one resource at least. */
#define ROUNDS_MAX 100

static bool leave_out(struct changes *changes, const struct catalog_entry *entry, const char *why)
{
    if (!entry || map_find(&changes->left_out, entry->id)) return false;
    map_set(&changes->left_out, entry->id, memory_copy_slice(slice_from_cstring(why)));
    if (!map_find(&changes->left_out_before, entry->id))
        log_error("%s \"%.*s\" can't be put in force here and is left out: %s", resource_types[entry->kind].word,
                  SLICE_PRINT(entry->name), why);
    return true;
}

static void forget_reasons(struct map *reasons)
{
    struct map_entry *entry;
    for (size_t at = 0; (entry = map_next(reasons, &at));) free(entry->value);
    map_release(reasons);
    map_init(reasons);
}

void left_out_forget(struct changes *changes)
{
    forget_reasons(&changes->left_out);
    forget_reasons(&changes->left_out_before);
}

static bool routes_go_along(struct changes *changes, struct draft *draft, struct slice service_id, const char *why)
{
    struct vector routes;
    bool any = false;
    vector_init(&routes, sizeof(struct catalog_entry *));
    draft_list(draft, RESOURCE_ROUTE, &routes);
    for (size_t i = 0; i < routes.count; i++) {
        const struct catalog_entry *route = vector_pointer_at(&routes, i);
        for (uint32_t j = 0; j < route->reference_count; j++) {
            if (slice_equal(slice_from_cstring(route->references[j].id), service_id))
                any |= leave_out(changes, route, why);
        }
    }
    draft_drop_all(&routes);
    return any;
}

/* Without a plugin its routes would be open to whom it keeps out, and so it is with limits: they go along. False: it is everywhere. */
static bool scope_goes_along(struct changes *changes, struct draft *draft, const struct catalog_entry *plugin)
{
    bool is_limit = plugin->kind == RESOURCE_RATE_LIMIT;
    const char *why = is_limit ? "a rate limit that applies to it can't be used here"
                               : "a plugin that applies to it can't be used here";
    bool is_everywhere = true;
    for (uint32_t i = 0; i < plugin->reference_count; i++) {
        if (plugin->references[i].is_inside) continue; /* what it works with */
        is_everywhere = false;
        struct slice id = slice_from_cstring(plugin->references[i].id);
        struct catalog_entry *route = draft_get(draft, RESOURCE_ROUTE, id);
        if (route) leave_out(changes, route, why);
        catalog_entry_drop(route);
        if (plugin->references[i].kind == RESOURCE_SERVICE) routes_go_along(changes, draft, id, why);
    }
    return !is_everywhere;
}

/* A problem's pointer is /<kind>/<id>/...; one more resource is left out, or false. */
static bool leave_out_by(struct changes *changes, struct draft *draft, const struct problem *problem)
{
    struct slice rest = slice_from_cstring(problem->pointer), nothing, kind, id;
    if (!slice_next(&rest, '/', &nothing) || !slice_next(&rest, '/', &kind) || !slice_next(&rest, '/', &id))
        return false;
    const struct resource_type *type = resource_type_find(kind);
    struct catalog_entry *entry = type ? draft_get(draft, resource_kind_of(type), id) : NULL;
    bool left = leave_out(changes, entry, problem->message);
    if (left && entry->kind == RESOURCE_SERVICE)
        routes_go_along(changes, draft, entry->id, "its service can't be used here");
    if (left && (entry->kind == RESOURCE_PLUGIN || entry->kind == RESOURCE_RATE_LIMIT))
        left = scope_goes_along(changes, draft, entry);
    catalog_entry_drop(entry);
    return left;
}

void left_out_keep(struct changes *changes)
{
    forget_reasons(&changes->left_out_before);
    changes->is_trying = false;
}

void left_out_take_back(struct changes *changes)
{
    if (!changes->is_trying) return;
    struct map tried = changes->left_out;
    changes->left_out = changes->left_out_before;
    map_init(&changes->left_out_before);
    forget_reasons(&tried);
    changes->is_trying = false;
}

/* All anew, for what a plugin that is left out applies to may be another thing by now. */
bool left_out_prepare(struct changes *changes, struct draft *draft, const struct effect_options *wanted,
                      struct prepared_change **prepared)
{
    struct effect_options options = *wanted;
    options.whole = true;
    options.left_out = &changes->left_out;
    changes->left_out_before = changes->left_out;
    map_init(&changes->left_out);
    changes->is_trying = true;
    for (unsigned round = 0; round < ROUNDS_MAX; round++) {
        problems_release(draft->problems);
        problems_init(draft->problems, NULL);
        if (changes_compile(changes, draft, &options, prepared)) return true;
        bool any = false;
        for (size_t i = 0; i < draft->problems->list.count; i++)
            any |= leave_out_by(changes, draft, vector_at(&draft->problems->list, i));
        if (!any) break;
    }
    left_out_take_back(changes);
    return false;
}
