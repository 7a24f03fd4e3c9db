#include "base/nearest.h"
#include "config/private.h"

#define FIELDS_MAX 48

/* A table and the struct that it fills. */
struct destination {
    const struct field *fields;
    const struct field *around; /* the table of the map around it; NULL: unknown */
    char *into;
    const struct node *seen[FIELDS_MAX]; /* what was given for fields[i] */
};

static void *field_at(const struct field *field, void *into) { return (char *)into + field->into; }

/* The names of two tables for a hint, as many as fit, aliases left out. */
static const char *known_fields(const struct field *fields, const struct field *more, char *into, size_t size)
{
    const struct field *tables[] = { fields, more };
    size_t length = 0, count = 0;
    for (size_t i = 0; i < COUNT_OF(tables); i++) {
        for (const struct field *field = tables[i]; field && field->name; field++) {
            if (field->type == FIELD_NOT_YET || field->type == FIELD_IGNORED) continue;
            size_t needed = strlen(field->name) + sizeof ", " - 1 + sizeof ", ...";
            if (length + needed > size) {
                snprintf(into + length, size - length, "%s...", count ? ", " : "");
                return into;
            }
            length += (size_t)snprintf(into + length, size - length, "%s%s", count++ ? ", " : "", field->name);
        }
    }
    if (count == 0) snprintf(into, size, "none");
    return into;
}

#define KNOWN_FIELDS_BYTES 160

static void mark_present(const struct field *field, void *into)
{
    if (field->present) *(bool *)((char *)into + field->present) = true;
}

static bool read_text(struct schema_reading *reading, const struct field *field, const struct node *node,
                      struct slice *text)
{
    if (field_may_be_secret(field) && node_find(node, SECRET_KEY)) {
        problems_add(reading->problems, node, "write it, or send back unchanged what was shown",
                     "\"%s\" is the hash of no secret that stands here", field->name);
        return false;
    }
    if (node->kind != NODE_SCALAR) return schema_refuse(reading, field, node, NULL, "a text");
    if (node->rounded) return schema_refuse(reading, field, node, "put it in quotes", "a text");
    *text = node->text;
    return true;
}

bool schema_read_text(struct schema_reading *reading, const char *name, const struct node *node, struct slice *text)
{
    return read_text(reading, &(struct field){ .name = name }, node, text);
}

static bool passes_check(struct schema_reading *reading, const struct field *field, const struct node *node,
                         const void *value)
{
    return !field->check || field->check(reading, node, value);
}

/* The list's items; a single item may stand for a list of one. *count is how many. NULL and false where it is no list. */
static bool list_items(struct schema_reading *reading, const struct field *field, const struct node *node,
                       const char *wanted, const struct node **first, size_t *count)
{
    bool single = field->one_or_many && node->kind != NODE_LIST && node->kind != NODE_NULL;
    if (!single && node->kind != NODE_LIST)
        return schema_refuse(reading, field, node, "its items stand in [ ], or each behind a \"- \"", wanted);
    *first = single ? node : node->first;
    *count = single ? 1 : node->count;
    if (*count < (uint64_t)field->minimum) {
        problems_add(reading->problems, node, NULL, "\"%s\" must not be empty", field->name);
        return false;
    }
    if (field->maximum && *count > (uint64_t)field->maximum) {
        problems_add(reading->problems, node, NULL, "\"%s\" may hold %lld items, not %zu", field->name,
                     (long long)field->maximum, *count);
        return false;
    }
    return true;
}

static bool read_string_list(struct schema_reading *reading, const struct field *field, const struct node *node,
                             struct slice_list *list)
{
    const struct node *item;
    size_t count;
    if (!list_items(reading, field, node, field->one_or_many ? "a text or a list of texts" : "a list of texts", &item,
                    &count))
        return false;
    if (count == 0) return true;
    list->items = config_allocate(reading->arena, count * sizeof *list->items);
    bool ok = true;
    for (; list->count < count; item = item->next) {
        struct slice *text = &list->items[list->count++];
        ok &= read_text(reading, field, item, text) && passes_check(reading, field, item, text);
    }
    return ok;
}

static bool read_string_map(struct schema_reading *reading, const struct field *field, const struct node *node,
                            struct pair_list *list)
{
    if (node->kind != NODE_MAP)
        return schema_refuse(reading, field, node, "written as { name: value }", "a map of texts");
    if (node->count == 0) return true;
    if (field->maximum && node->count > (uint64_t)field->maximum) {
        problems_add(reading->problems, node, NULL, "\"%s\" may hold %lld entries, not %u", field->name,
                     (long long)field->maximum, node->count);
        return false;
    }
    list->items = config_allocate(reading->arena, node->count * sizeof *list->items);
    bool ok = true;
    for (const struct node *child = node->first; child; child = child->next) {
        struct pair *pair = &list->items[list->count++];
        pair->name = child->key;
        const struct field value_field = { .name = child->key.at, .secret = field->secret };
        ok &= read_text(reading, &value_field, child, &pair->value) && passes_check(reading, field, child, pair);
    }
    return ok;
}

static bool read_enum_set(struct schema_reading *reading, const struct field *field, const struct node *node,
                          uint64_t *bits)
{
    const struct node *item;
    size_t count;
    if (!list_items(reading, field, node, "a list of names", &item, &count)) return false;
    bool ok = true;
    for (*bits = 0; count > 0; count--, item = item->next) {
        int index;
        bool known = schema_read_name(reading, field, item, &index);
        if (known) *bits |= UINT64_C(1) << index;
        ok &= known;
    }
    return ok;
}

/* A map fills it by its table, a plain text by its `read`, where it has one. */
static bool read_object(struct schema_reading *reading, const struct field *field, const struct node *node,
                        void *object)
{
    bool ok;
    if (field->read && node->kind == NODE_SCALAR) {
        schema_defaults(reading, field->fields, object);
        ok = field->read(reading, node, object);
    } else {
        if (node->kind != NODE_MAP) {
            char known[KNOWN_FIELDS_BYTES] = "its fields: ";
            known_fields(field->fields, NULL, known + strlen(known), sizeof known - strlen(known));
            return schema_refuse(reading, field, node, known,
                                 field->read ? "a map of fields or a plain text" : "a map of fields");
        }
        ok = schema_read(reading, field->fields, node, object);
    }
    return ok && passes_check(reading, field, node, object);
}

static bool read_object_list(struct schema_reading *reading, const struct field *field, const struct node *node,
                             struct object_list *list)
{
    const struct node *item;
    size_t count;
    if (!list_items(reading, field, node, "a list", &item, &count)) return false;
    if (count == 0) return true;
    list->items = config_allocate(reading->arena, count * field->item_size);
    bool ok = true;
    for (; list->count < count; item = item->next)
        ok &= read_object(reading, field, item, (char *)list->items + field->item_size * list->count++);
    return ok;
}

static bool read_value(struct schema_reading *reading, const struct field *field, const struct node *node, void *at)
{
    switch (field->type) {
    case FIELD_STRING: return read_text(reading, field, node, at) && passes_check(reading, field, node, at);
    case FIELD_STRING_LIST: return read_string_list(reading, field, node, at);
    case FIELD_STRING_MAP: return read_string_map(reading, field, node, at);
    case FIELD_ENUM_SET: return read_enum_set(reading, field, node, at) && passes_check(reading, field, node, at);
    case FIELD_OBJECT: return read_object(reading, field, node, at);
    case FIELD_OBJECT_LIST: return read_object_list(reading, field, node, at);
    case FIELD_CUSTOM: return field->read(reading, node, at) && passes_check(reading, field, node, at);
    default: return schema_read_scalar(reading, field, node, at) && passes_check(reading, field, node, at);
    }
}

/* Defaults are texts of ours: "30000", "[5xx, reset]". Read by the same functions, so a wrong one is found by the first test. */
static void read_default(struct schema_reading *reading, const struct field *field, void *at)
{
    struct slice text = slice_from_cstring(field->fallback);
    struct node whole = { .kind = NODE_SCALAR, .text = text }, items[32];
    if (text.length >= 2 && text.at[0] == '[') {
        whole.kind = NODE_LIST;
        struct slice rest = slice_of(text.at + 1, text.length - 2), piece;
        while (slice_next(&rest, ',', &piece)) {
            PROMISE(whole.count < COUNT_OF(items));
            items[whole.count] = (struct node){ .kind = NODE_SCALAR,
                                                .text = arena_keep(reading->arena, piece),
                                                .parent = &whole };
            if (whole.count) items[whole.count - 1].next = &items[whole.count];
            whole.count++;
        }
        whole.first = items;
    }
    PROMISE(read_value(reading, field, &whole, at));
}

static void fill_default(struct schema_reading *reading, const struct field *field, void *into)
{
    if (field->fallback)
        read_default(reading, field, field_at(field, into));
    else if (field->type == FIELD_OBJECT)
        schema_defaults(reading, field->fields, field_at(field, into));
}

void schema_defaults(struct schema_reading *reading, const struct field *fields, void *into)
{
    for (const struct field *field = fields; field->name; field++) fill_default(reading, field, into);
}

static bool is_name(const char *name, struct slice key)
{
    return name && name[0] == key.at[0] && strncmp(name, key.at, key.length) == 0 && name[key.length] == '\0';
}

static const struct field *find_field(const struct field *fields, struct slice key, size_t *index)
{
    if (key.length == 0) return NULL;
    *index = 0;
    for (const struct field *field = fields; field->name; field++, ++*index) {
        if (is_name(field->name, key) || is_name(field->also, key)) return field;
    }
    return NULL;
}

const struct field *schema_find_field(const struct field *fields, struct slice name)
{
    size_t index;
    return find_field(fields, name, &index);
}

/* The map inside in which a name is at home, where there is exactly one. */
static const struct field *find_inside(const struct field *fields, struct slice key)
{
    const struct field *found = NULL;
    size_t index;
    for (const struct field *field = fields; field->name; field++) {
        if (!field->fields || !find_field(field->fields, key, &index)) continue;
        if (found) return NULL;
        found = field;
    }
    return found;
}

/* The name of the map that a node stands in, or of the list that the map is an item of. */
static struct slice name_of_map_around(const struct node *node)
{
    const struct node *map = node->parent;
    while (map && map->key.length == 0) map = map->parent;
    return map ? map->key : SLICE_ABSENT;
}

/* A better hint than another name, for one that is known a level further in or out; else `hint` stays. */
static void hint_of_place(const struct destination *destination, const struct node *child, char *hint, size_t size)
{
    size_t index;
    const struct field *inside = find_inside(destination->fields, child->key);
    struct slice around = name_of_map_around(child);
    if (inside)
        snprintf(hint, size, "it belongs into \"%s\"", inside->name);
    else if (destination->around && around.length > 0 && find_field(destination->around, child->key, &index))
        snprintf(hint, size, "it belongs beside \"%s\", not into it", problems_excerpt(around).text);
}

static bool is_field_of_kind(const struct schema_reading *reading, const struct node *kind_name, struct slice key)
{
    const struct policy_kind *kind = kind_name && kind_name->kind == NODE_SCALAR
                                         ? policy_kind_find(reading->kinds, kind_name->text)
                                         : NULL;
    return kind && schema_find_field(kind->fields, key);
}

/* A policy is written in one form in a route and in another one for several routes, and people mix them. */
static void hint_of_form(const struct schema_reading *reading, const struct field *fields, const struct node *child,
                         char *hint, size_t size)
{
    if (fields == filter_fields && slice_equal(child->key, SLICE("config")))
        snprintf(hint, size, "a filter's fields stand beside its \"type\"");
    else if (fields == plugin_fields && slice_equal(child->key, SLICE("type")))
        snprintf(hint, size, "a plugin's kind is its \"name\", its fields stand in \"config\"");
    else if (fields == plugin_fields && is_field_of_kind(reading, node_find(child->parent, "name"), child->key))
        snprintf(hint, size, "it belongs into \"config\"");
}

static bool refuse_unknown(struct schema_reading *reading, const struct destination *destinations, size_t count,
                           const struct node *child)
{
    const char *names[4 * FIELDS_MAX];
    size_t name_count = 0;
    for (size_t i = 0; i < count; i++) {
        for (const struct field *field = destinations[i].fields; field->name; field++) {
            names[name_count++] = field->name;
            if (field->also) names[name_count++] = field->also;
        }
    }
    /* Looking for a near name costs more than all else, so only a problem that will be listed gets it. */
    bool is_listed = reading->problems->count < PROBLEMS_LISTED_MAX;
    const char *nearest = is_listed ? nearest_name(child->key, names, name_count) : NULL;
    char hint[KNOWN_FIELDS_BYTES + 32] = "known here: ";
    size_t words = strlen(hint);
    if (nearest)
        snprintf(hint, sizeof hint, "did you mean \"%s\"?", nearest);
    else
        known_fields(destinations[0].fields, count > 1 ? destinations[1].fields : NULL, hint + words,
                     sizeof hint - words);
    hint_of_place(&destinations[0], child, hint, sizeof hint);
    if (is_listed) {
        hint_of_field_elsewhere(child->key, names, name_count, hint, sizeof hint);
        hint_of_form(reading, destinations[0].fields, child, hint, sizeof hint);
    }
    problems_add_at_key(reading->problems, child, hint, "unknown field \"%s\"", problems_excerpt(child->key).text);
    return false;
}

/* Lists, maps and objects that hold nothing are as good as absent (all their lines may be commented out); a word that is missing
 * is a mistake. An explicit null is absence for all. */
static bool counts_as_absent(const struct field *field, const struct node *node)
{
    if (node->kind != NODE_NULL) return false;
    return node->text.length > 0 || field->type == FIELD_STRING_LIST || field->type == FIELD_STRING_MAP ||
           field->type == FIELD_OBJECT_LIST || field->type == FIELD_OBJECT || field->type == FIELD_ENUM_SET;
}

static bool read_child(struct schema_reading *reading, struct destination *destinations, size_t count,
                       const struct node *child)
{
    for (size_t i = 0; i < count; i++) {
        struct destination *destination = &destinations[i];
        size_t index;
        const struct field *field = find_field(destination->fields, child->key, &index);
        if (!field) continue;
        PROMISE(index < FIELDS_MAX);
        if (field->type == FIELD_NOT_YET) {
            problems_add_at_key(reading->problems, child, NULL, "\"%s\" is not in this version yet", field->name);
            return false;
        }
        if (field->type == FIELD_IGNORED) return true;
        if (destination->seen[index]) {
            problems_add_at_key(reading->problems, child, NULL, "\"%s\" and \"%s\" are the same field",
                                problems_excerpt(destination->seen[index]->key).text,
                                problems_excerpt(child->key).text);
            return false;
        }
        destination->seen[index] = child;
        if (counts_as_absent(field, child)) {
            fill_default(reading, field, destination->into);
            return true;
        }
        mark_present(field, destination->into);
        return read_value(reading, field, child, field_at(field, destination->into));
    }
    return refuse_unknown(reading, destinations, count, child);
}

static bool is_missing(const struct field *field, const struct node *given)
{
    return field->required && (!given || counts_as_absent(field, given));
}

/* What was not given: a problem where it is required, else its default. */
static bool complete(struct schema_reading *reading, struct destination *destination, const struct node *map,
                     const struct node *place)
{
    bool ok = true;
    for (size_t i = 0; destination->fields[i].name; i++) {
        const struct field *field = &destination->fields[i];
        if (is_missing(field, destination->seen[i])) {
            if (map)
                problems_add_missing(reading->problems, map, field->name, NULL);
            else
                problems_add(reading->problems, place, NULL, "\"%s\" is missing", field->name);
            ok = false;
        } else if (!destination->seen[i]) {
            fill_default(reading, field, destination->into);
        }
    }
    return ok;
}

bool schema_read_both(struct schema_reading *reading, const struct field *fields, void *into, const struct field *more,
                      void *more_into, const struct node *node, const struct node *place)
{
    struct destination destinations[2] = { { .fields = fields, .into = into, .around = reading->around },
                                           { .fields = more, .into = more_into } };
    size_t count = more ? 2 : 1;
    if (node && node->kind != NODE_MAP) {
        problems_add(reading->problems, node, NULL, "\"%.*s\" must be a map of fields", SLICE_PRINT(node->key));
        return false;
    }
    bool ok = true;
    reading->around = fields;
    for (const struct node *child = node ? node->first : NULL; child; child = child->next)
        ok &= read_child(reading, destinations, count, child);
    reading->around = destinations[0].around;
    for (size_t i = 0; i < count; i++) ok &= complete(reading, &destinations[i], node, place);
    return ok;
}

bool schema_read(struct schema_reading *reading, const struct field *fields, const struct node *node, void *into)
{
    return schema_read_both(reading, fields, into, NULL, NULL, node, node);
}

struct slice schema_path(struct schema_reading *reading, struct slice path)
{
    if (slice_starts_with(path, SLICE("/"))) return path;
    struct slice folder = slice_from_cstring(reading->folder);
    struct slice pieces[] = { folder, slice_ends_with(folder, SLICE("/")) ? SLICE("") : SLICE("/"), path };
    struct slice absolute = arena_join(reading->arena, pieces, COUNT_OF(pieces));
    PROMISE(absolute.at != NULL);
    return absolute;
}

const struct policy_kind *policy_kind_find(const struct policy_kinds *kinds, struct slice name)
{
    for (size_t i = 0; kinds && i < kinds->count; i++) {
        const char *known = kinds->items[i].name;
        size_t at = 0;
        while (at < name.length && known[at] && known[at] == (name.at[at] == '_' ? '-' : name.at[at])) at++;
        if (at == name.length && known[at] == '\0') return &kinds->items[i];
    }
    return NULL;
}
