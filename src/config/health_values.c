/* What a health check's fields mean beyond their type: the path that is asked for, the statuses that are good. */
#include "config/private.h"

#include <stdlib.h>

bool check_request_path(struct schema_reading *reading, const struct node *node, const void *value)
{
    const struct slice *path = value;
    bool ok = path->length > 0 && path->at[0] == '/' && path->length <= 4096;
    for (size_t i = 0; ok && i < path->length; i++)
        ok = path->at[i] > 0x20 && path->at[i] < 0x7F && path->at[i] != '#' && path->at[i] != '\\';
    if (!ok)
        problems_add(reading->problems, node, "like /health, or /health?full=1; other characters are written %20",
                     "not a path to ask for: \"%s\"", problems_excerpt(*path).text);
    return ok;
}

static bool parse_status(struct slice text, uint16_t *status)
{
    uint64_t number;
    if (text.length != 3 || !slice_parse_uint64(text, &number) || number < 100 || number > 599) return false;
    *status = (uint16_t)number;
    return true;
}

static bool parse_range(struct slice text, struct status_range *range)
{
    size_t dash = slice_find_byte(text, '-');
    if (!parse_status(slice_trim(slice_before(text, dash)), &range->first)) return false;
    if (dash == SLICE_NOT_FOUND) {
        range->last = range->first;
        return true;
    }
    return parse_status(slice_trim(slice_after(text, dash + 1)), &range->last) && range->first <= range->last;
}

static int compare_ranges(const void *a, const void *b)
{
    const struct status_range *one = a, *other = b;
    return one->first < other->first ? -1 : one->first > other->first;
}

/* One spelling of each set: sorted, and what touches is one range. */
static size_t merge_ranges(struct status_range *ranges, size_t count)
{
    size_t kept = 0;
    qsort(ranges, count, sizeof *ranges, compare_ranges);
    for (size_t i = 1; i < count; i++) {
        if (ranges[i].first > ranges[kept].last + 1)
            ranges[++kept] = ranges[i];
        else if (ranges[i].last > ranges[kept].last)
            ranges[kept].last = ranges[i].last;
    }
    return kept + 1;
}

#define STATUS_RANGES_MAX 500

bool read_status_ranges(struct schema_reading *reading, const struct node *node, void *into)
{
    struct health_check_config *check = (void *)((char *)into - offsetof(struct health_check_config, expected));
    const struct field field = { .name = "expectedStatus" };
    const struct node *item = node->kind == NODE_LIST ? node->first : node;
    size_t count = node->kind == NODE_LIST ? node->count : 1;
    if (count == 0 || count > STATUS_RANGES_MAX) {
        problems_add(reading->problems, node, NULL, "\"expectedStatus\" must name 1 to 500 statuses or ranges");
        return false;
    }
    check->expected = config_allocate(reading->arena, count * sizeof *check->expected);
    bool ok = true;
    for (size_t i = 0; i < count; i++, item = item->next) {
        if (item->kind == NODE_SCALAR && parse_range(item->text, &check->expected[i])) continue;
        ok = schema_refuse(reading, &field, item, "from 100 to 599", "a status like 200 or a range like 200-299");
    }
    check->expected_count = ok ? merge_ranges(check->expected, count) : 0;
    return ok;
}

/* One status is a number, a range a text; one alone needs no list. */
static struct node *write_range(struct arena *arena, const struct status_range *range)
{
    if (range->first == range->last) return node_make_integer(arena, range->first);
    char text[16];
    int length = snprintf(text, sizeof text, "%u-%u", range->first, range->last);
    return node_make_text(arena, arena_keep(arena, slice_of(text, (size_t)length)));
}

struct node *write_status_ranges(struct arena *arena, const void *from)
{
    const struct health_check_config *check = (const void *)((const char *)from -
                                                             offsetof(struct health_check_config, expected));
    if (check->expected_count == 1) return write_range(arena, check->expected);
    struct node *list = node_make(arena, NODE_LIST), *last = NULL;
    for (size_t i = 0; i < check->expected_count; i++)
        node_append(list, &last, SLICE_ABSENT, write_range(arena, &check->expected[i]));
    return list;
}
