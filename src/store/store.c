/* What is the same for every kind: which one a location means, transactions, the write that ends in a revision. */
#include "store/private.h"

#include "base/clock.h"
#include "base/memory.h"

static const struct store_driver *const kinds[] = { &store_driver_sqlite, &store_driver_postgres };

#define TIMEOUT_MS 5000

static const struct store_driver *kind_of(struct slice location, struct error *error)
{
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        for (const char *const *scheme = kinds[i]->schemes; *scheme; scheme++) {
            if (slice_starts_with(location, slice_from_cstring(*scheme))) return kinds[i];
        }
    }
    store_refuse(error, STORE_SETTINGS,
                 "a store is sqlite:/absolute/path or postgres://user:password@host:port/database");
    return NULL;
}

bool store_location_check(struct slice location, struct error *error)
{
    const struct store_driver *kind = kind_of(location, error);
    if (kind && memchr(location.at, '\0', location.length))
        return store_refuse(error, STORE_SETTINGS, "the store's location has a NUL byte in it");
    return kind && kind->check(location, error);
}

char *store_location_show(struct slice location)
{
    struct error ignored;
    const struct store_driver *kind = kind_of(location, &ignored);
    return kind ? kind->show(location) : memory_copy_slice(SLICE(""));
}

void store_init(struct store *store, const struct store_driver *kind, const struct store_settings *settings)
{
    store->driver = kind;
    store->timeout_ms = settings->timeout_ms ? settings->timeout_ms : TIMEOUT_MS;
    store->shown = kind->show(slice_from_cstring(settings->location));
    for (int i = 0; i < STATEMENT_ROWS; i++) {
        const struct statement_text *text = &statement_texts[i];
        store->texts[i] = kind->is_postgres && text->postgres ? text->postgres : text->sqlite;
    }
    tables_make_statements(store);
}

void store_release(struct store *store)
{
    for (int i = 0; i < STATEMENT_COUNT; i++) free(store->made[i]);
    free(store->shown);
}

static struct store *open_kind(const struct store_settings *settings, bool create, struct error *error)
{
    struct slice location = slice_from_cstring(settings->location);
    if (!store_location_check(location, error)) return NULL;
    return kind_of(location, error)->open(settings, create, error);
}

struct store *store_open(const struct store_settings *settings, struct error *error)
{
    struct store *store = open_kind(settings, true, error);
    if (store && !store_migrate(store, error)) {
        store_close(store);
        return NULL;
    }
    return store;
}

bool store_schema_read(const struct store_settings *settings, struct store_schema *schema, struct error *error)
{
    struct store *store = open_kind(settings, false, error);
    if (!store) return false;
    schema->known = store_schema_known(store->driver);
    bool ok = store_schema_version(store, &schema->found, error);
    store_close(store);
    return ok;
}

void store_close(struct store *store)
{
    if (!store) return;
    store_abort(store);
    store->driver->close(store);
}

const char *store_location(const struct store *store) { return store->shown; }

int store_descriptor(const struct store *store) { return store->driver->descriptor(store); }

bool store_take_notifications(struct store *store, uint64_t *revision, struct error *error)
{
    *revision = 0;
    return store->driver->take_notifications(store, revision, error);
}

/* --- transactions --- */

bool store_execute(struct store *store, struct execution *execution, struct error *error)
{
    execution->changed = 0;
    if (store->is_writing && store->has_failed)
        return store_refuse(error, STORE_REFUSED, "%s: the write has failed already", store->shown);
    PROMISE(store->texts[execution->statement] != NULL);
    bool ok = store->driver->execute(store, execution, error);
    if (store->is_writing && !ok) store->has_failed = true;
    return ok;
}

bool store_transaction_begin(struct store *store, enum transaction transaction, struct error *error)
{
    PROMISE(!store->is_open);
    if (!store->driver->begin(store, transaction, error)) return false;
    store->is_open = true;
    return true;
}

bool store_transaction_commit(struct store *store, struct error *error)
{
    PROMISE(store->is_open);
    bool ok = store->driver->commit(store, error);
    store->is_open = false;
    return ok;
}

void store_transaction_rollback(struct store *store)
{
    if (store->is_open) store->driver->rollback(store);
    store->is_open = false;
}

bool store_begin_read(struct store *store, bool *begun, struct error *error)
{
    *begun = !store->is_open;
    return store->is_open || store_transaction_begin(store, TRANSACTION_READ, error);
}

bool store_end_read(struct store *store, bool begun, bool so_far, struct error *error)
{
    if (!begun) return so_far;
    if (so_far) return store_transaction_commit(store, error);
    store_transaction_rollback(store);
    return false;
}

/* --- a write --- */

bool store_take_number(void *argument, const struct value *columns, size_t count, struct error *error)
{
    uint64_t *number = argument;
    if (count != 1 || columns[0].type != VALUE_INTEGER)
        return store_refuse(error, STORE_DAMAGED, "a table does not hold the one number that it must");
    *number = (uint64_t)columns[0].number;
    return true;
}

struct head {
    uint64_t revision, at_us;
};

static bool take_head(void *argument, const struct value *columns, size_t count, struct error *error)
{
    struct head *head = argument;
    if (count != 2) return store_refuse(error, STORE_DAMAGED, "table \"store_head\" does not hold what it must");
    head->at_us = columns[1].type == VALUE_NULL ? 0 : (uint64_t)columns[1].number;
    return store_take_number(&head->revision, columns, 1, error);
}

bool store_read_head(struct store *store, uint64_t *revision, struct error *error)
{
    struct head head = { .revision = UINT64_MAX };
    struct execution execution = { .statement = STATEMENT_HEAD, .row = take_head, .argument = &head };
    if (!store_execute(store, &execution, error)) return false;
    if (head.revision == UINT64_MAX)
        return store_refuse(error, STORE_DAMAGED,
                            "table \"store_head\" is empty: it must hold the newest revision's number");
    *revision = head.revision;
    store->head_at_us = head.at_us;
    return true;
}

uint64_t store_head_at(const struct store *store) { return store->head_at_us; }

bool store_begin(struct store *store, uint64_t *revision, struct error *error)
{
    PROMISE(!store->is_writing);
    if (!store_transaction_begin(store, TRANSACTION_WRITE, error)) return false;
    store->is_writing = true;
    store->has_failed = false;
    struct execution lock = { .statement = STATEMENT_HEAD_LOCK };
    bool ok = store_execute(store, &lock, error) && store_read_head(store, &store->head, error);
    if (!ok) store_abort(store);
    *revision = store->head;
    return ok;
}

static bool add_revision(struct store *store, struct store_revision *revision, struct error *error)
{
    revision->number = store->head + 1;
    if (!revision->at_us) revision->at_us = clock_wall_ns() / 1000;
    struct value values[] = { value_integer((int64_t)revision->number),
                              value_time(revision->at_us),
                              value_text(revision->author),
                              value_text(revision->source),
                              value_text(revision->comment),
                              value_text(revision->changes.at ? revision->changes : SLICE("[]")) };
    struct execution add = { .statement = STATEMENT_REVISION_ADD, .values = values, .value_count = COUNT_OF(values) };
    struct execution head = { .statement = STATEMENT_HEAD_SET, .values = values, .value_count = 1 };
    return store_execute(store, &add, error) && (store->driver->is_postgres || store_execute(store, &head, error));
}

bool store_commit(struct store *store, struct store_revision *revision, struct error *error)
{
    PROMISE(store->is_writing);
    bool ok = tables_check_displaced(store, error) && add_revision(store, revision, error) &&
              store_transaction_commit(store, error);
    if (!ok) store_abort(store);
    store->is_writing = false;
    return ok;
}

void store_abort(struct store *store)
{
    store_transaction_rollback(store);
    store->is_writing = false;
    store->has_failed = false;
    for (int kind = 0; kind < RESOURCE_KIND_COUNT; kind++) store->displaced[kind] = 0;
}

/* --- revisions --- */

static bool take_revision(void *argument, const struct value *columns, size_t count, struct error *error)
{
    const struct store_revision_visitor *visitor = argument;
    if (count != 6 || columns[0].type != VALUE_INTEGER || columns[5].type != VALUE_TEXT)
        return store_refuse(error, STORE_DAMAGED, "table \"revisions\" does not hold what it must");
    struct store_revision revision = { .number = (uint64_t)columns[0].number,
                                       .at_us = (uint64_t)columns[1].number,
                                       .author = columns[2].text,
                                       .source = columns[3].text,
                                       .comment = columns[4].text,
                                       .changes = columns[5].text };
    size_t end = json_scan(revision.changes, 0);
    if (end != revision.changes.length || revision.changes.at[0] != '[')
        return store_refuse(error, STORE_DAMAGED, "table \"revisions\", row %llu: column \"changes\" is no JSON array",
                            (unsigned long long)revision.number);
    visitor->revision(visitor->argument, &revision);
    return true;
}

static bool read_revisions(struct store *store, enum statement statement, uint64_t number, size_t limit,
                           const struct store_revision_visitor *visitor, struct error *error)
{
    struct value values[] = { value_integer(number > INT64_MAX ? INT64_MAX : (int64_t)number),
                              value_integer(limit > INT64_MAX ? INT64_MAX : (int64_t)limit) };
    struct execution execution = { .statement = statement,
                                   .values = values,
                                   .value_count = COUNT_OF(values),
                                   .row = take_revision,
                                   .argument = (void *)visitor };
    return store_execute(store, &execution, error);
}

bool store_read_revisions_after(struct store *store, uint64_t after, size_t limit,
                                const struct store_revision_visitor *visitor, struct error *error)
{
    return read_revisions(store, STATEMENT_REVISIONS_AFTER, after, limit, visitor, error);
}

bool store_read_revisions_before(struct store *store, uint64_t before, size_t limit,
                                 const struct store_revision_visitor *visitor, struct error *error)
{
    return read_revisions(store, STATEMENT_REVISIONS_BEFORE, before ? before : UINT64_MAX, limit, visitor, error);
}
