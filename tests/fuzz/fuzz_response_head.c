/* A response head says the same however it arrives, and what is written from it reads back as what was read.
 *
 * The input's first byte chooses the request's method, the rest is the head. */
#include "h1_fuzzing.h"

struct reading {
    struct arena arena;
    struct h1_parser parser;
    struct response_head head;
    struct error error;
    char *bytes;
    enum h1_result result;
};

static void begin(struct reading *reading)
{
    *reading = (struct reading){ .result = H1_MORE };
    arena_init(&reading->arena, NULL);
    h1_parser_init(&reading->parser);
    response_head_init(&reading->head, &reading->arena);
}

static void end(struct reading *reading)
{
    arena_release(&reading->arena);
    free(reading->bytes);
}

static void step(struct reading *reading, size_t length, enum method method)
{
    reading->result = h1_parse_response(&reading->parser, reading->bytes, length, &fuzz_limits, method, &reading->head,
                                        &reading->error);
}

static void read_at_once(struct reading *reading, const char *bytes, size_t length, enum method method)
{
    begin(reading);
    reading->bytes = fuzz_copy(bytes, length);
    step(reading, length, method);
}

/* In pieces of growing size, each in a new buffer. */
static void read_in_pieces(struct reading *reading, const char *bytes, size_t length, enum method method)
{
    begin(reading);
    size_t read = 0, piece = 1;
    while (read < length && reading->result == H1_MORE) {
        size_t next = read + piece < length ? read + piece : length;
        char *moved = fuzz_copy(bytes, next);
        if (reading->bytes) h1_response_rebase(&reading->head, reading->bytes, read, moved);
        free(reading->bytes);
        reading->bytes = moved;
        read = next;
        piece = piece % 7 + 1;
        step(reading, read, method);
    }
}

static void require_round_trip(const struct response_head *head, enum method method)
{
    struct error error;
    char *text = malloc(h1_response_head_size(head));
    PROMISE(text != NULL);
    enum h1_framing framing = head->body_length != BODY_LENGTH_UNKNOWN && head->status >= 200 && head->status != 204
                                  ? H1_FRAMING_LENGTH
                              : head->has_body ? H1_FRAMING_CHUNKED
                                               : H1_FRAMING_NONE;
    char *text_end = h1_write_response_head(head, framing, true, HTTP_1_1, false, SLICE("now"), text, &error);
    PROMISE(text_end != NULL);
    size_t length = (size_t)(text_end - text);
    PROMISE(length <= h1_response_head_size(head));

    struct reading again;
    struct h1_limits limits = { UINT16_MAX, UINT16_MAX, UINT16_MAX, false };
    begin(&again);
    again.bytes = text;
    again.result = h1_parse_response(&again.parser, text, length, &limits, method, &again.head, &again.error);
    PROMISE(again.result == H1_COMPLETE && again.parser.head_length == length);
    PROMISE(again.head.status == head->status);
    PROMISE(again.head.has_body == head->has_body && again.head.body_length == head->body_length);
    end(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    if (length == 0) return 0;
    enum method method = bytes[0] % METHOD_COUNT;
    const char *text = (const char *)bytes + 1;
    struct reading at_once, in_pieces;
    read_at_once(&at_once, text, length - 1, method);
    read_in_pieces(&in_pieces, text, length - 1, method);
    PROMISE(at_once.result == in_pieces.result);
    if (at_once.result == H1_BAD) fuzz_require_equal_errors(&at_once.error, &in_pieces.error);
    if (at_once.result == H1_COMPLETE) {
        fuzz_require_equal_responses(&at_once.head, &in_pieces.head);
        fuzz_require_equal_parsers(&at_once.parser, &in_pieces.parser);
        require_round_trip(&at_once.head, method);
    }
    end(&at_once);
    end(&in_pieces);
    return 0;
}
