/* A worker's end of a listening address: bursts, an end that loses nobody, and a process without descriptors. */
#include "unit_test.h"

#include "gateway/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define ACCEPTED_MAX 300

struct fixture {
    struct loop loop;
    struct listener *listener;
    struct address address;
    int accepted[ACCEPTED_MAX];
    unsigned count;
    bool peer_is_local;
    int clients[ACCEPTED_MAX];
    unsigned client_count;
};

static void note_accepted(struct listener *listener, int descriptor, const struct address *peer, void *owner)
{
    (void)listener;
    struct fixture *fixture = owner;
    fixture->peer_is_local = peer->any.sa_family == AF_INET && peer->v4.sin_addr.s_addr == htonl(INADDR_LOOPBACK);
    fixture->accepted[fixture->count++] = descriptor;
}

static void start(struct fixture *fixture)
{
    struct error error;
    *fixture = (struct fixture){ 0 };
    assert_true(loop_init(&fixture->loop, &error));
    assert_true(address_parse(SLICE("127.0.0.1:0"), &fixture->address));
    int descriptor = socket_listen(&fixture->address, 512, &error);
    assert_true(descriptor >= 0);
    socklen_t length = sizeof fixture->address;
    assert_int_equal(getsockname(descriptor, &fixture->address.any, &length), 0);
    fixture->listener = listener_create(&fixture->loop, descriptor, &fixture->address, note_accepted, fixture, &error);
    assert_non_null(fixture->listener);
}

static void connect_clients(struct fixture *fixture, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(connect(client, &fixture->address.any, address_length(&fixture->address)), 0);
        fixture->clients[fixture->client_count++] = client;
    }
}

static void stop(struct fixture *fixture)
{
    for (unsigned i = 0; i < fixture->client_count; i++) close(fixture->clients[i]);
    for (unsigned i = 0; i < fixture->count; i++) close(fixture->accepted[i]);
    loop_turn(&fixture->loop, 0);
    assert_int_equal(fixture->loop.timers.count, 0);
    loop_release(&fixture->loop);
}

static void a_queue_is_taken_in_growing_bursts(void **state)
{
    struct fixture fixture;
    start(&fixture);
    connect_clients(&fixture, 200);
    unsigned turns = 0;
    while (fixture.count < 200 && turns < 100) loop_turn(&fixture.loop, 10), turns++;
    assert_int_equal(fixture.count, 200);
    assert_true(turns < 12); /* 1 2 4 8 16 32 64 64 ... */
    assert_true(fixture.peer_is_local);
    listener_close(fixture.listener);
    stop(&fixture);
}

static void whoever_waits_at_the_end_is_still_taken(void **state)
{
    struct fixture fixture;
    start(&fixture);
    connect_clients(&fixture, 100);
    listener_close(fixture.listener);
    assert_int_equal(fixture.count, 100);
    stop(&fixture);
}

/* Its queue stays as it is, so that whoever empties it then has them all, however long the master's duplicate lives. */
static void who_comes_after_the_end_is_not_let_in_and_who_waits_is_taken(void **state)
{
    struct fixture fixture;
    start(&fixture);
    int masters = fcntl(fixture.listener->descriptor, F_DUPFD_CLOEXEC, 3);
    connect_clients(&fixture, 20);
    listener_refuse_new(fixture.listener);
    int late = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(connect(late, &fixture.address.any, address_length(&fixture.address)), -1);
    assert_int_equal(errno, EINPROGRESS);
    struct pollfd wait = { late, POLLOUT, 0 };
    assert_int_equal(poll(&wait, 1, 50), 0);
    listener_close(fixture.listener);
    assert_int_equal(fixture.count, 20);
    assert_int_equal(send(fixture.clients[0], "x", 1, 0), 1); /* and what they say arrives */
    char byte;
    assert_int_equal(recv(fixture.accepted[0], &byte, 1, 0), 1);
    close(masters);
    close(late);
    stop(&fixture);
}

/* The master's duplicate keeps the socket alive: a closed listener must not hear of its connections any more. */
static void a_closed_listener_hears_nothing(void **state)
{
    struct fixture fixture;
    start(&fixture);
    int masters = fcntl(fixture.listener->descriptor, F_DUPFD_CLOEXEC, 3);
    listener_close(fixture.listener);
    connect_clients(&fixture, 3);
    for (int i = 0; i < 3; i++) loop_turn(&fixture.loop, 5);
    assert_int_equal(fixture.count, 0);
    close(masters);
    stop(&fixture);
}

/* Of several that share a socket the kernel wakes one alone. If that one closes instead, the connection must not be left to chance. */
static void who_was_told_of_a_connection_takes_it_even_as_it_closes(void **state)
{
    struct fixture fixture;
    struct error error;
    start(&fixture);
    struct loop other_loop;
    assert_true(loop_init(&other_loop, &error));
    int shared = fcntl(fixture.listener->descriptor, F_DUPFD_CLOEXEC, 3);
    struct listener *other = listener_create(&other_loop, shared, &fixture.address, note_accepted, &fixture, &error);
    assert_non_null(other);
    connect_clients(&fixture, 3);
    listener_close(fixture.listener);
    for (int i = 0; i < 20 && fixture.count < 3; i++) loop_turn(&other_loop, 5);
    assert_int_equal(fixture.count, 3);
    connect_clients(&fixture, 2); /* those after it come to the other one */
    for (int i = 0; i < 200 && fixture.count < 5; i++) loop_turn(&other_loop, 5);
    assert_int_equal(fixture.count, 5);
    listener_close(other);
    loop_turn(&other_loop, 0);
    loop_release(&other_loop);
    stop(&fixture);
}

/* In a process of its own, because the limit is the process's. */
static void run_out_of_descriptors(bool close_while_resting)
{
    struct fixture fixture;
    start(&fixture);
    connect_clients(&fixture, 5);
    struct rlimit few = { 0, 0 };
    int next = fcntl(0, F_DUPFD_CLOEXEC, 3);
    close(next);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &few), 0);
    few.rlim_cur = (rlim_t)next + 2; /* two more */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    for (int i = 0; i < 20 && !fixture.listener->paused; i++) loop_turn(&fixture.loop, 5);
    assert_int_equal(fixture.count, 2);
    assert_true(fixture.listener->paused);
    uint64_t before_ms = fixture.loop.now_ms;
    unsigned turns = 0; /* it rests and doesn't spin; the timer wheel may want a turn of its own on the way */
    while (fixture.loop.now_ms - before_ms < 40 && turns < 100) loop_turn(&fixture.loop, 50), turns++;
    assert_true(turns < 10);
    if (close_while_resting) {
        listener_close(fixture.listener);
        stop(&fixture);
        return;
    }
    few.rlim_cur += 10;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    for (int i = 0; i < 100 && fixture.count < 5; i++) loop_turn(&fixture.loop, 20);
    assert_int_equal(fixture.count, 5);
    listener_close(fixture.listener);
    stop(&fixture);
}

static void in_a_child(void (*work)(bool), bool argument)
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        work(argument); /* a failed assertion ends it by a signal or by cmocka's own exit */
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void without_descriptors_it_rests_and_comes_back(void **state) { in_a_child(run_out_of_descriptors, false); }

static void it_may_be_closed_while_it_rests(void **state) { in_a_child(run_out_of_descriptors, true); }

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_queue_is_taken_in_growing_bursts),
        cmocka_unit_test(whoever_waits_at_the_end_is_still_taken),
        cmocka_unit_test(who_comes_after_the_end_is_not_let_in_and_who_waits_is_taken),
        cmocka_unit_test(a_closed_listener_hears_nothing),
        cmocka_unit_test(who_was_told_of_a_connection_takes_it_even_as_it_closes),
        cmocka_unit_test(without_descriptors_it_rests_and_comes_back),
        cmocka_unit_test(it_may_be_closed_while_it_rests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
