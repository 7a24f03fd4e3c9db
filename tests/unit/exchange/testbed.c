#include "exchange/testbed.h"

#include "base/memory.h"
#include "handlers/handlers.h"

#include <stdlib.h>
#include <sys/uio.h>

static const char configuration_before[] = "listeners: [{ address: 127.0.0.1:8080 }]\n"
                                           "services: [{ name: one, instances: [\"127.0.0.1:9001\"] },"
                                           " { name: two, instances: [\"127.0.0.1:9002\"] }]\n";

/* --- the service --- */

static struct testbed *current; /* handlers have no place to keep it */

struct service_call {
    struct exchange *exchange;
    struct task task;
    struct response_head response;
    struct body_pipe body;
    struct headers trailers;
    size_t repeats_left, step_at;
    bool answered, body_begun, reads_body;
};

static void append(char **text, size_t *length, const void *bytes, size_t count)
{
    assert_true(*length + count <= BODY_BYTES_MAX);
    *text = memory_resize(*text, *length + count + 1);
    if (count) memcpy(*text + *length, bytes, count);
    *length += count;
    (*text)[*length] = '\0';
}

static void note_request(struct test_service *service, const struct exchange *exchange)
{
    struct error error;
    struct slice target = exchange->upstream_path;
    if (!slice_is_absent(exchange->upstream_query)) {
        target = arena_join(exchange->arena, (struct slice[]){ target, SLICE("?"), exchange->upstream_query }, 3);
    }
    snprintf(service->target, sizeof service->target, "%.*s", SLICE_PRINT(target));
    assert_true(h1_request_head_size(exchange->request, target) < sizeof service->head);
    char *end = h1_write_request_head(exchange->request, target, H1_FRAMING_NONE, true, false, service->head, &error);
    if (!end) end = service->head;
    *end = '\0';
    service->requests++;
    snprintf(service->name, sizeof service->name, "%s", exchange->service ? exchange->service->name : "");
    service->request_body_declared = exchange->request->body_length;
    free(service->request_body);
    service->request_body = NULL;
    service->request_body_length = 0;
    service->request_body_ended = service->request_body_aborted = false;
}

static void add_fields(struct headers *headers, const char *text)
{
    struct slice rest = slice_from_cstring(text ? text : "");
    while (rest.length > 0) {
        size_t end = slice_find(rest, SLICE("\r\n")), colon = slice_find_byte(rest, ':');
        assert_true(end != SLICE_NOT_FOUND && colon < end);
        assert_true(headers_add_from_wire(headers, slice_before(rest, colon),
                                          slice_trim(slice_of(rest.at + colon + 1, end - colon - 1))));
        rest = slice_after(rest, end + 2);
    }
}

static struct slice service_body(const struct test_service *service)
{
    return slice_of(service->body, service->body_length ? service->body_length : strlen(service->body));
}

/* One piece a run of the task, each in a slab of its own. */
static void push_step(struct service_call *call)
{
    struct slice rest = slice_after(service_body(&current->service), call->step_at);
    struct slice step = slice_before(rest, current->service.body_step);
    struct slab *slab = slab_take_sized(&current->slabs, step.length);
    memcpy(slab->bytes, step.at, step.length);
    body_pipe_push(&call->body, slab, slab->bytes, step.length);
    call->step_at += step.length;
    if (step.length == rest.length) call->repeats_left = call->step_at = 0;
    loop_enqueue(&current->loop, &call->task);
}

static void push_answer_body(struct service_call *call)
{
    const struct test_service *service = &current->service;
    if (service->body_step && call->repeats_left > 0) {
        if (body_pipe_credit(&call->body) > 0) push_step(call);
        return;
    }
    while (call->repeats_left > 0 && body_pipe_credit(&call->body) > 0) {
        assert_true(body_pipe_push_copy(&call->body, &current->slabs, service_body(service)));
        call->repeats_left--;
    }
    if (call->repeats_left > 0 || service->keeps_open) return;
    if (service->cuts_body) {
        struct error error;
        error_set(&error, BLAME_UPSTREAM, RETRY_NEVER, 502, "reset", "the service broke off");
        body_pipe_abort(&call->body, &error);
    } else {
        body_pipe_finish(&call->body, service->trailers ? &call->trailers : NULL);
    }
}

static void answer(struct service_call *call)
{
    const struct test_service *service = &current->service;
    struct exchange *exchange = call->exchange;
    call->answered = true;
    for (unsigned i = 0; i < service->interims; i++) {
        struct response_head hints;
        response_head_init(&hints, exchange->arena);
        hints.status = 103;
        exchange_interim(exchange, &hints);
    }
    if (service->fails) {
        struct error error;
        error_set(&error, BLAME_UPSTREAM, RETRY_NEVER, 502, "connect-failure", "cannot connect to 127.0.0.1:9001");
        exchange_fail(exchange, &error);
        return;
    }
    if (service->request_body_aborted) {
        exchange_fail(exchange, &service->request_body_error);
        return;
    }
    response_head_init(&call->response, exchange->arena);
    call->response.status = (uint16_t)service->status;
    call->response.version = HTTP_1_1;
    add_fields(&call->response.headers, service->headers);
    headers_init(&call->trailers, exchange->arena);
    add_fields(&call->trailers, service->trailers);
    if (!service->body || exchange->request->method == METHOD_HEAD) {
        call->response.body_length = service->body ? service_body(service).length : 0;
        exchange_answer(exchange, &call->response, NULL);
        return;
    }
    call->repeats_left = service->body_repeat ? service->body_repeat : 1;
    call->response.has_body = true;
    call->response.body_length = service_body(service).length * call->repeats_left;
    call->body_begun = true;
    body_pipe_init(&call->body, &current->loop, call->response.body_length);
    call->body.producer_task = &call->task;
    push_answer_body(call);
    exchange_answer(exchange, &call->response, &call->body);
}

static void read_request_body(struct service_call *call)
{
    struct test_service *service = &current->service;
    struct body_pipe *pipe = call->exchange->request_body;
    struct iovec run;
    while (body_pipe_peek(pipe, &run, 1) == 1) {
        append(&service->request_body, &service->request_body_length, run.iov_base, run.iov_len);
        body_pipe_consume(pipe, run.iov_len);
    }
    service->request_body_ended = body_pipe_is_drained(pipe);
    service->request_body_aborted = pipe->state == BODY_ABORTED;
    if (service->request_body_aborted) service->request_body_error = pipe->failure;
}

static bool may_answer(const struct service_call *call)
{
    const struct test_service *service = &current->service;
    if (call->answered || (service->status == 0 && !service->fails)) return false;
    return !service->after_body || !call->reads_body || service->request_body_ended || service->request_body_aborted;
}

static void service_task(struct task *task)
{
    struct service_call *call = CONTAINER_OF(task, struct service_call, task);
    if (call->reads_body) read_request_body(call);
    if (call->body_begun && call->body.state == BODY_OPEN) push_answer_body(call);
    if (may_answer(call)) answer(call);
}

static bool service_takes(const struct route_config *route)
{
    return !slice_is_absent(route->service_id) || route->has_split;
}

static void service_start(struct exchange *exchange, const void *compiled, void *state)
{
    struct service_call *call = state;
    call->exchange = exchange;
    call->task.run = service_task;
    note_request(&current->service, exchange);
    call->reads_body = exchange->request_body && !current->service.ignores_body;
    if (call->reads_body) body_pipe_attach_consumer(exchange->request_body, &call->task);
    loop_enqueue(&current->loop, &call->task);
    if (!current->service.later && !current->service.after_body && may_answer(call)) answer(call);
}

static void service_finish(struct exchange *exchange, const void *compiled, void *state)
{
    struct service_call *call = state;
    current->service.finished++;
    if (call->reads_body) {
        body_pipe_stop(exchange->request_body);
        body_pipe_detach_consumer(exchange->request_body);
    }
    loop_dequeue(&current->loop, &call->task);
    if (call->body_begun) body_pipe_release(&call->body);
}

static const struct handler handler_service = {
    .name = "service",
    .summary = "Plays the service.",
    .state_size = sizeof(struct service_call),
    .takes = service_takes,
    .start = service_start,
    .finish = service_finish,
};

static const struct handler *const handlers[] = { &handler_service, &handler_respond, &handler_redirect, NULL };

/* --- the worker --- */

static void no_wake(void *argument) {}

struct policy_surroundings testbed_surroundings;

static void release_pin(struct testbed *bed, struct snapshot_pin *pin)
{
    snapshot_destroy(pin->snapshot);
    free(pin);
    bed->pins_released++;
}

static void pin_released(struct exchange_worker *worker, struct snapshot_pin *pin) { release_pin(worker->owner, pin); }

static struct snapshot *load(struct testbed *bed, const char *text, struct problems *problems)
{
    char *whole = memory_format("%s%s", configuration_before, text);
    struct configuration *configuration = configuration_load_text(slice_from_cstring(whole), "test.yaml", "/",
                                                                  &bed->kinds, problems);
    struct snapshot *snapshot = configuration ? snapshot_builder_load(bed->builder, configuration, problems) : NULL;
    free(whole);
    return snapshot;
}

static struct policy_registry tests_registry(void)
{
    return (struct policy_registry){ .filters = test_filters_with_all(), .handlers = handlers };
}

static void start_builder(struct testbed *bed, const struct policy_registry *registry)
{
    bed->metrics = metrics_create(1);
    bed->surroundings = testbed_surroundings;
    bed->registry = *registry;
    bed->kinds = policy_registry_kinds(&bed->registry);
    bed->builder = snapshot_builder_create(&(struct snapshot_builder_settings){ .registry = &bed->registry,
                                                                                .surroundings = &bed->surroundings,
                                                                                .metrics = bed->metrics,
                                                                                .workers = 1,
                                                                                .wake = no_wake });
}

static void stop_builder(struct testbed *bed)
{
    snapshot_builder_destroy(bed->builder);
    free((void *)(uintptr_t)bed->kinds.items);
    metrics_destroy(bed->metrics);
}

static void load_or_fail(struct testbed *bed, const char *text)
{
    struct problems problems;
    problems_init(&problems, NULL);
    struct snapshot *snapshot = load(bed, text, &problems);
    if (!snapshot) fail_msg("%s", problems_to_text(&problems));
    problems_release(&problems);
    struct snapshot_pin *old = bed->pin;
    bed->pin = memory_allocate(sizeof *bed->pin);
    bed->pin->snapshot = snapshot;
    bed->worker.current = bed->pin;
    if (old && old->exchanges == 0) release_pin(bed, old);
}

void testbed_start(struct testbed *bed, const char *text)
{
    struct policy_registry registry = tests_registry();
    testbed_start_with(bed, &registry, text);
}

void testbed_start_with(struct testbed *bed, const struct policy_registry *registry, const char *text)
{
    struct error error;
    memset(bed, 0, sizeof *bed);
    current = bed;
    assert_true(loop_init(&bed->loop, &error));
    slab_pool_init(&bed->slabs, 1 << 20, NULL);
    arena_pool_init(&bed->arenas, 16, &bed->ceiling);
    assert_true(mailbox_init(&bed->mailbox, &bed->loop, bed, &error));
    start_builder(bed, registry);
    request_id_source_init(&bed->ids);
    bed->worker = (struct exchange_worker){
        .loop = &bed->loop,
        .slabs = &bed->slabs,
        .metrics = bed->metrics,
        .ids = &bed->ids,
        .filters = bed->registry.filters,
        .mailbox = &bed->mailbox,
        .pin_released = pin_released,
        .owner = bed,
    };
    load_or_fail(bed, text);
    assert_true(exchange_worker_init(&bed->worker, &error));
    bed->service.status = 200;
}

void testbed_reload(struct testbed *bed, const char *text) { load_or_fail(bed, text); }

char *testbed_problems(const char *text)
{
    struct testbed bed = { 0 };
    struct problems problems;
    struct policy_registry registry = tests_registry();
    start_builder(&bed, &registry);
    problems_init(&problems, NULL);
    load(&bed, text, &problems);
    char *found = problems.count > 0 ? problems_to_text(&problems) : NULL;
    problems_release(&problems);
    stop_builder(&bed);
    return found;
}

static char *filtered_route(const char *path, const char *filters)
{
    return memory_format("routes: [{ name: a, path: '%s', serviceId: one, stripPrefix: false, filters: [%s] }]\n", path,
                         filters);
}

void testbed_start_filtered(struct testbed *bed, const char *path, const char *filters)
{
    char *text = filtered_route(path, filters);
    testbed_start(bed, text);
    free(text);
}

void testbed_refuses_filter(const char *filter, const char *words)
{
    char *text = filtered_route("/a/{id}", filter), *problems = testbed_problems(text);
    if (!problems)
        fail_msg("nobody minds: %s", filter);
    else if (!strstr(problems, words))
        fail_msg("%s: %s", filter, problems);
    else
        assert_non_null(strstr(problems, "test.yaml:3:")); /* every problem has its place */
    free(problems);
    free(text);
}

void testbed_stop(struct testbed *bed)
{
    testbed_run(bed);
    test_filters_settle();
    testbed_run(bed);
    assert_int_equal(gauge_read(&bed->worker.active), 0);
    assert_int_equal(gauge_read(&bed->worker.waiting), 0);
    assert_int_equal(bed->slabs.taken_bytes, 0);
    assert_int_equal(bed->arenas.bytes_taken, 0);
    assert_int_equal(bed->loop.timers.count, 0);
    assert_int_equal(bed->pin->exchanges, 0);
    mailbox_release(&bed->mailbox);
    exchange_worker_release(&bed->worker);
    free(bed->pin);
    snapshot_builder_collect(bed->builder);
    stop_builder(bed);
    loop_release(&bed->loop);
    slab_pool_release(&bed->slabs);
    arena_pool_release(&bed->arenas);
    free(bed->service.request_body);
    current = NULL;
}

void testbed_run(struct testbed *bed)
{
    for (int i = 0; i < 8; i++) loop_turn(&bed->loop, 0);
}

void testbed_run_until(struct testbed *bed, const bool *done)
{
    for (int i = 0; i < 500 && !*done; i++) loop_turn(&bed->loop, 10);
    assert_true(*done);
    testbed_run(bed);
}

/* --- clients --- */

static struct client *client_of(struct server_stream *stream) { return CONTAINER_OF(stream, struct client, stream); }

static void tell_owner(struct client *client, unsigned event)
{
    client->stream.events |= (uint8_t)event;
    if (client->stream.owner_task) loop_enqueue(client->stream.loop, client->stream.owner_task);
}

static void send_interim(struct server_stream *stream, const struct response_head *head)
{
    client_of(stream)->interims++;
}

static void let_go_of_answer(struct client *client)
{
    if (client->answer_pipe) body_pipe_detach_consumer(client->answer_pipe);
    loop_dequeue(client->stream.loop, &client->answer_task);
    client->answer_pipe = NULL;
}

static void take_answer(struct task *task)
{
    struct client *client = CONTAINER_OF(task, struct client, answer_task);
    struct body_pipe *pipe = client->answer_pipe;
    struct iovec run;
    if (!pipe || client->slow) return;
    while (body_pipe_peek(pipe, &run, 1) == 1) {
        append(&client->body, &client->body_length, run.iov_base, run.iov_len);
        client->stream.bytes_out += run.iov_len;
        body_pipe_consume(pipe, run.iov_len);
    }
    if (pipe->state == BODY_OPEN) return;
    bool whole = body_pipe_is_drained(pipe);
    let_go_of_answer(client);
    client->sent = whole;
    client->cut = !whole;
    tell_owner(client, whole ? SERVER_STREAM_SENT : SERVER_STREAM_GONE);
}

static bool send_head(struct server_stream *stream, struct response_head *head, struct body_pipe *body,
                      struct error *error)
{
    struct client *client = client_of(stream);
    if (stream->events & SERVER_STREAM_GONE) {
        if (body) body_pipe_stop(body);
        return true;
    }
    assert_int_equal(client->status, 0); /* one answer */
    assert_true((body != NULL) == head->has_body);
    assert_true(h1_response_head_size(head) < sizeof client->head);
    char *end = h1_write_response_head(head, H1_FRAMING_NONE, true, HTTP_1_1, false, SLICE("now"), client->head, error);
    if (!end) {
        client->heads_refused++;
        return false;
    }
    *end = '\0';
    client->status = head->status;
    stream->bytes_out += (size_t)(end - client->head);
    client->answer_pipe = body;
    if (body) {
        body_pipe_attach_consumer(body, &client->answer_task);
        loop_enqueue(stream->loop, &client->answer_task);
    } else {
        client->sent = true;
        tell_owner(client, SERVER_STREAM_SENT);
    }
    return true;
}

static void break_request_body(struct client *client)
{
    if (!client->stream.request_body) return;
    struct error error;
    error_set(&error, BLAME_CLIENT, RETRY_NEVER, 0, "client-gone", "the client went away");
    body_pipe_abort(&client->request_pipe, &error);
    body_pipe_detach_producer(&client->request_pipe);
}

void client_leave(struct client *client)
{
    struct body_pipe *pipe = client->answer_pipe;
    break_request_body(client);
    let_go_of_answer(client);
    if (pipe) body_pipe_stop(pipe);
    client->cut = true;
    tell_owner(client, SERVER_STREAM_GONE);
}

static void reset(struct server_stream *stream)
{
    client_of(stream)->reset = true;
    client_leave(client_of(stream));
}

static void release(struct server_stream *stream)
{
    struct client *client = client_of(stream);
    assert_false(client->released);
    assert_null(stream->owner_task);
    let_go_of_answer(client);
    if (stream->request_body) body_pipe_release(&client->request_pipe);
    loop_dequeue(stream->loop, &client->request_task);
    arena_release(&client->arena);
    free(client->bytes);
    client->bytes = NULL;
    client->released = true;
}

static const struct server_stream_operations operations = {
    .send_interim = send_interim,
    .send_head = send_head,
    .reset = reset,
    .release = release,
};

/* Credit came back, or somebody has begun to take the body. */
static void request_body_is_asked_for(struct task *task)
{
    struct client *client = CONTAINER_OF(task, struct client, request_task);
    client->body_wanted |= client->request_pipe.attached;
}

static void parse(struct client *client, char *text)
{
    static const struct h1_limits limits = { .request_line_bytes = 8192, .header_bytes = 32768, .header_count = 100 };
    struct h1_parser parser;
    struct error error;
    client->bytes = text;
    h1_parser_init(&parser);
    request_head_init(&client->stream.request, &client->arena);
    if (h1_parse_request(&parser, text, strlen(text), &limits, &client->stream.request, &error) != H1_COMPLETE) {
        fail_msg("the test's request is not whole or bad:\n%s", text);
    }
    client->stream.bytes_in = parser.head_length;
}

static void open_exchange(struct testbed *bed, struct client *client, char *text)
{
    client->bed = bed;
    client->stream.operations = &operations;
    client->stream.loop = &bed->loop;
    client->stream.arena = &client->arena;
    client->stream.peer = &client->peer;
    client->stream.begun_ns = bed->loop.now_ns;
    client->answer_task.run = take_answer;
    client->request_task.run = request_body_is_asked_for;
    arena_init(&client->arena, &bed->arenas);
    if (client->peer.address.any.sa_family == AF_UNSPEC) {
        assert_true(address_parse_ip(SLICE("192.0.2.1"), 1234, &client->peer.address));
    }
    client->peer.ip_length = (uint8_t)address_write_ip(&client->peer.address, client->peer.ip_text);
    parse(client, text);
    if (client->stream.request.has_body) {
        body_pipe_init(&client->request_pipe, &bed->loop, client->stream.request.body_length);
        client->request_pipe.producer_task = &client->request_task;
        client->stream.request_body = &client->request_pipe;
    }
}

static char *head_text(const struct client *client, const char *line, const char *fields, const char *framing)
{
    return memory_format("%s HTTP/1.1\r\nHost: %s\r\n%s%s\r\n", line, client->host ? client->host : "example.com",
                         fields ? fields : "", framing);
}

void client_ask(struct testbed *bed, struct client *client, const char *line, const char *fields, const char *body)
{
    char framing[64] = "";
    if (body) snprintf(framing, sizeof framing, "Content-Length: %zu\r\n", strlen(body));
    loop_update_time(&bed->loop);
    open_exchange(bed, client, head_text(client, line, fields, framing));
    if (body) {
        client_push(client, body, strlen(body));
        client_finish(client);
    }
    exchange_begin(&bed->worker, &client->stream);
}

void client_begin(struct testbed *bed, struct client *client, const char *line, const char *fields)
{
    loop_update_time(&bed->loop);
    open_exchange(bed, client, head_text(client, line, fields, "Transfer-Encoding: chunked\r\n"));
    exchange_begin(&bed->worker, &client->stream);
}

void client_push(struct client *client, const char *bytes, size_t length)
{
    if (client->released || length == 0) return;
    assert_true(body_pipe_credit(&client->request_pipe) > 0 || body_pipe_is_stopped(&client->request_pipe));
    assert_true(body_pipe_push_copy(&client->request_pipe, &client->bed->slabs, slice_of(bytes, length)));
    client->stream.bytes_in += length;
}

void client_finish(struct client *client)
{
    if (!client->released) body_pipe_finish(&client->request_pipe, NULL);
}

void client_release(struct client *client)
{
    assert_true(client->released);
    free(client->body);
    client->body = NULL;
}

/* --- looking at heads --- */

static unsigned find_field(const char *head, const char *name, struct slice *value)
{
    unsigned count = 0;
    struct slice rest = slice_from_cstring(head);
    *value = SLICE_ABSENT;
    for (size_t end; (end = slice_find(rest, SLICE("\r\n"))) != SLICE_NOT_FOUND; rest = slice_after(rest, end + 2)) {
        struct slice line = slice_before(rest, end);
        size_t colon = slice_find_byte(line, ':');
        if (colon == SLICE_NOT_FOUND || !slice_equal_ignore_case(slice_before(line, colon), slice_from_cstring(name)))
            continue;
        if (count++ == 0) *value = slice_trim(slice_after(line, colon + 1));
    }
    return count;
}

static struct slice find_one(const char *head, const char *name)
{
    struct slice value;
    if (find_field(head, name, &value) > 1) fail_msg("more than one %s:\n%s", name, head);
    return value;
}

struct slice client_header(const struct client *client, const char *name) { return find_one(client->head, name); }

unsigned client_count_header(const struct client *client, const char *name)
{
    struct slice value;
    return find_field(client->head, name, &value);
}

struct slice service_header(const struct testbed *bed, const char *name) { return find_one(bed->service.head, name); }

unsigned service_count_header(const struct testbed *bed, const char *name)
{
    struct slice value;
    return find_field(bed->service.head, name, &value);
}

unsigned testbed_status(struct testbed *bed, const char *line, const char *fields)
{
    struct client client = { 0 };
    client_ask(bed, &client, line, fields, NULL);
    testbed_run_until(bed, &client.released);
    client_release(&client);
    return client.status;
}
