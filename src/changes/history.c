/* changes/history.c: revisions: written with each change, read by those who follow, undone by a rollback, told to whoever asks. */
#include "changes/private.h"

#include "base/memory.h"

/* --- writing --- */

static void write_document(FILE *out, const char *name, const struct catalog_entry *entry)
{
    struct slice document = entry ? entry->document : SLICE("null");
    fprintf(out, ",\"%s\":%.*s", name, SLICE_PRINT(document));
}

static void write_head(FILE *out, bool *first, enum resource_kind kind, struct slice id, struct slice name)
{
    fprintf(out, "%s{\"kind\":\"%s\"", *first ? "" : ",", resource_types[kind].path);
    text_write_field(out, "id", id);
    text_write_field(out, "name", name);
    *first = false;
}

/* Beside what store.h says, "createdUs": a resource that comes back has the age that it had. */
static void write_item(FILE *out, bool *first, const struct draft_item *item)
{
    const struct catalog_entry *any = item->after ? item->after : item->before;
    write_head(out, first, item->kind, item->id, any->name);
    fprintf(out, ",\"createdUs\":%llu", (unsigned long long)(item->before ? item->before : item->after)->created_us);
    if (item->before && item->after && item->before->created_us != item->after->created_us)
        fprintf(out, ",\"createdUsAfter\":%llu", (unsigned long long)item->after->created_us);
    write_document(out, "before", item->before);
    write_document(out, "after", item->after);
    fputc('}', out);
}

/* That a key was changed, and nothing of it. */
static void write_key(FILE *out, bool *first, const struct draft_key *key)
{
    write_head(out, first, RESOURCE_API_KEY, key->id, key->name);
    fprintf(out, ",\"before\":%s,\"after\":%s}", key->is_new ? "null" : "{}", key->is_removed ? "null" : "{}");
}

char *history_write(const struct draft *draft)
{
    char *text = NULL;
    size_t length;
    bool first = true;
    FILE *out = open_memstream(&text, &length);
    PROMISE(out != NULL);
    fputc('[', out);
    for (size_t i = 0; i < draft->items.count; i++) {
        const struct draft_item *item = draft_item_at(draft, i);
        if (draft_item_differs(item)) write_item(out, &first, item);
    }
    for (size_t i = 0; i < draft->keys.count; i++) write_key(out, &first, vector_at(&draft->keys, i));
    fputc(']', out);
    return text_finish(out, &text);
}

/* --- reading --- */

static const struct node *something(const struct node *map, const char *key)
{
    const struct node *node = node_find(map, key);
    return node && node->kind == NODE_MAP ? node : NULL;
}

static struct slice text_of(const struct node *map, const char *key)
{
    const struct node *node = node_find(map, key);
    return node && node->kind == NODE_SCALAR ? node->text : SLICE_ABSENT;
}

static bool read_change(const struct node *node, struct history_change *change)
{
    const struct resource_type *type = resource_type_find(text_of(node, "kind"));
    *change = (struct history_change){
        .id = text_of(node, "id"),
        .name = text_of(node, "name"),
        .before = something(node, "before"),
        .after = something(node, "after"),
    };
    if (!type || change->id.length == 0) return false;
    change->kind = resource_kind_of(type);
    slice_parse_uint64(text_of(node, "createdUs"), &change->created_us);
    change->created_after_us = change->created_us;
    slice_parse_uint64(text_of(node, "createdUsAfter"), &change->created_after_us);
    return true;
}

bool history_read(struct arena *arena, struct slice text, void (*visit)(void *argument, const struct history_change *),
                  void *argument)
{
    struct problems problems;
    problems_init(&problems, NULL);
    const struct node *list = node_read_json(arena, text, NULL, &problems);
    bool ok = list && list->kind == NODE_LIST && problems.count == 0;
    problems_release(&problems);
    for (const struct node *node = ok ? list->first : NULL; node && ok; node = node->next) {
        struct history_change change;
        ok = read_change(node, &change);
        if (ok) visit(argument, &change);
    }
    return ok;
}

/* --- rollback --- */

#define REVISIONS_AT_ONCE 64
#define CHANGES_LISTED_MAX 100

/* What each resource that was changed since was before its first change. */
struct undoing {
    struct draft *draft;
    struct map first[RESOURCE_KIND_COUNT]; /* by id: struct history_change */
    uint64_t read;                         /* the last revision that was read */
    bool ok;                               /* so far each one followed the one before, and could be read */
    bool has_first;                        /* the one that is looked at changes something for the first time */
};

static bool is_first(const struct undoing *undoing, const struct history_change *change)
{
    return change->kind != RESOURCE_API_KEY && !map_find(&undoing->first[change->kind], change->id);
}

static void look_for_first(void *argument, const struct history_change *change)
{
    struct undoing *undoing = argument;
    undoing->has_first |= is_first(undoing, change);
}

static void note_first(void *argument, const struct history_change *change)
{
    struct undoing *undoing = argument;
    if (!is_first(undoing, change)) return;
    struct history_change *first = arena_allocate_zeroed(&undoing->draft->arena, sizeof *first);
    PROMISE(first != NULL);
    *first = *change;
    map_set(&undoing->first[change->kind], change->id, first);
}

/* What is noted stays as long as the draft. A history is mostly of the same few resources over and over, and may be larger than memory: a
 * revision that tells nothing new is gone when it was looked at. */
static bool read_for_undoing(struct undoing *undoing, struct slice changes)
{
    struct arena passing;
    arena_init(&passing, NULL);
    undoing->has_first = false;
    bool ok = history_read(&passing, changes, look_for_first, undoing);
    arena_release(&passing);
    return ok && (!undoing->has_first || history_read(&undoing->draft->arena, changes, note_first, undoing));
}

static void undo_revision(void *argument, const struct store_revision *revision)
{
    struct undoing *undoing = argument;
    undoing->ok = undoing->ok && revision->number == undoing->read + 1 && read_for_undoing(undoing, revision->changes);
    undoing->read = revision->number;
}

static bool read_all_since(struct changes *changes, struct undoing *undoing, uint64_t head, struct error *error)
{
    struct store_revision_visitor visitor = { undo_revision, undoing };
    while (undoing->ok && undoing->read < head) {
        uint64_t before = undoing->read;
        if (!store_read_revisions_after(changes->store, before, REVISIONS_AT_ONCE, &visitor, error)) return false;
        undoing->ok = undoing->ok && undoing->read > before;
    }
    return true;
}

static void put_back(struct draft *draft, enum resource_kind kind, const struct history_change *first)
{
    if (!first->before) return; /* it was taken away above, and stays so */
    size_t problems_before = draft->problems->count;
    draft->restored_us = first->created_us;
    struct draft_item *item = draft_read(draft, kind, first->before, first->id, NULL);
    draft->restored_us = 0;
    if (item) {
        item->written = NULL;
    } else if (draft->problems->count == problems_before) {
        problems_add(draft->problems, NULL, NULL, "%s \"%s\" can't come back: its name or id is taken",
                     resource_types[kind].word, problems_excerpt(first->name).text);
    }
}

/* First all that was touched goes, so that names are free; then what was there comes back. */
static void undo_all(struct undoing *undoing)
{
    for (int kind = 0; kind < RESOURCE_API_KEY; kind++) {
        struct map_entry *entry;
        for (size_t at = 0; (entry = map_next(&undoing->first[kind], &at));)
            draft_put(undoing->draft, kind, entry->key, NULL, NULL);
    }
    for (int kind = 0; kind < RESOURCE_API_KEY; kind++) {
        struct map_entry *entry;
        for (size_t at = 0; (entry = map_next(&undoing->first[kind], &at));)
            put_back(undoing->draft, kind, entry->value);
    }
}

static enum change_outcome roll_back_to(struct changes *changes, struct draft *draft, struct change_order *order,
                                        uint64_t target, uint64_t head)
{
    struct undoing undoing = { .draft = draft, .read = target, .ok = true };
    struct error error;
    enum change_outcome outcome = CHANGE_UPDATED;
    for (int kind = 0; kind < RESOURCE_KIND_COUNT; kind++) map_init(&undoing.first[kind]);
    if (!read_all_since(changes, &undoing, head, &error)) {
        outcome = store_failed(changes, &error, &order->error);
    } else if (!undoing.ok) {
        problems_add(draft->problems, NULL, "choose a later revision",
                     "revision %llu can't be reached: a revision behind it is missing or damaged",
                     (unsigned long long)target);
        outcome = CHANGE_INVALID;
    } else {
        undo_all(&undoing);
    }
    for (int kind = 0; kind < RESOURCE_KIND_COUNT; kind++) map_release(&undoing.first[kind]);
    return outcome;
}

enum change_outcome history_roll_back(struct changes *changes, struct draft *draft, struct change_order *order)
{
    uint64_t head = catalog_revision(draft->catalog), target;
    char etag[24];
    enum change_outcome outcome;
    if (!slice_parse_uint64(slice_from_cstring(order->target), &target) || target > head) return CHANGE_NOT_FOUND;
    snprintf(etag, sizeof etag, "%llu", (unsigned long long)head);
    if (!edit_may_go_on(order, etag, &outcome)) return outcome;
    outcome = roll_back_to(changes, draft, order, target, head);
    if (outcome != CHANGE_UPDATED) return outcome;
    if (draft->problems->count) return CHANGE_INVALID;
    if (!draft_follow_names(draft)) return draft->users.count ? edit_refused(draft, order) : CHANGE_INVALID;
    if (!order->comment) order->comment = memory_format("rollback to %llu", (unsigned long long)target);
    return CHANGE_UPDATED;
}

/* --- questions --- */

struct telling {
    struct changes *changes;
    FILE *out;
    bool with_differences;
    size_t count, bytes; /* revisions, and what is written in them */
    uint64_t last;
    bool first; /* of the changes of one revision */
    size_t told;
    struct arena *arena;
};

static void tell_difference(struct telling *telling, const struct history_change *change)
{
    struct slice before = change->before ? node_write_json(telling->arena, change->before) : SLICE_ABSENT;
    struct slice after = change->after ? node_write_json(telling->arena, change->after) : SLICE_ABSENT;
    struct slice difference = resource_difference(telling->arena, change->kind, telling->changes->options.kinds, before,
                                                  after);
    fprintf(telling->out, ",\"difference\":%.*s", SLICE_PRINT(difference));
}

static void tell_change(void *argument, const struct history_change *change)
{
    struct telling *telling = argument;
    if (!telling->with_differences && telling->told++ == CHANGES_LISTED_MAX) {
        telling->told--;
        return;
    }
    write_head(telling->out, &telling->first, change->kind, change->id, change->name);
    const char *word = !change->before ? "created" : !change->after ? "deleted" : "updated";
    fprintf(telling->out, ",\"change\":\"%s\"", word);
    if (change->kind == RESOURCE_PLUGIN)
        text_write_policy(telling->out, change->after ? change->after : change->before);
    if (telling->with_differences && change->kind != RESOURCE_API_KEY) tell_difference(telling, change);
    fputc('}', telling->out);
}

static void tell_revision(void *argument, const struct store_revision *revision)
{
    struct telling *telling = argument;
    struct arena arena;
    arena_init(&arena, NULL);
    telling->arena = &arena;
    fprintf(telling->out, "%s{\"revision\":%llu", telling->count ? "," : "", (unsigned long long)revision->number);
    text_write_moment(telling->out, "at", revision->at_us);
    text_write_field(telling->out, "author", revision->author);
    text_write_field(telling->out, "source", revision->source);
    text_write_field(telling->out, "comment", revision->comment);
    fputs(",\"changes\":[", telling->out);
    telling->first = true;
    telling->told = 0;
    history_read(&arena, revision->changes, tell_change, telling);
    fputs("]}", telling->out);
    telling->count++;
    telling->bytes += revision->changes.length;
    telling->last = revision->number;
    arena_release(&arena);
}

/* A revision of a whole configuration is megabytes, and what is read of a thousand of them would keep changes waiting for minutes: a page
 * ends early then. */
#define LIST_BYTES_MAX (4u << 20)
#define LIST_AT_ONCE 64

/* As many as the size of those before lets expect to fit. */
static size_t next_piece(const struct telling *telling, size_t left)
{
    if (telling->count == 0) return left < 4 ? left : 4;
    size_t each = telling->bytes / telling->count + 1, fits = (LIST_BYTES_MAX - telling->bytes) / each + 1;
    if (fits > LIST_AT_ONCE) fits = LIST_AT_ONCE;
    return fits < left ? fits : left;
}

/* False: *error. *more: there are older ones. */
static bool tell_page(struct changes *changes, struct telling *telling, uint64_t before, size_t limit, bool *more,
                      struct error *error)
{
    struct store_revision_visitor visitor = { tell_revision, telling };
    *more = true;
    telling->last = before;
    while (*more && telling->count < limit && telling->bytes < LIST_BYTES_MAX) {
        size_t piece = next_piece(telling, limit - telling->count), told = telling->count;
        if (!store_read_revisions_before(changes->store, telling->last, piece, &visitor, error)) return false;
        *more = telling->count - told == piece && telling->last > 1;
    }
    return true;
}

static void tell_list(struct changes *changes, struct change_question *question, struct telling *telling)
{
    uint64_t before = 0;
    bool more;
    if (question->cursor && !slice_parse_uint64(slice_from_cstring(question->cursor), &before)) {
        error_format(&question->error, "\"cursor\" is none of ours");
        question->outcome = CHANGE_INVALID;
        return;
    }
    struct error error;
    fputs("{\"items\":[", telling->out);
    if (!tell_page(changes, telling, before, question->limit, &more, &error)) {
        question->outcome = store_failed(changes, &error, &question->error);
        return;
    }
    fputs("],\"nextCursor\":", telling->out);
    fprintf(telling->out, more ? "\"%llu\"}" : "null}", (unsigned long long)telling->last);
}

static void tell_one(struct changes *changes, struct change_question *question, struct telling *telling)
{
    uint64_t number;
    struct error error;
    struct store_revision_visitor visitor = { tell_revision, telling };
    telling->with_differences = true;
    question->outcome = CHANGE_NOT_FOUND;
    if (!slice_parse_uint64(slice_from_cstring(question->target), &number) || number == 0 || number >= INT64_MAX)
        return;
    if (!store_read_revisions_after(changes->store, number - 1, 1, &visitor, &error)) {
        question->outcome = store_failed(changes, &error, &question->error);
    } else if (telling->count && telling->last == number) {
        question->outcome = CHANGE_NOTHING;
        question->etag = memory_format("%llu", (unsigned long long)number);
    }
}

void history_answer(struct changes *changes, struct change_question *question)
{
    char *text = NULL;
    size_t length;
    struct telling telling = { .changes = changes, .out = open_memstream(&text, &length) };
    PROMISE(telling.out != NULL);
    question->outcome = CHANGE_NOTHING;
    if (question->about == QUESTION_REVISIONS) {
        tell_list(changes, question, &telling);
    } else {
        tell_one(changes, question, &telling);
    }
    text_finish(telling.out, &text);
    if (question->outcome == CHANGE_NOTHING) {
        question->document = text;
    } else {
        free(text);
    }
}
