/* Connections of a worker that many calls share, because the instance speaks HTTP/2: who gets a place on which, and when another
 * connection is made. */
#include "stage.h"

static struct backend backend;
static struct service *service;

static int set_up(void **state)
{
    if (stage_set_up(state) != 0) return -1;
    backend = backend_start(64);
    services_speak(&services, TRANSPORT_HTTP_2);
    service = service_of(&backend, NULL);
    return 0;
}

static int tear_down(void **state)
{
    stage_close_worker();
    assert_int_equal(gauge_read(&service->endpoints[0].instance->lines[0].connections), 0);
    services_drop(&services, service);
    backend_stop(&backend);
    return stage_tear_down(state);
}

static int64_t connections(void) { return gauge_read(&worker.counters.connections); }
static int64_t idle(void) { return gauge_read(&worker.counters.idle_connections); }
static int64_t waiting(void) { return gauge_read(&worker.counters.waiting); }
static uint64_t connects(void) { return counter_read(&worker.counters.connects); }

static struct caller *call_once(const struct service *of)
{
    struct caller *caller = caller_make(of, METHOD_GET);
    caller->plan.retry_count = 0;
    caller_start(caller);
    return caller;
}

/* --- the backend, frame by frame --- */

static void say_bytes(int connection, const char *bytes, size_t length)
{
    assert_int_equal(send(connection, bytes, length, MSG_NOSIGNAL), length);
}

static void say_streams_max(int connection, uint8_t maximum)
{
    const char frame[15] = { 0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, (char)maximum };
    say_bytes(connection, frame, sizeof frame);
}

static void answer(int connection, uint8_t stream)
{
    const char frame[10] = { 0, 0, 1, 1, 5, 0, 0, 0, (char)stream, (char)0x88 }; /* :status 200 */
    say_bytes(connection, frame, sizeof frame);
}

static void say_goaway(int connection, uint8_t last)
{
    const char frame[17] = { 0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, (char)last, 0, 0, 0, 0 };
    say_bytes(connection, frame, sizeof frame);
}

/* What each connection has said, by its descriptor. */
static struct heard {
    uint8_t bytes[16 * 1024];
    size_t length;
} heard[128];

static int accept_h2(void)
{
    int connection = backend_accept(&backend);
    assert_in_range(connection, 0, COUNT_OF(heard) - 1);
    heard[connection].length = 0;
    return connection;
}

static bool has_head(const struct heard *from, uint8_t stream)
{
    const uint8_t *bytes = from->bytes;
    for (size_t at = 24; from->length >= at + 9; at += 9 + (size_t)(bytes[at + 1] << 8 | bytes[at + 2])) {
        if (bytes[at + 3] == 1 && bytes[at + 8] == stream) return true;
    }
    return false;
}

/* Reads until the head of this stream has come. */
static void hear_head(int connection, uint8_t stream)
{
    struct heard *from = &heard[connection];
    turn_until(({
        ssize_t got = recv(connection, from->bytes + from->length, sizeof from->bytes - from->length, 0);
        if (got > 0) from->length += (size_t)got;
        has_head(from, stream);
    }));
}

/* A connection that has said how many streams it takes, and is idle. */
static int warm_up(uint8_t streams_max)
{
    struct caller *caller = call_once(service);
    int connection = accept_h2();
    say_streams_max(connection, streams_max);
    hear_head(connection, 1);
    answer(connection, 1);
    assert_answered(caller, 200, "");
    caller_free(caller);
    turn_until(idle() == 1);
    return connection;
}

/* --- sharing --- */

static void all_wait_for_the_one_that_is_being_made(void **state)
{
    struct caller *callers[20];
    for (int i = 0; i < 20; i++) callers[i] = call_once(service);
    assert_int_equal(connects(), 1);
    assert_int_equal(waiting(), 20);
    int connection = accept_h2();
    hear_head(connection, 39);
    say_streams_max(connection, 100);
    assert_int_equal(waiting(), 0);
    for (int i = 0; i < 20; i++) answer(connection, (uint8_t)(2 * i + 1));
    for (int i = 0; i < 20; i++) {
        assert_answered(callers[i], 200, "");
        caller_free(callers[i]);
    }
    turn_until(idle() == 1);
    assert_int_equal(connects(), 1);
    close(connection);
}

static void beyond_what_the_backend_allows_another_one_is_made(void **state)
{
    int first = warm_up(2);
    struct caller *callers[3];
    for (int i = 0; i < 3; i++) callers[i] = call_once(service);
    hear_head(first, 5);
    int second = accept_h2();
    say_streams_max(second, 100);
    hear_head(second, 1);
    answer(first, 3);
    answer(first, 5);
    answer(second, 1);
    for (int i = 0; i < 3; i++) {
        assert_answered(callers[i], 200, "");
        caller_free(callers[i]);
    }
    turn_until(idle() == 2);
    close(first);
    close(second);
}

/* It is expected to allow as many as the one before, until it says itself. */
static void a_new_connection_is_not_given_more_than_the_one_before_took(void **state)
{
    int first = warm_up(2);
    struct caller *callers[6];
    for (int i = 0; i < 6; i++) callers[i] = call_once(service);
    int second = accept_h2(), third = accept_h2();
    hear_head(first, 5);
    turn_until(waiting() == 0);
    hear_head(second, 3);
    hear_head(third, 3);
    assert_int_equal(connects(), 3);
    for (int i = 0; i < 6; i++) caller_free(callers[i]);
    close(first);
    close(second);
    close(third);
    turn_until(connections() == 0);
}

static void at_the_cap_callers_wait_for_a_place(void **state)
{
    service->connections_per_instance_max = 1;
    int connection = warm_up(1);
    struct caller *first = call_once(service), *second = call_once(service);
    hear_head(connection, 3);
    assert_int_equal(waiting(), 1);
    answer(connection, 3);
    assert_answered(first, 200, "");
    hear_head(connection, 5);
    answer(connection, 5);
    assert_answered(second, 200, "");
    caller_free(first);
    caller_free(second);
    assert_int_equal(connects(), 1);
    close(connection);
}

static void a_higher_limit_lets_those_in_line_in(void **state)
{
    service->connections_per_instance_max = 1;
    int connection = warm_up(1);
    struct caller *first = call_once(service), *second = call_once(service);
    hear_head(connection, 3);
    say_streams_max(connection, 10);
    hear_head(connection, 5);
    answer(connection, 3);
    answer(connection, 5);
    assert_answered(first, 200, "");
    assert_answered(second, 200, "");
    caller_free(first);
    caller_free(second);
    close(connection);
}

static void a_cancelled_call_gives_its_place_back(void **state)
{
    service->connections_per_instance_max = 1;
    int connection = warm_up(1);
    struct caller *leaves = call_once(service), *stays = call_once(service);
    hear_head(connection, 3);
    caller_free(leaves);
    hear_head(connection, 5);
    answer(connection, 5);
    assert_answered(stays, 200, "");
    caller_free(stays);
    close(connection);
}

/* --- connections that end --- */

static void a_draining_connection_is_closed_when_its_last_call_is_over(void **state)
{
    int first = warm_up(100);
    struct caller *begun = call_once(service);
    hear_head(first, 3);
    say_goaway(first, 3);
    turn_for(10);
    struct caller *next = call_once(service);
    int second = accept_h2();
    say_streams_max(second, 100);
    hear_head(second, 1);
    assert_int_equal(connections(), 2);
    answer(first, 3);
    assert_answered(begun, 200, "");
    caller_free(begun);
    turn_until(connections() == 1);
    assert_true(backend_sees_end(first));
    answer(second, 1);
    assert_answered(next, 200, "");
    caller_free(next);
    close(first);
    close(second);
}

static void an_idle_connection_that_drains_is_closed_at_once(void **state)
{
    int connection = warm_up(100);
    say_goaway(connection, 1);
    turn_until(connections() == 0);
    assert_true(backend_sees_end(connection));
    close(connection);
}

/* All repeat on one new connection, beside their retries. */
static void calls_that_were_not_executed_share_the_next_connection(void **state)
{
    int first = warm_up(100);
    struct caller *callers[5];
    for (int i = 0; i < 5; i++) callers[i] = call_once(service);
    hear_head(first, 11);
    say_goaway(first, 1);
    int second = accept_h2();
    say_streams_max(second, 100);
    hear_head(second, 9);
    for (int i = 0; i < 5; i++) answer(second, (uint8_t)(2 * i + 1));
    for (int i = 0; i < 5; i++) {
        assert_answered(callers[i], 200, "");
        caller_free(callers[i]);
    }
    assert_int_equal(connects(), 2);
    assert_int_equal(counter_read(&worker.counters.stale_retries), 5);
    close(first);
    close(second);
}

static void run_never(struct task *task) { (void)task; }

/* They were handed places and the connection dies before they have run: they stand in line again. */
static void places_on_a_connection_that_dies_are_replaced(void **state)
{
    struct caller *callers[3];
    for (int i = 0; i < 3; i++) callers[i] = call_once(service);
    void (*run)(struct task *) = callers[0]->call.task.run;
    for (int i = 0; i < 3; i++) callers[i]->call.task.run = run_never;
    int first = accept_h2();
    turn_until(waiting() == 0);
    close(first);
    turn_until(waiting() == 3);
    for (int i = 0; i < 3; i++) callers[i]->call.task.run = run;
    int second = accept_h2();
    say_streams_max(second, 100);
    hear_head(second, 5);
    for (int i = 0; i < 3; i++) answer(second, (uint8_t)(2 * i + 1));
    for (int i = 0; i < 3; i++) {
        assert_answered(callers[i], 200, "");
        caller_free(callers[i]);
    }
    close(second);
}

static void handed_a_place_and_cancelled_before_running(void **state)
{
    struct caller *caller = call_once(service);
    caller->call.task.run = run_never;
    int connection = accept_h2();
    turn_until(waiting() == 0);
    assert_int_equal(idle(), 0);
    caller_free(caller);
    assert_int_equal(idle(), 1);
    close(connection);
}

static void a_refused_connect_is_told_to_all_who_wait_for_it(void **state)
{
    backend_stop(&backend);
    struct caller *callers[5];
    for (int i = 0; i < 5; i++) callers[i] = call_once(service);
    for (int i = 0; i < 5; i++) {
        assert_failed(callers[i], 502, "connect-failure");
        caller_free(callers[i]);
    }
    assert_int_equal(counter_read(&worker.counters.connect_failures), 1);
}

/* --- transports --- */

/* As after a reload: the same instance, spoken to in another way. */
static void another_transport_means_other_connections(void **state)
{
    int old = warm_up(100);
    services_speak(&services, TRANSPORT_HTTP_1);
    struct service *changed = service_of(&backend, NULL);
    assert_ptr_equal(changed->endpoints[0].instance, service->endpoints[0].instance);
    struct caller *caller = call_once(changed);
    int fresh = backend_accept(&backend);
    backend_serve(fresh, HELLO);
    assert_answered(caller, 200, "hello");
    caller_free(caller);
    assert_int_equal(idle(), 2);
    close(old);
    turn_until(idle() == 1);
    services_drop(&services, changed);
    close(fresh);
    turn_until(idle() == 0);
}

/* --- connections that say whose they are --- */

static struct address address_of(const char *text)
{
    struct address address;
    assert_true(address_parse(slice_from_cstring(text), &address));
    return address;
}

/* The service's instance again, as one that wants to be told by the PROXY protocol. */
static struct service *make_told(void)
{
    services_speak(&services, TRANSPORT_HTTP_1);
    services.transport->proxy_protocol = 1;
    return service_of(&backend, NULL);
}

static struct caller *call_for(const struct service *told, const char *client)
{
    struct caller *caller = caller_make(told, METHOD_GET);
    caller->plan.retry_count = 0;
    caller->plan.source = address_of(client);
    caller->plan.destination = address_of("198.51.100.1:443");
    caller_start(caller);
    return caller;
}

/* The header in front of the request, then the answer. */
static void serve_told(int connection, const char *header)
{
    const char *request = backend_hear(connection, "\r\n\r\n");
    assert_memory_equal(request, header, strlen(header));
    assert_memory_equal(request + strlen(header), "GET ", 4);
    backend_say(connection, HELLO);
}

static void finish_told(struct service *told)
{
    turn_until(connections() == 0);
    services_drop(&services, told);
}

static void a_connection_is_its_clients_alone(void **state)
{
    struct service *told = make_told();
    struct caller *one = call_for(told, "192.0.2.1:1111"), *other = call_for(told, "192.0.2.2:2222");
    int first = backend_accept(&backend), second = backend_accept(&backend);
    serve_told(first, "PROXY TCP4 192.0.2.1 198.51.100.1 1111 443\r\n");
    assert_answered(one, 200, "hello");
    assert_true(backend_sees_end(first)); /* though the other one waits for an answer, or a third might come */
    assert_int_equal(idle(), 0);
    serve_told(second, "PROXY TCP4 192.0.2.2 198.51.100.1 2222 443\r\n");
    assert_answered(other, 200, "hello");
    caller_free(one);
    caller_free(other);
    assert_int_equal(connects(), 2);
    finish_told(told);
    close(first);
    close(second);
}

static void at_the_cap_each_waits_for_its_own(void **state)
{
    struct service *told = make_told();
    told->connections_per_instance_max = 1;
    struct caller *one = call_for(told, "192.0.2.1:1111"), *leaves = call_for(told, "192.0.2.3:3333"),
                  *other = call_for(told, "192.0.2.2:2222");
    int first = backend_accept(&backend);
    assert_false(backend_has_visitor(&backend));
    caller_free(leaves);
    serve_told(first, "PROXY TCP4 192.0.2.1 198.51.100.1 1111 443\r\n");
    assert_answered(one, 200, "hello");
    int second = backend_accept(&backend);
    serve_told(second, "PROXY TCP4 192.0.2.2 198.51.100.1 2222 443\r\n");
    assert_answered(other, 200, "hello");
    caller_free(one);
    caller_free(other);
    finish_told(told);
    close(first);
    close(second);
}

static void who_leaves_takes_the_connection_along_that_is_being_made(void **state)
{
    struct service *told = make_told();
    told->connections_per_instance_max = 1;
    struct caller *leaves = call_for(told, "192.0.2.1:1111"), *stays = call_for(told, "192.0.2.2:2222");
    assert_int_equal(connections(), 1);
    caller_free(leaves);
    int first = backend_accept(&backend), second = backend_accept(&backend);
    assert_true(backend_sees_end(first));
    serve_told(second, "PROXY TCP4 192.0.2.2 198.51.100.1 2222 443\r\n");
    assert_answered(stays, 200, "hello");
    caller_free(stays);
    finish_told(told);
    close(first);
    close(second);
}

static void a_refused_connect_is_told_to_its_client(void **state)
{
    struct service *told = make_told();
    backend_stop(&backend);
    struct caller *one = call_for(told, "192.0.2.1:1111"), *other = call_for(told, "192.0.2.2:2222");
    assert_failed(one, 502, "connect-failure");
    assert_failed(other, 502, "connect-failure");
    caller_free(one);
    caller_free(other);
    finish_told(told);
}

static void our_own_connections_say_so(void **state)
{
    struct service *told = make_told();
    struct caller *caller = call_once(told);
    int connection = backend_accept(&backend);
    serve_told(connection, "PROXY UNKNOWN\r\n");
    assert_answered(caller, 200, "hello");
    caller_free(caller);
    finish_told(told);
    close(connection);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(all_wait_for_the_one_that_is_being_made),
        CASE(beyond_what_the_backend_allows_another_one_is_made),
        CASE(a_new_connection_is_not_given_more_than_the_one_before_took),
        CASE(at_the_cap_callers_wait_for_a_place),
        CASE(a_higher_limit_lets_those_in_line_in),
        CASE(a_cancelled_call_gives_its_place_back),
        CASE(a_draining_connection_is_closed_when_its_last_call_is_over),
        CASE(an_idle_connection_that_drains_is_closed_at_once),
        CASE(calls_that_were_not_executed_share_the_next_connection),
        CASE(places_on_a_connection_that_dies_are_replaced),
        CASE(handed_a_place_and_cancelled_before_running),
        CASE(a_refused_connect_is_told_to_all_who_wait_for_it),
        CASE(another_transport_means_other_connections),
        CASE(a_connection_is_its_clients_alone),
        CASE(at_the_cap_each_waits_for_its_own),
        CASE(who_leaves_takes_the_connection_along_that_is_being_made),
        CASE(a_refused_connect_is_told_to_its_client),
        CASE(our_own_connections_say_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
