/* filters/grpc_web_codec.h: what gRPC-Web adds to gRPC, as bytes: its content types, base64 in a stream, the borders of messages, the
 * frame that carries trailers in a body (PROTOCOL-WEB.md of grpc/grpc; PROTOCOL-HTTP2.md for the messages).
 *
 * Pure: no pipe and no exchange. All state is in the structs below, which begin zeroed and own nothing. Bytes may come cut anywhere. */
#ifndef SLUICE_FILTERS_GRPC_WEB_CODEC_H
#define SLUICE_FILTERS_GRPC_WEB_CODEC_H

#include "http/grpc.h"

/* Content types. */

struct grpc_web_type {
    bool text;            /* the body is base64 */
    struct slice message; /* "+proto", "+json" ...; empty where none is said. Of the value that was parsed */
};

/* application/grpc-web and application/grpc-web-text, with or without +message and parameters. False: anything else. */
bool grpc_web_type_parse(struct slice value, struct grpc_web_type *) MUST_USE;

/* Base64 (RFC 4648 4), whose padding may end any group of four and not only the last: senders flush by it. */

struct base64_reader {
    uint32_t bits;   /* of the group so far */
    uint8_t symbols; /* of it, padding included */
    uint8_t padding;
};

struct base64_writer {
    uint8_t held[2]; /* bytes that don't fill a group yet */
    uint8_t count;
};

#define BASE64_READ_BYTES_MAX(text_length) (((text_length) + 3) / 4 * 3)
#define BASE64_WRITTEN_BYTES_MAX(length) (((length) + 2) / 3 * 4)

/* Writes what the text completes, at most BASE64_READ_BYTES_MAX(text.length) bytes. False: no base64 (an unknown character,
 * padding in a wrong place, bits beyond the content that aren't zero); *written bytes before that are good. */
bool base64_read(struct base64_reader *, struct slice text, char *into, size_t *written) MUST_USE;
/* The text may end here. */
static inline bool base64_reader_is_whole(const struct base64_reader *reader) { return reader->symbols == 0; }
/* Writes whole groups, at most BASE64_WRITTEN_BYTES_MAX(bytes.length) bytes, and holds what is left; returns how many. */
size_t base64_write(struct base64_writer *, struct slice bytes, char *into);
/* Ends the group with padding: 4 bytes, or 0 where nothing is held. */
size_t base64_flush(struct base64_writer *, char into[4]);

/* Messages: a byte of flags, four of length, the content. */

struct grpc_frames {
    uint32_t left;       /* bytes of the message that haven't come; while the prefix is read, the length so far */
    uint8_t prefix_read; /* bytes of the prefix; 0: at a border */
};

/* Follows the messages through the bytes; keeps nothing of them, whatever length they announce. False: flags other than
 * "compressed", such as those of a trailer frame. */
bool grpc_frames_follow(struct grpc_frames *, struct slice bytes) MUST_USE;
static inline bool grpc_frames_at_border(const struct grpc_frames *frames) { return frames->prefix_read == 0; }

/* The frame of trailers. */

enum grpc_outcome_field { GRPC_STATUS, GRPC_MESSAGE, GRPC_STATUS_DETAILS, GRPC_OUTCOME_FIELDS };
/* In lower case, as in the frame. Static. */
struct slice grpc_outcome_name(enum grpc_outcome_field);

enum grpc_web_frame_result {
    GRPC_WEB_FRAME_WRITTEN,
    GRPC_WEB_FRAME_UNWRITABLE, /* a control byte in a value, a bad name */
    GRPC_WEB_FRAME_NO_MEMORY,
};

/* *frame, in the arena: the trailers (NULL: none) with names in lower case, and of `outcome` (the same fields where the head had
 * them; absent ones don't count) what the trailers don't say. Where nobody tells a status it is 2 (UNKNOWN). */
enum grpc_web_frame_result grpc_web_write_trailers(const struct headers *trailers,
                                                   const struct slice outcome[GRPC_OUTCOME_FIELDS], struct arena *,
                                                   struct slice *frame);

#endif
