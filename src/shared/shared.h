/* shared/: what several threads see at once without a lock: counters and histograms that one thread writes and any thread reads.
 *
 * Whoever embeds one owns its memory and puts it on the writer's own cache lines. A reader that adds up several writers gets a
 * sum that may lag by what is being written at that moment, never a torn number. */
#ifndef SLUICE_SHARED_SHARED_H
#define SLUICE_SHARED_SHARED_H

#include "shared/counter.h"
#include "shared/histogram.h"

#endif
