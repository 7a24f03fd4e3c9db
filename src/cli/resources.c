/* cli/resources.c: `sluice routes list|get|create|update|delete` and the same for every other kind of resource, over the admin API. */
#include "base/memory.h"
#include "base/nearest.h"
#include "cli/admin_client.h"
#include "cli/private.h"
#include "cli/table.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define PAGE 500

struct verb {
    const char *name;
    int (*run)(const struct command_line *, enum resource_kind);
};

/* 2, after having said how it is called. */
static int refuse_call(const struct command_line *line, const char *words)
{
    fprintf(stderr, "sluice %s: %s\n", line->words[0], words);
    return 2;
}

/* True: it worked, and the reply is the caller's. */
static bool call(const struct command_line *line, const char *method, const char *path, struct slice body,
                 struct admin_reply *reply)
{
    struct admin_request request = {
        .address = line->admin, .method = method, .path = path, .body = body, .if_match = line->if_match
    };
    return admin_call_good(&request, reply);
}

char *cli_change_query(const struct command_line *line)
{
    char *comment = line->comment ? admin_encode(line->comment) : NULL;
    char *query = memory_format("%s%s%s%s", line->dry_run || comment ? "?" : "", line->dry_run ? "dryRun=true" : "",
                                comment ? line->dry_run ? "&comment=" : "comment=" : "", comment ? comment : "");
    free(comment);
    return query;
}

static char *path_of(enum resource_kind kind, const char *name)
{
    char *encoded = name ? admin_encode(name) : NULL;
    char *path = memory_format(encoded ? "/admin/%s/%s" : "/admin/%s", resource_types[kind].path, encoded);
    free(encoded);
    return path;
}

/* --- what is printed --- */

static void print_warnings(const json_t *item)
{
    size_t index;
    const json_t *warning;
    json_array_foreach(json_object_get(item, "warnings"), index, warning)
        fprintf(stderr, "warning: %s\n", json_string_value(warning));
}

static const char *name_in(const json_t *item, enum resource_kind kind)
{
    const char *name = json_string_value(json_object_get(item, resource_types[kind].name_field));
    const char *id = json_string_value(json_object_get(item, "id"));
    return kind != RESOURCE_API_KEY && name ? name : id ? id : "?";
}

/* What a dry run says would happen. */
static int print_trial(const struct command_line *line, struct admin_reply *reply)
{
    json_t *trial = json_loadb(reply->body, reply->length, 0, NULL);
    const json_t *changes = json_object_get(trial, "changes");
    if (line->json) {
        table_print_json(trial);
    } else {
        table_print_changes(stdout, changes);
        printf(json_array_size(changes) ? "this would change; nothing was\n" : "nothing would change\n");
    }
    json_decref(trial);
    admin_reply_release(reply);
    return 0;
}

/* "route "users" created"; a new key is shown here and never again. */
static int print_outcome(const struct command_line *line, enum resource_kind kind, struct admin_reply *reply,
                         const char *what)
{
    if (line->dry_run) return print_trial(line, reply);
    json_t *item = json_loadb(reply->body, reply->length, 0, NULL);
    /* A rate limit has a "key" too: what it counts by. */
    const char *key = kind == RESOURCE_API_KEY ? json_string_value(json_object_get(item, "key")) : NULL;
    if (line->json) {
        table_print_json(item);
    } else {
        printf("%s \"%s\" %s\n", resource_types[kind].word, name_in(item, kind), what);
        if (key) printf("key: %s (shown this once; Sluice keeps its hash alone)\n", key);
        print_warnings(item);
    }
    json_decref(item);
    admin_reply_release(reply);
    return 0;
}

/* --- what is sent --- */

/* A file's text, or standard input's for "-". False: said why. */
static bool read_file(const char *path, struct slice *text)
{
    bool is_input = strcmp(path, "-") == 0;
    int file = is_input ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    *text = file >= 0 ? configuration_read_whole(file) : SLICE_ABSENT;
    bool good = !slice_is_absent(*text);
    int number = errno;
    if (file >= 0 && !is_input) close(file);
    if (!good) fprintf(stderr, "sluice: %s: cannot be read: %s\n", path, error_from_errno(number));
    return good;
}

static bool reads_as_json_word(const char *text)
{
    static const char *const words[] = { "true", "false", "null" };
    for (size_t i = 0; i < COUNT_OF(words); i++) {
        if (strcmp(text, words[i]) == 0) return true;
    }
    char *end;
    strtod(text, &end);
    bool is_plain_number = strspn(text, "0123456789-+.eE") == strlen(text);
    return *text && *end == '\0' && is_plain_number;
}

/* `name=value` as a line of YAML: lists, maps, numbers and the like as they are, everything else as a text. */
static char *pair_line(const char *pair)
{
    const char *equals = strchr(pair, '=');
    const char *value = equals + 1;
    if (*value == '[' || *value == '{' || reads_as_json_word(value))
        return memory_format("%.*s: %s\n", (int)(equals - pair), pair, value);
    json_t *text = json_string(value);
    char *quoted = text ? json_dumps(text, JSON_ENCODE_ANY) : NULL;
    json_decref(text);
    char *line = quoted ? memory_format("%.*s: %s\n", (int)(equals - pair), pair, quoted) : NULL;
    free(quoted);
    return line;
}

/* From a file (YAML or JSON) or from name=value words, as JSON. Absent: said why. The text is the arena's. */
static struct slice read_body(const struct command_line *line, unsigned first, struct arena *arena)
{
    struct problems problems;
    struct slice text, json = SLICE_ABSENT;
    char *lines = memory_copy_slice(SLICE(""));
    const char *name = "the command line";
    for (unsigned i = first; i < line->word_count; i++) {
        char *more = strchr(line->words[i], '=') && line->words[i][0] != '/' ? pair_line(line->words[i]) : NULL;
        if (!more && (i != first || first + 1 != line->word_count)) {
            fprintf(stderr, "sluice: \"%s\": one file (or - for standard input), or name=value words\n",
                    line->words[i]);
            free(lines);
            return json;
        }
        if (!more) {
            name = line->words[i];
            break;
        }
        char *longer = memory_format("%s%s", lines, more);
        free(more);
        free(lines);
        lines = longer;
    }
    bool is_file = *lines == '\0';
    problems_init(&problems, name);
    if (is_file ? read_file(name, &text) : (text = slice_from_cstring(lines), true)) {
        const struct node *root = node_read_yaml(arena, text, name, &problems);
        if (root && problems.count == 0) json = node_write_json(arena, root);
        char *words = problems_to_text(&problems);
        fputs(words, stderr);
        free(words);
        if (is_file) free((char *)(uintptr_t)text.at);
    }
    problems_release(&problems);
    free(lines);
    return json;
}

static int send_body(const struct command_line *line, enum resource_kind kind, const char *method, const char *name,
                     unsigned first, const char *what)
{
    if (line->word_count <= first)
        return refuse_call(line, "say what: a file (- for standard input), or fields as name=value");
    struct arena arena;
    struct admin_reply reply;
    arena_init(&arena, NULL);
    struct slice body = read_body(line, first, &arena);
    int status = slice_is_absent(body) ? 2 : 1;
    char *place = path_of(kind, name), *query = cli_change_query(line), *path = memory_format("%s%s", place, query);
    if (status == 1 && call(line, method, path, body, &reply)) status = print_outcome(line, kind, &reply, what);
    free(path);
    free(query);
    free(place);
    arena_release(&arena);
    return status;
}

/* --- the verbs --- */

/* All pages as one array. NULL: it failed, and that was said. */
static json_t *read_list(const struct command_line *line, enum resource_kind kind)
{
    json_t *all = json_array();
    char *cursor = NULL;
    do {
        struct admin_reply reply;
        char *tag = line->tag ? admin_encode(line->tag) : NULL;
        char *path = memory_format("/admin/%s?limit=%d%s%s%s%s", resource_types[kind].path, PAGE, tag ? "&tag=" : "",
                                   tag ? tag : "", cursor ? "&cursor=" : "", cursor ? cursor : "");
        free(cursor);
        free(tag);
        cursor = NULL;
        bool good = call(line, "GET", path, SLICE_ABSENT, &reply);
        free(path);
        if (!good) {
            json_decref(all);
            return NULL;
        }
        json_t *page = json_loadb(reply.body, reply.length, 0, NULL);
        json_array_extend(all, json_object_get(page, "items"));
        const char *next = json_string_value(json_object_get(page, "nextCursor"));
        if (next) cursor = admin_encode(next);
        json_decref(page);
        admin_reply_release(&reply);
    } while (cursor);
    return all;
}

static int run_list(const struct command_line *line, enum resource_kind kind)
{
    if (line->word_count > 2) return refuse_call(line, "list takes no name; get does");
    json_t *items = read_list(line, kind);
    if (!items) return 1;
    if (line->json)
        table_print_json(items);
    else
        table_print_resources(stdout, kind, items);
    json_decref(items);
    return 0;
}

static int run_get(const struct command_line *line, enum resource_kind kind)
{
    if (line->word_count != 3) return refuse_call(line, "get takes one name or id");
    struct admin_reply reply;
    char *path = path_of(kind, line->words[2]);
    bool good = call(line, "GET", path, SLICE_ABSENT, &reply);
    free(path);
    if (!good) return 1;
    json_t *item = json_loadb(reply.body, reply.length, 0, NULL);
    table_print_json(item);
    json_decref(item);
    admin_reply_release(&reply);
    return 0;
}

static int run_create(const struct command_line *line, enum resource_kind kind)
{
    return send_body(line, kind, "POST", NULL, 2, "created");
}

static int run_update(const struct command_line *line, enum resource_kind kind)
{
    if (line->word_count < 3) return refuse_call(line, "update takes a name or id, then what changes");
    return send_body(line, kind, line->replace ? "PUT" : "PATCH", line->words[2], 3, "updated");
}

static bool is_of_kind(const json_t *change, const char *path)
{
    const char *kind = json_string_value(json_object_get(change, "kind"));
    return kind && strcmp(kind, path) == 0;
}

/* The answer to a DELETE is empty, but says which revision it made: that knows what went along. Who may delete may read it. */
static void print_gone_along(const struct command_line *line, const char *revision)
{
    struct admin_reply reply;
    if (!*revision) return;
    char *path = memory_format("/admin/revisions/%s", revision);
    bool good = call(line, "GET", path, SLICE_ABSENT, &reply);
    free(path);
    if (!good) return;
    json_t *told = json_loadb(reply.body, reply.length, 0, NULL);
    const json_t *changes = json_object_get(told, "changes"), *change;
    size_t index;
    if (json_array_size(changes) > 1) printf("and with it:\n");
    json_array_foreach(changes, index, change)
    {
        const char *name = json_string_value(json_object_get(change, "name"));
        const char *id = json_string_value(json_object_get(change, "id"));
        bool is_named = (name && strcmp(name, line->words[2]) == 0) || (id && strcmp(id, line->words[2]) == 0);
        if (is_named && is_of_kind(change, line->words[0])) continue;
        char *subject = table_change_subject(change);
        printf("  %s %s\n", subject, json_string_value(json_object_get(change, "change")));
        free(subject);
    }
    json_decref(told);
    admin_reply_release(&reply);
}

static int run_delete(const struct command_line *line, enum resource_kind kind)
{
    if (line->word_count != 3) return refuse_call(line, "delete takes one name or id");
    struct admin_reply reply;
    char *path = path_of(kind, line->words[2]), *query = cli_change_query(line);
    char *whole = memory_format("%s%s%s%s", path, query,
                                !line->cascade ? ""
                                : *query       ? "&"
                                               : "?",
                                line->cascade ? "cascade=true" : "");
    bool good = call(line, "DELETE", whole, SLICE_ABSENT, &reply);
    free(whole);
    free(query);
    free(path);
    if (!good) return 1;
    if (line->dry_run) return print_trial(line, &reply);
    if (!line->json) {
        printf("%s \"%s\" deleted\n", resource_types[kind].word, line->words[2]);
        if (line->cascade) print_gone_along(line, reply.revision);
    }
    admin_reply_release(&reply);
    return 0;
}

static int run_rotate(const struct command_line *line, enum resource_kind kind)
{
    if (kind != RESOURCE_API_KEY) return refuse_call(line, "only API keys are rotated");
    if (line->word_count != 3) return refuse_call(line, "rotate takes one id");
    uint64_t overlap_s;
    if (line->overlap && !slice_parse_uint64(slice_from_cstring(line->overlap), &overlap_s))
        return refuse_call(line, "--overlap is a whole number of seconds");
    if (line->dry_run) return refuse_call(line, "rotate knows no --dry-run");
    struct admin_reply reply;
    char *path = path_of(kind, line->words[2]), *query = cli_change_query(line);
    char *whole = memory_format("%s/rotate%s", path, query);
    char *body = line->overlap ? memory_format("{\"overlap\":%s}", line->overlap) : memory_copy_slice(SLICE("{}"));
    bool good = call(line, "POST", whole, slice_from_cstring(body), &reply);
    free(body);
    free(whole);
    free(query);
    free(path);
    return good ? print_outcome(line, kind, &reply, "is its successor") : 1;
}

static const struct verb verbs[] = {
    { "list", run_list },     { "get", run_get },       { "create", run_create },
    { "update", run_update }, { "delete", run_delete }, { "rotate", run_rotate },
};

int command_resources(const struct command_line *line, const struct registries *registries)
{
    (void)registries;
    const struct resource_type *type = resource_type_find(slice_from_cstring(line->words[0]));
    PROMISE(type != NULL);
    const char *names[COUNT_OF(verbs)], *wanted = line->word_count > 1 ? line->words[1] : "list";
    for (size_t i = 0; i < COUNT_OF(verbs); i++) {
        if (strcmp(verbs[i].name, wanted) == 0) return verbs[i].run(line, resource_kind_of(type));
        names[i] = verbs[i].name;
    }
    const char *nearest = nearest_name(slice_from_cstring(wanted), names, COUNT_OF(names));
    fprintf(stderr, "sluice %s: unknown word \"%s\" (%s%s)\n", line->words[0], wanted,
            nearest ? "did you mean " : "list, get, create, update, delete", nearest ? nearest : "");
    return 2;
}
