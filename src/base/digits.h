/* base/digits.h: whole numbers in decimal, two digits a division: requests write several of them, in fields and in the log. Pure. */
#ifndef SLUICE_BASE_DIGITS_H
#define SLUICE_BASE_DIGITS_H

#include "base/base.h"

#define DIGITS_BYTES_MAX 20 /* of UINT64_MAX */

size_t digits_count(uint64_t number); /* 1 to DIGITS_BYTES_MAX */
/* Writes digits_count() bytes and no NUL; returns behind the last. */
char *digits_write(char *into, uint64_t number);
/* Two, of a number below 100. */
void digits_write_two(char *into, unsigned number);

#endif
