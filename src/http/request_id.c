/* http/request_id.c: see request_id.h. */
#include "http/request_id.h"

#include "base/random.h"

#include <endian.h>
#include <string.h>

#define ODD_FACTOR 0x9e3779b97f4a7c15u /* 2^64 divided by the golden ratio: neighbours end up far apart */

void request_id_source_init(struct request_id_source *source)
{
    random_secure_bytes(source->random, sizeof source->random);
    source->counter = 0;
}

/* Spreads eight hex digits to a byte each, the first one lowest, and makes all of them letters at once. */
static void write_eight_digits(uint32_t value, char *into)
{
    uint64_t digits = value;
    digits = (digits | digits << 16) & 0x0000ffff0000ffffu;
    digits = (digits | digits << 8) & 0x00ff00ff00ff00ffu;
    digits = (digits | digits << 4) & 0x0f0f0f0f0f0f0f0fu;
    uint64_t beyond_nine = (digits + 0x0606060606060606u) >> 4 & 0x0101010101010101u;
    uint64_t text = htobe64(digits + 0x3030303030303030u + beyond_nine * ('a' - '0' - 10));
    memcpy(into, &text, sizeof text);
}

static void write_hex(uint64_t value, char into[16])
{
    write_eight_digits((uint32_t)(value >> 32), into);
    write_eight_digits((uint32_t)value, into + 8);
}

void request_id_write(struct request_id_source *source, char into[REQUEST_ID_BYTES])
{
    write_hex(source->random[0], into);
    write_hex(source->random[1] + ++source->counter * ODD_FACTOR, into + 16);
}
