/* gateway/config_text.c: see config_text.h. */
#include "gateway/config_text.h"

#include "config/config.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define TEXT_BYTES_MAX (64 * 1024 * 1024)

static bool refuse(struct error *error, int number)
{
    const char *hint = configuration_read_hint(number);
    return error_format(error, hint ? "cannot be read: %s (%s)" : "cannot be read: %s", error_from_errno(number), hint);
}

static bool copy_all(int from, int to, struct error *error)
{
    char buffer[64 * 1024];
    size_t copied = 0;
    for (;;) {
        ssize_t got = read(from, buffer, sizeof buffer);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return refuse(error, errno);
        if (got == 0) return true;
        if (write(to, buffer, (size_t)got) != got) return error_format(error, "no memory for its text");
        copied += (size_t)got;
        if (copied > TEXT_BYTES_MAX) return error_format(error, "larger than 64 MiB");
    }
}

int config_text_read(const char *path, struct error *error)
{
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) {
        refuse(error, errno);
        return -1;
    }
    int text = memfd_create("configuration", MFD_CLOEXEC);
    if (text < 0) error_format(error, "no memory for its text: %m");
    bool copied = text >= 0 && copy_all(file, text, error);
    close(file);
    if (copied) return text;
    if (text >= 0) close(text);
    return -1;
}

struct slice config_text_map(int descriptor, struct error *error)
{
    struct stat about;
    if (fstat(descriptor, &about) != 0) {
        error_format(error, "cannot read the configuration's text: %m");
        return SLICE_ABSENT;
    }
    if (about.st_size == 0) return SLICE("");
    void *bytes = mmap(NULL, (size_t)about.st_size, PROT_READ, MAP_SHARED, descriptor, 0);
    if (bytes != MAP_FAILED) return slice_of(bytes, (size_t)about.st_size);
    error_format(error, "cannot map the configuration's text: %m");
    return SLICE_ABSENT;
}

void config_text_unmap(struct slice text)
{
    if (text.length > 0) munmap((void *)(uintptr_t)text.at, text.length);
}
