/* What is written as one plain word: numbers, sizes, durations, booleans, names of a set. */
#include "base/nearest.h"
#include "config/private.h"

#include <inttypes.h>

static bool is_plain(const struct node *node) { return node->kind == NODE_SCALAR && !node->quoted; }

/* An item of a list has no name of its own. */
static bool is_list_item(const struct node *node) { return node->parent && node->parent->kind == NODE_LIST; }

bool schema_refuse(struct schema_reading *reading, const struct field *field, const struct node *node, const char *hint,
                   const char *wanted)
{
    const char *each = is_list_item(node) ? "each of " : "";
    const char *what = node->kind == NODE_MAP    ? "a map"
                       : node->kind == NODE_LIST ? "a list"
                       : node->kind == NODE_NULL ? "nothing"
                                                 : NULL;
    if (what)
        problems_add(reading->problems, node, hint, "%s\"%s\" must be %s, not %s", each, field->name, wanted, what);
    else if (field_may_be_secret(field))
        problems_add(reading->problems, node, hint, "%s\"%s\" must be %s", each, field->name, wanted);
    else
        problems_add(reading->problems, node, hint, "%s\"%s\" must be %s, not \"%s\"", each, field->name, wanted,
                     problems_excerpt(node->text).text);
    return false;
}

/* "30s", "500 ms", "1h": a number that brought its unit along. */
static bool has_unit_of_time(struct slice text)
{
    size_t digits = 0;
    while (digits < text.length && ((text.at[digits] >= '0' && text.at[digits] <= '9') || text.at[digits] == '.'))
        digits++;
    struct slice unit = slice_trim(slice_after(text, digits));
    static const char *const units[] = { "ms", "s", "sec", "m", "min", "h", "d" };
    for (size_t i = 0; digits > 0 && i < COUNT_OF(units); i++) {
        if (slice_equal(unit, slice_from_cstring(units[i]))) return true;
    }
    return false;
}

static const char *number_hint(const struct node *node)
{
    if (node->kind != NODE_SCALAR) return NULL;
    if (node->quoted) return "a number stands without quotes";
    if (node->text.length > 1 && node->text.at[0] == '0' && node->text.at[1] != '.')
        return "written in decimal digits, without a leading 0";
    return NULL;
}

/* Decimal digits, perhaps a minus; no leading zero, which other readers take for octal. */
static bool parse_integer(struct slice text, int64_t *value)
{
    struct slice digits = text.length && text.at[0] == '-' ? slice_after(text, 1) : text;
    if (digits.length > 1 && digits.at[0] == '0') return false;
    return slice_parse_int64(text, value);
}

/* Digits that are a number, but one that no field takes; "-1" where there is nothing below 0. */
static bool is_beyond_all(struct slice text)
{
    if (text.length && text.at[0] == '-') text = slice_after(text, 1);
    for (size_t i = 0; i < text.length; i++) {
        if (text.at[i] < '0' || text.at[i] > '9') return false;
    }
    return text.length > 0 && (text.length == 1 || text.at[0] != '0');
}

static bool is_limited(const struct field *field) { return field->minimum != 0 || field->maximum != 0; }

static bool is_within(const struct field *field, uint64_t value)
{
    return !is_limited(field) || (value <= (uint64_t)field->maximum && value >= (uint64_t)field->minimum);
}

static bool read_integer(struct schema_reading *reading, const struct field *field, const struct node *node,
                         int64_t *value)
{
    bool is_read = is_plain(node) && parse_integer(node->text, value);
    if (!is_read && !(is_plain(node) && is_beyond_all(node->text) && is_limited(field)))
        return schema_refuse(reading, field, node, number_hint(node), "a whole number");
    if (is_read && (!is_limited(field) || (*value >= field->minimum && *value <= field->maximum))) return true;
    char wanted[64];
    snprintf(wanted, sizeof wanted, "between %" PRId64 " and %" PRId64, field->minimum, field->maximum);
    return schema_refuse(reading, field, node, NULL, wanted);
}

bool schema_read_integer(struct schema_reading *reading, const char *name, int64_t minimum, int64_t maximum,
                         const struct node *node, int64_t *value)
{
    const struct field field = { .name = name, .minimum = minimum, .maximum = maximum };
    return read_integer(reading, &field, node, value);
}

/* "5", "0.25" */
static bool parse_percentage(struct slice text, uint64_t *hundredths)
{
    size_t point = slice_find_byte(text, '.');
    struct slice before = slice_before(text, point);
    uint64_t whole, fraction = 0;
    if (before.length > 3 || !slice_parse_uint64(before, &whole)) return false;
    if (point != SLICE_NOT_FOUND) {
        struct slice digits = slice_after(text, point + 1);
        if (digits.length > 2 || !slice_parse_uint64(digits, &fraction)) return false;
        if (digits.length == 1) fraction *= 10;
    }
    *hundredths = whole * 100 + fraction;
    return *hundredths <= 10000;
}

bool schema_read_percentage(struct schema_reading *reading, const char *name, const struct node *node,
                            uint64_t *hundredths)
{
    const struct field field = { .name = name };
    if (is_plain(node) && parse_percentage(node->text, hundredths)) return true;
    return schema_refuse(reading, &field, node, number_hint(node), "a number from 0 to 100 with at most two decimals");
}

static const struct {
    const char *unit;
    uint64_t bytes;
} size_units[] = {
    { "TiB", 1ull << 40 },      { "GiB", 1ull << 30 },
    { "MiB", 1ull << 20 },      { "KiB", 1ull << 10 },
    { "TB", 1000000000000ull }, { "GB", 1000000000ull },
    { "MB", 1000000ull },       { "kB", 1000ull },
    { "KB", 1000ull },          { "B", 1 },
};

static bool parse_bytes(struct slice text, uint64_t *bytes)
{
    uint64_t factor = 1;
    for (size_t i = 0; i < COUNT_OF(size_units); i++) {
        struct slice unit = slice_from_cstring(size_units[i].unit);
        if (!slice_ends_with(text, unit)) continue;
        factor = size_units[i].bytes;
        text = slice_trim(slice_before(text, text.length - unit.length));
        break;
    }
    int64_t number;
    if (!parse_integer(text, &number) || number < 0) return false;
    return !__builtin_mul_overflow((uint64_t)number, factor, bytes) && *bytes <= INT64_MAX;
}

/* In the largest binary unit that divides it. */
static struct excerpt bytes_text(uint64_t bytes)
{
    struct excerpt shown;
    size_t unit = 0;
    while (unit < 4 && (bytes == 0 || bytes % size_units[unit].bytes != 0)) unit++;
    if (unit < 4)
        snprintf(shown.text, sizeof shown.text, "%" PRIu64 "%s", bytes / size_units[unit].bytes, size_units[unit].unit);
    else
        snprintf(shown.text, sizeof shown.text, "%" PRIu64, bytes);
    return shown;
}

static bool read_bytes(struct schema_reading *reading, const struct field *field, const struct node *node,
                       uint64_t *bytes)
{
    if (node->kind != NODE_SCALAR || !parse_bytes(node->text, bytes))
        return schema_refuse(reading, field, node, "bytes, or with a unit: 64KiB, 1MiB, 10MB", "a size");
    if (is_within(field, *bytes)) return true;
    char wanted[160];
    snprintf(wanted, sizeof wanted, "between %s and %s", bytes_text((uint64_t)field->minimum).text,
             bytes_text((uint64_t)field->maximum).text);
    return schema_refuse(reading, field, node, NULL, wanted);
}

static bool read_milliseconds(struct schema_reading *reading, const struct field *field, const struct node *node,
                              uint64_t *ms)
{
    int64_t number;
    bool is_read = is_plain(node) && parse_integer(node->text, &number) && number >= 0;
    if (!is_read && !(is_plain(node) && is_beyond_all(node->text) && is_limited(field))) {
        bool has_unit = node->kind == NODE_SCALAR && has_unit_of_time(node->text);
        return schema_refuse(reading, field, node, has_unit ? "in milliseconds, without a unit" : number_hint(node),
                             "a whole number of milliseconds");
    }
    if (is_read) *ms = (uint64_t)number;
    if (is_read && is_within(field, *ms)) return true;
    char wanted[96];
    snprintf(wanted, sizeof wanted, "between %" PRId64 " and %" PRId64 " milliseconds", field->minimum, field->maximum);
    return schema_refuse(reading, field, node, NULL, wanted);
}

/* "10", "0.5", "2.25": at most three digits behind the point, so that milliseconds are exact. */
static bool parse_seconds(struct slice text, uint64_t *ms)
{
    size_t point = slice_find_byte(text, '.');
    uint64_t fraction = 0;
    if (point != SLICE_NOT_FOUND) {
        struct slice digits = slice_after(text, point + 1);
        if (digits.length < 1 || digits.length > 3 || !slice_parse_uint64(digits, &fraction)) return false;
        for (size_t i = digits.length; i < 3; i++) fraction *= 10;
    }
    int64_t whole;
    if (!parse_integer(slice_before(text, point), &whole) || whole < 0 || whole > INT64_MAX / 1000 - 1) return false;
    *ms = (uint64_t)whole * 1000 + fraction;
    return true;
}

static const char *seconds_hint(const struct node *node)
{
    if (node->kind != NODE_SCALAR) return NULL;
    if (has_unit_of_time(node->text)) return "in seconds, without a unit";
    if (!node->quoted && slice_find_byte(node->text, '.') != SLICE_NOT_FOUND) return "with at most three decimals";
    const char *hint = number_hint(node);
    return hint ? hint : "like 30 or 0.5";
}

static bool read_seconds(struct schema_reading *reading, const struct field *field, const struct node *node,
                         uint64_t *ms)
{
    bool is_read = is_plain(node) && parse_seconds(node->text, ms);
    if (!is_read && !(is_plain(node) && is_beyond_all(node->text) && is_limited(field)))
        return schema_refuse(reading, field, node, seconds_hint(node), "a number of seconds");
    if (is_read && is_within(field, *ms)) return true;
    char wanted[96];
    snprintf(wanted, sizeof wanted, "between %g and %.10g seconds", (double)field->minimum / 1000,
             (double)field->maximum / 1000);
    return schema_refuse(reading, field, node, NULL, wanted);
}

static bool read_boolean(struct schema_reading *reading, const struct field *field, const struct node *node,
                         bool *value)
{
    *value = is_plain(node) && slice_equal(node->text, SLICE("true"));
    if (*value || (is_plain(node) && slice_equal(node->text, SLICE("false")))) return true;
    return schema_refuse(reading, field, node, node->quoted ? "written without quotes" : NULL, "true or false");
}

static int index_of(const char *const *names, struct slice text)
{
    for (int i = 0; names && names[i]; i++) {
        if (slice_equal(slice_from_cstring(names[i]), text)) return i;
    }
    return -1;
}

bool schema_read_name(struct schema_reading *reading, const struct field *field, const struct node *node, int *index)
{
    int found = node->kind == NODE_SCALAR ? index_of(field->names, node->text) : -1;
    if (found >= 0) {
        *index = found;
        return true;
    }
    if (node->kind == NODE_SCALAR && index_of(field->names_not_yet, node->text) >= 0) {
        problems_add(reading->problems, node, NULL, "\"%s\": \"%s\" is not in this version yet", field->name,
                     problems_excerpt(node->text).text);
        return false;
    }
    size_t count = 0;
    char wanted[256] = "";
    for (size_t length = 0; field->names[count] && length < sizeof wanted; count++)
        length += (size_t)snprintf(wanted + length, sizeof wanted - length, "%s%s",
                                   count ? (field->names[count + 1] ? ", " : " or ") : "", field->names[count]);
    const char *nearest = node->kind == NODE_SCALAR ? nearest_name(node->text, field->names, count) : NULL;
    char hint[128];
    if (nearest) snprintf(hint, sizeof hint, "did you mean \"%s\"?", nearest);
    return schema_refuse(reading, field, node, nearest ? hint : NULL, wanted);
}

bool schema_read_scalar(struct schema_reading *reading, const struct field *field, const struct node *node, void *at)
{
    switch (field->type) {
    case FIELD_BOOLEAN: return read_boolean(reading, field, node, at);
    case FIELD_INTEGER: return read_integer(reading, field, node, at);
    case FIELD_BYTES: return read_bytes(reading, field, node, at);
    case FIELD_MILLISECONDS: return read_milliseconds(reading, field, node, at);
    case FIELD_SECONDS: return read_seconds(reading, field, node, at);
    default: return schema_read_name(reading, field, node, at);
    }
}
