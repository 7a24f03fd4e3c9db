/* cli/docs.c: `sluice docs TABLE`: a schema table as Markdown, so that the pages of docs/ repeat nothing that a table can say. */
#include "cli/private.h"
#include "config/config.h"

struct table {
    const char *name;
    const struct field *fields;
};

static const struct table tables[] = {
    { "configuration", configuration_fields },
    { "listener", listener_fields },
    { "admin", admin_fields },
    { "limits", limits_fields },
    { "service", service_fields },
    { "route", route_fields },
    { "split", split_fields },
    { "aggregate", aggregate_fields },
    { "aggregate-part", aggregate_part_fields },
    { "api-versions", api_versions_fields },
    { "test", test_fields },
    { "plugin", plugin_fields },
    { "filter", filter_fields },
    { "rate-limit-rule", rate_limit_fields },
    { "role", role_fields },
    { "certificate", certificate_resource_fields },
    { "api-keys", api_key_fields },
};

static const struct filter *find_filter(const struct policy_registry *registry, const char *name)
{
    for (const struct filter *const *filter = registry->filters; *filter; filter++) {
        if (strcmp((*filter)->name, name) == 0) return *filter;
    }
    return NULL;
}

static void list_names(const struct policy_registry *registry)
{
    fprintf(stderr, "sluice: the tables are expression-variables expression-functions");
    for (size_t i = 0; i < COUNT_OF(tables); i++) fprintf(stderr, " %s", tables[i].name);
    for (const struct filter *const *filter = registry->filters; *filter; filter++)
        fprintf(stderr, " %s", (*filter)->name);
    fprintf(stderr, "\n");
}

int command_docs(const struct command_line *line, const struct registries *registries)
{
    if (strcmp(line->file, "manual") == 0) {
        manual_write(stdout);
        return 0;
    }
    if (strcmp(line->file, "expression-variables") == 0) {
        expression_variables_write_markdown(stdout);
        return 0;
    }
    if (strcmp(line->file, "expression-functions") == 0) {
        expression_functions_write_markdown(stdout);
        return 0;
    }
    const struct filter *filter = find_filter(registries->policies, line->file);
    if (filter) {
        printf("%s\n\n", filter->summary);
        schema_write_markdown(stdout, filter->fields);
        return 0;
    }
    for (size_t i = 0; i < COUNT_OF(tables); i++) {
        if (strcmp(tables[i].name, line->file) != 0) continue;
        schema_write_markdown(stdout, tables[i].fields);
        return 0;
    }
    list_names(registries->policies);
    return 2;
}
