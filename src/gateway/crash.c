/* gateway/crash.c: see crash.h. Inside the handler only async-signal-safe calls are made; backtrace() is one once libgcc is
 * loaded, which installing sees to. */
#include "gateway/crash.h"

#include "base/base.h"
#include "base/memory.h"

#include <execinfo.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#define FRAMES_MAX 64
#define HANDLER_STACK_BYTES (64 * 1024)

static void say(const char *text)
{
    ssize_t ignored = write(STDERR_FILENO, text, strlen(text));
    (void)ignored;
}

static void crashed(int signal_number, siginfo_t *about, void *machine_state)
{
    (void)about;
    (void)machine_state;
    char thread[17] = "";
    void *frames[FRAMES_MAX];
    prctl(PR_GET_NAME, thread);
    say("gateway crashed: ");
    say(sigabbrev_np(signal_number) ? sigabbrev_np(signal_number) : "signal");
    say(" in thread \"");
    say(thread);
    say("\"; backtrace:\n");
    backtrace_symbols_fd(frames, backtrace(frames, FRAMES_MAX), STDERR_FILENO);
    raise(signal_number); /* SA_RESETHAND: this time it has its usual effect */
}

void crash_handler_install(void)
{
    static const int signals[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT };
    struct sigaction action = { .sa_sigaction = crashed,
                                .sa_flags = SA_SIGINFO | SA_RESETHAND | SA_ONSTACK | SA_NODEFER };
    void *frames[1];
    backtrace(frames, 1); /* loads what the handler must not load */
    for (size_t i = 0; i < COUNT_OF(signals); i++) sigaction(signals[i], &action, NULL);
    crash_handler_prepare_thread();
}

void crash_handler_prepare_thread(void)
{
    stack_t stack = { .ss_size = HANDLER_STACK_BYTES };
    stack_t before;
    if (sigaltstack(NULL, &before) == 0 && !(before.ss_flags & SS_DISABLE)) return; /* a sanitizer's, for one */
    stack.ss_sp = memory_allocate(HANDLER_STACK_BYTES); /* for the thread's life; the process's threads are few */
    sigaltstack(&stack, NULL);
}
