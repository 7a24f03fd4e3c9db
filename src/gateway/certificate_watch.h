/* gateway/certificate_watch.h: when the certificates in force end: said in the log each day, from a month before on, and a figure for
 * metrics. Belongs to the control thread, but for the writing of metrics, which any thread may do. */
#ifndef SLUICE_GATEWAY_CERTIFICATE_WATCH_H
#define SLUICE_GATEWAY_CERTIFICATE_WATCH_H

#include "event/event.h"
#include "gateway/entrance.h"
#include "observe/metrics.h"

#include <pthread.h>

struct certificate_watch {
    pthread_mutex_t lock; /* of `facts` */
    struct vector facts;  /* struct certificate_fact */
    struct loop *loop;
    struct timer daily;
};

void certificate_watch_init(struct certificate_watch *, struct loop *);
void certificate_watch_release(struct certificate_watch *);
/* Takes the facts over; *facts is empty then. That some end soon has been said when they were read. */
void certificate_watch_take(struct certificate_watch *, struct vector *facts);
void certificate_watch_write_metrics(struct certificate_watch *, struct metrics_text *);

#endif
