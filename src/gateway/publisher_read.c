/* gateway/publisher_read.c: where a whole configuration comes from: a file alone, a file that names a store, or the words of `sluice proxy`;
 * and the catalog that the admin API reads, which is the store's, or made of what the file holds. */
#include "gateway/publisher_private.h"

#include "base/log.h"
#include "base/memory.h"
#include "config/doubles.h"
#include "gateway/config_text.h"
#include "gateway/documents.h"

#include <pwd.h>
#include <unistd.h>
#include <xxhash.h>

/* --- the store --- */

static bool is_store_in_force(const struct publisher *publisher, struct slice location)
{
    return publisher->store ? slice_equal(location, slice_from_cstring(publisher->store)) : slice_is_absent(location);
}

char *publisher_copy_path(const struct publisher *publisher, const char *what)
{
    struct slice location = publisher->store ? slice_from_cstring(publisher->store) : SLICE("sqlite:");
    const char *folder = publisher->options.gateway->state_directory;
    if (!folder || slice_starts_with(location, SLICE("sqlite:"))) return NULL;
    return memory_format("%s/%s-%016llx", folder, what, (unsigned long long)XXH3_64bits(location.at, location.length));
}

/* As an operator knows it among others: "edge-1 10.0.0.5:9080". */
static char *gateway_name(const struct configuration *configuration)
{
    char host[256] = "", address[ADDRESS_TEXT_BYTES];
    if (gethostname(host, sizeof host - 1) != 0 || !host[0]) memcpy(host, "?", 2);
    if (!configuration->admin.enabled) return memory_format("%s", host);
    address_write(&configuration->admin.address, address);
    return memory_format("%s %s", host, address);
}

static struct changes *create_changes(struct publisher *publisher, const struct configuration *configuration,
                                      const char *folder, struct error *error)
{
    char *name = gateway_name(configuration);
    char *copy = publisher_copy_path(publisher, "copy");
    struct changes_options options = {
        .store = publisher->store,
        .copy_path = copy,
        .folder = folder,
        .kinds = &publisher->kinds,
        .gateway = {
            .prepare = publisher_prepare,
            .commit = publisher_commit,
            .abandon = publisher_abandon,
            .argument = publisher,
        },
        .keys_changed = key_index_changed,
        .keys_argument = &publisher->key_index,
        .gateway_name = name,
    };
    struct changes *changes = changes_create(&options, error);
    free(copy);
    free(name);
    return changes;
}

/* What is made of files then belongs to whoever will use them. A user that doesn't exist is told of when the facts are prepared. */
static struct changes *create_as_user(struct publisher *publisher, const struct configuration *configuration,
                                      const char *folder, struct error *error)
{
    bool changes_user = publisher->may_change_user && configuration->user.length > 0;
    const struct passwd *user = changes_user ? getpwnam(configuration->user.at) : NULL;
    gid_t group = getegid();
    if (!user) return create_changes(publisher, configuration, folder, error);
    if (setegid(user->pw_gid) != 0 || seteuid(user->pw_uid) != 0)
        log_warning("cannot act as \"%s\": %m", user->pw_name);
    struct changes *changes = create_changes(publisher, configuration, folder, error);
    PROMISE(seteuid(0) == 0 && setegid(group) == 0);
    return changes;
}

/* Opened once; with what was opened the process lives. */
static bool open_store(struct publisher *publisher, const struct configuration *configuration, const char *folder,
                       struct problems *problems)
{
    const struct node *node = configuration->node ? node_find(configuration->node, "store") : NULL;
    struct error error;
    if (publisher->changes && is_store_in_force(publisher, configuration->store_location)) return true;
    if (publisher->changes && publisher->builder) {
        problems_add(problems, node, "say `sluice upgrade`, or start anew",
                     "\"store\" can't become another one while Sluice runs");
        return false;
    }
    if (publisher->changes) changes_destroy(publisher->changes);
    free(publisher->store);
    publisher->store = slice_is_absent(configuration->store_location)
                           ? NULL
                           : memory_copy_slice(configuration->store_location);
    publisher->changes = create_as_user(publisher, configuration, folder, &error);
    if (publisher->changes) return true;
    problems_add(problems, node, NULL, "%s", error.text);
    return false;
}

struct changes *publisher_changes(const struct publisher *publisher) { return publisher->changes; }

/* --- reading --- */

static char *folder_of(const char *path)
{
    return memory_copy_slice(slice_before(slice_from_cstring(path), (size_t)(strrchr(path, '/') - path) + 1));
}

/* The store may have them from a version that let them in: as there, the last one acts. */
static void warn_of_doubles(const struct configuration *configuration)
{
    struct problems doubles;
    problems_init(&doubles, NULL);
    doubles_judge(&(struct doubles_judging){ .configuration = configuration, .problems = &doubles });
    if (doubles.count > 0) {
        char *text = problems_to_text(&doubles);
        log_warning("the store holds plugins of which one alone acts, the last one:");
        log_lines(LOG_LEVEL_WARNING, text);
        free(text);
    }
    problems_release(&doubles);
}

/* The bootstrap text again, now with the store's documents. */
static struct configuration *read_with_documents(struct publisher *publisher, struct slice text, const char *folder,
                                                 struct problems *problems)
{
    struct held_documents held;
    size_t before = problems->count;
    documents_hold(&held, changes_catalog(publisher->changes));
    publisher->read_revision = held.revision;
    struct configuration *configuration = configuration_load_with_documents(
        text, publisher->options.gateway->config_path, folder, &publisher->kinds, held.lists, problems);
    documents_let_go(&held);
    if (configuration) warn_of_doubles(configuration);
    if (problems->count == before) return configuration;
    configuration_destroy(configuration); /* what was left out may be what keeps somebody away */
    return NULL;
}

static struct configuration *read_mapped(struct publisher *publisher, struct slice text, bool with_documents,
                                         struct problems *problems)
{
    const char *path = publisher->options.gateway->config_path;
    char *folder = folder_of(path);
    struct configuration *configuration = configuration_load_text(text, path, folder, &publisher->kinds, problems);
    bool good = configuration && (!with_documents || open_store(publisher, configuration, folder, problems));
    if (configuration && (!good || (with_documents && publisher->store))) {
        configuration_destroy(configuration);
        configuration = good ? read_with_documents(publisher, text, folder, problems) : NULL;
    }
    free(folder);
    return configuration;
}

static struct configuration *read_descriptor(struct publisher *publisher, int descriptor, bool with_documents,
                                             struct problems *problems)
{
    struct error error;
    struct slice text = config_text_map(descriptor, &error);
    if (slice_is_absent(text)) {
        problems_add(problems, NULL, NULL, "%s", error.text);
        return NULL;
    }
    struct configuration *configuration = read_mapped(publisher, text, with_documents, problems);
    config_text_unmap(text);
    return configuration;
}

struct configuration *publisher_read_text(struct publisher *publisher, int descriptor, struct problems *problems)
{
    return read_descriptor(publisher, descriptor, true, problems);
}

struct configuration *publisher_read_bootstrap(struct publisher *publisher, struct problems *problems)
{
    return read_descriptor(publisher, publisher->text_in_force, false, problems);
}

static struct configuration *read_proxy(struct publisher *publisher, struct problems *problems)
{
    const struct gateway_options *gateway = publisher->options.gateway;
    struct configuration *configuration = configuration_for_proxy(
        gateway->proxy_listen, gateway->proxy_to, gateway->proxy_access_log, &publisher->kinds, problems);
    if (!configuration || open_store(publisher, configuration, "/", problems)) return configuration;
    configuration_destroy(configuration);
    return NULL;
}

struct configuration *publisher_read_configuration(struct publisher *publisher, int *text, struct problems *problems)
{
    struct error error;
    *text = -1;
    if (!publisher->options.gateway->config_path) return read_proxy(publisher, problems);
    *text = config_text_read(publisher->options.gateway->config_path, &error);
    if (*text >= 0) return publisher_read_text(publisher, *text, problems);
    problems_add(problems, NULL, NULL, "%s", error.text);
    return NULL;
}

struct configuration *publisher_read_bare(struct publisher *publisher, int *text, struct problems *problems)
{
    struct error error;
    *text = config_text_read(publisher->options.gateway->config_path, &error);
    if (*text >= 0) return read_descriptor(publisher, *text, false, problems);
    problems_add(problems, NULL, NULL, "%s", error.text);
    return NULL;
}

/* --- the catalog --- */

bool publisher_catalog_is(const struct publisher *publisher, uint64_t revision)
{
    return !publisher->store || catalog_revision(changes_catalog(publisher->changes)) == revision;
}

/* Of a store they are there already; without an admin API nobody reads them. */
struct vector publisher_catalog_entries(const struct publisher *publisher, struct configuration *configuration)
{
    struct vector none;
    if (!publisher->store && configuration->admin.enabled) return documents_of(configuration, &publisher->kinds);
    vector_init(&none, sizeof(struct catalog_entry *));
    return none;
}

void publisher_fill_catalog(struct publisher *publisher, struct vector *entries, uint64_t revision)
{
    if (!publisher->store)
        catalog_replace(changes_catalog(publisher->changes), entries->items, entries->count, revision);
    vector_release(entries);
}

void publisher_forget_entries(struct vector *entries)
{
    for (size_t i = 0; i < entries->count; i++) catalog_entry_drop(vector_pointer_at(entries, i));
    vector_release(entries);
}
