/* filters/coding_libraries.h: Brotli's and Zstandard's libraries, which a gateway that doesn't compress never loads. Their functions go by
 * their own names here, as if they were linked. zlib is small and linked. */
#ifndef SLUICE_FILTERS_CODING_LIBRARIES_H
#define SLUICE_FILTERS_CODING_LIBRARIES_H

#include "base/error.h"

#include <brotli/decode.h>
#include <brotli/encode.h>
#include <zstd.h>
#include <zstd_errors.h>

/* clang-format off */
#define BROTLI_ENCODER_FUNCTIONS(X) \
    X(BrotliEncoderCompressStream) X(BrotliEncoderCreateInstance) X(BrotliEncoderDestroyInstance) \
    X(BrotliEncoderHasMoreOutput) X(BrotliEncoderIsFinished) X(BrotliEncoderSetParameter)
#define BROTLI_DECODER_FUNCTIONS(X) \
    X(BrotliDecoderCreateInstance) X(BrotliDecoderDecompressStream) X(BrotliDecoderDestroyInstance) \
    X(BrotliDecoderGetErrorCode)
#define ZSTD_FUNCTIONS(X) \
    X(ZSTD_CCtx_reset) X(ZSTD_CCtx_setParameter) X(ZSTD_DCtx_reset) X(ZSTD_DCtx_setParameter) X(ZSTD_compressStream2) \
    X(ZSTD_createCCtx) X(ZSTD_createDCtx) X(ZSTD_decompressStream) X(ZSTD_freeCCtx) X(ZSTD_freeDCtx) \
    X(ZSTD_getErrorCode) X(ZSTD_isError) X(ZSTD_sizeof_DCtx)
/* clang-format on */

#define CODING_LIBRARY_MEMBER(name) __typeof__(name) *name;
struct coding_libraries {
    BROTLI_ENCODER_FUNCTIONS(CODING_LIBRARY_MEMBER)
    BROTLI_DECODER_FUNCTIONS(CODING_LIBRARY_MEMBER)
    ZSTD_FUNCTIONS(CODING_LIBRARY_MEMBER)
};
#undef CODING_LIBRARY_MEMBER

/* Before anything else of it. False: it isn't installed. Any thread. */
bool brotli_load(struct error *) MUST_USE;
bool zstd_load(struct error *) MUST_USE;

/* Filled once, by the functions above, and never changed. */
extern struct coding_libraries coding_libraries;

#define BrotliEncoderCompressStream coding_libraries.BrotliEncoderCompressStream
#define BrotliEncoderCreateInstance coding_libraries.BrotliEncoderCreateInstance
#define BrotliEncoderDestroyInstance coding_libraries.BrotliEncoderDestroyInstance
#define BrotliEncoderHasMoreOutput coding_libraries.BrotliEncoderHasMoreOutput
#define BrotliEncoderIsFinished coding_libraries.BrotliEncoderIsFinished
#define BrotliEncoderSetParameter coding_libraries.BrotliEncoderSetParameter
#define BrotliDecoderCreateInstance coding_libraries.BrotliDecoderCreateInstance
#define BrotliDecoderDecompressStream coding_libraries.BrotliDecoderDecompressStream
#define BrotliDecoderDestroyInstance coding_libraries.BrotliDecoderDestroyInstance
#define BrotliDecoderGetErrorCode coding_libraries.BrotliDecoderGetErrorCode
#define ZSTD_CCtx_reset coding_libraries.ZSTD_CCtx_reset
#define ZSTD_CCtx_setParameter coding_libraries.ZSTD_CCtx_setParameter
#define ZSTD_DCtx_reset coding_libraries.ZSTD_DCtx_reset
#define ZSTD_DCtx_setParameter coding_libraries.ZSTD_DCtx_setParameter
#define ZSTD_compressStream2 coding_libraries.ZSTD_compressStream2
#define ZSTD_createCCtx coding_libraries.ZSTD_createCCtx
#define ZSTD_createDCtx coding_libraries.ZSTD_createDCtx
#define ZSTD_decompressStream coding_libraries.ZSTD_decompressStream
#define ZSTD_freeCCtx coding_libraries.ZSTD_freeCCtx
#define ZSTD_freeDCtx coding_libraries.ZSTD_freeDCtx
#define ZSTD_getErrorCode coding_libraries.ZSTD_getErrorCode
#define ZSTD_isError coding_libraries.ZSTD_isError
#define ZSTD_sizeof_DCtx coding_libraries.ZSTD_sizeof_DCtx

#endif
