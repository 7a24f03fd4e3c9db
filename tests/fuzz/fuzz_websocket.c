/* A WebSocket's frames are followed to the same ends, and its close frame read the same, wherever the bytes are cut; as a plain reading of
 * RFC 6455 5.2, which has all of them at once, finds them.
 *
 * The input's first byte is the size of a piece, the rest is what one side sends. */
#include "h1_fuzzing.h"
#include "http/websocket.h"

struct plain {
    size_t at; /* the end of the last whole frame */
    bool close_seen;
    uint16_t close_code;
};

static uint64_t read_number(const uint8_t *at, unsigned length)
{
    uint64_t number = 0;
    for (unsigned i = 0; i < length; i++) number = number << 8 | at[i];
    return number;
}

static void note_close(struct plain *plain, const uint8_t *payload, uint64_t length, const uint8_t *mask)
{
    if (plain->close_seen) return;
    plain->close_seen = true;
    plain->close_code = WEBSOCKET_NO_CODE;
    if (length < 2) return;
    uint8_t high = payload[0] ^ (mask ? mask[0] : 0), low = payload[1] ^ (mask ? mask[1] : 0);
    plain->close_code = (uint16_t)(high << 8 | low);
}

/* False: the frame at plain->at isn't whole. */
static bool read_frame(struct plain *plain, const uint8_t *bytes, size_t length)
{
    const uint8_t *frame = bytes + plain->at;
    size_t left = length - plain->at;
    if (left < 2) return false;
    unsigned extension = (frame[1] & 0x7f) == 127 ? 8 : (frame[1] & 0x7f) == 126 ? 2 : 0;
    unsigned mask_length = frame[1] & 0x80 ? 4 : 0, head = 2 + extension + mask_length;
    if (left < head) return false;
    uint64_t payload = extension ? read_number(frame + 2, extension) : frame[1] & 0x7fu;
    if (payload > left - head) return false;
    if ((frame[0] & 0xf) == 8) note_close(plain, frame + head, payload, mask_length ? frame + head - 4 : NULL);
    plain->at += head + (size_t)payload;
    return true;
}

static void follow(struct websocket_follower *follower, const char *bytes, size_t length, size_t piece, size_t *ended)
{
    for (size_t at = 0; at < length; at += piece) {
        size_t size = length - at < piece ? length - at : piece, done = 0;
        char *copy = fuzz_copy(bytes + at, size);
        while (done < size) {
            size_t taken = websocket_follow(follower, copy + done, size - done);
            PROMISE(taken > 0 && taken <= size - done);
            done += taken;
            if (websocket_is_between_frames(follower)) *ended = at + done;
        }
        free(copy);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    if (length == 0) return 0;
    const char *sent = (const char *)bytes + 1;
    struct plain plain = { 0 };
    while (plain.at < length - 1 && read_frame(&plain, bytes + 1, length - 1)) {}
    size_t pieces[] = { length, bytes[0] % 32u + 1 };
    for (size_t i = 0; i < COUNT_OF(pieces); i++) {
        struct websocket_follower follower = { 0 };
        size_t ended = 0;
        follow(&follower, sent, length - 1, pieces[i], &ended);
        PROMISE(ended == plain.at);
        PROMISE(follower.close_seen == plain.close_seen);
        if (plain.close_seen) PROMISE(follower.close_code == plain.close_code);
    }
    return 0;
}
