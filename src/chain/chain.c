/* chain/chain.c: the registry as configuration sees it, and a route's filters compiled into one chain. */
#include "chain/chain.h"

#include "base/memory.h"
#include "expr/template.h"
#include "expr/variables.h"

struct policy_kinds policy_registry_kinds(const struct policy_registry *registry)
{
    size_t count = 0;
    while (registry->filters[count]) count++;
    struct policy_kind *kinds = memory_allocate_array(count ? count : 1, sizeof *kinds);
    for (size_t i = 0; i < count; i++) {
        const struct filter *filter = registry->filters[i];
        kinds[i] = (struct policy_kind){
            .name = filter->name,
            .fields = filter->fields,
            .config_size = filter->config_size,
            .on_response_allowed = filter->on_response_allowed,
            .all_scopes_apply = filter->all_scopes_apply,
            .check = filter->check,
        };
    }
    return (struct policy_kinds){ kinds, count };
}

const struct filter *policy_registry_find(const struct policy_registry *registry, const struct policy_kind *kind)
{
    for (const struct filter *const *filter = registry->filters; *filter; filter++) {
        if (strcmp((*filter)->name, kind->name) == 0) return *filter;
    }
    return NULL;
}

/* What expressions of a filter may ask for: those on an answer for that too. */
static struct expression_scope filter_scope(const struct filter_compile *compile)
{
    struct expression_scope scope = expression_scope_at(compile->side == FILTER_ON_RESPONSE ? EXPRESSION_AT_RESPONSE
                                                                                            : EXPRESSION_AT_REQUEST);
    scope.captures = compile->captures;
    scope.captures_argument = compile->captures_argument;
    return scope;
}

static void add_field_problem(const struct filter_compile *compile, const char *field, const struct error *error)
{
    const struct node *node = compile->node ? node_find(compile->node, field) : NULL;
    problems_add(compile->problems, node ? node : compile->node, NULL, "\"%s\": %s", field, error->text);
}

struct template *filter_compile_template(const struct filter_compile *compile, const char *field, struct slice text)
{
    struct error error;
    struct expression_scope scope = filter_scope(compile);
    struct template *template = template_compile(text, &scope, &error);
    if (!template) add_field_problem(compile, field, &error);
    return template;
}

static struct expression *compile_part(const struct filter_compile *compile, const char *field, struct slice text,
                                       size_t position, enum expression_type wanted)
{
    struct error error;
    struct expression_scope scope = filter_scope(compile);
    scope.position = position;
    struct expression *expression = expression_compile(text, wanted, &scope, &error);
    if (!expression) add_field_problem(compile, field, &error);
    return expression;
}

struct expression *filter_compile_expression(const struct filter_compile *compile, const char *field, struct slice text,
                                             enum expression_type wanted)
{
    return compile_part(compile, field, text, 0, wanted);
}

struct expression *filter_compile_braced_expression(const struct filter_compile *compile, const char *field,
                                                    struct slice text, enum expression_type wanted)
{
    PROMISE(slice_starts_with(text, SLICE("${")) && slice_ends_with(text, SLICE("}")));
    return compile_part(compile, field, slice_of(text.at + 2, text.length - 3), 2, wanted);
}

/* A filter that applies, before it is compiled. Scope is its place in `configs`: widest first. */
struct candidate {
    const struct filter *filter;
    const struct filter_config *config;
    size_t scope;
    enum phase phase;
};

/* Those that come before the one that is being compiled. */
struct chain_candidates {
    const struct candidate *items;
    size_t count;
};

const char *filter_compile_who_takes(const struct filter_compile *compile, struct slice header, const char **instead)
{
    for (size_t i = 0; compile->before && i < compile->before->count; i++) {
        const struct candidate *candidate = &compile->before->items[i];
        if (!candidate->filter->takes_header) continue;
        *instead = candidate->filter->takes_header(candidate->config->config, header);
        if (*instead) return candidate->filter->name;
    }
    return NULL;
}

/* Of a kind that does not add up, only the last (narrowest) stays. Whoever writes two of one scope is refused before it comes to that
 * (config/doubles.h). */
static size_t replace_wider(struct candidate *candidates, size_t count)
{
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        bool replaced = false;
        for (size_t j = i + 1; j < count && !candidates[i].filter->all_scopes_apply; j++) {
            replaced |= candidates[j].filter == candidates[i].filter;
        }
        if (!replaced) candidates[kept++] = candidates[i];
    }
    return kept;
}

/* Two in a route's own list: neither may silently stand for both. */
static bool refuse_doubles(const struct candidate *candidates, size_t count, const struct filter_compile *compile)
{
    bool good = true;
    for (size_t i = 0; i < count; i++) {
        if (candidates[i].filter->all_scopes_apply || candidates[i].config->scope != FILTER_SCOPE_OWN) continue;
        for (size_t j = 0; j < i; j++) {
            if (candidates[j].filter != candidates[i].filter || candidates[j].config->scope != FILTER_SCOPE_OWN)
                continue;
            problems_add(compile->problems, candidates[i].config->node, "write one with all its fields",
                         "\"%s\" is there already", candidates[i].filter->name);
            good = false;
        }
    }
    return good;
}

static int compare_candidates(const void *left, const void *right)
{
    const struct candidate *a = left, *b = right;
    if (a->phase != b->phase) return a->phase < b->phase ? -1 : 1;
    if (a->filter->rank != b->filter->rank) return a->filter->rank < b->filter->rank ? -1 : 1;
    if (a->config->priority != b->config->priority) return a->config->priority > b->config->priority ? -1 : 1;
    return a->scope < b->scope ? -1 : a->scope > b->scope;
}

/* Those of the sorted candidates that become one link with the first: all of its kind in its phase. They are moved to its side. */
static size_t gather_kind(struct candidate *candidates, size_t count)
{
    size_t gathered = 1;
    if (!candidates[0].filter->compile_all) return gathered;
    for (size_t i = 1; i < count && candidates[i].phase == candidates[0].phase; i++) {
        if (candidates[i].filter != candidates[0].filter) continue;
        struct candidate found = candidates[i];
        memmove(&candidates[gathered + 1], &candidates[gathered], (i - gathered) * sizeof *candidates);
        candidates[gathered++] = found;
    }
    return gathered;
}

static bool compile_all(const struct filter_compile *compile, const struct candidate *candidates, size_t count,
                        void **compiled)
{
    const struct filter_config **configs = memory_allocate_array(count, sizeof *configs);
    for (size_t i = 0; i < count; i++) configs[i] = candidates[i].config;
    bool good = candidates->filter->compile_all(compile, configs, count, compiled);
    free(configs);
    return good;
}

/* `count` is 1, or that of all that become one link. */
static bool compile_link(struct chain_link *link, const struct candidate *candidate, size_t count,
                         const struct filter_compile *compile)
{
    const struct filter *filter = candidate->filter;
    struct filter_compile here = *compile;
    here.node = candidate->config->node;
    here.side = (enum filter_side)candidate->config->side;
    void *compiled = NULL;
    if (filter->compile_all) {
        if (!compile_all(&here, candidate, count, &compiled)) return false;
    } else if (!filter->compile) {
        compiled = memory_allocate(filter->config_size ? filter->config_size : 1);
        if (filter->config_size) memcpy(compiled, candidate->config->config, filter->config_size);
    } else if (!filter->compile(&here, candidate->config->config, &compiled)) {
        return false;
    }
    bool both_sides = !filter->on_response_allowed;
    *link = (struct chain_link){ .filter = filter, .compiled = compiled };
    if (both_sides || here.side == FILTER_ON_REQUEST) {
        link->request = filter->request;
        link->request_body = filter->request_body;
    }
    if (both_sides || here.side == FILTER_ON_RESPONSE) {
        link->response_head = filter->response_head;
        link->response_body = filter->response_body;
    }
    return true;
}

static void place_link(struct chain *chain, uint32_t index)
{
    struct chain_link *link = &chain->links[index];
    link->state_offset = chain->state_bytes;
    chain->state_bytes += (uint32_t)((link->filter->state_size + 15) & ~(size_t)15);
    chain->has_request_stages |= link->request_body != NULL;
    chain->has_response_stages |= link->response_body != NULL;
    chain->has_lookers_on |= link->filter->request_ready != NULL;
    if (link->filter->answers_preflight) chain->cors_at = index + 1;
}

/* Is this the last of identity's candidates? */
static bool ends_identity(const struct candidate *candidates, size_t at, size_t count)
{
    return candidates[at].phase == PHASE_IDENTITY && (at + 1 == count || candidates[at + 1].phase != PHASE_IDENTITY);
}

static void add_gate(struct chain *chain, const struct filter *gate)
{
    PROMISE(gate != NULL); /* without it who brings no credentials would be let in */
    chain->links[chain->count] = (struct chain_link){ .filter = gate, .request = gate->request };
    place_link(chain, chain->count++);
}

struct chain *chain_create(const struct policy_registry *registry, const struct filter_config *const *configs,
                           size_t count, const struct filter_compile *compile)
{
    struct candidate *candidates = memory_allocate_array(count ? count : 1, sizeof *candidates);
    for (size_t i = 0; i < count; i++) {
        const struct filter *filter = policy_registry_find(registry, configs[i]->kind);
        PROMISE(filter != NULL); /* kinds come from the same registry */
        candidates[i] = (struct candidate){ filter, configs[i], i,
                                            filter->phase_of ? filter->phase_of(configs[i]->config) : filter->phase };
    }
    bool good = refuse_doubles(candidates, count, compile);
    count = replace_wider(candidates, count);
    qsort(candidates, count, sizeof *candidates, compare_candidates);
    struct chain *chain = memory_allocate(sizeof *chain + (count + 1) * sizeof chain->links[0]); /* one for a gate */
    for (size_t i = 0, gathered = 0; i < count; i += gathered) {
        gathered = gather_kind(&candidates[i], count - i);
        struct filter_compile here = *compile;
        here.before = &(struct chain_candidates){ candidates, i };
        if (compile_link(&chain->links[chain->count], &candidates[i], gathered, &here)) {
            place_link(chain, chain->count++);
        } else {
            good = false; /* the others are compiled too, so that all problems are told at once */
        }
        if (ends_identity(candidates, i + gathered - 1, count)) add_gate(chain, candidates[i].filter->gate);
    }
    free(candidates);
    if (good) return chain;
    chain_destroy(chain);
    return NULL;
}

void chain_comes_into_force(const struct chain *chain)
{
    for (uint32_t i = 0; i < chain->count; i++) {
        const struct chain_link *link = &chain->links[i];
        if (link->filter->comes_into_force) link->filter->comes_into_force(link->compiled);
    }
}

void chain_destroy(struct chain *chain)
{
    if (!chain) return;
    for (uint32_t i = 0; i < chain->count; i++) {
        void *compiled = (void *)(uintptr_t)chain->links[i].compiled;
        if (chain->links[i].filter->release) {
            chain->links[i].filter->release(compiled);
        } else {
            free(compiled);
        }
    }
    free(chain);
}

void chain_retire(struct chain *chain)
{
    for (uint32_t i = 0; i < chain->count; i++) {
        const struct chain_link *link = &chain->links[i];
        if (link->filter->retire) link->filter->retire((void *)(uintptr_t)link->compiled);
    }
}
