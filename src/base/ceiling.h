/* base/ceiling.h: how much memory the pools of one worker may have out, all together.
 *
 * Slabs and arena chunks count from the moment they are taken to the moment they are given back. A promise counts as well, though nothing
 * was taken for it yet: so whoever holds one can draw it whatever the others do. One thread; plain numbers. */
#ifndef SLUICE_BASE_CEILING_H
#define SLUICE_BASE_CEILING_H

#include "base/base.h"

struct memory_ceiling {
    size_t bytes_max; /* 0: no ceiling. May be changed at any time; a lower one holds for what is taken from then on */
    size_t taken, promised;
};

static inline size_t memory_ceiling_in_use(const struct memory_ceiling *ceiling)
{
    return ceiling->taken + ceiling->promised;
}

/* Is there room for so much more? With no ceiling (NULL or 0) always. */
static inline bool memory_ceiling_has_room(const struct memory_ceiling *ceiling, size_t bytes)
{
    if (!ceiling || ceiling->bytes_max == 0) return true;
    size_t in_use = memory_ceiling_in_use(ceiling);
    return bytes <= ceiling->bytes_max && in_use <= ceiling->bytes_max - bytes;
}

/* Is more than this share of it in use? */
static inline bool memory_ceiling_is_beyond(const struct memory_ceiling *ceiling, unsigned sixteenths)
{
    return ceiling && ceiling->bytes_max && memory_ceiling_in_use(ceiling) > ceiling->bytes_max / 16 * sixteenths;
}

static inline bool memory_ceiling_take(struct memory_ceiling *ceiling, size_t bytes)
{
    if (!memory_ceiling_has_room(ceiling, bytes)) return false;
    if (ceiling) ceiling->taken += bytes;
    return true;
}

static inline void memory_ceiling_give(struct memory_ceiling *ceiling, size_t bytes)
{
    if (ceiling) ceiling->taken -= bytes;
}

static inline bool memory_ceiling_promise(struct memory_ceiling *ceiling, size_t bytes)
{
    if (!memory_ceiling_has_room(ceiling, bytes)) return false;
    if (ceiling) ceiling->promised += bytes;
    return true;
}

static inline void memory_ceiling_forget_promise(struct memory_ceiling *ceiling, size_t bytes)
{
    if (ceiling) ceiling->promised -= bytes;
}

/* What was promised is taken now. */
static inline void memory_ceiling_draw(struct memory_ceiling *ceiling, size_t bytes)
{
    if (!ceiling) return;
    ceiling->promised -= bytes;
    ceiling->taken += bytes;
}

#endif
