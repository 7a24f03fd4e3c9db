#include "unit_test.h"

#include "base/list.h"
#include "base/map.h"
#include "base/memory.h"
#include "base/random.h"
#include "base/vector.h"

#define NAMES 500

/* The same random operations on the map and on a plain array indexed by name; both must always agree. */
static void a_map_agrees_with_a_plain_array_over_random_operations(void **state)
{
    struct map map;
    map_init(&map);
    void *reference[NAMES] = { NULL };
    int values[64];
    size_t count = 0;
    struct random random;
    random_init_seeded(&random, 1);
    for (int step = 0; step < 100000; step++) {
        size_t name = random_below(&random, NAMES);
        char text[16];
        struct slice key = slice_of(text, (size_t)snprintf(text, sizeof text, "name-%zu", name));
        void *value = &values[random_below(&random, COUNT_OF(values))];
        switch (random_below(&random, 3)) {
        case 0:
            assert_ptr_equal(map_set(&map, key, value), reference[name]);
            count += reference[name] == NULL;
            reference[name] = value;
            break;
        case 1:
            assert_ptr_equal(map_remove(&map, key), reference[name]);
            count -= reference[name] != NULL;
            reference[name] = NULL;
            break;
        default: assert_ptr_equal(map_find(&map, key), reference[name]);
        }
        assert_int_equal(map.count, count);
    }
    assert_in_range(map.capacity, 512, 2048); /* tombstones alone never make it grow */
    map_release(&map);
}

static void a_walk_over_a_map_meets_each_entry_once(void **state)
{
    struct map map;
    map_init(&map);
    int seen[100] = { 0 };
    for (int i = 0; i < 100; i++) {
        char *key = memory_format("%d", i);
        map_set(&map, slice_from_cstring(key), &seen[i]);
        free(key); /* the map has its own copy */
    }
    assert_ptr_equal(map_remove(&map, SLICE("50")), &seen[50]);
    size_t position = 0, walked = 0;
    for (struct map_entry *entry; (entry = map_next(&map, &position)); walked++) {
        ++*(int *)entry->value;
    }
    assert_int_equal(walked, 99);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(seen[i], i != 50);
    }
    map_release(&map);
}

static void an_empty_key_is_a_key_like_any_other(void **state)
{
    struct map map;
    int value;
    map_init(&map);
    assert_null(map_find(&map, SLICE("")));
    assert_null(map_remove(&map, SLICE("")));
    assert_null(map_set(&map, SLICE(""), &value));
    assert_ptr_equal(map_find(&map, SLICE("")), &value);
    assert_null(map_find(&map, SLICE("x")));
    assert_ptr_equal(map_remove(&map, SLICE("")), &value);
    assert_null(map_find(&map, SLICE("")));
    map_release(&map);
}

static void a_vector_keeps_its_order_through_growth_and_removal(void **state)
{
    struct vector vector;
    vector_init(&vector, sizeof(int));
    for (int i = 0; i < 100; i++) {
        vector_push_copy(&vector, &i);
    }
    assert_int_equal(*(int *)vector_push(&vector), 0);
    vector_remove_at(&vector, 100);
    vector_remove_at(&vector, 0);
    vector_remove_at(&vector, 49);
    assert_int_equal(vector.count, 98);
    for (size_t i = 0; i < vector.count; i++) {
        assert_int_equal(*(int *)vector_at(&vector, i), i < 49 ? i + 1 : i + 2);
    }
    vector_release(&vector);
    assert_int_equal(vector.count, 0);

    vector_init(&vector, sizeof(void *));
    vector_push_pointer(&vector, &vector);
    assert_ptr_equal(vector_pointer_at(&vector, 0), &vector);
    vector_release(&vector);
}

static void a_list_link_knows_whether_it_is_in_a_list(void **state)
{
    struct list_link head, a, b;
    list_init(&head);
    list_init(&a);
    list_init(&b);
    assert_true(list_is_empty(&head));
    assert_null(list_first(&head));
    assert_false(list_is_linked(&a));
    list_push_back(&head, &a);
    list_push_front(&head, &b);
    assert_ptr_equal(list_first(&head), &b);
    assert_ptr_equal(list_last(&head), &a);
    assert_true(list_is_linked(&a));
    list_remove(&a);
    list_remove(&a);
    assert_false(list_is_linked(&a));
    assert_ptr_equal(list_last(&head), &b);
    list_remove(&b);
    assert_true(list_is_empty(&head));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_map_agrees_with_a_plain_array_over_random_operations),
        cmocka_unit_test(a_walk_over_a_map_meets_each_entry_once),
        cmocka_unit_test(an_empty_key_is_a_key_like_any_other),
        cmocka_unit_test(a_vector_keeps_its_order_through_growth_and_removal),
        cmocka_unit_test(a_list_link_knows_whether_it_is_in_a_list),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
