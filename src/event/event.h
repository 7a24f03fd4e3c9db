/* event/: one epoll loop a thread, and what hangs on it: tasks, timers, sockets, streams, messages between threads.
 *
 * Everything here belongs to the thread that runs the loop, the posting side of a mailbox excepted.
 * No function calls back into its caller's stack: what finishes is put on the loop's run queue. */
#ifndef SLUICE_EVENT_EVENT_H
#define SLUICE_EVENT_EVENT_H

#include "event/loop.h"
#include "event/mailbox.h"
#include "event/socket.h"
#include "event/stream.h"
#include "event/timer.h"
#include "event/tls.h"

#endif
