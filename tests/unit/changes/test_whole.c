/* Whole desired states, tags, rollbacks. */
#include "changes/changes_bed.h"

#include "base/memory.h"
#include "base/random.h"

#include <stdlib.h>
#include <unistd.h>

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

#define WHOLE                                                                                                     \
    "{\"services\":[{\"name\":\"one\",\"instances\":[\"127.0.0.1:9001\"]},"                                       \
    "{\"name\":\"two\",\"instances\":[\"127.0.0.1:9002\"]}],"                                                     \
    "\"routes\":[{\"name\":\"a\",\"path\":\"/a\",\"serviceId\":\"one\"},{\"path\":\"/b\",\"serviceId\":\"two\"}," \
    "{\"name\":\"c\",\"path\":\"/c\",\"respond\":{\"status\":204}}],"                                             \
    "\"plugins\":[{\"name\":\"security-headers\",\"services\":[\"one\"]}]}"

static void a_whole_state_is_put_at_once_and_equal_again(void **state)
{
    struct change_order *order = bed_order(CHANGE_WHOLE, 0, NULL, WHOLE);
    assert_int_equal(bed_run(&bed, order), CHANGE_UPDATED);
    assert_int_equal(order->created, 6);
    assert_int_equal(order->revision, 1);
    change_order_destroy(order);
    bed_check(&bed);
    order = bed_order(CHANGE_WHOLE, 0, NULL, WHOLE);
    assert_int_equal(bed_run(&bed, order), CHANGE_NOTHING);
    assert_int_equal(order->revision, 1);
    change_order_destroy(order);
}

static void what_the_whole_does_not_name_goes(void **state)
{
    assert_int_equal(bed_do(&bed, CHANGE_WHOLE, 0, NULL, WHOLE), CHANGE_UPDATED);
    struct catalog_entry *before = bed_find(&bed, RESOURCE_ROUTE, "a");
    struct change_order *order = bed_order(CHANGE_WHOLE, 0, NULL,
                                           "{\"services\":[{\"name\":\"one\",\"instances\":[\"127.0.0.1:9001\"]}],"
                                           "\"routes\":[{\"name\":\"a\",\"path\":\"/a2\",\"serviceId\":\"one\"}]}");
    assert_int_equal(bed_run(&bed, order), CHANGE_UPDATED);
    assert_int_equal(order->created, 0);
    assert_int_equal(order->updated, 1);
    assert_int_equal(order->deleted, 4);
    change_order_destroy(order);
    struct catalog_entry *after = bed_find(&bed, RESOURCE_ROUTE, "a");
    assert_slice_is(after->id, before->id.at);
    assert_int_equal(after->created_us, before->created_us);
    catalog_entry_drop(before);
    catalog_entry_drop(after);
}

static void one_mistake_keeps_all_of_it_out(void **state)
{
    assert_int_equal(bed_do(&bed, CHANGE_WHOLE, 0, NULL, WHOLE), CHANGE_UPDATED);
    char *before = bed_state(&bed);
    struct change_order *order = bed_order(
        CHANGE_WHOLE, 0, NULL,
        "{\"services\":[{\"name\":\"one\",\"instances\":[\"127.0.0.1:9001\"]},{\"name\":\"one\",\"instances\":[\"127.0.0.1:9001\"]}],"
        "\"routes\":[{\"path\":\"/x\",\"serviceId\":\"two\"},{\"path\":\"/y\",\"serviceId\":\"one\",\"priority\":\"high\"}],"
        "\"listeners\":[]}");
    assert_int_equal(bed_run(&bed, order), CHANGE_INVALID);
    assert_problem_at(order, "/services/1/name");
    assert_problem_at(order, "/routes/0/serviceId"); /* it is there, but not in what is wanted */
    assert_problem_at(order, "/routes/1/priority");
    assert_problem_at(order, "/listeners");
    change_order_destroy(order);
    char *after = bed_state(&bed);
    assert_string_equal(before, after);
    assert_int_equal(bed_revision(&bed), 1);
    free(before);
    free(after);
}

static void what_the_compiler_finds_is_told_where_the_body_has_it(void **state)
{
    bed.gateway.refuse = "c";
    struct change_order *order = bed_order(CHANGE_WHOLE, 0, NULL, WHOLE);
    assert_int_equal(bed_run(&bed, order), CHANGE_INVALID);
    assert_problem_at(order, "/routes/2/name");
    change_order_destroy(order);
    assert_int_equal(bed_revision(&bed), 0);
}

static void names_may_be_swapped(void **state)
{
    assert_int_equal(bed_do(&bed, CHANGE_WHOLE, 0, NULL, WHOLE), CHANGE_UPDATED);
    struct catalog_entry *one = bed_find(&bed, RESOURCE_SERVICE, "one"), *two = bed_find(&bed, RESOURCE_SERVICE, "two");
    char *body = memory_format("{\"services\":[{\"id\":\"%s\",\"name\":\"two\",\"instances\":[\"127.0.0.1:9001\"]},"
                               "{\"id\":\"%s\",\"name\":\"one\",\"instances\":[\"127.0.0.1:9002\"]}],"
                               "\"routes\":[{\"name\":\"a\",\"path\":\"/a\",\"serviceId\":\"one\"}]}",
                               one->id.at, two->id.at);
    assert_int_equal(bed_do(&bed, CHANGE_WHOLE, 0, NULL, body), CHANGE_UPDATED);
    struct catalog_entry *route = bed_find(&bed, RESOURCE_ROUTE, "a");
    assert_string_equal(route->references[0].id, two->id.at);
    char *stored = bed_store_state(&bed), *now = bed_state(&bed);
    assert_string_equal(stored, now);
    free(stored);
    free(now);
    free(body);
    catalog_entry_drop(route);
    catalog_entry_drop(one);
    catalog_entry_drop(two);
}

static void a_name_that_was_given_up_can_be_given_anew(void **state)
{
    assert_int_equal(bed_do(&bed, CHANGE_WHOLE, 0, NULL, WHOLE), CHANGE_UPDATED);
    assert_int_equal(bed_do(&bed, CHANGE_PATCH, RESOURCE_SERVICE, "one", "{\"name\":\"uno\"}"), CHANGE_UPDATED);
    assert_int_equal(bed_do(&bed, CHANGE_WHOLE, 0, NULL,
                            "{\"services\":[{\"name\":\"uno\",\"instances\":[\"127.0.0.1:1\"]},"
                            "{\"name\":\"one\",\"instances\":[\"127.0.0.1:2\"]}]}"),
                     CHANGE_UPDATED);
    struct catalog_entry *uno = bed_find(&bed, RESOURCE_SERVICE, "uno"), *one = bed_find(&bed, RESOURCE_SERVICE, "one");
    assert_false(slice_equal(uno->id, one->id));
    catalog_entry_drop(uno);
    catalog_entry_drop(one);
}

static enum change_outcome run_tagged(const char *body)
{
    struct change_order *order = bed_order(CHANGE_WHOLE, 0, NULL, body);
    order->tag = memory_copy_slice(SLICE("team"));
    enum change_outcome outcome = bed_run(&bed, order);
    change_order_destroy(order);
    return outcome;
}

static void a_tag_is_a_fence(void **state)
{
    assert_int_equal(bed_do(&bed, CHANGE_WHOLE, 0, NULL, WHOLE), CHANGE_UPDATED);
    assert_int_equal(
        run_tagged("{\"routes\":[{\"name\":\"t\",\"path\":\"/t\",\"serviceId\":\"one\",\"tags\":[\"x\",\"team\"]}]}"),
        CHANGE_UPDATED);
    assert_int_equal(catalog_count(changes_catalog(bed.changes), RESOURCE_ROUTE), 4);
    /* Without the tag; taking over what hasn't it; both refused. */
    assert_int_equal(run_tagged("{\"routes\":[{\"name\":\"u\",\"path\":\"/t\",\"serviceId\":\"one\"}]}"),
                     CHANGE_INVALID);
    assert_int_equal(
        run_tagged("{\"routes\":[{\"name\":\"a\",\"path\":\"/t\",\"serviceId\":\"one\",\"tags\":[\"team\"]}]}"),
        CHANGE_INVALID);
    assert_int_equal(run_tagged("{}"), CHANGE_UPDATED);
    assert_int_equal(catalog_count(changes_catalog(bed.changes), RESOURCE_ROUTE), 3);
    assert_int_equal(run_tagged("{}"), CHANGE_NOTHING);
    assert_int_equal(run_tagged("{\"apiKeys\":[]}"), CHANGE_NOTHING);
    assert_int_equal(run_tagged("{\"apiKeys\":[{\"clientName\":\"x\"}]}"), CHANGE_INVALID);
}

static void what_others_use_stays_behind_the_fence(void **state)
{
    assert_int_equal(
        run_tagged("{\"services\":[{\"name\":\"s\",\"instances\":[\"127.0.0.1:1\"],\"tags\":[\"team\"]}]}"),
        CHANGE_UPDATED);
    assert_int_equal(
        bed_do(&bed, CHANGE_CREATE, RESOURCE_ROUTE, NULL, "{\"name\":\"r\",\"path\":\"/r\",\"serviceId\":\"s\"}"),
        CHANGE_CREATED);
    struct change_order *order = bed_order(CHANGE_WHOLE, 0, NULL, "{}");
    order->tag = memory_copy_slice(SLICE("team"));
    assert_int_equal(bed_run(&bed, order), CHANGE_IN_USE);
    assert_int_equal(order->user_count, 1);
    assert_slice_is(order->users[0]->name, "r");
    change_order_destroy(order);
}

static void a_whole_is_guarded_by_the_revision(void **state)
{
    assert_int_equal(bed_do(&bed, CHANGE_WHOLE, 0, NULL, WHOLE), CHANGE_UPDATED);
    struct change_order *order = bed_order(CHANGE_WHOLE, 0, NULL, "{}");
    order->if_match = memory_copy_slice(SLICE("0"));
    assert_int_equal(bed_run(&bed, order), CHANGE_STALE);
    free(order->if_match);
    order->if_match = memory_copy_slice(SLICE("1"));
    assert_int_equal(bed_run(&bed, order), CHANGE_UPDATED);
    change_order_destroy(order);
}

/* --- rollback --- */

static void a_rollback_is_a_revision_of_its_own(void **state)
{
    assert_int_equal(bed_do(&bed, CHANGE_WHOLE, 0, NULL, WHOLE), CHANGE_UPDATED);
    char *before = bed_state(&bed);
    assert_int_equal(bed_do(&bed, CHANGE_DELETE, RESOURCE_ROUTE, "a", NULL), CHANGE_DELETED);
    struct change_order *order = bed_order(CHANGE_ROLLBACK, 0, "1", NULL);
    assert_int_equal(bed_run(&bed, order), CHANGE_UPDATED);
    assert_int_equal(order->created, 1);
    assert_int_equal(order->revision, 3);
    change_order_destroy(order);
    /* It was the oldest and is so again: it comes between. */
    assert_non_null(strstr(bed.gateway.changed, "whole"));
    char *after = bed_state(&bed);
    assert_string_equal(before, after);
    assert_int_equal(bed_do(&bed, CHANGE_ROLLBACK, 0, "3", NULL), CHANGE_NOTHING);
    assert_int_equal(bed_do(&bed, CHANGE_ROLLBACK, 0, "1", NULL), CHANGE_NOTHING);
    struct change_question *question = change_question_create();
    question->about = QUESTION_REVISION;
    question->target = memory_copy_slice(SLICE("3"));
    assert_int_equal(bed_ask(&bed, question), CHANGE_NOTHING);
    assert_non_null(strstr(question->document, "\"comment\":\"rollback to 1\""));
    change_question_destroy(question);
    free(before);
    free(after);
}

static const char *const names[] = { "n0", "n1", "n2", "n3", "n4", "n5" };

/* Any change there is, of things that use each other; many are refused, and that is right. */
static void change_something(struct random *random)
{
    const char *name = names[random_below(random, COUNT_OF(names))],
               *other = names[random_below(random, COUNT_OF(names))];
    enum resource_kind kind = random_below(random, 2) ? RESOURCE_ROUTE : RESOURCE_SERVICE;
    unsigned number = (unsigned)random_below(random, 1000);
    char *body = NULL;
    struct change_order *order = NULL;
    switch (random_below(random, 8)) {
    case 0:
    case 1:
    case 2:
        body = kind == RESOURCE_SERVICE
                   ? memory_format("{\"name\":\"%s\",\"instances\":[\"127.0.0.1:%u\"]}", name, number + 1)
                   : memory_format("{\"name\":\"%s\",\"path\":\"/%u\",\"serviceId\":\"%s\"}", name, number, other);
        order = bed_order(random_below(random, 2) ? CHANGE_CREATE : CHANGE_PUT, kind, name, body);
        break;
    case 3:
        body = memory_format("{\"name\":\"%s\",\"tags\":[\"t%u\"]}", other, number % 3);
        order = bed_order(CHANGE_PATCH, kind, name, body);
        break;
    case 4:
    case 5:
        order = bed_order(CHANGE_DELETE, kind, name, NULL);
        order->cascade = random_below(random, 2);
        break;
    case 6:
        body = memory_format("{\"name\":\"security-headers\",\"instanceName\":\"%s\",\"routes\":[\"%s\"]}", name,
                             other);
        order = bed_order(CHANGE_PUT, RESOURCE_PLUGIN, name, body);
        break;
    default:
        body = memory_format(
            "{\"services\":[{\"name\":\"%s\",\"instances\":[\"127.0.0.1:%u\"]}],\"routes\":[{\"name\":\"%s\","
            "\"path\":\"/w\",\"serviceId\":\"%s\"}]}",
            name, number + 1, other, name);
        order = bed_order(random_below(random, 3) ? CHANGE_PATCH : CHANGE_WHOLE, RESOURCE_ROUTE, name, body);
    }
    bed_run(&bed, order);
    change_order_destroy(order);
    free(body);
}

#define CHANGES 50

/* Each revision's documents and ages, byte for byte, from any later one. */
static void any_revision_comes_back_as_it_was(void **state)
{
    char *states[CHANGES + 1] = { [0] = bed_state(&bed) };
    struct random random;
    uint64_t seed = 20260;
    const char *given = getenv("SLUICE_TEST_SEED");
    if (given) seed = strtoull(given, NULL, 10);
    random_init_seeded(&random, seed);
    while (bed_revision(&bed) < CHANGES) {
        uint64_t before = bed_revision(&bed);
        change_something(&random);
        assert_true(bed_revision(&bed) <= before + 1);
        bed_check(&bed);
        if (bed_revision(&bed) > before) states[bed_revision(&bed)] = bed_state(&bed);
    }
    for (unsigned i = 0; i < CHANGES; i++) {
        uint64_t target = random_below(&random, CHANGES + 1);
        char *text = memory_format("%llu", (unsigned long long)target);
        struct change_order *order = bed_order(CHANGE_ROLLBACK, 0, text, NULL);
        enum change_outcome outcome = bed_run(&bed, order);
        if (outcome != CHANGE_UPDATED && outcome != CHANGE_NOTHING)
            fail_msg("seed %llu: to %s: %d: %s%s", (unsigned long long)seed, text, outcome, order->error.text,
                     problems_to_text(&order->problems));
        char *now = bed_state(&bed), *stored = bed_store_state(&bed);
        assert_string_equal(now, states[target]);
        assert_string_equal(stored, states[target]);
        bed_check(&bed);
        change_order_destroy(order);
        free(now);
        free(stored);
        free(text);
    }
    for (unsigned i = 0; i <= CHANGES; i++) free(states[i]);
}

/* --- history --- */

static void revisions_are_told_newest_first_in_pages(void **state)
{
    struct change_order *order = bed_order(CHANGE_WHOLE, 0, NULL, WHOLE);
    order->author = memory_copy_slice(SLICE("ann \"the\" admin"));
    order->source = memory_copy_slice(SLICE("127.0.0.1"));
    assert_int_equal(bed_run(&bed, order), CHANGE_UPDATED);
    change_order_destroy(order);
    assert_int_equal(bed_do(&bed, CHANGE_DELETE, RESOURCE_ROUTE, "a", NULL), CHANGE_DELETED);
    assert_int_equal(bed_do(&bed, CHANGE_PATCH, RESOURCE_ROUTE, "c", "{\"priority\":2}"), CHANGE_UPDATED);
    struct change_question *question = change_question_create();
    question->about = QUESTION_REVISIONS;
    question->limit = 2;
    assert_int_equal(bed_ask(&bed, question), CHANGE_NOTHING);
    assert_non_null(strstr(question->document, "{\"items\":[{\"revision\":3,"));
    assert_non_null(strstr(question->document, "\"nextCursor\":\"2\"}"));
    free(question->document);
    question->cursor = memory_copy_slice(SLICE("2"));
    assert_int_equal(bed_ask(&bed, question), CHANGE_NOTHING);
    assert_non_null(strstr(question->document, "{\"items\":[{\"revision\":1,"));
    assert_non_null(
        strstr(question->document, "\"author\":\"ann \\\"the\\\" admin\",\"source\":\"127.0.0.1\",\"comment\":null"));
    assert_non_null(strstr(question->document, "\"nextCursor\":null}"));
    free(question->document);
    question->document = NULL;
    free(question->cursor);
    question->cursor = memory_copy_slice(SLICE("none"));
    assert_int_equal(bed_ask(&bed, question), CHANGE_INVALID);
    question->about = QUESTION_REVISION;
    question->target = memory_copy_slice(SLICE("3"));
    assert_int_equal(bed_ask(&bed, question), CHANGE_NOTHING);
    assert_non_null(
        strstr(question->document, "\"difference\":[{\"pointer\":\"/priority\",\"before\":0,\"after\":2}]"));
    free(question->document);
    question->document = NULL;
    free(question->etag);
    question->etag = NULL;
    free(question->target);
    question->target = memory_copy_slice(SLICE("4"));
    assert_int_equal(bed_ask(&bed, question), CHANGE_NOT_FOUND);
    change_question_destroy(question);
}

/* --- without a gateway --- */

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void a_file_is_imported_once(void **state)
{
    char *file = memory_format("%s/import.yaml", bed.folder);
    write_file(file,
               "services:\n  - { name: one, instances: [\"127.0.0.1:9001\"] }\n"
               "routes:\n  - { name: a, path: /a, serviceId: one }\n  - { path: /b, respond: { status: 200 } }\n");
    char *location = memory_format("sqlite:%s/offline.db", bed.folder);
    struct error error;
    struct changes_options options = { .store = location, .folder = bed.folder, .kinds = &bed.kinds };
    for (unsigned run = 0; run < 3; run++) {
        struct changes *offline = changes_create_offline(&options, &bed_registry, &error);
        if (!offline) fail_msg("%s", error.text);
        struct change_order *order = bed_order(CHANGE_WHOLE, 0, NULL, NULL);
        order->file = memory_copy_slice(slice_from_cstring(file));
        order->dry_run = run == 0;
        changes_run(offline, order);
        if (order->outcome == CHANGE_INVALID) fail_msg("%s", problems_to_text(&order->problems));
        assert_int_equal(order->outcome, run < 2 ? CHANGE_UPDATED : CHANGE_NOTHING);
        assert_int_equal(order->created, run < 2 ? 3 : 0);
        assert_int_equal(catalog_revision(changes_catalog(offline)), run == 0 ? 0 : 1);
        change_order_destroy(order);
        changes_destroy(offline);
    }
    free(location);
    free(file);
}

static void a_file_means_by_a_name_what_has_it_already(void **state)
{
    (void)state;
    char *file = memory_format("%s/import.yaml", bed.folder);
    char *location = memory_format("sqlite:%s/offline.db", bed.folder);
    struct error error;
    struct changes_options options = { .store = location, .folder = bed.folder, .kinds = &bed.kinds };
    struct changes *offline = changes_create_offline(&options, &bed_registry, &error);
    if (!offline) fail_msg("%s", error.text);
    struct change_order *order = bed_order(CHANGE_CREATE, RESOURCE_ROUTE, NULL,
                                           "{\"name\":\"a\",\"path\":\"/a\",\"respond\":{\"status\":200}}");
    changes_run(offline, order);
    assert_int_equal(order->outcome, CHANGE_CREATED);
    char *id = memory_copy_slice(order->after->id);
    change_order_destroy(order);

    write_file(file, "routes:\n  - { name: a, path: /b, respond: { status: 200 } }\n");
    order = bed_order(CHANGE_WHOLE, 0, NULL, NULL);
    order->file = memory_copy_slice(slice_from_cstring(file));
    changes_run(offline, order);
    assert_int_equal(order->outcome, CHANGE_UPDATED);
    assert_int_equal(order->created, 0);
    assert_int_equal(order->updated, 1);
    assert_int_equal(order->deleted, 0);
    struct catalog_entry *entry = catalog_find(changes_catalog(offline), RESOURCE_ROUTE, SLICE("a"), NULL);
    assert_non_null(entry);
    assert_string_equal(entry->id.at, id);
    catalog_entry_drop(entry);
    change_order_destroy(order);
    changes_destroy(offline);
    free(id);
    free(location);
    free(file);
}

static void a_file_that_cannot_be_compiled_is_not_imported(void **state)
{
    char *file = memory_format("%s/import.yaml", bed.folder);
    write_file(
        file,
        "services:\n  - { name: one, protocol: https, tls: { ca: missing.pem }, instances: [\"127.0.0.1:9001\"] }\n"
        "routes:\n  - { name: a, path: /a, serviceId: one }\n");
    char *location = memory_format("sqlite:%s/offline.db", bed.folder);
    struct error error;
    struct changes_options options = { .store = location, .folder = bed.folder, .kinds = &bed.kinds };
    struct changes *offline = changes_create_offline(&options, &bed_registry, &error);
    struct change_order *order = bed_order(CHANGE_WHOLE, 0, NULL, NULL);
    order->file = memory_copy_slice(slice_from_cstring(file));
    changes_run(offline, order);
    assert_int_equal(order->outcome, CHANGE_INVALID);
    assert_true(order->problems.count > 0);
    assert_int_equal(catalog_revision(changes_catalog(offline)), 0);
    change_order_destroy(order);
    changes_destroy(offline);
    free(location);
    free(file);
}

static size_t count_of(const char *text, const char *wanted)
{
    size_t count = 0;
    for (; (text = strstr(text, wanted)) != NULL; text++) count++;
    return count;
}

/* A route whose answer is as long as a body may be, changed again and again. */
static void a_page_of_large_revisions_ends_early(void **state)
{
    enum { REVISIONS = 12 };
    char *long_text = memory_allocate(900001);
    memset(long_text, 'x', 900000);
    for (unsigned i = 0; i < REVISIONS; i++) {
        char *body = memory_format("{\"name\":\"r\",\"path\":\"/r\",\"respond\":{\"status\":200,\"body\":\"%u%s\"}}", i,
                                   long_text);
        enum change_outcome outcome = bed_do(&bed, CHANGE_PUT, RESOURCE_ROUTE, "r", body);
        assert_int_equal(outcome, i ? CHANGE_UPDATED : CHANGE_CREATED);
        free(body);
    }
    struct change_question *question = change_question_create();
    question->about = QUESTION_REVISIONS;
    question->limit = 1000;
    size_t told = 0, pages = 0;
    do {
        assert_int_equal(bed_ask(&bed, question), CHANGE_NOTHING);
        size_t here = count_of(question->document, "\"revision\":");
        assert_true(here > 0 && here < 6);
        told += here;
        pages++;
        const char *next = strstr(question->document, "\"nextCursor\":\"");
        free(question->cursor);
        question->cursor = next ? memory_copy_slice(slice_of(next + 14, strcspn(next + 14, "\""))) : NULL;
        free(question->document);
        question->document = NULL;
    } while (question->cursor);
    assert_int_equal(told, REVISIONS);
    assert_true(pages >= 3);
    change_question_destroy(question);
    free(long_text);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)
    const struct CMUnitTest tests[] = {
        TEST(a_whole_state_is_put_at_once_and_equal_again),
        TEST(what_the_whole_does_not_name_goes),
        TEST(one_mistake_keeps_all_of_it_out),
        TEST(what_the_compiler_finds_is_told_where_the_body_has_it),
        TEST(names_may_be_swapped),
        TEST(a_name_that_was_given_up_can_be_given_anew),
        TEST(a_tag_is_a_fence),
        TEST(what_others_use_stays_behind_the_fence),
        TEST(a_whole_is_guarded_by_the_revision),
        TEST(a_rollback_is_a_revision_of_its_own),
        TEST(any_revision_comes_back_as_it_was),
        TEST(revisions_are_told_newest_first_in_pages),
        TEST(a_file_is_imported_once),
        TEST(a_file_means_by_a_name_what_has_it_already),
        TEST(a_file_that_cannot_be_compiled_is_not_imported),
        TEST(a_page_of_large_revisions_ends_early),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
