/* changes/order.c: an order's way, step by step; whatever fails before the commit leaves everything as it was. */
#include "changes/private.h"

#include "base/log.h"
#include "base/memory.h"

#include <stdarg.h>

/* --- orders as things --- */

struct change_order *change_order_create(enum change_action action, enum resource_kind kind)
{
    struct change_order *order = memory_allocate(sizeof *order);
    order->action = action;
    order->kind = kind;
    problems_init(&order->problems, NULL);
    return order;
}

static void list_destroy(struct change_list *list)
{
    for (size_t i = 0; list && i < list->count; i++) {
        free(list->items[i].id);
        free(list->items[i].name);
        catalog_entry_drop(list->items[i].before);
        catalog_entry_drop(list->items[i].after);
    }
    free(list);
}

/* Key texts don't stay in freed memory. */
static void forget(char *secret)
{
    if (secret) explicit_bzero(secret, strlen(secret));
    free(secret);
}

void change_order_destroy(struct change_order *order)
{
    if (!order) return;
    free(order->target);
    if (order->body) explicit_bzero(order->body, order->body_length);
    free(order->body);
    free(order->file);
    free(order->left_out);
    free(order->if_match);
    free(order->if_none_match);
    free(order->tag);
    free(order->author);
    free(order->source);
    free(order->comment);
    problems_release(&order->problems);
    catalog_entry_drop(order->before);
    catalog_entry_drop(order->after);
    for (size_t i = 0; i < order->user_count; i++) catalog_entry_drop(order->users[i]);
    free(order->users);
    forget(order->secret);
    free(order->key_document);
    free(order->key_etag);
    list_destroy(order->list);
    free(order);
}

struct change_question *change_question_create(void) { return memory_allocate(sizeof(struct change_question)); }

void change_question_destroy(struct change_question *question)
{
    if (!question) return;
    free(question->target);
    free(question->cursor);
    free(question->client_id);
    free(question->document);
    free(question->etag);
    free(question);
}

/* --- what it did --- */

static char *text_or_null(struct slice text) { return slice_is_absent(text) ? NULL : memory_copy_slice(text); }

static void list_item(struct change_list *list, const struct draft_item *item)
{
    const struct catalog_entry *any = item->after ? item->after : item->before;
    list->items[list->count++] = (struct change_list_item){
        .kind = item->kind,
        .id = memory_copy_slice(item->id),
        .name = memory_copy_slice(any->name),
        .before = item->before ? catalog_entry_retain(item->before) : NULL,
        .after = item->after ? catalog_entry_retain(item->after) : NULL,
        .was_there = item->before != NULL,
        .is_there = item->after != NULL,
    };
}

static void list_key(struct change_list *list, const struct draft_key *key)
{
    list->items[list->count++] = (struct change_list_item){
        .kind = RESOURCE_API_KEY,
        .id = memory_copy_slice(key->id),
        .name = text_or_null(key->name),
        .was_there = !key->is_new,
        .is_there = !key->is_removed,
    };
}

void order_list(struct change_order *order, const struct draft *draft)
{
    size_t room = draft->items.count + draft->keys.count;
    struct change_list *list = memory_allocate(sizeof *list + room * sizeof list->items[0]);
    for (size_t i = 0; i < draft->items.count; i++) {
        if (draft_item_differs(draft_item_at(draft, i))) list_item(list, draft_item_at(draft, i));
    }
    for (size_t i = 0; i < draft->keys.count; i++) list_key(list, vector_at(&draft->keys, i));
    for (size_t i = 0; i < list->count; i++) {
        order->created += !list->items[i].was_there;
        order->deleted += !list->items[i].is_there;
        order->updated += list->items[i].was_there && list->items[i].is_there;
    }
    order->list = list;
}

/* A plugin need not have a name of its own, and an id says nothing to whoever reads. */
static void describe_policy(FILE *out, struct arena *arena, const struct catalog_entry *plugin)
{
    struct problems ignored;
    problems_init(&ignored, NULL);
    text_write_policy(out, node_read_json(arena, plugin->document, NULL, &ignored));
    problems_release(&ignored);
}

static void describe_item(FILE *out, const struct change_list_item *item, const struct policy_kinds *kinds)
{
    const char *word = !item->was_there ? "created" : !item->is_there ? "deleted" : "updated";
    fprintf(out, "{\"kind\":\"%s\"", resource_types[item->kind].path);
    text_write_field(out, "id", slice_from_cstring(item->id));
    text_write_field(out, "name", slice_from_cstring(item->name));
    fprintf(out, ",\"change\":\"%s\"", word);
    if (item->before || item->after) {
        struct arena arena;
        arena_init(&arena, NULL);
        if (item->kind == RESOURCE_PLUGIN) describe_policy(out, &arena, item->after ? item->after : item->before);
        struct slice before = item->before ? item->before->document : SLICE_ABSENT;
        struct slice after = item->after ? item->after->document : SLICE_ABSENT;
        struct slice difference = resource_difference(&arena, item->kind, kinds, before, after);
        fprintf(out, ",\"difference\":%.*s", SLICE_PRINT(difference));
        arena_release(&arena);
    }
    fputc('}', out);
}

char *changes_describe(struct changes *changes, const struct change_order *order)
{
    char *text = NULL;
    size_t length;
    FILE *out = open_memstream(&text, &length);
    PROMISE(out != NULL);
    fputc('[', out);
    for (size_t i = 0; order->list && i < order->list->count; i++) {
        if (i) fputc(',', out);
        describe_item(out, &order->list->items[i], changes->options.kinds);
    }
    fputc(']', out);
    return text_finish(out, &text);
}

bool changes_put_kind(const struct change_order *order, enum resource_kind kind)
{
    for (size_t i = 0; order->list && i < order->list->count; i++) {
        if (order->list->items[i].kind == kind && order->list->items[i].is_there) return true;
    }
    return false;
}

/* --- refusals --- */

void order_answer_away(struct change_order *order, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    char text[sizeof order->error.text];
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    error_set(&order->error, BLAME_US, RETRY_NEVER, 503, "store-unavailable", "%s", text);
    order->outcome = CHANGE_STORE_AWAY;
}

enum change_outcome store_failed(struct changes *changes, const struct error *error, struct error *into)
{
    *into = *error;
    if (strcmp(error->reason, "store-busy") == 0) return CHANGE_STORE_AWAY; /* for this order, and it is not lost */
    if (strcmp(error->reason, "store-unavailable") != 0) return CHANGE_FAILED;
    follow_store_lost(changes, error);
    return CHANGE_STORE_AWAY;
}

static bool is_change(enum change_outcome outcome)
{
    return outcome == CHANGE_CREATED || outcome == CHANGE_UPDATED || outcome == CHANGE_DELETED;
}

/* --- edit --- */

static struct node *parse(struct draft *draft, struct change_order *order, enum change_outcome *outcome)
{
    *outcome = CHANGE_UPDATED;
    if (order->action == CHANGE_DELETE || order->action == CHANGE_ROLLBACK) return NULL;
    if (order->action == CHANGE_ROTATE_KEY && order->body_length == 0) return NULL;
    return order->file ? whole_parse_file(draft, order, outcome) : edit_parse(draft, order, outcome);
}

static enum change_outcome edit_whole(struct changes *changes, struct draft *draft, struct change_order *order,
                                      const struct node *body)
{
    enum change_outcome outcome = whole_edit(draft, order, body);
    const struct node *keys = node_find(body, resource_types[RESOURCE_API_KEY].list_name);
    if (outcome != CHANGE_UPDATED || !keys) return outcome;
    if (order->tag && keys->count > 0) {
        problems_add_at_key(draft->problems, keys, "put them by themselves", "API keys have no tags");
        return CHANGE_INVALID;
    }
    keys_edit_list(changes, draft, order, keys, &outcome);
    return outcome;
}

static enum change_outcome edit(struct changes *changes, struct draft *draft, struct change_order *order,
                                struct node *body)
{
    enum change_outcome outcome;
    if (order->action == CHANGE_WHOLE) {
        outcome = edit_whole(changes, draft, order, body);
    } else if (order->action == CHANGE_ROLLBACK) {
        outcome = history_roll_back(changes, draft, order);
    } else if (order->kind == RESOURCE_API_KEY) {
        outcome = keys_edit(changes, draft, order, body);
    } else {
        outcome = edit_one(draft, order, body);
    }
    return is_change(outcome) && draft_is_empty(draft) ? CHANGE_NOTHING : outcome;
}

/* --- write --- */

static bool write_item(struct changes *changes, const struct draft_item *item, struct error *error)
{
    struct store_row row = {
        .kind = item->kind,
        .id = item->id,
        .document = item->after->document,
        .created_us = item->after->created_us,
        .updated_us = item->after->updated_us,
    };
    return store_put(changes->store, &row, error);
}

static bool write_key(struct changes *changes, const struct draft_key *key, struct error *error)
{
    if (key->is_removed) return store_key_remove(changes->store, key->id, error);
    return store_key_put(changes->store, &key->row, error);
}

/* What goes, and what gets another name, for that may be one that another resource gives up in the same change. */
static bool leaves(const struct draft_item *item)
{
    return item->before && (!item->after || !slice_equal(item->before->name, item->after->name));
}

/* Names are unique in the store and references are checked: what goes goes first, users before what they use, and what is used comes
 * before its users. */
static bool write_rows(struct changes *changes, struct draft *draft, struct error *error)
{
    bool ok = true;
    for (int kind = RESOURCE_API_KEY - 1; kind >= 0; kind--) {
        for (size_t i = 0; i < draft->items.count && ok; i++) {
            const struct draft_item *item = draft_item_at(draft, i);
            if ((int)item->kind == kind && leaves(item)) ok = store_remove(changes->store, kind, item->id, error);
        }
    }
    for (int kind = 0; kind < RESOURCE_API_KEY; kind++) {
        for (size_t i = 0; i < draft->items.count && ok; i++) {
            const struct draft_item *item = draft_item_at(draft, i);
            if ((int)item->kind == kind && item->after && !draft_item_is_same(item))
                ok = write_item(changes, item, error);
        }
    }
    for (size_t i = 0; i < draft->keys.count && ok; i++) ok = write_key(changes, vector_at(&draft->keys, i), error);
    return ok;
}

/* The connection was lost in the very commit: was it written? A server that is slow may be writing it still, but holds the head's lock for
 * as long: whoever has the lock knows. Without it the follower finds out later. */
enum fate { WRITTEN, NOT_WRITTEN, UNKNOWN };

struct fate_question {
    const struct store_revision *ours;
    bool is_there;
};

/* Another instance may have taken the number meanwhile. */
static void compare_revision(void *argument, const struct store_revision *revision)
{
    struct fate_question *question = argument;
    const struct store_revision *ours = question->ours;
    question->is_there = revision->number == ours->number && revision->at_us == ours->at_us &&
                         slice_equal(revision->changes, ours->changes);
}

static enum fate ask_for_fate(struct changes *changes, const struct store_revision *revision)
{
    struct fate_question question = { .ours = revision };
    struct store_revision_visitor visitor = { compare_revision, &question };
    struct error error;
    uint64_t head;
    if (!store_begin(changes->store, &head, &error)) return UNKNOWN;
    bool is_answered = head < revision->number ||
                       store_read_revisions_after(changes->store, revision->number - 1, 1, &visitor, &error);
    store_abort(changes->store);
    if (!is_answered) return UNKNOWN;
    return question.is_there ? WRITTEN : NOT_WRITTEN;
}

static bool commit(struct changes *changes, struct change_order *order, struct store_revision *revision,
                   uint64_t expected, struct error *error)
{
    if (store_commit(changes->store, revision, error)) return true;
    if (strcmp(error->reason, "store-unavailable") != 0) return false;
    revision->number = expected;
    enum fate fate = ask_for_fate(changes, revision);
    order->may_be_written = fate == UNKNOWN;
    if (fate == UNKNOWN) error_prefix(error, "lost while it was written, and it may have been");
    return fate == WRITTEN;
}

/* In a transaction that has begun; it has ended afterwards. False: *error, and nothing of it was written, or order->may_be_written. */
static bool write_all(struct changes *changes, struct draft *draft, struct change_order *order, uint64_t *number,
                      struct error *error)
{
    uint64_t expected = catalog_revision(draft->catalog) + 1;
    if (!write_rows(changes, draft, error)) {
        store_abort(changes->store);
        return false;
    }
    char *text = history_write(draft);
    struct store_revision revision = {
        .at_us = draft->at_us,
        .author = slice_from_cstring(order->author),
        .source = slice_from_cstring(order->source),
        .comment = slice_from_cstring(order->comment),
        .changes = slice_from_cstring(text),
    };
    bool ok = commit(changes, order, &revision, expected, error);
    free(text);
    *number = revision.number;
    return ok;
}

/* --- the steps --- */

/* The head is locked, and the catalog is what it says. False: *outcome. */
static bool begin(struct changes *changes, struct change_order *order, enum change_outcome *outcome)
{
    struct error error;
    for (unsigned tries = 0; tries < 8; tries++) {
        uint64_t head;
        if (!store_begin(changes->store, &head, &error)) {
            *outcome = store_failed(changes, &error, &order->error);
            return false;
        }
        if (follow_is_at(changes, head)) return true;
        /* Others were faster: what they did is read and put in force without keeping them from going on. */
        store_abort(changes->store);
        if (!follow_head(changes, head, &error)) {
            *outcome = store_failed(changes, &error, &order->error);
            return false;
        }
    }
    error_set(&order->error, BLAME_US, RETRY_NEVER, 503, "store-busy",
              "others change the configuration without a pause");
    *outcome = CHANGE_STORE_AWAY;
    return false;
}

static bool may_begin(struct changes *changes, struct change_order *order, enum change_outcome *outcome)
{
    bool needs_store = !order->dry_run || order->kind == RESOURCE_API_KEY || order->action == CHANGE_ROLLBACK;
    if (!changes->options.store && needs_store) {
        *outcome = CHANGE_READ_ONLY;
        return false;
    }
    if (changes->is_away && needs_store) {
        order->error = changes->why_away;
        *outcome = CHANGE_STORE_AWAY;
        return false;
    }
    return true;
}

/* Committed: nothing can fail any more. True: `order` is answered when it is in force. */
static bool take_effect(struct changes *changes, struct draft *draft, struct change_order *order,
                        struct prepared_change *prepared, uint64_t revision)
{
    struct vector keys;
    vector_init(&keys, sizeof(struct slice));
    for (size_t i = 0; i < draft->keys.count; i++)
        vector_push_copy(&keys, &((const struct draft_key *)vector_at(&draft->keys, i))->id);
    order->revision = revision;
    follow_apply(changes, draft, revision, draft->at_us);
    bool waits = changes_answer_in_force(changes, prepared, keys.items, keys.count, order);
    vector_release(&keys);
    return waits;
}

/* From here on the store is locked, unless it is a dry run. True: `order` is answered when it is in force. */
static bool edit_and_write(struct changes *changes, struct draft *draft, struct change_order *order, struct node *body)
{
    struct prepared_change *prepared = NULL;
    struct error error;
    uint64_t revision;
    order->outcome = edit(changes, draft, order, body);
    if (is_change(order->outcome) && !changes_prepare(changes, draft, &prepared)) order->outcome = CHANGE_INVALID;
    if (is_change(order->outcome)) order_list(order, draft);
    order->revision = catalog_revision(changes->catalog);
    if (order->dry_run || !is_change(order->outcome)) {
        if (prepared) changes_abandon(changes, prepared);
        if (!order->dry_run) store_abort(changes->store);
        return false;
    }
    if (!write_all(changes, draft, order, &revision, &error)) {
        if (prepared) changes_abandon(changes, prepared);
        order->outcome = store_failed(changes, &error, &order->error);
        return false;
    }
    return take_effect(changes, draft, order, prepared, revision);
}

bool order_run(struct changes *changes, struct change_order *order)
{
    struct draft draft;
    bool waits = false;
    changes_draft_init(changes, &draft, &order->problems);
    struct node *body = parse(&draft, order, &order->outcome);
    bool is_ready = order->outcome == CHANGE_UPDATED || body;
    if (is_ready && may_begin(changes, order, &order->outcome) &&
        (order->dry_run || begin(changes, order, &order->outcome))) {
        /* What others did since is older. */
        if (draft.at_us <= changes->last_us) draft.at_us = draft.next_us = changes->last_us + 1;
        waits = edit_and_write(changes, &draft, order, body);
    }
    draft_release(&draft);
    return waits;
}
