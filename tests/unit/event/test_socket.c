#include "unit_test.h"

#include "event/socket.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <unistd.h>

static struct address address_of(const char *text)
{
    struct address address;
    assert_true(address_parse(slice_from_cstring(text), &address));
    return address;
}

static void an_address_is_written_as_it_was_read(void **state)
{
    const char *texts[] = {
        "127.0.0.1:80", "255.255.255.255:65535",        "0.0.0.0:0",
        "[::1]:8080",   "[2001:db8::ff00:42:8329]:443", "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"
    };
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        struct address address = address_of(texts[i]);
        char text[ADDRESS_TEXT_BYTES];
        assert_int_equal(address_write(&address, text), strlen(texts[i]));
        assert_string_equal(text, texts[i]);
    }
}

static void what_is_no_address_with_port_is_refused(void **state)
{
    const char *texts[] = { "",           "127.0.0.1",      "127.0.0.1:",    "127.0.0.1:65536", "127.0.0.1:-1",
                            "1.2.3:80",   "127.0.0.1:080",  "127.0.0.1: 80", "127.0.0.01:80",   "localhost:80",
                            "::1:80",     "[::1]",          "[::1]:",        "[127.0.0.1]:80",  "[::1:80",
                            "[::1]x:80",  "[fe80::1%lo]:1", " 1.2.3.4:80",   "1.2.3.4:80 ",     "1.2.3.4:80000000000",
                            "256.0.0.1:1" };
    struct address address = address_of("9.9.9.9:9");
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        assert_false(address_parse(slice_from_cstring(texts[i]), &address));
    }
    assert_false(address_parse(slice_of("1.2.3.4\0:80", 11), &address));
    assert_false(address_parse_ip(SLICE_ABSENT, 1, &address));
    assert_int_equal(address_port(&address), 9);
}

static void only_this_machine_reaches_a_loopback_address(void **state)
{
    const char *within[] = { "127.0.0.1:80", "127.255.255.254:1", "[::1]:80" };
    const char *beyond[] = {
        "0.0.0.0:80", "128.0.0.1:80", "10.0.0.1:80", "[::]:80", "[::2]:80", "[::ffff:10.0.0.1]:80"
    };
    for (size_t i = 0; i < COUNT_OF(within); i++) {
        struct address address = address_of(within[i]);
        assert_true(address_is_loopback(&address));
    }
    for (size_t i = 0; i < COUNT_OF(beyond); i++) {
        struct address address = address_of(beyond[i]);
        assert_false(address_is_loopback(&address));
    }
    assert_false(address_is_loopback(&(struct address){ 0 }));
}

static void an_ipv6_address_is_written_in_one_way(void **state)
{
    static const char *const pairs[][2] = {
        { "::", "::" },
        { "0:0:0:0:0:0:0:1", "::1" },
        { "1:0:0:0:0:0:0:0", "1::" },
        { "2001:0DB8:0000:0000:0000:0000:0002:0001", "2001:db8::2:1" },
        { "2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1" }, /* one zero is no run */
        { "2001:0:0:1:0:0:0:1", "2001:0:0:1::1" },          /* the longest */
        { "2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1" },    /* the first of equals */
        { "0:0:1:2:3:4:5:6", "::1:2:3:4:5:6" },
        { "1:2:3:4:5:6:0:0", "1:2:3:4:5:6::" },
        { "FE80::10:0A0b:0c00:0FFF", "fe80::10:a0b:c00:fff" },
        { "::ffff:0a01:0203", "10.1.2.3" },
        { "::1.2.3.4", "::102:304" }, /* mapped it is not */
    };
    for (size_t i = 0; i < COUNT_OF(pairs); i++) {
        struct address address = { 0 }, again;
        char text[ADDRESS_TEXT_BYTES];
        assert_true(address_parse_ip(slice_from_cstring(pairs[i][0]), 0, &address));
        assert_int_equal(address_write_ip(&address, text), strlen(pairs[i][1]));
        assert_string_equal(text, pairs[i][1]);
        address_unmap(&address);
        assert_true(address_parse_ip(slice_from_cstring(text), 0, &again));
        assert_true(address_equal(&address, &again));
    }
}

static void an_ip_alone_has_no_brackets_and_a_mapped_one_reads_as_ipv4(void **state)
{
    const char *pairs[][2] = { { "10.0.0.1", "10.0.0.1" }, { "::1", "::1" }, { "::ffff:10.1.2.3", "10.1.2.3" } };
    for (size_t i = 0; i < COUNT_OF(pairs); i++) {
        struct address address;
        char text[ADDRESS_TEXT_BYTES];
        assert_true(address_parse_ip(slice_from_cstring(pairs[i][0]), 80, &address));
        assert_int_equal(address_port(&address), 80);
        assert_int_equal(address_write_ip(&address, text), strlen(pairs[i][1]));
        assert_string_equal(text, pairs[i][1]);
    }
    struct address none = { 0 };
    char text[ADDRESS_TEXT_BYTES];
    assert_int_equal(address_write(&none, text), 0);
    assert_string_equal(text, "");
    assert_int_equal(address_length(&none), 0);
}

static void addresses_are_equal_by_family_ip_and_port(void **state)
{
    const char *texts[] = { "1.2.3.4:80", "1.2.3.4:81", "1.2.3.5:80", "[::1]:80", "[::1]:81", "[::2]:80" };
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        for (size_t k = 0; k < COUNT_OF(texts); k++) {
            struct address a = address_of(texts[i]), b = address_of(texts[k]);
            assert_int_equal(address_equal(&a, &b), i == k);
        }
    }
    assert_int_equal(sizeof(struct address), 28);
}

static bool in_range(const char *range_text, const char *ip)
{
    struct address_range range;
    struct address address;
    assert_true(address_range_parse(slice_from_cstring(range_text), &range));
    assert_true(address_parse_ip(slice_from_cstring(ip), 1, &address));
    return address_range_contains(&range, &address);
}

static void a_range_holds_its_own_addresses_and_no_others(void **state)
{
    assert_true(in_range("10.0.0.0/8", "10.255.255.255"));
    assert_false(in_range("10.0.0.0/8", "11.0.0.0"));
    assert_true(in_range("192.168.128.0/17", "192.168.200.1"));
    assert_false(in_range("192.168.128.0/17", "192.168.127.255"));
    assert_true(in_range("192.168.1.1", "192.168.1.1"));
    assert_false(in_range("192.168.1.1", "192.168.1.0"));
    assert_true(in_range("192.168.1.1/32", "192.168.1.1"));
    assert_true(in_range("0.0.0.0/0", "255.1.2.3"));
    assert_true(in_range("2001:db8::/33", "2001:db8:7fff::1"));
    assert_false(in_range("2001:db8::/33", "2001:db8:8000::1"));
    assert_true(in_range("::1", "::1"));
    assert_true(in_range("::/0", "2001:db8::1"));
}

static void a_client_is_the_same_plain_or_mapped_into_ipv6(void **state)
{
    assert_true(in_range("10.0.0.0/8", "::ffff:10.1.2.3"));
    assert_true(in_range("::ffff:10.0.0.0/104", "10.1.2.3"));
    assert_false(in_range("0.0.0.0/0", "2001:db8::1"));
    assert_false(in_range("0.0.0.0/0", "::1"));
    assert_false(in_range("::/0", "10.1.2.3"));
    struct address none = { 0 };
    struct address_range all;
    assert_true(address_range_parse(SLICE("::/0"), &all));
    assert_false(address_range_contains(&all, &none));
}

static void what_is_no_range_or_a_likely_mistake_is_refused(void **state)
{
    const char *texts[] = {
        "",       "10.0.0.0/", "10.0.0.0/33",  "10.0.0.0/-1", "10.0.0.0/08", "10.1.2.3/8",  "10.0.0.1/31",   "::1/127",
        "::/129", "/8",        "10.0.0.0/8/8", "10.0.0/8",    "host/8",      "10.0.0.0/8 ", "2001:db8::1/64"
    };
    struct address_range range;
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        assert_false(address_range_parse(slice_from_cstring(texts[i]), &range));
    }
}

static struct address bound_address(int descriptor)
{
    struct address address;
    socklen_t length = sizeof address;
    assert_int_equal(getsockname(descriptor, &address.any, &length), 0);
    return address;
}

static void wait_for(int descriptor, short events)
{
    struct pollfd poll_descriptor = { .fd = descriptor, .events = events };
    assert_int_equal(poll(&poll_descriptor, 1, 5000), 1);
}

static bool has_no_delay(int descriptor)
{
    int on = 0;
    socklen_t length = sizeof on;
    assert_int_equal(getsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, &length), 0);
    return on;
}

static void a_connection_is_made_without_delay_on_either_side(void **state)
{
    const char *loopbacks[] = { "127.0.0.1:0", "[::1]:0" };
    for (size_t i = 0; i < COUNT_OF(loopbacks); i++) {
        struct address any = address_of(loopbacks[i]), peer;
        struct error error;
        int listener = socket_listen(&any, 16, &error);
        if (listener < 0 && i == 1) continue; /* a machine without IPv6 */
        assert_true(listener >= 0);
        assert_int_equal(socket_accept(listener, &peer), -1);
        assert_int_equal(errno, EAGAIN);
        struct address address = bound_address(listener);
        int client = socket_connect(&address, &error);
        assert_true(client >= 0);
        wait_for(listener, POLLIN);
        int accepted = socket_accept(listener, &peer);
        assert_true(accepted >= 0);
        wait_for(client, POLLOUT);
        assert_int_equal(socket_pending_error(client), 0);
        struct address own = bound_address(client);
        assert_true(address_equal(&own, &peer));
        assert_true(has_no_delay(client) && has_no_delay(accepted));
        close(accepted);
        close(client);
        close(listener);
    }
}

static void several_listeners_share_one_address(void **state)
{
    struct address any = address_of("127.0.0.1:0");
    int first = socket_listen(&any, 16, NULL);
    assert_true(first >= 0);
    struct address address = bound_address(first);
    int second = socket_listen(&address, 16, NULL);
    assert_true(second >= 0);
    close(first);
    close(second);
}

static void an_address_that_cannot_be_listened_on_is_an_error_with_words(void **state)
{
    struct address elsewhere = address_of("192.0.2.1:80");
    struct error error;
    assert_int_equal(socket_listen(&elsewhere, 16, &error), -1);
    assert_string_equal(error.text, "cannot listen on 192.0.2.1:80: cannot assign requested address");
}

/* As service managers make them, unless they are told otherwise. */
static void an_ipv4_client_of_a_socket_for_both_is_an_ipv4_client(void **state)
{
    struct address both = address_of("[::]:0"), peer;
    socklen_t length = sizeof both.v6;
    int no = 0, listener = socket(AF_INET6, SOCK_STREAM, 0);
    if (listener < 0) skip(); /* a machine without IPv6 */
    assert_int_equal(setsockopt(listener, IPPROTO_IPV6, IPV6_V6ONLY, &no, sizeof no), 0);
    assert_int_equal(bind(listener, &both.any, length), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, &both.any, &length), 0);
    struct address target = address_of("127.0.0.1:80"), own;
    target.v4.sin_port = both.v6.sin6_port;
    int client = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(client, &target.any, sizeof target.v4), 0);
    int accepted = socket_accept(listener, &peer);
    assert_true(accepted >= 0);
    assert_true(socket_local_address(client, &own));
    assert_int_equal(peer.any.sa_family, AF_INET);
    assert_true(address_equal(&peer, &own));
    close(client);
    close(accepted);
    close(listener);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_address_is_written_as_it_was_read),
        cmocka_unit_test(what_is_no_address_with_port_is_refused),
        cmocka_unit_test(only_this_machine_reaches_a_loopback_address),
        cmocka_unit_test(an_ipv6_address_is_written_in_one_way),
        cmocka_unit_test(an_ip_alone_has_no_brackets_and_a_mapped_one_reads_as_ipv4),
        cmocka_unit_test(addresses_are_equal_by_family_ip_and_port),
        cmocka_unit_test(a_range_holds_its_own_addresses_and_no_others),
        cmocka_unit_test(a_client_is_the_same_plain_or_mapped_into_ipv6),
        cmocka_unit_test(what_is_no_range_or_a_likely_mistake_is_refused),
        cmocka_unit_test(a_connection_is_made_without_delay_on_either_side),
        cmocka_unit_test(several_listeners_share_one_address),
        cmocka_unit_test(an_ipv4_client_of_a_socket_for_both_is_an_ipv4_client),
        cmocka_unit_test(an_address_that_cannot_be_listened_on_is_an_error_with_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
