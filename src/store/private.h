/* store/private.h: what the room's files share.
 *
 * All kinds speak SQL, so what a store does is written once (store.c, tables.c, revisions.c, keys.c, migrations.c) over a few operations
 * that each kind has (struct store_driver): begin, execute, commit. A statement's text is the same for all kinds, or stands twice in
 * statements.c. Its values are $1, $2, ... */
#ifndef SLUICE_STORE_PRIVATE_H
#define SLUICE_STORE_PRIVATE_H

#include "store/store.h"

/* --- values --- */

enum value_type {
    VALUE_NULL,
    VALUE_TEXT,    /* `text`; also UUIDs and JSON */
    VALUE_INTEGER, /* `number` */
    VALUE_BOOLEAN, /* `number`; comes back as VALUE_INTEGER where a kind has no booleans */
    VALUE_TIME,    /* `number`: microseconds since 1970; comes back as VALUE_INTEGER where a kind has no times */
    VALUE_BYTES,   /* `text` */
};

struct value {
    enum value_type type;
    struct slice text;
    int64_t number;
};

static inline struct value value_null(void) { return (struct value){ .type = VALUE_NULL }; }
/* NULL where absent. */
static inline struct value value_text(struct slice text)
{
    return text.at ? (struct value){ .type = VALUE_TEXT, .text = text } : value_null();
}
static inline struct value value_integer(int64_t number)
{
    return (struct value){ .type = VALUE_INTEGER, .number = number };
}
static inline struct value value_boolean(bool yes) { return (struct value){ .type = VALUE_BOOLEAN, .number = yes }; }
static inline struct value value_bytes(struct slice bytes)
{
    return (struct value){ .type = VALUE_BYTES, .text = bytes };
}
/* NULL where 0. */
static inline struct value value_time(uint64_t us)
{
    return us ? (struct value){ .type = VALUE_TIME, .number = (int64_t)us } : value_null();
}

/* --- statements --- */

enum statement {
    STATEMENT_SCHEMA_IS_THERE, /* a number: 0 or 1 */
    STATEMENT_SCHEMA_VERSION,
    STATEMENT_HEAD,
    STATEMENT_HEAD_LOCK,
    STATEMENT_REVISION_ADD, /* PostgreSQL: and the head, and the notification */
    STATEMENT_HEAD_SET,     /* SQLite */
    STATEMENT_REVISIONS_AFTER,
    STATEMENT_REVISIONS_BEFORE,
    STATEMENT_KEY_FIND,
    STATEMENT_KEY_GET,
    STATEMENT_KEYS_LIST,
    STATEMENT_KEYS_LIST_OF_CLIENT,
    STATEMENT_KEYS_PAGE,
    STATEMENT_KEYS_EACH,   /* SQLite streams by itself */
    STATEMENT_KEYS_CURSOR, /* PostgreSQL: all of them, in pieces */
    STATEMENT_KEYS_FETCH,
    STATEMENT_KEYS_COUNT,
    STATEMENT_KEY_PUT,
    STATEMENT_KEY_REMOVE,
    STATEMENT_KEYS_USED,
    STATEMENT_GATEWAY_BEAT, /* PostgreSQL, as the next two: nobody shares a SQLite */
    STATEMENT_GATEWAYS_LIST,
    STATEMENT_GATEWAY_REMOVE,
    /* One of each for every kind of resource; their texts are made of the columns (tables.c). */
    STATEMENT_ROWS,
    STATEMENT_ROW = STATEMENT_ROWS + RESOURCE_KIND_COUNT,
    STATEMENT_PUT = STATEMENT_ROW + RESOURCE_KIND_COUNT,
    STATEMENT_REMOVE = STATEMENT_PUT + RESOURCE_KIND_COUNT,
    STATEMENT_DISPLACE = STATEMENT_REMOVE + RESOURCE_KIND_COUNT, /* takes a unique name from whoever else has it */
    STATEMENT_DISPLACED = STATEMENT_DISPLACE + RESOURCE_KIND_COUNT,
    /* Points those who name a resource by its name at it; one for each column that refers to another table. */
    STATEMENT_POINT = STATEMENT_DISPLACED + RESOURCE_KIND_COUNT,
    STATEMENT_COUNT = STATEMENT_POINT + 8
};

struct statement_text {
    const char *sqlite, *postgres; /* the second NULL: as the first; both NULL: this kind has no use for it */
};
extern const struct statement_text statement_texts[STATEMENT_ROWS];

/* --- kinds --- */

enum transaction {
    TRANSACTION_READ,    /* one consistent view */
    TRANSACTION_WRITE,   /* nobody else writes */
    TRANSACTION_MIGRATE, /* nobody else migrates or writes; may take longer */
};

/* A row of an answer; what it points at holds during the call. False: *error says why, and the statement ends. */
typedef bool (*store_row_taken)(void *argument, const struct value *columns, size_t count, struct error *);

struct execution {
    enum statement statement;
    const struct value *values;
    size_t value_count;
    store_row_taken row; /* NULL: rows are of no interest */
    void *argument;
    uint64_t changed; /* filled in: rows written */
};

struct store_driver {
    const char *const *schemes; /* NULL-ended: "sqlite:" */
    bool is_postgres;           /* which texts it takes */
    const char *const *steps;   /* NULL-ended: scripts that each bring the schema one version further */
    bool (*check)(struct slice location, struct error *);
    /* Of the location, without its password. The caller's. */
    char *(*show)(struct slice location);
    /* Connected, whatever the schema is; `create`: where there is nothing yet, make it. */
    struct store *(*open)(const struct store_settings *, bool create, struct error *);
    void (*close)(struct store *);
    bool (*begin)(struct store *, enum transaction, struct error *);
    /* Of a failed commit nothing is left open. */
    bool (*commit)(struct store *, struct error *);
    void (*rollback)(struct store *);
    bool (*execute)(struct store *, struct execution *, struct error *);
    /* Many statements in one text, inside a transaction. */
    bool (*script)(struct store *, const char *text, struct error *);
    int (*descriptor)(const struct store *);
    bool (*take_notifications)(struct store *, uint64_t *revision, struct error *);
};
extern const struct store_driver store_driver_sqlite, store_driver_postgres;

/* What every kind's own struct begins with. */
struct store {
    const struct store_driver *driver;
    char *shown; /* location without password */
    uint32_t timeout_ms;
    const char *texts[STATEMENT_COUNT];
    char *made[STATEMENT_COUNT];             /* those of them that are ours */
    bool is_open;                            /* a transaction */
    bool is_writing;                         /* between store_begin and commit or abort */
    bool has_failed;                         /* something in it went wrong: it can't be committed */
    uint64_t head;                           /* as of store_begin */
    uint64_t head_at_us;                     /* of the head that was read last */
    uint64_t displaced[RESOURCE_KIND_COUNT]; /* rows whose name was taken from them in this transaction */
};

/* For the kinds' open and close. */
void store_init(struct store *, const struct store_driver *, const struct store_settings *);
void store_release(struct store *);

/* With the error's reason, text as printf; returns false. */
#define store_refuse(error, reason, ...)                                                                       \
    error_set(error, BLAME_US, RETRY_NEVER,                                                                    \
              (strcmp(reason, STORE_UNAVAILABLE) == 0 || strcmp(reason, STORE_BUSY) == 0) ? 503 : 500, reason, \
              __VA_ARGS__)
#define STORE_UNAVAILABLE "store-unavailable"
#define STORE_BUSY "store-busy"
#define STORE_FULL "store-full"
#define STORE_NEWER "store-newer"
#define STORE_DAMAGED "store-damaged"
#define STORE_SETTINGS "store-settings"
#define STORE_REFUSED "store-refused"

/* Executes one statement; inside a write, a failure makes the write fail as a whole. */
bool store_execute(struct store *, struct execution *, struct error *) MUST_USE;
bool store_transaction_begin(struct store *, enum transaction, struct error *) MUST_USE;
bool store_transaction_commit(struct store *, struct error *) MUST_USE;
void store_transaction_rollback(struct store *);
/* One view for several statements: a transaction for reading, unless one is open already. */
bool store_begin_read(struct store *, bool *begun, struct error *) MUST_USE;
bool store_end_read(struct store *, bool begun, bool so_far, struct error *) MUST_USE;
/* For an execution's `row`, with a uint64_t * as argument. */
bool store_take_number(void *argument, const struct value *columns, size_t count, struct error *);

/* --- migrations.c --- */

bool store_migrate(struct store *, struct error *) MUST_USE;
/* *version is 0 where there is no schema yet. */
bool store_schema_version(struct store *, unsigned *version, struct error *) MUST_USE;
unsigned store_schema_known(const struct store_driver *);
extern const char *const migration_steps_sqlite[], *const migration_steps_postgres[];

/* --- tables.c: statements about rows of resources, made of the column tables --- */

void tables_make_statements(struct store *);
/* Before a commit: no row may be left without its name. */
bool tables_check_displaced(struct store *, struct error *) MUST_USE;

/* --- rows.c: documents and columns --- */

enum column_type {
    COLUMN_TEXT,
    COLUMN_INTEGER,
    COLUMN_BOOLEAN,
    COLUMN_JSON,
    COLUMN_REFERENCE, /* two columns: the id, and the name where the document says a name */
};

struct column {
    const char *name;
    const char *field; /* of the document */
    enum column_type type;
    const char *absent;        /* as JSON: what is written where the document has no such field; NULL: NULL */
    const char *written_name;  /* COLUMN_REFERENCE: the column for the name */
    enum resource_kind target; /* COLUMN_REFERENCE */
};

struct table {
    const char *name, *id; /* "routes", "route_id" */
    const char *unique;    /* the column that no two rows share; NULL: none */
    const struct column *columns;
    size_t column_count;
};
extern const struct table store_tables[RESOURCE_KIND_COUNT]; /* of API keys: no columns */

#define TABLE_COLUMNS_MAX 24
#define TABLE_VALUES_MAX (2 * TABLE_COLUMNS_MAX + 4)

/* The values of a row in the order id, columns (two for a reference), more, created_at, updated_at. They live in the arena. False: the
 * document is no JSON object. */
bool row_split(struct arena *, const struct store_row *, struct value *values, size_t *count, struct error *) MUST_USE;
/* The row of the same values. Its document lives in the arena. */
bool row_join(struct arena *, enum resource_kind, const struct value *values, size_t count, struct store_row *,
              struct error *) MUST_USE;
size_t row_value_count(enum resource_kind);
/* A UUID in lower case: nothing else can be the id of a row. */
bool row_id_is_valid(struct slice id);

/* --- json_scan.c --- */

/* Where the JSON value that begins at `at` (white space is passed over) ends; SLICE_NOT_FOUND: there is none. At most 128 levels. */
size_t json_scan(struct slice text, size_t at);
/* Goes through the fields of an object: start with *at = 0. 1: key (as written, without quotes) and value; 0: the end; -1: no object. */
int json_scan_field(struct slice object, size_t *at, struct slice *key, struct slice *value);

#endif
