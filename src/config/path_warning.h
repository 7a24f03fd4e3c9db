/* config/path_warning.h: patterns of routes that are good and yet hardly what was meant, by people who know others' patterns. */
#ifndef SLUICE_CONFIG_PATH_WARNING_H
#define SLUICE_CONFIG_PATH_WARNING_H

#include "base/slice.h"

struct configuration;
struct problems;

#define PATH_WARNING_BYTES 256

/* `":id" in a path is literal text; "{id}" captures a segment`. False: nothing strikes. */
bool path_warning(struct slice pattern, char into[PATH_WARNING_BYTES]);
/* Of all routes, each at its place: "warning: ...". */
void path_warnings_add(const struct configuration *, struct problems *);

#endif
