/* changes/private.h: what the files of this room share. No other room includes it. */
#ifndef SLUICE_CHANGES_PRIVATE_H
#define SLUICE_CHANGES_PRIVATE_H

#include "base/arena.h"
#include "base/map.h"
#include "changes/changes.h"
#include "jobs/jobs.h"

#include <pthread.h>

/* --- draft.c: the catalog, and over it what is to become of it --- */

struct draft_item {
    enum resource_kind kind;
    struct slice id;
    struct catalog_entry *before, *after; /* one reference each; NULL: not there */
    /* Where the order's body has it: problems that the compiler finds are told there. NULL: the body doesn't have it. */
    const struct node *written;
    size_t written_index; /* in its list, where it stands in one */
};

/* An API key that is put or, without `row.id`, taken away. */
struct draft_key {
    struct api_key_row row; /* in the draft's arena */
    struct slice id, name;
    bool is_new, is_removed;
};

struct draft {
    struct catalog *catalog;
    const struct policy_kinds *kinds;
    const char *folder;
    struct problems *problems;
    struct arena arena;
    struct vector items;                     /* struct draft_item *, in the order in which they came */
    struct map by_id[RESOURCE_KIND_COUNT];   /* struct draft_item */
    struct map by_name[RESOURCE_KIND_COUNT]; /* of what is to be there: struct draft_item */
    struct vector keys;                      /* struct draft_key */
    uint64_t at_us;                          /* when it is: later than all that is there */
    uint64_t next_us;                        /* the age of the next new resource: one later for each */
    uint64_t restored_us; /* the age that the next one that is read had; 0: it keeps its own, or is new */
    struct vector
        users; /* struct catalog_entry *, one reference each: who keeps something from being removed, or has the name */
    struct object_list api_versions; /* of the file that is imported: struct api_versions_config, in the arena */
    bool is_taken;                   /* the last draft_read() found its name or id taken: by the last of `users` */
    bool has_lost;                   /* the last draft_entry() named something that is not there */
};

void draft_init(struct draft *, struct catalog *, const struct policy_kinds *, const char *folder, struct problems *,
                uint64_t at_us);
void draft_release(struct draft *);
struct resource_directory draft_directory(const struct draft *);
struct draft_item *draft_find_item(const struct draft *, enum resource_kind, struct slice id);
/* As it is to be: one reference, or NULL. By id only. */
struct catalog_entry *draft_get(const struct draft *, enum resource_kind, struct slice id);
/* Takes over the reference of `after` (NULL: taken away); `before` is what the catalog has. */
struct draft_item *draft_put(struct draft *, enum resource_kind, struct slice id, struct catalog_entry *after,
                             const struct node *written);
/* Reads what somebody wrote and puts it. `before`: what it takes the place of; NULL: it is new (and gets new_id where it has none of its
 * own). NULL: there were problems, or is_taken. */
struct draft_item *draft_read(struct draft *, enum resource_kind, const struct node *, struct slice new_id,
                              const struct catalog_entry *before);
/* A document that is known to be good, as an entry. */
struct catalog_entry *draft_entry(struct draft *, enum resource_kind, struct slice id, struct slice document,
                                  uint64_t created_us, uint64_t updated_us);
/* What follows from the items: names that changed go into the documents that use them, and references by name that now mean another
 * resource are found anew. False: something that is taken away is still used (`users`), or there were problems. */
bool draft_follow_names(struct draft *);
/* Everything of a kind as it is to be, by age: one reference each in `into` (struct catalog_entry *). */
void draft_list(const struct draft *, enum resource_kind, struct vector *into);
/* Entries of the catalog that name this one, one reference each. */
void draft_users(const struct draft *, enum resource_kind, struct slice id, struct vector *into);
void draft_drop_all(struct vector *entries); /* and releases the vector */
/* Nothing of it changes a document: then there is no revision. */
bool draft_is_empty(const struct draft *);
static inline struct draft_item *draft_item_at(const struct draft *draft, size_t index)
{
    return vector_pointer_at(&draft->items, index);
}
/* The documents differ; false: at most what a name in it refers to. */
bool draft_item_differs(const struct draft_item *);
/* Nor does what a name in it refers to. */
bool draft_item_is_same(const struct draft_item *);
struct slice draft_new_id(struct arena *); /* a random UUID (RFC 9562, version 4) */
/* `map` with one more field in front. */
struct node *draft_with_field(struct arena *, struct node *map, const char *key, struct slice text);
bool is_uuid(struct slice);

/* --- references.c --- */

/* Takes `text`, which stands in a resource of that kind and names another one, out of the list that it stands in, or what has that list out
 * of the list that this stands in. False: it is what all hangs on. */
bool references_take_out(enum resource_kind, struct node *text);

/* --- edit.c, whole.c, history.c: orders; what comes of them, of which the problems are in the draft --- */

/* Reads order->body. NULL: *outcome. */
struct node *edit_parse(struct draft *, struct change_order *, enum change_outcome *outcome);
enum change_outcome edit_one(struct draft *, struct change_order *, struct node *body);
/* If-Match and If-None-Match against what is there (an ETag; NULL: nothing). False: *outcome. */
bool edit_may_go_on(const struct change_order *, const char *etag, enum change_outcome *outcome);
/* Who uses what is to be taken away, or has the name: from the draft to the order. */
enum change_outcome edit_refused(struct draft *, struct change_order *);

struct node *whole_parse_file(struct draft *, struct change_order *, enum change_outcome *outcome);
enum change_outcome whole_edit(struct draft *, struct change_order *, const struct node *body);

struct changes;
enum change_outcome history_roll_back(struct changes *, struct draft *, struct change_order *);
/* The `changes` of a revision. The caller's. */
char *history_write(const struct draft *);
struct history_change {
    enum resource_kind kind;
    struct slice id, name;
    const struct node *before, *after;     /* NULL: none */
    uint64_t created_us, created_after_us; /* the age before (or, of a new one, after), and after */
    uint64_t at_us;                        /* of the revision; whoever reads fills it in */
};
/* False: the text is not what it must be. */
bool history_read(struct arena *, struct slice text, void (*change)(void *argument, const struct history_change *),
                  void *argument);
void history_answer(struct changes *, struct change_question *);

/* --- keys.c --- */

enum change_outcome keys_edit(struct changes *, struct draft *, struct change_order *, const struct node *body);
/* The list `apiKeys` of a whole configuration. False: *outcome. */
bool keys_edit_list(struct changes *, struct draft *, struct change_order *, const struct node *list,
                    enum change_outcome *outcome);
void keys_answer(struct changes *, struct change_question *);

/* --- effect.c: what a draft means for the gateway --- */

struct effect_options {
    bool whole;                 /* everything is compiled, whatever changed */
    const struct map *left_out; /* ids of what can't be compiled here; NULL: none */
    /* Where is noted which plugins that the draft changes stand in others' way (config/doubles.h); NULL: nowhere. With refuses_doubles they are
     * problems of the draft: what somebody writes, not what only follows from that, nor what a rollback brings back. */
    struct problems *doubles;
    bool refuses_doubles;
};
/* NULL: nothing that the gateway acts on, or (`*failed`) problems. The caller's. */
struct configuration_change *effect_create(struct draft *, const struct effect_options *, bool *failed);

/* --- text.c: JSON for answers and revisions --- */

void text_write_string(FILE *, struct slice);
void text_write_field(FILE *, const char *name, struct slice); /* ,"name":"..." or null where absent */
void text_write_policy(FILE *, const struct node *plugin);     /* ,"policy":"jwt-auth" */
/* ,"name":"2026-01-31T..." or null for 0: of what was noted here in milliseconds, as all resources have createdAt; of what somebody set with as many
 * places as it has, for it is written back. */
void text_write_moment(FILE *, const char *name, uint64_t us);
void text_write_time(FILE *, const char *name, uint64_t us);
/* Ends a memory stream and gives what was written, the caller's. */
char *text_finish(FILE *, char **text);
uint64_t now_us(void);

/* --- changes.c and follow.c: the thread --- */

struct change_list_item {
    enum resource_kind kind;
    char *id, *name;
    struct catalog_entry *before, *after; /* one reference each; of API keys both are NULL */
    bool was_there, is_there;
};
struct change_list {
    size_t count;
    struct change_list_item items[];
};

struct changes {
    struct changes_options options;        /* its texts are copies */
    const struct policy_registry *offline; /* NULL: a thread runs */
    struct store *store;                   /* NULL: the file store, or it could not be opened yet */
    struct catalog *catalog;
    uint64_t last_us; /* nothing that is there is younger */
    /* When the catalog's revision was written: it is told by number and time, for another history may have the number too. UINT64_MAX: not
     * known, as of a local copy. */
    uint64_t head_at_us;

    pthread_t thread;
    bool has_thread;
    struct loop loop;
    struct mailbox mailbox;
    struct message stop;
    struct task work;
    struct message *first, **last; /* orders and questions in line */
    atomic_size_t waiting;         /* how many were submitted and have not begun */
    pthread_mutex_t gate;          /* guards is_open and the posting behind it */
    bool is_open;
    bool stopping;
    struct list_link waits; /* struct in_force_wait, changes thread */
    struct timer stop_timer;

    /* The store: is it there. Changes thread; the copy for others under `health_lock`. */
    bool is_away;
    struct error why_away;
    uint32_t pause_ms;
    struct timer poll;
    struct event_source notifications; /* the store's descriptor */
    pthread_mutex_t health_lock;
    struct changes_health health;

    /* What can't be compiled here, by id; the reasons, texts. */
    struct map left_out;
    struct map left_out_before; /* while something else is tried: is_trying */
    bool is_trying;
    bool is_behind; /* the gateway has something older than the catalog */
    uint64_t try_again_ms;

    /* The local copy. */
    struct jobs *jobs;
    struct job copy_job;
    struct error copy_error;
    bool copy_is_written, copy_has_failed, copy_is_running, copy_is_wanted;
    struct timer copy_timer;
    uint64_t copied_ms;

    /* Who shares the store; `gateways` under `health_lock`. */
    struct timer beat_timer;
    char gateway_id[37];
    uint64_t started_us;
    bool beat_has_failed;
    struct vector gateways; /* struct known_gateway, gateways.c */
};

/* order.c */
/* True: it is answered once it is in force. */
bool order_run(struct changes *, struct change_order *);
void order_answer_away(struct change_order *, const char *format, ...) PRINTF_LIKE(2, 3);
void order_list(struct change_order *, const struct draft *);
/* What an error of the store is to whoever asked; notes a lost store. */
enum change_outcome store_failed(struct changes *, const struct error *, struct error *into);

/* changes.c */
/* Compiles what a draft means. False: problems. *prepared NULL: there is nothing to do. */
bool changes_compile(struct changes *, struct draft *, const struct effect_options *, struct prepared_change **);
/* The same for an order. */
bool changes_prepare(struct changes *, struct draft *, struct prepared_change **);
/* What nobody waits for. */
void changes_put_in_force(struct changes *, struct prepared_change *);
/* What an order has changed: a prepared change (may be NULL) and API keys, by id. The order is answered once both are in force; false: there is
 * nothing to wait for. */
bool changes_answer_in_force(struct changes *, struct prepared_change *, const struct slice *keys, size_t key_count,
                             struct change_order *);
void changes_abandon(struct changes *, struct prepared_change *);
void changes_tell_keys(struct changes *, const struct slice *ids, size_t count);
void changes_draft_init(struct changes *, struct draft *, struct problems *);

/* follow.c */
bool follow_open(struct changes *, struct error *); /* fills the catalog for the first time */
void follow_start(struct changes *);                /* on the changes thread */
void follow_stop(struct changes *);
void follow_store_lost(struct changes *, const struct error *);
/* The store's head was read: the catalog is that of this very revision. */
bool follow_is_at(const struct changes *, uint64_t head);
/* The store's head is known: catch up. False: *error, as the store says. */
bool follow_head(struct changes *, uint64_t head, struct error *);
/* Something was done with the store: what it heard meanwhile is taken. */
void follow_after_use(struct changes *);
/* The draft is in the catalog now, as the revision that was written then. */
void follow_apply(struct changes *, struct draft *, uint64_t revision, uint64_t at_us);

/* left_out.c */
/* Compiles all but what can't be compiled here, which is logged and noted, as is what must not be without it. False: it can't be done, and
 * the problems are in the draft. Else what is prepared is put in force (and what was noted kept) or given up (and taken back). Of the options
 * those about doubles count. */
bool left_out_prepare(struct changes *, struct draft *, const struct effect_options *, struct prepared_change **);
void left_out_keep(struct changes *);
void left_out_take_back(struct changes *);
void left_out_forget(struct changes *);

/* local_copy.c: on the changes thread */
void local_copy_start(struct changes *);
void local_copy_is_wanted(struct changes *);
void local_copy_stop(struct changes *); /* ends the jobs */

/* gateways.c: on the changes thread, but for the first and the last */
void gateways_init(struct changes *);
void gateways_start(struct changes *);
void gateways_stop(struct changes *);
void gateways_release(struct changes *);

#endif
