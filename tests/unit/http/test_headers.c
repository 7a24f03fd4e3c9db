#include "unit_test.h"

#include "http/headers.h"
#include "http/method.h"
#include "http/status.h"

#include <stdlib.h>

static struct arena arena;
static struct headers headers;

static int start(void **state)
{
    arena_init(&arena, NULL);
    headers_init(&headers, &arena);
    return 0;
}

static int stop(void **state)
{
    arena_release(&arena);
    return 0;
}

static void add(const char *name, const char *value)
{
    assert_true(headers_add(&headers, slice_from_cstring(name), slice_from_cstring(value)));
}

static void add_sent(const char *name, const char *value)
{
    assert_true(headers_add_from_wire(&headers, slice_from_cstring(name), slice_from_cstring(value)));
}

/* "Name=value;" of all that are there, in order. */
static const char *listed(const struct headers *of)
{
    static char text[4096];
    int at = 0;
    text[0] = '\0';
    for (struct header *item = headers_next(of, NULL); item; item = headers_next(of, item))
        at += snprintf(text + at, sizeof text - (size_t)at, "%.*s=%.*s;", SLICE_PRINT(item->name),
                       SLICE_PRINT(item->value));
    return text;
}

static void every_known_name_is_found_in_any_case_and_no_other(void **state)
{
    for (enum header_id id = HEADER_OTHER + 1; id < HEADER_ID_COUNT; id++) {
        struct slice name = header_id_name(id);
        assert_true(header_name_is_valid(name));
        char changed[64];
        for (int change = 0; change < 256; change++) {
            for (size_t at = 0; at < name.length; at++) {
                memcpy(changed, name.at, name.length);
                changed[at] = (char)change;
                bool same = slice_equal_ignore_case(slice_of(changed, name.length), name);
                assert_int_equal(header_id_find(slice_of(changed, name.length)), same ? id : HEADER_OTHER);
            }
        }
        for (size_t at = 0; at < name.length; at++) changed[at] = (char)(name.at[at] ^ (name.at[at] == '-' ? 0 : 0x20));
        assert_int_equal(header_id_find(slice_of(changed, name.length)), id);
        assert_int_equal(header_id_find(slice_of(name.at, name.length - 1)), HEADER_OTHER);
        memcpy(changed, name.at, name.length);
        changed[name.length] = 's';
        assert_int_equal(header_id_find(slice_of(changed, name.length + 1)), HEADER_OTHER);
    }
    assert_int_equal(header_id_find(SLICE("")), HEADER_OTHER);
    assert_int_equal(header_id_find(SLICE("x")), HEADER_OTHER);
    assert_int_equal(header_id_find(SLICE_ABSENT), HEADER_OTHER);
}

/* RFC 9110 5.6.2, 5.5. */
static void names_are_tokens_and_values_hold_no_control_byte(void **state)
{
    for (int byte = 0; byte < 256; byte++) {
        char text[20];
        memset(text, 'a', sizeof text);
        bool token = byte &&
                     strchr("!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", byte);
        bool control = (byte < ' ' && byte != '\t') || byte == 0x7f;
        for (size_t at = 0; at < sizeof text; at += 19) {
            memset(text, 'a', sizeof text);
            text[at] = (char)byte;
            assert_int_equal(header_name_is_valid(slice_of(text, sizeof text)), token);
            assert_int_equal(header_value_is_valid(slice_of(text, sizeof text)), !control);
        }
    }
    assert_false(header_name_is_valid(SLICE("")));
    assert_true(header_value_is_valid(SLICE("")) && header_value_is_valid(SLICE_ABSENT));
}

static void fields_keep_their_order_and_are_found_in_any_case(void **state)
{
    add("X-A", "1");
    add("Content-Type", "a/b");
    add("x-a", "2");
    add("content-type", "c/d");
    assert_slice_is(headers_find(&headers, SLICE("X-a"))->value, "1");
    assert_slice_is(headers_find_next(&headers, headers_find(&headers, SLICE("X-a")))->value, "2");
    assert_null(headers_find_next(&headers, headers_find_next(&headers, headers_find(&headers, SLICE("x-A")))));
    struct header *type = headers_find_known(&headers, HEADER_CONTENT_TYPE);
    assert_ptr_equal(type, headers_find(&headers, SLICE("CONTENT-TYPE")));
    assert_slice_is(headers_find_next(&headers, type)->value, "c/d");
    assert_slice_is(headers_value(&headers, HEADER_CONTENT_TYPE), "a/b");
    assert_true(slice_is_absent(headers_value(&headers, HEADER_DATE)));
    assert_null(headers_find(&headers, SLICE("X-B")));
    assert_string_equal(listed(&headers), "X-A=1;Content-Type=a/b;x-a=2;content-type=c/d;");
}

/* More names than there are marks for them: they share some, and stay themselves. */
static void names_that_nobody_knows_are_told_apart(void **state)
{
    char names[100][16];
    for (int i = 0; i < 100; i++) {
        snprintf(names[i], sizeof names[i], "X-%02d", i);
        add(names[i], names[i] + 2);
        add_sent(names[i], "twice");
    }
    for (int i = 0; i < 100; i++) {
        struct header_key key = header_key_of(slice_from_cstring(names[i]));
        struct header *first = headers_find_by(&headers, &key);
        assert_slice_is(first->value, names[i] + 2);
        assert_ptr_equal(first, headers_find(&headers, key.name));
        assert_ptr_equal(headers_find_next(&headers, first), first + 1);
        assert_null(headers_find_next(&headers, first + 1));
        if (i % 2) continue;
        assert_int_equal(headers_remove_by(&headers, &key), 2);
        assert_null(headers_find_by(&headers, &key));
        assert_null(headers_find_next(&headers, first)); /* nor after one that is gone */
    }
    for (int i = 0; i < 100; i++) assert_int_equal(headers_find(&headers, slice_from_cstring(names[i])) != NULL, i % 2);
    assert_null(headers_find(&headers, SLICE("X-100")));
    assert_null(headers_find(&headers, SLICE_ABSENT));
    assert_null(headers_find_known(&headers, HEADER_OTHER));
}

static void a_key_finds_what_its_name_finds(void **state)
{
    struct header_key unknown = header_key_of(SLICE("x_a")), known = header_key_of(SLICE("content-TYPE"));
    assert_int_equal(unknown.id, HEADER_OTHER);
    assert_int_equal(known.id, HEADER_CONTENT_TYPE);
    assert_true(unknown.has_underscore && unknown.is_valid && known.is_valid && !known.has_underscore);
    assert_false(header_key_of(SLICE("X A")).is_valid || header_key_of(SLICE("")).is_valid);
    assert_true(headers_set_by(&headers, &unknown, SLICE("1")));
    assert_true(headers_set_by(&headers, &known, SLICE("a/b")));
    assert_true(headers_add_by(&headers, &unknown, SLICE("2")));
    assert_true(headers_add_by(&headers, &known, SLICE("c/d")));
    assert_slice_is(headers_find_by(&headers, &unknown)->value, "1");
    assert_slice_is(headers_value(&headers, HEADER_CONTENT_TYPE), "a/b");
    assert_string_equal(listed(&headers), "x_a=1;content-TYPE=a/b;x_a=2;content-TYPE=c/d;");
    struct header_constant constant = header_constant_of(SLICE("Content-Type"), SLICE("e/f"));
    assert_true(headers_set_constant(&headers, &constant) && headers_add_constant(&headers, &constant));
    assert_int_equal(headers_remove_by(&headers, &unknown), 2);
    assert_string_equal(listed(&headers), "content-TYPE=e/f;Content-Type=e/f;");
}

static void what_was_sent_under_a_name_with_an_underscore_is_noted(void **state)
{
    static const char *const without[] = { "X-A", "A", "", "Content-Type", "X-Tenant-Of-The-Long-Kind", "x^`-a" };
    static const char *const with[] = { "_",           "X_",       "_X",        "X_A",
                                        "X-A_B-C",     "X_Tenant", "X-Tenant_", "X-Tenant-Of_The-Long-Kind",
                                        "Content_Type" };
    for (size_t i = 0; i < COUNT_OF(without); i++) add_sent(without[i], "1");
    add("X_Ours", "1");
    assert_false(headers.sent_underscore);
    for (size_t i = 0; i < COUNT_OF(with); i++) {
        headers_init(&headers, &arena);
        for (size_t j = 0; j < i * 16; j++) add_sent("X-A", "1"); /* also where the list has to grow */
        add_sent(with[i], "1");
        assert_true(headers.sent_underscore);
        headers_remove(&headers, slice_from_cstring(with[i]));
        assert_true(headers.sent_underscore);
    }
}

static void setting_replaces_all_of_a_name_by_one_in_the_first_place(void **state)
{
    add("X-A", "1");
    add("Via", "b");
    add("x-a", "2");
    assert_true(headers_set(&headers, SLICE("x-A"), SLICE("3")));
    assert_true(headers_set_known(&headers, HEADER_VIA, SLICE("c")));
    assert_true(headers_set(&headers, SLICE("X-New"), SLICE("d")));
    assert_true(headers_set_known(&headers, HEADER_SERVER, SLICE("e")));
    assert_string_equal(listed(&headers), "X-A=3;Via=c;X-New=d;Server=e;");
}

static void a_field_from_the_wire_that_is_set_counts_as_ours(void **state)
{
    assert_true(headers_add_from_wire(&headers, SLICE("X-A"), SLICE("1")));
    assert_true(headers_find(&headers, SLICE("X-A"))->from_wire);
    assert_true(headers_set(&headers, SLICE("X-A"), SLICE("2")));
    assert_false(headers_find(&headers, SLICE("X-A"))->from_wire);
}

static void a_removed_field_is_gone_for_every_reader(void **state)
{
    add("X-A", "1");
    add("Via", "a");
    add("x-a", "2");
    add("Via", "b");
    add("X-B", "3");
    assert_int_equal(headers_remove(&headers, SLICE("X-A")), 2);
    assert_int_equal(headers_remove(&headers, SLICE("X-A")), 0);
    assert_int_equal(headers_remove_known(&headers, HEADER_VIA), 2);
    assert_null(headers_find(&headers, SLICE("X-A")));
    assert_null(headers_find_known(&headers, HEADER_VIA));
    assert_true(slice_is_absent(headers_combined(&headers, HEADER_VIA)));
    assert_string_equal(listed(&headers), "X-B=3;");
    headers_remove_one(&headers, headers_find(&headers, SLICE("X-B")));
    assert_null(headers_next(&headers, NULL));
    add("Via", "c");
    assert_slice_is(headers_value(&headers, HEADER_VIA), "c");
}

/* RFC 9110 5.3. */
static void fields_of_one_name_are_one_list(void **state)
{
    add("Via", "1.1 a");
    assert_ptr_equal(headers_combined(&headers, HEADER_VIA).at, headers_value(&headers, HEADER_VIA).at);
    add("X-A", "1");
    add("via", "");
    add("VIA", "1.0 b, 1.1 c");
    assert_slice_is(headers_combined(&headers, HEADER_VIA), "1.1 a, , 1.0 b, 1.1 c");
    assert_true(headers_list_has(&headers, HEADER_VIA, SLICE("1.1 C")));
    assert_true(headers_list_has(&headers, HEADER_VIA, SLICE("1.1 a")));
    assert_false(headers_list_has(&headers, HEADER_VIA, SLICE("1.1")));
    assert_false(headers_list_has(&headers, HEADER_CONNECTION, SLICE("close")));
}

/* RFC 9110 7.6.1. */
static void what_is_for_one_hop_goes_and_what_connection_names_too(void **state)
{
    add_sent("Connection", "close, X-Named ,,  x-also");
    add_sent("Host", "a");
    add_sent("X-Named", "1");
    add_sent("x-named", "2");
    add_sent("Keep-Alive", "timeout=5");
    add_sent("Proxy-Connection", "keep-alive");
    add_sent("TE", "trailers");
    add_sent("Transfer-Encoding", "chunked");
    add_sent("Upgrade", "h2c");
    add_sent("Trailer", "X");
    add_sent("Proxy-Authenticate", "Basic");
    add_sent("Proxy-Authorization", "Basic x");
    add_sent("X-Also", "3");
    add_sent("Connection", "ETag, connection");
    add_sent("ETag", "\"a\"");
    add_sent("X-Kept", "4");
    headers_remove_hop_by_hop(&headers);
    assert_string_equal(listed(&headers), "Host=a;X-Kept=4;");
}

static void connection_cant_name_away_what_frames_or_identifies(void **state)
{
    static const char *const names[] = {
        "Host",         "Content-Length",       "Content-Type",  "Authorization", "X-Forwarded-For",
        "X-Request-ID", "X-Authenticated-User", "Cache-Control", "Set-Cookie"
    };
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        headers_init(&headers, &arena);
        add_sent("Connection", names[i]);
        add_sent(names[i], "1");
        headers_remove_hop_by_hop(&headers);
        assert_non_null(headers_find(&headers, slice_from_cstring(names[i])));
    }
}

/* What a filter has added, or put in place of what was sent, is no business of the sender's. */
static void connection_names_only_what_was_sent_with_it(void **state)
{
    add_sent("Connection", "X-Tenant, X-Env, X-Sent");
    add_sent("X-Tenant", "mallory");
    add_sent("X-Env", "test");
    add_sent("X-Sent", "1");
    assert_true(headers_set(&headers, SLICE("X-Tenant"), SLICE("alice")));
    add("X-Env", "prod");
    headers_remove_hop_by_hop(&headers);
    assert_string_equal(listed(&headers), "X-Tenant=alice;X-Env=prod;");
}

/* TE speaks to the next hop: what a filter says there is for the service. */
static void a_te_of_our_own_stays_and_the_senders_goes(void **state)
{
    add_sent("TE", "gzip");
    add_sent("TE", "trailers");
    headers_remove_hop_by_hop(&headers);
    assert_string_equal(listed(&headers), "");
    add_sent("TE", "gzip");
    add_sent("TE", "trailers");
    add_sent("Connection", "TE");
    assert_true(headers_set_known(&headers, HEADER_TE, SLICE("trailers")));
    headers_remove_hop_by_hop(&headers);
    assert_string_equal(listed(&headers), "TE=trailers;");
}

static void slices_into_a_moved_buffer_follow_and_others_stay(void **state)
{
    char old[] = "Via: abc", new[] = "Via: xyz";
    assert_true(headers_add_from_wire(&headers, slice_of(old, 3), slice_of(old + 5, 3)));
    assert_true(headers_add(&headers, SLICE("X-A"), SLICE("1")));
    assert_true(headers_add(&headers, SLICE("X-B"), SLICE("2")));
    headers_remove(&headers, SLICE("X-B"));
    headers_rebase(&headers, old, 8, new);
    assert_ptr_equal(headers_find_known(&headers, HEADER_VIA)->name.at, new);
    assert_string_equal(listed(&headers), "Via=xyz;X-A=1;");
}

static void many_fields_find_room_until_their_number_or_memory_ends(void **state)
{
    for (int i = 0; i < 65535; i++) assert_true(headers_add(&headers, SLICE("X-A"), SLICE("1")));
    assert_false(headers_add(&headers, SLICE("X-A"), SLICE("1")));
    assert_int_equal(headers.count, 65535);

    struct arena_pool pool;
    struct arena empty;
    arena_pool_init(&pool, 0, &(struct memory_ceiling){ .bytes_max = 1 });
    arena_init(&empty, &pool);
    headers_init(&headers, &empty);
    assert_false(headers_add(&headers, SLICE("X-A"), SLICE("1")));
    assert_false(headers_set_known(&headers, HEADER_VIA, SLICE("1")));
    assert_null(headers_next(&headers, NULL));
    arena_release(&empty);
    arena_pool_release(&pool);
}

/* RFC 9110 9.1, 9.2. */
static void a_method_is_found_by_its_exact_name(void **state)
{
    for (enum method method = METHOD_OTHER + 1; method < METHOD_COUNT; method++)
        assert_int_equal(method_find(method_name(method)), method);
    static const char *const others[] = { "",      "get",     "GE",      "GETS",    "PUS",   "POSS",
                                          "TRACK", "DELETES", "OPTIONX", "CONNECX", "OTHER", "PRI" };
    for (size_t i = 0; i < COUNT_OF(others); i++)
        assert_int_equal(method_find(slice_from_cstring(others[i])), METHOD_OTHER);
    assert_true(method_is_idempotent(METHOD_OPTIONS));
    assert_true(method_is_idempotent(METHOD_PUT));
    assert_false(method_is_idempotent(METHOD_PATCH));
    assert_false(method_is_idempotent(METHOD_OTHER));
}

static void a_status_has_its_reason_or_none(void **state)
{
    assert_slice_is(status_reason(404), "Not Found");
    assert_slice_is(status_reason(100), "Continue");
    assert_slice_is(status_reason(599), "");
    assert_slice_is(status_reason(0), "");
    assert_slice_is(status_reason(100000), "");
    assert_false(slice_is_absent(status_reason(299)));
    assert_true(status_has_no_content(101) && status_has_no_content(204) && status_has_no_content(304));
    assert_false(status_has_no_content(200) || status_has_no_content(205));
}

#define HEADERS_TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        HEADERS_TEST(every_known_name_is_found_in_any_case_and_no_other),
        HEADERS_TEST(names_are_tokens_and_values_hold_no_control_byte),
        HEADERS_TEST(fields_keep_their_order_and_are_found_in_any_case),
        HEADERS_TEST(names_that_nobody_knows_are_told_apart),
        HEADERS_TEST(a_key_finds_what_its_name_finds),
        HEADERS_TEST(what_was_sent_under_a_name_with_an_underscore_is_noted),
        HEADERS_TEST(setting_replaces_all_of_a_name_by_one_in_the_first_place),
        HEADERS_TEST(a_field_from_the_wire_that_is_set_counts_as_ours),
        HEADERS_TEST(a_removed_field_is_gone_for_every_reader),
        HEADERS_TEST(fields_of_one_name_are_one_list),
        HEADERS_TEST(what_is_for_one_hop_goes_and_what_connection_names_too),
        HEADERS_TEST(connection_cant_name_away_what_frames_or_identifies),
        HEADERS_TEST(connection_names_only_what_was_sent_with_it),
        HEADERS_TEST(a_te_of_our_own_stays_and_the_senders_goes),
        HEADERS_TEST(slices_into_a_moved_buffer_follow_and_others_stay),
        HEADERS_TEST(many_fields_find_room_until_their_number_or_memory_ends),
        cmocka_unit_test(a_method_is_found_by_its_exact_name),
        cmocka_unit_test(a_status_has_its_reason_or_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
