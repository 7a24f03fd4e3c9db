/* Secrets in documents: which values are, as the tables say; shown as their hash, and put back by it.
 *
 * A value that is put back goes to a place of a secret only: anywhere else the next GET would show it. */
#include "config/private.h"

#include <openssl/sha.h>

/* --- where they are --- */

/* Called for each scalar and each {"$secret":...} that stands where a secret belongs. The field is NULL inside of what no table describes. */
typedef void secret_visitor(void *argument, const struct field *, struct node *);

struct secret_walk {
    const struct policy_kinds *kinds;
    secret_visitor *visit;
    void *argument;
};

static void walk_map(const struct secret_walk *, const struct field *fields, struct node *map);

static void walk_secret(const struct secret_walk *walk, const struct field *field, struct node *node)
{
    if (node->kind == NODE_SCALAR || (node->kind == NODE_MAP && node_find(node, SECRET_KEY)))
        walk->visit(walk->argument, field, node);
    else
        for (struct node *child = node->first; child; child = child->next) walk_secret(walk, field, child);
}

/* Of a field some of whose texts are secret, is this one, or what was shown of one? */
static bool is_secret(const struct field *field, const struct node *node)
{
    if (field->secret || !field->secret_when) return field->secret;
    return node->kind == NODE_SCALAR ? field->secret_when(node->text) : node->kind == NODE_MAP;
}

static void walk_inside(const struct secret_walk *walk, const struct field *field, struct node *map)
{
    if (map->kind != NODE_MAP) return;
    const struct field *fields = field->fields_of ? field->fields_of(walk->kinds, map) : field->fields;
    if (fields)
        walk_map(walk, fields, map);
    else if (field->fields_of)
        walk_secret(walk, NULL, map); /* of a kind that nobody knows */
}

static void walk_map(const struct secret_walk *walk, const struct field *fields, struct node *map)
{
    for (struct node *child = map->first; child; child = child->next) {
        const struct field *field = schema_find_field(fields, child->key);
        if (!field) continue;
        if (is_secret(field, child)) {
            walk_secret(walk, field, child);
        } else if (child->kind == NODE_LIST) {
            for (struct node *item = child->first; item; item = item->next) walk_inside(walk, field, item);
        } else {
            walk_inside(walk, field, child);
        }
    }
}

static void walk_resource(const struct secret_walk *walk, enum resource_kind kind, struct node *root)
{
    if (root->kind == NODE_MAP) walk_map(walk, resource_types[kind].fields, root);
}

/* --- their hashes --- */

#define HASH_PREFIX "sha256:"
#define SHOWN_DIGITS 16
#define SHOWN_LENGTH (sizeof HASH_PREFIX - 1 + SHOWN_DIGITS)

static void write_hash(struct slice secret, char into[SHOWN_LENGTH + 1])
{
    unsigned char digest[SHA256_DIGEST_LENGTH];
    SHA256((const unsigned char *)secret.at, secret.length, digest);
    memcpy(into, HASH_PREFIX, sizeof HASH_PREFIX);
    for (size_t i = 0; i < SHOWN_DIGITS / 2; i++) snprintf(into + sizeof HASH_PREFIX - 1 + 2 * i, 3, "%02x", digest[i]);
}

/* --- hiding --- */

static void hide(void *argument, const struct field *field, struct node *node)
{
    struct arena *arena = argument;
    (void)field;
    if (node->kind != NODE_SCALAR || resource_secret_is_reference(node->text)) return;
    char hash[SHOWN_LENGTH + 1];
    write_hash(node->text, hash);
    node->kind = NODE_MAP;
    node->text = SLICE_ABSENT;
    struct node *last = NULL;
    node_append(node, &last, SLICE(SECRET_KEY), node_make_text(arena, arena_keep(arena, slice_of(hash, SHOWN_LENGTH))));
}

void secrets_hide(struct arena *arena, enum resource_kind kind, const struct policy_kinds *kinds, struct node *root)
{
    struct secret_walk walk = { .kinds = kinds, .visit = hide, .argument = arena };
    walk_resource(&walk, kind, root);
}

struct node *document_read(struct arena *arena, struct slice document)
{
    struct problems problems;
    problems_init(&problems, NULL);
    struct node *root = node_read_json(arena, document, NULL, &problems);
    problems_release(&problems);
    return root;
}

struct slice resource_hide_secrets(struct arena *arena, enum resource_kind kind, const struct policy_kinds *kinds,
                                   struct slice document)
{
    struct node *root = document_read(arena, document);
    if (!root) return SLICE("{}");
    secrets_hide(arena, kind, kinds, root);
    return node_write_json(arena, root);
}

/* --- putting back --- */

struct kept_secrets {
    struct vector texts; /* struct slice, of the document before */
};

static void keep_text(void *argument, const struct field *field, struct node *node)
{
    struct kept_secrets *kept = argument;
    (void)field;
    if (node->kind == NODE_SCALAR) vector_push_copy(&kept->texts, &node->text);
}

static void put_back(void *argument, const struct field *field, struct node *node)
{
    const struct kept_secrets *kept = argument;
    const struct node *hash = node_find(node, SECRET_KEY);
    if (!hash || node->count != 1 || hash->kind != NODE_SCALAR || hash->text.length != SHOWN_LENGTH) return;
    for (size_t i = 0; i < kept->texts.count; i++) {
        const struct slice *text = vector_at(&kept->texts, i);
        char shown[SHOWN_LENGTH + 1];
        write_hash(*text, shown);
        if (memcmp(shown, hash->text.at, SHOWN_LENGTH) != 0) continue;
        if (field && !field->secret && !field->secret_when(*text)) return; /* it would be shown here */
        node->kind = NODE_SCALAR;
        node->quoted = true;
        node->text = *text;
        node->first = NULL;
        node->count = 0;
        return;
    }
}

void resource_keep_secrets(struct schema_reading *reading, enum resource_kind kind, struct node *written,
                           struct slice before)
{
    struct node *root = slice_is_absent(before) ? NULL : document_read(reading->arena, before);
    if (!root) return;
    struct kept_secrets kept;
    vector_init(&kept.texts, sizeof(struct slice));
    struct secret_walk walk = { .kinds = reading->kinds, .visit = keep_text, .argument = &kept };
    walk_resource(&walk, kind, root);
    walk.visit = put_back;
    if (kept.texts.count > 0) walk_resource(&walk, kind, written);
    vector_release(&kept.texts);
}
