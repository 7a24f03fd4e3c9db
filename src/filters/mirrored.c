/* filters/mirrored.c: one mirrored request, from its copy to what came of it. See mirror.h.
 *
 *   made ─► sent, next turn ─► head ─► body to its end ─► over ─┐
 *   the exchange: its answer's head ─► its body ─► over ────────┴─► with the judge, where answers are compared ─► freed
 *
 * Nothing of the exchange is pointed at once that has ended: the head is copied into the arena, the body's pieces hold their slabs, the
 * tee's end is cut by whichever of the two pipes goes first. */
#include "filters/mirror.h"

#include "base/memory.h"
#include "filters/filters.h"

#include <xxhash.h>

/* One worker's. */
struct mirror_keeper {
    struct list_link all; /* struct mirrored */
};

/* Pieces of a body that the mirror hasn't taken yet, in order. */
struct backlog {
    struct body_piece *pieces; /* malloc'ed */
    uint32_t first, count, capacity;
    size_t bytes; /* of the slabs that it holds */
};

struct mirrored {
    struct list_link link;
    struct exchange_worker *worker;
    const struct mirror *mirror;  /* of the route's chain */
    struct compiled_route *route; /* one reference */
    struct service *service;      /* one reference */
    struct exchange *exchange;    /* NULL: it has ended */
    struct arena arena;
    struct request_head request;
    struct slice target, request_id, path;
    struct body_pipe tap, body;
    struct backlog backlog;
    struct task start, task, mover;
    struct timer deadline;
    struct upstream_call call;
    bool has_body, is_started, is_over, is_too_late;
    uint64_t begun_ns, primary_begun_ns; /* the copy goes out a turn after the request itself */
    /* Comparing. */
    struct kept_answer primary, copy; /* the service's, the mirror's */
    struct body_watch watch;
    struct body_pipe *watched; /* NULL: the service's answer has no body, or it isn't kept */
};

static void send_copy(struct task *);
static void look(struct task *);
static void deadline_passed(struct timer *);

/* --- the worker's --- */

bool mirror_worker_start(struct exchange_worker *worker, void **kept)
{
    struct mirror_keeper *keeper = calloc(1, sizeof *keeper);
    if (!keeper) return false;
    list_init(&keeper->all);
    *kept = keeper;
    return true;
}

/* --- making it --- */

static bool copy_headers(struct mirrored *mirrored, const struct headers *from)
{
    for (const struct header *field = headers_next(from, NULL); field; field = headers_next(from, field)) {
        struct slice value = arena_copy(&mirrored->arena, field->value);
        if (slice_is_absent(value)) return false;
        if (field->id != HEADER_OTHER) {
            if (!headers_add_known(&mirrored->request.headers, (enum header_id)field->id, value)) return false;
            continue;
        }
        struct slice name = arena_copy(&mirrored->arena, field->name);
        if (slice_is_absent(name) || !headers_add(&mirrored->request.headers, name, value)) return false;
    }
    return true;
}

/* The mirror asks for no 100, and gets no secret that the client meant for somebody else, unless it is to. */
static void remove_what_is_not_its_own(struct headers *headers, bool forwards_credentials)
{
    headers_remove_known(headers, HEADER_EXPECT);
    if (forwards_credentials) return;
    headers_remove_known(headers, HEADER_AUTHORIZATION);
    headers_remove_known(headers, HEADER_COOKIE);
    headers_remove_known(headers, HEADER_X_API_KEY);
}

static bool copy_request(struct mirrored *mirrored, const struct exchange *exchange, struct slice target)
{
    const struct request_head *from = exchange->request;
    struct request_head *request = &mirrored->request;
    struct arena *arena = &mirrored->arena;
    request_head_init(request, arena);
    request->method = from->method;
    request->version = from->version;
    request->method_text = arena_copy(arena, from->method_text);
    request->body_length = from->body_length;
    request->has_body = exchange->request_body != NULL;
    if (!request->has_body) request->body_length = 0;
    request->authority = SLICE("");
    if (exchange->route->preserve_host && from->authority.length > 0)
        request->authority = arena_copy(arena, from->authority);
    mirrored->target = arena_copy(arena, target);
    mirrored->request_id = arena_copy(arena, exchange->request_id);
    mirrored->path = arena_copy(arena, from->target.path);
    if (slice_is_absent(request->method_text) || slice_is_absent(mirrored->target) ||
        slice_is_absent(request->authority) || !copy_headers(mirrored, &from->headers))
        return false;
    bool forwards = mirrored->mirror->forwards_credentials;
    remove_what_is_not_its_own(&request->headers, forwards);
    if (!forwards && !credentials_strip_copy(exchange, &request->headers, &mirrored->target)) return false;
    return headers_add(&request->headers, mirrored_header, SLICE("1"));
}

/* --- the body: what the exchange's pipe is pushed goes through `tap` and the backlog into the call's `body` --- */

static void drop_backlog(struct backlog *backlog)
{
    for (uint32_t i = 0; i < backlog->count; i++) slab_drop(backlog->pieces[backlog->first + i].slab);
    free(backlog->pieces);
    *backlog = (struct backlog){ 0 };
}

static bool make_room(struct backlog *backlog)
{
    if (backlog->first + backlog->count < backlog->capacity) return true;
    if (backlog->pieces && backlog->first > backlog->capacity / 2) {
        memmove(backlog->pieces, backlog->pieces + backlog->first, backlog->count * sizeof *backlog->pieces);
        backlog->first = 0;
        return true;
    }
    uint32_t capacity = backlog->capacity ? backlog->capacity * 2 : 16;
    struct body_piece *pieces = realloc(backlog->pieces, capacity * sizeof *pieces);
    if (!pieces) return false;
    backlog->pieces = pieces;
    backlog->capacity = capacity;
    return true;
}

/* Takes over the piece's slab. What is held is counted by slabs, as a piece holds all of its. False: it lags too far behind. */
static bool append(struct backlog *backlog, const struct body_piece *piece, size_t limit)
{
    const struct body_piece *last = backlog->count ? &backlog->pieces[backlog->first + backlog->count - 1] : NULL;
    size_t bytes = last && last->slab == piece->slab ? 0 : piece->slab->size;
    if (backlog->bytes + bytes > limit || !make_room(backlog)) {
        slab_drop(piece->slab);
        return false;
    }
    PROMISE(backlog->pieces != NULL);
    backlog->pieces[backlog->first + backlog->count++] = *piece;
    backlog->bytes += bytes;
    return true;
}

static struct body_piece take_first(struct backlog *backlog)
{
    struct body_piece piece = backlog->pieces[backlog->first++];
    const struct body_piece *next = --backlog->count ? &backlog->pieces[backlog->first] : NULL;
    if (!next || next->slab != piece.slab) backlog->bytes -= piece.slab->size;
    if (!next) backlog->first = 0;
    return piece;
}

static void lose_body(struct mirrored *mirrored, const char *why)
{
    struct error error;
    error_set(&error, BLAME_US, RETRY_NEVER, 0, "tee-cut", "the copy of a body was cut off: %s", why);
    drop_backlog(&mirrored->backlog);
    body_pipe_stop(&mirrored->tap);
    body_pipe_abort(&mirrored->body, &error);
}

/* Runs in the turn in which something was pushed, before its producer goes on: so the tap, which has few places, is never full. */
static void move_body(struct task *task)
{
    struct mirrored *mirrored = CONTAINER_OF(task, struct mirrored, mover);
    struct body_pipe *tap = &mirrored->tap, *body = &mirrored->body;
    struct backlog *backlog = &mirrored->backlog;
    if (body->state != BODY_OPEN) return;
    if (body_pipe_is_stopped(body)) {
        lose_body(mirrored, "the mirror wants no more");
        return;
    }
    for (struct body_piece piece; body_pipe_take(tap, &piece);) {
        if (append(backlog, &piece, mirrored->mirror->buffer_bytes)) continue;
        lose_body(mirrored, "the mirror is too slow");
        return;
    }
    while (backlog->count > 0 && body_pipe_credit(body) > 0) {
        struct body_piece piece = take_first(backlog);
        body_pipe_push(body, piece.slab, piece.at, piece.length);
    }
    if (tap->state == BODY_ABORTED)
        lose_body(mirrored, "it was not whole");
    else if (backlog->count == 0 && tap->state == BODY_FINISHED)
        body_pipe_finish(body, NULL); /* the exchange's trailers die with it, so the copy goes without */
}

/* What has come of the body already, then all that comes. False: a part of it can't be held. */
static bool tee_body(struct mirrored *mirrored, struct exchange *exchange)
{
    struct body_pipe *original = exchange->request_body, *tap = &mirrored->tap;
    struct loop *loop = exchange->worker->loop;
    if (!original) return true;
    if (original->state == BODY_ABORTED || original->stopped) return false;
    body_pipe_init(tap, loop, original->expected);
    body_pipe_init(&mirrored->body, loop, original->expected);
    mirrored->has_body = true;
    mirrored->mover.run = move_body;
    mirrored->body.producer_task = &mirrored->mover;
    body_pipe_attach_consumer(tap, &mirrored->mover);
    uint64_t held = 0;
    for (unsigned i = 0; i < original->count; i++) {
        const struct body_piece *piece = &original->pieces[(original->first + i) & (BODY_PIPE_PIECES - 1)];
        if (!piece->slab || piece->slab->is_reserve) return false;
        held += piece->length;
        slab_retain(piece->slab);
        if (!append(&mirrored->backlog, piece, mirrored->mirror->buffer_bytes)) return false;
    }
    if (held != original->pushed)
        return false; /* a policy has read of it, and the rest waits to be read again elsewhere */
    loop_enqueue(loop, &mirrored->mover);
    if (original->state == BODY_OPEN) return body_pipe_tee(original, tap, BODY_TEE_LOSSY, exchange->arena);
    body_pipe_finish(tap, NULL);
    return true;
}

static void mirrored_destroy(struct mirrored *);

struct mirrored *mirrored_create(struct exchange *exchange, const struct mirror *mirror, struct slice target)
{
    struct mirror_keeper *keeper = exchange_kept(exchange, &filter_mirror);
    struct mirrored *mirrored = calloc(1, sizeof *mirrored);
    if (!mirrored) return NULL;
    mirrored->worker = exchange->worker;
    mirrored->mirror = mirror;
    mirrored->route = exchange->route;
    mirrored->service = exchange_service(exchange, mirror->service);
    mirrored->exchange = exchange;
    mirrored->primary_begun_ns = exchange->worker->loop->now_ns;
    mirrored->start.run = send_copy;
    mirrored->task.run = look;
    mirrored->call.owner_task = &mirrored->task;
    timer_init(&mirrored->deadline, deadline_passed);
    arena_init(&mirrored->arena, exchange->arena->pool);
    compiled_route_retain(mirrored->route);
    service_retain(mirrored->service);
    list_push_back(&keeper->all, &mirrored->link);
    mirror_change_in_flight(mirror->figures, exchange->worker->index, 1);
    if (!copy_request(mirrored, exchange, target) || !tee_body(mirrored, exchange)) {
        mirrored_destroy(mirrored);
        return NULL;
    }
    loop_enqueue_next(exchange->worker->loop, &mirrored->start); /* the request itself goes first */
    return mirrored;
}

static void end_call(struct mirrored *mirrored)
{
    struct loop *loop = mirrored->worker->loop;
    timer_clear(&loop->timers, &mirrored->deadline);
    loop_dequeue(loop, &mirrored->start);
    if (mirrored->is_started) upstream_call_cancel(&mirrored->call);
    mirrored->is_started = false;
    loop_dequeue(loop, &mirrored->task);
    if (mirrored->has_body) {
        loop_dequeue(loop, &mirrored->mover);
        body_pipe_release(&mirrored->tap);
        body_pipe_release(&mirrored->body);
        drop_backlog(&mirrored->backlog);
    }
    mirrored->has_body = false;
    if (!mirrored->is_over) mirror_change_in_flight(mirrored->mirror->figures, mirrored->worker->index, -1);
    mirrored->is_over = true;
}

static void mirrored_destroy(struct mirrored *mirrored)
{
    struct snapshot_builder *builder = mirrored->route->builder;
    end_call(mirrored);
    list_remove(&mirrored->link);
    arena_release(&mirrored->arena);
    free(mirrored->primary.body);
    free(mirrored->copy.body);
    snapshot_service_drop(builder, mirrored->service);
    compiled_route_drop(mirrored->route); /* and with it, maybe, the policy */
    free(mirrored);
}

void mirror_worker_stop(struct exchange_worker *worker, void *kept)
{
    (void)worker;
    struct mirror_keeper *keeper = kept;
    struct list_link *link;
    while ((link = list_first(&keeper->all)) != NULL) mirrored_destroy(CONTAINER_OF(link, struct mirrored, link));
    free(keeper);
}

/* --- the answers --- */

static void keep_body(struct kept_answer *answer, size_t limit, const char *at, size_t length)
{
    if (answer->is_cut) return;
    if (length > limit - answer->length) {
        answer->is_cut = true;
    } else if (answer->length + length > answer->capacity) {
        size_t capacity = answer->capacity ? answer->capacity * 2 : 4096;
        if (capacity < answer->length + length) capacity = answer->length + length;
        char *body = realloc(answer->body, capacity);
        answer->is_cut = !body;
        if (body) answer->body = body, answer->capacity = capacity;
    }
    if (answer->is_cut) {
        free(answer->body);
        answer->body = NULL;
        answer->length = answer->capacity = 0;
        return;
    }
    memcpy(answer->body + answer->length, at, length);
    answer->length += length;
}

/* All lines of a field, in order, as the one that they stand for (RFC 9110 5.3). Set-Cookie is no list and stays lines: nothing of a value can be
 * taken for the border between two. Absent: there is none, or memory is short (false). */
static bool keep_field(struct arena *arena, const struct headers *headers, struct slice name, struct slice *value)
{
    const struct header *first = headers_find(headers, name);
    struct slice border = first && first->id == HEADER_SET_COOKIE ? SLICE("\n") : SLICE(", ");
    size_t length = 0;
    *value = SLICE_ABSENT;
    if (!first) return true;
    for (const struct header *line = first; line; line = headers_find_next(headers, line))
        length += line->value.length + border.length;
    char *joined = arena_allocate(arena, length), *at = joined;
    if (!joined) return false;
    for (const struct header *line = first; line; line = headers_find_next(headers, line)) {
        at = mempcpy(at, line->value.at, line->value.length);
        at = mempcpy(at, border.at, border.length);
    }
    *value = slice_of(joined, length - border.length);
    return true;
}

/* The values of fields that are compared. Those of the service's answer may not live as long as we do. */
static void keep_head(struct mirrored *mirrored, struct kept_answer *answer, const struct response_head *head,
                      uint64_t begun_ns)
{
    const struct comparison_rules *rules = &mirrored->mirror->rules;
    struct arena *arena = &mirrored->arena;
    answer->status = head->status;
    answer->head_ns = mirrored->worker->loop->now_ns - begun_ns;
    answer->coding = headers_value(&head->headers, HEADER_CONTENT_ENCODING);
    answer->coding = answer->coding.length ? arena_copy(arena, answer->coding) : SLICE("");
    struct slice *values = arena_allocate(arena, (rules->header_count + 1) * sizeof *values);
    if (!values) return;
    for (size_t i = 0; i < rules->header_count; i++) {
        if (!keep_field(arena, &head->headers, rules->headers[i], &values[i])) return;
    }
    answer->headers = values;
}

/* --- the exchange's side --- */

static size_t look_on(struct body_watch *watch, const char *at, size_t length)
{
    struct mirrored *mirrored = CONTAINER_OF(watch, struct mirrored, watch);
    keep_body(&mirrored->primary, mirrored->mirror->compared_bytes_max, at, length);
    return length;
}

void mirrored_watch_primary(struct mirrored *mirrored)
{
    const struct mirror *mirror = mirrored->mirror;
    struct exchange *exchange = mirrored->exchange;
    if (!mirror->compares || !exchange->response) return;
    keep_head(mirrored, &mirrored->primary, exchange->response, mirrored->primary_begun_ns);
    struct body_pipe *body = exchange->response_body;
    mirrored->primary.is_whole = !body;
    if (!body || mirror->rules.body == COMPARE_NO_BODY) return;
    bool is_long = exchange->response->body_length != BODY_LENGTH_UNKNOWN &&
                   exchange->response->body_length > mirror->compared_bytes_max;
    if (is_long || body->watch || body->state == BODY_ABORTED) return; /* it stays not whole */
    for (unsigned i = 0; i < body->count; i++) {
        const struct body_piece *piece = &body->pieces[(body->first + i) & (BODY_PIPE_PIECES - 1)];
        keep_body(&mirrored->primary, mirror->compared_bytes_max, piece->at, piece->length);
    }
    body_pipe_decline_splice(body);
    mirrored->watch.pass = look_on;
    mirrored->watched = body;
    body->watch = &mirrored->watch;
}

static void settle(struct mirrored *);

void mirrored_let_go_of_exchange(struct mirrored *mirrored)
{
    struct body_pipe *watched = mirrored->watched;
    if (watched) {
        watched->watch = NULL;
        mirrored->primary.is_whole = watched->state == BODY_FINISHED && !mirrored->primary.is_cut;
        mirrored->watched = NULL;
    }
    if (mirrored->exchange->gone && mirrored->primary.status == 0) mirrored->primary.is_whole = false;
    mirrored->exchange = NULL;
    settle(mirrored);
}

/* --- the call --- */

static void send_copy(struct task *task)
{
    struct mirrored *mirrored = CONTAINER_OF(task, struct mirrored, start);
    struct loop *loop = mirrored->worker->loop;
    const struct call_plan plan = {
        .kind = CALL_MIRROR,
        .service = mirrored->service,
        .request = &mirrored->request,
        .target = mirrored->target,
        .host_of_instance = mirrored->request.authority.length == 0,
        .body = mirrored->has_body ? &mirrored->body : NULL,
        .arena = &mirrored->arena,
        .deadline_ms = loop->now_ms + mirrored->mirror->timeout_ms,
        .client_hash = XXH3_64bits(mirrored->request_id.at, mirrored->request_id.length),
    };
    mirrored->begun_ns = loop->now_ns;
    mirrored->is_started = true;
    timer_set(&loop->timers, &mirrored->deadline, plan.deadline_ms + 1); /* the call's own words come first */
    upstream_call_start(&mirrored->call, mirrored->worker->upstream, &plan);
}

static void take_answer_body(struct mirrored *mirrored)
{
    const struct mirror *mirror = mirrored->mirror;
    struct body_pipe *body = mirrored->call.response_body;
    bool keeps = mirror->compares && mirror->rules.body != COMPARE_NO_BODY;
    for (const struct body_piece *piece; (piece = body_pipe_first(body)) != NULL;) {
        if (keeps) keep_body(&mirrored->copy, mirror->compared_bytes_max, piece->at, piece->length);
        body_pipe_consume(body, piece->length);
    }
}

static void count_end(struct mirrored *mirrored)
{
    struct mirror_figures *figures = mirrored->mirror->figures;
    const struct upstream_call *call = &mirrored->call;
    unsigned worker = mirrored->worker->index;
    bool has_failed = mirrored->is_too_late || call->error.reason;
    if (!has_failed && call->response)
        mirror_count_answer(figures, worker, mirrored->worker->loop->now_ns - mirrored->begun_ns);
    else
        mirror_count(figures, worker,
                     mirrored->has_body && mirrored->body.state == BODY_ABORTED ? MIRROR_CUT : MIRROR_FAILED);
}

static void end(struct mirrored *mirrored)
{
    const struct upstream_call *call = &mirrored->call;
    count_end(mirrored);
    mirrored->copy.is_whole = !mirrored->copy.is_cut && !mirrored->is_too_late && !call->error.reason &&
                              (!call->response_body || call->response_body->state == BODY_FINISHED);
    end_call(mirrored);
    settle(mirrored);
}

static void look(struct task *task)
{
    struct mirrored *mirrored = CONTAINER_OF(task, struct mirrored, task);
    struct upstream_call *call = &mirrored->call;
    call->interim = NULL; /* nobody's */
    if (call->events & CALL_HEAD && mirrored->copy.status == 0) {
        if (mirrored->mirror->compares)
            keep_head(mirrored, &mirrored->copy, call->response, mirrored->begun_ns);
        else
            mirrored->copy.status = call->response->status;
        if (call->response_body) body_pipe_attach_consumer(call->response_body, &mirrored->task);
    }
    if (call->response_body) take_answer_body(mirrored);
    bool is_drained = !call->response_body || call->response_body->state != BODY_OPEN;
    if (call->events & CALL_DONE && is_drained) end(mirrored);
}

static void deadline_passed(struct timer *timer)
{
    struct mirrored *mirrored = CONTAINER_OF(timer, struct mirrored, deadline);
    mirrored->is_too_late = true;
    end(mirrored);
}

/* --- comparing --- */

static void have_compared(struct mirrored *mirrored)
{
    const struct mirror *mirror = mirrored->mirror;
    struct kept_answer *primary = &mirrored->primary, *copy = &mirrored->copy;
    const struct judged_request request = { .mirror = mirror,
                                            .route = mirrored->route,
                                            .request_id = mirrored->request_id,
                                            .method = mirrored->request.method_text,
                                            .path = mirrored->path,
                                            .wall_ns = mirrored->worker->loop->wall_ns };
    bool can_be = primary->status && copy->status && primary->headers && copy->headers;
    if (!can_be || !mirror_judge_ask(mirror->judge, &request, primary, copy))
        mirror_count(mirror->figures, mirrored->worker->index, MIRROR_NOT_COMPARED);
}

/* Both sides are over: nothing is left to wait for. Without a comparison the exchange's end doesn't matter, but that it may still point here. */
static void settle(struct mirrored *mirrored)
{
    if (!mirrored->is_over || mirrored->exchange) return;
    if (mirrored->mirror->compares) have_compared(mirrored);
    mirrored_destroy(mirrored);
}
