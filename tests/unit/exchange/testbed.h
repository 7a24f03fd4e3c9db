/* A worker without sockets: a loop, a configuration compiled by the real builder, clients and a service made of memory.
 *
 *   testbed_start(&bed, "routes: [...]");               services "one" and "two" are there already
 *   client_ask(&bed, &client, "GET /a HTTP/1.1", "X-A: b\r\n", NULL);
 *   testbed_run(&bed);
 *   assert_int_equal(client.status, 200);
 *   testbed_stop(&bed);                                 fails unless every gauge is at zero and all memory is back
 *
 * What goes to a service ends in a handler of the tests: it notes what it got and answers as bed.service says. */
#ifndef SLUICE_TESTS_TESTBED_H
#define SLUICE_TESTS_TESTBED_H

#include "unit_test.h"

#include "exchange/exchange.h"
#include "filters/test_filters.h"
#include "http/h1.h"

#define TEXT_BYTES_MAX 16384
#define BODY_BYTES_MAX (1 << 20)

/* How the service behaves, and what it got last. */
struct test_service {
    unsigned status;      /* 0: it never answers */
    const char *headers;  /* "Name: value\r\n"... */
    const char *body;     /* NULL: none */
    size_t body_length;   /* of a body with NULs in it; 0: it is text */
    size_t body_repeat;   /* how often the body is sent; 0 counts as 1 */
    size_t body_step;     /* sends so many bytes a piece, one after the other; 0: all at once */
    const char *trailers; /* like headers */
    bool later;           /* answers from the run queue, not inside start() */
    bool after_body;      /* answers when the request's body has ended */
    bool ignores_body;    /* never becomes the request body's consumer */
    bool fails;           /* exchange_fail() with 502 connect-failure */
    bool keeps_open;      /* the answer's body never ends */
    bool cuts_body;       /* the answer's body is aborted after it */
    unsigned interims;    /* so many 103 before the answer */
    unsigned requests, finished;
    char name[64]; /* which one was asked */
    char target[2048], head[TEXT_BYTES_MAX];
    uint64_t request_body_declared; /* BODY_LENGTH_UNKNOWN: chunked */
    char *request_body;
    size_t request_body_length;
    bool request_body_ended, request_body_aborted;
    struct error request_body_error;
};

struct testbed {
    struct loop loop;
    struct slab_pool slabs;
    struct memory_ceiling ceiling; /* of the arenas */
    struct arena_pool arenas;
    struct mailbox mailbox;
    struct metrics *metrics;
    struct policy_registry registry;
    struct policy_kinds kinds;
    struct policy_surroundings surroundings;
    struct snapshot_builder *builder;
    struct snapshot_pin *pin;
    struct request_id_source ids;
    struct exchange_worker worker;
    struct test_service service;
    unsigned pins_released;
};

/* Of one request; zero it before client_ask. */
struct client {
    struct testbed *bed;
    struct server_stream stream;
    struct peer peer; /* 192.0.2.1 unless set before */
    const char *host; /* NULL: example.com */
    struct arena arena;
    char *bytes; /* the request's head */
    struct body_pipe request_pipe;
    struct task request_task, answer_task;
    struct body_pipe *answer_pipe;
    bool slow;        /* takes no bytes of the answer's body */
    bool body_wanted; /* somebody has become the consumer of the request's body */
    bool answer_open;
    /* What came back. */
    unsigned status, interims;
    char head[TEXT_BYTES_MAX]; /* the answer's fields as they would go out, "\r\n" before each */
    char *body;
    size_t body_length;
    bool sent, cut, reset, released;
    unsigned heads_refused; /* send_head said no */
};

/* What policies find in the testbeds that are started from now on; zeroed: none. */
extern struct policy_surroundings testbed_surroundings;

/* `text`: what a configuration holds beside listeners and services. */
void testbed_start(struct testbed *, const char *text);
/* With other handlers and filters than the tests' and the program's own. */
void testbed_start_with(struct testbed *, const struct policy_registry *, const char *text);
/* The same configuration with other routes and the like; what is pinned stays. */
void testbed_reload(struct testbed *, const char *text);
/* The problems that a configuration has, one a line; free the result. NULL: none. */
char *testbed_problems(const char *text);
/* One route to the service with these filters, "{ type: ... }, { type: ... }". */
void testbed_start_filtered(struct testbed *, const char *path, const char *filters);
/* The filter on a route for /a/{id} is refused, with `words` among what is said. */
void testbed_refuses_filter(const char *filter, const char *words);
void testbed_stop(struct testbed *);
/* Turns until nothing is left to do at once. */
void testbed_run(struct testbed *);
/* Turns until *done, at most 5 s. */
void testbed_run_until(struct testbed *, const bool *done);

/* Opens an exchange. `line` without version, "GET /a"; `fields` "Name: value\r\n"... beside Host, or NULL; `body` is sent whole with
 * a declared length; NULL: none. */
void client_ask(struct testbed *, struct client *, const char *line, const char *fields, const char *body);
/* The same, but the body (chunked) follows by client_push and client_finish. */
void client_begin(struct testbed *, struct client *, const char *line, const char *fields);
void client_push(struct client *, const char *bytes, size_t length);
void client_finish(struct client *);
void client_leave(struct client *);
/* The answer's value of a header, absent if there is none; the test fails where there are two. */
struct slice client_header(const struct client *, const char *name);
unsigned client_count_header(const struct client *, const char *name);
void client_release(struct client *);

/* Asks, runs and frees; for tests that look at the status and bed.service only. */
unsigned testbed_status(struct testbed *, const char *line, const char *fields);

/* The value of a request header as the service got it. */
struct slice service_header(const struct testbed *, const char *name);
unsigned service_count_header(const struct testbed *, const char *name);

#endif
