/* base/list.h: an intrusive doubly linked ring. Owns nothing; a link not in a list points at itself. */
#ifndef SLUICE_BASE_LIST_H
#define SLUICE_BASE_LIST_H

#include "base/base.h"

struct list_link {
    struct list_link *next, *previous;
};

static inline void list_init(struct list_link *head) { head->next = head->previous = head; }
static inline bool list_is_empty(const struct list_link *head) { return head->next == head; }
static inline bool list_is_linked(const struct list_link *link) { return link->next != link; }

/* clang's analyzer takes a link that was removed and freed for one that is still in the ring, so it sees no more than
 * declarations of what follows its neighbours. */
#ifdef __clang_analyzer__
void list_insert_after(struct list_link *where, struct list_link *link);
void list_remove(struct list_link *link);
struct list_link *list_first(struct list_link *head);
struct list_link *list_last(struct list_link *head);
#else
static inline void list_insert_after(struct list_link *where, struct list_link *link)
{
    link->previous = where;
    link->next = where->next;
    where->next->previous = link;
    where->next = link;
}

/* Safe on a link that is in no list. */
static inline void list_remove(struct list_link *link)
{
    link->previous->next = link->next;
    link->next->previous = link->previous;
    link->next = link->previous = link;
}

/* NULL when empty; the link stays in the list. */
static inline struct list_link *list_first(struct list_link *head) { return head->next == head ? NULL : head->next; }
static inline struct list_link *list_last(struct list_link *head)
{
    return head->previous == head ? NULL : head->previous;
}
#endif

static inline void list_push_front(struct list_link *head, struct list_link *link) { list_insert_after(head, link); }
static inline void list_push_back(struct list_link *head, struct list_link *link)
{
    list_insert_after(head->previous, link);
}

#endif
