/* admin/whole.c: what is larger than one resource: a whole configuration, changes that are only tried, and the history. */
#include "admin/private.h"

#include <inttypes.h>

/* --- PUT /admin/config, rollback --- */

static void write_warnings(struct admin_text *text, const struct change_order *order)
{
    const char *between = NULL;
    for (int kind = 0; kind < RESOURCE_KIND_COUNT; kind++) {
        if (resource_types[kind].is_acted_on || !changes_put_kind(order, kind)) continue;
        if (!between) admin_text_add_key(text, "warnings");
        admin_text_add(text, slice_from_cstring(between ? between : "["));
        admin_add_warning(text, &resource_types[kind]);
        between = ",";
    }
    if (between) admin_text_add(text, SLICE("]"));
}

static enum admin_step whole_changed(struct exchange *exchange, struct admin_request *request,
                                     struct change_order *order)
{
    struct admin_text *text = &request->text;
    if (admin_refuse_outcome(exchange, request, order)) return ADMIN_ANSWERED;
    char *list = changes_describe(exchange->worker->admin->changes, order);
    admin_text_add(text, SLICE("{"));
    if (order->dry_run)
        admin_text_add_key(text, "valid"), admin_text_add(text, SLICE("true"));
    else
        admin_text_add_key(text, "revision"), admin_text_format(text, "%" PRIu64, order->revision);
    admin_text_add_key(text, "outcome");
    admin_text_add_string(text, slice_from_cstring(admin_outcome_word(order->outcome)));
    admin_text_add_key(text, "created"), admin_text_format(text, "%zu", order->created);
    admin_text_add_key(text, "updated"), admin_text_format(text, "%zu", order->updated);
    admin_text_add_key(text, "deleted"), admin_text_format(text, "%zu", order->deleted);
    admin_text_add_key(text, "changes"), admin_text_add(text, list ? slice_from_cstring(list) : SLICE("[]"));
    write_warnings(text, order);
    admin_text_add(text, SLICE("}"));
    free(list);
    admin_answer_json(exchange, request, 200);
    if (order->dry_run) return ADMIN_ANSWERED;
    admin_add_etag(exchange, request, arena_format(&request->arena, "%" PRIu64, order->revision));
    admin_add_revision(exchange, request, order->revision);
    return ADMIN_ANSWERED;
}

static enum admin_step change_whole(struct exchange *exchange, struct admin_request *request, enum change_action action)
{
    if (!admin_changes(exchange, request)) return ADMIN_ANSWERED;
    struct change_order *order = admin_order_create(exchange, request, action, RESOURCE_SERVICE);
    return admin_errand_order(exchange, request, order, whole_changed);
}

enum admin_step admin_config_put(struct exchange *exchange, struct admin_request *request)
{
    return change_whole(exchange, request, CHANGE_WHOLE);
}

static bool number_is_good(struct exchange *exchange, struct admin_request *request)
{
    uint64_t number;
    if (slice_parse_uint64(request->place.target, &number)) return true;
    struct excerpt shown = problems_excerpt(request->place.target);
    admin_refuse(exchange, request, 404, "not-found", "GET /admin/revisions lists what there is",
                 "there is no revision \"%s\": they are numbers", shown.text);
    return false;
}

enum admin_step admin_rollback(struct exchange *exchange, struct admin_request *request)
{
    if (!number_is_good(exchange, request)) return ADMIN_ANSWERED;
    return change_whole(exchange, request, CHANGE_ROLLBACK);
}

/* --- POST /admin/validate --- */

struct trial {
    const struct node *root;
    struct problems problems;
    struct slice text; /* the whole body */
};

static const struct node *text_member(struct trial *trial, const char *name)
{
    const struct node *node = node_find(trial->root, name);
    if (!node)
        problems_add_missing(&trial->problems, trial->root, name, NULL);
    else if (node->kind != NODE_SCALAR || !node->quoted)
        problems_add(&trial->problems, node, NULL, "\"%s\" must be a text", name);
    else
        return node;
    return NULL;
}

static void refuse_other_members(struct trial *trial)
{
    static const char *const known[] = { "method", "path", "body" };
    for (const struct node *node = trial->root->first; node; node = node->next) {
        bool is_known = false;
        for (size_t i = 0; i < COUNT_OF(known); i++) is_known |= slice_equal(node->key, slice_from_cstring(known[i]));
        if (is_known) continue;
        struct excerpt shown = problems_excerpt(node->key);
        problems_add_at_key(&trial->problems, node, "a change has method, path and body", "unknown field \"%s\"",
                            shown.text);
    }
}

/* The endpoint of the change that is tried; its place and query go to the request. NULL: a problem was added. */
static const struct admin_endpoint *find_change(struct admin_request *request, struct trial *trial)
{
    const struct node *method = text_member(trial, "method"), *path = text_member(trial, "path");
    struct target target;
    struct error error;
    struct slice allow;
    if (!method || !path) return NULL;
    if (path->text.length == 0 || path->text.at[0] != '/' ||
        !target_parse(path->text, false, &request->arena, &target, &error)) {
        problems_add(&trial->problems, path, NULL, "\"path\" must be one of the admin API, like /admin/routes/users");
        return NULL;
    }
    enum method wanted = method_find(method->text);
    const struct admin_endpoint *endpoint = admin_endpoint_find(&request->arena, target.path, wanted, &request->place,
                                                                &allow);
    if (!endpoint && slice_is_absent(allow)) {
        problems_add(&trial->problems, path, "GET /admin lists what there is", "the admin API has no such path");
    } else if (!endpoint) {
        problems_add(&trial->problems, method, NULL, "this path takes %.*s", SLICE_PRINT(allow));
    } else if (endpoint->access != ACCESS_CHANGE || endpoint->answer == admin_validate) {
        problems_add(&trial->problems, method, NULL, "this request changes nothing");
        return NULL;
    } else {
        admin_query_read(&request->arena, target.query, endpoint->queries, &request->query);
        if (slice_is_absent(request->query.problem)) return endpoint;
        problems_add(&trial->problems, path, NULL, "%s", request->query.problem.at);
    }
    return NULL;
}

static void take_body(struct admin_request *request, struct trial *trial, const struct admin_endpoint *endpoint)
{
    const struct node *body = node_find(trial->root, "body");
    if (!body && endpoint->body_bytes_max > 0 && !endpoint->body_may_be_absent) {
        problems_add_missing(&trial->problems, trial->root, "body", NULL);
    } else if (body && endpoint->body_bytes_max == 0) {
        problems_add(&trial->problems, body, NULL, "this change has no body");
    } else {
        request->inner_body = body ? document_member(trial->text, SLICE("body")) : SLICE("");
        if (slice_is_absent(request->inner_body)) /* its name is written with escapes */
            problems_add(&trial->problems, body, NULL, "\"body\" must be written without escapes");
        else if (request->inner_body.length > endpoint->body_bytes_max)
            problems_add(&trial->problems, body, NULL, "the change's body must not be larger than %zu MiB",
                         endpoint->body_bytes_max >> 20);
    }
}

static enum admin_step try_change(struct exchange *exchange, struct admin_request *request, struct trial *trial)
{
    const struct admin_endpoint *endpoint = find_change(request, trial);
    refuse_other_members(trial);
    if (endpoint) take_body(request, trial, endpoint);
    if (trial->problems.count > 0)
        return admin_refuse_problems(exchange, request, 422, "invalid", &trial->problems, "this is not a change");
    request->query.dry_run = true;
    return endpoint->answer(exchange, request);
}

static enum admin_step try_text(struct exchange *exchange, struct admin_request *request, struct trial *trial)
{
    if (!trial->root || trial->problems.count > 0)
        return admin_refuse_problems(exchange, request, 400, "unreadable", &trial->problems,
                                     "the body is not readable JSON");
    return try_change(exchange, request, trial);
}

static enum admin_step read_and_try(struct exchange *exchange, struct admin_request *request, struct slice text)
{
    struct trial trial = { .text = text };
    struct arena arena;
    arena_init(&arena, NULL);
    problems_init(&trial.problems, NULL);
    trial.root = node_read_json(&arena, text, NULL, &trial.problems);
    enum admin_step step = try_text(exchange, request, &trial);
    problems_release(&trial.problems);
    arena_release(&arena);
    return step;
}

#define TRIAL_BYTES_MAX \
    (2u << 20) /* what is read here, on the admin worker's loop: a change's body and a little more */

/* Either { method, path, body } or a whole configuration, which the changes thread reads. */
enum admin_step admin_validate(struct exchange *exchange, struct admin_request *request)
{
    struct slice text = admin_text_slice(&request->body);
    bool is_change = !slice_is_absent(document_member(text, SLICE("method"))) ||
                     !slice_is_absent(document_member(text, SLICE("path")));
    if (is_change && text.length > TRIAL_BYTES_MAX)
        return admin_refuse(exchange, request, 413, "body-too-large", "send a large configuration by itself",
                            "a change that is tried must not be larger than %u MiB", TRIAL_BYTES_MAX >> 20);
    if (is_change) return read_and_try(exchange, request, text);
    request->query.dry_run = true;
    return change_whole(exchange, request, CHANGE_WHOLE);
}

/* --- history --- */

static enum admin_step history_read(struct exchange *exchange, struct admin_request *request,
                                    struct change_question *question)
{
    if (admin_refuse_question(exchange, request, question)) return ADMIN_ANSWERED;
    admin_text_add(&request->text, slice_from_cstring(question->document));
    return admin_answer_json(exchange, request, 200);
}

enum admin_step admin_revisions(struct exchange *exchange, struct admin_request *request)
{
    if (!admin_changes(exchange, request)) return ADMIN_ANSWERED;
    struct change_question *question = admin_question_create(request);
    question->about = QUESTION_REVISIONS;
    return admin_errand_ask(exchange, request, question, history_read);
}

enum admin_step admin_revision(struct exchange *exchange, struct admin_request *request)
{
    if (!admin_changes(exchange, request) || !number_is_good(exchange, request)) return ADMIN_ANSWERED;
    struct change_question *question = admin_question_create(request);
    question->about = QUESTION_REVISION;
    question->target = memory_copy_slice(request->place.target);
    return admin_errand_ask(exchange, request, question, history_read);
}
