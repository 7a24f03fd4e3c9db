/* filters/mirror_judge.c: see mirror_judge.h. Workers push onto a stack, the judge takes all of it at once and turns it round, as of a mailbox; a
 * semaphore lets it sleep. */
#include "filters/mirror_judge.h"

#include "base/memory.h"
#include "filters/decoder.h"
#include "filters/mirror.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>

/* What a compressed answer may become to be compared, in multiples of what is kept of it. */
#define UNPACKED_TIMES_MAX 8
/* Of answers that wait. */
#define WAITING_BYTES_MAX ((size_t)32 << 20)
/* What unpacking and reading two answers may take. */
#define WORKING_BYTES_MAX ((size_t)64 << 20)
#define CHUNKS_IDLE_MAX 16

struct answer_pair {
    struct answer_pair *next;
    struct judged_request request; /* one reference of its route; its texts and those of the answers are the arena's */
    struct kept_answer primary, copy;
    struct arena arena; /* malloc'ed: it goes from one thread to another */
    size_t bytes;       /* counted in waiting_bytes */
};

struct mirror_judge {
    _Atomic(struct answer_pair *) newest;
    _Atomic size_t waiting_bytes;
    sem_t asked;
    atomic_bool stops;
    bool is_started;
    pthread_t thread;
    struct memory_ceiling memory; /* the judge's thread alone, as the pool */
    struct arena_pool arenas;
};

/* --- comparing, on the judge's thread --- */

/* What a body says, unpacked where it is compressed. False: it can't be. */
static bool read_plain(struct mirror_judge *judge, const struct mirror *mirror, const struct kept_answer *answer,
                       struct arena *arena, struct slice *plain)
{
    *plain = slice_of(answer->length ? answer->body : "", answer->length);
    if (answer->coding.length == 0 || answer->length == 0) return !slice_is_absent(answer->coding);
    enum content_coding coding = content_coding_find(answer->coding);
    if (coding == CODING_IDENTITY) return true;
    if (coding == CODING_COUNT || !mirror->reads_coding[coding]) return false;
    size_t room = mirror->compared_bytes_max * UNPACKED_TIMES_MAX, length = 0;
    struct slice packed = *plain;
    struct decoder *decoder = decoder_create(coding, &judge->memory);
    char *text = decoder ? arena_allocate(arena, room) : NULL;
    bool good = text && decoder_run(decoder, &packed, text, room, &length) == DECODER_GOES_ON && packed.length == 0 &&
                decoder_is_whole(decoder);
    decoder_destroy(decoder);
    *plain = slice_of(text, length);
    return good;
}

static struct answer_to_compare to_compare(struct mirror_judge *judge, const struct mirror *mirror,
                                           const struct kept_answer *answer, struct arena *arena)
{
    struct answer_to_compare compared = { .status = answer->status, .headers = answer->headers };
    compared.is_whole = answer->is_whole && (mirror->rules.body == COMPARE_NO_BODY ||
                                             read_plain(judge, mirror, answer, arena, &compared.body));
    return compared;
}

static void note(const struct answer_pair *pair, unsigned line, const struct answer_difference *difference)
{
    const struct judged_request *request = &pair->request;
    bool shows = request->mirror->shows_values;
    mirror_note(request->mirror->figures, line,
                &(struct mirror_difference){
                    .wall_ns = request->wall_ns,
                    .request_id = request->request_id,
                    .method = request->method,
                    .path = request->path,
                    .what = difference->what,
                    .primary = difference->primary,
                    .mirror = difference->mirror,
                    .primary_value = shows ? difference->primary_value : SLICE_ABSENT,
                    .mirror_value = shows ? difference->mirror_value : SLICE_ABSENT,
                    .primary_status = pair->primary.status,
                    .mirror_status = pair->copy.status,
                    .primary_ns = pair->primary.head_ns,
                    .mirror_ns = pair->copy.head_ns,
                });
}

/* The difference is noted before it is counted: who has seen the count finds it. */
static void compare(struct mirror_judge *judge, const struct answer_pair *pair)
{
    static const enum mirror_outcome outcomes[] = { [ANSWERS_ALIKE] = MIRROR_ALIKE,
                                                    [ANSWERS_DIFFER] = MIRROR_DIFFERENT,
                                                    [ANSWERS_NOT_COMPARED] = MIRROR_NOT_COMPARED };
    const struct mirror *mirror = pair->request.mirror;
    unsigned line = mirror_judge_line(mirror->figures);
    struct answer_difference difference;
    struct arena arena;
    arena_init(&arena, &judge->arenas);
    struct answer_to_compare left = to_compare(judge, mirror, &pair->primary, &arena);
    struct answer_to_compare right = to_compare(judge, mirror, &pair->copy, &arena);
    enum comparison result = answers_compare(&mirror->rules, &left, &right, &arena, &difference);
    if (result == ANSWERS_DIFFER) note(pair, line, &difference);
    mirror_count(mirror->figures, line, outcomes[result]);
    arena_release(&arena);
}

/* With the route may go the policy. */
static void forget(struct mirror_judge *judge, struct answer_pair *pair)
{
    atomic_fetch_sub(&judge->waiting_bytes, pair->bytes);
    compiled_route_drop(pair->request.route);
    free(pair->primary.body);
    free(pair->copy.body);
    arena_release(&pair->arena);
    free(pair);
}

static struct answer_pair *take_all(struct mirror_judge *judge)
{
    struct answer_pair *newest_first = atomic_exchange(&judge->newest, NULL), *oldest_first = NULL;
    while (newest_first) {
        struct answer_pair *next = newest_first->next;
        newest_first->next = oldest_first;
        oldest_first = newest_first;
        newest_first = next;
    }
    return oldest_first;
}

static void judge_all(struct mirror_judge *judge)
{
    struct answer_pair *next;
    for (struct answer_pair *pair = take_all(judge); pair; pair = next) {
        next = pair->next;
        if (!atomic_load(&judge->stops)) compare(judge, pair);
        forget(judge, pair);
    }
}

static void *run(void *argument)
{
    struct mirror_judge *judge = argument;
    pthread_setname_np(pthread_self(), "mirror judge");
    while (!atomic_load(&judge->stops)) {
        while (sem_wait(&judge->asked) != 0 && errno == EINTR) continue;
        judge_all(judge);
    }
    return NULL;
}

/* --- life --- */

struct mirror_judge *mirror_judge_create(void)
{
    struct mirror_judge *judge = memory_allocate(sizeof *judge);
    sem_init(&judge->asked, 0, 0);
    judge->memory.bytes_max = WORKING_BYTES_MAX;
    arena_pool_init(&judge->arenas, CHUNKS_IDLE_MAX, &judge->memory);
    return judge;
}

bool mirror_judge_start(struct mirror_judge *judge, struct error *error)
{
    int failure = pthread_create(&judge->thread, NULL, run, judge);
    if (failure != 0)
        return error_format(error, "cannot start the thread that compares answers: %s", error_from_errno(failure));
    judge->is_started = true;
    return true;
}

void mirror_judge_destroy(struct mirror_judge *judge)
{
    if (!judge) return;
    atomic_store(&judge->stops, true);
    sem_post(&judge->asked);
    if (judge->is_started) pthread_join(judge->thread, NULL);
    judge_all(judge);
    sem_destroy(&judge->asked);
    arena_pool_release(&judge->arenas);
    free(judge);
}

/* --- asking, on a worker's thread --- */

static bool keep_texts(struct answer_pair *pair)
{
    struct slice *texts[] = { &pair->request.request_id, &pair->request.method, &pair->request.path };
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        *texts[i] = arena_copy(&pair->arena, *texts[i]);
        if (slice_is_absent(*texts[i])) return false;
    }
    return true;
}

static bool keep_head(struct answer_pair *pair, struct kept_answer *kept, size_t header_count)
{
    struct arena *arena = &pair->arena;
    if (slice_is_absent(kept->coding)) return false; /* there was no memory for it */
    struct slice *values = arena_allocate(arena, (header_count + 1) * sizeof *values);
    if (!values) return false;
    for (size_t i = 0; i < header_count; i++) {
        values[i] = slice_is_absent(kept->headers[i]) ? SLICE_ABSENT : arena_copy(arena, kept->headers[i]);
        if (slice_is_absent(values[i]) != slice_is_absent(kept->headers[i])) return false;
    }
    kept->headers = values;
    kept->coding = arena_copy(arena, kept->coding);
    return !slice_is_absent(kept->coding);
}

static struct answer_pair *keep(const struct judged_request *request, const struct kept_answer *primary,
                                const struct kept_answer *copy)
{
    struct answer_pair *pair = calloc(1, sizeof *pair);
    if (!pair) return NULL;
    pair->request = *request;
    pair->primary = *primary;
    pair->copy = *copy;
    arena_init(&pair->arena, NULL);
    size_t headers = request->mirror->rules.header_count;
    if (keep_texts(pair) && keep_head(pair, &pair->primary, headers) && keep_head(pair, &pair->copy, headers))
        return pair;
    arena_release(&pair->arena);
    free(pair);
    return NULL;
}

/* As much as its arena takes; long values of fields may make it a little more. */
static size_t bytes_of(const struct kept_answer *primary, const struct kept_answer *copy)
{
    return sizeof(struct answer_pair) + ARENA_CHUNK_BYTES + primary->capacity + copy->capacity;
}

bool mirror_judge_ask(struct mirror_judge *judge, const struct judged_request *request, struct kept_answer *primary,
                      struct kept_answer *copy)
{
    size_t bytes = bytes_of(primary, copy);
    if (atomic_fetch_add(&judge->waiting_bytes, bytes) + bytes > WAITING_BYTES_MAX) {
        atomic_fetch_sub(&judge->waiting_bytes, bytes);
        return false;
    }
    struct answer_pair *pair = keep(request, primary, copy);
    if (!pair) {
        atomic_fetch_sub(&judge->waiting_bytes, bytes);
        return false;
    }
    pair->bytes = bytes;
    compiled_route_retain(request->route);
    primary->body = copy->body = NULL;
    pair->next = atomic_load_explicit(&judge->newest, memory_order_relaxed);
    while (!atomic_compare_exchange_weak(&judge->newest, &pair->next, pair)) continue;
    sem_post(&judge->asked);
    return true;
}
