/* store/copy.h: the last good state of a store as local files, so that a gateway that starts while the database is away serves what was in
 * force: one file for all documents, one for API keys. Written to a new file, synced, renamed, and the folder synced; the head says version,
 * revision, length and checksum (XXH3-128 of all bytes), and a copy that doesn't match, or whose items don't add up, is not used at all.
 * Mode 0600: documents hold secrets. Any thread, one at a time for a path; may block on the disk. Errors: error->reason is one of
 *   "copy-absent"   there is none
 *   "copy-damaged"  it is torn, altered, or of another version of Sluice: it is not used
 *   "copy-failed"   it can't be read or written; when writing, the copy before stays */
#ifndef SLUICE_STORE_COPY_H
#define SLUICE_STORE_COPY_H

#include "store/catalog.h"
#include "store/store.h"

/* Of everything in the catalog, as of one revision. */
bool copy_write(const char *path, struct catalog *, struct error *) MUST_USE;
/* Fills the visitor once the whole file was found good; *revision is what it was. False: the visitor may have been called for some, where the
 * file was altered during the call. */
bool copy_read(const char *path, const struct store_visitor *, uint64_t *revision, uint64_t *written_us,
               struct error *) MUST_USE;

/* API keys: streamed from the store, fewer than `keys_max` or an arbitrary part of them that has this size. Each takes about 130 bytes, so
 * this isn't for every change. */
struct keys_copy {
    uint64_t revision, written_us, count;
    bool is_whole; /* all keys that there were */
};
bool copy_write_keys(const char *path, struct store *, uint64_t keys_max, struct error *) MUST_USE;
bool copy_read_keys(const char *path, const struct api_key_visitor *, struct keys_copy *, struct error *) MUST_USE;

#endif
