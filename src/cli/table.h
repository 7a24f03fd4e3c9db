/* cli/table.h: a list of resources as a table for a terminal. */
#ifndef SLUICE_CLI_TABLE_H
#define SLUICE_CLI_TABLE_H

#include "config/resource.h"

#include <jansson.h>

/* One line an item under the kind's own columns; as wide as they need. */
void table_print(FILE *, enum resource_kind, const json_t *items);

#endif
