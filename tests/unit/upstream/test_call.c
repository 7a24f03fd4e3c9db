/* Calls against backends that do as they are told: answers, retries, deadlines, and cancelling at each step. */
#include "stage.h"

static struct backend first, second;
static struct service *service;

static int set_up(void **state)
{
    if (stage_set_up(state) != 0) return -1;
    first = backend_start(16);
    second = backend_start(16);
    service = service_of(&first, &second);
    will_pick(service, 0);
    return 0;
}

static int tear_down(void **state)
{
    assert_int_equal(instance_in_flight(service->endpoints[0].instance), 0);
    assert_int_equal(instance_in_flight(service->endpoints[1].instance), 0);
    stage_close_worker();
    services_drop(&services, service);
    backend_stop(&first);
    backend_stop(&second);
    return stage_tear_down(state);
}

static uint64_t count(const struct counter *counter) { return counter_read(counter); }

/* --- answers --- */

/* A small answer costs the owner one run: head and end together, and the lease is back by then. */
static void head_and_end_of_a_small_answer_come_together(void **state)
{
    struct caller *caller = call_service(service, METHOD_GET);
    assert_int_equal(gauge_read(&worker.counters.leases), 1);
    assert_int_equal(instance_in_flight(service->endpoints[0].instance), 1);
    int connection = backend_accept(&first);
    assert_non_null(strstr(backend_hear(connection, "\r\n\r\n"), "GET /a?b=1 HTTP/1.1\r\nHost: example.test\r\n"));
    caller->reads_body = false;
    backend_say(connection, HELLO);
    turn_until(caller->runs > 0);
    assert_int_equal(caller->runs, 1);
    assert_int_equal(caller->call.events, CALL_HEAD | CALL_DONE);
    assert_int_equal(gauge_read(&worker.counters.leases), 0);
    assert_int_equal(caller->call.tries, 1);
    assert_ptr_equal(caller->call.instance, service->endpoints[0].instance);
    assert_int_equal(caller->call.response_body->buffered, 5); /* not read, and yet the lease is back */
    assert_true(caller->call.head_ns >= caller->call.started_ns && caller->call.done_ns >= caller->call.head_ns);
    caller_free(caller);
    close(connection);
}

static void a_connection_serves_one_call_after_the_other(void **state)
{
    int connection = -1;
    for (int i = 0; i < 5; i++) {
        will_pick(service, 0);
        struct caller *caller = call_service(service, METHOD_POST);
        if (connection < 0) connection = backend_accept(&first);
        backend_serve(connection, HELLO);
        assert_answered(caller, 200, "hello");
        caller_free(caller);
        assert_int_equal(gauge_read(&worker.counters.idle_connections), 1);
    }
    assert_int_equal(count(&worker.counters.connects), 1);
    close(connection);
}

static void a_long_body_streams(void **state)
{
    struct caller *caller = call_service(service, METHOD_GET);
    int connection = backend_accept(&first);
    backend_serve(connection, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n");
    turn_until(caller->body_length == 4);
    assert_int_equal(caller->call.events, CALL_HEAD);
    assert_int_equal(gauge_read(&worker.counters.leases), 1);
    backend_say(connection, "3\r\nefg\r\n0\r\n\r\n");
    assert_answered(caller, 200, "abcdefg");
    caller_free(caller);
    close(connection);
}

static void interim_heads_are_passed_on(void **state)
{
    struct caller *caller = call_service(service, METHOD_GET);
    int connection = backend_accept(&first);
    backend_serve(connection, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
    turn_until(caller->interims == 1);
    assert_int_equal(caller->call.events, CALL_INTERIM);
    backend_say(connection, "HTTP/1.1 102 Processing\r\n\r\n" HELLO);
    assert_answered(caller, 200, "hello");
    assert_int_equal(caller->interims, 2);
    assert_int_equal(caller->interim_statuses[0], 103);
    assert_int_equal(caller->interim_statuses[1], 102);
    caller_free(caller);
    close(connection);
}

static void the_host_can_be_the_instances_own(void **state)
{
    struct caller *caller = caller_make(service, METHOD_GET);
    caller->plan.host_of_instance = true;
    caller_start(caller);
    int connection = backend_accept(&first);
    char host[64];
    snprintf(host, sizeof host, "\r\nHost: 127.0.0.1:%u\r\n", first.port);
    assert_non_null(strstr(backend_hear(connection, "\r\n\r\n"), host));
    backend_say(connection, HELLO);
    assert_answered(caller, 200, "hello");
    caller_free(caller);
    close(connection);
}

static void a_body_cut_short_is_told_after_the_head(void **state)
{
    struct caller *caller = call_service(service, METHOD_GET);
    int connection = backend_accept(&first);
    backend_serve(connection, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc");
    turn_until(caller->body_length == 3);
    close(connection);
    assert_failed(caller, 502, "truncated-body");
    assert_int_equal(caller->call.response_body->state, BODY_ABORTED);
    assert_int_equal(gauge_read(&worker.counters.leases), 0);
    caller_free(caller);
}

/* A backend that has enough of the request's body: its producer is told to stop. */
static void an_early_answer_stops_the_requests_body(void **state)
{
    struct caller *caller = caller_make(service, METHOD_POST);
    caller_has_body(caller, 100000);
    caller_push(caller, 1000, 'a');
    caller_start(caller);
    int connection = backend_accept(&first);
    backend_hear(connection, "aaaa");
    backend_say(connection, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n");
    assert_answered(caller, 413, "");
    assert_true(body_pipe_is_stopped(&caller->request_body));
    caller_free(caller);
    close(connection);
}

/* --- other instances --- */

static void a_refused_connect_goes_to_another_instance(void **state)
{
    backend_stop(&first);
    struct caller *caller = call_service(service, METHOD_POST); /* nothing was sent: any method may be tried again */
    int connection = backend_accept(&second);
    backend_serve(connection, HELLO);
    assert_answered(caller, 200, "hello");
    assert_int_equal(caller->call.tries, 2);
    assert_true(instance_is_passed_over(service->endpoints[0].instance, loop.now_ms));
    caller_free(caller);
    will_pick(service, 0); /* and yet it isn't taken now */
    caller = call_service(service, METHOD_GET);
    backend_serve(connection, HELLO);
    assert_answered(caller, 200, "hello");
    assert_int_equal(caller->call.tries, 1);
    caller_free(caller);
    assert_int_equal(count(&worker.counters.retries), 1);
    assert_int_equal(count(&worker.counters.connect_failures), 1);
    close(connection);
}

static void an_error_names_service_instance_and_tries(void **state)
{
    backend_stop(&first);
    backend_stop(&second);
    struct caller *caller = call_service(service, METHOD_GET);
    assert_failed(caller, 502, "connect-failure");
    char expected[200];
    snprintf(expected, sizeof expected,
             "service \"users\": cannot connect to 127.0.0.1:%u: connection refused (2 of 2 instances tried)",
             second.port);
    assert_string_equal(caller->call.error.text, expected);
    assert_int_equal(caller->call.error.blame, BLAME_UPSTREAM);
    assert_true(instance_is_passed_over(service->endpoints[0].instance, loop.now_ms));
    assert_true(instance_is_passed_over(service->endpoints[1].instance, loop.now_ms));
    caller_free(caller);
}

static void without_retries_a_refused_connect_is_the_end(void **state)
{
    backend_stop(&first);
    struct caller *caller = caller_make(service, METHOD_GET);
    caller->plan.retry_count = 0;
    caller_start(caller);
    assert_failed(caller, 502, "connect-failure");
    assert_non_null(strstr(caller->call.error.text, "(1 of 2 instances tried)"));
    caller_free(caller);
    assert_false(backend_has_visitor(&second));
}

static void what_retry_on_does_not_name_is_not_retried(void **state)
{
    backend_stop(&first);
    struct caller *caller = caller_make(service, METHOD_GET);
    caller->plan.retry_on = RETRY_ON_5XX | RETRY_ON_RESET | RETRY_ON_TIMEOUT;
    caller_start(caller);
    assert_failed(caller, 502, "connect-failure");
    caller_free(caller);
}

static void an_answer_praises_its_instance(void **state)
{
    struct instance *instance = service->endpoints[0].instance;
    instance_strike(instance, loop.now_ms - 200);
    struct caller *caller = call_service(service, METHOD_GET);
    int connection = backend_accept(&first);
    backend_serve(connection, HELLO);
    assert_answered(caller, 200, "hello");
    assert_int_equal(atomic_load(&instance->strikes), 0);
    caller_free(caller);
    close(connection);
}

static void a_service_without_instances_answers_503(void **state)
{
    struct service *empty = services_make(&services, "users", LB_ROUND_ROBIN, "");
    struct caller *caller = call_service(empty, METHOD_GET);
    assert_failed(caller, 503, "no-instance");
    assert_string_equal(caller->call.error.text, "service \"users\": it has no instances");
    caller_free(caller);
    services_drop(&services, empty);
}

/* --- what the operator hears --- */

static int log_ends[2], log_before;

static void log_catch(void)
{
    assert_int_equal(pipe2(log_ends, O_NONBLOCK | O_CLOEXEC), 0);
    log_before = dup(STDERR_FILENO);
    assert_true(dup2(log_ends[1], STDERR_FILENO) >= 0);
}

/* What was said so far. */
static const char *log_heard(void)
{
    static char heard[8192];
    ssize_t length = read(log_ends[0], heard, sizeof heard - 1);
    heard[length > 0 ? length : 0] = '\0';
    return heard;
}

static void log_let_go(void)
{
    dup2(log_before, STDERR_FILENO);
    close(log_before);
    close(log_ends[0]);
    close(log_ends[1]);
}

static void a_failed_call_is_told_in_the_log(void **state)
{
    backend_stop(&first);
    backend_stop(&second);
    log_catch();
    struct caller *caller = call_service(service, METHOD_GET);
    turn_until(caller_is_done(caller));
    const char *heard = log_heard();
    log_let_go();
    assert_non_null(strstr(heard, " warning "));
    assert_non_null(strstr(heard, ": service \"users\": cannot connect to 127.0.0.1:"));
    caller_free(caller);
}

/* What the next instance made good, and what a client broke off, is no failure of the service. */
static void a_call_that_another_instance_answered_is_not_told(void **state)
{
    backend_stop(&first);
    log_catch();
    struct caller *caller = call_service(service, METHOD_GET);
    int connection = backend_accept(&second);
    backend_serve(connection, HELLO);
    assert_answered(caller, 200, "hello");
    const char *heard = log_heard();
    log_let_go();
    assert_string_equal(heard, "");
    caller_free(caller);
    close(connection);
}

static void of_a_services_failures_one_a_second_is_told_and_the_others_are_counted(void **state)
{
    struct service *orders = services_make(&services, "orders", LB_ROUND_ROBIN, "127.0.0.1:1");
    log_catch();
    service_tell_failure(service, 5001, "first");
    service_tell_failure(orders, 5002, "of another service");
    for (unsigned i = 0; i < 41; i++) service_tell_failure(service, 5003 + i, "not told");
    service_tell_failure(service, 6001, "second");
    service_tell_failure(service, 7002, "third");
    const char *heard = log_heard();
    log_let_go();
    assert_non_null(strstr(heard, ": first\n"));
    assert_non_null(strstr(heard, ": of another service\n"));
    assert_null(strstr(heard, "not told"));
    assert_non_null(strstr(heard, ": second; 41 more failed since the last such line\n"));
    assert_non_null(strstr(heard, ": third\n"));
    services_drop(&services, orders);
}

/* Else a log that nobody reads would stop the worker in write(2). */
static void a_log_that_takes_no_line_holds_nobody_up(void **state)
{
    log_catch();
    char page[4096] = { 0 };
    while (write(log_ends[1], page, sizeof page) > 0) continue;
    assert_int_equal(fcntl(log_ends[1], F_SETFL, 0), 0); /* from here on a write would wait */
    service_tell_failure(service, 5000, "nobody reads it");
    for (ssize_t got = 1; got > 0;) got = read(log_ends[0], page, sizeof page);
    service_tell_failure(service, 5001, "read again");
    const char *heard = log_heard();
    log_let_go();
    assert_non_null(strstr(heard, ": read again; 1 more failed since the last such line\n"));
}

static void set_down(struct service *users, uint32_t index, uint64_t seconds_ago)
{
    struct instance_health *health = &users->endpoints[index].instance->health;
    atomic_store(&health->state, HEALTH_DOWN);
    atomic_store(&health->changed_ms, loop.wall_ns / 1000000 - seconds_ago * 1000);
}

/* Says how many and since when. */
static void where_all_instances_are_down_it_answers_503_and_says_so(void **state)
{
    struct service *users = services_make(&services, "users", LB_ROUND_ROBIN, "127.0.0.1:1 127.0.0.1:2 127.0.0.1:3=0");
    set_down(users, 0, 12);
    set_down(users, 1, 90);
    struct caller *caller = call_service(users, METHOD_GET);
    turn_until(caller_is_done(caller));
    assert_int_equal(caller->call.error.status, 503);
    assert_string_equal(caller->call.error.reason, "no-healthy-instance");
    assert_string_equal(caller->call.error.text, "service \"users\": all 2 instances are down, the last one for 12 s");
    assert_null(caller->call.instance);
    caller_free(caller);
    services_drop(&services, users);
    users = services_make(&services, "users", LB_ROUND_ROBIN, "127.0.0.1:1");
    set_down(users, 0, 3);
    caller = call_service(users, METHOD_GET);
    turn_until(caller_is_done(caller));
    assert_string_equal(caller->call.error.text, "service \"users\": its only instance has been down for 3 s");
    caller_free(caller);
    services_drop(&services, users);
}

static void instances_without_weight_have_their_own_words(void **state)
{
    struct service *users = services_make(&services, "users", LB_ROUND_ROBIN, "127.0.0.1:1=0");
    set_down(users, 0, 12);
    struct caller *caller = call_service(users, METHOD_GET);
    assert_failed(caller, 503, "no-instance");
    assert_non_null(strstr(caller->call.error.text, "weight 0"));
    caller_free(caller);
    services_drop(&services, users);
}

/* A check asks the one it was told to, down or not; and what it meets is for the checker to judge, not for balancers. */
static struct caller *check_health(struct instance *instance)
{
    struct caller *caller = caller_make(service, METHOD_GET);
    caller->plan.kind = CALL_HEALTH;
    caller->plan.only_instance = instance;
    caller->plan.retry_count = 0;
    caller_start(caller);
    return caller;
}

static void a_health_check_asks_an_instance_that_is_down(void **state)
{
    struct instance *instance = service->endpoints[0].instance;
    set_down(service, 0, 1);
    instance_strike(instance, loop.now_ms);
    worker.index = services.workers;
    worker.is_checker = true;
    struct caller *caller = check_health(instance);
    int connection = backend_accept(&first);
    assert_int_equal(gauge_read(&instance->lines[services.workers].in_flight), 1);
    assert_int_equal(instance_in_flight(instance), 0);
    backend_serve(connection, HELLO);
    assert_answered(caller, 200, "hello");
    assert_int_equal(atomic_load(&instance->strikes), 1);
    caller_free(caller);
    close(connection);
    backend_stop(&first);
    turn_for(20);
    caller = check_health(instance);
    turn_until(caller_is_done(caller));
    assert_string_equal(caller->call.error.reason, "connect-failure");
    assert_null(strstr(caller->call.error.text, "service"));
    assert_int_equal(atomic_load(&instance->strikes), 1);
    assert_int_equal(counter_read(&service->state->lines[0].requests), 0);
    caller_free(caller);
}

/* --- 5xx --- */

static void an_error_status_is_tried_on_another_instance(void **state)
{
    struct caller *caller = call_service(service, METHOD_GET);
    int one = backend_accept(&first);
    backend_serve(one, UNAVAILABLE);
    int other = backend_accept(&second);
    backend_serve(other, HELLO);
    assert_answered(caller, 200, "hello");
    assert_int_equal(caller->call.tries, 2);
    caller_free(caller);
    close(one);
    close(other);
}

/* The answer that isn't wanted is not read to its end: its connection goes. */
static void the_body_of_a_dropped_answer_is_not_waited_for(void **state)
{
    struct caller *caller = call_service(service, METHOD_GET);
    int one = backend_accept(&first);
    backend_serve(one, "HTTP/1.1 500 Oops\r\nContent-Length: 100000\r\n\r\nbegin");
    int other = backend_accept(&second);
    assert_true(backend_sees_end(one));
    backend_serve(other, HELLO);
    assert_answered(caller, 200, "hello");
    caller_free(caller);
    close(one);
    close(other);
}

static void the_last_error_status_is_passed_on_as_it_is(void **state)
{
    struct caller *caller = call_service(service, METHOD_GET);
    int one = backend_accept(&first);
    backend_serve(one, UNAVAILABLE);
    int other = backend_accept(&second);
    backend_serve(other, "HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\nlast");
    assert_answered(caller, 500, "last");
    caller_free(caller);
    close(one);
    close(other);
}

static void an_error_status_to_a_post_is_passed_on_at_once(void **state)
{
    struct caller *caller = call_service(service, METHOD_POST);
    int one = backend_accept(&first);
    backend_serve(one, UNAVAILABLE);
    assert_answered(caller, 503, "busy");
    assert_int_equal(caller->call.tries, 1);
    caller_free(caller);
    assert_false(backend_has_visitor(&second));
    close(one);
}

static void interim_heads_of_a_dropped_try_stay_readable(void **state)
{
    struct caller *caller = call_service(service, METHOD_GET);
    int one = backend_accept(&first);
    backend_serve(one, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" UNAVAILABLE);
    int other = backend_accept(&second);
    assert_int_equal(caller->interims, 1);
    backend_serve(other, HELLO);
    assert_answered(caller, 200, "hello");
    caller_free(caller);
    close(one);
    close(other);
}

/* --- broken connections --- */

static void a_get_survives_a_reset_before_the_answer(void **state)
{
    struct caller *caller = call_service(service, METHOD_GET);
    int one = backend_accept(&first);
    backend_hear(one, "\r\n\r\n");
    backend_reset(one);
    int other = backend_accept(&second);
    backend_serve(other, HELLO);
    assert_answered(caller, 200, "hello");
    caller_free(caller);
    close(other);
}

/* Head and end of the connection in one turn: to most that is a try that failed, to who goes by the status it is an answer. */
static void a_head_that_decides_counts_though_the_connection_closes_with_it(void **state)
{
    struct caller *caller = caller_make(service, METHOD_GET);
    caller->plan.head_decides = true;
    caller_start(caller);
    int connection = backend_accept(&first);
    backend_serve(connection, "HTTP/1.1 403 Forbidden\r\nContent-Length: 10\r\n\r\nabc");
    close(connection);
    assert_failed(caller, 502, "truncated-body");
    assert_int_equal(caller_status(caller), 403);
    assert_int_equal(caller->call.tries, 1);
    assert_int_equal(caller->call.response_body->state, BODY_ABORTED);
    assert_int_equal(gauge_read(&worker.counters.leases), 0);
    caller_free(caller);
}

static void a_post_is_not_sent_twice(void **state)
{
    struct caller *caller = call_service(service, METHOD_POST);
    int one = backend_accept(&first);
    backend_hear(one, "\r\n\r\n");
    backend_reset(one);
    assert_failed(caller, 502, "reset");
    char expected[64];
    snprintf(expected, sizeof expected, "127.0.0.1:%u", first.port);
    assert_non_null(strstr(caller->call.error.text, expected));
    caller_free(caller);
    assert_false(backend_has_visitor(&second));
}

/* Both backends break the connection: retryCount bounds the tries. */
static void tries_come_to_an_end(void **state)
{
    struct caller *caller = caller_make(service, METHOD_GET);
    caller->plan.retry_count = 2;
    caller_start(caller);
    for (int i = 0; i < 3; i++) {
        int connection;
        turn_until((connection = backend_try_accept(&first)) >= 0 || (connection = backend_try_accept(&second)) >= 0);
        backend_hear(connection, "\r\n\r\n");
        backend_reset(connection);
    }
    assert_failed(caller, 502, "reset");
    assert_non_null(strstr(caller->call.error.text, "(2 of 2 instances tried, 3 tries)"));
    caller_free(caller);
}

static int warm_connection(void)
{
    will_pick(service, 0);
    struct caller *caller = call_service(service, METHOD_GET);
    int connection = backend_accept(&first);
    backend_serve(connection, HELLO);
    assert_answered(caller, 200, "hello");
    caller_free(caller);
    will_pick(service, 0);
    return connection;
}

/* Closed while idle, and noticed before it is used: nobody hears of it, whatever the method. */
static void an_idle_connection_closed_by_the_instance_is_left_alone(void **state)
{
    close(warm_connection());
    turn_until(gauge_read(&worker.counters.idle_connections) == 0);
    struct caller *caller = caller_make(service, METHOD_POST);
    caller->plan.retry_count = 0;
    caller_start(caller);
    int connection = backend_accept(&first);
    backend_serve(connection, HELLO);
    assert_answered(caller, 200, "hello");
    caller_free(caller);
    close(connection);
}

/* Closed in the moment in which the request was sent: on a fresh connection to the same instance, and no retry is counted. */
static void a_stale_connection_never_shows(void **state)
{
    int stale = warm_connection();
    struct caller *caller = caller_make(service, METHOD_GET);
    caller->plan.retry_count = 0;
    caller_start(caller);
    backend_hear(stale, "\r\n\r\n");
    close(stale);
    int connection = backend_accept(&first);
    backend_serve(connection, HELLO);
    assert_answered(caller, 200, "hello");
    assert_int_equal(caller->call.tries, 1);
    assert_int_equal(count(&worker.counters.stale_retries), 1);
    assert_int_equal(count(&worker.counters.retries), 0);
    caller_free(caller);
    close(connection);
}

/* The same for a request that may have been executed: better a 502 than twice. */
static void a_post_on_a_stale_connection_is_not_repeated(void **state)
{
    int stale = warm_connection();
    struct caller *caller = call_service(service, METHOD_POST);
    backend_hear(stale, "\r\n\r\n");
    close(stale);
    assert_failed(caller, 502, "stale-connection");
    caller_free(caller);
    assert_false(backend_has_visitor(&first));
    assert_int_equal(count(&worker.counters.stale_retries), 0);
}

/* Closed, or spoken on, before the request was written, though no event has told of it yet: it goes elsewhere, and no retry counts. */
static void assert_post_goes_elsewhere(int stale)
{
    struct caller *caller = caller_make(service, METHOD_POST);
    caller->plan.retry_count = 0;
    caller_has_body(caller, 100);
    caller_push(caller, 100, 'a');
    caller_start(caller);
    int connection = backend_accept(&first);
    backend_hear(connection, "aaaa");
    backend_say(connection, HELLO);
    assert_answered(caller, 200, "hello");
    assert_int_equal(caller->call.tries, 1);
    assert_int_equal(count(&worker.counters.retries), 0);
    caller_free(caller);
    close(connection);
    if (stale >= 0) close(stale);
}

static void a_post_is_not_written_to_a_connection_that_was_just_closed(void **state)
{
    close(warm_connection());
    assert_post_goes_elsewhere(-1);
}

static void a_post_is_not_written_to_a_connection_that_spoke_unasked(void **state)
{
    int stale = warm_connection();
    backend_say(stale, "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n");
    assert_post_goes_elsewhere(stale);
}

/* Made for a caller that then had no need of it, it has never carried a request, and yet it grows old. */
static void a_connection_that_was_never_used_may_be_stale_too(void **state)
{
    struct caller *caller = call_service(service, METHOD_GET);
    caller_free(caller);
    int stale = backend_accept(&first);
    turn_until(gauge_read(&worker.counters.idle_connections) == 1);
    will_pick(service, 0);
    caller = caller_make(service, METHOD_GET);
    caller->plan.retry_count = 0;
    caller_start(caller);
    backend_hear(stale, "\r\n\r\n");
    close(stale);
    int connection = backend_accept(&first);
    backend_serve(connection, HELLO);
    assert_answered(caller, 200, "hello");
    caller_free(caller);
    close(connection);
}

/* An answer that came before the question is nobody's. Nothing was sent, so any method may be tried elsewhere. */
static void a_backend_that_speaks_first_is_left_for_another(void **state)
{
    struct caller *caller = call_service(service, METHOD_POST);
    int one = backend_try_accept(&first); /* loopback: the connect is complete before anybody has told of it */
    assert_true(one >= 0);
    backend_say(one, HELLO);
    int other = backend_accept(&second);
    backend_serve(other, UNAVAILABLE);
    assert_answered(caller, 503, "busy");
    assert_int_equal(caller->call.tries, 2);
    caller_free(caller);
    close(one);
    close(other);
}

/* It insists on a fresh connection even where another warm one is idle, which may be as stale. */
static void a_repeated_request_takes_no_used_connection(void **state)
{
    will_pick(service, 0);
    struct caller *callers[2];
    int connections[2];
    for (int i = 0; i < 2; i++) {
        will_pick(service, 0);
        callers[i] = call_service(service, METHOD_GET);
        connections[i] = backend_accept(&first);
    }
    for (int i = 0; i < 2; i++) {
        backend_serve(connections[i], HELLO);
        assert_answered(callers[i], 200, "hello");
        caller_free(callers[i]);
    }
    will_pick(service, 0);
    struct caller *caller = call_service(service, METHOD_GET);
    backend_hear(connections[1], "\r\n\r\n"); /* last used first */
    close(connections[1]);
    int fresh = backend_accept(&first);
    backend_serve(fresh, HELLO);
    assert_answered(caller, 200, "hello");
    caller_free(caller);
    close(connections[0]);
    close(fresh);
}

/* --- the request's body --- */

static void a_body_is_sent_again_to_the_next_instance(void **state)
{
    struct caller *caller = caller_make(service, METHOD_PUT);
    caller_has_body(caller, 20004);
    caller_push(caller, 10000, 'a');
    caller_start(caller);
    int one = backend_accept(&first);
    backend_hear(one, "aaaa");
    caller_push(caller, 10000, 'b');
    backend_hear(one, "bbbb");
    backend_reset(one);
    int other = backend_accept(&second);
    turn_for(20);
    caller_push(caller, 4, 'c');
    body_pipe_finish(&caller->request_body, NULL);
    const char *heard = strstr(backend_hear(other, "cccc"), "\r\n\r\n");
    assert_non_null(heard);
    assert_int_equal(strlen(heard + 4), 20004);
    assert_int_equal(strspn(heard + 4, "a"), 10000);
    assert_int_equal(strspn(heard + 4 + 10000, "b"), 10000);
    backend_say(other, HELLO);
    assert_answered(caller, 200, "hello");
    caller_free(caller);
    close(other);
}

static void a_body_beyond_the_retry_buffer_is_not_sent_again(void **state)
{
    struct caller *caller = caller_make(service, METHOD_PUT);
    caller->plan.retry_buffer_bytes = 8000;
    caller_has_body(caller, 10000);
    caller_push(caller, 9000, 'a');
    caller_start(caller);
    int one = backend_accept(&first);
    backend_hear(one, "aaaa");
    turn_for(10);
    backend_reset(one);
    assert_failed(caller, 502, "reset");
    assert_true(body_pipe_is_stopped(&caller->request_body));
    caller_free(caller);
}

/* Connecting failed before a byte of it was taken: then any body goes to the next instance, however large. */
static void a_body_that_was_not_begun_needs_no_buffer(void **state)
{
    backend_stop(&first);
    struct caller *caller = caller_make(service, METHOD_POST);
    caller->plan.retry_buffer_bytes = 0;
    caller_has_body(caller, 5);
    caller_push(caller, 5, 'x');
    body_pipe_finish(&caller->request_body, NULL);
    caller_start(caller);
    int other = backend_accept(&second);
    backend_hear(other, "xxxxx");
    backend_say(other, HELLO);
    assert_answered(caller, 200, "hello");
    caller_free(caller);
    close(other);
}

/* The client broke off: that is nobody's failure but its own, and no reason to try again. */
static void a_body_broken_off_by_the_client_ends_the_call(void **state)
{
    struct caller *caller = caller_make(service, METHOD_PUT);
    caller_has_body(caller, 1000);
    caller_push(caller, 100, 'a');
    caller_start(caller);
    int one = backend_accept(&first);
    backend_hear(one, "aaaa");
    struct error gone;
    error_set(&gone, BLAME_CLIENT, RETRY_NEVER, 400, "client-gone", "the client went away");
    body_pipe_abort(&caller->request_body, &gone);
    turn_until(caller_is_done(caller));
    assert_string_equal(caller->call.error.reason, "client-gone");
    assert_string_equal(caller->call.error.text, "the client went away");
    assert_true(backend_sees_end(one));
    caller_free(caller);
    assert_false(backend_has_visitor(&second));
    close(one);
}

/* --- the budget --- */

/* All instances fail: after the ten tokens of the floor, only one request in five brings a retry. */
static void retries_are_bounded_to_a_share_of_requests(void **state)
{
    backend_stop(&first);
    backend_stop(&second);
    for (int i = 0; i < 200; i++) {
        struct caller *caller = call_service(service, METHOD_GET);
        assert_failed(caller, 502, "connect-failure");
        caller_free(caller);
    }
    uint64_t retries = count(&worker.counters.retries);
    assert_in_range(retries, 45, 65); /* 10 + 40, and what the floor brings within the test's time */
    assert_int_equal(count(&worker.counters.retries_refused), 200 - retries);
    assert_int_equal(counter_read(&service->state->lines[0].requests), 200);
    assert_int_equal(counter_read(&service->state->lines[0].retries), retries);
}

/* --- time --- */

static void no_answer_in_time_is_a_504(void **state)
{
    struct caller *caller = caller_make(service, METHOD_GET);
    caller->plan.deadline_ms = loop.now_ms + 60;
    caller_start(caller);
    int connection = backend_accept(&first);
    uint64_t begun_ms = loop.now_ms;
    assert_failed(caller, 504, "timeout");
    assert_in_range(loop.now_ms - begun_ms, 30, 200);
    assert_true(instance_is_passed_over(service->endpoints[0].instance, loop.now_ms));
    assert_true(backend_sees_end(connection));
    caller_free(caller);
    close(connection);
}

static void assert_blamed_on_the_client(struct caller *caller)
{
    turn_until(caller_is_done(caller));
    assert_string_equal(caller->call.error.reason, "request-timeout");
    assert_string_equal(caller->call.error.text, "the request was not complete within 60 ms");
    assert_int_equal(caller->call.error.status, 408);
    assert_int_equal(caller->call.error.blame, BLAME_CLIENT);
    assert_int_equal(caller->call.tries, 1);
    struct instance *instance = service->endpoints[0].instance;
    assert_false(instance_is_passed_over(instance, loop.now_ms));
    assert_int_equal(count(&instance->lines[0].failures), 0);
}

/* The instance has taken all that came and can't answer yet: it stays as good as it was. */
static void a_client_that_dribbles_its_body_strikes_no_instance(void **state)
{
    struct caller *caller = caller_make(service, METHOD_PUT);
    caller->plan.try_timeout_ms = 60;
    caller->plan.retry_on |= RETRY_ON_TIMEOUT;
    caller_has_body(caller, 1000);
    caller_push(caller, 100, 'a');
    caller_start(caller);
    int connection = backend_accept(&first);
    backend_hear(connection, "aaaa");
    caller_push(caller, 1, 'b');
    assert_blamed_on_the_client(caller);
    assert_true(body_pipe_is_stopped(&caller->request_body));
    caller_free(caller);
    assert_false(backend_has_visitor(&second));
    close(connection);
}

/* The same body, but here it is the backend who doesn't take it. */
static void a_backend_that_does_not_take_the_body_is_struck(void **state)
{
    struct caller *caller = caller_make(service, METHOD_PUT);
    caller->plan.deadline_ms = loop.now_ms + 150;
    caller_has_body(caller, 64 << 20);
    caller_start(caller);
    int connection = backend_accept(&first);
    while (!caller_is_done(caller)) {
        while (body_pipe_credit(&caller->request_body) >= 16384) caller_push(caller, 16384, 'a');
        turn(1);
    }
    assert_failed(caller, 504, "timeout");
    assert_true(instance_is_passed_over(service->endpoints[0].instance, loop.now_ms));
    caller_free(caller);
    close(connection);
}

static void a_backend_that_has_the_whole_body_is_struck(void **state)
{
    struct caller *caller = caller_make(service, METHOD_PUT);
    caller->plan.deadline_ms = loop.now_ms + 60;
    caller_has_body(caller, 100);
    caller_push(caller, 100, 'a');
    body_pipe_finish(&caller->request_body, NULL);
    caller_start(caller);
    int connection = backend_accept(&first);
    assert_failed(caller, 504, "timeout");
    assert_true(instance_is_passed_over(service->endpoints[0].instance, loop.now_ms));
    caller_free(caller);
    close(connection);
}

/* Nothing of the body has come as nobody has asked for it yet. */
static void a_backend_that_does_not_say_100_is_struck(void **state)
{
    struct caller *caller = caller_make(service, METHOD_PUT);
    caller->plan.deadline_ms = loop.now_ms + 60;
    caller->plan.wait_for_continue = true;
    caller_has_body(caller, 100);
    caller_start(caller);
    int connection = backend_accept(&first);
    assert_failed(caller, 504, "timeout");
    assert_true(instance_is_passed_over(service->endpoints[0].instance, loop.now_ms));
    caller_free(caller);
    close(connection);
}

static void a_try_has_its_own_time(void **state)
{
    struct caller *caller = caller_make(service, METHOD_GET);
    caller->plan.try_timeout_ms = 40;
    caller->plan.retry_on |= RETRY_ON_TIMEOUT;
    caller_start(caller);
    int one = backend_accept(&first);
    int other = backend_accept(&second);
    backend_serve(other, HELLO);
    assert_answered(caller, 200, "hello");
    assert_int_equal(caller->call.tries, 2);
    caller_free(caller);
    close(one);
    close(other);
}

static void a_try_of_a_post_that_takes_too_long_is_not_repeated(void **state)
{
    struct caller *caller = caller_make(service, METHOD_POST);
    caller->plan.try_timeout_ms = 40;
    caller->plan.retry_on |= RETRY_ON_TIMEOUT;
    caller_start(caller);
    int one = backend_accept(&first);
    assert_failed(caller, 504, "timeout");
    caller_free(caller);
    assert_false(backend_has_visitor(&second));
    close(one);
}

static void the_deadline_does_not_cut_a_body_that_streams(void **state)
{
    struct caller *caller = caller_make(service, METHOD_GET);
    caller->plan.deadline_ms = loop.now_ms + 50;
    caller_start(caller);
    int connection = backend_accept(&first);
    backend_serve(connection, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabcde");
    turn_until(caller->body_length == 5);
    turn_for(80);
    backend_say(connection, "fghij");
    assert_answered(caller, 200, "abcdefghij");
    caller_free(caller);
    close(connection);
}

static void a_body_that_stands_still_is_cut(void **state)
{
    struct caller *caller = caller_make(service, METHOD_GET);
    caller->plan.idle_timeout_ms = 400;
    caller_start(caller);
    int connection = backend_accept(&first);
    backend_serve(connection, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\na");
    for (int i = 0; i < 4; i++) { /* longer than the timeout, but never still for so long */
        turn_for(150);
        backend_say(connection, "b");
    }
    turn_until(caller->body_length == 5);
    uint64_t begun_ms = loop.now_ms;
    assert_failed(caller, 504, "timeout");
    assert_in_range(loop.now_ms - begun_ms, 300, 5000);
    assert_int_equal(caller->call.response_body->state, BODY_ABORTED);
    assert_true(backend_sees_end(connection));
    caller_free(caller);
    close(connection);
}

/* While it is the client who doesn't take what is there, the backend isn't to blame. */
static void a_client_that_reads_slowly_is_waited_for(void **state)
{
    struct caller *caller = caller_make(service, METHOD_GET);
    caller->plan.idle_timeout_ms = 30;
    caller->reads_body = false;
    caller_start(caller);
    int connection = backend_accept(&first);
    backend_serve(connection, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab");
    turn_for(100);
    assert_int_equal(caller->call.events, CALL_HEAD);
    caller->reads_body = true;
    backend_say(connection, "cde");
    loop_enqueue(&loop, &caller->task);
    assert_answered(caller, 200, "abcde");
    caller_free(caller);
    close(connection);
}

/* --- cancelling, at each step --- */

static void cancelled_while_connecting(void **state)
{
    struct caller *caller = call_service(service, METHOD_GET);
    caller_free(caller);
    int connection = backend_accept(&first); /* the connection stays for the next one */
    turn_until(gauge_read(&worker.counters.idle_connections) == 1);
    close(connection);
}

static void caller_runs_never(struct task *task) { (void)task; }

static void cancelled_when_the_connection_was_just_handed_over(void **state)
{
    struct caller *caller = call_service(service, METHOD_GET);
    /* Told and run happen in one turn: so the call's task is kept from running. */
    caller->call.task.run = caller_runs_never;
    int connection = backend_accept(&first);
    turn_until(gauge_read(&worker.counters.waiting) == 0);
    assert_int_equal(gauge_read(&worker.counters.leases), 1);
    assert_int_equal(gauge_read(&worker.counters.idle_connections), 0);
    caller_free(caller);
    assert_int_equal(gauge_read(&worker.counters.idle_connections), 1);
    close(connection);
}

static void cancelled_after_the_request_was_sent(void **state)
{
    struct caller *caller = call_service(service, METHOD_GET);
    int connection = backend_accept(&first);
    backend_hear(connection, "\r\n\r\n");
    caller_free(caller);
    assert_int_equal(gauge_read(&worker.counters.connections), 0);
    assert_true(backend_sees_end(connection));
    close(connection);
}

static void cancelled_while_the_requests_body_is_sent(void **state)
{
    struct caller *caller = caller_make(service, METHOD_PUT);
    caller_has_body(caller, 1000);
    caller_push(caller, 100, 'a');
    caller_start(caller);
    int connection = backend_accept(&first);
    backend_hear(connection, "aaaa");
    caller_free(caller);
    assert_true(backend_sees_end(connection));
    close(connection);
}

static void cancelled_within_the_head(void **state)
{
    struct caller *caller = call_service(service, METHOD_GET);
    int connection = backend_accept(&first);
    backend_serve(connection, "HTTP/1.1 200 OK\r\nConte");
    turn_for(10);
    caller_free(caller);
    assert_int_equal(gauge_read(&worker.counters.connections), 0);
    close(connection);
}

static void cancelled_after_an_interim_head(void **state)
{
    struct caller *caller = call_service(service, METHOD_GET);
    int connection = backend_accept(&first);
    backend_serve(connection, "HTTP/1.1 103 Early Hints\r\n\r\n");
    turn_until(caller->interims == 1);
    caller_free(caller);
    close(connection);
}

static void cancelled_within_the_body(void **state)
{
    struct caller *caller = call_service(service, METHOD_GET);
    int connection = backend_accept(&first);
    backend_serve(connection, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc");
    turn_until(caller->body_length == 3);
    caller_free(caller);
    assert_int_equal(gauge_read(&worker.counters.connections), 0);
    assert_true(backend_sees_end(connection));
    close(connection);
}

static void cancelled_with_a_body_that_nobody_reads(void **state)
{
    struct caller *caller = call_service(service, METHOD_GET);
    caller->reads_body = false;
    int connection = backend_accept(&first);
    backend_serve(connection, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc");
    turn_until(caller_status(caller) == 200);
    caller_free(caller);
    close(connection);
}

static void cancelled_between_two_tries(void **state)
{
    struct caller *caller = call_service(service, METHOD_GET);
    int one = backend_accept(&first);
    backend_hear(one, "\r\n\r\n");
    backend_reset(one);
    turn_until(caller->call.tries == 2);
    assert_int_equal(gauge_read(&worker.counters.leases), 1);
    caller_free(caller);
    int other = backend_accept(&second);
    turn_until(gauge_read(&worker.counters.idle_connections) == 1);
    close(other);
}

static void cancelled_after_the_end(void **state)
{
    struct caller *caller = call_service(service, METHOD_GET);
    int connection = backend_accept(&first);
    backend_serve(connection, HELLO);
    assert_answered(caller, 200, "hello");
    upstream_call_cancel(&caller->call);
    caller_free(caller); /* cancels once more */
    assert_int_equal(gauge_read(&worker.counters.idle_connections), 1);
    close(connection);
}

/* A failure was told in the call's own start, and the owner has not run yet: cancelling still has the last word. */
static void cancelled_with_events_on_their_way(void **state)
{
    struct service *empty = services_make(&services, "users", LB_ROUND_ROBIN, "");
    struct caller *caller = call_service(empty, METHOD_GET);
    assert_true(caller->task.queued);
    assert_int_equal(caller->call.events, CALL_DONE);
    caller_free(caller);
    services_drop(&services, empty);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(head_and_end_of_a_small_answer_come_together),
        CASE(a_connection_serves_one_call_after_the_other),
        CASE(a_long_body_streams),
        CASE(interim_heads_are_passed_on),
        CASE(the_host_can_be_the_instances_own),
        CASE(a_body_cut_short_is_told_after_the_head),
        CASE(an_early_answer_stops_the_requests_body),
        CASE(a_refused_connect_goes_to_another_instance),
        CASE(an_error_names_service_instance_and_tries),
        CASE(without_retries_a_refused_connect_is_the_end),
        CASE(what_retry_on_does_not_name_is_not_retried),
        CASE(an_answer_praises_its_instance),
        CASE(a_service_without_instances_answers_503),
        CASE(a_failed_call_is_told_in_the_log),
        CASE(a_call_that_another_instance_answered_is_not_told),
        CASE(of_a_services_failures_one_a_second_is_told_and_the_others_are_counted),
        CASE(a_log_that_takes_no_line_holds_nobody_up),
        CASE(where_all_instances_are_down_it_answers_503_and_says_so),
        CASE(instances_without_weight_have_their_own_words),
        CASE(a_health_check_asks_an_instance_that_is_down),
        CASE(an_error_status_is_tried_on_another_instance),
        CASE(the_body_of_a_dropped_answer_is_not_waited_for),
        CASE(the_last_error_status_is_passed_on_as_it_is),
        CASE(an_error_status_to_a_post_is_passed_on_at_once),
        CASE(interim_heads_of_a_dropped_try_stay_readable),
        CASE(a_get_survives_a_reset_before_the_answer),
        CASE(a_head_that_decides_counts_though_the_connection_closes_with_it),
        CASE(a_post_is_not_sent_twice),
        CASE(tries_come_to_an_end),
        CASE(an_idle_connection_closed_by_the_instance_is_left_alone),
        CASE(a_stale_connection_never_shows),
        CASE(a_post_on_a_stale_connection_is_not_repeated),
        CASE(a_post_is_not_written_to_a_connection_that_was_just_closed),
        CASE(a_post_is_not_written_to_a_connection_that_spoke_unasked),
        CASE(a_connection_that_was_never_used_may_be_stale_too),
        CASE(a_backend_that_speaks_first_is_left_for_another),
        CASE(a_repeated_request_takes_no_used_connection),
        CASE(a_body_is_sent_again_to_the_next_instance),
        CASE(a_body_beyond_the_retry_buffer_is_not_sent_again),
        CASE(a_body_that_was_not_begun_needs_no_buffer),
        CASE(a_body_broken_off_by_the_client_ends_the_call),
        CASE(retries_are_bounded_to_a_share_of_requests),
        CASE(no_answer_in_time_is_a_504),
        CASE(a_client_that_dribbles_its_body_strikes_no_instance),
        CASE(a_backend_that_does_not_take_the_body_is_struck),
        CASE(a_backend_that_has_the_whole_body_is_struck),
        CASE(a_backend_that_does_not_say_100_is_struck),
        CASE(a_try_has_its_own_time),
        CASE(a_try_of_a_post_that_takes_too_long_is_not_repeated),
        CASE(the_deadline_does_not_cut_a_body_that_streams),
        CASE(a_body_that_stands_still_is_cut),
        CASE(a_client_that_reads_slowly_is_waited_for),
        CASE(cancelled_while_connecting),
        CASE(cancelled_when_the_connection_was_just_handed_over),
        CASE(cancelled_after_the_request_was_sent),
        CASE(cancelled_while_the_requests_body_is_sent),
        CASE(cancelled_within_the_head),
        CASE(cancelled_after_an_interim_head),
        CASE(cancelled_within_the_body),
        CASE(cancelled_with_a_body_that_nobody_reads),
        CASE(cancelled_between_two_tries),
        CASE(cancelled_after_the_end),
        CASE(cancelled_with_events_on_their_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
