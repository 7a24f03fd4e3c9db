/* From one configuration to the next: what is reused, what stays as it was, who keeps what alive. */
#include "snapshot/builder_bed.h"

#include "base/memory.h"

#include <malloc.h>
#include <stdlib.h>

#define THREE(a, b, c) "routes:\n  - " a "\n  - " b "\n  - " c "\n"
#define ROUTE_A "{ name: a, path: /a, serviceId: one }"
#define ROUTE_B "{ name: b, path: /b, serviceId: two }"
#define ROUTE_C "{ name: c, path: /c, respond: { status: 204 } }"

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

/* --- whole loads --- */

static void what_did_not_change_is_not_compiled_again(void **state)
{
    struct snapshot *first = bed_load(&bed, THREE(ROUTE_A, ROUTE_B, ROUTE_C));
    assert_int_equal(bed.handlers_compiled, 3);
    struct snapshot *second = bed_load(&bed, THREE(ROUTE_A, ROUTE_B, ROUTE_C));
    assert_int_equal(bed.handlers_compiled, 3);
    assert_int_equal(second->version, first->version + 1);
    assert_ptr_equal(bed_route(&bed, first, "/a"), bed_route(&bed, second, "/a"));
    assert_ptr_equal(bed_service(&bed, first, "/a"), bed_service(&bed, second, "/a"));
    struct snapshot *third = bed_load(&bed, THREE(ROUTE_A, "{ name: b, path: /b, serviceId: one }", ROUTE_C));
    assert_int_equal(bed.handlers_compiled, 4);
    assert_ptr_equal(bed_route(&bed, first, "/a"), bed_route(&bed, third, "/a"));
    assert_ptr_not_equal(bed_route(&bed, first, "/b"), bed_route(&bed, third, "/b"));
    assert_string_equal(bed_service(&bed, second, "/b")->name, "two");
    assert_string_equal(bed_service(&bed, third, "/b")->name, "one");
    snapshot_destroy(first);
    snapshot_destroy(second);
}

static bool reader_may(const struct snapshot *snapshot, const char *method)
{
    uint64_t bits = 0;
    struct slice text = slice_from_cstring(method);
    uint32_t reader = role_set_find(snapshot->roles, SLICE("reader"));
    if (reader == ROLE_NONE) return false;
    role_hold(&bits, reader);
    return role_set_allows(snapshot->roles, &bits,
                           &(struct role_request){ .method = method_find(text), .method_text = text }, NULL);
}

#define READER(methods) "roles: [{ name: reader, permissions: [{ methods: [" methods "] }] }]\n"

/* No route knows of roles: a new set, and nothing else, comes of a role's change. */
static void a_changed_role_compiles_no_route(void **state)
{
    struct snapshot *first = bed_load(&bed, THREE(ROUTE_A, ROUTE_B, ROUTE_C) READER("GET"));
    assert_true(reader_may(first, "GET") && !reader_may(first, "PUT"));
    struct snapshot *second = bed_load(&bed, THREE(ROUTE_A, ROUTE_B, ROUTE_C) READER("GET"));
    assert_ptr_equal(first->roles, second->roles);
    struct configuration_change *change = bed_change(&bed, READER("PUT"));
    change->roles_changed = true;
    struct snapshot *third = bed_try(&bed, change);
    assert_non_null(third);
    assert_true(reader_may(third, "PUT") && !reader_may(third, "GET"));
    assert_true(reader_may(first, "GET")); /* who began with the old one goes on with it */
    assert_int_equal(bed.handlers_compiled, 3);
    assert_ptr_equal(bed_route(&bed, first, "/a"), bed_route(&bed, third, "/a"));
    struct snapshot *fourth = bed_put_route(&bed, "{ name: d, path: /d, serviceId: one }");
    assert_ptr_equal(third->roles, fourth->roles); /* a change without roles leaves them */
    snapshot_destroy(first);
    snapshot_destroy(second);
    snapshot_destroy(third);
}

/* Comments, the order of fields and of services mean nothing. */
static void a_file_that_is_only_written_differently_compiles_nothing(void **state)
{
    struct snapshot *first = bed_load(&bed, THREE(ROUTE_A, ROUTE_B, ROUTE_C));
    bed_load_whole(&bed, "services:\n"
                         "  - { name: two, instances: [\"127.0.0.1:9002\"] } # now first\n"
                         "  - { name: one, instances: [\"127.0.0.1:9001\"] }\n"
                         "routes: [{ serviceId: one, path: /a, name: a }, " ROUTE_B ", " ROUTE_C "]\n");
    assert_int_equal(bed.handlers_compiled, 3);
    snapshot_destroy(first);
}

/* Two routes that match alike: the one that stands earlier in the file answers, whatever was there before. */
static void the_order_in_the_file_decides_after_every_change(void **state)
{
#define LIKE_A "{ name: x, path: /a, serviceId: one }"
    struct snapshot *snapshot = bed_load(&bed, THREE(ROUTE_A, LIKE_A, ROUTE_B)), *before;
    assert_string_equal(bed_answer(&bed, snapshot, "/a"), "a");
    const char *const texts[] = {
        THREE(LIKE_A, ROUTE_A, ROUTE_B),                                 /* turned round */
        THREE(LIKE_A, ROUTE_B, ROUTE_A),                                 /* moved behind another */
        "routes: [" ROUTE_B ", " ROUTE_A ", " LIKE_A "]\n",              /* turned back */
        "routes: [" LIKE_A "]\n",                                        /* all others gone */
        "routes: [" ROUTE_C ", " ROUTE_A ", " ROUTE_B ", " LIKE_A "]\n", /* put before */
        "routes: [" ROUTE_C ", " LIKE_A ", " ROUTE_A "]\n",
    };
    const char *const answers[] = { "x", "x", "a", "x", "a", "x" };
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        before = snapshot;
        snapshot = bed_load(&bed, texts[i]);
        snapshot_destroy(before);
        assert_string_equal(bed_answer(&bed, snapshot, "/a"), answers[i]);
    }
}

#define MANY 10000

/* The name of the route that stands at a place of the file, after a change of its order. */
typedef unsigned order_of(unsigned at);

static unsigned as_written(unsigned at) { return at; }
static unsigned last_to_the_top(unsigned at) { return at == 0 ? MANY - 1 : at - 1; }
static unsigned first_to_the_bottom(unsigned at) { return at == MANY - 1 ? 0 : at + 1; }
static unsigned two_swapped(unsigned at) { return at == 10 ? 9000 : at == 9000 ? 10 : at; }
static unsigned blocks_swapped(unsigned at) { return at < MANY - 3 ? at + 3 : at - (MANY - 3); }

static struct snapshot *load_many(order_of *order)
{
    size_t size = MANY * 64;
    char *text = malloc(size);
    size_t length = (size_t)snprintf(text, size, "routes:\n");
    for (unsigned i = 0; i < MANY; i++) {
        length += (size_t)snprintf(text + length, size - length, "  - { name: r%u, path: /r%u, serviceId: one }\n",
                                   order(i), order(i));
    }
    struct snapshot *snapshot = bed_load(&bed, text);
    free(text);
    return snapshot;
}

static void who_moves_in_the_file_is_compiled_anew_and_nobody_else(void **state)
{
    static const struct {
        order_of *order;
        unsigned compiled;
    } changes[] = { { last_to_the_top, 1 }, { first_to_the_bottom, 1 }, { two_swapped, 2 }, { blocks_swapped, 3 } };
    struct snapshot *snapshot = load_many(as_written);
    for (size_t i = 0; i < 2 * COUNT_OF(changes); i++) { /* each change, and back */
        struct snapshot *before = snapshot;
        unsigned compiled = bed.handlers_compiled;
        snapshot = load_many(i % 2 == 0 ? changes[i / 2].order : as_written);
        snapshot_destroy(before);
        assert_int_equal(bed.handlers_compiled - compiled, changes[i / 2].compiled);
        assert_int_equal(snapshot->route_count, MANY);
    }
}

/* Each newcomer halves the room between two neighbours; when none is left, a neighbour gets a new place. */
static void there_is_always_room_between_two_routes(void **state)
{
    struct snapshot *snapshot = bed_load(&bed, "routes: [{ name: last, path: /a, serviceId: one }]\n"), *before;
    char *text = memory_format("routes:\n");
    const char *tail = "  - { name: last, path: /a, serviceId: one }\n";
    for (int i = 0; i < 60; i++) { /* more than the 24 halvings that fit */
        char *longer = memory_format("%s  - { name: r%d, path: /a, serviceId: one }\n", text, i);
        free(text);
        text = longer;
        char *whole = memory_format("%s%s", text, tail);
        before = snapshot;
        snapshot = bed_load(&bed, whole);
        snapshot_destroy(before);
        free(whole);
        assert_string_equal(bed_answer(&bed, snapshot, "/a"), "r0");
        assert_int_equal(snapshot->route_count, (size_t)i + 2);
    }
    /* Taken away from the front, the next one answers: they stand in the order of the file. */
    for (int i = 0; i < 60; i++) {
        char id[16], next[16];
        snprintf(id, sizeof id, "r%d", i);
        snprintf(next, sizeof next, "r%d", i + 1);
        before = snapshot;
        snapshot = bed_take_route(&bed, id);
        snapshot_destroy(before);
        assert_string_equal(bed_answer(&bed, snapshot, "/a"), i < 59 ? next : "last");
    }
    free(text);
}

static void a_route_that_is_not_enabled_is_not_there(void **state)
{
    struct snapshot *first = bed_load(&bed, THREE(ROUTE_A, ROUTE_B, ROUTE_C));
    struct snapshot *second = bed_load(
        &bed, THREE(ROUTE_A, "{ name: b, path: /b, serviceId: two, enabled: false }", ROUTE_C));
    assert_string_equal(bed_answer(&bed, second, "/b"), "404");
    assert_string_equal(bed_answer(&bed, first, "/b"), "b");
    assert_int_equal(second->route_count, 2);
    struct snapshot *third = bed_load(&bed, THREE(ROUTE_A, ROUTE_B, ROUTE_C));
    assert_string_equal(bed_answer(&bed, third, "/b"), "b");
    snapshot_destroy(second);
    snapshot_destroy(first);
}

/* --- problems --- */

#define BAD_ROUTE "{ name: bad, path: /bad, serviceId: one, filters: [{ type: count, word: bad }] }"

static void a_problem_anywhere_leaves_everything_as_it_was(void **state)
{
    struct snapshot *first = bed_load(&bed, THREE(ROUTE_A, ROUTE_B, ROUTE_C));
    for (int i = 0; i < 20; i++) {
        assert_null(bed_try_load_whole(&bed, "services:\n"
                                             "  - { name: one, instances: [\"127.0.0.1:9009\"] }\n"
                                             "  - { name: three, instances: [\"three.example:9003\"] }\n"
                                             "  - { name: four, instances: [\"127.0.0.1:9004\"] }\n"
                                             "routes: [" ROUTE_A ", { name: d, path: /d, serviceId: three }, " BAD_ROUTE
                                             "]\n"));
        assert_int_equal(bed.problems.count, 1);
    }
    assert_string_equal(bed.names, "");
    struct snapshot *second = bed_load(&bed, THREE(ROUTE_A, ROUTE_B, ROUTE_C));
    assert_ptr_equal(bed_route(&bed, first, "/b"), bed_route(&bed, second, "/b"));
    assert_ptr_equal(bed_service(&bed, first, "/b"), bed_service(&bed, second, "/b"));
    assert_int_equal(bed.handlers_compiled - bed.handlers_released, 3);
    /* Twenty failed loads took two places of the table, once. */
    assert_true(second->service_count <= 4);
    struct snapshot *third = bed_load_whole(&bed, "services:\n"
                                                  "  - { name: one, instances: [\"127.0.0.1:9001\"] }\n"
                                                  "  - { name: three, instances: [\"127.0.0.1:9003\"] }\n"
                                                  "  - { name: four, instances: [\"127.0.0.1:9004\"] }\n"
                                                  "routes: [" ROUTE_A ", { name: d, path: /d, serviceId: three },"
                                                  " { name: e, path: /e, serviceId: four }]\n");
    assert_true(third->service_count <= 4);
    assert_string_equal(bed_service(&bed, third, "/a")->name, "one");
    assert_string_equal(bed_service(&bed, third, "/d")->name, "three");
    assert_string_equal(bed_service(&bed, third, "/e")->name, "four");
    snapshot_destroy(first);
    snapshot_destroy(second);
}

static void a_first_load_may_fail_and_the_next_one_work(void **state)
{
    assert_null(bed_try_load_whole(&bed, "services: [{ name: one, instances: [\"127.0.0.1:9001\"] }]\n"
                                         "routes: [" ROUTE_A ", " BAD_ROUTE "]\n"));
    assert_string_equal(bed_answer(&bed, bed_load(&bed, "routes: [" ROUTE_A "]\n"), "/a"), "a");
}

static void a_pattern_that_does_not_compile_is_told_with_its_place(void **state)
{
    assert_null(bed_try_load_whole(&bed, "routes: [{ name: r, path: \"~^/(\", respond: { status: 200 } }]\n"));
    char *text = problems_to_text(&bed.problems);
    assert_non_null(strstr(text, "test.yaml:2:"));
    assert_non_null(strstr(text, "route \"r\""));
    free(text);
}

/* --- services --- */

/* The services table: places of services that went are taken by later ones, never by two. */
static void places_in_the_table_are_used_again_but_never_twice(void **state)
{
    struct snapshot *snapshot = NULL;
    for (int round = 0; round < 30; round++) {
        char text[4096] = "services:\n";
        size_t length = strlen(text);
        for (int i = 0; i < 8; i++) {
            int number = round * 3 + i; /* three go, three come */
            length += (size_t)snprintf(text + length, sizeof text - length,
                                       "  - { name: s%d, instances: [\"127.0.0.1:%d\"] }\n", number, 9000 + i);
        }
        length += (size_t)snprintf(text + length, sizeof text - length, "routes:\n");
        for (int i = 0; i < 8; i++) {
            int number = round * 3 + i;
            length += (size_t)snprintf(text + length, sizeof text - length,
                                       "  - { name: r%d, path: /%d, serviceId: s%d }\n", number, number, number);
        }
        struct snapshot *before = snapshot;
        snapshot = bed_load_whole(&bed, text);
        if (before) snapshot_destroy(before);
        assert_true(snapshot->service_count <= 11);
        for (int i = 0; i < 8; i++) {
            char path[16], name[16];
            snprintf(path, sizeof path, "/%d", round * 3 + i);
            snprintf(name, sizeof name, "s%d", round * 3 + i);
            assert_string_equal(bed_service(&bed, snapshot, path)->name, name);
        }
    }
}

static void a_service_that_changes_keeps_its_state_and_its_routes(void **state)
{
    struct snapshot *first = bed_load(&bed, THREE(ROUTE_A, ROUTE_B, ROUTE_C));
    struct service *before = bed_service(&bed, first, "/a");
    struct instance *instance = before->endpoints[0].instance;
    gauge_add(&instance->lines[1].in_flight, 5);
    struct snapshot *second = bed_put_service(&bed,
                                              "{ name: one, instances: [\"127.0.0.1:9001\", \"127.0.0.1:9005\"] }");
    struct service *after = bed_service(&bed, second, "/a");
    assert_ptr_not_equal(after, before);
    assert_int_equal(after->endpoint_count, 2);
    assert_ptr_equal(after->endpoints[0].instance, instance);
    assert_ptr_equal(after->state, before->state);
    assert_ptr_equal(bed_route(&bed, first, "/a"), bed_route(&bed, second, "/a"));
    assert_ptr_equal(bed_service(&bed, first, "/b"), bed_service(&bed, second, "/b"));
    assert_int_equal(bed.handlers_compiled, 3);
    assert_ptr_equal(bed_service(&bed, first, "/a"), before);
    gauge_add(&instance->lines[1].in_flight, -5);
    snapshot_destroy(first);
}

/* What was put between two loads is only there until the next whole state says otherwise. */
static void a_load_takes_back_what_was_put(void **state)
{
    struct snapshot *first = bed_load(&bed, THREE(ROUTE_A, ROUTE_B, ROUTE_C));
    struct snapshot *second = bed_put_service(&bed, "{ name: two, instances: [\"127.0.0.1:9007\"] }");
    struct snapshot *third = bed_put_route(&bed, "{ name: n, path: /n, serviceId: two }");
    assert_string_equal(bed_answer(&bed, third, "/n"), "n");
    struct snapshot *fourth = bed_load_whole(&bed, "services: [{ name: one, instances: [\"127.0.0.1:9001\"] }]\n"
                                                   "routes: [" ROUTE_A "]\n");
    assert_string_equal(bed_answer(&bed, fourth, "/n"), "404");
    unsigned services = 0;
    for (uint32_t i = 0; i < fourth->service_count; i++) services += fourth->services[i] != NULL;
    assert_int_equal(services, 1);
    snapshot_destroy(third);
    snapshot_destroy(first);
    snapshot_destroy(second);
}

#define FIRST_ID "00000000-0000-4000-8000-000000000001"
#define SECOND_ID "00000000-0000-4000-8000-000000000002"

static void two_services_may_swap_their_names(void **state)
{
    struct snapshot *first = bed_load_whole(
        &bed, "services:\n"
              "  - { id: \"" FIRST_ID "\", name: left, instances: [\"127.0.0.1:9001\"] }\n"
              "  - { id: \"" SECOND_ID "\", name: right, instances: [\"127.0.0.1:9002\"] }\n"
              "routes: [{ name: l, path: /l, serviceId: left },"
              " { name: s, path: /s, serviceId: \"" FIRST_ID "\" }]\n");
    assert_string_equal(bed_route(&bed, first, "/s")->service_name.at, "left");
    const char *const swapped = "services:\n"
                                "  - { id: \"" FIRST_ID "\", name: right, instances: [\"127.0.0.1:9001\"] }\n"
                                "  - { id: \"" SECOND_ID "\", name: left, instances: [\"127.0.0.1:9002\"] }\n"
                                "routes: [{ name: l, path: /l, serviceId: left },"
                                " { name: s, path: /s, serviceId: \"" FIRST_ID "\" }]\n";
    struct snapshot *second = bed_load_whole(&bed, swapped);
    assert_string_equal(bed_service(&bed, second, "/l")->endpoints[0].instance->name, "127.0.0.1:9002");
    assert_string_equal(bed_service(&bed, first, "/l")->endpoints[0].instance->name, "127.0.0.1:9001");
    assert_string_equal(bed_route(&bed, second, "/s")->service_name.at, "right");
    unsigned compiled = bed.handlers_compiled;
    struct snapshot *third = bed_load_whole(&bed, swapped);
    assert_int_equal(bed.handlers_compiled, compiled);
    snapshot_destroy(first);
    snapshot_destroy(second);
    assert_null(bed_put_service(&bed, "{ id: \"" FIRST_ID "\", name: left, instances: [\"127.0.0.1:9001\"] }"));
    assert_int_equal(bed.problems.count, 1);
    assert_string_equal(bed_service(&bed, third, "/l")->name, "left");
}

/* --- plugins --- */

#define PLUGIN(scope) "{ name: count, config: { word: w }" scope " }"

static unsigned filters_of(const struct snapshot *snapshot, const char *path)
{
    return bed_route(&bed, snapshot, path)->chain->count;
}

static void plugins_reach_the_routes_of_their_scope(void **state)
{
    struct snapshot *snapshot = bed_load(
        &bed,
        THREE(
            ROUTE_A, ROUTE_B,
            ROUTE_C) "plugins:\n"
                     "  - " PLUGIN(
                         "") "\n"
                             "  - " PLUGIN(
                                 ", services: [two]") "\n"
                                                      "  - " PLUGIN(
                                                          ", routes: [c]") "\n"
                                                                           "  - " PLUGIN(
                                                                               ", routes: [c, b]") "\n"
                                                                                                   "  - " PLUGIN(
                                                                                                       ", enabled: false") "\n");
    assert_int_equal(filters_of(snapshot, "/a"), 1);
    assert_int_equal(filters_of(snapshot, "/b"), 3);
    assert_int_equal(filters_of(snapshot, "/c"), 3);
}

static void a_plugin_that_changes_compiles_the_routes_it_reaches(void **state)
{
#define WITH_PLUGIN(word) \
    THREE(ROUTE_A, ROUTE_B, ROUTE_C) "plugins: [{ name: count, config: { word: " word " }, services: [two] }]\n"
    struct snapshot *first = bed_load(&bed, WITH_PLUGIN("x"));
    assert_int_equal(bed.handlers_compiled, 3);
    struct snapshot *second = bed_load(&bed, WITH_PLUGIN("x"));
    assert_int_equal(bed.handlers_compiled, 3);
    struct snapshot *third = bed_load(&bed, WITH_PLUGIN("y"));
    assert_int_equal(bed.handlers_compiled, 4);
    struct snapshot *fourth = bed_load(&bed, THREE(ROUTE_A, ROUTE_B, ROUTE_C));
    assert_int_equal(bed.handlers_compiled, 5);
    assert_int_equal(filters_of(first, "/b"), 1);
    assert_int_equal(filters_of(third, "/b"), 1);
    assert_int_equal(filters_of(fourth, "/b"), 0);
    snapshot_destroy(second);
    snapshot_destroy(first);
    snapshot_destroy(third);
}

static void a_put_route_gets_the_plugins_in_force(void **state)
{
    struct snapshot *first = bed_load(&bed, WITH_PLUGIN("x"));
    struct snapshot *second = bed_put_route(&bed, "{ name: n, path: /n, serviceId: two }");
    assert_int_equal(filters_of(second, "/n"), 1);
    snapshot_destroy(first);
    struct snapshot *third = bed_load(&bed, "routes: [" ROUTE_A ", " ROUTE_B ", " ROUTE_C
                                            ", { name: n, path: /n, serviceId: two }]\n"
                                            "plugins: [{ name: count, config: { word: x }, services: [two] }]\n");
    assert_int_equal(bed.handlers_compiled, 4); /* the same, whichever way it came */
    assert_string_equal(bed_answer(&bed, third, "/n"), "n");
    snapshot_destroy(second);
}

/* --- rate limits --- */

#define LIMITED(rules) THREE(ROUTE_A, ROUTE_B, ROUTE_C) "rateLimits: [" rules "]\n"
#define OF_B(limit) "{ name: of-b, routeId: b, limit: " limit ", window: 60 }"

static void rate_limits_reach_the_routes_of_their_scope(void **state)
{
    struct snapshot *first = bed_load(&bed,
                                      LIMITED(OF_B("1") ", { name: of-two, serviceId: two, limit: 1, window: 60 }"));
    assert_int_equal(filters_of(first, "/a"), 0);
    assert_int_equal(filters_of(first, "/b"), 1); /* both are one link */
    struct snapshot *second = bed_load(&bed,
                                       LIMITED("{ limit: 1, window: 60 }, { limit: 9, window: 60, key: ip, "
                                               "beforeIdentity: true }, { limit: 3, window: 1, enabled: false }"));
    assert_int_equal(filters_of(second, "/a"), 2);
    assert_int_equal(filters_of(second, "/b"), 2);
    struct snapshot *third = bed_put_route(&bed, "{ name: n, path: /n, serviceId: two }");
    assert_int_equal(filters_of(third, "/n"), 2);
    snapshot_destroy(first);
    snapshot_destroy(second);
}

static void a_rate_limit_that_changes_compiles_the_routes_it_reaches(void **state)
{
    struct snapshot *first = bed_load(&bed, LIMITED(OF_B("1")));
    assert_int_equal(bed.handlers_compiled, 3);
    struct snapshot *second = bed_load(&bed, LIMITED(OF_B("2")));
    assert_int_equal(bed.handlers_compiled, 4);
    assert_ptr_equal(bed_route(&bed, first, "/a"), bed_route(&bed, second, "/a"));
    assert_ptr_not_equal(bed_route(&bed, first, "/b"), bed_route(&bed, second, "/b"));
    struct configuration_change *change = bed_change(&bed, "routes: [" ROUTE_B "]\nrateLimits: [" OF_B("3") "]\n");
    change->plugins_changed = true;
    struct snapshot *third = bed_try(&bed, change);
    assert_int_equal(bed.handlers_compiled, 5);
    struct snapshot *fourth = bed_load(&bed, LIMITED(OF_B("3")));
    assert_int_equal(bed.handlers_compiled, 5);
    struct snapshot *fifth = bed_load(&bed, THREE(ROUTE_A, ROUTE_B, ROUTE_C));
    assert_int_equal(bed.handlers_compiled, 6);
    assert_int_equal(filters_of(fifth, "/b"), 0);
    snapshot_destroy(first);
    snapshot_destroy(second);
    snapshot_destroy(third);
    snapshot_destroy(fourth);
}

/* --- single changes --- */

static void a_put_route_is_new_changed_or_gone(void **state)
{
    struct snapshot *first = bed_load(&bed, THREE(ROUTE_A, ROUTE_B, ROUTE_C));
    struct snapshot *second = bed_put_route(&bed, "{ name: n, path: /n, serviceId: one }");
    assert_string_equal(bed_answer(&bed, second, "/n"), "n");
    assert_string_equal(bed_answer(&bed, first, "/n"), "404");
    struct snapshot *third = bed_put_route(&bed, "{ name: a, path: /changed, serviceId: two }");
    assert_string_equal(bed_answer(&bed, third, "/a"), "404");
    assert_string_equal(bed_answer(&bed, third, "/changed"), "a");
    struct snapshot *fourth = bed_take_route(&bed, "b");
    assert_string_equal(bed_answer(&bed, fourth, "/b"), "404");
    struct snapshot *fifth = bed_put_route(&bed, "{ name: c, path: /c, respond: { status: 204 }, enabled: false }");
    assert_string_equal(bed_answer(&bed, fifth, "/c"), "404");
    assert_int_equal(fifth->route_count, 2);
    assert_int_equal(bed.handlers_compiled, 5);
    struct snapshot *sixth = bed_take_route(&bed, "b"); /* which is gone, or never was: so it stays */
    struct snapshot *seventh = bed_take_route(&bed, "never");
    assert_int_equal(seventh->route_count, 2);
    assert_int_equal(bed.problems.count, 0);
    snapshot_destroy(sixth);
    snapshot_destroy(fifth);
    snapshot_destroy(fourth);
    snapshot_destroy(third);
    snapshot_destroy(second);
    snapshot_destroy(first);
}

static void a_changed_route_keeps_its_age_and_a_new_one_is_the_youngest(void **state)
{
    struct snapshot *first = bed_load(&bed, THREE(ROUTE_A, ROUTE_B, ROUTE_C));
    struct snapshot *second = bed_put_route(&bed, "{ name: n, path: /a, serviceId: one }");
    assert_string_equal(bed_answer(&bed, second, "/a"), "a");
    struct snapshot *third = bed_put_route(&bed, "{ name: a, path: /a, serviceId: two }");
    assert_string_equal(bed_answer(&bed, third, "/a"), "a");
    struct snapshot *fourth = bed_take_route(&bed, "a");
    assert_string_equal(bed_answer(&bed, fourth, "/a"), "n");
    struct snapshot *fifth = bed_put_route(&bed, ROUTE_A);
    assert_string_equal(bed_answer(&bed, fifth, "/a"), "n");
    snapshot_destroy(first);
    snapshot_destroy(fourth);
    snapshot_destroy(second);
    snapshot_destroy(third);
}

static void a_put_with_a_problem_changes_nothing(void **state)
{
    struct snapshot *first = bed_load(&bed, THREE(ROUTE_A, ROUTE_B, ROUTE_C));
    assert_null(bed_put_route(&bed, BAD_ROUTE));
    assert_int_equal(bed.problems.count, 1);
    struct snapshot *second = bed_load_whole(&bed, "services: [{ name: one, instances: [\"127.0.0.1:9001\"] }]\n"
                                                   "routes: [" ROUTE_A "]\n");
    assert_null(bed_put_route(&bed, "{ name: n, path: /n, serviceId: two }")); /* two went */
    assert_int_equal(bed.problems.count, 1);
    assert_ptr_equal(bed_route(&bed, first, "/a"), bed_route(&bed, second, "/a"));
    assert_int_equal(second->version, 2);
    snapshot_destroy(first);
}

static void ten_thousand_routes_and_then_changes(void **state)
{
    enum { ROUTES = 10000 };
    size_t size = ROUTES * 80 + 1000, length;
    char *text = memory_allocate(size);
    length = (size_t)snprintf(text, size, "routes:\n");
    for (int i = 0; i < ROUTES; i++) {
        length += (size_t)snprintf(text + length, size - length, "  - { name: r%d, path: /api/%d/x, serviceId: one }\n",
                                   i, i);
    }
    struct snapshot *snapshot = bed_load(&bed, text);
    free(text);
    for (int i = 0; i < 300; i++) {
        int number = i * 7919 % ROUTES;
        char id[16], route[128], path[64];
        snprintf(id, sizeof id, "r%d", number);
        snprintf(route, sizeof route, "{ name: r%d, path: /new/%d, serviceId: two }", number, number);
        struct snapshot *before = snapshot;
        snapshot = i % 3 ? bed_put_route(&bed, route) : bed_take_route(&bed, id);
        assert_non_null(snapshot);
        if (i % 2) snapshot_destroy(before);
        snprintf(path, sizeof path, "/api/%d/x", number);
        assert_string_equal(bed_answer(&bed, snapshot, path), "404");
        snprintf(path, sizeof path, "/new/%d", number);
        assert_string_equal(bed_answer(&bed, snapshot, path), i % 3 ? id : "404");
        assert_string_equal(bed_answer(&bed, snapshot, "/api/9999/x"), "r9999");
    }
    assert_int_equal(snapshot->route_count, ROUTES - 100);
    assert_int_equal(bed.handlers_compiled, ROUTES + 200);
    while (snapshot->older) snapshot_destroy(snapshot->older);
    snapshot_builder_collect(bed.builder);
    assert_int_equal(bed.handlers_released, 300);
    assert_true(bed.wakes <= 300);
}

/* --- changes: prepared, then committed or given up --- */

static void what_was_given_up_has_never_been(void **state)
{
    struct snapshot *first = bed_load(&bed, WITH_PLUGIN("x"));
    struct configuration_change *change = bed_change_services(&bed,
                                                              "services:\n"
                                                              "  - { name: one, instances: [\"a.test:9001\"] }\n"
                                                              "  - { name: three, instances: [\"b.test:9003\"] }\n"
                                                              "routes:\n"
                                                              "  - { name: a, path: /changed, serviceId: three }\n"
                                                              "  - { name: n, path: /n, serviceId: one }\n"
                                                              "plugins: [{ name: count, config: { word: y } }]\n");
    change->plugins_changed = true;
    change->removed_routes = bed_ids(change, 1, bed_route(&bed, first, "/b")->id);
    struct prepared_change *prepared = snapshot_builder_prepare(bed.builder, change, &bed.problems);
    assert_non_null(prepared);
    assert_int_equal(bed.handlers_compiled, 5);
    snapshot_builder_abandon(bed.builder, prepared);
    assert_int_equal(bed.handlers_released, 2);
    assert_string_equal(bed.names, "");
    struct snapshot *second = bed_load(&bed, WITH_PLUGIN("x"));
    assert_int_equal(bed.handlers_compiled, 5);
    assert_int_equal(second->version, first->version + 1);
    assert_int_equal(second->route_count, 3);
    assert_ptr_equal(bed_route(&bed, first, "/a"), bed_route(&bed, second, "/a"));
    assert_ptr_equal(bed_service(&bed, first, "/a"), bed_service(&bed, second, "/a"));
    struct snapshot *third = bed_put_route(&bed, "{ name: n, path: /n, serviceId: two }"); /* the old plugin holds */
    assert_int_equal(filters_of(third, "/n"), 1);
    assert_null(bed_put_route(&bed, "{ name: m, path: /m, serviceId: s0 }"));
    snapshot_destroy(first);
    snapshot_destroy(second);
}

static void a_change_may_be_of_many_things_at_once(void **state)
{
    struct snapshot *first = bed_load(&bed, THREE(ROUTE_A, ROUTE_B, ROUTE_C));
    struct configuration_change *change = bed_change_services(&bed,
                                                              "services:\n"
                                                              "  - { name: one, instances: [\"127.0.0.1:9009\"] }\n"
                                                              "  - { name: three, instances: [\"127.0.0.1:9003\"] }\n"
                                                              "routes:\n"
                                                              "  - { name: b, path: /b, serviceId: three }\n"
                                                              "  - { name: n, path: /n, serviceId: one }\n");
    change->removed_routes = bed_ids(change, 1, bed_route(&bed, first, "/c")->id);
    change->removed_services = bed_ids(change, 1, bed_service(&bed, first, "/b")->id);
    struct snapshot *second = bed_try(&bed, change);
    assert_int_equal(bed.handlers_compiled, 5);
    assert_string_equal(bed_service(&bed, second, "/b")->name, "three");
    assert_string_equal(bed_service(&bed, second, "/n")->endpoints[0].instance->name, "127.0.0.1:9009");
    assert_ptr_equal(bed_service(&bed, second, "/n"), bed_service(&bed, second, "/a"));
    assert_string_equal(bed_answer(&bed, second, "/c"), "404");
    assert_string_equal(bed_service(&bed, first, "/b")->name, "two");
    struct snapshot *third = bed_load_whole(&bed, "services:\n"
                                                  "  - { name: one, instances: [\"127.0.0.1:9009\"] }\n"
                                                  "  - { name: three, instances: [\"127.0.0.1:9003\"] }\n"
                                                  "routes:\n"
                                                  "  - " ROUTE_A "\n"
                                                  "  - { name: b, path: /b, serviceId: three }\n"
                                                  "  - { name: n, path: /n, serviceId: one }\n");
    assert_int_equal(bed.handlers_compiled, 5); /* the same, whichever way it came */
    assert_ptr_equal(bed_service(&bed, third, "/b"), bed_service(&bed, second, "/b"));
    snapshot_destroy(second);
    snapshot_destroy(first);
}

static void what_is_equal_in_a_change_is_not_made_anew(void **state)
{
    struct snapshot *first = bed_load(&bed, THREE(ROUTE_A, ROUTE_B, ROUTE_C));
    struct snapshot *second = bed_try(&bed,
                                      bed_change_services(&bed, "services:\n"
                                                                "  - { name: one, instances: [\"127.0.0.1:9001\"] }\n"
                                                                "routes: [" ROUTE_A "]\n"));
    assert_int_equal(bed.handlers_compiled, 3);
    assert_ptr_equal(bed_route(&bed, first, "/a"), bed_route(&bed, second, "/a"));
    assert_ptr_equal(bed_service(&bed, first, "/a"), bed_service(&bed, second, "/a"));
    snapshot_destroy(first);
}

/* Its place in the table would be another's. */
static void a_service_that_routes_end_in_does_not_go(void **state)
{
    struct snapshot *first = bed_load(&bed, THREE(ROUTE_A, ROUTE_B, "{ name: b2, path: /b2, serviceId: two }"));
    const char *two = bed_service(&bed, first, "/b")->id;
    struct configuration_change *change = bed_change(&bed, "");
    change->removed_services = bed_ids(change, 1, two);
    assert_null(bed_try(&bed, change));
    assert_string_equal(((struct problem *)vector_at(&bed.problems.list, 0))->message,
                        "service \"two\" is still used by 2 routes");
    change = bed_change(&bed, "");
    change->removed_services = bed_ids(change, 1, two);
    change->removed_routes = bed_ids(change, 1, bed_route(&bed, first, "/b")->id);
    assert_null(bed_try(&bed, change));
    change = bed_change(&bed, "routes: [{ name: b2, path: /b2, serviceId: two }]\n"); /* one that names it */
    change->removed_services = bed_ids(change, 1, two);
    change->removed_routes = bed_ids(change, 1, bed_route(&bed, first, "/b")->id);
    assert_null(bed_try(&bed, change));
    change = bed_change(&bed, "routes: [{ name: b2, path: /b2, serviceId: one }]\n");
    change->removed_services = bed_ids(change, 1, two);
    change->removed_routes = bed_ids(change, 1, bed_route(&bed, first, "/b")->id);
    struct snapshot *second = bed_try(&bed, change);
    assert_string_equal(bed_service(&bed, second, "/b2")->name, "one");
    assert_string_equal(bed_service(&bed, first, "/b2")->name, "two");
    snapshot_destroy(first);
}

static void a_service_that_gets_another_name_gives_it_to_the_routes_of_the_change(void **state)
{
    struct snapshot *first = bed_load_whole(
        &bed, "services: [{ id: \"" FIRST_ID "\", name: left, instances: [\"127.0.0.1:9001\"] }]\n"
              "routes: [{ name: l, path: /l, serviceId: left }, { name: s, path: /s, serviceId: left }]\n");
    struct service_state *service_state = bed_service(&bed, first, "/l")->state;
    struct snapshot *second = bed_try(&bed,
                                      bed_change_services(&bed, "services: [{ id: \"" FIRST_ID
                                                                "\", name: right, instances: [\"127.0.0.1:9001\"] }]\n"
                                                                "routes: [{ name: l, path: /l, serviceId: right }]\n"));
    assert_string_equal(bed_route(&bed, second, "/l")->service_name.at, "right");
    assert_string_equal(bed_route(&bed, second, "/s")->service_name.at, "left");
    assert_string_equal(bed_service(&bed, second, "/s")->name, "right");
    assert_ptr_equal(bed_service(&bed, second, "/s")->state, service_state);
    struct configuration_change *change = bed_change(&bed, "routes: [{ name: l, path: /l, serviceId: one }]\n");
    ((struct route_config *)change->configuration->routes.items)->service_id = SLICE("left");
    assert_null(bed_try(&bed, change)); /* nobody has that name any more */
    /* And one that comes may have it at once. */
    struct snapshot *third = bed_try(
        &bed, bed_change_services(&bed, "services: [{ name: left, instances: [\"127.0.0.1:9002\"] }]\n"
                                        "routes: [{ name: l, path: /l, serviceId: left }]\n"));
    assert_string_equal(bed_service(&bed, third, "/l")->endpoints[0].instance->name, "127.0.0.1:9002");
    snapshot_destroy(first);
    snapshot_destroy(second);
}

static void plugins_that_change_bring_the_routes_they_touch(void **state)
{
    struct snapshot *first = bed_load(&bed, WITH_PLUGIN("x"));
    struct configuration_change *change = bed_change(
        &bed, "routes: [" ROUTE_B "]\nplugins: [{ name: count, config: { word: y }, services: [two] }]\n");
    change->plugins_changed = true;
    struct snapshot *second = bed_try(&bed, change);
    assert_int_equal(bed.handlers_compiled, 4);
    assert_ptr_equal(bed_route(&bed, first, "/a"), bed_route(&bed, second, "/a"));
    assert_ptr_not_equal(bed_route(&bed, first, "/b"), bed_route(&bed, second, "/b"));
    struct snapshot *third = bed_load(&bed, WITH_PLUGIN("y"));
    assert_int_equal(bed.handlers_compiled, 4);
    change = bed_change(&bed, "routes: [" ROUTE_B "]\n");
    change->plugins_changed = true; /* all gone */
    struct snapshot *fourth = bed_try(&bed, change);
    assert_int_equal(filters_of(fourth, "/b"), 0);
    struct snapshot *fifth = bed_put_route(&bed, "{ name: n, path: /n, serviceId: two }");
    assert_int_equal(filters_of(fifth, "/n"), 0);
    snapshot_destroy(first);
    snapshot_destroy(second);
    snapshot_destroy(third);
    snapshot_destroy(fourth);
}

static struct address address_of(const char *text)
{
    struct address address;
    assert_true(address_parse(slice_from_cstring(text), &address));
    return address;
}

/* What comes between belongs to both. */
static void addresses_may_come_while_something_is_prepared(void **state)
{
    struct snapshot *first = bed_load_whole(&bed, "services:\n"
                                                  "  - { name: one, instances: [\"a.test:80\"] }\n"
                                                  "  - { name: two, instances: [\"a.test:81\"] }\n"
                                                  "routes: [" ROUTE_A ", " ROUTE_B "]\n");
    struct configuration_change *change = bed_change_services(&bed,
                                                              "services:\n"
                                                              "  - { name: one, instances: [\"a.test:99\"] }\n"
                                                              "  - { name: new, instances: [\"a.test:98\"] }\n"
                                                              "routes: [{ name: n, path: /n, serviceId: new }]\n");
    struct prepared_change *prepared = snapshot_builder_prepare(bed.builder, change, &bed.problems);
    struct address address = address_of("10.0.0.1:0");
    struct snapshot *second = snapshot_builder_addresses(bed.builder, SLICE("a.test"), &address, 1);
    assert_int_equal(address_port(&bed_service(&bed, second, "/a")->endpoints[0].instance->address), 80);
    assert_string_equal(bed_answer(&bed, second, "/n"), "404");
    struct snapshot *third = snapshot_builder_commit(bed.builder, prepared);
    assert_int_equal(address_port(&bed_service(&bed, third, "/a")->endpoints[0].instance->address), 99);
    assert_int_equal(address_port(&bed_service(&bed, third, "/b")->endpoints[0].instance->address), 81);
    assert_int_equal(address_port(&bed_service(&bed, third, "/n")->endpoints[0].instance->address), 98);
    snapshot_destroy(second);
    snapshot_destroy(first);
}

static void a_prefilter_may_come_while_something_is_prepared(void **state)
{
    char text[4096];
    int length = 0;
    for (int i = 0; i < 40; i++)
        length += snprintf(text + length, sizeof text - (size_t)length,
                           "%s{ name: r%d, path: \"~/.*x%dy\", serviceId: one }", i ? ", " : "routes: [", i, i);
    snprintf(text + length, sizeof text - (size_t)length, "]\n");
    struct snapshot *first = bed_load(&bed, text);
    struct router_prefilter_source *source = snapshot_builder_prefilter_source(bed.builder);
    assert_non_null(source);
    struct error error;
    struct router_prefilter *prefilter = router_prefilter_build(source, &error);
    router_prefilter_source_destroy(source);
    struct prepared_change *prepared = snapshot_builder_prepare(
        bed.builder, bed_change(&bed, "routes: [{ name: r7, path: \"~/.*z\", serviceId: one }]\n"), &bed.problems);
    struct snapshot *second = snapshot_builder_prefilter(bed.builder, prefilter);
    struct snapshot *third = snapshot_builder_commit(bed.builder, prepared);
    assert_string_equal(bed_answer(&bed, second, "/ax7y"), "r7");
    assert_string_equal(bed_answer(&bed, third, "/ax7y"), "404");
    assert_string_equal(bed_answer(&bed, third, "/az"), "r7");
    assert_string_equal(bed_answer(&bed, third, "/ax8y"), "r8");
    snapshot_destroy(first);
    snapshot_destroy(second);
}

static const char *numbered_path(unsigned number)
{
    static char path[16];
    snprintf(path, sizeof path, "/n%u", number);
    return path;
}

static size_t memory_in_use(void)
{
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

/* Routes and services, half of them given up. */
static void ten_thousand_changes_leave_memory_flat(void **state)
{
    struct snapshot *snapshot = bed_load(&bed, THREE(ROUTE_A, ROUTE_B, ROUTE_C));
    size_t before = 0;
    for (unsigned i = 0; i < 10000; i++) {
        char *text = memory_format("services: [{ name: s%u, instances: [\"127.0.0.1:%u\"] }]\n"
                                   "routes: [{ name: n, path: /n%u, serviceId: s%u }]\n",
                                   i % 10, i % 100 + 1, i % 1000, i % 10);
        struct configuration_change *change = bed_change_services(&bed, text);
        free(text);
        struct service *last = i > 1 ? bed_service(&bed, snapshot, numbered_path((i - 2 + i % 2) % 1000)) : NULL;
        if (last) change->removed_services = bed_ids(change, 1, last->id);
        struct prepared_change *prepared = snapshot_builder_prepare(bed.builder, change, &bed.problems);
        assert_non_null(prepared);
        if (i % 2) {
            snapshot_builder_abandon(bed.builder, prepared);
            continue;
        }
        struct snapshot *older = snapshot;
        snapshot = snapshot_builder_commit(bed.builder, prepared);
        snapshot_destroy(older);
        snapshot_builder_collect(bed.builder);
        for (struct instance *gone; (gone = instance_next_forgotten(snapshot_builder_instances(bed.builder))) != NULL;)
            instance_destroy(snapshot_builder_instances(bed.builder), gone);
        if (i == 1000) before = memory_in_use();
    }
    assert_int_equal(snapshot->route_count, 4);
    assert_true(snapshot->service_count <= 5);
    assert_true(memory_in_use() < before + 64 * 1024); /* under a sanitizer both are 0 */
}

/* --- host names --- */

static void names_are_told_when_they_come_into_use_and_go(void **state)
{
    struct snapshot *first = bed_load_whole(&bed, "services:\n"
                                                  "  - { name: one, instances: [\"a.test:80\", \"b.test:80\"] }\n"
                                                  "  - { name: two, instances: [\"b.test:81\", \"127.0.0.1:1\"] }\n"
                                                  "routes: [" ROUTE_A "]\n");
    assert_string_equal(bed.names, "+a.test +b.test ");
    bed.names[0] = '\0';
    struct snapshot *second = bed_load_whole(&bed, "services:\n"
                                                   "  - { name: one, instances: [\"a.test:99\"] }\n"
                                                   "  - { name: two, instances: [\"b.test:81\"] }\n"
                                                   "routes: [" ROUTE_A "]\n");
    assert_string_equal(bed.names, ""); /* both still used */
    struct snapshot *third = bed_put_service(&bed, "{ name: two, instances: [\"c.test:81\"] }");
    assert_string_equal(bed.names, "+c.test -b.test ");
    bed.names[0] = '\0';
    bed_load_whole(&bed, "services: [{ name: one, instances: [\"a.test:99\"] }]\nroutes: [" ROUTE_A "]\n");
    assert_string_equal(bed.names, "-c.test ");
    snapshot_destroy(third);
    snapshot_destroy(first);
    snapshot_destroy(second);
}

static void addresses_touch_the_services_of_the_name_alone(void **state)
{
    struct snapshot *first = bed_load_whole(&bed, "services:\n"
                                                  "  - { name: one, instances: [\"a.test:80\"] }\n"
                                                  "  - { name: two, instances: [\"b.test:81\"] }\n"
                                                  "routes: [" ROUTE_A ", " ROUTE_B "]\n");
    assert_int_equal(bed_service(&bed, first, "/a")->endpoint_count, 0);
    struct address addresses[] = { address_of("10.0.0.1:0"), address_of("10.0.0.2:0") };
    struct snapshot *second = snapshot_builder_addresses(bed.builder, SLICE("a.test"), addresses, 2);
    assert_int_equal(bed_service(&bed, second, "/a")->endpoint_count, 2);
    assert_int_equal(address_port(&bed_service(&bed, second, "/a")->endpoints[0].instance->address), 80);
    assert_ptr_equal(bed_service(&bed, first, "/b"), bed_service(&bed, second, "/b"));
    assert_ptr_equal(bed_route(&bed, first, "/a"), bed_route(&bed, second, "/a"));
    struct instance *kept = bed_service(&bed, second, "/a")->endpoints[1].instance;
    struct snapshot *third = snapshot_builder_addresses(bed.builder, SLICE("a.test"), addresses + 1, 1);
    assert_int_equal(bed_service(&bed, third, "/a")->endpoint_count, 1);
    assert_ptr_equal(bed_service(&bed, third, "/a")->endpoints[0].instance, kept);
    assert_null(snapshot_builder_addresses(bed.builder, SLICE("nobody.test"), addresses, 1));
    /* A service that takes the name later knows the addresses at once. */
    struct snapshot *fourth = bed_put_service(&bed, "{ name: two, instances: [\"a.test:82\"] }");
    assert_int_equal(bed_service(&bed, fourth, "/b")->endpoint_count, 1);
    struct snapshot *fifth = snapshot_builder_addresses(bed.builder, SLICE("a.test"), NULL, 0);
    assert_int_equal(bed_service(&bed, fifth, "/a")->endpoint_count, 0);
    assert_int_equal(bed_service(&bed, fifth, "/b")->endpoint_count, 0);
    snapshot_destroy(fourth);
    snapshot_destroy(second);
    snapshot_destroy(first);
    snapshot_destroy(third);
    snapshot_builder_collect(bed.builder);
    unsigned forgotten = 0;
    struct instance *instance;
    while ((instance = instance_next_forgotten(snapshot_builder_instances(bed.builder))) != NULL) {
        instance_destroy(snapshot_builder_instances(bed.builder), instance);
        forgotten++;
    }
    assert_int_equal(forgotten, 3); /* 10.0.0.1:80, 10.0.0.2:80, 10.0.0.2:82 */
}

/* --- what lives how long --- */

static void a_retained_route_outlives_its_snapshot(void **state)
{
    struct snapshot *first = bed_load(&bed, THREE(ROUTE_A, ROUTE_B, ROUTE_C));
    struct compiled_route *route = (struct compiled_route *)(uintptr_t)bed_route(&bed, first, "/a");
    struct service *service = bed_service(&bed, first, "/a");
    compiled_route_retain(route);
    service_retain(service);
    bed_load_whole(&bed, "services: [{ name: two, instances: [\"127.0.0.1:9002\"] }]\nroutes: [" ROUTE_B "]\n");
    snapshot_destroy(first);
    snapshot_builder_collect(bed.builder);
    assert_int_equal(bed.handlers_released, 1); /* c */
    assert_string_equal(route->name, "a");
    assert_string_equal(service->name, "one");
    unsigned wakes = bed.wakes;
    compiled_route_drop(route);
    snapshot_service_drop(bed.builder, service);
    assert_int_equal(bed.wakes, wakes + 2);
    assert_int_equal(bed.handlers_released, 1);
    snapshot_builder_collect(bed.builder);
    assert_int_equal(bed.handlers_released, 2);
}

/* As at the end of the gateway: the workers give back everything, in whatever order. */
static void the_newest_snapshot_may_go_first_at_the_end(void **state)
{
    struct snapshot *first = bed_load(&bed, "trustedProxies: [10.0.0.0/8]\n" THREE(ROUTE_A, ROUTE_B, ROUTE_C));
    struct snapshot *second = bed_load(&bed, "trustedProxies: [10.0.0.0/9]\nroutes: [" ROUTE_A "]\n");
    struct snapshot *third = bed_load(&bed, "trustedProxies: [10.0.0.0/10]\nroutes: [" ROUTE_B "]\n");
    assert_int_equal(first->settings->trusted_proxy_count, 1);
    snapshot_destroy(third);
    assert_int_equal(first->settings->trusted_proxies[0].prefix_bits, 96 + 8);
    assert_int_equal(second->settings->trusted_proxies[0].prefix_bits, 96 + 9);
    snapshot_destroy(first);
    snapshot_destroy(second);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        TEST(what_did_not_change_is_not_compiled_again),
        TEST(a_changed_role_compiles_no_route),
        TEST(a_file_that_is_only_written_differently_compiles_nothing),
        TEST(the_order_in_the_file_decides_after_every_change),
        TEST(who_moves_in_the_file_is_compiled_anew_and_nobody_else),
        TEST(there_is_always_room_between_two_routes),
        TEST(a_route_that_is_not_enabled_is_not_there),
        TEST(a_problem_anywhere_leaves_everything_as_it_was),
        TEST(a_first_load_may_fail_and_the_next_one_work),
        TEST(a_pattern_that_does_not_compile_is_told_with_its_place),
        TEST(places_in_the_table_are_used_again_but_never_twice),
        TEST(a_service_that_changes_keeps_its_state_and_its_routes),
        TEST(a_load_takes_back_what_was_put),
        TEST(two_services_may_swap_their_names),
        TEST(plugins_reach_the_routes_of_their_scope),
        TEST(a_plugin_that_changes_compiles_the_routes_it_reaches),
        TEST(a_put_route_gets_the_plugins_in_force),
        TEST(rate_limits_reach_the_routes_of_their_scope),
        TEST(a_rate_limit_that_changes_compiles_the_routes_it_reaches),
        TEST(a_put_route_is_new_changed_or_gone),
        TEST(a_changed_route_keeps_its_age_and_a_new_one_is_the_youngest),
        TEST(a_put_with_a_problem_changes_nothing),
        TEST(ten_thousand_routes_and_then_changes),
        TEST(what_was_given_up_has_never_been),
        TEST(a_change_may_be_of_many_things_at_once),
        TEST(what_is_equal_in_a_change_is_not_made_anew),
        TEST(a_service_that_routes_end_in_does_not_go),
        TEST(a_service_that_gets_another_name_gives_it_to_the_routes_of_the_change),
        TEST(plugins_that_change_bring_the_routes_they_touch),
        TEST(addresses_may_come_while_something_is_prepared),
        TEST(a_prefilter_may_come_while_something_is_prepared),
        TEST(ten_thousand_changes_leave_memory_flat),
        TEST(names_are_told_when_they_come_into_use_and_go),
        TEST(addresses_touch_the_services_of_the_name_alone),
        TEST(a_retained_route_outlives_its_snapshot),
        TEST(the_newest_snapshot_may_go_first_at_the_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
