/* gateway/key_index.h: the gateway's index of API keys (keys/api_keys.h): with a store kept up to date by a thread of its own, without one
 * filled from the file at each load. The publisher owns it, as it owns the configuration. */
#ifndef SLUICE_GATEWAY_KEY_INDEX_H
#define SLUICE_GATEWAY_KEY_INDEX_H

#include "changes/changes.h"
#include "config/config.h"
#include "keys/key_lookups.h"
#include "observe/metrics.h"

struct key_index {
    struct api_keys *keys;       /* NULL: not made yet */
    struct key_lookups *lookups; /* NULL: the file store's, which has all in memory */
};

/* `store`: its location; NULL: none. `copy_path`: of the local copy of its keys; NULL: none is kept. Nothing is read before
 * key_index_start(). */
bool key_index_create(struct key_index *, const struct configuration *, unsigned workers, const char *store,
                      const char *copy_path, struct error *) MUST_USE;
bool key_index_start(struct key_index *, struct error *) MUST_USE;
void key_index_stop(struct key_index *);
void key_index_release(struct key_index *); /* after the workers; a zeroed one too */

/* For struct changes_options: on the changes thread, between start and release; `argument` is the index. */
void key_index_changed(void *argument, const struct slice *ids, size_t count, void (*in_force)(void *argument),
                       void *in_force_argument);
/* Now and then (the control thread's beat): whether changes are heard of. */
void key_index_heard(struct key_index *, struct changes *);
void key_index_write_metrics(const struct key_index *, struct metrics_text *);

/* The keys of a file, as copies: taken before the configuration is compiled, put in force after that went well, forgotten in either case.
 * Where there is a store there are none. */
struct file_keys;
struct file_keys *key_index_read_file(const struct key_index *, const struct configuration *);
void key_index_put_file(struct key_index *, const struct file_keys *);
void key_index_forget_file(struct file_keys *);

#endif
