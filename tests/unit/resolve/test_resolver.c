/* Host names by a real dnsmasq, and by a stand-in that answers as it shouldn't. */
#include "unit_test.h"

#include "event/event.h"
#include "resolve/resolver.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static struct loop loop;
static struct resolver *resolver;

/* --- who is told --- */

struct listener {
    struct resolver_watch *watch;
    char addresses[2048]; /* as told last: "10.0.0.1 fd00::1", "none" or "" */
    char error[256];
    size_t count;
    unsigned told;
    bool unwatch_when_told;
};

static void told(void *argument, const struct address *addresses, size_t count, const struct error *error)
{
    struct listener *listener = argument;
    listener->told++;
    listener->count = count;
    assert_true(count == 0 ? error != NULL : error == NULL);
    snprintf(listener->error, sizeof listener->error, "%s", error ? error->text : "");
    snprintf(listener->addresses, sizeof listener->addresses, "%s", count ? "" : "none");
    for (size_t i = 0; i < count; i++) {
        char text[ADDRESS_TEXT_BYTES];
        address_write_ip(&addresses[i], text);
        assert_int_equal(address_port(&addresses[i]), 0);
        size_t used = strlen(listener->addresses);
        snprintf(listener->addresses + used, sizeof listener->addresses - used, "%s%s", i ? " " : "", text);
    }
    if (!listener->unwatch_when_told) return;
    resolver_unwatch(listener->watch);
    listener->watch = NULL;
}

static void listen_to(struct listener *listener, const char *name)
{
    listener->watch = resolver_watch(resolver, slice_from_cstring(name), told, listener);
    assert_int_equal(listener->told, 0); /* never inside the call */
}

static void turn_for(unsigned milliseconds)
{
    for (uint64_t until_ms = loop.now_ms + milliseconds; loop.now_ms < until_ms;) loop_turn(&loop, 10);
}

/* Turns until it was told so often; fails after five seconds. */
static void turn_until_told(const struct listener *listener, unsigned times)
{
    for (uint64_t until_ms = loop.now_ms + 5000; listener->told < times && loop.now_ms < until_ms;)
        loop_turn(&loop, 10);
    assert_int_equal(listener->told, times);
}

static void start_resolver(uint16_t port, uint64_t ttl_minimum_ms)
{
    char server[32];
    snprintf(server, sizeof server, "127.0.0.1:%u", port);
    struct slice servers[] = { slice_from_cstring(server) };
    struct resolver_settings settings = {
        .servers = port ? servers : NULL,
        .server_count = port ? 1 : 0,
        .ttl_minimum_ms = ttl_minimum_ms,
        .ttl_maximum_ms = 60000,
    };
    struct error error;
    resolver = resolver_create(&loop, &settings, &error);
    assert_non_null(resolver);
}

static int set_up(void **state) { return loop_init(&loop, NULL) ? 0 : -1; }

static int tear_down(void **state)
{
    if (resolver) resolver_destroy(resolver);
    resolver = NULL;
    loop_turn(&loop, 0);
    loop_release(&loop);
    return 0;
}

static uint16_t free_port(void)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t length = sizeof address;
    int probe = socket(AF_INET, SOCK_STREAM, 0);
    assert_return_code(bind(probe, (struct sockaddr *)&address, sizeof address), 0);
    assert_return_code(getsockname(probe, (struct sockaddr *)&address, &length), 0);
    close(probe);
    return ntohs(address.sin_port);
}

/* --- names that no server is asked for --- */

static void a_literal_address_is_its_own_answer(void **state)
{
    start_resolver(free_port(), 1000);
    struct listener four = { 0 }, six = { 0 };
    listen_to(&four, "10.1.2.3");
    listen_to(&six, "fd00::7");
    turn_until_told(&four, 1);
    turn_until_told(&six, 1);
    assert_string_equal(four.addresses, "10.1.2.3");
    assert_string_equal(six.addresses, "fd00::7");
}

static void localhost_is_this_host_whatever_a_server_says(void **state)
{
    static const char *const names[] = { "localhost", "LOCALHOST", "localhost.", "a.localhost" };
    start_resolver(free_port(), 1000);
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        struct listener listener = { 0 };
        listen_to(&listener, names[i]);
        turn_until_told(&listener, 1);
        assert_string_equal(listener.addresses, "127.0.0.1 ::1");
        resolver_unwatch(listener.watch);
    }
}

/* The first name in the file that isn't localhost. */
static bool name_from_hosts_file(char name[64], char ip[64])
{
    FILE *file = fopen("/etc/hosts", "re");
    if (!file) return false;
    char line[512];
    bool found = false;
    while (!found && fgets(line, sizeof line, file)) {
        found = sscanf(line, "%63[0-9.] %63s", ip, name) == 2 && strcmp(name, "localhost") != 0 && name[0] != '#';
    }
    fclose(file);
    return found;
}

static void the_hosts_file_comes_before_any_server(void **state)
{
    char name[64], ip[64];
    if (!name_from_hosts_file(name, ip)) {
        print_message("no name of its own in /etc/hosts: skipped\n");
        skip();
    }
    start_resolver(free_port(), 1000);
    struct listener listener = { 0 };
    listen_to(&listener, name);
    turn_until_told(&listener, 1);
    assert_non_null(strstr(listener.addresses, ip));
}

/* --- dnsmasq --- */

static struct {
    pid_t pid;
    uint16_t port;
    char folder[64], hosts[96], log[96];
} dnsmasq;

static const char *find_dnsmasq(void)
{
    static const char *const places[] = { "/usr/sbin/dnsmasq", "/usr/bin/dnsmasq", "/usr/local/sbin/dnsmasq" };
    for (size_t i = 0; i < COUNT_OF(places); i++) {
        if (access(places[i], X_OK) == 0) return places[i];
    }
    return NULL;
}

static void write_records(const char *records)
{
    int file = open(dnsmasq.hosts, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    assert_true(file >= 0);
    assert_int_equal(write(file, records, strlen(records)), strlen(records));
    close(file);
}

static bool port_is_open(uint16_t port)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_port = htons(port),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int probe = socket(AF_INET, SOCK_STREAM, 0);
    bool open = connect(probe, (struct sockaddr *)&address, sizeof address) == 0;
    close(probe);
    return open;
}

static void start_dnsmasq(const char *path)
{
    char port[32], listen[] = "--listen-address=127.0.0.1", hosts[128], log[128];
    snprintf(port, sizeof port, "--port=%u", dnsmasq.port);
    snprintf(hosts, sizeof hosts, "--addn-hosts=%s", dnsmasq.hosts);
    snprintf(log, sizeof log, "--log-facility=%s", dnsmasq.log);
    dnsmasq.pid = fork();
    assert_true(dnsmasq.pid >= 0);
    if (dnsmasq.pid == 0) {
        execl(path, path, "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--no-poll",
              hosts, port, listen, "--bind-interfaces", "--local-ttl=1", "--local=/test/", "--pid-file",
              "--log-queries", log, getuid() == 0 ? "--user=root" : "--keep-in-foreground", (char *)NULL);
        _exit(127);
    }
    for (int i = 0; i < 500 && !port_is_open(dnsmasq.port); i++) usleep(10000);
    assert_true(port_is_open(dnsmasq.port));
}

static void stop_dnsmasq(void)
{
    if (dnsmasq.pid == 0) return;
    kill(dnsmasq.pid, SIGTERM);
    waitpid(dnsmasq.pid, NULL, 0);
    dnsmasq.pid = 0;
}

static void change_records(const char *records)
{
    write_records(records);
    kill(dnsmasq.pid, SIGHUP);
}

static int set_up_dnsmasq(void **state)
{
    const char *path = find_dnsmasq();
    if (!path) {
        print_message("dnsmasq is not installed (Debian: dnsmasq-base): skipped\n");
        return set_up(state);
    }
    snprintf(dnsmasq.folder, sizeof dnsmasq.folder, "/tmp/sluice-resolver-XXXXXX");
    if (!mkdtemp(dnsmasq.folder)) return -1;
    chmod(dnsmasq.folder, 0755);
    snprintf(dnsmasq.hosts, sizeof dnsmasq.hosts, "%s/hosts", dnsmasq.folder);
    snprintf(dnsmasq.log, sizeof dnsmasq.log, "%s/log", dnsmasq.folder);
    dnsmasq.port = free_port();
    write_records("10.0.0.2 users.test\n10.0.0.1 users.test\nfd00::1 users.test\n10.0.0.9 orders.test\n");
    start_dnsmasq(path);
    if (set_up(state) != 0) return -1;
    start_resolver(dnsmasq.port, 100);
    return 0;
}

static int tear_down_dnsmasq(void **state)
{
    stop_dnsmasq();
    unlink(dnsmasq.hosts);
    unlink(dnsmasq.log);
    rmdir(dnsmasq.folder);
    return tear_down(state);
}

static void need_dnsmasq(void)
{
    if (dnsmasq.pid == 0) skip();
}

static unsigned queries_in_log(const char *text)
{
    FILE *file = fopen(dnsmasq.log, "re");
    assert_non_null(file);
    char line[512];
    unsigned count = 0;
    while (fgets(line, sizeof line, file)) count += strstr(line, text) != NULL;
    fclose(file);
    return count;
}

static void both_families_are_told_in_order(void **state)
{
    need_dnsmasq();
    struct listener listener = { 0 };
    listen_to(&listener, "Users.Test");
    turn_until_told(&listener, 1);
    assert_string_equal(listener.addresses, "10.0.0.1 10.0.0.2 fd00::1");
}

/* It is asked again when the TTL of one second ends, and told only what is new. */
static void a_change_is_told_once_its_ttl_has_ended(void **state)
{
    need_dnsmasq();
    struct listener listener = { 0 };
    listen_to(&listener, "users.test");
    turn_until_told(&listener, 1);
    turn_for(1300);
    assert_int_equal(listener.told, 1);
    assert_true(queries_in_log("query[A] users.test") >= 2);
    change_records("10.0.0.3 users.test\n");
    turn_until_told(&listener, 2);
    assert_string_equal(listener.addresses, "10.0.0.3");
}

static void two_watches_share_their_look_ups(void **state)
{
    need_dnsmasq();
    struct listener first = { 0 }, second = { 0 }, late = { 0 };
    listen_to(&first, "users.test");
    listen_to(&second, "users.test");
    turn_until_told(&first, 1);
    turn_until_told(&second, 1);
    listen_to(&late, "users.test");
    turn_until_told(&late, 1);
    assert_string_equal(late.addresses, first.addresses);
    assert_int_equal(queries_in_log("query[A] users.test"), 1);
}

static void a_name_loses_its_addresses_after_three_denials(void **state)
{
    need_dnsmasq();
    struct listener listener = { 0 };
    listen_to(&listener, "users.test");
    turn_until_told(&listener, 1);
    unsigned before = queries_in_log("query[A] users.test");
    change_records("10.0.0.9 orders.test\n");
    turn_until_told(&listener, 2);
    assert_string_equal(listener.addresses, "none");
    assert_non_null(strstr(listener.error, "\"users.test\""));
    assert_true(queries_in_log("query[A] users.test") >= before + 3);
    change_records("10.0.0.4 users.test\n");
    turn_until_told(&listener, 3);
    assert_string_equal(listener.addresses, "10.0.0.4");
}

static struct resolver_change *prepare_server(uint16_t port)
{
    char server[32];
    struct error error;
    snprintf(server, sizeof server, "127.0.0.1:%u", port);
    struct slice servers[] = { slice_from_cstring(server) };
    struct resolver_settings settings = {
        .servers = servers, .server_count = 1, .ttl_minimum_ms = 100, .ttl_maximum_ms = 60000
    };
    struct resolver_change *change = resolver_prepare(resolver, &settings, &error);
    assert_non_null(change);
    return change;
}

static void other_servers_are_asked_at_once_and_until_they_answer_nothing_is_lost(void **state)
{
    need_dnsmasq();
    struct listener known = { 0 }, unknown = { 0 };
    listen_to(&known, "users.test");
    turn_until_told(&known, 1);
    resolver_commit(resolver, prepare_server(free_port())); /* nobody is there */
    listen_to(&unknown, "orders.test");
    turn_for(50); /* a question is under way */
    assert_int_equal(known.told, 1);
    resolver_abandon(prepare_server(free_port()));
    unsigned before = queries_in_log("query[A] users.test"), told_before = unknown.told;
    resolver_commit(resolver, prepare_server(dnsmasq.port));
    turn_until_told(&unknown, told_before + 1);
    assert_string_equal(unknown.addresses, "10.0.0.9");
    for (int i = 0; i < 50 && queries_in_log("query[A] users.test") == before; i++) turn_for(20);
    assert_true(queries_in_log("query[A] users.test") > before);
    assert_int_equal(known.told, 1);
}

static void an_unknown_name_is_told_so_at_once(void **state)
{
    need_dnsmasq();
    struct listener listener = { 0 };
    listen_to(&listener, "nobody.test");
    turn_until_told(&listener, 1);
    assert_string_equal(listener.addresses, "none");
}

static void the_last_addresses_stay_while_the_server_is_away(void **state)
{
    need_dnsmasq();
    struct listener listener = { 0 };
    listen_to(&listener, "users.test");
    turn_until_told(&listener, 1);
    stop_dnsmasq();
    turn_for(2500);
    assert_int_equal(listener.told, 1);
    write_records("10.0.0.5 users.test\n");
    start_dnsmasq(find_dnsmasq());
    turn_until_told(&listener, 2);
    assert_string_equal(listener.addresses, "10.0.0.5");
}

static void a_listener_may_leave_while_it_is_told(void **state)
{
    need_dnsmasq();
    struct listener leaves = { .unwatch_when_told = true }, stays = { 0 };
    listen_to(&leaves, "users.test");
    listen_to(&stays, "users.test");
    turn_until_told(&stays, 1);
    assert_int_equal(leaves.told, 1);
    struct listener alone = { .unwatch_when_told = true };
    listen_to(&alone, "orders.test");
    turn_until_told(&alone, 1);
    assert_string_equal(alone.addresses, "10.0.0.9");
}

static void who_has_left_is_told_nothing(void **state)
{
    need_dnsmasq();
    struct listener listener = { 0 };
    listen_to(&listener, "users.test");
    loop_turn(&loop, 0); /* the look-up is on its way */
    resolver_unwatch(listener.watch);
    turn_for(200);
    assert_int_equal(listener.told, 0);
}

/* --- a server that can't be trusted --- */

enum misdeed {
    ANSWERS_WELL,
    STAYS_SILENT,
    SENDS_GARBAGE,
    CUTS_OFF,
    FORGES_ID,
    CHANGES_QUESTION,
    SENDS_TOO_MANY,
    SENDS_NO_ADDRESSES
};

static struct {
    struct event_source source;
    enum misdeed misdeed; /* of the first `misdeeds` questions; then it answers well */
    unsigned misdeeds, questions;
    int tcp; /* bound; only who listens there answers */
} stranger;

static size_t write_answer(unsigned char *into, const unsigned char *question, size_t question_length,
                           unsigned addresses, unsigned char first_byte)
{
    memcpy(into, question, question_length);
    into[2] = 0x81, into[3] = 0x80; /* response, recursion desired and available */
    into[6] = (unsigned char)(addresses >> 8), into[7] = (unsigned char)addresses;
    into[8] = into[9] = into[10] = into[11] = 0;
    unsigned char *at = into + question_length;
    for (unsigned i = 0; i < addresses; i++) {
        const unsigned char record[] = {
            0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, first_byte, 0, (unsigned char)(i >> 8), (unsigned char)(i + 1)
        };
        memcpy(at, record, sizeof record);
        at += sizeof record;
    }
    return (size_t)(at - into);
}

static size_t misbehave(unsigned char *answer, const unsigned char *question, size_t length)
{
    switch (stranger.misdeed) {
    case STAYS_SILENT: return 0;
    case SENDS_GARBAGE:
        memset(answer, 0xc0, 300); /* pointers to pointers */
        memcpy(answer, question, 2);
        return 300;
    case CUTS_OFF: return write_answer(answer, question, length, 3, 10) - 21;
    case FORGES_ID:
        length = write_answer(answer, question, length, 1, 66);
        answer[0] ^= 0xff;
        return length;
    case CHANGES_QUESTION:
        length = write_answer(answer, question, length, 1, 66);
        answer[13] ^= 1;
        return length;
    case SENDS_TOO_MANY: return write_answer(answer, question, length, 240, 10);
    case SENDS_NO_ADDRESSES: return write_answer(answer, question, length, 5, 0); /* 0.0.0.1 and so on */
    case ANSWERS_WELL: break;
    }
    return write_answer(answer, question, length, 1, 10);
}

static void stranger_ready(struct event_source *source, uint32_t events)
{
    unsigned char question[512], answer[4096];
    struct sockaddr_in from;
    socklen_t from_length = sizeof from;
    while (recvfrom(source->descriptor, question, sizeof question, MSG_DONTWAIT, (struct sockaddr *)&from,
                    &from_length) > 0) {
        size_t end = 12;
        while (question[end]) end += question[end] + 1u;
        bool is_v4 = question[end + 2] == 1;
        size_t length = write_answer(answer, question, end + 5, is_v4, 10);
        if (is_v4 && stranger.questions++ < stranger.misdeeds) length = misbehave(answer, question, end + 5);
        if (length) sendto(source->descriptor, answer, length, 0, (struct sockaddr *)&from, from_length);
    }
}

static int bound_socket(int type, struct sockaddr_in *address)
{
    int descriptor = socket(AF_INET, type | SOCK_CLOEXEC, 0);
    socklen_t length = sizeof *address;
    if (bind(descriptor, (struct sockaddr *)address, length) == 0 &&
        getsockname(descriptor, (struct sockaddr *)address, &length) == 0)
        return descriptor;
    close(descriptor);
    return -1;
}

/* Both of one number; which of UDP's are free the kernel tells only when they are tried. */
static struct sockaddr_in bind_both(int *udp, int *tcp)
{
    for (int tries = 0; tries < 100; tries++) {
        struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        *tcp = bound_socket(SOCK_STREAM, &address);
        assert_true(*tcp >= 0);
        *udp = bound_socket(SOCK_DGRAM, &address);
        if (*udp >= 0) return address;
        close(*tcp);
    }
    fail_msg("no number is free for both");
    return (struct sockaddr_in){ 0 };
}

static void meet_stranger(enum misdeed misdeed, unsigned misdeeds)
{
    stranger.misdeed = misdeed;
    stranger.misdeeds = misdeeds;
    stranger.questions = 0;
    int descriptor;
    struct sockaddr_in address = bind_both(&descriptor, &stranger.tcp);
    stranger.source = (struct event_source){ .ready = stranger_ready, .descriptor = -1 };
    assert_true(loop_watch_level(&loop, &stranger.source, descriptor, EPOLLIN, NULL));
    start_resolver(ntohs(address.sin_port), 100);
}

static int tear_down_stranger(void **state)
{
    int descriptor = stranger.source.descriptor;
    loop_unwatch(&loop, &stranger.source, false);
    close(descriptor);
    close(stranger.tcp);
    return tear_down(state);
}

/* Whatever came first, in the end the name has the address of the one good answer, and never another. */
static void survive(enum misdeed misdeed)
{
    meet_stranger(misdeed, 1);
    struct listener listener = { 0 };
    listen_to(&listener, "users.test");
    for (uint64_t until_ms = loop.now_ms + 5000;
         strcmp(listener.addresses, "10.0.0.1") != 0 && loop.now_ms < until_ms;) {
        loop_turn(&loop, 10);
        assert_true(listener.count == 0 || strcmp(listener.addresses, "10.0.0.1") == 0);
    }
    assert_string_equal(listener.addresses, "10.0.0.1");
}

static void a_lost_answer_is_asked_for_again(void **state) { survive(STAYS_SILENT); }
static void garbage_is_no_answer(void **state) { survive(SENDS_GARBAGE); }
static void an_answer_cut_off_is_no_answer(void **state) { survive(CUTS_OFF); }
static void an_answer_with_another_id_is_not_believed(void **state) { survive(FORGES_ID); }
static void an_answer_to_another_question_is_not_believed(void **state) { survive(CHANGES_QUESTION); }
static void addresses_where_nobody_can_stand_are_dropped(void **state) { survive(SENDS_NO_ADDRESSES); }

#define TOO_MANY 1000

static void *answer_too_much_by_tcp(void *argument)
{
    int listener = *(int *)argument, connection = accept(listener, NULL, NULL);
    static unsigned char question[512], answer[2 + 512 + TOO_MANY * 16];
    ssize_t got = recv(connection, question, 2, MSG_WAITALL);
    size_t length = got == 2 ? (size_t)question[0] << 8 | question[1] : 0;
    if (length > 0 && length < sizeof question && recv(connection, question, length, MSG_WAITALL) == (ssize_t)length) {
        length = write_answer(answer + 2, question, length, TOO_MANY, 10);
        answer[0] = (unsigned char)(length >> 8), answer[1] = (unsigned char)length;
        send(connection, answer, length + 2, MSG_NOSIGNAL);
        recv(connection, question, 1, 0); /* until the resolver closes */
    }
    close(connection);
    return NULL;
}

static void an_answer_without_end_is_bounded(void **state)
{
    meet_stranger(SENDS_TOO_MANY, 1000);
    assert_return_code(listen(stranger.tcp, 1), 0);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, answer_too_much_by_tcp, &stranger.tcp), 0);
    struct listener listener = { 0 };
    listen_to(&listener, "users.test");
    turn_until_told(&listener, 1);
    assert_int_equal(listener.count, 64);
    resolver_destroy(resolver);
    resolver = NULL;
    pthread_join(thread, NULL);
}

static void a_resolver_may_end_with_questions_under_way(void **state)
{
    meet_stranger(STAYS_SILENT, 1000);
    struct listener listener = { 0 };
    listen_to(&listener, "users.test");
    turn_for(50);
    assert_int_equal(stranger.questions, 1);
    assert_int_equal(listener.told, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_literal_address_is_its_own_answer, set_up, tear_down),
        cmocka_unit_test_setup_teardown(localhost_is_this_host_whatever_a_server_says, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_hosts_file_comes_before_any_server, set_up, tear_down),
        cmocka_unit_test_setup_teardown(both_families_are_told_in_order, set_up_dnsmasq, tear_down_dnsmasq),
        cmocka_unit_test_setup_teardown(a_change_is_told_once_its_ttl_has_ended, set_up_dnsmasq, tear_down_dnsmasq),
        cmocka_unit_test_setup_teardown(two_watches_share_their_look_ups, set_up_dnsmasq, tear_down_dnsmasq),
        cmocka_unit_test_setup_teardown(a_name_loses_its_addresses_after_three_denials, set_up_dnsmasq,
                                        tear_down_dnsmasq),
        cmocka_unit_test_setup_teardown(other_servers_are_asked_at_once_and_until_they_answer_nothing_is_lost,
                                        set_up_dnsmasq, tear_down_dnsmasq),
        cmocka_unit_test_setup_teardown(an_unknown_name_is_told_so_at_once, set_up_dnsmasq, tear_down_dnsmasq),
        cmocka_unit_test_setup_teardown(the_last_addresses_stay_while_the_server_is_away, set_up_dnsmasq,
                                        tear_down_dnsmasq),
        cmocka_unit_test_setup_teardown(a_listener_may_leave_while_it_is_told, set_up_dnsmasq, tear_down_dnsmasq),
        cmocka_unit_test_setup_teardown(who_has_left_is_told_nothing, set_up_dnsmasq, tear_down_dnsmasq),
        cmocka_unit_test_setup_teardown(a_lost_answer_is_asked_for_again, set_up, tear_down_stranger),
        cmocka_unit_test_setup_teardown(garbage_is_no_answer, set_up, tear_down_stranger),
        cmocka_unit_test_setup_teardown(an_answer_cut_off_is_no_answer, set_up, tear_down_stranger),
        cmocka_unit_test_setup_teardown(an_answer_with_another_id_is_not_believed, set_up, tear_down_stranger),
        cmocka_unit_test_setup_teardown(an_answer_to_another_question_is_not_believed, set_up, tear_down_stranger),
        cmocka_unit_test_setup_teardown(addresses_where_nobody_can_stand_are_dropped, set_up, tear_down_stranger),
        cmocka_unit_test_setup_teardown(an_answer_without_end_is_bounded, set_up, tear_down_stranger),
        cmocka_unit_test_setup_teardown(a_resolver_may_end_with_questions_under_way, set_up, tear_down_stranger),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
