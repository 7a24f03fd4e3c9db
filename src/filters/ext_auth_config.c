/* filters/ext_auth_config.c: ext-auth's fields, what is wrong with them, and the policy that becomes of them. The policy itself: ext_auth.c. */
#include "filters/ext_auth.h"

#include "base/memory.h"
#include "expr/variables.h"
#include "filters/private.h"

#include <stdlib.h>

#define NAMES_MAX 64

static bool check_target(struct schema_reading *, const struct node *, const void *value);
static bool check_set_header(struct schema_reading *, const struct node *, const void *value);

const char *const ext_auth_mode_words[] = { "auth-request", "ext-authz", NULL };
static const char *const failure_words[] = { "deny", "allow", NULL };

static const struct field body_fields[] = {
    { .name = "maxBytes",
      .type = FIELD_BYTES,
      .into = offsetof(struct ext_auth_body_config, bytes_max),
      .fallback = "8KiB",
      .minimum = 1,
      .maximum = 1 << 20,
      .summary = "How much of the request's body goes along; a longer one is refused (413)." },
    { .name = "allowPartial",
      .type = FIELD_BOOLEAN,
      .into = offsetof(struct ext_auth_body_config, allow_partial),
      .fallback = "false",
      .summary = "Sends the beginning of a longer one instead." },
    FIELDS_END,
};

static const struct field cache_fields[] = {
    { .name = "key",
      .type = FIELD_STRING_LIST,
      .into = offsetof(struct ext_auth_cache_config, key),
      .required = true,
      .one_or_many = true,
      .minimum = 1,
      .maximum = EXT_AUTH_KEY_PARTS_MAX,
      .summary = "What the decision depends on, each `${...}`; where all are equal the decision is the same." },
    { .name = "ttl",
      .type = FIELD_SECONDS,
      .into = offsetof(struct ext_auth_cache_config, ttl_ms),
      .fallback = "60",
      .minimum = 0,
      .maximum = 86400000,
      .summary = "How long a request that was let through is remembered; the answer's Cache-Control may say less." },
    { .name = "negativeTtl",
      .type = FIELD_SECONDS,
      .into = offsetof(struct ext_auth_cache_config, negative_ttl_ms),
      .fallback = "5",
      .minimum = 0,
      .maximum = 86400000,
      .summary = "The same of one that was refused. Failures are never remembered." },
    { .name = "entries",
      .type = FIELD_INTEGER,
      .into = offsetof(struct ext_auth_cache_config, entries),
      .fallback = "10000",
      .minimum = 1,
      .maximum = 1000000,
      .summary = "How many decisions a worker keeps." },
    { .name = "maxBytes",
      .type = FIELD_BYTES,
      .into = offsetof(struct ext_auth_cache_config, bytes),
      .fallback = "8MiB",
      .minimum = 4096,
      .maximum = 1 << 30,
      .summary = "How much memory of a worker they take." },
    FIELDS_END,
};

const struct field ext_auth_fields[] = {
    { .name = "service",
      .type = FIELD_STRING,
      .reference = FIELD_REFERENCE_SERVICE,
      .into = offsetof(struct ext_auth_config, service),
      .required = true,
      .summary = "The service that decides, by name or id." },
    { .name = "mode",
      .type = FIELD_ENUM,
      .into = offsetof(struct ext_auth_config, mode),
      .names = ext_auth_mode_words,
      .fallback = "auth-request",
      .summary = "How it is asked: as nginx's auth_request does, or as Envoy's ext_authz does over HTTP." },
    { .name = "path",
      .type = FIELD_STRING,
      .into = offsetof(struct ext_auth_config, path),
      .check = check_target,
      .summary =
          "auth-request: the path (and query) that is asked for, `/` where absent. ext-authz: what stands before the request's own path." },
    { .name = "timeoutMs",
      .type = FIELD_MILLISECONDS,
      .into = offsetof(struct ext_auth_config, timeout_ms),
      .fallback = "1000",
      .minimum = 1,
      .maximum = 60000,
      .summary = "How long an answer is waited for; the route's own time bounds it." },
    { .name = "onFailure",
      .type = FIELD_ENUM,
      .into = offsetof(struct ext_auth_config, on_failure),
      .names = failure_words,
      .fallback = "deny",
      .summary = "Whether a request for which no decision can be had is refused or let through." },
    { .name = "failureStatus",
      .type = FIELD_INTEGER,
      .into = offsetof(struct ext_auth_config, failure_status),
      .fallback = "503",
      .minimum = 400,
      .maximum = 599,
      .summary = "The status with which it is refused then." },
    { .name = "failureHeader",
      .type = FIELD_STRING,
      .into = offsetof(struct ext_auth_config, failure_header),
      .check = check_header_name,
      .summary =
          "A request header that tells the service, with the value `true`, that nobody has decided. Absent: it isn't told." },
    { .name = "requestHeaders",
      .type = FIELD_STRING_LIST,
      .into = offsetof(struct ext_auth_config, request_headers),
      .present = offsetof(struct ext_auth_config, has_request_headers),
      .one_or_many = true,
      .maximum = NAMES_MAX,
      .check = check_header_names_item,
      .summary =
          "Headers of the request that go along, by name or beginning and `*`. Absent: all in auth-request, Authorization alone in ext-authz." },
    { .name = "setHeaders",
      .type = FIELD_STRING_MAP,
      .into = offsetof(struct ext_auth_config, set_headers),
      .maximum = NAMES_MAX,
      .check = check_set_header,
      .summary = "Headers that go along beside; values may hold variables." },
    { .name = "upstreamHeaders",
      .type = FIELD_STRING_LIST,
      .into = offsetof(struct ext_auth_config, upstream_headers),
      .one_or_many = true,
      .maximum = NAMES_MAX,
      .check = check_upstream_names_item,
      .summary =
          "Headers of the answer that the request takes along to its service; what the client sent under these names never gets there." },
    { .name = "appendedHeaders",
      .type = FIELD_STRING_LIST,
      .into = offsetof(struct ext_auth_config, appended_headers),
      .one_or_many = true,
      .maximum = NAMES_MAX,
      .check = check_upstream_names_item,
      .summary = "The same beside what the client sent." },
    { .name = "clientHeaders",
      .type = FIELD_STRING_LIST,
      .into = offsetof(struct ext_auth_config, client_headers),
      .one_or_many = true,
      .maximum = NAMES_MAX,
      .check = check_header_names_item,
      .summary = "Headers of an answer that lets through which the client's answer gets." },
    { .name = "deniedHeaders",
      .type = FIELD_STRING_LIST,
      .into = offsetof(struct ext_auth_config, denied_headers),
      .present = offsetof(struct ext_auth_config, has_denied_headers),
      .one_or_many = true,
      .maximum = NAMES_MAX,
      .check = check_header_names_item,
      .summary =
          "Headers of an answer that refuses which the client gets, beside WWW-Authenticate (and in ext-authz Location). Absent: none in auth-request, all in ext-authz." },
    { .name = "userIdHeader",
      .type = FIELD_STRING,
      .into = offsetof(struct ext_auth_config, user_id_header),
      .check = check_header_name,
      .summary =
          "The answer's header that says who asks: for rules, limits and the log, and upstream X-Authenticated-User. Absent: it says nothing of that." },
    { .name = "clientIdHeader",
      .type = FIELD_STRING,
      .into = offsetof(struct ext_auth_config, client_id_header),
      .check = check_header_name,
      .summary = "The same of the client: X-Client-ID." },
    { .name = "body",
      .type = FIELD_OBJECT,
      .into = offsetof(struct ext_auth_config, body),
      .present = offsetof(struct ext_auth_config, has_body),
      .fields = body_fields,
      .summary = "ext-authz: the request's body goes along. Absent: it does not." },
    { .name = "cache",
      .type = FIELD_OBJECT,
      .into = offsetof(struct ext_auth_config, cache),
      .present = offsetof(struct ext_auth_config, has_cache),
      .fields = cache_fields,
      .summary = "Decisions are remembered. Absent: each request asks." },
    FIELDS_END,
};

/* --- loading --- */

static bool check_target(struct schema_reading *reading, const struct node *node, const void *value)
{
    const struct slice *text = value;
    struct target target;
    struct error error;
    bool good = text->length > 0 && text->at[0] == '/' && target_parse(*text, false, reading->arena, &target, &error) &&
                target.form == TARGET_ORIGIN;
    if (good) return true;
    problems_add(reading->problems, node, "it begins with a /", "not a path to ask for: \"%s\"",
                 problems_excerpt(*text).text);
    return false;
}

static bool check_set_header(struct schema_reading *reading, const struct node *node, const void *value)
{
    const struct pair *pair = value;
    return check_header_name(reading, node, &pair->name) && check_header_value(reading, node, &pair->value);
}

static bool refuse(struct schema_reading *reading, const struct node *map, const char *field, const char *hint,
                   const char *words)
{
    const struct node *node = node_find(map, field);
    problems_add(reading->problems, node ? node : map, hint, "%s", words);
    return false;
}

static bool finds_identity(const struct ext_auth_config *config)
{
    return config->user_id_header.length > 0 || config->client_id_header.length > 0;
}

bool ext_auth_check(struct schema_reading *reading, const struct node *node, const void *value)
{
    const struct ext_auth_config *config = value;
    bool good = true;
    if (config->has_body && config->mode != EXT_AUTHZ)
        good = refuse(reading, node, "body", "mode: ext-authz", "auth-request sends no body");
    if (config->has_body && config->has_cache)
        good = refuse(reading, node, "cache", "keep one",
                      "decisions about bodies are not remembered: \"body\" and \"cache\" exclude each other");
    if (config->mode == EXT_AUTHZ && slice_find_byte(config->path, '?') != SLICE_NOT_FOUND)
        good = refuse(reading, node, "path", NULL, "in ext-authz \"path\" stands before the request's: no query");
    if (finds_identity(config) && config->on_failure != 0)
        good = refuse(reading, node, "onFailure", "deny, or leave out userIdHeader and clientIdHeader",
                      "who asks would not be known where the service fails");
    return good;
}

/* Where it finds out who asks it is one of identity's methods, behind those that look at credentials themselves. */
enum phase ext_auth_phase(const void *value) { return finds_identity(value) ? PHASE_IDENTITY : PHASE_ACCESS; }

/* Texts in one block. */
static void copy_texts(struct ext_auth *policy, const struct ext_auth_config *config)
{
    const struct slice from[] = { config->path, config->failure_header, config->user_id_header,
                                  config->client_id_header };
    struct slice *const into[] = { &policy->path, &policy->failure_header, &policy->user_id_header,
                                   &policy->client_id_header };
    size_t bytes = 1;
    for (size_t i = 0; i < COUNT_OF(from); i++) bytes += from[i].length;
    char *next = policy->texts = memory_allocate(bytes);
    for (size_t i = 0; i < COUNT_OF(from); i++) {
        *into[i] = from[i].length ? slice_of(next, from[i].length) : SLICE_ABSENT;
        if (from[i].length) next = mempcpy(next, from[i].at, from[i].length);
    }
    if (policy->mode == EXT_AUTH_REQUEST && policy->path.length == 0) policy->path = SLICE("/");
    if (policy->mode != EXT_AUTHZ) return;
    if (policy->path.length == 0) policy->path = SLICE("");
    while (slice_ends_with(policy->path, SLICE("/"))) policy->path.length--; /* the request's own begins with one */
}

/* A map or list inside, where it was written. */
static struct filter_compile inside(const struct filter_compile *compile, const char *field)
{
    struct filter_compile here = *compile;
    const struct node *node = compile->node ? node_find(compile->node, field) : NULL;
    if (node) here.node = node;
    return here;
}

static bool compile_fields(const struct filter_compile *compile, const struct pair_list *pairs, struct ext_auth *policy)
{
    struct filter_compile here = inside(compile, "setHeaders");
    bool good = true;
    policy->fields = memory_allocate_array(pairs->count + 1, sizeof *policy->fields);
    for (size_t i = 0; i < pairs->count; i++) {
        struct ext_auth_field *field = &policy->fields[policy->field_count];
        field->value = filter_compile_template(&here, pairs->items[i].name.at, pairs->items[i].value);
        good &= field->value != NULL;
        if (!field->value) continue;
        field->name_text = memory_copy_slice(pairs->items[i].name);
        field->name = slice_of(field->name_text, pairs->items[i].name.length);
        policy->field_count++;
    }
    return good;
}

/* Most keys are made of headers, for which no expression need be evaluated. */
static struct slice header_of(const struct expression *part)
{
    struct slice name;
    const struct expression_variable *map = expression_field_of(part, &name);
    return map && map->number == VARIABLE_REQUEST_HEADERS ? name : SLICE_ABSENT;
}

static bool compile_cache(const struct filter_compile *compile, const struct ext_auth_cache_config *config,
                          struct ext_auth *policy)
{
    struct filter_compile here = inside(compile, "cache");
    policy->ttl_ms = (uint32_t)config->ttl_ms;
    policy->negative_ttl_ms = (uint32_t)config->negative_ttl_ms;
    policy->entries_max = (size_t)config->entries;
    policy->cache_bytes_max = config->bytes;
    policy->key = memory_allocate_array(config->key.count + 1, sizeof *policy->key);
    for (size_t i = 0; i < config->key.count; i++) {
        struct slice text = config->key.items[i];
        if (!slice_starts_with(text, SLICE("${")) || !slice_ends_with(text, SLICE("}"))) {
            const struct node *node = here.node ? node_find(here.node, "key") : NULL;
            problems_add(here.problems, node ? node : here.node, "write one item for each",
                         "an item of \"key\" is one ${...} and nothing else: \"%s\"", problems_excerpt(text).text);
            return false;
        }
        struct expression *part = filter_compile_braced_expression(&here, "key", text, EXPRESSION_DYN);
        if (!part) return false;
        policy->key[policy->key_count++] = (struct ext_auth_key_part){ part, header_of(part) };
    }
    return true;
}

bool ext_auth_compile(const struct filter_compile *compile, const void *value, void **compiled)
{
    const struct ext_auth_config *config = value;
    struct ext_auth *policy = memory_allocate(sizeof *policy);
    *policy = (struct ext_auth){
        .mode = (uint8_t)config->mode,
        .allows_on_failure = config->on_failure != 0,
        .takes_body = config->has_body,
        .takes_partial_body = config->body.allow_partial,
        .all_request_headers = !config->has_request_headers && config->mode == EXT_AUTH_REQUEST,
        .has_denied_headers = config->has_denied_headers,
        .finds_identity = finds_identity(config),
        .failure_status = (uint16_t)config->failure_status,
        .timeout_ms = (uint32_t)config->timeout_ms,
        .body_bytes_max = config->body.bytes_max,
    };
    if (compile->node) policy->fingerprint = node_hash(compile->node);
    copy_texts(policy, config);
    header_names_init(&policy->request_headers, &config->request_headers);
    header_names_init(&policy->upstream_headers, &config->upstream_headers);
    header_names_init(&policy->appended_headers, &config->appended_headers);
    header_names_init(&policy->client_headers, &config->client_headers);
    header_names_init(&policy->denied_headers, &config->denied_headers);
    policy->service = compile->service(compile, "service", config->service);
    bool good = policy->service != SERVICE_NONE;
    good &= compile_fields(compile, &config->set_headers, policy);
    if (config->has_cache) good &= compile_cache(compile, &config->cache, policy);
    if (good)
        *compiled = policy;
    else
        ext_auth_release(policy);
    return good;
}

void ext_auth_release(void *compiled)
{
    struct ext_auth *policy = compiled;
    for (size_t i = 0; i < policy->field_count; i++) {
        template_destroy(policy->fields[i].value);
        free(policy->fields[i].name_text);
    }
    for (size_t i = 0; i < policy->key_count; i++) expression_destroy(policy->key[i].expression);
    header_names_release(&policy->request_headers);
    header_names_release(&policy->upstream_headers);
    header_names_release(&policy->appended_headers);
    header_names_release(&policy->client_headers);
    header_names_release(&policy->denied_headers);
    free(policy->fields);
    free(policy->key);
    free(policy->texts);
    free(policy);
}
