/* ip-list: who is let in, by address. */
#include "base/memory.h"
#include "base/random.h"
#include "exchange/testbed.h"

static unsigned status_from(struct testbed *bed, const char *address)
{
    struct client client = { 0 };
    assert_true(address_parse_ip(slice_from_cstring(address), 1234, &client.peer.address));
    client_ask(bed, &client, "GET /a", NULL, NULL);
    testbed_run(bed);
    if (client.status == 403) assert_non_null(strstr(client.body, "\"rule\":\"ip-list\""));
    client_release(&client);
    return client.status;
}

static const struct {
    const char *filter, *address;
    unsigned status;
} rows[] = {
    { "allow: [10.0.0.0/8]", "10.1.2.3", 200 },
    { "allow: [10.0.0.0/8]", "11.0.0.0", 403 },
    { "allow: [10.0.0.0/8]", "::ffff:10.1.2.3", 200 }, /* the same client on a dual-stack socket */
    { "allow: [10.0.0.0/8]", "::1", 403 },
    { "allow: 192.0.2.7", "192.0.2.7", 200 },
    { "allow: 192.0.2.7", "192.0.2.8", 403 },
    { "deny: [10.0.0.0/8]", "10.255.255.255", 403 },
    { "deny: [10.0.0.0/8]", "9.255.255.255", 200 },
    { "deny: [10.0.0.0/8]", "2001:db8::1", 200 },
    { "allow: [10.0.0.0/8], deny: [10.1.0.0/16]", "10.1.2.3", 403 },
    { "allow: [10.0.0.0/8], deny: [10.1.0.0/16]", "10.2.2.3", 200 },
    { "allow: [10.1.0.0/16], deny: [10.0.0.0/8]", "10.1.2.3", 403 }, /* deny wins, however wide */
    { "allow: ['2001:db8::/32']", "2001:db8:ffff::1", 200 },
    { "allow: ['2001:db8::/32']", "2001:db9::1", 403 },
    { "allow: [0.0.0.0/0]", "203.0.113.9", 200 },
    { "allow: [0.0.0.0/0]", "2001:db8::1", 403 },
    { "allow: ['::/0']", "2001:db8::1", 200 },
    { "allow: ['::/0']", "203.0.113.9", 403 }, /* ::/0 speaks of IPv6 only */
    { "deny: ['::/0', 10.0.0.1]", "203.0.113.9", 200 },
    { "allow: [10.0.0.0/8, 10.1.0.0/16, 10.1.1.0/24, 12.0.0.0/8]", "10.200.0.1", 200 }, /* ranges in ranges */
    { "allow: [10.0.0.0/8, 10.1.0.0/16, 10.1.1.0/24, 12.0.0.0/8]", "11.0.0.1", 403 },
    { "allow: [10.0.0.0/8, 10.1.0.0/16, 10.1.1.0/24, 12.0.0.0/8]", "12.0.0.1", 200 },
    { "allow: [10.0.0.0/31, 10.0.0.4/30]", "10.0.0.2", 403 },
};

static void addresses_are_let_in_or_kept_out(void **state)
{
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct testbed bed;
        char filter[256];
        snprintf(filter, sizeof filter, "{ type: ip-list, %s }", rows[i].filter);
        testbed_start_filtered(&bed, "/a", filter);
        unsigned status = status_from(&bed, rows[i].address);
        if (status != rows[i].status) fail_msg("%s: %s: %u", rows[i].filter, rows[i].address, status);
        testbed_stop(&bed);
    }
}

static void lists_of_all_scopes_apply(void **state)
{
    struct testbed bed;
    testbed_start(
        &bed, "plugins: [{ name: ip-list, config: { deny: [10.0.0.1] } }]\n"
              "routes: [{ name: a, path: /a, serviceId: one, filters: [{ type: ip-list, allow: [10.0.0.0/8] }] }]\n");
    assert_int_equal(status_from(&bed, "10.0.0.1"), 403);
    assert_int_equal(status_from(&bed, "10.0.0.2"), 200);
    assert_int_equal(status_from(&bed, "11.0.0.1"), 403);
    testbed_stop(&bed);
}

/* The binary search against a plain walk over random ranges, near whose edges mistakes would show. */
static void long_lists_agree_with_a_plain_walk(void **state)
{
    enum { RANGES = 60, ASKED = 300 };
    struct random random;
    random_init_seeded(&random, 7);
    for (int round = 0; round < 10; round++) {
        struct address_range ranges[RANGES];
        char list[RANGES * 24] = "";
        size_t length = 0;
        for (int i = 0; i < RANGES; i++) {
            unsigned bits = 20 + (unsigned)random_below(&random, 13);
            uint32_t base = (10u << 24 | (uint32_t)random_below(&random, 1 << 16)) & (0xffffffffu << (32 - bits));
            char text[24];
            snprintf(text, sizeof text, "%u.%u.%u.%u/%u", base >> 24, base >> 16 & 255, base >> 8 & 255, base & 255,
                     bits);
            assert_true(address_range_parse(slice_from_cstring(text), &ranges[i]));
            length += (size_t)snprintf(list + length, sizeof list - length, "%s%s", i ? ", " : "", text);
        }
        struct testbed bed;
        char *filter = memory_format("{ type: ip-list, deny: [%s] }", list);
        testbed_start_filtered(&bed, "/a", filter);
        free(filter);
        for (int i = 0; i < ASKED; i++) {
            char text[24];
            struct address address;
            uint32_t client = 10u << 24 | (uint32_t)random_below(&random, 1 << 16);
            snprintf(text, sizeof text, "%u.%u.%u.%u", client >> 24, client >> 16 & 255, client >> 8 & 255,
                     client & 255);
            assert_true(address_parse_ip(slice_from_cstring(text), 1, &address));
            bool listed = false;
            for (int j = 0; j < RANGES; j++) listed |= address_range_contains(&ranges[j], &address);
            assert_int_equal(status_from(&bed, text), listed ? 403 : 200);
        }
        testbed_stop(&bed);
    }
}

static void mistakes_are_refused_at_load(void **state)
{
    testbed_refuses_filter("{ type: ip-list }", "must list an address");
    testbed_refuses_filter("{ type: ip-list, allow: [], deny: [] }", "must list an address");
    testbed_refuses_filter("{ type: ip-list, allow: [localhost] }", "not an address or range");
    testbed_refuses_filter("{ type: ip-list, deny: [10.0.0.0/33] }", "not an address or range");
    testbed_refuses_filter("{ type: ip-list, deny: [10.1.2.3/8] }", "no bit set below the prefix");
    testbed_refuses_filter("{ type: ip-list, deny: ['10.0.0.1:80'] }", "not an address or range");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_are_let_in_or_kept_out),
        cmocka_unit_test(lists_of_all_scopes_apply),
        cmocka_unit_test(long_lists_agree_with_a_plain_walk),
        cmocka_unit_test(mistakes_are_refused_at_load),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
