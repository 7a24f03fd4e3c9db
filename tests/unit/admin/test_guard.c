/* Who may: hosts, origins, tokens, certificates, roles, and failed logins that wait. */
#include "admin/testbed.h"

static void addresses_and_known_names_may_be_the_host(void **state)
{
    struct admin_testbed bed;
    admin_testbed_start(&bed);
    const char *const good[] = { "localhost", "127.0.0.1",     "[::1]",       "127.8.8.8",
                                 "10.1.2.3",  "[2001:db8::1]", "example.com", "a.localhost" };
    const char *const bad[] = { "evil.example",
                                "localhost.evil.example",
                                "example.com.evil.example",
                                "127.0.0.1.nip.io",
                                "1.2.3",
                                "sub.example.com",
                                "" };
    for (size_t i = 0; i < COUNT_OF(good); i++) {
        if (!admin_host_is_allowed(bed.settings, slice_from_cstring(good[i]))) fail_msg("%s", good[i]);
    }
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        if (admin_host_is_allowed(bed.settings, slice_from_cstring(bad[i]))) fail_msg("%s", bad[i]);
    }
    admin_testbed_stop(&bed);
}

/* DNS rebinding: a name of the attacker's that now answers with our address. Not even a good token helps. */
static void a_rebound_name_gets_nothing(void **state)
{
    struct admin_testbed bed;
    admin_testbed_start(&bed);
    bed.client.host = "evil.example:9080";
    assert_int_equal(ask(&bed, "GET /admin/services", RW, NULL), 403);
    assert_true(answer_has(&bed, "\"reason\":\"host-not-allowed\""));
    assert_true(answer_has(&bed, "admin.hosts"));
    assert_int_equal(ask(&bed, "POST /admin/services", RW JSON, "{}"), 403);
    assert_int_equal(bed.changes->orders, 0);
    assert_int_equal(ask(&bed, "GET /live", NULL, NULL), 200); /* tells nothing */
    admin_testbed_stop(&bed);
}

static void check_origin(const char *origin, const char *host, uint16_t port, bool tls, bool expected)
{
    struct arena arena;
    arena_init(&arena, NULL);
    bool same = admin_origin_is_same(&arena, slice_from_cstring(origin), tls, slice_from_cstring(host), port);
    if (same != expected) fail_msg("%s against %s:%u", origin, host, port);
    arena_release(&arena);
}

static void an_origin_is_the_same_or_it_is_not(void **state)
{
    check_origin("http://localhost:9080", "localhost", 9080, false, true);
    check_origin("https://admin.example.com", "admin.example.com", 0, false, true); /* TLS ended in front */
    check_origin("https://[::1]:9080", "[::1]", 9080, true, true);
    check_origin("http://localhost:9080", "localhost", 9080, true, false);
    check_origin("http://localhost:3000", "localhost", 9080, false, false);
    check_origin("http://localhost", "localhost", 9080, false, false);
    check_origin("http://127.0.0.1:9080", "localhost", 9080, false, false);
    check_origin("http://localhost:9080.evil.example", "localhost", 9080, false, false);
    check_origin("null", "localhost", 9080, false, false);
    check_origin("", "localhost", 9080, false, false);
    check_origin("://", "localhost", 9080, false, false);
}

static void pages_of_other_origins_are_refused(void **state)
{
    struct admin_testbed bed;
    admin_testbed_start(&bed);
    assert_int_equal(ask(&bed, "GET /admin/services", RW "Origin: https://evil.example\r\n", NULL), 403);
    assert_true(answer_has(&bed, "cross-origin"));
    assert_int_equal(ask(&bed, "GET /admin/services", RW "Origin: null\r\n", NULL), 403);
    assert_int_equal(ask(&bed, "GET /admin/services", RW "Sec-Fetch-Site: cross-site\r\n", NULL), 403);
    assert_int_equal(ask(&bed, "GET /admin/services", RW "Sec-Fetch-Site: same-site\r\n", NULL), 403);
    assert_int_equal(ask(&bed, "GET /admin/services", RW "Sec-Fetch-Site: none\r\n", NULL), 200);
    assert_int_equal(ask(&bed, "GET /admin/services", RW "Origin: http://example.com\r\n", NULL), 200);
    /* The question before a cross-origin request gets no leave. */
    assert_int_equal(ask(&bed, "OPTIONS /admin/services",
                         "Origin: https://evil.example\r\nAccess-Control-Request-Method: POST\r\n", NULL),
                     403);
    assert_true(slice_is_absent(client_header(&bed.client, "Access-Control-Allow-Origin")));
    admin_testbed_stop(&bed);
}

static void who_brings_no_token_is_asked_for_one(void **state)
{
    struct admin_testbed bed;
    admin_testbed_start(&bed);
    assert_int_equal(ask(&bed, "GET /admin/services", NULL, NULL), 401);
    assert_slice_is(client_header(&bed.client, "WWW-Authenticate"), "Bearer realm=\"sluice\"");
    assert_true(answer_has(&bed, "\"reason\":\"no-token\""));
    assert_int_equal(ask(&bed, "GET /nowhere", NULL, NULL), 401); /* strangers don't learn what there is */
    assert_int_equal(ask(&bed, "GET /nowhere", RO, NULL), 404);
    assert_int_equal(ask(&bed, "GET /admin/metrics", NULL, NULL), 401);
    assert_int_equal(ask(&bed, "GET /live", NULL, NULL), 200);
    assert_int_equal(ask(&bed, "GET /ready?probe=1", NULL, NULL), 200);
    admin_testbed_stop(&bed);
}

static void a_read_only_token_reads(void **state)
{
    struct admin_testbed bed;
    admin_testbed_start(&bed);
    assert_int_equal(ask(&bed, "GET /admin/services", RO, NULL), 200);
    assert_int_equal(ask(&bed, "GET /admin/config", RO, NULL), 200);
    assert_int_equal(ask(&bed, "GET /admin/services", "Authorization: bearer   ro\r\n", NULL), 200);
    static const char *const changes[] = {
        "POST /admin/services",          "PUT /admin/services/a", "PATCH /admin/services/a",
        "DELETE /admin/services/a",      "PUT /admin/config",     "POST /admin/revisions/1/rollback",
        "POST /admin/api-keys/a/rotate", "POST /admin/validate",
    };
    for (size_t i = 0; i < COUNT_OF(changes); i++) {
        if (ask(&bed, changes[i], RO JSON, "{}") != 403) fail_msg("%s: %u", changes[i], bed.client.status);
        assert_true(answer_has(&bed, "\\\"bob\\\" may read, not change"));
    }
    assert_int_equal(bed.changes->orders, 0);
    admin_testbed_stop(&bed);
}

static void without_tokens_everybody_on_loopback_may(void **state)
{
    struct admin_testbed bed;
    admin_testbed_start(&bed);
    size_t count = bed.settings->token_count;
    bed.settings->token_count = 0;
    assert_int_equal(ask(&bed, "DELETE /admin/services/a", NULL, NULL), 204);
    assert_string_equal(bed.changes->author, "anonymous");
    bed.settings->token_count = count;
    admin_testbed_stop(&bed);
}

static void a_client_certificate_is_a_login(void **state)
{
    struct admin_testbed bed;
    admin_testbed_start(&bed);
    static const struct peer_certificate certificate = { .subject = SLICE("CN=carol") };
    bed.settings->client_certificates = true;
    bed.client = (struct client){ 0 };
    bed.client.peer.certificate = &certificate;
    client_ask(&bed.bed, &bed.client, "DELETE /admin/services/a", NULL, NULL);
    bed.has_asked = true;
    testbed_run_until(&bed.bed, &bed.client.released);
    assert_int_equal(bed.client.status, 204);
    assert_string_equal(bed.changes->author, "CN=carol");
    assert_int_equal(ask(&bed, "GET /admin/services", NULL, NULL), 401);
    assert_int_equal(ask(&bed, "GET /admin/services", RO, NULL), 200); /* either */
    admin_testbed_stop(&bed);
}

/* --- failed logins --- */

#define WRONG "Authorization: Bearer guess\r\n"

static void a_failed_login_waits_for_its_answer(void **state)
{
    struct admin_testbed bed;
    admin_testbed_start(&bed);
    loop_update_time(&bed.bed.loop);
    uint64_t asked_ms = bed.bed.loop.now_ms;
    assert_int_equal(ask(&bed, "GET /admin/services", WRONG, NULL), 401);
    assert_true(answer_has(&bed, "\"reason\":\"bad-token\""));
    assert_false(answer_has(&bed, "guess"));
    assert_true(bed.bed.loop.now_ms - asked_ms >= 100);
    asked_ms = bed.bed.loop.now_ms;
    assert_int_equal(ask(&bed, "GET /admin/services", WRONG, NULL), 401);
    assert_true(bed.bed.loop.now_ms - asked_ms >= 200);
    asked_ms = bed.bed.loop.now_ms;
    assert_int_equal(ask(&bed, "GET /admin/services", RO, NULL), 200); /* who knows it doesn't wait */
    assert_true(bed.bed.loop.now_ms - asked_ms < 90);
    asked_ms = bed.bed.loop.now_ms;
    assert_int_equal(ask(&bed, "GET /admin/services", WRONG, NULL), 401); /* and has put the account right */
    assert_true(bed.bed.loop.now_ms - asked_ms < 190);
    admin_testbed_stop(&bed);
}

static void other_schemes_and_double_fields_are_failed_logins(void **state)
{
    static const char twice[] = RW RW;
    static const char *const fields[] = { "Authorization: Basic cnc6cnc=\r\n", "Authorization: Bearer\r\n",
                                          "Authorization: rw\r\n", twice, "Authorization: Bearerrw\r\n" };
    for (size_t i = 0; i < COUNT_OF(fields); i++) {
        struct admin_testbed bed;
        admin_testbed_start(&bed);
        if (ask(&bed, "GET /admin/services", fields[i], NULL) != 401) fail_msg("%s", fields[i]);
        admin_testbed_stop(&bed);
    }
}

static void guessing_in_parallel_gains_nothing(void **state)
{
    struct admin_testbed bed;
    struct client clients[ADMIN_LOGINS_WAITING_MAX] = { 0 }, elsewhere = { 0 };
    admin_testbed_start(&bed);
    for (size_t i = 0; i < COUNT_OF(clients); i++)
        client_ask(&bed.bed, &clients[i], "GET /admin/services", WRONG, NULL);
    assert_int_equal(ask(&bed, "GET /admin/services", WRONG, NULL), 429);
    assert_slice_is(client_header(&bed.client, "Retry-After"), "2");
    assert_int_equal(ask(&bed, "GET /admin/services", RW, NULL), 429); /* nobody looks at it */
    assert_true(address_parse_ip(SLICE("192.0.2.2"), 1, &elsewhere.peer.address));
    client_ask(&bed.bed, &elsewhere, "GET /admin/services", RW, NULL);
    testbed_run_until(&bed.bed, &elsewhere.released);
    assert_int_equal(elsewhere.status, 200);
    client_leave(&clients[0]); /* who goes away knows already that his guess was none */
    testbed_run(&bed.bed);
    assert_int_equal(ask(&bed, "GET /admin/services", RW, NULL), 429);
    for (size_t i = 1; i < COUNT_OF(clients); i++) {
        testbed_run_until(&bed.bed, &clients[i].released);
        assert_int_equal(clients[i].status, 401);
        client_release(&clients[i]);
    }
    client_release(&clients[0]);
    client_release(&elsewhere);
    admin_testbed_stop(&bed);
}

static struct address address_of(const char *text)
{
    struct address address;
    assert_true(address_parse_ip(slice_from_cstring(text), 0, &address));
    return address;
}

static uint64_t fail_once(struct admin_logins *logins, const char *ip, uint64_t now_ms)
{
    struct address address = address_of(ip);
    return admin_login_failed(logins, &address, now_ms);
}

static void delays_grow_to_two_seconds_and_are_forgotten(void **state)
{
    struct admin_logins *logins = admin_logins_create();
    static const uint64_t expected[] = { 100, 200, 400, 800, 1600, 2000, 2000 };
    for (size_t i = 0; i < COUNT_OF(expected); i++)
        assert_int_equal(fail_once(logins, "192.0.2.1", 1000000), expected[i]);
    for (int i = 0; i < 100; i++) assert_int_equal(fail_once(logins, "192.0.2.1", 1000000), 2000);
    assert_int_equal(fail_once(logins, "192.0.2.2", 1000000), 100);
    assert_int_equal(fail_once(logins, "192.0.2.1", 1000000 + 601000), 100);
    admin_logins_destroy(logins);
}

static void ipv6_counts_by_network_and_mapped_ipv4_as_itself(void **state)
{
    struct admin_logins *logins = admin_logins_create();
    assert_int_equal(fail_once(logins, "2001:db8::1", 1000000), 100);
    assert_int_equal(fail_once(logins, "2001:db8::ffff:2", 1000000), 200);
    assert_int_equal(fail_once(logins, "2001:db8:0:1::1", 1000000), 100);
    assert_int_equal(fail_once(logins, "192.0.2.1", 1000000), 100);
    assert_int_equal(fail_once(logins, "::ffff:192.0.2.1", 1000000), 200);
    admin_logins_destroy(logins);
}

/* However many addresses fail, the table is as large as before, and who waits is still known. */
static void the_table_is_bounded(void **state)
{
    struct admin_logins *logins = admin_logins_create();
    for (int i = 0; i < 5; i++) fail_once(logins, "192.0.2.1", 1000000); /* waits until 1001600 */
    for (unsigned i = 0; i < 5000; i++) {
        char text[32];
        snprintf(text, sizeof text, "10.0.%u.%u", i / 256, i % 256);
        assert_int_equal(fail_once(logins, text, 1000001 + i / 4), 100);
    }
    assert_int_equal(fail_once(logins, "10.0.0.0", 1001500), 100); /* pushed out */
    assert_int_equal(fail_once(logins, "192.0.2.1", 1001500), 2000);
    admin_logins_destroy(logins);
}

static void who_waits_everywhere_makes_room_all_the_same(void **state)
{
    struct admin_logins *logins = admin_logins_create();
    for (unsigned i = 0; i < 5000; i++) {
        char text[32];
        snprintf(text, sizeof text, "10.0.%u.%u", i / 256, i % 256);
        assert_int_equal(fail_once(logins, text, 1000000), 100);
    }
    admin_logins_destroy(logins);
}

/* Eight of an address at a time, until their answers would have come. */
static void a_guess_counts_until_its_time_is_over(void **state)
{
    struct admin_logins *logins = admin_logins_create();
    struct address address = address_of("192.0.2.1");
    for (int i = 0; i < ADMIN_LOGINS_WAITING_MAX; i++) {
        assert_false(admin_logins_are_blocked(logins, &address, 1000000));
        fail_once(logins, "192.0.2.1", 1000000);
    }
    assert_true(admin_logins_are_blocked(logins, &address, 1000000));
    admin_login_succeeded(logins, &address, 1000000); /* one that came before: the account stays */
    assert_true(admin_logins_are_blocked(logins, &address, 1000099));
    assert_false(admin_logins_are_blocked(logins, &address, 1000100)); /* the first one's */
    fail_once(logins, "192.0.2.1", 1000100);
    assert_true(admin_logins_are_blocked(logins, &address, 1000100));
    admin_logins_destroy(logins);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_and_known_names_may_be_the_host),
        cmocka_unit_test(a_rebound_name_gets_nothing),
        cmocka_unit_test(an_origin_is_the_same_or_it_is_not),
        cmocka_unit_test(pages_of_other_origins_are_refused),
        cmocka_unit_test(who_brings_no_token_is_asked_for_one),
        cmocka_unit_test(a_read_only_token_reads),
        cmocka_unit_test(without_tokens_everybody_on_loopback_may),
        cmocka_unit_test(a_client_certificate_is_a_login),
        cmocka_unit_test(a_failed_login_waits_for_its_answer),
        cmocka_unit_test(other_schemes_and_double_fields_are_failed_logins),
        cmocka_unit_test(guessing_in_parallel_gains_nothing),
        cmocka_unit_test(delays_grow_to_two_seconds_and_are_forgotten),
        cmocka_unit_test(ipv6_counts_by_network_and_mapped_ipv4_as_itself),
        cmocka_unit_test(the_table_is_bounded),
        cmocka_unit_test(who_waits_everywhere_makes_room_all_the_same),
        cmocka_unit_test(a_guess_counts_until_its_time_is_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
