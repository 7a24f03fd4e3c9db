/* handlers/part_path.h: the path and query that a part of an aggregate is asked for, with values of the request in it.
 *
 * What a value brings is data and never structure: all of it but unreserved characters is percent-encoded (RFC 3986 2.3), so that none opens
 * a query, another parameter or another segment. A route's capture (`${path.NAME}`) is encoded already and stays so. A value that is a
 * segment must not be empty, nor may any segment become `.` or `..`. Immutable once compiled; any thread writes. */
#ifndef SLUICE_HANDLERS_PART_PATH_H
#define SLUICE_HANDLERS_PART_PATH_H

#include "chain/filter.h"

struct part_path;

/* NULL: problems were added, at `path` of the compilation's node. */
struct part_path *part_path_compile(const struct filter_compile *, struct slice text) MUST_USE;
void part_path_destroy(struct part_path *); /* NULL is allowed */

enum part_path_result { PART_PATH_WRITTEN, PART_PATH_BAD_VALUE, PART_PATH_NO_MEMORY };
/* `render` as in answer_template.h. */
enum part_path_result part_path_write(const struct part_path *,
                                      struct slice (*render)(const void *argument, const struct template *),
                                      const void *argument, struct arena *, struct slice *target) MUST_USE;

#endif
