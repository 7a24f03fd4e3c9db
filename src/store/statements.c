/* The statements that are the same for every kind of resource. SQLite and PostgreSQL understand the same words but for locks,
 * notifications and lists as values. */
#include "store/private.h"

#define KEY_COLUMNS                                                                                                    \
    "key_hash, key_id, key_prefix, client_id, client_name, rate_limit_tier, scopes, enabled, expires_at, created_at, " \
    "last_used_at, replaces_until, tags"
#define REVISION_COLUMNS "revision, at, author, source, comment, changes"

const struct statement_text statement_texts[STATEMENT_ROWS] = {
    /* Not to_regclass(): it answers from a cache that waiting for an advisory lock doesn't renew. */
    [STATEMENT_SCHEMA_IS_THERE] = {
        "SELECT count(*) FROM sqlite_master WHERE name = 'store_schema'",
        "SELECT count(*) FROM pg_catalog.pg_class WHERE relname = 'store_schema' AND pg_catalog.pg_table_is_visible(oid)",
    },
    [STATEMENT_SCHEMA_VERSION] = { .sqlite = "SELECT version FROM store_schema" },
    [STATEMENT_HEAD] = { .sqlite = "SELECT store_head.revision, revisions.at FROM store_head "
                                   "LEFT JOIN revisions ON revisions.revision = store_head.revision" },
    /* BEGIN IMMEDIATE is SQLite's lock. PostgreSQL's may come after a wait, and then the statement sees the head as it is now but all other
     * tables as they were before: the revision is asked for by itself. */
    [STATEMENT_HEAD_LOCK] = { "SELECT revision FROM store_head", "SELECT revision FROM store_head FOR UPDATE" },
    [STATEMENT_REVISION_ADD] = {
        "INSERT INTO revisions (" REVISION_COLUMNS ") VALUES ($1, $2, $3, $4, $5, $6)",
        "WITH added AS (INSERT INTO revisions (" REVISION_COLUMNS ") VALUES ($1, $2, $3, $4, $5, $6)), "
        "head AS (UPDATE store_head SET revision = $1) SELECT pg_notify('sluice', $1::bigint::text)",
    },
    [STATEMENT_HEAD_SET] = { .sqlite = "UPDATE store_head SET revision = $1" },
    [STATEMENT_REVISIONS_AFTER] = { .sqlite = "SELECT " REVISION_COLUMNS " FROM revisions WHERE revision > $1 "
                                    "ORDER BY revision LIMIT $2" },
    [STATEMENT_REVISIONS_BEFORE] = { .sqlite = "SELECT " REVISION_COLUMNS " FROM revisions WHERE revision < $1 "
                                     "ORDER BY revision DESC LIMIT $2" },
    [STATEMENT_KEY_FIND] = { .sqlite = "SELECT " KEY_COLUMNS " FROM api_keys WHERE key_hash = $1" },
    [STATEMENT_KEY_GET] = { .sqlite = "SELECT " KEY_COLUMNS " FROM api_keys WHERE key_id = $1" },
    [STATEMENT_KEYS_LIST] = { .sqlite = "SELECT " KEY_COLUMNS " FROM api_keys WHERE (created_at, key_id) > ($1, $2) "
                              "ORDER BY created_at, key_id LIMIT $3" },
    [STATEMENT_KEYS_LIST_OF_CLIENT] = { .sqlite = "SELECT " KEY_COLUMNS " FROM api_keys WHERE client_id = $4 "
                                        "AND (created_at, key_id) > ($1, $2) ORDER BY created_at, key_id LIMIT $3" },
    /* SQLite has the rows in the order of their ids: by age each would be sought by itself, in a table that no cache holds. In PostgreSQL
     * they lie more or less as they came. */
    [STATEMENT_KEYS_PAGE] = {
        "SELECT " KEY_COLUMNS " FROM api_keys WHERE key_id > $2 ORDER BY key_id LIMIT $3",
        "SELECT " KEY_COLUMNS " FROM api_keys WHERE (created_at, key_id) > ($1, $2) ORDER BY created_at, key_id LIMIT $3",
    },
    [STATEMENT_KEYS_EACH] = { .sqlite = "SELECT " KEY_COLUMNS " FROM api_keys" },
    [STATEMENT_KEYS_CURSOR] = { NULL, "DECLARE all_keys NO SCROLL CURSOR FOR SELECT " KEY_COLUMNS " FROM api_keys" },
    [STATEMENT_KEYS_FETCH] = { NULL, "FETCH 10000 FROM all_keys" },
    [STATEMENT_KEYS_COUNT] = { .sqlite = "SELECT count(*) FROM api_keys" },
    [STATEMENT_KEY_PUT] = {
        .sqlite = "INSERT INTO api_keys (" KEY_COLUMNS ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) "
        "ON CONFLICT (key_id) DO UPDATE SET key_hash = excluded.key_hash, key_prefix = excluded.key_prefix, "
        "client_id = excluded.client_id, client_name = excluded.client_name, "
        "rate_limit_tier = excluded.rate_limit_tier, scopes = excluded.scopes, enabled = excluded.enabled, "
        "expires_at = excluded.expires_at, created_at = excluded.created_at, last_used_at = excluded.last_used_at, "
        "replaces_until = excluded.replaces_until, tags = excluded.tags",
    },
    [STATEMENT_KEY_REMOVE] = { .sqlite = "DELETE FROM api_keys WHERE key_id = $1" },
    /* One statement for as many keys as there are in the JSON array [{"id","at"}]; the latest time of each wins. */
    [STATEMENT_KEYS_USED] = {
        "UPDATE api_keys SET last_used_at = used.at FROM (SELECT value ->> 'id' AS id, max(value ->> 'at') AS at "
        "FROM json_each($1) GROUP BY 1) AS used "
        "WHERE key_id = used.id AND (last_used_at IS NULL OR last_used_at < used.at)",
        "UPDATE api_keys SET last_used_at = used.at FROM (SELECT id, 'epoch'::timestamptz + max(at) * interval '1 microsecond' "
        "AS at FROM json_to_recordset($1) AS item (id uuid, at bigint) GROUP BY id) AS used "
        "WHERE key_id = used.id AND (last_used_at IS NULL OR last_used_at < used.at)",
    },
    /* The server's clock alone: the gateways' may differ. Whoever takes old rows away at the same time is not waited for. */
    [STATEMENT_GATEWAY_BEAT] = {
        NULL,
        "WITH gone AS (DELETE FROM gateways WHERE gateway_id IN (SELECT gateway_id FROM gateways "
        "WHERE seen_at < now() - interval '1 hour' AND gateway_id <> $1 FOR UPDATE SKIP LOCKED)) "
        "INSERT INTO gateways (gateway_id, name, version, revision, started_at, seen_at) VALUES ($1, $2, $3, $4, $5, now()) "
        "ON CONFLICT (gateway_id) DO UPDATE SET revision = excluded.revision, seen_at = excluded.seen_at",
    },
    [STATEMENT_GATEWAYS_LIST] = {
        NULL,
        "SELECT gateway_id, name, version, revision, started_at, "
        "greatest(0, extract(epoch FROM now() - seen_at) * 1000)::bigint FROM gateways "
        "WHERE seen_at > now() - $1::bigint * interval '1 second' ORDER BY name, started_at, gateway_id",
    },
    [STATEMENT_GATEWAY_REMOVE] = { NULL, "DELETE FROM gateways WHERE gateway_id = $1" },
};
