/* gateway/admin_view.c: see admin_view.h. */
#include "gateway/admin_view.h"

#include "base/clock.h"
#include "gateway/private.h"

static struct admin_settings *retain_settings(void *argument)
{
    struct gateway *gateway = argument;
    struct admin_view *view = &gateway->admin_view;
    pthread_mutex_lock(&view->lock);
    struct admin_settings *settings = view->settings;
    atomic_fetch_add_explicit(&settings->references, 1, memory_order_relaxed);
    pthread_mutex_unlock(&view->lock);
    return settings;
}

/* A worker that hangs takes the process with it, so those that there are, are alive. */
static void tell_health(void *argument, struct admin_health *health)
{
    const struct gateway *gateway = argument;
    struct worker_figures sum;
    unsigned instances[HEALTH_STATES];
    control_sum_figures(gateway, &sum);
    health_worker_count(gateway->checker, instances);
    *health = (struct admin_health){
        .is_serving = gateway->ready,
        .is_draining = gateway->draining || gateway->yielding,
        .workers = gateway->worker_count,
        .workers_alive = gateway->worker_count,
        .snapshot_version = publisher_version(gateway->publisher),
        .routes = publisher_routes(gateway->publisher),
        .uptime_ms = clock_monotonic_ns() / 1000000 - gateway->begun_ms,
        .connections = sum.connections,
        .requests_in_flight = sum.exchanges,
        .instances_up = instances[HEALTH_UP],
        .instances_down = instances[HEALTH_DOWN],
        .instances_unknown = instances[HEALTH_UNKNOWN],
    };
}

static char *describe_instances(void *argument, struct slice service_id)
{
    const struct gateway *gateway = argument;
    return health_worker_describe(gateway->checker, service_id);
}

static char *describe_gateways(void *argument)
{
    const struct gateway *gateway = argument;
    return changes_gateways(publisher_changes(gateway->publisher));
}

void admin_view_init(struct admin_view *view, struct gateway *gateway)
{
    pthread_mutex_init(&view->lock, NULL);
    view->kinds = policy_registry_kinds(gateway->options->registry);
    view->surroundings = (struct admin_surroundings){
        .metrics = publisher_metrics(gateway->publisher),
        .mirrors = publisher_mirrors(gateway->publisher),
        .changes = publisher_changes(gateway->publisher),
        .kinds = &view->kinds,
        .settings = retain_settings,
        .health = tell_health,
        .instances = describe_instances,
        .gateways = describe_gateways,
        .argument = gateway,
    };
}

void admin_view_take_settings(struct admin_view *view, struct admin_settings *settings)
{
    pthread_mutex_lock(&view->lock);
    struct admin_settings *before = view->settings;
    view->settings = settings;
    pthread_mutex_unlock(&view->lock);
    if (before) admin_settings_drop(before);
}

void admin_view_release(struct admin_view *view)
{
    if (view->settings) admin_settings_drop(view->settings);
    view->settings = NULL;
    free((void *)(uintptr_t)view->kinds.items);
    pthread_mutex_destroy(&view->lock);
}
