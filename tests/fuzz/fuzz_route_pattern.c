/* Route patterns and the router.
 *
 * An input that begins with '/' or '~' is a pattern, a line feed and a path: what compiles must read the same once it is
 * normalised and match as the plain reference does; a regex must match whole paths only, and none without its literal
 * prefix. Any other input is a row of choices for a whole scenario of rules, requests and changes
 * (tests/unit/route/scenario.h). */
#include "../unit/route/reference.c"
#include "../unit/route/scenario.c"

#define PATH_BYTES_MAX 40 /* the reference backtracks without bound */
#define WILDCARDS_MAX 4
#define CHOICES_MAX 600 /* longer scenarios are slow */

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

static size_t write_pieces(const struct route_matcher *matcher, char *text, size_t size)
{
    size_t length = 0;
    for (unsigned i = 0; i < matcher->piece_count; i++) {
        const struct piece *piece = &matcher->pieces[i];
        const char *open = piece->kind == PIECE_PARAMETER ? "{" : piece->kind == PIECE_STAR ? "*" : "";
        const char *close = piece->kind == PIECE_PARAMETER ? "}" : "";
        length += (size_t)snprintf(text + length, size - length, "%s%.*s%s%.*s", open, SLICE_PRINT(piece->name), close,
                                   SLICE_PRINT(piece->text));
        PROMISE(length < size);
    }
    return length;
}

/* The pattern in its normal form compiles to the same pieces. */
static void check_normal_form(const struct route_matcher *matcher, struct slice text)
{
    struct route_rule rule = { .path = text };
    if (text.length > PATTERN_BYTES_MAX) return; /* encoding made it too long to be written that way */
    struct error error = { .text = "" };
    struct route_matcher *again = route_matcher_create(&rule, NULL, &error);
    PROMISE(again);
    PROMISE(pieces_equal(matcher->pieces, matcher->piece_count, again->pieces, again->piece_count));
    route_matcher_drop(again);
}

static void check_match(struct route_matcher *matcher, struct slice text, struct slice path)
{
    struct arena arena;
    arena_init(&arena, NULL);
    struct request_head head;
    request_head_init(&head, &arena);
    head.target.path = path;
    struct router_scratch *scratch = router_scratch_create();
    struct router *empty = router_create(), *router = router_with(empty, &matcher, 1, NULL, 0);
    struct route_match match;
    enum route_result result = router_match(router, scratch, &head, METHOD_GET, SLICE("GET"), NULL, &arena, &match);
    if (matcher->has_regex) {
        PROMISE(result != ROUTE_FOUND || slice_starts_with(path, matcher->regex_prefix));
        bool limit_hit = false, matches = regex_match(&matcher->regex, path, scratch, &limit_hit);
        PROMISE(matches == (result == ROUTE_FOUND));
        PROMISE(!matches || pcre2_get_ovector_pointer(scratch->match_data)[1] == path.length);
    } else {
        const struct reference_route route = { .rule = { .path = text }, .matcher = matcher }, *list[] = { &route };
        struct reference_answer expected;
        reference_match(list, 1, &head, METHOD_GET, SLICE("GET"), &expected);
        PROMISE(result == expected.result);
        PROMISE(result != ROUTE_FOUND || captures_equal(&match.captures, &expected.captures));
        PROMISE(result != ROUTE_FOUND || path.at[route_matcher_strip_length(matcher, path)] == '/');
    }
    router_destroy(router);
    router_destroy(empty);
    router_scratch_destroy(scratch);
    arena_release(&arena);
}

static void check_pattern(struct slice input)
{
    size_t line = slice_find_byte(input, '\n');
    struct slice pattern = slice_before(input, line);
    struct slice path = line == SLICE_NOT_FOUND ? SLICE("/") : slice_after(input, line + 1);
    struct route_rule rule = { .path = pattern };
    struct error error = { .text = "" };
    struct route_matcher *matcher = route_matcher_create(&rule, NULL, &error);
    if (!matcher) {
        PROMISE(error.text[0]);
        return;
    }
    static char text[PATTERN_TEXT_BYTES_MAX + 1];
    struct slice normal = slice_of(text, write_pieces(matcher, text, sizeof text));
    unsigned wildcards = 0;
    for (unsigned i = 0; i < matcher->piece_count; i++) wildcards += matcher->pieces[i].kind != PIECE_LITERAL;
    if (!matcher->has_regex) check_normal_form(matcher, normal);
    if (path.length <= PATH_BYTES_MAX && wildcards <= WILDCARDS_MAX) check_match(matcher, normal, path);
    route_matcher_drop(matcher);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    bool is_pattern = length > 0 && (bytes[0] == '/' || bytes[0] == '~');
    if (is_pattern)
        check_pattern(slice_of((const char *)bytes, length));
    else
        PROMISE(scenario_run(bytes, length));
    return 0;
}
