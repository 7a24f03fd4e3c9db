/* filters/ext_auth_shared.c: what requests share on a worker where all parts of their keys are equal: decisions that are kept, and the one question
 * that is open for all who wait for the same. A question lives until the last of them has gone, whoever of them began it. */
#include "filters/ext_auth.h"

#include "base/hash.h"
#include "exchange/variables.h"
#include "filters/filters.h"
#include "filters/private.h"

#include <stdlib.h>

/* --- what a worker keeps --- */

#define QUESTION_BUCKETS 128

/* Of one policy, however often it is compiled, and of the service that it asks. */
struct ext_auth_keep {
    struct list_link link; /* the newest first */
    struct content_hash fingerprint;
    char *service_id;
    uint64_t used_ms, longest_ms;
    struct decision_cache decisions;
    size_t question_count;                        /* open ones */
    struct list_link questions[QUESTION_BUCKETS]; /* by the key's hash */
};

/* Asked for all that wait for the same key. Its memory is its own, as who began it may be the first to go. */
struct ext_auth_question {
    struct list_link link;      /* keep->questions; out of it once it is over */
    struct ext_auth_keep *keep; /* NULL: it is over */
    struct list_link waiters;
    struct slice key;
    struct arena arena;
    struct sub_request sub;
    struct task task;
    struct service *service; /* one reference */
    struct snapshot_builder *builder;
    bool is_judged;
    struct decision decision;
};

bool ext_auth_worker_start(struct exchange_worker *worker, void **kept)
{
    (void)worker;
    struct list_link *keeps = malloc(sizeof *keeps);
    if (!keeps) return false;
    list_init(keeps);
    *kept = keeps;
    return true;
}

static void destroy_keep(struct ext_auth_keep *keep)
{
    PROMISE(keep->question_count == 0); /* each has an exchange that waits for it */
    list_remove(&keep->link);
    decision_cache_release(&keep->decisions);
    free(keep->service_id);
    free(keep);
}

void ext_auth_worker_stop(struct exchange_worker *worker, void *kept)
{
    (void)worker;
    struct list_link *keeps = kept;
    for (struct list_link *link; (link = list_first(keeps)) != NULL;)
        destroy_keep(CONTAINER_OF(link, struct ext_auth_keep, link));
    free(keeps);
}

static struct ext_auth_keep *find_keep(struct list_link *keeps, const struct ext_auth *policy,
                                       const struct service *service)
{
    for (struct list_link *link = keeps->next; link != keeps; link = link->next) {
        struct ext_auth_keep *keep = CONTAINER_OF(link, struct ext_auth_keep, link);
        if (memcmp(&keep->fingerprint, &policy->fingerprint, sizeof keep->fingerprint) == 0 &&
            strcmp(keep->service_id, service->id) == 0)
            return keep;
    }
    return NULL;
}

/* Policies come and go with the configuration; what is left of those that went is old by then. */
static void drop_old_keeps(struct list_link *keeps, uint64_t now_ms)
{
    for (struct list_link *link = keeps->next, *next; link != keeps; link = next) {
        struct ext_auth_keep *keep = CONTAINER_OF(link, struct ext_auth_keep, link);
        next = link->next;
        if (keep->question_count == 0 && keep->used_ms + keep->longest_ms < now_ms) destroy_keep(keep);
    }
}

static struct ext_auth_keep *make_keep(const struct ext_auth *policy, const struct service *service)
{
    struct ext_auth_keep *keep = calloc(1, sizeof *keep);
    if (!keep) return NULL;
    keep->service_id = strdup(service->id);
    if (!keep->service_id || !decision_cache_init(&keep->decisions, policy->entries_max, policy->cache_bytes_max)) {
        free(keep->service_id);
        free(keep);
        return NULL;
    }
    keep->fingerprint = policy->fingerprint;
    keep->longest_ms = policy->ttl_ms > policy->negative_ttl_ms ? policy->ttl_ms : policy->negative_ttl_ms;
    list_init(&keep->link);
    for (size_t i = 0; i < QUESTION_BUCKETS; i++) list_init(&keep->questions[i]);
    return keep;
}

/* NULL: memory is short. */
static struct ext_auth_keep *keep_of(struct exchange *exchange, const struct ext_auth *policy)
{
    struct list_link *keeps = exchange_kept(exchange, &filter_ext_auth);
    uint64_t now_ms = exchange->worker->loop->now_ms;
    const struct service *service = exchange_service(exchange, policy->service);
    struct ext_auth_keep *keep = find_keep(keeps, policy, service);
    if (!keep) {
        drop_old_keeps(keeps, now_ms);
        keep = make_keep(policy, service);
        if (keep) list_push_front(keeps, &keep->link);
    }
    if (keep) keep->used_ms = now_ms;
    return keep;
}

/* --- keys --- */

/* Before each part, so that no two lists read alike, and what is absent is not what is empty. */
struct key_head {
    uint32_t length, is_absent;
};

/* As the expression's text, whichever way it is found. */
static enum expression_outcome find_part(const struct exchange *exchange, const struct ext_auth_key_part *part,
                                         struct slice *text)
{
    enum expression_found found;
    if (slice_is_absent(part->header)) {
        struct expression_value value;
        enum expression_outcome outcome = exchange_try(exchange, part->expression, &value, NULL);
        if (outcome != EXPRESSION_DONE) return outcome;
        found = expression_value_text(&value, exchange->arena, text);
        if (found == EXPRESSION_NOT_THERE) return EXPRESSION_FAILED; /* what it is has no text */
    } else {
        found = exchange_header(exchange, part->header, text);
        if (found == EXPRESSION_NOT_THERE) return EXPRESSION_ABSENT;
    }
    return found == EXPRESSION_FOUND ? EXPRESSION_DONE : EXPRESSION_OUT_OF_MEMORY;
}

static enum ext_auth_sharing make_key_part(const struct exchange *exchange, const struct ext_auth_key_part *part,
                                           struct key_head *head, struct slice *text)
{
    *text = SLICE("");
    *head = (struct key_head){ 0, 0 };
    switch (find_part(exchange, part, text)) {
    case EXPRESSION_DONE: head->length = (uint32_t)text->length; return EXT_AUTH_SHARED;
    case EXPRESSION_ABSENT: head->is_absent = 1; return EXT_AUTH_SHARED;
    case EXPRESSION_OUT_OF_MEMORY: return EXT_AUTH_NO_MEMORY;
    case EXPRESSION_FAILED:
    case EXPRESSION_TOO_COSTLY: break;
    }
    return EXT_AUTH_ALONE;
}

/* Of what HEAD was answered nobody knows the body, which others would get (RFC 9110 9.3.2). */
static struct slice kind_of_answer(const struct exchange *exchange, const struct ext_auth *policy)
{
    bool is_bodiless = policy->mode == EXT_AUTHZ && exchange->request->method == METHOD_HEAD;
    return is_bodiless ? SLICE("HEAD") : SLICE("");
}

/* Begins with the route: what lets in at one opens no other, though the policies read alike. EXT_AUTH_ALONE: one part came to nothing, or isn't
 * in the question, so that nobody can tell what the decision hangs on: it is not shared. */
static enum ext_auth_sharing make_key(const struct exchange *exchange, const struct ext_auth *policy, struct slice *key)
{
    struct key_head heads[1 + EXT_AUTH_KEY_PARTS_MAX];
    struct slice pieces[2 * (1 + EXT_AUTH_KEY_PARTS_MAX) + 1];
    struct slice route_id = slice_from_cstring(exchange->route->id);
    heads[0] = (struct key_head){ (uint32_t)route_id.length, 0 };
    pieces[1] = route_id;
    for (size_t i = 1; i <= policy->key_count; i++) {
        enum ext_auth_sharing result = make_key_part(exchange, &policy->key[i - 1], &heads[i], &pieces[2 * i + 1]);
        if (result != EXT_AUTH_SHARED) return result;
    }
    for (size_t i = 0; i <= policy->key_count; i++) pieces[2 * i] = slice_of((const char *)&heads[i], sizeof heads[i]);
    pieces[2 * (1 + policy->key_count)] = kind_of_answer(exchange, policy);
    *key = arena_join(exchange->arena, pieces, 2 * (1 + policy->key_count) + 1);
    return slice_is_absent(*key) ? EXT_AUTH_NO_MEMORY : EXT_AUTH_SHARED;
}

enum ext_auth_sharing ext_auth_find_place(struct exchange *exchange, const struct ext_auth *policy,
                                          struct ext_auth_place *place)
{
    enum ext_auth_sharing sharing = make_key(exchange, policy, &place->key);
    if (sharing != EXT_AUTH_SHARED) return sharing;
    place->keep = keep_of(exchange, policy);
    return place->keep ? EXT_AUTH_SHARED : EXT_AUTH_NO_MEMORY;
}

const struct decision *ext_auth_known(const struct exchange *exchange, const struct ext_auth_place *place)
{
    return decision_cache_find(&place->keep->decisions, place->key, exchange->worker->loop->now_ms);
}

const struct decision *ext_auth_peek(struct exchange *exchange, const struct ext_auth *policy, uint64_t *until_ms)
{
    struct slice key;
    enum ext_auth_sharing sharing = make_key(exchange, policy, &key);
    struct list_link *keeps = exchange_kept(exchange, &filter_ext_auth);
    if (sharing != EXT_AUTH_SHARED || !keeps) return NULL;
    const struct ext_auth_keep *keep = find_keep(keeps, policy, exchange_service(exchange, policy->service));
    if (!keep) return NULL;
    return decision_cache_peek(&keep->decisions, key, exchange->worker->loop->now_ms, until_ms);
}

/* --- questions --- */

static struct list_link *bucket_of(struct ext_auth_keep *keep, struct slice key)
{
    return &keep->questions[hash_keyed(hash_process_key(), key) % QUESTION_BUCKETS];
}

/* Nobody joins it any more. */
static void close_question(struct ext_auth_question *question)
{
    if (!question->keep) return;
    list_remove(&question->link);
    question->keep->question_count--;
    question->keep = NULL;
}

static void destroy_question(struct ext_auth_question *question)
{
    close_question(question);
    sub_request_end(&question->sub);
    loop_dequeue(question->sub.worker->loop, &question->task);
    snapshot_service_drop(question->builder, question->service);
    arena_release(&question->arena);
    free(question);
}

static void question_is_over(struct task *task)
{
    struct ext_auth_question *question = CONTAINER_OF(task, struct ext_auth_question, task);
    close_question(question);
    for (struct list_link *link = question->waiters.next; link != &question->waiters; link = link->next)
        exchange_resume(CONTAINER_OF(link, struct ext_auth_waiter, link)->wait);
}

static struct ext_auth_question *find_question(const struct ext_auth_place *place)
{
    const struct list_link *bucket = bucket_of(place->keep, place->key);
    for (struct list_link *link = bucket->next; link != bucket; link = link->next) {
        struct ext_auth_question *question = CONTAINER_OF(link, struct ext_auth_question, link);
        if (slice_equal(question->key, place->key)) return question;
    }
    return NULL;
}

/* So that it may outlive the exchange. */
static bool own_head(struct sub_request *sub, struct slice *target, struct arena *arena)
{
    struct headers *headers = &sub->head.headers;
    for (struct header *header = headers_next(headers, NULL); header; header = headers_next(headers, header)) {
        header->name = arena_copy(arena, header->name);
        header->value = arena_copy(arena, header->value);
        if (!header->name.at || !header->value.at) return false;
    }
    struct slice *const texts[] = { target, &sub->head.method_text, &sub->head.authority };
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        if (slice_is_absent(*texts[i])) continue;
        *texts[i] = arena_copy(arena, *texts[i]);
        if (slice_is_absent(*texts[i])) return false;
    }
    return true;
}

/* NULL: the answer that says why is prepared. */
static struct ext_auth_question *begin_question(struct exchange *exchange, const struct ext_auth *policy,
                                                const struct ext_auth_place *place)
{
    struct ext_auth_question *question = calloc(1, sizeof *question);
    if (!question) {
        respond_no_memory(exchange);
        return NULL;
    }
    struct slice target;
    question->builder = exchange->route->builder;
    question->service = exchange_service(exchange, policy->service);
    service_retain(question->service);
    question->task.run = question_is_over;
    list_init(&question->link);
    list_init(&question->waiters);
    arena_init(&question->arena, exchange->arena->pool);
    sub_request_init(&question->sub, exchange->worker, &question->arena);
    question->key = arena_copy(&question->arena, place->key);
    if (!ext_auth_write_question(policy, exchange, &(struct ext_auth_body){ 0 }, &question->sub, &target)) {
        destroy_question(question);
        return NULL;
    }
    if (slice_is_absent(question->key) || !own_head(&question->sub, &target, &question->arena)) {
        destroy_question(question);
        respond_no_memory(exchange);
        return NULL;
    }
    list_push_back(bucket_of(place->keep, place->key), &question->link);
    place->keep->question_count++;
    question->keep = place->keep;
    struct sub_request_plan plan = ext_auth_plan(exchange, policy, target, &question->task);
    sub_request_start(&question->sub, &plan);
    return question;
}

bool ext_auth_join(struct ext_auth_waiter *waiter, struct exchange *exchange, const struct ext_auth *policy,
                   const struct ext_auth_place *place)
{
    struct ext_auth_question *question = find_question(place);
    if (!question) question = begin_question(exchange, policy, place);
    if (!question) return false;
    waiter->question = question;
    list_push_back(&question->waiters, &waiter->link);
    return true;
}

/* Whoever comes first judges for all, by a policy that is equal to theirs. */
static bool judge_question(struct exchange *exchange, const struct ext_auth *policy, struct ext_auth_question *question)
{
    if (question->is_judged) return true;
    if (!ext_auth_judge(policy, &question->sub, &question->arena, &question->decision)) return false;
    question->is_judged = true;
    const struct decision *decision = &question->decision;
    bool is_whole = decision->verdict != VERDICT_FAILED &&
                    !question->sub.error.reason; /* the next one may get its body */
    uint64_t keeps_ms = is_whole ? ext_auth_keeps_ms(policy, question->sub.response, decision) : 0;
    struct ext_auth_keep *keep = keeps_ms > 0 ? keep_of(exchange, policy) : NULL;
    if (keep) decision_cache_put(&keep->decisions, question->key, decision, exchange->worker->loop->now_ms + keeps_ms);
    return true;
}

bool ext_auth_hear(const struct ext_auth_waiter *waiter, struct exchange *exchange, const struct ext_auth *policy,
                   struct decision *decision, const struct error **why)
{
    struct ext_auth_question *question = waiter->question;
    if (!judge_question(exchange, policy, question)) return false;
    *decision = question->decision;
    *why = &question->sub.error;
    return true;
}

void ext_auth_leave(struct ext_auth_waiter *waiter)
{
    struct ext_auth_question *question = waiter->question;
    if (!question) return;
    waiter->question = NULL;
    list_remove(&waiter->link);
    if (list_is_empty(&question->waiters)) destroy_question(question);
}
