/* What a gateway has to know of gRPC. */
#include "unit_test.h"

#include "http/grpc.h"

static void content_types_are_told_apart(void **state)
{
    struct slice message;
    assert_true(grpc_type_parse(SLICE("application/grpc"), &message));
    assert_int_equal(message.length, 0);
    assert_true(grpc_type_parse(SLICE("Application/GRPC+proto ; charset=x"), &message));
    assert_true(slice_equal(message, SLICE("+proto")));
    const struct slice others[] = { SLICE(""),
                                    SLICE_ABSENT,
                                    SLICE("application/grpc-web"),
                                    SLICE("text/html"),
                                    SLICE("application/gr"),
                                    SLICE("application/grpcx"),
                                    SLICE("application/grpc+"),
                                    SLICE("application/grpc+a b") };
    for (size_t i = 0; i < COUNT_OF(others); i++) assert_false(grpc_type_parse(others[i], &message));
}

static void timeouts_are_read_to_the_millisecond(void **state)
{
    const struct {
        const char *text;
        uint64_t milliseconds;
    } rows[] = {
        { "1S", 1000 },
        { "20m", 20 },
        { "2M", 120000 },
        { "3H", 10800000 },
        { "1500u", 2 },
        { "1n", 1 },
        { "0m", 0 },
        { "1000000n", 1 },
        { "99999999H", 359999996400000 },
        { "00000001S", 1000 },
        { "99999999m", 99999999 },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        uint64_t milliseconds;
        assert_true(grpc_timeout_parse(slice_from_cstring(rows[i].text), &milliseconds));
        assert_int_equal(milliseconds, rows[i].milliseconds);
    }
}

static void what_is_no_timeout_is_refused(void **state)
{
    const char *const texts[] = { "",    "1",   "S",   "1s",   "1h",         "-1S",  "+1S",
                                  " 1S", "1 S", "1SS", "1.5S", "123456789m", "0x1S", "1S " };
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        uint64_t milliseconds = 77;
        assert_false(grpc_timeout_parse(slice_from_cstring(texts[i]), &milliseconds));
        assert_int_equal(milliseconds, 77);
    }
}

static void a_written_timeout_is_never_longer(void **state)
{
    const uint64_t times[] = { 1,           999,          1000,          99999999,        100000000, 100000001,
                               99999999999, 100000000000, 6000000000000, 359999996400000, UINT64_MAX };
    for (size_t i = 0; i < COUNT_OF(times); i++) {
        char text[GRPC_TIMEOUT_BYTES_MAX];
        uint64_t read;
        size_t length = grpc_timeout_write(times[i], text);
        assert_in_range(length, 2, sizeof text);
        assert_true(grpc_timeout_parse(slice_of(text, length), &read));
        assert_true(read <= times[i]);
        if (times[i] <= 99999999) assert_int_equal(read, times[i]);
    }
    char text[GRPC_TIMEOUT_BYTES_MAX];
    assert_int_equal(grpc_timeout_write(0, text), 2);
    assert_memory_equal(text, "1m", 2);
}

static void statuses_of_http_mean_statuses_of_grpc(void **state)
{
    const unsigned rows[][2] = { { 400, 13 }, { 401, 16 }, { 403, 7 }, { 404, 12 }, { 429, 14 }, { 502, 14 },
                                 { 503, 14 }, { 504, 14 }, { 200, 2 }, { 405, 2 },  { 413, 2 },  { 500, 2 } };
    for (size_t i = 0; i < COUNT_OF(rows); i++) assert_int_equal(grpc_status_of_http(rows[i][0]), rows[i][1]);
}

static void a_message_is_percent_encoded(void **state)
{
    char into[GRPC_MESSAGE_BYTES_MAX(64)];
    const struct slice text = SLICE("100% \"caf\xc3\xa9\"\r\n~");
    size_t length = grpc_message_write(text, into);
    assert_true(slice_equal(slice_of(into, length), SLICE("100%25 \"caf%C3%A9\"%0D%0A~")));
}

static void a_refusal_is_a_head_alone(void **state)
{
    struct arena arena;
    struct response_head head;
    arena_init(&arena, NULL);
    response_head_init(&head, &arena);
    assert_true(grpc_refuse(&head, GRPC_UNAVAILABLE, SLICE("no instance")));
    assert_int_equal(head.status, 200);
    assert_false(head.has_body);
    assert_true(slice_equal(headers_value(&head.headers, HEADER_CONTENT_TYPE), SLICE("application/grpc")));
    assert_true(slice_equal(headers_find(&head.headers, SLICE("grpc-status"))->value, SLICE("14")));
    assert_true(slice_equal(headers_find(&head.headers, SLICE("grpc-message"))->value, SLICE("no instance")));
    arena_release(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(content_types_are_told_apart),
        cmocka_unit_test(timeouts_are_read_to_the_millisecond),
        cmocka_unit_test(what_is_no_timeout_is_refused),
        cmocka_unit_test(a_written_timeout_is_never_longer),
        cmocka_unit_test(statuses_of_http_mean_statuses_of_grpc),
        cmocka_unit_test(a_message_is_percent_encoded),
        cmocka_unit_test(a_refusal_is_a_head_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
