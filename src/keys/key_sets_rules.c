/* keys/key_sets_rules.c: how long a key set is fresh (RFC 9111 4.2, 5.2.2), and when an issuer is asked again. Pure. */
#include "base/clock.h"
#include "keys/key_sets_private.h"

#define SECONDS_MAX (UINT64_C(1) << 31) /* RFC 9111 1.2.2 */
#define RETRY_MS_MIN 1000
#define RETRY_MS_MAX 60000

/* "max-age=300", 'max-age="300"'; a number too large for us is as large as they come. */
static bool read_seconds(struct slice text, uint64_t *seconds)
{
    if (text.length >= 2 && text.at[0] == '"' && text.at[text.length - 1] == '"')
        text = slice_of(text.at + 1, text.length - 2);
    for (size_t i = 0; i < text.length; i++) {
        if (text.at[i] < '0' || text.at[i] > '9') return false;
    }
    if (text.length == 0) return false;
    if (!slice_parse_uint64(text, seconds) || *seconds > SECONDS_MAX) *seconds = SECONDS_MAX;
    return true;
}

static uint64_t within_bounds(uint64_t ms)
{
    if (ms < KEY_SET_LIFETIME_MS_MIN) return KEY_SET_LIFETIME_MS_MIN;
    return ms > KEY_SET_LIFETIME_MS_MAX ? KEY_SET_LIFETIME_MS_MAX : ms;
}

enum told { TOLD_NOTHING, TOLD_LIFETIME, TOLD_NONE };

/* s-maxage is for caches that are shared, and this is none. The first max-age counts; of one that is no number it is as if it was over (4.2.1). */
static enum told read_cache_control(struct slice cache_control, uint64_t *lifetime_s)
{
    static const struct slice max_age = { "max-age=", 8 };
    enum told told = TOLD_NOTHING;
    struct slice directive;
    while (slice_next(&cache_control, ',', &directive)) {
        if (slice_equal_ignore_case(directive, SLICE("no-store")) ||
            slice_equal_ignore_case(directive, SLICE("no-cache")))
            return TOLD_NONE;
        if (told == TOLD_NOTHING && slice_equal_ignore_case(slice_before(directive, max_age.length), max_age))
            told = read_seconds(slice_after(directive, max_age.length), lifetime_s) ? TOLD_LIFETIME : TOLD_NONE;
    }
    return told;
}

/* By when the issuer says it was made: its own clock, so that a difference from ours doesn't count. What is no date, as "0", is over (RFC 9111 5.3). */
static uint64_t lifetime_by_expires(const struct key_set_freshness *answer, uint64_t made_s)
{
    uint64_t ends_s;
    if (!clock_read_http_date(slice_trim(answer->expires), answer->came_s, &ends_s)) return 0;
    return ends_s > made_s ? ends_s - made_s : 0;
}

/* How old it is already (4.2.3): as its Date says or, where caches in between have had it longer, their Age and what the fetch took. */
static uint64_t age_of(const struct key_set_freshness *answer, uint64_t made_s)
{
    uint64_t told_s = 0, by_date_s = answer->came_s > made_s ? answer->came_s - made_s : 0;
    if (slice_is_absent(answer->age) || !read_seconds(slice_trim(answer->age), &told_s)) told_s = 0;
    if (answer->came_s > answer->asked_s) told_s += answer->came_s - answer->asked_s;
    return told_s > by_date_s ? told_s : by_date_s;
}

/* As its Date says; without one that can be read, when it came. */
static uint64_t made_at(const struct key_set_freshness *answer)
{
    uint64_t made_s;
    bool is_told = !slice_is_absent(answer->date) &&
                   clock_read_http_date(slice_trim(answer->date), answer->came_s, &made_s);
    return is_told ? made_s : answer->came_s;
}

uint64_t key_set_age_ms(const struct key_set_freshness *answer) { return age_of(answer, made_at(answer)) * 1000; }

uint64_t key_set_lifetime_ms(const struct key_set_freshness *answer)
{
    uint64_t lifetime_s = 0, made_s = made_at(answer);
    switch (read_cache_control(answer->cache_control, &lifetime_s)) {
    case TOLD_LIFETIME: break;
    case TOLD_NONE: return KEY_SET_LIFETIME_MS_MIN;
    case TOLD_NOTHING:
        if (slice_is_absent(answer->expires)) return KEY_SET_LIFETIME_MS_DEFAULT;
        lifetime_s = lifetime_by_expires(answer, made_s);
        break;
    }
    uint64_t age_s = age_of(answer, made_s);
    if (lifetime_s <= age_s) return KEY_SET_LIFETIME_MS_MIN;
    return lifetime_s - age_s > KEY_SET_LIFETIME_MS_MAX / 1000 ? KEY_SET_LIFETIME_MS_MAX
                                                               : within_bounds((lifetime_s - age_s) * 1000);
}

uint64_t key_set_refresh_after_ms(uint64_t lifetime_ms, struct random *random)
{
    return lifetime_ms * 3 / 4 + random_below(random, lifetime_ms * 3 / 20 + 1);
}

uint64_t key_set_retry_after_ms(unsigned failures, struct random *random)
{
    uint64_t pause_ms = RETRY_MS_MIN;
    for (unsigned i = 1; i < failures && pause_ms < RETRY_MS_MAX; i++) pause_ms *= 2;
    if (pause_ms > RETRY_MS_MAX) pause_ms = RETRY_MS_MAX;
    return pause_ms * 3 / 4 + random_below(random, pause_ms / 4 + 1);
}
