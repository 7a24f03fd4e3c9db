/* expr/types.c: types as the checker sees them. A parameter stands for a type that is yet to be found ("the items of []"); a binding says
 * what was found, and may become more general as more is known. dyn goes with everything. */
#include "expr/private.h"

const struct static_type static_types[EXPRESSION_TYPE_COUNT] = {
    [EXPRESSION_DYN] = { .kind = EXPRESSION_DYN },
    [EXPRESSION_NULL] = { .kind = EXPRESSION_NULL },
    [EXPRESSION_BOOL] = { .kind = EXPRESSION_BOOL },
    [EXPRESSION_INT] = { .kind = EXPRESSION_INT },
    [EXPRESSION_UINT] = { .kind = EXPRESSION_UINT },
    [EXPRESSION_DOUBLE] = { .kind = EXPRESSION_DOUBLE },
    [EXPRESSION_STRING] = { .kind = EXPRESSION_STRING },
    [EXPRESSION_BYTES] = { .kind = EXPRESSION_BYTES },
    [EXPRESSION_LIST] = { .kind = EXPRESSION_LIST, .of = { &static_types[EXPRESSION_DYN] } },
    [EXPRESSION_MAP] = { .kind = EXPRESSION_MAP,
                         .of = { &static_types[EXPRESSION_DYN], &static_types[EXPRESSION_DYN] } },
    [EXPRESSION_TIMESTAMP] = { .kind = EXPRESSION_TIMESTAMP },
    [EXPRESSION_DURATION] = { .kind = EXPRESSION_DURATION },
    [EXPRESSION_TYPE] = { .kind = EXPRESSION_TYPE },
    [EXPRESSION_IP] = { .kind = EXPRESSION_IP },
    [EXPRESSION_CIDR] = { .kind = EXPRESSION_CIDR },
    [EXPRESSION_OPTIONAL] = { .kind = EXPRESSION_OPTIONAL, .of = { &static_types[EXPRESSION_DYN] } },
};

#define DYN (&static_types[EXPRESSION_DYN])

static const struct static_type *make(struct arena *arena, struct static_type type)
{
    struct static_type *made = arena_allocate(arena, sizeof *made);
    if (!made) return DYN; /* says less, and so refuses less; evaluation checks again */
    *made = type;
    return made;
}

const struct static_type *type_list_of(struct arena *arena, const struct static_type *items)
{
    return make(arena, (struct static_type){ .kind = EXPRESSION_LIST, .of = { items } });
}

const struct static_type *type_map_of(struct arena *arena, const struct static_type *keys,
                                      const struct static_type *values)
{
    return make(arena, (struct static_type){ .kind = EXPRESSION_MAP, .of = { keys, values } });
}

const struct static_type *type_type_of(struct arena *arena, const struct static_type *of)
{
    return make(arena, (struct static_type){ .kind = EXPRESSION_TYPE, .of = { of } });
}

const struct static_type *type_optional_of(struct arena *arena, const struct static_type *of)
{
    return make(arena, (struct static_type){ .kind = EXPRESSION_OPTIONAL, .of = { of } });
}

const struct static_type *type_parameter(struct type_bindings *bindings)
{
    if (bindings->count == bindings->capacity) {
        uint32_t capacity = bindings->capacity ? bindings->capacity * 2 : 32;
        const struct static_type **bound = arena_allocate(bindings->arena, capacity * sizeof(struct static_type *));
        if (!bound) return DYN;
        if (bindings->count) memcpy(bound, bindings->bound, bindings->count * sizeof(struct static_type *));
        bindings->bound = bound;
        bindings->capacity = capacity;
    }
    bindings->bound[bindings->count] = NULL;
    return make(bindings->arena, (struct static_type){ .kind = STATIC_PARAMETER, .parameter = bindings->count++ });
}

static bool is_parameter(const struct static_type *type) { return type->kind == STATIC_PARAMETER; }

static bool is_same_kind(const struct static_type *a, const struct static_type *b)
{
    return a->kind == b->kind && slice_equal(a->name, b->name);
}

/* --- which of two says less --- */

static bool says_less_or_equal(const struct static_type *a, const struct static_type *b)
{
    if (a->kind == EXPRESSION_DYN || is_parameter(a)) return true;
    if (b->kind == EXPRESSION_DYN || is_parameter(b) || !is_same_kind(a, b)) return false;
    if (a->kind == EXPRESSION_TYPE) return true;
    for (int i = 0; i < TYPE_PARTS_MAX; i++) {
        if (a->of[i] && b->of[i] && !says_less_or_equal(a->of[i], b->of[i])) return false;
    }
    return true;
}

const struct static_type *type_more_general(const struct static_type *a, const struct static_type *b)
{
    if (b->kind == EXPRESSION_NULL && a->kind != EXPRESSION_DYN) return a; /* it takes null */
    return says_less_or_equal(a, b) ? a : b;
}

/* --- binding --- */

/* Would binding the parameter to this type make it part of itself? */
static bool occurs_in(const struct type_bindings *bindings, const struct static_type *parameter,
                      const struct static_type *type)
{
    if (is_parameter(type)) {
        if (type->parameter == parameter->parameter) return true;
        const struct static_type *bound = bindings->bound[type->parameter];
        return bound && occurs_in(bindings, parameter, bound);
    }
    for (int i = 0; i < TYPE_PARTS_MAX; i++) {
        if (type->of[i] && occurs_in(bindings, parameter, type->of[i])) return true;
    }
    return false;
}

static bool change(struct type_bindings *bindings, uint32_t parameter, const struct static_type *to)
{
    if (bindings->change_count == bindings->change_capacity) {
        uint32_t capacity = bindings->change_capacity ? bindings->change_capacity * 2 : 32;
        struct type_change *changes = arena_allocate(bindings->arena, capacity * sizeof *changes);
        if (!changes) return false;
        if (bindings->change_count) memcpy(changes, bindings->changes, bindings->change_count * sizeof *changes);
        bindings->changes = changes;
        bindings->change_capacity = capacity;
    }
    bindings->changes[bindings->change_count++] = (struct type_change){ parameter, bindings->bound[parameter] };
    bindings->bound[parameter] = to;
    return true;
}

void type_bindings_undo(struct type_bindings *bindings, uint32_t change_count)
{
    while (bindings->change_count > change_count) {
        const struct type_change *last = &bindings->changes[--bindings->change_count];
        bindings->bound[last->parameter] = last->before;
    }
}

enum binding { BINDING_FITS, BINDING_NO, BINDING_NO_BUT_BOUND };

static bool assignable(struct type_bindings *, const struct static_type *, const struct static_type *);

static enum binding bind(struct type_bindings *bindings, const struct static_type *type,
                         const struct static_type *parameter)
{
    if (is_parameter(type) && type->parameter == parameter->parameter) return BINDING_FITS;
    const struct static_type *bound = bindings->bound[parameter->parameter];
    if (!bound) {
        if (occurs_in(bindings, parameter, type)) return BINDING_NO;
        return change(bindings, parameter->parameter, type) ? BINDING_FITS : BINDING_NO;
    }
    if (is_parameter(type) && is_parameter(bound) && type->parameter == bound->parameter) return BINDING_FITS;
    if (!assignable(bindings, type, bound)) return BINDING_NO_BUT_BOUND;
    const struct static_type *general = type_more_general(type, bound);
    if (general == bound || occurs_in(bindings, parameter, general)) return BINDING_FITS;
    return change(bindings, parameter->parameter, general) ? BINDING_FITS : BINDING_NO_BUT_BOUND;
}

/* null goes where times and optionals are wanted: the specification's heritage from messages. */
static bool takes_null(const struct static_type *type)
{
    return type->kind == EXPRESSION_NULL || type->kind == EXPRESSION_TIMESTAMP || type->kind == EXPRESSION_DURATION ||
           type->kind == EXPRESSION_OPTIONAL;
}

static bool assignable(struct type_bindings *bindings, const struct static_type *from, const struct static_type *to)
{
    if (is_parameter(to)) {
        enum binding binding = bind(bindings, from, to);
        if (binding == BINDING_FITS) return true;
        if (binding == BINDING_NO_BUT_BOUND) return false;
    }
    if (is_parameter(from)) return bind(bindings, to, from) == BINDING_FITS;
    if (from->kind == EXPRESSION_DYN || to->kind == EXPRESSION_DYN) return true;
    if (from->kind == EXPRESSION_NULL) return takes_null(to);
    if (to->kind == EXPRESSION_NULL) return takes_null(from);
    if (!is_same_kind(from, to)) return false;
    if (from->kind == EXPRESSION_TYPE) return true; /* all types are of the type "type" */
    for (int i = 0; i < TYPE_PARTS_MAX; i++) {
        if (from->of[i] && to->of[i] && !assignable(bindings, from->of[i], to->of[i])) return false;
    }
    return true;
}

bool type_assignable(struct type_bindings *bindings, const struct static_type *from, const struct static_type *to)
{
    return assignable(bindings, from, to);
}

const struct static_type *type_resolve(struct type_bindings *bindings, const struct static_type *type, bool finally)
{
    while (is_parameter(type)) {
        const struct static_type *bound = bindings->bound[type->parameter];
        if (!bound) return finally ? DYN : type;
        type = bound;
    }
    if (!type->of[0]) return type;
    struct static_type resolved = *type;
    for (int i = 0; i < TYPE_PARTS_MAX; i++) {
        if (type->of[i]) resolved.of[i] = type_resolve(bindings, type->of[i], finally);
    }
    if (memcmp(resolved.of, type->of, sizeof type->of) == 0) return type;
    return make(bindings->arena, resolved);
}

/* --- reading and writing --- */

static const struct {
    const char *name;
    enum expression_type type;
} type_names[] = {
    { "dyn", EXPRESSION_DYN },
    { "null", EXPRESSION_NULL },
    { "bool", EXPRESSION_BOOL },
    { "int", EXPRESSION_INT },
    { "uint", EXPRESSION_UINT },
    { "double", EXPRESSION_DOUBLE },
    { "string", EXPRESSION_STRING },
    { "bytes", EXPRESSION_BYTES },
    { "list", EXPRESSION_LIST },
    { "map", EXPRESSION_MAP },
    { "timestamp", EXPRESSION_TIMESTAMP },
    { "duration", EXPRESSION_DURATION },
    { "type", EXPRESSION_TYPE },
    { "optional_type", EXPRESSION_OPTIONAL },
    { "net.IP", EXPRESSION_IP },
    { "net.CIDR", EXPRESSION_CIDR },
};

static void skip_blanks(struct slice *text)
{
    while (text->length && text->at[0] == ' ') *text = slice_after(*text, 1);
}

static bool take(struct slice *text, char byte)
{
    skip_blanks(text);
    if (!text->length || text->at[0] != byte) return false;
    *text = slice_after(*text, 1);
    return true;
}

static const struct static_type *letter(struct type_bindings *bindings, char name,
                                        const struct static_type *letters[26])
{
    const struct static_type **place = &letters[name - 'A'];
    if (!*place) *place = type_parameter(bindings);
    return *place;
}

static bool is_type_byte(char byte) { return (byte >= 'A' && byte <= 'z') || byte == '.'; }

const struct static_type *type_read(struct type_bindings *bindings, struct slice *text,
                                    const struct static_type *letters[26])
{
    skip_blanks(text);
    size_t length = 0;
    while (length < text->length && is_type_byte(text->at[length])) length++;
    struct slice name = slice_before(*text, length);
    *text = slice_after(*text, length);
    if (length == 1 && name.at[0] <= 'Z') return letter(bindings, name.at[0], letters);
    struct static_type type = { .kind = STATIC_OTHER, .name = name };
    for (size_t i = 0; i < COUNT_OF(type_names); i++) {
        if (slice_equal(name, slice_from_cstring(type_names[i].name))) type = static_types[type_names[i].type];
    }
    if (!take(text, '(')) return type.kind == STATIC_OTHER ? NULL : &static_types[type.kind];
    for (int i = 0; i < TYPE_PARTS_MAX && (i == 0 || take(text, ',')); i++) {
        type.of[i] = type_read(bindings, text, letters);
        if (!type.of[i]) return NULL;
    }
    return take(text, ')') ? make(bindings->arena, type) : NULL;
}

static struct slice name_of(const struct static_type *type)
{
    if (type->kind == STATIC_OTHER) return type->name;
    for (size_t i = 0; i < COUNT_OF(type_names); i++) {
        if (type_names[i].type == type->kind) return slice_from_cstring(type_names[i].name);
    }
    return SLICE("dyn");
}

struct slice type_text(struct arena *arena, const struct static_type *type)
{
    struct slice text = name_of(type);
    for (int i = 0; i < TYPE_PARTS_MAX && type->of[i]; i++) {
        struct slice part = type_text(arena, type->of[i]);
        text = arena_format(arena, "%.*s%s%.*s", SLICE_PRINT(text), i ? ", " : "(", SLICE_PRINT(part));
    }
    return type->of[0] ? arena_format(arena, "%.*s)", SLICE_PRINT(text)) : text;
}

const struct static_type *type_named(struct slice name)
{
    for (int i = EXPRESSION_NULL; i < EXPRESSION_TYPE_COUNT; i++) {
        if (slice_equal(name, slice_from_cstring(expression_type_name((enum expression_type)i))))
            return &static_types[i];
    }
    return NULL;
}
