/* One c-ares channel; a struct for each name that is watched; a short-lived struct for each look-up of a name (A and AAAA at once).
 *
 * A look-up belongs to c-ares until both answers are in, whatever happens to the name meanwhile: it then finds its name gone and
 * only frees itself. What a look-up finds is told from a task, as c-ares may answer inside the call that asked. */
#include "resolve/resolver.h"

#include "base/map.h"
#include "base/memory.h"
#include "base/random.h"
#include "resolve/private.h"

#include <ares.h>
#include <arpa/nameser.h>
#include <sys/epoll.h>

#define TRY_TIMEOUT_MS 1500 /* doubles with the second of two tries */
#define TRIES 2
#define WAIT_FLOOR_MS 100 /* whatever a TTL or the settings say */
#define BACKOFF_FIRST_MS 250
#define BACKOFF_LAST_MS 30000
#define ABSENT_ANSWERS_MAX 3
#define HOSTS_FILE_TTL_S 60

struct resolver {
    struct loop *loop;
    ares_channel channel;
    uint64_t ttl_minimum_ms, ttl_maximum_ms;
    struct map names;         /* struct name by its text */
    struct list_link sockets; /* c-ares's */
    struct timer timer;       /* c-ares's */
    struct random random;
};

struct socket {
    struct event_source source;
    struct list_link link;
    struct resolver *resolver;
    struct retired retired;
};

struct name {
    struct resolver *resolver;
    char *text;
    struct list_link watches;
    struct timer timer; /* the next look-up */
    struct task task;   /* tells the watches */
    struct lookup *lookup;
    struct address_set families[FAMILIES]; /* as answered last */
    struct address_set addresses;          /* both, as told */
    struct error error;                    /* why there are none */
    uint32_t generation;                   /* 0: nothing known yet */
    unsigned absent_in_a_row, failures_in_a_row;
    bool telling;
};

struct resolver_watch {
    struct name *name;
    struct list_link link;
    void (*changed)(void *argument, const struct address *, size_t count, const struct error *);
    void *argument;
    uint32_t told; /* the generation */
};

struct lookup {
    struct name *name; /* NULL: it is not watched any more */
    unsigned pending;
    struct query {
        struct lookup *lookup;
        struct answer answer;
    } queries[FAMILIES];
};

/* --- the channel's sockets and its clock --- */

static void arm_timer(struct resolver *resolver)
{
    struct timeval left;
    if (!ares_timeout(resolver->channel, NULL, &left)) {
        timer_clear(&resolver->loop->timers, &resolver->timer);
        return;
    }
    uint64_t left_ms = (uint64_t)left.tv_sec * 1000 + ((uint64_t)left.tv_usec + 999) / 1000;
    timer_set(&resolver->loop->timers, &resolver->timer, resolver->loop->now_ms + left_ms);
}

static void channel_timer(struct timer *timer)
{
    struct resolver *resolver = CONTAINER_OF(timer, struct resolver, timer);
    ares_process_fd(resolver->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    arm_timer(resolver);
}

static void socket_ready(struct event_source *source, uint32_t events)
{
    struct socket *socket = CONTAINER_OF(source, struct socket, source);
    struct resolver *resolver = socket->resolver;
    ares_socket_t descriptor = source->descriptor;
    ares_process_fd(resolver->channel, events & ~(uint32_t)EPOLLOUT ? descriptor : ARES_SOCKET_BAD,
                    events & EPOLLOUT ? descriptor : ARES_SOCKET_BAD);
    arm_timer(resolver);
}

static void destroy_socket(struct retired *retired) { free(CONTAINER_OF(retired, struct socket, retired)); }

static struct socket *socket_get(struct resolver *resolver, ares_socket_t descriptor)
{
    for (struct list_link *link = resolver->sockets.next; link != &resolver->sockets; link = link->next) {
        struct socket *socket = CONTAINER_OF(link, struct socket, link);
        if (socket->source.descriptor == descriptor) return socket;
    }
    struct socket *socket = memory_allocate(sizeof *socket);
    socket->source = (struct event_source){ .ready = socket_ready, .descriptor = -1 };
    socket->resolver = resolver;
    list_push_back(&resolver->sockets, &socket->link);
    return socket;
}

/* c-ares says what it waits for; neither means that it closes the socket. One that can't be watched leaves its queries to their
 * timeouts. */
static void socket_wanted(void *argument, ares_socket_t descriptor, int readable, int writable)
{
    struct resolver *resolver = argument;
    struct socket *socket = socket_get(resolver, descriptor);
    uint32_t events = (readable ? EPOLLIN : 0) | (writable ? EPOLLOUT : 0);
    if (events && loop_watch_level(resolver->loop, &socket->source, descriptor, events, NULL)) return;
    if (socket->source.descriptor >= 0) loop_unwatch(resolver->loop, &socket->source, false);
    list_remove(&socket->link);
    loop_retire(resolver->loop, &socket->retired, destroy_socket);
}

/* --- what a look-up has found --- */

static uint64_t with_jitter(struct resolver *resolver, uint64_t wait_ms)
{
    return wait_ms + random_below(&resolver->random, wait_ms / 10 + 1);
}

static uint64_t backoff_ms(const struct resolver *resolver, unsigned times)
{
    uint64_t wait_ms = times < 8 ? (uint64_t)BACKOFF_FIRST_MS << (times - 1) : BACKOFF_LAST_MS;
    return wait_ms < resolver->ttl_maximum_ms ? wait_ms : resolver->ttl_maximum_ms;
}

static void look_up_again(struct name *name, uint64_t wait_ms)
{
    struct resolver *resolver = name->resolver;
    if (wait_ms < WAIT_FLOOR_MS) wait_ms = WAIT_FLOOR_MS;
    timer_set(&resolver->loop->timers, &name->timer, resolver->loop->now_ms + with_jitter(resolver, wait_ms));
}

/* Tells the watches if that makes a difference, or if it is the first thing they hear. */
static void put_together(struct name *name)
{
    struct address_set all;
    address_set_join(&all, name->families, FAMILIES);
    if (name->generation > 0 && address_set_equal(&all, &name->addresses)) {
        address_set_release(&all);
        return;
    }
    address_set_release(&name->addresses);
    name->addresses = all;
    name->generation++;
    loop_enqueue(name->resolver->loop, &name->task);
}

/* The server says that there are none. */
static void none_found(struct name *name)
{
    if (++name->absent_in_a_row >= ABSENT_ANSWERS_MAX) {
        for (int i = 0; i < FAMILIES; i++) address_set_release(&name->families[i]);
    }
    error_format(&name->error, "cannot resolve \"%s\": the name has no addresses", name->text);
    uint64_t wait_ms = backoff_ms(name->resolver, name->absent_in_a_row);
    look_up_again(name, wait_ms > name->resolver->ttl_minimum_ms ? wait_ms : name->resolver->ttl_minimum_ms);
}

static void no_answer(struct name *name, const struct answer *trouble)
{
    name->failures_in_a_row++;
    error_format(&name->error, "cannot resolve \"%s\": %s", name->text, trouble->why);
    look_up_again(name, backoff_ms(name->resolver, name->failures_in_a_row));
}

/* A family without an answer keeps what it had. */
static void some_found(struct name *name, struct answer *answers)
{
    struct resolver *resolver = name->resolver;
    name->absent_in_a_row = name->failures_in_a_row = 0;
    uint64_t ttl_ms = resolver->ttl_maximum_ms;
    for (int i = 0; i < FAMILIES; i++) {
        if (answers[i].kind == ANSWER_TROUBLE) continue;
        address_set_release(&name->families[i]);
        name->families[i] = answers[i].addresses;
        answers[i].addresses = (struct address_set){ 0 };
        if (answers[i].kind == ANSWER_FOUND && answers[i].ttl_ms < ttl_ms) ttl_ms = answers[i].ttl_ms;
    }
    look_up_again(name, ttl_ms > resolver->ttl_minimum_ms ? ttl_ms : resolver->ttl_minimum_ms);
}

static void conclude(struct name *name, struct answer *answers)
{
    bool found = false;
    const struct answer *trouble = NULL;
    for (int i = 0; i < FAMILIES; i++) {
        found |= answers[i].kind == ANSWER_FOUND;
        if (answers[i].kind == ANSWER_TROUBLE) trouble = &answers[i];
    }
    if (found)
        some_found(name, answers);
    else if (trouble)
        no_answer(name, trouble);
    else
        none_found(name);
    put_together(name);
}

/* --- look-ups --- */

static void query_answered(void *argument, int status, int timeouts, unsigned char *bytes, int length)
{
    struct query *query = argument;
    struct lookup *lookup = query->lookup;
    struct name *name = lookup->name;
    if (name) answer_parse(&query->answer, (int)(query - lookup->queries), status, bytes, length);
    if (--lookup->pending > 0) return;
    if (name) {
        struct answer answers[FAMILIES];
        for (int i = 0; i < FAMILIES; i++) answers[i] = lookup->queries[i].answer;
        name->lookup = NULL;
        conclude(name, answers);
        for (int i = 0; i < FAMILIES; i++) lookup->queries[i].answer = answers[i];
    }
    for (int i = 0; i < FAMILIES; i++) address_set_release(&lookup->queries[i].answer.addresses);
    free(lookup);
}

static bool answered_at_home(struct name *name)
{
    struct answer answers[FAMILIES] = { { .ttl_ms = HOSTS_FILE_TTL_S * 1000 }, { .ttl_ms = HOSTS_FILE_TTL_S * 1000 } };
    if (!answer_localhost(name->text, answers) && !answer_from_hosts_file(name->resolver->channel, name->text, answers))
        return false;
    conclude(name, answers);
    for (int i = 0; i < FAMILIES; i++) address_set_release(&answers[i].addresses);
    return true;
}

static void look_up(struct timer *timer)
{
    struct name *name = CONTAINER_OF(timer, struct name, timer);
    struct resolver *resolver = name->resolver;
    if (answered_at_home(name)) return;
    struct lookup *lookup = memory_allocate(sizeof *lookup);
    lookup->name = name;
    lookup->pending = FAMILIES;
    name->lookup = lookup;
    for (int i = 0; i < FAMILIES; i++) lookup->queries[i].lookup = lookup;
    /* The last answer may come inside its call and free the look-up. */
    ares_search(resolver->channel, name->text, ns_c_in, ns_t_a, query_answered, &lookup->queries[FAMILY_V4]);
    ares_search(resolver->channel, name->text, ns_c_in, ns_t_aaaa, query_answered, &lookup->queries[FAMILY_V6]);
    arm_timer(resolver);
}

/* --- names and watches --- */

static void destroy_name(struct name *name)
{
    struct resolver *resolver = name->resolver;
    if (name->lookup) name->lookup->name = NULL;
    timer_clear(&resolver->loop->timers, &name->timer);
    loop_dequeue(resolver->loop, &name->task);
    map_remove(&resolver->names, slice_from_cstring(name->text));
    for (int i = 0; i < FAMILIES; i++) address_set_release(&name->families[i]);
    address_set_release(&name->addresses);
    free(name->text);
    free(name);
}

static struct resolver_watch *find_untold(struct name *name)
{
    for (struct list_link *link = name->watches.next; link != &name->watches; link = link->next) {
        struct resolver_watch *watch = CONTAINER_OF(link, struct resolver_watch, link);
        if (watch->told != name->generation) return watch;
    }
    return NULL;
}

/* The one who is told may watch and unwatch what it likes, so the walk begins anew each time. */
static void tell_watches(struct task *task)
{
    struct name *name = CONTAINER_OF(task, struct name, task);
    name->telling = true;
    struct resolver_watch *watch;
    while ((watch = find_untold(name))) {
        watch->told = name->generation;
        watch->changed(watch->argument, name->addresses.items, name->addresses.count,
                       name->addresses.count ? NULL : &name->error);
    }
    name->telling = false;
    if (list_is_empty(&name->watches)) destroy_name(name);
}

static struct name *create_name(struct resolver *resolver, char *text)
{
    struct name *name = memory_allocate(sizeof *name);
    name->resolver = resolver;
    name->text = text;
    list_init(&name->watches);
    timer_init(&name->timer, look_up);
    name->task.run = tell_watches;
    map_set(&resolver->names, slice_from_cstring(text), name);
    struct address literal;
    if (address_parse_ip(slice_from_cstring(text), 0, &literal)) {
        address_set_add(&name->families[FAMILY_V4], &literal);
        put_together(name);
    } else {
        timer_set(&resolver->loop->timers, &name->timer, resolver->loop->now_ms);
    }
    return name;
}

struct resolver_watch *resolver_watch(struct resolver *resolver, struct slice host,
                                      void (*changed)(void *argument, const struct address *, size_t count,
                                                      const struct error *),
                                      void *argument)
{
    char *text = memory_copy_slice(host);
    for (char *at = text; *at; at++) *at = *at >= 'A' && *at <= 'Z' ? (char)(*at | 0x20) : *at;
    struct name *name = map_find(&resolver->names, slice_from_cstring(text));
    if (name)
        free(text);
    else
        name = create_name(resolver, text);
    struct resolver_watch *watch = memory_allocate(sizeof *watch);
    *watch = (struct resolver_watch){ .name = name, .changed = changed, .argument = argument };
    list_push_back(&name->watches, &watch->link);
    if (name->generation > 0) loop_enqueue(resolver->loop, &name->task);
    return watch;
}

void resolver_unwatch(struct resolver_watch *watch)
{
    struct name *name = watch->name;
    list_remove(&watch->link);
    free(watch);
    if (list_is_empty(&name->watches) && !name->telling) destroy_name(name);
}

/* --- the resolver --- */

static char *join_servers(const struct resolver_settings *settings)
{
    char *joined = memory_copy_slice(settings->servers[0]);
    for (size_t i = 1; i < settings->server_count; i++) {
        char *longer = memory_format("%s,%.*s", joined, SLICE_PRINT(settings->servers[i]));
        free(joined);
        joined = longer;
    }
    return joined;
}

/* Search domains belong to the system's servers; names that are asked elsewhere are taken as they are. */
static int open_channel(struct resolver *resolver, const struct resolver_settings *settings, ares_channel *channel)
{
    struct ares_options options = {
        .timeout = TRY_TIMEOUT_MS,
        .tries = TRIES,
        .sock_state_cb = socket_wanted,
        .sock_state_cb_data = resolver,
        .ndomains = 0,
    };
    int given = ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB;
    if (settings->server_count) given |= ARES_OPT_DOMAINS;
    int status = ares_init_options(channel, &options, given);
    if (status != ARES_SUCCESS || settings->server_count == 0) return status;
    char *servers = join_servers(settings);
    status = ares_set_servers_ports_csv(*channel, servers);
    free(servers);
    if (status != ARES_SUCCESS) ares_destroy(*channel);
    return status;
}

static void set_bounds(struct resolver *resolver, uint64_t ttl_minimum_ms, uint64_t ttl_maximum_ms)
{
    resolver->ttl_minimum_ms = ttl_minimum_ms;
    resolver->ttl_maximum_ms = ttl_maximum_ms ? ttl_maximum_ms : UINT64_MAX / 4;
}

struct resolver *resolver_create(struct loop *loop, const struct resolver_settings *settings, struct error *error)
{
    struct resolver *resolver = memory_allocate(sizeof *resolver);
    resolver->loop = loop;
    set_bounds(resolver, settings->ttl_minimum_ms, settings->ttl_maximum_ms);
    map_init(&resolver->names);
    list_init(&resolver->sockets);
    timer_init(&resolver->timer, channel_timer);
    random_init(&resolver->random);
    int status = ares_library_init(ARES_LIB_INIT_ALL);
    if (status == ARES_SUCCESS) {
        status = open_channel(resolver, settings, &resolver->channel);
        if (status == ARES_SUCCESS) return resolver;
        ares_library_cleanup();
    }
    error_format(error, "cannot start the resolver: %s", ares_strerror(status));
    map_release(&resolver->names);
    free(resolver);
    return NULL;
}

/* --- other settings --- */

struct resolver_change {
    ares_channel channel;
    uint64_t ttl_minimum_ms, ttl_maximum_ms;
};

struct resolver_change *resolver_prepare(struct resolver *resolver, const struct resolver_settings *settings,
                                         struct error *error)
{
    struct resolver_change *change = memory_allocate(sizeof *change);
    change->ttl_minimum_ms = settings->ttl_minimum_ms;
    change->ttl_maximum_ms = settings->ttl_maximum_ms;
    int status = open_channel(resolver, settings, &change->channel);
    if (status == ARES_SUCCESS) return change;
    error_format(error, "cannot change the resolver's settings: %s", ares_strerror(status));
    free(change);
    return NULL;
}

/* A look-up under way belongs to the old servers: nobody waits for it any more. Literal addresses have no timer. */
static void ask_again(struct name *name)
{
    struct loop *loop = name->resolver->loop;
    bool is_asking = name->lookup != NULL;
    if (is_asking) name->lookup->name = NULL;
    name->lookup = NULL;
    if (is_asking || timer_is_set(&name->timer)) timer_set(&loop->timers, &name->timer, loop->now_ms);
}

void resolver_commit(struct resolver *resolver, struct resolver_change *change)
{
    ares_channel before = resolver->channel;
    size_t position = 0;
    struct map_entry *entry;
    while ((entry = map_next(&resolver->names, &position))) ask_again(entry->value);
    set_bounds(resolver, change->ttl_minimum_ms, change->ttl_maximum_ms);
    resolver->channel = change->channel;
    ares_destroy(before);
    arm_timer(resolver);
    free(change);
}

void resolver_abandon(struct resolver_change *change)
{
    if (!change) return;
    ares_destroy(change->channel);
    free(change);
}

void resolver_destroy(struct resolver *resolver)
{
    size_t position = 0;
    struct map_entry *entry;
    while ((entry = map_next(&resolver->names, &position))) {
        struct name *name = entry->value;
        struct list_link *link;
        while ((link = list_first(&name->watches))) {
            list_remove(link);
            free(CONTAINER_OF(link, struct resolver_watch, link));
        }
        destroy_name(name);
    }
    ares_destroy(resolver->channel); /* ends the look-ups and closes the sockets */
    ares_library_cleanup();
    timer_clear(&resolver->loop->timers, &resolver->timer);
    map_release(&resolver->names);
    free(resolver);
}
