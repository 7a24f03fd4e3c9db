/* keys/key_sets_private.h: what key_sets.c (sources, asks), key_sets_thread.c (when what is fetched), key_sets_fetch.c (libcurl) and key_sets_rules.c
 * (HTTP's rules) share. */
#ifndef SLUICE_KEYS_KEY_SETS_PRIVATE_H
#define SLUICE_KEYS_KEY_SETS_PRIVATE_H

#include "base/random.h"
#include "keys/key_sets.h"
#include "shared/counter.h"

#include <pthread.h>

#define KEY_SET_FETCH_MS_MAX 10000
#define KEY_SET_CONNECT_MS_MAX 4000
#define KEY_SET_FETCHES_MAX 16 /* at a time */
#define KEY_SET_WAITING_MAX 4096
#define KEY_SET_FILE_EVERY_MS 2000
#define KEY_SET_ETAG_BYTES 256

/* --- HTTP's rules, pure (key_sets_rules.c) --- */

#define KEY_SET_LIFETIME_MS_DEFAULT 300000
#define KEY_SET_LIFETIME_MS_MIN 5000
#define KEY_SET_LIFETIME_MS_MAX 86400000

/* What an answer says of its freshness (absent: nothing), and when it was asked for and came, in seconds of the wall clock. */
struct key_set_freshness {
    struct slice cache_control; /* of several fields, joined by commas */
    struct slice expires, date, age;
    uint64_t asked_s, came_s;
};
/* How long it still is fresh when it comes, within the bounds. */
uint64_t key_set_lifetime_ms(const struct key_set_freshness *);
/* How long ago the issuer gave it when it comes: a cache in between may have had it. */
uint64_t key_set_age_ms(const struct key_set_freshness *);
/* When it is fetched again: at a time between three quarters and nine tenths of it. */
uint64_t key_set_refresh_after_ms(uint64_t lifetime_ms, struct random *);
/* After so many failures in a row, at least one. */
uint64_t key_set_retry_after_ms(unsigned failures, struct random *);

/* --- fetches (key_sets_fetch.c); on the thread --- */

struct key_set_fetcher; /* libcurl's */
struct key_set_fetch;   /* one under way */

struct key_set_answer {
    long status; /* 0: none, and `failure` says why */
    struct slice body, etag;
    uint64_t lifetime_ms, age_ms;
    const char *failure;
};

/* NULL: libcurl can't be had. `wake` is a descriptor that ends a wait when it can be read. */
struct key_set_fetcher *key_set_fetcher_create(int wake, struct error *);
void key_set_fetcher_destroy(struct key_set_fetcher *); /* no fetch is under way */
/* `argument` is what key_set_fetcher_next() gives back. The texts are the caller's. NULL: *error. */
struct key_set_fetch *key_set_fetch_begin(struct key_set_fetcher *, const char *url, const char *authorities,
                                          const char *etag, void *argument, struct error *);
void key_set_fetch_end(struct key_set_fetcher *, struct key_set_fetch *); /* cancels it too */
/* Moves what is under way; the argument of one that has finished, and its answer, which holds until it is ended. NULL: none. */
void *key_set_fetcher_next(struct key_set_fetcher *, struct key_set_answer *);
/* Until something can be moved, `wake`, or so long. */
void key_set_fetcher_wait(struct key_set_fetcher *, int wait_ms);

/* --- sources --- */

struct key_set_ask {
    struct key_set_ask *next;
    struct key_set_asker asker;
};

/* What the thread is told, in order. */
enum key_set_order_kind { KEY_SET_ARRIVES, KEY_SET_LEAVES, KEY_SET_IS_ASKED };
struct key_set_order {
    struct key_set_order *next;
    struct key_set_source *source;
    enum key_set_order_kind kind;
    struct key_set_asker asker; /* IS_ASKED */
};

struct key_set_source {
    struct key_sets *sets;
    char *url;  /* NULL: a file */
    char *path; /* NULL: a URL */
    char *authorities;
    char *name;                  /* for people and labels: no two have the same */
    _Atomic uint64_t age_ms_max; /* the least of `bounds`; 0: as the answers say */

    /* Of the builder's thread. */
    struct list_link used;
    uint32_t uses;
    struct list_link bounds; /* struct key_set_bound */
    struct key_set_order arrives, leaves;

    /* Any thread. */
    _Alignas(CACHE_LINE) _Atomic uint64_t version;
    _Atomic uint64_t looked_ms; /* when somebody last missed a key and it was looked for; 0: not since a fetch failed */
    _Atomic uint64_t away_until_ms; /* nobody asks a failing issuer before */
    atomic_bool is_fetching, is_failing;
    pthread_mutex_t lock; /* of `set`; held while a pointer is copied */
    struct key_set *set;

    /* Of the thread; `link` under sets->list_lock. */
    struct list_link link;
    struct key_set_ask *asks;
    struct key_set_fetch *fetch;
    uint64_t next_ms;          /* when it is fetched or looked at again */
    _Atomic uint64_t right_ms; /* when it was last known to be right; 0: never */
    uint64_t came_ms, age_ms;  /* when the answer that says so came, and how old it was */
    unsigned failures;
    char etag[KEY_SET_ETAG_BYTES];
    struct key_set_file_stamp {
        uint64_t device, inode, size, changed_ns;
    } stamp;
};

struct token_counters {
    _Alignas(CACHE_LINE) struct counter results[JWT_TOKEN_RESULTS];
};

struct key_sets {
    /* Any thread. */
    _Alignas(CACHE_LINE) _Atomic(struct key_set_order *) orders; /* newest first */
    _Atomic uint32_t waiting;
    _Atomic uint64_t overloaded, asked;
    int wake; /* eventfd */
    unsigned workers;
    struct token_counters *tokens; /* a worker */

    /* Of the builder's thread. */
    _Alignas(CACHE_LINE) struct list_link used;

    /* Of its own thread. */
    _Alignas(CACHE_LINE) struct list_link sources;
    pthread_mutex_t list_lock; /* for who reads `sources` elsewhere */
    struct key_set_fetcher *fetcher;
    unsigned fetching;
    struct random random;
    struct counter fetched, unchanged, failed;
    pthread_t thread;
    bool is_running;
    atomic_bool stops;
};

uint64_t key_sets_now_ms(void);
void key_sets_order(struct key_sets *, struct key_set_order *);
/* Oldest first; none: NULL. */
struct key_set_order *key_sets_take_orders(struct key_sets *);
void key_set_source_destroy(struct key_set_source *);
/* Puts a set in force, which it takes over. True: it is another one than before. */
bool key_set_source_put(struct key_set_source *, struct key_set *);
/* Reads the file anew where it has changed. False: it can't be read, or holds no keys. */
bool key_set_source_read_file(struct key_set_source *, struct error *) MUST_USE;
/* Has it been looked at too lately for who asks with this cool-down? */
bool key_set_source_is_quiet(const struct key_set_source *, uint64_t now_ms, uint64_t cool_down_ms);
/* Whoever waits looks again. */
void key_set_source_answer(struct key_set_source *);

/* key_sets_thread.c */
void *key_sets_run(void *argument); /* a struct key_sets */
/* What orders there are is done; also without the thread. */
void key_sets_follow_orders(struct key_sets *);

#endif
