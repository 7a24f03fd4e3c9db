/* json/value.h: JSON text read into a tree, strictly (RFC 8259): for tokens, key sets and claims, which strangers write.
 *
 * Refused are: invalid UTF-8, two members of one name, more than JSON_DEPTH_MAX levels, bytes behind the value, numbers that no double holds, escapes
 * of half a surrogate pair, control characters in strings. Reading costs by the length of the text, whatever stands in it. Any thread.
 * The tree lives in the caller's arena, and strings without escapes point into the text: it holds as long as both. A string is never absent
 * and may hold NUL bytes (\u0000). (Names of constants are those of jansson.h too: a file includes one of them.) */
#ifndef SLUICE_JSON_VALUE_H
#define SLUICE_JSON_VALUE_H

#include "base/arena.h"
#include "base/error.h"

#define JSON_DEPTH_MAX 32

/* A number that is written without fraction and exponent is whole and stays exact, however large: others' ids are not to be rounded into each other. */
enum json_type {
    JSON_NULL,
    JSON_BOOLEAN,
    JSON_INTEGER,
    JSON_UNSIGNED,    /* beyond the largest int64_t */
    JSON_LONG_NUMBER, /* beyond 64 bits */
    JSON_DOUBLE,
    JSON_STRING,
    JSON_ARRAY,
    JSON_OBJECT
};

struct json_member;

struct json_value {
    uint8_t type;   /* enum json_type */
    uint32_t count; /* items, members; of a double, bytes of `written` */
    union {
        bool boolean;
        int64_t integer;
        uint64_t natural;
        struct {
            double number; /* finite, but for json_parse_any_number() */
            const char
                *written; /* its `count` bytes in the text; NULL in a copy, which keeps what a double holds of it */
        };
        struct slice text;                 /* also of a LONG_NUMBER: its digits, with '-' in front if it is negative */
        const struct json_value *items;    /* in order; NULL where count is 0 */
        const struct json_member *members; /* in order; NULL where count is 0 */
    };
};

struct json_member {
    struct slice name;
    struct json_value value;
};

/* One value and white space around it. False: *error (BLAME_CLIENT, 400, "json") says what is wrong at which byte, counted from 1, and quotes
 * nothing of the text; or (BLAME_US, 503, "memory") the arena gave nothing. *into is untouched then. */
bool json_parse(struct slice text, struct arena *, struct json_value *into, struct error *) MUST_USE;
/* The same of at most so many values in all, each item and member counted: a bound for the tree, which may take 25 times what the text does. */
bool json_parse_few(struct slice text, uint32_t values_max, struct arena *, struct json_value *into,
                    struct error *) MUST_USE;

/* The same for who compares numbers as they are written: one that no double holds is no error, but infinite. */
bool json_parse_any_number(struct slice text, struct arena *, struct json_value *into, struct error *) MUST_USE;

static inline bool json_is_number(const struct json_value *value)
{
    return value->type >= JSON_INTEGER && value->type <= JSON_DOUBLE;
}
/* The nearest double; finite, but for json_parse_any_number(). */
double json_number(const struct json_value *number);

/* Of two numbers of parsed texts: are they the same by value, with all their digits? 1 is 1.0 and 1e0, and 9007199254740993 isn't 9007199254740992.0.
 * Costs by their length, whatever their exponents. */
bool json_numbers_equal(const struct json_value *, const struct json_value *);

/* The member's value; NULL where there is none or `object` is NULL or no object. */
const struct json_value *json_find(const struct json_value *object, struct slice name);
/* The same where it is a string; absent where it is none. */
struct slice json_find_text(const struct json_value *object, struct slice name);

/* A tree of its own, in one block of memory: for what outlives text and arena. */
size_t json_copied_bytes(const struct json_value *);
/* `block` has so many bytes and is aligned to 8. */
void json_copy_tree(const struct json_value *, void *block, struct json_value *into);

#endif
