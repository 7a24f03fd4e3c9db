/* event/private.h: private to this room: where the plain socket (stream.c) and the TLS session over it (tls.c) meet. */
#ifndef SLUICE_EVENT_PRIVATE_H
#define SLUICE_EVENT_PRIVATE_H

#include "event/stream.h"

/* --- stream.c, for tls.c --- */

/* The stream is of no more use. */
void stream_fail(struct stream *, int system_error);
/* The socket has no room: asks to be told when it has. STREAM_WAIT, or STREAM_FAIL where the kernel can't watch it. */
enum stream_result stream_wait_for_room(struct stream *);
/* Writing failed: what had come before can still be read. STREAM_FAIL. */
enum stream_result stream_can_not_write(struct stream *, int system_error);
/* recv(2) and send(2), once more after a signal; errno as theirs. */
ssize_t stream_receive_bytes(const struct stream *, void *into, size_t size);
ssize_t stream_send_bytes(const struct stream *, const void *bytes, size_t size);

/* --- tls.c, for stream.c --- */

/* The session joins the stream, leaves it, or ends with it. */
void tls_attach(struct stream *, struct tls_session *);
void tls_detach(struct tls_session *);
/* Tells the peer that this is the end (close_notify), as far as the socket takes it at once. */
void tls_say_goodbye(struct stream *);
/* The socket has news: before on_ready hears of it. */
void tls_socket_ready(struct stream *, bool may_read, bool may_write);
/* As the stream's calls of these names; the checks that all have in common are done. */
enum stream_result tls_read(struct stream *, void *into, size_t size, size_t *moved);
enum stream_result tls_write(struct stream *, const struct iovec *pieces, int count, size_t *moved);
void tls_finish_writing(struct stream *);
enum stream_silence tls_look(struct stream *);
void tls_look_again(struct tls_session *);

/* --- tls_context.c, for tls.c --- */

/* What is known of a handshake that failed. */
struct tls_failure {
    uint8_t side;       /* enum tls_side */
    int system_error;   /* 0: the socket is not to blame */
    long verify_result; /* X509_V_OK: the peer's certificate is not to blame */
    unsigned long code; /* of OpenSSL's error; 0: none */
};

void tls_describe_failure(const struct tls_failure *, struct error *);

#endif
