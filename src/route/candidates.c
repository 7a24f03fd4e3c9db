#include "route/private.h"

#include "base/memory.h"

/* The matchers of one path pattern. Those that ask for an exact header or query value lie in a radix tree of that name's
 * values, whose leaves are candidates again for the next exact condition; so ten thousand routes on one path that differ by
 * a header cost one look-up, and the number of names, not of routes, decides what a request pays. */

static size_t candidates_size(uint32_t capacity)
{
    return sizeof(struct candidates) + capacity * sizeof(struct candidate);
}

static struct candidates *candidates_create(uint32_t capacity)
{
    struct candidates *candidates = memory_allocate(candidates_size(capacity));
    candidates->part = (struct part){ .references = 1, .kind = PART_CANDIDATES, .priority_max = INT32_MIN };
    candidates->capacity = capacity;
    return candidates;
}

static struct slice copy_slice(struct slice text) { return slice_of(memory_copy_slice(text), text.length); }

static struct candidates *candidates_own(struct candidates **slot)
{
    struct candidates *old = *slot;
    if (!old) return *slot = candidates_create(1);
    if (old->part.references == 1) return old;
    struct candidates *copy = candidates_create(old->count + 1);
    copy->part.priority_max = old->part.priority_max;
    copy->count = old->count;
    for (uint32_t i = 0; i < old->count; i++) {
        copy->items[i] = old->items[i];
        route_matcher_retain(copy->items[i].matcher);
    }
    copy->group_count = old->group_count;
    if (old->group_count) copy->groups = memory_allocate_array(old->group_count, sizeof *copy->groups);
    for (unsigned i = 0; i < old->group_count; i++) {
        copy->groups[i] = old->groups[i];
        copy->groups[i].name = copy_slice(old->groups[i].name);
        part_retain(&copy->groups[i].values->part);
    }
    part_drop(&old->part);
    return *slot = copy;
}

void candidates_free(struct candidates *candidates)
{
    for (uint32_t i = 0; i < candidates->count; i++) route_matcher_drop(candidates->items[i].matcher);
    for (unsigned i = 0; i < candidates->group_count; i++) {
        part_drop(&candidates->groups[i].values->part);
        free((char *)candidates->groups[i].name.at);
    }
    free(candidates->groups);
    free(candidates);
}

/* ---- Without further exact conditions ---------------------------------------------------------------------------- */

static struct candidate candidate_of(struct route_matcher *matcher)
{
    return (struct candidate){
        .matcher = matcher,
        .sequence = matcher->sequence,
        .specificity = matcher_specificity(matcher),
        .priority = matcher->priority,
        .methods = matcher->methods,
        .has_more_conditions = matcher->exact_count < matcher->condition_count || matcher->judged_count > 0,
    };
}

/* How many stand before `candidate`. */
static uint32_t position_of(const struct candidates *candidates, const struct candidate *candidate)
{
    uint32_t low = 0, high = candidates->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (candidate_before(&candidates->items[middle], candidate))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void add_item(struct candidates **slot, struct route_matcher *matcher)
{
    struct candidates *candidates = *slot;
    if (candidates->count == candidates->capacity) {
        uint32_t capacity = candidates->capacity * 2 + 1;
        candidates = *slot = memory_resize(candidates, candidates_size(capacity));
        candidates->capacity = capacity;
    }
    struct candidate candidate = candidate_of(matcher);
    uint32_t at = position_of(candidates, &candidate);
    memmove(&candidates->items[at + 1], &candidates->items[at], (candidates->count - at) * sizeof candidate);
    candidates->items[at] = candidate;
    candidates->count++;
    route_matcher_retain(matcher);
}

static void remove_item(struct candidates *candidates, struct route_matcher *matcher)
{
    struct candidate candidate = candidate_of(matcher);
    uint32_t at = position_of(candidates, &candidate);
    PROMISE(at < candidates->count && candidates->items[at].matcher == matcher);
    candidates->count--;
    memmove(&candidates->items[at], &candidates->items[at + 1], (candidates->count - at) * sizeof candidate);
    route_matcher_drop(matcher);
}

/* ---- By exact value ---------------------------------------------------------------------------------------------- */

struct value_edit {
    const struct tree_edit *edit;
    unsigned depth;
};

static void edit_value(struct part **value, void *argument)
{
    const struct value_edit *edit = argument;
    struct candidates *candidates = (struct candidates *)*value;
    candidates_edit(&candidates, edit->edit, edit->depth);
    *value = candidates ? &candidates->part : NULL;
}

static struct candidate_group *find_group(struct candidates *candidates, const struct condition *condition)
{
    for (unsigned i = 0; i < candidates->group_count; i++) {
        struct candidate_group *group = &candidates->groups[i];
        if (group->in_query == condition->in_query && slice_equal(group->name, condition->name)) return group;
    }
    return NULL;
}

static struct candidate_group *add_group(struct candidates *candidates, const struct condition *condition)
{
    size_t size = (candidates->group_count + 1u) * sizeof *candidates->groups;
    candidates->groups = memory_resize(candidates->groups, size);
    struct candidate_group *group = &candidates->groups[candidates->group_count++];
    *group = (struct candidate_group){
        .in_query = condition->in_query,
        .header_id = condition->header_id,
        .name = copy_slice(condition->name),
    };
    return group;
}

static void remove_group(struct candidates *candidates, struct candidate_group *group)
{
    free((char *)group->name.at);
    *group = candidates->groups[--candidates->group_count];
}

static void edit_group(struct candidates *candidates, const struct tree_edit *edit, unsigned depth)
{
    const struct condition *condition = &edit->matcher->conditions[depth];
    struct candidate_group *group = find_group(candidates, condition);
    PROMISE(group || edit->adding);
    if (!group) group = add_group(candidates, condition);
    struct value_edit value_edit = { edit, depth + 1 };
    radix_edit(&group->values, condition->value, edit_value, &value_edit);
    if (!group->values) remove_group(candidates, group);
}

static int32_t highest_priority(const struct candidates *candidates)
{
    int32_t highest = candidates->count ? candidates->items[0].priority : INT32_MIN;
    for (unsigned i = 0; i < candidates->group_count; i++) {
        int32_t priority = candidates->groups[i].values->part.priority_max;
        if (priority > highest) highest = priority;
    }
    return highest;
}

void candidates_edit(struct candidates **slot, const struct tree_edit *edit, unsigned depth)
{
    PROMISE(*slot || edit->adding);
    struct candidates *candidates = candidates_own(slot);
    if (depth < edit->matcher->exact_count)
        edit_group(candidates, edit, depth);
    else if (edit->adding)
        add_item(slot, edit->matcher);
    else
        remove_item(candidates, edit->matcher);
    candidates = *slot;
    candidates->part.priority_max = highest_priority(candidates);
    if (candidates->count == 0 && candidates->group_count == 0) {
        part_drop(&candidates->part);
        *slot = NULL;
    }
}
