/* shared/local_limiter.c: the limiter that is the process's own table. */
#include "shared/limiter.h"

static struct limit_table *table_of(struct limiter *limiter)
{
    return CONTAINER_OF(limiter, struct local_limiter, limiter)->table;
}

static void local_look(struct limiter *limiter, struct limiter_call *call)
{
    call->outcome = limit_table_look(table_of(limiter), &call->place, call->limit, call->cost, call->now_ns,
                                     call->wait_max_ns, &call->plan);
}

/* Most of those that were looked at before are as they were, and so is the outcome. */
static enum limiter_answer local_take(struct limiter *limiter, struct limiter_call *call)
{
    if (limit_table_take_planned(&call->plan, call->cost, call->now_ns, &call->lease)) return LIMITER_DONE;
    call->outcome = limit_table_take(table_of(limiter), &call->place, call->limit, call->cost, call->now_ns,
                                     call->wait_max_ns, &call->lease);
    return LIMITER_DONE;
}

static void local_refund(struct limiter *limiter, struct limiter_call *call, uint64_t now_ns)
{
    struct given_up *given_up = &CONTAINER_OF(limiter, struct local_limiter, limiter)->given_up;
    if (call->limit->has_queue)
        given_up_refund(given_up, call->limit, &call->lease, now_ns);
    else
        (void)limit_table_refund(call->limit, &call->lease, now_ns);
}

void local_limiter_init(struct local_limiter *local, struct limit_table *table)
{
    local->limiter = (struct limiter){ .look = local_look, .take = local_take, .refund = local_refund };
    local->table = table;
    given_up_init(&local->given_up);
}

void local_limiter_release(struct local_limiter *local) { given_up_release(&local->given_up); }
