/* http/media_type.h: parameters of media types as they stand in Content-Type and Accept (RFC 9110 8.3.1, 12.5.1). */
#ifndef SLUICE_HTTP_MEDIA_TYPE_H
#define SLUICE_HTTP_MEDIA_TYPE_H

#include "base/slice.h"

#define MEDIA_TYPE_VALUE_BYTES_MAX 128

/* Of the media types (or ranges) in a comma list, the value of the parameter of that name: of the one with the highest weight that has it,
 * the first of equals; weight 0 says that it isn't wanted. Names compare without case. A quoted value is written into `buffer` where it
 * has a backslash in it. Absent: no type has it, or it is longer than the buffer. Never reads anything of it but whole parameters. */
struct slice media_type_parameter(struct slice list, struct slice name, char buffer[MEDIA_TYPE_VALUE_BYTES_MAX]);

#endif
