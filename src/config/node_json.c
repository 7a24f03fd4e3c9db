/* JSON by jansson: line and column for syntax, RFC 6901 pointers for everything after it. */
#include "config/private.h"

#include <jansson.h>

struct json_reading {
    struct arena *arena;
    struct problems *problems;
};

static struct node *node_from_json(struct json_reading *, json_t *, struct node *parent, struct slice key,
                                   unsigned depth);

static struct slice number_text(struct arena *arena, const json_t *number)
{
    if (json_is_integer(number)) return arena_format(arena, "%lld", (long long)json_integer_value(number));
    /* The shortest digits that read back as the same number. */
    struct slice text = SLICE_ABSENT;
    for (int digits = 1; digits <= 17; digits++) {
        text = arena_format(arena, "%.*g", digits, json_real_value(number));
        if (strtod(text.at, NULL) == json_real_value(number)) break;
    }
    return text;
}

static void append(struct node *parent, struct node **last, struct node *child)
{
    if (*last)
        (*last)->next = child;
    else
        parent->first = child;
    *last = child;
    parent->count++;
}

static bool fill_map(struct json_reading *reading, json_t *value, struct node *node, unsigned depth)
{
    struct node *last = NULL;
    for (void *at = json_object_iter(value); at; at = json_object_iter_next(value, at)) {
        struct slice key = slice_of(json_object_iter_key(at), json_object_iter_key_len(at));
        struct node *child = node_from_json(reading, json_object_iter_value(at), node, arena_keep(reading->arena, key),
                                            depth);
        if (!child) return false;
        append(node, &last, child);
    }
    return true;
}

static bool fill_list(struct json_reading *reading, json_t *value, struct node *node, unsigned depth)
{
    struct node *last = NULL;
    for (size_t i = 0; i < json_array_size(value); i++) {
        struct node *child = node_from_json(reading, json_array_get(value, i), node, SLICE_ABSENT, depth);
        if (!child) return false;
        append(node, &last, child);
    }
    return true;
}

static struct node *node_from_json(struct json_reading *reading, json_t *value, struct node *parent, struct slice key,
                                   unsigned depth)
{
    struct node *node = config_allocate(reading->arena, sizeof *node);
    node->parent = parent;
    node->key = key;
    node->kind = NODE_SCALAR;
    switch (json_typeof(value)) {
    case JSON_OBJECT:
    case JSON_ARRAY:
        node->kind = json_is_object(value) ? NODE_MAP : NODE_LIST;
        if (depth == NODE_DEPTH_MAX) {
            problems_add(reading->problems, NULL, NULL, "nested too deeply: 64 levels are allowed");
            return NULL;
        }
        if (!(json_is_object(value) ? fill_map : fill_list)(reading, value, node, depth + 1)) return NULL;
        break;
    case JSON_STRING:
        node->text = arena_keep(reading->arena, slice_of(json_string_value(value), json_string_length(value)));
        node->quoted = true;
        break;
    case JSON_REAL:
    case JSON_INTEGER:
        node->rounded = json_is_real(value);
        node->text = number_text(reading->arena, value);
        break;
    case JSON_TRUE: node->text = SLICE("true"); break;
    case JSON_FALSE: node->text = SLICE("false"); break;
    case JSON_NULL:
        node->kind = NODE_NULL;
        node->text = SLICE("null");
        break;
    }
    return node;
}

/* No document has more values than it has these outside of texts, plus one. Asked before jansson takes memory for them. */
static bool is_within_count(struct slice text)
{
    size_t count = 1;
    bool quoted = false;
    for (size_t i = 0; i < text.length; i++) {
        char byte = text.at[i];
        if (byte == '"')
            quoted = !quoted;
        else if (byte == '\\' && quoted)
            i++;
        else if (!quoted && (byte == ',' || byte == '[' || byte == '{'))
            count++;
    }
    return count <= NODE_COUNT_MAX;
}

static bool is_blank(struct slice text)
{
    size_t at = 0;
    while (at < text.length && strchr(" \t\r\n", text.at[at]) && text.at[at]) at++;
    return at == text.length;
}

/* error->position is behind the byte that was not expected. */
static const char *syntax_hint(const json_error_t *error, struct slice text)
{
    size_t at = 0;
    while (at < text.length && strchr(" \t\r\n", text.at[at]) && text.at[at]) at++;
    if (text.at[at] != '{' && text.at[at] != '[')
        return "a file whose name ends in .json holds JSON; YAML ends in .yaml";
    size_t before = error->position > 0 && (size_t)error->position <= text.length ? (size_t)error->position - 1 : 0;
    if (before == 0 || !strchr("]}", text.at[before])) return NULL;
    while (before > 0 && strchr(" \t\r\n", text.at[before - 1])) before--;
    return before > 0 && text.at[before - 1] == ',' ? "no comma stands before ] or }" : NULL;
}

/* jansson quotes what stands near the mistake; that may be a secret, and line and column say enough. A key given twice is
 * no secret, and its name is the mend. */
static void refuse_syntax(struct problems *problems, const json_error_t *error, struct slice text)
{
    struct slice message = slice_from_cstring(error->text);
    size_t near = slice_find(message, SLICE(" near "));
    if (near != SLICE_NOT_FOUND && json_error_code(error) != json_error_duplicate_key)
        message = slice_before(message, near);
    problems_add_at(problems, error->line > 0 ? (uint32_t)error->line : 1,
                    error->column > 0 ? (uint32_t)error->column : 1, syntax_hint(error, text), "not valid JSON: %.*s",
                    SLICE_PRINT(message));
}

/* No JSON holds one outside of an escape (RFC 8259, section 2); but jansson takes it for the end of a number, and passes over it. */
static bool has_nul(struct slice text, struct problems *problems)
{
    const char *nul = text.length ? memchr(text.at, '\0', text.length) : NULL;
    uint32_t line = 1, column = 1;
    if (!nul) return false;
    for (const char *at = text.at; at < nul; at++) {
        column = *at == '\n' ? 1 : column + 1;
        line += *at == '\n';
    }
    problems_add_at(problems, line, column, NULL, "not valid JSON: a NUL byte");
    return true;
}

struct node *node_read_json(struct arena *arena, struct slice text, const char *file, struct problems *problems)
{
    problems->file = file;
    if (slice_starts_with(text, SLICE("\xEF\xBB\xBF"))) text = slice_after(text, 3);
    if (text.length > NODE_TEXT_BYTES_MAX || !is_within_count(text)) {
        problems_add(problems, NULL, NULL,
                     text.length > NODE_TEXT_BYTES_MAX ? "larger than 64 MiB"
                                                       : "too many values: a file may hold 4,000,000");
        return NULL;
    }
    if (has_nul(text, problems)) return NULL;
    struct node *quick = node_read_json_quick(arena, text);
    if (quick) return quick;
    if (is_blank(text)) {
        problems_add(problems, NULL, EMPTY_HINT, "holds nothing: neither listeners nor routes");
        return NULL;
    }
    json_error_t error;
    json_t *document = json_loadb(text.at, text.length, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    if (!document) {
        refuse_syntax(problems, &error, text);
        return NULL;
    }
    struct json_reading reading = { .arena = arena, .problems = problems };
    struct node *root = node_from_json(&reading, document, NULL, SLICE_ABSENT, 0);
    json_decref(document);
    return root;
}
