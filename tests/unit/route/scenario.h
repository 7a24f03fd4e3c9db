/* A run through random rules, requests and versions, each answer held against reference.h. All choices come from the
 * bytes: random ones in test_router_random.c, the fuzzer's in tests/fuzz/fuzz_route_pattern.c. */
#ifndef SLUICE_TESTS_ROUTE_SCENARIO_H
#define SLUICE_TESTS_ROUTE_SCENARIO_H

#include "base/slice.h"

/* False: the router and the reference disagree; standard error says where. */
bool scenario_run(const uint8_t *bytes, size_t size);

#endif
