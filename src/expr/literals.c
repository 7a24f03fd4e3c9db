/* expr/literals.c: what stands between quotes, with its escapes, and UTF-8 one code point at a time. */
#include "expr/private.h"

size_t utf8_write(uint32_t code_point, char into[4])
{
    unsigned char *bytes = (unsigned char *)into;
    if (code_point < 0x80) {
        bytes[0] = (unsigned char)code_point;
        return 1;
    }
    if (code_point < 0x800) {
        bytes[0] = (unsigned char)(0xc0 | code_point >> 6);
        bytes[1] = (unsigned char)(0x80 | (code_point & 0x3f));
        return 2;
    }
    if (code_point < 0x10000) {
        if (code_point >= 0xd800 && code_point < 0xe000) return 0;
        bytes[0] = (unsigned char)(0xe0 | code_point >> 12);
        bytes[1] = (unsigned char)(0x80 | (code_point >> 6 & 0x3f));
        bytes[2] = (unsigned char)(0x80 | (code_point & 0x3f));
        return 3;
    }
    if (code_point > 0x10ffff) return 0;
    bytes[0] = (unsigned char)(0xf0 | code_point >> 18);
    bytes[1] = (unsigned char)(0x80 | (code_point >> 12 & 0x3f));
    bytes[2] = (unsigned char)(0x80 | (code_point >> 6 & 0x3f));
    bytes[3] = (unsigned char)(0x80 | (code_point & 0x3f));
    return 4;
}

size_t utf8_read(struct slice text, uint32_t *code_point)
{
    static const uint32_t smallest[] = { 0, 0, 0x80, 0x800, 0x10000 };
    const unsigned char *bytes = (const unsigned char *)text.at;
    size_t length = bytes[0] < 0x80   ? 1
                    : bytes[0] < 0xc2 ? 0
                    : bytes[0] < 0xe0 ? 2
                    : bytes[0] < 0xf0 ? 3
                    : bytes[0] < 0xf5 ? 4
                                      : 0;
    *code_point = 0xfffd;
    if (length == 0 || length > text.length) return 1;
    if (length == 1) {
        *code_point = bytes[0];
        return 1;
    }
    uint32_t value = bytes[0] & (0x7fu >> length);
    for (size_t i = 1; i < length; i++) {
        if ((bytes[i] & 0xc0) != 0x80) return 1;
        value = value << 6 | (bytes[i] & 0x3f);
    }
    if (value < smallest[length] || value > 0x10ffff || (value >= 0xd800 && value < 0xe000)) return 1;
    *code_point = value;
    return length;
}

/* One literal under way. */
struct literal {
    struct tokens *tokens;
    struct slice inner;
    size_t position, at;
    bool is_bytes;
    char *into;
    size_t length;
};

static bool refuse(const struct literal *literal, const char *what)
{
    return expression_refuse(literal->tokens->error, literal->position + literal->at, "%s", what);
}

static bool put_code_point(struct literal *literal, uint32_t code_point)
{
    size_t length = utf8_write(code_point, literal->into + literal->length);
    literal->length += length;
    return length > 0 || refuse(literal, "the escape names no Unicode character");
}

/* The escape stands at `at`, with `skip` bytes before its digits. */
static bool read_digits(struct literal *literal, size_t skip, size_t count, unsigned base)
{
    uint32_t value = 0;
    for (size_t i = 0; i < count; i++) {
        size_t at = literal->at + skip + i;
        char byte = at < literal->inner.length ? literal->inner.at[at] : '\0';
        unsigned digit = byte >= '0' && byte <= '9'                     ? (unsigned)(byte - '0')
                         : (byte | 0x20) >= 'a' && (byte | 0x20) <= 'f' ? (unsigned)((byte | 0x20) - 'a') + 10
                                                                        : 16;
        if (digit >= base)
            return refuse(literal, base == 8 ? "\"\\\" wants three digits of base 8"
                                             : "the escape wants more hexadecimal digits");
        value = value * base + digit;
    }
    if (base == 8 && value > 0xff) return refuse(literal, "the escape is beyond \"\\377\"");
    if (literal->is_bytes && count <= 3) {
        literal->into[literal->length++] = (char)(unsigned char)value;
    } else if (!put_code_point(literal, value)) {
        return false;
    }
    literal->at += skip + count;
    return true;
}

static bool read_escape(struct literal *literal)
{
    static const char names[] = "abfnrtv\\?\"'`", values[] = "\a\b\f\n\r\t\v\\?\"'`";
    char name = literal->at + 1 < literal->inner.length ? literal->inner.at[literal->at + 1] : '\0';
    const char *simple = name ? strchr(names, name) : NULL;
    if (simple) {
        literal->into[literal->length++] = values[simple - names];
        literal->at += 2;
        return true;
    }
    switch (name) {
    case 'x':
    case 'X': return read_digits(literal, 2, 2, 16);
    case 'u':
    case 'U':
        if (literal->is_bytes) return refuse(literal, "bytes have no \\u: write \\x or the character itself");
        return read_digits(literal, 2, name == 'u' ? 4 : 8, 16);
    default: break;
    }
    if (name >= '0' && name <= '7') return read_digits(literal, 1, 3, 8);
    return refuse(literal, "there is no such escape (a \"\\\" itself is written \"\\\\\")");
}

bool literal_read(struct tokens *tokens, struct slice inner, size_t position, bool is_raw, bool is_bytes,
                  bool is_triple, struct slice *result)
{
    struct literal literal = { .tokens = tokens, .inner = inner, .position = position, .is_bytes = is_bytes };
    literal.into = arena_allocate(tokens->arena, inner.length * 2 + 8); /* "\xff" becomes two bytes of four */
    if (!literal.into) return error_format(tokens->error, "out of memory");
    while (literal.at < inner.length) {
        char byte = inner.at[literal.at];
        if (byte == '\\' && !is_raw) {
            if (!read_escape(&literal)) return false;
        } else if (byte == '\r' && is_triple) { /* a line's end is "\n", however the text was stored */
            literal.into[literal.length++] = '\n';
            literal.at++;
            if (literal.at < inner.length && inner.at[literal.at] == '\n') literal.at++;
        } else {
            literal.into[literal.length++] = byte;
            literal.at++;
        }
    }
    *result = slice_of(literal.into, literal.length);
    return true;
}
