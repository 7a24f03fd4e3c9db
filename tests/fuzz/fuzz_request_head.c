/* A request head says the same however it arrives, and what is written from it reads back as what was read. */
#include "h1_fuzzing.h"

struct reading {
    struct arena arena;
    struct h1_parser parser;
    struct request_head head;
    struct error error;
    char *bytes;
    enum h1_result result;
};

static void begin(struct reading *reading)
{
    *reading = (struct reading){ .result = H1_MORE };
    arena_init(&reading->arena, NULL);
    h1_parser_init(&reading->parser);
    request_head_init(&reading->head, &reading->arena);
}

static void end(struct reading *reading)
{
    arena_release(&reading->arena);
    free(reading->bytes);
}

static void step(struct reading *reading, size_t length)
{
    reading->result = h1_parse_request(&reading->parser, reading->bytes, length, &fuzz_limits, &reading->head,
                                       &reading->error);
}

static void read_at_once(struct reading *reading, const char *bytes, size_t length)
{
    begin(reading);
    reading->bytes = fuzz_copy(bytes, length);
    step(reading, length);
}

/* In pieces of growing size, each in a new buffer. */
static void read_in_pieces(struct reading *reading, const char *bytes, size_t length)
{
    begin(reading);
    size_t read = 0, piece = 1;
    while (read < length && reading->result == H1_MORE) {
        size_t next = read + piece < length ? read + piece : length;
        char *moved = fuzz_copy(bytes, next);
        if (reading->bytes) h1_request_rebase(&reading->head, reading->bytes, read, moved);
        free(reading->bytes);
        reading->bytes = moved;
        read = next;
        piece = piece % 7 + 1;
        step(reading, read);
    }
}

static void require_round_trip(struct request_head *head)
{
    if (head->target.form == TARGET_ASTERISK || slice_is_absent(head->authority)) return;
    struct error error;
    struct slice target = head->target.path;
    /* As the proxy does: what is ignored in HTTP/1.0 must not come to life in HTTP/1.1 (RFC 9110 10.1.1). */
    if (!head->expects_continue) headers_remove_known(&head->headers, HEADER_EXPECT);
    char *text = malloc(h1_request_head_size(head, target));
    PROMISE(text != NULL);
    enum h1_framing framing = !head->has_body                            ? H1_FRAMING_NONE
                              : head->body_length == BODY_LENGTH_UNKNOWN ? H1_FRAMING_CHUNKED
                                                                         : H1_FRAMING_LENGTH;
    char *text_end = h1_write_request_head(head, target, framing, true, false, text, &error);
    PROMISE(text_end != NULL);
    size_t length = (size_t)(text_end - text);
    PROMISE(length <= h1_request_head_size(head, target));

    struct reading again;
    struct h1_limits limits = { UINT16_MAX, UINT16_MAX, UINT16_MAX, false };
    begin(&again);
    again.bytes = text;
    again.result = h1_parse_request(&again.parser, text, length, &limits, &again.head, &again.error);
    PROMISE(again.result == H1_COMPLETE && again.parser.head_length == length);
    PROMISE(slice_equal(again.head.target.path, head->target.path));
    PROMISE(slice_equal(again.head.host, head->host) && again.head.port == head->port);
    PROMISE(again.head.has_body == head->has_body && again.head.body_length == head->body_length);
    end(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    struct reading at_once, in_pieces;
    read_at_once(&at_once, (const char *)bytes, length);
    read_in_pieces(&in_pieces, (const char *)bytes, length);
    PROMISE(at_once.result == in_pieces.result);
    if (at_once.result == H1_BAD) fuzz_require_equal_errors(&at_once.error, &in_pieces.error);
    if (at_once.result == H1_COMPLETE) {
        fuzz_require_equal_requests(&at_once.head, &in_pieces.head);
        fuzz_require_equal_parsers(&at_once.parser, &in_pieces.parser);
        require_round_trip(&at_once.head);
    }
    end(&at_once);
    end(&in_pieces);
    return 0;
}
