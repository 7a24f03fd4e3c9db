/* keys/key_sets_rules.c: how long a key set is fresh (RFC 9111 4.2, 5.2.2), and when an issuer is asked again. Pure. */
#include "keys/key_sets_private.h"

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
    if (!slice_parse_uint64(text, seconds) || *seconds > KEY_SET_LIFETIME_MS_MAX / 1000)
        *seconds = KEY_SET_LIFETIME_MS_MAX / 1000;
    return true;
}

static uint64_t within_bounds(uint64_t ms)
{
    if (ms < KEY_SET_LIFETIME_MS_MIN) return KEY_SET_LIFETIME_MS_MIN;
    return ms > KEY_SET_LIFETIME_MS_MAX ? KEY_SET_LIFETIME_MS_MAX : ms;
}

uint64_t key_set_lifetime_ms(struct slice cache_control, struct slice age)
{
    static const struct slice max_age = { "max-age=", 8 };
    uint64_t lifetime_s = 0, age_s = 0;
    bool is_told = false;
    struct slice directive;
    while (slice_next(&cache_control, ',', &directive)) {
        if (slice_equal_ignore_case(directive, SLICE("no-store")) ||
            slice_equal_ignore_case(directive, SLICE("no-cache")))
            return KEY_SET_LIFETIME_MS_MIN;
        if (!is_told && slice_equal_ignore_case(slice_before(directive, max_age.length), max_age))
            is_told = read_seconds(slice_after(directive, max_age.length), &lifetime_s);
    }
    if (!is_told) return KEY_SET_LIFETIME_MS_DEFAULT;
    if (slice_is_absent(age) || !read_seconds(slice_trim(age), &age_s)) age_s = 0;
    return within_bounds(lifetime_s > age_s ? (lifetime_s - age_s) * 1000 : 0);
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
