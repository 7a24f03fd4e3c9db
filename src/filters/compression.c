/* compression: sends answers in gzip, Brotli or Zstandard to clients that accept it (RFC 9110 12.5.3).
 *
 * Request: notes what the client accepts and whether a secret could be guessed from lengths. Answer's head: decides by the rules of
 * compression_rules.h, type and length; takes an encoder (none to be had: the answer goes as it is) and rewrites the fields. Body: a
 * stage compresses piece by piece within credit; what was taken and waits is flushed after flushAfterMs, an event stream at once. It
 * stands at the edge, so that it sees requests whose credentials nobody has taken off yet, and answers when all others have seen them plain. State: encoder, one slab and one slab
 * promised. Never waits. */
#include "filters/filters.h"

#include "base/memory.h"
#include "filters/compression_rules.h"
#include "filters/encoder.h"
#include "http/status.h"

#include <inttypes.h>
#include <sys/uio.h>

#define CODINGS_MAX 3
#define TYPES_MAX 200
/* Compressed before others get their turn: a millisecond or so. */
#define SHARE_BYTES (16 * 1024u)
#define ROOM_BYTES_MIN 256
#define MEMORY_RETRY_MS 20
/* Beyond this many sixteenths of a worker's memory no answer begins to be compressed: bodies need it more. */
#define CEILING_SIXTEENTHS 8

struct compression_levels {
    int64_t gzip, brotli, zstd;
};

struct compression_config {
    struct slice_list codings, types;
    uint64_t bytes_min;
    struct compression_levels levels;
    int credentials; /* enum credentials_policy */
    uint64_t flush_after_ms;
    bool offload;
};

struct compression {
    enum content_coding codings[CODINGS_MAX];
    size_t coding_count;
    int levels[CODING_COUNT];
    struct slice *types; /* point into type_texts */
    size_t type_count;
    char *type_texts;
    uint64_t bytes_min, flush_after_ms;
    enum credentials_policy credentials;
    bool offload;
};

struct compression_state {
    struct request_risk risk;
    struct accepted_codings accepted;
    enum compression_outcome coding; /* once there is an encoder */
    bool is_stream;                  /* an event stream: each piece is flushed at once */
    bool unflushed, flushing;        /* taken and not yet readable by the client; a flush is under way */
    bool flush_due;
    struct encoder *encoder;
    struct slab *slab; /* what is being filled; NULL: none */
    uint32_t pushed;   /* how much of it has gone on */
    struct slab_reserve reserve;
    size_t slab_bytes;
    struct body_pipe *in; /* once the stage runs */
    struct timer timer;   /* until the next flush, or the next look for memory */
    struct timer_wheel *timers;
};

static bool check_coding(struct schema_reading *, const struct node *, const void *text);

static const struct field level_fields[] = {
    { .name = "gzip",
      .type = FIELD_INTEGER,
      .into = offsetof(struct compression_levels, gzip),
      .fallback = "5",
      .minimum = 1,
      .maximum = GZIP_LEVEL_MAX,
      .summary = "Of gzip." },
    { .name = "br",
      .type = FIELD_INTEGER,
      .into = offsetof(struct compression_levels, brotli),
      .fallback = "4",
      .minimum = 0,
      .maximum = BROTLI_LEVEL_MAX,
      .summary = "Of Brotli." },
    { .name = "zstd",
      .type = FIELD_INTEGER,
      .into = offsetof(struct compression_levels, zstd),
      .fallback = "3",
      .minimum = 1,
      .maximum = ZSTD_LEVEL_MAX,
      .summary = "Of Zstandard." },
    FIELDS_END,
};

static const char *const credentials_names[] = { "same-origin", "always", "never", NULL };

static const struct field compression_fields[] = {
    { .name = "codings",
      .type = FIELD_STRING_LIST,
      .into = offsetof(struct compression_config, codings),
      .fallback = "[zstd, br, gzip]",
      .minimum = 1,
      .maximum = CODINGS_MAX,
      .one_or_many = true,
      .check = check_coding,
      .summary = "What answers are sent in, the one that is preferred among those that a client likes equally first: "
                 "`zstd`, `br`, `gzip`." },
    { .name = "levels",
      .type = FIELD_OBJECT,
      .into = offsetof(struct compression_config, levels),
      .fields = level_fields,
      .summary = "How hard each tries." },
    { .name = "types",
      .type = FIELD_STRING_LIST,
      .into = offsetof(struct compression_config, types),
      .fallback =
          "[text/*, application/json, */*+json, */*+xml, application/xml, application/javascript, "
          "application/x-javascript, application/x-ndjson, application/graphql, application/yaml, application/wasm, "
          "application/vnd.ms-fontobject, font/ttf, font/otf, image/bmp, image/x-icon, image/vnd.microsoft.icon]",
      .minimum = 1,
      .maximum = TYPES_MAX,
      .one_or_many = true,
      .check = check_type_pattern,
      .summary = "Media types that are compressed: exact, `text/*`, `*/*+json`, or `*/*` for all." },
    { .name = "minBytes",
      .type = FIELD_BYTES,
      .into = offsetof(struct compression_config, bytes_min),
      .fallback = "1KiB",
      .maximum = 1 << 30,
      .summary = "Answers known to be shorter are sent as they are, but to clients that refuse `identity`." },
    { .name = "credentials",
      .type = FIELD_ENUM,
      .into = offsetof(struct compression_config, credentials),
      .names = credentials_names,
      .fallback = "same-origin",
      .summary =
          "Whether answers to requests with credentials, and those that set cookies, are compressed: `same-origin` where no "
          "foreign page can have asked, `always`, `never`." },
    { .name = "flushAfterMs",
      .type = FIELD_MILLISECONDS,
      .into = offsetof(struct compression_config, flush_after_ms),
      .fallback = "10",
      .maximum = 10000,
      .summary =
          "How long what the service has sent may wait for more before the client gets it; `text/event-stream` never waits." },
    { .name = "offload",
      .type = FIELD_BOOLEAN,
      .into = offsetof(struct compression_config, offload),
      .summary = "The service isn't told what the client accepts, so that it leaves compression to Sluice." },
    FIELDS_END,
};

static bool compression_check(struct schema_reading *, const struct node *, const void *value);
static bool compression_compile(const struct filter_compile *, const void *value, void **compiled);
static void compression_release(void *compiled);
static bool compression_worker_start(struct exchange_worker *, void **kept);
static void compression_worker_stop(struct exchange_worker *, void *kept);
static enum filter_result compression_request(struct exchange *, const void *compiled, void *state);
static enum filter_result compression_response_head(struct exchange *, const void *compiled, void *state);
static bool compression_stage_needed(const struct exchange *, const void *compiled, const void *state,
                                     enum filter_side);
static filter_stage compression_response_body;
static void compression_finish(struct exchange *, const void *compiled, void *state);
static void compression_explain(struct exchange *, const void *compiled, struct explanation *);

const struct filter filter_compression = {
    .name = "compression",
    .summary = "Compresses answers for clients that accept it.",
    .phase = PHASE_EDGE,
    .fields = compression_fields,
    .config_size = sizeof(struct compression_config),
    .state_size = sizeof(struct compression_state),
    .check = compression_check,
    .compile = compression_compile,
    .release = compression_release,
    .worker_start = compression_worker_start,
    .worker_stop = compression_worker_stop,
    .request = compression_request,
    .response_head = compression_response_head,
    .response_body = compression_response_body,
    .stage_needed = compression_stage_needed,
    .finish = compression_finish,
    .explain = compression_explain,
};

/* --- loading --- */

static bool is_written(enum content_coding coding)
{
    return coding == CODING_GZIP || coding == CODING_BROTLI || coding == CODING_ZSTD;
}

static bool check_coding(struct schema_reading *reading, const struct node *node, const void *text)
{
    const struct slice *name = text;
    if (is_written(content_coding_find(*name))) return true;
    problems_add(reading->problems, node, "there are zstd, br and gzip",
                 "not a coding that answers are sent in: \"%s\"", problems_excerpt(*name).text);
    return false;
}

static bool compression_check(struct schema_reading *reading, const struct node *node, const void *value)
{
    const struct compression_config *config = value;
    for (size_t i = 0; i < config->codings.count; i++) {
        for (size_t j = 0; j < i; j++) {
            if (content_coding_find(config->codings.items[i]) != content_coding_find(config->codings.items[j]))
                continue;
            const struct node *place = node_find(node, "codings");
            problems_add(reading->problems, place ? place : node, NULL, "\"codings\" names %.*s twice",
                         SLICE_PRINT(config->codings.items[i]));
            return false;
        }
    }
    return true;
}

static void copy_types(struct compression *compression, const struct slice_list *types)
{
    size_t length = 0;
    for (size_t i = 0; i < types->count; i++) length += types->items[i].length;
    compression->types = memory_allocate_array(types->count, sizeof *compression->types);
    compression->type_count = types->count;
    char *at = compression->type_texts = memory_allocate(length + 1);
    for (size_t i = 0; i < types->count; i++) {
        struct slice type = types->items[i];
        compression->types[i] = slice_of(at, type.length);
        at = mempcpy(at, type.at, type.length);
    }
}

static bool compression_compile(const struct filter_compile *compile, const void *value, void **compiled)
{
    const struct compression_config *config = value;
    struct compression *compression = memory_allocate(sizeof *compression);
    *compiled = compression;
    for (size_t i = 0; i < config->codings.count; i++) {
        struct error error;
        enum content_coding coding = content_coding_find(config->codings.items[i]);
        compression->codings[compression->coding_count++] = coding;
        if (content_coding_load(coding, &error)) continue;
        const struct node *place = compile->node ? node_find(compile->node, "codings") : NULL;
        problems_add(compile->problems, place ? place : compile->node, "install it, or leave the coding out", "%s",
                     error.text);
        compression_release(compression);
        return false;
    }
    compression->levels[CODING_GZIP] = (int)config->levels.gzip;
    compression->levels[CODING_BROTLI] = (int)config->levels.brotli;
    compression->levels[CODING_ZSTD] = (int)config->levels.zstd;
    compression->bytes_min = config->bytes_min;
    compression->flush_after_ms = config->flush_after_ms;
    compression->credentials = (enum credentials_policy)config->credentials;
    compression->offload = config->offload;
    copy_types(compression, &config->types);
    return true;
}

static void compression_release(void *compiled)
{
    struct compression *compression = compiled;
    free(compression->types);
    free(compression->type_texts);
    free(compression);
}

static bool compression_worker_start(struct exchange_worker *worker, void **kept)
{
    *kept = encoder_pool_create();
    return *kept != NULL;
}

static void compression_worker_stop(struct exchange_worker *worker, void *kept) { encoder_pool_destroy(kept); }

/* --- heads --- */

static enum filter_result compression_request(struct exchange *exchange, const void *compiled, void *state)
{
    const struct compression *compression = compiled;
    struct compression_state *call = state;
    struct headers *headers = &exchange->request->headers;
    accepted_codings_read(headers, &call->accepted);
    call->risk = request_risk_of(exchange);
    if (compression->offload) headers_remove_known(headers, HEADER_ACCEPT_ENCODING);
    return FILTER_NEXT;
}

/* gRPC compresses messages, not bodies. */
static bool type_fits(const struct compression *compression, const struct headers *headers)
{
    struct slice type = headers_value(headers, HEADER_CONTENT_TYPE);
    if (type.length == 0 || type_pattern_fits(SLICE("application/grpc"), type) ||
        slice_equal_ignore_case(slice_before(type, 17), SLICE("application/grpc+")))
        return false;
    for (size_t i = 0; i < compression->type_count; i++) {
        if (type_pattern_fits(compression->types[i], type)) return true;
    }
    return false;
}

static bool is_worth_it(const struct compression *compression, const struct compression_state *call,
                        const struct response_head *head)
{
    if (head->body_length == 0) return false;
    return head->body_length >= compression->bytes_min || call->accepted.identity_refused;
}

/* An encoder of the best coding that memory allows, and the promise of a slab, so that what has begun goes on. */
static bool take_encoder(struct exchange *exchange, const struct compression *compression,
                         struct compression_state *call, const enum content_coding *ranked, size_t count,
                         enum content_coding *chosen)
{
    struct memory_ceiling *ceiling = exchange->worker->slabs->ceiling;
    struct encoder_pool *pool = exchange_kept(exchange, &filter_compression);
    if (memory_ceiling_is_beyond(ceiling, CEILING_SIXTEENTHS)) return false;
    if (!slab_reserve_init(&call->reserve, exchange->worker->slabs)) return false;
    for (size_t i = 0; i < count && !call->encoder; i++) {
        *chosen = ranked[i];
        call->encoder = encoder_take(pool, ceiling,
                                     &(struct encoder_wish){
                                         .coding = ranked[i],
                                         .level = compression->levels[ranked[i]],
                                         .expected = exchange->response->body_length,
                                         .is_stream = call->is_stream,
                                     });
    }
    if (!call->encoder) slab_reserve_release(&call->reserve);
    return call->encoder != NULL;
}

static bool rewrite_head(struct headers *headers, enum content_coding coding)
{
    headers_remove(headers, SLICE("Accept-Ranges")); /* ranges of the compressed bytes can't be had again */
    return weaken_etag(headers) && headers_set_known(headers, HEADER_CONTENT_ENCODING, content_coding_name(coding));
}

/* What HTTP/1.0 has between us and the client may not know that answers vary. */
static size_t rank_codings(const struct exchange *exchange, const struct compression *compression,
                           const struct compression_state *call, enum content_coding ranked[CODING_COUNT])
{
    if (exchange->request->version == HTTP_1_0) return 0;
    return accepted_codings_rank(&call->accepted, compression->codings, compression->coding_count, ranked);
}

/* Is it the client's answer, in particular, that would be compressed? */
static bool is_for_client(const struct exchange *exchange, const struct compression *compression,
                          const struct compression_state *call)
{
    enum content_coding ranked[CODING_COUNT];
    return rank_codings(exchange, compression, call, ranked) > 0 &&
           answer_is_safe(exchange, &call->risk, compression->credentials);
}

/* A 304 has the Vary and the validator that the 200 would have (RFC 9110 15.4.5), as far as that can be told: most have no Content-Type. Then it
 * is taken to vary, as a Vary too many costs a cache some room and one too few a client its page; but the validator stays, as a strong one of an
 * image is worth something. What the client says that it holds counts in any case. */
static enum filter_result answer_not_modified(struct exchange *exchange, const struct compression *compression,
                                              const struct compression_state *call)
{
    const struct headers *asked = &exchange->request->headers;
    struct headers *headers = &exchange->response->headers;
    enum compression_outcome why;
    bool has_type = headers_find_known(headers, HEADER_CONTENT_TYPE) != NULL;
    bool fits = has_type && type_fits(compression, headers), is_weak = holds_weakened(asked, headers);
    bool varies = fields_let_change(headers, &why) && !exchange->is_grpc && (fits || !has_type);
    if (varies && fits && !holds_strong(asked, headers)) is_weak |= is_for_client(exchange, compression, call);
    if ((is_weak && !weaken_etag(headers)) || ((varies || is_weak) && !add_vary(headers))) respond_no_memory(exchange);
    return FILTER_NEXT;
}

/* Of an answer to HEAD nothing is counted: it has no body. */
static void count_outcome(const struct exchange *exchange, enum compression_outcome outcome)
{
    if (exchange->response_body) metrics_count_compression(exchange->worker->metrics, exchange->worker->index, outcome);
}

static enum filter_result leave_alone(const struct exchange *exchange, enum compression_outcome why)
{
    count_outcome(exchange, why);
    return FILTER_NEXT;
}

/* For some client, whoever has asked; and whatever its length: another answer of the same resource may be longer, and a client may refuse
 * `identity`. */
static bool might_be_compressed(const struct exchange *exchange, const struct compression *compression,
                                enum compression_outcome *why)
{
    const struct response_head *head = exchange->response;
    if (!answer_is_free_to_change(head, why)) return false;
    *why = UNCOMPRESSED_TYPE;
    return !exchange->is_grpc && type_fits(compression, &head->headers);
}

static enum compression_outcome outcome_of(enum content_coding coding)
{
    if (coding == CODING_BROTLI) return COMPRESSED_BROTLI;
    return coding == CODING_ZSTD ? COMPRESSED_ZSTD : COMPRESSED_GZIP;
}

static enum filter_result compression_response_head(struct exchange *exchange, const void *compiled, void *state)
{
    const struct compression *compression = compiled;
    struct compression_state *call = state;
    struct response_head *head = exchange->response;
    enum compression_outcome why;
    if (head->status == 304) return answer_not_modified(exchange, compression, call);
    if (!might_be_compressed(exchange, compression, &why)) return leave_alone(exchange, why);
    if (!add_vary(&head->headers)) {
        respond_no_memory(exchange);
        return FILTER_NEXT;
    }
    if (!is_worth_it(compression, call, head)) return leave_alone(exchange, UNCOMPRESSED_SHORT);
    enum content_coding ranked[CODING_COUNT], coding;
    size_t count = rank_codings(exchange, compression, call, ranked);
    if (count == 0) return leave_alone(exchange, UNCOMPRESSED_NOT_ACCEPTED);
    if (!answer_is_safe(exchange, &call->risk, compression->credentials))
        return leave_alone(exchange, UNCOMPRESSED_SECRET);
    call->is_stream = type_pattern_fits(SLICE("text/event-stream"), headers_value(&head->headers, HEADER_CONTENT_TYPE));
    coding = ranked[0];
    if (exchange->response_body && !take_encoder(exchange, compression, call, ranked, count, &coding))
        return leave_alone(exchange, UNCOMPRESSED_MEMORY);
    call->coding = outcome_of(coding);
    count_outcome(exchange, call->coding);
    call->slab_bytes = call->is_stream || head->body_length <= SLAB_SMALL_BYTES ? SLAB_TINY_BYTES : SLAB_SMALL_BYTES;
    if (!rewrite_head(&head->headers, coding)) respond_no_memory(exchange);
    return FILTER_NEXT;
}

/* Another answer may have come in place of the one that was rewritten: it has no field of ours. An answer to HEAD has no body, but its
 * length isn't known either. */
static bool compression_stage_needed(const struct exchange *exchange, const void *compiled, const void *state,
                                     enum filter_side side)
{
    const struct compression_state *call = state;
    struct slice coding = headers_value(&exchange->response->headers, HEADER_CONTENT_ENCODING);
    if (coding.length == 0 || coding.at != content_coding_name(content_coding_find(coding)).at) return false;
    return call->encoder || !exchange->response_body;
}

/* --- the body --- */

static void time_has_come(struct timer *timer)
{
    struct compression_state *call = CONTAINER_OF(timer, struct compression_state, timer);
    call->flush_due = true;
    if (call->in->consumer_task) loop_enqueue(call->in->loop, call->in->consumer_task);
}

static void wake_after(struct compression_state *call, uint64_t milliseconds)
{
    struct loop *loop = call->in->loop;
    if (!timer_is_set(&call->timer)) timer_set(&loop->timers, &call->timer, loop->now_ms + milliseconds);
}

static void begin_body(struct compression_state *call, struct body_pipe *in)
{
    if (call->in) return;
    call->in = in;
    call->timers = &in->loop->timers;
    timer_init(&call->timer, time_has_come);
}

static void drop_slab(struct compression_state *call)
{
    slab_drop(call->slab);
    call->slab = NULL;
    call->pushed = 0;
}

static void push(struct compression_state *call, struct body_pipe *out)
{
    struct slab *slab = call->slab;
    if (!slab || slab->filled == call->pushed) return;
    slab_retain(slab);
    body_pipe_push(out, slab, slab->bytes + call->pushed, slab->filled - call->pushed);
    call->pushed = slab->filled;
}

/* Few bytes aren't worth a write of their own: they go on when the slab is full or credit used up, and with a flush or the end. */
static void push_what_is_much(struct compression_state *call, struct body_pipe *out, size_t credit)
{
    const struct slab *slab = call->slab;
    if (!slab) return;
    bool is_full = slab->size - slab->filled < ROOM_BYTES_MIN;
    if (is_full || slab->filled - call->pushed + ROOM_BYTES_MIN > credit) push(call, out);
    if (is_full) drop_slab(call);
}

/* Where the next compressed bytes may go, and how many: 0 where credit or memory must come first. */
static size_t find_room(struct compression_state *call, struct slab_pool *slabs, struct body_pipe *out)
{
    size_t credit = body_pipe_credit(out);
    if (credit == 0) return 0;
    push_what_is_much(call, out, credit);
    if ((credit = body_pipe_credit(out)) == 0) return 0;
    if (!call->slab) call->slab = slab_take_sized(slabs, call->slab_bytes);
    if (!call->slab) call->slab = slab_reserve_take(&call->reserve);
    if (!call->slab) {
        wake_after(call, MEMORY_RETRY_MS);
        return 0;
    }
    size_t room = call->slab->size - call->slab->filled;
    if (credit < ROOM_BYTES_MIN) credit = ROOM_BYTES_MIN; /* a little beyond it is better than a marker cut in pieces */
    return room < credit ? room : credit;
}

static enum stage_result cut(struct stage *stage, struct body_pipe *in, struct body_pipe *out)
{
    struct error *error = &stage->exchange->error;
    error_set(error, BLAME_US, RETRY_NEVER, 503, "out-of-memory", "out of memory for compressing an answer");
    body_pipe_abort(out, error);
    body_pipe_stop(in);
    return STAGE_FINISHED;
}

/* The first run of what waits in the input, at most `limit` bytes. */
static struct slice first_run(const struct body_pipe *in, size_t limit)
{
    struct iovec run;
    if (body_pipe_peek(in, &run, 1) != 1) return SLICE("");
    return slice_before(slice_of(run.iov_base, run.iov_len), limit);
}

/* What is to be done next with what is there. False: nothing, for now. A flush that has begun gets no input. */
static bool find_goal(struct compression_state *call, const struct compression *compression, struct slice *run,
                      enum encoder_goal *goal)
{
    const struct body_pipe *in = call->in;
    if (call->flushing) {
        *run = SLICE("");
        *goal = ENCODER_FLUSH;
        return true;
    }
    if (in->state == BODY_FINISHED && in->buffered == run->length) {
        *goal = ENCODER_END;
        return true;
    }
    *goal = run->length > 0 ? ENCODER_TAKE : ENCODER_FLUSH;
    if (run->length > 0) return true;
    if (!call->unflushed) return false;
    if (call->is_stream || call->flush_due || compression->flush_after_ms == 0) return true;
    wake_after(call, compression->flush_after_ms);
    return false;
}

/* The oldest byte that waits sets the time of the flush, whatever comes behind it. Of a stream that says nothing for a while only the encoder
 * is held. */
static void note_progress(struct compression_state *call, enum encoder_goal goal, enum encoder_result result)
{
    call->flushing = goal == ENCODER_FLUSH && result != ENCODER_DONE;
    if (goal == ENCODER_TAKE) {
        call->unflushed = true;
    } else if (result == ENCODER_DONE) {
        call->unflushed = call->flush_due = false;
        timer_clear(call->timers, &call->timer);
        drop_slab(call);
    }
}

static enum stage_result compression_response_body(struct stage *stage, struct body_pipe *in, struct body_pipe *out)
{
    struct compression_state *call = stage->state;
    const struct exchange_worker *worker = stage->exchange->worker;
    begin_body(call, in);
    for (size_t taken = 0; taken < SHARE_BYTES;) {
        enum encoder_goal goal;
        size_t room, written;
        struct slice run = first_run(in, SHARE_BYTES - taken);
        if (!find_goal(call, stage->compiled, &run, &goal) || (room = find_room(call, worker->slabs, out)) == 0)
            return STAGE_CONTINUE;
        size_t before = run.length;
        enum encoder_result result = encoder_run(call->encoder, &run, goal, call->slab->bytes + call->slab->filled,
                                                 room, &written);
        body_pipe_consume(in, before - run.length);
        metrics_count_compressed(worker->metrics, worker->index, call->coding, before - run.length, written);
        taken += before - run.length;
        call->slab->filled += (uint32_t)written;
        if (goal != ENCODER_TAKE) push(call, out);
        if (result == ENCODER_FAILED) return cut(stage, in, out);
        note_progress(call, goal, result);
        if (goal == ENCODER_END && result == ENCODER_DONE) {
            if (in->trailers) content_remove_digests(in->trailers); /* they are of the plain bytes */
            body_pipe_finish(out, in->trailers);
            return STAGE_FINISHED;
        }
    }
    loop_enqueue_next(in->loop, in->consumer_task); /* others' turn */
    return STAGE_CONTINUE;
}

static void compression_finish(struct exchange *exchange, const void *compiled, void *state)
{
    struct compression_state *call = state;
    if (!call->encoder) return;
    if (call->in) timer_clear(call->timers, &call->timer);
    drop_slab(call);
    slab_reserve_release(&call->reserve);
    encoder_give(call->encoder);
}

/* --- why --- */

static void explain_codings(struct exchange *exchange, const struct compression *compression,
                            const struct compression_state *call, struct explanation *explanation)
{
    enum content_coding ranked[CODING_COUNT];
    size_t count = rank_codings(exchange, compression, call, ranked);
    if (exchange->request->version == HTTP_1_0)
        explanation_add(explanation, "answers to HTTP/1.0 are not compressed");
    else if (count == 0)
        explanation_add(explanation, "the client accepts no coding that answers are sent in");
    for (size_t i = 0; i < count; i++) {
        explanation_add(explanation, "%s %.*s, level %d", i == 0 ? "would compress in" : "where memory is short in",
                        SLICE_PRINT(content_coding_name(ranked[i])), compression->levels[ranked[i]]);
    }
}

static void compression_explain(struct exchange *exchange, const void *compiled, struct explanation *explanation)
{
    const struct compression *compression = compiled;
    struct compression_state call = { .risk = request_risk_of(exchange) };
    accepted_codings_read(&exchange->request->headers, &call.accepted);
    explain_codings(exchange, compression, &call, explanation);
    if (compression->credentials == CREDENTIALS_NEVER && call.risk.has_credentials)
        explanation_add(explanation, "not compressed: the request has credentials");
    if (compression->credentials == CREDENTIALS_SAME_ORIGIN && call.risk.is_ambient && !call.risk.is_same_origin)
        explanation_add(explanation,
                        "not compressed: the request has credentials that browsers attach, and no word that its own "
                        "origin made it (BREACH)");
    explanation_add(explanation, "answers of %zu media types, from %" PRIu64 " bytes on", compression->type_count,
                    compression->bytes_min);
}
