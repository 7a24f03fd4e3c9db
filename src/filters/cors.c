/* cors: lets pages of other origins use a route: answers preflights and says in answers who may read them.
 *
 * A preflight is answered here, before identity, with 204 and without asking the service (its route is that of the method it asks
 * for: exchange->preflight). Other requests pass, whatever their origin; their answers get Access-Control-* for an allowed origin,
 * never the service's own, and `Vary: Origin` where the answer depends on it. CORS keeps no one out but browsers' scripts.
 * State: the compiled lists (route). Never waits; memory comes from the exchange's arena. Fetch standard, 3.2. */
#include "filters/filters.h"

#include "base/memory.h"
#include "filters/private.h"

#define ORIGINS_MAX 1000
#define NAMES_MAX 200

struct cors_config {
    struct slice_list origins, methods, headers, exposed;
    bool credentials;
    uint64_t max_age_ms;
};

struct cors {
    struct origin_list origins;
    bool any_header, credentials;
    char *methods, *headers, *exposed; /* as they are sent: "GET, POST"; "" where none */
    char max_age[24];
};

static bool check_method_name(struct schema_reading *, const struct node *, const void *value);
static bool check_listed_header(struct schema_reading *, const struct node *, const void *value);

static const struct field cors_fields[] = {
    { .name = "allowedOrigins",
      .also = "origins",
      .type = FIELD_STRING_LIST,
      .into = offsetof(struct cors_config, origins),
      .required = true,
      .minimum = 1,
      .maximum = ORIGINS_MAX,
      .one_or_many = true,
      .check = check_origin,
      .summary = "Origins that may use the route: exact, `https://*.example.com` for every host below, or `*`." },
    { .name = "allowedMethods",
      .also = "methods",
      .type = FIELD_STRING_LIST,
      .into = offsetof(struct cors_config, methods),
      .minimum = 1,
      .maximum = NAMES_MAX,
      .one_or_many = true,
      .check = check_method_name,
      .summary =
          "Methods that a preflight allows. Absent: the route's `methods`, and GET, HEAD and POST where it has none." },
    { .name = "allowedHeaders",
      .also = "headers",
      .type = FIELD_STRING_LIST,
      .into = offsetof(struct cors_config, headers),
      .maximum = NAMES_MAX,
      .one_or_many = true,
      .check = check_listed_header,
      .summary = "Request headers that a preflight allows; `*` allows those it asks for." },
    { .name = "exposedHeaders",
      .type = FIELD_STRING_LIST,
      .into = offsetof(struct cors_config, exposed),
      .maximum = NAMES_MAX,
      .one_or_many = true,
      .check = check_listed_header,
      .summary = "Response headers that scripts may read beside the few that they always may." },
    { .name = "allowCredentials",
      .type = FIELD_BOOLEAN,
      .into = offsetof(struct cors_config, credentials),
      .summary =
          "Whether requests with cookies or Authorization may be read; not together with the origins `*` and `null`." },
    { .name = "maxAge",
      .type = FIELD_SECONDS,
      .into = offsetof(struct cors_config, max_age_ms),
      .fallback = "600",
      .maximum = 86400000,
      .summary = "How long a browser may remember a preflight's answer." },
    FIELDS_END,
};

static bool cors_check(struct schema_reading *, const struct node *, const void *value);
static bool cors_compile(const struct filter_compile *, const void *value, void **compiled);
static void cors_release(void *compiled);
static enum filter_result cors_request(struct exchange *, const void *compiled, void *state);
static enum filter_result cors_response_head(struct exchange *, const void *compiled, void *state);
static void cors_explain(struct exchange *, const void *compiled, struct explanation *);

const struct filter filter_cors = {
    .name = "cors",
    .summary = "Lets pages of other origins use the route (Cross-Origin Resource Sharing).",
    .phase = PHASE_CORS,
    .fields = cors_fields,
    .config_size = sizeof(struct cors_config),
    .answers_preflight = true,
    .sees_late_failures = true,
    .check = cors_check,
    .compile = cors_compile,
    .release = cors_release,
    .request = cors_request,
    .response_head = cors_response_head,
    .explain = cors_explain,
};

/* --- loading --- */

static bool holds(const struct slice_list *list, struct slice word)
{
    for (size_t i = 0; i < list->count; i++) {
        if (slice_equal(list->items[i], word)) return true;
    }
    return false;
}

static bool holds_star(const struct slice_list *list) { return holds(list, SLICE("*")); }

static bool check_method_name(struct schema_reading *reading, const struct node *node, const void *value)
{
    const struct slice *text = value;
    if (header_name_is_valid(*text) && !slice_equal(*text, SLICE("*"))) return true; /* both are tokens */
    problems_add(reading->problems, node, "list the methods: [GET, POST]", "not a method: \"%s\"",
                 problems_excerpt(*text).text);
    return false;
}

static bool check_listed_header(struct schema_reading *reading, const struct node *node, const void *value)
{
    const struct slice *text = value;
    if (header_name_is_valid(*text)) return true;
    problems_add(reading->problems, node, NULL, "not a header name: \"%s\"", problems_excerpt(*text).text);
    return false;
}

static bool cors_check(struct schema_reading *reading, const struct node *node, const void *value)
{
    const struct cors_config *config = value;
    bool has_star = holds_star(&config->origins) || holds_star(&config->exposed);
    /* Any site's page gets it by a sandboxed frame: with credentials it would be a `*`. */
    bool has_null = holds(&config->origins, SLICE("null"));
    if (!config->credentials || !(has_star || has_null)) return true;
    const struct node *place = node_find(node, "allowCredentials");
    problems_add(reading->problems, place ? place : node, "list the origins and headers",
                 "\"allowCredentials\" can't stand together with \"%s\"", has_star ? "*" : "null");
    return false;
}

static char *join(const struct slice_list *list)
{
    size_t size = 1;
    for (size_t i = 0; i < list->count; i++) size += list->items[i].length + 2;
    char *text = memory_allocate(size), *at = text;
    for (size_t i = 0; i < list->count; i++) {
        if (i > 0) at = mempcpy(at, ", ", 2);
        at = mempcpy(at, list->items[i].at, list->items[i].length);
    }
    return text;
}

/* What a route takes, pages of the allowed origins may ask for. A route that takes all methods says nothing of what is meant for pages: then
 * the three that browsers send without asking. */
static char *join_methods(const struct cors_config *config, const struct slice_list *of_route)
{
    static struct slice usual[] = { { "GET", 3 }, { "HEAD", 4 }, { "POST", 4 } };
    if (config->methods.count > 0) return join(&config->methods);
    if (of_route && of_route->count > 0) return join(of_route);
    return join(&(struct slice_list){ usual, COUNT_OF(usual) });
}

static bool cors_compile(const struct filter_compile *compile, const void *value, void **compiled)
{
    const struct cors_config *config = value;
    struct cors *cors = memory_allocate(sizeof *cors);
    cors->any_header = holds_star(&config->headers);
    cors->credentials = config->credentials;
    cors->methods = join_methods(config, compile->route_methods);
    cors->headers = join(&config->headers);
    cors->exposed = join(&config->exposed);
    snprintf(cors->max_age, sizeof cors->max_age, "%llu", (unsigned long long)(config->max_age_ms / 1000));
    origin_list_init(&cors->origins, &config->origins);
    *compiled = cors;
    return true;
}

static void cors_release(void *compiled)
{
    struct cors *cors = compiled;
    origin_list_release(&cors->origins);
    free(cors->methods);
    free(cors->headers);
    free(cors->exposed);
    free(cors);
}

/* --- who asks --- */

/* Who may read the answer; the origin was found allowed. */
static bool add_readers(const struct cors *cors, struct slice origin, struct headers *headers)
{
    if (!headers_add(headers, SLICE("Access-Control-Allow-Origin"), cors->origins.any ? SLICE("*") : origin))
        return false;
    return !cors->credentials || headers_add(headers, SLICE("Access-Control-Allow-Credentials"), SLICE("true"));
}

/* --- preflights --- */

static bool add_list(struct headers *headers, struct slice name, struct slice list)
{
    return list.length == 0 || headers_add(headers, name, list);
}

/* With "*" a preflight gets back what it asked for: a literal "*" would leave out Authorization (Fetch standard, 4.8). */
static struct slice allowed_headers(const struct exchange *exchange, const struct cors *cors)
{
    if (!cors->any_header) return slice_from_cstring(cors->headers);
    return headers_combined(&exchange->request->headers, HEADER_ACCESS_CONTROL_REQUEST_HEADERS);
}

static bool fill_preflight(struct exchange *exchange, const struct cors *cors, struct slice origin)
{
    struct headers *headers = &exchange->own_response.headers;
    return add_readers(cors, origin, headers) &&
           add_list(headers, SLICE("Access-Control-Allow-Methods"), slice_from_cstring(cors->methods)) &&
           add_list(headers, SLICE("Access-Control-Allow-Headers"), allowed_headers(exchange, cors)) &&
           headers_add(headers, SLICE("Access-Control-Max-Age"), slice_from_cstring(cors->max_age));
}

static enum filter_result cors_request(struct exchange *exchange, const void *compiled, void *state)
{
    const struct cors *cors = compiled;
    if (!exchange->preflight) return FILTER_NEXT;
    struct slice origin = request_origin(exchange);
    bool allowed = !slice_is_absent(origin) && origin_list_holds(&cors->origins, origin);
    if (allowed) {
        exchange_respond(exchange, 204, SLICE_ABSENT, SLICE_ABSENT);
    } else {
        exchange_respond_problem(exchange, 403, "origin-refused", SLICE("cors"),
                                 "pages of this origin may not use the route");
    }
    struct headers *headers = &exchange->own_response.headers;
    bool good = headers_add_known(headers, HEADER_VARY,
                                  SLICE("Origin, Access-Control-Request-Method, Access-Control-Request-Headers"));
    if (!good || (allowed && !fill_preflight(exchange, cors, origin))) respond_no_memory(exchange);
    return FILTER_RESPOND;
}

/* --- other answers --- */

/* The service's own would stand beside ours, and two make browsers refuse. */
static void remove_services_own(struct headers *headers)
{
    static const struct slice names[] = {
        { "Access-Control-Allow-Origin", 27 },
        { "Access-Control-Allow-Credentials", 32 },
        { "Access-Control-Expose-Headers", 29 },
    };
    for (size_t i = 0; i < COUNT_OF(names); i++) headers_remove(headers, names[i]);
}

static bool add_vary(const struct cors *cors, struct headers *headers)
{
    if (cors->origins.any || headers_list_has(headers, HEADER_VARY, SLICE("Origin"))) return true;
    return headers_add_known(headers, HEADER_VARY, SLICE("Origin"));
}

static enum filter_result cors_response_head(struct exchange *exchange, const void *compiled, void *state)
{
    const struct cors *cors = compiled;
    if (exchange->preflight) return FILTER_NEXT;
    struct headers *headers = &exchange->response->headers;
    struct slice origin = request_origin(exchange);
    remove_services_own(headers);
    bool good = add_vary(cors, headers);
    if (good && !slice_is_absent(origin) && origin_list_holds(&cors->origins, origin)) {
        good = add_readers(cors, origin, headers) &&
               add_list(headers, SLICE("Access-Control-Expose-Headers"), slice_from_cstring(cors->exposed));
    }
    if (!good) respond_no_memory(exchange);
    return FILTER_NEXT;
}

static void cors_explain(struct exchange *exchange, const void *compiled, struct explanation *explanation)
{
    const struct cors *cors = compiled;
    struct slice origin = request_origin(exchange);
    bool is_known = !slice_is_absent(origin);
    const char *may = is_known && origin_list_holds(&cors->origins, origin) ? "may" : "may not";
    if (!is_known)
        explanation_add(explanation, exchange->preflight ? "refuses the preflight (403): it names no origin"
                                                         : "the request comes from no other origin");
    else if (exchange->preflight)
        explanation_add(explanation, "answers the preflight: pages of %.*s %s use the route", SLICE_PRINT(origin), may);
    else
        explanation_add(explanation, "pages of %.*s %s read the answer", SLICE_PRINT(origin), may);
}
