/* API keys as a document: what is known of a key beside its text, which nobody keeps. */
#include "base/clock.h"
#include "config/private.h"

#include <time.h>

#define HASH_PREFIX "sha256:"

bool check_hash(struct schema_reading *reading, const struct node *node, const void *value)
{
    const struct slice *text = value;
    bool ok = slice_starts_with(*text, SLICE(HASH_PREFIX)) && text->length == sizeof HASH_PREFIX - 1 + 64;
    for (size_t i = sizeof HASH_PREFIX - 1; ok && i < text->length; i++) {
        char byte = text->at[i];
        ok = (byte >= '0' && byte <= '9') || (byte >= 'a' && byte <= 'f');
    }
    if (!ok)
        problems_add(reading->problems, node, NULL, "\"%.*s\" must be sha256: and 64 hex digits in lower case",
                     SLICE_PRINT(node->key));
    return ok;
}

static bool check_prefix(struct schema_reading *reading, const struct node *node, const void *value)
{
    const struct slice *text = value;
    bool ok = text->length > 0 && text->length <= 8;
    for (size_t i = 0; ok && i < text->length; i++) ok = text->at[i] > 0x20 && text->at[i] < 0x7F;
    if (!ok) problems_add(reading->problems, node, NULL, "\"keyPrefix\" must be the first 8 characters of a key");
    return ok;
}

/* --- times, RFC 3339 --- */

/* Of either case. */
static bool take_letter(struct slice *rest, char upper)
{
    return slice_take_byte(rest, upper) || slice_take_byte(rest, (char)(upper | 0x20));
}

/* Digits beyond a microsecond are cut. */
static bool take_fraction(struct slice *rest, uint64_t *us)
{
    size_t count = 0;
    *us = 0;
    if (!slice_take_byte(rest, '.')) return true;
    for (uint64_t place = 100000; count < rest->length && rest->at[count] >= '0' && rest->at[count] <= '9'; place /= 10)
        *us += place * (uint64_t)(rest->at[count++] - '0');
    *rest = slice_after(*rest, count);
    return count > 0;
}

static bool take_offset(struct slice *rest, int *minutes)
{
    int hour, minute;
    *minutes = 0;
    if (take_letter(rest, 'Z')) return true;
    bool minus = slice_take_byte(rest, '-');
    if (!minus && !slice_take_byte(rest, '+')) return false;
    if (!slice_take_digits(rest, 2, &hour) || !slice_take_byte(rest, ':') || !slice_take_digits(rest, 2, &minute))
        return false;
    *minutes = (hour * 60 + minute) * (minus ? -1 : 1);
    return hour <= 23 && minute <= 59;
}

static bool is_date(int year, int month, int day)
{
    return month >= 1 && month <= 12 && day >= 1 && day <= calendar_days_of_month(year, month);
}

/* Before 1970 there is no time. A leap second is the next minute's first. */
static bool parse_time(struct slice text, uint64_t *us)
{
    struct tm time = { 0 };
    int year, month, offset;
    uint64_t fraction;
    bool ok = slice_take_digits(&text, 4, &year) && slice_take_byte(&text, '-') &&
              slice_take_digits(&text, 2, &month) && slice_take_byte(&text, '-') &&
              slice_take_digits(&text, 2, &time.tm_mday) && (slice_take_byte(&text, ' ') || take_letter(&text, 'T')) &&
              slice_take_digits(&text, 2, &time.tm_hour) && slice_take_byte(&text, ':') &&
              slice_take_digits(&text, 2, &time.tm_min) && slice_take_byte(&text, ':') &&
              slice_take_digits(&text, 2, &time.tm_sec) && take_fraction(&text, &fraction) &&
              take_offset(&text, &offset) && text.length == 0;
    if (!ok || !is_date(year, month, time.tm_mday) || time.tm_hour > 23 || time.tm_min > 59 || time.tm_sec > 60)
        return false;
    time.tm_year = year - 1900;
    time.tm_mon = month - 1;
    int64_t seconds = (int64_t)timegm(&time) - offset * 60;
    if (seconds <= 0) return false;
    *us = (uint64_t)seconds * 1000000 + fraction;
    return true;
}

bool read_time(struct schema_reading *reading, const struct node *node, void *into)
{
    const char *name = node->key.at ? node->key.at : "expiresAt";
    struct slice text;
    if (!schema_read_text(reading, name, node, &text)) return false;
    return parse_time(text, into) ||
           schema_refuse(reading, &(struct field){ .name = name }, node, NULL, "a time like 2030-01-31T12:00:00Z");
}

struct node *write_time(struct arena *arena, const void *from)
{
    uint64_t us = *(const uint64_t *)from;
    if (us == 0) return NULL;
    time_t seconds = (time_t)(us / 1000000);
    struct tm time;
    char text[48];
    PROMISE(gmtime_r(&seconds, &time) != NULL);
    size_t length = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &time);
    if (us % 1000000) {
        length += (size_t)snprintf(text + length, sizeof text - length, ".%06u", (unsigned)(us % 1000000));
        while (text[length - 1] == '0') length--;
    }
    text[length++] = 'Z';
    return node_make_text(arena, arena_keep(arena, slice_of(text, length)));
}

/* --- the table --- */

static const char *const tier_names[] = { "free", "standard", "premium", NULL };

const struct field api_key_fields[] = {
    { .name = "clientName",
      .type = FIELD_STRING,
      .into = offsetof(struct api_key_config, client_name),
      .check = check_name,
      .summary = "Whose key it is, for people; several keys may have one name. Absent: the key's id." },
    { .name = "id",
      .type = FIELD_STRING,
      .into = offsetof(struct api_key_config, id),
      .check = check_id,
      .summary = "A UUID. Absent: one is made." },
    { .name = "clientId",
      .type = FIELD_STRING,
      .into = offsetof(struct api_key_config, client_id),
      .check = check_name,
      .summary = "The client that a request with this key is; keys may share it. Absent: one is made." },
    { .name = "hash",
      .type = FIELD_STRING,
      .into = offsetof(struct api_key_config, hash_text),
      .check = check_hash,
      .secret = true,
      .summary =
          "`sha256:` and the SHA-256 of a key that exists already, in hex. Absent: a key is made, and shown once." },
    { .name = "keyPrefix",
      .type = FIELD_STRING,
      .into = offsetof(struct api_key_config, key_prefix),
      .check = check_prefix,
      .summary = "The first 8 characters of the key, to know it by; goes with `hash`." },
    { .name = "scopes",
      .type = FIELD_STRING_LIST,
      .into = offsetof(struct api_key_config, scopes),
      .one_or_many = true,
      .maximum = 1000,
      .check = check_scope,
      .summary = "What it may be used for." },
    { .name = "rateLimitTier",
      .type = FIELD_ENUM,
      .into = offsetof(struct api_key_config, rate_limit_tier),
      .names = tier_names,
      .fallback = "standard",
      .summary = "Which of a rate limit's `tierLimits` holds." },
    { .name = "expiresAt",
      .type = FIELD_CUSTOM,
      .into = offsetof(struct api_key_config, expires_at_us),
      .read = read_time,
      .write = write_time,
      .type_text = "time (RFC 3339)",
      .summary = "From then on it is refused. Absent: never." },
    { .name = "enabled",
      .type = FIELD_BOOLEAN,
      .into = offsetof(struct api_key_config, enabled),
      .fallback = "true",
      .summary = "Whether it is accepted." },
    TAGS(struct api_key_config),
    CREATED_AT,
    UPDATED_AT,
    IGNORED("lastUsedAt", "When it was used last."),
    IGNORED("replacesUntil", "It was rotated, and is accepted until then."),
    FIELDS_END,
};
