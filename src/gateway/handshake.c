/* gateway/handshake.c: see handshake.h. */
#include "gateway/handshake.h"

#include "http/proxy_protocol.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define STEPS_A_TURN 4
#define LINGER_MS 500
#define LINGER_READS_A_TURN 4

struct handshake {
    struct stream stream;
    struct handshakes *all;
    const struct entrance *entrance; /* one reference */
    const struct handshake_events *events;
    void *owner;
    struct timer timer;
    struct list_link waiting; /* all->waiting */
    struct retired retired;
    bool awaits_header; /* of the PROXY protocol */
    bool lingers;       /* it has failed; what still comes is read away, so that no RST overtakes the alert */
};

/* --- figures --- */

static const char *const failure_words[HANDSHAKE_FAILURES_MAX + 1] = {
    "no-common-cipher",
    "no-common-signature",
    "no-common-group",
    "no-common-version",
    "no-common-protocol",
    "certificate-missing",
    "certificate-refused",
    "refused-by-peer",
    "plain-http",
    "not-tls",
    "protocol-error",
    "closed",
    "reset",
    "timeout",
    "rate-limit",
    "no-certificate",
    "out-of-memory",
    "other",
};

const char *handshake_failure_word(size_t index) { return failure_words[index]; }

void handshakes_count_failure(struct handshakes *all, const char *reason)
{
    size_t index = 0;
    while (failure_words[index + 1] && strcmp(failure_words[index], reason) != 0) index++;
    counter_add(&all->figures.failed[index], 1); /* the last word is "other" */
}

static void count_success(struct handshakes *all, const struct tls_session *session)
{
    bool is_1_3 = strcmp(tls_session_version(session), "1.3") == 0;
    counter_add(&all->figures.completed[is_1_3][tls_session_was_resumed(session)], 1);
}

/* --- the end --- */

static void destroy(struct retired *retired) { free(CONTAINER_OF(retired, struct handshake, retired)); }

/* The stream is closed or detached. */
static void end(struct handshake *handshake)
{
    struct handshakes *all = handshake->all;
    timer_clear(&all->loop->timers, &handshake->timer);
    list_remove(&handshake->waiting);
    if (list_is_empty(&all->waiting)) loop_dequeue(all->loop, &all->task);
    entrance_drop(handshake->entrance);
    gauge_add(&all->figures.active, -1);
    loop_retire(all->loop, &handshake->retired, destroy);
}

static void fail(struct handshake *handshake)
{
    stream_close(&handshake->stream, false);
    end(handshake);
    handshake->events->failed(handshake, handshake->owner);
}

void handshake_abort(struct handshake *handshake)
{
    stream_close(&handshake->stream, false);
    end(handshake);
}

static void succeed(struct handshake *handshake)
{
    struct session_socket socket = { .tls = handshake->stream.tls };
    if (socket.tls) count_success(handshake->all, socket.tls);
    socket.descriptor = stream_detach(&handshake->stream);
    end(handshake);
    handshake->events->done(handshake, socket, handshake->owner);
}

static int give_up_tls(struct handshake *handshake)
{
    struct tls_session *session = handshake->stream.tls;
    int descriptor = stream_detach(&handshake->stream);
    tls_session_destroy(session);
    return descriptor;
}

static void hand_plain_socket_over(struct handshake *handshake)
{
    int descriptor = give_up_tls(handshake);
    end(handshake);
    handshake->events->spoke_plainly(handshake, descriptor, handshake->owner);
}

/* --- lingering --- */

static void linger_on(struct handshake *handshake)
{
    char thrown_away[16 * 1024];
    size_t moved;
    for (int i = 0; i < LINGER_READS_A_TURN; i++) {
        enum stream_result result = stream_read(&handshake->stream, thrown_away, sizeof thrown_away, &moved);
        if (result == STREAM_WAIT) return;
        if (result != STREAM_OK) break;
    }
    fail(handshake); /* it has gone, or has more to say than a client that was refused */
}

static void linger_ready(struct stream *stream) { linger_on(CONTAINER_OF(stream, struct handshake, stream)); }

/* The alert is on its way. A client of TLS 1.3 believes that the handshake is done, and may send its request before it reads that. */
static void linger(struct handshake *handshake)
{
    struct loop *loop = handshake->all->loop;
    struct error error;
    int descriptor = give_up_tls(handshake);
    if (!stream_open(&handshake->stream, loop, descriptor, false, linger_ready, &error)) {
        fail(handshake);
        return;
    }
    handshake->lingers = true;
    stream_finish_writing(&handshake->stream);
    timer_set(&loop->timers, &handshake->timer, loop->now_ms + LINGER_MS);
}

/* --- steps --- */

static bool hears_alert(const struct error *error)
{
    static const char *const deaf[] = { "not-tls", "closed", "reset" };
    for (size_t i = 0; i < COUNT_OF(deaf); i++) {
        if (strcmp(error->reason, deaf[i]) == 0) return false;
    }
    return true;
}

static void step(struct handshake *handshake)
{
    struct error error;
    switch (stream_handshake(&handshake->stream, &error)) {
    case STREAM_OK: succeed(handshake); return;
    case STREAM_WAIT: return;
    default: break;
    }
    if (tls_session_met_plain_http(handshake->stream.tls)) {
        handshakes_count_failure(handshake->all, "plain-http");
        hand_plain_socket_over(handshake);
        return;
    }
    handshakes_count_failure(handshake->all, error.reason);
    if (hears_alert(&error))
        linger(handshake);
    else
        fail(handshake);
}

static bool has_used_up_turn(struct handshakes *all) { return turn_share_use(&all->steps, all->loop) >= STEPS_A_TURN; }

/* Those that came before go first. */
static void handshake_ready(struct stream *stream)
{
    struct handshake *handshake = CONTAINER_OF(stream, struct handshake, stream);
    struct handshakes *all = handshake->all;
    if (list_is_linked(&handshake->waiting)) return;
    if (list_is_empty(&all->waiting) && !has_used_up_turn(all)) {
        step(handshake);
        return;
    }
    list_push_back(&all->waiting, &handshake->waiting);
    loop_enqueue_next(all->loop, &all->task);
}

static void waiting_go_on(struct task *task)
{
    struct handshakes *all = CONTAINER_OF(task, struct handshakes, task);
    struct list_link *first;
    while ((first = list_first(&all->waiting)) != NULL) {
        if (has_used_up_turn(all)) {
            loop_enqueue_next(all->loop, task);
            return;
        }
        list_remove(first);
        step(CONTAINER_OF(first, struct handshake, waiting));
    }
}

/* --- the PROXY header --- */

static void fail_mute(struct handshake *handshake)
{
    counter_add(&handshake->all->figures.proxies_mute, 1);
    fail(handshake);
}

static bool begin_tls(struct handshake *handshake)
{
    struct tls_session *session = tls_session_create(tls_server_context(handshake->entrance->tls), TLS_SERVER);
    if (!session) return false;
    handshake->stream.on_ready = handshake_ready;
    stream_set_tls(&handshake->stream, session);
    return true;
}

/* What stands behind the header may have come with it: no event will tell of it. */
static void header_is_read(struct handshake *handshake, const struct proxy_protocol_header *header)
{
    handshake->awaits_header = false;
    if (!handshake->events->announced(handshake, &header->source, &header->destination, handshake->owner)) {
        fail(handshake);
    } else if (!handshake->entrance->tls) {
        succeed(handshake);
    } else if (begin_tls(handshake)) {
        handshake_ready(&handshake->stream);
    } else {
        handshakes_count_failure(handshake->all, "out-of-memory");
        fail(handshake);
    }
}

/* Looked at in the socket and taken out of it to the byte, so that what follows is the session's or TLS's from its first byte on. */
static void header_ready(struct stream *stream)
{
    struct handshake *handshake = CONTAINER_OF(stream, struct handshake, stream);
    char bytes[PROXY_PROTOCOL_BYTES_MAX];
    struct proxy_protocol_header header;
    struct error error;
    int descriptor = stream->source.descriptor;
    ssize_t got;
    do got = recv(descriptor, bytes, sizeof bytes, MSG_PEEK | MSG_DONTWAIT);
    while (got < 0 && errno == EINTR);
    if (got < 0 && errno == EAGAIN) {
        stream->may_read = false;
        return;
    }
    if (got <= 0) {
        fail_mute(handshake);
        return;
    }
    switch (proxy_protocol_parse(bytes, (size_t)got, &header, &error)) {
    case PROXY_PROTOCOL_COMPLETE:
        if (recv(descriptor, bytes, header.length, MSG_DONTWAIT) == (ssize_t)header.length)
            header_is_read(handshake, &header);
        else
            fail_mute(handshake);
        break;
    case PROXY_PROTOCOL_NEED_MORE:
        stream->may_read = false; /* so that the next bytes are news */
        if (stream->peer_finished) fail_mute(handshake);
        break;
    case PROXY_PROTOCOL_BAD: fail_mute(handshake); break;
    }
}

static void timer_fired(struct timer *timer)
{
    struct handshake *handshake = CONTAINER_OF(timer, struct handshake, timer);
    if (handshake->awaits_header) {
        fail_mute(handshake);
        return;
    }
    if (!handshake->lingers) handshakes_count_failure(handshake->all, "timeout");
    fail(handshake);
}

/* --- the beginning --- */

void handshakes_init(struct handshakes *all, struct loop *loop)
{
    *all = (struct handshakes){ .loop = loop, .task.run = waiting_go_on };
    list_init(&all->waiting);
}

static bool begin(struct handshake *handshake, int descriptor)
{
    struct error error;
    struct loop *loop = handshake->all->loop;
    handshake->awaits_header = handshake->entrance->proxy_count > 0;
    if (!stream_open(&handshake->stream, loop, descriptor, false, header_ready, &error)) return false;
    if (handshake->awaits_header || begin_tls(handshake)) return true;
    stream_close(&handshake->stream, false);
    return false;
}

struct handshake *handshake_start(struct handshakes *all, int descriptor, const struct entrance *entrance,
                                  const struct handshake_events *events, void *owner)
{
    struct handshake *handshake = calloc(1, sizeof *handshake);
    if (!handshake) close(descriptor);
    if (handshake) {
        handshake->all = all;
        handshake->entrance = entrance;
        handshake->events = events;
        handshake->owner = owner;
        list_init(&handshake->waiting);
        timer_init(&handshake->timer, timer_fired);
    }
    if (!handshake || !begin(handshake, descriptor)) {
        handshakes_count_failure(all, "out-of-memory");
        free(handshake);
        return NULL;
    }
    entrance_retain(entrance);
    gauge_add(&all->figures.active, 1);
    timer_set(&all->loop->timers, &handshake->timer, all->loop->now_ms + all->timeout_ms);
    return handshake;
}
