/* The access log: lines that any reader takes, and files that are full, slow, stuck or gone. Jansson reads what was written. */
#include "unit_test.h"

#include "base/clock.h"
#include "observe/private.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define WAIT_MS_MAX 5000

static char folder[64], path[128];

static int make_folder(void **state)
{
    snprintf(folder, sizeof folder, "/tmp/sluice-log-XXXXXX");
    if (!mkdtemp(folder)) return -1;
    snprintf(path, sizeof path, "%s/access.log", folder);
    return 0;
}

static int remove_folder(void **state)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

static struct access_log *start(const char *target, unsigned workers, unsigned pages)
{
    struct error error;
    int descriptor = target ? access_log_open(target, &error) : -1;
    if (target && descriptor < 0) fail_msg("%s", error.text);
    struct access_log *log = access_log_create(target, descriptor, workers, pages, &error);
    if (!log) fail_msg("%s", error.text);
    return log;
}

static int opened(const char *target)
{
    struct error error;
    int descriptor = access_log_open(target, &error);
    if (descriptor < 0) fail_msg("%s", error.text);
    return descriptor;
}

static struct exchange_record sample(const char *id)
{
    return (struct exchange_record){
        .wall_ns = UINT64_C(1767225600123456789), /* 2026-01-01T00:00:00.123Z */
        .request_id = slice_from_cstring(id),
        .method_text = SLICE("GET"),
        .method = METHOD_GET,
        .path = SLICE("/api/users/42"),
        .route = SLICE("users"),
        .service = SLICE("user-service"),
        .instance = SLICE("10.0.0.1:8080"),
        .status = 200,
        .duration_ns = 1234567,
        .upstream_ns = 1000999,
        .bytes_in = 120,
        .bytes_out = 3456,
        .client_ip = SLICE("192.0.2.7"),
        .user_agent = SLICE("curl/8"),
        .trace_id = SLICE("4bf92f3577b34da6a3ce929d0e0e4736"),
        .span_id = SLICE("00f067aa0ba902b7"),
    };
}

static void append(struct access_log *log, const char *id)
{
    struct exchange_record record = sample(id);
    access_log_append(access_log_worker(log, 0), &record);
}

static void pause_a_moment(void) { nanosleep(&(struct timespec){ .tv_nsec = 2000000 }, NULL); }

/* The file's whole text once it holds `lines` lines; the test fails if it never does. Free it. */
static char *read_lines(const char *file, size_t lines)
{
    for (int waited = 0; waited < WAIT_MS_MAX; waited += 2) {
        FILE *from = fopen(file, "r");
        char *text = calloc(1, 1 << 22);
        size_t length = from ? fread(text, 1, (1 << 22) - 1, from) : 0, found = 0;
        if (from) fclose(from);
        for (size_t i = 0; i < length; i++) found += text[i] == '\n';
        if (found >= lines) {
            assert_int_equal(found, lines);
            return text;
        }
        free(text);
        pause_a_moment();
    }
    fail_msg("%s never had %zu lines", file, lines);
    return NULL;
}

/* Parses the one line of a text; decref it. */
static json_t *parse(struct slice text)
{
    json_error_t error;
    json_t *line = json_loadb(text.at, text.length, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    if (!line) fail_msg("%s: %.*s", error.text, SLICE_PRINT(text));
    return line;
}

/* Every `step`th line is parsed. */
static void parse_lines(const char *text, size_t step)
{
    struct slice rest = slice_from_cstring(text), line;
    for (size_t i = 0; rest.length > 0; i++) {
        slice_next(&rest, '\n', &line);
        assert_true(slice_starts_with(line, SLICE("{\"type\"")));
        if (i % step == 0) json_decref(parse(line));
    }
}

static json_t *written_line(const struct exchange_record *record)
{
    struct access_log *log = start(path, 1, 2);
    access_log_append(access_log_worker(log, 0), record);
    access_log_flush(access_log_worker(log, 0));
    access_log_destroy(log);
    char *text = read_lines(path, 1);
    json_t *line = parse(slice_from_cstring(text));
    free(text);
    unlink(path);
    return line;
}

static const char *text_of(const json_t *line, const char *key)
{
    return json_string_value(json_object_get(line, key));
}

/* --- lines --- */

static void a_line_has_the_fields_of_the_contract_in_order(void **state)
{
    struct access_log *log = start(path, 1, 2);
    append(log, "id-1");
    access_log_flush(access_log_worker(log, 0));
    access_log_destroy(log);
    char *text = read_lines(path, 1);
    assert_string_equal(
        text, "{\"type\":\"access\",\"time\":\"2026-01-01T00:00:00.123Z\",\"requestId\":\"id-1\",\"method\":\"GET\","
              "\"path\":\"/api/users/42\",\"route\":\"users\",\"service\":\"user-service\","
              "\"instance\":\"10.0.0.1:8080\",\"status\":200,\"durationMs\":1.234,\"upstreamMs\":1.000,"
              "\"bytesIn\":120,\"bytesOut\":3456,\"clientIp\":\"192.0.2.7\",\"userAgent\":\"curl/8\","
              "\"userId\":null,\"clientId\":null,"
              "\"traceId\":\"4bf92f3577b34da6a3ce929d0e0e4736\",\"spanId\":\"00f067aa0ba902b7\"}\n");
    free(text);
}

static void an_error_stands_in_the_line_of_its_request(void **state)
{
    struct exchange_record record = sample("id");
    record.error_type = "connect-failure";
    record.error_text = SLICE("cannot connect to \"10.0.0.1:8080\"");
    json_t *line = written_line(&record), *error = json_object_get(line, "error");
    assert_string_equal(text_of(error, "type"), "connect-failure");
    assert_string_equal(text_of(error, "text"), "cannot connect to \"10.0.0.1:8080\"");
    json_decref(line);
}

static void what_would_have_been_refused_is_told(void **state)
{
    struct exchange_record record = sample("id");
    json_t *line = written_line(&record);
    assert_null(json_object_get(line, "wouldRefuse"));
    json_decref(line);
    record.would_refuse = SLICE("no-\"guests\"");
    line = written_line(&record);
    assert_string_equal(text_of(line, "wouldRefuse"), "no-\"guests\"");
    assert_null(json_object_get(line, "error"));
    json_decref(line);
}

static void hostile_bytes_cannot_break_out_of_a_line(void **state)
{
    char all[256];
    for (int i = 0; i < 256; i++) all[i] = (char)i;
    struct exchange_record record = sample("\",\"status\":200}\n{\"x\":\"");
    record.path = slice_of(all, sizeof all);
    record.user_agent = SLICE("\xff\xfe\xc0\xaf\xed\xa0\x80\xf4\x90\x80\x80 \xe2\x82\xac \\\" \r\n\x1b[2J");
    json_t *line = written_line(&record);
    assert_string_equal(text_of(line, "requestId"), "\",\"status\":200}\n{\"x\":\"");
    assert_non_null(strstr(text_of(line, "userAgent"), "\xe2\x82\xac \\\" \r\n\x1b[2J"));
    assert_int_equal(json_integer_value(json_object_get(line, "status")), 200);
    json_decref(line);
}

/* 30 KB of bytes that each become three or six. */
static void a_line_too_long_for_a_page_is_cut_not_dropped(void **state)
{
    static char long_text[30000];
    memset(long_text, 0xff, sizeof long_text);
    struct exchange_record record = sample("id");
    record.user_agent = record.path = slice_of(long_text, sizeof long_text);
    json_t *line = written_line(&record);
    assert_int_equal(strlen(text_of(line, "userAgent")), 768 * 3);
    assert_string_equal(text_of(line, "clientIp"), "192.0.2.7");
    json_decref(line);
    memset(long_text, '\x01', sizeof long_text);
    record.request_id = record.method_text = record.route = record.service = record.instance = record.client_ip =
        record.user_id = record.client_id = record.error_text = record.would_refuse = record.path;
    record.error_type = "odd";
    line = written_line(&record);
    assert_int_equal(strlen(text_of(line, "path")), 768);
    json_decref(line);
}

/* Long lines as the very first ones: they must not use up the worker's pages. */
static void cut_lines_cost_no_pages(void **state)
{
    static char long_text[30000];
    memset(long_text, 0xff, sizeof long_text);
    struct exchange_record record = sample("id");
    record.user_agent = slice_of(long_text, sizeof long_text);
    struct access_log *log = start(path, 1, 2);
    for (int i = 0; i < 20; i++) access_log_append(access_log_worker(log, 0), &record);
    access_log_flush(access_log_worker(log, 0));
    assert_int_equal(access_log_lines_dropped(log), 0);
    free(read_lines(path, 20));
    access_log_destroy(log);
}

static void each_line_has_its_own_time(void **state)
{
    struct access_log *log = start(path, 1, 2);
    static const uint64_t times[] = { UINT64_C(1767225600000000000), UINT64_C(1767225600000999999),
                                      UINT64_C(1767225600001000000), UINT64_C(1767225599999999999),
                                      UINT64_C(1767225600001000000) };
    for (size_t i = 0; i < COUNT_OF(times); i++) {
        struct exchange_record record = sample("id");
        record.wall_ns = times[i];
        access_log_append(access_log_worker(log, 0), &record);
    }
    access_log_flush(access_log_worker(log, 0));
    access_log_destroy(log);
    char *text = read_lines(path, COUNT_OF(times)), *at = text;
    for (size_t i = 0; i < COUNT_OF(times); i++) {
        char expected[CLOCK_ISO8601_BYTES];
        clock_write_iso8601(times[i], expected);
        at = strstr(at, "\"time\":\"") + 8;
        assert_memory_equal(at, expected, CLOCK_ISO8601_BYTES - 1);
    }
    free(text);
}

/* --- files --- */

static void a_file_of_before_is_continued(void **state)
{
    for (int i = 0; i < 3; i++) {
        struct access_log *log = start(path, 1, 2);
        append(log, "again");
        access_log_flush(access_log_worker(log, 0));
        access_log_destroy(log);
    }
    struct stat about;
    free(read_lines(path, 3));
    assert_int_equal(stat(path, &about), 0);
    assert_int_equal(about.st_mode & 07777 & ~0640u, 0);
}

static void a_renamed_file_is_let_go_on_reopen(void **state)
{
    char old[160];
    snprintf(old, sizeof old, "%s.1", path);
    struct access_log *log = start(path, 1, 4);
    append(log, "one");
    access_log_flush(access_log_worker(log, 0));
    free(read_lines(path, 1));
    assert_int_equal(rename(path, old), 0);
    append(log, "two");
    access_log_flush(access_log_worker(log, 0));
    free(read_lines(old, 2)); /* as long as nobody says otherwise */
    access_log_reopen(log);
    free(read_lines(path, 0));
    while (access(path, F_OK) != 0) pause_a_moment();
    append(log, "three");
    access_log_flush(access_log_worker(log, 0));
    char *text = read_lines(path, 1);
    assert_non_null(strstr(text, "three"));
    free(text);
    access_log_destroy(log);
}

static void another_target_takes_over_after_the_pages_handed_in(void **state)
{
    char other[160];
    snprintf(other, sizeof other, "%s.other", path);
    struct access_log *log = start(path, 1, 8);
    for (int i = 0; i < 500; i++) append(log, "before");
    access_log_flush(access_log_worker(log, 0));
    access_log_retarget(log, other, opened(other));
    append(log, "after");
    for (int i = 0; i < 100; i++) pause_a_moment();
    access_log_flush(access_log_worker(log, 0));
    free(read_lines(path, 500));
    char *text = read_lines(other, 1);
    assert_non_null(strstr(text, "after"));
    free(text);
    access_log_retarget(log, NULL, -1);
    assert_false(access_log_is_on(access_log_worker(log, 0)));
    access_log_retarget(log, path, opened(path));
    assert_true(access_log_is_on(access_log_worker(log, 0)));
    for (int i = 0; i < 50; i++) pause_a_moment();
    append(log, "back");
    access_log_flush(access_log_worker(log, 0));
    free(read_lines(path, 501));
    access_log_destroy(log);
    assert_int_equal(access(other, F_OK), 0);
}

static void a_target_that_cannot_be_opened_is_an_error_and_to_use_it_all_the_same_a_loss(void **state)
{
    struct error error;
    assert_int_equal(access_log_open("/nonexistent/folder/access.log", &error), -1);
    assert_string_equal(error.text, "cannot be opened: no such file or directory");
    struct access_log *log = start(path, 1, 2);
    access_log_retarget(log, "/nonexistent/folder/access.log", -1);
    for (int i = 0; i < 50; i++) pause_a_moment();
    append(log, "lost");
    access_log_flush(access_log_worker(log, 0));
    for (int i = 0; i < WAIT_MS_MAX && access_log_lines_dropped(log) == 0; i += 2) pause_a_moment();
    assert_int_equal(access_log_lines_dropped(log), 1);
    access_log_destroy(log);
}

static void a_full_disk_loses_lines_and_counts_them(void **state)
{
    struct access_log *log = start("/dev/full", 1, 4);
    for (int i = 0; i < 5; i++) append(log, "lost");
    access_log_flush(access_log_worker(log, 0));
    for (int i = 0; i < WAIT_MS_MAX && access_log_lines_dropped(log) < 5; i += 2) pause_a_moment();
    assert_int_equal(access_log_lines_dropped(log), 5);
    assert_int_equal(access_log_bytes_written(log), 0);
    access_log_retarget(log, path, -1); /* the writer opens it, then */
    for (int i = 0; i < 50; i++) pause_a_moment();
    append(log, "kept");
    access_log_flush(access_log_worker(log, 0));
    free(read_lines(path, 1));
    access_log_destroy(log);
}

/* --- a reader that stopped --- */

static void fill(struct access_log *log, unsigned lines)
{
    for (unsigned i = 0; i < lines; i++) append(log, "into the pipe");
    access_log_flush(access_log_worker(log, 0));
}

static uint64_t now_ms(void) { return clock_monotonic_ns() / 1000000; }

static void a_stuck_reader_blocks_nobody(void **state)
{
    assert_int_equal(mkfifo(path, 0600), 0);
    struct access_log *log = start(path, 1, 4);
    uint64_t begin_ms = now_ms();
    fill(log, 20000); /* some 7 MB; the pipe takes 64 KiB, four pages as much again */
    assert_true(now_ms() - begin_ms < 1000);
    uint64_t dropped = access_log_lines_dropped(log);
    assert_true(dropped > 18000 && dropped < 20000);
    /* New orders reach the writer though its reader is stuck, and pages come back. */
    char file[160];
    snprintf(file, sizeof file, "%s.file", path);
    access_log_retarget(log, file, -1);
    while (access(file, F_OK) != 0 && now_ms() - begin_ms < WAIT_MS_MAX) pause_a_moment();
    assert_int_equal(access(file, F_OK), 0);
    fill(log, 10);
    char *text = read_lines(file, 10);
    parse_lines(text, 1);
    free(text);
    access_log_destroy(log);
}

static void the_end_waits_for_a_stuck_reader_two_seconds_at_most(void **state)
{
    assert_int_equal(mkfifo(path, 0600), 0);
    struct access_log *log = start(path, 1, 64);
    fill(log, 20000);
    uint64_t begin_ms = now_ms();
    access_log_destroy(log);
    assert_true(now_ms() - begin_ms <= 2100);
}

/* Reads slowly, and still gets every line whole. */
static void a_slow_reader_gets_all_lines(void **state)
{
    assert_int_equal(mkfifo(path, 0600), 0);
    struct access_log *log = start(path, 1, 16);
    int reader = open(path, O_RDONLY | O_NONBLOCK);
    fill(log, 1000);
    char *text = calloc(1, 1 << 20);
    size_t length = 0, lines = 0;
    for (uint64_t begin_ms = now_ms(); lines < 1000 && now_ms() - begin_ms < WAIT_MS_MAX;) {
        ssize_t got = read(reader, text + length, 8192);
        if (got <= 0) {
            pause_a_moment();
            continue;
        }
        for (ssize_t i = 0; i < got; i++) lines += text[length + (size_t)i] == '\n';
        length += (size_t)got;
    }
    assert_int_equal(lines, 1000);
    parse_lines(text, 1);
    free(text);
    close(reader);
    access_log_destroy(log);
}

/* A line that was cut off ends before the next one begins. */
static void a_torn_line_spoils_no_other(void **state)
{
    assert_int_equal(mkfifo(path, 0600), 0);
    struct access_log *log = start(path, 1, 64);
    int reader = open(path, O_RDONLY | O_NONBLOCK);
    assert_int_equal(fcntl(reader, F_SETPIPE_SZ, 16384), 16384); /* less than a page */
    fill(log, 2000);
    access_log_reopen(log); /* the writer gives up what does not fit */
    for (uint64_t begin_ms = now_ms(); atomic_load(&log->reopen) && now_ms() - begin_ms < WAIT_MS_MAX;)
        pause_a_moment();
    assert_false(atomic_load(&log->reopen));
    char *text = calloc(1, 1 << 20);
    size_t length = 0;
    for (ssize_t got; (got = read(reader, text + length, 65536)) > 0;) length += (size_t)got;
    uint64_t lost = access_log_lines_dropped(log);
    assert_true(lost > 0);
    append(log, "afterwards");
    access_log_flush(access_log_worker(log, 0));
    char *tail = text + length;
    for (uint64_t begin_ms = now_ms(); !strstr(tail, "clientId") && now_ms() - begin_ms < WAIT_MS_MAX;) {
        ssize_t got = read(reader, text + length, 65536);
        if (got > 0) length += (size_t)got;
        pause_a_moment();
    }
    char *last = strstr(tail, "\n{");
    assert_non_null(last);
    json_decref(parse(slice_from_cstring(last + 1)));
    free(text);
    close(reader);
    access_log_destroy(log);
}

/* --- threads --- */

enum { APPENDING = 3, LINES_EACH = 3000 };

static void *append_many(void *argument)
{
    struct access_log_worker *worker = argument;
    struct exchange_record record = sample("thread");
    for (int i = 0; i < LINES_EACH; i++) {
        record.wall_ns += 1000000;
        access_log_append(worker, &record);
        if (i % 100 == 0) access_log_flush(worker);
    }
    access_log_flush(worker);
    return NULL;
}

static void three_workers_write_whole_lines_while_the_file_is_reopened(void **state)
{
    pthread_t threads[APPENDING];
    struct access_log *log = start(path, APPENDING, 64);
    for (unsigned i = 0; i < APPENDING; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, append_many, access_log_worker(log, i)), 0);
    }
    for (int i = 0; i < 20; i++) {
        access_log_reopen(log);
        pause_a_moment();
        (void)access_log_lines_dropped(log);
    }
    for (unsigned i = 0; i < APPENDING; i++) pthread_join(threads[i], NULL);
    uint64_t dropped = access_log_lines_dropped(log);
    access_log_destroy(log);
    char *text = read_lines(path, APPENDING * LINES_EACH - dropped);
    parse_lines(text, 50);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_folder, remove_folder)
        TEST(a_line_has_the_fields_of_the_contract_in_order),
        TEST(an_error_stands_in_the_line_of_its_request),
        TEST(what_would_have_been_refused_is_told),
        TEST(hostile_bytes_cannot_break_out_of_a_line),
        TEST(a_line_too_long_for_a_page_is_cut_not_dropped),
        TEST(cut_lines_cost_no_pages),
        TEST(each_line_has_its_own_time),
        TEST(a_file_of_before_is_continued),
        TEST(a_renamed_file_is_let_go_on_reopen),
        TEST(another_target_takes_over_after_the_pages_handed_in),
        TEST(a_target_that_cannot_be_opened_is_an_error_and_to_use_it_all_the_same_a_loss),
        TEST(a_full_disk_loses_lines_and_counts_them),
        TEST(a_stuck_reader_blocks_nobody),
        TEST(the_end_waits_for_a_stuck_reader_two_seconds_at_most),
        TEST(a_slow_reader_gets_all_lines),
        TEST(a_torn_line_spoils_no_other),
        TEST(three_workers_write_whole_lines_while_the_file_is_reopened),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
