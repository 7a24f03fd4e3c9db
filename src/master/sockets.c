/* master/sockets.c: the listening sockets, which outlive every gateway. */
#include "base/log.h"
#include "base/memory.h"
#include "master/private.h"

#include <errno.h>
#include <unistd.h>

#define BACKLOG 4096

static struct held_address *find(struct master *master, const char *text)
{
    for (struct list_link *link = master->addresses.next; link != &master->addresses; link = link->next) {
        struct held_address *held = CONTAINER_OF(link, struct held_address, link);
        if (strcmp(held->text, text) == 0) return held;
    }
    return NULL;
}

/* One that the service manager passed and that has the port, but with another address. */
static const struct held_address *find_passed(const struct master *master, uint16_t port)
{
    struct address address;
    for (const struct list_link *link = master->addresses.next; link != &master->addresses; link = link->next) {
        const struct held_address *held = CONTAINER_OF(link, struct held_address, link);
        if (held->is_passed && address_parse(slice_from_cstring(held->text), &address) &&
            address_port(&address) == port)
            return held;
    }
    return NULL;
}

/* SO_REUSEPORT would let a second Sluice of the same user share the port in silence: a socket without it finds out. */
static bool is_free(const struct master *master, const struct address *address, const char *text, struct error *error)
{
    int one = 1;
    int probe = socket(address->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (probe < 0) return error_format(error, "%s: cannot make a socket: %m", text);
    setsockopt(probe, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (address->any.sa_family == AF_INET6) setsockopt(probe, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
    bool bound = bind(probe, &address->any, address_length(address)) == 0;
    int failure = errno;
    close(probe);
    if (bound) return true;
    const struct held_address *passed = find_passed(master, address_port(address));
    if (failure == EADDRINUSE && passed)
        return error_format(error, "%s: the service manager has passed %s instead (one of the two must change)", text,
                            passed->text);
    if (failure == EADDRINUSE)
        return error_format(error, "%s: the address is in use by another program (end it, or name another port)", text);
    if (failure == EACCES) return error_format(error, "%s: ports below 1024 need root or CAP_NET_BIND_SERVICE", text);
    return error_format(error, "%s: cannot bind: %s", text, error_from_errno(failure));
}

static bool open_sockets(struct held_address *held, const struct address *address, uint32_t count, struct error *error)
{
    while (held->count < count) {
        int descriptor = socket_listen(address, BACKLOG, error);
        if (descriptor < 0) return false;
        held->sockets[held->count++] = descriptor;
    }
    return true;
}

static void destroy(struct held_address *held)
{
    for (uint32_t i = 0; i < held->count; i++) close(held->sockets[i]);
    list_remove(&held->link);
    free(held->text);
    free(held);
}

static struct held_address *add(struct master *master, const char *text)
{
    struct held_address *held = memory_allocate(sizeof *held);
    held->text = memory_copy_slice(slice_from_cstring(text));
    list_push_back(&master->addresses, &held->link);
    return held;
}

struct held_address *sockets_get(struct master *master, uint64_t user, const char *text, uint32_t count,
                                 struct error *error)
{
    struct address address;
    struct held_address *held = find(master, text);
    if (held && held->is_leaving) {
        error_format(error, "%s: it is just being given up (try again in a moment)", text);
        return NULL;
    }
    if (held) { /* their number is fixed for the address's life */
        held->users |= user;
        return held;
    }
    if (count == 0) count = 1;
    if (count > SUPERVISION_DESCRIPTORS_MAX) count = SUPERVISION_DESCRIPTORS_MAX;
    if (!address_parse(slice_from_cstring(text), &address)) {
        error_format(error, "%s: not an address", text);
        return NULL;
    }
    if (!is_free(master, &address, text, error)) return NULL;
    held = add(master, text);
    held->users = user;
    if (open_sockets(held, &address, count, error)) return held;
    destroy(held);
    return NULL;
}

static void leave(struct held_address *held, uint64_t users)
{
    if ((held->users & users) == 0) return;
    held->users &= ~users;
    if (held->users > 0) return;
    held->is_leaving = false;
    if (!held->is_passed) destroy(held);
}

void sockets_leave(struct master *master, uint64_t users, const char *text)
{
    struct held_address *held = find(master, text);
    if (held) leave(held, users);
}

void sockets_leave_all(struct master *master, uint64_t users)
{
    struct list_link *next;
    for (struct list_link *link = master->addresses.next; link != &master->addresses; link = next) {
        next = link->next;
        leave(CONTAINER_OF(link, struct held_address, link), users);
    }
}

void sockets_write(const struct master *master, uint64_t user, char *into, size_t size)
{
    static const char more[] = ", ...";
    size_t used = 0;
    into[0] = '\0';
    for (const struct list_link *link = master->addresses.next; link != &master->addresses; link = link->next) {
        const struct held_address *held = CONTAINER_OF(link, struct held_address, link);
        if (!(held->users & user)) continue;
        if (used + strlen(held->text) + 2 + sizeof more > size) {
            snprintf(into + used, size - used, "%s", more);
            return;
        }
        used += (size_t)snprintf(into + used, size - used, "%s%s", used > 0 ? ", " : "", held->text);
    }
}

void sockets_close_all(struct master *master)
{
    struct list_link *link;
    while ((link = list_first(&master->addresses)) != NULL) destroy(CONTAINER_OF(link, struct held_address, link));
}

void sockets_add_passed(struct master *master, int descriptor, const struct address *address)
{
    char text[ADDRESS_TEXT_BYTES];
    address_write(address, text);
    struct held_address *held = find(master, text);
    if (!held) held = add(master, text);
    held->is_passed = true;
    if (held->count < COUNT_OF(held->sockets)) {
        held->sockets[held->count++] = descriptor;
    } else {
        close(descriptor);
    }
}

void sockets_warn_of_unused(const struct master *master)
{
    for (const struct list_link *link = master->addresses.next; link != &master->addresses; link = link->next) {
        const struct held_address *held = CONTAINER_OF(link, struct held_address, link);
        if (!held->is_passed || held->users > 0) continue;
        log_warning("%s was passed by the service manager, but no listener of the configuration has that address: "
                    "whoever connects there waits for ever",
                    held->text);
    }
}
