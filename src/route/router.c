#include "route/private.h"

#include "base/memory.h"
#include "base/vector.h"

/* ---- Versions ---------------------------------------------------------------------------------------------------- */

struct router *router_create(void) { return memory_allocate(sizeof(struct router)); }

static void edit_host_paths(struct part **value, void *argument)
{
    struct radix_node *root = (struct radix_node *)*value;
    path_edit(&root, argument);
    *value = root ? &root->part : NULL;
}

/* "example.com" -> "moc.elpmaxe", "*.example.com" -> "moc.elpmaxe." */
static struct slice spell_backwards(struct slice host, char into[HOST_BYTES_MAX])
{
    if (host.at[0] == '*') host = slice_after(host, 1);
    for (size_t i = 0; i < host.length; i++) into[i] = host.at[host.length - 1 - i];
    return slice_of(into, host.length);
}

static void edit_router(struct router *router, struct route_matcher *matcher, bool adding)
{
    struct tree_edit edit = { .matcher = matcher, .adding = adding, .prefilter = router->prefilter };
    if (matcher->host_count == 0) path_edit(&router->any_host, &edit);
    for (unsigned i = 0; i < matcher->host_count; i++) {
        char backwards[HOST_BYTES_MAX];
        radix_edit(&router->hosts, spell_backwards(matcher->hosts[i], backwards), edit_host_paths, &edit);
    }
}

static struct router *share(const struct router *from)
{
    struct router *router = router_create();
    *router = *from;
    if (router->any_host) part_retain(&router->any_host->part);
    if (router->hosts) part_retain(&router->hosts->part);
    prefilter_retain(router->prefilter);
    return router;
}

struct router *router_with(const struct router *from, struct route_matcher *const *added, size_t added_count,
                           struct route_matcher *const *removed, size_t removed_count)
{
    struct router *router = share(from);
    for (size_t i = 0; i < removed_count; i++) edit_router(router, removed[i], false);
    for (size_t i = 0; i < added_count; i++) edit_router(router, added[i], true);
    router->count += added_count - removed_count;
    return router;
}

void router_destroy(struct router *router)
{
    if (!router) return;
    if (router->any_host) part_drop(&router->any_host->part);
    if (router->hosts) part_drop(&router->hosts->part);
    prefilter_drop(router->prefilter);
    free(router);
}

size_t router_count(const struct router *router) { return router->count; }

/* ---- Prefilter --------------------------------------------------------------------------------------------------- */

/* A few unknown regexes cost less than a build; forgotten ones only scan time and memory. */
#define UNKNOWN_REGEXES_MAX 8
#define FORGOTTEN_PATTERNS_MAX 64

bool router_wants_prefilter(const struct router *router)
{
    size_t crowded = 0, unknown = 0;
    if (router->any_host) {
        crowded += router->any_host->part.crowded;
        unknown += router->any_host->part.unknown;
    }
    if (router->hosts) {
        crowded += router->hosts->part.crowded;
        unknown += router->hosts->part.unknown;
    }
    size_t known = prefilter_count(router->prefilter), used = crowded - unknown;
    bool wanted = unknown >= UNKNOWN_REGEXES_MAX || known > 2 * used + FORGOTTEN_PATTERNS_MAX;
    return wanted && prefilter_is_possible();
}

/* The values of the host tree are path trees. */
static void learn_hosts(struct radix_node **slot, const struct router_prefilter *prefilter)
{
    if (!*slot || (*slot)->part.crowded == 0) return;
    struct radix_node *node = radix_own(slot);
    uint32_t unknown = 0;
    if (node->value) {
        struct radix_node *paths = (struct radix_node *)node->value;
        path_learn(&paths, prefilter);
        node->value = &paths->part;
        unknown += paths->part.unknown;
    }
    for (unsigned i = 0; i < node->child_count; i++) {
        learn_hosts(&radix_children(node)[i], prefilter);
        unknown += radix_children(node)[i]->part.unknown;
    }
    node->part.unknown = unknown;
}

struct router *router_with_prefilter(const struct router *from, struct router_prefilter *prefilter)
{
    struct router *router = share(from);
    prefilter_drop(router->prefilter);
    router->prefilter = prefilter;
    path_learn(&router->any_host, prefilter);
    learn_hosts(&router->hosts, prefilter);
    return router;
}

static void collect_crowded(const struct part *part, struct vector *texts)
{
    if (!part || part->crowded == 0) return;
    if (part->kind == PART_PLACE) {
        const struct place *place = CONTAINER_OF(part, const struct place, part);
        for (uint32_t i = 0; i < place->regex_count; i++)
            vector_push_copy(texts, &place->regexes[i].example->regex.text);
        return;
    }
    const struct radix_node *node = CONTAINER_OF(part, const struct radix_node, part);
    collect_crowded(node->value, texts);
    for (unsigned i = 0; i < node->child_count; i++) collect_crowded(&radix_children(node)[i]->part, texts);
}

void router_crowded_regexes(const struct router *router, struct vector *texts)
{
    if (router->any_host) collect_crowded(&router->any_host->part, texts);
    if (router->hosts) collect_crowded(&router->hosts->part, texts);
}

/* ---- Explain ----------------------------------------------------------------------------------------------------- */

static void collect_matchers(const struct part *part, struct vector *matchers);

static void collect_candidates(const struct candidates *candidates, struct vector *matchers)
{
    if (!candidates) return;
    for (uint32_t i = 0; i < candidates->count; i++) vector_push_pointer(matchers, candidates->items[i].matcher);
    for (unsigned i = 0; i < candidates->group_count; i++)
        collect_matchers(&candidates->groups[i].values->part, matchers);
}

static void collect_place(const struct place *place, struct vector *matchers)
{
    collect_candidates(place->exact, matchers);
    collect_candidates(place->rest, matchers);
    for (unsigned i = 0; i < place->parameter_count; i++) collect_matchers(&place->parameters[i].next->part, matchers);
    for (unsigned i = 0; i < place->glob_count; i++) collect_candidates(place->globs[i].candidates, matchers);
    for (uint32_t i = 0; i < place->regex_count; i++) collect_candidates(place->regexes[i].candidates, matchers);
}

static void collect_matchers(const struct part *part, struct vector *matchers)
{
    if (!part) return;
    if (part->kind == PART_PLACE) {
        collect_place(CONTAINER_OF(part, const struct place, part), matchers);
    } else if (part->kind == PART_CANDIDATES) {
        collect_candidates(CONTAINER_OF(part, const struct candidates, part), matchers);
    } else {
        const struct radix_node *node = CONTAINER_OF(part, const struct radix_node, part);
        collect_matchers(node->value, matchers);
        for (unsigned i = 0; i < node->child_count; i++) collect_matchers(&radix_children(node)[i]->part, matchers);
    }
}

/* Routes whose hosts don't fit stand behind the others of their priority. */
static int compare_for_host(const void *a, const void *b, void *argument)
{
    const struct route_matcher *left = *(struct route_matcher *const *)a, *right = *(struct route_matcher *const *)b;
    const struct slice *host = argument;
    return matcher_compare(left, matcher_host_rank(left, *host), right, matcher_host_rank(right, *host));
}

static enum route_refusal refusal_of(const struct route_matcher *matcher, struct route_request *request,
                                     const struct route_judge *judge)
{
    if (matcher_host_rank(matcher, request->head->host) == HOST_MISMATCH) return ROUTE_REFUSES_HOST;
    if (!matcher_takes_path(matcher, request)) return ROUTE_REFUSES_PATH;
    if (!matcher_takes_method(matcher, request)) return ROUTE_REFUSES_METHOD;
    for (unsigned i = 0; i < matcher->condition_count; i++) {
        const struct condition *condition = &matcher->conditions[i];
        if (condition_is_met(condition, request)) continue;
        return condition->in_query ? ROUTE_REFUSES_QUERY : ROUTE_REFUSES_HEADER;
    }
    if (matcher->judged_count == 0 || !judge) return ROUTE_MATCHES;
    struct route_captures captures = { .count = 0 };
    matcher_capture(matcher, request, &captures);
    return judge->holds(judge->argument, matcher->target, &captures) ? ROUTE_MATCHES : ROUTE_REFUSES_JUDGED;
}

void router_explain(const struct router *router, struct router_scratch *scratch, const struct request_head *head,
                    enum method method, struct slice method_text, const struct route_judge *judge,
                    void (*visit)(void *argument, void *target, enum route_refusal), void *argument)
{
    struct vector matchers;
    vector_init(&matchers, sizeof(void *));
    if (router->any_host) collect_matchers(&router->any_host->part, &matchers);
    if (router->hosts) collect_matchers(&router->hosts->part, &matchers);
    struct slice host = head->host;
    if (matchers.count) qsort_r(matchers.items, matchers.count, sizeof(void *), compare_for_host, &host);
    struct route_request request = {
        .head = head,
        .path = head->target.path,
        .method = method,
        .method_text = method_text,
        .scratch = scratch,
    };
    struct route_matcher *previous = NULL;
    for (size_t i = 0; i < matchers.count; i++) {
        struct route_matcher *matcher = vector_pointer_at(&matchers, i);
        if (matcher == previous) continue; /* one of several hosts each */
        previous = matcher;
        visit(argument, matcher->target, refusal_of(matcher, &request, judge));
    }
    vector_release(&matchers);
}
