/* filters/header_names.h: a list of header names as configuration writes it, each whole or by its beginning and a `*`. Immutable once made. */
#ifndef SLUICE_FILTERS_HEADER_NAMES_H
#define SLUICE_FILTERS_HEADER_NAMES_H

#include "config/resources.h"
#include "http/headers.h"

struct header_name {
    struct slice text; /* without the `*` */
    uint8_t id;        /* enum header_id; of a beginning HEADER_OTHER */
    bool is_beginning;
};

struct header_names {
    struct header_name *items; /* one block with all texts */
    size_t count;
};

/* For `check` of such a list's items: none of them may be what Sluice writes itself. */
bool check_header_names_item(struct schema_reading *, const struct node *, const void *text);
/* The same for those that are written into requests for the service: nor what the proxy writes behind all filters. */
bool check_upstream_names_item(struct schema_reading *, const struct node *, const void *text);

/* Copies texts that passed the check. */
void header_names_init(struct header_names *, const struct slice_list *texts);
void header_names_release(struct header_names *);
/* A field that Sluice writes itself is never held. */
bool header_names_hold(const struct header_names *, const struct header *);
/* Takes all of them off, also as CGI and WSGI would read them (http/our_names.h). */
void header_names_strip(const struct header_names *, struct headers *);

#endif
