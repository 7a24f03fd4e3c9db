#include "route/private.h"

/* Regexes are PCRE2's, by bytes: request paths are ASCII, and a header value need not be UTF-8. The operator writes them,
 * clients choose the subject, so limits bound what a match may cost (router_scratch_create). `$` is the end and nothing else: a query's value
 * may well end with a line break, which PCRE2 would let stand behind it. */
#define OPTIONS (PCRE2_NEVER_UTF | PCRE2_NEVER_BACKSLASH_C | PCRE2_DOLLAR_ENDONLY)

bool regex_init(struct regex *regex, struct slice text, enum regex_extent extent, struct error *error)
{
    *regex = (struct regex){ .text = text };
    if (text.length == 0) return error_format(error, "empty regex");
    if (text.length > PATTERN_BYTES_MAX) return error_format(error, "regex longer than %d bytes", PATTERN_BYTES_MAX);
    int code;
    PCRE2_SIZE offset;
    uint32_t options = OPTIONS;
    if (extent == REGEX_WHOLE) options |= PCRE2_ANCHORED | PCRE2_ENDANCHORED;
    regex->code = pcre2_compile((PCRE2_SPTR)text.at, text.length, options, &code, &offset, NULL);
    if (!regex->code) {
        char message[128];
        pcre2_get_error_message(code, (PCRE2_UCHAR *)message, sizeof message);
        return error_format(error, "regex \"%.*s\": byte %zu: %s", SLICE_PRINT(slice_before(text, 80)), offset + 1,
                            message);
    }
    uint32_t groups = 0;
    pcre2_pattern_info(regex->code, PCRE2_INFO_CAPTURECOUNT, &groups);
    pcre2_pattern_info(regex->code, PCRE2_INFO_NAMECOUNT, &regex->name_count);
    pcre2_pattern_info(regex->code, PCRE2_INFO_NAMEENTRYSIZE, &regex->name_size);
    pcre2_pattern_info(regex->code, PCRE2_INFO_NAMETABLE, &regex->names);
    if (groups > REGEX_GROUPS_MAX || regex->name_count > ROUTE_CAPTURES_MAX) {
        regex_release(regex);
        return error_format(error, "regex \"%.*s\": more than %d groups or %d named ones",
                            SLICE_PRINT(slice_before(text, 80)), REGEX_GROUPS_MAX, ROUTE_CAPTURES_MAX);
    }
    pcre2_jit_compile(regex->code, PCRE2_JIT_COMPLETE); /* where it can't, pcre2_match() interprets */
    return true;
}

void regex_release(struct regex *regex)
{
    pcre2_code_free(regex->code);
    regex->code = NULL;
}

struct slice regex_name(const struct regex *regex, uint32_t index, uint32_t *group)
{
    const unsigned char *entry = (const unsigned char *)regex->names + (size_t)index * regex->name_size;
    *group = (uint32_t)entry[0] << 8 | entry[1];
    return slice_from_cstring((const char *)entry + 2);
}

bool regex_match(const struct regex *regex, struct slice subject, struct router_scratch *scratch, bool *limit_hit)
{
    scratch->matched = NULL;
    if (subject.length > REGEX_SUBJECT_BYTES_MAX) {
        *limit_hit = true;
        return false;
    }
    const char *text = subject.at ? subject.at : "";
    int result = pcre2_match(regex->code, (PCRE2_SPTR)text, subject.length, 0, 0, scratch->match_data,
                             scratch->match_context);
    if (result >= 0) {
        scratch->matched = regex;
        return true;
    }
    if (result != PCRE2_ERROR_NOMATCH) *limit_hit = true;
    return false;
}

/* A partial match goes on to the end of what it is given as a whole one would, whatever follows there. It wants the regex without an
 * anchor at its end. Where it finds that it needs no more, or runs into a limit, that is no certainty. */
bool regex_can_begin_with(struct slice text, struct slice start)
{
    int code;
    PCRE2_SIZE offset;
    pcre2_code *open_ended = pcre2_compile((PCRE2_SPTR)text.at, text.length, OPTIONS | PCRE2_ANCHORED, &code, &offset,
                                           NULL);
    pcre2_match_data *match_data = open_ended ? pcre2_match_data_create(1, NULL) : NULL;
    int result = 0;
    if (match_data) {
        result = pcre2_match(open_ended, (PCRE2_SPTR)start.at, start.length, 0, PCRE2_PARTIAL_HARD, match_data, NULL);
    }
    pcre2_match_data_free(match_data);
    pcre2_code_free(open_ended);
    return result != PCRE2_ERROR_NOMATCH;
}

/* ---- The literal prefix ------------------------------------------------------------------------------------------ */

/* Text in which parentheses and bars may be no signs: quotations, comments, control characters, classes in classes, verbs
 * and callouts. */
static bool is_hard_to_read(struct slice text)
{
    static const char *const signs[] = { "\\Q", "#", "\\c", "[:", "(*", "(?C" };
    for (size_t i = 0; i < COUNT_OF(signs); i++) {
        if (slice_find(text, slice_from_cstring(signs[i])) != SLICE_NOT_FOUND) return true;
    }
    return false;
}

/* An alternative outside of all groups may begin without the prefix. */
static bool has_top_alternative(struct slice text)
{
    int depth = 0;
    bool in_class = false;
    for (size_t i = 0; i < text.length; i++) {
        char byte = text.at[i];
        if (byte == '\\') {
            i++;
        } else if (in_class) {
            if (byte == ']') in_class = false;
        } else if (byte == '[') {
            in_class = true;
            if (i + 1 < text.length && text.at[i + 1] == '^') i++;
            if (i + 1 < text.length && text.at[i + 1] == ']') i++; /* a literal ']' at the class's beginning */
        } else if (byte == '(') {
            depth++;
        } else if (byte == ')') {
            depth--;
        } else if (byte == '|' && depth == 0) {
            return true;
        }
    }
    return false;
}

static bool is_alphanumeric(char byte)
{
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || (byte >= '0' && byte <= '9');
}

/* What follows a character may make it optional: a quantifier, also behind a "\E", which counts as nothing. */
static bool may_be_missing(struct slice rest)
{
    return rest.length > 0 && (strchr("*?{", rest.at[0]) || slice_starts_with(rest, SLICE("\\E")));
}

struct slice regex_literal_prefix(struct slice text, char into[REGEX_PREFIX_MAX])
{
    struct slice prefix = slice_of(into, 0);
    if (is_hard_to_read(text) || has_top_alternative(text)) return prefix;
    size_t at = slice_starts_with(text, SLICE("^")) ? 1 : 0;
    while (at < text.length && prefix.length < REGEX_PREFIX_MAX) {
        char byte = text.at[at];
        size_t next = at + 1;
        if (byte == '\\') {
            if (next == text.length || is_alphanumeric(text.at[next]) || (unsigned char)text.at[next] >= 0x80) break;
            byte = text.at[next++];
        } else if (strchr("^$.[]|()?*+{}", byte)) {
            break;
        }
        if (may_be_missing(slice_after(text, next))) break;
        into[prefix.length++] = byte;
        at = next;
        if (next < text.length && text.at[next] == '+') break;
    }
    return prefix;
}
