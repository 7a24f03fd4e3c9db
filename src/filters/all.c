#include "filters/filters.h"

const struct filter *const filters_all[] = {
    &filter_add_header,
    &filter_add_query_param,
    &filter_cors,
    &filter_grpc_web,
    &filter_ip_list,
    &filter_remove_header,
    &filter_rewrite_path,
    &filter_security_headers,
    &filter_set_header,
    &filter_websocket,
    NULL,
};
