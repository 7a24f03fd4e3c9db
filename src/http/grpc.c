#include "http/grpc.h"

#include "base/digits.h"

#define DIGITS_MAX 8

bool grpc_type_read(struct slice value, struct slice type, struct slice *message)
{
    struct slice name = slice_trim(slice_before(value, slice_find_byte(value, ';')));
    if (!slice_equal_ignore_case(slice_before(name, type.length), type)) return false;
    struct slice rest = slice_after(name, type.length);
    if (rest.length > 0 && (rest.at[0] != '+' || !header_name_is_valid(slice_after(rest, 1)))) return false;
    *message = rest;
    return true;
}

bool grpc_type_parse(struct slice value, struct slice *message)
{
    return grpc_type_read(value, SLICE("application/grpc"), message);
}

/* --- deadlines --- */

struct unit {
    char letter;
    uint64_t milliseconds, parts; /* of a unit: milliseconds, or how many of them make a millisecond */
};

static const struct unit units[] = {
    { 'm', 1, 1 }, { 'S', 1000, 1 }, { 'M', 60000, 1 }, { 'H', 3600000, 1 }, { 'u', 1, 1000 }, { 'n', 1, 1000000 },
};

bool grpc_timeout_parse(struct slice value, uint64_t *milliseconds)
{
    uint64_t number;
    if (value.length < 2 || value.length > DIGITS_MAX + 1) return false;
    if (!slice_parse_uint64(slice_before(value, value.length - 1), &number)) return false;
    for (size_t i = 0; i < COUNT_OF(units); i++) {
        if (units[i].letter != value.at[value.length - 1]) continue;
        *milliseconds = (number * units[i].milliseconds + units[i].parts - 1) / units[i].parts;
        return true;
    }
    return false;
}

size_t grpc_timeout_write(uint64_t milliseconds, char into[GRPC_TIMEOUT_BYTES_MAX])
{
    const uint64_t number_max = 99999999;
    size_t unit = 0;
    if (milliseconds == 0) milliseconds = 1;
    while (unit < 3 && milliseconds / units[unit].milliseconds > number_max) unit++;
    uint64_t number = milliseconds / units[unit].milliseconds;
    if (number > number_max) number = number_max;
    char *end = digits_write(into, number);
    *end = units[unit].letter;
    return (size_t)(end + 1 - into);
}

/* --- failures --- */

enum grpc_status grpc_status_of_http(unsigned status)
{
    switch (status) {
    case 400: return GRPC_INTERNAL;
    case 401: return GRPC_UNAUTHENTICATED;
    case 403: return GRPC_PERMISSION_DENIED;
    case 404: return GRPC_UNIMPLEMENTED;
    case 429:
    case 502:
    case 503:
    case 504: return GRPC_UNAVAILABLE;
    default: return GRPC_UNKNOWN;
    }
}

/* RFC 3986's encoding of all but the printable ASCII characters, '%' itself included. */
size_t grpc_message_write(struct slice text, char *into)
{
    char *at = into;
    for (size_t i = 0; i < text.length; i++) {
        uint8_t byte = (uint8_t)text.at[i];
        if (byte >= ' ' && byte <= '~' && byte != '%') {
            *at++ = (char)byte;
            continue;
        }
        *at++ = '%';
        *at++ = "0123456789ABCDEF"[byte >> 4];
        *at++ = "0123456789ABCDEF"[byte & 15];
    }
    return (size_t)(at - into);
}

bool grpc_refuse(struct response_head *head, enum grpc_status status, struct slice text)
{
    struct arena *arena = head->headers.arena;
    char *message = arena_allocate(arena, GRPC_MESSAGE_BYTES_MAX(text.length) + 1);
    struct slice number = arena_format(arena, "%d", (int)status);
    if (!message || slice_is_absent(number)) return false;
    head->status = 200;
    head->body_length = 0;
    head->has_body = false;
    return headers_add_known(&head->headers, HEADER_CONTENT_TYPE, SLICE("application/grpc")) &&
           headers_add(&head->headers, SLICE("grpc-status"), number) &&
           headers_add(&head->headers, SLICE("grpc-message"), slice_of(message, grpc_message_write(text, message)));
}
