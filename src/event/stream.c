/* What edge-triggered epoll asks of us: after an event, read (or write) until the kernel has no more to give (or room), because
 * no second event tells of the rest. A short read means "no more" without the extra call that would return EAGAIN; except where
 * the end came along with the data, as one event: then only the read that returns 0 or an error is the last.
 *
 * Each public call that moves bytes has the checks in common and then the plain socket's way, or that of TLS (tls.c). */
#include "event/private.h"

#include "event/tls.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define JOINED_BYTES_MAX 1024
#define PEER_FINISHED (EPOLLRDHUP | EPOLLHUP | EPOLLERR)

void stream_fail(struct stream *stream, int system_error)
{
    stream->failed = true;
    stream->system_error = system_error;
}

/* The owner is told only of what it doesn't know yet: each event repeats that the socket is writable. The pending error is asked
 * for where there is one, since reading alone can't tell a reset that follows the peer's FIN. */
static void stream_ready(struct event_source *source, uint32_t events)
{
    struct stream *stream = CONTAINER_OF(source, struct stream, source);
    bool finished = events & PEER_FINISHED;
    bool may_read = finished || events & EPOLLIN;
    bool may_write = finished || events & EPOLLOUT;
    bool was_connecting = stream->connecting, had_failed = stream->failed;
    if (was_connecting && !may_write) return;
    if (was_connecting || events & EPOLLERR) {
        stream->connecting = false;
        int system_error = socket_pending_error(stream->source.descriptor);
        if (system_error) stream_fail(stream, system_error);
    }
    bool is_news = was_connecting || stream->failed > had_failed || finished > stream->peer_finished ||
                   may_read > stream->may_read || may_write > stream->may_write;
    stream->peer_finished |= finished;
    stream->may_read |= may_read;
    stream->may_write |= may_write;
    if (stream->tls) tls_socket_ready(stream, may_read, may_write);
    if (is_news) stream->on_ready(stream);
}

bool stream_open(struct stream *stream, struct loop *loop, int descriptor, bool connecting,
                 void (*on_ready)(struct stream *), struct error *error)
{
    *stream = (struct stream){
        .source.ready = stream_ready,
        .loop = loop,
        .on_ready = on_ready,
        .connecting = connecting,
        .may_write = !connecting,
        .watches_writing = connecting,
    };
    if ((connecting ? loop_watch : loop_watch_reading)(loop, &stream->source, descriptor, error)) return true;
    close(descriptor);
    return false;
}

void stream_close(struct stream *stream, bool reset)
{
    int descriptor = stream->source.descriptor;
    if (descriptor < 0) return;
    if (reset) socket_reset_on_close(descriptor);
    if (stream->tls) {
        if (!reset) tls_say_goodbye(stream);
        tls_detach(stream->tls);
        tls_session_destroy(stream->tls);
        stream->tls = NULL;
    }
    loop_unwatch(stream->loop, &stream->source, true);
    close(descriptor);
}

int stream_detach(struct stream *stream)
{
    int descriptor = stream->source.descriptor;
    loop_unwatch(stream->loop, &stream->source, false);
    if (stream->tls) tls_detach(stream->tls);
    return descriptor;
}

void stream_set_tls(struct stream *stream, struct tls_session *session)
{
    stream->tls = session;
    tls_attach(stream, session);
}

/* Reading returned 0. After a failure this is a clean end only if the FIN had come before the RST, which the kernel tells by
 * EPIPE; otherwise the peer's RST cut the stream short, and whoever saw the error first (a write, an event) has eaten it. */
static enum stream_result read_ended(const struct stream *stream)
{
    return stream->failed && stream->system_error != EPIPE ? STREAM_FAIL : STREAM_END;
}

static enum stream_result read_failed(struct stream *stream, int system_error)
{
    stream->may_read = false;
    if (system_error != EAGAIN) stream_fail(stream, system_error);
    return stream->failed ? STREAM_FAIL : STREAM_WAIT;
}

/* After a failed write what had come before can still be read: a peer may answer early and then close. */
enum stream_result stream_can_not_write(struct stream *stream, int system_error)
{
    stream->may_write = false;
    stream_fail(stream, system_error);
    stream->may_read = stream->peer_finished = true;
    return STREAM_FAIL;
}

/* Most connections never find their socket full, so its room is asked about from the first time on. */
enum stream_result stream_wait_for_room(struct stream *stream)
{
    stream->may_write = false;
    if (stream->watches_writing) return STREAM_WAIT;
    stream->watches_writing = loop_watch_writing_too(stream->loop, &stream->source);
    return stream->watches_writing ? STREAM_WAIT : stream_can_not_write(stream, errno);
}

static enum stream_result write_failed(struct stream *stream, int system_error)
{
    return system_error == EAGAIN ? stream_wait_for_room(stream) : stream_can_not_write(stream, system_error);
}

/* For a call that can't be made now. */
static enum stream_result not_now(const struct stream *stream) { return stream->failed ? STREAM_FAIL : STREAM_WAIT; }

/* The two calls that a request is made of go to the kernel directly: the C library's are cancellation points, which nobody here
 * uses and each call would pay for. */
static ssize_t receive(int descriptor, void *into, size_t size)
{
    return syscall(SYS_recvfrom, descriptor, into, size, 0, NULL, NULL);
}

static ssize_t send_piece(int descriptor, const void *bytes, size_t size)
{
    return syscall(SYS_sendto, descriptor, bytes, size, MSG_NOSIGNAL, NULL, 0);
}

/* A head and a short body are copied together for less than the kernel asks for a list of pieces. */
static ssize_t send_pieces(int descriptor, const struct iovec *pieces, int count, size_t total)
{
    if (count == 1) return send_piece(descriptor, pieces[0].iov_base, total);
    if (total <= JOINED_BYTES_MAX) {
        char joined[JOINED_BYTES_MAX], *end = joined;
        for (int i = 0; i < count; i++) end = mempcpy(end, pieces[i].iov_base, pieces[i].iov_len);
        return send_piece(descriptor, joined, total);
    }
    struct msghdr message = { .msg_iov = (struct iovec *)pieces, .msg_iovlen = (size_t)count };
    return sendmsg(descriptor, &message, MSG_NOSIGNAL);
}

ssize_t stream_receive_bytes(const struct stream *stream, void *into, size_t size)
{
    ssize_t got;
    do got = receive(stream->source.descriptor, into, size);
    while (got < 0 && errno == EINTR);
    return got;
}

ssize_t stream_send_bytes(const struct stream *stream, const void *bytes, size_t size)
{
    ssize_t sent;
    do sent = send_piece(stream->source.descriptor, bytes, size);
    while (sent < 0 && errno == EINTR);
    return sent;
}

static enum stream_result plain_read(struct stream *stream, void *into, size_t size, size_t *moved)
{
    ssize_t got = stream_receive_bytes(stream, into, size);
    if (got < 0) return read_failed(stream, errno);
    if (got == 0) return read_ended(stream);
    if ((size_t)got < size && !stream->peer_finished) stream->may_read = false;
    *moved = (size_t)got;
    return STREAM_OK;
}

enum stream_result stream_read(struct stream *stream, void *into, size_t size, size_t *moved)
{
    *moved = 0;
    if (!stream->may_read) return not_now(stream);
    return stream->tls ? tls_read(stream, into, size, moved) : plain_read(stream, into, size, moved);
}

void stream_look_again(struct stream *stream)
{
    stream->may_read = true;
    if (stream->tls) tls_look_again(stream->tls);
}

static enum stream_result plain_write(struct stream *stream, const struct iovec *pieces, int count, size_t *moved)
{
    size_t wanted = 0;
    for (int i = 0; i < count; i++) wanted += pieces[i].iov_len;
    ssize_t sent;
    do sent = send_pieces(stream->source.descriptor, pieces, count, wanted);
    while (sent < 0 && errno == EINTR);
    if (sent < 0) return write_failed(stream, errno);
    *moved = (size_t)sent;
    if ((size_t)sent < wanted && stream_wait_for_room(stream) == STREAM_FAIL) return STREAM_FAIL;
    return STREAM_OK;
}

enum stream_result stream_write(struct stream *stream, const struct iovec *pieces, int count, size_t *moved)
{
    *moved = 0;
    if (!stream->may_write || stream->failed) return not_now(stream);
    return stream->tls ? tls_write(stream, pieces, count, moved) : plain_write(stream, pieces, count, moved);
}

static ssize_t splice_bytes(int from, int to, size_t limit, unsigned more)
{
    ssize_t moved;
    do moved = splice(from, NULL, to, NULL, limit, SPLICE_F_MOVE | SPLICE_F_NONBLOCK | more);
    while (moved < 0 && errno == EINTR);
    return moved;
}

/* EAGAIN means an empty socket or a full pipe. Once unread bytes were seen they stay, so a second EAGAIN is the pipe's. */
enum stream_result stream_splice_from(struct stream *stream, int kernel_pipe, size_t limit, size_t *moved)
{
    *moved = 0;
    if (!stream->may_read) return not_now(stream);
    int descriptor = stream->source.descriptor;
    ssize_t got = splice_bytes(descriptor, kernel_pipe, limit, 0);
    if (got < 0 && errno == EAGAIN) {
        int unread = 0;
        if (ioctl(descriptor, FIONREAD, &unread) != 0 || unread == 0) return read_failed(stream, EAGAIN);
        got = splice_bytes(descriptor, kernel_pipe, limit, 0);
        if (got < 0 && errno == EAGAIN) return STREAM_WAIT;
    }
    if (got < 0) return read_failed(stream, errno);
    if (got == 0) return read_ended(stream);
    *moved = (size_t)got;
    return STREAM_OK;
}

/* A short splice doesn't prove that the socket is full (a signal ends one too), so only EAGAIN clears may_write. */
enum stream_result stream_splice_to(struct stream *stream, int kernel_pipe, size_t limit, bool more_follows,
                                    size_t *moved)
{
    *moved = 0;
    if (!stream->may_write || stream->failed) return not_now(stream);
    ssize_t sent = splice_bytes(kernel_pipe, stream->source.descriptor, limit, more_follows ? SPLICE_F_MORE : 0);
    if (sent < 0) return write_failed(stream, errno);
    *moved = (size_t)sent;
    return STREAM_OK;
}

void stream_finish_writing(struct stream *stream)
{
    if (stream->tls) {
        tls_finish_writing(stream);
        return;
    }
    shutdown(stream->source.descriptor, SHUT_WR); /* fails only where the connection is gone, which reading will tell */
    stream->may_write = false;
}

int stream_connect_outcome(const struct stream *stream)
{
    if (stream->connecting) return EINPROGRESS;
    return stream->failed ? stream->system_error : 0;
}

enum stream_silence stream_look(struct stream *stream)
{
    if (stream->tls) return tls_look(stream);
    char byte;
    ssize_t unread;
    do unread = recv(stream->source.descriptor, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    while (unread < 0 && errno == EINTR);
    if (unread > 0) return STREAM_UNASKED_BYTES;
    if (unread < 0) {
        (void)read_failed(stream, errno);
        if (!stream->failed) return STREAM_SILENT;
    }
    return STREAM_PEER_GONE;
}

bool stream_is_stale(struct stream *stream)
{
    if (stream->failed || stream->peer_finished) return true;
    return stream->may_read && stream_look(stream) != STREAM_SILENT;
}
