/* keys/key_texts.h: texts that many keys share (sets of scopes, clients' ids), each kept once and called by a number.
 *
 * The writer counts who uses a text and frees it with its last record, that is when no reader can come by it any more. Readers turn a number
 * into the text; the array they do it with only grows, and an old one is handed to `retire`, to be freed when all have been quiet. */
#ifndef SLUICE_KEYS_KEY_TEXTS_H
#define SLUICE_KEYS_KEY_TEXTS_H

#include "base/slice.h"

#include <stdatomic.h>

struct key_text {
    uint32_t references, hash, length;
    char bytes[];
};

struct key_texts {
    _Atomic(struct key_text **) array; /* by number; [0] is no text */
    uint32_t array_count, array_capacity;
    uint32_t *free_numbers; /* as large as the array */
    uint32_t free_count;
    uint32_t *index; /* numbers by hash: linear probing; 0: free */
    uint32_t index_capacity, index_count;
    uint64_t bytes; /* of all that */
    void (*retire)(void *owner, void *memory);
    void *owner;
};

void key_texts_init(struct key_texts *, void (*retire)(void *owner, void *memory), void *owner);
void key_texts_release(struct key_texts *);
/* One reference more. An empty or absent text is 0 and needs none. */
uint32_t key_texts_take(struct key_texts *, struct slice);
void key_texts_retain(struct key_texts *, uint32_t number); /* one more, of a number that has some */
void key_texts_give(struct key_texts *, uint32_t number);
/* What a text would add at most, if it is not there yet. */
uint64_t key_texts_cost(struct slice);

/* Readers: of a number that a record told them. */
static inline struct slice key_texts_at(const struct key_texts *texts, uint32_t number)
{
    if (number == 0) return slice_of("", 0);
    struct key_text **array = atomic_load_explicit(&((struct key_texts *)texts)->array, memory_order_acquire);
    return slice_of(array[number]->bytes, array[number]->length);
}

#endif
