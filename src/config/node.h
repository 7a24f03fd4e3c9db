/* config/node.h: a document as a tree whose nodes remember where they stood. Immutable once read; lives in an arena. */
#ifndef SLUICE_CONFIG_NODE_H
#define SLUICE_CONFIG_NODE_H

#include "base/arena.h"
#include "config/problems.h"

enum node_kind { NODE_NULL, NODE_SCALAR, NODE_LIST, NODE_MAP };

struct node {
    uint8_t kind;          /* enum node_kind */
    bool quoted;           /* a scalar written in quotes (or a JSON string): never a number or boolean */
    bool rounded;          /* a JSON number with a fraction: `text` is its value, not how it was written */
    uint32_t line, column; /* from 1; 0 where unknown (JSON) */
    uint32_t key_line, key_column;
    uint32_t count; /* of children */
    struct slice
        text; /* scalar: its text, without NUL in it and with one behind it; NODE_NULL: "" or "null" as written */
    struct slice key; /* the name under which it stands in its map, NUL behind it; absent elsewhere */
    struct node *parent;
    struct node *first, *next; /* children in order; next sibling */
};

#define NODE_TEXT_BYTES_MAX (64u << 20)
#define NODE_DEPTH_MAX 64
#define NODE_COUNT_MAX 4000000u

/* Bounds against hostile documents: 64 MiB, 64 levels, 4,000,000 nodes. UTF-8 only (a byte order mark may lead); one document.
 * NULL where nothing sensible could be read. Duplicate keys (the first one stays), anchors and tags add problems too, yet
 * leave a tree, so that a schema can find the rest in the same run; aliases and merge keys leave none. The tree does not
 * point into `text`. */
struct node *node_read_yaml(struct arena *, struct slice text, const char *file, struct problems *);
struct node *node_read_json(struct arena *, struct slice text, const char *file, struct problems *);
struct node *node_find(const struct node *map, const char *key); /* NULL where absent */
/* The list's item number `index`; what is written without its list is its own first item. NULL where there is none. */
const struct node *node_item(const struct node *list, size_t index);
/* RFC 6901 pointer of the node, in `arena`: "/routes/3/path". */
struct slice node_pointer(const struct node *, struct arena *);
/* 128 bits over kinds, keys and texts, free of positions, order of map keys and quoting style: equal documents, equal hash. */
struct content_hash {
    uint64_t words[2];
};
struct content_hash node_hash(const struct node *);

#endif
