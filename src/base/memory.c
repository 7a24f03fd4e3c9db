#include "base/memory.h"

#include "base/private.h"

#include <stdarg.h>

static _Noreturn void out_of_memory(size_t size) { die("out of memory: %zu bytes wanted", size); }

/* malloc(0) may return NULL, which callers must never see. */
static size_t at_least_one(size_t size) { return size ? size : 1; }

void *memory_allocate(size_t size) { return memory_allocate_array(1, size); }

void *memory_allocate_array(size_t count, size_t size)
{
    void *memory = calloc(at_least_one(count), at_least_one(size));
    if (!memory) out_of_memory(count * size);
    return memory;
}

void *memory_allocate_aligned(size_t size)
{
    if (size > SIZE_MAX - CACHE_LINE) out_of_memory(size);
    size_t rounded = (at_least_one(size) + CACHE_LINE - 1) & ~(size_t)(CACHE_LINE - 1);
    void *memory = aligned_alloc(CACHE_LINE, rounded);
    if (!memory) out_of_memory(size);
    return memset(memory, 0, rounded);
}

void *memory_resize(void *memory, size_t size)
{
    void *resized = realloc(memory, at_least_one(size));
    if (!resized) out_of_memory(size);
    return resized;
}

char *memory_copy_slice(struct slice slice)
{
    char *copy = malloc(slice.length + 1);
    if (!copy) out_of_memory(slice.length + 1);
    if (slice.length) memcpy(copy, slice.at, slice.length);
    copy[slice.length] = '\0';
    return copy;
}

char *memory_format(const char *format, ...)
{
    char *text = NULL;
    va_list arguments;
    va_start(arguments, format);
    int length = vasprintf(&text, format, arguments);
    va_end(arguments);
    if (length < 0) die("out of memory: formatting a text");
    return text;
}
