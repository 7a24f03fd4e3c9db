/* base/nearest.h: what somebody meant who has mistyped a name. */
#ifndef SLUICE_BASE_NEAREST_H
#define SLUICE_BASE_NEAREST_H

#include "base/slice.h"

/* The nearest of `names` to `text` by edit distance, for "did you mean"; NULL where none is near. Case, '_' and '-' don't count. */
const char *nearest_name(struct slice text, const char *const *names, size_t count);

#endif
