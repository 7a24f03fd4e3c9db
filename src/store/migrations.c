/* The schema, as steps from one version to the next; each is one transaction under a lock that all instances know, so that several may
 * start at once on an empty database. A step that has been released is never changed: a mend is another step. */
#include "store/private.h"

#include "base/memory.h"

/* JSON is kept as text that is checked: SQLite has no type for it. Times are microseconds since 1970, booleans 0 and 1. */
const char *const migration_steps_sqlite[] = {
    "CREATE TABLE store_head (one INTEGER PRIMARY KEY CHECK (one = 1), revision INTEGER NOT NULL) STRICT;"
    "INSERT INTO store_head (one, revision) VALUES (1, 0);"

    "CREATE TABLE revisions ("
    " revision INTEGER PRIMARY KEY,"
    " at INTEGER NOT NULL,"
    " author TEXT,"
    " source TEXT,"
    " comment TEXT,"
    " changes TEXT NOT NULL CHECK (json_valid(changes))"
    ") STRICT;"

    "CREATE TABLE services ("
    " service_id TEXT PRIMARY KEY NOT NULL CHECK (length(service_id) = 36),"
    " name TEXT NOT NULL UNIQUE,"
    " protocol TEXT NOT NULL DEFAULT 'http' CHECK (protocol IN ('http', 'https', 'grpc')),"
    " discovery_type TEXT NOT NULL DEFAULT 'static'"
    "  CHECK (discovery_type IN ('static', 'consul', 'kubernetes', 'dns', 'etcd')),"
    " instances TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(instances)),"
    " health_check TEXT CHECK (health_check IS NULL OR json_valid(health_check)),"
    " lb_algorithm TEXT NOT NULL DEFAULT 'round_robin' CHECK (lb_algorithm <> ''),"
    " circuit_breaker TEXT CHECK (circuit_breaker IS NULL OR json_valid(circuit_breaker)),"
    " tags TEXT CHECK (tags IS NULL OR json_valid(tags)),"
    " more TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(more)),"
    " created_at INTEGER NOT NULL,"
    " updated_at INTEGER NOT NULL"
    ") STRICT;"

    "CREATE TABLE routes ("
    " route_id TEXT PRIMARY KEY NOT NULL CHECK (length(route_id) = 36),"
    " name TEXT NOT NULL UNIQUE,"
    " path_pattern TEXT NOT NULL,"
    " methods TEXT CHECK (methods IS NULL OR json_valid(methods)),"
    " service_id TEXT REFERENCES services (service_id) DEFERRABLE INITIALLY DEFERRED,"
    " service_name TEXT,"
    " strip_prefix INTEGER NOT NULL DEFAULT 1 CHECK (strip_prefix IN (0, 1)),"
    " priority INTEGER NOT NULL DEFAULT 0,"
    " timeout_ms INTEGER NOT NULL DEFAULT 30000 CHECK (timeout_ms > 0),"
    " retry_count INTEGER NOT NULL DEFAULT 1 CHECK (retry_count >= 0),"
    " retry_on TEXT NOT NULL DEFAULT '[\"5xx\",\"reset\",\"connect-failure\"]' CHECK (json_valid(retry_on)),"
    " enabled INTEGER NOT NULL DEFAULT 1 CHECK (enabled IN (0, 1)),"
    " tags TEXT CHECK (tags IS NULL OR json_valid(tags)),"
    " more TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(more)),"
    " created_at INTEGER NOT NULL,"
    " updated_at INTEGER NOT NULL"
    ") STRICT;"
    "CREATE INDEX routes_service_id ON routes (service_id);"
    "CREATE INDEX routes_service_name ON routes (service_name);"

    "CREATE TABLE plugins ("
    " plugin_id TEXT PRIMARY KEY NOT NULL CHECK (length(plugin_id) = 36),"
    " name TEXT NOT NULL,"
    " instance_name TEXT UNIQUE,"
    " config TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(config)),"
    " routes TEXT CHECK (routes IS NULL OR json_valid(routes)),"
    " services TEXT CHECK (services IS NULL OR json_valid(services)),"
    " enabled INTEGER NOT NULL DEFAULT 1 CHECK (enabled IN (0, 1)),"
    " priority INTEGER NOT NULL DEFAULT 0,"
    " tags TEXT CHECK (tags IS NULL OR json_valid(tags)),"
    " more TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(more)),"
    " created_at INTEGER NOT NULL,"
    " updated_at INTEGER NOT NULL"
    ") STRICT;"
    "CREATE INDEX plugins_name ON plugins (name);"

    "CREATE TABLE rate_limit_rules ("
    " rule_id TEXT PRIMARY KEY NOT NULL CHECK (length(rule_id) = 36),"
    " name TEXT NOT NULL UNIQUE,"
    " route_id TEXT REFERENCES routes (route_id) DEFERRABLE INITIALLY DEFERRED,"
    " route_name TEXT,"
    " service_id TEXT REFERENCES services (service_id) DEFERRABLE INITIALLY DEFERRED,"
    " service_name TEXT,"
    " key_type TEXT NOT NULL DEFAULT 'client_id'"
    "  CHECK (key_type IN ('client_id', 'ip', 'api_key', 'user_id', 'route', 'global')"
    "   OR key_type LIKE 'header:%' OR key_type LIKE '%${%'),"
    " algorithm TEXT NOT NULL DEFAULT 'token_bucket'"
    "  CHECK (algorithm IN ('token_bucket', 'sliding_window', 'fixed_window', 'gcra', 'concurrency')),"
    " limit_count INTEGER NOT NULL CHECK (limit_count >= 0),"
    " window_seconds INTEGER CHECK (window_seconds > 0),"
    " burst INTEGER CHECK (burst >= 0),"
    " action TEXT NOT NULL DEFAULT 'reject' CHECK (action IN ('reject', 'queue', 'throttle')),"
    " enabled INTEGER NOT NULL DEFAULT 1 CHECK (enabled IN (0, 1)),"
    " before_identity INTEGER NOT NULL DEFAULT 0 CHECK (before_identity IN (0, 1)),"
    " cost TEXT NOT NULL DEFAULT '1' CHECK (json_valid(cost)),"
    " tier_limits TEXT CHECK (tier_limits IS NULL OR json_valid(tier_limits)),"
    " shadow INTEGER NOT NULL DEFAULT 0 CHECK (shadow IN (0, 1)),"
    " queue_max_wait_ms INTEGER CHECK (queue_max_wait_ms >= 0),"
    " queue_max_length INTEGER CHECK (queue_max_length >= 0),"
    " tags TEXT CHECK (tags IS NULL OR json_valid(tags)),"
    " more TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(more)),"
    " created_at INTEGER NOT NULL,"
    " updated_at INTEGER NOT NULL"
    ") STRICT;"
    "CREATE INDEX rate_limit_rules_route_id ON rate_limit_rules (route_id);"
    "CREATE INDEX rate_limit_rules_route_name ON rate_limit_rules (route_name);"
    "CREATE INDEX rate_limit_rules_service_id ON rate_limit_rules (service_id);"
    "CREATE INDEX rate_limit_rules_service_name ON rate_limit_rules (service_name);"

    "CREATE TABLE roles ("
    " role_id TEXT PRIMARY KEY NOT NULL CHECK (length(role_id) = 36),"
    " name TEXT NOT NULL UNIQUE,"
    " scopes TEXT CHECK (scopes IS NULL OR json_valid(scopes)),"
    " clients TEXT CHECK (clients IS NULL OR json_valid(clients)),"
    " permissions TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(permissions)),"
    " tags TEXT CHECK (tags IS NULL OR json_valid(tags)),"
    " more TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(more)),"
    " created_at INTEGER NOT NULL,"
    " updated_at INTEGER NOT NULL"
    ") STRICT;"

    "CREATE TABLE certificates ("
    " certificate_id TEXT PRIMARY KEY NOT NULL CHECK (length(certificate_id) = 36),"
    " name TEXT NOT NULL UNIQUE,"
    " certificate TEXT NOT NULL,"
    " private_key TEXT NOT NULL,"
    " ocsp TEXT,"
    " listeners TEXT CHECK (listeners IS NULL OR json_valid(listeners)),"
    " tags TEXT CHECK (tags IS NULL OR json_valid(tags)),"
    " more TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(more)),"
    " created_at INTEGER NOT NULL,"
    " updated_at INTEGER NOT NULL"
    ") STRICT;"

    "CREATE TABLE api_keys ("
    " key_id TEXT PRIMARY KEY NOT NULL CHECK (length(key_id) = 36),"
    " key_hash BLOB NOT NULL UNIQUE CHECK (length(key_hash) = 32),"
    " key_prefix TEXT NOT NULL,"
    " client_id TEXT NOT NULL,"
    " client_name TEXT,"
    " scopes TEXT NOT NULL DEFAULT '',"
    " rate_limit_tier TEXT NOT NULL DEFAULT 'standard' CHECK (rate_limit_tier IN ('free', 'standard', 'premium')),"
    " expires_at INTEGER,"
    " enabled INTEGER NOT NULL DEFAULT 1 CHECK (enabled IN (0, 1)),"
    " created_at INTEGER NOT NULL,"
    " last_used_at INTEGER,"
    " replaces_until INTEGER,"
    " tags TEXT CHECK (tags IS NULL OR json_valid(tags))"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX api_keys_age ON api_keys (created_at, key_id);"
    "CREATE INDEX api_keys_client ON api_keys (client_id, created_at, key_id);",

    /* PostgreSQL's: who shares it. */
    "",
    NULL,
};

/* `json` and not `jsonb`: the document must come back as it was written, and jsonb keeps neither the order of keys nor the spelling. It can be
 * asked the same questions (more ->> 'host'), and an index on an expression of it serves whoever needs one. */
const char *const migration_steps_postgres[] = {
    "CREATE TABLE store_head (one integer PRIMARY KEY CHECK (one = 1), revision bigint NOT NULL);"
    "INSERT INTO store_head (one, revision) VALUES (1, 0);"

    "CREATE TABLE revisions ("
    " revision bigint PRIMARY KEY,"
    " at timestamptz NOT NULL,"
    " author text,"
    " source text,"
    " comment text,"
    " changes json NOT NULL"
    ");"

    "CREATE TABLE services ("
    " service_id uuid PRIMARY KEY,"
    " name text NOT NULL UNIQUE,"
    " protocol text NOT NULL DEFAULT 'http' CHECK (protocol IN ('http', 'https', 'grpc')),"
    " discovery_type text NOT NULL DEFAULT 'static'"
    "  CHECK (discovery_type IN ('static', 'consul', 'kubernetes', 'dns', 'etcd')),"
    " instances json NOT NULL DEFAULT '[]',"
    " health_check json,"
    " lb_algorithm text NOT NULL DEFAULT 'round_robin' CHECK (lb_algorithm <> ''),"
    " circuit_breaker json,"
    " tags json,"
    " more json NOT NULL DEFAULT '{}',"
    " created_at timestamptz NOT NULL DEFAULT now(),"
    " updated_at timestamptz NOT NULL DEFAULT now()"
    ");"

    "CREATE TABLE routes ("
    " route_id uuid PRIMARY KEY,"
    " name text NOT NULL UNIQUE,"
    " path_pattern text NOT NULL,"
    " methods json,"
    " service_id uuid REFERENCES services (service_id) DEFERRABLE INITIALLY DEFERRED,"
    " service_name text,"
    " strip_prefix boolean NOT NULL DEFAULT true,"
    " priority bigint NOT NULL DEFAULT 0,"
    " timeout_ms bigint NOT NULL DEFAULT 30000 CHECK (timeout_ms > 0),"
    " retry_count bigint NOT NULL DEFAULT 1 CHECK (retry_count >= 0),"
    " retry_on json NOT NULL DEFAULT '[\"5xx\",\"reset\",\"connect-failure\"]',"
    " enabled boolean NOT NULL DEFAULT true,"
    " tags json,"
    " more json NOT NULL DEFAULT '{}',"
    " created_at timestamptz NOT NULL DEFAULT now(),"
    " updated_at timestamptz NOT NULL DEFAULT now()"
    ");"
    "CREATE INDEX routes_service_id ON routes (service_id);"
    "CREATE INDEX routes_service_name ON routes (service_name);"

    "CREATE TABLE plugins ("
    " plugin_id uuid PRIMARY KEY,"
    " name text NOT NULL,"
    " instance_name text UNIQUE,"
    " config json NOT NULL DEFAULT '{}',"
    " routes json,"
    " services json,"
    " enabled boolean NOT NULL DEFAULT true,"
    " priority bigint NOT NULL DEFAULT 0,"
    " tags json,"
    " more json NOT NULL DEFAULT '{}',"
    " created_at timestamptz NOT NULL DEFAULT now(),"
    " updated_at timestamptz NOT NULL DEFAULT now()"
    ");"
    "CREATE INDEX plugins_name ON plugins (name);"

    "CREATE TABLE rate_limit_rules ("
    " rule_id uuid PRIMARY KEY,"
    " name text NOT NULL UNIQUE,"
    " route_id uuid REFERENCES routes (route_id) DEFERRABLE INITIALLY DEFERRED,"
    " route_name text,"
    " service_id uuid REFERENCES services (service_id) DEFERRABLE INITIALLY DEFERRED,"
    " service_name text,"
    " key_type text NOT NULL DEFAULT 'client_id'"
    "  CHECK (key_type IN ('client_id', 'ip', 'api_key', 'user_id', 'route', 'global')"
    "   OR key_type LIKE 'header:%' OR key_type LIKE '%${%'),"
    " algorithm text NOT NULL DEFAULT 'token_bucket'"
    "  CHECK (algorithm IN ('token_bucket', 'sliding_window', 'fixed_window', 'gcra', 'concurrency')),"
    " limit_count bigint NOT NULL CHECK (limit_count >= 0),"
    " window_seconds bigint CHECK (window_seconds > 0),"
    " burst bigint CHECK (burst >= 0),"
    " action text NOT NULL DEFAULT 'reject' CHECK (action IN ('reject', 'queue', 'throttle')),"
    " enabled boolean NOT NULL DEFAULT true,"
    " before_identity boolean NOT NULL DEFAULT false,"
    " cost json NOT NULL DEFAULT '1',"
    " tier_limits json,"
    " shadow boolean NOT NULL DEFAULT false,"
    " queue_max_wait_ms bigint CHECK (queue_max_wait_ms >= 0),"
    " queue_max_length bigint CHECK (queue_max_length >= 0),"
    " tags json,"
    " more json NOT NULL DEFAULT '{}',"
    " created_at timestamptz NOT NULL DEFAULT now(),"
    " updated_at timestamptz NOT NULL DEFAULT now()"
    ");"
    "CREATE INDEX rate_limit_rules_route_id ON rate_limit_rules (route_id);"
    "CREATE INDEX rate_limit_rules_route_name ON rate_limit_rules (route_name);"
    "CREATE INDEX rate_limit_rules_service_id ON rate_limit_rules (service_id);"
    "CREATE INDEX rate_limit_rules_service_name ON rate_limit_rules (service_name);"

    "CREATE TABLE roles ("
    " role_id uuid PRIMARY KEY,"
    " name text NOT NULL UNIQUE,"
    " scopes json,"
    " clients json,"
    " permissions json NOT NULL DEFAULT '[]',"
    " tags json,"
    " more json NOT NULL DEFAULT '{}',"
    " created_at timestamptz NOT NULL DEFAULT now(),"
    " updated_at timestamptz NOT NULL DEFAULT now()"
    ");"

    "CREATE TABLE certificates ("
    " certificate_id uuid PRIMARY KEY,"
    " name text NOT NULL UNIQUE,"
    " certificate text NOT NULL,"
    " private_key text NOT NULL,"
    " ocsp text,"
    " listeners json,"
    " tags json,"
    " more json NOT NULL DEFAULT '{}',"
    " created_at timestamptz NOT NULL DEFAULT now(),"
    " updated_at timestamptz NOT NULL DEFAULT now()"
    ");"

    "CREATE TABLE api_keys ("
    " key_id uuid PRIMARY KEY,"
    " key_hash bytea NOT NULL UNIQUE CHECK (octet_length(key_hash) = 32),"
    " key_prefix text NOT NULL,"
    " client_id text NOT NULL,"
    " client_name text,"
    " scopes text NOT NULL DEFAULT '',"
    " rate_limit_tier text NOT NULL DEFAULT 'standard' CHECK (rate_limit_tier IN ('free', 'standard', 'premium')),"
    " expires_at timestamptz,"
    " enabled boolean NOT NULL DEFAULT true,"
    " created_at timestamptz NOT NULL DEFAULT now(),"
    " last_used_at timestamptz,"
    " replaces_until timestamptz,"
    " tags json"
    ");"
    "CREATE INDEX api_keys_age ON api_keys (created_at, key_id);"
    "CREATE INDEX api_keys_client ON api_keys (client_id, created_at, key_id);",

    "CREATE TABLE gateways ("
    " gateway_id uuid PRIMARY KEY,"
    " name text NOT NULL,"
    " version text NOT NULL,"
    " revision bigint NOT NULL,"
    " started_at timestamptz NOT NULL,"
    " seen_at timestamptz NOT NULL"
    ");",
    NULL,
};

unsigned store_schema_known(const struct store_driver *kind)
{
    unsigned known = 0;
    while (kind->steps[known]) known++;
    return known;
}

static bool take_version(void *argument, const struct value *columns, size_t count, struct error *error)
{
    unsigned *version = argument;
    bool is_number = count == 1 && columns[0].type == VALUE_INTEGER && columns[0].number >= 0 &&
                     columns[0].number <= 1000000;
    if (!is_number) return store_refuse(error, STORE_DAMAGED, "table \"store_schema\" does not hold a version");
    *version = (unsigned)columns[0].number;
    return true;
}

bool store_schema_version(struct store *store, unsigned *version, struct error *error)
{
    *version = 0;
    unsigned is_there = 0;
    struct execution ask = { .statement = STATEMENT_SCHEMA_IS_THERE, .row = take_version, .argument = &is_there };
    if (!store_execute(store, &ask, error)) return false;
    if (!is_there) return true;
    struct execution read = { .statement = STATEMENT_SCHEMA_VERSION, .row = take_version, .argument = version };
    if (!store_execute(store, &read, error)) return false;
    return *version > 0 || store_refuse(error, STORE_DAMAGED, "table \"store_schema\" does not hold a version");
}

static bool refuse_newer(const struct store *store, unsigned version, struct error *error)
{
    return store_refuse(
        error, STORE_NEWER,
        "%s: its schema is version %u, and this Sluice knows up to %u: use the newer Sluice that wrote it, or "
        "restore a backup from before",
        store->shown, version, store_schema_known(store->driver));
}

/* Inside the transaction; another instance may have made the step before we had the lock. */
static bool step(struct store *store, unsigned *version, struct error *error)
{
    unsigned known = store_schema_known(store->driver);
    if (!store_schema_version(store, version, error)) return false;
    if (*version > known) return refuse_newer(store, *version, error);
    if (*version == known) return true;
    char *text = memory_format("%s%s %u%s", store->driver->steps[*version],
                               *version
                                   ? "UPDATE store_schema SET version ="
                                   : "CREATE TABLE store_schema (one integer PRIMARY KEY CHECK (one = 1), "
                                     "version integer NOT NULL); INSERT INTO store_schema (one, version) VALUES (1,",
                               *version + 1, *version ? ";" : ");");
    bool ok = store->driver->script(store, text, error);
    free(text);
    ++*version;
    return ok;
}

bool store_migrate(struct store *store, struct error *error)
{
    unsigned version, known = store_schema_known(store->driver);
    if (!store_schema_version(store, &version, error)) return false;
    if (version > known) return refuse_newer(store, version, error);
    while (version < known) {
        if (!store_transaction_begin(store, TRANSACTION_MIGRATE, error)) return false;
        if (!step(store, &version, error)) {
            store_transaction_rollback(store);
            return false;
        }
        if (!store_transaction_commit(store, error)) return false;
    }
    return true;
}
