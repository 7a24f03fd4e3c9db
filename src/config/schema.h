/* config/schema.h: one table a struct: it validates, fills in defaults, and makes OpenAPI and docs.
 *
 * A table is an array of struct field, ended by FIELDS_END. What a field reads into:
 *   FIELD_STRING        struct slice (NUL-terminated)         FIELD_BOOLEAN       bool
 *   FIELD_INTEGER       int64_t, within minimum..maximum      FIELD_BYTES         uint64_t: 4096, "64KiB", "1MiB", "10MB"
 *   FIELD_MILLISECONDS  uint64_t: whole number                FIELD_SECONDS       uint64_t in milliseconds: 10, 0.5
 *   FIELD_ENUM          int: index into names                 FIELD_STRING_LIST   struct slice_list
 *   FIELD_ENUM_SET      uint64_t: bit i for names[i]          FIELD_STRING_MAP    struct pair_list, in order
 *   FIELD_OBJECT        the nested struct, inline             FIELD_OBJECT_LIST   struct object_list of item_size structs
 *   FIELD_CUSTOM        whatever `read` makes of the node     FIELD_NOT_YET       nothing: the design knows the name, this
 *                                                                               version doesn't act on it and refuses it
 *   FIELD_IGNORED       nothing: what the API shows (createdAt) may be sent back
 * Texts are the node's own or the table's: they live as long as the tree and the program. `present` (offset of a bool) tells
 * absent from default where that matters. An explicit null means absent. */
#ifndef SLUICE_CONFIG_SCHEMA_H
#define SLUICE_CONFIG_SCHEMA_H

#include "base/arena.h"
#include "config/node.h"

struct slice_list {
    struct slice *items;
    size_t count;
};

struct pair {
    struct slice name, value;
};

struct pair_list {
    struct pair *items;
    size_t count;
};

struct object_list {
    void *items;
    size_t count;
};

enum field_type {
    FIELD_STRING,
    FIELD_BOOLEAN,
    FIELD_INTEGER,
    FIELD_BYTES,
    FIELD_MILLISECONDS,
    FIELD_SECONDS,
    FIELD_ENUM,
    FIELD_ENUM_SET,
    FIELD_STRING_LIST,
    FIELD_STRING_MAP,
    FIELD_OBJECT,
    FIELD_OBJECT_LIST,
    FIELD_CUSTOM,
    FIELD_NOT_YET,
    FIELD_IGNORED,
};

/* Whose name or id the field's text (or texts) is: it must be there, it can't be deleted as long as it is named, and a new name of it is
 * written into the text (config/resource.h, changes/). Of a FIELD_OBJECT: what its short form, a plain text, names. */
enum field_reference { FIELD_REFERENCE_NONE, FIELD_REFERENCE_SERVICE, FIELD_REFERENCE_ROUTE };

struct schema_reading;
struct policy_kinds;

struct field {
    const char *name;
    const char *also; /* another name, accepted in input only; NULL: none */
    enum field_type type;
    enum field_reference reference;
    size_t into;          /* offsetof in the struct */
    size_t present;       /* offsetof a bool that says it was given; 0: not asked for */
    const char *fallback; /* default as YAML text ("30000", "[5xx, reset]"); NULL: zeroed */
    bool required;
    bool
        secret; /* the value never stands in a message, nor the default in docs; the API shows its hash (config/resource.h) */
    /* FIELD_STRING, FIELD_CUSTOM: some texts are secret as above, and this says which; no message of the table holds any. NULL: `secret`
     * says it of all. */
    bool (*secret_when)(struct slice text);
    /* FIELD_INTEGER, BYTES, MILLISECONDS, SECONDS (ms): of the value; lists and maps: of their length. Both 0: only the type's. */
    int64_t minimum, maximum;
    const char *const *names;         /* FIELD_ENUM, FIELD_ENUM_SET: NULL-ended */
    const char *const *names_not_yet; /* the same, values that are refused as "not in this version yet"; NULL: none */
    const struct field *fields;       /* FIELD_OBJECT, FIELD_OBJECT_LIST */
    size_t item_size;                 /* FIELD_OBJECT_LIST */
    bool one_or_many;                 /* FIELD_STRING_LIST, FIELD_OBJECT_LIST: a single item may stand without a list */
    /* FIELD_CUSTOM; also, for FIELD_OBJECT and items of FIELD_OBJECT_LIST, what a plain scalar means ("127.0.0.1:9001").
     * False: a problem was added. */
    bool (*read)(struct schema_reading *, const struct node *, void *into);
    /* After the type's own check: a finer one ("must be an absolute path"). For lists and maps once an item: a struct slice, a
     * struct pair, an object. */
    bool (*check)(struct schema_reading *, const struct node *, const void *value);
    /* The value in its canonical form, which `read` takes; NULL: it is left out. FIELD_CUSTOM in a table of resources must have one;
     * for another type it stands in for the type's own. `from` is what `into` was. */
    struct node *(*write)(struct arena *, const void *from);
    /* FIELD_CUSTOM: the kind's own table of a map inside (the value, or an item of the list), whose fields may be secret. NULL: unknown,
     * so that everything in it is taken for a secret. */
    const struct field *(*fields_of)(const struct policy_kinds *, const struct node *map);
    const char *type_text; /* FIELD_CUSTOM: for docs and OpenAPI */
    bool own_table; /* FIELD_OBJECT, FIELD_OBJECT_LIST: docs describe it in a table of its own, not inside this one */
    const char *summary; /* one sentence for people */
};

static inline bool field_may_be_secret(const struct field *field) { return field->secret || field->secret_when; }

#define FIELDS_END   \
    {                \
        .name = NULL \
    }

/* A policy as configuration sees it; the chain's registry makes these from its filters and hands them in. */
struct policy_kind {
    const char *name; /* kebab-case */
    const struct field *fields;
    size_t config_size;
    bool on_response_allowed; /* takes `on: response` */
    bool all_scopes_apply;    /* several act on one route; of others one does, see doubles.h */
    /* Checks across fields, after all were read; NULL: none. False: a problem was added. */
    bool (*check)(struct schema_reading *, const struct node *, const void *config);
};

struct policy_kinds {
    const struct policy_kind *items;
    size_t count;
};

/* '_' in the name reads as '-'. NULL where unknown. */
const struct policy_kind *policy_kind_find(const struct policy_kinds *, struct slice name);

struct schema_reading {
    struct arena *arena; /* what is read lives here */
    struct problems *problems;
    const struct policy_kinds *kinds;
    const char *folder;         /* where relative paths start */
    const struct field *around; /* while a map is read: its table, for hints about maps inside it; else NULL */
};

/* Reads `node` (a map) into the zeroed struct at `into`. Unknown, duplicate and missing fields, wrong types and values are
 * added to reading->problems, all of them; false if there was any. */
bool schema_read(struct schema_reading *, const struct field *fields, const struct node *, void *into);
/* The same for a map that fills two structs: a name is looked for in `fields`, then in `more`. `node` may be NULL: an empty map
 * that stands at `place`. */
bool schema_read_both(struct schema_reading *, const struct field *fields, void *into, const struct field *more,
                      void *more_into, const struct node *, const struct node *place);
/* What was read, as a new map in the arena: every field in the table's order under its canonical name, defaults included, whatever the
 * short form it was written in. Left out is what has no value: absent texts and objects, and empty lists and maps that are neither
 * required nor have a default. Reading it gives the same struct again. */
struct node *schema_write(struct arena *, const struct field *fields, const void *from);
/* The same, behind what stands in `map` already. */
void schema_write_into(struct arena *, struct node *map, const struct field *fields, const void *from);
/* The field of that name, canonical or not; NULL: none. */
const struct field *schema_find_field(const struct field *fields, struct slice name);
/* Fills defaults alone. */
void schema_defaults(struct schema_reading *, const struct field *fields, void *into);
/* Makes a path absolute from reading->folder. */
struct slice schema_path(struct schema_reading *, struct slice path);

/* For `read` functions: the types' own checks, with their words. `name` is the field's. False: a problem was added. */
bool schema_read_text(struct schema_reading *, const char *name, const struct node *, struct slice *);
bool schema_read_integer(struct schema_reading *, const char *name, int64_t minimum, int64_t maximum,
                         const struct node *, int64_t *);
/* A share, as 5 or 0.25: in hundredths of a percent; and its `write`. */
bool schema_read_percentage(struct schema_reading *, const char *name, const struct node *, uint64_t *hundredths);
struct node *schema_write_percentage(struct arena *, const void *from);

/* A table for people: field, type, default, what. Objects inside stand as `outer.inner`, items of lists as `list[].inner`. */
void schema_write_markdown(FILE *, const struct field *fields);

#endif
