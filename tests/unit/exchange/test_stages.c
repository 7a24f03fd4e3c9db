/* Body stages: bodies that grow, shrink, are held back or broken off on their way, in both directions and behind one another. */
#include "exchange/testbed.h"

static void start(struct testbed *bed, const char *filters)
{
    char text[1024];
    snprintf(text, sizeof text, "routes: [{ name: a, path: /a, serviceId: one, filters: [%s] }]\n", filters);
    testbed_start(bed, text);
}

static const struct {
    const char *filters, *before, *requested, *answered; /* the same filters on either side */
} rows[] = {
    { "{ type: test-grow, on: SIDE }", "abc", "aabbcc", "aabbcc" },
    { "{ type: test-grow, on: SIDE, factor: 3 }", "ab", "aaabbb", "aaabbb" },
    { "{ type: test-shrink, on: SIDE }", "abcde", "ace", "ace" },
    { "{ type: test-hold, on: SIDE }", "abc", "abc", "abc" },
    { "{ type: test-refuse, on: SIDE, bytes: 3B }", "abc", "abc", "abc" },
    { "{ type: test-grow, on: SIDE }, { type: test-shrink, on: SIDE }", "abc", "abc", "aacc" },
    { "{ type: test-shrink, on: SIDE }, { type: test-hold, on: SIDE }, { type: test-grow, on: SIDE }", "abcd", "aacc",
      "abcd" },
};

/* The row's filters with SIDE replaced. */
static void put_side(const char *filters, const char *side, char into[512])
{
    *into = '\0';
    size_t length = 0;
    for (const char *at = filters; *at;) {
        bool is_side = strncmp(at, "SIDE", 4) == 0;
        length += (size_t)snprintf(into + length, 512 - length, "%.*s", is_side ? (int)strlen(side) : 1,
                                   is_side ? side : at);
        at += is_side ? 4 : 1;
    }
}

static void requests_pass_stages(void **state)
{
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct testbed bed;
        struct client client = { 0 };
        char filters[512];
        put_side(rows[i].filters, "request", filters);
        start(&bed, filters);
        bed.service.after_body = true;
        client_ask(&bed, &client, "POST /a", NULL, rows[i].before);
        testbed_run(&bed);
        assert_int_equal(client.status, 200);
        assert_string_equal(bed.service.request_body, rows[i].requested);
        assert_true(bed.service.request_body_ended);
        client_release(&client);
        testbed_stop(&bed);
    }
}

static void responses_pass_stages_backwards(void **state)
{
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct testbed bed;
        struct client client = { 0 };
        char filters[512];
        put_side(rows[i].filters, "response", filters);
        start(&bed, filters);
        bed.service.body = rows[i].before;
        client_ask(&bed, &client, "GET /a", NULL, NULL);
        testbed_run(&bed);
        assert_true(client.sent);
        assert_string_equal(client.body, rows[i].answered);
        client_release(&client);
        testbed_stop(&bed);
    }
}

/* A long body meets small windows: stages stop for want of credit and go on. */
static void long_bodies_pass_in_both_directions(void **state)
{
    struct testbed bed;
    struct client client = { 0 };
    start(
        &bed,
        "{ type: test-grow }, { type: test-shrink }, { type: test-shrink, on: response }, { type: test-grow, on: response }");
    bed.service.after_body = true;
    bed.service.body = "0123456789abcdef0123456789abcdef";
    bed.service.body_repeat = 8192;
    client_begin(&bed, &client, "POST /a", NULL);
    char bytes[1000];
    for (size_t sent = 0; sent < 300; sent++) {
        memset(bytes, 'a' + (int)(sent % 26), sizeof bytes);
        while (body_pipe_credit(&client.request_pipe) == 0) testbed_run(&bed);
        client_push(&client, bytes, sizeof bytes);
    }
    client_finish(&client);
    testbed_run_until(&bed, &client.released);
    assert_int_equal(bed.service.request_body_length, 300 * sizeof bytes);
    for (size_t i = 0; i < 300; i++) assert_int_equal(bed.service.request_body[i * sizeof bytes], 'a' + (int)(i % 26));
    assert_int_equal(client.body_length, 8192 * 32);
    assert_memory_equal(client.body + client.body_length - 32, bed.service.body, 32);
    client_release(&client);
    testbed_stop(&bed);
}

static void a_stage_that_breaks_off_lets_the_request_fail_with_its_word(void **state)
{
    struct testbed bed;
    struct client client = { 0 };
    start(&bed, "{ type: test-refuse, bytes: 10B }");
    bed.service.after_body = true;
    client_begin(&bed, &client, "POST /a", NULL);
    client_push(&client, "12345", 5);
    testbed_run(&bed);
    assert_int_equal(bed.service.request_body_length, 5);
    client_push(&client, "6789012345", 10);
    testbed_run(&bed);
    assert_true(bed.service.request_body_aborted);
    assert_int_equal(client.status, 413);
    assert_true(body_pipe_is_stopped(&client.request_pipe) || client.released);
    client_release(&client);
    testbed_stop(&bed);
}

/* Nothing of it has gone out when the stage says no, so the client gets to know. */
static void a_whole_answer_that_a_stage_breaks_off_becomes_a_failure(void **state)
{
    struct testbed bed;
    struct client client = { 0 };
    start(&bed, "{ type: test-refuse, bytes: 100B, on: response }, { type: test-grow, on: response }");
    bed.service.headers = "Content-Type: text/plain\r\nX-Own: theirs\r\n";
    bed.service.body = "0123456789";
    bed.service.body_repeat = 100;
    client_ask(&bed, &client, "GET /a", NULL, NULL);
    testbed_run(&bed);
    assert_int_equal(client.status, 500);
    assert_true(client.sent && !client.cut && !client.reset);
    assert_slice_is(client_header(&client, "Content-Type"), "application/problem+json");
    assert_true(slice_is_absent(client_header(&client, "X-Own")));
    assert_non_null(strstr(client.body, "\"status\":500"));
    client_release(&client);
    testbed_stop(&bed);
}

/* Part of it may be with the client already. */
static void an_answer_under_way_that_a_stage_breaks_off_is_cut(void **state)
{
    struct testbed bed;
    struct client client = { 0 };
    start(&bed, "{ type: test-refuse, bytes: 100B, on: response }");
    bed.service.body = "a first piece that passes, long enough to be one of its own ... "
                       "and a second one, with which the answer is longer than it may be";
    bed.service.body_step = 64;
    client_ask(&bed, &client, "GET /a", NULL, NULL);
    testbed_run(&bed);
    assert_int_equal(client.status, 200);
    assert_true(client.cut && client.released);
    client_release(&client);
    testbed_stop(&bed);
}

static void held_bodies_have_a_bound(void **state)
{
    struct testbed bed;
    struct client client = { 0 };
    start(&bed, "{ type: test-hold, bytes: 16B }");
    bed.service.after_body = true;
    client_ask(&bed, &client, "POST /a", NULL, "more than sixteen bytes");
    testbed_run(&bed);
    assert_int_equal(client.status, 413);
    assert_int_equal(bed.service.request_body_length, 0);
    client_release(&client);
    testbed_stop(&bed);
}

static void a_held_body_does_not_reach_the_service_before_its_end(void **state)
{
    struct testbed bed;
    struct client client = { 0 };
    start(&bed, "{ type: test-hold }");
    bed.service.after_body = true;
    client_begin(&bed, &client, "POST /a", NULL);
    client_push(&client, "first", 5);
    testbed_run(&bed);
    assert_int_equal(bed.service.request_body_length, 0);
    client_push(&client, "second", 6);
    client_finish(&client);
    testbed_run(&bed);
    assert_string_equal(bed.service.request_body, "firstsecond");
    client_release(&client);
    testbed_stop(&bed);
}

/* A client that expects 100 (Continue) is asked for its body when somebody behind the stages wants it, and not before. */
static void a_stage_hands_the_wish_for_a_body_on(void **state)
{
    for (int wanted = 0; wanted < 2; wanted++) {
        struct testbed bed;
        struct client client = { 0 };
        start(&bed, "{ type: test-grow }, { type: test-shrink }");
        bed.service.ignores_body = !wanted;
        bed.service.status = wanted ? 200 : 0;
        bed.service.after_body = true;
        client_begin(&bed, &client, "POST /a", "Expect: 100-continue\r\n");
        testbed_run(&bed);
        assert_int_equal(client.body_wanted, wanted);
        client_push(&client, "x", 1);
        client_finish(&client);
        testbed_run(&bed);
        if (!wanted) client_leave(&client);
        testbed_run(&bed);
        client_release(&client);
        testbed_stop(&bed);
    }
}

static void a_client_may_go_while_stages_hold_bytes(void **state)
{
    static const char *const filters[] = {
        "{ type: test-hold }",
        "{ type: test-grow }, { type: test-grow }",
        "{ type: test-grow, on: response }, { type: test-shrink, on: response }",
        "{ type: test-hold, on: response }",
    };
    for (size_t i = 0; i < COUNT_OF(filters); i++) {
        struct testbed bed;
        struct client client = { .slow = true };
        start(&bed, filters[i]);
        bed.service.body = "0123456789abcdef";
        bed.service.body_repeat = 5000;
        client_begin(&bed, &client, "POST /a", NULL);
        client_push(&client, "some bytes", 10);
        testbed_run(&bed);
        if (!client.released) client_leave(&client);
        testbed_run(&bed);
        assert_true(client.released);
        client_release(&client);
        testbed_stop(&bed);
    }
}

static void a_service_that_breaks_off_cuts_the_answer_behind_stages_too(void **state)
{
    struct testbed bed;
    struct client client = { 0 };
    start(&bed, "{ type: test-grow, on: response }");
    bed.service.body = "hello";
    bed.service.cuts_body = true;
    client_ask(&bed, &client, "GET /a", NULL, NULL);
    testbed_run(&bed);
    assert_true(client.cut && client.released);
    client_release(&client);
    testbed_stop(&bed);
}

static void a_stage_works_on_fixed_bodies_too(void **state)
{
    struct testbed bed;
    struct client client = { 0 };
    testbed_start(
        &bed,
        "routes: [{ name: r, path: /r, respond: { status: 200, body: abc }, filters: [{ type: test-grow, on: response }] }]\n");
    client_ask(&bed, &client, "GET /r", NULL, NULL);
    testbed_run(&bed);
    assert_string_equal(client.body, "aabbcc");
    client_release(&client);
    testbed_stop(&bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_pass_stages),
        cmocka_unit_test(responses_pass_stages_backwards),
        cmocka_unit_test(long_bodies_pass_in_both_directions),
        cmocka_unit_test(a_stage_that_breaks_off_lets_the_request_fail_with_its_word),
        cmocka_unit_test(a_whole_answer_that_a_stage_breaks_off_becomes_a_failure),
        cmocka_unit_test(an_answer_under_way_that_a_stage_breaks_off_is_cut),
        cmocka_unit_test(held_bodies_have_a_bound),
        cmocka_unit_test(a_held_body_does_not_reach_the_service_before_its_end),
        cmocka_unit_test(a_stage_hands_the_wish_for_a_body_on),
        cmocka_unit_test(a_client_may_go_while_stages_hold_bytes),
        cmocka_unit_test(a_service_that_breaks_off_cuts_the_answer_behind_stages_too),
        cmocka_unit_test(a_stage_works_on_fixed_bodies_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
