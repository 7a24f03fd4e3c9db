/* gateway/facts.c: see facts.h. */
#include "gateway/facts.h"

#include "base/memory.h"
#include "observe/access_log.h"

#include <pwd.h>
#include <unistd.h>

#define SPLICE_BYTES_MIN (256 * 1024u) /* below, copying is cheaper than two system calls more; see ARCHITECTURE.md */

static unsigned worker_count(const struct configuration *configuration)
{
    if (configuration->workers > 0) return (unsigned)configuration->workers;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    return cores > 0 ? (unsigned)cores : 1;
}

static char *access_log_path(const struct access_log_config *config)
{
    if (config->target == ACCESS_LOG_OFF) return NULL;
    return memory_copy_slice(config->target == ACCESS_LOG_STDOUT ? SLICE("-") : config->path);
}

static const struct node *find_setting(const struct configuration *configuration, const char *name)
{
    return configuration->node ? node_find(configuration->node, name) : NULL;
}

/* An address stands alone or in a map. */
static struct place_in_file place_of_address(const struct node *node)
{
    const struct node *address = node && node->kind == NODE_MAP ? node_find(node, "address") : node;
    return address ? (struct place_in_file){ address->line, address->column } : (struct place_in_file){ 0 };
}

struct facts *facts_create(const struct configuration *configuration)
{
    struct facts *facts = memory_allocate(sizeof *facts);
    const struct listener_config *listeners = configuration->listeners.items;
    facts->workers = worker_count(configuration);
    facts->listener_count = configuration->listeners.count;
    facts->listeners = memory_allocate_array(facts->listener_count + 1, sizeof *facts->listeners);
    facts->listener_places = memory_allocate_array(facts->listener_count + 1, sizeof *facts->listener_places);
    const struct node *written = find_setting(configuration, "listeners");
    const struct node *item = written && written->kind == NODE_LIST ? written->first : NULL;
    for (size_t i = 0; i < facts->listener_count; i++) {
        facts->listeners[i] = listeners[i].address;
        facts->listener_places[i] = place_of_address(item);
        item = item ? item->next : NULL;
    }
    facts->admin_enabled = configuration->admin.enabled;
    facts->admin = configuration->admin.address;
    facts->probes_enabled = configuration->admin.enabled && configuration->admin.has_probes;
    facts->probes = configuration->admin.probes;
    facts->admin_settings = admin_settings_create(configuration);
    facts->admin_place = place_of_address(find_setting(configuration, "admin"));
    facts->access_log = access_log_path(&configuration->access_log);
    facts->access_log_descriptor = -1;
    if (configuration->user.length > 0) facts->user = memory_copy_slice(configuration->user);
    facts->resolver_server_count = configuration->resolver.servers.count;
    facts->resolver_servers = memory_allocate_array(facts->resolver_server_count + 1, sizeof *facts->resolver_servers);
    for (size_t i = 0; i < facts->resolver_server_count; i++) {
        struct slice server = configuration->resolver.servers.items[i];
        facts->resolver_servers[i] = slice_of(memory_copy_slice(server), server.length);
    }
    facts->resolver_ttl_minimum_ms = configuration->resolver.ttl_minimum_ms;
    facts->resolver_ttl_maximum_ms = configuration->resolver.ttl_maximum_ms;
    facts->drain_timeout_ms = configuration->drain_timeout_ms;
    facts->tunnel_drain_timeout_ms = configuration->tunnel_drain_timeout_ms;
    facts->stall_timeout_ms = configuration->stall_timeout_ms;
    vector_init(&facts->certificates, sizeof(struct certificate_fact));
    return facts;
}

static bool open_access_log(struct facts *facts, const struct configuration *configuration, struct problems *problems)
{
    struct error error;
    facts->access_log_descriptor = access_log_open(facts->access_log, &error);
    if (facts->access_log_descriptor >= 0) return true;
    const struct node *setting = find_setting(configuration, "accessLog");
    const struct node *path = setting && setting->kind == NODE_MAP ? node_find(setting, "path") : setting;
    char *hint = memory_format("name a file that user id %u may write, in a folder that exists", (unsigned)geteuid());
    problems_add(problems, path, hint, "access log \"%s\" %s", facts->access_log, error.text);
    free(hint);
    return false;
}

static bool find_user(struct facts *facts, const struct configuration *configuration, struct problems *problems)
{
    const struct passwd *entry = getpwnam(facts->user);
    if (entry) {
        facts->user_known = true;
        facts->user_id = entry->pw_uid;
        facts->group_id = entry->pw_gid;
    } else {
        problems_add(problems, find_setting(configuration, "user"),
                     "add the user, name another one, or leave it out to stay who you are",
                     "user \"%s\" does not exist on this machine", facts->user);
    }
    return facts->user_known;
}

bool facts_prepare(struct facts *facts, const struct configuration *configuration, const char *log_in_force,
                   bool may_change_user, struct problems *problems)
{
    bool same_log = facts->access_log && log_in_force && strcmp(facts->access_log, log_in_force) == 0;
    bool log_good = !facts->access_log || same_log || open_access_log(facts, configuration, problems);
    bool user_good = !facts->user || !may_change_user || find_user(facts, configuration, problems);
    return log_good && user_good;
}

void facts_destroy(struct facts *facts)
{
    if (!facts) return;
    if (facts->access_log_descriptor >= 0) close(facts->access_log_descriptor);
    for (size_t i = 0; i < facts->resolver_server_count; i++) free((void *)(uintptr_t)facts->resolver_servers[i].at);
    free(facts->resolver_servers);
    certificate_facts_release(&facts->certificates);
    entrances_drop(facts->admin_entrances);
    if (facts->admin_settings) admin_settings_drop(facts->admin_settings);
    free(facts->listeners);
    free(facts->listener_places);
    free(facts->access_log);
    free(facts->user);
    free(facts);
}

struct place_in_file facts_find_address(const struct facts *facts, const struct address *address)
{
    for (size_t i = 0; i < facts->listener_count; i++) {
        if (address_equal(&facts->listeners[i], address)) return facts->listener_places[i];
    }
    bool is_admin = (facts->admin_enabled && address_equal(&facts->admin, address)) ||
                    (facts->probes_enabled && address_equal(&facts->probes, address));
    return is_admin ? facts->admin_place : (struct place_in_file){ 0 };
}

int facts_take_log(struct facts *facts)
{
    int descriptor = facts->access_log_descriptor;
    facts->access_log_descriptor = -1;
    return descriptor;
}

struct worker_settings facts_worker_settings(const struct configuration *configuration)
{
    const struct limits_config *limits = &configuration->limits;
    struct h1_limits h1_limits = {
        .request_line_bytes = (uint32_t)limits->request_line_bytes,
        .header_bytes = (uint32_t)limits->header_bytes,
        .header_count = (uint16_t)limits->header_count,
        .merge_slashes = configuration->merge_slashes,
    };
    return (struct worker_settings){
        .server = {
            .limits = h1_limits,
            .body_bytes_max = limits->body_bytes,
            .head_timeout_ms = (uint32_t)limits->head_timeout_ms,
            .body_timeout_ms = (uint32_t)limits->body_timeout_ms,
            .idle_timeout_ms = (uint32_t)limits->idle_timeout_ms,
            .splice_bytes_min = SPLICE_BYTES_MIN,
            .streams_max = (uint32_t)limits->streams_per_connection,
            .half_close_timeout_ms = (uint32_t)limits->half_close_timeout_ms,
        },
        .client = { .limits = h1_limits, .splice_bytes_min = SPLICE_BYTES_MIN },
        .connections = {
            .connections_max = (uint32_t)limits->connections_per_worker,
            .connections_per_address_max = (uint32_t)limits->connections_per_address,
            .new_connections_per_address_per_second = (uint32_t)limits->new_connections_per_address_per_second,
            .handshakes_per_address_per_second = (uint32_t)limits->handshakes_per_address_per_second,
        },
        .handshake_timeout_ms = (uint32_t)limits->handshake_timeout_ms,
        .buffer_bytes_max = limits->buffer_bytes_per_worker,
        .tunnels_max = (uint32_t)limits->tunnels_per_worker,
    };
}
