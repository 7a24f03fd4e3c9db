/* base/hex.h: numbers as lower-case hexadecimal digits, without a loop over them; and a digit as a number. */
#ifndef SLUICE_BASE_HEX_H
#define SLUICE_BASE_HEX_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

/* Spreads eight hex digits to a byte each, the first one lowest, and makes all of them letters at once. */
static inline void hex_write_u32(uint32_t value, char into[8])
{
    uint64_t digits = value;
    digits = (digits | digits << 16) & 0x0000ffff0000ffffu;
    digits = (digits | digits << 8) & 0x00ff00ff00ff00ffu;
    digits = (digits | digits << 4) & 0x0f0f0f0f0f0f0f0fu;
    uint64_t beyond_nine = (digits + 0x0606060606060606u) >> 4 & 0x0101010101010101u;
    uint64_t text = htobe64(digits + 0x3030303030303030u + beyond_nine * ('a' - '0' - 10));
    memcpy(into, &text, sizeof text);
}

static inline void hex_write_u64(uint64_t value, char into[16])
{
    hex_write_u32((uint32_t)(value >> 32), into);
    hex_write_u32((uint32_t)value, into + 8);
}

/* In either case of letters; -1: it is no hexadecimal digit. */
static inline int hex_digit(char digit)
{
    if (digit >= '0' && digit <= '9') return digit - '0';
    digit = (char)(digit | 0x20);
    return digit >= 'a' && digit <= 'f' ? digit - 'a' + 10 : -1;
}

#endif
