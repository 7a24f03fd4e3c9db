/* What the gateway and its master say to each other, and what they make of a stranger. */
#include "unit_test.h"

#include "gateway/supervision.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

static int pair[2];
static struct supervision_message message;

static int set_up(void **state) { return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair); }

static int tear_down(void **state)
{
    close(pair[0]);
    close(pair[1]);
    return 0;
}

static unsigned open_descriptors(void)
{
    unsigned count = 0;
    DIR *folder = opendir("/proc/self/fd");
    while (readdir(folder)) count++;
    closedir(folder);
    return count;
}

static void say(enum supervision_kind kind, uint64_t number, const char *text, const int *descriptors, uint32_t count)
{
    struct error error;
    if (!supervision_send(pair[0], kind, number, text, descriptors, count, &error)) fail_msg("%s", error.text);
}

/* A datagram of any bytes, with copies of descriptor 0. */
static void send_raw(const void *bytes, size_t length, size_t descriptors)
{
    char control[CMSG_SPACE(sizeof(int) * 253)] = { 0 };
    struct iovec piece = { (void *)(uintptr_t)bytes, length };
    struct msghdr raw = { .msg_iov = &piece, .msg_iovlen = 1 };
    if (descriptors > 0) {
        raw.msg_control = control;
        raw.msg_controllen = CMSG_SPACE(sizeof(int) * descriptors);
        struct cmsghdr *rights = CMSG_FIRSTHDR(&raw);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(sizeof(int) * descriptors); /* all zero: standard input */
    }
    assert_int_equal(sendmsg(pair[0], &raw, 0), length);
}

static void messages_arrive_as_they_were_sent(void **state)
{
    assert_int_equal(supervision_receive(pair[1], &message), SUPERVISION_NOTHING);
    say(SUPERVISION_LISTEN, 4, "127.0.0.1:80", NULL, 0);
    say(SUPERVISION_BEAT, 0, NULL, NULL, 0);
    assert_int_equal(supervision_receive(pair[1], &message), SUPERVISION_GOT);
    assert_int_equal(message.kind, SUPERVISION_LISTEN);
    assert_int_equal(message.number, 4);
    assert_int_equal(message.text_length, 12);
    assert_string_equal(message.text, "127.0.0.1:80");
    assert_int_equal(message.descriptor_count, 0);
    assert_int_equal(supervision_receive(pair[1], &message), SUPERVISION_GOT);
    assert_int_equal(message.kind, SUPERVISION_BEAT);
    assert_string_equal(message.text, "");
    assert_int_equal(supervision_receive(pair[1], &message), SUPERVISION_NOTHING);
}

static void sockets_ride_along_and_are_closed_on_exec(void **state)
{
    unsigned before = open_descriptors();
    int sent[SUPERVISION_DESCRIPTORS_MAX];
    for (size_t i = 0; i < COUNT_OF(sent); i++) sent[i] = pair[i % 2];
    say(SUPERVISION_LISTENING, 0, "127.0.0.1:80", sent, SUPERVISION_DESCRIPTORS_MAX);
    assert_int_equal(supervision_receive(pair[1], &message), SUPERVISION_GOT);
    assert_int_equal(message.descriptor_count, SUPERVISION_DESCRIPTORS_MAX);
    assert_true(fcntl(message.descriptors[127], F_GETFD) & FD_CLOEXEC);
    assert_int_equal(open_descriptors(), before + SUPERVISION_DESCRIPTORS_MAX);
    supervision_close_descriptors(&message);
    assert_int_equal(open_descriptors(), before);
    struct error error;
    assert_false(
        supervision_send(pair[0], SUPERVISION_LISTENING, 0, NULL, sent, SUPERVISION_DESCRIPTORS_MAX + 1, &error));
}

static void a_text_too_long_is_cut(void **state)
{
    static char text[SUPERVISION_TEXT_MAX + 100];
    memset(text, 'x', sizeof text - 1);
    say(SUPERVISION_ANSWER, 1, text, NULL, 0);
    assert_int_equal(supervision_receive(pair[1], &message), SUPERVISION_GOT);
    assert_int_equal(message.text_length, SUPERVISION_TEXT_MAX);
    assert_int_equal(strlen(message.text), SUPERVISION_TEXT_MAX);
}

static void the_end_of_the_other_side_is_told(void **state)
{
    say(SUPERVISION_BEAT, 0, NULL, NULL, 0);
    close(pair[0]);
    assert_int_equal(supervision_receive(pair[1], &message), SUPERVISION_GOT);
    assert_int_equal(supervision_receive(pair[1], &message), SUPERVISION_GONE);
    struct error error;
    assert_false(supervision_send(pair[1], SUPERVISION_BEAT, 0, NULL, NULL, 0, &error));
    pair[0] = -1;
}

static void a_side_that_does_not_read_blocks_nobody(void **state)
{
    struct error error;
    int sent = 0;
    while (sent < 100000 && supervision_send(pair[0], SUPERVISION_BEAT, 0, NULL, NULL, 0, &error)) sent++;
    assert_true(sent > 50 && sent < 100000);
    assert_non_null(strstr(error.text, "supervision link"));
}

struct wire_head {
    uint32_t kind, text_length;
    uint64_t number;
};

/* Whatever a stranger sends is the end of the talk, and what rode along is closed. */
static void what_is_no_message_ends_the_talk_and_leaks_nothing(void **state)
{
    struct {
        struct wire_head head;
        char text[SUPERVISION_TEXT_MAX + 500];
    } wire = { .head = { .kind = SUPERVISION_LISTEN } };
    const struct {
        size_t bytes;
        uint32_t text_length;
        size_t descriptors;
    } rows[] = {
        { 1, 0, 0 },                                                              /* short */
        { sizeof wire.head - 1, 0, 3 },                                           /* one byte short */
        { sizeof wire.head, 5, 2 },                                               /* less text than said */
        { sizeof wire.head + 9, 5, 2 },                                           /* more text than said */
        { sizeof wire.head + 5, UINT32_MAX, 1 },                                  /* a wild length */
        { sizeof wire.head + SUPERVISION_TEXT_MAX + 1, SUPERVISION_TEXT_MAX, 1 }, /* cut off by the kernel */
        { sizeof wire.head + SUPERVISION_TEXT_MAX + 400, SUPERVISION_TEXT_MAX + 400, 0 },
        { sizeof wire.head, 0, SUPERVISION_DESCRIPTORS_MAX + 1 }, /* more sockets than there is room for */
        { sizeof wire.head + 3, 3, 253 },
        { 0, 0, 1 }, /* nothing but a socket */
    };
    unsigned before = open_descriptors();
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        wire.head.text_length = rows[i].text_length;
        send_raw(&wire, rows[i].bytes, rows[i].descriptors);
        assert_int_equal(supervision_receive(pair[1], &message), SUPERVISION_GONE);
        assert_int_equal(message.descriptor_count, 0);
        assert_int_equal(open_descriptors(), before);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        TEST(messages_arrive_as_they_were_sent),
        TEST(sockets_ride_along_and_are_closed_on_exec),
        TEST(a_text_too_long_is_cut),
        TEST(the_end_of_the_other_side_is_told),
        TEST(a_side_that_does_not_read_blocks_nobody),
        TEST(what_is_no_message_ends_the_talk_and_leaks_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
