/* postgres://..., shared by many instances: writers stand in line at the head's row (SELECT ... FOR UPDATE), and a commit tells the others
 * (NOTIFY inside the transaction, so that it is heard if and only if it was committed).
 *
 * A connection that turns out to be dead on the first statement of a call, outside of a transaction, is replaced once without a word: the
 * server may have been restarted while nobody asked anything. Inside a transaction it is told. */
#include "store/postgres.h"

#include "base/memory.h"

#include <inttypes.h>
#include <time.h>

/* "sluice" as a number: whoever migrates holds this advisory lock. */
#define MIGRATION_LOCK "126909663503205"

/* pg_type's numbers, which never change (src/include/catalog/pg_type.dat). */
enum { TYPE_BOOL = 16, TYPE_BYTEA = 17, TYPE_INT8 = 20, TYPE_INT2 = 21, TYPE_INT4 = 23, TYPE_TIMESTAMPTZ = 1184 };

static struct postgres_store *postgres_of(const struct store *store)
{
    return CONTAINER_OF(store, struct postgres_store, base);
}

/* --- values --- */

static char *write_time(struct arena *arena, int64_t us)
{
    time_t seconds = us / 1000000;
    struct tm parts;
    char text[40];
    gmtime_r(&seconds, &parts);
    size_t length = strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &parts);
    snprintf(text + length, sizeof text - length, ".%06d+00", (int)(us % 1000000));
    return (char *)arena_copy(arena, slice_from_cstring(text)).at;
}

/* "2026-01-31 12:00:00.123456+00". False: infinity, or before our era. */
static bool read_time(const char *text, int64_t *us)
{
    struct tm parts = { 0 };
    const char *rest = strptime(text, "%Y-%m-%d %H:%M:%S", &parts);
    if (!rest) return false;
    int64_t fraction = 0;
    if (*rest == '.') {
        rest++;
        for (int digit = 0; digit < 6; digit++)
            fraction = fraction * 10 + (*rest >= '0' && *rest <= '9' ? *rest++ - '0' : 0);
    }
    if (strcmp(rest, "+00") != 0) return false;
    *us = (int64_t)timegm(&parts) * 1000000 + fraction;
    return true;
}

static int hexadecimal(char digit) { return digit <= '9' ? digit - '0' : (digit | 0x20) - 'a' + 10; }

/* "\x00ff", as the server writes it. */
static struct slice read_bytes(struct arena *arena, struct slice text)
{
    if (!slice_starts_with(text, SLICE("\\x"))) return SLICE("");
    size_t count = (text.length - 2) / 2;
    char *bytes = arena_allocate(arena, count + 1);
    PROMISE(bytes != NULL);
    for (size_t i = 0; i < count; i++)
        bytes[i] = (char)(hexadecimal(text.at[2 + 2 * i]) << 4 | hexadecimal(text.at[3 + 2 * i]));
    return slice_of(bytes, count);
}

struct parameters {
    const char *values[TABLE_VALUES_MAX];
    int lengths[TABLE_VALUES_MAX], formats[TABLE_VALUES_MAX];
};

static void write_values(struct arena *arena, const struct execution *execution, struct parameters *parameters)
{
    PROMISE(execution->value_count <= TABLE_VALUES_MAX);
    for (size_t i = 0; i < execution->value_count; i++) {
        const struct value *value = &execution->values[i];
        parameters->lengths[i] = (int)value->text.length;
        parameters->formats[i] = value->type == VALUE_BYTES;
        switch (value->type) {
        case VALUE_NULL: parameters->values[i] = NULL; break;
        case VALUE_TEXT: parameters->values[i] = arena_copy(arena, value->text).at; break;
        case VALUE_BYTES: parameters->values[i] = value->text.at; break;
        case VALUE_BOOLEAN: parameters->values[i] = value->number ? "t" : "f"; break;
        case VALUE_INTEGER: parameters->values[i] = arena_format(arena, "%" PRId64, value->number).at; break;
        case VALUE_TIME: parameters->values[i] = write_time(arena, value->number); break;
        }
        PROMISE(value->type == VALUE_NULL || parameters->values[i] != NULL);
    }
}

static struct value read_value(struct arena *arena, const PGresult *result, int row, int column)
{
    if (PQgetisnull(result, row, column)) return value_null();
    struct slice text = slice_of(PQgetvalue(result, row, column), (size_t)PQgetlength(result, row, column));
    int64_t number = 0;
    switch (PQftype(result, column)) {
    case TYPE_BOOL: return value_boolean(text.at[0] == 't');
    case TYPE_INT2:
    case TYPE_INT4:
    case TYPE_INT8: return slice_parse_int64(text, &number) ? value_integer(number) : value_null();
    case TYPE_TIMESTAMPTZ:
        return read_time(text.at, &number) ? (struct value){ .type = VALUE_TIME, .number = number } : value_null();
    case TYPE_BYTEA: return value_bytes(read_bytes(arena, text));
    default: return value_text(text);
    }
}

/* --- statements --- */

/* A cursor is of one transaction, and so is what is known of its columns. */
static bool is_unprepared(enum statement statement)
{
    return statement == STATEMENT_KEYS_CURSOR || statement == STATEMENT_KEYS_FETCH;
}

static bool prepare(struct postgres_store *store, enum statement statement, const char *name, struct error *error)
{
    if (store->prepared[statement] || is_unprepared(statement)) return true;
    int sent = PQsendPrepare(store->connection, name, store->base.texts[statement], 0, NULL);
    PGresult *result = postgres_await(store, sent, error);
    if (!result) return false;
    bool ok = PQresultStatus(result) == PGRES_COMMAND_OK;
    if (!ok) postgres_refuse(store, result, error);
    PQclear(result);
    if (ok) store->prepared[statement] = true;
    return ok;
}

static PGresult *send_and_await(struct postgres_store *store, const struct execution *execution, struct error *error)
{
    char name[16];
    snprintf(name, sizeof name, "s%d", (int)execution->statement);
    if (!prepare(store, execution->statement, name, error)) return NULL;
    struct arena arena;
    arena_init(&arena, NULL);
    struct parameters parameters;
    write_values(&arena, execution, &parameters);
    int count = (int)execution->value_count;
    int sent = is_unprepared(execution->statement)
                   ? PQsendQueryParams(store->connection, store->base.texts[execution->statement], 0, NULL, NULL, NULL,
                                       NULL, 0)
                   : PQsendQueryPrepared(store->connection, name, count, parameters.values, parameters.lengths,
                                         parameters.formats, 0);
    PGresult *result = postgres_await(store, sent, error);
    arena_release(&arena);
    return result;
}

static bool take_rows(const PGresult *result, struct execution *execution, struct error *error)
{
    struct value columns[TABLE_VALUES_MAX];
    int count = PQnfields(result), rows = PQntuples(result);
    PROMISE(count <= TABLE_VALUES_MAX);
    bool wanted = true;
    for (int row = 0; wanted && execution->row && row < rows; row++) {
        struct arena arena;
        arena_init(&arena, NULL);
        for (int column = 0; column < count; column++) columns[column] = read_value(&arena, result, row, column);
        wanted = execution->row(execution->argument, columns, (size_t)count, error);
        arena_release(&arena);
    }
    return wanted;
}

/* A connection that was there before the call and is found to be closed: another one may do. Not so where time ran out. */
static bool is_worth_another(const struct postgres_store *store, bool was_there)
{
    return was_there && !store->base.is_open && !store->connection && !store->was_late;
}

/* The time ran out, the statement's or that for a lock, and the server says so itself: it is there, and writers are in front of us. A frozen
 * one says nothing. */
static bool has_no_turn(const struct execution *execution, const PGresult *result)
{
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    return execution->statement == STATEMENT_HEAD_LOCK && state &&
           (strcmp(state, "57014") == 0 || strcmp(state, "55P03") == 0);
}

static bool postgres_execute(struct store *base, struct execution *execution, struct error *error)
{
    struct postgres_store *store = postgres_of(base);
    if (base->is_open && !store->connection)
        return store_refuse(error, STORE_UNAVAILABLE, "%s: the connection was lost", base->shown);
    bool was_there = store->connection != NULL;
    if (!base->is_open && !postgres_connect(store, error)) return false;
    PGresult *result = send_and_await(store, execution, error);
    if (!result && is_worth_another(store, was_there) && postgres_connect(store, error))
        result = send_and_await(store, execution, error);
    if (!result) return false;
    ExecStatusType status = PQresultStatus(result);
    bool ok = status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK;
    if (ok) {
        const char *changed = PQcmdTuples(result);
        execution->changed = *changed ? strtoull(changed, NULL, 10) : 0;
        ok = take_rows(result, execution, error);
    } else if (has_no_turn(execution, result)) {
        store_refuse(error, STORE_BUSY, "%s: others write to it: no turn came within %u ms", base->shown,
                     base->timeout_ms);
    } else {
        postgres_refuse(store, result, error);
    }
    PQclear(result);
    return ok;
}

static bool postgres_script(struct store *base, const char *text, struct error *error)
{
    return postgres_run(postgres_of(base), text, error);
}

/* --- transactions --- */

static bool postgres_begin(struct store *base, enum transaction transaction, struct error *error)
{
    static const char *const texts[] = {
        [TRANSACTION_READ] = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        [TRANSACTION_WRITE] = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE",
        [TRANSACTION_MIGRATE] =
            "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL statement_timeout = 60000; SELECT pg_advisory_xact_lock(" MIGRATION_LOCK
            ")",
    };
    struct postgres_store *store = postgres_of(base);
    bool was_there = store->connection != NULL;
    if (!postgres_connect(store, error)) return false;
    store->is_migrating = transaction == TRANSACTION_MIGRATE;
    bool ok = postgres_run(store, texts[transaction], error);
    if (!ok && is_worth_another(store, was_there))
        ok = postgres_connect(store, error) && postgres_run(store, texts[transaction], error);
    if (!ok) store->is_migrating = false;
    return ok;
}

static void postgres_rollback(struct store *base)
{
    struct postgres_store *store = postgres_of(base);
    store->is_migrating = false;
    if (!store->connection || PQtransactionStatus(store->connection) == PQTRANS_IDLE) return;
    if (!postgres_run(store, "ROLLBACK", NULL)) postgres_disconnect(store);
}

/* A server answers COMMIT with ROLLBACK where something before had failed. */
static bool postgres_commit(struct store *base, struct error *error)
{
    struct postgres_store *store = postgres_of(base);
    if (!store->connection) return store_refuse(error, STORE_UNAVAILABLE, "%s: the connection was lost", base->shown);
    bool is_broken = PQtransactionStatus(store->connection) != PQTRANS_INTRANS;
    bool ok = is_broken ? store_refuse(error, STORE_REFUSED, "%s: the transaction has failed already", base->shown)
                        : postgres_run(store, "COMMIT", error);
    if (!ok) postgres_rollback(base);
    store->is_migrating = false;
    return ok;
}

/* --- notifications --- */

static int postgres_descriptor(const struct store *base)
{
    const struct postgres_store *store = postgres_of(base);
    return store->connection ? PQsocket(store->connection) : -1;
}

static bool postgres_take_notifications(struct store *base, uint64_t *revision, struct error *error)
{
    struct postgres_store *store = postgres_of(base);
    if (store->connection && PQconsumeInput(store->connection) && PQstatus(store->connection) == CONNECTION_OK)
        postgres_hear(store);
    else if (store->connection)
        postgres_disconnect(store);
    *revision = store->heard;
    store->heard = 0;
    return store->connection || store_refuse(error, STORE_UNAVAILABLE, "%s: the connection is lost", base->shown);
}

/* --- opening --- */

static void postgres_close(struct store *base)
{
    struct postgres_store *store = postgres_of(base);
    postgres_disconnect(store);
    free(store->location);
    store_release(base);
    free(store);
}

static struct store *postgres_open(const struct store_settings *settings, bool create, struct error *error)
{
    struct postgres_store *store = memory_allocate(sizeof *store);
    store_init(&store->base, &store_driver_postgres, settings);
    store->location = memory_copy_slice(slice_from_cstring(settings->location));
    if (postgres_connect(store, error)) return &store->base;
    postgres_close(&store->base);
    return NULL;
}

static const char *const schemes[] = { "postgres://", "postgresql://", NULL };

const struct store_driver store_driver_postgres = {
    .schemes = schemes,
    .is_postgres = true,
    .steps = migration_steps_postgres,
    .check = postgres_check,
    .show = postgres_show,
    .open = postgres_open,
    .close = postgres_close,
    .begin = postgres_begin,
    .commit = postgres_commit,
    .rollback = postgres_rollback,
    .execute = postgres_execute,
    .script = postgres_script,
    .descriptor = postgres_descriptor,
    .take_notifications = postgres_take_notifications,
};
