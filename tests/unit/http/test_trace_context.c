/* traceparent and tracestate: what the W3C's own test suite asks of a participant, and the limits beside it. */
#include "unit_test.h"

#include "http/trace_context.h"

#define TRACE "12345678901234567890123456789012"
#define SPAN "1234567890123456"

static bool reads(const char *text)
{
    struct traceparent parent;
    return traceparent_parse(slice_from_cstring(text), &parent);
}

static void a_traceparent_gives_its_ids_and_flags(void **state)
{
    struct traceparent parent;
    assert_true(traceparent_parse(SLICE("00-" TRACE "-" SPAN "-01"), &parent));
    assert_slice_is(parent.trace_id, TRACE);
    assert_slice_is(parent.parent_id, SPAN);
    assert_int_equal(parent.flags, TRACE_SAMPLED);
    assert_true(traceparent_parse(SLICE("00-" TRACE "-" SPAN "-ff"), &parent));
    assert_int_equal(parent.flags, TRACE_SAMPLED | TRACE_RANDOM_ID); /* unknown bits are not handed on */
}

static void version_00_is_taken_to_the_letter_and_later_ones_by_their_beginning(void **state)
{
    assert_false(reads("00-" TRACE "-" SPAN "-01."));
    assert_false(reads("00-" TRACE "-" SPAN "-01-more"));
    assert_true(reads("cc-" TRACE "-" SPAN "-01"));
    assert_true(reads("cc-" TRACE "-" SPAN "-01-what-the-future-will-be-like"));
    assert_false(reads("cc-" TRACE "-" SPAN "-01.what-the-future-will-be-like"));
    assert_false(reads("ff-" TRACE "-" SPAN "-01"));
}

static void what_is_not_well_formed_is_no_traceparent(void **state)
{
    static const char *const bad[] = {
        "",
        "00",
        "00-" TRACE "-" SPAN "-0",
        "00-" TRACE "-" SPAN "-",
        "00-" TRACE "-" SPAN "-.0",
        "00-" TRACE "-" SPAN "-0G",
        ".0-" TRACE "-" SPAN "-01",
        "0.-" TRACE "-" SPAN "-01",
        "000-" TRACE "-" SPAN "-01",
        "0-" TRACE "-" SPAN "-01",
        "00_" TRACE "_" SPAN "_01",
        "00-00000000000000000000000000000000-" SPAN "-01",
        "00-.2345678901234567890123456789012-" SPAN "-01",
        "00-123456789012345678901234567890123-" SPAN "-01",
        "00-1234567890123456789012345678901-" SPAN "-01",
        "00-ABCDEF78901234567890123456789012-" SPAN "-01",
        "00-" TRACE "-0000000000000000-01",
        "00-" TRACE "-.234567890123456-01",
        "00-" TRACE "-12345678901234567-01",
        "00-" TRACE "-123456789012345-01",
    };
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        if (reads(bad[i])) fail_msg("taken for one: %s", bad[i]);
    }
}

static void a_trace_goes_on_under_a_span_id_of_ours(void **state)
{
    struct random random;
    struct traceparent parent, ours;
    char text[TRACEPARENT_BYTES], again[TRACEPARENT_BYTES];
    random_init_seeded(&random, 1);
    assert_true(traceparent_parse(SLICE("cc-" TRACE "-" SPAN "-f1-more"), &parent));
    traceparent_continue(&random, &parent, text);
    assert_true(traceparent_parse(slice_of(text, sizeof text), &ours));
    assert_slice_is(slice_of(text, 3), "00-");
    assert_slice_is(ours.trace_id, TRACE);
    assert_false(slice_equal(ours.parent_id, parent.parent_id));
    assert_true(slice_equal(ours.parent_id, traceparent_span_id(text)));
    assert_int_equal(ours.flags, TRACE_SAMPLED);
    traceparent_continue(&random, &parent, again);
    assert_memory_not_equal(text, again, sizeof text);
}

static void a_new_trace_is_well_formed_and_says_that_its_id_is_random(void **state)
{
    struct random random;
    struct traceparent ours, other;
    char text[TRACEPARENT_BYTES], next[TRACEPARENT_BYTES];
    random_init_seeded(&random, 2);
    traceparent_begin(&random, TRACE_SAMPLED, text);
    traceparent_begin(&random, 0, next);
    assert_true(traceparent_parse(slice_of(text, sizeof text), &ours));
    assert_true(traceparent_parse(slice_of(next, sizeof next), &other));
    assert_int_equal(ours.flags, TRACE_SAMPLED | TRACE_RANDOM_ID);
    assert_int_equal(other.flags, TRACE_RANDOM_ID);
    assert_false(slice_equal(ours.trace_id, other.trace_id));
    assert_false(slice_equal(ours.parent_id, other.parent_id));
}

static struct slice check(const char *text)
{
    static char buffer[TRACESTATE_BYTES_MAX];
    return tracestate_check(slice_from_cstring(text), buffer);
}

static void a_good_tracestate_goes_on_as_it_is(void **state)
{
    static const char *const good[] = {
        "foo=1",
        "foo=1,bar=2",
        "foo=1 \t , \t bar=2, \t baz=3",
        "foo=1,,bar=2",
        "1foo=1",
        "abcdefghijklmnopqrstuvwxyz0123456789_-*/=1",
        "0a_-*/@a-z0-9_-*/= !\"#$%&'()*+-./0123456789:;<>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmnopqrstuvwxyz{|}~",
    };
    for (size_t i = 0; i < COUNT_OF(good); i++) assert_slice_is(check(good[i]), good[i]);
}

static void a_tracestate_with_anything_wrong_in_it_is_dropped_whole(void **state)
{
    static const char *const bad[] = {
        "",       ",",         "foo",           "=1",         "foo=",        "foo =1",
        "FOO=1",  "foo.bar=1", "foo=1=2",       "foo=a\001b", "foo=\x80",    "foo@=1,bar=2",
        "@foo=1", "foo@@b=1",  "foo@bar@baz=1", "foo@1bar=1", "foo=1,foo=1", "foo=1,b=2,foo=2",
    };
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        if (!slice_is_absent(check(bad[i]))) fail_msg("taken for one: %s", bad[i]);
    }
}

static char *repeat(char *into, char byte, size_t count)
{
    memset(into, byte, count);
    return into + count;
}

static bool takes_lengths(size_t tenant, size_t system, size_t value)
{
    char text[1024], *end = repeat(text, 't', tenant);
    if (system) *end++ = '@';
    end = repeat(end, 's', system);
    *end++ = '=';
    end = repeat(end, 'v', value);
    *end = '\0';
    return !slice_is_absent(check(text));
}

static void keys_and_values_have_their_longest(void **state)
{
    assert_true(takes_lengths(256, 0, 1));
    assert_false(takes_lengths(257, 0, 1));
    assert_true(takes_lengths(241, 14, 1));
    assert_false(takes_lengths(242, 14, 1));
    assert_false(takes_lengths(241, 15, 1));
    assert_true(takes_lengths(1, 0, 256));
    assert_false(takes_lengths(1, 0, 257));
    assert_false(takes_lengths(256, 0, 256)); /* 513 bytes: no room for it alone */
}

static void there_are_at_most_32_members(void **state)
{
    char text[1024], *end = text;
    for (unsigned i = 0; i < 32; i++) end += snprintf(end, 16, "%sk%02u=%u", i ? "," : "", i, i);
    assert_slice_is(check(text), text);
    snprintf(end, 16, ",one=more");
    assert_true(slice_is_absent(check(text)));
}

/* 3.3.1.5: beyond 512 bytes the large ones go first, whichever they are; then the oldest, at the right. */
static void what_is_too_long_loses_large_members_first_and_then_the_oldest(void **state)
{
    char text[2048], *end = text;
    end += snprintf(end, 16, "first=");
    end = repeat(end, 'x', 200);
    for (unsigned i = 0; i < 6; i++) {
        end += snprintf(end, 16, ",k%u=", i);
        end = repeat(end, 'y', 90);
    }
    *end = '\0';
    struct slice left = check(text);
    assert_int_equal(left.length, 5 * 93 + 4);
    assert_true(slice_starts_with(left, SLICE("k0=yy")));
    assert_int_equal(slice_find(left, SLICE("k5=")), SLICE_NOT_FOUND);
    assert_int_not_equal(slice_find(left, SLICE(",k4=")), SLICE_NOT_FOUND);
}

static void blanks_are_not_what_makes_it_too_long(void **state)
{
    char text[2048], *end = text + snprintf(text, 16, "foo=1");
    end = repeat(end, ',', 600);
    snprintf(end, 16, "bar=2");
    assert_slice_is(check(text), "foo=1,bar=2");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_traceparent_gives_its_ids_and_flags),
        cmocka_unit_test(version_00_is_taken_to_the_letter_and_later_ones_by_their_beginning),
        cmocka_unit_test(what_is_not_well_formed_is_no_traceparent),
        cmocka_unit_test(a_trace_goes_on_under_a_span_id_of_ours),
        cmocka_unit_test(a_new_trace_is_well_formed_and_says_that_its_id_is_random),
        cmocka_unit_test(a_good_tracestate_goes_on_as_it_is),
        cmocka_unit_test(a_tracestate_with_anything_wrong_in_it_is_dropped_whole),
        cmocka_unit_test(keys_and_values_have_their_longest),
        cmocka_unit_test(there_are_at_most_32_members),
        cmocka_unit_test(what_is_too_long_loses_large_members_first_and_then_the_oldest),
        cmocka_unit_test(blanks_are_not_what_makes_it_too_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
