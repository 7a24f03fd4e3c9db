#include "http/private.h"

#define ALPHANUMERIC (BYTE_TOKEN | BYTE_PATH | BYTE_QUERY | BYTE_UNRESERVED | BYTE_HOST)

const uint8_t http_byte_classes[256] = {
    ['0' ... '9'] = ALPHANUMERIC | BYTE_HEX,
    ['A' ... 'F'] = ALPHANUMERIC | BYTE_HEX,
    ['G' ... 'Z'] = ALPHANUMERIC,
    ['a' ... 'f'] = ALPHANUMERIC | BYTE_HEX,
    ['g' ... 'z'] = ALPHANUMERIC,
    ['-'] = ALPHANUMERIC,
    ['_'] = ALPHANUMERIC,
    ['~'] = ALPHANUMERIC,
    ['.'] = ALPHANUMERIC & ~BYTE_PATH, /* may be a dot segment */
    /* sub-delims of RFC 3986 that are tchar, those that aren't, and the rest of pchar */
    ['!'] = BYTE_TOKEN | BYTE_PATH | BYTE_QUERY,
    ['$'] = BYTE_TOKEN | BYTE_PATH | BYTE_QUERY,
    ['&'] = BYTE_TOKEN | BYTE_PATH | BYTE_QUERY,
    ['\''] = BYTE_TOKEN | BYTE_PATH | BYTE_QUERY,
    ['*'] = BYTE_TOKEN | BYTE_PATH | BYTE_QUERY,
    ['+'] = BYTE_TOKEN | BYTE_PATH | BYTE_QUERY,
    ['('] = BYTE_PATH | BYTE_QUERY,
    [')'] = BYTE_PATH | BYTE_QUERY,
    [','] = BYTE_PATH | BYTE_QUERY,
    [';'] = BYTE_PATH | BYTE_QUERY,
    ['='] = BYTE_PATH | BYTE_QUERY,
    [':'] = BYTE_PATH | BYTE_QUERY,
    ['@'] = BYTE_PATH | BYTE_QUERY,
    ['/'] = BYTE_PATH | BYTE_QUERY,
    ['?'] = BYTE_QUERY,
    ['['] = BYTE_QUERY,
    [']'] = BYTE_QUERY,
    ['{'] = BYTE_QUERY,
    ['}'] = BYTE_QUERY,
    ['|'] = BYTE_TOKEN | BYTE_QUERY,
    ['^'] = BYTE_TOKEN | BYTE_QUERY,
    ['`'] = BYTE_TOKEN | BYTE_QUERY,
    ['#'] = BYTE_TOKEN,
    ['%'] = BYTE_TOKEN,
};
