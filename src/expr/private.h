/* expr/private.h: what the files of the expression language share.
 *
 *   text --tokens.c--> tokens --parse.c--> terms --check.c--> terms with types and functions --compile.c--> --evaluate.c--> value
 *
 * Terms, types and constants live in the arena of the struct expression; they are written while it is compiled and never after. */
#ifndef SLUICE_EXPR_PRIVATE_H
#define SLUICE_EXPR_PRIVATE_H

#include "expr/expression.h"

#define HEIGHT_MAX 200          /* of a tree of terms, and so of recursion */
#define LITERAL_ITEMS_MAX 10000 /* of a list that is written out */
#define LITERAL_ENTRIES_MAX 500 /* of a map; they are compared one with each other */
#define LOCALS_MAX 16           /* variables of macros inside each other */
#define ARGUMENTS_MAX 4

/* Never made part of its caller, whose common way then needs a small stack frame, or none. */
#define APART __attribute__((noinline))

/* --- types as the checker sees them (types.c) --- */

/* Kinds are enum expression_type and these. */
enum {
    STATIC_PARAMETER = EXPRESSION_TYPE_COUNT, /* stands for a type that is yet to be found */
    STATIC_OTHER,                             /* of a declared function; known by its name */
};

#define TYPE_PARTS_MAX 3

struct static_type {
    uint8_t kind;
    uint32_t parameter; /* PARAMETER: its number in the checker's bindings */
    struct slice name;  /* OTHER */
    /* What it is made of: a list's items; a map's keys and values; what a type is the type of. NULL: no more. */
    const struct static_type *of[TYPE_PARTS_MAX];
};

extern const struct static_type static_types[EXPRESSION_TYPE_COUNT]; /* list and map: of dyn */

/* What is known of the parameters so far: the arena's array, by number. */
struct type_bindings {
    const struct static_type **bound; /* NULL: nothing yet */
    uint32_t count, capacity;
    struct type_change *changes; /* what a binding was before, so that an overload that doesn't fit leaves none */
    uint32_t change_count, change_capacity;
    struct arena *arena;
};

struct type_change {
    uint32_t parameter;
    const struct static_type *before;
};

void type_bindings_undo(struct type_bindings *, uint32_t change_count); /* back to when there were so many */

const struct static_type *type_list_of(struct arena *, const struct static_type *items);
const struct static_type *type_map_of(struct arena *, const struct static_type *keys, const struct static_type *values);
const struct static_type *type_type_of(struct arena *, const struct static_type *of);
const struct static_type *type_optional_of(struct arena *, const struct static_type *of);
const struct static_type *type_parameter(struct type_bindings *); /* a new one */
/* May a value of type `from` stand where `to` is wanted? Where both may be made equal by binding parameters they are bound. */
bool type_assignable(struct type_bindings *, const struct static_type *from, const struct static_type *to);
/* Of two of which one may stand for the other, the one that says less. */
const struct static_type *type_more_general(const struct static_type *, const struct static_type *);
/* With all parameters replaced by what they are bound to; unbound ones by dyn if `finally`. */
const struct static_type *type_resolve(struct type_bindings *, const struct static_type *, bool finally);
/* Reads "map(string, A)" off *text; capital letters are parameters, the same letter the same one of `letters` (NULL entries are made).
 * NULL: not a type. */
const struct static_type *type_read(struct type_bindings *, struct slice *text, const struct static_type *letters[26]);
struct slice type_text(struct arena *, const struct static_type *);
/* By a name that expressions know: "int", "google.protobuf.Timestamp". NULL: none. */
const struct static_type *type_named(struct slice name);

/* --- terms --- */

enum term_kind {
    TERM_CONSTANT,
    TERM_NAME,   /* before the check alone; `text` */
    TERM_SELECT, /* operand 0, field `text` */
    TERM_HAS,    /* the same, but does it exist */
    TERM_CALL,   /* `text` names it; operands, the receiver first */
    TERM_LIST,
    TERM_MAP, /* keys and values in turn */
    TERM_AND, /* two operands or more */
    TERM_OR,
    TERM_CONDITION,
    TERM_MACRO, /* operands: range, body, then map's result */
    TERM_VARIABLE,
    TERM_HAS_VARIABLE,
    TERM_LOCAL,
    TERM_FAULT, /* fails when it is evaluated (lenient checks alone) */
};

enum macro { MACRO_ALL, MACRO_EXISTS, MACRO_EXISTS_ONE, MACRO_MAP, MACRO_FILTER };

struct function;
struct regex;
struct evaluation;
struct term;

/* Works a term out: *result, or false and evaluation->outcome. */
typedef bool term_evaluator(struct evaluation *, const struct term *, struct expression_value *result);

struct term {
    uint8_t kind;          /* enum term_kind */
    uint8_t macro;         /* enum macro */
    bool is_receiver;      /* CALL: written as a.f(b) */
    bool is_global;        /* NAME, CALL: written with a leading dot */
    bool is_optional;      /* SELECT: a.?b */
    bool is_item_optional; /* as an item of LIST or a key of MAP: [?x], {?k: x} */
    uint8_t local;         /* LOCAL, MACRO: its place; MACRO with two variables: and the next one */
    uint8_t locals;        /* MACRO: 1 or 2 variables */
    uint16_t height;
    uint32_t position; /* in the text, from 0 */
    uint32_t count;    /* operands */
    struct term **operands;
    term_evaluator *evaluate; /* by kind and function; see evaluation_prepare() */
    struct slice text;
    struct slice local_names[2];
    const struct static_type *type;
    const struct function *function;
    const struct expression_variable *variable; /* VARIABLE; `text`: what stands for "*", or absent */
    const struct regex *regex;                  /* CALL of matches() with a constant pattern */
    const struct zone *zone;                    /* CALL of a timestamp's accessor with a constant zone */
    struct expression_value value; /* CONSTANT; FAULT: `text`; SELECT, HAS: `text` as the key that is looked for */
};

struct expression {
    struct arena arena;
    const struct term *root;
    enum expression_type wanted;
    bool is_constant;
    uint64_t used[4];      /* numbers of variables */
    struct regex *regexes; /* all, to be freed */
};

/* --- tokens (tokens.c) --- */

enum token_kind {
    TOKEN_END,
    TOKEN_IDENTIFIER,
    TOKEN_QUOTED, /* `a-b`: a field's name alone */
    TOKEN_NUMBER, /* value; an int's magnitude stands in `natural` */
    TOKEN_TEXT,   /* value: string or bytes */
    TOKEN_SIGN,
};

struct token {
    enum token_kind kind;
    uint32_t position;
    struct slice text;
    struct expression_value value;
};

struct tokens {
    struct slice text;
    size_t at, first; /* first: the position of the text's beginning */
    struct arena *arena;
    struct error *error;
};

bool token_next(struct tokens *, struct token *) MUST_USE;
/* literals.c: what stands between the quotes; position counts in the whole text. */
bool literal_read(struct tokens *, struct slice inner, size_t position, bool is_raw, bool is_bytes, bool is_triple,
                  struct slice *result) MUST_USE;
/* One more code point, into at most four bytes; 0: not a scalar value. */
size_t utf8_write(uint32_t code_point, char into[4]);
/* One code point off the front of `text`, which is not empty: its bytes; 1 and U+FFFD where it is malformed. */
size_t utf8_read(struct slice text, uint32_t *code_point);

/* --- parse.c, check.c, compile.c --- */

/* `first`: the position of the text's first byte, for errors. */
struct term *expression_parse(struct slice text, size_t first, struct arena *, struct error *) MUST_USE;

struct expression_compilation {
    struct slice text;
    struct expression *expression;
    const struct expression_scope *scope;
    const struct function
        *declared;   /* functions beside the language's, which can't be evaluated; for conformance cases. NULL: none */
    bool is_lenient; /* what is wrong fails where it is evaluated: for the conformance cases that want no check */
    struct error *error;
};
bool expression_check(struct expression_compilation *, struct term *root) MUST_USE;
/* Replaces what is constant by its value, and compiles constant patterns and zones. */
bool expression_fold(struct expression_compilation *, struct term *root) MUST_USE;
/* For tests: `compilation` says text, scope and what is declared or lenient. */
struct expression *expression_compile_as(struct expression_compilation *) MUST_USE;
/* "WHAT at position 7", false. */
bool expression_refuse(struct error *, size_t position, const char *format, ...) PRINTF_LIKE(3, 4);

/* --- evaluation (evaluate.c) --- */

struct evaluation {
    const struct expression_inputs *inputs;
    struct arena *arena;
    int64_t cost_left;
    const char *fault; /* what went wrong, static */
    const struct term *at;
    enum expression_outcome outcome;
    struct expression_value locals[LOCALS_MAX];
};

typedef bool expression_function(struct evaluation *, const struct term *, const struct expression_value *arguments,
                                 struct expression_value *result);

/* False always. */
bool evaluation_fail(struct evaluation *, const char *fault);
bool evaluation_no_overload(struct evaluation *);
bool evaluation_out_of_memory(struct evaluation *);
/* EXPRESSION_TOO_COSTLY, in words of its own: for a bound that what a client sends may meet, and must not get past anything by. */
bool evaluation_meets_bound(struct evaluation *, const char *fault);
bool evaluation_too_costly(struct evaluation *);
/* Pays for `units` more steps; false once there is nothing left. */
static inline bool evaluation_pay(struct evaluation *evaluation, uint64_t units)
{
    if (UNLIKELY(units > (uint64_t)evaluation->cost_left)) {
        (void)evaluation_too_costly(evaluation);
        return false;
    }
    evaluation->cost_left -= (int64_t)units;
    return true;
}
static inline bool evaluation_pay_bytes(struct evaluation *evaluation, size_t bytes)
{
    return evaluation_pay(evaluation, bytes / 32);
}
/* Nothing can make up for these: `||` and `&&` don't absorb them. */
static inline bool evaluation_is_over(const struct evaluation *evaluation)
{
    return evaluation->outcome >= EXPRESSION_TOO_COSTLY;
}
bool evaluation_item(struct evaluation *, const struct expression_value *list, uint32_t index,
                     struct expression_value *);
void *evaluation_allocate(struct evaluation *, size_t size); /* NULL: the evaluation has failed */
/* Chooses how the term is worked out, once that of its operands is chosen and whenever its kind has changed since. */
void evaluation_prepare(struct term *);
/* The value of a term that is prepared, for folding and lazy functions. */
bool evaluation_run(struct evaluation *, const struct term *, struct expression_value *result);
term_evaluator evaluation_index, evaluation_in, evaluation_equal, evaluation_unequal; /* a[b], a in b, a == b, a != b */
expression_function evaluation_optional_index;                                        /* a[?b] */
/* A map written out: pairs of key and value. */
extern const struct expression_map_kind expression_map_of_entries;
struct map_entries {
    uint32_t count;
    struct expression_value items[]; /* key, value, key, value … */
};

/* optionals.c: of a value that is optional or not, the one that `find` finds in it, as an optional: none where there is nothing. */
bool optional_chain(struct evaluation *, const struct term *, const struct expression_value *of,
                    const struct expression_value *key, struct expression_value *result);
bool optional_give(struct evaluation *, const struct expression_value *held, struct expression_value *result);
/* The key's value in a map, the index's item in a list; *found false where there is none. False: the evaluation has failed. */
bool evaluation_find(struct evaluation *, const struct term *, const struct expression_value *of,
                     const struct expression_value *key, struct expression_value *result, bool *found);

/* builder.c: a text of unknown length. Zeroed but for `evaluation`. False: the evaluation has failed. */
struct builder {
    struct evaluation *evaluation;
    char *at;
    size_t length, capacity;
};
bool builder_add(struct builder *, struct slice) MUST_USE;
bool builder_add_byte(struct builder *, char) MUST_USE;
bool builder_finish(const struct builder *, struct expression_value *result);

expression_function format_run; /* format.c */

/* --- values (value.c) --- */

enum order { ORDER_LESS, ORDER_EQUAL, ORDER_GREATER, ORDER_NONE /* NaN */, ORDER_WRONG_TYPES };
enum order values_order(const struct expression_value *, const struct expression_value *);
/* False: the evaluation is over. */
bool values_equal(struct evaluation *, const struct expression_value *, const struct expression_value *,
                  bool *equal) MUST_USE;
/* The same of two strings, bytes or types. */
static inline bool texts_equal(struct evaluation *evaluation, const struct expression_value *a,
                               const struct expression_value *b, bool *equal)
{
    *equal = slice_equal(a->text, b->text);
    return !*equal || evaluation_pay_bytes(evaluation, a->text.length);
}
bool keys_equal(const struct expression_value *, const struct expression_value *); /* numbers by their value */

/* --- functions (functions.c and the files that hold rows) --- */

enum function_style { FUNCTION_OPERATOR, FUNCTION_GLOBAL, FUNCTION_RECEIVER };

struct function {
    const char *name;
    uint8_t style;
    bool is_variadic; /* all arguments become one list */
    bool is_lazy;     /* `run` gets the first argument alone, and evaluates the others if it needs them */
    /* One overload after the other: "int, int: int; uint, uint: uint". A receiver is the first argument. */
    const char *overloads;
    expression_function *run;
    term_evaluator
        *evaluate; /* in its stead, of operators that most rules are made of: reads the operands where they are */
    const char *summary;
};

/* One that is declared alone can't be evaluated. */
static inline bool function_can_run(const struct function *function) { return function->run || function->evaluate; }

const struct function *function_find(struct slice name, enum function_style, bool *other_style_exists);

extern const struct function functions_operators[], functions_conversions[], functions_text[], functions_time[],
    functions_strings[], functions_mathematics[], functions_optionals[], functions_network[];

/* --- time (time.c, zone.c) --- */

struct zone;
/* "UTC", "+02:00", "Europe/Berlin" (from the system's time zone files). NULL: no such zone. In the arena. */
const struct zone *zone_find(struct arena *, struct slice name);
/* Without reading a file: NULL for a named zone other than UTC. */
bool zone_fixed_offset(struct slice name, int32_t *seconds);
int32_t zone_offset_at(const struct zone *, int64_t seconds);

bool timestamp_parse(struct slice, struct expression_value *);
bool timestamp_in_range(int64_t seconds);
size_t timestamp_write(const struct expression_value *, char into[40]);
bool duration_parse(struct slice, int64_t *nanoseconds);
size_t duration_write(int64_t nanoseconds, char into[40]);
size_t double_write(double, char into[40]);
size_t network_write(const struct expression_value *, char into[64]); /* network.c: an IP or a CIDR */

/* --- regular expressions (regex.c) --- */

struct regex *regex_compile_constant(struct slice pattern, struct regex *next, struct error *);
void regex_free_all(struct regex *);
bool regex_run(struct evaluation *, const struct term *, const struct expression_value *arguments,
               struct expression_value *result);

#endif
