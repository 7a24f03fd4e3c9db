/* admin/outcome.c: what became of an order or a question, in statuses and in words that say what to do. */
#include "admin/private.h"

const char *admin_outcome_word(enum change_outcome outcome)
{
    switch (outcome) {
    case CHANGE_CREATED: return "created";
    case CHANGE_UPDATED: return "updated";
    case CHANGE_DELETED: return "deleted";
    default: return "unchanged";
    }
}

enum admin_step admin_refuse_unknown(struct exchange *exchange, struct admin_request *request)
{
    const struct resource_type *type = request->place.type;
    struct excerpt shown = problems_excerpt(request->place.target);
    bool by_id_alone = resource_kind_of(type) == RESOURCE_API_KEY; /* a client may have several */
    struct slice list = arena_format(&request->arena, "%sGET /admin/%s lists what there is",
                                     by_id_alone ? "it goes by its id: " : "", type->path);
    return admin_refuse(exchange, request, 404, "not-found", list.at, "there is no %s \"%s\"", type->word, shown.text);
}

enum admin_step admin_refuse_ambiguous(struct exchange *exchange, struct admin_request *request)
{
    const struct resource_type *type = request->place.type;
    struct excerpt shown = problems_excerpt(request->place.target);
    return admin_refuse(exchange, request, 409, "ambiguous-name", "say its id", "several of the %s are called \"%s\"",
                        type->path, shown.text);
}

static const char *subject(struct admin_request *request)
{
    const struct resource_type *type = request->place.type;
    struct excerpt shown = problems_excerpt(request->place.target);
    if (!type) return "the configuration";
    if (slice_is_absent(request->place.target)) return type->word;
    struct slice text = arena_format(&request->arena, "%s \"%s\"", type->word, shown.text);
    PROMISE(text.at != NULL);
    return text.at;
}

static enum admin_step refuse_stale(struct exchange *exchange, struct admin_request *request,
                                    const struct change_order *order)
{
    char etag[CHANGES_ETAG_BYTES];
    if (order->before) changes_etag(order->before->hash, etag);
    if (order->before && order->if_none_match &&
        admin_etag_list_has(slice_from_cstring(order->if_none_match), slice_from_cstring(etag), true))
        return admin_refuse(exchange, request, 412, "exists", NULL,
                            "%s is there already, and If-None-Match rules that out", subject(request));
    admin_refuse(exchange, request, 412, "changed-meanwhile", "read it again, and make your change on top of that",
                 "%s is not what If-Match says: somebody has changed it meanwhile", subject(request));
    if (!order->before) return ADMIN_ANSWERED;
    admin_add_etag(exchange, request, slice_from_cstring(etag));
    return ADMIN_ANSWERED;
}

static enum admin_step refuse_read_only(struct exchange *exchange, struct admin_request *request)
{
    admin_refuse(exchange, request, 405, "store-is-read-only",
                 "change the file and run `sluice reload`, or keep the configuration in a store: `sluice import`",
                 "this gateway's configuration is a file, which the admin API does not write");
    admin_add_header(exchange, SLICE("Allow"), SLICE("GET, HEAD"));
    return ADMIN_ANSWERED;
}

static enum admin_step refuse_store(struct exchange *exchange, struct admin_request *request,
                                    enum change_outcome outcome, const struct error *error)
{
    const char *reason = error->reason ? error->reason : "store-failed";
    bool is_full = strcmp(reason, "store-full") == 0;
    if (strcmp(reason, "store-busy") == 0)
        return admin_refuse(exchange, request, 503, reason, "try again in a moment", "nothing was changed: %s",
                            error->text);
    if (outcome == CHANGE_STORE_AWAY) {
        return admin_refuse(exchange, request, 503, "store-unavailable",
                            "traffic goes on with the configuration in force; try again when the store is back",
                            "the store cannot be used right now, nothing was changed: %s", error->text);
    }
    return admin_refuse(exchange, request, is_full ? 507 : 500, reason, NULL, "nothing was changed: %s", error->text);
}

static enum admin_step refuse_order_by_store(struct exchange *exchange, struct admin_request *request,
                                             const struct change_order *order)
{
    if (!order->may_be_written) return refuse_store(exchange, request, order->outcome, &order->error);
    return admin_refuse(exchange, request, 503, "store-unavailable",
                        "look before you repeat it: GET /admin/revisions tells, when the store is back",
                        "the store cannot be used right now: %s", order->error.text);
}

static enum admin_step refuse_nothing_there(struct exchange *exchange, struct admin_request *request)
{
    if (request->place.type) return admin_refuse_unknown(exchange, request);
    struct excerpt shown = problems_excerpt(request->place.target);
    return admin_refuse(exchange, request, 404, "not-found", "GET /admin/revisions lists what there is",
                        "there is no revision \"%s\"", shown.text);
}

static enum admin_step refuse_match_required(struct exchange *exchange, struct admin_request *request)
{
    return admin_refuse(exchange, request, 428, "match-required",
                        "read it, and send its ETag back as If-Match; where it is new, If-None-Match: *",
                        "this gateway wants to know which version is changed (admin.requireIfMatch)");
}

static enum admin_step refuse_mistakes(struct exchange *exchange, struct admin_request *request,
                                       const struct problems *problems)
{
    return admin_refuse_problems(exchange, request, 422, "invalid", problems, "%zu %s in the way; nothing was changed",
                                 problems->mistakes, problems->mistakes == 1 ? "mistake stands" : "mistakes stand");
}

static enum admin_step refuse_users(struct exchange *exchange, struct admin_request *request,
                                    const struct change_order *order)
{
    if (order->outcome == CHANGE_IN_USE) {
        return admin_refuse_users(exchange, request, "in-use",
                                  "change or delete what uses it first, or delete all of it with ?cascade=true", order,
                                  "%s is in use", subject(request));
    }
    return admin_refuse_users(exchange, request, "name-taken", "PUT or PATCH the one that has it, or choose another",
                              order, "the name or the id is taken");
}

bool admin_refuse_outcome(struct exchange *exchange, struct admin_request *request, const struct change_order *order)
{
    switch (order->outcome) {
    case CHANGE_CREATED:
    case CHANGE_UPDATED:
    case CHANGE_DELETED:
    case CHANGE_NOTHING: return false;
    case CHANGE_NOT_FOUND: refuse_nothing_there(exchange, request); break;
    case CHANGE_AMBIGUOUS: admin_refuse_ambiguous(exchange, request); break;
    case CHANGE_NAME_TAKEN:
    case CHANGE_IN_USE: refuse_users(exchange, request, order); break;
    case CHANGE_STALE: refuse_stale(exchange, request, order); break;
    case CHANGE_MATCH_REQUIRED: refuse_match_required(exchange, request); break;
    case CHANGE_INVALID: refuse_mistakes(exchange, request, &order->problems); break;
    case CHANGE_UNREADABLE:
        admin_refuse_problems(exchange, request, 400, "unreadable", &order->problems, "the body is not readable JSON");
        break;
    case CHANGE_READ_ONLY: refuse_read_only(exchange, request); break;
    case CHANGE_STORE_AWAY:
    case CHANGE_FAILED: refuse_order_by_store(exchange, request, order); break;
    }
    return true;
}

static void refuse_without_store(struct exchange *exchange, struct admin_request *request,
                                 const struct change_question *question)
{
    bool about_keys = question->about == QUESTION_API_KEYS || question->about == QUESTION_API_KEY;
    admin_refuse(exchange, request, 404, "store-is-read-only",
                 about_keys ? "look into the file's \"apiKeys\", or keep the configuration in a store: `sluice import`"
                            : "keep the configuration in a store: `sluice import`",
                 about_keys
                     ? "this gateway's configuration is a file, and the keys of a file are in force but not shown here"
                     : "this gateway's configuration is a file, which has no history");
}

bool admin_refuse_question(struct exchange *exchange, struct admin_request *request,
                           const struct change_question *question)
{
    switch (question->outcome) {
    case CHANGE_NOTHING: return false;
    case CHANGE_NOT_FOUND: refuse_nothing_there(exchange, request); return true;
    case CHANGE_READ_ONLY: refuse_without_store(exchange, request, question); return true;
    case CHANGE_INVALID:
        admin_refuse(exchange, request, 400, "bad-cursor", "take nextCursor as it was given, or begin without",
                     "the cursor is not one of this list's");
        return true;
    case CHANGE_STORE_AWAY:
        admin_refuse(exchange, request, 503, "store-unavailable", NULL, "the store cannot be read right now: %s",
                     question->error.text);
        return true;
    default: refuse_store(exchange, request, CHANGE_FAILED, &question->error); return true;
    }
}
