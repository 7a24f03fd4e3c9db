#include "http/h2_memory.h"

#include "base/list.h"
#include "base/memory.h"
#include "http/h2_output.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define RING_BYTES 1024
#define TABLE_BYTES 4096
#define CELL_BYTES (2 * RING_BYTES + TABLE_BYTES)
#define REGION_BYTES (2 * 1024 * 1024)
/* Even, so that tables begin at a page. */
#define REGION_CELLS 340
#define TABLES_AT ((size_t)2 * REGION_CELLS * RING_BYTES)
/* Tables that are free and resident, for the next sessions. */
#define WARM_MAX 64
/* Each one interrupts all other workers' cores, which have to forget the page as well. */
#define TRIMS_A_SECOND 2000

_Static_assert(TABLES_AT % TABLE_BYTES == 0 && REGION_CELLS * CELL_BYTES <= REGION_BYTES, "cells fit into a region");

/*     |ring|ring|ring| ... |ring|ring|ring| ... |table|table|table| ...
 *      of the deflaters     of the inflaters     cell 0      1     2      */
struct h2_region {
    struct list_link link;
    char *bytes;
    uint16_t free_count;
    uint16_t free[REGION_CELLS]; /* the last one is taken next; their tables are zeros */
    bool warm[REGION_CELLS];     /* free, and the table may be resident */
};

struct h2_memory {
    struct list_link roomy, full; /* struct h2_region; what has free cells, older ones first, and what has none */
    unsigned warm_count;
    uint64_t second;
    unsigned trims; /* in it */
    bool drops;     /* tables are pages */
    char frame[H2_FRAME_BYTES_MAX];
};

/* --- regions --- */

static struct h2_region *map_region(struct h2_memory *memory)
{
    struct h2_region *region = malloc(sizeof *region);
    if (!region) return NULL;
    region->bytes = mmap(NULL, REGION_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (region->bytes == MAP_FAILED) {
        free(region);
        return NULL;
    }
    (void)madvise(region->bytes, REGION_BYTES, MADV_NOHUGEPAGE); /* a kernel without them refuses */
    memset(region->warm, 0, sizeof region->warm);
    for (region->free_count = 0; region->free_count < REGION_CELLS; region->free_count++)
        region->free[region->free_count] = (uint16_t)(REGION_CELLS - 1 - region->free_count);
    list_push_back(&memory->roomy, &region->link);
    return region;
}

static void unmap_region(struct h2_memory *memory, struct h2_region *region)
{
    for (int i = 0; i < REGION_CELLS; i++) memory->warm_count -= region->warm[i];
    list_remove(&region->link);
    munmap(region->bytes, REGION_BYTES);
    free(region);
}

static char *ring_of(const struct h2_region *region, unsigned which, unsigned cell)
{
    return region->bytes + ((size_t)which * REGION_CELLS + cell) * RING_BYTES;
}

static char *table_of(const struct h2_region *region, unsigned cell)
{
    return region->bytes + TABLES_AT + (size_t)cell * TABLE_BYTES;
}

static bool is_zero(const char *table) { return table[0] == 0 && memcmp(table, table + 1, TABLE_BYTES - 1) == 0; }

static void drop_table(char *table) { (void)madvise(table, TABLE_BYTES, MADV_DONTNEED); }

/* --- cells --- */

static bool take_cell(struct h2_session_memory *session)
{
    struct h2_memory *memory = session->memory;
    struct list_link *link = list_first(&memory->roomy);
    struct h2_region *region = link ? CONTAINER_OF(link, struct h2_region, link) : map_region(memory);
    if (!region) return false;
    unsigned cell = region->free[--region->free_count];
    memory->warm_count -= region->warm[cell];
    region->warm[cell] = false;
    if (region->free_count == 0) {
        list_remove(&region->link);
        list_push_back(&memory->full, &region->link);
    }
    session->region = region;
    session->cell = (uint16_t)cell;
    return true;
}

static void clean_table(struct h2_memory *memory, struct h2_region *region, unsigned cell)
{
    char *table = table_of(region, cell);
    if (memory->drops && memory->warm_count >= WARM_MAX) {
        drop_table(table);
        return;
    }
    if (!is_zero(table)) memset(table, 0, TABLE_BYTES);
    region->warm[cell] = true;
    memory->warm_count++;
}

/* A region that nobody uses any more goes, unless it is the only one with room: the next session would map it again. */
static void give_cell(struct h2_session_memory *session)
{
    struct h2_memory *memory = session->memory;
    struct h2_region *region = session->region;
    session->region = NULL;
    clean_table(memory, region, session->cell);
    if (region->free_count == 0) {
        list_remove(&region->link);
        list_push_front(&memory->roomy, &region->link);
    }
    region->free[region->free_count++] = session->cell;
    bool is_alone = memory->roomy.next == memory->roomy.previous;
    if (region->free_count == REGION_CELLS && !is_alone) unmap_region(memory, region);
}

/* --- what nghttp2 calls --- */

static bool is_special(const struct h2_session_memory *session, const void *bytes)
{
    if (session->memory && bytes == session->memory->frame) return true;
    return session->region && (uintptr_t)bytes - (uintptr_t)session->region->bytes < REGION_BYTES;
}

static void *give_ring(struct h2_session_memory *session, size_t size)
{
    bool is_wanted = session->creating && session->region && size == RING_BYTES && session->rings < 2;
    return is_wanted ? ring_of(session->region, session->rings++, session->cell) : NULL;
}

static void *give_table(struct h2_session_memory *session, size_t size)
{
    bool is_wanted = session->creating && session->region && size == TABLE_BYTES && !session->has_table;
    if (!is_wanted) return NULL;
    session->has_table = true;
    return table_of(session->region, session->cell);
}

static void *give_frame(struct h2_session_memory *session, size_t size)
{
    bool is_wanted = session->creating && session->memory && size > 16 * 1024 &&
                     size <= sizeof session->memory->frame && !session->has_frame;
    if (!is_wanted) return NULL;
    session->has_frame = true;
    return session->memory->frame;
}

static void *allocate(size_t size, void *user_data)
{
    void *ring = give_ring(user_data, size);
    return ring ? ring : malloc(size);
}

static void *allocate_zeroed(size_t count, size_t size, void *user_data)
{
    void *table = give_table(user_data, count * size);
    return table ? table : calloc(count, size);
}

static void *allocate_again(void *bytes, size_t size, void *user_data)
{
    void *frame = bytes ? NULL : give_frame(user_data, size);
    if (frame) return frame;
    PROMISE(!is_special(user_data, bytes));
    return realloc(bytes, size);
}

static void let_go(void *bytes, void *user_data)
{
    if (!is_special(user_data, bytes)) free(bytes);
}

/* --- sessions --- */

nghttp2_mem h2_session_memory_init(struct h2_session_memory *session, struct h2_memory *memory)
{
    *session = (struct h2_session_memory){ .memory = memory, .creating = true };
    if (memory) (void)take_cell(session);
    return (nghttp2_mem){
        .mem_user_data = session,
        .malloc = allocate,
        .free = let_go,
        .calloc = allocate_zeroed,
        .realloc = allocate_again,
    };
}

void h2_session_memory_release(struct h2_session_memory *session)
{
    if (session->region) give_cell(session);
}

static bool may_trim(struct h2_memory *memory, uint64_t now_ms)
{
    uint64_t second = now_ms / 1000;
    if (second != memory->second) memory->trims = 0;
    memory->second = second;
    return memory->trims < TRIMS_A_SECOND;
}

bool h2_session_memory_trim(struct h2_session_memory *session, uint64_t now_ms)
{
    if (!session->region || !session->memory->drops) return true;
    if (!may_trim(session->memory, now_ms)) return false;
    char *table = table_of(session->region, session->cell);
    if (!is_zero(table)) return true;
    session->memory->trims++;
    drop_table(table);
    return true;
}

/* --- a worker's --- */

struct h2_memory *h2_memory_create(void)
{
    struct h2_memory *memory = memory_allocate(sizeof *memory);
    list_init(&memory->roomy);
    list_init(&memory->full);
    memory->drops = sysconf(_SC_PAGESIZE) == TABLE_BYTES;
    return memory;
}

void h2_memory_destroy(struct h2_memory *memory)
{
    if (!memory) return;
    PROMISE(list_is_empty(&memory->full));
    struct list_link *link;
    while ((link = list_first(&memory->roomy)) != NULL) {
        struct h2_region *region = CONTAINER_OF(link, struct h2_region, link);
        PROMISE(region->free_count == REGION_CELLS);
        unmap_region(memory, region);
    }
    free(memory);
}
