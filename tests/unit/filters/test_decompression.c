/* decompression: what the service gets of a compressed request, and what is refused, with which words. */
#include "exchange/testbed.h"

#include "base/memory.h"
#include "filters/encoder.h"

#define PLAIN_BYTES 100000u

static const struct {
    enum content_coding coding;
    const char *field;
} written[] = {
    { CODING_GZIP, "Content-Encoding: gzip\r\n" },
    { CODING_BROTLI, "Content-Encoding: br\r\n" },
    { CODING_ZSTD, "Content-Encoding: zstd\r\n" },
};

static char plain[PLAIN_BYTES];

static int make_plain(void **state)
{
    struct error error;
    uint64_t seed = 1;
    for (size_t i = 0; i < PLAIN_BYTES; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        plain[i] = "0123456789abcdef"[seed >> 60]; /* shrinks by half */
    }
    return content_coding_load(CODING_BROTLI, &error) && content_coding_load(CODING_ZSTD, &error) ? 0 : -1;
}

static char *pack(enum content_coding coding, struct slice text, size_t *length)
{
    struct encoder *encoder = encoder_take(NULL, NULL, &(struct encoder_wish){ coding, 3, text.length, false });
    char *packed = memory_allocate(text.length + 1000);
    assert_int_equal(encoder_run(encoder, &text, ENCODER_END, packed, text.length + 1000, length), ENCODER_DONE);
    encoder_give(encoder);
    return packed;
}

static void start(struct testbed *bed, const char *fields)
{
    char *filter = memory_format("{ type: decompression%s%s }", *fields ? ", " : "", fields);
    testbed_start_filtered(bed, "/a", filter);
    free(filter);
    bed->service.after_body = true;
}

/* Sends a body in pieces of `step`, as credit comes. */
static void send_body(struct testbed *bed, struct client *client, const char *fields, struct slice body, size_t step)
{
    *client = (struct client){ 0 };
    client_begin(bed, client, "POST /a", fields);
    for (size_t at = 0; at < body.length && !client->released;) {
        size_t credit = body_pipe_credit(&client->request_pipe);
        if (credit == 0 && !body_pipe_is_stopped(&client->request_pipe)) {
            testbed_run(bed);
            continue;
        }
        struct slice piece = slice_before(slice_after(body, at), step);
        client_push(client, piece.at, piece.length);
        at += piece.length;
        if (step < 100) testbed_run(bed);
    }
    client_finish(client);
    testbed_run_until(bed, &client->released);
}

static void the_service_gets_it_plain(void **state)
{
    static const size_t lengths[] = { 0, 1, 1000, PLAIN_BYTES }, steps[] = { 13, 1000, 60000 };
    for (size_t i = 0; i < COUNT_OF(written) * COUNT_OF(lengths) * COUNT_OF(steps); i++) {
        size_t which = i % COUNT_OF(written), length = lengths[i / COUNT_OF(written) % COUNT_OF(lengths)],
               packed_length;
        size_t step = steps[i / COUNT_OF(written) / COUNT_OF(lengths)];
        struct testbed bed;
        struct client client;
        char *packed = pack(written[which].coding, slice_of(plain, length), &packed_length);
        char *fields = memory_format("%sContent-Digest: sha-256=:x:\r\n", written[which].field);
        start(&bed, "");
        send_body(&bed, &client, fields, slice_of(packed, packed_length), step);
        assert_int_equal(client.status, 200);
        assert_true(bed.service.request_body_ended);
        assert_int_equal(bed.service.request_body_length, length);
        if (length) assert_memory_equal(bed.service.request_body, plain, length);
        assert_int_equal(bed.service.request_body_declared, BODY_LENGTH_UNKNOWN);
        assert_int_equal(service_count_header(&bed, "Content-Encoding"), 0);
        assert_int_equal(service_count_header(&bed, "Content-Digest"), 0);
        client_release(&client);
        testbed_stop(&bed);
        free(packed), free(fields);
    }
}

/* RFC 9110 5.6.1.2. */
static void empty_members_of_the_list_are_no_codings(void **state)
{
    static const char *const fields[] = { "Content-Encoding: gzip,\r\n", "Content-Encoding: , gzip\r\n",
                                          "Content-Encoding: gzip\r\nContent-Encoding: \r\n",
                                          "Content-Encoding: ,,\r\nContent-Encoding: ,gzip , ,\r\n" };
    for (size_t i = 0; i < COUNT_OF(fields); i++) {
        struct testbed bed;
        struct client client;
        size_t packed_length;
        char *packed = pack(CODING_GZIP, slice_of(plain, 1000), &packed_length);
        start(&bed, "");
        send_body(&bed, &client, fields[i], slice_of(packed, packed_length), 1000);
        assert_int_equal(client.status, 200);
        assert_int_equal(bed.service.request_body_length, 1000);
        assert_int_equal(service_count_header(&bed, "Content-Encoding"), 0);
        client_release(&client);
        testbed_stop(&bed);
        free(packed);
    }
}

static void what_is_plain_passes(void **state)
{
    static const char *const fields[] = { NULL, "Content-Encoding: identity\r\n", "Content-Encoding: \r\n",
                                          "Content-Encoding: , ,\r\n",
                                          "Content-Encoding: \r\nContent-Encoding: identity,\r\n" };
    for (size_t i = 0; i < COUNT_OF(fields); i++) {
        struct testbed bed;
        struct client client = { 0 };
        start(&bed, "");
        client_ask(&bed, &client, "POST /a", fields[i], "hello");
        testbed_run_until(&bed, &client.released);
        assert_int_equal(bed.service.request_body_declared, 5);
        assert_slice_is(slice_of(bed.service.request_body, bed.service.request_body_length), "hello");
        assert_int_equal(service_count_header(&bed, "Content-Encoding"), 0);
        client_release(&client);
        testbed_stop(&bed);
    }
}

/* A field that clients leave standing on a GET. */
static void without_a_body_there_is_nothing_to_unpack(void **state)
{
    struct testbed bed;
    start(&bed, "");
    assert_int_equal(testbed_status(&bed, "GET /a", "Content-Encoding: gzip\r\n"), 200);
    assert_int_equal(service_count_header(&bed, "Content-Encoding"), 0);
    testbed_stop(&bed);
}

static void assert_refused(struct client *client, unsigned status, const char *words)
{
    assert_int_equal(client->status, status);
    assert_non_null(client->body);
    if (!strstr(client->body, words)) fail_msg("not \"%s\": %s", words, client->body);
}

static void other_codings_are_refused_or_pass(void **state)
{
    static const struct {
        const char *field, *words;
    } rows[] = {
        { "Content-Encoding: lzma\r\n", "not understood" },
        { "Content-Encoding: br\r\n", "not understood" },
        { "Content-Encoding: gzip, gzip\r\n", "more than one" },
        { "Content-Encoding: gzip\r\nContent-Encoding: gzip\r\n", "more than one" },
        { "Content-Encoding: gzip,, gzip\r\n", "more than one" },
        { "Content-Encoding: gzip, identity\r\n", "more than one" },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct testbed bed;
        struct client client = { 0 };
        start(&bed, "codings: [gzip, zstd]");
        client_ask(&bed, &client, "POST /a", rows[i].field, "hello");
        testbed_run_until(&bed, &client.released);
        assert_refused(&client, 415, rows[i].words);
        assert_slice_is(client_header(&client, "Accept-Encoding"), "gzip, zstd");
        assert_int_equal(bed.service.requests, 0);
        client_release(&client);
        testbed_stop(&bed);

        client = (struct client){ 0 };
        start(&bed, "codings: [gzip, zstd], otherCodings: pass");
        client_ask(&bed, &client, "POST /a", rows[i].field, "hello");
        testbed_run_until(&bed, &client.released);
        assert_int_equal(client.status, 200);
        assert_slice_is(slice_of(bed.service.request_body, bed.service.request_body_length), "hello");
        assert_true(service_count_header(&bed, "Content-Encoding") > 0);
        client_release(&client);
        testbed_stop(&bed);
    }
}

static void a_part_of_a_compressed_body_is_refused(void **state)
{
    struct testbed bed;
    struct client client = { 0 };
    start(&bed, "");
    client_ask(&bed, &client, "PUT /a", "Content-Encoding: gzip\r\nContent-Range: bytes 0-4/9\r\n", "hello");
    testbed_run_until(&bed, &client.released);
    assert_refused(&client, 400, "a part of");
    client_release(&client);
    testbed_stop(&bed);
}

static void broken_bodies_are_refused(void **state)
{
    for (size_t i = 0; i < COUNT_OF(written) * 3; i++) {
        size_t which = i / 3, length;
        struct testbed bed;
        struct client client;
        char *packed = pack(written[which].coding, slice_of(plain, 1000), &length);
        static const char *const words[] = { "ends too early", "bytes follow the end", "damaged" };
        if (i % 3 == 0) length -= 3;
        if (i % 3 == 1) packed[length++] = 'x', memcpy(packed + length, "yzxyz", 5), length += 5;
        if (i % 3 == 2) memset(packed, 0xff, 20);
        start(&bed, "");
        send_body(&bed, &client, written[which].field, slice_of(packed, length), 60000);
        assert_refused(&client, 400, words[i % 3]);
        assert_true(bed.service.request_body_aborted);
        client_release(&client);
        testbed_stop(&bed);
        free(packed);
    }
}

/* A thousand times its size: neither memory nor the service gets to see it. */
static void bombs_are_defused(void **state)
{
    char *zeros = memory_allocate(8 << 20);
    for (size_t i = 0; i < COUNT_OF(written) * 2; i++) {
        size_t which = i / 2, length;
        struct testbed bed;
        struct client client;
        char *packed = pack(written[which].coding, slice_of(zeros, 8 << 20), &length);
        start(&bed, i % 2 ? "" : "maxRatio: 100000, maxBytes: 1MiB");
        send_body(&bed, &client, written[which].field, slice_of(packed, length), 60000);
        assert_refused(&client, 413, i % 2 ? "grows too much" : "too large once unpacked");
        assert_true(bed.service.request_body_length <= (1 << 20));
        client_release(&client);
        testbed_stop(&bed);
        free(packed);
    }
    free(zeros);
}

static void a_body_of_just_the_size_passes(void **state)
{
    for (size_t more = 0; more < 2; more++) {
        struct testbed bed;
        struct client client;
        size_t length;
        char *packed = pack(CODING_GZIP, slice_of(plain, 1024 + more), &length);
        start(&bed, "maxBytes: 1KiB");
        send_body(&bed, &client, written[0].field, slice_of(packed, length), 60000);
        assert_int_equal(client.status, more ? 413 : 200);
        client_release(&client);
        testbed_stop(&bed);
        free(packed);
    }
}

/* Spaces, a few kilobytes of them, are a thousand times as large as they came and harm nobody. */
static void what_is_small_may_grow_much(void **state)
{
    struct testbed bed;
    struct client client;
    char *zeros = memory_allocate(65536);
    size_t length;
    char *packed = pack(CODING_GZIP, slice_of(zeros, 65536), &length);
    start(&bed, "maxRatio: 2");
    send_body(&bed, &client, written[0].field, slice_of(packed, length), 60000);
    assert_int_equal(client.status, 200);
    client_release(&client);
    testbed_stop(&bed);
    free(packed), free(zeros);
}

static void a_client_that_leaves_takes_nothing_along(void **state)
{
    for (size_t i = 0; i < COUNT_OF(written); i++) {
        struct testbed bed;
        struct client client = { 0 };
        size_t length;
        char *packed = pack(written[i].coding, slice_of(plain, PLAIN_BYTES), &length);
        start(&bed, "");
        client_begin(&bed, &client, "POST /a", written[i].field);
        client_push(&client, packed, length / 2);
        testbed_run(&bed);
        client_leave(&client);
        testbed_run_until(&bed, &client.released);
        client_release(&client);
        testbed_stop(&bed);
        free(packed);
    }
}

/* The service doesn't take it: no more than the windows is unpacked. */
static void a_slow_service_holds_the_client_back(void **state)
{
    struct testbed bed;
    struct client client = { 0 };
    char *zeros = memory_allocate(8 << 20);
    size_t length;
    char *packed = pack(CODING_ZSTD, slice_of(zeros, 8 << 20), &length);
    start(&bed, "maxRatio: 100000");
    bed.service.ignores_body = true;
    bed.service.status = 0;
    client_begin(&bed, &client, "POST /a", written[2].field);
    client_push(&client, packed, length);
    client_finish(&client);
    for (int i = 0; i < 100; i++) testbed_run(&bed);
    assert_true(bed.slabs.taken_bytes < 3 * BODY_PIPE_WINDOW_BYTES);
    client_leave(&client);
    testbed_run_until(&bed, &client.released);
    client_release(&client);
    testbed_stop(&bed);
    free(packed), free(zeros);
}

static void memory_that_is_short_is_503(void **state)
{
    struct testbed bed;
    struct client client = { 0 };
    struct memory_ceiling ceiling = { .bytes_max = 20 << 10 };
    start(&bed, "");
    bed.slabs.ceiling = &ceiling;
    client_ask(&bed, &client, "POST /a", "Content-Encoding: gzip\r\n", "hello");
    testbed_run_until(&bed, &client.released);
    assert_int_equal(client.status, 503);
    client_release(&client);
    assert_int_equal(memory_ceiling_in_use(&ceiling), 0);
    bed.slabs.ceiling = NULL;
    slab_pool_release(&bed.slabs);
    testbed_stop(&bed);
}

/* The frame of a stranger who declares 8 MiB and sends a hundred bytes of a block. */
static void a_declared_window_counts_as_it_fills(void **state)
{
    static const char head[] = "\x28\xb5\x2f\xfd\x00\x68\x00\x35\x0c";
    struct testbed bed;
    struct client client = { 0 };
    struct memory_ceiling ceiling = { .bytes_max = 16 << 20 };
    start(&bed, "");
    bed.slabs.ceiling = &ceiling;
    client_begin(&bed, &client, "POST /a", written[2].field);
    client_push(&client, head, sizeof head - 1);
    client_push(&client, plain, 100);
    testbed_run(&bed);
    assert_in_range(memory_ceiling_in_use(&ceiling), 1, 1 << 20);
    client_leave(&client);
    testbed_run_until(&bed, &client.released);
    client_release(&client);
    assert_int_equal(memory_ceiling_in_use(&ceiling), 0);
    bed.slabs.ceiling = NULL;
    slab_pool_release(&bed.slabs);
    testbed_stop(&bed);
}

/* The other half is for requests that need no unpacking. */
static void beyond_half_of_the_memory_nothing_is_unpacked(void **state)
{
    for (size_t i = 0; i < COUNT_OF(written); i++) {
        struct testbed bed;
        struct client client;
        struct memory_ceiling ceiling = { .bytes_max = 64 << 20, .taken = 33 << 20 };
        size_t length;
        char *packed = pack(written[i].coding, slice_of(plain, PLAIN_BYTES), &length);
        start(&bed, "");
        bed.slabs.ceiling = &ceiling;
        send_body(&bed, &client, written[i].field, slice_of(packed, length), 60000);
        assert_refused(&client, 503, "memory");
        client_release(&client);
        assert_int_equal(memory_ceiling_in_use(&ceiling), 33 << 20);
        bed.slabs.ceiling = NULL;
        slab_pool_release(&bed.slabs);
        testbed_stop(&bed);
        free(packed);
    }
}

static void mistakes_are_told_at_load(void **state)
{
    testbed_refuses_filter("{ type: decompression, codings: [gzip, lzma] }", "codings");
    testbed_refuses_filter("{ type: decompression, maxRatio: 0 }", "maxRatio");
    testbed_refuses_filter("{ type: decompression, maxBytes: 0 }", "maxBytes");
    testbed_refuses_filter("{ type: decompression, otherCodings: ignore }", "otherCodings");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_service_gets_it_plain),
        cmocka_unit_test(empty_members_of_the_list_are_no_codings),
        cmocka_unit_test(what_is_plain_passes),
        cmocka_unit_test(without_a_body_there_is_nothing_to_unpack),
        cmocka_unit_test(other_codings_are_refused_or_pass),
        cmocka_unit_test(a_part_of_a_compressed_body_is_refused),
        cmocka_unit_test(broken_bodies_are_refused),
        cmocka_unit_test(bombs_are_defused),
        cmocka_unit_test(a_body_of_just_the_size_passes),
        cmocka_unit_test(what_is_small_may_grow_much),
        cmocka_unit_test(a_client_that_leaves_takes_nothing_along),
        cmocka_unit_test(a_slow_service_holds_the_client_back),
        cmocka_unit_test(memory_that_is_short_is_503),
        cmocka_unit_test(a_declared_window_counts_as_it_fills),
        cmocka_unit_test(beyond_half_of_the_memory_nothing_is_unpacked),
        cmocka_unit_test(mistakes_are_told_at_load),
    };
    return cmocka_run_group_tests(tests, make_plain, NULL);
}
