/* filters/: one file a policy; filters/all.c lists them. */
#ifndef SLUICE_FILTERS_FILTERS_H
#define SLUICE_FILTERS_FILTERS_H

#include "chain/filter.h"

extern const struct filter filter_add_header, filter_set_header, filter_remove_header, filter_rewrite_path,
    filter_add_query_param, filter_cors, filter_security_headers, filter_ip_list, filter_grpc_web, filter_websocket;
extern const struct filter filter_access;
extern const struct filter filter_compression, filter_decompression, filter_mirror;
extern const struct filter filter_api_key;
extern const struct filter filter_jwt_auth;
extern const struct filter filter_ext_auth;
extern const struct filter filter_rate_limit;
/* Not in the list: chain_create() puts it where it is needed. */
extern const struct filter filter_identity_gate;

/* NULL-ended. */
extern const struct filter *const filters_all[];

/* Of all ext-auth policies, each header that is listed for the client's answer and never gets there, at its place: "warning: ...". */
struct configuration;
void ext_auth_warnings_add(const struct configuration *, struct problems *);

#endif
