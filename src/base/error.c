#include "base/error.h"

#include <ctype.h>
#include <stdarg.h>

/* Formats aside first: an argument may point into the very text that is replaced. */
static void set_text(struct error *error, const char *format, va_list arguments)
{
    char text[sizeof error->text];
    if (vsnprintf(text, sizeof text, format, arguments) < 0) text[0] = '\0';
    memcpy(error->text, text, sizeof text);
}

bool error_set(struct error *error, enum blame blame, enum retry_advice retry, uint16_t status, const char *reason,
               const char *format, ...)
{
    if (!error) return false;
    error->blame = blame;
    error->retry = retry;
    error->status = status;
    error->reason = reason;
    va_list arguments;
    va_start(arguments, format);
    set_text(error, format, arguments);
    va_end(arguments);
    return false;
}

bool error_format(struct error *error, const char *format, ...)
{
    if (!error) return false;
    error->blame = BLAME_US;
    error->retry = RETRY_NEVER;
    error->status = 0;
    error->reason = "internal";
    va_list arguments;
    va_start(arguments, format);
    set_text(error, format, arguments);
    va_end(arguments);
    return false;
}

void error_prefix(struct error *error, const char *format, ...)
{
    if (!error) return;
    char text[sizeof error->text];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (length < 0 || (size_t)length >= sizeof text) length = length < 0 ? 0 : (int)sizeof text - 1;
    size_t used = (size_t)length;
    for (const char *piece = ": "; *piece && used < sizeof text - 1; piece++) text[used++] = *piece;
    for (const char *rest = error->text; *rest && used < sizeof text - 1; rest++) text[used++] = *rest;
    text[used] = '\0';
    memcpy(error->text, text, used + 1);
}

const char *error_from_errno(int number)
{
    static _Thread_local char text[80];
    const char *description = strerrordesc_np(number);
    if (description) {
        snprintf(text, sizeof text, "%s", description);
        text[0] = (char)tolower((unsigned char)text[0]);
    } else {
        snprintf(text, sizeof text, "error %d", number);
    }
    return text;
}
