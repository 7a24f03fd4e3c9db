/* resolve/: host names to addresses, by TTL, never blocking: c-ares on one loop (the control loop).
 *
 * A watched name is looked up at once and again when its TTL ends (within bounds, with jitter); `changed` is told only when the set
 * of addresses differs. While a name server is away the last known addresses stay, and the next look-up follows with back-off.
 * A name that the server says does not exist loses its addresses after three such answers in a row. */
#ifndef SLUICE_RESOLVE_RESOLVER_H
#define SLUICE_RESOLVE_RESOLVER_H

#include "event/event.h"

struct resolver_settings {
    const struct slice *servers; /* "ip:port"; none: as the system has it */
    size_t server_count;
    uint64_t ttl_minimum_ms, ttl_maximum_ms;
};

struct resolver;
struct resolver_change;
struct resolver_watch;

struct resolver *resolver_create(struct loop *, const struct resolver_settings *, struct error *);
void resolver_destroy(struct resolver *); /* ends all watches */
/* Other settings, in two halves, so that a change can be got ready before it is certain. NULL and *error where there can be none. */
struct resolver_change *resolver_prepare(struct resolver *, const struct resolver_settings *, struct error *);
/* From now on. What is known of the names stays until the new servers say otherwise; they are asked at once. */
void resolver_commit(struct resolver *, struct resolver_change *);
void resolver_abandon(struct resolver_change *); /* NULL is allowed */
/* `changed` runs from the loop, never inside a call: addresses sorted, ports 0; count 0 when the name has none. They hold during
 * the call. Two watches of one name share its look-ups. */
struct resolver_watch *resolver_watch(struct resolver *, struct slice host,
                                      void (*changed)(void *argument, const struct address *, size_t count,
                                                      const struct error *),
                                      void *argument);
void resolver_unwatch(struct resolver_watch *);

#endif
