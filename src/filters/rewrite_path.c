/* rewrite-path: gives the service another path than the client asked for.
 *
 * Sees the path after stripPrefix. Either `path` is the new one as a whole, or the first match of `pattern` gives way to
 * `replacement`, in which $1 to $99 are the pattern's groups; both may hold ${path.NAME}. A path without a match stays as it is.
 * The result is normalised by the same rules as a client's path, so that no rewrite smuggles "..", a query or odd bytes past them.
 * State: the compiled pattern and pieces (route). Never waits; matching is bounded and its memory is the exchange's arena. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "filters/filters.h"

#include "base/memory.h"
#include "filters/private.h"

#include <pcre2.h>

/* The operator writes the pattern, clients the path: what a match may cost is bounded (as in routing). */
#define MATCH_STEPS_MAX 100000
#define MATCH_HEAP_KIB_MAX 64
#define PATTERN_BYTES_MAX 8192
#define PIECES_MAX 32

struct rewrite_path_config {
    struct slice pattern, replacement, path;
    bool has_pattern, has_replacement, has_path;
};

/* A run of the replacement: a group of the pattern, or text. */
struct rewrite_piece {
    struct template *text; /* NULL: a group */
    uint32_t group;
};

struct rewrite_path {
    pcre2_code *code; /* NULL: the pieces are the whole path */
    pcre2_match_context *limits;
    /* `path` without variables is normalised at load; absent else. The second one has its slashes merged: whether they are to be is a
     * setting of the whole gateway, and routes are kept when it changes. */
    struct slice fixed[2];
    uint32_t count;
    struct rewrite_piece pieces[PIECES_MAX];
};

static const struct field rewrite_path_fields[] = {
    { .name = "pattern",
      .type = FIELD_STRING,
      .into = offsetof(struct rewrite_path_config, pattern),
      .present = offsetof(struct rewrite_path_config, has_pattern),
      .summary = "A regular expression (PCRE2); its first match in the path is replaced." },
    { .name = "replacement",
      .type = FIELD_STRING,
      .into = offsetof(struct rewrite_path_config, replacement),
      .present = offsetof(struct rewrite_path_config, has_replacement),
      .summary = "What replaces the match; `$1` is the first group, `${path.NAME}` a capture of the route's path." },
    { .name = "path",
      .type = FIELD_STRING,
      .into = offsetof(struct rewrite_path_config, path),
      .present = offsetof(struct rewrite_path_config, has_path),
      .summary = "The whole new path, in place of `pattern` and `replacement`; may hold `${path.NAME}`." },
    FIELDS_END,
};

static bool rewrite_path_check(struct schema_reading *, const struct node *, const void *value);
static bool rewrite_path_compile(const struct filter_compile *, const void *value, void **compiled);
static void rewrite_path_release(void *compiled);
static enum filter_result rewrite_path_request(struct exchange *, const void *compiled, void *state);

const struct filter filter_rewrite_path = {
    .name = "rewrite-path",
    .summary = "Changes the path that the service sees.",
    .phase = PHASE_TRANSFORM,
    .fields = rewrite_path_fields,
    .config_size = sizeof(struct rewrite_path_config),
    .all_scopes_apply = true,
    .check = rewrite_path_check,
    .compile = rewrite_path_compile,
    .release = rewrite_path_release,
    .request = rewrite_path_request,
};

/* --- loading --- */

static bool refuse(struct problems *problems, const struct node *map, const char *field, const char *hint,
                   const char *what)
{
    const struct node *node = map ? node_find(map, field) : NULL;
    problems_add(problems, node ? node : map, hint, "\"%s\" %s", field, what);
    return false;
}

/* "${1}" is how others write a group; here it would be the number 1. */
static bool holds_number_in_braces(struct slice text)
{
    for (size_t at = 0; at + 3 < text.length; at++) {
        if (text.at[at] != '$' || text.at[at + 1] != '{') continue;
        size_t end = at + 2;
        while (end < text.length && text.at[end] >= '0' && text.at[end] <= '9') end++;
        if (end > at + 2 && end < text.length && text.at[end] == '}') return true;
    }
    return false;
}

static bool rewrite_path_check(struct schema_reading *reading, const struct node *node, const void *value)
{
    const struct rewrite_path_config *config = value;
    struct problems *problems = reading->problems;
    if (config->has_path && (config->has_pattern || config->has_replacement)) {
        return refuse(problems, node, "path", NULL, "stands alone, without \"pattern\" and \"replacement\"");
    }
    if (!config->has_path && !(config->has_pattern && config->has_replacement)) {
        problems_add(problems, node, NULL, "\"pattern\" and \"replacement\", or \"path\", are missing");
        return false;
    }
    if (config->has_path && !slice_starts_with(config->path, SLICE("/")) &&
        !slice_starts_with(config->path, SLICE("${"))) {
        return refuse(problems, node, "path", NULL, "must begin with \"/\"");
    }
    if (config->has_pattern && (config->pattern.length == 0 || config->pattern.length > PATTERN_BYTES_MAX)) {
        return refuse(problems, node, "pattern", NULL, "must have 1 to 8192 characters");
    }
    const char *field = config->has_path ? "path" : "replacement";
    struct slice text = config->has_path ? config->path : config->replacement;
    if (holds_number_in_braces(text)) {
        return refuse(problems, node, field, "groups are $1 to $99, captures ${path.NAME}", "holds a number in ${}");
    }
    if (slice_find_byte(text, '?') == SLICE_NOT_FOUND && slice_find_byte(text, '#') == SLICE_NOT_FOUND) return true;
    return refuse(problems, node, field, "the filter add-query-param adds to the query",
                  "must not hold \"?\" or \"#\"");
}

static bool compile_pattern(const struct filter_compile *compile, struct slice pattern, struct rewrite_path *rewrite)
{
    int code;
    PCRE2_SIZE offset;
    const uint32_t options = PCRE2_NEVER_UTF | PCRE2_NEVER_BACKSLASH_C | PCRE2_DOLLAR_ENDONLY;
    rewrite->code = pcre2_compile((PCRE2_SPTR)pattern.at, pattern.length, options, &code, &offset, NULL);
    if (!rewrite->code) {
        char message[128], what[192];
        pcre2_get_error_message(code, (PCRE2_UCHAR *)message, sizeof message);
        snprintf(what, sizeof what, "is no regular expression: %s at position %zu", message, offset + 1);
        return refuse(compile->problems, compile->node, "pattern", NULL, what);
    }
    pcre2_jit_compile(rewrite->code, PCRE2_JIT_COMPLETE); /* where it can't, pcre2_match() interprets */
    rewrite->limits = pcre2_match_context_create(NULL);
    PROMISE(rewrite->limits != NULL);
    pcre2_set_match_limit(rewrite->limits, MATCH_STEPS_MAX);
    pcre2_set_heap_limit(rewrite->limits, MATCH_HEAP_KIB_MAX);
    return true;
}

static bool add_piece(const struct filter_compile *compile, const char *field, struct rewrite_path *rewrite,
                      struct rewrite_piece piece)
{
    if (rewrite->count < PIECES_MAX) {
        rewrite->pieces[rewrite->count++] = piece;
        return true;
    }
    template_destroy(piece.text);
    return refuse(compile->problems, compile->node, field, NULL, "has more than 32 groups and texts between them");
}

static bool add_text(const struct filter_compile *compile, const char *field, struct rewrite_path *rewrite,
                     struct slice text)
{
    if (text.length == 0) return true;
    struct template *template = filter_compile_template(compile, field, text);
    return template && add_piece(compile, field, rewrite, (struct rewrite_piece){ .text = template });
}

static bool is_digit(struct slice text, size_t at)
{
    return at < text.length && text.at[at] >= '0' && text.at[at] <= '9';
}

static bool add_group(const struct filter_compile *compile, struct rewrite_path *rewrite, uint32_t group)
{
    uint32_t groups = 0;
    pcre2_pattern_info(rewrite->code, PCRE2_INFO_CAPTURECOUNT, &groups);
    if (group <= groups) return add_piece(compile, "replacement", rewrite, (struct rewrite_piece){ .group = group });
    char what[80];
    snprintf(what, sizeof what, "speaks of group $%u, but \"pattern\" has %u", group, groups);
    return refuse(compile->problems, compile->node, "replacement", "a $ before a digit is written $$", what);
}

/* Cuts at $1 and $$1 (a literal "$1"); what is between is left to the template, ${…} and $${ included. */
static bool compile_replacement(const struct filter_compile *compile, struct slice text, struct rewrite_path *rewrite)
{
    size_t plain = 0, at = 0;
    while (at < text.length) {
        struct slice rest = slice_after(text, at);
        if (slice_starts_with(rest, SLICE("${")) || slice_starts_with(rest, SLICE("$${"))) {
            size_t length = slice_find_byte(rest, '}');
            at = length == SLICE_NOT_FOUND ? text.length : at + length + 1;
        } else if (rest.at[0] == '$' && is_digit(rest, 1)) {
            uint32_t group = (uint32_t)(rest.at[1] - '0');
            size_t end = at + 2;
            if (is_digit(rest, 2)) group = group * 10 + (uint32_t)(text.at[end++] - '0');
            if (!add_text(compile, "replacement", rewrite, slice_of(text.at + plain, at - plain))) return false;
            if (!add_group(compile, rewrite, group)) return false;
            plain = at = end;
        } else if (slice_starts_with(rest, SLICE("$$")) && is_digit(rest, 2)) {
            if (!add_text(compile, "replacement", rewrite, slice_of(text.at + plain, at - plain))) return false;
            plain = at + 1;
            at += 3;
        } else {
            at++;
        }
    }
    return add_text(compile, "replacement", rewrite, slice_after(text, plain));
}

static bool normalise(struct slice path, bool merge_slashes, struct arena *arena, struct slice *normal,
                      struct error *error)
{
    if (path.length == 0 || path.at[0] != '/') {
        return error_set(error, BLAME_US, RETRY_NEVER, 500, "bad-rewrite", "a path that does not begin with \"/\"");
    }
    struct target target;
    if (!target_parse(path, merge_slashes, arena, &target, error)) return false;
    *normal = target.path;
    if (slice_is_absent(target.query)) return true;
    return error_set(error, BLAME_US, RETRY_NEVER, 500, "bad-rewrite", "a path with a \"?\" in it");
}

/* A path without variables costs nothing later. */
static bool fix_path(const struct filter_compile *compile, struct rewrite_path *rewrite)
{
    if (rewrite->count != 1 || !template_is_constant(rewrite->pieces[0].text)) return true;
    struct arena arena;
    struct error error;
    arena_init(&arena, NULL);
    struct slice path = template_render(rewrite->pieces[0].text, NULL, NULL, &arena), normal = path;
    bool good = true;
    for (size_t merge = 0; merge < COUNT_OF(rewrite->fixed) && good; merge++) {
        good = normalise(path, merge != 0, &arena, &normal, &error);
        if (good) rewrite->fixed[merge] = slice_of(memory_copy_slice(normal), normal.length);
    }
    if (!good) refuse(compile->problems, compile->node, "path", NULL, "is no path that a request could have");
    arena_release(&arena);
    return good;
}

static bool rewrite_path_compile(const struct filter_compile *compile, const void *value, void **compiled)
{
    const struct rewrite_path_config *config = value;
    struct rewrite_path *rewrite = memory_allocate(sizeof *rewrite);
    bool good = config->has_path ? add_text(compile, "path", rewrite, config->path) && fix_path(compile, rewrite)
                                 : compile_pattern(compile, config->pattern, rewrite) &&
                                       compile_replacement(compile, config->replacement, rewrite);
    if (good) {
        *compiled = rewrite;
    } else {
        rewrite_path_release(rewrite);
    }
    return good;
}

static void rewrite_path_release(void *compiled)
{
    struct rewrite_path *rewrite = compiled;
    for (uint32_t i = 0; i < rewrite->count; i++) template_destroy(rewrite->pieces[i].text);
    pcre2_code_free(rewrite->code);
    pcre2_match_context_free(rewrite->limits);
    for (size_t i = 0; i < COUNT_OF(rewrite->fixed); i++) free((void *)(uintptr_t)rewrite->fixed[i].at);
    free(rewrite);
}

/* --- requests --- */

/* PCRE2 takes what it needs for one match from the exchange's arena, with which it goes. */
static void *allocate_in_arena(size_t size, void *arena) { return arena_allocate(arena, size); }
static void leave_in_arena(void *memory, void *arena) {}

static int match(const struct exchange *exchange, const struct rewrite_path *rewrite, pcre2_match_data **data)
{
    pcre2_general_context *general = pcre2_general_context_create(allocate_in_arena, leave_in_arena, exchange->arena);
    *data = general ? pcre2_match_data_create_from_pattern(rewrite->code, general) : NULL;
    if (!*data) return PCRE2_ERROR_NOMEMORY;
    const struct slice path = exchange->upstream_path;
    return pcre2_match(rewrite->code, (PCRE2_SPTR)path.at, path.length, 0, 0, *data, rewrite->limits);
}

static struct slice group_text(struct slice path, pcre2_match_data *data, uint32_t group)
{
    const PCRE2_SIZE *ends = pcre2_get_ovector_pointer(data);
    if (group >= pcre2_get_ovector_count(data) || ends[2 * group] == PCRE2_UNSET) return SLICE("");
    PCRE2_SIZE start = ends[2 * group], end = ends[2 * group + 1];
    return slice_of(path.at + start, end > start ? end - start : 0); /* \K in a look-ahead can put the end first */
}

/* The pieces one after the other, and round them what the match left of the path. Absent when memory is short. */
static struct slice put_together(const struct exchange *exchange, const struct rewrite_path *rewrite,
                                 pcre2_match_data *data)
{
    struct slice parts[PIECES_MAX + 2], path = exchange->upstream_path;
    size_t count = 0;
    if (data) parts[count++] = slice_before(path, (size_t)(group_text(path, data, 0).at - path.at));
    for (uint32_t i = 0; i < rewrite->count; i++) {
        const struct rewrite_piece *piece = &rewrite->pieces[i];
        parts[count] = piece->text ? exchange_render(exchange, piece->text) : group_text(path, data, piece->group);
        if (slice_is_absent(parts[count++])) return SLICE_ABSENT;
    }
    if (data) {
        struct slice whole = group_text(path, data, 0);
        parts[count++] = slice_after(path, (size_t)(whole.at - path.at) + whole.length);
    }
    return arena_join(exchange->arena, parts, count);
}

static bool merges_slashes(const struct exchange *exchange)
{
    return exchange->worker->current->snapshot->settings->merge_slashes;
}

static enum filter_result take_path(struct exchange *exchange, struct slice path)
{
    struct error error;
    if (slice_is_absent(path)) {
        respond_no_memory(exchange);
        return FILTER_RESPOND;
    }
    if (normalise(path, merges_slashes(exchange), exchange->arena, &exchange->upstream_path, &error))
        return FILTER_NEXT;
    if (error.status == 503) {
        respond_no_memory(exchange);
    } else {
        exchange_respond_problem(exchange, 500, "bad-rewrite", SLICE("rewrite-path"),
                                 "the rewritten path is not valid: %s", error.text);
    }
    return FILTER_RESPOND;
}

static enum filter_result rewrite_path_request(struct exchange *exchange, const void *compiled, void *state)
{
    const struct rewrite_path *rewrite = compiled;
    if (!slice_is_absent(rewrite->fixed[0])) {
        exchange->upstream_path = rewrite->fixed[merges_slashes(exchange)];
        return FILTER_NEXT;
    }
    if (!rewrite->code) return take_path(exchange, put_together(exchange, rewrite, NULL));
    pcre2_match_data *data;
    int result = match(exchange, rewrite, &data);
    if (result == PCRE2_ERROR_NOMATCH) return FILTER_NEXT;
    if (result >= 0) return take_path(exchange, put_together(exchange, rewrite, data));
    if (result == PCRE2_ERROR_NOMEMORY) {
        respond_no_memory(exchange);
    } else { /* a path that isn't rewritten as it should be must not reach the service */
        exchange_respond_problem(exchange, 500, "regex-limit", SLICE("rewrite-path"),
                                 "matching the path took too long");
    }
    return FILTER_RESPOND;
}
