/* admin/settings.c: what guards the API, out of the configuration. */
#include "admin/private.h"

static void copy_token(const struct admin_token_config *config, struct admin_token *token)
{
    token->name = memory_copy_slice(config->name);
    memcpy(token->hash, config->hash, sizeof token->hash);
    token->role = config->role == ADMIN_TOKEN_ADMIN ? ADMIN_ADMIN : ADMIN_READ_ONLY;
}

/* As request heads are compared: in lower case. */
static char *copy_host(struct slice host)
{
    char *copy = memory_copy_slice(host);
    for (char *at = copy; *at; at++) {
        if (*at >= 'A' && *at <= 'Z') *at += 'a' - 'A';
    }
    return copy;
}

struct admin_settings *admin_settings_create(const struct configuration *configuration)
{
    const struct admin_config *config = &configuration->admin;
    struct admin_settings *settings = memory_allocate(sizeof *settings);
    const struct admin_token_config *tokens = config->tokens.items;
    atomic_init(&settings->references, 1);
    settings->tokens = memory_allocate_array(config->tokens.count + 1, sizeof *settings->tokens);
    settings->token_count = config->tokens.count;
    for (size_t i = 0; i < config->tokens.count; i++) copy_token(&tokens[i], &settings->tokens[i]);
    settings->hosts = memory_allocate_array(config->hosts.count + 1, sizeof *settings->hosts);
    settings->host_count = config->hosts.count;
    for (size_t i = 0; i < config->hosts.count; i++) settings->hosts[i] = copy_host(config->hosts.items[i]);
    settings->client_certificates = config->has_tls && config->tls.client_auth != CLIENT_AUTH_NONE;
    settings->match_required = config->match_required;
    return settings;
}

bool admin_settings_are_open(const struct admin_settings *settings)
{
    return settings->token_count == 0 && !settings->client_certificates;
}

void admin_settings_drop(struct admin_settings *settings)
{
    if (!settings || atomic_fetch_sub(&settings->references, 1) != 1) return;
    for (size_t i = 0; i < settings->token_count; i++) free(settings->tokens[i].name);
    for (size_t i = 0; i < settings->host_count; i++) free(settings->hosts[i]);
    free(settings->tokens);
    free(settings->hosts);
    free(settings);
}
