#include "route/private.h"

#include "base/memory.h"

/* ---- Compiling a rule -------------------------------------------------------------------------------------------- */

/* A matcher is one block: the struct, its arrays, its text. The room is counted first and then dealt out. */
struct block {
    char *arrays, *text, *end;
};

static size_t round_up(size_t size) { return (size + 7) & ~(size_t)7; }

static void *deal_array(struct block *block, size_t count, size_t size)
{
    void *memory = block->arrays;
    block->arrays += round_up(count * size);
    return memory;
}

static struct slice deal_copy(struct block *block, struct slice text)
{
    char *copy = block->text;
    PROMISE(text.length <= (size_t)(block->end - copy));
    if (text.length) memcpy(copy, text.at, text.length);
    block->text += text.length;
    return slice_of(copy, text.length);
}

static void make_lower(struct slice text)
{
    char *bytes = (char *)text.at; /* our own copy */
    for (size_t i = 0; i < text.length; i++) {
        if (bytes[i] >= 'A' && bytes[i] <= 'Z') bytes[i] = (char)(bytes[i] | 0x20);
    }
}

static bool is_regex(struct slice text) { return text.length > 0 && text.at[0] == '~'; }

static size_t conditions_text_length(const struct route_condition *conditions, size_t count)
{
    size_t length = 0;
    for (size_t i = 0; i < count; i++) length += conditions[i].name.length + conditions[i].value.length;
    return length;
}

static size_t slices_text_length(const struct slice *slices, size_t count)
{
    size_t length = 0;
    for (size_t i = 0; i < count; i++) length += slices[i].length;
    return length;
}

static size_t arrays_size(const struct route_rule *rule, size_t piece_count)
{
    return round_up(piece_count * sizeof(struct piece)) +
           (rule->header_count + rule->query_parameter_count) * sizeof(struct condition) +
           (rule->host_count + rule->method_count) * sizeof(struct slice);
}

static size_t text_size(const struct route_rule *rule, size_t path_length)
{
    return path_length + slices_text_length(rule->hosts, rule->host_count) +
           slices_text_length(rule->methods, rule->method_count) +
           conditions_text_length(rule->headers, rule->header_count) +
           conditions_text_length(rule->query_parameters, rule->query_parameter_count);
}

static void take_pieces(struct route_matcher *matcher, struct block *block, const struct pattern_draft *draft)
{
    struct piece *pieces = deal_array(block, draft->count, sizeof *pieces);
    const char *text = deal_copy(block, slice_of(draft->bytes, draft->length)).at;
    for (unsigned i = 0; i < draft->count; i++) {
        pieces[i] = draft->pieces[i];
        pieces[i].text.at = text + (draft->pieces[i].text.at - draft->bytes);
        if (pieces[i].kind == PIECE_PARAMETER) pieces[i].name.at = text + (draft->pieces[i].name.at - draft->bytes);
    }
    matcher->pieces = pieces;
    matcher->piece_count = (uint16_t)draft->count;
    if (draft->count > 1) {
        struct slice head = pieces[0].text; /* begins with '/' */
        size_t length = head.length;
        while (head.at[length - 1] != '/') length--;
        matcher->strip_length = (uint16_t)(length - 1);
    }
}

static bool is_host_byte(char byte)
{
    return (byte >= 'a' && byte <= 'z') || (byte >= '0' && byte <= '9') || byte == '-' || byte == '_' || byte == '.';
}

/* A name, an IPv4 address, an IPv6 address in brackets, or "*." and a name. */
static bool host_is_valid(struct slice host)
{
    if (host.length == 0 || host.length > HOST_BYTES_MAX) return false;
    if (host.at[0] == '[') {
        for (size_t i = 1; i + 1 < host.length; i++) {
            if (!is_host_byte(host.at[i]) && host.at[i] != ':') return false;
        }
        return host.length > 2 && host.at[host.length - 1] == ']';
    }
    if (slice_starts_with(host, SLICE("*."))) host = slice_after(host, 2);
    if (host.length == 0 || host.at[0] == '.') return false;
    for (size_t i = 0; i < host.length; i++) {
        bool empty_label = host.at[i] == '.' && (i + 1 == host.length || host.at[i + 1] == '.');
        if (!is_host_byte(host.at[i]) || empty_label) return false;
    }
    return true;
}

static bool take_hosts(struct route_matcher *matcher, struct block *block, const struct route_rule *rule,
                       struct error *error)
{
    struct slice *hosts = deal_array(block, rule->host_count, sizeof *hosts);
    matcher->hosts = hosts;
    for (size_t i = 0; i < rule->host_count; i++) {
        struct slice host = deal_copy(block, rule->hosts[i]);
        make_lower(host);
        if (host.length > 1 && host.at[host.length - 1] == '.') host.length--; /* as target_parse_authority() */
        if (!host_is_valid(host)) {
            return error_format(error, "host \"%.*s\": must be a name without port, or \"*.\" and a name",
                                SLICE_PRINT(slice_before(rule->hosts[i], 120)));
        }
        bool repeated = false;
        for (unsigned other = 0; other < matcher->host_count; other++)
            repeated = repeated || slice_equal(hosts[other], host);
        if (!repeated) hosts[matcher->host_count++] = host;
    }
    return true;
}

static bool take_methods(struct route_matcher *matcher, struct block *block, const struct route_rule *rule,
                         struct error *error)
{
    struct slice *others = deal_array(block, rule->method_count, sizeof *others);
    matcher->other_methods = others;
    matcher->has_methods = rule->method_count > 0;
    if (!matcher->has_methods) matcher->methods = UINT16_MAX;
    for (size_t i = 0; i < rule->method_count; i++) {
        struct slice name = rule->methods[i];
        if (!header_name_is_valid(name)) { /* both are tokens, RFC 9110 5.6.2 */
            return error_format(error, "method \"%.*s\": not a token", SLICE_PRINT(slice_before(name, 120)));
        }
        enum method method = method_find(name);
        matcher->methods |= (uint16_t)(1u << method);
        if (method == METHOD_GET) matcher->methods |= 1u << METHOD_HEAD;
        if (method == METHOD_OTHER) others[matcher->other_method_count++] = deal_copy(block, name);
    }
    return true;
}

static bool take_condition(struct condition *condition, struct block *block, const struct route_condition *source,
                           bool in_query, struct error *error)
{
    const char *what = in_query ? "query parameter" : "header";
    condition->in_query = in_query;
    condition->name = deal_copy(block, source->name);
    condition->value = deal_copy(block, source->value);
    if (in_query ? source->name.length == 0 : !header_name_is_valid(source->name)) {
        return error_format(error, "%s \"%.*s\": not a valid name", what, SLICE_PRINT(slice_before(source->name, 120)));
    }
    if (source->value.length > CONDITION_VALUE_BYTES_MAX) {
        return error_format(error, "%s \"%.*s\": a value longer than %d bytes", what,
                            SLICE_PRINT(slice_before(source->name, 120)), CONDITION_VALUE_BYTES_MAX);
    }
    if (!in_query) {
        make_lower(condition->name);
        condition->header_id = (uint8_t)header_id_find(condition->name);
    }
    if (slice_equal(source->value, SLICE("*"))) {
        condition->kind = CONDITION_PRESENT;
    } else if (is_regex(source->value)) {
        condition->kind = CONDITION_REGEX;
        if (!regex_init(&condition->regex, slice_after(condition->value, 1), REGEX_ANYWHERE, error)) {
            error_prefix(error, "%s \"%.*s\"", what, SLICE_PRINT(slice_before(source->name, 80)));
            return false;
        }
    }
    return true;
}

/* Exact ones first; among them headers before query parameters, by name and value: one order for all rules, so that those
 * which ask for the same things meet in the index. */
static int compare_conditions(const void *a, const void *b)
{
    const struct condition *left = a, *right = b;
    if (left->kind != right->kind) return left->kind < right->kind ? -1 : 1;
    if (left->in_query != right->in_query) return left->in_query ? 1 : -1;
    int order = slice_compare(left->name, right->name);
    return order != 0 ? order : slice_compare(left->value, right->value);
}

static bool take_conditions(struct route_matcher *matcher, struct block *block, const struct route_rule *rule,
                            struct error *error)
{
    size_t count = rule->header_count + rule->query_parameter_count;
    struct condition *conditions = deal_array(block, count, sizeof *conditions);
    matcher->conditions = conditions;
    matcher->header_count = (uint8_t)rule->header_count;
    matcher->query_parameter_count = (uint8_t)rule->query_parameter_count;
    for (size_t i = 0; i < count; i++) {
        bool in_query = i >= rule->header_count;
        const struct route_condition *source = in_query ? &rule->query_parameters[i - rule->header_count]
                                                        : &rule->headers[i];
        if (!take_condition(&conditions[i], block, source, in_query, error)) return false;
        matcher->condition_count++;
        if (conditions[i].kind == CONDITION_EXACT) matcher->exact_count++;
    }
    if (count > 1) qsort(conditions, count, sizeof *conditions, compare_conditions);
    return true;
}

/* Who means a path below "/" and who means a part of one need different things: both are shown. */
static bool refuse_regex_without_slash(struct slice text, struct error *error)
{
    struct slice shown = slice_before(slice_after(text, slice_starts_with(text, SLICE("^")) ? 1 : 0), 50);
    bool has_bar = slice_find_byte(shown, '|') != SLICE_NOT_FOUND;
    const char *open = has_bar ? "(?:" : "", *close = has_bar ? ")" : "";
    return error_format(error,
                        "a path's regex must match all of it, which begins with '/': write ~/%s%.*s%s or ~.*%s%.*s%s",
                        open, SLICE_PRINT(shown), close, open, SLICE_PRINT(shown), close);
}

static bool take_regex(struct route_matcher *matcher, struct block *block, const struct route_rule *rule,
                       struct slice prefix, struct error *error)
{
    struct slice text = deal_copy(block, slice_after(rule->path, 1));
    matcher->regex_prefix = deal_copy(block, prefix);
    if (!regex_init(&matcher->regex, text, REGEX_WHOLE, error)) {
        error_prefix(error, "path");
        return false;
    }
    matcher->has_regex = true;
    bool never = !slice_starts_with(prefix, SLICE("/")) && !regex_can_begin_with(text, SLICE("/"));
    return !never || refuse_regex_without_slash(text, error);
}

static bool counts_are_valid(const struct route_rule *rule, struct error *error)
{
    if (rule->header_count > CONDITIONS_MAX || rule->query_parameter_count > CONDITIONS_MAX) {
        return error_format(error, "more than %d headers or query parameters", CONDITIONS_MAX);
    }
    if (rule->judged_count > JUDGED_MAX) return error_format(error, "more than %d predicates", JUDGED_MAX);
    if (rule->host_count > UINT8_MAX || rule->method_count > UINT8_MAX) {
        return error_format(error, "more than %d hosts or methods", UINT8_MAX);
    }
    return true;
}

struct route_matcher *route_matcher_create(const struct route_rule *rule, void *target, struct error *error)
{
    struct pattern_draft draft = { .count = 0, .length = 0 };
    char prefix_bytes[REGEX_PREFIX_MAX];
    struct slice prefix = SLICE_ABSENT;
    bool regex = is_regex(rule->path);
    if (!counts_are_valid(rule, error)) return NULL;
    if (regex)
        prefix = regex_literal_prefix(slice_after(rule->path, 1), prefix_bytes);
    else if (!pattern_parse(rule->path, &draft, error))
        return NULL;

    size_t arrays = arrays_size(rule, draft.count);
    size_t size = round_up(sizeof(struct route_matcher)) + arrays +
                  text_size(rule, regex ? rule->path.length + prefix.length : draft.length);
    struct route_matcher *matcher = memory_allocate(size);
    struct block block = { .arrays = (char *)matcher + round_up(sizeof *matcher), .end = (char *)matcher + size };
    block.text = block.arrays + arrays;
    matcher->references = 1;
    matcher->priority = rule->priority;
    matcher->sequence = rule->sequence;
    matcher->judged_count = (uint8_t)rule->judged_count;
    matcher->target = target;
    if (!regex) take_pieces(matcher, &block, &draft);
    bool valid = (!regex || take_regex(matcher, &block, rule, prefix, error)) &&
                 take_hosts(matcher, &block, rule, error) && take_methods(matcher, &block, rule, error) &&
                 take_conditions(matcher, &block, rule, error);
    if (!valid) {
        route_matcher_drop(matcher);
        return NULL;
    }
    return matcher;
}

void route_matcher_retain(struct route_matcher *matcher) { matcher->references++; }

void route_matcher_drop(struct route_matcher *matcher)
{
    if (!matcher || --matcher->references > 0) return;
    if (matcher->has_regex) regex_release(&matcher->regex);
    for (unsigned i = 0; i < matcher->condition_count; i++) {
        if (matcher->conditions[i].kind == CONDITION_REGEX) regex_release(&matcher->conditions[i].regex);
    }
    free(matcher);
}

bool route_matcher_captures(const struct route_matcher *matcher, struct slice name)
{
    for (uint32_t i = 0, group; matcher->has_regex && i < matcher->regex.name_count; i++) {
        if (slice_equal(regex_name(&matcher->regex, i, &group), name)) return true;
    }
    for (unsigned i = 0; i < matcher->piece_count; i++) {
        const struct piece *piece = &matcher->pieces[i];
        if (piece->kind == PIECE_STAR && slice_equal(name, SLICE("*"))) return true;
        if (piece->kind == PIECE_PARAMETER && slice_equal(name, piece->name)) return true;
    }
    return false;
}

size_t route_matcher_strip_length(const struct route_matcher *matcher, struct slice path)
{
    return matcher->strip_length;
}

struct slice route_captures_find(const struct route_captures *captures, struct slice name)
{
    for (unsigned i = 0; i < captures->count; i++) {
        if (slice_equal(captures->items[i].name, name)) return captures->items[i].value;
    }
    return SLICE_ABSENT;
}

/* ---- A matcher against a request --------------------------------------------------------------------------------- */

bool matcher_takes_method(const struct route_matcher *matcher, const struct route_request *request)
{
    if (!(matcher->methods & 1u << request->method)) return false;
    if (request->method != METHOD_OTHER || !matcher->has_methods) return true;
    for (unsigned i = 0; i < matcher->other_method_count; i++) {
        if (slice_equal(matcher->other_methods[i], request->method_text)) return true;
    }
    return false;
}

bool matcher_takes_path(const struct route_matcher *matcher, struct route_request *request)
{
    if (!matcher->has_regex) return pieces_match(matcher->pieces, matcher->piece_count, request->path, 0, NULL);
    return regex_match(&matcher->regex, request->path, request->scratch, &request->regex_limit_hit);
}

bool route_matcher_takes_path(const struct route_matcher *matcher, struct router_scratch *scratch, struct slice path)
{
    struct route_request request = { .path = path, .scratch = scratch };
    return matcher_takes_path(matcher, &request);
}

/* Each field of the name counts by itself: a list in one field is not taken apart. */
static bool header_is_met(const struct condition *condition, struct route_request *request)
{
    const struct headers *headers = &request->head->headers;
    const struct header *header = condition->header_id != HEADER_OTHER
                                      ? headers_find_known(headers, condition->header_id)
                                      : headers_find(headers, condition->name);
    for (; header; header = headers_find_next(headers, header)) {
        if (condition->kind == CONDITION_PRESENT) return true;
        if (condition->kind == CONDITION_EXACT && slice_equal(header->value, condition->value)) return true;
        if (condition->kind == CONDITION_REGEX &&
            regex_match(&condition->regex, header->value, request->scratch, &request->regex_limit_hit)) {
            return true;
        }
    }
    return false;
}

static bool query_is_met(const struct condition *condition, struct route_request *request)
{
    struct slice rest = request->head->target.query, value;
    while (query_next_value(&rest, condition->name, request->scratch, &value)) {
        if (condition->kind == CONDITION_PRESENT) return true;
        if (condition->kind == CONDITION_EXACT && slice_equal(value, condition->value)) return true;
        if (condition->kind == CONDITION_REGEX &&
            regex_match(&condition->regex, value, request->scratch, &request->regex_limit_hit)) {
            return true;
        }
    }
    return false;
}

bool condition_is_met(const struct condition *condition, struct route_request *request)
{
    return condition->in_query ? query_is_met(condition, request) : header_is_met(condition, request);
}

/* ---- Captures ------------------------------------------------------------------------------------------------------ */

static void add_capture(struct route_captures *captures, struct slice name, struct slice value)
{
    if (captures->count == ROUTE_CAPTURES_MAX) return;
    captures->items[captures->count++] = (struct route_capture){ .name = name, .value = value };
}

static void capture_pieces(const struct route_matcher *matcher, struct slice path, struct route_captures *captures)
{
    if (matcher->piece_count == 1) return; /* a literal */
    struct slice values[PATTERN_PIECES_MAX];
    bool matches = pieces_match(matcher->pieces, matcher->piece_count, path, 0, values);
    PROMISE(matches);
    unsigned last_star = matcher->piece_count;
    for (unsigned i = 0; i < matcher->piece_count; i++) {
        if (matcher->pieces[i].kind == PIECE_PARAMETER) add_capture(captures, matcher->pieces[i].name, values[i]);
        if (matcher->pieces[i].kind == PIECE_STAR) last_star = i;
    }
    if (last_star < matcher->piece_count) add_capture(captures, SLICE("*"), values[last_star]);
}

static void capture_groups(const struct route_matcher *matcher, struct route_request *request,
                           struct route_captures *captures)
{
    const struct regex *regex = &matcher->regex;
    if (regex->name_count == 0) return;
    bool is_at_hand = request->scratch->matched == regex; /* the last one tried is the one that won: mostly */
    if (!is_at_hand && !regex_match(regex, request->path, request->scratch, &request->regex_limit_hit)) return;
    const PCRE2_SIZE *offsets = pcre2_get_ovector_pointer(request->scratch->match_data);
    for (uint32_t i = 0, group; i < regex->name_count; i++) {
        struct slice name = regex_name(regex, i, &group);
        PCRE2_SIZE begin = offsets[2 * group], end = offsets[2 * group + 1];
        if (begin == PCRE2_UNSET || end < begin) continue; /* the group took no part */
        add_capture(captures, name, slice_of(request->path.at + begin, end - begin));
    }
}

void matcher_capture(const struct route_matcher *matcher, struct route_request *request,
                     struct route_captures *captures)
{
    if (matcher->has_regex)
        capture_groups(matcher, request, captures);
    else
        capture_pieces(matcher, request->path, captures);
}
