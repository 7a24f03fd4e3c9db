/* route/private.h: what the files of this room share. No other room includes it.
 *
 * A route is compiled into a matcher (pattern.c, regex.c, matcher.c). Matchers are filed in a tree of counted, immutable
 * parts; a change copies the parts on its way and shares the rest (radix.c, candidates.c, place.c, router.c):
 *
 *   router -> hosts -> path -> place -> candidates -> matchers
 *
 *   hosts and path     radix trees over bytes; a host is spelled backwards, so that one walk meets all its suffixes
 *   place              where bytes of a path stop being literal: the end, a {name}, a '*', or regexes behind that prefix
 *   candidates         the matchers of one path pattern, indexed by the exact header and query values they ask for
 *
 * The order among matchers is in order.c, in one place for all. */
#ifndef SLUICE_ROUTE_PRIVATE_H
#define SLUICE_ROUTE_PRIVATE_H

#include "route/router.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

/* ---- Patterns ---------------------------------------------------------------------------------------------------- */

#define PATTERN_BYTES_MAX 2048                         /* of a path pattern as written; bounds the depth of the tree */
#define PATTERN_TEXT_BYTES_MAX (3 * PATTERN_BYTES_MAX) /* of its literals, where all is percent-encoded */
#define PATTERN_PARAMETERS_MAX 15                      /* with "*" ROUTE_CAPTURES_MAX */
#define PATTERN_STARS_MAX 8
#define PATTERN_PIECES_MAX (2 * (PATTERN_PARAMETERS_MAX + PATTERN_STARS_MAX) + 1)

enum piece_kind { PIECE_LITERAL, PIECE_PARAMETER, PIECE_STAR };

struct piece {
    enum piece_kind kind;
    struct slice text; /* LITERAL: its bytes. PARAMETER: the literal rest of its segment, often empty */
    struct slice name; /* PARAMETER */
};

/* Where a pattern is parsed into; its slices point into `bytes`. */
struct pattern_draft {
    struct piece pieces[PATTERN_PIECES_MAX];
    unsigned count;
    size_t length;
    char bytes[PATTERN_TEXT_BYTES_MAX];
};

/* Templates and wildcards, not regexes. Literals come out as requests carry them (http/target.h). */
bool pattern_parse(struct slice text, struct pattern_draft *, struct error *) MUST_USE;

/* Do `pieces` take all of `path` from `at` on? values[i] (if not NULL) becomes what piece i took. The first '*' takes as
 * little as it can, then the next. Time: the path's length times the number of '*', whatever the path. */
bool pieces_match(const struct piece *pieces, unsigned count, struct slice path, size_t at, struct slice *values);
bool pieces_equal(const struct piece *a, unsigned a_count, const struct piece *b, unsigned b_count);

/* ---- Regexes ----------------------------------------------------------------------------------------------------- */

#define REGEX_GROUPS_MAX 63
#define REGEX_PREFIX_MAX 256
/* PCRE2's step limit doesn't see scans that go over the same characters from each start anew (a square of the length), so
 * longer paths and header values are not looked at. */
#define REGEX_SUBJECT_BYTES_MAX 8192

struct regex {
    pcre2_code *code;
    const char *names; /* PCRE2's table: two bytes of group number, then the name with its NUL */
    uint32_t name_count, name_size;
    struct slice text; /* as written, without '~'; the caller's memory */
};

/* Paths are matched whole, with or without '^' and '$'; values are searched. */
enum regex_extent { REGEX_WHOLE, REGEX_ANYWHERE };

/* `text` must outlive the regex. */
bool regex_init(struct regex *, struct slice text, enum regex_extent, struct error *) MUST_USE;
void regex_release(struct regex *);
/* False only where it is certain that nothing which begins so can match a REGEX_WHOLE. */
bool regex_can_begin_with(struct slice text, struct slice start);
struct slice regex_name(const struct regex *, uint32_t index, uint32_t *group);
/* True for a match. What runs into a limit does not match and sets *limit_hit. */
bool regex_match(const struct regex *, struct slice subject, struct router_scratch *, bool *limit_hit);
/* What every match of a REGEX_WHOLE begins with: its literal text, behind '^' if there is one. Cut at REGEX_PREFIX_MAX. */
struct slice regex_literal_prefix(struct slice text, char into[REGEX_PREFIX_MAX]);

/* ---- Matchers ---------------------------------------------------------------------------------------------------- */

#define CONDITIONS_MAX 64 /* headers and query parameters of a rule, each */
#define JUDGED_MAX 64
#define CONDITION_VALUE_BYTES_MAX 4096

enum condition_kind { CONDITION_EXACT, CONDITION_PRESENT, CONDITION_REGEX };

struct condition {
    enum condition_kind kind;
    bool in_query;
    uint8_t header_id;  /* enum header_id */
    struct slice name;  /* a header's is lower-case */
    struct slice value; /* EXACT */
    struct regex regex; /* REGEX */
};

/* One block of memory, but for what PCRE2 holds. */
struct route_matcher {
    uint32_t references;
    int32_t priority;
    uint64_t sequence;
    void *target;

    const struct piece *pieces; /* without regex */
    uint16_t piece_count;
    bool has_regex, has_methods;
    uint16_t methods; /* bit enum method, HEAD beside GET; all of them where the rule has none */
    uint8_t header_count, query_parameter_count, exact_count, condition_count;
    uint8_t host_count, other_method_count, judged_count;
    uint16_t strip_length;
    /* In the order of condition_compare: the exact ones first, which is the order the index takes them in. */
    struct condition *conditions;
    const struct slice *hosts;         /* "*.suffix" or exact; each once */
    const struct slice *other_methods; /* those outside of enum method */
    struct regex regex;                /* has_regex */
    struct slice regex_prefix;
};

/* The request as matching sees it. */
struct route_request {
    const struct request_head *head;
    struct slice path;
    enum method method;
    struct slice method_text;
    struct router_scratch *scratch;
    bool regex_limit_hit;
};

/* The path has matched already. */
void matcher_capture(const struct route_matcher *, struct route_request *, struct route_captures *);
bool matcher_takes_method(const struct route_matcher *, const struct route_request *);
bool matcher_takes_path(const struct route_matcher *, struct route_request *);
bool condition_is_met(const struct condition *, struct route_request *);
/* Values of a query parameter one by one, decoded: *rest begins as the query. A value that can't be decoded (longer than
 * DECODED_BYTES_MAX) is skipped. The value holds until the next call. */
bool query_next_value(struct slice *rest, struct slice name, struct router_scratch *, struct slice *value);

/* ---- Order (order.c) --------------------------------------------------------------------------------------------- */

/* How well a host of the matcher fits: HOST_EXACT, else the length of the longest suffix that fits, HOST_ANY for a matcher
 * without hosts, HOST_MISMATCH if none fits. `host` may be absent. Higher ranks first. */
enum { HOST_MISMATCH = -1, HOST_ANY = 0, HOST_EXACT = INT32_MAX };
int matcher_host_rank(const struct route_matcher *, struct slice host);
/* <0: a before b among matchers that both match the request. 0 for the same sequence only. */
int matcher_compare(const struct route_matcher *a, int a_host_rank, const struct route_matcher *b, int b_host_rank);
/* The third rule alone, for pieces. */
int pieces_compare(const struct piece *a, unsigned a_count, const struct piece *b, unsigned b_count);
/* Rules four and five, and judged conditions behind them, in one number: the higher goes first. */
uint32_t matcher_specificity(const struct route_matcher *);

/* ---- Parts of the tree ------------------------------------------------------------------------------------------- */

enum part_kind { PART_NODE, PART_PLACE, PART_CANDIDATES };

/* What stands at the head of each counted part. A part with one reference, reached through parts with one reference, is
 * in no published version and may be changed in place: that is how adding many routes at once costs no copies. */
struct part {
    uint32_t references;
    int32_t priority_max; /* of all matchers in and below it */
    uint32_t crowded;     /* regexes below that the prefilter serves or should (PLACE_CROWD) */
    uint32_t unknown;     /* of these, those the prefilter doesn't know */
    uint8_t kind;         /* enum part_kind */
};

/* NULL is allowed in these. */
void part_drop(struct part *);
static inline void part_retain(struct part *part)
{
    if (part) part->references++;
}

/* One matcher put into or taken out of a tree. */
struct tree_edit {
    struct route_matcher *matcher;
    bool adding;
    const struct router_prefilter *prefilter;
};

/* ---- Radix trees (radix.c) --------------------------------------------------------------------------------------- */

/* In `bytes` lie the label, the byte that each child's label begins with (room for `capacity`), and, aligned, pointers to the
 * children: in the order a search needs them, so that it touches few cache lines. */
struct radix_node {
    struct part part;
    uint16_t label_length, child_count, capacity;
    struct part *value; /* NULL: none */
    char bytes[];
};

static inline const char *radix_label(const struct radix_node *node) { return node->bytes; }
static inline const char *radix_keys(const struct radix_node *node) { return node->bytes + node->label_length; }
static inline size_t radix_children_offset(size_t capacity, size_t label_length)
{
    return (offsetof(struct radix_node, bytes) + label_length + capacity + 7) & ~(size_t)7;
}

static inline struct radix_node **radix_children(const struct radix_node *node)
{
    return (struct radix_node **)((char *)node + radix_children_offset(node->capacity, node->label_length));
}

static inline const struct radix_node *radix_child(const struct radix_node *node, char byte)
{
    const char *keys = radix_keys(node);
    if (node->child_count > 8) {
        const char *hit = memchr(keys, byte, node->child_count);
        return hit ? radix_children(node)[hit - keys] : NULL;
    }
    for (unsigned i = 0; i < node->child_count; i++) {
        if (keys[i] == byte) return radix_children(node)[i];
    }
    return NULL;
}

const struct part *radix_find(const struct radix_node *, struct slice key); /* NULL if absent */

/* Makes, changes or (NULL) takes away the value under a key. A value with other references is copied by the function. */
typedef void radix_edit_value(struct part **value, void *argument);
/* Copies what is shared on the way, makes what is missing, clears away what became empty. *root may be or become NULL. */
void radix_edit(struct radix_node **root, struct slice key, radix_edit_value *, void *argument);
/* Puts a copy of the node in the slot if it is shared, so that its children and value can be edited. */
struct radix_node *radix_own(struct radix_node **slot);
void radix_node_free(struct radix_node *); /* for part_drop */

/* ---- Candidates (candidates.c) ----------------------------------------------------------------------------------- */

struct candidate {
    struct route_matcher *matcher;
    uint64_t sequence;
    uint32_t specificity;
    int32_t priority;
    uint16_t methods;
    bool has_more_conditions; /* not exact, or judged: to be looked at one by one */
};

/* Matchers that ask for a header or query parameter by exact value, filed under that value. */
struct candidate_group {
    bool in_query;
    uint8_t header_id;
    struct slice name;         /* owned */
    struct radix_node *values; /* of struct candidates */
};

struct candidates {
    struct part part;
    uint16_t group_count;
    uint32_t count, capacity;
    struct candidate_group *groups;
    struct candidate items[]; /* what has no (further) exact condition, best first */
};

static inline bool candidate_before(const struct candidate *a, const struct candidate *b)
{
    if (a->priority != b->priority) return a->priority > b->priority;
    if (a->specificity != b->specificity) return a->specificity > b->specificity;
    return a->sequence < b->sequence;
}

/* Becomes NULL with the last matcher. `depth`: how many of the matcher's exact conditions are dealt with. */
void candidates_edit(struct candidates **, const struct tree_edit *, unsigned depth);
void candidates_free(struct candidates *); /* for part_drop */

/* ---- Places (place.c) -------------------------------------------------------------------------------------------- */

/* What goes on behind a {name}. */
struct place_parameter {
    struct slice suffix; /* the literal rest of the segment; owned */
    struct radix_node *next;
};

/* A pattern from a '*' in its middle on: tried one by one, but for those whose last segment can't be the path's. */
struct place_glob {
    struct route_matcher *example; /* whose pieces these are; a reference */
    const struct piece *pieces;
    uint32_t piece_count;
    uint32_t tail_hash; /* of the last segment if it is literal, else 0 */
    struct candidates *candidates;
};

/* For looking up only, what it finds is compared: not against clients who choose the text. */
uint32_t hash_text(struct slice text);
/* Of what follows the last '/'; never 0. */
uint32_t hash_last_segment(struct slice path);

#define PREFILTER_UNKNOWN UINT32_MAX      /* not in the prefilter: PCRE2 decides */
#define PREFILTER_ALWAYS (UINT32_MAX - 1) /* the prefilter can't read it: PCRE2 decides */

struct place_regex {
    struct route_matcher *example; /* whose regex this is; a reference */
    struct candidates *candidates;
    int32_t priority_max;
    uint32_t text_hash;
    uint32_t prefilter_id; /* current only where the place is crowded */
};

/* From this many regexes on one place on, the prefilter is asked before PCRE2. */
#define PLACE_CROWD 8

/* The value of a node in a path tree. Where nothing but a path's end is there, as on most leaves, the value is the struct
 * candidates of that end itself. */
struct place {
    struct part part;
    uint32_t parameter_count, glob_count, regex_count;
    struct candidates *exact;           /* the path ends here */
    struct candidates *rest;            /* '*' to the end */
    struct place_parameter *parameters; /* the longest suffix first */
    struct place_glob *globs;           /* in order of pieces_compare */
    struct place_regex *regexes;        /* the highest priority_max first */
};

static inline bool place_is_crowded(const struct place *place) { return place->regex_count > PLACE_CROWD; }

/* Files a matcher in the tree of one host, or takes it out. */
void path_edit(struct radix_node **root, const struct tree_edit *);
/* Gives all crowded regexes below their numbers in another prefilter (NULL: none). */
void path_learn(struct radix_node **slot, const struct router_prefilter *);
void place_free(struct place *); /* for part_drop */

/* ---- Prefilter and scratch (prefilter.c) ------------------------------------------------------------------------- */

#define DECODED_BYTES_MAX 16384

struct router_scratch {
    pcre2_match_data *match_data;
    pcre2_match_context *match_context;
    pcre2_jit_stack *jit_stack;
    const struct regex *matched;             /* whose match the match data holds */
    const struct router_prefilter *prepared; /* what the members below are made for; a reference */
    void *scanner;                           /* hs_scratch_t */
    uint32_t *seen;                          /* by prefilter id: the scan that saw it last */
    uint32_t scan;
    char decoded[DECODED_BYTES_MAX];
};

struct router_prefilter *prefilter_retain(const struct router_prefilter *); /* NULL is allowed; any thread */
void prefilter_drop(const struct router_prefilter *);                       /* NULL is allowed; any thread */
size_t prefilter_count(const struct router_prefilter *);                    /* patterns; 0 for NULL */
uint32_t prefilter_find(const struct router_prefilter *, struct slice text);
/* Scans the path; from then on prefilter_saw() answers. False: there is no telling (memory was short). */
bool prefilter_scan(const struct router_prefilter *, struct slice path, struct router_scratch *);
static inline bool prefilter_saw(const struct router_scratch *scratch, uint32_t id)
{
    return id >= PREFILTER_ALWAYS || scratch->seen[id] == scratch->scan;
}
/* False where the processor lacks what Vectorscan needs. */
bool prefilter_is_possible(void);

/* ---- Router (router.c) ------------------------------------------------------------------------------------------- */

struct router {
    struct radix_node *any_host; /* paths of routes without hosts */
    struct radix_node *hosts;    /* by the host spelled backwards ("moc.elpmaxe", "moc.elpmaxe." for "*.example.com") */
    size_t count;
    const struct router_prefilter *prefilter; /* a reference; NULL: none */
};

struct vector;
/* Appends the text (struct slice) of each crowded regex, perhaps several times. */
void router_crowded_regexes(const struct router *, struct vector *texts);

#define HOST_BYTES_MAX 253 /* RFC 1035 3.1, less the final dot */

#endif
