/* filters/private.h: what the policies of this room share. */
#ifndef SLUICE_FILTERS_PRIVATE_H
#define SLUICE_FILTERS_PRIVATE_H

#include "exchange/exchange.h"

/* Framing and hop-by-hop fields, Host, Expect: Sluice writes them itself and no policy changes them. */
bool header_is_sluices_own(enum header_id);
/* For `check` of a field that names a header to write or remove: a token (RFC 9110 5.1), and none that frames the message or
 * speaks for one hop only: those Sluice writes itself. */
bool check_header_name(struct schema_reading *, const struct node *, const void *name);
/* For `check` of a text that becomes a header's value: no CR, LF or NUL. What variables bring in is checked where it is written. */
bool check_header_value(struct schema_reading *, const struct node *, const void *value);

/* Memory is short: the answer becomes a 503, on the request's side (then FILTER_RESPOND) as well as on the response's. */
void respond_no_memory(struct exchange *);

#endif
