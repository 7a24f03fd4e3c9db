#include "filters/private.h"

/* Hop-by-hop and framing (RFC 9110 7.6.1, RFC 9112 6), the authority, and what the two sides agree on while a body is sent. */
bool header_is_sluices_own(enum header_id id)
{
    switch (id) {
    case HEADER_CONNECTION:
    case HEADER_CONTENT_LENGTH:
    case HEADER_EXPECT:
    case HEADER_HOST:
    case HEADER_KEEP_ALIVE:
    case HEADER_PROXY_CONNECTION:
    case HEADER_TE:
    case HEADER_TRAILER:
    case HEADER_TRANSFER_ENCODING:
    case HEADER_UPGRADE: return true;
    default: return false;
    }
}

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
    problems_add(reading->problems, node, NULL, "a header's value holds no line breaks");
    return false;
}

void respond_no_memory(struct exchange *exchange)
{
    exchange_respond_problem(exchange, 503, "out-of-memory", SLICE_ABSENT, "the gateway is short of memory");
}
