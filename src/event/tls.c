/* OpenSSL reads and writes through a BIO of ours, which knows what the stream knows: that a short read drained the socket, that a short
 * write filled it. So a record costs one recv, and "nothing more" costs none.
 *
 * Two things may be readable: the socket (socket_may_read), and what OpenSSL has already (records of which it read more than it gave).
 * The stream's may_read covers both: it is cleared only when OpenSSL asked the socket in vain, or has nothing and the socket neither.
 *
 * OpenSSL works on as long as it gets bytes that are no application data (key updates, tickets). The BIO lets it have so many reads a
 * call; then it says "would block", and the session's task goes on in the next turn.
 *
 * A record that the socket took in part is bound: it must be finished with the very bytes it was made of. So what was offered is
 * remembered by its length, and the next write begins with exactly that many (stream.h: offered again, first). */
#include "event/tls.h"

#include "event/private.h"

#include <errno.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>

#define RECORD_BYTES 16384u /* RFC 8446 5.1 */
#define RECEIVES_A_CALL 3   /* one is enough for a whole record, as a rule */
#define FIRST_BYTES 8

enum tls_reading {
    TLS_OPEN,
    TLS_ENDED,     /* close_notify came */
    TLS_TRUNCATED, /* the socket ended without it */
    TLS_BROKEN,    /* bytes that are no TLS */
};

struct tls_session {
    SSL *ssl;
    struct stream *stream; /* NULL: on none at the moment */
    struct task again;
    size_t offered;   /* by the write that found no room; 0: none did */
    int system_error; /* of the socket, met inside this call; 0: none */
    uint8_t side;     /* enum tls_side */
    uint8_t reading;  /* enum tls_reading */
    uint8_t receives; /* in this call */
    bool socket_may_read;
    bool finishing; /* close_notify waits for room; the FIN follows it */
    uint8_t first_count;
    char first[FIRST_BYTES]; /* what the peer began with */
};

/* --- the BIO --- */

static struct tls_session *session_of(BIO *bio) { return BIO_get_data(bio); }

/* What is not TLS at all should be told by its first words. */
static void note_first_bytes(struct tls_session *session, const char *bytes, size_t length)
{
    for (size_t i = 0; i < length && session->first_count < FIRST_BYTES; i++)
        session->first[session->first_count++] = bytes[i];
}

static int bio_read(BIO *bio, char *into, int size)
{
    struct tls_session *session = session_of(bio);
    struct stream *stream = session->stream;
    BIO_clear_retry_flags(bio);
    if (!session->socket_may_read || session->receives >= RECEIVES_A_CALL) {
        BIO_set_retry_read(bio);
        return -1;
    }
    session->receives++;
    ssize_t got = stream_receive_bytes(stream, into, (size_t)size);
    if (got > 0) {
        if (got < size && !stream->peer_finished) session->socket_may_read = false;
        if (UNLIKELY(session->first_count < FIRST_BYTES)) note_first_bytes(session, into, (size_t)got);
        return (int)got;
    }
    if (got == 0) return 0;
    if (errno == EAGAIN) {
        session->socket_may_read = false;
        BIO_set_retry_read(bio);
    } else {
        session->system_error = errno;
    }
    return -1;
}

static int bio_write(BIO *bio, const char *bytes, int length)
{
    struct tls_session *session = session_of(bio);
    struct stream *stream = session->stream;
    BIO_clear_retry_flags(bio);
    if (!stream->may_write) {
        BIO_set_retry_write(bio);
        return -1;
    }
    ssize_t sent = stream_send_bytes(stream, bytes, (size_t)length);
    int system_error = sent < 0 ? errno : 0;
    bool is_full = sent < length && (sent >= 0 || system_error == EAGAIN);
    if (is_full && stream_wait_for_room(stream) == STREAM_FAIL) system_error = stream->system_error;
    if (sent >= 0) return (int)sent;
    if (system_error == EAGAIN)
        BIO_set_retry_write(bio);
    else
        session->system_error = system_error;
    return -1;
}

/* What OpenSSL can't do without: a flush that succeeds. It asks BIO_CTRL_EOF too; 0 there leaves the end to us. */
static long bio_control(BIO *bio, int command, long number, void *argument)
{
    (void)bio, (void)number, (void)argument;
    return command == BIO_CTRL_FLUSH || command == BIO_CTRL_DUP ? 1 : 0;
}

static BIO_METHOD *bio_method;

static void make_bio_method(void)
{
    BIO_METHOD *method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "sluice stream");
    if (!method) return;
    BIO_meth_set_read(method, bio_read);
    BIO_meth_set_write(method, bio_write);
    BIO_meth_set_ctrl(method, bio_control);
    bio_method = method;
}

static BIO *create_bio(struct tls_session *session)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_bio_method);
    BIO *bio = bio_method ? BIO_new(bio_method) : NULL;
    if (!bio) return NULL;
    BIO_set_data(bio, session);
    BIO_set_init(bio, 1);
    return bio;
}

/* --- life --- */

static void go_on(struct task *task)
{
    struct stream *stream = CONTAINER_OF(task, struct tls_session, again)->stream;
    stream->on_ready(stream);
}

struct tls_session *tls_session_create(SSL_CTX *context, enum tls_side side)
{
    struct tls_session *session = calloc(1, sizeof *session);
    if (!session) return NULL;
    session->side = (uint8_t)side;
    session->again.run = go_on;
    session->ssl = SSL_new(context);
    BIO *bio = session->ssl ? create_bio(session) : NULL;
    if (!bio) {
        SSL_free(session->ssl);
        free(session);
        ERR_clear_error();
        return NULL;
    }
    SSL_set_bio(session->ssl, bio, bio);
    if (side == TLS_SERVER)
        SSL_set_accept_state(session->ssl);
    else
        SSL_set_connect_state(session->ssl);
    return session;
}

/* Unless it looks properly ended, OpenSSL takes the session for spoilt and resumes it no more; how a connection ended says nothing about
 * its keys. */
void tls_session_destroy(struct tls_session *session)
{
    if (!session) return;
    SSL_set_shutdown(session->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_free(session->ssl);
    free(session);
}

void tls_attach(struct stream *stream, struct tls_session *session)
{
    session->stream = stream;
    session->socket_may_read = stream->may_read;
    if (!SSL_has_pending(session->ssl)) return;
    stream->may_read = true;
    loop_enqueue(stream->loop, &session->again);
}

void tls_detach(struct tls_session *session)
{
    if (session->stream) loop_dequeue(session->stream->loop, &session->again);
    session->stream = NULL;
}

SSL *tls_session_ssl(const struct tls_session *session) { return session->ssl; }

struct slice tls_session_protocol(const struct tls_session *session)
{
    const unsigned char *name = NULL;
    unsigned length = 0;
    SSL_get0_alpn_selected(session->ssl, &name, &length);
    return slice_of((const char *)name, length);
}

const char *tls_session_version(const struct tls_session *session)
{
    return SSL_version(session->ssl) == TLS1_3_VERSION ? "1.3" : "1.2";
}

bool tls_session_was_resumed(const struct tls_session *session) { return SSL_session_reused(session->ssl); }

/* A method and a space, or as much of one as fits (RFC 9110 9.1). No TLS record begins with a letter. */
bool tls_session_met_plain_http(const struct tls_session *session)
{
    uint8_t letters = 0;
    while (letters < session->first_count && session->first[letters] >= 'A' && session->first[letters] <= 'Z')
        letters++;
    return letters >= 3 &&
           (letters == FIRST_BYTES || (letters < session->first_count && session->first[letters] == ' '));
}

/* --- one call into OpenSSL --- */

/* Before each: what an earlier one left in the thread's queue of errors would be taken for this one's. */
static SSL *enter(struct tls_session *session)
{
    if (UNLIKELY(ERR_peek_error() != 0)) ERR_clear_error();
    session->receives = 0;
    session->system_error = 0;
    return session->ssl;
}

/* The BIO said "would block" to OpenSSL though the socket may have more: the turn's share is used up. */
static void read_later(struct tls_session *session)
{
    if (session->socket_may_read)
        loop_enqueue_next(session->stream->loop, &session->again);
    else
        session->stream->may_read = false;
}

static enum stream_result end_reading(struct tls_session *session, enum tls_reading how)
{
    session->reading = (uint8_t)how;
    session->stream->may_read = session->stream->peer_finished = true;
    return how == TLS_ENDED ? STREAM_END : STREAM_FAIL;
}

/* After a reset, or a write that failed, the kernel has no end to tell of either: an end is one that TLS told. */
static enum stream_result socket_ended(struct tls_session *session)
{
    struct stream *stream = session->stream;
    if (session->system_error) stream_fail(stream, session->system_error);
    return end_reading(session, TLS_TRUNCATED);
}

static enum stream_result break_off(struct tls_session *session)
{
    stream_fail(session->stream, EPROTO);
    ERR_clear_error();
    return end_reading(session, TLS_BROKEN);
}

/* A call that was to read came back with nothing. */
static enum stream_result judge_read(struct tls_session *session, int returned)
{
    switch (SSL_get_error(session->ssl, returned)) {
    case SSL_ERROR_WANT_READ: read_later(session); return STREAM_WAIT;
    case SSL_ERROR_WANT_WRITE:
        return STREAM_WAIT; /* an alert or a key update has no room; the next event is about that */
    case SSL_ERROR_ZERO_RETURN: return end_reading(session, TLS_ENDED);
    case SSL_ERROR_SYSCALL: return socket_ended(session);
    default: return break_off(session);
    }
}

static bool has_more(const struct tls_session *session)
{
    return session->socket_may_read || SSL_has_pending(session->ssl);
}

enum stream_result tls_read(struct stream *stream, void *into, size_t size, size_t *moved)
{
    struct tls_session *session = stream->tls;
    if (session->reading != TLS_OPEN) return session->reading == TLS_ENDED ? STREAM_END : STREAM_FAIL;
    while (*moved < size) {
        size_t got = 0;
        int returned = SSL_read_ex(enter(session), (char *)into + *moved, size - *moved, &got);
        if (returned != 1) {
            enum stream_result result = judge_read(session, returned);
            return *moved > 0 ? STREAM_OK : result;
        }
        *moved += got;
        if (!has_more(session)) {
            stream->may_read = false;
            break;
        }
    }
    return STREAM_OK;
}

/* --- writing --- */

/* Where in the pieces the next record begins. */
struct cursor {
    const struct iovec *piece;
    size_t offset;
};

/* The next `length` bytes, in place where one piece has them all, else copied together: a head and a short body are one record. */
static const void *take_bytes(struct cursor *cursor, size_t length, char joined[RECORD_BYTES])
{
    while (cursor->offset == cursor->piece->iov_len) {
        cursor->piece++;
        cursor->offset = 0;
    }
    const char *at = (const char *)cursor->piece->iov_base + cursor->offset;
    if (cursor->piece->iov_len - cursor->offset >= length) {
        cursor->offset += length;
        return at;
    }
    for (size_t filled = 0; filled < length;) {
        size_t left = cursor->piece->iov_len - cursor->offset;
        size_t part = left < length - filled ? left : length - filled;
        memcpy(joined + filled, (const char *)cursor->piece->iov_base + cursor->offset, part);
        filled += part;
        cursor->offset += part;
        if (cursor->offset == cursor->piece->iov_len && filled < length) {
            cursor->piece++;
            cursor->offset = 0;
        }
    }
    return joined;
}

/* A call that was to write `length` bytes wrote none. */
static enum stream_result judge_write(struct tls_session *session, int returned, size_t length)
{
    switch (SSL_get_error(session->ssl, returned)) {
    case SSL_ERROR_WANT_WRITE:
    case SSL_ERROR_WANT_READ: session->offered = length; return STREAM_WAIT;
    case SSL_ERROR_SYSCALL:
        session->socket_may_read = true;
        return stream_can_not_write(session->stream, session->system_error ? session->system_error : EPIPE);
    default: stream_can_not_write(session->stream, EPROTO); return break_off(session);
    }
}

enum stream_result tls_write(struct stream *stream, const struct iovec *pieces, int count, size_t *moved)
{
    struct tls_session *session = stream->tls;
    char joined[RECORD_BYTES];
    struct cursor cursor = { pieces, 0 };
    size_t total = 0;
    for (int i = 0; i < count; i++) total += pieces[i].iov_len;
    PROMISE(session->offered <= total);
    while (*moved < total) {
        size_t length = total - *moved < RECORD_BYTES ? total - *moved : RECORD_BYTES, sent = 0;
        if (session->offered > 0) length = session->offered;
        struct cursor before = cursor;
        const void *bytes = take_bytes(&cursor, length, joined);
        int returned = SSL_write_ex(enter(session), bytes, length, &sent);
        if (returned != 1) {
            enum stream_result result = judge_write(session, returned, length);
            return *moved > 0 && result == STREAM_WAIT ? STREAM_OK : result;
        }
        session->offered = 0;
        *moved += sent;
        if (UNLIKELY(sent < length)) { /* the peer wants smaller records (RFC 6066 4) */
            cursor = before;
            take_bytes(&cursor, sent, joined);
        }
    }
    return STREAM_OK;
}

/* --- the handshake --- */

static enum stream_result give_up(struct stream *stream, struct error *error)
{
    struct tls_session *session = stream->tls;
    struct tls_failure failure = {
        .side = session->side,
        .system_error = session->system_error ? session->system_error : stream->system_error,
        .verify_result = SSL_get_verify_result(session->ssl),
        .code = ERR_peek_error(),
    };
    tls_describe_failure(&failure, error);
    ERR_clear_error();
    stream_fail(stream, failure.system_error ? failure.system_error : EPROTO);
    end_reading(session, TLS_BROKEN);
    return STREAM_FAIL;
}

enum stream_result stream_handshake(struct stream *stream, struct error *error)
{
    struct tls_session *session = stream->tls;
    if (stream->connecting) return STREAM_WAIT;
    int returned = SSL_do_handshake(enter(session));
    if (returned == 1) {
        stream->may_read = has_more(session);
        return STREAM_OK;
    }
    int why = SSL_get_error(session->ssl, returned);
    bool waits = (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE) && !stream->failed;
    if (!waits) return give_up(stream, error);
    if (why == SSL_ERROR_WANT_READ) read_later(session);
    return STREAM_WAIT;
}

/* --- the end --- */

/* False: it waits for room. Behind a record that is cut there is nothing more to say, nor before the handshake is over. */
static bool say_goodbye(struct tls_session *session)
{
    bool has_been_said = (SSL_get_shutdown(session->ssl) & SSL_SENT_SHUTDOWN) && !session->finishing;
    if (session->stream->failed || session->offered > 0 || has_been_said || SSL_in_init(session->ssl)) return true;
    int returned = SSL_shutdown(enter(session));
    bool waits = returned < 0 && SSL_get_error(session->ssl, returned) == SSL_ERROR_WANT_WRITE;
    ERR_clear_error();
    return !waits;
}

void tls_say_goodbye(struct stream *stream)
{
    if (stream->may_write) (void)say_goodbye(stream->tls);
}

void tls_finish_writing(struct stream *stream)
{
    struct tls_session *session = stream->tls;
    session->finishing = !say_goodbye(session);
    if (!session->finishing) shutdown(stream->source.descriptor, SHUT_WR);
    stream->may_write = false;
}

void tls_socket_ready(struct stream *stream, bool may_read, bool may_write)
{
    struct tls_session *session = stream->tls;
    session->socket_may_read |= may_read;
    if (session->finishing && may_write) tls_finish_writing(stream);
}

void tls_look_again(struct tls_session *session) { session->socket_may_read = true; }

/* What was found has left the socket, and the kernel drops the event that would have told of it: so we do. */
static enum stream_silence found_bytes(struct stream *stream)
{
    if (!stream->may_read) loop_enqueue(stream->loop, &stream->tls->again);
    stream->may_read = true;
    return STREAM_UNASKED_BYTES;
}

enum stream_silence tls_look(struct stream *stream)
{
    struct tls_session *session = stream->tls;
    char byte;
    size_t got;
    if (session->reading != TLS_OPEN) return STREAM_PEER_GONE;
    tls_look_again(session);
    int returned = SSL_peek_ex(enter(session), &byte, sizeof byte, &got);
    if (returned == 1) return found_bytes(stream);
    return judge_read(session, returned) == STREAM_WAIT ? STREAM_SILENT : STREAM_PEER_GONE;
}
