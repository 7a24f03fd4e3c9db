/* cli/check.c: `sluice check FILE`: everything a start would refuse, without starting. */
#include "base/memory.h"
#include "cli/private.h"
#include "gateway/entrance.h"
#include "snapshot/snapshot.h"

static void ignore(void *argument) { (void)argument; }

/* Compiles too: patterns, regexes and templates are judged there. */
static bool compiles(struct configuration *configuration, const struct policy_registry *registry,
                     struct problems *problems, size_t *routes)
{
    struct metrics *metrics = metrics_create(1);
    struct snapshot_builder_settings settings = {
        .registry = registry, .metrics = metrics, .workers = 1, .wake = ignore
    };
    struct snapshot_builder *builder = snapshot_builder_create(&settings);
    struct snapshot *snapshot = snapshot_builder_load(builder, configuration, problems);
    if (snapshot) {
        *routes = snapshot->route_count;
    } else {
        configuration_destroy(configuration);
    }
    snapshot_builder_destroy(builder);
    metrics_destroy(metrics);
    return snapshot != NULL;
}

/* Certificates are read, as a start would. */
static bool can_be_entered(const struct configuration *configuration, struct problems *problems)
{
    struct ticket_ring ring;
    ticket_ring_init(&ring, 0);
    struct entrances *entrances = entrances_create(configuration, &ring, ENTRANCES_WHOLE, problems);
    entrances_drop(entrances);
    ticket_ring_release(&ring);
    return entrances != NULL;
}

int command_check(const struct command_line *line, const struct registries *registries)
{
    struct problems problems;
    struct policy_kinds kinds = policy_registry_kinds(registries->policies);
    size_t routes = 0;
    problems_init(&problems, line->file);
    struct configuration *configuration = configuration_load_file(line->file, &kinds, &problems);
    bool good = configuration && can_be_entered(configuration, &problems);
    if (configuration) good &= compiles(configuration, registries->policies, &problems, &routes);
    if (good) {
        printf("%s: good, %zu routes\n", line->file, routes);
    } else {
        char *text = problems_to_text(&problems);
        fprintf(stderr, "%s", text);
        free(text);
    }
    problems_release(&problems);
    free((void *)(uintptr_t)kinds.items);
    return good ? 0 : 1;
}
