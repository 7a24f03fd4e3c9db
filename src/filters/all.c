#include "filters/filters.h"

const struct filter *const filters_all[] = {
    &filter_access,
    &filter_add_header,
    &filter_add_query_param,
    &filter_api_key,
    &filter_compression,
    &filter_cors,
    &filter_ext_auth,
    &filter_decompression,
    &filter_grpc_web,
    &filter_ip_list,
    &filter_jwt_auth,
    &filter_rate_limit,
    &filter_mirror,
    &filter_remove_header,
    &filter_rewrite_path,
    &filter_security_headers,
    &filter_set_header,
    &filter_websocket,
    NULL,
};
