/* Where nghttp2's sessions live: they work, rest and work again, and at rest they hold one page. */
#include "unit_test.h"

#include "http/h2_memory.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGES_LOOKED_AT 8
#define PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0"

static const nghttp2_nv fields[] = {
    { (uint8_t *)":status", (uint8_t *)"200", 7, 3, 0 },
    { (uint8_t *)"x-some-field", (uint8_t *)"some value", 12, 10, 0 },
};

struct session {
    struct h2_block *block;
    nghttp2_session *h2;
    unsigned asked, sent_heads;
};

static int head_came(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
    struct session *mine = user_data;
    if (frame->hd.type != NGHTTP2_HEADERS) return 0;
    mine->asked++;
    assert_int_equal(nghttp2_submit_response(session, frame->hd.stream_id, fields, COUNT_OF(fields), NULL), 0);
    return 0;
}

static int head_went(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
    struct session *mine = user_data;
    mine->sent_heads += frame->hd.type == NGHTTP2_HEADERS;
    return 0;
}

static void flush(struct session *session)
{
    const uint8_t *bytes;
    ssize_t length;
    while ((length = nghttp2_session_mem_send(session->h2, &bytes)) > 0) {}
    assert_int_equal(length, 0);
}

static void begin(struct session *session, struct h2_memory *memory)
{
    nghttp2_session_callbacks *callbacks;
    nghttp2_option *options;
    *session = (struct session){ .block = h2_block_take(memory) };
    assert_non_null(session->block);
    assert_int_equal(nghttp2_session_callbacks_new(&callbacks), 0);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, head_came);
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, head_went);
    assert_int_equal(nghttp2_option_new(&options), 0);
    nghttp2_option_set_max_deflate_dynamic_table_size(options, 0);
    nghttp2_option_set_no_closed_streams(options, 1);
    assert_int_equal(
        nghttp2_session_server_new3(&session->h2, callbacks, session, options, h2_block_allocator(session->block)), 0);
    h2_block_settle(session->block);
    nghttp2_option_del(options);
    nghttp2_session_callbacks_del(callbacks);
    nghttp2_submit_settings(session->h2, 0, NULL, 0);
    assert_int_equal(nghttp2_session_mem_recv(session->h2, (const uint8_t *)PREFACE, 33), 33);
    flush(session);
}

static void end(struct session *session)
{
    nghttp2_session_del(session->h2);
    h2_block_give(session->block);
}

/* GET / with a field that goes into the decoder's table. */
static void ask(struct session *session, uint32_t stream)
{
    const char head[] = "\0\0\x11\1\5\0\0\0\0\x82\x86\x84\x41\1h\x40\5field\5value";
    uint8_t frame[sizeof head - 1];
    memcpy(frame, head, sizeof frame);
    frame[2] = (uint8_t)(sizeof frame - 9);
    frame[7] = (uint8_t)(stream >> 8);
    frame[8] = (uint8_t)stream;
    unsigned before = session->sent_heads;
    assert_int_equal(nghttp2_session_mem_recv(session->h2, frame, sizeof frame), sizeof frame);
    flush(session);
    assert_int_equal(session->sent_heads, before + 1);
}

static unsigned resident_pages(struct h2_block *block)
{
    unsigned char resident[PAGES_LOOKED_AT];
    unsigned count = 0;
    assert_int_equal(mincore(block, PAGES_LOOKED_AT * 4096, resident), 0);
    for (unsigned i = 0; i < PAGES_LOOKED_AT; i++) count += resident[i] & 1;
    return count;
}

static void a_session_works_rests_and_works_again(void **state)
{
    struct h2_memory *memory = h2_memory_create();
    struct session session;
    begin(&session, memory);
    for (uint32_t i = 0; i < 50; i++) {
        ask(&session, 2 * i + 1);
        if (i % 3 == 0) h2_block_rest(session.block);
    }
    assert_int_equal(session.asked, 50);
    end(&session);
    h2_memory_destroy(memory);
}

static void at_rest_it_holds_one_page(void **state)
{
    if (sysconf(_SC_PAGESIZE) != 4096) skip();
    struct h2_memory *memory = h2_memory_create();
    struct session session;
    begin(&session, memory);
    ask(&session, 1);
    assert_true(resident_pages(session.block) > 1);
    h2_block_rest(session.block);
    assert_int_equal(resident_pages(session.block), 1);
    end(&session);
    h2_memory_destroy(memory);
}

static void a_session_with_streams_keeps_its_table_at_rest(void **state)
{
    struct h2_memory *memory = h2_memory_create();
    struct session session;
    begin(&session, memory);
    /* HEADERS without END_STREAM: the stream stays open after its answer */
    static const uint8_t frame[] = { 0, 0, 6, 1, 4, 0, 0, 0, 1, 0x83, 0x86, 0x84, 0x41, 1, 'h' };
    assert_int_equal(nghttp2_session_mem_recv(session.h2, frame, sizeof frame), sizeof frame);
    flush(&session);
    h2_block_rest(session.block);
    assert_non_null(nghttp2_session_find_stream(session.h2, 1));
    end(&session);
    h2_memory_destroy(memory);
}

static void blocks_are_used_again(void **state)
{
    struct h2_memory *memory = h2_memory_create();
    static struct session sessions[200];
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < COUNT_OF(sessions); i++) begin(&sessions[i], memory);
        for (unsigned i = 0; i < COUNT_OF(sessions); i++) ask(&sessions[i], 1);
        for (unsigned i = 0; i < COUNT_OF(sessions); i++) end(&sessions[i]);
    }
    h2_memory_destroy(memory);
}

static void without_such_memory_there_are_no_blocks(void **state)
{
    assert_null(h2_block_take(NULL));
    h2_block_rest(NULL);
    h2_block_give(NULL);
    h2_memory_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_session_works_rests_and_works_again),          cmocka_unit_test(at_rest_it_holds_one_page),
        cmocka_unit_test(a_session_with_streams_keeps_its_table_at_rest), cmocka_unit_test(blocks_are_used_again),
        cmocka_unit_test(without_such_memory_there_are_no_blocks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
