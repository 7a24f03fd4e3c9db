/* gateway/status.c: see status.h. One table says each figure's name, kind and meaning. */
#include "gateway/status.h"

#include "base/memory.h"
#include "json/writer.h"

static const struct {
    const char *metric; /* Prometheus name */
    const char *key;    /* in the status object; NULL: not there */
    bool is_gauge;
    size_t offset;
    const char *help;
} figures[] = {
#define GAUGE(member) true, offsetof(struct worker_figures, member)
#define COUNTER(member) false, offsetof(struct worker_figures, member)
    { "sluice_connections_active", "connections", GAUGE(connections), "Open client connections." },
    { "sluice_tls_handshakes_active", NULL, GAUGE(handshakes), "Client connections that TLS is being set up on." },
    { "sluice_exchanges_active", "exchanges", GAUGE(exchanges), "Requests under way." },
    { "sluice_waits_active", NULL, GAUGE(waits), "Filters and handlers that wait for something." },
    { "sluice_tunnels_active", "tunnels", GAUGE(tunnels), "Open WebSockets." },
    { "sluice_buffer_bytes", "bufferBytes", GAUGE(buffer_bytes), "Bytes held in buffers and request memory." },
    { "sluice_upstream_connections_active", NULL, GAUGE(upstream_connections),
      "Connections to instances that carry a request." },
    { "sluice_upstream_connections_idle", NULL, GAUGE(upstream_idle), "Connections to instances kept for reuse." },
    { "sluice_upstream_leases", NULL, GAUGE(upstream_leases), "Tries that hold an instance." },
    { "sluice_upstream_waiting", NULL, GAUGE(upstream_waiting), "Tries that wait for a connection." },
    { "sluice_upstream_calls_active", NULL, GAUGE(upstream_calls), "Calls to services under way." },
    { "sluice_connections_accepted_total", "connectionsAccepted", COUNTER(connections_accepted),
      "Client connections accepted." },
    { "sluice_connections_turned_away_total", "connectionsTurnedAway", COUNTER(connections_turned_away),
      "Client connections closed at once because of a limit." },
    { "sluice_exchanges_total", "exchangesBegun", COUNTER(exchanges_begun), "Requests begun." },
    { "sluice_exchanges_beyond_snapshot_total", NULL, COUNTER(exchanges_beyond_snapshot),
      "Requests that outlived their configuration and kept their route alone." },
    { "sluice_upstream_connects_total", NULL, COUNTER(upstream_connects), "Connections to instances begun." },
    { "sluice_upstream_connect_failures_total", NULL, COUNTER(upstream_connect_failures),
      "Connections to instances that failed." },
    { "sluice_upstream_retries_total", NULL, COUNTER(upstream_retries), "Tries after the first of a call." },
    { "sluice_upstream_retries_refused_total", NULL, COUNTER(upstream_retries_refused),
      "Retries that the budget refused." },
    { "sluice_upstream_stale_retries_total", NULL, COUNTER(upstream_stale_retries),
      "Retries because a kept connection had gone." },
#undef GAUGE
#undef COUNTER
};

static int64_t value_of(const struct worker_figures *sum, size_t i)
{
    int64_t value; /* gauges and counters have one size; counters stay far below the sign */
    memcpy(&value, (const char *)sum + figures[i].offset, sizeof value);
    return value;
}

void status_write(const struct status *status, char *into, size_t size)
{
    struct json_writer writer;
    json_writer_init(&writer, into, size - 1);
    json_write_object_begin(&writer);
    json_write_key(&writer, SLICE("version"));
    json_write_string(&writer, SLICE(SLUICE_VERSION));
    json_write_key(&writer, SLICE("workers"));
    json_write_unsigned(&writer, status->workers);
    json_write_key(&writer, SLICE("snapshotVersion"));
    json_write_unsigned(&writer, status->snapshot_version);
    json_write_key(&writer, SLICE("routes"));
    json_write_unsigned(&writer, status->routes);
    json_write_key(&writer, SLICE("uptimeMs"));
    json_write_unsigned(&writer, status->uptime_ms);
    json_write_key(&writer, SLICE("draining"));
    json_write_boolean(&writer, status->draining);
    json_write_key(&writer, SLICE("gatewaysDraining"));
    json_write_unsigned(&writer, status->gateways_draining);
    for (size_t i = 0; i < COUNT_OF(figures); i++) {
        if (!figures[i].key) continue;
        json_write_key(&writer, slice_from_cstring(figures[i].key));
        json_write_signed(&writer, value_of(status->figures, i));
    }
    json_write_key(&writer, SLICE("accessLogLinesDropped"));
    json_write_unsigned(&writer, status->access_log_lines_dropped);
    json_write_object_end(&writer);
    struct slice text = json_writer_result(&writer);
    if (slice_is_absent(text)) {
        snprintf(into, size, "{}");
    } else {
        into[text.length] = '\0';
    }
}

static void write_labelled(struct metrics_text *text, const char *name, char *labels, uint64_t value)
{
    metrics_text_line(text, name, labels, value);
    free(labels);
}

static void write_handshakes(struct metrics_text *text, const struct worker_figures *sum)
{
    static const char done[] = "sluice_tls_handshakes_total", failed[] = "sluice_tls_handshake_failures_total";
    static const char *const versions[] = { "1.2", "1.3" }, *const resumed[] = { "false", "true" };
    metrics_text_head(text, done, "counter",
                      "TLS handshakes with clients, by version, and whether a session was resumed.");
    for (unsigned i = 0; i < 4; i++) {
        char *labels = memory_format("version=\"%s\",resumed=\"%s\"", versions[i / 2], resumed[i % 2]);
        write_labelled(text, done, labels, sum->handshakes_completed[i / 2][i % 2]);
    }
    metrics_text_head(text, failed, "counter", "TLS handshakes with clients that came to nothing, by reason.");
    for (size_t i = 0; handshake_failure_word(i); i++)
        write_labelled(text, failed, memory_format("reason=\"%s\"", handshake_failure_word(i)),
                       sum->handshakes_failed[i]);
}

static void write_proxies(struct metrics_text *text, const struct worker_figures *sum)
{
    static const char name[] = "sluice_proxy_protocol_failures_total";
    metrics_text_head(text, name, "counter",
                      "Connections closed because a stranger came, or no good PROXY header in time, by reason.");
    metrics_text_line(text, name, "reason=\"untrusted\"", sum->proxies_untrusted);
    metrics_text_line(text, name, "reason=\"header\"", sum->proxies_mute);
}

void figures_write_metrics(struct metrics_text *text, const struct worker_figures *sum)
{
    struct worker_figures figures_now = *sum;
    figures_now.upstream_connections -= figures_now.upstream_idle;
    for (size_t i = 0; i < COUNT_OF(figures); i++) {
        metrics_text_head(text, figures[i].metric, figures[i].is_gauge ? "gauge" : "counter", figures[i].help);
        metrics_text_line_signed(text, figures[i].metric, NULL, value_of(&figures_now, i));
    }
    write_handshakes(text, sum);
    write_proxies(text, sum);
}
