/* base/: what every room builds on: memory, slices, containers, time, chance, errors.
 *
 * Nothing here knows a file descriptor, a thread (but for thread-local randomness) or HTTP.
 * Each header says who owns the memory it deals in. */
#ifndef SLUICE_BASE_BASE_H
#define SLUICE_BASE_BASE_H

#include "base/banned.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PRINTF_LIKE(format_at, arguments_at) __attribute__((format(printf, format_at, arguments_at)))
#define MUST_USE __attribute__((warn_unused_result))
#define LIKELY(condition) __builtin_expect(!!(condition), 1)
#define UNLIKELY(condition) __builtin_expect(!!(condition), 0)
#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))
#define CACHE_LINE 64

/* The struct that holds `member` at `pointer`. */
#define CONTAINER_OF(pointer, type, member) ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

/* A broken promise between our own functions stops the program, in every build.
 * Never used on anything that came from outside. */
#define PROMISE(condition) ((condition) ? (void)0 : promise_broken(#condition, __FILE__, __LINE__, __func__))

_Noreturn void promise_broken(const char *condition, const char *file, int line, const char *function);

#endif
