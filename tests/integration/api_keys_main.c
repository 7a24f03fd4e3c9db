/* An index of API keys over a store, told line by line what to do, for api_keys_tool.py. What worker threads, the changes thread and the
 * look-ups' own do in a gateway is done here by the lines that come.
 *
 *   sluice_api_keys_tool LOCATION BYTES_MAX
 *
 *   loaded                     waits until all keys were read
 *   find TEXT                  looks a key up as a filter would, asking where it must
 *   looks COUNT FIRST BEHIND   so many of the keys "key FIRST" to before "key BEHIND", in random order, each as by `find`
 *   changed ID                 word of a change; changed *: something was missed
 *   heard 0|1                  the store was heard of, or was not
 *
 * Each line is answered by one of JSON, with the figures of the moment. */
#include "base/clock.h"
#include "base/random.h"
#include "keys/key_lookups.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

struct tool {
    struct api_keys *keys;
    struct key_lookups *lookups;
    struct random random;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool answered;
    bool hears; /* of the store; in a gateway the changes thread says so each second */
};

static uint64_t now_us(void) { return clock_wall_ns() / 1000; }

static void take_answer(const struct key_asker *asker, enum api_key_found found)
{
    struct tool *tool = (struct tool *)(uintptr_t)asker->ticket[0]; // NOLINT(performance-no-int-to-ptr)
    pthread_mutex_lock(&tool->lock);
    tool->answered = true;
    pthread_cond_signal(&tool->changed);
    pthread_mutex_unlock(&tool->lock);
}

static enum api_key_found look(struct tool *tool, struct slice text, bool *asked)
{
    uint8_t hash[API_KEY_HASH_BYTES];
    struct api_key key;
    api_key_hash(text, hash);
    enum api_key_found found = api_keys_find(tool->keys, 0, hash, now_us(), &key);
    if (found == API_KEY_FOUND) api_keys_note_use(tool->keys, 0, &key, now_us());
    api_keys_quiesce(tool->keys, 0);
    if (found != API_KEY_ASK) return found;
    *asked = true;
    tool->answered = false;
    struct key_asker asker = { .answered = take_answer, .ticket = { (uint64_t)(uintptr_t)tool } };
    if (key_lookups_ask(tool->lookups, hash, &asker) == API_KEY_AWAY) return API_KEY_AWAY;
    pthread_mutex_lock(&tool->lock);
    while (!tool->answered) pthread_cond_wait(&tool->changed, &tool->lock);
    pthread_mutex_unlock(&tool->lock);
    found = api_keys_find(tool->keys, 0, hash, now_us(), &key);
    api_keys_quiesce(tool->keys, 0);
    return found;
}

static unsigned long resident_kb(void)
{
    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file || fscanf(file, "%*u %lu", &pages) != 1) pages = 0;
    if (file) fclose(file);
    return pages * (unsigned long)sysconf(_SC_PAGESIZE) / 1024;
}

/* Of the whole process since it began: what others do on the machine is not in it. */
static uint64_t processor_ms(void)
{
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (uint64_t)time.tv_sec * 1000 + (uint64_t)time.tv_nsec / 1000000;
}

static void answer(struct tool *tool, const uint64_t found[API_KEY_FOUND_COUNT], uint64_t asked, uint64_t spent_ns)
{
    struct api_keys_figures figures;
    struct key_lookups_figures lookups;
    api_keys_figures(tool->keys, &figures);
    key_lookups_figures(tool->lookups, &lookups);
    printf(
        "{\"keys\": %llu, \"absent\": %llu, \"bytes\": %llu, \"evicted\": %llu, \"whole\": %s, \"loads\": %llu, "
        "\"reread\": %llu, \"failed\": %llu, \"uses\": %llu, \"resident_kb\": %lu, \"processor_ms\": %llu, \"ms\": %.3f, \"asked\": %llu",
        (unsigned long long)figures.keys, (unsigned long long)figures.absent, (unsigned long long)figures.bytes,
        (unsigned long long)figures.evicted, figures.is_whole ? "true" : "false", (unsigned long long)lookups.loads,
        (unsigned long long)lookups.reread, (unsigned long long)lookups.failed, (unsigned long long)lookups.uses,
        resident_kb(), (unsigned long long)processor_ms(), (double)spent_ns / 1e6, (unsigned long long)asked);
    for (int i = 0; i < API_KEY_FOUND_COUNT; i++) {
        printf(", \"%s\": %llu", api_key_found_words[i], (unsigned long long)found[i]);
    }
    printf("}\n");
    fflush(stdout);
}

static void looks(struct tool *tool, const char *words)
{
    unsigned long long count, first, behind;
    uint64_t found[API_KEY_FOUND_COUNT] = { 0 }, asks = 0, begin = clock_monotonic_ns();
    if (sscanf(words, "%llu %llu %llu", &count, &first, &behind) != 3 || behind <= first) exit(2);
    for (uint64_t i = 0; i < count; i++) {
        if (tool->hears && i % 1000 == 0) api_keys_store_heard(tool->keys, now_us(), true);
        char text[32];
        bool asked = false;
        int length = snprintf(text, sizeof text, "key %llu",
                              first + (unsigned long long)random_below(&tool->random, behind - first));
        found[look(tool, slice_of(text, (size_t)length), &asked)]++;
        asks += asked;
    }
    answer(tool, found, asks, clock_monotonic_ns() - begin);
}

static void obey(struct tool *tool, char *line)
{
    uint64_t found[API_KEY_FOUND_COUNT] = { 0 }, begin = clock_monotonic_ns();
    bool asked = false;
    char *words = strchr(line, ' ');
    if (words) *words++ = '\0';
    if (strcmp(line, "loaded") == 0) {
        struct key_lookups_figures figures;
        do {
            nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
            key_lookups_figures(tool->lookups, &figures);
        } while (figures.is_loading);
    } else if (strcmp(line, "find") == 0 && words) {
        found[look(tool, slice_from_cstring(words), &asked)]++;
    } else if (strcmp(line, "looks") == 0 && words) {
        looks(tool, words);
        return;
    } else if (strcmp(line, "changed") == 0 && words) {
        struct slice id = slice_from_cstring(words);
        key_lookups_changed(tool->lookups, strcmp(words, "*") == 0 ? NULL : &id, 1, NULL, NULL);
    } else if (strcmp(line, "heard") == 0 && words) {
        tool->hears = words[0] == '1';
        api_keys_store_heard(tool->keys, now_us(), tool->hears);
    } else {
        exit(2);
    }
    answer(tool, found, asked, clock_monotonic_ns() - begin);
}

int main(int count, char **arguments)
{
    struct tool tool = { .hears = true, .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };
    struct error error;
    char line[512];
    if (count != 3) return 2;
    random_init_seeded(&tool.random, 1);
    struct api_keys_options options = { .bytes_max = strtoull(arguments[2], NULL, 10), .readers = 1 };
    tool.keys = api_keys_create(&options, &error);
    if (!tool.keys) return fprintf(stderr, "%s\n", error.text), 1;
    api_keys_store_heard(tool.keys, now_us(), true);
    struct key_source source = key_source_of_store(&(struct store_settings){ arguments[1], 10000 });
    tool.lookups = key_lookups_create(&(struct key_lookups_options){ tool.keys, source, 0, NULL }, &error);
    if (!tool.lookups || !key_lookups_start(tool.lookups, &error)) return fprintf(stderr, "%s\n", error.text), 1;
    while (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = '\0';
        obey(&tool, line);
    }
    key_lookups_stop(tool.lookups);
    key_lookups_destroy(tool.lookups);
    api_keys_destroy(tool.keys);
    return 0;
}
