/* A document and the columns of its row. A field that has a column stands there, as a value of the column's type; all others stand in the
 * column `more`, a JSON object, as they were written. Joined again by the order of the kind's schema table, they are the document.
 *
 * Should they ever not be (a field order of another version, a text that can be written in two ways), which row_split finds out by
 * joining what it has split, `more` is {"$document": ...} and says it all; the columns are filled all the same, for those who read them. */
#include "store/private.h"

#include "base/memory.h"

#include <inttypes.h>

static const struct column service_columns[] = {
    { "name", "name", COLUMN_TEXT, .absent = "\"\"" },
    { "protocol", "protocol", COLUMN_TEXT, .absent = "\"http\"" },
    { "discovery_type", "discoveryType", COLUMN_TEXT, .absent = "\"static\"" },
    { "instances", "instances", COLUMN_JSON, .absent = "[]" },
    { "health_check", "healthCheck", COLUMN_JSON, .absent = NULL },
    { "lb_algorithm", "lbAlgorithm", COLUMN_TEXT, .absent = "\"round_robin\"" },
    { "circuit_breaker", "circuitBreaker", COLUMN_JSON, .absent = NULL },
    { "tags", "tags", COLUMN_JSON, .absent = NULL },
};

static const struct column route_columns[] = {
    { "name", "name", COLUMN_TEXT, .absent = "\"\"" },
    { "path_pattern", "path", COLUMN_TEXT, .absent = "\"\"" },
    { "methods", "methods", COLUMN_JSON, .absent = NULL },
    { "service_id", "serviceId", COLUMN_REFERENCE, .written_name = "service_name", .target = RESOURCE_SERVICE },
    { "strip_prefix", "stripPrefix", COLUMN_BOOLEAN, .absent = "true" },
    { "priority", "priority", COLUMN_INTEGER, .absent = "0" },
    { "timeout_ms", "timeoutMs", COLUMN_INTEGER, .absent = "30000" },
    { "retry_count", "retryCount", COLUMN_INTEGER, .absent = "1" },
    { "retry_on", "retryOn", COLUMN_JSON, .absent = "[\"5xx\",\"reset\",\"connect-failure\"]" },
    { "enabled", "enabled", COLUMN_BOOLEAN, .absent = "true" },
    { "tags", "tags", COLUMN_JSON, .absent = NULL },
};

static const struct column plugin_columns[] = {
    { "name", "name", COLUMN_TEXT, .absent = "\"\"" },
    { "instance_name", "instanceName", COLUMN_TEXT, .absent = NULL },
    { "config", "config", COLUMN_JSON, .absent = "{}" },
    { "routes", "routes", COLUMN_JSON, .absent = NULL },
    { "services", "services", COLUMN_JSON, .absent = NULL },
    { "enabled", "enabled", COLUMN_BOOLEAN, .absent = "true" },
    { "priority", "priority", COLUMN_INTEGER, .absent = "0" },
    { "tags", "tags", COLUMN_JSON, .absent = NULL },
};

static const struct column rate_limit_columns[] = {
    { "name", "name", COLUMN_TEXT, .absent = "\"\"" },
    { "route_id", "routeId", COLUMN_REFERENCE, .written_name = "route_name", .target = RESOURCE_ROUTE },
    { "service_id", "serviceId", COLUMN_REFERENCE, .written_name = "service_name", .target = RESOURCE_SERVICE },
    { "key_type", "key", COLUMN_TEXT, .absent = "\"client_id\"" },
    { "algorithm", "algorithm", COLUMN_TEXT, .absent = "\"token_bucket\"" },
    { "limit_count", "limit", COLUMN_INTEGER, .absent = "1" },
    { "window_seconds", "window", COLUMN_INTEGER, .absent = NULL },
    { "burst", "burst", COLUMN_INTEGER, .absent = NULL },
    { "action", "action", COLUMN_TEXT, .absent = "\"reject\"" },
    { "enabled", "enabled", COLUMN_BOOLEAN, .absent = "true" },
    { "before_identity", "beforeIdentity", COLUMN_BOOLEAN, .absent = "false" },
    { "cost", "cost", COLUMN_JSON, .absent = "1" },
    { "tier_limits", "tierLimits", COLUMN_JSON, .absent = NULL },
    { "shadow", "shadow", COLUMN_BOOLEAN, .absent = "false" },
    { "queue_max_wait_ms", "queueMaxWaitMs", COLUMN_INTEGER, .absent = NULL },
    { "queue_max_length", "queueMaxLength", COLUMN_INTEGER, .absent = NULL },
    { "tags", "tags", COLUMN_JSON, .absent = NULL },
};

static const struct column role_columns[] = {
    { "name", "name", COLUMN_TEXT, .absent = "\"\"" },
    { "scopes", "scopes", COLUMN_JSON, .absent = NULL },
    { "clients", "clients", COLUMN_JSON, .absent = NULL },
    { "permissions", "permissions", COLUMN_JSON, .absent = "[]" },
    { "tags", "tags", COLUMN_JSON, .absent = NULL },
};

static const struct column certificate_columns[] = {
    { "name", "name", COLUMN_TEXT, .absent = "\"\"" },
    { "certificate", "certificate", COLUMN_TEXT, .absent = "\"\"" },
    { "private_key", "key", COLUMN_TEXT, .absent = "\"\"" },
    { "ocsp", "ocsp", COLUMN_TEXT, .absent = NULL },
    { "listeners", "listeners", COLUMN_JSON, .absent = NULL },
    { "tags", "tags", COLUMN_JSON, .absent = NULL },
};

#define COLUMNS(array) .columns = (array), .column_count = COUNT_OF(array)

const struct table store_tables[RESOURCE_KIND_COUNT] = {
    [RESOURCE_SERVICE] = { "services", "service_id", .unique = "name", COLUMNS(service_columns) },
    [RESOURCE_ROUTE] = { "routes", "route_id", .unique = "name", COLUMNS(route_columns) },
    [RESOURCE_PLUGIN] = { "plugins", "plugin_id", .unique = "instance_name", COLUMNS(plugin_columns) },
    [RESOURCE_RATE_LIMIT] = { "rate_limit_rules", "rule_id", .unique = "name", COLUMNS(rate_limit_columns) },
    [RESOURCE_ROLE] = { "roles", "role_id", .unique = "name", COLUMNS(role_columns) },
    [RESOURCE_CERTIFICATE] = { "certificates", "certificate_id", .unique = "name", COLUMNS(certificate_columns) },
    [RESOURCE_API_KEY] = { "api_keys", "key_id", .unique = NULL },
};

#define WHOLE_DOCUMENT SLICE("$document")

size_t row_value_count(enum resource_kind kind)
{
    size_t count = 4; /* id, more, created_at, updated_at */
    for (size_t i = 0; i < store_tables[kind].column_count; i++)
        count += store_tables[kind].columns[i].type == COLUMN_REFERENCE ? 2 : 1;
    return count;
}

static const struct column *column_of_field(enum resource_kind kind, struct slice field)
{
    const struct table *table = &store_tables[kind];
    for (size_t i = 0; i < table->column_count; i++) {
        if (slice_equal(slice_from_cstring(table->columns[i].field), field)) return &table->columns[i];
    }
    return NULL;
}

/* --- texts --- */

/* A growing text in an arena; the control plane ends where memory does. */
struct text {
    struct arena *arena;
    char *at;
    size_t length, capacity;
};

static void text_add(struct text *text, struct slice piece)
{
    if (text->capacity - text->length < piece.length) {
        size_t capacity = 2 * (text->length + piece.length) + 256;
        char *larger = arena_allocate(text->arena, capacity);
        PROMISE(larger != NULL);
        if (text->length) memcpy(larger, text->at, text->length);
        text->at = larger;
        text->capacity = capacity;
    }
    if (piece.length) memcpy(text->at + text->length, piece.at, piece.length);
    text->length += piece.length;
}

static void text_add_string(struct text *text, struct slice string)
{
    text_add(text, SLICE("\""));
    size_t start = 0;
    for (size_t i = 0; i < string.length; i++) {
        unsigned char byte = (unsigned char)string.at[i];
        if (byte >= 0x20 && byte != '"' && byte != '\\') continue;
        static const char letters[] = "\b\f\n\r\t\"\\", escapes[] = "bfnrt\"\\";
        const char *letter = byte ? strchr(letters, byte) : NULL;
        char escape[8];
        if (letter)
            snprintf(escape, sizeof escape, "\\%c", escapes[letter - letters]);
        else
            snprintf(escape, sizeof escape, "\\u%04x", byte);
        text_add(text, slice_of(string.at + start, i - start));
        text_add(text, slice_from_cstring(escape));
        start = i + 1;
    }
    text_add(text, slice_after(string, start));
    text_add(text, SLICE("\""));
}

static void text_add_field(struct text *text, struct slice key, struct slice value)
{
    text_add(text, text->length ? SLICE(",\"") : SLICE("{\""));
    text_add(text, key);
    text_add(text, SLICE("\":"));
    text_add(text, value);
}

static struct slice text_end_object(struct text *text)
{
    text_add(text, text->length ? SLICE("}") : SLICE("{}"));
    return slice_of(text->at, text->length);
}

/* What a JSON string says; absent where it is none, or holds what no column can. */
static struct slice string_of(struct arena *arena, struct slice json)
{
    if (json.length < 2 || json.at[0] != '"') return SLICE_ABSENT;
    struct slice inside = slice_of(json.at + 1, json.length - 2);
    if (slice_find_byte(inside, '\\') == SLICE_NOT_FOUND) return inside;
    struct problems problems;
    problems_init(&problems, NULL);
    const struct node *node = node_read_json(arena, json, NULL, &problems);
    problems_release(&problems);
    bool fits = node && node->kind == NODE_SCALAR && slice_find_byte(node->text, '\0') == SLICE_NOT_FOUND;
    return fits ? node->text : SLICE_ABSENT;
}

bool row_id_is_valid(struct slice text)
{
    if (text.length != 36) return false;
    for (size_t i = 0; i < text.length; i++) {
        char byte = text.at[i];
        bool is_dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (is_dash ? byte != '-' : !((byte >= '0' && byte <= '9') || (byte >= 'a' && byte <= 'f'))) return false;
    }
    return true;
}

/* --- from a document --- */

/* The column's value for a field's JSON; NULL where the type doesn't fit. */
static struct value value_of_json(struct arena *arena, enum column_type type, struct slice json)
{
    int64_t number;
    switch (type) {
    case COLUMN_TEXT:
    case COLUMN_REFERENCE: return value_text(string_of(arena, json));
    case COLUMN_INTEGER: return slice_parse_int64(json, &number) ? value_integer(number) : value_null();
    case COLUMN_BOOLEAN:
        if (slice_equal(json, SLICE("true"))) return value_boolean(true);
        return slice_equal(json, SLICE("false")) ? value_boolean(false) : value_null();
    case COLUMN_JSON: return slice_equal(json, SLICE("null")) ? value_null() : value_text(json);
    }
    return value_null();
}

static struct value value_of_field(struct arena *arena, const struct column *column, struct slice json)
{
    struct value value = json.at ? value_of_json(arena, column->type, json) : value_null();
    if (value.type != VALUE_NULL || !column->absent) return value;
    return value_of_json(arena, column->type, slice_from_cstring(column->absent));
}

/* The document's fields that have columns, by column; the others go into *more as they come. */
static bool take_fields(enum resource_kind kind, struct slice document, struct slice *fields, struct text *more)
{
    const struct table *table = &store_tables[kind];
    struct slice key, value;
    size_t at = 0;
    int result;
    while ((result = json_scan_field(document, &at, &key, &value)) > 0) {
        const struct column *column = column_of_field(kind, key);
        if (column)
            fields[column - table->columns] = value;
        else if (!slice_equal(key, SLICE("id")))
            text_add_field(more, key, value);
    }
    return result == 0;
}

bool row_split(struct arena *arena, const struct store_row *row, struct value *values, size_t *count,
               struct error *error)
{
    const struct table *table = &store_tables[row->kind];
    struct slice fields[TABLE_COLUMNS_MAX] = { 0 };
    struct text more = { .arena = arena };
    PROMISE(table->column_count > 0 && table->column_count <= TABLE_COLUMNS_MAX);
    if (!take_fields(row->kind, row->document, fields, &more))
        return store_refuse(error, STORE_REFUSED, "%s %.*s: the document is no JSON object", table->name,
                            SLICE_PRINT(row->id));
    size_t next = 0;
    values[next++] = value_text(row->id);
    for (size_t i = 0; i < table->column_count; i++) {
        struct value value = value_of_field(arena, &table->columns[i], fields[i]);
        bool is_name = table->columns[i].type == COLUMN_REFERENCE && value.type == VALUE_TEXT &&
                       !row_id_is_valid(value.text);
        values[next++] = is_name ? value_null() : value;
        if (table->columns[i].type == COLUMN_REFERENCE) values[next++] = is_name ? value : value_null();
    }
    values[next++] = value_text(text_end_object(&more));
    values[next++] = (struct value){ .type = VALUE_TIME, .number = (int64_t)row->created_us };
    values[next++] = (struct value){ .type = VALUE_TIME, .number = (int64_t)row->updated_us };
    *count = next;
    PROMISE(next == row_value_count(row->kind));

    struct store_row joined;
    if (row_join(arena, row->kind, values, next, &joined, NULL) && slice_equal(joined.document, row->document))
        return true;
    struct text whole = { .arena = arena };
    text_add_field(&whole, WHOLE_DOCUMENT, row->document);
    values[next - 3] = value_text(text_end_object(&whole));
    return row_join(arena, row->kind, values, next, &joined, NULL) ||
           store_refuse(error, STORE_REFUSED, "%s %.*s: the document is nested too deeply", table->name,
                        SLICE_PRINT(row->id));
}

/* --- to a document --- */

struct joining {
    struct text document;
    enum resource_kind kind;
    struct slice columns[TABLE_COLUMNS_MAX]; /* as JSON; absent: NULL */
    const struct field *next;                /* of the schema table: those before it are written */
    struct slice id;
};

static struct slice json_of_value(struct arena *arena, enum column_type type, const struct value *value)
{
    struct text text = { .arena = arena };
    char number[24];
    switch (type) {
    case COLUMN_TEXT:
    case COLUMN_REFERENCE: text_add_string(&text, value->text); return slice_of(text.at, text.length);
    case COLUMN_INTEGER:
        snprintf(number, sizeof number, "%" PRId64, value->number);
        text_add(&text, slice_from_cstring(number));
        return slice_of(text.at, text.length);
    case COLUMN_BOOLEAN: return value->number ? SLICE("true") : SLICE("false");
    case COLUMN_JSON: return value->text;
    }
    return SLICE_ABSENT;
}

/* A value that the column's type can't have comes of somebody's hand, or of a broken disk. */
static bool fits(enum column_type type, const struct value *value)
{
    if (value->type == VALUE_NULL) return true;
    switch (type) {
    case COLUMN_TEXT:
    case COLUMN_REFERENCE: return value->type == VALUE_TEXT;
    case COLUMN_INTEGER: return value->type == VALUE_INTEGER;
    case COLUMN_BOOLEAN: return value->type == VALUE_BOOLEAN || value->type == VALUE_INTEGER;
    case COLUMN_JSON: return value->type == VALUE_TEXT && json_scan(value->text, 0) == value->text.length;
    }
    return false;
}

static bool refuse_row(enum resource_kind kind, struct slice id, const char *column, struct error *error)
{
    return store_refuse(
        error, STORE_DAMAGED,
        "table \"%s\", row \"%.*s\": column \"%s\" is not what it must be: mend it by hand, or delete the row",
        store_tables[kind].name, SLICE_PRINT(id), column);
}

static bool take_columns(struct joining *joining, const struct value *values, struct error *error)
{
    const struct table *table = &store_tables[joining->kind];
    size_t next = 1;
    for (size_t i = 0; i < table->column_count; i++) {
        const struct column *column = &table->columns[i];
        const struct value *value = &values[next++];
        if (column->type == COLUMN_REFERENCE && values[next++].type != VALUE_NULL) value = &values[next - 1];
        if (!fits(column->type, value)) return refuse_row(joining->kind, joining->id, column->name, error);
        if (value->type != VALUE_NULL)
            joining->columns[i] = json_of_value(joining->document.arena, column->type, value);
    }
    return true;
}

static void join_field(struct joining *joining, const char *name)
{
    struct slice field = slice_from_cstring(name);
    if (slice_equal(field, SLICE("id"))) {
        struct text id = { .arena = joining->document.arena };
        text_add_string(&id, joining->id);
        text_add_field(&joining->document, field, slice_of(id.at, id.length));
        return;
    }
    const struct column *column = column_of_field(joining->kind, field);
    if (!column) return;
    struct slice json = joining->columns[column - store_tables[joining->kind].columns];
    if (json.at) text_add_field(&joining->document, field, json);
}

/* What the schema table has before `until` (absent: all of it) and stands in a column. */
static void join_fields_before(struct joining *joining, struct slice until)
{
    const struct field *end = resource_types[joining->kind].fields;
    while (end->name && !slice_equal(slice_from_cstring(end->name), until)) end++;
    if (!end->name && until.at) return; /* a field that this version doesn't know stays behind the one it came after */
    while (joining->next < end) join_field(joining, (joining->next++)->name);
}

/* `more` goes before a column of the same field. */
static void join_more(struct joining *joining, struct slice key, struct slice value)
{
    join_fields_before(joining, key);
    const struct column *column = column_of_field(joining->kind, key);
    if (column) joining->columns[column - store_tables[joining->kind].columns] = SLICE_ABSENT;
    text_add_field(&joining->document, key, value);
}

bool row_join(struct arena *arena, enum resource_kind kind, const struct value *values, size_t count,
              struct store_row *row, struct error *error)
{
    const struct value *more = &values[count - 3];
    *row = (struct store_row){ .kind = kind, .id = values[0].text };
    struct joining joining = {
        .document.arena = arena, .kind = kind, .next = resource_types[kind].fields, .id = values[0].text
    };
    if (count != row_value_count(kind) || values[0].type != VALUE_TEXT)
        return refuse_row(kind, values[0].text, store_tables[kind].id, error);
    if (more->type != VALUE_TEXT) return refuse_row(kind, row->id, "more", error);
    row->created_us = (uint64_t)values[count - 2].number;
    row->updated_us = (uint64_t)values[count - 1].number;
    if (!take_columns(&joining, values, error)) return false;
    struct slice key, value;
    size_t at = 0;
    int result;
    while ((result = json_scan_field(more->text, &at, &key, &value)) > 0) {
        if (slice_equal(key, WHOLE_DOCUMENT)) {
            row->document = value;
            return true;
        }
        join_more(&joining, key, value);
    }
    if (result < 0) return refuse_row(kind, row->id, "more", error);
    join_fields_before(&joining, SLICE_ABSENT);
    row->document = text_end_object(&joining.document);
    return true;
}
