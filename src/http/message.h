/* http/message.h: a request head and a response head, free of any version's framing. */
#ifndef SLUICE_HTTP_MESSAGE_H
#define SLUICE_HTTP_MESSAGE_H

#include "http/headers.h"
#include "http/method.h"
#include "http/target.h"

#define BODY_LENGTH_UNKNOWN UINT64_MAX

enum http_version { HTTP_1_0, HTTP_1_1, HTTP_2 };

struct request_head {
    enum method method;
    enum http_version version;
    struct slice method_text;
    struct target target;
    struct slice authority; /* Host as sent, or the absolute target's authority; absent only in HTTP/1.0 */
    struct slice host;      /* lower-case, no port; absent where authority is */
    uint16_t port;          /* 0: none given */
    bool has_body;          /* content may follow, even if its length turns out 0 */
    bool expects_continue;  /* Expect: 100-continue (HTTP/1.1 and up) */
    bool wants_upgrade;     /* Connection: upgrade with an Upgrade field */
    uint64_t body_length;   /* BODY_LENGTH_UNKNOWN: chunked (or h2 without content-length); 0 without a body */
    struct headers headers; /* Host, Content-Length, Transfer-Encoding and Connection are still in it, checked */
};

struct response_head {
    uint16_t status;
    enum http_version version;
    bool has_body;        /* false for HEAD's answers, 1xx, 204, 304 */
    uint64_t body_length; /* BODY_LENGTH_UNKNOWN: chunked, to the end of the connection, or (HEAD, 304) not said */
    struct headers headers;
};

void request_head_init(struct request_head *, struct arena *);
void response_head_init(struct response_head *, struct arena *);

#endif
