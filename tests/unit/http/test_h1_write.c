#include "reading.h"

static const struct reader client = { .limits = { 1000, 4000, 30, false } };
static const struct reader backend = { .is_response = true, .method = METHOD_GET, .limits = { 1000, 4000, 30, false } };

#define DATE SLICE("Tue, 24 Nov 2026 11:00:00 GMT")

static char written[8192];
static struct error error;

/* As text, after a look at the bound; "error" where writing was refused. */
static const char *text_to(const char *end, size_t bound)
{
    if (!end) return "error";
    size_t length = (size_t)(end - written);
    assert_true(length <= bound && bound < sizeof written);
    written[length] = '\0';
    return written;
}

static const char *written_request(const struct request_head *head, struct slice target, enum h1_framing framing,
                                   bool keep_alive, bool upgrade)
{
    return text_to(h1_write_request_head(head, target, framing, keep_alive, upgrade, written, &error),
                   h1_request_head_size(head, target));
}

static const char *written_response(const struct response_head *head, enum h1_framing framing, bool keep_alive,
                                    enum http_version to, bool upgrade)
{
    return text_to(h1_write_response_head(head, framing, keep_alive, to, upgrade, DATE, written, &error),
                   h1_response_head_size(head));
}

static void read_request(struct slice bytes, struct reading *reading)
{
    read_head(&client, bytes, AT_ONCE, reading);
    assert_int_equal(reading->result, H1_COMPLETE);
}

static void read_response(struct slice bytes, struct reading *reading)
{
    read_head(&backend, bytes, AT_ONCE, reading);
    assert_int_equal(reading->result, H1_COMPLETE);
}

static void a_request_is_written_anew_without_this_hops_fields(void **state)
{
    struct reading reading;
    read_request(
        SLICE(
            "POST /a/../b?c HTTP/1.0\r\nX-A:  1 \r\ncontent-LENGTH: 0005\r\nHOST: Api.example\r\nConnection: keep-alive\r\n"
            "Keep-Alive: timeout=5\r\nTE: trailers\r\nTrailer: X\r\nUpgrade: h2c\r\nProxy-Connection: close\r\nx-b:\r\n\r\nhello"),
        &reading);
    assert_string_equal(written_request(&reading.request, SLICE("/b?c"), H1_FRAMING_LENGTH, true, false),
                        "POST /b?c HTTP/1.1\r\nHost: Api.example\r\nX-A: 1\r\nx-b: \r\nContent-Length: 5\r\n\r\n");
    assert_string_equal(
        written_request(&reading.request, SLICE("/b?c"), H1_FRAMING_CHUNKED, false, false),
        "POST /b?c HTTP/1.1\r\nHost: Api.example\r\nX-A: 1\r\nx-b: \r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n");
    assert_string_equal(
        written_request(&reading.request, SLICE("/"), H1_FRAMING_NONE, true, true),
        "POST / HTTP/1.1\r\nHost: Api.example\r\nX-A: 1\r\nx-b: \r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n");
    reading_release(&reading);
}

/* RFC 9110 10.1.4: TE is this hop's, so Connection names it. */
static void a_te_of_our_own_asks_for_trailers(void **state)
{
    struct reading reading;
    read_request(SLICE("GET / HTTP/1.1\r\nHost: a\r\nTE: gzip\r\n\r\n"), &reading);
    assert_true(headers_set_known(&reading.request.headers, HEADER_TE, SLICE("trailers")));
    assert_string_equal(written_request(&reading.request, SLICE("/"), H1_FRAMING_NONE, true, false),
                        "GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE\r\n\r\n");
    assert_string_equal(written_request(&reading.request, SLICE("/"), H1_FRAMING_NONE, false, false),
                        "GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE, close\r\n\r\n");
    reading_release(&reading);
}

static void a_request_without_an_authority_gets_an_empty_host(void **state)
{
    struct reading reading;
    read_request(SLICE("brew / HTTP/1.0\r\n\r\n"), &reading);
    assert_string_equal(written_request(&reading.request, SLICE("/"), H1_FRAMING_NONE, true, false),
                        "brew / HTTP/1.1\r\nHost: \r\n\r\n");
    reading_release(&reading);
}

static void a_response_is_written_anew_with_a_date(void **state)
{
    struct reading reading;
    read_response(SLICE("HTTP/1.0 404 Gone fishing\r\nX-A:1\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"),
                  &reading);
    const struct response_head *head = &reading.response;
    assert_string_equal(
        written_response(head, H1_FRAMING_LENGTH, true, HTTP_1_1, false),
        "HTTP/1.1 404 Not Found\r\nX-A: 1\r\nDate: Tue, 24 Nov 2026 11:00:00 GMT\r\nContent-Length: 5\r\n\r\n");
    assert_string_equal(
        written_response(head, H1_FRAMING_LENGTH, false, HTTP_1_1, false),
        "HTTP/1.1 404 Not Found\r\nX-A: 1\r\nDate: Tue, 24 Nov 2026 11:00:00 GMT\r\nContent-Length: 5\r\nConnection: close\r\n\r\n");
    assert_string_equal(
        written_response(head, H1_FRAMING_CHUNKED, true, HTTP_1_1, false),
        "HTTP/1.1 404 Not Found\r\nX-A: 1\r\nDate: Tue, 24 Nov 2026 11:00:00 GMT\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_string_equal(
        written_response(head, H1_FRAMING_LENGTH, true, HTTP_1_0, false),
        "HTTP/1.1 404 Not Found\r\nX-A: 1\r\nDate: Tue, 24 Nov 2026 11:00:00 GMT\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n");
    assert_string_equal(
        written_response(head, H1_FRAMING_UNTIL_CLOSE, false, HTTP_1_0, false),
        "HTTP/1.1 404 Not Found\r\nX-A: 1\r\nDate: Tue, 24 Nov 2026 11:00:00 GMT\r\nConnection: close\r\n\r\n");
    reading_release(&reading);
}

/* RFC 9110 6.6.1: the origin's own date is kept; 1xx need none, nor would 5xx, but whoever looks into a failure wants to know when it was. */
static void a_date_is_added_only_where_one_is_due(void **state)
{
    struct reading reading;
    read_response(SLICE("HTTP/1.1 200 OK\r\ndate: then\r\n\r\n"), &reading);
    assert_string_equal(written_response(&reading.response, H1_FRAMING_CHUNKED, true, HTTP_1_1, false),
                        "HTTP/1.1 200 OK\r\ndate: then\r\nTransfer-Encoding: chunked\r\n\r\n");
    reading_release(&reading);
    read_response(SLICE("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"), &reading);
    assert_string_equal(written_response(&reading.response, H1_FRAMING_NONE, false, HTTP_1_1, false),
                        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
    reading.response.status = 599;
    assert_string_equal(written_response(&reading.response, H1_FRAMING_NONE, true, HTTP_1_1, false),
                        "HTTP/1.1 599 \r\nLink: </a>\r\nDate: Tue, 24 Nov 2026 11:00:00 GMT\r\n\r\n");
    reading_release(&reading);
}

static void an_upgrade_is_written_with_its_protocol(void **state)
{
    struct reading reading;
    read_response(
        SLICE("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-A: 1\r\n\r\n"),
        &reading);
    assert_string_equal(
        written_response(&reading.response, H1_FRAMING_NONE, true, HTTP_1_1, true),
        "HTTP/1.1 101 Switching Protocols\r\nX-A: 1\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
    reading_release(&reading);
}

static void the_largest_length_is_written_whole(void **state)
{
    struct reading reading;
    read_response(SLICE("HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775807\r\nDate: then\r\n\r\n"), &reading);
    assert_string_equal(written_response(&reading.response, H1_FRAMING_LENGTH, true, HTTP_1_1, false),
                        "HTTP/1.1 200 OK\r\nDate: then\r\nContent-Length: 9223372036854775807\r\n\r\n");
    reading_release(&reading);
}

struct added_row {
    struct slice name, value;
    bool accepted;
};

/* Each of the ways by which a policy writes a field. */
typedef bool put_field(struct headers *, struct slice name, struct slice value);

static bool add_by_key(struct headers *headers, struct slice name, struct slice value)
{
    struct header_key key = header_key_of(name);
    return headers_add_by(headers, &key, value);
}

static bool set_by_key(struct headers *headers, struct slice name, struct slice value)
{
    struct header_key key = header_key_of(name);
    return headers_set_by(headers, &key, value);
}

static bool add_constant(struct headers *headers, struct slice name, struct slice value)
{
    struct header_constant constant = header_constant_of(name, value);
    return headers_add_constant(headers, &constant);
}

static bool set_constant(struct headers *headers, struct slice name, struct slice value)
{
    struct header_constant constant = header_constant_of(name, value);
    return headers_set_constant(headers, &constant);
}

/* What was checked was the value that stood there before. */
static bool set_over_sent(struct headers *headers, struct slice name, struct slice value)
{
    return headers_add_from_wire(headers, name, SLICE("good")) && headers_set(headers, name, value);
}

static bool set_over_constant(struct headers *headers, struct slice name, struct slice value)
{
    return set_constant(headers, name, SLICE("good")) && set_by_key(headers, name, value);
}

static bool set_known(struct headers *headers, struct slice name, struct slice value)
{
    enum header_id id = header_id_find(name);
    return id == HEADER_OTHER ? headers_set(headers, name, value) : headers_set_known(headers, id, value);
}

static const struct {
    put_field *put;
    bool trusts_name; /* the parser's word for it */
} ways[] = { { headers_add, false },       { headers_set, false },  { add_by_key, false },
             { set_by_key, false },        { add_constant, false }, { set_constant, false },
             { set_over_constant, false }, { set_known, false },    { set_over_sent, true } };

static void what_would_split_a_message_is_stopped_where_it_is_written(void **state)
{
    static const struct added_row rows[] = {
        { SLICE("X-New"), SLICE("a"), true },           { SLICE("X-New"), SLICE(""), true },
        { SLICE("X-New"), SLICE("a\t\x80\xff"), true }, { SLICE("X-New"), SLICE("a\x01"), false },
        { SLICE("X-New"), SLICE("a\x7f"), false },      { SLICE("X-New"), SLICE("a\r\nX: b"), false },
        { SLICE("X-New"), SLICE("a\nX: b"), false },    { SLICE("X-New"), SLICE("a\r"), false },
        { SLICE("X-New"), SLICE("a\0"), false },        { SLICE("X-New: a\r\nX"), SLICE("b"), false },
        { SLICE("X New"), SLICE("b"), false },          { SLICE(""), SLICE("b"), false },
        { SLICE("Server"), SLICE("a\nb"), false },
    };
    for (size_t j = 0; j < COUNT_OF(rows) * COUNT_OF(ways); j++) {
        size_t i = j / COUNT_OF(ways), way = j % COUNT_OF(ways);
        struct reading request, response;
        if (ways[way].trusts_name && !header_name_is_valid(rows[i].name)) continue;
        read_request(SLICE("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), &request);
        read_response(SLICE("HTTP/1.1 200 OK\r\n\r\n"), &response);
        assert_true(ways[way].put(&request.request.headers, rows[i].name, rows[i].value));
        assert_true(ways[way].put(&response.response.headers, rows[i].name, rows[i].value));
        error = (struct error){ 0 };
        bool sent = strcmp(written_request(&request.request, SLICE("/"), H1_FRAMING_NONE, true, false), "error") != 0;
        assert_int_equal(sent, rows[i].accepted);
        assert_int_equal(error.status, sent ? 0 : 500);
        assert_int_equal(error.blame, sent ? BLAME_NOBODY : BLAME_US);
        sent = strcmp(written_response(&response.response, H1_FRAMING_NONE, true, HTTP_1_1, false), "error") != 0;
        assert_int_equal(sent, rows[i].accepted);
        assert_int_equal(h1_write_trailers(&response.response.headers, written, &error) != NULL, rows[i].accepted);
        reading_release(&request);
        reading_release(&response);
    }
}

static void a_target_method_or_host_that_would_split_a_message_is_stopped_too(void **state)
{
    struct reading reading;
    read_request(SLICE("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), &reading);
    static const char *const targets[] = { "/a b", "/a\r\nX: b", "/a\n", "/a\t", "/a\x7f" };
    for (size_t i = 0; i < COUNT_OF(targets); i++)
        assert_string_equal(
            written_request(&reading.request, slice_from_cstring(targets[i]), H1_FRAMING_NONE, true, false), "error");
    reading.request.authority = SLICE("a\r\nX: b");
    assert_string_equal(written_request(&reading.request, SLICE("/"), H1_FRAMING_NONE, true, false), "error");
    reading.request.authority = SLICE("a");
    reading.request.method_text = SLICE("GET /");
    assert_string_equal(written_request(&reading.request, SLICE("/"), H1_FRAMING_NONE, true, false), "error");
    reading_release(&reading);
}

/* Also where eight bytes are looked at together, and behind those. */
static void no_blank_or_control_hides_at_any_place_of_a_target(void **state)
{
    struct reading reading;
    read_request(SLICE("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), &reading);
    for (size_t length = 1; length <= 20; length++) {
        for (size_t at = 0; at < length; at++) {
            for (int byte = 0; byte < 256; byte++) {
                char target[20];
                memset(target, '!', sizeof target); /* the first one that is good */
                target[at] = (char)byte;
                bool is_good = byte > ' ' && byte != 0x7f;
                bool sent = h1_write_request_head(&reading.request, slice_of(target, length), H1_FRAMING_NONE, true,
                                                  false, written, &error) != NULL;
                if (sent != is_good) fail_msg("%d at %zu of %zu", byte, at, length);
            }
        }
    }
    reading_release(&reading);
}

static void removed_fields_are_not_written(void **state)
{
    struct reading reading;
    read_request(SLICE("GET / HTTP/1.1\r\nA: 1\r\nHost: a\r\nB: 2\r\nC: 3\r\n\r\n"), &reading);
    headers_remove(&reading.request.headers, SLICE("B"));
    assert_true(headers_add(&reading.request.headers, SLICE("D"), SLICE("4")));
    assert_string_equal(written_request(&reading.request, SLICE("/"), H1_FRAMING_NONE, true, false),
                        "GET / HTTP/1.1\r\nHost: a\r\nA: 1\r\nC: 3\r\nD: 4\r\n\r\n");
    reading_release(&reading);
}

static void what_is_written_reads_back_the_same(void **state)
{
    struct reading first, second;
    read_request(
        SLICE(
            "PUT /a%20b?c=d HTTP/1.1\r\nHost: a:8080\r\nX-A: 1\r\nX-Empty:\r\nCookie: a=b; c=d\r\nContent-Length: 7\r\n\r\n"),
        &first);
    const char *text = written_request(&first.request, first.request.target.raw, H1_FRAMING_LENGTH, true, false);
    read_request(slice_from_cstring(text), &second);
    assert_true(slice_equal(first.request.target.path, second.request.target.path));
    assert_true(slice_equal(first.request.host, second.request.host));
    assert_int_equal(first.request.body_length, second.request.body_length);
    for (struct header *item = headers_next(&first.request.headers, NULL); item;
         item = headers_next(&first.request.headers, item))
        assert_true(slice_equal(headers_find(&second.request.headers, item->name)->value, item->value));
    assert_int_equal(first.request.headers.count, second.request.headers.count);
    reading_release(&first);
    reading_release(&second);
}

/* RFC 9112 7.1. */
static void a_chunk_head_is_a_size_in_hexadecimal(void **state)
{
    char into[H1_CHUNK_HEAD_BYTES];
    static const uint64_t sizes[] = { 0, 1, 15, 16, 255, 256, 65535, 65536, INT64_MAX, UINT64_MAX };
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        char expected[H1_CHUNK_HEAD_BYTES + 1];
        int length = snprintf(expected, sizeof expected, "%llx\r\n", (unsigned long long)sizes[i]);
        assert_int_equal(h1_write_chunk_head(sizes[i], into), length);
        assert_memory_equal(into, expected, length);
    }
}

static void trailers_end_a_body(void **state)
{
    struct arena arena;
    struct headers trailers;
    arena_init(&arena, NULL);
    headers_init(&trailers, &arena);
    assert_string_equal(text_to(h1_write_trailers(NULL, written, &error), h1_trailer_size(NULL)), "0\r\n\r\n");
    assert_true(headers_add(&trailers, SLICE("X-Sum"), SLICE("1")));
    assert_true(headers_add(&trailers, SLICE("Content-Length"), SLICE("5")));
    assert_string_equal(text_to(h1_write_trailers(&trailers, written, &error), h1_trailer_size(&trailers)),
                        "0\r\nX-Sum: 1\r\n\r\n");
    arena_release(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_is_written_anew_without_this_hops_fields),
        cmocka_unit_test(a_te_of_our_own_asks_for_trailers),
        cmocka_unit_test(a_request_without_an_authority_gets_an_empty_host),
        cmocka_unit_test(a_response_is_written_anew_with_a_date),
        cmocka_unit_test(a_date_is_added_only_where_one_is_due),
        cmocka_unit_test(an_upgrade_is_written_with_its_protocol),
        cmocka_unit_test(the_largest_length_is_written_whole),
        cmocka_unit_test(what_would_split_a_message_is_stopped_where_it_is_written),
        cmocka_unit_test(a_target_method_or_host_that_would_split_a_message_is_stopped_too),
        cmocka_unit_test(no_blank_or_control_hides_at_any_place_of_a_target),
        cmocka_unit_test(removed_fields_are_not_written),
        cmocka_unit_test(what_is_written_reads_back_the_same),
        cmocka_unit_test(a_chunk_head_is_a_size_in_hexadecimal),
        cmocka_unit_test(trailers_end_a_body),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
