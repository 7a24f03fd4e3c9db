/* event/mailbox.h: messages to a loop's thread from any thread: a lock-free queue of many writers and one reader, and an
 * eventfd that is written only when the reader may be asleep. Order per sender is kept. */
#ifndef SLUICE_EVENT_MAILBOX_H
#define SLUICE_EVENT_MAILBOX_H

#include "event/loop.h"

#include <stdatomic.h>

/* Embedded in what is sent; belongs to the mailbox from post to deliver, then to the receiver. */
struct message {
    struct message *next;
    void (*deliver)(struct message *, void *receiver); /* on the receiver's thread */
};

struct mailbox {
    struct event_source source; /* the eventfd */
    struct loop *loop;
    _Atomic(struct message *) newest;
    atomic_bool notified;
    void *receiver;
};

bool mailbox_init(struct mailbox *, struct loop *, void *receiver, struct error *) MUST_USE;
/* Delivers what is still inside, then closes. No one may post any more. */
void mailbox_release(struct mailbox *);
/* Any thread; never blocks. */
void mailbox_post(struct mailbox *, struct message *);

#endif
