/* A client whose first bytes are HTTP/2's preface (RFC 9113 3.3): the HTTP/1.1 session that reads them hands it over. */
#include "h2_fixture.h"

#include "http/h1_server.h"

static void handed_over(struct server_session *session, struct session_socket socket, void *owner)
{
    struct fixture *f = owner;
    assert_ptr_equal(session, f->session);
    f->session = h2_server_start(&f->bench.worker, &f->settings_now, socket, &f->peer, &events, f);
    assert_non_null(f->session);
}

static const struct server_session_events handing_over = {
    .open = opened,
    .refused = refused,
    .closed = closed,
    .handed_over = handed_over,
};

static void start_h1(struct fixture *f, const struct server_session_events *session_events)
{
    int accepted, connected;
    connect_pair(&accepted, &connected);
    wire_open(&f->wire, connected);
    h2_peer_open(&f->client, &f->wire);
    f->session = h1_server_start(&f->bench.worker, &f->settings_now, (struct session_socket){ .descriptor = accepted },
                                 &f->peer, session_events, f);
    assert_non_null(f->session);
}

static int set_up_handing_over(void **state)
{
    set_up(state);
    start_h1(*state, &handing_over);
    return 0;
}

static void the_preface_with_all_that_follows_it_in_one_piece_is_handed_over(void **state)
{
    struct fixture *f = *state;
    char bytes[512], block[128];
    f->answer_at_once = "ok";
    memcpy(bytes, H2_PREFACE, 24);
    h2_frame_head(bytes + 24, NGHTTP2_SETTINGS, 0, 0, 0);
    size_t length = h2_block(&f->client, block, sizeof block, H2_REQUEST("GET", "/a"), NULL);
    h2_frame_head(bytes + 33, NGHTTP2_HEADERS, H2_END | H2_END_HEADERS, 1, length);
    memcpy(bytes + 42, block, length);
    h2_bytes(&f->client, bytes, 42 + length);
    assert_h2(&f->client, "DATA 1 ok end\n");
    assert_soon(f->sent == 1);
    h2_get(&f->client, 3, "/a");
    assert_h2(&f->client, "DATA 3 ok end\n");
    assert_idle_and_empty(f);
}

static void a_dribbled_preface_is_handed_over(void **state)
{
    struct fixture *f = *state;
    f->answer_at_once = "ok";
    for (size_t i = 0; i < 24; i++) {
        h2_bytes(&f->client, &H2_PREFACE[i], 1);
        settle(f);
    }
    h2_frame(&f->client, NGHTTP2_SETTINGS, 0, 0, NULL, 0);
    h2_get(&f->client, 1, "/a");
    assert_h2(&f->client, "DATA 1 ok end\n");
    assert_int_equal(f->closed, 0);
    assert_int_equal(f->refused, 0);
}

static void a_client_of_http_1_1_stays_with_it(void **state)
{
    struct fixture *f = *state;
    f->answer_at_once = "ok";
    wire_say(&f->wire, "GET /a HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_received(&f->wire, "HTTP/1.1 200 OK\r\n");
}

static void what_only_begins_like_the_preface_is_a_request_of_a_version_too_high(void **state)
{
    struct fixture *f = *state;
    wire_say(&f->wire, "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n");
    assert_received(&f->wire, "HTTP/1.1 505 ");
    assert_int_equal(f->opened, 0);
}

static void pri_is_a_method_like_any_other_elsewhere(void **state)
{
    struct fixture *f = *state;
    f->answer_at_once = "ok";
    wire_say(&f->wire, "PRI /a HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_received(&f->wire, "HTTP/1.1 200 OK\r\n");
    assert_string_equal(f->exchanges[0].method, "PRI");
}

static void a_preface_behind_a_request_is_a_bad_request(void **state)
{
    struct fixture *f = *state;
    f->answer_at_once = "ok";
    wire_say(&f->wire, "GET /a HTTP/1.1\r\nHost: h\r\n\r\n" H2_PREFACE);
    assert_received(&f->wire, "HTTP/1.1 200 OK\r\n");
    assert_soon(f->refused == 1);
    assert_true(f->refused_status >= 400);
}

static void where_nobody_takes_it_over_the_preface_is_a_bad_request(void **state)
{
    struct fixture *f = *state;
    start_h1(f, &events);
    wire_say(&f->wire, H2_PREFACE);
    assert_soon(f->refused == 1);
    assert_true(f->refused_status >= 400);
}

static void half_a_preface_has_its_time(void **state)
{
    struct fixture *f = *state;
    f->settings.head_timeout_ms = 40;
    start_h1(f, &handing_over);
    wire_say(&f->wire, "PRI * HTTP/2.0");
    bench_wait(&f->bench, &f->wire, 60);
    assert_soon(f->refused_status == 408);
}

static void a_client_that_leaves_inside_its_preface_is_forgotten(void **state)
{
    struct fixture *f = *state;
    wire_say(&f->wire, "PRI * HT");
    settle(f);
    shutdown(f->wire.descriptor, SHUT_WR);
    assert_soon(f->closed == 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_preface_with_all_that_follows_it_in_one_piece_is_handed_over,
                                        set_up_handing_over, tear_down),
        cmocka_unit_test_setup_teardown(a_dribbled_preface_is_handed_over, set_up_handing_over, tear_down),
        cmocka_unit_test_setup_teardown(a_client_of_http_1_1_stays_with_it, set_up_handing_over, tear_down),
        cmocka_unit_test_setup_teardown(what_only_begins_like_the_preface_is_a_request_of_a_version_too_high,
                                        set_up_handing_over, tear_down),
        cmocka_unit_test_setup_teardown(pri_is_a_method_like_any_other_elsewhere, set_up_handing_over, tear_down),
        cmocka_unit_test_setup_teardown(a_preface_behind_a_request_is_a_bad_request, set_up_handing_over, tear_down),
        cmocka_unit_test_setup_teardown(where_nobody_takes_it_over_the_preface_is_a_bad_request, set_up, tear_down),
        cmocka_unit_test_setup_teardown(half_a_preface_has_its_time, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_client_that_leaves_inside_its_preface_is_forgotten, set_up_handing_over,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
