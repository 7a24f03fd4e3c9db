#include "unit_test.h"

#include "http/h1.h"

#include <stdlib.h>

static const struct h1_limits limits = { 1000, 60, 3, false };

/* What a body came to, as one text. */
struct outcome {
    enum h1_chunk_result result;
    char content[4096];
    size_t content_length;
    size_t consumed;
    char trailers[512];
    struct error error;
};

static void read_piece(struct h1_chunked *chunked, struct slice piece, struct headers *trailers,
                       struct outcome *outcome)
{
    /* On the heap and of the piece's length, so that a sanitizer sees a read behind it. */
    char *bytes = malloc(piece.length ? piece.length : 1);
    assert_non_null(bytes);
    memcpy(bytes, piece.at, piece.length);
    size_t at = 0, consumed = 0;
    do {
        struct slice data = SLICE_ABSENT;
        outcome->result = h1_chunked_read(chunked, bytes + at, piece.length - at, &consumed, &data, trailers, &limits,
                                          &outcome->error);
        at += consumed;
        if (outcome->result == H1_CHUNK_DATA) {
            assert_true(data.length > 0 && outcome->content_length + data.length < sizeof outcome->content);
            memcpy(outcome->content + outcome->content_length, data.at, data.length);
            outcome->content_length += data.length;
        }
    } while (outcome->result == H1_CHUNK_DATA);
    if (outcome->result == H1_CHUNK_MORE) assert_int_equal(at, piece.length);
    outcome->consumed += at;
    free(bytes);
}

/* Reads the body in pieces that end at the given places; the last piece is the rest. */
static void read_in_pieces(struct slice body, const size_t *ends, size_t count, bool from_backend,
                           struct outcome *outcome)
{
    struct arena arena;
    struct headers trailers;
    struct h1_chunked chunked;
    arena_init(&arena, NULL);
    headers_init(&trailers, &arena);
    h1_chunked_init(&chunked);
    chunked.from_backend = from_backend;
    memset(outcome, 0, sizeof *outcome);
    outcome->result = H1_CHUNK_MORE;
    size_t start = 0;
    for (size_t i = 0; i <= count && outcome->result == H1_CHUNK_MORE; i++) {
        size_t end = i < count ? ends[i] : body.length;
        read_piece(&chunked, slice_of(body.at + start, end - start), &trailers, outcome);
        start = end;
    }
    int at = 0;
    for (struct header *item = headers_next(&trailers, NULL); item; item = headers_next(&trailers, item))
        at += snprintf(outcome->trailers + at, sizeof outcome->trailers - (size_t)at, "%.*s=%.*s;",
                       SLICE_PRINT(item->name), SLICE_PRINT(item->value));
    arena_release(&arena);
}

static void read_at_once(struct slice body, struct outcome *outcome) { read_in_pieces(body, NULL, 0, false, outcome); }

static void assert_same(const struct outcome *a, const struct outcome *b)
{
    assert_int_equal(a->result, b->result);
    assert_int_equal(a->error.status, b->error.status);
    assert_string_equal(a->error.text, b->error.text);
    if (a->result == H1_CHUNK_BAD) return; /* how far a bad body was passed on before may differ */
    assert_int_equal(a->consumed, b->consumed);
    assert_string_equal(a->content, b->content);
    assert_string_equal(a->trailers, b->trailers);
}

/* The reading at once, after every cut in two, and the cut into single bytes, came to the same. */
static void read_with_every_cut(struct slice body, struct outcome *at_once)
{
    size_t ends[2048];
    assert_true(body.length < COUNT_OF(ends));
    read_at_once(body, at_once);
    struct outcome other;
    for (size_t cut = 0; cut <= body.length; cut++) {
        read_in_pieces(body, &cut, 1, false, &other);
        assert_same(&other, at_once);
    }
    for (size_t i = 0; i < body.length; i++) ends[i] = i + 1;
    read_in_pieces(body, ends, body.length, false, &other);
    assert_same(&other, at_once);
}

struct body_row {
    const char *sentence;
    struct slice body;
    const char *content, *trailers;
};

/* RFC 9112 7.1. */
static void good_bodies_are_read_and_their_extensions_dropped(void **state)
{
    static const struct body_row rows[] = {
        { "no content", SLICE("0\r\n\r\n"), "", "" },
        { "one chunk", SLICE("5\r\nhello\r\n0\r\n\r\n"), "hello", "" },
        { "two chunks", SLICE("5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"), "hello world", "" },
        { "content that looks like chunks", SLICE("7\r\n0\r\n\r\n0\r\r\n0\r\n\r\n"), "0\r\n\r\n0\r", "" },
        { "sizes in either case, with zeros before", SLICE("00a\r\n0123456789\r\n0A\r\n0123456789\r\n0\r\n\r\n"),
          "01234567890123456789", "" },
        { "sixteen digits", SLICE("0000000000000005\r\nhello\r\n0\r\n\r\n"), "hello", "" },
        { "a last chunk of many zeros", SLICE("5\r\nhello\r\n000\r\n\r\n"), "hello", "" },
        { "an extension", SLICE("5;a\r\nhello\r\n0\r\n\r\n"), "hello", "" },
        { "an extension with a value", SLICE("5;a=b\r\nhello\r\n0;c=d\r\n\r\n"), "hello", "" },
        { "an extension in quotes", SLICE("5;a=\"b;\\\"c\\\\\t\xff\"\r\nhello\r\n0\r\n\r\n"), "hello", "" },
        { "an empty value in quotes", SLICE("5;a=\"\"\r\nhello\r\n0\r\n\r\n"), "hello", "" },
        { "many extensions", SLICE("5;a;b=c;d=\"e\";f\r\nhello\r\n0\r\n\r\n"), "hello", "" },
        { "white space where RFC 9112 7.1.1 bears it", SLICE("5 \t; a = b ;c\t=\t\"d\" ;e\r\nhello\r\n0\r\n\r\n"),
          "hello", "" },
        { "a trailer", SLICE("0\r\nX-Sum: 1\r\n\r\n"), "", "X-Sum=1;" },
        { "trailers", SLICE("5\r\nhello\r\n0\r\nX-Sum:  1 \r\nETag: \"a\"\r\nX:\r\n\r\n"), "hello",
          "X-Sum=1;ETag=\"a\";X=;" },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct outcome outcome;
        read_with_every_cut(rows[i].body, &outcome);
        if (outcome.result != H1_CHUNK_END) fail_msg("%s: %s", rows[i].sentence, outcome.error.text);
        assert_int_equal(outcome.consumed, rows[i].body.length);
        assert_string_equal(outcome.content, rows[i].content);
        assert_string_equal(outcome.trailers, rows[i].trailers);
    }
}

struct bad_row {
    const char *sentence;
    struct slice body;
};

/* RFC 9112 7.1, 7.1.1, 7.1.2; 2.2 for line ends. */
static void bad_bodies_are_refused(void **state)
{
    static const struct bad_row rows[] = {
        { "no size", SLICE("\r\nhello\r\n0\r\n\r\n") },
        { "a size that is no number", SLICE("x\r\n") },
        { "a size with 0x", SLICE("0x5\r\nhello\r\n0\r\n\r\n") },
        { "a size with a plus", SLICE("+5\r\nhello\r\n0\r\n\r\n") },
        { "a negative size", SLICE("-5\r\nhello\r\n0\r\n\r\n") },
        { "a size with an underscore", SLICE("0_5\r\nhello\r\n0\r\n\r\n") },
        { "a space before a size", SLICE(" 5\r\nhello\r\n0\r\n\r\n") },
        { "a space behind a size", SLICE("5 \r\nhello\r\n0\r\n\r\n") },
        { "a tab behind a size", SLICE("5\t\r\nhello\r\n0\r\n\r\n") },
        { "a space behind the last size", SLICE("0 \r\n\r\n") },
        { "a space inside a size", SLICE("1 0\r\n0123456789abcdef\r\n0\r\n\r\n") },
        { "a size in hexadecimal with an h", SLICE("5h\r\nhello\r\n0\r\n\r\n") },
        { "a size in quotes", SLICE("\"5\"\r\nhello\r\n0\r\n\r\n") },
        { "a size of 2^63", SLICE("8000000000000000\r\n") },
        { "a size of 2^64 - 1", SLICE("ffffffffffffffff\r\n") },
        { "a size of 2^64 + 5", SLICE("10000000000000005\r\nhello\r\n0\r\n\r\n") },
        { "a size of seventeen digits, however small", SLICE("00000000000000005\r\nhello\r\n0\r\n\r\n") },
        { "NUL behind a size", SLICE("5\0\r\nhello\r\n0\r\n\r\n") },
        { "LF alone behind a size", SLICE("5\nhello\r\n0\r\n\r\n") },
        { "CR alone behind a size", SLICE("5\rhello\r\n0\r\n\r\n") },
        { "two CR behind a size", SLICE("5\r\r\nhello\r\n0\r\n\r\n") },
        { "LF alone behind the last size", SLICE("0\n\r\n") },
        { "content longer than its size", SLICE("4\r\nhello\r\n0\r\n\r\n") },
        { "content shorter than its size", SLICE("6\r\nhello\r\n0\r\n\r\n") },
        { "LF alone behind content", SLICE("5\r\nhello\n0\r\n\r\n") },
        { "CR alone behind content", SLICE("5\r\nhello\r0\r\n\r\n") },
        { "nothing behind content", SLICE("5\r\nhello0\r\n\r\n") },
        { "two line ends behind content", SLICE("5\r\nhello\r\n\r\n0\r\n\r\n") },
        { "an extension without a name", SLICE("5;\r\nhello\r\n0\r\n\r\n") },
        { "an extension without a name but with a value", SLICE("5;=b\r\nhello\r\n0\r\n\r\n") },
        { "an extension without its value", SLICE("5;a=\r\nhello\r\n0\r\n\r\n") },
        { "an extension with white space at its end", SLICE("5;a \r\nhello\r\n0\r\n\r\n") },
        { "an extension with white space behind its value", SLICE("5;a=b \r\nhello\r\n0\r\n\r\n") },
        { "two words as an extension's name", SLICE("5;a b\r\nhello\r\n0\r\n\r\n") },
        { "two values", SLICE("5;a=b=c\r\nhello\r\n0\r\n\r\n") },
        { "a name in quotes", SLICE("5;\"a\"\r\nhello\r\n0\r\n\r\n") },
        { "quotes that never close", SLICE("5;a=\"b\r\nhello\r\n0\r\n\r\n") },
        { "something behind the quotes", SLICE("5;a=\"b\"c\r\nhello\r\n0\r\n\r\n") },
        { "LF alone in an extension", SLICE("5;a\nb\r\nhello\r\n0\r\n\r\n") },
        { "CR alone in an extension", SLICE("5;a\rb\r\nhello\r\n0\r\n\r\n") },
        { "LF alone in quotes", SLICE("5;a=\"\n\"\r\nhello\r\n0\r\n\r\n") },
        { "LF behind a backslash in quotes", SLICE("5;a=\"\\\n\"\r\nhello\r\n0\r\n\r\n") },
        { "NUL in an extension", SLICE("5;a\0\r\nhello\r\n0\r\n\r\n") },
        { "a byte beyond ASCII in an extension", SLICE("5;\xc3\xa4\r\nhello\r\n0\r\n\r\n") },
        { "LF alone as the last line", SLICE("5\r\nhello\r\n0\r\n\n") },
        { "CR alone as the last line", SLICE("5\r\nhello\r\n0\r\n\rX\n") },
        { "a trailer without a colon", SLICE("0\r\nX\r\n\r\n") },
        { "a trailer with a space before its colon", SLICE("0\r\nX : a\r\n\r\n") },
        { "a trailer without a name", SLICE("0\r\n: a\r\n\r\n") },
        { "a folded trailer", SLICE("0\r\nX: a\r\n b\r\n\r\n") },
        { "a trailer that ends with LF alone", SLICE("0\r\nX: a\n\r\n") },
        { "a trailer with CR inside", SLICE("0\r\nX: a\rb\r\n\r\n") },
        { "a trailer with NUL", SLICE("0\r\nX: a\0\r\n\r\n") },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct outcome outcome;
        read_with_every_cut(rows[i].body, &outcome);
        if (outcome.result != H1_CHUNK_BAD) fail_msg("%s: not refused", rows[i].sentence);
        assert_int_equal(outcome.error.status, 400);
        assert_int_equal(outcome.error.blame, BLAME_CLIENT);
        read_in_pieces(rows[i].body, NULL, 0, true, &outcome);
        assert_int_equal(outcome.error.status, 502);
        assert_int_equal(outcome.error.blame, BLAME_UPSTREAM);
    }
}

/* RFC 9110 6.5.1. */
static void trailers_that_would_change_the_message_are_dropped(void **state)
{
    static const char *const names[] = {
        "Content-Length",
        "transfer-encoding",
        "Host",
        "Authorization",
        "content_length",
        "X_Authenticated_User",
        "X-Forwarded_For",
        "Cookie",
        "Set-Cookie",
        "Content-Type",
        "Trailer",
        "Content-Encoding",
        "Content-Range",
        "Cache-Control",
        "Expect",
        "TE",
        "If-Match",
        "Range",
        "X-Forwarded-For",
        "X-Authenticated-User",
        "WWW-Authenticate",
        "Connection",
    };
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        char body[128];
        int length = snprintf(body, sizeof body, "0\r\n%s: 5\r\nX: 1\r\n\r\n", names[i]);
        struct outcome outcome;
        read_with_every_cut(slice_of(body, (size_t)length), &outcome);
        assert_int_equal(outcome.result, H1_CHUNK_END);
        assert_string_equal(outcome.trailers, "X=1;");
    }
}

static void trailers_have_the_limits_of_headers(void **state)
{
    struct outcome outcome;
    read_with_every_cut(SLICE("0\r\nX1:\r\nX2:\r\nX3:\r\n\r\n"), &outcome);
    assert_int_equal(outcome.result, H1_CHUNK_END);
    read_with_every_cut(SLICE("0\r\nX1:\r\nX2:\r\nX3:\r\nX4:\r\n\r\n"), &outcome);
    assert_int_equal(outcome.error.status, 431);
    read_with_every_cut(SLICE("0\r\nX: 4567890123456789012345678901234567890123456789012345678\r\n\r\n"), &outcome);
    assert_int_equal(outcome.result, H1_CHUNK_END);
    read_with_every_cut(SLICE("0\r\nX: 45678901234567890123456789012345678901234567890123456789\r\n\r\n"), &outcome);
    assert_int_equal(outcome.error.status, 431);
    read_with_every_cut(SLICE("0\r\nX: 4567890123456789012345678901234567890123456789012345678901234567890"), &outcome);
    assert_int_equal(outcome.error.status, 431);
}

static void extensions_are_capped_a_line_and_in_all(void **state)
{
    struct outcome outcome;
    char *body = malloc(64 * 1024);
    assert_non_null(body);
    size_t length = 0;
    /* The semicolon and the CR count: 1022 bytes of name are the most. */
    for (size_t name = 1022; name <= 1023; name++) {
        memcpy(body, "5;", 2);
        memset(body + 2, 'a', name);
        memcpy(body + 2 + name, "\r\nhello\r\n0\r\n\r\n", 14);
        read_at_once(slice_of(body, 2 + name + 14), &outcome);
        assert_int_equal(outcome.result, name == 1022 ? H1_CHUNK_END : H1_CHUNK_BAD);
    }
    for (int chunk = 0; chunk < 200; chunk++) {
        memcpy(body + length, "1;", 2);
        memset(body + length + 2, 'a', 98);
        memcpy(body + length + 100, "\r\nx\r\n", 5);
        length += 105;
    }
    read_at_once(slice_of(body, length), &outcome);
    assert_int_equal(outcome.result, H1_CHUNK_BAD);
    assert_int_equal(outcome.content_length, 16 * 1024 / 100);
    free(body);
}

static void what_follows_a_body_is_left_alone(void **state)
{
    struct outcome outcome;
    read_at_once(SLICE("5\r\nhello\r\n0\r\n\r\nGET / HTTP/1.1\r\n"), &outcome);
    assert_int_equal(outcome.result, H1_CHUNK_END);
    assert_int_equal(outcome.consumed, 15);
    assert_string_equal(outcome.content, "hello");
}

static void every_beginning_of_a_good_body_asks_for_more(void **state)
{
    struct slice body = SLICE("5;a=\"b\"\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n");
    for (size_t length = 0; length < body.length; length++) {
        struct outcome outcome;
        read_with_every_cut(slice_before(body, length), &outcome);
        assert_int_equal(outcome.result, H1_CHUNK_MORE);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_bodies_are_read_and_their_extensions_dropped),
        cmocka_unit_test(bad_bodies_are_refused),
        cmocka_unit_test(trailers_that_would_change_the_message_are_dropped),
        cmocka_unit_test(trailers_have_the_limits_of_headers),
        cmocka_unit_test(extensions_are_capped_a_line_and_in_all),
        cmocka_unit_test(what_follows_a_body_is_left_alone),
        cmocka_unit_test(every_beginning_of_a_good_body_asks_for_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
