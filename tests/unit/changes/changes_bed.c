#include "changes/changes_bed.h"

#include "base/memory.h"
#include "chain/chain.h"
#include "filters/filters.h"
#include "handlers/handlers.h"
#include "store/store.h"

#include <errno.h>
#include <inttypes.h>
#include <libpq-fe.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

const struct policy_registry bed_registry = { filters_all, handlers_all };

struct bed_resource {
    char *name;
    struct content_hash hash;
};

/* --- the gateway --- */

struct prepared_change {
    struct configuration_change *change;
};

static void step(struct bed_gateway *gateway, const char *word)
{
    size_t length = strlen(gateway->steps);
    snprintf(gateway->steps + length, sizeof gateway->steps - length, "%s ", word);
}

static void note_change(struct bed_gateway *gateway, const char *sign, struct slice text)
{
    size_t length = strlen(gateway->changed);
    snprintf(gateway->changed + length, sizeof gateway->changed - length, "%s%.*s ", sign, SLICE_PRINT(text));
}

static struct object_list *list_of(struct configuration *configuration, enum resource_kind kind)
{
    return (void *)((char *)configuration + resource_types[kind].list_at);
}

static const char *at(const struct object_list *list, size_t index, enum resource_kind kind)
{
    return (const char *)list->items + index * resource_types[kind].size;
}

static struct slice slice_at(const char *config, size_t offset)
{
    return *(const struct slice *)(const void *)(config + offset);
}

static const struct node *node_at(const char *config, enum resource_kind kind)
{
    return *(const struct node *const *)(const void *)(config + resource_types[kind].node_at);
}

static bool refuse_some(struct bed_gateway *gateway, const struct configuration_change *change,
                        struct problems *problems)
{
    size_t before = problems->count;
    for (int kind = 0; gateway->refuse && kind < RESOURCE_API_KEY; kind++) {
        const struct object_list *list = list_of(change->configuration, kind);
        for (size_t i = 0; i < list->count; i++) {
            const char *config = at(list, i, kind);
            struct slice name = slice_at(config, resource_types[kind].name_at);
            if (slice_find(name, slice_from_cstring(gateway->refuse)) != SLICE_NOT_FOUND)
                problems_add(problems, node_find(node_at(config, kind), resource_types[kind].name_field), NULL,
                             "cannot be compiled here");
        }
    }
    return problems->count > before;
}

static struct prepared_change *prepare(void *argument, struct configuration_change *change, struct problems *problems)
{
    struct bed_gateway *gateway = &((struct bed *)argument)->gateway;
    pthread_mutex_lock(&gateway->lock);
    gateway->prepared++;
    struct prepared_change *prepared = NULL;
    if (refuse_some(gateway, change, problems)) {
        step(gateway, "refuse");
        configuration_change_destroy(change);
    } else {
        step(gateway, "prepare");
        prepared = memory_allocate(sizeof *prepared);
        prepared->change = change;
    }
    pthread_mutex_unlock(&gateway->lock);
    return prepared;
}

static void forget(struct bed_resource *resource)
{
    if (resource) free(resource->name);
    free(resource);
}

static void clear(struct map *map)
{
    struct map_entry *entry;
    for (size_t position = 0; (entry = map_next(map, &position));) forget(entry->value);
    map_release(map);
    map_init(map);
}

static void put_all(struct bed_gateway *gateway, struct configuration *configuration, enum resource_kind kind)
{
    const struct object_list *list = list_of(configuration, kind);
    const struct resource_type *type = &resource_types[kind];
    for (size_t i = 0; i < list->count; i++) {
        const char *config = at(list, i, kind);
        struct bed_resource *resource = memory_allocate(sizeof *resource);
        resource->name = memory_copy_slice(slice_at(config, type->name_at));
        resource->hash = *(const struct content_hash *)(const void *)(config + type->hash_at);
        forget(map_set(&gateway->table[kind], slice_at(config, type->id_at), resource));
        note_change(gateway, "+", slice_from_cstring(resource->name));
    }
}

static void remove_all(struct bed_gateway *gateway, const struct slice_list *ids, enum resource_kind kind)
{
    for (size_t i = 0; i < ids->count; i++) {
        struct bed_resource *resource = map_remove(&gateway->table[kind], ids->items[i]);
        assert_non_null(resource);
        note_change(gateway, "-", slice_from_cstring(resource->name));
        forget(resource);
    }
}

static void apply(struct bed_gateway *gateway, struct configuration_change *change)
{
    gateway->changed[0] = '\0';
    if (change->whole) {
        gateway->whole++;
        note_change(gateway, "", SLICE("whole"));
        clear(&gateway->table[RESOURCE_SERVICE]);
        clear(&gateway->table[RESOURCE_ROUTE]);
    } else {
        remove_all(gateway, &change->removed_routes, RESOURCE_ROUTE);
        remove_all(gateway, &change->removed_services, RESOURCE_SERVICE);
    }
    put_all(gateway, change->configuration, RESOURCE_SERVICE);
    put_all(gateway, change->configuration, RESOURCE_ROUTE);
    if (change->plugins_changed) {
        clear(&gateway->table[RESOURCE_PLUGIN]);
        put_all(gateway, change->configuration, RESOURCE_PLUGIN);
        clear(&gateway->table[RESOURCE_RATE_LIMIT]);
        put_all(gateway, change->configuration, RESOURCE_RATE_LIMIT);
    }
    if (change->certificates_changed) {
        clear(&gateway->table[RESOURCE_CERTIFICATE]);
        put_all(gateway, change->configuration, RESOURCE_CERTIFICATE);
    }
    if (change->roles_changed) {
        clear(&gateway->table[RESOURCE_ROLE]);
        put_all(gateway, change->configuration, RESOURCE_ROLE);
    }
}

static void commit(void *argument, struct prepared_change *prepared, void (*in_force)(void *), void *in_force_argument)
{
    struct bed_gateway *gateway = &((struct bed *)argument)->gateway;
    pthread_mutex_lock(&gateway->lock);
    gateway->committed++;
    step(gateway, "commit");
    apply(gateway, prepared->change);
    bool holds = gateway->holds;
    if (holds) {
        PROMISE(gateway->held < COUNT_OF(gateway->in_force));
        gateway->in_force_argument[gateway->held] = in_force_argument;
        gateway->in_force[gateway->held++] = in_force;
    }
    pthread_mutex_unlock(&gateway->lock);
    configuration_change_destroy(prepared->change);
    free(prepared);
    if (!holds) in_force(in_force_argument);
}

static void abandon(void *argument, struct prepared_change *prepared)
{
    struct bed_gateway *gateway = &((struct bed *)argument)->gateway;
    pthread_mutex_lock(&gateway->lock);
    gateway->abandoned++;
    step(gateway, "abandon");
    pthread_mutex_unlock(&gateway->lock);
    configuration_change_destroy(prepared->change);
    free(prepared);
}

void bed_release(struct bed *bed)
{
    struct bed_gateway *gateway = &bed->gateway;
    for (;;) {
        pthread_mutex_lock(&gateway->lock);
        gateway->holds = false;
        unsigned index = gateway->held ? --gateway->held : UINT32_MAX;
        pthread_mutex_unlock(&gateway->lock);
        if (index == UINT32_MAX) return;
        gateway->in_force[index](gateway->in_force_argument[index]);
    }
}

/* What the builder loads before the changes begin. */
static void load_catalog(struct bed *bed);

/* --- life --- */

static void note_keys(void *argument, const struct slice *ids, size_t count, void (*in_force)(void *argument),
                      void *in_force_argument)
{
    struct bed *bed = argument;
    bed->keys_told++;
    snprintf(bed->keys, sizeof bed->keys, "%s", ids ? "" : "any");
    for (size_t i = 0; i < count; i++) {
        size_t length = strlen(bed->keys);
        snprintf(bed->keys + length, sizeof bed->keys - length, "%.*s ", SLICE_PRINT(ids[i]));
    }
    if (in_force) in_force(in_force_argument);
}

static void open_changes(struct bed *bed)
{
    struct error error;
    struct changes_options options = {
        .store = bed->location,
        .copy_path = bed->copy,
        .folder = bed->folder,
        .kinds = &bed->kinds,
        .gateway = { .prepare = prepare, .commit = commit, .abandon = abandon, .argument = bed },
        .keys_changed = note_keys,
        .keys_argument = bed,
    };
    bed->changes = changes_create(&options, &error);
    if (!bed->changes) fail_msg("%s", error.text);
    load_catalog(bed);
    if (!changes_start(bed->changes, &error)) fail_msg("%s", error.text);
}

static void start(struct bed *bed)
{
    pthread_mutex_init(&bed->gateway.lock, NULL);
    for (int kind = 0; kind < RESOURCE_KIND_COUNT; kind++) map_init(&bed->gateway.table[kind]);
    bed->kinds = policy_registry_kinds(&bed_registry);
    open_changes(bed);
}

/* With SLUICE_TEST_POSTGRES, an URL, all tests run over that database, which is emptied by each. */
static bool use_postgres(struct bed *bed)
{
    const char *url = getenv("SLUICE_TEST_POSTGRES");
    if (!url) return false;
    bed->is_postgres = true;
    snprintf(bed->location, sizeof bed->location, "%s", url);
    bed_run_sql(bed, "DROP SCHEMA public CASCADE; CREATE SCHEMA public");
    return true;
}

void bed_start(struct bed *bed)
{
    *bed = (struct bed){ 0 };
    snprintf(bed->folder, sizeof bed->folder, "/tmp/sluice-changes-XXXXXX");
    assert_non_null(mkdtemp(bed->folder));
    if (!use_postgres(bed)) snprintf(bed->location, sizeof bed->location, "sqlite:%s/store.db", bed->folder);
    snprintf(bed->copy, sizeof bed->copy, "%s/copy", bed->folder);
    start(bed);
}

void bed_start_beside(struct bed *bed, const struct bed *first)
{
    *bed = (struct bed){ .is_second = true, .is_postgres = first->is_postgres };
    memcpy(bed->folder, first->folder, sizeof bed->folder);
    memcpy(bed->location, first->location, sizeof bed->location);
    snprintf(bed->copy, sizeof bed->copy, "%s/copy2", bed->folder);
    start(bed);
}

static void close_changes(struct bed *bed)
{
    changes_stop(bed->changes);
    bed_release(bed);
    changes_destroy(bed->changes);
    bed->changes = NULL;
    for (int kind = 0; kind < RESOURCE_KIND_COUNT; kind++) clear(&bed->gateway.table[kind]);
}

void bed_restart(struct bed *bed)
{
    close_changes(bed);
    open_changes(bed);
}

static void remove_folder(const char *folder)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf -- '%s'", folder);
    assert_int_equal(system(command), 0);
}

void bed_stop(struct bed *bed)
{
    bed_check(bed);
    close_changes(bed);
    assert_int_equal(bed->gateway.held, 0);
    for (int kind = 0; kind < RESOURCE_KIND_COUNT; kind++) map_release(&bed->gateway.table[kind]);
    pthread_mutex_destroy(&bed->gateway.lock);
    free((void *)(uintptr_t)bed->kinds.items);
    if (!bed->is_second) remove_folder(bed->folder);
}

/* --- orders --- */

struct change_order *bed_order(enum change_action action, enum resource_kind kind, const char *target, const char *body)
{
    struct change_order *order = change_order_create(action, kind);
    if (target) order->target = memory_copy_slice(slice_from_cstring(target));
    if (body) order->body = memory_copy_slice(slice_from_cstring(body));
    order->body_length = body ? strlen(body) : 0;
    return order;
}

static void answered(struct bed_answer *answer)
{
    pthread_mutex_lock(&answer->lock);
    answer->is_there = true;
    answer->count++;
    pthread_cond_broadcast(&answer->changed);
    pthread_mutex_unlock(&answer->lock);
}

static void order_done(struct change_order *order, void *argument) { answered(argument); }
static void question_done(struct change_question *question, void *argument) { answered(argument); }

static void answer_init(struct bed_answer *answer)
{
    *answer = (struct bed_answer){ 0 };
    pthread_mutex_init(&answer->lock, NULL);
    pthread_cond_init(&answer->changed, NULL);
}

void bed_submit(struct bed *bed, struct change_order *order, struct bed_answer *answer)
{
    answer_init(answer);
    order->done = order_done;
    order->argument = answer;
    changes_submit(bed->changes, order);
}

bool bed_wait(struct bed_answer *answer, unsigned timeout_ms)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += timeout_ms / 1000;
    until.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_mutex_lock(&answer->lock);
    int number = 0;
    while (!answer->is_there && number == 0) number = pthread_cond_timedwait(&answer->changed, &answer->lock, &until);
    bool is_there = answer->is_there;
    assert_true(answer->count <= 1);
    pthread_mutex_unlock(&answer->lock);
    return is_there;
}

enum change_outcome bed_run(struct bed *bed, struct change_order *order)
{
    struct bed_answer answer;
    bed_submit(bed, order, &answer);
    assert_true(bed_wait(&answer, 30000));
    return order->outcome;
}

enum change_outcome bed_do(struct bed *bed, enum change_action action, enum resource_kind kind, const char *target,
                           const char *body)
{
    struct change_order *order = bed_order(action, kind, target, body);
    enum change_outcome outcome = bed_run(bed, order);
    change_order_destroy(order);
    return outcome;
}

enum change_outcome bed_ask(struct bed *bed, struct change_question *question)
{
    struct bed_answer answer;
    answer_init(&answer);
    question->done = question_done;
    question->argument = &answer;
    changes_ask(bed->changes, question);
    assert_true(bed_wait(&answer, 30000));
    return question->outcome;
}

void assert_problem_at(const struct change_order *order, const char *pointer)
{
    for (size_t i = 0; i < order->problems.list.count; i++) {
        const struct problem *problem = vector_at(&order->problems.list, i);
        if (strcmp(problem->pointer, pointer) == 0) return;
    }
    char *text = problems_to_text(&order->problems);
    fail_msg("no problem at \"%s\": %s", pointer, text);
}

/* --- looking --- */

static size_t list_all(struct bed *bed, enum resource_kind kind, struct catalog_entry ***entries)
{
    struct catalog *catalog = changes_catalog(bed->changes);
    size_t room = catalog_count(catalog, kind) + 16;
    bool more;
    *entries = memory_allocate_array(room, sizeof **entries);
    return catalog_list(catalog, kind, 0, SLICE_ABSENT, NULL, NULL, *entries, room, &more);
}

static void write_row(FILE *out, enum resource_kind kind, uint64_t created_us, struct slice document)
{
    fprintf(out, "%s %" PRIu64 " %.*s\n", resource_types[kind].path, created_us, SLICE_PRINT(document));
}

char *bed_state(struct bed *bed)
{
    char *text = NULL;
    size_t length;
    FILE *out = open_memstream(&text, &length);
    for (int kind = 0; kind < RESOURCE_API_KEY; kind++) {
        struct catalog_entry **entries;
        size_t count = list_all(bed, kind, &entries);
        for (size_t i = 0; i < count; i++) {
            write_row(out, kind, entries[i]->created_us, entries[i]->document);
            catalog_entry_drop(entries[i]);
        }
        free(entries);
    }
    fclose(out);
    return text;
}

static void write_store_row(void *argument, const struct store_row *row)
{
    write_row(argument, row->kind, row->created_us, row->document);
}

char *bed_store_state(struct bed *bed)
{
    struct store_settings settings = { .location = bed->location };
    struct error error;
    struct store *store = store_open(&settings, &error);
    if (!store) fail_msg("%s", error.text);
    char *text = NULL;
    size_t length;
    uint64_t revision;
    FILE *out = open_memstream(&text, &length);
    if (!store_read_all(store, &(struct store_visitor){ write_store_row, out }, &revision, &error))
        fail_msg("%s", error.text);
    fclose(out);
    store_close(store);
    return text;
}

static void run_sqlite(struct bed *bed, const char *sql)
{
    sqlite3 *database;
    char *message = NULL;
    assert_int_equal(sqlite3_open(bed->location + strlen("sqlite:"), &database), SQLITE_OK);
    sqlite3_busy_timeout(database, 3000);
    if (sqlite3_exec(database, sql, NULL, NULL, &message) != SQLITE_OK) fail_msg("%s", message);
    sqlite3_close(database);
}

static void ignore_notice(void *argument, const char *message) {}

static void run_postgres(struct bed *bed, const char *sql)
{
    PGconn *connection = PQconnectdb(bed->location);
    PQsetNoticeProcessor(connection, ignore_notice, NULL);
    PGresult *result = PQexec(connection, sql);
    ExecStatusType status = PQresultStatus(result);
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) fail_msg("%s", PQerrorMessage(connection));
    PQclear(result);
    PQfinish(connection);
}

void bed_run_sql(struct bed *bed, const char *sql)
{
    if (bed->is_postgres) {
        run_postgres(bed, sql);
    } else {
        run_sqlite(bed, sql);
    }
}

uint64_t bed_revision(struct bed *bed) { return catalog_revision(changes_catalog(bed->changes)); }

/* What was begun before it is asked is through when it is answered. */
static void settle(struct bed *bed)
{
    struct change_question *question = change_question_create();
    question->about = QUESTION_REVISIONS;
    question->limit = 1;
    bed_ask(bed, question);
    change_question_destroy(question);
}

/* The catalog comes first, then the gateway. */
bool bed_reaches(struct bed *bed, uint64_t revision)
{
    for (unsigned i = 0; i < 1000; i++) {
        if (bed_revision(bed) == revision) {
            settle(bed);
            return true;
        }
        usleep(5000);
    }
    return false;
}

void bed_refuse(struct bed *bed, const char *part_of_name)
{
    pthread_mutex_lock(&bed->gateway.lock);
    bed->gateway.refuse = part_of_name;
    pthread_mutex_unlock(&bed->gateway.lock);
}

size_t bed_in_force(struct bed *bed, enum resource_kind kind)
{
    pthread_mutex_lock(&bed->gateway.lock);
    size_t count = bed->gateway.table[kind].count;
    pthread_mutex_unlock(&bed->gateway.lock);
    return count;
}

struct catalog_entry *bed_find(struct bed *bed, enum resource_kind kind, const char *name)
{
    struct catalog_entry *entry = catalog_find(changes_catalog(bed->changes), kind, slice_from_cstring(name), NULL);
    if (!entry) fail_msg("there is no %s \"%s\"", resource_types[kind].word, name);
    return entry;
}

static struct configuration *read_catalog(struct bed *bed)
{
    struct document_list documents[RESOURCE_KIND_COUNT] = { { 0 } };
    struct catalog_entry **entries[RESOURCE_KIND_COUNT] = { 0 };
    struct problems problems;
    problems_init(&problems, NULL);
    for (int kind = 0; kind < RESOURCE_API_KEY; kind++) {
        documents[kind].count = list_all(bed, kind, &entries[kind]);
        struct slice *items = memory_allocate_array(documents[kind].count + 1, sizeof *items);
        for (size_t i = 0; i < documents[kind].count; i++) items[i] = entries[kind][i]->document;
        documents[kind].items = items;
    }
    struct configuration *configuration = configuration_load_with_documents(SLICE_ABSENT, NULL, bed->folder,
                                                                            &bed->kinds, documents, &problems);
    if (problems.count) fail_msg("%s", problems_to_text(&problems));
    for (int kind = 0; kind < RESOURCE_API_KEY; kind++) {
        for (size_t i = 0; i < documents[kind].count; i++) catalog_entry_drop(entries[kind][i]);
        free((void *)(uintptr_t)documents[kind].items);
        free(entries[kind]);
    }
    problems_release(&problems);
    return configuration;
}

static void load_catalog(struct bed *bed)
{
    static const enum resource_kind kinds[] = { RESOURCE_SERVICE, RESOURCE_ROUTE,      RESOURCE_PLUGIN,
                                                RESOURCE_ROLE,    RESOURCE_RATE_LIMIT, RESOURCE_CERTIFICATE };
    struct configuration *configuration = read_catalog(bed);
    for (size_t i = 0; i < COUNT_OF(kinds); i++) put_all(&bed->gateway, configuration, kinds[i]);
    configuration_destroy(configuration);
}

void bed_check(struct bed *bed)
{
    static const enum resource_kind kinds[] = { RESOURCE_SERVICE, RESOURCE_ROUTE,      RESOURCE_PLUGIN,
                                                RESOURCE_ROLE,    RESOURCE_RATE_LIMIT, RESOURCE_CERTIFICATE };
    struct configuration *configuration = read_catalog(bed);
    pthread_mutex_lock(&bed->gateway.lock);
    for (size_t k = 0; k < COUNT_OF(kinds); k++) {
        const struct resource_type *type = &resource_types[kinds[k]];
        const struct object_list *list = list_of(configuration, kinds[k]);
        assert_int_equal(bed->gateway.table[kinds[k]].count, list->count);
        for (size_t i = 0; i < list->count; i++) {
            const char *config = at(list, i, kinds[k]);
            const struct bed_resource *resource = map_find(&bed->gateway.table[kinds[k]],
                                                           slice_at(config, type->id_at));
            assert_non_null(resource);
            assert_slice_is(slice_at(config, type->name_at), resource->name);
            assert_memory_equal(&resource->hash, config + type->hash_at, sizeof resource->hash);
        }
    }
    pthread_mutex_unlock(&bed->gateway.lock);
    configuration_destroy(configuration);
}
