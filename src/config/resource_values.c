/* What single fields of resources mean beyond their type: addresses, host names, patterns, header fields, filters. */
#include "config/private.h"

#include "http/headers.h"

bool keep_node(struct schema_reading *reading, const struct node *node, void *into)
{
    *(const struct node **)into = node;
    return true;
}

/* Every refusal of a text that has the right type. */
static bool refuse_text(struct schema_reading *reading, const struct node *node, const char *hint, const char *what,
                        struct slice text)
{
    problems_add(reading->problems, node, hint, "%s: \"%s\"", what, problems_excerpt(text).text);
    return false;
}

static bool is_digit(char byte) { return byte >= '0' && byte <= '9'; }
static bool is_letter(char byte) { return (byte | 0x20) >= 'a' && (byte | 0x20) <= 'z'; }

static bool has_control_byte(struct slice text)
{
    for (size_t i = 0; i < text.length; i++) {
        if ((unsigned char)text.at[i] < 0x20 || text.at[i] == 0x7F) return true;
    }
    return false;
}

static struct slice lower_case(struct arena *arena, struct slice text)
{
    char *lower = NULL;
    for (size_t i = 0; i < text.length; i++) {
        if (text.at[i] < 'A' || text.at[i] > 'Z') continue;
        if (!lower) lower = (char *)arena_keep(arena, text).at;
        lower[i] = (char)(text.at[i] | 0x20);
    }
    return lower ? slice_of(lower, text.length) : text;
}

/* --- names --- */

static bool check_not_empty(struct schema_reading *reading, const struct node *node, const void *value)
{
    const struct slice *text = value;
    if (text->length) return true;
    problems_add(reading->problems, node, NULL, "\"%.*s\" must not be empty", SLICE_PRINT(node->key));
    return false;
}

#define NAME_BYTES_MAX 200

bool check_name(struct schema_reading *reading, const struct node *node, const void *value)
{
    const struct slice *name = value;
    if (!check_not_empty(reading, node, value)) return false;
    bool odd = has_control_byte(*name) || slice_find_byte(*name, '/') != SLICE_NOT_FOUND ||
               slice_trim(*name).length != name->length;
    /* A name is a segment of the admin API's paths, and these two are normalised away there. */
    odd |= slice_equal(*name, SLICE(".")) || slice_equal(*name, SLICE(".."));
    if (!odd && name->length <= NAME_BYTES_MAX) return true;
    return refuse_text(reading, node, "at most 200 bytes, no \"/\", no control characters, no spaces at its ends",
                       "not fit for a name", *name);
}

bool check_id(struct schema_reading *reading, const struct node *node, const void *value)
{
    const struct slice *id = value;
    bool ok = id->length == 36;
    for (size_t i = 0; ok && i < id->length; i++) {
        bool is_dash = i == 8 || i == 13 || i == 18 || i == 23;
        ok = is_dash ? id->at[i] == '-' : is_digit(id->at[i]) || (id->at[i] >= 'a' && id->at[i] <= 'f');
    }
    return ok || refuse_text(reading, node, "like 0b9f6a3e-1c2d-4e5f-8a9b-0c1d2e3f4a5b, in lower case; or leave it out",
                             "not a UUID", *id);
}

#define TAG_BYTES_MAX 100

bool check_tag(struct schema_reading *reading, const struct node *node, const void *value)
{
    const struct slice *tag = value;
    bool ok = tag->length > 0 && tag->length <= TAG_BYTES_MAX && !has_control_byte(*tag) &&
              slice_trim(*tag).length == tag->length;
    return ok || refuse_text(reading, node, "1 to 100 bytes, no control characters, no spaces at its ends",
                             "not fit for a tag", *tag);
}

struct node *write_text(struct arena *arena, const void *from)
{
    const struct slice *text = from;
    return slice_is_absent(*text) ? NULL : node_make_text(arena, *text);
}

bool check_user(struct schema_reading *reading, const struct node *node, const void *value)
{
    const struct slice *user = value;
    bool odd = has_control_byte(*user) || slice_find_byte(*user, ':') != SLICE_NOT_FOUND;
    if (odd) return refuse_text(reading, node, NULL, "not a user's name", *user);
    return check_not_empty(reading, node, value);
}

/* --- addresses --- */

static const char *address_hint(struct slice text)
{
    size_t colon = slice_find_byte(text, ':');
    if (colon == SLICE_NOT_FOUND) return "an IP and a port, like 127.0.0.1:8080";
    bool is_v6 = slice_find_byte(slice_after(text, colon + 1), ':') != SLICE_NOT_FOUND;
    if (is_v6 && text.at[0] != '[') return "an IPv6 address stands in brackets: [::1]:8080";
    if (colon == 0 || text.at[0] == '*') return "0.0.0.0:PORT for all IPv4 addresses, [::]:PORT for all IPv6 ones";
    if (is_letter(text.at[0])) return "an IP, not a name: 127.0.0.1:8080";
    uint64_t port;
    if (!is_v6 && !(slice_parse_uint64(slice_after(text, colon + 1), &port) && port <= 65535))
        return "a port from 1 to 65535: 127.0.0.1:8080";
    return "an IP and a port: 127.0.0.1:8080, [::1]:8080";
}

bool read_bind_address(struct schema_reading *reading, const char *name, const struct node *node, struct slice *text,
                       struct address *address)
{
    if (!schema_read_text(reading, name, node, text)) return false;
    if (!address_parse(*text, address))
        return refuse_text(reading, node, address_hint(*text), "not an address to listen on", *text);
    if (address_port(address) == 0)
        return refuse_text(reading, node, "from 1 to 65535", "the port to listen on is missing", *text);
    return true;
}

bool read_listener(struct schema_reading *reading, const struct node *node, void *into)
{
    struct listener_config *listener = into;
    return read_bind_address(reading, "address", node, &listener->address_text, &listener->address);
}

bool check_trusted_proxy(struct schema_reading *reading, const struct node *node, const void *value)
{
    const struct slice *text = value;
    struct address_range range;
    return address_range_parse(*text, &range) ||
           refuse_text(reading, node, "like 10.0.0.0/8 or ::1, with no bits set behind the prefix",
                       "not an address or range", *text);
}

/* An IP without a port is asked on port 53. */
static bool read_resolver_server(struct schema_reading *reading, const struct node *node, struct slice *server)
{
    struct slice text;
    struct address address;
    if (!schema_read_text(reading, "servers", node, &text)) return false;
    if (!address_parse(text, &address) && !address_parse_ip(text, 53, &address))
        return refuse_text(reading, node, "an IP, or with a port 127.0.0.1:5353", "not the address of a DNS server",
                           text);
    if (address_port(&address) == 0)
        return refuse_text(reading, node, "from 1 to 65535", "the server's port is missing", text);
    char written[ADDRESS_TEXT_BYTES];
    size_t length = address_write(&address, written);
    *server = arena_keep(reading->arena, slice_of(written, length));
    return true;
}

bool read_resolver_servers(struct schema_reading *reading, const struct node *node, void *into)
{
    struct slice_list *list = into;
    const struct node *first = node->kind == NODE_LIST ? node->first : node;
    size_t count = node->kind == NODE_LIST ? node->count : 1;
    if (count == 0) return true;
    list->items = config_allocate(reading->arena, count * sizeof *list->items);
    bool ok = true;
    for (const struct node *item = first; list->count < count; item = item->next)
        ok &= read_resolver_server(reading, item, &list->items[list->count++]);
    return ok;
}

bool check_resolver(struct schema_reading *reading, const struct node *node, const void *value)
{
    const struct resolver_config *resolver = value;
    if (resolver->ttl_minimum_ms <= resolver->ttl_maximum_ms) return true;
    problems_add(reading->problems, node, NULL, "\"ttlMinimum\" must not be greater than \"ttlMaximum\"");
    return false;
}

/* --- instances --- */

bool is_host_name(struct slice name)
{
    if (slice_ends_with(name, SLICE("."))) name.length--;
    if (name.length == 0 || name.length > 253) return false;
    struct slice label;
    while (slice_next(&name, '.', &label)) {
        if (label.length == 0 || label.length > 63 || label.at[0] == '-' || label.at[label.length - 1] == '-')
            return false;
        for (size_t i = 0; i < label.length; i++) {
            if (!is_letter(label.at[i]) && !is_digit(label.at[i]) && label.at[i] != '-' && label.at[i] != '_')
                return false;
        }
    }
    return true;
}

static bool is_ip(struct slice text)
{
    struct address address;
    return address_parse_ip(text, 1, &address);
}

/* "1.2.3" and "256.1.1.1" are no names: resolvers read them as addresses of their own kind. */
static bool looks_like_ip(struct slice text)
{
    for (size_t i = 0; i < text.length; i++) {
        if (!is_digit(text.at[i]) && text.at[i] != '.') return false;
    }
    return true;
}

static bool take_host(struct schema_reading *reading, const struct node *node, struct slice host, struct slice whole,
                      struct slice *into)
{
    if (slice_starts_with(host, SLICE("[")) && slice_ends_with(host, SLICE("]"))) {
        host = slice_of(host.at + 1, host.length - 2);
        if (slice_find_byte(host, ':') == SLICE_NOT_FOUND) host.length = 0;
    }
    struct address address;
    if (slice_find_byte(host, ':') != SLICE_NOT_FOUND && address_parse_ip(host, 0, &address)) {
        char written[ADDRESS_TEXT_BYTES]; /* one spelling, so that equal addresses are equal texts */
        size_t length = address_write_ip(&address, written);
        *into = arena_keep(reading->arena, slice_of(written, length));
        return true;
    }
    if (is_ip(host) || (is_host_name(host) && !looks_like_ip(host))) {
        bool ends_its_text = host.at + host.length == whole.at + whole.length;
        *into = lower_case(reading->arena, ends_its_text ? host : arena_keep(reading->arena, host));
        return true;
    }
    const char *hint = "127.0.0.1:9001, [::1]:9001 or users.internal:80";
    if (slice_find(whole, SLICE("://")) != SLICE_NOT_FOUND) hint = "without a scheme: 127.0.0.1:9001";
    if (slice_starts_with(whole, SLICE("https://")))
        hint = "without a scheme: 127.0.0.1:9001, and protocol: https in the service";
    return refuse_text(reading, node, hint, "not an IP or a host name", whole);
}

bool read_instance_host(struct schema_reading *reading, const struct node *node, void *into)
{
    struct instance_config *instance = into;
    struct slice text;
    return schema_read_text(reading, "host", node, &text) && take_host(reading, node, text, text, &instance->host);
}

bool read_instance_port(struct schema_reading *reading, const struct node *node, void *into)
{
    int64_t port;
    if (!schema_read_integer(reading, "port", 1, 65535, node, &port)) return false;
    ((struct instance_config *)into)->port = (uint16_t)port;
    return true;
}

bool read_instance_weight(struct schema_reading *reading, const struct node *node, void *into)
{
    int64_t weight;
    if (!schema_read_integer(reading, "weight", 0, 65535, node, &weight)) return false;
    ((struct instance_config *)into)->weight = (uint16_t)weight;
    return true;
}

bool read_instance_text(struct schema_reading *reading, const struct node *node, void *into)
{
    struct instance_config *instance = into;
    struct slice text = node->text;
    const char *colon = text.length ? memrchr(text.at, ':', text.length) : NULL;
    struct slice host = slice_before(text, colon ? (size_t)(colon - text.at) : text.length);
    uint64_t port;
    bool bare_v6 = slice_find_byte(host, ':') != SLICE_NOT_FOUND && text.at[0] != '[' && is_ip(text);
    if (bare_v6)
        return refuse_text(reading, node, "an IPv6 address stands in brackets: [::1]:9001", "the port is missing",
                           text);
    if (!colon || (text.at[0] == '[' && text.at[text.length - 1] == ']'))
        return refuse_text(reading, node, "written as host:port", "the port is missing", text);
    if (!take_host(reading, node, host, text, &instance->host)) return false;
    if (!slice_parse_uint64(slice_after(text, host.length + 1), &port) || port < 1 || port > 65535)
        return refuse_text(reading, node, "from 1 to 65535", "not a port", text);
    instance->port = (uint16_t)port;
    return true;
}

struct node *write_instance_host(struct arena *arena, const void *from)
{
    return node_make_text(arena, ((const struct instance_config *)from)->host);
}

struct node *write_instance_port(struct arena *arena, const void *from)
{
    return node_make_integer(arena, ((const struct instance_config *)from)->port);
}

struct node *write_instance_weight(struct arena *arena, const void *from)
{
    return node_make_integer(arena, ((const struct instance_config *)from)->weight);
}

void instance_find_address(struct instance_config *instance)
{
    if (!address_parse_ip(instance->host, instance->port, &instance->address))
        instance->address = (struct address){ .any.sa_family = AF_UNSPEC };
}

/* --- log --- */

bool read_access_log_path(struct schema_reading *reading, const struct node *node, void *into)
{
    struct access_log_config *log = into;
    struct slice text;
    if (!schema_read_text(reading, "path", node, &text) || !check_not_empty(reading, node, &text)) return false;
    log->target = slice_equal(text, SLICE("stdout")) ? ACCESS_LOG_STDOUT
                  : slice_equal(text, SLICE("off"))  ? ACCESS_LOG_OFF
                                                     : ACCESS_LOG_FILE;
    if (log->target == ACCESS_LOG_FILE) log->path = schema_path(reading, text);
    return true;
}

bool read_access_log_word(struct schema_reading *reading, const struct node *node, void *into)
{
    bool known = slice_equal(node->text, SLICE("stdout")) || slice_equal(node->text, SLICE("off"));
    if (!known)
        return refuse_text(reading, node, "a file is written as { path: access.log }",
                           "\"accessLog\" must be stdout, off or a map", node->text);
    return read_access_log_path(reading, node, into);
}

/* --- what a route matches --- */

bool check_path_pattern(struct schema_reading *reading, const struct node *node, const void *value)
{
    const struct slice *path = value;
    if (!check_not_empty(reading, node, value)) return false;
    if (has_control_byte(*path)) return refuse_text(reading, node, NULL, "a path holds no control characters", *path);
    if (path->at[0] == '~' && path->length == 1)
        return refuse_text(reading, node, "~ and a regular expression", "the regex is missing", *path);
    if (path->at[0] == '/' || path->at[0] == '*' || path->at[0] == '~') return true;
    return refuse_text(reading, node, "/users/{id}, /files/* or ~/v[0-9]+/.*", "a path begins with \"/\"", *path);
}

/* A bracketed IPv6, an IPv4 or a name, with "*." before it or not. Lower-case. */
static bool take_match_host(struct schema_reading *reading, const struct node *node, struct slice *host)
{
    struct slice text;
    if (!schema_read_text(reading, "host", node, &text)) return false;
    struct slice name = slice_starts_with(text, SLICE("*.")) ? slice_after(text, 2) : text;
    bool bracketed = text.length > 2 && text.at[0] == '[' && text.at[text.length - 1] == ']' &&
                     is_ip(slice_of(text.at + 1, text.length - 2));
    if (!bracketed && !is_host_name(name)) {
        const char *hint = slice_find_byte(text, '*') != SLICE_NOT_FOUND
                               ? "a * stands at the front only: \"*.example.com\""
                           : slice_find_byte(text, ':') != SLICE_NOT_FOUND
                               ? "a host without scheme and port: api.example.com"
                               : "api.example.com or \"*.example.com\"";
        return refuse_text(reading, node, hint, "not a host name", text);
    }
    *host = lower_case(reading->arena, text);
    if (slice_ends_with(*host, SLICE("."))) *host = arena_keep(reading->arena, slice_before(*host, host->length - 1));
    return true;
}

static bool is_listed(const struct slice_list *list, struct slice text)
{
    for (size_t i = 0; i < list->count; i++) {
        if (slice_equal(list->items[i], text)) return true;
    }
    return false;
}

#define HOSTS_MAX 1000

bool read_hosts(struct schema_reading *reading, const struct node *node, void *into)
{
    struct slice_list *hosts = into;
    const struct node *first = node->kind == NODE_LIST ? node->first : node;
    size_t count = node->kind == NODE_LIST ? node->count : 1;
    if (count == 0 || count > HOSTS_MAX) {
        problems_add(reading->problems, node, count ? NULL : "left out, a route takes every host",
                     "\"host\" must name 1 to 1000 hosts");
        return false;
    }
    hosts->items = config_allocate(reading->arena, count * sizeof *hosts->items);
    bool ok = true;
    for (const struct node *item = first; count > 0; count--, item = item->next) {
        struct slice host;
        if (!take_match_host(reading, item, &host))
            ok = false;
        else if (is_listed(hosts, host))
            ok = refuse_text(reading, item, NULL, "a host is listed twice", host);
        else
            hosts->items[hosts->count++] = host;
    }
    return ok;
}

/* One host stands without a list. */
struct node *write_hosts(struct arena *arena, const void *from)
{
    const struct slice_list *hosts = from;
    if (hosts->count == 0) return NULL;
    if (hosts->count == 1) return node_make_text(arena, hosts->items[0]);
    struct node *list = node_make(arena, NODE_LIST), *last = NULL;
    for (size_t i = 0; i < hosts->count; i++)
        node_append(list, &last, SLICE_ABSENT, node_make_text(arena, hosts->items[i]));
    return list;
}

bool check_method(struct schema_reading *reading, const struct node *node, const void *value)
{
    const struct slice *method = value;
    if (!header_name_is_valid(*method))
        return refuse_text(reading, node, "like GET", "not a method", *method); /* both are tokens */
    for (size_t i = 0; i < method->length; i++) {
        if (method->at[i] >= 'a' && method->at[i] <= 'z')
            return refuse_text(reading, node, "methods are written in capitals: case counts", "not a method", *method);
    }
    if (slice_equal(*method, SLICE("CONNECT")))
        return refuse_text(reading, node, "CONNECT is always answered with 501", "a route can't take the method",
                           *method);
    for (const struct node *sibling = node->parent && node->parent->kind == NODE_LIST ? node->parent->first : node;
         sibling != node; sibling = sibling->next) {
        if (sibling->kind == NODE_SCALAR && slice_equal(sibling->text, *method))
            return refuse_text(reading, node, NULL, "a method is listed twice", *method);
    }
    return true;
}

static bool refuse_name_twice(struct schema_reading *reading, const struct node *node)
{
    for (const struct node *sibling = node->parent->first; sibling != node; sibling = sibling->next) {
        if (!slice_equal_ignore_case(sibling->key, node->key)) continue;
        problems_add_at_key(reading->problems, node, "case doesn't count in header names",
                            "header \"%s\" is given twice", problems_excerpt(node->key).text);
        return false;
    }
    return true;
}

static bool check_header(struct schema_reading *reading, const struct node *node, const struct pair *header)
{
    if (!header_name_is_valid(header->name)) {
        problems_add_at_key(reading->problems, node, NULL, "not a header name: \"%s\"",
                            problems_excerpt(header->name).text);
        return false;
    }
    if (!header_value_is_valid(header->value))
        return refuse_text(reading, node, NULL, "a header's value holds no line breaks or other control characters",
                           header->value);
    return refuse_name_twice(reading, node);
}

bool check_match_header(struct schema_reading *reading, const struct node *node, const void *value)
{
    const struct pair *header = value;
    if (!check_header(reading, node, header)) return false;
    return !slice_equal(header->value, SLICE("~")) ||
           refuse_text(reading, node, "~ and a regular expression", "the regex is missing", header->value);
}

bool check_match_query(struct schema_reading *reading, const struct node *node, const void *value)
{
    const struct pair *parameter = value;
    if (parameter->name.length == 0) {
        problems_add_at_key(reading->problems, node, NULL, "a query parameter needs a name");
        return false;
    }
    return !slice_equal(parameter->value, SLICE("~")) ||
           refuse_text(reading, node, "~ and a regular expression", "the regex is missing", parameter->value);
}

/* --- how a route ends --- */

/* What frames a message is Sluice's own to write. */
bool check_answer_header(struct schema_reading *reading, const struct node *node, const void *value)
{
    const struct pair *header = value;
    if (!check_header(reading, node, header)) return false;
    static const char *const own[] = { "Content-Length", "Transfer-Encoding", "Connection", "Keep-Alive",
                                       "Upgrade",        "Trailer",           "TE" };
    for (size_t i = 0; i < COUNT_OF(own); i++) {
        if (!slice_equal_ignore_case(header->name, slice_from_cstring(own[i]))) continue;
        problems_add_at_key(reading->problems, node, NULL, "header \"%s\" is written by Sluice itself", own[i]);
        return false;
    }
    return true;
}

bool check_respond(struct schema_reading *reading, const struct node *node, const void *value)
{
    const struct respond_config *respond = value;
    bool bodiless = respond->status == 204 || respond->status == 205 || respond->status == 304;
    if (!bodiless || respond->body.length == 0) return true;
    const struct node *body = node_find(node, "body");
    problems_add(reading->problems, body ? body : node, NULL, "an answer with status %d has no body",
                 (int)respond->status);
    return false;
}

bool check_redirect_to(struct schema_reading *reading, const struct node *node, const void *value)
{
    const struct slice *to = value;
    if (!check_not_empty(reading, node, value)) return false;
    bool odd = has_control_byte(*to) || slice_find_byte(*to, ' ') != SLICE_NOT_FOUND;
    return !odd || refuse_text(reading, node, "a space is written %20", "not a path or URL", *to);
}

bool check_redirect_status(struct schema_reading *reading, const struct node *node, const void *value)
{
    int64_t status = *(const int64_t *)value;
    if (status <= 303 || status >= 307) return true;
    problems_add(reading->problems, node, NULL, "\"status\" of a redirect must be 301, 302, 303, 307 or 308, not %d",
                 (int)status);
    return false;
}

bool check_internal_header(struct schema_reading *reading, const struct node *node, const void *value)
{
    const struct slice *name = value;
    struct slice stem = slice_ends_with(*name, SLICE("*")) ? slice_before(*name, name->length - 1) : *name;
    bool ok = header_name_is_valid(stem) && slice_find_byte(stem, '*') == SLICE_NOT_FOUND;
    return ok ||
           refuse_text(reading, node, "a name, or its beginning and a *: X-Internal-*", "not a header name", *name);
}
