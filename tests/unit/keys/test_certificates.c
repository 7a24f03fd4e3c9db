/* Certificates that are written in the configuration itself: what is good, what is said of what isn't, and that no key is in it. */
#include "unit_test.h"

#include "base/memory.h"
#include "event/certificates.h"
#include "keys/certificates.h"

#include <openssl/pem.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct own_texts {
    char *certificate, *key;
};

static struct problems problems;
static struct own_texts one, other;

static char *text_of(BIO *bio)
{
    char *bytes;
    long length = BIO_get_mem_data(bio, &bytes);
    char *text = memory_copy_slice(slice_of(bytes, (size_t)length));
    BIO_free(bio);
    return text;
}

static struct own_texts make_pair(const char *name)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = make_certificate(key, name);
    BIO *certificate_bio = BIO_new(BIO_s_mem()), *key_bio = BIO_new(BIO_s_mem());
    assert_int_equal(PEM_write_bio_X509(certificate_bio, certificate), 1);
    assert_int_equal(PEM_write_bio_PrivateKey(key_bio, key, NULL, NULL, 0, NULL, NULL), 1);
    X509_free(certificate);
    EVP_PKEY_free(key);
    return (struct own_texts){ text_of(certificate_bio), text_of(key_bio) };
}

static int set_up(void **state)
{
    problems_init(&problems, NULL);
    one = make_pair("one.test");
    other = make_pair("other.test");
    return 0;
}

static int tear_down(void **state)
{
    char *told = problems_to_text(&problems);
    assert_null(strstr(told, "PRIVATE KEY-----\nM"));
    free(told);
    problems_release(&problems);
    free(one.certificate);
    free(one.key);
    free(other.certificate);
    free(other.key);
    return 0;
}

static struct certificate *read_pair(const char *certificate, const char *key, const char *ocsp)
{
    const struct certificate_texts texts = { slice_from_cstring(certificate), slice_from_cstring(key),
                                             ocsp ? slice_from_cstring(ocsp) : SLICE_ABSENT };
    return certificate_read_texts(&texts, NULL, &problems);
}

static void assert_refused(const char *certificate, const char *key, const char *ocsp, const char *words)
{
    size_t before = problems.count;
    assert_null(read_pair(certificate, key, ocsp));
    assert_int_equal(problems.count, before + 1);
    const struct problem *problem = vector_at(&problems.list, problems.list.count - 1);
    assert_non_null(strstr(problem->message, words));
}

static void a_certificate_and_its_key_are_read_with_their_names(void **state)
{
    struct certificate *certificate = read_pair(one.certificate, one.key, NULL);
    assert_non_null(certificate);
    assert_string_equal(certificate_name(certificate), "one.test");
    assert_true(certificate->not_after > time(NULL));
    assert_int_equal(problems.count, 0);
    certificate_destroy(certificate);
}

static void what_follows_the_first_is_its_chain(void **state)
{
    char *both = memory_format("%s%s", one.certificate, other.certificate);
    struct certificate *certificate = read_pair(both, one.key, NULL);
    assert_non_null(certificate);
    assert_int_equal(sk_X509_num(certificate->chain), 1);
    certificate_destroy(certificate);
    free(both);
}

static void what_cannot_be_used_is_told_and_no_key_with_it(void **state)
{
    char *cut = memory_copy_slice(slice_before(slice_from_cstring(one.certificate), strlen(one.certificate) / 2));
    char *damaged = memory_format("%s%s", one.certificate, cut);
    assert_refused(one.certificate, other.key, NULL, "\"key\" is not the key of \"certificate\"");
    assert_refused("", one.key, NULL, "\"certificate\" holds no certificate in PEM");
    assert_refused(one.key, one.key, NULL, "\"certificate\" holds no certificate in PEM");
    assert_refused(cut, one.key, NULL, "\"certificate\" holds no certificate in PEM");
    assert_refused(damaged, one.key, NULL, "what follows the first one is damaged");
    assert_refused(one.certificate, one.certificate, NULL, "\"key\" holds no private key in PEM");
    assert_refused(one.certificate, "-----BEGIN PRIVATE KEY-----\n", NULL, "\"key\" holds no private key in PEM");
    assert_refused(one.certificate, one.key, "not base64 at all!", "\"ocsp\" is not");
    assert_refused(one.certificate, one.key, "AAAA", "\"ocsp\" is not a successful response in DER");
    free(damaged);
    free(cut);
}

static void a_passphrase_is_not_asked_for_but_told(void **state)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    BIO *bio = BIO_new(BIO_s_mem());
    assert_int_equal(PEM_write_bio_PrivateKey(bio, key, EVP_aes_128_cbc(), NULL, 0, NULL, (void *)(uintptr_t) "secret"),
                     1);
    EVP_PKEY_free(key);
    char *text = text_of(bio);
    assert_refused(one.certificate, text, NULL, "\"key\" has a passphrase");
    free(text);
}

/* A pipe that nobody writes into would hold a reader for ever; the alarm would end the test. */
static void what_is_no_file_is_not_waited_for(void **state)
{
    char folder[] = "/tmp/sluice-certificates-XXXXXX";
    assert_non_null(mkdtemp(folder));
    char *path = memory_format("%s/pipe", folder);
    assert_int_equal(mkfifo(path, 0600), 0);
    const char *paths[] = { path, "/dev/zero", "/dev/tty", "/proc/kmsg", folder };
    alarm(10);
    for (size_t i = 0; i < COUNT_OF(paths); i++) {
        size_t before = problems.count;
        struct slice bytes = certificate_file_read(slice_from_cstring(paths[i]), "ca", NULL, &problems);
        if (problems.count != before + 1 || !slice_is_absent(bytes)) fail_msg("%s", paths[i]);
    }
    alarm(0);
    unlink(path);
    rmdir(folder);
    free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        TEST(a_certificate_and_its_key_are_read_with_their_names),
        TEST(what_follows_the_first_is_its_chain),
        TEST(what_cannot_be_used_is_told_and_no_key_with_it),
        TEST(a_passphrase_is_not_asked_for_but_told),
        TEST(what_is_no_file_is_not_waited_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
