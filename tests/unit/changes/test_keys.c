/* API keys: made, shown once, changed, rotated, revoked. */
#include "changes/changes_bed.h"

#include "base/clock.h"
#include "base/memory.h"
#include "keys/api_keys.h"

#include <stdlib.h>

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

static char *field(const char *document, const char *name)
{
    char *wanted = memory_format("\"%s\":\"", name);
    const char *at = strstr(document, wanted);
    char *value = at ? memory_copy_slice(slice_of(at + strlen(wanted), strcspn(at + strlen(wanted), "\""))) : NULL;
    free(wanted);
    return value;
}

static struct change_order *create(const char *body)
{
    struct change_order *order = bed_order(CHANGE_CREATE, RESOURCE_API_KEY, NULL, body);
    assert_int_equal(bed_run(&bed, order), CHANGE_CREATED);
    return order;
}

static char *create_id(const char *body)
{
    struct change_order *order = create(body);
    char *id = field(order->key_document, "id");
    change_order_destroy(order);
    return id;
}

static enum change_outcome ask(const char *id, char **document)
{
    struct change_question *question = change_question_create();
    question->about = QUESTION_API_KEY;
    question->target = memory_copy_slice(slice_from_cstring(id));
    enum change_outcome outcome = bed_ask(&bed, question);
    *document = question->document;
    question->document = NULL;
    change_question_destroy(question);
    return outcome;
}

static struct api_key_row found;
static void take_found(void *argument, const struct api_key_row *row)
{
    found = *row;
    *(unsigned *)argument += 1;
}

/* How the store has it, by the key's text. */
static unsigned find_in_store(const char *text)
{
    struct store_settings settings = { .location = bed.location };
    struct error error;
    struct store *store = store_open(&settings, &error);
    uint8_t hash[API_KEY_HASH_BYTES];
    unsigned count = 0;
    api_key_hash(slice_from_cstring(text), hash);
    assert_true(store_key_find(store, hash, &(struct api_key_visitor){ take_found, &count }, &error));
    store_close(store);
    return count;
}

static void a_key_is_shown_once_and_kept_as_a_hash(void **state)
{
    struct change_order *order = create(
        "{\"clientName\":\"shop\",\"scopes\":[\"read\",\"write\"],\"rateLimitTier\":\"premium\"}");
    assert_int_equal(strlen(order->secret), 43);
    assert_int_equal(find_in_store(order->secret), 1);
    assert_true(found.enabled);
    char *prefix = field(order->key_document, "keyPrefix"), *id = field(order->key_document, "id");
    char *client = field(order->key_document, "clientId"), *document;
    assert_memory_equal(prefix, order->secret, 8);
    assert_int_equal(strlen(prefix), 8);
    assert_int_equal(strlen(client), 36); /* made */
    assert_int_equal(ask(id, &document), CHANGE_NOTHING);
    assert_null(strstr(document, order->secret));
    assert_null(strstr(document, "hash"));
    assert_non_null(strstr(document, "\"scopes\":[\"read\",\"write\"],\"rateLimitTier\":\"premium\""));
    assert_int_equal(bed.keys_told, 1);
    assert_non_null(strstr(bed.keys, id));
    assert_int_equal(bed.gateway.prepared, 0);
    free(document);
    /* Nor does the history say more than that there is one. */
    struct change_question *question = change_question_create();
    question->about = QUESTION_REVISION;
    question->target = memory_copy_slice(SLICE("1"));
    assert_int_equal(bed_ask(&bed, question), CHANGE_NOTHING);
    assert_non_null(strstr(question->document, "\"kind\":\"api-keys\""));
    assert_null(strstr(question->document, "sha256"));
    change_question_destroy(question);
    change_order_destroy(order);
    free(prefix);
    free(id);
    free(client);
}

static void a_key_that_exists_elsewhere_comes_by_its_hash(void **state)
{
    const char *body = "{\"clientName\":\"old\",\"hash\":\"sha256:"
                       "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b\",\"keyPrefix\":\"secret\"}";
    struct change_order *order = create(body);
    assert_null(order->secret);
    assert_int_equal(find_in_store("secret"), 1);
    change_order_destroy(order);
    order = bed_order(CHANGE_CREATE, RESOURCE_API_KEY, NULL, body);
    assert_int_equal(bed_run(&bed, order), CHANGE_INVALID);
    assert_problem_at(order, "/hash");
    change_order_destroy(order);
}

static void a_key_is_changed_but_never_its_text(void **state)
{
    char *id = create_id("{\"clientName\":\"shop\"}");
    struct change_order *order = bed_order(
        CHANGE_PATCH, RESOURCE_API_KEY, id,
        "{\"enabled\":false,\"expiresAt\":\"2030-01-31T12:00:00.000125Z\",\"scopes\":[\"a\"]}");
    assert_int_equal(bed_run(&bed, order), CHANGE_UPDATED);
    assert_non_null(strstr(order->key_document, "\"enabled\":false"));
    assert_non_null(strstr(order->key_document, "\"expiresAt\":\"2030-01-31T12:00:00.000125Z\""));
    char *etag = memory_copy_slice(slice_from_cstring(order->key_etag));
    change_order_destroy(order);
    assert_int_equal(bed_do(&bed, CHANGE_PATCH, RESOURCE_API_KEY, id, "{\"enabled\":false}"), CHANGE_NOTHING);
    order = bed_order(CHANGE_PUT, RESOURCE_API_KEY, id, "{\"clientName\":\"shop two\"}");
    order->if_match = memory_copy_slice(SLICE("00000000000000000000000000000000"));
    assert_int_equal(bed_run(&bed, order), CHANGE_STALE);
    free(order->if_match);
    order->if_match = etag;
    assert_int_equal(bed_run(&bed, order), CHANGE_UPDATED);
    assert_non_null(strstr(order->key_document, "\"clientName\":\"shop two\""));
    assert_non_null(strstr(order->key_document, "\"expiresAt\":null"));
    change_order_destroy(order);
    order = bed_order(CHANGE_PATCH, RESOURCE_API_KEY, id,
                      "{\"hash\":\"sha256:2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b\"}");
    assert_int_equal(bed_run(&bed, order), CHANGE_INVALID);
    assert_problem_at(order, "/hash");
    change_order_destroy(order);
    free(id);
}

static void a_rotated_key_and_its_successor_are_both_good_for_a_while(void **state)
{
    struct change_order *first = create("{\"clientName\":\"shop\",\"scopes\":[\"a\"]}");
    char *id = field(first->key_document, "id"), *client = field(first->key_document, "clientId");
    uint64_t before_us = clock_wall_ns() / 1000;
    struct change_order *second = bed_order(CHANGE_ROTATE_KEY, RESOURCE_API_KEY, id, "{\"overlap\":60}");
    assert_int_equal(bed_run(&bed, second), CHANGE_CREATED);
    char *new_id = field(second->key_document, "id"), *new_client = field(second->key_document, "clientId");
    assert_string_equal(client, new_client);
    assert_string_not_equal(id, new_id);
    assert_string_not_equal(first->secret, second->secret);
    assert_int_equal(find_in_store(first->secret), 1);
    assert_true(found.replaces_until_us >= before_us + 60000000 && found.replaces_until_us < before_us + 70000000);
    assert_int_equal(find_in_store(second->secret), 1);
    assert_int_equal(found.replaces_until_us, 0);
    assert_int_equal(second->updated, 1);
    assert_int_equal(second->created, 1);
    assert_non_null(strstr(bed.keys, id));
    assert_non_null(strstr(bed.keys, new_id));
    struct change_order *again = bed_order(CHANGE_ROTATE_KEY, RESOURCE_API_KEY, id, NULL);
    assert_int_equal(bed_run(&bed, again), CHANGE_INVALID); /* it has one */
    change_order_destroy(again);
    const char *bodies[] = {
        "{\"overlap\":-1}", "{\"overlap\":\"x\"}", "{\"overlap\":1e30}", "{\"other\":1}", "[]", "7"
    };
    for (size_t i = 0; i < COUNT_OF(bodies); i++)
        assert_int_equal(bed_do(&bed, CHANGE_ROTATE_KEY, RESOURCE_API_KEY, new_id, bodies[i]), CHANGE_INVALID);
    assert_int_equal(bed_do(&bed, CHANGE_ROTATE_KEY, RESOURCE_API_KEY, new_id, "{"), CHANGE_UNREADABLE);
    assert_int_equal(bed_do(&bed, CHANGE_ROTATE_KEY, RESOURCE_API_KEY, new_id, NULL), CHANGE_CREATED);
    change_order_destroy(first);
    change_order_destroy(second);
    free(id);
    free(new_id);
    free(client);
    free(new_client);
}

/* Another instance's clock was a day ahead when it wrote; what comes after that is younger, but time is what it is. */
static void an_overlap_counts_by_the_clock(void **state)
{
    assert_int_equal(
        bed_do(&bed, CHANGE_CREATE, RESOURCE_SERVICE, NULL, "{\"name\":\"a\",\"instances\":[\"127.0.0.1:1\"]}"),
        CHANGE_CREATED);
    bed_run_sql(&bed, bed.is_postgres ? "UPDATE services SET created_at = created_at + interval '1 day'"
                                      : "UPDATE services SET created_at = created_at + 86400000000");
    bed_restart(&bed);
    struct change_order *first = create("{\"clientName\":\"shop\"}");
    char *id = field(first->key_document, "id");
    assert_int_equal(bed_do(&bed, CHANGE_ROTATE_KEY, RESOURCE_API_KEY, id, "{\"overlap\":0}"), CHANGE_CREATED);
    assert_int_equal(find_in_store(first->secret), 1);
    assert_true(found.replaces_until_us > 0 && found.replaces_until_us <= clock_wall_ns() / 1000);
    change_order_destroy(first);
    free(id);
}

static void a_revoked_key_is_gone(void **state)
{
    struct change_order *order = create("{\"clientName\":\"shop\"}");
    char *id = field(order->key_document, "id"), *document;
    assert_int_equal(bed_do(&bed, CHANGE_DELETE, RESOURCE_API_KEY, id, NULL), CHANGE_DELETED);
    assert_int_equal(find_in_store(order->secret), 0);
    assert_int_equal(ask(id, &document), CHANGE_NOT_FOUND);
    assert_int_equal(ask("shop", &document), CHANGE_NOT_FOUND);
    assert_int_equal(bed_do(&bed, CHANGE_DELETE, RESOURCE_API_KEY, id, NULL), CHANGE_NOT_FOUND);
    /* A rollback does not bring it back: what was revoked stays revoked. */
    assert_int_equal(bed_do(&bed, CHANGE_ROLLBACK, 0, "1", NULL), CHANGE_NOTHING);
    assert_int_equal(find_in_store(order->secret), 0);
    change_order_destroy(order);
    free(id);
}

static void a_dry_run_makes_no_key(void **state)
{
    struct change_order *order = bed_order(CHANGE_CREATE, RESOURCE_API_KEY, NULL, "{\"clientName\":\"shop\"}");
    order->dry_run = true;
    assert_int_equal(bed_run(&bed, order), CHANGE_CREATED);
    assert_null(order->secret);
    change_order_destroy(order);
    assert_int_equal(bed_revision(&bed), 0);
    assert_int_equal(bed.keys_told, 0);
}

static void keys_are_listed_in_pages(void **state)
{
    for (unsigned i = 0; i < 5; i++) {
        char *body = memory_format("{\"clientName\":\"c%u\",\"clientId\":\"%s\"}", i, i % 2 ? "odd" : "even");
        free(create_id(body));
        free(body);
    }
    struct change_question *question = change_question_create();
    question->about = QUESTION_API_KEYS;
    question->limit = 2;
    char *all = memory_copy_slice(SLICE("")), *cursor = NULL;
    unsigned pages = 0;
    do {
        free(question->document);
        question->document = NULL;
        assert_int_equal(bed_ask(&bed, question), CHANGE_NOTHING);
        char *longer = memory_format("%s%s", all, question->document);
        free(all);
        all = longer;
        cursor = field(question->document, "nextCursor");
        free(question->cursor);
        question->cursor = cursor;
        pages++;
    } while (cursor);
    assert_int_equal(pages, 3);
    for (unsigned i = 0; i < 5; i++) {
        char name[16];
        snprintf(name, sizeof name, "\"c%u\"", i);
        assert_non_null(strstr(all, name));
    }
    free(question->document);
    question->limit = 10;
    question->client_id = memory_copy_slice(SLICE("odd"));
    assert_int_equal(bed_ask(&bed, question), CHANGE_NOTHING);
    assert_null(strstr(question->document, "\"c0\""));
    assert_non_null(strstr(question->document, "\"c3\""));
    free(question->document);
    question->document = NULL;
    const char *cursors[] = { "12.x", "18446744073709551615.00000000-0000-4000-8000-00000000000a" };
    for (size_t i = 0; i < COUNT_OF(cursors); i++) {
        free(question->cursor);
        question->cursor = memory_copy_slice(slice_from_cstring(cursors[i]));
        assert_int_equal(bed_ask(&bed, question), CHANGE_INVALID);
    }
    change_question_destroy(question);
    free(all);
}

static void a_whole_state_brings_keys_and_takes_none(void **state)
{
#define KEYS                                                                      \
    "{\"apiKeys\":[{\"clientName\":\"old\",\"clientId\":\"c\",\"hash\":\"sha256:" \
    "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b\"}"
    free(create_id("{\"clientName\":\"kept\"}"));
    struct change_order *order = bed_order(CHANGE_WHOLE, 0, NULL, KEYS "]}");
    assert_int_equal(bed_run(&bed, order), CHANGE_UPDATED);
    assert_int_equal(order->created, 1);
    assert_int_equal(order->deleted, 0);
    change_order_destroy(order);
    assert_int_equal(bed_do(&bed, CHANGE_WHOLE, 0, NULL, KEYS "]}"), CHANGE_NOTHING);
    order = bed_order(CHANGE_WHOLE, 0, NULL, KEYS ",{\"clientName\":\"none\"}]}");
    assert_int_equal(bed_run(&bed, order), CHANGE_INVALID);
    assert_problem_at(order, "/apiKeys/1/hash");
    change_order_destroy(order);
    assert_int_equal(bed_do(&bed, CHANGE_WHOLE, 0, NULL, "{\"apiKeys\":{}}"), CHANGE_INVALID);
    assert_int_equal(bed_do(&bed, CHANGE_WHOLE, 0, NULL, "{\"apiKeys\":[{},7]}"), CHANGE_INVALID);
}

/* The head is locked meanwhile: others wait. */
static void a_list_of_many_keys_takes_time_by_its_length(void **state)
{
    enum { COUNT = 30000 };
    char *body = NULL;
    size_t length;
    FILE *out = open_memstream(&body, &length);
    fputs("{\"apiKeys\":[", out);
    for (unsigned i = 0; i < COUNT; i++)
        fprintf(out, "%s{\"clientName\":\"c\",\"hash\":\"sha256:%064x\"}", i ? "," : "", i + 1);
    fputs("]}", out);
    fclose(out);
    struct change_order *order = bed_order(CHANGE_WHOLE, 0, NULL, body);
    uint64_t begun_ns = clock_monotonic_ns();
    assert_int_equal(bed_run(&bed, order), CHANGE_UPDATED);
    assert_int_equal(order->created, COUNT);
    /* Comparing each with each took 50 s and more; so it takes one or two, and some more under a sanitizer. */
    assert_true(clock_monotonic_ns() - begun_ns < UINT64_C(25000000000));
    change_order_destroy(order);
    free(body);
}

static void a_key_that_is_listed_twice_is_told(void **state)
{
#define ONE "{\"id\":\"00000000-0000-4000-8000-00000000000a\",\"clientName\":\"a\",\"hash\":\"sha256:%064x\"}"
    char *twice[] = { memory_format("{\"apiKeys\":[" ONE "," ONE "]}", 1, 2), /* the id */
                      memory_format("{\"apiKeys\":[{\"clientName\":\"a\",\"hash\":\"sha256:%064x\"},"
                                    "{\"clientName\":\"b\",\"hash\":\"sha256:%064x\"}]}",
                                    3, 3) };
    for (size_t i = 0; i < COUNT_OF(twice); i++) {
        struct change_order *order = bed_order(CHANGE_WHOLE, 0, NULL, twice[i]);
        assert_int_equal(bed_run(&bed, order), CHANGE_INVALID);
        assert_problem_at(order, "/apiKeys/1");
        change_order_destroy(order);
        free(twice[i]);
    }
    assert_int_equal(bed_revision(&bed), 0);
}

static void hostile_keys_are_refused(void **state)
{
    const char *bodies[] = { "[]",
                             "{\"scopes\":\"a b\"}",
                             "{\"scopes\":[\"a\\u0000\"]}",
                             "{\"expiresAt\":\"soon\"}",
                             "{\"expiresAt\":1}",
                             "{\"rateLimitTier\":\"gold\"}",
                             "{\"hash\":\"sha256:00\"}",
                             "{\"hash\":7}",
                             "{\"id\":\"x\"}",
                             "{\"enabled\":\"perhaps\"}",
                             "{\"clientName\":\"\"}",
                             "{\"clientId\":{}}",
                             "{\"secret\":\"mine\"}" };
    for (size_t i = 0; i < COUNT_OF(bodies); i++) {
        struct change_order *order = bed_order(CHANGE_CREATE, RESOURCE_API_KEY, NULL, bodies[i]);
        enum change_outcome outcome = bed_run(&bed, order);
        if (outcome != CHANGE_INVALID && outcome != CHANGE_UNREADABLE) fail_msg("%s: %d", bodies[i], outcome);
        assert_null(order->secret);
        change_order_destroy(order);
    }
    assert_int_equal(bed_revision(&bed), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)
    const struct CMUnitTest tests[] = {
        TEST(a_key_is_shown_once_and_kept_as_a_hash),
        TEST(a_key_that_exists_elsewhere_comes_by_its_hash),
        TEST(a_key_is_changed_but_never_its_text),
        TEST(a_rotated_key_and_its_successor_are_both_good_for_a_while),
        TEST(an_overlap_counts_by_the_clock),
        TEST(a_revoked_key_is_gone),
        TEST(a_dry_run_makes_no_key),
        TEST(keys_are_listed_in_pages),
        TEST(a_whole_state_brings_keys_and_takes_none),
        TEST(a_list_of_many_keys_takes_time_by_its_length),
        TEST(a_key_that_is_listed_twice_is_told),
        TEST(hostile_keys_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
