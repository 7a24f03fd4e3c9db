/* base/library.h: a shared library that is loaded when it is first needed. Linked in, one that brings many others along costs every process
 * memory and a part of its start, also those that never use it. */
#ifndef SLUICE_BASE_LIBRARY_H
#define SLUICE_BASE_LIBRARY_H

#include "base/error.h"

struct library_function {
    const char *name;
    void *into; /* a pointer to the function, that is filled */
};

/* Fills the pointers of all functions, or none: then *error says what is missing. The library stays until the process ends. Any thread. */
bool library_load(const char *file, const struct library_function *functions, size_t count, struct error *) MUST_USE;

#endif
