#include "unit_test.h"

#include "base/memory.h"
#include "event/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

/* One end of a TCP connection over loopback is the stream; the other is a bare descriptor in our hands. */
struct side {
    struct stream stream;
    int peer;
    int told; /* how often on_ready ran */
};

static struct loop loop;
static struct side side;

static void count_ready(struct stream *stream) { CONTAINER_OF(stream, struct side, stream)->told++; }

static int listen_on_loopback(struct address *address)
{
    assert_true(address_parse(SLICE("127.0.0.1:0"), address));
    int listener = socket_listen(address, 16, NULL);
    assert_true(listener >= 0);
    socklen_t length = sizeof *address;
    assert_int_equal(getsockname(listener, &address->any, &length), 0);
    return listener;
}

static void wait_for(int descriptor, short events)
{
    struct pollfd poll_descriptor = { .fd = descriptor, .events = events };
    assert_int_equal(poll(&poll_descriptor, 1, 5000), 1);
}

static int set_up(void **state)
{
    struct address address, peer;
    side = (struct side){ 0 };
    if (!loop_init(&loop, NULL)) return -1;
    int listener = listen_on_loopback(&address);
    int descriptor = socket_connect(&address, NULL);
    wait_for(listener, POLLIN);
    side.peer = socket_accept(listener, &peer);
    close(listener);
    wait_for(descriptor, POLLOUT);
    return stream_open(&side.stream, &loop, descriptor, false, count_ready, NULL) ? 0 : -1;
}

static int tear_down(void **state)
{
    stream_close(&side.stream, false);
    if (side.peer >= 0) close(side.peer);
    loop_release(&loop);
    return 0;
}

static void peer_says(const char *text) { assert_int_equal(send(side.peer, text, strlen(text), 0), strlen(text)); }

static void peer_closes(bool reset)
{
    if (reset) socket_reset_on_close(side.peer);
    close(side.peer);
    side.peer = -1;
}

/* Turns the loop until the stream was told something new. */
static void await_news(void)
{
    int before = side.told;
    for (int i = 0; i < 50 && side.told == before; i++) {
        loop_turn(&loop, 100);
    }
    assert_true(side.told > before);
}

static enum stream_result say(const char *text, size_t *moved)
{
    struct iovec piece = { (char *)text, strlen(text) };
    return stream_write(&side.stream, &piece, 1, moved);
}

static void a_new_stream_may_write_and_waits_to_read(void **state)
{
    char bytes[8];
    size_t moved = 7;
    assert_int_equal(stream_read(&side.stream, bytes, sizeof bytes, &moved), STREAM_WAIT);
    assert_int_equal(moved, 0);
    struct iovec pieces[] = { { (char *)"he", 2 }, { (char *)"", 0 }, { (char *)"llo", 3 } };
    assert_int_equal(stream_write(&side.stream, pieces, 3, &moved), STREAM_OK);
    assert_int_equal(moved, 5);
    wait_for(side.peer, POLLIN);
    assert_int_equal(recv(side.peer, bytes, sizeof bytes, 0), 5);
    assert_memory_equal(bytes, "hello", 5);
}

static void the_owner_is_not_told_what_it_knows_already(void **state)
{
    loop_turn(&loop, 0); /* epoll reports that the socket is writable */
    assert_int_equal(side.told, 0);
    peer_says("a");
    await_news();
    peer_says("b");
    loop_turn(&loop, 50);
    assert_int_equal(side.told, 1); /* it has not read yet, so it will come by itself */
}

static void a_short_read_means_drained_until_the_next_event(void **state)
{
    char bytes[64];
    size_t moved;
    peer_says("hello");
    await_news();
    assert_int_equal(stream_read(&side.stream, bytes, 2, &moved), STREAM_OK);
    assert_true(side.stream.may_read); /* a full read proves nothing */
    assert_int_equal(stream_read(&side.stream, bytes, sizeof bytes, &moved), STREAM_OK);
    assert_int_equal(moved, 3);
    assert_false(side.stream.may_read);
    assert_int_equal(stream_read(&side.stream, bytes, sizeof bytes, &moved), STREAM_WAIT);
    peer_says("more");
    await_news();
    assert_int_equal(stream_read(&side.stream, bytes, sizeof bytes, &moved), STREAM_OK);
    assert_memory_equal(bytes, "more", 4);
}

/* Data and FIN come as one event; were the short read taken for "drained", the end would never be seen. */
static void data_with_the_end_in_one_event_is_read_to_the_end(void **state)
{
    char bytes[64];
    size_t moved;
    peer_says("last words");
    peer_closes(false);
    await_news();
    assert_true(side.stream.peer_finished);
    assert_int_equal(stream_read(&side.stream, bytes, sizeof bytes, &moved), STREAM_OK);
    assert_int_equal(moved, 10);
    assert_int_equal(stream_read(&side.stream, bytes, sizeof bytes, &moved), STREAM_END);
    assert_int_equal(stream_read(&side.stream, bytes, sizeof bytes, &moved), STREAM_END);
}

static void an_end_that_comes_later_is_an_event_of_its_own(void **state)
{
    char bytes[64];
    size_t moved;
    peer_says("words");
    await_news();
    assert_int_equal(stream_read(&side.stream, bytes, sizeof bytes, &moved), STREAM_OK);
    assert_false(side.stream.may_read);
    peer_closes(false);
    await_news();
    assert_int_equal(stream_read(&side.stream, bytes, sizeof bytes, &moved), STREAM_END);
}

static void after_a_half_close_the_peer_can_still_be_answered(void **state)
{
    char bytes[64];
    size_t moved;
    shutdown(side.peer, SHUT_WR);
    await_news();
    assert_int_equal(stream_read(&side.stream, bytes, sizeof bytes, &moved), STREAM_END);
    assert_int_equal(say("answer", &moved), STREAM_OK);
    stream_finish_writing(&side.stream);
    wait_for(side.peer, POLLIN);
    assert_int_equal(recv(side.peer, bytes, sizeof bytes, 0), 6);
    wait_for(side.peer, POLLIN);
    assert_int_equal(recv(side.peer, bytes, sizeof bytes, 0), 0);
}

static void a_reset_is_a_failure_and_stays_one(void **state)
{
    char bytes[64];
    size_t moved;
    peer_closes(true);
    await_news();
    assert_int_equal(stream_read(&side.stream, bytes, sizeof bytes, &moved), STREAM_FAIL);
    assert_int_equal(side.stream.system_error, ECONNRESET);
    assert_int_equal(stream_read(&side.stream, bytes, sizeof bytes, &moved), STREAM_FAIL);
    assert_int_equal(say("x", &moved), STREAM_FAIL);
}

/* A peer that answers early and slams the door: the answer is read though writing failed, the cut is not taken for an end. */
static void after_a_failed_write_the_answer_can_be_read_but_a_reset_is_no_end(void **state)
{
    char bytes[64];
    size_t moved;
    peer_says("413");
    peer_closes(true);
    await_news();
    assert_int_equal(say("body", &moved), STREAM_FAIL);
    assert_int_equal(side.stream.system_error, ECONNRESET);
    assert_int_equal(say("body", &moved), STREAM_FAIL);
    assert_int_equal(stream_read(&side.stream, bytes, sizeof bytes, &moved), STREAM_OK);
    assert_int_equal(moved, 3);
    assert_int_equal(stream_read(&side.stream, bytes, sizeof bytes, &moved), STREAM_FAIL);
}

static void an_end_before_the_reset_is_still_a_clean_end(void **state)
{
    char bytes[64];
    size_t moved;
    peer_says("413");
    shutdown(side.peer, SHUT_WR);
    await_news();
    peer_closes(false);
    enum stream_result result;
    for (int i = 0; (result = say("body", &moved)) == STREAM_OK && i < 100; i++) {
        usleep(1000); /* the first write only provokes the reset */
    }
    assert_int_equal(result, STREAM_FAIL);
    assert_int_equal(side.stream.system_error, EPIPE);
    assert_int_equal(stream_read(&side.stream, bytes, sizeof bytes, &moved), STREAM_OK);
    assert_int_equal(stream_read(&side.stream, bytes, sizeof bytes, &moved), STREAM_END);
}

/* A client that half-closed and then goes away altogether: reading says END before and after, so the event must tell. */
static void a_reset_after_the_end_is_told_though_reading_cannot_see_it(void **state)
{
    char bytes[64];
    size_t moved;
    shutdown(side.peer, SHUT_WR);
    await_news();
    assert_int_equal(stream_read(&side.stream, bytes, sizeof bytes, &moved), STREAM_END);
    assert_false(side.stream.failed);
    peer_closes(true);
    await_news();
    assert_true(side.stream.failed);
    assert_int_equal(say("x", &moved), STREAM_FAIL);
    assert_int_equal(stream_read(&side.stream, bytes, sizeof bytes, &moved), STREAM_END);
}

/* A splice can't be told MSG_NOSIGNAL: this would end the test program if the signal got through. */
static void splicing_to_a_closed_peer_fails_without_a_signal(void **state)
{
    int ends[2];
    size_t moved;
    assert_int_equal(pipe2(ends, O_NONBLOCK | O_CLOEXEC), 0);
    shutdown(side.stream.source.descriptor, SHUT_WR);
    assert_int_equal(write(ends[1], "abc", 3), 3);
    assert_int_equal(stream_splice_to(&side.stream, ends[0], 3, false, &moved), STREAM_FAIL);
    assert_int_equal(side.stream.system_error, EPIPE);
    close(ends[0]);
    close(ends[1]);
}

static size_t drain_peer(void)
{
    static char bytes[1 << 16];
    size_t total = 0;
    for (ssize_t got; (got = recv(side.peer, bytes, sizeof bytes, MSG_DONTWAIT)) > 0;) {
        total += (size_t)got;
    }
    return total;
}

static void a_full_socket_stops_the_writer_and_room_wakes_it(void **state)
{
    size_t size = 1 << 20, sent = 0, received = 0, moved;
    char *bytes = memory_allocate(size);
    struct iovec piece = { bytes, size };
    while (stream_write(&side.stream, &piece, 1, &moved) == STREAM_OK) {
        sent += moved;
    }
    assert_false(side.stream.may_write);
    assert_int_equal(stream_write(&side.stream, &piece, 1, &moved), STREAM_WAIT);
    assert_int_equal(side.told, 0);
    for (int i = 0; i < 50 && side.told == 0; i++) {
        received += drain_peer();
        loop_turn(&loop, 20);
    }
    assert_true(side.stream.may_write);
    while (received < sent) {
        wait_for(side.peer, POLLIN);
        received += drain_peer();
    }
    assert_int_equal(received, sent);
    free(bytes);
}

static void splicing_in_takes_what_is_there_and_then_waits(void **state)
{
    int ends[2];
    char bytes[64];
    size_t moved;
    assert_int_equal(pipe2(ends, O_NONBLOCK | O_CLOEXEC), 0);
    assert_int_equal(stream_splice_from(&side.stream, ends[1], 100, &moved), STREAM_WAIT);
    peer_says("through the kernel");
    await_news();
    assert_int_equal(stream_splice_from(&side.stream, ends[1], 7, &moved), STREAM_OK);
    assert_int_equal(moved, 7);
    assert_int_equal(stream_splice_from(&side.stream, ends[1], 100, &moved), STREAM_OK);
    assert_int_equal(moved, 11);
    assert_int_equal(stream_splice_from(&side.stream, ends[1], 100, &moved), STREAM_WAIT);
    assert_false(side.stream.may_read);
    assert_int_equal(read(ends[0], bytes, sizeof bytes), 18);
    assert_memory_equal(bytes, "through the kernel", 18);
    peer_closes(false);
    await_news();
    assert_int_equal(stream_splice_from(&side.stream, ends[1], 100, &moved), STREAM_END);
    close(ends[0]);
    close(ends[1]);
}

/* EAGAIN of a full pipe must not be taken for an empty socket: no event would ever come. */
static void a_full_pipe_is_not_an_empty_socket(void **state)
{
    int ends[2];
    size_t moved, total = 0;
    char bytes[4096] = { 0 };
    assert_int_equal(pipe2(ends, O_NONBLOCK | O_CLOEXEC), 0);
    assert_true(fcntl(ends[1], F_SETPIPE_SZ, 4096) >= 4096);
    while (write(ends[1], bytes, sizeof bytes) > 0) {
        total += sizeof bytes;
    }
    peer_says("waiting");
    await_news();
    assert_int_equal(stream_splice_from(&side.stream, ends[1], 100, &moved), STREAM_WAIT);
    assert_true(side.stream.may_read);
    for (; total > 0; total -= sizeof bytes) {
        assert_int_equal(read(ends[0], bytes, sizeof bytes), sizeof bytes);
    }
    assert_int_equal(stream_splice_from(&side.stream, ends[1], 100, &moved), STREAM_OK);
    assert_int_equal(moved, 7);
    close(ends[0]);
    close(ends[1]);
}

/* Everything goes from the pipe to a peer that reads late, whatever the socket takes at a time. */
static void splicing_out_waits_for_room_and_loses_nothing(void **state)
{
    int ends[2];
    char bytes[4096] = { 0 };
    size_t in_pipe = 0, sent = 0, received = 0, moved, goal = 8 << 20;
    bool waited = false;
    assert_int_equal(pipe2(ends, O_NONBLOCK | O_CLOEXEC), 0);
    while (sent < goal) {
        if (in_pipe == 0) {
            assert_int_equal(write(ends[1], bytes, sizeof bytes), sizeof bytes);
            in_pipe = sizeof bytes;
        }
        enum stream_result result = stream_splice_to(&side.stream, ends[0], in_pipe, sent + in_pipe < goal, &moved);
        in_pipe -= moved;
        sent += moved;
        if (result == STREAM_OK) continue;
        assert_int_equal(result, STREAM_WAIT);
        assert_false(side.stream.may_write);
        waited = true;
        while (!side.stream.may_write) {
            received += drain_peer();
            loop_turn(&loop, 20);
        }
    }
    assert_true(waited);
    while (received < goal) {
        wait_for(side.peer, POLLIN);
        received += drain_peer();
    }
    assert_int_equal(received, goal);
    close(ends[0]);
    close(ends[1]);
}

static void splicing_to_a_reset_peer_fails(void **state)
{
    int ends[2];
    size_t moved;
    assert_int_equal(pipe2(ends, O_NONBLOCK | O_CLOEXEC), 0);
    assert_int_equal(write(ends[1], "abc", 3), 3);
    peer_closes(true);
    await_news();
    assert_int_equal(stream_splice_to(&side.stream, ends[0], 3, false, &moved), STREAM_FAIL);
    assert_true(side.stream.failed);
    assert_int_equal(stream_splice_from(&side.stream, ends[1], 3, &moved), STREAM_FAIL);
    close(ends[0]);
    close(ends[1]);
}

static void an_idle_stream_is_fresh_until_bytes_or_an_end_arrive(void **state)
{
    char bytes[8];
    size_t moved;
    assert_false(stream_is_stale(&side.stream));
    peer_says("x");
    await_news();
    assert_true(stream_is_stale(&side.stream));
    assert_int_equal(stream_read(&side.stream, bytes, 1, &moved), STREAM_OK);
    assert_true(side.stream.may_read);
    assert_false(stream_is_stale(&side.stream)); /* looked, found nothing */
    assert_false(side.stream.may_read);
    peer_closes(false);
    await_news();
    assert_true(stream_is_stale(&side.stream));
}

static void a_closed_stream_hears_nothing_and_can_be_closed_again(void **state)
{
    char byte;
    peer_says("too late");
    stream_close(&side.stream, true);
    stream_close(&side.stream, true);
    loop_turn(&loop, 0);
    assert_int_equal(side.told, 0);
    wait_for(side.peer, POLLIN);
    assert_int_equal(recv(side.peer, &byte, 1, 0), -1);
    assert_int_equal(errno, ECONNRESET);
}

static void a_connection_in_the_making_is_settled_by_its_first_event(void **state)
{
    struct address address;
    struct side client = { 0 };
    size_t moved;
    char byte;
    int listener = listen_on_loopback(&address);
    int descriptor = socket_connect(&address, NULL);
    assert_true(stream_open(&client.stream, &loop, descriptor, true, count_ready, NULL));
    assert_int_equal(stream_connect_outcome(&client.stream), EINPROGRESS);
    assert_int_equal(stream_read(&client.stream, &byte, 1, &moved), STREAM_WAIT);
    for (int i = 0; i < 50 && client.told == 0; i++) {
        loop_turn(&loop, 100);
    }
    assert_int_equal(stream_connect_outcome(&client.stream), 0);
    assert_true(client.stream.may_write);
    assert_false(client.stream.may_read || client.stream.peer_finished);
    stream_close(&client.stream, false);
    close(listener);
}

static void a_refused_connection_says_so(void **state)
{
    struct address address;
    struct side client = { 0 };
    size_t moved;
    struct iovec piece = { (char *)"x", 1 };
    char byte;
    close(listen_on_loopback(&address));
    int descriptor = socket_connect(&address, NULL);
    assert_true(descriptor >= 0);
    assert_true(stream_open(&client.stream, &loop, descriptor, true, count_ready, NULL));
    for (int i = 0; i < 50 && client.told == 0; i++) {
        loop_turn(&loop, 100);
    }
    assert_int_equal(client.told, 1);
    assert_int_equal(stream_connect_outcome(&client.stream), ECONNREFUSED);
    assert_int_equal(stream_write(&client.stream, &piece, 1, &moved), STREAM_FAIL);
    assert_int_equal(stream_read(&client.stream, &byte, 1, &moved), STREAM_FAIL);
    assert_int_equal(client.stream.system_error, ECONNREFUSED);
    stream_close(&client.stream, false);
}

static void a_stream_over_a_socket_pair_works_alike(void **state)
{
    int ends[2];
    struct side local = { 0 };
    char bytes[8];
    size_t moved;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
    assert_true(stream_open(&local.stream, &loop, ends[0], false, count_ready, NULL));
    assert_int_equal(write(ends[1], "abc", 3), 3);
    close(ends[1]);
    loop_turn(&loop, 100);
    assert_int_equal(stream_read(&local.stream, bytes, sizeof bytes, &moved), STREAM_OK);
    assert_int_equal(stream_read(&local.stream, bytes, sizeof bytes, &moved), STREAM_END);
    stream_close(&local.stream, false);
}

int main(void)
{
#define STREAM_TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        STREAM_TEST(a_new_stream_may_write_and_waits_to_read),
        STREAM_TEST(the_owner_is_not_told_what_it_knows_already),
        STREAM_TEST(a_short_read_means_drained_until_the_next_event),
        STREAM_TEST(data_with_the_end_in_one_event_is_read_to_the_end),
        STREAM_TEST(an_end_that_comes_later_is_an_event_of_its_own),
        STREAM_TEST(after_a_half_close_the_peer_can_still_be_answered),
        STREAM_TEST(a_reset_is_a_failure_and_stays_one),
        STREAM_TEST(after_a_failed_write_the_answer_can_be_read_but_a_reset_is_no_end),
        STREAM_TEST(an_end_before_the_reset_is_still_a_clean_end),
        STREAM_TEST(a_reset_after_the_end_is_told_though_reading_cannot_see_it),
        STREAM_TEST(splicing_to_a_closed_peer_fails_without_a_signal),
        STREAM_TEST(a_full_socket_stops_the_writer_and_room_wakes_it),
        STREAM_TEST(splicing_in_takes_what_is_there_and_then_waits),
        STREAM_TEST(a_full_pipe_is_not_an_empty_socket),
        STREAM_TEST(splicing_out_waits_for_room_and_loses_nothing),
        STREAM_TEST(splicing_to_a_reset_peer_fails),
        STREAM_TEST(an_idle_stream_is_fresh_until_bytes_or_an_end_arrive),
        STREAM_TEST(a_closed_stream_hears_nothing_and_can_be_closed_again),
        STREAM_TEST(a_connection_in_the_making_is_settled_by_its_first_event),
        STREAM_TEST(a_refused_connection_says_so),
        STREAM_TEST(a_stream_over_a_socket_pair_works_alike),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
