/* What a master leaves to the binary that takes its place: a round trip, other versions, and texts that are no good. */
#include "unit_test.h"

#include "base/memory.h"
#include "master/private.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

static const struct master_options options = { .config_path = "/etc/sluice.yaml", .handover = -1 };
static struct master before, after;
static struct error error;

static void start_master(struct master *master)
{
    master_init(master, &options);
    assert_true(loop_init(&master->loop, &error));
}

/* As master.c does; what was read is watched by nobody. */
static void end_master(struct master *master)
{
    struct list_link *link;
    while ((link = list_first(&master->children)) != NULL) {
        struct child *child = CONTAINER_OF(link, struct child, siblings);
        if (child->link.descriptor >= 0) close(child->link.descriptor);
        child->link.descriptor = -1;
        child_destroy(child);
    }
    while ((link = list_first(&master->clients)) != NULL) {
        struct control_client *client = CONTAINER_OF(link, struct control_client, link);
        close(client->source.descriptor);
        list_remove(link);
        free(client);
    }
    sockets_close_all(master);
    if (master->control.descriptor >= 0) close(master->control.descriptor);
    if (master->good_text >= 0) close(master->good_text);
    if (master->ticket_keys >= 0) close(master->ticket_keys);
    free(master->control_path);
    free(master->program);
    loop_turn(&master->loop, 0);
    loop_release(&master->loop);
}

static int set_up(void **state)
{
    start_master(&before);
    start_master(&after);
    before.program = memory_copy_slice(SLICE("/usr/sbin/sluice"));
    return 0;
}

static int tear_down(void **state)
{
    end_master(&before);
    end_master(&after);
    return 0;
}

/* Any descriptor; those of the binary before are open without close-on-exec. */
static int open_one(void) { return fcntl(0, F_DUPFD, 3); }

static unsigned open_descriptors(void)
{
    unsigned count = 0;
    DIR *folder = opendir("/proc/self/fd");
    while (readdir(folder)) count++;
    closedir(folder);
    return count;
}

static struct child *add_gateway(enum child_role role, pid_t pid)
{
    struct child *child = child_create(&before, role);
    child->pid = pid;
    child->link.descriptor = open_one();
    return child;
}

static bool read_back(uint64_t *command)
{
    int text = handover_write(&before, 12, &error);
    assert_true(text >= 0);
    handover_keep_descriptors(&before, true);
    bool good = handover_read(text, &after, command, &error);
    close(text);
    return good;
}

/* The one process plays both masters, so the descriptors are the second one's alone from now on. */
static void forget_descriptors(struct master *master)
{
    struct list_link *link;
    for (link = master->children.next; link != &master->children; link = link->next)
        CONTAINER_OF(link, struct child, siblings)->link.descriptor = -1;
    for (link = master->addresses.next; link != &master->addresses; link = link->next)
        CONTAINER_OF(link, struct held_address, link)->count = 0;
    while ((link = list_first(&master->clients)) != NULL) {
        list_remove(link);
        free(CONTAINER_OF(link, struct control_client, link));
    }
    master->control.descriptor = master->good_text = master->ticket_keys = -1;
}

static void what_is_handed_over_arrives_as_it_was(void **state)
{
    uint64_t command;
    const char *path = "/run/a folder/100%\n\x01ä.sock";
    before.control.descriptor = open_one();
    before.control_path = memory_copy_slice(slice_from_cstring(path));
    before.good_text = open_one();
    before.ticket_keys = open_one();
    before.commands = 13;
    struct held_address *held = memory_allocate(sizeof *held);
    held->text = memory_copy_slice(SLICE("[::1]:8080"));
    held->users = 6;
    held->is_leaving = held->is_passed = true;
    for (held->count = 0; held->count < 3; held->count++) held->sockets[held->count] = open_one();
    list_push_back(&before.addresses, &held->link);
    struct child *old = add_gateway(CHILD_YIELDS, 4711), *fresh = add_gateway(CHILD_SERVES, 4712);
    struct child *last = add_gateway(CHILD_NEWCOMER, 4713);
    close(last->link.descriptor);
    last->link.descriptor = -1; /* it is dying */
    *old = (struct child){
        old->siblings, old->retired, &before, CHILD_YIELDS, 4711, old->link, 1, 8, true, true, 1, 2, 3, 4, 5, 6, 7, -1
    };
    fresh->ready = true;
    before.serving = fresh;
    struct control_client *client = control_create_client(&before);
    client->source.descriptor = open_one();
    client->command = 12;
    client->asked = 4712;
    int keys = before.ticket_keys;
    int link_of_old = old->link.descriptor, control = before.control.descriptor, socket = held->sockets[1];

    assert_true(read_back(&command));
    forget_descriptors(&before);
    assert_int_equal(command, 12);
    assert_int_equal(after.commands, 13);
    assert_string_equal(after.program, "/usr/sbin/sluice");
    assert_string_equal(after.control_path, path);
    assert_int_equal(after.control.descriptor, control);
    assert_true(fcntl(control, F_GETFD) & FD_CLOEXEC);
    assert_true(after.good_text >= 0);
    assert_int_equal(after.ticket_keys, keys);
    assert_true(fcntl(keys, F_GETFD) & FD_CLOEXEC);
    struct held_address *address = CONTAINER_OF(list_first(&after.addresses), struct held_address, link);
    assert_string_equal(address->text, "[::1]:8080");
    assert_int_equal(address->users, 6);
    assert_true(address->is_leaving && address->is_passed);
    assert_int_equal(address->count, 3);
    assert_int_equal(address->sockets[1], socket);
    struct child *first = CONTAINER_OF(list_first(&after.children), struct child, siblings);
    assert_int_equal(first->pid, 4711);
    assert_int_equal(first->link.descriptor, link_of_old);
    assert_int_equal(first->role, CHILD_YIELDS);
    assert_int_equal(first->bit, 1);
    assert_int_equal(first->inherit, 8);
    assert_true(first->ready && first->condemned);
    assert_int_equal(first->started_ms, 1);
    assert_int_equal(first->last_beat_ms, 2);
    assert_int_equal(first->condemned_ms, 3);
    assert_int_equal(first->start_bound_ms, 4);
    assert_int_equal(first->beat_bound_ms, 5);
    assert_int_equal(first->drain_bound_ms, 6);
    assert_int_equal(first->end_by_ms, 7);
    assert_int_equal(after.serving->pid, 4712);
    assert_false(after.serving->condemned);
    struct child *third = CONTAINER_OF(list_last(&after.children), struct child, siblings);
    assert_int_equal(third->role, CHILD_NEWCOMER);
    assert_int_equal(third->link.descriptor, -1);
    client = CONTAINER_OF(list_first(&after.clients), struct control_client, link);
    assert_int_equal(client->command, 12);
    assert_int_equal(client->asked, 4712);
}

static void the_least_there_can_be_is_enough(void **state)
{
    uint64_t command;
    assert_true(read_back(&command));
    assert_null(after.serving);
    assert_null(after.control_path);
    assert_int_equal(after.good_text, -1);
    assert_int_equal(after.ticket_keys, -1);
}

/* --- texts --- */

/* The text, with "%d" standing for a descriptor that is open. */
static bool read_bytes(const char *bytes, size_t length)
{
    uint64_t command;
    int text = memfd_create("test", MFD_CLOEXEC);
    assert_int_equal(write(text, bytes, length), length);
    bool good = handover_read(text, &after, &command, &error);
    close(text);
    return good;
}

static bool read_text(const char *format, int descriptor)
{
    char *text = memory_format(format, descriptor, descriptor);
    bool good = read_bytes(text, strlen(text));
    free(text);
    return good;
}

static void what_a_later_version_adds_is_passed_over(void **state)
{
    int link = open_one(), unknown = open_one();
    unsigned open_before = open_descriptors();
    char *text = memory_format("sluice-handover 1\n"
                               "program colour=blue path=/sluice shape=round=square\n"
                               "weather\n"
                               "telescope lens=3 descriptors=%d focus=9\n"
                               "gateway pid=99 bit=1 role=serves descriptors=%d mood=good\n"
                               "gateway pid=98 bit=2 role=sings descriptors=\n"
                               "end of=it\n"
                               "and what follows is nobody's business\n",
                               unknown, link);
    assert_true(read_bytes(text, strlen(text)));
    free(text);
    assert_string_equal(after.program, "/sluice");
    assert_int_equal(after.serving->pid, 99);
    assert_int_equal(CONTAINER_OF(list_last(&after.children), struct child, siblings)->role, CHILD_YIELDS);
    assert_int_equal(fcntl(unknown, F_GETFD), -1); /* what nobody knows how to use doesn't stay open */
    assert_int_equal(open_descriptors(), open_before - 1);
}

static void what_an_older_version_lacks_has_a_usual_value(void **state)
{
    assert_true(read_text("sluice-handover 1\nprogram path=/s\ngateway pid=9 bit=4 role=serves descriptors=%d\nend\n",
                          open_one()));
    assert_true(after.serving->beat_bound_ms > 0 && after.serving->drain_bound_ms > 0);
    assert_int_equal(after.serving->end_by_ms, 0);
}

static void every_text_that_is_cut_off_is_refused_and_nothing_stays_open(void **state)
{
    int link = open_one();
    char *text = memory_format("sluice-handover 1\nprogram path=/usr/sbin/sluice\ncommands given=3 upgrade=3\n"
                               "address descriptors=%d text=127.0.0.1:80 users=1\ngateway pid=9 bit=1 role=serves\nend",
                               link);
    size_t length = strlen(text);
    close(link);
    for (size_t cut = 0; cut < length; cut++) {
        unsigned open_before = open_descriptors();
        assert_int_equal(open_one(), link);
        if (read_bytes(text, cut)) fail_msg("taken: %.*s", (int)cut, text);
        end_master(&after);
        close(link); /* where its line was not reached */
        start_master(&after);
        assert_int_equal(open_descriptors(), open_before);
    }
    open_one();
    assert_true(read_bytes(text, length));
    free(text);
}

static void what_makes_no_sense_is_refused_with_its_line(void **state)
{
    static const struct {
        const char *text, *says;
    } rows[] = {
        { "", "no state" },
        { "sluice-handover 2\nend\n", "no state" },
        { "\x7f"
          "ELF\n",
          "no state" },
        { "sluice-handover 1\nend\n", "names no program" },
        { "sluice-handover 1\nprogram\nend\n", "line 2 (program): no path" },
        { "sluice-handover 1\nprogram path=\nend\n", "no path" },
        { "sluice-handover 1\nprogram path=/a%%2\nend\n", "no path" },
        { "sluice-handover 1\nprogram path=/a%%\nend\n", "no path" },
        { "sluice-handover 1\nprogram path=/a%%00b\nend\n", "no path" },
        { "sluice-handover 1\nprogram path=/a%%g1\nend\n", "no path" },
        { "sluice-handover 1\ncontrol path=/c\nend\n", "line 2 (control)" },
        { "sluice-handover 1\ncontrol descriptors=%d\nend\n", "line 2 (control)" },
        { "sluice-handover 1\ncontrol descriptors=%d path=/c\ncontrol descriptors=0 path=/c\nend\n",
          "no such descriptor" },
        { "sluice-handover 1\ngood-text\nend\n", "not one text" },
        { "sluice-handover 1\nticket-keys\nend\n", "not one file" },
        { "sluice-handover 1\naddress text=127.0.0.1:80 users=1\nend\n", "no sockets" },
        { "sluice-handover 1\naddress descriptors=%d users=1\nend\n", "no address" },
        { "sluice-handover 1\naddress descriptors=%d,%d text=1\nend\n", "no such descriptor" }, /* twice */
        { "sluice-handover 1\naddress descriptors=%d,999999 text=1\nend\n", "no such descriptor" },
        { "sluice-handover 1\naddress descriptors=%d,-1 text=1\nend\n", "no such descriptor" },
        { "sluice-handover 1\naddress descriptors=%d,,%d text=1\nend\n", "no such descriptor" },
        { "sluice-handover 1\naddress descriptors=18446744073709551616 text=1\nend\n", "no such descriptor" },
        { "sluice-handover 1\ngateway bit=1 role=serves\nend\n", "no process" },
        { "sluice-handover 1\ngateway pid=1 bit=1 role=serves\nend\n", "no process" },
        { "sluice-handover 1\ngateway pid=-5 bit=1 role=serves\nend\n", "no process" },
        { "sluice-handover 1\ngateway pid=4294967297 bit=1 role=serves\nend\n", "no process" },
        { "sluice-handover 1\ngateway pid=9 role=serves\nend\n", "no bit" },
        { "sluice-handover 1\ngateway pid=9 bit=3 role=serves\nend\n", "no bit" },
        { "sluice-handover 1\ngateway pid=9 bit=1 role=serves\ngateway pid=8 bit=2 role=serves\nend\n",
          "line 3 (gateway): two" },
        { "sluice-handover 1\nclient command=1\nend\n", "line 2 (client)" },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        int descriptor = open_one();
        unsigned open_before = open_descriptors();
        if (read_text(rows[i].text, descriptor)) fail_msg("taken: %s", rows[i].text);
        if (!strstr(error.text, rows[i].says)) fail_msg("%s: %s", rows[i].text, error.text);
        end_master(&after);
        bool was_named = strstr(rows[i].text, "%d") != NULL;
        if (!was_named) close(descriptor);
        start_master(&after);
        assert_int_equal(open_descriptors(), open_before - 1);
    }
}

static void too_much_of_anything_is_refused(void **state)
{
    static char text[1024 * 1024 + 100];
    size_t used = (size_t)snprintf(text, sizeof text, "sluice-handover 1\naddress text=1 descriptors=");
    int first = open_one();
    close(first);
    for (int i = 0; i <= SUPERVISION_DESCRIPTORS_MAX; i++) {
        int descriptor = open_one();
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%d", i ? "," : "", descriptor);
    }
    used += (size_t)snprintf(text + used, sizeof text - used, "\nend\n");
    assert_false(read_bytes(text, used));
    assert_non_null(strstr(error.text, "too many descriptors"));
    for (int i = 0; i <= SUPERVISION_DESCRIPTORS_MAX; i++) close(first + i);
    used = (size_t)snprintf(text, sizeof text, "sluice-handover 1\n");
    for (int i = 0; i <= CHILDREN_MAX; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "gateway pid=%d bit=%llu\n", i + 2, 1ULL << i % 64);
    assert_false(read_bytes(text, used));
    assert_non_null(strstr(error.text, "too many"));
    memset(text, 'x', sizeof text);
    memcpy(text, "sluice-handover 1\n", 18);
    assert_false(read_bytes(text, sizeof text));
    assert_non_null(strstr(error.text, "1 MiB"));
}

static void a_descriptor_that_cannot_be_read_is_told(void **state)
{
    uint64_t command;
    assert_false(handover_read(-1, &after, &command, &error));
    assert_non_null(strstr(error.text, "cannot read the state"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        TEST(what_is_handed_over_arrives_as_it_was),
        TEST(the_least_there_can_be_is_enough),
        TEST(what_a_later_version_adds_is_passed_over),
        TEST(what_an_older_version_lacks_has_a_usual_value),
        TEST(every_text_that_is_cut_off_is_refused_and_nothing_stays_open),
        TEST(what_makes_no_sense_is_refused_with_its_line),
        TEST(too_much_of_anything_is_refused),
        TEST(a_descriptor_that_cannot_be_read_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
