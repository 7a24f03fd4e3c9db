/* What a token costs: nanoseconds and instructions for one that is cached; nanoseconds for one that is read, verified and judged anew, beside
 * OpenSSL's verification alone by the same key in the same run.
 *
 *   bench/micro/jwt [--json] [--rounds N, default 7] [TOKENS in the cache..., default 1,000 and 10,000]
 *
 * The bars of issue 6: cached 350 ns; RS256-2048 and ES256 anew 1.15 times OpenSSL's EVP_PKEY_verify() of a ready hash by a context that is set up
 * already. Rounds of both alternate; the medians are told. */
#include "../../tests/unit/keys/signer.h"
#include "base/clock.h"
#include "base/random.h"
#include "keys/jwt_cache.h"
#include "measure.h"
#include "json/scan.h"

#include <time.h>

#define LOOKS 200000
#define VERIFICATIONS 2000
#define ROUNDS_MAX 99
#define NOW_S INT64_C(1767225600)

/* As an identity provider writes them: about 700 bytes with RS256. */
static char *make_claims(uint64_t number)
{
    return memory_format(
        "{\"iss\":\"https://id.example.com/\",\"sub\":\"user-%llu\",\"aud\":[\"orders-api\",\"billing\"],\"azp\":\"web-client\","
        "\"scope\":\"openid profile orders:read orders:write\",\"iat\":%lld,\"exp\":%lld,\"email\":\"user%llu@example.com\","
        "\"realm_access\":{\"roles\":[\"customer\",\"beta\"]}}",
        (unsigned long long)number, (long long)NOW_S - 60, (long long)NOW_S + 3600, (unsigned long long)number);
}

/* --- anew --- */

struct anew {
    struct signer signer;
    struct key_set *keys;
    struct jwt_verifier *verifier;
    char *token;
    /* OpenSSL alone. */
    EVP_PKEY_CTX *context;
    unsigned char hash[32], signature[1024];
    size_t signature_length;
};

static void prepare_openssl(struct anew *anew)
{
    EVP_PKEY *key = EVP_PKEY_dup(anew->signer.key);
    unsigned length;
    anew->context = EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL);
    EVP_PKEY_free(key);
    PROMISE(EVP_PKEY_verify_init(anew->context) == 1);
    if (anew->signer.algorithm == JWT_RS256) EVP_PKEY_CTX_set_rsa_padding(anew->context, RSA_PKCS1_PADDING);
    PROMISE(EVP_PKEY_CTX_set_signature_md(anew->context, EVP_sha256()) == 1);
    PROMISE(EVP_Digest("any message", 11, anew->hash, &length, EVP_sha256(), NULL) == 1);
    EVP_PKEY_CTX *signing = EVP_PKEY_CTX_new_from_pkey(NULL, anew->signer.key, NULL);
    anew->signature_length = sizeof anew->signature;
    PROMISE(EVP_PKEY_sign_init(signing) == 1 && EVP_PKEY_CTX_set_signature_md(signing, EVP_sha256()) == 1);
    PROMISE(EVP_PKEY_sign(signing, anew->signature, &anew->signature_length, anew->hash, 32) == 1);
    EVP_PKEY_CTX_free(signing);
}

static double time_openssl(struct anew *anew)
{
    uint64_t begin = thread_ns();
    for (int i = 0; i < VERIFICATIONS; i++)
        PROMISE(EVP_PKEY_verify(anew->context, anew->signature, anew->signature_length, anew->hash, 32) == 1);
    return (double)(thread_ns() - begin) / VERIFICATIONS;
}

/* All that a token costs that isn't cached, but for keeping it. */
static double time_ours(struct anew *anew)
{
    static const struct slice audience = SLICE("orders-api");
    const struct jwt_rules rules = { .issuer = SLICE("https://id.example.com/"),
                                     .audiences = &audience,
                                     .audience_count = 1 };
    struct arena_pool pool;
    arena_pool_init(&pool, 16, NULL);
    uint64_t begin = thread_ns();
    for (int i = 0; i < VERIFICATIONS; i++) {
        struct arena arena;
        struct jwt jwt;
        struct jwt_subject subject;
        struct error error;
        arena_init(&arena, &pool);
        struct slice claimed;
        bool good = jwt_parse(slice_from_cstring(anew->token), &arena, &jwt, &error) &&
                    jwt_claimed_issuer(&jwt, &claimed, &error) && json_scan_is_text(claimed, rules.issuer) &&
                    jwt_verify(anew->verifier, anew->keys, JWT_BIT(anew->signer.algorithm), &jwt, &error) ==
                        JWT_VERIFIED &&
                    jwt_read_claims(&jwt, &arena, &error) && jwt_check_claims(&jwt.claims, &rules, NOW_S, &error) &&
                    jwt_read_subject(&jwt.claims, &arena, &subject, &error);
        if (!good) fprintf(stderr, "%s\n", error.text), exit(1);
        arena_release(&arena);
    }
    double each = (double)(thread_ns() - begin) / VERIFICATIONS;
    arena_pool_release(&pool);
    return each;
}

static void measure_anew(enum jwt_algorithm algorithm, int rounds, bool json)
{
    struct anew anew = { .signer = signer_make(algorithm, "2026-01"), .verifier = jwt_verifier_create() };
    const struct key_set_reading reading = { 0 };
    struct error error;
    double ours[ROUNDS_MAX], alone[ROUNDS_MAX];
    char *jwk = signer_jwk(&anew.signer, ""), *claims = make_claims(1);
    anew.keys = key_set_read_jwks(slice_from_cstring(jwk), &reading, &error);
    anew.token = signer_sign(&anew.signer, claims);
    PROMISE(anew.keys && anew.verifier);
    prepare_openssl(&anew);
    (void)time_openssl(&anew), (void)time_ours(&anew);
    for (int i = 0; i < rounds; i++) {
        alone[i] = time_openssl(&anew);
        ours[i] = time_ours(&anew);
    }
    double openssl_ns = median(alone, rounds), ours_ns = median(ours, rounds);
    printf(json ? "{\"algorithm\": \"%s\", \"bytes\": %zu, \"anew_ns\": %.0f, \"openssl_ns\": %.0f, \"ratio\": %.3f}\n"
                : "%s, %zu bytes: %.0f ns anew, OpenSSL's verification alone %.0f ns: %.3f times as much\n",
           jwt_algorithm_names[algorithm], strlen(anew.token), ours_ns, openssl_ns, ours_ns / openssl_ns);
    EVP_PKEY_CTX_free(anew.context);
    jwt_verifier_destroy(anew.verifier);
    key_set_drop(anew.keys);
    signer_release(&anew.signer);
    free(anew.token), free(jwk), free(claims);
}

/* --- cached --- */

/* As long as one of RS256, of which the end is as good as random. */
static char *make_token(uint64_t number, struct random *random)
{
    unsigned char signature[256];
    char *claims = make_claims(number), *body = signer_encode(claims, strlen(claims));
    for (size_t i = 0; i < sizeof signature; i++) signature[i] = (unsigned char)random_next(random);
    char *end = signer_encode(signature, sizeof signature);
    char *token = memory_format("eyJhbGciOiJSUzI1NiIsImtpZCI6IjIwMjYtMDEifQ.%s.%s", body, end);
    free(claims), free(body), free(end);
    return token;
}

struct cached {
    struct jwt_cache *cache;
    struct slice *tokens;
    uint64_t count;
    struct random random;
    uint32_t order[LOOKS];
    uint64_t missed;
};

static const struct jwt_policy_digest cached_policy = { { 1, 2 } };

static void put_all(struct cached *cached)
{
    for (uint64_t i = 0; i < cached->count; i++) {
        struct arena arena;
        struct json_value claims;
        struct jwt_subject subject;
        struct error error;
        char *text = make_claims(i);
        cached->tokens[i] = slice_from_cstring(make_token(i, &cached->random));
        arena_init(&arena, NULL);
        PROMISE(json_parse(slice_from_cstring(text), &arena, &claims, &error) &&
                jwt_read_subject(&claims, &arena, &subject, &error));
        subject.expires_s = INT64_MAX;
        struct jwt_entry *entry = jwt_cache_put(cached->cache, cached->tokens[i], &cached_policy, &subject, &claims, 0,
                                                1);
        PROMISE(entry != NULL);
        jwt_entry_drop(cached->cache, entry);
        arena_release(&arena);
        free(text);
    }
}

/* As a socket's bytes are, the token that is asked for is in the processor's cache: it is copied there first, and what that costs is taken off. */
static void copy_and_look(struct cached *cached, size_t count, bool looks)
{
    static char buffer[JWT_BYTES_MAX];
    for (size_t i = 0; i < count; i++) {
        struct slice from = cached->tokens[cached->order[i]], token = slice_of(buffer, from.length);
        memcpy(buffer, from.at, from.length);
        if (!jwt_is_one(token)) exit(1);
        if (!looks) continue;
        struct jwt_entry *entry = jwt_cache_find(cached->cache, token, &cached_policy);
        if (entry && entry->keys_version == 1)
            jwt_entry_drop(cached->cache, entry);
        else
            cached->missed++;
    }
}

static double time_looks(struct cached *cached)
{
    uint64_t spent_ns[2];
    for (size_t i = 0; i < LOOKS; i++) cached->order[i] = (uint32_t)random_below(&cached->random, cached->count);
    for (int looks = 0; looks < 2; looks++) {
        uint64_t begin = thread_ns();
        copy_and_look(cached, LOOKS, looks);
        spent_ns[looks] = thread_ns() - begin;
    }
    return (double)(spent_ns[1] - spent_ns[0]) / LOOKS;
}

static double count_looks(struct cached *cached)
{
    double counts[2];
    for (int looks = 0; looks < 2; looks++) {
        instructions_begin();
        copy_and_look(cached, COUNTED_CALLS, looks);
        counts[looks] = instructions_end(COUNTED_CALLS);
    }
    return counts[1] - counts[0];
}

static void measure_cached(uint64_t count, int rounds, bool json)
{
    static struct cached cached;
    const struct jwt_cache_limits limits = { JWT_CACHE_ENTRIES_MAX, JWT_CACHE_BYTES_MAX };
    struct loop loop;
    struct error error;
    double each[ROUNDS_MAX];
    char counted[24];
    PROMISE(loop_init(&loop, &error));
    loop_update_time(&loop);
    cached = (struct cached){ .cache = jwt_cache_create(&loop, &limits), .count = count };
    cached.tokens = memory_allocate_array(count, sizeof *cached.tokens);
    random_init_seeded(&cached.random, 1);
    put_all(&cached);
    double bytes = (double)jwt_cache_bytes(cached.cache) / (double)jwt_cache_count(cached.cache);
    for (int i = 0; i < rounds; i++) each[i] = time_looks(&cached);
    double missed = (double)cached.missed / ((double)LOOKS * rounds);
    printf(
        json ? "{\"cached\": %llu, \"hit_ns\": %.0f, \"instructions\": %s, \"missed\": %.4f, \"bytes_a_token\": %.0f}\n"
             : "%llu tokens cached: %.0f ns and %s instructions a look-up, of which %.4f missed; %.0f bytes a token\n",
        (unsigned long long)count, median(each, rounds), count_text(count_looks(&cached), counted), missed, bytes);
    for (uint64_t i = 0; i < count; i++) free((void *)(uintptr_t)cached.tokens[i].at);
    free(cached.tokens);
    loop_turn(&loop, 0);
    jwt_cache_destroy(cached.cache);
    loop_release(&loop);
}

int main(int count, char **arguments)
{
    bool json = false, measured = false;
    int rounds = 7;
    for (int i = 1; i < count; i++) {
        if (strcmp(arguments[i], "--json") == 0) {
            json = true;
        } else if (strcmp(arguments[i], "--rounds") == 0 && i + 1 < count && atoi(arguments[i + 1]) > 0) {
            rounds = atoi(arguments[++i]) < ROUNDS_MAX ? atoi(arguments[i]) : ROUNDS_MAX;
        } else if (atoll(arguments[i]) > 0) {
            measure_cached((uint64_t)atoll(arguments[i]), rounds, json);
            measured = true;
        } else {
            fprintf(stderr, "usage: jwt [--json] [--rounds N] [TOKENS...]\n");
            return 2;
        }
    }
    if (measured) return 0;
    measure_cached(1000, rounds, json);
    measure_cached(10000, rounds, json);
    measure_anew(JWT_RS256, rounds, json);
    measure_anew(JWT_ES256, rounds, json);
    return 0;
}
