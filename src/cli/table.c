/* cli/table.c: see table.h. What a cell shows is chosen by the column, from the item's own members. */
#include "cli/table.h"

#include "base/memory.h"

#define CELL_BYTES_MAX 60

static const struct table_column resource_columns[RESOURCE_KIND_COUNT][TABLE_COLUMNS_MAX] = {
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

static const char *text_in(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "-";
}

/* "blue 90 %, green 10 %": of the weights' sum, as requests are dealt. */
static char *shares_text(const json_t *services)
{
    char *text = memory_copy_slice(SLICE(""));
    size_t index;
    const json_t *service;
    double sum = 0;
    json_array_foreach(services, index, service) sum += json_number_value(json_object_get(service, "weight"));
    json_array_foreach(services, index, service)
    {
        double weight = json_number_value(json_object_get(service, "weight"));
        char *more = memory_format("%s%s%s %.3g %%", text, index ? ", " : "", text_in(service, "serviceId"),
                                   sum > 0 ? 100 * weight / sum : 0);
        free(text);
        text = more;
    }
    return text;
}

static char *split_text(const json_t *route, const json_t *split)
{
    double percentage = json_number_value(json_object_get(split, "canaryPercentage"));
    if (!json_is_string(json_object_get(split, "canaryServiceId")))
        return shares_text(json_object_get(split, "services"));
    return memory_format("%s %.3g %%, %s %.3g %%", text_in(route, "serviceId"), 100 - percentage,
                         text_in(split, "canaryServiceId"), percentage);
}

/* "aggregate: users, orders" */
static char *aggregate_text(const json_t *aggregate)
{
    char *text = memory_copy_slice(SLICE("aggregate: "));
    size_t index;
    const json_t *part;
    json_array_foreach(json_object_get(aggregate, "parts"), index, part)
    {
        char *more = memory_format("%s%s%s", text, index ? ", " : "", text_in(part, "service"));
        free(text);
        text = more;
    }
    return text;
}

static char *ending_text(const json_t *route)
{
    const char *service = json_string_value(json_object_get(route, "serviceId"));
    const char *to = json_string_value(json_object_get(json_object_get(route, "redirect"), "to"));
    const json_t *split = json_object_get(route, "split"), *respond = json_object_get(route, "respond");
    const json_t *aggregate = json_object_get(route, "aggregate");
    if (json_is_object(split)) return split_text(route, split);
    if (service) return memory_copy_slice(slice_from_cstring(service));
    if (to) return memory_format("-> %s", to);
    if (json_is_object(aggregate)) return aggregate_text(aggregate);
    return memory_format("status %lld", (long long)json_integer_value(json_object_get(respond, "status")));
}

/* "GET, HEAD /api/x; all users": methods, then routes and paths, of each permission. */
static char *permissions_text(const json_t *permissions)
{
    char *text = memory_copy_slice(SLICE(""));
    size_t index;
    const json_t *permission;
    json_array_foreach(permissions, index, permission)
    {
        char *methods = list_text(json_object_get(permission, "methods"));
        char *routes = list_text(json_object_get(permission, "routes"));
        char *paths = list_text(json_object_get(permission, "paths"));
        bool is_all = !*routes && !*paths;
        char *more = memory_format("%s%s%s %s%s%s%s", text, index ? "; " : "", *methods ? methods : "all", routes,
                                   *routes && *paths ? ", " : "", paths, is_all ? "everywhere" : "");
        free(paths);
        free(routes);
        free(methods);
        free(text);
        text = more;
    }
    return text;
}

/* --- changes --- */

static char sign_of(const json_t *change)
{
    const char *word = json_string_value(json_object_get(change, "change"));
    return !word ? '?' : *word == 'c' ? '+' : *word == 'd' ? '-' : '~';
}

char *table_change_subject(const json_t *change)
{
    const char *kind = text_in(change, "kind"), *id = text_in(change, "id");
    const char *name = json_string_value(json_object_get(change, "name"));
    const char *policy = json_string_value(json_object_get(change, "policy"));
    bool has_name = name && strcmp(name, id) != 0;
    if (!has_name && policy) return memory_format("%s %s (%s)", kind, policy, id);
    return memory_format("%s %s", kind, name ? name : id);
}

static void print_difference(FILE *to, const json_t *difference)
{
    char *before = json_dumps(json_object_get(difference, "before"), JSON_ENCODE_ANY);
    char *after = json_dumps(json_object_get(difference, "after"), JSON_ENCODE_ANY);
    fprintf(to, "    %s: %s -> %s\n", text_in(difference, "pointer"), before ? before : "-", after ? after : "-");
    free(before);
    free(after);
}

void table_print_changes(FILE *to, const json_t *changes)
{
    size_t index, place;
    const json_t *change, *difference;
    json_array_foreach(changes, index, change)
    {
        char *subject = table_change_subject(change);
        fprintf(to, "%c %s\n", sign_of(change), subject);
        free(subject);
        if (sign_of(change) != '~') continue;
        json_array_foreach(json_object_get(change, "difference"), place, difference) print_difference(to, difference);
    }
}

/* "+ routes checkout, ~ services users" */
static char *changes_text(const json_t *changes)
{
    char *text = memory_copy_slice(SLICE(""));
    size_t index;
    const json_t *change;
    json_array_foreach(changes, index, change)
    {
        char *subject = table_change_subject(change);
        char *more = memory_format("%s%s%c %s", text, index ? ", " : "", sign_of(change), subject);
        free(subject);
        free(text);
        text = more;
    }
    return text;
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

/* What is no member as it is. */
static char *field_text(const char *field, const json_t *item)
{
    const json_t *value = json_object_get(item, field);
    if (strcmp(field, "ending") == 0) return ending_text(item);
    if (strcmp(field, "permissions") == 0) return permissions_text(value);
    if (strcmp(field, "changes") == 0) return changes_text(value);
    return value_text(value);
}

static char *cell_text(const struct table_column *column, const json_t *item)
{
    char *text = field_text(column->field, item);
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

void table_print(FILE *to, const struct table_column columns[TABLE_COLUMNS_MAX], const json_t *items)
{
    size_t rows = json_array_size(items), count = 0, widths[TABLE_COLUMNS_MAX];
    while (count < TABLE_COLUMNS_MAX && columns[count].head) count++;
    char **cells = memory_allocate_array(rows * count + 1, sizeof *cells);
    for (size_t j = 0; j < count; j++) {
        widths[j] = strlen(columns[j].head);
        for (size_t i = 0; i < rows; i++) {
            char *text = cells[i * count + j] = cell_text(&columns[j], json_array_get(items, i));
            if (width_of(text) > widths[j]) widths[j] = width_of(text);
        }
    }
    for (size_t j = 0; j < count; j++) print_cell(to, columns[j].head, widths[j], j + 1 == count);
    for (size_t i = 0; i < rows; i++) {
        for (size_t j = 0; j < count; j++) print_cell(to, cells[i * count + j], widths[j], j + 1 == count);
    }
    for (size_t i = 0; i < rows * count; i++) free(cells[i]);
    free(cells);
}

void table_print_resources(FILE *to, enum resource_kind kind, const json_t *items)
{
    table_print(to, resource_columns[kind], items);
}

void table_print_json(const json_t *value)
{
    char *text = json_dumps(value, JSON_INDENT(2) | JSON_ENCODE_ANY | JSON_REAL_PRECISION(15));
    PROMISE(text != NULL);
    puts(text);
    free(text);
}
