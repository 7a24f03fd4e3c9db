/* observe/record.h: what is known of an exchange at its end: a plain record that exchange/ fills and observe/ writes. */
#ifndef SLUICE_OBSERVE_RECORD_H
#define SLUICE_OBSERVE_RECORD_H

#include "base/slice.h"
#include "http/method.h"

/* How a WebSocket ended: who said close first, or broke off without a word. */
enum websocket_closer {
    WEBSOCKET_NOT_CLOSED, /* no WebSocket, or an open one */
    WEBSOCKET_CLOSER_CLIENT,
    WEBSOCKET_CLOSER_BACKEND,
    WEBSOCKET_CLOSER_GATEWAY, /* it drains */
    WEBSOCKET_CLOSER_TIMEOUT, /* the gateway, because nothing moved for too long */
    WEBSOCKET_CLOSER_COUNT
};

struct slice websocket_closer_word(enum websocket_closer); /* "client", ... */

struct exchange_record {
    uint64_t wall_ns;  /* when the request's head was complete */
    uint64_t ended_ns; /* the loop's time when it ended */
    struct slice request_id;
    struct slice trace_id, span_id; /* empty: none */
    struct slice method_text;
    enum method method;
    struct slice path; /* as normalised, without query; the raw target up to its first '?' where it could not be read */
    struct slice route;    /* name; empty: none matched */
    struct slice service;  /* name; empty: none */
    struct slice instance; /* name; empty: none was reached */
    uint16_t status;       /* 0: nothing was answered (the client went away first) */
    uint64_t duration_ns;  /* head complete to last byte handed to the kernel */
    uint64_t upstream_ns;  /* call started to response head; 0: no call */
    uint64_t bytes_in, bytes_out;
    struct slice client_ip;
    struct slice user_agent;
    struct slice user_id, client_id;
    struct slice would_refuse;    /* the rule of a policy on trial that would have refused it; empty: none */
    enum websocket_closer closer; /* but for WEBSOCKET_NOT_CLOSED the record is of a WebSocket's whole life */
    uint16_t close_code;          /* RFC 6455 7.4; 1005 and 1006 as there */
    bool upstream_failed;         /* the service's doing: not reached, broken off, late, no instance, not valid HTTP */
    const char *error_type;       /* struct error's reason; NULL: none */
    struct slice error_text;      /* for the operator; written to the log where the gateway itself refused or failed */
};

#endif
