/* api-key: who asks, by an API key in a header or in the query.
 *
 * The key's SHA-256 is looked up in the index of keys (keys/api_keys.h): most often in memory; what isn't there is asked of the store,
 * and the request waits, at most LOOKUP_MS_MAX. Where the store is away and the index can't tell, the answer is 503: it isn't the client's
 * fault. A key counts as long as the index believes it, so a revocation is in force here as soon as it is there.
 * State: the compiled list of places (route); the wait, the hash (exchange). Never blocks; memory comes from the exchange's arena. */
#include "filters/filters.h"

#include "base/memory.h"
#include "filters/private.h"
#include "keys/key_lookups.h"

#define PLACES_MAX 8
#define KEY_BYTES_MAX 1024 /* longer texts are none: no stranger makes us hash for long */
#define LOOKUP_MS_MAX 3000
#define ASKS_MAX 3 /* a key that is changed again and again while it is asked for */
#define RULE SLICE("api-key")

struct api_key_settings {
    struct slice_list headers, parameters, scopes;
    int anonymous; /* index into anonymous_words */
    int on_failure;
    bool forwards;
    struct slice realm;
};

struct api_key_filter {
    struct api_keys *keys;       /* NULL: nobody serves with this */
    struct key_lookups *lookups; /* NULL: all there are is in memory */
    struct arena arena;          /* of all texts */
    struct credential_source *headers, *parameters;
    size_t header_count, parameter_count;
    struct slice *scopes;
    size_t scope_count;
    struct slice scopes_text;
    struct slice missing, malformed, refused; /* challenges */
    bool allows_anonymous, allows_on_failure, forwards;
};

struct api_key_state {
    struct exchange_wait wait;
    struct identity_turn turn;
    uint8_t hash[API_KEY_HASH_BYTES];
    uint8_t asks; /* 0: nothing was found yet */
    bool is_away;
};

static bool check_parameter(struct schema_reading *, const struct node *, const void *name);

static const char *const anonymous_words[] = { "deny", "allow", NULL };
static const char *const failure_words[] = { "deny", "allow", NULL };

static const struct field api_key_filter_fields[] = {
    { .name = "headers",
      .type = FIELD_STRING_LIST,
      .into = offsetof(struct api_key_settings, headers),
      .fallback = "[X-API-Key]",
      .maximum = PLACES_MAX,
      .one_or_many = true,
      .check = check_header_name,
      .summary =
          "Headers that may bring the key; the first that is there decides. Of `Authorization` the schemes `Bearer` and "
          "`ApiKey` are read." },
    { .name = "queryParams",
      .type = FIELD_STRING_LIST,
      .into = offsetof(struct api_key_settings, parameters),
      .maximum = PLACES_MAX,
      .one_or_many = true,
      .check = check_parameter,
      .summary =
          "Query parameters that may bring it, where no header does. What stands in URLs is easily seen by others." },
    { .name = "requiredScopes",
      .type = FIELD_STRING_LIST,
      .into = offsetof(struct api_key_settings, scopes),
      .maximum = 64,
      .one_or_many = true,
      .check = check_scope_word,
      .summary = "Scopes that a key must have, all of them; else 403." },
    { .name = "anonymous",
      .type = FIELD_ENUM,
      .into = offsetof(struct api_key_settings, anonymous),
      .names = anonymous_words,
      .fallback = "deny",
      .summary = "Whether requests without any credentials are let through, as nobody's." },
    { .name = "forwardCredentials",
      .type = FIELD_BOOLEAN,
      .into = offsetof(struct api_key_settings, forwards),
      .fallback = "false",
      .summary = "Whether the service gets to see the key." },
    { .name = "onFailure",
      .type = FIELD_ENUM,
      .into = offsetof(struct api_key_settings, on_failure),
      .names = failure_words,
      .fallback = "deny",
      .summary = "What happens to a key that can't be looked up: 503, or the request is let through as nobody's." },
    { .name = "realm",
      .type = FIELD_STRING,
      .into = offsetof(struct api_key_settings, realm),
      .fallback = "sluice",
      .check = check_realm,
      .summary = "What the challenge of a 401 says is protected." },
    FIELDS_END,
};

static bool api_key_check(struct schema_reading *, const struct node *, const void *value);
static const char *api_key_takes_header(const void *value, struct slice name);
static bool api_key_compile(const struct filter_compile *, const void *value, void **compiled);
static void api_key_release(void *compiled);
static enum filter_result api_key_request(struct exchange *, const void *compiled, void *opaque);
static enum filter_result look_in_query(struct exchange *, const void *compiled, void *opaque);
static void api_key_explain(struct exchange *, const void *compiled, struct explanation *);

const struct filter filter_api_key = {
    .name = "api-key",
    .summary = "Finds out who asks by an API key (401 without a good one).",
    .phase = PHASE_IDENTITY,
    .rank = 20,
    .gate = &filter_identity_gate,
    .fields = api_key_filter_fields,
    .config_size = sizeof(struct api_key_settings),
    .state_size = sizeof(struct api_key_state),
    .check = api_key_check,
    .takes_header = api_key_takes_header,
    .compile = api_key_compile,
    .release = api_key_release,
    .request = api_key_request,
    .explain = api_key_explain,
};

/* --- loading --- */

static bool check_parameter(struct schema_reading *reading, const struct node *node, const void *name)
{
    if (((const struct slice *)name)->length > 0) return true;
    problems_add(reading->problems, node, NULL, "a query parameter needs a name");
    return false;
}

static bool api_key_check(struct schema_reading *reading, const struct node *node, const void *value)
{
    const struct api_key_settings *config = value;
    if (config->headers.count + config->parameters.count > 0) return true;
    problems_add(reading->problems, node, NULL, "\"headers\" or \"queryParams\" must name a place for the key");
    return false;
}

static const char *api_key_takes_header(const void *value, struct slice name)
{
    const struct api_key_settings *config = value;
    for (size_t i = 0; i < config->headers.count && !config->forwards; i++) {
        if (slice_equal_ignore_case(config->headers.items[i], name)) return "api_key";
    }
    return NULL;
}

static struct credential_source *keep_sources(struct api_key_filter *filter, enum credential_place place,
                                              const struct slice_list *names)
{
    struct credential_source *sources = arena_allocate(&filter->arena, (names->count + 1) * sizeof *sources);
    PROMISE(sources != NULL);
    for (size_t i = 0; i < names->count; i++)
        sources[i] = credential_source_of(place, arena_keep(&filter->arena, names->items[i]));
    return sources;
}

static void keep_scopes(struct api_key_filter *filter, const struct slice_list *scopes)
{
    struct slice text = SLICE("");
    filter->scope_count = scopes->count;
    filter->scopes = arena_allocate(&filter->arena, (scopes->count + 1) * sizeof *filter->scopes);
    PROMISE(filter->scopes != NULL);
    for (size_t i = 0; i < scopes->count; i++) {
        filter->scopes[i] = arena_keep(&filter->arena, scopes->items[i]);
        text = arena_join(&filter->arena,
                          (struct slice[]){ text, text.length ? SLICE(" ") : SLICE(""), filter->scopes[i] }, 3);
        PROMISE(!slice_is_absent(text));
    }
    filter->scopes_text = text;
}

/* There is no registered scheme for keys in headers of their own, but a 401 has a challenge (RFC 9110 15.5.2): it names the place. */
static struct slice challenge(struct api_key_filter *filter, const struct api_key_settings *config, struct slice error)
{
    bool in_header = filter->header_count > 0;
    const struct credential_source *place = in_header ? &filter->headers[0] : &filter->parameters[0];
    bool is_bearer = in_header && place->key.id == HEADER_AUTHORIZATION;
    const struct challenge_parameter parameters[] = {
        { SLICE("realm"), config->realm },
        { SLICE("in"), is_bearer   ? SLICE_ABSENT
                       : in_header ? SLICE("header")
                                   : SLICE("query") },
        { SLICE("name"), is_bearer ? SLICE_ABSENT : place->key.name },
        { SLICE("error"), error },
    };
    struct slice text = identity_challenge_write(&filter->arena, is_bearer ? SLICE("Bearer") : SLICE("ApiKey"),
                                                 parameters, COUNT_OF(parameters));
    PROMISE(!slice_is_absent(text));
    return text;
}

static bool api_key_compile(const struct filter_compile *compile, const void *value, void **compiled)
{
    const struct api_key_settings *config = value;
    struct api_key_filter *filter = memory_allocate(sizeof *filter);
    arena_init(&filter->arena, NULL);
    filter->keys = compile->surroundings->api_keys;
    filter->lookups = compile->surroundings->key_lookups;
    filter->headers = keep_sources(filter, CREDENTIAL_IN_HEADER, &config->headers);
    filter->header_count = config->headers.count;
    filter->parameters = keep_sources(filter, CREDENTIAL_IN_QUERY, &config->parameters);
    filter->parameter_count = config->parameters.count;
    keep_scopes(filter, &config->scopes);
    filter->missing = challenge(filter, config, SLICE_ABSENT);
    filter->malformed = challenge(filter, config, SLICE("invalid_request"));
    filter->refused = challenge(filter, config, SLICE("invalid_token"));
    filter->allows_anonymous = config->anonymous == 1;
    filter->allows_on_failure = config->on_failure == 1;
    filter->forwards = config->forwards;
    *compiled = filter;
    return true;
}

static void api_key_release(void *compiled)
{
    struct api_key_filter *filter = compiled;
    arena_release(&filter->arena);
    free(filter);
}

/* --- finding the key --- */

/* What stands behind the name of a scheme that may carry a key. */
static enum credential_found take_scheme(struct slice *value)
{
    static const struct slice schemes[] = { { "Bearer", 6 }, { "ApiKey", 6 } };
    enum credential_found found = CREDENTIAL_NONE;
    for (size_t i = 0; i < COUNT_OF(schemes) && found == CREDENTIAL_NONE; i++)
        found = credential_take_scheme(value, schemes[i]);
    return found;
}

/* The first place that has one. An Authorization of another scheme is somebody else's. */
static enum credential_found find_in(const struct exchange *exchange, const struct credential_source *places,
                                     size_t count, struct slice *key)
{
    for (size_t i = 0; i < count; i++) {
        enum credential_found found = credential_find(exchange, &places[i], key);
        if (found == CREDENTIAL_FOUND && places[i].key.id == HEADER_AUTHORIZATION) found = take_scheme(key);
        if (found != CREDENTIAL_NONE) return found;
    }
    return CREDENTIAL_NONE;
}

static bool forward_all(struct exchange *exchange, const struct api_key_filter *filter)
{
    bool good = true;
    for (size_t i = 0; i < filter->header_count && good; i++) good = credential_forward(exchange, &filter->headers[i]);
    for (size_t i = 0; i < filter->parameter_count && good; i++)
        good = credential_forward(exchange, &filter->parameters[i]);
    return good;
}

/* No key goes on, whichever place it stands in and whether or not it was looked at. But an Authorization only where this policy decides:
 * another's credentials stand there too. */
static bool strip_all(struct exchange *exchange, const struct api_key_filter *filter, bool decides)
{
    struct slice value;
    if (filter->forwards) return forward_all(exchange, filter);
    for (size_t i = 0; i < filter->header_count; i++) {
        const struct credential_source *place = &filter->headers[i];
        bool is_shared = place->key.id == HEADER_AUTHORIZATION;
        enum credential_found found = is_shared ? find_in(exchange, place, 1, &value) : CREDENTIAL_FOUND;
        if (found != CREDENTIAL_FOUND && found != CREDENTIAL_UNREADABLE) continue;
        if (is_shared && !decides) continue;
        if (!credential_strip(exchange, place)) return false;
    }
    for (size_t i = 0; i < filter->parameter_count; i++) {
        if (!credential_strip(exchange, &filter->parameters[i])) return false;
    }
    return true;
}

/* --- judging it --- */

static enum filter_result answer_no_memory(struct exchange *exchange)
{
    respond_no_memory(exchange);
    return FILTER_RESPOND;
}

static enum filter_result refuse(struct exchange *exchange, const struct api_key_filter *filter, const char *reason,
                                 const char *text)
{
    return identity_refuse(exchange, 401, reason, RULE, filter->refused, "%s", text);
}

/* Retry-After goes along (RFC 9110 15.6.4). */
static enum filter_result answer_away(struct exchange *exchange, const struct api_key_filter *filter)
{
    if (filter->allows_on_failure) {
        identity_missing(exchange, filter->missing);
        identity_allow_anonymous(exchange);
        return strip_all(exchange, filter, true) ? FILTER_NEXT : answer_no_memory(exchange);
    }
    exchange_respond_problem(exchange, 503, "api-keys-away", RULE, "API keys can't be looked up right now");
    return FILTER_RESPOND;
}

/* What was found holds until the turn of the loop ends: the exchange gets texts of its own. */
static bool take_identity(struct exchange *exchange, const struct api_key *key)
{
    struct identity *identity = &exchange->identity;
    char client[API_KEY_UUID_BYTES];
    struct slice client_id = api_key_client_id(key, client);
    char *at = arena_allocate(exchange->arena, API_KEY_UUID_BYTES + client_id.length + key->scopes.length);
    if (!at) return false;
    identity->client_id = slice_of(at, client_id.length);
    at = mempcpy(at, client_id.at, client_id.length);
    identity->scopes = slice_of(at, key->scopes.length);
    if (key->scopes.length) at = mempcpy(at, key->scopes.at, key->scopes.length);
    identity->tier = (int8_t)key->tier;
    identity->key_id = api_key_id(key, at); /* the farthest away: last */
    identity->method = IDENTITY_API_KEY;
    identity_forget_roles(exchange);
    return true;
}

static const struct slice *missing_scope(const struct api_key_filter *filter, const struct identity *identity)
{
    for (size_t i = 0; i < filter->scope_count; i++) {
        if (!identity_has_scope(identity, filter->scopes[i])) return &filter->scopes[i];
    }
    return NULL;
}

static enum filter_result let_in(struct exchange *exchange, const struct api_key_filter *filter,
                                 const struct api_key *key, uint64_t now_us)
{
    if (!take_identity(exchange, key)) return answer_no_memory(exchange);
    api_keys_note_use(filter->keys, exchange->worker->index, key, now_us);
    const struct slice *missing = missing_scope(filter, &exchange->identity);
    if (missing) {
        exchange_respond_problem(exchange, 403, "insufficient-scope", RULE, "the API key lacks the scope \"%.*s\"",
                                 SLICE_PRINT(*missing));
        return FILTER_RESPOND;
    }
    return strip_all(exchange, filter, true) ? FILTER_NEXT : answer_no_memory(exchange);
}

static enum api_key_found look(const struct exchange *exchange, const struct api_key_filter *filter,
                               const uint8_t *hash, struct api_key *key)
{
    if (!filter->keys) return API_KEY_AWAY;
    uint64_t now_us = exchange->worker->loop->wall_ns / 1000;
    enum api_key_found found = api_keys_find(filter->keys, exchange->worker->index, hash, now_us, key);
    /* Without a store there is nobody to ask: what had no room in memory is not in force. */
    return found == API_KEY_ASK && !filter->lookups ? API_KEY_UNKNOWN : found;
}

/* On the thread of the look-ups. */
static void resume(const struct key_asker *asker, enum api_key_found found)
{
    (void)found; /* it is in the index by now */
    const struct wait_ticket ticket = { .worker = (struct exchange_worker *)(uintptr_t)asker->ticket[0],
                                        .slot = (uint32_t)asker->ticket[1],
                                        .generation = (uint32_t)asker->ticket[2] };
    exchange_resume_from_thread(&ticket);
}

static bool ask(const struct api_key_filter *filter, struct api_key_state *state)
{
    struct wait_ticket ticket;
    if (!exchange_wait_ticket(&state->wait, &ticket)) return false;
    const struct key_asker asker = { resume, { (uintptr_t)ticket.worker, ticket.slot, ticket.generation } };
    return key_lookups_ask(filter->lookups, state->hash, &asker) == API_KEY_ASK;
}

static enum filter_result begin_to_ask(struct exchange *exchange, const struct api_key_filter *filter,
                                       struct api_key_state *state)
{
    if (state->asks++ == ASKS_MAX) return answer_away(exchange, filter);
    exchange_wait(exchange, &state->wait, NULL, exchange->worker->loop->now_ms + LOOKUP_MS_MAX);
    state->is_away = !ask(filter, state);
    if (state->is_away) exchange_resume(&state->wait);
    return FILTER_WAIT;
}

static enum filter_result judge(struct exchange *exchange, const struct api_key_filter *filter,
                                struct api_key_state *state)
{
    struct api_key key;
    switch (look(exchange, filter, state->hash, &key)) {
    case API_KEY_FOUND: return let_in(exchange, filter, &key, exchange->worker->loop->wall_ns / 1000);
    case API_KEY_DISABLED: return refuse(exchange, filter, "disabled-api-key", "the API key is switched off");
    case API_KEY_EXPIRED: return refuse(exchange, filter, "expired-api-key", "the API key has expired");
    case API_KEY_ASK: return begin_to_ask(exchange, filter, state);
    case API_KEY_AWAY: return answer_away(exchange, filter);
    default: return refuse(exchange, filter, "unknown-api-key", "there is no such API key");
    }
}

static enum filter_result go_on(struct exchange *exchange, const struct api_key_filter *filter,
                                struct api_key_state *state)
{
    bool is_late = state->is_away || exchange_wait_outcome(exchange) == WAIT_DEADLINE;
    return is_late ? answer_away(exchange, filter) : judge(exchange, filter, state);
}

static enum filter_result take(struct exchange *exchange, const struct api_key_filter *filter,
                               struct api_key_state *state, enum credential_found found, struct slice text)
{
    if (found == CREDENTIAL_NO_MEMORY) return answer_no_memory(exchange);
    if (found == CREDENTIAL_REPEATED) {
        return identity_refuse(exchange, 400, "repeated-credentials", RULE, filter->malformed,
                               "the request brings several credentials in one place, send one");
    }
    if (found == CREDENTIAL_UNREADABLE) {
        return identity_refuse(exchange, 400, "malformed-credentials", RULE, filter->malformed, "%s",
                               CREDENTIAL_UNREADABLE_TEXT);
    }
    if (text.length > KEY_BYTES_MAX) return refuse(exchange, filter, "unknown-api-key", "there is no such API key");
    api_key_hash(text, state->hash);
    return judge(exchange, filter, state);
}

/* --- requests --- */

static enum filter_result have_nothing(struct exchange *exchange, const struct api_key_filter *filter)
{
    identity_missing(exchange, filter->missing);
    if (filter->allows_anonymous) identity_allow_anonymous(exchange);
    return FILTER_NEXT;
}

static enum filter_result api_key_request(struct exchange *exchange, const void *compiled, void *opaque)
{
    const struct api_key_filter *filter = compiled;
    struct api_key_state *state = opaque;
    struct slice text;
    if (UNLIKELY(state->asks > 0)) return go_on(exchange, filter, state);
    if (identity_is_known(exchange)) {
        return strip_all(exchange, filter, false) ? FILTER_NEXT : answer_no_memory(exchange);
    }
    enum credential_found found = find_in(exchange, filter->headers, filter->header_count, &text);
    if (found != CREDENTIAL_NONE) return take(exchange, filter, state, found, text);
    if (filter->parameter_count == 0) return have_nothing(exchange, filter);
    state->turn = (struct identity_turn){ .run = look_in_query, .compiled = filter, .state = state };
    identity_postpone(exchange, &state->turn);
    return FILTER_NEXT;
}

/* Behind the headers of all policies. */
static enum filter_result look_in_query(struct exchange *exchange, const void *compiled, void *opaque)
{
    const struct api_key_filter *filter = compiled;
    struct api_key_state *state = opaque;
    struct slice text;
    if (state->asks > 0) return go_on(exchange, filter, state);
    if (identity_is_known(exchange)) {
        return strip_all(exchange, filter, false) ? FILTER_NEXT : answer_no_memory(exchange);
    }
    enum credential_found found = find_in(exchange, filter->parameters, filter->parameter_count, &text);
    return found == CREDENTIAL_NONE ? have_nothing(exchange, filter) : take(exchange, filter, state, found, text);
}

static void api_key_explain(struct exchange *exchange, const void *compiled, struct explanation *explanation)
{
    const struct api_key_filter *filter = compiled;
    struct slice text;
    uint8_t hash[API_KEY_HASH_BYTES];
    struct api_key key;
    char client[API_KEY_UUID_BYTES];
    if (identity_is_known(exchange)) {
        explanation_add(explanation, "another method has found who asks: no API key is looked for");
        return;
    }
    enum credential_found found = find_in(exchange, filter->headers, filter->header_count, &text);
    if (found == CREDENTIAL_NONE) found = find_in(exchange, filter->parameters, filter->parameter_count, &text);
    if (found != CREDENTIAL_FOUND) {
        explanation_add(explanation, "%s",
                        found == CREDENTIAL_NONE         ? "the request brings no API key"
                        : found == CREDENTIAL_UNREADABLE ? "would refuse the request (400): " CREDENTIAL_UNREADABLE_TEXT
                                                         : "would refuse several credentials in one place (400)");
        return;
    }
    api_key_hash(text, hash);
    enum api_key_found outcome = text.length > KEY_BYTES_MAX ? API_KEY_UNKNOWN : look(exchange, filter, hash, &key);
    if (outcome == API_KEY_FOUND) {
        struct slice id = api_key_client_id(&key, client);
        explanation_add(explanation, "the API key is of client \"%.*s\"", SLICE_PRINT(id));
    } else {
        explanation_add(explanation, "the API key is %s", api_key_found_words[outcome]);
    }
}
