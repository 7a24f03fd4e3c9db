/* exchange/wait.c: waiting: one registered wait an exchange at a time, with its deadline, its cancellation and, for other threads,
 * a ticket.
 *
 * A ticket is {slot, generation}: the slot is freed when the wait ends in whichever way, and its generation rises, so a completion
 * that arrives late finds another generation and is dropped. Slots belong to the worker's thread; tickets arrive by its mailbox. */
#include "base/memory.h"
#include "exchange/private.h"

#define WAIT_SLOTS_MAX 65536
#define WAIT_NO_SLOT UINT32_MAX

struct wait_slot {
    struct exchange_wait *wait; /* NULL: free */
    uint32_t generation;
    uint32_t next_free;
};

struct wait_table {
    struct wait_slot *slots;
    uint32_t count, capacity;
    uint32_t free; /* first free one, or WAIT_NO_SLOT */
};

struct wait_table *wait_table_create(void)
{
    struct wait_table *table = memory_allocate(sizeof *table);
    table->free = WAIT_NO_SLOT;
    return table;
}

void wait_table_destroy(struct wait_table *table)
{
    free(table->slots);
    free(table);
}

static bool grow(struct wait_table *table)
{
    uint32_t capacity = table->capacity ? table->capacity * 2 : 64;
    if (capacity > WAIT_SLOTS_MAX) return false;
    struct wait_slot *slots = realloc(table->slots, capacity * sizeof *slots);
    if (!slots) return false;
    table->slots = slots;
    table->capacity = capacity;
    return true;
}

static uint32_t take_slot(struct wait_table *table, struct exchange_wait *wait)
{
    uint32_t slot = table->free;
    if (slot != WAIT_NO_SLOT) {
        table->free = table->slots[slot].next_free;
    } else {
        if (table->count == table->capacity && !grow(table)) return WAIT_NO_SLOT;
        slot = table->count++;
        table->slots[slot].generation = 0;
    }
    table->slots[slot].wait = wait;
    return slot;
}

static void free_slot(struct wait_table *table, uint32_t slot)
{
    table->slots[slot].wait = NULL;
    table->slots[slot].generation++;
    table->slots[slot].next_free = table->free;
    table->free = slot;
}

/* The wait is over, whichever way; what remains is to tell the exchange. */
static void end_wait(struct exchange_wait *wait)
{
    struct exchange_worker *worker = wait->exchange->worker;
    timer_clear(&worker->loop->timers, &wait->timer);
    if (wait->slot != WAIT_NO_SLOT) free_slot(worker->waits, wait->slot);
    wait->slot = WAIT_NO_SLOT;
    gauge_add(&worker->waiting, -1);
}

static void deadline_passed(struct timer *timer)
{
    struct exchange_wait *wait = CONTAINER_OF(timer, struct exchange_wait, timer);
    struct exchange *exchange = wait->exchange;
    end_wait(wait);
    wait->state = WAIT_COMPLETED;
    exchange->wait_outcome = WAIT_DEADLINE;
    if (wait->cancel) wait->cancel(wait);
    loop_enqueue(exchange->worker->loop, &exchange->task);
}

void exchange_wait(struct exchange *exchange, struct exchange_wait *wait, void (*cancel)(struct exchange_wait *),
                   uint64_t deadline_ms)
{
    PROMISE(exchange->wait == NULL);
    uint64_t last_ms = exchange_deadline_ms(exchange);
    wait->exchange = exchange;
    wait->cancel = cancel;
    wait->slot = WAIT_NO_SLOT;
    wait->state = WAIT_PENDING;
    timer_init(&wait->timer, deadline_passed);
    timer_set(&exchange->worker->loop->timers, &wait->timer, deadline_ms < last_ms ? deadline_ms : last_ms);
    exchange->wait = wait;
    gauge_add(&exchange->worker->waiting, 1);
}

void exchange_resume(struct exchange_wait *wait)
{
    if (wait->state != WAIT_PENDING) return; /* the deadline was first */
    end_wait(wait);
    wait->state = WAIT_COMPLETED;
    wait->exchange->wait_outcome = WAIT_DONE;
    loop_enqueue(wait->exchange->worker->loop, &wait->exchange->task);
}

bool wait_collect(struct exchange *exchange)
{
    if (!exchange->wait || exchange->wait->state != WAIT_COMPLETED) return false;
    exchange->wait->state = WAIT_IDLE;
    exchange->wait = NULL;
    return true;
}

void wait_abandon(struct exchange *exchange)
{
    struct exchange_wait *wait = exchange->wait;
    exchange->wait = NULL;
    if (!wait || wait->state != WAIT_PENDING) return;
    end_wait(wait);
    wait->state = WAIT_IDLE;
    if (wait->cancel) wait->cancel(wait);
}

/* --- completion from another thread --- */

struct resume_message {
    struct message message;
    struct exchange_worker *worker;
    uint32_t slot, generation;
};

bool exchange_wait_ticket(struct exchange_wait *wait, struct wait_ticket *ticket)
{
    struct exchange_worker *worker = wait->exchange->worker;
    if (wait->slot == WAIT_NO_SLOT) wait->slot = take_slot(worker->waits, wait);
    if (wait->slot == WAIT_NO_SLOT) return false;
    wait->generation = worker->waits->slots[wait->slot].generation;
    *ticket = (struct wait_ticket){ worker, wait->slot, wait->generation };
    return true;
}

static void deliver_resume(struct message *message, void *receiver)
{
    (void)receiver;
    struct resume_message *resume = CONTAINER_OF(message, struct resume_message, message);
    const struct wait_slot *slot = &resume->worker->waits->slots[resume->slot];
    if (slot->wait && slot->generation == resume->generation) exchange_resume(slot->wait);
    free(resume);
}

void exchange_resume_from_thread(const struct wait_ticket *ticket)
{
    struct resume_message *resume = memory_allocate(sizeof *resume);
    resume->message.deliver = deliver_resume;
    resume->worker = ticket->worker;
    resume->slot = ticket->slot;
    resume->generation = ticket->generation;
    mailbox_post(ticket->worker->mailbox, &resume->message);
}
