/* shared/limit_counters.c: see limit_counters.h. */
#include "shared/limit_counters.h"

#include "base/clock.h"
#include "base/memory.h"

#define DAY_NS (UINT64_C(86400) * 1000000000)

const char *const limit_decision_words[LIMIT_DECISION_COUNT] = { "passed", "queued", "refused", "would_refuse",
                                                                 "unanswered" };

/* --- life --- */

struct limit_counters *limit_counters_create(uint64_t bytes, unsigned workers, struct error *error)
{
    struct limit_table *table = limit_table_create(bytes, error);
    if (!table) return NULL;
    struct limit_counters *counters = memory_allocate(sizeof *counters);
    counters->table = table;
    local_limiter_init(&counters->local, table);
    counters->limiter = &counters->local.limiter;
    counters->workers = workers;
    counters->worker_lines = memory_allocate_aligned((workers + 1) * sizeof *counters->worker_lines);
    /* Windows begin at multiples of their length since midnight: those that a day is a multiple of, as people expect them. */
    counters->offset_ns = clock_wall_ns() % DAY_NS - clock_monotonic_ns();
    pthread_mutex_init(&counters->lock, NULL);
    map_init(&counters->rules);
    map_init(&counters->tallies);
    return counters;
}

void limit_counters_destroy(struct limit_counters *counters)
{
    if (!counters) return;
    PROMISE(counters->rules.count == 0 && counters->tallies.count == 0);
    map_release(&counters->rules);
    map_release(&counters->tallies);
    pthread_mutex_destroy(&counters->lock);
    local_limiter_release(&counters->local);
    limit_table_destroy(counters->table);
    free(counters->worker_lines);
    free(counters);
}

/* --- rules --- */

/* Keyed by the process, so that nobody can look for values that meet; and by the rule's number, so that none finds what another has taken that
 * was known by the same identity before it. */
static struct hash_key make_key(uint64_t number, char which)
{
    char *text = memory_format("%llu %c0", (unsigned long long)number, which);
    struct hash_key key;
    size_t length = strlen(text);
    for (unsigned i = 0; i < 2; i++) {
        text[length - 1] = (char)('0' + i);
        key.words[i] = hash_keyed(hash_process_key(), slice_of(text, length));
    }
    free(text);
    return key;
}

/* One that no other rule has, as long as there is one, and in turn: entries of a rule that is gone stay for a while. */
static uint64_t choose_stamp(const struct limit_counters *counters, uint64_t number)
{
    uint64_t wished = number % LIMIT_STAMPS, best = wished;
    for (uint64_t i = 1; i < LIMIT_STAMPS; i++) {
        uint64_t stamp = (wished + i) % LIMIT_STAMPS;
        if (counters->stamped[stamp] < counters->stamped[best]) best = stamp;
    }
    return best;
}

static uint32_t *stamped_as(struct limit_counters *counters, const struct limit_rule *rule)
{
    return &counters->stamped[rule->share.stamp >> LIMIT_STAMP_SHIFT];
}

static struct limit_rule *make_rule(struct limit_counters *counters, struct slice identity)
{
    struct limit_rule *rule = memory_allocate_aligned(sizeof *rule);
    uint64_t number = counters->rules_made++;
    rule->identity = memory_copy_slice(identity);
    rule->keys[0] = make_key(number, 'v');
    rule->keys[1] = make_key(number, 'a');
    rule->share.stamp = choose_stamp(counters, number) << LIMIT_STAMP_SHIFT;
    ++*stamped_as(counters, rule);
    map_set(&counters->rules, slice_from_cstring(rule->identity), rule);
    return rule;
}

struct limit_rule *limit_counters_rule(struct limit_counters *counters, struct slice identity)
{
    pthread_mutex_lock(&counters->lock);
    struct limit_rule *rule = map_find(&counters->rules, identity);
    if (!rule) rule = make_rule(counters, identity);
    rule->references++;
    rule->findable++;
    pthread_mutex_unlock(&counters->lock);
    return rule;
}

void limit_counters_retire_rule(struct limit_counters *counters, struct limit_rule *rule)
{
    pthread_mutex_lock(&counters->lock);
    if (--rule->findable == 0) map_remove(&counters->rules, slice_from_cstring(rule->identity));
    pthread_mutex_unlock(&counters->lock);
}

void limit_counters_drop_rule(struct limit_counters *counters, struct limit_rule *rule)
{
    pthread_mutex_lock(&counters->lock);
    if (--rule->references == 0) {
        PROMISE(rule->findable == 0);
        --*stamped_as(counters, rule);
        free(rule->identity);
        free(rule);
    }
    pthread_mutex_unlock(&counters->lock);
}

static struct limit_tally *make_tally(struct limit_counters *counters, struct slice name)
{
    struct limit_tally *tally = memory_allocate_aligned(sizeof *tally +
                                                        (counters->workers + 1) * sizeof tally->lines[0]);
    tally->name = memory_copy_slice(name);
    map_set(&counters->tallies, slice_from_cstring(tally->name), tally);
    return tally;
}

struct limit_tally *limit_counters_tally(struct limit_counters *counters, struct slice name)
{
    pthread_mutex_lock(&counters->lock);
    struct limit_tally *tally = map_find(&counters->tallies, name);
    if (!tally) tally = make_tally(counters, name);
    tally->references++;
    pthread_mutex_unlock(&counters->lock);
    return tally;
}

void limit_counters_drop_tally(struct limit_counters *counters, struct limit_tally *tally)
{
    pthread_mutex_lock(&counters->lock);
    if (--tally->references == 0) {
        map_remove(&counters->tallies, slice_from_cstring(tally->name));
        free(tally->name);
        free(tally);
    }
    pthread_mutex_unlock(&counters->lock);
}

/* --- figures --- */

size_t limit_counters_sums(struct limit_counters *counters, size_t *position, struct limit_tally_sum *into, size_t room)
{
    size_t count = 0;
    struct map_entry *entry;
    pthread_mutex_lock(&counters->lock);
    while (count < room && (entry = map_next(&counters->tallies, position))) {
        const struct limit_tally *tally = entry->value;
        struct limit_tally_sum *sum = &into[count++];
        *sum = (struct limit_tally_sum){ .name = memory_copy_slice(slice_from_cstring(tally->name)) };
        for (unsigned i = 0; i < counters->workers; i++) {
            for (int j = 0; j < LIMIT_DECISION_COUNT; j++)
                sum->decisions[j] += counter_read(&tally->lines[i].decisions[j]);
        }
    }
    pthread_mutex_unlock(&counters->lock);
    return count;
}

uint64_t limit_counters_waiting(const struct limit_counters *counters)
{
    int64_t waiting = 0;
    for (unsigned i = 0; i < counters->workers; i++) waiting += gauge_read(&counters->worker_lines[i].waiting);
    return waiting > 0 ? (uint64_t)waiting : 0;
}
