/* store/libpq.c: see libpq.h. */
#include "store/libpq.h"

#include "base/library.h"

#include <pthread.h>

struct libpq libpq;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct error refusal;
static bool is_loaded;

#define LIBPQ_FUNCTION(name) { #name, &name },

static void load(void)
{
    const struct library_function functions[] = { LIBPQ_FUNCTIONS(LIBPQ_FUNCTION) };
    is_loaded = library_load("libpq.so.5", functions, COUNT_OF(functions), &refusal);
}

bool libpq_load(struct error *error)
{
    pthread_once(&once, load);
    if (!is_loaded) *error = refusal;
    return is_loaded;
}
