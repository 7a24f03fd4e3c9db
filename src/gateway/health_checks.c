/* gateway/health_checks.c: see health_checks.h. */
#include "gateway/health_checks.h"

#include "base/log.h"
#include "base/memory.h"

#define WORDS_BYTES 232

/* One check under way, from the first byte to the last. */
struct check_run {
    struct instance_check *check;
    struct service *service; /* one reference: a newer snapshot may have another */
    struct arena arena;
    struct request_head request;
    struct upstream_call call;
    struct task task;
    struct timer limit; /* of the body */
    uint64_t deadline_ms;
    size_t dropped_bytes;
    bool was_slow, judged;
};

static void due(struct timer *);
static void begin_next(struct health_checks *);

static struct loop *loop_of(const struct health_checks *checks) { return checks->upstream->loop; }

static struct health_checks *checker_of(const struct check_run *run) { return run->check->of->checker; }

static const struct health_check *settings_of(const struct instance_check *check)
{
    return check->of->service->health_check;
}

/* --- when --- */

static void schedule(struct health_checks *checks, struct instance_check *check)
{
    if (checks->ended) return;
    uint64_t now_ms = loop_of(checks)->now_ms, identity = check->instance->identity_hash;
    uint32_t interval_ms = settings_of(check)->interval_ms;
    uint64_t at_ms = check->begun_ms ? health_next_check_ms(interval_ms, identity, check->begun_ms, now_ms)
                                     : health_first_check_ms(interval_ms, identity, now_ms);
    timer_set(&loop_of(checks)->timers, &check->due, at_ms);
}

/* --- what came of it --- */

static void write_duration(uint64_t milliseconds, char *into, size_t size)
{
    if (milliseconds < 10000)
        snprintf(into, size, "%u.%u s", (unsigned)(milliseconds / 1000), (unsigned)(milliseconds / 100 % 10));
    else
        snprintf(into, size, "%llu s", (unsigned long long)(milliseconds / 1000));
}

static void log_up(const struct instance_check *check, uint64_t down_ms)
{
    char duration[32];
    write_duration(down_ms, duration, sizeof duration);
    log_info("service \"%s\": instance %s is up again after %s", check->of->service->name, check->instance->name,
             duration);
}

static bool is_nobody_up(const struct service *service)
{
    for (uint32_t i = 0; i < service->endpoint_count; i++) {
        const struct endpoint *endpoint = &service->endpoints[i];
        if (endpoint->weight > 0 && !health_is_down(&endpoint->instance->health)) return false;
    }
    return service->weight_sum > 0;
}

static void log_down(const struct instance_check *check, bool is_first)
{
    const struct service *service = check->of->service;
    uint32_t failures = atomic_load_explicit(&check->instance->health.failures, memory_order_relaxed);
    char count[48] = "first check";
    if (!is_first) snprintf(count, sizeof count, "%u check%s in a row", failures, failures == 1 ? "" : "s");
    log_warning("service \"%s\": instance %s is down: %s (%s)", service->name, check->instance->name, check->said,
                count);
    if (is_nobody_up(service))
        log_error("service \"%s\": all its instances are down: requests are answered with 503", service->name);
}

/* An instance that has come up begins without the strikes that it was given before it went down. */
static void tell_change(const struct instance_check *check, enum health_state before, uint64_t changed_before_ms)
{
    const struct instance_health *health = &check->instance->health;
    uint64_t changed_ms = atomic_load_explicit(&health->changed_ms, memory_order_relaxed);
    if (health_is_down(health)) {
        log_down(check, before == HEALTH_UNKNOWN);
    } else if (before == HEALTH_DOWN) {
        instance_praise(check->instance);
        log_up(check, changed_ms > changed_before_ms ? changed_ms - changed_before_ms : 0);
    }
}

/* `words` NULL: it succeeded. */
static void note(struct check_run *run, uint16_t status, const char *reason, const char *words)
{
    struct health_checks *checks = checker_of(run);
    struct instance_check *check = run->check;
    struct instance_health *health = &check->instance->health;
    uint64_t now_ms = loop_of(checks)->wall_ns / 1000000;
    enum health_state before = atomic_load_explicit(&health->state, memory_order_relaxed);
    uint64_t changed_before_ms = atomic_load_explicit(&health->changed_ms, memory_order_relaxed);
    run->judged = true;
    check->is_slow = words && status == 0;
    pthread_mutex_lock(&checks->lock);
    bool changed = health_note(health, &settings_of(check)->thresholds, !words, status, reason, now_ms);
    check->of->results[words ? CHECK_FAILURE : CHECK_SUCCESS]++;
    free(check->said);
    check->said = words ? memory_copy_slice(slice_from_cstring(words)) : NULL;
    pthread_mutex_unlock(&checks->lock);
    if (changed) tell_change(check, before, changed_before_ms);
}

static void note_skipped(struct check_run *run)
{
    run->judged = true;
    struct health_checks *checks = checker_of(run);
    pthread_mutex_lock(&checks->lock);
    run->check->of->results[CHECK_SKIPPED]++;
    pthread_mutex_unlock(&checks->lock);
}

static void judge_answer(struct check_run *run)
{
    uint16_t status = run->call.response->status;
    char words[32];
    snprintf(words, sizeof words, "status %u", status);
    bool is_good = status_set_has(&settings_of(run->check)->expected, status);
    note(run, status, is_good ? NULL : "status", is_good ? NULL : words);
}

/* Beside the instance's name: "connection refused" says all of "cannot connect to 10.0.1.1:8080: connection refused". */
static void write_words(const struct check_run *run, const struct error *error, char *into, size_t size)
{
    bool is_late = strcmp(error->reason, "timeout") == 0;
    struct slice text = slice_from_cstring(error->text), beginning = SLICE("cannot connect to ");
    const char *end = slice_starts_with(text, beginning) ? strstr(error->text, ": ") : NULL;
    if (end)
        snprintf(into, size, "%s%s", is_late ? "cannot connect: " : "", end + 2);
    else if (is_late)
        snprintf(into, size, "no answer within %u ms", run->service->health_check->timeout_ms);
    else
        snprintf(into, size, "%s", error->text);
}

static void judge_failure(struct check_run *run)
{
    const struct error *error = &run->call.error;
    char words[WORDS_BYTES];
    if (error->blame == BLAME_US) {
        note_skipped(run);
        return;
    }
    write_words(run, error, words, sizeof words);
    note(run, 0, error->reason, words);
}

/* --- under way --- */

static void end_run(struct check_run *run)
{
    struct health_checks *checks = checker_of(run);
    struct loop *loop = loop_of(checks);
    upstream_call_cancel(&run->call);
    loop_dequeue(loop, &run->task);
    timer_clear(&loop->timers, &run->limit);
    arena_release(&run->arena);
    snapshot_service_drop(checks->builder, run->service);
    run->check->run = NULL;
    checks->running--;
    checks->running_slow -= run->was_slow;
    free(run);
}

static void finish_run(struct check_run *run)
{
    struct health_checks *checks = checker_of(run);
    struct instance_check *check = run->check;
    end_run(run);
    schedule(checks, check);
    begin_next(checks);
}

static void drop_body(struct check_run *run)
{
    struct body_pipe *body = run->call.response_body;
    if (!body) return;
    if (!body->attached) {
        body_pipe_attach_consumer(body, &run->task);
        timer_set(&loop_of(checker_of(run))->timers, &run->limit, run->deadline_ms);
    }
    run->dropped_bytes += body->buffered;
    if (body->buffered) body_pipe_consume(body, body->buffered);
}

static void run_task(struct task *task)
{
    struct check_run *run = CONTAINER_OF(task, struct check_run, task);
    struct upstream_call *call = &run->call;
    call->interim = NULL;
    if (call->events & CALL_HEAD) {
        if (!run->judged) judge_answer(run);
        drop_body(run);
    } else if (call->events & CALL_DONE) {
        judge_failure(run);
    }
    if (call->events & CALL_DONE || run->dropped_bytes > CHECK_BODY_BYTES_MAX) finish_run(run);
}

/* The answer was judged by its head; its connection goes with it. */
static void limit_passed(struct timer *timer) { finish_run(CONTAINER_OF(timer, struct check_run, limit)); }

static void make_request(struct check_run *run)
{
    struct request_head *request = &run->request;
    request_head_init(request, &run->arena);
    request->method = METHOD_GET;
    request->method_text = method_name(METHOD_GET);
    request->version = HTTP_1_1;
    request->authority = run->check->instance->host_port;
    bool added = headers_add_known(&request->headers, HEADER_USER_AGENT, SLICE("sluice-health-check")) &&
                 headers_add_known(&request->headers, HEADER_ACCEPT, SLICE("*/*"));
    (void)added; /* short of memory: the call will say so */
}

static void begin(struct health_checks *checks, struct instance_check *check)
{
    struct check_run *run = memory_allocate(sizeof *run);
    const struct health_check *settings = settings_of(check);
    run->check = check;
    run->service = check->of->service;
    service_retain(run->service);
    run->was_slow = check->is_slow;
    run->deadline_ms = loop_of(checks)->now_ms + settings->timeout_ms;
    run->task.run = run_task;
    run->call.owner_task = &run->task;
    timer_init(&run->limit, limit_passed);
    arena_init(&run->arena, checks->upstream->http->arenas);
    make_request(run);
    check->run = run;
    check->begun_ms = loop_of(checks)->now_ms;
    checks->running++;
    checks->running_slow += run->was_slow;
    const struct call_plan plan = {
        .kind = CALL_HEALTH,
        .service = run->service,
        .only_instance = check->instance,
        .request = &run->request,
        .target = slice_from_cstring(settings->path),
        .arena = &run->arena,
        .deadline_ms = run->deadline_ms,
        .repeatable = true,
    };
    upstream_call_start(&run->call, checks->upstream, &plan);
}

/* --- places --- */

static struct instance_check *first_in(struct list_link *line)
{
    struct list_link *link = list_first(line);
    return link ? CONTAINER_OF(link, struct instance_check, line) : NULL;
}

/* Who has waited longest, of those that may have a place. NULL: nobody. */
static struct instance_check *next_in_line(struct health_checks *checks)
{
    struct instance_check *prompt = first_in(&checks->line);
    struct instance_check *slow = checks->running_slow < SLOW_CHECKS_MAX ? first_in(&checks->slow_line) : NULL;
    if (checks->running >= CHECKS_MAX) return NULL;
    if (!prompt || !slow) return prompt ? prompt : slow;
    return slow->waits_since_ms < prompt->waits_since_ms ? slow : prompt;
}

static void begin_next(struct health_checks *checks)
{
    struct instance_check *check;
    while (!checks->ended && (check = next_in_line(checks)) != NULL) {
        list_remove(&check->line);
        begin(checks, check);
    }
}

static void due(struct timer *timer)
{
    struct instance_check *check = CONTAINER_OF(timer, struct instance_check, due);
    struct health_checks *checks = check->of->checker;
    check->waits_since_ms = loop_of(checks)->now_ms;
    list_push_back(check->is_slow ? &checks->slow_line : &checks->line, &check->line);
    begin_next(checks);
}

/* --- taking over from one snapshot to the next --- */

static void put_in_slot(struct health_checks *checks, struct instance_check *check)
{
    uint32_t slot = check->instance->slot;
    if (slot >= checks->slot_count) {
        size_t count = checks->slot_count ? checks->slot_count : 16;
        while (count <= slot) count *= 2;
        checks->by_slot = memory_resize(checks->by_slot, count * sizeof(struct instance_check *));
        for (size_t i = checks->slot_count; i < count; i++) checks->by_slot[i] = NULL;
        checks->slot_count = count;
    }
    checks->by_slot[slot] = check;
}

static struct instance_check *find_check(const struct health_checks *checks, const struct instance *instance)
{
    return instance->slot < checks->slot_count ? checks->by_slot[instance->slot] : NULL;
}

static struct instance_check *create_check(struct checked_service *checked, struct instance *instance)
{
    struct instance_check *check = memory_allocate(sizeof *check);
    check->of = checked;
    check->instance = instance;
    list_init(&check->link);
    list_init(&check->line);
    timer_init(&check->due, due);
    put_in_slot(checked->checker, check);
    schedule(checked->checker, check);
    return check;
}

/* Broken off, and neither due nor in line. */
static void withdraw(struct instance_check *check)
{
    timer_clear(&loop_of(check->of->checker)->timers, &check->due);
    list_remove(&check->line);
    if (check->run) end_run(check->run);
}

static void drop_check(struct instance_check *check)
{
    withdraw(check);
    health_forget(&check->instance->health);
    check->of->checker->by_slot[check->instance->slot] = NULL;
    list_remove(&check->link);
    free(check->said);
    free(check);
}

/* A question that is answered by the old rules is put again; one that waits for its time goes by the new interval. */
static void follow_settings(struct instance_check *check, const struct health_check *before)
{
    const struct health_check *now = settings_of(check);
    struct health_checks *checks = check->of->checker;
    if (!before) return; /* nothing was asked before */
    if (check->run && !health_check_asks_the_same(before, now)) {
        withdraw(check);
        check->begun_ms = 0;
        schedule(checks, check);
    } else if (timer_is_set(&check->due) && check->begun_ms && before->interval_ms != now->interval_ms) {
        schedule(checks, check);
    }
}

static struct checked_service *create_checked(struct health_checks *checks, const struct service *service)
{
    struct checked_service *checked = memory_allocate(sizeof *checked);
    checked->checker = checks;
    list_init(&checked->checks);
    checked->number = ++checks->last_number;
    list_push_back(&checks->in_order, &checked->link);
    map_set(&checks->services, slice_from_cstring(service->id), checked);
    return checked;
}

/* Those of the endpoints go to the end of the list, in their order; what is left before them has gone out of the service. */
static void adopt_endpoints(struct checked_service *checked, const struct health_check *before)
{
    const struct service *service = checked->service;
    for (uint32_t i = 0; i < service->endpoint_count; i++) {
        struct instance *instance = service->endpoints[i].instance;
        struct instance_check *check = find_check(checked->checker, instance);
        if (!check)
            check = create_check(checked, instance);
        else
            follow_settings(check, before);
        check->version = checked->version;
        list_remove(&check->link);
        list_push_back(&checked->checks, &check->link);
    }
    struct list_link *link;
    while ((link = list_first(&checked->checks)) != NULL) {
        struct instance_check *check = CONTAINER_OF(link, struct instance_check, link);
        if (check->version == checked->version) return;
        drop_check(check);
    }
}

static void adopt_service(struct health_checks *checks, struct service *service, uint64_t version)
{
    struct checked_service *checked = map_find(&checks->services, slice_from_cstring(service->id));
    if (!checked) checked = create_checked(checks, service);
    const struct health_check *before = checked->service ? checked->service->health_check : NULL;
    checked->service = service;
    checked->version = version;
    adopt_endpoints(checked, before);
}

static void drop_checked(struct health_checks *checks, struct checked_service *checked)
{
    struct list_link *link;
    while ((link = list_first(&checked->checks)) != NULL) drop_check(CONTAINER_OF(link, struct instance_check, link));
    map_remove(&checks->services, slice_from_cstring(checked->service->id));
    list_remove(&checked->link);
    free(checked);
}

/* It is gone, or its healthCheck is, unless its place was taken by a newer one of the same id. */
static void leave_service(struct health_checks *checks, const struct service *service, uint64_t version)
{
    struct checked_service *checked = map_find(&checks->services, slice_from_cstring(service->id));
    if (checked && checked->version != version) drop_checked(checks, checked);
}

static struct service *service_at(const struct snapshot *snapshot, uint32_t index)
{
    return snapshot && index < snapshot->service_count ? snapshot->services[index] : NULL;
}

/* Both snapshots are there, so two pointers that are equal are the same service. */
void health_checks_adopt(struct health_checks *checks, const struct snapshot *before, const struct snapshot *now)
{
    pthread_mutex_lock(&checks->lock);
    checks->builder = now->builder;
    for (uint32_t i = 0; i < now->service_count; i++) {
        struct service *service = now->services[i];
        if (service && service->health_check && service != service_at(before, i))
            adopt_service(checks, service, now->version);
    }
    for (uint32_t i = 0; before && i < before->service_count; i++) {
        const struct service *service = before->services[i];
        if (service && service->health_check && service != service_at(now, i))
            leave_service(checks, service, now->version);
    }
    pthread_mutex_unlock(&checks->lock);
    begin_next(checks);
}

/* --- life --- */

void health_checks_init(struct health_checks *checks, struct upstream_worker *upstream)
{
    *checks = (struct health_checks){ .upstream = upstream, .lock = PTHREAD_MUTEX_INITIALIZER };
    upstream->is_checker = true;
    map_init(&checks->services);
    list_init(&checks->in_order);
    list_init(&checks->line);
    list_init(&checks->slow_line);
}

void health_checks_end(struct health_checks *checks)
{
    checks->ended = true;
    for (size_t slot = 0; slot < checks->slot_count; slot++) {
        if (checks->by_slot[slot]) withdraw(checks->by_slot[slot]);
    }
}

void health_checks_release(struct health_checks *checks)
{
    size_t position = 0;
    struct map_entry *entry;
    while ((entry = map_next(&checks->services, &position)) != NULL) {
        struct checked_service *checked = entry->value;
        struct list_link *link;
        while ((link = list_first(&checked->checks)) != NULL)
            drop_check(CONTAINER_OF(link, struct instance_check, link));
        free(checked);
    }
    map_release(&checks->services);
    free(checks->by_slot);
    pthread_mutex_destroy(&checks->lock);
}
