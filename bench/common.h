/* bench/common: what the load generators and backends share: time, a histogram of latencies, sockets on loopback.
 *
 * Whatever fails here ends the program: a benchmark that limps along measures something else. */
#ifndef BENCH_COMMON_H
#define BENCH_COMMON_H

#include <netinet/in.h>
#include <stdint.h>

#define NANOSECONDS 1000000000ull

/* A histogram of microseconds: 64 steps within each power of two, so a value is known to 1.6 %. */
#define HISTOGRAM_STEPS 64u
#define HISTOGRAM_BUCKETS (40 * HISTOGRAM_STEPS)

struct histogram {
    uint64_t counts[HISTOGRAM_BUCKETS];
    uint64_t total;
    uint64_t most_us;
};

void histogram_record(struct histogram *, uint64_t us);

/* The value below which this share (0 to 1) of the records lies, in microseconds; 0 without records. */
double histogram_percentile(const struct histogram *, double share);

/* Ends the program, naming what failed and errno's cause. */
_Noreturn void die(const char *what);

uint64_t now_ns(void);

/* Ten thousand connections are more than the usual soft limit. */
void raise_descriptor_limit(void);

/* A port of 127.0.0.1. */
struct sockaddr_in loopback(int port);

/* A connected, blocking socket to a port of 127.0.0.1 that sends at once. A receive buffer of so many bytes makes it a
 * reader far away that takes little; 0: as it comes. */
int connect_to(int port, int receive_buffer);

/* A non-blocking listener on a port of 127.0.0.1. */
int listen_on(int port);

/* The next connection in the listener's queue, non-blocking, or -1 when there is none. */
int accept_from(int listener);

void watch_edges(int epoll, int descriptor, void *owner);

#endif
