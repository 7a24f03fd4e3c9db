/* gateway/crash.h: a crash leaves a trace: signal, thread and backtrace go to standard error before the process dies of it. */
#ifndef SLUICE_GATEWAY_CRASH_H
#define SLUICE_GATEWAY_CRASH_H

/* Once a process: SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT. The signal's own effect (core dump, exit status) is kept. */
void crash_handler_install(void);
/* Once a thread: a stack of its own for the handler, so that an overflown stack is reported too. */
void crash_handler_prepare_thread(void);

#endif
