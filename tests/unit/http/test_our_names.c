/* Whose word a field's name is, however a service behind us may read it. */
#include "unit_test.h"

#include "http/our_names.h"

static void check(const char *const *names, size_t count, bool (*is_it)(struct slice), bool expected)
{
    for (size_t i = 0; i < count; i++) {
        if (is_it(slice_from_cstring(names[i])) != expected) fail_msg("%s", names[i]);
    }
}

static void what_only_sluice_says_is_ours(void **state)
{
    static const char *const ours[] = { "X-Authenticated-User",
                                        "x_client_id",
                                        "X-REQUEST_ID",
                                        "X-Forwarded-For",
                                        "x-forwarded-HOST",
                                        "X_Forwarded_Proto",
                                        "X-Client-Certificate-Subject",
                                        "x_client_certificate_san",
                                        "X-Client-Certificate-*" };
    static const char *const others[] = { "X-Client-IDs",         "X-Client-I", "XClient-ID",
                                          "X-Forwarded-Prefix",   "X-Real-IP",  "X-Original-URI",
                                          "X-Client-Certificate", "",           "Client-ID",
                                          "X-Client@ID" };
    check(ours, COUNT_OF(ours), header_name_is_ours, true);
    check(others, COUNT_OF(others), header_name_is_ours, false);
}

static void what_a_proxy_says_is_a_proxys(void **state)
{
    static const char *const proxys[] = { "X-Forwarded-Prefix", "x_forwarded_for", "X-Real-IP", "x-real_ip" };
    static const char *const others[] = { "X-Forwarded", "X-Real-IPs", "X-Original-URI", "X-Client-ID" };
    check(proxys, COUNT_OF(proxys), header_name_is_a_proxys, true);
    check(others, COUNT_OF(others), header_name_is_a_proxys, false);
}

/* Of two names that read the same and aren't, one has an underscore: where nobody has sent one, nothing needs to be looked at. */
static void what_has_no_underscore_looks_like_nothing(void **state)
{
    static const char *const names[] = { "X-Tenant", "x_tenant",     "X-TENANT",     "X_A-b",      "x-a_B",
                                         "X-A-B",    "Content-Type", "Content_Type", "User_Agent", "user-agent" };
    struct arena arena;
    arena_init(&arena, NULL);
    for (size_t i = 0; i < COUNT_OF(names) * COUNT_OF(names); i++) {
        struct slice sent = slice_from_cstring(names[i / COUNT_OF(names)]);
        struct header_key known = header_key_of(slice_from_cstring(names[i % COUNT_OF(names)]));
        struct headers headers;
        headers_init(&headers, &arena);
        assert_true(headers_add_from_wire(&headers, sent, SLICE("1")));
        bool looks_like = header_name_looks_like(sent, known.name) && !slice_equal_ignore_case(sent, known.name);
        if (looks_like) assert_true(headers_may_look_like(&headers, known.has_underscore));
        if (looks_like) assert_true(header_may_look_like(&headers.items[0], known.has_underscore));
    }
    struct headers none;
    headers_init(&none, &arena);
    assert_true(headers_add_from_wire(&none, SLICE("X-Tenant"), SLICE("1")));
    assert_false(headers_may_look_like(&none, false));
    assert_true(headers_may_look_like(&none, true));
    arena_release(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_only_sluice_says_is_ours),
        cmocka_unit_test(what_a_proxy_says_is_a_proxys),
        cmocka_unit_test(what_has_no_underscore_looks_like_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
