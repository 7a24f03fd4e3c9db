/* Tickets across renewals: who can still read what was written before. */
#include "unit_test.h"

#include "gateway/ticket_keys.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/mman.h>
#include <unistd.h>

struct ticket {
    unsigned char name[16], iv[EVP_MAX_IV_LENGTH];
};

static int apply(const struct ticket_keys *keys, struct ticket *ticket, bool encrypts)
{
    EVP_CIPHER_CTX *cipher = EVP_CIPHER_CTX_new();
    EVP_MAC *hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    EVP_MAC_CTX *mac = EVP_MAC_CTX_new(hmac);
    int result = ticket_keys_apply(keys, ticket->name, ticket->iv, cipher, mac, encrypts);
    EVP_MAC_CTX_free(mac);
    EVP_MAC_free(hmac);
    EVP_CIPHER_CTX_free(cipher);
    return result;
}

static void a_ticket_is_read_through_two_renewals_and_no_more(void **state)
{
    struct ticket_ring ring;
    struct ticket ticket;
    ticket_ring_init(&ring, 0);
    assert_int_equal(apply(ticket_ring_keys(&ring), &ticket, true), 1);
    assert_int_equal(apply(ticket_ring_keys(&ring), &ticket, false), 1);
    for (int i = 0; i < 2; i++) {
        ticket_ring_renew(&ring, 1);
        assert_int_equal(apply(ticket_ring_keys(&ring), &ticket, false), 2); /* and a new one is issued */
    }
    ticket_ring_renew(&ring, 1);
    assert_int_equal(apply(ticket_ring_keys(&ring), &ticket, false), 0);
    assert_int_equal(apply(ticket_ring_keys(&ring), &ticket, true), 1);
    assert_int_equal(apply(ticket_ring_keys(&ring), &ticket, false), 1);
    ticket_ring_release(&ring);
}

/* Somebody may be inside a call that began with the keys of before. */
static void a_set_that_is_replaced_can_still_be_looked_at(void **state)
{
    struct ticket_ring ring;
    struct ticket ticket;
    ticket_ring_init(&ring, 0);
    const struct ticket_keys *before = ticket_ring_keys(&ring);
    ticket_ring_renew(&ring, 1);
    assert_int_equal(apply(before, &ticket, true), 1);
    assert_int_equal(apply(ticket_ring_keys(&ring), &ticket, false), 2);
    ticket_ring_release(&ring);
}

static void the_first_key_of_a_file_encrypts_and_all_decrypt(void **state)
{
    char bytes[2 * TICKET_KEY_BYTES];
    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (char)i;
    struct ticket_keys *both = ticket_keys_create(bytes, 2);
    struct ticket_keys *second = ticket_keys_create(bytes + TICKET_KEY_BYTES, 1);
    struct ticket ticket;
    assert_int_equal(apply(both, &ticket, true), 1);
    assert_memory_equal(ticket.name, bytes, 16);
    assert_int_equal(apply(second, &ticket, false), 0);
    assert_int_equal(apply(second, &ticket, true), 1);
    assert_int_equal(apply(both, &ticket, false), 2);
    ticket_keys_destroy(both);
    ticket_keys_destroy(second);
}

static void two_processes_have_different_keys(void **state)
{
    struct ticket_ring one, two;
    struct ticket ticket;
    ticket_ring_init(&one, 0);
    ticket_ring_init(&two, 0);
    assert_int_equal(apply(ticket_ring_keys(&one), &ticket, true), 1);
    assert_int_equal(apply(ticket_ring_keys(&two), &ticket, false), 0);
    ticket_ring_release(&one);
    ticket_ring_release(&two);
}

/* What the next gateway gets: all keys, and when the first one is to be replaced. */
static void the_keys_pass_to_another_process_with_their_age(void **state)
{
    struct ticket_ring one, two;
    struct ticket old, fresh;
    struct error error;
    ticket_ring_init(&one, 1000);
    assert_int_equal(apply(ticket_ring_keys(&one), &old, true), 1);
    ticket_ring_renew(&one, 5000);
    assert_int_equal(apply(ticket_ring_keys(&one), &fresh, true), 1);
    int keys = ticket_ring_write(&one, &error);
    assert_true(keys >= 0);
    ticket_ring_init(&two, 7000);
    assert_true(ticket_ring_read(&two, keys, 7000, &error));
    assert_int_equal(two.renewed_ms, 5000);
    assert_int_equal(apply(ticket_ring_keys(&two), &fresh, false), 1);
    assert_int_equal(apply(ticket_ring_keys(&two), &old, false), 2);
    assert_true(ticket_ring_read(&two, keys, 4000, &error)); /* a clock that went backwards */
    assert_int_equal(two.renewed_ms, 4000);
    ticket_ring_release(&one);
    ticket_ring_release(&two);
    close(keys);
}

static void nobody_can_change_what_was_written(void **state)
{
    struct ticket_ring ring;
    struct error error;
    ticket_ring_init(&ring, 0);
    int keys = ticket_ring_write(&ring, &error);
    assert_int_equal(pwrite(keys, "x", 1, 0), -1);
    assert_int_equal(ftruncate(keys, 10), -1);
    assert_true(fcntl(keys, F_GETFD) & FD_CLOEXEC);
    ticket_ring_release(&ring);
    close(keys);
}

/* Of another version, cut off, too long, nothing at all: the keys of before stay. */
static void what_is_no_set_of_keys_is_refused(void **state)
{
    struct ticket_ring ring;
    struct ticket ticket;
    struct error error;
    char whole[4096] = { 0 };
    ticket_ring_init(&ring, 0);
    assert_int_equal(apply(ticket_ring_keys(&ring), &ticket, true), 1);
    int keys = ticket_ring_write(&ring, &error);
    ssize_t length = pread(keys, whole, sizeof whole, 0);
    close(keys);
    assert_in_range(length, 100, 200);
    for (int fault = 0; fault < 6; fault++) {
        char bytes[sizeof whole];
        memcpy(bytes, whole, sizeof bytes);
        size_t sizes[] = { (size_t)length - 1, (size_t)length + 1, 0, (size_t)length, (size_t)length, sizeof bytes };
        if (fault == 3) bytes[15] = '2';     /* the title */
        if (fault == 4) bytes[24] = 0;       /* no key */
        if (fault == 5) bytes[24] = (char)9; /* more than there can be */
        int other = memfd_create("test", MFD_CLOEXEC);
        assert_int_equal(write(other, bytes, sizes[fault]), sizes[fault]);
        assert_false(ticket_ring_read(&ring, other, 0, &error));
        close(other);
    }
    assert_false(ticket_ring_read(&ring, -1, 0, &error));
    assert_int_equal(apply(ticket_ring_keys(&ring), &ticket, false), 1);
    ticket_ring_release(&ring);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_ticket_is_read_through_two_renewals_and_no_more),
        cmocka_unit_test(a_set_that_is_replaced_can_still_be_looked_at),
        cmocka_unit_test(the_first_key_of_a_file_encrypts_and_all_decrypt),
        cmocka_unit_test(two_processes_have_different_keys),
        cmocka_unit_test(the_keys_pass_to_another_process_with_their_age),
        cmocka_unit_test(nobody_can_change_what_was_written),
        cmocka_unit_test(what_is_no_set_of_keys_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
