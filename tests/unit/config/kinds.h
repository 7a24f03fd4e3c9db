/* Policies that exist for the tests of config/ only: one for each kind of field. */
#ifndef SLUICE_TESTS_CONFIG_KINDS_H
#define SLUICE_TESTS_CONFIG_KINDS_H

#include "config/config.h"

struct test_header {
    struct slice name, value;
};

static const struct field test_header_fields[] = {
    { .name = "name", .type = FIELD_STRING, .into = offsetof(struct test_header, name), .required = true },
    { .name = "value", .type = FIELD_STRING, .into = offsetof(struct test_header, value), .required = true },
    FIELDS_END,
};

struct test_cors {
    struct slice_list origins, methods, headers;
    uint64_t max_age_ms;
};

static const struct field test_cors_fields[] = {
    { .name = "origins",
      .type = FIELD_STRING_LIST,
      .into = offsetof(struct test_cors, origins),
      .required = true,
      .one_or_many = true },
    { .name = "methods",
      .type = FIELD_STRING_LIST,
      .into = offsetof(struct test_cors, methods),
      .fallback = "[GET, POST]" },
    { .name = "headers", .type = FIELD_STRING_LIST, .into = offsetof(struct test_cors, headers) },
    { .name = "maxAge",
      .type = FIELD_SECONDS,
      .into = offsetof(struct test_cors, max_age_ms),
      .fallback = "600",
      .maximum = 86400000 },
    FIELDS_END,
};

struct test_inner {
    int64_t low, high;
};

struct test_everything {
    bool flag;
    int64_t number;
    uint64_t bytes, wait_ms, window_ms, days;
    int color;
    bool inner_given;
    struct slice key, id, link;
    struct pair_list labels;
    struct test_inner inner;
    struct object_list ranges;
};

static const struct field test_inner_fields[] = {
    { .name = "low", .type = FIELD_INTEGER, .into = offsetof(struct test_inner, low), .fallback = "1" },
    { .name = "high", .type = FIELD_INTEGER, .into = offsetof(struct test_inner, high), .required = true },
    FIELDS_END,
};

static const char *const test_colors[] = { "red", "green", "blue", NULL };
static const char *const test_colors_not_yet[] = { "infrared", NULL };
static const char *const test_days[] = { "monday", "tuesday", "friday", NULL };

static bool test_link_is_secret(struct slice link) { return slice_find_byte(link, '?') != SLICE_NOT_FOUND; }

static const struct field test_everything_fields[] = {
    { .name = "flag",
      .type = FIELD_BOOLEAN,
      .into = offsetof(struct test_everything, flag),
      .fallback = "true",
      .summary = "A flag | a switch." },
    { .name = "number",
      .type = FIELD_INTEGER,
      .into = offsetof(struct test_everything, number),
      .fallback = "7",
      .minimum = -5,
      .maximum = 10,
      .summary = "A number." },
    { .name = "bytes",
      .type = FIELD_BYTES,
      .into = offsetof(struct test_everything, bytes),
      .fallback = "64KiB",
      .minimum = 1024,
      .maximum = 1 << 20 },
    { .name = "waitMs",
      .type = FIELD_MILLISECONDS,
      .into = offsetof(struct test_everything, wait_ms),
      .fallback = "250",
      .minimum = 1,
      .maximum = 60000 },
    { .name = "window",
      .type = FIELD_SECONDS,
      .into = offsetof(struct test_everything, window_ms),
      .fallback = "0.5",
      .minimum = 100,
      .maximum = 60000 },
    { .name = "days",
      .type = FIELD_ENUM_SET,
      .into = offsetof(struct test_everything, days),
      .names = test_days,
      .fallback = "[monday, friday]" },
    { .name = "color",
      .type = FIELD_ENUM,
      .into = offsetof(struct test_everything, color),
      .names = test_colors,
      .names_not_yet = test_colors_not_yet,
      .fallback = "green" },
    { .name = "key",
      .type = FIELD_STRING,
      .into = offsetof(struct test_everything, key),
      .secret = true,
      .fallback = "hush" },
    { .name = "id", .also = "identity", .type = FIELD_STRING, .into = offsetof(struct test_everything, id) },
    { .name = "labels", .type = FIELD_STRING_MAP, .into = offsetof(struct test_everything, labels), .maximum = 3 },
    { .name = "inner",
      .type = FIELD_OBJECT,
      .into = offsetof(struct test_everything, inner),
      .fields = test_inner_fields,
      .present = offsetof(struct test_everything, inner_given) },
    { .name = "ranges",
      .type = FIELD_OBJECT_LIST,
      .into = offsetof(struct test_everything, ranges),
      .fields = test_inner_fields,
      .item_size = sizeof(struct test_inner),
      .maximum = 2 },
    { .name = "link",
      .type = FIELD_STRING,
      .into = offsetof(struct test_everything, link),
      .secret_when = test_link_is_secret },
    { .name = "later", .type = FIELD_NOT_YET },
    FIELDS_END,
};

/* Across fields: a secret word must not stand as the id. */
static bool test_everything_check(struct schema_reading *reading, const struct node *node, const void *config)
{
    const struct test_everything *everything = config;
    if (everything->id.length == 0 || !slice_equal(everything->id, everything->key)) return true;
    problems_add(reading->problems, node, NULL, "\"key\" and \"id\" must differ");
    return false;
}

static const struct field test_no_fields[] = { FIELDS_END };

static const struct policy_kind test_kind_list[] = {
    { .name = "add-header",
      .fields = test_header_fields,
      .config_size = sizeof(struct test_header),
      .on_response_allowed = true },
    { .name = "set-header",
      .fields = test_header_fields,
      .config_size = sizeof(struct test_header),
      .on_response_allowed = true },
    { .name = "cors", .fields = test_cors_fields, .config_size = sizeof(struct test_cors) },
    { .name = "security-headers", .fields = test_no_fields },
    { .name = "everything",
      .fields = test_everything_fields,
      .config_size = sizeof(struct test_everything),
      .check = test_everything_check },
};

static const struct policy_kinds test_kinds = { .items = test_kind_list, .count = COUNT_OF(test_kind_list) };

#endif
