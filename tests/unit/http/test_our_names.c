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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_only_sluice_says_is_ours),
        cmocka_unit_test(what_a_proxy_says_is_a_proxys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
