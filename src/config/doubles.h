/* config/doubles.h: plugins of one kind that stand in each other's way.
 *
 * Of a kind whose scopes don't add up one acts on a route: that of the narrowest scope and, of two in one scope, the last. So two that say
 * different things are hardly what was meant where both are for everything, for the same route or for the same service, and where a route
 * ends in the services of both (a split, an aggregate) and nothing narrower stands for them. Of two plugins is judged what is written, whether
 * or not there is a route that they would act on. Two that say the same are fine.
 *
 * Who writes them is refused. What a store holds already is in force as ever, for older versions let it in: its reader tells, and goes on. */
#ifndef SLUICE_CONFIG_DOUBLES_H
#define SLUICE_CONFIG_DOUBLES_H

#include "config/resource.h"

struct doubles_judging {
    const struct configuration *configuration;  /* enabled plugins and routes that count */
    const struct resource_directory *directory; /* NULL: names are those of the configuration */
    /* Only what one of these has a part in is told: a plugin, or a route as what brings services together. NULL: all. */
    bool (*is_new)(const void *argument, enum resource_kind, struct slice id);
    const void *argument;
    struct problems *problems; /* each is told at the youngest that is new */
};
void doubles_judge(const struct doubles_judging *);

#endif
