/* One resource as somebody sends it: the first byte says of which kind, a line feed parts a document from a patch to it.
 *
 * What can be read becomes a document that reads back as itself, also through what is shown of it; a merged patch is checked the same way.
 * The quick JSON reader and jansson agree on every tree that the quick one takes. */
#include "base/memory.h"
#include "config/private.h"

#include "../unit/config/document_properties.h"
#include "../unit/config/kinds.h"

static bool same(const struct node *a, const struct node *b)
{
    if (a->kind != b->kind || a->quoted != b->quoted || a->rounded != b->rounded || a->count != b->count) return false;
    if (!slice_equal(a->text, b->text) || !slice_equal(a->key, b->key)) return false;
    const struct node *other = b->first;
    for (const struct node *child = a->first; child; child = child->next, other = other->next) {
        if (child->parent != a || !same(child, other)) return false;
    }
    return true;
}

/* Beside a text that the quick reader leaves alone, jansson reads the whole; a list around it costs one level. */
static void check_quick(struct slice text)
{
    struct arena arena;
    struct problems problems;
    arena_init(&arena, NULL);
    problems_init(&problems, NULL);
    struct node *quick = node_read_json_quick(&arena, text);
    if (quick) {
        struct slice pieces[] = { SLICE("["), text, SLICE(",\"\xC3\xA4\"]") };
        struct node *slow = node_read_json(&arena, arena_join(&arena, pieces, COUNT_OF(pieces)), NULL, &problems);
        const struct node *first = slow ? slow->first : NULL;
        struct node *copy = first ? node_copy(&arena, first) : NULL;
        PROMISE(copy ? same(quick, copy) : problems.count == 1);
    }
    problems_release(&problems);
    arena_release(&arena);
}

/* The patch merged into the document, as text. */
static char *merged(enum resource_kind kind, struct slice document, struct slice patch)
{
    struct arena arena;
    struct problems problems;
    arena_init(&arena, NULL);
    problems_init(&problems, NULL);
    struct node *target = node_read_json(&arena, document, NULL, &problems);
    struct node *change = node_read_json(&arena, patch, NULL, &problems);
    struct node *both = target && change ? resource_merge_patch(&arena, kind, &test_kinds, target, change) : NULL;
    char *text = both ? memory_copy_slice(node_write_json(&arena, both)) : NULL;
    problems_release(&problems);
    arena_release(&arena);
    return text;
}

static void check_difference(enum resource_kind kind, const char *before, const char *after)
{
    struct arena arena;
    arena_init(&arena, NULL);
    struct slice told = resource_difference(&arena, kind, &test_kinds, slice_from_cstring(before),
                                            slice_from_cstring(after));
    PROMISE((strcmp(before, after) == 0) <= slice_equal(told, SLICE("[]")));
    arena_release(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    if (length < 2) return 0;
    enum resource_kind kind = (enum resource_kind)(bytes[0] % RESOURCE_KIND_COUNT);
    struct slice text = slice_of((const char *)bytes + 1, length - 1);
    size_t line = slice_find_byte(text, '\n');
    struct slice patch = line == SLICE_NOT_FOUND ? SLICE_ABSENT : slice_after(text, line + 1);
    if (line != SLICE_NOT_FOUND) text = slice_before(text, line);
    char *document = NULL, *after = NULL;
    check_quick(text);
    check_resource_properties(kind, text, &test_kinds, &document);
    char *changed = document && patch.length ? merged(kind, slice_from_cstring(document), patch) : NULL;
    if (changed && check_resource_properties(kind, slice_from_cstring(changed), &test_kinds, &after))
        check_difference(kind, document, after);
    free(changed);
    free(after);
    free(document);
    return 0;
}
