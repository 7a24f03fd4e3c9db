/* admin/answer.c: answers as texts: JSON that grows, problem+json for people and programs, ETags. */
#include "admin/private.h"
#include "http/status.h"
#include "json/writer.h"

#include <inttypes.h>
#include <stdarg.h>

/* --- a text that grows --- */

void admin_text_release(struct admin_text *text)
{
    free(text->at);
    *text = (struct admin_text){ 0 };
}

static void make_room(struct admin_text *text, size_t more)
{
    if (text->capacity - text->length > more) return; /* a NUL fits always */
    size_t capacity = text->capacity ? text->capacity : 512;
    while (capacity - text->length <= more) capacity *= 2;
    text->at = memory_resize(text->at, capacity);
    text->capacity = capacity;
}

void admin_text_add(struct admin_text *text, struct slice more)
{
    make_room(text, more.length);
    if (more.length) memcpy(text->at + text->length, more.at, more.length);
    text->length += more.length;
    text->at[text->length] = '\0';
}

void admin_text_format(struct admin_text *text, const char *format, ...)
{
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, arguments);
    PROMISE(length >= 0);
    make_room(text, (size_t)length);
    vsnprintf(text->at + text->length, text->capacity - text->length, format, again);
    text->length += (size_t)length;
    va_end(again);
    va_end(arguments);
}

void admin_text_add_string(struct admin_text *text, struct slice value)
{
    if (slice_is_absent(value)) {
        admin_text_add(text, SLICE("null"));
        return;
    }
    struct json_writer writer;
    make_room(text, value.length * 6 + 2); /* each byte as \u0000 at worst */
    json_writer_init(&writer, text->at + text->length, text->capacity - text->length);
    json_write_string(&writer, value);
    text->length += json_writer_result(&writer).length;
    text->at[text->length] = '\0';
}

void admin_text_add_key(struct admin_text *text, const char *key)
{
    bool is_first = text->length == 0 || text->at[text->length - 1] == '{';
    admin_text_format(text, "%s\"%s\":", is_first ? "" : ",", key);
}

/* --- answers --- */

void admin_add_header(struct exchange *exchange, struct slice name, struct slice value)
{
    if (!slice_is_absent(value) && headers_add(&exchange->own_response.headers, name, value)) return;
    exchange->own_response.status = 503; /* short of memory: an answer without the header could mislead */
}

enum admin_step admin_answer_text(struct exchange *exchange, struct admin_request *request, unsigned status,
                                  struct slice content_type)
{
    exchange_respond(exchange, status, content_type, admin_text_slice(&request->text));
    admin_add_header(exchange, SLICE("Cache-Control"), SLICE("no-store"));
    return ADMIN_ANSWERED;
}

enum admin_step admin_answer_json(struct exchange *exchange, struct admin_request *request, unsigned status)
{
    admin_text_add(&request->text, SLICE("\n")); /* a shell's prompt belongs on a line of its own */
    return admin_answer_text(exchange, request, status, SLICE("application/json"));
}

enum admin_step admin_answer_empty(struct exchange *exchange, unsigned status)
{
    exchange_respond(exchange, status, SLICE_ABSENT, SLICE_ABSENT);
    admin_add_header(exchange, SLICE("Cache-Control"), SLICE("no-store"));
    return ADMIN_ANSWERED;
}

/* --- refusals --- */

static void begin_problem(struct exchange *exchange, struct admin_request *request, unsigned status, const char *reason,
                          struct slice detail)
{
    struct admin_text *text = &request->text;
    error_set(&exchange->error, status < 500 ? BLAME_CLIENT : BLAME_US, RETRY_NEVER, (uint16_t)status, reason, "%.*s",
              SLICE_PRINT(detail));
    admin_text_release(text);
    admin_text_add(text, SLICE("{\"type\":\"about:blank\""));
    admin_text_add_key(text, "title"), admin_text_add_string(text, status_reason(status));
    admin_text_add_key(text, "status"), admin_text_format(text, "%u", status);
    admin_text_add_key(text, "reason"), admin_text_add_string(text, slice_from_cstring(reason));
    admin_text_add_key(text, "detail"), admin_text_add_string(text, detail);
}

static enum admin_step end_problem(struct exchange *exchange, struct admin_request *request, unsigned status)
{
    struct admin_text *text = &request->text;
    admin_text_add_key(text, "requestId"), admin_text_add_string(text, exchange->request_id);
    admin_text_add(text, SLICE("}\n"));
    admin_answer_text(exchange, request, status, SLICE("application/problem+json"));
    if (status == 503) admin_add_header(exchange, SLICE("Retry-After"), SLICE("1"));
    return ADMIN_ANSWERED;
}

static struct slice format_detail(struct arena *arena, const char *format, va_list arguments)
{
    va_list again;
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, again);
    va_end(again);
    PROMISE(length >= 0);
    char *text = arena_allocate(arena, (size_t)length + 1);
    PROMISE(text != NULL);
    vsnprintf(text, (size_t)length + 1, format, arguments);
    return slice_of(text, (size_t)length);
}

enum admin_step admin_refuse(struct exchange *exchange, struct admin_request *request, unsigned status,
                             const char *reason, const char *hint, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    struct slice detail = format_detail(&request->arena, format, arguments);
    va_end(arguments);
    begin_problem(exchange, request, status, reason, detail);
    if (hint)
        admin_text_add_key(&request->text, "hint"), admin_text_add_string(&request->text, slice_from_cstring(hint));
    return end_problem(exchange, request, status);
}

static void write_problem(struct admin_text *text, const struct problem *problem)
{
    if (text->at[text->length - 1] == '}') admin_text_add(text, SLICE(","));
    admin_text_add(text, SLICE("{"));
    admin_text_add_key(text, "pointer");
    admin_text_add_string(text, slice_from_cstring(problem->pointer ? problem->pointer : ""));
    admin_text_add_key(text, "message"), admin_text_add_string(text, slice_from_cstring(problem->message));
    admin_text_add_key(text, "hint"), admin_text_add_string(text, slice_from_cstring(problem->hint));
    if (problem->line > 0) {
        admin_text_add_key(text, "line"), admin_text_format(text, "%" PRIu32, problem->line);
        admin_text_add_key(text, "column"), admin_text_format(text, "%" PRIu32, problem->column);
    }
    admin_text_add(text, SLICE("}"));
}

enum admin_step admin_refuse_problems(struct exchange *exchange, struct admin_request *request, unsigned status,
                                      const char *reason, const struct problems *problems, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    struct slice detail = format_detail(&request->arena, format, arguments);
    va_end(arguments);
    begin_problem(exchange, request, status, reason, detail);
    admin_text_add_key(&request->text, "errors");
    admin_text_add(&request->text, SLICE("["));
    for (size_t i = 0; i < problems->list.count; i++) write_problem(&request->text, vector_at(&problems->list, i));
    admin_text_add(&request->text, SLICE("]"));
    return end_problem(exchange, request, status);
}

enum admin_step admin_refuse_users(struct exchange *exchange, struct admin_request *request, const char *reason,
                                   const char *hint, const struct change_order *order, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    struct slice detail = format_detail(&request->arena, format, arguments);
    va_end(arguments);
    struct admin_text *text = &request->text;
    struct catalog_entry *const *users = order->users;
    begin_problem(exchange, request, 409, reason, detail);
    admin_text_add_key(text, "hint"), admin_text_add_string(text, slice_from_cstring(hint));
    admin_text_add_key(text, "users");
    admin_text_add(text, SLICE("["));
    for (size_t i = 0; i < order->user_count; i++) {
        admin_text_add(text, i ? SLICE(",{") : SLICE("{"));
        admin_text_add_key(text, "kind");
        admin_text_add_string(text, slice_from_cstring(resource_types[users[i]->kind].path));
        admin_text_add_key(text, "id"), admin_text_add_string(text, users[i]->id);
        admin_text_add_key(text, "name"), admin_text_add_string(text, users[i]->name);
        admin_text_add(text, SLICE("}"));
    }
    admin_text_add(text, SLICE("]"));
    return end_problem(exchange, request, 409);
}

/* --- ETags (RFC 9110 8.8.3) --- */

void admin_add_etag(struct exchange *exchange, struct admin_request *request, struct slice etag)
{
    struct slice value = arena_format(&request->arena, "\"%.*s\"", SLICE_PRINT(etag));
    admin_add_header(exchange, SLICE("ETag"), value);
}

void admin_add_revision(struct exchange *exchange, struct admin_request *request, uint64_t revision)
{
    admin_add_header(exchange, SLICE("Sluice-Revision"), arena_format(&request->arena, "%" PRIu64, revision));
}

/* Takes the next entity tag off *list: *tag without quotes, *weak whether it was a weak one. What is no tag ends the list. */
static bool next_tag(struct slice *list, struct slice *tag, bool *weak)
{
    struct slice rest = slice_trim(*list);
    while (rest.length > 0 && rest.at[0] == ',') rest = slice_trim(slice_after(rest, 1));
    *weak = slice_starts_with(rest, SLICE("W/"));
    if (*weak) rest = slice_after(rest, 2);
    if (rest.length == 0) return false;
    if (rest.at[0] != '"') { /* "*", or without the quotes that it must have: people forget them */
        size_t end = slice_find_byte(rest, ',');
        *tag = slice_trim(slice_before(rest, end));
        *list = end == SLICE_NOT_FOUND ? SLICE_ABSENT : slice_after(rest, end + 1);
        return true;
    }
    rest = slice_after(rest, 1);
    size_t end = slice_find_byte(rest, '"');
    if (end == SLICE_NOT_FOUND) return false;
    *tag = slice_before(rest, end);
    *list = slice_after(rest, end + 1);
    return true;
}

bool admin_etag_list_has(struct slice list, struct slice etag, bool weak_too)
{
    struct slice tag;
    bool weak;
    while (!slice_is_absent(list) && next_tag(&list, &tag, &weak)) {
        if (weak && !weak_too) continue;
        if (slice_equal(tag, etag) || slice_equal(tag, SLICE("*"))) return true;
    }
    return false;
}

char *admin_etag_list(struct slice list, bool weak_too)
{
    struct admin_text tags = { 0 };
    struct slice tag;
    bool weak;
    admin_text_add(&tags, SLICE("")); /* not NULL: where there is none, none fits */
    while (!slice_is_absent(list) && next_tag(&list, &tag, &weak)) {
        if (weak && !weak_too) continue;
        if (slice_equal(tag, SLICE("*"))) tags.length = 0;
        admin_text_format(&tags, "%s%.*s", tags.length ? "," : "", SLICE_PRINT(tag));
        if (slice_equal(tag, SLICE("*"))) break;
    }
    return tags.at;
}
