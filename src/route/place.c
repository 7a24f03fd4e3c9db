#include "route/private.h"

#include "base/memory.h"

static struct place *place_create(void)
{
    struct place *place = memory_allocate(sizeof *place);
    place->part = (struct part){ .references = 1, .kind = PART_PLACE, .priority_max = INT32_MIN };
    return place;
}

static void *copy_array(const void *items, size_t count, size_t size)
{
    if (count == 0) return NULL;
    void *copy = memory_allocate_array(count, size);
    memcpy(copy, items, count * size);
    return copy;
}

static struct slice copy_slice(struct slice text)
{
    return text.length ? slice_of(memory_copy_slice(text), text.length) : SLICE_ABSENT;
}

static void retain_candidates(struct candidates *candidates)
{
    if (candidates) part_retain(&candidates->part);
}

static void drop_candidates(struct candidates *candidates)
{
    if (candidates) part_drop(&candidates->part);
}

static struct place *place_own(struct part **slot)
{
    struct place *old = (struct place *)*slot;
    if (old && old->part.references == 1) return old;
    struct place *place = place_create();
    *slot = &place->part;
    if (!old) return place;

    unsigned references = place->part.references;
    *place = *old;
    place->part.references = references;
    retain_candidates(place->exact);
    retain_candidates(place->rest);
    place->parameters = copy_array(old->parameters, old->parameter_count, sizeof *old->parameters);
    for (unsigned i = 0; i < place->parameter_count; i++) {
        place->parameters[i].suffix = copy_slice(old->parameters[i].suffix);
        part_retain(&place->parameters[i].next->part);
    }
    place->globs = copy_array(old->globs, old->glob_count, sizeof *old->globs);
    for (unsigned i = 0; i < place->glob_count; i++) {
        route_matcher_retain(place->globs[i].example);
        retain_candidates(place->globs[i].candidates);
    }
    place->regexes = copy_array(old->regexes, old->regex_count, sizeof *old->regexes);
    for (unsigned i = 0; i < place->regex_count; i++) {
        route_matcher_retain(place->regexes[i].example);
        retain_candidates(place->regexes[i].candidates);
    }
    part_drop(&old->part);
    return place;
}

void place_free(struct place *place)
{
    drop_candidates(place->exact);
    drop_candidates(place->rest);
    for (unsigned i = 0; i < place->parameter_count; i++) {
        part_drop(&place->parameters[i].next->part);
        free((char *)place->parameters[i].suffix.at);
    }
    for (unsigned i = 0; i < place->glob_count; i++) {
        route_matcher_drop(place->globs[i].example);
        drop_candidates(place->globs[i].candidates);
    }
    for (unsigned i = 0; i < place->regex_count; i++) {
        route_matcher_drop(place->regexes[i].example);
        drop_candidates(place->regexes[i].candidates);
    }
    free(place->parameters);
    free(place->globs);
    free(place->regexes);
    free(place);
}

void part_drop(struct part *part)
{
    if (!part || --part->references > 0) return;
    switch ((enum part_kind)part->kind) {
    case PART_NODE: radix_node_free(CONTAINER_OF(part, struct radix_node, part)); return;
    case PART_PLACE: place_free(CONTAINER_OF(part, struct place, part)); return;
    case PART_CANDIDATES: candidates_free(CONTAINER_OF(part, struct candidates, part)); return;
    }
}

/* Room for one more at `at`; the arrays are exactly as long as they are full. */
static void *insert_at(void *items, size_t count, size_t size, size_t at)
{
    char *bytes = memory_resize(items, (count + 1) * size);
    memmove(bytes + (at + 1) * size, bytes + at * size, (count - at) * size);
    memset(bytes + at * size, 0, size);
    return bytes;
}

static void remove_from(void *items, size_t count, size_t size, size_t at)
{
    char *bytes = items;
    memmove(bytes + at * size, bytes + (at + 1) * size, (count - at - 1) * size);
}

/* ---- {name} ------------------------------------------------------------------------------------------------------ */

/* FNV-1a. */
uint32_t hash_text(struct slice text)
{
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < text.length; i++) hash = (hash ^ (unsigned char)text.at[i]) * 16777619u;
    return hash;
}

uint32_t hash_last_segment(struct slice path)
{
    size_t begin = path.length;
    while (begin > 0 && path.at[begin - 1] != '/') begin--;
    return hash_text(slice_after(path, begin)) | 1;
}

/* What is left of a matcher's pattern below a place. */
struct path_edit {
    const struct tree_edit *edit;
    unsigned at; /* the next piece */
};

static void edit_from(struct radix_node **root, const struct tree_edit *edit, unsigned at);

static void edit_parameter(struct place *place, const struct path_edit *path)
{
    struct slice suffix = path->edit->matcher->pieces[path->at].text;
    unsigned at = 0;
    while (at < place->parameter_count && place->parameters[at].suffix.length > suffix.length) at++;
    while (at < place->parameter_count && place->parameters[at].suffix.length == suffix.length &&
           !slice_equal(place->parameters[at].suffix, suffix))
        at++;
    if (at == place->parameter_count || !slice_equal(place->parameters[at].suffix, suffix)) {
        PROMISE(path->edit->adding);
        place->parameters = insert_at(place->parameters, place->parameter_count, sizeof *place->parameters, at);
        place->parameters[at].suffix = copy_slice(suffix);
        place->parameter_count++;
    }
    edit_from(&place->parameters[at].next, path->edit, path->at + 1);
    if (!place->parameters[at].next) {
        free((char *)place->parameters[at].suffix.at);
        remove_from(place->parameters, place->parameter_count, sizeof *place->parameters, at);
        place->parameter_count--;
    }
}

/* ---- '*' in the middle ------------------------------------------------------------------------------------------- */

static uint32_t tail_hash_of(const struct piece *pieces, unsigned count)
{
    const struct piece *last = &pieces[count - 1];
    bool is_whole = last->kind == PIECE_LITERAL && slice_find_byte(last->text, '/') != SLICE_NOT_FOUND;
    return is_whole ? hash_last_segment(last->text) : 0;
}

/* Where the pieces are or belong. */
static unsigned find_glob(const struct place *place, const struct piece *pieces, unsigned count, bool *found)
{
    unsigned low = 0, high = place->glob_count;
    *found = false;
    while (low < high && !*found) {
        unsigned middle = low + (high - low) / 2;
        const struct place_glob *glob = &place->globs[middle];
        int order = pieces_compare(glob->pieces, glob->piece_count, pieces, count);
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
        *found = order == 0;
    }
    return *found ? high : low;
}

static void edit_glob(struct place *place, const struct path_edit *path)
{
    struct route_matcher *matcher = path->edit->matcher;
    const struct piece *pieces = matcher->pieces + path->at;
    unsigned count = matcher->piece_count - path->at;
    bool found;
    unsigned at = find_glob(place, pieces, count, &found);
    if (!found) {
        PROMISE(path->edit->adding);
        place->globs = insert_at(place->globs, place->glob_count, sizeof *place->globs, at);
        place->globs[at] = (struct place_glob){
            .example = matcher,
            .pieces = pieces,
            .piece_count = count,
            .tail_hash = tail_hash_of(pieces, count),
        };
        route_matcher_retain(matcher);
        place->glob_count++;
    }
    candidates_edit(&place->globs[at].candidates, path->edit, 0);
    if (!place->globs[at].candidates) {
        route_matcher_drop(place->globs[at].example);
        remove_from(place->globs, place->glob_count, sizeof *place->globs, at);
        place->glob_count--;
    }
}

/* ---- Regexes ----------------------------------------------------------------------------------------------------- */

static uint32_t find_regex(const struct place *place, struct slice text, uint32_t hash)
{
    for (uint32_t i = 0; i < place->regex_count; i++) {
        const struct place_regex *regex = &place->regexes[i];
        if (regex->text_hash == hash && slice_equal(regex->example->regex.text, text)) return i;
    }
    return place->regex_count;
}

/* Moves regex `at`, whose priority changed, to where the order by priority wants it. */
static void sort_regex(struct place *place, uint32_t at)
{
    struct place_regex moved = place->regexes[at];
    remove_from(place->regexes, place->regex_count, sizeof moved, at);
    uint32_t low = 0, high = place->regex_count - 1;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (place->regexes[middle].priority_max >= moved.priority_max)
            low = middle + 1;
        else
            high = middle;
    }
    memmove(&place->regexes[low + 1], &place->regexes[low], (place->regex_count - 1 - low) * sizeof moved);
    place->regexes[low] = moved;
}

static void count_unknown(struct place *place)
{
    place->part.crowded = place_is_crowded(place) ? place->regex_count : 0;
    place->part.unknown = 0;
    for (uint32_t i = 0; i < place->part.crowded; i++)
        place->part.unknown += place->regexes[i].prefilter_id == PREFILTER_UNKNOWN;
}

/* Numbers are kept up for crowded places only, so one that just became so asks for all of them. */
static void learn(struct place *place, const struct router_prefilter *prefilter)
{
    for (uint32_t i = 0; i < place->regex_count; i++)
        place->regexes[i].prefilter_id = prefilter_find(prefilter, place->regexes[i].example->regex.text);
    count_unknown(place);
}

static void edit_regex(struct place *place, const struct tree_edit *edit)
{
    struct route_matcher *matcher = edit->matcher;
    uint32_t hash = hash_text(matcher->regex.text);
    uint32_t at = find_regex(place, matcher->regex.text, hash);
    bool is_new = at == place->regex_count;
    if (is_new) {
        PROMISE(edit->adding);
        place->regexes = insert_at(place->regexes, at, sizeof *place->regexes, at);
        place->regexes[at] = (struct place_regex){
            .example = matcher,
            .text_hash = hash,
            .prefilter_id = prefilter_find(edit->prefilter, matcher->regex.text),
        };
        route_matcher_retain(matcher);
        place->regex_count++;
    }
    struct place_regex *regex = &place->regexes[at];
    candidates_edit(&regex->candidates, edit, 0);
    if (!regex->candidates) {
        route_matcher_drop(regex->example);
        remove_from(place->regexes, place->regex_count, sizeof *place->regexes, at);
        place->regex_count--;
    } else if (is_new || regex->priority_max != regex->candidates->part.priority_max) {
        regex->priority_max = regex->candidates->part.priority_max;
        sort_regex(place, at);
    }
    if (is_new && place->regex_count == PLACE_CROWD + 1)
        learn(place, edit->prefilter);
    else
        count_unknown(place);
}

/* ---- A place ----------------------------------------------------------------------------------------------------- */

static void raise(int32_t *highest, int32_t priority)
{
    if (priority > *highest) *highest = priority;
}

static int32_t highest_priority(const struct place *place)
{
    int32_t highest = INT32_MIN;
    if (place->exact) raise(&highest, place->exact->part.priority_max);
    if (place->rest) raise(&highest, place->rest->part.priority_max);
    if (place->regexes && place->regex_count) raise(&highest, place->regexes[0].priority_max);
    for (unsigned i = 0; i < place->parameter_count; i++) raise(&highest, place->parameters[i].next->part.priority_max);
    for (unsigned i = 0; i < place->glob_count; i++) raise(&highest, place->globs[i].candidates->part.priority_max);
    return highest;
}

static void edit_exact(struct part **value, const struct tree_edit *edit)
{
    struct candidates *candidates = (struct candidates *)*value;
    candidates_edit(&candidates, edit, 0);
    *value = candidates ? &candidates->part : NULL;
}

/* From the short form to a place. */
static void widen(struct part **value)
{
    if (!*value || (*value)->kind == PART_PLACE) return;
    struct place *place = place_create();
    place->exact = CONTAINER_OF(*value, struct candidates, part);
    *value = &place->part;
}

/* To the short form, where no more than that is left. */
static void narrow(struct part **value)
{
    struct place *place = CONTAINER_OF(*value, struct place, part);
    if (place->rest || place->parameter_count || place->glob_count || place->regex_count) return;
    *value = place->exact ? &place->exact->part : NULL;
    place->exact = NULL;
    part_drop(&place->part);
}

static void edit_place(struct part **value, void *argument)
{
    const struct path_edit *path = argument;
    const struct route_matcher *matcher = path->edit->matcher;
    bool ends_here = !matcher->has_regex && path->at == matcher->piece_count;
    PROMISE(*value || path->edit->adding);
    if (ends_here && (!*value || (*value)->kind == PART_CANDIDATES)) {
        edit_exact(value, path->edit);
        return;
    }
    widen(value);
    struct place *place = place_own(value);
    if (matcher->has_regex)
        edit_regex(place, path->edit);
    else if (ends_here)
        candidates_edit(&place->exact, path->edit, 0);
    else if (matcher->pieces[path->at].kind == PIECE_PARAMETER)
        edit_parameter(place, path);
    else if (path->at + 1 == matcher->piece_count)
        candidates_edit(&place->rest, path->edit, 0);
    else
        edit_glob(place, path);
    place->part.priority_max = highest_priority(place);
    narrow(value);
}

static void edit_from(struct radix_node **root, const struct tree_edit *edit, unsigned at)
{
    const struct route_matcher *matcher = edit->matcher;
    struct slice literal = matcher->regex_prefix;
    if (!matcher->has_regex) {
        bool is_literal = at < matcher->piece_count && matcher->pieces[at].kind == PIECE_LITERAL;
        literal = is_literal ? matcher->pieces[at++].text : SLICE_ABSENT;
    }
    struct path_edit path = { .edit = edit, .at = at };
    radix_edit(root, literal, edit_place, &path);
}

void path_edit(struct radix_node **root, const struct tree_edit *edit) { edit_from(root, edit, 0); }

void path_learn(struct radix_node **slot, const struct router_prefilter *prefilter)
{
    if (!*slot || (*slot)->part.crowded == 0) return;
    struct radix_node *node = radix_own(slot);
    uint32_t unknown = 0;
    if (node->value && node->value->crowded > 0) {
        learn(place_own(&node->value), prefilter);
        unknown += node->value->unknown;
    }
    for (unsigned i = 0; i < node->child_count; i++) {
        path_learn(&radix_children(node)[i], prefilter);
        unknown += radix_children(node)[i]->part.unknown;
    }
    node->part.unknown = unknown;
}
