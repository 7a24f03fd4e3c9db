/* Reads one head in every way the bytes may arrive, and insists that the way makes no difference. */
#ifndef SLUICE_TEST_HTTP_READING_H
#define SLUICE_TEST_HTTP_READING_H

#include "unit_test.h"

#include "http/h1.h"

#include <stdlib.h>

/* One row of a table: a sentence, the bytes, and the status they are refused with; 0: accepted. */
struct head_row {
    const char *sentence;
    struct slice bytes;
    unsigned status;
};

enum arrival {
    AT_ONCE,
    BYTE_BY_BYTE,        /* in a buffer that stays where it is */
    BYTE_BY_BYTE_MOVING, /* each byte comes with a new buffer, and the old one is gone */
    ARRIVAL_COUNT
};

static const struct h1_limits usual_limits = { 1000, 4000, 30, false };

/* What was read, response and request in one: the head that doesn't apply stays empty. */
struct reading {
    enum h1_result result;
    struct h1_parser parser;
    struct request_head request;
    struct response_head response;
    struct error error;
    struct arena arena;
    char *bytes;
};

struct reader {
    bool is_response;
    enum method method; /* of the request that a response answers */
    struct h1_limits limits;
};

static inline void reading_release(struct reading *reading)
{
    arena_release(&reading->arena);
    free(reading->bytes);
}

static inline enum h1_result reading_step(const struct reader *reader, struct reading *reading, size_t length)
{
    if (reader->is_response)
        return h1_parse_response(&reading->parser, reading->bytes, length, &reader->limits, reader->method,
                                 &reading->response, &reading->error);
    return h1_parse_request(&reading->parser, reading->bytes, length, &reader->limits, &reading->request,
                            &reading->error);
}

/* The buffer has exactly `length` bytes, so that a sanitizer sees a read behind them. */
static inline void reading_move(struct reading *reading, struct slice bytes, size_t length)
{
    char *moved = malloc(length ? length : 1);
    assert_non_null(moved);
    memcpy(moved, bytes.at, length);
    if (reading->bytes) {
        h1_request_rebase(&reading->request, reading->bytes, length - 1, moved);
        h1_response_rebase(&reading->response, reading->bytes, length - 1, moved);
        memset(reading->bytes, '!', length - 1);
        free(reading->bytes);
    }
    reading->bytes = moved;
}

static inline void read_head(const struct reader *reader, struct slice bytes, enum arrival arrival,
                             struct reading *reading)
{
    *reading = (struct reading){ .result = H1_MORE };
    arena_init(&reading->arena, NULL);
    request_head_init(&reading->request, &reading->arena);
    response_head_init(&reading->response, &reading->arena);
    h1_parser_init(&reading->parser);
    if (arrival != BYTE_BY_BYTE_MOVING) reading_move(reading, bytes, bytes.length);
    size_t length = arrival == AT_ONCE ? bytes.length : 1;
    for (; length <= bytes.length && reading->result == H1_MORE; length++) {
        if (arrival == BYTE_BY_BYTE_MOVING) reading_move(reading, bytes, length);
        reading->result = reading_step(reader, reading, length);
    }
}

/* All that a head says, in one text. Static; the next call but one overwrites it. */
static inline const char *reading_text(const struct reader *reader, const struct reading *reading)
{
    static char texts[2][16384];
    static unsigned turn;
    char *text = texts[turn++ % 2];
    int room = (int)sizeof texts[0], at = 0;
    const struct request_head *request = &reading->request;
    const struct headers *headers = reader->is_response ? &reading->response.headers : &request->headers;
    if (reading->result == H1_BAD)
        snprintf(text, (size_t)room, "refused %u %s", reading->error.status, reading->error.text);
    if (reading->result == H1_MORE) snprintf(text, (size_t)room, "unfinished");
    if (reading->result != H1_COMPLETE) return text;
    at += snprintf(text + at, (size_t)(room - at), "head %u bytes, keep %d, chunked %d\n", reading->parser.head_length,
                   reading->parser.keep_alive, reading->parser.chunked);
    if (reader->is_response)
        at += snprintf(text + at, (size_t)(room - at), "%u version %d body %d %llu\n", reading->response.status,
                       reading->response.version, reading->response.has_body,
                       (unsigned long long)reading->response.body_length);
    else
        at += snprintf(text + at, (size_t)(room - at),
                       "%d %.*s form %d path %.*s query %.*s authority %.*s host %.*s port %u version %d body %d %llu "
                       "continue %d upgrade %d\n",
                       request->method, SLICE_PRINT(request->method_text), request->target.form,
                       SLICE_PRINT(request->target.path), SLICE_PRINT(request->target.query),
                       SLICE_PRINT(request->authority), SLICE_PRINT(request->host), request->port, request->version,
                       request->has_body, (unsigned long long)request->body_length, request->expects_continue,
                       request->wants_upgrade);
    for (const struct header *item = headers_next(headers, NULL); item; item = headers_next(headers, item))
        at += snprintf(text + at, (size_t)(room - at), "%u [%.*s] [%.*s]\n", item->id, SLICE_PRINT(item->name),
                       SLICE_PRINT(item->value));
    assert_true(at < room);
    return text;
}

/* The reading at once, after all other ways have agreed with it. The caller releases it. */
static inline void read_head_every_way(const struct reader *reader, struct slice bytes, struct reading *at_once)
{
    read_head(reader, bytes, AT_ONCE, at_once);
    for (enum arrival arrival = AT_ONCE + 1; arrival < ARRIVAL_COUNT; arrival++) {
        struct reading other;
        read_head(reader, bytes, arrival, &other);
        assert_string_equal(reading_text(reader, &other), reading_text(reader, at_once));
        reading_release(&other);
    }
}

/* Every row comes out as it says, in whichever way it arrives. */
static inline void read_rows(const struct reader *reader, const struct head_row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct reading reading;
        read_head_every_way(reader, rows[i].bytes, &reading);
        unsigned status = reading.result == H1_BAD ? reading.error.status : 0;
        if (status != rows[i].status || (status == 0 && reading.result != H1_COMPLETE))
            fail_msg("%s: %s", rows[i].sentence, reading_text(reader, &reading));
        enum blame blame = reader->is_response ? BLAME_UPSTREAM : BLAME_CLIENT;
        if (status && (reading.error.blame != blame || !reading.error.reason))
            fail_msg("%s: blames the wrong side", rows[i].sentence);
        reading_release(&reading);
    }
}

#endif
