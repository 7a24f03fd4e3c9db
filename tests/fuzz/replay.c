/* tests/fuzz/replay: runs a fuzz target over the files it is given, without a fuzzer and with any compiler.
 *
 * Each argument is a file or a directory of files. So seeds and past findings are ordinary tests. */
#include <dirent.h>
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

static _Noreturn void fail(const char *what, const char *path)
{
    fprintf(stderr, "replay: cannot %s \"%s\": %s\n", what, path, strerror(errno));
    exit(1);
}

/* The copy on the heap has exactly the input's length, so that a sanitizer sees a read behind its end. */
static void replay_file(const char *path, size_t length)
{
    FILE *file = fopen(path, "rb");
    if (!file) fail("open", path);
    uint8_t *bytes = malloc(length ? length : 1);
    if (!bytes) fail("hold", path);
    if (fread(bytes, 1, length, file) != length) fail("read", path);
    fclose(file);
    fprintf(stderr, "%s: %zu bytes\n", path, length);
    LLVMFuzzerTestOneInput(bytes, length);
    free(bytes);
}

static int is_visible(const struct dirent *entry) { return entry->d_name[0] != '.'; }

static unsigned replay(const char *path)
{
    struct stat status;
    if (stat(path, &status) != 0) fail("find", path);
    if (!S_ISDIR(status.st_mode)) {
        replay_file(path, (size_t)status.st_size);
        return 1;
    }
    struct dirent **entries;
    int count = scandir(path, &entries, is_visible, alphasort);
    if (count < 0) fail("list", path);
    unsigned replayed = 0;
    for (int at = 0; at < count; at++) {
        char inner[4096];
        snprintf(inner, sizeof inner, "%s/%s", path, entries[at]->d_name);
        replayed += replay(inner);
        free(entries[at]);
    }
    free(entries);
    return replayed;
}

int main(int count, char **arguments)
{
    unsigned replayed = 0;
    for (int at = 1; at < count; at++) replayed += replay(arguments[at]);
    printf("replayed %u inputs\n", replayed);
    return replayed ? 0 : 1;
}
