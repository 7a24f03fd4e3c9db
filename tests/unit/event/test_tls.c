#include "unit_test.h"

#include "base/memory.h"
#include "event/stream.h"
#include "event/tls.h"

#include "certificates.h"

#include <errno.h>
#include <openssl/err.h>
#include <poll.h>
#include <unistd.h>

/* The server is a stream with a session of ours. The client is an OpenSSL over memory in our hands, so that what it says crosses the wire
 * as and when a test likes: whole, byte by byte, cut short, spoilt. */
struct side {
    struct stream stream;
    int told; /* how often on_ready ran */
};

static struct loop loop;
static SSL_CTX *server_context, *client_context;
static struct side server;
static int wire; /* the client's end of the connection */
static SSL *client;
static BIO *to_client, *from_client;

static void count_ready(struct stream *stream) { CONTAINER_OF(stream, struct side, stream)->told++; }

static void make_connection(int ends[2])
{
    struct address address, peer;
    assert_true(address_parse(SLICE("127.0.0.1:0"), &address));
    int listener = socket_listen(&address, 16, NULL);
    socklen_t length = sizeof address;
    assert_int_equal(getsockname(listener, &address.any, &length), 0);
    ends[1] = socket_connect(&address, NULL);
    assert_int_equal(poll(&(struct pollfd){ .fd = listener, .events = POLLIN }, 1, 5000), 1);
    ends[0] = socket_accept(listener, &peer);
    assert_int_equal(poll(&(struct pollfd){ .fd = ends[1], .events = POLLOUT }, 1, 5000), 1);
    close(listener);
}

static void start_client(void)
{
    client = SSL_new(client_context);
    to_client = BIO_new(BIO_s_mem());
    from_client = BIO_new(BIO_s_mem());
    SSL_set_bio(client, to_client, from_client);
    SSL_set_connect_state(client);
}

static int set_up(void **state)
{
    int ends[2];
    if (!loop_init(&loop, NULL)) return -1;
    server_context = tls_context_create(TLS_SERVER);
    client_context = tls_context_create(TLS_CLIENT);
    give_certificate(server_context, "localhost");
    make_connection(ends);
    wire = ends[1];
    server = (struct side){ 0 };
    if (!stream_open(&server.stream, &loop, ends[0], false, count_ready, NULL)) return -1;
    stream_set_tls(&server.stream, tls_session_create(server_context, TLS_SERVER));
    start_client();
    return 0;
}

static int tear_down(void **state)
{
    stream_close(&server.stream, false);
    if (wire >= 0) close(wire);
    SSL_free(client);
    SSL_CTX_free(server_context);
    SSL_CTX_free(client_context);
    loop_release(&loop);
    return 0;
}

/* --- the client's hands --- */

static void client_closes(bool reset)
{
    if (reset) socket_reset_on_close(wire);
    close(wire);
    wire = -1;
}

static void wire_takes(const void *bytes, size_t length)
{
    assert_int_equal(send(wire, bytes, length, MSG_NOSIGNAL), (ssize_t)length);
}

/* What the client has said goes out, `at_most` bytes of it. */
static size_t client_sends(size_t at_most)
{
    static char bytes[1 << 16];
    int length = BIO_read(from_client, bytes, (int)(at_most < sizeof bytes ? at_most : sizeof bytes));
    if (length <= 0) return 0;
    wire_takes(bytes, (size_t)length);
    return (size_t)length;
}

/* What has come on the wire goes to the client. False: the server has finished. */
static bool client_receives(void)
{
    char bytes[4096];
    for (;;) {
        ssize_t got = recv(wire, bytes, sizeof bytes, MSG_DONTWAIT);
        if (got <= 0) return got != 0;
        BIO_write(to_client, bytes, (int)got);
    }
}

static void client_says(const char *text)
{
    assert_int_equal(SSL_write(client, text, (int)strlen(text)), strlen(text));
    while (client_sends(SIZE_MAX) > 0) {}
}

static void client_hears(const char *expected)
{
    char heard[64];
    size_t length = strlen(expected), filled = 0;
    for (int i = 0; i < 500 && filled < length; i++) {
        client_receives();
        int got = SSL_read(client, heard + filled, (int)(length - filled));
        if (got > 0) filled += (size_t)got;
        if (got <= 0) loop_turn(&loop, 10);
    }
    assert_int_equal(filled, length);
    assert_memory_equal(heard, expected, length);
}

/* Both go on until the server has an outcome. */
static enum stream_result shake_hands(size_t bytes_at_a_time, struct error *error)
{
    enum stream_result result = STREAM_WAIT;
    for (int i = 0; i < 20000 && result == STREAM_WAIT; i++) {
        SSL_do_handshake(client);
        client_sends(bytes_at_a_time);
        loop_turn(&loop, 1);
        result = stream_handshake(&server.stream, error);
        client_receives();
    }
    return result;
}

static void be_connected(void)
{
    assert_int_equal(shake_hands(SIZE_MAX, NULL), STREAM_OK);
    SSL_do_handshake(client);
    while (client_sends(SIZE_MAX) > 0) {}
}

/* --- the server's hands --- */

/* Turns the loop until reading says something else than "wait". */
static enum stream_result hear(void *into, size_t size, size_t *moved)
{
    enum stream_result result = STREAM_WAIT;
    for (int i = 0; i < 500 && (result = stream_read(&server.stream, into, size, moved)) == STREAM_WAIT; i++) {
        loop_turn(&loop, 10);
    }
    return result;
}

static enum stream_result say(const char *text)
{
    size_t moved;
    struct iovec piece = { (char *)text, strlen(text) };
    enum stream_result result = stream_write(&server.stream, &piece, 1, &moved);
    assert_true(result != STREAM_OK || moved == strlen(text));
    return result;
}

static void server_hears(const char *expected)
{
    char heard[64];
    size_t moved;
    assert_int_equal(hear(heard, sizeof heard, &moved), STREAM_OK);
    assert_int_equal(moved, strlen(expected));
    assert_memory_equal(heard, expected, moved);
}

/* --- the handshake --- */

static void bytes_go_both_ways_in_tls_1_3(void **state)
{
    be_connected();
    assert_string_equal(tls_session_version(server.stream.tls), "1.3");
    assert_false(tls_session_was_resumed(server.stream.tls));
    assert_true(slice_is_absent(tls_session_protocol(server.stream.tls)));
    assert_false(stream_can_splice(&server.stream));
    client_says("question");
    server_hears("question");
    assert_int_equal(say("answer"), STREAM_OK);
    client_hears("answer");
}

static void bytes_go_both_ways_in_tls_1_2(void **state)
{
    SSL_set_max_proto_version(client, TLS1_2_VERSION);
    be_connected();
    assert_string_equal(tls_session_version(server.stream.tls), "1.2");
    client_says("question");
    server_hears("question");
    assert_int_equal(say("answer"), STREAM_OK);
    client_hears("answer");
}

static void a_handshake_may_come_byte_by_byte(void **state)
{
    assert_int_equal(shake_hands(1, NULL), STREAM_OK);
    client_says("hello");
    server_hears("hello");
}

/* Its Finished and its first request come in one segment: the read that takes the one takes the other. */
static void what_comes_with_the_last_of_the_handshake_is_told_without_another_event(void **state)
{
    enum stream_result result = STREAM_WAIT;
    for (int i = 0; i < 500 && !SSL_is_init_finished(client); i++) {
        SSL_do_handshake(client);
        if (SSL_is_init_finished(client)) break;
        client_sends(SIZE_MAX);
        loop_turn(&loop, 1);
        assert_int_equal(stream_handshake(&server.stream, NULL), STREAM_WAIT);
        client_receives();
    }
    assert_int_equal(SSL_write(client, "early bird", 10), 10);
    while (client_sends(SIZE_MAX) > 0) {}
    for (int i = 0; i < 500 && result == STREAM_WAIT; i++) {
        loop_turn(&loop, 10);
        result = stream_handshake(&server.stream, NULL);
    }
    assert_int_equal(result, STREAM_OK);
    assert_true(server.stream.may_read);
    struct tls_session *session = server.stream.tls;
    int descriptor = stream_detach(&server.stream);
    server = (struct side){ 0 };
    assert_true(stream_open(&server.stream, &loop, descriptor, false, count_ready, NULL));
    stream_set_tls(&server.stream, session);
    loop_turn(&loop, 0);
    assert_int_equal(server.told, 1);
    server_hears("early bird");
}

static void expect_failure(const char *reason, const char *words)
{
    struct error error = { 0 };
    assert_int_equal(shake_hands(SIZE_MAX, &error), STREAM_FAIL);
    assert_string_equal(error.reason, reason);
    assert_non_null(strstr(error.text, words));
    assert_int_equal(error.blame, BLAME_CLIENT);
    assert_true(server.stream.failed);
    assert_int_equal(ERR_peek_error(), 0);
}

static void a_client_of_another_version_is_told_so(void **state)
{
    SSL_CTX_set_min_proto_version(server_context, TLS1_3_VERSION);
    stream_close(&server.stream, false);
    tear_down(state);
    set_up(state);
    SSL_set_min_proto_version(tls_session_ssl(server.stream.tls), TLS1_3_VERSION);
    SSL_set_max_proto_version(client, TLS1_2_VERSION);
    expect_failure("no-common-version", "no TLS version that is allowed");
    assert_int_equal(SSL_do_handshake(client), -1);
    assert_int_equal(ERR_GET_REASON(ERR_peek_error()), SSL_R_TLSV1_ALERT_PROTOCOL_VERSION);
    ERR_clear_error();
}

static void a_client_without_a_common_cipher_is_told_so(void **state)
{
    SSL_set_max_proto_version(client, TLS1_2_VERSION);
    assert_int_equal(SSL_set_cipher_list(client, "ECDHE-ECDSA-AES128-SHA256"), 1);
    expect_failure("no-common-cipher", "tls: the client offers no common cipher");
}

static void plain_http_is_known_by_its_first_words(void **state)
{
    static const char *requests[] = { "GET / HTTP/1.1\r\n\r\n", "DELETE /x HTTP/1.1\r\n", "PROPPATCH / HTTP/1.1\r\n" };
    for (size_t i = 0; i < COUNT_OF(requests); i++) {
        wire_takes(requests[i], strlen(requests[i]));
        struct error error;
        enum stream_result result = STREAM_WAIT;
        for (int turn = 0; turn < 500 && result == STREAM_WAIT; turn++) {
            loop_turn(&loop, 10);
            result = stream_handshake(&server.stream, &error);
        }
        assert_int_equal(result, STREAM_FAIL);
        assert_true(tls_session_met_plain_http(server.stream.tls));
        tear_down(state);
        set_up(state);
    }
}

static void garbage_is_no_plain_http_and_is_refused(void **state)
{
    wire_takes("\x00\x01\x02\x03\x04\x05\x06\x07\x08", 9);
    struct error error = { 0 };
    enum stream_result result = STREAM_WAIT;
    for (int i = 0; i < 500 && result == STREAM_WAIT; i++) {
        loop_turn(&loop, 10);
        result = stream_handshake(&server.stream, &error);
    }
    assert_int_equal(result, STREAM_FAIL);
    assert_string_equal(error.reason, "not-tls");
    assert_false(tls_session_met_plain_http(server.stream.tls));
}

static void a_client_that_leaves_inside_the_handshake_is_a_failure(void **state)
{
    SSL_do_handshake(client);
    client_sends(20);
    client_closes(false);
    struct error error = { 0 };
    enum stream_result result = STREAM_WAIT;
    for (int i = 0; i < 500 && result == STREAM_WAIT; i++) {
        loop_turn(&loop, 10);
        result = stream_handshake(&server.stream, &error);
    }
    assert_int_equal(result, STREAM_FAIL);
    assert_string_equal(error.reason, "closed");
}

/* --- reading --- */

static void a_record_that_comes_byte_by_byte_is_read_when_it_is_whole(void **state)
{
    char heard[8];
    size_t moved = 0;
    be_connected();
    assert_int_equal(SSL_write(client, "whole", 5), 5);
    while (client_sends(1) > 0) {
        loop_turn(&loop, 1);
        enum stream_result result = stream_read(&server.stream, heard, sizeof heard, &moved);
        if (result == STREAM_OK) break;
        assert_int_equal(result, STREAM_WAIT);
    }
    assert_int_equal(BIO_pending(from_client), 0);
    assert_int_equal(moved, 5);
    assert_memory_equal(heard, "whole", 5);
}

/* No event tells of what OpenSSL has already; may_read does. */
static void what_is_left_in_openssl_may_still_be_read(void **state)
{
    char heard[8];
    size_t moved;
    be_connected();
    for (int i = 0; i < 3; i++) assert_int_equal(SSL_write(client, "abcd", 4), 4);
    while (client_sends(SIZE_MAX) > 0) {}
    for (int i = 0; i < 6; i++) {
        assert_int_equal(hear(heard, 2, &moved), STREAM_OK);
        assert_int_equal(moved, 2);
        assert_memory_equal(heard, i % 2 ? "cd" : "ab", 2);
        if (i < 5) assert_true(server.stream.may_read);
    }
    assert_int_equal(stream_read(&server.stream, heard, 2, &moved), STREAM_WAIT);
    assert_false(server.stream.may_read);
}

static void one_read_takes_several_records_and_knows_that_it_has_drained_the_socket(void **state)
{
    char heard[64];
    size_t moved;
    be_connected();
    while (stream_read(&server.stream, heard, sizeof heard, &moved) == STREAM_OK) {}
    for (int i = 0; i < 3; i++) assert_int_equal(SSL_write(client, "abcd", 4), 4);
    while (client_sends(SIZE_MAX) > 0) {}
    assert_int_equal(hear(heard, sizeof heard, &moved), STREAM_OK);
    assert_int_equal(moved, 12);
    assert_false(server.stream.may_read);
}

static void a_goodbye_is_a_clean_end(void **state)
{
    char byte;
    size_t moved;
    be_connected();
    client_says("last words");
    SSL_shutdown(client);
    client_sends(SIZE_MAX);
    client_closes(false);
    server_hears("last words");
    assert_int_equal(hear(&byte, 1, &moved), STREAM_END);
    assert_int_equal(stream_read(&server.stream, &byte, 1, &moved), STREAM_END);
    assert_false(server.stream.failed);
}

/* Anybody on the way could have made that FIN. But a client that only finished sending still gets its answer. */
static void an_end_without_a_goodbye_is_a_failure_of_reading_alone(void **state)
{
    char byte;
    size_t moved;
    be_connected();
    client_says("cut");
    shutdown(wire, SHUT_WR);
    server_hears("cut");
    assert_int_equal(hear(&byte, 1, &moved), STREAM_FAIL);
    assert_int_equal(stream_read(&server.stream, &byte, 1, &moved), STREAM_FAIL);
    assert_false(server.stream.failed);
    assert_int_equal(say("answer"), STREAM_OK);
    client_hears("answer");
}

static void an_end_inside_a_record_is_a_failure(void **state)
{
    char byte;
    size_t moved;
    be_connected();
    assert_int_equal(SSL_write(client, "never whole", 11), 11);
    client_sends(12);
    client_closes(false);
    assert_int_equal(hear(&byte, 1, &moved), STREAM_FAIL);
}

static void a_reset_is_a_failure(void **state)
{
    char byte;
    size_t moved;
    be_connected();
    client_closes(true);
    assert_int_equal(hear(&byte, 1, &moved), STREAM_FAIL);
    assert_true(server.stream.failed);
    assert_int_equal(server.stream.system_error, ECONNRESET);
    assert_int_equal(say("x"), STREAM_FAIL);
}

static void a_spoilt_record_breaks_the_stream_after_what_came_before_it(void **state)
{
    char bytes[256];
    char heard[64];
    size_t moved;
    be_connected();
    client_says("good");
    assert_int_equal(SSL_write(client, "spoilt", 6), 6);
    int length = BIO_read(from_client, bytes, sizeof bytes);
    bytes[length - 1] ^= 1;
    wire_takes(bytes, (size_t)length);
    assert_int_equal(hear(heard, sizeof heard, &moved), STREAM_OK);
    assert_memory_equal(heard, "good", 4);
    assert_int_equal(hear(heard, sizeof heard, &moved), STREAM_FAIL);
    assert_int_equal(server.stream.system_error, EPROTO);
    assert_int_equal(say("x"), STREAM_FAIL);
    assert_int_equal(ERR_peek_error(), 0);
}

/* Key updates are no data, and a peer can send them as fast as we read: they must not keep a turn from ending. */
static void a_flood_of_key_updates_leaves_others_their_turn(void **state)
{
    char heard[8];
    size_t moved = 0;
    be_connected();
    while (stream_read(&server.stream, heard, sizeof heard, &moved) == STREAM_OK) {}
    for (int i = 0; i < 6000; i++) {
        SSL_key_update(client, SSL_KEY_UPDATE_NOT_REQUESTED);
        assert_int_equal(SSL_do_handshake(client), 1);
    }
    assert_int_equal(SSL_write(client, "at last", 7), 7);
    int waits = 0;
    enum stream_result result = STREAM_WAIT;
    for (int i = 0; i < 5000 && result == STREAM_WAIT; i++) {
        while (client_sends(16384) == 16384 && i == 0) {}
        loop_turn(&loop, 10);
        result = stream_read(&server.stream, heard, sizeof heard, &moved);
        if (result == STREAM_WAIT && server.stream.may_read) {
            waits++;
            int before = server.told;
            loop_turn(&loop, 0);
            assert_true(server.told > before); /* by the session, not by the kernel */
        }
    }
    assert_int_equal(result, STREAM_OK);
    assert_memory_equal(heard, "at last", 7);
    assert_true(waits > 0);
}

static void a_client_that_renegotiates_gets_no_handshake(void **state)
{
    char heard[8];
    size_t moved;
    SSL_set_max_proto_version(client, TLS1_2_VERSION);
    SSL_clear_options(client, SSL_OP_NO_RENEGOTIATION);
    be_connected();
    assert_int_equal(SSL_renegotiate(client), 1);
    SSL_do_handshake(client);
    assert_true(client_sends(SIZE_MAX) > 0);
    for (int i = 0; i < 20 && stream_read(&server.stream, heard, sizeof heard, &moved) == STREAM_WAIT; i++) {
        loop_turn(&loop, 5);
        client_receives();
    }
    SSL_do_handshake(client);
    assert_false(SSL_is_init_finished(client));
    ERR_clear_error();
}

/* --- writing --- */

static int records_heard;

static void count_records(int is_writing, int version, int type, const void *bytes, size_t length, SSL *ssl, void *arg)
{
    if (!is_writing && type == SSL3_RT_HEADER && length == 5 && *(const char *)bytes == SSL3_RT_APPLICATION_DATA)
        records_heard++;
}

static void a_head_and_a_body_share_a_record(void **state)
{
    char body[2000];
    struct iovec pieces[] = { { (char *)"head", 4 }, { (char *)"", 0 }, { body, sizeof body }, { (char *)"!", 1 } };
    size_t moved, heard = 0;
    memset(body, 'b', sizeof body);
    be_connected();
    client_hears(""); /* tickets */
    assert_int_equal(say("."), STREAM_OK);
    client_hears(".");
    records_heard = 0;
    SSL_set_msg_callback(client, count_records);
    assert_int_equal(stream_write(&server.stream, pieces, 4, &moved), STREAM_OK);
    assert_int_equal(moved, 2005);
    for (int i = 0; i < 500 && heard < 2005; i++) {
        char bytes[4096];
        client_receives();
        int got = SSL_read(client, bytes, sizeof bytes);
        if (got > 0) heard += (size_t)got;
    }
    assert_int_equal(heard, 2005);
    assert_int_equal(records_heard, 1);
}

/* Offers the rest of `bytes` again and again, in pieces of odd sizes, as the socket has room. */
static size_t write_on(const char *bytes, size_t size, size_t sent)
{
    size_t moved, cut = (size - sent) / 3;
    struct iovec pieces[] = { { (char *)bytes + sent, cut }, { (char *)bytes + sent + cut, size - sent - cut } };
    while (sent < size && stream_write(&server.stream, pieces, 2, &moved) == STREAM_OK) {
        sent += moved;
        cut = (size - sent) / 3;
        pieces[0] = (struct iovec){ (char *)bytes + sent, cut };
        pieces[1] = (struct iovec){ (char *)bytes + sent + cut, size - sent - cut };
    }
    return sent;
}

static void expect_all_of_a_long_answer(void)
{
    size_t size = 8 << 20, sent = 0, received = 0;
    char *bytes = memory_allocate(size), *heard = memory_allocate(size);
    int waits = 0;
    for (size_t i = 0; i < size; i++) bytes[i] = (char)(i * 2654435761u >> 13);
    for (int i = 0; i < 100000 && received < size; i++) {
        sent = write_on(bytes, size, sent);
        if (sent < size) {
            assert_false(server.stream.may_write);
            waits++;
        }
        client_receives();
        int got;
        while ((got = SSL_read(client, heard + received, (int)(size - received))) > 0) received += (size_t)got;
        loop_turn(&loop, 1);
    }
    assert_int_equal(received, size);
    assert_memory_equal(heard, bytes, size);
    assert_true(waits > 0);
    free(bytes);
    free(heard);
}

static void a_full_socket_stops_the_writer_and_nothing_is_lost_or_said_twice(void **state)
{
    be_connected();
    expect_all_of_a_long_answer();
}

static void a_client_that_wants_small_records_gets_all_as_well(void **state)
{
    SSL_set_tlsext_max_fragment_length(client, TLSEXT_max_fragment_length_512);
    be_connected();
    expect_all_of_a_long_answer();
}

static void a_half_close_says_goodbye_and_the_client_can_still_speak(void **state)
{
    char byte;
    be_connected();
    assert_int_equal(say("bye"), STREAM_OK);
    stream_finish_writing(&server.stream);
    client_hears("bye");
    bool open = true;
    for (int i = 0; i < 500 && open; i++) {
        open = client_receives();
        loop_turn(&loop, 1);
    }
    assert_false(open);
    assert_int_equal(SSL_read(client, &byte, 1), 0);
    assert_int_equal(SSL_get_error(client, 0), SSL_ERROR_ZERO_RETURN);
    client_says("still here");
    server_hears("still here");
}

/* The goodbye finds no room: it follows when there is, and the FIN behind it. */
static void a_half_close_of_a_full_socket_says_goodbye_later(void **state)
{
    static char bytes[1 << 16];
    struct iovec piece = { bytes, sizeof bytes };
    size_t sent = 0, received = 0, moved;
    be_connected();
    while (stream_write(&server.stream, &piece, 1, &moved) == STREAM_OK) {
        sent += moved;
        piece.iov_len = moved < piece.iov_len ? piece.iov_len - moved : sizeof bytes;
    }
    for (int i = 0; i < 500 && piece.iov_len > 0; i++) { /* the record that was begun */
        if (stream_write(&server.stream, &piece, 1, &moved) == STREAM_OK) {
            sent += moved;
            piece.iov_len -= moved;
        }
        if (piece.iov_len == 0) break;
        client_receives();
        loop_turn(&loop, 1);
    }
    server.stream.may_write = false; /* as if the last of it had filled the socket */
    stream_finish_writing(&server.stream);
    bool open = true;
    for (int i = 0; i < 5000 && open; i++) {
        int got;
        open = client_receives();
        while ((got = SSL_read(client, bytes, sizeof bytes)) > 0) received += (size_t)got;
        server.stream.watches_writing = loop_watch_writing_too(&loop, &server.stream.source);
        loop_turn(&loop, 1);
    }
    assert_false(open);
    assert_int_equal(received, sent);
    assert_int_equal(SSL_get_shutdown(client) & SSL_RECEIVED_SHUTDOWN, SSL_RECEIVED_SHUTDOWN);
}

static void closing_says_goodbye_but_a_reset_does_not(void **state)
{
    char byte;
    for (int reset = 0; reset < 2; reset++) {
        be_connected();
        client_hears("");
        stream_close(&server.stream, reset);
        for (int i = 0; i < 500 && client_receives(); i++) usleep(1000);
        SSL_read(client, &byte, 1);
        assert_int_equal(!!(SSL_get_shutdown(client) & SSL_RECEIVED_SHUTDOWN), !reset);
        tear_down(state);
        set_up(state);
    }
}

/* --- the other side: our client, as pools use it --- */

static struct side own_client;

/* A connection of two streams. */
static void connect_streams(void)
{
    int ends[2];
    make_connection(ends);
    stream_close(&server.stream, false);
    server.told = 0;
    own_client = (struct side){ 0 };
    assert_true(stream_open(&server.stream, &loop, ends[0], false, count_ready, NULL));
    assert_true(stream_open(&own_client.stream, &loop, ends[1], false, count_ready, NULL));
    stream_set_tls(&server.stream, tls_session_create(server_context, TLS_SERVER));
    stream_set_tls(&own_client.stream, tls_session_create(client_context, TLS_CLIENT));
}

static void shake_hands_of_streams(void)
{
    enum stream_result ours = STREAM_WAIT, theirs = STREAM_WAIT;
    struct error error;
    for (int i = 0; i < 500 && (ours == STREAM_WAIT || theirs == STREAM_WAIT); i++) {
        if (theirs == STREAM_WAIT) theirs = stream_handshake(&own_client.stream, &error);
        if (ours == STREAM_WAIT) ours = stream_handshake(&server.stream, &error);
        loop_turn(&loop, 10);
    }
    assert_int_equal(ours, STREAM_OK);
    assert_int_equal(theirs, STREAM_OK);
}

static void session_tickets_are_silence_and_bytes_are_not(void **state)
{
    connect_streams();
    shake_hands_of_streams();
    for (int i = 0; i < 10; i++) loop_turn(&loop, 5); /* the tickets arrive */
    assert_false(stream_is_stale(&own_client.stream));
    assert_int_equal(stream_look(&own_client.stream), STREAM_SILENT);
    assert_false(own_client.stream.may_read);
    own_client.told = 0;
    assert_int_equal(say("unasked"), STREAM_OK);
    enum stream_silence silence = STREAM_SILENT;
    for (int i = 0; i < 500 && silence == STREAM_SILENT; i++) silence = stream_look(&own_client.stream);
    assert_int_equal(silence, STREAM_UNASKED_BYTES);
    char heard[8];
    size_t moved;
    for (int i = 0; i < 500 && !own_client.told; i++)
        loop_turn(&loop, 10); /* looking takes nothing from whoever reads */
    assert_int_equal(stream_read(&own_client.stream, heard, sizeof heard, &moved), STREAM_OK);
    assert_int_equal(moved, 7);
    stream_close(&server.stream, false);
    for (int i = 0; i < 500 && silence != STREAM_PEER_GONE; i++) silence = stream_look(&own_client.stream);
    assert_int_equal(silence, STREAM_PEER_GONE);
    assert_true(stream_is_stale(&own_client.stream));
    stream_close(&own_client.stream, false);
}

static void a_certificate_that_nobody_vouches_for_is_refused_by_our_client(void **state)
{
    connect_streams();
    SSL_set_verify(tls_session_ssl(own_client.stream.tls), SSL_VERIFY_PEER, NULL);
    struct error error = { 0 };
    enum stream_result theirs = STREAM_WAIT;
    for (int i = 0; i < 500 && theirs == STREAM_WAIT; i++) {
        theirs = stream_handshake(&own_client.stream, &error);
        assert_int_not_equal(stream_handshake(&server.stream, NULL), STREAM_OK);
        loop_turn(&loop, 10);
    }
    assert_int_equal(theirs, STREAM_FAIL);
    assert_string_equal(error.reason, "certificate-refused");
    assert_string_equal(error.text, "tls: the certificate of the backend is refused: self-signed certificate");
    assert_int_equal(error.blame, BLAME_UPSTREAM);
    assert_int_equal(error.retry, RETRY_OTHER_INSTANCE);
    stream_close(&own_client.stream, false);
}

/* Closing without waiting for the backend's goodbye must not spoil the session for the next connection. */
static SSL_SESSION *kept;

static int keep_session(SSL *ssl, SSL_SESSION *session)
{
    SSL_SESSION_free(kept);
    kept = session;
    return 1;
}

static void a_session_is_resumed_after_a_connection_that_was_cut(void **state)
{
    kept = NULL;
    SSL_CTX_set_session_cache_mode(client_context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL_STORE);
    SSL_CTX_sess_set_new_cb(client_context, keep_session);
    connect_streams();
    shake_hands_of_streams();
    for (int i = 0; i < 500 && !kept; i++) {
        loop_turn(&loop, 5);
        assert_int_equal(stream_look(&own_client.stream), STREAM_SILENT);
    }
    assert_non_null(kept);
    stream_close(&own_client.stream, true);
    connect_streams();
    assert_int_equal(SSL_set_session(tls_session_ssl(own_client.stream.tls), kept), 1);
    shake_hands_of_streams();
    assert_true(tls_session_was_resumed(own_client.stream.tls));
    assert_true(tls_session_was_resumed(server.stream.tls));
    stream_close(&own_client.stream, false);
    SSL_SESSION_free(kept);
}

int main(void)
{
#define TLS_TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TLS_TEST(bytes_go_both_ways_in_tls_1_3),
        TLS_TEST(bytes_go_both_ways_in_tls_1_2),
        TLS_TEST(a_handshake_may_come_byte_by_byte),
        TLS_TEST(what_comes_with_the_last_of_the_handshake_is_told_without_another_event),
        TLS_TEST(a_client_of_another_version_is_told_so),
        TLS_TEST(a_client_without_a_common_cipher_is_told_so),
        TLS_TEST(plain_http_is_known_by_its_first_words),
        TLS_TEST(garbage_is_no_plain_http_and_is_refused),
        TLS_TEST(a_client_that_leaves_inside_the_handshake_is_a_failure),
        TLS_TEST(a_record_that_comes_byte_by_byte_is_read_when_it_is_whole),
        TLS_TEST(what_is_left_in_openssl_may_still_be_read),
        TLS_TEST(one_read_takes_several_records_and_knows_that_it_has_drained_the_socket),
        TLS_TEST(a_goodbye_is_a_clean_end),
        TLS_TEST(an_end_without_a_goodbye_is_a_failure_of_reading_alone),
        TLS_TEST(an_end_inside_a_record_is_a_failure),
        TLS_TEST(a_reset_is_a_failure),
        TLS_TEST(a_spoilt_record_breaks_the_stream_after_what_came_before_it),
        TLS_TEST(a_flood_of_key_updates_leaves_others_their_turn),
        TLS_TEST(a_client_that_renegotiates_gets_no_handshake),
        TLS_TEST(a_head_and_a_body_share_a_record),
        TLS_TEST(a_full_socket_stops_the_writer_and_nothing_is_lost_or_said_twice),
        TLS_TEST(a_client_that_wants_small_records_gets_all_as_well),
        TLS_TEST(a_half_close_says_goodbye_and_the_client_can_still_speak),
        TLS_TEST(a_half_close_of_a_full_socket_says_goodbye_later),
        TLS_TEST(closing_says_goodbye_but_a_reset_does_not),
        TLS_TEST(session_tickets_are_silence_and_bytes_are_not),
        TLS_TEST(a_certificate_that_nobody_vouches_for_is_refused_by_our_client),
        TLS_TEST(a_session_is_resumed_after_a_connection_that_was_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
