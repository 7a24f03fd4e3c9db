/* admin/resources.c: one resource: shown as it is in the catalog, changed by an order to the changes thread. */
#include "admin/private.h"
#include "base/clock.h"
#include "config/path_warning.h"

#include <inttypes.h>

/* --- showing --- */

/* The document up to its closing brace, which the caller writes. */
static void write_open_document(struct admin_text *text, const struct admin_surroundings *admin,
                                const struct catalog_entry *entry)
{
    struct arena arena;
    arena_init(&arena, NULL);
    struct slice shown = resource_hide_secrets(&arena, entry->kind, admin->kinds, entry->document);
    PROMISE(shown.length >= 2);
    admin_text_add(text, slice_before(shown, shown.length - 1));
    arena_release(&arena);
}

static void write_times(struct admin_text *text, const struct catalog_entry *entry)
{
    char time[CLOCK_ISO8601_BYTES];
    clock_write_iso8601(entry->created_us * 1000, time);
    admin_text_add_key(text, "createdAt"), admin_text_add_string(text, slice_from_cstring(time));
    clock_write_iso8601(entry->updated_us * 1000, time);
    admin_text_add_key(text, "updatedAt"), admin_text_add_string(text, slice_from_cstring(time));
}

void admin_write_document(struct admin_text *text, const struct admin_surroundings *admin,
                          const struct catalog_entry *entry)
{
    write_open_document(text, admin, entry);
    admin_text_add(text, SLICE("}"));
}

void admin_write_entry(struct admin_text *text, const struct admin_surroundings *admin,
                       const struct catalog_entry *entry)
{
    write_open_document(text, admin, entry);
    write_times(text, entry);
    admin_text_add(text, SLICE("}"));
}

/* False: the service has no checks. */
static bool write_health(struct admin_text *text, const struct admin_surroundings *admin,
                         const struct catalog_entry *entry)
{
    if (entry->kind != RESOURCE_SERVICE || !admin->instances) return false;
    char *health = admin->instances(admin->argument, entry->id);
    if (!health) return false;
    admin_text_add_key(text, "instanceHealth"), admin_text_add(text, slice_from_cstring(health));
    free(health);
    return true;
}

void admin_add_warning(struct admin_text *text, const struct resource_type *type)
{
    const char *article = strchr("aeiouAEIOU", type->word[0]) ? "an" : "a";
    admin_text_format(text, "\"it is stored, but this version of Sluice does not act on %s %s yet\"", article,
                      type->word);
}

static void write_warnings(struct admin_text *text, const struct resource_type *type)
{
    if (type->is_acted_on) return;
    admin_text_add_key(text, "warnings"), admin_text_add(text, SLICE("["));
    admin_add_warning(text, type);
    admin_text_add(text, SLICE("]"));
}

/* Of a path that hardly means what was meant. */
static void write_path_warning(struct admin_text *text, const struct catalog_entry *entry)
{
    char words[PATH_WARNING_BYTES];
    if (entry->kind != RESOURCE_ROUTE) return;
    struct slice path = document_string(document_member(entry->document, SLICE("path")));
    if (slice_find_byte(path, '\\') != SLICE_NOT_FOUND || !path_warning(path, words)) return;
    admin_text_add_key(text, "warnings"), admin_text_add(text, SLICE("["));
    admin_text_add_string(text, slice_from_cstring(words));
    admin_text_add(text, SLICE("]"));
}

struct changes *admin_changes(struct exchange *exchange, struct admin_request *request)
{
    struct changes *changes = exchange->worker->admin->changes;
    if (!changes) {
        admin_refuse(exchange, request, 503, "no-configuration", NULL,
                     "this gateway keeps no configuration that could be asked for");
    }
    return changes;
}

/* All lines of a list as one (RFC 9110 5.3); absent: there is none. */
static struct slice whole_field(const struct exchange *exchange, struct admin_request *request, struct slice name)
{
    const struct headers *headers = &exchange->request->headers;
    const struct header *header = headers_find(headers, name);
    struct slice all = header ? header->value : SLICE_ABSENT;
    while (header && (header = headers_find_next(headers, header))) {
        all = arena_format(&request->arena, "%.*s, %.*s", SLICE_PRINT(all), SLICE_PRINT(header->value));
        PROMISE(all.at != NULL);
    }
    return all;
}

/* Preconditions come in this order (RFC 9110 13.2.2): If-Match first. */
static enum admin_step show(struct exchange *exchange, struct admin_request *request, const struct catalog_entry *entry)
{
    char etag[CHANGES_ETAG_BYTES];
    struct slice wanted = whole_field(exchange, request, SLICE("If-Match"));
    struct slice unwanted = whole_field(exchange, request, SLICE("If-None-Match"));
    struct admin_text *text = &request->text;
    changes_etag(entry->hash, etag);
    if (!slice_is_absent(wanted) && !admin_etag_list_has(wanted, slice_from_cstring(etag), false)) {
        admin_refuse(exchange, request, 412, "changed-meanwhile", "read it without If-Match",
                     "it is not what If-Match says: somebody has changed it meanwhile");
        admin_add_etag(exchange, request, slice_from_cstring(etag));
        return ADMIN_ANSWERED;
    }
    write_open_document(text, exchange->worker->admin, entry);
    write_times(text, entry);
    bool is_stable = !write_health(text, exchange->worker->admin, entry);
    admin_text_add(text, SLICE("}"));
    if (is_stable && !slice_is_absent(unwanted) && admin_etag_list_has(unwanted, slice_from_cstring(etag), true))
        admin_answer_empty(exchange, 304);
    else
        admin_answer_json(exchange, request, 200);
    admin_add_etag(exchange, request, slice_from_cstring(etag));
    return ADMIN_ANSWERED;
}

static enum admin_step key_found(struct exchange *exchange, struct admin_request *request,
                                 struct change_question *question)
{
    if (question->outcome == CHANGE_NOT_FOUND) return admin_refuse_unknown(exchange, request);
    if (question->outcome == CHANGE_AMBIGUOUS) return admin_refuse_ambiguous(exchange, request);
    if (admin_refuse_question(exchange, request, question)) return ADMIN_ANSWERED;
    admin_text_add(&request->text, slice_from_cstring(question->document));
    admin_answer_json(exchange, request, 200);
    if (question->etag) admin_add_etag(exchange, request, slice_from_cstring(question->etag));
    return ADMIN_ANSWERED;
}

static enum admin_step get_key(struct exchange *exchange, struct admin_request *request)
{
    struct change_question *question = admin_question_create(request);
    question->about = QUESTION_API_KEY;
    question->target = memory_copy_slice(request->place.target);
    return admin_errand_ask(exchange, request, question, key_found);
}

struct catalog_entry *admin_find_entry(struct exchange *exchange, struct admin_request *request,
                                       struct changes *changes)
{
    bool is_ambiguous = false;
    struct catalog_entry *entry = catalog_find_addressed(
        changes_catalog(changes), resource_kind_of(request->place.type), request->place.target, &is_ambiguous);
    if (entry && !is_ambiguous) return entry;
    catalog_entry_drop(entry);
    if (is_ambiguous)
        admin_refuse_ambiguous(exchange, request);
    else
        admin_refuse_unknown(exchange, request);
    return NULL;
}

enum admin_step admin_get(struct exchange *exchange, struct admin_request *request)
{
    struct changes *changes = admin_changes(exchange, request);
    if (!changes) return ADMIN_ANSWERED;
    if (resource_kind_of(request->place.type) == RESOURCE_API_KEY) return get_key(exchange, request);
    struct catalog_entry *entry = admin_find_entry(exchange, request, changes);
    if (!entry) return ADMIN_ANSWERED;
    enum admin_step step = show(exchange, request, entry);
    catalog_entry_drop(entry);
    return step;
}

/* --- orders --- */

/* NULL: the field is not there. If-Match compares strongly, If-None-Match weakly (RFC 9110 13.1). */
static char *etags_of(const struct exchange *exchange, struct admin_request *request, struct slice name, bool weak_too)
{
    struct slice list = whole_field(exchange, request, name);
    return slice_is_absent(list) ? NULL : admin_etag_list(list, weak_too);
}

static char *copy_where_given(struct slice text) { return slice_is_absent(text) ? NULL : memory_copy_slice(text); }

/* A large one is handed over, not copied. */
static void give_body(struct admin_request *request, struct change_order *order)
{
    struct slice body = admin_text_slice(&request->body), kept = body;
    if (!slice_is_absent(request->inner_body)) kept = request->inner_body;
    if (order->action != CHANGE_WHOLE) kept = document_without_read_only(&request->arena, kept);
    order->body_length = kept.length;
    if (kept.length == 0) return;
    if (kept.at != body.at) {
        order->body = memory_copy_slice(kept);
        return;
    }
    order->body = request->body.at;
    request->body = (struct admin_text){ 0 };
    admin_body_is_given(request);
}

struct change_order *admin_order_create(const struct exchange *exchange, struct admin_request *request,
                                        enum change_action action, enum resource_kind kind)
{
    struct change_order *order = change_order_create(action, kind);
    order->target = copy_where_given(request->place.target);
    give_body(request, order);
    order->if_match = etags_of(exchange, request, SLICE("If-Match"), false);
    order->if_none_match = etags_of(exchange, request, SLICE("If-None-Match"), true);
    order->match_required = request->match_required && !request->query.dry_run;
    order->cascade = request->query.cascade;
    order->dry_run = request->query.dry_run;
    order->tag = copy_where_given(request->query.tag);
    order->author = memory_copy_slice(slice_from_cstring(request->author));
    order->source = memory_copy_slice(exchange->client_ip);
    order->comment = copy_where_given(request->query.comment);
    return order;
}

struct change_question *admin_question_create(struct admin_request *request)
{
    struct change_question *question = change_question_create();
    question->limit = request->query.limit;
    question->cursor = copy_where_given(request->query.cursor);
    return question;
}

static enum admin_step answer_dry_run(struct exchange *exchange, struct admin_request *request,
                                      const struct change_order *order)
{
    char *list = changes_describe(exchange->worker->admin->changes, order);
    struct admin_text *text = &request->text;
    admin_text_add(text, SLICE("{"));
    admin_text_add_key(text, "valid"), admin_text_add(text, SLICE("true"));
    admin_text_add_key(text, "outcome");
    admin_text_add_string(text, slice_from_cstring(admin_outcome_word(order->outcome)));
    admin_text_add_key(text, "changes"), admin_text_add(text, list ? slice_from_cstring(list) : SLICE("[]"));
    admin_text_add(text, SLICE("}"));
    free(list);
    return admin_answer_json(exchange, request, 200);
}

/* --- the answers to changes of one resource --- */

static struct slice location_of(struct admin_request *request, struct slice id)
{
    return arena_format(&request->arena, "/admin/%s/%.*s", request->place.type->path, SLICE_PRINT(id));
}

/* The key's text is in this one answer and nowhere else. */
static void write_key(struct admin_text *text, const struct change_order *order)
{
    struct slice document = slice_from_cstring(order->key_document ? order->key_document : "{}");
    while (document.length > 0 && document.at[document.length - 1] != '}') document.length--;
    PROMISE(document.length >= 2);
    admin_text_add(text, slice_before(document, document.length - 1));
    if (order->secret) admin_text_add_key(text, "key"), admin_text_add_string(text, slice_from_cstring(order->secret));
}

static enum admin_step answer_key(struct exchange *exchange, struct admin_request *request,
                                  const struct change_order *order, unsigned status)
{
    struct admin_text *text = &request->text;
    struct slice id = document_string(document_member(slice_from_cstring(order->key_document), SLICE("id")));
    write_key(text, order);
    write_warnings(text, request->place.type);
    admin_text_add(text, SLICE("}"));
    admin_answer_json(exchange, request, status);
    if (order->key_etag) admin_add_etag(exchange, request, slice_from_cstring(order->key_etag));
    if (status == 201 && !slice_is_absent(id)) admin_add_header(exchange, SLICE("Location"), location_of(request, id));
    return ADMIN_ANSWERED;
}

static enum admin_step answer_entry(struct exchange *exchange, struct admin_request *request,
                                    const struct change_order *order, unsigned status)
{
    const struct catalog_entry *entry = order->after ? order->after : order->before;
    struct admin_text *text = &request->text;
    char etag[CHANGES_ETAG_BYTES];
    PROMISE(entry != NULL);
    write_open_document(text, exchange->worker->admin, entry);
    write_times(text, entry);
    write_warnings(text, request->place.type);
    write_path_warning(text, entry);
    admin_text_add(text, SLICE("}"));
    admin_answer_json(exchange, request, status);
    changes_etag(entry->hash, etag);
    admin_add_etag(exchange, request, slice_from_cstring(etag));
    if (status == 201) admin_add_header(exchange, SLICE("Location"), location_of(request, entry->id));
    return ADMIN_ANSWERED;
}

static enum admin_step changed(struct exchange *exchange, struct admin_request *request, struct change_order *order)
{
    unsigned status = order->outcome == CHANGE_CREATED ? 201 : 200;
    if (admin_refuse_outcome(exchange, request, order)) return ADMIN_ANSWERED;
    if (order->dry_run) return answer_dry_run(exchange, request, order);
    if (order->action == CHANGE_DELETE)
        admin_answer_empty(exchange, 204);
    else if (order->kind == RESOURCE_API_KEY)
        answer_key(exchange, request, order, status);
    else
        answer_entry(exchange, request, order, status);
    admin_add_revision(exchange, request, order->revision);
    return ADMIN_ANSWERED;
}

static enum admin_step change(struct exchange *exchange, struct admin_request *request, enum change_action action)
{
    if (!admin_changes(exchange, request)) return ADMIN_ANSWERED;
    enum resource_kind kind = resource_kind_of(request->place.type);
    return admin_errand_order(exchange, request, admin_order_create(exchange, request, action, kind), changed);
}

enum admin_step admin_create(struct exchange *exchange, struct admin_request *request)
{
    return change(exchange, request, CHANGE_CREATE);
}

enum admin_step admin_put(struct exchange *exchange, struct admin_request *request)
{
    return change(exchange, request, CHANGE_PUT);
}

enum admin_step admin_patch(struct exchange *exchange, struct admin_request *request)
{
    return change(exchange, request, CHANGE_PATCH);
}

enum admin_step admin_delete(struct exchange *exchange, struct admin_request *request)
{
    return change(exchange, request, CHANGE_DELETE);
}

enum admin_step admin_rotate_key(struct exchange *exchange, struct admin_request *request)
{
    return change(exchange, request, CHANGE_ROTATE_KEY);
}
