/* From accept to the session: limits by worker and by address, and the ways a table of connections ends. */
#include "unit_test.h"

#include "event/event.h"
#include "gateway/connection.h"
#include "http/h1.h"

#include <stdlib.h>
#include <unistd.h>

#define CLIENTS_MAX 160

struct fixture {
    struct loop loop;
    struct slab_pool slabs;
    struct arena_pool arenas;
    struct http_worker http;
    struct server_settings settings;
    const struct server_settings *settings_now;
    struct address_limits addresses;
    struct connection_table table;
    int clients[CLIENTS_MAX];
    unsigned client_count, emptied, refused;
};

static void request_came(struct server_stream *stream, void *owner) { fail_msg("no request was sent"); }

static void request_refused(const struct server_refusal *refusal, const struct peer *peer, void *owner)
{
    struct fixture *fixture = owner;
    assert_slice_is(slice_of(peer->ip_text, peer->ip_length), "192.0.2.1");
    fixture->refused++;
}

static void table_emptied(void *owner)
{
    struct fixture *fixture = owner;
    fixture->emptied++;
}

static void start(struct fixture *fixture, struct connection_limits limits)
{
    struct error error;
    *fixture = (struct fixture){ 0 };
    assert_true(loop_init(&fixture->loop, &error));
    slab_pool_init(&fixture->slabs, 1 << 20, NULL);
    arena_pool_init(&fixture->arenas, 16, NULL);
    fixture->http = (struct http_worker){ .loop = &fixture->loop,
                                          .slabs = &fixture->slabs,
                                          .arenas = &fixture->arenas };
    fixture->settings = (struct server_settings){
        .limits = { .request_line_bytes = 4096, .header_bytes = 8192, .header_count = 50 },
        .head_timeout_ms = 10000,
        .body_timeout_ms = 10000,
        .idle_timeout_ms = 10000,
    };
    fixture->settings_now = &fixture->settings;
    address_limits_init(&fixture->addresses);
    fixture->table = (struct connection_table){
        .http = &fixture->http,
        .settings = &fixture->settings_now,
        .addresses = &fixture->addresses,
        .limits = limits,
        .open = request_came,
        .refused = request_refused,
        .emptied = table_emptied,
        .owner = fixture,
    };
    connection_table_init(&fixture->table);
}

static void turn(struct fixture *fixture)
{
    for (int i = 0; i < 4; i++) loop_turn(&fixture->loop, 0);
}

static void stop(struct fixture *fixture)
{
    connection_table_abort(&fixture->table);
    turn(fixture);
    for (unsigned i = 0; i < fixture->client_count; i++) close(fixture->clients[i]);
    assert_int_equal(gauge_read(&fixture->table.count), 0);
    for (uint32_t i = 0; i <= fixture->addresses.open.mask; i++) {
        assert_int_equal(atomic_load(&fixture->addresses.open.entries[i]) & 0xffffff, 0);
    }
    assert_int_equal(fixture->loop.timers.count, 0);
    assert_int_equal(fixture->slabs.taken_bytes, 0);
    assert_int_equal(fixture->arenas.bytes_taken, 0);
    address_limits_release(&fixture->addresses);
    slab_pool_release(&fixture->slabs);
    arena_pool_release(&fixture->arenas);
    loop_release(&fixture->loop);
}

/* A client from an address, which may have said something already. Its own end of the connection. */
static int arrive(struct fixture *fixture, const char *ip, const char *bytes)
{
    int pair[2];
    struct address peer;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    assert_true(address_parse_ip(slice_from_cstring(ip), 50000, &peer));
    if (bytes) assert_int_equal(write(pair[0], bytes, strlen(bytes)), strlen(bytes));
    fixture->clients[fixture->client_count++] = pair[0];
    connection_accept(&fixture->table, pair[1], &peer, NULL);
    turn(fixture);
    return pair[0];
}

static bool is_turned_away(int client)
{
    char answer[1024];
    ssize_t got = recv(client, answer, sizeof answer - 1, MSG_DONTWAIT);
    if (got <= 0) return false;
    answer[got] = '\0';
    assert_non_null(strstr(answer, "HTTP/1.1 503 "));
    assert_non_null(strstr(answer, "\r\nRetry-After: 1\r\n"));
    assert_int_equal(recv(client, answer, sizeof answer, MSG_DONTWAIT), 0); /* and the end, no reset */
    return true;
}

static void a_worker_takes_so_many_and_no_more(void **state)
{
    struct fixture fixture;
    start(&fixture, (struct connection_limits){ .connections_max = 3 });
    for (int i = 0; i < 3; i++) assert_false(is_turned_away(arrive(&fixture, "192.0.2.1", NULL)));
    assert_true(is_turned_away(arrive(&fixture, "192.0.2.2", NULL)));
    assert_true(is_turned_away(arrive(&fixture, "192.0.2.2", "GET / HTTP/1.1\r\nHost: a\r\n\r\n")));
    assert_int_equal(gauge_read(&fixture.table.count), 3);
    assert_int_equal(counter_read(&fixture.table.accepted), 5);
    assert_int_equal(counter_read(&fixture.table.turned_away), 2);
    close(fixture.clients[0]);
    fixture.clients[0] = -1;
    turn(&fixture);
    assert_int_equal(gauge_read(&fixture.table.count), 2);
    assert_false(is_turned_away(arrive(&fixture, "192.0.2.2", NULL)));
    stop(&fixture);
}

#define REQUEST "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
#define LEAVING_AT_ONCE 128

/* Most clients send only once they are connected, and look for an answer only once they have sent. */
static void who_is_turned_away_can_send_and_then_read(void **state)
{
    struct fixture fixture;
    start(&fixture, (struct connection_limits){ 0 });
    int client = arrive(&fixture, "192.0.2.1", NULL);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(send(client, REQUEST, strlen(REQUEST), MSG_NOSIGNAL), strlen(REQUEST));
        turn(&fixture);
    }
    assert_true(is_turned_away(client));
    assert_int_equal(fixture.table.leaving, 1);
    close(client);
    fixture.clients[0] = -1;
    turn(&fixture);
    assert_int_equal(fixture.table.leaving, 0);
    assert_int_equal(fixture.refused, 0);
    stop(&fixture);
}

static void turn_for(struct fixture *fixture, unsigned milliseconds)
{
    for (uint64_t until_ms = fixture->loop.now_ms + milliseconds; fixture->loop.now_ms < until_ms;)
        loop_turn(&fixture->loop, 5);
}

static void who_is_turned_away_has_no_more_than_a_moment(void **state)
{
    struct fixture fixture;
    start(&fixture, (struct connection_limits){ 0 });
    loop_turn(&fixture.loop, 0);
    arrive(&fixture, "192.0.2.1", NULL);
    turn_for(&fixture, 300);
    assert_int_equal(fixture.table.leaving, 1);
    turn_for(&fixture, 300);
    assert_int_equal(fixture.table.leaving, 0);
    stop(&fixture);
}

static void of_who_is_turned_away_so_much_is_read(void **state)
{
    static char bytes[20 * 1024];
    struct fixture fixture;
    start(&fixture, (struct connection_limits){ 0 });
    int client = arrive(&fixture, "192.0.2.1", NULL);
    assert_int_equal(send(client, bytes, sizeof bytes, MSG_NOSIGNAL), sizeof bytes);
    turn(&fixture);
    assert_int_equal(fixture.table.leaving, 0);
    stop(&fixture);
}

static void beyond_so_many_that_are_leaving_connections_are_closed_on_the_spot(void **state)
{
    struct fixture fixture;
    start(&fixture, (struct connection_limits){ 0 });
    for (int i = 0; i < LEAVING_AT_ONCE; i++) arrive(&fixture, "192.0.2.1", NULL);
    assert_int_equal(fixture.table.leaving, LEAVING_AT_ONCE);
    int client = arrive(&fixture, "192.0.2.1", REQUEST);
    assert_int_equal(fixture.table.leaving, LEAVING_AT_ONCE);
    assert_true(is_turned_away(client));
    assert_int_equal(send(client, REQUEST, strlen(REQUEST), MSG_NOSIGNAL), -1);
    assert_int_equal(counter_read(&fixture.table.turned_away), LEAVING_AT_ONCE + 1);
    stop(&fixture);
}

/* They hold no place that others could have. */
static void who_is_leaving_does_not_count(void **state)
{
    struct fixture fixture;
    start(&fixture, (struct connection_limits){ .connections_max = 1 });
    assert_false(is_turned_away(arrive(&fixture, "192.0.2.1", NULL)));
    assert_true(is_turned_away(arrive(&fixture, "192.0.2.1", NULL)));
    close(fixture.clients[0]);
    fixture.clients[0] = -1;
    turn(&fixture);
    assert_int_equal(gauge_read(&fixture.table.count), 0);
    assert_false(is_turned_away(arrive(&fixture, "192.0.2.1", NULL)));
    stop(&fixture);
}

static void an_address_takes_so_many_and_others_are_not_touched(void **state)
{
    struct fixture fixture;
    start(&fixture, (struct connection_limits){ .connections_max = 100, .connections_per_address_max = 2 });
    assert_false(is_turned_away(arrive(&fixture, "192.0.2.1", NULL)));
    assert_false(is_turned_away(arrive(&fixture, "192.0.2.1", NULL)));
    for (int i = 0; i < 5; i++) assert_true(is_turned_away(arrive(&fixture, "192.0.2.1", NULL)));
    assert_false(is_turned_away(arrive(&fixture, "192.0.2.2", NULL)));
    close(fixture.clients[0]);
    fixture.clients[0] = -1;
    turn(&fixture);
    assert_false(is_turned_away(arrive(&fixture, "192.0.2.1", NULL)));
    assert_true(is_turned_away(arrive(&fixture, "192.0.2.1", NULL)));
    stop(&fixture);
}

static void an_ipv6_network_of_64_bits_counts_as_one_address(void **state)
{
    struct fixture fixture;
    start(&fixture, (struct connection_limits){ .connections_max = 100, .connections_per_address_max = 1 });
    assert_false(is_turned_away(arrive(&fixture, "2001:db8:1:2::1", NULL)));
    assert_true(is_turned_away(arrive(&fixture, "2001:db8:1:2:ffff::9", NULL)));
    assert_false(is_turned_away(arrive(&fixture, "2001:db8:1:3::1", NULL)));
    stop(&fixture);
}

static void newcomers_of_an_address_are_counted_by_the_second(void **state)
{
    struct fixture fixture;
    start(&fixture, (struct connection_limits){ .connections_max = 100, .new_connections_per_address_per_second = 3 });
    uint64_t second_ms = fixture.loop.now_ms / 1000 * 1000;
    for (int i = 0; i < 3; i++) {
        fixture.loop.now_ms = second_ms;
        assert_false(is_turned_away(arrive(&fixture, "192.0.2.1", NULL)));
    }
    fixture.loop.now_ms = second_ms;
    assert_true(is_turned_away(arrive(&fixture, "192.0.2.1", NULL)));
    fixture.loop.now_ms = second_ms;
    assert_false(is_turned_away(arrive(&fixture, "192.0.2.2", NULL)));
    fixture.loop.now_ms = second_ms + 60000;
    assert_false(is_turned_away(arrive(&fixture, "192.0.2.1", NULL)));
    stop(&fixture);
}

/* A reload that lifts the limit while connections are open: they are counted down all the same. */
static void a_limit_may_go_while_its_connections_stay(void **state)
{
    struct fixture fixture;
    start(&fixture, (struct connection_limits){ .connections_max = 100, .connections_per_address_max = 5 });
    for (int i = 0; i < 4; i++) arrive(&fixture, "192.0.2.1", NULL);
    fixture.table.limits.connections_per_address_max = 0;
    for (int i = 0; i < 4; i++) arrive(&fixture, "192.0.2.1", NULL);
    stop(&fixture);
}

static void what_the_session_refuses_is_told_with_the_peer(void **state)
{
    struct fixture fixture;
    start(&fixture, (struct connection_limits){ .connections_max = 100 });
    arrive(&fixture, "192.0.2.1", "nonsense\r\n\r\n");
    assert_int_equal(fixture.refused, 1);
    stop(&fixture);
}

static void an_empty_table_says_so_at_once(void **state)
{
    struct fixture fixture;
    start(&fixture, (struct connection_limits){ .connections_max = 100 });
    connection_table_drain(&fixture.table);
    turn(&fixture);
    assert_int_equal(fixture.emptied, 1);
    stop(&fixture);
    assert_int_equal(fixture.emptied, 1);
}

static void draining_closes_idle_connections_and_says_so_once(void **state)
{
    struct fixture fixture;
    start(&fixture, (struct connection_limits){ .connections_max = 100 });
    for (int i = 0; i < 10; i++) arrive(&fixture, "192.0.2.1", NULL);
    connection_table_drain(&fixture.table);
    for (int i = 0; i < 200 && fixture.emptied == 0; i++) loop_turn(&fixture.loop, 10);
    assert_int_equal(fixture.emptied, 1);
    assert_int_equal(gauge_read(&fixture.table.count), 0);
    char byte;
    for (unsigned i = 0; i < 10; i++) assert_int_equal(recv(fixture.clients[i], &byte, 1, MSG_DONTWAIT), 0);
    stop(&fixture);
    assert_int_equal(fixture.emptied, 1);
}

static void yielding_waits_for_idle_connections_until_it_is_told_to_drain(void **state)
{
    struct fixture fixture;
    start(&fixture, (struct connection_limits){ .connections_max = 100 });
    for (int i = 0; i < 10; i++) arrive(&fixture, "192.0.2.1", NULL);
    connection_table_yield(&fixture.table);
    for (int i = 0; i < 5; i++) loop_turn(&fixture.loop, 5);
    assert_int_equal(fixture.emptied, 0);
    assert_int_equal(gauge_read(&fixture.table.count), 10);
    connection_table_drain(&fixture.table);
    for (int i = 0; i < 200 && fixture.emptied == 0; i++) loop_turn(&fixture.loop, 10);
    assert_int_equal(fixture.emptied, 1);
    stop(&fixture);
    assert_int_equal(fixture.emptied, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_worker_takes_so_many_and_no_more),
        cmocka_unit_test(who_is_turned_away_can_send_and_then_read),
        cmocka_unit_test(who_is_turned_away_has_no_more_than_a_moment),
        cmocka_unit_test(of_who_is_turned_away_so_much_is_read),
        cmocka_unit_test(beyond_so_many_that_are_leaving_connections_are_closed_on_the_spot),
        cmocka_unit_test(who_is_leaving_does_not_count),
        cmocka_unit_test(an_address_takes_so_many_and_others_are_not_touched),
        cmocka_unit_test(an_ipv6_network_of_64_bits_counts_as_one_address),
        cmocka_unit_test(newcomers_of_an_address_are_counted_by_the_second),
        cmocka_unit_test(a_limit_may_go_while_its_connections_stay),
        cmocka_unit_test(what_the_session_refuses_is_told_with_the_peer),
        cmocka_unit_test(an_empty_table_says_so_at_once),
        cmocka_unit_test(draining_closes_idle_connections_and_says_so_once),
        cmocka_unit_test(yielding_waits_for_idle_connections_until_it_is_told_to_drain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
