/* bench/micro/measure.h: what the measurements in process share: this thread's time, its instructions, medians, memory, and what the machine
 * itself takes. */
#ifndef SLUICE_BENCH_MEASURE_H
#define SLUICE_BENCH_MEASURE_H

#include "base/base.h"
#include "base/random.h"

#include <math.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

/* This thread's time on the processor: others may use the machine meanwhile. */
static inline uint64_t thread_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static inline int compare_doubles(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

/* Sorts them. */
static inline double median(double *values, int count)
{
    qsort(values, (size_t)count, sizeof *values, compare_doubles);
    return values[count / 2];
}

/* Instructions of this thread between the two, a call. The processor stops behind each one (its trap flag), and a handler counts: the very ones that
 * run here, where a simulator knows no SHA instructions and counts 2,400 for a hash of 440; and no performance counters are needed, which
 * virtual machines seldom have. It is the same number each time, but takes up to 30 us an instruction: COUNTED_CALLS are enough, when all is warm.
 * What the kernel does isn't counted. NAN where it can't be. */
#define COUNTED_CALLS 20

struct instruction_counter {
    uintptr_t last;
    volatile uint64_t count;
};

static inline struct instruction_counter *instruction_counter(void)
{
    static struct instruction_counter counter;
    return &counter;
}

#ifdef __x86_64__
/* A string instruction stops after each of its repetitions, where it began. */
static inline void count_instruction(int signal, siginfo_t *cause, void *context)
{
    (void)signal, (void)cause;
    struct instruction_counter *counter = instruction_counter();
    uintptr_t next = (uintptr_t)((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];
    counter->count += next != counter->last;
    counter->last = next;
}

/* The 128 bytes below the stack pointer are the compiler's to use. */
#define CHANGE_FLAGS(change)                                                                               \
    __asm__ volatile("lea -128(%%rsp), %%rsp; pushfq; " change " (%%rsp); popfq; lea 128(%%rsp), %%rsp" :: \
                         : "cc", "memory")

static inline void instructions_begin(void)
{
    struct sigaction action = { .sa_sigaction = count_instruction, .sa_flags = SA_SIGINFO };
    sigaction(SIGTRAP, &action, NULL);
    *instruction_counter() = (struct instruction_counter){ 0 };
    CHANGE_FLAGS("orq $0x100,");
}

static inline double instructions_end(int calls)
{
    CHANGE_FLAGS("andq $~0x100,");
    uint64_t count = instruction_counter()->count;
    return count > 0 ? (double)count / calls : NAN;
}
#else
static inline void instructions_begin(void) {}
static inline double instructions_end(int calls) { return NAN; }
#endif

/* As JSON has it: null where it is not known. */
static inline const char *count_text(double count, char into[24])
{
    snprintf(into, 24, isnan(count) ? "null" : "%.0f", count);
    return into;
}

/* Nanoseconds of one access to memory that nothing could foresee, in 64 MiB of large pages: what a look-up among very many pays for each
 * line that another has to lead to. It differs from machine to machine, and with what else runs there. */
struct chase_line {
    _Alignas(CACHE_LINE) uint32_t next;
};

struct chase {
    struct chase_line *lines;
    uint32_t at;
};

#define CHASE_LINES (UINT32_C(1) << 20)
#define CHASE_STEPS 200000

/* One ring through all lines in random order (Sattolo's). */
static inline void chase_init(struct chase *chase, struct random *random)
{
    size_t bytes = CHASE_LINES * sizeof *chase->lines;
    *chase = (struct chase){ aligned_alloc(2u << 20, bytes), 0 };
    if (!chase->lines) exit(1);
    (void)madvise(chase->lines, bytes, MADV_HUGEPAGE);
    for (uint32_t i = 0; i < CHASE_LINES; i++) chase->lines[i].next = i;
    for (uint32_t i = CHASE_LINES - 1; i > 0; i--) {
        uint32_t other = (uint32_t)random_below(random, i), next = chase->lines[i].next;
        chase->lines[i].next = chase->lines[other].next;
        chase->lines[other].next = next;
    }
}

/* It goes on where it was: nothing of before is in a cache. */
static inline double chase_ns(struct chase *chase)
{
    uint32_t at = chase->at;
    uint64_t begin = thread_ns();
    for (int i = 0; i < CHASE_STEPS; i++) at = chase->lines[at].next;
    double each = (double)(thread_ns() - begin) / CHASE_STEPS;
    chase->at = at;
    return each;
}

/* Of the process. */
static inline double resident_mb(void)
{
    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file || fscanf(file, "%*u %lu", &pages) != 1) pages = 0;
    if (file) fclose(file);
    return (double)pages * (double)sysconf(_SC_PAGESIZE) / 1e6;
}

#endif
