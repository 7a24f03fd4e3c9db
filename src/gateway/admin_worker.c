/* gateway/admin_worker.c: see admin_worker.h. Its one route is made by the same builder as all others, from a configuration written here. */
#include "gateway/admin_worker.h"

#include "base/log.h"
#include "base/memory.h"
#include "gateway/facts.h"

#define ADMIN_CONNECTIONS_MAX 256

static const char admin_configuration[] =
    "listeners: [\"127.0.0.1:1\"] # not used: its sockets come like all others, from the master\n"
    "routes:\n"
    "  - { name: admin, path: /*, respond: { status: 404 } }\n";

struct admin_worker {
    struct snapshot_builder *builder;
    struct publication publication;
    struct metrics *own_metrics; /* of its own route; never rendered */
    struct worker *worker;
};

static void ignore(void *argument) { (void)argument; }

static void ignore_publication(struct publication *publication) { (void)publication; }

static struct snapshot *make_snapshot(struct admin_worker *admin, struct worker_settings *settings, struct error *error)
{
    struct problems problems;
    struct policy_kinds none = { NULL, 0 };
    struct snapshot *snapshot = NULL;
    problems_init(&problems, "admin");
    struct configuration *configuration = configuration_load_text(slice_from_cstring(admin_configuration), "admin", "/",
                                                                  &none, &problems);
    if (configuration) {
        *settings = facts_worker_settings(configuration);
        snapshot = snapshot_builder_load(admin->builder, configuration, &problems);
        if (!snapshot) configuration_destroy(configuration);
    }
    if (!snapshot) {
        char *text = problems_to_text(&problems);
        error_format(error, "the admin route does not compile: %s", text);
        free(text);
    }
    problems_release(&problems);
    return snapshot;
}

static bool make_publication(struct admin_worker *admin, struct error *error)
{
    struct worker_settings settings;
    struct snapshot *snapshot = make_snapshot(admin, &settings, error);
    if (!snapshot) return false;
    settings.connections = (struct connection_limits){ .connections_max = ADMIN_CONNECTIONS_MAX };
    admin->publication = (struct publication){
        .snapshot = snapshot,
        .settings = settings,
        .holders = 1,
        .adopted = ignore_publication,
        .returned = ignore_publication,
    };
    return true;
}

static bool start_worker(struct admin_worker *admin, struct metrics *metrics, struct address_limits *addresses,
                         struct error *error)
{
    struct worker_options options = {
        .index = 0,
        .name = "admin",
        .metrics = admin->own_metrics,
        .addresses = addresses,
        .first = &admin->publication,
        .drained = ignore,
        .rendered_metrics = metrics,
    };
    admin->worker = worker_create(&options, error);
    if (!admin->worker) return false;
    if (worker_start(admin->worker, error)) return true;
    worker_destroy(admin->worker);
    admin->worker = NULL;
    return false;
}

struct admin_worker *admin_worker_create(const struct policy_registry *registry, struct metrics *metrics,
                                         struct address_limits *addresses, struct error *error)
{
    struct admin_worker *admin = memory_allocate(sizeof *admin);
    admin->own_metrics = metrics_create(1);
    struct snapshot_builder_settings settings = {
        .registry = registry, .metrics = admin->own_metrics, .workers = 1, .wake = ignore
    };
    admin->builder = snapshot_builder_create(&settings);
    if (make_publication(admin, error) && start_worker(admin, metrics, addresses, error)) return admin;
    admin_worker_destroy(admin);
    return NULL;
}

struct worker *admin_worker_get(struct admin_worker *admin) { return admin->worker; }

void admin_worker_stop(struct admin_worker *admin)
{
    worker_stop(admin->worker);
    worker_join(admin->worker);
}

void admin_worker_destroy(struct admin_worker *admin)
{
    if (admin->worker) worker_destroy(admin->worker);
    snapshot_builder_destroy(admin->builder);
    metrics_destroy(admin->own_metrics);
    free(admin);
}
