/* exchange/record.c: the log step: what is known at the end, as a plain record for metrics and access log. */
#include "exchange/private.h"

#define STATUS_CLIENT_GONE 499 /* no answer was sent: the client had gone; nginx's number, known to every dashboard */

/* Queries bring secrets, and so does userinfo, which no good target has (RFC 9110 4.2.4). What could not be read is cut where the one may begin and
 * behind the last place where the other may end: of "http://user:word@host/a?b" stays "host/a". Where a query may be the rest of a password, nothing. */
static struct slice cut_secrets(struct slice unread)
{
    struct slice visible = slice_before(unread, slice_find_byte(unread, '?'));
    if (slice_starts_with(unread, SLICE("/"))) return visible;
    size_t begin = 0;
    for (size_t i = 0; i < unread.length; i++) {
        if (unread.at[i] == '@') begin = i + 1;
    }
    return begin <= visible.length ? slice_after(visible, begin) : SLICE_ABSENT;
}

static void fill_request(struct exchange_record *record, const struct request_head *request)
{
    record->method = request->method;
    record->method_text = request->method_text;
    record->path = slice_is_absent(request->target.path) ? cut_secrets(request->target.raw) : request->target.path;
    record->user_agent = headers_value(&request->headers, HEADER_USER_AGENT);
}

static void write_out(struct exchange_worker *worker, struct route_metrics *metrics,
                      const struct exchange_record *record)
{
    metrics_count(worker->metrics, worker->index, metrics, record);
    if (record->error_type) metrics_count_error(worker->metrics, worker->index, record->error_type);
    if (worker->access_log && access_log_is_on(worker->access_log)) access_log_append(worker->access_log, record);
}

/* An answer that was prepared but of which nothing went out was not given. */
static unsigned given_status(const struct exchange *exchange)
{
    bool given = exchange->response && !(exchange->gone && exchange->stream->bytes_out == 0);
    return given ? exchange->response->status : STATUS_CLIENT_GONE;
}

void record_fill(const struct exchange *exchange, struct exchange_record *record)
{
    const struct exchange_worker *worker = exchange->worker;
    const struct compiled_route *route = exchange->route;
    uint64_t duration_ns = worker->loop->now_ns - exchange->begun_ns;
    *record = (struct exchange_record){
        .wall_ns = worker->loop->wall_ns - duration_ns,
        .ended_ns = worker->loop->now_ns,
        .request_id = exchange->request_id,
        .trace_id = exchange->trace_id,
        .span_id = exchange->span_id,
        .instance = exchange->instance_name,
        .status = (uint16_t)given_status(exchange),
        .duration_ns = duration_ns,
        .upstream_ns = exchange->upstream_ns,
        .bytes_in = exchange->stream->bytes_in,
        .bytes_out = exchange->stream->bytes_out,
        .client_ip = exchange->client_ip,
        .user_id = exchange->identity.user_id,
        .client_id = exchange->identity.client_id,
        .would_refuse = exchange->would_refuse,
    };
    if (route) {
        record->route = route->label;
        record->service = exchange->split_choice ? exchange->split_choice->name : route->service_name;
    }
    if (exchange->error.reason) {
        record->error_type = exchange->error.reason;
        record->upstream_failed = exchange->error.blame == BLAME_UPSTREAM;
        record->error_text = slice_from_cstring(exchange->error.text);
    } else if (exchange->gone) {
        record->error_type = "client-gone";
        record->error_text = SLICE("the client went away");
    }
    fill_request(record, exchange->request);
}

/* What became a tunnel is counted as a request now and logged when the tunnel ends. */
void record_write(struct exchange *exchange)
{
    struct exchange_worker *worker = exchange->worker;
    struct route_metrics *metrics = exchange->route ? exchange->route->metrics : NULL;
    if (exchange->split_choice) metrics = exchange->split_choice->metrics;
    struct exchange_record record;
    record_fill(exchange, &record);
    if (exchange->became_tunnel)
        metrics_count(worker->metrics, worker->index, metrics, &record);
    else
        write_out(worker, metrics, &record);
}

void exchange_refused(struct exchange_worker *worker, const struct refused_request *refused)
{
    struct exchange_record record = {
        .wall_ns = worker->loop->wall_ns,
        .ended_ns = worker->loop->now_ns,
        .request_id = refused->request_id,
        .status = refused->error->status,
        .bytes_in = refused->bytes_in,
        .bytes_out = refused->bytes_out,
        .client_ip = slice_of(refused->peer->ip_text, refused->peer->ip_length),
        .error_type = refused->error->reason,
        .error_text = slice_from_cstring(refused->error->text),
    };
    fill_request(&record, refused->head);
    write_out(worker, NULL, &record);
}
