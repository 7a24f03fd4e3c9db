/* base/clock.h: monotonic time for deadlines, wall time for people. Request code takes the loop's cached time instead. */
#ifndef SLUICE_BASE_CLOCK_H
#define SLUICE_BASE_CLOCK_H

#include "base/slice.h"

uint64_t clock_monotonic_ns(void);
uint64_t clock_wall_ns(void); /* since the Unix epoch */

/* The Gregorian calendar, also for the time before it; months from 1. */
static inline bool calendar_is_leap(int year) { return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0); }
static inline int calendar_days_of_month(int year, int month)
{
    static const uint8_t days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    return days[month - 1] + (month == 2 && calendar_is_leap(year));
}

#define CLOCK_ISO8601_BYTES 25
/* "2026-01-31T12:00:00.123Z" plus NUL; RFC 3339, UTC, milliseconds. */
void clock_write_iso8601(uint64_t wall_ns, char into[CLOCK_ISO8601_BYTES]);
#define CLOCK_HTTP_DATE_BYTES 30
/* "Sun, 06 Nov 1994 08:49:37 GMT" plus NUL; RFC 9110 5.6.7. */
void clock_write_http_date(uint64_t wall_ns, char into[CLOCK_HTTP_DATE_BYTES]);
/* Seconds since the Unix epoch of such a date, or of one in the two old forms that are still to be read: "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6
 * 08:49:37 1994". Years of two digits are at most 50 ahead of now_s. False: another text, a time that there is not, or one before 1970. */
bool clock_read_http_date(struct slice text, uint64_t now_s, uint64_t *seconds) MUST_USE;

#endif
