/* Instances and services: found again by identity, counted by reference, passed over after failures. */
#include "upstream/services.h"

static struct services services;

static int set_up(void **state)
{
    services_init(&services, 2);
    return 0;
}

static int tear_down(void **state)
{
    services_release(&services);
    return 0;
}

static struct instance *get(const char *service, const char *host, uint16_t port, const char *ip)
{
    struct address address;
    assert_true(address_parse_ip(slice_from_cstring(ip), port, &address));
    return instance_get(services.instances, slice_from_cstring(service), slice_from_cstring(host), port, &address);
}

static void the_same_identity_is_the_same_instance(void **state)
{
    struct instance *first = get("users", "10.0.0.1", 80, "10.0.0.1");
    assert_ptr_equal(get("users", "10.0.0.1", 80, "10.0.0.1"), first);
    struct instance *others[] = {
        get("orders", "10.0.0.1", 80, "10.0.0.1"),
        get("users", "10.0.0.1", 81, "10.0.0.1"),
        get("users", "a.test", 80, "10.0.0.1"),
        get("users", "a.test", 80, "10.0.0.2"),
    };
    for (size_t i = 0; i < COUNT_OF(others); i++) {
        assert_ptr_not_equal(others[i], first);
        assert_int_not_equal(others[i]->slot, first->slot);
        instance_drop(services.instances, others[i]);
    }
    instance_drop(services.instances, first);
    instance_drop(services.instances, first);
}

static void names_tell_the_address_of_a_resolved_one(void **state)
{
    struct instance *literal = get("s", "10.0.0.1", 80, "10.0.0.1"), *named = get("s", "a.test", 8080, "10.0.0.1"),
                    *six = get("s", "::1", 80, "::1");
    assert_string_equal(literal->name, "10.0.0.1:80");
    assert_string_equal(named->name, "a.test:8080 (10.0.0.1)");
    assert_slice_is(named->host_port, "a.test:8080");
    assert_string_equal(six->name, "[::1]:80");
    instance_drop(services.instances, literal);
    instance_drop(services.instances, named);
    instance_drop(services.instances, six);
}

/* Consistent hashing must agree between processes and releases: the value itself is a promise. */
static void the_identity_hash_is_the_same_in_every_process(void **state)
{
    struct instance *one = get("s", "10.0.0.1", 80, "10.0.0.1"), *other = get("t", "10.0.0.1", 80, "10.0.0.1");
    assert_int_equal(one->identity_hash, other->identity_hash);
    assert_int_equal(one->identity_hash, UINT64_C(0xc0c68e5df968d538));
    instance_drop(services.instances, one);
    instance_drop(services.instances, other);
}

static void a_slot_is_used_again_only_after_destroy(void **state)
{
    struct instance *first = get("s", "10.0.0.1", 80, "10.0.0.1");
    uint32_t slot = first->slot;
    instance_drop(services.instances, first);
    struct instance *second = get("s", "10.0.0.1", 80, "10.0.0.1"); /* it came back while workers were being told */
    assert_int_not_equal(second->slot, slot);
    assert_ptr_equal(instance_next_forgotten(services.instances), first);
    assert_null(instance_next_forgotten(services.instances));
    instance_destroy(services.instances, first);
    struct instance *third = get("s", "10.0.0.2", 80, "10.0.0.2");
    assert_int_equal(third->slot, slot);
    instance_drop(services.instances, second);
    instance_drop(services.instances, third);
}

static void strikes_double_the_time_up_to_ten_seconds(void **state)
{
    static const uint64_t expected_ms[] = { 100, 200, 400, 800, 1600, 3200, 6400, 10000, 10000, 10000 };
    struct instance *instance = get("s", "10.0.0.1", 80, "10.0.0.1");
    uint64_t now_ms = 1000;
    for (size_t i = 0; i < COUNT_OF(expected_ms); i++) {
        instance_strike(instance, now_ms);
        assert_true(instance_is_passed_over(instance, now_ms + expected_ms[i] - 1));
        assert_false(instance_is_passed_over(instance, now_ms + expected_ms[i]));
        now_ms += expected_ms[i];
    }
    instance_drop(services.instances, instance);
}

/* Sixty connections refused at one moment are one piece of news. */
static void failures_while_passed_over_count_once(void **state)
{
    struct instance *instance = get("s", "10.0.0.1", 80, "10.0.0.1");
    for (int i = 0; i < 60; i++) instance_strike(instance, 1000);
    assert_false(instance_is_passed_over(instance, 1100));
    instance_drop(services.instances, instance);
}

static void an_answer_clears_all_strikes(void **state)
{
    struct instance *instance = get("s", "10.0.0.1", 80, "10.0.0.1");
    instance_strike(instance, 1000);
    instance_strike(instance, 1100);
    instance_praise(instance);
    assert_false(instance_is_passed_over(instance, 1101));
    instance_strike(instance, 2000);
    assert_false(instance_is_passed_over(instance, 2100));
    instance_drop(services.instances, instance);
}

/* An instance that a change leaves alone keeps its counts, its slot and what was learned about it. */
static void a_change_keeps_the_instances_that_stay(void **state)
{
    struct service *before = services_make(&services, "s", LB_ROUND_ROBIN, "10.0.0.1:80 10.0.0.2:80");
    struct instance *stays = before->endpoints[1].instance, *goes = before->endpoints[0].instance;
    instance_strike(stays, 1000);
    struct service *after = services_make(&services, "s", LB_ROUND_ROBIN, "10.0.0.2:80=7 10.0.0.3:80");
    services_drop(&services, before);
    assert_ptr_equal(after->endpoints[0].instance, stays);
    assert_int_equal(after->endpoints[0].weight, 7);
    assert_true(instance_is_passed_over(stays, 1050));
    assert_ptr_equal(instance_next_forgotten(services.instances), goes);
    instance_destroy(services.instances, goes);
    services_drop(&services, after);
}

static void an_instance_written_twice_is_one_endpoint(void **state)
{
    struct service *service = services_make(&services, "s", LB_ROUND_ROBIN, "10.0.0.1:80 10.0.0.2:80 10.0.0.1:80=20");
    assert_int_equal(service->endpoint_count, 2);
    assert_int_equal(service->endpoints[0].weight, 120);
    assert_int_equal(service->weight_sum, 220);
    services_drop(&services, service);
}

static void a_host_name_becomes_an_endpoint_for_each_address(void **state)
{
    struct instance_config configs[] = {
        { .host = SLICE("a.test"), .port = 8080, .weight = 30 },
        { .host = SLICE("b.test"), .port = 8080, .weight = 10 },
    };
    struct service_config config = { .id = SLICE("s"), .name = SLICE("s"), .instances = { configs, 2 } };
    struct address addresses[2];
    assert_true(address_parse_ip(SLICE("10.0.0.1"), 0, &addresses[0]) &&
                address_parse_ip(SLICE("fd00::1"), 0, &addresses[1]));
    struct resolved_instance resolved[] = { { addresses, 2 }, { NULL, 0 } };
    struct service *service = service_create(&config, resolved, services.transport, services.instances,
                                             services.states);
    assert_int_equal(service->endpoint_count, 2);
    assert_string_equal(service->endpoints[1].instance->name, "a.test:8080 (fd00::1)");
    assert_int_equal(address_port(&service->endpoints[1].instance->address), 8080);
    assert_int_equal(service->weight_sum, 60);
    services_drop(&services, service);
}

static void a_service_lives_as_long_as_somebody_holds_it(void **state)
{
    struct service *service = services_make(&services, "s", LB_IP_HASH, "10.0.0.1:80");
    service_retain(service);
    assert_false(service_drop(service));
    assert_true(service_drop(service));
    service_destroy(service, services.instances, services.states);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_same_identity_is_the_same_instance, set_up, tear_down),
        cmocka_unit_test_setup_teardown(names_tell_the_address_of_a_resolved_one, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_identity_hash_is_the_same_in_every_process, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_slot_is_used_again_only_after_destroy, set_up, tear_down),
        cmocka_unit_test_setup_teardown(strikes_double_the_time_up_to_ten_seconds, set_up, tear_down),
        cmocka_unit_test_setup_teardown(failures_while_passed_over_count_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_answer_clears_all_strikes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_change_keeps_the_instances_that_stay, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_instance_written_twice_is_one_endpoint, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_host_name_becomes_an_endpoint_for_each_address, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_service_lives_as_long_as_somebody_holds_it, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
