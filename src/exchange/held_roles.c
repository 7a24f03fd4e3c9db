/* exchange/held_roles.c: which roles the caller has. Asked of few requests more than once, so it is found when it is first asked for. */
#include "exchange/exchange.h"
#include "exchange/identity.h"
#include "json/value.h"

static const struct slice default_names[] = { { "roles", 5 } };
static const struct role_claims default_claims = { default_names, COUNT_OF(default_names) };

/* What is found is kept beside what it is found from: for who looks on, the exchange stays as it is. */
static struct identity *memory_of(const struct exchange *exchange)
{
    return &((struct exchange *)(uintptr_t)exchange)->identity;
}

void identity_forget_roles(struct exchange *exchange)
{
    struct identity *identity = &exchange->identity;
    identity->role_bits = NULL;
    identity->role_sources = 0;
    identity->role_names = NULL;
    identity->role_name_count = 0;
}

void identity_set_role_claims(struct exchange *exchange, const struct role_claims *claims)
{
    if (exchange->identity.role_claims == claims) return;
    exchange->identity.role_claims = claims;
    identity_forget_roles(exchange);
}

/* --- claims --- */

/* One step of a JSON pointer against a member's name: "~1" is '/', "~0" is '~' (RFC 6901 4). */
static bool step_is(struct slice step, struct slice name)
{
    size_t at = 0;
    for (size_t i = 0; i < name.length; i++, at++) {
        char byte = at < step.length ? step.at[at] : '\0';
        if (byte == '~' && at + 1 < step.length) byte = step.at[++at] == '1' ? '/' : '~';
        if (at >= step.length || byte != name.at[i]) return false;
    }
    return at == step.length;
}

static const struct json_value *find_member(const struct json_value *object, struct slice step)
{
    if (object->type != JSON_OBJECT) return NULL;
    for (uint32_t i = 0; i < object->count; i++) {
        if (step_is(step, object->members[i].name)) return &object->members[i].value;
    }
    return NULL;
}

static const struct json_value *find_claim(const struct json_value *claims, struct slice name)
{
    if (name.length == 0 || name.at[0] != '/') return json_find(claims, name);
    for (struct slice rest = slice_after(name, 1); claims;) {
        size_t end = slice_find_byte(rest, '/');
        claims = find_member(claims, slice_before(rest, end));
        if (end == SLICE_NOT_FOUND) return claims;
        rest = slice_after(rest, end + 1);
    }
    return NULL;
}

/* Walks the texts that the claims name as roles. */
struct claim_walk {
    const struct exchange *exchange;
    size_t claim;                   /* the next one */
    const struct json_value *items; /* of the one before */
    uint32_t item, count;
};

/* A claim that is no list is one item. */
static void walk_into(struct claim_walk *walk, const struct json_value *value)
{
    bool is_list = value && value->type == JSON_ARRAY;
    walk->items = is_list ? value->items : value;
    walk->count = is_list ? value->count : value != NULL;
    walk->item = 0;
}

static bool next_claimed(struct claim_walk *walk, struct slice *role)
{
    const struct identity *identity = &walk->exchange->identity;
    const struct role_claims *claims = identity->role_claims ? identity->role_claims : &default_claims;
    if (LIKELY(!identity->claims)) return false;
    for (;;) {
        while (walk->item < walk->count) {
            const struct json_value *item = &walk->items[walk->item++];
            if (item->type != JSON_STRING) continue;
            *role = item->text;
            return true;
        }
        if (walk->claim == claims->count) return false;
        walk_into(walk, find_claim(identity->claims, claims->names[walk->claim++]));
    }
}

/* --- */

/* Where roles come from, in the order in which they are asked: by what it costs. */
enum role_source { ROLES_BY_SCOPES, ROLES_BY_CLIENT, ROLES_BY_CLAIMS, ROLE_SOURCES };

static void add_by_claims(const struct exchange *exchange, uint64_t *bits)
{
    struct claim_walk walk = { .exchange = exchange };
    struct slice name;
    while (next_claimed(&walk, &name)) {
        uint32_t role = role_set_find(exchange->roles, name);
        if (role != ROLE_NONE) role_hold(bits, role);
    }
}

/* For the roles held, and behind them for those that a source adds. */
static uint64_t *make_room(const struct exchange *exchange, uint32_t words)
{
    uint64_t *few = memory_of(exchange)->few_role_bits;
    if (words > 1) return arena_allocate_zeroed(exchange->arena, 2 * words * sizeof *few);
    few[0] = few[1] = 0;
    return few;
}

/* Asks the next source; what it adds to the roles held stands behind their bits. NULL: memory is short. */
static const uint64_t *ask_next(const struct exchange *exchange)
{
    struct identity *identity = memory_of(exchange);
    const struct role_set *set = exchange->roles;
    uint32_t words = role_set_words(set);
    if (!identity->role_bits) identity->role_bits = make_room(exchange, words);
    if (!identity->role_bits) return NULL;
    uint64_t *bits = identity->role_bits, *added = bits + words;
    if (identity->role_sources > 0) memset(added, 0, words * sizeof *added);
    switch ((enum role_source)identity->role_sources++) {
    case ROLES_BY_SCOPES: role_set_add_by_scopes(set, identity->scopes, added); break;
    case ROLES_BY_CLIENT: role_set_add_by_client(set, identity->client_issuer, identity->client_id, added); break;
    default: add_by_claims(exchange, added);
    }
    for (uint32_t i = 0; i < words; i++) {
        added[i] &= ~bits[i];
        bits[i] |= added[i];
    }
    return added;
}

const uint64_t *identity_role_bits(const struct exchange *exchange)
{
    while (exchange->identity.role_sources < ROLE_SOURCES) {
        if (!ask_next(exchange)) return NULL;
    }
    return exchange->identity.role_bits;
}

bool identity_roles_allow(const struct exchange *exchange, const struct role_request *request)
{
    const struct identity *identity = &exchange->identity;
    if (identity->role_bits && role_set_allows(exchange->roles, identity->role_bits, request, NULL)) return true;
    while (identity->role_sources < ROLE_SOURCES) {
        const uint64_t *added = ask_next(exchange);
        if (!added) return false;
        if (role_set_allows(exchange->roles, added, request, NULL)) return true;
    }
    return false;
}

bool identity_has_role(const struct exchange *exchange, struct slice name)
{
    uint32_t role = role_set_find(exchange->roles, name);
    if (role != ROLE_NONE) {
        const uint64_t *bits = identity_role_bits(exchange);
        return bits && role_is_held(bits, role);
    }
    struct claim_walk walk = { .exchange = exchange };
    struct slice claimed;
    while (next_claimed(&walk, &claimed)) {
        if (slice_equal(claimed, name)) return true;
    }
    return false;
}

/* Claims may name a role twice, and one by the set's other word for it: it stands in the list once. */
static uint32_t add_claimed(const struct exchange *exchange, struct slice *names, uint32_t count, uint32_t room)
{
    struct claim_walk walk = { .exchange = exchange };
    struct slice claimed;
    uint32_t first = count;
    while (count < room && next_claimed(&walk, &claimed)) {
        bool known = role_set_find(exchange->roles, claimed) != ROLE_NONE;
        for (uint32_t i = first; i < count && !known; i++) known = slice_equal(names[i], claimed);
        if (!known) names[count++] = claimed;
    }
    return count;
}

/* A token can name many: looking for doubles among more of them would cost too much. */
#define CLAIMED_MAX 256

const struct slice *identity_roles(const struct exchange *exchange, uint32_t *count)
{
    struct identity *identity = memory_of(exchange);
    *count = identity->role_name_count;
    if (identity->role_names) return identity->role_names;
    const uint64_t *bits = identity_role_bits(exchange);
    if (!bits) return NULL;
    uint32_t held = 0, claimed = 0, known = role_set_count(exchange->roles);
    struct claim_walk walk = { .exchange = exchange };
    struct slice ignored;
    for (uint32_t i = 0; i < role_set_words(exchange->roles); i++) held += (uint32_t)__builtin_popcountll(bits[i]);
    while (claimed < CLAIMED_MAX && next_claimed(&walk, &ignored)) claimed++;
    struct slice *names = arena_allocate(exchange->arena, (held + claimed + 1) * sizeof *names);
    if (!names) return NULL;
    uint32_t at = 0;
    for (uint32_t i = 0; i < known; i++) {
        if (role_is_held(bits, i)) names[at++] = role_set_name(exchange->roles, i);
    }
    identity->role_name_count = *count = add_claimed(exchange, names, at, held + claimed);
    identity->role_names = names;
    return names;
}
