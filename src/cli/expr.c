/* cli/expr.c: `sluice expr EXPRESSION`: what an expression results in, for a request that is written on the command line. Nothing listens and
 * nothing is sent: an exchange is made of the words alone, and the same code evaluates as in the gateway. */
#include "base/clock.h"
#include "cli/private.h"
#include "config/resources.h"
#include "exchange/exchange.h"
#include "exchange/identity.h"
#include "exchange/variables.h"
#include "expr/variables.h"
#include "keys/jwt.h"
#include "route/router.h"
#include "json/value.h"

/* An exchange as far as expressions look into one. */
struct rehearsal {
    struct arena arena;
    struct loop loop;
    struct exchange_worker worker;
    struct peer peer;
    struct server_stream stream;
    struct exchange exchange;
    struct response_head response;
    struct json_value claims, auth;
    struct router *router; /* of --route; what it captured points into it */
    struct router_scratch *scratch;
    char client_ip[ADDRESS_TEXT_BYTES];
};

static bool set_request(struct rehearsal *rehearsal, struct slice text, struct error *error)
{
    struct request_head *request = &rehearsal->stream.request;
    size_t space = slice_find_byte(text, ' ');
    if (space == SLICE_NOT_FOUND) return error_format(error, "--request is written \"GET http://host/path\"");
    request->method_text = slice_before(text, space);
    request->method = method_find(request->method_text);
    request->version = HTTP_1_1;
    if (!target_parse(slice_trim(slice_after(text, space)), false, &rehearsal->arena, &request->target, error))
        return false;
    rehearsal->peer.tls = slice_equal_ignore_case(request->target.scheme, SLICE("https"));
    request->authority = request->target.authority;
    if (slice_is_absent(request->authority)) return true;
    if (target_parse_authority(request->authority, &rehearsal->arena, &request->host, &request->port)) return true;
    return error_format(error, "\"%.*s\" is no host", SLICE_PRINT(request->authority));
}

static bool set_header(struct rehearsal *rehearsal, struct slice text, struct error *error)
{
    size_t colon = slice_find_byte(text, ':');
    struct slice name = slice_before(text, colon), value = slice_trim(slice_after(text, colon + 1));
    if (colon == SLICE_NOT_FOUND || !header_name_is_valid(name) || !header_value_is_valid(value)) {
        return error_format(error, "-H is written \"Name: value\", and not \"%.*s\"", SLICE_PRINT(text));
    }
    struct request_head *request = &rehearsal->stream.request;
    if (!headers_add(&request->headers, name, value)) return error_format(error, "out of memory");
    if (header_id_find(name) != HEADER_HOST || !slice_is_absent(request->host)) return true;
    request->authority = value;
    return target_parse_authority(value, &rehearsal->arena, &request->host, &request->port) ||
           error_format(error, "\"%.*s\" is no host", SLICE_PRINT(value));
}

/* Every request of a gateway has the field, in HTTP/2 by its :authority. */
static bool settle_host(struct rehearsal *rehearsal, struct error *error)
{
    struct request_head *request = &rehearsal->stream.request;
    if (slice_is_absent(request->authority) || headers_find_known(&request->headers, HEADER_HOST)) return true;
    return headers_add(&request->headers, header_id_name(HEADER_HOST), request->authority) ||
           error_format(error, "out of memory");
}

/* The captures of a route with this pattern, as if the request had found it. */
static bool set_route(struct rehearsal *rehearsal, struct slice pattern, struct error *error)
{
    const struct request_head *request = &rehearsal->stream.request;
    const struct route_rule rule = { .path = pattern };
    struct route_matcher *matcher = route_matcher_create(&rule, rehearsal, error);
    if (!matcher) {
        error_prefix(error, "--route");
        return false;
    }
    struct router *none = router_create();
    rehearsal->router = router_with(none, &matcher, 1, NULL, 0);
    router_destroy(none);
    route_matcher_drop(matcher);
    rehearsal->scratch = router_scratch_create();
    if (!rehearsal->scratch) return error_format(error, "out of memory");
    return router_match(rehearsal->router, rehearsal->scratch, request, request->method, request->method_text, NULL,
                        &rehearsal->arena, &rehearsal->exchange.match) == ROUTE_FOUND ||
           error_format(error, "--route %.*s doesn't take the path %.*s", SLICE_PRINT(pattern),
                        SLICE_PRINT(request->target.path));
}

static bool read_object(struct rehearsal *rehearsal, const char *option, const char *text, struct json_value *object,
                        struct error *error)
{
    if (!json_parse(slice_from_cstring(text), &rehearsal->arena, object, error)) {
        error_prefix(error, "%s", option);
        return false;
    }
    return object->type == JSON_OBJECT || error_format(error, "%s is a JSON object", option);
}

/* As jwt-auth takes them of a token, and refuses them. */
static bool set_claims(struct rehearsal *rehearsal, const char *text, struct error *error)
{
    struct identity *identity = &rehearsal->exchange.identity;
    struct jwt_subject subject;
    if (!read_object(rehearsal, "--claims", text, &rehearsal->claims, error)) return false;
    if (!jwt_read_subject(&rehearsal->claims, &rehearsal->arena, &subject, error)) {
        error_prefix(error, "--claims");
        return false;
    }
    identity->method = IDENTITY_JWT;
    identity->claims = &rehearsal->claims;
    identity->user_id = subject.user_id;
    identity->client_id = subject.client_id;
    identity->issuer = subject.issuer;
    identity->scopes = subject.scopes;
    return true;
}

/* --- who asks, field by field --- */

static bool set_tier(struct identity *identity, struct slice word)
{
    static const struct slice words[] = {
        [API_KEY_FREE] = SLICE("free"),
        [API_KEY_STANDARD] = SLICE("standard"),
        [API_KEY_PREMIUM] = SLICE("premium"),
    };
    for (size_t i = 0; i < COUNT_OF(words); i++) {
        if (slice_equal(word, words[i])) identity->tier = (int8_t)i;
    }
    return identity->tier != IDENTITY_TIER_NONE;
}

static bool set_method(struct identity *identity, struct slice word)
{
    enum identity_method method = IDENTITY_NONE;
    while (method < IDENTITY_METHOD_COUNT && !slice_equal(word, identity_method_word(method))) method++;
    identity->method = (uint8_t)method;
    return method < IDENTITY_METHOD_COUNT;
}

/* These and no others, whatever claims would give. */
static bool set_roles(struct rehearsal *rehearsal, const struct json_value *roles)
{
    struct identity *identity = &rehearsal->exchange.identity;
    uint32_t count = roles->type == JSON_ARRAY ? roles->count : 0;
    struct slice *names = arena_allocate(&rehearsal->arena, (count + 1) * sizeof *names);
    if (!names || roles->type != JSON_ARRAY) return false;
    for (uint32_t i = 0; i < count; i++) {
        if (roles->items[i].type != JSON_STRING) return false;
        names[i] = roles->items[i].text;
    }
    identity->role_names = names;
    identity->role_name_count = count;
    return true;
}

/* One text, or a list. */
static struct slice scopes_of(const struct json_value *scopes, struct arena *arena)
{
    if (!scopes) return SLICE_ABSENT;
    if (scopes->type == JSON_STRING) return scopes->text;
    struct slice joined = SLICE("");
    for (uint32_t i = 0; scopes->type == JSON_ARRAY && i < scopes->count; i++) {
        const struct json_value *item = &scopes->items[i];
        if (item->type != JSON_STRING) continue;
        joined = arena_format(arena, "%.*s%s%.*s", SLICE_PRINT(joined), joined.length ? " " : "",
                              SLICE_PRINT(item->text));
    }
    return joined;
}

static bool set_auth_field(struct rehearsal *rehearsal, const struct json_member *member)
{
    struct identity *identity = &rehearsal->exchange.identity;
    const struct json_value *value = &member->value;
    const struct {
        struct slice name, *into;
    } texts[] = {
        { SLICE("user_id"), &identity->user_id },
        { SLICE("client_id"), &identity->client_id },
        { SLICE("key_id"), &identity->key_id },
        { SLICE("issuer"), &identity->issuer },
    };
    if (slice_equal(member->name, SLICE("roles"))) return set_roles(rehearsal, value);
    if (slice_equal(member->name, SLICE("scopes"))) {
        identity->scopes = scopes_of(value, &rehearsal->arena);
        return value->type == JSON_STRING || value->type == JSON_ARRAY;
    }
    if (value->type != JSON_STRING) return false;
    if (slice_equal(member->name, SLICE("tier"))) return set_tier(identity, value->text);
    if (slice_equal(member->name, SLICE("method"))) return set_method(identity, value->text);
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        if (!slice_equal(member->name, texts[i].name)) continue;
        *texts[i].into = value->text;
        return true;
    }
    return false;
}

/* Over what claims say, if there are some. */
static bool set_auth(struct rehearsal *rehearsal, const char *text, struct error *error)
{
    struct identity *identity = &rehearsal->exchange.identity;
    if (!read_object(rehearsal, "--auth", text, &rehearsal->auth, error)) return false;
    if (identity->method == IDENTITY_NONE) identity->method = IDENTITY_API_KEY;
    for (uint32_t i = 0; i < rehearsal->auth.count; i++) {
        const struct json_member *member = &rehearsal->auth.members[i];
        if (set_auth_field(rehearsal, member)) continue;
        return error_format(error,
                            "--auth has texts: method, user_id, client_id, key_id, issuer, tier (free, standard, "
                            "premium); and lists: scopes, roles; \"%.*s\" is none of them",
                            SLICE_PRINT(member->name));
    }
    return true;
}

static bool set_client(struct rehearsal *rehearsal, const char *text, struct error *error)
{
    struct address *client = &rehearsal->exchange.client;
    if (!address_parse_ip(slice_from_cstring(text), 0, client))
        return error_format(error, "--client-ip %s: no address", text);
    rehearsal->exchange.client_ip = slice_of(rehearsal->client_ip, address_write_ip(client, rehearsal->client_ip));
    return true;
}

static bool set_status(struct rehearsal *rehearsal, const char *text, struct error *error)
{
    uint64_t status;
    if (!slice_parse_uint64(slice_from_cstring(text), &status) || status < 100 || status > 999) {
        return error_format(error, "--status is a status of HTTP, from 100 to 999");
    }
    response_head_init(&rehearsal->response, &rehearsal->arena);
    rehearsal->response.status = (uint16_t)status;
    rehearsal->exchange.response = &rehearsal->response;
    return true;
}

static void rehearsal_init(struct rehearsal *rehearsal)
{
    memset(rehearsal, 0, sizeof *rehearsal);
    arena_init(&rehearsal->arena, NULL);
    request_head_init(&rehearsal->stream.request, &rehearsal->arena);
    rehearsal->loop.wall_ns = clock_wall_ns();
    rehearsal->worker.loop = &rehearsal->loop;
    rehearsal->stream.peer = &rehearsal->peer;
    rehearsal->stream.request.target.path = SLICE("/");
    rehearsal->stream.request.method_text = SLICE("GET");
    rehearsal->exchange.stream = &rehearsal->stream;
    rehearsal->exchange.worker = &rehearsal->worker;
    rehearsal->exchange.arena = &rehearsal->arena;
    rehearsal->exchange.request = &rehearsal->stream.request;
    rehearsal->exchange.identity.tier = IDENTITY_TIER_NONE;
    rehearsal->exchange.request_id = SLICE("00000000000000000000000000000000");
}

static void rehearsal_release(struct rehearsal *rehearsal)
{
    if (rehearsal->router) router_destroy(rehearsal->router);
    if (rehearsal->scratch) router_scratch_destroy(rehearsal->scratch);
    arena_release(&rehearsal->arena);
}

/* Words are the expression, and each -H with what follows it. */
static bool read_words(struct rehearsal *rehearsal, const struct command_line *line, struct slice *text,
                       struct error *error)
{
    *text = SLICE_ABSENT;
    for (unsigned i = 1; i < line->word_count; i++) {
        struct slice word = slice_from_cstring(line->words[i]);
        if (slice_equal(word, SLICE("-H"))) {
            if (++i == line->word_count) return error_format(error, "-H needs a value");
            if (!set_header(rehearsal, slice_from_cstring(line->words[i]), error)) return false;
        } else if (!slice_is_absent(*text)) {
            return error_format(error, "one expression at a time: \"%s\" is one word too many", line->words[i]);
        } else {
            *text = word;
        }
    }
    return !slice_is_absent(*text) || error_format(error, "EXPRESSION is missing");
}

static bool set_up(struct rehearsal *rehearsal, const struct command_line *line, struct slice *text,
                   struct error *error)
{
    if (line->request && !set_request(rehearsal, slice_from_cstring(line->request), error)) return false;
    if (!read_words(rehearsal, line, text, error)) return false;
    if (!settle_host(rehearsal, error)) return false;
    if (line->route && !set_route(rehearsal, slice_from_cstring(line->route), error)) return false;
    if (line->claims && !set_claims(rehearsal, line->claims, error)) return false;
    if (line->auth && !set_auth(rehearsal, line->auth, error)) return false;
    if (!set_client(rehearsal, line->client_ip ? line->client_ip : "127.0.0.1", error)) return false;
    return !line->status || set_status(rehearsal, line->status, error);
}

static int show(struct rehearsal *rehearsal, struct slice text, struct error *error)
{
    struct expression_scope scope = expression_scope_at(rehearsal->exchange.response ? EXPRESSION_AT_RESPONSE
                                                                                     : EXPRESSION_AT_REQUEST);
    struct expression *expression = expression_compile(text, EXPRESSION_DYN, &scope, error);
    struct expression_value value;
    if (!expression) return 1;
    bool good = exchange_evaluate(&rehearsal->exchange, expression, &value, error);
    if (good) {
        expression_value_print(stdout, &value, &rehearsal->arena);
        putchar('\n');
    }
    expression_destroy(expression);
    return good ? 0 : 1;
}

int command_expr(const struct command_line *line, const struct registries *registries)
{
    struct rehearsal rehearsal;
    struct error error;
    struct slice text;
    (void)registries;
    rehearsal_init(&rehearsal);
    int status = set_up(&rehearsal, line, &text, &error) ? show(&rehearsal, text, &error) : 2;
    if (status) fprintf(stderr, "sluice: %s\n", error.text);
    rehearsal_release(&rehearsal);
    return status;
}

/* --- tables of docs/expressions.md --- */

void expression_variables_write_markdown(FILE *to)
{
    static const struct {
        unsigned moments;
        const char *words;
    } moments[] = {
        { EXPRESSION_AT_ROUTE, "everywhere" },
        { EXPRESSION_AT_REQUEST, "behind the route's choice" },
        { EXPRESSION_AT_RESPONSE, "on answers" },
    };
    fprintf(to, "| variable | type | where | |\n|---|---|---|---|\n");
    for (size_t i = 0; i < VARIABLE_COUNT; i++) {
        const struct expression_variable *row = &expression_variables[i];
        const char *words = "";
        for (size_t j = COUNT_OF(moments); j > 0; j--) {
            if (row->moments & moments[j - 1].moments) words = moments[j - 1].words;
        }
        fprintf(to, "| `%s` | %s | %s | %s%s |\n", row->name, row->type, words, row->summary,
                row->may_be_absent ? " May be absent." : "");
    }
}

static void write_overloads(FILE *to, const char *overloads)
{
    for (const char *at = overloads; *at; at++) {
        if (*at == ';') {
            fputs("<br>", to);
            if (at[1] == ' ') at++;
        } else if (*at == ':') {
            fputs(" →", to);
        } else {
            putc(*at, to);
        }
    }
}

void expression_functions_write_markdown(FILE *to)
{
    struct expression_function_entry entry;
    fprintf(to, "| | takes → gives | |\n|---|---|---|\n");
    for (size_t i = 0; expression_function_at(i, &entry); i++) {
        const char *form = entry.is_operator ? "`%s`" : entry.is_receiver ? "`x.%s(…)`" : "`%s(…)`";
        fputs("| ", to);
        fprintf(to, form, strcmp(entry.name, "-x") == 0 ? "-" : entry.name);
        fputs(" | ", to);
        write_overloads(to, entry.overloads);
        fprintf(to, " | %s |\n", entry.summary);
    }
}
