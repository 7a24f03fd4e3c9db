/* JSON (RFC 8259) is looked over, not read: where a value ends, and which fields an object has, each as it is written. */
#include "store/private.h"

#define DEPTH_MAX 128

static size_t skip_space(struct slice text, size_t at)
{
    while (at < text.length &&
           (text.at[at] == ' ' || text.at[at] == '\t' || text.at[at] == '\n' || text.at[at] == '\r'))
        at++;
    return at;
}

static bool is_digit_at(struct slice text, size_t at)
{
    return at < text.length && text.at[at] >= '0' && text.at[at] <= '9';
}

static bool is_hexadecimal_at(struct slice text, size_t at)
{
    if (is_digit_at(text, at)) return true;
    return at < text.length && ((text.at[at] | 0x20) >= 'a' && (text.at[at] | 0x20) <= 'f');
}

/* From the opening quote to behind the closing one. */
static size_t scan_string(struct slice text, size_t at)
{
    for (at++; at < text.length; at++) {
        unsigned char byte = (unsigned char)text.at[at];
        if (byte == '"') return at + 1;
        if (byte < 0x20) return SLICE_NOT_FOUND;
        if (byte != '\\') continue;
        if (++at >= text.length) return SLICE_NOT_FOUND;
        if (text.at[at] == 'u') {
            for (int digit = 1; digit <= 4; digit++) {
                if (!is_hexadecimal_at(text, at + (size_t)digit)) return SLICE_NOT_FOUND;
            }
            at += 4;
        } else if (!text.at[at] || !strchr("\"\\/bfnrt", text.at[at])) {
            return SLICE_NOT_FOUND;
        }
    }
    return SLICE_NOT_FOUND;
}

static size_t scan_digits(struct slice text, size_t at)
{
    if (!is_digit_at(text, at)) return SLICE_NOT_FOUND;
    while (is_digit_at(text, at)) at++;
    return at;
}

static size_t scan_number(struct slice text, size_t at)
{
    if (text.at[at] == '-') at++;
    at = at < text.length && text.at[at] == '0' ? at + 1 : scan_digits(text, at);
    if (at < text.length && text.at[at] == '.') at = scan_digits(text, at + 1);
    if (at < text.length && (text.at[at] | 0x20) == 'e') {
        at++;
        if (at < text.length && (text.at[at] == '+' || text.at[at] == '-')) at++;
        at = scan_digits(text, at);
    }
    return at;
}

static size_t scan_word(struct slice text, size_t at, struct slice word)
{
    return slice_starts_with(slice_after(text, at), word) ? at + word.length : SLICE_NOT_FOUND;
}

static size_t scan_scalar(struct slice text, size_t at)
{
    switch (text.at[at]) {
    case '"': return scan_string(text, at);
    case 't': return scan_word(text, at, SLICE("true"));
    case 'f': return scan_word(text, at, SLICE("false"));
    case 'n': return scan_word(text, at, SLICE("null"));
    default: return text.at[at] == '-' || is_digit_at(text, at) ? scan_number(text, at) : SLICE_NOT_FOUND;
    }
}

/* Past `"key":` to its value. */
static size_t scan_key(struct slice text, size_t at)
{
    at = skip_space(text, at);
    if (at >= text.length || text.at[at] != '"') return SLICE_NOT_FOUND;
    at = scan_string(text, at);
    if (at == SLICE_NOT_FOUND) return at;
    at = skip_space(text, at);
    return at < text.length && text.at[at] == ':' ? at + 1 : SLICE_NOT_FOUND;
}

/* Without recursion: `closing` is the stack of brackets that are open. */
size_t json_scan(struct slice text, size_t at)
{
    char closing[DEPTH_MAX];
    size_t depth = 0;
    for (;;) {
        at = skip_space(text, at);
        if (at >= text.length) return SLICE_NOT_FOUND;
        char opening = text.at[at];
        if (opening == '{' || opening == '[') {
            if (depth == DEPTH_MAX) return SLICE_NOT_FOUND;
            closing[depth++] = opening == '{' ? '}' : ']';
            at = skip_space(text, at + 1);
            bool is_empty = at < text.length && text.at[at] == closing[depth - 1];
            if (!is_empty) {
                if (opening == '{') at = scan_key(text, at);
                if (at == SLICE_NOT_FOUND) return at;
                continue;
            }
        } else {
            at = scan_scalar(text, at);
            if (at == SLICE_NOT_FOUND || depth == 0) return at;
        }
        /* A value has ended, or an empty object or array is about to. */
        for (;;) {
            at = skip_space(text, at);
            if (at >= text.length) return SLICE_NOT_FOUND;
            if (text.at[at] != closing[depth - 1]) break;
            at++;
            if (--depth == 0) return at;
        }
        if (text.at[at++] != ',') return SLICE_NOT_FOUND;
        if (closing[depth - 1] == '}') at = scan_key(text, at);
        if (at == SLICE_NOT_FOUND) return at;
    }
}

int json_scan_field(struct slice object, size_t *at, struct slice *key, struct slice *value)
{
    size_t here = skip_space(object, *at);
    bool is_first = *at == 0;
    if (here >= object.length || (is_first && object.at[here] != '{')) return -1;
    if (is_first) here = skip_space(object, here + 1);
    if (here >= object.length) return -1;
    if (object.at[here] == '}') return skip_space(object, here + 1) == object.length ? 0 : -1;
    if (!is_first) {
        if (object.at[here] != ',') return -1;
        here = skip_space(object, here + 1);
    }
    size_t start = scan_key(object, here);
    if (start == SLICE_NOT_FOUND) return -1;
    size_t quote = scan_string(object, here) - 1;
    *key = slice_of(object.at + here + 1, quote - here - 1);
    start = skip_space(object, start);
    size_t end = json_scan(object, start);
    if (end == SLICE_NOT_FOUND) return -1;
    *value = slice_of(object.at + start, end - start);
    *at = end;
    return 1;
}
