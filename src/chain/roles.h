/* chain/roles.h: roles compiled: who has one, and which requests they allow.
 *
 * A role set is all roles of one configuration, immutable and counted: a snapshot holds one, and so does an exchange that has let its
 * snapshot go. Roles are called by their index in it; who has which is a row of bits. Any thread reads, retains and drops. */
#ifndef SLUICE_CHAIN_ROLES_H
#define SLUICE_CHAIN_ROLES_H

#include "config/problems.h"
#include "config/resources.h"
#include "http/method.h"
#include "route/router.h"

struct role_set;

/* One reference, the caller's. Copies what it needs. NULL: problems were added, each where the path was written, or at the role's node. */
struct role_set *role_set_create(const struct role_config *, size_t count, struct problems *);
void role_set_retain(const struct role_set *);
void role_set_drop(const struct role_set *); /* NULL is allowed */

uint32_t role_set_count(const struct role_set *); /* of NULL: 0, as everywhere below */
struct slice role_set_name(const struct role_set *, uint32_t role);
#define ROLE_NONE UINT32_MAX
/* By name, or by id. */
uint32_t role_set_find(const struct role_set *, struct slice name);

/* Bits of roles: role_set_words() words, one bit a role from the lowest on. */
static inline uint32_t role_set_words(const struct role_set *set) { return (role_set_count(set) + 63) / 64; }
static inline bool role_is_held(const uint64_t *bits, uint32_t role) { return bits[role / 64] >> role % 64 & 1; }
static inline void role_hold(uint64_t *bits, uint32_t role) { bits[role / 64] |= UINT64_C(1) << role % 64; }

/* Adds the roles that somebody has by any of these scopes (separated by single spaces). */
void role_set_add_by_scopes(const struct role_set *, struct slice scopes, uint64_t *bits);
/* Or as this client of this issuer's. Absent: of none that configuration names, as an API key's; these share no client with any issuer. */
void role_set_add_by_client(const struct role_set *, struct slice issuer, struct slice client_id, uint64_t *bits);

/* What is asked for. */
struct role_request {
    enum method method;
    struct slice method_text;
    struct slice route_id, route_name;
    struct slice path; /* normal, without query */
    struct router_scratch *scratch;
};
/* Some permission of some held role fits: methods (GET's serve HEAD too), routes and paths, each where the permission has any. *role (may be
 * NULL) becomes that role. Costs by the permissions of roles that are held. */
bool role_set_allows(const struct role_set *, const uint64_t *bits, const struct role_request *, uint32_t *role);

#endif
