/* gateway/connection.c: see connection.h. */
#include "gateway/connection.h"

#include "base/hash.h"
#include "event/event.h"
#include "gateway/peer_certificate.h"
#include "http/h1_server.h"
#include "http/h2_server.h"

#include <stdlib.h>
#include <unistd.h>

#define ADDRESS_TABLE_ENTRIES (64 * 1024u)
#define LEAVING_MAX 128

struct connection {
    struct list_link link; /* table->connections */
    struct connection_table *table;
    struct server_session *session; /* NULL: not yet */
    struct handshake *handshake;    /* what comes before it; NULL: nothing, or it is over */
    struct retired retired;
    uint64_t address_hash;
    bool counted_by_address;
    bool leaving;
    bool entrance_has_tls, takes_http2;
    bool is_probe;        /* counted in table->probes */
    bool is_beyond_limit; /* of its address, which became known when there was a connection already */
    struct peer peer;
};

void address_limits_init(struct address_limits *limits)
{
    tag_table_init(&limits->open, ADDRESS_TABLE_ENTRIES);
    tag_table_init(&limits->newcomers, ADDRESS_TABLE_ENTRIES);
    tag_table_init(&limits->handshakes, ADDRESS_TABLE_ENTRIES);
}

void address_limits_release(struct address_limits *limits)
{
    tag_table_release(&limits->open);
    tag_table_release(&limits->newcomers);
    tag_table_release(&limits->handshakes);
}

void connection_table_init(struct connection_table *table)
{
    list_init(&table->connections);
    handshakes_init(&table->handshakes, table->http->loop);
    gauge_set(&table->count, 0);
    table->leaving = table->probes = 0;
    table->draining = table->yields_only = false;
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

static uint32_t second_of(const struct connection_table *table) { return (uint32_t)(table->http->loop->now_ms / 1000); }

/* False: the address has too many. */
static bool count_address(struct connection_table *table, const struct address *address, uint64_t *hash, bool *counted)
{
    const struct connection_limits *limits = &table->limits;
    *counted = false;
    if (limits->connections_per_address_max == 0 && limits->new_connections_per_address_per_second == 0) return true;
    *hash = hash_address(address);
    if (limits->new_connections_per_address_per_second > 0) {
        uint32_t rate = tag_table_rate(&table->addresses->newcomers, *hash, second_of(table));
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

static void destroy_connection(struct retired *retired)
{
    struct connection *connection = CONTAINER_OF(retired, struct connection, retired);
    free((void *)(uintptr_t)connection->peer.certificate);
    free(connection);
}

static void count_probe(struct connection *connection, bool is_probe)
{
    if (is_probe == connection->is_probe) return;
    connection->is_probe = is_probe;
    if (is_probe)
        connection->table->probes++;
    else
        connection->table->probes--;
}

/* Its socket is closed, its session or handshake gone. */
static void end(struct connection *connection)
{
    struct connection_table *table = connection->table;
    count_probe(connection, false);
    list_remove(&connection->link);
    if (connection->leaving)
        table->leaving--;
    else
        gauge_add(&table->count, -1);
    if (connection->counted_by_address) tag_table_decrement(&table->addresses->open, connection->address_hash);
    loop_retire(table->http->loop, &connection->retired, destroy_connection);
    tell_if_emptied(table);
}

static void session_closed(struct server_session *session, void *owner)
{
    (void)session;
    end(owner);
}

static void session_handed_over(struct server_session *, struct session_socket, void *owner);

static const struct server_session_events session_events = {
    .open = session_open,
    .refused = session_refused,
    .closed = session_closed,
};

/* Where a client may begin with HTTP/2's preface, because it knows whom it talks to (RFC 9113 3.3). */
static const struct server_session_events convertible_session_events = {
    .open = session_open,
    .refused = session_refused,
    .closed = session_closed,
    .handed_over = session_handed_over,
};

static void set_address(struct connection *connection, const struct address *address)
{
    connection->peer.address = *address;
    connection->peer.ip_length = (uint8_t)address_write_ip(address, connection->peer.ip_text);
}

/* NULL when memory is short. */
static struct connection *create_connection(struct connection_table *table, const struct address *peer)
{
    struct connection *connection = calloc(1, sizeof *connection);
    if (!connection) return NULL;
    connection->table = table;
    set_address(connection, peer);
    list_push_back(&table->connections, &connection->link);
    return connection;
}

/* --- sessions --- */

static void take_session(struct connection *connection, struct server_session *session)
{
    connection->session = session;
    if (!session) end(connection);
}

/* Which HTTP is spoken over TLS says ALPN. In clear the client says it by its first bytes, which an h1 session sees and hands over. */
static void start_session(struct connection *connection, struct session_socket socket)
{
    const struct connection_table *table = connection->table;
    bool is_h2 = socket.early || (socket.tls && slice_equal(tls_session_protocol(socket.tls), SLICE("h2")));
    bool may_become_h2 = connection->takes_http2 && !socket.tls && !is_h2;
    struct server_session *(*start)(struct http_worker *, const struct server_settings *const *, struct session_socket,
                                    const struct peer *, const struct server_session_events *, void *);
    start = is_h2 ? h2_server_start : h1_server_start;
    take_session(connection, start(table->http, table->settings, socket, &connection->peer,
                                   may_become_h2 ? &convertible_session_events : &session_events, connection));
}

/* It began before the drain did, so it still gets its session, which then ends like the others. */
static void join_drain(struct connection *connection)
{
    const struct connection_table *table = connection->table;
    if (!table->draining || !connection->session) return;
    (table->yields_only ? server_session_yield : server_session_drain)(connection->session);
}

static void session_handed_over(struct server_session *session, struct session_socket socket, void *owner)
{
    (void)session;
    start_session(owner, socket);
    join_drain(owner);
}

static void answer_and_leave(struct connection *connection, int descriptor, const struct error *answer)
{
    const struct connection_table *table = connection->table;
    struct session_socket socket = { .descriptor = descriptor };
    take_session(connection, h1_server_turn_away(table->http, table->settings, socket, answer, &connection->peer,
                                                 &session_events, connection));
}

static void answer_no_room(struct connection *connection, int descriptor)
{
    struct error error;
    error_set(&error, BLAME_US, RETRY_NEVER, 503, "overload", "no room for another connection");
    answer_and_leave(connection, descriptor, &error);
}

/* --- what comes before a session --- */

/* A session resumed costs little, but who would begin with it can't be known. */
static bool may_begin_handshake(struct connection_table *table, const struct address *address)
{
    uint32_t rate_max = table->limits.handshakes_per_address_per_second;
    if (rate_max == 0) return true;
    uint32_t rate = tag_table_rate(&table->addresses->handshakes, hash_address(address), second_of(table));
    if (rate == TAG_TABLE_FULL || rate <= rate_max) return true;
    handshakes_count_failure(&table->handshakes, "rate-limit");
    return false;
}

/* It is the client that limits are for, not the proxy. */
static bool client_announced(struct handshake *handshake, const struct address *client,
                             const struct address *destination, void *owner)
{
    (void)handshake;
    struct connection *connection = owner;
    struct connection_table *table = connection->table;
    if (client->any.sa_family != AF_UNSPEC) {
        set_address(connection, client);
        connection->peer.destination = *destination;
    }
    connection->is_beyond_limit = !count_address(table, &connection->peer.address, &connection->address_hash,
                                                 &connection->counted_by_address);
    if (connection->is_beyond_limit) {
        counter_add(&table->turned_away, 1);
        connection->counted_by_address = false;
    }
    if (!connection->entrance_has_tls) return true; /* and answered 503, if it comes to that */
    return !connection->is_beyond_limit && may_begin_handshake(table, &connection->peer.address);
}

static bool note_tls(struct connection *connection, const struct tls_session *tls)
{
    bool failed;
    connection->peer.tls = true;
    connection->peer.certificate = peer_certificate_read(tls_session_ssl(tls), &failed);
    if (failed) handshakes_count_failure(&connection->table->handshakes, "certificate-refused");
    return !failed;
}

static void handshake_done(struct handshake *handshake, struct session_socket socket, void *owner)
{
    (void)handshake;
    struct connection *connection = owner;
    connection->handshake = NULL;
    if (socket.tls && !note_tls(connection, socket.tls)) {
        tls_session_destroy(socket.tls);
        close(socket.descriptor);
        end(connection);
    } else if (connection->is_beyond_limit) {
        answer_no_room(connection, socket.descriptor);
    } else {
        start_session(connection, socket);
        join_drain(connection);
    }
}

static void handshake_spoke_plainly(struct handshake *handshake, int descriptor, void *owner)
{
    (void)handshake;
    struct connection *connection = owner;
    struct error error;
    connection->handshake = NULL;
    error_set(&error, BLAME_CLIENT, RETRY_NEVER, 400, "plain-http-on-tls-port",
              "plain HTTP on a port that speaks TLS (ask by https://)");
    answer_and_leave(connection, descriptor, &error);
}

static void handshake_failed(struct handshake *handshake, void *owner)
{
    (void)handshake;
    struct connection *connection = owner;
    connection->handshake = NULL;
    end(connection);
}

static const struct handshake_events handshake_events = {
    .announced = client_announced,
    .done = handshake_done,
    .spoke_plainly = handshake_spoke_plainly,
    .failed = handshake_failed,
};

static void start_handshake(struct connection *connection, int descriptor, const struct entrance *entrance)
{
    struct connection_table *table = connection->table;
    connection->entrance_has_tls = entrance->tls != NULL;
    if (entrance->proxy_count > 0 || may_begin_handshake(table, &connection->peer.address))
        connection->handshake = handshake_start(&table->handshakes, descriptor, entrance, &handshake_events,
                                                connection);
    else
        close(descriptor);
    if (!connection->handshake) end(connection);
}

/* --- the beginning --- */

static void turn_away(struct connection_table *table, int descriptor, const struct address *peer)
{
    struct connection *connection = table->leaving < LEAVING_MAX ? create_connection(table, peer) : NULL;
    if (!connection) {
        close_on_the_spot(descriptor);
        return;
    }
    connection->leaving = true;
    table->leaving++;
    answer_no_room(connection, descriptor);
}

/* There is no room. Where something else than HTTP is spoken first nobody would read an answer. */
static void refuse(struct connection_table *table, int descriptor, const struct address *peer,
                   const struct entrance *entrance)
{
    counter_add(&table->turned_away, 1);
    if (entrance && (entrance->tls || entrance->proxy_count > 0))
        close(descriptor);
    else
        turn_away(table, descriptor, peer);
}

/* False: it is closed. */
static bool let_in(struct connection_table *table, int descriptor, const struct address *peer,
                   const struct entrance *entrance)
{
    if (entrance->is_closed) {
        handshakes_count_failure(&table->handshakes, "no-certificate");
    } else if (entrance->proxy_count > 0 && !entrance_trusts(entrance, peer)) {
        counter_add(&table->handshakes.figures.proxies_untrusted, 1);
    } else {
        return true;
    }
    close(descriptor);
    return false;
}

static void begin(struct connection *connection, int descriptor, const struct entrance *entrance)
{
    connection->peer.descriptor = descriptor;
    if (entrance) {
        connection->peer.redirect_port = entrance->redirect_port;
        connection->peer.only_probes = entrance->only_probes;
    }
    connection->takes_http2 = !entrance || entrance->http2;
    if (entrance && (entrance->tls || entrance->proxy_count > 0))
        start_handshake(connection, descriptor, entrance);
    else
        start_session(connection, (struct session_socket){ .descriptor = descriptor });
}

/* Anybody reaches the probes' entrance, and a probe is answered as it comes. So whoever holds a place there longest makes room: those who
 * only hold places keep out neither a probe nor, as these are few, whoever comes to the API. */
static void make_room_for_probe(struct connection_table *table)
{
    if (table->limits.probes_max == 0 || table->probes < table->limits.probes_max) return;
    for (struct list_link *link = table->connections.next; link != &table->connections; link = link->next) {
        struct connection *connection = CONTAINER_OF(link, struct connection, link);
        if (!connection->is_probe || !connection->session) continue;
        count_probe(connection, false);
        counter_add(&table->turned_away, 1);
        server_session_abort(connection->session);
        return;
    }
}

void connection_accept(struct connection_table *table, int descriptor, const struct address *peer,
                       const struct entrance *entrance)
{
    uint64_t hash = 0;
    bool counted = false,
         is_proxy = entrance && entrance->proxy_count > 0; /* whose client is counted, once it is known */
    counter_add(&table->accepted, 1);
    if (entrance && !let_in(table, descriptor, peer, entrance)) return;
    if (entrance && entrance->only_probes) make_room_for_probe(table);
    if (gauge_read(&table->count) >= table->limits.connections_max ||
        (!is_proxy && !count_address(table, peer, &hash, &counted))) {
        refuse(table, descriptor, peer, entrance);
        return;
    }
    struct connection *connection = create_connection(table, peer);
    if (!connection) {
        if (counted) tag_table_decrement(&table->addresses->open, hash);
        refuse(table, descriptor, peer, entrance);
        return;
    }
    connection->address_hash = hash;
    connection->counted_by_address = counted;
    gauge_add(&table->count, 1);
    count_probe(connection, entrance && entrance->only_probes);
    begin(connection, descriptor, entrance);
}

/* --- the end --- */

static void for_each_session(struct connection_table *table, void (*call)(struct server_session *))
{
    struct list_link *next;
    for (struct list_link *link = table->connections.next; link != &table->connections; link = next) {
        next = link->next;
        struct server_session *session = CONTAINER_OF(link, struct connection, link)->session;
        if (session) call(session);
    }
}

static void abort_handshakes(struct connection_table *table)
{
    struct list_link *next;
    for (struct list_link *link = table->connections.next; link != &table->connections; link = next) {
        next = link->next;
        struct connection *connection = CONTAINER_OF(link, struct connection, link);
        if (!connection->handshake) continue;
        handshake_abort(connection->handshake);
        end(connection);
    }
}

/* Handshakes under way end by themselves: join_drain(). */
static void drain(struct connection_table *table, void (*drain_session)(struct server_session *))
{
    table->draining = true;
    table->yields_only = drain_session == server_session_yield;
    for_each_session(table, drain_session);
    tell_if_emptied(table);
}

void connection_table_drain(struct connection_table *table) { drain(table, server_session_drain); }

void connection_table_yield(struct connection_table *table) { drain(table, server_session_yield); }

void connection_table_cut(struct connection_table *table)
{
    abort_handshakes(table);
    for_each_session(table, server_session_cut);
}

void connection_table_abort(struct connection_table *table)
{
    abort_handshakes(table);
    for_each_session(table, server_session_abort);
}
