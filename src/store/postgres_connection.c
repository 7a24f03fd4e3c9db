/* A connection to PostgreSQL that never keeps its thread: everything is asked for asynchronously and waited for by poll() until a deadline, so
 * that a server that is frozen, or a network that swallows what it is given, costs the time of one statement. The server has the same limit
 * (statement_timeout), and usually says so first. */
#include "store/postgres.h"

#include "base/clock.h"
#include "base/memory.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <sys/socket.h>

#define MIGRATION_TIMEOUT_MS 60000
/* The server's own time limit should come first: then the connection stays. */
#define GRACE_MS 500

/* --- locations --- */

static const char *option(const PQconninfoOption *options, const char *keyword)
{
    for (const PQconninfoOption *at = options; at->keyword; at++) {
        if (strcmp(at->keyword, keyword) == 0) return at->val && *at->val ? at->val : NULL;
    }
    return NULL;
}

/* libpq's own words about a location it can't read quote from it, and that may be the password; so they are never shown. */
static PQconninfoOption *parse(struct slice location)
{
    struct error error;
    if (!libpq_load(&error)) return NULL;
    char *text = memory_copy_slice(location), *told = NULL;
    PQconninfoOption *options = PQconninfoParse(text, &told);
    if (told) PQfreemem(told);
    free(text);
    return options;
}

static bool is_odd(const char *value, const char *allowed)
{
    return value && (allowed ? value[strspn(value, allowed)] != '\0' : strchr(value, '@') != NULL);
}

bool postgres_check(struct slice location, struct error *error)
{
    static const char hint[] =
        "special characters in the password must be percent-encoded: @ is %40, / is %2F, % is %25";
    struct error missing;
    if (!libpq_load(&missing))
        return store_refuse(error, STORE_SETTINGS,
                            "PostgreSQL's client library (Debian: libpq5) is needed for this store: %s", missing.text);
    PQconninfoOption *options = parse(location);
    if (!options)
        return store_refuse(error, STORE_SETTINGS,
                            "the store's location is not postgres://user:password@host:port/database?options (%s)",
                            hint);
    /* A password with a bare @ or / in it reads as a host, a port or a database. */
    bool odd = is_odd(option(options, "host"), NULL) || is_odd(option(options, "dbname"), NULL) ||
               is_odd(option(options, "port"), "0123456789,");
    PQconninfoFree(options);
    return !odd ||
           store_refuse(error, STORE_SETTINGS, "the store's location has no good host, port or database (%s)", hint);
}

char *postgres_show(struct slice location)
{
    PQconninfoOption *options = parse(location);
    if (!options) return memory_copy_slice(SLICE("postgres://"));
    const char *user = option(options, "user"), *host = option(options, "host"), *port = option(options, "port"),
               *database = option(options, "dbname");
    bool is_folder = host && host[0] == '/';
    char *shown = memory_format("postgres://%s%s%s%s%s/%s%s%s", user ? user : "", user ? "@" : "",
                                host && !is_folder ? host : "", port ? ":" : "", port ? port : "",
                                database ? database : "", is_folder ? "?host=" : "", is_folder ? host : "");
    PQconninfoFree(options);
    return shown;
}

/* --- waiting --- */

static uint64_t now_ms(void) { return clock_monotonic_ns() / 1000000; }

static uint64_t deadline_of(const struct postgres_store *store)
{
    return now_ms() + (store->is_migrating ? MIGRATION_TIMEOUT_MS : store->base.timeout_ms) + GRACE_MS;
}

/* False: the time is up. */
static bool wait_for(int descriptor, short events, uint64_t deadline_ms)
{
    for (;;) {
        uint64_t now = now_ms();
        if (now >= deadline_ms) return false;
        uint64_t left = deadline_ms - now;
        struct pollfd wanted = { .fd = descriptor, .events = events };
        int ready = poll(&wanted, 1, left > 60000 ? 60000 : (int)left);
        if (ready > 0) return true;
        if (ready < 0 && errno != EINTR) return false;
    }
}

void postgres_hear(struct postgres_store *store)
{
    PGnotify *notification;
    while ((notification = PQnotifies(store->connection))) {
        uint64_t revision;
        if (slice_parse_uint64(slice_from_cstring(notification->extra), &revision) && revision > store->heard)
            store->heard = revision;
        PQfreemem(notification);
    }
}

/* The first line of what libpq says, without its line's end. */
static bool refuse_lost(struct postgres_store *store, const char *what, struct error *error)
{
    struct slice told = slice_from_cstring(store->connection ? PQerrorMessage(store->connection) : "");
    size_t end = slice_find_byte(told, '\n');
    if (end != SLICE_NOT_FOUND) told = slice_before(told, end);
    return store_refuse(error, STORE_UNAVAILABLE, "%s: %s%s%.*s", store->base.shown, what, told.length ? ": " : "",
                        SLICE_PRINT(told));
}

static bool refuse_late(struct postgres_store *store, const char *what, struct error *error)
{
    store->was_late = true;
    return store_refuse(error, STORE_UNAVAILABLE, "%s: %s within %u ms", store->base.shown, what,
                        store->base.timeout_ms);
}

static bool send_rest(struct postgres_store *store, uint64_t deadline_ms, struct error *error)
{
    for (;;) {
        int left = PQflush(store->connection);
        if (left == 0) return true;
        if (left < 0) return refuse_lost(store, "the connection is lost", error);
        /* What comes meanwhile is read, lest both sides wait for the other to read. */
        if (!wait_for(PQsocket(store->connection), POLLIN | POLLOUT, deadline_ms))
            return refuse_late(store, "the server takes nothing", error);
        if (!PQconsumeInput(store->connection)) return refuse_lost(store, "the connection is lost", error);
    }
}

static bool receive(struct postgres_store *store, uint64_t deadline_ms, struct error *error)
{
    while (PQisBusy(store->connection)) {
        if (!wait_for(PQsocket(store->connection), POLLIN, deadline_ms)) return refuse_late(store, "no answer", error);
        if (!PQconsumeInput(store->connection)) return refuse_lost(store, "the connection is lost", error);
    }
    return true;
}

static bool is_error(const PGresult *result)
{
    ExecStatusType status = PQresultStatus(result);
    return status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK;
}

/* Until there are no more of them. */
static bool take_results(struct postgres_store *store, PGresult **kept, struct error *error)
{
    uint64_t deadline_ms = deadline_of(store);
    if (!send_rest(store, deadline_ms, error)) return false;
    for (;;) {
        if (!receive(store, deadline_ms, error)) return false;
        PGresult *result = PQgetResult(store->connection);
        if (!result) break;
        PGresult *superfluous = *kept && is_error(*kept) ? result : *kept;
        if (superfluous == *kept) *kept = result;
        PQclear(superfluous);
    }
    bool ok = *kept && PQstatus(store->connection) == CONNECTION_OK;
    return ok || refuse_lost(store, "the connection is lost", error);
}

PGresult *postgres_await(struct postgres_store *store, int sent, struct error *error)
{
    PGresult *kept = NULL;
    store->was_late = false;
    bool ok = sent ? take_results(store, &kept, error) : refuse_lost(store, "the connection is lost", error);
    if (ok) {
        postgres_hear(store);
        return kept;
    }
    PQclear(kept);
    postgres_disconnect(store);
    return NULL;
}

/* --- errors --- */

static bool is_any(const char *state, const char *const *classes)
{
    for (; *classes; classes++) {
        if (strncmp(state, *classes, strlen(*classes)) == 0) return true;
    }
    return false;
}

/* By SQLSTATE (PostgreSQL, appendix A). */
static const char *reason_of(const char *state)
{
    static const char *const unavailable[] = { "08", "0A000", "25", "26", "40", "53", "55", "57", "58", NULL };
    static const char *const full[] = { "53100", NULL };
    static const char *const damaged[] = { "XX", "42P01", "42703", NULL };
    static const char *const settings[] = { "28", "3D", "3F", "42501", NULL };
    if (is_any(state, full)) return STORE_FULL;
    if (is_any(state, unavailable)) return STORE_UNAVAILABLE;
    if (is_any(state, damaged)) return STORE_DAMAGED;
    if (is_any(state, settings)) return STORE_SETTINGS;
    return STORE_REFUSED;
}

bool postgres_refuse(struct postgres_store *store, const PGresult *result, struct error *error)
{
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *told = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    const char *reason = reason_of(state ? state : "");
    store_refuse(error, reason, "%s: %s (SQLSTATE %s)", store->base.shown,
                 told ? told : "an answer that makes no sense", state ? state : "unknown");
    /* A plan made for a schema that is gone, or a pooler that gave us another server's connection: begin afresh. */
    if (state && (strncmp(state, "0A", 2) == 0 || strncmp(state, "26", 2) == 0)) postgres_disconnect(store);
    return false;
}

bool postgres_run(struct postgres_store *store, const char *text, struct error *error)
{
    if (!store->connection) return refuse_lost(store, "the connection is lost", error);
    PGresult *result = postgres_await(store, PQsendQuery(store->connection, text), error);
    if (!result) return false;
    bool ok = !is_error(result);
    if (!ok) postgres_refuse(store, result, error);
    PQclear(result);
    return ok;
}

/* --- connecting --- */

/* PQfinish says good-bye to the server; with the socket shut it can't wait for that. */
void postgres_disconnect(struct postgres_store *store)
{
    if (!store->connection) return;
    if (PQsocket(store->connection) >= 0) shutdown(PQsocket(store->connection), SHUT_RDWR);
    PQfinish(store->connection);
    store->connection = NULL;
    memset(store->prepared, 0, sizeof store->prepared);
}

static void ignore_notice(void *argument, const PGresult *notice) {}

static bool await_connection(struct postgres_store *store, uint64_t deadline_ms, struct error *error)
{
    PostgresPollingStatusType wanted = PGRES_POLLING_WRITING;
    if (PQstatus(store->connection) == CONNECTION_BAD) return refuse_lost(store, "cannot connect", error);
    while (wanted != PGRES_POLLING_OK) {
        short events = wanted == PGRES_POLLING_READING ? POLLIN : POLLOUT;
        if (!wait_for(PQsocket(store->connection), events, deadline_ms))
            return refuse_late(store, "no connection", error);
        wanted = PQconnectPoll(store->connection);
        if (wanted == PGRES_POLLING_FAILED) return refuse_lost(store, "cannot connect", error);
    }
    return true;
}

#define OPTIONS_MAX 96

struct options {
    const char *keywords[OPTIONS_MAX], *values[OPTIONS_MAX];
    size_t count;
};

/* What comes later goes before what came earlier. */
static void add_option(struct options *options, const char *keyword, const char *value)
{
    PROMISE(options->count + 1 < OPTIONS_MAX);
    options->keywords[options->count] = keyword;
    options->values[options->count++] = value;
}

/* Ours, where the location has none of its own: a dead peer is noticed within seconds, also when nothing is asked of it. */
static void add_ours(struct options *into, const PQconninfoOption *options, const char *user_timeout)
{
    const char *const ours[][2] = { { "keepalives_idle", "10" }, { "keepalives_interval", "5" },
                                    { "keepalives_count", "3" }, { "tcp_user_timeout", user_timeout },
                                    { "gssencmode", "disable" }, { "fallback_application_name", "sluice" } };
    for (size_t i = 0; i < COUNT_OF(ours); i++) {
        if (!option(options, ours[i][0])) add_option(into, ours[i][0], ours[i][1]);
    }
    add_option(into, "client_encoding", "UTF8");
}

/* Hosts that libpq would look up itself. */
static bool resolve(struct postgres_store *store, const PQconninfoOption *options, struct postgres_hosts *hosts,
                    uint64_t deadline_ms, struct error *error)
{
    const char *names = option(options, "host"), *problem = "no address";
    *hosts = (struct postgres_hosts){ .count = 1 };
    if (!names || option(options, "hostaddr")) return true;
    if (postgres_hosts_resolve(hosts, names, option(options, "port"), deadline_ms, &problem)) return true;
    store->was_late = now_ms() >= deadline_ms;
    return store_refuse(error, STORE_UNAVAILABLE, "%s: cannot connect: %s", store->base.shown, problem);
}

static bool start(struct postgres_store *store, uint64_t deadline_ms, struct error *error)
{
    PQconninfoOption *options = parse(slice_from_cstring(store->location));
    PROMISE(options != NULL); /* it was checked */
    struct postgres_hosts hosts;
    bool ok = resolve(store, options, &hosts, deadline_ms, error);
    if (ok) {
        struct options all = { .count = 0 };
        char user_timeout[16];
        snprintf(user_timeout, sizeof user_timeout, "%u", store->base.timeout_ms / hosts.count);
        for (const PQconninfoOption *at = options; at->keyword; at++) {
            if (at->val) add_option(&all, at->keyword, at->val);
        }
        if (hosts.addresses) {
            add_option(&all, "host", hosts.names);
            add_option(&all, "hostaddr", hosts.addresses);
            add_option(&all, "port", hosts.ports);
        }
        add_ours(&all, options, user_timeout);
        store->connection = PQconnectStartParams(all.keywords, all.values, 0);
        PROMISE(store->connection != NULL);
        PQsetNoticeReceiver(store->connection, ignore_notice, NULL);
    }
    postgres_hosts_release(&hosts);
    PQconninfoFree(options);
    return ok;
}

/* An instance that is stopped inside a transaction must not keep all others from writing; a commit that is acknowledged must be on the disk,
 * whatever the server's default is. */
static bool set_up(struct postgres_store *store, struct error *error)
{
    char text[512];
    snprintf(
        text, sizeof text,
        "SET statement_timeout = %" PRIu32 "; SET idle_in_transaction_session_timeout = %" PRIu64 ";"
        "SET TimeZone = 'UTC'; SET DateStyle = 'ISO, YMD'; SET bytea_output = 'hex'; SET client_min_messages = 'error';"
        "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off';"
        "LISTEN sluice",
        store->base.timeout_ms, 4 * (uint64_t)store->base.timeout_ms);
    return postgres_run(store, text, error);
}

bool postgres_connect(struct postgres_store *store, struct error *error)
{
    if (store->connection && PQstatus(store->connection) == CONNECTION_OK) return true;
    postgres_disconnect(store);
    uint64_t deadline_ms = deadline_of(store);
    bool ok = start(store, deadline_ms, error) && await_connection(store, deadline_ms, error) &&
              PQsetnonblocking(store->connection, 1) == 0 && set_up(store, error);
    if (!ok) postgres_disconnect(store);
    return ok;
}
