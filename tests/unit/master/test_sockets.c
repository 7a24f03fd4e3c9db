/* The listening sockets that outlive every gateway. */
#include "unit_test.h"

#include "event/event.h"
#include "master/private.h"

#include <unistd.h>

static struct master master;

enum { ONE = 1, OTHER = 2 }; /* gateways */

static int set_up(void **state)
{
    list_init(&master.addresses);
    return 0;
}

static int tear_down(void **state)
{
    sockets_close_all(&master);
    return 0;
}

/* An address that nobody listens on, as text. */
static const char *free_address(const char *ip)
{
    static char text[ADDRESS_TEXT_BYTES];
    struct address address;
    assert_true(address_parse_ip(slice_from_cstring(ip), 0, &address));
    int probe = socket(address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(probe, &address.any, address_length(&address)), 0);
    socklen_t length = sizeof address;
    assert_int_equal(getsockname(probe, &address.any, &length), 0);
    close(probe);
    address_write(&address, text);
    return text;
}

static bool is_free(const char *text)
{
    struct address address;
    assert_true(address_parse(slice_from_cstring(text), &address));
    int one = 1, probe = socket(address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(probe, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    bool bound = bind(probe, &address.any, address_length(&address)) == 0;
    close(probe);
    return bound;
}

static void an_address_has_its_sockets_once_for_all(void **state)
{
    struct error error;
    const char *text = free_address("127.0.0.1");
    struct held_address *held = sockets_get(&master, ONE, text, 3, &error);
    assert_non_null(held);
    assert_int_equal(held->count, 3);
    int first = held->sockets[0];
    struct held_address *again = sockets_get(&master, ONE, text, 5, &error); /* the next gateway wants more */
    assert_ptr_equal(again, held);
    assert_int_equal(again->count, 3);
    assert_int_equal(again->sockets[0], first);
}

static void what_another_program_listens_on_is_refused_by_name(void **state)
{
    struct error error;
    struct address address;
    const char *text = free_address("127.0.0.1");
    assert_true(address_parse(slice_from_cstring(text), &address));
    int other = socket_listen(&address, 5, &error); /* with SO_REUSEPORT, as another Sluice would */
    assert_true(other >= 0);
    assert_null(sockets_get(&master, ONE, text, 2, &error));
    assert_non_null(strstr(error.text, text));
    assert_non_null(strstr(error.text, "in use by another program"));
    close(other);
    assert_non_null(sockets_get(&master, ONE, text, 2, &error));
}

static void the_addresses_of_one_gateway_can_be_told(void **state)
{
    struct error error;
    char first[ADDRESS_TEXT_BYTES], second[ADDRESS_TEXT_BYTES], expected[128], told[128];
    snprintf(first, sizeof first, "%s", free_address("127.0.0.1"));
    sockets_write(&master, ONE, told, sizeof told);
    assert_string_equal(told, "");
    assert_non_null(sockets_get(&master, ONE, first, 1, &error));
    snprintf(second, sizeof second, "%s", free_address("127.0.0.1"));
    assert_non_null(sockets_get(&master, ONE | OTHER, second, 1, &error));
    snprintf(expected, sizeof expected, "%s, %s", first, second);
    sockets_write(&master, ONE, told, sizeof told);
    assert_string_equal(told, expected);
    sockets_write(&master, OTHER, told, sizeof told);
    assert_string_equal(told, second);
    sockets_write(&master, ONE, told, strlen(first) + 10); /* no room for both: it says that there are more */
    snprintf(expected, sizeof expected, "%s, ...", first);
    assert_string_equal(told, expected);
}

static void a_closed_address_is_free_again(void **state)
{
    struct error error;
    const char *text = free_address("127.0.0.1");
    assert_non_null(sockets_get(&master, ONE, text, 2, &error));
    sockets_leave(&master, ONE, text);
    sockets_leave(&master, ONE, text);
    sockets_leave(&master, ONE, "never heard of");
    assert_true(list_is_empty(&master.addresses));
    assert_non_null(sockets_get(&master, ONE, text, 1, &error));
}

static void an_address_is_kept_while_any_gateway_listens_there(void **state)
{
    struct error error;
    char shared[ADDRESS_TEXT_BYTES], old[ADDRESS_TEXT_BYTES], fresh[ADDRESS_TEXT_BYTES];
    snprintf(shared, sizeof shared, "%s", free_address("127.0.0.1"));
    assert_non_null(sockets_get(&master, ONE, shared, 1, &error));
    snprintf(old, sizeof old, "%s", free_address("127.0.0.1"));
    assert_non_null(sockets_get(&master, ONE, old, 1, &error));
    assert_non_null(sockets_get(&master, OTHER, shared, 1, &error));
    snprintf(fresh, sizeof fresh, "%s", free_address("127.0.0.1"));
    assert_non_null(sockets_get(&master, OTHER, fresh, 1, &error));
    sockets_leave_all(&master, ONE);
    assert_non_null(sockets_get(&master, OTHER, shared, 9, &error));
    assert_int_equal(sockets_get(&master, OTHER, shared, 9, &error)->count, 1);
    assert_true(is_free(old));
    sockets_leave_all(&master, OTHER);
    assert_true(list_is_empty(&master.addresses));
}

static void an_address_that_is_being_given_up_is_nobody_elses(void **state)
{
    struct error error;
    const char *text = free_address("127.0.0.1");
    struct held_address *held = sockets_get(&master, ONE, text, 1, &error);
    held->is_leaving = true;
    assert_null(sockets_get(&master, OTHER, text, 1, &error));
    assert_non_null(strstr(error.text, "given up"));
    sockets_leave(&master, ONE, text);
    assert_non_null(sockets_get(&master, OTHER, text, 1, &error));
}

/* Whoever else has it would have to make it anew. */
static void a_passed_socket_stays_whoever_leaves(void **state)
{
    struct error error;
    struct address address;
    char other[ADDRESS_TEXT_BYTES];
    const char *text = free_address("127.0.0.1");
    assert_true(address_parse(slice_from_cstring(text), &address));
    sockets_add_passed(&master, socket_listen(&address, 5, &error), &address);
    sockets_add_passed(&master, socket_listen(&address, 5, &error), &address);
    struct held_address *held = sockets_get(&master, ONE, text, 7, &error);
    assert_int_equal(held->count, 2);
    held->is_leaving = true;
    sockets_leave_all(&master, ONE);
    assert_ptr_equal(sockets_get(&master, OTHER, text, 7, &error), held);
    snprintf(other, sizeof other, "0.0.0.0:%u", address_port(&address));
    assert_null(sockets_get(&master, ONE, other, 1, &error));
    assert_non_null(strstr(error.text, "has passed 127.0.0.1:"));
}

static void both_families_may_have_the_same_port(void **state)
{
    struct error error;
    char second[ADDRESS_TEXT_BYTES];
    struct address address;
    const char *text = free_address("127.0.0.1");
    assert_true(address_parse(slice_from_cstring(text), &address));
    if (!sockets_get(&master, ONE, text, 1, &error)) fail_msg("%s", error.text);
    snprintf(second, sizeof second, "[::1]:%u", address_port(&address));
    if (!sockets_get(&master, ONE, second, 1, &error)) fail_msg("%s", error.text);
}

static void what_is_no_address_or_not_ours_is_refused(void **state)
{
    struct error error;
    assert_null(sockets_get(&master, ONE, "localhost:80", 1, &error));
    assert_non_null(strstr(error.text, "not an address"));
    assert_null(sockets_get(&master, ONE, "192.0.2.1:8080", 1, &error));
    assert_non_null(strstr(error.text, "192.0.2.1:8080"));
    assert_true(list_is_empty(&master.addresses));
}

static void odd_numbers_of_sockets_are_brought_to_reason(void **state)
{
    struct error error;
    struct held_address *held = sockets_get(&master, ONE, free_address("127.0.0.1"), 0, &error);
    assert_int_equal(held->count, 1);
    held = sockets_get(&master, ONE, free_address("127.0.0.1"), UINT32_MAX, &error);
    assert_int_equal(held->count, SUPERVISION_DESCRIPTORS_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        TEST(an_address_has_its_sockets_once_for_all),
        TEST(what_another_program_listens_on_is_refused_by_name),
        TEST(the_addresses_of_one_gateway_can_be_told),
        TEST(a_closed_address_is_free_again),
        TEST(an_address_is_kept_while_any_gateway_listens_there),
        TEST(an_address_that_is_being_given_up_is_nobody_elses),
        TEST(a_passed_socket_stays_whoever_leaves),
        TEST(both_families_may_have_the_same_port),
        TEST(what_is_no_address_or_not_ours_is_refused),
        TEST(odd_numbers_of_sockets_are_brought_to_reason),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
