/* How services' instances are spoken to: what is the same for several is made once, and what changed is made anew. */
#include "snapshot/builder_bed.h"

#include "base/memory.h"
#include "event/certificates.h"
#include "upstream/service.h"

#include <openssl/pem.h>
#include <stdlib.h>
#include <unistd.h>

static struct builder_bed bed;
static char folder[32];
static char *authorities; /* a file */
static struct vector texts;

static void write_authorities(const char *name)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = make_certificate(key, name);
    FILE *file = fopen(authorities, "w");
    assert_non_null(file);
    assert_int_equal(PEM_write_X509(file, certificate), 1);
    assert_int_equal(fclose(file), 0);
    X509_free(certificate);
    EVP_PKEY_free(key);
}

static int set_up(void **state)
{
    memcpy(folder, "/tmp/sluice-test-XXXXXX", 24);
    if (!mkdtemp(folder)) return -1;
    authorities = memory_format("%s/ca.pem", folder);
    write_authorities("first");
    vector_init(&texts, sizeof(char *));
    bed_start(&bed);
    return 0;
}

static int tear_down(void **state)
{
    bed_stop(&bed);
    for (size_t i = 0; i < texts.count; i++) free(vector_pointer_at(&texts, i));
    vector_release(&texts);
    unlink(authorities);
    free(authorities);
    return rmdir(folder);
}

/* Services "one" and "two", at /1 and /2, with these fields. NULL: there were problems. */
static struct snapshot *try_load(const char *one, const char *two)
{
    char *text = memory_format(
        "services:\n"
        "  - { name: one, instances: [\"127.0.0.1:9001\"], %s }\n"
        "  - { name: two, instances: [\"127.0.0.1:9002\"], %s }\n"
        "routes: [{ name: one, path: /1, serviceId: one }, { name: two, path: /2, serviceId: two }]\n",
        one, two);
    struct snapshot *snapshot = bed_try_load_whole(&bed, text);
    free(text);
    return snapshot;
}

static struct snapshot *load(const char *one, const char *two)
{
    struct snapshot *snapshot = try_load(one, two);
    if (!snapshot) fail_msg("%s", problems_to_text(&bed.problems));
    return snapshot;
}

/* Whose `ca` is the file. Freed by tear_down. */
static const char *https(const char *more_of_tls, const char *more)
{
    char *fields = memory_format("protocol: https, tls: { ca: %s%s }%s", authorities, more_of_tls, more);
    vector_push_pointer(&texts, fields);
    return fields;
}

static const struct transport *transport_at(const struct snapshot *snapshot, const char *path)
{
    const struct service *service = bed_service(&bed, snapshot, path);
    assert_non_null(service);
    return service->transport;
}

static void equal_settings_are_one_transport(void **state)
{
    struct snapshot *plain = load("protocol: http", "httpVersion: 1");
    assert_ptr_equal(transport_at(plain, "/1"), transport_at(plain, "/2"));
    assert_null(transport_at(plain, "/1")->tls);
    const char *fields = https(", serverName: a.internal", "");
    struct snapshot *tls = load(fields, fields);
    assert_ptr_equal(transport_at(tls, "/1"), transport_at(tls, "/2"));
    assert_non_null(transport_at(tls, "/1")->tls);
    assert_string_equal(transport_at(tls, "/1")->server_name, "a.internal");
    snapshot_destroy(plain);
}

static void each_setting_makes_another_one(void **state)
{
    const char *const fields[] = {
        "protocol: http",
        "httpVersion: 2",
        "proxyProtocol: v1",
        "proxyProtocol: v2",
        https("", ""),
        https(", serverName: a.internal", ""),
        https(", serverName: b.internal", ""),
        "protocol: https, tls: { verify: false }",
        https(", minVersion: \"1.3\"", ""),
        https("", ", httpVersion: 1"),
        https("", ", httpVersion: 2"),
        https("", ", proxyProtocol: v2"),
        "protocol: https",
    };
    struct snapshot *last = load(fields[0], fields[0]);
    for (size_t i = 0; i < COUNT_OF(fields); i++) {
        for (size_t j = i + 1; j < COUNT_OF(fields); j++) {
            struct snapshot *next = load(fields[i], fields[j]);
            assert_ptr_not_equal(transport_at(next, "/1"), transport_at(next, "/2"));
            snapshot_destroy(last);
            last = next;
        }
    }
}

/* For what can't go by HTTP/2. */
static void where_the_instance_chooses_there_is_one_for_http_1_alone(void **state)
{
    struct snapshot *snapshot = load(https("", ""), https("", ", httpVersion: 1"));
    const struct transport *chosen = transport_at(snapshot, "/1"), *fixed = transport_at(snapshot, "/2");
    assert_int_equal(chosen->version, TRANSPORT_CHOSEN);
    assert_ptr_equal(chosen->http_1, fixed);
    assert_null(fixed->http_1);
    struct snapshot *next = load("protocol: http", "httpVersion: 2");
    assert_null(transport_at(next, "/1")->http_1);
    snapshot_destroy(snapshot);
}

/* Connections go on over one that stays; whoever uses an old one keeps it. */
static void a_reload_makes_only_what_changed(void **state)
{
    const char *fields = https("", "");
    struct snapshot *first = load(fields, "httpVersion: 2"), *second = load(fields, "httpVersion: 2");
    assert_ptr_equal(transport_at(first, "/1"), transport_at(second, "/1"));
    assert_ptr_equal(bed_service(&bed, first, "/1"), bed_service(&bed, second, "/1"));
    write_authorities("second"); /* the configuration says what it said */
    struct snapshot *third = load(fields, "httpVersion: 2");
    assert_ptr_not_equal(transport_at(second, "/1"), transport_at(third, "/1"));
    assert_ptr_equal(transport_at(second, "/2"), transport_at(third, "/2"));
    assert_ptr_equal(bed_service(&bed, second, "/2"), bed_service(&bed, third, "/2"));
    snapshot_destroy(first);
    assert_non_null(transport_at(second, "/1")->tls);
    snapshot_destroy(second);
}

static void assert_told(const char *words)
{
    char *told = problems_to_text(&bed.problems);
    if (!strstr(told, words)) fail_msg("%s is not in: %s", words, told);
    free(told);
}

static void a_file_that_cannot_be_used_is_told_with_its_place(void **state)
{
    struct snapshot *good = load(https("", ""), "httpVersion: 2");
    unlink(authorities);
    assert_null(try_load(https("", ""), "httpVersion: 2"));
    assert_told("test.yaml:3:");
    assert_told(authorities);
    FILE *file = fopen(authorities, "w");
    assert_non_null(file);
    assert_int_equal(fclose(file), 0);
    assert_null(try_load("httpVersion: 2", https("", "")));
    assert_told("test.yaml:4:");
    assert_string_equal(bed_answer(&bed, good, "/1"), "one");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(equal_settings_are_one_transport),
        CASE(each_setting_makes_another_one),
        CASE(where_the_instance_chooses_there_is_one_for_http_1_alone),
        CASE(a_reload_makes_only_what_changed),
        CASE(a_file_that_cannot_be_used_is_told_with_its_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
