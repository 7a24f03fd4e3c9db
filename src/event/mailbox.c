/* Writers push onto a stack with one compare-and-swap; the reader takes the whole stack at once and turns it round. Nothing is
 * ever popped singly, so a message that is freed and posted again can't confuse a writer (no ABA).
 *
 * `notified` says that the reader will come: it is cleared before the stack is taken, so a writer that still finds it set knows
 * that its message, already pushed, will be in what the reader takes. The eventfd is watched edge-triggered: each write wakes,
 * its count is never read. */
#include "event/mailbox.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

static void deliver_all(struct mailbox *mailbox)
{
    struct message *newest_first = atomic_exchange(&mailbox->newest, NULL), *oldest_first = NULL;
    while (newest_first) {
        struct message *message = newest_first;
        newest_first = message->next;
        message->next = oldest_first;
        oldest_first = message;
    }
    while (oldest_first) {
        struct message *message = oldest_first;
        oldest_first = message->next; /* the message is the receiver's once it is delivered */
        message->deliver(message, mailbox->receiver);
    }
}

static void mailbox_ready(struct event_source *source, uint32_t events)
{
    struct mailbox *mailbox = CONTAINER_OF(source, struct mailbox, source);
    atomic_store(&mailbox->notified, false);
    deliver_all(mailbox);
}

bool mailbox_init(struct mailbox *mailbox, struct loop *loop, void *receiver, struct error *error)
{
    *mailbox = (struct mailbox){
        .source.ready = mailbox_ready, .source.descriptor = -1, .loop = loop, .receiver = receiver
    };
    int descriptor = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (descriptor < 0) return error_format(error, "cannot create an eventfd: %s", error_from_errno(errno));
    if (!loop_watch(loop, &mailbox->source, descriptor, error)) {
        close(descriptor);
        return false;
    }
    return true;
}

void mailbox_release(struct mailbox *mailbox)
{
    while (atomic_load(&mailbox->newest)) deliver_all(mailbox);
    int descriptor = mailbox->source.descriptor;
    if (descriptor < 0) return;
    loop_unwatch(mailbox->loop, &mailbox->source, true);
    close(descriptor);
}

void mailbox_post(struct mailbox *mailbox, struct message *message)
{
    struct message *newest = atomic_load_explicit(&mailbox->newest, memory_order_relaxed);
    do message->next = newest;
    while (!atomic_compare_exchange_weak(&mailbox->newest, &newest, message));

    /* From here on the message may be gone. */
    if (atomic_load(&mailbox->notified) || atomic_exchange(&mailbox->notified, true)) return;
    uint64_t one = 1;
    ssize_t written = write(mailbox->source.descriptor, &one, sizeof one);
    (void)written; /* only fails where the count is full, and then the reader has been woken */
}
