/* expr/template.h: text with ${…} in it, compiled once, rendered into an arena.
 *
 * Between "${" and "}" stands an expression (expr/expression.h) of the scope that the template is compiled for, its value written as text;
 * lists, maps and types have none. What is absent, or fails in the expression's own doing, is empty. ${path.NAME} takes a capture of any
 * name, ${path.*} that of the wildcard. "$${" writes a literal "${". A text holds at most 64 pieces, expressions and what stands between
 * them. Immutable once compiled: any thread renders. */
#ifndef SLUICE_EXPR_TEMPLATE_H
#define SLUICE_EXPR_TEMPLATE_H

#include "expr/expression.h"

struct template;

/* NULL and *error (what is wrong, at which position from 1) otherwise. Free with template_destroy. */
struct template *template_compile(struct slice text, const struct expression_scope *, struct error *) MUST_USE;
void template_destroy(struct template *); /* NULL is allowed */
/* No variables: render gives the text itself and costs nothing. */
bool template_is_constant(const struct template *);
/* An expression of it asks for the variable of this number. */
bool template_uses(const struct template *, unsigned number);

/* Absent when memory is short. The result lives in the arena; of a template that is constant as long as the template (then lookup and arena
 * may be NULL), and of one that is a variable alone as long as the variable's value. */
struct slice template_render(const struct template *, expression_lookup *, const void *argument, struct arena *);

/* Whose doing is it that what was rendered doesn't fit? True: each piece that doesn't by itself is an expression that asks for a variable of
 * a number below `end`, and there is such a piece. */
bool template_is_spoilt_by(const struct template *, expression_lookup *, const void *argument, struct arena *,
                           bool (*fits)(struct slice value), unsigned end);

#endif
