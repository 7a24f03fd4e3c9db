/* respond: answers by itself, with a fixed status, headers and body.
 *
 * Header values and body are templates; a body without variables is sent from the compiled route, never copied. The content type is
 * the one among the headers, else text/plain in UTF-8. State: the compiled answer (route). Never waits. */
#include "handlers/handlers.h"

#include "base/memory.h"
#include "exchange/exchange.h"

struct respond_header {
    char *name_text;
    struct header_constant field; /* its value: what the template says, if that is the same for all */
    struct template *value;
};

struct respond {
    unsigned status;
    struct template *body;
    struct template *content_type; /* NULL: the usual one */
    size_t header_count;
    struct respond_header headers[]; /* without Content-Type */
};

static bool respond_takes(const struct route_config *);
static bool respond_compile(const struct filter_compile *, const struct route_config *, void **compiled);
static void respond_release(void *compiled);
static void respond_start(struct exchange *, const void *compiled, void *state);
static void respond_explain(struct exchange *, const void *compiled, struct explanation *);

const struct handler handler_respond = {
    .name = "respond",
    .summary = "Answers with a fixed status, headers and body.",
    .takes = respond_takes,
    .compile = respond_compile,
    .release = respond_release,
    .start = respond_start,
    .explain = respond_explain,
};

static bool respond_takes(const struct route_config *route) { return route->has_respond; }

/* Problems of a template stand at the answer's own map of the route. */
static struct filter_compile at_respond(const struct filter_compile *compile, const char *map)
{
    struct filter_compile inside = *compile;
    const struct node *respond = compile->node ? node_find(compile->node, "respond") : NULL;
    if (respond) inside.node = respond;
    const struct node *node = map && respond ? node_find(respond, map) : NULL;
    if (node) inside.node = node;
    return inside;
}

static bool compile_header(const struct filter_compile *compile, const struct pair *pair, struct respond *respond)
{
    struct template *value = filter_compile_template(compile, pair->name.at, pair->value);
    if (!value) return false;
    if (header_id_find(pair->name) == HEADER_CONTENT_TYPE) {
        template_destroy(respond->content_type);
        respond->content_type = value;
        return true;
    }
    struct respond_header *header = &respond->headers[respond->header_count++];
    header->name_text = memory_copy_slice(pair->name);
    header->field.key = header_key_of(slice_of(header->name_text, pair->name.length));
    header->value = value;
    if (template_is_constant(value))
        header->field = header_constant_of(header->field.key.name, template_render(value, NULL, NULL, NULL));
    return true;
}

static bool respond_compile(const struct filter_compile *compile, const struct route_config *route, void **compiled)
{
    const struct respond_config *config = &route->respond;
    struct respond *respond = memory_allocate(sizeof *respond + config->headers.count * sizeof respond->headers[0]);
    struct filter_compile here = at_respond(compile, NULL), at_headers = at_respond(compile, "headers");
    respond->status = (unsigned)config->status;
    respond->body = filter_compile_template(&here, "body", config->body);
    bool good = respond->body != NULL;
    for (size_t i = 0; i < config->headers.count; i++)
        good &= compile_header(&at_headers, &config->headers.items[i], respond);
    if (good) {
        *compiled = respond;
    } else {
        respond_release(respond);
    }
    return good;
}

static void respond_release(void *compiled)
{
    struct respond *respond = compiled;
    for (size_t i = 0; i < respond->header_count; i++) {
        template_destroy(respond->headers[i].value);
        free(respond->headers[i].name_text);
    }
    template_destroy(respond->content_type);
    template_destroy(respond->body);
    free(respond);
}

/* --- */

static bool prepare_type(struct exchange *exchange, const struct respond *respond, struct slice body,
                         struct slice *type)
{
    *type = body.length > 0 ? SLICE("text/plain; charset=utf-8") : SLICE_ABSENT;
    return !respond->content_type ||
           exchange_render_field(exchange, respond->content_type, SLICE("respond"), SLICE("Content-Type"), type);
}

static void respond_no_memory(struct exchange *exchange)
{
    exchange_respond_problem(exchange, 503, "out-of-memory", SLICE_ABSENT, "the gateway is short of memory");
}

/* False: another answer was prepared. */
static bool add_header(struct exchange *exchange, const struct respond_header *header)
{
    struct headers *headers = &exchange->own_response.headers;
    const struct header_key *key = &header->field.key;
    bool is_constant = header->field.value.at != NULL;
    struct slice value;
    if (!is_constant && !exchange_render_field(exchange, header->value, SLICE("respond"), key->name, &value))
        return false;
    bool added = is_constant ? headers_add_constant(headers, &header->field) : headers_add_by(headers, key, value);
    if (!added) respond_no_memory(exchange);
    return added;
}

/* Or another answer, where it can't be. */
static void prepare(struct exchange *exchange, const struct respond *respond)
{
    struct slice type, body = exchange_render(exchange, respond->body);
    if (slice_is_absent(body)) {
        respond_no_memory(exchange);
        return;
    }
    if (!prepare_type(exchange, respond, body, &type)) return;
    exchange_respond(exchange, respond->status, type, body);
    for (size_t i = 0; i < respond->header_count; i++) {
        if (!add_header(exchange, &respond->headers[i])) return;
    }
}

static void respond_start(struct exchange *exchange, const void *compiled, void *state)
{
    prepare(exchange, compiled);
    exchange_answer_prepared(exchange);
}

static void respond_explain(struct exchange *exchange, const void *compiled, struct explanation *explanation)
{
    const struct respond *respond = compiled;
    struct slice body = exchange_render(exchange, respond->body);
    if (body.length > 0)
        explanation_add(explanation, "answers %u by itself, with a body of %zu bytes", respond->status, body.length);
    else
        explanation_add(explanation, "answers %u by itself, without a body", respond->status);
}
