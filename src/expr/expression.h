/* expr/expression.h: one expression language for predicates, access rules, limit keys, header values: a subset of CEL.
 *
 * Compiled once, with a type check whose errors say the position; immutable afterwards, so any thread evaluates, each with inputs of its
 * own. An evaluation allocates in the caller's arena alone (texts and lists that the expression makes), takes no lock, reads no file and
 * ends within a cost bound. The language: docs/expressions.md, and the CEL specification for what is not said there. */
#ifndef SLUICE_EXPR_EXPRESSION_H
#define SLUICE_EXPR_EXPRESSION_H

#include "base/error.h"
#include "expr/value.h"

#define EXPRESSION_TEXT_BYTES_MAX 65536 /* longer ones are refused */
#define EXPRESSION_COST_MAX \
    100000 /* what an evaluation may cost; a step is 1, a long text or list costs by its length */

/* Where expressions run, and so what there is to ask for. */
enum expression_moment {
    EXPRESSION_AT_ROUTE = 1,    /* route predicates: the request and its source */
    EXPRESSION_AT_REQUEST = 2,  /* filters of requests, limits, access: identity and route too */
    EXPRESSION_AT_RESPONSE = 4, /* filters of answers, the log: everything */
};

/* A row of a table of variables. `name` is all of it, dots included ("request.path"). A row "path.*" stands for every name behind
 * "path."; which one it was is told at lookup. */
struct expression_variable {
    const char *name;
    const char *type;   /* as docs write it: "string", "list(string)", "map(string, list(string))", "dyn" */
    uint8_t moments;    /* enum expression_moment, or'ed */
    uint8_t number;     /* the table owner's own */
    bool may_be_absent; /* has(NAME) asks; reading it where it is absent is an error */
    const char *summary;
};

struct expression_scope {
    const struct expression_variable *variables; /* must outlive what is compiled with it */
    size_t variable_count;
    unsigned moment;       /* one of enum expression_moment */
    size_t position;       /* of the expression's first byte where it is part of a longer text; else 0 */
    const char *container; /* names are looked for behind it first, as CEL does; NULL: none */
    /* Is there such a name behind "path."? NULL: every one. Asked while compiling alone. */
    bool (*captures)(const void *argument, struct slice name);
    const void *captures_argument;
};

struct expression;

/* What an expression must result in; EXPRESSION_DYN: anything. One whose type is known only when it runs passes too, and is
 * refused at evaluation if it is another one then. NULL: *error tells what is wrong and at which position (in bytes, from 1) of `text`,
 * which need not be kept, and what was meant where a name is near. Free with expression_destroy. */
struct expression *expression_compile(struct slice text, enum expression_type wanted, const struct expression_scope *,
                                      struct error *) MUST_USE;
void expression_destroy(struct expression *); /* NULL is allowed */
/* Says the same always: no variable in it. */
bool expression_is_constant(const struct expression *);
/* Asks for the variable of this number (of any row, if there are several of it). */
bool expression_uses(const struct expression *, unsigned number);
/* It is one field of a map alone, whose key is written out: `request.headers.accept`, `request.headers["x-a"]`. The map's variable, and its *key,
 * which lives as long as the expression. NULL: it is something else. For who knows a shorter way to the field. */
const struct expression_variable *expression_field_of(const struct expression *, struct slice *key);
/* Each key that is written out by which the expression looks into the map of this number: for `request.headers["x-a"]`, has(request.headers.a),
 * `"a" in request.headers`. A key may be told more than once, and lives as long as the expression. */
void expression_each_key(const struct expression *, unsigned number, void (*tell)(void *argument, struct slice key),
                         void *argument);
/* As the checker found it, in the form "list(string)"; in the arena. */
struct slice expression_type_text(const struct expression *, struct arena *);

/* Answers one variable at run time; `name` is what stood in the place of "*", else absent. What the value points at must live as
 * long as the result is used; `arena` is there for what has to be made. NOT_THERE: it is absent just now. */
typedef enum expression_found expression_lookup(const void *argument, const struct expression_variable *,
                                                struct slice name, struct arena *, struct expression_value *);

struct expression_inputs {
    expression_lookup *lookup; /* NULL where the expression is constant */
    const void *argument;
    uint32_t cost_max; /* 0: EXPRESSION_COST_MAX */
};

enum expression_outcome {
    EXPRESSION_DONE,
    EXPRESSION_FAILED,     /* the expression's own doing: no such key, overflow, division by zero, wrong type */
    EXPRESSION_ABSENT,     /* it came to a variable or key that is absent */
    EXPRESSION_TOO_COSTLY, /* it met a bound: of cost, of a text's or a match's, of a value's depth */
    EXPRESSION_OUT_OF_MEMORY,
};

/* False: *error (NULL where nobody reads it: cheaper) has words for the operator, without values of the request; its `status` is
 * 503 when memory was short and 0 otherwise. Result texts are the inputs' own, the expression's, or in the arena. */
bool expression_evaluate(const struct expression *, const struct expression_inputs *, struct arena *,
                         struct expression_value *result, struct error *) MUST_USE;
/* The same, telling apart why it came to nothing. */
enum expression_outcome expression_try(const struct expression *, const struct expression_inputs *, struct arena *,
                                       struct expression_value *result, struct error *) MUST_USE;

/* The functions and operators there are, one after the other; false: no more. For docs. */
struct expression_function_entry {
    const char *name, *overloads, *summary;
    bool is_operator, is_receiver;
};
bool expression_function_at(size_t index, struct expression_function_entry *);

#endif
