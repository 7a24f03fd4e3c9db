/* A certificate's end is said each day, from a month before on; the watch is told by facts alone. */
#include "unit_test.h"

#include "base/memory.h"
#include "gateway/certificate_watch.h"
#include "keys/certificates.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define DAY_SECONDS (24 * 60 * 60)
#define DAY_MS (DAY_SECONDS * 1000ull)

static struct loop loop;
static struct certificate_watch watch;
static int log_file, real_stderr;

static int set_up(void **state)
{
    if (!loop_init(&loop, NULL)) return -1;
    certificate_watch_init(&watch, &loop);
    log_file = memfd_create("log", MFD_CLOEXEC);
    real_stderr = dup(STDERR_FILENO);
    return log_file >= 0 && dup2(log_file, STDERR_FILENO) >= 0 ? 0 : -1;
}

static int tear_down(void **state)
{
    dup2(real_stderr, STDERR_FILENO);
    close(real_stderr);
    close(log_file);
    certificate_watch_release(&watch);
    loop_release(&loop);
    return 0;
}

static void add_fact(struct vector *facts, const char *name, long days)
{
    struct certificate_fact *fact = vector_push(facts);
    fact->listener = memory_copy_slice(SLICE("127.0.0.1:443"));
    fact->name = memory_copy_slice(slice_from_cstring(name));
    fact->not_after = time(NULL) + days * DAY_SECONDS + 60;
}

/* What was logged since the last call. */
static const char *said(void)
{
    static char text[4096];
    ssize_t length = pread(log_file, text, sizeof text - 1, 0);
    text[length > 0 ? length : 0] = '\0';
    assert_int_equal(ftruncate(log_file, 0), 0);
    lseek(log_file, 0, SEEK_SET);
    return text;
}

static void pass_time(uint64_t milliseconds)
{
    loop.now_ms += milliseconds;
    timer_wheel_advance(&loop.timers, loop.now_ms);
}

static void what_ends_soon_is_said_once_a_day(void **state)
{
    struct vector facts;
    vector_init(&facts, sizeof(struct certificate_fact));
    add_fact(&facts, "far.test", 31);
    add_fact(&facts, "soon.test", 29);
    add_fact(&facts, "gone.test", -2);
    certificate_watch_take(&watch, &facts);
    assert_int_equal(facts.count, 0);
    pass_time(DAY_MS - 1000);
    assert_string_equal(said(), "");
    for (int day = 0; day < 2; day++) {
        pass_time(day == 0 ? 1001 : DAY_MS);
        const char *words = said();
        assert_non_null(strstr(words, "listener 127.0.0.1:443: the certificate of \"soon.test\" expires in 29 days\n"));
        assert_non_null(strstr(words, "the certificate of \"gone.test\" has expired\n"));
        assert_null(strstr(words, "far.test"));
    }
}

static void after_a_renewal_nothing_is_said(void **state)
{
    struct vector facts;
    vector_init(&facts, sizeof(struct certificate_fact));
    add_fact(&facts, "a.test", 3);
    certificate_watch_take(&watch, &facts);
    add_fact(&facts, "a.test", 90);
    certificate_watch_take(&watch, &facts);
    pass_time(DAY_MS + 1);
    assert_string_equal(said(), "");
}

static void days_are_whole_and_rounded_down(void **state)
{
    assert_int_equal(certificate_days_left(1000 + DAY_SECONDS, 1000), 1);
    assert_int_equal(certificate_days_left(999 + DAY_SECONDS, 1000), 0);
    assert_int_equal(certificate_days_left(1000, 1000), 0);
    assert_int_equal(certificate_days_left(999, 1000), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_ends_soon_is_said_once_a_day, set_up, tear_down),
        cmocka_unit_test_setup_teardown(after_a_renewal_nothing_is_said, set_up, tear_down),
        cmocka_unit_test(days_are_whole_and_rounded_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
