/* base/private.h: what the files of this room share. No other room includes it. */
#ifndef SLUICE_BASE_PRIVATE_H
#define SLUICE_BASE_PRIVATE_H

#include "base/base.h"

/* Memory that waits idle in one of our pools is closed to AddressSanitizer, which would otherwise see a use after
 * giving back as an ordinary access. Both are nothing in other builds. */
#if defined(__SANITIZE_ADDRESS__)
#define SLUICE_UNDER_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SLUICE_UNDER_ASAN 1
#endif
#endif

#ifdef SLUICE_UNDER_ASAN
#include <sanitizer/asan_interface.h>
static inline void pooled_memory_close(void *memory, size_t size) { ASAN_POISON_MEMORY_REGION(memory, size); }
static inline void pooled_memory_open(void *memory, size_t size) { ASAN_UNPOISON_MEMORY_REGION(memory, size); }
#else
static inline void pooled_memory_close(void *memory, size_t size) { (void)memory, (void)size; }
static inline void pooled_memory_open(void *memory, size_t size) { (void)memory, (void)size; }
#endif

/* Says why on standard error and ends the process; allocates nothing. */
_Noreturn void die(const char *format, ...) PRINTF_LIKE(1, 2);

#endif
