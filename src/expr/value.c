/* expr/value.c: equality and order across types, by the rules of CEL. */
#include "expr/private.h"

#include <math.h>

static enum expression_found item_of_values(const void *of, uint32_t index, struct arena *arena,
                                            struct expression_value *into)
{
    *into = ((const struct expression_value *)of)[index];
    return EXPRESSION_FOUND;
}

const struct expression_list_kind expression_list_of_values = { .item = item_of_values };

/* --- maps that are written out --- */

static enum expression_found find_entry(const void *of, const struct expression_value *key, struct arena *arena,
                                        struct expression_value *into)
{
    const struct map_entries *entries = of;
    for (uint32_t i = 0; i < entries->count; i++) {
        if (!keys_equal(&entries->items[2 * (size_t)i], key)) continue;
        *into = entries->items[2 * (size_t)i + 1];
        return EXPRESSION_FOUND;
    }
    return EXPRESSION_NOT_THERE;
}

static enum expression_found next_entry(const void *of, uint32_t *position, struct arena *arena,
                                        struct expression_value *key, struct expression_value *value)
{
    const struct map_entries *entries = of;
    if (*position >= entries->count) return EXPRESSION_NOT_THERE;
    size_t at = 2 * (size_t)(*position)++;
    *key = entries->items[at];
    if (value) *value = entries->items[at + 1];
    return EXPRESSION_FOUND;
}

static uint32_t count_entries(const void *of) { return ((const struct map_entries *)of)->count; }

static uint32_t cost_of_entries(const void *of) { return count_entries(of) / 8; }

const struct expression_map_kind expression_map_of_entries = {
    .find = find_entry,
    .next = next_entry,
    .count = count_entries,
    .find_cost = cost_of_entries,
};

/* --- names --- */

const char *expression_type_name(enum expression_type type)
{
    static const char *const names[EXPRESSION_TYPE_COUNT] = {
        [EXPRESSION_DYN] = "dyn",
        [EXPRESSION_NULL] = "null_type",
        [EXPRESSION_BOOL] = "bool",
        [EXPRESSION_INT] = "int",
        [EXPRESSION_UINT] = "uint",
        [EXPRESSION_DOUBLE] = "double",
        [EXPRESSION_STRING] = "string",
        [EXPRESSION_BYTES] = "bytes",
        [EXPRESSION_LIST] = "list",
        [EXPRESSION_MAP] = "map",
        [EXPRESSION_TIMESTAMP] = "google.protobuf.Timestamp",
        [EXPRESSION_DURATION] = "google.protobuf.Duration",
        [EXPRESSION_TYPE] = "type",
        [EXPRESSION_OPTIONAL] = "optional_type",
        [EXPRESSION_IP] = "net.IP",
        [EXPRESSION_CIDR] = "net.CIDR",
    };
    return names[type];
}

/* --- order --- */

#define COMPARE(a, b) ((a) < (b) ? ORDER_LESS : (a) > (b) ? ORDER_GREATER : ORDER_EQUAL)

static enum order reversed(enum order order)
{
    if (order == ORDER_LESS) return ORDER_GREATER;
    return order == ORDER_GREATER ? ORDER_LESS : order;
}

static enum order int_to_uint(int64_t a, uint64_t b) { return a < 0 ? ORDER_LESS : COMPARE((uint64_t)a, b); }

/* A whole number is compared with a double as the double nearest to it, as the conformance cases want it: 2^63 - 1 equals 2^63. */
static enum order double_to_double(double a, double b) { return isnan(a) || isnan(b) ? ORDER_NONE : COMPARE(a, b); }

static bool is_number(const struct expression_value *value)
{
    return value->type == EXPRESSION_INT || value->type == EXPRESSION_UINT || value->type == EXPRESSION_DOUBLE;
}

static enum order numbers_order(const struct expression_value *a, const struct expression_value *b)
{
    switch (a->type) {
    case EXPRESSION_INT:
        if (b->type == EXPRESSION_UINT) return int_to_uint(a->integer, b->natural);
        return b->type == EXPRESSION_INT ? COMPARE(a->integer, b->integer)
                                         : double_to_double((double)a->integer, b->number);
    case EXPRESSION_UINT:
        if (b->type == EXPRESSION_INT) return reversed(int_to_uint(b->integer, a->natural));
        return b->type == EXPRESSION_UINT ? COMPARE(a->natural, b->natural)
                                          : double_to_double((double)a->natural, b->number);
    default:
        if (b->type == EXPRESSION_INT) return double_to_double(a->number, (double)b->integer);
        if (b->type == EXPRESSION_UINT) return double_to_double(a->number, (double)b->natural);
        return double_to_double(a->number, b->number);
    }
}

static enum order texts_order(struct slice a, struct slice b)
{
    int order = slice_compare(a, b);
    return COMPARE(order, 0);
}

enum order values_order(const struct expression_value *a, const struct expression_value *b)
{
    if (is_number(a) && is_number(b)) return numbers_order(a, b);
    if (a->type != b->type) return ORDER_WRONG_TYPES;
    switch (a->type) {
    case EXPRESSION_BOOL: return COMPARE((int)a->boolean, (int)b->boolean);
    case EXPRESSION_STRING:
    case EXPRESSION_BYTES: return texts_order(a->text, b->text);
    case EXPRESSION_TIMESTAMP:
        if (a->integer != b->integer) return COMPARE(a->integer, b->integer);
        return COMPARE(a->nanoseconds, b->nanoseconds);
    case EXPRESSION_DURATION: return COMPARE(a->integer, b->integer);
    default: return ORDER_WRONG_TYPES;
    }
}

/* --- equality --- */

bool keys_equal(const struct expression_value *a, const struct expression_value *b)
{
    if (a->type == EXPRESSION_STRING) return b->type == EXPRESSION_STRING && slice_equal(a->text, b->text);
    return values_order(a, b) == ORDER_EQUAL;
}

static APART bool lists_equal(struct evaluation *evaluation, const struct expression_value *a,
                              const struct expression_value *b, bool *equal)
{
    *equal = a->count == b->count;
    for (uint32_t i = 0; *equal && i < a->count; i++) {
        struct expression_value left, right;
        if (!evaluation_pay(evaluation, 1) || !evaluation_item(evaluation, a, i, &left) ||
            !evaluation_item(evaluation, b, i, &right) || !values_equal(evaluation, &left, &right, equal)) {
            return false;
        }
    }
    return true;
}

static APART bool maps_equal(struct evaluation *evaluation, const struct expression_value *a,
                             const struct expression_value *b, bool *equal)
{
    uint32_t count = a->map.kind->count(a->map.of), position = 0;
    *equal = count == b->map.kind->count(b->map.of);
    while (*equal) {
        struct expression_value key, left, right;
        enum expression_found found = a->map.kind->next(a->map.of, &position, evaluation->arena, &key, &left);
        if (found == EXPRESSION_NOT_THERE) return true;
        if (found == EXPRESSION_FOUND) found = b->map.kind->find(b->map.of, &key, evaluation->arena, &right);
        if (found == EXPRESSION_NO_MEMORY) return evaluation_out_of_memory(evaluation);
        if (!evaluation_pay(evaluation, 1 + (b->map.kind->find_cost ? b->map.kind->find_cost(b->map.of) : 0)))
            return false;
        *equal = found == EXPRESSION_FOUND;
        if (*equal && !values_equal(evaluation, &left, &right, equal)) return false;
    }
    return true;
}

bool values_equal(struct evaluation *evaluation, const struct expression_value *a, const struct expression_value *b,
                  bool *equal)
{
    if (a->type != b->type) {
        *equal = is_number(a) && is_number(b) && numbers_order(a, b) == ORDER_EQUAL;
        return true;
    }
    switch (a->type) {
    case EXPRESSION_NULL: *equal = true; return true;
    case EXPRESSION_BOOL: *equal = a->boolean == b->boolean; return true;
    case EXPRESSION_STRING:
    case EXPRESSION_BYTES:
    case EXPRESSION_TYPE: return texts_equal(evaluation, a, b, equal);
    case EXPRESSION_IP:
    case EXPRESSION_CIDR:
        *equal = a->address.high == b->address.high && a->address.low == b->address.low && a->count == b->count;
        return true;
    case EXPRESSION_OPTIONAL:
        if (a->held && b->held) return values_equal(evaluation, a->held, b->held, equal);
        *equal = a->held == b->held;
        return true;
    case EXPRESSION_LIST: return lists_equal(evaluation, a, b, equal);
    case EXPRESSION_MAP: return maps_equal(evaluation, a, b, equal);
    default: *equal = values_order(a, b) == ORDER_EQUAL; return true;
    }
}

/* --- as text --- */

enum expression_found expression_value_text(const struct expression_value *value, struct arena *arena,
                                            struct slice *text)
{
    char buffer[64];
    size_t length = 0;
    switch (value->type) {
    case EXPRESSION_NULL: *text = SLICE(""); return EXPRESSION_FOUND;
    case EXPRESSION_BOOL: *text = value->boolean ? SLICE("true") : SLICE("false"); return EXPRESSION_FOUND;
    case EXPRESSION_STRING:
    case EXPRESSION_BYTES: *text = value->text; return EXPRESSION_FOUND;
    case EXPRESSION_INT: length = (size_t)snprintf(buffer, sizeof buffer, "%lld", (long long)value->integer); break;
    case EXPRESSION_UINT:
        length = (size_t)snprintf(buffer, sizeof buffer, "%llu", (unsigned long long)value->natural);
        break;
    case EXPRESSION_DOUBLE: length = double_write(value->number, buffer); break;
    case EXPRESSION_TIMESTAMP: length = timestamp_write(value, buffer); break;
    case EXPRESSION_DURATION: length = duration_write(value->integer, buffer); break;
    case EXPRESSION_IP:
    case EXPRESSION_CIDR: length = network_write(value, buffer); break;
    default: return EXPRESSION_NOT_THERE;
    }
    *text = arena_copy(arena, slice_of(buffer, length));
    return slice_is_absent(*text) ? EXPRESSION_NO_MEMORY : EXPRESSION_FOUND;
}
