/* cli/admin_client.h: one call to the admin API, for commands: by libcurl, blocking, bounded in time.
 *
 * Where to is --admin or $SLUICE_ADMIN, else http://127.0.0.1:9080; a token comes from $SLUICE_TOKEN alone, so that none stands in a
 * process list. */
#ifndef SLUICE_CLI_ADMIN_CLIENT_H
#define SLUICE_CLI_ADMIN_CLIENT_H

#include "base/base.h"
#include "base/slice.h"

struct admin_request {
    const char *address;       /* NULL: from the environment, else the default */
    const char *method, *path; /* path: with its query, encoded: "/admin/routes?limit=100" */
    struct slice body;         /* JSON; absent: none */
    const char *if_match;      /* NULL: none */
};

struct admin_reply {
    long status;
    char *body,
        *revision; /* NUL-terminated, both never NULL after a call that returned true; revision: "" where none was said */
    size_t length;
};

/* False: there was no answer, and why was said on standard error. Free the reply with admin_reply_release() in either case. */
bool admin_call(const struct admin_request *, struct admin_reply *) MUST_USE;
void admin_reply_release(struct admin_reply *);
/* True: the status is of the 200s, and the reply is the caller's. False: why not was said, and there is nothing to release. */
bool admin_call_good(const struct admin_request *, struct admin_reply *) MUST_USE;
/* Says what a problem document says, with its errors and hints, on standard error; something short where it is none. What it says
 * in the words of HTTP is said in those of the command line. */
void admin_print_problem(const struct admin_reply *);
/* A text as one segment of a path. The caller's. */
char *admin_encode(const char *text);

#endif
