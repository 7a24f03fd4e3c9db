/* gateway/watch.c: what the control thread keeps an eye on: host names, the workers' signs of life, figures for people and Prometheus. */
#include "gateway/private.h"

#include "base/log.h"
#include "base/memory.h"
#include "gateway/key_set_metrics.h"
#include "gateway/limit_figures.h"
#include "gateway/status.h"

#include <signal.h>
#include <unistd.h>

#define BEAT_MS 250
#define LOST_TIME_MS 1000   /* between two beats: this thread did not run */
#define LAST_MOMENT_MS 1000 /* between a stalled worker's SIGABRT and SIGKILL */

/* --- host names --- */

static void addresses_changed(void *argument, const struct address *addresses, size_t count, const struct error *error)
{
    struct watched_name *name = argument;
    if (error && error->reason) log_warning("host name \"%s\": %s", name->host, error->text);
    publisher_addresses(name->gateway->publisher, slice_from_cstring(name->host), addresses, count);
}

static struct watched_name *find_name(struct gateway *gateway, struct slice host)
{
    for (struct list_link *link = gateway->names.next; link != &gateway->names; link = link->next) {
        struct watched_name *name = CONTAINER_OF(link, struct watched_name, link);
        if (slice_equal(slice_from_cstring(name->host), host)) return name;
    }
    return NULL;
}

static void forget_name(struct watched_name *name)
{
    resolver_unwatch(name->watch);
    list_remove(&name->link);
    free(name->host);
    free(name);
}

void control_name_used(void *owner, struct slice host, bool in_use)
{
    struct gateway *gateway = owner;
    struct watched_name *name = find_name(gateway, host);
    if (!in_use) {
        if (name) forget_name(name);
    } else if (!name && gateway->resolver) {
        name = memory_allocate(sizeof *name);
        name->gateway = gateway;
        name->host = memory_copy_slice(host);
        list_push_back(&gateway->names, &name->link);
        name->watch = resolver_watch(gateway->resolver, host, addresses_changed, name);
    }
}

void control_forget_names(struct gateway *gateway)
{
    struct list_link *link;
    while ((link = list_first(&gateway->names)) != NULL) forget_name(CONTAINER_OF(link, struct watched_name, link));
}

/* --- status and figures --- */

void control_sum_figures(const struct gateway *gateway, struct worker_figures *sum)
{
    *sum = (struct worker_figures){ 0 };
    for (unsigned i = 0; i < gateway->worker_count; i++) worker_add_figures(gateway->workers[i], sum);
}

int64_t control_open_tunnels(const struct gateway *gateway)
{
    struct worker_figures sum;
    control_sum_figures(gateway, &sum);
    return sum.tunnels;
}

void control_answer_status(struct gateway *gateway, uint64_t command, const char *others)
{
    char text[2048];
    uint64_t gateways_draining = 0;
    struct worker_figures sum;
    control_sum_figures(gateway, &sum);
    slice_parse_uint64(slice_from_cstring(others), &gateways_draining);
    struct status status = {
        .workers = gateway->worker_count,
        .snapshot_version = publisher_version(gateway->publisher),
        .routes = publisher_routes(gateway->publisher),
        .uptime_ms = gateway->loop.now_ms - gateway->begun_ms,
        .draining = gateway->draining,
        .gateways_draining = gateways_draining,
        .figures = &sum,
        .access_log_lines_dropped = access_log_lines_dropped(gateway->access_log),
    };
    text[0] = '+';
    status_write(&status, text + 1, sizeof text - 1);
    control_send(gateway, SUPERVISION_ANSWER, command, text);
}

bool control_write_checks(struct metrics_text *text, void *argument, uint64_t *place)
{
    struct gateway *gateway = argument;
    return gateway->checker && health_worker_write_metrics(gateway->checker, text, place);
}

bool control_write_limits(struct metrics_text *text, void *argument, uint64_t *place)
{
    const struct gateway *gateway = argument;
    return limit_figures_write(publisher_limits(gateway->publisher), text, place);
}

void control_write_figures(struct metrics_text *text, void *argument)
{
    struct gateway *gateway = argument;
    struct worker_figures sum;
    control_sum_figures(gateway, &sum);
    figures_write_metrics(text, &sum);
    certificate_watch_write_metrics(&gateway->certificates, text);
    key_index_write_metrics(publisher_key_index(gateway->publisher), text);
    key_set_metrics_write(publisher_key_sets(gateway->publisher), text);
    metrics_text_head(text, "sluice_snapshot_version", "gauge", "Version of the configuration in force.");
    metrics_text_line(text, "sluice_snapshot_version", NULL, publisher_version(gateway->publisher));
    metrics_text_head(text, "sluice_access_log_lines_dropped_total", "counter",
                      "Log lines dropped because the log could not be written.");
    metrics_text_line(text, "sluice_access_log_lines_dropped_total", NULL,
                      access_log_lines_dropped(gateway->access_log));
}

/* --- heartbeat --- */

/* A worker that does not turn is stuck in a loop or a call: its thread dies by SIGABRT, so that the backtrace shows where. One that
 * can't even take the signal (stopped by a debugger, stuck in the kernel) takes the process with it a moment later. */
static void end_stalled(struct gateway *gateway, struct worker *worker, struct sign_of_life *sign)
{
    uint64_t now_ms = gateway->loop.now_ms;
    if (sign->condemned_ms == 0) {
        sign->condemned_ms = now_ms;
        log_error("%s has not turned its loop for %llu ms: ending the gateway", worker_name(worker),
                  (unsigned long long)(now_ms - sign->changed_ms));
        pthread_kill(worker_thread(worker), SIGABRT);
    } else if (now_ms - sign->condemned_ms > LAST_MOMENT_MS) {
        kill(getpid(), SIGKILL);
    }
}

/* Was the whole process stopped (by a signal, with its machine)? Then the workers must have their turn before they are judged. */
static void forgive_lost_time(struct gateway *gateway)
{
    uint64_t now_ms = gateway->loop.now_ms;
    if (now_ms - gateway->beat_ms > LOST_TIME_MS) {
        for (unsigned i = 0; i < gateway->worker_count; i++) gateway->signs[i].changed_ms = now_ms;
    }
    gateway->beat_ms = now_ms;
}

static void check_workers(struct gateway *gateway)
{
    for (unsigned i = 0; i < gateway->worker_count; i++) {
        uint64_t turns = worker_turns(gateway->workers[i]);
        struct sign_of_life *sign = &gateway->signs[i];
        if (turns != sign->turns) {
            *sign = (struct sign_of_life){ turns, gateway->loop.now_ms, 0 };
        } else if (gateway->loop.now_ms - sign->changed_ms > gateway->facts->stall_timeout_ms) {
            end_stalled(gateway, gateway->workers[i], sign);
        }
    }
}

void control_beat(struct timer *timer)
{
    struct gateway *gateway = CONTAINER_OF(timer, struct gateway, beat);
    forgive_lost_time(gateway);
    check_workers(gateway);
    key_index_heard(publisher_key_index(gateway->publisher), publisher_changes(gateway->publisher));
    if (gateway->ready) control_send(gateway, SUPERVISION_BEAT, 0, NULL);
    timer_set(&gateway->loop.timers, timer, gateway->loop.now_ms + BEAT_MS);
}
