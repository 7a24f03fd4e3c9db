/* A random schedule of loads, puts, held snapshots and retained routes, against a plain list of what should be in force; meant to be
 * run under AddressSanitizer. A failure prints the seed. */
#include "snapshot/builder_bed.h"

#include "base/memory.h"
#include "base/random.h"

#include <stdlib.h>

#define ROUTES 12
#define HELD_MAX 16
#define STEPS 1500

/* What is in force: each route's revision (0: not there), each service's. */
struct plan {
    unsigned routes[ROUTES];
    unsigned services[3];
};

struct held {
    struct snapshot *snapshot;
    struct plan plan;
};

struct run {
    struct builder_bed bed;
    struct random random;
    struct plan plan;
    struct held held[HELD_MAX];
    size_t held_count;
    struct compiled_route *routes[HELD_MAX];
    struct service *services[HELD_MAX];
    size_t kept_count;
    unsigned revisions;
};

static size_t below(struct run *run, size_t limit) { return (size_t)random_below(&run->random, limit); }

static void write_route(const struct plan *plan, size_t number, char *into, size_t size)
{
    unsigned revision = plan->routes[number];
    snprintf(into, size, "{ name: r%zu, path: /%zu/%u, serviceId: s%u }", number, number, revision, revision % 3);
}

static void write_service(const struct plan *plan, unsigned number, char *into, size_t size)
{
    snprintf(into, size, "{ name: s%u, instances: [\"127.0.0.1:%u\"] }", number, 9000 + plan->services[number] % 50);
}

static char *write_services(const struct plan *plan)
{
    char one[3][128];
    for (unsigned i = 0; i < 3; i++) write_service(plan, i, one[i], sizeof one[i]);
    return memory_format("services: [%s, %s, %s]\n", one[0], one[1], one[2]);
}

static struct snapshot *load(struct run *run)
{
    char routes[ROUTES * 100] = "", one[96];
    size_t length = 0;
    for (size_t i = 0; i < ROUTES; i++) {
        if (run->plan.routes[i] == 0) continue;
        write_route(&run->plan, i, one, sizeof one);
        length += (size_t)snprintf(routes + length, sizeof routes - length, "\n  - %s", one);
    }
    char *services = write_services(&run->plan),
         *text = memory_format("%sroutes:%s\n", services, *routes ? routes : " []");
    struct snapshot *snapshot = bed_load_whole(&run->bed, text);
    free(services);
    free(text);
    return snapshot;
}

static struct snapshot *put_route(struct run *run, size_t number)
{
    char name[16], route[96];
    snprintf(name, sizeof name, "r%zu", number);
    if (run->plan.routes[number] == 0) return bed_take_route(&run->bed, name);
    write_route(&run->plan, number, route, sizeof route);
    return bed_put_route(&run->bed, route);
}

static struct snapshot *put_service(struct run *run, unsigned number)
{
    char service[128];
    write_service(&run->plan, number, service, sizeof service);
    return bed_put_service(&run->bed, service);
}

/* One random change of the plan, and the snapshot that follows; NULL where nothing was to do. */
static struct snapshot *change(struct run *run)
{
    size_t number = below(run, ROUTES);
    switch (below(run, 4)) {
    case 0: run->plan.routes[number] = ++run->revisions; return put_route(run, number);
    case 1: run->plan.routes[number] = 0; return put_route(run, number);
    case 2: run->plan.services[number % 3] = ++run->revisions; return put_service(run, number % 3);
    default:
        for (size_t i = 0; i < ROUTES; i++) {
            if (below(run, 3) == 0) run->plan.routes[i] = below(run, 3) ? ++run->revisions : 0;
        }
        run->plan.services[number % 3] = ++run->revisions;
        return load(run);
    }
}

/* A snapshot still says what it said when it was made. */
static void check(struct run *run, const struct held *held)
{
    size_t present = 0;
    for (size_t i = 0; i < ROUTES; i++) {
        char path[64], name[16];
        unsigned revision = held->plan.routes[i];
        snprintf(path, sizeof path, "/%zu/%u", i, revision);
        snprintf(name, sizeof name, "r%zu", i);
        const struct compiled_route *route = bed_route(&run->bed, held->snapshot, path);
        if (revision == 0) {
            assert_null(route);
            continue;
        }
        present++;
        assert_non_null(route);
        assert_string_equal(route->name, name);
        const struct service *service = held->snapshot->services[route->service_index];
        assert_int_equal(service->name[1] - '0', revision % 3);
        assert_int_equal(address_port(&service->endpoints[0].instance->address),
                         9000 + held->plan.services[revision % 3] % 50);
    }
    assert_int_equal(held->snapshot->route_count, present);
}

static void keep_one(struct run *run)
{
    const struct held *held = &run->held[below(run, run->held_count)];
    size_t number = below(run, ROUTES);
    char path[64];
    if (held->plan.routes[number] == 0 || run->kept_count == HELD_MAX) return;
    snprintf(path, sizeof path, "/%zu/%u", number, held->plan.routes[number]);
    struct compiled_route *route = (struct compiled_route *)(uintptr_t)bed_route(&run->bed, held->snapshot, path);
    compiled_route_retain(route);
    run->routes[run->kept_count] = route;
    run->services[run->kept_count] = held->snapshot->services[route->service_index];
    service_retain(run->services[run->kept_count++]);
}

static void drop_one(struct run *run)
{
    size_t at = below(run, run->kept_count);
    assert_int_equal(run->routes[at]->name[0], 'r');
    assert_int_equal(run->services[at]->name[0], 's');
    compiled_route_drop(run->routes[at]);
    snapshot_service_drop(run->bed.builder, run->services[at]);
    run->kept_count--;
    run->routes[at] = run->routes[run->kept_count];
    run->services[at] = run->services[run->kept_count];
}

static void give_back(struct run *run, size_t at)
{
    snapshot_destroy(run->held[at].snapshot);
    run->held[at] = run->held[--run->held_count];
}

/* Any but the newest. */
static void give_one_back(struct run *run)
{
    size_t at = below(run, run->held_count);
    if (run->held[at].snapshot->newer) give_back(run, at);
}

static void destroy_forgotten(struct run *run)
{
    struct instance_registry *instances = snapshot_builder_instances(run->bed.builder);
    struct instance *instance;
    snapshot_builder_collect(run->bed.builder);
    while ((instance = instance_next_forgotten(instances)) != NULL) instance_destroy(instances, instance);
}

static void step(struct run *run)
{
    while (run->held_count == HELD_MAX) give_one_back(run);
    struct snapshot *snapshot = change(run);
    if (snapshot) run->held[run->held_count++] = (struct held){ snapshot, run->plan };
    check(run, &run->held[below(run, run->held_count)]);
    if (below(run, 2)) give_one_back(run);
    if (below(run, 3) == 0) keep_one(run);
    if (run->kept_count > 0 && below(run, 3) == 0) drop_one(run);
    if (below(run, 4) == 0) destroy_forgotten(run);
}

static void run_schedule(uint64_t seed)
{
    struct run run = { 0 };
    bed_start(&run.bed);
    random_init_seeded(&run.random, seed);
    run.held[run.held_count++] = (struct held){ load(&run), run.plan };
    for (int i = 0; i < STEPS; i++) step(&run);
    for (size_t i = 0; i < run.held_count; i++) check(&run, &run.held[i]);
    while (run.held_count > 0) give_back(&run, below(&run, run.held_count));
    while (run.kept_count > 0) drop_one(&run);
    bed_stop(&run.bed);
}

static void every_snapshot_stays_valid_until_it_is_given_back_in_any_order(void **state)
{
    for (uint64_t seed = 1; seed <= 4; seed++) {
        print_message("seed %llu\n", (unsigned long long)seed);
        run_schedule(seed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_snapshot_stays_valid_until_it_is_given_back_in_any_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
