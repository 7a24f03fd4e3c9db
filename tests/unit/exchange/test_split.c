/* A split route: overrides, keys and what stands for them where they are missing, the cookie that is given, what is refused at load. */
#include "exchange/testbed.h"

#include "snapshot/split.h"

#define CANARY(more) "routes: [{ name: a, path: /a, serviceId: one, split: { canaryServiceId: two, " more " } }]\n"
#define SERVICES(more)                                                                                                       \
    "routes: [{ name: a, path: /a, split: { services: [{ serviceId: one, weight: 1 }, { serviceId: two, weight: 1 }], " more \
    " } }]\n"

/* Which service got it. */
static const char *asked(struct testbed *bed, const char *fields)
{
    assert_int_equal(testbed_status(bed, "GET /a", fields), 200);
    return bed->service.name;
}

static void a_canary_gets_nothing_at_0_and_all_at_100(void **state)
{
    struct testbed bed;
    testbed_start(&bed, CANARY("canaryPercentage: 0, by: random"));
    for (int i = 0; i < 200; i++) assert_string_equal(asked(&bed, NULL), "one");
    testbed_reload(&bed, CANARY("canaryPercentage: 100, by: random"));
    for (int i = 0; i < 200; i++) assert_string_equal(asked(&bed, NULL), "two");
    testbed_stop(&bed);
}

static void words_override_the_draw_the_header_before_the_cookie(void **state)
{
    struct testbed bed;
    testbed_start(&bed, CANARY("canaryPercentage: 0, overrideHeader: X-Canary, overrideCookie: canary"));
    assert_string_equal(asked(&bed, "x-canary: always\r\n"), "two");
    assert_string_equal(asked(&bed, "x-canary: two\r\n"), "two");
    assert_string_equal(asked(&bed, "x-canary: never\r\n"), "one");
    assert_string_equal(asked(&bed, "x-canary: perhaps\r\n"), "one");
    assert_string_equal(asked(&bed, "Cookie: a=b; canary=always\r\n"), "two");
    assert_string_equal(asked(&bed, "Cookie: canary=always\r\nX-Canary: never\r\n"), "one");
    assert_string_equal(asked(&bed, "Cookie: canary=always\r\nX-Canary: odd\r\n"), "two");
    testbed_reload(&bed, CANARY("canaryPercentage: 0"));
    assert_string_equal(asked(&bed, "X-Canary: always\r\nCookie: canary=always\r\n"), "one");
    testbed_reload(&bed, SERVICES("by: ip, overrideHeader: X-To"));
    assert_string_equal(asked(&bed, "X-To: two\r\n"), "two");
    assert_string_equal(asked(&bed, "X-To: one\r\n"), "one");
    testbed_stop(&bed);
}

static const char *expected(const char *key)
{
    return split_bucket(0xef46db3751d8e999, slice_from_cstring(key)) < 5000 ? "one" : "two"; /* the seed of no text */
}

static void a_header_or_a_cookie_keeps_a_client_where_it_is(void **state)
{
    struct testbed bed;
    char fields[64];
    testbed_start(&bed, SERVICES("by: 'header:X-User'"));
    for (int i = 0; i < 50; i++) {
        snprintf(fields, sizeof fields, "X-User: user-%d\r\n", i);
        char key[24];
        snprintf(key, sizeof key, "user-%d", i);
        assert_string_equal(asked(&bed, fields), expected(key));
    }
    testbed_reload(&bed, SERVICES("by: 'cookie:user'"));
    for (int i = 0; i < 50; i++) {
        char key[24];
        snprintf(fields, sizeof fields, "Cookie: x=y; user=user-%d; z=\r\n", i);
        snprintf(key, sizeof key, "user-%d", i);
        assert_string_equal(asked(&bed, fields), expected(key));
    }
    testbed_stop(&bed);
}

static unsigned count_of_two(struct testbed *bed, const char *fields)
{
    unsigned count = 0;
    for (int i = 0; i < 40; i++) count += strcmp(asked(bed, fields), "two") == 0;
    return count;
}

static void without_a_key_the_address_counts(void **state)
{
    struct testbed bed;
    testbed_start(&bed, "trustedProxies: [192.0.2.1]\n" SERVICES("by: client_id"));
    unsigned by_nobody = count_of_two(&bed, NULL), by_other = 0, by_network = 0;
    assert_true(by_nobody == 0 || by_nobody == 40);
    for (int i = 1; i <= 100; i++) {
        char fields[64];
        snprintf(fields, sizeof fields, "X-Forwarded-For: 198.51.100.%d\r\n", i);
        by_other += strcmp(asked(&bed, fields), "two") == 0;
        snprintf(fields, sizeof fields, "X-Forwarded-For: 2001:db8::%x\r\n", i);
        by_network += strcmp(asked(&bed, fields), "two") == 0;
    }
    assert_in_range(by_other, 20, 80);
    assert_true(by_network == 0 || by_network == 100); /* one /64 is one client */
    testbed_stop(&bed);
}

static void random_follows_the_weights(void **state)
{
    struct testbed bed;
    unsigned count = 0;
    testbed_start(&bed, CANARY("canaryPercentage: 12.5, by: random"));
    for (int i = 0; i < 4000; i++) count += strcmp(asked(&bed, NULL), "two") == 0;
    assert_in_range(count, 500 - 126, 500 + 126); /* six standard deviations of 21 */
    testbed_stop(&bed);
}

static void a_client_without_the_cookie_is_given_one_that_keeps_it(void **state)
{
    struct testbed bed;
    struct client client = { 0 };
    testbed_start(&bed, SERVICES("by: 'cookie:group', cookieMaxAge: 3600"));
    client_ask(&bed, &client, "GET /a", NULL, NULL);
    testbed_run(&bed);
    struct slice cookie = client_header(&client, "Set-Cookie");
    assert_int_equal(cookie.length, strlen("group=0123456789abcdef; Path=/; Max-Age=3600; HttpOnly; SameSite=Lax"));
    assert_true(slice_ends_with(cookie, SLICE("; Path=/; Max-Age=3600; HttpOnly; SameSite=Lax")));
    char first[64], fields[64];
    snprintf(first, sizeof first, "%s", bed.service.name);
    snprintf(fields, sizeof fields, "Cookie: %.*s\r\n", SLICE_PRINT(slice_before(cookie, 22)));
    client_release(&client);
    for (int i = 0; i < 20; i++) assert_string_equal(asked(&bed, fields), first);
    client = (struct client){ .peer.tls = true };
    client_ask(&bed, &client, "GET /a", fields, NULL);
    testbed_run(&bed);
    assert_int_equal(client_count_header(&client, "Set-Cookie"), 0);
    client_release(&client);
    client = (struct client){ .peer.tls = true };
    client_ask(&bed, &client, "GET /a", NULL, NULL);
    testbed_run(&bed);
    assert_true(slice_ends_with(client_header(&client, "Set-Cookie"), SLICE("; Secure")));
    client_release(&client);
    testbed_stop(&bed);
}

/* Whoever guards one of a split's services guards the route, whether by name or by id. */
static void a_plugin_of_a_service_applies_to_the_split(void **state)
{
    struct testbed bed;
    testbed_start(&bed, "plugins: [{ name: ip_list, config: { deny: [192.0.2.1] }, services: [two] }]\n" CANARY(
                            "canaryPercentage: 0"));
    assert_int_equal(testbed_status(&bed, "GET /a", NULL), 403);
    testbed_reload(&bed, "plugins: [{ name: ip_list, config: { deny: [192.0.2.1] }, services: [two] }]\n"
                         "routes: [{ name: a, path: /a, serviceId: one }]\n");
    assert_int_equal(testbed_status(&bed, "GET /a", NULL), 200);
    testbed_stop(&bed);
}

static void refuses(const char *text, const char *words)
{
    char *problems = testbed_problems(text);
    if (!problems || !strstr(problems, words)) fail_msg("%s: %s", text, problems ? problems : "nobody minds");
    free(problems);
}

static void what_makes_no_split_is_refused_with_words(void **state)
{
    refuses(CANARY("by: ip"), "\"canaryPercentage\" and \"canaryServiceId\", or \"services\"");
    refuses(CANARY("canaryPercentage: 101"), "a number from 0 to 100");
    refuses(CANARY("canaryPercentage: 0.125"), "two decimals");
    refuses(CANARY("canaryPercentage: 1, by: user"), "client_id, ip, random, header:NAME or cookie:NAME");
    refuses(CANARY("canaryPercentage: 1, by: 'header:'"), "a name behind the colon");
    refuses(CANARY("canaryPercentage: 1, cookieMaxAge: 5"), "gives none");
    refuses("routes: [{ path: /a, split: { canaryServiceId: two, canaryPercentage: 5 } }]\n",
            "\"serviceId\", which is missing");
    refuses("routes: [{ path: /a, serviceId: one, split: { services: [{ serviceId: two, weight: 1 }] } }]\n",
            "in the place of \"serviceId\"");
    refuses("routes: [{ path: /a, split: { services: [{ serviceId: two, weight: 0 }] } }]\n", "every weight");
    refuses(
        "routes: [{ path: /a, split: { services: [{ serviceId: two, weight: 1 }, { serviceId: two, weight: 1 }] } }]\n",
        "stands in \"services\" once");
    refuses("routes: [{ path: /a, split: { services: [{ serviceId: too, weight: 1 }] } }]\n",
            "unknown service \"too\"");
    refuses(
        "routes: [{ path: /a, redirect: { to: /b }, serviceId: one, split: { canaryServiceId: two, canaryPercentage: 5 } }]\n",
        "this one has several");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_canary_gets_nothing_at_0_and_all_at_100),
        cmocka_unit_test(words_override_the_draw_the_header_before_the_cookie),
        cmocka_unit_test(a_header_or_a_cookie_keeps_a_client_where_it_is),
        cmocka_unit_test(without_a_key_the_address_counts),
        cmocka_unit_test(random_follows_the_weights),
        cmocka_unit_test(a_client_without_the_cookie_is_given_one_that_keeps_it),
        cmocka_unit_test(a_plugin_of_a_service_applies_to_the_split),
        cmocka_unit_test(what_makes_no_split_is_refused_with_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
