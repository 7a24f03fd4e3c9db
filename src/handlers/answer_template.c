#include "handlers/answer_template.h"

#include "base/memory.h"
#include "config/resource.h"
#include "expr/template.h"
#include "json/scan.h"
#include "json/writer.h"

#include <stdlib.h>

/* Each reference into a part walks over it: all of them together over no more than this. */
#define BYTES_WALKED_MAX (16u << 20)
#define PATH_STEPS_MAX 32

enum answer_kind { ANSWER_OBJECT, ANSWER_LIST, ANSWER_LITERAL, ANSWER_TEXT, ANSWER_PART };

struct path_step {
    struct slice member; /* absent: an item */
    size_t index;
};

struct answer_node {
    uint8_t kind;      /* enum answer_kind */
    bool is_optional;  /* a member that is left out where there is nothing */
    struct slice name; /* of a member: JSON with its quotes */
    struct slice literal;
    struct template *text;
    uint32_t part, step_count;
    struct path_step *steps;
    struct answer_node *children;
    uint32_t child_count;
};

struct answer_template {
    struct arena arena; /* of all but the texts */
    struct answer_node root;
    struct slice errors_name; /* JSON with its quotes */
    struct vector templates;  /* struct template * */
};

/* --- compiling --- */

struct compiling {
    const struct filter_compile *compile;
    const struct answer_parts *parts;
    struct answer_template *template;
    size_t *references; /* by part */
    bool good;
};

static void *allocate(struct compiling *compiling, size_t size)
{
    void *memory = arena_allocate_zeroed(&compiling->template->arena, size ? size : 1);
    PROMISE(memory != NULL);
    return memory;
}

static void refuse(struct compiling *compiling, const struct node *node, const char *hint, const char *words)
{
    problems_add(compiling->compile->problems, node ? node : compiling->compile->node, hint, "%s", words);
    compiling->good = false;
}

static bool is_name_byte(char byte)
{
    return (byte >= '0' && byte <= '9') || ((byte | 0x20) >= 'a' && (byte | 0x20) <= 'z') || byte == '_' || byte == '-';
}

static struct slice take_name(struct slice *rest)
{
    size_t length = 0;
    while (length < rest->length && is_name_byte(rest->at[length])) length++;
    struct slice name = slice_before(*rest, length);
    *rest = slice_after(*rest, length);
    return name;
}

/* `["any"]`, without the opening bracket; no escapes. False: it is none. */
static bool take_quoted_member(struct slice *rest, struct slice *member)
{
    size_t end = slice_find(slice_after(*rest, 1), SLICE("\"]"));
    if (end == SLICE_NOT_FOUND) return false;
    *member = slice_of(rest->at + 1, end);
    *rest = slice_after(*rest, 1 + end + 2);
    return true;
}

static bool take_index(struct slice *rest, size_t *index)
{
    size_t end = slice_find_byte(*rest, ']');
    uint64_t value;
    if (end == SLICE_NOT_FOUND || !slice_parse_uint64(slice_before(*rest, end), &value) || value > UINT32_MAX)
        return false;
    *index = value;
    *rest = slice_after(*rest, end + 1);
    return true;
}

/* `.name`, `["name"]` or `[3]`. False: none of them. */
static bool take_step(struct compiling *compiling, struct slice *rest, struct path_step *step)
{
    struct slice member = SLICE_ABSENT;
    char byte = rest->at[0];
    *rest = slice_after(*rest, 1);
    if (byte == '[' && rest->length > 0 && rest->at[0] != '"') return take_index(rest, &step->index);
    if (byte == '.')
        member = take_name(rest);
    else if (byte != '[' || rest->length == 0 || !take_quoted_member(rest, &member))
        return false;
    if (byte == '.' && member.length == 0) return false;
    step->member = arena_copy(&compiling->template->arena, member);
    PROMISE(step->member.at != NULL);
    return true;
}

static bool find_part(const struct answer_parts *parts, struct slice name, uint32_t *index)
{
    for (size_t i = 0; i < parts->count; i++) {
        if (!slice_equal(parts->names[i], name)) continue;
        *index = (uint32_t)i;
        return true;
    }
    return false;
}

#define PARTS_BEGIN "${parts."

/* `${parts.user.name}`, the whole text. */
static void compile_part(struct compiling *compiling, const struct node *node, struct slice text,
                         struct answer_node *into)
{
    struct slice rest = slice_of(text.at + sizeof PARTS_BEGIN - 1, text.length - sizeof PARTS_BEGIN);
    struct slice name = take_name(&rest);
    struct path_step steps[PATH_STEPS_MAX];
    into->kind = ANSWER_PART;
    if (!find_part(compiling->parts, name, &into->part)) {
        refuse(compiling, node, "it is to be the name of one of \"parts\"", "there is no such part");
        return;
    }
    while (rest.length > 0) {
        steps[into->step_count] = (struct path_step){ .member = SLICE_ABSENT };
        if (into->step_count == PATH_STEPS_MAX - 1 || !take_step(compiling, &rest, &steps[into->step_count])) {
            refuse(compiling, node, "${parts.NAME}, then .member, [\"any member\"] or [3]", "not a place in a part");
            return;
        }
        into->step_count++;
    }
    into->steps = allocate(compiling, into->step_count * sizeof *into->steps);
    if (into->step_count) memcpy(into->steps, steps, into->step_count * sizeof *steps);
    if (into->step_count) compiling->references[into->part]++;
}

static void compile_text(struct compiling *compiling, const struct node *node, struct slice text,
                         struct answer_node *into)
{
    struct filter_compile here = *compiling->compile;
    here.node = node->parent ? node->parent : node;
    struct template *template = filter_compile_template(&here, node->key.at ? node->key.at : "answer", text);
    if (!template) {
        compiling->good = false;
        return;
    }
    vector_push_pointer(&compiling->template->templates, template);
    into->kind = ANSWER_TEXT;
    into->text = template;
}

static void compile_scalar(struct compiling *compiling, const struct node *node, struct answer_node *into)
{
    struct slice text = node->text;
    bool has_part = slice_find(text, SLICE(PARTS_BEGIN)) != SLICE_NOT_FOUND;
    bool is_part = slice_starts_with(text, SLICE(PARTS_BEGIN)) && slice_ends_with(text, SLICE("}")) &&
                   slice_find(slice_after(text, 2), SLICE("${")) == SLICE_NOT_FOUND;
    into->kind = ANSWER_LITERAL;
    if (node->kind == NODE_NULL) {
        into->literal = SLICE("null");
    } else if (is_part) {
        compile_part(compiling, node, text, into);
    } else if (has_part) {
        refuse(compiling, node, NULL, "a part stands alone: \"${parts.NAME}\", without text before or behind it");
    } else if (slice_find(text, SLICE("${")) != SLICE_NOT_FOUND) {
        compile_text(compiling, node, text, into);
    } else {
        into->literal = node_write_json(&compiling->template->arena, node);
    }
}

static void compile_node(struct compiling *compiling, const struct node *node, struct answer_node *into);

static void compile_member(struct compiling *compiling, const struct node *node, struct answer_node *into)
{
    struct slice name = node->key;
    bool is_optional = name.length > 1 && slice_ends_with(name, SLICE("?"));
    if (is_optional) name.length--;
    compile_node(compiling, node, into);
    into->is_optional = is_optional;
    into->name = json_quote(&compiling->template->arena, name);
    PROMISE(into->name.at != NULL);
    if (is_optional && into->kind != ANSWER_PART)
        refuse(compiling, node, "${parts.NAME}", "only a part's value may be left out (a name that ends in ?)");
}

/* `a` and `a?` are one name. */
static void check_names(struct compiling *compiling, const struct node *map, const struct answer_node *object)
{
    for (uint32_t i = 0; i < object->child_count; i++) {
        for (uint32_t j = 0; j < object->child_count && object->children[i].is_optional; j++) {
            if (i == j || !slice_equal(object->children[i].name, object->children[j].name)) continue;
            refuse(compiling, map, NULL, "a member is written with and without ? behind its name");
            return;
        }
    }
}

static void check_errors_name(struct compiling *compiling, const struct node *answer, const struct answer_node *root)
{
    for (uint32_t i = 0; i < root->child_count; i++) {
        if (!slice_equal(root->children[i].name, compiling->template->errors_name)) continue;
        refuse(compiling, answer, "give another name in \"errors\"",
               "a member has the name of the one that lists the parts that failed");
    }
}

static void compile_node(struct compiling *compiling, const struct node *node, struct answer_node *into)
{
    if (node->kind != NODE_MAP && node->kind != NODE_LIST) {
        compile_scalar(compiling, node, into);
        return;
    }
    into->kind = node->kind == NODE_MAP ? ANSWER_OBJECT : ANSWER_LIST;
    into->children = allocate(compiling, node->count * sizeof *into->children);
    for (const struct node *child = node->first; child; child = child->next) {
        struct answer_node *place = &into->children[into->child_count++];
        if (node->kind == NODE_MAP)
            compile_member(compiling, child, place);
        else
            compile_node(compiling, child, place);
    }
    if (into->kind == ANSWER_OBJECT) check_names(compiling, node, into);
}

static void compile_default(struct compiling *compiling, struct answer_node *root)
{
    root->kind = ANSWER_OBJECT;
    root->children = allocate(compiling, compiling->parts->count * sizeof *root->children);
    for (size_t i = 0; i < compiling->parts->count; i++) {
        struct slice name = json_quote(&compiling->template->arena, compiling->parts->names[i]);
        PROMISE(name.at != NULL);
        root->children[root->child_count++] = (struct answer_node){
            .kind = ANSWER_PART, .is_optional = true, .name = name, .part = (uint32_t)i
        };
    }
}

static void check_cost(struct compiling *compiling, const struct node *answer)
{
    size_t walked = 0;
    for (size_t i = 0; i < compiling->parts->count; i++)
        walked += compiling->references[i] * compiling->parts->bytes_max[i];
    if (walked > BYTES_WALKED_MAX)
        refuse(compiling, answer, "lower maxBytes of the parts that many members come from",
               "too many values are taken out of parts that may be so large");
}

struct answer_template *answer_template_compile(const struct filter_compile *compile, const struct node *answer,
                                                const struct answer_parts *parts)
{
    struct answer_template *template = memory_allocate(sizeof *template);
    struct compiling compiling = { .compile = compile, .parts = parts, .template = template, .good = true };
    compiling.references = memory_allocate_array(parts->count + 1, sizeof *compiling.references);
    arena_init(&template->arena, NULL);
    vector_init(&template->templates, sizeof(struct template *));
    template->errors_name = json_quote(&template->arena, parts->errors_name);
    PROMISE(template->errors_name.at != NULL);
    if (answer && answer->kind == NODE_MAP) {
        compile_node(&compiling, answer, &template->root);
        check_cost(&compiling, answer);
    } else {
        compile_default(&compiling, &template->root);
    }
    check_errors_name(&compiling, answer, &template->root);
    free(compiling.references);
    if (compiling.good) return template;
    answer_template_destroy(template);
    return NULL;
}

void answer_template_destroy(struct answer_template *template)
{
    if (!template) return;
    for (size_t i = 0; i < template->templates.count; i++) template_destroy(vector_pointer_at(&template->templates, i));
    vector_release(&template->templates);
    arena_release(&template->arena);
    free(template);
}

/* --- writing --- */

struct writing {
    const struct answer_values *values;
    struct arena *arena;
    char *at;
    size_t length, capacity, bytes_max;
    enum answer_result result;
};

#define FIRST_CAPACITY 1024u

static bool make_room(struct writing *writing, size_t wanted)
{
    size_t capacity = writing->capacity ? writing->capacity : FIRST_CAPACITY;
    while (capacity < wanted) capacity *= 2;
    if (capacity == writing->capacity) return true;
    char *room = arena_allocate(writing->arena, capacity);
    if (!room) return false;
    if (writing->length) memcpy(room, writing->at, writing->length);
    writing->at = room;
    writing->capacity = capacity;
    return true;
}

static void put(struct writing *writing, struct slice text)
{
    if (writing->result != ANSWER_WRITTEN) return;
    if (text.length > writing->bytes_max - writing->length) {
        writing->result = ANSWER_TOO_LARGE;
    } else if (!make_room(writing, writing->length + text.length)) {
        writing->result = ANSWER_NO_MEMORY;
    } else if (text.length) {
        memcpy(writing->at + writing->length, text.at, text.length);
        writing->length += text.length;
    }
}

static void put_quoted(struct writing *writing, struct slice text)
{
    struct slice json = slice_is_absent(text) ? text : json_quote(writing->arena, text);
    if (slice_is_absent(json) && writing->result == ANSWER_WRITTEN) writing->result = ANSWER_NO_MEMORY;
    put(writing, json);
}

/* Absent: there is nothing. */
static struct slice value_of(const struct writing *writing, const struct answer_node *node)
{
    struct slice value = writing->values->parts[node->part];
    for (uint32_t i = 0; i < node->step_count && !slice_is_absent(value); i++) {
        const struct path_step *step = &node->steps[i];
        value = slice_is_absent(step->member) ? json_scan_item(value, step->index)
                                              : json_scan_member(value, step->member);
    }
    return value;
}

static void write_node(struct writing *, const struct answer_node *);

/* Between the brackets. True: there was something. */
static bool write_children(struct writing *writing, const struct answer_node *node)
{
    bool any = false;
    for (uint32_t i = 0; i < node->child_count && writing->result == ANSWER_WRITTEN; i++) {
        const struct answer_node *child = &node->children[i];
        if (child->is_optional && slice_is_absent(value_of(writing, child))) continue;
        if (any) put(writing, SLICE(","));
        any = true;
        if (!slice_is_absent(child->name)) {
            put(writing, child->name);
            put(writing, SLICE(":"));
        }
        write_node(writing, child);
    }
    return any;
}

static void write_node(struct writing *writing, const struct answer_node *node)
{
    switch ((enum answer_kind)node->kind) {
    case ANSWER_OBJECT:
        put(writing, SLICE("{"));
        write_children(writing, node);
        put(writing, SLICE("}"));
        break;
    case ANSWER_LIST:
        put(writing, SLICE("["));
        write_children(writing, node);
        put(writing, SLICE("]"));
        break;
    case ANSWER_LITERAL: put(writing, node->literal); break;
    case ANSWER_TEXT: put_quoted(writing, writing->values->render(writing->values->argument, node->text)); break;
    case ANSWER_PART: {
        struct slice value = value_of(writing, node);
        put(writing, slice_is_absent(value) ? SLICE("null") : value);
        break;
    }
    }
}

static void write_failures(struct writing *writing, struct slice name)
{
    const struct answer_values *values = writing->values;
    put(writing, name);
    put(writing, SLICE(":["));
    for (size_t i = 0; i < values->failure_count; i++) {
        const struct answer_failure *failure = &values->failures[i];
        char status[32];
        put(writing, i ? SLICE(",{\"part\":") : SLICE("{\"part\":"));
        put_quoted(writing, failure->part);
        put(writing, SLICE(",\"reason\":"));
        put_quoted(writing, slice_from_cstring(failure->reason));
        int length = failure->status ? snprintf(status, sizeof status, ",\"status\":%u}", failure->status)
                                     : snprintf(status, sizeof status, "}");
        put(writing, slice_of(status, (size_t)length));
    }
    put(writing, SLICE("]"));
}

enum answer_result answer_template_write(const struct answer_template *template, const struct answer_values *values,
                                         struct arena *arena, size_t bytes_max, struct slice *text)
{
    struct writing writing = { .values = values, .arena = arena, .bytes_max = bytes_max };
    put(&writing, SLICE("{"));
    bool any = write_children(&writing, &template->root);
    if (values->failure_count > 0) {
        if (any) put(&writing, SLICE(","));
        write_failures(&writing, template->errors_name);
    }
    put(&writing, SLICE("}"));
    *text = slice_of(writing.at, writing.length);
    return writing.result;
}
