/* Orders for one resource: every outcome, and that whatever is refused leaves store, catalog and gateway as they were. */
#include "changes/changes_bed.h"

#include "base/memory.h"

#define ONE "{\"name\":\"one\",\"instances\":[\"127.0.0.1:9001\"]}"
#define USERS "{\"name\":\"users\",\"path\":\"/users/*\",\"serviceId\":\"one\"}"

static struct bed bed;

static int start(void **state)
{
    bed_start(&bed);
    return 0;
}

static int stop(void **state)
{
    bed_stop(&bed);
    return 0;
}

static enum change_outcome create(enum resource_kind kind, const char *body)
{
    return bed_do(&bed, CHANGE_CREATE, kind, NULL, body);
}

static void create_one_and_users(void)
{
    assert_int_equal(create(RESOURCE_SERVICE, ONE), CHANGE_CREATED);
    assert_int_equal(create(RESOURCE_ROUTE, USERS), CHANGE_CREATED);
}

/* Neither the catalog, nor the store, nor the gateway has moved. */
static void assert_nothing_changed(const char *state, uint64_t revision, unsigned committed)
{
    char *now = bed_state(&bed), *stored = bed_store_state(&bed);
    assert_string_equal(now, state);
    assert_string_equal(stored, state);
    assert_int_equal(bed_revision(&bed), revision);
    assert_int_equal(bed.gateway.committed, committed);
    assert_int_equal(bed.gateway.prepared, bed.gateway.committed + bed.gateway.abandoned);
    free(now);
    free(stored);
}

static void a_created_resource_is_in_the_catalog_the_store_and_the_gateway(void **state)
{
    struct change_order *order = bed_order(CHANGE_CREATE, RESOURCE_SERVICE, NULL, ONE);
    assert_int_equal(bed_run(&bed, order), CHANGE_CREATED);
    assert_int_equal(order->revision, 1);
    assert_int_equal(order->created, 1);
    assert_non_null(order->after);
    assert_slice_is(order->after->name, "one");
    assert_int_equal(order->after->id.length, 36);
    change_order_destroy(order);
    assert_int_equal(create(RESOURCE_ROUTE, USERS), CHANGE_CREATED);
    assert_string_equal(bed.gateway.changed, "+users ");
    assert_string_equal(bed.gateway.steps, "prepare commit prepare commit ");
    char *now = bed_state(&bed), *stored = bed_store_state(&bed);
    assert_string_equal(now, stored);
    free(now);
    free(stored);
    bed_check(&bed);
}

/* Those of its route, of its service, or all: and again where it no longer applies. */
static void a_rate_limit_brings_the_routes_that_it_concerns(void **state)
{
    create_one_and_users();
    assert_int_equal(create(RESOURCE_ROUTE, "{\"name\":\"hello\",\"path\":\"/hello\",\"respond\":{}}"), CHANGE_CREATED);
    assert_int_equal(
        create(RESOURCE_RATE_LIMIT, "{\"name\":\"calm\",\"limit\":10,\"window\":60,\"routeId\":\"hello\"}"),
        CHANGE_CREATED);
    assert_string_equal(bed.gateway.changed, "+hello +calm ");
    assert_int_equal(
        bed_do(&bed, CHANGE_PATCH, RESOURCE_RATE_LIMIT, "calm", "{\"routeId\":null,\"serviceId\":\"one\"}"),
        CHANGE_UPDATED);
    assert_string_equal(bed.gateway.changed, "+users +hello +calm ");
    assert_int_equal(bed_do(&bed, CHANGE_PATCH, RESOURCE_RATE_LIMIT, "calm", "{\"limit\":11}"), CHANGE_UPDATED);
    assert_string_equal(bed.gateway.changed, "+users +calm ");
    assert_int_equal(bed_do(&bed, CHANGE_DELETE, RESOURCE_RATE_LIMIT, "calm", NULL), CHANGE_DELETED);
    assert_string_equal(bed.gateway.changed, "+users ");
}

static void an_equal_put_makes_no_revision(void **state)
{
    create_one_and_users();
    struct change_order *order = bed_order(CHANGE_PUT, RESOURCE_SERVICE, "one", ONE);
    assert_int_equal(bed_run(&bed, order), CHANGE_NOTHING);
    assert_int_equal(order->revision, 2);
    assert_non_null(order->after);
    change_order_destroy(order);
    assert_int_equal(bed.gateway.prepared, 2);
    assert_int_equal(bed_do(&bed, CHANGE_PATCH, RESOURCE_ROUTE, "users", "{}"), CHANGE_NOTHING);
}

static void a_put_changes_only_what_it_names(void **state)
{
    create_one_and_users();
    struct change_order *order = bed_order(CHANGE_PUT, RESOURCE_ROUTE, "users",
                                           "{\"path\":\"/people/*\",\"serviceId\":\"one\"}");
    assert_int_equal(bed_run(&bed, order), CHANGE_UPDATED);
    assert_slice_is(order->after->name, "users"); /* which the body left out */
    assert_slice_is(order->before->id, order->after->id.at);
    assert_int_equal(order->before->created_us, order->after->created_us);
    assert_true(order->after->updated_us > order->before->updated_us);
    change_order_destroy(order);
    assert_string_equal(bed.gateway.changed, "+users ");
}

static void a_put_makes_what_is_not_there(void **state)
{
    const char *id = "0b9f6a3e-1c2d-4e5f-8a9b-0c1d2e3f4a5b";
    assert_int_equal(bed_do(&bed, CHANGE_PUT, RESOURCE_SERVICE, "two", "{\"instances\":[\"127.0.0.1:1\"]}"),
                     CHANGE_CREATED);
    catalog_entry_drop(bed_find(&bed, RESOURCE_SERVICE, "two"));
    assert_int_equal(bed_do(&bed, CHANGE_PUT, RESOURCE_SERVICE, id, ONE), CHANGE_CREATED);
    struct catalog_entry *entry = bed_find(&bed, RESOURCE_SERVICE, "one");
    assert_slice_is(entry->id, id);
    catalog_entry_drop(entry);
    struct change_order *order = bed_order(CHANGE_PUT, RESOURCE_SERVICE, "three", ONE);
    assert_int_equal(bed_run(&bed, order), CHANGE_INVALID);
    assert_problem_at(order, "/name");
    change_order_destroy(order);
}

static void a_patch_merges(void **state)
{
    create_one_and_users();
    assert_int_equal(bed_do(&bed, CHANGE_PATCH, RESOURCE_ROUTE, "users", "{\"timeoutMs\":1234,\"methods\":[\"GET\"]}"),
                     CHANGE_UPDATED);
    struct catalog_entry *entry = bed_find(&bed, RESOURCE_ROUTE, "users");
    assert_int_not_equal(slice_find(entry->document, SLICE("\"timeoutMs\":1234")), SLICE_NOT_FOUND);
    assert_int_not_equal(slice_find(entry->document, SLICE("/users/*")), SLICE_NOT_FOUND);
    catalog_entry_drop(entry);
    assert_int_equal(bed_do(&bed, CHANGE_PATCH, RESOURCE_ROUTE, "users", "{\"methods\":null}"), CHANGE_UPDATED);
    assert_int_equal(bed_do(&bed, CHANGE_PATCH, RESOURCE_ROUTE, "users", "{\"pathPattern\":\"/people\"}"),
                     CHANGE_UPDATED);
    entry = bed_find(&bed, RESOURCE_ROUTE, "users");
    assert_int_not_equal(slice_find(entry->document, SLICE("\"path\":\"/people\"")), SLICE_NOT_FOUND);
    catalog_entry_drop(entry);
}

static void what_is_not_there_is_not_found(void **state)
{
    assert_int_equal(bed_do(&bed, CHANGE_PATCH, RESOURCE_ROUTE, "nobody", "{}"), CHANGE_NOT_FOUND);
    assert_int_equal(bed_do(&bed, CHANGE_DELETE, RESOURCE_ROUTE, "nobody", NULL), CHANGE_NOT_FOUND);
    assert_int_equal(bed_do(&bed, CHANGE_ROLLBACK, RESOURCE_ROUTE, "7", NULL), CHANGE_NOT_FOUND);
    assert_int_equal(bed_do(&bed, CHANGE_ROLLBACK, RESOURCE_ROUTE, "x", NULL), CHANGE_NOT_FOUND);
}

static void a_taken_name_says_whose_it_is(void **state)
{
    create_one_and_users();
    char *before = bed_state(&bed);
    struct change_order *order = bed_order(CHANGE_CREATE, RESOURCE_SERVICE, NULL, ONE);
    assert_int_equal(bed_run(&bed, order), CHANGE_NAME_TAKEN);
    assert_int_equal(order->user_count, 1);
    assert_slice_is(order->users[0]->name, "one");
    change_order_destroy(order);
    assert_int_equal(create(RESOURCE_ROUTE, "{\"name\":\"other\",\"path\":\"/o\",\"serviceId\":\"one\"}"),
                     CHANGE_CREATED);
    assert_int_equal(bed_do(&bed, CHANGE_PATCH, RESOURCE_ROUTE, "other", "{\"name\":\"users\"}"), CHANGE_NAME_TAKEN);
    assert_int_equal(bed_do(&bed, CHANGE_DELETE, RESOURCE_ROUTE, "other", NULL), CHANGE_DELETED);
    assert_nothing_changed(before, 4, 4);
    free(before);
}

static enum change_outcome run_if_match(enum change_action action, const char *body, const char *etags)
{
    struct change_order *order = bed_order(action, RESOURCE_ROUTE, "users", body);
    order->match_required = true;
    order->if_match = memory_copy_slice(slice_from_cstring(etags));
    enum change_outcome outcome = bed_run(&bed, order);
    change_order_destroy(order);
    return outcome;
}

static void etags_guard_against_the_editor_before(void **state)
{
    create_one_and_users();
    struct catalog_entry *entry = bed_find(&bed, RESOURCE_ROUTE, "users");
    char etag[CHANGES_ETAG_BYTES];
    changes_etag(entry->hash, etag);
    catalog_entry_drop(entry);
    struct change_order *order = bed_order(CHANGE_PATCH, RESOURCE_ROUTE, "users", "{\"priority\":1}");
    order->match_required = true;
    assert_int_equal(bed_run(&bed, order), CHANGE_MATCH_REQUIRED);
    change_order_destroy(order);
    assert_int_equal(run_if_match(CHANGE_PATCH, "{\"priority\":1}", etag), CHANGE_UPDATED);
    assert_int_equal(run_if_match(CHANGE_DELETE, NULL, etag), CHANGE_STALE);
    assert_int_equal(run_if_match(CHANGE_DELETE, NULL, "00000000000000000000000000000000, *"), CHANGE_DELETED);

    order = bed_order(CHANGE_PUT, RESOURCE_SERVICE, "one", "{\"instances\":[\"127.0.0.1:2\"]}");
    order->if_none_match = memory_copy_slice(SLICE("*"));
    assert_int_equal(bed_run(&bed, order), CHANGE_STALE);
    change_order_destroy(order);
    entry = bed_find(&bed, RESOURCE_SERVICE, "one");
    changes_etag(entry->hash, etag);
    catalog_entry_drop(entry);
    order = bed_order(CHANGE_PUT, RESOURCE_SERVICE, "one", "{\"instances\":[\"127.0.0.1:2\"]}");
    order->if_none_match = memory_format("00000000000000000000000000000000,%s", etag);
    assert_int_equal(bed_run(&bed, order), CHANGE_STALE);
    change_order_destroy(order);
    order = bed_order(CHANGE_PUT, RESOURCE_SERVICE, "one", "{\"instances\":[\"127.0.0.1:3\"]}");
    order->if_none_match = memory_copy_slice(SLICE("00000000000000000000000000000000"));
    assert_int_equal(bed_run(&bed, order), CHANGE_UPDATED);
    change_order_destroy(order);
    order = bed_order(CHANGE_PUT, RESOURCE_SERVICE, "new", "{\"instances\":[\"127.0.0.1:2\"]}");
    order->if_match = memory_copy_slice(SLICE("*"));
    assert_int_equal(bed_run(&bed, order), CHANGE_STALE);
    change_order_destroy(order);
}

static void what_is_used_is_not_deleted_but_with_its_users(void **state)
{
    create_one_and_users();
    assert_int_equal(create(RESOURCE_PLUGIN, "{\"name\":\"cors\",\"instanceName\":\"c\",\"routes\":[\"users\"],"
                                             "\"config\":{\"origins\":[\"https://a.example\"]}}"),
                     CHANGE_CREATED);
    struct change_order *order = bed_order(CHANGE_DELETE, RESOURCE_SERVICE, "one", NULL);
    assert_int_equal(bed_run(&bed, order), CHANGE_IN_USE);
    assert_int_equal(order->user_count, 1);
    assert_slice_is(order->users[0]->name, "users");
    change_order_destroy(order);

    order = bed_order(CHANGE_DELETE, RESOURCE_SERVICE, "one", NULL);
    order->cascade = true;
    assert_int_equal(bed_run(&bed, order), CHANGE_DELETED);
    assert_int_equal(order->deleted, 3);
    change_order_destroy(order);
    char *now = bed_state(&bed);
    assert_string_equal(now, "");
    free(now);
}

/* It would be without its plugin, and that is what it was not asked for. */
static void a_cascade_leaves_a_plugin_to_its_other_routes(void **state)
{
    create_one_and_users();
    assert_int_equal(create(RESOURCE_ROUTE, "{\"name\":\"other\",\"path\":\"/o\",\"serviceId\":\"one\"}"),
                     CHANGE_CREATED);
    assert_int_equal(create(RESOURCE_PLUGIN, "{\"name\":\"security-headers\",\"instanceName\":\"s\","
                                             "\"routes\":[\"users\",\"other\"]}"),
                     CHANGE_CREATED);
    struct change_order *order = bed_order(CHANGE_DELETE, RESOURCE_ROUTE, "users", NULL);
    order->cascade = true;
    assert_int_equal(bed_run(&bed, order), CHANGE_DELETED);
    assert_int_equal(order->deleted, 1);
    assert_int_equal(order->updated, 1);
    change_order_destroy(order);
    struct catalog_entry *plugin = bed_find(&bed, RESOURCE_PLUGIN, "s");
    assert_int_not_equal(slice_find(plugin->document, SLICE("\"routes\":[\"other\"]")), SLICE_NOT_FOUND);
    catalog_entry_drop(plugin);
}

/* A decision service, named by a filter, by a plugin's config and by a part of an aggregate: it holds as a route's own service does. */
static void what_a_policy_works_with_is_not_deleted_and_keeps_its_name(void **state)
{
    create_one_and_users();
    assert_int_equal(create(RESOURCE_SERVICE, "{\"name\":\"auth\",\"instances\":[\"127.0.0.1:3\"]}"), CHANGE_CREATED);
    assert_int_equal(create(RESOURCE_ROUTE,
                            "{\"name\":\"guarded\",\"path\":\"/g\",\"serviceId\":\"one\",\"filters\":"
                            "[{\"type\":\"security-headers\"},{\"type\":\"ext-auth\",\"service\":\"auth\"}]}"),
                     CHANGE_CREATED);
    assert_int_equal(create(RESOURCE_ROUTE, "{\"name\":\"page\",\"path\":\"/p\",\"aggregate\":{\"parts\":["
                                            "{\"name\":\"a\",\"service\":\"one\",\"path\":\"/\"},"
                                            "{\"name\":\"b\",\"service\":\"auth\",\"path\":\"/\"}]}}"),
                     CHANGE_CREATED);
    assert_int_equal(create(RESOURCE_PLUGIN, "{\"name\":\"ext-auth\",\"instanceName\":\"all\","
                                             "\"config\":{\"service\":\"auth\"}}"),
                     CHANGE_CREATED);
    struct change_order *order = bed_order(CHANGE_DELETE, RESOURCE_SERVICE, "auth", NULL);
    assert_int_equal(bed_run(&bed, order), CHANGE_IN_USE);
    assert_int_equal(order->user_count, 3);
    change_order_destroy(order);

    assert_int_equal(bed_do(&bed, CHANGE_PATCH, RESOURCE_SERVICE, "auth", "{\"name\":\"decisions\"}"), CHANGE_UPDATED);
    const char *const names[] = { "guarded", "page", "all" };
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        struct catalog_entry *user = bed_find(&bed, i < 2 ? RESOURCE_ROUTE : RESOURCE_PLUGIN, names[i]);
        assert_int_not_equal(slice_find(user->document, SLICE("\"service\":\"decisions\"")), SLICE_NOT_FOUND);
        assert_int_equal(slice_find(user->document, SLICE("\"auth\"")), SLICE_NOT_FOUND);
        catalog_entry_drop(user);
    }

    /* A filter may be what keeps somebody out: what needs it goes along whole, and no filter is taken off. */
    order = bed_order(CHANGE_DELETE, RESOURCE_SERVICE, "decisions", NULL);
    order->cascade = true;
    assert_int_equal(bed_run(&bed, order), CHANGE_DELETED);
    assert_int_equal(order->deleted, 4);
    assert_int_equal(order->updated, 0);
    change_order_destroy(order);
}

/* That it names a service in its config says nothing about where it applies. */
static void a_plugin_that_works_with_a_service_applies_where_it_says(void **state)
{
    create_one_and_users();
    assert_int_equal(create(RESOURCE_SERVICE, "{\"name\":\"auth\",\"instances\":[\"127.0.0.1:3\"]}"), CHANGE_CREATED);
    assert_int_equal(create(RESOURCE_ROUTE, "{\"name\":\"other\",\"path\":\"/o\",\"serviceId\":\"auth\"}"),
                     CHANGE_CREATED);
    assert_int_equal(create(RESOURCE_PLUGIN, "{\"name\":\"ext-auth\",\"instanceName\":\"some\",\"services\":[\"one\"],"
                                             "\"config\":{\"service\":\"auth\"}}"),
                     CHANGE_CREATED);
    assert_non_null(strstr(bed.gateway.changed, "+users "));
    assert_null(strstr(bed.gateway.changed, "other"));
    assert_null(strstr(bed.gateway.changed, "whole"));
    assert_int_equal(
        create(RESOURCE_PLUGIN, "{\"name\":\"ext-auth\",\"instanceName\":\"all\",\"config\":{\"service\":\"auth\"}}"),
        CHANGE_CREATED);
    assert_true(strncmp(bed.gateway.changed, "whole", 5) == 0);
}

static void a_new_name_is_written_where_the_old_one_stood(void **state)
{
    create_one_and_users();
    struct catalog_entry *service = bed_find(&bed, RESOURCE_SERVICE, "one");
    char *by_id = memory_format("{\"name\":\"by-id\",\"path\":\"/b\",\"serviceId\":\"%s\"}", service->id.at);
    assert_int_equal(create(RESOURCE_ROUTE, by_id), CHANGE_CREATED);
    assert_int_equal(
        create(RESOURCE_PLUGIN, "{\"name\":\"security-headers\",\"instanceName\":\"s\",\"services\":[\"one\"]}"),
        CHANGE_CREATED);
    struct change_order *order = bed_order(CHANGE_PATCH, RESOURCE_SERVICE, "one", "{\"name\":\"eins\"}");
    assert_int_equal(bed_run(&bed, order), CHANGE_UPDATED);
    assert_int_equal(order->updated, 3);
    assert_int_equal(order->revision, 5);
    char *list = changes_describe(bed.changes, order);
    assert_non_null(strstr(list, "\"name\":\"eins\""));
    free(list);
    change_order_destroy(order);
    struct catalog_entry *route = bed_find(&bed, RESOURCE_ROUTE, "users");
    assert_int_not_equal(slice_find(route->document, SLICE("\"serviceId\":\"eins\"")), SLICE_NOT_FOUND);
    /* Also the one that needs no change of its own: its labels have the name. */
    assert_non_null(strstr(bed.gateway.changed, "+by-id"));
    char *stored = bed_store_state(&bed), *now = bed_state(&bed);
    assert_string_equal(stored, now);
    free(stored);
    free(now);
    free(by_id);
    catalog_entry_drop(route);
    catalog_entry_drop(service);
}

/* Roles name routes inside lists of maps, rate limits in a field of their own. */
static void names_are_followed_wherever_they_stand(void **state)
{
    create_one_and_users();
    assert_int_equal(create(RESOURCE_ROUTE, "{\"name\":\"other\",\"path\":\"/o\",\"serviceId\":\"one\"}"),
                     CHANGE_CREATED);
    assert_int_equal(create(RESOURCE_ROLE, "{\"name\":\"reader\",\"permissions\":[{\"routes\":[\"users\",\"other\"],"
                                           "\"methods\":[\"GET\"]}]}"),
                     CHANGE_CREATED);
    assert_int_equal(
        create(RESOURCE_RATE_LIMIT, "{\"name\":\"calm\",\"limit\":10,\"window\":60,\"routeId\":\"users\"}"),
        CHANGE_CREATED);
    assert_int_equal(bed_do(&bed, CHANGE_PATCH, RESOURCE_ROUTE, "users", "{\"name\":\"people\"}"), CHANGE_UPDATED);
    struct catalog_entry *role = bed_find(&bed, RESOURCE_ROLE, "reader"),
                         *limit = bed_find(&bed, RESOURCE_RATE_LIMIT, "calm");
    assert_int_not_equal(slice_find(role->document, SLICE("\"routes\":[\"people\",\"other\"]")), SLICE_NOT_FOUND);
    assert_int_not_equal(slice_find(limit->document, SLICE("\"routeId\":\"people\"")), SLICE_NOT_FOUND);
    catalog_entry_drop(role);
    catalog_entry_drop(limit);
    struct change_order *order = bed_order(CHANGE_DELETE, RESOURCE_ROUTE, "people", NULL);
    assert_int_equal(bed_run(&bed, order), CHANGE_IN_USE);
    assert_int_equal(order->user_count, 2);
    change_order_destroy(order);
    order = bed_order(CHANGE_DELETE, RESOURCE_ROUTE, "people", NULL);
    order->cascade = true;
    assert_int_equal(bed_run(&bed, order), CHANGE_DELETED);
    assert_int_equal(order->deleted, 2); /* the route, and the rule that was for it alone */
    assert_int_equal(order->updated, 1);
    change_order_destroy(order);
    role = bed_find(&bed, RESOURCE_ROLE, "reader");
    assert_int_not_equal(slice_find(role->document, SLICE("\"routes\":[\"other\"]")), SLICE_NOT_FOUND);
    catalog_entry_drop(role);
    /* Of two permissions the one for a route that goes; of one alone the role. */
    assert_int_equal(bed_do(&bed, CHANGE_PATCH, RESOURCE_ROLE, "reader",
                            "{\"permissions\":[{\"routes\":[\"other\"]},{\"methods\":[\"GET\"]}]}"),
                     CHANGE_UPDATED);
    order = bed_order(CHANGE_DELETE, RESOURCE_ROUTE, "other", NULL);
    order->cascade = true;
    assert_int_equal(bed_run(&bed, order), CHANGE_DELETED);
    assert_int_equal(order->deleted, 1);
    change_order_destroy(order);
    role = bed_find(&bed, RESOURCE_ROLE, "reader");
    assert_int_equal(slice_find(role->document, SLICE("other")), SLICE_NOT_FOUND);
    assert_int_not_equal(slice_find(role->document, SLICE("\"GET\"")), SLICE_NOT_FOUND);
    catalog_entry_drop(role);
    char *stored = bed_store_state(&bed), *now = bed_state(&bed);
    assert_string_equal(stored, now);
    free(stored);
    free(now);
}

static void all_problems_are_told_where_they_are(void **state)
{
    create_one_and_users();
    char *before = bed_state(&bed);
    struct change_order *order = bed_order(CHANGE_CREATE, RESOURCE_ROUTE, NULL,
                                           "{\"path\":5,\"serviceId\":\"oen\",\"timeoutMs\":-1,\"servce\":1}");
    assert_int_equal(bed_run(&bed, order), CHANGE_INVALID);
    assert_problem_at(order, "/serviceId");
    assert_problem_at(order, "/timeoutMs");
    assert_problem_at(order, "/servce");
    change_order_destroy(order);
    assert_nothing_changed(before, 2, 2);
    free(before);
}

static void what_the_gateway_cannot_compile_is_not_written(void **state)
{
    create_one_and_users();
    char *before = bed_state(&bed);
    bed.gateway.refuse = "bad";
    struct change_order *order = bed_order(CHANGE_CREATE, RESOURCE_ROUTE, NULL,
                                           "{\"name\":\"bad\",\"path\":\"/b\",\"serviceId\":\"one\"}");
    assert_int_equal(bed_run(&bed, order), CHANGE_INVALID);
    assert_problem_at(order, "/name");
    change_order_destroy(order);
    bed.gateway.prepared--; /* the refused one */
    assert_nothing_changed(before, 2, 2);
    free(before);
}

static void a_dry_run_says_what_would_be_and_changes_nothing(void **state)
{
    create_one_and_users();
    char *before = bed_state(&bed);
    struct change_order *order = bed_order(CHANGE_PATCH, RESOURCE_ROUTE, "users", "{\"priority\":3}");
    order->dry_run = true;
    assert_int_equal(bed_run(&bed, order), CHANGE_UPDATED);
    assert_int_equal(order->revision, 2);
    char *list = changes_describe(bed.changes, order);
    assert_non_null(strstr(list, "\"pointer\":\"/priority\""));
    free(list);
    change_order_destroy(order);
    assert_int_equal(bed.gateway.abandoned, 1);
    assert_nothing_changed(before, 2, 2);
    free(before);
}

/* What people and programs send when something is wrong with them. */
static void hostile_bodies_leave_everything_as_it_was(void **state)
{
    static char deep[200001], large[3 << 20];
    memset(deep, '[', sizeof deep - 1);
    memset(large, 'a', sizeof large - 1);
    large[0] = large[sizeof large - 2] = '"';
    const char *bodies[] = {
        "",
        "{",
        "{\"name\":\"x\"",
        "null",
        "[]",
        "7",
        "\"x\"",
        "{\"name\":\"x\",\"name\":\"y\"}",
        deep,
        large,
        "{\"name\":\"\\ud800\",\"path\":\"/\"}",
        "{\"name\":\"\xff\xfe\"}",
        "{\"name\":{},\"path\":[]}",
        "{\"id\":\"../../etc\",\"path\":\"/a\",\"serviceId\":\"one\"}",
        "{\"path\":\"/a\",\"serviceId\":null}",
        "{\"name\":\"a/b\",\"path\":\"/a\",\"serviceId\":\"one\"}",
        "{\"name\":\"a\\u0000b\"}",
        "{}",
    };
    create_one_and_users();
    char *before = bed_state(&bed);
    for (size_t i = 0; i < COUNT_OF(bodies); i++) {
        for (int action = CHANGE_CREATE; action <= CHANGE_PATCH; action++) {
            struct change_order *order = bed_order(action, RESOURCE_ROUTE, action ? "users" : NULL, bodies[i]);
            enum change_outcome outcome = bed_run(&bed, order);
            bool empty_patch = action == CHANGE_PATCH && strcmp(bodies[i], "{}") == 0;
            if (empty_patch) {
                assert_int_equal(outcome, CHANGE_NOTHING);
            } else {
                assert_true(outcome == CHANGE_INVALID || outcome == CHANGE_UNREADABLE);
                assert_true(order->problems.count > 0);
            }
            change_order_destroy(order);
        }
        struct change_order *order = bed_order(CHANGE_WHOLE, 0, NULL, bodies[i]);
        enum change_outcome outcome = bed_run(&bed, order);
        if (strcmp(bodies[i], "{}") == 0) {
            assert_int_equal(outcome, CHANGE_UPDATED); /* nothing is to be there */
            assert_int_equal(bed_do(&bed, CHANGE_ROLLBACK, 0, "2", NULL), CHANGE_UPDATED);
        } else {
            assert_true(outcome == CHANGE_INVALID || outcome == CHANGE_UNREADABLE);
        }
        change_order_destroy(order);
    }
    struct change_order *none = bed_order(CHANGE_CREATE, RESOURCE_ROUTE, NULL, NULL);
    assert_int_equal(bed_run(&bed, none), CHANGE_UNREADABLE);
    change_order_destroy(none);
    assert_nothing_changed(before, 4, 4);
    free(before);
}

/* Half of a cascade is written when the store refuses the rest. */
static void what_the_store_refuses_half_way_is_not_written_at_all(void **state)
{
    if (bed.is_postgres) skip();
    create_one_and_users();
    assert_int_equal(
        create(RESOURCE_RATE_LIMIT, "{\"name\":\"calm\",\"limit\":10,\"window\":60,\"routeId\":\"users\"}"),
        CHANGE_CREATED);
    bed_run_sql(&bed, "CREATE TRIGGER no BEFORE DELETE ON services BEGIN SELECT RAISE(ABORT, 'no'); END");
    char *before = bed_state(&bed);
    struct change_order *order = bed_order(CHANGE_DELETE, RESOURCE_SERVICE, "one", NULL);
    order->cascade = true;
    assert_int_equal(bed_run(&bed, order), CHANGE_FAILED);
    assert_non_null(strstr(order->error.text, "nothing was written"));
    change_order_destroy(order);
    assert_nothing_changed(before, 3, 3);
    bed_run_sql(&bed, "DROP TRIGGER no");
    assert_int_equal(bed_do(&bed, CHANGE_PATCH, RESOURCE_SERVICE, "one", "{\"tags\":[\"x\"]}"), CHANGE_UPDATED);
    free(before);
}

static void secrets_stay_where_the_body_says_so(void **state)
{
    assert_int_equal(
        create(RESOURCE_CERTIFICATE, "{\"name\":\"c\",\"certificate\":\"${file:c.pem}\",\"key\":\"${file:k.pem}\"}"),
        CHANGE_CREATED);
    struct catalog_entry *entry = bed_find(&bed, RESOURCE_CERTIFICATE, "c");
    assert_int_equal(bed_do(&bed, CHANGE_PUT, RESOURCE_CERTIFICATE, "c", entry->document.at), CHANGE_NOTHING);
    catalog_entry_drop(entry);
    struct change_order *order = bed_order(CHANGE_PATCH, RESOURCE_CERTIFICATE, "c",
                                           "{\"key\":{\"$secret\":\"sha256:0000000000000000\"}}");
    assert_int_equal(bed_run(&bed, order), CHANGE_INVALID);
    assert_problem_at(order, "/key");
    change_order_destroy(order);
}

/* --- plugins in each other's way --- */

#define CORS(name, origin, more)                                                                                      \
    "{\"name\":\"cors\",\"instanceName\":\"" name "\",\"config\":{\"origins\":[\"https://" origin ".example\"]}" more \
    "}"

static void assert_refused(enum change_action action, enum resource_kind kind, const char *target, const char *body,
                           const char *pointer, const char *words)
{
    struct change_order *order = bed_order(action, kind, target, body);
    char *state = bed_state(&bed);
    uint64_t revision = bed_revision(&bed);
    unsigned committed = bed.gateway.committed;
    assert_int_equal(bed_run(&bed, order), CHANGE_INVALID);
    assert_problem_at(order, pointer);
    char *text = problems_to_text(&order->problems);
    if (!strstr(text, words)) fail_msg("no \"%s\" in: %s", words, text);
    assert_nothing_changed(state, revision, committed);
    free(text);
    free(state);
    change_order_destroy(order);
}

/* Not by the first route that comes along, whose writer has nothing to do with it. */
static void the_second_plugin_for_the_same_is_refused_before_there_is_a_route(void **state)
{
    assert_int_equal(create(RESOURCE_PLUGIN, CORS("c1", "a", "")), CHANGE_CREATED);
    assert_refused(CHANGE_CREATE, RESOURCE_PLUGIN, NULL, CORS("c2", "b", ""), "",
                   "plugin \"c2\": \"cors\" is there for all routes already, by plugin \"c1\"");
    assert_int_equal(create(RESOURCE_PLUGIN, CORS("c2", "b", ",\"enabled\":false")), CHANGE_CREATED);
    assert_refused(CHANGE_PATCH, RESOURCE_PLUGIN, "c2", "{\"enabled\":true}", "", "by plugin \"c1\"");
    assert_refused(CHANGE_WHOLE, 0, NULL, "{\"plugins\":[" CORS("c1", "a", "") "," CORS("c2", "b", "") "]}",
                   "/plugins/1", "\"c2\"");
    /* Whichever of them is written. */
    assert_int_equal(create(RESOURCE_SERVICE, ONE), CHANGE_CREATED);
    assert_int_equal(bed_do(&bed, CHANGE_PATCH, RESOURCE_PLUGIN, "c2", "{\"enabled\":true,\"services\":[\"one\"]}"),
                     CHANGE_UPDATED);
    assert_refused(CHANGE_PATCH, RESOURCE_PLUGIN, "c1", "{\"services\":[\"one\"]}", "",
                   "plugin \"c1\": \"cors\" is there for service \"one\" already, by plugin \"c2\"");
    /* What says the same is in nobody's way. */
    assert_int_equal(create(RESOURCE_PLUGIN, CORS("c3", "a", "")), CHANGE_CREATED);
}

#define COMPRESSION(name, service, config) \
    "{\"name\":\"compression\",\"instanceName\":\"" name "\",\"services\":[\"" service "\"],\"config\":{" config "}}"
#define CANARY "{\"split\":{\"canaryServiceId\":\"two\",\"canaryPercentage\":5}}"

static void a_canary_between_services_with_a_kind_each_is_judged_by_what_they_say(void **state)
{
    create_one_and_users();
    assert_int_equal(create(RESOURCE_SERVICE, "{\"name\":\"two\",\"instances\":[\"127.0.0.1:9002\"]}"), CHANGE_CREATED);
    assert_int_equal(create(RESOURCE_PLUGIN, COMPRESSION("c1", "one", "\"minBytes\":2000")), CHANGE_CREATED);
    assert_int_equal(create(RESOURCE_PLUGIN, COMPRESSION("c2", "two", "\"minBytes\":2000")), CHANGE_CREATED);
    assert_int_equal(bed_do(&bed, CHANGE_PATCH, RESOURCE_ROUTE, "users", CANARY), CHANGE_UPDATED);
    assert_refused(
        CHANGE_PATCH, RESOURCE_PLUGIN, "c2", "{\"config\":{\"minBytes\":3000}}", "",
        "route \"users\" ends in services with a \"compression\" each, by plugin \"c1\" and by plugin \"c2\"");
    assert_int_equal(bed_do(&bed, CHANGE_PATCH, RESOURCE_ROUTE, "users", "{\"split\":null}"), CHANGE_UPDATED);
    assert_int_equal(bed_do(&bed, CHANGE_PATCH, RESOURCE_PLUGIN, "c2", "{\"config\":{\"minBytes\":3000}}"),
                     CHANGE_UPDATED);
    assert_refused(CHANGE_PATCH, RESOURCE_ROUTE, "users", CANARY, "", "route \"users\" ends in services");
    assert_int_equal(bed_do(&bed, CHANGE_PATCH, RESOURCE_ROUTE, "users",
                            "{\"split\":{\"canaryServiceId\":\"two\",\"canaryPercentage\":5},"
                            "\"filters\":[{\"type\":\"compression\"}]}"),
                     CHANGE_UPDATED);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)
    const struct CMUnitTest tests[] = {
        TEST(a_created_resource_is_in_the_catalog_the_store_and_the_gateway),
        TEST(a_rate_limit_brings_the_routes_that_it_concerns),
        TEST(the_second_plugin_for_the_same_is_refused_before_there_is_a_route),
        TEST(a_canary_between_services_with_a_kind_each_is_judged_by_what_they_say),
        TEST(an_equal_put_makes_no_revision),
        TEST(a_put_changes_only_what_it_names),
        TEST(a_put_makes_what_is_not_there),
        TEST(a_patch_merges),
        TEST(what_is_not_there_is_not_found),
        TEST(a_taken_name_says_whose_it_is),
        TEST(etags_guard_against_the_editor_before),
        TEST(what_is_used_is_not_deleted_but_with_its_users),
        TEST(a_cascade_leaves_a_plugin_to_its_other_routes),
        TEST(what_a_policy_works_with_is_not_deleted_and_keeps_its_name),
        TEST(a_plugin_that_works_with_a_service_applies_where_it_says),
        TEST(a_new_name_is_written_where_the_old_one_stood),
        TEST(names_are_followed_wherever_they_stand),
        TEST(all_problems_are_told_where_they_are),
        TEST(what_the_gateway_cannot_compile_is_not_written),
        TEST(a_dry_run_says_what_would_be_and_changes_nothing),
        TEST(hostile_bodies_leave_everything_as_it_was),
        TEST(what_the_store_refuses_half_way_is_not_written_at_all),
        TEST(secrets_stay_where_the_body_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
