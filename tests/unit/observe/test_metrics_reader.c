/* The text a piece at a time, beside changes of what it tells of; and as a body with a slow reader. */
#include "unit_test.h"

#include "observe/metrics_body.h"
#include "observe/metrics_private.h"

#include "base/random.h"

#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/uio.h>

static struct metrics *metrics;

static int set_up(void **state)
{
    metrics = metrics_create(2);
    return 0;
}

static int tear_down(void **state)
{
    metrics_destroy(metrics);
    return 0;
}

static struct route_metrics *route_number(unsigned number)
{
    char name[32];
    return metrics_route(metrics, slice_of(name, (size_t)snprintf(name, sizeof name, "route-%u", number)), SLICE("s"));
}

static void count(struct route_metrics *route, unsigned worker)
{
    struct exchange_record record = {
        .status = 200, .method = METHOD_GET, .duration_ns = 3000000, .upstream_ns = 2000000
    };
    metrics_count(metrics, worker, route, &record);
}

static void fill(unsigned routes)
{
    for (unsigned i = 0; i < routes; i++) {
        struct route_metrics *route = route_number(i);
        count(route, 0);
        count(route, 1);
    }
}

/* The lines that tell of routes: those do not change between two readings. */
static struct slice about_routes(const char *text, size_t length)
{
    size_t end = slice_find(slice_of(text, length), SLICE("# HELP sluice_errors_total"));
    assert_int_not_equal(end, SLICE_NOT_FOUND);
    return slice_of(text, end);
}

/* All of it in pieces of at most `size` bytes. */
static struct metrics_text read_in_pieces(size_t size)
{
    struct metrics_reader *reader = metrics_reader_create(metrics);
    struct metrics_text text = { 0 };
    char *piece = malloc(size);
    for (size_t got; (got = metrics_reader_next(reader, piece, size)) > 0;) {
        assert_true(got <= size);
        if (size >= 4096) assert_int_equal(piece[got - 1], '\n');
        text_put(&text, slice_of(piece, got));
    }
    assert_int_equal(metrics_reader_next(reader, piece, size), 0); /* and stays so */
    free(piece);
    metrics_reader_destroy(reader);
    return text;
}

static void pieces_of_any_size_make_the_same_text(void **state)
{
    fill(150);
    size_t length;
    char *whole = metrics_render(metrics, &length);
    const size_t sizes[] = { 1, 7, 100, 4096, 65536, 1 << 20 };
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        struct metrics_text text = read_in_pieces(sizes[i]);
        assert_true(slice_equal(about_routes(text.bytes, text.length), about_routes(whole, length)));
        free(text.bytes);
    }
    free(whole);
}

static void a_name_longer_than_the_piece_is_cut_and_whole_again_behind_it(void **state)
{
    char name[5000];
    memset(name, '"', sizeof name);
    count(metrics_route(metrics, slice_of(name, sizeof name), SLICE("s")), 0);
    size_t length;
    struct metrics_text text = read_in_pieces(4095);
    char *whole = metrics_render(metrics, &length);
    assert_true(slice_equal(about_routes(text.bytes, text.length), about_routes(whole, length)));
    free(whole);
    free(text.bytes);
}

static size_t count_in(const char *text, size_t length, struct slice needle)
{
    size_t count = 0, at, start = 0;
    while ((at = slice_find(slice_of(text + start, length - start), needle)) != SLICE_NOT_FOUND) {
        start += at + needle.length;
        count++;
    }
    return count;
}

/* Nobody used it for an hour; another reader, which stops half-way, forgets it where nobody stands at it. */
static void let_go(struct route_metrics **route)
{
    char piece[1000];
    metrics_route_drop(metrics, *route);
    (*route)->unused_since_ns -= UNUSED_KEPT_NS + 1;
    *route = NULL;
    struct metrics_reader *reader = metrics_reader_create(metrics);
    (void)metrics_reader_next(reader, piece, sizeof piece);
    metrics_reader_destroy(reader);
}

static void assert_nobody_stands_anywhere(void)
{
    for (const struct route_metrics *route = metrics->first; route; route = route->next)
        assert_int_equal(route->readers, 0);
}

static void routes_that_come_and_go_meanwhile_break_nothing(void **state)
{
    enum { FIRST = 200, ALL = 400 };
    struct random random;
    random_init_seeded(&random, 11);
    struct route_metrics *routes[ALL] = { NULL };
    for (unsigned i = 0; i < FIRST; i++) count(routes[i] = route_number(i), 0);
    unsigned next = FIRST, gone = 0;
    size_t got;
    char piece[4096];
    struct metrics_text text = { 0 };
    struct metrics_reader *reader = metrics_reader_create(metrics);
    while ((got = metrics_reader_next(reader, piece, sizeof piece)) > 0) {
        text_put(&text, slice_of(piece, got));
        unsigned which = (unsigned)random_below(&random, next);
        if (next < ALL && which % 3 == 0) count(routes[next] = route_number(next), 1), next++;
        if (which % 2 && routes[which]) let_go(&routes[which]), gone++;
    }
    metrics_reader_destroy(reader);
    assert_true(gone > 20 && next > FIRST + 20);
    assert_int_equal(count_in(text.bytes, text.length, SLICE("# HELP sluice_requests_total ")), 1);
    for (unsigned i = 0; i < FIRST; i++) {
        char line[128];
        size_t length = (size_t)snprintf(
            line, sizeof line, "sluice_request_duration_seconds_count{route=\"route-%u\",service=\"s\"} 1\n", i);
        if (routes[i]) assert_int_equal(count_in(text.bytes, text.length, slice_of(line, length)), 1);
    }
    free(text.bytes);
    assert_nobody_stands_anywhere();
}

static void a_reader_that_stops_half_way_holds_nothing_back(void **state)
{
    fill(200);
    char piece[4096];
    for (unsigned pieces = 0; pieces < 100; pieces++) {
        struct metrics_reader *reader = metrics_reader_create(metrics);
        for (unsigned i = 0; i < pieces; i++) (void)metrics_reader_next(reader, piece, sizeof piece);
        metrics_reader_destroy(reader);
        assert_nobody_stands_anywhere();
    }
    metrics_reader_destroy(NULL);
}

static void *read_again_and_again(void *argument)
{
    for (int i = 0; i < 20; i++) {
        size_t length;
        free(metrics_render(metrics, &length));
    }
    return NULL;
}

static void readers_builder_and_worker_go_on_side_by_side(void **state)
{
    pthread_t readers[2];
    fill(100);
    for (unsigned i = 0; i < 2; i++) pthread_create(&readers[i], NULL, read_again_and_again, NULL);
    for (unsigned i = 0; i < 3000; i++) {
        struct route_metrics *route = route_number(i % 150);
        count(route, i % 2);
        metrics_route_drop(metrics, route);
    }
    for (unsigned i = 0; i < 2; i++) pthread_join(readers[i], NULL);
}

/* Fifty thousand lines, a hundred at a time. */
static bool write_a_hundred(struct metrics_text *text, void *argument, uint64_t *place)
{
    unsigned *calls = argument;
    ++*calls;
    if (*place == 0) metrics_text_head(text, "test_many", "gauge", "A test's own.");
    for (unsigned i = 0; i < 100; i++, ++*place) metrics_text_line(text, "test_many", NULL, *place);
    return *place < 50000;
}

static void a_source_of_many_lines_is_asked_for_some_at_a_time(void **state)
{
    unsigned calls = 0;
    struct metrics_source source = { .write_some = write_a_hundred, .argument = &calls };
    metrics_add_source(metrics, &source);
    for (unsigned round = 1; round <= 2; round++) {
        struct metrics_text text = read_in_pieces(4096);
        assert_int_equal(calls, round * 500);
        assert_int_equal(count_in(text.bytes, text.length, SLICE("\ntest_many ")), 50000);
        assert_int_equal(count_in(text.bytes, text.length, SLICE("\ntest_many 49999\n# HELP ")), 1);
        free(text.bytes);
    }
}

/* --- as a body --- */

struct fixture {
    struct loop loop;
    struct slab_pool slabs;
    struct body_pipe pipe;
    struct task consumer;
    struct metrics_body body;
    struct metrics_text got;
    size_t bytes_a_turn, largest;
};

static void consume(struct task *task)
{
    struct fixture *f = CONTAINER_OF(task, struct fixture, consumer);
    size_t left = f->bytes_a_turn;
    if (f->slabs.taken_bytes > f->largest) f->largest = f->slabs.taken_bytes;
    for (const struct body_piece *piece; left > 0 && (piece = body_pipe_first(&f->pipe));) {
        size_t length = piece->length < left ? piece->length : left;
        text_put(&f->got, slice_of(piece->at, length));
        body_pipe_consume(&f->pipe, length);
        left -= length;
    }
    if (left == 0) loop_enqueue_next(&f->loop, task);
}

static void body_set_up(struct fixture *f, size_t bytes_a_turn)
{
    struct error error;
    *f = (struct fixture){ .bytes_a_turn = bytes_a_turn, .consumer.run = consume };
    assert_true(loop_init(&f->loop, &error));
    slab_pool_init(&f->slabs, 1 << 20, NULL);
    body_pipe_init(&f->pipe, &f->loop, BODY_LENGTH_UNKNOWN);
}

static void body_tear_down(struct fixture *f)
{
    metrics_body_stop(&f->body);
    metrics_body_stop(&f->body);
    body_pipe_release(&f->pipe);
    assert_int_equal(f->slabs.taken_bytes, 0);
    slab_pool_release(&f->slabs);
    loop_release(&f->loop);
    free(f->got.bytes);
}

static void a_body_is_the_text_however_slowly_it_is_read(void **state)
{
    const size_t paces[] = { 333, 4096, 1 << 20 };
    fill(300);
    size_t length;
    char *whole = metrics_render(metrics, &length);
    for (size_t i = 0; i < COUNT_OF(paces); i++) {
        struct fixture f;
        body_set_up(&f, paces[i]);
        metrics_body_start(&f.body, metrics, &f.pipe, &f.slabs);
        body_pipe_attach_consumer(&f.pipe, &f.consumer);
        for (unsigned turns = 0; turns < 100000 && !body_pipe_is_drained(&f.pipe); turns++) loop_turn(&f.loop, 0);
        assert_true(body_pipe_is_drained(&f.pipe));
        assert_true(slice_equal(about_routes(f.got.bytes, f.got.length), about_routes(whole, length)));
        assert_true(f.largest <= 512 * 1024);
        body_tear_down(&f);
    }
    free(whole);
}

static void a_client_that_leaves_ends_it(void **state)
{
    fill(300);
    for (unsigned turns = 0; turns < 10; turns++) {
        struct fixture f;
        body_set_up(&f, 1000);
        metrics_body_start(&f.body, metrics, &f.pipe, &f.slabs);
        body_pipe_attach_consumer(&f.pipe, &f.consumer);
        for (unsigned i = 0; i < turns; i++) loop_turn(&f.loop, 0);
        if (turns % 2) {
            body_pipe_stop(&f.pipe);
            loop_turn(&f.loop, 0);
            assert_null(f.body.reader);
        }
        loop_dequeue(&f.loop, &f.consumer);
        body_tear_down(&f);
        assert_nobody_stands_anywhere();
    }
}

static void without_memory_the_body_is_aborted_not_cut_short(void **state)
{
    struct memory_ceiling ceiling = { .bytes_max = 1 };
    struct fixture f;
    body_set_up(&f, 1 << 20);
    f.slabs.ceiling = &ceiling;
    metrics_body_start(&f.body, metrics, &f.pipe, &f.slabs);
    body_pipe_attach_consumer(&f.pipe, &f.consumer);
    loop_turn(&f.loop, 0);
    assert_int_equal(f.pipe.state, BODY_ABORTED);
    assert_string_equal(f.pipe.failure.reason, "overload");
    body_tear_down(&f);
}

/* 10,000 routes: 4 MB of text, through a reader that keeps some KiB. */
static void ten_thousand_routes_need_no_memory_but_the_buffer(void **state)
{
    fill(10000);
    char *piece = malloc(65536);
    struct metrics_reader *reader = metrics_reader_create(metrics);
    size_t before = mallinfo2().uordblks, most = 0, length = 0;
    for (size_t got; (got = metrics_reader_next(reader, piece, 65536)) > 0; length += got) {
        size_t now = mallinfo2().uordblks;
        if (now > before && now - before > most) most = now - before;
    }
    metrics_reader_destroy(reader);
    free(piece);
    assert_true(length > 30000000);
    assert_true(most < 100000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        TEST(pieces_of_any_size_make_the_same_text),
        TEST(a_name_longer_than_the_piece_is_cut_and_whole_again_behind_it),
        TEST(routes_that_come_and_go_meanwhile_break_nothing),
        TEST(a_reader_that_stops_half_way_holds_nothing_back),
        TEST(readers_builder_and_worker_go_on_side_by_side),
        TEST(a_source_of_many_lines_is_asked_for_some_at_a_time),
        TEST(a_body_is_the_text_however_slowly_it_is_read),
        TEST(a_client_that_leaves_ends_it),
        TEST(without_memory_the_body_is_aborted_not_cut_short),
        TEST(ten_thousand_routes_need_no_memory_but_the_buffer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
