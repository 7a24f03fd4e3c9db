/* The router against a plain list of rules, over random rules, requests and changes. */
#include "unit_test.h"

#include "base/random.h"
#include "scenario.h"

static void run_seeds(uint64_t first, unsigned count, size_t size)
{
    uint8_t bytes[8192];
    for (uint64_t seed = first; seed < first + count; seed++) {
        struct random random;
        random_init_seeded(&random, seed);
        for (size_t i = 0; i < size; i++) bytes[i] = (uint8_t)(random_next(&random) >> 32);
        if (!scenario_run(bytes, size)) fail_msg("seed %llu of %zu bytes", (unsigned long long)seed, size);
    }
}

static void few_routes_answer_as_the_list_does(void **state) { run_seeds(1000, 400, 300); }
static void many_changing_routes_answer_as_the_list_does_in_every_version(void **state) { run_seeds(5000, 40, 4000); }

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(few_routes_answer_as_the_list_does),
        cmocka_unit_test(many_changing_routes_answer_as_the_list_does_in_every_version),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
