/* test-identity, test-tell-identity: a policy of identity that believes what the configuration says, and one that tells what is believed.
 *
 * test-identity stands in for a bearer token's policy: it looks for the word "good" in a header first, and in a query parameter in its turn
 * behind the first places of all; another word is refused (401), two are no request (400). test-tell-identity writes what is known into
 * headers that the service gets. */
#include "filters/test_filters.h"

#include "base/memory.h"
#include "json/value.h"

struct identity_config {
    struct slice header, parameter, user_id, client_id, scopes, claims;
    bool anonymous;
};

struct identity_state {
    struct identity_turn turn;
};

static const struct field identity_fields[] = {
    { .name = "header",
      .type = FIELD_STRING,
      .into = offsetof(struct identity_config, header),
      .fallback = "X-Test-Token",
      .summary = "Where it looks first." },
    { .name = "queryParam",
      .type = FIELD_STRING,
      .into = offsetof(struct identity_config, parameter),
      .fallback = "token",
      .summary = "Where it looks later." },
    { .name = "userId",
      .type = FIELD_STRING,
      .into = offsetof(struct identity_config, user_id),
      .summary = "Who it is." },
    { .name = "clientId",
      .type = FIELD_STRING,
      .into = offsetof(struct identity_config, client_id),
      .summary = "The client's id." },
    { .name = "scopes", .type = FIELD_STRING, .into = offsetof(struct identity_config, scopes), .summary = "Scopes." },
    { .name = "claims",
      .type = FIELD_STRING,
      .into = offsetof(struct identity_config, claims),
      .summary = "A JSON object." },
    { .name = "anonymous",
      .type = FIELD_BOOLEAN,
      .into = offsetof(struct identity_config, anonymous),
      .fallback = "false",
      .summary = "Whether nobody is let in." },
    FIELDS_END,
};

static bool identity_compile(const struct filter_compile *compile, const void *value, void **compiled)
{
    const struct identity_config *config = value;
    struct identity_config *kept = memory_allocate(sizeof *kept);
    *kept = *config;
    struct slice *texts[] = { &kept->header,    &kept->parameter, &kept->user_id,
                              &kept->client_id, &kept->scopes,    &kept->claims };
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        if (!slice_is_absent(*texts[i])) texts[i]->at = memory_copy_slice(*texts[i]);
    }
    *compiled = kept;
    return true;
}

static void identity_release(void *compiled)
{
    struct identity_config *kept = compiled;
    struct slice *texts[] = { &kept->header,    &kept->parameter, &kept->user_id,
                              &kept->client_id, &kept->scopes,    &kept->claims };
    for (size_t i = 0; i < COUNT_OF(texts); i++) free((void *)(uintptr_t)texts[i]->at);
    free(kept);
}

static enum filter_result believe(struct exchange *exchange, const struct identity_config *config)
{
    struct identity *identity = &exchange->identity;
    identity->user_id = config->user_id;
    identity->client_id = config->client_id;
    identity->scopes = config->scopes;
    if (!slice_is_absent(config->claims)) {
        struct json_value *claims = arena_allocate(exchange->arena, sizeof *claims);
        struct error error;
        PROMISE(claims && json_parse(config->claims, exchange->arena, claims, &error));
        identity->claims = claims;
    }
    identity->method = IDENTITY_JWT;
    return FILTER_NEXT;
}

static enum filter_result judge(struct exchange *exchange, const struct identity_config *config,
                                const struct credential_source *source, enum credential_found found, struct slice word)
{
    if (found == CREDENTIAL_REPEATED)
        return identity_refuse(exchange, 400, "repeated", SLICE("test-identity"),
                               SLICE("Bearer error=\"invalid_request\""), "more than one token");
    if (!slice_equal(word, SLICE("good")))
        return identity_refuse(exchange, 401, "bad", SLICE("test-identity"), SLICE("Bearer error=\"invalid_token\""),
                               "a bad token");
    const struct credential_source late = credential_source_of(CREDENTIAL_IN_QUERY, config->parameter);
    PROMISE(credential_strip(exchange, source) && credential_strip(exchange, &late));
    return believe(exchange, config);
}

static enum filter_result look_in_query(struct exchange *exchange, const void *compiled, void *state)
{
    const struct identity_config *config = compiled;
    const struct credential_source source = credential_source_of(CREDENTIAL_IN_QUERY, config->parameter);
    struct slice word;
    if (identity_is_known(exchange)) {
        PROMISE(credential_strip(exchange, &source));
        return FILTER_NEXT;
    }
    enum credential_found found = credential_find(exchange, &source, &word);
    if (found != CREDENTIAL_NONE) return judge(exchange, config, &source, found, word);
    identity_missing(exchange, SLICE("Bearer realm=\"test\""));
    if (config->anonymous) identity_allow_anonymous(exchange);
    return FILTER_NEXT;
}

static enum filter_result identity_request(struct exchange *exchange, const void *compiled, void *opaque)
{
    const struct identity_config *config = compiled;
    struct identity_state *state = opaque;
    const struct credential_source source = credential_source_of(CREDENTIAL_IN_HEADER, config->header);
    struct slice word;
    enum credential_found found = credential_find(exchange, &source, &word);
    if (found != CREDENTIAL_NONE) return judge(exchange, config, &source, found, word);
    state->turn = (struct identity_turn){ .run = look_in_query, .compiled = config, .state = state };
    identity_postpone(exchange, &state->turn);
    return FILTER_NEXT;
}

const struct filter filter_test_identity = {
    .name = "test-identity",
    .summary = "Believes the word good.",
    .phase = PHASE_IDENTITY,
    .rank = 10,
    .gate = &filter_identity_gate,
    .fields = identity_fields,
    .config_size = sizeof(struct identity_config),
    .state_size = sizeof(struct identity_state),
    .compile = identity_compile,
    .release = identity_release,
    .request = identity_request,
};

/* --- telling --- */

static const struct field no_fields[] = { FIELDS_END };

static void tell(struct exchange *exchange, const char *name, struct slice value)
{
    if (slice_is_absent(value)) return;
    PROMISE(headers_add(&exchange->request->headers, slice_from_cstring(name), value));
}

static struct slice role_list(struct exchange *exchange)
{
    uint32_t count;
    const struct slice *roles = identity_roles(exchange, &count);
    PROMISE(roles != NULL);
    struct slice list = SLICE("");
    for (uint32_t i = 0; i < count; i++) {
        struct slice pieces[] = { list, i ? SLICE(" ") : SLICE(""), roles[i] };
        list = arena_join(exchange->arena, pieces, COUNT_OF(pieces));
    }
    return list;
}

static enum filter_result tell_request(struct exchange *exchange, const void *compiled, void *state)
{
    const struct identity *identity = &exchange->identity;
    tell(exchange, "X-Tell-Method", identity_method_word(identity->method));
    tell(exchange, "X-Tell-User", identity->user_id);
    tell(exchange, "X-Tell-Client", identity->client_id);
    tell(exchange, "X-Tell-Key", identity->key_id);
    tell(exchange, "X-Tell-Scopes", identity->scopes);
    tell(exchange, "X-Tell-Tier", arena_format(exchange->arena, "%d", identity->tier));
    tell(exchange, "X-Tell-Roles", role_list(exchange));
    tell(exchange, "X-Tell-Would-Refuse", exchange->would_refuse);
    return FILTER_NEXT;
}

const struct filter filter_test_tell_identity = {
    .name = "test-tell-identity",
    .summary = "Tells the service what is known of who asks.",
    .phase = PHASE_TRANSFORM,
    .fields = no_fields,
    .request = tell_request,
};
