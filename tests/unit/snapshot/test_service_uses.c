/* Services that filters work with: found when the route is compiled, kept as long as the route is in force, found anew where they moved. */
#include "snapshot/builder_bed.h"

#include "base/memory.h"

static struct builder_bed bed;

static int set_up(void **state)
{
    bed_start(&bed);
    return 0;
}

static int tear_down(void **state)
{
    bed_stop(&bed);
    return 0;
}

#define USER_OF(service) "{ name: a, path: /a, serviceId: one, filters: [{ type: count, service: " service " }] }"

static struct slice first_problem(void)
{
    const struct problem *problem = vector_at(&bed.problems.list, 0);
    return slice_from_cstring(problem->message);
}

static void a_filter_finds_its_service(void **state)
{
    struct snapshot *first = bed_load(&bed, "routes: [" USER_OF("two") "]\n");
    assert_string_equal(first->services[bed.service_used]->name, "two");
    const struct compiled_route *route = bed_route(&bed, first, "/a");
    assert_int_equal(route->service_use_count, 1);
    assert_int_equal(route->service_uses[0].index, bed.service_used);
    assert_slice_is(route->service_uses[0].name_or_id, "two");
}

static void a_service_that_is_not_there_is_refused_where_it_is_named(void **state)
{
    bed_load(&bed, "routes: [{ name: b, path: /b, serviceId: one }]\n");
    assert_null(bed_put_route(&bed, USER_OF("s1")));
    assert_slice_is(first_problem(), "service \"s1\" is not in force");
    const struct problem *problem = vector_at(&bed.problems.list, 0);
    assert_string_equal(problem->pointer, "/routes/0/filters/0/service");
}

/* The same text, and another place: what was compiled for the old one would ask a stranger. */
static void a_service_that_moves_compiles_its_users_anew(void **state)
{
    struct snapshot *first = bed_load_whole(&bed,
                                            "services:\n"
                                            "  - { name: one, instances: [\"127.0.0.1:9001\"] }\n"
                                            "  - { name: two, instances: [\"127.0.0.1:9002\"] }\n"
                                            "routes: [" USER_OF("two") ", { name: b, path: /b, serviceId: one }]\n");
    uint32_t before = bed.service_used;
    struct snapshot *second = bed_load_whole(
        &bed, "services:\n"
              "  - { name: one, instances: [\"127.0.0.1:9001\"] }\n"
              "  - { name: two, id: 00000000-0000-4000-8000-000000000002, instances: [\"127.0.0.1:9002\"] }\n"
              "routes: [" USER_OF("two") ", { name: b, path: /b, serviceId: one }]\n");
    assert_int_not_equal(bed.service_used, before);
    assert_string_equal(second->services[bed.service_used]->id, "00000000-0000-4000-8000-000000000002");
    assert_ptr_not_equal(bed_route(&bed, first, "/a"), bed_route(&bed, second, "/a"));
    assert_ptr_equal(bed_route(&bed, first, "/b"), bed_route(&bed, second, "/b"));
    assert_string_equal(first->services[before]->name, "two"); /* who still has the old one asks the old one */
    snapshot_destroy(first);
}

static void a_service_that_only_changes_compiles_nothing(void **state)
{
    struct snapshot *first = bed_load(&bed, "routes: [" USER_OF("two") "]\n");
    unsigned compiled = bed.filters_compiled;
    struct snapshot *second = bed_put_service(&bed, "{ name: two, instances: [\"127.0.0.1:9009\"] }");
    assert_int_equal(bed.filters_compiled, compiled);
    assert_ptr_equal(bed_route(&bed, first, "/a"), bed_route(&bed, second, "/a"));
    assert_ptr_not_equal(first->services[bed.service_used], second->services[bed.service_used]);
    snapshot_destroy(first);
}

static struct snapshot *take_service(struct snapshot *snapshot, uint32_t index, const char *route)
{
    struct configuration_change *change = bed_change(&bed, "");
    change->removed_services = bed_ids(change, 1, snapshot->services[index]->id);
    if (route) change->removed_routes = bed_ids(change, 1, route);
    return bed_try(&bed, change);
}

static void a_service_that_a_filter_works_with_does_not_go(void **state)
{
    struct snapshot *first = bed_load(&bed, "routes: [" USER_OF("two") ", { name: b, path: /b, respond: {} }]\n");
    uint32_t two = bed.service_used;
    assert_null(take_service(first, two, NULL));
    assert_slice_is(first_problem(), "service \"two\" is still used by 1 routes");
    struct snapshot *second = take_service(first, two, bed_route(&bed, first, "/a")->id);
    assert_null(second->services[two]);
    snapshot_destroy(first);
}

/* As what it ends in, by its name and by its id: that is one use. */
static void naming_it_thrice_is_one_use(void **state)
{
    struct snapshot *first = bed_load(&bed, "routes: []\n");
    struct configuration_change *change = bed_change_services(
        &bed,
        "services: [{ name: s0, id: 00000000-0000-4000-8000-000000000001, instances: [\"127.0.0.1:1\"] }]\n"
        "routes: [{ name: a, path: /a, serviceId: s0, filters: [{ type: count, service: s0 },\n"
        "          { type: count, service: 00000000-0000-4000-8000-000000000001 }, { type: count, service: s0 }] }]\n");
    struct snapshot *second = bed_try(&bed, change);
    assert_non_null(second);
    assert_int_equal(bed_route(&bed, second, "/a")->service_use_count, 2);
    assert_null(take_service(second, bed.service_used, NULL));
    assert_slice_is(first_problem(), "service \"s0\" is still used by 1 routes");
    snapshot_destroy(first);
}

/* A plugin's service is each of its routes'. */
static void a_plugins_service_is_used_by_its_routes(void **state)
{
    struct snapshot *first = bed_load(
        &bed, "routes: [{ name: a, path: /a, serviceId: one }, { name: b, path: /b, serviceId: one }]\n"
              "plugins: [{ name: count, config: { service: two }, routes: [a] }]\n");
    assert_int_equal(bed_route(&bed, first, "/a")->service_use_count, 1);
    assert_int_equal(bed_route(&bed, first, "/b")->service_use_count, 0);
    assert_null(take_service(first, bed.service_used, NULL));
    assert_slice_is(first_problem(), "service \"two\" is still used by 1 routes");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        TEST(a_filter_finds_its_service),
        TEST(a_service_that_is_not_there_is_refused_where_it_is_named),
        TEST(a_service_that_moves_compiles_its_users_anew),
        TEST(a_service_that_only_changes_compiles_nothing),
        TEST(a_service_that_a_filter_works_with_does_not_go),
        TEST(naming_it_thrice_is_one_use),
        TEST(a_plugins_service_is_used_by_its_routes),
#undef TEST
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
