/* The documents in memory: found by id and name, listed by age, and a change is seen as a whole or not at all. */
#include "store/catalog.h"

#include "base/memory.h"
#include "base/random.h"

#include "unit/unit_test.h"

#include <malloc.h>
#include <pthread.h>

#define ID_LENGTH 36

/* "00000000-0000-4000-8000-<number>" */
static struct slice id_of(unsigned number, char into[ID_LENGTH + 1])
{
    snprintf(into, ID_LENGTH + 1, "00000000-0000-4000-8000-%012u", number);
    return slice_of(into, ID_LENGTH);
}

/* Route or service `number`, called `name`, made at `created_us`; a route of service `service` (0: of none). */
static struct catalog_entry *entry_of(enum resource_kind kind, unsigned number, const char *name, uint64_t created_us,
                                      unsigned service)
{
    char id[ID_LENGTH + 1], service_id[ID_LENGTH + 1], document[256];
    struct resource_reference reference = { .kind = RESOURCE_SERVICE, .id = id_of(service, service_id) };
    struct resource resource = { .kind = kind,
                                 .id = id_of(number, id),
                                 .name = slice_from_cstring(name),
                                 .references = &reference,
                                 .reference_count = service ? 1 : 0 };
    snprintf(document, sizeof document, "{\"name\":\"%s\",\"id\":\"%s\"}", name, id);
    return catalog_entry_create(&resource, slice_from_cstring(document), created_us, created_us);
}

static struct catalog_change put(struct catalog_entry *entry)
{
    return (struct catalog_change){ .kind = entry->kind, .id = entry->id, .after = entry };
}

static bool has(struct catalog *catalog, enum resource_kind kind, const char *id_or_name)
{
    struct catalog_entry *entry = catalog_find(catalog, kind, slice_from_cstring(id_or_name), NULL);
    catalog_entry_drop(entry);
    return entry != NULL;
}

/* The names of a list, with spaces between them. */
static const char *names(struct catalog_entry **entries, size_t count)
{
    static char text[1024];
    text[0] = '\0';
    for (size_t i = 0; i < count; i++) {
        size_t length = strlen(text);
        snprintf(text + length, sizeof text - length, "%s%s", length ? " " : "", entries[i]->name.at);
        catalog_entry_drop(entries[i]);
    }
    return text;
}

static void what_was_put_is_found_by_id_and_by_name(void **state)
{
    struct catalog *catalog = catalog_create();
    struct catalog_change changes[] = { put(entry_of(RESOURCE_SERVICE, 1, "users", 10, 0)),
                                        put(entry_of(RESOURCE_ROUTE, 2, "user-routes", 20, 1)) };
    catalog_apply(catalog, changes, 2, 7);
    assert_int_equal(catalog_revision(catalog), 7);
    assert_true(has(catalog, RESOURCE_SERVICE, "users"));
    assert_true(has(catalog, RESOURCE_SERVICE, "00000000-0000-4000-8000-000000000001"));
    assert_true(has(catalog, RESOURCE_ROUTE, "user-routes"));
    assert_false(has(catalog, RESOURCE_ROUTE, "users"));
    assert_false(has(catalog, RESOURCE_SERVICE, ""));
    assert_int_equal(catalog_count(catalog, RESOURCE_ROUTE), 1);
    struct catalog_entry *entry = catalog_find(catalog, RESOURCE_ROUTE, SLICE("user-routes"), NULL);
    assert_slice_is(entry->document, "{\"name\":\"user-routes\",\"id\":\"00000000-0000-4000-8000-000000000002\"}");
    assert_int_equal(entry->created_us, 20);
    catalog_entry_drop(entry);
    catalog_destroy(catalog);
}

static void an_id_goes_before_a_name_and_a_name_that_several_have_finds_none(void **state)
{
    struct catalog *catalog = catalog_create();
    struct catalog_change changes[] = {
        put(entry_of(RESOURCE_RATE_LIMIT, 1, "default", 10, 0)),
        put(entry_of(RESOURCE_RATE_LIMIT, 2, "default", 20, 0)),
        put(entry_of(RESOURCE_RATE_LIMIT, 3, "00000000-0000-4000-8000-000000000001", 30, 0)),
    };
    catalog_apply(catalog, changes, 3, 1);
    bool ambiguous = false;
    assert_null(catalog_find(catalog, RESOURCE_RATE_LIMIT, SLICE("default"), &ambiguous));
    assert_true(ambiguous);
    struct catalog_entry *first = catalog_find(catalog, RESOURCE_RATE_LIMIT,
                                               SLICE("00000000-0000-4000-8000-000000000001"), &ambiguous);
    assert_int_equal(first->created_us, 10);
    assert_false(ambiguous);
    catalog_entry_drop(first);
    catalog_destroy(catalog);
}

static void a_reader_keeps_what_it_found_whatever_happens_afterwards(void **state)
{
    struct catalog *catalog = catalog_create();
    struct catalog_change change = put(entry_of(RESOURCE_ROUTE, 1, "before", 10, 0));
    catalog_apply(catalog, &change, 1, 1);
    struct catalog_entry *kept = catalog_find(catalog, RESOURCE_ROUTE, SLICE("before"), NULL);
    change = put(entry_of(RESOURCE_ROUTE, 1, "after", 10, 0));
    catalog_apply(catalog, &change, 1, 2);
    assert_slice_is(kept->name, "before");
    assert_false(has(catalog, RESOURCE_ROUTE, "before"));
    assert_true(has(catalog, RESOURCE_ROUTE, "after"));
    struct catalog_change gone = { .kind = RESOURCE_ROUTE, .id = kept->id };
    catalog_apply(catalog, &gone, 1, 3);
    assert_int_equal(catalog_count(catalog, RESOURCE_ROUTE), 0);
    catalog_destroy(catalog);
    assert_slice_is(kept->name, "before");
    catalog_entry_drop(kept);
}

static bool is_even(const void *argument, const struct catalog_entry *entry)
{
    return (entry->id.at[ID_LENGTH - 1] - '0') % 2 == 0;
}

static void lists_go_by_age_page_by_page(void **state)
{
    struct catalog *catalog = catalog_create();
    struct catalog_change changes[] = {
        put(entry_of(RESOURCE_ROUTE, 5, "e", 30, 0)), put(entry_of(RESOURCE_ROUTE, 3, "c", 20, 0)),
        put(entry_of(RESOURCE_ROUTE, 2, "b", 20, 0)), put(entry_of(RESOURCE_ROUTE, 4, "d", 20, 0)),
        put(entry_of(RESOURCE_ROUTE, 1, "a", 40, 0)),
    };
    catalog_apply(catalog, changes, COUNT_OF(changes), 1);
    struct catalog_entry *page[8];
    char id[ID_LENGTH + 1];
    bool more;
    size_t count = catalog_list(catalog, RESOURCE_ROUTE, 0, SLICE_ABSENT, NULL, NULL, page, 2, &more);
    assert_string_equal(names(page, count), "b c");
    assert_true(more);
    count = catalog_list(catalog, RESOURCE_ROUTE, 20, id_of(3, id), NULL, NULL, page, 2, &more);
    assert_string_equal(names(page, count), "d e");
    assert_true(more);
    count = catalog_list(catalog, RESOURCE_ROUTE, 30, id_of(5, id), NULL, NULL, page, 2, &more);
    assert_string_equal(names(page, count), "a");
    assert_false(more);
    /* What a cursor names may be gone by now. */
    struct catalog_change gone = { .kind = RESOURCE_ROUTE, .id = id_of(3, id) };
    catalog_apply(catalog, &gone, 1, 2);
    count = catalog_list(catalog, RESOURCE_ROUTE, 20, id_of(3, id), NULL, NULL, page, 8, &more);
    assert_string_equal(names(page, count), "d e a");
    count = catalog_list(catalog, RESOURCE_ROUTE, 0, SLICE_ABSENT, is_even, NULL, page, 1, &more);
    assert_string_equal(names(page, count), "b");
    assert_true(more);
    count = catalog_list(catalog, RESOURCE_ROUTE, 0, SLICE_ABSENT, is_even, NULL, page, 2, &more);
    assert_string_equal(names(page, count), "b d");
    assert_false(more);
    catalog_destroy(catalog);
}

static void users_of_a_resource_are_those_that_name_it_now(void **state)
{
    struct catalog *catalog = catalog_create();
    struct catalog_change changes[] = {
        put(entry_of(RESOURCE_SERVICE, 1, "one", 1, 0)),  put(entry_of(RESOURCE_SERVICE, 2, "two", 2, 0)),
        put(entry_of(RESOURCE_ROUTE, 11, "a", 11, 1)),    put(entry_of(RESOURCE_ROUTE, 12, "b", 12, 2)),
        put(entry_of(RESOURCE_ROUTE, 13, "c", 13, 1)),    put(entry_of(RESOURCE_PLUGIN, 14, "p", 14, 1)),
        put(entry_of(RESOURCE_ROUTE, 15, "none", 15, 0)),
    };
    catalog_apply(catalog, changes, COUNT_OF(changes), 1);
    struct catalog_entry *users[8];
    char id[ID_LENGTH + 1];
    size_t count = catalog_users(catalog, RESOURCE_SERVICE, id_of(1, id), users, 8);
    assert_string_equal(names(users, count), "a c p");
    count = catalog_users(catalog, RESOURCE_SERVICE, id_of(1, id), users, 2);
    assert_string_equal(names(users, count), "a c");
    struct catalog_change moved[] = { put(entry_of(RESOURCE_ROUTE, 11, "a", 11, 2)),
                                      { .kind = RESOURCE_PLUGIN, .id = id_of(14, id) } };
    catalog_apply(catalog, moved, 2, 2);
    count = catalog_users(catalog, RESOURCE_SERVICE, id_of(1, id), users, 8);
    assert_string_equal(names(users, count), "c");
    count = catalog_users(catalog, RESOURCE_SERVICE, id_of(2, id), users, 8);
    assert_string_equal(names(users, count), "a b");
    assert_int_equal(catalog_users(catalog, RESOURCE_SERVICE, id_of(3, id), users, 8), 0);
    assert_int_equal(catalog_users(catalog, RESOURCE_ROUTE, id_of(1, id), users, 8), 0);
    catalog_destroy(catalog);
}

static void naming_the_same_one_twice_is_one_use(void **state)
{
    struct catalog *catalog = catalog_create();
    char id[ID_LENGTH + 1], route[ID_LENGTH + 1];
    struct resource_reference twice[] = { { .kind = RESOURCE_ROUTE, .id = id_of(9, route) },
                                          { .kind = RESOURCE_ROUTE, .id = id_of(9, route), .by_name = true } };
    struct resource plugin = {
        .kind = RESOURCE_PLUGIN, .id = id_of(1, id), .name = SLICE("p"), .references = twice, .reference_count = 2
    };
    struct catalog_change change = put(catalog_entry_create(&plugin, SLICE("{}"), 1, 1));
    catalog_apply(catalog, &change, 1, 1);
    struct catalog_entry *users[4];
    assert_int_equal(catalog_users(catalog, RESOURCE_ROUTE, id_of(9, route), users, 4), 1);
    catalog_entry_drop(users[0]);
    struct catalog_change gone = { .kind = RESOURCE_PLUGIN, .id = id_of(1, id) };
    catalog_apply(catalog, &gone, 1, 2);
    assert_int_equal(catalog_users(catalog, RESOURCE_ROUTE, id_of(9, route), users, 4), 0);
    catalog_destroy(catalog);
}

/* Small changes are made in place, large ones beside; both must leave what a plain list of entries says. */
static void changes_of_every_size_leave_what_a_simple_model_says(void **state)
{
    enum { NUMBERS = 200 };
    struct catalog *catalog = catalog_create();
    uint64_t model[NUMBERS] = { 0 }; /* created_us; 0: absent */
    struct random random;
    random_init_seeded(&random, 5);
    for (unsigned round = 1; round <= 400; round++) {
        struct catalog_change changes[64];
        static char ids[64][ID_LENGTH + 1];
        size_t count = random_below(&random, round % 2 ? 4 : 64);
        for (size_t i = 0; i < count; i++) {
            unsigned number = (unsigned)random_below(&random, NUMBERS);
            bool is_put = random_below(&random, 3) > 0;
            model[number] = is_put ? 1 + random_below(&random, 50) : 0;
            char name[16];
            snprintf(name, sizeof name, "n%u", number);
            changes[i] = is_put ? put(entry_of(RESOURCE_ROUTE, number, name, model[number], 1 + number % 7))
                                : (struct catalog_change){ .kind = RESOURCE_ROUTE, .id = id_of(number, ids[i]) };
        }
        catalog_apply(catalog, changes, count, round);
        struct catalog_entry *all[NUMBERS];
        bool more;
        size_t listed = catalog_list(catalog, RESOURCE_ROUTE, 0, SLICE_ABSENT, NULL, NULL, all, NUMBERS, &more);
        size_t expected = 0, used = 0;
        for (unsigned number = 0; number < NUMBERS; number++) {
            char id[ID_LENGTH + 1], name[16];
            snprintf(name, sizeof name, "n%u", number);
            struct catalog_entry *by_id = catalog_find(catalog, RESOURCE_ROUTE, id_of(number, id), NULL);
            struct catalog_entry *by_name = catalog_find(catalog, RESOURCE_ROUTE, slice_from_cstring(name), NULL);
            assert_ptr_equal(by_id, by_name);
            assert_int_equal(by_id ? by_id->created_us : 0, model[number]);
            expected += model[number] != 0;
            catalog_entry_drop(by_id);
            catalog_entry_drop(by_name);
        }
        assert_int_equal(listed, expected);
        for (size_t i = 1; i < listed; i++) assert_true(all[i - 1]->created_us <= all[i]->created_us);
        for (size_t i = 0; i < listed; i++) catalog_entry_drop(all[i]);
        for (unsigned service = 1; service <= 7; service++) {
            char id[ID_LENGTH + 1];
            struct catalog_entry *users[NUMBERS];
            size_t count_of_one = catalog_users(catalog, RESOURCE_SERVICE, id_of(service, id), users, NUMBERS);
            for (size_t i = 0; i < count_of_one; i++) catalog_entry_drop(users[i]);
            used += count_of_one;
        }
        assert_int_equal(used, expected);
    }
    catalog_destroy(catalog);
}

static void ten_thousand_documents_take_six_megabytes(void **state)
{
    enum { COUNT = 10000 };
    struct mallinfo2 before = mallinfo2();
    struct catalog *catalog = catalog_create();
    struct catalog_entry **entries = memory_allocate_array(COUNT, sizeof(struct catalog_entry *));
    for (unsigned i = 0; i < COUNT; i++) {
        char id[ID_LENGTH + 1], service[ID_LENGTH + 1], document[400];
        struct resource_reference reference = { .kind = RESOURCE_SERVICE, .id = id_of(i % 100, service) };
        struct resource route = { .kind = RESOURCE_ROUTE,
                                  .id = id_of(i, id),
                                  .name = SLICE("a-route-of-usual-length"),
                                  .references = &reference,
                                  .reference_count = 1 };
        memset(document, 'x', sizeof document);
        entries[i] = catalog_entry_create(&route, slice_of(document, 350), i, i);
    }
    catalog_replace(catalog, entries, COUNT, 1);
    free(entries);
    struct mallinfo2 after = mallinfo2();
    size_t bytes = after.uordblks + after.hblkhd - before.uordblks - before.hblkhd;
    print_message("10,000 documents of 350 bytes: %zu bytes\n", bytes);
    /* Sanitizers have an allocator of their own, which this doesn't count. */
    assert_true(bytes <= 6u << 20);
    catalog_destroy(catalog);
}

static struct catalog *shared;
static _Atomic bool stop;

/* Every change moves all ten entries to the next name; a reader must never see two names in one list. NULL: it never did. */
static void *read_lists(void *argument)
{
    size_t *lists = argument;
    while (!atomic_load(&stop)) {
        struct catalog_entry *all[16];
        bool more;
        size_t count = catalog_list(shared, RESOURCE_ROUTE, 0, SLICE_ABSENT, NULL, NULL, all, 16, &more);
        bool is_whole = count == 10;
        for (size_t i = 0; i < count; i++) {
            is_whole &= slice_equal(slice_before(all[0]->name, 4), slice_before(all[i]->name, 4));
        }
        for (size_t i = 0; i < count; i++) catalog_entry_drop(all[i]);
        if (!is_whole) return argument;
        ++*lists;
    }
    return NULL;
}

static void readers_see_a_change_whole_or_not_at_all(void **state)
{
    shared = catalog_create();
    pthread_t reader;
    size_t lists = 0;
    for (unsigned round = 0; round < 2000; round++) {
        struct catalog_change changes[10];
        for (unsigned i = 0; i < 10; i++) {
            char name[16];
            snprintf(name, sizeof name, "%04u%u", round, i);
            changes[i] = put(entry_of(RESOURCE_ROUTE, i, name, 100 - i, 1));
        }
        catalog_apply(shared, changes, 10, round + 1);
        if (round == 0) assert_int_equal(pthread_create(&reader, NULL, read_lists, &lists), 0);
    }
    atomic_store(&stop, true);
    void *result;
    pthread_join(reader, &result);
    assert_null(result);
    assert_true(lists > 0);
    catalog_destroy(shared);
}

static void as_a_directory_it_resolves_and_guesses(void **state)
{
    struct catalog *catalog = catalog_create();
    struct catalog_change change = put(entry_of(RESOURCE_SERVICE, 1, "user-service", 1, 0));
    catalog_apply(catalog, &change, 1, 1);
    struct resource_directory directory = catalog_directory(catalog);
    assert_slice_is(directory.find(directory.argument, RESOURCE_SERVICE, SLICE("user-service")),
                    "00000000-0000-4000-8000-000000000001");
    assert_true(slice_is_absent(directory.find(directory.argument, RESOURCE_SERVICE, SLICE("user-servcie"))));
    char *nearest = directory.nearest(directory.argument, RESOURCE_SERVICE, SLICE("user-servcie"));
    assert_string_equal(nearest, "user-service");
    free(nearest);
    assert_null(directory.nearest(directory.argument, RESOURCE_SERVICE, SLICE("zzz")));
    catalog_destroy(catalog);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_put_is_found_by_id_and_by_name),
        cmocka_unit_test(an_id_goes_before_a_name_and_a_name_that_several_have_finds_none),
        cmocka_unit_test(a_reader_keeps_what_it_found_whatever_happens_afterwards),
        cmocka_unit_test(lists_go_by_age_page_by_page),
        cmocka_unit_test(users_of_a_resource_are_those_that_name_it_now),
        cmocka_unit_test(naming_the_same_one_twice_is_one_use),
        cmocka_unit_test(changes_of_every_size_leave_what_a_simple_model_says),
        cmocka_unit_test(ten_thousand_documents_take_six_megabytes),
        cmocka_unit_test(readers_see_a_change_whole_or_not_at_all),
        cmocka_unit_test(as_a_directory_it_resolves_and_guesses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
