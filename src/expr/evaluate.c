/* expr/evaluate.c: a tree of terms to a value. No loop but over the operands there are and the items of a range, each of which is paid
 * for; what is made lies in the caller's arena. An error is a static text and the term where it happened: cheap, because `||` may
 * well make up for it. */
#include "expr/private.h"

static inline bool evaluate(struct evaluation *evaluation, const struct term *term, struct expression_value *result)
{
    if (UNLIKELY(!evaluation_pay(evaluation, 1))) return false;
    return term->evaluate(evaluation, term, result);
}

/* --- for functions --- */

bool evaluation_fail(struct evaluation *evaluation, const char *fault)
{
    evaluation->fault = fault;
    evaluation->outcome = EXPRESSION_FAILED;
    return false;
}

bool evaluation_no_overload(struct evaluation *evaluation)
{
    return evaluation_fail(evaluation, "the function does not take values of these types");
}

bool evaluation_out_of_memory(struct evaluation *evaluation)
{
    evaluation->fault = "out of memory";
    evaluation->outcome = EXPRESSION_OUT_OF_MEMORY;
    return false;
}

bool evaluation_meets_bound(struct evaluation *evaluation, const char *fault)
{
    evaluation->cost_left = 0;
    evaluation->fault = fault;
    evaluation->outcome = EXPRESSION_TOO_COSTLY;
    return false;
}

bool evaluation_too_costly(struct evaluation *evaluation)
{
    return evaluation_meets_bound(evaluation, "the evaluation costs too much");
}

bool evaluation_item(struct evaluation *evaluation, const struct expression_value *list, uint32_t index,
                     struct expression_value *item)
{
    enum expression_found found = list->list.kind->item(list->list.of, index, evaluation->arena, item);
    return found == EXPRESSION_FOUND || evaluation_out_of_memory(evaluation);
}

void *evaluation_allocate(struct evaluation *evaluation, size_t size)
{
    void *memory = arena_allocate(evaluation->arena, size ? size : 1);
    if (!memory) (void)evaluation_out_of_memory(evaluation);
    return memory;
}

/* --- names --- */

static bool fail_at(struct evaluation *evaluation, const struct term *term, const char *fault)
{
    evaluation->at = term;
    return evaluation_fail(evaluation, fault);
}

static bool evaluate_variable(struct evaluation *evaluation, const struct term *term, struct expression_value *result)
{
    const struct expression_inputs *inputs = evaluation->inputs;
    evaluation->at = term;
    switch (inputs->lookup(inputs->argument, term->variable, term->text, evaluation->arena, result)) {
    case EXPRESSION_FOUND: return true;
    case EXPRESSION_NO_MEMORY: return evaluation_out_of_memory(evaluation);
    default: break;
    }
    (void)evaluation_fail(evaluation, "there is no value of");
    evaluation->outcome = EXPRESSION_ABSENT;
    return false;
}

static bool evaluate_has_variable(struct evaluation *evaluation, const struct term *term,
                                  struct expression_value *result)
{
    struct expression_value value;
    bool is_there = evaluate_variable(evaluation, term, &value);
    if (!is_there && evaluation_is_over(evaluation)) return false;
    *result = expression_bool(is_there);
    return true;
}

static bool pay_find(struct evaluation *evaluation, const struct expression_value *map)
{
    const struct expression_map_kind *kind = map->map.kind;
    return !kind->find_cost || evaluation_pay(evaluation, kind->find_cost(map->map.of));
}

/* A key of a map: NO_MEMORY, or the budget is used up, is a failure already. */
static inline enum expression_found find_key(struct evaluation *evaluation, const struct expression_value *map,
                                             const struct expression_value *key, struct expression_value *value)
{
    if (!pay_find(evaluation, map)) return EXPRESSION_NO_MEMORY;
    enum expression_found found = map->map.kind->find(map->map.of, key, evaluation->arena, value);
    if (found == EXPRESSION_NO_MEMORY) (void)evaluation_out_of_memory(evaluation);
    return found;
}

static bool no_such_key(struct evaluation *evaluation, const struct term *term)
{
    (void)fail_at(evaluation, term, "no such key");
    evaluation->outcome = EXPRESSION_ABSENT;
    return false;
}

static bool is_at_place(const struct expression_value *list, const struct expression_value *key, uint32_t *place)
{
    struct expression_value none = expression_int(0), count = expression_uint(list->count);
    if (values_order(key, &none) == ORDER_LESS || values_order(key, &count) != ORDER_LESS) return false;
    *place = key->type == EXPRESSION_DOUBLE ? (uint32_t)key->number : (uint32_t)key->natural;
    return key->type != EXPRESSION_DOUBLE || (double)*place == key->number;
}

bool evaluation_find(struct evaluation *evaluation, const struct term *term, const struct expression_value *of,
                     const struct expression_value *key, struct expression_value *result, bool *found)
{
    bool is_number = key->type == EXPRESSION_INT || key->type == EXPRESSION_UINT || key->type == EXPRESSION_DOUBLE;
    uint32_t place;
    evaluation->at = term;
    if (of->type == EXPRESSION_LIST && is_number) {
        *found = is_at_place(of, key, &place);
        return !*found || evaluation_item(evaluation, of, place, result);
    }
    if (of->type != EXPRESSION_MAP) return evaluation_no_overload(evaluation);
    enum expression_found answer = find_key(evaluation, of, key, result);
    *found = answer == EXPRESSION_FOUND;
    return answer != EXPRESSION_NO_MEMORY;
}

/* has(a.b) of an optional a: there where a has a value, and that has the field. */
static bool give_has(struct expression_value *result)
{
    *result = expression_bool(result->type == EXPRESSION_OPTIONAL && result->held);
    return true;
}

/* Of an optional, or as one; what else is no map has no fields. */
static APART bool select_of_others(struct evaluation *evaluation, const struct term *term,
                                   struct expression_value *result)
{
    struct expression_value of = *result;
    if (of.type != EXPRESSION_OPTIONAL && !term->is_optional)
        return fail_at(evaluation, term, "the value has no fields");
    if (!optional_chain(evaluation, term, &of, &term->value, result)) return false;
    return term->kind == TERM_SELECT || give_has(result);
}

/* The map is put where its field will be: no find reads the value that tells of its map once it has begun. */
static bool evaluate_select(struct evaluation *evaluation, const struct term *term, struct expression_value *result)
{
    if (!evaluate(evaluation, term->operands[0], result)) return false;
    if (UNLIKELY(result->type != EXPRESSION_MAP || term->is_optional))
        return select_of_others(evaluation, term, result);
    evaluation->at = term;
    enum expression_found found = find_key(evaluation, result, &term->value, result);
    if (found == EXPRESSION_NO_MEMORY) return false;
    if (term->kind == TERM_SELECT) return found == EXPRESSION_FOUND || no_such_key(evaluation, term);
    *result = expression_bool(found == EXPRESSION_FOUND);
    return true;
}

/* --- literals --- */

/* What "?x" stands for: the value, or nothing (*is_there false). */
static bool open_optional(struct evaluation *evaluation, const struct term *term, struct expression_value *value,
                          bool *is_there)
{
    if (value->type != EXPRESSION_OPTIONAL) return fail_at(evaluation, term, "an optional is wanted behind \"?\"");
    *is_there = value->held != NULL;
    if (value->held) *value = *value->held;
    return true;
}

static bool evaluate_list(struct evaluation *evaluation, const struct term *term, struct expression_value *result)
{
    struct expression_value *items = evaluation_allocate(evaluation, term->count * sizeof *items);
    uint32_t count = 0;
    if (!items) return false;
    for (uint32_t i = 0; i < term->count; i++) {
        const struct term *operand = term->operands[i];
        bool is_there = true;
        if (!evaluate(evaluation, operand, &items[count])) return false;
        if (operand->is_item_optional && !open_optional(evaluation, operand, &items[count], &is_there)) return false;
        count += is_there;
    }
    *result = expression_list(items, count);
    return true;
}

static bool is_key(const struct expression_value *value)
{
    return value->type == EXPRESSION_STRING || value->type == EXPRESSION_INT || value->type == EXPRESSION_UINT ||
           value->type == EXPRESSION_BOOL;
}

static bool check_key(struct evaluation *evaluation, const struct term *term, const struct map_entries *entries,
                      uint32_t index)
{
    const struct expression_value *key = &entries->items[2 * (size_t)index];
    if (!is_key(key)) return fail_at(evaluation, term, "a map's keys are strings, ints, uints or bools");
    if (!evaluation_pay(evaluation, index / 8)) return false;
    for (uint32_t i = 0; i < index; i++) {
        if (keys_equal(&entries->items[2 * (size_t)i], key)) return fail_at(evaluation, term, "a key is there twice");
    }
    return true;
}

static bool evaluate_map(struct evaluation *evaluation, const struct term *term, struct expression_value *result)
{
    struct map_entries *entries = evaluation_allocate(evaluation,
                                                      sizeof *entries + term->count * sizeof entries->items[0]);
    if (!entries) return false;
    entries->count = 0;
    for (uint32_t i = 0; i < term->count; i += 2) {
        struct expression_value *entry = &entries->items[2 * (size_t)entries->count];
        bool is_there = true;
        if (!evaluate(evaluation, term->operands[i], &entry[0])) return false;
        if (!evaluate(evaluation, term->operands[i + 1], &entry[1])) return false;
        if (!check_key(evaluation, term, entries, entries->count)) return false;
        if (term->operands[i]->is_item_optional &&
            !open_optional(evaluation, term->operands[i + 1], &entry[1], &is_there)) {
            return false;
        }
        entries->count += is_there;
    }
    *result = expression_map(&expression_map_of_entries, entries);
    return true;
}

/* --- logic --- */

static inline bool is_bool(struct evaluation *evaluation, const struct term *term, const struct expression_value *value)
{
    return LIKELY(value->type == EXPRESSION_BOOL) || fail_at(evaluation, term, "bool is wanted here");
}

static bool evaluate_bool(struct evaluation *evaluation, const struct term *term, bool *result)
{
    struct expression_value value;
    if (!evaluate(evaluation, term, &value) || !is_bool(evaluation, term, &value)) return false;
    *result = value.boolean;
    return true;
}

/* What went wrong at one place, while others are tried. */
struct setback {
    const char *fault;
    const struct term *at;
    enum expression_outcome outcome;
};

static void keep_setback(struct setback *setback, const struct evaluation *evaluation)
{
    if (setback->fault) return; /* the first one is told */
    *setback = (struct setback){ evaluation->fault, evaluation->at, evaluation->outcome };
}

static bool tell_setback(const struct setback *setback, struct evaluation *evaluation)
{
    evaluation->fault = setback->fault;
    evaluation->at = setback->at;
    evaluation->outcome = setback->outcome;
    return false;
}

/* One operand that decides settles it, whatever became of the others. */
static bool evaluate_logic(struct evaluation *evaluation, const struct term *term, struct expression_value *result)
{
    bool decides = term->kind == TERM_OR;
    struct setback setback = { 0 };
    for (uint32_t i = 0; i < term->count; i++) {
        const struct term *operand = term->operands[i];
        if (evaluate(evaluation, operand, result) && is_bool(evaluation, operand, result)) {
            if (result->boolean == decides) return true;
            continue;
        }
        if (evaluation_is_over(evaluation)) return false;
        keep_setback(&setback, evaluation);
    }
    if (setback.fault) return tell_setback(&setback, evaluation);
    *result = expression_bool(!decides);
    return true;
}

static bool evaluate_condition(struct evaluation *evaluation, const struct term *term, struct expression_value *result)
{
    bool condition = false;
    if (!evaluate_bool(evaluation, term->operands[0], &condition)) return false;
    return evaluate(evaluation, term->operands[condition ? 1 : 2], result);
}

/* --- macros --- */

/* A range as it is gone through. */
struct walk {
    struct expression_value range;
    uint32_t position;
};

/* The next item, or entry, in the macro's variables. False: there is none, or the evaluation failed (*failed). */
static bool walk_on(struct evaluation *evaluation, const struct term *term, struct walk *walk, bool *failed)
{
    struct expression_value *locals = &evaluation->locals[term->local];
    if (!evaluation_pay(evaluation, 1)) return *failed = true, false;
    if (walk->range.type == EXPRESSION_LIST) {
        if (walk->position >= walk->range.count) return false;
        *failed = !evaluation_item(evaluation, &walk->range, walk->position, &locals[term->locals - 1]);
        if (term->locals == 2) locals[0] = expression_int(walk->position);
        walk->position++;
        return !*failed;
    }
    if (term->locals == 2 && !pay_find(evaluation, &walk->range)) return *failed = true, false;
    enum expression_found found = walk->range.map.kind->next(walk->range.map.of, &walk->position, evaluation->arena,
                                                             &locals[0], term->locals == 2 ? &locals[1] : NULL);
    if (found == EXPRESSION_NO_MEMORY) *failed = !evaluation_out_of_memory(evaluation);
    return found == EXPRESSION_FOUND;
}

/* all: an item that is false settles it; exists: one that is true. Errors of others don't matter then. */
static bool walk_to_decide(struct evaluation *evaluation, const struct term *term, struct walk *walk,
                           struct expression_value *result)
{
    bool decides = term->macro == MACRO_EXISTS, failed = false;
    struct setback setback = { 0 };
    while (walk_on(evaluation, term, walk, &failed)) {
        bool value = false;
        if (!evaluate_bool(evaluation, term->operands[1], &value)) {
            if (evaluation_is_over(evaluation)) return false;
            keep_setback(&setback, evaluation);
        } else if (value == decides) {
            *result = expression_bool(decides);
            return true;
        }
    }
    if (failed) return false;
    if (setback.fault) return tell_setback(&setback, evaluation);
    *result = expression_bool(!decides);
    return true;
}

static bool walk_to_count(struct evaluation *evaluation, const struct term *term, struct walk *walk,
                          struct expression_value *result)
{
    uint32_t count = 0;
    bool failed = false;
    while (walk_on(evaluation, term, walk, &failed)) {
        bool value = false;
        if (!evaluate_bool(evaluation, term->operands[1], &value)) return false;
        count += value;
    }
    *result = expression_bool(count == 1);
    return !failed;
}

static uint32_t range_count(const struct expression_value *range)
{
    return range->type == EXPRESSION_LIST ? range->count : range->map.kind->count(range->map.of);
}

/* map and filter. */
static bool walk_to_make(struct evaluation *evaluation, const struct term *term, struct walk *walk,
                         struct expression_value *result)
{
    uint32_t count = 0, capacity = range_count(&walk->range);
    bool failed = false, has_test = term->macro == MACRO_FILTER || term->count == 3;
    if (!evaluation_pay(evaluation, capacity)) return false;
    struct expression_value *items = evaluation_allocate(evaluation, capacity * sizeof *items);
    if (!items) return false;
    while (count < capacity && walk_on(evaluation, term, walk, &failed)) {
        bool passes = true;
        if (has_test && !evaluate_bool(evaluation, term->operands[1], &passes)) return false;
        if (!passes) continue;
        items[count] = evaluation->locals[term->local];
        if (term->macro == MACRO_MAP && !evaluate(evaluation, term->operands[term->count - 1], &items[count]))
            return false;
        count++;
    }
    *result = expression_list(items, count);
    return !failed;
}

static bool evaluate_macro(struct evaluation *evaluation, const struct term *term, struct expression_value *result)
{
    struct walk walk = { .position = 0 };
    if (!evaluate(evaluation, term->operands[0], &walk.range)) return false;
    if (walk.range.type != EXPRESSION_LIST && walk.range.type != EXPRESSION_MAP) {
        return fail_at(evaluation, term, "there is nothing to go through in the value");
    }
    evaluation->at = term;
    switch ((enum macro)term->macro) {
    case MACRO_ALL:
    case MACRO_EXISTS: return walk_to_decide(evaluation, term, &walk, result);
    case MACRO_EXISTS_ONE: return walk_to_count(evaluation, term, &walk, result);
    default: return walk_to_make(evaluation, term, &walk, result);
    }
}

/* --- calls --- */

static bool evaluate_call(struct evaluation *evaluation, const struct term *term, struct expression_value *result)
{
    struct expression_value arguments[ARGUMENTS_MAX];
    uint32_t count = term->function->is_lazy ? 1 : term->count;
    for (uint32_t i = 0; i < count; i++) {
        const struct term *from = term->operands[i];
        if (from->kind == TERM_CONSTANT)
            arguments[i] = from->value;
        else if (!evaluate(evaluation, from, &arguments[i]))
            return false;
    }
    evaluation->at = term;
    return term->function->run(evaluation, term, arguments, result);
}

/* --- operators that most rules are made of --- */

/* Constants cost nothing and are read where they are; another operand is worked out into `room`. NULL: it failed. */
static inline const struct expression_value *operand(struct evaluation *evaluation, const struct term *term,
                                                     struct expression_value *room)
{
    if (term->kind == TERM_CONSTANT) return &term->value;
    return evaluate(evaluation, term, room) ? room : NULL;
}

/* Both operands of the term, which is where it fails from now on. */
static inline bool operands(struct evaluation *evaluation, const struct term *term, struct expression_value rooms[2],
                            const struct expression_value **left, const struct expression_value **right)
{
    if (!(*left = operand(evaluation, term->operands[0], &rooms[0]))) return false;
    if (!(*right = operand(evaluation, term->operands[1], &rooms[1]))) return false;
    evaluation->at = term;
    return true;
}

bool evaluation_equal(struct evaluation *evaluation, const struct term *term, struct expression_value *result)
{
    struct expression_value rooms[2];
    const struct expression_value *left, *right;
    bool equal;
    if (!operands(evaluation, term, rooms, &left, &right)) return false;
    if (left->type == EXPRESSION_STRING && right->type == EXPRESSION_STRING) {
        if (!texts_equal(evaluation, left, right, &equal)) return false;
    } else if (!values_equal(evaluation, left, right, &equal)) {
        return false;
    }
    *result = expression_bool(equal);
    return true;
}

bool evaluation_unequal(struct evaluation *evaluation, const struct term *term, struct expression_value *result)
{
    if (!evaluation_equal(evaluation, term, result)) return false;
    result->boolean = !result->boolean;
    return true;
}

bool evaluation_index(struct evaluation *evaluation, const struct term *term, struct expression_value *result)
{
    struct expression_value rooms[2];
    const struct expression_value *of, *key;
    bool found;
    if (!operands(evaluation, term, rooms, &of, &key)) return false;
    if (of->type == EXPRESSION_OPTIONAL) return optional_chain(evaluation, term, of, key, result);
    if (!evaluation_find(evaluation, term, of, key, result, &found)) return false;
    if (found) return true;
    return of->type == EXPRESSION_MAP ? no_such_key(evaluation, term)
                                      : evaluation_fail(evaluation, "the index is beyond the list");
}

/* The items are asked one by one. */
static APART bool look_through(struct evaluation *evaluation, const struct expression_value *value,
                               const struct expression_value *list, struct expression_value *result)
{
    struct expression_value item;
    bool equal = false;
    for (uint32_t i = 0; i < list->count && !equal; i++) {
        if (!evaluation_item(evaluation, list, i, &item)) return false;
        if (!values_equal(evaluation, value, &item, &equal)) return false;
    }
    *result = expression_bool(equal);
    return true;
}

bool evaluation_in(struct evaluation *evaluation, const struct term *term, struct expression_value *result)
{
    struct expression_value rooms[2];
    const struct expression_value *value, *among;
    if (!operands(evaluation, term, rooms, &value, &among)) return false;
    if (among->type == EXPRESSION_MAP) {
        enum expression_found found = find_key(evaluation, among, value, result);
        *result = expression_bool(found == EXPRESSION_FOUND);
        return found != EXPRESSION_NO_MEMORY;
    }
    if (among->type != EXPRESSION_LIST) return evaluation_no_overload(evaluation);
    if (!evaluation_pay(evaluation, among->count / 2)) return false;
    if (!among->list.kind->has) return look_through(evaluation, value, among, result);
    *result = expression_bool(among->list.kind->has(among->list.of, value));
    return true;
}

/* --- which of them --- */

static bool evaluate_constant(struct evaluation *evaluation, const struct term *term, struct expression_value *result)
{
    (void)evaluation;
    *result = term->value;
    return true;
}

static bool evaluate_local(struct evaluation *evaluation, const struct term *term, struct expression_value *result)
{
    *result = evaluation->locals[term->local];
    return true;
}

static bool evaluate_fault(struct evaluation *evaluation, const struct term *term, struct expression_value *result)
{
    (void)result;
    return fail_at(evaluation, term, "this was refused when it was checked");
}

void evaluation_prepare(struct term *term)
{
    static term_evaluator *const by_kind[] = {
        [TERM_CONSTANT] = evaluate_constant,
        [TERM_NAME] = evaluate_fault,
        [TERM_SELECT] = evaluate_select,
        [TERM_HAS] = evaluate_select,
        [TERM_CALL] = evaluate_call,
        [TERM_LIST] = evaluate_list,
        [TERM_MAP] = evaluate_map,
        [TERM_AND] = evaluate_logic,
        [TERM_OR] = evaluate_logic,
        [TERM_CONDITION] = evaluate_condition,
        [TERM_MACRO] = evaluate_macro,
        [TERM_VARIABLE] = evaluate_variable,
        [TERM_HAS_VARIABLE] = evaluate_has_variable,
        [TERM_LOCAL] = evaluate_local,
        [TERM_FAULT] = evaluate_fault,
    };
    term->evaluate = by_kind[term->kind];
    if (term->kind == TERM_CALL && term->function->evaluate) term->evaluate = term->function->evaluate;
    if (term->kind == TERM_SELECT || term->kind == TERM_HAS) term->value = expression_string(term->text);
}

/* --- the front door --- */

static enum expression_outcome tell(const struct evaluation *evaluation, struct error *error)
{
    if (!error) return evaluation->outcome;
    bool is_short = evaluation->outcome == EXPRESSION_OUT_OF_MEMORY;
    const struct term *at = evaluation->at;
    size_t position = at ? at->position + 1 : 1;
    bool is_absent = evaluation->outcome == EXPRESSION_ABSENT && at;
    const char *subject = is_absent && at->variable ? (at->text.length ? "path." : at->variable->name) : "";
    struct slice field = is_absent && (at->kind == TERM_SELECT || at->kind == TERM_VARIABLE) ? at->text : SLICE_ABSENT;
    (void)error_set(error, BLAME_US, RETRY_NEVER, is_short ? 503 : 0, is_short ? "overload" : "expression",
                    "%s%s%s%.*s%s at position %zu", evaluation->fault, subject[0] || field.length ? " \"" : "", subject,
                    SLICE_PRINT(slice_before(field, 64)), subject[0] || field.length ? "\"" : "", position);
    return evaluation->outcome;
}

enum expression_outcome expression_try(const struct expression *expression, const struct expression_inputs *inputs,
                                       struct arena *arena, struct expression_value *result, struct error *error)
{
    if (expression->root->kind == TERM_CONSTANT) {
        *result = expression->root->value;
        return EXPRESSION_DONE;
    }
    struct evaluation evaluation; /* the macros' variables are written before they are read */
    evaluation.inputs = inputs;
    evaluation.arena = arena;
    evaluation.cost_left = inputs->cost_max ? inputs->cost_max : EXPRESSION_COST_MAX;
    evaluation.fault = NULL;
    evaluation.at = NULL;
    evaluation.outcome = EXPRESSION_DONE;
    if (!evaluate(&evaluation, expression->root, result)) return tell(&evaluation, error);
    if (LIKELY(expression->wanted == EXPRESSION_DYN || result->type == expression->wanted)) return EXPRESSION_DONE;
    (void)fail_at(&evaluation, expression->root, "the result has another type than is wanted");
    return tell(&evaluation, error);
}

bool expression_evaluate(const struct expression *expression, const struct expression_inputs *inputs,
                         struct arena *arena, struct expression_value *result, struct error *error)
{
    return expression_try(expression, inputs, arena, result, error) == EXPRESSION_DONE;
}

bool evaluation_run(struct evaluation *evaluation, const struct term *term, struct expression_value *result)
{
    return evaluate(evaluation, term, result);
}
