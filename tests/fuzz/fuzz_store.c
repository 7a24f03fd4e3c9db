/* What the store room parses by itself, by the input's first byte:
 *
 *   d  a document: what jansson reads as an object can be split into columns and joined again to the same bytes
 *   r  a row as a hostile hand left it: it is refused, or its document is a JSON object
 *   c  the items of a local copy under a good head and checksum: they are refused, or add up */
#include "store/copy.h"
#include "store/private.h"

#include "base/memory.h"

#include <jansson.h>
#include <sys/mman.h>
#include <unistd.h>
#include <xxhash.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

static const enum resource_kind kinds[] = { RESOURCE_SERVICE,    RESOURCE_ROUTE, RESOURCE_PLUGIN,
                                            RESOURCE_RATE_LIMIT, RESOURCE_ROLE,  RESOURCE_CERTIFICATE };

static enum resource_kind kind_of(struct slice *input)
{
    if (input->length == 0) return RESOURCE_ROUTE;
    enum resource_kind kind = kinds[(uint8_t)input->at[0] % COUNT_OF(kinds)];
    *input = slice_after(*input, 1);
    return kind;
}

/* jansson passes over a NUL byte behind a number. */
static bool is_object_to_jansson(struct slice text)
{
    if (slice_find_byte(text, '\0') != SLICE_NOT_FOUND) return false;
    json_t *value = json_loadb(text.at, text.length, JSON_ALLOW_NUL | JSON_DECODE_ANY, NULL);
    bool is_object = json_is_object(value);
    json_decref(value);
    return is_object;
}

/* As deep as brackets ever go; those in texts count too, so this is no less than the depth. */
static size_t depth_at_most(struct slice text)
{
    size_t depth = 0;
    for (size_t i = 0; i < text.length; i++) depth += text.at[i] == '{' || text.at[i] == '[';
    return depth;
}

static void check_document(struct slice input)
{
    struct store_row row = { .kind = kind_of(&input), .id = SLICE("00000000-0000-4000-8000-000000000001") }, joined;
    row.document = input;
    struct value values[TABLE_VALUES_MAX];
    size_t count;
    struct arena arena;
    arena_init(&arena, NULL);
    bool split = row_split(&arena, &row, values, &count, NULL);
    bool is_object = is_object_to_jansson(input);
    PROMISE(split || !is_object || depth_at_most(input) > 100);
    if (split) {
        PROMISE(row_join(&arena, row.kind, values, count, &joined, NULL));
        size_t start = 0;
        while (strchr(" \t\r\n", input.at[start])) start++;
        PROMISE(input.at[start] == '{');
        PROMISE(slice_find(input, joined.document) != SLICE_NOT_FOUND);
        PROMISE(slice_equal(slice_trim(joined.document), joined.document));
    }
    arena_release(&arena);
}

/* Values in a row, each with a NUL behind it; the first byte says the type. */
static void check_row(struct slice input)
{
    enum resource_kind kind = kind_of(&input);
    struct value values[TABLE_VALUES_MAX];
    size_t count = row_value_count(kind);
    for (size_t i = 0; i < count; i++) {
        size_t end = slice_find_byte(input, '\0');
        struct slice piece = slice_before(input, end);
        input = end == SLICE_NOT_FOUND ? SLICE("") : slice_after(input, end + 1);
        enum value_type type = piece.length ? (enum value_type)((uint8_t)piece.at[0] % (VALUE_BYTES + 1)) : VALUE_NULL;
        values[i] = (struct value){ .type = type, .text = slice_after(piece, 1), .number = (int64_t)piece.length };
    }
    struct arena arena;
    arena_init(&arena, NULL);
    struct store_row row;
    struct error error = { 0 };
    if (row_join(&arena, kind, values, count, &row, &error)) {
        size_t end = json_scan(row.document, 0);
        PROMISE(row.document.length > 0 && end == row.document.length);
    } else {
        PROMISE(strcmp(error.reason, STORE_DAMAGED) == 0);
    }
    arena_release(&arena);
}

static void forget_row(void *argument, const struct store_row *row)
{
    PROMISE(row->id.at[row->id.length] == '\0' && row->document.at[row->document.length] == '\0');
}

static void forget_key(void *argument, const struct api_key_row *row)
{
    PROMISE(row->scopes.at[row->scopes.length] == '\0');
}

/* As copy.c writes it. */
struct head {
    char magic[8];
    uint32_t version, of;
    uint64_t revision, written_us, count, length, checksum[2];
};

static void check_copy(struct slice input)
{
    uint8_t choice = input.length ? (uint8_t)input.at[0] : 0;
    input = slice_after(input, 1);
    struct head head = {
        .magic = "SLUICE\r", .version = 1, .of = choice & 1 ? 1 : 2, .count = choice >> 1, .length = input.length
    };
    head.magic[7] = '\n';
    XXH3_state_t *state = XXH3_createState();
    XXH3_128bits_reset(state);
    if (input.length) XXH3_128bits_update(state, input.at, input.length);
    XXH3_128bits_update(state, &head, offsetof(struct head, checksum));
    XXH128_hash_t hash = XXH3_128bits_digest(state);
    XXH3_freeState(state);
    head.checksum[0] = hash.high64;
    head.checksum[1] = hash.low64;
    int file = memfd_create("copy", MFD_CLOEXEC);
    bool written = file >= 0 && write(file, &head, sizeof head) == (ssize_t)sizeof head &&
                   write(file, input.at, input.length) == (ssize_t)input.length;
    PROMISE(written);
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    uint64_t revision, written_us;
    struct keys_copy copy;
    struct store_visitor rows = { .row = forget_row };
    struct api_key_visitor keys = { .key = forget_key };
    bool ok = choice & 1 ? copy_read(path, &rows, &revision, &written_us, NULL)
                         : copy_read_keys(path, &keys, &copy, NULL);
    PROMISE(!ok || head.count > 0 || input.length == 0);
    close(file);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    struct slice input = slice_of((const char *)bytes, length);
    char choice = length ? input.at[0] : 0;
    if (length) input = slice_after(input, 1);
    if (choice == 'd') check_document(input);
    if (choice == 'r') check_row(input);
    if (choice == 'c') check_copy(input);
    return 0;
}
