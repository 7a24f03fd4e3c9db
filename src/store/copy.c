#include "store/copy.h"

#include "base/clock.h"
#include "base/memory.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

#define COPY_ABSENT "copy-absent"
#define COPY_DAMAGED "copy-damaged"
#define COPY_FAILED "copy-failed"

#define VERSION 1
#define BUFFER_BYTES 65536
#define LEFT_OVER_SECONDS (10 * 60) /* nobody writes a copy for so long */

enum copy_of { COPY_OF_DOCUMENTS = 1, COPY_OF_KEYS = 2, COPY_OF_SOME_KEYS = 3 };

/* In the machine's own byte order: a copy never leaves it. */
struct head {
    char magic[8];
    uint32_t version, of;                         /* enum copy_of */
    uint64_t revision, written_us, count, length; /* length: of what follows the head */
    uint64_t checksum[2];                         /* of what follows the head, then of the head without this */
};
#define HEAD_CHECKED offsetof(struct head, checksum)
static const char magic[8] = "SLUICE\r\n"; /* a copy that went through a text mode is noticed by its first bytes */

/* An item is its numbers, the lengths of its texts, then the texts. */
#define TEXTS_MAX 7
#define NUMBERS_MAX 6
struct item {
    uint64_t numbers[NUMBERS_MAX];
    struct slice texts[TEXTS_MAX];
};
struct item_shape {
    size_t numbers, texts;
};
static const struct item_shape document_shape = { .numbers = 3, .texts = 2 }, key_shape = { .numbers = 5, .texts = 7 };

static bool refuse(struct error *error, const char *reason, const char *path, const char *what)
{
    return error_set(error, BLAME_US, RETRY_NEVER, 500, reason, "%s: %s", path, what);
}

static bool refuse_errno(struct error *error, const char *path, const char *what)
{
    return error_set(error, BLAME_US, RETRY_NEVER, 500, errno == ENOENT ? COPY_ABSENT : COPY_FAILED, "%s: %s: %s", path,
                     what, error_from_errno(errno));
}

static void finish_checksum(XXH3_state_t *state, const struct head *head, uint64_t checksum[2])
{
    XXH3_128bits_update(state, head, HEAD_CHECKED);
    XXH128_hash_t hash = XXH3_128bits_digest(state);
    checksum[0] = hash.high64;
    checksum[1] = hash.low64;
}

/* --- writing --- */

struct writing {
    const char *path;
    char *beside; /* the new file's path until it is whole */
    int file;
    struct head head;
    XXH3_state_t *checksum;
    char buffer[BUFFER_BYTES];
    size_t used;
    bool failed; /* errno says why */
};

static bool write_all(int file, const char *bytes, size_t length)
{
    while (length > 0) {
        ssize_t written = write(file, bytes, length);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) return false;
        bytes += written;
        length -= (size_t)written;
    }
    return true;
}

static void flush(struct writing *writing)
{
    if (!writing->failed && !write_all(writing->file, writing->buffer, writing->used)) writing->failed = true;
    XXH3_128bits_update(writing->checksum, writing->buffer, writing->used);
    writing->head.length += writing->used;
    writing->used = 0;
}

static void put(struct writing *writing, const void *bytes, size_t length)
{
    const char *at = bytes;
    while (length > 0) {
        size_t piece = BUFFER_BYTES - writing->used < length ? BUFFER_BYTES - writing->used : length;
        memcpy(writing->buffer + writing->used, at, piece);
        writing->used += piece;
        at += piece;
        length -= piece;
        if (writing->used == BUFFER_BYTES) flush(writing);
    }
}

static void put_item(struct writing *writing, const struct item_shape *shape, const struct item *item)
{
    put(writing, item->numbers, shape->numbers * sizeof item->numbers[0]);
    for (size_t i = 0; i < shape->texts; i++) {
        uint32_t length = (uint32_t)item->texts[i].length;
        put(writing, &length, sizeof length);
    }
    for (size_t i = 0; i < shape->texts; i++) {
        if (item->texts[i].length) put(writing, item->texts[i].at, item->texts[i].length);
    }
    writing->head.count++;
}

static bool is_beside(struct slice name, struct slice base)
{
    return name.length > base.length && slice_starts_with(name, base) && name.at[base.length] == '.' &&
           slice_ends_with(name, SLICE(".new"));
}

/* What processes have left that died over it. Younger ones are being written: gateways that share a folder write side by side. */
static void sweep_left_over(const char *path)
{
    const char *slash = strrchr(path, '/');
    struct slice base = slice_from_cstring(slash ? slash + 1 : path);
    char *folder = slash ? memory_copy_slice(slice_of(path, (size_t)(slash - path) + 1))
                         : memory_copy_slice(SLICE("."));
    DIR *entries = opendir(folder);
    struct dirent *entry;
    struct stat file;
    while (entries && (entry = readdir(entries))) {
        if (!is_beside(slice_from_cstring(entry->d_name), base)) continue;
        if (fstatat(dirfd(entries), entry->d_name, &file, AT_SYMLINK_NOFOLLOW) != 0) continue;
        if (file.st_mtime + LEFT_OVER_SECONDS < time(NULL)) unlinkat(dirfd(entries), entry->d_name, 0);
    }
    if (entries) closedir(entries);
    free(folder);
}

static struct writing *begin_writing(const char *path, enum copy_of of, struct error *error)
{
    struct writing *writing = memory_allocate(sizeof *writing);
    writing->path = path;
    writing->beside = memory_format("%s.XXXXXX.new", path);
    writing->head = (struct head){ .version = VERSION, .of = of, .written_us = clock_wall_ns() / 1000 };
    memcpy(writing->head.magic, magic, sizeof magic);
    writing->checksum = XXH3_createState();
    PROMISE(writing->checksum != NULL);
    XXH3_128bits_reset(writing->checksum);
    sweep_left_over(path);
    /* A name of its own, for two gateways may write at once, and new: what stands there may not be ours to write into. */
    writing->file = mkostemps(writing->beside, (int)strlen(".new"), O_CLOEXEC);
    if (writing->file >= 0 && write_all(writing->file, (const char *)&writing->head, sizeof writing->head))
        return writing;
    writing->failed = true;
    error_set(error, BLAME_US, RETRY_NEVER, 500, COPY_FAILED, "%s: cannot write a copy: %s", path,
              error_from_errno(errno));
    return writing;
}

static bool sync_folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *folder = memory_copy_slice(slash == path ? SLICE("/")
                                     : slash       ? slice_of(path, (size_t)(slash - path))
                                                   : SLICE("."));
    int file = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool ok = file >= 0 && fsync(file) == 0;
    if (file >= 0) close(file);
    free(folder);
    return ok;
}

/* The head last, then the disk, then the name: whoever reads meets the old copy or the whole new one. */
static bool put_in_place(struct writing *writing)
{
    finish_checksum(writing->checksum, &writing->head, writing->head.checksum);
    ssize_t written = pwrite(writing->file, &writing->head, sizeof writing->head, 0);
    return written == (ssize_t)sizeof writing->head && fsync(writing->file) == 0 &&
           rename(writing->beside, writing->path) == 0 && sync_folder_of(writing->path);
}

static bool end_writing(struct writing *writing, bool ok, struct error *error)
{
    if (ok && !writing->failed) {
        flush(writing);
        ok = !writing->failed && put_in_place(writing);
        if (!ok) {
            errno = errno ? errno : EIO;
            error_set(error, BLAME_US, RETRY_NEVER, 500, COPY_FAILED, "%s: cannot write a copy: %s", writing->path,
                      error_from_errno(errno));
        }
    } else {
        ok = false;
    }
    if (!ok && writing->file >= 0) unlink(writing->beside);
    if (writing->file >= 0) close(writing->file);
    XXH3_freeState(writing->checksum);
    free(writing->beside);
    free(writing);
    return ok;
}

bool copy_write(const char *path, struct catalog *catalog, struct error *error)
{
    struct writing *writing = begin_writing(path, COPY_OF_DOCUMENTS, error);
    if (writing->failed) return end_writing(writing, false, error);
    size_t count;
    struct catalog_entry **entries = catalog_all(catalog, &count, &writing->head.revision);
    for (size_t i = 0; i < count; i++) {
        const struct catalog_entry *entry = entries[i];
        struct item item = { .numbers = { entry->kind, entry->created_us, entry->updated_us },
                             .texts = { entry->id, entry->document } };
        put_item(writing, &document_shape, &item);
        catalog_entry_drop(entries[i]);
    }
    free(entries);
    return end_writing(writing, true, error);
}

static void put_key(void *argument, const struct api_key_row *row)
{
    struct item item = { .numbers = { row->enabled, row->expires_at_us, row->created_us, row->last_used_us,
                                      row->replaces_until_us },
                         .texts = { slice_of((const char *)row->hash, sizeof row->hash), row->id, row->prefix,
                                    row->client_id, row->client_name, row->rate_limit_tier, row->scopes } };
    put_item(argument, &key_shape, &item);
}

bool copy_write_keys(const char *path, struct store *store, uint64_t keys_max, struct error *error)
{
    struct writing *writing = begin_writing(path, COPY_OF_KEYS, error);
    if (writing->failed) return end_writing(writing, false, error);
    struct api_key_visitor visitor = { put_key, writing };
    /* The head first: a key that changes meanwhile is newer than the copy says, never older. */
    bool ok = store_read_head(store, &writing->head.revision, error) &&
              store_keys_each(store, keys_max, &visitor, error);
    if (writing->head.count >= keys_max) writing->head.of = COPY_OF_SOME_KEYS;
    return end_writing(writing, ok, error);
}

/* --- reading --- */

struct reading {
    int file;
    struct head head;
    char buffer[BUFFER_BYTES];
    size_t start, end; /* what of the buffer isn't taken yet */
    uint64_t left;     /* bytes of items that are not taken yet */
    char *texts;       /* of one item */
    size_t texts_size;
};

static bool read_all(int file, void *into, size_t length)
{
    char *at = into;
    while (length > 0) {
        ssize_t got = read(file, at, length);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return false;
        at += got;
        length -= (size_t)got;
    }
    return true;
}

static bool is_what_is_asked_for(const struct head *head, enum copy_of of)
{
    return head->of == of || (of == COPY_OF_KEYS && head->of == COPY_OF_SOME_KEYS);
}

static bool is_good(struct reading *reading, enum copy_of of)
{
    struct stat file;
    if (fstat(reading->file, &file) != 0 || !S_ISREG(file.st_mode)) return false;
    if (!read_all(reading->file, &reading->head, sizeof reading->head)) return false;
    const struct head *head = &reading->head;
    if (memcmp(head->magic, magic, sizeof magic) != 0 || head->version != VERSION) return false;
    if (!is_what_is_asked_for(head, of)) return false;
    if ((uint64_t)file.st_size < sizeof *head || (uint64_t)file.st_size - sizeof *head != head->length) return false;
    XXH3_state_t *state = XXH3_createState();
    PROMISE(state != NULL);
    XXH3_128bits_reset(state);
    bool ok = true;
    for (uint64_t left = head->length; ok && left > 0;) {
        size_t piece = left < BUFFER_BYTES ? (size_t)left : BUFFER_BYTES;
        ok = read_all(reading->file, reading->buffer, piece);
        XXH3_128bits_update(state, reading->buffer, ok ? piece : 0);
        left -= piece;
    }
    uint64_t checksum[2];
    finish_checksum(state, head, checksum);
    XXH3_freeState(state);
    return ok && memcmp(checksum, head->checksum, sizeof checksum) == 0 &&
           lseek(reading->file, sizeof *head, SEEK_SET) == (off_t)sizeof *head;
}

static bool take(struct reading *reading, void *into, size_t length)
{
    if (length > reading->left) return false;
    reading->left -= length;
    char *at = into;
    while (length > 0) {
        if (reading->start == reading->end) {
            ssize_t got = read(reading->file, reading->buffer, BUFFER_BYTES);
            if (got < 0 && errno == EINTR) continue;
            if (got <= 0) return false;
            reading->start = 0;
            reading->end = (size_t)got;
        }
        size_t here = reading->end - reading->start, piece = here < length ? here : length;
        memcpy(at, reading->buffer + reading->start, piece);
        reading->start += piece;
        at += piece;
        length -= piece;
    }
    return true;
}

/* The texts hold until the next item; a NUL stands behind each. */
static bool take_item(struct reading *reading, const struct item_shape *shape, struct item *item)
{
    uint32_t lengths[TEXTS_MAX];
    if (!take(reading, item->numbers, shape->numbers * sizeof item->numbers[0]) ||
        !take(reading, lengths, shape->texts * sizeof lengths[0]))
        return false;
    uint64_t size = 0;
    for (size_t i = 0; i < shape->texts; i++) size += lengths[i];
    if (size > reading->left) return false;
    if (size + shape->texts > reading->texts_size) {
        reading->texts_size = 2 * (size + shape->texts);
        reading->texts = memory_resize(reading->texts, reading->texts_size);
    }
    char *at = reading->texts;
    for (size_t i = 0; i < shape->texts; i++) {
        if (!take(reading, at, lengths[i])) return false;
        at[lengths[i]] = '\0';
        item->texts[i] = slice_of(at, lengths[i]);
        at += lengths[i] + 1;
    }
    return true;
}

typedef bool (*item_taken)(const void *visitor, const struct item *);

static bool read_items(struct reading *reading, const struct item_shape *shape, item_taken taken, const void *visitor)
{
    reading->left = reading->head.length;
    for (uint64_t i = 0; i < reading->head.count; i++) {
        struct item item = { 0 };
        if (!take_item(reading, shape, &item) || !taken(visitor, &item)) return false;
    }
    return reading->left == 0;
}

static bool read_copy(const char *path, enum copy_of of, const struct item_shape *shape, item_taken taken,
                      const void *visitor, struct head *head, struct error *error)
{
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file < 0) return refuse_errno(error, path, "cannot read the copy");
    struct reading *reading = memory_allocate(sizeof *reading);
    reading->file = file;
    bool ok = is_good(reading, of) && read_items(reading, shape, taken, visitor);
    *head = reading->head;
    if (!ok) refuse(error, COPY_DAMAGED, path, "the copy is torn, altered or of another version: it is not used");
    close(file);
    free(reading->texts);
    free(reading);
    return ok;
}

static bool visit_document(const void *argument, const struct item *item)
{
    const struct store_visitor *visitor = argument;
    if (item->numbers[0] >= RESOURCE_KIND_COUNT || item->numbers[0] == RESOURCE_API_KEY) return false;
    struct store_row row = { .kind = (enum resource_kind)item->numbers[0],
                             .id = item->texts[0],
                             .document = item->texts[1],
                             .created_us = item->numbers[1],
                             .updated_us = item->numbers[2] };
    visitor->row(visitor->argument, &row);
    return true;
}

bool copy_read(const char *path, const struct store_visitor *visitor, uint64_t *revision, uint64_t *written_us,
               struct error *error)
{
    struct head head = { .count = 0 };
    bool ok = read_copy(path, COPY_OF_DOCUMENTS, &document_shape, visit_document, visitor, &head, error);
    if (ok) *revision = head.revision;
    if (ok) *written_us = head.written_us;
    return ok;
}

static bool visit_key(const void *argument, const struct item *item)
{
    const struct api_key_visitor *visitor = argument;
    if (item->texts[0].length != API_KEY_HASH_BYTES) return false;
    struct api_key_row row = { .id = item->texts[1],
                               .prefix = item->texts[2],
                               .client_id = item->texts[3],
                               .client_name = item->texts[4],
                               .rate_limit_tier = item->texts[5],
                               .scopes = item->texts[6],
                               .enabled = item->numbers[0] != 0,
                               .expires_at_us = item->numbers[1],
                               .created_us = item->numbers[2],
                               .last_used_us = item->numbers[3],
                               .replaces_until_us = item->numbers[4] };
    memcpy(row.hash, item->texts[0].at, sizeof row.hash);
    visitor->key(visitor->argument, &row);
    return true;
}

bool copy_read_keys(const char *path, const struct api_key_visitor *visitor, struct keys_copy *copy,
                    struct error *error)
{
    struct head head = { .count = 0 };
    bool ok = read_copy(path, COPY_OF_KEYS, &key_shape, visit_key, visitor, &head, error);
    if (ok)
        *copy = (struct keys_copy){ .revision = head.revision,
                                    .written_us = head.written_us,
                                    .count = head.count,
                                    .is_whole = head.of == COPY_OF_KEYS };
    return ok;
}
