/* cli/table.c: see table.h. What a cell shows is chosen by the column, from the item's own members. */
#include "cli/table.h"

#include "base/memory.h"

#define COLUMNS_MAX 8
#define CELL_BYTES_MAX 60

struct column {
    const char *head, *field; /* field: a member, or what cell_text() knows by this name */
};

static const struct column columns[RESOURCE_KIND_COUNT][COLUMNS_MAX] = {
    [RESOURCE_SERVICE] = { { "NAME", "name" },
                           { "PROTOCOL", "protocol" },
                           { "INSTANCES", "instances" },
                           { "BALANCING", "lbAlgorithm" },
                           { "CHECK", "healthCheck" },
                           { "TAGS", "tags" } },
    [RESOURCE_ROUTE] = { { "NAME", "name" },
                         { "HOST", "host" },
                         { "PATH", "path" },
                         { "METHODS", "methods" },
                         { "ENDS IN", "ending" },
                         { "PRIORITY", "priority" },
                         { "ENABLED", "enabled" } },
    [RESOURCE_PLUGIN] = { { "NAME", "name" },
                          { "INSTANCE", "instanceName" },
                          { "ROUTES", "routes" },
                          { "SERVICES", "services" },
                          { "PRIORITY", "priority" },
                          { "ENABLED", "enabled" } },
    [RESOURCE_RATE_LIMIT] = { { "NAME", "name" },
                              { "KEY", "key" },
                              { "LIMIT", "limit" },
                              { "WINDOW", "window" },
                              { "ROUTE", "routeId" },
                              { "SERVICE", "serviceId" },
                              { "ENABLED", "enabled" } },
    [RESOURCE_ROLE] = { { "NAME", "name" }, { "PERMISSIONS", "permissions" }, { "TAGS", "tags" } },
    [RESOURCE_CERTIFICATE] = { { "NAME", "name" }, { "LISTENERS", "listeners" }, { "TAGS", "tags" } },
    [RESOURCE_API_KEY] = { { "ID", "id" },
                           { "PREFIX", "keyPrefix" },
                           { "CLIENT", "clientName" },
                           { "SCOPES", "scopes" },
                           { "TIER", "rateLimitTier" },
                           { "EXPIRES", "expiresAt" },
                           { "ENABLED", "enabled" },
                           { "LAST USED", "lastUsedAt" } },
};

static char *instance_text(const json_t *instance)
{
    const char *host = json_string_value(json_object_get(instance, "host"));
    if (!host) return NULL;
    return memory_format(strchr(host, ':') ? "[%s]:%lld" : "%s:%lld", host,
                         (long long)json_integer_value(json_object_get(instance, "port")));
}

static char *value_text(const json_t *value);

/* "a, b and 3 more" once it gets long. */
static char *list_text(const json_t *list)
{
    size_t count = json_array_size(list), index;
    const json_t *item;
    char *text = memory_copy_slice(SLICE(""));
    json_array_foreach(list, index, item)
    {
        char *piece = value_text(item);
        bool is_long = index > 0 && strlen(text) + strlen(piece) > CELL_BYTES_MAX - 12;
        char *longer = is_long ? memory_format("%s and %zu more", text, count - index)
                               : memory_format("%s%s%s", text, index ? ", " : "", piece);
        free(piece);
        free(text);
        text = longer;
        if (is_long) break;
    }
    return text;
}

static char *value_text(const json_t *value)
{
    if (json_is_string(value)) return memory_copy_slice(slice_from_cstring(json_string_value(value)));
    if (json_is_integer(value)) return memory_format("%lld", (long long)json_integer_value(value));
    if (json_is_real(value)) return memory_format("%g", json_real_value(value));
    if (json_is_boolean(value)) return memory_copy_slice(json_is_true(value) ? SLICE("yes") : SLICE("no"));
    if (json_is_array(value)) return list_text(value);
    char *instance = json_is_object(value) ? instance_text(value) : NULL;
    if (instance) return instance;
    const char *path = json_string_value(json_object_get(value, "path"));
    if (path) return memory_copy_slice(slice_from_cstring(path));
    return json_is_object(value) ? memory_format("%zu fields", json_object_size(value)) : memory_copy_slice(SLICE("-"));
}

/* "blue, green" */
static char *split_text(const json_t *services)
{
    char *text = memory_copy_slice(SLICE(""));
    size_t index;
    const json_t *service;
    json_array_foreach(services, index, service)
    {
        const char *name = json_string_value(json_object_get(service, "serviceId"));
        char *more = memory_format("%s%s%s", text, index ? ", " : "", name ? name : "-");
        free(text);
        text = more;
    }
    return text;
}

static char *ending_text(const json_t *route)
{
    const char *service = json_string_value(json_object_get(route, "serviceId"));
    const char *to = json_string_value(json_object_get(json_object_get(route, "redirect"), "to"));
    const json_t *split = json_object_get(route, "split");
    const char *canary = json_string_value(json_object_get(split, "canaryServiceId"));
    if (service && canary) return memory_format("%s, %s", service, canary);
    if (service) return memory_copy_slice(slice_from_cstring(service));
    if (split) return split_text(json_object_get(split, "services"));
    if (to) return memory_format("-> %s", to);
    return memory_format("status %lld",
                         (long long)json_integer_value(json_object_get(json_object_get(route, "respond"), "status")));
}

/* Whatever stands in a resource, a terminal gets no control characters, and not too much of it. */
static void make_printable(char *text)
{
    size_t length = strlen(text);
    if (length > CELL_BYTES_MAX) {
        length = CELL_BYTES_MAX;
        while (length > 0 && ((unsigned char)text[length] & 0xC0) == 0x80) length--;
        text[length] = '\0';
    }
    for (char *at = text; *at; at++) {
        if ((unsigned char)*at < 0x20 || *at == 0x7F) *at = '?';
    }
}

static char *cell_text(const struct column *column, const json_t *item)
{
    const json_t *value = json_object_get(item, column->field);
    char *text = strcmp(column->field, "ending") == 0 ? ending_text(item) : value_text(value);
    if (!*text) {
        free(text);
        text = memory_copy_slice(SLICE("-"));
    }
    make_printable(text);
    return text;
}

/* Characters, not bytes: close enough for a terminal. */
static size_t width_of(const char *text)
{
    size_t width = 0;
    for (; *text; text++) width += ((unsigned char)*text & 0xC0) != 0x80;
    return width;
}

static void print_cell(FILE *to, const char *text, size_t width, bool is_last)
{
    fputs(text, to);
    if (is_last) {
        fputc('\n', to);
        return;
    }
    for (size_t i = width_of(text); i < width + 2; i++) fputc(' ', to);
}

void table_print(FILE *to, enum resource_kind kind, const json_t *items)
{
    const struct column *shown = columns[kind];
    size_t rows = json_array_size(items), count = 0, widths[COLUMNS_MAX];
    while (count < COLUMNS_MAX && shown[count].head) count++;
    char **cells = memory_allocate_array(rows * count + 1, sizeof *cells);
    for (size_t j = 0; j < count; j++) {
        widths[j] = strlen(shown[j].head);
        for (size_t i = 0; i < rows; i++) {
            char *text = cells[i * count + j] = cell_text(&shown[j], json_array_get(items, i));
            if (width_of(text) > widths[j]) widths[j] = width_of(text);
        }
    }
    for (size_t j = 0; j < count; j++) print_cell(to, shown[j].head, widths[j], j + 1 == count);
    for (size_t i = 0; i < rows; i++) {
        for (size_t j = 0; j < count; j++) print_cell(to, cells[i * count + j], widths[j], j + 1 == count);
    }
    for (size_t i = 0; i < rows * count; i++) free(cells[i]);
    free(cells);
}
