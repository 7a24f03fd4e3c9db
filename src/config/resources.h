/* config/resources.h: the resources as structs, as the schema tables in resources.c fill them. Names and defaults: DESIGN 6, 11.
 *
 * All of it lives in the configuration's arena. `node` is where a resource was written (for problems found later, when it is
 * compiled); it holds as long as the configuration. */
#ifndef SLUICE_CONFIG_RESOURCES_H
#define SLUICE_CONFIG_RESOURCES_H

#include "base/arena.h"
#include "config/schema.h"
#include "event/socket.h"
#include "http/method.h"

struct certificate_config {
    struct slice certificate, key, ocsp; /* absolute paths; ocsp may be absent */
};

enum tls_version_min { TLS_VERSION_1_2, TLS_VERSION_1_3 };
enum client_auth { CLIENT_AUTH_NONE, CLIENT_AUTH_OPTIONAL, CLIENT_AUTH_REQUIRED };

struct listener_tls_config {
    struct object_list certificates;     /* struct certificate_config */
    int version_min;                     /* enum tls_version_min */
    struct slice ciphers, cipher_suites; /* as OpenSSL reads them; absent: ours */
    int client_auth;                     /* enum client_auth */
    struct slice client_ca, client_crl;  /* absolute paths; absent: none */
    struct slice_list ticket_keys;       /* absolute paths; none: keys of the process */
};

/* Who speaks the PROXY protocol; none: it is not spoken. */
struct listener_proxy_config {
    struct slice_list from_texts;
    bool from_trusted_proxies;
    struct address_range *from; /* either's */
    size_t from_count;
};

struct listener_config {
    struct slice address_text; /* "127.0.0.1:8080" */
    struct address address;
    bool has_tls;
    struct listener_tls_config tls;
    bool http2;             /* true: may be spoken, chosen by ALPN or, in clear, by the client's preface */
    uint16_t redirect_port; /* every request goes there by https; 0: none does */
    struct listener_proxy_config proxy;
    const struct node *node;
};

enum access_log_target { ACCESS_LOG_OFF, ACCESS_LOG_STDOUT, ACCESS_LOG_FILE };

struct access_log_config {
    int target;        /* enum access_log_target */
    struct slice path; /* absolute */
};

struct limits_config {
    uint64_t request_line_bytes;     /* 8 KiB */
    uint64_t header_bytes;           /* 32 KiB */
    int64_t header_count;            /* 100 */
    uint64_t body_bytes;             /* 10 GiB; 0: no limit */
    uint64_t head_timeout_ms;        /* 10,000 */
    uint64_t body_timeout_ms;        /* 30,000: between two pieces of a request's body */
    uint64_t idle_timeout_ms;        /* 75,000: a kept connection without a request */
    uint64_t half_close_timeout_ms;  /* from a client's FIN to the start of its answer; 0: it counts as gone */
    int64_t streams_per_connection;  /* 128 */
    int64_t connections_per_worker;  /* 10,000 */
    int64_t connections_per_address; /* 0: no limit */
    int64_t new_connections_per_address_per_second; /* 0: no limit */
    uint64_t handshake_timeout_ms;                  /* 10,000 */
    int64_t handshakes_per_address_per_second;      /* 0: no limit */
    uint64_t buffer_bytes_per_worker;               /* 256 MiB */
    int64_t tunnels_per_worker;                     /* 0: no limit */
};

struct admin_config {
    bool enabled;
    struct slice address_text;
    struct address address; /* loopback only until tokens exist */
};

struct resolver_config {
    struct slice_list servers; /* "ip:port"; empty: the system's */
    uint64_t ttl_minimum_ms, ttl_maximum_ms;
};

enum lb_algorithm { LB_ROUND_ROBIN, LB_WEIGHTED_ROUND_ROBIN, LB_LEAST_CONNECTIONS, LB_IP_HASH, LB_RANDOM };

struct instance_config {
    struct slice host; /* an IP without brackets, or a name */
    uint16_t port;
    uint16_t weight;        /* 0..65535, default 100; 0: gets nothing */
    struct address address; /* AF_UNSPEC: host is a name */
};

enum service_protocol { SERVICE_HTTP, SERVICE_HTTPS, SERVICE_GRPC };
enum service_http_version { SERVICE_HTTP_AUTO, SERVICE_HTTP_1, SERVICE_HTTP_2 };

struct service_tls_config {
    bool verify;                   /* true */
    struct slice ca;               /* absolute path; absent: the system's authorities */
    struct slice server_name;      /* absent: the instance's host */
    struct slice certificate, key; /* absolute paths; both absent: none is shown */
    int version_min;               /* enum tls_version_min */
};
enum discovery_type { DISCOVERY_STATIC };

struct service_config {
    struct slice id, name; /* both there after loading: each is made from the other where it is absent */
    int protocol;          /* enum service_protocol */
    int http_version;      /* enum service_http_version */
    int proxy_protocol;    /* its version; 0: not spoken */
    bool has_tls;
    struct service_tls_config tls;        /* its defaults where has_tls is false */
    int discovery_type;                   /* enum discovery_type */
    struct object_list instances;         /* struct instance_config */
    int lb_algorithm;                     /* enum lb_algorithm */
    uint64_t connect_timeout_ms;          /* 2,000 */
    uint64_t idle_timeout_ms;             /* 60,000: a pooled connection without use */
    int64_t connections_per_instance_max; /* a worker; 0: no limit */
    int64_t idle_connections_max;         /* a worker and instance; 64 */
    struct slice_list tags;
    struct content_hash hash;
    const struct node *node;
};

enum filter_side { FILTER_ON_REQUEST, FILTER_ON_RESPONSE };

struct filter_config {
    const struct policy_kind *kind;
    void *config; /* kind->config_size bytes, filled by kind->fields */
    int side;     /* enum filter_side */
    int64_t priority;
    const struct node *node; /* where its fields stand */
};

struct plugin_config {
    struct slice id, kind_name, instance_name;
    struct filter_config filter;
    bool enabled;
    struct slice_list routes, services; /* both empty: everywhere */
    struct content_hash hash;
    const struct node *node;
};

struct respond_config {
    int64_t status;           /* 200 */
    struct pair_list headers; /* values may hold ${path.NAME} */
    struct slice body;        /* may hold ${path.NAME} */
};

struct redirect_config {
    struct slice to; /* may hold ${path.NAME} */
    int64_t status;  /* 302; 301, 302, 303, 307, 308 */
    bool keep_query;
};

enum retry_on {
    RETRY_ON_5XX = 1,
    RETRY_ON_RESET = 2,
    RETRY_ON_CONNECT_FAILURE = 4,
    RETRY_ON_TIMEOUT = 8,
    RETRY_ON_GATEWAY_ERROR = 16
};

struct route_config {
    struct slice id, name;
    struct slice path;       /* the pattern: DESIGN 11, Path */
    struct slice_list hosts; /* lower-case; "*.example.com" */
    struct slice_list methods;
    struct pair_list headers, query_parameters; /* exact, "*", "~regex" */
    int64_t priority;
    bool enabled;
    struct slice service_id; /* name or id of a service; absent: respond or redirect */
    bool has_respond, has_redirect;
    struct respond_config respond;
    struct redirect_config redirect;
    bool strip_prefix;               /* true */
    bool preserve_host;              /* true: the client's Host goes upstream; false: the instance's */
    uint64_t timeout_ms;             /* 30,000 */
    uint64_t try_timeout_ms;         /* 0: none */
    uint64_t idle_timeout_ms;        /* 60,000: between pieces of a body */
    uint64_t tunnel_idle_timeout_ms; /* 3,600,000; 0: none */
    int64_t retry_count;             /* 1 */
    uint64_t retry_on;               /* enum retry_on bits */
    uint64_t retry_buffer_bytes;     /* 64 KiB */
    bool idempotent;
    struct object_list filters; /* struct filter_config */
    struct slice_list tags;
    struct content_hash hash;
    const struct node *node;
};

enum store_kind { STORE_FILE };

struct configuration {
    struct arena arena;
    struct slice file;            /* absolute path; absent for `sluice proxy` */
    int store;                    /* enum store_kind */
    int64_t workers;              /* 0: one per core */
    struct object_list listeners; /* struct listener_config */
    struct admin_config admin;
    struct access_log_config access_log;
    struct slice_list trusted_proxy_texts;
    struct address_range *trusted_proxies;
    size_t trusted_proxy_count;
    struct slice_list internal_response_headers; /* default ["X-Internal-*"] */
    struct limits_config limits;
    struct resolver_config resolver;
    uint64_t drain_timeout_ms;        /* 30 s */
    uint64_t tunnel_drain_timeout_ms; /* 30 s */
    uint64_t stall_timeout_ms;        /* 5 s: a worker that doesn't turn for so long is restarted with its process */
    struct slice user;                /* absent: stay */
    bool merge_slashes;
    struct object_list services; /* struct service_config */
    struct object_list routes;   /* struct route_config, in the file's order */
    struct object_list plugins;  /* struct plugin_config */
    const struct node *node;
};

/* The tables, for docs and OpenAPI. filter_fields are what every filter of a route takes beside its kind's own fields. */
extern const struct field configuration_fields[], listener_fields[], service_fields[], route_fields[], plugin_fields[],
    limits_fields[], filter_fields[];

#endif
