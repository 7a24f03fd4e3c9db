#include "handlers/private.h"

#include "http/websocket.h"

static const struct slice protocol = SLICE("websocket");

/* The field's only value, absent where there is none or another one beside it. */
static struct slice only_value(const struct headers *headers, struct slice name)
{
    const struct header *field = headers_find(headers, name);
    if (!field || headers_find_next(headers, field)) return SLICE_ABSENT;
    return field->value;
}

/* What follows the head would be a body to one reader and frames to the next. */
bool websocket_check_request(struct exchange *exchange, struct error *error)
{
    const struct request_head *request = exchange->request;
    if (request->has_body || headers_find_known(&request->headers, HEADER_CONTENT_LENGTH))
        return error_set(error, BLAME_CLIENT, RETRY_NEVER, 400, "upgrade-with-body",
                         "a request for a WebSocket has no body");
    if (!websocket_key_is_valid(only_value(&request->headers, WEBSOCKET_KEY_FIELD)))
        return error_set(error, BLAME_CLIENT, RETRY_NEVER, 400, "bad-websocket-key",
                         "Sec-WebSocket-Key is not 16 bytes in base64");
    if (!exchange_take_tunnel_place(exchange))
        return error_set(error, BLAME_US, RETRY_NEVER, 503, "overload", "this worker has as many WebSockets as it may");
    return true;
}

bool websocket_ask(struct headers *headers) { return headers_set_known(headers, HEADER_UPGRADE, protocol); }

/* Frames of other versions may look different, so what was agreed on must be the version that tunnels can follow. */
bool websocket_check_answer(const struct request_head *request, const struct response_head *response,
                            struct error *error)
{
    const char *fault = NULL;
    struct slice key = only_value(&request->headers, WEBSOCKET_KEY_FIELD);
    if (!headers_list_has(&response->headers, HEADER_UPGRADE, protocol) ||
        !headers_list_has(&response->headers, HEADER_CONNECTION, SLICE("upgrade")))
        fault = "changed to another protocol than WebSocket";
    else if (!websocket_key_is_valid(key) ||
             !websocket_accept_is_right(key, only_value(&response->headers, WEBSOCKET_ACCEPT_FIELD)))
        fault = "gave a Sec-WebSocket-Accept that doesn't fit the key";
    else if (!slice_equal(only_value(&request->headers, WEBSOCKET_VERSION_FIELD), SLICE(WEBSOCKET_VERSION)))
        fault = "accepted another version of WebSocket than " WEBSOCKET_VERSION;
    if (!fault) return true;
    return error_set(error, BLAME_UPSTREAM, RETRY_NEVER, 502, "bad-response", "the backend %s", fault);
}
