#include "scenario.h"

#include "reference.h"

#include <stdio.h>

/* ---- Choices ----------------------------------------------------------------------------------------------------- */

struct choices {
    const uint8_t *next, *end;
};

/* 0 once the bytes are used up. */
static unsigned choose(struct choices *choices, unsigned bound)
{
    return choices->next < choices->end ? *choices->next++ % bound : 0;
}

#define CHOOSE(choices, table) (table)[choose(choices, COUNT_OF(table))]

/* ---- Rules ------------------------------------------------------------------------------------------------------- */

struct rule_text {
    char path[96];
    struct slice hosts[2], methods[2];
    struct route_condition headers[3], query[2];
};

struct route {
    struct reference_route reference;
    struct rule_text text;
};

#define ROUTES_MAX 96
#define VERSIONS_MAX 3

struct version {
    struct router *router; /* NULL: none */
    const struct reference_route *routes[ROUTES_MAX];
    size_t count;
};

/* What a scenario has most of. */
enum theme { THEME_MIXED, THEME_REGEXES, THEME_CONDITIONS, THEME_PATHS, THEME_COUNT };

struct scenario {
    struct choices choices;
    enum theme theme;
    struct route routes[ROUTES_MAX];
    size_t route_count;
    struct version versions[VERSIONS_MAX];
    unsigned newest, prefilters;
    struct router_scratch *scratch;
    struct arena arena;
};

static void append(char *text, size_t size, const char *more)
{
    size_t length = strlen(text);
    snprintf(text + length, size - length, "%s", more);
}

/* Few different bytes, so that patterns meet. */
static void choose_template(struct choices *choices, char *path, size_t size)
{
    static const char *const segments[] = { "a",  "b",   "ab",   "",     "*",     "*",     "a*",
                                            "*b", "a*b", "{%c}", "{%c}", "a{%c}", "{%c}b", "{%c}.ab" };
    unsigned count = 1 + choose(choices, 4);
    for (unsigned i = 0; i < count; i++) {
        const char *segment = CHOOSE(choices, segments), *sign = strchr(segment, '%');
        append(path, size, "/");
        if (!sign) {
            append(path, size, segment);
            continue;
        }
        char name[] = { (char)('p' + i), '\0' };
        char before[16] = "";
        memcpy(before, segment, (size_t)(sign - segment));
        append(path, size, before);
        append(path, size, name);
        append(path, size, sign + 2);
    }
}

static void choose_regex(struct choices *choices, char *path, size_t size)
{
    static const char *const begins[] = { ".*", "^.*", "[/]",  "(?:/a)*/",  "",     "/",
                                          "^/", "/a",  "^/a+", "/(?:a|b)/", "/ab?", "^\\/b" };
    static const char *const middles[] = {
        "a", "b+", "[ab]", "(?<g>a|b)", ".", "(?:ab)?", "a|b", "(?<g>[^/]+)/(?<h>.*)"
    };
    static const char *const ends[] = { "", "$", "/", ".*", "/.*$", ".*b", "{2}", "(?=b).*" };
    append(path, size, "~");
    append(path, size, CHOOSE(choices, begins));
    append(path, size, CHOOSE(choices, middles));
    append(path, size, CHOOSE(choices, ends));
}

static void choose_conditions(struct choices *choices, struct route_rule *rule, struct rule_text *text)
{
    static const char *const header_names[] = { "x-a", "X-B", "Accept" };
    static const char *const header_values[] = { "1", "1", "2", "*", "~^1", "" };
    static const char *const query_names[] = { "q", "r s" };
    static const char *const query_values[] = { "1", "a b", "", "*", "~1" };
    static const unsigned header_counts[] = { 0, 0, 0, 1, 1, 2, 3 }, query_counts[] = { 0, 0, 0, 1, 2 };
    rule->headers = text->headers;
    rule->header_count = CHOOSE(choices, header_counts);
    for (size_t i = 0; i < rule->header_count; i++) {
        text->headers[i].name = slice_from_cstring(CHOOSE(choices, header_names));
        text->headers[i].value = slice_from_cstring(CHOOSE(choices, header_values));
    }
    rule->query_parameters = text->query;
    rule->query_parameter_count = CHOOSE(choices, query_counts);
    for (size_t i = 0; i < rule->query_parameter_count; i++) {
        text->query[i].name = slice_from_cstring(CHOOSE(choices, query_names));
        text->query[i].value = slice_from_cstring(CHOOSE(choices, query_values));
    }
}

static struct route *choose_route(struct scenario *scenario)
{
    static const char *const hosts[] = { "b", "a.b", "c.a.b", "*.b", "*.a.b", "*.c.a.b" };
    static const unsigned host_counts[] = { 0, 0, 0, 1, 1, 2 }, method_counts[] = { 0, 0, 1, 2 };
    static const char *const methods[] = { "GET", "POST", "HEAD", "MKCOL", "PUT" };
    static const unsigned judged_counts[] = { 0, 0, 0, 0, 1, 2 };
    static const int32_t priorities[] = { 0, 0, 0, 0, 0, 0, 1, -1, 2, INT32_MIN, INT32_MAX };
    struct choices *choices = &scenario->choices;
    struct route *route = &scenario->routes[scenario->route_count];
    struct rule_text *text = &route->text;
    struct route_rule *rule = &route->reference.rule;
    *route = (struct route){ .reference.matcher = NULL };
    bool is_regex = choose(choices, 8) < (scenario->theme == THEME_REGEXES ? 7 : 2);
    if (is_regex)
        choose_regex(choices, text->path, sizeof text->path);
    else if (scenario->theme == THEME_CONDITIONS)
        append(text->path, sizeof text->path, "/a");
    else
        choose_template(choices, text->path, sizeof text->path);
    rule->path = slice_from_cstring(text->path);
    bool is_plain = scenario->theme == THEME_REGEXES || scenario->theme == THEME_PATHS;
    rule->hosts = text->hosts;
    rule->host_count = is_plain ? 0 : CHOOSE(choices, host_counts);
    for (size_t i = 0; i < rule->host_count; i++) text->hosts[i] = slice_from_cstring(CHOOSE(choices, hosts));
    rule->methods = text->methods;
    rule->method_count = CHOOSE(choices, method_counts);
    for (size_t i = 0; i < rule->method_count; i++) text->methods[i] = slice_from_cstring(CHOOSE(choices, methods));
    if (!is_plain) choose_conditions(choices, rule, text);
    rule->judged_count = CHOOSE(choices, judged_counts);
    rule->priority = CHOOSE(choices, priorities);
    /* Unique, and not in the order of adding. */
    rule->sequence = (uint64_t)choose(choices, 4) << 32 | scenario->route_count;
    struct error error = { .text = "" };
    route->reference.matcher = route_matcher_create(rule, route, &error);
    if (!route->reference.matcher) {
        if (rule->path.at[0] == '~') return NULL; /* some put together make no regex */
        fprintf(stderr, "%s: %s\n", text->path, error.text);
        abort();
    }
    scenario->route_count++;
    return route;
}

/* ---- Requests ---------------------------------------------------------------------------------------------------- */

static void choose_request(struct scenario *scenario, struct request_head *head, char *path, size_t size)
{
    static const char *const segments[] = { "a", "b", "ab", "", "ba", "abb", "a.ab", "x" };
    static const char *const hosts[] = { "a.b", "b", "c.a.b", "d.c.a.b", "", ".b", "xb" };
    static const char *const methods[] = { "GET", "HEAD", "POST", "PUT", "MKCOL", "LOCK", "OPTIONS" };
    static const char *const names[] = { "X-A", "x-b", "accept", "X-C" }, *const values[] = { "1", "2", "", "12" };
    static const char *const pairs[] = { "q=1",   "q=2", "q",  "r+s=a+b", "r%20s=1", "q=a%20b",
                                         "%71=1", "z",   "q=", "=",       "q=%zz" };
    struct choices *choices = &scenario->choices;
    request_head_init(head, &scenario->arena);
    unsigned count = scenario->theme == THEME_CONDITIONS ? 0 : 1 + choose(choices, 5);
    if (count == 0) append(path, size, "/a");
    for (unsigned i = 0; i < count; i++) {
        append(path, size, "/");
        append(path, size, CHOOSE(choices, segments));
    }
    head->target.path = slice_from_cstring(path);
    head->host = slice_from_cstring(CHOOSE(choices, hosts));
    head->method_text = slice_from_cstring(CHOOSE(choices, methods));
    head->method = method_find(head->method_text);
    for (unsigned i = choose(choices, 4); i > 0; i--) {
        const char *name = CHOOSE(choices, names), *value = CHOOSE(choices, values);
        if (!headers_add(&head->headers, slice_from_cstring(name), slice_from_cstring(value))) abort();
    }
    unsigned pair_count = choose(choices, 4);
    if (pair_count == 0) return;
    char *query = path + strlen(path) + 1;
    *query = '\0';
    for (unsigned i = 0; i < pair_count; i++) {
        if (i > 0) append(query, 64, "&");
        append(query, 64, CHOOSE(choices, pairs));
    }
    head->target.query = slice_from_cstring(query);
}

/* ---- Answers ----------------------------------------------------------------------------------------------------- */

static void describe(const struct reference_route *route)
{
    if (!route) {
        fprintf(stderr, "  nothing\n");
        return;
    }
    const struct route_rule *rule = &route->rule;
    fprintf(stderr, "  %.*s priority %d sequence %llx", SLICE_PRINT(rule->path), rule->priority,
            (unsigned long long)rule->sequence);
    for (size_t i = 0; i < rule->host_count; i++) fprintf(stderr, " host %.*s", SLICE_PRINT(rule->hosts[i]));
    for (size_t i = 0; i < rule->method_count; i++) fprintf(stderr, " %.*s", SLICE_PRINT(rule->methods[i]));
    for (size_t i = 0; i < rule->header_count; i++)
        fprintf(stderr, " %.*s: %.*s", SLICE_PRINT(rule->headers[i].name), SLICE_PRINT(rule->headers[i].value));
    for (size_t i = 0; i < rule->query_parameter_count; i++)
        fprintf(stderr, " ?%.*s=%.*s", SLICE_PRINT(rule->query_parameters[i].name),
                SLICE_PRINT(rule->query_parameters[i].value));
    fprintf(stderr, "\n");
}

static bool complain(const char *what, const struct request_head *head, const struct version *version,
                     const struct reference_route *expected, const struct reference_route *got)
{
    fprintf(stderr, "%s: %.*s %.*s %.*s ?%.*s\n", what, SLICE_PRINT(head->method_text), SLICE_PRINT(head->host),
            SLICE_PRINT(head->target.path), SLICE_PRINT(head->target.query));
    for (struct header *header = headers_next(&head->headers, NULL); header;
         header = headers_next(&head->headers, header))
        fprintf(stderr, "  %.*s: %.*s\n", SLICE_PRINT(header->name), SLICE_PRINT(header->value));
    fprintf(stderr, "expected\n");
    describe(expected);
    fprintf(stderr, "got\n");
    describe(got);
    fprintf(stderr, "of\n");
    for (size_t i = 0; i < version->count; i++) describe(version->routes[i]);
    return false;
}

static bool captures_equal(const struct route_captures *a, const struct route_captures *b)
{
    if (a->count != b->count) return false;
    for (unsigned i = 0; i < a->count; i++) {
        if (!slice_equal(route_captures_find(b, a->items[i].name), a->items[i].value)) return false;
    }
    return true;
}

/* `argument`: the path. What was captured is what the pattern captures. */
static bool judge(void *argument, void *target, const struct route_captures *captures)
{
    const struct route *route = target;
    for (unsigned i = 0; i < captures->count; i++) {
        if (!route_matcher_captures(route->reference.matcher, captures->items[i].name)) abort();
    }
    return reference_judges(&route->reference.rule, *(const struct slice *)argument);
}

struct first_match {
    void *target; /* NULL: none yet */
    size_t visited;
};

static void note_first(void *argument, void *target, enum route_refusal refusal)
{
    struct first_match *first = argument;
    first->visited++;
    if (refusal == ROUTE_MATCHES && !first->target) first->target = target;
}

static bool check(struct scenario *scenario, const struct version *version, const struct request_head *head)
{
    struct reference_answer expected;
    reference_match(version->routes, version->count, head, head->method, head->method_text, &expected);
    struct route_match match;
    struct slice path = head->target.path;
    const struct route_judge judges = { judge, &path };
    enum route_result result = router_match(version->router, scenario->scratch, head, head->method, head->method_text,
                                            &judges, &scenario->arena, &match);
    const struct route *route = match.target;
    const struct reference_route *got = route ? &route->reference : NULL;
    if (result != expected.result || got != expected.route)
        return complain("another route", head, version, expected.route, got);
    if (result == ROUTE_FOUND && !captures_equal(&match.captures, &expected.captures)) {
        return complain("other captures", head, version, expected.route, got);
    }
    if (result == ROUTE_METHOD_NOT_ALLOWED && match.allowed_methods != expected.allowed_methods) {
        return complain("other methods allowed", head, version, NULL, NULL);
    }
    struct first_match first = { .target = NULL };
    router_explain(version->router, scenario->scratch, head, head->method, head->method_text, &judges, note_first,
                   &first);
    route = first.target;
    got = route ? &route->reference : NULL;
    if (got != expected.route) return complain("explained otherwise", head, version, expected.route, got);
    if (first.visited != version->count || router_count(version->router) != version->count) {
        return complain("routes lost", head, version, NULL, NULL);
    }
    return true;
}

/* ---- Versions ---------------------------------------------------------------------------------------------------- */

/* The oldest version makes room for the new one. */
static struct version *next_version(struct scenario *scenario)
{
    const struct version *newest = &scenario->versions[scenario->newest];
    scenario->newest = (scenario->newest + 1) % VERSIONS_MAX;
    struct version *next = &scenario->versions[scenario->newest];
    router_destroy(next->router);
    memcpy(next->routes, newest->routes, sizeof next->routes);
    next->count = newest->count;
    return next;
}

/* Up to 8 routes added, up to 3 taken away. */
static void change_routes(struct scenario *scenario)
{
    const struct router *before = scenario->versions[scenario->newest].router;
    struct version *next = next_version(scenario);
    struct route_matcher *removed[3], *added[8];
    size_t removed_count = 0, added_count = 0;
    for (unsigned i = choose(&scenario->choices, 4); i > 0 && next->count > 0; i--) {
        size_t at = choose(&scenario->choices, (unsigned)next->count);
        removed[removed_count++] = next->routes[at]->matcher;
        next->routes[at] = next->routes[--next->count];
    }
    for (unsigned i = 1 + choose(&scenario->choices, 8); i > 0 && scenario->route_count < ROUTES_MAX; i--) {
        struct route *route = choose_route(scenario);
        if (!route) continue;
        added[added_count++] = route->reference.matcher;
        next->routes[next->count++] = &route->reference;
    }
    next->router = router_with(before, added, added_count, removed, removed_count);
}

/* Once or twice a run: building takes long. */
static void change_prefilter(struct scenario *scenario)
{
    const struct router *before = scenario->versions[scenario->newest].router;
    if (!router_wants_prefilter(before) || scenario->prefilters++ >= 2) return;
    struct router_prefilter_source *source = router_prefilter_source_create(before);
    struct error error;
    struct router_prefilter *prefilter = router_prefilter_build(source, &error);
    router_prefilter_source_destroy(source);
    if (!prefilter) abort();
    struct version *next = next_version(scenario);
    next->router = router_with_prefilter(before, prefilter);
    if (router_wants_prefilter(next->router)) abort();
}

static bool run_steps(struct scenario *scenario)
{
    scenario->versions[0].router = router_create();
    scenario->theme = (enum theme)choose(&scenario->choices, THEME_COUNT);
    while (scenario->choices.next < scenario->choices.end) {
        if (choose(&scenario->choices, 8) == 0)
            change_prefilter(scenario);
        else
            change_routes(scenario);
        for (unsigned i = 1 + choose(&scenario->choices, 12); i > 0; i--) {
            struct request_head head;
            char text[256] = "";
            choose_request(scenario, &head, text, 128);
            for (unsigned at = 0; at < VERSIONS_MAX; at++) {
                const struct version *version = &scenario->versions[at];
                if (version->router && !check(scenario, version, &head)) return false;
            }
            arena_release(&scenario->arena);
        }
    }
    return true;
}

bool scenario_run(const uint8_t *bytes, size_t size)
{
    struct scenario scenario = { .choices = { bytes, bytes + size }, .scratch = router_scratch_create() };
    if (!scenario.scratch) abort();
    arena_init(&scenario.arena, NULL);
    bool agrees = run_steps(&scenario);
    arena_release(&scenario.arena);
    for (unsigned i = 0; i < VERSIONS_MAX; i++) router_destroy(scenario.versions[i].router);
    for (size_t i = 0; i < scenario.route_count; i++) route_matcher_drop(scenario.routes[i].reference.matcher);
    router_scratch_destroy(scenario.scratch);
    return agrees;
}
