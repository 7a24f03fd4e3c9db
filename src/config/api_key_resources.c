/* API keys as a document: what is known of a key beside its text, which nobody keeps. */
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

/* Exactly `count` digits at *at, which moves behind them. */
static bool take_digits(const char **at, int count, int *value)
{
    for (*value = 0; count > 0; count--, ++*at) {
        if (**at < '0' || **at > '9') return false;
        *value = *value * 10 + (**at - '0');
    }
    return true;
}

static bool take_byte(const char **at, char upper)
{
    if (**at != upper && **at != (upper | 0x20)) return false;
    ++*at;
    return true;
}

/* Digits beyond a microsecond are cut. */
static bool take_fraction(const char **at, uint64_t *us)
{
    *us = 0;
    if (**at != '.') return true;
    const char *first = ++*at;
    for (uint64_t place = 100000; **at >= '0' && **at <= '9'; ++*at, place /= 10) *us += place * (uint64_t)(**at - '0');
    return *at > first;
}

static bool take_offset(const char **at, int *minutes)
{
    int hour, minute;
    *minutes = 0;
    if (take_byte(at, 'Z')) return true;
    bool minus = **at == '-';
    if (!minus && **at != '+') return false;
    ++*at;
    if (!take_digits(at, 2, &hour) || !take_byte(at, ':') || !take_digits(at, 2, &minute)) return false;
    *minutes = (hour * 60 + minute) * (minus ? -1 : 1);
    return hour <= 23 && minute <= 59;
}

static bool is_date(int year, int month, int day)
{
    static const int days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    if (month < 1 || month > 12 || day < 1) return false;
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return day <= days[month - 1] + (month == 2 && leap);
}

/* The text is NUL-terminated. Before 1970 there is no time. A leap second is the next minute's first. */
static bool parse_time(struct slice text, uint64_t *us)
{
    const char *at = text.at;
    struct tm time = { 0 };
    int year, month, offset;
    uint64_t fraction;
    bool ok = take_digits(&at, 4, &year) && *at++ == '-' && take_digits(&at, 2, &month) && *at++ == '-' &&
              take_digits(&at, 2, &time.tm_mday) && (*at == ' ' ? at++ != NULL : take_byte(&at, 'T')) &&
              take_digits(&at, 2, &time.tm_hour) && *at++ == ':' && take_digits(&at, 2, &time.tm_min) && *at++ == ':' &&
              take_digits(&at, 2, &time.tm_sec) && take_fraction(&at, &fraction) && take_offset(&at, &offset) &&
              at == text.at + text.length;
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
