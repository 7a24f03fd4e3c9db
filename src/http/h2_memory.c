#include "http/h2_memory.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define PAGE_BYTES 4096u
/* The frame's head, a byte of padding and 16 KiB: what nghttp2 asks for as its buffer. */
#define BUFFER_BYTES (9 + 1 + 16384)
#define BUFFER_PAGES 5
/* nghttp2's table of header fields: the encoder's is the first of two. */
#define FIELD_TABLE_BYTES 1024

/* One page for what stays, then those that can go. */
enum {
    PAGE_KEPT,
    PAGE_STREAMS,
    PAGE_BUFFER,
    PAGE_FIELDS = PAGE_BUFFER + BUFFER_PAGES,
    PAGE_COUNT,
};
#define BLOCK_BYTES (PAGE_COUNT * PAGE_BYTES)
#define BLOCKS_A_REGION 64
#define IDLE_BLOCKS_RESIDENT 64

/* At the beginning of a block's first page; what nghttp2 allocates follows. Nothing is written there while the block is idle. */
struct h2_block {
    struct h2_memory *memory;
    nghttp2_mem allocator;
    uint32_t used; /* of the first page */
    bool is_settled;
    bool has_streams, has_buffer, has_fields; /* whose page is in use */
};

struct region {
    struct region *next;
    char *pages;
};

struct h2_memory {
    struct region *regions;
    struct h2_block **idle; /* has room for all there are */
    size_t idle_count, count;
};

static char *page_of(struct h2_block *block, unsigned page) { return (char *)block + (size_t)page * PAGE_BYTES; }

/* --- what nghttp2 calls --- */

static bool is_inside(struct h2_block *block, const void *memory)
{
    uintptr_t offset = (uintptr_t)memory - (uintptr_t)block;
    return offset < BLOCK_BYTES;
}

/* NULL: its page is full. */
static void *take_kept(struct h2_block *block, size_t size)
{
    size_t rounded = (size + 15) & ~(size_t)15;
    if (size > PAGE_BYTES || block->used + rounded > PAGE_BYTES) return NULL;
    void *memory = (char *)block + block->used;
    block->used += (uint32_t)rounded;
    return memory;
}

static void *allocate(size_t size, void *user)
{
    struct h2_block *block = user;
    if (block->is_settled) return malloc(size);
    if (size == FIELD_TABLE_BYTES && !block->has_fields) {
        block->has_fields = true;
        return page_of(block, PAGE_FIELDS);
    }
    if (size == BUFFER_BYTES && !block->has_buffer) {
        block->has_buffer = true;
        return page_of(block, PAGE_BUFFER);
    }
    void *memory = take_kept(block, size);
    return memory ? memory : malloc(size);
}

static void *allocate_zeroed(size_t count, size_t size, void *user)
{
    struct h2_block *block = user;
    size_t bytes;
    if (block->is_settled || __builtin_mul_overflow(count, size, &bytes)) return calloc(count, size);
    if (bytes == PAGE_BYTES && !block->has_streams) {
        block->has_streams = true;
        return page_of(block, PAGE_STREAMS); /* zeros: see h2_block_give */
    }
    void *memory = take_kept(block, bytes);
    return memory ? memset(memory, 0, bytes) : calloc(count, size);
}

static void release(void *memory, void *user)
{
    if (memory && !is_inside(user, memory)) free(memory);
}

/* nghttp2 makes its first buffer so. One of ours that is to grow moves; how large it was is unknown, but it ended with its block. */
static void *reallocate(void *memory, size_t size, void *user)
{
    struct h2_block *block = user;
    if (!memory) return allocate(size, user);
    if (!is_inside(block, memory)) return realloc(memory, size);
    size_t most = (size_t)((char *)block + BLOCK_BYTES - (char *)memory);
    void *larger = malloc(size);
    return larger ? memcpy(larger, memory, size < most ? size : most) : NULL;
}

/* --- blocks --- */

struct h2_memory *h2_memory_create(void) { return calloc(1, sizeof(struct h2_memory)); }

void h2_memory_destroy(struct h2_memory *memory)
{
    if (!memory) return;
    PROMISE(memory->idle_count == memory->count);
    for (struct region *region = memory->regions, *next; region; region = next) {
        next = region->next;
        munmap(region->pages, (size_t)BLOCK_BYTES * BLOCKS_A_REGION);
        free(region);
    }
    free(memory->idle);
    free(memory);
}

/* Huge pages would bring back what was given up. */
static char *map_region(void)
{
    size_t bytes = (size_t)BLOCK_BYTES * BLOCKS_A_REGION;
    char *pages = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (pages == MAP_FAILED) return NULL;
    madvise(pages, bytes, MADV_NOHUGEPAGE);
    return pages;
}

static bool add_region(struct h2_memory *memory)
{
    struct h2_block **idle = realloc(memory->idle, (memory->count + BLOCKS_A_REGION) * sizeof(struct h2_block *));
    if (!idle) return false;
    memory->idle = idle;
    struct region *region = malloc(sizeof *region);
    char *pages = region ? map_region() : NULL;
    if (!pages) {
        free(region);
        return false;
    }
    *region = (struct region){ memory->regions, pages };
    memory->regions = region;
    memory->count += BLOCKS_A_REGION;
    for (unsigned i = BLOCKS_A_REGION; i-- > 0;)
        memory->idle[memory->idle_count++] = (struct h2_block *)(void *)(pages + (size_t)i * BLOCK_BYTES);
    return true;
}

struct h2_block *h2_block_take(struct h2_memory *memory)
{
    if (!memory || (memory->idle_count == 0 && !add_region(memory))) return NULL;
    struct h2_block *block = memory->idle[--memory->idle_count];
    *block = (struct h2_block){ .memory = memory, .used = (sizeof *block + 15) & ~15u };
    block->allocator = (nghttp2_mem){ block, allocate, release, allocate_zeroed, reallocate };
    return block;
}

nghttp2_mem *h2_block_allocator(struct h2_block *block) { return &block->allocator; }

void h2_block_settle(struct h2_block *block) { block->is_settled = true; }

static bool is_zero(const char *page) { return page[0] == 0 && memcmp(page, page + 1, PAGE_BYTES - 1) == 0; }

/* Looking at a page that was given up brings in the kernel's own page of zeros, which costs nothing. */
void h2_block_rest(struct h2_block *block)
{
    if (!block) return;
    bool streams_too = block->has_streams && is_zero(page_of(block, PAGE_STREAMS));
    unsigned first = streams_too ? PAGE_STREAMS : PAGE_BUFFER;
    madvise(page_of(block, first), (size_t)(PAGE_FIELDS - first) * PAGE_BYTES, MADV_DONTNEED);
}

/* The streams' page must be zeros for the next session. */
void h2_block_give(struct h2_block *block)
{
    if (!block) return;
    struct h2_memory *memory = block->memory;
    if (memory->idle_count < IDLE_BLOCKS_RESIDENT)
        memset(page_of(block, PAGE_STREAMS), 0, PAGE_BYTES);
    else
        madvise(block, BLOCK_BYTES, MADV_DONTNEED);
    memory->idle[memory->idle_count++] = block;
}
