/* chain/chain.c: the registry as configuration sees it, and a route's filters compiled into one chain. */
#include "chain/chain.h"

#include "base/memory.h"
#include "expr/template.h"

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

struct template *filter_compile_template(const struct filter_compile *compile, const char *field, struct slice text)
{
    struct error error;
    struct template *template = template_compile(text, compile->captures, compile->captures_argument, &error);
    if (template) return template;
    const struct node *node = compile->node ? node_find(compile->node, field) : NULL;
    problems_add(compile->problems, node ? node : compile->node, NULL, "\"%s\": %s", field, error.text);
    return NULL;
}

/* A filter that applies, before it is compiled. Scope is its place in `configs`: widest first. */
struct candidate {
    const struct filter *filter;
    const struct filter_config *config;
    size_t scope;
};

/* Of a kind that does not add up, only the last (narrowest) stays. */
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

/* Two in one list have the same scope: neither may silently stand for both. */
static bool refuse_doubles(const struct candidate *candidates, size_t count, const struct filter_compile *compile)
{
    bool good = true;
    for (size_t i = 0; i < count; i++) {
        const struct node *node = candidates[i].config->node;
        if (candidates[i].filter->all_scopes_apply || !node || !node->parent || node->parent->kind != NODE_LIST)
            continue;
        for (size_t j = 0; j < i; j++) {
            const struct node *other = candidates[j].config->node;
            if (candidates[j].filter != candidates[i].filter || !other || other->parent != node->parent) continue;
            problems_add(compile->problems, node, "write one with all its fields", "\"%s\" is there already",
                         candidates[i].filter->name);
            good = false;
        }
    }
    return good;
}

static int compare_candidates(const void *left, const void *right)
{
    const struct candidate *a = left, *b = right;
    if (a->filter->phase != b->filter->phase) return a->filter->phase < b->filter->phase ? -1 : 1;
    if (a->config->priority != b->config->priority) return a->config->priority > b->config->priority ? -1 : 1;
    return a->scope < b->scope ? -1 : a->scope > b->scope;
}

static bool compile_link(struct chain_link *link, const struct candidate *candidate,
                         const struct filter_compile *compile)
{
    const struct filter *filter = candidate->filter;
    struct filter_compile here = *compile;
    here.node = candidate->config->node;
    here.side = (enum filter_side)candidate->config->side;
    void *compiled = NULL;
    if (!filter->compile) {
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
    if (link->filter->answers_preflight) chain->cors_at = index + 1;
}

struct chain *chain_create(const struct policy_registry *registry, const struct filter_config *const *configs,
                           size_t count, const struct filter_compile *compile)
{
    struct candidate *candidates = memory_allocate_array(count ? count : 1, sizeof *candidates);
    for (size_t i = 0; i < count; i++) {
        candidates[i] = (struct candidate){ policy_registry_find(registry, configs[i]->kind), configs[i], i };
        PROMISE(candidates[i].filter != NULL); /* kinds come from the same registry */
    }
    bool good = refuse_doubles(candidates, count, compile);
    count = replace_wider(candidates, count);
    qsort(candidates, count, sizeof *candidates, compare_candidates);
    struct chain *chain = memory_allocate(sizeof *chain + count * sizeof chain->links[0]);
    for (size_t i = 0; i < count; i++) {
        if (compile_link(&chain->links[chain->count], &candidates[i], compile)) {
            place_link(chain, chain->count++);
        } else {
            good = false; /* the others are compiled too, so that all problems are told at once */
        }
    }
    free(candidates);
    if (good) return chain;
    chain_destroy(chain);
    return NULL;
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
