/* What holds for every resource that can be read, whoever wrote it: for tests over generated ones and for fuzzing. */
#ifndef SLUICE_TESTS_CONFIG_DOCUMENT_PROPERTIES_H
#define SLUICE_TESTS_CONFIG_DOCUMENT_PROPERTIES_H

#include "config/resource.h"

#include "base/memory.h"

static inline bool same_hash(struct content_hash a, struct content_hash b) { return memcmp(&a, &b, sizeof a) == 0; }

struct reader {
    struct arena arena;
    struct problems problems;
    struct schema_reading reading;
};

static inline void reader_init(struct reader *reader, const struct policy_kinds *kinds)
{
    *reader = (struct reader){ 0 };
    arena_init(&reader->arena, NULL);
    problems_init(&reader->problems, NULL);
    reader->reading = (struct schema_reading){
        .arena = &reader->arena, .problems = &reader->problems, .kinds = kinds, .folder = "/etc/sluice"
    };
}

static inline void reader_release(struct reader *reader)
{
    arena_release(&reader->arena);
    problems_release(&reader->problems);
}

/* Everybody is there, under their own name. */
static inline struct slice everybody_find(const void *argument, enum resource_kind kind, struct slice wanted)
{
    return wanted.length ? wanted : SLICE_ABSENT;
}
static const struct resource_directory everybody = { .find = everybody_find };

static inline void print_problems(const struct problems *problems)
{
    char *told = problems_to_text(problems);
    fprintf(stderr, "%s", told);
    free(told);
}

/* A document read and written is the same document, of the same hash, with the same references. */
static inline void check_written_again(const struct resource *resource, struct slice document,
                                       const struct policy_kinds *kinds)
{
    struct reader reader;
    struct resource again;
    reader_init(&reader, kinds);
    struct node *root = node_read_json(&reader.arena, document, NULL, &reader.problems);
    PROMISE(root != NULL);
    bool ok = resource_read(&reader.reading, resource->kind, root, SLICE_ABSENT, &everybody, &again);
    if (!ok) {
        fprintf(stderr, "%.*s\n", SLICE_PRINT(document));
        print_problems(&reader.problems);
    }
    PROMISE(ok);
    struct slice written = resource_write_document(&reader.reading, &again);
    if (!slice_equal(written, document))
        fprintf(stderr, "%.*s\nbecame\n%.*s\n", SLICE_PRINT(document), SLICE_PRINT(written));
    PROMISE(slice_equal(written, document));
    PROMISE(same_hash(again.hash, resource->hash) && same_hash(node_hash(root), resource->hash));
    PROMISE(slice_equal(again.id, resource->id) && slice_equal(again.name, resource->name));
    PROMISE(again.reference_count == resource->reference_count);
    reader_release(&reader);
}

/* What is shown can be sent back as it is, and means what was there. */
static inline void check_shown_and_sent_back(const struct resource *resource, struct slice document,
                                             const struct policy_kinds *kinds)
{
    struct reader reader;
    struct resource again;
    reader_init(&reader, kinds);
    struct slice shown = resource_hide_secrets(&reader.arena, resource->kind, kinds, document);
    struct node *root = node_read_json(&reader.arena, shown, NULL, &reader.problems);
    PROMISE(root != NULL);
    resource_keep_secrets(&reader.reading, resource->kind, root, document);
    PROMISE(resource_read(&reader.reading, resource->kind, root, SLICE_ABSENT, &everybody, &again));
    PROMISE(same_hash(again.hash, resource->hash));
    PROMISE(slice_equal(resource_difference(&reader.arena, resource->kind, kinds, document, document), SLICE("[]")));
    reader_release(&reader);
}

/* True where it could be read; *document (malloc'ed, may be NULL) is its. */
static inline bool check_resource_properties(enum resource_kind kind, struct slice text,
                                             const struct policy_kinds *kinds, char **document)
{
    struct reader reader;
    struct resource resource;
    reader_init(&reader, kinds);
    struct node *root = node_read_json(&reader.arena, text, NULL, &reader.problems);
    size_t before = reader.problems.count;
    bool ok = root && resource_read(&reader.reading, kind, root, SLICE_ABSENT, &everybody, &resource);
    PROMISE(!root || ok == (reader.problems.count == before));
    if (ok) {
        struct slice written = resource_write_document(&reader.reading, &resource);
        check_written_again(&resource, written, kinds);
        check_shown_and_sent_back(&resource, written, kinds);
        if (document) *document = memory_copy_slice(written);
    }
    reader_release(&reader);
    return ok;
}

#endif
