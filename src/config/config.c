#include "config/config.h"

#include "base/memory.h"
#include "config/doubles.h"
#include "config/private.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

struct configuration *configuration_create(void)
{
    struct configuration *configuration = memory_allocate(sizeof *configuration);
    arena_init(&configuration->arena, NULL);
    return configuration;
}

void configuration_destroy(struct configuration *configuration)
{
    if (!configuration) return;
    arena_release(&configuration->arena);
    free(configuration);
}

/* Everything or nothing: with a problem since `before` there is no configuration. */
static struct configuration *complete_or_nothing(struct configuration *configuration, const struct problems *problems,
                                                 size_t before)
{
    if (problems->count == before) return configuration;
    configuration_destroy(configuration);
    return NULL;
}

void configuration_read_root(struct schema_reading *reading, const struct node *root,
                             struct configuration *configuration)
{
    if (root->kind != NODE_MAP) {
        problems_add(reading->problems, root, NULL,
                     "a configuration is a map of fields: workers, listeners, services, routes ...");
        return;
    }
    configuration->node = root;
    schema_read(reading, configuration_fields, root, configuration);
    configuration_check_references(reading, root, configuration);
}

enum purpose { TO_RUN, TO_IMPORT };

static struct configuration *load_text(struct slice text, const char *name, const char *folder,
                                       const struct policy_kinds *kinds, enum purpose purpose,
                                       struct problems *problems)
{
    size_t before = problems->count;
    struct configuration *configuration = configuration_create();
    bool is_json = slice_ends_with(slice_from_cstring(name), SLICE(".json"));
    struct node *root = (is_json ? node_read_json : node_read_yaml)(&configuration->arena, text, name, problems);
    struct schema_reading reading = {
        .arena = &configuration->arena,
        .problems = problems,
        .kinds = kinds,
        .folder = arena_keep(&configuration->arena, slice_from_cstring(folder)).at,
    };
    if (root) configuration_read_root(&reading, root, configuration);
    if (root && root->kind == NODE_MAP && purpose == TO_RUN) store_check_file(&reading, configuration);
    if (problems->count == before)
        doubles_judge(&(struct doubles_judging){ .configuration = configuration, .problems = problems });
    return complete_or_nothing(configuration, problems, before);
}

struct configuration *configuration_load_text(struct slice text, const char *name, const char *folder,
                                              const struct policy_kinds *kinds, struct problems *problems)
{
    return load_text(text, name, folder, kinds, TO_RUN, problems);
}

struct configuration *configuration_load_defaults(const char *folder, const struct policy_kinds *kinds)
{
    struct problems problems;
    problems_init(&problems, NULL);
    struct configuration *configuration = configuration_create();
    struct schema_reading reading = {
        .arena = &configuration->arena, .problems = &problems, .kinds = kinds, .folder = folder
    };
    schema_defaults(&reading, configuration_fields, configuration);
    PROMISE(problems.count == 0);
    problems_release(&problems);
    return configuration;
}

/* One byte more than allowed is read, so that too large a text is told from one that just fits. */
struct slice configuration_read_whole(int file)
{
    size_t capacity = 64 * 1024, length = 0;
    char *text = memory_allocate(capacity);
    for (;;) {
        ssize_t got = read(file, text + length, capacity - length);
        if (got == 0 || length > NODE_TEXT_BYTES_MAX) return slice_of(text, length);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) break;
        length += (size_t)got;
        if (length == capacity) text = memory_resize(text, capacity *= 2);
    }
    int number = errno;
    free(text);
    errno = number;
    return SLICE_ABSENT;
}

const char *configuration_read_hint(int number)
{
    switch (number) {
    case EISDIR: return "name a file in it";
    case EACCES: return "let the user that Sluice runs as read it";
    case ENOENT: return "write one, or mend its name";
    default: return NULL;
    }
}

static char *folder_of(const char *absolute_path)
{
    const char *slash = strrchr(absolute_path, '/');
    size_t length = slash && slash > absolute_path ? (size_t)(slash - absolute_path) : 1;
    return memory_copy_slice(slice_of(absolute_path, length));
}

static struct configuration *load_file(const char *path, const struct policy_kinds *kinds, enum purpose purpose,
                                       struct problems *problems)
{
    problems->file = path;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    char *absolute = file >= 0 ? realpath(path, NULL) : NULL;
    struct slice text = absolute ? configuration_read_whole(file) : SLICE_ABSENT;
    int number = errno;
    if (file >= 0) close(file);
    if (slice_is_absent(text)) {
        problems_add(problems, NULL, configuration_read_hint(number), "cannot be read: %s", error_from_errno(number));
        free(absolute);
        return NULL;
    }
    char *folder = folder_of(absolute);
    struct configuration *configuration = load_text(text, path, folder, kinds, purpose, problems);
    if (configuration) configuration->file = arena_keep(&configuration->arena, slice_from_cstring(absolute));
    free((char *)(uintptr_t)text.at);
    free(folder);
    free(absolute);
    return configuration;
}

struct configuration *configuration_load_file(const char *path, const struct policy_kinds *kinds,
                                              struct problems *problems)
{
    return load_file(path, kinds, TO_RUN, problems);
}

struct configuration *configuration_load_file_to_import(const char *path, const struct policy_kinds *kinds,
                                                        struct problems *problems)
{
    return load_file(path, kinds, TO_IMPORT, problems);
}

/* --- sluice proxy --- */

static void proxy_listener(struct schema_reading *reading, struct configuration *configuration, const char *listen)
{
    struct listener_config *listener = config_allocate(reading->arena, sizeof *listener);
    struct node node = { .kind = NODE_SCALAR, .text = arena_keep(reading->arena, slice_from_cstring(listen)) };
    schema_defaults(reading, listener_fields, listener);
    read_listener(reading, &node, listener);
    configuration->listeners = (struct object_list){ listener, 1 };
}

static void proxy_service(struct schema_reading *reading, struct configuration *configuration,
                          const char *instances_comma_list)
{
    struct service_config *service = config_allocate(reading->arena, sizeof *service);
    struct slice list = slice_from_cstring(instances_comma_list), rest = list, piece;
    size_t count = 0;
    while (slice_next(&rest, ',', &piece)) count++;
    struct instance_config *instances = config_allocate(reading->arena, count * sizeof *instances);

    schema_defaults(reading, service_fields, service);
    rest = list;
    for (size_t i = 0; slice_next(&rest, ',', &piece); i++) {
        struct node node = { .kind = NODE_SCALAR, .text = arena_keep(reading->arena, piece) };
        instances[i].weight = 100;
        if (read_instance_text(reading, &node, &instances[i])) instance_find_address(&instances[i]);
    }
    service->instances = (struct object_list){ instances, count };
    service->name = SLICE("proxy");
    service->id = id_from_content(reading->arena, "service", service->name);
    configuration->services = (struct object_list){ service, 1 };
}

static void proxy_route(struct schema_reading *reading, struct configuration *configuration)
{
    struct route_config *route = config_allocate(reading->arena, sizeof *route);
    schema_defaults(reading, route_fields, route);
    route->name = SLICE("proxy");
    route->id = id_from_content(reading->arena, "route", route->name);
    route->path = SLICE("/*");
    route->strip_prefix = false;
    route->service_id = SLICE("proxy");
    configuration->routes = (struct object_list){ route, 1 };
}

static void proxy_access_log(struct schema_reading *reading, struct configuration *configuration,
                             const char *access_log)
{
    struct access_log_config *log = &configuration->access_log;
    log->target = strcmp(access_log, "-") == 0 ? ACCESS_LOG_STDOUT : ACCESS_LOG_FILE;
    if (log->target == ACCESS_LOG_FILE) log->path = arena_keep(reading->arena, slice_from_cstring(access_log));
}

struct configuration *configuration_for_proxy(const char *listen, const char *instances_comma_list,
                                              const char *access_log, const struct policy_kinds *kinds,
                                              struct problems *problems)
{
    size_t before = problems->count;
    struct configuration *configuration = configuration_create();
    struct schema_reading reading = {
        .arena = &configuration->arena, .problems = problems, .kinds = kinds, .folder = "/"
    };
    schema_defaults(&reading, configuration_fields, configuration);
    problems->file = "--listen";
    proxy_listener(&reading, configuration, listen);
    problems->file = "--to";
    proxy_service(&reading, configuration, instances_comma_list);
    problems->file = NULL;
    if (access_log) proxy_access_log(&reading, configuration, access_log);
    proxy_route(&reading, configuration);
    return complete_or_nothing(configuration, problems, before);
}
