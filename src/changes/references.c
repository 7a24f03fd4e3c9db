/* changes/references.c: what becomes of a resource's text when what it names is taken away. Where such texts stand is known to the tables
 * (resource_visit_references). */
#include "changes/private.h"

static bool take_out(struct node *item)
{
    struct node *list = item->parent;
    if (!list || list->kind != NODE_LIST || list->count < 2) return false;
    struct node **at = &list->first;
    while (*at != item) at = &(*at)->next;
    *at = item->next;
    list->count--;
    return true;
}

bool references_take_out(enum resource_kind kind, struct node *text)
{
    if (take_out(text)) return true;
    /* The last one of a role's permission: an empty list would mean all, so that permission goes. A filter never does: it may be what
     * keeps somebody out. */
    struct node *list = text->parent;
    return kind == RESOURCE_ROLE && list && list->kind == NODE_LIST && list->parent && take_out(list->parent);
}
