#include "reading.h"

static const struct reader backend = { .is_response = true, .method = METHOD_GET, .limits = { 1000, 4000, 30, false } };
static const struct reader backend_to_head = { .is_response = true,
                                               .method = METHOD_HEAD,
                                               .limits = { 1000, 4000, 30, false } };

#define LINE(line) SLICE(line "\r\n\r\n")
#define OK(rest) SLICE("HTTP/1.1 200 OK\r\n" rest)

/* RFC 9112 4: HTTP-version SP status-code SP [ reason-phrase ] CRLF. */
static const struct head_row status_lines[] = {
    { "a plain status line", LINE("HTTP/1.1 200 OK"), 0 },
    { "no reason", LINE("HTTP/1.1 200 "), 0 },
    { "a reason of many words, tabs and bytes beyond ASCII", LINE("HTTP/1.1 200 All\tis w\xc3\xb6ll"), 0 },
    { "a status nobody knows", LINE("HTTP/1.1 599 Odd"), 0 },
    { "HTTP/1.0", LINE("HTTP/1.0 200 OK"), 0 },
    { "a higher minor version (RFC 9110 2.5)", LINE("HTTP/1.2 200 OK"), 0 },
    { "no space behind the status", LINE("HTTP/1.1 200"), 502 },
    { "an empty line before it", SLICE("\r\nHTTP/1.1 200 OK\r\n\r\n"), 502 },
    { "a space before it", LINE(" HTTP/1.1 200 OK"), 502 },
    { "two spaces before the status", LINE("HTTP/1.1  200 OK"), 502 },
    { "a tab before the status", LINE("HTTP/1.1\t200 OK"), 502 },
    { "a tab behind the status", LINE("HTTP/1.1 200\tOK"), 502 },
    { "a status of two digits", LINE("HTTP/1.1 20 OK"), 502 },
    { "a status of four digits", LINE("HTTP/1.1 2000 OK"), 502 },
    { "a status with a sign", LINE("HTTP/1.1 +20 OK"), 502 },
    { "a status with a letter", LINE("HTTP/1.1 2x0 OK"), 502 },
    { "a status below 100", LINE("HTTP/1.1 099 OK"), 502 },
    { "a status beyond 599", LINE("HTTP/1.1 600 OK"), 502 },
    { "no status", LINE("HTTP/1.1 "), 502 },
    { "a version in lower case", LINE("http/1.1 200 OK"), 502 },
    { "a version of two digits", LINE("HTTP/1.10 200 OK"), 502 },
    { "HTTP/2", LINE("HTTP/2 200 OK"), 502 },
    { "HTTP/2.0", LINE("HTTP/2.0 200 OK"), 502 },
    { "HTTP/0.9, which has no head", SLICE("<html>\r\n\r\n"), 502 },
    { "another protocol", LINE("SSH-2.0-OpenSSH_9.2"), 502 },
    { "LF alone behind the status line", SLICE("HTTP/1.1 200 OK\nX: b\r\n\r\n"), 502 },
    { "CR alone in the reason", LINE("HTTP/1.1 200 O\rK"), 502 },
    { "NUL in the reason", LINE("HTTP/1.1 200 O\0K"), 502 },
    { "DEL in the reason", LINE("HTTP/1.1 200 O\x7fK"), 502 },
};

/* The rules of a request's fields hold for a backend's too (RFC 9112 5, 5.2). */
static const struct head_row fields[] = {
    { "a space before the colon", OK("X : b\r\n\r\n"), 502 },
    { "a folded line", OK("X: b\r\n c\r\n\r\n"), 502 },
    { "a space before the first field", OK(" X: b\r\n\r\n"), 502 },
    { "a name of no bytes", OK(": b\r\n\r\n"), 502 },
    { "a line without a colon", OK("X\r\n\r\n"), 502 },
    { "LF alone behind a field", OK("X: b\nY: c\r\n\r\n"), 502 },
    { "LF alone as the empty line", OK("X: b\r\n\n"), 502 },
    { "CR alone behind a field", OK("X: b\rY: c\r\n\r\n"), 502 },
    { "NUL in a value", OK("X: b\0c\r\n\r\n"), 502 },
    { "a control character in a value", OK("X: b\x01\r\n\r\n"), 502 },
    { "Content_Length", OK("Content_Length: 5\r\n\r\n"), 502 },
    { "many of a name", OK("Set-Cookie: a=1\r\nSet-Cookie: b=2\r\n\r\n"), 0 },
};

/* RFC 9112 6.1 to 6.3; RFC 9110 8.6. */
static const struct head_row framings[] = {
    { "a length", OK("Content-Length: 5\r\n\r\nhello"), 0 },
    { "chunked", OK("Transfer-Encoding: chunked\r\n\r\n"), 0 },
    { "neither", OK("\r\n"), 0 },
    { "a length beside chunked", OK("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"), 502 },
    { "chunked beside a length", OK("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n"), 502 },
    { "the same length twice", OK("Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello"), 502 },
    { "two lengths", OK("Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello"), 502 },
    { "a list of lengths", OK("Content-Length: 5, 5\r\n\r\nhello"), 502 },
    { "a length with a plus", OK("Content-Length: +5\r\n\r\nhello"), 502 },
    { "a length of 2^64 + 5", OK("Content-Length: 18446744073709551621\r\n\r\nhello"), 502 },
    { "an empty length", OK("Content-Length:\r\n\r\n"), 502 },
    { "gzip, then chunked", OK("Transfer-Encoding: gzip, chunked\r\n\r\n"), 502 },
    { "identity", OK("Transfer-Encoding: identity\r\n\r\n"), 502 },
    { "Chunked", OK("Transfer-Encoding: Chunked\r\n\r\n"), 502 },
    { "chunked twice", OK("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"), 502 },
    { "chunked in HTTP/1.0", SLICE("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"), 502 },
    { "204 with a length", SLICE("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n"), 502 },
    { "204 with a length of nothing, which can't be misread",
      SLICE("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"), 0 },
    { "204 with chunks", SLICE("HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n"), 502 },
    { "100 with a length", SLICE("HTTP/1.1 100 Continue\r\nContent-Length: 5\r\n\r\n"), 502 },
    { "103 with chunks", SLICE("HTTP/1.1 103 Early Hints\r\nTransfer-Encoding: chunked\r\n\r\n"), 502 },
    { "304 with a length", SLICE("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"), 0 },
    { "304 with both", SLICE("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"),
      502 },
};

static void a_status_line_has_one_form(void **state) { read_rows(&backend, status_lines, COUNT_OF(status_lines)); }

static void a_backends_field_lines_have_one_form_too(void **state) { read_rows(&backend, fields, COUNT_OF(fields)); }

static void a_backends_body_has_one_length(void **state)
{
    read_rows(&backend, framings, COUNT_OF(framings));
    read_rows(&backend_to_head, framings, COUNT_OF(framings));
}

struct body_row {
    const char *sentence;
    struct slice bytes;
    enum method method;
    bool has_body, chunked, keeps;
    uint64_t length;
};

/* RFC 9112 6.3, 9.3. */
static void how_a_body_ends_follows_from_method_status_and_fields(void **state)
{
    static const struct body_row rows[] = {
        { "a length", OK("Content-Length: 5\r\n\r\n"), METHOD_GET, true, false, true, 5 },
        { "a length of nothing", OK("Content-Length: 0\r\n\r\n"), METHOD_GET, true, false, true, 0 },
        { "chunks", OK("Transfer-Encoding: chunked\r\n\r\n"), METHOD_GET, true, true, true, BODY_LENGTH_UNKNOWN },
        { "to the end of the connection", OK("\r\n"), METHOD_GET, true, false, false, BODY_LENGTH_UNKNOWN },
        { "to the end, whatever it says", OK("Connection: keep-alive\r\n\r\n"), METHOD_GET, true, false, false,
          BODY_LENGTH_UNKNOWN },
        { "a length, then closed", OK("Content-Length: 5\r\nConnection: close\r\n\r\n"), METHOD_GET, true, false, false,
          5 },
        { "HTTP/1.0", SLICE("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n"), METHOD_GET, true, false, false, 5 },
        { "HTTP/1.0, kept", SLICE("HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n"), METHOD_GET,
          true, false, true, 5 },
        { "an answer to HEAD with a length", OK("Content-Length: 5\r\n\r\n"), METHOD_HEAD, false, false, true, 5 },
        { "an answer to HEAD without one", OK("\r\n"), METHOD_HEAD, false, false, true, BODY_LENGTH_UNKNOWN },
        { "an answer to HEAD with chunks", OK("Transfer-Encoding: chunked\r\n\r\n"), METHOD_HEAD, false, true, true,
          BODY_LENGTH_UNKNOWN },
        { "204", LINE("HTTP/1.1 204 No Content"), METHOD_GET, false, false, true, 0 },
        { "304", LINE("HTTP/1.1 304 Not Modified"), METHOD_GET, false, false, true, BODY_LENGTH_UNKNOWN },
        { "100", LINE("HTTP/1.1 100 Continue"), METHOD_POST, false, false, true, 0 },
        { "101", SLICE("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"),
          METHOD_GET, false, false, true, 0 },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct reading reading;
        struct reader reader = backend;
        reader.method = rows[i].method;
        read_head_every_way(&reader, rows[i].bytes, &reading);
        const struct response_head *head = &reading.response;
        bool agrees = reading.result == H1_COMPLETE && head->has_body == rows[i].has_body &&
                      head->body_length == rows[i].length && reading.parser.chunked == rows[i].chunked &&
                      reading.parser.keep_alive == rows[i].keeps;
        if (!agrees) fail_msg("%s: %s", rows[i].sentence, reading_text(&reader, &reading));
        reading_release(&reading);
    }
}

static void interim_heads_are_read_one_after_the_other(void **state)
{
    struct slice all = SLICE(
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    static const unsigned expected[] = { 100, 103, 200 };
    for (size_t i = 0; i < COUNT_OF(expected); i++) {
        struct reading reading;
        read_head(&backend, all, AT_ONCE, &reading);
        assert_int_equal(reading.result, H1_COMPLETE);
        assert_int_equal(reading.response.status, expected[i]);
        all = slice_after(all, reading.parser.head_length);
        reading_release(&reading);
    }
    assert_int_equal(all.length, 0);
}

static void a_response_beyond_the_limits_is_the_backends_fault(void **state)
{
    static const struct reader narrow = { .is_response = true, .method = METHOD_GET, .limits = { 20, 20, 2, false } };
    static const struct head_row rows[] = {
        { "a status line of 20 bytes", LINE("HTTP/1.1 200 1234567"), 0 },
        { "one of 21", LINE("HTTP/1.1 200 12345678"), 502 },
        { "fields of 20 bytes", OK("X: 4567\r\nY: 456789\r\n\r\n"), 0 },
        { "fields of 21 bytes", OK("X: 4567\r\nY: 4567890\r\n\r\n"), 502 },
        { "three fields", OK("X:\r\nY:\r\nZ:\r\n\r\n"), 502 },
    };
    read_rows(&narrow, rows, COUNT_OF(rows));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_status_line_has_one_form),
        cmocka_unit_test(a_backends_field_lines_have_one_form_too),
        cmocka_unit_test(a_backends_body_has_one_length),
        cmocka_unit_test(how_a_body_ends_follows_from_method_status_and_fields),
        cmocka_unit_test(interim_heads_are_read_one_after_the_other),
        cmocka_unit_test(a_response_beyond_the_limits_is_the_backends_fault),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
