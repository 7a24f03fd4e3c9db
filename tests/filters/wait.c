/* test-wait, test-wait-thread: let a request or an answer wait, for a timer of the same worker or for another thread.
 *
 * A request whose wait ran into its deadline is answered with 504; an answer just goes on. Both leave the header X-Waited: done or
 * late, where there is one to leave. State: the wait, and the timer. A client that goes cancels: the timer is cleared; the
 * thread can't be, so its ticket is stale when it comes. */
#include "filters/test_filters.h"

#include "base/memory.h"

#include <pthread.h>

struct wait_config {
    uint64_t delay_ms, deadline_ms;
};

struct wait_state {
    struct exchange_wait wait;
    struct timer timer;
    bool waiting, timer_is_set;
};

static const struct field wait_fields[] = {
    { .name = "delayMs",
      .type = FIELD_MILLISECONDS,
      .into = offsetof(struct wait_config, delay_ms),
      .fallback = "1",
      .summary = "How long it takes." },
    { .name = "deadlineMs",
      .type = FIELD_MILLISECONDS,
      .into = offsetof(struct wait_config, deadline_ms),
      .fallback = "60000",
      .summary = "How long it may take." },
    FIELDS_END,
};

static enum filter_result wait_request(struct exchange *, const void *compiled, void *opaque);
static enum filter_result wait_response(struct exchange *, const void *compiled, void *opaque);
static enum filter_result thread_request(struct exchange *, const void *compiled, void *opaque);
static enum filter_result thread_response(struct exchange *, const void *compiled, void *opaque);
static void wait_finish(struct exchange *, const void *compiled, void *opaque);
static void thread_worker_stop(struct exchange_worker *, void *kept);

const struct filter filter_test_wait = {
    .name = "test-wait",
    .summary = "Waits for a timer.",
    .phase = PHASE_ACCESS,
    .fields = wait_fields,
    .config_size = sizeof(struct wait_config),
    .state_size = sizeof(struct wait_state),
    .all_scopes_apply = true,
    .on_response_allowed = true,
    .request = wait_request,
    .response_head = wait_response,
    .finish = wait_finish,
};

const struct filter filter_test_wait_thread = {
    .name = "test-wait-thread",
    .summary = "Waits for another thread.",
    .phase = PHASE_ACCESS,
    .fields = wait_fields,
    .config_size = sizeof(struct wait_config),
    .state_size = sizeof(struct wait_state),
    .all_scopes_apply = true,
    .on_response_allowed = true,
    .request = thread_request,
    .response_head = thread_response,
    .finish = wait_finish,
    .worker_stop = thread_worker_stop,
};

/* --- beginning to wait --- */

static void timer_fires(struct timer *timer)
{
    struct wait_state *state = CONTAINER_OF(timer, struct wait_state, timer);
    state->timer_is_set = false;
    exchange_resume(&state->wait);
}

static void cancel(struct exchange_wait *wait)
{
    struct wait_state *state = CONTAINER_OF(wait, struct wait_state, wait);
    test_filter_counts.cancelled++;
    if (state->timer_is_set) timer_clear(&wait->exchange->worker->loop->timers, &state->timer);
    state->timer_is_set = false;
}

static void begin(struct exchange *exchange, const struct wait_config *config, struct wait_state *state)
{
    test_filter_counts.waits++;
    state->waiting = true;
    exchange_wait(exchange, &state->wait, cancel, exchange->worker->loop->now_ms + config->deadline_ms);
}

static enum filter_result begin_timer(struct exchange *exchange, const struct wait_config *config,
                                      struct wait_state *state)
{
    begin(exchange, config, state);
    timer_init(&state->timer, timer_fires);
    timer_set(&exchange->worker->loop->timers, &state->timer, exchange->worker->loop->now_ms + config->delay_ms);
    state->timer_is_set = true;
    return FILTER_WAIT;
}

/* The thread has only this: nothing of the exchange. */
struct thread_job {
    struct wait_ticket ticket;
    uint64_t delay_ms;
};

static pthread_mutex_t threads_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t threads_ended = PTHREAD_COND_INITIALIZER;
static unsigned threads_running;

static void count_threads(int change)
{
    pthread_mutex_lock(&threads_lock);
    threads_running += (unsigned)change;
    if (threads_running == 0) pthread_cond_broadcast(&threads_ended);
    pthread_mutex_unlock(&threads_lock);
}

void test_filters_settle(void)
{
    pthread_mutex_lock(&threads_lock);
    while (threads_running > 0) pthread_cond_wait(&threads_ended, &threads_lock);
    pthread_mutex_unlock(&threads_lock);
}

/* A ticket may be stale, but its worker's mailbox must be there. */
static void thread_worker_stop(struct exchange_worker *worker, void *kept) { test_filters_settle(); }

static void *thread_run(void *argument)
{
    struct thread_job *job = argument;
    const struct timespec delay = { (time_t)(job->delay_ms / 1000), (long)(job->delay_ms % 1000) * 1000000 };
    nanosleep(&delay, NULL);
    exchange_resume_from_thread(&job->ticket);
    free(job);
    count_threads(-1);
    return NULL;
}

static enum filter_result begin_thread(struct exchange *exchange, const struct wait_config *config,
                                       struct wait_state *state)
{
    struct thread_job *job = memory_allocate(sizeof *job);
    job->delay_ms = config->delay_ms;
    begin(exchange, config, state);
    PROMISE(exchange_wait_ticket(&state->wait, &job->ticket));
    pthread_t thread;
    count_threads(1);
    PROMISE(pthread_create(&thread, NULL, thread_run, job) == 0);
    pthread_detach(thread);
    return FILTER_WAIT;
}

/* --- having waited --- */

static const struct slice words[] = { [WAIT_DONE] = { "done", 4 }, [WAIT_DEADLINE] = { "late", 4 } };

static void leave_word(struct exchange *exchange, struct headers *headers)
{
    PROMISE(headers_add(headers, SLICE("X-Waited"), words[exchange_wait_outcome(exchange)]));
    if (exchange_wait_outcome(exchange) == WAIT_DEADLINE) test_filter_counts.late++;
}

static enum filter_result after_request(struct exchange *exchange)
{
    leave_word(exchange, &exchange->request->headers);
    if (exchange_wait_outcome(exchange) == WAIT_DONE) return FILTER_NEXT;
    exchange_respond_problem(exchange, 504, "test-late", SLICE("test-wait"), "what was waited for did not come");
    return FILTER_RESPOND;
}

static enum filter_result after_response(struct exchange *exchange)
{
    leave_word(exchange, &exchange->response->headers);
    return FILTER_NEXT;
}

static enum filter_result wait_request(struct exchange *exchange, const void *compiled, void *opaque)
{
    struct wait_state *state = opaque;
    return state->waiting ? after_request(exchange) : begin_timer(exchange, compiled, state);
}

static enum filter_result wait_response(struct exchange *exchange, const void *compiled, void *opaque)
{
    struct wait_state *state = opaque;
    return state->waiting ? after_response(exchange) : begin_timer(exchange, compiled, state);
}

static enum filter_result thread_request(struct exchange *exchange, const void *compiled, void *opaque)
{
    struct wait_state *state = opaque;
    return state->waiting ? after_request(exchange) : begin_thread(exchange, compiled, state);
}

static enum filter_result thread_response(struct exchange *exchange, const void *compiled, void *opaque)
{
    struct wait_state *state = opaque;
    return state->waiting ? after_response(exchange) : begin_thread(exchange, compiled, state);
}

static void wait_finish(struct exchange *exchange, const void *compiled, void *opaque)
{
    const struct wait_state *state = opaque;
    PROMISE(!state->timer_is_set); /* cancelled or fired: nothing of a wait outlives it */
    test_filter_counts.finished++;
}
