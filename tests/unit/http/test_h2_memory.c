/* http/h2_memory.h, by itself and below sessions that take turns. The clients of the latter are nghttp2's own. */
#include "h2_fixture.h"

#include "http/h2_server_private.h"

#include <sys/mman.h>

#define FRAME_BYTES (16384 + 9 + 1)
#define RING_BYTES 1024
#define TABLE_BYTES 4096
#define MANY 1000 /* more than two regions hold */

/* As nghttp2 asks at a session's creation. */
struct part {
    struct h2_session_memory memory;
    nghttp2_mem calls;
    char *rings[2], *table, *frame;
};

static void part_begin(struct part *part, struct h2_memory *memory)
{
    part->calls = h2_session_memory_init(&part->memory, memory);
    for (int i = 0; i < 2; i++) part->rings[i] = part->calls.malloc(RING_BYTES, &part->memory);
    part->table = part->calls.calloc(TABLE_BYTES / 16, 16, &part->memory);
    part->frame = part->calls.realloc(NULL, FRAME_BYTES, &part->memory);
    h2_session_memory_created(&part->memory);
    assert_true(part->rings[0] && part->rings[1] && part->table && part->frame);
}

static void part_end(struct part *part)
{
    part->calls.free(part->frame, &part->memory);
    part->calls.free(part->table, &part->memory);
    for (int i = 0; i < 2; i++) part->calls.free(part->rings[i], &part->memory);
    h2_session_memory_release(&part->memory);
}

static bool all_are(const char *bytes, size_t length, char value)
{
    for (size_t i = 0; i < length; i++) {
        if (bytes[i] != value) return false;
    }
    return true;
}

/* -1: not mapped. */
static int is_resident(const char *page)
{
    unsigned char is_in;
    return mincore((void *)page, 1, &is_in) == 0 ? is_in & 1 : -1;
}

static bool tables_are_pages(void) { return sysconf(_SC_PAGESIZE) == TABLE_BYTES; }

/* --- the memory by itself --- */

static void the_frame_is_shared_and_only_the_first_of_a_session(void **state)
{
    struct h2_memory *memory = h2_memory_create();
    struct part a, b;
    part_begin(&a, memory);
    part_begin(&b, memory);
    assert_ptr_equal(a.frame, b.frame);
    char *continuation = a.calls.realloc(NULL, FRAME_BYTES, &a.memory);
    assert_ptr_not_equal(continuation, a.frame);
    a.calls.free(continuation, &a.memory);
    part_end(&a);
    memset(b.frame, 'b', FRAME_BYTES);
    part_end(&b);
    h2_memory_destroy(memory);
}

static void what_is_asked_for_later_is_a_sessions_own(void **state)
{
    struct h2_memory *memory = h2_memory_create();
    struct part part;
    part_begin(&part, memory);
    char *ring = part.calls.malloc(RING_BYTES, &part.memory);
    char *table = part.calls.calloc(2 * TABLE_BYTES / 16, 16, &part.memory);
    memset(ring, 1, RING_BYTES);
    memset(table, 1, 2 * TABLE_BYTES);
    assert_true(all_are(part.table, TABLE_BYTES, 0));
    ring = part.calls.realloc(ring, 2 * RING_BYTES, &part.memory);
    assert_true(all_are(ring, RING_BYTES, 1));
    part.calls.free(ring, &part.memory);
    part.calls.free(table, &part.memory);
    part_end(&part);
    h2_memory_destroy(memory);
}

static void rings_and_tables_of_many_sessions_are_apart(void **state)
{
    struct h2_memory *memory = h2_memory_create();
    struct part *parts = calloc(MANY, sizeof *parts);
    for (int i = 0; i < MANY; i++) {
        part_begin(&parts[i], memory);
        assert_true(all_are(parts[i].table, TABLE_BYTES, 0));
        for (int r = 0; r < 2; r++) memset(parts[i].rings[r], 2 * i + r, RING_BYTES);
        memset(parts[i].table, i, TABLE_BYTES);
    }
    for (int i = 0; i < MANY; i++) {
        for (int r = 0; r < 2; r++) assert_true(all_are(parts[i].rings[r], RING_BYTES, (char)(2 * i + r)));
        assert_true(all_are(parts[i].table, TABLE_BYTES, (char)i));
        part_end(&parts[i]);
    }
    free(parts);
    h2_memory_destroy(memory);
}

/* Whether it was wiped, or given to the kernel because many were free already. */
static void a_table_is_zeros_whoever_had_it_before(void **state)
{
    struct h2_memory *memory = h2_memory_create();
    struct part *parts = calloc(MANY, sizeof *parts);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < MANY; i++) {
            part_begin(&parts[i], memory);
            assert_true(all_are(parts[i].table, TABLE_BYTES, 0));
            memset(parts[i].table, 0xff, TABLE_BYTES);
        }
        for (int i = 0; i < MANY; i++) part_end(&parts[i * 7 % MANY]);
    }
    free(parts);
    h2_memory_destroy(memory);
}

static void tables_that_nobody_uses_do_not_stay_resident(void **state)
{
    if (!tables_are_pages()) skip();
    struct h2_memory *memory = h2_memory_create();
    struct part *parts = calloc(MANY, sizeof *parts);
    int resident = 0, mapped = 0;
    for (int i = 0; i < MANY; i++) part_begin(&parts[i], memory);
    for (int i = 0; i < MANY; i++) memset(parts[i].table, 1, TABLE_BYTES);
    for (int i = 0; i < MANY; i++) part_end(&parts[i]);
    for (int i = 0; i < MANY; i++) {
        resident += is_resident(parts[i].table) == 1;
        mapped += is_resident(parts[i].table) >= 0;
    }
    assert_in_range(resident, 0, 64);
    assert_in_range(mapped, 1, MANY / 2); /* what is empty is unmapped, but for one region */
    free(parts);
    h2_memory_destroy(memory);
}

static void what_was_never_written_is_not_resident(void **state)
{
    if (!tables_are_pages()) skip();
    struct h2_memory *memory = h2_memory_create();
    struct part part;
    part_begin(&part, memory);
    assert_int_equal(is_resident(part.table), 0);
    part.table[17] = 1;
    assert_int_equal(is_resident(part.table), 1);
    part_end(&part);
    h2_memory_destroy(memory);
}

static void a_trim_gives_a_table_of_zeros_back_and_no_other(void **state)
{
    if (!tables_are_pages()) skip();
    struct h2_memory *memory = h2_memory_create();
    struct part part;
    part_begin(&part, memory);
    part.table[TABLE_BYTES - 1] = 1;
    assert_true(h2_session_memory_trim(&part.memory, 1000));
    assert_int_equal(is_resident(part.table), 1);
    assert_int_equal(part.table[TABLE_BYTES - 1], 1);
    part.table[TABLE_BYTES - 1] = 0;
    assert_true(h2_session_memory_trim(&part.memory, 1000));
    assert_int_equal(is_resident(part.table), 0);
    assert_true(all_are(part.table, TABLE_BYTES, 0));
    part_end(&part);
    h2_memory_destroy(memory);
}

static void so_many_tables_are_given_back_a_second(void **state)
{
    if (!tables_are_pages()) skip();
    struct h2_memory *memory = h2_memory_create();
    struct part part;
    int given = 0;
    part_begin(&part, memory);
    while (given < 100000 && h2_session_memory_trim(&part.memory, 1999)) given++;
    assert_in_range(given, 1, 99999);
    assert_true(h2_session_memory_trim(&part.memory, 2000));
    part_end(&part);
    h2_memory_destroy(memory);
}

static void without_memory_of_the_workers_all_is_mallocs(void **state)
{
    struct part a, b;
    part_begin(&a, NULL);
    part_begin(&b, NULL);
    assert_ptr_not_equal(a.frame, b.frame);
    assert_true(all_are(a.table, TABLE_BYTES, 0));
    assert_true(h2_session_memory_trim(&a.memory, 1000));
    part_end(&a);
    part_end(&b);
}

/* --- below sessions --- */

static struct h2_server *server_of(struct fixture *f) { return CONTAINER_OF(f->session, struct h2_server, session); }

/* Should nghttp2 ask for other things one day, it would work as before, and idle connections would be large again. */
static void what_nghttp2_takes_finds_its_places(void **state)
{
    struct h2_session_memory *memory = &server_of(*state)->memory;
    assert_non_null(memory->region);
    assert_int_equal(memory->rings, 2);
    assert_true(memory->has_table);
    assert_true(memory->has_frame);
    assert_false(memory->creating);
}

/* The cell that was given back last is the next session's. */
static const char *next_table(struct fixture *f)
{
    struct part part;
    part_begin(&part, f->bench.worker.h2_memory);
    part_end(&part);
    return part.table;
}

static void an_idle_connection_gives_its_table_back_and_goes_on_as_before(void **state)
{
    if (!tables_are_pages()) skip();
    struct fixture *f = *state;
    const char *table = next_table(f);
    start(f);
    for (uint32_t i = 0; i < 2; i++) {
        h2_get(&f->client, 2 * i + 1, "/a");
        assert_soon(f->opened == i + 1);
        assert_int_equal(is_resident(table), 1);
        answer(&f->exchanges[i], 200, "hello");
        assert_h2(&f->client, i == 0 ? "DATA 1 hello end\n" : "DATA 3 hello end\n");
        assert_soon(is_resident(table) == 0);
    }
    assert_idle_and_empty(f);
}

static void a_table_is_kept_while_a_stream_is_open(void **state)
{
    struct fixture *f = *state;
    start(f);
    h2_get(&f->client, 1, "/a");
    assert_soon(f->opened == 1);
    answer(&f->exchanges[0], 200, "first");
    assert_h2(&f->client, "DATA 1 first end\n");
    h2_get(&f->client, 3, "/b");
    assert_soon(f->opened == 2);
    assert_int_equal(server_of(f)->trim_at_ms, UINT64_MAX);
    answer(&f->exchanges[1], 200, "second");
    assert_h2(&f->client, "DATA 3 second end\n");
}

/* More streams than the table has room for: nghttp2 goes to a larger one, which is malloc's. */
static void a_connection_may_have_more_streams_than_its_table_holds(void **state)
{
    struct fixture *f = *state;
    f->settings.streams_max = 400;
    start(f);
    for (uint32_t i = 0; i < 400; i++) h2_get(&f->client, 2 * i + 1, "/a");
    assert_soon(f->opened == 400);
    for (unsigned i = 0; i < 400; i++) answer(&f->exchanges[i], 200, "hello");
    assert_soon(f->sent == 400);
    assert_h2(&f->client, "DATA 799 hello end\n");
    assert_idle_and_empty(f);
}

/* --- sessions that take turns --- */

#define SESSIONS 6
#define STREAMS 4
#define FIELDS 8
#define FIELD_BYTES 20000
#define BODY_BYTES ((size_t)256 * 1024)

/* A client that takes little at a time. What it gets is different for each session and stream. */
struct taker {
    struct fixture *f;
    nghttp2_session *h2;
    unsigned number;
    unsigned fields, ended, mistakes;
    size_t content[STREAMS], pushed[STREAMS];
};

static unsigned stream_index(int32_t id) { return (unsigned)(id - 1) / 2; }
static char mark_of(const struct taker *taker, unsigned stream)
{
    return (char)('0' + taker->number * STREAMS + stream);
}

static int on_field(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_length,
                    const uint8_t *value, size_t length, uint8_t flags, void *user_data)
{
    struct taker *taker = user_data;
    if (name_length != 3 || memcmp(name, "x-m", 3) != 0) return 0;
    taker->fields++;
    char mark = mark_of(taker, stream_index(frame->hd.stream_id));
    taker->mistakes += length != FIELD_BYTES || !all_are((const char *)value, length, mark);
    return 0;
}

static int on_content(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *bytes, size_t length,
                      void *user_data)
{
    struct taker *taker = user_data;
    size_t *content = &taker->content[stream_index(id)];
    for (size_t i = 0; i < length; i++) taker->mistakes += bytes[i] != (*content + i) % 251;
    *content += length;
    return 0;
}

static int on_end(nghttp2_session *session, int32_t id, uint32_t code, void *user_data)
{
    struct taker *taker = user_data;
    taker->ended++;
    taker->mistakes += code != 0;
    return 0;
}

static void create_taker(struct taker *taker)
{
    nghttp2_session_callbacks *callbacks;
    nghttp2_option *options;
    assert_int_equal(nghttp2_session_callbacks_new(&callbacks), 0);
    assert_int_equal(nghttp2_option_new(&options), 0);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_field);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_content);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_end);
    nghttp2_option_set_max_continuations(options, 100);
    assert_int_equal(nghttp2_session_client_new2(&taker->h2, callbacks, taker, options), 0);
    nghttp2_option_del(options);
    nghttp2_session_callbacks_del(callbacks);
}

static void ask(struct taker *taker)
{
    static const nghttp2_nv fields[] = {
        { (uint8_t *)":method", (uint8_t *)"GET", 7, 3, 0 },
        { (uint8_t *)":scheme", (uint8_t *)"http", 7, 4, 0 },
        { (uint8_t *)":authority", (uint8_t *)"h", 10, 1, 0 },
        { (uint8_t *)":path", (uint8_t *)"/a", 5, 2, 0 },
    };
    assert_int_equal(nghttp2_submit_settings(taker->h2, 0, NULL, 0), 0);
    for (int i = 0; i < STREAMS; i++)
        assert_true(nghttp2_submit_request(taker->h2, NULL, fields, COUNT_OF(fields), NULL, NULL) > 0);
}

static void taker_begin(struct taker *taker, unsigned number, struct h2_memory *memory)
{
    void *state;
    set_up(&state);
    struct fixture *f = state;
    *taker = (struct taker){ .f = f, .number = number };
    h2_memory_destroy(f->bench.worker.h2_memory);
    f->bench.worker.h2_memory = memory;
    start_silent(f);
    int small = 4096;
    setsockopt(server_of(f)->stream.source.descriptor, SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    create_taker(taker);
    ask(taker);
    assert_true(nghttp2_session_mem_recv(taker->h2, (uint8_t *)f->wire.received, f->wire.length) >= 0);
}

static void taker_end(struct taker *taker)
{
    void *state = taker->f;
    nghttp2_session_del(taker->h2);
    current_bench = &taker->f->bench;
    taker->f->bench.worker.h2_memory = NULL;
    tear_down(&state);
}

static void answer_all(struct taker *taker)
{
    static char values[SESSIONS * STREAMS][FIELD_BYTES];
    for (unsigned i = 0; i < STREAMS; i++) {
        char *value = values[taker->number * STREAMS + i];
        memset(value, mark_of(taker, i), FIELD_BYTES);
        struct exchange *exchange = &taker->f->exchanges[i];
        struct response_head *head = new_head(exchange, 200);
        for (int n = 0; n < FIELDS; n++)
            assert_true(headers_add(&head->headers, SLICE("x-m"), slice_of(value, FIELD_BYTES)));
        head->has_body = true;
        head->body_length = BODY_BYTES;
        assert_true(send_answer(exchange, head, NULL, false));
    }
}

static void say_and_take(struct taker *taker)
{
    static uint8_t bytes[24 * 1024];
    const uint8_t *said;
    int descriptor = taker->f->wire.descriptor;
    for (ssize_t length; (length = nghttp2_session_mem_send(taker->h2, &said)) > 0;)
        assert_int_equal(wire_write(&taker->f->wire, (const char *)said, (size_t)length), length);
    ssize_t got = recv(descriptor, bytes, sizeof bytes, MSG_DONTWAIT);
    if (got > 0) assert_int_equal(nghttp2_session_mem_recv(taker->h2, bytes, (size_t)got), got);
}

static void take_a_turn(struct taker *taker)
{
    struct fixture *f = taker->f;
    unsigned before = f->opened;
    say_and_take(taker);
    loop_turn(&f->bench.loop, 0);
    if (f->opened == STREAMS && before < STREAMS) answer_all(taker);
    for (unsigned i = 0; i < STREAMS; i++) {
        if (f->exchanges[i].has_answer && taker->pushed[i] < BODY_BYTES)
            (void)push_pattern(&f->exchanges[i], BODY_BYTES, &taker->pushed[i]);
    }
}

/* Heads of 160 KB each and bodies, by sockets that take a few KB a turn: sessions stop in the midst of heads while others make theirs. */
static void sessions_that_share_a_frame_do_not_meet_in_it(void **state)
{
    struct h2_memory *memory = h2_memory_create();
    struct taker *takers = calloc(SESSIONS, sizeof *takers);
    unsigned ended = 0, stops = 0;
    for (unsigned i = 0; i < SESSIONS; i++) taker_begin(&takers[i], i, memory);
    for (unsigned turns = 0; turns < 50000 && ended < SESSIONS * STREAMS; turns++) {
        ended = 0;
        for (unsigned i = 0; i < SESSIONS; i++) {
            take_a_turn(&takers[i]);
            ended += takers[i].ended;
            stops += takers[i].fields < STREAMS * FIELDS && h2_output_waits(&server_of(takers[i].f)->output);
        }
    }
    assert_true(stops > SESSIONS * STREAMS);
    for (unsigned i = 0; i < SESSIONS; i++) {
        assert_int_equal(takers[i].mistakes, 0);
        assert_int_equal(takers[i].ended, STREAMS);
        assert_int_equal(takers[i].fields, STREAMS * FIELDS);
        for (int s = 0; s < STREAMS; s++) assert_int_equal(takers[i].content[s], BODY_BYTES);
        taker_end(&takers[i]);
    }
    free(takers);
    h2_memory_destroy(memory);
}

#define TEST(name) cmocka_unit_test(name)
#define TEST_OF_SESSION(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_frame_is_shared_and_only_the_first_of_a_session),
        TEST(what_is_asked_for_later_is_a_sessions_own),
        TEST(rings_and_tables_of_many_sessions_are_apart),
        TEST(a_table_is_zeros_whoever_had_it_before),
        TEST(tables_that_nobody_uses_do_not_stay_resident),
        TEST(what_was_never_written_is_not_resident),
        TEST(a_trim_gives_a_table_of_zeros_back_and_no_other),
        TEST(so_many_tables_are_given_back_a_second),
        TEST(without_memory_of_the_workers_all_is_mallocs),
        cmocka_unit_test_setup_teardown(what_nghttp2_takes_finds_its_places, set_up_started, tear_down),
        TEST_OF_SESSION(an_idle_connection_gives_its_table_back_and_goes_on_as_before),
        TEST_OF_SESSION(a_table_is_kept_while_a_stream_is_open),
        TEST_OF_SESSION(a_connection_may_have_more_streams_than_its_table_holds),
        TEST(sessions_that_share_a_frame_do_not_meet_in_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
