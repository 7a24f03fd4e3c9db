/* Roles: who has one, and which requests it allows. */
#include "config/private.h"

/* RFC 6749 section 3.3: visible characters but '"' and '\'. */
bool check_scope(struct schema_reading *reading, const struct node *node, const void *value)
{
    const struct slice *scope = value;
    bool ok = scope->length > 0 && scope->length <= 200;
    for (size_t i = 0; ok && i < scope->length; i++)
        ok = scope->at[i] > 0x20 && scope->at[i] < 0x7F && scope->at[i] != '"' && scope->at[i] != '\\';
    if (!ok)
        problems_add(reading->problems, node, "one word, like users:read", "not a scope: \"%s\"",
                     problems_excerpt(*scope).text);
    return ok;
}

static bool check_issuer(struct schema_reading *reading, const struct node *node, const void *value)
{
    if (((const struct slice *)value)->length > 0) return true;
    problems_add(reading->problems, node, NULL, "an issuer must not be empty");
    return false;
}

static const struct field token_clients_fields[] = {
    { .name = "issuer",
      .type = FIELD_STRING,
      .into = offsetof(struct token_clients_config, issuer),
      .required = true,
      .check = check_issuer,
      .summary = "The `issuer` that a `jwt-auth` policy names and whose keys have signed the token." },
    { .name = "clients",
      .type = FIELD_STRING_LIST,
      .into = offsetof(struct token_clients_config, clients),
      .required = true,
      .one_or_many = true,
      .minimum = 1,
      .maximum = 100000,
      .check = check_name,
      .summary = "Ids of its clients that have the role." },
    FIELDS_END,
};

static const struct field permission_fields[] = {
    { .name = "methods",
      .type = FIELD_STRING_LIST,
      .into = offsetof(struct permission_config, methods),
      .one_or_many = true,
      .minimum = 1,
      .maximum = 64,
      .check = check_method,
      .summary = "Request methods. Absent: all." },
    { .name = "routes",
      .type = FIELD_STRING_LIST,
      .reference = FIELD_REFERENCE_ROUTE,
      .into = offsetof(struct permission_config, routes),
      .one_or_many = true,
      .minimum = 1,
      .maximum = 10000,
      .summary = "Names or ids of routes. Absent: all." },
    { .name = "paths",
      .type = FIELD_STRING_LIST,
      .into = offsetof(struct permission_config, paths),
      .one_or_many = true,
      .minimum = 1,
      .maximum = 1000,
      .check = check_path_pattern,
      .summary = "Paths, written as a route's. Absent: all." },
    FIELDS_END,
};

const struct field role_fields[] = {
    { .name = "name",
      .type = FIELD_STRING,
      .into = offsetof(struct role_config, name),
      .check = check_name,
      .summary = "What claims and policies call it; unique. Absent: its id." },
    { .name = "id",
      .type = FIELD_STRING,
      .into = offsetof(struct role_config, id),
      .check = check_id,
      .summary = "A UUID. Absent: one made from the name, else from the content." },
    { .name = "scopes",
      .type = FIELD_STRING_LIST,
      .into = offsetof(struct role_config, scopes),
      .one_or_many = true,
      .maximum = 1000,
      .check = check_scope,
      .summary = "Whoever has one of these scopes has the role." },
    { .name = "clients",
      .type = FIELD_STRING_LIST,
      .into = offsetof(struct role_config, clients),
      .one_or_many = true,
      .maximum = 100000,
      .check = check_name,
      .summary =
          "Ids of clients that have it: those of API keys, and of whoever else is known without a token of a named issuer." },
    { .name = "tokenClients",
      .type = FIELD_OBJECT_LIST,
      .into = offsetof(struct role_config, token_clients),
      .fields = token_clients_fields,
      .item_size = sizeof(struct token_clients_config),
      .one_or_many = true,
      .maximum = 1000,
      .summary = "Clients that have it by their tokens, issuer by issuer." },
    { .name = "permissions",
      .type = FIELD_OBJECT_LIST,
      .into = offsetof(struct role_config, permissions),
      .fields = permission_fields,
      .item_size = sizeof(struct permission_config),
      .maximum = 1000,
      .required = true,
      .summary = "What it allows: requests that fit everything that one of these says. With none it allows nothing." },
    TAGS(struct role_config),
    CREATED_AT,
    UPDATED_AT,
    FIELDS_END,
};
