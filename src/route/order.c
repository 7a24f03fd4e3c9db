#include "route/private.h"

/* The total order among the routes that match a request (ARCHITECTURE.md, routing; docs/routing.md for users):
 *
 *   1. priority: higher first
 *   2. host: exact, then the longer suffix, then none; of a rule's hosts the best one that fits counts
 *   3. path: patterns are compared from the left as rows of signs, and the first difference decides:
 *
 *          a byte  <  {name}  <  the end  <  *  <  regex
 *
 *      - {name} with a literal rest in its segment is one sign; the longer rest goes first: "{f}.tar.gz" before "{f}.gz"
 *        before "{f}".
 *      - A regex is its literal prefix and then the sign "regex". So it ranks by that prefix, and behind all templates
 *        that share it. Two regexes with one prefix are equal here.
 *      - Two different bytes can only both match behind a '*'; then the smaller byte goes first.
 *      - The end stands behind bytes because "/(*)/b" is narrower than "/(*)", and before '*' because "/a" is narrower
 *        than "/a*".
 *   4. a route with methods before one without
 *   5. more header conditions, then more query conditions, then more judged ones (predicates, a version)
 *   6. the older route: sequence, unique
 *
 * The search (match.c) never sorts: it walks the tree in the order of rule 3, so that what it finds first at a priority
 * wins, and uses candidate_before() for 1, 4, 5 and 6 among the matchers of one pattern. Tests hold it against this. */

static bool host_fits_suffix(struct slice pattern, struct slice host)
{
    struct slice suffix = slice_after(pattern, 1); /* "*.example.com" -> ".example.com" */
    return host.length > suffix.length && slice_ends_with(host, suffix);
}

int matcher_host_rank(const struct route_matcher *matcher, struct slice host)
{
    if (matcher->host_count == 0) return HOST_ANY;
    int rank = HOST_MISMATCH;
    for (unsigned i = 0; i < matcher->host_count; i++) {
        struct slice pattern = matcher->hosts[i];
        if (pattern.at[0] != '*') {
            if (slice_equal(pattern, host)) return HOST_EXACT;
        } else if (host_fits_suffix(pattern, host) && (int)pattern.length > rank) {
            rank = (int)pattern.length;
        }
    }
    return rank;
}

enum sign_kind { SIGN_BYTE, SIGN_PARAMETER, SIGN_END, SIGN_STAR, SIGN_REGEX };

static enum sign_kind sign_of(const struct piece *pieces, unsigned count, unsigned at)
{
    if (at == count) return SIGN_END;
    static const enum sign_kind signs[] = { SIGN_BYTE, SIGN_PARAMETER, SIGN_STAR };
    return signs[pieces[at].kind];
}

static int compare_suffixes(struct slice a, struct slice b)
{
    if (a.length != b.length) return a.length > b.length ? -1 : 1;
    return slice_compare(a, b);
}

/* A literal is followed by a sign that is no byte, so where one goes on the other has a later sign. */
static int compare_literals(struct slice a, struct slice b)
{
    size_t common = a.length < b.length ? a.length : b.length;
    int order = memcmp(a.at, b.at, common);
    return order != 0 ? order : (a.length < b.length) - (a.length > b.length);
}

/* `a_last`, `b_last`: the sign behind the last piece, SIGN_END or SIGN_REGEX. */
static int compare_signs(const struct piece *a, unsigned a_count, enum sign_kind a_last, const struct piece *b,
                         unsigned b_count, enum sign_kind b_last)
{
    for (unsigned at = 0;; at++) {
        enum sign_kind left = sign_of(a, a_count, at), right = sign_of(b, b_count, at);
        if (left == SIGN_END) left = a_last;
        if (right == SIGN_END) right = b_last;
        if (left != right) return left < right ? -1 : 1;
        if (left == SIGN_END || left == SIGN_REGEX) return 0;
        int order = 0;
        if (left == SIGN_BYTE) order = compare_literals(a[at].text, b[at].text);
        if (left == SIGN_PARAMETER) order = compare_suffixes(a[at].text, b[at].text);
        if (order != 0) return order;
    }
}

int pieces_compare(const struct piece *a, unsigned a_count, const struct piece *b, unsigned b_count)
{
    return compare_signs(a, a_count, SIGN_END, b, b_count, SIGN_END);
}

static int compare_paths(const struct route_matcher *a, const struct route_matcher *b)
{
    struct piece a_prefix = { .kind = PIECE_LITERAL, .text = a->regex_prefix };
    struct piece b_prefix = { .kind = PIECE_LITERAL, .text = b->regex_prefix };
    return compare_signs(
        a->has_regex ? &a_prefix : a->pieces, a->has_regex ? a->regex_prefix.length > 0 : a->piece_count,
        a->has_regex ? SIGN_REGEX : SIGN_END, b->has_regex ? &b_prefix : b->pieces,
        b->has_regex ? b->regex_prefix.length > 0 : b->piece_count, b->has_regex ? SIGN_REGEX : SIGN_END);
}

uint32_t matcher_specificity(const struct route_matcher *matcher)
{
    return (uint32_t)matcher->has_methods << 24 | (uint32_t)matcher->header_count << 16 |
           (uint32_t)matcher->query_parameter_count << 8 | matcher->judged_count;
}

int matcher_compare(const struct route_matcher *a, int a_host_rank, const struct route_matcher *b, int b_host_rank)
{
    if (a->priority != b->priority) return a->priority > b->priority ? -1 : 1;
    if (a_host_rank != b_host_rank) return a_host_rank > b_host_rank ? -1 : 1;
    int order = compare_paths(a, b);
    if (order != 0) return order;
    uint32_t a_specificity = matcher_specificity(a), b_specificity = matcher_specificity(b);
    if (a_specificity != b_specificity) return a_specificity > b_specificity ? -1 : 1;
    return (a->sequence > b->sequence) - (a->sequence < b->sequence);
}
