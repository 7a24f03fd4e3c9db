/* Where key sets come from: HTTP's rules as numbers, files that change, and an issuer on loopback that is well, away, slow, hostile. */
#include "unit_test.h"

#include "base/clock.h"
#include "keys/key_sets_private.h"
#include "keys/signer.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

/* --- rules --- */

#define CAME_S 784111777 /* Sun, 06 Nov 1994 08:49:37 GMT */

static void an_answer_is_fresh_as_long_as_it_says(void **state)
{
    static const char at_once[] = "Sun, 06 Nov 1994 08:49:37 GMT", in_two_minutes[] = "Sun, 06 Nov 1994 08:51:37 GMT",
                      a_minute_ago[] = "Sun, 06 Nov 1994 08:48:37 GMT",
                      in_ten_years[] = "Sat, 06 Nov 2004 08:49:37 GMT";
    static const struct {
        const char *cache_control, *age, *date, *expires; /* NULL: none */
        uint64_t took_s, lifetime_ms;
    } rows[] = {
        { NULL, NULL, NULL, NULL, 0, 300000 },
        { "", NULL, NULL, NULL, 0, 300000 },
        { "public", NULL, NULL, NULL, 0, 300000 },
        { "max-age=60", NULL, NULL, NULL, 0, 60000 },
        { "public, MAX-AGE=60, must-revalidate", NULL, NULL, NULL, 0, 60000 },
        { "max-age=\"60\"", NULL, NULL, NULL, 0, 60000 },
        { "max-age=60", "20", NULL, NULL, 0, 40000 },
        { "max-age=60", "100", NULL, NULL, 0, 5000 },
        { "max-age=60", "soon", NULL, NULL, 0, 60000 },
        { "max-age=0", NULL, NULL, NULL, 0, 5000 },
        { "no-store", NULL, NULL, NULL, 0, 5000 },
        { "max-age=600, no-cache", NULL, NULL, NULL, 0, 5000 },
        { "max-age=99999999", NULL, NULL, NULL, 0, 86400000 },
        { "max-age=99999999999999999999999999", NULL, NULL, NULL, 0, 86400000 },
        { "max-age=-5", NULL, NULL, NULL, 0, 5000 },
        { "max-age=", NULL, NULL, NULL, 0, 5000 },
        { "s-maxage=5", NULL, NULL, NULL, 0, 300000 },
        { "max-age=60, max-age=90", NULL, NULL, NULL, 0, 60000 },
        /* max-age before Expires before nothing at all */
        { NULL, NULL, at_once, in_two_minutes, 0, 120000 },
        { NULL, NULL, NULL, in_two_minutes, 0, 120000 },
        { "max-age=60", NULL, at_once, in_two_minutes, 0, 60000 },
        { "max-age=60", NULL, at_once, "0", 0, 60000 },
        { "s-maxage=5", NULL, at_once, in_two_minutes, 0, 120000 },
        { "no-cache", NULL, at_once, in_two_minutes, 0, 5000 },
        { NULL, NULL, at_once, in_ten_years, 0, 86400000 },
        { NULL, NULL, at_once, "0", 0, 5000 },
        { NULL, NULL, at_once, "-1", 0, 5000 },
        { NULL, NULL, at_once, "", 0, 5000 },
        { NULL, NULL, at_once, "Sun, 06 Nov 1994 08:51:37 CET", 0, 5000 },
        { NULL, NULL, at_once, a_minute_ago, 0, 5000 },
        /* The issuer's clock: ahead of ours, it counts between Date and Expires alone; behind, the answer may have lain somewhere. */
        { NULL, NULL, in_two_minutes, in_two_minutes, 0, 5000 },
        { NULL, NULL, a_minute_ago, in_two_minutes, 0, 120000 },
        { "max-age=100", NULL, a_minute_ago, NULL, 0, 40000 },
        { "max-age=100", "20", a_minute_ago, NULL, 0, 40000 },
        { "max-age=100", "80", a_minute_ago, NULL, 0, 20000 },
        { "max-age=100", NULL, in_two_minutes, NULL, 0, 100000 },
        { "max-age=100", NULL, "yesterday", NULL, 0, 100000 },
        { "max-age=100", "20", NULL, NULL, 10, 70000 },
        { "max-age=100", NULL, at_once, NULL, 10, 90000 },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        const struct key_set_freshness answer = { .cache_control = slice_from_cstring(rows[i].cache_control),
                                                  .expires = slice_from_cstring(rows[i].expires),
                                                  .date = slice_from_cstring(rows[i].date),
                                                  .age = slice_from_cstring(rows[i].age),
                                                  .asked_s = CAME_S - rows[i].took_s,
                                                  .came_s = CAME_S };
        uint64_t got = key_set_lifetime_ms(&answer);
        if (got != rows[i].lifetime_ms)
            fail_msg("row %zu: %s: %llu", i, rows[i].cache_control, (unsigned long long)got);
    }
}

/* What a cache in between has had is as old as that says, or as its Date. */
static void an_answer_is_as_old_as_it_says(void **state)
{
    static const char two_minutes_ago[] = "Sun, 06 Nov 1994 08:47:37 GMT",
                      in_a_minute[] = "Sun, 06 Nov 1994 08:50:37 GMT";
    static const struct {
        const char *age, *date; /* NULL: none */
        uint64_t took_s, age_ms;
    } rows[] = {
        { NULL, NULL, 0, 0 },
        { "0", NULL, 0, 0 },
        { "3600", NULL, 0, 3600000 },
        { "soon", NULL, 0, 0 },
        { "3600", NULL, 3, 3603000 },
        { NULL, two_minutes_ago, 0, 120000 },
        { "20", two_minutes_ago, 0, 120000 },
        { "200", two_minutes_ago, 0, 200000 },
        { "20", in_a_minute, 0, 20000 },
        { NULL, "yesterday", 0, 0 },
        { "864000", NULL, 0, 864000000 }, /* more than any answer is fresh */
        { "99999999999999999999999", NULL, 0, UINT64_C(2147483648000) },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        const struct key_set_freshness answer = { .cache_control = SLICE("max-age=3600"),
                                                  .date = slice_from_cstring(rows[i].date),
                                                  .age = slice_from_cstring(rows[i].age),
                                                  .asked_s = CAME_S - rows[i].took_s,
                                                  .came_s = CAME_S };
        uint64_t got = key_set_age_ms(&answer);
        if (got != rows[i].age_ms) fail_msg("row %zu: %llu", i, (unsigned long long)got);
    }
}

static void it_is_fetched_ahead_of_its_end_and_again_with_growing_pauses(void **state)
{
    static const uint64_t pauses_ms[] = { 1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000 };
    struct random random;
    random_init_seeded(&random, 7);
    for (int i = 0; i < 1000; i++) {
        uint64_t after_ms = key_set_refresh_after_ms(100000, &random);
        assert_true(after_ms >= 75000 && after_ms <= 90000);
    }
    for (unsigned i = 0; i < COUNT_OF(pauses_ms); i++) {
        uint64_t pause_ms = key_set_retry_after_ms(i + 1, &random);
        assert_true(pause_ms >= pauses_ms[i] * 3 / 4 && pause_ms <= pauses_ms[i]);
    }
    assert_true(key_set_retry_after_ms(UINT32_MAX, &random) <= 60000);
}

/* --- an issuer --- */

static struct issuer {
    pthread_t thread;
    int socket;
    uint16_t port;
    pthread_mutex_t lock;
    /* Under the lock. */
    unsigned requests;
    char last[4096];
    char answer[16384]; /* the whole of it; empty: the connection is closed */
    bool is_endless;    /* and after it 'x' without end */
    unsigned delay_ms;
    bool stops;
} issuer = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void serve_one(int client)
{
    char request[4096];
    size_t length = 0;
    while (length < sizeof request - 1) {
        ssize_t got = read(client, request + length, sizeof request - 1 - length);
        if (got <= 0) return;
        length += (size_t)got;
        request[length] = '\0';
        if (strstr(request, "\r\n\r\n")) break;
    }
    pthread_mutex_lock(&issuer.lock);
    issuer.requests++;
    memcpy(issuer.last, request, length + 1);
    char *answer = memory_copy_slice(slice_from_cstring(issuer.answer));
    unsigned delay_ms = issuer.delay_ms;
    bool is_endless = issuer.is_endless;
    pthread_mutex_unlock(&issuer.lock);
    usleep(delay_ms * 1000);
    if (send(client, answer, strlen(answer), MSG_NOSIGNAL) > 0 && is_endless) {
        memset(request, 'x', sizeof request);
        while (send(client, request, sizeof request, MSG_NOSIGNAL) > 0) {}
    }
    free(answer);
}

static void *serve(void *argument)
{
    for (;;) {
        int client = accept(issuer.socket, NULL, NULL);
        if (client < 0) return NULL;
        pthread_mutex_lock(&issuer.lock);
        bool stops = issuer.stops;
        pthread_mutex_unlock(&issuer.lock);
        if (!stops) serve_one(client);
        close(client);
        if (stops) return NULL;
    }
}

static int start_issuer(void **state)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
    socklen_t size = sizeof address;
    issuer.socket = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(issuer.socket, (struct sockaddr *)&address, size) != 0 || listen(issuer.socket, 64) != 0) return -1;
    if (getsockname(issuer.socket, (struct sockaddr *)&address, &size) != 0) return -1;
    issuer.port = ntohs(address.sin_port);
    return pthread_create(&issuer.thread, NULL, serve, NULL);
}

static int stop_issuer(void **state)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_port = htons(issuer.port),
                                   .sin_addr = { htonl(INADDR_LOOPBACK) } };
    pthread_mutex_lock(&issuer.lock);
    issuer.stops = true;
    pthread_mutex_unlock(&issuer.lock);
    int last = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)connect(last, (struct sockaddr *)&address, sizeof address);
    pthread_join(issuer.thread, NULL);
    close(last);
    close(issuer.socket);
    return 0;
}

static void issuer_says(const char *status, const char *fields, const char *body)
{
    pthread_mutex_lock(&issuer.lock);
    snprintf(issuer.answer, sizeof issuer.answer, "HTTP/1.1 %s\r\nConnection: close\r\nContent-Length: %zu\r\n%s\r\n%s",
             status, strlen(body), fields, body);
    issuer.is_endless = false;
    issuer.delay_ms = 0;
    pthread_mutex_unlock(&issuer.lock);
}

static void issuer_publishes(const char *fields, const struct signer *signer)
{
    char *jwk = signer_jwk(signer, ""), *set = memory_format("{\"keys\":[%s]}", jwk);
    issuer_says("200 OK", fields, set);
    free(jwk), free(set);
}

static unsigned issuer_was_asked(void)
{
    pthread_mutex_lock(&issuer.lock);
    unsigned requests = issuer.requests;
    pthread_mutex_unlock(&issuer.lock);
    return requests;
}

/* --- a gateway's side --- */

struct waiter {
    _Atomic unsigned answers;
    uint64_t cool_down_ms;
};

static void answered(const struct key_set_asker *asker)
{
    atomic_fetch_add(&((struct waiter *)(uintptr_t)asker->ticket[0])->answers, 1);
}

static enum key_set_asked ask(struct key_set_source *source, struct waiter *waiter)
{
    const struct key_set_asker asker = { answered, waiter->cool_down_ms, { (uintptr_t)waiter } };
    return key_set_source_ask(source, &asker);
}

#define WAIT_FOR(condition)                                                         \
    do {                                                                            \
        for (int waited = 0; !(condition) && waited < 5000; waited++) usleep(1000); \
        assert_true(condition);                                                     \
    } while (0)

static struct key_sets *start(void)
{
    struct error error;
    struct key_sets *sets = key_sets_create(1, &error);
    assert_non_null(sets);
    assert_true(key_sets_start(sets, &error));
    return sets;
}

static struct key_set_source *use_url(struct key_sets *sets, const char *path)
{
    struct error error;
    char *url = memory_format("http://user:word@127.0.0.1:%u%s", issuer.port, path);
    const struct key_set_location location = { .url = slice_from_cstring(url) };
    struct key_set_source *source = key_set_source_use(sets, &location, &error);
    assert_non_null(source);
    free(url);
    return source;
}

static void a_set_is_fetched_once_for_all_who_use_it(void **state)
{
    struct signer signer = signer_make(JWT_ES256, "one");
    struct key_sets *sets = start();
    unsigned before = issuer_was_asked();
    issuer_publishes("", &signer);
    struct key_set_source *source = use_url(sets, "/keys?token=geheim"), *again = use_url(sets, "/keys?token=geheim");
    assert_ptr_equal(source, again);
    WAIT_FOR(key_set_source_version(source) != 0);
    assert_int_equal(issuer_was_asked() - before, 1);
    assert_false(key_set_source_is_failing(source));
    struct key_set *set = key_set_source_take(source);
    assert_true(key_set_version(set) == key_set_source_version(source));
    assert_slice_is(key_set_at(set, 0)->id, "one");
    key_set_drop(set);
    assert_non_null(strstr(issuer.last, "Accept: application/jwk-set+json"));
    assert_non_null(strstr(issuer.last, "User-Agent: sluice/"));
    assert_null(strstr(issuer.last, "If-None-Match"));
    key_set_source_drop(again);
    key_set_source_drop(source);
    key_sets_stop(sets);
    key_sets_destroy(sets);
    signer_release(&signer);
}

/* When it is fetched next says what was read of the answer's head. */
static void what_the_answers_head_says_of_its_end_is_followed(void **state)
{
    static const struct {
        const char *fields;
        uint64_t lifetime_ms;
    } rows[] = {
        { "", 300000 },
        { "Expires: 0\r\n", 5000 },
        { "date: Sun, 06 Nov 1994 08:49:37 GMT\r\nexpires: Sun, 06 Nov 1994 09:49:37 GMT\r\n", 5000 }, /* long over */
        { "Expires: Fri, 31 Dec 2100 00:00:00 GMT\r\n", 86400000 },
        { "Cache-Control: public\r\nExpires: 0\r\nCache-Control: max-age=3600\r\n", 3600000 },
        { "Age: 3000\r\nCache-Control: max-age=3600\r\n", 600000 },
    };
    struct signer signer = signer_make(JWT_ES256, "one");
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct key_sets *sets = start();
        uint64_t before_ms = key_sets_now_ms();
        issuer_publishes(rows[i].fields, &signer);
        struct key_set_source *source = use_url(sets, "/fresh");
        WAIT_FOR(key_set_source_version(source) != 0);
        key_sets_stop(sets);
        uint64_t after_ms = source->next_ms - before_ms;
        if (after_ms < rows[i].lifetime_ms / 2 || after_ms > rows[i].lifetime_ms + 5000)
            fail_msg("row %zu: %llu ms", i, (unsigned long long)after_ms);
        key_set_source_drop(source);
        key_sets_destroy(sets);
    }
    signer_release(&signer);
}

static void see_name(void *argument, const struct key_set_state *seen)
{
    char *copy = memory_copy_slice(slice_from_cstring(seen->name));
    free(*(char **)argument);
    *(char **)argument = copy;
    assert_int_equal(seen->keys, 1);
    assert_false(seen->is_failing);
}

static void a_name_holds_no_password_and_no_query(void **state)
{
    struct signer signer = signer_make(JWT_ES256, "one");
    struct key_sets *sets = start();
    char *name = NULL;
    issuer_publishes("", &signer);
    struct key_set_source *source = use_url(sets, "/keys?token=geheim");
    WAIT_FOR(key_set_source_version(source) != 0);
    key_sets_visit(sets, see_name, &name);
    char *expected = memory_format("http://127.0.0.1:%u/keys", issuer.port);
    assert_string_equal(name, expected);
    key_set_source_drop(source);
    key_sets_destroy(sets);
    signer_release(&signer);
    free(name), free(expected);
}

static void a_missing_key_is_looked_for_once_within_the_cool_down(void **state)
{
    struct signer old = signer_make(JWT_ES256, "old"), new = signer_make(JWT_ES256, "new");
    struct key_sets *sets = start();
    struct waiter waiters[20] = { 0 };
    issuer_publishes("ETag: \"v1\"\r\n", &old);
    struct key_set_source *source = use_url(sets, "/rotating");
    WAIT_FOR(key_set_source_version(source) != 0);
    uint64_t version = key_set_source_version(source);
    unsigned before = issuer_was_asked();
    issuer_publishes("ETag: \"v2\"\r\n", &new);
    pthread_mutex_lock(&issuer.lock);
    issuer.delay_ms = 2000; /* so that all of them come while it is under way, on a machine that is busy too */
    pthread_mutex_unlock(&issuer.lock);
    for (size_t i = 0; i < COUNT_OF(waiters); i++) {
        waiters[i].cool_down_ms = 60000;
        assert_int_equal(ask(source, &waiters[i]), KEY_SET_ASKED);
    }
    for (size_t i = 0; i < COUNT_OF(waiters); i++) WAIT_FOR(atomic_load(&waiters[i].answers) == 1);
    assert_int_equal(issuer_was_asked() - before, 1);
    assert_true(key_set_source_version(source) != version);
    assert_non_null(strstr(issuer.last, "If-None-Match: \"v1\""));
    /* A storm of names that nobody knows reaches no issuer, and waits for nothing. */
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(key_set_source_may_ask(source, 60000), KEY_SET_RECENT);
        assert_int_equal(ask(source, &waiters[0]), KEY_SET_RECENT);
    }
    assert_int_equal(issuer_was_asked() - before, 1);
    assert_int_equal(atomic_load(&waiters[0].answers), 1);
    key_set_source_drop(source);
    key_sets_destroy(sets);
    signer_release(&old);
    signer_release(&new);
}

/* Two policies of one URL: the cool-down that was compiled last used to be both's. */
static void who_shares_a_source_keeps_an_own_cool_down(void **state)
{
    struct signer signer = signer_make(JWT_ES256, "one");
    struct key_sets *sets = start();
    struct waiter patient = { .cool_down_ms = 3600000 }, hasty = { .cool_down_ms = 1 };
    issuer_publishes("", &signer);
    struct key_set_source *source = use_url(sets, "/shared"), *again = use_url(sets, "/shared");
    assert_ptr_equal(source, again);
    WAIT_FOR(key_set_source_version(source) != 0);
    WAIT_FOR(key_set_source_may_ask(source, 3600000) == KEY_SET_ASKED);
    assert_int_equal(ask(source, &patient), KEY_SET_ASKED);
    WAIT_FOR(atomic_load(&patient.answers) == 1);
    unsigned before = issuer_was_asked();
    for (unsigned i = 1; i <= 3; i++) {
        usleep(2000);
        assert_int_equal(ask(source, &patient), KEY_SET_RECENT);
        assert_int_equal(ask(source, &hasty), KEY_SET_ASKED);
        WAIT_FOR(atomic_load(&hasty.answers) == i);
        assert_int_equal(issuer_was_asked() - before, i);
    }
    assert_int_equal(atomic_load(&patient.answers), 1);
    /* Whom the look was for is no matter: it was one. */
    hasty.cool_down_ms = 60000;
    assert_int_equal(ask(source, &hasty), KEY_SET_RECENT);
    key_set_source_drop(again);
    key_set_source_drop(source);
    key_sets_destroy(sets);
    signer_release(&signer);
}

static void what_has_not_changed_stays_with_a_304(void **state)
{
    struct signer signer = signer_make(JWT_ES256, "one");
    struct key_sets *sets = start();
    struct waiter waiter = { 0 };
    struct key_set_figures figures;
    issuer_publishes("ETag: W/\"a b\"\r\n", &signer);
    struct key_set_source *source = use_url(sets, "/same");
    WAIT_FOR(key_set_source_version(source) != 0);
    uint64_t version = key_set_source_version(source);
    issuer_says("304 Not Modified", "Cache-Control: max-age=60\r\n", "");
    WAIT_FOR(key_set_source_may_ask(source, 1) == KEY_SET_ASKED);
    assert_int_equal(ask(source, &waiter), KEY_SET_ASKED);
    WAIT_FOR(atomic_load(&waiter.answers) == 1);
    assert_true(key_set_source_version(source) == version);
    assert_false(key_set_source_is_failing(source));
    key_sets_figures(sets, &figures);
    assert_int_equal(figures.fetched, 1);
    assert_int_equal(figures.unchanged, 1);
    assert_int_equal(figures.failed, 0);
    key_set_source_drop(source);
    key_sets_destroy(sets);
    signer_release(&signer);
}

/* What an issuer answers while it isn't well: each leaves the set in force, and whoever asks learns that it is away. */
static void a_set_stays_while_its_issuer_is_not_well(void **state)
{
    static const struct {
        const char *status, *fields, *body;
    } rows[] = {
        { "500 Internal Server Error", "", "{}" },
        { "404 Not Found", "", "<html>" },
        { "200 OK", "", "<html>nothing here" },
        { "200 OK", "", "{\"keys\":[]}" },
        { "200 OK", "", "{\"keys\":[{\"kty\":\"oct\",\"k\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}]}" },
        { "200 OK", "Content-Encoding: gzip\r\n", "\x1f\x8b garbage" },
        { "302 Found", "Location: file:///etc/passwd\r\n", "" },
        { "302 Found", "Location: /same-again\r\n", "" },
        { "304 Not Modified", "", "" },
        { "200 OK", "Content-Length: 99999999\r\n", "{}" },
    };
    struct signer signer = signer_make(JWT_ES256, "one");
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct key_sets *sets = start();
        struct waiter waiter = { 0 };
        issuer_publishes("", &signer); /* without ETag, so that a 304 is none */
        struct key_set_source *source = use_url(sets, "/unwell");
        WAIT_FOR(key_set_source_version(source) != 0);
        uint64_t version = key_set_source_version(source);
        issuer_says(rows[i].status, rows[i].fields, rows[i].body);
        WAIT_FOR(key_set_source_may_ask(source, 1) == KEY_SET_ASKED);
        assert_int_equal(ask(source, &waiter), KEY_SET_ASKED);
        WAIT_FOR(atomic_load(&waiter.answers) == 1);
        if (!key_set_source_is_failing(source)) fail_msg("row %zu", i);
        assert_true(key_set_source_version(source) == version);
        assert_int_equal(ask(source, &waiter), KEY_SET_AWAY); /* until it is tried again */
        /* It comes back by itself. */
        issuer_publishes("", &signer);
        if (i == 0) WAIT_FOR(!key_set_source_is_failing(source));
        key_set_source_drop(source);
        key_sets_destroy(sets);
    }
    signer_release(&signer);
}

/* One policy of two doesn't believe keys for as long as the issuer says: for its sake they are confirmed in time, from the moment on that it is there. */
static void keys_are_asked_for_again_ahead_of_the_age_that_somebody_bears(void **state)
{
    struct signer signer = signer_make(JWT_ES256, "one");
    struct key_sets *sets = start();
    struct error error;
    char *url = memory_format("http://127.0.0.1:%u/aging", issuer.port);
    const struct key_set_location location = { .url = slice_from_cstring(url) };
    struct key_set_bound bound = { .age_ms_max = 0 };
    issuer_publishes("Cache-Control: max-age=3600\r\n", &signer);
    struct key_set_source *any = key_set_source_use(sets, &location, &error);
    WAIT_FOR(key_set_source_right_ms(any) != 0);
    unsigned before = issuer_was_asked();
    uint64_t right_ms = key_set_source_right_ms(any);
    struct key_set_source *young = key_set_source_use(sets, &location, &error);
    assert_ptr_equal(any, young);
    key_set_source_bind(young, &bound, 400);
    WAIT_FOR(key_set_source_right_ms(young) > right_ms);
    WAIT_FOR(issuer_was_asked() >= before + 2);
    assert_true(key_sets_now_ms() - right_ms >= 2 * 300); /* three quarters of it, twice */
    assert_false(key_set_source_is_failing(young));
    key_set_source_unbind(young, &bound);
    key_set_source_drop(young);
    key_set_source_drop(any);
    key_sets_stop(sets);
    key_sets_destroy(sets);
    free(url);
    signer_release(&signer);
}

/* Right is what the issuer gave, at the time at which he gave it: here longer ago than this machine may have run. Nobody asks more often for that. */
static void what_comes_out_of_a_cache_was_right_when_it_was_given(void **state)
{
    struct signer signer = signer_make(JWT_ES256, "one");
    struct key_sets *sets = start();
    struct key_set_bound bound = { .age_ms_max = 0 };
    const uint64_t age_ms = UINT64_C(1000000000) * 1000;
    issuer_publishes("Age: 1000000000\r\nCache-Control: max-age=2000000000\r\n", &signer);
    struct key_set_source *source = use_url(sets, "/cached");
    key_set_source_bind(source, &bound, 8000);
    WAIT_FOR(key_set_source_right_ms(source) != 0);
    unsigned before = issuer_was_asked();
    assert_true(key_set_source_is_older(source, age_ms - 1000, key_sets_now_ms()));
    assert_false(key_set_source_is_older(source, age_ms + 60000, key_sets_now_ms()));
    assert_false(key_set_source_is_older(source, age_ms + 60000, key_sets_now_ms() - 1000));
    usleep(500000);
    assert_int_equal(issuer_was_asked(), before);
    key_set_source_unbind(source, &bound);
    key_set_source_drop(source);
    key_sets_destroy(sets);
    signer_release(&signer);
}

/* The least of those that count counts, and when it goes the least of the others: also of what was raised. */
static void an_age_counts_as_long_as_somebody_bears_no_more(void **state)
{
    struct signer signer = signer_make(JWT_ES256, "one");
    struct key_sets *sets = start();
    struct key_set_bound first = { .age_ms_max = 0 }, second = first, never = first;
    issuer_publishes("Cache-Control: max-age=3600\r\n", &signer);
    struct key_set_source *source = use_url(sets, "/bounds");
    assert_true(source->age_ms_max == 0);
    key_set_source_bind(source, &first, 60000);
    key_set_source_bind(source, &second, 300);
    assert_true(source->age_ms_max == 300);
    WAIT_FOR(key_set_source_right_ms(source) != 0);
    unsigned before = issuer_was_asked();
    WAIT_FOR(issuer_was_asked() >= before + 2);
    key_set_source_unbind(source, &never);
    assert_true(source->age_ms_max == 300);
    key_set_source_unbind(source, &second);
    assert_true(source->age_ms_max == 60000);
    WAIT_FOR(!source->is_fetching);
    before = issuer_was_asked();
    usleep(900000);
    assert_true(issuer_was_asked() <= before + 1); /* one may have been on its way */
    key_set_source_bind(source, &second, 90000);
    assert_true(source->age_ms_max == 60000);
    key_set_source_unbind(source, &first);
    assert_true(source->age_ms_max == 90000);
    key_set_source_unbind(source, &second);
    assert_true(source->age_ms_max == 0);
    key_set_source_drop(source);
    key_sets_destroy(sets);
    signer_release(&signer);
}

static void an_answer_without_end_is_cut_at_its_bound(void **state)
{
    struct key_sets *sets = start();
    struct key_set_figures figures;
    pthread_mutex_lock(&issuer.lock);
    snprintf(issuer.answer, sizeof issuer.answer, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{\"keys\":[");
    issuer.is_endless = true;
    pthread_mutex_unlock(&issuer.lock);
    uint64_t begun_ns = clock_monotonic_ns();
    struct key_set_source *source = use_url(sets, "/endless");
    do {
        usleep(1000);
        key_sets_figures(sets, &figures);
    } while (figures.failed == 0 && clock_monotonic_ns() - begun_ns < UINT64_C(8000000000));
    assert_int_equal(figures.failed, 1);
    assert_true(key_set_source_version(source) == 0 && key_set_source_is_failing(source));
    key_set_source_drop(source);
    key_sets_destroy(sets);
}

/* Who waits for an issuer that doesn't answer is told when the gateway ends or the source goes. */
static void whoever_waits_is_answered_when_all_ends(void **state)
{
    struct key_sets *sets = start();
    struct waiter first = { 0 }, second = { 0 };
    int silent = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0); /* accepts by its queue, and says nothing */
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
    socklen_t size = sizeof address;
    assert_int_equal(bind(silent, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(silent, 8), 0);
    assert_int_equal(getsockname(silent, (struct sockaddr *)&address, &size), 0);
    char *url = memory_format("http://127.0.0.1:%u/", ntohs(address.sin_port)), *other = memory_format("%sother", url);
    const struct key_set_location one = { .url = slice_from_cstring(url) }, two = { .url = slice_from_cstring(other) };
    struct error error;
    struct key_set_source *leaving = key_set_source_use(sets, &one, &error),
                          *staying = key_set_source_use(sets, &two, &error);
    assert_int_equal(ask(leaving, &first), KEY_SET_ASKED);
    assert_int_equal(ask(staying, &second), KEY_SET_ASKED);
    usleep(50000);
    assert_int_equal(atomic_load(&first.answers), 0);
    key_set_source_drop(leaving);
    WAIT_FOR(atomic_load(&first.answers) == 1);
    assert_int_equal(atomic_load(&second.answers), 0);
    key_sets_stop(sets);
    assert_int_equal(atomic_load(&second.answers), 1);
    key_set_source_drop(staying);
    key_sets_destroy(sets);
    close(silent);
    free(url), free(other);
}

static void write_file(const char *path, const struct signer *signer)
{
    char *jwk = signer ? signer_jwk(signer, "") : memory_copy_slice(SLICE("broken")),
         *next = memory_format("%s.next", path);
    FILE *file = fopen(next, "w");
    assert_non_null(file);
    fputs(jwk, file);
    fclose(file);
    assert_int_equal(rename(next, path), 0);
    free(jwk), free(next);
}

static void a_file_is_read_at_once_and_again_when_it_changes(void **state)
{
    struct signer one = signer_make(JWT_ES256, "one"), two = signer_make(JWT_ES256, "two");
    char folder[] = "/tmp/sluice-key-sets-XXXXXX";
    struct waiter waiter = { 0 };
    struct error error;
    assert_non_null(mkdtemp(folder));
    char *path = memory_format("%s/keys.json", folder);
    struct key_sets *sets = start();
    const struct key_set_location location = { .path = slice_from_cstring(path) };
    assert_null(key_set_source_use(sets, &location, &error));
    assert_non_null(strstr(error.text, "no such file"));
    write_file(path, NULL);
    assert_null(key_set_source_use(sets, &location, &error));
    assert_null(key_set_read_file(location.path, &error));
    write_file(path, &one);
    struct key_set_source *source = key_set_source_use(sets, &location, &error);
    assert_non_null(source);
    uint64_t first = key_set_source_version(source);
    assert_true(first != 0);
    /* A token that names a new key makes it look at once; nobody waits for the next round. */
    write_file(path, &two);
    WAIT_FOR(key_set_source_may_ask(source, 1) == KEY_SET_ASKED);
    assert_int_equal(ask(source, &waiter), KEY_SET_ASKED);
    WAIT_FOR(atomic_load(&waiter.answers) >= 1);
    WAIT_FOR(key_set_source_version(source) != first);
    uint64_t second = key_set_source_version(source);
    /* A bad one leaves the keys, a good one brings it back by itself. */
    write_file(path, NULL);
    WAIT_FOR(key_set_source_is_failing(source));
    assert_true(key_set_source_version(source) == second);
    write_file(path, &one);
    WAIT_FOR(!key_set_source_is_failing(source));
    assert_true(key_set_source_version(source) == first);
    key_set_source_drop(source);
    key_sets_destroy(sets);
    unlink(path);
    rmdir(folder);
    free(path);
    signer_release(&one);
    signer_release(&two);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_is_fresh_as_long_as_it_says),
        cmocka_unit_test(an_answer_is_as_old_as_it_says),
        cmocka_unit_test(it_is_fetched_ahead_of_its_end_and_again_with_growing_pauses),
        cmocka_unit_test(a_set_is_fetched_once_for_all_who_use_it),
        cmocka_unit_test(what_the_answers_head_says_of_its_end_is_followed),
        cmocka_unit_test(a_name_holds_no_password_and_no_query),
        cmocka_unit_test(a_missing_key_is_looked_for_once_within_the_cool_down),
        cmocka_unit_test(who_shares_a_source_keeps_an_own_cool_down),
        cmocka_unit_test(what_has_not_changed_stays_with_a_304),
        cmocka_unit_test(a_set_stays_while_its_issuer_is_not_well),
        cmocka_unit_test(keys_are_asked_for_again_ahead_of_the_age_that_somebody_bears),
        cmocka_unit_test(what_comes_out_of_a_cache_was_right_when_it_was_given),
        cmocka_unit_test(an_age_counts_as_long_as_somebody_bears_no_more),
        cmocka_unit_test(an_answer_without_end_is_cut_at_its_bound),
        cmocka_unit_test(whoever_waits_is_answered_when_all_ends),
        cmocka_unit_test(a_file_is_read_at_once_and_again_when_it_changes),
    };
    return cmocka_run_group_tests(tests, start_issuer, stop_issuer);
}
