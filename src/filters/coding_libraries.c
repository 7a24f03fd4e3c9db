/* filters/coding_libraries.c: see coding_libraries.h. */
#include "filters/coding_libraries.h"

#include "base/library.h"

#include <pthread.h>

struct coding_libraries coding_libraries;
static pthread_once_t brotli_once = PTHREAD_ONCE_INIT, zstd_once = PTHREAD_ONCE_INIT;
static struct error brotli_refusal, zstd_refusal;
static bool brotli_is_loaded, zstd_is_loaded;

#define CODING_LIBRARY_FUNCTION(name) { #name, &name },

static void load_brotli(void)
{
    const struct library_function writing[] = { BROTLI_ENCODER_FUNCTIONS(CODING_LIBRARY_FUNCTION) };
    const struct library_function reading[] = { BROTLI_DECODER_FUNCTIONS(CODING_LIBRARY_FUNCTION) };
    brotli_is_loaded = library_load("libbrotlienc.so.1", writing, COUNT_OF(writing), &brotli_refusal) &&
                       library_load("libbrotlidec.so.1", reading, COUNT_OF(reading), &brotli_refusal);
}

static void load_zstd(void)
{
    const struct library_function functions[] = { ZSTD_FUNCTIONS(CODING_LIBRARY_FUNCTION) };
    zstd_is_loaded = library_load("libzstd.so.1", functions, COUNT_OF(functions), &zstd_refusal);
}

bool brotli_load(struct error *error)
{
    pthread_once(&brotli_once, load_brotli);
    if (!brotli_is_loaded) *error = brotli_refusal;
    return brotli_is_loaded;
}

bool zstd_load(struct error *error)
{
    pthread_once(&zstd_once, load_zstd);
    if (!zstd_is_loaded) *error = zstd_refusal;
    return zstd_is_loaded;
}
