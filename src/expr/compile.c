/* expr/compile.c: what says the same in every request is worked out once, while compiling. An error stays where it is: `||` may make up for it.
 * And the front door of compiling, since folding is the last step of it. */
#include "expr/private.h"

#include "base/memory.h"

#define FOLD_COST_MAX 10000

static bool is_plain(const struct term *term) { return term->kind == TERM_CONSTANT; }

static bool fold(struct expression_compilation *, struct term *);

static bool is_function(const struct term *term, const char *name)
{
    return term->kind == TERM_CALL && slice_equal(term->text, slice_from_cstring(name));
}

/* matches() with a constant pattern: compiled once, and refused where it is wrong. */
static bool compile_pattern(struct expression_compilation *compilation, struct term *term)
{
    struct expression *expression = compilation->expression;
    const struct term *pattern = term->operands[1];
    if (!is_plain(pattern) || pattern->value.type != EXPRESSION_STRING) return true;
    struct error error;
    struct regex *regex = regex_compile_constant(pattern->value.text, expression->regexes, &error);
    if (!regex) {
        if (compilation->is_lenient) return true;
        return expression_refuse(compilation->error, pattern->position, "%s", error.text);
    }
    expression->regexes = regex;
    term->regex = regex;
    return true;
}

/* x.getHours("Europe/Berlin"): the zone's file is read now. */
static bool find_zone(struct expression_compilation *compilation, struct term *term)
{
    const struct term *name = term->operands[1];
    if (!is_plain(name) || name->value.type != EXPRESSION_STRING) return true;
    term->zone = zone_find(&compilation->expression->arena, name->value.text);
    if (term->zone || compilation->is_lenient) return true;
    return expression_refuse(compilation->error, name->position, "there is no time zone \"%.*s\"",
                             SLICE_PRINT(slice_before(name->value.text, 64)));
}

static bool has_constant_operands(const struct term *term)
{
    for (uint32_t i = 0; i < term->count; i++) {
        if (!is_plain(term->operands[i])) return false;
    }
    return true;
}

/* The value takes the term's place if there is one. Logic and conditions are worked out too. */
static void work_out(struct expression_compilation *compilation, struct term *term)
{
    struct evaluation evaluation = { .arena = &compilation->expression->arena, .cost_left = FOLD_COST_MAX };
    struct expression_value value;
    if (!evaluation_run(&evaluation, term, &value)) return;
    term->kind = TERM_CONSTANT;
    term->count = 0;
    term->value = value;
    evaluation_prepare(term);
}

static bool fold_operands(struct expression_compilation *compilation, struct term *term)
{
    for (uint32_t i = 0; i < term->count; i++) {
        if (!fold(compilation, term->operands[i])) return false;
    }
    return true;
}

static bool fold(struct expression_compilation *compilation, struct term *term)
{
    if (!fold_operands(compilation, term)) return false;
    evaluation_prepare(term);
    switch ((enum term_kind)term->kind) {
    case TERM_CALL:
        if (!function_can_run(term->function)) return true;
        if (is_function(term, "matches") && term->count == 2 && !compile_pattern(compilation, term)) return false;
        if (term->is_receiver && term->count == 2 && slice_starts_with(term->text, SLICE("get")) &&
            !find_zone(compilation, term)) {
            return false;
        }
        break;
    case TERM_SELECT:
    case TERM_HAS:
    case TERM_LIST:
    case TERM_MAP:
    case TERM_AND:
    case TERM_OR:
    case TERM_CONDITION: break;
    default: return true;
    }
    if (has_constant_operands(term)) work_out(compilation, term);
    return true;
}

bool expression_fold(struct expression_compilation *compilation, struct term *root) { return fold(compilation, root); }

/* --- compiling --- */

static bool compile(struct expression_compilation *compilation)
{
    struct expression *expression = compilation->expression;
    struct slice text = arena_copy(&expression->arena, compilation->text); /* names point into it */
    if (slice_is_absent(text)) return error_format(compilation->error, "out of memory");
    size_t first = compilation->scope ? compilation->scope->position : 0;
    struct term *root = expression_parse(text, first, &expression->arena, compilation->error);
    if (!root || !expression_check(compilation, root) || !expression_fold(compilation, root)) return false;
    expression->root = root;
    return true;
}

static struct expression *create(struct expression_compilation *compilation, enum expression_type wanted)
{
    struct expression *expression = memory_allocate(sizeof *expression);
    arena_init(&expression->arena, NULL);
    expression->wanted = wanted;
    compilation->expression = expression;
    if (compile(compilation)) return expression;
    expression_destroy(expression);
    return NULL;
}

struct expression *expression_compile(struct slice text, enum expression_type wanted,
                                      const struct expression_scope *scope, struct error *error)
{
    struct expression_compilation compilation = { .text = text, .scope = scope, .error = error };
    return create(&compilation, wanted);
}

struct expression *expression_compile_as(struct expression_compilation *compilation)
{
    return create(compilation, EXPRESSION_DYN);
}

void expression_destroy(struct expression *expression)
{
    if (!expression) return;
    regex_free_all(expression->regexes);
    arena_release(&expression->arena);
    free(expression);
}

bool expression_is_constant(const struct expression *expression) { return expression->root->kind == TERM_CONSTANT; }

bool expression_uses(const struct expression *expression, unsigned number)
{
    return number < 256 && (expression->used[number / 64] >> (number % 64) & 1);
}

const struct expression_variable *expression_field_of(const struct expression *expression, struct slice *key)
{
    const struct term *root = expression->root;
    bool is_select = root->kind == TERM_SELECT && !root->is_optional;
    bool is_index = root->kind == TERM_CALL && root->function->evaluate == evaluation_index &&
                    root->operands[1]->kind == TERM_CONSTANT && root->operands[1]->value.type == EXPRESSION_STRING;
    if (!(is_select || is_index) || root->operands[0]->kind != TERM_VARIABLE) return NULL;
    *key = is_select ? root->text : root->operands[1]->value.text;
    return root->operands[0]->variable;
}

struct key_search {
    unsigned number;
    void (*tell)(void *argument, struct slice key);
    void *argument;
};

static void tell_keys(const struct term *term, const struct key_search *search)
{
    bool is_field = term->kind == TERM_SELECT || term->kind == TERM_HAS;
    bool looks_in = false;
    for (uint32_t i = 0; i < term->count; i++) {
        const struct term *operand = term->operands[i];
        looks_in |= operand->kind == TERM_VARIABLE && operand->variable->number == search->number;
        tell_keys(operand, search);
    }
    if (!looks_in) return;
    if (is_field) search->tell(search->argument, term->text);
    for (uint32_t i = 0; i < term->count && term->kind == TERM_CALL; i++) {
        const struct term *operand = term->operands[i];
        if (operand->kind == TERM_CONSTANT && operand->value.type == EXPRESSION_STRING)
            search->tell(search->argument, operand->value.text);
    }
}

void expression_each_key(const struct expression *expression, unsigned number,
                         void (*tell)(void *argument, struct slice key), void *argument)
{
    if (expression_uses(expression, number))
        tell_keys(expression->root, &(struct key_search){ number, tell, argument });
}

struct slice expression_type_text(const struct expression *expression, struct arena *arena)
{
    return type_text(arena, expression->root->type);
}
