/* upstream/tls_client.h: private to this room: one TLS connection to an instance: whom it asks for, whom it takes for the instance, and
 * which earlier session it resumes. */
#ifndef SLUICE_UPSTREAM_TLS_CLIENT_H
#define SLUICE_UPSTREAM_TLS_CLIENT_H

#include "event/tls.h"
#include "upstream/instance.h"
#include "upstream/transport.h"

/* Where the newest ticket of an instance lies until it is used (RFC 8446 4.6.1). Its pool and every connection hold a reference: a ticket
 * comes when it likes. One worker's thread. */
struct ticket_shelf;

struct ticket_shelf *ticket_shelf_create(void); /* NULL when memory is short */
void ticket_shelf_drop(struct ticket_shelf *);  /* NULL is allowed */

/* Takes a reference to the shelf. NULL: *error. */
struct tls_session *tls_client_create(const struct transport *, const struct instance *, struct ticket_shelf *,
                                      struct error *) MUST_USE;

#endif
