#include "route/private.h"

#include "base/library.h"
#include "base/log.h"
#include "base/map.h"
#include "base/memory.h"
#include "base/vector.h"

#include <hs/hs.h>
#include <pthread.h>
#include <stdatomic.h>

/* What a regex may cost at most on one subject, in PCRE2's units (roughly steps of its search). A path regex takes some
 * dozens; what needs more than this counts as not matching. */
#define REGEX_STEPS_MAX 20000
#define REGEX_DEPTH_MAX 2000
#define REGEX_HEAP_KIB_MAX 1024
#define JIT_STACK_BYTES (32 * 1024)
#define JIT_STACK_BYTES_MAX (256 * 1024)

struct router_prefilter {
    _Atomic uint32_t references;
    hs_database_t *database; /* NULL: nothing in it could be compiled */
    struct map ids;          /* by text: id + 1 */
    size_t count;
};

/* ---- Building ---------------------------------------------------------------------------------------------------- */

struct router_prefilter_source {
    struct map texts; /* each crowded regex once */
};

/* Most configurations have no such regexes, so the library is loaded by the first that has: with C++'s it is 1.5 MB of every process. */
static struct {
    __typeof__(hs_valid_platform) *hs_valid_platform;
    __typeof__(hs_expression_info) *hs_expression_info;
    __typeof__(hs_free_compile_error) *hs_free_compile_error;
    __typeof__(hs_compile_multi) *hs_compile_multi;
    __typeof__(hs_free_database) *hs_free_database;
    __typeof__(hs_free_scratch) *hs_free_scratch;
    __typeof__(hs_alloc_scratch) *hs_alloc_scratch;
    __typeof__(hs_scan) *hs_scan;
} vectorscan;
static pthread_once_t vectorscan_once = PTHREAD_ONCE_INIT;
static bool vectorscan_is_there;

static void load_vectorscan(void)
{
    const struct library_function functions[] = {
        { "hs_valid_platform", &vectorscan.hs_valid_platform },
        { "hs_expression_info", &vectorscan.hs_expression_info },
        { "hs_free_compile_error", &vectorscan.hs_free_compile_error },
        { "hs_compile_multi", &vectorscan.hs_compile_multi },
        { "hs_free_database", &vectorscan.hs_free_database },
        { "hs_free_scratch", &vectorscan.hs_free_scratch },
        { "hs_alloc_scratch", &vectorscan.hs_alloc_scratch },
        { "hs_scan", &vectorscan.hs_scan },
    };
    struct error error;
    bool loaded = library_load("libhs.so.5", functions, COUNT_OF(functions), &error);
    if (!loaded) log_warning("regexes are tried one by one: %s", error.text);
    vectorscan_is_there = loaded && vectorscan.hs_valid_platform() == HS_SUCCESS;
}

bool prefilter_is_possible(void)
{
    pthread_once(&vectorscan_once, load_vectorscan);
    return vectorscan_is_there;
}

struct router_prefilter_source *router_prefilter_source_create(const struct router *router)
{
    struct vector texts;
    vector_init(&texts, sizeof(struct slice));
    router_crowded_regexes(router, &texts);
    struct router_prefilter_source *source = memory_allocate(sizeof *source);
    map_init(&source->texts);
    for (size_t i = 0; i < texts.count; i++) map_set(&source->texts, *(struct slice *)vector_at(&texts, i), source);
    vector_release(&texts);
    return source;
}

void router_prefilter_source_destroy(struct router_prefilter_source *source)
{
    if (!source) return;
    map_release(&source->texts);
    free(source);
}

/* A prefilter must let through whatever PCRE2 would match, and may let through more: here a regex is found anywhere, while
 * PCRE2 wants it to be the whole path. */
#define PATTERN_FLAGS (HS_FLAG_PREFILTER | HS_FLAG_SINGLEMATCH | HS_FLAG_ALLOWEMPTY)

/* What Vectorscan takes: its texts with their ids. */
struct pattern_list {
    char **texts;
    unsigned *ids, *flags;
    unsigned count;
};

static bool is_readable(const char *text)
{
    hs_expr_info_t *info = NULL;
    hs_compile_error_t *problem = NULL;
    bool readable = vectorscan.hs_expression_info(text, PATTERN_FLAGS, &info, &problem) == HS_SUCCESS;
    free(info);
    vectorscan.hs_free_compile_error(problem);
    return readable;
}

static void list_remove(struct pattern_list *list, unsigned at)
{
    free(list->texts[at]);
    list->count--;
    list->texts[at] = list->texts[list->count];
    list->ids[at] = list->ids[list->count];
}

static uintptr_t id_value(uint32_t id) { return (uintptr_t)id + 1; }

/* Texts get ids in the order they come; those that Vectorscan can't read, PREFILTER_ALWAYS. */
static void number_patterns(const struct map *texts, struct router_prefilter *prefilter, struct pattern_list *list)
{
    list->texts = memory_allocate_array(texts->count + 1, sizeof *list->texts);
    list->ids = memory_allocate_array(texts->count + 1, sizeof *list->ids);
    list->flags = memory_allocate_array(texts->count + 1, sizeof *list->flags);
    size_t position = 0;
    for (struct map_entry *entry; (entry = map_next(texts, &position));) {
        char *text = memory_copy_slice(entry->key);
        uint32_t id = PREFILTER_ALWAYS;
        if (!memchr(text, '\0', entry->key.length) && is_readable(text)) {
            id = list->count++;
            list->texts[id] = text;
            list->ids[id] = id;
            list->flags[id] = PATTERN_FLAGS;
        } else {
            free(text);
        }
        map_set(&prefilter->ids, entry->key, (void *)id_value(id));
    }
}

/* One that only shows on compiling that it can't be read is left to PCRE2, and the rest compiled again. */
static bool compile(struct router_prefilter *prefilter, struct pattern_list *list, struct error *error)
{
    while (list->count > 0) {
        hs_compile_error_t *problem = NULL;
        if (vectorscan.hs_compile_multi((const char *const *)list->texts, list->flags, list->ids, list->count,
                                        HS_MODE_BLOCK, NULL, &prefilter->database, &problem) == HS_SUCCESS) {
            return true;
        }
        int at = problem ? problem->expression : -1;
        if (at < 0 || (unsigned)at >= list->count) {
            error_format(error, "the regex prefilter: %s", problem ? problem->message : "not compiled");
            vectorscan.hs_free_compile_error(problem);
            return false;
        }
        vectorscan.hs_free_compile_error(problem);
        map_set(&prefilter->ids, slice_from_cstring(list->texts[at]), (void *)id_value(PREFILTER_ALWAYS));
        list_remove(list, (unsigned)at);
    }
    return true;
}

struct router_prefilter *router_prefilter_build(const struct router_prefilter_source *source, struct error *error)
{
    if (!prefilter_is_possible()) {
        error_format(error, "the regex prefilter: not on this processor, or without Vectorscan");
        return NULL;
    }
    struct router_prefilter *prefilter = memory_allocate(sizeof *prefilter);
    atomic_init(&prefilter->references, 1);
    map_init(&prefilter->ids);
    struct pattern_list list = { .count = 0 };
    number_patterns(&source->texts, prefilter, &list);
    prefilter->count = source->texts.count;
    bool compiled = compile(prefilter, &list, error);
    for (unsigned i = 0; i < list.count; i++) free(list.texts[i]);
    free(list.texts);
    free(list.ids);
    free(list.flags);
    if (!compiled) {
        prefilter_drop(prefilter);
        return NULL;
    }
    return prefilter;
}

struct router_prefilter *prefilter_retain(const struct router_prefilter *shared)
{
    struct router_prefilter *prefilter = (struct router_prefilter *)shared; /* only the count changes */
    if (prefilter) atomic_fetch_add_explicit(&prefilter->references, 1, memory_order_relaxed);
    return prefilter;
}

void prefilter_drop(const struct router_prefilter *shared)
{
    struct router_prefilter *prefilter = (struct router_prefilter *)shared;
    if (!prefilter || atomic_fetch_sub_explicit(&prefilter->references, 1, memory_order_acq_rel) > 1) return;
    if (prefilter->database) vectorscan.hs_free_database(prefilter->database);
    map_release(&prefilter->ids);
    free(prefilter);
}

void router_prefilter_drop(struct router_prefilter *prefilter) { prefilter_drop(prefilter); }

size_t prefilter_count(const struct router_prefilter *prefilter) { return prefilter ? prefilter->count : 0; }

uint32_t prefilter_find(const struct router_prefilter *prefilter, struct slice text)
{
    void *value = prefilter ? map_find(&prefilter->ids, text) : NULL;
    return value ? (uint32_t)((uintptr_t)value - 1) : PREFILTER_UNKNOWN;
}

/* ---- Scratch ----------------------------------------------------------------------------------------------------- */

struct router_scratch *router_scratch_create(void)
{
    struct router_scratch *scratch = calloc(1, sizeof *scratch);
    if (!scratch) return NULL;
    scratch->match_data = pcre2_match_data_create(REGEX_GROUPS_MAX + 1, NULL);
    scratch->match_context = pcre2_match_context_create(NULL);
    scratch->jit_stack = pcre2_jit_stack_create(JIT_STACK_BYTES, JIT_STACK_BYTES_MAX, NULL);
    if (!scratch->match_data || !scratch->match_context || !scratch->jit_stack) {
        router_scratch_destroy(scratch);
        return NULL;
    }
    pcre2_set_match_limit(scratch->match_context, REGEX_STEPS_MAX);
    pcre2_set_depth_limit(scratch->match_context, REGEX_DEPTH_MAX);
    pcre2_set_heap_limit(scratch->match_context, REGEX_HEAP_KIB_MAX);
    pcre2_jit_stack_assign(scratch->match_context, NULL, scratch->jit_stack);
    return scratch;
}

void router_scratch_destroy(struct router_scratch *scratch)
{
    if (!scratch) return;
    if (scratch->scanner) vectorscan.hs_free_scratch(scratch->scanner);
    prefilter_drop(scratch->prepared);
    free(scratch->seen);
    pcre2_match_data_free(scratch->match_data);
    pcre2_match_context_free(scratch->match_context);
    pcre2_jit_stack_free(scratch->jit_stack);
    free(scratch);
}

/* The first time a worker meets a prefilter. This allocates, so it may fail; the worker then does without. */
static bool prepare(const struct router_prefilter *prefilter, struct router_scratch *scratch)
{
    hs_scratch_t *scanner = scratch->scanner;
    uint32_t *seen = calloc(prefilter->count + 1, sizeof *seen);
    if (!seen) return false;
    if (prefilter->database && vectorscan.hs_alloc_scratch(prefilter->database, &scanner) != HS_SUCCESS) {
        free(seen);
        return false;
    }
    scratch->scanner = scanner;
    free(scratch->seen);
    scratch->seen = seen;
    scratch->scan = 0;
    prefilter_drop(scratch->prepared);
    scratch->prepared = prefilter_retain(prefilter);
    return true;
}

static int note_match(unsigned id, unsigned long long from, unsigned long long to, unsigned flags, void *argument)
{
    struct router_scratch *scratch = argument;
    scratch->seen[id] = scratch->scan;
    return 0;
}

bool prefilter_scan(const struct router_prefilter *prefilter, struct slice path, struct router_scratch *scratch)
{
    if (scratch->prepared != prefilter && !prepare(prefilter, scratch)) return false;
    if (++scratch->scan == 0) { /* after four billion scans the marks are worn out */
        memset(scratch->seen, 0, (prefilter->count + 1) * sizeof *scratch->seen);
        scratch->scan = 1;
    }
    if (!prefilter->database) return true;
    return vectorscan.hs_scan(prefilter->database, path.at, (unsigned)path.length, 0, scratch->scanner, note_match,
                              scratch) == HS_SUCCESS;
}
