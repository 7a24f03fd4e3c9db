/* base/banned.h: functions that can't be used safely, made a compile error that names itself. */
#ifndef SLUICE_BASE_BANNED_H
#define SLUICE_BASE_BANNED_H

/* All headers that declare them come first: the names can't even be mentioned afterwards. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* A macro can't be poisoned; glibc makes these of them for some compilers. */
#undef alloca
#undef sprintf
#pragma GCC poison strcpy strcat strncpy strncat sprintf vsprintf gets strtok asctime ctime gmtime localtime alloca

#endif
