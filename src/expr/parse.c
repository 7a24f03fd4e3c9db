/* expr/parse.c: tokens to terms, by CEL's grammar: binary operators by their level, all of them from the left. Macros are known here by
 * their names, since what stands in their parentheses is no argument. Recursion is bounded by HEIGHT_MAX: brackets and signs count as a level each. */
#include "expr/private.h"

#include "json/writer.h"

struct parser {
    struct tokens tokens;
    struct token token; /* the one that is looked at */
    struct arena *arena;
    struct error *error;
    unsigned depth; /* of what is parsed now, below the whole expression */
};

static struct term *parse_expression(struct parser *);
static struct term *parse_unary(struct parser *);

/* --- helpers; NULL is "refused" throughout --- */

static struct term *refuse(struct parser *parser, size_t position, const char *what)
{
    (void)expression_refuse(parser->error, position, "%s", what);
    return NULL;
}

/* To the next level: who comes back goes up by himself. */
static bool descend(struct parser *parser)
{
    if (parser->depth == HEIGHT_MAX)
        return expression_refuse(parser->error, parser->token.position, "nested too deeply");
    parser->depth++;
    return true;
}

static bool advance(struct parser *parser) { return token_next(&parser->tokens, &parser->token); }

static bool is_sign(const struct parser *parser, const char *sign)
{
    return parser->token.kind == TOKEN_SIGN && slice_equal(parser->token.text, slice_from_cstring(sign));
}

static bool is_word(const struct parser *parser, const char *word)
{
    return parser->token.kind == TOKEN_IDENTIFIER && slice_equal(parser->token.text, slice_from_cstring(word));
}

static bool unexpected(struct parser *parser, const char *wanted)
{
    if (parser->token.kind == TOKEN_END) {
        return expression_refuse(parser->error, parser->token.position, "the expression ends where %s is missing",
                                 wanted);
    }
    if (parser->token.kind == TOKEN_NUMBER || parser->token.kind == TOKEN_TEXT) {
        return expression_refuse(parser->error, parser->token.position, "%s is missing before this value", wanted);
    }
    return expression_refuse(parser->error, parser->token.position, "%s is missing before \"%.*s\"", wanted,
                             SLICE_PRINT(slice_before(parser->token.text, 40)));
}

static bool take_sign(struct parser *parser, const char *sign, const char *called)
{
    return is_sign(parser, sign) ? advance(parser) : unexpected(parser, called);
}

/* The operands are copied. NULL also where the tree would be too high. */
static struct term *make(struct parser *parser, enum term_kind kind, size_t position, struct term *const *operands,
                         size_t count)
{
    struct term *term = arena_allocate_zeroed(parser->arena, sizeof *term);
    struct term **copy = count ? arena_allocate(parser->arena, count * sizeof(struct term *)) : NULL;
    if (!term || (count && !copy)) {
        (void)error_format(parser->error, "out of memory");
        return NULL;
    }
    term->kind = (uint8_t)kind;
    term->position = (uint32_t)position;
    term->count = (uint32_t)count;
    term->operands = copy;
    for (size_t i = 0; i < count; i++) {
        if (!operands[i]) return NULL;
        copy[i] = operands[i];
        if (operands[i]->height >= term->height) term->height = (uint16_t)(operands[i]->height + 1);
    }
    return term->height <= HEIGHT_MAX ? term : refuse(parser, position, "nested too deeply");
}

static struct term *make_call(struct parser *parser, const char *name, size_t position, struct term *const *operands,
                              size_t count)
{
    struct term *call = make(parser, TERM_CALL, position, operands, count);
    if (call) call->text = slice_from_cstring(name);
    return call;
}

static struct term *make_constant(struct parser *parser, size_t position, struct expression_value value)
{
    struct term *constant = make(parser, TERM_CONSTANT, position, NULL, 0);
    if (constant) constant->value = value;
    return constant;
}

/* Terms between separators, collected before they become operands. */
struct collection {
    struct term **terms;
    size_t count, capacity;
};

static bool collect(struct parser *parser, struct collection *collection, struct term *term)
{
    if (!term) return false;
    if (collection->count == collection->capacity) {
        size_t capacity = collection->capacity ? collection->capacity * 2 : 8;
        struct term **terms = arena_allocate(parser->arena, capacity * sizeof(struct term *));
        if (!terms) return error_format(parser->error, "out of memory");
        if (collection->count) memcpy(terms, collection->terms, collection->count * sizeof(struct term *));
        collection->terms = terms;
        collection->capacity = capacity;
    }
    collection->terms[collection->count++] = term;
    return true;
}

/* --- primaries --- */

static bool is_reserved(struct slice name)
{
    static const char *const words[] = { "as",        "break",  "const",  "continue", "else",  "for",
                                         "function",  "if",     "import", "let",      "loop",  "package",
                                         "namespace", "return", "var",    "void",     "while", "in" };
    for (size_t i = 0; i < COUNT_OF(words); i++) {
        if (slice_equal(name, slice_from_cstring(words[i]))) return true;
    }
    return false;
}

/* "(" was seen: arguments up to ")", behind those in `into` already. */
static bool parse_arguments(struct parser *parser, struct collection *into)
{
    if (!advance(parser)) return false;
    while (!is_sign(parser, ")")) {
        if (into->count >= LITERAL_ITEMS_MAX)
            return expression_refuse(parser->error, parser->token.position, "too many arguments");
        if (!collect(parser, into, parse_expression(parser))) return false;
        if (is_sign(parser, ")")) break;
        if (!take_sign(parser, ",", "\",\" or \")\"")) return false;
        if (is_sign(parser, ")")) return unexpected(parser, "an argument");
    }
    return advance(parser);
}

/* An item, or a key: "?x" is there if the optional has a value. */
static struct term *parse_item(struct parser *parser)
{
    bool is_optional = is_sign(parser, "?");
    if (is_optional && !advance(parser)) return NULL;
    struct term *item = parse_expression(parser);
    if (item) item->is_item_optional = is_optional;
    return item;
}

static struct term *parse_list(struct parser *parser)
{
    size_t position = parser->token.position;
    struct collection items = { 0 };
    if (!advance(parser)) return NULL;
    while (!is_sign(parser, "]")) {
        if (items.count >= LITERAL_ITEMS_MAX)
            return refuse(parser, parser->token.position, "the list has too many items");
        if (!collect(parser, &items, parse_item(parser))) return NULL;
        if (is_sign(parser, "]")) break;
        if (!take_sign(parser, ",", "\",\" or \"]\"")) return NULL;
    }
    if (!advance(parser)) return NULL;
    return make(parser, TERM_LIST, position, items.terms, items.count);
}

static struct term *parse_map(struct parser *parser)
{
    size_t position = parser->token.position;
    struct collection items = { 0 };
    if (!advance(parser)) return NULL;
    while (!is_sign(parser, "}")) {
        if (items.count >= 2 * (size_t)LITERAL_ENTRIES_MAX)
            return refuse(parser, parser->token.position, "the map has too many entries");
        if (!collect(parser, &items, parse_item(parser))) return NULL;
        if (!take_sign(parser, ":", "\":\" and a value")) return NULL;
        if (!collect(parser, &items, parse_expression(parser))) return NULL;
        if (is_sign(parser, "}")) break;
        if (!take_sign(parser, ",", "\",\" or \"}\"")) return NULL;
    }
    if (!advance(parser)) return NULL;
    return make(parser, TERM_MAP, position, items.terms, items.count);
}

static struct term *make_has(struct parser *parser, size_t position, const struct collection *arguments)
{
    if (arguments->count != 1 || arguments->terms[0]->kind != TERM_SELECT || arguments->terms[0]->is_optional) {
        return refuse(parser, position, "has() asks for a field: has(a.b)");
    }
    struct term *field = arguments->terms[0];
    field->kind = TERM_HAS;
    return field;
}

static struct term *parse_name(struct parser *parser, bool is_global)
{
    struct token name = parser->token;
    if (name.kind != TOKEN_IDENTIFIER) {
        (void)unexpected(parser, "a name");
        return NULL;
    }
    if (is_reserved(name.text))
        return refuse(parser, name.position, "a word that the language reserves can't be a name");
    if (!advance(parser)) return NULL;
    if (!is_global) {
        if (slice_equal(name.text, SLICE("true"))) return make_constant(parser, name.position, expression_bool(true));
        if (slice_equal(name.text, SLICE("false"))) return make_constant(parser, name.position, expression_bool(false));
        if (slice_equal(name.text, SLICE("null"))) return make_constant(parser, name.position, expression_null());
    }
    struct term *term;
    if (is_sign(parser, "(")) {
        struct collection arguments = { 0 };
        if (!parse_arguments(parser, &arguments)) return NULL;
        if (slice_equal(name.text, SLICE("has")) && !is_global) return make_has(parser, name.position, &arguments);
        term = make(parser, TERM_CALL, name.position, arguments.terms, arguments.count);
    } else {
        term = make(parser, TERM_NAME, name.position, NULL, 0);
    }
    if (!term) return NULL;
    term->text = name.text;
    term->is_global = is_global;
    return term;
}

static struct term *parse_number(struct parser *parser, size_t position, bool is_negative)
{
    struct expression_value value = parser->token.value;
    if (value.type == EXPRESSION_DOUBLE) {
        if (is_negative) value.number = -value.number;
    } else if (value.type == EXPRESSION_UINT) {
        if (is_negative) return refuse(parser, position, "a uint can't be negative");
    } else {
        if (value.natural > (uint64_t)INT64_MAX + is_negative)
            return refuse(parser, position, "the number is too large");
        value = expression_int(is_negative ? (int64_t)(0 - value.natural) : (int64_t)value.natural);
    }
    return advance(parser) ? make_constant(parser, position, value) : NULL;
}

static struct term *parse_primary(struct parser *parser)
{
    size_t position = parser->token.position;
    if (parser->token.kind == TOKEN_NUMBER) return parse_number(parser, position, false);
    if (parser->token.kind == TOKEN_TEXT) {
        struct expression_value value = parser->token.value;
        return advance(parser) ? make_constant(parser, position, value) : NULL;
    }
    if (is_sign(parser, "[")) return parse_list(parser);
    if (is_sign(parser, "{")) return parse_map(parser);
    if (is_sign(parser, ".")) return advance(parser) ? parse_name(parser, true) : NULL;
    if (is_sign(parser, "(")) {
        if (!advance(parser)) return NULL;
        struct term *inner = parse_expression(parser);
        if (!inner || !take_sign(parser, ")", "\")\"")) return NULL;
        return inner;
    }
    if (parser->token.kind == TOKEN_IDENTIFIER) return parse_name(parser, false);
    (void)unexpected(parser, "a value");
    return NULL;
}

/* --- what follows a primary --- */

static bool macro_named(struct slice name, size_t arguments, enum macro *macro, size_t *variables)
{
    static const struct {
        const char *name;
        enum macro macro;
        bool takes_two; /* variables: an item and its place, a key and its value */
    } macros[] = {
        { "all", MACRO_ALL, true },
        { "exists", MACRO_EXISTS, true },
        { "exists_one", MACRO_EXISTS_ONE, true },
        { "existsOne", MACRO_EXISTS_ONE, true },
        { "map", MACRO_MAP, false },
        { "filter", MACRO_FILTER, false },
    };
    for (size_t i = 0; i < COUNT_OF(macros); i++) {
        if (!slice_equal(name, slice_from_cstring(macros[i].name))) continue;
        *macro = macros[i].macro;
        *variables = macros[i].takes_two && arguments == 3 ? 2 : 1;
        return arguments == 2 || (arguments == 3 && (macros[i].takes_two || *macro == MACRO_MAP));
    }
    return false;
}

/* list.all(x, p), list.map(x, f), list.map(x, p, f), map.all(k, v, p): the range, then what is evaluated for each. */
static struct term *make_macro(struct parser *parser, size_t position, enum macro macro, size_t variables,
                               const struct collection *arguments)
{
    struct term *operands[3] = { arguments->terms[0] };
    size_t count = 1;
    for (size_t i = 1; i <= variables; i++) {
        const struct term *name = arguments->terms[i];
        if (name->kind != TERM_NAME || name->is_global) {
            return refuse(parser, name->position, "the name of a variable has to stand here");
        }
    }
    for (size_t i = 1 + variables; i < arguments->count; i++) operands[count++] = arguments->terms[i];
    struct term *term = make(parser, TERM_MACRO, position, operands, count);
    if (!term) return NULL;
    term->macro = (uint8_t)macro;
    term->locals = (uint8_t)variables;
    for (size_t i = 0; i < variables; i++) term->local_names[i] = arguments->terms[1 + i]->text;
    if (variables == 2 && slice_equal(term->local_names[0], term->local_names[1])) {
        return refuse(parser, position, "the two variables have the same name");
    }
    return term;
}

static struct term *parse_member(struct parser *parser, struct term *of)
{
    size_t position = parser->token.position;
    if (!advance(parser)) return NULL;
    bool is_optional = is_sign(parser, "?");
    if (is_optional && !advance(parser)) return NULL;
    struct token name = parser->token;
    bool is_quoted = name.kind == TOKEN_QUOTED;
    if (!is_quoted && name.kind != TOKEN_IDENTIFIER) {
        (void)unexpected(parser, "a field's name");
        return NULL;
    }
    if (slice_equal(name.text, SLICE("in")) && !is_quoted) {
        return refuse(parser, name.position, "a word that the language reserves can't be a name");
    }
    if (!advance(parser)) return NULL;
    if (is_quoted || is_optional || !is_sign(parser, "(")) {
        struct term *select = make(parser, TERM_SELECT, position, &of, 1);
        if (!select) return NULL;
        select->text = name.text;
        select->is_optional = is_optional;
        return select;
    }
    struct collection arguments = { 0 };
    if (!collect(parser, &arguments, of) || !parse_arguments(parser, &arguments)) return NULL;
    enum macro macro;
    size_t variables;
    if (macro_named(name.text, arguments.count - 1, &macro, &variables)) {
        return make_macro(parser, name.position, macro, variables, &arguments);
    }
    struct term *call = make(parser, TERM_CALL, name.position, arguments.terms, arguments.count);
    if (!call) return NULL;
    call->text = name.text;
    call->is_receiver = true;
    return call;
}

static struct term *parse_index(struct parser *parser, struct term *of)
{
    size_t position = parser->token.position;
    if (!advance(parser)) return NULL;
    bool is_optional = is_sign(parser, "?");
    if (is_optional && !advance(parser)) return NULL;
    struct term *operands[] = { of, parse_expression(parser) };
    if (!operands[1] || !take_sign(parser, "]", "\"]\"")) return NULL;
    return make_call(parser, is_optional ? "[?]" : "[]", position, operands, 2);
}

static struct term *parse_suffixes(struct parser *parser, struct term *term)
{
    while (term) {
        if (is_sign(parser, ".")) {
            term = parse_member(parser, term);
        } else if (is_sign(parser, "[")) {
            term = parse_index(parser, term);
        } else if (is_sign(parser, "{") && (term->kind == TERM_NAME || term->kind == TERM_SELECT)) {
            return refuse(parser, parser->token.position, "protobuf messages can't be made here");
        } else {
            return term;
        }
    }
    return NULL;
}

/* --- operators --- */

static struct term *parse_sign_before(struct parser *parser)
{
    size_t position = parser->token.position;
    bool is_minus = is_sign(parser, "-");
    if (!advance(parser)) return NULL;
    if (is_minus && parser->token.kind == TOKEN_NUMBER) {
        return parse_suffixes(parser, parse_number(parser, position, true));
    }
    if (!descend(parser)) return NULL;
    struct term *operand = parse_unary(parser);
    parser->depth--;
    return operand ? make_call(parser, is_minus ? "-x" : "!", position, &operand, 1) : NULL;
}

static struct term *parse_unary(struct parser *parser)
{
    if (is_sign(parser, "-") || is_sign(parser, "!")) return parse_sign_before(parser);
    return parse_suffixes(parser, parse_primary(parser));
}

/* The level of the operator that is looked at; 0: none. */
static int level_of(const struct parser *parser, const char **name)
{
    static const struct {
        const char *sign;
        int level;
    } operators[] = {
        { "<", 3 }, { "<=", 3 }, { ">", 3 }, { ">=", 3 }, { "==", 3 }, { "!=", 3 },
        { "+", 4 }, { "-", 4 },  { "*", 5 }, { "/", 5 },  { "%", 5 },
    };
    for (size_t i = 0; i < COUNT_OF(operators); i++) {
        *name = operators[i].sign;
        if (is_sign(parser, operators[i].sign)) return operators[i].level;
    }
    *name = "in";
    return is_word(parser, "in") ? 3 : 0;
}

static struct term *parse_binary(struct parser *parser, int level)
{
    struct term *left = level == 6 ? parse_unary(parser) : parse_binary(parser, level + 1);
    if (level == 6) return left;
    const char *name;
    while (left && level_of(parser, &name) == level) {
        size_t position = parser->token.position;
        if (!advance(parser)) return NULL;
        struct term *operands[] = { left, parse_binary(parser, level + 1) };
        left = operands[1] ? make_call(parser, name, position, operands, 2) : NULL;
    }
    return left;
}

/* A chain of && (or of ||, whose operands are chains of &&) is one term. */
static struct term *parse_chain(struct parser *parser, bool is_or)
{
    struct collection operands = { 0 };
    size_t position = 0;
    do {
        if (operands.count) {
            position = parser->token.position;
            if (!advance(parser)) return NULL;
        }
        if (!collect(parser, &operands, is_or ? parse_chain(parser, false) : parse_binary(parser, 3))) return NULL;
    } while (is_sign(parser, is_or ? "||" : "&&"));
    if (operands.count == 1) return operands.terms[0];
    return make(parser, is_or ? TERM_OR : TERM_AND, position, operands.terms, operands.count);
}

static struct term *parse_condition(struct parser *parser)
{
    struct term *term = parse_chain(parser, true);
    if (!term || !is_sign(parser, "?")) return term;
    size_t position = parser->token.position;
    struct term *operands[3] = { term };
    if (!advance(parser)) return NULL;
    operands[1] = parse_chain(parser, true);
    if (!operands[1] || !take_sign(parser, ":", "\":\" and what holds otherwise")) return NULL;
    operands[2] = parse_expression(parser);
    return operands[2] ? make(parser, TERM_CONDITION, position, operands, 3) : NULL;
}

/* What stands in brackets, or behind the ":" of a condition, is a level below what it stands in. */
static struct term *parse_expression(struct parser *parser)
{
    if (!descend(parser)) return NULL;
    struct term *term = parse_condition(parser);
    parser->depth--;
    return term;
}

struct term *expression_parse(struct slice text, size_t first, struct arena *arena, struct error *error)
{
    struct parser parser = { .tokens = { .text = text, .first = first, .arena = arena, .error = error },
                             .arena = arena,
                             .error = error };
    if (text.length > EXPRESSION_TEXT_BYTES_MAX) {
        (void)error_format(error, "the expression is longer than %d bytes", EXPRESSION_TEXT_BYTES_MAX);
        return NULL;
    }
    if (!json_is_utf8(text)) {
        (void)error_format(error, "the expression is not valid UTF-8");
        return NULL;
    }
    if (!advance(&parser)) return NULL;
    struct term *root = parse_condition(&parser);
    if (root && parser.token.kind != TOKEN_END) {
        (void)unexpected(&parser, "an operator");
        return NULL;
    }
    return root;
}
