#include "base/log.h"

#include "base/clock.h"
#include "base/slice.h"

#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <unistd.h>

#define LINE_BYTES 2048 /* with its newline; what is longer is cut off */

static const char *_Atomic process_name = "sluice";
static atomic_int level_least = LOG_LEVEL_INFO;

void log_set_process_name(const char *name) { atomic_store_explicit(&process_name, name, memory_order_relaxed); }
void log_set_level(enum log_level level) { atomic_store_explicit(&level_least, (int)level, memory_order_relaxed); }

/* Text from outside may be in a line; it must not begin a new one that looks like ours, nor command a terminal. */
static void replace_controls(char *text, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f) text[i] = '?';
    }
}

static size_t shorter(int wanted, size_t room)
{
    return wanted < 0 ? 0 : (size_t)wanted < room ? (size_t)wanted : room;
}

void log_write(enum log_level level, const char *format, ...)
{
    static const char *const level_names[] = { "debug", "info", "warning", "error" };
    if ((int)level < atomic_load_explicit(&level_least, memory_order_relaxed)) return;

    char line[LINE_BYTES];
    char time[CLOCK_ISO8601_BYTES];
    clock_write_iso8601(clock_wall_ns(), time);
    size_t room = sizeof line; /* the newline takes the NUL's place */
    size_t used = shorter(snprintf(line, room, "%s %s %s[%ld]: ", time, level_names[level],
                                   atomic_load_explicit(&process_name, memory_order_relaxed), (long)getpid()),
                          room - 1);
    va_list arguments;
    va_start(arguments, format);
    size_t length = shorter(vsnprintf(line + used, room - used, format, arguments), room - used - 1);
    va_end(arguments);
    replace_controls(line + used, length);
    used += length;
    line[used++] = '\n';
    ssize_t written = write(STDERR_FILENO, line, used);
    (void)written; /* a log that can't be written is no reason to stop serving */
}

/* A pipe that is ready has room for PIPE_BUF, which is more than a line. */
bool log_takes_a_line(void)
{
    struct pollfd log = { .fd = STDERR_FILENO, .events = POLLOUT };
    return poll(&log, 1, 0) == 1 && log.revents == POLLOUT;
}

void log_lines(enum log_level level, const char *text)
{
    struct slice rest = slice_from_cstring(text), line;
    while (rest.length > 0 && slice_next(&rest, '\n', &line)) {
        if (line.length > 0) log_write(level, "%.*s", SLICE_PRINT(line));
    }
}
