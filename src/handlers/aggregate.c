/* aggregate: asks several services at once and answers with one JSON object made of their answers.
 *
 * Start: one sub-request for each part. What is over is looked at as it comes: once a required part has failed the others are given up and
 * the client is told; else, with the last one, the answer is put together by the template (answer_template.h), and parts that failed are
 * listed in it. The route's time bounds all; whatever is not there by then has failed. State: the compiled parts (route), the
 * sub-requests (exchange). Memory: the parts' answers, up to `maxBytes` each, in the exchange's arena. */
#include "handlers/handlers.h"

#include "base/memory.h"
#include "config/resource.h"
#include "exchange/sub_request.h"
#include "handlers/answer_template.h"
#include "handlers/part_path.h"
#include "http/our_names.h"
#include "json/scan.h"
#include "json/writer.h"

#include <stdlib.h>

#define ANSWER_BYTES_MAX (32u << 20)

struct part_header {
    char *name_text;
    struct slice name;
    struct template *value; /* NULL: the client's own goes along */
};

struct aggregate_part {
    char *name_text;
    struct slice name;
    uint32_t service; /* for exchange_service() */
    uint32_t timeout_ms;
    size_t bytes_max;
    bool is_required, is_text;
    struct part_path *path;
    struct part_header *headers;
    size_t header_count;
    struct slice fallback; /* JSON; absent: none */
};

struct aggregate {
    struct arena arena; /* fallbacks */
    struct answer_template *answer;
    size_t count;
    struct aggregate_part parts[];
};

/* A part in one exchange. */
struct part_run {
    struct sub_request sub;
    bool is_over;
    const char *reason;    /* it failed; NULL: it did not */
    unsigned status;       /* of its answer; 0: none */
    struct slice json;     /* absent: nothing to show */
    struct headers advice; /* fields of its answer that its status is worth little without */
};

struct aggregate_state {
    struct exchange *exchange;
    const struct aggregate *aggregate;
    struct exchange_wait wait;
    struct task task;
    struct part_run *runs;
    size_t open;
    bool has_failed; /* a required one */
};

static bool aggregate_takes(const struct route_config *);
static bool aggregate_compile(const struct filter_compile *, const struct route_config *, void **compiled);
static void aggregate_release(void *compiled);
static void aggregate_start(struct exchange *, const void *compiled, void *value);
static void aggregate_resume(struct exchange *, const void *compiled, void *value);
static void aggregate_finish(struct exchange *, const void *compiled, void *value);
static void aggregate_explain(struct exchange *, const void *compiled, struct explanation *);

const struct handler handler_aggregate = {
    .name = "aggregate",
    .summary = "Puts one answer together from those of several services.",
    .state_size = sizeof(struct aggregate_state),
    .takes = aggregate_takes,
    .compile = aggregate_compile,
    .release = aggregate_release,
    .start = aggregate_start,
    .resume = aggregate_resume,
    .finish = aggregate_finish,
    .explain = aggregate_explain,
};

static bool aggregate_takes(const struct route_config *route) { return route->has_aggregate; }

/* --- loading --- */

static struct filter_compile at(const struct filter_compile *compile, const struct node *node)
{
    struct filter_compile here = *compile;
    if (node) here.node = node;
    return here;
}

static bool compile_headers(const struct filter_compile *compile, const struct aggregate_part_config *config,
                            struct aggregate_part *part)
{
    struct filter_compile here = at(compile, compile->node ? node_find(compile->node, "headers") : NULL);
    bool good = true;
    part->headers = memory_allocate_array(config->forward_headers.count + config->headers.count + 1,
                                          sizeof *part->headers);
    for (size_t i = 0; i < config->forward_headers.count; i++) {
        struct part_header *header = &part->headers[part->header_count++];
        header->name_text = memory_copy_slice(config->forward_headers.items[i]);
        header->name = slice_of(header->name_text, config->forward_headers.items[i].length);
    }
    for (size_t i = 0; i < config->headers.count; i++) {
        const struct pair *pair = &config->headers.items[i];
        struct template *value = filter_compile_template(&here, pair->name.at, pair->value);
        good &= value != NULL;
        if (!value) continue;
        struct part_header *header = &part->headers[part->header_count++];
        header->name_text = memory_copy_slice(pair->name);
        header->name = slice_of(header->name_text, pair->name.length);
        header->value = value;
    }
    return good;
}

static bool compile_part(const struct filter_compile *compile, const struct aggregate_part_config *config,
                         struct aggregate *aggregate)
{
    struct aggregate_part *part = &aggregate->parts[aggregate->count++];
    part->name_text = memory_copy_slice(config->name);
    part->name = slice_of(part->name_text, config->name.length);
    part->timeout_ms = (uint32_t)config->timeout_ms;
    part->bytes_max = config->bytes_max;
    part->is_required = config->required;
    part->is_text = config->form == AGGREGATE_TEXT;
    part->service = compile->service(compile, "service", config->service);
    part->path = part_path_compile(compile, config->path);
    if (config->fallback) part->fallback = node_write_json(&aggregate->arena, config->fallback);
    bool headers_good = compile_headers(compile, config, part);
    return headers_good && part->service != SERVICE_NONE && part->path;
}

static bool compile_answer(const struct filter_compile *compile, const struct aggregate_config *config,
                           struct aggregate *aggregate)
{
    struct slice *names = memory_allocate_array(aggregate->count + 1, sizeof *names);
    size_t *bytes_max = memory_allocate_array(aggregate->count + 1, sizeof *bytes_max);
    for (size_t i = 0; i < aggregate->count; i++) {
        names[i] = aggregate->parts[i].name;
        bytes_max[i] = aggregate->parts[i].bytes_max;
    }
    struct answer_parts parts = {
        .names = names, .bytes_max = bytes_max, .count = aggregate->count, .errors_name = config->errors
    };
    aggregate->answer = answer_template_compile(compile, config->answer, &parts);
    free(bytes_max);
    free(names);
    return aggregate->answer != NULL;
}

static bool aggregate_compile(const struct filter_compile *compile, const struct route_config *route, void **compiled)
{
    const struct aggregate_config *config = &route->aggregate;
    const struct aggregate_part_config *parts = config->parts.items;
    struct filter_compile here = at(compile, compile->node ? node_find(compile->node, "aggregate") : NULL);
    struct aggregate *aggregate = memory_allocate(sizeof *aggregate + config->parts.count * sizeof *aggregate->parts);
    arena_init(&aggregate->arena, NULL);
    const struct node *list = here.node ? node_find(here.node, "parts") : NULL;
    const struct node *item = list && list->kind == NODE_LIST ? list->first : list;
    bool good = true;
    for (size_t i = 0; i < config->parts.count; i++, item = item ? item->next : NULL) {
        struct filter_compile at_part = at(&here, item);
        good &= compile_part(&at_part, &parts[i], aggregate);
    }
    good &= compile_answer(&here, config, aggregate);
    if (good)
        *compiled = aggregate;
    else
        aggregate_release(aggregate);
    return good;
}

static void aggregate_release(void *compiled)
{
    struct aggregate *aggregate = compiled;
    for (size_t i = 0; i < aggregate->count; i++) {
        struct aggregate_part *part = &aggregate->parts[i];
        for (size_t j = 0; j < part->header_count; j++) {
            template_destroy(part->headers[j].value);
            free(part->headers[j].name_text);
        }
        free(part->headers);
        part_path_destroy(part->path);
        free(part->name_text);
    }
    answer_template_destroy(aggregate->answer);
    arena_release(&aggregate->arena);
    free(aggregate);
}

/* --- the parts --- */

static struct slice render(const void *argument, const struct template *template)
{
    return exchange_render(argument, template);
}

static void part_failed(struct aggregate_state *state, size_t index, const char *reason, unsigned status)
{
    const struct aggregate_part *part = &state->aggregate->parts[index];
    struct part_run *run = &state->runs[index];
    run->is_over = true;
    run->reason = reason;
    run->status = status;
    run->json = part->fallback;
    state->has_failed |= part->is_required;
}

/* What a proxy says of the client counts from one that is trusted alone, as towards a route's service. */
static bool is_forged(const struct exchange *exchange, const struct header *header)
{
    return header->from_wire && !exchange->from_trusted_proxy &&
           (header->id == HEADER_FORWARDED || header_name_is_a_proxys(header->name));
}

static bool add_header(struct sub_request *sub, const struct exchange *exchange, const struct part_header *header)
{
    const struct headers *from = &exchange->request->headers;
    if (header->value) {
        struct slice value = exchange_render(exchange, header->value);
        if (slice_is_absent(value)) return false;
        return value.length == 0 || headers_set(&sub->head.headers, header->name, value);
    }
    for (const struct header *found = headers_find(from, header->name); found; found = headers_find_next(from, found)) {
        if (is_forged(exchange, found)) continue;
        if (!headers_add(&sub->head.headers, found->name, found->value)) return false;
    }
    return true;
}

/* False when memory is short. */
static bool write_head(struct sub_request *sub, const struct exchange *exchange, const struct aggregate_part *part)
{
    bool good = part->is_text || headers_set_known(&sub->head.headers, HEADER_ACCEPT, SLICE("application/json"));
    good = good && sub_request_tell_client(sub, exchange);
    for (size_t i = 0; i < part->header_count && good; i++) good = add_header(sub, exchange, &part->headers[i]);
    headers_remove_known(&sub->head.headers, HEADER_ACCEPT_ENCODING); /* what is looked into comes as it is */
    return good;
}

/* What the client brings into a header may hold what none can. */
static bool can_be_sent(const struct headers *headers)
{
    for (const struct header *header = headers_next(headers, NULL); header; header = headers_next(headers, header)) {
        if (!header_value_is_valid(header->value)) return false;
    }
    return true;
}

/* Any of them may be the last straw: false when memory is short. */
static bool start_part(struct aggregate_state *state, size_t index)
{
    struct exchange *exchange = state->exchange;
    const struct aggregate_part *part = &state->aggregate->parts[index];
    struct sub_request *sub = &state->runs[index].sub;
    struct slice target;
    switch (part_path_write(part->path, render, exchange, exchange->arena, &target)) {
    case PART_PATH_WRITTEN: break;
    case PART_PATH_BAD_VALUE: part_failed(state, index, "bad-path", 400); return true;
    case PART_PATH_NO_MEMORY: return false;
    }
    sub_request_init(sub, exchange->worker, exchange->arena);
    if (!write_head(sub, exchange, part)) return false;
    if (!can_be_sent(&sub->head.headers)) {
        part_failed(state, index, "bad-field", 400);
        return true;
    }
    struct sub_request_plan plan = {
        .service = exchange_service(exchange, part->service),
        .target = target,
        .deadline_ms = part->timeout_ms ? sub_request_deadline(exchange, part->timeout_ms)
                                        : exchange_deadline_ms(exchange),
        .answer_bytes_max = part->bytes_max,
        .retry_count = exchange->route->retry_count,
        .repeatable = true,
        .owner_task = &state->task,
    };
    if (plan.service->algorithm == LB_IP_HASH) plan.client_hash = exchange_client_hash(exchange);
    sub_request_start(sub, &plan);
    state->open++;
    return true;
}

/* What came, as JSON; or why it can't be. NULL: *json. */
static const char *read_answer(const struct exchange *exchange, const struct aggregate_part *part,
                               const struct sub_request *sub, struct slice *json)
{
    const struct response_head *response = sub->response;
    struct error error;
    PROMISE(response != NULL); /* it is over, and without an error */
    if (response->status < 200 || response->status > 299) return "status";
    if (sub->is_cut) return "too-large";
    struct slice coding = headers_value(&response->headers, HEADER_CONTENT_ENCODING);
    if (coding.length > 0 && !slice_equal_ignore_case(coding, SLICE("identity"))) return "encoded";
    if (part->is_text) {
        *json = json_quote(exchange->arena, sub->body);
        return slice_is_absent(*json) ? "overload" : NULL;
    }
    return json_scan_whole(sub->body, json, &error) ? NULL : "not-json";
}

static void tell_time(struct exchange *exchange, const struct upstream_call *call)
{
    if (!call->head_ns) return;
    uint64_t took_ns = call->head_ns - call->started_ns;
    if (took_ns > exchange->upstream_ns) exchange->upstream_ns = took_ns;
}

/* What a client needs to do better: whom to show what (RFC 9110 15.5.2: a 401 has a challenge), when to come again. Copied, since the answer
 * goes with its sub-request. In short memory the client goes without. */
static void keep_advice(const struct exchange *exchange, struct part_run *run, const struct response_head *response)
{
    static const struct slice challenge = SLICE("WWW-Authenticate"), retry = SLICE("Retry-After");
    const struct slice *wanted = response->status == 401                              ? &challenge
                                 : response->status == 429 || response->status == 503 ? &retry
                                                                                      : NULL;
    headers_init(&run->advice, exchange->arena);
    if (!wanted || exchange_hides(exchange, *wanted)) return;
    for (const struct header *field = headers_find(&response->headers, *wanted); field;
         field = headers_find_next(&response->headers, field)) {
        struct slice value = arena_copy(exchange->arena, field->value);
        if (slice_is_absent(value) || !headers_add(&run->advice, *wanted, value)) return;
    }
}

static void settle(struct aggregate_state *state, size_t index)
{
    struct exchange *exchange = state->exchange;
    struct part_run *run = &state->runs[index];
    struct sub_request *sub = &run->sub;
    unsigned status = sub->response ? sub->response->status : 0;
    const char *reason = sub->error.reason;
    tell_time(exchange, &sub->call);
    if (!reason) reason = read_answer(exchange, &state->aggregate->parts[index], sub, &run->json);
    if (reason) {
        part_failed(state, index, reason, status ? status : sub->error.status);
        if (sub->response) keep_advice(exchange, run, sub->response);
        metrics_count_error(exchange->worker->metrics, exchange->worker->index, "aggregate-part-failed");
    }
    run->is_over = true;
    run->status = status ? status : run->status;
    state->open--;
    sub_request_end(sub);
}

static void give_up(struct aggregate_state *state)
{
    for (size_t i = 0; i < state->aggregate->count; i++) sub_request_end(&state->runs[i].sub);
    loop_dequeue(state->exchange->worker->loop, &state->task);
}

/* --- the answer --- */

static void answer_no_memory(struct exchange *exchange)
{
    exchange_respond_problem(exchange, 503, "out-of-memory", SLICE_ABSENT, "the gateway is short of memory");
    exchange_answer_prepared(exchange);
}

/* What concerns the client of a part's status; the rest is between us and the service. */
static unsigned status_for_client(const struct part_run *run)
{
    switch (run->status) {
    case 400:
    case 401:
    case 403:
    case 404:
    case 409:
    case 410:
    case 422:
    case 429:
    case 503: return run->status; /* of the service, or as no instance is up: come again */
    case 504: return strcmp(run->reason, "status") == 0 ? 502 : 504;
    default: return 502;
    }
}

/* In place of what a problem of ours says by itself. False when memory is short. */
static bool give_advice(struct exchange *exchange, const struct part_run *run)
{
    struct headers *headers = &exchange->own_response.headers;
    const struct header *field = headers_next(&run->advice, NULL);
    if (field) headers_remove(headers, field->name);
    for (; field; field = headers_next(&run->advice, field)) {
        if (!headers_add(headers, field->name, field->value)) return false;
    }
    return true;
}

/* The first required part that failed. */
static void answer_failure(struct aggregate_state *state)
{
    struct exchange *exchange = state->exchange;
    size_t index = 0;
    while (!state->runs[index].reason || !state->aggregate->parts[index].is_required) index++;
    const struct aggregate_part *part = &state->aggregate->parts[index];
    const struct part_run *run = &state->runs[index];
    struct error error = run->sub.error;
    if (strcmp(run->reason, "status") == 0)
        exchange_respond_problem(exchange, status_for_client(run), "aggregate-part-failed", SLICE_ABSENT,
                                 "part \"%.*s\" of the answer could not be had: its service answered %u",
                                 SLICE_PRINT(part->name), run->status);
    else
        exchange_respond_problem(exchange, status_for_client(run), "aggregate-part-failed", SLICE_ABSENT,
                                 "part \"%.*s\" of the answer could not be had: %s", SLICE_PRINT(part->name),
                                 run->reason);
    if (error.reason) {
        exchange->error = error; /* to the operator all of it */
        error_prefix(&exchange->error, "part \"%.*s\"", SLICE_PRINT(part->name));
    }
    if (!give_advice(exchange, run)) {
        answer_no_memory(exchange);
        return;
    }
    exchange_answer_prepared(exchange);
}

/* False when memory is short. */
static bool collect(struct aggregate_state *state, struct answer_values *values)
{
    size_t count = state->aggregate->count;
    struct arena *arena = state->exchange->arena;
    struct slice *parts = arena_allocate(arena, count * sizeof *parts);
    struct answer_failure *failures = arena_allocate(arena, count * sizeof *failures);
    if (!parts || !failures) return false;
    *values = (struct answer_values){
        .parts = parts, .failures = failures, .render = render, .argument = state->exchange
    };
    for (size_t i = 0; i < count; i++) {
        const struct part_run *run = &state->runs[i];
        parts[i] = run->json;
        if (!run->reason) continue;
        failures[values->failure_count++] = (struct answer_failure){ .part = state->aggregate->parts[i].name,
                                                                     .reason = run->reason,
                                                                     .status = run->status };
    }
    return true;
}

static void answer(struct aggregate_state *state)
{
    struct exchange *exchange = state->exchange;
    struct answer_values values;
    struct slice text;
    give_up(state);
    if (state->has_failed) {
        answer_failure(state);
        return;
    }
    if (!collect(state, &values)) {
        answer_no_memory(exchange);
        return;
    }
    switch (answer_template_write(state->aggregate->answer, &values, exchange->arena, ANSWER_BYTES_MAX, &text)) {
    case ANSWER_WRITTEN:
        exchange_respond(exchange, 200, SLICE("application/json"), text);
        exchange_answer_prepared(exchange);
        break;
    case ANSWER_TOO_LARGE:
        exchange_respond_problem(exchange, 502, "too-large", SLICE_ABSENT, "the answer is larger than 32 MiB");
        exchange_answer_prepared(exchange);
        break;
    case ANSWER_NO_MEMORY: answer_no_memory(exchange); break;
    }
}

/* --- the handler --- */

/* Some part is over. */
static void aggregate_task(struct task *task)
{
    struct aggregate_state *state = CONTAINER_OF(task, struct aggregate_state, task);
    for (size_t i = 0; i < state->aggregate->count; i++) {
        if (state->runs[i].sub.is_over && !state->runs[i].is_over) settle(state, i);
    }
    if (state->open == 0 || state->has_failed) exchange_resume(&state->wait);
}

static void aggregate_start(struct exchange *exchange, const void *compiled, void *value)
{
    struct aggregate_state *state = value;
    const struct aggregate *aggregate = compiled;
    struct part_run *runs = arena_allocate_zeroed(exchange->arena, aggregate->count * sizeof *runs);
    if (!runs) {
        answer_no_memory(exchange);
        return;
    }
    state->exchange = exchange;
    state->aggregate = aggregate;
    state->runs = runs;
    state->task.run = aggregate_task;
    for (size_t i = 0; i < aggregate->count && !state->has_failed; i++) {
        if (start_part(state, i)) continue;
        give_up(state);
        answer_no_memory(exchange);
        return;
    }
    if (state->open == 0 || state->has_failed)
        answer(state);
    else
        exchange_wait(exchange, &state->wait, NULL, exchange_deadline_ms(exchange));
}

/* What is over by now counts, whichever of the two deadlines was seen first. */
static void aggregate_resume(struct exchange *exchange, const void *compiled, void *value)
{
    (void)exchange, (void)compiled;
    struct aggregate_state *state = value;
    for (size_t i = 0; i < state->aggregate->count; i++) {
        struct part_run *run = &state->runs[i];
        if (run->is_over || state->has_failed) continue;
        if (run->sub.is_over)
            settle(state, i);
        else
            part_failed(state, i, "timeout", 504);
    }
    answer(state);
}

static void aggregate_finish(struct exchange *exchange, const void *compiled, void *value)
{
    (void)exchange, (void)compiled;
    struct aggregate_state *state = value;
    if (state->exchange) give_up(state);
}

/* --- explanations --- */

/* What it means for the answer where it fails. */
static const char *word_of_need(const struct aggregate_part *part)
{
    if (part->is_required) return "required";
    return slice_is_absent(part->fallback) ? "optional" : "optional, with a fallback";
}

/* Without the query: it may hold a secret. */
static void explain_part(struct exchange *exchange, const struct aggregate_part *part, struct explanation *explanation)
{
    struct slice target = SLICE_ABSENT;
    if (part_path_write(part->path, render, exchange, exchange->arena, &target) != PART_PATH_WRITTEN) {
        explanation_add(explanation, "part \"%.*s\" (%s) is not asked for: values of the request make no path",
                        SLICE_PRINT(part->name), word_of_need(part));
        return;
    }
    size_t query = slice_find_byte(target, '?');
    explanation_add(explanation, "part \"%.*s\" (%s) asks service \"%s\" for %.*s%s, for at most %u ms",
                    SLICE_PRINT(part->name), word_of_need(part), exchange_service(exchange, part->service)->name,
                    SLICE_PRINT(slice_before(target, query)), query == SLICE_NOT_FOUND ? "" : " and a query",
                    part->timeout_ms ? part->timeout_ms : exchange->route->timeout_ms);
}

static void aggregate_explain(struct exchange *exchange, const void *compiled, struct explanation *explanation)
{
    const struct aggregate *aggregate = compiled;
    explanation_add(explanation, "asks all its parts at once, and puts one answer together");
    for (size_t i = 0; i < aggregate->count; i++) explain_part(exchange, &aggregate->parts[i], explanation);
}
