/* Rows of resources: the statements are made of the column tables (rows.c), then each call is one or a few of them.
 *
 * Within a write the order of puts and removes doesn't matter, though names are unique and references hold. A put takes its name from
 * whoever has it; that row must get another one, or go, before the commit. Who names a resource by its name has no id in its row while
 * there is none of this name; the put of that resource points it there. References themselves are checked at the commit. */
#include "store/private.h"

#include "base/memory.h"

#include <inttypes.h>

/* --- statements --- */

static void set_text(struct store *store, enum statement statement, char *text)
{
    store->made[statement] = text;
    store->texts[statement] = text;
}

static char *add(char *list, const char *separator, char *piece)
{
    char *longer = list ? memory_format("%s%s%s", list, separator, piece) : memory_format("%s", piece);
    free(list);
    free(piece);
    return longer;
}

static char *column_list(const struct table *table)
{
    char *list = memory_format("%s", table->id);
    for (size_t i = 0; i < table->column_count; i++) {
        const struct column *column = &table->columns[i];
        list = add(list, ", ", memory_format("%s", column->name));
        if (column->type == COLUMN_REFERENCE) list = add(list, ", ", memory_format("%s", column->written_name));
    }
    return add(list, ", ", memory_format("more, created_at, updated_at"));
}

/* $1, $2, ...; of a reference the id, or else the id of who has the name. */
static char *value_list(const struct table *table)
{
    unsigned number = 1;
    char *list = memory_format("$%u", number++);
    for (size_t i = 0; i < table->column_count; i++) {
        const struct column *column = &table->columns[i];
        if (column->type == COLUMN_REFERENCE) {
            const struct table *target = &store_tables[column->target];
            list = add(list, ", ",
                       memory_format("COALESCE($%u, (SELECT %s FROM %s WHERE name = $%u)), $%u", number, target->id,
                                     target->name, number + 1, number + 1));
            number += 2;
        } else {
            list = add(list, ", ", memory_format("$%u", number++));
        }
    }
    return add(list, ", ", memory_format("$%u, $%u, $%u", number, number + 1, number + 2));
}

static char *excluded_list(char *columns)
{
    char *list = NULL;
    struct slice rest = slice_from_cstring(columns), column;
    while (slice_next(&rest, ',', &column))
        list = add(list, ", ", memory_format("%.*s = excluded.%.*s", SLICE_PRINT(column), SLICE_PRINT(column)));
    return list;
}

static void make_for(struct store *store, enum resource_kind kind)
{
    const struct table *table = &store_tables[kind];
    char *columns = column_list(table), *values = value_list(table), *excluded = excluded_list(columns);
    set_text(store, STATEMENT_ROWS + kind,
             memory_format("SELECT %s FROM %s ORDER BY created_at, %s", columns, table->name, table->id));
    set_text(store, STATEMENT_ROW + kind,
             memory_format("SELECT %s FROM %s WHERE %s = $1", columns, table->name, table->id));
    set_text(store, STATEMENT_PUT + kind,
             memory_format("INSERT INTO %s (%s) VALUES (%s) ON CONFLICT (%s) DO UPDATE SET %s", table->name, columns,
                           values, table->id, excluded));
    set_text(store, STATEMENT_REMOVE + kind, memory_format("DELETE FROM %s WHERE %s = $1", table->name, table->id));
    if (table->unique) {
        set_text(store, STATEMENT_DISPLACE + kind,
                 memory_format("UPDATE %s SET %s = CAST(%s AS TEXT) || ':displaced' WHERE %s = $1 AND %s <> $2",
                               table->name, table->unique, table->id, table->unique, table->id));
        set_text(store, STATEMENT_DISPLACED + kind,
                 memory_format("SELECT %s FROM %s WHERE %s = CAST(%s AS TEXT) || ':displaced'", table->id, table->name,
                               table->unique, table->id));
    }
    free(columns);
    free(values);
    free(excluded);
}

/* Calls `each` for every column that refers to another table, with the number of its statement. */
struct reference_column {
    enum resource_kind kind;
    const struct column *column;
    enum statement point;
};

static bool next_reference(struct reference_column *at)
{
    for (; at->kind < RESOURCE_KIND_COUNT; at->kind++, at->column = NULL) {
        const struct table *table = &store_tables[at->kind];
        const struct column *column = at->column ? at->column + 1 : table->columns;
        for (; column && column < table->columns + table->column_count; column++) {
            if (column->type != COLUMN_REFERENCE) continue;
            at->point = at->point ? at->point + 1 : STATEMENT_POINT;
            at->column = column;
            return true;
        }
    }
    return false;
}

void tables_make_statements(struct store *store)
{
    for (int kind = 0; kind < RESOURCE_KIND_COUNT; kind++) {
        if (store_tables[kind].column_count) make_for(store, (enum resource_kind)kind);
    }
    struct reference_column at = { 0 };
    while (next_reference(&at)) {
        PROMISE(at.point < STATEMENT_COUNT);
        set_text(store, at.point,
                 memory_format("UPDATE %s SET %s = $1 WHERE %s = $2 AND %s IS DISTINCT FROM $1",
                               store_tables[at.kind].name, at.column->name, at.column->written_name, at.column->name));
    }
}

/* --- reading --- */

struct row_reading {
    struct arena arena;
    enum resource_kind kind;
    const struct store_visitor *visitor;
    uint64_t count;
};

static bool take_row(void *argument, const struct value *columns, size_t count, struct error *error)
{
    struct row_reading *reading = argument;
    struct store_row row;
    bool joined = row_join(&reading->arena, reading->kind, columns, count, &row, error);
    if (joined) reading->visitor->row(reading->visitor->argument, &row);
    arena_release(&reading->arena);
    reading->count++;
    return joined;
}

static bool read_rows(struct store *store, enum resource_kind kind, const struct store_visitor *visitor,
                      struct error *error)
{
    struct row_reading reading = { .kind = kind, .visitor = visitor };
    arena_init(&reading.arena, NULL);
    struct execution execution = { .statement = STATEMENT_ROWS + kind, .row = take_row, .argument = &reading };
    return store_execute(store, &execution, error);
}

bool store_read_all(struct store *store, const struct store_visitor *visitor, uint64_t *revision, struct error *error)
{
    bool begun;
    if (!store_begin_read(store, &begun, error)) return false;
    bool ok = store_read_head(store, revision, error);
    for (int kind = 0; ok && kind < RESOURCE_KIND_COUNT; kind++) {
        if (kind != RESOURCE_API_KEY) ok = read_rows(store, (enum resource_kind)kind, visitor, error);
    }
    return store_end_read(store, begun, ok, error);
}

bool store_read_row(struct store *store, enum resource_kind kind, struct slice id, const struct store_visitor *visitor,
                    bool *found, struct error *error)
{
    PROMISE(kind != RESOURCE_API_KEY);
    *found = false;
    if (!row_id_is_valid(id)) return true;
    struct row_reading reading = { .kind = kind, .visitor = visitor };
    arena_init(&reading.arena, NULL);
    struct value value = value_text(id);
    struct execution execution = {
        .statement = STATEMENT_ROW + kind, .values = &value, .value_count = 1, .row = take_row, .argument = &reading
    };
    bool ok = store_execute(store, &execution, error);
    *found = reading.count > 0;
    return ok;
}

/* --- writing --- */

static bool displace(struct store *store, const struct store_row *row, struct value name, struct error *error)
{
    struct value values[] = { name, value_text(row->id) };
    struct execution execution = { .statement = STATEMENT_DISPLACE + row->kind, .values = values, .value_count = 2 };
    if (!store_execute(store, &execution, error)) return false;
    store->displaced[row->kind] += execution.changed;
    return true;
}

static bool point_by_name(struct store *store, const struct store_row *row, struct value name, struct error *error)
{
    struct reference_column at = { 0 };
    while (next_reference(&at)) {
        if (at.column->target != row->kind) continue;
        struct value values[] = { value_text(row->id), name };
        struct execution execution = { .statement = at.point, .values = values, .value_count = 2 };
        if (!store_execute(store, &execution, error)) return false;
    }
    return true;
}

static struct value unique_value(enum resource_kind kind, const struct value *values)
{
    const struct table *table = &store_tables[kind];
    for (size_t i = 0, next = 1; i < table->column_count; i++, next++) {
        if (table->unique && strcmp(table->columns[i].name, table->unique) == 0) return values[next];
        if (table->columns[i].type == COLUMN_REFERENCE) next++;
    }
    return value_null();
}

bool store_put(struct store *store, const struct store_row *row, struct error *error)
{
    PROMISE(store->is_writing && row->kind != RESOURCE_API_KEY);
    struct arena arena;
    arena_init(&arena, NULL);
    struct value values[TABLE_VALUES_MAX];
    size_t count;
    bool ok = row_split(&arena, row, values, &count, error);
    if (ok) {
        struct value name = unique_value(row->kind, values);
        struct execution put = { .statement = STATEMENT_PUT + row->kind, .values = values, .value_count = count };
        ok = (name.type == VALUE_NULL || displace(store, row, name, error)) && store_execute(store, &put, error) &&
             (name.type == VALUE_NULL || point_by_name(store, row, name, error));
    }
    arena_release(&arena);
    store->has_failed |= !ok;
    return ok;
}

bool store_remove(struct store *store, enum resource_kind kind, struct slice id, struct error *error)
{
    PROMISE(store->is_writing && kind != RESOURCE_API_KEY);
    struct value value = value_text(id);
    struct execution execution = { .statement = STATEMENT_REMOVE + kind, .values = &value, .value_count = 1 };
    return store_execute(store, &execution, error);
}

static bool refuse_displaced(void *argument, const struct value *columns, size_t count, struct error *error)
{
    const struct table *table = argument;
    return store_refuse(error, STORE_REFUSED, "table \"%s\": row \"%.*s\" has the name that another one was given",
                        table->name, SLICE_PRINT(columns[0].text));
}

bool tables_check_displaced(struct store *store, struct error *error)
{
    for (int kind = 0; kind < RESOURCE_KIND_COUNT; kind++) {
        struct execution execution = { .statement = STATEMENT_DISPLACED + (enum statement)kind,
                                       .row = refuse_displaced,
                                       .argument = (void *)&store_tables[kind] };
        if (store->displaced[kind] && !store_execute(store, &execution, error)) return false;
        store->displaced[kind] = 0;
    }
    return true;
}
