/* A stage for calls: a worker with its loop, backends on loopback that do what the test says line by line, and callers that note what
 * they are told. All on one thread: whoever waits for something turns the loop meanwhile. */
#ifndef SLUICE_UNIT_UPSTREAM_STAGE_H
#define SLUICE_UNIT_UPSTREAM_STAGE_H

#include "services.h"

#include "upstream/upstream.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#define PATIENCE_MS 3000

static struct loop loop;
static struct slab_pool slabs;
static struct arena_pool arenas;
static struct http_worker http_worker;
static struct upstream_worker worker;
static struct services services;

static inline int stage_set_up(void **state)
{
    if (!loop_init(&loop, NULL)) return -1;
    loop_update_time(&loop);
    slab_pool_init(&slabs, 1 << 20, NULL);
    arena_pool_init(&arenas, 16, NULL);
    http_worker = (struct http_worker){ .loop = &loop, .slabs = &slabs, .arenas = &arenas };
    if (!upstream_worker_init(&worker, &http_worker, 0, NULL)) return -1;
    services_init(&services, 1);
    return 0;
}

static inline void turn(int wait_ms) { loop_turn(&loop, wait_ms); }

/* Whatever a test has done: nothing is left but idle connections. */
static inline void assert_all_is_back(void)
{
    turn(0);
    const struct upstream_counters *counters = &worker.counters;
    assert_int_equal(gauge_read(&counters->calls), 0);
    assert_int_equal(gauge_read(&counters->leases), 0);
    assert_int_equal(gauge_read(&counters->waiting), 0);
    assert_int_equal(gauge_read(&counters->connections), gauge_read(&counters->idle_connections));
}

/* While the instances are still there. */
static inline void stage_close_worker(void)
{
    assert_all_is_back();
    upstream_worker_release(&worker);
    assert_int_equal(gauge_read(&worker.counters.connections), 0);
    turn(0);
}

static inline int stage_tear_down(void **state)
{
    assert_int_equal(slabs.taken_bytes, 0);
    assert_int_equal(arenas.bytes_taken, 0);
    services_release(&services);
    slab_pool_release(&slabs);
    arena_pool_release(&arenas);
    assert_int_equal(loop.timers.count, 0);
    loop_release(&loop);
    return 0;
}

/* Turns the loop until the condition holds; fails after a while. */
#define turn_until(condition)                                                             \
    do {                                                                                  \
        uint64_t until_ms_ = loop.now_ms + PATIENCE_MS;                                   \
        while (!(condition)) {                                                            \
            if (loop.now_ms >= until_ms_) fail_msg("waited in vain for: %s", #condition); \
            turn(5);                                                                      \
        }                                                                                 \
    } while (0)

static inline void turn_for(unsigned milliseconds)
{
    for (uint64_t until_ms = loop.now_ms + milliseconds; loop.now_ms < until_ms;) turn(2);
}

/* --- backends --- */

struct backend {
    int listener;
    uint16_t port;
};

static inline struct backend backend_start(int backlog)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t length = sizeof address;
    struct backend backend = { .listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0) };
    assert_return_code(bind(backend.listener, (struct sockaddr *)&address, sizeof address), errno);
    assert_return_code(listen(backend.listener, backlog), errno);
    assert_return_code(getsockname(backend.listener, (struct sockaddr *)&address, &length), errno);
    backend.port = ntohs(address.sin_port);
    return backend;
}

static inline void backend_stop(struct backend *backend)
{
    if (backend->listener >= 0) close(backend->listener);
    backend->listener = -1;
}

static inline int backend_try_accept(const struct backend *backend)
{
    return accept4(backend->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

static inline int backend_accept(const struct backend *backend)
{
    int connection;
    turn_until((connection = backend_try_accept(backend)) >= 0);
    return connection;
}

static inline bool backend_has_visitor(const struct backend *backend)
{
    turn_for(20);
    int connection = backend_try_accept(backend);
    if (connection >= 0) close(connection);
    return connection >= 0;
}

/* Reads until `ending` stands at the end of what came. */
static inline const char *backend_hear(int connection, const char *ending)
{
    static char heard[256 * 1024];
    size_t length = 0, ending_length = strlen(ending);
    turn_until(({
        ssize_t got = recv(connection, heard + length, sizeof heard - 1 - length, 0);
        if (got > 0) length += (size_t)got;
        heard[length] = '\0';
        length >= ending_length &&strcmp(heard + length - ending_length, ending) == 0;
    }));
    return heard;
}

static inline void backend_say(int connection, const char *text)
{
    assert_int_equal(send(connection, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

static inline void backend_reset(int connection)
{
    struct linger linger = { .l_onoff = 1 };
    setsockopt(connection, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    close(connection);
}

/* What was said before is read away. */
static inline bool backend_sees_end(int connection)
{
    char bytes[4096];
    ssize_t got;
    turn_until((got = recv(connection, bytes, sizeof bytes, 0)) == 0 || (got < 0 && errno != EAGAIN));
    return true;
}

#define HELLO "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
#define UNAVAILABLE "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy"

/* Takes one request without a body and answers it. */
static inline void backend_serve(int connection, const char *answer)
{
    backend_hear(connection, "\r\n\r\n");
    backend_say(connection, answer);
}

static inline struct service *service_of_ports(enum lb_algorithm algorithm, const uint16_t *ports, size_t count)
{
    char text[256] = "";
    for (size_t i = 0; i < count; i++) {
        size_t used = strlen(text);
        snprintf(text + used, sizeof text - used, "%s127.0.0.1:%u", i ? " " : "", ports[i]);
    }
    return services_make(&services, "users", algorithm, text);
}

static inline struct service *service_of(const struct backend *first, const struct backend *second)
{
    uint16_t ports[] = { first->port, second ? second->port : 0 };
    return service_of_ports(LB_ROUND_ROBIN, ports, second ? 2 : 1);
}

/* The service's next pick is the endpoint `index`. */
static inline void will_pick(struct service *service, uint32_t index)
{
    service->state->lines[0].position = index;
    service->state->lines[0].begun = true;
}

/* --- callers --- */

struct caller {
    struct upstream_call call;
    struct call_plan plan;
    struct task task;
    struct arena arena;
    struct request_head request;
    struct body_pipe request_body;
    bool reads_body; /* default; else it holds back */
    unsigned runs;
    unsigned interim_statuses[8], interims;
    char body[1 << 20];
    size_t body_length;
};

static inline void caller_run(struct task *task)
{
    struct caller *caller = CONTAINER_OF(task, struct caller, task);
    struct upstream_call *call = &caller->call;
    caller->runs++;
    for (; call->interim; call->interim = call->interim->next)
        caller->interim_statuses[caller->interims++] = call->interim->head.status;
    if (!(call->events & CALL_HEAD) || !call->response_body || !caller->reads_body) return;
    if (!call->response_body->attached) body_pipe_attach_consumer(call->response_body, task);
    struct iovec pieces[BODY_PIPE_PIECES];
    int count;
    while ((count = body_pipe_peek(call->response_body, pieces, BODY_PIPE_PIECES)) > 0) {
        for (int i = 0; i < count; i++) {
            assert_true(caller->body_length + pieces[i].iov_len < sizeof caller->body);
            memcpy(caller->body + caller->body_length, pieces[i].iov_base, pieces[i].iov_len);
            caller->body_length += pieces[i].iov_len;
            body_pipe_consume(call->response_body, pieces[i].iov_len);
        }
    }
}

/* A GET that may be repeated, with what routes have by default. */
static inline struct caller *caller_make(const struct service *service, enum method method)
{
    struct caller *caller = calloc(1, sizeof *caller);
    assert_non_null(caller);
    arena_init(&caller->arena, &arenas);
    request_head_init(&caller->request, &caller->arena);
    caller->request.method = method;
    caller->request.method_text = method_name(method);
    caller->request.version = HTTP_1_1;
    caller->request.authority = SLICE("example.test");
    caller->task.run = caller_run;
    caller->reads_body = true;
    caller->call.owner_task = &caller->task;
    caller->plan = (struct call_plan){
        .service = service,
        .request = &caller->request,
        .target = SLICE("/a?b=1"),
        .arena = &caller->arena,
        .deadline_ms = loop.now_ms + 2500,
        .retry_count = 1,
        .retry_on = RETRY_ON_5XX | RETRY_ON_RESET | RETRY_ON_CONNECT_FAILURE,
        .retry_buffer_bytes = 64 * 1024,
        .repeatable = method_is_idempotent(method),
    };
    return caller;
}

static inline void caller_start(struct caller *caller)
{
    upstream_call_start(&caller->call, &worker, &caller->plan);
    assert_int_equal(caller->runs, 0);
}

static inline struct caller *call_service(const struct service *service, enum method method)
{
    struct caller *caller = caller_make(service, method);
    caller_start(caller);
    return caller;
}

static inline bool caller_is_done(const struct caller *caller) { return caller->call.events & CALL_DONE; }
static inline unsigned caller_status(const struct caller *caller)
{
    return caller->call.events & CALL_HEAD ? caller->call.response->status : 0;
}

/* Cancels, and makes sure that this was the last word. */
static inline void caller_free(struct caller *caller)
{
    upstream_call_cancel(&caller->call);
    loop_dequeue(&loop, &caller->task);
    unsigned runs = caller->runs;
    turn(0);
    turn(0);
    assert_int_equal(caller->runs, runs);
    assert_int_equal(caller->call.events, 0);
    if (caller->plan.body) body_pipe_release(&caller->request_body);
    arena_release(&caller->arena);
    free(caller);
}

static inline void assert_answered(struct caller *caller, unsigned status, const char *body)
{
    turn_until(caller_is_done(caller));
    if (caller->call.error.reason) fail_msg("%s: %s", caller->call.error.reason, caller->call.error.text);
    turn_until(!caller->call.response_body || body_pipe_is_drained(caller->call.response_body));
    assert_int_equal(caller_status(caller), status);
    caller->body[caller->body_length] = '\0';
    assert_string_equal(caller->body, body);
}

static inline void assert_failed(struct caller *caller, unsigned status, const char *reason)
{
    turn_until(caller_is_done(caller));
    assert_non_null(caller->call.error.reason);
    if (strcmp(caller->call.error.reason, reason) != 0)
        fail_msg("%s: %s", caller->call.error.reason, caller->call.error.text);
    assert_int_equal(caller->call.error.status, status);
    assert_non_null(strstr(caller->call.error.text, "service \"users\""));
}

/* A body of the request, as a client's session would push it. */
static inline void caller_has_body(struct caller *caller, uint64_t length)
{
    caller->request.has_body = true;
    caller->request.body_length = length;
    body_pipe_init(&caller->request_body, &loop, length);
    caller->plan.body = &caller->request_body;
}

static inline void caller_push(struct caller *caller, size_t length, char letter)
{
    static char letters[16 * 1024];
    assert_true(length <= sizeof letters);
    memset(letters, letter, sizeof letters);
    assert_true(body_pipe_push_copy(&caller->request_body, &slabs, slice_of(letters, length)));
}

#endif
