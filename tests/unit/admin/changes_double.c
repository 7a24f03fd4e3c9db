#include "admin/changes_double.h"

#include "unit_test.h"

#include "base/memory.h"

#include <pthread.h>

/* --- orders and questions as values --- */

struct change_order *change_order_create(enum change_action action, enum resource_kind kind)
{
    struct change_order *order = memory_allocate(sizeof *order);
    order->action = action;
    order->kind = kind;
    problems_init(&order->problems, NULL);
    return order;
}

void change_order_destroy(struct change_order *order)
{
    char *texts[] = { order->target, order->body,   order->if_match, order->if_none_match, order->tag,
                      order->author, order->source, order->comment,  order->secret,        order->key_document };
    for (size_t i = 0; i < COUNT_OF(texts); i++) free(texts[i]);
    catalog_entry_drop(order->before);
    catalog_entry_drop(order->after);
    for (size_t i = 0; i < order->user_count; i++) catalog_entry_drop(order->users[i]);
    free(order->users);
    problems_release(&order->problems);
    free(order);
}

struct change_question *change_question_create(void) { return memory_allocate(sizeof(struct change_question)); }

void change_question_destroy(struct change_question *question)
{
    free(question->target);
    free(question->cursor);
    free(question->client_id);
    free(question->document);
    free(question->etag);
    free(question);
}

/* --- the catalog --- */

struct changes *changes_double_create(const struct policy_kinds *kinds)
{
    struct changes *changes = memory_allocate(sizeof *changes);
    changes->catalog = catalog_create();
    changes->kinds = *kinds;
    changes->health.store_is_there = true;
    changes->answer_to_question = CHANGE_NOTHING;
    changes->clock_us = 1700000000000000;
    snprintf(changes->health.store, sizeof changes->health.store, "sqlite:/var/lib/sluice/sluice.db");
    return changes;
}

void changes_double_destroy(struct changes *changes)
{
    assert_null(changes->held_order);
    assert_null(changes->held_question);
    catalog_destroy(changes->catalog);
    free(changes);
}

/* NULL: *problems. */
static struct catalog_entry *read_entry(struct changes *changes, enum resource_kind kind, const char *json,
                                        struct problems *problems)
{
    struct arena arena;
    struct resource resource;
    struct catalog_entry *entry = NULL;
    arena_init(&arena, NULL);
    struct schema_reading reading = { .arena = &arena, .problems = problems, .kinds = &changes->kinds, .folder = "/" };
    struct resource_directory directory = catalog_directory(changes->catalog);
    const struct node *node = node_read_json(&arena, slice_from_cstring(json), NULL, problems);
    if (node && problems->count == 0 && resource_read(&reading, kind, node, SLICE_ABSENT, &directory, &resource)) {
        struct slice document = resource_write_document(&reading, &resource);
        changes->clock_us += 1000;
        entry = catalog_entry_create(&resource, document, changes->clock_us, changes->clock_us);
    }
    arena_release(&arena);
    return entry;
}

static void apply(struct changes *changes, struct catalog_entry *entry)
{
    struct catalog_change change = { entry->kind, entry->id, entry };
    catalog_apply(changes->catalog, &change, 1, catalog_revision(changes->catalog) + 1);
}

void changes_double_put(struct changes *changes, enum resource_kind kind, const char *json)
{
    struct problems problems;
    problems_init(&problems, NULL);
    struct catalog_entry *entry = read_entry(changes, kind, json, &problems);
    if (!entry) fail_msg("%s: %s", json, problems_to_text(&problems));
    apply(changes, entry);
    problems_release(&problems);
}

/* --- answering --- */

static void keep(char *into, size_t size, const char *text) { snprintf(into, size, "%s", text ? text : ""); }

static void note(struct changes *changes, const struct change_order *order)
{
    changes->orders++;
    changes->action = order->action;
    changes->kind = order->kind;
    keep(changes->target, sizeof changes->target, order->target);
    keep(changes->body, sizeof changes->body, order->body);
    keep(changes->if_match, sizeof changes->if_match, order->if_match);
    keep(changes->if_none_match, sizeof changes->if_none_match, order->if_none_match);
    keep(changes->tag, sizeof changes->tag, order->tag);
    keep(changes->author, sizeof changes->author, order->author);
    keep(changes->source, sizeof changes->source, order->source);
    keep(changes->comment, sizeof changes->comment, order->comment);
    changes->match_required = order->match_required;
    changes->cascade = order->cascade;
    changes->dry_run = order->dry_run;
    if (order->body) assert_int_equal(strlen(order->body), order->body_length);
}

static void make(struct changes *changes, struct change_order *order)
{
    struct catalog_entry *entry = read_entry(changes, order->kind, order->body, &order->problems);
    if (!entry) {
        order->outcome = CHANGE_INVALID;
        return;
    }
    order->after = catalog_entry_retain(entry);
    if (order->dry_run)
        catalog_entry_drop(entry);
    else
        apply(changes, entry);
}

static void answer(struct changes *changes, struct change_order *order)
{
    struct catalog *catalog = changes->catalog;
    order->outcome = changes->answer;
    if (order->action == CHANGE_DELETE && order->outcome == CHANGE_CREATED) order->outcome = CHANGE_DELETED;
    if (order->action == CHANGE_WHOLE && order->outcome == CHANGE_CREATED) order->outcome = CHANGE_UPDATED;
    if (changes->reason) error_set(&order->error, BLAME_US, RETRY_NEVER, 0, changes->reason, "%s", changes->error);
    if (order->outcome == CHANGE_CREATED && order->kind != RESOURCE_API_KEY) make(changes, order);
    if (order->target) order->before = catalog_find(catalog, order->kind, slice_from_cstring(order->target), NULL);
    if (order->kind == RESOURCE_API_KEY) {
        order->key_document = memory_format(
            "{\"id\":\"00000000-0000-4000-8000-000000000001\",\"prefix\":\"abcdefgh\"}");
        order->secret = memory_format("abcdefghijk");
    }
    if (order->outcome == CHANGE_IN_USE) {
        order->users = memory_allocate_array(20, sizeof *order->users);
        order->user_count = catalog_users(catalog, order->kind, order->before->id, order->users, 20);
    }
    if (order->outcome == CHANGE_INVALID && order->problems.count == 0)
        problems_add(&order->problems, NULL, "put it right", "it is wrong");
    order->revision = catalog_revision(catalog);
}

static void *answer_all(void *argument)
{
    struct changes *changes = argument;
    struct change_order *order = changes->held_order;
    struct change_question *question = changes->held_question;
    changes->held_order = NULL;
    changes->held_question = NULL;
    if (order) {
        answer(changes, order);
        order->done(order, order->argument);
    }
    if (question) {
        question->outcome = changes->answer_to_question;
        if (changes->reason)
            error_set(&question->error, BLAME_US, RETRY_NEVER, 0, changes->reason, "%s", changes->error);
        question->document = memory_format("{\"items\":[],\"nextCursor\":null}");
        question->etag = memory_format("00000000000000000000000000000001");
        question->done(question, question->argument);
    }
    return NULL;
}

void changes_double_let_go(struct changes *changes)
{
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, answer_all, changes), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
}

/* --- what the program calls --- */

struct catalog *changes_catalog(struct changes *changes) { return changes->catalog; }

void changes_submit(struct changes *changes, struct change_order *order)
{
    note(changes, order);
    changes->held_order = order;
    if (!changes->holds) changes_double_let_go(changes);
}

void changes_ask(struct changes *changes, struct change_question *question)
{
    changes->questions++;
    changes->asked = *question;
    keep(changes->cursor, sizeof changes->cursor, question->cursor);
    changes->held_question = question;
    if (!changes->holds) changes_double_let_go(changes);
}

void changes_etag(struct content_hash hash, char into[CHANGES_ETAG_BYTES])
{
    snprintf(into, CHANGES_ETAG_BYTES, "%016lx%016lx", (unsigned long)hash.words[0], (unsigned long)hash.words[1]);
}

bool changes_put_kind(const struct change_order *order, enum resource_kind kind)
{
    (void)order;
    return kind == RESOURCE_ROLE; /* one that is not acted on */
}

char *changes_describe(struct changes *changes, const struct change_order *order)
{
    return memory_format("[{\"change\":\"created\"}]");
}

void changes_health(struct changes *changes, struct changes_health *health)
{
    *health = changes->health;
    health->revision = catalog_revision(changes->catalog);
}
