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

enum admin_token_role { ADMIN_TOKEN_READ_ONLY, ADMIN_TOKEN_ADMIN };

struct admin_token_config {
    struct slice name;
    struct slice hash_text;
    uint8_t hash[32]; /* SHA-256 of the token's text */
    int role;         /* enum admin_token_role */
};

/* Beyond loopback it has tokens, or TLS that requires client certificates. */
struct admin_config {
    bool enabled;
    struct slice address_text;
    struct address address;
    struct object_list tokens; /* struct admin_token_config; none: whoever reaches it */
    bool has_tls;
    struct listener_tls_config tls;
    struct slice_list hosts; /* names beside its own address that a Host may say */
    bool match_required;
    bool has_probes; /* an address of its own for /live and /ready */
    struct slice probes_text;
    struct address probes;
};

struct resolver_config {
    struct slice_list servers; /* "ip:port"; empty: the system's */
    uint64_t ttl_minimum_ms, ttl_maximum_ms;
};

enum trace_source { TRACE_FROM_ALL, TRACE_FROM_TRUSTED_PROXIES, TRACE_FROM_NOBODY };

/* W3C Trace Context; see http/trace_context.h. */
struct trace_config {
    bool enabled;    /* true; false: the fields pass like any other */
    int accept_from; /* enum trace_source: whose traces go on; others' begin anew */
    bool sampled;    /* true: what is begun here says so */
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

struct status_range {
    uint16_t first, last; /* both included */
};

/* What an instance is asked, how often, and what counts as well. Times are bounded by a day. */
struct health_check_config {
    struct slice path;                              /* may have a query */
    uint64_t interval_ms, timeout_ms;               /* 10,000; 2,000 */
    int64_t healthy_threshold, unhealthy_threshold; /* in a row: 2; 3; at least 1 */
    struct status_range *expected;                  /* 200-299; ascending, apart */
    size_t expected_count;
};

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
    bool has_health_check;
    struct health_check_config health_check; /* where has_health_check */
    struct slice_list tags;
    struct content_hash hash;
    const struct node *node;
};

enum filter_side { FILTER_ON_REQUEST, FILTER_ON_RESPONSE };

/* How far a filter reaches, the widest first. Narrower than a plugin for some routes is what a route has in its own `filters`. */
enum filter_scope { FILTER_SCOPE_ALL, FILTER_SCOPE_SERVICE, FILTER_SCOPE_ROUTE, FILTER_SCOPE_OWN };

struct filter_config {
    const struct policy_kind *kind;
    void *config; /* kind->config_size bytes, filled by kind->fields */
    int side;     /* enum filter_side */
    int64_t priority;
    const struct node *node; /* where its fields stand */
    /* Said where a route's chain is compiled, absent before: the plugin, rate limit or route that it belongs to. */
    int scope; /* enum filter_scope */
    struct slice owner_id, owner_name;
};

struct plugin_config {
    struct slice id, kind_name, instance_name;
    struct filter_config filter;
    bool enabled;
    struct slice_list routes, services; /* both empty: everywhere */
    struct slice_list tags;
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

/* One request of an aggregate. */
struct aggregate_part_config {
    struct slice name, service; /* service: name or id */
    struct slice path;          /* and query; may hold ${...} */
    struct pair_list headers;
    struct slice_list forward_headers;
    uint64_t timeout_ms; /* 0: the route's */
    bool required;       /* true */
    int form;            /* enum aggregate_form */
    uint64_t bytes_max;
    const struct node *fallback; /* NULL: none */
};

enum aggregate_form { AGGREGATE_JSON, AGGREGATE_TEXT };

struct aggregate_config {
    struct object_list parts;  /* struct aggregate_part_config */
    const struct node *answer; /* a map; NULL: each part under its name */
    struct slice errors;       /* the member that lists what failed */
};

enum retry_on {
    RETRY_ON_5XX = 1,
    RETRY_ON_RESET = 2,
    RETRY_ON_CONNECT_FAILURE = 4,
    RETRY_ON_TIMEOUT = 8,
    RETRY_ON_GATEWAY_ERROR = 16
};

#define SPLIT_SERVICES_MAX 32

enum split_key { SPLIT_BY_CLIENT_ID, SPLIT_BY_IP, SPLIT_BY_RANDOM, SPLIT_BY_HEADER, SPLIT_BY_COOKIE };

struct split_service_config {
    struct slice service_id; /* name or id */
    int64_t weight;
};

/* Two forms: a canary beside the route's serviceId, or the services that stand in its place. */
struct split_config {
    struct slice canary_service_id;
    uint64_t canary_hundredths; /* of a percent; where has_canary */
    bool has_canary;
    struct object_list services;                   /* struct split_service_config */
    int by;                                        /* enum split_key */
    struct slice by_name;                          /* of the header or cookie */
    struct slice override_header, override_cookie; /* absent: none */
    uint64_t cookie_max_age_ms;                    /* 0: until the browser is closed */
    struct slice seed;                             /* absent: as if it were empty */
};

struct route_config {
    struct slice id, name;
    struct slice path;       /* the pattern: DESIGN 11, Path */
    struct slice_list hosts; /* lower-case; "*.example.com" */
    struct slice_list methods;
    struct pair_list headers, query_parameters; /* exact, "*", "~regex" */
    struct slice_list predicates;               /* expressions */
    struct slice version;                       /* "2" or "NAME/2" of apiVersions; absent: whichever is asked for */
    int64_t priority;
    bool enabled;
    struct slice service_id; /* name or id of a service; absent: another ending */
    bool has_split;
    struct split_config split;
    bool has_respond, has_redirect, has_aggregate;
    struct respond_config respond;
    struct redirect_config redirect;
    struct aggregate_config aggregate;
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

enum rate_limit_key {
    RATE_LIMIT_BY_CLIENT_ID,
    RATE_LIMIT_BY_IP,
    RATE_LIMIT_BY_API_KEY,
    RATE_LIMIT_BY_USER_ID,
    RATE_LIMIT_BY_ROUTE,
    RATE_LIMIT_BY_GLOBAL,
    RATE_LIMIT_BY_HEADER,    /* key_text: its name */
    RATE_LIMIT_BY_EXPRESSION /* key_text: the text with ${...} in it */
};
enum rate_limit_algorithm {
    RATE_LIMIT_TOKEN_BUCKET,
    RATE_LIMIT_SLIDING_WINDOW,
    RATE_LIMIT_FIXED_WINDOW,
    RATE_LIMIT_GCRA,
    RATE_LIMIT_CONCURRENCY
};
enum rate_limit_action { RATE_LIMIT_REJECT, RATE_LIMIT_QUEUE, RATE_LIMIT_THROTTLE };

struct tier_limits_config {
    int64_t free, standard, premium; /* 0: not given, the rule's own limit holds */
};

struct rate_limit_config {
    struct slice id, name;
    struct slice route_id, service_id; /* name or id; at most one of them; both absent: every request */
    int key;                           /* enum rate_limit_key */
    struct slice key_text;             /* header's name or expression; else absent */
    int algorithm;                     /* enum rate_limit_algorithm */
    int64_t limit;
    int64_t window_seconds; /* 0: none, of concurrency alone */
    int64_t burst;          /* 0: not given: as the limit */
    int action;             /* enum rate_limit_action */
    bool enabled, before_identity, shadow;
    int64_t cost;                 /* 1 */
    struct slice cost_expression; /* in its place; absent: the number */
    bool has_tier_limits;
    struct tier_limits_config tier_limits;
    uint64_t queue_max_wait_ms; /* 1,000 */
    int64_t queue_max_length;   /* 100 */
    struct slice_list tags;
    struct content_hash hash;
    const struct node *node;
};

/* How many may come at once under one of the rule's limits, its own or a tier's: `burst` is of its own, a tier's in proportion. */
int64_t rate_limit_burst(const struct rate_limit_config *, int64_t limit);
/* What no single field can tell; `node` is where the rule stands. */
void rate_limit_check(struct schema_reading *, const struct node *, const struct rate_limit_config *);

/* What a role allows: a request that fits every list which is not empty. */
struct permission_config {
    struct slice_list methods;
    struct slice_list routes; /* names or ids */
    struct slice_list paths;  /* patterns as of routes */
};

/* Client ids as one issuer's tokens tell them: another issuer, or an API key, may have the same for somebody else. */
struct token_clients_config {
    struct slice issuer;
    struct slice_list clients;
};

struct role_config {
    struct slice id, name;
    struct slice_list scopes;         /* whoever has one of them has the role, */
    struct slice_list clients;        /* and so have these client ids, of whoever no named issuer vouches for, */
    struct object_list token_clients; /* and these: struct token_clients_config */
    struct object_list permissions;   /* struct permission_config; one that fits is enough */
    struct slice_list tags;
    struct content_hash hash;
    const struct node *node;
};

/* A certificate that is kept in the store: texts, where those of listeners are paths. */
struct certificate_resource_config {
    struct slice id, name;
    struct slice certificate, key; /* PEM, or ${env:NAME}, ${file:PATH}: resource_resolve_secret() */
    struct slice ocsp;             /* DER in base64; absent: none */
    struct slice_list listeners;   /* addresses; none: all that speak TLS */
    struct slice_list tags;
    struct content_hash hash;
    const struct node *node;
};

enum api_key_tier { API_KEY_FREE, API_KEY_STANDARD, API_KEY_PREMIUM };

struct api_key_config {
    struct slice id;
    struct slice client_id;   /* absent: to be made */
    struct slice client_name; /* not unique */
    struct slice hash_text;   /* "sha256:<64 hex digits>" of the key; absent: the key is to be made */
    struct slice key_prefix;  /* its first 8 characters; absent where not known */
    struct slice_list scopes;
    int rate_limit_tier;    /* enum api_key_tier */
    uint64_t expires_at_us; /* since 1970; 0: never */
    bool enabled;
    struct slice_list tags;
    struct content_hash hash;
    const struct node *node;
};

struct api_version_config {
    struct slice version;
    uint64_t deprecated_us, sunset_us; /* since 1970; 0: it isn't */
    struct slice link;                 /* absent: none */
};

/* The versions of one API and where a request says which it wants, looked at in the order of the members. */
struct api_versions_config {
    struct slice name;
    struct slice path_prefix;          /* "/api/v{version}" */
    struct slice header;               /* name */
    struct slice media_type_parameter; /* of Accept, else of Content-Type */
    struct slice query;                /* parameter's name */
    struct slice default_version;
    struct object_list versions; /* struct api_version_config */
};

/* A test of a configuration: `sluice check --test`. */
struct test_request_config {
    struct slice method; /* "GET" */
    struct slice url;    /* "https://example.com/a?b", or from the path on */
    struct pair_list headers;
    struct slice body;      /* absent: none */
    struct slice client_ip; /* "192.0.2.1" */
    uint64_t time_us;       /* since 1970; 0: now */
    int64_t repeat;         /* 1 */
};

/* What every service answers. */
struct test_backend_config {
    int64_t status;
    struct pair_list headers;
    struct slice body;
};

/* Whatever is absent may be anything. */
struct test_expect_config {
    struct slice route, service, rule; /* "": none */
    bool has_status;
    int64_t status;
    struct pair_list headers; /* exact, "*", "~regex"; "": it must not be there */
    struct slice upstream_path;
    struct pair_list upstream_headers; /* like headers */
};

struct test_config {
    struct slice name;
    struct test_request_config request;
    struct test_backend_config backend;
    struct test_expect_config expect;
    const struct node *node;
};

enum store_kind { STORE_FILE, STORE_SQLITE, STORE_POSTGRES };

struct configuration {
    struct arena arena;
    struct slice file;           /* absolute path; absent for `sluice proxy` */
    int store;                   /* enum store_kind */
    struct slice store_location; /* "sqlite:/absolute/path", "postgres://..." (it may hold a password); absent: file */
    uint64_t api_key_memory_bytes;    /* 256 MiB */
    uint64_t rate_limit_memory_bytes; /* 32 MiB */
    int64_t workers;                  /* 0: one per core */
    struct object_list listeners;     /* struct listener_config */
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
    struct trace_config trace;
    struct object_list api_versions; /* struct api_versions_config */
    struct object_list tests;        /* struct test_config; of no effect on what runs */
    struct object_list services;     /* struct service_config */
    struct object_list routes;       /* struct route_config, in the file's order */
    struct object_list plugins;      /* struct plugin_config */
    struct object_list rate_limits, roles, certificates, api_keys;
    const struct node *node;
};

/* The tables, for docs and OpenAPI. filter_fields are what every filter of a route takes beside its kind's own fields. */
extern const struct field configuration_fields[], listener_fields[], admin_fields[], limits_fields[];
/* A rate-limit filter's fields are the rule's from this one on. */
#define RATE_LIMIT_FILTER_FIELDS_AT 7
extern const struct field split_fields[], api_versions_fields[], test_fields[];
extern const struct field aggregate_fields[], aggregate_part_fields[];
extern const struct field service_fields[], route_fields[], filter_fields[], plugin_fields[], rate_limit_fields[],
    role_fields[], certificate_resource_fields[], api_key_fields[];

#endif
