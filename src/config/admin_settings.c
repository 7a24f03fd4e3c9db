/* The admin listener: where it is, and who may. What it guards is worth more than any route, so beyond loopback it asks who comes. */
#include "config/private.h"

bool read_admin(struct schema_reading *reading, const struct node *node, void *into)
{
    struct admin_config *admin = into;
    return read_bind_address(reading, "address", node, &admin->address_text, &admin->address);
}

static bool read_probes(struct schema_reading *reading, const struct node *node, void *into)
{
    struct admin_config *admin = into;
    admin->has_probes = true;
    return read_bind_address(reading, "probes", node, &admin->probes_text, &admin->probes);
}

static int digit_of(char byte) { return byte <= '9' ? byte - '0' : byte - 'a' + 10; }

static bool check_token(struct schema_reading *reading, const struct node *node, const void *value)
{
    struct admin_token_config *token = (void *)(uintptr_t)value; /* completed here, once its text is known to be good */
    const char *digits = token->hash_text.at + sizeof "sha256:" - 1;
    for (size_t i = 0; i < sizeof token->hash; i++)
        token->hash[i] = (uint8_t)(digit_of(digits[2 * i]) << 4 | digit_of(digits[2 * i + 1]));
    return true;
}

static const char *const role_names[] = { "read-only", "admin", NULL };

static const struct field token_fields[] = {
    { .name = "name",
      .type = FIELD_STRING,
      .into = offsetof(struct admin_token_config, name),
      .check = check_name,
      .required = true,
      .summary = "Whose it is: the author of changes." },
    { .name = "hash",
      .type = FIELD_STRING,
      .into = offsetof(struct admin_token_config, hash_text),
      .check = check_hash,
      .required = true,
      .secret = true,
      .summary = "`sha256:` and the token's SHA-256 in hex; `sluice token` prints both." },
    { .name = "role",
      .type = FIELD_ENUM,
      .into = offsetof(struct admin_token_config, role),
      .names = role_names,
      .required = true,
      .summary = "What it may do: read, or change too." },
    FIELDS_END,
};

static bool check_host(struct schema_reading *reading, const struct node *node, const void *value)
{
    const struct slice *host = value;
    struct address literal;
    if (is_host_name(*host) || address_parse_ip(*host, 0, &literal)) return true;
    problems_add(reading->problems, node, "without scheme and port: gateway.internal", "not a host name: \"%s\"",
                 problems_excerpt(*host).text);
    return false;
}

const struct field admin_fields[] = {
    { .name = "address",
      .type = FIELD_CUSTOM,
      .read = read_admin,
      .required = true,
      .type_text = "IP:port",
      .summary =
          "Where the admin API and the metrics are served: a loopback address, unless there are tokens, or client "
          "certificates are required." },
    { .name = "tokens",
      .type = FIELD_OBJECT_LIST,
      .into = offsetof(struct admin_config, tokens),
      .fields = token_fields,
      .item_size = sizeof(struct admin_token_config),
      .check = check_token,
      .maximum = 1000,
      .summary =
          "Who may come, by `Authorization: Bearer`. Several at once, so that one can be replaced in peace. None: "
          "whoever reaches the address." },
    { .name = "tls",
      .type = FIELD_OBJECT,
      .into = offsetof(struct admin_config, tls),
      .present = offsetof(struct admin_config, has_tls),
      .fields = listener_tls_fields,
      .check = check_listener_tls,
      .own_table = true,
      .summary =
          "HTTPS, with a listener's fields. With `clientAuth: required` a good client certificate may do all that a "
          "token of role admin may." },
    { .name = "hosts",
      .type = FIELD_STRING_LIST,
      .into = offsetof(struct admin_config, hosts),
      .check = check_host,
      .maximum = 100,
      .summary =
          "Names that it is called by beside its address and loopback; a request for another host is refused, for it "
          "may come from somebody's browser (DNS rebinding)." },
    { .name = "requireIfMatch",
      .type = FIELD_BOOLEAN,
      .into = offsetof(struct admin_config, match_required),
      .fallback = "false",
      .summary = "Changes must say by If-Match what they change; without it they are answered with 428." },
    { .name = "probes",
      .type = FIELD_CUSTOM,
      .read = read_probes,
      .type_text = "IP:port",
      .summary = "An address that answers `/live` and `/ready` for load balancers, and nothing else; any address." },
    FIELDS_END,
};

static bool check_tokens_differ(struct schema_reading *reading, const struct node *node,
                                const struct admin_config *admin)
{
    const struct node *list = node_find(node, "tokens");
    const struct admin_token_config *tokens = admin->tokens.items;
    const struct node *item = list && list->kind == NODE_LIST ? list->first : NULL;
    bool ok = true;
    for (size_t i = 0; item && i < admin->tokens.count; i++, item = item->next) {
        const struct node *first = list->first;
        for (size_t j = 0; j < i; j++, first = first->next) {
            bool is_same = memcmp(tokens[i].hash, tokens[j].hash, sizeof tokens[i].hash) == 0;
            if (!is_same && !slice_equal(tokens[i].name, tokens[j].name)) continue;
            if (is_same)
                refuse_twice(reading, item, "the token", tokens[i].name, first);
            else
                refuse_twice(reading, item, "token name", tokens[i].name, first);
            ok = false;
            break;
        }
    }
    return ok;
}

bool check_admin_guard(struct schema_reading *reading, const struct node *node, const void *value)
{
    const struct admin_config *admin = value;
    bool asks = admin->tokens.count > 0 || (admin->has_tls && admin->tls.client_auth == CLIENT_AUTH_REQUIRED);
    if (!check_tokens_differ(reading, node, admin)) return false;
    if (asks || address_is_loopback(&admin->address)) return true;
    const struct node *address = node_find(node, "address");
    problems_add(reading->problems, address ? address : node,
                 "127.0.0.1:9080, or add tokens (sluice token makes one), or tls with clientAuth: required",
                 "the admin listener must stay on loopback as long as it lets everybody in: \"%s\"",
                 problems_excerpt(admin->address_text).text);
    return false;
}
