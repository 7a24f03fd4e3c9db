/* exchange/edge.c: the edge: who the client is (DESIGN 11, Forwarding headers) and what the request is called. */
#include "exchange/private.h"

static bool is_trusted(const struct request_settings *settings, const struct address *address)
{
    for (size_t i = 0; i < settings->trusted_proxy_count; i++) {
        if (address_range_contains(&settings->trusted_proxies[i], address)) return true;
    }
    return false;
}

/* The last piece of a comma list; what stands before it stays in *rest. */
static struct slice take_last(struct slice *rest)
{
    size_t start = rest->length;
    while (start > 0 && rest->at[start - 1] != ',') start--;
    struct slice last = slice_trim(slice_after(*rest, start));
    *rest = slice_before(*rest, start > 0 ? start - 1 : 0);
    return last;
}

/* X-Forwarded-For is read from the right: each hop that is trusted vouches for the one before it. What is no address ends the walk. */
static void follow_forwarded_for(struct exchange *exchange, const struct request_settings *settings)
{
    struct slice list = headers_combined(&exchange->request->headers, HEADER_X_FORWARDED_FOR);
    while (list.length > 0) {
        struct slice text = take_last(&list);
        struct address address;
        if (!address_parse_ip(text, 0, &address)) return;
        exchange->client = address;
        exchange->client_ip = text;
        if (!is_trusted(settings, &address)) return;
    }
}

void edge_find_client(struct exchange *exchange, const struct request_settings *settings)
{
    const struct peer *peer = exchange->stream->peer;
    exchange->client = peer->address;
    exchange->client_ip = slice_of(peer->ip_text, peer->ip_length);
    if (settings->trusted_proxy_count == 0 || !is_trusted(settings, &peer->address)) return;
    exchange->from_trusted_proxy = true;
    follow_forwarded_for(exchange, settings);
}

static bool is_usable_id(struct slice id)
{
    if (id.length == 0 || id.length > 128) return false;
    for (size_t i = 0; i < id.length; i++) {
        if (id.at[i] <= ' ' || id.at[i] >= 0x7f) return false;
    }
    return true;
}

bool edge_find_request_id(struct exchange *exchange)
{
    if (exchange->from_trusted_proxy) {
        struct slice id = headers_value(&exchange->request->headers, HEADER_X_REQUEST_ID);
        if (!slice_is_absent(id) && is_usable_id(id)) {
            exchange->request_id = id;
            return true;
        }
    }
    char *text = arena_allocate(exchange->arena, REQUEST_ID_BYTES);
    if (!text) return false;
    request_id_write(exchange->worker->ids, text);
    exchange->request_id = slice_of(text, REQUEST_ID_BYTES);
    return true;
}
