/* libpq asks for host names by getaddrinfo(), which waits for name servers as long as it likes: half a minute, when the network swallows what
 * it is given. So names are asked for here, by a thread that is left to itself when the time is up, and libpq gets addresses. The names go
 * along, for certificates. */
#include "store/postgres.h"

#include "base/clock.h"
#include "base/memory.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>

struct lookup {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool is_done, is_abandoned;
    int code;
    struct addrinfo *found;
    char *name;
};

static void destroy(struct lookup *lookup)
{
    if (lookup->found) freeaddrinfo(lookup->found);
    pthread_cond_destroy(&lookup->changed);
    pthread_mutex_destroy(&lookup->lock);
    free(lookup->name);
    free(lookup);
}

/* Whoever comes last takes it away. */
static void *ask(void *argument)
{
    struct lookup *lookup = argument;
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *found = NULL;
    int code = getaddrinfo(lookup->name, NULL, &hints, &found);
    pthread_mutex_lock(&lookup->lock);
    lookup->code = code;
    lookup->found = code == 0 ? found : NULL;
    lookup->is_done = true;
    bool is_abandoned = lookup->is_abandoned;
    pthread_cond_signal(&lookup->changed);
    pthread_mutex_unlock(&lookup->lock);
    if (is_abandoned) destroy(lookup);
    return NULL;
}

/* Signals are for the threads that were made to take them. */
static bool start(struct lookup *lookup)
{
    pthread_attr_t attributes;
    pthread_t thread;
    sigset_t all, before;
    sigfillset(&all);
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool ok = pthread_create(&thread, &attributes, ask, lookup) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return ok;
}

static struct lookup *make(struct slice name)
{
    struct lookup *lookup = memory_allocate(sizeof *lookup);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&lookup->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    pthread_mutex_init(&lookup->lock, NULL);
    lookup->name = memory_copy_slice(name);
    return lookup;
}

/* True: it is done, and ours. */
static bool await(struct lookup *lookup, uint64_t deadline_ms)
{
    struct timespec until = { .tv_sec = (time_t)(deadline_ms / 1000), .tv_nsec = (long)(deadline_ms % 1000) * 1000000 };
    pthread_mutex_lock(&lookup->lock);
    int late = 0;
    while (!lookup->is_done && !late) late = pthread_cond_timedwait(&lookup->changed, &lookup->lock, &until);
    bool is_done = lookup->is_done;
    lookup->is_abandoned = !is_done;
    pthread_mutex_unlock(&lookup->lock);
    return is_done;
}

static void append(char **list, const char *comma, struct slice item)
{
    char *longer = memory_format("%s%s%.*s", *list ? *list : "", comma, SLICE_PRINT(item));
    free(*list);
    *list = longer;
}

static void add(struct postgres_hosts *hosts, struct slice host, const char *address, struct slice port)
{
    const char *comma = hosts->count++ ? "," : "";
    append(&hosts->names, comma, host);
    append(&hosts->addresses, comma, slice_from_cstring(address));
    append(&hosts->ports, comma, port);
}

#define ADDRESSES_MAX 8

static void add_all(struct postgres_hosts *hosts, struct slice host, const struct addrinfo *found, struct slice port)
{
    for (size_t i = 0; found && i < ADDRESSES_MAX; found = found->ai_next, i++) {
        char text[NI_MAXHOST];
        if (getnameinfo(found->ai_addr, found->ai_addrlen, text, sizeof text, NULL, 0, NI_NUMERICHOST) == 0)
            add(hosts, host, text, port);
    }
}

static bool add_by_name(struct postgres_hosts *hosts, struct slice host, struct slice port, uint64_t deadline_ms,
                        const char **problem)
{
    struct lookup *lookup = make(host);
    if (!start(lookup)) {
        destroy(lookup);
        *problem = "no thread to look up its host's name";
        return false;
    }
    if (!await(lookup, deadline_ms)) {
        *problem = "no answer of the name servers about its host in time";
        return false;
    }
    if (lookup->code != 0) *problem = gai_strerror(lookup->code);
    add_all(hosts, host, lookup->found, port);
    destroy(lookup);
    return hosts->count > 0;
}

static bool is_address(struct slice host, char text[INET6_ADDRSTRLEN])
{
    struct in6_addr address;
    if (host.length >= INET6_ADDRSTRLEN) return false;
    memcpy(text, host.at, host.length);
    text[host.length] = '\0';
    return inet_pton(AF_INET, text, &address) == 1 || inet_pton(AF_INET6, text, &address) == 1;
}

/* A host of several that has no address is passed over. */
bool postgres_hosts_resolve(struct postgres_hosts *hosts, const char *names, const char *ports, uint64_t deadline_ms,
                            const char **problem)
{
    struct slice rest = slice_from_cstring(names), rest_ports = slice_from_cstring(ports ? ports : ""), host;
    struct slice port = SLICE("");
    *hosts = (struct postgres_hosts){ 0 };
    while (slice_next(&rest, ',', &host)) {
        char text[INET6_ADDRSTRLEN];
        struct slice next_port;
        if (slice_next(&rest_ports, ',', &next_port)) port = next_port;
        if (host.length == 0 || host.at[0] == '/')
            add(hosts, host, "", port);
        else if (is_address(host, text))
            add(hosts, host, text, port);
        else
            add_by_name(hosts, host, port, deadline_ms, problem);
    }
    return hosts->count > 0;
}

void postgres_hosts_release(struct postgres_hosts *hosts)
{
    free(hosts->names);
    free(hosts->addresses);
    free(hosts->ports);
}
