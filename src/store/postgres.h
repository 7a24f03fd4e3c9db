/* store/postgres.h: shared by the files of this kind, and by nobody else: postgres_connection.c (where a location leads, connecting,
 * waiting with a deadline), postgres_resolve.c (its host's addresses) and postgres.c (statements and transactions over it). */
#ifndef SLUICE_STORE_POSTGRES_H
#define SLUICE_STORE_POSTGRES_H

#include "store/libpq.h"
#include "store/private.h"

struct postgres_store {
    struct store base;
    char *location;
    PGconn *connection; /* NULL: none; the next call outside of a transaction makes one */
    bool prepared[STATEMENT_COUNT];
    bool is_migrating;
    bool was_late;  /* the last wait ended because the time was up */
    uint64_t heard; /* the newest revision of notifications that were not taken yet */
};

/* Hosts of a location with their addresses, each list separated by commas as libpq wants it. */
struct postgres_hosts {
    char *names, *addresses, *ports;
    unsigned count;
};
/* Looks names up, until the deadline (clock_monotonic_ns() / 1000000). False: none has an address; *problem says why. In either case there
 * is something to release. */
bool postgres_hosts_resolve(struct postgres_hosts *, const char *names, const char *ports, uint64_t deadline_ms,
                            const char **problem) MUST_USE;
void postgres_hosts_release(struct postgres_hosts *);

bool postgres_check(struct slice location, struct error *);
char *postgres_show(struct slice location);

/* Connects where it isn't. */
bool postgres_connect(struct postgres_store *, struct error *) MUST_USE;
/* Gives the connection up, without waiting for anything. */
void postgres_disconnect(struct postgres_store *);
/* Waits for all results of what was sent (`sent`: what PQsend... returned) and keeps the last one, or the first that is an error. NULL: the
 * connection is lost or the time is up: it has been given up, and *error says why. */
PGresult *postgres_await(struct postgres_store *, int sent, struct error *) MUST_USE;
/* One or several statements as text, without values. */
bool postgres_run(struct postgres_store *, const char *text, struct error *) MUST_USE;
/* What an answer says that is an error. */
bool postgres_refuse(struct postgres_store *, const PGresult *, struct error *);
/* Notes the notifications that have come. */
void postgres_hear(struct postgres_store *);

#endif
