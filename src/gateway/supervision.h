/* gateway/supervision.h: what the gateway process and its master say to each other, over a SOCK_SEQPACKET pair.
 *
 * One datagram a message: a fixed head, then text; listening sockets ride along as SCM_RIGHTS. The master keeps a duplicate of each
 * socket it ever made for a configured address, so that none is lost when the gateway dies. The master reads no configuration.
 *
 * During an upgrade the two are of different versions: a kind keeps its number for good, and one that is not known is only logged. */
#ifndef SLUICE_GATEWAY_SUPERVISION_H
#define SLUICE_GATEWAY_SUPERVISION_H

#include "base/error.h"

#define SUPERVISION_TEXT_MAX 8192
#define SUPERVISION_DESCRIPTORS_MAX 128

enum supervision_kind {
    /* gateway -> master */
    SUPERVISION_LISTEN = 1,   /* text: address; number: sockets wanted. Answered by LISTENING or REFUSED */
    SUPERVISION_UNLISTEN = 2, /* text: address, its queues are emptied: close it */
    SUPERVISION_READY = 3,    /* serving; number: snapshot version */
    SUPERVISION_BEAT = 4,     /* all loops turn; four times a second */
    /* To a command; number: the command's; text: first byte '+' (done) or '-' (failed), then words. */
    SUPERVISION_ANSWER = 5,
    SUPERVISION_BEAT_BOUND = 6, /* number: ms without a beat after which the master ends the gateway */
    /* One descriptor: the text of the configuration in force, to be given to the next gateway. */
    SUPERVISION_GOOD_TEXT = 7,
    SUPERVISION_DRAIN_BOUND = 14, /* number: ms within which a gateway that drains or yields has ended by itself */
    /* master -> gateway */
    SUPERVISION_LISTENING =
        8, /* text: address; the sockets; number: 1 where a service manager goes on with them after us */
    SUPERVISION_REFUSED = 9, /* text: the address and why not */
    SUPERVISION_RELOAD = 10, /* number: to be answered */
    /* number: to be answered with one JSON object; text: how many gateways of before an upgrade still drain. */
    SUPERVISION_STATUS = 11,
    SUPERVISION_REOPEN = 12, /* reopen the access log */
    SUPERVISION_DRAIN = 13,  /* the end: stop accepting, UNLISTEN all, finish, exit with 0 */
    SUPERVISION_GIVE_UP =
        15, /* text: an address that the next gateway does not listen on: empty its queues, UNLISTEN it */
    SUPERVISION_YIELD = 16, /* the next gateway serves on the same sockets: stop accepting, finish, exit with 0 */
    /* both ways */
    /* One descriptor: the keys of TLS tickets, of the gateway that serves, for the one that follows, which has them before any socket. The
     * master keeps them without a look. */
    SUPERVISION_TICKET_KEYS = 17,
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
