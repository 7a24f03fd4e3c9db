/* keys/key_sets.h: key sets that somebody else publishes, in a file or at a URL, kept fresh by one thread of their own.
 *
 * A URL's set is fetched when it is first used, then ahead of its end by HTTP's rules (Cache-Control max-age and Age, ETag; RFC 9111 5.2), and when a token
 * names a key that it doesn't hold, though after such a look not again for the cool-down of who asks. An issuer that doesn't answer, or not with keys,
 * is tried again with growing pauses (1 s to 60 s), and its last set stays. No answer is larger than KEY_SET_BYTES_MAX nor takes longer than 10 s, and no
 * other issuer waits for it; how long is too long, who uses it says for itself (key_set_source_is_older()). A file is read when it is first used and
 * again when it has changed (looked at every 2 s).
 *
 * libcurl is loaded when the first URL is used. Sources of one location are one. Who verifies asks for the version (one load of an atomic),
 * and takes the set when that is another one. */
#ifndef SLUICE_KEYS_KEY_SETS_H
#define SLUICE_KEYS_KEY_SETS_H

#include "base/list.h"
#include "keys/key_set.h"
#include "shared/counter.h"

struct key_sets;
struct key_set_source;

/* For so many workers' figures. NULL: *error. */
struct key_sets *key_sets_create(unsigned workers, struct error *);
bool key_sets_start(struct key_sets *, struct error *) MUST_USE;
/* Ends the thread; whoever waits is answered. Sources stay as they are. */
void key_sets_stop(struct key_sets *);
/* Nobody uses a source any more. */
void key_sets_destroy(struct key_sets *); /* NULL is allowed */

/* --- the builder's thread --- */

struct key_set_location {
    struct slice url;         /* http or https; absent: a file */
    struct slice path;        /* of the file, absolute */
    struct slice authorities; /* of a URL: file with the CAs that are believed; absent: the system's */
};

/* Somebody doesn't believe a URL's set for longer than so. Of who uses the source, zeroed, and in its place while it counts. */
struct key_set_bound {
    struct list_link link;
    uint64_t age_ms_max; /* 0: it doesn't count */
};

/* One more use of the location's source. A file is read at once. NULL: *error; only a file can fail. */
struct key_set_source *key_set_source_use(struct key_sets *, const struct key_set_location *, struct error *) MUST_USE;
/* One use less, whose bound counts no longer; with the last one it goes. */
void key_set_source_drop(struct key_set_source *);
/* From now on the URL is asked again ahead of the least age of all bounds that count, whatever its answers say. The age is above 0. For who is in
 * force: much is compiled that never is, and to ask a stranger more often on its account would be wrong. */
void key_set_source_bind(struct key_set_source *, struct key_set_bound *, uint64_t age_ms_max);
/* It counts no longer; if it did. */
void key_set_source_unbind(struct key_set_source *, struct key_set_bound *);
/* A file's keys without a source, for who only checks. */
struct key_set *key_set_read_file(struct slice path, struct error *) MUST_USE;

/* --- any thread that holds a use --- */

/* Of the set in force (key_set_version()); 0: there was none yet. */
uint64_t key_set_source_version(const struct key_set_source *);
/* The set in force, retained; NULL: none yet. Takes a lock for the length of a pointer's copy. */
struct key_set *key_set_source_take(struct key_set_source *);
/* When the set in force was last known to be right, by the clock of a loop's now_ms, which may be before that began and then wraps; 0: never. */
uint64_t key_set_source_right_ms(const struct key_set_source *);
/* Was that longer ago than so? */
bool key_set_source_is_older(const struct key_set_source *, uint64_t age_ms, uint64_t now_ms);
/* The last fetch failed, or there was none yet. */
bool key_set_source_is_failing(const struct key_set_source *);

enum key_set_asked {
    KEY_SET_ASKED,  /* `answered` will be called; it may have been already */
    KEY_SET_RECENT, /* somebody looked within this asker's cool-down: what isn't there is unknown */
    KEY_SET_AWAY,   /* the issuer doesn't answer and is tried again later, or too many wait */
};

/* A value: a ticket that may be stale by then. `answered` runs once, on the thread of the key sets, and must not block. Then look again.
 * For `cool_down_ms` after the last look, on whosever behalf, what isn't there is unknown to this asker. Who shares a source has an own one all the
 * same; the issuer is asked as often as the shortest allows. */
struct key_set_asker {
    void (*answered)(const struct key_set_asker *);
    uint64_t cool_down_ms;
    uint64_t ticket[3];
};

/* Would it make sense to ask? Changes nothing. */
enum key_set_asked key_set_source_may_ask(const struct key_set_source *, uint64_t cool_down_ms);
/* A key is missing: is there a newer set? Never blocks. */
enum key_set_asked key_set_source_ask(struct key_set_source *, const struct key_set_asker *);

/* --- figures, any thread --- */

/* Tokens by what became of them; each worker counts its own. */
enum jwt_token_result {
    JWT_TOKEN_CACHED,
    JWT_TOKEN_VERIFIED,
    JWT_TOKEN_REFUSED,
    JWT_TOKEN_KEYS_AWAY,
    JWT_TOKEN_RESULTS
};
extern const char *const jwt_token_result_words[JWT_TOKEN_RESULTS];
struct counter *key_sets_token_counter(struct key_sets *, unsigned worker, enum jwt_token_result);

struct key_set_figures {
    uint64_t fetched, unchanged, failed; /* fetches of URLs by what came of them */
    uint64_t asked, overloaded;          /* who waited for a fetch; who could not */
    uint64_t tokens[JWT_TOKEN_RESULTS];
};
void key_sets_figures(const struct key_sets *, struct key_set_figures *);

struct key_set_state {
    const char *name; /* URL without user, password and query, or path */
    size_t keys, left_out;
    bool is_failing;
    uint64_t age_ms; /* since it was last known to be right; UINT64_MAX: never */
};
/* Each source under a lock that the thread waits for: `visit` is to be short. */
void key_sets_visit(struct key_sets *, void (*visit)(void *argument, const struct key_set_state *), void *argument);

#endif
