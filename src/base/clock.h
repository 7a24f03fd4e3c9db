/* base/clock.h: monotonic time for deadlines, wall time for people. Request code takes the loop's cached time instead. */
#ifndef SLUICE_BASE_CLOCK_H
#define SLUICE_BASE_CLOCK_H

#include "base/base.h"

uint64_t clock_monotonic_ns(void);
uint64_t clock_wall_ns(void); /* since the Unix epoch */

#define CLOCK_ISO8601_BYTES 25
/* "2026-01-31T12:00:00.123Z" plus NUL; RFC 3339, UTC, milliseconds. */
void clock_write_iso8601(uint64_t wall_ns, char into[CLOCK_ISO8601_BYTES]);
#define CLOCK_HTTP_DATE_BYTES 30
/* "Sun, 06 Nov 1994 08:49:37 GMT" plus NUL; RFC 9110 5.6.7. */
void clock_write_http_date(uint64_t wall_ns, char into[CLOCK_HTTP_DATE_BYTES]);

#endif
