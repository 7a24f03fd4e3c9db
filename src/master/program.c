/* master/program.c: which file an upgrade executes.
 *
 * Not /proc/self/exe: that is the file which runs, deleted or not. And not the path that it stands for at the start either, as an
 * installation may be changed by turning a symbolic link to another folder. What counts is the name by which Sluice was called. */
#include "base/memory.h"
#include "master/private.h"

#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

static bool is_this_program(const char *path)
{
    struct stat running, found;
    return stat("/proc/self/exe", &running) == 0 && stat(path, &found) == 0 && running.st_dev == found.st_dev &&
           running.st_ino == found.st_ino;
}

/* As a shell looks for it. Absent pieces of PATH mean the working directory. */
static char *search_path(const char *name)
{
    const char *path = getenv("PATH");
    struct slice rest = slice_from_cstring(path), folder;
    while (path && slice_next(&rest, ':', &folder)) {
        char *found = memory_format("%.*s/%s", SLICE_PRINT(folder), name);
        if (folder.length > 0 && folder.at[0] == '/' && is_this_program(found)) return found;
        free(found);
    }
    return NULL;
}

static char *make_absolute(const char *name)
{
    char folder[PATH_MAX];
    if (name[0] == '/') return memory_copy_slice(slice_from_cstring(name));
    if (strncmp(name, "./", 2) == 0) name += 2;
    return getcwd(folder, sizeof folder) ? memory_format("%s/%s", folder, name) : NULL;
}

char *program_find(const char *name)
{
    char *found = strchr(name, '/') ? make_absolute(name) : search_path(name);
    if (found && is_this_program(found)) return found;
    free(found);
    char target[PATH_MAX]; /* argv[0] was made up */
    ssize_t length = readlink("/proc/self/exe", target, sizeof target);
    if (length <= 0) return memory_copy_slice(SLICE("/proc/self/exe"));
    return memory_copy_slice(slice_of(target, (size_t)length));
}
