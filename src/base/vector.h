/* base/vector.h: a growable array for the control plane. Owns its storage, not what the items point at.
 * Grows with memory_resize (running out ends the process); not for the request path. */
#ifndef SLUICE_BASE_VECTOR_H
#define SLUICE_BASE_VECTOR_H

#include "base/base.h"

struct vector {
    void *items;
    size_t count, capacity, item_size;
};

void vector_init(struct vector *, size_t item_size);
void vector_release(struct vector *);
/* Appends a zeroed item and returns it; the pointer holds until the next push. */
void *vector_push(struct vector *);
void vector_push_copy(struct vector *, const void *item);
/* For vectors of pointers. */
void vector_push_pointer(struct vector *, void *pointer);
void vector_remove_at(struct vector *, size_t index); /* keeps the order */

static inline void *vector_at(const struct vector *vector, size_t index)
{
    return (char *)vector->items + index * vector->item_size;
}

static inline void *vector_pointer_at(const struct vector *vector, size_t index)
{
    return ((void **)vector->items)[index];
}

#endif
