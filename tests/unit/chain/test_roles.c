/* Roles: who has one, and what its permissions allow. */
#include "unit_test.h"

#include "base/memory.h"
#include "chain/roles.h"

static struct slice texts[64];
static size_t text_count;

/* "a b" as a list, in the array above. */
static struct slice_list list_of(const char *words)
{
    struct slice rest = slice_from_cstring(words), word;
    struct slice_list list = { &texts[text_count], 0 };
    while (words && slice_next(&rest, ' ', &word)) list.items[list.count++] = word;
    text_count += list.count;
    assert_true(text_count <= COUNT_OF(texts));
    return list;
}

struct permission_row {
    const char *methods, *routes, *paths; /* NULL: all */
};

static struct permission_config permissions[64];
static size_t permission_count;

static struct role_config role(const char *name, const char *scopes, const char *clients, size_t count,
                               const struct permission_row *rows)
{
    struct permission_config *first = &permissions[permission_count];
    for (size_t i = 0; i < count; i++) {
        permissions[permission_count++] = (struct permission_config){ list_of(rows[i].methods), list_of(rows[i].routes),
                                                                      list_of(rows[i].paths) };
    }
    return (struct role_config){ .id = slice_from_cstring(name), /* the id may be the name */
                                 .name = slice_from_cstring(name),
                                 .scopes = list_of(scopes),
                                 .clients = list_of(clients),
                                 .permissions = { first, count } };
}

static struct role_set *set_of(const struct role_config *roles, size_t count)
{
    struct problems problems;
    problems_init(&problems, NULL);
    struct role_set *set = role_set_create(roles, count, &problems);
    if (!set) fail_msg("%s", problems_to_text(&problems));
    problems_release(&problems);
    text_count = permission_count = 0; /* the set has copies: what is below is used again */
    memset(texts, 0xff, sizeof texts);
    return set;
}

static bool allows(const struct role_set *set, uint32_t index, const char *method, const char *route, const char *path)
{
    struct router_scratch *scratch = router_scratch_create();
    uint64_t bits[8] = { 0 };
    role_hold(bits, index);
    struct slice method_text = slice_from_cstring(method);
    const struct role_request request = { .method = method_find(method_text),
                                          .method_text = method_text,
                                          .route_id = SLICE("5a0c0000-0000-8000-8000-000000000000"),
                                          .route_name = slice_from_cstring(route),
                                          .path = slice_from_cstring(path),
                                          .scratch = scratch };
    uint32_t found = ROLE_NONE;
    bool allowed = role_set_allows(set, bits, &request, &found);
    assert_int_equal(found, allowed ? index : ROLE_NONE);
    router_scratch_destroy(scratch);
    return allowed;
}

static const struct {
    struct permission_row permission;
    const char *method, *route, *path;
    bool allowed;
} rows[] = {
    { { NULL, NULL, NULL }, "BREW", "any", "/any", true },
    { { "GET", NULL, NULL }, "GET", "a", "/a", true },
    { { "GET", NULL, NULL }, "HEAD", "a", "/a", true },
    { { "HEAD", NULL, NULL }, "GET", "a", "/a", false },
    { { "GET PUT", NULL, NULL }, "POST", "a", "/a", false },
    { { "GET", NULL, NULL }, "BREW", "a", "/a", false },
    { { "BREW", NULL, NULL }, "BREW", "a", "/a", true },
    { { "BREW", NULL, NULL }, "brew", "a", "/a", false },
    { { "BREW", NULL, NULL }, "GET", "a", "/a", false },
    { { NULL, "users orders", NULL }, "GET", "orders", "/a", true },
    { { NULL, "users orders", NULL }, "GET", "order", "/a", false },
    { { NULL, "5a0c0000-0000-8000-8000-000000000000", NULL }, "GET", "orders", "/a", true },
    { { NULL, NULL, "/a/{id} /b/*" }, "GET", "x", "/a/1", true },
    { { NULL, NULL, "/a/{id} /b/*" }, "GET", "x", "/a/1/2", false },
    { { NULL, NULL, "/a/{id} /b/*" }, "GET", "x", "/b/1/2", true },
    { { NULL, NULL, "/a/{id} /b/*" }, "GET", "x", "/b", false },
    { { NULL, NULL, "~/a/[0-9]+" }, "GET", "x", "/a/12", true },
    { { NULL, NULL, "~/a/[0-9]+" }, "GET", "x", "/a/12x", false },
    { { "GET", "users", "/a/*" }, "GET", "users", "/a/1", true },
    { { "GET", "users", "/a/*" }, "POST", "users", "/a/1", false },
    { { "GET", "users", "/a/*" }, "GET", "orders", "/a/1", false },
    { { "GET", "users", "/a/*" }, "GET", "users", "/b/1", false },
};

static void a_permission_allows_what_fits_all_that_it_says(void **state)
{
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        const struct role_config config = role("r", NULL, NULL, 1, &rows[i].permission);
        struct role_set *set = set_of(&config, 1);
        bool allowed = allows(set, 0, rows[i].method, rows[i].route, rows[i].path);
        if (allowed != rows[i].allowed) fail_msg("row %zu: %s %s %s", i, rows[i].method, rows[i].route, rows[i].path);
        role_set_drop(set);
    }
}

static void one_permission_that_fits_is_enough_and_none_is_none(void **state)
{
    static const struct permission_row many[] = { { "GET", NULL, "/a" },
                                                  { "PUT", "users", NULL },
                                                  { "GET", NULL, NULL } };
    const struct role_config configs[] = { role("many", NULL, NULL, 3, many), role("none", NULL, NULL, 0, many) };
    struct role_set *set = set_of(configs, 2);
    assert_true(allows(set, 0, "GET", "x", "/b"));
    assert_true(allows(set, 0, "PUT", "users", "/b"));
    assert_false(allows(set, 0, "PUT", "x", "/a"));
    assert_false(allows(set, 1, "GET", "x", "/a"));
    role_set_drop(set);
}

static void roles_are_had_by_scope_and_by_client(void **state)
{
    const struct role_config configs[] = { role("reader", "read all", NULL, 0, NULL),
                                           role("writer", "write all", "app-1 app-2", 0, NULL),
                                           role("other", NULL, "app-2", 0, NULL) };
    struct role_set *set = set_of(configs, 3);
    static const struct {
        const char *scopes, *client;
        uint64_t bits;
    } people[] = {
        { "", "", 0 },          { "read", "", 1 },       { "x read y", "", 1 },  { "readx xread", "", 0 },
        { "all", "", 3 },       { "read write", "", 3 }, { "", "app-1", 2 },     { "", "app-2", 6 },
        { "read", "app-2", 7 }, { "", "APP-1", 0 },      { "app-1", "read", 0 }, { " read ", "", 1 },
    };
    for (size_t i = 0; i < COUNT_OF(people); i++) {
        uint64_t bits = 0;
        role_set_add_by_scopes(set, slice_from_cstring(people[i].scopes), &bits);
        role_set_add_by_client(set, SLICE_ABSENT, slice_from_cstring(people[i].client), &bits);
        if (bits != people[i].bits)
            fail_msg("%s, %s: %llu", people[i].scopes, people[i].client, (unsigned long long)bits);
    }
    assert_int_equal(role_set_find(set, SLICE("writer")), 1);
    assert_int_equal(role_set_find(set, SLICE("Writer")), ROLE_NONE);
    assert_int_equal(role_set_find(set, SLICE("")), ROLE_NONE);
    assert_int_equal(role_set_find(set, SLICE_ABSENT), ROLE_NONE);
    assert_slice_is(role_set_name(set, 2), "other");
    role_set_drop(set);
}

/* "app" is three clients: an API key's, one of issuer a, and one of issuer b. */
static void a_client_is_one_of_its_issuer(void **state)
{
    struct slice app = SLICE("app"), many[] = { SLICE("till"), SLICE("app") };
    struct token_clients_config of_a = { SLICE("a"), { &app, 1 } };
    struct token_clients_config of_both[] = { { SLICE("b"), { many, 2 } }, { SLICE("a"), { many, 1 } } };
    struct role_config configs[] = { role("keys", NULL, "app", 0, NULL), role("of-a", NULL, NULL, 0, NULL),
                                     role("of-both", NULL, NULL, 0, NULL) };
    configs[1].token_clients = (struct object_list){ &of_a, 1 };
    configs[2].token_clients = (struct object_list){ of_both, 2 };
    struct role_set *set = set_of(configs, 3);
    static const struct {
        const char *issuer, *client; /* NULL: none */
        uint64_t bits;
    } callers[] = {
        { NULL, "app", 1 }, { "a", "app", 2 },  { "b", "app", 4 },   { "c", "app", 0 }, { "", "app", 0 },
        { "a", "till", 4 }, { "b", "till", 4 }, { NULL, "till", 0 }, { "aapp", "", 0 }, { "A", "app", 0 },
    };
    for (size_t i = 0; i < COUNT_OF(callers); i++) {
        uint64_t bits = 0;
        struct slice issuer = callers[i].issuer ? slice_from_cstring(callers[i].issuer) : SLICE_ABSENT;
        role_set_add_by_client(set, issuer, slice_from_cstring(callers[i].client), &bits);
        if (bits != callers[i].bits) fail_msg("%zu: %llu", i, (unsigned long long)bits);
    }
    role_set_drop(set);
}

/* More than a word of bits, and more roles of one scope than a slot would hold. */
static void hundreds_of_roles_are_as_good_as_one(void **state)
{
    enum { ROLES = 300 };
    static char names[ROLES][24], scopes[ROLES][24];
    struct role_config *configs = memory_allocate_array(ROLES, sizeof *configs);
    struct slice *items = memory_allocate_array(2 * ROLES, sizeof *items);
    static const struct permission_row all = { NULL, NULL, NULL };
    for (int i = 0; i < ROLES; i++) {
        snprintf(names[i], sizeof names[i], "role-%d", i);
        snprintf(scopes[i], sizeof scopes[i], "scope-%d", i);
        items[2 * i] = slice_from_cstring(scopes[i]), items[2 * i + 1] = SLICE("everybody");
        text_count = permission_count = 0;
        configs[i] = role(names[i], NULL, NULL, i == 250 ? 1 : 0, &all);
        configs[i].scopes = (struct slice_list){ &items[2 * i], 2 };
    }
    struct role_set *set = set_of(configs, ROLES);
    assert_int_equal(role_set_words(set), 5);
    for (uint32_t i = 0; i < ROLES; i++) {
        uint64_t bits[5] = { 0 };
        role_set_add_by_scopes(set, slice_from_cstring(scopes[i]), bits);
        for (uint32_t j = 0; j < ROLES; j++) assert_int_equal(role_is_held(bits, j), i == j);
        assert_int_equal(role_set_find(set, slice_from_cstring(names[i])), i);
    }
    uint64_t all_bits[5] = { 0 };
    role_set_add_by_scopes(set, SLICE("everybody"), all_bits);
    for (uint32_t j = 0; j < ROLES; j++) assert_true(role_is_held(all_bits, j));
    assert_true(allows(set, 250, "GET", "x", "/"));
    assert_false(allows(set, 251, "GET", "x", "/"));
    role_set_drop(set);
    free(items);
    free(configs);
}

static void no_roles_are_no_trouble(void **state)
{
    struct role_set *set = set_of(NULL, 0);
    const struct role_set *sets[] = { set, NULL };
    for (size_t i = 0; i < COUNT_OF(sets); i++) {
        uint64_t bits = 0;
        assert_int_equal(role_set_count(sets[i]), 0);
        assert_int_equal(role_set_find(sets[i], SLICE("x")), ROLE_NONE);
        role_set_add_by_scopes(sets[i], SLICE("x"), &bits);
        role_set_add_by_client(sets[i], SLICE_ABSENT, SLICE("x"), &bits);
        role_set_add_by_client(sets[i], SLICE("i"), SLICE("x"), &bits);
        assert_false(role_set_allows(sets[i], &bits, &(struct role_request){ .method = METHOD_GET }, NULL));
    }
    role_set_retain(set);
    role_set_drop(set);
    assert_int_equal(role_set_count(set), 0); /* one reference is left */
    role_set_drop(set);
    role_set_drop(NULL);
}

static void a_path_that_is_none_is_a_problem(void **state)
{
    static const struct permission_row bad = { NULL, NULL, "/ok ~[" };
    const struct role_config config = role("r", NULL, NULL, 1, &bad);
    struct problems problems;
    problems_init(&problems, NULL);
    assert_null(role_set_create(&config, 1, &problems));
    assert_int_equal(problems.count, 1);
    problems_release(&problems);
    text_count = permission_count = 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_permission_allows_what_fits_all_that_it_says),
        cmocka_unit_test(one_permission_that_fits_is_enough_and_none_is_none),
        cmocka_unit_test(roles_are_had_by_scope_and_by_client),
        cmocka_unit_test(a_client_is_one_of_its_issuer),
        cmocka_unit_test(hundreds_of_roles_are_as_good_as_one),
        cmocka_unit_test(no_roles_are_no_trouble),
        cmocka_unit_test(a_path_that_is_none_is_a_problem),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
