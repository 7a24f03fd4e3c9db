/* Fields that anybody may send: traceparent, tracestate, media types with parameters. What is taken for good is good when it is read again,
 * and nothing is read beyond its end. The input's first byte says which; of a media type the next one, how long the parameter's name is. */
#include "http/media_type.h"
#include "http/trace_context.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

/* At the end of a block of its own, so that a byte too far is seen. */
static struct slice copy(const uint8_t *bytes, size_t size, char **block)
{
    *block = malloc(size ? size : 1);
    if (!*block) abort();
    if (size) memcpy(*block, bytes, size);
    return slice_of(*block, size);
}

static void try_traceparent(struct slice text)
{
    struct traceparent parent, again;
    struct random random;
    char ours[TRACEPARENT_BYTES];
    if (!traceparent_parse(text, &parent)) return;
    random_init_seeded(&random, 1);
    traceparent_continue(&random, &parent, ours);
    if (!traceparent_parse(slice_of(ours, sizeof ours), &again) || !slice_equal(again.trace_id, parent.trace_id) ||
        again.flags != parent.flags)
        abort();
}

static void try_tracestate(struct slice text)
{
    char buffer[TRACESTATE_BYTES_MAX], buffer_again[TRACESTATE_BYTES_MAX];
    struct slice good = tracestate_check(text, buffer);
    if (slice_is_absent(good)) return;
    if (good.length == 0 || good.length > TRACESTATE_BYTES_MAX) abort();
    struct slice again = tracestate_check(good, buffer_again);
    if (!slice_equal(again, good)) abort();
}

static void try_media_type(struct slice text)
{
    char buffer[MEDIA_TYPE_VALUE_BYTES_MAX];
    size_t length = text.length ? (size_t)(uint8_t)text.at[0] % 16 : 0;
    struct slice name = slice_before(slice_after(text, 1), length), list = slice_after(text, 1 + length);
    struct slice value = media_type_parameter(list, name, buffer);
    if (value.length > MEDIA_TYPE_VALUE_BYTES_MAX && value.at == buffer) abort();
    if (!slice_is_absent(value) && slice_find_byte(value, '"') == 0 && value.at != buffer) abort(); /* quotes go */
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    if (size == 0) return 0;
    char *block;
    struct slice text = copy(bytes + 1, size - 1, &block);
    switch (bytes[0] % 3) {
    case 0: try_traceparent(text); break;
    case 1: try_tracestate(text); break;
    default: try_media_type(text); break;
    }
    free(block);
    return 0;
}
