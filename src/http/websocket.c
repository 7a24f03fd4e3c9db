#include "http/websocket.h"

#include <openssl/evp.h>

#define KEY_BYTES WEBSOCKET_KEY_BYTES
#define OPCODE_CLOSE 0x8
#define IS_MASKED 0x80

/* --- the handshake --- */

bool websocket_is_asked_for(const struct request_head *request)
{
    return request->wants_upgrade && request->method == METHOD_GET &&
           headers_list_has(&request->headers, HEADER_UPGRADE, SLICE("websocket"));
}

static bool is_base64(char byte)
{
    return (byte >= 'A' && byte <= 'Z') || (byte >= 'a' && byte <= 'z') || (byte >= '0' && byte <= '9') ||
           byte == '+' || byte == '/';
}

bool websocket_key_is_valid(struct slice key)
{
    if (key.length != KEY_BYTES || key.at[KEY_BYTES - 1] != '=' || key.at[KEY_BYTES - 2] != '=') return false;
    for (size_t i = 0; i < KEY_BYTES - 2; i++) {
        if (!is_base64(key.at[i])) return false;
    }
    return true;
}

void websocket_write_key(const uint8_t random[16], char into[WEBSOCKET_KEY_BYTES])
{
    unsigned char base64[WEBSOCKET_KEY_BYTES + 1];
    EVP_EncodeBlock(base64, random, 16);
    memcpy(into, base64, WEBSOCKET_KEY_BYTES);
}

void websocket_write_accept(struct slice key, char into[WEBSOCKET_ACCEPT_BYTES])
{
    static const char suffix[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"; /* RFC 6455 1.3 */
    char text[KEY_BYTES + sizeof suffix - 1];
    unsigned char digest[EVP_MAX_MD_SIZE], base64[WEBSOCKET_ACCEPT_BYTES + 1];
    PROMISE(key.length == KEY_BYTES);
    memcpy(mempcpy(text, key.at, KEY_BYTES), suffix, sizeof suffix - 1);
    unsigned length;
    PROMISE(EVP_Digest(text, sizeof text, digest, &length, EVP_sha1(), NULL) == 1);
    EVP_EncodeBlock(base64, digest, (int)length);
    memcpy(into, base64, WEBSOCKET_ACCEPT_BYTES);
}

bool websocket_accept_is_right(struct slice key, struct slice accept)
{
    char right[WEBSOCKET_ACCEPT_BYTES];
    websocket_write_accept(key, right);
    return slice_equal(accept, slice_of(right, sizeof right));
}

/* --- frames --- */

static unsigned opcode_of(const struct websocket_follower *follower) { return follower->header[0] & 0xf; }

static uint8_t header_length_wanted(const struct websocket_follower *follower)
{
    unsigned length = follower->header[1] & 0x7f;
    unsigned extension = length == 127 ? 8 : length == 126 ? 2 : 0;
    return (uint8_t)(2 + extension + (follower->header[1] & IS_MASKED ? 4 : 0));
}

static uint64_t payload_length(const struct websocket_follower *follower)
{
    uint64_t length = follower->header[1] & 0x7f;
    if (length < 126) return length;
    unsigned end = length == 126 ? 4 : 10;
    length = 0;
    for (unsigned i = 2; i < end; i++) length = length << 8 | follower->header[i];
    return length;
}

static void note_close(struct websocket_follower *follower)
{
    if (follower->close_seen) return;
    follower->close_seen = true;
    follower->close_code = WEBSOCKET_NO_CODE;
    if (follower->code_bytes < 2) return;
    const uint8_t *mask = follower->header + follower->header_length - 4;
    bool is_masked = follower->header[1] & IS_MASKED;
    unsigned high = follower->code[0] ^ (is_masked ? mask[0] : 0), low = follower->code[1] ^ (is_masked ? mask[1] : 0);
    follower->close_code = (uint16_t)(high << 8 | low);
}

static void end_frame(struct websocket_follower *follower)
{
    if (opcode_of(follower) == OPCODE_CLOSE) note_close(follower);
    follower->header_length = 0;
}

/* Returns how many bytes that took; the header is whole when as many are there as it wants. */
static size_t collect_header(struct websocket_follower *follower, const char *bytes, size_t length)
{
    size_t taken = 0;
    if (follower->header_length == 0) follower->header_wanted = 2;
    while (taken < length && follower->header_length < follower->header_wanted) {
        follower->header[follower->header_length++] = (uint8_t)bytes[taken++];
        if (follower->header_length == 2) follower->header_wanted = header_length_wanted(follower);
    }
    if (follower->header_length < follower->header_wanted) return taken;
    follower->payload_left = payload_length(follower);
    follower->code_bytes = 0;
    if (follower->payload_left == 0) end_frame(follower);
    return taken;
}

static bool is_in_payload(const struct websocket_follower *follower)
{
    return follower->header_length > 0 && follower->header_length == follower->header_wanted;
}

static size_t pass_payload(struct websocket_follower *follower, const char *bytes, size_t length)
{
    size_t run = length < follower->payload_left ? length : (size_t)follower->payload_left;
    if (UNLIKELY(opcode_of(follower) == OPCODE_CLOSE)) {
        for (size_t i = 0; i < run && follower->code_bytes < 2; i++)
            follower->code[follower->code_bytes++] = (uint8_t)bytes[i];
    }
    follower->payload_left -= run;
    if (follower->payload_left == 0) end_frame(follower);
    return run;
}

size_t websocket_follow(struct websocket_follower *follower, const char *bytes, size_t length)
{
    size_t taken = is_in_payload(follower) ? 0 : collect_header(follower, bytes, length);
    if (is_in_payload(follower)) taken += pass_payload(follower, bytes + taken, length - taken);
    return taken;
}

size_t websocket_write_close(uint16_t code, const uint8_t mask[4], char into[WEBSOCKET_CLOSE_FRAME_BYTES_MAX])
{
    char *at = into;
    *at++ = (char)(0x80 | OPCODE_CLOSE);
    *at++ = (char)(2 | (mask ? IS_MASKED : 0));
    if (mask) at = mempcpy(at, mask, 4);
    *at++ = (char)(code >> 8 ^ (mask ? mask[0] : 0));
    *at++ = (char)((code & 0xff) ^ (mask ? mask[1] : 0));
    return (size_t)(at - into);
}
