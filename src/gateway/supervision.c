/* gateway/supervision.c: see supervision.h. */
#include "gateway/supervision.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

struct head {
    uint32_t kind;
    uint32_t text_length;
    uint64_t number;
};

bool supervision_send(int link, enum supervision_kind kind, uint64_t number, const char *text, const int *descriptors,
                      uint32_t descriptor_count, struct error *error)
{
    size_t length = text ? strlen(text) : 0;
    if (length > SUPERVISION_TEXT_MAX) length = SUPERVISION_TEXT_MAX; /* words for people may be cut */
    struct head head = { .kind = kind, .text_length = (uint32_t)length, .number = number };
    struct iovec pieces[2] = { { &head, sizeof head }, { (void *)(uintptr_t)text, length } };
    struct msghdr message = { .msg_iov = pieces, .msg_iovlen = length ? 2 : 1 };
    union {
        struct cmsghdr head;
        char bytes[CMSG_SPACE(sizeof(int) * SUPERVISION_DESCRIPTORS_MAX)];
    } control;
    if (descriptor_count > SUPERVISION_DESCRIPTORS_MAX) return error_format(error, "too many sockets in one message");
    if (descriptor_count > 0) {
        memset(&control, 0, sizeof control);
        message.msg_control = control.bytes;
        message.msg_controllen = CMSG_SPACE(sizeof(int) * descriptor_count);
        struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(sizeof(int) * descriptor_count);
        memcpy(CMSG_DATA(rights), descriptors, sizeof(int) * descriptor_count);
    }
    ssize_t sent;
    do {
        sent = sendmsg(link, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (sent < 0 && errno == EINTR);
    if (sent >= 0) return true;
    return error_format(error, "cannot write to the supervision link: %m");
}

static void take_descriptors(struct msghdr *raw, struct supervision_message *message)
{
    for (struct cmsghdr *part = CMSG_FIRSTHDR(raw); part; part = CMSG_NXTHDR(raw, part)) {
        if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
        size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        memcpy(message->descriptors, CMSG_DATA(part), count * sizeof(int));
        message->descriptor_count = (uint32_t)count;
    }
}

void supervision_close_descriptors(struct supervision_message *message)
{
    for (uint32_t i = 0; i < message->descriptor_count; i++) close(message->descriptors[i]);
    message->descriptor_count = 0;
}

enum supervision_result supervision_receive(int link, struct supervision_message *message)
{
    struct head head;
    struct iovec pieces[2] = { { &head, sizeof head }, { message->text, SUPERVISION_TEXT_MAX } };
    union {
        struct cmsghdr head;
        char bytes[CMSG_SPACE(sizeof(int) * SUPERVISION_DESCRIPTORS_MAX)];
    } control;
    struct msghdr raw = {
        .msg_iov = pieces, .msg_iovlen = 2, .msg_control = control.bytes, .msg_controllen = sizeof control
    };
    ssize_t got;
    do {
        got = recvmsg(link, &raw, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    } while (got < 0 && errno == EINTR);
    message->descriptor_count = 0;
    if (got < 0) return errno == EAGAIN ? SUPERVISION_NOTHING : SUPERVISION_GONE;
    take_descriptors(&raw, message); /* also of a message that is no good, so that they don't stay open */
    bool whole = (size_t)got >= sizeof head && !(raw.msg_flags & (MSG_TRUNC | MSG_CTRUNC));
    if (!whole || head.text_length != (size_t)got - sizeof head) {
        supervision_close_descriptors(message);
        return SUPERVISION_GONE; /* not our protocol */
    }
    message->kind = head.kind;
    message->number = head.number;
    message->text_length = head.text_length;
    message->text[head.text_length] = '\0';
    return SUPERVISION_GOT;
}
