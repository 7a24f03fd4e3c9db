/* keys/jwt.c: a token in compact form, taken apart. See jwt.h. */
#include "keys/jwt.h"

#include "keys/jwt_private.h"
#include "json/scan.h"

/* --- base64url --- */

#define NO 0xff

/* Six bits of each character of the alphabet, of ASCII; what lies beyond is none. */
/* clang-format off */
static const uint8_t sextets[128] = {
     NO,  NO,  NO,  NO,  NO,  NO,  NO,  NO,  NO,  NO,  NO,  NO,  NO,  NO,  NO,  NO,
     NO,  NO,  NO,  NO,  NO,  NO,  NO,  NO,  NO,  NO,  NO,  NO,  NO,  NO,  NO,  NO,
     NO,  NO,  NO,  NO,  NO,  NO,  NO,  NO,  NO,  NO,  NO,  NO,  NO,  62,  NO,  NO,
     52,  53,  54,  55,  56,  57,  58,  59,  60,  61,  NO,  NO,  NO,  NO,  NO,  NO,
     NO,   0,   1,   2,   3,   4,   5,   6,   7,   8,   9,  10,  11,  12,  13,  14,
     15,  16,  17,  18,  19,  20,  21,  22,  23,  24,  25,  NO,  NO,  NO,  NO,  63,
     NO,  26,  27,  28,  29,  30,  31,  32,  33,  34,  35,  36,  37,  38,  39,  40,
     41,  42,  43,  44,  45,  46,  47,  48,  49,  50,  51,  NO,  NO,  NO,  NO,  NO,
};
/* clang-format on */

static inline uint8_t sextet(unsigned char byte) { return byte < sizeof sextets ? sextets[byte] : NO; }

bool base64url_decode(struct slice text, uint8_t *into)
{
    const unsigned char *at = (const unsigned char *)text.at;
    uint8_t bad = 0;
    if (text.length % 4 == 1) return false;
    for (size_t groups = text.length / 4; groups > 0; groups--, at += 4, into += 3) {
        uint8_t a = sextet(at[0]), b = sextet(at[1]), c = sextet(at[2]), d = sextet(at[3]);
        bad |= a | b | c | d;
        into[0] = (uint8_t)(a << 2 | b >> 4);
        into[1] = (uint8_t)(b << 4 | c >> 2);
        into[2] = (uint8_t)(c << 6 | d);
    }
    size_t rest = text.length % 4;
    if (rest > 0) {
        uint8_t a = sextet(at[0]), b = sextet(at[1]), c = rest == 3 ? sextet(at[2]) : 0;
        bad |= a | b | c;
        into[0] = (uint8_t)(a << 2 | b >> 4);
        if (rest == 3) into[1] = (uint8_t)(b << 4 | c >> 2);
        if (rest == 2 ? b & 0x0f : c & 0x03) return false;
    }
    return bad < 64;
}

/* --- its parts --- */

#define PARTS_MAX 5

/* 0: more than PARTS_MAX. */
static size_t split(struct slice token, struct slice parts[PARTS_MAX])
{
    size_t count = 0;
    for (;;) {
        if (count == PARTS_MAX) return 0;
        size_t dot = slice_find_byte(token, '.');
        parts[count++] = slice_before(token, dot);
        if (dot == SLICE_NOT_FOUND) return count;
        token = slice_after(token, dot + 1);
    }
}

/* In either alphabet (RFC 4648 4, 5). */
static uint8_t lenient_sextet(char character)
{
    if (character == '+') return 62;
    return character == '/' ? 63 : sextet((unsigned char)character);
}

/* `{` as its first byte that is no white space. As the most lenient reader behind us would decode it (other characters are passed over): what
 * somebody takes for a token must not go by here as none. */
static bool begins_an_object(struct slice part)
{
    uint32_t bits = 0;
    unsigned count = 0;
    for (size_t i = 0; i < part.length; i++) {
        uint8_t value = lenient_sextet(part.at[i]);
        if (value == NO) continue;
        bits = bits << 6 | value;
        count += 6;
        if (count < 8) continue;
        count -= 8;
        char byte = (char)(bits >> count & 0xff);
        if (byte != ' ' && byte != '\t' && byte != '\n' && byte != '\r') return byte == '{';
    }
    return false;
}

bool jwt_is_one(struct slice token)
{
    struct slice parts[PARTS_MAX];
    size_t count = split(token, parts);
    return (count == 3 || count == 5) && begins_an_object(parts[0]);
}

static bool decode_part(struct slice part, struct arena *arena, struct slice *bytes, struct error *error)
{
    size_t length = base64url_decoded_bytes(part.length);
    uint8_t *into = arena_allocate(arena, length ? length : 1);
    if (!into) return jwt_no_memory(error);
    if (!base64url_decode(part, into)) return jwt_refuse(error, "token-malformed", "the token is not base64url");
    *bytes = slice_of((const char *)into, length);
    return true;
}

static bool read_object(struct slice text, const char *name, uint32_t values_max, struct arena *arena,
                        struct json_value *object, struct error *error)
{
    if (!json_parse_few(text, values_max, arena, object, error)) {
        if (error->status == 503) return jwt_no_memory(error);
        return jwt_refuse(error, "token-malformed", "the token's %s: %s", name, error->text);
    }
    if (object->type == JSON_OBJECT) return true;
    return jwt_refuse(error, "token-malformed", "the token's %s is no JSON object", name);
}

/* --- its header --- */

/* RFC 7515 4.1.11: no extension is understood, so whatever is critical is refused; an empty or malformed list too. Without
 * `crit`, b64=false would be another reading of the same bytes (RFC 7797 6). */
static bool check_extensions(const struct json_value *header, struct error *error)
{
    if (json_find(header, SLICE("crit")))
        return jwt_refuse(error, "token-critical", "the token's header has critical extensions, and none is known");
    const struct json_value *encoded = json_find(header, SLICE("b64"));
    if (encoded && (encoded->type != JSON_BOOLEAN || !encoded->boolean))
        return jwt_refuse(error, "token-critical", "the token's content is not base64url (b64)");
    if (json_find(header, SLICE("enc")) || json_find(header, SLICE("zip")))
        return jwt_refuse(error, "token-encrypted", "encrypted and compressed tokens are not taken");
    return true;
}

/* Keys, or where to fetch some, that the sender chose (RFC 7515 4.1.2, 4.1.3, 4.1.5, 4.1.6). None would be looked at; but no issuer of ours needs
 * them, and somebody behind us might believe them. */
static bool check_no_keys(const struct json_value *header, struct error *error)
{
    static const struct slice names[] = { SLICE("jwk"), SLICE("jku"), SLICE("x5c"), SLICE("x5u") };
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        if (!json_find(header, names[i])) continue;
        return jwt_refuse(error, "token-embedded-key", "the token brings keys along (%.*s), and none is taken from it",
                          SLICE_PRINT(names[i]));
    }
    return true;
}

static bool read_header(struct jwt *jwt, struct error *error)
{
    const struct json_value *header = &jwt->header, *key_id = json_find(header, SLICE("kid"));
    struct slice algorithm = json_find_text(header, SLICE("alg"));
    if (slice_is_absent(algorithm)) return jwt_refuse(error, "token-malformed", "the token's header has no alg");
    if (!check_extensions(header, error) || !check_no_keys(header, error)) return false;
    jwt->algorithm = jwt_algorithm_find(algorithm);
    if (jwt->algorithm == JWT_ALGORITHM_COUNT) {
        return jwt_refuse(error, "token-algorithm",
                          slice_equal_ignore_case(algorithm, SLICE("none")) ? "the token is not signed (alg none)"
                                                                            : "the token's algorithm is unknown");
    }
    jwt->key_id = SLICE_ABSENT;
    if (!key_id) return true;
    if (key_id->type != JSON_STRING) return jwt_refuse(error, "token-malformed", "the token's kid is no string");
    jwt->key_id = key_id->text;
    return true;
}

bool jwt_parse(struct slice token, struct arena *arena, struct jwt *jwt, struct error *error)
{
    struct slice parts[PARTS_MAX];
    if (token.length > JWT_BYTES_MAX) return jwt_refuse(error, "token-too-large", "the token is larger than 16 KiB");
    size_t count = split(token, parts);
    if (count == 5) return jwt_refuse(error, "token-encrypted", "encrypted tokens are not taken");
    if (count != 3) return jwt_refuse(error, "token-malformed", JWT_IS_NONE);
    jwt->signing_input = slice_before(token, parts[0].length + 1 + parts[1].length);
    struct slice header = SLICE_ABSENT;
    jwt->claims = (struct json_value){ .type = JSON_NULL };
    return decode_part(parts[0], arena, &header, error) &&
           read_object(header, "header", JWT_HEADER_VALUES_MAX, arena, &jwt->header, error) &&
           read_header(jwt, error) && decode_part(parts[1], arena, &jwt->claims_text, error) &&
           decode_part(parts[2], arena, &jwt->signature, error);
}

/* --- its claims --- */

bool jwt_claimed_issuer(const struct jwt *jwt, struct slice *issuer, struct error *error)
{
    struct slice claims;
    struct error why;
    if (!json_scan_whole(jwt->claims_text, &claims, &why))
        return jwt_refuse(error, "token-malformed", "the token's claims: %s", why.text);
    *issuer = json_scan_member(claims, SLICE("iss"));
    return true;
}

bool jwt_read_claims(struct jwt *jwt, struct arena *arena, struct error *error)
{
    return read_object(jwt->claims_text, "claims", UINT32_MAX, arena, &jwt->claims, error);
}
