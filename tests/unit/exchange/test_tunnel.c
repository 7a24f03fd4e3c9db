/* WebSockets through a whole worker: sessions, exchange, proxy, upstream and the real builder; the test is the client at one end and the
 * instance at the other, over loopback TCP. */
#include "http/sessions.h"

#include "base/memory.h"
#include "exchange/exchange.h"
#include "filters/filters.h"
#include "handlers/handlers.h"
#include "http/h1_server.h"
#include "http/websocket.h"
#include "shared/limit_counters.h"

#include <malloc.h>

#define KEY "dGhlIHNhbXBsZSBub25jZQ=="
#define ASK                                                                          \
    "GET /chat HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: websocket\r\n" \
    "Sec-WebSocket-Key: " KEY "\r\nSec-WebSocket-Version: 13\r\n\r\n"
#define SWITCH                                                                          \
    "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n" \
    "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
#define MASK "\x01\x02\x03\x04"
#define MASKED_HI "\x81\x82" MASK "\x69\x6b" /* "hi" */
#define HELLO "\x81\x05hello"                /* a server's frame */
#define CLOSE_1001 "\x88\x02\x03\xe9"        /* a server's */
#define MASKED_CLOSE_1001 "\x88\x82" MASK "\x02\xeb"

struct fixture {
    struct bench bench;
    struct mailbox mailbox;
    struct server_settings settings;
    const struct server_settings *settings_now;
    struct peer peer;
    struct wire client, instance;
    int listener;
    struct address address;
    struct server_session *session; /* NULL: closed */
    struct upstream_worker upstream;
    struct metrics *metrics;
    struct policy_kinds kinds;
    struct policy_surroundings surroundings;
    struct snapshot_builder *builder;
    struct snapshot_pin *pin;
    struct exchange_worker worker;
    unsigned pins_released;
};

static const struct policy_registry registry = { .filters = filters_all, .handlers = handlers_all };

/* --- the worker --- */

static void release_pin(struct fixture *f, struct snapshot_pin *pin)
{
    snapshot_destroy(pin->snapshot);
    free(pin);
    f->pins_released++;
}

static void pin_released(struct exchange_worker *worker, struct snapshot_pin *pin) { release_pin(worker->owner, pin); }

static void publish(struct fixture *f, struct snapshot *snapshot)
{
    struct snapshot_pin *old = f->pin;
    f->pin = memory_allocate(sizeof *f->pin);
    f->pin->snapshot = snapshot;
    f->worker.current = f->pin;
    if (old && old->exchanges == 0) release_pin(f, old);
}

/* `more`: what follows the route, in its list and behind that. */
static struct configuration *read_configuration_with(struct fixture *f, const char *route, const char *more)
{
    struct problems problems;
    problems_init(&problems, NULL);
    char *text = memory_format(
        "services: [{ name: one, instances: [\"127.0.0.1:%u\"] }]\nroutes: [{ %s, serviceId: one }%s\n",
        ntohs(f->address.v4.sin_port), route, more);
    struct configuration *configuration = configuration_load_text(slice_from_cstring(text), "test.yaml", "/", &f->kinds,
                                                                  &problems);
    if (!configuration) fail_msg("%s", problems_to_text(&problems));
    problems_release(&problems);
    free(text);
    return configuration;
}

static struct configuration *read_configuration(struct fixture *f, const char *route)
{
    return read_configuration_with(f, route, "]");
}

static void load_with(struct fixture *f, const char *route, const char *more)
{
    struct problems problems;
    problems_init(&problems, NULL);
    publish(f, snapshot_builder_load(f->builder, read_configuration_with(f, route, more), &problems));
    problems_release(&problems);
}

static void load(struct fixture *f, const char *route) { load_with(f, route, "]"); }

static void opened(struct server_session *session, struct server_stream *stream, void *owner)
{
    exchange_begin(&((struct fixture *)owner)->worker, stream);
}

static void refused(struct server_session *session, const struct server_refusal *refusal, void *owner)
{
    fail_msg("%s", refusal->error->text);
}

static void closed(struct server_session *session, void *owner)
{
    struct fixture *f = owner;
    if (f->session == session) f->session = NULL;
}

static const struct server_session_events events = { .open = opened, .refused = refused, .closed = closed };

static void no_wake(void *argument) {}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct error error;
    bench_set_up(&f->bench);
    f->listener = listen_on_loopback(&f->address);
    f->settings = (struct server_settings){
        .limits = { .request_line_bytes = 8192, .header_bytes = 65536, .header_count = 200 },
        .head_timeout_ms = 5000,
        .body_timeout_ms = 5000,
        .idle_timeout_ms = 5000,
    };
    f->settings_now = &f->settings;
    f->kinds = policy_registry_kinds(&registry);
    f->metrics = metrics_create(1);
    f->surroundings = (struct policy_surroundings){ .limits = limit_counters_create(1 << 16, 1, &error), .workers = 1 };
    assert_non_null(f->surroundings.limits);
    f->builder = snapshot_builder_create(&(struct snapshot_builder_settings){ .registry = &registry,
                                                                              .surroundings = &f->surroundings,
                                                                              .metrics = f->metrics,
                                                                              .workers = 1,
                                                                              .wake = no_wake });
    request_id_source_init(&f->bench.worker.ids);
    assert_true(mailbox_init(&f->mailbox, &f->bench.loop, f, &error));
    assert_true(upstream_worker_init(&f->upstream, &f->bench.worker, 0, &error));
    f->upstream.client_settings.limits = f->settings.limits;
    f->worker = (struct exchange_worker){ .loop = &f->bench.loop,
                                          .slabs = &f->bench.slabs,
                                          .upstream = &f->upstream,
                                          .metrics = f->metrics,
                                          .mailbox = &f->mailbox,
                                          .ids = &f->bench.worker.ids,
                                          .pin_released = pin_released,
                                          .owner = f };
    assert_true(exchange_worker_init(&f->worker, &error));
    load(f, "name: chat, path: /chat");
    int accepted, connected;
    connect_pair(&accepted, &connected);
    wire_open(&f->client, connected);
    f->session = h1_server_start(&f->bench.worker, &f->settings_now, (struct session_socket){ .descriptor = accepted },
                                 &f->peer, &events, f);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    if (f->session) server_session_abort(f->session);
    for (int i = 0; i < 6; i++) loop_turn(&f->bench.loop, 0);
    assert_int_equal(gauge_read(&f->worker.tunnels_open), 0);
    assert_int_equal(f->worker.tunnel_places, 0);
    assert_int_equal(gauge_read(&f->worker.active), 0);
    assert_int_equal(gauge_read(&f->upstream.counters.leases), 0);
    upstream_worker_release(&f->upstream);
    mailbox_release(&f->mailbox);
    loop_turn(&f->bench.loop, 0);
    exchange_worker_release(&f->worker);
    assert_int_equal(f->bench.loop.timers.count, 0);
    free(f->pin);
    snapshot_builder_collect(f->builder);
    snapshot_builder_destroy(f->builder);
    limit_counters_destroy(f->surroundings.limits);
    free((void *)(uintptr_t)f->kinds.items);
    metrics_destroy(f->metrics);
    wire_close(&f->client);
    if (f->instance.received) wire_close(&f->instance);
    close(f->listener);
    bench_tear_down(&f->bench);
    free(f);
    return 0;
}

static void settle(struct fixture *f)
{
    for (int i = 0; i < 2; i++) {
        bench_settle(&f->bench, &f->client);
        if (f->instance.received) wire_read(&f->instance);
    }
}

static void say(struct fixture *f, struct wire *wire, const char *bytes, size_t length)
{
    assert_int_equal(wire_write(wire, bytes, length), length);
    settle(f);
}

#define SAY(wire, text) say(f, &f->wire, text, sizeof(text) - 1)

static bool got(const struct wire *wire, const char *bytes, size_t length)
{
    return wire->length == length && memcmp(wire->received, bytes, length) == 0;
}

/* All that has come since the tunnel was opened. */
#define GOT(wire, text) got(&f->wire, text, sizeof(text) - 1)

static void ask(struct fixture *f)
{
    SAY(client, ASK);
    wire_open(&f->instance, accept_soon(f->listener));
    assert_received(&f->instance, "Upgrade: websocket\r\n");
}

static void open_tunnel(struct fixture *f)
{
    ask(f);
    SAY(instance, SWITCH);
    assert_received(&f->client, "HTTP/1.1 101 Switching Protocols\r\n");
    assert_soon(gauge_read(&f->worker.active) == 0);
    settle(f);
    wire_forget(&f->client);
    wire_forget(&f->instance);
}

static char *figures(struct fixture *f)
{
    size_t length;
    char *text = metrics_render(f->metrics, &length);
    text = memory_resize(text, length + 1);
    text[length] = '\0';
    return text;
}

static void assert_closed(struct fixture *f, const char *side, unsigned code)
{
    assert_soon(gauge_read(&f->worker.tunnels_open) == 0);
    char line[128], *text = figures(f);
    snprintf(line, sizeof line, "sluice_websocket_closes_total{side=\"%s\",code=\"%u\"} 1\n", side, code);
    if (!strstr(text, line)) fail_msg("no %s in\n%s", line, strstr(text, "sluice_websocket"));
    free(text);
}

/* --- what an open one holds --- */

static void a_tunnel_outlives_its_exchange_and_all_that_is_its(void **state)
{
    struct fixture *f = *state;
    open_tunnel(f);
    assert_int_equal(gauge_read(&f->worker.tunnels_open), 1);
    assert_int_equal(gauge_read(&f->upstream.counters.calls), 0);
    assert_int_equal(gauge_read(&f->upstream.counters.leases), 1);
    assert_int_equal(f->pin->exchanges, 0);
    assert_int_equal(f->bench.arenas.bytes_taken, 0);
    assert_int_equal(f->bench.slabs.taken_bytes, 0);
    SAY(client, MASKED_HI);
    assert_soon(GOT(instance, MASKED_HI));
    SAY(instance, HELLO);
    assert_soon(GOT(client, HELLO));
    assert_int_equal(f->bench.slabs.taken_bytes, 0);
}

static void it_is_a_request_that_was_answered(void **state)
{
    struct fixture *f = *state;
    open_tunnel(f);
    char *text = figures(f);
    assert_non_null(
        strstr(text, "sluice_requests_total{route=\"chat\",service=\"one\",method=\"GET\",status_class=\"1xx\"} 1\n"));
    assert_non_null(strstr(text, "sluice_upstream_duration_seconds_count{route=\"chat\",service=\"one\"} 1\n"));
    free(text);
}

static size_t memory_in_use(void)
{
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

/* The change borrows the configuration's route. */
static struct snapshot *change_route(struct fixture *f, const struct configuration *from, struct problems *problems)
{
    struct configuration_change *change = memory_allocate(sizeof *change);
    change->configuration = memory_allocate(sizeof *change->configuration);
    arena_init(&change->configuration->arena, NULL);
    change->configuration->routes = from->routes;
    return snapshot_builder_commit(f->builder, snapshot_builder_prepare(f->builder, change, problems));
}

/* The socket was opened under the first of a hundred thousand configurations. Each is let go when the next is in force. */
static void a_hundred_thousand_changes_leave_it_open_and_memory_flat(void **state)
{
    struct fixture *f = *state;
    open_tunnel(f);
    struct configuration *one = read_configuration(f, "name: chat, path: /chat, timeoutMs: 1000");
    struct configuration *other = read_configuration(f, "name: chat, path: /chat, timeoutMs: 2000");
    struct problems problems;
    problems_init(&problems, NULL);
    size_t before = 0;
    for (unsigned i = 0; i < 100000; i++) {
        publish(f, change_route(f, i % 2 ? other : one, &problems));
        snapshot_builder_collect(f->builder);
        assert_int_equal(f->pins_released, i + 1);
        if (i == 1000) before = memory_in_use();
    }
    size_t after = memory_in_use();
    assert_true(after < before + 64 * 1024); /* under a sanitizer both are 0 */
    configuration_destroy(other);
    configuration_destroy(one);
    problems_release(&problems);
    loop_update_time(&f->bench.loop);
    SAY(client, MASKED_HI);
    assert_soon(GOT(instance, MASKED_HI));
}

static void its_route_is_let_go_at_its_end(void **state)
{
    struct fixture *f = *state;
    open_tunnel(f);
    load(f, "name: other, path: /other");
    assert_int_equal(f->pins_released, 1);
    snapshot_builder_collect(f->builder); /* which mustn't take what the tunnel holds */
    SAY(instance, HELLO);
    assert_soon(GOT(client, HELLO));
    wire_reset(&f->client);
    assert_closed(f, "client", 1006);
    snapshot_builder_collect(f->builder); /* a sanitizer would see what nobody let go */
}

/* --- ends --- */

static void both_close_frames_and_then_the_connections(void **state)
{
    struct fixture *f = *state;
    open_tunnel(f);
    SAY(client, MASKED_CLOSE_1001);
    assert_soon(GOT(instance, MASKED_CLOSE_1001));
    SAY(instance, CLOSE_1001);
    shutdown(f->instance.descriptor, SHUT_WR);
    assert_soon(f->client.ended && GOT(client, CLOSE_1001));
    shutdown(f->client.descriptor, SHUT_WR);
    assert_soon(f->instance.ended && !f->instance.was_reset);
    assert_closed(f, "client", 1001);
}

static void who_closes_first_is_who_closed(void **state)
{
    struct fixture *f = *state;
    open_tunnel(f);
    SAY(instance, "\x88\x02\x03\xf3"); /* 1011 */
    SAY(client, MASKED_CLOSE_1001);
    wire_reset(&f->client);
    assert_closed(f, "backend", 1011);
}

static void an_end_without_a_word_is_abnormal(void **state)
{
    struct fixture *f = *state;
    open_tunnel(f);
    wire_reset(&f->instance);
    assert_soon(f->client.ended && f->client.was_reset);
    assert_closed(f, "backend", 1006);
}

static void a_side_that_is_cut_off_is_not_who_broke_off(void **state)
{
    struct fixture *f = *state;
    open_tunnel(f);
    shutdown(f->instance.descriptor, SHUT_WR);
    assert_soon(f->client.ended);
    wire_reset(&f->client);
    assert_closed(f, "backend", 1006);
}

/* --- goodbyes --- */

static void leave(struct fixture *f)
{
    exchange_worker_end_tunnels(&f->worker);
    settle(f);
}

static bool is_masked_1001(const struct wire *wire)
{
    struct websocket_follower follower = { 0 };
    return wire->length == 8 && websocket_follow(&follower, wire->received, 8) == 8 && follower.close_seen &&
           follower.close_code == 1001 && (uint8_t)wire->received[1] == 0x82;
}

static void a_silent_tunnel_says_goodbye_at_once(void **state)
{
    struct fixture *f = *state;
    open_tunnel(f);
    leave(f);
    assert_soon(GOT(client, CLOSE_1001));
    assert_soon(is_masked_1001(&f->instance));
    assert_false(f->client.ended || f->instance.ended);
    SAY(client, MASKED_CLOSE_1001);
    assert_false(f->client.ended);
    SAY(instance, CLOSE_1001);
    assert_soon(f->client.ended && f->instance.ended);
    assert_false(f->client.was_reset || f->instance.was_reset);
    assert_closed(f, "gateway", 1001);
    assert_true(GOT(client, CLOSE_1001)); /* the answers are for us */
}

static void what_is_under_way_is_said_first(void **state)
{
    struct fixture *f = *state;
    open_tunnel(f);
    SAY(instance, "\x81\x05he");
    SAY(client, "\x81");
    leave(f);
    assert_true(GOT(client, "\x81\x05he"));
    assert_true(GOT(instance, "\x81"));
    SAY(instance, "llo" HELLO); /* the second one comes too late */
    assert_soon(GOT(client, HELLO CLOSE_1001));
    SAY(client, "\x82" MASK "\x69");
    SAY(client, "\x6b" MASKED_HI);
    assert_soon(f->instance.length == 16);
    assert_memory_equal(f->instance.received, MASKED_HI, 8);
    SAY(instance, CLOSE_1001);
    SAY(client, MASKED_CLOSE_1001);
    assert_closed(f, "gateway", 1001);
}

/* Nothing follows a close frame (RFC 6455 5.5.1), so ours doesn't follow the sender's own. */
static void to_whom_a_close_has_gone_no_other_goes(void **state)
{
    struct fixture *f = *state;
    open_tunnel(f);
    SAY(instance, CLOSE_1001);
    leave(f);
    assert_true(GOT(client, CLOSE_1001));
    assert_soon(is_masked_1001(&f->instance));
    SAY(client, MASKED_CLOSE_1001);
    assert_soon(f->client.ended);
    assert_closed(f, "backend", 1001);
}

static void a_tunnel_that_opens_after_all_were_told_is_told(void **state)
{
    struct fixture *f = *state;
    ask(f);
    leave(f);
    wire_forget(&f->instance);
    SAY(instance, SWITCH);
    assert_soon(ends_with(&f->client, "\r\n\r\n" CLOSE_1001));
    assert_soon(is_masked_1001(&f->instance));
}

static void a_full_pipe_gets_its_goodbye_when_it_has_room(void **state)
{
    struct fixture *f = *state;
    static char frame[64 * 1024 + 10] = "\x82\x7f\0\0\0\0\0\x01\0\0";
    size_t sent = 0;
    open_tunnel(f);
    f->client.deaf = true;
    for (int quiet = 0; quiet < 20;) {
        size_t moved = wire_write(&f->instance, frame + sent % sizeof frame, sizeof frame - sent % sizeof frame);
        sent += moved;
        quiet = moved ? 0 : quiet + 1;
        loop_turn(&f->bench.loop, 1);
    }
    leave(f);
    f->client.deaf = false;
    size_t whole = (sent + sizeof frame - 1) / sizeof frame * sizeof frame; /* to the end of the frame under way */
    for (int i = 0; i < 20000 && sent < whole; i++) {
        sent += wire_write(&f->instance, frame + sent % sizeof frame, whole - sent);
        loop_turn(&f->bench.loop, 1);
        wire_read(&f->client);
    }
    assert_soon(ends_with(&f->client, CLOSE_1001));
    assert_int_equal((f->client.length - 4) % sizeof frame, 0); /* between two frames */
}

static void nothing_moves_for_long_enough_and_it_is_closed(void **state)
{
    struct fixture *f = *state;
    load(f, "name: chat, path: /chat, tunnelIdleTimeoutMs: 100");
    open_tunnel(f);
    for (int i = 0; i < 4; i++) {
        bench_wait(&f->bench, &f->client, 50);
        SAY(client, MASKED_HI);
        assert_int_equal(f->client.length, 0);
    }
    assert_soon(GOT(client, CLOSE_1001));
    SAY(client, MASKED_CLOSE_1001);
    SAY(instance, CLOSE_1001);
    assert_closed(f, "timeout", 1001);
}

static void places_are_counted_from_the_request_on(void **state)
{
    struct fixture *f = *state;
    f->worker.tunnels_max = 1;
    f->worker.tunnel_places = 1; /* somebody has it */
    SAY(client, ASK);
    assert_received(&f->client, "HTTP/1.1 503 ");
    f->worker.tunnel_places = 0;
    wire_forget(&f->client);
    ask(f);
    assert_int_equal(f->worker.tunnel_places, 1);
    SAY(instance, "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
    assert_received(&f->client, "HTTP/1.1 403 ");
    assert_soon(f->worker.tunnel_places == 0);
}

static void a_101_that_does_not_fit_the_key_is_a_bad_gateway(void **state)
{
    struct fixture *f = *state;
    ask(f);
    SAY(instance, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
                  "Sec-WebSocket-Accept: wrong\r\n\r\n");
    assert_received(&f->client, "HTTP/1.1 502 ");
    assert_soon(f->instance.ended);
}

/* --- places of a limit on what is under way --- */

/* One at a time, and a route that asks for such a place and answers at once. */
#define ONE_AT_A_TIME                                              \
    ", { name: plain, path: /plain, respond: { status: 204 } }]\n" \
    "rateLimits: [{ name: r, key: global, algorithm: concurrency, limit: 1 }]"

static void load_limited(struct fixture *f, const char *route) { load_with(f, route, ONE_AT_A_TIME); }

/* By another client: is there a place? */
static bool has_place(struct fixture *f)
{
    int accepted, connected;
    struct wire other;
    connect_pair(&accepted, &connected);
    wire_open(&other, connected);
    struct server_session *session = h1_server_start(
        &f->bench.worker, &f->settings_now, (struct session_socket){ .descriptor = accepted }, &f->peer, &events, f);
    wire_say(&other, "GET /plain HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_received(&other, "HTTP/1.1 ");
    bool has = strncmp(other.received + 9, "204", 3) == 0;
    assert_true(has || strncmp(other.received + 9, "429", 3) == 0);
    server_session_abort(session);
    loop_turn(&f->bench.loop, 0);
    wire_close(&other);
    return has;
}

static void both_close(struct fixture *f)
{
    SAY(client, MASKED_CLOSE_1001);
    assert_false(has_place(f)); /* the other side may still have much to say */
    SAY(instance, CLOSE_1001);
    shutdown(f->instance.descriptor, SHUT_WR);
    shutdown(f->client.descriptor, SHUT_WR);
}

static void client_breaks_off(struct fixture *f) { wire_reset(&f->client); }

static void instance_breaks_off(struct fixture *f) { wire_reset(&f->instance); }

static void gateway_leaves(struct fixture *f)
{
    exchange_worker_end_tunnels(&f->worker);
    settle(f);
    SAY(client, MASKED_CLOSE_1001);
    SAY(instance, CLOSE_1001);
}

static void a_place_is_held_until_the_tunnel_is_over(void **state)
{
    static void (*const ends[])(struct fixture *) = { both_close, client_breaks_off, instance_breaks_off,
                                                      gateway_leaves };
    for (size_t i = 0; i < COUNT_OF(ends); i++) {
        if (i > 0) assert_int_equal(set_up(state), 0);
        struct fixture *f = *state;
        load_limited(f, "name: chat, path: /chat");
        assert_true(has_place(f));
        open_tunnel(f);
        assert_false(has_place(f));
        SAY(client, MASKED_HI);
        assert_soon(GOT(instance, MASKED_HI));
        assert_false(has_place(f));
        ends[i](f);
        assert_soon(gauge_read(&f->worker.tunnels_open) == 0);
        assert_true(has_place(f));
        if (i + 1 < COUNT_OF(ends)) tear_down(state);
    }
}

/* The rule is another object by then, and still the same rule. */
static void a_reload_gives_no_place_back(void **state)
{
    struct fixture *f = *state;
    load_limited(f, "name: chat, path: /chat");
    open_tunnel(f);
    load_limited(f, "name: chat, path: /chat, timeoutMs: 1000");
    snapshot_builder_collect(f->builder);
    assert_false(has_place(f));
    load_limited(f, "name: other, path: /other");
    snapshot_builder_collect(f->builder);
    assert_false(has_place(f));
    wire_reset(&f->client);
    assert_soon(gauge_read(&f->worker.tunnels_open) == 0);
    assert_true(has_place(f));
}

static void a_tunnel_that_does_not_open_gives_its_place_back(void **state)
{
    static const char *const answers[] = {
        "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Accept: wrong\r\n\r\n",
    };
    for (size_t i = 0; i < COUNT_OF(answers); i++) {
        if (i > 0) assert_int_equal(set_up(state), 0);
        struct fixture *f = *state;
        load_limited(f, "name: chat, path: /chat");
        ask(f);
        assert_false(has_place(f));
        say(f, &f->instance, answers[i], strlen(answers[i]));
        assert_received(&f->client, i ? "HTTP/1.1 502 " : "HTTP/1.1 403 ");
        assert_soon(gauge_read(&f->worker.active) == 0);
        assert_true(has_place(f));
        if (i + 1 < COUNT_OF(answers)) tear_down(state);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_tunnel_outlives_its_exchange_and_all_that_is_its),
        TEST(it_is_a_request_that_was_answered),
        TEST(a_hundred_thousand_changes_leave_it_open_and_memory_flat),
        TEST(its_route_is_let_go_at_its_end),
        TEST(both_close_frames_and_then_the_connections),
        TEST(who_closes_first_is_who_closed),
        TEST(an_end_without_a_word_is_abnormal),
        TEST(a_side_that_is_cut_off_is_not_who_broke_off),
        TEST(a_silent_tunnel_says_goodbye_at_once),
        TEST(what_is_under_way_is_said_first),
        TEST(to_whom_a_close_has_gone_no_other_goes),
        TEST(a_tunnel_that_opens_after_all_were_told_is_told),
        TEST(a_full_pipe_gets_its_goodbye_when_it_has_room),
        TEST(nothing_moves_for_long_enough_and_it_is_closed),
        TEST(places_are_counted_from_the_request_on),
        TEST(a_101_that_does_not_fit_the_key_is_a_bad_gateway),
        TEST(a_place_is_held_until_the_tunnel_is_over),
        TEST(a_reload_gives_no_place_back),
        TEST(a_tunnel_that_does_not_open_gives_its_place_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
