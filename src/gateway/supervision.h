/* gateway/supervision.h: what the gateway process and its master say to each other, over a SOCK_SEQPACKET pair.
 *
 * One datagram a message: a fixed head, then text; listening sockets ride along as SCM_RIGHTS. The master keeps a duplicate of each
 * socket it ever made for a configured address, so that none is lost when the gateway dies. The master reads no configuration. */
#ifndef SLUICE_GATEWAY_SUPERVISION_H
#define SLUICE_GATEWAY_SUPERVISION_H

#include "base/error.h"

#define SUPERVISION_TEXT_MAX 8192
#define SUPERVISION_DESCRIPTORS_MAX 128

enum supervision_kind {
    /* gateway -> master */
    SUPERVISION_LISTEN = 1, /* text: address; number: sockets wanted. Answered by LISTENING or REFUSED */
    SUPERVISION_UNLISTEN,   /* text: address, its queues are emptied: close it */
    SUPERVISION_READY,      /* serving; number: snapshot version */
    SUPERVISION_BEAT,       /* all loops turn; four times a second */
    SUPERVISION_ANSWER, /* to a command; number: the command's; text: first byte '+' (done) or '-' (failed), then words */
    SUPERVISION_BEAT_BOUND, /* number: ms without a beat after which the master ends the gateway */
    SUPERVISION_GOOD_TEXT, /* one descriptor: the text of the configuration in force, to be given to the next gateway */
    /* master -> gateway */
    SUPERVISION_LISTENING, /* text: address; the sockets */
    SUPERVISION_REFUSED,   /* text: the address and why not */
    SUPERVISION_RELOAD,    /* number: to be answered */
    SUPERVISION_STATUS,    /* number: to be answered with one JSON object */
    SUPERVISION_REOPEN,    /* reopen the access log */
    SUPERVISION_DRAIN,     /* the end: stop accepting, UNLISTEN all, finish, exit with 0 */
};

struct supervision_message {
    uint32_t kind;
    uint32_t descriptor_count;
    uint64_t number;
    uint32_t text_length;
    char text[SUPERVISION_TEXT_MAX + 1]; /* NUL-terminated after receive */
    int descriptors[SUPERVISION_DESCRIPTORS_MAX];
};

/* False: the other side is gone or the message does not fit; *error says. Does not block (a full link counts as gone). */
bool supervision_send(int link, enum supervision_kind, uint64_t number, const char *text, const int *descriptors,
                      uint32_t descriptor_count, struct error *) MUST_USE;
enum supervision_result { SUPERVISION_GOT, SUPERVISION_NOTHING, SUPERVISION_GONE };
/* The message's descriptors are the caller's: who takes one over says so by descriptor_count = 0, or closes them all with
 * supervision_close_descriptors(). GONE also where the other side does not speak this protocol. */
enum supervision_result supervision_receive(int link, struct supervision_message *) MUST_USE;
void supervision_close_descriptors(struct supervision_message *);

#endif
