/* changes/: the configuration that lives: one thread that owns the store and makes every change in one order:
 *
 *   take ─► lock the store's head, catch up with others ─► merge ─► check whole ─► compile ─► commit ─► catalog ─► in force ─► answer
 *
 * Whatever fails before the commit leaves store, catalog and gateway as they were. What was committed is compiled already, so putting
 * it in force can't fail; the answer comes when all workers of this instance have it. Changes of other instances come by notification
 * (and by a poll each second) and go the same way from `compile` on. While the store is away, orders are answered CHANGE_STORE_AWAY, the
 * catalog stays, and the thread tries again with growing pauses (100 ms to 2 s); it catches up by revisions, or reads all anew where these
 * do not reach back.
 *
 *   changes.c     the thread: orders and questions in line, and what waits until it is in force
 *   order.c       an order's steps
 *   draft.c       the catalog, and over it what is to become of it; references.c: which fields name others
 *   edit.c        what an order makes of one resource; whole.c: of everything, or of what has a tag; keys.c: of API keys
 *   effect.c      what a draft means for the gateway; left_out.c: what can't be compiled here
 *   history.c     revisions, rollback
 *   follow.c      others' changes, a lost store; local_copy.c: the file to start from without it
 *   gateways.c    who else shares the store
 *
 * draft.c, edit.c, whole.c and effect.c are pure: no store, no clock, no thread. */
#ifndef SLUICE_CHANGES_CHANGES_H
#define SLUICE_CHANGES_CHANGES_H

#include "config/resource.h"
#include "event/mailbox.h"
#include "snapshot/snapshot.h"
#include "store/catalog.h"
#include "store/store.h"

struct changes;

/* How a change comes into force; the gateway's publisher fills this in. All are called on the changes thread. */
struct changes_gateway {
    /* Compiles without changing anything. Blocks until it is done. NULL: a problem was added (with pointers as in `changed`'s nodes). Takes
     * the change over in either case. At most one is prepared at a time; it is followed by commit or abandon. */
    struct prepared_change *(*prepare)(void *argument, struct configuration_change *changed, struct problems *);
    /* Puts it in force; can't fail. `in_force` is called once every worker has it, on any thread. */
    void (*commit)(void *argument, struct prepared_change *, void (*in_force)(void *argument), void *in_force_argument);
    void (*abandon)(void *argument, struct prepared_change *);
    void *argument;
};

struct changes_options {
    const char
        *store; /* location; NULL: the file store: reads work, orders are answered CHANGE_READ_ONLY, dry runs are run */
    const char *copy_path; /* of the local copy; NULL: none is kept */
    const char *folder;    /* where relative paths in resources start */
    const struct policy_kinds *kinds;
    struct changes_gateway gateway;
    /* On the changes thread: API keys were changed (here or elsewhere); `ids` NULL: any of them. `in_force` (may be NULL) is called once
     * nobody is let in by what was before, on any thread. May be NULL. */
    void (*keys_changed)(void *argument, const struct slice *ids, size_t count, void (*in_force)(void *argument),
                         void *in_force_argument);
    void *keys_argument;
    const char *gateway_name; /* as which it is told to those who share the store; NULL: it isn't */
    /* Without a gateway: the configuration of the one whose store it is, as far as it is known; NULL: it isn't. Routes are judged by its API
     * versions, or, where it has none, by those of the file that is imported; where nobody says any, routes' versions are not judged. */
    const struct configuration *gateway_file;
};

/* Opens the store, brings its schema up to date and fills the catalog, from the local copy where the store is away (a warning is logged);
 * blocks for some seconds at most. NULL: *error (no store and no copy, a newer schema, a damaged store). No thread yet. */
struct changes *changes_create(const struct changes_options *, struct error *);
/* Instead of having loaded the catalog the builder has loaded nothing, because something in it can't be used here: the thread begins by
 * putting in force what can. Before changes_start(). */
void changes_not_loaded(struct changes *);
/* The builder has loaded the catalog: from here on orders are taken and others followed. */
bool changes_start(struct changes *, struct error *) MUST_USE;
/* The order under way is finished; what waits, and what comes later, is answered CHANGE_STORE_AWAY. What is committed and not yet in force
 * is waited for two seconds. To be called while the gateway's workers still turn. */
void changes_stop(struct changes *);
/* After changes_stop and after the gateway: no `in_force` may come any more. */
void changes_destroy(struct changes *);
struct catalog *changes_catalog(struct changes *);

/* --- orders --- */

enum change_action {
    CHANGE_CREATE, /* a resource from `body` */
    /* `target` becomes `body`; created where `target` is a UUID or a name that is not there. A body without name or id keeps them. A new
     * name is written into all resources that used the old one, in the same revision. */
    CHANGE_PUT,
    CHANGE_PATCH, /* RFC 7396 */
    /* With `cascade` what names it goes too; but a plugin that lists others beside it only loses it from its list. */
    CHANGE_DELETE,
    /* The whole configuration, or what has `tag`, becomes `body`: { services: [...], routes: [...], ... }. What has an id or else a name
     * that is there already keeps its identity and its age; the rest is new, in the order of the body. With a tag every item must
     * carry it, and what doesn't carry it is neither touched nor taken over. API keys (`apiKeys`) are put by id or else hash; those that the
     * body doesn't name stay, for they may be millions. */
    CHANGE_WHOLE,
    CHANGE_ROLLBACK,   /* everything but API keys becomes as it was at revision `target` */
    CHANGE_ROTATE_KEY, /* `target` gets a successor; body { overlap: SECONDS }, 86,400 where absent */
};

enum change_outcome {
    CHANGE_CREATED,
    CHANGE_UPDATED,
    CHANGE_DELETED,
    CHANGE_NOTHING,        /* equal to what is there: no revision */
    CHANGE_NOT_FOUND,      /* 404 */
    CHANGE_AMBIGUOUS,      /* 409: several have this name; say the id */
    CHANGE_NAME_TAKEN,     /* 409 */
    CHANGE_IN_USE,         /* 409: `users` */
    CHANGE_STALE,          /* 412: if_match is not what is there */
    CHANGE_MATCH_REQUIRED, /* 428: the setting asks for If-Match */
    CHANGE_INVALID,        /* 422: `problems` */
    CHANGE_UNREADABLE,     /* 400: `problems`: the body is no JSON */
    CHANGE_READ_ONLY,      /* 405 store-is-read-only */
    CHANGE_STORE_AWAY,     /* 503: `error` */
    CHANGE_FAILED,         /* 500: `error`: the store refused for another reason (full, damaged): nothing was written */
};

/* One write, for one run. Made by change_order_create, filled, submitted; from then on the changes thread's until `done` runs. */
struct change_order {
    struct message message; /* internal */
    enum change_action action;
    enum resource_kind kind;
    char *target; /* id, name or revision's number; NULL where there is none */
    char *body;   /* JSON text; NULL: none */
    size_t body_length;
    char *file; /* WHOLE: a configuration file whose resources stand in place of `body`; NULL: none. For changes_run */
    char *left_out; /* of such a file: what stands in it beside resources, "listeners, admin"; NULL: nothing */
    /* ETags without quotes, separated by commas, or "*"; NULL: not asked. WHOLE, ROLLBACK: the revision's number. */
    char *if_match;
    char *if_none_match; /* the same; only where it is not one of these, "*": not there at all */
    bool match_required;
    bool cascade;                    /* DELETE: with whoever uses it */
    bool dry_run;                    /* everything up to the compile, nothing after */
    char *tag;                       /* WHOLE: only what carries this tag is touched */
    char *author, *source, *comment; /* NULL: none */
    /* On the changes thread (or another of its makers), exactly once; the order is the callee's again. */
    void (*done)(struct change_order *, void *argument);
    /* Nobody waits for the answer any more: then a dry run is not made. Any thread; NULL: somebody always does. */
    bool (*is_forgotten)(const void *argument);
    void *argument;
    /* The answer. */
    enum change_outcome outcome;
    struct problems problems;
    struct error error;
    bool may_be_written;                  /* STORE_AWAY: the store was lost in the very commit; revisions tell later */
    struct catalog_entry *before, *after; /* one reference each; NULL: none. Of the resource asked for */
    struct catalog_entry **users;         /* IN_USE: up to 20; NAME_TAKEN: who has the name */
    size_t user_count;
    size_t created, updated, deleted; /* WHOLE, ROLLBACK, a cascade: how many */
    uint64_t revision;                /* in which it is; of CHANGE_NOTHING the one in force */
    char *secret;                     /* a new API key's text, shown once; NULL: none */
    char *key_document;               /* of an API key: what GET shows of it */
    char *key_etag;                   /* and its ETag */
    struct change_list *list;         /* everything it does: see changes_describe(); NULL: nothing */
};

struct change_order *change_order_create(enum change_action, enum resource_kind);
void change_order_destroy(struct change_order *);
#define CHANGES_WAITING_MAX 1024 /* orders and questions in line; beyond, they are answered CHANGE_STORE_AWAY */
/* Any thread, from changes_start to changes_destroy. */
void changes_submit(struct changes *, struct change_order *);

/* A strong ETag without its quotes: 32 hex digits. */
#define CHANGES_ETAG_BYTES 33
void changes_etag(struct content_hash, char into[CHANGES_ETAG_BYTES]);
/* JSON array of what an order did, or as a dry run would do: [{"kind","id","name","change":"created|updated|deleted","difference":[...]}].
 * The caller's. */
char *changes_describe(struct changes *, const struct change_order *);
/* It creates or updates one of this kind, or as a dry run would. */
bool changes_put_kind(const struct change_order *, enum resource_kind);

/* --- questions that need the store: history and API keys. Answered in line with the orders. --- */

struct change_question {
    struct message message; /* internal */
    enum { QUESTION_REVISIONS, QUESTION_REVISION, QUESTION_API_KEYS, QUESTION_API_KEY } about;
    char *target;    /* a number, an id */
    char *cursor;    /* NULL: from the start */
    char *client_id; /* API keys: of this client; NULL: all */
    size_t limit;
    void (*done)(struct change_question *, void *argument);
    bool (*is_forgotten)(const void *argument); /* as that of an order: then it is not looked up */
    void *argument;
    enum change_outcome outcome; /* CHANGE_NOTHING: answered */
    struct error error;
    char *
        document; /* JSON: an item, or {"items":[...],"nextCursor":...}; in a list a revision has its first 100 changes only */
    char *etag; /* of an item; NULL: none */
};
struct change_question *change_question_create(void);
void change_question_destroy(struct change_question *);
void changes_ask(struct changes *, struct change_question *);

/* For /admin/health; any thread. */
struct changes_health {
    bool store_is_there;      /* false also after changes_stop(): nothing is heard of it any more */
    uint64_t heard_us;        /* wall clock: what others had done by then is known here, and was told; 0: nothing yet */
    char store[256];          /* location without password; "file" */
    char problem[256];        /* why it is not there; "" */
    uint64_t revision;        /* in the catalog */
    uint64_t behind_since_ms; /* loop time at which the store was lost; 0: it is there */
    bool from_copy;           /* the catalog is the local copy's */
};
void changes_health(struct changes *, struct changes_health *);

/* JSON array of the gateways that share the store, as it said last: [{"id","name","version","revision","startedAt","seenAgoMs","self"}]; one
 * that was not seen for 30 s is not in it. NULL: nothing is known (a store that isn't shared, or was not there yet). Any thread; the caller's. */
char *changes_gateways(struct changes *);

/* --- without a gateway: the command line's import, export, diff, migrate --- */

/* For an import and a diff: the order is a CHANGE_WHOLE with `file`. The gateway of the options is not asked: nothing is running, and
 * compiling is done for checking alone, by a builder that is thrown away. */
struct changes *changes_create_offline(const struct changes_options *, const struct policy_registry *, struct error *);
/* Runs the order in the caller's thread; `done` is not called. */
void changes_run(struct changes *, struct change_order *);

#endif
