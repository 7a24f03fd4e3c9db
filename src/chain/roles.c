/* chain/roles.c: see roles.h. Texts are found by hash in small tables made once; permissions of a role stand side by side, those without
 * routes and paths first, as they cost least. */
#include "chain/roles.h"

#include "base/memory.h"

#include <stdatomic.h>
#include <xxhash.h>

/* From a text to the roles it stands for. Only configuration fills it, so what clients send can't make it slow; whoever asks compares. */
struct text_slot {
    struct slice text; /* absent: free */
    uint32_t hash;
    uint32_t first, count; /* in the table's roles */
};

struct text_table {
    struct text_slot *slots;
    uint32_t mask;
    uint32_t *roles;
};

/* A permission's routes: a set. */
struct route_names {
    struct slice *slots; /* absent: free */
    uint32_t mask;       /* slots NULL: every route */
};

struct permission {
    struct method_set methods;
    struct route_names routes;
    struct route_matcher **paths;
    uint32_t path_count; /* 0: every path */
};

struct role {
    struct slice id, name;
    struct permission *permissions;
    uint32_t permission_count;
};

/* Clients as an issuer's tokens tell them. */
struct issuer_clients {
    struct slice issuer;
    struct text_table by_client;
};

struct role_set {
    _Atomic uint32_t references;
    uint32_t count;
    struct role *roles;
    struct text_table by_name, by_scope, by_client;
    struct issuer_clients *issuers; /* few: walked */
    uint32_t issuer_count;
    struct arena arena; /* all texts and arrays */
};

static void *allocate(struct role_set *set, size_t count, size_t size)
{
    void *memory = arena_allocate_zeroed(&set->arena, count ? count * size : size);
    PROMISE(memory != NULL); /* control plane: out of memory */
    return memory;
}

static uint32_t hash_of(struct slice text) { return (uint32_t)XXH3_64bits(text.at, text.length); }

/* At most half full. */
static uint32_t mask_for(size_t count)
{
    uint32_t capacity = 2;
    while (capacity < 2 * count) capacity *= 2;
    return capacity - 1;
}

/* --- tables of texts --- */

static inline struct text_slot *table_slot(const struct text_table *table, struct slice text)
{
    uint32_t hash = hash_of(text);
    for (uint32_t at = hash;; at++) {
        struct text_slot *slot = &table->slots[at & table->mask];
        if (slice_is_absent(slot->text)) return slot;
        if (slot->hash == hash && slice_equal(slot->text, text)) return slot;
    }
}

static inline const struct text_slot *table_find(const struct text_table *table, struct slice text)
{
    if (!table->slots || slice_is_absent(text)) return NULL;
    const struct text_slot *slot = table_slot(table, text);
    return slice_is_absent(slot->text) ? NULL : slot;
}

/* A text and a role that it stands for. */
struct text_of_role {
    struct slice text;
    uint32_t role;
};

/* Counted first, then dealt out, so that the roles of a text stand side by side. */
static void table_build(struct role_set *set, struct text_table *table, const struct text_of_role *pairs, size_t count)
{
    if (count == 0) return;
    table->mask = mask_for(count);
    table->slots = allocate(set, table->mask + 1, sizeof *table->slots);
    table->roles = allocate(set, count, sizeof *table->roles);
    for (size_t i = 0; i < count; i++) {
        struct text_slot *slot = table_slot(table, pairs[i].text);
        if (slice_is_absent(slot->text)) {
            slot->text = arena_keep(&set->arena, pairs[i].text);
            slot->hash = hash_of(slot->text);
        }
        slot->count++;
    }
    uint32_t next = 0;
    for (uint32_t i = 0; i <= table->mask; i++) {
        table->slots[i].first = next;
        next += table->slots[i].count;
        table->slots[i].count = 0;
    }
    for (size_t i = 0; i < count; i++) {
        struct text_slot *slot = table_slot(table, pairs[i].text);
        table->roles[slot->first + slot->count++] = pairs[i].role;
    }
}

/* --- compiling --- */

static struct method_set take_methods(struct role_set *set, const struct slice_list *methods)
{
    struct slice *names = allocate(set, methods->count, sizeof *names),
                 *others = allocate(set, methods->count, sizeof *others);
    for (size_t i = 0; i < methods->count; i++) names[i] = arena_keep(&set->arena, methods->items[i]);
    return method_set_of(names, methods->count, others);
}

static void take_routes(struct role_set *set, struct route_names *routes, const struct slice_list *names)
{
    if (names->count == 0) return;
    routes->mask = mask_for(names->count);
    routes->slots = allocate(set, routes->mask + 1, sizeof *routes->slots);
    for (size_t i = 0; i < names->count; i++) {
        uint32_t at = hash_of(names->items[i]);
        while (!slice_is_absent(routes->slots[at & routes->mask])) at++;
        routes->slots[at & routes->mask] = arena_keep(&set->arena, names->items[i]);
    }
}

/* Where a path was written, or else the role. */
static const struct node *place_of_path(const struct role_config *role, size_t permission, size_t path)
{
    const struct node *place = node_item(
        node_find(node_item(node_find(role->node, "permissions"), permission), "paths"), path);
    return place ? place : role->node;
}

/* Of the role's permission number `index`. */
static bool take_paths(struct role_set *set, struct permission *permission, const struct role_config *role,
                       size_t index, struct problems *problems)
{
    const struct slice_list *paths = &((const struct permission_config *)role->permissions.items)[index].paths;
    struct error error;
    bool good = true;
    permission->paths = allocate(set, paths->count, sizeof(struct route_matcher *));
    for (size_t i = 0; i < paths->count; i++) {
        struct route_matcher *path = route_matcher_create(&(struct route_rule){ .path = paths->items[i] }, NULL,
                                                          &error);
        if (path) {
            permission->paths[permission->path_count++] = path;
            continue;
        }
        problems_add(problems, place_of_path(role, index, i), NULL, "role \"%.*s\": %s", SLICE_PRINT(role->name),
                     error.text);
        good = false;
    }
    return good;
}

static int compare_permissions(const void *left, const void *right)
{
    const struct permission *a = left, *b = right;
    int a_cost = (a->routes.slots != NULL) + 2 * (a->path_count != 0);
    int b_cost = (b->routes.slots != NULL) + 2 * (b->path_count != 0);
    return a_cost - b_cost;
}

static bool take_role(struct role_set *set, struct role *role, const struct role_config *config,
                      struct problems *problems)
{
    bool good = true;
    role->id = arena_keep(&set->arena, config->id);
    role->name = arena_keep(&set->arena, config->name);
    role->permissions = allocate(set, config->permissions.count, sizeof *role->permissions);
    for (size_t i = 0; i < config->permissions.count; i++) {
        const struct permission_config *source = &((const struct permission_config *)config->permissions.items)[i];
        struct permission *permission = &role->permissions[role->permission_count++];
        permission->methods = take_methods(set, &source->methods);
        take_routes(set, &permission->routes, &source->routes);
        good = take_paths(set, permission, config, i, problems) && good;
    }
    qsort(role->permissions, role->permission_count, sizeof *role->permissions, compare_permissions);
    return good;
}

static size_t add_texts(struct text_of_role *pairs, size_t count, const struct slice_list *texts, uint32_t role)
{
    for (size_t i = 0; i < texts->count; i++) pairs[count++] = (struct text_of_role){ texts->items[i], role };
    return count;
}

static const struct token_clients_config *token_clients(const struct role_config *role, size_t at)
{
    return &((const struct token_clients_config *)role->token_clients.items)[at];
}

static struct issuer_clients *find_issuer(const struct role_set *set, struct slice issuer)
{
    for (uint32_t i = 0; i < set->issuer_count; i++) {
        if (slice_equal(set->issuers[i].issuer, issuer)) return &set->issuers[i];
    }
    return NULL;
}

static void build_issuer(struct role_set *set, const struct role_config *roles, struct slice name,
                         struct text_of_role *pairs)
{
    struct issuer_clients *issuer = &set->issuers[set->issuer_count++];
    size_t count = 0;
    issuer->issuer = arena_keep(&set->arena, name);
    for (uint32_t i = 0; i < set->count; i++) {
        for (size_t j = 0; j < roles[i].token_clients.count; j++) {
            const struct token_clients_config *from = token_clients(&roles[i], j);
            if (slice_equal(from->issuer, name)) count = add_texts(pairs, count, &from->clients, i);
        }
    }
    table_build(set, &issuer->by_client, pairs, count);
}

static void build_issuers(struct role_set *set, const struct role_config *roles, size_t issuers,
                          struct text_of_role *pairs)
{
    set->issuers = allocate(set, issuers, sizeof *set->issuers);
    for (uint32_t i = 0; i < set->count; i++) {
        for (size_t j = 0; j < roles[i].token_clients.count; j++) {
            struct slice name = token_clients(&roles[i], j)->issuer;
            if (!find_issuer(set, name)) build_issuer(set, roles, name, pairs);
        }
    }
}

static void build_tables(struct role_set *set, const struct role_config *roles)
{
    size_t texts = 2 * (size_t)set->count, issuers = 0, count = 0;
    for (uint32_t i = 0; i < set->count; i++) {
        texts += roles[i].scopes.count + roles[i].clients.count;
        issuers += roles[i].token_clients.count;
        for (size_t j = 0; j < roles[i].token_clients.count; j++) texts += token_clients(&roles[i], j)->clients.count;
    }
    struct text_of_role *pairs = memory_allocate_array(texts + 1, sizeof *pairs);
    for (uint32_t i = 0; i < set->count; i++) {
        pairs[count++] = (struct text_of_role){ roles[i].name, i };
        if (!slice_equal(roles[i].id, roles[i].name)) pairs[count++] = (struct text_of_role){ roles[i].id, i };
    }
    table_build(set, &set->by_name, pairs, count);
    count = 0;
    for (uint32_t i = 0; i < set->count; i++) count = add_texts(pairs, count, &roles[i].scopes, i);
    table_build(set, &set->by_scope, pairs, count);
    count = 0;
    for (uint32_t i = 0; i < set->count; i++) count = add_texts(pairs, count, &roles[i].clients, i);
    table_build(set, &set->by_client, pairs, count);
    build_issuers(set, roles, issuers, pairs);
    free(pairs);
}

struct role_set *role_set_create(const struct role_config *roles, size_t count, struct problems *problems)
{
    struct role_set *set = memory_allocate(sizeof *set);
    set->references = 1;
    set->count = (uint32_t)count;
    arena_init(&set->arena, NULL);
    set->roles = allocate(set, count, sizeof *set->roles);
    bool good = true;
    for (size_t i = 0; i < count; i++) good = take_role(set, &set->roles[i], &roles[i], problems) && good;
    build_tables(set, roles);
    if (good) return set;
    role_set_drop(set);
    return NULL;
}

void role_set_retain(const struct role_set *set)
{
    atomic_fetch_add_explicit(&((struct role_set *)(uintptr_t)set)->references, 1, memory_order_relaxed);
}

void role_set_drop(const struct role_set *held)
{
    struct role_set *set = (struct role_set *)(uintptr_t)held;
    if (!set || atomic_fetch_sub_explicit(&set->references, 1, memory_order_acq_rel) != 1) return;
    for (uint32_t i = 0; i < set->count; i++) {
        const struct role *role = &set->roles[i];
        for (uint32_t j = 0; j < role->permission_count; j++) {
            const struct permission *permission = &role->permissions[j];
            for (uint32_t k = 0; k < permission->path_count; k++) route_matcher_drop(permission->paths[k]);
        }
    }
    arena_release(&set->arena);
    free(set);
}

/* --- who has which --- */

uint32_t role_set_count(const struct role_set *set) { return set ? set->count : 0; }

struct slice role_set_name(const struct role_set *set, uint32_t role) { return set->roles[role].name; }

uint32_t role_set_find(const struct role_set *set, struct slice name)
{
    const struct text_slot *slot = set ? table_find(&set->by_name, name) : NULL;
    return slot ? set->by_name.roles[slot->first] : ROLE_NONE;
}

static inline void add_by(const struct text_table *table, struct slice text, uint64_t *bits)
{
    const struct text_slot *slot = table_find(table, text);
    for (uint32_t i = 0; slot && i < slot->count; i++) role_hold(bits, table->roles[slot->first + i]);
}

void role_set_add_by_scopes(const struct role_set *set, struct slice scopes, uint64_t *bits)
{
    if (!set || !set->by_scope.slots) return;
    while (scopes.length > 0) {
        size_t end = slice_find_byte(scopes, ' ');
        add_by(&set->by_scope, slice_before(scopes, end), bits);
        scopes = slice_after(scopes, end == SLICE_NOT_FOUND ? end : end + 1);
    }
}

void role_set_add_by_client(const struct role_set *set, struct slice issuer, struct slice client_id, uint64_t *bits)
{
    if (!set) return;
    const struct issuer_clients *known = slice_is_absent(issuer) ? NULL : find_issuer(set, issuer);
    if (slice_is_absent(issuer))
        add_by(&set->by_client, client_id, bits);
    else if (known)
        add_by(&known->by_client, client_id, bits);
}

/* --- what they allow --- */

static bool holds_route(const struct route_names *routes, struct slice text)
{
    for (uint32_t at = hash_of(text);; at++) {
        struct slice slot = routes->slots[at & routes->mask];
        if (slice_is_absent(slot)) return false;
        if (slice_equal(slot, text)) return true;
    }
}

static bool takes_route(const struct permission *permission, const struct role_request *request)
{
    return !permission->routes.slots || holds_route(&permission->routes, request->route_id) ||
           holds_route(&permission->routes, request->route_name);
}

static bool takes_path(const struct permission *permission, const struct role_request *request)
{
    for (uint32_t i = 0; i < permission->path_count; i++) {
        if (route_matcher_takes_path(permission->paths[i], request->scratch, request->path)) return true;
    }
    return permission->path_count == 0;
}

static bool role_allows(const struct role *role, const struct role_request *request)
{
    for (uint32_t i = 0; i < role->permission_count; i++) {
        const struct permission *permission = &role->permissions[i];
        if (method_set_holds(&permission->methods, request->method, request->method_text) &&
            takes_route(permission, request) && takes_path(permission, request))
            return true;
    }
    return false;
}

bool role_set_allows(const struct role_set *set, const uint64_t *bits, const struct role_request *request,
                     uint32_t *role)
{
    uint32_t words = role_set_words(set);
    for (uint32_t word = 0; word < words; word++) {
        for (uint64_t rest = bits[word]; rest; rest &= rest - 1) {
            uint32_t at = word * 64 + (uint32_t)__builtin_ctzll(rest);
            if (!role_allows(&set->roles[at], request)) continue;
            if (role) *role = at;
            return true;
        }
    }
    return false;
}
