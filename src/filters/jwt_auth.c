/* jwt-auth: who asks, by a JSON Web Token (RFC 7519) that a trusted issuer has signed.
 *
 * A token that this worker verified for the same policy lately is found in its cache. Another one is read, its issuer chosen by `iss`, its signature
 * held against that issuer's keys and its claims against the policy. A key that a fetched set does not hold may have been published since: the
 * request waits for a look at the issuer, at most KEYS_MS_MAX. Bearer tokens that are no JWT are left to the policies behind. 401
 * with RFC 6750's challenges; 503 where the issuer's keys can't be had, for that isn't the client's fault. Answers to a token in the query are private.
 * State: the compiled policy (route); cache and verifier (worker); the token, the wait and the cache's entry (exchange). Allocates for tokens that are
 * new here alone, and where the cache keeps them. */
#include "filters/jwt_auth.h"
#include "filters/filters.h"
#include "json/scan.h"

#define KEYS_MS_MAX 5000

struct jwt_auth_kept {
    struct jwt_cache *cache;
    struct jwt_verifier *verifier;
};

enum look { LOOK_NONE, LOOK_FOUND, LOOK_NOT_ONE, LOOK_MALFORMED, LOOK_REPEATED, LOOK_UNREADABLE, LOOK_NO_MEMORY };

struct jwt_auth_state {
    struct exchange_wait wait;
    struct identity_turn turn;
    const struct jwt_place *place; /* of the token; NULL: none was found yet */
    struct slice token;
    struct jwt_entry *entry; /* what the identity's texts belong to; NULL: the arena */
    enum look unread;        /* in the first places: LOOK_NONE, LOOK_NOT_ONE, LOOK_MALFORMED */
    bool has_asked, was_away;
};

static bool jwt_auth_worker_start(struct exchange_worker *, void **kept);
static void jwt_auth_worker_stop(struct exchange_worker *, void *kept);
static enum filter_result jwt_auth_request(struct exchange *, const void *compiled, void *memory);
static enum filter_result look_in_late_places(struct exchange *, const void *compiled, void *memory);
static enum filter_result jwt_auth_response_head(struct exchange *, const void *compiled, void *memory);
static void jwt_auth_finish(struct exchange *, const void *compiled, void *memory);
static void jwt_auth_explain(struct exchange *, const void *compiled, struct explanation *);

const struct filter filter_jwt_auth = {
    .name = "jwt-auth",
    .summary = "Finds out who asks by a signed JSON Web Token (401 without a good one).",
    .phase = PHASE_IDENTITY,
    .rank = 10,
    .gate = &filter_identity_gate,
    .fields = jwt_auth_fields,
    .config_size = sizeof(struct jwt_auth_settings),
    .state_size = sizeof(struct jwt_auth_state),
    .check = jwt_auth_check,
    .takes_header = jwt_auth_takes_header,
    .compile = jwt_auth_compile,
    .comes_into_force = jwt_auth_comes_into_force,
    .release = jwt_auth_release,
    .retire = jwt_auth_retire,
    .worker_start = jwt_auth_worker_start,
    .worker_stop = jwt_auth_worker_stop,
    .request = jwt_auth_request,
    .response_head = jwt_auth_response_head,
    .finish = jwt_auth_finish,
    .explain = jwt_auth_explain,
};

/* --- what a worker keeps --- */

static bool jwt_auth_worker_start(struct exchange_worker *worker, void **kept)
{
    static const struct jwt_cache_limits limits = { JWT_CACHE_ENTRIES_MAX, JWT_CACHE_BYTES_MAX };
    struct jwt_auth_kept *mine = calloc(1, sizeof *mine);
    if (!mine) return false;
    *kept = mine;
    mine->cache = jwt_cache_create(worker->loop, &limits);
    mine->verifier = jwt_verifier_create();
    if (mine->cache && mine->verifier) return true;
    jwt_auth_worker_stop(worker, mine);
    return false;
}

static void jwt_auth_worker_stop(struct exchange_worker *worker, void *kept)
{
    struct jwt_auth_kept *mine = kept;
    jwt_cache_destroy(mine->cache);
    jwt_verifier_destroy(mine->verifier);
    free(mine);
}

static struct jwt_auth_kept *kept_of(const struct exchange *exchange)
{
    return exchange_kept(exchange, &filter_jwt_auth);
}

static void count(const struct exchange *exchange, const struct jwt_policy *policy, enum jwt_token_result result)
{
    if (policy->key_sets) counter_add(key_sets_token_counter(policy->key_sets, exchange->worker->index, result), 1);
}

/* --- a place --- */

/* Two fields of one name that were joined on the way (RFC 9110 5.3), or a list: a token has no comma. */
static bool is_list_of_tokens(struct slice text)
{
    size_t comma = slice_find_byte(text, ',');
    return comma != SLICE_NOT_FOUND && jwt_is_one(slice_trim(slice_before(text, comma)));
}

/* RFC 6750 2.1: b64token. */
static bool has_characters_of_token(struct slice text)
{
    for (size_t i = 0; i < text.length; i++) {
        char c = text.at[i];
        bool is_good = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       (c != '\0' && strchr("-._~+/=", c));
        if (!is_good) return false;
    }
    return true;
}

/* Somebody else's scheme may stand beside others of its kind; two tokens in one place are two readings. */
static enum look look_in_place(const struct exchange *exchange, const struct jwt_place *place, struct slice *token)
{
    switch (credential_find(exchange, &place->source, token)) {
    case CREDENTIAL_NONE: return LOOK_NONE;
    case CREDENTIAL_REPEATED: return LOOK_REPEATED;
    case CREDENTIAL_UNREADABLE: return LOOK_UNREADABLE;
    case CREDENTIAL_NO_MEMORY: return LOOK_NO_MEMORY;
    case CREDENTIAL_FOUND: break;
    }
    enum credential_found scheme = credential_take_scheme(token, SLICE("Bearer"));
    if (place->has_scheme && scheme != CREDENTIAL_FOUND)
        return scheme == CREDENTIAL_UNREADABLE ? LOOK_UNREADABLE : LOOK_NONE;
    if (UNLIKELY(is_list_of_tokens(*token))) return LOOK_REPEATED;
    if (LIKELY(jwt_is_one(*token))) return LOOK_FOUND;
    return has_characters_of_token(*token) ? LOOK_NOT_ONE : LOOK_MALFORMED;
}

/* --- answers --- */

static enum filter_result answer_no_memory(struct exchange *exchange)
{
    respond_no_memory(exchange);
    return FILTER_RESPOND;
}

static struct slice write_challenge(struct exchange *exchange, const struct jwt_policy *policy, struct slice code,
                                    const char *description)
{
    const struct challenge_parameter parameters[] = {
        { SLICE("realm"), policy->realm },
        { SLICE("error"), code },
        { SLICE("error_description"), slice_from_cstring(description) },
    };
    return identity_challenge_write(exchange->arena, SLICE("Bearer"), parameters, COUNT_OF(parameters));
}

/* RFC 6750 3: no quotes, no backslashes, escaped or not, and what can stand in a header anyhow. The names of claims in an error may be any text. */
static void make_description(char *text, size_t size)
{
    for (char *at = text; *at; at++) {
        if (*at == '"') *at = '\'';
        if (*at >= ' ' && *at < 0x7f && *at != '\\') continue;
        snprintf(text, size, "the token is not good here");
        return;
    }
}

static enum filter_result refuse(struct exchange *exchange, const struct jwt_policy *policy, const struct error *error)
{
    struct error described = *error;
    make_description(described.text, sizeof described.text);
    struct slice challenge = write_challenge(exchange, policy, SLICE("invalid_token"), described.text);
    if (slice_is_absent(challenge) || error->status == 503) return answer_no_memory(exchange);
    count(exchange, policy, JWT_TOKEN_REFUSED);
    return identity_refuse(exchange, 401, error->reason, JWT_AUTH_RULE, challenge, "%s", error->text);
}

/* Who reads them behind us may read something else. */
static enum filter_result refuse_request(struct exchange *exchange, const struct jwt_policy *policy, const char *reason,
                                         const char *text)
{
    struct slice challenge = write_challenge(exchange, policy, SLICE("invalid_request"), text);
    if (slice_is_absent(challenge)) return answer_no_memory(exchange);
    return identity_refuse(exchange, 400, reason, JWT_AUTH_RULE, challenge, "%s", text);
}

static enum filter_result refuse_repeated(struct exchange *exchange, const struct jwt_policy *policy)
{
    return refuse_request(exchange, policy, "token-repeated",
                          "the request brings several credentials in one place, send one");
}

static enum filter_result refuse_unreadable(struct exchange *exchange, const struct jwt_policy *policy)
{
    return refuse_request(exchange, policy, "token-malformed", CREDENTIAL_UNREADABLE_TEXT);
}

/* An Authorization that holds none of ours is somebody else's. */
static bool may_be_ours(const struct exchange *exchange, const struct jwt_place *place)
{
    struct slice token;
    enum look look = place->has_scheme ? look_in_place(exchange, place, &token) : LOOK_FOUND;
    return look == LOOK_FOUND || look == LOOK_REPEATED || look == LOOK_UNREADABLE;
}

/* No token goes on, from whichever place, looked at or not. */
static bool strip(struct exchange *exchange, const struct jwt_policy *policy, const struct jwt_place *found)
{
    for (size_t i = 0; i < policy->place_count; i++) {
        const struct jwt_place *place = &policy->places[i];
        if (policy->forwards) {
            if (!credential_forward(exchange, &place->source)) return false;
            continue;
        }
        if (place != found && !may_be_ours(exchange, place)) continue;
        if (!credential_strip(exchange, &place->source)) return false;
    }
    return true;
}

static enum filter_result go_on(struct exchange *exchange, const struct jwt_policy *policy,
                                const struct jwt_place *found)
{
    return strip(exchange, policy, found) ? FILTER_NEXT : answer_no_memory(exchange);
}

/* Retry-After in seconds (RFC 9110 10.2.3). */
static enum filter_result answer_away(struct exchange *exchange, const struct jwt_policy *policy,
                                      const struct jwt_auth_state *state)
{
    count(exchange, policy, JWT_TOKEN_KEYS_AWAY);
    if (policy->allows_on_failure) {
        identity_missing(exchange, policy->missing);
        identity_allow_anonymous(exchange);
        return go_on(exchange, policy, state->place);
    }
    exchange_respond_problem(exchange, 503, "token-keys-away", JWT_AUTH_RULE,
                             "the keys of the token's issuer can't be had right now");
    if (!headers_set(&exchange->own_response.headers, SLICE("Retry-After"), SLICE("5"))) respond_no_memory(exchange);
    return FILTER_RESPOND;
}

/* --- who it is --- */

static enum filter_result let_in(struct exchange *exchange, const struct jwt_policy *policy,
                                 const struct jwt_issuer *issuer, const struct jwt_auth_state *state,
                                 const struct jwt_subject *subject, const struct json_value *claims)
{
    struct identity *identity = &exchange->identity;
    identity->user_id = subject->user_id;
    identity->client_id = subject->client_id;
    identity->scopes = subject->scopes;
    identity->issuer = subject->issuer;
    identity->client_issuer = issuer->rules.issuer;
    identity->claims = claims;
    identity->method = IDENTITY_JWT;
    identity_forget_roles(exchange);
    return go_on(exchange, policy, state->place);
}

static enum filter_result let_in_by_entry(struct exchange *exchange, const struct jwt_policy *policy,
                                          struct jwt_auth_state *state, struct jwt_entry *entry)
{
    state->entry = entry; /* given back by finish */
    return let_in(exchange, policy, &policy->issuers[entry->issuer], state, &entry->subject, &entry->claims);
}

/* --- keys --- */

/* Nobody could say for too long whether they still are the issuer's: as good as none. */
static bool are_too_old(const struct exchange *exchange, const struct jwt_issuer *issuer)
{
    if (LIKELY(issuer->age_ms_max == 0) || !issuer->source) return false;
    return key_set_source_is_older(issuer->source, issuer->age_ms_max, exchange->worker->loop->now_ms);
}

/* 0: there are none to be used. */
static uint64_t keys_version(const struct exchange *exchange, const struct jwt_issuer *issuer)
{
    if (issuer->own) return key_set_version(issuer->own);
    return issuer->source && !are_too_old(exchange, issuer) ? key_set_source_version(issuer->source) : 0;
}

/* Of a source the set that this worker saw last, where that still is the one. NULL: there is none to be used. */
static const struct key_set *keys_of(const struct exchange *exchange, const struct jwt_issuer *issuer)
{
    if (issuer->own || !issuer->source) return issuer->own;
    if (UNLIKELY(are_too_old(exchange, issuer))) return NULL;
    struct jwt_keys_seen *seen = &issuer->seen[exchange->worker->index];
    if (LIKELY(seen->set && seen->version == key_set_source_version(issuer->source))) return seen->set;
    key_set_drop(seen->set);
    seen->set = key_set_source_take(issuer->source);
    seen->version = seen->set ? key_set_version(seen->set) : 0;
    return seen->set;
}

/* On the thread of the key sets. */
static void resume(const struct key_set_asker *asker)
{
    const struct wait_ticket ticket = { .worker = (struct exchange_worker *)(uintptr_t)asker->ticket[0],
                                        .slot = (uint32_t)asker->ticket[1],
                                        .generation = (uint32_t)asker->ticket[2] };
    exchange_resume_from_thread(&ticket);
}

static bool ask(struct jwt_auth_state *state, const struct jwt_issuer *issuer)
{
    struct wait_ticket ticket;
    if (!exchange_wait_ticket(&state->wait, &ticket)) return false;
    const struct key_set_asker asker = { resume,
                                         issuer->cool_down_ms,
                                         { (uintptr_t)ticket.worker, ticket.slot, ticket.generation } };
    return key_set_source_ask(issuer->source, &asker) == KEY_SET_ASKED;
}

/* A key is not there: looked for once a token, and only if nobody did a moment ago. `why`: what is said where it is not to be had. */
static enum filter_result miss_key(struct exchange *exchange, const struct jwt_policy *policy,
                                   const struct jwt_issuer *issuer, struct jwt_auth_state *state,
                                   const struct error *why)
{
    if (!issuer->source) return refuse(exchange, policy, why);
    if (!state->has_asked) {
        enum key_set_asked asked = key_set_source_may_ask(issuer->source, issuer->cool_down_ms);
        state->has_asked = true;
        state->was_away = asked == KEY_SET_AWAY;
        if (asked == KEY_SET_ASKED) {
            exchange_wait(exchange, &state->wait, NULL, exchange->worker->loop->now_ms + KEYS_MS_MAX);
            state->was_away = !ask(state, issuer);
            if (state->was_away) exchange_resume(&state->wait);
            return FILTER_WAIT;
        }
    }
    if (state->was_away || key_set_source_is_failing(issuer->source) || are_too_old(exchange, issuer))
        return answer_away(exchange, policy, state);
    return refuse(exchange, policy, why);
}

/* --- tokens --- */

static enum filter_result judge_claims(struct exchange *exchange, const struct jwt_policy *policy,
                                       const struct jwt_issuer *issuer, struct jwt_auth_state *state, struct jwt *jwt,
                                       uint64_t version)
{
    struct jwt_subject subject;
    struct error error;
    int64_t now_s = (int64_t)(exchange->worker->loop->wall_ns / 1000000000);
    if (!jwt_read_claims(jwt, exchange->arena, &error) ||
        !jwt_check_claims(&jwt->claims, &issuer->rules, now_s, &error) ||
        !jwt_read_subject(&jwt->claims, exchange->arena, &subject, &error))
        return refuse(exchange, policy, &error);
    count(exchange, policy, JWT_TOKEN_VERIFIED);
    struct jwt_entry *entry = jwt_cache_put(kept_of(exchange)->cache, state->token, &policy->digest, &subject,
                                            &jwt->claims, (uint32_t)(issuer - policy->issuers), version);
    if (LIKELY(entry)) return let_in_by_entry(exchange, policy, state, entry);
    struct json_value *claims = arena_allocate(exchange->arena, sizeof *claims);
    if (!claims) return answer_no_memory(exchange);
    *claims = jwt->claims;
    return let_in(exchange, policy, issuer, state, &subject, claims);
}

/* Whose keys it is held against: by its iss, which is believed once they have verified it. NULL: none that is trusted (*error). */
static const struct jwt_issuer *choose_issuer(const struct jwt_policy *policy, const struct jwt *jwt,
                                              struct error *error)
{
    const struct jwt_issuer *any = NULL;
    struct slice claimed;
    bool has_choice = policy->issuer_count > 1 || !slice_is_absent(policy->issuers[0].rules.issuer);
    if (!has_choice) return &policy->issuers[0];
    if (!jwt_claimed_issuer(jwt, &claimed, error)) return NULL;
    for (size_t i = 0; i < policy->issuer_count; i++) {
        const struct jwt_issuer *issuer = &policy->issuers[i];
        if (slice_is_absent(issuer->rules.issuer))
            any = issuer;
        else if (json_scan_is_text(claimed, issuer->rules.issuer))
            return issuer;
    }
    if (!any)
        error_set(error, BLAME_CLIENT, RETRY_NEVER, 401, "token-issuer",
                  "the token's issuer (iss) is not trusted here");
    return any;
}

static enum filter_result verify(struct exchange *exchange, const struct jwt_policy *policy,
                                 struct jwt_auth_state *state)
{
    struct jwt jwt;
    struct error error;
    if (!jwt_parse(state->token, exchange->arena, &jwt, &error)) return refuse(exchange, policy, &error);
    const struct jwt_issuer *issuer = choose_issuer(policy, &jwt, &error);
    if (!issuer) return refuse(exchange, policy, &error);
    if (!jwt_check_type(&jwt, &issuer->rules, &error)) return refuse(exchange, policy, &error);
    const struct key_set *keys = keys_of(exchange, issuer);
    if (!keys) {
        error_set(&error, BLAME_US, RETRY_NEVER, 401, "token-key-unknown", "the issuer's keys are not known");
        return miss_key(exchange, policy, issuer, state, &error);
    }
    switch (jwt_verify(kept_of(exchange)->verifier, keys, issuer->algorithms, &jwt, &error)) {
    case JWT_VERIFIED: return judge_claims(exchange, policy, issuer, state, &jwt, key_set_version(keys));
    case JWT_REFUSED: return refuse(exchange, policy, &error);
    default: return miss_key(exchange, policy, issuer, state, &error);
    }
}

static enum filter_result judge(struct exchange *exchange, const struct jwt_policy *policy,
                                struct jwt_auth_state *state)
{
    struct jwt_cache *cache = kept_of(exchange)->cache;
    struct jwt_entry *entry = jwt_cache_find(cache, state->token, &policy->digest);
    if (!entry) return verify(exchange, policy, state);
    if (LIKELY(entry->keys_version == keys_version(exchange, &policy->issuers[entry->issuer]))) {
        count(exchange, policy, JWT_TOKEN_CACHED);
        return let_in_by_entry(exchange, policy, state, entry);
    }
    jwt_cache_forget(cache, entry);
    jwt_entry_drop(cache, entry);
    return verify(exchange, policy, state);
}

/* --- where they stand --- */

/* The first place that has one. What is no JWT stays where it is: it may be somebody else's. */
static enum look look_in_places(const struct exchange *exchange, const struct jwt_place *places, size_t place_count,
                                struct jwt_auth_state *state)
{
    enum look result = LOOK_NONE;
    for (size_t i = 0; i < place_count; i++) {
        enum look look = look_in_place(exchange, &places[i], &state->token);
        if (look == LOOK_NONE) continue;
        state->place = look == LOOK_FOUND ? &places[i] : NULL;
        if (look != LOOK_NOT_ONE && look != LOOK_MALFORMED) return look;
        result = look;
    }
    return result;
}

/* Nothing for us in any place. Who brought something that is no JWT has credentials: nobody's word makes them no matter. */
static enum filter_result find_nobody(struct exchange *exchange, const struct jwt_policy *policy, enum look unread)
{
    static const struct identity_unread not_one = { 401, "token-malformed", { "jwt-auth", 8 }, JWT_IS_NONE },
                                        malformed = { 400, "token-malformed", { "jwt-auth", 8 }, JWT_AUTH_MALFORMED };
    identity_missing(exchange, unread == LOOK_NOT_ONE     ? policy->not_one
                               : unread == LOOK_MALFORMED ? policy->malformed
                                                          : policy->missing);
    if (unread != LOOK_NONE) identity_cannot_read(exchange, unread == LOOK_NOT_ONE ? &not_one : &malformed);
    if (policy->allows_anonymous) identity_allow_anonymous(exchange);
    return FILTER_NEXT;
}

/* A token was found before, and its key looked for. */
static enum filter_result go_on_after_wait(struct exchange *exchange, const struct jwt_policy *policy,
                                           struct jwt_auth_state *state)
{
    state->was_away |= exchange_wait_outcome(exchange) == WAIT_DEADLINE;
    return judge(exchange, policy, state);
}

static enum filter_result look_in_late_places(struct exchange *exchange, const void *compiled, void *memory)
{
    const struct jwt_policy *policy = compiled;
    struct jwt_auth_state *state = memory;
    size_t first = policy->first_place_count;
    if (state->place) return go_on_after_wait(exchange, policy, state);
    if (identity_is_known(exchange)) return go_on(exchange, policy, NULL);
    switch (look_in_places(exchange, policy->places + first, policy->place_count - first, state)) {
    case LOOK_FOUND: return judge(exchange, policy, state);
    case LOOK_REPEATED: return refuse_repeated(exchange, policy);
    case LOOK_UNREADABLE: return refuse_unreadable(exchange, policy);
    case LOOK_NO_MEMORY: return answer_no_memory(exchange);
    case LOOK_NOT_ONE: return find_nobody(exchange, policy, LOOK_NOT_ONE);
    case LOOK_MALFORMED: return find_nobody(exchange, policy, LOOK_MALFORMED);
    default: return find_nobody(exchange, policy, state->unread);
    }
}

static enum filter_result jwt_auth_request(struct exchange *exchange, const void *compiled, void *memory)
{
    const struct jwt_policy *policy = compiled;
    struct jwt_auth_state *state = memory;
    if (state->place) return go_on_after_wait(exchange, policy, state);
    if (identity_is_known(exchange)) return go_on(exchange, policy, NULL);
    switch (look_in_places(exchange, policy->places, policy->first_place_count, state)) {
    case LOOK_FOUND: return judge(exchange, policy, state);
    case LOOK_REPEATED: return refuse_repeated(exchange, policy);
    case LOOK_UNREADABLE: return refuse_unreadable(exchange, policy);
    case LOOK_NO_MEMORY: return answer_no_memory(exchange);
    case LOOK_NOT_ONE: state->unread = LOOK_NOT_ONE; break;
    case LOOK_MALFORMED: state->unread = LOOK_MALFORMED; break;
    case LOOK_NONE: break;
    }
    if (policy->place_count == policy->first_place_count) return find_nobody(exchange, policy, state->unread);
    state->turn = (struct identity_turn){ .run = look_in_late_places, .compiled = compiled, .state = memory };
    identity_postpone(exchange, &state->turn);
    return FILTER_NEXT;
}

/* RFC 6750 2.3: a cache knows from Authorization that an answer is for one caller alone, and doesn't from a token in the query. What else the service says
 * of caching stays: the strictest of it counts (RFC 9111 4.2.1). */
static enum filter_result jwt_auth_response_head(struct exchange *exchange, const void *compiled, void *memory)
{
    (void)compiled;
    const struct jwt_auth_state *state = memory;
    struct response_head *response = exchange->response;
    bool is_in_query = state->place && state->place->source.place == CREDENTIAL_IN_QUERY;
    if (LIKELY(!is_in_query) || response->status < 200 || response->status > 299) return FILTER_NEXT;
    if (headers_list_has(&response->headers, HEADER_CACHE_CONTROL, SLICE("private"))) return FILTER_NEXT;
    if (!headers_add_known(&response->headers, HEADER_CACHE_CONTROL, SLICE("private"))) respond_no_memory(exchange);
    return FILTER_NEXT;
}

static void jwt_auth_finish(struct exchange *exchange, const void *compiled, void *memory)
{
    struct jwt_auth_state *state = memory;
    if (state->entry) jwt_entry_drop(kept_of(exchange)->cache, state->entry);
    state->entry = NULL;
}

/* --- explanations --- */

/* Reads and verifies, and keeps nothing. */
static void explain_token(struct exchange *exchange, const struct jwt_policy *policy, struct slice token,
                          struct explanation *explanation)
{
    struct jwt jwt;
    struct jwt_subject subject;
    struct error error;
    int64_t now_s = (int64_t)(exchange->worker->loop->wall_ns / 1000000000);
    if (!jwt_parse(token, exchange->arena, &jwt, &error)) {
        explanation_add(explanation, "would refuse the token (401): %s", error.text);
        return;
    }
    const struct jwt_issuer *issuer = choose_issuer(policy, &jwt, &error);
    if (issuer && !jwt_check_type(&jwt, &issuer->rules, &error)) issuer = NULL;
    const struct key_set *keys = issuer ? keys_of(exchange, issuer) : NULL;
    if (issuer && !keys)
        explanation_add(explanation, "would ask the token's issuer for its keys first");
    else if (!issuer ||
             jwt_verify(kept_of(exchange)->verifier, keys, issuer->algorithms, &jwt, &error) != JWT_VERIFIED ||
             !jwt_read_claims(&jwt, exchange->arena, &error) ||
             !jwt_check_claims(&jwt.claims, &issuer->rules, now_s, &error) ||
             !jwt_read_subject(&jwt.claims, exchange->arena, &subject, &error))
        explanation_add(explanation, "would refuse the token (401): %s", error.text);
    else
        explanation_add(explanation, "would take the token, as user \"%.*s\" of client \"%.*s\"",
                        SLICE_PRINT(subject.user_id), SLICE_PRINT(subject.client_id));
}

static void jwt_auth_explain(struct exchange *exchange, const void *compiled, struct explanation *explanation)
{
    const struct jwt_policy *policy = compiled;
    struct jwt_auth_state state = { 0 };
    if (identity_is_known(exchange)) {
        explanation_add(explanation, "who asks is known already");
        return;
    }
    switch (look_in_places(exchange, policy->places, policy->place_count, &state)) {
    case LOOK_FOUND: explain_token(exchange, policy, state.token, explanation); break;
    case LOOK_REPEATED: explanation_add(explanation, "would refuse several credentials in one place (400)"); break;
    case LOOK_UNREADABLE:
        explanation_add(explanation, "would refuse the request (400): " CREDENTIAL_UNREADABLE_TEXT);
        break;
    case LOOK_NOT_ONE: explanation_add(explanation, "leaves it to others: " JWT_IS_NONE); break;
    case LOOK_MALFORMED: explanation_add(explanation, "leaves them to others: " JWT_AUTH_MALFORMED); break;
    case LOOK_NO_MEMORY: explanation_add(explanation, "is short of memory"); break;
    case LOOK_NONE:
        explanation_add(explanation,
                        policy->allows_anonymous ? "finds no token, and lets the request through" : "finds no token");
        break;
    }
}
