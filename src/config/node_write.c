/* A tree as JSON text (RFC 8259), in two passes: how long, then the bytes; so that it lies in the arena once. */
#include "config/private.h"

/* Counts where `at` is NULL. */
struct output {
    char *at;
    size_t length;
};

static void put(struct output *out, const char *bytes, size_t length)
{
    if (out->at) memcpy(out->at + out->length, bytes, length);
    out->length += length;
}

static void put_byte(struct output *out, char byte) { put(out, &byte, 1); }

/* What stands behind the backslash; 0: \u00XX; 1: nothing needs one. */
static char escape_of(unsigned char byte)
{
    switch (byte) {
    case '"':
    case '\\': return (char)byte;
    case '\n': return 'n';
    case '\r': return 'r';
    case '\t': return 't';
    case '\b': return 'b';
    case '\f': return 'f';
    default: return byte < 0x20 ? 0 : 1;
    }
}

static void put_string(struct output *out, struct slice text)
{
    put_byte(out, '"');
    size_t start = 0;
    for (size_t i = 0; i < text.length; i++) {
        unsigned char byte = (unsigned char)text.at[i];
        char escape = escape_of(byte);
        if (escape == 1) continue;
        put(out, text.at + start, i - start);
        start = i + 1;
        char written[7] = { '\\', escape };
        size_t length = 2;
        if (escape == 0) length = (size_t)snprintf(written, sizeof written, "\\u%04x", (unsigned)byte);
        put(out, written, length);
    }
    put(out, text.at + start, text.length - start);
    put_byte(out, '"');
}

static size_t digits_at(struct slice text, size_t at)
{
    size_t count = 0;
    while (at + count < text.length && text.at[at + count] >= '0' && text.at[at + count] <= '9') count++;
    return count;
}

/* By the grammar of RFC 8259 section 6; a whole one must fit 64 bits, or no reader of ours takes it. */
static bool is_number(struct slice text)
{
    size_t at = text.length > 0 && text.at[0] == '-';
    size_t whole = digits_at(text, at);
    if (whole == 0 || (whole > 1 && text.at[at] == '0')) return false;
    at += whole;
    int64_t value;
    if (at == text.length) return slice_parse_int64(text, &value);
    if (text.at[at] == '.') {
        size_t fraction = digits_at(text, at + 1);
        if (fraction == 0) return false;
        at += 1 + fraction;
    }
    if (at < text.length && (text.at[at] == 'e' || text.at[at] == 'E')) {
        at++;
        if (at < text.length && (text.at[at] == '+' || text.at[at] == '-')) at++;
        size_t exponent = digits_at(text, at);
        if (exponent == 0 || exponent > 2) return false; /* 1e999 is no number that anybody keeps */
        at += exponent;
    }
    return at == text.length;
}

static bool is_bare(const struct node *scalar)
{
    if (scalar->quoted) return false;
    return is_number(scalar->text) || slice_equal(scalar->text, SLICE("true")) ||
           slice_equal(scalar->text, SLICE("false"));
}

static void put_node(struct output *out, const struct node *node)
{
    if (node->kind == NODE_NULL) {
        put(out, "null", 4);
        return;
    }
    if (node->kind == NODE_SCALAR) {
        if (is_bare(node))
            put(out, node->text.at, node->text.length);
        else
            put_string(out, node->text);
        return;
    }
    bool is_map = node->kind == NODE_MAP;
    put_byte(out, is_map ? '{' : '[');
    for (const struct node *child = node->first; child; child = child->next) {
        if (child != node->first) put_byte(out, ',');
        if (is_map) {
            put_string(out, child->key);
            put_byte(out, ':');
        }
        put_node(out, child);
    }
    put_byte(out, is_map ? '}' : ']');
}

struct slice node_write_json(struct arena *arena, const struct node *node)
{
    struct output out = { 0 };
    put_node(&out, node);
    out = (struct output){ .at = config_allocate(arena, out.length + 1) };
    put_node(&out, node);
    return slice_of(out.at, out.length);
}
