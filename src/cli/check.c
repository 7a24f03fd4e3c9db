/* cli/check.c: `sluice check FILE`: everything a start would refuse, without starting; with --test what the file's own tests say, too. */
#include "base/memory.h"
#include "cli/private.h"
#include "config/path_warning.h"
#include "filters/filters.h"
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
    if (snapshot) *routes = snapshot->route_count;
    snapshot_builder_destroy(builder);
    metrics_destroy(metrics);
    return snapshot != NULL;
}

/* Certificates are read, as a start would. */
static bool can_be_entered(const struct configuration *configuration, struct problems *problems)
{
    struct ticket_ring ring;
    ticket_ring_init(&ring, 0);
    struct entrances *entrances = entrances_create(configuration, &configuration->certificates, &ring, ENTRANCES_WHOLE,
                                                   problems);
    struct entrances *admin = entrances_create_admin(configuration, &configuration->certificates, &ring,
                                                     ENTRANCES_WHOLE, problems);
    bool good = entrances && admin;
    entrances_drop(entrances);
    entrances_drop(admin);
    ticket_ring_release(&ring);
    return good;
}

static void print_problems(const struct problems *problems)
{
    char *text = problems_to_text(problems);
    fprintf(stderr, "%s", text);
    free(text);
}

static int check(const struct command_line *line, const struct registries *registries, const struct policy_kinds *kinds,
                 struct problems *problems)
{
    size_t routes = 0;
    struct problems warnings;
    problems_init(&warnings, line->file);
    struct configuration *configuration = configuration_load_file(line->file, kinds, problems);
    bool good = configuration && can_be_entered(configuration, problems);
    bool in_store = configuration && configuration->store != STORE_FILE;
    if (configuration) {
        path_warnings_add(configuration, &warnings);
        ext_auth_warnings_add(configuration, &warnings);
    }
    if (configuration) good &= compiles(configuration, registries->policies, problems, &routes);
    if (good && warnings.count > 0) print_problems(&warnings);
    problems_release(&warnings);
    if (good && in_store)
        printf("%s: good; routes and all else are in its store, which was not looked at\n", line->file);
    else if (good)
        printf("%s: good, %zu routes\n", line->file, routes);
    return good ? 0 : 1;
}

/* A file whose resources are for a store can be tried like one that is run. Compiling takes a configuration, so the tests are those of
 * another one of the same file. */
static int check_with_tests(const struct command_line *line, const struct registries *registries,
                            const struct policy_kinds *kinds, struct problems *problems)
{
    struct configuration *with_tests = configuration_load_file_to_import(line->file, kinds, problems);
    bool good = with_tests && can_be_entered(with_tests, problems);
    if (good && with_tests->tests.count == 0)
        problems_add(problems, NULL, "\"tests\" says what requests are to meet", "it has no tests");
    bool can_run = good && with_tests->tests.count > 0;
    struct configuration *to_compile = can_run ? configuration_load_file_to_import(line->file, kinds, problems) : NULL;
    int status = to_compile ? check_run_tests(line, with_tests, to_compile, registries, problems) : 1;
    configuration_destroy(with_tests);
    return status;
}

int command_check(const struct command_line *line, const struct registries *registries)
{
    struct problems problems;
    if ((line->json || line->explain) && !line->test) {
        fprintf(stderr, "sluice: --json and --explain need --test\n");
        return 2;
    }
    struct policy_kinds kinds = policy_registry_kinds(registries->policies);
    problems_init(&problems, line->file);
    int status = (line->test ? check_with_tests : check)(line, registries, &kinds, &problems);
    if (problems.count > 0) print_problems(&problems);
    problems_release(&problems);
    free((void *)(uintptr_t)kinds.items);
    return status;
}
