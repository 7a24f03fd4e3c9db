/* admin/endpoints.c: what the API takes: one row a path and method. Everything that speaks of endpoints reads this table. */
#include "admin/private.h"

#define BODY_BYTES (1u << 20)
#define CONFIGURATION_BYTES (64u << 20)

#define CHANGE_QUERIES "dryRun comment"

/* A path's rows stand together; special paths come before those with {kind} that would take them too. */
const struct admin_endpoint admin_endpoints[] = {
    { "/live", METHOD_GET, ACCESS_ANYBODY, "", 0, false, admin_live, "Is the process alive?" },
    { "/ready", METHOD_GET, ACCESS_ANYBODY, "", 0, false, admin_ready,
      "Are routes in force, and is it not draining? 503 if not." },
    { "/admin", METHOD_GET, ACCESS_READ, "", 0, false, admin_index, "The version and all endpoints." },
    { "/admin/health", METHOD_GET, ACCESS_READ, "", 0, false, admin_health_get,
      "The store, the workers, the configuration in force." },
    { "/admin/metrics", METHOD_GET, ACCESS_READ, "", 0, false, admin_metrics, "All metrics, for Prometheus." },
    { "/admin/openapi.json", METHOD_GET, ACCESS_READ, "", 0, false, admin_openapi,
      "This API as an OpenAPI 3.1 document." },
    { "/admin/config", METHOD_GET, ACCESS_READ, "tag", 0, false, admin_config_get,
      "The whole configuration, or what has a tag." },
    { "/admin/config", METHOD_PUT, ACCESS_CHANGE, "tag " CHANGE_QUERIES, CONFIGURATION_BYTES, false, admin_config_put,
      "Makes the configuration, or what has a tag, as the body says: all of it or nothing." },
    /* Whoever tries a change learns which files and variables of the environment it could name are there. */
    { "/admin/validate", METHOD_POST, ACCESS_CHANGE, "tag", CONFIGURATION_BYTES, false, admin_validate,
      "What a change { method, path, body }, or a whole configuration, would do." },
    { "/admin/revisions", METHOD_GET, ACCESS_READ, "limit cursor", 0, false, admin_revisions,
      "Who changed what, newest first." },
    { "/admin/revisions/{number}", METHOD_GET, ACCESS_READ, "", 0, false, admin_revision,
      "One revision with its differences." },
    { "/admin/revisions/{number}/rollback", METHOD_POST, ACCESS_CHANGE, CHANGE_QUERIES, BODY_BYTES, true,
      admin_rollback, "Makes everything but API keys as it was at that revision." },
    { "/admin/routes/{id}/stats", METHOD_GET, ACCESS_READ, "", 0, false, admin_route_stats,
      "A route's requests, latencies and errors over 1 m, 5 m and in all." },
    { "/admin/routes/{id}/mirror", METHOD_GET, ACCESS_READ, "", 0, false, admin_route_mirror,
      "What became of a route's mirrored requests, and where the answers differed last." },
    { "/admin/api-keys/{id}/rotate", METHOD_POST, ACCESS_CHANGE, "comment", BODY_BYTES, true, admin_rotate_key,
      "A new key in the place of one that goes on for { overlap } seconds." },
    { "/admin/{kind}", METHOD_GET, ACCESS_READ, "limit cursor serviceId routeId tag name enabled clientId", 0, false,
      admin_list, "A list, oldest first, by pages." },
    { "/admin/{kind}", METHOD_POST, ACCESS_CHANGE, CHANGE_QUERIES, BODY_BYTES, false, admin_create, "Creates one." },
    { "/admin/{kind}/{id}", METHOD_GET, ACCESS_READ, "", 0, false, admin_get, "One, by id or name." },
    { "/admin/{kind}/{id}", METHOD_PUT, ACCESS_CHANGE, CHANGE_QUERIES, BODY_BYTES, false, admin_put,
      "Replaces one, or creates it." },
    { "/admin/{kind}/{id}", METHOD_PATCH, ACCESS_CHANGE, CHANGE_QUERIES, BODY_BYTES, false, admin_patch,
      "Changes some fields (RFC 7396)." },
    { "/admin/{kind}/{id}", METHOD_DELETE, ACCESS_CHANGE, "cascade " CHANGE_QUERIES, 0, false, admin_delete,
      "Deletes one; with ?cascade=true what uses it too." },
};
const size_t admin_endpoint_count = COUNT_OF(admin_endpoints);

/* The next segment of a path that begins with '/'. */
static bool next_segment(struct slice *rest, struct slice *segment)
{
    if (rest->length == 0 || rest->at[0] != '/') return false;
    *rest = slice_after(*rest, 1);
    size_t end = slice_find_byte(*rest, '/');
    *segment = slice_before(*rest, end);
    *rest = end == SLICE_NOT_FOUND ? SLICE_ABSENT : slice_after(*rest, end);
    return true;
}

static bool segment_fits(struct arena *arena, struct slice wanted, struct slice segment, struct admin_place *place)
{
    if (wanted.length == 0 || wanted.at[0] != '{') return slice_equal(wanted, segment);
    if (slice_equal(wanted, SLICE("{kind}"))) {
        place->type = resource_type_find(segment);
        return place->type != NULL;
    }
    place->target = admin_percent_decode(arena, segment);
    return place->target.length > 0;
}

static bool path_fits(struct arena *arena, const char *pattern, struct slice path, struct admin_place *place)
{
    struct slice pattern_rest = slice_from_cstring(pattern), rest = path, wanted, segment;
    *place = (struct admin_place){ .target = SLICE_ABSENT };
    while (next_segment(&pattern_rest, &wanted)) {
        if (!next_segment(&rest, &segment) || !segment_fits(arena, wanted, segment, place)) return false;
    }
    if (rest.length > 0) return false;
    /* The paths with more behind a kind that only some have: the kind is a word of the pattern. */
    struct slice kind = slice_after(slice_from_cstring(pattern), strlen("/admin/"));
    if (!place->type && !slice_is_absent(place->target))
        place->type = resource_type_find(slice_before(kind, slice_find_byte(kind, '/')));
    return true;
}

static struct slice add_to_allow(struct arena *arena, struct slice allow, enum method method)
{
    struct slice more = method == METHOD_GET ? SLICE("GET, HEAD") : method_name(method);
    struct slice separator = slice_is_absent(allow) ? SLICE("") : SLICE(", ");
    return arena_join(arena, (struct slice[]){ allow, separator, more }, 3);
}

const struct admin_endpoint *admin_endpoint_find(struct arena *arena, struct slice path, enum method method,
                                                 struct admin_place *place, struct slice *allow)
{
    const char *found = NULL;
    if (method == METHOD_HEAD) method = METHOD_GET;
    *allow = SLICE_ABSENT;
    for (size_t i = 0; i < admin_endpoint_count; i++) {
        const struct admin_endpoint *endpoint = &admin_endpoints[i];
        if (found ? strcmp(found, endpoint->path) != 0 : !path_fits(arena, endpoint->path, path, place)) continue;
        found = endpoint->path; /* the first path that fits is the one */
        if (endpoint->method == method) return endpoint;
        *allow = add_to_allow(arena, *allow, endpoint->method);
    }
    return NULL;
}
