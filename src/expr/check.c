/* expr/check.c: every term gets its type, every name its variable, every call its function, before anything runs.
 *
 * Types are those of CEL's checker: literals say exactly what they are, claims are dyn, and what is dyn is judged when it is evaluated.
 * The first error ends the check. A lenient check puts a term in the error's place that fails when it is evaluated. */
#include "base/nearest.h"
#include "expr/private.h"

#include <stdarg.h>

#define DYN (&static_types[EXPRESSION_DYN])
#define BOOL (&static_types[EXPRESSION_BOOL])
#define QUALIFIED_MAX 256 /* bytes of a dotted name */

struct local {
    struct slice name;
    const struct static_type *type;
};

struct checker {
    struct expression_compilation *of;
    struct arena *arena;
    struct type_bindings bindings;
    struct local locals[LOCALS_MAX];
    uint8_t local_count;
};

static bool check(struct checker *, struct term *);

/* --- errors --- */

static bool refuse(struct checker *checker, struct term *term, const char *format, ...) PRINTF_LIKE(3, 4);

static bool refuse(struct checker *checker, struct term *term, const char *format, ...)
{
    char text[160];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (!checker->of->is_lenient) return expression_refuse(checker->of->error, term->position, "%s", text);
    term->kind = TERM_FAULT;
    term->count = 0;
    term->type = DYN;
    return true;
}

static struct slice spelled(struct checker *checker, const struct static_type *type)
{
    return type_text(checker->arena, type_resolve(&checker->bindings, type, true));
}

/* --- names --- */

/* "a.b.c", if the term is nothing but names and dots. Absent otherwise. */
static struct slice qualified_name(const struct term *term, char into[QUALIFIED_MAX], const struct term **root)
{
    if (term->kind == TERM_NAME) {
        *root = term;
        if (term->text.length >= QUALIFIED_MAX) return SLICE_ABSENT;
        memcpy(into, term->text.at, term->text.length);
        return slice_of(into, term->text.length);
    }
    if (term->kind != TERM_SELECT && term->kind != TERM_HAS) return SLICE_ABSENT;
    struct slice front = qualified_name(term->operands[0], into, root);
    size_t length = front.length + 1 + term->text.length;
    if (slice_is_absent(front) || length >= QUALIFIED_MAX) return SLICE_ABSENT;
    into[front.length] = '.';
    memcpy(into + front.length + 1, term->text.at, term->text.length);
    return slice_of(into, length);
}

static const struct local *find_local(const struct checker *checker, const struct term *root)
{
    for (uint8_t i = checker->local_count; i > 0 && !root->is_global; i--) {
        if (slice_equal(checker->locals[i - 1].name, root->text)) return &checker->locals[i - 1];
    }
    return NULL;
}

/* A row "path.*" takes every name behind "path."; *rest is that name. */
static bool row_matches(const struct expression_variable *row, struct slice name, struct slice *rest)
{
    struct slice written = slice_from_cstring(row->name);
    *rest = SLICE_ABSENT;
    if (!slice_ends_with(written, SLICE(".*"))) return slice_equal(written, name);
    struct slice front = slice_before(written, written.length - 1);
    if (!slice_starts_with(name, front) || name.length == front.length) return false;
    *rest = slice_after(name, front.length);
    return slice_find_byte(*rest, '.') == SLICE_NOT_FOUND;
}

static const struct expression_variable *find_row(const struct checker *checker, struct slice name, struct slice *rest)
{
    const struct expression_scope *scope = checker->of->scope;
    for (size_t i = 0; scope && i < scope->variable_count; i++) {
        if (row_matches(&scope->variables[i], name, rest)) return &scope->variables[i];
    }
    return NULL;
}

/* Behind the container first, as CEL resolves names. */
static const struct expression_variable *find_variable(const struct checker *checker, const struct term *root,
                                                       struct slice name, struct slice *rest)
{
    char joined[2 * QUALIFIED_MAX];
    const char *container = checker->of->scope ? checker->of->scope->container : NULL;
    if (container && !root->is_global) {
        int length = snprintf(joined, sizeof joined, "%s.%.*s", container, SLICE_PRINT(name));
        const struct expression_variable *row = find_row(checker, slice_of(joined, (size_t)length), rest);
        if (row) return row;
    }
    return find_row(checker, name, rest);
}

static const char *moment_word(unsigned moment)
{
    if (moment == EXPRESSION_AT_ROUTE) return "where a route is chosen";
    return moment == EXPRESSION_AT_REQUEST ? "before there is an answer" : "here";
}

static bool become_variable(struct checker *checker, struct term *term, const struct expression_variable *row,
                            struct slice rest)
{
    const struct expression_scope *scope = checker->of->scope;
    if (!(row->moments & scope->moment)) {
        return refuse(checker, term, "there is no \"%s\" %s", row->name, moment_word(scope->moment));
    }
    term->text = SLICE_ABSENT;
    if (!slice_is_absent(rest)) {
        if (scope->captures && !scope->captures(scope->captures_argument, rest)) {
            return refuse(checker, term, "the route's path captures no \"%.*s\"", SLICE_PRINT(slice_before(rest, 64)));
        }
        term->text = arena_copy(checker->arena, rest);
    }
    const struct static_type *letters[26] = { NULL };
    struct slice type = slice_from_cstring(row->type);
    term->type = type_read(&checker->bindings, &type, letters);
    PROMISE(term->type != NULL); /* rows are ours */
    term->kind = term->kind == TERM_HAS ? TERM_HAS_VARIABLE : TERM_VARIABLE;
    if (term->kind == TERM_HAS_VARIABLE) term->type = BOOL;
    term->variable = row;
    term->count = 0;
    checker->of->expression->used[row->number / 64] |= 1ull << (row->number % 64);
    return true;
}

/* True with *done false: not a variable; false: it was refused. */
static bool try_variable(struct checker *checker, struct term *term, bool *done)
{
    char buffer[QUALIFIED_MAX];
    const struct term *root = NULL;
    struct slice name = qualified_name(term, buffer, &root), rest;
    *done = false;
    if (slice_is_absent(name) || find_local(checker, root)) return true;
    const struct expression_variable *row = find_variable(checker, root, name, &rest);
    if (row) {
        *done = true;
        term->position = root->position;
        return become_variable(checker, term, row, rest);
    }
    const struct static_type *type = term->kind == TERM_HAS ? NULL : type_named(name);
    if (!type) return true;
    *done = true;
    term->kind = TERM_CONSTANT;
    term->count = 0;
    term->type = type_type_of(checker->arena, type);
    term->value = (struct expression_value){
        .type = EXPRESSION_TYPE, .text = slice_from_cstring(expression_type_name((enum expression_type)type->kind))
    };
    return true;
}

#define NAMES_COMPARED_MAX 64

/* What may have been meant: a variable that is there at this moment. Of "request.headrs.accept" the beginning may be one as well. */
static const char *nearest_variable(const struct checker *checker, struct slice name)
{
    const struct expression_scope *scope = checker->of->scope;
    const char *names[NAMES_COMPARED_MAX];
    size_t count = 0;
    for (size_t i = 0; scope && i < scope->variable_count && count < COUNT_OF(names); i++) {
        const struct expression_variable *row = &scope->variables[i];
        if (!(row->moments & scope->moment)) continue;
        if (slice_find_byte(slice_from_cstring(row->name), '*') == SLICE_NOT_FOUND) names[count++] = row->name;
    }
    for (size_t length = name.length; length > 0;) {
        const char *nearest = nearest_name(slice_before(name, length), names, count);
        if (nearest) return nearest;
        while (length > 0 && name.at[--length] != '.') continue;
    }
    return NULL;
}

static bool refuse_unknown(struct checker *checker, struct term *term, struct slice name)
{
    struct slice shown = slice_before(name, 64);
    if (checker->of->is_lenient) return refuse(checker, term, "unknown variable \"%.*s\"", SLICE_PRINT(shown));
    const char *nearest = nearest_variable(checker, name);
    return error_format(checker->of->error, "unknown variable \"%.*s\" at position %u%s%s%s", SLICE_PRINT(shown),
                        term->position + 1, nearest ? " (did you mean \"" : "", nearest ? nearest : "",
                        nearest ? "\"?)" : "");
}

/* Does any variable's name begin with this one and a dot? Then the name alone is but half of one. */
static const char *begins_variable(const struct checker *checker, struct slice name)
{
    const struct expression_scope *scope = checker->of->scope;
    for (size_t i = 0; scope && i < scope->variable_count; i++) {
        struct slice row = slice_from_cstring(scope->variables[i].name);
        if (row.length > name.length && slice_starts_with(row, name) && row.at[name.length] == '.') {
            return scope->variables[i].name;
        }
    }
    return NULL;
}

static bool check_name(struct checker *checker, struct term *term)
{
    const struct local *local = find_local(checker, term);
    if (local) {
        term->kind = TERM_LOCAL;
        term->local = (uint8_t)(local - checker->locals);
        term->type = local->type;
        return true;
    }
    bool done;
    if (!try_variable(checker, term, &done)) return false;
    if (done) return true;
    return refuse_unknown(checker, term, term->text);
}

/* The longest part of a.b.c that is a variable's name is one; "request.hots" is told as a whole. */
static bool refuse_half_name(struct checker *checker, struct term *term, bool *refused)
{
    char buffer[QUALIFIED_MAX];
    const struct term *root = NULL;
    struct slice name = qualified_name(term, buffer, &root);
    *refused = false;
    if (slice_is_absent(name) || find_local(checker, root)) return true;
    for (size_t end = name.length; end > 0; end--) {
        struct slice rest;
        if (end < name.length && name.at[end] != '.') continue;
        if (find_variable(checker, root, slice_before(name, end), &rest)) return true;
    }
    size_t dot = slice_find_byte(name, '.');
    bool is_half = begins_variable(checker, slice_before(name, dot)) != NULL;
    if (!is_half && (checker->of->is_lenient || !nearest_variable(checker, name))) return true;
    *refused = true;
    term->position = root->position;
    return refuse_unknown(checker, term, name);
}

/* What is not known yet is dyn from here on. */
static const struct static_type *resolve_dyn(struct checker *checker, const struct static_type *type)
{
    const struct static_type *resolved = type_resolve(&checker->bindings, type, false);
    if (resolved->kind != STATIC_PARAMETER) return resolved;
    (void)type_assignable(&checker->bindings, DYN, resolved);
    return DYN;
}

static bool check_select(struct checker *checker, struct term *term)
{
    bool done, is_has = term->kind == TERM_HAS;
    if (!try_variable(checker, term, &done)) return false;
    if (done) return true;
    if (!refuse_half_name(checker, term, &done)) return false;
    if (done) return true;
    if (!check(checker, term->operands[0])) return false;
    const struct static_type *of = resolve_dyn(checker, term->operands[0]->type);
    bool is_optional = term->is_optional || of->kind == EXPRESSION_OPTIONAL;
    if (of->kind == EXPRESSION_OPTIONAL) of = resolve_dyn(checker, of->of[0]);
    if (of->kind != EXPRESSION_MAP && of->kind != EXPRESSION_DYN) {
        return refuse(checker, term, "a %.*s has no field \"%.*s\"", SLICE_PRINT(spelled(checker, of)),
                      SLICE_PRINT(slice_before(term->text, 64)));
    }
    const struct static_type *field = of->kind == EXPRESSION_MAP ? of->of[1] : DYN;
    term->type = is_has ? BOOL : is_optional ? type_optional_of(checker->arena, field) : field;
    return true;
}

/* --- calls --- */

static bool skip_past(struct slice *text, char byte)
{
    while (text->length && text->at[0] == ' ') *text = slice_after(*text, 1);
    if (!text->length || text->at[0] != byte) return false;
    *text = slice_after(*text, 1);
    return true;
}

/* Does the overload at the front of *text take these operands? *text is moved behind it; bindings change only if it does. */
static bool try_overload(struct checker *checker, const struct term *term, struct slice *text,
                         const struct static_type **result, bool *has_arity)
{
    const struct static_type *letters[26] = { NULL };
    struct type_bindings *bindings = &checker->bindings;
    const struct static_type *wanted[ARGUMENTS_MAX];
    size_t count = 0;
    while (!skip_past(text, ':')) {
        PROMISE(count < ARGUMENTS_MAX);
        wanted[count++] = type_read(bindings, text, letters);
        PROMISE(wanted[count - 1] != NULL);
        (void)skip_past(text, ',');
    }
    *result = type_read(bindings, text, letters);
    (void)skip_past(text, ';');
    if (count != term->count) return false;
    *has_arity = true;
    uint32_t changes = bindings->change_count;
    for (size_t i = 0; i < count; i++) {
        if (type_assignable(bindings, term->operands[i]->type, wanted[i])) continue;
        type_bindings_undo(bindings, changes);
        return false;
    }
    *result = type_resolve(bindings, *result, false);
    return true;
}

static bool types_are_same(const struct static_type *a, const struct static_type *b)
{
    if (a->kind != b->kind || (a->kind == STATIC_PARAMETER && a->parameter != b->parameter)) return false;
    for (int i = 0; i < TYPE_PARTS_MAX; i++) {
        if ((a->of[i] != NULL) != (b->of[i] != NULL)) return false;
        if (a->of[i] && !types_are_same(a->of[i], b->of[i])) return false;
    }
    return true;
}

static bool refuse_call(struct checker *checker, struct term *term)
{
    struct slice types = SLICE("");
    for (uint32_t i = 0; i < term->count && i < ARGUMENTS_MAX; i++) {
        types = arena_format(checker->arena, "%.*s%s%.*s", SLICE_PRINT(types), i ? ", " : "",
                             SLICE_PRINT(spelled(checker, term->operands[i]->type)));
    }
    struct slice name = slice_equal(term->text, SLICE("-x")) ? SLICE("-") : term->text;
    return refuse(checker, term, "\"%.*s\" does not take (%.*s)", SLICE_PRINT(slice_before(name, 40)),
                  SLICE_PRINT(slice_before(types, 80)));
}

static bool resolve_overloads(struct checker *checker, struct term *term)
{
    struct slice text = slice_from_cstring(term->function->overloads);
    bool has_arity = false;
    term->type = NULL;
    while (text.length) {
        const struct static_type *result;
        if (!try_overload(checker, term, &text, &result, &has_arity)) continue;
        if (!term->type) {
            term->type = result;
        } else if (!types_are_same(term->type, result)) {
            term->type = DYN;
        }
    }
    if (!term->type && checker->of->is_lenient && has_arity) term->type = DYN;
    return term->type || refuse_call(checker, term);
}

/* math.greatest(1, 2, 3): the arguments become a list. */
static bool gather_arguments(struct checker *checker, struct term *term)
{
    if (term->count == 1 && term->operands[0]->kind == TERM_LIST) return true;
    struct term *list = arena_allocate_zeroed(checker->arena, sizeof *list);
    struct term **operands = arena_allocate(checker->arena, sizeof *operands);
    if (!list || !operands) return error_format(checker->of->error, "out of memory");
    *list = (struct term){
        .kind = TERM_LIST, .position = term->position, .count = term->count, .operands = term->operands
    };
    operands[0] = list;
    term->operands = operands;
    term->count = 1;
    return true;
}

/* base64.encode(x) is written like a call with a receiver, and isn't one. */
static bool try_qualified_function(struct checker *checker, struct term *term)
{
    char buffer[QUALIFIED_MAX];
    const struct term *root = NULL;
    struct slice front = qualified_name(term->operands[0], buffer, &root);
    if (slice_is_absent(front) || find_local(checker, root)) return false;
    struct slice name = arena_format(checker->arena, "%.*s.%.*s", SLICE_PRINT(front), SLICE_PRINT(term->text));
    term->function = function_find(name, FUNCTION_GLOBAL, NULL);
    if (!term->function) return false;
    term->text = name;
    term->is_receiver = false;
    term->operands++;
    term->count--;
    return true;
}

static bool find_function(struct checker *checker, struct term *term)
{
    if (term->is_receiver && try_qualified_function(checker, term)) return true;
    bool is_other = false;
    bool is_name = term->text.at[0] >= 'A' && term->text.at[0] != '[' && term->text.at[0] <= 'z';
    enum function_style style = term->is_receiver ? FUNCTION_RECEIVER : is_name ? FUNCTION_GLOBAL : FUNCTION_OPERATOR;
    if (slice_equal(term->text, SLICE("in")) && !term->is_receiver) style = FUNCTION_OPERATOR;
    term->function = function_find(term->text, style, &is_other);
    for (const struct function *row = checker->of->declared; row && row->name && !term->function; row++) {
        if (slice_equal(term->text, slice_from_cstring(row->name))) term->function = row;
    }
    if (term->function) return true;
    const char *hint = !is_other ? "" : term->is_receiver ? " (it is written f(x))" : " (it is written x.f())";
    return refuse(checker, term, "there is no function \"%.*s\"%s", SLICE_PRINT(slice_before(term->text, 64)), hint);
}

static bool check_call(struct checker *checker, struct term *term)
{
    if (!find_function(checker, term)) return false;
    if (term->kind == TERM_FAULT) return true;
    if (term->function->is_variadic && !gather_arguments(checker, term)) return false;
    for (uint32_t i = 0; i < term->count; i++) {
        struct term *operand = term->operands[i];
        if (!check(checker, operand)) return false;
        operand->type = resolve_dyn(checker, operand->type); /* or the first overload would settle what it is */
    }
    return resolve_overloads(checker, term);
}

/* --- literals --- */

static const struct static_type *join(struct checker *checker, const struct static_type *so_far,
                                      const struct static_type *next)
{
    if (!so_far) return next;
    if (type_assignable(&checker->bindings, so_far, next)) return type_more_general(so_far, next);
    return DYN;
}

/* The type behind "?x", x being an optional. */
static bool open_item(struct checker *checker, struct term *item, const struct static_type *type,
                      const struct static_type **opened)
{
    const struct static_type *inner = type_parameter(&checker->bindings);
    *opened = inner;
    if (type_assignable(&checker->bindings, type, type_optional_of(checker->arena, inner))) return true;
    *opened = DYN;
    return refuse(checker, item, "an optional is wanted behind \"?\", and not %.*s",
                  SLICE_PRINT(spelled(checker, type)));
}

static bool check_list(struct checker *checker, struct term *term)
{
    const struct static_type *items = NULL;
    for (uint32_t i = 0; i < term->count; i++) {
        struct term *item = term->operands[i];
        if (!check(checker, item)) return false;
        const struct static_type *type = item->type;
        if (item->is_item_optional && !open_item(checker, item, type, &type)) return false;
        items = join(checker, items, type);
    }
    term->type = type_list_of(checker->arena, items ? items : type_parameter(&checker->bindings));
    return true;
}

static bool is_key_type(const struct static_type *type)
{
    switch (type->kind) {
    case EXPRESSION_BOOL:
    case EXPRESSION_INT:
    case EXPRESSION_UINT:
    case EXPRESSION_STRING:
    case EXPRESSION_DYN:
    case STATIC_PARAMETER: return true;
    default: return false;
    }
}

static bool check_map(struct checker *checker, struct term *term)
{
    const struct static_type *keys = NULL, *values = NULL;
    for (uint32_t i = 0; i < term->count; i += 2) {
        struct term *key = term->operands[i], *value = term->operands[i + 1];
        if (!check(checker, key) || !check(checker, value)) return false;
        const struct static_type *type = value->type;
        if (key->is_item_optional && !open_item(checker, value, type, &type)) return false;
        if (!is_key_type(key->type) &&
            !refuse(checker, key, "a map's keys are strings, ints, uints or bools, and not %.*s",
                    SLICE_PRINT(spelled(checker, key->type)))) {
            return false;
        }
        keys = join(checker, keys, key->type);
        values = join(checker, values, type);
    }
    if (!keys) keys = type_parameter(&checker->bindings);
    if (!values) values = type_parameter(&checker->bindings);
    term->type = type_map_of(checker->arena, keys, values);
    return true;
}

/* --- logic and macros --- */

static bool want_bool(struct checker *checker, struct term *term, struct term *operand, const char *what)
{
    if (type_assignable(&checker->bindings, operand->type, BOOL)) return true;
    return refuse(checker, checker->of->is_lenient ? operand : term, "%s wants bool, and not %.*s", what,
                  SLICE_PRINT(spelled(checker, operand->type)));
}

static bool check_logic(struct checker *checker, struct term *term)
{
    for (uint32_t i = 0; i < term->count; i++) {
        if (!check(checker, term->operands[i])) return false;
        if (!want_bool(checker, term, term->operands[i], term->kind == TERM_AND ? "\"&&\"" : "\"||\"")) return false;
    }
    term->type = BOOL;
    return true;
}

static bool check_condition(struct checker *checker, struct term *term)
{
    for (uint32_t i = 0; i < 3; i++) {
        if (!check(checker, term->operands[i])) return false;
    }
    if (!want_bool(checker, term, term->operands[0], "\"?\"")) return false;
    const struct static_type *type = type_parameter(&checker->bindings);
    for (uint32_t i = 1; i < 3; i++) {
        if (type_assignable(&checker->bindings, term->operands[i]->type, type)) continue;
        if (!checker->of->is_lenient) {
            return refuse(checker, term, "both sides of \":\" have to be of one type: %.*s and %.*s",
                          SLICE_PRINT(spelled(checker, term->operands[1]->type)),
                          SLICE_PRINT(spelled(checker, term->operands[2]->type)));
        }
        type = DYN;
    }
    term->type = type_resolve(&checker->bindings, type, false);
    return true;
}

static bool range_types(struct checker *checker, struct term *term, const struct static_type *types[2])
{
    const struct static_type *range = type_resolve(&checker->bindings, term->operands[0]->type, false);
    bool has_two = term->locals == 2;
    types[0] = types[1] = DYN;
    if (range->kind == STATIC_PARAMETER) {
        (void)type_assignable(&checker->bindings, DYN, range);
    } else if (range->kind == EXPRESSION_LIST) {
        types[1] = resolve_dyn(checker, range->of[0]);
        types[0] = has_two ? &static_types[EXPRESSION_INT] : types[1];
    } else if (range->kind == EXPRESSION_MAP) {
        types[0] = resolve_dyn(checker, range->of[0]);
        types[1] = resolve_dyn(checker, range->of[1]);
    } else if (range->kind != EXPRESSION_DYN) {
        return refuse(checker, term, "there is nothing to go through in a %.*s", SLICE_PRINT(spelled(checker, range)));
    }
    return true;
}

/* The operands behind the range: the test (of map() with three arguments and all others), then what map() makes. */
static bool check_macro_body(struct checker *checker, struct term *term)
{
    for (uint32_t i = 1; i < term->count; i++) {
        if (!check(checker, term->operands[i])) return false;
    }
    struct term *last = term->operands[term->count - 1];
    bool has_test = term->macro != MACRO_MAP || term->count == 3;
    if (has_test && !want_bool(checker, term, term->operands[1], "the macro")) return false;
    if (term->macro == MACRO_MAP) {
        term->type = type_list_of(checker->arena, last->type);
    } else if (term->macro == MACRO_FILTER) {
        const struct static_type *item = checker->locals[checker->local_count - 1].type;
        term->type = type_list_of(checker->arena, item);
    } else {
        term->type = BOOL;
    }
    return true;
}

static bool check_macro(struct checker *checker, struct term *term)
{
    const struct static_type *types[2];
    if (!check(checker, term->operands[0]) || !range_types(checker, term, types)) return false;
    if (term->kind == TERM_FAULT) return true;
    if (checker->local_count + term->locals > LOCALS_MAX) {
        return refuse(checker, term, "more than %d macros inside each other", LOCALS_MAX);
    }
    term->local = checker->local_count;
    for (uint8_t i = 0; i < term->locals; i++) {
        checker->locals[checker->local_count++] = (struct local){ term->local_names[i], types[i] };
    }
    bool good = check_macro_body(checker, term);
    checker->local_count = term->local;
    return good;
}

static bool check(struct checker *checker, struct term *term)
{
    switch (term->kind) {
    case TERM_CONSTANT: term->type = &static_types[term->value.type]; return true;
    case TERM_NAME: return check_name(checker, term);
    case TERM_SELECT:
    case TERM_HAS: return check_select(checker, term);
    case TERM_CALL: return check_call(checker, term);
    case TERM_LIST: return check_list(checker, term);
    case TERM_MAP: return check_map(checker, term);
    case TERM_AND:
    case TERM_OR: return check_logic(checker, term);
    case TERM_CONDITION: return check_condition(checker, term);
    case TERM_MACRO: return check_macro(checker, term);
    default: return true;
    }
}

static void settle_types(struct checker *checker, struct term *term)
{
    for (uint32_t i = 0; i < term->count; i++) settle_types(checker, term->operands[i]);
    if (term->type) term->type = type_resolve(&checker->bindings, term->type, true);
}

bool expression_check(struct expression_compilation *compilation, struct term *root)
{
    struct checker checker = { .of = compilation, .arena = &compilation->expression->arena };
    checker.bindings.arena = checker.arena;
    if (!check(&checker, root)) return false;
    settle_types(&checker, root);
    enum expression_type wanted = compilation->expression->wanted;
    if (wanted == EXPRESSION_DYN || root->type->kind == EXPRESSION_DYN || root->type->kind == wanted) return true;
    return error_format(compilation->error, "the expression results in %.*s, and %s is wanted",
                        SLICE_PRINT(type_text(checker.arena, root->type)),
                        type_text(checker.arena, &static_types[wanted]).at);
}
