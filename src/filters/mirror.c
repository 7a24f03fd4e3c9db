/* mirror: sends a share of a route's requests to a second service as well, looks at what it answers, and never lets the client notice.
 *
 * Once the proxy has the request ready, the head is copied and the body teed (lossy: a mirror that is slower than the client loses its copy);
 * the copy is sent in the next turn, after the request itself. From then on it is on its own: a `mirrored` with an arena, a route
 * and a service of its own, which outlives client and exchange and ends at its deadline at the latest. With `compare` it also keeps both
 * answers, as far as maxBytes, and has them compared, on a thread of its own (mirror_judge.h), when both are over. State: the mirrored
 * request. Never waits. */
#include "filters/filters.h"

#include "base/memory.h"
#include "filters/mirror.h"
#include "filters/mirror_compare.h"
#include "filters/private.h"

#include <xxhash.h>

#define HEADERS_MAX 32
#define IGNORED_MAX 64
/* Beyond this many sixteenths of a worker's memory no request is mirrored. */
#define CEILING_SIXTEENTHS 8
#define SHARES 10000u /* hundredths of a percent */

struct compare_config {
    bool status, show_values;
    int body; /* enum body_comparison */
    struct slice_list headers, ignored;
    uint64_t bytes_max;
};

struct mirror_config {
    struct slice service;
    uint64_t share;
    int by; /* enum share_by */
    uint64_t body_bytes_max, buffer_bytes, timeout_ms;
    int64_t concurrent_max;
    bool forward_credentials, compares;
    struct compare_config compare;
};

enum share_by { BY_RANDOM, BY_CLIENT, BY_IP, BY_PATH };

static bool read_share(struct schema_reading *, const struct node *, void *into);
static bool check_ignored(struct schema_reading *, const struct node *, const void *text);
static bool check_compared_header(struct schema_reading *, const struct node *, const void *text);

static const char *const body_names[] = { "none", "bytes", "json", NULL };
static const char *const by_names[] = { "random", "client", "ip", "path", NULL };

static const struct field compare_fields[] = {
    { .name = "status",
      .type = FIELD_BOOLEAN,
      .into = offsetof(struct compare_config, status),
      .fallback = "true",
      .summary = "Whether the statuses must be the same." },
    { .name = "headers",
      .type = FIELD_STRING_LIST,
      .into = offsetof(struct compare_config, headers),
      .maximum = HEADERS_MAX,
      .one_or_many = true,
      .check = check_compared_header,
      .summary = "Headers whose values must be the same. Absent: none is looked at." },
    { .name = "body",
      .type = FIELD_ENUM,
      .into = offsetof(struct compare_config, body),
      .names = body_names,
      .fallback = "none",
      .summary = "How bodies are compared: `none`, `bytes`, or `json`: by value, whatever the order of members." },
    { .name = "ignore",
      .type = FIELD_STRING_LIST,
      .into = offsetof(struct compare_config, ignored),
      .maximum = IGNORED_MAX,
      .one_or_many = true,
      .check = check_ignored,
      .summary =
          "JSON pointers of what doesn't count, with all below it; `*` is any member or item: `/items/*/updatedAt`." },
    { .name = "maxBytes",
      .type = FIELD_BYTES,
      .into = offsetof(struct compare_config, bytes_max),
      .fallback = "64KiB",
      .minimum = 1,
      .maximum = 1 << 20,
      .summary = "How much of each body is kept; answers with longer ones are not compared." },
    { .name = "showValues",
      .type = FIELD_BOOLEAN,
      .into = offsetof(struct compare_config, show_values),
      .summary =
          "Whether the values that differ may be read over the admin API, cut to 64 bytes; else only their kinds." },
    FIELDS_END,
};

static const struct field mirror_fields[] = {
    { .name = "service",
      .type = FIELD_STRING,
      .reference = FIELD_REFERENCE_SERVICE,
      .into = offsetof(struct mirror_config, service),
      .required = true,
      .summary = "The service that gets the copies, by name or id." },
    { .name = "percentage",
      .type = FIELD_CUSTOM,
      .into = offsetof(struct mirror_config, share),
      .fallback = "100",
      .read = read_share,
      .write = schema_write_percentage,
      .type_text = "number",
      .summary = "The share of requests that is mirrored, with at most two decimals." },
    { .name = "by",
      .type = FIELD_ENUM,
      .into = offsetof(struct mirror_config, by),
      .names = by_names,
      .fallback = "random",
      .summary =
          "Which ones: at `random`, or always those of the same `client` (an anonymous one's `ip`), `ip` or `path`." },
    { .name = "maxBodyBytes",
      .type = FIELD_BYTES,
      .into = offsetof(struct mirror_config, body_bytes_max),
      .fallback = "1MiB",
      .maximum = 1ll << 40,
      .summary = "Requests that declare a longer body are not mirrored." },
    { .name = "bufferBytes",
      .type = FIELD_BYTES,
      .into = offsetof(struct mirror_config, buffer_bytes),
      .fallback = "1MiB",
      .minimum = 64 << 10,
      .maximum = 64 << 20,
      .summary = "How far the mirror may lag behind a body, in memory held; one that lags further loses it." },
    { .name = "timeoutMs",
      .type = FIELD_MILLISECONDS,
      .into = offsetof(struct mirror_config, timeout_ms),
      .fallback = "10000",
      .minimum = 1,
      .maximum = 3600000,
      .summary = "From the copy's being sent to the end of its answer." },
    { .name = "maxConcurrent",
      .type = FIELD_INTEGER,
      .into = offsetof(struct mirror_config, concurrent_max),
      .fallback = "100",
      .minimum = 1,
      .maximum = 100000,
      .summary = "How many of the route's copies a worker has under way; beyond that requests are not mirrored." },
    { .name = "forwardCredentials",
      .type = FIELD_BOOLEAN,
      .into = offsetof(struct mirror_config, forward_credentials),
      .summary =
          "Whether the copies keep Cookie, Authorization and X-API-Key, as far as the route's service gets them." },
    { .name = "compare",
      .type = FIELD_OBJECT,
      .into = offsetof(struct mirror_config, compare),
      .present = offsetof(struct mirror_config, compares),
      .fields = compare_fields,
      .summary =
          "Compares the mirror's answers with the service's, as they come from both. Absent: nothing is compared." },
    FIELDS_END,
};

static bool mirror_compile(const struct filter_compile *, const void *value, void **compiled);
static void mirror_comes_into_force(const void *compiled);
static void mirror_release(void *compiled);
static void mirror_request_ready(struct exchange *, const void *compiled, void *state, struct slice target);
static enum filter_result mirror_response_head(struct exchange *, const void *compiled, void *state);
static void mirror_finish(struct exchange *, const void *compiled, void *state);
static void mirror_explain(struct exchange *, const void *compiled, struct explanation *);

const struct filter filter_mirror = {
    .name = "mirror",
    .summary = "Sends a share of the requests to a second service too, and compares its answers if wished.",
    .phase = PHASE_CACHE,
    .fields = mirror_fields,
    .config_size = sizeof(struct mirror_config),
    .state_size = sizeof(struct mirror_state),
    .compile = mirror_compile,
    .comes_into_force = mirror_comes_into_force,
    .release = mirror_release,
    .worker_start = mirror_worker_start,
    .worker_stop = mirror_worker_stop,
    .request_ready = mirror_request_ready,
    .response_head = mirror_response_head,
    .finish = mirror_finish,
    .explain = mirror_explain,
};

/* --- loading --- */

static bool read_share(struct schema_reading *reading, const struct node *node, void *into)
{
    return schema_read_percentage(reading, "percentage", node, into);
}

static bool check_ignored(struct schema_reading *reading, const struct node *node, const void *text)
{
    struct ignored_path path;
    const struct slice *pointer = text;
    if (ignored_path_read(*pointer, &path)) {
        ignored_path_release(&path);
        return true;
    }
    problems_add(reading->problems, node, "as in /items/*/updatedAt", "not a JSON pointer: \"%s\"",
                 problems_excerpt(*pointer).text);
    return false;
}

static bool check_compared_header(struct schema_reading *reading, const struct node *node, const void *text)
{
    const struct slice *name = text;
    if (header_name_is_valid(*name)) return true;
    problems_add(reading->problems, node, NULL, "not a header name: \"%s\"", problems_excerpt(*name).text);
    return false;
}

/* Bodies that the two services have compressed are unpacked to be compared; where a library is missing they are not compared. */
static void compile_comparison(struct mirror *mirror, const struct compare_config *config)
{
    struct comparison_rules *rules = &mirror->rules;
    struct error error;
    rules->status = config->status;
    rules->body = (enum body_comparison)config->body;
    rules->headers = arena_allocate(&mirror->arena, (config->headers.count + 1) * sizeof *rules->headers);
    rules->ignored = memory_allocate_array(config->ignored.count + 1, sizeof *rules->ignored);
    PROMISE(rules->headers != NULL);
    for (size_t i = 0; i < config->headers.count; i++)
        rules->headers[rules->header_count++] = arena_keep(&mirror->arena, config->headers.items[i]);
    for (size_t i = 0; i < config->ignored.count; i++) {
        bool good = ignored_path_read(config->ignored.items[i], &rules->ignored[rules->ignored_count++]);
        PROMISE(good); /* it was checked */
    }
    mirror->compares = true;
    mirror->shows_values = config->show_values;
    mirror->compared_bytes_max = (size_t)config->bytes_max;
    if (rules->body == COMPARE_NO_BODY) return;
    mirror->reads_coding[CODING_GZIP] = mirror->reads_coding[CODING_DEFLATE] = true;
    mirror->reads_coding[CODING_BROTLI] = content_coding_load(CODING_BROTLI, &error);
    mirror->reads_coding[CODING_ZSTD] = content_coding_load(CODING_ZSTD, &error);
}

/* What the process's mirrors have together. */
static bool take_shared(struct mirror *mirror, const struct filter_compile *compile)
{
    struct mirrors *mirrors = compile->surroundings->mirrors;
    struct error error;
    if (!mirrors) return true;
    mirror->route_name = arena_keep(&mirror->arena, compile->route_name);
    mirror->figures = mirror_figures_take(mirrors, compile->route_id);
    if (!mirror->compares || (mirror->judge = mirrors_judge(mirrors, &error)) != NULL) return true;
    problems_add(compile->problems, compile->node, NULL, "%s", error.text);
    return false;
}

static bool mirror_compile(const struct filter_compile *compile, const void *value, void **compiled)
{
    const struct mirror_config *config = value;
    uint32_t service = compile->service(compile, "service", config->service);
    if (service == SERVICE_NONE) return false;
    struct mirror *mirror = memory_allocate(sizeof *mirror);
    arena_init(&mirror->arena, NULL);
    mirror->service = service;
    mirror->service_name = arena_keep(&mirror->arena, config->service);
    mirror->share = (uint32_t)config->share;
    mirror->by = config->by;
    mirror->body_bytes_max = config->body_bytes_max;
    mirror->buffer_bytes = (uint32_t)config->buffer_bytes;
    mirror->timeout_ms = config->timeout_ms;
    mirror->concurrent_max = config->concurrent_max;
    mirror->forwards_credentials = config->forward_credentials;
    if (config->compares) compile_comparison(mirror, &config->compare);
    if (!take_shared(mirror, compile)) {
        mirror_release(mirror);
        return false;
    }
    *compiled = mirror;
    return true;
}

static void mirror_comes_into_force(const void *compiled)
{
    const struct mirror *mirror = compiled;
    if (mirror->figures) mirror_figures_name(mirror->figures, mirror->route_name, mirror->service_name);
}

static void mirror_release(void *compiled)
{
    struct mirror *mirror = compiled;
    mirror_figures_give(mirror->figures);
    for (size_t i = 0; i < mirror->rules.ignored_count; i++) ignored_path_release(&mirror->rules.ignored[i]);
    free(mirror->rules.ignored);
    arena_release(&mirror->arena);
    free(mirror);
}

/* --- which requests --- */

static struct slice share_key(const struct exchange *exchange, const struct mirror *mirror)
{
    const struct identity *identity = &exchange->identity;
    switch ((enum share_by)mirror->by) {
    case BY_PATH: return exchange->request->target.path;
    case BY_CLIENT:
        if (!slice_is_absent(identity->client_id)) return identity->client_id;
        if (!slice_is_absent(identity->user_id)) return identity->user_id;
        break;
    default: break;
    }
    return exchange->client_ip;
}

/* The same key falls on the same side on every worker and instance, and stays there when the share grows. */
static bool is_chosen(const struct exchange *exchange, const struct mirror *mirror)
{
    if (mirror->share == SHARES) return true;
    if (mirror->by == BY_RANDOM) return random_below(&exchange->worker->upstream->random, SHARES) < mirror->share;
    struct slice key = share_key(exchange, mirror);
    return XXH3_64bits(key.at, key.length) % SHARES < mirror->share;
}

/* Not sent, for which reason; or MIRROR_OUTCOME_COUNT: it may be. */
static enum mirror_outcome why_not(const struct exchange *exchange, const struct mirror *mirror)
{
    const struct request_head *request = exchange->request;
    unsigned worker = exchange->worker->index;
    if (mirror_in_flight(mirror->figures, worker) >= mirror->concurrent_max) return MIRROR_BUSY;
    if (memory_ceiling_is_beyond(exchange->worker->slabs->ceiling, CEILING_SIXTEENTHS)) return MIRROR_SHED;
    bool is_long = exchange->request_body && request->body_length != BODY_LENGTH_UNKNOWN &&
                   request->body_length > mirror->body_bytes_max;
    return is_long ? MIRROR_TOO_LARGE : MIRROR_OUTCOME_COUNT;
}

/* A copy is never copied again: two gateways that mirror to each other would not stop. */
static bool may_be_mirrored(const struct exchange *exchange)
{
    return !exchange->request->wants_upgrade && !headers_find(&exchange->request->headers, mirrored_header);
}

static void mirror_request_ready(struct exchange *exchange, const void *compiled, void *state, struct slice target)
{
    const struct mirror *mirror = compiled;
    struct mirror_state *own = state;
    if (!mirror->figures || !may_be_mirrored(exchange) || !is_chosen(exchange, mirror)) return;
    enum mirror_outcome reason = why_not(exchange, mirror);
    if (reason == MIRROR_OUTCOME_COUNT) {
        own->mirrored = mirrored_create(exchange, mirror, target);
        reason = MIRROR_SHED;
    }
    if (!own->mirrored) mirror_count(mirror->figures, exchange->worker->index, reason);
}

static enum filter_result mirror_response_head(struct exchange *exchange, const void *compiled, void *state)
{
    struct mirror_state *own = state;
    if (own->mirrored) mirrored_watch_primary(own->mirrored);
    return FILTER_NEXT;
}

static void mirror_finish(struct exchange *exchange, const void *compiled, void *state)
{
    struct mirror_state *own = state;
    if (own->mirrored) mirrored_let_go_of_exchange(own->mirrored);
    own->mirrored = NULL;
}

static void mirror_explain(struct exchange *exchange, const void *compiled, struct explanation *explanation)
{
    const struct mirror *mirror = compiled;
    if (mirror->by == BY_RANDOM)
        explanation_add(explanation, "%u.%02u %% of requests are mirrored to \"%.*s\", at random", mirror->share / 100,
                        mirror->share % 100, SLICE_PRINT(mirror->service_name));
    else
        explanation_add(explanation, "%s to \"%.*s\": %u.%02u %% are, by %s",
                        is_chosen(exchange, mirror) ? "mirrored" : "not mirrored", SLICE_PRINT(mirror->service_name),
                        mirror->share / 100, mirror->share % 100, by_names[mirror->by]);
}
