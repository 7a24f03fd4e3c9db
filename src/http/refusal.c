#include "http/refusal.h"

#include "http/status.h"
#include "json/writer.h"

/* What a client did wrong it may know; what we lack is the operator's. */
static const char *words_for_client(const struct error *error)
{
    if (error->blame == BLAME_CLIENT) return error->text;
    return error->status == 503 ? "the gateway has no room for the request right now" : error->reason;
}

size_t refusal_write(const struct error *error, struct slice request_id, char into[REFUSAL_BYTES_MAX])
{
    struct json_writer writer;
    json_writer_init(&writer, into, REFUSAL_BYTES_MAX - 1);
    json_write_object_begin(&writer);
    json_write_key(&writer, SLICE("type")), json_write_string(&writer, SLICE("about:blank"));
    json_write_key(&writer, SLICE("title")), json_write_string(&writer, status_reason(error->status));
    json_write_key(&writer, SLICE("status")), json_write_unsigned(&writer, error->status);
    json_write_key(&writer, SLICE("detail"));
    json_write_string(&writer, slice_from_cstring(words_for_client(error)));
    json_write_key(&writer, SLICE("requestId")), json_write_string(&writer, request_id);
    json_write_object_end(&writer);
    struct slice document = json_writer_result(&writer);
    if (slice_is_absent(document)) return 0; /* can't be: our texts are short and of ASCII */
    into[document.length] = '\n';
    return document.length + 1;
}
