/* gateway/publisher_load.c: whole configurations: the first one, and reloads in their two halves. See publisher.h. */
#include "gateway/publisher_private.h"

#include "base/log.h"
#include "base/memory.h"

#include <fcntl.h>
#include <malloc.h>
#include <unistd.h>

/* --- compiling --- */

/* Compiles, and takes the configuration and its entrances over. */
static struct snapshot *compile(struct publisher *publisher, struct configuration *configuration,
                                struct entrances *entrances, struct problems *problems)
{
    struct worker_settings settings = facts_worker_settings(configuration);
    struct vector entries = publisher_catalog_entries(publisher, configuration);
    struct file_keys *keys = key_index_read_file(&publisher->key_index, configuration);
    struct snapshot *snapshot = snapshot_builder_load(publisher->builder, configuration, problems);
    if (snapshot) {
        publisher->settings = settings;
        entrances_drop(publisher->entrances);
        publisher->entrances = entrances;
        publisher_fill_catalog(publisher, &entries, snapshot->version);
        key_index_put_file(&publisher->key_index, keys);
    } else {
        entrances_drop(entrances);
        publisher_forget_entries(&entries);
    }
    key_index_forget_file(keys);
    /* The document was larger than what was made of it, and that lies behind it on the heap. */
    malloc_trim(0);
    return snapshot;
}

void publisher_keep_good_text(struct publisher *publisher, int text)
{
    if (publisher->text_in_force >= 0) close(publisher->text_in_force);
    publisher->text_in_force = text >= 0 ? fcntl(text, F_DUPFD_CLOEXEC, 3) : -1;
    int before = atomic_exchange(&publisher->good_text, text);
    if (before >= 0) close(before);
}

int publisher_take_good_text(struct publisher *publisher) { return atomic_exchange(&publisher->good_text, -1); }

/* What a problem of a stored resource is about, which stands in no file: `service "users"`. NULL: it is none. The caller's. */
static char *name_resource(const struct publisher *publisher, const struct problem *problem)
{
    struct slice rest = slice_from_cstring(problem->pointer), nothing, kind, id;
    bool is_ambiguous = false;
    if (problem->line || !publisher->store || !publisher->changes) return NULL;
    if (!slice_next(&rest, '/', &nothing) || !slice_next(&rest, '/', &kind) || !slice_next(&rest, '/', &id))
        return NULL;
    const struct resource_type *type = resource_type_find(kind);
    struct catalog_entry *entry = NULL;
    if (type) entry = catalog_find(changes_catalog(publisher->changes), resource_kind_of(type), id, &is_ambiguous);
    char *name = entry ? memory_format("%s \"%.*s\"", type->word, SLICE_PRINT(entry->name)) : NULL;
    catalog_entry_drop(entry);
    return name;
}

static void name_resources(const struct publisher *publisher, struct problems *problems)
{
    for (size_t i = 0; i < problems->list.count; i++) {
        struct problem *problem = vector_at(&problems->list, i);
        char *name = name_resource(publisher, problem);
        if (!name) continue;
        free(problem->file);
        problem->file = name;
    }
}

static char *take_text(const struct publisher *publisher, struct problems *problems)
{
    name_resources(publisher, problems);
    char *text = problems_to_text(problems);
    problems_release(problems);
    return text;
}

/* What a configuration wants of the outside. */
struct prepared {
    struct facts *facts;
    struct entrances *entrances;
};

static void forget_prepared(struct prepared *prepared)
{
    facts_destroy(prepared->facts);
    entrances_drop(prepared->entrances);
    *prepared = (struct prepared){ 0 };
}

static struct entrances *make_entrances(const struct publisher *publisher, const struct configuration *configuration,
                                        struct problems *problems)
{
    return entrances_create(configuration, &configuration->certificates, publisher->options.ticket_ring,
                            ENTRANCES_WHOLE, problems);
}

/* False: something can't be had, and the configuration is destroyed. */
static bool prepare(struct publisher *publisher, struct configuration *configuration, struct prepared *prepared,
                    struct problems *problems)
{
    prepared->facts = facts_create(configuration);
    prepared->entrances = make_entrances(publisher, configuration, problems);
    prepared->facts->admin_entrances = entrances_create_admin(
        configuration, &configuration->certificates, publisher->options.ticket_ring, ENTRANCES_WHOLE, problems);
    bool good = facts_prepare(prepared->facts, configuration, publisher->log_in_force, publisher->may_change_user,
                              problems);
    if (good && prepared->entrances && prepared->facts->admin_entrances) {
        entrances_list_certificates(prepared->entrances, &prepared->facts->certificates);
        return true;
    }
    forget_prepared(prepared);
    configuration_destroy(configuration);
    return false;
}

static char *copy_or_null(const char *text) { return text ? memory_copy_slice(slice_from_cstring(text)) : NULL; }

/* What keys come from, of both kinds. */
static bool create_keys(struct publisher *publisher, const struct configuration *configuration, unsigned workers,
                        struct problems *problems)
{
    struct error error;
    char *copy = publisher_copy_path(publisher, "keys");
    bool ok = key_index_create(&publisher->key_index, configuration, workers, publisher->store, copy, &error);
    free(copy);
    if (ok) publisher->key_sets = key_sets_create(workers, &error);
    if (publisher->key_sets) return true;
    problems_add(problems, configuration->node, NULL, "%s", error.text);
    key_index_release(&publisher->key_index);
    return false;
}

static bool create_limits(struct publisher *publisher, const struct configuration *configuration, unsigned workers,
                          struct problems *problems)
{
    struct error error;
    publisher->limits = limit_counters_create(configuration->rate_limit_memory_bytes, workers, &error);
    if (publisher->limits) return true;
    problems_add(problems, configuration->node, NULL, "%s", error.text);
    return false;
}

/* The prepared facts go to *facts where it works; else all is destroyed. */
static struct snapshot *compile_first(struct publisher *publisher, struct configuration *configuration,
                                      struct prepared *prepared, struct facts **facts, struct problems *problems)
{
    publisher_create_builder(publisher, prepared->facts->workers);
    if (!create_limits(publisher, configuration, prepared->facts->workers, problems) ||
        !create_keys(publisher, configuration, prepared->facts->workers, problems)) {
        configuration_destroy(configuration);
        forget_prepared(prepared);
        publisher_destroy_builder(publisher);
        return NULL;
    }
    publisher->surroundings = (struct policy_surroundings){
        .api_keys = publisher->key_index.keys,
        .key_lookups = publisher->key_index.lookups,
        .mirrors = publisher->mirrors,
        .key_sets = publisher->key_sets,
        .limits = publisher->limits,
        .workers = prepared->facts->workers,
    };
    struct snapshot *snapshot = compile(publisher, configuration, prepared->entrances, problems);
    if (snapshot) {
        *facts = prepared->facts;
        publisher->log_in_force = copy_or_null(prepared->facts->access_log);
    } else {
        facts_destroy(prepared->facts);
        key_index_release(&publisher->key_index);
        publisher_destroy_builder(publisher); /* another configuration may want other numbers of workers */
        key_sets_destroy(publisher->key_sets);
        publisher->key_sets = NULL;
    }
    return snapshot;
}

typedef struct configuration *read_function(struct publisher *, int *text, struct problems *);

static struct snapshot *load_by(struct publisher *publisher, read_function *read, struct facts **facts, char **failure)
{
    struct problems problems;
    struct prepared prepared;
    struct snapshot *snapshot = NULL;
    int text;
    problems_init(&problems, publisher->options.gateway->config_path);
    struct configuration *configuration = read(publisher, &text, &problems);
    if (configuration && prepare(publisher, configuration, &prepared, &problems))
        snapshot = compile_first(publisher, configuration, &prepared, facts, &problems);
    if (snapshot) {
        publisher_keep_good_text(publisher, text);
        problems_release(&problems);
    } else {
        if (text >= 0) close(text);
        *failure = take_text(publisher, &problems);
    }
    return snapshot;
}

/* Another instance may have stored what can't be used here, as a service whose authorities are a file that only the other one has. That
 * must not keep the rest from being served after a restart; which rest that is, the changes thread finds out as it does while it runs. */
static struct snapshot *load_bare(struct publisher *publisher, struct facts **facts, char **failure)
{
    char *not_here = *failure, *not_bare = NULL;
    struct snapshot *snapshot = load_by(publisher, publisher_read_bare, facts, &not_bare);
    free(not_bare); /* what is wrong with the file is told already */
    if (!snapshot) return NULL;
    log_error("the store holds what can't be used here:");
    log_lines(LOG_LEVEL_ERROR, not_here);
    free(not_here);
    *failure = NULL;
    publisher->is_bare = true;
    changes_not_loaded(publisher->changes);
    return snapshot;
}

static struct snapshot *load_file(struct publisher *publisher, struct facts **facts, char **failure)
{
    struct snapshot *snapshot = load_by(publisher, publisher_read_configuration, facts, failure);
    return !snapshot && publisher->store && publisher->changes ? load_bare(publisher, facts, failure) : snapshot;
}

bool publisher_is_bare(const struct publisher *publisher) { return publisher->is_bare; }

/* To serve without a log is better than not to: the writer tries to open it with each page. So it is with a listener's certificates. */
static struct prepared prepare_what_can_be_had(const struct publisher *publisher,
                                               const struct configuration *configuration)
{
    struct problems problems;
    problems_init(&problems, publisher->options.gateway->config_path);
    struct prepared prepared = {
        .facts = facts_create(configuration),
        .entrances = entrances_create(configuration, &configuration->certificates, publisher->options.ticket_ring,
                                      ENTRANCES_WHAT_CAN_BE_HAD, &problems),
    };
    prepared.facts->admin_entrances = entrances_create_admin(configuration, &configuration->certificates,
                                                             publisher->options.ticket_ring, ENTRANCES_WHAT_CAN_BE_HAD,
                                                             &problems);
    entrances_list_certificates(prepared.entrances, &prepared.facts->certificates);
    bool all_good = facts_prepare(prepared.facts, configuration, NULL, publisher->may_change_user, &problems);
    if (!all_good || problems.count > 0) {
        char *text = problems_to_text(&problems);
        log_lines(LOG_LEVEL_WARNING, text);
        free(text);
    }
    problems_release(&problems);
    return prepared;
}

/* After a crash, with a file that has been broken meanwhile: what was in force before the crash. */
static struct snapshot *load_fallback(struct publisher *publisher, struct facts **facts)
{
    struct problems problems;
    struct snapshot *snapshot = NULL;
    problems_init(&problems, publisher->options.gateway->config_path);
    struct configuration *configuration = publisher_read_text(publisher, publisher->options.gateway->fallback,
                                                              &problems);
    if (configuration) {
        struct prepared prepared = prepare_what_can_be_had(publisher, configuration);
        snapshot = compile_first(publisher, configuration, &prepared, facts, &problems);
    }
    problems_release(&problems);
    return snapshot;
}

struct publication *publisher_load_first(struct publisher *publisher, struct facts **facts, char **failure)
{
    *failure = NULL;
    struct snapshot *snapshot = load_file(publisher, facts, failure);
    if (!snapshot && publisher->options.gateway->fallback >= 0) {
        log_error("the configuration on disk is not good any more; serving the last one that was:");
        log_lines(LOG_LEVEL_ERROR, *failure);
        free(*failure);
        *failure = NULL;
        snapshot = load_fallback(publisher, facts);
        if (!snapshot) *failure = memory_format("the last good configuration does not load either\n");
    }
    if (!snapshot) return NULL;
    publisher->first = publisher_make_publishing(publisher, snapshot, (*facts)->workers);
    return &publisher->first->publication;
}

/* --- reloads --- */

void publisher_forget_pending(struct publisher *publisher)
{
    if (publisher->pending) configuration_destroy(publisher->pending);
    entrances_drop(publisher->pending_entrances);
    if (publisher->pending_text >= 0) close(publisher->pending_text);
    free(publisher->pending_log);
    publisher->pending = NULL;
    publisher->pending_entrances = NULL;
    publisher->pending_text = -1;
    publisher->pending_log = NULL;
}

static void deliver_read_order(struct message *message, void *receiver)
{
    struct publisher *publisher = receiver;
    struct problems problems;
    publisher_order_destroy(message);
    if (publisher->stopped) return;
    publisher_forget_pending(publisher);
    problems_init(&problems, publisher->options.gateway->config_path);
    struct configuration *configuration = publisher_read_configuration(publisher, &publisher->pending_text, &problems);
    struct prepared prepared;
    if (configuration && prepare(publisher, configuration, &prepared, &problems)) {
        problems_release(&problems);
        publisher->pending = configuration;
        publisher->pending_entrances = prepared.entrances;
        publisher->pending_log = copy_or_null(prepared.facts->access_log);
        publisher_tell_read(publisher, prepared.facts, NULL);
    } else {
        publisher_tell_read(publisher, NULL, take_text(publisher, &problems));
    }
}

/* What was read is the store's state of then; changes that came since belong to it. False: there were problems. */
static bool catch_up(struct publisher *publisher, struct problems *problems)
{
    if (publisher_catalog_is(publisher, publisher->read_revision)) return true;
    configuration_destroy(publisher->pending);
    entrances_drop(publisher->pending_entrances);
    publisher->pending_entrances = NULL;
    publisher->pending = publisher_read_text(publisher, publisher->pending_text, problems);
    if (publisher->pending) publisher->pending_entrances = make_entrances(publisher, publisher->pending, problems);
    return publisher->pending_entrances != NULL;
}

static void apply(struct publisher *publisher)
{
    struct problems problems;
    struct snapshot *snapshot = NULL;
    problems_init(&problems, publisher->options.gateway->config_path);
    if (catch_up(publisher, &problems)) {
        snapshot = compile(publisher, publisher->pending, publisher->pending_entrances, &problems);
        publisher->pending = NULL;
        publisher->pending_entrances = NULL;
    }
    if (!snapshot) {
        publisher_tell_applied(publisher, take_text(publisher, &problems));
        return;
    }
    problems_release(&problems);
    publisher_keep_good_text(publisher, publisher->pending_text);
    publisher->pending_text = -1;
    free(publisher->log_in_force);
    publisher->log_in_force = publisher->pending_log;
    publisher->pending_log = NULL;
    struct publishing *publishing = publisher_make_publishing(publisher, snapshot, publisher->worker_count);
    publishing->is_reload = true;
    publisher_publish(publisher, publishing);
}

/* A change that is prepared may be in the store already: it comes first. */
static void deliver_apply(struct message *message, void *receiver)
{
    struct publisher *publisher = receiver;
    publisher_order_destroy(message);
    if (publisher->stopped) return;
    if (publisher->prepared)
        publisher->apply_waits = true;
    else
        apply(publisher);
}

void publisher_resume_apply(struct publisher *publisher)
{
    if (!publisher->apply_waits || publisher->stopped) return;
    publisher->apply_waits = false;
    apply(publisher);
}

static void deliver_discard(struct message *message, void *receiver)
{
    publisher_order_destroy(message);
    publisher_forget_pending(receiver);
}

void publisher_read(struct publisher *publisher) { publisher_order(publisher, deliver_read_order); }

void publisher_apply(struct publisher *publisher) { publisher_order(publisher, deliver_apply); }

void publisher_discard(struct publisher *publisher) { publisher_order(publisher, deliver_discard); }
