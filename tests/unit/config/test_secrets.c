/* Secrets: never shown, kept when what was shown is sent back, looked up where they are references. */
#include "base/memory.h"
#include "config/document_properties.h"
#include "config/kinds.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <unistd.h>

#include <cmocka.h>

/* SHA-256 of "hunter2": f52fbd32b2b3b86ff88ef6c490628285f482af15ddcb29541f94bcf526a3f6c7 */
#define HIDDEN "{\"$secret\":\"sha256:f52fbd32b2b3b86f\"}"
/* And of "https://a/b?key=hunter2". */
#define LINK_HIDDEN "{\"$secret\":\"sha256:4f845b51aad1698c\"}"
#define ROUTE(filters) "{\"path\":\"/a\",\"respond\":{},\"filters\":[" filters "]}"

static char *document_of(enum resource_kind kind, const char *text)
{
    char *document = NULL;
    assert_true(check_resource_properties(kind, slice_from_cstring(text), &test_kinds, &document));
    return document;
}

static char *shown(enum resource_kind kind, const char *document)
{
    struct arena arena;
    arena_init(&arena, NULL);
    char *text = memory_copy_slice(resource_hide_secrets(&arena, kind, &test_kinds, slice_from_cstring(document)));
    arena_release(&arena);
    return text;
}

static void expect_hidden(enum resource_kind kind, const char *text)
{
    char *document = document_of(kind, text), *told = shown(kind, document);
    assert_non_null(strstr(document, "hunter2"));
    assert_null(strstr(told, "hunter2"));
    assert_non_null(strstr(told, HIDDEN));
    free(document);
    free(told);
}

static void secrets_of_filters_and_plugins_are_shown_as_their_hash(void **state)
{
    expect_hidden(RESOURCE_ROUTE,
                  ROUTE("{\"type\":\"cors\",\"origins\":[]},{\"type\":\"everything\",\"key\":\"hunter2\"}"));
    expect_hidden(RESOURCE_PLUGIN, "{\"name\":\"everything\",\"config\":{\"key\":\"hunter2\"}}");
}

static void what_is_no_secret_stays(void **state)
{
    char *document = document_of(RESOURCE_PLUGIN,
                                 "{\"name\":\"everything\",\"config\":{\"id\":\"hunter2\",\"key\":\"${env:KEY}\"}}");
    char *told = shown(RESOURCE_PLUGIN, document);
    assert_string_equal(told, document);
    free(document);
    free(told);
}

/* A link is one with a query alone: others are read back as they are. */
static void a_text_that_may_hold_a_secret_is_hidden_where_it_does(void **state)
{
    char *document = document_of(
        RESOURCE_PLUGIN, "{\"name\":\"everything\",\"config\":{\"key\":\"${env:KEY}\",\"link\":\"https://a/b\"}}");
    char *told = shown(RESOURCE_PLUGIN, document);
    assert_string_equal(told, document);
    free(document);
    free(told);
    document = document_of(RESOURCE_ROUTE, ROUTE("{\"type\":\"everything\",\"link\":\"https://a/b?key=hunter2\"}"));
    told = shown(RESOURCE_ROUTE, document);
    assert_null(strstr(told, "hunter2"));
    assert_non_null(strstr(told, "\"link\":" LINK_HIDDEN));
    free(document);
    free(told);
}

static void a_damaged_document_shows_nothing(void **state)
{
    char *told = shown(RESOURCE_PLUGIN, "{\"name\":\"everything\",\"config\":{\"key\":\"hunter2\"}");
    assert_string_equal(told, "{}");
    free(told);
}

/* Written by a version that knows more kinds. */
static void of_an_unknown_kind_everything_is_a_secret(void **state)
{
    char *told = shown(RESOURCE_PLUGIN, "{\"name\":\"later\",\"config\":{\"a\":{\"b\":[\"hunter2\"]},\"c\":7}}");
    assert_null(strstr(told, "hunter2"));
    assert_non_null(strstr(told, HIDDEN));
    free(told);
}

/* --- sent back --- */

static void send_back(enum resource_kind kind, const char *text, const char *before, const char *expected)
{
    struct reader reader;
    struct resource resource;
    reader_init(&reader, &test_kinds);
    struct node *root = node_read_json(&reader.arena, slice_from_cstring(text), NULL, &reader.problems);
    assert_non_null(root);
    resource_keep_secrets(&reader.reading, kind, root, slice_from_cstring(before));
    char *told = NULL;
    if (resource_read(&reader.reading, kind, root, SLICE_ABSENT, NULL, &resource))
        told = memory_copy_slice(resource_write_document(&reader.reading, &resource));
    else
        told = problems_to_text(&reader.problems);
    if (!strstr(told, expected)) print_error("%s\nhas no\n%s\n", told, expected);
    assert_non_null(strstr(told, expected));
    free(told);
    reader_release(&reader);
}

static void a_hash_that_is_sent_back_keeps_its_secret_wherever_it_moved(void **state)
{
    char *before = document_of(RESOURCE_ROUTE, ROUTE("{\"type\":\"everything\",\"key\":\"hunter2\"},"
                                                     "{\"type\":\"everything\",\"key\":\"hush\"}"));
    send_back(RESOURCE_ROUTE,
              ROUTE("{\"type\":\"add-header\",\"name\":\"A\",\"value\":\"1\"},"
                    "{\"type\":\"everything\",\"key\":" HIDDEN "}"),
              before, "\"key\":\"hunter2\"");
    free(before);
}

static void a_hash_of_no_secret_is_a_problem_at_its_place(void **state)
{
    const char *expected = "/filters/0/key: \"key\" is the hash of no secret that stands here (write it, or send back "
                           "unchanged what was shown)\n";
    char *before = document_of(RESOURCE_ROUTE, ROUTE("{\"type\":\"everything\",\"key\":\"other\"}"));
    send_back(RESOURCE_ROUTE, ROUTE("{\"type\":\"everything\",\"key\":" HIDDEN "}"), before, expected);
    send_back(RESOURCE_ROUTE, ROUTE("{\"type\":\"everything\",\"key\":" HIDDEN "}"), NULL, expected);
    send_back(RESOURCE_ROUTE, ROUTE("{\"type\":\"everything\",\"key\":{\"$secret\":7}}"), before, expected);
    free(before);
}

/* Else it could be read there by the next GET. */
static void a_secret_is_never_put_where_none_belongs(void **state)
{
    char *before = document_of(RESOURCE_ROUTE, ROUTE("{\"type\":\"everything\",\"key\":\"hunter2\"}"));
    send_back(RESOURCE_ROUTE, ROUTE("{\"type\":\"everything\",\"id\":" HIDDEN "}"), before,
              "/filters/0/id: \"id\" must be a text, not a map");
    send_back(RESOURCE_ROUTE, "{\"path\":\"/a\",\"respond\":{\"body\":" HIDDEN "}}", before,
              "/respond/body: \"body\" must be a text, not a map");
    send_back(RESOURCE_ROUTE, "{\"path\":\"/a\",\"respond\":{\"headers\":{\"X\":" HIDDEN "}}}", before,
              "must be a text, not a map");
    free(before);
}

/* The other secret's text would be none there. */
static void a_link_is_kept_by_its_hash_and_takes_no_other_secret(void **state)
{
    char *before = document_of(
        RESOURCE_ROUTE, ROUTE("{\"type\":\"everything\",\"key\":\"hunter2\",\"link\":\"https://a/b?key=hunter2\"}"));
    send_back(RESOURCE_ROUTE, ROUTE("{\"type\":\"everything\",\"link\":" LINK_HIDDEN "}"), before,
              "\"link\":\"https://a/b?key=hunter2\"");
    send_back(RESOURCE_ROUTE, ROUTE("{\"type\":\"everything\",\"link\":" HIDDEN "}"), before,
              "/filters/0/link: \"link\" is the hash of no secret that stands here");
    free(before);
}

static void a_secret_stands_in_no_message(void **state)
{
    struct reader reader;
    struct resource resource;
    const char *text = "{\"name\":\"everything\",\"config\":{\"key\":[\"hunter2\"],\"id\":1.5}}";
    reader_init(&reader, &test_kinds);
    struct node *root = node_read_json(&reader.arena, slice_from_cstring(text), NULL, &reader.problems);
    assert_false(resource_read(&reader.reading, RESOURCE_PLUGIN, root, SLICE_ABSENT, NULL, &resource));
    char *told = problems_to_text(&reader.problems);
    assert_null(strstr(told, "hunter2"));
    free(told);
    reader_release(&reader);
}

/* --- differences --- */

static void expect_difference(enum resource_kind kind, const char *before, const char *after, const char *expected)
{
    struct arena arena;
    arena_init(&arena, NULL);
    struct slice told = resource_difference(&arena, kind, &test_kinds, slice_from_cstring(before),
                                            slice_from_cstring(after));
    assert_string_equal(told.at, expected);
    arena_release(&arena);
}

static void differences_say_what_changed_and_no_secret(void **state)
{
    expect_difference(
        RESOURCE_PLUGIN,
        "{\"name\":\"everything\",\"config\":{\"key\":\"a\",\"number\":1},\"routes\":[\"x\",\"y\"],\"tags\":[\"t\"]}",
        "{\"name\":\"everything\",\"config\":{\"key\":\"hunter2\",\"number\":1},\"routes\":[\"x\",\"z\"],"
        "\"priority\":3}",
        "[{\"pointer\":\"/config/key\",\"before\":{\"$secret\":\"sha256:ca978112ca1bbdca\"},\"after\":" HIDDEN "},"
        "{\"pointer\":\"/routes/1\",\"before\":\"y\",\"after\":\"z\"},"
        "{\"pointer\":\"/tags\",\"before\":[\"t\"],\"after\":null},"
        "{\"pointer\":\"/priority\",\"before\":null,\"after\":3}]");
}

static void what_comes_and_goes_is_one_difference(void **state)
{
    const char *document = "{\"name\":\"everything\",\"config\":{\"key\":\"hunter2\"}}";
    const char *told = "{\"name\":\"everything\",\"config\":{\"key\":" HIDDEN "}}";
    char *came = memory_format("[{\"pointer\":\"\",\"before\":null,\"after\":%s}]", told);
    char *went = memory_format("[{\"pointer\":\"\",\"before\":%s,\"after\":null}]", told);
    expect_difference(RESOURCE_PLUGIN, NULL, document, came);
    expect_difference(RESOURCE_PLUGIN, document, NULL, went);
    expect_difference(RESOURCE_PLUGIN, NULL, NULL, "[]");
    free(came);
    free(went);
}

/* --- references --- */

static char *resolved(const char *written, const char *folder, struct error *error)
{
    struct arena arena;
    struct slice value;
    arena_init(&arena, NULL);
    bool ok = resource_resolve_secret(&arena, slice_from_cstring(written), folder, &value, error);
    char *copy = ok ? memory_copy_slice(value) : NULL;
    arena_release(&arena);
    return copy;
}

static void expect_resolved(const char *written, const char *folder, const char *expected)
{
    struct error error = { 0 };
    char *value = resolved(written, folder, &error);
    if (!value) print_error("%s\n", error.text);
    assert_non_null(value);
    assert_string_equal(value, expected);
    free(value);
}

static void expect_unresolved(const char *written, const char *folder, const char *words)
{
    struct error error = { 0 };
    assert_null(resolved(written, folder, &error));
    assert_non_null(strstr(error.text, words));
}

static void references_are_looked_up_when_they_are_needed(void **state)
{
    char folder[] = "/tmp/sluice-secrets-XXXXXX";
    assert_non_null(mkdtemp(folder));
    char *path = memory_format("%s/key", folder), *absolute = memory_format("${file:%s}", path);
    FILE *file = fopen(path, "w");
    fputs("hunter2\n\r\n", file);
    fclose(file);
    setenv("SLUICE_TEST_SECRET", "from outside", 1);
    expect_resolved("plain", folder, "plain");
    expect_resolved("${env:SLUICE_TEST_SECRET}", folder, "from outside");
    expect_resolved("${file:key}", folder, "hunter2");
    expect_resolved(absolute, "/", "hunter2");
    expect_unresolved("${env:SLUICE_TEST_NOT_THERE}", folder, "no environment variable SLUICE_TEST_NOT_THERE");
    expect_unresolved("${file:other}", folder, "other cannot be read: no such file");
    expect_unresolved("${file:.}", folder, "cannot be read: is a directory");
    expect_unresolved("${file:/dev/zero}", folder, "larger than 1 MiB");
    unlink(path);
    rmdir(folder);
    free(absolute);
    free(path);
}

static void only_a_whole_text_is_a_reference(void **state)
{
    static const char *const none[] = { "",          "x",        "${env:}",    "${env:A B}", "${env:1A}", "a${env:A}",
                                        "${env:A}b", "${file:}", "${path.id}", "${env:A",    "$${env:A}" };
    for (size_t i = 0; i < COUNT_OF(none); i++) {
        if (resource_secret_is_reference(slice_from_cstring(none[i]))) fail_msg("taken: %s", none[i]);
    }
    assert_true(resource_secret_is_reference(SLICE("${env:_A1}")));
    assert_true(resource_secret_is_reference(SLICE("${file:a b}")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(secrets_of_filters_and_plugins_are_shown_as_their_hash),
        cmocka_unit_test(what_is_no_secret_stays),
        cmocka_unit_test(a_text_that_may_hold_a_secret_is_hidden_where_it_does),
        cmocka_unit_test(a_damaged_document_shows_nothing),
        cmocka_unit_test(of_an_unknown_kind_everything_is_a_secret),
        cmocka_unit_test(a_hash_that_is_sent_back_keeps_its_secret_wherever_it_moved),
        cmocka_unit_test(a_hash_of_no_secret_is_a_problem_at_its_place),
        cmocka_unit_test(a_secret_is_never_put_where_none_belongs),
        cmocka_unit_test(a_link_is_kept_by_its_hash_and_takes_no_other_secret),
        cmocka_unit_test(a_secret_stands_in_no_message),
        cmocka_unit_test(differences_say_what_changed_and_no_secret),
        cmocka_unit_test(what_comes_and_goes_is_one_difference),
        cmocka_unit_test(references_are_looked_up_when_they_are_needed),
        cmocka_unit_test(only_a_whole_text_is_a_reference),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
