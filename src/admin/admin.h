/* admin/: what the internal listener answers: a handler over the same HTTP stack, on a worker of its own.
 *
 * Today: GET /admin/metrics. */
#ifndef SLUICE_ADMIN_ADMIN_H
#define SLUICE_ADMIN_ADMIN_H

#include "chain/chain.h"

extern const struct handler handler_admin;
/* No filters, this one handler. */
extern const struct policy_registry admin_registry;

#endif
