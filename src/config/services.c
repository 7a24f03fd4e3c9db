/* Services: their schema table, of which docs are made, and what no single field of it can tell. Certificates themselves are read when the
 * configuration is made ready (snapshot/transports.c), for they may change where no word of this does. */
#include "config/private.h"

static const struct field instance_fields[] = {
    { .name = "host",
      .type = FIELD_CUSTOM,
      .read = read_instance_host,
      .write = write_instance_host,
      .required = true,
      .type_text = "IP or host name",
      .summary = "Where the instance is; a name is resolved and followed by its TTL." },
    { .name = "port",
      .type = FIELD_CUSTOM,
      .read = read_instance_port,
      .write = write_instance_port,
      .required = true,
      .type_text = "1 to 65535",
      .summary = "The port that it listens on." },
    { .name = "weight",
      .type = FIELD_CUSTOM,
      .read = read_instance_weight,
      .write = write_instance_weight,
      .fallback = "100",
      .type_text = "0 to 65535",
      .summary = "Its share, relative to the other instances; 0 gives it nothing." },
    FIELDS_END,
};

static bool check_server_name(struct schema_reading *reading, const struct node *node, const void *value)
{
    const struct slice *name = value;
    struct address literal;
    if (address_parse_ip(*name, 0, &literal) || is_host_name(*name)) return true;
    problems_add(reading->problems, node, "as in serverName: users.internal",
                 "\"serverName\" must be a host name or an IP");
    return false;
}

static const struct field tls_fields[] = {
    { .name = "ca",
      .type = FIELD_CUSTOM,
      .into = offsetof(struct service_tls_config, ca),
      .read = read_path,
      .write = write_text,
      .type_text = "path",
      .summary = "A PEM file: the authorities whose certificates are good. Absent: the system's." },
    { .name = "serverName",
      .type = FIELD_STRING,
      .into = offsetof(struct service_tls_config, server_name),
      .check = check_server_name,
      .summary =
          "The name that instances are asked for (SNI) and that their certificates must have. Absent: each instance's "
          "own host; an IP is looked for in the certificate and never asked for." },
    { .name = "verify",
      .type = FIELD_BOOLEAN,
      .into = offsetof(struct service_tls_config, verify),
      .fallback = "true",
      .summary =
          "Whether an instance's certificate must be good. `false` takes anybody for an instance: for tests only." },
    { .name = "certificate",
      .type = FIELD_CUSTOM,
      .into = offsetof(struct service_tls_config, certificate),
      .read = read_path,
      .write = write_text,
      .type_text = "path",
      .summary =
          "A PEM file: the certificate that instances are shown when they ask for one, then what links it to a root." },
    { .name = "key",
      .type = FIELD_CUSTOM,
      .into = offsetof(struct service_tls_config, key),
      .read = read_path,
      .write = write_text,
      .type_text = "path",
      .summary = "A PEM file: the certificate's private key, without a passphrase." },
    { .name = "minVersion",
      .type = FIELD_ENUM,
      .into = offsetof(struct service_tls_config, version_min),
      .names = tls_versions,
      .fallback = "1.2",
      .summary = "The oldest TLS version that is spoken." },
    FIELDS_END,
};

static const struct field health_check_fields[] = {
    { .name = "path",
      .type = FIELD_STRING,
      .into = offsetof(struct health_check_config, path),
      .required = true,
      .check = check_request_path,
      .summary = "What an instance is asked for, by GET; may have a query." },
    { .name = "interval",
      .type = FIELD_SECONDS,
      .into = offsetof(struct health_check_config, interval_ms),
      .fallback = "10",
      .minimum = 100,
      .maximum = DAY_MS,
      .summary = "From one check of an instance to the next." },
    { .name = "timeout",
      .type = FIELD_SECONDS,
      .into = offsetof(struct health_check_config, timeout_ms),
      .fallback = "2",
      .minimum = 10,
      .maximum = DAY_MS,
      .summary = "An instance that has not answered by then has failed." },
    { .name = "healthyThreshold",
      .type = FIELD_INTEGER,
      .into = offsetof(struct health_check_config, healthy_threshold),
      .fallback = "2",
      .minimum = 1,
      .maximum = 1000,
      .summary = "So many good answers in a row, and an instance that was down is up." },
    { .name = "unhealthyThreshold",
      .type = FIELD_INTEGER,
      .into = offsetof(struct health_check_config, unhealthy_threshold),
      .fallback = "3",
      .minimum = 1,
      .maximum = 1000,
      .summary = "So many failures in a row, and an instance is down." },
    { .name = "expectedStatus",
      .type = FIELD_CUSTOM,
      .into = offsetof(struct health_check_config, expected),
      .read = read_status_ranges,
      .write = write_status_ranges,
      .fallback = "200-299",
      .type_text = "status, range (`200-299`) or list of them",
      .summary = "Which answers are good ones." },
    FIELDS_END,
};

static const char *const protocol_names[] = { "http", "https", "grpc", NULL };
static const char *const http_version_names[] = { "auto", "1", "2", NULL };
static const char *const proxy_protocol_names[] = { "none", "v1", "v2", NULL };
static const char *const discovery_names[] = { "static", NULL };
static const char *const discovery_not_yet[] = { "consul", "kubernetes", "dns", "etcd", NULL };
static const char *const lb_names[] = { "round_robin", "weighted_round_robin", "least_connections", "ip_hash", "random",
                                        NULL };
static const char *const lb_not_yet[] = { "p2c", "ewma", "least_latency", "peak_ewma", "maglev", NULL };

const struct field service_fields[] = {
    { .name = "name",
      .type = FIELD_STRING,
      .into = offsetof(struct service_config, name),
      .check = check_name,
      .summary = "What routes call it in `serviceId`; unique. Absent: its id." },
    { .name = "id",
      .type = FIELD_STRING,
      .into = offsetof(struct service_config, id),
      .check = check_id,
      .summary = "A UUID. Absent: one made from the name." },
    { .name = "instances",
      .type = FIELD_OBJECT_LIST,
      .into = offsetof(struct service_config, instances),
      .required = true,
      .fields = instance_fields,
      .item_size = sizeof(struct instance_config),
      .read = read_instance_text,
      .maximum = 65535,
      .summary =
          "Who does the work: `host:port`, or a map with a weight. With none every request is answered with 503." },
    { .name = "lbAlgorithm",
      .type = FIELD_ENUM,
      .into = offsetof(struct service_config, lb_algorithm),
      .names = lb_names,
      .names_not_yet = lb_not_yet,
      .fallback = "round_robin",
      .summary = "How the instance for a request is chosen; `ip_hash` keeps a client address at its instance." },
    { .name = "connectTimeoutMs",
      .type = FIELD_MILLISECONDS,
      .into = offsetof(struct service_config, connect_timeout_ms),
      .fallback = "2000",
      .minimum = 1,
      .maximum = DAY_MS,
      .summary = "Time for a connection to an instance to come about." },
    { .name = "idleTimeoutMs",
      .type = FIELD_MILLISECONDS,
      .into = offsetof(struct service_config, idle_timeout_ms),
      .fallback = "60000",
      .minimum = 1,
      .maximum = DAY_MS,
      .summary =
          "How long an unused connection to an instance is kept. Shorter than the instance's own, lest both let go at once." },
    { .name = "connectionsPerInstanceMax",
      .type = FIELD_INTEGER,
      .into = offsetof(struct service_config, connections_per_instance_max),
      .fallback = "0",
      .minimum = 0,
      .maximum = 1000000,
      .summary = "How many connections a worker opens to one instance; further requests wait for one. 0: no limit." },
    { .name = "idleConnectionsMax",
      .type = FIELD_INTEGER,
      .into = offsetof(struct service_config, idle_connections_max),
      .fallback = "64",
      .minimum = 0,
      .maximum = 1000000,
      .summary = "How many unused connections a worker keeps to one instance." },
    { .name = "protocol",
      .type = FIELD_ENUM,
      .into = offsetof(struct service_config, protocol),
      .names = protocol_names,
      .fallback = "http",
      .summary = "What the instances speak. `grpc` is HTTP/2, over TLS where the service has `tls`." },
    { .name = "tls",
      .type = FIELD_OBJECT,
      .into = offsetof(struct service_config, tls),
      .fields = tls_fields,
      .present = offsetof(struct service_config, has_tls),
      .summary = "How TLS is spoken, with `protocol: https` or `grpc`." },
    { .name = "httpVersion",
      .type = FIELD_ENUM,
      .into = offsetof(struct service_config, http_version),
      .names = http_version_names,
      .fallback = "auto",
      .summary =
          "Which version of HTTP. `auto`: with `https` what an instance chooses (ALPN), else 1. `2` without TLS: the instances must "
          "be known to speak it." },
    { .name = "proxyProtocol",
      .type = FIELD_ENUM,
      .into = offsetof(struct service_config, proxy_protocol),
      .names = proxy_protocol_names,
      .fallback = "none",
      .summary =
          "Whether connections begin by telling whose they are, in the PROXY protocol; then each carries one request." },
    { .name = "discoveryType",
      .type = FIELD_ENUM,
      .into = offsetof(struct service_config, discovery_type),
      .names = discovery_names,
      .names_not_yet = discovery_not_yet,
      .fallback = "static",
      .summary = "Where the instances come from." },
    { .name = "healthCheck",
      .type = FIELD_OBJECT,
      .into = offsetof(struct service_config, health_check),
      .fields = health_check_fields,
      .present = offsetof(struct service_config, has_health_check),
      .summary = "Asks each instance again and again whether it is well; one that is not gets no requests." },
    TAGS(struct service_config),
    NOT_YET("circuitBreaker"),
    NOT_YET("discovery"),
    CREATED_AT,
    UPDATED_AT,
    FIELDS_END,
};

static void check_tls(struct schema_reading *reading, const struct service_config *service, const struct node *node)
{
    const struct service_tls_config *tls = &service->tls;
    const char *alone = slice_is_absent(tls->key) ? "certificate" : "key";
    if (service->protocol == SERVICE_HTTP)
        problems_add_at_key(reading->problems, node, "protocol: https, or grpc",
                            "\"tls\" without TLS: the service's protocol is http");
    if (slice_is_absent(tls->certificate) != slice_is_absent(tls->key))
        problems_add(reading->problems, node, NULL, "\"%s\" needs \"%s\"", alone,
                     slice_is_absent(tls->key) ? "key" : "certificate");
    if (!tls->verify && !slice_is_absent(tls->ca))
        problems_add(reading->problems, node_find(node, "ca"), "take \"verify: false\" away",
                     "\"ca\" is of no use where nothing is verified");
}

/* What stands there must be acted on. */
void service_check(struct schema_reading *reading, const struct service_config *service)
{
    const struct node *tls = node_find(service->node, "tls");
    if (service->protocol == SERVICE_GRPC && service->http_version == SERVICE_HTTP_1)
        problems_add(reading->problems, node_find(service->node, "httpVersion"), "take it away",
                     "gRPC is spoken over HTTP/2 only");
    if (service->has_tls && tls->kind == NODE_MAP) check_tls(reading, service, tls);
    if (service->has_health_check && service->protocol == SERVICE_GRPC)
        problems_add_at_key(reading->problems, node_find(service->node, "healthCheck"), "leave it out",
                            "\"healthCheck\" of a gRPC service is not in this version yet: it asks in plain HTTP");
}
