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
    int year, month, day; /* month and day count from 1 */
    int weekday;          /* 0: Sunday */
    int hour, minute, second;
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
        .year = (int)(era * 400 + year_of_era + (month <= 2)),
        .month = (int)month,
        .day = (int)(day_of_year - (153 * month_from_march + 2) / 5 + 1),
        .weekday = (int)((days + 4) % 7), /* 1970-01-01 was a Thursday */
        .hour = (int)(rest / 3600),
        .minute = (int)(rest / 60 % 60),
        .second = (int)(rest % 60),
    };
}

static char *put_digits(char *into, int value, int digits)
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

static const char months[12][4] = {
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"
};

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
    next = put_digits(next, (int)(wall_ns % NS_PER_SECOND / 1000000), 3);
    *next++ = 'Z';
    *next = '\0';
}

void clock_write_http_date(uint64_t wall_ns, char into[CLOCK_HTTP_DATE_BYTES])
{
    static const char weekdays[7][5] = { "Sun,", "Mon,", "Tue,", "Wed,", "Thu,", "Fri,", "Sat," };
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

/* --- reading --- */

static bool take_text(struct slice *text, struct slice expected)
{
    if (!slice_equal(slice_before(*text, expected.length), expected)) return false;
    *text = slice_after(*text, expected.length);
    return true;
}

static bool take_month(struct slice *text, int *month)
{
    for (*month = 1; *month <= (int)COUNT_OF(months); ++*month) {
        if (take_text(text, slice_of(months[*month - 1], 3))) return true;
    }
    return false;
}

/* Which day it was follows from the date: the name is passed over. */
static bool take_weekday(struct slice *text)
{
    size_t length = 0;
    while (length < text->length && ((text->at[length] | 0x20) >= 'a' && (text->at[length] | 0x20) <= 'z')) length++;
    *text = slice_after(*text, length);
    return length >= 3;
}

static bool take_time_of_day(struct slice *text, struct calendar *when)
{
    return slice_take_digits(text, 2, &when->hour) && slice_take_byte(text, ':') &&
           slice_take_digits(text, 2, &when->minute) && slice_take_byte(text, ':') &&
           slice_take_digits(text, 2, &when->second);
}

/* RFC 9110 5.6.7: what seems to be more than 50 years ahead is the last such year that has been. */
static int whole_year(int two_digits, uint64_t now_s)
{
    int now = calendar_from(now_s).year, year = now - now % 100 + two_digits;
    return year > now + 50 ? year - 100 : year;
}

/* "06 Nov 1994" or "06-Nov-94". */
static bool take_date(struct slice *text, uint64_t now_s, struct calendar *when)
{
    if (!slice_take_digits(text, 2, &when->day)) return false;
    bool is_old = text->length > 0 && text->at[0] == '-';
    struct slice joint = is_old ? SLICE("-") : SLICE(" ");
    if (!take_text(text, joint) || !take_month(text, &when->month) || !take_text(text, joint) ||
        !slice_take_digits(text, is_old ? 2 : 4, &when->year))
        return false;
    if (is_old) when->year = whole_year(when->year, now_s);
    return true;
}

/* "Nov  6 08:49:37 1994", as asctime() writes it. */
static bool take_asctime(struct slice *text, struct calendar *when)
{
    if (!take_month(text, &when->month) || !slice_take_byte(text, ' ')) return false;
    size_t digits = slice_take_byte(text, ' ') ? 1 : 2;
    return slice_take_digits(text, digits, &when->day) && slice_take_byte(text, ' ') && take_time_of_day(text, when) &&
           slice_take_byte(text, ' ') && slice_take_digits(text, 4, &when->year);
}

/* calendar_from() the other way. A leap second is the first of the next minute. */
static uint64_t seconds_of(const struct calendar *when)
{
    int64_t year = when->year - (when->month <= 2), month_from_march = (when->month + 9) % 12;
    int64_t days = year * 365 + year / 4 - year / 100 + year / 400 + (153 * month_from_march + 2) / 5 + when->day - 1 -
                   719468;
    return (uint64_t)(days * SECONDS_PER_DAY + when->hour * 3600 + when->minute * 60 + when->second);
}

bool clock_read_http_date(struct slice text, uint64_t now_s, uint64_t *seconds)
{
    struct calendar when;
    if (!take_weekday(&text)) return false;
    bool is_read = take_text(&text, SLICE(", ")) ? take_date(&text, now_s, &when) && slice_take_byte(&text, ' ') &&
                                                       take_time_of_day(&text, &when) && take_text(&text, SLICE(" GMT"))
                                                 : slice_take_byte(&text, ' ') && take_asctime(&text, &when);
    if (!is_read || text.length > 0) return false;
    if (when.year < 1970 || when.day < 1 || when.day > calendar_days_of_month(when.year, when.month)) return false;
    if (when.hour > 23 || when.minute > 59 || when.second > 60) return false;
    *seconds = seconds_of(&when);
    return true;
}
