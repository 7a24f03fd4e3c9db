/* base/error.h: what happened, whose doing it was, and whether trying again makes sense.
 *
 * A struct error is filled once, where the thing happened, and handed up. It owns nothing.
 * Text: lower case, no full stop, what failed first, the subject quoted, no secrets. */
#ifndef SLUICE_BASE_ERROR_H
#define SLUICE_BASE_ERROR_H

#include "base/base.h"

enum blame { BLAME_NOBODY, BLAME_CLIENT, BLAME_UPSTREAM, BLAME_US };

enum retry_advice {
    RETRY_NEVER,
    RETRY_OTHER_CONNECTION, /* a reused connection had gone stale; nothing was executed */
    RETRY_OTHER_INSTANCE,
};

struct error {
    enum blame blame;
    enum retry_advice retry;
    uint16_t status; /* HTTP status for the client, 0 where none applies */
    /* Static, short, fit for a client and for a metric's label: "connect-failure"; never NULL after error_set. */
    const char *reason;
    char text[232]; /* for the operator */
};

/* Fills *error (which may be NULL) and returns false, so that `return error_set(...)` reads well. */
bool error_set(struct error *error, enum blame blame, enum retry_advice retry, uint16_t status, const char *reason,
               const char *format, ...) PRINTF_LIKE(6, 7);
/* For the control plane: our own or the operator's doing; no retry, no status. */
bool error_format(struct error *error, const char *format, ...) PRINTF_LIKE(2, 3);
/* Puts "context: " before the text; what does not fit is cut off. */
void error_prefix(struct error *error, const char *format, ...) PRINTF_LIKE(2, 3);
/* What an errno means, in our lower case: "connection refused". Holds until this thread's next call. */
const char *error_from_errno(int number);

#endif
