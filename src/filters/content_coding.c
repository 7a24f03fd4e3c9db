#include "filters/content_coding.h"

#include "filters/coding_libraries.h"

static const struct slice names[CODING_COUNT] = {
    [CODING_IDENTITY] = { "identity", 8 }, [CODING_GZIP] = { "gzip", 4 },       [CODING_BROTLI] = { "br", 2 },
    [CODING_ZSTD] = { "zstd", 4 },         [CODING_DEFLATE] = { "deflate", 7 },
};

struct slice content_coding_name(enum content_coding coding) { return names[coding]; }

static const struct slice digests[] = { SLICE("Content-Digest"), SLICE("Repr-Digest"), SLICE("Digest"),
                                        SLICE("Content-MD5") };

bool content_is_digested(const struct headers *headers)
{
    for (size_t i = 0; i < COUNT_OF(digests); i++) {
        if (headers_find(headers, digests[i])) return true;
    }
    return false;
}

void content_remove_digests(struct headers *headers)
{
    for (size_t i = 0; i < COUNT_OF(digests); i++) headers_remove(headers, digests[i]);
}

enum content_coding content_coding_find(struct slice name)
{
    if (slice_equal_ignore_case(name, SLICE("x-gzip"))) return CODING_GZIP;
    for (int coding = 0; coding < CODING_COUNT; coding++) {
        if (slice_equal_ignore_case(name, names[coding])) return (enum content_coding)coding;
    }
    return CODING_COUNT;
}

bool content_coding_load(enum content_coding coding, struct error *error)
{
    switch (coding) {
    case CODING_BROTLI: return brotli_load(error);
    case CODING_ZSTD: return zstd_load(error);
    default: return true; /* zlib is linked */
    }
}

/* --- Accept-Encoding --- */

/* qvalue: 0, 0.123, 1, 1.000 (RFC 9110 12.4.2). */
static bool read_quality(struct slice text, uint16_t *thousandths)
{
    unsigned value = 0, digits = 0;
    if (text.length == 0 || text.length > 5 || (text.at[0] != '0' && text.at[0] != '1')) return false;
    if (text.length > 1 && text.at[1] != '.') return false;
    for (size_t i = 2; i < text.length; i++, digits++) {
        if (text.at[i] < '0' || text.at[i] > '9') return false;
        value = value * 10 + (unsigned)(text.at[i] - '0');
    }
    for (; digits < 3; digits++) value *= 10;
    value += text.at[0] == '1' ? 1000 : 0;
    if (value > 1000) return false;
    *thousandths = (uint16_t)value;
    return true;
}

/* codings [ OWS ";" OWS "q=" qvalue ]. False: not to be read as one. */
static bool read_member(struct slice member, struct slice *name, uint16_t *quality)
{
    size_t semicolon = slice_find_byte(member, ';');
    *name = slice_trim(slice_before(member, semicolon));
    *quality = 1000;
    if (semicolon == SLICE_NOT_FOUND) return name->length > 0;
    struct slice weight = slice_trim(slice_after(member, semicolon + 1));
    if (weight.length < 2 || (weight.at[0] | 0x20) != 'q' || weight.at[1] != '=') return false;
    return name->length > 0 && read_quality(slice_after(weight, 2), quality);
}

#define NOT_NAMED UINT16_MAX

struct said {
    uint16_t codings[CODING_COUNT], others; /* others: what `*` says */
};

static void note(uint16_t *known, uint16_t quality)
{
    if (quality < *known) *known = quality; /* NOT_NAMED is more than any */
}

static void note_member(struct said *said, struct slice member)
{
    struct slice name;
    uint16_t quality;
    if (!read_member(member, &name, &quality)) return;
    if (slice_equal(name, SLICE("*"))) {
        note(&said->others, quality);
        return;
    }
    enum content_coding coding = content_coding_find(name);
    if (coding != CODING_COUNT) note(&said->codings[coding], quality);
}

void accepted_codings_read(const struct headers *headers, struct accepted_codings *accepted)
{
    struct said said;
    memset(&said, 0xff, sizeof said);
    const struct header *field = headers_find_known(headers, HEADER_ACCEPT_ENCODING);
    for (; field; field = headers_find_next(headers, field)) {
        struct slice rest = field->value, member;
        while (slice_next(&rest, ',', &member)) note_member(&said, member);
    }
    *accepted = (struct accepted_codings){ 0 };
    for (int coding = 0; coding < CODING_COUNT; coding++) {
        uint16_t quality = said.codings[coding] != NOT_NAMED ? said.codings[coding] : said.others;
        accepted->quality[coding] = quality == NOT_NAMED ? 0 : quality;
    }
    accepted->identity_named = said.codings[CODING_IDENTITY] != NOT_NAMED || said.others != NOT_NAMED;
    accepted->identity_refused = accepted->identity_named && accepted->quality[CODING_IDENTITY] == 0;
}

size_t accepted_codings_rank(const struct accepted_codings *accepted, const enum content_coding *offered, size_t count,
                             enum content_coding ranked[CODING_COUNT])
{
    size_t found = 0;
    for (size_t i = 0; i < count && found < CODING_COUNT; i++) {
        uint16_t quality = accepted->quality[offered[i]];
        if (quality == 0 || offered[i] == CODING_IDENTITY) continue;
        if (accepted->identity_named && quality < accepted->quality[CODING_IDENTITY]) continue;
        size_t place = found++;
        for (; place > 0 && accepted->quality[ranked[place - 1]] < quality; place--) ranked[place] = ranked[place - 1];
        ranked[place] = offered[i];
    }
    return found;
}
