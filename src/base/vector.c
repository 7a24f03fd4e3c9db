#include "base/vector.h"

#include "base/memory.h"

void vector_init(struct vector *vector, size_t item_size) { *vector = (struct vector){ .item_size = item_size }; }

void vector_release(struct vector *vector)
{
    free(vector->items);
    vector_init(vector, vector->item_size);
}

static void *add_item(struct vector *vector)
{
    if (vector->count == vector->capacity) {
        size_t capacity = vector->capacity ? vector->capacity * 2 : 8;
        PROMISE(capacity <= SIZE_MAX / 2 / vector->item_size);
        vector->items = memory_resize(vector->items, capacity * vector->item_size);
        vector->capacity = capacity;
    }
    return vector_at(vector, vector->count++);
}

void *vector_push(struct vector *vector)
{
    void *item = add_item(vector);
    return memset(item, 0, vector->item_size);
}

void vector_push_copy(struct vector *vector, const void *item)
{
    void *place = add_item(vector);
    memcpy(place, item, vector->item_size);
}

void vector_push_pointer(struct vector *vector, void *pointer)
{
    PROMISE(vector->item_size == sizeof pointer);
    vector_push_copy(vector, &pointer);
}

void vector_remove_at(struct vector *vector, size_t index)
{
    PROMISE(index < vector->count);
    vector->count--;
    memmove(vector_at(vector, index), vector_at(vector, index + 1), (vector->count - index) * vector->item_size);
}
