/* base/log.h: what the gateway tells its operator: one line an event on standard error, with time and level.
 * Any thread; a line is one write(2). Not for the request path's ordinary outcomes (those are the access log's and metrics'). */
#ifndef SLUICE_BASE_LOG_H
#define SLUICE_BASE_LOG_H

#include "base/base.h"

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARNING, LOG_LEVEL_ERROR };

/* "master", "gateway": stands in each line. A static string. */
void log_set_process_name(const char *name);
void log_set_level(enum log_level);
void log_write(enum log_level, const char *format, ...) PRINTF_LIKE(2, 3);
/* Whether a line would be taken at once. For what traffic causes and a worker says: a reader of the log that has stopped reading must not stop
 * that worker too. */
bool log_takes_a_line(void);
/* Each line of a text as an event of its own. */
void log_lines(enum log_level, const char *text);

#define log_debug(...) log_write(LOG_LEVEL_DEBUG, __VA_ARGS__)
#define log_info(...) log_write(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_warning(...) log_write(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_error(...) log_write(LOG_LEVEL_ERROR, __VA_ARGS__)

#endif
