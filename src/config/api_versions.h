/* config/api_versions.h: the versions of APIs once they are read: found by what a route says of them. */
#ifndef SLUICE_CONFIG_API_VERSIONS_H
#define SLUICE_CONFIG_API_VERSIONS_H

#include "config/resources.h"

/* A list of struct api_versions_config with all it points at, in the arena. Out of memory ends the process: the control plane's. */
struct object_list api_versions_copy(struct arena *, const struct object_list *);
/* The API that a route's "2" (of the only one) or "users/2" is of, and the version's name. NULL: none, or it isn't said which. */
const struct api_versions_config *api_versions_find(const struct object_list *, struct slice reference,
                                                    struct slice *version);
/* NULL: it has no such version. */
const struct api_version_config *api_versions_get(const struct api_versions_config *, struct slice version);
/* "1, 2 and 3", for people. In the arena; absent when memory is short. */
struct slice api_versions_names(const struct api_versions_config *, struct arena *);

#endif
