/* filters/private.h: what the policies of this room share. */
#ifndef SLUICE_FILTERS_PRIVATE_H
#define SLUICE_FILTERS_PRIVATE_H

#include "exchange/exchange.h"

/* For `check` of a field that names a header to write or remove: a token (RFC 9110 5.1), and none that frames the message or
 * speaks for one hop only: those Sluice writes itself. */
bool check_header_name(struct schema_reading *, const struct node *, const void *name);
/* For `check` of a text that becomes a header's value: no control byte but the tab. What variables bring in is checked where it is written. */
bool check_header_value(struct schema_reading *, const struct node *, const void *value);

/* For `check` of a challenge's realm: what a quoted string may hold (RFC 9110 5.6.4); quotes are escaped where it is written. */
bool check_realm(struct schema_reading *, const struct node *, const void *text);
/* For `check` of a scope: one word by RFC 6749 3.3. */
bool check_scope_word(struct schema_reading *, const struct node *, const void *text);

/* Origins that are let through (Fetch standard, 3.2): exact ones, those with `*.` for every host below, `*` for all. */
struct known_origin;
struct origin_list {
    struct known_origin *items;
    size_t count;
    bool any; /* one of them is `*` */
};
bool check_origin(struct schema_reading *, const struct node *, const void *text);
/* Of texts that passed check_origin(), at least one; copies them. */
void origin_list_init(struct origin_list *, const struct slice_list *texts);
void origin_list_release(struct origin_list *);
bool origin_list_holds(const struct origin_list *, struct slice origin);
/* Absent where there is none, or more than one, which no browser sends. */
struct slice request_origin(const struct exchange *);

/* Memory is short: the answer becomes a 503, on the request's side (then FILTER_RESPOND) as well as on the response's. */
void respond_no_memory(struct exchange *);

#endif
