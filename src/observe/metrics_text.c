/* observe/metrics_text.c: lines of the Prometheus text format, version 0.0.4. */
#include "base/digits.h"
#include "observe/metrics_private.h"

/* --- bytes --- */

static char *room(struct metrics_text *text, size_t size)
{
    if (UNLIKELY(text->length + size > text->capacity)) {
        text->capacity = (text->capacity + size) * 2;
        text->bytes = memory_resize(text->bytes, text->capacity);
    }
    return text->bytes + text->length;
}

void text_put(struct metrics_text *text, struct slice bytes)
{
    char *at = room(text, bytes.length);
    if (bytes.length) memcpy(at, bytes.at, bytes.length);
    text->length += bytes.length;
}

static void put_cstring(struct metrics_text *text, const char *bytes) { text_put(text, slice_from_cstring(bytes)); }

void text_put_unsigned(struct metrics_text *text, uint64_t value)
{
    char *at = room(text, DIGITS_BYTES_MAX);
    text->length += (size_t)(digits_write(at, value) - at);
}

void text_put_decimal(struct metrics_text *text, uint64_t value, unsigned places)
{
    uint64_t unit = 1;
    for (unsigned i = 0; i < places; i++) unit *= 10;
    text_put_unsigned(text, value / unit);
    text_put(text, SLICE("."));
    uint64_t rest = value % unit;
    for (unit /= 10; unit > 0; unit /= 10) {
        char digit = (char)('0' + rest / unit % 10);
        text_put(text, slice_of(&digit, 1));
    }
}

void text_put_label_value(struct metrics_text *text, const char *value)
{
    for (;;) {
        size_t plain = 0;
        while (value[plain] && value[plain] != '\\' && value[plain] != '"' && value[plain] != '\n') plain++;
        text_put(text, slice_of(value, plain));
        value += plain;
        if (*value == '\0') return;
        text_put(text, SLICE("\\"));
        text_put(text, *value == '\n' ? SLICE("n") : slice_of(value, 1));
        value++;
    }
}

/* --- lines --- */

void metrics_text_head(struct metrics_text *text, const char *name, const char *type, const char *help)
{
    text_put(text, SLICE("# HELP "));
    put_cstring(text, name);
    text_put(text, SLICE(" "));
    put_cstring(text, help);
    text_put(text, SLICE("\n# TYPE "));
    put_cstring(text, name);
    text_put(text, SLICE(" "));
    put_cstring(text, type);
    text_put(text, SLICE("\n"));
}

static void put_name(struct metrics_text *text, const char *name, const char *labels)
{
    put_cstring(text, name);
    if (labels) {
        text_put(text, SLICE("{"));
        put_cstring(text, labels);
        text_put(text, SLICE("}"));
    }
    text_put(text, SLICE(" "));
}

void metrics_text_line(struct metrics_text *text, const char *name, const char *labels_or_null, uint64_t value)
{
    put_name(text, name, labels_or_null);
    text_put_unsigned(text, value);
    text_put(text, SLICE("\n"));
}

void metrics_text_line_signed(struct metrics_text *text, const char *name, const char *labels_or_null, int64_t value)
{
    put_name(text, name, labels_or_null);
    if (value < 0) text_put(text, SLICE("-"));
    text_put_unsigned(text, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
    text_put(text, SLICE("\n"));
}

/* --- histograms --- */

/* NAME_suffix{labels */
static void put_start(struct metrics_text *text, const char *name, struct slice suffix, struct slice labels)
{
    put_cstring(text, name);
    text_put(text, suffix);
    text_put(text, labels);
}

static char *write_slice(char *at, struct slice bytes)
{
    memcpy(at, bytes.at, bytes.length);
    return at + bytes.length;
}

/* Nineteen of twenty lines of a scrape are made here. They begin alike, and neighbours often end alike, so most of it is copied. */
static void put_buckets(struct metrics_text *text, const struct histogram_form *form, struct slice labels,
                        const uint64_t *cumulative)
{
    size_t start = text->length;
    put_start(text, form->name, SLICE("_bucket{"), labels);
    text_put(text, SLICE(",le=\""));
    size_t length = text->length - start;
    room(text, form->bound_count * (length + HISTOGRAM_BOUND_BYTES + DIGITS_BYTES_MAX + 1));
    struct slice beginning = slice_of(text->bytes + start, length), count = SLICE_ABSENT;
    char *at = text->bytes + text->length;
    for (size_t i = 0; i < form->bound_count; i++) {
        if (i > 0) at = write_slice(at, beginning);
        at = write_slice(at, form->bounds[i]);
        if (i > 0 && cumulative[i] == cumulative[i - 1]) {
            at = write_slice(at, count);
        } else {
            char *end = digits_write(at, cumulative[i]);
            *end++ = '\n';
            count = slice_of(at, (size_t)(end - at));
            at = end;
        }
    }
    text->length = (size_t)(at - text->bytes);
}

void text_put_histogram(struct metrics_text *text, const struct histogram_form *form, struct slice labels,
                        const uint64_t *cumulative, uint64_t sum)
{
    put_buckets(text, form, labels, cumulative);
    put_start(text, form->name, SLICE("_sum{"), labels);
    text_put(text, SLICE("} "));
    text_put_decimal(text, sum, form->places);
    text_put(text, SLICE("\n"));
    put_start(text, form->name, SLICE("_count{"), labels);
    text_put(text, SLICE("} "));
    text_put_unsigned(text, cumulative[form->bound_count - 1]);
    text_put(text, SLICE("\n"));
}
