/* store/catalog.h: all documents but API keys in memory, as of one revision: what reads are answered from and changes are checked against.
 *
 * Any thread reads: a lock that is never held across a system call guards it. One thread at a time changes it. An entry is immutable and
 * counted; a change puts new ones. So a reader keeps what it found as long as it likes, and a list is a view of one moment. 10,000
 * documents take about 6 MB; looking up is a binary search, changing one of 10,000 takes some microseconds. */
#ifndef SLUICE_STORE_CATALOG_H
#define SLUICE_STORE_CATALOG_H

#include "config/resource.h"

#include <stdatomic.h>

struct catalog;

struct catalog_reference {
    enum resource_kind kind;
    bool by_name, is_inside;
    char id[37];
};

struct catalog_entry {
    _Atomic uint32_t references_held;
    enum resource_kind kind;
    struct slice id, name, document; /* NUL-terminated; the entry's */
    struct content_hash hash;        /* XXH3-128 of the document's bytes: the strong ETag */
    uint64_t created_us, updated_us;
    uint32_t reference_count;
    struct catalog_reference references[]; /* what it names */
};

struct catalog *catalog_create(void);
void catalog_destroy(struct catalog *);

struct catalog_entry *catalog_entry_create(const struct resource *, struct slice document, uint64_t created_us,
                                           uint64_t updated_us);
struct catalog_entry *catalog_entry_retain(struct catalog_entry *);
void catalog_entry_drop(struct catalog_entry *); /* NULL is allowed */

/* One reference to the one with this id, or else this name. NULL: none. *ambiguous (may be NULL): several have this name. */
struct catalog_entry *catalog_find(struct catalog *, enum resource_kind, struct slice id_or_name, bool *ambiguous);
/* The same of what an address says. A plugin may be meant by its "name", too: the kind of policy that it is ('_' reads as '-'). */
struct catalog_entry *catalog_find_addressed(struct catalog *, enum resource_kind, struct slice text, bool *ambiguous);
/* Up to `limit` entries by age after the position (created_us, id) (0, absent: from the start), one reference each; those that `take`
 * refuses are passed over (it is asked under the lock: no system call, nothing of the catalog). Returns how many; *more tells whether there are others behind. */
size_t catalog_list(struct catalog *, enum resource_kind, uint64_t after_us, struct slice after_id,
                    bool (*take)(const void *argument, const struct catalog_entry *), const void *argument,
                    struct catalog_entry **into, size_t limit, bool *more);
size_t catalog_count(struct catalog *, enum resource_kind);
/* Up to `limit` entries that name this one, one reference each. */
size_t catalog_users(struct catalog *, enum resource_kind, struct slice id, struct catalog_entry **into, size_t limit);
uint64_t catalog_revision(struct catalog *);
/* Every entry by kind and age, one reference each, and the revision that they are: one view. The array is the caller's. */
struct catalog_entry **catalog_all(struct catalog *, size_t *count, uint64_t *revision);

/* A change as a whole, seen by readers all at once. Of each item `after` NULL: taken away (by kind and id; nothing happens where it is not
 * there). Takes over the references and leaves the items undefined. */
struct catalog_change {
    enum resource_kind kind;
    struct slice id;
    struct catalog_entry *after;
};
void catalog_apply(struct catalog *, struct catalog_change *, size_t count, uint64_t revision);
/* Everything anew. */
void catalog_replace(struct catalog *, struct catalog_entry **, size_t count, uint64_t revision);

/* Looks things up in the catalog; holds as long as nothing changes it: for whoever makes the changes. */
struct resource_directory catalog_directory(struct catalog *);

#endif
