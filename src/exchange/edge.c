/* exchange/edge.c: the edge: who the client is (DESIGN 11, Forwarding headers) and what the request is called. */
#include "exchange/private.h"
#include "http/grpc.h"
#include "http/trace_context.h"

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

/* With a port, as some balancers write it, and without; *text becomes the address alone. */
static bool read_hop(struct slice *text, struct address *address)
{
    if (address_parse_ip(*text, 0, address)) return true;
    bool is_bracketed = slice_starts_with(*text, SLICE("["));
    bool is_whole = is_bracketed && slice_ends_with(*text, SLICE("]"));
    size_t end = is_bracketed ? slice_find_byte(*text, ']') : slice_find_byte(*text, ':');
    if (end == SLICE_NOT_FOUND) return false;
    struct slice ip = slice_after(slice_before(*text, end), is_bracketed);
    bool good = is_whole ? address_parse_ip(ip, 0, address) && address->any.sa_family == AF_INET6
                         : address_parse(*text, address);
    if (good) *text = ip;
    return good;
}

/* It isn't the proxy that asks, though nobody knows who does: it must not pass for it. */
static void forget_client(struct exchange *exchange)
{
    struct exchange_worker *worker = exchange->worker;
    metrics_count_error(worker->metrics, worker->index, "client-address-unreadable");
    memset(&exchange->client, 0, sizeof exchange->client); /* AF_UNSPEC */
    exchange->client_ip = SLICE_ABSENT;
}

/* Proxies spell addresses as they like, and what is compared has to be the same for the same client. */
static bool write_client(struct exchange *exchange)
{
    char text[ADDRESS_TEXT_BYTES];
    address_unmap(&exchange->client);
    struct slice canonical = slice_of(text, address_write_ip(&exchange->client, text));
    if (LIKELY(slice_equal(exchange->client_ip, canonical))) return true;
    exchange->client_ip = arena_copy(exchange->arena, canonical);
    return !slice_is_absent(exchange->client_ip);
}

/* X-Forwarded-For is read from the right: each hop that is trusted vouches for the one before it. */
static bool follow_forwarded_for(struct exchange *exchange, const struct request_settings *settings)
{
    const struct headers *headers = &exchange->request->headers;
    struct slice list = headers_combined(headers, HEADER_X_FORWARDED_FOR);
    if (slice_is_absent(list)) return !headers_find_known(headers, HEADER_X_FORWARDED_FOR);
    while (list.length > 0) {
        struct slice text = take_last(&list);
        if (!read_hop(&text, &exchange->client)) {
            forget_client(exchange);
            return true;
        }
        exchange->client_ip = text;
        if (!is_trusted(settings, &exchange->client)) break;
    }
    return write_client(exchange);
}

bool edge_find_client(struct exchange *exchange, const struct request_settings *settings)
{
    const struct peer *peer = exchange->stream->peer;
    exchange->client = peer->address;
    exchange->client_ip = slice_of(peer->ip_text, peer->ip_length);
    if (settings->trusted_proxy_count == 0 || !is_trusted(settings, &peer->address)) return true;
    exchange->from_trusted_proxy = true;
    return follow_forwarded_for(exchange, settings);
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

/* --- the trace --- */

static bool is_accepted(const struct exchange *exchange, const struct trace_config *trace)
{
    switch ((enum trace_source)trace->accept_from) {
    case TRACE_FROM_ALL: return true;
    case TRACE_FROM_TRUSTED_PROXIES: return exchange->from_trusted_proxy;
    case TRACE_FROM_NOBODY: break;
    }
    return false;
}

/* Two of them are as good as none. */
static bool find_traceparent(const struct headers *headers, struct traceparent *parent)
{
    const struct header *header = headers_find_known(headers, HEADER_TRACEPARENT);
    return header && !headers_find_next(headers, header) && traceparent_parse(header->value, parent);
}

/* Names of the trace go out in small letters, however the client wrote them (W3C Trace Context 3.2.1, 3.3.1). */
static bool set_trace_field(struct headers *headers, enum header_id id, struct slice value)
{
    if (!headers_set_known(headers, id, value)) return false;
    headers_find_known(headers, id)->name = header_id_name(id);
    return true;
}

/* What of it is good goes on, as one field. */
static bool pass_tracestate_on(struct exchange *exchange)
{
    struct headers *headers = &exchange->request->headers;
    if (LIKELY(!headers_find_known(headers, HEADER_TRACESTATE))) return true;
    char buffer[TRACESTATE_BYTES_MAX];
    struct slice whole = headers_combined(headers, HEADER_TRACESTATE);
    struct slice good = tracestate_check(whole, buffer);
    if (slice_is_absent(good)) {
        headers_remove_known(headers, HEADER_TRACESTATE);
        return true;
    }
    if (good.at == buffer) good = arena_copy(exchange->arena, good);
    return !slice_is_absent(good) && set_trace_field(headers, HEADER_TRACESTATE, good);
}

/* A tracestate belongs to the traceparent beside it: it goes with it (W3C Trace Context 4.3). Here rather than on the way out, so that
 * whatever makes requests of this one, sub-requests and mirrors too, speaks of the same span. */
bool edge_find_trace(struct exchange *exchange, const struct request_settings *settings)
{
    if (UNLIKELY(!settings->trace.enabled)) return true;
    struct random *random = &exchange->worker->random;
    struct headers *headers = &exchange->request->headers;
    struct traceparent parent;
    char *text = arena_allocate(exchange->arena, TRACEPARENT_BYTES);
    if (!text) return false;
    if (is_accepted(exchange, &settings->trace) && find_traceparent(headers, &parent)) {
        traceparent_continue(random, &parent, text);
        if (!pass_tracestate_on(exchange)) return false;
    } else {
        traceparent_begin(random, settings->trace.sampled ? TRACE_SAMPLED : 0, text);
        headers_remove_known(headers, HEADER_TRACESTATE);
    }
    exchange->trace_id = traceparent_trace_id(text);
    exchange->span_id = traceparent_span_id(text);
    return set_trace_field(headers, HEADER_TRACEPARENT, slice_of(text, TRACEPARENT_BYTES));
}

/* --- fields of the connection --- */

/* The fields of framing and of the connection itself stay until the next hop is written, where none of them goes along: sessions and
 * WebSockets read them. */
void edge_remove_nominated(struct exchange *exchange)
{
    struct headers *headers = &exchange->request->headers;
    struct header *field = headers_find_known(headers, HEADER_CONNECTION);
    for (; UNLIKELY(field != NULL); field = headers_find_next(headers, field)) {
        struct slice rest = field->value, option;
        while (slice_next(&rest, ',', &option)) {
            if (!header_is_sluices_own(header_id_find(option))) headers_remove_options(headers, option);
        }
    }
}

/* --- to https --- */

/* RFC 3986 2: these never stand in a URI, though some clients send them. */
static bool is_uri_byte(char byte) { return byte > ' ' && byte < 0x7f && !strchr("\"<>\\^`{|}", byte); }

static char *put_encoded(char *at, struct slice text)
{
    static const char digits[] = "0123456789ABCDEF";
    for (size_t i = 0; i < text.length; i++) {
        uint8_t byte = (uint8_t)text.at[i];
        if (is_uri_byte(text.at[i])) {
            *at++ = text.at[i];
        } else {
            *at++ = '%';
            *at++ = digits[byte >> 4];
            *at++ = digits[byte & 15];
        }
    }
    return at;
}

/* The same place by https. Absent when memory is short. */
static struct slice https_location(struct exchange *exchange, uint16_t port)
{
    const struct request_head *request = exchange->request;
    struct slice path = request->target.path, query = request->target.query, host = request->host;
    char *start = arena_allocate(exchange->arena, host.length + 3 * (path.length + query.length) + 32);
    if (!start) return SLICE_ABSENT;
    char *at = mempcpy(start, "https://", 8);
    at = mempcpy(at, host.at, host.length);
    if (port != 443) at += snprintf(at, 8, ":%u", port);
    at = put_encoded(at, path);
    if (!slice_is_absent(query)) {
        *at++ = '?';
        at = put_encoded(at, query);
    }
    return slice_of(start, (size_t)(at - start));
}

/* 308 keeps the method and the body (RFC 9110 15.4.9). */
bool edge_redirects(struct exchange *exchange)
{
    uint16_t port = exchange->stream->peer->redirect_port;
    if (LIKELY(port == 0)) return false;
    if (exchange->request->host.length == 0) {
        exchange_respond_problem(exchange, 400, "no-host", SLICE_ABSENT,
                                 "requests are sent to https here, and this one names no host");
        return true;
    }
    struct slice location = https_location(exchange, port);
    exchange_respond(exchange, 308, SLICE_ABSENT, SLICE_ABSENT);
    if (slice_is_absent(location) || !headers_add_known(&exchange->own_response.headers, HEADER_LOCATION, location))
        exchange_respond_problem(exchange, 503, "out-of-memory", SLICE_ABSENT, "the gateway is short of memory");
    return true;
}

/* gRPC-Web has the deadline too. */
bool edge_find_grpc(struct exchange *exchange)
{
    const struct headers *headers = &exchange->request->headers;
    const struct slice family = SLICE("application/grpc");
    struct slice type = headers_value(headers, HEADER_CONTENT_TYPE), message;
    exchange->grpc_timeout_ms = UINT64_MAX;
    if (LIKELY(!slice_equal_ignore_case(slice_before(type, family.length), family))) return true;
    exchange->is_grpc = grpc_type_parse(type, &message);
    const struct header *timeout = headers_find(headers, SLICE("grpc-timeout"));
    return !timeout || grpc_timeout_parse(timeout->value, &exchange->grpc_timeout_ms);
}
