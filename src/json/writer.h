/* json/writer.h: JSON text into a caller's buffer, without allocation (RFC 8259).
 *
 * Commas are put by the writer. A text that does not fit sets `overflow`; nothing is written beyond the buffer. Strings are escaped;
 * invalid UTF-8 becomes U+FFFD, so that the text is always valid. (The names keep clear of jansson's.) */
#ifndef SLUICE_JSON_WRITER_H
#define SLUICE_JSON_WRITER_H

#include "base/arena.h"

struct json_writer {
    char *start, *next, *end;
    bool overflow;
    bool comma; /* the next value is not the first of its object or array */
};

void json_writer_init(struct json_writer *, char *buffer, size_t size);
void json_write_object_begin(struct json_writer *);
void json_write_object_end(struct json_writer *);
void json_write_array_begin(struct json_writer *);
void json_write_array_end(struct json_writer *);
void json_write_key(struct json_writer *, struct slice key); /* plain ASCII without quotes; not escaped */
void json_write_string(struct json_writer *, struct slice value);
bool json_is_utf8(struct slice text); /* well-formed: a string would be written as it is */
void json_write_unsigned(struct json_writer *, uint64_t value);
void json_write_signed(struct json_writer *, int64_t value);
/* value / 1000 with three places: milliseconds out of microseconds. */
void json_write_thousandths(struct json_writer *, uint64_t value);
void json_write_boolean(struct json_writer *, bool value);
void json_write_null(struct json_writer *);
/* Bytes that are JSON as they stand: no comma comes before them or before the next value. */
static inline void json_write_ready(struct json_writer *writer, struct slice bytes)
{
    writer->overflow |= (size_t)(writer->end - writer->next) < bytes.length;
    writer->comma = false;
    if (UNLIKELY(writer->overflow)) return;
    memcpy(writer->next, bytes.at, bytes.length);
    writer->next += bytes.length;
}
/* What was written; absent on overflow. */
struct slice json_writer_result(const struct json_writer *);
/* Any bytes as a JSON string, quotes included. In the arena; absent when memory is short. */
struct slice json_quote(struct arena *, struct slice);

#endif
