/* exchange/hidden.c: which fields of answers that others wrote no client gets: those of one hop, `Server`, which would say whose software it is,
 * and what configuration calls internal. */
#include "exchange/exchange.h"

static bool matches(struct slice pattern, struct slice name)
{
    if (slice_ends_with(pattern, SLICE("*"))) {
        struct slice beginning = slice_before(pattern, pattern.length - 1);
        return slice_equal_ignore_case(slice_before(name, beginning.length), beginning);
    }
    return slice_equal_ignore_case(pattern, name);
}

static const struct request_settings *settings_of(const struct exchange *exchange)
{
    return exchange->worker->current->snapshot->settings;
}

static bool is_internal(const struct request_settings *settings, struct slice name)
{
    for (size_t i = 0; i < settings->internal_response_header_count; i++) {
        if (matches(settings->internal_response_headers[i], name)) return true;
    }
    return false;
}

bool exchange_hides(const struct exchange *exchange, struct slice name)
{
    return header_id_find(name) == HEADER_SERVER || is_internal(settings_of(exchange), name);
}

void exchange_hide_fields(const struct exchange *exchange, struct headers *headers)
{
    const struct request_settings *settings = settings_of(exchange);
    headers_remove_hop_by_hop(headers);
    headers_remove_known(headers, HEADER_SERVER);
    for (struct header *header = headers_next(headers, NULL); header; header = headers_next(headers, header)) {
        if (is_internal(settings, header->name)) headers_remove_one(headers, header);
    }
}
