/* What is read as JSON is what jansson reads, value by value, and a copy is equal to its original; what is refused jansson refuses too, but for
 * depth, and but for what it refuses beyond us: NUL in names. */
#include "base/memory.h"
#include "h1_fuzzing.h"
#include "json/value.h"

/* Both headers name constants alike. */
#define JSON_OBJECT JANSSON_OBJECT
#define JSON_ARRAY JANSSON_ARRAY
#define JSON_STRING JANSSON_STRING
#define JSON_INTEGER JANSSON_INTEGER
#define JSON_NULL JANSSON_NULL
#include <jansson.h>
#undef JSON_OBJECT
#undef JSON_ARRAY
#undef JSON_STRING
#undef JSON_INTEGER
#undef JSON_NULL

static void require_equal(const struct json_value *ours, const json_t *theirs);

static void require_equal_members(const struct json_value *ours, const json_t *theirs)
{
    PROMISE(json_object_size(theirs) == ours->count);
    for (uint32_t i = 0; i < ours->count; i++) {
        struct slice name = ours->members[i].name;
        char *key = memory_copy_slice(name);
        const json_t *value = json_object_get(theirs, key);
        free(key);
        PROMISE(value != NULL && json_find(ours, name) == &ours->members[i].value);
        require_equal(&ours->members[i].value, value);
    }
}

static void require_equal(const struct json_value *ours, const json_t *theirs)
{
    switch ((enum json_type)ours->type) {
    case JSON_NULL: PROMISE(json_typeof(theirs) == JANSSON_NULL); break;
    case JSON_BOOLEAN: PROMISE(json_typeof(theirs) == (ours->boolean ? JSON_TRUE : JSON_FALSE)); break;
    case JSON_INTEGER: /* jansson was told to read all numbers as doubles */
    case JSON_UNSIGNED:
    case JSON_LONG_NUMBER:
    case JSON_DOUBLE: PROMISE(json_typeof(theirs) == JSON_REAL && json_real_value(theirs) == json_number(ours)); break;
    case JSON_STRING:
        PROMISE(json_typeof(theirs) == JANSSON_STRING && json_string_length(theirs) == ours->text.length &&
                ours->text.at);
        PROMISE(ours->text.length == 0 || memcmp(json_string_value(theirs), ours->text.at, ours->text.length) == 0);
        break;
    case JSON_ARRAY:
        PROMISE(json_typeof(theirs) == JANSSON_ARRAY && json_array_size(theirs) == ours->count);
        for (uint32_t i = 0; i < ours->count; i++) require_equal(&ours->items[i], json_array_get(theirs, i));
        break;
    case JSON_OBJECT:
        PROMISE(json_typeof(theirs) == JANSSON_OBJECT);
        require_equal_members(ours, theirs);
        break;
    }
}

static void require_equal_copy(const struct json_value *value, const json_t *theirs)
{
    struct json_value copy;
    size_t bytes = json_copied_bytes(value);
    char *block = malloc(bytes ? bytes : 1); /* a sanitizer sees a write behind it */
    PROMISE(block != NULL);
    json_copy_tree(value, block, &copy);
    require_equal(&copy, theirs);
    free(block);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    char *copy = fuzz_copy((const char *)bytes, length);
    struct slice text = slice_of(copy, length);
    struct arena arena;
    struct json_value value;
    struct error error;
    arena_init(&arena, NULL);
    bool good = json_parse(text, &arena, &value, &error);
    json_t *theirs = json_loadb(
        copy, length, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, NULL);
    bool has_nul = slice_find(text, SLICE("\\u0000")) != SLICE_NOT_FOUND; /* never in jansson's names */
    if (good && theirs && !has_nul) {
        require_equal(&value, theirs);
        require_equal_copy(&value, theirs);
    }
    bool has_raw_nul = length > 0 && memchr(copy, 0, length); /* by which jansson takes a text for ended */
    PROMISE(!good || !has_raw_nul);
    PROMISE(good || !theirs || has_raw_nul || strstr(error.text, "too many levels"));
    PROMISE(!good || theirs || has_nul);
    PROMISE(good || (error.status == 400 && error.blame == BLAME_CLIENT));
    json_decref(theirs);
    arena_release(&arena);
    free(copy);
    return 0;
}
