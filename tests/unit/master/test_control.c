/* The control socket: who may speak, what is answered, and clients that misbehave. The gateway is played by the other end of its link. */
#include "unit_test.h"

#include "base/memory.h"
#include "master/private.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static char folder[40], path[64];
static struct master_options options;
static struct master master;
static int gateway; /* its end of the link */

#define GATEWAY_PID 4711 /* nobody sends it a signal here */

static void link_ready(struct event_source *source, uint32_t events) {}

static int start(void **state)
{
    struct error error;
    int pair[2];
    snprintf(folder, sizeof folder, "/tmp/sluice-control-XXXXXX");
    if (!mkdtemp(folder)) return -1;
    snprintf(path, sizeof path, "%s/sluice.sock", folder);
    options = (struct master_options){ .control_path = path };
    master_init(&master, &options);
    if (!loop_init(&master.loop, &error)) return -1;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) return -1;
    struct child *serving = master.serving = child_create(&master, CHILD_SERVES);
    serving->pid = GATEWAY_PID;
    serving->ready = true;
    serving->link = (struct event_source){ .ready = link_ready, .descriptor = -1 };
    gateway = pair[1];
    return loop_watch_level(&master.loop, &serving->link, pair[0], EPOLLIN, &error) ? 0 : -1;
}

static int stop(void **state)
{
    control_close(&master);
    child_destroy(master.serving);
    close(gateway);
    loop_turn(&master.loop, 0);
    loop_release(&master.loop);
    unlink(path);
    return rmdir(folder);
}

static void open_control(void)
{
    struct error error;
    if (!control_open(&master, &error)) fail_msg("%s", error.text);
}

static int connect_client(void)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    int client = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(client, (struct sockaddr *)&address, sizeof address), 0);
    return client;
}

static void turn(void)
{
    for (int i = 0; i < 4; i++) loop_turn(&master.loop, 0);
}

static int ask(const char *command)
{
    int client = connect_client();
    assert_int_equal(send(client, command, strlen(command), 0), strlen(command));
    turn();
    return client;
}

/* The answer, "" where the connection ended without one; "(nothing yet)". Closes the client with anything but the last. */
static const char *answer_to(int client)
{
    static char text[SUPERVISION_TEXT_MAX + 1];
    turn();
    ssize_t got = recv(client, text, sizeof text - 1, MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN) return "(nothing yet)";
    text[got > 0 ? got : 0] = '\0';
    close(client);
    return text;
}

/* What the gateway is asked; its number. */
static uint64_t heard(enum supervision_kind kind)
{
    static struct supervision_message message;
    assert_int_equal(supervision_receive(gateway, &message), SUPERVISION_GOT);
    assert_int_equal(message.kind, kind);
    return message.number;
}

static void commands_reach_the_gateway_and_answers_their_client(void **state)
{
    open_control();
    int first = ask("status"), second = ask("reload");
    uint64_t status = heard(SUPERVISION_STATUS), reload = heard(SUPERVISION_RELOAD);
    assert_true(status != reload);
    control_answer(&master, reload, "+version 2 in force");
    assert_string_equal(answer_to(first), "(nothing yet)");
    assert_string_equal(answer_to(second), "+version 2 in force");
    control_answer(&master, status, "+{}");
    assert_string_equal(answer_to(first), "+{}");
    control_answer(&master, status, "+again"); /* nobody waits any more */
    control_answer(&master, 0, "+to a SIGHUP");
    assert_true(list_is_empty(&master.clients));
}

static void what_is_no_command_is_told(void **state)
{
    open_control();
    assert_string_equal(answer_to(ask("shutdown")), "-unknown command");
    assert_string_equal(answer_to(ask("reload ")), "-unknown command");
    char long_command[500];
    memset(long_command, 'a', sizeof long_command);
    long_command[sizeof long_command - 1] = '\0';
    assert_string_equal(answer_to(ask(long_command)), "-unknown command");
}

static void without_a_gateway_the_client_hears_so_at_once(void **state)
{
    open_control();
    master.serving->ready = false;
    assert_string_equal(answer_to(ask("reload")), "-the gateway is not running right now");
    master.serving->ready = true;
    int waiting = ask("status");
    control_answer_for(&master, GATEWAY_PID + 1, "-another one ended");
    assert_string_equal(answer_to(waiting), "(nothing yet)");
    control_answer_for(&master, GATEWAY_PID, "-the gateway ended before it answered");
    assert_string_equal(answer_to(waiting), "-the gateway ended before it answered");
}

static void a_client_that_goes_away_or_talks_on_is_forgotten(void **state)
{
    open_control();
    int client = ask("status");
    close(client);
    turn();
    assert_true(list_is_empty(&master.clients));
    control_answer(&master, heard(SUPERVISION_STATUS), "+{}");
    client = ask("status");
    assert_int_equal(send(client, "status", 6, 0), 6);
    assert_string_equal(answer_to(client), "");
    assert_true(list_is_empty(&master.clients));
}

/* It fills nobody's memory and blocks nobody: its answer is dropped with it. */
static void a_client_that_never_reads_costs_nothing(void **state)
{
    static char long_text[SUPERVISION_TEXT_MAX + 1];
    memset(long_text, 'x', SUPERVISION_TEXT_MAX);
    open_control();
    int clients[20];
    for (size_t i = 0; i < COUNT_OF(clients); i++) {
        clients[i] = ask("status");
        control_answer(&master, heard(SUPERVISION_STATUS), long_text);
    }
    turn();
    assert_true(list_is_empty(&master.clients));
    for (size_t i = 0; i < COUNT_OF(clients); i++) close(clients[i]);
}

static void clients_without_end_are_turned_away(void **state)
{
    open_control();
    int clients[70];
    for (size_t i = 0; i < COUNT_OF(clients); i++) {
        clients[i] = connect_client();
        turn();
    }
    size_t count = 0;
    for (struct list_link *link = master.clients.next; link != &master.clients; link = link->next) count++;
    assert_int_equal(count, 64);
    for (size_t i = 0; i < COUNT_OF(clients); i++) close(clients[i]);
    turn();
    assert_true(list_is_empty(&master.clients));
    close(ask("status"));
    heard(SUPERVISION_STATUS);
}

/* --- the socket's file --- */

static void the_file_is_for_its_owner_alone(void **state)
{
    struct stat about;
    open_control();
    assert_int_equal(stat(path, &about), 0);
    assert_true(S_ISSOCK(about.st_mode));
    assert_int_equal(about.st_mode & 0777, 0600);
    control_close(&master);
    assert_int_equal(stat(path, &about), -1);
}

static void a_file_left_over_is_replaced(void **state)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    int dead = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(dead, (struct sockaddr *)&address, sizeof address), 0);
    close(dead);
    open_control();
    assert_string_equal(answer_to(ask("nonsense")), "-unknown command");
}

static void a_second_instance_is_refused_and_the_first_goes_on(void **state)
{
    struct error error;
    struct master second;
    master_init(&second, &options);
    assert_true(loop_init(&second.loop, &error));
    open_control();
    assert_false(control_open(&second, &error));
    assert_non_null(strstr(error.text, "another Sluice answers"));
    control_close(&second);
    loop_release(&second.loop);
    assert_string_equal(answer_to(ask("nonsense")), "-unknown command");
}

static void what_is_no_socket_is_never_removed(void **state)
{
    struct error error;
    FILE *file = fopen(path, "w");
    fclose(file);
    assert_false(control_open(&master, &error));
    assert_non_null(strstr(error.text, "is no socket"));
    assert_int_equal(access(path, F_OK), 0);
}

static void a_path_too_long_is_told(void **state)
{
    static char long_path[300];
    struct error error;
    memset(long_path, 'x', sizeof long_path - 1);
    long_path[0] = '/';
    options.control_path = long_path;
    assert_false(control_open(&master, &error));
    assert_non_null(strstr(error.text, "longer than"));
}

static void the_state_directory_follows_the_environment(void **state)
{
    struct error error;
    struct stat about;
    char expected[64];
    setenv("STATE_DIRECTORY", folder, 1);
    char *found = state_directory(&error);
    assert_string_equal(found, folder);
    free(found);
    unsetenv("STATE_DIRECTORY");
    setenv("XDG_STATE_HOME", folder, 1);
    snprintf(expected, sizeof expected, "%s/sluice", folder);
    found = state_directory(&error);
    assert_string_equal(found, expected);
    assert_int_equal(stat(found, &about), 0);
    assert_int_equal(about.st_mode & 0777, 0700);
    rmdir(found);
    free(found);
    unsetenv("XDG_STATE_HOME");
    unsetenv("HOME");
    assert_null(state_directory(&error));
    assert_non_null(strstr(error.text, "STATE_DIRECTORY"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)
        TEST(commands_reach_the_gateway_and_answers_their_client),
        TEST(what_is_no_command_is_told),
        TEST(without_a_gateway_the_client_hears_so_at_once),
        TEST(a_client_that_goes_away_or_talks_on_is_forgotten),
        TEST(a_client_that_never_reads_costs_nothing),
        TEST(clients_without_end_are_turned_away),
        TEST(the_file_is_for_its_owner_alone),
        TEST(a_file_left_over_is_replaced),
        TEST(a_second_instance_is_refused_and_the_first_goes_on),
        TEST(what_is_no_socket_is_never_removed),
        TEST(a_path_too_long_is_told),
        TEST(the_state_directory_follows_the_environment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
