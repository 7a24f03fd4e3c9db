#include "base/digits.h"

#include <string.h>

static const char pairs[] =
    "0001020304050607080910111213141516171819202122232425262728293031323334353637383940414243444546474849"
    "5051525354555657585960616263646566676869707172737475767778798081828384858687888990919293949596979899";

size_t digits_count(uint64_t number)
{
    size_t count = 1;
    for (; number >= 10000; number /= 10000) count += 4;
    return count + (number >= 10) + (number >= 100) + (number >= 1000);
}

void digits_write_two(char *into, unsigned number) { memcpy(into, &pairs[2 * number], 2); }

char *digits_write(char *into, uint64_t number)
{
    char *end = into + digits_count(number), *next = end;
    for (; number >= 100; number /= 100) digits_write_two(next -= 2, (unsigned)(number % 100));
    if (number >= 10)
        digits_write_two(into, (unsigned)number);
    else
        *into = (char)('0' + number);
    return end;
}
