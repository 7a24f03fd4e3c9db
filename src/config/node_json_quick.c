/* JSON that has nothing odd in it, straight into nodes: a store's documents are read by the thousand, and jansson takes ten times as long.
 *
 * Whatever this does not take (mistakes, keys given twice, bytes beyond ASCII, depth) it leaves to jansson, which has the words; so it need not
 * be able to say what is wrong. What it takes becomes the tree that jansson's reading becomes: tests/fuzz/fuzz_json.c compares them. */
#include "config/private.h"

struct quick {
    struct arena *arena;
    const char *at, *end;
};

/* Beyond so many keys looking through all for one given twice costs more than jansson. */
#define KEYS_MAX 64

static struct node *read_value(struct quick *, unsigned depth);

static void skip_blanks(struct quick *quick)
{
    while (quick->at < quick->end &&
           (*quick->at == ' ' || *quick->at == '\n' || *quick->at == '\t' || *quick->at == '\r'))
        quick->at++;
}

static bool take(struct quick *quick, char byte)
{
    skip_blanks(quick);
    if (quick->at == quick->end || *quick->at != byte) return false;
    quick->at++;
    return true;
}

/* What an escape stands for; 0: not one of the simple ones. */
static char plain_escape(char byte)
{
    switch (byte) {
    case '"':
    case '\\':
    case '/': return byte;
    case 'n': return '\n';
    case 'r': return '\r';
    case 't': return '\t';
    case 'b': return '\b';
    case 'f': return '\f';
    default: return 0;
    }
}

/* \u00XX for ASCII, but for NUL; what is beyond is left alone. */
static char hexadecimal_escape(const char *at, const char *end)
{
    if (end - at < 5 || at[0] != 'u' || at[1] != '0' || at[2] != '0') return 0;
    unsigned value = 0;
    for (int i = 3; i < 5; i++) {
        char byte = at[i], lower = (char)(byte | 0x20);
        bool is_digit = byte >= '0' && byte <= '9';
        if (!is_digit && (lower < 'a' || lower > 'f')) return 0;
        value = value << 4 | (unsigned)(is_digit ? byte - '0' : lower - 'a' + 10);
    }
    return value < 0x80 ? (char)value : 0;
}

/* The bytes from the opening quote's successor to the closing quote; escapes are counted. NULL: left to jansson. */
static const char *find_closing_quote(const char *at, const char *end, size_t *escapes)
{
    for (*escapes = 0; at < end && *at != '"'; at++) {
        unsigned char byte = (unsigned char)*at;
        if (byte < 0x20 || byte >= 0x80) return NULL;
        if (byte == '\\') {
            ++*escapes;
            at++;
        }
    }
    return at < end ? at : NULL;
}

static bool read_string(struct quick *quick, struct slice *text)
{
    size_t escapes, length = 0;
    const char *closing = find_closing_quote(quick->at, quick->end, &escapes);
    if (!closing) return false;
    if (escapes == 0) {
        *text = arena_keep(quick->arena, slice_of(quick->at, (size_t)(closing - quick->at)));
        quick->at = closing + 1;
        return true;
    }
    char *copy = config_allocate(quick->arena, (size_t)(closing - quick->at) + 1);
    for (const char *at = quick->at; at < closing; at++) {
        char byte = *at;
        if (byte == '\\') {
            byte = plain_escape(*++at);
            if (byte == 0) {
                byte = hexadecimal_escape(at, closing);
                if (byte == 0) return false;
                at += 4;
            }
        }
        copy[length++] = byte;
    }
    *text = slice_of(copy, length);
    quick->at = closing + 1;
    return true;
}

static bool is_digit(char byte) { return byte >= '0' && byte <= '9'; }

/* Up to 18 digits, or 9 and a fraction of up to 3: such numbers have one shortest text, and it is the one that is written there. */
static bool read_number(struct quick *quick, struct node *node)
{
    const char *start = quick->at, *at = start;
    if (at < quick->end && *at == '-') at++;
    const char *digits = at;
    while (at < quick->end && is_digit(*at)) at++;
    size_t whole = (size_t)(at - digits);
    if (whole == 0 || whole > 18 || (whole > 1 && *digits == '0')) return false;
    if (*start == '-' && *digits == '0') return false;
    if (at < quick->end && *at == '.') {
        const char *fraction = ++at;
        while (at < quick->end && is_digit(*at)) at++;
        size_t places = (size_t)(at - fraction);
        if (places == 0 || places > 3 || whole > 9 || at[-1] == '0') return false;
        node->rounded = true;
    }
    if (at < quick->end && (*at == 'e' || *at == 'E')) return false;
    node->text = arena_keep(quick->arena, slice_of(start, (size_t)(at - start)));
    quick->at = at;
    return true;
}

static bool read_word(struct quick *quick, struct node *node, struct slice word)
{
    if (!slice_starts_with(slice_of(quick->at, (size_t)(quick->end - quick->at)), word)) return false;
    node->text = word;
    quick->at += word.length;
    return true;
}

static bool is_new_key(const struct node *map, struct slice key)
{
    for (const struct node *child = map->first; child; child = child->next) {
        if (slice_equal(child->key, key)) return false;
    }
    return true;
}

/* From behind the opening bracket to behind the closing one. */
static bool read_children(struct quick *quick, struct node *node, unsigned depth)
{
    bool is_map = node->kind == NODE_MAP;
    char closing = is_map ? '}' : ']';
    struct node *last = NULL;
    if (take(quick, closing)) return true;
    do {
        struct slice key = SLICE_ABSENT;
        if (is_map && (!take(quick, '"') || !read_string(quick, &key) || !take(quick, ':'))) return false;
        if (is_map && (node->count == KEYS_MAX || !is_new_key(node, key))) return false;
        struct node *child = read_value(quick, depth);
        if (!child) return false;
        node_append(node, &last, key, child);
    } while (take(quick, ','));
    return take(quick, closing);
}

static struct node *read_value(struct quick *quick, unsigned depth)
{
    skip_blanks(quick);
    if (quick->at == quick->end) return NULL;
    struct node *node = node_make(quick->arena, NODE_SCALAR);
    bool ok = false;
    switch (*quick->at) {
    case '{':
    case '[':
        node->kind = *quick->at++ == '{' ? NODE_MAP : NODE_LIST;
        ok = depth < NODE_DEPTH_MAX && read_children(quick, node, depth + 1);
        break;
    case '"':
        quick->at++;
        node->quoted = true;
        ok = read_string(quick, &node->text);
        break;
    case 't': ok = read_word(quick, node, SLICE("true")); break;
    case 'f': ok = read_word(quick, node, SLICE("false")); break;
    case 'n':
        node->kind = NODE_NULL;
        ok = read_word(quick, node, SLICE("null"));
        break;
    default: ok = read_number(quick, node);
    }
    return ok ? node : NULL;
}

struct node *node_read_json_quick(struct arena *arena, struct slice text)
{
    struct quick quick = { .arena = arena, .at = text.at, .end = text.at + text.length };
    struct node *root = read_value(&quick, 0);
    skip_blanks(&quick);
    return root && quick.at == quick.end ? root : NULL;
}
