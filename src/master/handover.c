/* master/handover.c: what a master leaves to the binary that takes its place: a text in memory and the descriptors that it names.
 *
 *   sluice-handover 1
 *   program path=/usr/sbin/sluice
 *   address descriptors=4,5 text=127.0.0.1:8080 users=2
 *   gateway descriptors=9 pid=4711 role=serves ready=1 ...
 *   end
 *
 * The binary may be newer or older than the one that wrote it. So a version that adds something adds a line or a field, which others
 * pass over, and changes the meaning of none. Descriptors stand in the field of that name in any line: those of a line that is not known
 * are closed, or a socket that nobody serves would stay open for ever. Values are bytes, what is no visible ASCII as %XX. Times are
 * those of the loop, milliseconds of CLOCK_MONOTONIC. */
#include "base/memory.h"
#include "base/vector.h"
#include "master/private.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#define TITLE "sluice-handover 1"
#define TEXT_BYTES_MAX (1024 * 1024)

static const char *const role_words[] = {
    [CHILD_SERVES] = "serves", [CHILD_NEWCOMER] = "newcomer", [CHILD_YIELDS] = "yields"
};

/* --- writing --- */

static void write_value(FILE *to, const char *key, const char *value)
{
    fprintf(to, " %s=", key);
    for (const unsigned char *at = (const unsigned char *)value; *at; at++) {
        if (*at > 0x20 && *at < 0x7f && *at != '%') {
            fputc(*at, to);
        } else {
            fprintf(to, "%%%02x", *at);
        }
    }
}

static void write_number(FILE *to, const char *key, uint64_t number)
{
    fprintf(to, " %s=%llu", key, (unsigned long long)number);
}

static void write_descriptors(FILE *to, const char *word, const int *descriptors, uint32_t count)
{
    fprintf(to, "%s descriptors=", word);
    for (uint32_t i = 0; i < count; i++) fprintf(to, "%s%d", i > 0 ? "," : "", descriptors[i]);
}

static void write_address(FILE *to, const struct held_address *held)
{
    write_descriptors(to, "address", held->sockets, held->count);
    write_value(to, "text", held->text);
    write_number(to, "users", held->users);
    write_number(to, "leaving", held->is_leaving);
    write_number(to, "passed", held->is_passed);
    fputc('\n', to);
}

static void write_gateway(FILE *to, const struct child *child)
{
    write_descriptors(to, "gateway", &child->link.descriptor, child->link.descriptor >= 0);
    write_number(to, "pid", (uint64_t)child->pid);
    write_value(to, "role", role_words[child->role]);
    write_number(to, "bit", child->bit);
    write_number(to, "inherit", child->inherit);
    write_number(to, "ready", child->ready);
    write_number(to, "condemned", child->condemned);
    write_number(to, "started", child->started_ms);
    write_number(to, "beat", child->last_beat_ms);
    write_number(to, "condemned-at", child->condemned_ms);
    write_number(to, "start-bound", child->start_bound_ms);
    write_number(to, "beat-bound", child->beat_bound_ms);
    write_number(to, "drain-bound", child->drain_bound_ms);
    write_number(to, "end-by", child->end_by_ms);
    fputc('\n', to);
}

static void write_client(FILE *to, const struct control_client *client)
{
    write_descriptors(to, "client", &client->source.descriptor, 1);
    write_number(to, "command", client->command);
    write_number(to, "asked", (uint64_t)client->asked);
    fputc('\n', to);
}

static void write_control(FILE *to, const struct master *master)
{
    write_descriptors(to, "control", &master->control.descriptor, 1);
    write_value(to, "path", master->control_path);
    fputc('\n', to);
}

static void write_kept(FILE *to, const char *word, int descriptor)
{
    if (descriptor < 0) return;
    write_descriptors(to, word, &descriptor, 1);
    fputc('\n', to);
}

static void write_state(FILE *to, const struct master *master, uint64_t command)
{
    const struct list_link *link;
    fprintf(to, TITLE "\nprogram");
    write_value(to, "path", master->program);
    fprintf(to, "\ncommands");
    write_number(to, "given", master->commands);
    write_number(to, "upgrade", command);
    fputc('\n', to);
    if (master->control.descriptor >= 0) write_control(to, master);
    write_kept(to, "good-text", master->good_text);
    write_kept(to, "ticket-keys", master->ticket_keys);
    for (link = master->addresses.next; link != &master->addresses; link = link->next)
        write_address(to, CONTAINER_OF(link, struct held_address, link));
    for (link = master->children.next; link != &master->children; link = link->next)
        write_gateway(to, CONTAINER_OF(link, struct child, siblings));
    for (link = master->clients.next; link != &master->clients; link = link->next)
        write_client(to, CONTAINER_OF(link, struct control_client, link));
    fprintf(to, "end\n");
}

int handover_write(const struct master *master, uint64_t command, struct error *error)
{
    int text = memfd_create("sluice-handover", MFD_CLOEXEC);
    int copy = text >= 0 ? fcntl(text, F_DUPFD_CLOEXEC, 3) : -1; /* the stream closes its own */
    FILE *to = copy >= 0 ? fdopen(copy, "w") : NULL;
    bool good = to != NULL;
    if (to) {
        write_state(to, master, command);
        good = !ferror(to);
        good = fclose(to) == 0 && good;
    }
    if (good) return text;
    error_format(error, "cannot write the state for it: %m");
    if (copy >= 0 && !to) close(copy);
    if (text >= 0) close(text);
    return -1;
}

static void keep_one(int descriptor, bool kept)
{
    if (descriptor >= 0) fcntl(descriptor, F_SETFD, kept ? 0 : FD_CLOEXEC);
}

void handover_keep_descriptors(const struct master *master, bool kept)
{
    const struct list_link *link;
    keep_one(master->control.descriptor, kept);
    keep_one(master->good_text, kept);
    keep_one(master->ticket_keys, kept);
    for (link = master->addresses.next; link != &master->addresses; link = link->next) {
        const struct held_address *held = CONTAINER_OF(link, struct held_address, link);
        for (uint32_t i = 0; i < held->count; i++) keep_one(held->sockets[i], kept);
    }
    for (link = master->children.next; link != &master->children; link = link->next)
        keep_one(CONTAINER_OF(link, struct child, siblings)->link.descriptor, kept);
    for (link = master->clients.next; link != &master->clients; link = link->next)
        keep_one(CONTAINER_OF(link, struct control_client, link)->source.descriptor, kept);
}

/* --- reading --- */

struct line {
    unsigned number;
    struct slice word, fields;
    int descriptors[SUPERVISION_DESCRIPTORS_MAX]; /* what nobody takes is closed */
    uint32_t descriptor_count;
};

struct reader {
    struct master *master;
    uint64_t *command;
    struct error *error;
};

/* Absent: the line has no such field. */
static struct slice find_field(const struct line *line, const char *key)
{
    struct slice rest = line->fields, field, name = slice_from_cstring(key);
    while (slice_next(&rest, ' ', &field)) {
        if (slice_starts_with(field, name) && field.length > name.length && field.at[name.length] == '=')
            return slice_after(field, name.length + 1);
    }
    return SLICE_ABSENT;
}

static bool refuse(struct reader *reader, const struct line *line, const char *what)
{
    return error_format(reader->error, "the state that was handed over, line %u (%.*s): %s", line->number,
                        SLICE_PRINT(line->word), what);
}

/* An older binary may not have written it. */
static uint64_t number_or(const struct line *line, const char *key, uint64_t otherwise)
{
    uint64_t number;
    return slice_parse_uint64(find_field(line, key), &number) ? number : otherwise;
}

static int hex_digit(char byte)
{
    static const char digits[] = "0123456789abcdef";
    const char *found = byte ? strchr(digits, byte) : NULL;
    return found ? (int)(found - digits) : -1;
}

/* The caller's; NULL where it is absent, empty or not spelled as write_value does. */
static char *read_value(const struct line *line, const char *key)
{
    struct slice text = find_field(line, key);
    if (text.length == 0) return NULL;
    char *value = memory_allocate(text.length + 1);
    size_t length = 0;
    for (size_t i = 0; i < text.length; i++) {
        char byte = text.at[i];
        if (byte == '%') {
            bool whole = i + 2 < text.length;
            int high = whole ? hex_digit(text.at[i + 1]) : -1, low = whole ? hex_digit(text.at[i + 2]) : -1;
            if (high < 0 || low < 0 || high + low == 0) {
                free(value);
                return NULL;
            }
            byte = (char)(high * 16 + low);
            i += 2;
        }
        value[length++] = byte;
    }
    return value;
}

/* What came through an execution is open without close-on-exec; what another line has named already isn't any more. */
static bool claim(uint64_t number)
{
    if (number <= STDERR_FILENO || number > INT_MAX) return false;
    int flags = fcntl((int)number, F_GETFD);
    return flags >= 0 && !(flags & FD_CLOEXEC) && fcntl((int)number, F_SETFD, FD_CLOEXEC) == 0;
}

static bool claim_descriptors(struct reader *reader, struct line *line)
{
    struct slice rest = find_field(line, "descriptors"), piece;
    while (rest.length > 0 && slice_next(&rest, ',', &piece)) {
        uint64_t number;
        if (line->descriptor_count == COUNT_OF(line->descriptors)) return refuse(reader, line, "too many descriptors");
        if (!slice_parse_uint64(piece, &number) || !claim(number)) return refuse(reader, line, "no such descriptor");
        line->descriptors[line->descriptor_count++] = (int)number;
    }
    return true;
}

static int take_descriptor(struct line *line)
{
    return line->descriptor_count > 0 ? line->descriptors[--line->descriptor_count] : -1;
}

static bool read_program(struct reader *reader, struct line *line)
{
    char *path = read_value(line, "path");
    if (!path) return refuse(reader, line, "no path");
    free(reader->master->program);
    reader->master->program = path;
    return true;
}

static bool read_commands(struct reader *reader, struct line *line)
{
    reader->master->commands = number_or(line, "given", 0);
    *reader->command = number_or(line, "upgrade", 0);
    return true;
}

static bool read_control(struct reader *reader, struct line *line)
{
    struct master *master = reader->master;
    char *path = read_value(line, "path");
    if (!path || line->descriptor_count != 1 || master->control_path) {
        free(path);
        return refuse(reader, line, "not one socket with its path");
    }
    master->control.descriptor = take_descriptor(line);
    master->control_path = path;
    return true;
}

static bool read_good_text(struct reader *reader, struct line *line)
{
    if (line->descriptor_count != 1 || reader->master->good_text >= 0) return refuse(reader, line, "not one text");
    reader->master->good_text = take_descriptor(line);
    return true;
}

static bool read_ticket_keys(struct reader *reader, struct line *line)
{
    if (line->descriptor_count != 1 || reader->master->ticket_keys >= 0) return refuse(reader, line, "not one file");
    reader->master->ticket_keys = take_descriptor(line);
    return true;
}

static bool read_address(struct reader *reader, struct line *line)
{
    char *text = read_value(line, "text");
    if (!text || line->descriptor_count == 0) {
        free(text);
        return refuse(reader, line, "no address, or no sockets");
    }
    struct held_address *held = memory_allocate(sizeof *held);
    held->text = text;
    held->users = number_or(line, "users", 0);
    held->is_leaving = number_or(line, "leaving", 0) != 0;
    held->is_passed = number_or(line, "passed", 0) != 0;
    held->count = line->descriptor_count;
    memcpy(held->sockets, line->descriptors, held->count * sizeof held->sockets[0]);
    line->descriptor_count = 0;
    list_push_back(&reader->master->addresses, &held->link);
    return true;
}

/* A role of a later version is one that doesn't serve. */
static enum child_role read_role(const struct line *line)
{
    struct slice role = find_field(line, "role");
    for (size_t i = 0; i < COUNT_OF(role_words); i++) {
        if (slice_equal(role, slice_from_cstring(role_words[i]))) return (enum child_role)i;
    }
    return CHILD_YIELDS;
}

static bool read_gateway(struct reader *reader, struct line *line)
{
    struct master *master = reader->master;
    uint64_t pid = number_or(line, "pid", 0), bit = number_or(line, "bit", 0);
    enum child_role role = read_role(line);
    if (pid <= 1 || pid > INT_MAX) return refuse(reader, line, "no process");
    if (bit == 0 || (bit & (bit - 1)) != 0) return refuse(reader, line, "no bit of its own");
    if (line->descriptor_count > 1) return refuse(reader, line, "more than one link");
    if (role == CHILD_SERVES && master->serving) return refuse(reader, line, "two that serve");
    struct child *child = child_create(master, role);
    if (!child) return refuse(reader, line, "too many");
    child->pid = (pid_t)pid;
    child->link.descriptor = take_descriptor(line);
    child->bit = bit;
    child->inherit = number_or(line, "inherit", 0);
    child->ready = number_or(line, "ready", 0) != 0;
    child->condemned = number_or(line, "condemned", 0) != 0;
    child->started_ms = number_or(line, "started", child->started_ms);
    child->last_beat_ms = number_or(line, "beat", child->last_beat_ms);
    child->condemned_ms = number_or(line, "condemned-at", 0);
    child->start_bound_ms = number_or(line, "start-bound", child->start_bound_ms);
    child->beat_bound_ms = number_or(line, "beat-bound", child->beat_bound_ms);
    child->drain_bound_ms = number_or(line, "drain-bound", child->drain_bound_ms);
    child->end_by_ms = number_or(line, "end-by", 0);
    if (role == CHILD_SERVES) master->serving = child;
    return true;
}

static bool read_client(struct reader *reader, struct line *line)
{
    if (line->descriptor_count != 1) return refuse(reader, line, "not one connection");
    struct control_client *client = control_create_client(reader->master);
    client->source.descriptor = take_descriptor(line);
    client->command = number_or(line, "command", 0);
    client->asked = (pid_t)number_or(line, "asked", 0);
    return true;
}

static bool read_line(struct reader *reader, struct line *line)
{
    static const struct {
        const char *word;
        bool (*read)(struct reader *, struct line *);
    } readers[] = {
        { "program", read_program },     { "commands", read_commands },       { "control", read_control },
        { "good-text", read_good_text }, { "ticket-keys", read_ticket_keys }, { "address", read_address },
        { "gateway", read_gateway },     { "client", read_client },
    };
    bool good = claim_descriptors(reader, line);
    for (size_t i = 0; good && i < COUNT_OF(readers); i++) {
        if (!slice_equal(line->word, slice_from_cstring(readers[i].word))) continue;
        good = readers[i].read(reader, line);
        break;
    }
    for (uint32_t i = 0; i < line->descriptor_count; i++) close(line->descriptors[i]);
    return good;
}

/* The whole of it, NUL-terminated; the caller's. */
static char *read_text(int text, size_t *length, struct error *error)
{
    char *whole = memory_allocate(TEXT_BYTES_MAX + 1);
    *length = 0;
    ssize_t got = 0;
    while (*length < TEXT_BYTES_MAX) {
        got = pread(text, whole + *length, TEXT_BYTES_MAX - *length, (off_t)*length);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) break;
        *length += (size_t)got;
    }
    if (got == 0) return whole;
    error_format(error, "cannot read the state that was handed over: %s",
                 got < 0 ? error_from_errno(errno) : "larger than 1 MiB");
    free(whole);
    return NULL;
}

static bool read_lines(struct reader *reader, struct slice rest)
{
    struct slice text;
    struct line line = { .number = 1 };
    if (!slice_next(&rest, '\n', &text) || !slice_equal(text, SLICE(TITLE)))
        return error_format(reader->error, "what was handed over is no state of a Sluice");
    while (slice_next(&rest, '\n', &text)) {
        size_t space = slice_find_byte(text, ' ');
        line = (struct line){ .number = line.number + 1, .word = slice_before(text, space) };
        line.fields = space == SLICE_NOT_FOUND ? SLICE("") : slice_after(text, space + 1);
        if (slice_equal(line.word, SLICE("end"))) return true;
        if (!read_line(reader, &line)) return false;
    }
    return error_format(reader->error, "the state that was handed over is cut off after line %u", line.number - 1);
}

bool handover_read(int text, struct master *master, uint64_t *command, struct error *error)
{
    struct reader reader = { .master = master, .command = command, .error = error };
    size_t length;
    *command = 0;
    char *whole = read_text(text, &length, error);
    if (!whole) return false;
    bool good = read_lines(&reader, slice_of(whole, length));
    free(whole);
    if (!good) return false;
    if (!master->program) return error_format(error, "the state that was handed over names no program");
    return true;
}
