/* Paths, queries, entity tags: what a request line and its fields mean. */
#include "unit_test.h"

#include "admin/private.h"

static const struct admin_endpoint *find(struct arena *arena, const char *path, enum method method,
                                         struct admin_place *place, struct slice *allow)
{
    return admin_endpoint_find(arena, slice_from_cstring(path), method, place, allow);
}

static void every_endpoint_is_found_by_its_own_path(void **state)
{
    for (size_t i = 0; i < admin_endpoint_count; i++) {
        struct arena arena;
        struct admin_place place;
        struct slice allow;
        char path[128];
        size_t length = 0;
        arena_init(&arena, NULL);
        for (const char *at = admin_endpoints[i].path; *at; at++) { /* {kind} is services, any other variable is 7 */
            bool is_kind = slice_starts_with(slice_from_cstring(at), SLICE("{kind}"));
            struct slice word = *at != '{' ? slice_of(at, 1) : is_kind ? SLICE("services") : SLICE("7");
            memcpy(path + length, word.at, word.length);
            length += word.length;
            if (*at == '{') at = strchr(at, '}');
        }
        path[length] = '\0';
        assert_ptr_equal(find(&arena, path, admin_endpoints[i].method, &place, &allow), &admin_endpoints[i]);
        bool has_variable = strchr(admin_endpoints[i].path, '{') && strstr(admin_endpoints[i].path, "}/") != NULL;
        if (has_variable) assert_slice_is(place.target, "7");
        if (strstr(path, "services")) assert_string_equal(place.type->path, "services");
        if (strstr(path, "stats")) assert_string_equal(place.type->path, "routes");
        if (strstr(path, "rotate")) assert_string_equal(place.type->path, "api-keys");
        arena_release(&arena);
    }
}

static void what_is_no_path_is_none(void **state)
{
    const char *const paths[] = { "/",
                                  "/admin/",
                                  "/admin/routes/",
                                  "/admin/route",
                                  "/admin/routes/a/b",
                                  "/admin//routes",
                                  "/admin/services/a/stats",
                                  "/admin/routes/a/rotate",
                                  "/Admin/routes",
                                  "/live/",
                                  "/admin/config/x",
                                  "/admin/revisions/1/undo",
                                  "/admin/routes/%00",
                                  "*" };
    for (size_t i = 0; i < COUNT_OF(paths); i++) {
        struct arena arena;
        struct admin_place place;
        struct slice allow;
        arena_init(&arena, NULL);
        if (find(&arena, paths[i], METHOD_GET, &place, &allow) || !slice_is_absent(allow)) fail_msg("%s", paths[i]);
        arena_release(&arena);
    }
}

static void a_path_says_what_it_takes(void **state)
{
    struct arena arena;
    struct admin_place place;
    struct slice allow;
    arena_init(&arena, NULL);
    assert_null(find(&arena, "/admin/routes/a", METHOD_POST, &place, &allow));
    assert_slice_is(allow, "GET, HEAD, PUT, PATCH, DELETE");
    assert_null(find(&arena, "/admin/routes", METHOD_DELETE, &place, &allow));
    assert_slice_is(allow, "GET, HEAD, POST");
    assert_null(find(&arena, "/admin/config", METHOD_OTHER, &place, &allow));
    assert_slice_is(allow, "GET, HEAD, PUT");
    assert_string_equal(find(&arena, "/admin/health", METHOD_HEAD, &place, &allow)->path, "/admin/health");
    arena_release(&arena);
}

static void a_name_in_a_path_is_decoded(void **state)
{
    struct arena arena;
    struct admin_place place;
    struct slice allow;
    arena_init(&arena, NULL);
    assert_non_null(find(&arena, "/admin/routes/a%2Fb%20%C3%A9", METHOD_GET, &place, &allow));
    assert_slice_is(place.target, "a/b \xc3\xa9");
    assert_non_null(find(&arena, "/admin/rate_limits", METHOD_GET, &place, &allow)); /* '_' reads as '-' */
    assert_string_equal(place.type->path, "rate-limits");
    arena_release(&arena);
}

static void check_query(const char *query, const char *allowed, const char *problem)
{
    struct arena arena;
    struct admin_query read;
    arena_init(&arena, NULL);
    admin_query_read(&arena, slice_from_cstring(query), allowed, &read);
    if (!problem && !slice_is_absent(read.problem)) fail_msg("%s: %s", query, read.problem.at);
    if (problem && (slice_is_absent(read.problem) || !strstr(read.problem.at, problem)))
        fail_msg("%s: %s", query, read.problem.at ? read.problem.at : "no problem");
    arena_release(&arena);
}

static void queries_are_known_and_mean_something(void **state)
{
    check_query("limit=1&cursor=a.b", "limit cursor", NULL);
    check_query("limit=1&cursor=", "limit cursor", NULL);
    check_query("cursor", "cursor", "needs a value");
    check_query("limit=1000&", "limit", NULL);
    check_query("limit=0", "limit", "from 1 to 1000");
    check_query("limit=1001", "limit", "from 1 to 1000");
    check_query("limit=-1", "limit", "not \"-1\"");
    check_query("limit=99999999999999999999", "limit", "from 1 to 1000");
    check_query("limit", "limit", "needs a value");
    check_query("tag=", "tag", "needs a value");
    check_query("tag=a&tag=b", "tag", "given twice");
    check_query("servceId=a", "limit serviceId", "there are: limit serviceId");
    check_query("x=1", "", "takes no query");
    check_query("cascade=yes", "cascade", "true or false");
    check_query("tag=%", "tag", "needs a value");
    check_query("tag=%00", "tag", "needs a value");
    check_query("tag=%C3%A9", "tag", NULL);
    check_query("tag=%C3", "tag", "must be UTF-8");
    check_query("comment=a%FF", "comment", "must be UTF-8");
    check_query("clientId=%ED%A0%80", "clientId", "must be UTF-8");
}

static void values_are_decoded(void **state)
{
    struct arena arena;
    struct admin_query query;
    arena_init(&arena, NULL);
    admin_query_read(&arena, SLICE("comment=a+b%26c&enabled=false&cascade=true"), "comment enabled cascade", &query);
    assert_slice_is(query.comment, "a b&c");
    assert_int_equal(query.enabled, 0);
    assert_true(query.cascade);
    assert_int_equal(query.limit, 100);
    arena_release(&arena);
}

static void entity_tags_are_compared_as_the_field_asks(void **state)
{
    assert_true(admin_etag_list_has(SLICE("\"a\""), SLICE("a"), false));
    assert_true(admin_etag_list_has(SLICE("\"b\", \"a\""), SLICE("a"), false));
    assert_true(admin_etag_list_has(SLICE("*"), SLICE("a"), false));
    assert_true(admin_etag_list_has(SLICE("a"), SLICE("a"), false)); /* quotes forgotten */
    assert_false(admin_etag_list_has(SLICE("W/\"a\""), SLICE("a"), false));
    assert_true(admin_etag_list_has(SLICE("W/\"a\""), SLICE("a"), true));
    assert_false(admin_etag_list_has(SLICE("\"ab\""), SLICE("a"), true));
    assert_false(admin_etag_list_has(SLICE("\"a"), SLICE("a"), true));
    static const struct {
        const char *list, *strong;
    } lists[] = {
        { "W/\"x\", \"y\"", "y" }, { "\"x\",\"y\"", "x,y" }, { "W/\"x\"", "" }, { "", "" }, { "\"x\", *", "*" }
    };
    for (size_t i = 0; i < COUNT_OF(lists); i++) {
        char *strong = admin_etag_list(slice_from_cstring(lists[i].list), false);
        assert_string_equal(strong, lists[i].strong);
        free(strong);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_endpoint_is_found_by_its_own_path),
        cmocka_unit_test(what_is_no_path_is_none),
        cmocka_unit_test(a_path_says_what_it_takes),
        cmocka_unit_test(a_name_in_a_path_is_decoded),
        cmocka_unit_test(queries_are_known_and_mean_something),
        cmocka_unit_test(values_are_decoded),
        cmocka_unit_test(entity_tags_are_compared_as_the_field_asks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
