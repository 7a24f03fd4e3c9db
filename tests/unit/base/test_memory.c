#include "unit_test.h"

#include "base/arena.h"
#include "base/memory.h"
#include "base/slab.h"

static void an_arena_takes_no_memory_before_the_first_allocation(void **state)
{
    struct arena_pool pool;
    struct arena arena;
    arena_pool_init(&pool, 4, NULL);
    arena_init(&arena, &pool);
    assert_int_equal(pool.bytes_taken, 0);
    assert_non_null(arena_allocate(&arena, 1));
    assert_int_equal(pool.bytes_taken, ARENA_CHUNK_BYTES);
    arena_release(&arena);
    assert_int_equal(pool.bytes_taken, 0);
    arena_pool_release(&pool);
}

static void pieces_of_an_arena_are_aligned_and_never_overlap(void **state)
{
    struct arena arena;
    arena_init(&arena, NULL);
    unsigned char *pieces[2000];
    for (size_t i = 0; i < COUNT_OF(pieces); i++) {
        size_t size = i % 97;
        pieces[i] = arena_allocate(&arena, size);
        assert_non_null(pieces[i]);
        assert_int_equal((uintptr_t)pieces[i] % 8, 0);
        memset(pieces[i], (int)(i & 0xff), size);
    }
    for (size_t i = 0; i < COUNT_OF(pieces); i++) {
        for (size_t at = 0; at < i % 97; at++) {
            assert_int_equal(pieces[i][at], i & 0xff);
        }
    }
    arena_release(&arena);
}

static void a_wider_alignment_is_kept_in_old_and_new_chunks(void **state)
{
    struct arena arena;
    arena_init(&arena, NULL);
    for (int i = 0; i < 300; i++) {
        arena_allocate(&arena, 8);
        assert_int_equal((uintptr_t)arena_allocate_slow(&arena, 64, 64) % 64, 0);
        assert_int_equal((uintptr_t)arena_allocate_slow(&arena, 16, 16) % 16, 0);
    }
    arena_release(&arena);
}

static void released_chunks_are_used_again_up_to_what_the_pool_keeps(void **state)
{
    struct arena_pool pool;
    struct arena arena;
    arena_pool_init(&pool, 2, NULL);
    arena_init(&arena, &pool);
    for (int i = 0; i < 5; i++) {
        assert_non_null(arena_allocate(&arena, ARENA_CHUNK_BYTES - 64));
    }
    assert_int_equal(pool.bytes_taken, 5 * ARENA_CHUNK_BYTES);
    arena_release(&arena);
    assert_int_equal(pool.idle_count, 2);
    void *first = arena_allocate(&arena, 8);
    assert_int_equal(pool.idle_count, 1);
    arena_release(&arena);
    assert_ptr_equal(arena_allocate(&arena, 8), first);
    arena_release(&arena);
    arena_pool_release(&pool);
}

static void a_piece_larger_than_a_chunk_gets_its_own_and_leaves_the_current_one_in_use(void **state)
{
    struct arena_pool pool;
    struct arena arena;
    arena_pool_init(&pool, 8, NULL);
    arena_init(&arena, &pool);
    char *small = arena_allocate(&arena, 16);
    char *large = arena_allocate(&arena, 5 * ARENA_CHUNK_BYTES);
    memset(large, 1, 5 * ARENA_CHUNK_BYTES);
    assert_ptr_equal(arena_allocate(&arena, 16), small + 16);
    assert_in_range(pool.bytes_taken, 6 * ARENA_CHUNK_BYTES, 6 * ARENA_CHUNK_BYTES + 64);
    arena_release(&arena);
    assert_int_equal(pool.idle_count, 1);
    assert_int_equal(pool.bytes_taken, 0);
    arena_pool_release(&pool);
}

static void at_its_ceiling_an_arena_pool_says_no_and_recovers(void **state)
{
    struct arena_pool pool;
    struct arena one, other;
    struct memory_ceiling ceiling = { .bytes_max = 2 * ARENA_CHUNK_BYTES };
    arena_pool_init(&pool, 8, &ceiling);
    arena_init(&one, &pool);
    arena_init(&other, &pool);
    assert_non_null(arena_allocate(&one, ARENA_CHUNK_BYTES - 64));
    assert_non_null(arena_allocate(&one, ARENA_CHUNK_BYTES - 64));
    assert_null(arena_allocate(&other, 1));
    assert_null(arena_allocate(&one, ARENA_CHUNK_BYTES));
    assert_true(slice_is_absent(arena_copy(&other, SLICE("text"))));
    assert_true(slice_is_absent(arena_format(&other, "%d", 1)));
    arena_release(&one);
    assert_non_null(arena_allocate(&other, 1));
    arena_release(&other);
    arena_pool_release(&pool);
}

static void an_impossible_size_is_refused(void **state)
{
    struct arena arena;
    arena_init(&arena, NULL);
    assert_null(arena_allocate(&arena, SIZE_MAX));
    assert_null(arena_allocate(&arena, SIZE_MAX - 7));
    assert_null(arena_allocate(&arena, SIZE_MAX / 2));
    assert_non_null(arena_allocate(&arena, 8));
    assert_null(arena_allocate(&arena, SIZE_MAX));
    assert_null(arena_allocate(&arena, SIZE_MAX - 8));
    assert_non_null(arena_allocate(&arena, 0));
    arena_release(&arena);
}

static void texts_in_an_arena_end_with_a_nul_behind_their_length(void **state)
{
    struct arena arena;
    arena_init(&arena, NULL);
    struct slice copy = arena_copy(&arena, SLICE("copied"));
    assert_slice_is(copy, "copied");
    assert_int_equal(copy.at[copy.length], '\0');
    struct slice empty = arena_copy(&arena, SLICE_ABSENT);
    assert_false(slice_is_absent(empty));
    assert_int_equal(empty.at[0], '\0');
    struct slice pieces[] = { SLICE("a"), SLICE_ABSENT, SLICE("bc"), SLICE("") };
    assert_slice_is(arena_join(&arena, pieces, COUNT_OF(pieces)), "abc");
    arena_release(&arena);
}

/* The text is tried in place first; these lengths end before, at and behind the chunk's end. */
static void a_formatted_text_is_whole_wherever_the_chunk_ends(void **state)
{
    for (int width = 900; width < 1100; width++) {
        struct arena arena;
        arena_init(&arena, NULL);
        arena_allocate(&arena, ARENA_CHUNK_BYTES - 16 - 1000);
        struct slice text = arena_format(&arena, "%0*d", width, 7);
        assert_int_equal(text.length, width);
        assert_int_equal(strlen(text.at), width);
        assert_int_equal(text.at[width - 1], '7');
        arena_release(&arena);
    }
}

static void a_dropped_slab_is_the_next_one_taken(void **state)
{
    struct slab_pool pool;
    slab_pool_init(&pool, 1 << 20, NULL);
    struct slab *first = slab_take(&pool, SLAB_SMALL), *second = slab_take(&pool, SLAB_SMALL);
    assert_int_equal((uintptr_t)first->bytes % CACHE_LINE, 0);
    memset(first->bytes, 1, first->size);
    first->filled = 7;
    slab_drop(second);
    slab_drop(first);
    struct slab *again = slab_take(&pool, SLAB_SMALL);
    assert_ptr_equal(again, first);
    assert_int_equal(again->filled, 0);
    assert_int_equal(again->references, 1);
    slab_drop(again);
    slab_pool_release(&pool);
}

static void a_slab_lives_until_its_last_reference_is_dropped(void **state)
{
    struct slab_pool pool;
    slab_pool_init(&pool, 0, NULL);
    struct slab *slab = slab_take(&pool, SLAB_MEDIUM);
    slab_retain(slab);
    slab_drop(slab);
    assert_int_equal(pool.taken_bytes, SLAB_MEDIUM_BYTES);
    slab->bytes[SLAB_MEDIUM_BYTES - 1] = 1;
    slab_drop(slab);
    assert_int_equal(pool.taken_bytes, 0);
    assert_int_equal(pool.idle_bytes, 0);
    slab_drop(NULL);
    slab_pool_release(&pool);
}

static void a_slab_pool_keeps_to_its_ceiling_and_to_its_idle_limit(void **state)
{
    struct slab_pool pool;
    struct memory_ceiling ceiling = { .bytes_max = 3 * SLAB_SMALL_BYTES };
    slab_pool_init(&pool, SLAB_SMALL_BYTES, &ceiling);
    struct slab *slabs[3];
    assert_null(slab_take(&pool, SLAB_MEDIUM));
    for (int i = 0; i < 3; i++) {
        assert_non_null(slabs[i] = slab_take(&pool, SLAB_SMALL));
    }
    assert_null(slab_take(&pool, SLAB_SMALL));
    assert_null(slab_take_sized(&pool, 1));
    slab_drop(slabs[0]);
    assert_non_null(slabs[0] = slab_take(&pool, SLAB_SMALL));
    for (int i = 0; i < 3; i++) {
        slab_drop(slabs[i]);
    }
    assert_int_equal(pool.taken_bytes, 0);
    assert_int_equal(pool.idle_bytes, SLAB_SMALL_BYTES);
    slab_pool_release(&pool);
}

static void a_slab_of_a_given_size_comes_from_the_smallest_class_that_holds_it(void **state)
{
    struct slab_pool pool;
    struct memory_ceiling ceiling = { .bytes_max = 1 << 20 };
    slab_pool_init(&pool, 1 << 20, &ceiling);
    struct slab *tiny = slab_take_sized(&pool, 1), *small = slab_take_sized(&pool, SLAB_TINY_BYTES + 1),
                *medium = slab_take_sized(&pool, SLAB_SMALL_BYTES + 1);
    struct slab *odd = slab_take_sized(&pool, SLAB_MEDIUM_BYTES + 1);
    assert_int_equal(tiny->size, SLAB_TINY_BYTES);
    assert_int_equal(small->size, SLAB_SMALL_BYTES);
    assert_int_equal(medium->size, SLAB_MEDIUM_BYTES);
    assert_int_equal(odd->size, SLAB_MEDIUM_BYTES + 1);
    assert_int_equal(pool.taken_bytes, tiny->size + small->size + medium->size + odd->size);
    assert_int_equal(ceiling.taken, pool.taken_bytes);
    assert_null(slab_take_sized(&pool, SIZE_MAX));
    slab_drop(odd);
    assert_int_equal(pool.idle_bytes, 0);
    slab_drop(tiny);
    slab_drop(small);
    slab_drop(medium);
    assert_int_equal(pool.idle_bytes, SLAB_TINY_BYTES + SLAB_SMALL_BYTES + SLAB_MEDIUM_BYTES);
    slab_pool_release(&pool);
}

/* --- one ceiling --- */

struct memory {
    struct memory_ceiling ceiling;
    struct slab_pool slabs;
    struct arena_pool arenas;
};

static void memory_init(struct memory *memory, size_t bytes_max)
{
    memory->ceiling = (struct memory_ceiling){ .bytes_max = bytes_max };
    slab_pool_init(&memory->slabs, 1 << 20, &memory->ceiling);
    arena_pool_init(&memory->arenas, 8, &memory->ceiling);
}

static void memory_release(struct memory *memory)
{
    assert_int_equal(memory_ceiling_in_use(&memory->ceiling), 0);
    slab_pool_release(&memory->slabs);
    arena_pool_release(&memory->arenas);
}

static void slabs_and_arenas_have_one_ceiling(void **state)
{
    struct memory memory;
    struct arena arena;
    memory_init(&memory, SLAB_SMALL_BYTES + ARENA_CHUNK_BYTES);
    arena_init(&arena, &memory.arenas);
    assert_non_null(arena_allocate(&arena, 1));
    struct slab *slab = slab_take(&memory.slabs, SLAB_SMALL);
    assert_non_null(slab);
    assert_null(slab_take(&memory.slabs, SLAB_TINY));
    assert_null(arena_allocate(&arena, ARENA_CHUNK_BYTES));
    arena_release(&arena);
    struct slab *tiny = slab_take(&memory.slabs, SLAB_TINY);
    assert_non_null(tiny);
    slab_drop(tiny);
    slab_drop(slab);
    memory_release(&memory);
}

static void what_lies_idle_does_not_come_on_top_of_the_ceiling(void **state)
{
    struct memory memory;
    memory_init(&memory, SLAB_MEDIUM_BYTES);
    slab_drop(slab_take(&memory.slabs, SLAB_MEDIUM));
    assert_int_equal(memory.slabs.idle_bytes, SLAB_MEDIUM_BYTES);
    struct slab *small = slab_take(&memory.slabs, SLAB_SMALL);
    assert_non_null(small);
    assert_int_equal(memory.slabs.idle_bytes, 0);
    slab_drop(small);
    assert_int_equal(memory.slabs.idle_bytes, SLAB_SMALL_BYTES);
    memory_release(&memory);
}

static void a_promise_counts_before_it_is_drawn_and_no_more_afterwards(void **state)
{
    struct memory memory;
    struct slab_reserve reserve, other;
    memory_init(&memory, SLAB_SMALL_BYTES + SLAB_TINY_BYTES);
    assert_true(slab_reserve_init(&reserve, &memory.slabs));
    struct slab *small = slab_take(&memory.slabs, SLAB_SMALL);
    assert_non_null(small);
    assert_false(slab_reserve_init(&other, &memory.slabs));
    assert_null(slab_take(&memory.slabs, SLAB_TINY));
    struct slab *drawn = slab_reserve_take(&reserve);
    assert_non_null(drawn);
    assert_true(drawn->is_reserve);
    assert_int_equal(memory_ceiling_in_use(&memory.ceiling), SLAB_SMALL_BYTES + SLAB_TINY_BYTES);
    assert_null(slab_reserve_take(&reserve)); /* still in use */
    drawn->filled = 7;
    slab_drop(drawn);
    assert_ptr_equal(slab_reserve_take(&reserve), drawn);
    assert_int_equal(drawn->filled, 0);
    slab_reserve_release(&reserve);
    assert_int_equal(memory_ceiling_in_use(&memory.ceiling),
                     SLAB_SMALL_BYTES + SLAB_TINY_BYTES); /* who holds it keeps it */
    slab_drop(drawn);
    assert_int_equal(memory_ceiling_in_use(&memory.ceiling), SLAB_SMALL_BYTES);
    struct slab *plain = slab_take(&memory.slabs, SLAB_TINY);
    assert_non_null(plain);
    assert_false(plain->is_reserve);
    slab_drop(plain);
    assert_true(slab_reserve_init(&other, &memory.slabs));
    slab_reserve_release(&other);
    slab_reserve_release(&other);
    assert_null(slab_reserve_take(&other));
    slab_drop(small);
    memory_release(&memory);
}

static void memory_for_the_control_plane_is_zeroed_and_never_null(void **state)
{
    char *none = memory_allocate(0), *some = memory_allocate_array(10, 10), *line = memory_allocate_aligned(100);
    assert_non_null(none);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(some[i], 0);
        assert_int_equal(line[i], 0);
    }
    assert_int_equal((uintptr_t)line % CACHE_LINE, 0);
    some = memory_resize(some, 1000);
    char *copy = memory_copy_slice(SLICE("copy")), *text = memory_format("%s-%d", "text", 7);
    assert_string_equal(copy, "copy");
    assert_string_equal(text, "text-7");
    free(none);
    free(some);
    free(line);
    free(copy);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_arena_takes_no_memory_before_the_first_allocation),
        cmocka_unit_test(pieces_of_an_arena_are_aligned_and_never_overlap),
        cmocka_unit_test(a_wider_alignment_is_kept_in_old_and_new_chunks),
        cmocka_unit_test(released_chunks_are_used_again_up_to_what_the_pool_keeps),
        cmocka_unit_test(a_piece_larger_than_a_chunk_gets_its_own_and_leaves_the_current_one_in_use),
        cmocka_unit_test(at_its_ceiling_an_arena_pool_says_no_and_recovers),
        cmocka_unit_test(an_impossible_size_is_refused),
        cmocka_unit_test(texts_in_an_arena_end_with_a_nul_behind_their_length),
        cmocka_unit_test(a_formatted_text_is_whole_wherever_the_chunk_ends),
        cmocka_unit_test(a_dropped_slab_is_the_next_one_taken),
        cmocka_unit_test(a_slab_lives_until_its_last_reference_is_dropped),
        cmocka_unit_test(a_slab_pool_keeps_to_its_ceiling_and_to_its_idle_limit),
        cmocka_unit_test(slabs_and_arenas_have_one_ceiling),
        cmocka_unit_test(what_lies_idle_does_not_come_on_top_of_the_ceiling),
        cmocka_unit_test(a_promise_counts_before_it_is_drawn_and_no_more_afterwards),
        cmocka_unit_test(a_slab_of_a_given_size_comes_from_the_smallest_class_that_holds_it),
        cmocka_unit_test(memory_for_the_control_plane_is_zeroed_and_never_null),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
