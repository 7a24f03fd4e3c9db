#include "filters/private.h"

bool check_header_name(struct schema_reading *reading, const struct node *node, const void *value)
{
    const struct slice *name = value;
    if (!header_name_is_valid(*name)) {
        problems_add(reading->problems, node, NULL, "not a header name: \"%s\"", problems_excerpt(*name).text);
        return false;
    }
    enum header_id id = header_id_find(*name);
    if (!header_is_sluices_own(id)) return true;
    problems_add(reading->problems, node, id == HEADER_HOST ? "see the route's preserveHost" : NULL,
                 "header \"%s\" is written by Sluice itself", header_id_name(id).at);
    return false;
}

bool check_header_value(struct schema_reading *reading, const struct node *node, const void *value)
{
    if (header_value_is_valid(*(const struct slice *)value)) return true;
    problems_add(reading->problems, node, NULL, "a header's value holds no line breaks or other control characters");
    return false;
}

bool check_realm(struct schema_reading *reading, const struct node *node, const void *text)
{
    const struct slice *realm = text;
    for (size_t i = 0; i < realm->length; i++) {
        if (realm->at[i] >= ' ' && realm->at[i] < 0x7f) continue;
        problems_add(reading->problems, node, NULL, "\"realm\" holds printable ASCII alone");
        return false;
    }
    return true;
}

bool check_scope_word(struct schema_reading *reading, const struct node *node, const void *text)
{
    const struct slice *scope = text;
    bool good = scope->length > 0;
    for (size_t i = 0; i < scope->length; i++)
        good = good && scope->at[i] > ' ' && scope->at[i] < 0x7f && scope->at[i] != '"' && scope->at[i] != '\\';
    if (!good)
        problems_add(reading->problems, node, "one word, like users:read", "not a scope: \"%s\"",
                     problems_excerpt(*scope).text);
    return good;
}

void respond_no_memory(struct exchange *exchange)
{
    exchange_respond_problem(exchange, 503, "out-of-memory", SLICE_ABSENT, "the gateway is short of memory");
}
