#include "filters/header_names.h"

#include "base/memory.h"
#include "filters/private.h"
#include "http/our_names.h"

static bool check_beginning(struct schema_reading *reading, const struct node *node, struct slice text)
{
    struct slice beginning = slice_before(text, text.length - 1);
    if (header_name_is_valid(beginning) && slice_find_byte(beginning, '*') == SLICE_NOT_FOUND) return true;
    problems_add(reading->problems, node, "a name, or its beginning and a *: X-Auth-*", "not a header name: \"%s\"",
                 problems_excerpt(text).text);
    return false;
}

bool check_header_names_item(struct schema_reading *reading, const struct node *node, const void *value)
{
    const struct slice *text = value;
    if (slice_ends_with(*text, SLICE("*"))) return check_beginning(reading, node, *text);
    return check_header_name(reading, node, value);
}

bool check_upstream_names_item(struct schema_reading *reading, const struct node *node, const void *value)
{
    const struct slice *text = value;
    if (!check_header_names_item(reading, node, value)) return false;
    if (slice_ends_with(*text, SLICE("*")) || !header_name_is_ours(*text)) return true;
    bool is_identity = header_name_looks_like(*text, header_id_name(HEADER_X_AUTHENTICATED_USER)) ||
                       header_name_looks_like(*text, header_id_name(HEADER_X_CLIENT_ID));
    problems_add(reading->problems, node, is_identity ? "see userIdHeader and clientIdHeader" : NULL,
                 "request header \"%s\" is written by Sluice itself", problems_excerpt(*text).text);
    return false;
}

void header_names_init(struct header_names *names, const struct slice_list *texts)
{
    size_t bytes = 0;
    for (size_t i = 0; i < texts->count; i++) bytes += texts->items[i].length;
    *names = (struct header_names){ .count = texts->count };
    if (texts->count == 0) return;
    names->items = memory_allocate(texts->count * sizeof *names->items + bytes);
    char *next = (char *)(names->items + texts->count);
    for (size_t i = 0; i < texts->count; i++) {
        struct slice text = texts->items[i];
        bool is_beginning = slice_ends_with(text, SLICE("*"));
        if (is_beginning) text.length--;
        if (text.length) memcpy(next, text.at, text.length);
        names->items[i] = (struct header_name){ .text = slice_of(next, text.length), .is_beginning = is_beginning };
        if (!is_beginning) names->items[i].id = (uint8_t)header_id_find(text);
        next += text.length;
    }
}

void header_names_release(struct header_names *names) { free(names->items); }

static bool holds(const struct header_name *known, const struct header *header)
{
    if (known->is_beginning)
        return header->name.length >= known->text.length &&
               slice_equal_ignore_case(slice_before(header->name, known->text.length), known->text);
    if (known->id != HEADER_OTHER || header->id != HEADER_OTHER) return known->id == header->id;
    return slice_equal_ignore_case(known->text, header->name);
}

bool header_names_hold(const struct header_names *names, const struct header *header)
{
    if (header_is_sluices_own(header->id)) return false;
    for (size_t i = 0; i < names->count; i++) {
        if (holds(&names->items[i], header)) return true;
    }
    return false;
}

void header_names_strip(const struct header_names *names, struct headers *headers)
{
    if (names->count == 0) return;
    for (struct header *header = headers_next(headers, NULL); header; header = headers_next(headers, header)) {
        bool is_named = false;
        for (size_t i = 0; i < names->count && !is_named; i++)
            is_named = header_name_reads_as(header->name, names->items[i].text, names->items[i].is_beginning);
        if (is_named && !header_is_sluices_own(header->id)) headers_remove_one(headers, header);
    }
}
