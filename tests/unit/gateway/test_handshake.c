/* From accept to a socket that is ready for a session: how much of it a turn does, and every way it ends. */
#include "unit_test.h"

#include "base/memory.h"
#include "event/certificates.h"
#include "gateway/handshake.h"

#include <errno.h>
#include <openssl/pem.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define CLIENTS_MAX 64
#define STEPS_A_TURN 4

static struct loop loop;
static struct handshakes handshakes;
static struct ticket_ring ring;
static char folder[] = "/tmp/sluice-test-XXXXXX";
static struct entrances *entrances;
static const struct entrance *plain_behind_proxy, *secured;
static int clients[CLIENTS_MAX];
static unsigned done, failed, spoke_plainly, announced;
static bool lets_in;

/* --- what owners hear --- */

static void note_done(struct handshake *handshake, struct session_socket socket, void *owner)
{
    done++;
    tls_session_destroy(socket.tls);
    close(socket.descriptor);
}

static void note_plain(struct handshake *handshake, int descriptor, void *owner)
{
    spoke_plainly++;
    close(descriptor);
}

static void note_failed(struct handshake *handshake, void *owner) { failed++; }

static bool note_announced(struct handshake *handshake, const struct address *client, const struct address *destination,
                           void *owner)
{
    announced++;
    return lets_in;
}

static const struct handshake_events events = { note_announced, note_done, note_plain, note_failed };

/* --- the stage --- */

static void write_files(void)
{
    char path[64];
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = make_certificate(key, "localhost");
    snprintf(path, sizeof path, "%s/a.pem", folder);
    FILE *file = fopen(path, "w");
    assert_int_equal(PEM_write_X509(file, certificate), 1);
    fclose(file);
    snprintf(path, sizeof path, "%s/a.key", folder);
    file = fopen(path, "w");
    assert_int_equal(PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL), 1);
    fclose(file);
    X509_free(certificate);
    EVP_PKEY_free(key);
}

static void make_entrances(void)
{
    struct problems problems;
    struct policy_kinds none = { NULL, 0 };
    struct address address;
    problems_init(&problems, "test.yaml");
    struct configuration *configuration = configuration_load_text(
        SLICE("listeners:\n"
              "  - { address: \"127.0.0.1:1\", proxyProtocol: { from: [\"127.0.0.1\"] } }\n"
              "  - { address: \"127.0.0.1:2\", tls: { certificates: [{ certificate: a.pem, key: a.key }] } }\n"
              "routes: [{ path: /, respond: { status: 200 } }]\n"),
        "test.yaml", folder, &none, &problems);
    if (!configuration) fail_msg("%s", problems_to_text(&problems));
    entrances = entrances_create(configuration, &configuration->certificates, &ring, ENTRANCES_WHOLE, &problems);
    if (!entrances) fail_msg("%s", problems_to_text(&problems));
    configuration_destroy(configuration); /* entrances outlive it */
    problems_release(&problems);
    assert_true(address_parse(SLICE("127.0.0.1:1"), &address));
    plain_behind_proxy = entrances_find(entrances, &address);
    assert_true(address_parse(SLICE("127.0.0.1:2"), &address));
    secured = entrances_find(entrances, &address);
}

static int set_up_all(void **state)
{
    assert_non_null(mkdtemp(folder));
    ticket_ring_init(&ring, 0);
    write_files();
    make_entrances();
    return 0;
}

static int tear_down_all(void **state)
{
    char command[96];
    entrances_drop(entrances);
    ticket_ring_release(&ring);
    snprintf(command, sizeof command, "rm -r %s", folder);
    return system(command); /* NOLINT(cert-env33-c): a folder of our own */
}

static int set_up(void **state)
{
    if (!loop_init(&loop, NULL)) return -1;
    handshakes_init(&handshakes, &loop);
    handshakes.timeout_ms = 10000;
    for (int i = 0; i < CLIENTS_MAX; i++) clients[i] = -1;
    done = failed = spoke_plainly = announced = 0;
    lets_in = true;
    return 0;
}

static int tear_down(void **state)
{
    loop_turn(&loop, 0);
    for (int i = 0; i < CLIENTS_MAX; i++) {
        if (clients[i] >= 0) close(clients[i]);
    }
    assert_int_equal(gauge_read(&handshakes.figures.active), 0);
    assert_int_equal(loop.timers.count, 0);
    loop_release(&loop);
    return 0;
}

static struct handshake *begin(int index, const struct entrance *entrance, const void *bytes, size_t length)
{
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    clients[index] = pair[0];
    if (length) assert_int_equal(write(pair[0], bytes, length), length);
    struct handshake *handshake = handshake_start(&handshakes, pair[1], entrance, &events, NULL);
    assert_non_null(handshake);
    return handshake;
}

/* What a client says first. */
static size_t make_hello(unsigned char *into, size_t size)
{
    SSL_CTX *context = tls_context_create(TLS_CLIENT);
    SSL *client = SSL_new(context);
    BIO *said = BIO_new(BIO_s_mem());
    SSL_set_bio(client, BIO_new(BIO_s_mem()), said);
    SSL_set_connect_state(client);
    assert_int_equal(SSL_do_handshake(client), -1);
    int length = BIO_read(said, into, (int)size);
    SSL_free(client);
    SSL_CTX_free(context);
    return (size_t)length;
}

static bool is_answered(int index)
{
    char byte;
    return recv(clients[index], &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 1;
}

static unsigned count_answered(int count)
{
    unsigned answered = 0;
    for (int i = 0; i < count; i++) answered += is_answered(i);
    return answered;
}

static uint64_t failures(const char *reason)
{
    for (size_t i = 0; handshake_failure_word(i); i++) {
        if (strcmp(handshake_failure_word(i), reason) == 0) return counter_read(&handshakes.figures.failed[i]);
    }
    fail_msg("no reason %s", reason);
    return 0;
}

/* --- the tests --- */

static void a_turn_does_a_few_steps_and_the_others_follow_in_order(void **state)
{
    enum { COUNT = 30 };
    struct handshake *begun[COUNT];
    unsigned char hello[2048];
    size_t length = make_hello(hello, sizeof hello);
    for (int i = 0; i < COUNT; i++) begun[i] = begin(i, secured, hello, length);
    unsigned before = 0, turns = 0;
    while (before < COUNT) {
        loop_turn(&loop, 0);
        unsigned now = count_answered(COUNT);
        assert_in_range(now - before, 0, STEPS_A_TURN);
        for (unsigned i = 0; i < now; i++) assert_true(is_answered((int)i)); /* nobody overtakes */
        before = now;
        assert_true(++turns < 100);
    }
    assert_true(turns >= COUNT / STEPS_A_TURN);
    for (int i = 0; i < COUNT; i++) handshake_abort(begun[i]);
    assert_int_equal(done + failed, 0);
}

static void those_that_wait_for_their_turn_can_be_aborted(void **state)
{
    enum { COUNT = 12 };
    struct handshake *begun[COUNT];
    unsigned char hello[2048];
    size_t length = make_hello(hello, sizeof hello);
    for (int i = 0; i < COUNT; i++) begun[i] = begin(i, secured, hello, length);
    loop_turn(&loop, 0);
    for (int i = COUNT - 1; i >= 0; i--) handshake_abort(begun[i]);
    for (int i = 0; i < 4; i++) loop_turn(&loop, 0);
    assert_int_equal(count_answered(COUNT), STEPS_A_TURN);
}

static void whoever_dawdles_is_closed_in_time(void **state)
{
    char byte;
    handshakes.timeout_ms = 20;
    begin(0, secured, NULL, 0);
    begin(1, plain_behind_proxy, "PROXY ", 6);
    for (int i = 0; i < 100 && failed < 2; i++) loop_turn(&loop, 10);
    assert_int_equal(failed, 2);
    assert_int_equal(failures("timeout"), 1);
    assert_int_equal(counter_read(&handshakes.figures.proxies_mute), 1);
    assert_int_equal(recv(clients[0], &byte, 1, 0), 0);
}

static void plain_http_is_handed_over_in_clear(void **state)
{
    begin(0, secured, "GET / HTTP/1.1\r\n\r\n", 18);
    for (int i = 0; i < 4; i++) loop_turn(&loop, 10);
    assert_int_equal(spoke_plainly, 1);
    assert_int_equal(failures("plain-http"), 1);
}

/* The alert must not be lost in a reset because the client has more to say. */
static void a_client_that_was_refused_is_read_away_for_a_moment(void **state)
{
    static const char sent[] = "\x16\x03\x01\x00\x05\xff\xff\xff\xff\xff";
    char alert[16], more[1024] = { 0 };
    begin(0, secured, sent, sizeof sent - 1);
    for (int i = 0; i < 2; i++) loop_turn(&loop, 0);
    assert_int_equal(failed, 0);
    assert_int_equal(failures("protocol-error"), 1);
    assert_int_equal(write(clients[0], more, sizeof more), sizeof more);
    loop_turn(&loop, 0);
    assert_true(recv(clients[0], alert, sizeof alert, 0) > 0);
    assert_int_equal(alert[0], SSL3_RT_ALERT);
    assert_int_equal(recv(clients[0], alert, sizeof alert, 0), 0);
    assert_int_equal(failed, 0);
    close(clients[0]);
    clients[0] = -1;
    loop_turn(&loop, 10);
    assert_int_equal(failed, 1);
}

static void a_proxy_header_leaves_what_follows_in_the_socket(void **state)
{
    begin(0, plain_behind_proxy, "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nGET", 39);
    loop_turn(&loop, 0);
    assert_int_equal(announced, 1);
    assert_int_equal(done, 1);
}

static void a_client_that_is_not_let_in_is_closed(void **state)
{
    lets_in = false;
    begin(0, plain_behind_proxy, "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", 36);
    loop_turn(&loop, 0);
    assert_int_equal(announced, 1);
    assert_int_equal(done, 0);
    assert_int_equal(failed, 1);
}

/* A reload lets go of the entrance while a handshake is still under way in it. */
static void a_handshake_keeps_its_entrance(void **state)
{
    unsigned char hello[2048];
    struct entrances *before = entrances;
    size_t length = make_hello(hello, sizeof hello);
    struct handshake *handshake = begin(0, secured, NULL, 0);
    make_entrances();
    entrances_drop(before);
    assert_int_equal(write(clients[0], hello, length), length);
    loop_turn(&loop, 10);
    assert_true(is_answered(0));
    handshake_abort(handshake);
}

int main(void)
{
#define HANDSHAKE_TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        HANDSHAKE_TEST(a_turn_does_a_few_steps_and_the_others_follow_in_order),
        HANDSHAKE_TEST(those_that_wait_for_their_turn_can_be_aborted),
        HANDSHAKE_TEST(whoever_dawdles_is_closed_in_time),
        HANDSHAKE_TEST(plain_http_is_handed_over_in_clear),
        HANDSHAKE_TEST(a_client_that_was_refused_is_read_away_for_a_moment),
        HANDSHAKE_TEST(a_proxy_header_leaves_what_follows_in_the_socket),
        HANDSHAKE_TEST(a_client_that_is_not_let_in_is_closed),
        HANDSHAKE_TEST(a_handshake_keeps_its_entrance),
    };
    return cmocka_run_group_tests(tests, set_up_all, tear_down_all);
}
