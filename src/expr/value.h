/* expr/value.h: what expressions compute with.
 *
 * A value is 24 bytes, copied freely; texts, lists and maps point at what somebody else owns (the inputs, the compiled expression, an
 * arena) and hold as long as that does. Lists and maps are asked through a kind of theirs, so that a request's headers or a token's claims
 * are not copied to be looked at. */
#ifndef SLUICE_EXPR_VALUE_H
#define SLUICE_EXPR_VALUE_H

#include "base/arena.h"

enum expression_type {
    EXPRESSION_DYN, /* in types alone: known when it runs; no value has it */
    EXPRESSION_NULL,
    EXPRESSION_BOOL,
    EXPRESSION_INT,
    EXPRESSION_UINT,
    EXPRESSION_DOUBLE,
    EXPRESSION_STRING, /* UTF-8; what comes from outside and isn't is read bytewise where it isn't */
    EXPRESSION_BYTES,
    EXPRESSION_LIST,
    EXPRESSION_MAP,
    EXPRESSION_TIMESTAMP,
    EXPRESSION_DURATION,
    EXPRESSION_TYPE,     /* what type() gives: `text` is its name */
    EXPRESSION_OPTIONAL, /* a value or none */
    EXPRESSION_IP,
    EXPRESSION_CIDR,
    EXPRESSION_TYPE_COUNT
};

struct expression_value;

/* What came of asking for a variable, a key, an item. */
enum expression_found { EXPRESSION_FOUND, EXPRESSION_NOT_THERE, EXPRESSION_NO_MEMORY };

struct expression_list_kind {
    /* `index` is below the list's count. */
    enum expression_found (*item)(const void *of, uint32_t index, struct arena *, struct expression_value *);
    /* Is one of the items equal to this value? At no more than half a step an item. NULL: they are asked one by one. */
    bool (*has)(const void *of, const struct expression_value *);
};

/* Keys are bool, int, uint or string. */
struct expression_map_kind {
    /* A key of a type that this map never has is not there either. */
    enum expression_found (*find)(const void *of, const struct expression_value *key, struct arena *,
                                  struct expression_value *);
    /* The entry at or after *position, which begins with 0 and is moved behind it; NOT_THERE: no more. `value` may be NULL. */
    enum expression_found (*next)(const void *of, uint32_t *position, struct arena *, struct expression_value *key,
                                  struct expression_value *value);
    uint32_t (*count)(const void *of);
    /* What a find costs beside its step, in steps of some ten nanoseconds. NULL: nothing. */
    uint32_t (*find_cost)(const void *of);
};

struct expression_value {
    uint8_t type; /* enum expression_type */
    union {
        uint32_t count;      /* a list's items; a CIDR's prefix, as it is written */
        int32_t nanoseconds; /* of a timestamp, from 0 to 999,999,999 */
    };
    union {
        bool boolean;
        int64_t integer; /* also a timestamp's seconds since 1970, and a duration in nanoseconds */
        uint64_t natural;
        double number;
        struct slice text;                   /* string, bytes, type */
        const struct expression_value *held; /* by an optional; NULL: none */
        struct {
            uint64_t high, low; /* bits of an IPv6 address; of an IPv4 one as IPv6 maps it */
        } address;
        struct {
            const struct expression_list_kind *kind;
            const void *of;
        } list;
        struct {
            const struct expression_map_kind *kind;
            const void *of;
        } map;
    };
};

/* A list of values side by side: `of` is const struct expression_value[count]. */
extern const struct expression_list_kind expression_list_of_values;

/* Fields that the type doesn't use are not set. Were they cleared, gcc would put the value together on the stack and copy it from there in
 * larger pieces than it was written in, for which the processor waits: some 15 cycles a value. */
static inline struct expression_value expression_null(void)
{
    struct expression_value value;
    value.type = EXPRESSION_NULL;
    return value;
}
static inline struct expression_value expression_bool(bool boolean)
{
    struct expression_value value;
    value.type = EXPRESSION_BOOL;
    value.boolean = boolean;
    return value;
}
static inline struct expression_value expression_int(int64_t integer)
{
    struct expression_value value;
    value.type = EXPRESSION_INT;
    value.integer = integer;
    return value;
}
static inline struct expression_value expression_uint(uint64_t natural)
{
    struct expression_value value;
    value.type = EXPRESSION_UINT;
    value.natural = natural;
    return value;
}
static inline struct expression_value expression_double(double number)
{
    struct expression_value value;
    value.type = EXPRESSION_DOUBLE;
    value.number = number;
    return value;
}
/* An absent slice becomes the empty text. */
static inline struct expression_value expression_string(struct slice text)
{
    struct expression_value value;
    value.type = EXPRESSION_STRING;
    value.text.at = text.at ? text.at : "";
    value.text.length = text.length;
    return value;
}
static inline struct expression_value expression_list_by(const struct expression_list_kind *kind, const void *of,
                                                         uint32_t count)
{
    struct expression_value value;
    value.type = EXPRESSION_LIST;
    value.count = count;
    value.list.kind = kind;
    value.list.of = of;
    return value;
}
static inline struct expression_value expression_list(const struct expression_value *items, uint32_t count)
{
    return expression_list_by(&expression_list_of_values, items, count);
}
static inline struct expression_value expression_map(const struct expression_map_kind *kind, const void *of)
{
    struct expression_value value;
    value.type = EXPRESSION_MAP;
    value.map.kind = kind;
    value.map.of = of;
    return value;
}
/* Since 1970, as clocks tell it. */
static inline struct expression_value expression_timestamp(uint64_t wall_ns)
{
    struct expression_value value;
    value.type = EXPRESSION_TIMESTAMP;
    value.nanoseconds = (int32_t)(wall_ns % 1000000000u);
    value.integer = (int64_t)(wall_ns / 1000000000u);
    return value;
}

struct json_value;
/* As the tree stands, which has to outlive the value; nothing is copied. Whole numbers are int, others double. */
void expression_from_json(const struct json_value *, struct expression_value *into);

/* "int", "list", "google.protobuf.Timestamp": as type() names it. */
const char *expression_type_name(enum expression_type);

/* The value as a text of a header, a key, a log line: strings and bytes as they are, numbers, times and booleans as string() writes
 * them, null as the empty text. NOT_THERE: lists, maps and types have none. */
enum expression_found expression_value_text(const struct expression_value *, struct arena *,
                                            struct slice *text) MUST_USE;

/* As an expression would write it, for people; texts that are no valid UTF-8 come out as they are. Not for the request path. */
void expression_value_print(FILE *, const struct expression_value *, struct arena *);

#endif
