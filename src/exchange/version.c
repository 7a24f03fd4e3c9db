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

static struct slice in_path(const struct api_versions_config *api, struct slice path)
{
    if (slice_is_absent(api->path_prefix)) return SLICE_ABSENT;
    struct slice prefix = slice_before(api->path_prefix, api->path_prefix.length - (sizeof "{version}" - 1));
    if (!slice_starts_with(path, prefix)) return SLICE_ABSENT;
    struct slice rest = slice_after(path, prefix.length);
    struct slice version = slice_before(rest, slice_find_byte(rest, '/'));
    return version.length > 0 ? version : SLICE_ABSENT;
}

static struct slice in_header(const struct api_versions_config *api, const struct request_head *request)
{
    const struct header *header = slice_is_absent(api->header) ? NULL : headers_find(&request->headers, api->header);
    return header ? header->value : SLICE_ABSENT;
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

/* Names of versions need no encoding, so a value that is encoded is none. */
static struct slice in_query(const struct api_versions_config *api, struct slice query)
{
    struct slice rest = query;
    struct form_pair pair;
    if (slice_is_absent(api->query)) return SLICE_ABSENT;
    while (form_next_pair(&rest, &pair)) {
        if (form_reads_as(pair.name, api->query)) return pair.value;
    }
    return SLICE_ABSENT;
}

static void read_asked(struct route_judging *judging, const struct api_versions_config *api)
{
    const struct request_head *request = judging->exchange->request;
    judging->api = api;
    judging->source = VERSION_IN_PATH;
    judging->asked = in_path(api, request->target.path);
    if (!slice_is_absent(judging->asked)) return;
    judging->source = VERSION_IN_HEADER;
    judging->asked = in_header(api, request);
    if (!slice_is_absent(judging->asked)) return;
    judging->source = VERSION_IN_MEDIA_TYPE;
    judging->asked = in_media_type(api, request, judging->buffer);
    if (!slice_is_absent(judging->asked)) return;
    judging->source = VERSION_IN_QUERY;
    judging->asked = in_query(api, request->target.query);
    if (!slice_is_absent(judging->asked)) return;
    judging->source = VERSION_BY_DEFAULT;
    judging->asked = api->default_version;
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

/* A browser's preflight has neither the header nor the media type of the request that it asks about (Fetch 4.8): it is for all versions, unless
 * its URL says which. */
static bool is_in_head(const struct route_judging *judging)
{
    return judging->source != VERSION_IN_PATH && judging->source != VERSION_IN_QUERY;
}

bool version_fits(struct route_judging *judging, const struct compiled_route *route)
{
    struct slice version;
    const struct api_versions_config *api = api_versions_find(apis_of(judging->exchange), route->version, &version);
    if (UNLIKELY(!api)) return false;
    if (judging->api != api) read_asked(judging, api);
    if (judging->is_preflight && is_in_head(judging)) return true;
    if (slice_equal(judging->asked, version) && !slice_is_absent(judging->asked)) return true;
    judging->refused_api = api;
    if (!slice_is_absent(judging->asked) && !api_versions_get(api, judging->asked)) {
        if (!judging->is_unknown || route->priority > judging->unknown_priority)
            judging->unknown_priority = route->priority;
        judging->is_unknown = true;
    }
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

static void respond(const struct route_judging *judging)
{
    struct exchange *exchange = judging->exchange;
    struct slice known = judging->is_unknown ? api_versions_names(judging->refused_api, exchange->arena)
                                             : offered_names(judging);
    if (slice_is_absent(known)) known = SLICE("others");
    unsigned status = status_of(judging);
    struct slice asked = slice_before(judging->asked, SHOWN_BYTES_MAX);
    if (slice_is_absent(judging->asked))
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

/* Where a path says which version, a version that doesn't exist leads to no route at all. */
static bool find_unknown_in_path(struct route_judging *judging)
{
    const struct object_list *apis = apis_of(judging->exchange);
    for (size_t i = 0; i < apis->count; i++) {
        const struct api_versions_config *api = &((const struct api_versions_config *)apis->items)[i];
        struct slice version = in_path(api, judging->exchange->request->target.path);
        if (slice_is_absent(version) || api_versions_get(api, version)) continue;
        judging->refused_api = api;
        judging->asked = version;
        judging->source = VERSION_IN_PATH;
        judging->is_unknown = true;
        return true;
    }
    return false;
}

bool version_refuses(struct route_judging *judging, enum route_result result, const struct compiled_route *route)
{
    if (result == ROUTE_FOUND) {
        bool is_passed_by = judging->is_unknown && judging->unknown_priority >= route->priority;
        if (LIKELY(!is_passed_by) || !slice_is_absent(route->version)) return false;
    } else if (result != ROUTE_NONE || (!judging->refused_api && !find_unknown_in_path(judging))) {
        return false;
    }
    if (judging->api != judging->refused_api && judging->source != VERSION_IN_PATH)
        read_asked(judging, judging->refused_api);
    respond(judging);
    return true;
}

/* --- what answers say --- */

struct version_notice {
    uint64_t deprecated_s, sunset_s; /* 0: not said */
    struct slice link, vary, vary_too;
};

bool version_take_notice(struct exchange *exchange)
{
    struct slice name;
    const struct api_versions_config *api = api_versions_find(apis_of(exchange), exchange->route->version, &name);
    const struct api_version_config *version = api ? api_versions_get(api, name) : NULL;
    if (!version) return true;
    struct version_notice *notice = arena_allocate_zeroed(exchange->arena, sizeof *notice);
    if (!notice) return false;
    /* The settings may be gone when the answer comes. */
    notice->deprecated_s = version->deprecated_us / 1000000;
    notice->sunset_s = version->sunset_us / 1000000;
    if (!slice_is_absent(version->link)) notice->link = arena_copy(exchange->arena, version->link);
    if (!slice_is_absent(api->header)) notice->vary = arena_copy(exchange->arena, api->header);
    if (!slice_is_absent(api->media_type_parameter)) notice->vary_too = header_id_name(HEADER_ACCEPT);
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
    if (notice->vary.length) good &= headers_add_known(headers, HEADER_VARY, notice->vary);
    if (notice->vary_too.length) good &= headers_add_known(headers, HEADER_VARY, notice->vary_too);
    return good;
}
