#include "unit_test.h"

#include "base/clock.h"
#include "base/digits.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/nearest.h"
#include "base/random.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static void slices_compare_by_bytes_then_by_length(void **state)
{
    assert_true(slice_equal(SLICE(""), SLICE_ABSENT));
    assert_false(slice_equal(SLICE("a"), SLICE("A")));
    assert_true(slice_equal_ignore_case(SLICE("Content-LENGTH"), SLICE("content-length")));
    assert_false(slice_equal_ignore_case(SLICE("@["), SLICE("`{")));
    assert_false(slice_equal_ignore_case(SLICE("\xc4"), SLICE("\xe4")));
    assert_true(slice_compare(SLICE("a"), SLICE("b")) < 0);
    assert_true(slice_compare(SLICE("ab"), SLICE("a")) > 0);
    assert_true(slice_compare(SLICE("\xff"), SLICE("a")) > 0);
    assert_int_equal(slice_compare(SLICE_ABSENT, SLICE("")), 0);
}

/* Of all bytes at all places of all lengths that are read in one way, none is taken for another but a letter in its other case. */
static void letters_alone_have_a_case(void **state)
{
    for (size_t length = 1; length <= 20; length++) {
        for (size_t at = 0; at < length; at++) {
            for (unsigned pair = 0; pair < 65536; pair++) {
                char a[20], b[20];
                memset(a, 'x', sizeof a);
                memset(b, 'X', sizeof b);
                a[at] = (char)(pair & 255);
                b[at] = (char)(pair >> 8);
                bool is_letter = (a[at] >= 'a' && a[at] <= 'z') || (a[at] >= 'A' && a[at] <= 'Z');
                bool same = a[at] == b[at] || (is_letter && (a[at] ^ b[at]) == 0x20);
                if (slice_equal_ignore_case(slice_of(a, length), slice_of(b, length)) != same)
                    fail_msg("%u at %zu of %zu", pair, at, length);
            }
        }
    }
    assert_true(slice_equal_ignore_case(SLICE_ABSENT, SLICE("")));
    assert_false(slice_equal_ignore_case(SLICE("a"), SLICE("aa")));
}

static void a_slice_is_searched_and_cut_without_leaving_its_bounds(void **state)
{
    struct slice text = SLICE("one, two");
    assert_int_equal(slice_find(text, SLICE(", ")), 3);
    assert_int_equal(slice_find(text, SLICE("three")), SLICE_NOT_FOUND);
    assert_int_equal(slice_find(text, SLICE("")), 0);
    assert_int_equal(slice_find(SLICE_ABSENT, SLICE("a")), SLICE_NOT_FOUND);
    assert_int_equal(slice_find_byte(SLICE_ABSENT, 'a'), SLICE_NOT_FOUND);
    assert_slice_is(slice_after(text, 5), "two");
    assert_slice_is(slice_after(text, 100), "");
    assert_slice_is(slice_before(text, 3), "one");
    assert_slice_is(slice_before(text, SLICE_NOT_FOUND), "one, two");
    assert_true(slice_starts_with(text, SLICE("one")) && slice_ends_with(text, SLICE("two")));
    assert_false(slice_starts_with(SLICE("on"), SLICE("one")) || slice_ends_with(SLICE("wo"), SLICE("two")));
}

/* Beside printf, where the count of digits changes and between. */
static void numbers_are_written_in_their_digits(void **state)
{
    uint64_t edge = 1;
    for (size_t digits = 1; digits <= DIGITS_BYTES_MAX; digits++, edge *= 10) {
        const uint64_t numbers[] = { digits > 1 ? edge - 1 : 0, edge, edge + 7, edge / 3 * 4, UINT64_MAX };
        for (size_t i = 0; i < COUNT_OF(numbers); i++) {
            char expected[24], written[DIGITS_BYTES_MAX];
            size_t length = (size_t)snprintf(expected, sizeof expected, "%llu", (unsigned long long)numbers[i]);
            assert_int_equal(digits_count(numbers[i]), length);
            assert_ptr_equal(digits_write(written, numbers[i]), written + length);
            assert_memory_equal(written, expected, length);
        }
    }
}

static void only_spaces_and_tabs_are_trimmed(void **state)
{
    assert_slice_is(slice_trim(SLICE(" \t a b\t ")), "a b");
    assert_slice_is(slice_trim(SLICE(" \t ")), "");
    assert_slice_is(slice_trim(SLICE("\r\na\n")), "\r\na\n");
    assert_slice_is(slice_trim(SLICE_ABSENT), "");
}

static void a_list_is_taken_apart_with_its_empty_pieces(void **state)
{
    struct slice rest = SLICE(" a,, b ,"), piece;
    const char *expected[] = { "a", "", "b", "" };
    for (size_t i = 0; i < COUNT_OF(expected); i++) {
        assert_true(slice_next(&rest, ',', &piece));
        assert_slice_is(piece, expected[i]);
    }
    assert_false(slice_next(&rest, ',', &piece));
    assert_false(slice_next(&rest, ',', &piece));
    rest = SLICE("");
    assert_true(slice_next(&rest, ',', &piece));
    assert_false(slice_next(&rest, ',', &piece));
}

static void digits_and_bytes_are_taken_off_whole_or_not_at_all(void **state)
{
    struct slice text = SLICE("0612:3");
    int value;
    assert_true(slice_take_digits(&text, 2, &value) && value == 6);
    assert_false(slice_take_digits(&text, 3, &value));
    assert_true(slice_take_digits(&text, 2, &value) && value == 12);
    assert_false(slice_take_byte(&text, '3'));
    assert_true(slice_take_byte(&text, ':'));
    assert_false(slice_take_digits(&text, 2, &value));
    assert_true(slice_take_digits(&text, 1, &value) && value == 3);
    assert_false(slice_take_byte(&text, ':'));
    assert_int_equal(text.length, 0);
}

static void the_calendar_is_the_gregorian_one(void **state)
{
    static const int leap[] = { 0, 4, 1600, 1972, 2000, 2024 }, common[] = { 1, 1700, 1900, 2023, 2100 };
    for (size_t i = 0; i < COUNT_OF(leap); i++) assert_int_equal(calendar_days_of_month(leap[i], 2), 29);
    for (size_t i = 0; i < COUNT_OF(common); i++) assert_int_equal(calendar_days_of_month(common[i], 2), 28);
    int days = 0;
    for (int month = 1; month <= 12; month++) days += calendar_days_of_month(2023, month);
    assert_int_equal(days, 365);
    assert_int_equal(calendar_days_of_month(2024, 1), 31);
    assert_int_equal(calendar_days_of_month(2024, 12), 31);
}

static void numbers_are_digits_and_nothing_else(void **state)
{
    uint64_t value = 7;
    int64_t number = 7;
    const struct slice bad[] = { SLICE(""),   SLICE("+1"),   SLICE(" 1"), SLICE("1 "),
                                 SLICE("1x"), SLICE("0x10"), SLICE("-"),  SLICE("18446744073709551616"),
                                 SLICE("--1") };
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        assert_false(slice_parse_uint64(bad[i], &value));
        assert_false(slice_parse_int64(bad[i], &number));
    }
    assert_false(slice_parse_uint64(SLICE("-1"), &value));
    assert_int_equal(value, 7);
    assert_int_equal(number, 7);
    assert_true(slice_parse_uint64(SLICE("18446744073709551615"), &value) && value == UINT64_MAX);
    assert_true(slice_parse_uint64(SLICE("007"), &value) && value == 7);
    assert_true(slice_parse_int64(SLICE("-9223372036854775808"), &number) && number == INT64_MIN);
    assert_true(slice_parse_int64(SLICE("9223372036854775807"), &number) && number == INT64_MAX);
    assert_false(slice_parse_int64(SLICE("9223372036854775808"), &number));
    assert_false(slice_parse_int64(SLICE("-9223372036854775809"), &number));
}

static void dates_agree_with_the_c_library_over_five_centuries(void **state)
{
    struct random random;
    random_init_seeded(&random, 2);
    for (int i = 0; i < 20000; i++) {
        uint64_t wall_ns = i < 3 ? (uint64_t[]){ 0, UINT64_MAX, UINT64_C(951782400000000000) }[i]
                                 : random_next(&random);
        time_t seconds = (time_t)(wall_ns / 1000000000);
        struct tm parts;
        assert_non_null(gmtime_r(&seconds, &parts));
        char expected[64], written[CLOCK_ISO8601_BYTES], http[CLOCK_HTTP_DATE_BYTES];
        size_t length = strftime(expected, sizeof expected, "%Y-%m-%dT%H:%M:%S", &parts);
        snprintf(expected + length, sizeof expected - length, ".%03uZ", (unsigned)(wall_ns / 1000000 % 1000));
        clock_write_iso8601(wall_ns, written);
        assert_string_equal(written, expected);
        strftime(expected, sizeof expected, "%a, %d %b %Y %H:%M:%S GMT", &parts);
        clock_write_http_date(wall_ns, http);
        assert_string_equal(http, expected);
    }
}

/* The example of RFC 9110 5.6.7. */
static void the_example_date_of_the_rfc_is_written_as_there(void **state)
{
    char http[CLOCK_HTTP_DATE_BYTES], iso[CLOCK_ISO8601_BYTES];
    clock_write_http_date(UINT64_C(784111777) * 1000000000, http);
    assert_string_equal(http, "Sun, 06 Nov 1994 08:49:37 GMT");
    clock_write_iso8601(UINT64_C(1769860800123999999), iso);
    assert_string_equal(iso, "2026-01-31T12:00:00.123Z");
}

static void dates_are_read_in_all_three_forms_and_nothing_else_is_one(void **state)
{
    static const struct {
        const char *text;
        uint64_t seconds; /* 0: none */
    } rows[] = {
        { "Sun, 06 Nov 1994 08:49:37 GMT", 784111777 },
        { "Sunday, 06-Nov-94 08:49:37 GMT", 784111777 },
        { "Sun Nov  6 08:49:37 1994", 784111777 },
        { "Thu, 01 Jan 1970 00:00:01 GMT", 1 },
        { "Thu, 29 Feb 2024 23:59:60 GMT", 1709251200 },
        { "Friday, 01-Jan-76 00:00:00 GMT", 3345062400 }, /* 50 years ahead of 2026 */
        { "Saturday, 01-Jan-77 00:00:00 GMT", 220924800 },
        { "Sun Nov 16 08:49:37 1994", 784975777 },
        { "", 0 },
        { "0", 0 },
        { "-1", 0 },
        { "Sun, 06 Nov 1994 08:49:37", 0 },
        { "Sun, 06 Nov 1994 08:49:37 UTC", 0 },
        { "Sun, 06 Nov 1994 08:49:37 GMT ", 0 },
        { "Sun, 6 Nov 1994 08:49:37 GMT", 0 },
        { "Sun, 06 nov 1994 08:49:37 GMT", 0 },
        { "Sun, 31 Nov 1994 08:49:37 GMT", 0 },
        { "Wed, 29 Feb 2023 00:00:00 GMT", 0 },
        { "Sun, 00 Nov 1994 08:49:37 GMT", 0 },
        { "Sun, 06 Nov 1994 24:00:00 GMT", 0 },
        { "Sun, 06 Nov 1994 08:60:00 GMT", 0 },
        { "Wed, 31 Dec 1969 23:59:59 GMT", 0 },
        { "Sun, 06-Nov 1994 08:49:37 GMT", 0 },
        { "Sun Nov  6 08:49:37 19", 0 },
        { "1994-11-06T08:49:37Z", 0 },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        uint64_t seconds = 0;
        bool is_date = clock_read_http_date(slice_from_cstring(rows[i].text), 1790000000, &seconds);
        if (is_date != (rows[i].seconds != 0) || (is_date && seconds != rows[i].seconds))
            fail_msg("\"%s\": %llu", rows[i].text, (unsigned long long)seconds);
    }
    for (uint64_t second = 0; second < UINT64_C(4102444800); second += 7654321) { /* there and back */
        char text[CLOCK_HTTP_DATE_BYTES];
        uint64_t again;
        clock_write_http_date(second * 1000000000, text);
        assert_true(clock_read_http_date(slice_from_cstring(text), 0, &again));
        assert_true(again == second);
    }
}

static void monotonic_time_never_goes_back(void **state)
{
    uint64_t before = clock_monotonic_ns();
    for (int i = 0; i < 1000; i++) {
        uint64_t now = clock_monotonic_ns();
        assert_true(now >= before);
        before = now;
    }
    assert_true(clock_wall_ns() > UINT64_C(1700000000) * 1000000000);
}

/* The key 00 01 … 0f and the input 00 01 02 … of each length, as in the reference implementation's vectors. */
static void the_hash_is_siphash_1_3(void **state)
{
    static const struct {
        size_t length;
        uint64_t hash;
    } vectors[] = {
        { 0, 0xabac0158050fc4dc },  { 1, 0xc9f49bf37d57ca93 },  { 2, 0x82cb9b024dc7d44d },
        { 7, 0xd3927d989bb11140 },  { 8, 0x369095118d299a8e },  { 9, 0x25a48eb36c063de4 },
        { 15, 0xd320d86d2a519956 }, { 16, 0xcc4fdd1a7d908b66 }, { 63, 0x9d199062b7bbb3a8 },
    };
    const struct hash_key key = { { 0x0706050403020100, 0x0f0e0d0c0b0a0908 } };
    char input[64];
    for (size_t i = 0; i < sizeof input; i++) {
        input[i] = (char)i;
    }
    for (size_t i = 0; i < COUNT_OF(vectors); i++) {
        assert_int_equal(hash_keyed(&key, slice_of(input, vectors[i].length)), vectors[i].hash);
    }
    assert_int_equal(hash_keyed(&key, SLICE_ABSENT), vectors[0].hash);
}

static void the_key_of_the_process_is_random_but_stays(void **state)
{
    const struct hash_key *key = hash_process_key();
    assert_true(key->words[0] | key->words[1]);
    assert_ptr_equal(hash_process_key(), key);
}

/* Reference: SplitMix64's and xoshiro256**'s published first outputs for the seed 0. */
static void a_seed_gives_the_same_run_each_time(void **state)
{
    struct random random, same, other;
    random_init_seeded(&random, 0);
    assert_int_equal(random.words[0], 0xe220a8397b1dcdaf);
    assert_int_equal(random.words[1], 0x6e789e6aa1b965f4);
    assert_int_equal(random_next(&random), 0x99ec5f36cb75f2b4);
    random_init_seeded(&same, 42);
    random_init_seeded(&other, 42);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(random_next(&same), random_next(&other));
    }
    random_init(&random);
    random_init(&other);
    assert_true(random_next(&random) != random_next(&other));
}

static void numbers_below_a_bound_are_even(void **state)
{
    struct random random;
    random_init_seeded(&random, 3);
    unsigned counts[6] = { 0 };
    for (int i = 0; i < 60000; i++) {
        counts[random_below(&random, 6)]++;
    }
    for (int i = 0; i < 6; i++) {
        assert_in_range(counts[i], 9500, 10500);
    }
    assert_int_equal(random_below(&random, 1), 0);
    for (int i = 0; i < 1000; i++) {
        assert_true(random_below(&random, UINT64_MAX / 2 + 2) < UINT64_MAX / 2 + 2);
    }
}

static void an_error_says_what_whose_and_what_now(void **state)
{
    struct error error;
    assert_false(error_set(&error, BLAME_UPSTREAM, RETRY_OTHER_INSTANCE, 502, "connect-failure",
                           "cannot connect to %s: %s", "10.0.1.2:8080", error_from_errno(ECONNREFUSED)));
    assert_string_equal(error.text, "cannot connect to 10.0.1.2:8080: connection refused");
    assert_string_equal(error.reason, "connect-failure");
    assert_int_equal(error.blame, BLAME_UPSTREAM);
    assert_int_equal(error.retry, RETRY_OTHER_INSTANCE);
    assert_int_equal(error.status, 502);
    error_prefix(&error, "service \"%s\"", "users");
    assert_string_equal(error.text, "service \"users\": cannot connect to 10.0.1.2:8080: connection refused");
    assert_false(error_format(&error, "again: %s", error.text));
    assert_string_equal(error.text, "again: service \"users\": cannot connect to 10.0.1.2:8080: connection refused");
    assert_non_null(error.reason);
    assert_false(error_set(NULL, BLAME_US, RETRY_NEVER, 0, "x", "ignored"));
    assert_false(error_format(NULL, "ignored"));
    error_prefix(NULL, "ignored");
    assert_string_equal(error_from_errno(98765), "error 98765");
}

static void an_error_text_too_long_is_cut_off(void **state)
{
    struct error error;
    error_format(&error, "%0500d", 1);
    assert_int_equal(strlen(error.text), sizeof error.text - 1);
    error_prefix(&error, "%s", "context");
    assert_int_equal(strlen(error.text), sizeof error.text - 1);
    assert_memory_equal(error.text, "context: 000", 12);
    error_prefix(&error, "%0500d", 2);
    assert_int_equal(strlen(error.text), sizeof error.text - 1);
}

/* Runs `speak` in a child whose standard error is a pipe; returns what it wrote and how it ended. */
static size_t listen_to(void (*speak)(void), char *heard, size_t size, int *status)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        signal(SIGABRT, SIG_DFL);
        speak();
        _exit(0);
    }
    close(ends[1]);
    size_t length = 0;
    for (ssize_t got; (got = read(ends[0], heard + length, size - 1 - length)) > 0;) {
        length += (size_t)got;
    }
    heard[length] = '\0';
    close(ends[0]);
    assert_int_equal(waitpid(child, status, 0), child);
    return length;
}

static void speak_to_the_log(void)
{
    log_set_process_name("gateway");
    log_debug("not said");
    log_info("listening on %s", "127.0.0.1:80");
    log_error("bad name \"a\n2026 fake line\"");
    log_lines(LOG_LEVEL_ERROR, "first\nsecond\n");
    log_lines(LOG_LEVEL_ERROR, "");
    log_set_level(LOG_LEVEL_ERROR);
    log_warning("not said");
    log_error("%04000d", 1);
}

static void a_log_line_is_one_line_whatever_is_in_it(void **state)
{
    char heard[8192];
    int status;
    size_t length = listen_to(speak_to_the_log, heard, sizeof heard, &status);
    struct slice rest = slice_of(heard, length), line;
    assert_true(slice_next(&rest, '\n', &line));
    assert_int_equal(line.at[23], 'Z');
    assert_true(slice_starts_with(slice_after(line, 24), SLICE(" info gateway[")));
    assert_true(slice_ends_with(line, SLICE("]: listening on 127.0.0.1:80")));
    assert_true(slice_next(&rest, '\n', &line));
    assert_true(slice_ends_with(line, SLICE("]: bad name \"a?2026 fake line\"")));
    assert_true(slice_next(&rest, '\n', &line));
    assert_true(slice_ends_with(line, SLICE("]: first")));
    assert_true(slice_next(&rest, '\n', &line));
    assert_true(slice_ends_with(line, SLICE("]: second")));
    assert_true(slice_next(&rest, '\n', &line));
    assert_true(slice_ends_with(line, SLICE("0000")));
    assert_int_equal(line.length, 2047);
    assert_slice_is(rest, "");
}

static void break_a_promise(void) { PROMISE(1 + 1 == 3); }

static void a_broken_promise_names_itself_and_ends_the_process(void **state)
{
    char heard[1024];
    int status;
    struct slice text = slice_of(heard, listen_to(break_a_promise, heard, sizeof heard, &status));
    assert_true(slice_starts_with(text, SLICE("broken promise: 1 + 1 == 3 at ")));
    assert_true(slice_find(text, SLICE("in break_a_promise\n")) != SLICE_NOT_FOUND);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

static void the_nearest_name_is_the_one_with_the_fewest_typing_mistakes(void **state)
{
    static const char *const names[] = { "service", "services", "serviceId", "stripPrefix", "id", "on" };
    static const struct {
        const char *typed, *meant;
    } cases[] = {
        { "servce", "service" },           { "serivce", "service" }, { "Services", "services" },
        { "service_id", "serviceId" },     { "idd", "id" },          { "stripprefix", "stripPrefix" },
        { "strip-prefix", "stripPrefix" },
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        assert_string_equal(nearest_name(slice_from_cstring(cases[i].typed), names, COUNT_OF(names)), cases[i].meant);
}

static void what_is_far_from_every_name_is_near_to_none(void **state)
{
    static const char *const names[] = { "service", "id" };
    static const char *const typed[] = { "",  "_",  "route",
                                         "x", "xy", "serviceserviceserviceserviceserviceserviceserviceserviceservice" };
    for (size_t i = 0; i < COUNT_OF(typed); i++)
        assert_null(nearest_name(slice_from_cstring(typed[i]), names, COUNT_OF(names)));
    assert_null(nearest_name(SLICE("service"), NULL, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_nearest_name_is_the_one_with_the_fewest_typing_mistakes),
        cmocka_unit_test(what_is_far_from_every_name_is_near_to_none),
        cmocka_unit_test(slices_compare_by_bytes_then_by_length),
        cmocka_unit_test(letters_alone_have_a_case),
        cmocka_unit_test(a_slice_is_searched_and_cut_without_leaving_its_bounds),
        cmocka_unit_test(numbers_are_written_in_their_digits),
        cmocka_unit_test(only_spaces_and_tabs_are_trimmed),
        cmocka_unit_test(a_list_is_taken_apart_with_its_empty_pieces),
        cmocka_unit_test(digits_and_bytes_are_taken_off_whole_or_not_at_all),
        cmocka_unit_test(the_calendar_is_the_gregorian_one),
        cmocka_unit_test(numbers_are_digits_and_nothing_else),
        cmocka_unit_test(dates_agree_with_the_c_library_over_five_centuries),
        cmocka_unit_test(the_example_date_of_the_rfc_is_written_as_there),
        cmocka_unit_test(dates_are_read_in_all_three_forms_and_nothing_else_is_one),
        cmocka_unit_test(monotonic_time_never_goes_back),
        cmocka_unit_test(the_hash_is_siphash_1_3),
        cmocka_unit_test(the_key_of_the_process_is_random_but_stays),
        cmocka_unit_test(a_seed_gives_the_same_run_each_time),
        cmocka_unit_test(numbers_below_a_bound_are_even),
        cmocka_unit_test(an_error_says_what_whose_and_what_now),
        cmocka_unit_test(an_error_text_too_long_is_cut_off),
        cmocka_unit_test(a_log_line_is_one_line_whatever_is_in_it),
        cmocka_unit_test(a_broken_promise_names_itself_and_ends_the_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
