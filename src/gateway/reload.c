/* gateway/reload.c: what a configuration wants of the outside, at the start and when it changes: listening sockets, privileges, and
 * the way of a reload, which is all or nothing. */
#include "gateway/private.h"

#include "base/log.h"
#include "base/memory.h"

#include <fcntl.h>
#include <grp.h>
#include <unistd.h>

/* --- listening sockets --- */

static void ask_for_sockets(struct gateway *gateway, const struct address *address, unsigned count)
{
    char text[ADDRESS_TEXT_BYTES];
    address_write(address, text);
    if (control_send(gateway, SUPERVISION_LISTEN, count, text)) {
        gateway->sockets_pending++;
    } else if (!gateway->socket_failure) {
        gateway->socket_failure = memory_format("cannot ask for the sockets of %s", text);
    }
}

static void all_sockets_answered(struct gateway *);

static bool is_admin(const struct gateway *gateway, const struct address *address)
{
    const struct facts *facts = gateway->facts;
    return gateway->admin &&
           (address_equal(address, &facts->admin) || (facts->probes_enabled && address_equal(address, &facts->probes)));
}

/* Where there are fewer sockets than workers, workers share one: each gets a descriptor of its own, as what is dealt is the worker's to
 * close. All are had before anything is dealt, so that dealing can't stop half-way. */
static bool share_sockets(const struct gateway *gateway, struct fresh_sockets *fresh)
{
    unsigned wanted = is_admin(gateway, &fresh->address) ? 1 : gateway->worker_count, had = fresh->count;
    if (had == 0) return false;
    if (had < wanted) fresh->descriptors = memory_resize(fresh->descriptors, wanted * sizeof *fresh->descriptors);
    while (fresh->count < wanted) {
        int shared = fcntl(fresh->descriptors[fresh->count % had], F_DUPFD_CLOEXEC, 3);
        if (shared < 0) return false;
        fresh->descriptors[fresh->count++] = shared;
    }
    return true;
}

static void deal_sockets(struct gateway *gateway, struct fresh_sockets *fresh)
{
    for (unsigned i = 0; i < fresh->count; i++) {
        struct worker *worker = is_admin(gateway, &fresh->address) ? admin_worker_get(gateway->admin)
                                                                   : gateway->workers[i % gateway->worker_count];
        worker_listen(worker, fresh->descriptors[i], &fresh->address);
    }
    free(fresh->descriptors);
    *fresh = (struct fresh_sockets){ 0 };
}

static void close_sockets(struct fresh_sockets *fresh)
{
    for (unsigned i = 0; i < fresh->count; i++) close(fresh->descriptors[i]);
    free(fresh->descriptors);
    *fresh = (struct fresh_sockets){ 0 };
}

static bool is_passed(const struct gateway *gateway, const struct address *address)
{
    for (size_t i = 0; i < gateway->passed.count; i++) {
        if (address_equal(vector_at(&gateway->passed, i), address)) return true;
    }
    return false;
}

static void take_sockets(struct gateway *gateway, struct supervision_message *message)
{
    struct fresh_sockets fresh = { .count = message->descriptor_count };
    if (!address_parse(slice_from_cstring(message->text), &fresh.address)) return;
    fresh.descriptors = memory_allocate_array(fresh.count + 1, sizeof *fresh.descriptors);
    memcpy(fresh.descriptors, message->descriptors, fresh.count * sizeof *fresh.descriptors);
    message->descriptor_count = 0;
    if (message->number && !is_passed(gateway, &fresh.address)) vector_push_copy(&gateway->passed, &fresh.address);
    if (!share_sockets(gateway, &fresh) && !gateway->socket_failure)
        gateway->socket_failure = memory_format("cannot share the sockets of %s among the workers: %m", message->text);
    if (gateway->reload.running) {
        vector_push_copy(&gateway->reload.sockets, &fresh);
    } else {
        deal_sockets(gateway, &fresh);
    }
}

/* "FILE:LINE:COLUMN: " of an address; "" where it stands nowhere. The caller's. */
static char *where_it_stands(const struct gateway *gateway, const struct address *address)
{
    const struct facts *facts = gateway->reload.facts ? gateway->reload.facts : gateway->facts;
    const char *path = gateway->options->config_path;
    struct place_in_file place = facts_find_address(facts, address);
    if (!path || place.line == 0) return memory_copy_slice(SLICE(""));
    return memory_format("%s:%u:%u: ", path, place.line, place.column);
}

/* "ADDRESS: why", as the master says it. All that were refused are told together. */
static void note_refused(struct gateway *gateway, const char *text)
{
    const char *before = gateway->socket_failure;
    struct slice words = slice_from_cstring(text);
    size_t end = slice_find(words, SLICE(": "));
    struct address address;
    char *stands = address_parse(slice_before(words, end), &address) ? where_it_stands(gateway, &address)
                                                                     : memory_copy_slice(SLICE(""));
    char *failure = memory_format("%s%s%scannot listen on %s", before ? before : "", before ? "\n" : "", stands, text);
    free(stands);
    free(gateway->socket_failure);
    gateway->socket_failure = failure;
}

void control_sockets_answered(struct gateway *gateway, struct supervision_message *message)
{
    if (message->kind == SUPERVISION_LISTENING) {
        take_sockets(gateway, message);
    } else {
        note_refused(gateway, message->text);
    }
    if (gateway->sockets_pending > 0 && --gateway->sockets_pending == 0) all_sockets_answered(gateway);
}

/* --- privileges --- */

/* False where the configured user can't be become; everything that needs more (sockets, log) is open by now. */
static bool drop_privileges(const struct facts *facts)
{
    if (!facts->user || geteuid() != 0) return true;
    if (!facts->user_known) return false; /* which was said when the facts were prepared */
    if (initgroups(facts->user, facts->group_id) == 0 && setgid(facts->group_id) == 0 && setuid(facts->user_id) == 0)
        return true;
    log_error("cannot become user \"%s\": %m", facts->user);
    return false;
}

/* What was said so far concerned the start, and whoever asked for it has heard it. */
static void speak_to_the_log(int log)
{
    if (log < 0) return;
    if (dup2(log, STDERR_FILENO) < 0) log_error("cannot write to the log: %m");
    close(log);
}

static void become_ready(struct gateway *gateway)
{
    if (gateway->socket_failure) {
        control_give_up(gateway, gateway->socket_failure);
    } else if (!drop_privileges(gateway->facts)) {
        control_give_up(gateway, "not serving without the configured user");
    } else {
        gateway->ready = true;
        speak_to_the_log(gateway->options->log);
        control_send(gateway, SUPERVISION_READY, publisher_version(gateway->publisher), NULL);
        control_hand_ticket_keys_on(gateway);
    }
}

/* --- reload --- */

static bool has_listener(const struct facts *facts, const struct address *address)
{
    for (size_t i = 0; i < facts->listener_count; i++) {
        if (address_equal(&facts->listeners[i], address)) return true;
    }
    return false;
}

/* By the configuration in force or by the one that is on its way: the master then keeps the sockets it has. */
static bool is_wanted(const struct gateway *gateway, const struct address *address)
{
    if (gateway->listening_ended || gateway->yielding) return false;
    return has_listener(gateway->facts, address) ||
           (gateway->reload.facts && has_listener(gateway->reload.facts, address));
}

/* An address went out of the configuration, or Sluice or this gateway ends: when every worker has emptied its queue, the master may close it. */
struct unlistening {
    struct message message;
    struct gateway *gateway;
    struct address address;
    _Atomic uint32_t pending;
};

static void deliver_unlistened(struct message *message, void *receiver)
{
    struct unlistening *unlistening = CONTAINER_OF(message, struct unlistening, message);
    if (!is_wanted(receiver, &unlistening->address)) {
        char text[ADDRESS_TEXT_BYTES];
        address_write(&unlistening->address, text);
        control_send(receiver, SUPERVISION_UNLISTEN, 0, text);
    }
    free(unlistening);
}

static void worker_unlistened(void *argument)
{
    struct unlistening *unlistening = argument;
    if (atomic_fetch_sub_explicit(&unlistening->pending, 1, memory_order_acq_rel) != 1) return;
    mailbox_post(&unlistening->gateway->mailbox, &unlistening->message);
}

/* For good: nobody shall listen on these sockets again, so nobody new is let into their queues. That would also hold for whoever gets a
 * passed socket after us. */
static void stop_listening(struct gateway *gateway, const struct address *address, bool for_good)
{
    for_good = for_good && !is_passed(gateway, address);
    struct unlistening *unlistening = memory_allocate(sizeof *unlistening);
    unlistening->message.deliver = deliver_unlistened;
    unlistening->gateway = gateway;
    unlistening->address = *address;
    if (is_admin(gateway, address)) {
        unlistening->pending = 1;
        worker_unlisten(admin_worker_get(gateway->admin), address, for_good, worker_unlistened, unlistening);
        return;
    }
    unlistening->pending = gateway->worker_count;
    for (unsigned i = 0; i < gateway->worker_count; i++)
        worker_unlisten(gateway->workers[i], address, for_good, worker_unlistened, unlistening);
}

/* Without it the master's descriptors would go on completing connects that nobody accepts, until the last exchange has ended. The admin
 * listener stays: whoever watches the drain asks there. */
void control_end_listening(struct gateway *gateway)
{
    if (gateway->listening_ended) return;
    gateway->listening_ended = true;
    for (size_t i = 0; i < gateway->facts->listener_count; i++)
        stop_listening(gateway, &gateway->facts->listeners[i], true);
}

void control_give_up_address(struct gateway *gateway, const char *text)
{
    struct address address;
    gateway->yielding = true;
    if (address_parse(slice_from_cstring(text), &address)) stop_listening(gateway, &address, true);
}

static bool has_same_admin(const struct facts *before, const struct facts *after)
{
    return after->admin_enabled == before->admin_enabled && after->probes_enabled == before->probes_enabled &&
           (!before->admin_enabled || address_equal(&after->admin, &before->admin)) &&
           (!before->probes_enabled || address_equal(&after->probes, &before->probes));
}

/* For the log, and for whoever has asked for the reload: a line each. */
static void warn(char **warnings, const char *words)
{
    log_warning("%s", words);
    char *longer = memory_format("%s\nwarning: %s", *warnings, words);
    free(*warnings);
    *warnings = longer;
}

static void warn_of_unchanged_admin(const struct facts *before, const struct facts *after, char **warnings)
{
    if (before->admin_enabled && !after->admin_enabled) {
        warn(warnings,
             "admin: it goes on as it is, with the tokens that it has, until the next `sluice upgrade` or start");
    } else if (!has_same_admin(before, after)) {
        warn(warnings, "admin: another address takes effect with the next `sluice upgrade` or start");
    }
}

static void warn_of_unchanged(const struct facts *before, const struct facts *after, char **warnings)
{
    if (after->workers != before->workers) {
        char words[128];
        snprintf(words, sizeof words, "workers: %u takes effect with the next `sluice upgrade` or start; %u go on",
                 after->workers, before->workers);
        warn(warnings, words);
    }
    warn_of_unchanged_admin(before, after, warnings);
    if (strcmp(before->user ? before->user : "", after->user ? after->user : "") != 0)
        warn(warnings, "user: another one takes effect with the next `sluice upgrade` or start");
}

static bool same_resolver(const struct facts *before, const struct facts *after)
{
    if (after->resolver_server_count != before->resolver_server_count ||
        after->resolver_ttl_minimum_ms != before->resolver_ttl_minimum_ms ||
        after->resolver_ttl_maximum_ms != before->resolver_ttl_maximum_ms)
        return false;
    for (size_t i = 0; i < after->resolver_server_count; i++) {
        if (!slice_equal(after->resolver_servers[i], before->resolver_servers[i])) return false;
    }
    return true;
}

static bool prepare_resolver(struct gateway *gateway, struct error *error)
{
    struct reload *reload = &gateway->reload;
    if (same_resolver(gateway->facts, reload->facts)) return true;
    struct resolver_settings settings = control_resolver_settings(reload->facts);
    reload->resolver = resolver_prepare(gateway->resolver, &settings, error);
    return reload->resolver != NULL;
}

static void begin_reload(struct gateway *gateway, uint64_t command)
{
    gateway->reload.running = true;
    gateway->reload.command = command;
    publisher_read(gateway->publisher);
}

void control_order_reload(struct gateway *gateway, uint64_t command)
{
    if (gateway->reload.running) {
        vector_push_copy(&gateway->commands, &command);
    } else {
        begin_reload(gateway, command);
    }
}

static void end_reload(struct gateway *gateway, const char *answer)
{
    control_send(gateway, SUPERVISION_ANSWER, gateway->reload.command, answer);
    gateway->reload.running = false;
    gateway->reload.sockets.count = 0;
    facts_destroy(gateway->reload.facts);
    gateway->reload.facts = NULL;
    resolver_abandon(gateway->reload.resolver);
    gateway->reload.resolver = NULL;
    free(gateway->socket_failure);
    gateway->socket_failure = NULL;
    if (gateway->commands.count == 0 || gateway->draining) return;
    uint64_t next = *(uint64_t *)vector_at(&gateway->commands, 0);
    vector_remove_at(&gateway->commands, 0);
    begin_reload(gateway, next);
}

/* What was had for it goes back. */
static void refuse_reload(struct gateway *gateway, const char *why)
{
    char text[ADDRESS_TEXT_BYTES];
    for (size_t i = 0; i < gateway->reload.sockets.count; i++) {
        struct fresh_sockets *fresh = vector_at(&gateway->reload.sockets, i);
        address_write(&fresh->address, text);
        close_sockets(fresh);
        control_send(gateway, SUPERVISION_UNLISTEN, 0, text);
    }
    log_error("reload refused, the configuration in force stays:");
    log_lines(LOG_LEVEL_ERROR, why);
    char *answer = memory_format("-%s", why);
    end_reload(gateway, answer);
    free(answer);
}

static const struct address *find_in_new(const struct gateway *gateway, const struct address *address)
{
    return has_listener(gateway->reload.facts, address) ? address : NULL;
}

/* Sockets go to the admin worker by their address, and the running one keeps its own until a restart, whatever the new configuration
 * names. A listener there would serve nobody. NULL: there is none; else why not, the caller's. */
static char *find_listener_on_admin(const struct gateway *gateway)
{
    const struct facts *facts = gateway->facts;
    PROMISE(facts != NULL);
    const struct address *admin = find_in_new(gateway, &facts->admin);
    if (!admin && facts->probes_enabled) admin = find_in_new(gateway, &facts->probes);
    if (!gateway->admin || !admin) return NULL;
    char text[ADDRESS_TEXT_BYTES];
    address_write(admin, text);
    char *stands = where_it_stands(gateway, admin);
    char *failure = memory_format(
        "%scannot listen on %s: it is the address of the running admin listener, which changes only "
        "with the next upgrade or start (say `sluice upgrade`, or name another address)",
        stands, text);
    free(stands);
    return failure;
}

/* Who is asked for a token changes at once, the address with the next start: a guard that the configuration allows for its own address,
 * which is loopback, may not be enough for the running one. NULL: it is; else why not, the caller's. */
static char *find_opened_admin(const struct gateway *gateway)
{
    const struct facts *before = gateway->facts, *after = gateway->reload.facts;
    PROMISE(before != NULL && after != NULL);
    if (!gateway->admin || !after->admin_enabled || address_is_loopback(&before->admin)) return NULL;
    if (!admin_settings_are_open(after->admin_settings)) return NULL;
    char text[ADDRESS_TEXT_BYTES];
    address_write(&before->admin, text);
    char *stands = where_it_stands(gateway, &after->admin);
    char *failure = memory_format(
        "%sadmin: without tokens everybody would be let in at %s, where the running admin listener stays until the next "
        "upgrade or start (say `sluice upgrade`, or keep tokens until then)",
        stands, text);
    free(stands);
    return failure;
}

/* What stands against putting the facts in force. NULL: nothing; the caller's. */
static char *find_obstacle(struct gateway *gateway)
{
    struct error error;
    char *obstacle = find_listener_on_admin(gateway);
    if (!obstacle) obstacle = find_opened_admin(gateway);
    if (!obstacle && !prepare_resolver(gateway, &error)) obstacle = memory_format("%s", error.text);
    return obstacle;
}

void control_reload_read(void *owner, struct facts *facts, const char *failure)
{
    struct gateway *gateway = owner;
    if (gateway->going_down) {
        facts_destroy(facts);
        return;
    }
    if (failure) {
        refuse_reload(gateway, failure);
        return;
    }
    gateway->reload.facts = facts;
    char *obstacle = find_obstacle(gateway);
    if (obstacle) {
        publisher_discard(gateway->publisher);
        refuse_reload(gateway, obstacle);
        free(obstacle);
        return;
    }
    for (size_t i = 0; i < facts->listener_count; i++) {
        if (!has_listener(gateway->facts, &facts->listeners[i])) {
            ask_for_sockets(gateway, &facts->listeners[i], gateway->worker_count);
        }
    }
    if (gateway->sockets_pending == 0) all_sockets_answered(gateway);
}

static void all_sockets_answered(struct gateway *gateway)
{
    if (gateway->draining) return;
    if (!gateway->reload.running) {
        become_ready(gateway);
    } else if (gateway->socket_failure) {
        publisher_discard(gateway->publisher);
        refuse_reload(gateway, gateway->socket_failure);
    } else {
        publisher_apply(gateway->publisher);
    }
}

/* Who is let in changes at once, so that a token or an authority can be taken back; where that is, only with a start. Whoever took the
 * section out wants the listener gone: until it is, it lets in nobody that it did not before. */
static void take_over_admin(struct gateway *gateway, const struct facts *before, struct facts *facts)
{
    if (gateway->admin && facts->admin_enabled) {
        /* Each listener takes the entrance of its address; one whose address is not there any more keeps what it has. */
        admin_worker_renew(gateway->admin, facts->admin_entrances);
        control_take_admin_settings(gateway, facts);
    }
    facts->admin = before->admin;
    facts->admin_enabled = before->admin_enabled;
    facts->probes = before->probes;
    facts->probes_enabled = before->probes_enabled;
}

static void take_over_facts(struct gateway *gateway, char **warnings)
{
    struct facts *before = gateway->facts, *facts = gateway->reload.facts;
    warn_of_unchanged(before, facts, warnings);
    facts->workers = before->workers;
    take_over_admin(gateway, before, facts);
    gateway->facts = facts;
    gateway->reload.facts = NULL;
    certificate_watch_take(&gateway->certificates, &facts->certificates);
    access_log_retarget(gateway->access_log, facts->access_log, facts_take_log(facts));
    if (gateway->reload.resolver) resolver_commit(gateway->resolver, gateway->reload.resolver);
    gateway->reload.resolver = NULL;
    control_tell_bounds(gateway);
    for (size_t i = 0; i < before->listener_count; i++) {
        if (!has_listener(facts, &before->listeners[i])) stop_listening(gateway, &before->listeners[i], false);
    }
    for (size_t i = 0; i < gateway->reload.sockets.count; i++) {
        deal_sockets(gateway, vector_at(&gateway->reload.sockets, i));
    }
    facts_destroy(before);
}

/* "revision 7 in force, 12 routes": where there is a store by the number that its history has, else by the gateway's own count. */
static char *say_what_is_in_force(const struct gateway *gateway)
{
    struct changes_health health;
    changes_health(publisher_changes(gateway->publisher), &health);
    bool has_store = strcmp(health.store, "file") != 0;
    return memory_format("%s %llu in force, %llu routes", has_store ? "revision" : "version",
                         (unsigned long long)(has_store ? health.revision : publisher_version(gateway->publisher)),
                         (unsigned long long)publisher_routes(gateway->publisher));
}

void control_reload_applied(void *owner, const char *failure)
{
    struct gateway *gateway = owner;
    if (gateway->going_down) return;
    if (failure) {
        refuse_reload(gateway, failure);
        return;
    }
    char *warnings = memory_copy_slice(SLICE(""));
    take_over_facts(gateway, &warnings);
    control_hand_good_text_on(gateway);
    char *in_force = say_what_is_in_force(gateway), *answer = memory_format("+%s%s", in_force, warnings);
    log_info("reloaded: %s", in_force);
    end_reload(gateway, answer);
    free(answer);
    free(in_force);
    free(warnings);
}

void control_forget_reload(struct gateway *gateway)
{
    for (size_t i = 0; i < gateway->reload.sockets.count; i++) close_sockets(vector_at(&gateway->reload.sockets, i));
    vector_release(&gateway->reload.sockets);
    resolver_abandon(gateway->reload.resolver);
    facts_destroy(gateway->reload.facts);
}

void control_ask_for_all_sockets(struct gateway *gateway)
{
    for (size_t i = 0; i < gateway->facts->listener_count; i++) {
        ask_for_sockets(gateway, &gateway->facts->listeners[i], gateway->worker_count);
    }
    if (gateway->facts->admin_enabled) ask_for_sockets(gateway, &gateway->facts->admin, 1);
    if (gateway->facts->probes_enabled) ask_for_sockets(gateway, &gateway->facts->probes, 1);
    if (gateway->sockets_pending == 0) all_sockets_answered(gateway);
}
