/* exchange/variables.h: what expressions ask of an exchange (the table: expr/variables.h), found when it is asked for. Nothing is kept:
 * what a filter changes, the next expression sees. */
#ifndef SLUICE_EXCHANGE_VARIABLES_H
#define SLUICE_EXCHANGE_VARIABLES_H

#include "expr/expression.h"

struct exchange;
struct route_captures;

/* For inputs with another argument than exchange_evaluate() makes: `argument` is a struct exchange_variables. */
struct exchange_variables {
    const struct exchange *exchange;
    const struct route_captures *captures;
};
expression_lookup exchange_lookup;

/* For who evaluates several expressions one behind the other. Not to be copied; holds as long as the exchange. */
struct exchange_inputs {
    struct exchange_variables variables;
    struct expression_inputs inputs; /* for expression_try() */
};
void exchange_inputs_init(struct exchange_inputs *, const struct exchange *);

/* Any step from `route` on (compiled for the moment it is), or before with an expression that asks for no more than the request. Texts made
 * live in the exchange's arena. False: *error (may be NULL) says why, see expression_evaluate(). */
bool exchange_evaluate(const struct exchange *, const struct expression *, struct expression_value *,
                       struct error *) MUST_USE;
enum expression_outcome exchange_try(const struct exchange *, const struct expression *, struct expression_value *,
                                     struct error *) MUST_USE;
/* What `request.headers` has under a name: all values of it, joined. The short way to what an expression of that field alone results in. */
enum expression_found exchange_header(const struct exchange *, struct slice name, struct slice *text);
/* While the route is being chosen: a predicate of a route whose pattern captures these. What isn't EXPRESSION_DONE doesn't hold. */
bool exchange_holds(const struct exchange *, const struct route_captures *, const struct expression *,
                    enum expression_outcome *);

#endif
