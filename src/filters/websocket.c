/* websocket: lets pages of listed origins alone open WebSockets.
 *
 * Browsers let any page open a WebSocket anywhere, with the cookies of whom it belongs to, and neither ask first nor keep the answer from
 * the page (RFC 6455 10.2): so what cors is for other requests has to be a refusal here. Judges the request for a WebSocket and no other.
 * State: the compiled list (route). Never waits, never allocates. */
#include "filters/filters.h"

#include "base/memory.h"
#include "filters/private.h"
#include "http/websocket.h"

#define ORIGINS_MAX 1000

struct websocket_config {
    struct slice_list origins;
    bool allows_no_origin;
};

struct websocket {
    struct origin_list origins;
    bool allows_no_origin;
};

static const struct field websocket_fields[] = {
    { .name = "allowedOrigins",
      .also = "origins",
      .type = FIELD_STRING_LIST,
      .into = offsetof(struct websocket_config, origins),
      .required = true,
      .minimum = 1,
      .maximum = ORIGINS_MAX,
      .one_or_many = true,
      .check = check_origin,
      .summary = "Whose pages may open a WebSocket: exact, `https://*.example.com` for every host below, or `*`." },
    { .name = "allowNoOrigin",
      .type = FIELD_BOOLEAN,
      .into = offsetof(struct websocket_config, allows_no_origin),
      .fallback = "true",
      .summary = "Whether clients without `Origin`, which every browser sends, may open one." },
    FIELDS_END,
};

static bool websocket_compile(const struct filter_compile *, const void *value, void **compiled);
static void websocket_release(void *compiled);
static enum filter_result websocket_request(struct exchange *, const void *compiled, void *state);

const struct filter filter_websocket = {
    .name = "websocket",
    .summary = "Refuses WebSockets that pages of other origins open (403).",
    .phase = PHASE_CORS,
    .fields = websocket_fields,
    .config_size = sizeof(struct websocket_config),
    .compile = websocket_compile,
    .release = websocket_release,
    .request = websocket_request,
};

static bool websocket_compile(const struct filter_compile *compile, const void *value, void **compiled)
{
    const struct websocket_config *config = value;
    struct websocket *websocket = memory_allocate(sizeof *websocket);
    origin_list_init(&websocket->origins, &config->origins);
    websocket->allows_no_origin = config->allows_no_origin;
    *compiled = websocket;
    return true;
}

static void websocket_release(void *compiled)
{
    struct websocket *websocket = compiled;
    origin_list_release(&websocket->origins);
    free(websocket);
}

static bool lets_in(const struct websocket *websocket, const struct exchange *exchange)
{
    if (!headers_find_known(&exchange->request->headers, HEADER_ORIGIN)) return websocket->allows_no_origin;
    struct slice origin = request_origin(exchange);
    return !slice_is_absent(origin) && origin_list_holds(&websocket->origins, origin);
}

static enum filter_result websocket_request(struct exchange *exchange, const void *compiled, void *state)
{
    if (!websocket_is_asked_for(exchange->request) || lets_in(compiled, exchange)) return FILTER_NEXT;
    exchange_respond_problem(exchange, 403, "origin-refused", SLICE("websocket"),
                             "pages of this origin may not open a WebSocket here");
    return FILTER_RESPOND;
}
