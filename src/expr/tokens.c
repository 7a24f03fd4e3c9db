/* expr/tokens.c: the text of an expression, token by token. Positions are bytes from the beginning of the text, or of the longer one that it is part of. */
#include "expr/private.h"

#include <math.h>
#include <stdarg.h>

bool expression_refuse(struct error *error, size_t position, const char *format, ...)
{
    char text[160];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return error_format(error, "%s at position %zu", text, position + 1);
}

static bool is_digit(char byte) { return byte >= '0' && byte <= '9'; }

static bool is_letter(char byte) { return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || byte == '_'; }

static bool is_hex_digit(char byte) { return is_digit(byte) || ((byte | 0x20) >= 'a' && (byte | 0x20) <= 'f'); }

static char peek(const struct tokens *tokens, size_t ahead)
{
    return tokens->at + ahead < tokens->text.length ? tokens->text.at[tokens->at + ahead] : '\0';
}

static void skip_blanks(struct tokens *tokens)
{
    while (tokens->at < tokens->text.length) {
        char byte = tokens->text.at[tokens->at];
        if (byte == '/' && peek(tokens, 1) == '/') {
            while (tokens->at < tokens->text.length && tokens->text.at[tokens->at] != '\n') tokens->at++;
        } else if (byte == ' ' || (byte >= '\t' && byte <= '\r' && byte != '\v')) {
            tokens->at++;
        } else {
            return;
        }
    }
}

/* --- numbers --- */

static bool finish_number(struct tokens *tokens, struct token *token, size_t length)
{
    token->kind = TOKEN_NUMBER;
    tokens->at += length;
    if (is_letter(peek(tokens, 0))) {
        return expression_refuse(tokens->error, token->position, "a name can't begin with a digit");
    }
    return true;
}

static bool read_whole_number(struct tokens *tokens, struct token *token, size_t length, unsigned base)
{
    uint64_t magnitude = 0;
    for (size_t i = base == 16 ? 2 : 0; i < length; i++) {
        char byte = peek(tokens, i);
        unsigned digit = is_digit(byte) ? (unsigned)(byte - '0') : (unsigned)((byte | 0x20) - 'a') + 10;
        if (__builtin_mul_overflow(magnitude, base, &magnitude) ||
            __builtin_add_overflow(magnitude, digit, &magnitude)) {
            return expression_refuse(tokens->error, token->position, "the number is too large");
        }
    }
    bool is_uint = (peek(tokens, length) | 0x20) == 'u';
    token->value = is_uint ? expression_uint(magnitude) : expression_int(0);
    token->value.natural = magnitude; /* of an int the parser knows the sign */
    return finish_number(tokens, token, length + is_uint);
}

static bool read_double(struct tokens *tokens, struct token *token, size_t length)
{
    char digits[128];
    if (length >= sizeof digits) return expression_refuse(tokens->error, token->position, "the number is too long");
    memcpy(digits, tokens->text.at + tokens->at, length);
    digits[length] = '\0';
    token->value = expression_double(strtod(digits, NULL));
    if (isinf(token->value.number)) {
        return expression_refuse(tokens->error, token->position, "the number is too large");
    }
    return finish_number(tokens, token, length);
}

static bool read_number(struct tokens *tokens, struct token *token)
{
    size_t length = 0;
    bool has_point = false, has_exponent = false;
    if (peek(tokens, 0) == '0' && (peek(tokens, 1) | 0x20) == 'x' && is_hex_digit(peek(tokens, 2))) {
        length = 2;
        while (is_hex_digit(peek(tokens, length))) length++;
        return read_whole_number(tokens, token, length, 16);
    }
    while (is_digit(peek(tokens, length))) length++;
    if (peek(tokens, length) == '.' && is_digit(peek(tokens, length + 1))) {
        has_point = true;
        length++;
        while (is_digit(peek(tokens, length))) length++;
    }
    if ((peek(tokens, length) | 0x20) == 'e') {
        size_t sign = peek(tokens, length + 1) == '+' || peek(tokens, length + 1) == '-';
        if (is_digit(peek(tokens, length + 1 + sign))) {
            has_exponent = true;
            length += 1 + sign;
            while (is_digit(peek(tokens, length))) length++;
        }
    }
    return has_point || has_exponent ? read_double(tokens, token, length)
                                     : read_whole_number(tokens, token, length, 10);
}

/* --- texts --- */

/* Where the quotes that end it begin, from the current place on; SLICE_NOT_FOUND. */
static size_t find_end(const struct tokens *tokens, size_t from, char quote, bool is_triple, bool is_raw)
{
    for (size_t i = from; tokens->at + i < tokens->text.length; i++) {
        char byte = peek(tokens, i);
        if (byte == '\\' && !is_raw) {
            i++;
        } else if (!is_triple && (byte == '\n' || byte == '\r')) {
            return SLICE_NOT_FOUND;
        } else if (byte == quote && (!is_triple || (peek(tokens, i + 1) == quote && peek(tokens, i + 2) == quote))) {
            return i;
        }
    }
    return SLICE_NOT_FOUND;
}

static bool read_text(struct tokens *tokens, struct token *token, size_t prefix)
{
    bool is_raw = false, is_bytes = false;
    for (size_t i = 0; i < prefix; i++) {
        is_raw |= (peek(tokens, i) | 0x20) == 'r';
        is_bytes |= (peek(tokens, i) | 0x20) == 'b';
    }
    char quote = peek(tokens, prefix);
    bool is_triple = peek(tokens, prefix + 1) == quote && peek(tokens, prefix + 2) == quote;
    size_t quotes = is_triple ? 3 : 1;
    size_t end = find_end(tokens, prefix + quotes, quote, is_triple, is_raw);
    if (end == SLICE_NOT_FOUND) {
        return expression_refuse(tokens->error, token->position, "the text that begins here has no end");
    }
    size_t from = tokens->at + prefix + quotes;
    struct slice inner = slice_of(tokens->text.at + from, tokens->at + end - from), result;
    tokens->at += end + quotes;
    if (!literal_read(tokens, inner, tokens->first + from, is_raw, is_bytes, is_triple, &result)) return false;
    token->kind = TOKEN_TEXT;
    token->value = expression_string(result);
    if (is_bytes) token->value.type = EXPRESSION_BYTES;
    return true;
}

/* How many letters stand before a quote and say how it is read: r, b, br. SLICE_NOT_FOUND: no text begins here. */
static size_t text_prefix(const struct tokens *tokens)
{
    size_t prefix = 0;
    if ((peek(tokens, prefix) | 0x20) == 'b') prefix++;
    if ((peek(tokens, prefix) | 0x20) == 'r') prefix++;
    char byte = peek(tokens, prefix);
    return byte == '"' || byte == '\'' ? prefix : SLICE_NOT_FOUND;
}

/* --- names and signs --- */

static bool is_quoted_byte(char byte) { return is_letter(byte) || is_digit(byte) || (byte && strchr(".-/ *", byte)); }

static bool read_quoted(struct tokens *tokens, struct token *token)
{
    size_t length = 1;
    while (is_quoted_byte(peek(tokens, length))) length++;
    if (length == 1 || peek(tokens, length) != '`') {
        return expression_refuse(tokens->error, token->position,
                                 "between ` and ` stand letters, digits, blanks and _ . - / *; not so");
    }
    token->kind = TOKEN_QUOTED;
    token->text = slice_of(tokens->text.at + tokens->at + 1, length - 1);
    tokens->at += length + 1;
    return true;
}

static bool read_sign(struct tokens *tokens, struct token *token)
{
    static const char *const doubles[] = { "&&", "||", "==", "!=", "<=", ">=" };
    struct slice rest = slice_after(tokens->text, tokens->at);
    size_t length = 1;
    for (size_t i = 0; i < COUNT_OF(doubles); i++) {
        if (slice_starts_with(rest, slice_from_cstring(doubles[i]))) length = 2;
    }
    unsigned char byte = (unsigned char)rest.at[0];
    if (length == 1 && (byte == '\0' || !strchr("+-*/%!<>?:.,()[]{}", (char)byte))) {
        if (byte <= ' ' || byte >= 0x7f) {
            return expression_refuse(tokens->error, token->position, "the byte 0x%02x can't stand here", byte);
        }
        const char *hint = byte == '='                  ? " (\"==\" compares)"
                           : byte == '&' || byte == '|' ? " (written twice)"
                           : slice_starts_with(rest, SLICE("${"))
                               ? " (an expression stands here, without \"${\" and \"}\")"
                               : "";
        return expression_refuse(tokens->error, token->position, "\"%c\"%s can't stand here", byte, hint);
    }
    token->kind = TOKEN_SIGN;
    token->text = slice_before(rest, length);
    tokens->at += length;
    return true;
}

bool token_next(struct tokens *tokens, struct token *token)
{
    skip_blanks(tokens);
    *token = (struct token){ .kind = TOKEN_END, .position = (uint32_t)(tokens->first + tokens->at) };
    if (tokens->at == tokens->text.length) return true;
    char byte = peek(tokens, 0);
    if (is_digit(byte) || (byte == '.' && is_digit(peek(tokens, 1)))) return read_number(tokens, token);
    size_t prefix = text_prefix(tokens);
    if (prefix != SLICE_NOT_FOUND) return read_text(tokens, token, prefix);
    if (byte == '`') return read_quoted(tokens, token);
    if (!is_letter(byte)) return read_sign(tokens, token);
    size_t length = 1;
    while (is_letter(peek(tokens, length)) || is_digit(peek(tokens, length))) length++;
    token->kind = TOKEN_IDENTIFIER;
    token->text = slice_of(tokens->text.at + tokens->at, length);
    tokens->at += length;
    return true;
}
