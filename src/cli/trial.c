/* cli/trial.c: see trial.h. A client is a server stream whose bytes come from a text and go nowhere; the stand-in is upstream/stand_in.h. */
#include "cli/trial.h"

#include "base/memory.h"
#include "chain/explanation.h"
#include "exchange/exchange.h"
#include "filters/mirror_figures.h"
#include "gateway/key_index.h"
#include "http/h1.h"
#include "keys/key_sets.h"
#include "shared/limit_counters.h"
#include "upstream/stand_in.h"

#include <sys/uio.h>

#define ANSWER_SECONDS_MAX 10
#define ARENA_CHUNKS_IDLE_MAX 16
#define SLAB_IDLE_BYTES_MAX (1 << 20)

struct trial {
    struct loop loop;
    struct mailbox mailbox;
    struct memory_ceiling memory;
    struct slab_pool slabs;
    struct arena_pool arenas;
    struct http_worker http;
    struct upstream_worker upstream;
    struct exchange_worker worker;
    struct metrics *metrics;
    struct key_index keys;
    struct policy_surroundings surroundings;
    struct snapshot_builder *builder;
    struct snapshot_pin pin;
    struct h1_limits limits;
    struct upstream_stand_in stand_in;
    /* Of the test that runs. */
    const struct test_config *test;
    struct arena *arena; /* the outcome's */
    struct trial_outcome *outcome;
    struct vector explanations; /* struct slice */
};

/* One request. */
struct client {
    struct server_stream stream;
    struct trial *trial;
    struct peer peer;
    struct arena arena;
    char *bytes; /* the head */
    struct body_pipe request_body;
    struct task request_task, answer_task;
    struct slice to_send; /* what is left of the request's body */
    struct body_pipe *answer_body;
    bool released;
};

/* --- what came of it --- */

static struct pair_list keep_headers(const struct trial *trial, const struct headers *headers)
{
    struct pair_list list = { NULL, 0 };
    list.items = arena_allocate_zeroed(trial->arena, (headers->count + 1u) * sizeof *list.items);
    PROMISE(list.items != NULL);
    for (const struct header *header = headers_next(headers, NULL); header; header = headers_next(headers, header))
        list.items[list.count++] = (struct pair){ arena_keep(trial->arena, header->name),
                                                  arena_keep(trial->arena, header->value) };
    return list;
}

static void note_answer(const struct client *client, const struct response_head *head)
{
    const struct trial *trial = client->trial;
    const struct exchange *exchange = CONTAINER_OF(client->stream.owner_task, struct exchange, task);
    struct trial_outcome *outcome = trial->outcome;
    outcome->status = head->status;
    outcome->headers = keep_headers(trial, &head->headers);
    outcome->rule = arena_keep(trial->arena, exchange->error_rule);
    if (exchange->route) {
        outcome->route = arena_keep(trial->arena, exchange->route->label);
        outcome->route_id = arena_keep(trial->arena, slice_from_cstring(exchange->route->id));
    }
    if (exchange->error.reason) outcome->error = arena_keep(trial->arena, slice_from_cstring(exchange->error.text));
}

/* --- the client's end --- */

static struct client *client_of(struct server_stream *stream) { return CONTAINER_OF(stream, struct client, stream); }

static void tell_owner(struct client *client, unsigned event)
{
    client->stream.events |= (uint8_t)event;
    if (client->stream.owner_task) loop_enqueue(client->stream.loop, client->stream.owner_task);
}

static void let_go_of_answer(struct client *client)
{
    if (client->answer_body) body_pipe_detach_consumer(client->answer_body);
    loop_dequeue(client->stream.loop, &client->answer_task);
    client->answer_body = NULL;
}

static void send_interim(struct server_stream *stream, const struct response_head *head)
{
    (void)stream;
    (void)head;
}

static void take_answer(struct task *task)
{
    struct client *client = CONTAINER_OF(task, struct client, answer_task);
    struct body_pipe *body = client->answer_body;
    struct iovec piece;
    if (!body) return;
    while (body_pipe_peek(body, &piece, 1) == 1) {
        client->stream.bytes_out += piece.iov_len;
        body_pipe_consume(body, piece.iov_len);
    }
    if (body->state == BODY_OPEN) return;
    bool is_whole = body_pipe_is_drained(body);
    let_go_of_answer(client);
    tell_owner(client, is_whole ? SERVER_STREAM_SENT : SERVER_STREAM_GONE);
}

/* What can't be written to a socket can't be written here. */
static bool can_be_written(const struct client *client, struct response_head *head, struct error *error)
{
    size_t size = h1_response_head_size(head);
    char *buffer = memory_allocate(size + 1);
    bool good = h1_write_response_head(head, H1_FRAMING_NONE, true, HTTP_1_1, false, SLICE_ABSENT, buffer, error) !=
                NULL;
    (void)client;
    free(buffer);
    return good;
}

static bool send_head(struct server_stream *stream, struct response_head *head, struct body_pipe *body,
                      struct error *error)
{
    struct client *client = client_of(stream);
    if (!can_be_written(client, head, error)) return false;
    note_answer(client, head);
    stream->bytes_out++;
    client->answer_body = body;
    if (!body) {
        tell_owner(client, SERVER_STREAM_SENT);
        return true;
    }
    body_pipe_attach_consumer(body, &client->answer_task);
    loop_enqueue(stream->loop, &client->answer_task);
    return true;
}

static bool open_tunnel(struct server_stream *stream, struct response_head *head, struct tunnel_end *end,
                        struct error *error)
{
    (void)stream;
    (void)head;
    (void)end;
    return error_set(error, BLAME_US, RETRY_NEVER, 501, "no-tunnel", "a test of a configuration opens no tunnel");
}

static void reset(struct server_stream *stream)
{
    struct client *client = client_of(stream);
    struct body_pipe *answer = client->answer_body;
    let_go_of_answer(client);
    if (answer) body_pipe_stop(answer);
    tell_owner(client, SERVER_STREAM_GONE);
}

static void release(struct server_stream *stream)
{
    struct client *client = client_of(stream);
    let_go_of_answer(client);
    loop_dequeue(stream->loop, &client->request_task);
    if (stream->request_body) body_pipe_release(&client->request_body);
    arena_release(&client->arena);
    free(client->bytes);
    client->released = true;
}

static const struct server_stream_operations operations = {
    .send_interim = send_interim,
    .send_head = send_head,
    .open_tunnel = open_tunnel,
    .reset = reset,
    .release = release,
};

/* As there is credit. */
static void send_request_body(struct task *task)
{
    struct client *client = CONTAINER_OF(task, struct client, request_task);
    struct body_pipe *body = &client->request_body;
    if (body->state != BODY_OPEN) return;
    while (client->to_send.length > 0 && body_pipe_credit(body) > 0) {
        struct slice piece = slice_before(client->to_send, body_pipe_credit(body));
        if (!body_pipe_push_copy(body, &client->trial->slabs, piece)) return;
        client->stream.bytes_in += piece.length;
        client->to_send = slice_after(client->to_send, piece.length);
    }
    if (client->to_send.length == 0) body_pipe_finish(body, NULL);
}

/* --- the request --- */

static struct slice path_of(struct slice url, struct slice *authority, bool *tls)
{
    *authority = SLICE("localhost");
    *tls = slice_starts_with(url, SLICE("https://"));
    if (!*tls && !slice_starts_with(url, SLICE("http://"))) return url;
    struct slice rest = slice_after(url, *tls ? 8 : 7);
    size_t end = 0;
    while (end < rest.length && rest.at[end] != '/' && rest.at[end] != '?') end++;
    *authority = slice_before(rest, end);
    return slice_after(rest, end);
}

static bool has_host(const struct pair_list *headers)
{
    for (size_t i = 0; i < headers->count; i++) {
        if (slice_equal_ignore_case(headers->items[i].name, SLICE("Host"))) return true;
    }
    return false;
}

static char *write_head(const struct test_request_config *request, bool *tls)
{
    struct slice authority, path = path_of(request->url, &authority, tls);
    bool begins_well = path.length > 0 && path.at[0] != '?';
    char *text = memory_format("%.*s %s%.*s HTTP/1.1\r\n", SLICE_PRINT(request->method), begins_well ? "" : "/",
                               SLICE_PRINT(path));
    for (size_t i = 0; i <= request->headers.count; i++) {
        struct pair header = { SLICE("Host"), authority };
        if (i > 0) header = request->headers.items[i - 1];
        if (i == 0 && has_host(&request->headers)) continue;
        char *more = memory_format("%s%.*s: %.*s\r\n", text, SLICE_PRINT(header.name), SLICE_PRINT(header.value));
        free(text);
        text = more;
    }
    char length[48] = "";
    if (!slice_is_absent(request->body))
        snprintf(length, sizeof length, "Content-Length: %zu\r\n", request->body.length);
    char *whole = memory_format("%s%s\r\n", text, length);
    free(text);
    return whole;
}

/* False: what the session answers by itself is in the outcome. */
static bool parse(struct client *client, const struct test_request_config *request)
{
    struct h1_parser parser;
    struct error error;
    bool tls;
    client->bytes = write_head(request, &tls);
    client->peer.tls = tls;
    h1_parser_init(&parser);
    request_head_init(&client->stream.request, &client->arena);
    enum h1_result result = h1_parse_request(&parser, client->bytes, strlen(client->bytes), &client->trial->limits,
                                             &client->stream.request, &error);
    client->stream.bytes_in = parser.head_length;
    if (result == H1_COMPLETE) return true;
    if (result != H1_BAD) error_set(&error, BLAME_CLIENT, RETRY_NEVER, 400, "bad-request", "the head has no end");
    client->trial->outcome->status = error.status;
    client->trial->outcome->error = arena_keep(client->trial->arena, slice_from_cstring(error.text));
    return false;
}

static void begin_request_body(struct client *client, struct slice body)
{
    if (!client->stream.request.has_body) return;
    body_pipe_init(&client->request_body, client->stream.loop, client->stream.request.body_length);
    client->request_task.run = send_request_body;
    client->request_body.producer_task = &client->request_task;
    client->stream.request_body = &client->request_body;
    client->to_send = body;
    loop_enqueue(client->stream.loop, &client->request_task);
}

static void turn_until_released(struct trial *trial, struct client *client)
{
    uint64_t until_ms = trial->loop.now_ms + ANSWER_SECONDS_MAX * 1000;
    while (!client->released && trial->loop.now_ms < until_ms) loop_turn(&trial->loop, 10);
    if (client->released) return;
    trial->outcome->error = SLICE("there was no answer in time");
    tell_owner(client, SERVER_STREAM_GONE); /* as a client that has enough of it */
    while (!client->released) loop_turn(&trial->loop, 10);
}

static void ask(struct trial *trial, const struct test_request_config *request)
{
    struct client *client = memory_allocate(sizeof *client);
    client->trial = trial;
    client->stream = (struct server_stream){ .operations = &operations,
                                             .loop = &trial->loop,
                                             .arena = &client->arena,
                                             .peer = &client->peer,
                                             .begun_ns = trial->loop.now_ns };
    client->answer_task.run = take_answer;
    client->peer.descriptor = -1;
    arena_init(&client->arena, &trial->arenas);
    bool is_ip = address_parse_ip(request->client_ip, 40000, &client->peer.address);
    PROMISE(is_ip); /* it was checked */
    client->peer.ip_length = (uint8_t)address_write_ip(&client->peer.address, client->peer.ip_text);
    if (parse(client, request)) {
        begin_request_body(client, request->body);
        exchange_begin(&trial->worker, &client->stream);
        turn_until_released(trial, client);
    } else {
        release(&client->stream);
    }
    free(client);
}

/* --- in the middle --- */

static void keep_line(struct trial *trial, const char *name, struct slice sentence)
{
    struct slice line = arena_format(trial->arena, "%s: %.*s", name, SLICE_PRINT(sentence));
    PROMISE(!slice_is_absent(line));
    vector_push_copy(&trial->explanations, &line);
}

static void keep_explanation(struct trial *trial, const char *name, const struct explanation *explanation)
{
    for (unsigned i = 0; i < explanation->count; i++) keep_line(trial, name, explanation->lines[i]);
    if (explanation->is_cut) keep_line(trial, name, SLICE("(and more than fits in here)"));
}

static void explain_link(struct exchange *exchange, const struct chain_link *link)
{
    struct explanation explanation = { .arena = exchange->arena };
    if (!link->filter->explain) return;
    link->filter->explain(exchange, link->compiled, &explanation);
    keep_explanation(exchange->worker->owner, link->filter->name, &explanation);
}

static void explain_handler(struct exchange *exchange)
{
    const struct handler *handler = exchange->route->handler;
    struct explanation explanation = { .arena = exchange->arena };
    if (!handler->explain) return;
    handler->explain(exchange, exchange->route->handler_compiled, &explanation);
    keep_explanation(exchange->worker->owner, handler->name, &explanation);
}

static void answer_for_a_service(void *argument, const struct call_plan *plan, struct stand_in_answer *answer)
{
    struct trial *trial = argument;
    const struct test_backend_config *backend = &trial->test->backend;
    *answer = (struct stand_in_answer){ (unsigned)backend->status, backend->headers, backend->body };
    if (plan->kind != CALL_PRIMARY) return;
    trial->outcome->was_asked = true;
    trial->outcome->service = arena_keep(trial->arena, slice_from_cstring(plan->service->name));
    trial->outcome->upstream_path = arena_keep(trial->arena, plan->target);
    trial->outcome->upstream_headers = keep_headers(trial, &plan->request->headers);
}

/* --- life --- */

static void ignore(void *argument) { (void)argument; }

static void keep_pin(struct exchange_worker *worker, struct snapshot_pin *pin)
{
    (void)worker;
    (void)pin;
}

/* Nobody fetches keys here, nor asks a store for some: what is in the file is all there is. */
static bool create_surroundings(struct trial *trial, const struct configuration *configuration, struct error *error)
{
    if (!key_index_create(&trial->keys, configuration, 1, NULL, NULL, error)) return false;
    struct file_keys *keys = key_index_read_file(&trial->keys, configuration);
    key_index_put_file(&trial->keys, keys);
    key_index_forget_file(keys);
    trial->surroundings = (struct policy_surroundings){
        .api_keys = trial->keys.keys,
        .key_sets = key_sets_create(1, error),
        .limits = limit_counters_create(configuration->rate_limit_memory_bytes, 1, error),
        .mirrors = mirrors_create(1),
        .workers = 1,
    };
    return trial->surroundings.key_sets && trial->surroundings.limits;
}

static void destroy_surroundings(struct trial *trial)
{
    if (trial->surroundings.mirrors) mirrors_destroy(trial->surroundings.mirrors);
    if (trial->surroundings.key_sets) key_sets_destroy(trial->surroundings.key_sets);
    if (trial->surroundings.limits) limit_counters_destroy(trial->surroundings.limits);
    key_index_release(&trial->keys);
}

/* What a worker has (gateway/worker.c), but for sockets. */
static bool create_worker(struct trial *trial, const struct policy_registry *registry, struct error *error)
{
    slab_pool_init(&trial->slabs, SLAB_IDLE_BYTES_MAX, &trial->memory);
    arena_pool_init(&trial->arenas, ARENA_CHUNKS_IDLE_MAX, &trial->memory);
    trial->http = (struct http_worker){ .loop = &trial->loop, .slabs = &trial->slabs, .arenas = &trial->arenas };
    request_id_source_init(&trial->http.ids);
    trial->worker = (struct exchange_worker){
        .loop = &trial->loop,
        .slabs = &trial->slabs,
        .upstream = &trial->upstream,
        .metrics = trial->metrics,
        .mailbox = &trial->mailbox,
        .ids = &trial->http.ids,
        .filters = registry->filters,
        .pin_released = keep_pin,
        .owner = trial,
    };
    if (!upstream_worker_init(&trial->upstream, &trial->http, 0, error)) return false;
    trial->stand_in = (struct upstream_stand_in){ answer_for_a_service, trial };
    trial->upstream.stand_in = &trial->stand_in;
    if (exchange_worker_init(&trial->worker, error)) return true;
    upstream_worker_release(&trial->upstream);
    return false;
}

static struct snapshot *compile(struct trial *trial, struct configuration *configuration,
                                const struct policy_registry *registry, struct problems *problems)
{
    trial->limits = (struct h1_limits){
        .request_line_bytes = (uint32_t)configuration->limits.request_line_bytes,
        .header_bytes = (uint32_t)configuration->limits.header_bytes,
        .header_count = (uint16_t)configuration->limits.header_count,
    };
    trial->builder = snapshot_builder_create(&(struct snapshot_builder_settings){ .registry = registry,
                                                                                  .metrics = trial->metrics,
                                                                                  .surroundings = &trial->surroundings,
                                                                                  .workers = 1,
                                                                                  .wake = ignore });
    return snapshot_builder_load(trial->builder, configuration, problems);
}

struct trial *trial_create(struct configuration *configuration, const struct policy_registry *registry,
                           struct problems *problems)
{
    struct trial *trial = memory_allocate_aligned(sizeof *trial);
    struct error error = { .text = "" };
    vector_init(&trial->explanations, sizeof(struct slice));
    trial->metrics = metrics_create(1);
    if (!create_surroundings(trial, configuration, &error) || !loop_init(&trial->loop, &error)) goto no_loop;
    if (!mailbox_init(&trial->mailbox, &trial->loop, trial, &error)) goto no_mailbox;
    trial->pin.snapshot = compile(trial, configuration, registry, problems);
    configuration = NULL; /* the builder's */
    if (!trial->pin.snapshot || !create_worker(trial, registry, &error)) goto no_worker;
    trial->worker.current = &trial->pin;
    return trial;
no_worker:
    snapshot_builder_destroy(trial->builder);
    mailbox_release(&trial->mailbox);
no_mailbox:
    loop_release(&trial->loop);
no_loop:
    if (error.text[0]) problems_add(problems, NULL, NULL, "%s", error.text);
    configuration_destroy(configuration);
    destroy_surroundings(trial);
    metrics_destroy(trial->metrics);
    vector_release(&trial->explanations);
    free(trial);
    return NULL;
}

void trial_destroy(struct trial *trial)
{
    if (!trial) return;
    for (int i = 0; i < 8; i++) loop_turn(&trial->loop, 0); /* what outlives its request ends */
    exchange_worker_release(&trial->worker);
    upstream_worker_release(&trial->upstream);
    mailbox_release(&trial->mailbox);
    mirrors_stop(trial->surroundings.mirrors);
    snapshot_builder_destroy(trial->builder);
    loop_release(&trial->loop);
    slab_pool_release(&trial->slabs);
    arena_pool_release(&trial->arenas);
    destroy_surroundings(trial);
    metrics_destroy(trial->metrics);
    vector_release(&trial->explanations);
    free(trial);
}

static void set_time(struct trial *trial, uint64_t time_us)
{
    trial->loop.wall_shift_ns = 0;
    loop_update_time(&trial->loop);
    if (time_us) trial->loop.wall_shift_ns = (int64_t)(time_us * 1000 - trial->loop.wall_ns);
    loop_update_time(&trial->loop);
}

void trial_run(struct trial *trial, const struct test_config *test, bool explains, struct arena *arena,
               struct trial_outcome *outcome)
{
    trial->test = test;
    trial->arena = arena;
    trial->outcome = outcome;
    trial->explanations.count = 0;
    set_time(trial, test->request.time_us);
    for (int64_t i = 0; i < test->request.repeat; i++) {
        *outcome = (struct trial_outcome){ .route = SLICE(""), .service = SLICE(""), .rule = SLICE("") };
        bool is_told_of = explains && i + 1 == test->request.repeat;
        trial->worker.link_begins = is_told_of ? explain_link : NULL;
        trial->worker.handler_begins = is_told_of ? explain_handler : NULL;
        ask(trial, &test->request);
    }
    struct slice_list *lines = &outcome->explanations;
    lines->count = trial->explanations.count;
    lines->items = arena_allocate(arena, (lines->count + 1) * sizeof *lines->items);
    PROMISE(lines->items != NULL);
    if (lines->count) memcpy(lines->items, trial->explanations.items, lines->count * sizeof *lines->items);
}
