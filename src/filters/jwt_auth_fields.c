/* filters/jwt_auth_fields.c: jwt-auth's fields, their forms and what is wrong with a single one. */
#include "filters/jwt_auth.h"

#include "config/resource.h"
#include "json/writer.h"

#define ISSUERS_MAX 64
#define LIST_MAX 64

static const char *const deny_or_allow[] = { "deny", "allow", NULL };

static bool read_secret(struct schema_reading *, const struct node *, void *into);
static bool read_url(struct schema_reading *, const struct node *, void *into);
static bool read_path(struct schema_reading *, const struct node *, void *into);
static bool read_jwks(struct schema_reading *, const struct node *, void *into);
static bool read_required(struct schema_reading *, const struct node *, void *into);
static struct node *write_text(struct arena *, const void *from);
static struct node *write_jwks(struct arena *, const void *from);
static struct node *write_required(struct arena *, const void *from);
static bool check_word(struct schema_reading *, const struct node *, const void *text);
static bool check_type(struct schema_reading *, const struct node *, const void *text);
static bool check_source(struct schema_reading *, const struct node *, const void *text);

/* The same for the flat form and for an item of `issuers`. */
#define ISSUER_FIELDS(base)                                                                                            \
    { .name = "issuer",                                                                                                \
      .type = FIELD_STRING,                                                                                            \
      .into = (base) + offsetof(struct jwt_issuer_settings, issuer),                                                   \
      .check = check_word,                                                                                             \
      .summary = "What the claim `iss` must be. Without it tokens of any issuer are taken, if they are signed by "     \
                 "these keys." },                                                                                      \
        { .name = "audience",                                                                                          \
          .type = FIELD_STRING_LIST,                                                                                   \
          .into = (base) + offsetof(struct jwt_issuer_settings, audiences),                                            \
          .maximum = LIST_MAX,                                                                                         \
          .one_or_many = true,                                                                                         \
          .check = check_word,                                                                                         \
          .summary = "The claim `aud` must name one of them. Without it any will do." },                               \
        { .name = "typ",                                                                                               \
          .type = FIELD_STRING_LIST,                                                                                   \
          .into = (base) + offsetof(struct jwt_issuer_settings, types),                                                \
          .maximum = LIST_MAX,                                                                                         \
          .one_or_many = true,                                                                                         \
          .check = check_type,                                                                                         \
          .summary = "The header's `typ` must be one of them, as `at+jwt` for access tokens of RFC 9068. Neither "     \
                     "case nor `application/` before it count. Without it `typ` isn't looked at." },                   \
        { .name = "algorithms",                                                                                        \
          .also = "algorithm",                                                                                         \
          .type = FIELD_ENUM_SET,                                                                                      \
          .into = (base) + offsetof(struct jwt_issuer_settings, algorithms),                                           \
          .names = jwt_algorithm_names,                                                                                \
          .one_or_many = true,                                                                                         \
          .summary = "How its tokens may be signed. Without it: as its public keys allow; with a secret HS256." },     \
        { .name = "secret",                                                                                            \
          .type = FIELD_CUSTOM,                                                                                        \
          .into = (base) + offsetof(struct jwt_issuer_settings, secret),                                               \
          .secret = true,                                                                                              \
          .read = read_secret,                                                                                         \
          .write = write_text,                                                                                         \
          .type_text = "secret text",                                                                                  \
          .summary = "For HS algorithms the secret; else the public key or certificate in PEM, several one behind "    \
                     "the other. Also `${env:NAME}` or `${file:PATH}`." },                                             \
        { .name = "jwks",                                                                                              \
          .type = FIELD_CUSTOM,                                                                                        \
          .into = (base) + offsetof(struct jwt_issuer_settings, jwks),                                                 \
          .read = read_jwks,                                                                                           \
          .write = write_jwks,                                                                                         \
          .type_text = "JWK set",                                                                                      \
          .summary = "Its public keys, written here: a JWK set (RFC 7517) or one JWK." },                              \
        { .name = "jwksFile",                                                                                          \
          .type = FIELD_CUSTOM,                                                                                        \
          .into = (base) + offsetof(struct jwt_issuer_settings, jwks_file),                                            \
          .read = read_path,                                                                                           \
          .write = write_text,                                                                                         \
          .type_text = "path",                                                                                         \
          .summary = "A file with its keys, as a JWK set or in PEM. It is read again when it changes." },              \
        { .name = "jwksUrl",                                                                                           \
          .type = FIELD_CUSTOM,                                                                                        \
          .into = (base) + offsetof(struct jwt_issuer_settings, jwks_url),                                             \
          .secret_when = jwt_auth_url_is_secret,                                                                       \
          .read = read_url,                                                                                            \
          .write = write_text,                                                                                         \
          .type_text = "URL",                                                                                          \
          .summary = "Where it publishes its JWK set. Fetched ahead of its end by Cache-Control or Expires, and "      \
                     "when a token names a key that is not in it; kept while the issuer is away. Also "                \
                     "`${env:NAME}` or `${file:PATH}`." },                                                             \
        { .name = "jwksCa",                                                                                            \
          .type = FIELD_CUSTOM,                                                                                        \
          .into = (base) + offsetof(struct jwt_issuer_settings, jwks_authorities),                                     \
          .read = read_path,                                                                                           \
          .write = write_text,                                                                                         \
          .type_text = "path",                                                                                         \
          .summary = "A file with the authorities that `jwksUrl`'s certificate may come from, in place of the "        \
                     "system's." },                                                                                    \
        { .name = "jwksCooldown",                                                                                      \
          .type = FIELD_SECONDS,                                                                                       \
          .into = (base) + offsetof(struct jwt_issuer_settings, cool_down_ms),                                         \
          .fallback = "30",                                                                                            \
          .minimum = 1000,                                                                                             \
          .maximum = 3600000,                                                                                          \
          .summary = "After a look for a key that was not known, none follows for so long for tokens of this "         \
                     "policy." },                                                                                      \
        { .name = "jwksMaxAge",                                                                                        \
          .type = FIELD_SECONDS,                                                                                       \
          .into = (base) + offsetof(struct jwt_issuer_settings, age_ms_max),                                           \
          .minimum = 5000,                                                                                             \
          .maximum = UINT64_C(30) * 86400000,                                                                          \
          .summary = "For how long fetched keys are good after the issuer last gave or confirmed them: from then on "  \
                     "its tokens are 503, or see `onFailure`. Without it they are kept for as long as it is away." },  \
        { .name = "jwksAllowHttp",                                                                                     \
          .type = FIELD_BOOLEAN,                                                                                       \
          .into = (base) + offsetof(struct jwt_issuer_settings, allows_plain_http),                                    \
          .fallback = "false",                                                                                         \
          .summary = "Whether `jwksUrl` may be http to another machine: whoever stands in between can then put in "    \
                     "keys of their own." },                                                                           \
    {                                                                                                                  \
        .name = "allowShortSecret", .type = FIELD_BOOLEAN,                                                             \
        .into = (base) + offsetof(struct jwt_issuer_settings, allows_short_secret), .fallback = "false",               \
        .summary = "Whether the secret may be shorter than its hash (RFC 7518 3.2): such a one can be guessed from a " \
                   "single token."                                                                                     \
    }

static const struct field issuer_fields[] = {
    ISSUER_FIELDS(0),
    FIELDS_END,
};

const struct field jwt_auth_fields[] = {
    ISSUER_FIELDS(offsetof(struct jwt_auth_settings, flat)),
    { .name = "issuers",
      .type = FIELD_OBJECT_LIST,
      .into = offsetof(struct jwt_auth_settings, issuers),
      .maximum = ISSUERS_MAX,
      .fields = issuer_fields,
      .item_size = sizeof(struct jwt_issuer_settings),
      .check = jwt_auth_check_issuer,
      .own_table = true,
      .summary =
          "Several issuers, each with the fields above; a token's `iss` chooses. Instead of those fields here." },
    { .name = "sources",
      .type = FIELD_STRING_LIST,
      .into = offsetof(struct jwt_auth_settings, sources),
      .fallback = "[bearer]",
      .minimum = 1,
      .maximum = 16,
      .one_or_many = true,
      .check = check_source,
      .summary =
          "Where the token may stand: `bearer` (Authorization), `header:NAME`, `cookie:NAME`, `query:NAME`. The first of "
          "the list that has one decides; from the first query or cookie on they come behind API keys in headers." },
    { .name = "requiredClaims",
      .type = FIELD_CUSTOM,
      .into = offsetof(struct jwt_auth_settings, required),
      .read = read_required,
      .write = write_required,
      .type_text = "list of texts, or map of texts",
      .summary =
          "Claims that must be there, as a list; or with their values, as a map, where `*` takes any. Of a claim that is a "
          "list one item must be it." },
    { .name = "leeway",
      .type = FIELD_SECONDS,
      .into = offsetof(struct jwt_auth_settings, leeway_ms),
      .fallback = "5",
      .maximum = 600000,
      .summary = "By how much the issuer's clock may differ, for `exp`, `nbf` and `iat`." },
    { .name = "anonymous",
      .type = FIELD_ENUM,
      .into = offsetof(struct jwt_auth_settings, anonymous),
      .names = deny_or_allow,
      .fallback = "deny",
      .summary = "Whether requests without any credentials are let through, as nobody's." },
    { .name = "forwardCredentials",
      .type = FIELD_BOOLEAN,
      .into = offsetof(struct jwt_auth_settings, forwards),
      .fallback = "false",
      .summary = "Whether the service gets to see the token." },
    { .name = "onFailure",
      .type = FIELD_ENUM,
      .into = offsetof(struct jwt_auth_settings, on_failure),
      .names = deny_or_allow,
      .fallback = "deny",
      .summary = "What happens to a token while its issuer's keys can't be had: 503, or the request is let through as "
                 "nobody's." },
    { .name = "realm",
      .type = FIELD_STRING,
      .into = offsetof(struct jwt_auth_settings, realm),
      .fallback = "sluice",
      .check = check_realm,
      .summary = "What the challenge of a 401 says is protected." },
    FIELDS_END,
};

/* --- values with forms of their own --- */

static char *allocate(struct arena *arena, size_t size)
{
    char *memory = arena_allocate(arena, size ? size : 1);
    PROMISE(memory != NULL); /* control plane: out of memory */
    return memory;
}

/* As a JSON string, quotes included. */
static struct slice quote(struct arena *arena, struct slice text)
{
    struct slice quoted = json_quote(arena, text);
    PROMISE(!slice_is_absent(quoted)); /* control plane: out of memory */
    return quoted;
}

static struct node *tree_of(struct arena *arena, struct slice json)
{
    struct problems problems;
    problems_init(&problems, NULL);
    struct node *root = node_read_json(arena, json, NULL, &problems);
    problems_release(&problems);
    return root;
}

static struct node *write_text(struct arena *arena, const void *from)
{
    const struct slice *text = from;
    return slice_is_absent(*text) ? NULL : tree_of(arena, quote(arena, *text));
}

#define FILE_REFERENCE SLICE("${file:")

/* A relative path in a reference counts from the file that holds it, and is looked up when that is forgotten. */
static bool read_referable(struct schema_reading *reading, const char *name, const struct node *node,
                           struct slice *text)
{
    if (!schema_read_text(reading, name, node, text)) return false;
    if (text->length == 0) {
        problems_add(reading->problems, node, NULL, "\"%s\" must not be empty", name);
        return false;
    }
    if (!resource_secret_is_reference(*text) || !slice_starts_with(*text, FILE_REFERENCE)) return true;
    struct slice inside = slice_after(*text, FILE_REFERENCE.length);
    struct slice path = schema_path(reading, slice_before(inside, inside.length - 1));
    *text = arena_join(reading->arena, (struct slice[]){ FILE_REFERENCE, path, SLICE("}") }, 3);
    PROMISE(!slice_is_absent(*text));
    return true;
}

static bool read_secret(struct schema_reading *reading, const struct node *node, void *into)
{
    return read_referable(reading, "secret", node, into);
}

static bool read_url(struct schema_reading *reading, const struct node *node, void *into)
{
    return read_referable(reading, "jwksUrl", node, into);
}

/* What issuers want beside a path (a key, an account) stands in the query. A user before the host is refused (jwt_auth_config.c); where one was
 * stored all the same, it is no less secret. */
bool jwt_auth_url_is_secret(struct slice url)
{
    return slice_find_byte(url, '?') != SLICE_NOT_FOUND || slice_find_byte(url, '@') != SLICE_NOT_FOUND;
}

static bool read_path(struct schema_reading *reading, const struct node *node, void *into)
{
    struct slice *path = into;
    if (!schema_read_text(reading, node->key.at ? node->key.at : "jwksFile", node, path)) return false;
    if (path->length > 0) {
        *path = schema_path(reading, *path);
        return true;
    }
    problems_add(reading->problems, node, NULL, "a path must not be empty");
    return false;
}

/* As a map, or as the text of one. */
static bool read_jwks(struct schema_reading *reading, const struct node *node, void *into)
{
    struct slice *text = into;
    if (node->kind == NODE_MAP)
        *text = node_write_json(reading->arena, node);
    else if (!schema_read_text(reading, "jwks", node, text))
        return false;
    struct error error;
    const struct key_set_reading strict = { .is_strict = true };
    struct key_set *set = key_set_read_jwks(*text, &strict, &error);
    if (!set) problems_add(reading->problems, node, NULL, "\"jwks\" can't be used: %s", error.text);
    key_set_drop(set);
    return set != NULL;
}

static struct node *write_jwks(struct arena *arena, const void *from)
{
    const struct slice *text = from;
    return slice_is_absent(*text) ? NULL : tree_of(arena, *text);
}

static bool read_required_item(struct schema_reading *reading, const struct node *item, bool has_value,
                               struct pair *pair)
{
    struct slice text;
    if (!schema_read_text(reading, "requiredClaims", item, &text)) return false;
    *pair = has_value ? (struct pair){ item->key, text } : (struct pair){ text, SLICE("*") };
    if (pair->name.length > 0) return true;
    problems_add(reading->problems, item, NULL, "a claim has a name");
    return false;
}

static bool read_required(struct schema_reading *reading, const struct node *node, void *into)
{
    struct pair_list *list = into;
    if ((node->kind != NODE_MAP && node->kind != NODE_LIST) || node->count > LIST_MAX) {
        problems_add(reading->problems, node, "[sub, email], or { tenant: acme, email: \"*\" }",
                     "\"requiredClaims\" must be a list of names or a map of values, of at most %d", LIST_MAX);
        return false;
    }
    list->items = (void *)allocate(reading->arena, (node->count + 1) * sizeof *list->items);
    for (const struct node *item = node->first; item; item = item->next) {
        if (!read_required_item(reading, item, node->kind == NODE_MAP, &list->items[list->count])) return false;
        list->count++;
    }
    return true;
}

static struct node *write_required(struct arena *arena, const void *from)
{
    const struct pair_list *list = from;
    if (list->count == 0) return NULL;
    struct slice *pieces = (void *)allocate(arena, (list->count * 4 + 1) * sizeof *pieces);
    size_t count = 0;
    for (size_t i = 0; i < list->count; i++) {
        pieces[count++] = i ? SLICE(",") : SLICE("{");
        pieces[count++] = quote(arena, list->items[i].name);
        pieces[count++] = SLICE(":");
        pieces[count++] = quote(arena, list->items[i].value);
    }
    pieces[count++] = SLICE("}");
    struct slice json = arena_join(arena, pieces, count);
    PROMISE(!slice_is_absent(json));
    return tree_of(arena, json);
}

/* --- checks of single values --- */

static bool check_word(struct schema_reading *reading, const struct node *node, const void *text)
{
    if (((const struct slice *)text)->length > 0) return true;
    problems_add(reading->problems, node, NULL, "an issuer or audience must not be empty");
    return false;
}

static bool check_type(struct schema_reading *reading, const struct node *node, const void *text)
{
    struct slice name = jwt_type_name(*(const struct slice *)text);
    if (name.length > 0 && slice_find_byte(name, ' ') == SLICE_NOT_FOUND) return true;
    problems_add(reading->problems, node, "at+jwt", "not a token's type: \"%s\"",
                 problems_excerpt(*(const struct slice *)text).text);
    return false;
}

static const struct {
    struct slice prefix;
    enum credential_place place;
} source_kinds[] = {
    { { "header:", 7 }, CREDENTIAL_IN_HEADER },
    { { "query:", 6 }, CREDENTIAL_IN_QUERY },
    { { "cookie:", 7 }, CREDENTIAL_IN_COOKIE },
};

/* False: it is none. */
bool jwt_auth_find_source(struct slice text, enum credential_place *place, struct slice *name)
{
    for (size_t i = 0; i < COUNT_OF(source_kinds); i++) {
        if (!slice_starts_with(text, source_kinds[i].prefix)) continue;
        *place = source_kinds[i].place;
        *name = slice_after(text, source_kinds[i].prefix.length);
        return true;
    }
    return false;
}

static bool check_source(struct schema_reading *reading, const struct node *node, const void *text)
{
    const struct slice *source = text;
    enum credential_place place;
    struct slice name;
    if (slice_equal(*source, SLICE("bearer"))) return true;
    bool is_one = jwt_auth_find_source(*source, &place, &name) && name.length > 0;
    if (is_one && place == CREDENTIAL_IN_HEADER) return check_header_name(reading, node, &name);
    if (is_one && (place == CREDENTIAL_IN_QUERY || header_name_is_valid(name))) return true;
    problems_add(reading->problems, node, "bearer, header:NAME, cookie:NAME, query:NAME",
                 "not a place for a token: \"%s\"", problems_excerpt(*source).text);
    return false;
}

const struct node *jwt_auth_place_of(const struct node *map, const char *field)
{
    const struct node *found = map && map->kind == NODE_MAP ? node_find(map, field) : NULL;
    return found ? found : map;
}
