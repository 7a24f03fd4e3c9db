/* base/words.h: short texts as machine words, for what looks at every byte of them: eight at a time, and no byte beyond their end. */
#ifndef SLUICE_BASE_WORDS_H
#define SLUICE_BASE_WORDS_H

#include "base/base.h"

#include <string.h>

#define WORD_BYTES 8
/* The byte in all places of a word. */
#define WORD_OF(byte) (UINT64_C(0x0101010101010101) * (uint8_t)(byte))

static inline uint64_t word_load(const char *at)
{
    uint64_t word;
    memcpy(&word, at, sizeof word);
    return word;
}

/* 1 to 7 bytes, some of them maybe twice: two texts of one length are equal where their words are. */
static inline uint64_t word_load_short(const char *at, size_t length)
{
    if (length >= 4) {
        uint32_t head, tail;
        memcpy(&head, at, sizeof head);
        memcpy(&tail, at + length - sizeof tail, sizeof tail);
        return head | (uint64_t)tail << 32;
    }
    if (length == 1) return (uint8_t)*at;
    uint16_t head, tail;
    memcpy(&head, at, sizeof head);
    memcpy(&tail, at + length - sizeof tail, sizeof tail);
    return head | (uint64_t)tail << 32;
}

/* Is one of its bytes below `end`, which is at most 128? */
static inline bool word_holds_below(uint64_t word, uint8_t end)
{
    return ((word - WORD_OF(end)) & ~word & WORD_OF(0x80)) != 0;
}

static inline bool word_holds_zero(uint64_t word) { return word_holds_below(word, 1); }

#endif
