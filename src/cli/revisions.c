/* cli/revisions.c: `sluice revisions [N]` and `sluice rollback N`: the history of a store, over the admin API. */
#include "base/memory.h"
#include "cli/admin_client.h"
#include "cli/private.h"
#include "cli/table.h"

#include <stdlib.h>

static const struct table_column revision_columns[TABLE_COLUMNS_MAX] = {
    { "REVISION", "revision" }, { "AT", "at" },           { "AUTHOR", "author" },
    { "FROM", "source" },       { "CHANGES", "changes" }, { "COMMENT", "comment" },
};

/* NULL: it failed, and that was said. */
static json_t *ask(const struct command_line *line, const char *method, const char *path)
{
    struct admin_reply reply;
    struct admin_request request = {
        .address = line->admin, .method = method, .path = path, .body = SLICE_ABSENT, .if_match = line->if_match
    };
    if (!admin_call_good(&request, &reply)) return NULL;
    json_t *answer = json_loadb(reply.body, reply.length, 0, NULL);
    admin_reply_release(&reply);
    if (!answer) fprintf(stderr, "sluice: the answer is no JSON\n");
    return answer;
}

static int refuse_number(const struct command_line *line)
{
    fprintf(stderr, "sluice %s: \"%s\" is no revision: `sluice revisions` lists what there is\n", line->words[0],
            line->words[1]);
    return 2;
}

/* Revisions begin with 1. */
static bool is_number(const char *text)
{
    uint64_t number;
    return slice_parse_uint64(slice_from_cstring(text), &number) && number > 0;
}

static void print_details(const json_t *revision)
{
    static const struct table_column head[TABLE_COLUMNS_MAX] = {
        { "REVISION", "revision" }, { "AT", "at" },           { "AUTHOR", "author" },
        { "FROM", "source" },       { "COMMENT", "comment" },
    };
    json_t *alone = json_pack("[O]", revision);
    table_print(stdout, head, alone);
    json_decref(alone);
    table_print_changes(stdout, json_object_get(revision, "changes"));
}

int command_revisions(const struct command_line *line, const struct registries *registries)
{
    (void)registries;
    if (line->word_count > 2) {
        fprintf(stderr, "sluice revisions: takes one number, or none\n");
        return 2;
    }
    const char *number = line->word_count == 2 ? line->words[1] : NULL;
    if (number && !is_number(number)) return refuse_number(line);
    char *path = memory_format("/admin/revisions%s%s", number ? "/" : "", number ? number : "");
    json_t *answer = ask(line, "GET", path);
    free(path);
    if (!answer) return 1;
    if (line->json) {
        table_print_json(answer);
    } else if (number) {
        print_details(answer);
    } else {
        table_print(stdout, revision_columns, json_object_get(answer, "items"));
        if (json_is_string(json_object_get(answer, "nextCursor")))
            fprintf(stderr, "older ones are there, too: `sluice revisions N` shows one\n");
    }
    json_decref(answer);
    return 0;
}

static long long count_in(const json_t *answer, const char *key)
{
    return (long long)json_integer_value(json_object_get(answer, key));
}

static void print_rollback(const struct command_line *line, const json_t *answer)
{
    const json_t *changes = json_object_get(answer, "changes");
    bool is_same = json_array_size(changes) == 0;
    table_print_changes(stdout, changes);
    if (line->dry_run)
        printf(is_same ? "nothing would change\n" : "this would change; nothing was\n");
    else if (is_same)
        printf("nothing to change: all is as it was at revision %s\n", line->words[1]);
    else
        printf(
            "as it was at revision %s (API keys excepted): %lld created, %lld updated, %lld deleted, revision %lld\n",
            line->words[1], count_in(answer, "created"), count_in(answer, "updated"), count_in(answer, "deleted"),
            count_in(answer, "revision"));
}

int command_rollback(const struct command_line *line, const struct registries *registries)
{
    (void)registries;
    if (line->word_count != 2) {
        fprintf(stderr, "sluice rollback: say to which revision: `sluice revisions` lists what there is\n");
        return 2;
    }
    if (!is_number(line->words[1])) return refuse_number(line);
    char *query = cli_change_query(line);
    char *path = memory_format("/admin/revisions/%s/rollback%s", line->words[1], query);
    json_t *answer = ask(line, "POST", path);
    free(path);
    free(query);
    if (!answer) return 1;
    if (line->json)
        table_print_json(answer);
    else
        print_rollback(line, answer);
    json_decref(answer);
    return 0;
}
