#include "base/clock.h"

#include <time.h>

#define NS_PER_SECOND UINT64_C(1000000000)
#define SECONDS_PER_DAY 86400u

static uint64_t read_clock(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * NS_PER_SECOND + (uint64_t)now.tv_nsec;
}

uint64_t clock_monotonic_ns(void) { return read_clock(CLOCK_MONOTONIC); }
uint64_t clock_wall_ns(void) { return read_clock(CLOCK_REALTIME); }

struct calendar {
    unsigned year, month, day; /* month and day count from 1 */
    unsigned weekday;          /* 0: Sunday */
    unsigned hour, minute, second;
};

/* UTC in the Gregorian calendar. Not gmtime_r: that takes the C library's time zone lock, which another thread may hold
 * while it reads a file. The year is counted from 1 March, so that the leap day is its last and months follow the
 * pattern 31 30 31 30 31 that (5m + 2) / 153 describes. */
static struct calendar calendar_from(uint64_t seconds)
{
    unsigned days = (unsigned)(seconds / SECONDS_PER_DAY);
    unsigned rest = (unsigned)(seconds % SECONDS_PER_DAY);

    unsigned shifted = days + 719468; /* from 1970-01-01 back to 0000-03-01 */
    unsigned era = shifted / 146097;  /* 400 years */
    unsigned day_of_era = shifted % 146097;
    unsigned year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    unsigned day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    unsigned month_from_march = (5 * day_of_year + 2) / 153;
    unsigned month = month_from_march < 10 ? month_from_march + 3 : month_from_march - 9;

    return (struct calendar){
        .year = era * 400 + year_of_era + (month <= 2),
        .month = month,
        .day = day_of_year - (153 * month_from_march + 2) / 5 + 1,
        .weekday = (days + 4) % 7, /* 1970-01-01 was a Thursday */
        .hour = rest / 3600,
        .minute = rest / 60 % 60,
        .second = rest % 60,
    };
}

static char *put_digits(char *into, unsigned value, int digits)
{
    for (int i = digits - 1; i >= 0; i--) {
        into[i] = (char)('0' + value % 10);
        value /= 10;
    }
    return into + digits;
}

static char *put_time_of_day(char *into, const struct calendar *when)
{
    into = put_digits(into, when->hour, 2);
    *into++ = ':';
    into = put_digits(into, when->minute, 2);
    *into++ = ':';
    return put_digits(into, when->second, 2);
}

void clock_write_iso8601(uint64_t wall_ns, char into[CLOCK_ISO8601_BYTES])
{
    struct calendar when = calendar_from(wall_ns / NS_PER_SECOND);
    char *next = put_digits(into, when.year, 4);
    *next++ = '-';
    next = put_digits(next, when.month, 2);
    *next++ = '-';
    next = put_digits(next, when.day, 2);
    *next++ = 'T';
    next = put_time_of_day(next, &when);
    *next++ = '.';
    next = put_digits(next, (unsigned)(wall_ns % NS_PER_SECOND / 1000000), 3);
    *next++ = 'Z';
    *next = '\0';
}

void clock_write_http_date(uint64_t wall_ns, char into[CLOCK_HTTP_DATE_BYTES])
{
    static const char weekdays[7][5] = { "Sun,", "Mon,", "Tue,", "Wed,", "Thu,", "Fri,", "Sat," };
    static const char months[12][4] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                        "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" };
    struct calendar when = calendar_from(wall_ns / NS_PER_SECOND);
    char *next = mempcpy(into, weekdays[when.weekday], 4);
    *next++ = ' ';
    next = put_digits(next, when.day, 2);
    *next++ = ' ';
    next = mempcpy(next, months[when.month - 1], 3);
    *next++ = ' ';
    next = put_digits(next, when.year, 4);
    *next++ = ' ';
    next = put_time_of_day(next, &when);
    memcpy(next, " GMT", 5);
}
