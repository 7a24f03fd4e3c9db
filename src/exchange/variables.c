#include "exchange/variables.h"

#include "config/resources.h"
#include "exchange/exchange.h"
#include "exchange/private.h"
#include "expr/variables.h"
#include "json/value.h"

/* What takes a call is never made part of exchange_lookup(), which then needs no stack frame. */
#define APART __attribute__((noinline))

static enum expression_found give_text(struct slice text, struct expression_value *value)
{
    *value = expression_string(text);
    return slice_is_absent(text) ? EXPRESSION_NOT_THERE : EXPRESSION_FOUND;
}

static enum expression_found give_int(int64_t number, struct expression_value *value)
{
    *value = expression_int(number);
    return EXPRESSION_FOUND;
}

static enum expression_found give_map(const struct expression_map_kind *kind, const void *of,
                                      struct expression_value *value)
{
    *value = expression_map(kind, of);
    return EXPRESSION_FOUND;
}

static enum expression_found give_time(uint64_t wall_ns, struct expression_value *value)
{
    *value = expression_timestamp(wall_ns);
    return EXPRESSION_FOUND;
}

/* --- request --- */

static struct slice protocol_of(const struct exchange *exchange)
{
    switch (exchange->request->version) {
    case HTTP_1_0: return SLICE("HTTP/1.0");
    case HTTP_1_1: return SLICE("HTTP/1.1");
    default: return SLICE("HTTP/2");
    }
}

static APART enum expression_found give_size(const struct request_head *request, struct expression_value *value)
{
    if (!request->has_body) return give_int(0, value);
    if (request->body_length > INT64_MAX) return EXPRESSION_NOT_THERE; /* BODY_LENGTH_UNKNOWN too */
    return give_int((int64_t)request->body_length, value);
}

static APART enum expression_found give_capture(const struct route_captures *captures, struct slice name,
                                                struct expression_value *value)
{
    return give_text(route_captures_find(captures, name), value);
}

/* --- source --- */

static APART enum expression_found look_up_source(const struct exchange *exchange, enum variable variable,
                                                  struct expression_value *value)
{
    const struct peer_certificate *certificate = exchange->stream->peer->certificate;
    if (variable == VARIABLE_SOURCE_PORT) return give_int(address_port(&exchange->client), value);
    if (!certificate) return EXPRESSION_NOT_THERE;
    if (variable == VARIABLE_SOURCE_CERTIFICATE_SUBJECT) return give_text(certificate->subject, value);
    if (variable == VARIABLE_SOURCE_CERTIFICATE_SAN) return give_text(certificate->alternatives, value);
    return give_text(certificate->fingerprint, value);
}

/* --- auth --- */

static APART enum expression_found give_method(const struct identity *identity, struct expression_value *value)
{
    return give_text(identity_method_word((enum identity_method)identity->method), value);
}

static APART enum expression_found give_tier(const struct identity *identity, struct expression_value *value)
{
    static const struct slice words[] = { { "free", 4 }, { "standard", 8 }, { "premium", 7 } };
    if (identity->tier < 0 || (size_t)identity->tier >= COUNT_OF(words)) return EXPRESSION_NOT_THERE;
    return give_text(words[identity->tier], value);
}

/* Scopes are one text, separated by single spaces. Most expressions ask whether one is among them; it is cut up for those that ask for one
 * by its place. */
struct scope_list {
    struct slice text;
    uint32_t count;
    struct expression_value *items; /* NULL: not cut up yet */
};

static bool has_scope(const void *of, const struct expression_value *value)
{
    const struct scope_list *list = of;
    return value->type == EXPRESSION_STRING && scopes_hold(list->text, value->text);
}

static bool cut_up(struct scope_list *list, struct arena *arena)
{
    struct slice rest = list->text;
    struct expression_value *items = arena_allocate(arena, list->count * sizeof *items);
    if (!items) return false;
    for (uint32_t i = 0; i < list->count; i++) {
        size_t end = slice_find_byte(rest, ' ');
        items[i] = expression_string(slice_before(rest, end));
        rest = end == SLICE_NOT_FOUND ? SLICE("") : slice_after(rest, end + 1);
    }
    list->items = items;
    return true;
}

static enum expression_found scope(const void *of, uint32_t index, struct arena *arena, struct expression_value *into)
{
    struct scope_list *list = (struct scope_list *)(uintptr_t)of;
    if (!list->items && !cut_up(list, arena)) return EXPRESSION_NO_MEMORY;
    *into = list->items[index];
    return EXPRESSION_FOUND;
}

static APART enum expression_found give_scopes(struct slice text, struct arena *arena, struct expression_value *value)
{
    static const struct expression_list_kind kind = { .item = scope, .has = has_scope };
    struct scope_list *list = arena_allocate(arena, sizeof *list);
    if (!list) return EXPRESSION_NO_MEMORY;
    *list = (struct scope_list){ .text = text, .count = text.length > 0 };
    for (size_t end; (end = slice_find_byte(text, ' ')) != SLICE_NOT_FOUND; list->count++)
        text = slice_after(text, end + 1);
    *value = expression_list_by(&kind, list, list->count);
    return EXPRESSION_FOUND;
}

static enum expression_found role(const void *of, uint32_t index, struct arena *arena, struct expression_value *into)
{
    *into = expression_string(((const struct slice *)of)[index]);
    return EXPRESSION_FOUND;
}

static APART enum expression_found give_roles(const struct exchange *exchange, struct expression_value *value)
{
    static const struct expression_list_kind kind = { .item = role };
    uint32_t count = 0;
    const struct slice *names = identity_roles(exchange, &count);
    *value = expression_list_by(&kind, names, count);
    return names ? EXPRESSION_FOUND : EXPRESSION_NO_MEMORY;
}

static APART enum expression_found give_claims(const struct identity *identity, struct expression_value *value)
{
    static const struct json_value none = { .type = JSON_OBJECT };
    expression_from_json(identity->claims ? identity->claims : &none, value);
    return EXPRESSION_FOUND;
}

/* --- route, response --- */

static APART enum expression_found look_up_route(const struct exchange *exchange, enum variable variable,
                                                 struct expression_value *value)
{
    const struct compiled_route *route = exchange->route;
    if (!route) return EXPRESSION_NOT_THERE;
    if (variable == VARIABLE_ROUTE_ID) return give_text(slice_from_cstring(route->id), value);
    if (variable == VARIABLE_ROUTE_NAME) return give_text(route->name_slice, value);
    if (variable == VARIABLE_ROUTE_VERSION) {
        size_t slash = slice_is_absent(route->version) ? SLICE_NOT_FOUND : slice_find_byte(route->version, '/');
        return give_text(slash == SLICE_NOT_FOUND ? route->version : slice_after(route->version, slash + 1), value);
    }
    /* Of a split, the one that was chosen; nobody is before the handler begins. */
    struct slice service = exchange->split_choice ? exchange->split_choice->name : route->service_name;
    return give_text(service.length && (exchange->split_choice || !route->split) ? service : SLICE_ABSENT, value);
}

static APART enum expression_found look_up_response(const struct exchange *exchange, enum variable variable,
                                                    struct expression_value *value)
{
    if (!exchange->response) return EXPRESSION_NOT_THERE;
    if (variable == VARIABLE_RESPONSE_STATUS) return give_int(exchange->response->status, value);
    *value = expression_map(&header_map, &exchange->response->headers);
    return EXPRESSION_FOUND;
}

/* --- all of them --- */

enum expression_found exchange_lookup(const void *argument, const struct expression_variable *row, struct slice name,
                                      struct arena *arena, struct expression_value *value)
{
    const struct exchange_variables *variables = argument;
    const struct exchange *exchange = variables->exchange;
    const struct request_head *request = exchange->request;
    const struct identity *identity = &exchange->identity;
    enum variable variable = (enum variable)row->number;
    switch (variable) {
    case VARIABLE_REQUEST_ID: return give_text(exchange->request_id, value);
    case VARIABLE_REQUEST_TRACE_ID: return give_text(exchange->trace_id, value);
    case VARIABLE_REQUEST_SPAN_ID: return give_text(exchange->span_id, value);
    case VARIABLE_REQUEST_METHOD: return give_text(request->method_text, value);
    case VARIABLE_REQUEST_HOST: return give_text(request->host, value);
    case VARIABLE_REQUEST_PATH: return give_text(request->target.path, value);
    case VARIABLE_REQUEST_QUERY_STRING: return give_text(request->target.query, value);
    case VARIABLE_REQUEST_SCHEME: return give_text(exchange->stream->peer->tls ? SLICE("https") : SLICE("http"), value);
    case VARIABLE_REQUEST_PROTOCOL: return give_text(protocol_of(exchange), value);
    case VARIABLE_REQUEST_SIZE: return give_size(request, value);
    case VARIABLE_REQUEST_TIME: return give_time(exchange->worker->loop->wall_ns, value);
    case VARIABLE_REQUEST_HEADERS: return give_map(&header_map, &request->headers, value);
    case VARIABLE_REQUEST_QUERY: return give_map(&query_map, &request->target, value);
    case VARIABLE_REQUEST_COOKIES: return give_map(&cookie_map, &request->headers, value);
    case VARIABLE_PATH: return give_capture(variables->captures, name, value);
    case VARIABLE_SOURCE_IP: return give_text(exchange->client_ip, value);
    case VARIABLE_SOURCE_PORT:
    case VARIABLE_SOURCE_CERTIFICATE_SUBJECT:
    case VARIABLE_SOURCE_CERTIFICATE_SAN:
    case VARIABLE_SOURCE_CERTIFICATE_FINGERPRINT: return look_up_source(exchange, variable, value);
    case VARIABLE_AUTH_METHOD: return give_method(identity, value);
    case VARIABLE_AUTH_USER_ID: return give_text(identity->user_id, value);
    case VARIABLE_AUTH_CLIENT_ID: return give_text(identity->client_id, value);
    case VARIABLE_AUTH_KEY_ID: return give_text(identity->key_id, value);
    case VARIABLE_AUTH_ISSUER: return give_text(identity->issuer, value);
    case VARIABLE_AUTH_TIER: return give_tier(identity, value);
    case VARIABLE_AUTH_SCOPES: return give_scopes(identity->scopes, arena, value);
    case VARIABLE_AUTH_ROLES: return give_roles(exchange, value);
    case VARIABLE_AUTH_CLAIMS: return give_claims(identity, value);
    case VARIABLE_ROUTE_ID:
    case VARIABLE_ROUTE_NAME:
    case VARIABLE_ROUTE_SERVICE:
    case VARIABLE_ROUTE_VERSION: return look_up_route(exchange, variable, value);
    case VARIABLE_RESPONSE_STATUS:
    case VARIABLE_RESPONSE_HEADERS: return look_up_response(exchange, variable, value);
    case VARIABLE_COUNT: break;
    }
    return EXPRESSION_NOT_THERE;
}

/* --- evaluating --- */

static void init_inputs(struct exchange_inputs *inputs, const struct exchange *exchange,
                        const struct route_captures *captures)
{
    inputs->variables = (struct exchange_variables){ exchange, captures };
    inputs->inputs = (struct expression_inputs){ .lookup = exchange_lookup, .argument = &inputs->variables };
}

void exchange_inputs_init(struct exchange_inputs *inputs, const struct exchange *exchange)
{
    init_inputs(inputs, exchange, &exchange->match.captures);
}

enum expression_outcome exchange_try(const struct exchange *exchange, const struct expression *expression,
                                     struct expression_value *value, struct error *error)
{
    struct exchange_inputs inputs;
    exchange_inputs_init(&inputs, exchange);
    return expression_try(expression, &inputs.inputs, exchange->arena, value, error);
}

bool exchange_evaluate(const struct exchange *exchange, const struct expression *expression,
                       struct expression_value *value, struct error *error)
{
    return exchange_try(exchange, expression, value, error) == EXPRESSION_DONE;
}

bool exchange_holds(const struct exchange *exchange, const struct route_captures *captures,
                    const struct expression *expression, enum expression_outcome *outcome)
{
    struct exchange_inputs inputs;
    struct expression_value value;
    init_inputs(&inputs, exchange, captures);
    *outcome = expression_try(expression, &inputs.inputs, exchange->arena, &value, NULL);
    return *outcome == EXPRESSION_DONE && value.type == EXPRESSION_BOOL && value.boolean;
}

struct slice exchange_render(const struct exchange *exchange, const struct template *template)
{
    struct exchange_variables variables = { exchange, &exchange->match.captures };
    return template_render(template, exchange_lookup, &variables, exchange->arena);
}

bool exchange_render_field(struct exchange *exchange, const struct template *template, struct slice rule,
                           struct slice name, struct slice *value)
{
    struct exchange_variables variables = { exchange, &exchange->match.captures };
    *value = exchange_render(exchange, template);
    if (slice_is_absent(*value)) {
        exchange_respond_problem(exchange, 503, "out-of-memory", SLICE_ABSENT, "the gateway is short of memory");
        return false;
    }
    if (LIKELY(header_value_is_valid(*value)) ||
        !template_is_spoilt_by(template, exchange_lookup, &variables, exchange->arena, header_value_is_valid,
                               VARIABLES_OF_CLIENT))
        return true;
    exchange_respond_problem(exchange, 400, "bad-field", rule,
                             "%.*s: what the request brings into header \"%.*s\" has a control character in it",
                             SLICE_PRINT(rule), SLICE_PRINT(name));
    return false;
}
