#include "http/refusal.h"

#include "http/status.h"

#include <stdio.h>

size_t refusal_write(const struct error *error, struct slice request_id, char into[REFUSAL_BYTES_MAX])
{
    int length = snprintf(into, REFUSAL_BYTES_MAX,
                          "{\"type\":\"about:blank\",\"title\":\"%.*s\",\"status\":%u,\"detail\":\"%s\","
                          "\"requestId\":\"%.*s\"}\n",
                          SLICE_PRINT(status_reason(error->status)), error->status, error->reason,
                          SLICE_PRINT(request_id));
    return length < REFUSAL_BYTES_MAX ? (size_t)length : REFUSAL_BYTES_MAX - 1;
}
