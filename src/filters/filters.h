/* filters/: one file a policy; filters/all.c lists them. */
#ifndef SLUICE_FILTERS_FILTERS_H
#define SLUICE_FILTERS_FILTERS_H

#include "chain/filter.h"

extern const struct filter filter_add_header, filter_set_header, filter_remove_header, filter_rewrite_path,
    filter_add_query_param, filter_cors, filter_security_headers, filter_ip_list, filter_grpc_web, filter_websocket;

/* NULL-ended. */
extern const struct filter *const filters_all[];

#endif
