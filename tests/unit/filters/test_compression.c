/* compression: which answers are compressed, for whom, what their heads say, and that every byte comes back. */
#include "exchange/testbed.h"

#include "base/memory.h"
#include "filters/decoder.h"

#define JSON "Content-Type: application/json\r\n"
#define GZIP "Accept-Encoding: gzip\r\n"

static const char *const text = "{\"name\":\"a text that is said again and again\"},";

static void start(struct testbed *bed, const char *fields)
{
    char *filter = memory_format("{ type: compression%s%s }", *fields ? ", " : "", fields);
    testbed_start_filtered(bed, "/a", filter);
    free(filter);
    bed->service.headers = JSON;
    bed->service.body = text;
    bed->service.body_repeat = 100;
}

static void ask(struct testbed *bed, struct client *client, const char *line, const char *fields)
{
    *client = (struct client){ 0 };
    client_ask(bed, client, line, fields, NULL);
    testbed_run_until(bed, &client->released);
    assert_true(client->sent);
}

/* What the body says once unpacked; free it. The stream must be whole. */
static char *unpacked(const struct client *client, size_t *length)
{
    struct slice name = client_header(client, "Content-Encoding");
    struct slice packed = slice_of(client->body, client->body_length);
    struct decoder *decoder = decoder_create(content_coding_find(name), NULL);
    char *plain = memory_allocate(BODY_BYTES_MAX);
    assert_non_null(decoder);
    assert_int_equal(decoder_run(decoder, &packed, plain, BODY_BYTES_MAX, length), DECODER_GOES_ON);
    assert_int_equal(packed.length, 0);
    assert_true(decoder_is_whole(decoder));
    decoder_destroy(decoder);
    return plain;
}

static void assert_repeats_text(const char *plain, size_t length, size_t times)
{
    size_t once = strlen(text);
    assert_int_equal(length, once * times);
    for (size_t i = 0; i < times; i++) assert_memory_equal(plain + i * once, text, once);
}

static void assert_packed(const struct client *client, const char *coding, size_t times)
{
    size_t length;
    assert_slice_is(client_header(client, "Content-Encoding"), coding);
    char *plain = unpacked(client, &length);
    assert_repeats_text(plain, length, times);
    free(plain);
}

static void assert_plain(const struct client *client, size_t times)
{
    assert_true(slice_is_absent(client_header(client, "Content-Encoding")));
    assert_repeats_text(client->body, client->body_length, times);
}

/* Whether one request's answer is compressed. */
static bool packs(struct testbed *bed, const char *line, const char *fields)
{
    struct client client;
    ask(bed, &client, line, fields);
    bool packed = !slice_is_absent(client_header(&client, "Content-Encoding"));
    client_release(&client);
    return packed;
}

static void each_coding_comes_back_whole(void **state)
{
    static const struct {
        const char *accepted, *coding;
    } rows[] = { { "Accept-Encoding: gzip\r\n", "gzip" },
                 { "Accept-Encoding: br\r\n", "br" },
                 { "Accept-Encoding: zstd\r\n", "zstd" },
                 { "Accept-Encoding: gzip, deflate, br, zstd\r\n", "zstd" },
                 { "Accept-Encoding: gzip, br;q=0.9\r\n", "gzip" } };
    static const size_t repeats[] = { 30, 1000, 20000 };
    for (size_t i = 0; i < COUNT_OF(rows) * COUNT_OF(repeats); i++) {
        struct testbed bed;
        struct client client;
        size_t times = repeats[i / COUNT_OF(rows)];
        start(&bed, "");
        bed.service.body_repeat = times;
        ask(&bed, &client, "GET /a", rows[i % COUNT_OF(rows)].accepted);
        assert_packed(&client, rows[i % COUNT_OF(rows)].coding, times);
        assert_slice_is(client_header(&client, "Vary"), "Accept-Encoding");
        client_release(&client);
        testbed_stop(&bed);
    }
}

/* Piece by piece, each in a slab of its own, each flushed as nothing follows at once. */
static void a_body_in_pieces_comes_back_whole(void **state)
{
    static const char *const fields[] = { "flushAfterMs: 0", "flushAfterMs: 1", "" };
    for (size_t i = 0; i < COUNT_OF(fields); i++) {
        struct testbed bed;
        struct client client;
        start(&bed, fields[i]);
        char *body = memory_allocate(strlen(text) * 50 + 1), *at = body;
        for (int j = 0; j < 50; j++) at = stpcpy(at, text);
        bed.service.body = body;
        bed.service.body_repeat = 1;
        bed.service.body_step = 100;
        ask(&bed, &client, "GET /a", GZIP);
        assert_packed(&client, "gzip", 50);
        client_release(&client);
        testbed_stop(&bed);
        free(body);
    }
}

static void what_is_not_worth_it_passes(void **state)
{
    static const struct {
        const char *headers;
        unsigned status;
        size_t repeat;
        bool packed, varies;
    } rows[] = {
        { JSON, 200, 100, true, true },
        { JSON, 404, 100, true, true },
        { JSON, 500, 100, true, true },
        { JSON, 200, 1, false, true }, /* it may be longer the next time */
        { "Content-Type: APPLICATION/JSON; charset=utf-8\r\n", 200, 100, true, true },
        { "Content-Type: application/problem+json\r\n", 200, 100, true, true },
        { "Content-Type: image/svg+xml\r\n", 200, 100, true, true },
        { "Content-Type: text/html\r\n", 200, 100, true, true },
        { "Content-Type: image/png\r\n", 200, 100, false, false },
        { "Content-Type: application/octet-stream\r\n", 200, 100, false, false },
        { "Content-Type: application/grpc\r\n", 200, 100, false, false },
        { "Content-Type: json\r\n", 200, 100, false, false },
        { "", 200, 100, false, false },
        { JSON "Content-Encoding: br\r\n", 200, 100, false, false },
        { JSON "Content-Encoding: identity\r\n", 200, 100, true, true },
        { JSON "Content-Range: bytes 0-1/3\r\n", 206, 100, false, false },
        { JSON "Content-Range: bytes 0-1/3\r\n", 200, 100, false, false },
        { JSON "Cache-Control: public, no-transform\r\n", 200, 100, false, false },
        { JSON "Cache-Control: no-cache\r\n", 200, 100, true, true },
        { JSON "Content-Digest: sha-256=:x:\r\n", 200, 100, false, false },
        { JSON "Repr-Digest: sha-256=:x:\r\n", 200, 100, false, false },
        { JSON "Content-MD5: x\r\n", 200, 100, false, false },
        { JSON "Set-Cookie: a=b\r\n", 200, 100, false, true },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct testbed bed;
        struct client client;
        start(&bed, "");
        bed.service.headers = rows[i].headers;
        bed.service.status = rows[i].status;
        bed.service.body_repeat = rows[i].repeat;
        ask(&bed, &client, "GET /a", GZIP);
        struct slice coding = client_header(&client, "Content-Encoding");
        if (slice_equal(coding, SLICE("gzip")) != rows[i].packed) fail_msg("%s%u", rows[i].headers, rows[i].status);
        if (rows[i].packed) assert_packed(&client, "gzip", rows[i].repeat);
        assert_int_equal(client_count_header(&client, "Vary"), rows[i].varies);
        client_release(&client);
        testbed_stop(&bed);
    }
}

/* A cache in between must not hand one client's answer to another: so who gets it plain is told as well. */
static void what_might_be_compressed_varies(void **state)
{
    struct testbed bed;
    struct client client;
    start(&bed, "");
    ask(&bed, &client, "GET /a", NULL);
    assert_plain(&client, 100);
    assert_slice_is(client_header(&client, "Vary"), "Accept-Encoding");
    client_release(&client);
    static const char *const varies[] = { JSON "Vary: Origin, accept-encoding\r\n", JSON "Vary: *\r\n" };
    for (size_t i = 0; i < COUNT_OF(varies); i++) {
        bed.service.headers = varies[i];
        ask(&bed, &client, "GET /a", GZIP);
        assert_packed(&client, "gzip", 100);
        assert_int_equal(client_count_header(&client, "Vary"), 1);
        client_release(&client);
    }
    testbed_stop(&bed);
}

/* BREACH: a foreign page makes the browser ask, with what the browser attaches by itself, and looks at lengths. */
static void answers_with_secrets_that_could_be_guessed_pass(void **state)
{
    static const struct {
        const char *fields;
        bool same_origin, always, never; /* is it compressed under credentials: … */
    } rows[] = {
        { GZIP, true, true, true },
        { GZIP "Cookie: s=1\r\n", false, true, false },
        { GZIP "Cookie: s=1\r\nSec-Fetch-Site: cross-site\r\n", false, true, false },
        { GZIP "Cookie: s=1\r\nSec-Fetch-Site: same-site\r\n", false, true, false },
        { GZIP "Cookie: s=1\r\nSec-Fetch-Site: same-origin\r\n", true, true, false },
        { GZIP "Cookie: s=1\r\nSec-Fetch-Site: none\r\n", true, true, false },
        { GZIP "Cookie: s=1\r\nSec-Fetch-Site: none\r\nSec-Fetch-Site: none\r\n", false, true, false },
        { GZIP "Authorization: Basic dTpw\r\n", false, true, false },
        { GZIP "Authorization: Negotiate x\r\n", false, true, false },
        { GZIP "Authorization: Bearer x.y.z\r\n", true, true, false },
        { GZIP "authorization: bearer x\r\n", true, true, false },
        { GZIP "X-API-Key: k\r\n", true, true, false },
    };
    static const char *const policies[] = { "", "credentials: always", "credentials: never" };
    for (size_t policy = 0; policy < COUNT_OF(policies); policy++) {
        struct testbed bed;
        start(&bed, policies[policy]);
        for (size_t i = 0; i < COUNT_OF(rows); i++) {
            bool expected = policy == 0 ? rows[i].same_origin : policy == 1 ? rows[i].always : rows[i].never;
            if (packs(&bed, "GET /a", rows[i].fields) != expected) fail_msg("%s: %s", policies[policy], rows[i].fields);
        }
        testbed_stop(&bed);
    }
}

static void a_client_certificate_is_a_credential(void **state)
{
    static const struct peer_certificate certificate = { 0 };
    struct testbed bed;
    start(&bed, "");
    struct client client = { 0 };
    client.peer.certificate = &certificate;
    client_ask(&bed, &client, "GET /a", GZIP, NULL);
    testbed_run_until(&bed, &client.released);
    assert_plain(&client, 100);
    client_release(&client);
    testbed_stop(&bed);
}

static void validators_become_weak(void **state)
{
    struct testbed bed;
    struct client client;
    start(&bed, "");
    bed.service.headers = JSON "ETag: \"abc\"\r\nAccept-Ranges: bytes\r\n";
    ask(&bed, &client, "GET /a", GZIP);
    assert_slice_is(client_header(&client, "ETag"), "W/\"abc\"");
    assert_true(slice_is_absent(client_header(&client, "Accept-Ranges")));
    client_release(&client);
    ask(&bed, &client, "GET /a", NULL);
    assert_slice_is(client_header(&client, "ETag"), "\"abc\"");
    assert_slice_is(client_header(&client, "Accept-Ranges"), "bytes");
    client_release(&client);
    bed.service.headers = JSON "ETag: W/\"abc\"\r\n";
    ask(&bed, &client, "GET /a", GZIP);
    assert_slice_is(client_header(&client, "ETag"), "W/\"abc\"");
    client_release(&client);
    testbed_stop(&bed);
}

/* RFC 9111 4.3.4: with a strong validator the client could not tell that what it holds is meant. */
static void a_304_names_what_the_client_holds(void **state)
{
    static const struct {
        const char *asked, *etag;
    } rows[] = { { GZIP "If-None-Match: W/\"abc\"\r\n", "W/\"abc\"" },
                 { GZIP "If-None-Match: \"x\", W/\"abc\" \r\n", "W/\"abc\"" },
                 { GZIP "If-None-Match: \"abc\"\r\n", "\"abc\"" },
                 { GZIP "If-None-Match: W/\"abcd\"\r\n", "\"abc\"" },
                 { GZIP "If-None-Match: *\r\n", "\"abc\"" } };
    struct testbed bed;
    start(&bed, "");
    bed.service.status = 304;
    bed.service.headers = "ETag: \"abc\"\r\n";
    bed.service.body = NULL;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct client client;
        ask(&bed, &client, "GET /a", rows[i].asked);
        assert_slice_is(client_header(&client, "ETag"), rows[i].etag);
        assert_true(slice_is_absent(client_header(&client, "Content-Encoding")));
        client_release(&client);
    }
    testbed_stop(&bed);
}

/* RFC 9110 15.4.5: Vary as the 200 would have it. Of most nobody knows the type: those might vary. */
static void a_304_varies_as_its_200_would(void **state)
{
    static const struct {
        const char *headers, *asked, *etag;
        bool varies;
    } rows[] = {
        { "ETag: \"abc\"\r\n", GZIP "If-None-Match: \"abc\"\r\n", "\"abc\"", true },
        { "ETag: \"abc\"\r\n", GZIP "If-None-Match: W/\"abc\"\r\n", "W/\"abc\"", true },
        { "ETag: \"abc\"\r\n", GZIP "If-Modified-Since: x\r\n", "\"abc\"", true },
        { "ETag: \"abc\"\r\n", "If-None-Match: \"abc\"\r\n", "\"abc\"", true },
        { "ETag: \"abc\"\r\nVary: Accept-Encoding\r\n", GZIP "If-None-Match: \"abc\"\r\n", "\"abc\"", true },
        /* Where it says the type, the validator is the 200's too, but for who holds the plain one. */
        { JSON "ETag: \"abc\"\r\n", GZIP "If-Modified-Since: x\r\n", "W/\"abc\"", true },
        { JSON "ETag: \"abc\"\r\n", GZIP "If-None-Match: *\r\n", "W/\"abc\"", true },
        { JSON "ETag: \"abc\"\r\n", GZIP "If-None-Match: \"x\", \"abc\"\r\n", "\"abc\"", true },
        { JSON "ETag: \"abc\"\r\n", GZIP "If-None-Match: \"abc\", W/\"abc\"\r\n", "W/\"abc\"", true },
        { JSON "ETag: \"abc\"\r\n", "If-Modified-Since: x\r\n", "\"abc\"", true },
        { JSON "ETag: \"abc\"\r\n", GZIP "If-Modified-Since: x\r\nCookie: a=b\r\n", "\"abc\"", true },
        { "Content-Type: image/png\r\nETag: \"abc\"\r\n", GZIP "If-None-Match: *\r\n", "\"abc\"", false },
        { "Cache-Control: no-transform\r\nETag: \"abc\"\r\n", GZIP "If-None-Match: \"abc\"\r\n", "\"abc\"", false },
        { "Content-Encoding: br\r\nETag: \"abc\"\r\n", GZIP "If-None-Match: \"abc\"\r\n", "\"abc\"", false },
    };
    struct testbed bed;
    start(&bed, "");
    bed.service.status = 304;
    bed.service.body = NULL;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct client client;
        bed.service.headers = rows[i].headers;
        ask(&bed, &client, "GET /a", rows[i].asked);
        assert_int_equal(client.status, 304);
        struct slice etag = client_header(&client, "ETag");
        if (!slice_equal(etag, slice_from_cstring(rows[i].etag))) fail_msg("%zu: %.*s", i, SLICE_PRINT(etag));
        if (client_count_header(&client, "Vary") != rows[i].varies) fail_msg("%zu: Vary", i);
        client_release(&client);
    }
    testbed_stop(&bed);
}

static void head_says_what_get_would(void **state)
{
    struct testbed bed;
    struct client client;
    start(&bed, "minBytes: 40");
    bed.service.headers = JSON "ETag: \"abc\"\r\n";
    ask(&bed, &client, "HEAD /a", GZIP);
    assert_slice_is(client_header(&client, "Content-Encoding"), "gzip");
    assert_slice_is(client_header(&client, "ETag"), "W/\"abc\"");
    assert_int_equal(client.body_length, 0);
    client_release(&client);
    bed.service.body = "{}";
    ask(&bed, &client, "HEAD /a", GZIP);
    assert_true(slice_is_absent(client_header(&client, "Content-Encoding")));
    client_release(&client);
    testbed_stop(&bed);
}

static void a_client_that_refuses_identity_gets_small_answers_compressed(void **state)
{
    struct testbed bed;
    struct client client;
    start(&bed, "");
    bed.service.body_repeat = 1;
    ask(&bed, &client, "GET /a", "Accept-Encoding: gzip, identity;q=0\r\n");
    assert_packed(&client, "gzip", 1);
    client_release(&client);
    assert_false(packs(&bed, "GET /a", "Accept-Encoding: identity;q=0\r\n"));
    testbed_stop(&bed);
}

static void the_service_hears_what_the_client_accepts_unless_offloaded(void **state)
{
    struct testbed bed;
    start(&bed, "");
    assert_true(packs(&bed, "GET /a", GZIP));
    assert_slice_is(service_header(&bed, "Accept-Encoding"), "gzip");
    testbed_stop(&bed);
    start(&bed, "offload: true");
    assert_true(packs(&bed, "GET /a", GZIP));
    assert_true(slice_is_absent(service_header(&bed, "Accept-Encoding")));
    testbed_stop(&bed);
}

static void types_codings_and_size_are_as_configured(void **state)
{
    struct testbed bed;
    start(&bed, "types: [image/*], codings: [gzip], minBytes: 10");
    assert_false(packs(&bed, "GET /a", GZIP));
    bed.service.headers = "Content-Type: image/png\r\n";
    bed.service.body_repeat = 1;
    assert_true(packs(&bed, "GET /a", GZIP));
    assert_false(packs(&bed, "GET /a", "Accept-Encoding: br, zstd\r\n"));
    testbed_stop(&bed);
    start(&bed, "types: '*/*'");
    bed.service.headers = "Content-Type: a/b\r\n";
    assert_true(packs(&bed, "GET /a", GZIP));
    testbed_stop(&bed);
}

/* What has come of a stream so far, unpacked. */
static void assert_has_come(struct testbed *bed, struct client *client, const char *expected)
{
    for (int i = 0; i < 5000 && client->body_length == 0; i++) {
        loop_turn(&bed->loop, 1);
        testbed_run(bed);
    }
    struct decoder *decoder = decoder_create(content_coding_find(client_header(client, "Content-Encoding")), NULL);
    struct slice packed = slice_of(client->body, client->body_length);
    char plain[4096];
    size_t length;
    assert_int_equal(decoder_run(decoder, &packed, plain, sizeof plain, &length), DECODER_GOES_ON);
    assert_slice_is(slice_of(plain, length), expected);
    assert_false(decoder_is_whole(decoder));
    decoder_destroy(decoder);
}

static void what_waits_is_flushed(void **state)
{
    static const char *const accepted[] = { GZIP, "Accept-Encoding: br\r\n", "Accept-Encoding: zstd\r\n" };
    static const char *const headers[] = { "Content-Type: text/event-stream\r\n", JSON };
    for (size_t i = 0; i < COUNT_OF(accepted) * COUNT_OF(headers); i++) {
        struct testbed bed;
        struct client client = { 0 };
        start(&bed, "minBytes: 0, flushAfterMs: 300"); /* more than the turns below take on a busy machine */
        bed.service.headers = headers[i / COUNT_OF(accepted)];
        bed.service.body = "data: 1\n\n";
        bed.service.body_repeat = 0;
        bed.service.keeps_open = true;
        client_ask(&bed, &client, "GET /a", accepted[i % COUNT_OF(accepted)], NULL);
        testbed_run(&bed);
        assert_int_equal(client.body_length > 0, i < COUNT_OF(accepted)); /* an event stream never waits */
        assert_has_come(&bed, &client, "data: 1\n\n");
        assert_int_equal(bed.slabs.taken_bytes, 0); /* a silent stream holds its encoder alone */
        client_leave(&client);
        testbed_run_until(&bed, &client.released);
        client_release(&client);
        testbed_stop(&bed);
    }
}

/* A client that takes nothing holds the service back: what is between them is bounded. */
static void a_slow_client_holds_the_service_back(void **state)
{
    struct testbed bed;
    struct client client = { 0 };
    start(&bed, "");
    uint64_t seed = 7;
    char noise[4096];
    for (size_t i = 0; i < sizeof noise; i++) noise[i] = (char)((seed = seed * 6364136223846793005u + 1) >> 56);
    bed.service.body = noise;
    bed.service.body_length = sizeof noise;
    bed.service.body_repeat = 200; /* 800 KiB that don't shrink */
    client.slow = true;
    client_ask(&bed, &client, "GET /a", GZIP, NULL);
    for (int i = 0; i < 100; i++) testbed_run(&bed);
    assert_true(bed.slabs.taken_bytes < 4 * BODY_PIPE_WINDOW_BYTES);
    client.slow = false;
    loop_enqueue(&bed.loop, &client.answer_task);
    testbed_run_until(&bed, &client.released);
    size_t length;
    char *plain = unpacked(&client, &length);
    assert_int_equal(length, sizeof noise * 200);
    for (size_t i = 0; i < 200; i++) assert_memory_equal(plain + i * sizeof noise, noise, sizeof noise);
    free(plain);
    client_release(&client);
    testbed_stop(&bed);
}

static void a_client_that_leaves_takes_nothing_along(void **state)
{
    struct testbed bed;
    struct client client = { 0 };
    start(&bed, "");
    bed.service.body_repeat = 20000;
    client.slow = true;
    client_ask(&bed, &client, "GET /a", "Accept-Encoding: br\r\n", NULL);
    testbed_run(&bed);
    client_leave(&client);
    testbed_run_until(&bed, &client.released);
    client_release(&client);
    testbed_stop(&bed);
}

/* It must not look whole. */
static void an_answer_that_breaks_off_is_cut(void **state)
{
    struct testbed bed;
    struct client client = { 0 };
    start(&bed, "");
    bed.service.cuts_body = true;
    client_ask(&bed, &client, "GET /a", GZIP, NULL);
    testbed_run_until(&bed, &client.released);
    assert_true(client.cut && !client.sent);
    client_release(&client);
    testbed_stop(&bed);
}

static void trailers_are_kept(void **state)
{
    struct testbed bed;
    struct client client = { 0 };
    start(&bed, "");
    bed.service.trailers = "X-Sum: 1\r\n";
    client.slow = true;
    client_ask(&bed, &client, "GET /a", GZIP, NULL);
    testbed_run(&bed);
    assert_non_null(client.answer_pipe);
    assert_int_equal(client.answer_pipe->state, BODY_FINISHED);
    assert_non_null(client.answer_pipe->trailers);
    assert_slice_is(headers_find(client.answer_pipe->trailers, SLICE("X-Sum"))->value, "1");
    client.slow = false;
    loop_enqueue(&bed.loop, &client.answer_task);
    testbed_run_until(&bed, &client.released);
    assert_packed(&client, "gzip", 100);
    client_release(&client);
    testbed_stop(&bed);
}

/* Then it goes out as it is: slower, but it goes out. */
static void where_memory_is_short_nothing_begins(void **state)
{
    struct testbed bed;
    struct memory_ceiling ceiling = { .bytes_max = 64 << 10 };
    struct client client;
    start(&bed, "");
    bed.slabs.ceiling = &ceiling;
    ask(&bed, &client, "GET /a", GZIP);
    assert_plain(&client, 100);
    client_release(&client);
    ceiling.bytes_max = 900 << 10; /* for gzip, not for Brotli */
    ask(&bed, &client, "GET /a", "Accept-Encoding: br, gzip;q=0.5\r\n");
    assert_packed(&client, "gzip", 100);
    client_release(&client);
    assert_int_equal(memory_ceiling_in_use(&ceiling), 0);
    bed.slabs.ceiling = NULL;
    slab_pool_release(&bed.slabs);
    testbed_stop(&bed);
}

/* Other policies' edits of the answer come before, so that a type they set counts; a failure of theirs is not compressed. */
static void it_comes_last_of_all(void **state)
{
    struct testbed bed;
    struct client client;
    testbed_start_filtered(
        &bed, "/a", "{ type: set-header, name: Content-Type, value: text/plain, on: response }, { type: compression }");
    bed.service.body = text;
    bed.service.body_repeat = 100;
    ask(&bed, &client, "GET /a", GZIP);
    assert_packed(&client, "gzip", 100);
    client_release(&client);
    testbed_stop(&bed);
}

static void it_sees_what_other_stages_make(void **state)
{
    struct testbed bed;
    struct client client;
    size_t length;
    testbed_start_filtered(&bed, "/a", "{ type: test-grow, on: response, factor: 2 }, { type: compression }");
    bed.service.headers = JSON;
    bed.service.body = "ab";
    bed.service.body_repeat = 1000;
    ask(&bed, &client, "GET /a", GZIP);
    char *plain = unpacked(&client, &length);
    assert_int_equal(length, 4000);
    assert_memory_equal(plain, "aabbaabb", 8);
    free(plain);
    client_release(&client);
    testbed_stop(&bed);
}

static void mistakes_are_told_at_load(void **state)
{
    testbed_refuses_filter("{ type: compression, codings: [gzip, lzma] }", "zstd, br and gzip");
    testbed_refuses_filter("{ type: compression, codings: [deflate] }", "not a coding that answers are sent in");
    testbed_refuses_filter("{ type: compression, codings: [gzip, x-gzip] }", "twice");
    testbed_refuses_filter("{ type: compression, codings: [] }", "codings");
    testbed_refuses_filter("{ type: compression, types: [json] }", "not a media type");
    testbed_refuses_filter("{ type: compression, types: ['*/json'] }", "not a media type");
    testbed_refuses_filter("{ type: compression, types: ['text/*+x'] }", "not a media type");
    testbed_refuses_filter("{ type: compression, types: ['*/*+'] }", "not a media type");
    testbed_refuses_filter("{ type: compression, types: ['a b/c'] }", "not a media type");
    testbed_refuses_filter("{ type: compression, levels: { gzip: 0 } }", "gzip");
    testbed_refuses_filter("{ type: compression, levels: { br: 11 } }", "br");
    testbed_refuses_filter("{ type: compression, levels: { zstd: 19 } }", "zstd");
    testbed_refuses_filter("{ type: compression, credentials: sometimes }", "credentials");
    testbed_refuses_filter("{ type: compression, on: response }", "requests only");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_coding_comes_back_whole),
        cmocka_unit_test(a_body_in_pieces_comes_back_whole),
        cmocka_unit_test(what_is_not_worth_it_passes),
        cmocka_unit_test(what_might_be_compressed_varies),
        cmocka_unit_test(answers_with_secrets_that_could_be_guessed_pass),
        cmocka_unit_test(a_client_certificate_is_a_credential),
        cmocka_unit_test(validators_become_weak),
        cmocka_unit_test(a_304_names_what_the_client_holds),
        cmocka_unit_test(a_304_varies_as_its_200_would),
        cmocka_unit_test(head_says_what_get_would),
        cmocka_unit_test(a_client_that_refuses_identity_gets_small_answers_compressed),
        cmocka_unit_test(the_service_hears_what_the_client_accepts_unless_offloaded),
        cmocka_unit_test(types_codings_and_size_are_as_configured),
        cmocka_unit_test(what_waits_is_flushed),
        cmocka_unit_test(a_slow_client_holds_the_service_back),
        cmocka_unit_test(a_client_that_leaves_takes_nothing_along),
        cmocka_unit_test(an_answer_that_breaks_off_is_cut),
        cmocka_unit_test(trailers_are_kept),
        cmocka_unit_test(where_memory_is_short_nothing_begins),
        cmocka_unit_test(it_comes_last_of_all),
        cmocka_unit_test(it_sees_what_other_stages_make),
        cmocka_unit_test(mistakes_are_told_at_load),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
