/* http/request_id.c: see request_id.h. */
#include "http/request_id.h"

#include "base/hex.h"
#include "base/random.h"

#define ODD_FACTOR 0x9e3779b97f4a7c15u /* 2^64 divided by the golden ratio: neighbours end up far apart */

void request_id_source_init(struct request_id_source *source)
{
    random_secure_bytes(source->random, sizeof source->random);
    source->counter = 0;
}

void request_id_write(struct request_id_source *source, char into[REQUEST_ID_BYTES])
{
    hex_write_u64(source->random[0], into);
    hex_write_u64(source->random[1] + ++source->counter * ODD_FACTOR, into + 16);
}
