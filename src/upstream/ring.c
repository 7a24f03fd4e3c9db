/* A consistent hash ring: each endpoint stands at many points of a circle of 2^64, a client belongs to the next point clockwise.
 *
 * Where an endpoint stands depends on nothing but its own identity and weight, so taking one away moves only the clients
 * that were its own, and every process draws the same circle. (Karger et al. 1997.) */
#include "base/memory.h"
#include "upstream/balancer.h"
#include "upstream/private.h"

#define POINTS_PER_HUNDRED 256u /* at the usual weight of 100: shares come out within some 6 % */
#define POINTS_MAX 8192u        /* weights above 3,200 count as 3,200 */

struct ring_point {
    uint64_t place;
    uint64_t identity; /* orders points that share a place, whatever the order of endpoints */
    uint32_t endpoint;
};

struct hash_ring {
    size_t count;
    struct ring_point points[];
};

/* The finalizer of SplitMix64: every bit of the input moves half of the output's. */
static uint64_t mix(uint64_t value)
{
    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9u;
    value = (value ^ (value >> 27)) * 0x94d049bb133111ebu;
    return value ^ (value >> 31);
}

static uint32_t points_of(uint32_t weight)
{
    if (weight == 0) return 0;
    uint64_t points = (uint64_t)weight * POINTS_PER_HUNDRED / 100;
    return points < 1 ? 1 : points > POINTS_MAX ? POINTS_MAX : (uint32_t)points;
}

static int compare_points(const void *left, const void *right)
{
    const struct ring_point *a = left, *b = right;
    if (a->place != b->place) return a->place < b->place ? -1 : 1;
    return (a->identity > b->identity) - (a->identity < b->identity);
}

struct hash_ring *hash_ring_create(const struct endpoint *endpoints, size_t count)
{
    size_t points = 0;
    for (size_t i = 0; i < count; i++) points += points_of(endpoints[i].weight);
    struct hash_ring *ring = memory_allocate(sizeof *ring + points * sizeof ring->points[0]);
    for (size_t i = 0; i < count; i++) {
        uint64_t identity = endpoints[i].instance->identity_hash;
        for (uint32_t j = points_of(endpoints[i].weight); j > 0; j--)
            ring->points[ring->count++] = (struct ring_point){ mix(identity + j * 0x9e3779b97f4a7c15u), identity,
                                                               (uint32_t)i };
    }
    qsort(ring->points, ring->count, sizeof ring->points[0], compare_points);
    return ring;
}

void hash_ring_destroy(struct hash_ring *ring) { free(ring); }

size_t hash_ring_find(const struct hash_ring *ring, uint64_t client_hash, size_t *points)
{
    uint64_t place = mix(client_hash);
    size_t low = 0, high = ring->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (ring->points[middle].place < place)
            low = middle + 1;
        else
            high = middle;
    }
    *points = ring->count;
    return low < ring->count ? low : 0;
}

uint32_t hash_ring_endpoint(const struct hash_ring *ring, size_t point) { return ring->points[point].endpoint; }
