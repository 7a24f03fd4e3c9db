#include "keys/key_texts.h"

#include "base/hash.h"
#include "base/memory.h"

#include <malloc.h>

static uint64_t heap_bytes(void *memory) { return memory ? malloc_usable_size(memory) + sizeof(size_t) : 0; }

static struct key_text **array_of(const struct key_texts *texts)
{
    return atomic_load_explicit(&((struct key_texts *)texts)->array, memory_order_relaxed);
}

void key_texts_init(struct key_texts *texts, void (*retire)(void *owner, void *memory), void *owner)
{
    *texts = (struct key_texts){ .array_count = 1, .retire = retire, .owner = owner };
}

void key_texts_release(struct key_texts *texts)
{
    struct key_text **array = array_of(texts);
    for (uint32_t i = 1; i < texts->array_count; i++) free(array[i]);
    free(array);
    free(texts->free_numbers);
    free(texts->index);
}

static uint32_t home_of(const struct key_texts *texts, uint32_t hash)
{
    return (uint32_t)((uint64_t)hash * texts->index_capacity >> 32);
}

static uint32_t after(const struct key_texts *texts, uint32_t position)
{
    return position + 1 < texts->index_capacity ? position + 1 : 0;
}

static void index_insert(struct key_texts *texts, uint32_t number)
{
    uint32_t position = home_of(texts, array_of(texts)[number]->hash);
    while (texts->index[position] != 0) position = after(texts, position);
    texts->index[position] = number;
    texts->index_count++;
}

/* The hash is keyed: who may choose client ids can't make them pile up. */
static void grow_index(struct key_texts *texts)
{
    uint32_t *old = texts->index, old_capacity = texts->index_capacity;
    texts->index_capacity = old_capacity ? old_capacity + old_capacity / 2 : 64;
    texts->index = memory_allocate_array(texts->index_capacity, sizeof *texts->index);
    texts->index_count = 0;
    for (uint32_t i = 0; i < old_capacity; i++) {
        if (old[i] != 0) index_insert(texts, old[i]);
    }
    texts->bytes += heap_bytes(texts->index) - heap_bytes(old);
    free(old);
}

static void grow_array(struct key_texts *texts)
{
    struct key_text **old = array_of(texts);
    texts->array_capacity = texts->array_capacity ? texts->array_capacity + texts->array_capacity / 2 : 64;
    struct key_text **array = memory_allocate_array(texts->array_capacity, sizeof(struct key_text *));
    if (old) memcpy(array, old, texts->array_count * sizeof(struct key_text *));
    texts->bytes += heap_bytes(array) - heap_bytes(old) - heap_bytes(texts->free_numbers);
    texts->free_numbers = memory_resize(texts->free_numbers, texts->array_capacity * sizeof *texts->free_numbers);
    texts->bytes += heap_bytes(texts->free_numbers);
    atomic_store_explicit(&texts->array, array, memory_order_release);
    if (old) texts->retire(texts->owner, old);
}

static uint32_t new_number(struct key_texts *texts)
{
    if (texts->free_count > 0) return texts->free_numbers[--texts->free_count];
    if (texts->array_count >= texts->array_capacity) grow_array(texts);
    return texts->array_count++;
}

static uint32_t find(const struct key_texts *texts, uint32_t hash, struct slice bytes)
{
    if (texts->index_capacity == 0) return 0;
    uint32_t position = home_of(texts, hash), number;
    while ((number = texts->index[position]) != 0) {
        const struct key_text *text = array_of(texts)[number];
        if (text->hash == hash && slice_equal(slice_of(text->bytes, text->length), bytes)) return number;
        position = after(texts, position);
    }
    return 0;
}

uint32_t key_texts_take(struct key_texts *texts, struct slice bytes)
{
    if (bytes.length == 0) return 0;
    uint32_t hash = (uint32_t)hash_keyed(hash_process_key(), bytes);
    uint32_t number = find(texts, hash, bytes);
    if (number == 0) {
        struct key_text *text = memory_allocate(sizeof *text + bytes.length);
        text->hash = hash;
        text->length = (uint32_t)bytes.length;
        memcpy(text->bytes, bytes.at, bytes.length);
        texts->bytes += heap_bytes(text);
        if (texts->index_count + 1 > (uint64_t)texts->index_capacity * 3 / 4) grow_index(texts);
        number = new_number(texts);
        array_of(texts)[number] = text;
        index_insert(texts, number);
    }
    array_of(texts)[number]->references++;
    return number;
}

static void index_remove(struct key_texts *texts, uint32_t number)
{
    uint32_t gap = home_of(texts, array_of(texts)[number]->hash);
    while (texts->index[gap] != number) gap = after(texts, gap);
    for (uint32_t next = after(texts, gap); texts->index[next] != 0; next = after(texts, next)) {
        uint32_t home = home_of(texts, array_of(texts)[texts->index[next]]->hash);
        bool may_stay = gap < next ? home > gap && home <= next : home > gap || home <= next;
        if (may_stay) continue;
        texts->index[gap] = texts->index[next];
        gap = next;
    }
    texts->index[gap] = 0;
    texts->index_count--;
}

void key_texts_retain(struct key_texts *texts, uint32_t number)
{
    if (number != 0) array_of(texts)[number]->references++;
}

void key_texts_give(struct key_texts *texts, uint32_t number)
{
    if (number == 0) return;
    struct key_text *text = array_of(texts)[number];
    if (--text->references > 0) return;
    index_remove(texts, number);
    array_of(texts)[number] = NULL;
    texts->free_numbers[texts->free_count++] = number;
    texts->bytes -= heap_bytes(text);
    free(text);
}

uint64_t key_texts_cost(struct slice bytes)
{
    /* Its block, and its share of array, free numbers and index while these grow. */
    return bytes.length == 0 ? 0 : sizeof(struct key_text) + bytes.length + 40;
}
