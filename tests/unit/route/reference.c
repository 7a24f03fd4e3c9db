#include "reference.h"

/* ---- Paths ------------------------------------------------------------------------------------------------------- */

struct walk {
    struct slice pattern, path;
    struct route_captures captures;
    struct slice star; /* what the last '*' took */
    bool has_star;
};

static bool walk_on(struct walk *walk, size_t pattern_at, size_t path_at);

/* "{name}": the longest run first; the rest of the segment decides. */
static bool walk_parameter(struct walk *walk, size_t pattern_at, size_t path_at)
{
    size_t length = slice_find_byte(slice_after(walk->pattern, pattern_at), '}') + 1;
    size_t end = path_at;
    while (end < walk->path.length && walk->path.at[end] != '/') end++;
    unsigned index = walk->captures.count++;
    walk->captures.items[index].name = slice_of(walk->pattern.at + pattern_at + 1, length - 2);
    for (; end > path_at; end--) {
        walk->captures.items[index].value = slice_of(walk->path.at + path_at, end - path_at);
        if (walk_on(walk, pattern_at + length, end)) return true;
    }
    walk->captures.count--;
    return false;
}

/* '*': the shortest run first. */
static bool walk_star(struct walk *walk, size_t pattern_at, size_t path_at)
{
    while (pattern_at < walk->pattern.length && walk->pattern.at[pattern_at] == '*') pattern_at++;
    bool is_last = slice_find_byte(slice_after(walk->pattern, pattern_at), '*') == SLICE_NOT_FOUND;
    for (size_t end = path_at; end <= walk->path.length; end++) {
        if (!walk_on(walk, pattern_at, end)) continue;
        walk->has_star = true;
        if (is_last) walk->star = slice_of(walk->path.at + path_at, end - path_at);
        return true;
    }
    return false;
}

static bool walk_on(struct walk *walk, size_t pattern_at, size_t path_at)
{
    if (pattern_at == walk->pattern.length) return path_at == walk->path.length;
    char sign = walk->pattern.at[pattern_at];
    if (sign == '{') return walk_parameter(walk, pattern_at, path_at);
    if (sign == '*') return walk_star(walk, pattern_at, path_at);
    return path_at < walk->path.length && walk->path.at[path_at] == sign && walk_on(walk, pattern_at + 1, path_at + 1);
}

static bool template_matches(struct slice pattern, struct slice path, struct route_captures *captures)
{
    struct walk walk = { .pattern = pattern, .path = path };
    if (!walk_on(&walk, 0, 0)) return false;
    *captures = walk.captures;
    if (walk.has_star) captures->items[captures->count++] = (struct route_capture){ SLICE("*"), walk.star };
    return true;
}

/* Named groups into *captures, where that is not NULL. */
static bool regex_matches(struct slice text, enum regex_extent extent, struct slice subject,
                          struct route_captures *captures)
{
    char form[256];
    snprintf(form, sizeof form, extent == REGEX_WHOLE ? "\\A(?:%.*s)\\z" : "%.*s", SLICE_PRINT(text));
    int code;
    PCRE2_SIZE offset;
    pcre2_code *regex = pcre2_compile((PCRE2_SPTR)form, PCRE2_ZERO_TERMINATED, 0, &code, &offset, NULL);
    pcre2_match_data *match_data = pcre2_match_data_create_from_pattern(regex, NULL);
    const char *bytes = subject.at ? subject.at : "";
    bool matches = pcre2_match(regex, (PCRE2_SPTR)bytes, subject.length, 0, 0, match_data, NULL) >= 0;
    if (matches && captures) {
        captures->count = 0;
        uint32_t count, size;
        PCRE2_SPTR table;
        pcre2_pattern_info(regex, PCRE2_INFO_NAMECOUNT, &count);
        pcre2_pattern_info(regex, PCRE2_INFO_NAMEENTRYSIZE, &size);
        pcre2_pattern_info(regex, PCRE2_INFO_NAMETABLE, &table);
        for (uint32_t i = 0; i < count; i++) {
            unsigned group = (unsigned)table[i * size] << 8 | table[i * size + 1];
            const PCRE2_SIZE *pair = pcre2_get_ovector_pointer(match_data) + (size_t)2 * group;
            if (pair[0] == PCRE2_UNSET) continue;
            size_t at = slice_find(text, slice_from_cstring((const char *)table + i * size + 2)); /* outlives `regex` */
            captures->items[captures->count++] = (struct route_capture){
                slice_of(text.at + at, strlen((const char *)table + i * size + 2)),
                slice_of(bytes + pair[0], pair[1] - pair[0]),
            };
        }
    }
    pcre2_match_data_free(match_data);
    pcre2_code_free(regex);
    return matches;
}

static bool path_matches(struct slice pattern, struct slice path, struct route_captures *captures)
{
    captures->count = 0;
    if (pattern.at[0] == '~') return regex_matches(slice_after(pattern, 1), REGEX_WHOLE, path, captures);
    return template_matches(pattern, path, captures);
}

/* ---- Conditions -------------------------------------------------------------------------------------------------- */

static bool value_matches(struct slice wanted, struct slice value)
{
    if (slice_equal(wanted, SLICE("*"))) return true;
    if (wanted.length && wanted.at[0] == '~') return regex_matches(slice_after(wanted, 1), REGEX_ANYWHERE, value, NULL);
    return slice_equal(wanted, value);
}

static bool header_matches(const struct route_condition *condition, const struct request_head *head)
{
    for (struct header *header = headers_next(&head->headers, NULL); header;
         header = headers_next(&head->headers, header)) {
        if (slice_equal_ignore_case(header->name, condition->name) && value_matches(condition->value, header->value)) {
            return true;
        }
    }
    return false;
}

static size_t decode(struct slice text, char *into)
{
    size_t length = 0;
    for (size_t i = 0; i < text.length; i++) {
        unsigned byte;
        if (text.at[i] == '%' && i + 2 < text.length && sscanf(text.at + i + 1, "%2x", &byte) == 1)
            i += 2;
        else
            byte = (unsigned char)(text.at[i] == '+' ? ' ' : text.at[i]);
        into[length++] = (char)byte;
    }
    return length;
}

static bool query_matches(const struct route_condition *condition, const struct request_head *head)
{
    struct slice rest = head->target.query, pair;
    char name[256], value[256];
    while (slice_next(&rest, '&', &pair)) {
        size_t equals = slice_find_byte(pair, '=');
        size_t name_length = decode(slice_before(pair, equals), name);
        size_t value_length = equals == SLICE_NOT_FOUND ? 0 : decode(slice_after(pair, equals + 1), value);
        if (pair.length && slice_equal(slice_of(name, name_length), condition->name) &&
            value_matches(condition->value, slice_of(value, value_length))) {
            return true;
        }
    }
    return false;
}

static bool conditions_match(const struct route_rule *rule, const struct request_head *head)
{
    for (size_t i = 0; i < rule->header_count; i++) {
        if (!header_matches(&rule->headers[i], head)) return false;
    }
    for (size_t i = 0; i < rule->query_parameter_count; i++) {
        if (!query_matches(&rule->query_parameters[i], head)) return false;
    }
    return true;
}

bool reference_judges(const struct route_rule *rule, struct slice path)
{
    return rule->judged_count == 0 || (path.length + rule->sequence + rule->judged_count) % 2 == 0;
}

static bool method_matches(const struct route_rule *rule, struct slice method)
{
    for (size_t i = 0; i < rule->method_count; i++) {
        if (slice_equal(rule->methods[i], method)) return true;
        if (slice_equal(rule->methods[i], SLICE("GET")) && slice_equal(method, SLICE("HEAD"))) return true;
    }
    return rule->method_count == 0;
}

static uint16_t method_bits(const struct route_rule *rule)
{
    uint16_t bits = 0;
    for (size_t i = 0; i < rule->method_count; i++) {
        bits |= (uint16_t)(1u << method_find(rule->methods[i]));
        if (slice_equal(rule->methods[i], SLICE("GET"))) bits |= 1u << METHOD_HEAD;
    }
    return bits;
}

/* ---- The list ---------------------------------------------------------------------------------------------------- */

void reference_match(const struct reference_route *const *routes, size_t count, const struct request_head *head,
                     enum method method, struct slice method_text, struct reference_answer *answer)
{
    *answer = (struct reference_answer){ .result = ROUTE_NONE };
    for (size_t i = 0; i < count; i++) {
        const struct reference_route *route = routes[i];
        struct route_captures captures;
        int rank = matcher_host_rank(route->matcher, head->host);
        if (rank == HOST_MISMATCH || !path_matches(route->rule.path, head->target.path, &captures)) continue;
        if (!conditions_match(&route->rule, head) || !reference_judges(&route->rule, head->target.path)) continue;
        if (!method_matches(&route->rule, method_text)) {
            answer->allowed_methods |= method_bits(&route->rule);
            continue;
        }
        const struct reference_route *best = answer->route;
        if (best &&
            matcher_compare(route->matcher, rank, best->matcher, matcher_host_rank(best->matcher, head->host)) > 0) {
            continue;
        }
        answer->route = route;
        answer->captures = captures;
    }
    if (answer->route)
        answer->result = ROUTE_FOUND;
    else if (answer->allowed_methods)
        answer->result = ROUTE_METHOD_NOT_ALLOWED;
}

struct route_matcher *matcher_of_path(const char *path, uint64_t sequence, struct error *error)
{
    struct route_rule rule = { .path = slice_from_cstring(path), .sequence = sequence };
    return route_matcher_create(&rule, NULL, error);
}
