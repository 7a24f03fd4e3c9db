/* gateway/handshake.h: an accepted connection until a session can begin on it: the PROXY header is read, TLS is set up, within a time and
 * not at others' cost.
 *
 * A step of a handshake is up to a millisecond of pure computing, so a worker does a few of them a turn, in the order in which they
 * came; the others wait for the next turn, and requests under way are served in between. One worker's thread. */
#ifndef SLUICE_GATEWAY_HANDSHAKE_H
#define SLUICE_GATEWAY_HANDSHAKE_H

#include "event/event.h"
#include "gateway/entrance.h"
#include "http/server_session.h"
#include "shared/counter.h"

struct handshake;

/* Why they fail; the words are in handshake_failure_word(), for metrics. */
#define HANDSHAKE_FAILURES_MAX 24

struct handshake_figures {
    struct gauge active;
    struct counter completed[2][2]; /* by version (1.2, 1.3) and whether a session was resumed */
    struct counter failed[HANDSHAKE_FAILURES_MAX];
    struct counter proxies_untrusted; /* connections of strangers where only proxies are let in */
    struct counter proxies_mute;      /* of proxies that did not begin with a good PROXY header in time */
};

/* NULL: there are no more. */
const char *handshake_failure_word(size_t index);

/* What the handshakes of a worker share. */
struct handshakes {
    struct loop *loop;
    uint32_t timeout_ms;
    struct handshake_figures figures;
    /* Internal. */
    struct list_link waiting; /* for a turn */
    struct task task;
    struct turn_share steps;
};

struct handshake_events {
    /* The PROXY header is read; `client` is of AF_UNSPEC where it names none. False: this client is not let in; the connection is closed
     * and `failed` follows. Inside it nothing of the handshake may be called. */
    bool (*announced)(struct handshake *, const struct address *client, const struct address *destination, void *owner);
    /* The socket is the callee's, ready for a session. */
    void (*done)(struct handshake *, struct session_socket, void *owner);
    /* The client speaks HTTP without TLS. What it has said so far is lost; the socket, plain, is the callee's. */
    void (*spoke_plainly)(struct handshake *, int descriptor, void *owner);
    /* It is closed already. */
    void (*failed)(struct handshake *, void *owner);
};

void handshakes_init(struct handshakes *, struct loop *);
/* A handshake that did not even begin, and why: a reason of the list. */
void handshakes_count_failure(struct handshakes *, const char *reason);

/* Takes over the socket, and keeps the entrance for as long as it needs it. One of the events follows, from the loop, exactly once, and it
 * frees itself then. NULL when memory is short (then the socket is closed). */
struct handshake *handshake_start(struct handshakes *, int descriptor, const struct entrance *,
                                  const struct handshake_events *, void *owner);
/* Closes at once; no event follows. */
void handshake_abort(struct handshake *);

#endif
