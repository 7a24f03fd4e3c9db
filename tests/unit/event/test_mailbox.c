#include "unit_test.h"

#include "event/mailbox.h"

#include <pthread.h>
#include <stdlib.h>

#define SENDERS 4
#define LETTERS 100000 /* from each */

struct letter {
    struct message message;
    int sender, number;
};

struct receiver {
    struct loop *loop;
    int next_number[SENDERS];
    int received;
    int expected;
};

struct sender {
    struct mailbox *mailbox;
    struct letter *letters;
    int number;
};

static void deliver(struct message *message, void *argument)
{
    struct receiver *receiver = argument;
    struct letter *letter = CONTAINER_OF(message, struct letter, message);
    assert_int_equal(letter->number, receiver->next_number[letter->sender]++);
    memset(&letter->message, 0xee, sizeof letter->message); /* it is the receiver's now */
    if (++receiver->received == receiver->expected) loop_stop(receiver->loop);
}

static void *send_all(void *argument)
{
    struct sender *sender = argument;
    for (int i = 0; i < LETTERS; i++) {
        struct letter *letter = &sender->letters[i];
        *letter = (struct letter){ .message.deliver = deliver, .sender = sender->number, .number = i };
        mailbox_post(sender->mailbox, &letter->message);
    }
    return NULL;
}

static void messages_of_four_threads_all_arrive_in_each_ones_order(void **state)
{
    struct loop loop;
    struct mailbox mailbox;
    struct receiver receiver = { .loop = &loop, .expected = SENDERS * LETTERS };
    struct sender senders[SENDERS];
    pthread_t threads[SENDERS];
    assert_true(loop_init(&loop, NULL));
    assert_true(mailbox_init(&mailbox, &loop, &receiver, NULL));
    for (int i = 0; i < SENDERS; i++) {
        senders[i] = (struct sender){ &mailbox, calloc(LETTERS, sizeof(struct letter)), i };
        assert_non_null(senders[i].letters);
        assert_int_equal(pthread_create(&threads[i], NULL, send_all, &senders[i]), 0);
    }
    loop_run(&loop);
    for (int i = 0; i < SENDERS; i++) {
        pthread_join(threads[i], NULL);
        free(senders[i].letters);
    }
    assert_int_equal(receiver.received, receiver.expected);
    mailbox_release(&mailbox);
    loop_release(&loop);
}

/* Post, let the reader fall asleep, post again: a lost wake-up would show as a turn that waits its full time. */
static void a_reader_that_sleeps_is_woken_each_time(void **state)
{
    struct loop loop;
    struct mailbox mailbox;
    struct receiver receiver = { .loop = &loop, .expected = -1 };
    struct letter letter = { .message.deliver = deliver };
    assert_true(loop_init(&loop, NULL));
    assert_true(mailbox_init(&mailbox, &loop, &receiver, NULL));
    for (int i = 0; i < 1000; i++) {
        letter = (struct letter){ .message.deliver = deliver, .number = i };
        mailbox_post(&mailbox, &letter.message);
        loop_turn(&loop, 10000);
        assert_int_equal(receiver.received, i + 1);
    }
    mailbox_release(&mailbox);
    loop_release(&loop);
}

static struct mailbox *own_mailbox;
static struct letter answer;

static void deliver_and_answer(struct message *message, void *argument)
{
    deliver(message, argument);
    answer = (struct letter){ .message.deliver = deliver, .number = 1 };
    mailbox_post(own_mailbox, &answer.message);
}

static void what_a_delivery_posts_comes_with_the_next_turn(void **state)
{
    struct loop loop;
    struct mailbox mailbox;
    struct receiver receiver = { .loop = &loop, .expected = -1 };
    struct letter question = { .message.deliver = deliver_and_answer };
    assert_true(loop_init(&loop, NULL));
    assert_true(mailbox_init(&mailbox, &loop, &receiver, NULL));
    own_mailbox = &mailbox;
    mailbox_post(&mailbox, &question.message);
    loop_turn(&loop, 0);
    assert_int_equal(receiver.received, 1);
    loop_turn(&loop, 0);
    assert_int_equal(receiver.received, 2);
    mailbox_release(&mailbox);
    loop_release(&loop);
}

static void a_released_mailbox_delivers_what_is_still_inside(void **state)
{
    struct loop loop;
    struct mailbox mailbox;
    struct receiver receiver = { .loop = &loop, .expected = -1 };
    struct letter letter = { .message.deliver = deliver_and_answer };
    assert_true(loop_init(&loop, NULL));
    assert_true(mailbox_init(&mailbox, &loop, &receiver, NULL));
    own_mailbox = &mailbox;
    mailbox_post(&mailbox, &letter.message);
    mailbox_release(&mailbox);
    assert_int_equal(receiver.received, 2);
    loop_release(&loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_reader_that_sleeps_is_woken_each_time),
        cmocka_unit_test(what_a_delivery_posts_comes_with_the_next_turn),
        cmocka_unit_test(a_released_mailbox_delivers_what_is_still_inside),
        cmocka_unit_test(messages_of_four_threads_all_arrive_in_each_ones_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
