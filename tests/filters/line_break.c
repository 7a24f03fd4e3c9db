/* test-line-break: puts a header into the answer that no head can hold: what a policy with a bug would do. */
#include "filters/test_filters.h"

static const struct field no_fields[] = { FIELDS_END };

static enum filter_result line_break_response(struct exchange *exchange, const void *compiled, void *state)
{
    PROMISE(headers_add(&exchange->response->headers, SLICE("X-Evil"), SLICE("a\r\nX-Second: b")));
    return FILTER_NEXT;
}

const struct filter filter_test_line_break = {
    .name = "test-line-break",
    .summary = "Writes a header with a line break in it.",
    .phase = PHASE_TRANSFORM,
    .fields = no_fields,
    .response_head = line_break_response,
};
