/* What reading and writing a head costs in process and warm: nanoseconds a call.
 *
 * Prints the median and the best of several rounds; the median counts, the best says how quiet the machine was. */
#include "http/h1.h"
#include "measure.h"

#include <stdlib.h>

#define ROUNDS 15
#define CALLS 100000
#define CHUNK_BYTES 1024

static const char request[] = "GET /api/v1/users/42/orders?limit=20&sort=date HTTP/1.1\r\n"
                              "Host: api.example.com\r\n"
                              "User-Agent: Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101\r\n"
                              "Accept: application/json\r\n"
                              "Accept-Encoding: gzip, br\r\n"
                              "Authorization: Bearer c2x1aWNlLWJlbmNo\r\n"
                              "X-Request-Source: mobile\r\n"
                              "Cookie: session=8f14e45fceea167a\r\n"
                              "Connection: keep-alive\r\n\r\n";

static const char response[] = "HTTP/1.1 200 OK\r\n"
                               "Server: backend\r\n"
                               "Date: Tue, 24 Nov 2026 11:00:00 GMT\r\n"
                               "Content-Type: application/json\r\n"
                               "Content-Length: 128\r\n"
                               "X-Cache: miss\r\n\r\n";

static const struct h1_limits limits = { 8192, 65536, 100, false };

struct bench {
    struct arena_pool pool;
    struct arena arena;
    struct request_head request;
    struct response_head response;
    char written[4096];
    char chunk[5 + CHUNK_BYTES + 2]; /* size, content, line end */
};

static void read_request(struct bench *bench)
{
    struct h1_parser parser;
    struct error error;
    arena_release(&bench->arena);
    h1_parser_init(&parser);
    request_head_init(&bench->request, &bench->arena);
    PROMISE(h1_parse_request(&parser, request, sizeof request - 1, &limits, &bench->request, &error) == H1_COMPLETE);
}

static void read_response(struct bench *bench)
{
    struct h1_parser parser;
    struct error error;
    arena_release(&bench->arena);
    h1_parser_init(&parser);
    response_head_init(&bench->response, &bench->arena);
    PROMISE(h1_parse_response(&parser, response, sizeof response - 1, &limits, METHOD_GET, &bench->response, &error) ==
            H1_COMPLETE);
}

static void write_request(struct bench *bench)
{
    struct error error;
    PROMISE(h1_request_head_size(&bench->request, bench->request.target.raw) <= sizeof bench->written);
    PROMISE(h1_write_request_head(&bench->request, bench->request.target.raw, H1_FRAMING_NONE, true, false,
                                  bench->written, &error));
}

static void write_response(struct bench *bench)
{
    struct error error;
    PROMISE(h1_response_head_size(&bench->response) <= sizeof bench->written);
    PROMISE(h1_write_response_head(&bench->response, H1_FRAMING_LENGTH, true, HTTP_1_1, false,
                                   SLICE("Tue, 24 Nov 2026 11:00:00 GMT"), bench->written, &error));
}

static void normalise_target(struct bench *bench)
{
    struct target target;
    struct error error;
    arena_release(&bench->arena);
    PROMISE(target_parse(SLICE("/api/%7Euser/./a/../orders?limit=20"), false, &bench->arena, &target, &error));
}

static void read_chunk(struct bench *bench)
{
    struct h1_chunked chunked;
    struct headers trailers;
    struct slice data;
    struct error error;
    size_t at = 0, consumed;
    h1_chunked_init(&chunked);
    headers_init(&trailers, &bench->arena);
    while (h1_chunked_read(&chunked, bench->chunk + at, sizeof bench->chunk - at, &consumed, &data, &trailers, &limits,
                           &error) == H1_CHUNK_DATA)
        at += consumed;
    PROMISE(at + consumed == sizeof bench->chunk);
}

static void measure(const char *name, void (*call)(struct bench *), struct bench *bench)
{
    double rounds[ROUNDS];
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t start = thread_ns();
        for (int i = 0; i < CALLS; i++) call(bench);
        rounds[round] = (double)(thread_ns() - start) / CALLS;
    }
    qsort(rounds, ROUNDS, sizeof rounds[0], compare_doubles);
    printf("%-44s %7.1f ns  (best %.1f)\n", name, rounds[ROUNDS / 2], rounds[0]);
}

int main(void)
{
    static struct bench bench;
    arena_pool_init(&bench.pool, 4, NULL);
    arena_init(&bench.arena, &bench.pool);
    memset(bench.chunk, 'x', sizeof bench.chunk);
    memcpy(bench.chunk, "400\r\n", 5);
    memcpy(bench.chunk + sizeof bench.chunk - 2, "\r\n", 2);
    measure("read a request, 8 fields", read_request, &bench);
    measure("write that request", write_request, &bench);
    measure("read a response, 5 fields", read_response, &bench);
    measure("write that response", write_response, &bench);
    measure("normalise a target", normalise_target, &bench);
    measure("read a chunk of 1 KiB", read_chunk, &bench);
    arena_release(&bench.arena);
    arena_pool_release(&bench.pool);
    return 0;
}
