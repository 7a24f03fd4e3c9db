/* grpc-web: what the service gets of a call from a browser, and what the browser gets back; broken bodies either way. */
#include "base/memory.h"
#include "exchange/testbed.h"

#define BINARY "Content-Type: application/grpc-web+proto\r\n"
#define TEXT "Content-Type: application/grpc-web-text\r\nAccept: application/grpc-web-text\r\n"
#define GRPC_ANSWER "Content-Type: application/grpc\r\n"

/* Two messages, "abc" and an empty one, and the same in base64, padded behind the first and cut across both. */
#define MESSAGES SLICE("\0\0\0\0\3abc\0\0\0\0\0")
#define MESSAGES_TEXT "AAAAAANhYmMAAAAAAA=="
#define MESSAGES_PADDED_TEXT "AAAAAANhYmM=AAAAAAA="

#define TRAILERS "grpc-status: 0\r\nx-cost: 3\r\n"
#define TRAILERS_FRAME "\x80\0\0\0\x1b" TRAILERS

static void start(struct testbed *bed)
{
    testbed_start_filtered(bed, "/a", "{ type: grpc-web }");
    bed->service.after_body = true;
    bed->service.headers = GRPC_ANSWER;
    bed->service.body = MESSAGES.at;
    bed->service.body_length = MESSAGES.length;
    bed->service.trailers = TRAILERS;
}

/* A call with this body in pieces of `step` bytes. */
static void call(struct testbed *bed, struct client *client, const char *fields, struct slice body, size_t step)
{
    *client = (struct client){ 0 };
    client_begin(bed, client, "POST /a", fields);
    for (size_t at = 0; at < body.length; at += step) {
        struct slice piece = slice_before(slice_after(body, at), step);
        client_push(client, piece.at, piece.length);
        testbed_run(bed);
    }
    client_finish(client);
    testbed_run_until(bed, &client->released);
}

static void assert_bytes(const char *bytes, size_t length, struct slice expected)
{
    assert_int_equal(length, expected.length);
    if (length) assert_memory_equal(bytes, expected.at, length);
}

/* Into `content`; base64 with padding anywhere. */
static size_t decoded(const char *text, size_t length, char content[TEXT_BYTES_MAX])
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t count = 0;
    assert_int_equal(length % 4, 0);
    for (size_t at = 0; at < length; at += 4) {
        uint32_t bits = 0;
        for (size_t i = 0; i < 4; i++)
            bits = bits << 6 | (text[at + i] == '=' ? 0 : (uint32_t)(strchr(alphabet, text[at + i]) - alphabet));
        for (size_t i = 0; i < 3u - (text[at + 2] == '=') - (text[at + 3] == '='); i++)
            content[count++] = (char)(bits >> (16 - 8 * i));
    }
    return count;
}

/* The answer is one frame of trailers, in base64 where the client wants text; it has these words. */
static void assert_outcome(const struct client *client, bool in_text, const char *status, const char *words)
{
    char content[TEXT_BYTES_MAX];
    const char *bytes = client->body;
    size_t length = client->body_length;
    assert_int_equal(client->status, 200);
    assert_true(slice_starts_with(client_header(client, "Content-Type"), SLICE("application/grpc-web")));
    if (in_text) {
        length = decoded(client->body, client->body_length, content);
        bytes = content;
    }
    assert_true(length > 5 && (uint8_t)bytes[0] == 0x80);
    if (!memmem(bytes, length, status, strlen(status)) || !memmem(bytes, length, words, strlen(words)))
        fail_msg("%.*s", (int)length - 5, bytes + 5);
}

static void a_binary_call_is_grpc_to_the_service_and_comes_back(void **state)
{
    for (size_t step = 1; step <= MESSAGES.length; step++) {
        struct testbed bed;
        struct client client;
        start(&bed);
        bed.service.body_step = step;
        call(&bed, &client, BINARY "X-Grpc-Web: 1\r\nTE: gzip\r\n", MESSAGES, step);
        assert_slice_is(service_header(&bed, "Content-Type"), "application/grpc+proto");
        assert_slice_is(service_header(&bed, "TE"), "trailers");
        assert_bytes(bed.service.request_body, bed.service.request_body_length, MESSAGES);
        assert_true(client.sent);
        assert_int_equal(client.status, 200);
        assert_slice_is(client_header(&client, "Content-Type"), "application/grpc-web+proto");
        assert_bytes(client.body, client.body_length, SLICE("\0\0\0\0\3abc\0\0\0\0\0" TRAILERS_FRAME));
        client_release(&client);
        testbed_stop(&bed);
    }
}

static void a_text_call_is_decoded_and_its_answer_encoded(void **state)
{
    static const char *const texts[] = { MESSAGES_TEXT, MESSAGES_PADDED_TEXT };
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        for (size_t step = 1; step <= strlen(texts[i]); step++) {
            struct testbed bed;
            struct client client;
            char content[TEXT_BYTES_MAX];
            start(&bed);
            bed.service.body_step = step;
            call(&bed, &client, TEXT, slice_from_cstring(texts[i]), step);
            assert_slice_is(service_header(&bed, "Content-Type"), "application/grpc");
            assert_bytes(bed.service.request_body, bed.service.request_body_length, MESSAGES);
            assert_true(client.sent);
            assert_slice_is(client_header(&client, "Content-Type"), "application/grpc-web-text");
            size_t length = decoded(client.body, client.body_length, content);
            assert_bytes(content, length, SLICE("\0\0\0\0\3abc\0\0\0\0\0" TRAILERS_FRAME));
            client_release(&client);
            testbed_stop(&bed);
        }
    }
}

/* Only what a message lacks may be held back: as soon as it is whole the client can read it, the group padded. */
static void each_message_of_a_text_answer_can_be_read_at_once(void **state)
{
    struct testbed bed;
    struct client client = { 0 };
    start(&bed);
    bed.service.body = "\0\0\0\0\3abc";
    bed.service.body_length = 8;
    bed.service.body_step = 4;
    bed.service.keeps_open = true;
    client_ask(&bed, &client, "POST /a", TEXT, MESSAGES_TEXT);
    testbed_run(&bed);
    assert_bytes(client.body, client.body_length, SLICE("AAAAAANhYmM="));
    client_leave(&client);
    testbed_run_until(&bed, &client.released);
    client_release(&client);
    testbed_stop(&bed);
}

static void accept_decides_which_encoding_comes_back(void **state)
{
    static const struct {
        const char *fields, *type;
    } rows[] = {
        { "Content-Type: application/grpc-web\r\n", "application/grpc-web" },
        { "Content-Type: application/grpc-web\r\nAccept: */*\r\n", "application/grpc-web" },
        { "Content-Type: application/grpc-web+proto\r\nAccept: text/plain, application/grpc-web-text;q=1\r\n",
          "application/grpc-web-text+proto" },
        { "Content-Type: application/grpc-web\r\nAccept: a/b\r\nAccept: application/grpc-web-text\r\n",
          "application/grpc-web-text" },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct testbed bed;
        struct client client;
        start(&bed);
        call(&bed, &client, rows[i].fields, MESSAGES, 100);
        assert_slice_is(client_header(&client, "Content-Type"), rows[i].type);
        client_release(&client);
        testbed_stop(&bed);
    }
    struct testbed bed;
    struct client client;
    start(&bed);
    bed.service.headers = "Content-Type: application/grpc+json\r\n"; /* the service's word counts before the client's */
    call(&bed, &client, "Content-Type: application/grpc-web-text\r\nAccept: application/grpc-web+proto\r\n",
         SLICE(MESSAGES_TEXT), 100);
    assert_slice_is(client_header(&client, "Content-Type"), "application/grpc-web+json");
    client_release(&client);
    testbed_stop(&bed);
}

/* An outcome in the head, with or without a body behind it, moves into the frame; other fields stay in the head. */
static void a_trailers_only_answer_gets_a_frame(void **state)
{
    for (int with_body = 0; with_body < 2; with_body++) {
        struct testbed bed;
        struct client client;
        start(&bed);
        bed.service.headers = GRPC_ANSWER "Grpc-Status: 5\r\nGrpc-Message: no such thing\r\nX-Cost: 1\r\n";
        bed.service.body = with_body ? "" : NULL;
        bed.service.body_length = 0;
        bed.service.trailers = NULL;
        call(&bed, &client, BINARY, MESSAGES, 100);
        assert_true(client.sent);
        assert_int_equal(client.status, 200);
        assert_int_equal(client_count_header(&client, "grpc-status"), 0);
        assert_slice_is(client_header(&client, "X-Cost"), "1");
        assert_bytes(client.body, client.body_length,
                     SLICE("\x80\0\0\0\x2d"
                           "grpc-status: 5\r\ngrpc-message: no such thing\r\n"));
        client_release(&client);
        testbed_stop(&bed);
    }
}

static void an_answer_without_a_status_is_no_success(void **state)
{
    struct testbed bed;
    struct client client;
    start(&bed);
    bed.service.trailers = NULL;
    call(&bed, &client, BINARY, MESSAGES, 100);
    assert_true(client.sent && client.body_length > 13 + 5);
    assert_memory_equal(client.body + 13 + 5, "grpc-status: 2\r\n", 16);
    client_release(&client);
    testbed_stop(&bed);
}

static void what_is_no_grpc_web_passes_untouched(void **state)
{
    static const struct {
        const char *line, *fields;
    } rows[] = {
        { "POST /a", "Content-Type: application/grpc+proto\r\n" },
        { "POST /a", "Content-Type: application/json\r\n" },
        { "POST /a", NULL },
        { "PUT /a", BINARY },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct testbed bed;
        struct client client = { 0 };
        start(&bed);
        bed.service.body_length = 0;
        bed.service.body = "{}";
        client_ask(&bed, &client, rows[i].line, rows[i].fields, "{\"a\": 1}");
        testbed_run(&bed);
        assert_int_equal(bed.service.request_body_declared, 8);
        assert_string_equal(bed.service.request_body, "{\"a\": 1}");
        assert_int_equal(service_count_header(&bed, "TE"), 0);
        if (rows[i].fields)
            assert_slice_is(service_header(&bed, "Content-Type"), i == 3   ? "application/grpc-web+proto"
                                                                  : i == 0 ? "application/grpc+proto"
                                                                           : "application/json");
        assert_slice_is(client_header(&client, "Content-Type"), "application/grpc");
        assert_string_equal(client.body, "{}");
        client_release(&client);
        testbed_stop(&bed);
    }
}

/* HTML of a service, an answer in a coding of its own: clients go by the status. */
static void an_answer_that_is_no_grpc_passes_untouched(void **state)
{
    static const struct {
        const char *headers, *type;
    } rows[] = {
        { "Content-Type: text/html\r\n", "text/html" },
        { NULL, NULL },
        { GRPC_ANSWER "Content-Encoding: gzip\r\n", "application/grpc" },
        { "Content-Type: application/grpc-web\r\n", "application/grpc-web" },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct testbed bed;
        struct client client;
        start(&bed);
        bed.service.headers = rows[i].headers;
        bed.service.body_length = 0;
        bed.service.body = "<html>";
        call(&bed, &client, TEXT, SLICE(MESSAGES_TEXT), 100);
        assert_true(client.sent);
        assert_int_equal(client.status, 200);
        if (rows[i].type) assert_slice_is(client_header(&client, "Content-Type"), rows[i].type);
        assert_string_equal(client.body, "<html>");
        client_release(&client);
        testbed_stop(&bed);
    }
}

static void what_the_gateway_itself_says_is_translated(void **state)
{
    for (int in_text = 0; in_text < 2; in_text++) {
        struct testbed bed;
        struct client client;
        start(&bed);
        bed.service.fails = true;
        call(&bed, &client, in_text ? TEXT : BINARY, in_text ? SLICE(MESSAGES_TEXT) : MESSAGES, 100);
        assert_true(client.sent);
        assert_outcome(&client, in_text, "grpc-status: 14", "grpc-message: ");
        client_release(&client);
        testbed_stop(&bed);
    }
}

/* Behind the response filters too: the answer was there as a whole and a stage found it broken, or its head can't be written. A page of another
 * origin may read what happened. */
static void a_failure_behind_the_filters_is_translated_too(void **state)
{
    static const struct {
        const char *filters;
        struct slice body;
        const char *status, *words;
    } rows[] = {
        { "",
          { "\0\0\0\0\3ab", 7 },
          "grpc-status: 14",
          "grpc-message: the service gave an answer that is not whole gRPC" },
        { "",
          { "\0\0\0\0\3abc\x80\0\0\0\0", 13 },
          "grpc-status: 14",
          "grpc-message: the service gave an answer that is not whole gRPC" },
        { ", { type: test-refuse, on: response, bytes: 3 }",
          { "\0\0\0\0\3abc", 8 },
          "grpc-status: 2",
          "grpc-message: a body stage" },
        { ", { type: test-line-break }", { "\0\0\0\0\3abc", 8 }, "grpc-status: 2", "could not write its answer" },
    };
    for (size_t i = 0; i < 2 * COUNT_OF(rows); i++) {
        struct testbed bed;
        struct client client;
        bool in_text = i % 2;
        char *filters = memory_format("{ type: cors, allowedOrigins: 'https://app.example.com' }, { type: grpc-web }%s",
                                      rows[i / 2].filters);
        testbed_start_filtered(&bed, "/a", filters);
        bed.service.after_body = true;
        bed.service.headers = GRPC_ANSWER;
        bed.service.body = rows[i / 2].body.at;
        bed.service.body_length = rows[i / 2].body.length;
        bed.service.trailers = TRAILERS;
        call(&bed, &client,
             in_text ? TEXT "Origin: https://app.example.com\r\n" : BINARY "Origin: https://app.example.com\r\n",
             in_text ? SLICE(MESSAGES_TEXT) : MESSAGES, 100);
        assert_true(client.sent);
        assert_outcome(&client, in_text, rows[i / 2].status, rows[i / 2].words);
        assert_slice_is(client_header(&client, "Content-Type"),
                        in_text ? "application/grpc-web-text" : "application/grpc-web+proto");
        assert_slice_is(client_header(&client, "Access-Control-Allow-Origin"), "https://app.example.com");
        assert_int_equal(client_count_header(&client, "grpc-status"), 0);
        client_release(&client);
        testbed_stop(&bed);
        free(filters);
    }
}

static void a_broken_request_fails_and_says_why(void **state)
{
    static const struct {
        const char *fields;
        struct slice body;
        const char *words;
    } rows[] = {
        { TEXT, SLICE("AAAA*AAA"), "base64" },
        { TEXT, SLICE("AAAA AAA"), "base64" },
        { TEXT, SLICE("AAAAAAA=="), "base64" },
        { TEXT, SLICE("AAAAAAA"), "within a group" },
        { TEXT, SLICE("AAAAAANhYmM"), "within a group" },
        { TEXT, SLICE("AAAAAANhYg=="), "within a message" },
        { TEXT, SLICE("gAAAAAA="), "flags" },
        { BINARY, SLICE("\0\0\0\0\3ab"), "within a message" },
        { BINARY, SLICE("\0\0\0"), "within a message" },
        { BINARY,
          SLICE("\0\xff\xff\xff\xff"
                "abc"),
          "within a message" },
        { BINARY, SLICE("\x80\0\0\0\0"), "flags" },
        { BINARY, SLICE("\0\0\0\0\1a\2\0\0\0\0"), "flags" },
        { BINARY, SLICE("AAAAAANhYmM="), "flags" },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        for (size_t step = 1; step < 20; step += 6) {
            struct testbed bed;
            struct client client;
            start(&bed);
            call(&bed, &client, rows[i].fields, rows[i].body, step);
            assert_outcome(&client, strcmp(rows[i].fields, TEXT) == 0, "grpc-status: 13", rows[i].words);
            assert_true(bed.service.request_body_aborted);
            client_release(&client);
            testbed_stop(&bed);
        }
    }
}

/* A compressed message is the service's matter. */
static void a_compressed_message_passes(void **state)
{
    struct testbed bed;
    struct client client;
    start(&bed);
    call(&bed, &client, BINARY "grpc-encoding: gzip\r\n", SLICE("\1\0\0\0\1z"), 100);
    assert_int_equal(client.status, 200);
    assert_bytes(bed.service.request_body, bed.service.request_body_length, SLICE("\1\0\0\0\1z"));
    client_release(&client);
    testbed_stop(&bed);
}

static void a_body_that_is_compressed_as_a_whole_is_refused(void **state)
{
    struct testbed bed;
    struct client client;
    start(&bed);
    call(&bed, &client, BINARY "Content-Encoding: gzip\r\n", MESSAGES, 100);
    assert_int_equal(client.status, 415);
    assert_int_equal(bed.service.requests, 0);
    client_release(&client);
    call(&bed, &client, BINARY "Content-Encoding: identity\r\n", MESSAGES, 100);
    assert_int_equal(client.status, 200);
    client_release(&client);
    testbed_stop(&bed);
}

/* Trailers behind half a message would be read as its content: the answer is cut off instead. */
static void a_broken_answer_is_cut_off(void **state)
{
    static const struct slice bodies[] = {
        { "\0\0\0\0\3ab", 7 },
        { "\0\0\0\0", 4 },
        { "\x80\0\0\0\x10grpc-status: 0\r\n", 21 },
        { "\0\0\0\0\1a<html>", 12 },
    };
    for (size_t i = 0; i < COUNT_OF(bodies); i++) {
        for (int text = 0; text < 2; text++) {
            struct testbed bed;
            struct client client;
            start(&bed);
            bed.service.body = bodies[i].at;
            bed.service.body_length = bodies[i].length;
            bed.service.body_step = 3;
            call(&bed, &client, text ? TEXT : BINARY, text ? SLICE(MESSAGES_TEXT) : MESSAGES, 100);
            assert_int_equal(client.status, 200);
            assert_true(client.cut && !client.sent);
            client_release(&client);
            testbed_stop(&bed);
        }
    }
    struct testbed bed;
    struct client client;
    start(&bed);
    bed.service.cuts_body = true;
    call(&bed, &client, TEXT, SLICE(MESSAGES_TEXT), 100);
    assert_true(client.cut && !client.sent);
    client_release(&client);
    testbed_stop(&bed);
}

/* Long bodies meet small windows: the stages stop for want of credit and go on. */
static void long_bodies_pass_in_text(void **state)
{
    enum { MESSAGE = 5 + 1000, COUNT = 300, GROUPS = MESSAGE / 3 };
    static char content[MESSAGE] = "\0\0\0\3\xe8", expected[MESSAGE * COUNT];
    struct testbed bed;
    struct client client = { 0 };
    memset(content + 5, 'x', MESSAGE - 5);
    for (size_t i = 0; i < COUNT; i++) memcpy(expected + i * MESSAGE, content, MESSAGE);
    start(&bed);
    bed.service.body = content;
    bed.service.body_length = MESSAGE;
    bed.service.body_repeat = COUNT;
    client_begin(&bed, &client, "POST /a", TEXT);
    char text[4 * GROUPS + 1];
    memcpy(text, "AAAAA+h4", 8);
    for (size_t at = 8; at < sizeof text - 1; at += 4) memcpy(text + at, "eHh4", 4);
    for (size_t i = 0; i < COUNT; i++) {
        while (body_pipe_credit(&client.request_pipe) == 0) testbed_run(&bed);
        client_push(&client, text, sizeof text - 1);
    }
    client_finish(&client);
    testbed_run_until(&bed, &client.released);
    assert_bytes(bed.service.request_body, bed.service.request_body_length, slice_of(expected, sizeof expected));
    assert_true(client.sent);
    assert_int_equal(client.body_length, COUNT * (sizeof text - 1) + 44); /* 32 bytes of frame */
    for (size_t i = 0; i < COUNT; i++) assert_memory_equal(client.body + i * (sizeof text - 1), text, sizeof text - 1);
    client_release(&client);
    testbed_stop(&bed);
}

static void a_client_that_leaves_takes_the_call_with_it(void **state)
{
    struct testbed bed;
    struct client client = { 0 };
    start(&bed);
    client_begin(&bed, &client, "POST /a", TEXT);
    client_push(&client, "AAAAAAN", 7);
    testbed_run(&bed);
    client_leave(&client);
    testbed_run_until(&bed, &client.released);
    assert_int_equal(bed.service.finished, 1);
    client_release(&client);
    testbed_stop(&bed);
}

/* Pages of other origins may use it, with the names that its clients send and read. */
static void it_works_behind_cors(void **state)
{
    struct testbed bed;
    struct client preflight = { 0 }, client;
    testbed_start_filtered(&bed, "/a",
                           "{ type: grpc-web }, { type: cors, allowedOrigins: 'https://app.example.com', "
                           "allowedMethods: POST, allowedHeaders: [Content-Type, X-Grpc-Web, X-User-Agent] }");
    bed.service.after_body = true;
    bed.service.headers = GRPC_ANSWER;
    bed.service.trailers = TRAILERS;
    bed.service.body = "";
    client_ask(&bed, &preflight, "OPTIONS /a",
               "Origin: https://app.example.com\r\nAccess-Control-Request-Method: POST\r\n"
               "Access-Control-Request-Headers: content-type,x-grpc-web,x-user-agent\r\n",
               NULL);
    testbed_run(&bed);
    assert_int_equal(preflight.status, 204);
    assert_int_equal(bed.service.requests, 0);
    client_release(&preflight);
    call(&bed, &client, BINARY "Origin: https://app.example.com\r\n", MESSAGES, 100);
    assert_slice_is(client_header(&client, "Access-Control-Allow-Origin"), "https://app.example.com");
    assert_bytes(client.body, client.body_length, SLICE(TRAILERS_FRAME));
    client_release(&client);
    testbed_stop(&bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_binary_call_is_grpc_to_the_service_and_comes_back),
        cmocka_unit_test(a_text_call_is_decoded_and_its_answer_encoded),
        cmocka_unit_test(each_message_of_a_text_answer_can_be_read_at_once),
        cmocka_unit_test(accept_decides_which_encoding_comes_back),
        cmocka_unit_test(a_trailers_only_answer_gets_a_frame),
        cmocka_unit_test(an_answer_without_a_status_is_no_success),
        cmocka_unit_test(what_is_no_grpc_web_passes_untouched),
        cmocka_unit_test(an_answer_that_is_no_grpc_passes_untouched),
        cmocka_unit_test(what_the_gateway_itself_says_is_translated),
        cmocka_unit_test(a_failure_behind_the_filters_is_translated_too),
        cmocka_unit_test(a_broken_request_fails_and_says_why),
        cmocka_unit_test(a_compressed_message_passes),
        cmocka_unit_test(a_body_that_is_compressed_as_a_whole_is_refused),
        cmocka_unit_test(a_broken_answer_is_cut_off),
        cmocka_unit_test(long_bodies_pass_in_text),
        cmocka_unit_test(a_client_that_leaves_takes_the_call_with_it),
        cmocka_unit_test(it_works_behind_cors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
