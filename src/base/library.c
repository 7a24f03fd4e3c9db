#include "base/library.h"

#include <dlfcn.h>
#include <string.h>

bool library_load(const char *file, const struct library_function *functions, size_t count, struct error *error)
{
    void *library = dlopen(file, RTLD_NOW | RTLD_LOCAL);
    if (!library) return error_format(error, "%s can't be loaded: %s", file, dlerror());
    for (size_t i = 0; i < count; i++) {
        if (!dlsym(library, functions[i].name)) {
            dlclose(library);
            return error_format(error, "%s has no %s", file, functions[i].name);
        }
    }
    for (size_t i = 0; i < count; i++) {
        void *found = dlsym(library, functions[i].name);
        memcpy(functions[i].into, &found, sizeof found);
    }
    return true;
}
