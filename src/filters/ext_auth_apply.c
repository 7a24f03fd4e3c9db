/* ext-auth: what a decision does to the request and to the client's answer. */
#include "filters/ext_auth.h"
#include "filters/private.h"
#include "http/status.h"

#define RULE SLICE("ext-auth")

static bool copy_header(struct exchange *exchange, const struct decision_header *from, struct decision_header *to)
{
    struct slice both = arena_join(exchange->arena, (struct slice[]){ from->name, from->value }, 2);
    to->name = slice_before(both, from->name.length);
    to->value = slice_after(both, from->name.length);
    return !slice_is_absent(both);
}

bool ext_auth_speaks_of_body(struct slice name)
{
    static const struct slice prefix = SLICE("Content-"), policy = SLICE("Content-Security-Policy");
    static const struct slice names[] = { SLICE("ETag"), SLICE("Last-Modified"), SLICE("Accept-Ranges"),
                                          SLICE("Digest"), SLICE("Repr-Digest") };
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        if (slice_equal_ignore_case(name, names[i])) return true;
    }
    return slice_equal_ignore_case(slice_before(name, prefix.length), prefix) &&
           !slice_equal_ignore_case(slice_before(name, policy.length), policy);
}

/* The client's answer has a date of its own, and most often a body of its own. */
static bool fits_answer(const struct exchange *exchange, struct slice name, bool with_its_body)
{
    if (header_id_find(name) == HEADER_DATE || exchange_hides(exchange, name)) return false;
    return with_its_body || !ext_auth_speaks_of_body(name);
}

/* --- allowed --- */

/* A client's own copies never reach the service, in trailers neither: it takes them for the decision's. False: memory is short. */
static bool strip(const struct ext_auth *policy, struct exchange *exchange)
{
    struct headers *headers = &exchange->request->headers;
    const struct header_names *names = &policy->upstream_headers;
    bool good = true;
    header_names_strip(names, headers);
    for (size_t i = 0; i < names->count && good; i++)
        good = exchange_guard_name(exchange, names->items[i].text, names->items[i].is_beginning);
    if (policy->failure_header.length == 0) return good;
    struct header_name name = { .text = policy->failure_header };
    header_names_strip(&(struct header_names){ &name, 1 }, headers);
    return good && exchange_guard_name(exchange, name.text, false);
}

static void remove_named(struct headers *headers, struct slice names)
{
    struct slice name;
    while (slice_next(&names, ',', &name)) {
        if (!header_name_is_valid(name) || header_is_sluices_own(header_id_find(name))) continue;
        headers_remove(headers, name);
    }
}

static void identify(struct exchange *exchange, const struct decision_header *header)
{
    struct identity *identity = &exchange->identity;
    if (header->value.length == 0) return;
    if (header->uses & USE_USER_ID) identity->user_id = header->value;
    if (header->uses & USE_CLIENT_ID) identity->client_id = header->value;
    identity->method = IDENTITY_EXTERNAL;
    identity_forget_roles(exchange);
}

static bool take_header(struct exchange *exchange, const struct decision_header *from, bool identifies,
                        struct ext_auth_gift *gift)
{
    struct headers *headers = &exchange->request->headers;
    struct decision_header header = { .uses = from->uses };
    if (!copy_header(exchange, from, &header)) return false;
    if (header.uses & USE_REMOVE) remove_named(headers, header.value);
    if (header.uses & (USE_UPSTREAM | USE_APPENDED) && !headers_add(headers, header.name, header.value)) return false;
    if (identifies && header.uses & (USE_USER_ID | USE_CLIENT_ID)) identify(exchange, &header);
    if (header.uses & USE_CLIENT && fits_answer(exchange, header.name, false)) gift->headers[gift->count++] = header;
    return true;
}

static bool take_headers(struct exchange *exchange, const struct decision *decision, bool identifies,
                         struct ext_auth_gift *gift)
{
    if (decision->header_count == 0) return true;
    gift->headers = arena_allocate(exchange->arena, decision->header_count * sizeof *gift->headers);
    bool good = gift->headers != NULL;
    for (uint32_t i = 0; i < decision->header_count && good; i++)
        good = take_header(exchange, &decision->headers[i], identifies, gift);
    return good;
}

static enum filter_result allow(const struct ext_auth *policy, struct exchange *exchange,
                                const struct decision *decision, struct ext_auth_gift *gift)
{
    bool identifies = policy->finds_identity && !identity_is_known(exchange);
    if (!strip(policy, exchange) || !take_headers(exchange, decision, identifies, gift)) {
        respond_no_memory(exchange);
        return FILTER_RESPOND;
    }
    /* Let in by who decides, whoever it is. */
    if (identifies && !identity_is_known(exchange)) identity_allow_anonymous(exchange);
    return FILTER_NEXT;
}

/* --- denied --- */

static bool copy_to_answer(struct exchange *exchange, const struct decision *decision, bool with_its_body)
{
    for (uint32_t i = 0; i < decision->header_count; i++) {
        struct decision_header header;
        if (!fits_answer(exchange, decision->headers[i].name, with_its_body)) continue;
        if (!copy_header(exchange, &decision->headers[i], &header) ||
            !headers_add(&exchange->own_response.headers, header.name, header.value))
            return false;
    }
    return true;
}

/* The service's own answer in the place of ours; where its body couldn't be had as a whole, ours stays. */
static bool answer_as_service(struct exchange *exchange, const struct decision *decision)
{
    struct slice type = SLICE_ABSENT, body = SLICE_ABSENT;
    if (!slice_is_absent(decision->body)) {
        body = arena_copy(exchange->arena, decision->body);
        if (slice_is_absent(body)) return false;
    }
    if (!slice_is_absent(decision->content_type)) {
        type = arena_copy(exchange->arena, decision->content_type);
        if (slice_is_absent(type)) return false;
    }
    exchange_respond(exchange, decision->status, type, body);
    if (exchange->request->method == METHOD_HEAD && !status_has_no_content(decision->status))
        exchange->own_response.body_length = decision->body_length;
    return true;
}

static enum filter_result deny(const struct ext_auth *policy, struct exchange *exchange,
                               const struct decision *decision)
{
    exchange_respond_problem(exchange, decision->status, "ext-auth-denied", RULE,
                             "the decision service refuses the request");
    bool is_ours = policy->mode != EXT_AUTHZ || exchange->is_grpc || decision->has_lost_body;
    bool good = is_ours || answer_as_service(exchange, decision);
    if (!good || !copy_to_answer(exchange, decision, !is_ours)) respond_no_memory(exchange);
    return FILTER_RESPOND;
}

/* --- failed --- */

static enum filter_result go_on(const struct ext_auth *policy, struct exchange *exchange)
{
    bool good = strip(policy, exchange);
    if (good && (policy->failure_header.length == 0 ||
                 headers_add(&exchange->request->headers, policy->failure_header, SLICE("true"))))
        return FILTER_NEXT;
    respond_no_memory(exchange);
    return FILTER_RESPOND;
}

/* Has the service itself failed? For what a client may have brought about nothing is opened: an answer below 500, a question that couldn't be sent,
 * a gateway that is short of something, a route's time that was used up before (and in which nobody could go on). */
static bool service_has_failed(const struct exchange *exchange, const struct decision *decision,
                               const struct error *why)
{
    if (exchange_deadline_ms(exchange) <= exchange->worker->loop->now_ms) return false;
    if (decision->status) return decision->status >= 500; /* also where what came behind it broke off */
    return why && why->reason && why->blame == BLAME_UPSTREAM;
}

static enum filter_result fail(const struct ext_auth *policy, struct exchange *exchange,
                               const struct decision *decision, const struct error *why)
{
    if (policy->allows_on_failure && service_has_failed(exchange, decision, why)) {
        metrics_count_error(exchange->worker->metrics, exchange->worker->index, "ext-auth-failed");
        return go_on(policy, exchange);
    }
    exchange_respond_problem(exchange, policy->failure_status, "ext-auth-failed", RULE,
                             "the decision service gave no answer that decides");
    /* To the operator all of it. */
    if (why && why->reason)
        error_set(&exchange->error, why->blame, RETRY_NEVER, policy->failure_status, "ext-auth-failed", "ext-auth: %s",
                  why->text);
    else
        error_set(&exchange->error, BLAME_UPSTREAM, RETRY_NEVER, policy->failure_status, "ext-auth-failed",
                  "ext-auth: the decision service answered %u", decision->status);
    return FILTER_RESPOND;
}

enum filter_result ext_auth_apply(const struct ext_auth *policy, struct exchange *exchange,
                                  const struct decision *decision, const struct error *why, struct ext_auth_gift *gift)
{
    switch ((enum verdict)decision->verdict) {
    case VERDICT_ALLOWED: return allow(policy, exchange, decision, gift);
    case VERDICT_DENIED: return deny(policy, exchange, decision);
    case VERDICT_FAILED: break;
    }
    return fail(policy, exchange, decision, why);
}
