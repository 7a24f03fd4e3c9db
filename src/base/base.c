#include "base/base.h"

#include "base/private.h"

#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

void die(const char *format, ...)
{
    char line[512];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line, sizeof line - 1, format, arguments);
    va_end(arguments);
    if (length < 0) abort();
    size_t end = (size_t)length < sizeof line - 2 ? (size_t)length : sizeof line - 2;
    line[end] = '\n';
    ssize_t written = write(STDERR_FILENO, line, end + 1);
    (void)written; /* nobody is left to be told */
    abort();
}

void promise_broken(const char *condition, const char *file, int line, const char *function)
{
    die("broken promise: %s at %s:%d in %s", condition, file, line, function);
}
