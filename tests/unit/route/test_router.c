/* What routes which request: each rule of the order and of the patterns by example. */
#include "unit_test.h"

#include "reference.h"

/* A route as the tests write it: fields that are NULL are not set. */
struct example {
    const char *name, *path, *hosts[3], *methods[4];
    struct {
        const char *name, *value;
    } headers[3], query[3];
    int priority;
    unsigned judged;
};

#define EXAMPLES_MAX 32

struct fixture {
    const struct route_judge *judge;
    struct router *router;
    struct router_scratch *scratch;
    struct arena arena;
    struct route_match match;
    enum route_result result;
};

static size_t count_slices(const char *const *texts, size_t limit, struct slice *into)
{
    size_t count = 0;
    while (count < limit && texts[count]) {
        into[count] = slice_from_cstring(texts[count]);
        count++;
    }
    return count;
}

static struct route_matcher *matcher_of(const struct example *example, uint64_t sequence)
{
    struct slice hosts[3], methods[4];
    struct route_condition headers[3], query[3];
    struct route_rule rule = { .path = slice_from_cstring(example->path),
                               .priority = example->priority,
                               .sequence = sequence,
                               .judged_count = example->judged };
    rule.hosts = hosts;
    rule.host_count = count_slices(example->hosts, 3, hosts);
    rule.methods = methods;
    rule.method_count = count_slices(example->methods, 4, methods);
    rule.headers = headers;
    rule.query_parameters = query;
    for (size_t i = 0; i < 3 && example->headers[i].name; i++, rule.header_count++) {
        headers[i].name = slice_from_cstring(example->headers[i].name);
        headers[i].value = slice_from_cstring(example->headers[i].value);
    }
    for (size_t i = 0; i < 3 && example->query[i].name; i++, rule.query_parameter_count++) {
        query[i].name = slice_from_cstring(example->query[i].name);
        query[i].value = slice_from_cstring(example->query[i].value);
    }
    struct error error = { .text = "" };
    struct route_matcher *matcher = route_matcher_create(&rule, (void *)example->name, &error);
    if (!matcher) fail_msg("%s: %s", example->path, error.text);
    return matcher;
}

/* Routes in the order of the list: the earlier is the older one. */
static void set_up(struct fixture *fixture, const struct example *examples, size_t count)
{
    struct route_matcher *matchers[EXAMPLES_MAX];
    for (size_t i = 0; i < count; i++) matchers[i] = matcher_of(&examples[i], i);
    struct router *empty = router_create();
    *fixture = (struct fixture){ .router = router_with(empty, matchers, count, NULL, 0),
                                 .scratch = router_scratch_create() };
    router_destroy(empty);
    for (size_t i = 0; i < count; i++) route_matcher_drop(matchers[i]);
    arena_init(&fixture->arena, NULL);
}

#define ROUTE(route_name, route_path, ...)                  \
    {                                                       \
        .name = route_name, .path = route_path, __VA_ARGS__ \
    }
#define SET_UP(fixture, ...)                           \
    const struct example examples[] = { __VA_ARGS__ }; \
    set_up(fixture, examples, COUNT_OF(examples))

static void tear_down(struct fixture *fixture)
{
    arena_release(&fixture->arena);
    router_scratch_destroy(fixture->scratch);
    router_destroy(fixture->router);
}

/* "METHOD host path?query [Name: value]...", host "-" for none. The name of the route that answers, "404" or "405". */
static const char *answer(struct fixture *fixture, const char *request)
{
    static char text[1024];
    snprintf(text, sizeof text, "%s", request);
    struct slice rest = slice_from_cstring(text), method, host, target, field;
    slice_next(&rest, ' ', &method);
    slice_next(&rest, ' ', &host);
    slice_next(&rest, ' ', &target);
    struct request_head head;
    request_head_init(&head, &fixture->arena);
    size_t question = slice_find_byte(target, '?');
    head.target.path = slice_before(target, question);
    head.target.query = question == SLICE_NOT_FOUND ? SLICE_ABSENT : slice_after(target, question + 1);
    head.host = slice_equal(host, SLICE("-")) ? SLICE_ABSENT : host;
    while (slice_next(&rest, ' ', &field)) {
        size_t equals = slice_find_byte(field, ':');
        assert_true(headers_add(&head.headers, slice_before(field, equals), slice_after(field, equals + 1)));
    }
    fixture->result = router_match(fixture->router, fixture->scratch, &head, method_find(method), method,
                                   fixture->judge, &fixture->arena, &fixture->match);
    if (fixture->result == ROUTE_NONE) return "404";
    if (fixture->result == ROUTE_METHOD_NOT_ALLOWED) return "405";
    return fixture->match.target;
}

static const char *capture(struct fixture *fixture, const char *name)
{
    struct slice value = route_captures_find(&fixture->match.captures, slice_from_cstring(name));
    if (slice_is_absent(value)) return "(none)";
    return arena_copy(&fixture->arena, value).at;
}

#define ANSWERS(fixture, request, name) assert_string_equal(answer(fixture, request), name)

/* ---- Patterns ---------------------------------------------------------------------------------------------------- */

static void a_literal_takes_its_own_path_and_no_other(void **state)
{
    struct fixture fixture;
    SET_UP(&fixture, ROUTE("users", "/users"), ROUTE("root", "/"), ROUTE("users-slash", "/users/x/"));
    ANSWERS(&fixture, "GET - /users", "users");
    ANSWERS(&fixture, "GET - /", "root");
    ANSWERS(&fixture, "GET - /users/", "404");
    ANSWERS(&fixture, "GET - /user", "404");
    ANSWERS(&fixture, "GET - /Users", "404");
    ANSWERS(&fixture, "GET - /users/x", "404");
    ANSWERS(&fixture, "GET - /users/x/", "users-slash");
    tear_down(&fixture);
}

static void a_name_takes_one_segment_that_is_not_empty(void **state)
{
    struct fixture fixture;
    SET_UP(&fixture, ROUTE("user", "/users/{id}"), ROUTE("posts", "/users/{id}/posts/{post}"));
    ANSWERS(&fixture, "GET - /users/7", "user");
    assert_string_equal(capture(&fixture, "id"), "7");
    ANSWERS(&fixture, "GET - /users/7/posts/a%2Fb", "posts");
    assert_string_equal(capture(&fixture, "id"), "7");
    assert_string_equal(capture(&fixture, "post"), "a%2Fb");
    ANSWERS(&fixture, "GET - /users/", "404");
    ANSWERS(&fixture, "GET - /users/7/", "404");
    ANSWERS(&fixture, "GET - /users//posts/1", "404");
    tear_down(&fixture);
}

static void a_name_may_share_its_segment_with_literals(void **state)
{
    struct fixture fixture;
    SET_UP(&fixture, ROUTE("any", "/f/{name}"), ROUTE("gz", "/f/{name}.gz"), ROUTE("tar", "/f/{name}.tar.gz"),
           ROUTE("v", "/f/v{n}"));
    ANSWERS(&fixture, "GET - /f/a.tar.gz", "tar");
    assert_string_equal(capture(&fixture, "name"), "a");
    ANSWERS(&fixture, "GET - /f/a.b.gz", "gz");
    assert_string_equal(capture(&fixture, "name"), "a.b");
    ANSWERS(&fixture, "GET - /f/.gz", "any");
    ANSWERS(&fixture, "GET - /f/v", "any");
    ANSWERS(&fixture, "GET - /f/v2.gz", "v");
    assert_string_equal(capture(&fixture, "n"), "2.gz");
    tear_down(&fixture);
}

static void a_star_at_the_end_takes_the_rest_even_if_it_is_empty(void **state)
{
    struct fixture fixture;
    SET_UP(&fixture, ROUTE("a", "/a/*"), ROUTE("x", "/x*"));
    ANSWERS(&fixture, "GET - /a/", "a");
    assert_string_equal(capture(&fixture, "*"), "");
    ANSWERS(&fixture, "GET - /a/b/c", "a");
    assert_string_equal(capture(&fixture, "*"), "b/c");
    ANSWERS(&fixture, "GET - /a", "404");
    ANSWERS(&fixture, "GET - /x", "x");
    ANSWERS(&fixture, "GET - /xyz/1", "x");
    tear_down(&fixture);
}

static void a_star_in_the_middle_crosses_slashes(void **state)
{
    struct fixture fixture;
    SET_UP(&fixture, ROUTE("edit", "/pages/*/edit"), ROUTE("two", "/a/*/b/*/{c}"));
    ANSWERS(&fixture, "GET - /pages/x/edit", "edit");
    ANSWERS(&fixture, "GET - /pages/x/edit/y/edit", "edit");
    assert_string_equal(capture(&fixture, "*"), "x/edit/y");
    ANSWERS(&fixture, "GET - /pages/edit", "404");
    ANSWERS(&fixture, "GET - /pages//edit", "edit");
    ANSWERS(&fixture, "GET - /a/1/b/2/b/3/4", "two");
    assert_string_equal(capture(&fixture, "*"), "2/b/3");
    assert_string_equal(capture(&fixture, "c"), "4");
    tear_down(&fixture);
}

static void a_regex_takes_the_whole_path(void **state)
{
    struct fixture fixture;
    SET_UP(&fixture, ROUTE("version", "~/v(?<n>[0-9]+)/(?<what>x)?[a-z]*"), ROUTE("image", "~.*\\.(?<type>png|gif)"),
           ROUTE("signs", "~^/s$"), ROUTE("either", "~/one|/two"), ROUTE("longer", "~/(?:l|lo|long)"));
    ANSWERS(&fixture, "GET - /v12/anything", "version");
    assert_string_equal(capture(&fixture, "n"), "12");
    assert_string_equal(capture(&fixture, "what"), "(none)");
    ANSWERS(&fixture, "GET - /a/v12/", "404");
    ANSWERS(&fixture, "GET - /v12/anything/else", "404");
    ANSWERS(&fixture, "GET - /deep/down.gif", "image");
    assert_string_equal(capture(&fixture, "type"), "gif");
    ANSWERS(&fixture, "GET - /down.gif/x", "404");
    ANSWERS(&fixture, "GET - /s", "signs");
    ANSWERS(&fixture, "GET - /s/s", "404");
    ANSWERS(&fixture, "GET - /one", "either");
    ANSWERS(&fixture, "GET - /two", "either");
    ANSWERS(&fixture, "GET - /one/two", "404");
    ANSWERS(&fixture, "GET - /long", "longer");
    tear_down(&fixture);
}

static void a_pattern_is_normalised_as_paths_are(void **state)
{
    struct fixture fixture;
    SET_UP(&fixture, ROUTE("tilde", "/%7euser"), ROUTE("slash", "/a%2fb"), ROUTE("umlaut", "/\xc3\xa4/{x}"),
           ROUTE("space", "/a b"), ROUTE("brace", "/%7b[a]"));
    ANSWERS(&fixture, "GET - /~user", "tilde");
    ANSWERS(&fixture, "GET - /a%2Fb", "slash");
    ANSWERS(&fixture, "GET - /%C3%A4/1", "umlaut");
    ANSWERS(&fixture, "GET - /a%20b", "space");
    ANSWERS(&fixture, "GET - /%7B%5Ba%5D", "brace");
    tear_down(&fixture);
}

/* Whatever a request target with these bytes becomes, the pattern with the same bytes becomes. */
static void every_byte_of_a_pattern_becomes_what_requests_carry(void **state)
{
    struct arena arena;
    arena_init(&arena, NULL);
    for (unsigned byte = 1; byte < 512; byte++) {
        char text[16];
        snprintf(text, sizeof text, byte < 256 ? "/a%c" : "/a%%%02x", byte % 256);
        if (byte < 256 && strchr("{}*?", (int)byte)) continue; /* signs of the pattern */
        struct target target;
        struct error error;
        bool carried = target_parse(slice_from_cstring(text), false, &arena, &target, &error);
        struct route_matcher *matcher = matcher_of_path(text, 0, &error);
        if (carried && !matcher) fail_msg("%s: %s", text, error.text);
        if (carried && matcher) assert_true(slice_equal(matcher->pieces[0].text, target.path));
        if (!carried && byte >= 256) assert_null(matcher);
        route_matcher_drop(matcher);
    }
    arena_release(&arena);
}

static void a_pattern_that_cannot_match_or_be_ranked_is_refused_with_the_place(void **state)
{
    static const struct {
        const char *path, *complaint;
    } refused[] = {
        { "", "byte 1: a path begins with '/'" },
        { "users", "byte 1: a path begins with '/'" },
        { "/a/{", "byte 4: '{' without '}'" },
        { "/a/{}", "byte 4: a name is missing" },
        { "/a/{1x}", "byte 5: a name in '{' '}'" },
        { "/a/x}", "byte 5: '}' without '{'" },
        { "/{a}{b}", "byte 5: a segment may hold one {name}" },
        { "/{a}*", "byte 5: a segment may hold one {name}" },
        { "/*{a}", "byte 3: a segment may hold one {name}" },
        { "/{a}/{a}", "byte 6: this {name} is used twice" },
        { "/a/../b", "a dot segment" },
        { "/a/%2e", "a dot segment" },
        { "/a%", "byte 3: '%' without two" },
        { "/a%4", "byte 3: '%' without two" },
        { "/%00", "byte 2: no request may carry" },
        { "/%5c", "byte 2: no request may carry" },
        { "/a\\b", "byte 3: no request may carry" },
        { "/a#b", "byte 3: no request may carry" },
        { "/a?b=1", "byte 3: a path has no query" },
        { "/%C3/", "invalid UTF-8" },
        { "/%FF", "invalid UTF-8" },
        { "/%ED%A0%80", "invalid UTF-8" },
        { "~", "empty regex" },
        { "~^/(a", "byte 5: missing closing parenthesis" },
        { "~users", "begins with '/': write ~/users or ~.*users" },
        { "~^users/[0-9]+$", "write ~/users/[0-9]+$ or" },
        { "~a|b", "write ~/(?:a|b) or ~.*(?:a|b)" },
        { "~[a-z]+", "write ~/[a-z]+" },
        { "~[^/]+", "write ~/[^/]+" },
        { "~(?i)users", "which begins with '/'" },
        { "~\\w+/x", "which begins with '/'" },
        { "~(?=u).*", "which begins with '/'" },
        { "~(?!/).*", "which begins with '/'" },
    };
    for (size_t i = 0; i < COUNT_OF(refused); i++) {
        struct error error = { .text = "" };
        struct route_matcher *matcher = matcher_of_path(refused[i].path, 0, &error);
        if (matcher) fail_msg("%s was taken", refused[i].path);
        if (!strstr(error.text, refused[i].complaint)) fail_msg("%s: %s", refused[i].path, error.text);
    }
}

/* One of them lost would be worse than one that never matches kept. */
static void a_regex_that_may_begin_with_a_slash_is_taken(void **state)
{
    static const char *const taken[] = {
        "~.*\\.php", "~(?i)/x",  "~^/x",      "~(/a|/b)",  "~\\/x",           "~.+",          "~[/x].*",
        "~[^a-z]x",  "~\\x2fx",  "~\\Q/x\\E", "~users|/x", "~u?/x",           "~u*/x",        "~(?:u|v)?/x",
        "~(?=/u).*", "~(?!u).*", "~(?<x>/u)", "~\\W.*",    "~(?#u)/x",        "~(?x) / x",    "~^(?:users|/x)$",
        "~/",        "~/?",      "~(?<!u)/x", "~\\b/x|/y", "~(u)?(?(1)x|/x)", "~(*COMMIT)/x", "~(?>u|/)x",
        "~\\A/x\\z",
    };
    for (size_t i = 0; i < COUNT_OF(taken); i++) {
        struct error error = { .text = "" };
        struct route_matcher *matcher = matcher_of_path(taken[i], 0, &error);
        if (!matcher) fail_msg("%s: %s", taken[i], error.text);
        route_matcher_drop(matcher);
    }
}

static void the_literal_prefix_of_a_regex_is_what_every_match_begins_with(void **state)
{
    static const struct {
        const char *regex, *prefix;
    } rows[] = {
        { "^/api/v[0-9]", "/api/v" },
        { "^/a\\.b\\/c$", "/a.b/c" },
        { "/api/", "/api/" },
        { "/api/v[0-9]", "/api/v" },
        { ".*/api", "" },
        { "^^/a", "" },
        { "^/ab*", "/a" },
        { "/ab*", "/a" },
        { "^/ab?c", "/a" },
        { "^/ab{0,2}", "/a" },
        { "^/ab+c", "/ab" },
        { "^/ab\\E*c", "/a" },
        { "^/a(?:b|c)", "/a" },
        { "^/a[|]b", "/a" },
        { "^/a|b", "" },
        { "/a|b", "" },
        { "^/a[]|]b|c", "" },
        { "^/a\\Q(\\E|b", "" },
        { "^/a(?#()|b", "" },
        { "^/a[[:alpha:](]|b", "" },
        { "^/a\\x62", "/a" },
        { "(?i)^/a", "" },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char bytes[REGEX_PREFIX_MAX];
        struct slice prefix = regex_literal_prefix(slice_from_cstring(rows[i].regex), bytes);
        assert_slice_is(prefix, rows[i].prefix);
    }
}

/* ---- The order, rule by rule ------------------------------------------------------------------------------------- */

static void rule_1_the_higher_priority_wins_over_everything_else(void **state)
{
    struct fixture fixture;
    SET_UP(&fixture, ROUTE("exact", "/a/b", .hosts = { "h" }, .methods = { "GET" }), ROUTE("star", "/*", .priority = 1),
           ROUTE("regex", "~.*b", .priority = 2), ROUTE("low", "/a/c", .priority = -1));
    ANSWERS(&fixture, "GET h /a/b", "regex");
    ANSWERS(&fixture, "GET h /a/c", "star");
    tear_down(&fixture);
}

static void rule_2_an_exact_host_then_the_longer_suffix_then_none(void **state)
{
    struct fixture fixture;
    SET_UP(&fixture, ROUTE("none", "/a/b"), ROUTE("com", "/*", .hosts = { "*.com" }),
           ROUTE("suffix", "/*", .hosts = { "*.x.com" }), ROUTE("exact", "/*", .hosts = { "api.x.com" }));
    ANSWERS(&fixture, "GET api.x.com /a/b", "exact");
    ANSWERS(&fixture, "GET b.x.com /a/b", "suffix");
    ANSWERS(&fixture, "GET c.b.x.com /a/b", "suffix");
    ANSWERS(&fixture, "GET x.com /a/b", "com");
    ANSWERS(&fixture, "GET ax.com /a/b", "com");
    ANSWERS(&fixture, "GET com /a/b", "none");
    ANSWERS(&fixture, "GET .com /a/b", "none");
    ANSWERS(&fixture, "GET - /a/b", "none");
    ANSWERS(&fixture, "GET - /c", "404");
    tear_down(&fixture);
}

static void rule_2_a_route_of_several_hosts_ranks_by_the_one_that_fits(void **state)
{
    struct fixture fixture;
    SET_UP(&fixture, ROUTE("list", "/*", .hosts = { "a.x.com", "*.com" }),
           ROUTE("suffix", "/*", .hosts = { "*.x.com" }));
    ANSWERS(&fixture, "GET a.x.com /", "list");
    ANSWERS(&fixture, "GET b.x.com /", "suffix");
    ANSWERS(&fixture, "GET b.com /", "list");
    tear_down(&fixture);
}

static void rule_3_segment_by_segment_literal_name_star_regex(void **state)
{
    struct fixture fixture;
    SET_UP(&fixture, ROUTE("regex", "~/a/b.*"), ROUTE("star", "/a/*"), ROUTE("name", "/a/{x}"),
           ROUTE("literal", "/a/b"), ROUTE("early-name", "/{x}/b/c"), ROUTE("late-name", "/a/{x}/c"),
           ROUTE("middle", "/a/*/c/d"), ROUTE("short-regex", "~/a.*"));
    ANSWERS(&fixture, "GET - /a/b", "literal");
    ANSWERS(&fixture, "GET - /a/c", "name");
    ANSWERS(&fixture, "GET - /a/", "star");
    ANSWERS(&fixture, "GET - /a/b/c", "regex"); /* "/a/b" reaches further than "/a/" */
    ANSWERS(&fixture, "GET - /a/q/c", "late-name");
    ANSWERS(&fixture, "GET - /q/b/c", "early-name");
    ANSWERS(&fixture, "GET - /a/q/c/d", "middle");
    ANSWERS(&fixture, "GET - /ab", "short-regex");
    tear_down(&fixture);
}

/* The table in docs/routing.md: of two routes, the one written first here goes first, whichever is older. */
static void rule_3_holds_in_the_examples_of_the_documentation(void **state)
{
    static const char *const rows[][3] = {
        { "/a/b", "/a/b", "/a/{x}" },
        { "/a/b", "/a/{x}", "/a/*" },
        { "/a/b/c", "/a/{x}/c", "/a/*" },
        { "/a/b/c", "/a/{x}/c", "/{x}/b/c" },
        { "/a/b/c", "/a/b*", "/a/{x}/c" },
        { "/a/q/b", "/a/*/b", "/a/*" },
        { "/a", "/a", "/a*" },
        { "/f/x.tar.gz", "/f/{n}.tar.gz", "/f/{n}.gz" },
        { "/f/x.tar.gz", "/f/{n}.gz", "/f/{n}" },
        { "/a/b", "/a/*", "~/a/[a-z]+" },
        { "/a/b", "~/a/b", "/a/*" },
        { "/a/b", "/*", "~.*b" },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        for (unsigned first = 0; first < 2; first++) {
            struct fixture fixture;
            char request[64];
            SET_UP(&fixture, ROUTE(first == 0 ? "right" : "wrong", rows[i][1 + first]),
                   ROUTE(first == 0 ? "wrong" : "right", rows[i][2 - first]));
            snprintf(request, sizeof request, "GET - %s", rows[i][0]);
            ANSWERS(&fixture, request, "right");
            tear_down(&fixture);
        }
    }
}

static void rule_3_a_regex_stands_behind_a_template_that_shares_its_prefix(void **state)
{
    struct fixture fixture;
    SET_UP(&fixture, ROUTE("anywhere", "~.*x"), ROUTE("prefix", "~/a/[a-z]+"), ROUTE("star", "/a/*"),
           ROUTE("root", "/*"));
    ANSWERS(&fixture, "GET - /a/x", "star");
    ANSWERS(&fixture, "GET - /x", "root");
    tear_down(&fixture);
}

static void rule_4_a_route_with_methods_goes_before_one_without(void **state)
{
    struct fixture fixture;
    SET_UP(&fixture, ROUTE("all", "/a", .headers = { { "X-A", "1" } }), ROUTE("get", "/a", .methods = { "GET" }));
    ANSWERS(&fixture, "GET - /a X-A:1", "get");
    ANSWERS(&fixture, "POST - /a X-A:1", "all");
    ANSWERS(&fixture, "POST - /a", "405");
    tear_down(&fixture);
}

static void rule_5_more_headers_then_more_query_parameters(void **state)
{
    struct fixture fixture;
    SET_UP(&fixture, ROUTE("plain", "/a"), ROUTE("two-queries", "/a", .query = { { "q", "1" }, { "r", "*" } }),
           ROUTE("one-query", "/a", .query = { { "q", "1" } }),
           ROUTE("one-header", "/a", .headers = { { "X-A", "*" } }),
           ROUTE("two-headers", "/a", .headers = { { "X-A", "1" }, { "X-B", "~^[0-9]$" } }));
    ANSWERS(&fixture, "GET - /a", "plain");
    ANSWERS(&fixture, "GET - /a?q=1", "one-query");
    ANSWERS(&fixture, "GET - /a?q=1&r", "two-queries");
    ANSWERS(&fixture, "GET - /a?q=1&r x-a:", "one-header");
    ANSWERS(&fixture, "GET - /a?q=1&r x-a:1 x-b:9", "two-headers");
    ANSWERS(&fixture, "GET - /a?q=1&r x-a:1 x-b:99", "one-header");
    tear_down(&fixture);
}

/* Says yes to routes that capture what it is told, or to those whose name it is; counts. */
struct judge_of_tests {
    const char *name, *captured;
    unsigned asked;
};

static bool holds(void *argument, void *target, const struct route_captures *captures)
{
    struct judge_of_tests *judge = argument;
    judge->asked++;
    if (judge->captured)
        return slice_equal(route_captures_find(captures, SLICE("id")), slice_from_cstring(judge->captured));
    return strcmp(target, judge->name) == 0;
}

static void the_next_route_is_tried_where_the_judge_says_no(void **state)
{
    struct fixture fixture;
    struct judge_of_tests judge = { .name = "second" };
    SET_UP(&fixture, ROUTE("first", "/a/{id}", .judged = 2), ROUTE("second", "/a/{id}", .judged = 1),
           ROUTE("plain", "/a/{id}"), ROUTE("regex", "~/a/(?<id>.*)/c", .judged = 1, .priority = 1));
    fixture.judge = &(const struct route_judge){ holds, &judge };
    ANSWERS(&fixture, "GET - /a/b", "second");
    assert_int_equal(judge.asked, 2);
    assert_string_equal(capture(&fixture, "id"), "b");
    judge.name = "nobody";
    ANSWERS(&fixture, "GET - /a/b", "plain");
    judge.captured = "x";
    ANSWERS(&fixture, "GET - /a/x", "first");
    ANSWERS(&fixture, "GET - /a/b", "plain");
    judge.captured = "b/b";
    ANSWERS(&fixture, "GET - /a/b/b/c", "regex");
    assert_string_equal(capture(&fixture, "id"), "b/b");
    ANSWERS(&fixture, "GET - /a/b/c", "404");
    fixture.judge = NULL;
    ANSWERS(&fixture, "GET - /a/b", "first");
    tear_down(&fixture);
}

static void rule_5_more_judged_conditions_behind_more_query_parameters(void **state)
{
    struct fixture fixture;
    SET_UP(&fixture, ROUTE("none", "/a"), ROUTE("one", "/a", .judged = 1), ROUTE("nine", "/a", .judged = 9),
           ROUTE("query", "/a", .query = { { "q", "1" } }));
    ANSWERS(&fixture, "GET - /a?q=1", "query");
    ANSWERS(&fixture, "GET - /a", "nine");
    tear_down(&fixture);
}

static void a_405_names_no_route_whose_judge_says_no(void **state)
{
    struct fixture fixture;
    struct judge_of_tests judge = { .name = "yes" };
    SET_UP(&fixture, ROUTE("yes", "/a", .methods = { "PUT" }, .judged = 1),
           ROUTE("no", "/a", .methods = { "POST" }, .judged = 1),
           ROUTE("neither", "/b", .methods = { "POST" }, .judged = 1));
    fixture.judge = &(const struct route_judge){ holds, &judge };
    ANSWERS(&fixture, "GET - /a", "405");
    assert_slice_is(fixture.match.allow, "PUT");
    ANSWERS(&fixture, "GET - /b", "404");
    tear_down(&fixture);
}

static void rule_6_the_older_route_wins(void **state)
{
    struct fixture fixture;
    SET_UP(&fixture, ROUTE("older", "/a/{x}"), ROUTE("newer", "/a/{y}"));
    ANSWERS(&fixture, "GET - /a/1", "older");
    assert_string_equal(capture(&fixture, "x"), "1");
    tear_down(&fixture);
}

/* ---- Methods ----------------------------------------------------------------------------------------------------- */

static void get_serves_head_and_allow_says_so(void **state)
{
    struct fixture fixture;
    SET_UP(&fixture, ROUTE("read", "/a", .methods = { "GET" }),
           ROUTE("write", "/a", .methods = { "POST", "PROPFIND" }, .priority = 5));
    ANSWERS(&fixture, "HEAD - /a", "read");
    ANSWERS(&fixture, "PROPFIND - /a", "write");
    ANSWERS(&fixture, "MKCOL - /a", "405");
    ANSWERS(&fixture, "OPTIONS - /a", "405");
    assert_string_equal(arena_copy(&fixture.arena, fixture.match.allow).at, "GET, HEAD, POST, PROPFIND");
    tear_down(&fixture);
}

static void a_method_is_refused_only_if_no_route_of_any_priority_takes_it(void **state)
{
    struct fixture fixture;
    SET_UP(&fixture, ROUTE("get", "/a/b", .methods = { "GET" }, .priority = 9),
           ROUTE("star", "/a/*", .methods = { "POST" }, .priority = -9),
           ROUTE("other-host", "/a/b", .hosts = { "h" }, .methods = { "PUT" }),
           ROUTE("header", "/a/b", .methods = { "DELETE" }, .headers = { { "X-A", "1" } }),
           ROUTE("regex", "~.*b", .methods = { "PATCH" }));
    ANSWERS(&fixture, "POST - /a/b", "star");
    ANSWERS(&fixture, "PUT - /a/b", "405");
    assert_string_equal(arena_copy(&fixture.arena, fixture.match.allow).at, "GET, HEAD, POST, PATCH");
    ANSWERS(&fixture, "TRACE h /a/b X-A:1", "405");
    assert_string_equal(arena_copy(&fixture.arena, fixture.match.allow).at, "GET, HEAD, POST, PUT, DELETE, PATCH");
    ANSWERS(&fixture, "GET - /b", "405");
    ANSWERS(&fixture, "GET - /c", "404");
    tear_down(&fixture);
}

/* ---- Conditions -------------------------------------------------------------------------------------------------- */

static void a_condition_looks_at_every_field_of_its_name(void **state)
{
    struct fixture fixture;
    SET_UP(&fixture, ROUTE("v2", "/a", .headers = { { "X-Version", "2" } }),
           ROUTE("json", "/a", .headers = { { "accept", "~json" } }));
    ANSWERS(&fixture, "GET - /a X-VERSION:1 x-version:2", "v2");
    ANSWERS(&fixture, "GET - /a X-VERSION:1,2", "404");
    ANSWERS(&fixture, "GET - /a Accept:application/json", "json");
    ANSWERS(&fixture, "GET - /a Accept:text/html", "404");
    tear_down(&fixture);
}

/* A query's value is decoded, so it may end with a line break; PCRE2 alone would take that for the end. */
static void a_dollar_is_the_end_and_nothing_before_it(void **state)
{
    struct fixture fixture;
    SET_UP(&fixture, ROUTE("number", "/a", .query = { { "v", "~^v[0-9]+$" } }),
           ROUTE("lines", "/b", .query = { { "v", "~(?m)^v[0-9]+$" } }));
    ANSWERS(&fixture, "GET - /a?v=v1", "number");
    ANSWERS(&fixture, "GET - /a?v=v1%0a", "404");
    ANSWERS(&fixture, "GET - /a?v=v1%0d%0a", "404");
    ANSWERS(&fixture, "GET - /b?v=v1%0ax", "lines");
    tear_down(&fixture);
}

static void a_query_parameter_is_compared_decoded(void **state)
{
    struct fixture fixture;
    SET_UP(&fixture, ROUTE("x", "/a", .query = { { "q", "a b" } }), ROUTE("empty", "/a", .query = { { "e", "" } }));
    ANSWERS(&fixture, "GET - /a?q=a+b", "x");
    ANSWERS(&fixture, "GET - /a?z&%71=1&q=a%20b", "x");
    ANSWERS(&fixture, "GET - /a?q=a%2Bb", "404");
    ANSWERS(&fixture, "GET - /a?e", "empty");
    ANSWERS(&fixture, "GET - /a?e=%", "404");
    ANSWERS(&fixture, "GET - /a?qq=a+b", "404");
    tear_down(&fixture);
}

/* ---- Strip, limits, explain -------------------------------------------------------------------------------------- */

static void strip_prefix_removes_what_stands_before_the_first_wildcards_slash(void **state)
{
    static const struct {
        const char *pattern, *path, *rest;
    } rows[] = {
        { "/api/v1/users/*", "/api/v1/users/7", "/7" },
        { "/api/v1/users/*", "/api/v1/users/", "/" },
        { "/api/{version}/x", "/api/v1/x", "/v1/x" },
        { "/api/x*", "/api/xyz", "/xyz" },
        { "/*", "/a", "/a" },
        { "/api/users", "/api/users", "/api/users" },
        { "~/api/(?<x>.*)", "/api/users", "/api/users" },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct error error;
        struct route_matcher *matcher = matcher_of_path(rows[i].pattern, 0, &error);
        size_t length = route_matcher_strip_length(matcher, slice_from_cstring(rows[i].path));
        assert_string_equal(rows[i].path + length, rows[i].rest);
        route_matcher_drop(matcher);
    }
}

static void a_matcher_knows_what_it_captures(void **state)
{
    struct error error;
    struct route_matcher *matcher = matcher_of_path("/{id}/*", 0, &error);
    assert_true(route_matcher_captures(matcher, SLICE("id")));
    assert_true(route_matcher_captures(matcher, SLICE("*")));
    assert_false(route_matcher_captures(matcher, SLICE("i")));
    route_matcher_drop(matcher);
    matcher = matcher_of_path("~/(?<year>[0-9]+)", 0, &error);
    assert_true(route_matcher_captures(matcher, SLICE("year")));
    assert_false(route_matcher_captures(matcher, SLICE("*")));
    route_matcher_drop(matcher);
}

static void a_catastrophic_regex_is_bounded_and_does_not_match(void **state)
{
    struct fixture fixture;
    SET_UP(&fixture, ROUTE("evil", "~/(a+)+b"), ROUTE("other", "~/.*"));
    ANSWERS(&fixture, "GET - /aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaac/b", "other");
    assert_true(fixture.match.regex_limit_hit);
    ANSWERS(&fixture, "GET - /aab", "evil");
    assert_false(fixture.match.regex_limit_hit);
    tear_down(&fixture);
}

static void a_regex_is_not_tried_on_what_is_too_long(void **state)
{
    struct fixture fixture;
    SET_UP(&fixture, ROUTE("regex", "~/a+"), ROUTE("star", "/b*"));
    static char path[REGEX_SUBJECT_BYTES_MAX + 1];
    memset(path, 'a', sizeof path);
    path[0] = '/';
    struct request_head head;
    request_head_init(&head, &fixture.arena);
    for (unsigned excess = 0; excess < 2; excess++) {
        head.target.path = slice_of(path, REGEX_SUBJECT_BYTES_MAX + excess);
        enum route_result result = router_match(fixture.router, fixture.scratch, &head, METHOD_GET, SLICE("GET"), NULL,
                                                &fixture.arena, &fixture.match);
        assert_int_equal(result, excess ? ROUTE_NONE : ROUTE_FOUND);
        assert_int_equal(fixture.match.regex_limit_hit, excess);
    }
    tear_down(&fixture);
}

static void note(void *argument, void *target, enum route_refusal refusal)
{
    static const char *const words[] = { "takes", "host", "path", "method", "header", "query", "judged" };
    char *text = argument;
    size_t length = strlen(text);
    snprintf(text + length, 256 - length, "%s %s; ", (const char *)target, words[refusal]);
}

static void explain_goes_through_all_routes_in_order(void **state)
{
    struct fixture fixture;
    SET_UP(&fixture, ROUTE("star", "/*"), ROUTE("post", "/a", .methods = { "POST" }),
           ROUTE("host", "/a", .hosts = { "h", "i" }), ROUTE("header", "/a", .headers = { { "X", "1" } }),
           ROUTE("query", "/a", .query = { { "X", "1" } }), ROUTE("path", "/b"), ROUTE("exact", "/a"));
    struct request_head head;
    request_head_init(&head, &fixture.arena);
    head.target.path = SLICE("/a");
    head.host = SLICE("j");
    char text[256] = "";
    router_explain(fixture.router, fixture.scratch, &head, METHOD_GET, SLICE("GET"), NULL, note, text);
    assert_string_equal(text,
                        "post method; header header; query query; exact takes; path path; star takes; host host; ");
    tear_down(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_literal_takes_its_own_path_and_no_other),
        cmocka_unit_test(a_name_takes_one_segment_that_is_not_empty),
        cmocka_unit_test(a_name_may_share_its_segment_with_literals),
        cmocka_unit_test(a_star_at_the_end_takes_the_rest_even_if_it_is_empty),
        cmocka_unit_test(a_star_in_the_middle_crosses_slashes),
        cmocka_unit_test(a_regex_takes_the_whole_path),
        cmocka_unit_test(a_pattern_is_normalised_as_paths_are),
        cmocka_unit_test(every_byte_of_a_pattern_becomes_what_requests_carry),
        cmocka_unit_test(a_pattern_that_cannot_match_or_be_ranked_is_refused_with_the_place),
        cmocka_unit_test(a_regex_that_may_begin_with_a_slash_is_taken),
        cmocka_unit_test(the_literal_prefix_of_a_regex_is_what_every_match_begins_with),
        cmocka_unit_test(rule_1_the_higher_priority_wins_over_everything_else),
        cmocka_unit_test(rule_2_an_exact_host_then_the_longer_suffix_then_none),
        cmocka_unit_test(rule_2_a_route_of_several_hosts_ranks_by_the_one_that_fits),
        cmocka_unit_test(rule_3_segment_by_segment_literal_name_star_regex),
        cmocka_unit_test(rule_3_holds_in_the_examples_of_the_documentation),
        cmocka_unit_test(rule_3_a_regex_stands_behind_a_template_that_shares_its_prefix),
        cmocka_unit_test(rule_4_a_route_with_methods_goes_before_one_without),
        cmocka_unit_test(rule_5_more_headers_then_more_query_parameters),
        cmocka_unit_test(the_next_route_is_tried_where_the_judge_says_no),
        cmocka_unit_test(rule_5_more_judged_conditions_behind_more_query_parameters),
        cmocka_unit_test(a_405_names_no_route_whose_judge_says_no),
        cmocka_unit_test(rule_6_the_older_route_wins),
        cmocka_unit_test(get_serves_head_and_allow_says_so),
        cmocka_unit_test(a_method_is_refused_only_if_no_route_of_any_priority_takes_it),
        cmocka_unit_test(a_condition_looks_at_every_field_of_its_name),
        cmocka_unit_test(a_dollar_is_the_end_and_nothing_before_it),
        cmocka_unit_test(a_query_parameter_is_compared_decoded),
        cmocka_unit_test(strip_prefix_removes_what_stands_before_the_first_wildcards_slash),
        cmocka_unit_test(a_matcher_knows_what_it_captures),
        cmocka_unit_test(a_catastrophic_regex_is_bounded_and_does_not_match),
        cmocka_unit_test(a_regex_is_not_tried_on_what_is_too_long),
        cmocka_unit_test(explain_goes_through_all_routes_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
