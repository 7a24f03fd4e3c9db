/* redirect: sends the client elsewhere.
 *
 * `to` is a template. What comes out is checked, as captures are the client's words: a Location holds no blanks, control or other odd
 * bytes, and a path of this host doesn't become another host ("/${path.rest}" of "//evil.example" would).
 * State: the compiled target (route). Never waits. RFC 9110 15.4, 10.2.2. */
#include "handlers/handlers.h"

#include "base/memory.h"
#include "exchange/exchange.h"

struct redirect {
    unsigned status;
    bool stays_here; /* `to` is written as a path of this host */
    bool keep_query;
    struct template *to;
};

static bool redirect_takes(const struct route_config *);
static bool redirect_compile(const struct filter_compile *, const struct route_config *, void **compiled);
static void redirect_release(void *compiled);
static void redirect_start(struct exchange *, const void *compiled, void *state);
static void redirect_explain(struct exchange *, const void *compiled, struct explanation *);

const struct handler handler_redirect = {
    .name = "redirect",
    .summary = "Sends the client elsewhere.",
    .takes = redirect_takes,
    .compile = redirect_compile,
    .release = redirect_release,
    .start = redirect_start,
    .explain = redirect_explain,
};

static bool redirect_takes(const struct route_config *route) { return route->has_redirect; }

static bool redirect_compile(const struct filter_compile *compile, const struct route_config *route, void **compiled)
{
    struct filter_compile here = *compile;
    const struct node *node = compile->node ? node_find(compile->node, "redirect") : NULL;
    if (node) here.node = node;
    struct slice text = route->redirect.to;
    struct template *to = filter_compile_template(&here, "to", text);
    if (!to) return false;
    struct redirect *redirect = memory_allocate(sizeof *redirect);
    redirect->status = (unsigned)route->redirect.status;
    redirect->stays_here = slice_starts_with(text, SLICE("/")) && !slice_starts_with(text, SLICE("//"));
    redirect->keep_query = route->redirect.keep_query;
    redirect->to = to;
    *compiled = redirect;
    return true;
}

static void redirect_release(void *compiled)
{
    struct redirect *redirect = compiled;
    template_destroy(redirect->to);
    free(redirect);
}

/* --- */

/* RFC 3986 2: what a URI never holds raw. */
static bool is_uri_byte(char byte) { return byte > ' ' && byte < 0x7f && !strchr("\"<>\\^`{|}", byte); }

static bool is_location(struct slice text)
{
    for (size_t i = 0; i < text.length; i++) {
        if (!is_uri_byte(text.at[i])) return false;
    }
    return text.length > 0;
}

/* In front of a fragment, where a query belongs (RFC 3986 3). Absent when memory is short. */
static struct slice with_query(struct exchange *exchange, struct slice to)
{
    struct slice query = exchange->request->target.query;
    if (slice_is_absent(to) || query.length == 0) return to;
    const char *hash = memchr(to.at, '#', to.length);
    struct slice place = hash ? slice_before(to, (size_t)(hash - to.at)) : to;
    struct slice joint = memchr(place.at, '?', place.length) ? SLICE("&") : SLICE("?");
    struct slice pieces[] = { place, joint, query, slice_after(to, place.length) };
    return arena_join(exchange->arena, pieces, COUNT_OF(pieces));
}

/* Absent when memory is short. */
static struct slice write_place(struct exchange *exchange, const struct redirect *redirect)
{
    struct slice to = exchange_render(exchange, redirect->to);
    return redirect->keep_query ? with_query(exchange, to) : to;
}

static bool is_place(const struct redirect *redirect, struct slice to)
{
    return is_location(to) && !(redirect->stays_here && slice_starts_with(to, SLICE("//")));
}

static void redirect_start(struct exchange *exchange, const void *compiled, void *state)
{
    const struct redirect *redirect = compiled;
    struct slice to = write_place(exchange, redirect);
    if (slice_is_absent(to)) {
        exchange_respond_problem(exchange, 503, "out-of-memory", SLICE_ABSENT, "the gateway is short of memory");
    } else if (!is_place(redirect, to)) {
        exchange_respond_problem(exchange, 400, "bad-redirect", SLICE_ABSENT,
                                 "the request's path makes no place to be sent to");
    } else {
        exchange_respond(exchange, redirect->status, SLICE_ABSENT, SLICE_ABSENT);
        if (!headers_add_known(&exchange->own_response.headers, HEADER_LOCATION, to)) {
            exchange_respond_problem(exchange, 503, "out-of-memory", SLICE_ABSENT, "the gateway is short of memory");
        }
    }
    exchange_answer_prepared(exchange);
}

/* Without the query: it may hold a secret. */
static void redirect_explain(struct exchange *exchange, const void *compiled, struct explanation *explanation)
{
    const struct redirect *redirect = compiled;
    struct slice to = write_place(exchange, redirect);
    size_t query = slice_find_byte(to, '?');
    if (is_place(redirect, to))
        explanation_add(explanation, "sends the client to %.*s%s (%u)", SLICE_PRINT(slice_before(to, query)),
                        query == SLICE_NOT_FOUND ? "" : " and a query", redirect->status);
    else
        explanation_add(explanation, "answers 400: the request's path makes no place to be sent to");
}
