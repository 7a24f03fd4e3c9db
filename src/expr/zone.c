/* expr/zone.c: time zones. An offset is read as it is written; a name is a file of the system's (RFC 8536), read while an expression is
 * compiled: its moments of change, and the rule for the time behind the last of them. */
#include "base/clock.h"
#include "expr/private.h"

#include <stdio.h>

#define ZONE_FILE_BYTES_MAX 65536
#define ZONE_DIRECTORY "/usr/share/zoneinfo/"

/* "M3.2.0/2": the week'th weekday of the month (5: the last) at so many seconds. */
struct change_rule {
    int month, week, weekday;
    int32_t seconds;
};

struct zone {
    uint32_t count;         /* of changes */
    const int64_t *moments; /* in order */
    const int32_t *offsets; /* from the moment of the same place on */
    int32_t first_offset;   /* before the first */
    bool has_rule, has_summer;
    int32_t standard_offset, summer_offset;
    struct change_rule summer_begins, summer_ends;
};

/* --- offsets --- */

bool zone_fixed_offset(struct slice name, int32_t *seconds)
{
    int hours, minutes;
    *seconds = 0;
    if (slice_equal(name, SLICE("UTC")) || slice_equal(name, SLICE("Z"))) return true;
    bool is_negative = slice_take_byte(&name, '-');
    if (!is_negative) (void)slice_take_byte(&name, '+');
    if (!slice_take_digits(&name, 2, &hours) || !slice_take_byte(&name, ':') ||
        !slice_take_digits(&name, 2, &minutes) || name.length)
        return false;
    if (hours > 23 || minutes > 59) return false;
    *seconds = (hours * 60 + minutes) * 60;
    if (is_negative) *seconds = -*seconds;
    return true;
}

/* --- the rule for the future: POSIX TZ as far as zone files use it --- */

/* Reads a whole number of at most three digits off *text; -1: none. */
static int take_number(struct slice *text)
{
    int value = -1;
    for (int digits = 0; digits < 3 && text->length && text->at[0] >= '0' && text->at[0] <= '9'; digits++) {
        value = (value < 0 ? 0 : value) * 10 + text->at[0] - '0';
        *text = slice_after(*text, 1);
    }
    return value;
}

/* "CET" or "<+0545>". */
static bool take_abbreviation(struct slice *text)
{
    size_t length = 0;
    if (slice_take_byte(text, '<')) {
        length = slice_find_byte(*text, '>');
        if (length == SLICE_NOT_FOUND) return false;
        *text = slice_after(*text, length + 1);
        return true;
    }
    while (length < text->length && ((text->at[length] | 0x20) >= 'a' && (text->at[length] | 0x20) <= 'z')) length++;
    *text = slice_after(*text, length);
    return length >= 3;
}

/* "-5:30:00" */
static bool take_time(struct slice *text, int32_t *seconds)
{
    bool is_negative = slice_take_byte(text, '-');
    if (!is_negative) (void)slice_take_byte(text, '+');
    int hours = take_number(text);
    if (hours < 0) return false;
    *seconds = hours * 3600;
    for (int unit = 60; unit > 0 && slice_take_byte(text, ':'); unit /= 60) {
        int part = take_number(text);
        if (part < 0) return false;
        *seconds += part * unit;
    }
    if (is_negative) *seconds = -*seconds;
    return true;
}

static bool take_change(struct slice *text, struct change_rule *rule)
{
    if (!slice_take_byte(text, ',') || !slice_take_byte(text, 'M')) return false;
    rule->month = take_number(text);
    if (!slice_take_byte(text, '.')) return false;
    rule->week = take_number(text);
    if (!slice_take_byte(text, '.')) return false;
    rule->weekday = take_number(text);
    rule->seconds = 2 * 3600;
    if (rule->month < 1 || rule->month > 12 || rule->week < 1 || rule->week > 5 || rule->weekday < 0 ||
        rule->weekday > 6)
        return false;
    return !slice_take_byte(text, '/') || take_time(text, &rule->seconds);
}

static bool read_rule(struct zone *zone, struct slice text)
{
    if (!take_abbreviation(&text) || !take_time(&text, &zone->standard_offset)) return false;
    zone->standard_offset = -zone->standard_offset; /* POSIX counts westwards */
    if (text.length == 0) return true;
    zone->has_summer = true;
    zone->summer_offset = zone->standard_offset + 3600;
    if (!take_abbreviation(&text)) return false;
    if (text.length && text.at[0] != ',') {
        if (!take_time(&text, &zone->summer_offset)) return false;
        zone->summer_offset = -zone->summer_offset;
    }
    return take_change(&text, &zone->summer_begins) && take_change(&text, &zone->summer_ends) && text.length == 0;
}

/* Seconds since 1970 of the rule's moment in a year, in the local time before it. */
static int64_t moment_of_rule(const struct change_rule *rule, int year)
{
    int64_t years = (int64_t)year - 1, days = years * 365 + years / 4 - years / 100 + years / 400 - 719162;
    for (int month = 1; month < rule->month; month++) days += calendar_days_of_month(year, month);
    int last = calendar_days_of_month(year, rule->month);
    int weekday = (int)((days + 4) % 7); /* years are after 1970 here */
    int day = (rule->weekday - weekday + 7) % 7 + 7 * (rule->week - 1);
    while (day >= last) day -= 7;
    return (days + day) * 86400 + rule->seconds;
}

static int32_t offset_by_rule(const struct zone *zone, int64_t seconds)
{
    if (!zone->has_summer) return zone->standard_offset;
    int year = (int)(1970 + (seconds + zone->standard_offset) / 31556952);
    while (moment_of_rule(&(struct change_rule){ 1, 1, 0, 0 }, year) - 7 * 86400 > seconds + zone->standard_offset)
        year--;
    int64_t begins = moment_of_rule(&zone->summer_begins, year) - zone->standard_offset;
    int64_t ends = moment_of_rule(&zone->summer_ends, year) - zone->summer_offset;
    bool is_summer = begins < ends ? seconds >= begins && seconds < ends : seconds >= begins || seconds < ends;
    return is_summer ? zone->summer_offset : zone->standard_offset;
}

int32_t zone_offset_at(const struct zone *zone, int64_t seconds)
{
    if (zone->count == 0 || seconds < zone->moments[0]) {
        return zone->count == 0 && zone->has_rule ? offset_by_rule(zone, seconds) : zone->first_offset;
    }
    uint32_t low = 0, high = zone->count; /* moments[low] <= seconds < moments[high] */
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if (zone->moments[middle] <= seconds) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return high == zone->count && zone->has_rule ? offset_by_rule(zone, seconds) : zone->offsets[low];
}

/* --- files --- */

struct header {
    uint32_t is_utc, is_standard, leaps, times, types, characters;
};

static uint32_t read_u32(const unsigned char *bytes)
{
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

static int64_t read_i64(const unsigned char *bytes)
{
    return (int64_t)((uint64_t)read_u32(bytes) << 32 | read_u32(bytes + 4));
}

#define HEADER_BYTES 44

/* Moves *file behind the header. */
static bool read_header(struct slice *file, struct header *header, char *version)
{
    if (file->length < HEADER_BYTES || !slice_starts_with(*file, SLICE("TZif"))) return false;
    const unsigned char *counts = (const unsigned char *)file->at + 20;
    *version = file->at[4];
    *header = (struct header){ read_u32(counts),      read_u32(counts + 4),  read_u32(counts + 8),
                               read_u32(counts + 12), read_u32(counts + 16), read_u32(counts + 20) };
    *file = slice_after(*file, HEADER_BYTES);
    uint32_t most = ZONE_FILE_BYTES_MAX;
    return header->is_utc <= most && header->is_standard <= most && header->leaps <= most && header->times <= most &&
           header->types <= most && header->types > 0 && header->characters <= most;
}

static size_t block_bytes(const struct header *header, size_t time_bytes)
{
    return header->times * (time_bytes + 1) + header->types * (size_t)6 + header->characters +
           header->leaps * (time_bytes + 4) + header->is_standard + header->is_utc;
}

/* The block of 64-bit times, and behind it the rule between line feeds. */
static bool read_block(struct arena *arena, struct slice file, const struct header *header, struct zone *zone)
{
    size_t bytes = block_bytes(header, 8);
    if (file.length < bytes) return false;
    const unsigned char *times = (const unsigned char *)file.at, *indexes = times + header->times * (size_t)8;
    const unsigned char *types = indexes + header->times;
    int64_t *moments = arena_allocate(arena, (header->times + 1) * sizeof *moments);
    int32_t *offsets = arena_allocate(arena, (header->times + 1) * sizeof *offsets);
    if (!moments || !offsets) return false;
    for (uint32_t i = 0; i < header->times; i++) {
        if (indexes[i] >= header->types) return false;
        moments[i] = read_i64(times + i * (size_t)8);
        offsets[i] = (int32_t)read_u32(types + indexes[i] * (size_t)6);
    }
    *zone = (struct zone){
        .count = header->times, .moments = moments, .offsets = offsets, .first_offset = (int32_t)read_u32(types)
    };
    struct slice rule = slice_after(file, bytes);
    if (!slice_take_byte(&rule, '\n')) return false;
    size_t end = slice_find_byte(rule, '\n');
    zone->has_rule = end != SLICE_NOT_FOUND && end > 0 && read_rule(zone, slice_before(rule, end));
    return true;
}

static bool read_zone(struct arena *arena, struct slice file, struct zone *zone)
{
    struct header header;
    char version;
    if (!read_header(&file, &header, &version) || version < '2') return false;
    size_t skipped = block_bytes(&header, 4);
    if (file.length < skipped) return false;
    file = slice_after(file, skipped);
    return read_header(&file, &header, &version) && read_block(arena, file, &header, zone);
}

/* Names come from the configuration, and still lead nowhere but below the directory. */
static bool is_zone_name(struct slice name)
{
    if (name.length == 0 || name.length > 64 || name.at[0] == '/' || name.at[0] == '.') return false;
    for (size_t i = 0; i < name.length; i++) {
        char byte = name.at[i];
        bool is_letter = (byte | 0x20) >= 'a' && (byte | 0x20) <= 'z';
        if (!is_letter && !(byte >= '0' && byte <= '9') && (!byte || !strchr("_+-/", byte))) return false;
    }
    return true;
}

static struct slice read_file(struct arena *arena, const char *path)
{
    FILE *file = fopen(path, "rbe");
    if (!file) return SLICE_ABSENT;
    char *bytes = arena_allocate(arena, ZONE_FILE_BYTES_MAX);
    size_t length = bytes ? fread(bytes, 1, ZONE_FILE_BYTES_MAX, file) : 0;
    (void)fclose(file);
    return length > 0 && length < ZONE_FILE_BYTES_MAX ? slice_of(bytes, length) : SLICE_ABSENT;
}

const struct zone *zone_find(struct arena *arena, struct slice name)
{
    int32_t offset;
    struct zone *zone = arena_allocate_zeroed(arena, sizeof *zone);
    if (!zone) return NULL;
    if (zone_fixed_offset(name, &offset)) {
        zone->first_offset = offset;
        return zone;
    }
    if (!is_zone_name(name)) return NULL;
    char path[128];
    snprintf(path, sizeof path, ZONE_DIRECTORY "%.*s", SLICE_PRINT(name));
    struct arena scratch;
    arena_init(&scratch, NULL);
    struct slice file = read_file(&scratch, path);
    bool good = !slice_is_absent(file) && read_zone(arena, file, zone);
    arena_release(&scratch);
    return good ? zone : NULL;
}
