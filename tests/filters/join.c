/* test-join: all of its kind in a phase are one link, which says in X-Joined what they were called, widest scope first, and counts on its worker.
 *
 * `early: true` puts one into the phase before identity. */
#include "filters/test_filters.h"

#include "base/memory.h"

struct join_config {
    struct slice name;
    bool early;
};

struct joined {
    char *names;
};

static const struct field join_fields[] = {
    { .name = "name",
      .type = FIELD_STRING,
      .into = offsetof(struct join_config, name),
      .required = true,
      .summary = "What it is called." },
    { .name = "early",
      .type = FIELD_BOOLEAN,
      .into = offsetof(struct join_config, early),
      .summary = "Before identity." },
    FIELDS_END,
};

static enum phase join_phase(const void *config)
{
    return ((const struct join_config *)config)->early ? PHASE_EARLY_LIMIT : PHASE_LIMIT;
}

static bool join_compile_all(const struct filter_compile *compile, const struct filter_config *const *configs,
                             size_t count, void **compiled)
{
    struct joined *joined = memory_allocate(sizeof *joined);
    joined->names = memory_format("%s", "");
    for (size_t i = 0; i < count; i++) {
        const struct join_config *config = configs[i]->config;
        char *longer = memory_format("%s%s%.*s", joined->names, i ? " " : "", SLICE_PRINT(config->name));
        free(joined->names);
        joined->names = longer;
    }
    *compiled = joined;
    return true;
}

static void join_release(void *compiled)
{
    struct joined *joined = compiled;
    free(joined->names);
    free(joined);
}

static bool join_worker_start(struct exchange_worker *worker, void **kept)
{
    *kept = memory_allocate(sizeof(unsigned));
    return true;
}

static void join_worker_stop(struct exchange_worker *worker, void *kept) { free(kept); }

static enum filter_result join_request(struct exchange *exchange, const void *compiled, void *state)
{
    const struct joined *joined = compiled;
    unsigned *count = exchange_kept(exchange, &filter_test_join);
    struct slice value = arena_format(exchange->arena, "%s #%u", joined->names, ++*count);
    PROMISE(headers_add(&exchange->request->headers, SLICE("X-Joined"), value));
    return FILTER_NEXT;
}

static void join_explain(struct exchange *exchange, const void *compiled, struct explanation *explanation)
{
    const struct joined *joined = compiled;
    explanation_add(explanation, "would say %s", joined->names);
}

const struct filter filter_test_join = {
    .name = "test-join",
    .summary = "Says which of its kind came together.",
    .phase = PHASE_LIMIT,
    .phase_of = join_phase,
    .fields = join_fields,
    .config_size = sizeof(struct join_config),
    .all_scopes_apply = true,
    .compile_all = join_compile_all,
    .release = join_release,
    .worker_start = join_worker_start,
    .worker_stop = join_worker_stop,
    .request = join_request,
    .explain = join_explain,
};
