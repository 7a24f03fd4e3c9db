/* A worker's connections to an instance: which one is taken, who waits for how long, and what is closed when. */
#include "stage.h"

static struct backend backend;
static struct service *service;

static int set_up(void **state)
{
    if (stage_set_up(state) != 0) return -1;
    backend = backend_start(64);
    service = service_of(&backend, NULL);
    return 0;
}

static int tear_down(void **state)
{
    assert_int_equal(instance_in_flight(service->endpoints[0].instance), 0);
    stage_close_worker();
    assert_int_equal(gauge_read(&service->endpoints[0].instance->lines[0].connections), 0);
    services_drop(&services, service);
    backend_stop(&backend);
    return stage_tear_down(state);
}

static int64_t connections(void) { return gauge_read(&worker.counters.connections); }
static int64_t idle(void) { return gauge_read(&worker.counters.idle_connections); }
static int64_t waiting(void) { return gauge_read(&worker.counters.waiting); }

/* A call that fails where it stands. */
static struct caller *call_once(const struct service *of)
{
    struct caller *caller = caller_make(of, METHOD_GET);
    caller->plan.retry_count = 0;
    caller_start(caller);
    return caller;
}

/* As many idle connections as asked for, all to this service's only instance. */
static void warm_up(const struct service *of, const struct backend *at, int *warm, int count)
{
    struct caller *callers[64];
    for (int i = 0; i < count; i++) {
        callers[i] = call_once(of);
        warm[i] = backend_accept(at);
    }
    for (int i = 0; i < count; i++) {
        backend_serve(warm[i], HELLO);
        assert_answered(callers[i], 200, "hello");
        caller_free(callers[i]);
    }
}

static void close_all(int *warm, int count)
{
    for (int i = 0; i < count; i++) close(warm[i]);
}

/* --- taking --- */

static void the_connection_used_last_is_taken_first(void **state)
{
    int warm[3];
    warm_up(service, &backend, warm, 3);
    assert_int_equal(idle(), 3);
    for (int i = 0; i < 3; i++) {
        struct caller *caller = call_once(service);
        backend_serve(warm[2], HELLO);
        assert_answered(caller, 200, "hello");
        caller_free(caller);
    }
    close_all(warm, 3);
}

static void a_connection_that_spoke_unasked_is_not_taken(void **state)
{
    int warm[1];
    warm_up(service, &backend, warm, 1);
    backend_say(warm[0], "HTTP/1.1 408 Request Timeout\r\n\r\n");
    turn_until(connections() == 0);
    struct caller *caller = call_once(service);
    int fresh = backend_accept(&backend);
    backend_serve(fresh, HELLO);
    assert_answered(caller, 200, "hello");
    caller_free(caller);
    close(warm[0]);
    close(fresh);
}

static void a_connection_that_will_be_closed_is_not_kept(void **state)
{
    struct caller *caller = call_once(service);
    int connection = backend_accept(&backend);
    backend_serve(connection, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello");
    assert_answered(caller, 200, "hello");
    caller_free(caller);
    assert_int_equal(connections(), 0);
    close(connection);
}

/* --- waiting --- */

static void at_the_cap_callers_wait_in_line(void **state)
{
    service->connections_per_instance_max = 1;
    struct caller *callers[4];
    for (int i = 0; i < 4; i++) callers[i] = call_once(service);
    int connection = backend_accept(&backend);
    for (int i = 0; i < 4; i++) {
        backend_hear(connection, "\r\n\r\n");
        assert_int_equal(waiting(), 3 - i);
        assert_int_equal(connections(), 1);
        backend_say(connection, HELLO);
        assert_answered(callers[i], 200, "hello"); /* in the order in which they came */
        for (int j = i + 1; j < 4; j++) assert_int_equal(callers[j]->runs, 0);
    }
    for (int i = 0; i < 4; i++) caller_free(callers[i]);
    assert_int_equal(counter_read(&worker.counters.connects), 1);
    close(connection);
}

static void a_broken_connection_makes_room_for_the_next_in_line(void **state)
{
    service->connections_per_instance_max = 1;
    struct caller *first = caller_make(service, METHOD_POST), *second = call_once(service);
    caller_start(first);
    int one = backend_accept(&backend);
    backend_hear(one, "\r\n\r\n");
    backend_reset(one);
    int other = backend_accept(&backend);
    struct caller *served = caller_is_done(first) ? second : first;
    backend_serve(other, HELLO);
    assert_answered(served, 200, "hello");
    caller_free(first);
    caller_free(second);
    close(other);
}

static void who_waits_in_vain_is_told_that_all_are_in_use(void **state)
{
    service->connections_per_instance_max = 1;
    struct caller *busy = call_once(service), *late = caller_make(service, METHOD_GET);
    int connection = backend_accept(&backend);
    backend_hear(connection, "\r\n\r\n");
    late->plan.deadline_ms = loop.now_ms + 30;
    caller_start(late);
    assert_failed(late, 503, "overload");
    assert_non_null(strstr(late->call.error.text, "(1 in use)"));
    caller_free(late);
    backend_say(connection, HELLO);
    assert_answered(busy, 200, "hello");
    caller_free(busy);
    close(connection);
}

static void who_leaves_the_line_is_not_served(void **state)
{
    service->connections_per_instance_max = 1;
    struct caller *busy = call_once(service), *leaves = call_once(service), *stays = call_once(service);
    int connection = backend_accept(&backend);
    backend_hear(connection, "\r\n\r\n");
    caller_free(leaves);
    assert_int_equal(waiting(), 1);
    backend_say(connection, HELLO);
    assert_answered(busy, 200, "hello");
    backend_serve(connection, HELLO);
    assert_answered(stays, 200, "hello");
    caller_free(busy);
    caller_free(stays);
    close(connection);
}

/* A repeated request wants a fresh connection. At the cap it gets one when a used one has become idle, which gives way. */
static void who_insists_on_a_fresh_connection_is_not_left_in_line(void **state)
{
    service->connections_per_instance_max = 1;
    int stale;
    warm_up(service, &backend, &stale, 1);
    struct caller *repeats = call_once(service), *other = call_once(service);
    backend_hear(stale, "\r\n\r\n");
    close(stale);
    int first = backend_accept(&backend);
    backend_serve(first, HELLO);
    assert_answered(other, 200, "hello");
    int second = backend_accept(&backend);
    backend_serve(second, HELLO);
    assert_answered(repeats, 200, "hello");
    caller_free(repeats);
    caller_free(other);
    close(first);
    close(second);
}

/* Whoever waits first gets what comes first; the connection made on its behalf serves later. */
static void a_free_connection_comes_before_one_being_made(void **state)
{
    struct caller *first = call_once(service);
    int one = backend_accept(&backend);
    backend_hear(one, "\r\n\r\n");
    backend_say(one, HELLO);
    struct caller *second = call_once(service);
    assert_answered(first, 200, "hello");
    caller_free(first);
    int other = backend_accept(&backend);
    turn_for(10);
    char byte;
    int serving = recv(one, &byte, 1, MSG_PEEK) == 1 ? one : other;
    backend_serve(serving, HELLO);
    assert_answered(second, 200, "hello");
    caller_free(second);
    turn_until(idle() == 2);
    close(one);
    close(other);
}

static void run_never(struct task *task) { (void)task; }

/* It was handed over and dies before the waiter has run: the waiter stands in front again and gets another one. */
static void a_connection_that_dies_on_its_way_is_replaced(void **state)
{
    struct caller *caller = call_once(service);
    void (*run)(struct task *) = caller->call.task.run;
    caller->call.task.run = run_never;
    int one = backend_accept(&backend);
    turn_until(waiting() == 0);
    close(one);
    turn_until(waiting() == 1);
    caller->call.task.run = run;
    int other = backend_accept(&backend);
    backend_serve(other, HELLO);
    assert_answered(caller, 200, "hello");
    caller_free(caller);
    close(other);
}

/* --- connecting --- */

/* A backend whose queue is full: the kernel drops what knocks. */
static struct backend silent_backend(int *fillers, int count)
{
    struct backend silent = backend_start(0);
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_port = htons(silent.port),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    for (int i = 0; i < count; i++) {
        fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        (void)!connect(fillers[i], (struct sockaddr *)&address, sizeof address);
    }
    turn_for(20);
    return silent;
}

static void a_connect_without_an_answer_times_out(void **state)
{
    int fillers[4];
    struct backend silent = silent_backend(fillers, 4);
    struct service *mute = service_of(&silent, NULL);
    mute->connect_timeout_ms = 40;
    struct caller *caller = call_once(mute);
    uint64_t begun_ms = loop.now_ms;
    assert_failed(caller, 504, "timeout");
    assert_in_range(loop.now_ms - begun_ms, 35, 200);
    assert_non_null(strstr(caller->call.error.text, "no answer within 40 ms"));
    assert_true(instance_is_passed_over(mute->endpoints[0].instance, loop.now_ms));
    caller_free(caller);
    assert_int_equal(connections(), 0);
    upstream_worker_forget(&worker, mute->endpoints[0].instance);
    services_drop(&services, mute);
    close_all(fillers, 4);
    backend_stop(&silent);
}

static void cancelled_while_a_connect_has_no_answer(void **state)
{
    int fillers[4];
    struct backend silent = silent_backend(fillers, 4);
    struct service *mute = service_of(&silent, NULL);
    struct caller *caller = call_once(mute);
    turn_for(10);
    caller_free(caller);
    assert_int_equal(connections(), 1); /* it goes on, for whoever comes next */
    upstream_worker_close_idle(&worker);
    assert_int_equal(connections(), 0);
    upstream_worker_forget(&worker, mute->endpoints[0].instance);
    services_drop(&services, mute);
    close_all(fillers, 4);
    backend_stop(&silent);
}

/* Under a cap, everybody behind the first would wait for nothing. */
static void a_refused_connect_is_told_to_the_whole_line(void **state)
{
    backend_stop(&backend);
    service->connections_per_instance_max = 1;
    struct caller *callers[5];
    for (int i = 0; i < 5; i++) callers[i] = call_once(service);
    turn_until(caller_is_done(callers[4]));
    for (int i = 0; i < 5; i++) {
        assert_failed(callers[i], 502, "connect-failure");
        caller_free(callers[i]);
    }
    assert_int_equal(counter_read(&worker.counters.connect_failures), 1);
}

/* --- keeping --- */

/* Beyond the number they stay for a moment, in case they are wanted again, and go with the next sweep. */
static void an_instance_keeps_so_many_idle_ones(void **state)
{
    service->idle_connections_max = 2;
    int warm[5];
    warm_up(service, &backend, warm, 5);
    turn_for(50);
    assert_int_equal(idle(), 5);
    turn_until(idle() <= 2); /* one by one where they came back in different milliseconds */
    turn_for(50);
    assert_int_equal(idle(), 2);
    assert_int_equal(connections(), 2);
    close_all(warm, 5);
}

static void with_none_to_be_kept_each_request_has_its_own(void **state)
{
    service->idle_connections_max = 0;
    int warm[2];
    warm_up(service, &backend, warm, 2);
    turn(0);
    assert_int_equal(connections(), 0);
    close_all(warm, 2);
}

/* One busy instance can't push the few connections of a quiet one out. */
static void the_total_is_shared_fairly(void **state)
{
    worker.idle_connections_total_max = 10;
    struct backend quiet_backend = backend_start(64);
    struct service *quiet = service_of(&quiet_backend, NULL);
    int few[2], many[20];
    warm_up(quiet, &quiet_backend, few, 2);
    warm_up(service, &backend, many, 20);
    turn(0);
    assert_int_equal(idle(), 10);
    assert_int_equal(gauge_read(&quiet->endpoints[0].instance->lines[0].connections), 2);
    assert_int_equal(gauge_read(&service->endpoints[0].instance->lines[0].connections), 8);
    close_all(few, 2);
    close_all(many, 20);
    turn_until(connections() == 0);
    upstream_worker_forget(&worker, quiet->endpoints[0].instance);
    services_drop(&services, quiet);
    backend_stop(&quiet_backend);
}

static void what_is_idle_for_long_is_closed(void **state)
{
    service->pool_idle_timeout_ms = 200;
    int warm[3];
    warm_up(service, &backend, warm, 3);
    turn_for(100);
    assert_int_equal(idle(), 3);
    turn_until(idle() == 0);
    for (int i = 0; i < 3; i++) assert_true(backend_sees_end(warm[i]));
    close_all(warm, 3);
}

static void a_forgotten_instance_has_no_connections(void **state)
{
    int warm[3];
    warm_up(service, &backend, warm, 3);
    upstream_worker_forget(&worker, service->endpoints[0].instance);
    assert_int_equal(connections(), 0);
    assert_int_equal(idle(), 0);
    for (int i = 0; i < 3; i++) assert_true(backend_sees_end(warm[i]));
    close_all(warm, 3);
    upstream_worker_forget(&worker, service->endpoints[0].instance);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(the_connection_used_last_is_taken_first),
        CASE(a_connection_that_spoke_unasked_is_not_taken),
        CASE(a_connection_that_will_be_closed_is_not_kept),
        CASE(at_the_cap_callers_wait_in_line),
        CASE(a_broken_connection_makes_room_for_the_next_in_line),
        CASE(who_waits_in_vain_is_told_that_all_are_in_use),
        CASE(who_leaves_the_line_is_not_served),
        CASE(who_insists_on_a_fresh_connection_is_not_left_in_line),
        CASE(a_free_connection_comes_before_one_being_made),
        CASE(a_connection_that_dies_on_its_way_is_replaced),
        CASE(a_connect_without_an_answer_times_out),
        CASE(cancelled_while_a_connect_has_no_answer),
        CASE(a_refused_connect_is_told_to_the_whole_line),
        CASE(an_instance_keeps_so_many_idle_ones),
        CASE(with_none_to_be_kept_each_request_has_its_own),
        CASE(the_total_is_shared_fairly),
        CASE(what_is_idle_for_long_is_closed),
        CASE(a_forgotten_instance_has_no_connections),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
