/* A store, told line by line what to do; see store_tool.py. One line of answer for each: "ok MS TEXT" or "error MS REASON TEXT". */
#include "store/store.h"

#include "base/clock.h"
#include "base/memory.h"

#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>

struct tool {
    struct store *store;
    char text[8 << 20];
    size_t length;
};

static void add(struct tool *tool, const char *format, ...) PRINTF_LIKE(2, 3);

static void add(struct tool *tool, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(tool->text + tool->length, sizeof tool->text - tool->length, format, arguments);
    va_end(arguments);
    tool->length += (size_t)length;
    PROMISE(tool->length < sizeof tool->text); /* an answer cut short would look like lost rows */
}

static struct slice next_word(struct slice *rest)
{
    struct slice word;
    return slice_next(rest, ' ', &word) ? word : SLICE("");
}

static uint64_t next_number(struct slice *rest)
{
    uint64_t number = 0;
    slice_parse_uint64(next_word(rest), &number);
    return number;
}

static enum resource_kind next_kind(struct slice *rest)
{
    return resource_kind_of(resource_type_find(next_word(rest)));
}

static void add_row(void *argument, const struct store_row *row)
{
    add(argument, "%s%.*s", ((struct tool *)argument)->length ? " " : "", SLICE_PRINT(row->document));
}

static void add_revision(void *argument, const struct store_revision *revision)
{
    add(argument, "%s%" PRIu64, ((struct tool *)argument)->length ? " " : "", revision->number);
}

static void count_key(void *argument, const struct api_key_row *row) { ++*(uint64_t *)argument; }

static bool open_store(struct tool *tool, struct slice rest, struct error *error)
{
    uint32_t timeout_ms = (uint32_t)next_number(&rest);
    char *location = memory_copy_slice(rest);
    store_close(tool->store);
    tool->store = store_open(&(struct store_settings){ location, timeout_ms }, error);
    free(location);
    if (tool->store) add(tool, "%s", store_location(tool->store));
    return tool->store != NULL;
}

static bool begin(struct tool *tool, struct slice rest, struct error *error)
{
    uint64_t head;
    bool ok = store_begin(tool->store, &head, error);
    if (ok) add(tool, "%" PRIu64, head);
    return ok;
}

static bool put(struct tool *tool, struct slice rest, struct error *error)
{
    struct store_row row = { .kind = next_kind(&rest) };
    row.id = next_word(&rest);
    row.created_us = row.updated_us = next_number(&rest);
    row.document = rest;
    return store_put(tool->store, &row, error);
}

static bool remove_row(struct tool *tool, struct slice rest, struct error *error)
{
    enum resource_kind kind = next_kind(&rest);
    return store_remove(tool->store, kind, next_word(&rest), error);
}

static bool commit(struct tool *tool, struct slice rest, struct error *error)
{
    struct store_revision revision = { .changes = SLICE("[]"), .author = SLICE("tool") };
    bool ok = store_commit(tool->store, &revision, error);
    if (ok) add(tool, "%" PRIu64, revision.number);
    return ok;
}

static bool abort_write(struct tool *tool, struct slice rest, struct error *error)
{
    store_abort(tool->store);
    return true;
}

static bool head(struct tool *tool, struct slice rest, struct error *error)
{
    uint64_t revision;
    bool ok = store_read_head(tool->store, &revision, error);
    if (ok) add(tool, "%" PRIu64, revision);
    return ok;
}

static bool all(struct tool *tool, struct slice rest, struct error *error)
{
    uint64_t revision;
    struct store_visitor visitor = { add_row, tool };
    return store_read_all(tool->store, &visitor, &revision, error);
}

static bool row(struct tool *tool, struct slice rest, struct error *error)
{
    bool found;
    struct store_visitor visitor = { add_row, tool };
    enum resource_kind kind = next_kind(&rest);
    return store_read_row(tool->store, kind, next_word(&rest), &visitor, &found, error);
}

static bool revisions(struct tool *tool, struct slice rest, struct error *error)
{
    struct store_revision_visitor visitor = { add_revision, tool };
    return store_read_revisions_after(tool->store, next_number(&rest), 1000, &visitor, error);
}

/* Readable within so many milliseconds? What was heard stands behind it. */
static bool wait_notified(struct tool *tool, struct slice rest, struct error *error)
{
    uint64_t revision;
    struct pollfd descriptor = { .fd = store_descriptor(tool->store), .events = POLLIN };
    int ready = descriptor.fd < 0 ? 0 : poll(&descriptor, 1, (int)next_number(&rest));
    bool ok = store_take_notifications(tool->store, &revision, error);
    if (ok) add(tool, "%s %" PRIu64, ready > 0 ? "readable" : "silent", revision);
    return ok;
}

/* FIRST COUNT: that many keys in one write. */
static bool put_keys(struct tool *tool, struct slice rest, struct error *error)
{
    uint64_t first = next_number(&rest), count = next_number(&rest), revision;
    if (!store_begin(tool->store, &revision, error)) return false;
    for (uint64_t i = first; i < first + count; i++) {
        char id[64];
        snprintf(id, sizeof id, "%08" PRIx64 "-0000-4000-8000-%012" PRIx64, (i * 2654435761u) & 0xffffffff, i);
        struct api_key_row key = { .id = slice_from_cstring(id),
                                   .prefix = SLICE("abcdefgh"),
                                   .client_id = slice_of(id, 8),
                                   .scopes = SLICE("read write"),
                                   .enabled = true,
                                   .created_us = i + 1 };
        for (int word = 0; word < 4; word++) {
            uint64_t mixed = (i + 1) * 0x9e3779b97f4a7c15u + (uint64_t)word * 0xbf58476d1ce4e5b9u;
            memcpy(key.hash + 8 * word, &mixed, sizeof mixed);
        }
        if (!store_key_put(tool->store, &key, error)) {
            store_abort(tool->store);
            return false;
        }
    }
    return commit(tool, rest, error);
}

static bool keys(struct tool *tool, struct slice rest, struct error *error)
{
    uint64_t count = 0;
    struct api_key_visitor visitor = { count_key, &count };
    bool ok = store_keys_each(tool->store, UINT64_MAX, &visitor, error);
    if (ok) add(tool, "%" PRIu64, count);
    return ok;
}

static bool count_keys(struct tool *tool, struct slice rest, struct error *error)
{
    uint64_t count;
    bool ok = store_keys_count(tool->store, &count, error);
    if (ok) add(tool, "%" PRIu64, count);
    return ok;
}

static bool use_key(struct tool *tool, struct slice rest, struct error *error)
{
    struct api_key_use use = { .id = next_word(&rest) };
    use.at_us = next_number(&rest);
    return store_keys_used(tool->store, &use, 1, error);
}

static const struct {
    const char *word;
    bool (*run)(struct tool *, struct slice rest, struct error *);
} commands[] = {
    { "open", open_store },
    { "begin", begin },
    { "put", put },
    { "remove", remove_row },
    { "commit", commit },
    { "abort", abort_write },
    { "head", head },
    { "all", all },
    { "row", row },
    { "revisions", revisions },
    { "wait", wait_notified },
    { "put-keys", put_keys },
    { "keys", keys },
    { "count-keys", count_keys },
    { "use-key", use_key },
};

static void obey(struct tool *tool, struct slice line)
{
    struct slice word = next_word(&line);
    struct error error = { .reason = "tool-unknown-command" };
    uint64_t begun = clock_monotonic_ns();
    bool ok = false;
    tool->length = 0;
    tool->text[0] = '\0';
    for (size_t i = 0; i < COUNT_OF(commands); i++) {
        if (slice_equal(word, slice_from_cstring(commands[i].word))) ok = commands[i].run(tool, line, &error);
    }
    uint64_t ms = (clock_monotonic_ns() - begun) / 1000000;
    if (ok)
        printf("ok %" PRIu64 " %s\n", ms, tool->text);
    else
        printf("error %" PRIu64 " %s %s\n", ms, error.reason, error.text);
    fflush(stdout);
}

int main(void)
{
    static struct tool tool;
    char *line = NULL;
    size_t room = 0;
    ssize_t length;
    while ((length = getline(&line, &room, stdin)) > 0)
        obey(&tool, slice_of(line, (size_t)length - (line[length - 1] == '\n')));
    store_close(tool.store);
    free(line);
    return 0;
}
