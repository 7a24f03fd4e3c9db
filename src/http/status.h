/* http/status.h: reason phrases and what a status means for a body. */
#ifndef SLUICE_HTTP_STATUS_H
#define SLUICE_HTTP_STATUS_H

#include "base/slice.h"

/* "Not Found"; empty for an unknown status. Static. */
struct slice status_reason(unsigned status);
/* 1xx, 204 and 304 never have content (RFC 9110 6.4.1). */
static inline bool status_has_no_content(unsigned status) { return status < 200 || status == 204 || status == 304; }

#endif
