#include "route/private.h"

/* The search. It walks the tree in the order of the third rule (order.c) and host by host in the order of the second, so
 * of two routes of one priority the one met first wins; parts that hold nothing of a higher priority than the best so far
 * are passed over. Among the matchers of one pattern (one rank) candidate_before() decides.
 *
 * Each part of the tree is looked at once at most: without '*' a part belongs to one position of the path. The depth of
 * recursion is that of the tree, which the operator's patterns make (PATTERN_BYTES_MAX), not the client's path. */

/* What a 405 may say, gathered by a second walk over all routes that take everything but the method. */
struct allowed {
    uint16_t methods;
    unsigned other_count;
    struct slice others[16]; /* outside of enum method; more are left out */
};

struct search {
    struct route_request request;
    const struct router_prefilter *prefilter;
    const struct candidate *best;
    int64_t best_priority;           /* INT64_MIN: none yet */
    int64_t floor;                   /* the best of earlier ranks: only a higher priority is of interest */
    struct allowed *allowed;         /* only in the second walk */
    const struct route_judge *judge; /* NULL: judged conditions hold */
    uint16_t method_bit;
    bool method_refused; /* the path of some route fits, and its methods don't: there may be a 405 */
    bool scanned, scan_tells;
};

static bool is_of_interest(const struct search *search, const struct part *part)
{
    return part->priority_max > search->best_priority || search->allowed;
}

/* ---- One rank: the matchers of one pattern ----------------------------------------------------------------------- */

static bool improves(const struct search *search, const struct candidate *candidate)
{
    if (candidate->priority <= search->floor) return false;
    return search->best_priority <= search->floor || candidate_before(candidate, search->best);
}

static bool takes_method(const struct search *search, const struct candidate *candidate)
{
    if (!(candidate->methods & search->method_bit)) return false;
    return search->request.method != METHOD_OTHER || matcher_takes_method(candidate->matcher, &search->request);
}

static bool is_judged_well(struct search *search, const struct route_matcher *matcher)
{
    if (matcher->judged_count == 0 || !search->judge) return true;
    struct route_captures captures = { .count = 0 };
    matcher_capture(matcher, &search->request, &captures);
    return search->judge->holds(search->judge->argument, matcher->target, &captures);
}

/* The exact ones were met on the way through the index. */
static bool meets_more_conditions(struct search *search, const struct candidate *candidate)
{
    const struct route_matcher *matcher = candidate->matcher;
    if (!candidate->has_more_conditions) return true;
    for (unsigned i = matcher->exact_count; i < matcher->condition_count; i++) {
        if (!condition_is_met(&matcher->conditions[i], &search->request)) return false;
    }
    return is_judged_well(search, matcher);
}

static void add_other_method(struct allowed *allowed, struct slice name)
{
    for (unsigned i = 0; i < allowed->other_count; i++) {
        if (slice_equal(allowed->others[i], name)) return;
    }
    if (allowed->other_count < COUNT_OF(allowed->others)) allowed->others[allowed->other_count++] = name;
}

static void collect_methods(struct allowed *allowed, const struct route_matcher *matcher)
{
    if (!matcher->has_methods) return;
    allowed->methods |= matcher->methods;
    for (unsigned i = 0; i < matcher->other_method_count; i++) add_other_method(allowed, matcher->other_methods[i]);
}

static void search_items(struct search *search, const struct candidates *candidates)
{
    for (uint32_t i = 0; i < candidates->count; i++) {
        const struct candidate *candidate = &candidates->items[i];
        if (search->allowed) {
            if (meets_more_conditions(search, candidate)) collect_methods(search->allowed, candidate->matcher);
            continue;
        }
        if (!improves(search, candidate)) return; /* nor do those behind it */
        if (!takes_method(search, candidate)) {
            search->method_refused = true;
        } else if (meets_more_conditions(search, candidate)) {
            search->best = candidate;
            search->best_priority = candidate->priority;
            return;
        }
    }
}

static void search_candidates(struct search *search, const struct candidates *candidates);

static void search_value(struct search *search, const struct candidate_group *group, struct slice value)
{
    const struct part *part = radix_find(group->values, value);
    if (part) search_candidates(search, CONTAINER_OF(part, const struct candidates, part));
}

static void search_group(struct search *search, const struct candidate_group *group)
{
    struct route_request *request = &search->request;
    const struct headers *headers = &request->head->headers;
    if (group->in_query) {
        struct slice rest = request->head->target.query, value;
        while (query_next_value(&rest, group->name, request->scratch, &value)) search_value(search, group, value);
        return;
    }
    const struct header *header = group->header_id != HEADER_OTHER ? headers_find_known(headers, group->header_id)
                                                                   : headers_find(headers, group->name);
    for (; header; header = headers_find_next(headers, header)) search_value(search, group, header->value);
}

/* The priority of `part` could still win within this rank. */
static bool is_open(const struct search *search, int32_t priority_max)
{
    return search->allowed || (priority_max > search->floor && priority_max >= search->best_priority);
}

/* Depth: the exact conditions of a rule (CONDITIONS_MAX). */
static void search_candidates(struct search *search, const struct candidates *candidates)
{
    search_items(search, candidates);
    for (unsigned i = 0; i < candidates->group_count; i++) {
        const struct candidate_group *group = &candidates->groups[i];
        if (is_open(search, group->values->part.priority_max)) search_group(search, group);
    }
}

static void search_rank(struct search *search, const struct candidates *candidates)
{
    if (!is_of_interest(search, &candidates->part)) return;
    search->floor = search->best_priority;
    search_candidates(search, candidates);
}

/* ---- Regexes ----------------------------------------------------------------------------------------------------- */

/* False: the scan ran and the path can't match. */
static bool may_match(struct search *search, const struct place_regex *regex)
{
    if (!search->scanned) {
        search->scanned = true;
        search->scan_tells = prefilter_scan(search->prefilter, search->request.path, search->request.scratch);
    }
    return !search->scan_tells || prefilter_saw(search->request.scratch, regex->prefilter_id);
}

/* A lone candidate that could not win anyway saves the regex. */
static bool is_worth_matching(struct search *search, const struct candidates *candidates)
{
    if (search->allowed || candidates->count != 1 || candidates->group_count != 0) return true;
    const struct candidate *candidate = &candidates->items[0];
    if (!improves(search, candidate)) return false;
    bool takes = takes_method(search, candidate);
    if (!takes) search->method_refused = true; /* perhaps; the second walk looks */
    return takes;
}

/* All regexes of one place are one rank. */
static void search_regexes(struct search *search, const struct place *place)
{
    search->floor = search->best_priority;
    bool asks_prefilter = place_is_crowded(place) && search->prefilter;
    for (uint32_t i = 0; i < place->regex_count; i++) {
        const struct place_regex *regex = &place->regexes[i];
        if (!is_open(search, regex->priority_max)) return; /* sorted by priority */
        if (asks_prefilter && !may_match(search, regex)) continue;
        if (!is_worth_matching(search, regex->candidates)) continue;
        struct route_request *request = &search->request;
        if (regex_match(&regex->example->regex, request->path, request->scratch, &request->regex_limit_hit)) {
            search_candidates(search, regex->candidates);
        }
    }
}

/* ---- The path ---------------------------------------------------------------------------------------------------- */

static void search_path(struct search *search, const struct radix_node *node, size_t at);

static void search_parameters(struct search *search, const struct place *place, size_t at)
{
    struct slice rest = slice_after(search->request.path, at);
    struct slice segment = slice_before(rest, slice_find_byte(rest, '/'));
    for (unsigned i = 0; i < place->parameter_count; i++) {
        const struct place_parameter *parameter = &place->parameters[i];
        if (segment.length <= parameter->suffix.length || !slice_ends_with(segment, parameter->suffix)) continue;
        search_path(search, parameter->next, at + segment.length);
    }
}

static void search_globs(struct search *search, const struct place *place, size_t at)
{
    struct slice path = search->request.path;
    uint32_t tail_hash = hash_last_segment(path);
    for (uint32_t i = 0; i < place->glob_count; i++) {
        const struct place_glob *glob = &place->globs[i];
        if (glob->tail_hash && glob->tail_hash != tail_hash) continue;
        if (!is_of_interest(search, &glob->candidates->part)) continue;
        if (pieces_match(glob->pieces, glob->piece_count, path, at, NULL)) search_rank(search, glob->candidates);
    }
}

static void search_place(struct search *search, const struct place *place, size_t at)
{
    if (!is_of_interest(search, &place->part)) return;
    if (place->parameter_count) search_parameters(search, place, at);
    if (place->exact && at == search->request.path.length) search_rank(search, place->exact);
    if (place->glob_count) search_globs(search, place, at);
    if (place->rest) search_rank(search, place->rest);
    if (place->regex_count) search_regexes(search, place);
}

static void search_value_of_path(struct search *search, const struct part *value, size_t at)
{
    if (value->kind == PART_PLACE) {
        search_place(search, CONTAINER_OF(value, const struct place, part), at);
    } else if (at == search->request.path.length) {
        search_rank(search, CONTAINER_OF(value, const struct candidates, part));
    }
}

static void search_path(struct search *search, const struct radix_node *node, size_t at)
{
    struct slice path = search->request.path;
    while (node && is_of_interest(search, &node->part)) {
        struct slice label = slice_of(radix_label(node), node->label_length);
        if (!slice_starts_with(slice_after(path, at), label)) return;
        at += label.length;
        const struct radix_node *child = at < path.length ? radix_child(node, path.at[at]) : NULL;
        if (node->value) {
            if (child) search_path(search, child, at);
            search_value_of_path(search, node->value, at);
            return;
        }
        node = child;
    }
}

/* ---- Hosts ------------------------------------------------------------------------------------------------------- */

static void search_paths(struct search *search, const struct part *paths)
{
    search_path(search, CONTAINER_OF(paths, const struct radix_node, part), 0);
}

/* Walks down by the host's bytes from its end. What is met at a '.' is a suffix, what is met at the end the host itself;
 * no name that a rule can hold has more dots than HOST_BYTES_MAX / 2. */
static void search_hosts(struct search *search, const struct radix_node *node, struct slice host)
{
    const struct part *suffixes[HOST_BYTES_MAX / 2 + 1];
    unsigned count = 0;
    size_t at = 0;
    while (node) {
        const char *label = radix_label(node);
        size_t length = node->label_length;
        if (length > host.length - at) break;
        size_t same = 0;
        while (same < length && label[same] == host.at[host.length - 1 - at - same]) same++;
        if (same < length) break;
        at += length;
        bool is_suffix = at > 0 && host.at[host.length - at] == '.';
        if (node->value && is_suffix && at < host.length) suffixes[count++] = node->value;
        if (at == host.length) {
            if (node->value && !is_suffix) search_paths(search, node->value);
            break;
        }
        node = radix_child(node, host.at[host.length - 1 - at]);
    }
    while (count > 0) search_paths(search, suffixes[--count]);
}

static void search_router(struct search *search, const struct router *router)
{
    struct slice host = search->request.head->host;
    if (router->hosts && host.length > 0) search_hosts(search, router->hosts, host);
    if (router->any_host) search_path(search, router->any_host, 0);
}

/* ---- The answer -------------------------------------------------------------------------------------------------- */

/* "GET, HEAD, POST", then the methods outside of the enum. */
static struct slice write_allow(const struct allowed *allowed, struct arena *arena)
{
    struct slice pieces[2 * (METHOD_COUNT + COUNT_OF(allowed->others))];
    size_t count = 0;
    for (unsigned method = METHOD_OTHER + 1; method < METHOD_COUNT; method++) {
        if (!(allowed->methods & 1u << method)) continue;
        pieces[count++] = SLICE(", ");
        pieces[count++] = method_name((enum method)method);
    }
    for (unsigned i = 0; i < allowed->other_count; i++) {
        pieces[count++] = SLICE(", ");
        pieces[count++] = allowed->others[i];
    }
    return count ? arena_join(arena, pieces + 1, count - 1) : SLICE_ABSENT;
}

static enum route_result answer_found(struct search *search, struct route_match *match)
{
    const struct route_matcher *matcher = search->best->matcher;
    match->target = matcher->target;
    match->matcher = matcher;
    matcher_capture(matcher, &search->request, &match->captures);
    return ROUTE_FOUND;
}

static enum route_result answer_not_allowed(struct search *search, const struct router *router, struct arena *arena,
                                            struct route_match *match)
{
    struct allowed allowed = { .methods = 0 };
    search->allowed = &allowed;
    search_router(search, router);
    search->allowed = NULL;
    if (allowed.methods == 0) return ROUTE_NONE;
    match->allowed_methods = allowed.methods;
    match->allow = write_allow(&allowed, arena);
    return ROUTE_METHOD_NOT_ALLOWED;
}

enum route_result router_match(const struct router *router, struct router_scratch *scratch,
                               const struct request_head *head, enum method method, struct slice method_text,
                               const struct route_judge *judge, struct arena *arena, struct route_match *match)
{
    struct search search = {
        .request = { .head = head,
                     .path = head->target.path,
                     .method = method,
                     .method_text = method_text,
                     .scratch = scratch },
        .prefilter = router->prefilter,
        .best_priority = INT64_MIN,
        .floor = INT64_MIN,
        .judge = judge,
        .method_bit = (uint16_t)(1u << method),
    };
    match->target = NULL;
    match->matcher = NULL;
    match->captures.count = 0;
    match->allowed_methods = 0;
    match->allow = SLICE_ABSENT;
    search_router(&search, router);
    enum route_result result = ROUTE_NONE;
    if (search.best)
        result = answer_found(&search, match);
    else if (search.method_refused)
        result = answer_not_allowed(&search, router, arena, match);
    match->regex_limit_hit = search.request.regex_limit_hit;
    return result;
}
