#include "handlers/handlers.h"

const struct handler *const handlers_all[] = { &handler_proxy, &handler_respond, &handler_redirect, &handler_aggregate,
                                               NULL };
