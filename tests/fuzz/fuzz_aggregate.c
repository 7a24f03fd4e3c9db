/* The answer of an aggregate and the paths of its parts.
 *
 * An input is up to four texts with a NUL between them: a template (JSON), a part's answer, a path, a value for all variables. Whatever compiles
 * must write valid JSON of every valid answer, and a target that reads the same once it is parsed. */
#include "base/memory.h"
#include "config/resource.h"
#include "expr/template.h"
#include "handlers/answer_template.h"
#include "handlers/part_path.h"
#include "http/target.h"
#include "json/scan.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

static const struct policy_surroundings nothing;

static struct slice next_text(struct slice *rest)
{
    size_t end = slice_find_byte(*rest, '\0');
    struct slice text = end == SLICE_NOT_FOUND ? *rest : slice_before(*rest, end);
    *rest = end == SLICE_NOT_FOUND ? slice_of(rest->at + rest->length, 0) : slice_after(*rest, end + 1);
    return text;
}

static struct slice give(const void *argument, const struct template *template)
{
    (void)template;
    return *(const struct slice *)argument;
}

static void check_answer(struct arena *arena, struct problems *problems, struct slice text, struct slice part,
                         struct slice value)
{
    static const struct slice names[] = { { "a", 1 }, { "b", 1 } };
    static const size_t bytes_max[] = { 4096, 4096 };
    const struct answer_parts parts = {
        .names = names, .bytes_max = bytes_max, .count = 2, .errors_name = { "errors", 6 }
    };
    const struct node *node = node_read_json(arena, text, NULL, problems);
    struct filter_compile compile = { .problems = problems, .node = node, .surroundings = &nothing };
    struct answer_template *template = answer_template_compile(&compile, node, &parts);
    if (!template) return;
    struct slice json, written, again;
    struct error error;
    if (!json_scan_whole(part, &json, &error)) json = SLICE_ABSENT;
    const struct slice values[] = { json, SLICE_ABSENT };
    const struct answer_failure failures[] = { { names[1], "timeout", 504 } };
    struct answer_values all = {
        .parts = values, .failures = failures, .failure_count = value.length & 1, .render = give, .argument = &value
    };
    enum answer_result result = answer_template_write(template, &all, arena, 1 << 20, &written);
    PROMISE(result != ANSWER_NO_MEMORY);
    PROMISE(result == ANSWER_TOO_LARGE || json_scan_whole(written, &again, &error));
    answer_template_destroy(template);
}

static void check_path(struct arena *arena, struct problems *problems, struct slice text, struct slice value)
{
    struct filter_compile compile = { .problems = problems, .surroundings = &nothing };
    struct part_path *path = part_path_compile(&compile, text);
    if (!path) return;
    struct slice target;
    if (part_path_write(path, give, &value, arena, &target) == PART_PATH_WRITTEN) {
        struct target parsed;
        struct error error;
        size_t end = slice_find_byte(target, '?');
        PROMISE(target_parse(target, false, arena, &parsed, &error));
        PROMISE(slice_equal_ignore_case(parsed.path, end == SLICE_NOT_FOUND ? target : slice_before(target, end)));
    }
    part_path_destroy(path);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    if (length > 16384) return 0;
    struct arena arena;
    struct problems problems;
    arena_init(&arena, NULL);
    problems_init(&problems, NULL);
    struct slice rest = slice_of((const char *)bytes, length);
    struct slice template = next_text(&rest), part = next_text(&rest), path = next_text(&rest);
    check_answer(&arena, &problems, template, part, rest);
    check_path(&arena, &problems, path, rest);
    problems_release(&problems);
    arena_release(&arena);
    return 0;
}
