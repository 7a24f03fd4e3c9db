/* The table of API versions, and what a route says of them. */
#include "config/api_versions.h"

#include "config/private.h"
#include "http/headers.h"

#define VERSION_BYTES_MAX 64
#define PLACEHOLDER "{version}"

/* What can stand in a path, a header and a media type alike. */
static bool is_version_name(struct slice name)
{
    if (name.length == 0 || name.length > VERSION_BYTES_MAX) return false;
    for (size_t i = 0; i < name.length; i++) {
        char byte = name.at[i];
        bool is_letter = (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z');
        if (!is_letter && !(byte >= '0' && byte <= '9') && byte != '.' && byte != '-' && byte != '_') return false;
    }
    return true;
}

static bool check_version_name(struct schema_reading *reading, const struct node *node, const void *value)
{
    const struct field field = { .name = node->key.at ? node->key.at : "version" };
    return is_version_name(*(const struct slice *)value) ||
           schema_refuse(reading, &field, node, "as in 2, 2.1 or 2026-01-31",
                         "1 to 64 letters, digits, \"-\", \"_\" and \".\"");
}

bool check_route_version(struct schema_reading *reading, const struct node *node, const void *value)
{
    struct slice text = *(const struct slice *)value;
    size_t slash = slice_find_byte(text, '/');
    bool is_good = slash == SLICE_NOT_FOUND
                       ? is_version_name(text)
                       : is_version_name(slice_before(text, slash)) && is_version_name(slice_after(text, slash + 1));
    return is_good || schema_refuse(reading, &(struct field){ .name = "version" }, node, "as in 2 or users/2",
                                    "a version, or an API's name, \"/\" and its version");
}

bool check_predicate(struct schema_reading *reading, const struct node *node, const void *value)
{
    return ((const struct slice *)value)->length > 0 ||
           schema_refuse(reading, &(struct field){ .name = "predicates" }, node, "request.headers[\"x\"] == \"1\"",
                         "an expression");
}

static bool check_path_prefix(struct schema_reading *reading, const struct node *node, const void *value)
{
    struct slice text = *(const struct slice *)value;
    bool is_good = slice_starts_with(text, SLICE("/")) && slice_ends_with(text, SLICE(PLACEHOLDER));
    struct slice before = slice_before(text, text.length - (is_good ? sizeof PLACEHOLDER - 1 : 0));
    is_good &= slice_find_byte(before, '{') == SLICE_NOT_FOUND && slice_find_byte(before, '*') == SLICE_NOT_FOUND &&
               slice_find_byte(before, '?') == SLICE_NOT_FOUND;
    return is_good || schema_refuse(reading, &(struct field){ .name = "pathPrefix" }, node, "/api/v{version}",
                                    "what a path begins with, with {version} at its end");
}

static bool check_token(struct schema_reading *reading, const struct node *node, const void *value)
{
    const struct field field = { .name = node->key.at ? node->key.at : "header" };
    return header_name_is_valid(*(const struct slice *)value) ||
           schema_refuse(reading, &field, node, NULL, "a name of letters, digits and \"-\"");
}

/* It goes into a Link field between '<' and '>' (RFC 8288 3). */
static bool check_link(struct schema_reading *reading, const struct node *node, const void *value)
{
    struct slice text = *(const struct slice *)value;
    bool is_good = slice_starts_with(text, SLICE("https://")) || slice_starts_with(text, SLICE("http://")) ||
                   slice_starts_with(text, SLICE("/"));
    for (size_t i = 0; i < text.length; i++)
        is_good &= text.at[i] > ' ' && text.at[i] < 0x7f && text.at[i] != '<' && text.at[i] != '>' && text.at[i] != '"';
    return is_good ||
           schema_refuse(reading, &(struct field){ .name = "link" }, node, "https://example.com/migration", "a URL");
}

/* --- across fields --- */

/* Each one that was there before, once. */
static void check_no_version_twice(struct schema_reading *reading, const struct node *node,
                                   const struct api_versions_config *api)
{
    const struct api_version_config *versions = api->versions.items;
    const struct node *list = node_find(node, "versions");
    const struct node *item = list && list->kind == NODE_LIST ? list->first : list;
    for (size_t i = 0; i < api->versions.count; i++, item = item ? item->next : NULL) {
        if (api_versions_get(api, versions[i].version) == &versions[i]) continue;
        problems_add(reading->problems, item ? item : node, NULL, "version \"%s\" is there already",
                     problems_excerpt(versions[i].version).text);
    }
}

bool check_api_versions(struct schema_reading *reading, const struct node *node, const void *value)
{
    const struct api_versions_config *api = value;
    size_t before = reading->problems->count;
    if (slice_is_absent(api->path_prefix) && slice_is_absent(api->header) &&
        slice_is_absent(api->media_type_parameter) && slice_is_absent(api->query)) {
        problems_add(reading->problems, node, "header: X-API-Version, for one",
                     "nothing says how a request asks for a version: \"pathPrefix\", \"header\", "
                     "\"mediaTypeParameter\" or \"query\"");
    }
    if (!slice_is_absent(api->default_version) && !api_versions_get(api, api->default_version)) {
        problems_add(reading->problems, node_find(node, "default"), NULL, "\"default\": there is no version \"%s\"",
                     problems_excerpt(api->default_version).text);
    }
    check_no_version_twice(reading, node, api);
    return reading->problems->count == before;
}

static bool check_version(struct schema_reading *reading, const struct node *node, const void *value)
{
    const struct api_version_config *version = value;
    if (version->sunset_us == 0 || version->sunset_us >= version->deprecated_us) return true;
    problems_add(reading->problems, node_find(node, "sunset"), NULL,
                 "\"sunset\" must not be before \"deprecated\""); /* RFC 9745 4 */
    return false;
}

/* --- the tables --- */

static const struct field version_fields[] = {
    { .name = "version",
      .type = FIELD_STRING,
      .into = offsetof(struct api_version_config, version),
      .required = true,
      .check = check_version_name,
      .summary = "Its name, as requests and routes say it." },
    { .name = "deprecated",
      .type = FIELD_CUSTOM,
      .into = offsetof(struct api_version_config, deprecated_us),
      .read = read_time,
      .write = write_time,
      .type_text = "time (RFC 3339)",
      .summary = "Since (or from) when it is deprecated: answers say so (`Deprecation`, RFC 9745)." },
    { .name = "sunset",
      .type = FIELD_CUSTOM,
      .into = offsetof(struct api_version_config, sunset_us),
      .read = read_time,
      .write = write_time,
      .type_text = "time (RFC 3339)",
      .summary = "When it will be gone: answers say so (`Sunset`, RFC 8594). It is served until you take it away." },
    { .name = "link",
      .type = FIELD_STRING,
      .into = offsetof(struct api_version_config, link),
      .check = check_link,
      .summary = "A page about its end, told in `Link`." },
    FIELDS_END,
};

const struct field api_versions_fields[] = {
    { .name = "name",
      .type = FIELD_STRING,
      .into = offsetof(struct api_versions_config, name),
      .fallback = "api",
      .check = check_version_name,
      .summary = "What routes call this API, where there are several." },
    { .name = "pathPrefix",
      .type = FIELD_STRING,
      .into = offsetof(struct api_versions_config, path_prefix),
      .check = check_path_prefix,
      .summary = "A path that begins so says the version: `/api/v{version}`. It goes first." },
    { .name = "header",
      .type = FIELD_STRING,
      .into = offsetof(struct api_versions_config, header),
      .check = check_token,
      .summary = "A request header whose value is the version. It goes second." },
    { .name = "mediaTypeParameter",
      .type = FIELD_STRING,
      .into = offsetof(struct api_versions_config, media_type_parameter),
      .check = check_token,
      .summary =
          "A parameter of the media type in `Accept`, or else in `Content-Type`: `version` for `application/json; version=2`. "
          "It goes third." },
    { .name = "query",
      .type = FIELD_STRING,
      .into = offsetof(struct api_versions_config, query),
      .check = check_token,
      .summary = "A query parameter whose value is the version. It goes last." },
    { .name = "default",
      .type = FIELD_STRING,
      .into = offsetof(struct api_versions_config, default_version),
      .summary = "The version of a request that asks for none. Absent: it must ask, or gets 400." },
    { .name = "versions",
      .type = FIELD_OBJECT_LIST,
      .into = offsetof(struct api_versions_config, versions),
      .fields = version_fields,
      .item_size = sizeof(struct api_version_config),
      .check = check_version,
      .required = true,
      .minimum = 1,
      .maximum = 256,
      .summary = "The versions there are." },
    FIELDS_END,
};

/* --- once it is read --- */

static void copy_text(struct arena *arena, struct slice *text)
{
    if (!slice_is_absent(*text)) *text = arena_keep(arena, *text);
}

static void copy_versions(struct arena *arena, struct object_list *list)
{
    struct api_version_config *versions = config_allocate(arena, list->count * sizeof *versions);
    memcpy(versions, list->items, list->count * sizeof *versions);
    list->items = versions;
    for (size_t i = 0; i < list->count; i++) {
        copy_text(arena, &versions[i].version);
        copy_text(arena, &versions[i].link);
    }
}

struct object_list api_versions_copy(struct arena *arena, const struct object_list *list)
{
    if (list->count == 0) return (struct object_list){ NULL, 0 };
    struct api_versions_config *apis = config_allocate(arena, list->count * sizeof *apis);
    memcpy(apis, list->items, list->count * sizeof *apis);
    for (size_t i = 0; i < list->count; i++) {
        struct slice *texts[] = { &apis[i].name,   &apis[i].path_prefix,
                                  &apis[i].header, &apis[i].media_type_parameter,
                                  &apis[i].query,  &apis[i].default_version };
        for (size_t text = 0; text < COUNT_OF(texts); text++) copy_text(arena, texts[text]);
        copy_versions(arena, &apis[i].versions);
    }
    return (struct object_list){ apis, list->count };
}

const struct api_versions_config *api_versions_find(const struct object_list *list, struct slice reference,
                                                    struct slice *version)
{
    const struct api_versions_config *apis = list->items;
    size_t slash = slice_find_byte(reference, '/');
    *version = slash == SLICE_NOT_FOUND ? reference : slice_after(reference, slash + 1);
    if (slash == SLICE_NOT_FOUND) return list->count == 1 ? &apis[0] : NULL;
    for (size_t i = 0; i < list->count; i++) {
        if (slice_equal(apis[i].name, slice_before(reference, slash))) return &apis[i];
    }
    return NULL;
}

const struct api_version_config *api_versions_get(const struct api_versions_config *api, struct slice version)
{
    const struct api_version_config *versions = api->versions.items;
    for (size_t i = 0; i < api->versions.count; i++) {
        if (slice_equal(versions[i].version, version)) return &versions[i];
    }
    return NULL;
}

struct slice api_versions_names(const struct api_versions_config *api, struct arena *arena)
{
    const struct api_version_config *versions = api->versions.items;
    struct slice text = SLICE("");
    for (size_t i = 0; i < api->versions.count && !slice_is_absent(text); i++) {
        const char *between = i == 0 ? "" : i + 1 == api->versions.count ? " and " : ", ";
        text = arena_format(arena, "%.*s%s%.*s", SLICE_PRINT(text), between, SLICE_PRINT(versions[i].version));
    }
    return text;
}
