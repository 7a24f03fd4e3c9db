/* Which instance gets a request: shares over 100,000 picks, who is avoided, and what moves when an instance goes. */
#include "upstream/services.h"

#include <pthread.h>

#define PICKS 100000u
#define ENDPOINTS 16

static struct services services;
static struct random chance;

static int set_up(void **state)
{
    services_init(&services, 4);
    random_init_seeded(&chance, 20240229);
    return 0;
}

static int tear_down(void **state)
{
    services_release(&services);
    return 0;
}

static uint32_t pick(const struct service *service, struct balancer_question *question)
{
    return balancer_pick(service, question, &chance);
}

static void count_picks(const struct service *service, unsigned worker, unsigned picks, unsigned counts[ENDPOINTS])
{
    memset(counts, 0, ENDPOINTS * sizeof counts[0]);
    for (unsigned i = 0; i < picks; i++) {
        struct balancer_question question = { .worker = worker, .client_hash = i * UINT64_C(0x9e3779b97f4a7c15) };
        uint32_t index = pick(service, &question);
        assert_true(index < service->endpoint_count);
        counts[index]++;
    }
}

static void assert_near(unsigned value, unsigned expected, unsigned tolerance)
{
    assert_in_range(value, expected - tolerance, expected + tolerance);
}

static void pass_over(struct service *service, uint32_t index, uint64_t until_ms)
{
    atomic_store(&service->endpoints[index].instance->passed_over_until_ms, until_ms);
}

/* Plain round robin is exact and knows no weights but none at all. */
static void round_robin_gives_equal_shares(void **state)
{
    struct service *service = services_make(&services, "s", LB_ROUND_ROBIN,
                                            "10.0.0.1:80=1 10.0.0.2:80=500 10.0.0.3:80=0 10.0.0.4:80");
    unsigned counts[ENDPOINTS];
    count_picks(service, 0, PICKS, counts);
    assert_near(counts[0], 33333, 1);
    assert_near(counts[1], 33333, 1);
    assert_int_equal(counts[2], 0);
    assert_near(counts[3], 33333, 1);
    services_drop(&services, service);
}

static void weighted_round_robin_gives_shares_by_weight(void **state)
{
    struct service *service = services_make(&services, "s", LB_WEIGHTED_ROUND_ROBIN,
                                            "10.0.0.1:80=500 10.0.0.2:80=300 10.0.0.3:80=200 10.0.0.4:80=0");
    unsigned counts[ENDPOINTS];
    count_picks(service, 0, PICKS, counts);
    assert_near(counts[0], 50000, 2);
    assert_near(counts[1], 30000, 2);
    assert_near(counts[2], 20000, 2);
    assert_int_equal(counts[3], 0);
    services_drop(&services, service);
}

/* Smooth: 5:1:1 never gives the heavy one more than four times in a row (a a b a c a a), whatever the start. */
static void weighted_round_robin_mixes_the_light_ones_in(void **state)
{
    struct service *service = services_make(&services, "s", LB_WEIGHTED_ROUND_ROBIN,
                                            "10.0.0.1:80=5 10.0.0.2:80=1 10.0.0.3:80=1");
    unsigned in_a_row = 0, light = 0;
    for (unsigned i = 0; i < 700; i++) {
        struct balancer_question question = { .worker = 0 };
        bool is_heavy = pick(service, &question) == 0;
        in_a_row = is_heavy ? in_a_row + 1 : 0;
        light += !is_heavy;
        assert_in_range(in_a_row, 0, 4);
    }
    assert_int_equal(light, 200);
    services_drop(&services, service);
}

static void random_gives_shares_by_weight(void **state)
{
    struct service *service = services_make(&services, "s", LB_RANDOM, "10.0.0.1:80=100 10.0.0.2:80=300 10.0.0.3:80=0");
    unsigned counts[ENDPOINTS];
    count_picks(service, 0, PICKS, counts);
    assert_near(counts[0], 25000, 700); /* five standard deviations */
    assert_int_equal(counts[2], 0);
    services_drop(&services, service);
}

/* With each pick put on that instance and a random other one taken off, loads stay in the ratio of the weights. The picks come from
 * four workers in turn, each of which writes its own line only. */
static void least_connections_counts_all_workers_and_weighs(void **state)
{
    struct service *service = services_make(&services, "s", LB_LEAST_CONNECTIONS,
                                            "10.0.0.1:80=100 10.0.0.2:80=200 10.0.0.3:80=100");
    unsigned counts[ENDPOINTS] = { 0 };
    for (unsigned i = 0; i < PICKS; i++) {
        unsigned worker = i % 4;
        struct balancer_question question = { .worker = worker };
        uint32_t index = pick(service, &question);
        counts[index]++;
        gauge_add(&service->endpoints[index].instance->lines[worker].in_flight, 1);
        if (i >= 400) { /* 400 in flight from then on: one of a random instance ends */
            struct instance *ends;
            do ends = service->endpoints[random_below(&chance, 3)].instance;
            while (instance_in_flight(ends) <= 0);
            gauge_add(&ends->lines[worker].in_flight, -1);
            assert_in_range(instance_in_flight(service->endpoints[0].instance), 80, 120);
            assert_in_range(instance_in_flight(service->endpoints[1].instance), 180, 220);
        }
    }
    services_drop(&services, service);
}

static void least_connections_prefers_the_idle_instance(void **state)
{
    struct service *service = services_make(&services, "s", LB_LEAST_CONNECTIONS,
                                            "10.0.0.1:80 10.0.0.2:80 10.0.0.3:80");
    gauge_add(&service->endpoints[0].instance->lines[1].in_flight, 1);
    gauge_add(&service->endpoints[2].instance->lines[3].in_flight, 1);
    for (unsigned i = 0; i < 100; i++) {
        struct balancer_question question = { .worker = 0 };
        assert_int_equal(pick(service, &question), 1);
    }
    services_drop(&services, service);
}

/* An idle service: all loads are equal, and chance goes by weight. */
static void least_connections_breaks_ties_by_weight(void **state)
{
    struct service *service = services_make(&services, "s", LB_LEAST_CONNECTIONS, "10.0.0.1:80=100 10.0.0.2:80=300");
    unsigned counts[ENDPOINTS];
    count_picks(service, 0, PICKS, counts);
    assert_near(counts[0], 25000, 700);
    services_drop(&services, service);
}

#define TEN \
    "10.0.0.1:80 10.0.0.2:80 10.0.0.3:80 10.0.0.4:80 10.0.0.5:80 10.0.0.6:80 10.0.0.7:80 10.0.0.8:80 10.0.0.9:80 10.0.0.10:80"
#define TEN_WITHOUT_FOURTH \
    "10.0.0.1:80 10.0.0.2:80 10.0.0.3:80 10.0.0.5:80 10.0.0.6:80 10.0.0.7:80 10.0.0.8:80 10.0.0.9:80 10.0.0.10:80"

static void ip_hash_gives_shares_by_weight(void **state)
{
    struct service *service = services_make(&services, "s", LB_IP_HASH, TEN " 10.0.0.11:80=200 10.0.0.12:80=0");
    unsigned counts[ENDPOINTS];
    count_picks(service, 0, PICKS, counts);
    for (unsigned i = 0; i < 10; i++) assert_near(counts[i], PICKS / 12, PICKS / 12 / 4);
    assert_near(counts[10], PICKS / 6, PICKS / 6 / 5);
    assert_int_equal(counts[11], 0);
    services_drop(&services, service);
}

static void ip_hash_keeps_a_client_at_its_instance(void **state)
{
    struct service *service = services_make(&services, "s", LB_IP_HASH, TEN);
    for (uint64_t client = 0; client < 1000; client++) {
        struct balancer_question question = { .worker = 0, .client_hash = client };
        uint32_t index = pick(service, &question);
        question.worker = 3;
        assert_int_equal(pick(service, &question), index);
    }
    services_drop(&services, service);
}

/* Of 100,000 clients only those of the lost instance move, and they spread over all others. */
static void a_lost_instance_moves_only_its_own_clients(void **state)
{
    struct service *before = services_make(&services, "s", LB_IP_HASH, TEN);
    struct service *after = services_make(&services, "s", LB_IP_HASH, TEN_WITHOUT_FOURTH);
    unsigned moved_to[ENDPOINTS] = { 0 };
    for (uint64_t client = 0; client < PICKS; client++) {
        struct balancer_question question = { .worker = 0, .client_hash = client };
        uint32_t old = pick(before, &question), new = pick(after, &question);
        if (old == 3)
            moved_to[new]++;
        else
            assert_ptr_equal(before->endpoints[old].instance, after->endpoints[new].instance);
    }
    for (unsigned i = 0; i < 9; i++) assert_in_range(moved_to[i], 200, 3000);
    services_drop(&services, before);
    services_drop(&services, after);
}

/* The same where the instance is merely passed over: the others' clients stay, and its own come back. */
static void an_instance_passed_over_moves_only_its_own_clients(void **state)
{
    struct service *service = services_make(&services, "s", LB_IP_HASH, TEN);
    for (uint64_t client = 0; client < 10000; client++) {
        struct balancer_question question = { .worker = 0, .now_ms = 1000, .client_hash = client };
        uint32_t home = pick(service, &question);
        pass_over(service, 3, 2000);
        uint32_t now = pick(service, &question);
        assert_true(home == 3 ? now != 3 : now == home);
        pass_over(service, 3, 0);
        assert_int_equal(pick(service, &question), home);
    }
    services_drop(&services, service);
}

static const enum lb_algorithm all_algorithms[] = { LB_ROUND_ROBIN, LB_WEIGHTED_ROUND_ROBIN, LB_LEAST_CONNECTIONS,
                                                    LB_IP_HASH, LB_RANDOM };

static void for_each_algorithm(const char *instances, void (*check)(struct service *))
{
    for (size_t i = 0; i < COUNT_OF(all_algorithms); i++) {
        struct service *service = services_make(&services, "s", all_algorithms[i], instances);
        check(service);
        services_drop(&services, service);
    }
}

static void set_health(struct service *service, uint32_t index, enum health_state state)
{
    atomic_store(&service->endpoints[index].instance->health.state, state);
}

/* What is down gets nothing, not even when all others are passed over or were tried already. */
static void check_down_gets_nothing(struct service *service)
{
    set_health(service, 0, HEALTH_DOWN);
    set_health(service, 1, HEALTH_UP);
    unsigned picks[3] = { 0 };
    for (uint64_t client = 0; client < 3000; client++) {
        struct balancer_question question = { .now_ms = 1000, .client_hash = client * UINT64_C(0x9e3779b97f4a7c15) };
        picks[pick(service, &question)]++;
    }
    assert_int_equal(picks[0], 0);
    assert_true(picks[1] > 500 && picks[2] > 500);
    pass_over(service, 1, 3000);
    pass_over(service, 2, 2000);
    struct balancer_question question = { .now_ms = 1000, .tried = { 2 }, .tried_count = 1 };
    assert_int_equal(pick(service, &question), 1);
    question.tried[question.tried_count++] = 1;
    assert_int_not_equal(pick(service, &question), 0);
    for (uint32_t i = 0; i < 3; i++) {
        pass_over(service, i, 0);
        set_health(service, i, HEALTH_UNKNOWN);
    }
}

static void what_is_down_gets_nothing(void **state)
{
    for_each_algorithm("10.0.0.1:80 10.0.0.2:80 10.0.0.3:80", check_down_gets_nothing);
}

static void check_none_is_up(struct service *service)
{
    for (uint32_t i = 0; i < 3; i++) set_health(service, i, HEALTH_DOWN);
    struct balancer_question question = { .now_ms = 1000 };
    assert_int_equal(pick(service, &question), ENDPOINT_NONE);
    set_health(service, 2, HEALTH_UP); /* of weight 0 */
    assert_int_equal(pick(service, &question), ENDPOINT_NONE);
    set_health(service, 1, HEALTH_UP);
    assert_int_equal(pick(service, &question), 1);
    for (uint32_t i = 0; i < 3; i++) set_health(service, i, HEALTH_UNKNOWN);
    assert_int_not_equal(pick(service, &question), ENDPOINT_NONE);
}

static void where_all_are_down_nobody_is_picked_until_one_is_up(void **state)
{
    for_each_algorithm("10.0.0.1:80 10.0.0.2:80 10.0.0.3:80=0", check_none_is_up);
}

/* Its clients come back to it when it is up again. */
static void an_instance_that_is_down_moves_only_its_own_clients(void **state)
{
    struct service *service = services_make(&services, "s", LB_IP_HASH, TEN);
    unsigned moved_to[ENDPOINTS] = { 0 };
    for (uint64_t client = 0; client < 10000; client++) {
        struct balancer_question question = { .client_hash = client * UINT64_C(0x9e3779b97f4a7c15) };
        set_health(service, 3, HEALTH_UP);
        uint32_t home = pick(service, &question);
        set_health(service, 3, HEALTH_DOWN);
        uint32_t now = pick(service, &question);
        assert_true(home == 3 ? now != 3 : now == home);
        if (home == 3) moved_to[now]++;
    }
    for (unsigned i = 0; i < 10; i++) assert_true(i == 3 || moved_to[i] > 10);
    services_drop(&services, service);
}

/* The checker asks on a line of its own, which no sum counts. */
static void checks_are_no_load(void **state)
{
    struct service *service = services_make(&services, "s", LB_LEAST_CONNECTIONS, "10.0.0.1:80 10.0.0.2:80");
    gauge_add(&service->endpoints[0].instance->lines[services.workers].in_flight, 1);
    assert_int_equal(instance_in_flight(service->endpoints[0].instance), 0);
    gauge_add(&service->endpoints[1].instance->lines[0].in_flight, 1);
    for (unsigned i = 0; i < 100; i++) {
        struct balancer_question question = { .worker = 1 };
        assert_int_equal(pick(service, &question), 0);
    }
    services_drop(&services, service);
}

static atomic_bool flipper_shall_end;

/* As another worker strikes and praises. */
static void *flip(void *argument)
{
    struct instance *instance = argument;
    while (!atomic_load_explicit(&flipper_shall_end, memory_order_relaxed)) {
        atomic_store_explicit(&instance->passed_over_until_ms, 2000, memory_order_relaxed);
        atomic_store_explicit(&instance->passed_over_until_ms, 0, memory_order_relaxed);
    }
    return NULL;
}

static void check_picks_while_one_flips(struct service *service)
{
    pthread_t flipper;
    atomic_store(&flipper_shall_end, false);
    assert_int_equal(pthread_create(&flipper, NULL, flip, service->endpoints[0].instance), 0);
    uint32_t highest = 0;
    for (unsigned i = 0; i < 2 * PICKS; i++) {
        struct balancer_question question = { .now_ms = 1000, .client_hash = i };
        uint32_t index = pick(service, &question);
        if (index > highest) highest = index;
    }
    atomic_store(&flipper_shall_end, true);
    pthread_join(flipper, NULL);
    assert_true(highest < service->endpoint_count);
}

/* Whether the heaviest may be taken changes while the others are looked at. */
static void a_pick_stands_whatever_other_workers_strike_meanwhile(void **state)
{
    char instances[2048] = "10.0.0.1:80=60000";
    for (unsigned i = 2; i <= 60; i++) {
        size_t used = strlen(instances);
        snprintf(instances + used, sizeof instances - used, " 10.0.0.%u:80=1", i);
    }
    for_each_algorithm(instances, check_picks_while_one_flips);
}

static void check_tried_is_avoided(struct service *service)
{
    for (uint64_t client = 0; client < 300; client++) {
        struct balancer_question question = { .client_hash = client, .tried = { 1, 0 }, .tried_count = 2 };
        assert_int_equal(pick(service, &question), 2);
    }
}

static void what_was_tried_is_avoided(void **state)
{
    for_each_algorithm("10.0.0.1:80 10.0.0.2:80 10.0.0.3:80", check_tried_is_avoided);
}

static void check_single_is_tried_again(struct service *service)
{
    struct balancer_question question = { .tried = { 0 }, .tried_count = 1 };
    assert_int_equal(pick(service, &question), 0);
}

static void the_only_instance_is_tried_again(void **state)
{
    for_each_algorithm("10.0.0.1:80", check_single_is_tried_again);
}

static void check_passed_over_is_avoided(struct service *service)
{
    pass_over(service, 0, 2000);
    for (uint64_t client = 0; client < 300; client++) {
        struct balancer_question question = { .now_ms = 1999, .client_hash = client };
        assert_int_not_equal(pick(service, &question), 0);
    }
    unsigned back = 0;
    for (uint64_t client = 0; client < 300; client++) {
        struct balancer_question question = { .now_ms = 2000, .client_hash = client };
        back += pick(service, &question) == 0;
    }
    assert_true(back > 30);
    pass_over(service, 0, 0);
}

static void what_is_passed_over_is_avoided_until_its_time_is_up(void **state)
{
    for_each_algorithm("10.0.0.1:80 10.0.0.2:80 10.0.0.3:80", check_passed_over_is_avoided);
}

static void check_first_up_is_taken(struct service *service)
{
    pass_over(service, 0, 5000);
    pass_over(service, 1, 3000);
    pass_over(service, 2, 4000);
    struct balancer_question question = { .now_ms = 1000 };
    assert_int_equal(pick(service, &question), 1);
    question.tried[question.tried_count++] = 1;
    assert_int_equal(pick(service, &question), 2);
    for (uint32_t i = 0; i < 3; i++) pass_over(service, i, 0);
}

/* Never nobody: where all are passed over, the one whose time is up first is taken; of those not tried yet. */
static void where_all_are_passed_over_the_first_one_up_is_taken(void **state)
{
    for_each_algorithm("10.0.0.1:80 10.0.0.2:80 10.0.0.3:80", check_first_up_is_taken);
}

static void check_none(struct service *service)
{
    struct balancer_question question = { .now_ms = 1000 };
    assert_int_equal(pick(service, &question), ENDPOINT_NONE);
}

static void a_service_without_weight_gives_none(void **state)
{
    for_each_algorithm("10.0.0.1:80=0 10.0.0.2:80=0", check_none);
    for_each_algorithm("", check_none);
}

/* What is passed over isn't a gift to its neighbour alone. */
static void round_robin_shares_the_load_of_one_passed_over(void **state)
{
    struct service *service = services_make(&services, "s", LB_ROUND_ROBIN,
                                            "10.0.0.1:80 10.0.0.2:80 10.0.0.3:80 10.0.0.4:80");
    pass_over(service, 1, UINT64_MAX);
    unsigned counts[ENDPOINTS];
    count_picks(service, 0, 30000, counts);
    assert_int_equal(counts[0], 10000);
    assert_int_equal(counts[2], 10000);
    assert_int_equal(counts[3], 10000);
    pass_over(service, 1, 0);
    services_drop(&services, service);
}

/* Workers don't march in step: over many services, the first pick of a worker falls on every instance. */
static void each_worker_begins_somewhere_else(void **state)
{
    static const enum lb_algorithm in_turn[] = { LB_ROUND_ROBIN, LB_WEIGHTED_ROUND_ROBIN };
    for (size_t i = 0; i < COUNT_OF(in_turn); i++) {
        unsigned firsts[3] = { 0 };
        for (int round = 0; round < 100; round++) {
            struct service *service = services_make(&services, "s", in_turn[i], "10.0.0.1:80 10.0.0.2:80 10.0.0.3:80");
            for (unsigned worker = 0; worker < 4; worker++) {
                struct balancer_question question = { .worker = worker };
                firsts[pick(service, &question)]++;
            }
            services_drop(&services, service);
        }
        for (int j = 0; j < 3; j++) assert_in_range(firsts[j], 80, 190);
    }
}

/* A new configuration of the same service goes on where the old one was. */
static void the_position_outlives_a_change(void **state)
{
    struct service *before = services_make(&services, "s", LB_ROUND_ROBIN, "10.0.0.1:80 10.0.0.2:80 10.0.0.3:80");
    struct balancer_question question = { .worker = 1 };
    uint32_t last = pick(before, &question);
    struct service *after = services_make(&services, "s", LB_ROUND_ROBIN, "10.0.0.1:80 10.0.0.2:80 10.0.0.3:80");
    services_drop(&services, before);
    assert_int_equal(pick(after, &question), (last + 1) % 3);
    services_drop(&services, after);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(round_robin_gives_equal_shares, set_up, tear_down),
        cmocka_unit_test_setup_teardown(weighted_round_robin_gives_shares_by_weight, set_up, tear_down),
        cmocka_unit_test_setup_teardown(weighted_round_robin_mixes_the_light_ones_in, set_up, tear_down),
        cmocka_unit_test_setup_teardown(random_gives_shares_by_weight, set_up, tear_down),
        cmocka_unit_test_setup_teardown(least_connections_counts_all_workers_and_weighs, set_up, tear_down),
        cmocka_unit_test_setup_teardown(least_connections_prefers_the_idle_instance, set_up, tear_down),
        cmocka_unit_test_setup_teardown(least_connections_breaks_ties_by_weight, set_up, tear_down),
        cmocka_unit_test_setup_teardown(ip_hash_gives_shares_by_weight, set_up, tear_down),
        cmocka_unit_test_setup_teardown(ip_hash_keeps_a_client_at_its_instance, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_lost_instance_moves_only_its_own_clients, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_instance_passed_over_moves_only_its_own_clients, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_down_gets_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(where_all_are_down_nobody_is_picked_until_one_is_up, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_instance_that_is_down_moves_only_its_own_clients, set_up, tear_down),
        cmocka_unit_test_setup_teardown(checks_are_no_load, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_was_tried_is_avoided, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_only_instance_is_tried_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_passed_over_is_avoided_until_its_time_is_up, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_pick_stands_whatever_other_workers_strike_meanwhile, set_up, tear_down),
        cmocka_unit_test_setup_teardown(where_all_are_passed_over_the_first_one_up_is_taken, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_service_without_weight_gives_none, set_up, tear_down),
        cmocka_unit_test_setup_teardown(round_robin_shares_the_load_of_one_passed_over, set_up, tear_down),
        cmocka_unit_test_setup_teardown(each_worker_begins_somewhere_else, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_position_outlives_a_change, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
