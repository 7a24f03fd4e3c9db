/* cli/check_tests.c: `sluice check --test FILE`: each of the file's tests, what was expected and what came, and one line that sums up. */
#include "base/memory.h"
#include "base/vector.h"
#include "cli/private.h"
#include "cli/trial.h"

#include <jansson.h>
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#define TESTS_FAILED 3 /* the exit status */

/* One thing that is not as expected. */
struct difference {
    struct slice field; /* "status", "header X-A" */
    struct slice expected, got;
};

struct judgement {
    struct arena *arena;
    struct vector differences; /* struct difference */
};

static struct slice say(struct judgement *judgement, const char *format, struct slice text)
{
    struct slice said = arena_format(judgement->arena, format, SLICE_PRINT(text));
    PROMISE(!slice_is_absent(said));
    return said;
}

static void differ(struct judgement *judgement, struct slice field, struct slice expected, struct slice got)
{
    vector_push_copy(&judgement->differences, &(struct difference){ field, expected, got });
}

/* --- what is expected --- */

/* "~..." as in routes: found somewhere in the value. The text was checked when it was read. */
static bool regex_finds(struct slice text, struct slice subject)
{
    int code;
    PCRE2_SIZE offset;
    pcre2_code *regex = pcre2_compile((PCRE2_SPTR)text.at, text.length, PCRE2_DOLLAR_ENDONLY, &code, &offset, NULL);
    PROMISE(regex != NULL);
    pcre2_match_data *data = pcre2_match_data_create_from_pattern(regex, NULL);
    PROMISE(data != NULL);
    bool finds = pcre2_match(regex, (PCRE2_SPTR)subject.at, subject.length, 0, 0, data, NULL) >= 0;
    pcre2_match_data_free(data);
    pcre2_code_free(regex);
    return finds;
}

static bool value_fits(struct slice wanted, struct slice value)
{
    if (slice_equal(wanted, SLICE("*"))) return true;
    if (slice_starts_with(wanted, SLICE("~"))) return regex_finds(slice_after(wanted, 1), value);
    return slice_equal(wanted, value);
}

/* All values of the name, joined by ", ", for people; absent: there is none. *fits: one of them does. */
static struct slice look_for(struct judgement *judgement, const struct pair_list *headers, const struct pair *wanted,
                             bool *fits)
{
    struct slice values = SLICE_ABSENT;
    *fits = false;
    for (size_t i = 0; i < headers->count; i++) {
        const struct pair *header = &headers->items[i];
        if (!slice_equal_ignore_case(header->name, wanted->name)) continue;
        *fits |= value_fits(wanted->value, header->value);
        values = slice_is_absent(values)
                     ? header->value
                     : arena_join(judgement->arena, (struct slice[]){ values, SLICE(", "), header->value }, 3);
        PROMISE(!slice_is_absent(values));
    }
    return values;
}

static void judge_header(struct judgement *judgement, const char *what, const struct pair *wanted,
                         const struct pair_list *headers)
{
    bool fits;
    struct slice values = look_for(judgement, headers, wanted, &fits);
    struct slice field = say(judgement, what, wanted->name);
    struct slice got = slice_is_absent(values) ? SLICE("nothing") : say(judgement, "\"%.*s\"", values);
    if (wanted->value.length == 0 && !slice_is_absent(values))
        differ(judgement, field, SLICE("nothing"), got);
    else if (wanted->value.length > 0 && !fits)
        differ(judgement, field,
               slice_equal(wanted->value, SLICE("*")) ? SLICE("any value") : say(judgement, "\"%.*s\"", wanted->value),
               got);
}

static void judge_headers(struct judgement *judgement, const char *what, const struct pair_list *wanted,
                          const struct pair_list *headers)
{
    for (size_t i = 0; i < wanted->count; i++) judge_header(judgement, what, &wanted->items[i], headers);
}

static struct slice name_or_none(struct judgement *judgement, struct slice name)
{
    return name.length ? say(judgement, "\"%.*s\"", name) : SLICE("none");
}

static void judge_name(struct judgement *judgement, struct slice field, struct slice wanted, struct slice got)
{
    if (slice_is_absent(wanted) || slice_equal(wanted, got)) return;
    differ(judgement, field, name_or_none(judgement, wanted), name_or_none(judgement, got));
}

static struct slice status_text(struct judgement *judgement, int64_t status)
{
    struct slice text = status ? arena_format(judgement->arena, "%d", (int)status) : SLICE("no answer");
    PROMISE(!slice_is_absent(text));
    return text;
}

static void judge(struct judgement *judgement, const struct test_expect_config *expect,
                  const struct trial_outcome *outcome)
{
    if (expect->has_status && expect->status != outcome->status)
        differ(judgement, SLICE("status"), status_text(judgement, expect->status),
               status_text(judgement, outcome->status));
    else if (!expect->has_status && outcome->status == 0)
        differ(judgement, SLICE("status"), SLICE("an answer"), status_text(judgement, 0));
    bool is_its_id = outcome->route_id.length > 0 && slice_equal(expect->route, outcome->route_id);
    if (!is_its_id) judge_name(judgement, SLICE("route"), expect->route, outcome->route);
    judge_name(judgement, SLICE("service"), expect->service, outcome->service);
    judge_name(judgement, SLICE("rule"), expect->rule, outcome->rule);
    judge_headers(judgement, "header %.*s", &expect->headers, &outcome->headers);
    judge_name(judgement, SLICE("upstream path"), expect->upstream_path,
               outcome->was_asked ? outcome->upstream_path : SLICE(""));
    judge_headers(judgement, "upstream header %.*s", &expect->upstream_headers, &outcome->upstream_headers);
}

/* --- for people --- */

static void print_request(const struct test_config *test)
{
    const struct test_request_config *request = &test->request;
    printf("      %.*s %.*s from %.*s\n", SLICE_PRINT(request->method), SLICE_PRINT(request->url),
           SLICE_PRINT(request->client_ip));
}

static void print_outcome(const struct trial_outcome *outcome)
{
    printf("      it met route %s%.*s%s and ", outcome->route.length ? "\"" : "", SLICE_PRINT(outcome->route),
           outcome->route.length ? "\"" : "none");
    if (outcome->was_asked)
        printf("service \"%.*s\", asked for %.*s\n", SLICE_PRINT(outcome->service),
               SLICE_PRINT(outcome->upstream_path));
    else
        printf("no service\n");
    if (!slice_is_absent(outcome->error)) printf("      the gateway says: %.*s\n", SLICE_PRINT(outcome->error));
}

static void print_explanations(const struct trial_outcome *outcome)
{
    for (size_t i = 0; i < outcome->explanations.count; i++)
        printf("      %.*s\n", SLICE_PRINT(outcome->explanations.items[i]));
}

static void print_result(const char *file, const struct test_config *test, const struct judgement *judgement,
                         const struct trial_outcome *outcome)
{
    if (judgement->differences.count == 0) {
        printf("ok    %.*s\n", SLICE_PRINT(test->name));
        print_explanations(outcome);
        return;
    }
    printf("FAIL  %.*s (%s:%u)\n", SLICE_PRINT(test->name), file, test->node ? test->node->line : 0);
    print_request(test);
    for (size_t i = 0; i < judgement->differences.count; i++) {
        const struct difference *difference = vector_at(&judgement->differences, i);
        printf("      %.*s: expected %.*s, got %.*s\n", SLICE_PRINT(difference->field),
               SLICE_PRINT(difference->expected), SLICE_PRINT(difference->got));
    }
    print_outcome(outcome);
    print_explanations(outcome);
}

/* --- for programs --- */

/* What is no UTF-8 (a header may hold any byte) becomes null. */
static json_t *json_text(struct slice text) { return json_stringn(text.at ? text.at : "", text.length); }

static void set_text(json_t *object, const char *key, struct slice text)
{
    json_t *value = json_text(text);
    json_object_set_new(object, key, value ? value : json_null());
}

static json_t *json_headers(const struct pair_list *headers)
{
    json_t *list = json_array();
    for (size_t i = 0; i < headers->count; i++) {
        json_t *pair = json_object();
        set_text(pair, "name", headers->items[i].name);
        set_text(pair, "value", headers->items[i].value);
        json_array_append_new(list, pair);
    }
    return list;
}

static json_t *json_outcome(const struct trial_outcome *outcome)
{
    json_t *got = json_object();
    json_object_set_new(got, "status", json_integer(outcome->status));
    set_text(got, "route", outcome->route);
    set_text(got, "service", outcome->service);
    set_text(got, "rule", outcome->rule);
    if (!slice_is_absent(outcome->error)) set_text(got, "error", outcome->error);
    json_object_set_new(got, "headers", json_headers(&outcome->headers));
    if (!outcome->was_asked) return got;
    set_text(got, "upstreamPath", outcome->upstream_path);
    json_object_set_new(got, "upstreamHeaders", json_headers(&outcome->upstream_headers));
    return got;
}

static json_t *json_result(const struct test_config *test, const struct judgement *judgement,
                           const struct trial_outcome *outcome)
{
    json_t *result = json_object(), *differences = json_array();
    set_text(result, "name", test->name);
    json_object_set_new(result, "line", json_integer(test->node ? test->node->line : 0));
    json_object_set_new(result, "passed", json_boolean(judgement->differences.count == 0));
    for (size_t i = 0; i < judgement->differences.count; i++) {
        const struct difference *difference = vector_at(&judgement->differences, i);
        json_t *one = json_object();
        set_text(one, "field", difference->field);
        set_text(one, "expected", difference->expected);
        set_text(one, "got", difference->got);
        json_array_append_new(differences, one);
    }
    json_object_set_new(result, "differences", differences);
    json_object_set_new(result, "got", json_outcome(outcome));
    if (outcome->explanations.count == 0) return result;
    json_t *lines = json_array();
    for (size_t i = 0; i < outcome->explanations.count; i++)
        json_array_append_new(lines, json_text(outcome->explanations.items[i]));
    json_object_set_new(result, "explanations", lines);
    return result;
}

/* --- all of them --- */

struct summary {
    size_t passed, failed;
    json_t *results; /* NULL: for people */
};

static void run_one(struct trial *trial, const struct command_line *line, const struct test_config *test,
                    struct summary *summary)
{
    struct arena arena;
    struct trial_outcome outcome;
    struct judgement judgement = { .arena = &arena };
    arena_init(&arena, NULL);
    vector_init(&judgement.differences, sizeof(struct difference));
    trial_run(trial, test, line->explain, &arena, &outcome);
    judge(&judgement, &test->expect, &outcome);
    if (judgement.differences.count == 0)
        summary->passed++;
    else
        summary->failed++;
    if (summary->results)
        json_array_append_new(summary->results, json_result(test, &judgement, &outcome));
    else
        print_result(line->file, test, &judgement, &outcome);
    vector_release(&judgement.differences);
    arena_release(&arena);
}

static void print_summary(const struct command_line *line, const struct summary *summary)
{
    if (!summary->results) {
        printf("%s: %zu passed, %zu failed\n", line->file, summary->passed, summary->failed);
        return;
    }
    json_t *whole = json_pack("{s:s, s:I, s:I, s:o}", "file", line->file, "passed", (json_int_t)summary->passed,
                              "failed", (json_int_t)summary->failed, "tests", summary->results);
    PROMISE(whole != NULL);
    json_dumpf(whole, stdout, JSON_INDENT(2));
    printf("\n");
    json_decref(whole);
}

int check_run_tests(const struct command_line *line, const struct configuration *with_tests,
                    struct configuration *configuration, const struct registries *registries, struct problems *problems)
{
    const struct test_config *tests = with_tests->tests.items;
    struct summary summary = { .results = line->json ? json_array() : NULL };
    struct trial *trial = trial_create(configuration, registries->policies, problems);
    if (!trial) {
        json_decref(summary.results);
        return 1;
    }
    for (size_t i = 0; i < with_tests->tests.count; i++) run_one(trial, line, &tests[i], &summary);
    trial_destroy(trial);
    print_summary(line, &summary);
    return summary.failed ? TESTS_FAILED : 0;
}
