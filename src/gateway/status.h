/* gateway/status.h: the workers' figures as people and Prometheus read them. */
#ifndef SLUICE_GATEWAY_STATUS_H
#define SLUICE_GATEWAY_STATUS_H

#include "gateway/worker.h"
#include "observe/metrics.h"

struct status {
    unsigned workers;
    uint64_t snapshot_version, routes, uptime_ms;
    bool draining;
    uint64_t gateways_draining; /* of before an upgrade */
    const struct worker_figures *figures;
    uint64_t access_log_lines_dropped;
};

/* One JSON object, NUL-terminated; cut to nothing ("{}") where it does not fit. */
void status_write(const struct status *, char *into, size_t size);
void figures_write_metrics(struct metrics_text *, const struct worker_figures *);

#endif
