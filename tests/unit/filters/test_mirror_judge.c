/* The judge of mirrors' answers: who asks only hands over; what is compared and counted, and what happens to what it can't keep up with. A judge
 * that was not started yet is one that is busy with something else. */
#include "unit_test.h"

#include "base/memory.h"
#include "filters/encoder.h"
#include "filters/mirror.h"

#include <unistd.h>

#define KEPT_BYTES_MAX ((size_t)1 << 20)

struct fixture {
    struct mirrors *mirrors;
    struct mirror mirror;
    struct compiled_route route;
    struct mirror_judge *judge;
    struct slice header; /* the one value of either answer */
};

static struct slice compared_header = SLICE("X-Total");

static int set_up(void **state)
{
    struct fixture *f = memory_allocate_aligned(sizeof *f);
    struct error error;
    f->mirrors = mirrors_create(1);
    f->mirror = (struct mirror){
        .figures = mirror_figures_take(f->mirrors, SLICE("id")),
        .compares = true,
        .shows_values = true,
        .compared_bytes_max = KEPT_BYTES_MAX,
        .rules = { .status = true, .body = COMPARE_JSON, .headers = &compared_header, .header_count = 1 },
    };
    mirror_figures_name(f->mirror.figures, SLICE("route"), SLICE("shadow"));
    assert_true(content_coding_load(CODING_GZIP, &error));
    f->mirror.reads_coding[CODING_GZIP] = true;
    f->route.references = 1;
    f->judge = mirror_judge_create();
    f->header = SLICE("3");
    *state = f;
    return 0;
}

/* Nobody holds the route any more, whatever was left undone. */
static int tear_down(void **state)
{
    struct fixture *f = *state;
    mirror_judge_destroy(f->judge);
    assert_int_equal(f->route.references, 1);
    mirror_figures_give(f->mirror.figures);
    mirrors_destroy(f->mirrors);
    free(f);
    return 0;
}

static void start(struct fixture *f)
{
    struct error error;
    assert_true(mirror_judge_start(f->judge, &error));
}

static struct kept_answer answer_of(struct fixture *f, struct slice body)
{
    struct kept_answer answer = { .status = 200, .headers = &f->header, .coding = SLICE(""), .is_whole = true };
    answer.body = memory_copy_slice(body);
    answer.length = answer.capacity = body.length;
    return answer;
}

static struct kept_answer packed_answer_of(struct fixture *f, struct slice body)
{
    char *packed = memory_allocate(body.length + 1000);
    size_t length;
    struct encoder *encoder = encoder_take(NULL, NULL, &(struct encoder_wish){ CODING_GZIP, 6, body.length, false });
    assert_int_equal(encoder_run(encoder, &body, ENCODER_END, packed, body.length + 1000, &length), ENCODER_DONE);
    encoder_give(encoder);
    struct kept_answer answer = answer_of(f, slice_of(packed, length));
    answer.coding = SLICE("gzip");
    free(packed);
    return answer;
}

static bool ask(struct fixture *f, struct kept_answer *primary, struct kept_answer *copy)
{
    char path[] = "/items";
    struct judged_request request = { .mirror = &f->mirror,
                                      .route = &f->route,
                                      .request_id = SLICE("7"),
                                      .method = SLICE("GET"),
                                      .path = slice_from_cstring(path) };
    bool asked = mirror_judge_ask(f->judge, &request, primary, copy);
    memset(path, 'x', sizeof path - 1); /* the asker's texts go */
    if (!asked) free(primary->body), free(copy->body);
    return asked;
}

static bool says(struct fixture *f, const char *words)
{
    char *text = mirrors_describe(f->mirrors, SLICE("id"));
    bool said = strstr(text, words) != NULL;
    free(text);
    return said;
}

static void assert_says_soon(struct fixture *f, const char *words)
{
    for (int i = 0; i < 10000 && !says(f, words); i++) usleep(1000);
    char *text = mirrors_describe(f->mirrors, SLICE("id"));
    if (!strstr(text, words)) fail_msg("no %s in %s", words, text);
    free(text);
}

/* {"text":"aaa…","last":LAST}, of so many bytes. */
static char *long_text(size_t bytes, unsigned last)
{
    char *filling = memory_allocate(bytes + 1);
    memset(filling, 'a', bytes - sizeof "{\"text\":\"\",\"last\":1}" + 1);
    char *text = memory_format("{\"text\":\"%s\",\"last\":%u}", filling, last);
    free(filling);
    return text;
}

/* Five MiB of JSON each, once they are unpacked. */
static void who_asks_goes_on_while_the_judge_is_busy(void **state)
{
    struct fixture *f = *state;
    char *one = long_text(5 << 20, 1), *other = long_text(5 << 20, 2);
    struct kept_answer primary = packed_answer_of(f, slice_from_cstring(one));
    struct kept_answer copy = packed_answer_of(f, slice_from_cstring(other));
    free(one), free(other);
    assert_true(ask(f, &primary, &copy));
    assert_null(primary.body);
    assert_null(copy.body);
    assert_int_equal(f->route.references, 2);
    assert_true(says(f, "\"comparisons\":{\"alike\":0,\"different\":0,\"notCompared\":0,\"leftOut\":0}"));
    start(f);
    assert_says_soon(f, "\"path\":\"/items\",\"differsIn\":\"/last\"");
    assert_true(says(f, "\"different\":1"));
    assert_true(says(f, "\"is\":\"number\",\"value\":\"2\""));
}

static void answers_are_judged_in_the_order_they_came(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < 4; i++) {
        struct kept_answer primary = answer_of(f, SLICE("{}")), copy = answer_of(f, SLICE("{}"));
        copy.status = 500 + i;
        assert_true(ask(f, &primary, &copy));
    }
    start(f);
    assert_says_soon(f, "\"mirror\":{\"status\":503"); /* it is counted before it can be read */
    assert_true(says(f, "\"different\":4"));
    char *text = mirrors_describe(f->mirrors, SLICE("id")), *at = text;
    for (unsigned i = 4; i > 0; i--) { /* the latest first */
        char status[32];
        snprintf(status, sizeof status, "\"mirror\":{\"status\":%u", 499 + i);
        at = strstr(at, status);
        assert_non_null(at);
    }
    free(text);
}

static void what_is_beyond_its_means_is_not_compared(void **state)
{
    struct fixture *f = *state;
    char *text = long_text(9 << 20, 1);
    struct kept_answer primary = packed_answer_of(f, slice_from_cstring(text)), copy = answer_of(f, SLICE("{}"));
    free(text);
    start(f);
    assert_true(ask(f, &primary, &copy));
    assert_says_soon(f, "\"notCompared\":1");
    primary = answer_of(f, SLICE("not packed")), copy = answer_of(f, SLICE("{}"));
    primary.coding = SLICE("gzip");
    assert_true(ask(f, &primary, &copy));
    assert_says_soon(f, "\"notCompared\":2");
    primary = answer_of(f, SLICE("{}")), copy = answer_of(f, SLICE("{}"));
    assert_true(ask(f, &primary, &copy));
    assert_says_soon(f, "\"alike\":1");
}

/* 32 MiB of answers; what is refused stays with who asked. */
static void what_waits_has_a_bound(void **state)
{
    struct fixture *f = *state;
    char *text = long_text(KEPT_BYTES_MAX, 1);
    unsigned asked = 0;
    for (;; asked++) {
        struct kept_answer primary = answer_of(f, slice_from_cstring(text));
        struct kept_answer copy = answer_of(f, slice_from_cstring(text));
        if (!ask(f, &primary, &copy)) break;
        assert_in_range(asked, 0, 16);
    }
    free(text);
    assert_int_equal(asked, 15);
    assert_int_equal(f->route.references, 16);
    start(f);
    assert_says_soon(f, "\"alike\":15");
    struct kept_answer primary = answer_of(f, SLICE("{}")), copy = answer_of(f, SLICE("{}"));
    assert_true(ask(f, &primary, &copy));
    assert_says_soon(f, "\"alike\":16");
}

static void an_end_forgets_what_waits(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < 3; i++) {
        struct kept_answer primary = answer_of(f, SLICE("{}")), copy = answer_of(f, SLICE("[]"));
        assert_true(ask(f, &primary, &copy));
    }
    mirror_judge_destroy(f->judge);
    f->judge = NULL;
    assert_true(says(f, "\"different\":0"));
}

static void a_process_has_one_judge(void **state)
{
    struct fixture *f = *state;
    struct error error;
    struct mirror_judge *judge = mirrors_judge(f->mirrors, &error);
    assert_non_null(judge);
    assert_ptr_equal(mirrors_judge(f->mirrors, &error), judge);
    mirrors_stop(f->mirrors);
    mirrors_stop(f->mirrors);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(who_asks_goes_on_while_the_judge_is_busy),
        TEST(answers_are_judged_in_the_order_they_came),
        TEST(what_is_beyond_its_means_is_not_compared),
        TEST(what_waits_has_a_bound),
        TEST(an_end_forgets_what_waits),
        TEST(a_process_has_one_judge),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
