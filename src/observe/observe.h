/* observe/: what the gateway shows of itself: metrics.h (figures, Prometheus text) and access_log.h (a JSON line an exchange). Both take
 * the plain record of record.h and know no exchange. Workers write to lines and pages of their own; others only read or carry away. */
#ifndef SLUICE_OBSERVE_OBSERVE_H
#define SLUICE_OBSERVE_OBSERVE_H

#include "observe/access_log.h"
#include "observe/metrics.h"

#endif
