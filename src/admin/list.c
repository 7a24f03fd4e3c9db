/* admin/list.c: pages of a kind, and the whole configuration: entries of the catalog written one after the other.
 *
 * A page is a view of one moment; the next one begins behind the last entry's place in the order of age, so entries that come and go meanwhile
 * are neither shown twice nor do they hide others. Hiding secrets reads each document, so after some milliseconds of writing the loop
 * gets its turn: 10,000 routes are exported while others are answered. */
#include "admin/private.h"
#include "base/clock.h"

#include <inttypes.h>

#define WRITE_NS_MAX 4000000u /* at a stretch */

/* --- filters --- */

/* What lists of a kind can be asked for. */
const char *admin_list_queries(const struct resource_type *type)
{
    switch (resource_kind_of(type)) {
    case RESOURCE_ROUTE: return "limit cursor serviceId tag name enabled";
    case RESOURCE_PLUGIN:
    case RESOURCE_RATE_LIMIT: return "limit cursor serviceId routeId tag name enabled";
    case RESOURCE_API_KEY: return "limit cursor clientId";
    default: return "limit cursor tag name";
    }
}

struct entry_filter {
    struct slice service_id, route_id, tag, name; /* absent: any */
    int enabled;                                  /* -1: any */
};

static bool names(const struct catalog_entry *entry, enum resource_kind kind, struct slice id)
{
    for (uint32_t i = 0; i < entry->reference_count; i++) {
        const struct catalog_reference *reference = &entry->references[i];
        if (reference->kind == kind && slice_equal(slice_from_cstring(reference->id), id)) return true;
    }
    return false;
}

/* A plugin's own name, and the kind that is its "name". */
static bool is_called(const struct catalog_entry *entry, struct slice name)
{
    return slice_equal(entry->name, name) ||
           slice_equal(document_string(document_member(entry->document, SLICE("name"))), name);
}

static bool passes(const void *argument, const struct catalog_entry *entry)
{
    const struct entry_filter *filter = argument;
    struct slice enabled = filter->enabled ? SLICE("true") : SLICE("false");
    if (!slice_is_absent(filter->service_id) && !names(entry, RESOURCE_SERVICE, filter->service_id)) return false;
    if (!slice_is_absent(filter->route_id) && !names(entry, RESOURCE_ROUTE, filter->route_id)) return false;
    if (!slice_is_absent(filter->name) && !is_called(entry, filter->name)) return false;
    if (!slice_is_absent(filter->tag) &&
        !document_array_has(document_member(entry->document, SLICE("tags")), filter->tag))
        return false;
    return filter->enabled < 0 || slice_equal(document_member(entry->document, SLICE("enabled")), enabled);
}

/* An id as it is, a name's id, and for what isn't there the text itself, which nothing names. */
static struct slice id_of(struct arena *arena, struct catalog *catalog, enum resource_kind kind, struct slice text)
{
    if (slice_is_absent(text)) return text;
    struct catalog_entry *entry = catalog_find(catalog, kind, text, NULL);
    struct slice id = arena_copy(arena, entry ? entry->id : text);
    PROMISE(id.at != NULL);
    catalog_entry_drop(entry);
    return id;
}

static struct entry_filter filter_of(struct admin_request *request, struct catalog *catalog)
{
    return (struct entry_filter){
        .service_id = id_of(&request->arena, catalog, RESOURCE_SERVICE, request->query.service_id),
        .route_id = id_of(&request->arena, catalog, RESOURCE_ROUTE, request->query.route_id),
        .tag = request->query.tag,
        .name = request->query.name,
        .enabled = request->query.enabled,
    };
}

/* --- cursors: "created_us.id", the one in hexadecimal; nobody's business but ours --- */

static struct slice write_cursor(struct arena *arena, const struct catalog_entry *last)
{
    return arena_format(arena, "%" PRIx64 ".%.*s", last->created_us, SLICE_PRINT(last->id));
}

static bool parse_hexadecimal(struct slice text, uint64_t *value)
{
    *value = 0;
    if (text.length == 0 || text.length > 16) return false;
    for (size_t i = 0; i < text.length; i++) {
        const char *digits = "0123456789abcdef", *digit = memchr(digits, text.at[i], 16);
        if (!digit) return false;
        *value = *value << 4 | (uint64_t)(digit - digits);
    }
    return true;
}

static bool read_cursor(struct slice cursor, uint64_t *after_us, struct slice *after_id)
{
    *after_us = 0;
    *after_id = SLICE_ABSENT;
    if (slice_is_absent(cursor)) return true;
    size_t dot = slice_find_byte(cursor, '.');
    if (dot == SLICE_NOT_FOUND || !parse_hexadecimal(slice_before(cursor, dot), after_us)) return false;
    *after_id = slice_after(cursor, dot + 1);
    return after_id->length == 36;
}

/* --- writing, with pauses --- */

struct admin_listing {
    struct catalog_entry **entries; /* one reference each */
    size_t count, at;
    bool whole;        /* a configuration: by kind, documents alone */
    int kind;          /* whole: whose list is open; -1: none yet */
    struct slice next; /* cursor; absent: it was the last page */
    uint64_t revision;
};

void admin_listing_forget(struct admin_request *request)
{
    struct admin_listing *listing = request->listing;
    if (!listing) return;
    for (size_t i = 0; i < listing->count; i++) catalog_entry_drop(listing->entries[i]);
    free(listing->entries);
    free(listing);
    request->listing = NULL;
}

static void open_lists_up_to(struct admin_request *request, int kind)
{
    struct admin_listing *listing = request->listing;
    while (listing->kind < kind) {
        if (listing->kind >= 0) admin_text_add(&request->text, SLICE("\n],"));
        admin_text_format(&request->text, "\n\"%s\":[", resource_types[++listing->kind].list_name);
    }
}

static void write_next(struct admin_request *request, const struct admin_surroundings *admin)
{
    struct admin_listing *listing = request->listing;
    const struct catalog_entry *entry = listing->entries[listing->at++];
    if (listing->whole) open_lists_up_to(request, (int)entry->kind);
    struct slice comma = request->text.at[request->text.length - 1] == '[' ? SLICE("\n") : SLICE(",\n");
    admin_text_add(&request->text, comma);
    if (listing->whole)
        admin_write_document(&request->text, admin, entry);
    else
        admin_write_entry(&request->text, admin, entry);
}

static enum admin_step end_listing(struct exchange *exchange, struct admin_request *request)
{
    struct admin_listing *listing = request->listing;
    if (listing->whole) {
        open_lists_up_to(request, RESOURCE_API_KEY - 1);
        admin_text_add(&request->text, SLICE("\n]}"));
        admin_answer_json(exchange, request, 200);
        admin_add_etag(exchange, request, arena_format(&request->arena, "%" PRIu64, listing->revision));
    } else {
        admin_text_add(&request->text, SLICE("],\"nextCursor\":"));
        admin_text_add_string(&request->text, listing->next);
        admin_text_add(&request->text, SLICE("}"));
        admin_answer_json(exchange, request, 200);
    }
    admin_add_revision(exchange, request, listing->revision);
    return ADMIN_ANSWERED;
}

static enum admin_step write_on(struct exchange *exchange, struct admin_request *request)
{
    struct admin_listing *listing = request->listing;
    uint64_t begun_ns = clock_monotonic_ns();
    while (listing->at < listing->count) {
        write_next(request, exchange->worker->admin);
        if (clock_monotonic_ns() - begun_ns < WRITE_NS_MAX || listing->at == listing->count) continue;
        admin_wait(exchange, request, 1, write_on);
        return ADMIN_WAITS;
    }
    return end_listing(exchange, request);
}

/* --- a page --- */

static struct admin_listing *listing_create(struct admin_request *request, size_t room)
{
    struct admin_listing *listing = memory_allocate(sizeof *listing);
    listing->entries = memory_allocate_array(room ? room : 1, sizeof *listing->entries);
    listing->kind = -1;
    request->listing = listing;
    return listing;
}

static enum admin_step keys_listed(struct exchange *exchange, struct admin_request *request,
                                   struct change_question *question)
{
    if (admin_refuse_question(exchange, request, question)) return ADMIN_ANSWERED;
    admin_text_add(&request->text, slice_from_cstring(question->document));
    return admin_answer_json(exchange, request, 200);
}

static enum admin_step list_keys(struct exchange *exchange, struct admin_request *request)
{
    struct change_question *question = admin_question_create(request);
    question->about = QUESTION_API_KEYS;
    if (!slice_is_absent(request->query.client_id)) question->client_id = memory_copy_slice(request->query.client_id);
    return admin_errand_ask(exchange, request, question, keys_listed);
}

enum admin_step admin_list(struct exchange *exchange, struct admin_request *request)
{
    struct changes *changes = admin_changes(exchange, request);
    uint64_t after_us;
    struct slice after_id;
    bool more;
    if (!changes) return ADMIN_ANSWERED;
    enum resource_kind kind = resource_kind_of(request->place.type);
    if (kind == RESOURCE_API_KEY) return list_keys(exchange, request);
    if (!read_cursor(request->query.cursor, &after_us, &after_id))
        return admin_refuse(exchange, request, 400, "bad-cursor", "take nextCursor as it was given, or begin without",
                            "the cursor is not one of this list's");
    struct catalog *catalog = changes_catalog(changes);
    struct entry_filter filter = filter_of(request, catalog);
    struct admin_listing *listing = listing_create(request, request->query.limit);
    listing->revision = catalog_revision(catalog);
    listing->count = catalog_list(catalog, kind, after_us, after_id, passes, &filter, listing->entries,
                                  request->query.limit, &more);
    if (more && listing->count > 0) listing->next = write_cursor(&request->arena, listing->entries[listing->count - 1]);
    admin_text_add(&request->text, SLICE("{\"items\":["));
    return write_on(exchange, request);
}

/* --- the whole --- */

static void take_kind(struct admin_listing *listing, struct catalog *catalog, enum resource_kind kind,
                      const struct entry_filter *filter)
{
    bool more = true;
    while (more) {
        size_t room = catalog_count(catalog, kind) + 16, before = listing->count;
        listing->entries = memory_resize(listing->entries, (before + room) * sizeof *listing->entries);
        listing->count += catalog_list(catalog, kind, 0, SLICE_ABSENT, passes, filter, listing->entries + before, room,
                                       &more);
        while (more && listing->count > before) catalog_entry_drop(listing->entries[--listing->count]);
    }
}

enum admin_step admin_config_get(struct exchange *exchange, struct admin_request *request)
{
    struct changes *changes = admin_changes(exchange, request);
    if (!changes) return ADMIN_ANSWERED;
    struct catalog *catalog = changes_catalog(changes);
    struct entry_filter filter = filter_of(request, catalog);
    do { /* all kinds as of one revision */
        admin_listing_forget(request);
        struct admin_listing *listing = listing_create(request, 0);
        listing->whole = true;
        listing->revision = catalog_revision(catalog);
        for (int kind = 0; kind < RESOURCE_API_KEY; kind++) {
            take_kind(listing, catalog, (enum resource_kind)kind, &filter);
        }
    } while (catalog_revision(catalog) != request->listing->revision);
    admin_text_add(&request->text, SLICE("{"));
    return write_on(exchange, request);
}
