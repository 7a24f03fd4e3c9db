/* YAML by libyaml's events, which carry line and column. Of YAML's many ways to say a thing only those pass that can be read
 * in one way: no aliases, no merge keys, no tags, one document. */
#include "config/private.h"

#include "base/memory.h"

#include <yaml.h>

/* Keys and short values repeat thousands of times in a large file; the last ones seen are kept once. */
#define TEXT_CACHE_ENTRIES 512
#define TEXT_CACHED_BYTES_MAX 48

struct open_node {
    struct node *node, *last; /* a list or map that is not finished, its last child */
    struct slice key;         /* of the child that comes next; absent: a key comes next */
    uint32_t key_line, key_column;
    bool key_is_bad;
};

struct yaml_reading {
    struct arena *arena;
    struct problems *problems;
    struct slice text;
    struct node *root;
    unsigned documents;
    size_t nodes;
    bool hopeless; /* what the tree would hold is not what was written */
    unsigned depth;
    struct open_node open[NODE_DEPTH_MAX];
    char *texts, *texts_end; /* packed without alignment */
    struct slice cache[TEXT_CACHE_ENTRIES];
};

static uint32_t line_of(yaml_mark_t mark) { return (uint32_t)mark.line + 1; }
static uint32_t column_of(yaml_mark_t mark) { return (uint32_t)mark.column + 1; }

static bool refuse(struct yaml_reading *reading, yaml_mark_t mark, const char *hint, const char *message)
{
    problems_add_at(reading->problems, line_of(mark), column_of(mark), hint, "%s", message);
    return false;
}

static struct slice pack_text(struct yaml_reading *reading, struct slice text)
{
    if (text.length >= ARENA_CHUNK_BYTES / 4) return arena_keep(reading->arena, text);
    if ((size_t)(reading->texts_end - reading->texts) <= text.length) {
        reading->texts = config_allocate(reading->arena, ARENA_CHUNK_BYTES / 2);
        reading->texts_end = reading->texts + ARENA_CHUNK_BYTES / 2;
    }
    char *copy = reading->texts;
    char *end = mempcpy(copy, text.at, text.length);
    *end = '\0';
    reading->texts = end + 1;
    return slice_of(copy, text.length);
}

static struct slice keep_text(struct yaml_reading *reading, struct slice text)
{
    if (text.length == 0) return SLICE("");
    if (text.length > TEXT_CACHED_BYTES_MAX) return pack_text(reading, text);
    uint32_t hash = (uint32_t)text.length;
    for (size_t i = 0; i < text.length; i++) hash = (hash ^ (unsigned char)text.at[i]) * 0x01000193u;
    struct slice *entry = &reading->cache[(hash ^ hash >> 16) % TEXT_CACHE_ENTRIES];
    if (!slice_equal(*entry, text)) *entry = pack_text(reading, text);
    return *entry;
}

static struct node *node_open(struct yaml_reading *reading, enum node_kind kind, yaml_mark_t mark)
{
    if (++reading->nodes > NODE_COUNT_MAX) {
        refuse(reading, mark, NULL, "too many values: a file may hold 4,000,000");
        return NULL;
    }
    struct node *node = config_allocate(reading->arena, sizeof *node);
    node->kind = (uint8_t)kind;
    node->line = line_of(mark);
    node->column = column_of(mark);
    return node;
}

/* Hangs a node into the list or map that is open, or makes it the document. */
static bool node_place(struct yaml_reading *reading, struct node *node)
{
    if (reading->depth == 0) {
        reading->root = node;
        return true;
    }
    struct open_node *open = &reading->open[reading->depth - 1];
    node->parent = open->node;
    if (open->node->kind == NODE_MAP) {
        node->key = open->key;
        node->key_line = open->key_line;
        node->key_column = open->key_column;
        open->key = SLICE_ABSENT;
        if (open->key_is_bad) return true;
    }
    if (open->last)
        open->last->next = node;
    else
        open->node->first = node;
    open->last = node;
    open->node->count++;
    return true;
}

static bool key_is_expected(const struct yaml_reading *reading)
{
    if (reading->depth == 0) return false;
    const struct open_node *open = &reading->open[reading->depth - 1];
    return open->node->kind == NODE_MAP && slice_is_absent(open->key);
}

static void check_properties(struct yaml_reading *reading, yaml_mark_t mark, const yaml_char_t *anchor,
                             const yaml_char_t *tag)
{
    if (anchor) refuse(reading, mark, "write the value out where it is needed", "anchors (&name) are not supported");
    if (tag) refuse(reading, mark, "the field says what type it wants", "tags (!name) are not supported");
}

static bool take_key(struct yaml_reading *reading, const yaml_event_t *event, struct slice text)
{
    struct open_node *open = &reading->open[reading->depth - 1];
    open->key = keep_text(reading, text);
    open->key_line = line_of(event->start_mark);
    open->key_column = column_of(event->start_mark);
    open->key_is_bad = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE && slice_equal(text, SLICE("<<"));
    if (open->key_is_bad) {
        refuse(reading, event->start_mark, "write the fields out where they are needed",
               "merge keys (<<) are not supported");
        reading->hopeless = true;
    }
    return true;
}

static bool is_null_word(struct slice text)
{
    static const struct slice words[] = { { "", 0 }, { "null", 4 }, { "~", 1 }, { "Null", 4 }, { "NULL", 4 } };
    for (size_t i = 0; i < COUNT_OF(words); i++) {
        if (slice_equal(text, words[i])) return true;
    }
    return false;
}

static bool take_scalar(struct yaml_reading *reading, const yaml_event_t *event)
{
    struct slice text = slice_of((const char *)event->data.scalar.value, event->data.scalar.length);
    check_properties(reading, event->start_mark, event->data.scalar.anchor, event->data.scalar.tag);
    if (memchr(text.at, '\0', text.length))
        return refuse(reading, event->start_mark, NULL, "a text may not hold a NUL character");
    if (key_is_expected(reading)) return take_key(reading, event, text);

    struct node *node = node_open(reading, NODE_SCALAR, event->start_mark);
    if (!node) return false;
    node->text = keep_text(reading, text);
    node->quoted = event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
    if (!node->quoted && is_null_word(text)) {
        node->kind = NODE_NULL;
        if (text.length) node->text = SLICE("null");
    }
    return node_place(reading, node);
}

static bool take_start(struct yaml_reading *reading, const yaml_event_t *event, enum node_kind kind)
{
    if (kind == NODE_MAP)
        check_properties(reading, event->start_mark, event->data.mapping_start.anchor, event->data.mapping_start.tag);
    else
        check_properties(reading, event->start_mark, event->data.sequence_start.anchor, event->data.sequence_start.tag);
    if (key_is_expected(reading))
        return refuse(reading, event->start_mark, "a value with braces or brackets in it needs quotes",
                      "a key must be a plain text");
    if (reading->depth == NODE_DEPTH_MAX)
        return refuse(reading, event->start_mark, NULL, "nested too deeply: 64 levels are allowed");
    struct node *node = node_open(reading, kind, event->start_mark);
    if (!node || !node_place(reading, node)) return false;
    reading->open[reading->depth++] = (struct open_node){ .node = node };
    return true;
}

static int compare_keys(const void *left, const void *right)
{
    const struct node *a = *(const struct node *const *)left, *b = *(const struct node *const *)right;
    int order = slice_compare(a->key, b->key);
    if (order != 0) return order;
    if (a->key_line != b->key_line) return a->key_line < b->key_line ? -1 : 1;
    return a->key_column < b->key_column ? -1 : a->key_column > b->key_column;
}

static void unlink_child(struct node *map, struct node *child)
{
    struct node **link = &map->first;
    while (*link != child) link = &(*link)->next;
    *link = child->next;
    map->count--;
}

static void refuse_duplicate(struct yaml_reading *reading, const struct node *first, struct node *again)
{
    problems_add_at_key(reading->problems, again, NULL, "duplicate key \"%s\", first given in line %u",
                        problems_excerpt(again->key).text, first->key_line);
    unlink_child(again->parent, again);
}

/* Maps are small as a rule; a large one is sorted, so that a hostile one costs no square. */
static void refuse_duplicate_keys(struct yaml_reading *reading, struct node *map)
{
    if (map->count <= 16) {
        for (struct node *child = map->first; child; child = child->next) {
            for (struct node *again = child->next; again; again = again->next) {
                if (slice_equal(child->key, again->key)) refuse_duplicate(reading, child, again);
            }
        }
        return;
    }
    struct node **children = memory_allocate_array(map->count, sizeof *children);
    size_t count = 0;
    for (struct node *child = map->first; child; child = child->next) children[count++] = child;
    qsort(children, count, sizeof *children, compare_keys);
    for (size_t i = 1, first = 0; i < count; i++) {
        if (!slice_equal(children[i]->key, children[first]->key)) {
            first = i;
        } else if (reading->problems->count < PROBLEMS_LISTED_MAX) {
            refuse_duplicate(reading, children[first], children[i]);
        }
    }
    free(children);
}

static bool take_end(struct yaml_reading *reading)
{
    struct node *node = reading->open[--reading->depth].node;
    if (node->kind == NODE_MAP) refuse_duplicate_keys(reading, node);
    return true;
}

/* An alias stands for a value that is not in the tree: what comes after would be judged wrongly, so only the syntax is read on. */
static bool take_alias(struct yaml_reading *reading, const yaml_event_t *event)
{
    refuse(reading, event->start_mark, "write the value out; a text that begins with * needs quotes",
           "aliases (*name) are not supported");
    reading->hopeless = true;
    if (key_is_expected(reading)) {
        reading->open[reading->depth - 1].key = SLICE("");
        return true;
    }
    struct node *node = node_open(reading, NODE_NULL, event->start_mark);
    return node && node_place(reading, node);
}

static bool take_event(struct yaml_reading *reading, const yaml_event_t *event)
{
    switch (event->type) {
    case YAML_DOCUMENT_START_EVENT:
        if (++reading->documents > 1)
            return refuse(reading, event->start_mark, NULL, "a file holds one document, a second begins here");
        return true;
    case YAML_SCALAR_EVENT: return take_scalar(reading, event);
    case YAML_SEQUENCE_START_EVENT: return take_start(reading, event, NODE_LIST);
    case YAML_MAPPING_START_EVENT: return take_start(reading, event, NODE_MAP);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT: return take_end(reading);
    case YAML_ALIAS_EVENT: return take_alias(reading, event);
    default: return true;
    }
}

/* What libyaml's words mean for someone who has the file open. */
static const char *syntax_hint(const yaml_parser_t *parser, char byte)
{
    static const struct {
        const char *words, *hint;
    } hints[] = {
        { "did not find expected key",
          "the indentation differs from the lines above, or a bracket or quote is not closed" },
        { "did not find expected '-' indicator",
          "list items begin with \"- \" at the same indentation, and their fields stand below each other" },
        { "mapping values are not allowed", "a text with \": \" in it needs quotes; or the line is indented too far" },
        { "could not find expected ':'", "a field is written as name: value" },
        { "while scanning an alias", "a text that begins with * needs quotes" },
        { "while scanning an anchor", "a text that begins with & needs quotes" },
        { "while parsing a flow",
          "a text with , [ ] { } in it needs quotes inside brackets and braces; or one is not closed" },
        { "while scanning a quoted scalar",
          "the closing quote is missing; in double quotes a backslash is written \\\\" },
        { "while parsing a quoted scalar",
          "in double quotes a backslash is written \\\\; single quotes leave it alone" },
        { "block sequence entries are not allowed", "a list begins on a line of its own, below its field's name" },
        { "tab", "YAML is indented with spaces" },
    };
    if (byte == '\t') return "tabs can't indent YAML; use spaces";
    if (byte == '@' || byte == '`' || byte == '%') return "a text that begins with this character needs quotes";
    for (size_t i = 0; i < COUNT_OF(hints); i++) {
        if (parser->problem && strstr(parser->problem, hints[i].words)) return hints[i].hint;
        if (parser->context && strstr(parser->context, hints[i].words)) return hints[i].hint;
    }
    return NULL;
}

/* Bytes that are no UTF-8, or control characters: libyaml's reader knows their offset only. */
static void refuse_bytes(struct yaml_reading *reading, const yaml_parser_t *parser)
{
    uint32_t line = 1, column = 1;
    for (size_t i = 0; i < parser->problem_offset && i < reading->text.length; i++) {
        unsigned char byte = (unsigned char)reading->text.at[i];
        if (byte == '\n') {
            line++;
            column = 1;
        } else if ((byte & 0xC0) != 0x80) {
            column++;
        }
    }
    problems_add_at(reading->problems, line, column, "a configuration is UTF-8 text", "%s", parser->problem);
}

static void refuse_syntax(struct yaml_reading *reading, const yaml_parser_t *parser)
{
    PROMISE(parser->error != YAML_MEMORY_ERROR);
    if (parser->error == YAML_READER_ERROR) {
        refuse_bytes(reading, parser);
        return;
    }
    yaml_mark_t mark = parser->problem_mark;
    char byte = mark.index < reading->text.length ? reading->text.at[mark.index] : '\0';
    bool other_line = parser->context && parser->context_mark.line != mark.line;
    problems_add_at(reading->problems, line_of(mark), column_of(mark), syntax_hint(parser, byte),
                    other_line ? "not valid YAML: %s, %s that begins in line %u" : "not valid YAML: %s",
                    parser->problem, parser->context, line_of(parser->context_mark));
}

static bool read_events(struct yaml_reading *reading, yaml_parser_t *parser)
{
    for (bool more = true; more;) {
        yaml_event_t event;
        if (!yaml_parser_parse(parser, &event)) {
            refuse_syntax(reading, parser);
            return false;
        }
        more = event.type != YAML_STREAM_END_EVENT;
        bool taken = take_event(reading, &event);
        yaml_event_delete(&event);
        if (!taken) return false;
    }
    return true;
}

struct node *node_read_yaml(struct arena *arena, struct slice text, const char *file, struct problems *problems)
{
    problems->file = file;
    if (slice_starts_with(text, SLICE("\xEF\xBB\xBF"))) text = slice_after(text, 3);
    if (text.length > NODE_TEXT_BYTES_MAX) {
        problems_add(problems, NULL, NULL, "larger than 64 MiB");
        return NULL;
    }
    yaml_parser_t parser;
    PROMISE(yaml_parser_initialize(&parser));
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text.at, text.length);

    struct yaml_reading *reading = memory_allocate(sizeof *reading);
    reading->arena = arena;
    reading->problems = problems;
    reading->text = text;
    bool complete = read_events(reading, &parser) && !reading->hopeless;
    struct node *root = complete ? reading->root : NULL;
    bool empty = complete && (!root || root->kind == NODE_NULL);
    if (empty) problems_add(problems, NULL, EMPTY_HINT, "holds nothing: neither listeners nor routes");
    yaml_parser_delete(&parser);
    free(reading);
    return empty ? NULL : root;
}
