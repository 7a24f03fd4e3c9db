/* main.c: the policies that this build has, and the command line. */
#include "admin/admin.h"
#include "cli/cli.h"
#include "filters/filters.h"
#include "handlers/handlers.h"

int main(int count, char **arguments)
{
    const struct policy_registry registry = { .filters = filters_all, .handlers = handlers_all };
    return cli_main(count, arguments, &registry, &admin_registry);
}
