/* master/control.c: the control socket: one command a connection, one answer, both one datagram of text.
 *
 * "+words" is success, "-words" failure. The socket's file is for its owner alone (mode 0600); whoever can write to it may reload. */
#include "base/log.h"
#include "base/memory.h"
#include "master/private.h"

#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define CLIENTS_MAX 64

/* --- paths --- */

static char *join(const char *folder, const char *name) { return memory_format("%s/%s", folder, name); }

static bool make_folders(const char *path, struct error *error)
{
    char *copy = memory_copy_slice(slice_from_cstring(path));
    bool good = true;
    for (char *slash = strchr(copy + 1, '/'); good && slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        good = mkdir(copy, 0755) == 0 || errno == EEXIST;
        *slash = '/';
    }
    if (good) good = mkdir(copy, 0700) == 0 || errno == EEXIST;
    if (!good) error_format(error, "cannot make the state directory %s: %m", path);
    free(copy);
    return good;
}

char *state_directory(struct error *error)
{
    const char *given = getenv("STATE_DIRECTORY"), *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    char *path;
    if (given && *given) {
        path = memory_copy_slice(slice_from_cstring(given));
    } else if (state && *state) {
        path = join(state, "sluice");
    } else if (home && *home) {
        path = join(home, ".local/state/sluice");
    } else {
        error_format(error, "no state directory: set STATE_DIRECTORY, XDG_STATE_HOME or HOME");
        return NULL;
    }
    if (make_folders(path, error)) return path;
    free(path);
    return NULL;
}

static char *control_path(const char *given, struct error *error)
{
    if (given) return memory_copy_slice(slice_from_cstring(given));
    char *folder = state_directory(error);
    if (!folder) return NULL;
    char *path = join(folder, "sluice.sock");
    free(folder);
    return path;
}

static bool fill_address(struct sockaddr_un *address, const char *path, struct error *error)
{
    *address = (struct sockaddr_un){ .sun_family = AF_UNIX };
    if (strlen(path) >= sizeof address->sun_path) {
        return error_format(error, "the path of the control socket is longer than %zu bytes: %s",
                            sizeof address->sun_path - 1, path);
    }
    memcpy(address->sun_path, path, strlen(path) + 1);
    return true;
}

static int connect_to(const char *path, struct error *error)
{
    struct sockaddr_un address;
    if (!fill_address(&address, path, error)) return -1;
    int descriptor = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (descriptor >= 0 && connect(descriptor, (struct sockaddr *)&address, sizeof address) == 0) return descriptor;
    int failure = errno;
    error_format(error, "cannot reach Sluice at %s: %s", path, error_from_errno(failure));
    if (descriptor >= 0) close(descriptor);
    errno = failure;
    return -1;
}

/* --- the master's side --- */

static void destroy_client(struct retired *retired) { free(CONTAINER_OF(retired, struct control_client, retired)); }

static void close_client(struct control_client *client)
{
    int descriptor = client->source.descriptor;
    loop_unwatch(&client->master->loop, &client->source, false);
    close(descriptor);
    list_remove(&client->link);
    loop_retire(&client->master->loop, &client->retired, destroy_client);
}

static void answer_client(struct control_client *client, const char *text)
{
    ssize_t ignored = send(client->source.descriptor, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT);
    (void)ignored; /* it did not wait for the answer */
    close_client(client);
}

static void pass_on(struct control_client *client, enum supervision_kind kind, const char *text)
{
    struct child *serving = client->master->serving;
    if (!serving || !serving->ready || !child_send(serving, kind, client->command, text, NULL, 0)) {
        answer_client(client, "-the gateway is not running right now");
        return;
    }
    client->asked = serving->pid;
}

static void ask_status(struct control_client *client)
{
    char yielding[16];
    snprintf(yielding, sizeof yielding, "%u", child_count_yielding(client->master));
    pass_on(client, SUPERVISION_STATUS, yielding);
}

/* The new gateway reads the file by itself, and nobody could tell which of the two readings came first. */
static void ask_reload(struct control_client *client)
{
    if (upgrade_is_under_way(client->master)) {
        answer_client(client, "-an upgrade is under way, and it reads the configuration too: reload after it");
    } else {
        pass_on(client, SUPERVISION_RELOAD, NULL);
        if (client->asked) service_manager_reloading(client->master, client->command);
    }
}

static void obey(struct control_client *client, const char *command)
{
    static const char upgrade_within[] = "upgrade ";
    struct slice seconds = slice_after(slice_from_cstring(command), sizeof upgrade_within - 1);
    uint64_t timeout_s = UPGRADE_SECONDS;
    client->command = ++client->master->commands;
    if (strcmp(command, "reload") == 0) {
        ask_reload(client);
    } else if (strcmp(command, "status") == 0) {
        ask_status(client);
    } else if (strcmp(command, "upgrade") == 0 ||
               (strncmp(command, upgrade_within, sizeof upgrade_within - 1) == 0 &&
                slice_parse_uint64(seconds, &timeout_s) && timeout_s > 0 && timeout_s <= UPGRADE_SECONDS_MAX)) {
        upgrade_begin(client->master, client->command, timeout_s * 1000);
    } else {
        answer_client(client, "-unknown command");
    }
}

static void client_ready(struct event_source *source, uint32_t events)
{
    (void)events;
    struct control_client *client = CONTAINER_OF(source, struct control_client, source);
    char command[64];
    ssize_t got = recv(source->descriptor, command, sizeof command - 1, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0 || client->command) {
        close_client(client);
        return;
    }
    command[got] = '\0';
    obey(client, command);
}

struct control_client *control_create_client(struct master *master)
{
    struct control_client *client = memory_allocate(sizeof *client);
    client->master = master;
    client->source = (struct event_source){ .ready = client_ready, .descriptor = -1 };
    list_push_back(&master->clients, &client->link);
    return client;
}

static size_t count_clients(const struct master *master)
{
    size_t count = 0;
    for (const struct list_link *link = master->clients.next; link != &master->clients; link = link->next) count++;
    return count;
}

static void control_ready(struct event_source *source, uint32_t events)
{
    (void)events;
    struct master *master = CONTAINER_OF(source, struct master, control);
    struct error error;
    int descriptor = accept4(source->descriptor, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (descriptor < 0) return;
    if (count_clients(master) >= CLIENTS_MAX) {
        close(descriptor);
        return;
    }
    struct control_client *client = control_create_client(master);
    if (loop_watch_level(&master->loop, &client->source, descriptor, EPOLLIN, &error)) return;
    close(descriptor);
    list_remove(&client->link);
    free(client);
}

void control_answer(struct master *master, uint64_t command, const char *text)
{
    for (struct list_link *link = master->clients.next; link != &master->clients; link = link->next) {
        struct control_client *client = CONTAINER_OF(link, struct control_client, link);
        if (client->command != command || command == 0) continue;
        answer_client(client, text);
        return;
    }
}

#define ANYBODY ((pid_t)-1)

void control_answer_for(struct master *master, pid_t asked, const char *text)
{
    struct list_link *next;
    for (struct list_link *link = master->clients.next; link != &master->clients; link = next) {
        struct control_client *client = CONTAINER_OF(link, struct control_client, link);
        next = link->next;
        if (asked == ANYBODY || client->asked == asked) answer_client(client, text);
    }
}

/* A file that nobody listens on is left over from a Sluice that was killed. */
static bool remove_left_over(const char *path, struct error *error)
{
    struct error unreachable;
    struct stat about;
    if (lstat(path, &about) != 0) return true;
    if (!S_ISSOCK(about.st_mode)) return error_format(error, "%s is there already and is no socket", path);
    int other = connect_to(path, &unreachable), failure = errno;
    if (other >= 0) {
        close(other);
        return error_format(error, "another Sluice answers at %s: give this one its own with --control PATH", path);
    }
    if (failure != ECONNREFUSED) return error_format(error, "%s", unreachable.text); /* perhaps somebody else's */
    if (unlink(path) != 0) return error_format(error, "cannot remove the left-over %s: %m", path);
    return true;
}

void control_init(struct master *master)
{
    list_init(&master->clients);
    master->control = (struct event_source){ .ready = control_ready, .descriptor = -1 };
}

static bool adopt(struct loop *loop, struct event_source *source, struct error *error)
{
    int descriptor = source->descriptor;
    source->descriptor = -1;
    return descriptor < 0 || loop_watch_level(loop, source, descriptor, EPOLLIN, error);
}

bool control_adopt(struct master *master, struct error *error)
{
    for (struct list_link *link = master->clients.next; link != &master->clients; link = link->next) {
        if (!adopt(&master->loop, &CONTAINER_OF(link, struct control_client, link)->source, error)) return false;
    }
    return adopt(&master->loop, &master->control, error);
}

bool control_open(struct master *master, struct error *error)
{
    struct sockaddr_un address;
    char *path = control_path(master->options->control_path, error);
    if (!path) return false;
    int descriptor = -1;
    if (!fill_address(&address, path, error) || !remove_left_over(path, error)) goto failed;
    descriptor = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    mode_t mask = umask(0177);
    bool bound = descriptor >= 0 && bind(descriptor, (struct sockaddr *)&address, sizeof address) == 0 &&
                 listen(descriptor, 16) == 0;
    umask(mask);
    if (!bound) {
        error_format(error, "cannot open the control socket %s: %m", path);
        goto failed;
    }
    if (!loop_watch_level(&master->loop, &master->control, descriptor, EPOLLIN, error)) goto failed;
    master->control_path = path;
    return true;
failed:
    if (descriptor >= 0) close(descriptor);
    free(path);
    return false;
}

void control_close(struct master *master)
{
    int descriptor = master->control.descriptor;
    control_answer_for(master, ANYBODY, "-Sluice is stopping");
    if (descriptor < 0) return;
    loop_unwatch(&master->loop, &master->control, false);
    close(descriptor);
    unlink(master->control_path);
    free(master->control_path);
    master->control_path = NULL;
}

/* --- the other end --- */

#define SERVICE_SOCKET "/run/sluice/sluice.sock" /* where packaging/sluice.service has it */

/* Nobody listens there, as opposed to: somebody does, who is not to be asked. */
static bool is_nobody(int number) { return number == ENOENT || number == ECONNREFUSED; }

/* The path that is named, or else the state directory's, or else the installed service's. Below 0: *error. */
static int connect_to_master(const char *given, struct error *error)
{
    struct error nobody_either;
    char *path = control_path(given, error);
    int descriptor = path ? connect_to(path, error) : -1, number = errno;
    bool tries_service = !given && descriptor < 0 && (!path || is_nobody(number));
    free(path);
    if (!tries_service) return descriptor;
    descriptor = connect_to(SERVICE_SOCKET, &nobody_either);
    if (descriptor >= 0) return descriptor;
    if (is_nobody(errno)) {
        struct error first = *error;
        error_format(error, "%s; nor is it at " SERVICE_SOCKET, first.text);
    } else {
        *error = nobody_either;
    }
    return descriptor;
}

static int wait_for_answer(int descriptor, unsigned wait_s)
{
    static char text[SUPERVISION_TEXT_MAX + 1];
    struct pollfd wait = { descriptor, POLLIN, 0 };
    if (poll(&wait, 1, (int)wait_s * 1000) <= 0) {
        fprintf(stderr, "sluice: no answer within %u s\n", wait_s);
        return 1;
    }
    ssize_t got = recv(descriptor, text, sizeof text - 1, 0);
    if (got <= 0) {
        fprintf(stderr, "sluice: the connection ended without an answer\n");
        return 1;
    }
    text[got] = '\0';
    bool good = text[0] == '+';
    FILE *to = good ? stdout : stderr;
    fprintf(to, "%s%s", text + 1, text[got - 1] == '\n' ? "" : "\n");
    return good ? 0 : 1;
}

int control_command(const char *control_path_or_null, const char *command, unsigned wait_s)
{
    struct error error;
    int descriptor = connect_to_master(control_path_or_null, &error);
    if (descriptor < 0) {
        fprintf(stderr, "sluice: %s (is it running? --control PATH names its socket)\n", error.text);
        return 1;
    }
    int status = 1;
    if (send(descriptor, command, strlen(command), MSG_NOSIGNAL) < 0) {
        fprintf(stderr, "sluice: cannot send the command: %s\n", error_from_errno(errno));
    } else {
        status = wait_for_answer(descriptor, wait_s);
    }
    close(descriptor);
    return status;
}
