/* ext-auth: the question in the one or the other shape, and what an answer means.
 *
 * As nginx's auth_request: a GET for one path with the client's header fields and no body, but for those that would make it another question
 * (conditions, ranges); 2xx lets it through, 401 and 403 refuse it, everything else is a failure. A failure below 500 is one that a client may
 * have brought about, so it is no reason for `onFailure: allow`. As Envoy's ext_authz over HTTP: the client's method, host and path behind a prefix, Authorization and
 * what else is listed, a body if wanted; 200 lets it through, 5xx is a failure, everything else is the client's answer.
 *
 * A status that has come counts, whatever becomes of the body behind it: a refusal that breaks off is one, or who can break it off gets past
 * it by `onFailure: allow`. An answer that lets through has to come whole. */
#include "filters/ext_auth.h"
#include "filters/private.h"
#include "http/our_names.h"

#define ANSWER_BYTES_MAX (64u * 1024)
#define QUESTION_BYTES_MAX (2u * 1024 * 1024) /* of its head; as much goes out in any version of HTTP */
/* The same where a service that fails lets in: many break off or reset for larger heads, and a client could have that. */
#define OPENING_QUESTION_BYTES_MAX (16u * 1024)

/* --- the question --- */

/* What only we say of a request: a client's own word for it would be believed (exchange/sub_request.h, and below). */
static bool is_our_word(const struct header *header)
{
    if (!header->from_wire || (header->name.at[0] | 0x20) != 'x') return header->id == HEADER_FORWARDED;
    return header_name_is_ours(header->name) || header_name_is_a_proxys(header->name) ||
           header_name_begins_like(header->name, SLICE("X-Original-"));
}

/* Of a request whose content doesn't go along, what would make the question another one: a client could have it answered by 304, 412 or 416. */
static bool is_about_content(const struct header *header)
{
    static const struct slice conditional = SLICE("If-"), content = SLICE("Content-");
    return slice_equal_ignore_case(header->name, SLICE("Range")) ||
           slice_equal_ignore_case(slice_before(header->name, conditional.length), conditional) ||
           slice_equal_ignore_case(slice_before(header->name, content.length), content);
}

static bool goes_along(const struct ext_auth *policy, const struct header *header)
{
    if (header_is_sluices_own(header->id)) return false;
    if (is_our_word(header) || (policy->mode != EXT_AUTHZ && is_about_content(header))) return false;
    if (policy->mode == EXT_AUTHZ && header->id == HEADER_AUTHORIZATION) return true;
    return policy->all_request_headers || header_names_hold(&policy->request_headers, header);
}

static bool copy_fields(const struct ext_auth *policy, const struct exchange *exchange, struct headers *into)
{
    const struct headers *from = &exchange->request->headers;
    for (struct header *header = headers_next(from, NULL); header; header = headers_next(from, header)) {
        if (!goes_along(policy, header)) continue;
        bool added = header->from_wire ? headers_add_from_wire(into, header->name, header->value)
                                       : headers_add(into, header->name, header->value);
        if (!added) return false;
    }
    headers_remove_hop_by_hop(into);
    return true;
}

static bool add_own_fields(const struct ext_auth *policy, const struct exchange *exchange, struct headers *into)
{
    for (size_t i = 0; i < policy->field_count; i++) {
        struct slice value = exchange_render(exchange, policy->fields[i].value);
        if (slice_is_absent(value) || !headers_set(into, policy->fields[i].name, value)) return false;
    }
    return true;
}

/* The path that was routed by, not as it was sent: a decision about another one would be worth nothing. */
static struct slice original_target(const struct exchange *exchange, struct slice prefix)
{
    const struct target *target = &exchange->request->target;
    bool has_query = !slice_is_absent(target->query);
    struct slice pieces[] = { prefix, target->path, SLICE("?"), target->query };
    return arena_join(exchange->arena, pieces, has_query ? 4 : 2);
}

static bool write_auth_request(const struct ext_auth *policy, struct exchange *exchange, struct sub_request *sub,
                               struct slice *target)
{
    struct headers *headers = &sub->head.headers;
    struct slice original = original_target(exchange, SLICE(""));
    *target = policy->path;
    return !slice_is_absent(original) && headers_set(headers, SLICE("X-Original-URI"), original) &&
           headers_set(headers, SLICE("X-Original-Method"), exchange->request->method_text) &&
           sub_request_tell_client(sub, exchange);
}

static bool write_ext_authz(const struct ext_auth *policy, struct exchange *exchange, const struct ext_auth_body *body,
                            struct sub_request *sub, struct slice *target)
{
    sub->head.method = exchange->request->method;
    sub->head.method_text = exchange->request->method_text;
    sub->head.authority = exchange->request->authority;
    sub->head.has_body = true; /* without one its length is told to be 0 */
    if (!slice_is_absent(body->bytes)) sub_request_set_body(sub, body->bytes);
    *target = original_target(exchange, policy->path);
    return !slice_is_absent(*target) &&
           (!policy->takes_body || headers_set(&sub->head.headers, SLICE("X-Envoy-Auth-Partial-Body"),
                                               body->is_partial ? SLICE("true") : SLICE("false")));
}

static bool write_question(const struct ext_auth *policy, struct exchange *exchange, const struct ext_auth_body *body,
                           struct sub_request *sub, struct slice *target)
{
    if (!copy_fields(policy, exchange, &sub->head.headers)) return false;
    bool written = policy->mode == EXT_AUTHZ ? write_ext_authz(policy, exchange, body, sub, target)
                                             : write_auth_request(policy, exchange, sub, target);
    return written && add_own_fields(policy, exchange, &sub->head.headers);
}

static bool has_control(struct slice text)
{
    for (size_t i = 0; i < text.length; i++) {
        uint8_t byte = (uint8_t)text.at[i];
        if ((byte < ' ' && byte != '\t') || byte == 0x7f) return true;
    }
    return false;
}

static bool refuse_question(struct exchange *exchange, unsigned status, const char *reason, const char *text)
{
    exchange_respond_problem(exchange, status, reason, SLICE("ext-auth"), "%s", text);
    return false;
}

/* What can't be sent, or what a service would break off for, must not look like a service that fails: the client has brought it. Before it
 * is asked, so that nobody shares it. */
static bool check_question(const struct ext_auth *policy, struct exchange *exchange, const struct headers *headers,
                           struct slice target)
{
    bool is_clean = !has_control(target) && slice_find_byte(target, ' ') == SLICE_NOT_FOUND;
    size_t bytes = target.length;
    for (struct header *header = headers_next(headers, NULL); header; header = headers_next(headers, header)) {
        bytes += header->name.length + header->value.length + 4; /* ": " and the line's end */
        if (!header->from_wire && has_control(header->value)) is_clean = false;
    }
    if (!is_clean)
        return refuse_question(exchange, 400, "ext-auth-bad-value",
                               "the request brings a control character into a header for the decision service");
    if (bytes > (policy->allows_on_failure ? OPENING_QUESTION_BYTES_MAX : QUESTION_BYTES_MAX))
        return refuse_question(exchange, 431, "ext-auth-too-large",
                               "the request's headers are larger than the decision service gets to see");
    return true;
}

bool ext_auth_write_question(const struct ext_auth *policy, struct exchange *exchange, const struct ext_auth_body *body,
                             struct sub_request *sub, struct slice *target)
{
    if (write_question(policy, exchange, body, sub, target))
        return check_question(policy, exchange, &sub->head.headers, *target);
    respond_no_memory(exchange);
    return false;
}

struct sub_request_plan ext_auth_plan(const struct exchange *exchange, const struct ext_auth *policy,
                                      struct slice target, struct task *task)
{
    struct sub_request_plan plan = {
        .service = exchange_service(exchange, policy->service),
        .target = target,
        .deadline_ms = exchange->worker->loop->now_ms + policy->timeout_ms,
        .answer_bytes_max = ANSWER_BYTES_MAX,
        .retry_count = 1,
        .repeatable = true, /* to decide changes nothing */
        .head_decides = true,
        .owner_task = task,
    };
    if (plan.service->algorithm == LB_IP_HASH) plan.client_hash = exchange_client_hash(exchange);
    return plan;
}

/* --- the answer --- */

static enum verdict verdict_of(const struct ext_auth *policy, unsigned status)
{
    if (policy->mode == EXT_AUTHZ)
        return status == 200 ? VERDICT_ALLOWED : status >= 500 ? VERDICT_FAILED : VERDICT_DENIED;
    if (status >= 200 && status < 300) return VERDICT_ALLOWED;
    return status == 401 || status == 403 ? VERDICT_DENIED : VERDICT_FAILED;
}

static bool is_named(struct slice wanted, const struct header *header)
{
    return !slice_is_absent(wanted) && slice_equal_ignore_case(wanted, header->name);
}

static uint8_t uses_when_allowed(const struct ext_auth *policy, const struct header *header)
{
    static const struct slice removal = SLICE("x-envoy-auth-headers-to-remove");
    uint8_t uses = 0;
    if (header_names_hold(&policy->upstream_headers, header)) uses |= USE_UPSTREAM;
    if (header_names_hold(&policy->appended_headers, header)) uses |= USE_APPENDED;
    if (header_names_hold(&policy->client_headers, header)) uses |= USE_CLIENT;
    if (is_named(policy->user_id_header, header)) uses |= USE_USER_ID;
    if (is_named(policy->client_id_header, header)) uses |= USE_CLIENT_ID;
    if (policy->mode == EXT_AUTHZ && is_named(removal, header)) uses |= USE_REMOVE;
    return uses;
}

static uint8_t uses_when_denied(const struct ext_auth *policy, const struct header *header)
{
    static const struct slice challenge = SLICE("WWW-Authenticate");
    bool goes = header_names_hold(&policy->denied_headers, header) || is_named(challenge, header);
    if (policy->mode == EXT_AUTHZ && header->id == HEADER_LOCATION) goes = true;
    if (policy->mode == EXT_AUTHZ && !policy->has_denied_headers) goes = true;
    if (header_is_sluices_own(header->id) || header->id == HEADER_CONTENT_TYPE) goes = false;
    return goes ? USE_CLIENT : 0;
}

static bool keep_headers(const struct ext_auth *policy, struct headers *headers, struct arena *arena,
                         struct decision *decision)
{
    struct decision_header *kept = arena_allocate(arena, (headers->count + 1u) * sizeof *kept);
    if (!kept) return false;
    decision->headers = kept;
    headers_remove_hop_by_hop(headers);
    for (struct header *header = headers_next(headers, NULL); header; header = headers_next(headers, header)) {
        uint8_t uses = decision->verdict == VERDICT_ALLOWED ? uses_when_allowed(policy, header)
                                                            : uses_when_denied(policy, header);
        if (!uses) continue;
        struct slice name = arena_copy(arena, header->name), value = arena_copy(arena, header->value);
        if (!name.at || !value.at) return false;
        kept[decision->header_count++] = (struct decision_header){ name, value, uses };
    }
    return true;
}

/* A denial's body goes to the client as it is, whole or not at all. HEAD's is not there, and is spoken of all the same (RFC 9110 8.3, 8.6). */
static bool keep_body(const struct sub_request *sub, struct arena *arena, struct decision *decision)
{
    struct slice type = headers_value(&sub->response->headers, HEADER_CONTENT_TYPE);
    bool is_of_head = sub->head.method == METHOD_HEAD, has_body = sub->body.length > 0;
    if (decision->has_lost_body || (!has_body && !is_of_head)) return true;
    if (is_of_head) decision->body_length = sub->response->body_length;
    if (has_body) decision->body = arena_copy(arena, sub->body);
    decision->content_type = slice_is_absent(type) ? SLICE_ABSENT : arena_copy(arena, type);
    return (!has_body || decision->body.at) && (slice_is_absent(type) || decision->content_type.at);
}

bool ext_auth_judge(const struct ext_auth *policy, const struct sub_request *sub, struct arena *arena,
                    struct decision *decision)
{
    *decision = (struct decision){ .verdict = VERDICT_FAILED };
    if (!sub->response) return true;
    bool broke_off = sub->error.reason != NULL;
    enum verdict verdict = verdict_of(policy, sub->response->status);
    if (broke_off && verdict == VERDICT_ALLOWED) return true; /* it lets nobody in, and says nothing else either */
    decision->status = sub->response->status;
    decision->verdict = (uint8_t)verdict;
    if (verdict == VERDICT_FAILED) return true;
    decision->has_lost_body = broke_off || sub->is_cut;
    return keep_headers(policy, &sub->response->headers, arena, decision) &&
           (policy->mode != EXT_AUTHZ || decision->verdict != VERDICT_DENIED || keep_body(sub, arena, decision));
}

/* RFC 9111 5.2.2, as far as it says less than the policy. */
uint64_t ext_auth_keeps_ms(const struct ext_auth *policy, const struct response_head *response,
                           const struct decision *decision)
{
    if (decision->verdict == VERDICT_FAILED) return 0;
    uint64_t keeps_ms = decision->verdict == VERDICT_ALLOWED ? policy->ttl_ms : policy->negative_ttl_ms;
    const struct headers *headers = &response->headers;
    if (headers_list_has(headers, HEADER_CACHE_CONTROL, SLICE("no-store")) ||
        headers_list_has(headers, HEADER_CACHE_CONTROL, SLICE("no-cache")))
        return 0;
    struct slice rest = headers_combined(headers, HEADER_CACHE_CONTROL), directive;
    while (slice_next(&rest, ',', &directive)) {
        static const struct slice name = SLICE("max-age=");
        uint64_t seconds;
        if (!slice_equal_ignore_case(slice_before(directive, name.length), name)) continue;
        if (!slice_parse_uint64(slice_after(directive, name.length), &seconds)) return 0;
        if (seconds < keeps_ms / 1000 + 1 && seconds * 1000 < keeps_ms) keeps_ms = seconds * 1000;
    }
    return keeps_ms;
}
