/* http/kernel_pipes.h: a worker's few pipe(2) pairs for splice: taken for one body, given back empty. */
#ifndef SLUICE_HTTP_KERNEL_PIPES_H
#define SLUICE_HTTP_KERNEL_PIPES_H

#include "base/base.h"

struct kernel_pipe {
    int read_end, write_end;
    size_t held; /* bytes inside */
    struct kernel_pipe *next;
};

struct kernel_pipes *kernel_pipes_create(unsigned taken_max, unsigned idle_max);
void kernel_pipes_destroy(struct kernel_pipes *);
/* NULL beyond taken_max or when the process is out of descriptors: then copy. */
struct kernel_pipe *kernel_pipes_take(struct kernel_pipes *);
/* One that still holds bytes is closed instead of kept. */
void kernel_pipes_give(struct kernel_pipes *, struct kernel_pipe *);

#endif
