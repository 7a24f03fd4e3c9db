/* jwt-auth: who is let in by which token, what is said to the others, and how a request waits for keys that are fetched. */
#include "base/clock.h"
#include "exchange/testbed.h"
#include "keys/signer.h"

#include "keys/key_sets.h"

#include <unistd.h>

#define SHORT_SECRET "0123456789abcdef0123456789abcdef"

static int64_t now_s(void) { return (int64_t)(clock_wall_ns() / 1000000000); }

/* As a request's field. Free it. */
static char *bearer(const struct signer *signer, const char *claims)
{
    char *token = signer_sign(signer, claims), *field = memory_format("Authorization: Bearer %s\r\n", token);
    free(token);
    return field;
}

static void ask(struct testbed *bed, struct client *client, const char *line, const char *fields)
{
    memset(client, 0, sizeof *client);
    client_ask(bed, client, line, fields, NULL);
    testbed_run(bed);
}

/* The status of an answer that must be a refusal with these words in body and challenge, or 200. */
static void expect(struct testbed *bed, const char *fields, unsigned status, const char *words)
{
    struct client client;
    ask(bed, &client, "GET /a", fields);
    if (client.status != status) fail_msg("%s: %u %s", fields, client.status, client.body ? client.body : "");
    if (words && !strstr(client.body, words)) fail_msg("%s: %s", fields, client.body);
    assert_int_equal(client_count_header(&client, "WWW-Authenticate"), status == 401 || status == 400);
    client_release(&client);
}

static const struct signer hs512 = { .algorithm = JWT_HS512 }, hs256 = { .algorithm = JWT_HS256 };

#define SECRET_FILTER "type: jwt-auth, secret: '" SIGNER_SECRET "', algorithm: HS512"

static void the_flat_form_lets_in_whose_token_is_good(void **state)
{
    struct testbed bed;
    struct client client;
    char *claims = memory_format(
        "{\"sub\":\"alice\",\"azp\":\"app\",\"scope\":\"read write\",\"iss\":\"me\",\"exp\":%lld}",
        (long long)now_s() + 60);
    char *good = bearer(&hs512, claims), *other_algorithm = bearer(&hs256, claims);
    char *old = bearer(&hs512, "{\"sub\":\"alice\",\"exp\":1000}");
    testbed_start_filtered(&bed, "/a", "{ " SECRET_FILTER " }, { type: test-tell-identity }");
    for (int i = 0; i < 3; i++) { /* verified, then out of the cache */
        ask(&bed, &client, "GET /a", good);
        assert_int_equal(client.status, 200);
        assert_slice_is(service_header(&bed, "X-Tell-Method"), "jwt");
        assert_slice_is(service_header(&bed, "X-Tell-User"), "alice");
        assert_slice_is(service_header(&bed, "X-Tell-Client"), "app");
        assert_slice_is(service_header(&bed, "X-Tell-Scopes"), "read write");
        assert_int_equal(service_count_header(&bed, "Authorization"), 0);
        client_release(&client);
    }
    expect(&bed, other_algorithm, 401, "algorithm is not allowed");
    expect(&bed, old, 401, "expired");
    expect(&bed, NULL, 401, "no credentials");
    expect(&bed, "Authorization: Basic YTpi\r\n", 401, "no credentials");
    char *repeated = memory_format("%s%s", good, good);
    expect(&bed, repeated, 400, "several credentials");
    testbed_stop(&bed);
    free(claims), free(good), free(other_algorithm), free(old), free(repeated);
}

/* '@' stands for a good token, '#' for a wrong one. */
static void fill_in(const char *text, const char *good, const char *wrong, char *into, size_t size)
{
    size_t length = 0;
    for (; *text; text++)
        length += (size_t)(*text == '@'   ? snprintf(into + length, size - length, "%s", good)
                           : *text == '#' ? snprintf(into + length, size - length, "%s", wrong)
                                          : snprintf(into + length, size - length, "%c", *text));
    into[length] = '\0';
}

static void challenges_say_what_rfc_6750_says(void **state)
{
    struct testbed bed;
    struct client client;
    char *bad = bearer(&hs512, "{\"exp\":1000}");
    testbed_start_filtered(&bed, "/a", "{ " SECRET_FILTER ", realm: 'a \"b\"' }");
    ask(&bed, &client, "GET /a", NULL);
    assert_slice_is(client_header(&client, "WWW-Authenticate"), "Bearer realm=\"a \\\"b\\\"\"");
    client_release(&client);
    ask(&bed, &client, "GET /a", bad);
    struct slice challenge = client_header(&client, "WWW-Authenticate");
    assert_true(slice_find(challenge, SLICE("error=\"invalid_token\", error_description=\"the token expired")) !=
                SLICE_NOT_FOUND);
    assert_null(strstr(client.body, "eyJ"));
    client_release(&client);
    ask(&bed, &client, "GET /a", "Authorization: Bearer an-opaque-one\r\n");
    assert_int_equal(client.status, 401);
    challenge = client_header(&client, "WWW-Authenticate");
    assert_true(
        slice_find(challenge, SLICE("error=\"invalid_token\", error_description=\"the token is not a JSON Web Token "
                                    "(three parts separated by dots)\"")) != SLICE_NOT_FOUND);
    assert_non_null(strstr(client.body, "is not a JSON Web Token (three parts"));
    assert_non_null(strstr(client.body, "\"rule\":\"jwt-auth\""));
    assert_null(strstr(client.body, "opaque"));
    client_release(&client);
    testbed_stop(&bed);
    free(bad);
}

/* RFC 6750 3: %x20-21 / %x23-5B / %x5D-7E, and quotes around it. Text and log say the claim's name as it is. */
static void descriptions_hold_no_quotes_and_no_backslashes(void **state)
{
    static const struct {
        const char *claim, *description, *detail;
    } rows[] = {
        { "exp", "the token has no claim 'exp'", "the token has no claim \\\"exp\\\"" },
        { "a\\\"b", "the token has no claim 'a'b'", "a\\\"b" },
        { "a\\\\b", "the token is not good here", "a\\\\b" },
        { "a\\u00e4", "the token is not good here", "a\xc3\xa4" },
    };
    char *token = bearer(&hs512, "{}");
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct testbed bed;
        struct client client;
        char *filter = memory_format("{ " SECRET_FILTER ", requiredClaims: [\"%s\"] }", rows[i].claim);
        char *expected = memory_format("error_description=\"%s\"", rows[i].description);
        testbed_start_filtered(&bed, "/a", filter);
        ask(&bed, &client, "GET /a", token);
        assert_int_equal(client.status, 401);
        struct slice challenge = client_header(&client, "WWW-Authenticate");
        if (slice_find(challenge, slice_from_cstring(expected)) == SLICE_NOT_FOUND)
            fail_msg("%s: %.*s", filter, SLICE_PRINT(challenge));
        assert_true(slice_find_byte(challenge, '\\') == SLICE_NOT_FOUND);
        if (!strstr(client.body, rows[i].detail)) fail_msg("%s: %s", filter, client.body);
        client_release(&client);
        testbed_stop(&bed);
        free(filter), free(expected);
    }
    free(token);
}

/* '@' stands for a good token. What can't be read is a bad request (RFC 6750 3.1), and no reader behind us gets to choose from it. */
static void several_credentials_and_malformed_ones_are_bad_requests(void **state)
{
    static const struct {
        const char *fields;
        unsigned status;
        const char *words;
    } rows[] = {
        { "Authorization: Bearer @, Bearer @\r\n", 400, "several credentials" },
        { "Authorization: Bearer a, Bearer b\r\n", 400, "several credentials" },
        { "Authorization: Bearer @,Basic YTpi\r\n", 400, "several credentials" },
        { "Authorization: Basic YTpi, Bearer @\r\n", 400, "several credentials" },
        { "Authorization: Bearer @, @\r\n", 400, "several credentials" },
        { "Authorization: Bearer @,\r\n", 400, "several credentials" },
        { "Authorization: Bearer a\r\nAuthorization: Bearer b\r\n", 400, "several credentials" },
        { "Authorization: Bearer a b\r\n", 400, "malformed" },
        { "Authorization: Bearer \"a\"\r\n", 400, "malformed" },
        { "Authorization: Bearer \xc3\xa4\r\n", 400, "malformed" },
        { "Authorization: Bearer a\r\n", 401, "JSON Web Token" },
        { "Authorization: Bearer a.b\r\n", 401, "JSON Web Token" },
        { "Authorization: Digest username=\"Doe, John \\\" x\", realm=\"a, b c\", nonce = \"n\"\r\n", 401,
          "no credentials" },
    };
    struct testbed bed;
    struct client client;
    char *token = signer_sign(&hs512, "{\"sub\":\"bob\"}");
    testbed_start_filtered(&bed, "/a", "{ " SECRET_FILTER " }, { type: test-tell-identity }");
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char fields[4096];
        fill_in(rows[i].fields, token, "", fields, sizeof fields);
        ask(&bed, &client, "GET /a", fields);
        if (client.status != rows[i].status || !strstr(client.body, rows[i].words))
            fail_msg("row %zu: %u %s", i, client.status, client.body);
        bool is_bad_request = slice_find(client_header(&client, "WWW-Authenticate"),
                                         SLICE("error=\"invalid_request\"")) != SLICE_NOT_FOUND;
        assert_true(is_bad_request == (rows[i].status == 400));
        client_release(&client);
    }
    assert_int_equal(bed.service.requests, 0);
    testbed_stop(&bed);
    free(token);
}

/* '@' stands for a good token. RFC 9110 11.4: 1*SP. Readers that split at white space find a token behind a tab too, and nobody had judged it where
 * those without credentials are let in. */
static void a_scheme_without_its_space_lets_nothing_through_unjudged(void **state)
{
    static const struct {
        const char *fields;
        unsigned status;
    } rows[] = {
        { "Authorization: Bearer\t@\r\n", 400 },  { "Authorization: bearer\t@\r\n", 400 },
        { "Authorization: Bearer \t@\r\n", 400 }, { "Authorization: Bearer\xa0@\r\n", 400 },
        { "Authorization: Bearer,@\r\n", 400 },   { "Authorization: Bearer=@\r\n", 400 },
        { "Authorization: Bearer\t\r\n", 200 }, /* nothing stands behind it */
        { "Authorization: Bearer\r\n", 200 },     { "Authorization: Bearer    @\r\n", 200 },
        { "Authorization: Bearers @\r\n", 200 }, /* another scheme */
        { "Authorization: Basic\t@\r\n", 200 },
    };
    struct testbed bed;
    struct client client;
    char *token = signer_sign(&hs512, "{\"sub\":\"bob\"}");
    testbed_start_filtered(&bed, "/a", "{ " SECRET_FILTER ", anonymous: allow }, { type: api-key }");
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char fields[4096];
        unsigned before = (unsigned)bed.service.requests;
        fill_in(rows[i].fields, token, "", fields, sizeof fields);
        ask(&bed, &client, "GET /a", fields);
        if (client.status != rows[i].status) fail_msg("row %zu: %u %s", i, client.status, client.body);
        assert_int_equal(bed.service.requests - before, client.status == 200);
        bool is_bad_request = slice_find(client_header(&client, "WWW-Authenticate"),
                                         SLICE("error=\"invalid_request\"")) != SLICE_NOT_FOUND;
        assert_true(is_bad_request == (client.status == 400));
        client_release(&client);
    }
    testbed_stop(&bed);
    free(token);
}

/* '@' stands for a good token. RFC 6750 2.3. */
static void no_shared_cache_keeps_what_a_token_in_the_query_was_given(void **state)
{
    static const struct {
        const char *line, *fields, *says; /* the service */
        unsigned fields_heard;            /* by the client, of caching */
        bool is_added;
    } rows[] = {
        { "GET /a?access_token=@", "", "", 1, true },
        { "GET /a?access_token=@", "", "Cache-Control: public, max-age=60\r\n", 2, true },
        { "GET /a?access_token=@", "", "Cache-Control: max-age=60, Private\r\n", 1, false },
        { "GET /a?access_token=@", "", "Cache-Control: private=\"set-cookie\"\r\n", 2, true },
        { "GET /a", "Authorization: Bearer @\r\n", "Cache-Control: max-age=60\r\n", 1, false },
        { "GET /a", "Authorization: Bearer @\r\n", "", 0, false },
        { "GET /a", "Cookie: session=@\r\n", "", 0, false },
        { "GET /a?access_token=a.b.c", "", "", 0, false }, /* 401 */
    };
    struct testbed bed;
    char *token = signer_sign(&hs512, "{\"sub\":\"bob\"}");
    testbed_start_filtered(&bed, "/a",
                           "{ " SECRET_FILTER ", sources: [bearer, 'query:access_token', 'cookie:session'] }");
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct client client;
        char line[4096] = "", fields[4096] = "";
        bed.service.headers = rows[i].says;
        fill_in(rows[i].line, token, "", line, sizeof line);
        fill_in(rows[i].fields, token, "", fields, sizeof fields);
        ask(&bed, &client, line, fields);
        if (client_count_header(&client, "Cache-Control") != rows[i].fields_heard ||
            (strstr(client.head, "\r\nCache-Control: private\r\n") != NULL) != rows[i].is_added)
            fail_msg("row %zu: %s", i, client.head);
        client_release(&client);
    }
    testbed_stop(&bed);
    free(token);
}

static void a_token_may_stand_in_other_places_and_goes_no_further(void **state)
{
    char *token = signer_sign(&hs512, "{\"sub\":\"bob\"}"), *wrong = signer_sign(&hs256, "{\"sub\":\"eve\"}");
    const struct {
        const char *sources, *line, *fields;
        unsigned status;
    } rows[] = {
        { "[bearer]", "GET /a?access_token=@", "", 401 },
        { "['query:access_token']", "GET /a?access_token=@&x=1", "", 200 },
        { "['query:access_token']", "GET /a?x=1&access_token=@", "Authorization: Bearer #\r\n", 200 },
        { "[bearer, 'query:access_token']", "GET /a?access_token=@", "Authorization: Bearer #\r\n", 401 },
        /* The first of the list decides, wherever it stands. */
        { "['query:access_token', bearer]", "GET /a?access_token=#", "Authorization: Bearer @\r\n", 401 },
        { "['query:access_token', bearer]", "GET /a?access_token=@", "Authorization: Bearer #\r\n", 200 },
        { "['query:access_token', bearer]", "GET /a", "Authorization: Bearer @\r\n", 200 },
        { "['header:X-Token', bearer]", "GET /a", "X-Token: @\r\nAuthorization: Bearer #\r\n", 200 },
        { "['cookie:session', 'query:t']", "GET /a?t=#", "Cookie: session=@\r\n", 200 },
        { "[bearer, 'query:access_token']", "GET /a?access_token=@&access_token=@", "", 400 },
        { "['header:X-Token']", "GET /a", "X-Token: @\r\n", 200 },
        { "['header:X-Token']", "GET /a", "x-token: Bearer @\r\n", 200 },
        { "['header:X-Token']", "GET /a", "Authorization: Bearer @\r\n", 401 },
        { "['header:Authorization']", "GET /a", "Authorization: bearer @\r\n", 200 },
        { "['header:Authorization']", "GET /a", "Authorization: @\r\n", 401 },
        { "['cookie:session']", "GET /a", "Cookie: a=b; session=@; c=d\r\n", 200 },
        { "['cookie:session']", "GET /a", "Cookie: session=@; session=#\r\n", 400 },
        { "[bearer, 'cookie:session']", "GET /a", "Authorization: Bearer opaque\r\nCookie: session=@\r\n", 200 },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct testbed bed;
        struct client client;
        char filter[1024], line[4096] = "", fields[4096] = "";
        fill_in(rows[i].line, token, wrong, line, sizeof line);
        fill_in(rows[i].fields, token, wrong, fields, sizeof fields);
        snprintf(filter, sizeof filter, "{ " SECRET_FILTER ", sources: %s }, { type: test-tell-identity }",
                 rows[i].sources);
        testbed_start_filtered(&bed, "/a", filter);
        ask(&bed, &client, line, fields[0] ? fields : NULL);
        if (client.status != rows[i].status) fail_msg("row %zu: %u %s", i, client.status, client.body);
        if (client.status == 200) {
            assert_slice_is(service_header(&bed, "X-Tell-User"), "bob");
            assert_null(strstr(bed.service.head, token));
            assert_null(strstr(bed.service.target, token));
            if (strstr(rows[i].sources, "bearer"))
                assert_null(strstr(bed.service.head, wrong)); /* nor one that nobody read */
        }
        client_release(&client);
        testbed_stop(&bed);
    }
    free(token), free(wrong);
}

/* What a service or a rule gets of an id is the id, however long, and not a double near it. */
static void long_numbers_of_a_token_stay_exact(void **state)
{
    static const struct {
        const char *claim, *condition; /* holds */
    } rows[] = {
        { "9007199254740993", "auth.claims.n == 9007199254740993" },
        { "-9223372036854775808", "auth.claims.n < 0 && type(auth.claims.n) == int" },
        { "9223372036854775808", "auth.claims.n == 9223372036854775808u && auth.claims.n > 9223372036854775807" },
        { "18446744073709551615", "auth.claims.n == 18446744073709551615u && auth.claims.n != 18446744073709551614u" },
        { "18446744073709551617", "auth.claims.n == '18446744073709551617'" },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct testbed bed;
        char *claims = memory_format("{\"sub\":\"bob\",\"n\":%s}", rows[i].claim), *good = bearer(&hs512, claims);
        char *filters = memory_format("{ " SECRET_FILTER
                                      " }, { type: access, rules: [{ name: r, effect: allow, when: \"%s\" }] }, "
                                      "{ type: set-header, name: X-N, value: '${string(auth.claims.n)}' }",
                                      rows[i].condition);
        testbed_start_filtered(&bed, "/a", filters);
        for (int again = 0; again < 2; again++) { /* then out of the cache */
            expect(&bed, good, 200, NULL);
            assert_slice_is(service_header(&bed, "X-N"), rows[i].claim);
        }
        testbed_stop(&bed);
        free(claims), free(good), free(filters);
    }
}

static void forwarded_credentials_reach_the_service(void **state)
{
    struct testbed bed;
    char *good = bearer(&hs512, "{\"sub\":\"bob\"}");
    testbed_start_filtered(&bed, "/a", "{ " SECRET_FILTER ", forwardCredentials: true }");
    expect(&bed, good, 200, NULL);
    assert_int_equal(service_count_header(&bed, "Authorization"), 1);
    testbed_stop(&bed);
    free(good);
}

static void anonymous_callers_are_let_in_but_not_bad_tokens(void **state)
{
    struct testbed bed;
    char *bad = bearer(&hs256, "{}");
    testbed_start_filtered(&bed, "/a",
                           "{ " SECRET_FILTER
                           ", anonymous: allow, sources: [bearer, 'cookie:s'] }, { type: test-tell-identity }");
    expect(&bed, NULL, 200, NULL);
    assert_slice_is(service_header(&bed, "X-Tell-Method"), "anonymous");
    expect(&bed, bad, 401, "algorithm");
    expect(&bed, "Authorization: Bearer opaque\r\n", 401, NULL);
    expect(&bed, "Cookie: s=opaque\r\n", 401, NULL);
    testbed_stop(&bed);
    free(bad);
}

static void an_issuer_is_chosen_by_iss(void **state)
{
    struct signer one = signer_make(JWT_ES256, "k"), two = signer_make(JWT_EDDSA, "k");
    char *jwk_one = signer_jwk(&one, ""), *jwk_two = signer_jwk(&two, "");
    char *filter = memory_format("{ type: jwt-auth, requiredClaims: [sub], issuers: ["
                                 "{ issuer: 'https://one/', audience: [api, web], jwks: { keys: [%s] } },"
                                 "{ issuer: 'https://two/', algorithms: [EdDSA], jwks: %s } ] }",
                                 jwk_one, jwk_two);
    const struct {
        const struct signer *signer;
        const char *claims;
        unsigned status;
        const char *words;
    } rows[] = {
        { &one, "{\"iss\":\"https://one/\",\"aud\":\"web\",\"sub\":\"a\"}", 200, NULL },
        { &two, "{\"iss\":\"https://two/\",\"sub\":\"a\"}", 200, NULL },
        { &one, "{\"iss\":\"https://two/\",\"sub\":\"a\"}", 401, "algorithm" },
        { &two, "{\"iss\":\"https://one/\",\"aud\":\"api\",\"sub\":\"a\"}", 401, "algorithm" },
        { &one, "{\"iss\":\"https://one/\",\"aud\":\"other\",\"sub\":\"a\"}", 401, "aud" },
        { &one, "{\"iss\":\"https://one/\",\"aud\":\"api\"}", 401, "\\\"sub\\\"" },
        { &one, "{\"iss\":\"https://three/\",\"sub\":\"a\"}", 401, "not trusted" },
        { &one, "{\"iss\":[\"https://one/\"],\"sub\":\"a\"}", 401, "not trusted" },
        { &one, "{\"sub\":\"a\"}", 401, "not trusted" },
    };
    struct testbed bed;
    testbed_start_filtered(&bed, "/a", filter);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char *fields = bearer(rows[i].signer, rows[i].claims);
        expect(&bed, fields, rows[i].status, rows[i].words);
        free(fields);
    }
    testbed_stop(&bed);
    free(filter), free(jwk_one), free(jwk_two);
    signer_release(&one);
    signer_release(&two);
}

/* An ID token is signed by the same key, for the same audience and user: only its type tells that it is none to be let in with. */
static void a_token_of_another_type_is_refused_where_types_are_named(void **state)
{
    static const struct {
        const char *header;
        unsigned status;
        const char *words;
    } rows[] = {
        { "{\"alg\":\"HS512\",\"typ\":\"at+jwt\"}", 200, NULL },
        { "{\"alg\":\"HS512\",\"typ\":\"AT+JWT\"}", 200, NULL },
        { "{\"alg\":\"HS512\",\"typ\":\"Application/at+jwt\"}", 200, NULL },
        { "{\"alg\":\"HS512\",\"typ\":\"custom\"}", 200, NULL },
        { "{\"alg\":\"HS512\",\"typ\":\"application/x/at+jwt\"}", 401, "of another type" },
        { "{\"alg\":\"HS512\",\"typ\":\"application/\"}", 401, "of another type" },
        { "{\"alg\":\"HS512\",\"typ\":\"JWT\"}", 401, "of another type" },
        { "{\"alg\":\"HS512\",\"typ\":[\"at+jwt\"]}", 401, "which type" },
        { "{\"alg\":\"HS512\"}", 401, "which type" },
    };
    struct testbed bed;
    struct client client;
    testbed_start(&bed, "routes:\n"
                        "- { name: any, path: /any, serviceId: one, filters: [{ " SECRET_FILTER " }] }\n"
                        "- { name: a, path: /a, serviceId: one, filters: [{ " SECRET_FILTER
                        ", typ: [at+jwt, application/custom] }] }\n");
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char *token = signer_sign_raw(&hs512, rows[i].header, "{\"sub\":\"bob\"}");
        char *field = memory_format("Authorization: Bearer %s\r\n", token);
        /* First where any is taken, so that it is in the cache: the other policy must not find it there. */
        ask(&bed, &client, "GET /any", field);
        if (client.status != 200) fail_msg("%s: %u", rows[i].header, client.status);
        client_release(&client);
        expect(&bed, field, rows[i].status, rows[i].words);
        if (rows[i].status == 401) {
            ask(&bed, &client, "GET /a", field);
            assert_true(slice_find(client_header(&client, "WWW-Authenticate"), SLICE("error=\"invalid_token\"")) !=
                        SLICE_NOT_FOUND);
            client_release(&client);
        }
        free(token), free(field);
    }
    testbed_stop(&bed);
}

/* What two policies ask for alike is verified once; what one asks for beyond is not passed by the other's entry. */
static void a_cached_token_is_good_for_equal_policies_only(void **state)
{
    struct error error;
    struct key_sets *sets = key_sets_create(1, &error);
    struct key_set_figures figures;
    testbed_surroundings = (struct policy_surroundings){ .key_sets = sets, .workers = 1 };
    struct testbed bed;
    struct client client;
    char *good = bearer(&hs512, "{\"sub\":\"bob\"}");
    testbed_start(&bed, "routes:\n"
                        "- { name: a, path: /a, serviceId: one, filters: [{ " SECRET_FILTER " }] }\n"
                        "- { name: b, path: /b, serviceId: one, filters: [{ " SECRET_FILTER " }] }\n"
                        "- { name: c, path: /c, serviceId: one, filters: [{ " SECRET_FILTER
                        ", requiredClaims: [email] }] }\n");
    static const struct {
        const char *line;
        unsigned status;
    } rows[] = { { "GET /a", 200 }, { "GET /b", 200 }, { "GET /c", 401 }, { "GET /a", 200 } };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        ask(&bed, &client, rows[i].line, good);
        assert_int_equal(client.status, rows[i].status);
        client_release(&client);
    }
    key_sets_figures(sets, &figures);
    assert_int_equal(figures.tokens[JWT_TOKEN_VERIFIED], 1);
    assert_int_equal(figures.tokens[JWT_TOKEN_CACHED], 2);
    assert_int_equal(figures.tokens[JWT_TOKEN_REFUSED], 1);
    /* Another secret in the same place, and the token is none any more. */
    testbed_reload(&bed,
                   "routes:\n- { name: a, path: /a, serviceId: one, filters: [{ type: jwt-auth, secret: '" SHORT_SECRET
                   "' }] }\n");
    ask(&bed, &client, "GET /a", good);
    assert_int_equal(client.status, 401);
    client_release(&client);
    testbed_stop(&bed);
    testbed_surroundings = (struct policy_surroundings){ 0 };
    key_sets_destroy(sets);
    free(good);
}

/* A file's keys change under a running gateway: a token that names the new key waits for one look at the file, the old ones are none any more. */
static void a_request_waits_for_a_key_that_has_just_come(void **state)
{
    struct signer old = signer_make(JWT_ES256, "old"), new = signer_make(JWT_ES256, "new"),
                  never = signer_make(JWT_ES256, "never");
    char path[] = "/tmp/sluice-jwt-auth-XXXXXX", filter[256];
    char *jwk = signer_jwk(&old, ""), *by_old = bearer(&old, "{\"sub\":\"a\"}"),
         *by_new = bearer(&new, "{\"sub\":\"b\"}"), *by_none = bearer(&never, "{\"sub\":\"c\"}");
    struct error error;
    int file = mkstemp(path);
    assert_true(file >= 0 && write(file, jwk, strlen(jwk)) == (ssize_t)strlen(jwk));
    struct key_sets *sets = key_sets_create(1, &error);
    assert_true(key_sets_start(sets, &error));
    testbed_surroundings = (struct policy_surroundings){ .key_sets = sets, .workers = 1 };
    struct testbed bed;
    struct client client = { 0 };
    snprintf(filter, sizeof filter,
             "{ type: jwt-auth, jwksFile: %s, jwksCooldown: 3600 }, { type: test-tell-identity }", path);
    testbed_start_filtered(&bed, "/a", filter);
    expect(&bed, by_old, 200, NULL);
    free(jwk);
    jwk = signer_jwk(&new, "");
    assert_int_equal(ftruncate(file, 0), 0);
    assert_int_equal(pwrite(file, jwk, strlen(jwk), 0), (ssize_t)strlen(jwk));
    client_ask(&bed, &client, "GET /a", by_new, NULL);
    testbed_run(&bed);
    testbed_run_until(&bed, &client.sent);
    assert_int_equal(client.status, 200);
    assert_slice_is(service_header(&bed, "X-Tell-User"), "b");
    client_release(&client);
    expect(&bed, by_old, 401, "not known");  /* its entry went with its key */
    expect(&bed, by_none, 401, "not known"); /* and within the cool-down nobody looks again */
    expect(&bed, by_new, 200, NULL);
    key_sets_stop(sets);
    testbed_stop(&bed);
    testbed_surroundings = (struct policy_surroundings){ 0 };
    key_sets_destroy(sets);
    close(file);
    unlink(path);
    free(jwk), free(by_old), free(by_new), free(by_none);
    signer_release(&old);
    signer_release(&new);
    signer_release(&never);
}

/* Nobody listens there: 503 says that it isn't the token's fault; who goes away while waiting takes nothing along. */
static void an_issuer_that_is_away_is_no_clients_fault(void **state)
{
    struct signer signer = signer_make(JWT_ES256, "k");
    char *fields = bearer(&signer, "{\"sub\":\"a\"}");
    for (int allows = 0; allows < 2; allows++) {
        struct error error;
        struct key_sets *sets = key_sets_create(1, &error);
        assert_true(key_sets_start(sets, &error));
        testbed_surroundings = (struct policy_surroundings){ .key_sets = sets, .workers = 1 };
        struct testbed bed;
        struct client client = { 0 }, leaving = { 0 };
        char filter[256];
        snprintf(filter, sizeof filter,
                 "{ type: jwt-auth, jwksUrl: 'http://127.0.0.1:1/%d', onFailure: %s }, { type: test-tell-identity }",
                 allows, allows ? "allow" : "deny");
        testbed_start_filtered(&bed, "/a", filter);
        client_ask(&bed, &leaving, "GET /a", fields, NULL);
        client_leave(&leaving);
        client_ask(&bed, &client, "GET /a", fields, NULL);
        testbed_run(&bed);
        testbed_run_until(&bed, &client.sent);
        assert_int_equal(client.status, allows ? 200 : 503);
        if (allows) {
            assert_slice_is(service_header(&bed, "X-Tell-Method"), "anonymous");
            assert_int_equal(service_count_header(&bed, "Authorization"), 0);
        } else {
            assert_slice_is(client_header(&client, "Retry-After"), "5");
            assert_non_null(strstr(client.body, "can't be had right now"));
        }
        client_release(&client);
        client_release(&leaving);
        key_sets_stop(sets); /* as a gateway does: then nobody writes to its workers any more */
        testbed_stop(&bed);
        testbed_surroundings = (struct policy_surroundings){ 0 };
        key_sets_destroy(sets);
    }
    free(fields);
    signer_release(&signer);
}

/* A public key, in a file as anywhere, is known to everybody and no secret. */
static void a_file_whose_keys_are_for_other_algorithms_is_refused_at_load(void **state)
{
    static const struct {
        const char *text, *algorithms, *refused; /* NULL: it is taken */
    } rows[] = {
        { "PEM", "HS256", "its keys are public, and HS256 signs with a secret" },
        { "PEM", "RS256", "no key in it is one for RS256" },
        { "PEM", "EdDSA", NULL },
        { "PEM", "EdDSA, HS256", NULL }, /* no token is believed for its algorithm: HS then finds no key */
        { "{\"keys\":[{\"kty\":\"oct\",\"k\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}]}", "HS256", NULL },
        { "{\"keys\":[{\"kty\":\"oct\",\"k\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}]}", "RS256",
          "no key in it is one for RS256" },
    };
    static const char pem[] =
        "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n-----END PUBLIC KEY-----\n";
    for (size_t i = 0; i < 2 * COUNT_OF(rows); i++) {
        const char *text = strcmp(rows[i / 2].text, "PEM") == 0 ? pem : rows[i / 2].text;
        char path[] = "/tmp/sluice-jwt-auth-XXXXXX", filter[256];
        struct error error;
        int file = mkstemp(path);
        assert_true(file >= 0 && write(file, text, strlen(text)) == (ssize_t)strlen(text));
        struct key_sets *sets = i % 2 ? key_sets_create(1, &error) : NULL; /* as a gateway does it, and as a check */
        if (sets) assert_true(key_sets_start(sets, &error));
        testbed_surroundings = (struct policy_surroundings){ .key_sets = sets, .workers = 1 };
        snprintf(filter, sizeof filter, "{ type: jwt-auth, jwksFile: %s, algorithms: [%s] }", path,
                 rows[i / 2].algorithms);
        if (rows[i / 2].refused) {
            testbed_refuses_filter(filter, rows[i / 2].refused);
        } else {
            struct testbed bed;
            testbed_start_filtered(&bed, "/a", filter);
            if (sets) key_sets_stop(sets);
            testbed_stop(&bed);
        }
        testbed_surroundings = (struct policy_surroundings){ 0 };
        if (sets && rows[i / 2].refused) key_sets_stop(sets);
        key_sets_destroy(sets);
        close(file);
        unlink(path);
    }
}

static void what_could_never_work_is_refused_at_load(void **state)
{
    struct signer rsa = signer_make(JWT_RS256, NULL);
    char *jwk = signer_jwk(&rsa, ""), *filter;
    assert_int_equal(setenv("SLUICE_TEST_URL", "http://issuer.example/keys?k=hush", 1), 0);
    static const struct {
        const char *fields, *words;
    } rows[] = {
        { "realm: a", "an issuer needs keys" },
        { "secret: '" SIGNER_SECRET "', jwksUrl: 'https://a/'", "from one place only" },
        { "secret: short, algorithm: HS256", "at least 32 bytes, this one 5" },
        { "secret: '" SHORT_SECRET "', algorithm: HS512", "at least 64 bytes" },
        { "secret: '" SHORT_SECRET "', algorithm: RS256", "RS256 wants a public key in PEM" },
        { "secret: '" SHORT_SECRET "', algorithm: none", "none" },
        { "secret: ''", "must not be empty" },
        { "secret: \"-----BEGIN PUBLIC KEY-----\\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\\n-----END PUBLIC KEY-----\\n\", algorithm: HS256",
          "HS256 signs with a secret, and this is a key in PEM" },
        { "secret: \"-----BEGIN PUBLIC KEY-----\\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\\n-----END PUBLIC KEY-----\\n\", algorithm: RS256",
          "no key in it is one for RS256" },
        { "jwksUrl: 'ftp://a/'", "must be an https URL" },
        { "jwksUrl: 'https:///a'", "must be an https URL" },
        { "jwksUrl: 'https://a/ b'", "must be an https URL" },
        { "jwksUrl: 'http://issuer.example/keys'", "http to another machine" },
        { "jwksUrl: '${env:SLUICE_TEST_NOTHING}'", "no environment variable" },
        { "jwksUrl: '${env:SLUICE_TEST_URL}'", "what it refers to is http to another machine" },
        { "jwksUrl: ''", "must not be empty" },
        { "jwksUrl: 'https://a/', algorithms: [HS256]", "can't be a secret" },
        { "jwksUrl: 'https://a/', jwksCooldown: 0", "jwksCooldown" },
        { "jwksUrl: 'https://a/', jwksMaxAge: 4", "jwksMaxAge" },
        { "secret: '" SHORT_SECRET "', jwksMaxAge: 60", "belongs to a \"jwksUrl\"" },
        { "secret: '" SHORT_SECRET "', jwksCa: /etc/ca.pem", "belongs to a \"jwksUrl\"" },
        { "jwks: { keys: [] }", "no key that verifies tokens" },
        { "jwks: { keys: [{ kty: oct, k: AAAA }] }", "belongs into" },
        { "jwks: 7", "can't be used" },
        { "jwksFile: /nowhere/keys.json", "no such file" },
        { "secret: '${env:SLUICE_TEST_NOTHING}'", "no environment variable" },
        { "secret: '" SHORT_SECRET "', sources: [basic]", "not a place for a token" },
        { "secret: '" SHORT_SECRET "', sources: ['header:']", "not a place for a token" },
        { "secret: '" SHORT_SECRET "', sources: ['header:Host']", "written by Sluice itself" },
        { "secret: '" SHORT_SECRET "', sources: []", "must not be empty" },
        { "secret: '" SHORT_SECRET "', requiredClaims: sub", "must be a list of names or a map" },
        { "secret: '" SHORT_SECRET "', audience: ['']", "must not be empty" },
        { "secret: '" SHORT_SECRET "', typ: ''", "not a token's type" },
        { "secret: '" SHORT_SECRET "', typ: application/", "not a token's type" },
        { "secret: '" SHORT_SECRET "', typ: [at+jwt, 'a b']", "not a token's type" },
        { "issuers: [{ issuer: a, secret: '" SHORT_SECRET "' }], typ: JWT", "no issuer is written by itself" },
        { "issuers: [{ issuer: a, secret: '" SHORT_SECRET "' }], algorithm: HS256", "no issuer is written by itself" },
        { "issuers: [{ issuer: a, secret: '" SHORT_SECRET "' }, { issuer: a, jwksUrl: 'https://a/' }]",
          "the same \"issuer\"" },
        { "issuers: [{ secret: '" SHORT_SECRET "' }, { jwksUrl: 'https://a/' }]", "have no \"issuer\"" },
        { "issuers: [{ issuer: a }]", "an issuer needs keys" },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        filter = memory_format("{ type: jwt-auth, %s }", rows[i].fields);
        testbed_refuses_filter(filter, rows[i].words);
        free(filter);
    }
    filter = memory_format("{ type: jwt-auth, jwks: %s, algorithms: [ES256] }", jwk);
    testbed_refuses_filter(filter, "no key in it is one for ES256");
    free(filter), free(jwk);
    signer_release(&rsa);
}

/* Both issuers have a client "app", and so has an API key's owner; only one of the three is the clerk. */
static void a_client_of_another_issuer_has_not_its_namesakes_roles(void **state)
{
    struct testbed bed;
    static const char of_a[] = "{\"iss\":\"a\",\"client_id\":\"app\"}",
                      of_b[] = "{\"iss\":\"b\",\"client_id\":\"app\"}";
    char *a = bearer(&hs512, of_a), *b = bearer(&hs256, of_b);
#define TWO_ISSUERS                                                                        \
    "routes: [{ name: a, path: /a, serviceId: one, filters: [{ type: jwt-auth, issuers: [" \
    "{ issuer: a, secret: '" SIGNER_SECRET "', algorithm: HS512 }, "                       \
    "{ issuer: b, secret: '" SIGNER_SECRET "', algorithm: HS256 }] }, { type: access, roles: clerk }] }]\n"
    testbed_start(&bed,
                  "roles: [{ name: clerk, tokenClients: { issuer: a, clients: app }, permissions: [] }]\n" TWO_ISSUERS);
    for (int i = 0; i < 2; i++) { /* verified, then out of the cache */
        assert_int_equal(testbed_status(&bed, "GET /a", a), 200);
        assert_int_equal(testbed_status(&bed, "GET /a", b), 403);
    }
    testbed_reload(&bed, "roles: [{ name: clerk, clients: app, permissions: [] }]\n" TWO_ISSUERS);
    assert_int_equal(testbed_status(&bed, "GET /a", a), 403);
    assert_int_equal(testbed_status(&bed, "GET /a", b), 403);
    testbed_stop(&bed);
    /* Where no issuer is named, a token's own word for its issuer counts for nothing. */
    testbed_start(&bed, "roles: [{ name: clerk, tokenClients: { issuer: a, clients: app }, permissions: [] }]\n"
                        "routes: [{ name: a, path: /a, serviceId: one, filters: [{ " SECRET_FILTER " }, "
                        "{ type: access, roles: clerk }] }]\n");
    assert_int_equal(testbed_status(&bed, "GET /a", a), 403);
    testbed_stop(&bed);
    free(a), free(b);
}

/* One policy lets in who brings nothing; who brings what another can't read has brought something. */
static void an_opaque_bearer_is_not_nobody_to_any_policy(void **state)
{
    struct testbed bed;
    testbed_start_filtered(&bed, "/a",
                           "{ type: jwt-auth, secret: 0123456789abcdef0123456789abcdef, algorithm: HS256 }, "
                           "{ type: api-key, anonymous: allow }, { type: test-tell-identity }");
    assert_int_equal(testbed_status(&bed, "GET /a", NULL), 200);
    assert_int_equal(testbed_status(&bed, "GET /a", "Authorization: Bearer opaque\r\n"), 401);
    testbed_stop(&bed);
}

/* Plain http is for this machine alone, whatever a host's name begins with. */
static void keys_are_not_fetched_in_clear_from_afar(void **state)
{
    testbed_refuses_filter("{ type: jwt-auth, jwksUrl: 'http://127.evil.example/keys' }", "is http to another machine");
    testbed_refuses_filter("{ type: jwt-auth, jwksUrl: 'http://localhost:x@evil.example/keys' }",
                           "must be an https URL");
    testbed_refuses_filter("{ type: jwt-auth, jwksUrl: 'https://user:pass@evil.example/keys' }",
                           "must be an https URL");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_are_not_fetched_in_clear_from_afar),
        cmocka_unit_test(a_client_of_another_issuer_has_not_its_namesakes_roles),
        cmocka_unit_test(an_opaque_bearer_is_not_nobody_to_any_policy),
        cmocka_unit_test(the_flat_form_lets_in_whose_token_is_good),
        cmocka_unit_test(challenges_say_what_rfc_6750_says),
        cmocka_unit_test(descriptions_hold_no_quotes_and_no_backslashes),
        cmocka_unit_test(several_credentials_and_malformed_ones_are_bad_requests),
        cmocka_unit_test(a_scheme_without_its_space_lets_nothing_through_unjudged),
        cmocka_unit_test(no_shared_cache_keeps_what_a_token_in_the_query_was_given),
        cmocka_unit_test(a_token_may_stand_in_other_places_and_goes_no_further),
        cmocka_unit_test(long_numbers_of_a_token_stay_exact),
        cmocka_unit_test(forwarded_credentials_reach_the_service),
        cmocka_unit_test(anonymous_callers_are_let_in_but_not_bad_tokens),
        cmocka_unit_test(an_issuer_is_chosen_by_iss),
        cmocka_unit_test(a_token_of_another_type_is_refused_where_types_are_named),
        cmocka_unit_test(a_cached_token_is_good_for_equal_policies_only),
        cmocka_unit_test(a_request_waits_for_a_key_that_has_just_come),
        cmocka_unit_test(an_issuer_that_is_away_is_no_clients_fault),
        cmocka_unit_test(a_file_whose_keys_are_for_other_algorithms_is_refused_at_load),
        cmocka_unit_test(what_could_never_work_is_refused_at_load),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
