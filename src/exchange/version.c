/* exchange/version.c: which version of an API a request asks for, what it is told where there is none, and what answers say of a version.
 *
 * A version that doesn't exist is refused by name rather than answered by whatever else would take the path; one that exists, but not here,
 * is left to routes that serve any version. */
#include "base/clock.h"
#include "config/api_versions.h"
#include "exchange/private.h"
#include "http/form.h"

#define SHOWN_BYTES_MAX 64 /* of what a client sent */

/* --- where it stands --- */

static bool is_digit(char byte) { return byte >= '0' && byte <= '9'; }
static bool is_mark(char byte) { return byte == '.' || byte == '-' || byte == '_'; }

/* A path may begin like the prefix and say no version: /vendors where it is /v{version}. It says one if it begins as one of the API's does. */
static bool begins_like_one(const struct api_versions_config *api, char byte)
{
    const struct api_version_config *versions = api->versions.items;
    for (size_t i = 0; i < api->versions.count; i++) {
        char first = versions[i].version.at[0];
        if (is_digit(first) == is_digit(byte) && is_mark(first) == is_mark(byte)) return true;
    }
    return false;
}

static struct slice prefix_of(const struct api_versions_config *api)
{
    return slice_before(api->path_prefix, api->path_prefix.length - (sizeof "{version}" - 1));
}

static struct slice in_path(const struct api_versions_config *api, struct slice path)
{
    if (slice_is_absent(api->path_prefix) || !slice_starts_with(path, prefix_of(api))) return SLICE_ABSENT;
    struct slice rest = slice_after(path, prefix_of(api).length);
    struct slice version = slice_before(rest, slice_find_byte(rest, '/'));
    return version.length > 0 && begins_like_one(api, version.at[0]) ? version : SLICE_ABSENT;
}

/* *differs: it is there several times, and each reader could take another one. */
static struct slice in_header(const struct api_versions_config *api, const struct request_head *request, bool *differs)
{
    const struct header *header = slice_is_absent(api->header) ? NULL : headers_find(&request->headers, api->header);
    if (!header) return SLICE_ABSENT;
    struct slice version = header->value;
    while ((header = headers_find_next(&request->headers, header)) != NULL)
        *differs |= !slice_equal(header->value, version);
    return version;
}

static struct slice in_media_type(const struct api_versions_config *api, const struct request_head *request,
                                  char buffer[MEDIA_TYPE_VALUE_BYTES_MAX])
{
    if (slice_is_absent(api->media_type_parameter)) return SLICE_ABSENT;
    struct slice accept = headers_combined(&request->headers, HEADER_ACCEPT);
    struct slice version = media_type_parameter(accept, api->media_type_parameter, buffer);
    if (!slice_is_absent(version)) return version;
    return media_type_parameter(headers_value(&request->headers, HEADER_CONTENT_TYPE), api->media_type_parameter,
                                buffer);
}

/* Where memory is too short to decode a value, it stays as it is written, which no version's name is. */
static struct slice in_query(const struct api_versions_config *api, const struct exchange *exchange,
                             struct slice *written, bool *differs)
{
    struct slice rest = exchange->request->target.query, version = SLICE_ABSENT;
    struct form_pair pair;
    if (slice_is_absent(api->query)) return SLICE_ABSENT;
    while (form_next_pair(&rest, &pair)) {
        if (!form_reads_as(pair.name, api->query)) continue;
        struct slice value = form_decode(pair.value, exchange->arena);
        if (slice_is_absent(value)) value = pair.value;
        if (slice_is_absent(version)) *written = pair.value;
        if (slice_is_absent(version)) version = value;
        *differs |= !slice_equal(version, value);
    }
    return version;
}

static struct slice asked_in(struct route_judging *judging, enum version_source source)
{
    const struct request_head *request = judging->exchange->request;
    const struct api_versions_config *api = judging->api;
    switch (source) {
    case VERSION_IN_PATH: return in_path(api, request->target.path);
    case VERSION_IN_HEADER: return in_header(api, request, &judging->differs);
    case VERSION_IN_MEDIA_TYPE: return in_media_type(api, request, judging->buffer);
    case VERSION_IN_QUERY: return in_query(api, judging->exchange, &judging->written, &judging->differs);
    case VERSION_BY_DEFAULT: break;
    }
    return api->default_version;
}

static void read_asked(struct route_judging *judging, const struct api_versions_config *api)
{
    judging->api = api;
    judging->differs = false;
    for (judging->source = VERSION_IN_PATH; judging->source <= VERSION_BY_DEFAULT; judging->source++) {
        judging->asked = asked_in(judging, (enum version_source)judging->source);
        if (!slice_is_absent(judging->asked)) return;
    }
    judging->source = VERSION_BY_DEFAULT;
}

/* --- judging --- */

static void note_offer(struct route_judging *judging, struct slice version)
{
    for (unsigned i = 0; i < judging->offered_count; i++) {
        if (slice_equal(judging->offered[i], version)) return;
    }
    if (judging->offered_count < COUNT_OF(judging->offered)) judging->offered[judging->offered_count++] = version;
}

static const struct object_list *apis_of(const struct exchange *exchange)
{
    return &exchange->pin->snapshot->settings->api_versions;
}

/* A browser's preflight has neither the header nor the media type of the request that it asks about, only the names of its header fields, and
 * of those not of one like Accept, which any page may send (Fetch 4.8, 2.2.2). What its URL says, or will hold without them, is known. */
static bool is_open(const struct route_judging *judging)
{
    const struct api_versions_config *api = judging->api;
    switch ((enum version_source)judging->source) {
    case VERSION_IN_PATH:
    case VERSION_IN_QUERY: return false;
    case VERSION_IN_HEADER:
    case VERSION_IN_MEDIA_TYPE: return true;
    case VERSION_BY_DEFAULT: break;
    }
    return slice_is_absent(judging->asked) || !slice_is_absent(api->media_type_parameter) ||
           (!slice_is_absent(api->header) &&
            headers_list_has(&judging->exchange->request->headers, HEADER_ACCESS_CONTROL_REQUEST_HEADERS, api->header));
}

/* Answers of this URL differ by what the API's header says, and its media type. */
static void note_judged(struct route_judging *judging, const struct api_versions_config *api)
{
    if (judging->source == VERSION_IN_PATH) return;
    for (unsigned i = 0; i < judging->judged_count; i++) {
        if (judging->judged[i] == api) return;
    }
    if (judging->judged_count < COUNT_OF(judging->judged)) judging->judged[judging->judged_count++] = api;
}

static void note_unknown(struct route_judging *judging, int32_t priority)
{
    if (!judging->is_unknown || priority > judging->unknown_priority) judging->unknown_priority = priority;
    judging->is_unknown = true;
}

bool version_fits(struct route_judging *judging, const struct compiled_route *route)
{
    struct slice version;
    const struct api_versions_config *api = api_versions_find(apis_of(judging->exchange), route->version, &version);
    if (UNLIKELY(!api)) return false;
    if (judging->api != api) read_asked(judging, api);
    note_judged(judging, api);
    if (judging->is_preflight && is_open(judging)) return !judging->wants_cors || route->chain->cors_at != 0;
    bool is_asked = !slice_is_absent(judging->asked) && !judging->differs;
    if (is_asked && slice_equal(judging->asked, version)) return true;
    judging->refused_api = api;
    if (judging->differs || (is_asked && !api_versions_get(api, judging->asked)))
        note_unknown(judging, route->priority);
    note_offer(judging, version);
    return false;
}

/* --- refusing --- */

static unsigned status_of(const struct route_judging *judging)
{
    if (slice_is_absent(judging->asked)) return 400;
    switch ((enum version_source)judging->source) {
    case VERSION_IN_HEADER:
    case VERSION_IN_QUERY: return 400;
    case VERSION_IN_MEDIA_TYPE: return 406;
    case VERSION_IN_PATH:
    case VERSION_BY_DEFAULT: break;
    }
    return 404;
}

/* "1, 2 and 3" of those that routes here have. */
static struct slice offered_names(const struct route_judging *judging)
{
    struct arena *arena = judging->exchange->arena;
    struct slice text = SLICE("");
    for (unsigned i = 0; i < judging->offered_count && !slice_is_absent(text); i++) {
        const char *between = i == 0 ? "" : i + 1 == judging->offered_count ? " and " : ", ";
        text = arena_format(arena, "%.*s%s%.*s", SLICE_PRINT(text), between, SLICE_PRINT(judging->offered[i]));
    }
    return text;
}

static void respond_differs(const struct route_judging *judging)
{
    bool is_header = judging->source == VERSION_IN_HEADER;
    struct slice name = is_header ? judging->api->header : judging->api->query;
    exchange_respond_problem(judging->exchange, 400, "version-repeated", SLICE_ABSENT,
                             "%s \"%.*s\" names more than one version; send it once",
                             is_header ? "header" : "query parameter", SLICE_PRINT(name));
}

/* As the request writes it: what a query holds may be any byte once it is decoded, also NUL, where a text would end. */
static struct slice written_of(const struct route_judging *judging)
{
    return judging->source == VERSION_IN_QUERY ? judging->written : judging->asked;
}

static void respond(const struct route_judging *judging)
{
    struct exchange *exchange = judging->exchange;
    struct slice known = judging->is_unknown ? api_versions_names(judging->refused_api, exchange->arena)
                                             : offered_names(judging);
    if (slice_is_absent(known)) known = SLICE("others");
    unsigned status = status_of(judging);
    struct slice asked = slice_before(written_of(judging), SHOWN_BYTES_MAX);
    if (judging->differs)
        respond_differs(judging);
    else if (slice_is_absent(judging->asked))
        exchange_respond_problem(exchange, status, "version-missing", SLICE_ABSENT,
                                 "the request must say which version it wants; there are %.*s", SLICE_PRINT(known));
    else if (judging->is_unknown)
        exchange_respond_problem(exchange, status, "unknown-version", SLICE_ABSENT,
                                 "there is no version \"%.*s\"; there are %.*s", SLICE_PRINT(asked),
                                 SLICE_PRINT(known));
    else
        exchange_respond_problem(exchange, status, "unknown-version", SLICE_ABSENT,
                                 "version \"%.*s\" has nothing here; it is in %.*s", SLICE_PRINT(asked),
                                 SLICE_PRINT(known));
}

/* --- a version in the path that no route has taken --- */

#define PATHS_TRIED_MAX 16 /* for a request that anybody can send */

/* Of what version of the API is the route that takes the path with another version in the place of this one, and goes there before `passed_by`?
 * Absent: none is. A route that takes no such path (/vendors, /v9-archive) is meant by its name. `passed_by` NULL: none takes the
 * path's method. */
static struct slice version_taken_with(const struct route_judging *judging, const struct api_versions_config *api,
                                       struct slice asked, struct slice other, const struct compiled_route *passed_by)
{
    const struct exchange *exchange = judging->exchange;
    struct slice rest = slice_after(exchange->request->target.path, prefix_of(api).length + asked.length);
    struct slice pieces[] = { prefix_of(api), other, rest }, version;
    struct slice path = arena_join(exchange->arena, pieces, COUNT_OF(pieces));
    if (slice_is_absent(path)) return SLICE_ABSENT;
    if (passed_by && !route_matcher_takes_path(passed_by->matcher, exchange->worker->router_scratch, path))
        return SLICE_ABSENT;
    const struct compiled_route *route = routing_try_path(judging, path);
    if (!route || slice_is_absent(route->version)) return SLICE_ABSENT;
    return api_versions_find(apis_of(exchange), route->version, &version) == api ? version : SLICE_ABSENT;
}

static bool takes_other_version(const struct route_judging *judging, const struct api_versions_config *api,
                                struct slice unknown, const struct compiled_route *passed_by, unsigned *tries)
{
    const struct api_version_config *versions = api->versions.items;
    for (size_t i = 0; i < api->versions.count && *tries != 0; i++, --*tries) {
        if (!slice_is_absent(version_taken_with(judging, api, unknown, versions[i].version, passed_by))) return true;
    }
    return false;
}

static void ask_in_path(struct route_judging *judging, const struct api_versions_config *api, struct slice version)
{
    judging->api = api;
    judging->asked = version;
    judging->differs = false;
    judging->source = VERSION_IN_PATH;
}

/* Routes write versions out, so none of them takes a path with a version that isn't there; a catch-all would. */
static bool find_unknown_in_path(struct route_judging *judging, enum route_result result,
                                 const struct compiled_route *route)
{
    const struct object_list *apis = apis_of(judging->exchange);
    unsigned tries = PATHS_TRIED_MAX;
    for (size_t i = 0; i < apis->count; i++) {
        const struct api_versions_config *api = &((const struct api_versions_config *)apis->items)[i];
        struct slice version = in_path(api, judging->exchange->request->target.path);
        if (slice_is_absent(version) || api_versions_get(api, version)) continue;
        if (result != ROUTE_NONE && !takes_other_version(judging, api, version, route, &tries)) continue;
        ask_in_path(judging, api, version);
        judging->refused_api = api;
        judging->is_unknown = true;
        return true;
    }
    return false;
}

/* No route takes the path: the version that it says is there, so the answer says of it what there is to say. True: others have a route here. Of
 * several APIs that the path may be of, it is of the first where that is so, else of the first. */
static bool find_known_in_path(struct route_judging *judging)
{
    const struct object_list *apis = apis_of(judging->exchange);
    const struct api_versions_config *first = NULL;
    struct slice path = judging->exchange->request->target.path;
    unsigned tries = PATHS_TRIED_MAX;
    for (size_t i = 0; i < apis->count; i++) {
        const struct api_versions_config *api = &((const struct api_versions_config *)apis->items)[i];
        const struct api_version_config *versions = api->versions.items;
        struct slice asked = in_path(api, path);
        if (slice_is_absent(asked) || !api_versions_get(api, asked)) continue;
        if (!first) first = api;
        ask_in_path(judging, api, asked);
        for (size_t j = 0; j < api->versions.count && tries > 0; j++, tries--) {
            struct slice taken = version_taken_with(judging, api, asked, versions[j].version, NULL);
            if (!slice_is_absent(taken)) note_offer(judging, taken);
        }
        if (judging->offered_count == 0) continue;
        judging->refused_api = api;
        return true;
    }
    if (first) ask_in_path(judging, first, in_path(first, path));
    return false;
}

static bool is_refused(struct route_judging *judging, enum route_result result, const struct compiled_route *route)
{
    switch (result) {
    case ROUTE_FOUND:
        if (!slice_is_absent(route->version)) return false;
        if (judging->is_unknown && judging->unknown_priority >= route->priority) return true;
        break;
    case ROUTE_METHOD_NOT_ALLOWED:
        if (judging->is_unknown) return true;
        break;
    case ROUTE_NONE:
        if (judging->refused_api) return true;
        break;
    }
    if (find_unknown_in_path(judging, result, route)) return true;
    return result == ROUTE_NONE && find_known_in_path(judging);
}

bool version_refuses(struct route_judging *judging, enum route_result result, const struct compiled_route *route)
{
    if (!is_refused(judging, result, route)) return false;
    if (judging->api != judging->refused_api) read_asked(judging, judging->refused_api);
    respond(judging);
    return true;
}

/* --- what answers say --- */

struct version_notice {
    uint64_t deprecated_s, sunset_s; /* 0: not said */
    struct slice link;
    unsigned vary_count;
    struct slice vary[]; /* names of the header fields that were asked */
};

/* The route's; of a refusal the one that was asked for. NULL: none that is known. */
static const struct api_version_config *version_of_answer(const struct route_judging *judging,
                                                          const struct compiled_route *route)
{
    struct slice name = judging->asked;
    const struct api_versions_config *api = judging->differs || slice_is_absent(name) ? NULL : judging->api;
    if (route) api = api_versions_find(apis_of(judging->exchange), route->version, &name);
    return api ? api_versions_get(api, name) : NULL;
}

static void note_vary(struct version_notice *notice, struct slice name)
{
    for (unsigned i = 0; i < notice->vary_count; i++) {
        if (slice_equal_ignore_case(notice->vary[i], name)) return;
    }
    notice->vary[notice->vary_count++] = name;
}

/* The settings may be gone when the answer comes. */
static void note_judged_fields(const struct route_judging *judging, struct version_notice *notice)
{
    struct arena *arena = judging->exchange->arena;
    for (unsigned i = 0; i < judging->judged_count; i++) {
        const struct api_versions_config *api = judging->judged[i];
        struct slice header = slice_is_absent(api->header) ? SLICE_ABSENT : arena_copy(arena, api->header);
        if (!slice_is_absent(header)) note_vary(notice, header);
        if (!slice_is_absent(api->media_type_parameter)) note_vary(notice, header_id_name(HEADER_ACCEPT));
    }
}

bool version_take_notice(const struct route_judging *judging, const struct compiled_route *route)
{
    struct exchange *exchange = judging->exchange;
    const struct api_version_config *version = version_of_answer(judging, route);
    size_t vary_max = 2 * (size_t)judging->judged_count;
    if (vary_max == 0 && (!version || (version->deprecated_us == 0 && version->sunset_us == 0))) return true;
    struct version_notice *notice = arena_allocate_zeroed(exchange->arena,
                                                          sizeof *notice + vary_max * sizeof notice->vary[0]);
    if (!notice) return false;
    if (version) {
        notice->deprecated_s = version->deprecated_us / 1000000;
        notice->sunset_s = version->sunset_us / 1000000;
        if (!slice_is_absent(version->link)) notice->link = arena_copy(exchange->arena, version->link);
    }
    note_judged_fields(judging, notice);
    exchange->version_notice = notice;
    return true;
}

static bool add_link(struct headers *headers, struct arena *arena, struct slice link, const char *relation)
{
    struct slice value = arena_format(arena, "<%.*s>; rel=\"%s\"", SLICE_PRINT(link), relation);
    return !slice_is_absent(value) && headers_add(headers, SLICE("Link"), value);
}

/* RFC 9745 2, 3; RFC 8594 3, 6. False: memory is short. */
bool version_add_fields(const struct exchange *exchange, struct headers *headers)
{
    const struct version_notice *notice = exchange->version_notice;
    struct arena *arena = exchange->arena;
    bool good = true;
    if (notice->deprecated_s) {
        struct slice at = arena_format(arena, "@%llu", (unsigned long long)notice->deprecated_s);
        good &= !slice_is_absent(at) && headers_set(headers, SLICE("Deprecation"), at);
        if (notice->link.length) good &= add_link(headers, arena, notice->link, "deprecation");
    }
    if (notice->sunset_s) {
        char date[CLOCK_HTTP_DATE_BYTES];
        clock_write_http_date(notice->sunset_s * 1000000000, date);
        struct slice at = arena_copy(arena, slice_from_cstring(date));
        good &= !slice_is_absent(at) && headers_set(headers, SLICE("Sunset"), at);
        if (notice->link.length) good &= add_link(headers, arena, notice->link, "sunset");
    }
    for (unsigned i = 0; i < notice->vary_count; i++) {
        if (headers_list_has(headers, HEADER_VARY, notice->vary[i])) continue; /* the service said it too */
        good &= headers_add_known(headers, HEADER_VARY, notice->vary[i]);
    }
    return good;
}
