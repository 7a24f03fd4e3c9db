/* changes/keys.c: API keys: rows of the store, for there may be millions. A key's text is made here, shown once and kept nowhere: the store
 * has its hash, answers its first eight characters, revisions only that it was changed. */
#include "changes/private.h"

#include "base/memory.h"
#include "keys/api_keys.h"

#include <xxhash.h>

#define OVERLAP_S_DEFAULT 86400
#define OVERLAP_S_MAX (365 * 86400)
#define PREFIX_LENGTH 8

static const char *const tiers[] = { "free", "standard", "premium" };

/* --- rows as JSON --- */

enum key_view {
    KEY_SHOWN,    /* what GET shows */
    KEY_EDITED,   /* what a PATCH is merged into */
    KEY_COMPARED, /* all that an editor may change: what the ETag is of */
};

static void write_scopes(FILE *out, struct slice scopes)
{
    struct slice scope;
    const char *before = "";
    fputs(",\"scopes\":[", out);
    while (scopes.length && slice_next(&scopes, ' ', &scope)) {
        fputs(before, out);
        text_write_string(out, scope);
        before = ",";
    }
    fputc(']', out);
}

static void write_hash(FILE *out, const uint8_t hash[API_KEY_HASH_BYTES])
{
    fputs(",\"hash\":\"sha256:", out);
    for (size_t i = 0; i < API_KEY_HASH_BYTES; i++) fprintf(out, "%02x", hash[i]);
    fputc('"', out);
}

static void write_row(FILE *out, const struct api_key_row *row, enum key_view view)
{
    fputs("{\"clientName\":", out);
    text_write_string(out, row->client_name);
    text_write_field(out, "id", row->id);
    text_write_field(out, "clientId", row->client_id);
    if (view != KEY_SHOWN) write_hash(out, row->hash);
    if (row->prefix.length) text_write_field(out, "keyPrefix", row->prefix);
    write_scopes(out, row->scopes);
    text_write_field(out, "rateLimitTier", row->rate_limit_tier);
    text_write_time(out, "expiresAt", row->expires_at_us);
    fprintf(out, ",\"enabled\":%s", row->enabled ? "true" : "false");
    if (row->tags.length) fprintf(out, ",\"tags\":%.*s", SLICE_PRINT(row->tags));
    if (view != KEY_EDITED) {
        text_write_moment(out, "createdAt", row->created_us);
        text_write_time(out, "replacesUntil", row->replaces_until_us);
    }
    if (view == KEY_SHOWN) text_write_moment(out, "lastUsedAt", row->last_used_us);
    fputc('}', out);
}

static char *row_text(const struct api_key_row *row, enum key_view view)
{
    char *text = NULL;
    size_t length;
    FILE *out = open_memstream(&text, &length);
    PROMISE(out != NULL);
    write_row(out, row, view);
    return text_finish(out, &text);
}

static void row_etag(const struct api_key_row *row, char into[CHANGES_ETAG_BYTES])
{
    char *text = row_text(row, KEY_COMPARED);
    XXH128_hash_t hash = XXH3_128bits(text, strlen(text));
    changes_etag((struct content_hash){ { hash.high64, hash.low64 } }, into);
    free(text);
}

/* --- looking in the store --- */

struct looking {
    struct arena *arena;
    struct api_key_row row;
    bool found;
};

static struct slice copy(struct arena *arena, struct slice text)
{
    struct slice copied = arena_copy(arena, text);
    PROMISE(copied.at != NULL);
    return copied;
}

static void take_row(void *argument, const struct api_key_row *row)
{
    struct looking *looking = argument;
    looking->row = *row;
    looking->row.id = copy(looking->arena, row->id);
    looking->row.prefix = copy(looking->arena, row->prefix);
    looking->row.client_id = copy(looking->arena, row->client_id);
    looking->row.client_name = copy(looking->arena, row->client_name);
    looking->row.rate_limit_tier = copy(looking->arena, row->rate_limit_tier);
    looking->row.scopes = copy(looking->arena, row->scopes);
    if (row->tags.length) looking->row.tags = copy(looking->arena, row->tags);
    looking->found = true;
}

/* False: *outcome, and order->error. looking->found is for the rest. */
static bool look_for_id(struct changes *changes, struct slice id, struct looking *looking, struct error *into,
                        enum change_outcome *outcome)
{
    struct error error;
    struct api_key_visitor visitor = { take_row, looking };
    looking->found = false;
    if (!is_uuid(id) || store_key_get(changes->store, id, &visitor, &error)) return true;
    *outcome = store_failed(changes, &error, into);
    return false;
}

static bool look_for_hash(struct changes *changes, const uint8_t hash[API_KEY_HASH_BYTES], struct looking *looking,
                          struct error *into, enum change_outcome *outcome)
{
    struct error error;
    struct api_key_visitor visitor = { take_row, looking };
    looking->found = false;
    if (store_key_find(changes->store, hash, &visitor, &error)) return true;
    *outcome = store_failed(changes, &error, into);
    return false;
}

/* --- reading what somebody wrote --- */

static unsigned hex_digit(char digit) { return (unsigned)(digit <= '9' ? digit - '0' : digit - 'a' + 10); }

/* "sha256:<64 hex digits>", checked by its schema. */
static void parse_hash(struct slice text, uint8_t hash[API_KEY_HASH_BYTES])
{
    const char *digits = text.at + sizeof "sha256:" - 1;
    for (size_t i = 0; i < API_KEY_HASH_BYTES; i++)
        hash[i] = (uint8_t)(hex_digit(digits[2 * i]) << 4 | hex_digit(digits[2 * i + 1]));
}

static struct slice join_scopes(struct arena *arena, const struct slice_list *scopes)
{
    size_t length = 0;
    for (size_t i = 0; i < scopes->count; i++) length += scopes->items[i].length + 1;
    char *text = arena_allocate_zeroed(arena, length + 1), *next = text;
    PROMISE(text != NULL);
    for (size_t i = 0; i < scopes->count; i++) {
        if (i) *next++ = ' ';
        memcpy(next, scopes->items[i].at, scopes->items[i].length);
        next += scopes->items[i].length;
    }
    return slice_of(text, (size_t)(next - text));
}

static struct slice write_tags(struct arena *arena, const struct slice_list *tags)
{
    char *text = NULL;
    size_t length;
    if (tags->count == 0) return SLICE_ABSENT;
    FILE *out = open_memstream(&text, &length);
    PROMISE(out != NULL);
    for (size_t i = 0; i < tags->count; i++) {
        fputc(i ? ',' : '[', out);
        text_write_string(out, tags->items[i]);
    }
    fputc(']', out);
    text_finish(out, &text);
    struct slice copied = copy(arena, slice_of(text, length));
    free(text);
    return copied;
}

static const struct api_key_config *read_config(struct draft *draft, const struct node *node, struct slice new_id)
{
    struct schema_reading reading = {
        .arena = &draft->arena, .problems = draft->problems, .kinds = draft->kinds, .folder = draft->folder
    };
    struct resource resource;
    return resource_read(&reading, RESOURCE_API_KEY, node, new_id, NULL, &resource) ? resource.config : NULL;
}

/* What an editor may say of a key. The hash stays as it is. */
static void apply_config(struct draft *draft, const struct api_key_config *config, struct api_key_row *row)
{
    row->id = config->id;
    row->client_name = config->client_name;
    row->scopes = join_scopes(&draft->arena, &config->scopes);
    row->rate_limit_tier = slice_from_cstring(tiers[config->rate_limit_tier]);
    row->expires_at_us = config->expires_at_us;
    row->enabled = config->enabled;
    row->tags = write_tags(&draft->arena, &config->tags);
    if (config->client_id.length) row->client_id = config->client_id;
    if (!slice_is_absent(config->key_prefix)) row->prefix = config->key_prefix;
}

static bool has_other_hash(const struct api_key_config *config, const struct api_key_row *row)
{
    uint8_t hash[API_KEY_HASH_BYTES];
    if (slice_is_absent(config->hash_text)) return false;
    parse_hash(config->hash_text, hash);
    return memcmp(hash, row->hash, sizeof hash) != 0;
}

/* --- answers --- */

static void put_key(struct draft *draft, const struct api_key_row *row, bool is_new)
{
    struct draft_key *key = vector_push(&draft->keys);
    *key = (struct draft_key){ .row = *row, .id = row->id, .name = row->client_name, .is_new = is_new };
}

static void answer_with(struct change_order *order, const struct api_key_row *row)
{
    char etag[CHANGES_ETAG_BYTES];
    row_etag(row, etag);
    order->key_document = row_text(row, KEY_SHOWN);
    order->key_etag = memory_copy_slice(slice_from_cstring(etag));
}

static bool may_go_on(const struct change_order *order, const struct looking *looking, enum change_outcome *outcome)
{
    char etag[CHANGES_ETAG_BYTES];
    if (looking->found) row_etag(&looking->row, etag);
    return edit_may_go_on(order, looking->found ? etag : NULL, outcome);
}

/* A new text: its hash and prefix in the row, itself in the answer, unless nothing comes of it. */
static enum change_outcome make_text(struct draft *draft, struct change_order *order, struct api_key_row *row)
{
    char text[44];
    if (!api_key_generate(text)) {
        error_format(&order->error, "there are no random numbers to make a key of");
        return CHANGE_FAILED;
    }
    api_key_hash(slice_from_cstring(text), row->hash);
    row->prefix = copy(&draft->arena, slice_of(text, PREFIX_LENGTH));
    if (!order->dry_run) order->secret = memory_copy_slice(slice_from_cstring(text));
    explicit_bzero(text, sizeof text);
    return CHANGE_CREATED;
}

/* --- create, put, patch --- */

static enum change_outcome take_hash(struct changes *changes, struct draft *draft, struct change_order *order,
                                     const struct node *body, const struct api_key_config *config,
                                     struct api_key_row *row)
{
    struct looking other = { .arena = &draft->arena };
    enum change_outcome outcome = CHANGE_INVALID;
    parse_hash(config->hash_text, row->hash);
    if (!look_for_hash(changes, row->hash, &other, &order->error, &outcome)) return outcome;
    if (!other.found) return CHANGE_CREATED;
    problems_add(draft->problems, node_find(body, "hash"), NULL, "the API key \"%s\" has this hash already",
                 problems_excerpt(other.row.id).text);
    return CHANGE_INVALID;
}

static enum change_outcome create(struct changes *changes, struct draft *draft, struct change_order *order,
                                  const struct node *body, struct slice id)
{
    const struct api_key_config *config = read_config(draft, body, id);
    enum change_outcome outcome = CHANGE_INVALID;
    struct looking there = { .arena = &draft->arena };
    if (!config || !look_for_id(changes, config->id, &there, &order->error, &outcome)) return outcome;
    if (there.found) return CHANGE_NAME_TAKEN;
    struct api_key_row row = { .created_us = draft->next_us++ };
    apply_config(draft, config, &row);
    if (row.client_id.length == 0) row.client_id = draft_new_id(&draft->arena);
    outcome = slice_is_absent(config->hash_text) ? make_text(draft, order, &row)
                                                 : take_hash(changes, draft, order, body, config, &row);
    if (outcome != CHANGE_CREATED) return outcome;
    put_key(draft, &row, true);
    answer_with(order, &row);
    return outcome;
}

/* `written` is all of it. */
static enum change_outcome update(struct draft *draft, struct change_order *order, const struct node *written,
                                  const struct api_key_row *before)
{
    const struct node *id = node_find(written, "id");
    const struct api_key_config *config = read_config(draft, written, before->id);
    if (!config) return CHANGE_INVALID;
    if (!slice_equal(config->id, before->id))
        problems_add(draft->problems, id, "leave it out", "\"id\" is another one than the address says");
    if (has_other_hash(config, before))
        problems_add(draft->problems, node_find(written, "hash"), "rotate it", "a key's text can't be changed");
    if (draft->problems->count) return CHANGE_INVALID;
    struct api_key_row row = *before;
    char etag_before[CHANGES_ETAG_BYTES], etag[CHANGES_ETAG_BYTES];
    apply_config(draft, config, &row);
    row_etag(before, etag_before);
    row_etag(&row, etag);
    answer_with(order, &row);
    if (strcmp(etag, etag_before) == 0) return CHANGE_NOTHING;
    put_key(draft, &row, false);
    return CHANGE_UPDATED;
}

static enum change_outcome patch(struct draft *draft, struct change_order *order, const struct node *body,
                                 const struct api_key_row *before)
{
    char *text = row_text(before, KEY_EDITED);
    const struct node *target = node_read_json(&draft->arena, slice_from_cstring(text), NULL, draft->problems);
    free(text);
    if (!target) return CHANGE_INVALID;
    return update(draft, order, resource_merge_patch(&draft->arena, RESOURCE_API_KEY, draft->kinds, target, body),
                  before);
}

/* --- delete, rotate --- */

static enum change_outcome take_away_one(struct draft *draft, const struct api_key_row *before)
{
    struct draft_key *key = vector_push(&draft->keys);
    *key = (struct draft_key){ .id = before->id, .name = before->client_name, .is_removed = true };
    return CHANGE_DELETED;
}

static bool read_overlap(struct draft *draft, const struct node *body, int64_t *overlap_s)
{
    struct schema_reading reading = { .arena = &draft->arena, .problems = draft->problems };
    size_t before = draft->problems->count;
    *overlap_s = OVERLAP_S_DEFAULT;
    if (!body) return true;
    if (body->kind != NODE_MAP) problems_add(draft->problems, body, NULL, "send { \"overlap\": SECONDS }");
    for (const struct node *node = body->first; body->kind == NODE_MAP && node; node = node->next) {
        if (!slice_equal(node->key, SLICE("overlap"))) {
            problems_add_at_key(draft->problems, node, "only \"overlap\"", "unknown field \"%s\"",
                                problems_excerpt(node->key).text);
        } else if (node->kind != NODE_NULL) {
            schema_read_integer(&reading, "overlap", 0, OVERLAP_S_MAX, node, overlap_s);
        }
    }
    return draft->problems->count == before;
}

static enum change_outcome rotate(struct draft *draft, struct change_order *order, const struct node *body,
                                  const struct api_key_row *before)
{
    int64_t overlap_s;
    if (!read_overlap(draft, body, &overlap_s)) return CHANGE_INVALID;
    if (before->replaces_until_us) {
        problems_add(draft->problems, NULL, "rotate its successor", "this key was rotated already");
        return CHANGE_INVALID;
    }
    struct api_key_row old = *before, successor = *before;
    /* By the clock, as keys end by it: what the draft counts by may be ahead of it, after somebody else's clock. */
    old.replaces_until_us = now_us() + (uint64_t)overlap_s * 1000000;
    successor.id = draft_new_id(&draft->arena);
    successor.created_us = draft->next_us++;
    successor.last_used_us = 0;
    enum change_outcome outcome = make_text(draft, order, &successor);
    if (outcome != CHANGE_CREATED) return outcome;
    put_key(draft, &old, false);
    put_key(draft, &successor, true);
    answer_with(order, &successor);
    return outcome;
}

enum change_outcome keys_edit(struct changes *changes, struct draft *draft, struct change_order *order,
                              const struct node *body)
{
    if (order->action == CHANGE_CREATE) {
        const struct node *id = node_find(body, "id");
        bool is_said = id && id->kind != NODE_NULL;
        return create(changes, draft, order, body, is_said ? SLICE_ABSENT : draft_new_id(&draft->arena));
    }
    struct slice target = slice_from_cstring(order->target);
    struct looking looking = { .arena = &draft->arena };
    enum change_outcome outcome;
    if (!look_for_id(changes, target, &looking, &order->error, &outcome)) return outcome;
    if (!looking.found && (order->action != CHANGE_PUT || !is_uuid(target))) return CHANGE_NOT_FOUND;
    if (!may_go_on(order, &looking, &outcome)) return outcome;
    switch (order->action) {
    case CHANGE_PUT:
        return looking.found ? update(draft, order, body, &looking.row) : create(changes, draft, order, body, target);
    case CHANGE_PATCH: return patch(draft, order, body, &looking.row);
    case CHANGE_ROTATE_KEY: return rotate(draft, order, body, &looking.row);
    default: return take_away_one(draft, &looking.row);
    }
}

/* --- the list of a whole configuration --- */

static enum change_outcome put_listed(struct changes *changes, struct draft *draft, struct change_order *order,
                                      const struct node *item)
{
    struct looking there = { .arena = &draft->arena };
    enum change_outcome outcome = CHANGE_INVALID;
    const struct api_key_config *config = read_config(draft, item, draft_new_id(&draft->arena));
    if (!config || !look_for_id(changes, config->id, &there, &order->error, &outcome)) return outcome;
    uint8_t hash[API_KEY_HASH_BYTES];
    if (!slice_is_absent(config->hash_text)) {
        parse_hash(config->hash_text, hash);
        if (!there.found && !look_for_hash(changes, hash, &there, &order->error, &outcome)) return outcome;
    } else if (!there.found) {
        problems_add_missing(draft->problems, item, "hash", "create it by itself: its text is shown then");
        return CHANGE_INVALID;
    }
    struct api_key_row row = there.row;
    char before[CHANGES_ETAG_BYTES], after[CHANGES_ETAG_BYTES];
    if (!there.found) {
        row = (struct api_key_row){ .created_us = draft->next_us++ };
        memcpy(row.hash, hash, sizeof hash);
    } else if (has_other_hash(config, &there.row)) {
        problems_add(draft->problems, node_find(item, "hash"), "rotate it", "a key's text can't be changed");
        return CHANGE_INVALID;
    }
    apply_config(draft, config, &row);
    if (there.found) row.id = there.row.id;
    if (row.client_id.length == 0) row.client_id = draft_new_id(&draft->arena);
    if (there.found) row_etag(&there.row, before);
    row_etag(&row, after);
    if (!there.found || strcmp(before, after) != 0) put_key(draft, &row, !there.found);
    return CHANGE_UPDATED;
}

/* What the list has put so far; a list may hold hundreds of thousands. */
struct listed {
    struct map ids, hashes;
};

static bool is_new_to(struct map *map, struct slice key) { return map_set(map, key, map) == NULL; }

/* The last key of the draft is another one's double, by its id or its hash. */
static bool is_given_twice(struct listed *listed, const struct draft *draft)
{
    const struct draft_key *last = vector_at(&draft->keys, draft->keys.count - 1);
    bool has_new_id = is_new_to(&listed->ids, last->id);
    bool has_new_hash = is_new_to(&listed->hashes, slice_of((const char *)last->row.hash, sizeof last->row.hash));
    return !has_new_id || !has_new_hash;
}

/* False: *outcome, for the store could not be asked. */
static bool put_all_listed(struct changes *changes, struct draft *draft, struct change_order *order,
                           const struct node *list, struct listed *listed, enum change_outcome *outcome)
{
    for (const struct node *item = list->first; item; item = item->next) {
        size_t before = draft->keys.count;
        enum change_outcome one = put_listed(changes, draft, order, item);
        if (one != CHANGE_UPDATED && one != CHANGE_INVALID) {
            *outcome = one;
            return false;
        }
        if (one == CHANGE_INVALID) *outcome = CHANGE_INVALID;
        if (draft->keys.count == before || !is_given_twice(listed, draft)) continue;
        problems_add(draft->problems, item, NULL, "this API key is given twice");
        *outcome = CHANGE_INVALID;
    }
    return true;
}

bool keys_edit_list(struct changes *changes, struct draft *draft, struct change_order *order, const struct node *list,
                    enum change_outcome *outcome)
{
    if (list->kind != NODE_LIST) {
        if (list->kind == NODE_NULL) return true;
        problems_add(draft->problems, list, NULL, "\"apiKeys\" must be a list");
        *outcome = CHANGE_INVALID;
        return false;
    }
    if (!changes->store || changes->is_away) { /* a dry run */
        if (list->count == 0) return true;
        order->error = changes->why_away;
        *outcome = changes->options.store ? CHANGE_STORE_AWAY : CHANGE_READ_ONLY;
        return false;
    }
    struct listed listed;
    map_init(&listed.ids);
    map_init(&listed.hashes);
    bool ok = put_all_listed(changes, draft, order, list, &listed, outcome) && *outcome != CHANGE_INVALID;
    map_release(&listed.ids);
    map_release(&listed.hashes);
    return ok;
}

/* --- questions --- */

struct listing {
    FILE *out;
    size_t count, limit;
    uint64_t last_us;
    char last_id[37];
    bool more;
};

static void list_row(void *argument, const struct api_key_row *row)
{
    struct listing *listing = argument;
    if (listing->count == listing->limit) {
        listing->more = true;
        return;
    }
    if (listing->count) fputc(',', listing->out);
    write_row(listing->out, row, KEY_SHOWN);
    listing->count++;
    listing->last_us = row->created_us;
    snprintf(listing->last_id, sizeof listing->last_id, "%.*s", SLICE_PRINT(row->id));
}

static bool parse_cursor(const char *cursor, uint64_t *after_us, struct slice *after_id)
{
    struct slice text = slice_from_cstring(cursor);
    size_t dot = slice_find_byte(text, '.');
    if (dot == SLICE_NOT_FOUND || !slice_parse_uint64(slice_before(text, dot), after_us)) return false;
    *after_id = slice_after(text, dot + 1);
    return *after_us <= INT64_MAX && is_uuid(*after_id);
}

static void answer_list(struct changes *changes, struct change_question *question)
{
    uint64_t after_us = 0;
    struct slice after_id = SLICE_ABSENT;
    if (question->cursor && !parse_cursor(question->cursor, &after_us, &after_id)) {
        error_format(&question->error, "\"cursor\" is none of ours");
        question->outcome = CHANGE_INVALID;
        return;
    }
    char *text = NULL;
    size_t length;
    struct error error;
    struct listing listing = { .out = open_memstream(&text, &length), .limit = question->limit };
    struct api_key_visitor visitor = { list_row, &listing };
    PROMISE(listing.out != NULL);
    fputs("{\"items\":[", listing.out);
    bool ok = store_keys_list(changes->store, after_us, after_id, slice_from_cstring(question->client_id),
                              question->limit + 1, &visitor, &error);
    fputs("],\"nextCursor\":", listing.out);
    if (listing.more) {
        fprintf(listing.out, "\"%llu.%s\"}", (unsigned long long)listing.last_us, listing.last_id);
    } else {
        fputs("null}", listing.out);
    }
    text_finish(listing.out, &text);
    question->outcome = ok ? CHANGE_NOTHING : store_failed(changes, &error, &question->error);
    if (ok) question->document = text;
    if (!ok) free(text);
}

static void answer_one(struct changes *changes, struct change_question *question)
{
    struct arena arena;
    arena_init(&arena, NULL);
    struct looking looking = { .arena = &arena };
    struct slice id = slice_from_cstring(question->target);
    if (look_for_id(changes, id, &looking, &question->error, &question->outcome)) {
        question->outcome = looking.found ? CHANGE_NOTHING : CHANGE_NOT_FOUND;
        if (looking.found) {
            char etag[CHANGES_ETAG_BYTES];
            row_etag(&looking.row, etag);
            question->document = row_text(&looking.row, KEY_SHOWN);
            question->etag = memory_copy_slice(slice_from_cstring(etag));
        }
    }
    arena_release(&arena);
}

void keys_answer(struct changes *changes, struct change_question *question)
{
    if (question->about == QUESTION_API_KEYS) {
        answer_list(changes, question);
    } else {
        answer_one(changes, question);
    }
}
