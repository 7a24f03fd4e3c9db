/* admin/audit.c: one line a change and a refused login in the gateway's own log, as JSON behind the line's time and level:
 *
 *   {"type":"audit","time":"...","who":"alice","from":"127.0.0.1","action":"update","kind":"routes","id":"...","name":"users",
 *    "revision":12,"result":"updated","requestId":"..."}
 *
 * Of refused logins at most twenty lines a second are written, and then one that says how many were left out: whoever may not come in must not
 * fill a disk either. Never a body, a secret or a token. What people have chosen (names, ids) is cut, so that a line is never cut itself. */
#include "admin/private.h"
#include "base/clock.h"
#include "base/log.h"
#include "json/writer.h"

#define AUDIT_BYTES 1600 /* with the line's own beginning below the log's 2,048 */
#define AUDIT_FIELD_BYTES 200
#define REFUSALS_A_SECOND 20

static const char *action_word(enum change_action action)
{
    switch (action) {
    case CHANGE_CREATE: return "create";
    case CHANGE_PUT: return "put";
    case CHANGE_PATCH: return "patch";
    case CHANGE_DELETE: return "delete";
    case CHANGE_WHOLE: return "apply";
    case CHANGE_ROLLBACK: return "rollback";
    case CHANGE_ROTATE_KEY: return "rotate";
    }
    return "unknown";
}

static const char *outcome_word(enum change_outcome outcome)
{
    switch (outcome) {
    case CHANGE_CREATED: return "created";
    case CHANGE_UPDATED: return "updated";
    case CHANGE_DELETED: return "deleted";
    case CHANGE_NOTHING: return "unchanged";
    case CHANGE_NOT_FOUND: return "not-found";
    case CHANGE_AMBIGUOUS: return "ambiguous";
    case CHANGE_NAME_TAKEN: return "name-taken";
    case CHANGE_IN_USE: return "in-use";
    case CHANGE_STALE: return "stale";
    case CHANGE_MATCH_REQUIRED: return "match-required";
    case CHANGE_INVALID: return "invalid";
    case CHANGE_UNREADABLE: return "unreadable";
    case CHANGE_READ_ONLY: return "store-is-read-only";
    case CHANGE_STORE_AWAY: return "store-unavailable";
    case CHANGE_FAILED: return "failed";
    }
    return "unknown";
}

static void write_field(struct json_writer *writer, struct slice key, struct slice value)
{
    if (value.length == 0) return;
    json_write_key(writer, key);
    json_write_string(writer, slice_before(value, AUDIT_FIELD_BYTES));
}

static void begin_line(struct json_writer *writer, char *buffer, char time[CLOCK_ISO8601_BYTES])
{
    clock_write_iso8601(clock_wall_ns(), time);
    json_writer_init(writer, buffer, AUDIT_BYTES);
    json_write_object_begin(writer);
    write_field(writer, SLICE("type"), SLICE("audit"));
    write_field(writer, SLICE("time"), slice_from_cstring(time));
}

static void end_line(struct json_writer *writer)
{
    json_write_object_end(writer);
    struct slice line = json_writer_result(writer);
    if (slice_is_absent(line)) /* control characters, six bytes each: still a line */
        log_info("{\"type\":\"audit\",\"result\":\"too long for a line\"}");
    else
        log_info("%.*s", SLICE_PRINT(line));
}

static void write_subject(struct json_writer *writer, const struct change_order *order)
{
    const struct catalog_entry *entry = order->after ? order->after : order->before;
    bool has_kind = order->action != CHANGE_WHOLE && order->action != CHANGE_ROLLBACK;
    if (has_kind) write_field(writer, SLICE("kind"), slice_from_cstring(resource_types[order->kind].path));
    if (entry) {
        write_field(writer, SLICE("id"), entry->id);
        write_field(writer, SLICE("name"), entry->name);
    } else {
        write_field(writer, has_kind ? SLICE("target") : SLICE("to"), slice_from_cstring(order->target));
    }
    write_field(writer, SLICE("tag"), slice_from_cstring(order->tag));
}

static void write_counts(struct json_writer *writer, const struct change_order *order)
{
    if (order->created + order->updated + order->deleted < 2)
        return; /* a change of one resource says so by its result */
    json_write_key(writer, SLICE("created")), json_write_unsigned(writer, order->created);
    json_write_key(writer, SLICE("updated")), json_write_unsigned(writer, order->updated);
    json_write_key(writer, SLICE("deleted")), json_write_unsigned(writer, order->deleted);
}

void admin_audit_order(const struct change_order *order, const char *request_id)
{
    struct json_writer writer;
    char buffer[AUDIT_BYTES], time[CLOCK_ISO8601_BYTES];
    if (order->dry_run) return;
    begin_line(&writer, buffer, time);
    write_field(&writer, SLICE("who"), slice_from_cstring(order->author));
    write_field(&writer, SLICE("from"), slice_from_cstring(order->source));
    write_field(&writer, SLICE("action"), slice_from_cstring(action_word(order->action)));
    write_subject(&writer, order);
    write_counts(&writer, order);
    if (order->outcome <= CHANGE_DELETED)
        json_write_key(&writer, SLICE("revision")), json_write_unsigned(&writer, order->revision);
    write_field(&writer, SLICE("result"), slice_from_cstring(outcome_word(order->outcome)));
    write_field(&writer, SLICE("requestId"), slice_from_cstring(request_id));
    end_line(&writer);
}

static void write_left_out(uint32_t count)
{
    struct json_writer writer;
    char buffer[AUDIT_BYTES], time[CLOCK_ISO8601_BYTES];
    begin_line(&writer, buffer, time);
    write_field(&writer, SLICE("action"), SLICE("login"));
    write_field(&writer, SLICE("result"), SLICE("left-out"));
    json_write_key(&writer, SLICE("count")), json_write_unsigned(&writer, count);
    end_line(&writer);
}

/* False: this second has had its lines. */
static bool may_write_refusal(struct admin_surroundings *admin, uint64_t second)
{
    if (admin->refusals.second != second) {
        if (admin->refusals.left_out > 0) write_left_out(admin->refusals.left_out);
        admin->refusals.second = second;
        admin->refusals.written = admin->refusals.left_out = 0;
    }
    if (admin->refusals.written < REFUSALS_A_SECOND) {
        admin->refusals.written++;
        return true;
    }
    admin->refusals.left_out++;
    return false;
}

void admin_audit_refused(const struct exchange *exchange, const char *reason)
{
    struct json_writer writer;
    char buffer[AUDIT_BYTES], time[CLOCK_ISO8601_BYTES];
    if (!may_write_refusal(exchange->worker->admin, exchange->worker->loop->now_ms / 1000)) return;
    begin_line(&writer, buffer, time);
    write_field(&writer, SLICE("from"), exchange->client_ip);
    write_field(&writer, SLICE("action"), SLICE("login"));
    write_field(&writer, SLICE("method"), slice_before(exchange->request->method_text, 16));
    write_field(&writer, SLICE("path"), exchange->request->target.path);
    write_field(&writer, SLICE("result"), slice_from_cstring(reason));
    write_field(&writer, SLICE("requestId"), exchange->request_id);
    end_line(&writer);
}
