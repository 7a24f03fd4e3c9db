/* gateway/publisher_private.h: the publisher's state, which belongs to the builder's thread once that runs, and what its files share:
 * publisher.c (thread, mail, publications), publisher_load.c (whole configurations: the first one and reloads), publisher_change.c
 * (changes, from the thread that makes them). */
#ifndef SLUICE_GATEWAY_PUBLISHER_PRIVATE_H
#define SLUICE_GATEWAY_PUBLISHER_PRIVATE_H

#include "gateway/publisher.h"
#include "shared/limit_counters.h"

struct publisher {
    struct publisher_options options;
    struct loop loop;
    struct mailbox mailbox;
    pthread_t thread;
    bool started;
    bool stopped; /* for good: the workers may be gone, and mail that still comes only gives back what it holds */
    struct policy_kinds kinds;
    struct metrics *metrics;
    struct mirrors *mirrors; /* made with the metrics */
    struct metrics_source mirror_figures;
    struct snapshot_builder *builder;
    struct publishing *first;        /* until every worker has given it back */
    struct worker_settings settings; /* of the newest configuration */
    struct entrances *entrances;     /* the same */
    struct worker *const *workers;
    unsigned worker_count;
    struct health_worker *checker; /* NULL: none */
    bool prefilter_running;
    _Atomic uint64_t version, routes;
    struct changes *changes;                 /* opened by the first load */
    struct key_sets *key_sets;               /* the same; NULL: not yet */
    struct key_index key_index;              /* made by the first load */
    struct limit_counters *limits;           /* the same */
    struct policy_surroundings surroundings; /* filled by the first load, before it compiles */
    char *store;                             /* its location; NULL: the file holds the resources */
    int text_in_force;                       /* of the file; -1: none */
    bool is_bare;           /* the first load was of the file alone: the rest is the changes thread's to put in force */
    uint64_t read_revision; /* of the store, when it was read last */
    struct prepared_change *prepared;     /* between the changes thread's prepare and commit or abandon; NULL: none */
    struct entrances *prepared_entrances; /* where its certificates are other ones; NULL: those in force stay */
    struct entrances *prepared_admin;     /* the same of the admin listener */
    bool apply_waits;                     /* a reload, for the end of what is prepared */
    struct configuration *pending;        /* read, and not applied yet; NULL: none */
    struct entrances *pending_entrances;
    int pending_text;  /* its file's text; -1: none */
    char *pending_log; /* its access log; NULL: off */
    char *log_in_force;
    bool may_change_user;  /* as the process began: later it is who it was told to be */
    _Atomic int good_text; /* descriptor of the text that was good last, until the control thread takes it; -1: none */
};

/* A publication with what belongs to it here. */
struct publishing {
    struct publication publication; /* first: workers know it by this */
    struct publisher *publisher;
    struct message adopted, returned;
    bool is_reload;                   /* the control thread is to hear when all have adopted */
    void (*in_force)(void *argument); /* and whoever made the change, on the last one's thread; NULL: nobody */
    void *in_force_argument;
};

/* An order from another thread. */
struct publisher_order {
    struct message message;
};
void publisher_order(struct publisher *, void (*deliver)(struct message *, void *receiver));
void publisher_order_destroy(struct message *);

/* publisher.c */
/* Mail to the control thread. Both take the failure over (NULL: none). */
void publisher_tell_read(struct publisher *, struct facts *, char *failure);
void publisher_tell_applied(struct publisher *, char *failure);
/* Takes over what entrances_list_certificates() listed, and the admin listener's entrances. */
void publisher_tell_certificates(struct publisher *, struct vector *certificates, struct entrances *admin);
void publisher_create_builder(struct publisher *, unsigned workers);
void publisher_destroy_builder(struct publisher *);
/* For this many workers and the checker, with the settings and entrances of now. */
struct publishing *publisher_make_publishing(struct publisher *, struct snapshot *, unsigned workers);
void publisher_publish(struct publisher *, struct publishing *);

/* publisher_read.c */
/* Where the local copy of what is in the store is kept: "copy" of the documents, "keys" of API keys. Instances beside each other that share a
 * store share its copies: they are the same. NULL: none is kept. The caller's. */
char *publisher_copy_path(const struct publisher *, const char *what);
/* All of it: of the file, of its store, of the words of `sluice proxy`. *text is the file's text as it was read, for keeping; -1 where there
 * is none. NULL: there were problems. */
struct configuration *publisher_read_configuration(struct publisher *, int *text, struct problems *);
/* The same of a text; the descriptor stays the caller's. */
struct configuration *publisher_read_text(struct publisher *, int descriptor, struct problems *);
/* The file without its store. */
struct configuration *publisher_read_bare(struct publisher *, int *text, struct problems *);
/* What the file in force says by itself. */
struct configuration *publisher_read_bootstrap(struct publisher *, struct problems *);
/* Whether the store's catalog still is what was read then; always, where there is no store. */
bool publisher_catalog_is(const struct publisher *, uint64_t revision);
/* The catalog of a file (empty where there is a store, or nobody reads it): made while the configuration is there, filled in or forgotten
 * when it has become clear what becomes of it. */
struct vector publisher_catalog_entries(const struct publisher *, struct configuration *);
void publisher_fill_catalog(struct publisher *, struct vector *entries, uint64_t revision);
void publisher_forget_entries(struct vector *entries);

/* publisher_load.c */
void publisher_forget_pending(struct publisher *);
void publisher_keep_good_text(struct publisher *, int text); /* -1: none */
/* Nothing is prepared any more: a reload that waited goes on. */
void publisher_resume_apply(struct publisher *);

#endif
