/* gateway/key_set_metrics.h: figures of tokens and of the key sets that they are verified with (keys/key_sets.h). */
#ifndef SLUICE_GATEWAY_KEY_SET_METRICS_H
#define SLUICE_GATEWAY_KEY_SET_METRICS_H

#include "keys/key_sets.h"
#include "observe/metrics.h"

/* NULL: there are none yet. Any thread. */
void key_set_metrics_write(struct key_sets *, struct metrics_text *);

#endif
