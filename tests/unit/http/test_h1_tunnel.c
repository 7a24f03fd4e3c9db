/* A tunnel through both sessions over loopback TCP: the test is the client, the backend, and the owner in between who joins the two ends by
 * two pipes. What follows frames is not here: bytes are bytes. */
#include "sessions.h"

#include "http/h1_server.h"

#define ASK "GET /chat HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n"
#define SWITCH "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n"

struct fixture {
    struct bench bench;
    struct server_settings settings;
    const struct server_settings *settings_now;
    struct client_settings client_settings;
    struct peer peer;
    struct wire client, backend;
    int listener;
    struct server_session *session;       /* NULL: closed */
    struct client_connection *connection; /* NULL: given back or lost */
    struct server_stream *stream;         /* until released */
    struct client_stream question;
    struct body_pipe up, down;
    struct tunnel_end client_end, backend_end;
    struct task task, tunnel_task;
    struct arena arena;
    bool upgrades, by_hand; /* by_hand: the test opens the tunnel */
    bool is_open;           /* the tunnel */
    unsigned opened, heads, done, freed_reusable, closed;
};

static void open_tunnel(struct fixture *f)
{
    struct error error;
    struct response_head *head = &f->question.response;
    f->is_open = true;
    assert_true(f->connection->operations->open_tunnel(f->connection, &f->question, &f->backend_end));
    assert_true(server_stream_open_tunnel(f->stream, head, &f->client_end, &error));
}

static void let_go_of_question(struct fixture *f)
{
    struct client_connection *connection = f->question.connection;
    if (connection) connection->operations->cancel(connection, &f->question);
    client_stream_release(&f->question);
    arena_release(&f->arena);
}

static void release_stream(struct fixture *f)
{
    struct server_stream *stream = f->stream;
    if (!stream) return;
    f->stream = NULL;
    stream->owner_task = NULL;
    let_go_of_question(f);
    loop_dequeue(&f->bench.loop, &f->task);
    server_stream_release(stream);
}

static void owner_ran(struct task *task)
{
    struct fixture *f = CONTAINER_OF(task, struct fixture, task);
    if (f->question.events & CLIENT_STREAM_DONE) f->done++;
    if (f->question.events & CLIENT_STREAM_HEAD && f->heads++ == 0 && !f->by_hand) open_tunnel(f);
    if (f->stream->events) release_stream(f);
}

static void ask_backend(struct fixture *f)
{
    arena_init(&f->arena, &f->bench.arenas);
    f->question = (struct client_stream){
        .arena = &f->arena,
        .request = &f->stream->request,
        .target = f->stream->request.target.path,
        .owner_task = &f->task,
        .upgrade = f->upgrades,
    };
    assert_true(client_stream_prepare(&f->question, &f->bench.slabs));
    f->connection->operations->open(f->connection, &f->question);
}

static void opened(struct server_session *session, struct server_stream *stream, void *owner)
{
    struct fixture *f = owner;
    f->opened++;
    f->stream = stream;
    stream->owner_task = &f->task;
    ask_backend(f);
}

static void refused(struct server_session *session, const struct server_refusal *refusal, void *owner)
{
    fail_msg("%s", refusal->error->text);
}

static void closed(struct server_session *session, void *owner)
{
    struct fixture *f = owner;
    f->closed++;
    f->session = NULL;
}

static void connected(struct client_connection *connection) {}

static void free_again(struct client_connection *connection, bool reusable)
{
    struct fixture *f = connection->owner;
    f->freed_reusable += reusable;
    if (!reusable) f->connection = NULL;
}

static void lost(struct client_connection *connection, const struct error *error)
{
    struct fixture *f = connection->owner;
    f->connection = NULL;
}

static const struct server_session_events session_events = { .open = opened, .refused = refused, .closed = closed };
static const struct client_connection_events connection_events = { .connected = connected,
                                                                   .free_again = free_again,
                                                                   .lost = lost };

static void nothing_to_do(struct task *task) {}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct address address;
    struct error error;
    int accepted, client;
    const struct h1_limits limits = { .request_line_bytes = 8192, .header_bytes = 65536, .header_count = 200 };
    bench_set_up(&f->bench);
    f->settings = (struct server_settings){ .limits = limits,
                                            .body_bytes_max = 1 << 20,
                                            .head_timeout_ms = 5000,
                                            .body_timeout_ms = 5000,
                                            .idle_timeout_ms = 5000,
                                            .half_close_timeout_ms = 5000 };
    f->client_settings = (struct client_settings){ .limits = limits };
    f->settings_now = &f->settings;
    f->upgrades = true;
    f->task.run = owner_ran;
    f->tunnel_task.run = nothing_to_do;
    body_pipe_init(&f->up, &f->bench.loop, BODY_LENGTH_UNKNOWN);
    body_pipe_init(&f->down, &f->bench.loop, BODY_LENGTH_UNKNOWN);
    f->client_end = (struct tunnel_end){ .from_peer = &f->up, .to_peer = &f->down, .owner_task = &f->tunnel_task };
    f->backend_end = (struct tunnel_end){ .from_peer = &f->down, .to_peer = &f->up, .owner_task = &f->tunnel_task };
    f->listener = listen_on_loopback(&address);
    f->connection = h1_client_connect(&f->bench.worker, &f->client_settings, &address, &connection_events, f, &error);
    assert_non_null(f->connection);
    wire_open(&f->backend, accept_soon(f->listener));
    for (int i = 0; i < 100 && !f->connection->connected; i++) loop_turn(&f->bench.loop, 1);
    connect_pair(&accepted, &client);
    wire_open(&f->client, client);
    f->session = h1_server_start(&f->bench.worker, &f->settings_now, (struct session_socket){ .descriptor = accepted },
                                 &f->peer, &session_events, f);
    *state = f;
    return 0;
}

static void settle(struct fixture *f)
{
    bench_settle(&f->bench, &f->client);
    wire_read(&f->backend);
    bench_settle(&f->bench, &f->backend);
    wire_read(&f->client);
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    if (f->is_open) {
        tunnel_end_close(&f->client_end, true);
        tunnel_end_close(&f->backend_end, true);
    }
    release_stream(f);
    if (f->session) server_session_abort(f->session);
    for (int i = 0; i < 4; i++) loop_turn(&f->bench.loop, 0);
    if (f->connection) f->connection->operations->close(f->connection);
    loop_dequeue(&f->bench.loop, &f->tunnel_task);
    body_pipe_release(&f->up);
    body_pipe_release(&f->down);
    wire_close(&f->client);
    wire_close(&f->backend);
    close(f->listener);
    bench_tear_down(&f->bench);
    assert_int_equal(f->closed, 1);
    free(f);
    return 0;
}

static void open_whole(struct fixture *f)
{
    wire_say(&f->client, ASK);
    assert_received(&f->backend, "Connection: upgrade\r\nUpgrade: echo\r\n");
    wire_say(&f->backend, SWITCH);
    assert_received(&f->client, "HTTP/1.1 101 Switching Protocols\r\n");
    assert_soon(!f->stream);
    settle(f);
}

static void bytes_go_both_ways(void **state)
{
    struct fixture *f = *state;
    open_whole(f);
    assert_received(&f->client, "Upgrade: echo\r\n");
    wire_say(&f->client, "ping");
    assert_soon(ends_with(&f->backend, "\r\n\r\nping"));
    wire_say(&f->backend, "pong");
    assert_soon(ends_with(&f->client, "\r\n\r\npong"));
    assert_int_equal(f->done, 0); /* a tunnel's end is no business of the stream's */
    tunnel_end_close(&f->client_end, false);
    tunnel_end_close(&f->backend_end, false);
    assert_int_equal(f->backend_end.bytes_sent, 4);
    assert_int_equal(f->client_end.bytes_sent, 4);
}

/* The client needn't wait for the answer; its first bytes come after it all the same (RFC 6455 4.1 lets it not, others do). */
static void what_came_behind_the_heads_comes_first(void **state)
{
    struct fixture *f = *state;
    wire_say(&f->client, ASK "early ");
    settle(f);
    wire_say(&f->client, "bird");
    settle(f);
    assert_not_received(&f->backend, "early");
    wire_say(&f->backend, SWITCH "worm");
    assert_soon(ends_with(&f->client, "\r\n\r\nworm"));
    assert_soon(ends_with(&f->backend, "\r\n\r\nearly bird"));
}

static void a_message_costs_one_read_and_one_write(void **state)
{
    struct fixture *f = *state;
    open_whole(f);
    for (int i = 0; i < 3; i++) {
        system_calls = (struct system_calls){ 0 };
        wire_say(&f->client, "message");
        settle(f);
        assert_soon(ends_with(&f->backend, "message"));
        assert_int_equal(system_calls.recv, 1);
        assert_int_equal(system_calls.sendmsg, 1);
        assert_int_equal(system_calls.epoll_ctl, 0);
        wire_forget(&f->backend);
    }
}

static void a_silent_tunnel_holds_neither_slab_nor_arena(void **state)
{
    struct fixture *f = *state;
    open_whole(f);
    assert_int_equal(f->bench.slabs.taken_bytes, 0);
    assert_int_equal(f->bench.arenas.bytes_taken, 0);
    wire_say(&f->client, "message");
    wire_say(&f->backend, "answer");
    settle(f);
    assert_soon(ends_with(&f->client, "answer") && ends_with(&f->backend, "message"));
    assert_int_equal(f->bench.slabs.taken_bytes, 0);
    assert_int_equal(f->bench.loop.timers.count, 0);
}

static void who_finishes_can_still_be_spoken_to(void **state)
{
    struct fixture *f = *state;
    struct wire *wires[] = { &f->client, &f->backend };
    struct tunnel_end *ends[] = { &f->client_end, &f->backend_end };
    open_whole(f);
    wire_say(wires[0], "last words");
    shutdown(wires[0]->descriptor, SHUT_WR);
    assert_soon(wires[1]->ended);
    assert_true(ends_with(wires[1], "last words"));
    assert_false(wires[1]->was_reset);
    assert_int_equal(ends[0]->events, TUNNEL_END_FINISHED);
    assert_int_equal(ends[1]->events, TUNNEL_END_SENT);
    wire_say(wires[1], "still here");
    assert_soon(ends_with(wires[0], "still here"));
    assert_false(wires[0]->ended);
    shutdown(wires[1]->descriptor, SHUT_WR);
    assert_soon(wires[0]->ended);
    assert_int_equal(ends[0]->events, TUNNEL_END_FINISHED | TUNNEL_END_SENT);
    assert_int_equal(ends[1]->events, TUNNEL_END_FINISHED | TUNNEL_END_SENT);
    assert_int_equal(f->closed, 0); /* until its owner says so */
}

static void a_backend_that_finishes_can_still_be_spoken_to(void **state)
{
    struct fixture *f = *state;
    open_whole(f);
    wire_say(&f->backend, "last words");
    shutdown(f->backend.descriptor, SHUT_WR);
    assert_soon(f->client.ended);
    assert_true(ends_with(&f->client, "last words"));
    wire_say(&f->client, "still here");
    assert_soon(ends_with(&f->backend, "still here"));
    assert_int_equal(f->client_end.events, TUNNEL_END_SENT);
    assert_int_equal(f->backend_end.events, TUNNEL_END_FINISHED);
}

static void a_reset_resets_the_other_side(void **state)
{
    struct fixture *f = *state;
    open_whole(f);
    wire_reset(&f->client);
    assert_soon(f->backend.ended);
    assert_true(f->backend.was_reset);
    assert_soon(f->client_end.events & TUNNEL_END_GONE && f->backend_end.events & TUNNEL_END_GONE);
    assert_true(f->client_end.events & TUNNEL_END_BROKEN);
    assert_false(f->backend_end.events & TUNNEL_END_BROKEN); /* who began it */
    assert_soon(!f->connection && !f->session);
}

static void a_backends_reset_resets_the_client(void **state)
{
    struct fixture *f = *state;
    open_whole(f);
    wire_reset(&f->backend);
    assert_soon(f->client.ended);
    assert_true(f->client.was_reset);
    assert_soon(f->client_end.events & TUNNEL_END_GONE);
    assert_int_equal(f->backend_end.events, TUNNEL_END_BROKEN | TUNNEL_END_GONE);
    assert_false(f->client_end.events & TUNNEL_END_BROKEN);
}

/* It has closed for good while bytes were on their way to it: what it had said is delivered, and whoever speaks to it is told. */
static void last_words_of_a_closed_peer_are_delivered(void **state)
{
    struct fixture *f = *state;
    open_whole(f);
    wire_say(&f->backend, "last words");
    close(f->backend.descriptor);
    f->backend.descriptor = -1;
    assert_soon(f->client.ended && ends_with(&f->client, "last words"));
    wire_say(&f->client, "into the void");
    settle(f);
    wire_say(&f->client, "again");
    assert_soon(f->backend_end.events & TUNNEL_END_GONE);
    assert_int_equal(f->down.state, BODY_FINISHED);
    assert_true(body_pipe_is_stopped(&f->up));
    assert_false(f->client.was_reset);
}

static void a_reset_after_the_last_word_is_noticed(void **state)
{
    struct fixture *f = *state;
    open_whole(f);
    shutdown(f->client.descriptor, SHUT_WR);
    assert_soon(f->client_end.events & TUNNEL_END_FINISHED);
    wire_reset(&f->client);
    assert_soon(f->client_end.events & TUNNEL_END_GONE);
    assert_true(f->client_end.events & TUNNEL_END_BROKEN);
    assert_int_equal(f->up.state, BODY_FINISHED);
}

/* Who doesn't read stops who sends; all comes in the end. */
static void a_slow_reader_holds_a_window_and_no_more(void **state)
{
    struct fixture *f = *state;
    static char data[24 << 20];
    for (size_t i = 0; i < sizeof data; i++) data[i] = (char)(i * 7 + i / 1021);
    open_whole(f);
    wire_forget(&f->backend);
    f->backend.deaf = true;
    size_t sent = 0, quiet = 0;
    while (quiet < 50) {
        size_t moved = wire_write(&f->client, data + sent, sizeof data - sent);
        sent += moved;
        quiet = moved || sent == sizeof data ? 0 : quiet + 1;
        loop_turn(&f->bench.loop, 1);
        assert_true(f->bench.slabs.taken_bytes <= BODY_PIPE_WINDOW_BYTES + SLAB_MEDIUM_BYTES);
        if (sent == sizeof data) break;
    }
    assert_true(sent < sizeof data); /* the kernel's buffers are smaller than that */
    f->backend.deaf = false;
    for (int i = 0; i < 100000 && f->backend.length < sizeof data; i++) {
        if (sent < sizeof data) sent += wire_write(&f->client, data + sent, sizeof data - sent);
        loop_turn(&f->bench.loop, 1);
        wire_read(&f->backend);
    }
    assert_int_equal(f->backend.length, sizeof data);
    assert_memory_equal(f->backend.received, data, sizeof data);
    settle(f);
    assert_int_equal(f->bench.slabs.taken_bytes, 0);
}

/* Each comes in a segment of its own, which would be a slab of its own. */
static void small_messages_to_a_slow_reader_share_a_slab(void **state)
{
    struct fixture *f = *state;
    open_whole(f);
    wire_forget(&f->backend);
    struct task *reader = f->up.consumer_task;
    f->up.consumer_task = NULL; /* as if the backend took nothing */
    for (int i = 0; i < 100; i++) {
        wire_say(&f->client, "message");
        settle(f);
        assert_int_equal(f->up.buffered, (i + 1) * 7);
        assert_true(f->bench.slabs.taken_bytes <= 2 * SLAB_SMALL_BYTES);
    }
    f->up.consumer_task = reader;
    loop_enqueue(&f->bench.loop, reader);
    assert_soon(f->backend.length == 700);
    assert_soon(f->bench.slabs.taken_bytes == 0);
}

static void at_the_ceiling_a_tunnel_goes_on_with_its_reserve(void **state)
{
    struct fixture *f = *state;
    static char data[256 * 1024];
    memset(data, 'x', sizeof data);
    open_whole(f);
    wire_forget(&f->backend);
    f->bench.ceiling.bytes_max = memory_ceiling_in_use(&f->bench.ceiling);
    size_t sent = 0;
    for (int i = 0; i < 20000 && f->backend.length < sizeof data; i++) {
        if (sent < sizeof data) sent += wire_write(&f->client, data + sent, sizeof data - sent);
        loop_turn(&f->bench.loop, 1);
        wire_read(&f->backend);
    }
    assert_int_equal(f->backend.length, sizeof data);
    assert_int_equal(system_calls.splice, 0);
    f->bench.ceiling.bytes_max = 0;
}

static void an_owner_that_closes_closes_at_once(void **state)
{
    struct fixture *f = *state;
    open_whole(f);
    tunnel_end_close(&f->client_end, false);
    assert_soon(f->client.ended && !f->client.was_reset);
    assert_int_equal(f->client_end.events, 0);
    assert_soon(f->closed == 1);
    tunnel_end_close(&f->backend_end, true);
    assert_soon(f->backend.ended && f->backend.was_reset);
    assert_soon(!f->connection);
    assert_int_equal(f->freed_reusable, 0);
}

static void an_aborted_session_tells_its_tunnels_owner(void **state)
{
    struct fixture *f = *state;
    open_whole(f);
    server_session_abort(f->session);
    assert_int_equal(f->client_end.events, TUNNEL_END_GONE);
    assert_soon(f->backend.ended && f->backend.was_reset);
}

static void a_drain_leaves_the_tunnel_and_so_does_a_cut(void **state)
{
    struct fixture *f = *state;
    open_whole(f);
    server_session_drain(f->session);
    settle(f);
    server_session_cut(f->session);
    settle(f);
    wire_say(&f->client, "ping");
    assert_soon(ends_with(&f->backend, "ping"));
    assert_int_equal(f->closed, 0);
}

static void a_cut_ends_a_request_for_a_tunnel(void **state)
{
    struct fixture *f = *state;
    wire_say(&f->client, ASK);
    assert_soon(f->opened == 1);
    server_session_cut(f->session);
    assert_soon(f->client.ended);
    assert_soon(f->closed == 1);
}

static void a_tunnel_can_be_given_up_before_it_is_opened(void **state)
{
    struct fixture *f = *state;
    f->by_hand = true;
    wire_say(&f->client, ASK);
    assert_soon(f->opened == 1);
    wire_say(&f->backend, SWITCH "bytes");
    assert_soon(f->heads == 1);
    settle(f);
    assert_int_equal(f->question.response.status, 101);
    assert_not_received(&f->client, "101");
    release_stream(f);
    assert_soon(!f->connection);
    assert_soon(f->backend.ended);
}

static void a_client_that_left_meanwhile_is_gone_at_once(void **state)
{
    struct fixture *f = *state;
    f->by_hand = true;
    wire_say(&f->client, ASK);
    assert_soon(f->opened == 1);
    struct server_stream *stream = f->stream;
    wire_say(&f->backend, SWITCH);
    assert_soon(f->heads == 1);
    stream->owner_task = NULL; /* it has not been told yet */
    wire_reset(&f->client);
    assert_soon(stream->events & SERVER_STREAM_GONE);
    open_tunnel(f);
    assert_int_equal(f->client_end.events, TUNNEL_END_GONE);
    assert_soon(f->backend.ended && f->backend.was_reset);
}

/* A filter's bad header: the client can still be told otherwise, and the backend be closed. */
static void a_head_that_cannot_be_written_opens_nothing(void **state)
{
    struct fixture *f = *state;
    struct error error;
    f->by_hand = true;
    wire_say(&f->client, ASK);
    assert_soon(f->opened == 1);
    wire_say(&f->backend, SWITCH);
    assert_soon(f->heads == 1);
    struct response_head *head = &f->question.response;
    assert_true(headers_add(&head->headers, SLICE("X-Bad"), SLICE("a\r\nb")));
    assert_false(server_stream_open_tunnel(f->stream, head, &f->client_end, &error));
    assert_int_equal(error.status, 500);
    assert_null(f->client_end.operations);
    response_head_init(head, f->stream->arena);
    head->status = 500;
    assert_true(server_stream_send_head(f->stream, head, NULL, &error));
    assert_received(&f->client, "HTTP/1.1 500");
}

static void a_connection_whose_upgrade_was_refused_is_used_again(void **state)
{
    struct fixture *f = *state;
    f->by_hand = true;
    wire_say(&f->client, ASK);
    assert_soon(f->opened == 1);
    wire_say(&f->backend, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert_soon(f->freed_reusable == 1);
    assert_int_equal(f->question.response.status, 200);
    assert_non_null(f->connection);
}

static void a_101_that_nobody_asked_for_opens_nothing(void **state)
{
    struct fixture *f = *state;
    f->upgrades = false;
    wire_say(&f->client, ASK);
    assert_soon(f->opened == 1);
    wire_say(&f->backend, SWITCH);
    assert_soon(f->done > 0);
    assert_string_equal(f->question.failure.reason, "bad-response");
    assert_int_equal(f->heads, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(bytes_go_both_ways),
        TEST(what_came_behind_the_heads_comes_first),
        TEST(a_message_costs_one_read_and_one_write),
        TEST(a_silent_tunnel_holds_neither_slab_nor_arena),
        TEST(who_finishes_can_still_be_spoken_to),
        TEST(a_backend_that_finishes_can_still_be_spoken_to),
        TEST(a_reset_resets_the_other_side),
        TEST(a_backends_reset_resets_the_client),
        TEST(last_words_of_a_closed_peer_are_delivered),
        TEST(a_reset_after_the_last_word_is_noticed),
        TEST(a_slow_reader_holds_a_window_and_no_more),
        TEST(small_messages_to_a_slow_reader_share_a_slab),
        TEST(at_the_ceiling_a_tunnel_goes_on_with_its_reserve),
        TEST(an_owner_that_closes_closes_at_once),
        TEST(an_aborted_session_tells_its_tunnels_owner),
        TEST(a_drain_leaves_the_tunnel_and_so_does_a_cut),
        TEST(a_cut_ends_a_request_for_a_tunnel),
        TEST(a_tunnel_can_be_given_up_before_it_is_opened),
        TEST(a_client_that_left_meanwhile_is_gone_at_once),
        TEST(a_head_that_cannot_be_written_opens_nothing),
        TEST(a_connection_whose_upgrade_was_refused_is_used_again),
        TEST(a_101_that_nobody_asked_for_opens_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
