/* snapshot/order.c: where routes stand in the order of age after a change of the file's order: as few as can be move.
 *
 * Routes that stay where they are, are reused; one that moves is compiled anew and goes through the router again. So those that stay are a
 * longest ascending run of the places had so far (patience sorting, n log n, and n where nothing moved), and what is new between two of
 * them goes into the room there. Pure. */
#include "snapshot/private.h"

#define NONE UINT32_MAX

/* Of the ascending runs of some length that were met so far: where the one with the lowest last place ends. */
struct runs {
    uint32_t *ends;   /* by length - 1: an index into the places */
    uint32_t *before; /* by index: the one before it in its run */
    uint32_t longest;
};

/* How many of the runs end below this place. */
static uint32_t count_below(const struct runs *runs, const uint64_t *places, uint64_t place)
{
    uint32_t low = 0, high = runs->longest;
    if (high > 0 && places[runs->ends[high - 1]] < place) return high;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (places[runs->ends[middle]] < place)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void keep_most(const uint64_t *places, bool *kept, uint32_t count)
{
    struct runs runs = {
        .ends = memory_allocate_array(count + 1, sizeof(uint32_t)),
        .before = memory_allocate_array(count + 1, sizeof(uint32_t)),
    };
    for (uint32_t i = 0; i < count; i++) {
        if (places[i] == 0) continue;
        uint32_t shorter = count_below(&runs, places, places[i]);
        runs.before[i] = shorter > 0 ? runs.ends[shorter - 1] : NONE;
        runs.ends[shorter] = i;
        if (shorter == runs.longest) runs.longest++;
    }
    for (uint32_t at = runs.longest > 0 ? runs.ends[runs.longest - 1] : NONE; at != NONE; at = runs.before[at])
        kept[at] = true;
    free(runs.ends);
    free(runs.before);
}

#define STEP_ROOMY (SEQUENCE_STEP >> 8)

/* Room for some routes between two places; step 0: there is none. */
struct room {
    uint64_t first, step;
};

static struct room find_room(uint64_t last, uint64_t next, uint64_t routes)
{
    if (next == 0) return (struct room){ last ? last + SEQUENCE_STEP : SEQUENCE_FIRST, SEQUENCE_STEP };
    if (last == 0 && next / SEQUENCE_STEP > routes)
        return (struct room){ next - routes * SEQUENCE_STEP, SEQUENCE_STEP };
    uint64_t step = (next - last) / (routes + 1);
    return (struct room){ last + step, step };
}

/* Where there is no room, neighbours behind are moved too, until there is some for later as well: else each one that comes between the same
 * two would move its neighbours again. Gives *end, where the moved ones end. */
static struct room make_room(const uint64_t *places, bool *kept, uint32_t count, uint64_t last, uint32_t at,
                             uint32_t *end)
{
    uint64_t step_wanted = 1;
    for (*end = at; *end < count && !kept[*end];) ++*end;
    for (;;) {
        struct room room = find_room(last, *end < count ? places[*end] : 0, *end - at);
        if (room.step >= step_wanted) return room;
        step_wanted = STEP_ROOMY;
        kept[*end] = false;
        while (*end < count && !kept[*end]) ++*end;
    }
}

void order_places(uint64_t *places, bool *kept, uint32_t count)
{
    keep_most(places, kept, count);
    uint64_t last = 0;
    for (uint32_t i = 0, end; i < count; i = end) {
        if (kept[i]) {
            end = i + 1;
        } else {
            struct room room = make_room(places, kept, count, last, i, &end);
            for (uint32_t at = i; at < end; at++) places[at] = room.first + (at - i) * room.step;
        }
        last = places[end - 1];
    }
}
