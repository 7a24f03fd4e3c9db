/* gateway/connection.c: see connection.h. */
#include "gateway/connection.h"

#include "base/hash.h"
#include "event/event.h"
#include "http/h1_server.h"
#include "http/h2_server.h"

#include <stdlib.h>
#include <unistd.h>

#define ADDRESS_TABLE_ENTRIES (64 * 1024u)
#define LEAVING_MAX 128

struct connection {
    struct list_link link; /* table->connections */
    struct connection_table *table;
    struct server_session *session;
    struct retired retired;
    uint64_t address_hash;
    bool counted_by_address;
    bool leaving;
    struct peer peer;
};

void address_limits_init(struct address_limits *limits)
{
    tag_table_init(&limits->open, ADDRESS_TABLE_ENTRIES);
    tag_table_init(&limits->newcomers, ADDRESS_TABLE_ENTRIES);
}

void address_limits_release(struct address_limits *limits)
{
    tag_table_release(&limits->open);
    tag_table_release(&limits->newcomers);
}

void connection_table_init(struct connection_table *table)
{
    list_init(&table->connections);
    gauge_set(&table->count, 0);
    table->leaving = 0;
    table->draining = false;
}

/* IPv6 clients own a /64 each, so that is what counts as one address. */
static uint64_t hash_address(const struct address *address)
{
    const char *bytes = (const char *)&address->v4.sin_addr;
    size_t length = sizeof address->v4.sin_addr;
    if (address->any.sa_family == AF_INET6) {
        bytes = (const char *)&address->v6.sin6_addr;
        length = 8;
    }
    return hash_keyed(hash_process_key(), slice_of(bytes, length));
}

/* For when too many are leaving already. A socket that is full of room takes this whole; what it does not take is no loss. A request
 * that has come already is read, because closing a socket with unread bytes in it resets the connection, and the answer with it. */
static void close_on_the_spot(int descriptor)
{
    static const char answer[] =
        "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n";
    char request[4096];
    ssize_t sent = send(descriptor, answer, sizeof answer - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    shutdown(descriptor, SHUT_WR);
    ssize_t got = recv(descriptor, request, sizeof request, MSG_DONTWAIT);
    (void)sent, (void)got;
    close(descriptor);
}

/* False: the address has too many. */
static bool count_address(struct connection_table *table, const struct address *address, uint64_t *hash, bool *counted)
{
    const struct connection_limits *limits = &table->limits;
    *counted = false;
    if (limits->connections_per_address_max == 0 && limits->new_connections_per_address_per_second == 0) return true;
    *hash = hash_address(address);
    if (limits->new_connections_per_address_per_second > 0) {
        uint32_t second = (uint32_t)(table->http->loop->now_ms / 1000);
        uint32_t rate = tag_table_rate(&table->addresses->newcomers, *hash, second);
        if (rate != TAG_TABLE_FULL && rate > limits->new_connections_per_address_per_second) return false;
    }
    if (limits->connections_per_address_max > 0) {
        uint32_t open = tag_table_increment(&table->addresses->open, *hash);
        *counted = open != TAG_TABLE_FULL;
        if (*counted && open > limits->connections_per_address_max) {
            tag_table_decrement(&table->addresses->open, *hash);
            return false;
        }
    }
    return true;
}

static void session_open(struct server_session *session, struct server_stream *stream, void *owner)
{
    (void)session;
    struct connection *connection = owner;
    connection->table->open(stream, connection->table->owner);
}

static void session_refused(struct server_session *session, const struct server_refusal *refusal, void *owner)
{
    (void)session;
    struct connection *connection = owner;
    connection->table->refused(refusal, &connection->peer, connection->table->owner);
}

/* Once; sessions may already close inside the walk of a drain. */
static void tell_if_emptied(struct connection_table *table)
{
    if (!table->draining || table->emptied_told || !list_is_empty(&table->connections)) return;
    table->emptied_told = true;
    table->emptied(table->owner);
}

static void destroy_connection(struct retired *retired) { free(CONTAINER_OF(retired, struct connection, retired)); }

static void session_closed(struct server_session *session, void *owner)
{
    (void)session;
    struct connection *connection = owner;
    struct connection_table *table = connection->table;
    list_remove(&connection->link);
    if (connection->leaving)
        table->leaving--;
    else
        gauge_add(&table->count, -1);
    if (connection->counted_by_address) tag_table_decrement(&table->addresses->open, connection->address_hash);
    loop_retire(table->http->loop, &connection->retired, destroy_connection);
    tell_if_emptied(table);
}

static void session_handed_over(struct server_session *, struct session_socket, void *owner);

static const struct server_session_events session_events = {
    .open = session_open,
    .refused = session_refused,
    .closed = session_closed,
    .handed_over = session_handed_over,
};

/* The client knows that it talks to an HTTP/2 server (RFC 9113 3.3). */
static void session_handed_over(struct server_session *session, struct session_socket socket, void *owner)
{
    (void)session;
    struct connection *connection = owner;
    struct connection_table *table = connection->table;
    connection->session = h2_server_start(table->http, table->settings, socket, &connection->peer, &session_events,
                                          connection);
    if (!connection->session)
        session_closed(NULL, connection);
    else if (table->draining)
        server_session_drain(connection->session);
}

/* NULL when memory is short. */
static struct connection *create_connection(struct connection_table *table, const struct address *peer)
{
    struct connection *connection = calloc(1, sizeof *connection);
    if (!connection) return NULL;
    connection->table = table;
    connection->peer.address = *peer;
    connection->peer.ip_length = (uint8_t)address_write_ip(peer, connection->peer.ip_text);
    list_push_back(&table->connections, &connection->link);
    return connection;
}

static void turn_away(struct connection_table *table, int descriptor, const struct address *peer)
{
    counter_add(&table->turned_away, 1);
    struct connection *connection = table->leaving < LEAVING_MAX ? create_connection(table, peer) : NULL;
    if (!connection) {
        close_on_the_spot(descriptor);
        return;
    }
    connection->leaving = true;
    table->leaving++;
    struct session_socket socket = { .descriptor = descriptor };
    connection->session = h1_server_turn_away(table->http, table->settings, socket, &connection->peer, &session_events,
                                              connection);
    if (!connection->session) session_closed(NULL, connection);
}

void connection_accept(struct connection_table *table, int descriptor, const struct address *peer)
{
    uint64_t hash = 0;
    bool counted;
    counter_add(&table->accepted, 1);
    if (gauge_read(&table->count) >= table->limits.connections_max || !count_address(table, peer, &hash, &counted)) {
        turn_away(table, descriptor, peer);
        return;
    }
    struct connection *connection = create_connection(table, peer);
    if (!connection) {
        if (counted) tag_table_decrement(&table->addresses->open, hash);
        turn_away(table, descriptor, peer);
        return;
    }
    connection->address_hash = hash;
    connection->counted_by_address = counted;
    gauge_add(&table->count, 1);
    struct session_socket socket = { .descriptor = descriptor };
    connection->session = h1_server_start(table->http, table->settings, socket, &connection->peer, &session_events,
                                          connection);
    if (!connection->session) session_closed(NULL, connection);
}

static void drain(struct connection_table *table, void (*drain_session)(struct server_session *))
{
    table->draining = true;
    struct list_link *next;
    for (struct list_link *link = table->connections.next; link != &table->connections; link = next) {
        next = link->next;
        drain_session(CONTAINER_OF(link, struct connection, link)->session);
    }
    tell_if_emptied(table);
}

void connection_table_drain(struct connection_table *table) { drain(table, server_session_drain); }

void connection_table_yield(struct connection_table *table) { drain(table, server_session_yield); }

void connection_table_abort(struct connection_table *table)
{
    struct list_link *next;
    for (struct list_link *link = table->connections.next; link != &table->connections; link = next) {
        next = link->next;
        server_session_abort(CONTAINER_OF(link, struct connection, link)->session);
    }
}
