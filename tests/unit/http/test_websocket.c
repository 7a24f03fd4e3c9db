/* The handshake's fields and the follower of frames, by RFC 6455. */
#include "unit_test.h"

#include "http/websocket.h"

#include <stdlib.h>

#define KEY SLICE("dGhlIHNhbXBsZSBub25jZQ==") /* and its answer: RFC 6455 1.3 */
#define ACCEPT SLICE("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")

static void the_rfcs_key_has_the_rfcs_answer(void **state)
{
    char accept[WEBSOCKET_ACCEPT_BYTES];
    websocket_write_accept(KEY, accept);
    assert_memory_equal(accept, ACCEPT.at, sizeof accept);
    assert_true(websocket_accept_is_right(KEY, ACCEPT));
}

static void any_other_answer_is_wrong(void **state)
{
    char changed[WEBSOCKET_ACCEPT_BYTES];
    for (size_t i = 0; i < sizeof changed; i++) {
        memcpy(changed, ACCEPT.at, sizeof changed);
        changed[i] ^= 1;
        assert_false(websocket_accept_is_right(KEY, slice_of(changed, sizeof changed)));
    }
    assert_false(websocket_accept_is_right(KEY, SLICE("")));
    assert_false(websocket_accept_is_right(KEY, SLICE_ABSENT));
    assert_false(websocket_accept_is_right(KEY, slice_before(ACCEPT, 27)));
    assert_false(websocket_accept_is_right(KEY, SLICE("S3PPLMBITXAQ9KYGZZHZRBK+XOO="))); /* base64 has case */
}

static void a_key_is_sixteen_bytes_in_base64(void **state)
{
    static const struct slice bad[] = {
        SLICE(""),
        SLICE("dGhlIHNhbXBsZSBub25jZQ="),
        SLICE("dGhlIHNhbXBsZSBub25jZQ==="),
        SLICE("dGhlIHNhbXBsZSBub25jZQAA"),
        SLICE("dGhlIHNhbXBsZSBub25jZ==="),
        SLICE("dGhlIHNhbXBsZSBub25jZ-=="),
        SLICE("dGhlIHNhbXBsZSBub25j Q=="),
        SLICE("dGhlIHNhbXBsZS\0ub25jZQ=="),
        SLICE("dGhlIHNhbXBsZSBub25jZQ==, dGhlIHNhbXBsZSBub25jZQ=="),
    };
    assert_true(websocket_key_is_valid(KEY));
    assert_true(websocket_key_is_valid(SLICE("AAAAAAAAAAAAAAAAAAAAAA==")));
    assert_true(websocket_key_is_valid(SLICE("+/+/+/+/+/+/+/+/+/+/+w==")));
    assert_false(websocket_key_is_valid(SLICE_ABSENT));
    for (size_t i = 0; i < COUNT_OF(bad); i++) assert_false(websocket_key_is_valid(bad[i]));
}

/* --- frames --- */

struct frames {
    char bytes[400 * 1024];
    size_t length;
    size_t ends[64]; /* where each frame ends */
    size_t count;
};

static struct frames frames;

static void put_frame(unsigned first_byte, bool masked, uint64_t length, const char *payload)
{
    uint8_t *at = (uint8_t *)frames.bytes + frames.length;
    const uint8_t mask[4] = { 0x37, 0xfa, 0x21, 0x3d };
    uint8_t mask_bit = masked ? 0x80 : 0;
    *at++ = (uint8_t)first_byte;
    if (length < 126) {
        *at++ = (uint8_t)(mask_bit | length);
    } else if (length < 65536) {
        *at++ = mask_bit | 126;
        for (int shift = 8; shift >= 0; shift -= 8) *at++ = (uint8_t)(length >> shift);
    } else {
        *at++ = mask_bit | 127;
        for (int shift = 56; shift >= 0; shift -= 8) *at++ = (uint8_t)(length >> shift);
    }
    if (masked) at = mempcpy(at, mask, sizeof mask);
    for (uint64_t i = 0; i < length; i++) {
        uint8_t byte = payload ? (uint8_t)payload[i] : (uint8_t)i;
        *at++ = masked ? byte ^ mask[i % 4] : byte;
    }
    frames.length = (size_t)(at - (uint8_t *)frames.bytes);
    frames.ends[frames.count++] = frames.length;
}

/* Control frames between fragments, empty ones, each kind of length, opcodes and bits that nobody has defined, and a close. */
static void put_conversation(bool masked)
{
    frames.length = frames.count = 0;
    put_frame(0x81, masked, 5, "hello");
    put_frame(0x01, masked, 3, "fra");
    put_frame(0x89, masked, 4, "ping");
    put_frame(0x00, masked, 0, NULL);
    put_frame(0x8a, masked, 0, NULL);
    put_frame(0x80, masked, 125, NULL);
    put_frame(0x82, masked, 126, NULL);
    put_frame(0xc2, masked, 65535, NULL);
    put_frame(0xff, masked, 65536, NULL);
    put_frame(0x8b, masked, 127, NULL);
    put_frame(0x88, masked, 12, "\x03\xe8 goodbye..");
}

/* In pieces of `size`; checks each boundary on the way. */
static void follow_in_pieces(struct websocket_follower *follower, size_t size)
{
    size_t at = 0, frame = 0;
    while (at < frames.length) {
        size_t piece = frames.length - at < size ? frames.length - at : size, end = at + piece;
        while (at < end) {
            size_t taken = websocket_follow(follower, frames.bytes + at, end - at);
            assert_true(taken > 0 && taken <= end - at);
            at += taken;
            bool is_end = at == frames.ends[frame];
            assert_int_equal(websocket_is_between_frames(follower), is_end);
            assert_true(is_end || at == end); /* it stops at ends of frames only */
            frame += is_end;
        }
    }
    assert_int_equal(frame, frames.count);
}

static void frames_are_followed_however_they_are_cut(void **state)
{
    static const size_t sizes[] = { 1, 2, 3, 5, 7, 13, 14, 15, 127, 4096, 65535, SIZE_MAX };
    for (int masked = 0; masked < 2; masked++) {
        put_conversation(masked);
        for (size_t i = 0; i < COUNT_OF(sizes); i++) {
            struct websocket_follower follower = { 0 };
            follow_in_pieces(&follower, sizes[i]);
            assert_true(follower.close_seen);
            assert_int_equal(follower.close_code, 1000);
        }
    }
}

/* Two pieces, at every byte of a close and the frames around it. */
static void a_close_frame_is_read_wherever_it_is_cut(void **state)
{
    for (int masked = 0; masked < 2; masked++) {
        frames.length = frames.count = 0;
        put_frame(0x81, masked, 126, NULL);
        put_frame(0x88, masked, 2, "\x0f\xa1");
        put_frame(0x88, masked, 2, "\x03\xe8"); /* what comes after the first close says nothing any more */
        for (size_t cut = 0; cut <= frames.length; cut++) {
            struct websocket_follower follower = { 0 };
            size_t bounds[] = { 0, cut, frames.length };
            for (int i = 0; i < 2; i++) {
                for (size_t at = bounds[i]; at < bounds[i + 1];)
                    at += websocket_follow(&follower, frames.bytes + at, bounds[i + 1] - at);
                if (i == 0) assert_int_equal(follower.close_seen, cut >= frames.ends[1]);
            }
            assert_int_equal(follower.close_code, 4001);
        }
    }
}

static void a_close_frame_may_say_nothing(void **state)
{
    static const uint64_t lengths[] = { 0, 1 };
    for (size_t i = 0; i < COUNT_OF(lengths); i++) {
        struct websocket_follower follower = { 0 };
        frames.length = frames.count = 0;
        put_frame(0x88, true, lengths[i], "\x03");
        follow_in_pieces(&follower, SIZE_MAX);
        assert_true(follower.close_seen);
        assert_int_equal(follower.close_code, WEBSOCKET_NO_CODE);
    }
}

/* RFC 6455 5.2 wants the highest bit 0. Whoever sets it has a frame that never ends, and nothing else happens. */
static void an_impossible_length_only_means_that_the_frame_goes_on(void **state)
{
    static const char header[] = "\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xff";
    struct websocket_follower follower = { 0 };
    char payload[1000] = { 0 };
    assert_int_equal(websocket_follow(&follower, header, 10), 10);
    for (int i = 0; i < 100; i++)
        assert_int_equal(websocket_follow(&follower, payload, sizeof payload), sizeof payload);
    assert_false(websocket_is_between_frames(&follower));
    assert_false(follower.close_seen);
}

static void a_close_frame_written_is_a_close_frame_read(void **state)
{
    const uint8_t mask[4] = { 0x80, 0x01, 0xff, 0x7e };
    for (int masked = 0; masked < 2; masked++) {
        struct websocket_follower follower = { 0 };
        char frame[WEBSOCKET_CLOSE_FRAME_BYTES_MAX];
        size_t length = websocket_write_close(WEBSOCKET_GOING_AWAY, masked ? mask : NULL, frame);
        assert_int_equal(length, masked ? 8 : 4);
        assert_int_equal((uint8_t)frame[1] >> 7, masked);
        assert_int_equal(websocket_follow(&follower, frame, length), length);
        assert_true(follower.close_seen && websocket_is_between_frames(&follower));
        assert_int_equal(follower.close_code, 1001);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_rfcs_key_has_the_rfcs_answer),
        cmocka_unit_test(any_other_answer_is_wrong),
        cmocka_unit_test(a_key_is_sixteen_bytes_in_base64),
        cmocka_unit_test(frames_are_followed_however_they_are_cut),
        cmocka_unit_test(a_close_frame_is_read_wherever_it_is_cut),
        cmocka_unit_test(a_close_frame_may_say_nothing),
        cmocka_unit_test(an_impossible_length_only_means_that_the_frame_goes_on),
        cmocka_unit_test(a_close_frame_written_is_a_close_frame_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
