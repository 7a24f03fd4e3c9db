/* expr/time.c: timestamps (RFC 3339, years 1 to 9999) and durations (64 bits of nanoseconds): reading, writing, and asking what a
 * calendar in some zone says. The calendar is the Gregorian one, also for the time before it. */
#include "base/clock.h"
#include "expr/private.h"

#include <math.h>

#define BILLION 1000000000
#define DAY_SECONDS 86400
#define TIMESTAMP_FIRST (-62135596800) /* 0001-01-01T00:00:00Z */
#define TIMESTAMP_LAST 253402300799    /* 9999-12-31T23:59:59Z */

bool timestamp_in_range(int64_t seconds) { return seconds >= TIMESTAMP_FIRST && seconds <= TIMESTAMP_LAST; }

/* --- the calendar --- */

struct moment {
    int year, month, day; /* month and day from 1 */
    int weekday;          /* 0: Sunday */
    int yearday;          /* from 0 */
    int seconds;          /* of the day */
};

static int days_before_month(int year, int month)
{
    static const int before[] = { 0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334 };
    return before[month - 1] + (month > 2 && calendar_is_leap(year));
}

static int64_t floor_divide(int64_t a, int64_t b) { return a / b - (a % b < 0); }

/* Since 1970-01-01. */
static int64_t days_of_year(int year)
{
    int64_t years = (int64_t)year - 1; /* -1 of the year 0, which a zone west of UTC can come to */
    return years * 365 + floor_divide(years, 4) - floor_divide(years, 100) + floor_divide(years, 400) - 719162;
}

static struct moment moment_of(int64_t seconds)
{
    struct moment moment;
    int64_t days = floor_divide(seconds, DAY_SECONDS);
    moment.seconds = (int)(seconds - days * DAY_SECONDS);
    moment.weekday = (int)(days + 4 - 7 * floor_divide(days + 4, 7)); /* 1970 began with a Thursday */
    moment.year = (int)(1970 + floor_divide(days * 400, 146097));     /* right, or one too late */
    while (days_of_year(moment.year) > days) moment.year--;
    while (days_of_year(moment.year + 1) <= days) moment.year++;
    moment.yearday = (int)(days - days_of_year(moment.year));
    moment.month = 12;
    while (days_before_month(moment.year, moment.month) > moment.yearday) moment.month--;
    moment.day = moment.yearday - days_before_month(moment.year, moment.month) + 1;
    return moment;
}

/* --- timestamps as text --- */

/* ".5": digits beyond the ninth are read and dropped. */
static bool take_fraction(struct slice *text, int32_t *nanoseconds)
{
    int32_t unit = BILLION / 10;
    *nanoseconds = 0;
    if (!slice_take_byte(text, '.')) return true;
    size_t count = 0;
    for (; count < text->length && text->at[count] >= '0' && text->at[count] <= '9'; count++) {
        *nanoseconds += (text->at[count] - '0') * unit;
        unit /= 10;
    }
    *text = slice_after(*text, count);
    return count > 0;
}

static bool take_offset(struct slice *text, int64_t *seconds)
{
    int hours, minutes;
    *seconds = 0;
    if (slice_take_byte(text, 'Z')) return true;
    bool is_negative = slice_take_byte(text, '-');
    if (!is_negative && !slice_take_byte(text, '+')) return false;
    if (!slice_take_digits(text, 2, &hours) || !slice_take_byte(text, ':') || !slice_take_digits(text, 2, &minutes))
        return false;
    if (hours > 23 || minutes > 59) return false;
    *seconds = (hours * 60 + minutes) * 60;
    if (is_negative) *seconds = -*seconds;
    return true;
}

bool timestamp_parse(struct slice text, struct expression_value *value)
{
    int year, month, day, hour, minute, second;
    int64_t offset;
    bool good = slice_take_digits(&text, 4, &year) && slice_take_byte(&text, '-') &&
                slice_take_digits(&text, 2, &month) && slice_take_byte(&text, '-') &&
                slice_take_digits(&text, 2, &day) && slice_take_byte(&text, 'T') &&
                slice_take_digits(&text, 2, &hour) && slice_take_byte(&text, ':') &&
                slice_take_digits(&text, 2, &minute) && slice_take_byte(&text, ':') &&
                slice_take_digits(&text, 2, &second);
    value->type = EXPRESSION_TIMESTAMP;
    if (!good || !take_fraction(&text, &value->nanoseconds) || !take_offset(&text, &offset) || text.length)
        return false;
    if (year < 1 || month < 1 || month > 12 || hour > 23 || minute > 59 || second > 59) return false;
    if (day < 1 || day > calendar_days_of_month(year, month)) return false;
    int64_t days = days_of_year(year) + days_before_month(year, month) + day - 1;
    value->integer = days * DAY_SECONDS + hour * 3600 + minute * 60 + second - offset;
    return timestamp_in_range(value->integer);
}

/* ".123", as short as it can be; nothing for 0. */
static size_t write_fraction(int32_t nanoseconds, char *into)
{
    if (nanoseconds == 0) return 0;
    snprintf(into, 12, ".%09d", (int)nanoseconds);
    size_t length = 10;
    while (into[length - 1] == '0') length--;
    return length;
}

size_t timestamp_write(const struct expression_value *value, char into[40])
{
    struct moment moment = moment_of(value->integer);
    int length = snprintf(into, 24, "%04d-%02d-%02dT%02d:%02d:%02d", moment.year, moment.month, moment.day,
                          moment.seconds / 3600, moment.seconds / 60 % 60, moment.seconds % 60);
    size_t end = (size_t)length + write_fraction(value->nanoseconds, into + length);
    into[end] = 'Z';
    return end + 1;
}

/* --- durations as text --- */

static bool take_unit(struct slice *text, int64_t *nanoseconds)
{
    static const struct {
        const char *name;
        int64_t nanoseconds;
    } units[] = {
        { "ns", 1 },       { "us", 1000 },   { "µs", 1000 },          { "μs", 1000 }, /* both signs for micro */
        { "ms", 1000000 }, { "s", BILLION }, { "m", 60LL * BILLION }, { "h", 3600LL * BILLION },
    };
    for (size_t i = 0; i < COUNT_OF(units); i++) {
        struct slice name = slice_from_cstring(units[i].name);
        if (!slice_starts_with(*text, name)) continue;
        *text = slice_after(*text, name.length);
        *nanoseconds = units[i].nanoseconds;
        return true;
    }
    return false;
}

/* A number with its unit, taken off sum (which is negative so that the least duration can be read too). */
static bool take_part(struct slice *text, int64_t *sum)
{
    size_t whole = 0;
    int64_t count = 0, unit, part;
    int32_t fraction = 0;
    bool overflow = false;
    while (whole < text->length && text->at[whole] >= '0' && text->at[whole] <= '9') {
        overflow |= __builtin_mul_overflow(count, (int64_t)10, &count);
        overflow |= __builtin_add_overflow(count, (int64_t)(text->at[whole++] - '0'), &count);
    }
    *text = slice_after(*text, whole);
    struct slice before = *text;
    if (!take_fraction(text, &fraction)) {
        if (whole == 0 || before.length == 0) return false; /* "5." is fine, "." is not */
    } else if (whole == 0 && before.length == text->length) {
        return false;
    }
    if (overflow || !take_unit(text, &unit)) return false;
    if (__builtin_mul_overflow(count, unit, &part) || __builtin_sub_overflow(*sum, part, sum)) return false;
    part = (int64_t)((__int128)fraction * unit / BILLION);
    return !__builtin_sub_overflow(*sum, part, sum);
}

bool duration_parse(struct slice text, int64_t *nanoseconds)
{
    bool is_negative = slice_take_byte(&text, '-');
    if (!is_negative) (void)slice_take_byte(&text, '+');
    int64_t sum = 0;
    if (slice_equal(text, SLICE("0"))) text = SLICE("0s");
    if (text.length == 0) return false;
    while (text.length > 0) {
        if (!take_part(&text, &sum)) return false;
    }
    *nanoseconds = sum;
    return is_negative || !__builtin_sub_overflow((int64_t)0, sum, nanoseconds);
}

size_t duration_write(int64_t nanoseconds, char into[40])
{
    uint64_t magnitude = nanoseconds < 0 ? 0 - (uint64_t)nanoseconds : (uint64_t)nanoseconds;
    int length = snprintf(into, 24, "%s%llu", nanoseconds < 0 ? "-" : "", (unsigned long long)(magnitude / BILLION));
    size_t end = (size_t)length + write_fraction((int32_t)(magnitude % BILLION), into + length);
    into[end] = 's';
    return end + 1;
}

/* --- doubles as text --- */

/* Digits d with a point behind the first `whole` of them; zeros where there are none. */
static size_t write_plain(char *into, const char *digits, int count, int whole)
{
    size_t length = 0;
    if (whole <= 0) into[length++] = '0';
    for (int i = 0; i < whole; i++) into[length++] = i < count ? digits[i] : '0';
    if (whole >= count) return length;
    into[length++] = '.';
    for (int i = whole; i < 0; i++) into[length++] = '0';
    for (int i = whole > 0 ? whole : 0; i < count; i++) into[length++] = digits[i];
    return length;
}

/* The fewest digits that read back as the same number; plain from 1e-6 up to 1e21, with an exponent beyond. */
size_t double_write(double number, char into[40])
{
    char text[40], digits[20];
    if (isnan(number)) return (size_t)snprintf(into, 40, "NaN");
    if (isinf(number)) return (size_t)snprintf(into, 40, "%sInfinity", number < 0 ? "-" : "");
    size_t sign = signbit(number) ? 1 : 0;
    int precision = 0;
    into[0] = '-';
    do {
        snprintf(text, sizeof text, "%.*e", precision, fabs(number));
    } while (strtod(text, NULL) != fabs(number) && precision++ < 16);
    char *mark = strchr(text, 'e');
    int exponent = (int)strtol(mark + 1, NULL, 10), count = 0;
    for (const char *at = text; at < mark; at++) {
        if (*at != '.') digits[count++] = *at;
    }
    if (exponent < 21 && exponent >= -6) return sign + write_plain(into + sign, digits, count, exponent + 1);
    size_t length = sign + write_plain(into + sign, digits, count, 1);
    return length + (size_t)snprintf(into + length, 40 - length, "e%s%d", exponent < 0 ? "" : "+", exponent);
}

/* --- accessors --- */

enum part {
    PART_YEAR,
    PART_MONTH,
    PART_DAY_OF_YEAR,
    PART_DAY_OF_MONTH,
    PART_DATE,
    PART_WEEKDAY,
    PART_HOURS,
    PART_MINUTES,
    PART_SECONDS,
    PART_MILLISECONDS
};

/* Seconds to add to UTC: by the constant's zone, or what a text that came while running says. */
static bool offset_of(struct evaluation *evaluation, const struct term *term, const struct expression_value *arguments,
                      int32_t *seconds)
{
    *seconds = 0;
    if (term->count < 2) return true;
    if (term->zone) {
        *seconds = zone_offset_at(term->zone, arguments[0].integer);
        return true;
    }
    if (arguments[1].type != EXPRESSION_STRING) return evaluation_no_overload(evaluation);
    if (zone_fixed_offset(arguments[1].text, seconds)) return true;
    return evaluation_fail(evaluation, "a time zone that is no constant has to be an offset (\"+02:00\")");
}

static int64_t timestamp_part(const struct moment *moment, int32_t nanoseconds, enum part part)
{
    switch (part) {
    case PART_YEAR: return moment->year;
    case PART_MONTH: return moment->month - 1;
    case PART_DAY_OF_YEAR: return moment->yearday;
    case PART_DAY_OF_MONTH: return moment->day - 1;
    case PART_DATE: return moment->day;
    case PART_WEEKDAY: return moment->weekday;
    case PART_HOURS: return moment->seconds / 3600;
    case PART_MINUTES: return moment->seconds / 60 % 60;
    case PART_SECONDS: return moment->seconds % 60;
    default: return nanoseconds / 1000000;
    }
}

static bool duration_part(int64_t nanoseconds, enum part part, int64_t *value)
{
    switch (part) {
    case PART_HOURS: *value = nanoseconds / BILLION / 3600; return true;
    case PART_MINUTES: *value = nanoseconds / BILLION / 60; return true;
    case PART_SECONDS: *value = nanoseconds / BILLION; return true;
    case PART_MILLISECONDS: *value = nanoseconds / 1000000 % 1000; return true;
    default: return false;
    }
}

static bool run_part(struct evaluation *evaluation, const struct term *term, const struct expression_value *arguments,
                     struct expression_value *result, enum part part)
{
    int64_t value = 0;
    int32_t offset;
    if (arguments->type == EXPRESSION_DURATION && term->count == 1 && duration_part(arguments->integer, part, &value)) {
        *result = expression_int(value);
        return true;
    }
    if (arguments->type != EXPRESSION_TIMESTAMP) return evaluation_no_overload(evaluation);
    if (!offset_of(evaluation, term, arguments, &offset)) return false;
    struct moment moment = moment_of(arguments->integer + offset);
    *result = expression_int(timestamp_part(&moment, arguments->nanoseconds, part));
    return true;
}

/* One function for each part, so that a row of the table is all there is to know of it. */
static bool run_year(struct evaluation *evaluation, const struct term *term, const struct expression_value *arguments,
                     struct expression_value *result)
{
    return run_part(evaluation, term, arguments, result, PART_YEAR);
}

static bool run_month(struct evaluation *evaluation, const struct term *term, const struct expression_value *arguments,
                      struct expression_value *result)
{
    return run_part(evaluation, term, arguments, result, PART_MONTH);
}

static bool run_day_of_year(struct evaluation *evaluation, const struct term *term,
                            const struct expression_value *arguments, struct expression_value *result)
{
    return run_part(evaluation, term, arguments, result, PART_DAY_OF_YEAR);
}

static bool run_day_of_month(struct evaluation *evaluation, const struct term *term,
                             const struct expression_value *arguments, struct expression_value *result)
{
    return run_part(evaluation, term, arguments, result, PART_DAY_OF_MONTH);
}

static bool run_date(struct evaluation *evaluation, const struct term *term, const struct expression_value *arguments,
                     struct expression_value *result)
{
    return run_part(evaluation, term, arguments, result, PART_DATE);
}

static bool run_weekday(struct evaluation *evaluation, const struct term *term,
                        const struct expression_value *arguments, struct expression_value *result)
{
    return run_part(evaluation, term, arguments, result, PART_WEEKDAY);
}

static bool run_hours(struct evaluation *evaluation, const struct term *term, const struct expression_value *arguments,
                      struct expression_value *result)
{
    return run_part(evaluation, term, arguments, result, PART_HOURS);
}

static bool run_minutes(struct evaluation *evaluation, const struct term *term,
                        const struct expression_value *arguments, struct expression_value *result)
{
    return run_part(evaluation, term, arguments, result, PART_MINUTES);
}

static bool run_seconds(struct evaluation *evaluation, const struct term *term,
                        const struct expression_value *arguments, struct expression_value *result)
{
    return run_part(evaluation, term, arguments, result, PART_SECONDS);
}

static bool run_milliseconds(struct evaluation *evaluation, const struct term *term,
                             const struct expression_value *arguments, struct expression_value *result)
{
    return run_part(evaluation, term, arguments, result, PART_MILLISECONDS);
}

#define OF_TIMESTAMP "timestamp: int; timestamp, string: int"
#define OF_BOTH OF_TIMESTAMP "; duration: int"

const struct function functions_time[] = {
    { "getFullYear", FUNCTION_RECEIVER, .overloads = OF_TIMESTAMP, .run = run_year, .summary = "The year." },
    { "getMonth", FUNCTION_RECEIVER, .overloads = OF_TIMESTAMP, .run = run_month, .summary = "The month, from 0." },
    { "getDayOfYear", FUNCTION_RECEIVER, .overloads = OF_TIMESTAMP, .run = run_day_of_year,
      .summary = "The day of the year, from 0." },
    { "getDayOfMonth", FUNCTION_RECEIVER, .overloads = OF_TIMESTAMP, .run = run_day_of_month,
      .summary = "The day of the month, from 0." },
    { "getDate", FUNCTION_RECEIVER, .overloads = OF_TIMESTAMP, .run = run_date,
      .summary = "The day of the month, from 1." },
    { "getDayOfWeek", FUNCTION_RECEIVER, .overloads = OF_TIMESTAMP, .run = run_weekday,
      .summary = "The day of the week, from 0 for Sunday." },
    { "getHours", FUNCTION_RECEIVER, .overloads = OF_BOTH, .run = run_hours,
      .summary = "The hour; of a duration all its hours." },
    { "getMinutes", FUNCTION_RECEIVER, .overloads = OF_BOTH, .run = run_minutes,
      .summary = "The minute; of a duration all its minutes." },
    { "getSeconds", FUNCTION_RECEIVER, .overloads = OF_BOTH, .run = run_seconds,
      .summary = "The second; of a duration all its seconds." },
    { "getMilliseconds", FUNCTION_RECEIVER, .overloads = OF_BOTH, .run = run_milliseconds,
      .summary = "The milliseconds behind the second." },
    { .name = NULL },
};
