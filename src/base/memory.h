/* base/memory.h: allocation for the control plane, where running out of memory ends the process
 * (the master starts it again); the request path uses arenas and slabs, which may say no. */
#ifndef SLUICE_BASE_MEMORY_H
#define SLUICE_BASE_MEMORY_H

#include "base/slice.h"

#include <stdlib.h>

/* Never NULL. Zeroed. Free with free(). */
void *memory_allocate(size_t size) MUST_USE __attribute__((malloc, returns_nonnull));
void *memory_allocate_array(size_t count, size_t size) MUST_USE __attribute__((malloc, returns_nonnull));
/* Zeroed, aligned to a cache line. Free with free(). */
void *memory_allocate_aligned(size_t size) MUST_USE __attribute__((malloc, returns_nonnull));
/* New bytes are not zeroed. */
void *memory_resize(void *memory, size_t size) MUST_USE __attribute__((returns_nonnull));
/* A NUL-terminated copy. Free with free(). */
char *memory_copy_slice(struct slice slice) MUST_USE __attribute__((malloc, returns_nonnull));
char *memory_format(const char *format, ...) MUST_USE PRINTF_LIKE(1, 2);

#endif
