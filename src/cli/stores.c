/* cli/stores.c: commands that work on a store itself, whether a gateway runs over it or not: import, diff, export, migrate.
 *
 * Which store: --store LOCATION, or the one that the file of --config names, or that of `sluice run` without a file. That file also says
 * which API versions routes are judged by. A gateway that runs over the store hears of an import as of any other instance's change. */
#include "base/memory.h"
#include "changes/changes.h"
#include "cli/private.h"
#include "cli/table.h"
#include "cli/yaml_out.h"
#include "master/master.h"

#include <jansson.h>
#include <limits.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

/* --- which store --- */

/* A store, and what is known of the gateway that runs over it. */
struct store_target {
    char *location;                      /* NULL: it can't be had, which was said */
    struct configuration *configuration; /* of the gateway's file; NULL: none is known */
};

static void store_target_release(struct store_target *target)
{
    free(target->location);
    configuration_destroy(target->configuration);
}

/* NULL: said why. */
static struct configuration *read_gateway_file(const char *path, const struct registries *registries)
{
    struct problems problems;
    struct policy_kinds kinds = policy_registry_kinds(registries->policies);
    problems_init(&problems, path);
    struct configuration *configuration = configuration_load_file(path, &kinds, &problems);
    if (!configuration) {
        char *text = problems_to_text(&problems);
        fputs(text, stderr);
        free(text);
    }
    problems_release(&problems);
    free((void *)(uintptr_t)kinds.items);
    return configuration;
}

/* "sqlite:shop.db" counts from here. NULL: said why. */
static char *location_from_option(const char *text)
{
    struct error error;
    bool is_file = strncmp(text, "sqlite:", 7) == 0 && text[7] != '\0';
    char *path = is_file ? cli_absolute_path(text + 7) : NULL;
    char *location = is_file ? memory_format("sqlite:%s", path) : memory_format("%s", text);
    free(path);
    if (store_location_check(slice_from_cstring(location), &error)) return location;
    fprintf(stderr, "sluice: --store: %s\n", error.text);
    free(location);
    return NULL;
}

/* --store says which store, --config which gateway and, without the former, its store. */
static struct store_target store_target_from_file(const struct command_line *line, const char *path,
                                                  const struct registries *registries)
{
    struct store_target target = { .configuration = read_gateway_file(path, registries) };
    if (!target.configuration) return target;
    if (line->store)
        target.location = location_from_option(line->store);
    else if (target.configuration->store == STORE_FILE)
        fprintf(stderr, "%s: names no store: write store: sqlite:PATH or store: postgres://..., or say --store\n",
                path);
    else
        target.location = memory_copy_slice(target.configuration->store_location);
    return target;
}

/* That of `sluice run` without a file. */
static struct store_target store_target_without_a_name(const struct command_line *line,
                                                       const struct registries *registries)
{
    struct store_target target = { 0 };
    char *folder = cli_state_directory();
    if (!folder) return target;
    char *path = memory_format("%s/sluice.yaml", folder);
    if (access(path, F_OK) == 0)
        target = store_target_from_file(line, path, registries);
    else
        target.location = memory_format("sqlite:%s/sluice.db", folder);
    free(path);
    free(folder);
    return target;
}

static struct store_target find_store_target(const struct command_line *line, const struct registries *registries)
{
    if (line->config) return store_target_from_file(line, line->config, registries);
    if (line->store) return (struct store_target){ .location = location_from_option(line->store) };
    return store_target_without_a_name(line, registries);
}

/* One that is there: whoever only reads makes none by a slip of the pen. */
static struct store *open_store(const struct store_target *target)
{
    struct error error;
    struct store_schema schema;
    if (!target->location) return NULL;
    struct store_settings settings = { .location = target->location };
    struct store *store = store_schema_read(&settings, &schema, &error) ? store_open(&settings, &error) : NULL;
    if (!store) fprintf(stderr, "sluice: %s\n", error.text);
    return store;
}

/* --- migrate --- */

int command_migrate(const struct command_line *line, const struct registries *registries)
{
    struct error error;
    struct store_schema before = { 0 }, after;
    struct store_target target = find_store_target(line, registries);
    struct store_settings settings = { .location = target.location };
    if (!target.location) {
        store_target_release(&target);
        return 1;
    }
    (void)!store_schema_read(&settings, &before, &error); /* a store that isn't there yet is made */
    struct store *store = store_open(&settings, &error);
    bool good = store && store_schema_read(&settings, &after, &error);
    if (!good)
        fprintf(stderr, "sluice: %s\n", error.text);
    else if (before.found == after.found)
        printf("%s: schema version %u, as this program knows it\n", store_location(store), after.found);
    else
        printf("%s: schema version %u became %u\n", store_location(store), before.found, after.found);
    if (store) store_close(store);
    store_target_release(&target);
    return good ? 0 : 1;
}

/* --- import, diff --- */

static void print_changes(struct changes *changes, const struct change_order *order, bool as_json)
{
    char *text = changes_describe(changes, order);
    json_t *list = json_loads(text ? text : "[]", 0, NULL);
    if (as_json)
        printf("%s\n", text ? text : "[]");
    else
        table_print_changes(stdout, list);
    json_decref(list);
    free(text);
}

static bool is_done(const struct change_order *order)
{
    switch (order->outcome) {
    case CHANGE_CREATED:
    case CHANGE_UPDATED:
    case CHANGE_DELETED:
    case CHANGE_NOTHING: return true;
    default: return false;
    }
}

static void say_failure(const struct change_order *order, const char *file)
{
    if (order->problems.count > 0) {
        char *text = problems_to_text(&order->problems);
        fputs(text, stderr);
        free(text);
    }
    for (size_t i = 0; i < order->user_count; i++)
        fprintf(stderr, "%s: %s \"%.*s\" stands in the way\n", file, resource_types[order->users[i]->kind].word,
                SLICE_PRINT(order->users[i]->name));
    if (order->outcome == CHANGE_STORE_AWAY || order->outcome == CHANGE_FAILED)
        fprintf(stderr, "sluice: %s\n", order->error.text);
    if (!order->may_be_written) fprintf(stderr, "%s: nothing was changed\n", file);
}

static void print_sum(const struct change_order *order, const char *store, bool is_dry)
{
    if (order->outcome == CHANGE_NOTHING) {
        printf("%s: nothing to change, revision %llu\n", store, (unsigned long long)order->revision);
        return;
    }
    printf("%s: %zu %screated, %zu updated, %zu deleted", store, order->created, is_dry ? "would be " : "",
           order->updated, order->deleted);
    if (is_dry)
        printf("\n");
    else
        printf(", revision %llu\n", (unsigned long long)order->revision);
}

/* Exit status of a diff: 0 where there is nothing to change, 3 where there is. */
#define DIFFERS 3

/* So that nobody takes for stored what a store doesn't hold. */
static void say_left_out(const struct change_order *order, const char *file)
{
    if (order->left_out)
        fprintf(stderr, "%s: left out, for a store holds resources alone and a gateway reads it in its own file: %s\n",
                file, order->left_out);
}

/* Runs it, and says what came of it. The exit status. */
static int run_order(const struct command_line *line, struct changes *changes, struct change_order *order, bool is_diff)
{
    struct changes_health health;
    changes_run(changes, order);
    changes_health(changes, &health);
    if (!is_done(order)) {
        say_failure(order, line->file);
        return 1;
    }
    if (is_diff || line->dry_run || line->json) print_changes(changes, order, line->json);
    if (!line->json) print_sum(order, health.store, order->dry_run);
    say_left_out(order, line->file);
    return is_diff && order->outcome != CHANGE_NOTHING ? DIFFERS : 0;
}

static struct change_order *order_of(const struct command_line *line, const char *absolute, bool is_diff)
{
    struct change_order *order = change_order_create(CHANGE_WHOLE, RESOURCE_SERVICE);
    const char *user = getenv("USER");
    order->file = memory_copy_slice(slice_from_cstring(absolute));
    order->author = memory_copy_slice(slice_from_cstring(user && *user ? user : "command line"));
    order->comment = memory_copy_slice(SLICE("import"));
    if (line->tag) order->tag = memory_copy_slice(slice_from_cstring(line->tag));
    order->dry_run = is_diff || line->dry_run;
    return order;
}

static int apply_file(const struct command_line *line, const struct registries *registries, bool is_diff)
{
    struct error error;
    char absolute[PATH_MAX];
    if (!realpath(line->file, absolute)) {
        fprintf(stderr, "sluice: %s: cannot be read: %m\n", line->file);
        return 1;
    }
    int status = 1;
    struct store_target target = find_store_target(line, registries);
    struct policy_kinds kinds = policy_registry_kinds(registries->policies);
    struct changes_options options = {
        .store = target.location, .folder = "/", .kinds = &kinds, .gateway_file = target.configuration
    };
    struct changes *changes = target.location ? changes_create_offline(&options, registries->policies, &error) : NULL;
    if (changes) {
        struct change_order *order = order_of(line, absolute, is_diff);
        status = run_order(line, changes, order, is_diff);
        change_order_destroy(order);
        changes_destroy(changes);
    } else if (target.location) {
        fprintf(stderr, "sluice: %s\n", error.text);
    }
    free((void *)(uintptr_t)kinds.items);
    store_target_release(&target);
    return status;
}

int command_import(const struct command_line *line, const struct registries *registries)
{
    return apply_file(line, registries, false);
}

int command_diff(const struct command_line *line, const struct registries *registries)
{
    return apply_file(line, registries, true);
}

/* --- export --- */

struct export
{
    const struct policy_kinds *kinds;
    const struct node *api_versions; /* of the gateway's file; NULL: unknown, or none */
    struct arena arena;
    struct vector documents[RESOURCE_KIND_COUNT]; /* struct slice */
    bool with_secrets;
    size_t refused;    /* documents with a secret in them */
    bool has_versions; /* some route says which version it serves */
};

#define API_VERSIONS "apiVersions"

static void take_document(struct export *export, enum resource_kind kind, struct slice document)
{
    struct slice copy = arena_copy(&export->arena, document);
    vector_push_copy(&export->documents[kind], &copy);
}

/* By the name that people know it by; a plugin without a name of its own is told by its kind and id. */
static void say_secret(const struct store_row *row)
{
    const struct resource_type *type = &resource_types[row->kind];
    json_t *document = json_loadb(row->document.at, row->document.length, 0, NULL);
    const char *name = json_string_value(json_object_get(document, type->name_field));
    const char *kind = json_string_value(json_object_get(document, "name"));
    if (name)
        fprintf(stderr, "sluice: %s \"%s\" holds a secret\n", type->word, name);
    else
        fprintf(stderr, "sluice: %s \"%s\" (%.*s) holds a secret\n", type->word, kind ? kind : "?",
                SLICE_PRINT(row->id));
    json_decref(document);
}

static bool says_version(struct slice route)
{
    if (slice_find(route, SLICE("\"version\":\"")) == SLICE_NOT_FOUND) return false;
    json_t *document = json_loadb(route.at, route.length, 0, NULL);
    bool says = json_string_value(json_object_get(document, "version")) != NULL;
    json_decref(document);
    return says;
}

static void take_row(void *argument, const struct store_row *row)
{
    struct export *export = argument;
    if (!export->with_secrets &&
        slice_find(resource_hide_secrets(&export->arena, row->kind, export->kinds, row->document),
                   SLICE("\"$secret\"")) != SLICE_NOT_FOUND) {
        export->refused++;
        say_secret(row);
        return;
    }
    if (row->kind == RESOURCE_ROUTE) export->has_versions |= says_version(row->document);
    take_document(export, row->kind, row->document);
}

static void write_time(uint64_t at_us, char into[40])
{
    time_t seconds = (time_t)(at_us / 1000000);
    struct tm parts;
    char whole[32];
    gmtime_r(&seconds, &parts);
    strftime(whole, sizeof whole, "%Y-%m-%dT%H:%M:%S", &parts);
    snprintf(into, 40, "%s.%06uZ", whole, (unsigned)(at_us % 1000000));
}

static json_t *scopes_of(struct slice scopes)
{
    json_t *list = json_array();
    struct slice piece;
    while (scopes.length > 0 && slice_next(&scopes, ' ', &piece)) {
        if (piece.length > 0) json_array_append_new(list, json_stringn(piece.at, piece.length));
    }
    return list;
}

static void set_text(json_t *object, const char *key, struct slice text)
{
    if (text.length > 0) json_object_set_new(object, key, json_stringn(text.at, text.length));
}

/* The hash is no secret in the sense of the others: nobody gets from it to the key, and without it the export would be another gateway. */
static void take_key(void *argument, const struct api_key_row *row)
{
    struct export *export = argument;
    char hash[8 + 2 * API_KEY_HASH_BYTES] = "sha256:", expires[40];
    for (size_t i = 0; i < API_KEY_HASH_BYTES; i++) snprintf(hash + 7 + 2 * i, 3, "%02x", row->hash[i]);
    uint64_t ends_us = row->replaces_until_us && (!row->expires_at_us || row->replaces_until_us < row->expires_at_us)
                           ? row->replaces_until_us
                           : row->expires_at_us;
    json_t *key = json_object();
    set_text(key, "clientName", row->client_name);
    set_text(key, "id", row->id);
    set_text(key, "clientId", row->client_id);
    set_text(key, "hash", slice_from_cstring(hash));
    set_text(key, "keyPrefix", row->prefix);
    json_object_set_new(key, "scopes", scopes_of(row->scopes));
    set_text(key, "rateLimitTier", row->rate_limit_tier);
    if (ends_us) {
        write_time(ends_us, expires);
        set_text(key, "expiresAt", slice_from_cstring(expires));
    }
    json_object_set_new(key, "enabled", json_boolean(row->enabled));
    if (row->tags.length > 0) json_object_set_new(key, "tags", json_loadb(row->tags.at, row->tags.length, 0, NULL));
    char *text = json_dumps(key, JSON_COMPACT);
    take_document(export, RESOURCE_API_KEY, slice_from_cstring(text));
    free(text);
    json_decref(key);
}

static bool read_store(struct export *export, struct store *store)
{
    struct error error;
    uint64_t revision;
    struct store_visitor rows = { take_row, export };
    struct api_key_visitor keys = { take_key, export };
    if (!store_read_all(store, &rows, &revision, &error) || !store_keys_each(store, UINT64_MAX, &keys, &error)) {
        fprintf(stderr, "sluice: %s\n", error.text);
        return false;
    }
    if (export->refused == 0) return true;
    fprintf(stderr,
            "sluice: nothing was exported: write secrets as ${env:NAME} or ${file:PATH} in the configuration, or say "
            "--with-secrets\n");
    return false;
}

/* Without them the export is as good for an import, but no file by itself. */
static void say_unknown_versions(const struct export *export)
{
    if (export->has_versions && !export->api_versions)
        fprintf(stderr, "sluice: routes say their \"version\", and \"" API_VERSIONS
                        "\" stand in the gateway's file: name it by "
                        "--config, and the export holds them, too, as `sluice check` wants it\n");
}

static bool write_json(struct export *export)
{
    const char *between = "{\n";
    if (export->api_versions) {
        printf("%s\"" API_VERSIONS "\": %.*s", between,
               SLICE_PRINT(node_write_json(&export->arena, export->api_versions)));
        between = ",\n";
    }
    for (size_t kind = 0; kind < RESOURCE_KIND_COUNT; kind++) {
        const struct vector *documents = &export->documents[kind];
        if (documents->count == 0) continue;
        printf("%s\"%s\": [\n", between, resource_types[kind].list_name);
        for (size_t i = 0; i < documents->count; i++) {
            const struct slice *document = vector_at(documents, i);
            printf("%.*s%s\n", SLICE_PRINT(*document), i + 1 < documents->count ? "," : "");
        }
        printf("]");
        between = ",\n";
    }
    printf(*between == '{' ? "{}\n" : "\n}\n");
    return fflush(stdout) == 0;
}

static bool write_document(struct yaml_out *out, struct slice document)
{
    struct arena arena;
    struct problems ignored;
    arena_init(&arena, NULL);
    problems_init(&ignored, NULL);
    const struct node *root = node_read_json(&arena, document, NULL, &ignored);
    bool good = root && yaml_out_node(out, root);
    problems_release(&ignored);
    arena_release(&arena);
    return good;
}

static bool write_yaml(const struct export *export)
{
    struct yaml_out *out = yaml_out_begin(stdout);
    bool good = true;
    if (export->api_versions) good = yaml_out_key(out, API_VERSIONS) && yaml_out_node(out, export->api_versions);
    for (size_t kind = 0; kind < RESOURCE_KIND_COUNT && good; kind++) {
        const struct vector *documents = &export->documents[kind];
        if (documents->count == 0) continue;
        good = yaml_out_key(out, resource_types[kind].list_name) && yaml_out_list_begin(out);
        for (size_t i = 0; i < documents->count && good; i++)
            good = write_document(out, *(const struct slice *)vector_at(documents, i));
        good = good && yaml_out_list_end(out);
    }
    return yaml_out_end(out) && good;
}

int command_export(const struct command_line *line, const struct registries *registries)
{
    struct policy_kinds kinds = policy_registry_kinds(registries->policies);
    struct store_target target = find_store_target(line, registries);
    const struct configuration *gateway = target.configuration;
    struct export export = {
        .kinds = &kinds,
        .with_secrets = line->with_secrets,
        .api_versions = gateway && gateway->api_versions.count ? node_find(gateway->node, API_VERSIONS) : NULL,
    };
    struct store *store = open_store(&target);
    bool good = store != NULL;
    arena_init(&export.arena, NULL);
    for (size_t i = 0; i < RESOURCE_KIND_COUNT; i++) vector_init(&export.documents[i], sizeof(struct slice));
    if (good) good = read_store(&export, store);
    if (good) {
        good = line->json ? write_json(&export) : write_yaml(&export);
        if (!good) fprintf(stderr, "sluice: the export cannot be written\n");
        if (good) say_unknown_versions(&export);
    }
    for (size_t i = 0; i < RESOURCE_KIND_COUNT; i++) vector_release(&export.documents[i]);
    arena_release(&export.arena);
    if (store) store_close(store);
    store_target_release(&target);
    free((void *)(uintptr_t)kinds.items);
    return good ? 0 : 1;
}
