/* grpc-web: lets browsers call gRPC services: gRPC-Web from the client is gRPC to the service, and the answer is turned back.
 *
 * A POST whose content type is application/grpc-web or application/grpc-web-text is translated, every other request passes
 * untouched. Messages are framed alike in both, so bodies stream; in text they are base64, decoded and encoded piece by piece.
 * What browsers can't read, the service's trailers, goes out as a last frame of the body; so does an outcome that stood in the
 * head (trailers-only), which then is readable without CORS. An answer that isn't gRPC passes as it is.
 * Requests whose base64 or frames are broken fail with 400; an answer's are cut off, never ended as if it were whole.
 * State: how far each direction is. Never waits; memory from the exchange's arena. PROTOCOL-WEB.md of grpc/grpc. */
#include "filters/filters.h"

#include "filters/grpc_web_codec.h"
#include "filters/private.h"
#include "http/status.h"

#include <sys/uio.h>

#define TEXT_BYTES 4096 /* base64 at a time */
#define CONTENT_BYTES (TEXT_BYTES / 4 * 3)

struct grpc_web_state {
    bool translated;               /* the request is gRPC-Web */
    bool request_text, wants_text; /* base64 comes, base64 is to go back */
    struct slice message;          /* of the request's content type: "+proto" */
    struct grpc_frames asked;
    struct base64_reader reader;
    struct grpc_web_answer {
        struct body_pipe *body; /* of an answer that is gRPC; NULL: it isn't */
        struct grpc_frames frames;
        struct base64_writer writer;
        struct slice outcome[GRPC_OUTCOME_FIELDS]; /* what its head said */
        struct slice frame;                        /* what hasn't gone out of the trailers */
        bool frame_written;
    } answer; /* begins anew where another takes its place */
};

static const struct field grpc_web_fields[] = { FIELDS_END };

static enum filter_result grpc_web_request(struct exchange *, const void *compiled, void *state);
static enum filter_result grpc_web_response_head(struct exchange *, const void *compiled, void *state);
static bool grpc_web_stage_needed(const struct exchange *, const void *compiled, const void *state, enum filter_side);
static filter_stage grpc_web_request_body, grpc_web_response_body;

const struct filter filter_grpc_web = {
    .name = "grpc-web",
    .summary = "Translates gRPC-Web, which browsers speak, to gRPC for the service and back.",
    .phase = PHASE_TRANSFORM,
    .fields = grpc_web_fields,
    .state_size = sizeof(struct grpc_web_state),
    .sees_late_failures = true,
    .request = grpc_web_request,
    .response_head = grpc_web_response_head,
    .request_body = grpc_web_request_body,
    .response_body = grpc_web_response_body,
    .stage_needed = grpc_web_stage_needed,
};

/* --- heads --- */

/* "application/grpc" with what the other side said of messages. */
static bool set_type(struct exchange *exchange, struct headers *headers, struct slice type, struct slice message)
{
    struct slice value = arena_join(exchange->arena, (struct slice[]){ type, message }, 2);
    return !slice_is_absent(value) && headers_set_known(headers, HEADER_CONTENT_TYPE, value);
}

/* Accept decides where it speaks of gRPC-Web; else the answer comes as the request went. */
static bool find_wants_text(const struct headers *headers, bool request_text)
{
    const struct header *field = headers_find_known(headers, HEADER_ACCEPT);
    for (; field; field = headers_find_next(headers, field)) {
        struct slice rest = field->value, one;
        struct grpc_web_type type;
        while (slice_next(&rest, ',', &one)) {
            if (grpc_web_type_parse(one, &type)) return type.text;
        }
    }
    return request_text;
}

/* gRPC compresses messages, not bodies: a body that is compressed as a whole would have to be unpacked here. */
static bool is_encoded(const struct headers *headers)
{
    struct slice coding = headers_combined(headers, HEADER_CONTENT_ENCODING);
    return coding.length > 0 && !slice_equal_ignore_case(coding, SLICE("identity"));
}

static enum filter_result grpc_web_request(struct exchange *exchange, const void *compiled, void *state)
{
    struct grpc_web_state *call = state;
    struct headers *headers = &exchange->request->headers;
    struct grpc_web_type type;
    if (exchange->request->method != METHOD_POST) return FILTER_NEXT;
    if (!grpc_web_type_parse(headers_value(headers, HEADER_CONTENT_TYPE), &type)) return FILTER_NEXT;
    if (is_encoded(headers)) {
        exchange_respond_problem(exchange, 415, "unsupported-content-coding", SLICE("grpc-web"),
                                 "a gRPC-Web body can't have a Content-Encoding");
        return FILTER_RESPOND;
    }
    call->request_text = type.text;
    call->wants_text = find_wants_text(headers, type.text);
    call->message = type.message;
    if (!set_type(exchange, headers, SLICE("application/grpc"), type.message) ||
        !headers_set_known(headers, HEADER_TE, SLICE("trailers"))) {
        respond_no_memory(exchange);
        return FILTER_RESPOND;
    }
    call->translated = true;
    exchange->is_grpc = true; /* what the gateway itself has to say is translated on its way back, too */
    return FILTER_NEXT;
}

/* An answer may come without a body, with its outcome in the head; then it gets one for the frame. */
static struct body_pipe *make_empty_body(struct exchange *exchange)
{
    struct body_pipe *pipe = arena_allocate(exchange->arena, sizeof *pipe);
    if (!pipe) return NULL;
    body_pipe_init(pipe, exchange->worker->loop, 0);
    body_pipe_finish(pipe, NULL);
    exchange->response->has_body = true;
    exchange->response_body = pipe;
    return pipe;
}

static void take_outcome(struct grpc_web_state *call, struct headers *headers)
{
    for (int i = 0; i < GRPC_OUTCOME_FIELDS; i++) {
        const struct header *field = headers_find(headers, grpc_outcome_name((enum grpc_outcome_field)i));
        if (!field) continue;
        call->answer.outcome[i] = field->value;
        headers_remove(headers, grpc_outcome_name((enum grpc_outcome_field)i));
    }
}

static enum filter_result grpc_web_response_head(struct exchange *exchange, const void *compiled, void *state)
{
    struct grpc_web_state *call = state;
    struct response_head *head = exchange->response;
    struct slice message;
    call->answer = (struct grpc_web_answer){ 0 };
    if (!call->translated || status_has_no_content(head->status)) return FILTER_NEXT;
    if (!grpc_type_parse(headers_value(&head->headers, HEADER_CONTENT_TYPE), &message)) return FILTER_NEXT;
    if (is_encoded(&head->headers)) return FILTER_NEXT;
    if (message.length == 0) message = call->message;
    struct body_pipe *body = exchange->response_body ? exchange->response_body : make_empty_body(exchange);
    if (!body ||
        !set_type(exchange, &head->headers,
                  call->wants_text ? SLICE("application/grpc-web-text") : SLICE("application/grpc-web"), message)) {
        respond_no_memory(exchange);
        return FILTER_NEXT;
    }
    take_outcome(call, &head->headers);
    call->answer.body = body;
    return FILTER_NEXT;
}

/* Another answer may have come in place of the one that was translated: its body is another too. */
static bool grpc_web_stage_needed(const struct exchange *exchange, const void *compiled, const void *state,
                                  enum filter_side side)
{
    const struct grpc_web_state *call = state;
    if (side == FILTER_ON_REQUEST) return call->translated;
    return call->answer.body && call->answer.body == exchange->response_body;
}

/* --- bodies --- */

enum passing {
    PASSING_ALL,   /* what was in the input has been passed on */
    PASSING_WAITS, /* for credit */
    PASSING_BAD_TEXT,
    PASSING_BAD_FRAME,
    PASSING_NO_MEMORY,
};

/* The first run of bytes that wait in the input; empty: none. */
static struct slice first_run(const struct body_pipe *in)
{
    struct iovec run;
    return body_pipe_peek(in, &run, 1) == 1 ? slice_of(run.iov_base, run.iov_len) : SLICE("");
}

static enum passing pass_content(struct grpc_frames *frames, struct body_pipe *in, struct body_pipe *out)
{
    struct body_piece piece;
    while (in->count > 0) {
        if (body_pipe_credit(out) == 0) return PASSING_WAITS;
        if (!body_pipe_take(in, &piece)) break;
        if (!grpc_frames_follow(frames, slice_of(piece.at, piece.length))) {
            slab_drop(piece.slab);
            return PASSING_BAD_FRAME;
        }
        body_pipe_push(out, piece.slab, piece.at, piece.length);
    }
    return PASSING_ALL;
}

static enum passing decode(struct grpc_web_state *call, struct slab_pool *slabs, struct body_pipe *in,
                           struct body_pipe *out)
{
    char content[BASE64_READ_BYTES_MAX(TEXT_BYTES)];
    for (struct slice run; (run = first_run(in)).length > 0;) {
        size_t length;
        if (body_pipe_credit(out) == 0) return PASSING_WAITS;
        run = slice_before(run, TEXT_BYTES);
        if (!base64_read(&call->reader, run, content, &length)) return PASSING_BAD_TEXT;
        if (!grpc_frames_follow(&call->asked, slice_of(content, length))) return PASSING_BAD_FRAME;
        if (!body_pipe_push_copy(out, slabs, slice_of(content, length))) return PASSING_NO_MEMORY;
        body_pipe_consume(in, run.length);
    }
    return PASSING_ALL;
}

static bool push_text(struct grpc_web_state *call, struct slab_pool *slabs, struct slice content, struct body_pipe *out)
{
    char text[BASE64_WRITTEN_BYTES_MAX(CONTENT_BYTES + 2)];
    size_t length = base64_write(&call->answer.writer, content, text);
    return body_pipe_push_copy(out, slabs, slice_of(text, length));
}

static enum passing encode(struct grpc_web_state *call, struct slab_pool *slabs, struct body_pipe *in,
                           struct body_pipe *out)
{
    for (struct slice run; (run = first_run(in)).length > 0;) {
        if (body_pipe_credit(out) == 0) return PASSING_WAITS;
        run = slice_before(run, CONTENT_BYTES);
        if (!grpc_frames_follow(&call->answer.frames, run)) return PASSING_BAD_FRAME;
        if (!push_text(call, slabs, run, out)) return PASSING_NO_MEMORY;
        body_pipe_consume(in, run.length);
    }
    return PASSING_ALL;
}

/* Ends the group of four so that what has come can be read. */
static enum passing flush(struct grpc_web_state *call, struct slab_pool *slabs, struct body_pipe *out)
{
    char text[4];
    if (call->answer.writer.count == 0) return PASSING_ALL;
    if (body_pipe_credit(out) == 0) return PASSING_WAITS;
    size_t length = base64_flush(&call->answer.writer, text);
    return body_pipe_push_copy(out, slabs, slice_of(text, length)) ? PASSING_ALL : PASSING_NO_MEMORY;
}

static enum stage_result break_off(struct body_pipe *in, struct body_pipe *out, const struct error *error)
{
    body_pipe_abort(out, error);
    body_pipe_stop(in);
    return STAGE_FINISHED;
}

/* --- the request's --- */

static enum stage_result refuse(struct body_pipe *in, struct body_pipe *out, const char *why)
{
    struct error error;
    error_set(&error, BLAME_CLIENT, RETRY_NEVER, 400, "bad-grpc-web-body", "the gRPC-Web request's body %s", why);
    return break_off(in, out, &error);
}

static enum stage_result fail_for_memory(struct body_pipe *in, struct body_pipe *out)
{
    struct error error;
    error_set(&error, BLAME_US, RETRY_NEVER, 503, "out-of-memory", "out of memory for a gRPC-Web body");
    return break_off(in, out, &error);
}

static enum stage_result grpc_web_request_body(struct stage *stage, struct body_pipe *in, struct body_pipe *out)
{
    struct grpc_web_state *call = stage->state;
    switch (call->request_text ? decode(call, stage->exchange->worker->slabs, in, out)
                               : pass_content(&call->asked, in, out)) {
    case PASSING_ALL: break;
    case PASSING_WAITS: return STAGE_CONTINUE;
    case PASSING_BAD_TEXT: return refuse(in, out, "is no base64");
    case PASSING_BAD_FRAME: return refuse(in, out, "has a message with unknown flags");
    case PASSING_NO_MEMORY: return fail_for_memory(in, out);
    }
    if (!body_pipe_is_drained(in)) return STAGE_CONTINUE;
    if (!base64_reader_is_whole(&call->reader)) return refuse(in, out, "ends within a group of base64");
    if (!grpc_frames_at_border(&call->asked)) return refuse(in, out, "ends within a message");
    body_pipe_finish(out, in->trailers);
    return STAGE_FINISHED;
}

/* --- the answer's --- */

/* The client is cut off; the log says why. */
static enum stage_result cut(struct stage *stage, struct body_pipe *in, struct body_pipe *out, const char *why)
{
    struct error *error = &stage->exchange->error;
    error_set(error, BLAME_UPSTREAM, RETRY_NEVER, 502, "bad-grpc-answer", "the service's gRPC answer %s", why);
    return break_off(in, out, error);
}

static enum stage_result cut_for_memory(struct stage *stage, struct body_pipe *in, struct body_pipe *out)
{
    error_set(&stage->exchange->error, BLAME_US, RETRY_NEVER, 503, "out-of-memory",
              "out of memory for a gRPC-Web body");
    return break_off(in, out, &stage->exchange->error);
}

static enum passing push_frame(struct grpc_web_state *call, struct slab_pool *slabs, struct body_pipe *out)
{
    while (call->answer.frame.length > 0) {
        if (body_pipe_credit(out) == 0) return PASSING_WAITS;
        struct slice part = call->wants_text ? slice_before(call->answer.frame, CONTENT_BYTES) : call->answer.frame;
        if (!call->wants_text)
            body_pipe_push(out, NULL, part.at, part.length); /* the arena outlives the pipe */
        else if (!push_text(call, slabs, part, out))
            return PASSING_NO_MEMORY;
        call->answer.frame = slice_after(call->answer.frame, part.length);
    }
    return flush(call, slabs, out);
}

static enum stage_result end_answer(struct stage *stage, struct body_pipe *in, struct body_pipe *out)
{
    struct grpc_web_state *call = stage->state;
    if (!call->answer.frame_written) {
        if (!grpc_frames_at_border(&call->answer.frames)) return cut(stage, in, out, "ended within a message");
        switch (
            grpc_web_write_trailers(in->trailers, call->answer.outcome, stage->exchange->arena, &call->answer.frame)) {
        case GRPC_WEB_FRAME_WRITTEN: break;
        case GRPC_WEB_FRAME_UNWRITABLE: return cut(stage, in, out, "has trailers that can't be written");
        case GRPC_WEB_FRAME_NO_MEMORY: return cut_for_memory(stage, in, out);
        }
        call->answer.frame_written = true;
    }
    switch (push_frame(call, stage->exchange->worker->slabs, out)) {
    case PASSING_ALL: break;
    case PASSING_WAITS: return STAGE_CONTINUE;
    default: return cut_for_memory(stage, in, out);
    }
    body_pipe_finish(out, NULL);
    return STAGE_FINISHED;
}

static enum stage_result grpc_web_response_body(struct stage *stage, struct body_pipe *in, struct body_pipe *out)
{
    struct grpc_web_state *call = stage->state;
    struct slab_pool *slabs = stage->exchange->worker->slabs;
    enum passing passing = call->wants_text ? encode(call, slabs, in, out)
                                            : pass_content(&call->answer.frames, in, out);
    /* Within a message the client can't use what is held back; behind one it waits for it. */
    if (passing == PASSING_ALL && !body_pipe_is_drained(in) && grpc_frames_at_border(&call->answer.frames))
        passing = flush(call, slabs, out);
    switch (passing) {
    case PASSING_ALL: break;
    case PASSING_WAITS: return STAGE_CONTINUE;
    case PASSING_BAD_TEXT:
    case PASSING_BAD_FRAME: return cut(stage, in, out, "has a message with unknown flags");
    case PASSING_NO_MEMORY: return cut_for_memory(stage, in, out);
    }
    return body_pipe_is_drained(in) ? end_answer(stage, in, out) : STAGE_CONTINUE;
}
