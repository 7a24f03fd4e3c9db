/* admin/logins.c: a failed login is answered late: 100 ms, and twice as long with each further one from the same address, up to 2 s. At
 * most eight of an address wait at a time, and while they do nobody looks at another one's token, so guessing in parallel gains nothing:
 * it is never faster than four guesses a second. A guess counts until its answer would have come, whether or not its client stays for that:
 * a good token's answer comes at once, so who hears nothing knows enough.
 *
 * A table of fixed size, searched from end to end: it is asked only for requests that bring a token, and 512 comparisons take a
 * microsecond. The account that was used least lately makes room, one with nobody waiting first. IPv6 counts by /64, which is what one subscriber has. */
#include "admin/private.h"

#define ADDRESSES_MAX 512
#define FORGET_MS (10 * 60 * 1000u)

struct admin_login {
    uint8_t key[16];                                      /* v4-mapped, or the /64 */
    uint64_t last_ms, until_ms[ADMIN_LOGINS_WAITING_MAX]; /* until when each of the last ones waits */
    uint32_t failures;
    bool used;
};

struct admin_logins {
    struct admin_login accounts[ADDRESSES_MAX];
};

struct admin_logins *admin_logins_create(void) { return memory_allocate(sizeof(struct admin_logins)); }
void admin_logins_destroy(struct admin_logins *logins) { free(logins); }

static void make_key(const struct address *address, uint8_t key[16])
{
    static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
    memset(key, 0, 16);
    if (address->any.sa_family == AF_INET) {
        memcpy(key, mapped, sizeof mapped);
        memcpy(key + 12, &address->v4.sin_addr, 4);
    } else if (address->any.sa_family == AF_INET6) {
        bool is_mapped = memcmp(&address->v6.sin6_addr, mapped, sizeof mapped) == 0;
        memcpy(key, &address->v6.sin6_addr, is_mapped ? 16 : 8);
    }
}

static struct admin_login *find(struct admin_logins *logins, const struct address *address)
{
    uint8_t key[16];
    make_key(address, key);
    for (size_t i = 0; i < ADDRESSES_MAX; i++) {
        struct admin_login *account = &logins->accounts[i];
        if (account->used && memcmp(account->key, key, sizeof key) == 0) return account;
    }
    return NULL;
}

static unsigned count_waiting(const struct admin_login *account, uint64_t now_ms)
{
    unsigned waiting = 0;
    for (size_t i = 0; i < ADMIN_LOGINS_WAITING_MAX; i++) waiting += account->until_ms[i] > now_ms;
    return waiting;
}

/* Free places before used ones, idle accounts before those that somebody waits for, then the oldest. */
static bool is_better(const struct admin_login *account, const struct admin_login *than, uint64_t now_ms)
{
    if (account->used != than->used) return !account->used;
    bool waits = count_waiting(account, now_ms) > 0, other_waits = count_waiting(than, now_ms) > 0;
    return waits != other_waits ? other_waits : account->last_ms < than->last_ms;
}

static struct admin_login *take_place(struct admin_logins *logins, const struct address *address, uint64_t now_ms)
{
    struct admin_login *best = &logins->accounts[0];
    for (size_t i = 1; i < ADDRESSES_MAX && best->used; i++) {
        if (is_better(&logins->accounts[i], best, now_ms)) best = &logins->accounts[i];
    }
    *best = (struct admin_login){ .used = true };
    make_key(address, best->key);
    return best;
}

bool admin_logins_are_blocked(struct admin_logins *logins, const struct address *address, uint64_t now_ms)
{
    const struct admin_login *account = find(logins, address);
    return account && count_waiting(account, now_ms) == ADMIN_LOGINS_WAITING_MAX;
}

/* The place of the one whose time was over first. */
static uint64_t *oldest_wait(struct admin_login *account)
{
    uint64_t *oldest = account->until_ms;
    for (size_t i = 1; i < ADMIN_LOGINS_WAITING_MAX; i++) {
        if (account->until_ms[i] < *oldest) oldest = &account->until_ms[i];
    }
    return oldest;
}

uint64_t admin_login_failed(struct admin_logins *logins, const struct address *address, uint64_t now_ms)
{
    struct admin_login *account = find(logins, address);
    if (!account) account = take_place(logins, address, now_ms);
    if (now_ms - account->last_ms > FORGET_MS) account->failures = 0;
    uint64_t delay_ms = (uint64_t)ADMIN_LOGIN_DELAY_MS_MIN << (account->failures < 8 ? account->failures : 8);
    if (delay_ms > ADMIN_LOGIN_DELAY_MS_MAX) delay_ms = ADMIN_LOGIN_DELAY_MS_MAX;
    account->failures++;
    account->last_ms = now_ms;
    *oldest_wait(account) = now_ms + delay_ms;
    return delay_ms;
}

void admin_login_succeeded(struct admin_logins *logins, const struct address *address, uint64_t now_ms)
{
    struct admin_login *account = find(logins, address);
    if (account && count_waiting(account, now_ms) == 0) account->used = false;
}
