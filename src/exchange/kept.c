/* exchange/kept.c: what filters keep once a worker, as caches. Few do, so who asks for its own finds it by walking them. */
#include "base/memory.h"
#include "exchange/private.h"

struct kept {
    const struct filter *filter;
    void *content;
};

struct kept_list {
    unsigned count;
    struct kept items[];
};

static bool has_worker_side(const struct filter *filter) { return filter->worker_start || filter->worker_stop; }

static unsigned keepers(const struct filter *const *filters)
{
    unsigned count = 0;
    for (; filters && *filters; filters++) count += has_worker_side(*filters);
    return count;
}

bool kept_start(struct exchange_worker *worker, struct error *error)
{
    struct kept_list *list = memory_allocate(sizeof *list + keepers(worker->filters) * sizeof list->items[0]);
    worker->kept = list;
    for (const struct filter *const *filter = worker->filters; filter && *filter; filter++) {
        if (!has_worker_side(*filter)) continue;
        struct kept *kept = &list->items[list->count];
        *kept = (struct kept){ .filter = *filter };
        if ((*filter)->worker_start && !(*filter)->worker_start(worker, &kept->content)) {
            kept_stop(worker);
            return error_format(error, "out of memory for what \"%s\" keeps", (*filter)->name);
        }
        list->count++;
    }
    return true;
}

void kept_stop(struct exchange_worker *worker)
{
    struct kept_list *list = worker->kept;
    if (!list) return;
    worker->kept = NULL;
    for (unsigned i = list->count; i > 0; i--) {
        const struct kept *kept = &list->items[i - 1];
        if (kept->filter->worker_stop) kept->filter->worker_stop(worker, kept->content);
    }
    free(list);
}

void *exchange_worker_kept(const struct exchange_worker *worker, const struct filter *filter)
{
    const struct kept_list *list = worker->kept;
    for (unsigned i = 0; list && i < list->count; i++) {
        if (list->items[i].filter == filter) return list->items[i].content;
    }
    return NULL;
}
