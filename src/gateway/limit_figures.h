/* gateway/limit_figures.h: metrics of rate limits: decisions by rule, and how full the table of what was taken is. */
#ifndef SLUICE_GATEWAY_LIMIT_FIGURES_H
#define SLUICE_GATEWAY_LIMIT_FIGURES_H

#include "observe/metrics.h"
#include "shared/limit_counters.h"

/* As metrics_source.write_some: rules may be thousands. */
bool limit_figures_write(struct limit_counters *, struct metrics_text *, uint64_t *place);

#endif
