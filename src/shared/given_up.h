/* shared/given_up.h: places in queues that were given up while somebody stood behind them, until whoever stands behind leaves as well.
 *
 * What requests wait for are places in one row (limit.h), and only the last place of a row can go back. Whose place is not the last one leaves
 * it here; who leaves the last one gives back with it the run of given-up places right in front, so a row is as if none of
 * them had ever come. A place whose time is over is worth nothing any more.
 *
 * One a process, for any thread. Who leaves takes a lock for a few steps: so two who leave one row at once see each other's places. Who takes a
 * place never comes by. At most GIVEN_UP_MAX runs are remembered: of more, a place is free when its time is over. */
#ifndef SLUICE_SHARED_GIVEN_UP_H
#define SLUICE_SHARED_GIVEN_UP_H

#include "shared/limit_table.h"

#include <pthread.h>

#define GIVEN_UP_MAX 65536
#define GIVEN_UP_CHAINS 4096

struct given_up_run;

struct given_up {
    pthread_mutex_t lock;
    size_t count;
    struct given_up_run *chains[GIVEN_UP_CHAINS];
};

void given_up_init(struct given_up *);
void given_up_release(struct given_up *);

/* As limit_table_refund(), of a limit where requests may wait. */
void given_up_refund(struct given_up *, const struct limit *, const struct limit_lease *, uint64_t now_ns);

#endif
