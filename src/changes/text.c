/* changes/text.c: the few pieces of JSON that answers and revisions are written from. */
#include "changes/private.h"

#include "base/clock.h"
#include "base/memory.h"
#include "json/writer.h"

#include <inttypes.h>

uint64_t now_us(void) { return clock_wall_ns() / 1000; }

void text_write_string(FILE *out, struct slice text)
{
    size_t size = 6 * text.length + 3; /* each byte as \u00XX at worst */
    char *buffer = memory_allocate(size);
    struct json_writer writer;
    json_writer_init(&writer, buffer, size);
    json_write_string(&writer, text);
    struct slice written = json_writer_result(&writer);
    fwrite(written.at, 1, written.length, out);
    free(buffer);
}

void text_write_field(FILE *out, const char *name, struct slice text)
{
    fprintf(out, ",\"%s\":", name);
    if (slice_is_absent(text)) {
        fputs("null", out);
    } else {
        text_write_string(out, text);
    }
}

void text_write_policy(FILE *out, const struct node *plugin)
{
    const struct node *name = plugin ? node_find(plugin, "name") : NULL;
    if (name && name->kind == NODE_SCALAR) text_write_field(out, "policy", name->text);
}

void text_write_moment(FILE *out, const char *name, uint64_t us)
{
    char text[CLOCK_ISO8601_BYTES];
    clock_write_iso8601(us * 1000, text);
    text_write_field(out, name, us ? slice_from_cstring(text) : SLICE_ABSENT);
}

void text_write_time(FILE *out, const char *name, uint64_t us)
{
    char text[CLOCK_ISO8601_BYTES + 3];
    clock_write_iso8601(us * 1000, text);
    if (us % 1000) snprintf(text + 19, sizeof text - 19, ".%06uZ", (unsigned)(us % 1000000));
    text_write_field(out, name, us ? slice_from_cstring(text) : SLICE_ABSENT);
}

char *text_finish(FILE *out, char **text)
{
    PROMISE(fclose(out) == 0);
    return *text;
}

void changes_etag(struct content_hash hash, char into[CHANGES_ETAG_BYTES])
{
    snprintf(into, CHANGES_ETAG_BYTES, "%016" PRIx64 "%016" PRIx64, hash.words[0], hash.words[1]);
}
