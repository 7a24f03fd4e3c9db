/* The program with the policies of tests/filters beside its own. */
#include "admin/admin.h"
#include "cli/cli.h"
#include "filters/test_filters.h"
#include "handlers/handlers.h"

int main(int count, char **arguments)
{
    const struct policy_registry registry = { .filters = test_filters_with_all(), .handlers = handlers_all };
    return cli_main(count, arguments, &registry, &admin_registry);
}
