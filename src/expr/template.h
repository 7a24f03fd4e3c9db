/* expr/template.h: text with ${…} in it, compiled once, rendered into an arena.
 *
 * Known today: ${path.NAME} (a route's capture), ${request.id}, ${request.method}, ${request.host}, ${request.path},
 * ${source.ip}, ${source.certificate.subject}, ${source.certificate.san}, ${source.certificate.fingerprint} (empty without a verified
 * client certificate). Anything else in ${…} is an error at compile time. "$${" writes a literal "${".
 * A text holds at most 64 pieces, variables and what stands between them. Immutable once compiled: any thread renders. */
#ifndef SLUICE_EXPR_TEMPLATE_H
#define SLUICE_EXPR_TEMPLATE_H

#include "base/arena.h"
#include "base/error.h"

enum template_variable {
    TEMPLATE_PATH_CAPTURE,
    TEMPLATE_REQUEST_ID,
    TEMPLATE_REQUEST_METHOD,
    TEMPLATE_REQUEST_HOST,
    TEMPLATE_REQUEST_PATH,
    TEMPLATE_SOURCE_IP,
    TEMPLATE_SOURCE_CERTIFICATE_SUBJECT,
    TEMPLATE_SOURCE_CERTIFICATE_SAN,
    TEMPLATE_SOURCE_CERTIFICATE_FINGERPRINT,
};

struct template;

/* Does the route capture this name? Asked at compile time; `allowed` NULL lets every name pass. */
typedef bool template_capture_check(const void *argument, struct slice name);

/* NULL and *error (what is wrong, at which position from 1) otherwise. Free with template_destroy. */
struct template *template_compile(struct slice text, template_capture_check *allowed, const void *argument,
                                  struct error *) MUST_USE;
void template_destroy(struct template *); /* NULL is allowed */
/* No variables: render gives the text itself and costs nothing. */
bool template_is_constant(const struct template *);

/* Answers a variable; `name` only for captures. Absent counts as empty. */
typedef struct slice template_lookup(const void *argument, enum template_variable, struct slice name);
/* Absent when memory is short. The result lives in the arena; of a template that is constant as long as the template, and of one
 * that is a variable alone as long as the variable's value. */
struct slice template_render(const struct template *, template_lookup *, const void *argument, struct arena *);

#endif
