/* gateway/admin_worker.c: see admin_worker.h. Its one route is made by the same builder as all others, from a configuration written here. */
#include "gateway/admin_worker.h"

#include "admin/admin.h"
#include "base/log.h"
#include "base/memory.h"
#include "gateway/facts.h"

#define ADMIN_CONNECTIONS_MAX 256
#define PROBE_CONNECTIONS_MAX 64 /* of those: whoever may reach the probes must not keep others from the API */

static const char admin_configuration[] =
    "listeners: [\"127.0.0.1:1\"] # not used: its sockets come like all others, from the master\n"
    "routes:\n"
    "  - { name: admin, path: /*, respond: { status: 404 }, timeoutMs: 120000 }\n";

struct admin_worker {
    struct snapshot_builder *builder;
    struct snapshot *snapshot; /* its one route: for good */
    struct worker_settings settings;
    struct metrics *own_metrics; /* of its own route; never rendered */
    struct admin_surroundings *surroundings;
    struct worker *worker;
};

static void ignore(void *argument) { (void)argument; }

static void adopted(struct publication *publication) { (void)publication; }

static void returned(struct publication *publication)
{
    entrances_drop(publication->entrances);
    free(publication);
}

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
    }
    if (!snapshot) {
        char *text = problems_to_text(&problems);
        error_format(error, "the admin route does not compile: %s", text);
        free(text);
    }
    problems_release(&problems);
    return snapshot;
}

static bool make_settings(struct admin_worker *admin, struct error *error)
{
    admin->snapshot = make_snapshot(admin, &admin->settings, error);
    admin->settings.connections = (struct connection_limits){ .connections_max = ADMIN_CONNECTIONS_MAX,
                                                              .probes_max = PROBE_CONNECTIONS_MAX };
    return admin->snapshot != NULL;
}

static struct publication *make_publication(const struct admin_worker *admin, struct entrances *entrances)
{
    struct publication *publication = memory_allocate(sizeof *publication);
    *publication = (struct publication){
        .snapshot = admin->snapshot,
        .settings = admin->settings,
        .entrances = entrances,
        .to_adopt = 1,
        .holders = 1,
        .adopted = adopted,
        .returned = returned,
    };
    entrances_retain(entrances);
    return publication;
}

static bool start_worker(struct admin_worker *admin, struct address_limits *addresses, struct entrances *entrances,
                         struct error *error)
{
    struct publication *first = make_publication(admin, entrances);
    struct worker_options options = {
        .index = 0,
        .name = "admin",
        .metrics = admin->own_metrics,
        .addresses = addresses,
        .first = first,
        .drained = ignore,
        .admin = admin->surroundings,
    };
    admin->worker = worker_create(&options, error);
    if (!admin->worker) {
        returned(first);
        return false;
    }
    if (worker_start(admin->worker, error)) return true;
    worker_destroy(admin->worker);
    admin->worker = NULL;
    return false;
}

struct admin_worker *admin_worker_create(const struct policy_registry *registry,
                                         struct admin_surroundings *surroundings, struct address_limits *addresses,
                                         struct entrances *entrances, struct error *error)
{
    struct admin_worker *admin = memory_allocate(sizeof *admin);
    admin->own_metrics = metrics_create(1);
    admin->surroundings = surroundings;
    struct snapshot_builder_settings settings = {
        .registry = registry, .metrics = admin->own_metrics, .workers = 1, .wake = ignore
    };
    admin->builder = snapshot_builder_create(&settings);
    if (make_settings(admin, error) && start_worker(admin, addresses, entrances, error)) return admin;
    admin_worker_destroy(admin);
    return NULL;
}

void admin_worker_renew(struct admin_worker *admin, struct entrances *entrances)
{
    worker_publish(admin->worker, make_publication(admin, entrances));
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
    admin_surroundings_release(admin->surroundings);
    snapshot_builder_destroy(admin->builder);
    metrics_destroy(admin->own_metrics);
    free(admin);
}
