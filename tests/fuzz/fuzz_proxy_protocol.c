/* A PROXY header is read the same however many bytes have come, never beyond its end, and what is written of it is read
 * back as the same addresses. */
#include "h1_fuzzing.h"
#include "http/proxy_protocol.h"

/* Of a copy of exactly that length, so that a sanitizer sees a read behind it. */
static enum proxy_protocol_result parse_copy(const char *bytes, size_t length, struct proxy_protocol_header *header,
                                             struct error *error)
{
    char *copy = calloc(1, length ? length : 1);
    PROMISE(copy != NULL);
    memcpy(copy, bytes, length);
    enum proxy_protocol_result result = proxy_protocol_parse(copy, length, header, error);
    PROMISE(result != PROXY_PROTOCOL_NEED_MORE || length < PROXY_PROTOCOL_BYTES_MAX);
    PROMISE(result != PROXY_PROTOCOL_COMPLETE || (header->length > 0 && header->length <= length));
    PROMISE(result != PROXY_PROTOCOL_BAD || error->blame == BLAME_CLIENT);
    free(copy);
    return result;
}

/* More bytes turn NEED_MORE into anything, and change nothing else. */
static void require_one_reading(const char *bytes, size_t length, enum proxy_protocol_result whole,
                                const struct proxy_protocol_header *header, const struct error *error)
{
    for (size_t part = 0; part < length; part += part < 300 ? 1 : 97) {
        struct proxy_protocol_header early = { 0 };
        struct error early_error;
        enum proxy_protocol_result result = parse_copy(bytes, part, &early, &early_error);
        if (whole == PROXY_PROTOCOL_COMPLETE)
            PROMISE(result == (part < header->length ? PROXY_PROTOCOL_NEED_MORE : PROXY_PROTOCOL_COMPLETE));
        if (result == PROXY_PROTOCOL_COMPLETE) PROMISE(early.length == header->length);
        if (result == PROXY_PROTOCOL_BAD)
            PROMISE(whole == PROXY_PROTOCOL_BAD && strcmp(early_error.text, error->text) == 0);
    }
}

static void require_read_back(const char *written, size_t length, const struct proxy_protocol_header *header,
                              uint8_t version)
{
    struct proxy_protocol_header again = { 0 };
    struct error error;
    PROMISE(length <= PROXY_PROTOCOL_WRITTEN_BYTES_MAX);
    PROMISE(parse_copy(written, length, &again, &error) == PROXY_PROTOCOL_COMPLETE);
    PROMISE(again.length == length && again.version == version);
    PROMISE(again.local == (version == 2 && header->source.any.sa_family == AF_UNSPEC));
    PROMISE(address_equal(&again.source, &header->source));
    PROMISE(address_equal(&again.destination, &header->destination));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    struct proxy_protocol_header header = { 0 };
    struct error error;
    enum proxy_protocol_result result = parse_copy((const char *)bytes, length, &header, &error);
    require_one_reading((const char *)bytes, length, result, &header, &error);
    if (result == PROXY_PROTOCOL_COMPLETE) {
        char into[PROXY_PROTOCOL_WRITTEN_BYTES_MAX];
        size_t written = proxy_protocol_write_v1(&header.source, &header.destination, into);
        require_read_back(into, written, &header, 1);
        written = proxy_protocol_write_v2(&header.source, &header.destination, into);
        require_read_back(into, written, &header, 2);
    }
    return 0;
}
