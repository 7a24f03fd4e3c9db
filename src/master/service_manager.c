/* master/service_manager.c: what Sluice says to systemd, or to whoever else speaks its two small protocols, and what it gets from there.
 *
 *   sd_notify(3)        datagrams to $NOTIFY_SOCKET: READY, RELOADING, STOPPING, STATUS, WATCHDOG
 *   sd_listen_fds(3)    listening sockets as descriptors 3 and up, told by $LISTEN_FDS and $LISTEN_PID
 *
 * Both are a few lines, which is why no library is asked. Nobody there, or nobody who reads: nothing is lost but the message. */
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "master/private.h"

#include <fcntl.h>
#include <limits.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <sys/un.h>
#include <unistd.h>

#define PASSED_FIRST 3 /* SD_LISTEN_FDS_START */

/* --- notifications --- */

static void say(struct master *master, const char *format, ...) PRINTF_LIKE(2, 3);

static void say(struct master *master, const char *format, ...)
{
    const struct service_manager *manager = &master->service_manager;
    char text[512];
    if (manager->descriptor < 0) return;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    ssize_t sent = sendto(manager->descriptor, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT,
                          (const struct sockaddr *)&manager->address, manager->address_length);
    (void)sent;
}

static bool number_from_environment(const char *name, uint64_t *number)
{
    return slice_parse_uint64(slice_from_cstring(getenv(name)), number);
}

/* Meant for this process, not for one that started it. Absent means whoever reads it. */
static bool is_for_us(const char *name)
{
    uint64_t pid = (uint64_t)getpid();
    return !getenv(name) || (number_from_environment(name, &pid) && pid == (uint64_t)getpid());
}

/* Half of the time, as sd_watchdog_enabled(3) advises. As long as the master turns, it sees to the gateway by itself; beyond its power
 * is one that doesn't even die. */
static void watchdog_due(struct timer *timer)
{
    struct service_manager *manager = CONTAINER_OF(timer, struct service_manager, watchdog);
    struct master *master = CONTAINER_OF(manager, struct master, service_manager);
    if (child_is_in_order(master->serving)) say(master, "WATCHDOG=1");
    timer_set(&master->loop.timers, timer, master->loop.now_ms + manager->watchdog_ms);
}

static void begin_watchdog(struct master *master)
{
    uint64_t microseconds;
    if (!number_from_environment("WATCHDOG_USEC", &microseconds) || !is_for_us("WATCHDOG_PID")) return;
    if (microseconds == 0 || microseconds > INT64_MAX) return;
    master->service_manager.watchdog_ms = microseconds / 2000 > 0 ? microseconds / 2000 : 1;
    watchdog_due(&master->service_manager.watchdog);
}

void service_manager_init(struct service_manager *manager)
{
    *manager = (struct service_manager){ .descriptor = -1 };
    timer_init(&manager->watchdog, watchdog_due);
}

/* "/path", or "@name" for an abstract one. */
void service_manager_begin(struct master *master)
{
    struct service_manager *manager = &master->service_manager;
    const char *name = getenv("NOTIFY_SOCKET");
    if (!name || !*name) return;
    size_t length = strlen(name);
    if ((name[0] != '/' && name[0] != '@') || length >= sizeof manager->address.sun_path) {
        log_warning("NOTIFY_SOCKET is \"%s\", which can't be written to: nobody is told when Sluice serves", name);
        return;
    }
    manager->address.sun_family = AF_UNIX;
    memcpy(manager->address.sun_path, name, length);
    if (name[0] == '@') manager->address.sun_path[0] = '\0';
    manager->address_length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
    manager->descriptor = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (manager->descriptor < 0) log_warning("cannot make a socket for NOTIFY_SOCKET: %m");
    begin_watchdog(master);
}

void service_manager_end(struct master *master)
{
    timer_clear(&master->loop.timers, &master->service_manager.watchdog);
    if (master->service_manager.descriptor >= 0) close(master->service_manager.descriptor);
    master->service_manager.descriptor = -1;
}

void service_manager_serving(struct master *master)
{
    const struct child *serving = master->serving;
    if (!serving || !serving->ready || master->stopping) return;
    master->service_manager.reload = 0; /* one that died with the gateway is over */
    say(master, "READY=1\nSTATUS=gateway %d serves, Sluice " SLUICE_VERSION, (int)serving->pid);
}

void service_manager_not_serving(struct master *master, const char *why) { say(master, "STATUS=%s", why); }

void service_manager_reloading(struct master *master, uint64_t command)
{
    master->service_manager.reload = command;
    say(master, "RELOADING=1\nMONOTONIC_USEC=%llu\nSTATUS=reloading",
        (unsigned long long)(clock_monotonic_ns() / 1000));
}

/* The gateway answers them in order, so the newest one is the last. */
void service_manager_answered(struct master *master, uint64_t command)
{
    if (command != 0 && command == master->service_manager.reload) service_manager_serving(master);
}

/* However long the unit's own patience is: what the configuration allows is waited for. */
void service_manager_stopping(struct master *master, uint64_t within_ms)
{
    say(master, "STOPPING=1\nSTATUS=finishing requests in flight\nEXTEND_TIMEOUT_USEC=%llu",
        (unsigned long long)within_ms * 1000);
}

/* --- sockets --- */

/* False: no TCP socket that listens. */
static bool address_of(int descriptor, struct address *address)
{
    int listens = 0, type = 0;
    socklen_t length = sizeof listens;
    if (getsockopt(descriptor, SOL_SOCKET, SO_ACCEPTCONN, &listens, &length) != 0 || !listens) return false;
    length = sizeof type;
    if (getsockopt(descriptor, SOL_SOCKET, SO_TYPE, &type, &length) != 0 || type != SOCK_STREAM) return false;
    *address = (struct address){ 0 };
    length = sizeof *address;
    return getsockname(descriptor, &address->any, &length) == 0 &&
           (address->any.sa_family == AF_INET || address->any.sa_family == AF_INET6);
}

static void take_socket(struct master *master, int descriptor)
{
    struct address address;
    int flags = fcntl(descriptor, F_GETFL);
    if (flags < 0) return;
    if (!address_of(descriptor, &address) || fcntl(descriptor, F_SETFL, flags | O_NONBLOCK) != 0) {
        log_warning("descriptor %d, passed by the service manager, is no TCP socket that listens: not used",
                    descriptor);
        close(descriptor);
        return;
    }
    fcntl(descriptor, F_SETFD, FD_CLOEXEC);
    int on = 1;
    setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* as for our own; accepted ones inherit it */
    sockets_add_passed(master, descriptor, &address);
}

void service_manager_take_sockets(struct master *master)
{
    uint64_t count;
    bool passed = getenv("LISTEN_PID") && is_for_us("LISTEN_PID") && number_from_environment("LISTEN_FDS", &count) &&
                  count <= INT_MAX - PASSED_FIRST;
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
    if (!passed) return;
    for (int i = 0; i < (int)count && i < SOCKETS_PASSED_MAX; i++) take_socket(master, PASSED_FIRST + i);
    if (count > SOCKETS_PASSED_MAX)
        log_warning("of %llu sockets that were passed, %d are used", (unsigned long long)count, SOCKETS_PASSED_MAX);
}
