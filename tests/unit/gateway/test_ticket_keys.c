/* Tickets across renewals: who can still read what was written before. */
#include "unit_test.h"

#include "gateway/ticket_keys.h"

#include <openssl/evp.h>

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
    ticket_ring_init(&ring);
    assert_int_equal(apply(ticket_ring_keys(&ring), &ticket, true), 1);
    assert_int_equal(apply(ticket_ring_keys(&ring), &ticket, false), 1);
    for (int i = 0; i < 2; i++) {
        ticket_ring_renew(&ring);
        assert_int_equal(apply(ticket_ring_keys(&ring), &ticket, false), 2); /* and a new one is issued */
    }
    ticket_ring_renew(&ring);
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
    ticket_ring_init(&ring);
    const struct ticket_keys *before = ticket_ring_keys(&ring);
    ticket_ring_renew(&ring);
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
    ticket_ring_init(&one);
    ticket_ring_init(&two);
    assert_int_equal(apply(ticket_ring_keys(&one), &ticket, true), 1);
    assert_int_equal(apply(ticket_ring_keys(&two), &ticket, false), 0);
    ticket_ring_release(&one);
    ticket_ring_release(&two);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_ticket_is_read_through_two_renewals_and_no_more),
        cmocka_unit_test(a_set_that_is_replaced_can_still_be_looked_at),
        cmocka_unit_test(the_first_key_of_a_file_encrypts_and_all_decrypt),
        cmocka_unit_test(two_processes_have_different_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
