#include "http/kernel_pipes.h"

#include "base/memory.h"

#include <fcntl.h>
#include <unistd.h>

/* Several socket buffers a splice; what the kernel refuses (pipe-user-pages-soft) leaves the 64 KiB that a pipe begins with. */
#define KERNEL_PIPE_BYTES (256 * 1024)

struct kernel_pipes {
    struct kernel_pipe *idle;
    unsigned idle_count, idle_max, taken_count, taken_max;
};

struct kernel_pipes *kernel_pipes_create(unsigned taken_max, unsigned idle_max)
{
    struct kernel_pipes *pipes = memory_allocate(sizeof *pipes);
    pipes->taken_max = taken_max;
    pipes->idle_max = idle_max;
    return pipes;
}

static void close_pipe(struct kernel_pipe *pipe)
{
    close(pipe->read_end);
    close(pipe->write_end);
    free(pipe);
}

void kernel_pipes_destroy(struct kernel_pipes *pipes)
{
    if (!pipes) return;
    PROMISE(pipes->taken_count == 0);
    while (pipes->idle) {
        struct kernel_pipe *pipe = pipes->idle;
        pipes->idle = pipe->next;
        close_pipe(pipe);
    }
    free(pipes);
}

static struct kernel_pipe *open_pipe(void)
{
    struct kernel_pipe *pipe = malloc(sizeof *pipe);
    int ends[2];
    if (!pipe || pipe2(ends, O_NONBLOCK | O_CLOEXEC) != 0) {
        free(pipe);
        return NULL;
    }
    (void)fcntl(ends[1], F_SETPIPE_SZ, KERNEL_PIPE_BYTES);
    *pipe = (struct kernel_pipe){ .read_end = ends[0], .write_end = ends[1] };
    return pipe;
}

struct kernel_pipe *kernel_pipes_take(struct kernel_pipes *pipes)
{
    if (pipes->taken_count >= pipes->taken_max) return NULL;
    struct kernel_pipe *pipe = pipes->idle;
    if (pipe) {
        pipes->idle = pipe->next;
        pipes->idle_count--;
    } else if (!(pipe = open_pipe())) {
        return NULL;
    }
    pipes->taken_count++;
    return pipe;
}

void kernel_pipes_give(struct kernel_pipes *pipes, struct kernel_pipe *pipe)
{
    pipes->taken_count--;
    if (pipe->held > 0 || pipes->idle_count >= pipes->idle_max) {
        close_pipe(pipe);
        return;
    }
    pipe->next = pipes->idle;
    pipes->idle = pipe;
    pipes->idle_count++;
}
