/* gateway/documents.h: between the catalog and whole configurations: what a store's catalog holds becomes a configuration, and what a
 * file's configuration holds becomes the catalog that its admin API reads. On the builder's thread, or before it is started. */
#ifndef SLUICE_GATEWAY_DOCUMENTS_H
#define SLUICE_GATEWAY_DOCUMENTS_H

#include "store/catalog.h"

/* All of the catalog at one moment. */
struct held_documents {
    struct document_list lists[RESOURCE_KIND_COUNT]; /* in the order of age */
    uint64_t revision;
    struct catalog_entry **entries; /* by kind and age; one reference each, so that the texts hold */
    struct slice *texts;            /* of the same */
    size_t count;
};
void documents_hold(struct held_documents *, struct catalog *);
void documents_let_go(struct held_documents *);

/* What a configuration holds, as entries of a catalog (struct catalog_entry *, one reference each), in its order. They outlive it. */
struct vector documents_of(struct configuration *, const struct policy_kinds *);

#endif
