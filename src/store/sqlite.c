/* sqlite:PATH, embedded: one file that other processes may have open as well.
 *
 * Write-ahead log and synchronous=FULL: a commit returns when the log is on the disk (write, then fdatasync), so what was acknowledged
 * survives a crash and loss of power. The file, its name in the folder and the folders that had to be made are synced before the first row. */
#include "store/private.h"

#include "base/clock.h"
#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

#define MIGRATION_TIMEOUT_MS 60000
/* How often a long statement looks at the clock, in instructions of SQLite's machine. */
#define LOOK_EACH 20000
/* Whoever has read so many rows won't read them again soon: the pages' memory is given back. */
#define ROWS_NOT_CACHED 1000

struct sqlite_store {
    struct store base;
    char *path;
    sqlite3 *database; /* NULL: closed, for the file was taken away */
    sqlite3_stmt *prepared[STATEMENT_COUNT];
    uint64_t deadline_ns;
    dev_t device; /* which file it is, */
    ino_t inode;  /* so that one put in its place isn't overlooked */
};

static struct sqlite_store *sqlite_of(const struct store *store)
{
    return CONTAINER_OF(store, struct sqlite_store, base);
}

/* --- location --- */

static struct slice path_of(struct slice location) { return slice_after(location, strlen("sqlite:")); }

static bool check(struct slice location, struct error *error)
{
    struct slice path = path_of(location);
    if (path.length == 0 || path.at[0] != '/')
        return store_refuse(error, STORE_SETTINGS,
                            "sqlite: needs an absolute path, like sqlite:/var/lib/sluice/sluice.db");
    if (path.at[path.length - 1] == '/')
        return store_refuse(error, STORE_SETTINGS, "sqlite: needs the path of a file, not of a folder");
    return true;
}

static char *show(struct slice location) { return memory_copy_slice(location); }

/* --- errors --- */

static bool is_no_room(sqlite3 *database, int code)
{
    if ((code & 0xff) == SQLITE_FULL) return true;
    int number = (code & 0xff) == SQLITE_IOERR && database ? sqlite3_system_errno(database) : 0;
    return number == ENOSPC || number == EDQUOT;
}

static bool refuse(struct sqlite_store *store, int code, struct error *error)
{
    const char *told = store->database ? sqlite3_errmsg(store->database) : sqlite3_errstr(code);
    if (is_no_room(store->database, code))
        return store_refuse(error, STORE_FULL, "%s: no room on the disk: nothing was written", store->path);
    switch (code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_PROTOCOL:
        return store_refuse(error, STORE_UNAVAILABLE, "%s: locked by another process for more than %u ms", store->path,
                            store->base.timeout_ms);
    case SQLITE_INTERRUPT:
        return store_refuse(error, STORE_UNAVAILABLE, "%s: a statement took longer than %u ms", store->path,
                            store->base.timeout_ms);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return store_refuse(error, STORE_DAMAGED,
                            "%s: %s: restore a backup, or save what can be read with: sqlite3 FILE .recover",
                            store->path, told);
    case SQLITE_CONSTRAINT:
    case SQLITE_MISMATCH:
    case SQLITE_TOOBIG:
    case SQLITE_RANGE: return store_refuse(error, STORE_REFUSED, "%s: %s: nothing was written", store->path, told);
    case SQLITE_ERROR: return store_refuse(error, STORE_DAMAGED, "%s: %s", store->path, told);
    case SQLITE_PERM:
    case SQLITE_READONLY:
    case SQLITE_AUTH: return store_refuse(error, STORE_SETTINGS, "%s: %s", store->path, told);
    default: return store_refuse(error, STORE_UNAVAILABLE, "%s: %s", store->path, told);
    }
}

static bool refuse_file(const char *path, const char *what, struct error *error)
{
    int number = errno;
    bool no_room = number == ENOSPC || number == EDQUOT;
    return store_refuse(error, no_room ? STORE_FULL : STORE_SETTINGS, "%s: %s: %s", path, what,
                        error_from_errno(number));
}

/* --- the file and its folders --- */

static bool sync_folder(const char *folder, struct error *error)
{
    int descriptor = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool ok = descriptor >= 0 && fsync(descriptor) == 0;
    if (!ok) refuse_file(folder, "cannot sync the folder", error);
    if (descriptor >= 0) close(descriptor);
    return ok;
}

/* The folder that `path` is in, as a new text. */
static char *folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return memory_copy_slice(slash == path ? SLICE("/") : slice_of(path, (size_t)(slash - path)));
}

/* Makes the folders that are missing, for the owner alone, each synced into the one above it. */
static bool make_folder(const char *folder, struct error *error)
{
    if (access(folder, F_OK) == 0) return true;
    char *above = folder_of(folder);
    bool ok = make_folder(above, error);
    if (ok && mkdir(folder, 0700) != 0 && errno != EEXIST) ok = refuse_file(folder, "cannot make the folder", error);
    ok = ok && sync_folder(above, error);
    free(above);
    return ok;
}

/* An empty file is an empty database to SQLite; made here, it is nobody else's to read, and durable. */
static bool make_file(const char *path, struct error *error)
{
    char *folder = folder_of(path);
    bool ok = make_folder(folder, error);
    if (ok) {
        int descriptor = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (descriptor >= 0) {
            ok = fsync(descriptor) == 0 || refuse_file(path, "cannot sync the file", error);
            close(descriptor);
        } else if (errno != EEXIST) {
            ok = refuse_file(path, "cannot make the file", error);
        }
        ok = ok && sync_folder(folder, error);
    }
    free(folder);
    return ok;
}

/* --- connecting --- */

static int look_at_clock(void *argument)
{
    const struct sqlite_store *store = argument;
    return clock_monotonic_ns() > store->deadline_ns;
}

static void set_deadline(struct sqlite_store *store, uint32_t timeout_ms)
{
    sqlite3_busy_timeout(store->database, (int)timeout_ms);
    store->deadline_ns = clock_monotonic_ns() + 2 * (uint64_t)timeout_ms * 1000000;
}

static bool run(struct sqlite_store *store, const char *text, struct error *error)
{
    int code = sqlite3_exec(store->database, text, NULL, NULL, NULL);
    return code == SQLITE_OK || refuse(store, sqlite3_extended_errcode(store->database), error);
}

/* Changing the journal's mode asks for the file alone, and SQLite doesn't wait there for another one that starts as well. */
static bool use_write_ahead_log(struct sqlite_store *store, struct error *error)
{
    uint64_t deadline_ns = clock_monotonic_ns() + (uint64_t)store->base.timeout_ms * 1000000;
    for (;;) {
        sqlite3_stmt *statement = NULL;
        int code = sqlite3_prepare_v2(store->database, "PRAGMA journal_mode=WAL", -1, &statement, NULL);
        if (code == SQLITE_OK) code = sqlite3_step(statement);
        bool is_log = code == SQLITE_ROW && strcmp((const char *)sqlite3_column_text(statement, 0), "wal") == 0;
        int told = sqlite3_extended_errcode(store->database);
        sqlite3_finalize(statement);
        if (is_log) return true;
        if (code == SQLITE_ROW)
            return store_refuse(error, STORE_SETTINGS, "%s: a write-ahead log is not possible on this file system",
                                store->path);
        if (code != SQLITE_BUSY || clock_monotonic_ns() > deadline_ns) return refuse(store, told, error);
        usleep(5000);
    }
}

static bool set_up(struct sqlite_store *store, struct error *error)
{
    sqlite3_extended_result_codes(store->database, 1);
    sqlite3_progress_handler(store->database, LOOK_EACH, look_at_clock, store);
    sqlite3_db_config(store->database, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(store->database, SQLITE_DBCONFIG_DQS_DML, 0, NULL);
    set_deadline(store, store->base.timeout_ms);
    return use_write_ahead_log(store, error) &&
           run(store, "PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON; PRAGMA cell_size_check=ON;", error);
}

static void disconnect(struct sqlite_store *store)
{
    for (int i = 0; i < STATEMENT_COUNT; i++) {
        sqlite3_finalize(store->prepared[i]);
        store->prepared[i] = NULL;
    }
    sqlite3_close(store->database);
    store->database = NULL;
}

static bool connect_to(struct sqlite_store *store, struct error *error)
{
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
    int code = sqlite3_open_v2(store->path, &store->database, flags, NULL);
    struct stat file;
    bool ok = code == SQLITE_OK && stat(store->path, &file) == 0;
    if (!ok) {
        errno = store->database && sqlite3_system_errno(store->database) ? sqlite3_system_errno(store->database)
                                                                         : errno;
        refuse_file(store->path, "cannot open the database", error);
    } else {
        store->device = file.st_dev;
        store->inode = file.st_ino;
        ok = set_up(store, error);
    }
    if (!ok) disconnect(store);
    return ok;
}

static struct store *sqlite_open(const struct store_settings *settings, bool create, struct error *error)
{
    struct sqlite_store *store = memory_allocate(sizeof *store);
    store_init(&store->base, &store_driver_sqlite, settings);
    store->path = memory_copy_slice(path_of(slice_from_cstring(settings->location)));
    if ((create && !make_file(store->path, error)) || !connect_to(store, error)) {
        free(store->path);
        store_release(&store->base);
        free(store);
        return NULL;
    }
    return &store->base;
}

static void sqlite_close(struct store *base)
{
    struct sqlite_store *store = sqlite_of(base);
    disconnect(store);
    free(store->path);
    store_release(base);
    free(store);
}

/* What is written into a file that has no name any more is lost: a database put in its place is taken for what it is, a missing one told. */
static bool is_same_file(struct sqlite_store *store, struct error *error)
{
    struct stat file;
    bool is_there = stat(store->path, &file) == 0;
    if (is_there && store->database && file.st_dev == store->device && file.st_ino == store->inode) return true;
    disconnect(store);
    if (!is_there)
        return store_refuse(error, STORE_UNAVAILABLE, "%s: the file is gone: %s", store->path, error_from_errno(errno));
    unsigned version;
    if (!connect_to(store, error) || !store_schema_version(&store->base, &version, error)) return false;
    if (version == store_schema_known(store->base.driver)) return true;
    disconnect(store);
    return store_refuse(error, STORE_DAMAGED, "%s: another file was put in its place, with a schema of version %u",
                        store->path, version);
}

/* --- statements --- */

/* "$1" is a name to SQLite; "?1" is the first value. */
static char *numbered(const char *text)
{
    char *copy = memory_copy_slice(slice_from_cstring(text));
    for (char *at = copy; *at; at++) {
        if (*at == '$' && at[1] >= '1' && at[1] <= '9') *at = '?';
    }
    return copy;
}

static sqlite3_stmt *prepare(struct sqlite_store *store, enum statement statement, int *code)
{
    *code = SQLITE_OK;
    if (store->prepared[statement]) return store->prepared[statement];
    char *text = numbered(store->base.texts[statement]);
    *code = sqlite3_prepare_v3(store->database, text, -1, SQLITE_PREPARE_PERSISTENT, &store->prepared[statement], NULL);
    free(text);
    return store->prepared[statement];
}

static int bind_value(sqlite3_stmt *prepared, int at, const struct value *value)
{
    switch (value->type) {
    case VALUE_NULL: return sqlite3_bind_null(prepared, at);
    case VALUE_TEXT:
        return sqlite3_bind_text64(prepared, at, value->text.at, value->text.length, SQLITE_STATIC, SQLITE_UTF8);
    case VALUE_BYTES: return sqlite3_bind_blob64(prepared, at, value->text.at, value->text.length, SQLITE_STATIC);
    case VALUE_INTEGER:
    case VALUE_BOOLEAN:
    case VALUE_TIME: return sqlite3_bind_int64(prepared, at, value->number);
    }
    return SQLITE_MISUSE;
}

static struct value column_at(sqlite3_stmt *prepared, int at)
{
    switch (sqlite3_column_type(prepared, at)) {
    case SQLITE_INTEGER: return value_integer(sqlite3_column_int64(prepared, at));
    case SQLITE_BLOB: {
        const char *bytes = sqlite3_column_blob(prepared, at);
        return value_bytes(slice_of(bytes ? bytes : "", (size_t)sqlite3_column_bytes(prepared, at)));
    }
    case SQLITE_FLOAT:
    case SQLITE_TEXT: {
        const char *text = (const char *)sqlite3_column_text(prepared, at);
        return value_text(slice_of(text, (size_t)sqlite3_column_bytes(prepared, at)));
    }
    default: return value_null();
    }
}

static bool take_row(sqlite3_stmt *prepared, struct execution *execution, struct error *error)
{
    struct value columns[TABLE_VALUES_MAX];
    int count = sqlite3_column_count(prepared);
    PROMISE(count <= TABLE_VALUES_MAX);
    for (int i = 0; i < count; i++) columns[i] = column_at(prepared, i);
    return execution->row(execution->argument, columns, (size_t)count, error);
}

static bool sqlite_execute(struct store *base, struct execution *execution, struct error *error)
{
    struct sqlite_store *store = sqlite_of(base);
    if (!base->is_open && !is_same_file(store, error)) return false;
    set_deadline(store, base->timeout_ms);
    int code;
    sqlite3_stmt *prepared = prepare(store, execution->statement, &code);
    if (!prepared) return refuse(store, code, error);
    for (size_t i = 0; i < execution->value_count && code == SQLITE_OK; i++)
        code = bind_value(prepared, (int)i + 1, &execution->values[i]);
    bool wanted = true;
    size_t rows = 0;
    if (code == SQLITE_OK) code = SQLITE_ROW;
    while (wanted && code == SQLITE_ROW) {
        code = sqlite3_step(prepared);
        if (code == SQLITE_ROW && execution->row) {
            wanted = take_row(prepared, execution, error);
            set_deadline(store, base->timeout_ms);
            rows++;
        }
    }
    bool ok = wanted && code == SQLITE_DONE;
    if (ok) execution->changed = (uint64_t)sqlite3_changes64(store->database);
    if (wanted && !ok) refuse(store, code, error);
    sqlite3_reset(prepared);
    sqlite3_clear_bindings(prepared);
    if (rows >= ROWS_NOT_CACHED) sqlite3_db_release_memory(store->database);
    return ok;
}

static bool sqlite_script(struct store *base, const char *text, struct error *error)
{
    return run(sqlite_of(base), text, error);
}

/* --- transactions --- */

static bool sqlite_begin(struct store *base, enum transaction transaction, struct error *error)
{
    struct sqlite_store *store = sqlite_of(base);
    if (!is_same_file(store, error)) return false;
    set_deadline(store, transaction == TRANSACTION_MIGRATE ? MIGRATION_TIMEOUT_MS : base->timeout_ms);
    return run(store, transaction == TRANSACTION_READ ? "BEGIN" : "BEGIN IMMEDIATE", error);
}

static void sqlite_rollback(struct store *base)
{
    struct sqlite_store *store = sqlite_of(base);
    /* SQLite has done so itself where the disk was full. */
    if (store->database && !sqlite3_get_autocommit(store->database))
        sqlite3_exec(store->database, "ROLLBACK", NULL, NULL, NULL);
}

static bool sqlite_commit(struct store *base, struct error *error)
{
    struct sqlite_store *store = sqlite_of(base);
    set_deadline(store, base->timeout_ms);
    bool ok = run(store, "COMMIT", error);
    if (!ok) sqlite_rollback(base);
    return ok;
}

/* Other processes can't tell us. */
static int sqlite_descriptor(const struct store *base) { return -1; }

static bool sqlite_take_notifications(struct store *base, uint64_t *revision, struct error *error) { return true; }

static const char *const schemes[] = { "sqlite:", NULL };

const struct store_driver store_driver_sqlite = {
    .schemes = schemes,
    .steps = migration_steps_sqlite,
    .check = check,
    .show = show,
    .open = sqlite_open,
    .close = sqlite_close,
    .begin = sqlite_begin,
    .commit = sqlite_commit,
    .rollback = sqlite_rollback,
    .execute = sqlite_execute,
    .script = sqlite_script,
    .descriptor = sqlite_descriptor,
    .take_notifications = sqlite_take_notifications,
};
