/* filters/jwt_auth_config.c: what is wrong with jwt-auth's fields as a whole, and what becomes of them. The policy itself: jwt_auth.c.
 *
 * Keys that stand in the configuration are read at load, so what can't verify a token is told there. A file's or a URL's belong to a source
 * that all policies of one location share (keys/key_sets.h). */
#include "filters/jwt_auth.h"

#include "base/memory.h"
#include "config/resource.h"

#include <xxhash.h>

#define URL_BYTES_MAX 2048
#define URL_BYTES_MAX_TEXT "2048"

/* --- checks of an issuer --- */

static unsigned count_keys(const struct jwt_issuer_settings *issuer)
{
    return !slice_is_absent(issuer->secret) + !slice_is_absent(issuer->jwks) + !slice_is_absent(issuer->jwks_file) +
           !slice_is_absent(issuer->jwks_url);
}

/* The lowest algorithm of a set. */
static enum jwt_algorithm lowest(uint64_t algorithms)
{
    enum jwt_algorithm algorithm = 0;
    while (algorithm < JWT_ALGORITHM_COUNT - 1 && !(algorithms & JWT_BIT(algorithm))) algorithm++;
    return algorithm;
}

/* A secret's own text, once it is known. NULL: *why says what is wrong, without it. */
static struct key_set *read_secret_keys(const struct jwt_issuer_settings *issuer, struct slice secret,
                                        struct error *why)
{
    bool is_pem = key_set_is_pem(secret);
    uint64_t wants_secret = issuer->algorithms & JWT_SECRET_ALGORITHMS;
    if (is_pem && wants_secret) {
        /* Everybody knows a public key: who takes it for a secret lets everybody sign. */
        error_format(why, "%s signs with a secret, and this is a key in PEM",
                     jwt_algorithm_names[lowest(wants_secret)]);
        return NULL;
    }
    if (is_pem) return key_set_read_pem(secret, why);
    if (issuer->algorithms & JWT_PUBLIC_KEY_ALGORITHMS) {
        error_format(why, "%s wants a public key in PEM",
                     jwt_algorithm_names[lowest(issuer->algorithms & JWT_PUBLIC_KEY_ALGORITHMS)]);
        return NULL;
    }
    for (enum jwt_algorithm algorithm = JWT_HS256; algorithm <= JWT_HS512; algorithm++) {
        bool is_wanted = wants_secret ? wants_secret & JWT_BIT(algorithm) : algorithm == JWT_HS256;
        if (!is_wanted || issuer->allows_short_secret || secret.length >= jwt_secret_bytes_min(algorithm)) continue;
        error_format(why, "a secret for %s has at least %zu bytes, this one %zu (or say allowShortSecret: true)",
                     jwt_algorithm_names[algorithm], jwt_secret_bytes_min(algorithm), secret.length);
        return NULL;
    }
    return key_set_of_secret(secret);
}

/* None of its keys could ever verify a token. */
static bool can_verify(const struct jwt_issuer_settings *issuer, const struct key_set *set, struct error *why)
{
    if (issuer->algorithms == 0 || issuer->algorithms & key_set_algorithms(set)) return true;
    return error_format(why, "no key in it is one for %s", jwt_algorithm_names[lowest(issuer->algorithms)]);
}

static bool is_loopback(struct slice host)
{
    struct address_range address;
    if (slice_equal(host, SLICE("localhost")) || slice_equal(host, SLICE("[::1]"))) return true;
    return slice_starts_with(host, SLICE("127.")) &&
           address_range_parse(host, &address); /* and no name that begins so */
}

static struct slice host_of(struct slice authority)
{
    if (!slice_starts_with(authority, SLICE("["))) return slice_before(authority, slice_find_byte(authority, ':'));
    size_t end = slice_find_byte(authority, ']');
    return end == SLICE_NOT_FOUND ? authority : slice_before(authority, end + 1);
}

/* NULL: nothing is wrong with it. The URL itself is not told: it may hold a key. */
static const char *wrong_with_url(const struct jwt_issuer_settings *issuer, struct slice url, const char **hint)
{
    bool is_plain = slice_starts_with(url, SLICE("http://"));
    bool is_one = (is_plain || slice_starts_with(url, SLICE("https://"))) && url.length <= URL_BYTES_MAX;
    for (size_t i = 0; i < url.length; i++) is_one &= url.at[i] > ' ' && url.at[i] < 0x7f;
    struct slice rest = slice_after(url, is_plain ? 7 : 8), authority = slice_before(rest, slice_find_byte(rest, '/'));
    is_one &= slice_find_byte(authority, '@') == SLICE_NOT_FOUND; /* it would hide the host */
    *hint = "https://issuer.example/.well-known/jwks.json";
    if (authority.length == 0 || !is_one) return "must be an https URL of at most " URL_BYTES_MAX_TEXT " bytes";
    *hint = "use https, or say jwksAllowHttp: true";
    if (!is_plain || issuer->allows_plain_http || is_loopback(host_of(authority))) return NULL;
    return "is http to another machine: anybody in between could put in keys";
}

static bool check_url(struct schema_reading *reading, const struct node *node, const struct jwt_issuer_settings *issuer)
{
    const char *hint;
    if (resource_secret_is_reference(issuer->jwks_url)) return true;
    const char *wrong = wrong_with_url(issuer, issuer->jwks_url, &hint);
    if (wrong) problems_add(reading->problems, jwt_auth_place_of(node, "jwksUrl"), hint, "\"jwksUrl\" %s", wrong);
    return !wrong;
}

static bool check_secret(struct schema_reading *reading, const struct node *node,
                         const struct jwt_issuer_settings *issuer)
{
    struct error why;
    if (resource_secret_is_reference(issuer->secret)) return true;
    struct key_set *set = read_secret_keys(issuer, issuer->secret, &why);
    bool good = set && can_verify(issuer, set, &why);
    if (!good)
        problems_add(reading->problems, jwt_auth_place_of(node, "secret"), NULL, "\"secret\" can't be used: %s",
                     why.text);
    key_set_drop(set);
    return good;
}

static bool check_inline(struct schema_reading *reading, const struct node *node,
                         const struct jwt_issuer_settings *issuer)
{
    struct error why;
    const struct key_set_reading strict = { .is_strict = true };
    struct key_set *set = key_set_read_jwks(issuer->jwks, &strict, &why);
    bool good = set && can_verify(issuer, set, &why);
    if (!good)
        problems_add(reading->problems, jwt_auth_place_of(node, "jwks"), NULL, "\"jwks\" can't be used: %s", why.text);
    key_set_drop(set);
    return good;
}

bool jwt_auth_check_issuer(struct schema_reading *reading, const struct node *node, const void *value)
{
    const struct jwt_issuer_settings *issuer = value;
    if (count_keys(issuer) != 1) {
        problems_add(reading->problems, node, "secret, jwks, jwksFile or jwksUrl",
                     count_keys(issuer) ? "an issuer has its keys from one place only" : "an issuer needs keys");
        return false;
    }
    bool is_public = !slice_is_absent(issuer->jwks) || !slice_is_absent(issuer->jwks_url);
    if (is_public && issuer->algorithms & JWT_SECRET_ALGORITHMS) {
        problems_add(reading->problems, jwt_auth_place_of(node, "algorithms"), "for HS algorithms write \"secret\"",
                     "what is published can't be a secret");
        return false;
    }
    if (!slice_is_absent(issuer->jwks_authorities) && slice_is_absent(issuer->jwks_url)) {
        problems_add(reading->problems, jwt_auth_place_of(node, "jwksCa"), NULL, "\"jwksCa\" belongs to a \"jwksUrl\"");
        return false;
    }
    if (issuer->age_ms_max > 0 && slice_is_absent(issuer->jwks_url)) {
        problems_add(reading->problems, jwt_auth_place_of(node, "jwksMaxAge"), NULL,
                     "\"jwksMaxAge\" belongs to a \"jwksUrl\"");
        return false;
    }
    if (!slice_is_absent(issuer->secret)) return check_secret(reading, node, issuer);
    if (!slice_is_absent(issuer->jwks)) return check_inline(reading, node, issuer);
    return slice_is_absent(issuer->jwks_url) || check_url(reading, node, issuer);
}

static const struct jwt_issuer_settings *issuers_of(const struct jwt_auth_settings *settings, size_t *count)
{
    *count = settings->issuers.count ? settings->issuers.count : 1;
    return settings->issuers.count ? settings->issuers.items : &settings->flat;
}

static bool check_names(struct schema_reading *reading, const struct node *node,
                        const struct jwt_auth_settings *settings)
{
    size_t count;
    const struct jwt_issuer_settings *issuers = issuers_of(settings, &count);
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < i; j++) {
            bool is_same = slice_is_absent(issuers[i].issuer) == slice_is_absent(issuers[j].issuer) &&
                           slice_equal(issuers[i].issuer, issuers[j].issuer);
            if (!is_same) continue;
            problems_add(reading->problems, jwt_auth_place_of(node, "issuers"), "one with several keys, or other names",
                         slice_is_absent(issuers[i].issuer) ? "two of \"issuers\" have no \"issuer\""
                                                            : "two of \"issuers\" have the same \"issuer\"");
            return false;
        }
    }
    return true;
}

static bool is_flat(const struct jwt_issuer_settings *flat)
{
    return count_keys(flat) > 0 || !slice_is_absent(flat->issuer) || flat->audiences.count > 0 ||
           flat->types.count > 0 || flat->algorithms != 0 || flat->age_ms_max > 0;
}

bool jwt_auth_check(struct schema_reading *reading, const struct node *node, const void *value)
{
    const struct jwt_auth_settings *settings = value;
    if (settings->issuers.count == 0) return jwt_auth_check_issuer(reading, node, &settings->flat);
    if (!is_flat(&settings->flat)) return check_names(reading, node, settings);
    problems_add(reading->problems, jwt_auth_place_of(node, "issuers"), "move it into the list",
                 "beside \"issuers\" no issuer is written by itself");
    return false;
}

/* --- compiling --- */

static struct slice keep(struct jwt_policy *policy, struct slice text)
{
    return slice_is_absent(text) ? text : arena_keep(&policy->arena, text);
}

static void *room(struct jwt_policy *policy, size_t count, size_t size)
{
    void *memory = arena_allocate_zeroed(&policy->arena, (count ? count : 1) * size);
    PROMISE(memory != NULL);
    return memory;
}

static void keep_rules(struct jwt_policy *policy, struct jwt_rules *rules, const struct jwt_auth_settings *settings,
                       const struct jwt_issuer_settings *issuer)
{
    struct slice *audiences = room(policy, issuer->audiences.count, sizeof *audiences);
    struct jwt_required_claim *required = room(policy, settings->required.count, sizeof *required);
    struct slice *types = room(policy, issuer->types.count, sizeof *types);
    for (size_t i = 0; i < issuer->audiences.count; i++) audiences[i] = keep(policy, issuer->audiences.items[i]);
    for (size_t i = 0; i < issuer->types.count; i++) types[i] = keep(policy, jwt_type_name(issuer->types.items[i]));
    for (size_t i = 0; i < settings->required.count; i++) {
        const struct pair *pair = &settings->required.items[i];
        bool is_any = slice_equal(pair->value, SLICE("*"));
        required[i] = (struct jwt_required_claim){ keep(policy, pair->name),
                                                   is_any ? SLICE_ABSENT : keep(policy, pair->value) };
    }
    *rules = (struct jwt_rules){
        .issuer = keep(policy, issuer->issuer),
        .types = types,
        .type_count = issuer->types.count,
        .audiences = audiences,
        .audience_count = issuer->audiences.count,
        .required = required,
        .required_count = settings->required.count,
        .leeway_s = (uint32_t)((settings->leeway_ms + 999) / 1000),
    };
}

/* Of a file's keys as they are now; they may change, and one without any says nothing yet. */
static bool file_fits(const struct jwt_issuer *issuer, const struct jwt_issuer_settings *settings, struct error *why)
{
    struct key_set *taken = issuer->source ? key_set_source_take(issuer->source) : NULL;
    const struct key_set *set = taken ? taken : issuer->own;
    uint32_t found = set ? key_set_algorithms(set) : 0;
    bool good = found == 0 || can_verify(settings, set, why);
    if (!good && settings->algorithms & JWT_SECRET_ALGORITHMS && !(found & JWT_SECRET_ALGORITHMS))
        error_format(why, "its keys are public, and %s signs with a secret (leave \"algorithms\" out, or say theirs)",
                     jwt_algorithm_names[lowest(settings->algorithms & JWT_SECRET_ALGORITHMS)]);
    key_set_drop(taken);
    return good;
}

/* What is compiled only to see whether it can be needs no source. */
static bool use_location(const struct jwt_policy *policy, struct jwt_issuer *issuer,
                         const struct key_set_location *location, struct error *why)
{
    if (policy->key_sets) {
        issuer->source = key_set_source_use(policy->key_sets, location, why);
        if (!issuer->source) return false;
        issuer->seen = memory_allocate_array(policy->workers, sizeof *issuer->seen);
        return true;
    }
    if (slice_is_absent(location->path)) return true;
    issuer->own = key_set_read_file(location->path, why);
    return issuer->own != NULL;
}

static bool resolve_url(struct arena *arena, const struct jwt_issuer_settings *settings, struct slice *url,
                        struct error *why)
{
    const char *hint;
    if (slice_is_absent(*url) || !resource_secret_is_reference(*url)) return true;
    if (!resource_resolve_secret(arena, settings->jwks_url, "/", url, why)) return false;
    const char *wrong = wrong_with_url(settings, *url, &hint);
    return !wrong || error_format(why, "what it refers to %s", wrong);
}

static bool use_source(const struct jwt_policy *policy, struct jwt_issuer *issuer,
                       const struct jwt_issuer_settings *settings, struct error *why)
{
    struct key_set_location location = {
        .url = settings->jwks_url,
        .path = settings->jwks_file,
        .authorities = settings->jwks_authorities,
    };
    struct arena arena;
    issuer->cool_down_ms = settings->cool_down_ms;
    arena_init(&arena, NULL);
    bool good = resolve_url(&arena, settings, &location.url, why) && use_location(policy, issuer, &location, why) &&
                (slice_is_absent(location.path) || file_fits(issuer, settings, why));
    arena_release(&arena);
    return good;
}

static bool take_secret(struct jwt_policy *policy, struct jwt_issuer *issuer,
                        const struct jwt_issuer_settings *settings, struct error *why)
{
    struct arena arena;
    struct slice secret;
    arena_init(&arena, NULL);
    if (resource_resolve_secret(&arena, settings->secret, "/", &secret, why))
        issuer->own = read_secret_keys(settings, secret, why);
    arena_release(&arena);
    return issuer->own && can_verify(settings, issuer->own, why);
}

static bool take_keys(struct jwt_policy *policy, struct jwt_issuer *issuer, const struct jwt_issuer_settings *settings,
                      struct error *why)
{
    const struct key_set_reading strict = { .is_strict = true };
    if (!slice_is_absent(settings->secret)) return take_secret(policy, issuer, settings, why);
    if (slice_is_absent(settings->jwks)) return use_source(policy, issuer, settings, why);
    issuer->own = key_set_read_jwks(settings->jwks, &strict, why);
    return issuer->own != NULL;
}

static const char *key_field(const struct jwt_issuer_settings *issuer)
{
    if (!slice_is_absent(issuer->secret)) return "secret";
    if (!slice_is_absent(issuer->jwks)) return "jwks";
    return slice_is_absent(issuer->jwks_file) ? "jwksUrl" : "jwksFile";
}

/* An issuer's map; of the flat form the policy's. */
static const struct node *issuer_node(const struct node *node, size_t index)
{
    const struct node *list = node && node->kind == NODE_MAP ? node_find(node, "issuers") : NULL;
    const struct node *item = list ? list->first : NULL;
    for (; item && index > 0; index--) item = item->next;
    return item ? item : node;
}

static bool compile_issuer(const struct filter_compile *compile, struct jwt_policy *policy,
                           const struct jwt_auth_settings *settings, const struct jwt_issuer_settings *from,
                           size_t index)
{
    struct jwt_issuer *issuer = &policy->issuers[policy->issuer_count++];
    struct error why;
    keep_rules(policy, &issuer->rules, settings, from);
    issuer->algorithms = (uint32_t)from->algorithms;
    issuer->age_ms_max = from->age_ms_max;
    bool good = take_keys(policy, issuer, from, &why);
    if (good && issuer->algorithms == 0) {
        bool is_secret = issuer->own && !(key_set_algorithms(issuer->own) & JWT_PUBLIC_KEY_ALGORITHMS);
        issuer->algorithms = is_secret ? JWT_BIT(JWT_HS256) : JWT_PUBLIC_KEY_ALGORITHMS;
    }
    if (good) return true;
    const char *field = key_field(from);
    problems_add(compile->problems, jwt_auth_place_of(issuer_node(compile->node, index), field), NULL,
                 "\"%s\" can't be used: %s", field, why.text);
    return false;
}

/* In the order of the list. Those before the first query or cookie are looked at first, the rest behind other policies' headers
 * (exchange/identity.h). */
static void keep_places(struct jwt_policy *policy, const struct slice_list *sources)
{
    policy->places = room(policy, sources->count, sizeof *policy->places);
    for (size_t i = 0; i < sources->count; i++) {
        enum credential_place place = CREDENTIAL_IN_HEADER;
        struct slice name = SLICE("Authorization");
        bool is_bearer = !jwt_auth_find_source(sources->items[i], &place, &name);
        bool has_scheme = is_bearer || (place == CREDENTIAL_IN_HEADER && header_id_find(name) == HEADER_AUTHORIZATION);
        policy->places[policy->place_count++] = (struct jwt_place){ credential_source_of(place, keep(policy, name)),
                                                                    has_scheme };
    }
    while (policy->first_place_count < policy->place_count &&
           policy->places[policy->first_place_count].source.place == CREDENTIAL_IN_HEADER)
        policy->first_place_count++;
}

const char *jwt_auth_takes_header(const void *settings, struct slice name)
{
    const struct jwt_auth_settings *config = settings;
    for (size_t i = 0; i < config->sources.count && !config->forwards; i++) {
        enum credential_place place = CREDENTIAL_IN_HEADER;
        struct slice header = SLICE("Authorization");
        (void)jwt_auth_find_source(config->sources.items[i], &place, &header); /* else it is "bearer" */
        if (place == CREDENTIAL_IN_HEADER && slice_equal_ignore_case(header, name)) return "user_id or client_id";
    }
    return NULL;
}

static struct slice write_challenge(struct jwt_policy *policy, struct slice error, struct slice description)
{
    const struct challenge_parameter parameters[] = { { SLICE("realm"), policy->realm },
                                                      { SLICE("error"), error },
                                                      { SLICE("error_description"), description } };
    struct slice text = identity_challenge_write(&policy->arena, SLICE("Bearer"), parameters, COUNT_OF(parameters));
    PROMISE(!slice_is_absent(text));
    return text;
}

/* --- the digest: what was verified for one policy holds for another that asks for the same --- */

static void hash_text(XXH3_state_t *state, struct slice text)
{
    uint64_t length = slice_is_absent(text) ? UINT64_MAX : text.length;
    XXH3_128bits_update(state, &length, sizeof length);
    if (text.length > 0) XXH3_128bits_update(state, text.at, text.length);
}

static void hash_issuer(XXH3_state_t *state, const struct jwt_issuer *issuer, const struct jwt_issuer_settings *from)
{
    /* A source's version is looked at with each token; here stands whose it is. */
    uint64_t version = issuer->own ? key_set_version(issuer->own) : 0;
    XXH3_128bits_update(state, &version, sizeof version);
    XXH3_128bits_update(state, &issuer->algorithms, sizeof issuer->algorithms);
    XXH3_128bits_update(state, &issuer->rules.leeway_s, sizeof issuer->rules.leeway_s);
    XXH3_128bits_update(state, &issuer->rules.type_count, sizeof issuer->rules.type_count);
    XXH3_128bits_update(state, &issuer->rules.audience_count, sizeof issuer->rules.audience_count);
    XXH3_128bits_update(state, &issuer->rules.required_count, sizeof issuer->rules.required_count);
    hash_text(state, issuer->rules.issuer);
    hash_text(state, from->jwks_url);
    hash_text(state, from->jwks_file);
    hash_text(state, from->jwks_authorities);
    for (size_t i = 0; i < issuer->rules.type_count; i++) hash_text(state, issuer->rules.types[i]);
    for (size_t i = 0; i < issuer->rules.audience_count; i++) hash_text(state, issuer->rules.audiences[i]);
    for (size_t i = 0; i < issuer->rules.required_count; i++) {
        hash_text(state, issuer->rules.required[i].name);
        hash_text(state, issuer->rules.required[i].value);
    }
}

static void take_digest(struct jwt_policy *policy, const struct jwt_issuer_settings *from)
{
    XXH3_state_t *state = XXH3_createState();
    PROMISE(state != NULL);
    XXH3_128bits_reset(state);
    for (size_t i = 0; i < policy->issuer_count; i++) hash_issuer(state, &policy->issuers[i], &from[i]);
    XXH128_hash_t hash = XXH3_128bits_digest(state);
    XXH3_freeState(state);
    policy->digest = (struct jwt_policy_digest){ { hash.low64, hash.high64 } };
}

bool jwt_auth_compile(const struct filter_compile *compile, const void *value, void **compiled)
{
    const struct jwt_auth_settings *settings = value;
    size_t count;
    const struct jwt_issuer_settings *issuers = issuers_of(settings, &count);
    struct jwt_policy *policy = memory_allocate(sizeof *policy);
    bool good = true;
    arena_init(&policy->arena, NULL);
    policy->key_sets = compile->surroundings->key_sets;
    policy->workers = compile->surroundings->workers;
    policy->issuers = room(policy, count, sizeof *policy->issuers);
    for (size_t i = 0; i < count; i++) good &= compile_issuer(compile, policy, settings, &issuers[i], i);
    if (!good) {
        jwt_auth_release(policy);
        return false;
    }
    keep_places(policy, &settings->sources);
    policy->realm = keep(policy, settings->realm);
    policy->missing = write_challenge(policy, SLICE_ABSENT, SLICE_ABSENT);
    policy->not_one = write_challenge(policy, SLICE("invalid_token"), SLICE(JWT_IS_NONE));
    policy->malformed = write_challenge(policy, SLICE("invalid_request"), SLICE(JWT_AUTH_MALFORMED));
    policy->allows_anonymous = settings->anonymous == 1;
    policy->allows_on_failure = settings->on_failure == 1;
    policy->forwards = settings->forwards;
    take_digest(policy, issuers);
    *compiled = policy;
    return true;
}

/* A dry run or a change that is refused makes no issuer be asked more often. */
void jwt_auth_comes_into_force(const void *compiled)
{
    const struct jwt_policy *policy = compiled;
    for (size_t i = 0; i < policy->issuer_count; i++) {
        struct jwt_issuer *issuer = &policy->issuers[i];
        if (issuer->source && issuer->age_ms_max > 0)
            key_set_source_bind(issuer->source, &issuer->bound, issuer->age_ms_max);
    }
}

/* Requests that have begun may outlive it for long, and go by its age all the same. */
void jwt_auth_retire(void *compiled)
{
    const struct jwt_policy *policy = compiled;
    for (size_t i = 0; i < policy->issuer_count; i++) {
        struct jwt_issuer *issuer = &policy->issuers[i];
        if (issuer->source) key_set_source_unbind(issuer->source, &issuer->bound);
    }
}

void jwt_auth_release(void *compiled)
{
    struct jwt_policy *policy = compiled;
    jwt_auth_retire(policy);
    for (size_t i = 0; i < policy->issuer_count; i++) {
        struct jwt_issuer *issuer = &policy->issuers[i];
        for (unsigned worker = 0; issuer->seen && worker < policy->workers; worker++)
            key_set_drop(issuer->seen[worker].set);
        free(issuer->seen);
        key_set_drop(issuer->own);
        if (issuer->source) key_set_source_drop(issuer->source);
    }
    arena_release(&policy->arena);
    free(policy);
}
