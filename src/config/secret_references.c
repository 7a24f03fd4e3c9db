/* ${env:NAME} and ${file:PATH}: a secret that stands somewhere else, and is looked up when it is needed. */
#include "config/private.h"

#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define ENVIRONMENT SLICE("${env:")
#define FILE_PATH SLICE("${file:")
#define SECRET_FILE_BYTES_MAX (1 << 20)

static bool is_name_of_environment(struct slice name)
{
    for (size_t i = 0; i < name.length; i++) {
        char byte = name.at[i];
        bool is_letter = (byte | 0x20) >= 'a' && (byte | 0x20) <= 'z';
        if (!is_letter && byte != '_' && (byte < '0' || byte > '9' || i == 0)) return false;
    }
    return name.length > 0;
}

static struct slice inside(struct slice written, struct slice opening)
{
    bool ok = slice_starts_with(written, opening) && slice_ends_with(written, SLICE("}")) &&
              written.length > opening.length + 1;
    return ok ? slice_of(written.at + opening.length, written.length - opening.length - 1) : SLICE_ABSENT;
}

bool resource_secret_is_reference(struct slice written)
{
    return is_name_of_environment(inside(written, ENVIRONMENT)) || !slice_is_absent(inside(written, FILE_PATH));
}

static bool read_secret_file(struct arena *arena, const char *path, struct slice *value, struct error *error)
{
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    char *text = file >= 0 ? memory_allocate(SECRET_FILE_BYTES_MAX + 1) : NULL;
    size_t length = 0;
    ssize_t got = file >= 0 ? 1 : -1;
    while (got > 0 && length <= SECRET_FILE_BYTES_MAX) {
        got = read(file, text + length, SECRET_FILE_BYTES_MAX + 1 - length);
        if (got > 0) length += (size_t)got;
        if (got < 0 && errno == EINTR) got = 1;
    }
    int number = errno;
    if (file >= 0) close(file);
    bool ok = got == 0;
    if (got < 0)
        error_format(error, "%s cannot be read: %s", path, error_from_errno(number));
    else if (got > 0)
        error_format(error, "%s is larger than 1 MiB", path);
    while (ok && length > 0 && (text[length - 1] == '\n' || text[length - 1] == '\r')) length--;
    if (ok) *value = arena_keep(arena, slice_of(text, length));
    if (text) explicit_bzero(text, length);
    free(text);
    return ok;
}

bool resource_resolve_secret(struct arena *arena, struct slice written, const char *folder, struct slice *value,
                             struct error *error)
{
    if (!resource_secret_is_reference(written)) {
        *value = written;
        return true;
    }
    struct slice name = inside(written, ENVIRONMENT);
    if (slice_is_absent(name)) {
        struct schema_reading reading = { .arena = arena, .folder = folder };
        struct slice path = arena_keep(arena, inside(written, FILE_PATH));
        return read_secret_file(arena, schema_path(&reading, path).at, value, error);
    }
    const char *found = getenv(arena_keep(arena, name).at);
    if (found)
        *value = arena_keep(arena, slice_from_cstring(found));
    else
        error_format(error, "there is no environment variable %.*s", SLICE_PRINT(name));
    return found != NULL;
}
