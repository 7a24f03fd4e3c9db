/* keys/jwt_claims.c: what a verified token claims, held against what is asked of it (RFC 7519 4.1), and whom it speaks for. See jwt.h. */
#include "keys/jwt_private.h"

#include "http/headers.h"

#include <math.h>

#define TIME_MAX (INT64_C(1) << 53) /* seconds; beyond what any leeway could make overflow */

/* --- times --- */

/* A NumericDate (RFC 7519 2), which may have a fraction: `round` says which way that goes. False: there, and no number. */
static bool read_time(const struct json_value *value, double (*round)(double), int64_t *seconds)
{
    if (!json_is_number(value)) return false;
    double number = round(json_number(value));
    if (number > (double)TIME_MAX) number = (double)TIME_MAX;
    if (number < (double)-TIME_MAX) number = (double)-TIME_MAX;
    *seconds = (int64_t)number;
    return true;
}

static bool check_expiry(const struct json_value *claims, int64_t now_s, int64_t leeway_s, struct error *error)
{
    const struct json_value *value = json_find(claims, SLICE("exp"));
    int64_t expires_s;
    if (!value) return true;
    if (!read_time(value, floor, &expires_s)) return jwt_refuse(error, "token-malformed", "the token's exp is no time");
    if (now_s < expires_s + leeway_s) return true;
    return jwt_refuse(error, "token-expired", "the token expired %lld s ago", (long long)(now_s - expires_s));
}

/* nbf and iat: neither may lie ahead. */
static bool check_begin(const struct json_value *claims, struct slice name, int64_t latest_s, struct error *error)
{
    const struct json_value *value = json_find(claims, name);
    int64_t begins_s;
    if (!value) return true;
    if (!read_time(value, ceil, &begins_s))
        return jwt_refuse(error, "token-malformed", "the token's %.*s is no time", SLICE_PRINT(name));
    if (begins_s <= latest_s) return true;
    return jwt_refuse(error, "token-not-yet-valid", "the token is not valid yet (%.*s)", SLICE_PRINT(name));
}

/* --- whom it is from and for --- */

static bool check_issuer(const struct json_value *claims, struct slice issuer, struct error *error)
{
    if (slice_is_absent(issuer)) return true;
    struct slice found = json_find_text(claims, SLICE("iss"));
    if (!slice_is_absent(found) && slice_equal(found, issuer)) return true;
    return jwt_refuse(error, "token-issuer", "the token is from another issuer (iss)");
}

static bool is_audience(const struct json_value *value, const struct jwt_rules *rules)
{
    if (value->type != JSON_STRING) return false;
    for (size_t i = 0; i < rules->audience_count; i++) {
        if (slice_equal(value->text, rules->audiences[i])) return true;
    }
    return false;
}

static bool check_audience(const struct json_value *claims, const struct jwt_rules *rules, struct error *error)
{
    const struct json_value *audience = json_find(claims, SLICE("aud"));
    if (rules->audience_count == 0) return true;
    bool is_meant = audience && is_audience(audience, rules);
    for (uint32_t i = 0; audience && audience->type == JSON_ARRAY && i < audience->count; i++)
        is_meant |= is_audience(&audience->items[i], rules);
    return is_meant || jwt_refuse(error, "token-audience", "the token is meant for somebody else (aud)");
}

/* --- what kind of token it is --- */

struct slice jwt_type_name(struct slice type)
{
    static const struct slice prefix = { "application/", 12 };
    struct slice rest = slice_after(type, prefix.length);
    bool has_prefix = slice_equal_ignore_case(slice_before(type, prefix.length), prefix);
    return has_prefix && slice_find_byte(rest, '/') == SLICE_NOT_FOUND ? rest : type;
}

/* One key signs tokens of several kinds for one audience, and only typ tells an access token from the others (RFC 8725 3.11, RFC 9068 4). */
bool jwt_check_type(const struct jwt *jwt, const struct jwt_rules *rules, struct error *error)
{
    if (rules->type_count == 0) return true;
    struct slice type = json_find_text(&jwt->header, SLICE("typ"));
    if (slice_is_absent(type))
        return jwt_refuse(error, "token-type", "the token does not say of which type it is (typ)");
    for (size_t i = 0; i < rules->type_count; i++) {
        if (slice_equal_ignore_case(jwt_type_name(type), rules->types[i])) return true;
    }
    return jwt_refuse(error, "token-type", "the token is of another type (typ)");
}

/* --- required claims --- */

static bool is_value(const struct json_value *value, struct slice wanted)
{
    char text[24];
    int length;
    switch (value->type) {
    case JSON_STRING: return slice_equal(value->text, wanted);
    case JSON_BOOLEAN: return slice_equal(wanted, value->boolean ? SLICE("true") : SLICE("false"));
    case JSON_INTEGER:
        length = snprintf(text, sizeof text, "%lld", (long long)value->integer);
        return slice_equal(wanted, slice_of(text, (size_t)length));
    case JSON_UNSIGNED:
        length = snprintf(text, sizeof text, "%llu", (unsigned long long)value->natural);
        return slice_equal(wanted, slice_of(text, (size_t)length));
    case JSON_LONG_NUMBER: return slice_equal(value->text, wanted);
    default: return false;
    }
}

static bool holds(const struct json_value *value, struct slice wanted)
{
    if (value->type != JSON_ARRAY) return is_value(value, wanted);
    for (uint32_t i = 0; i < value->count; i++) {
        if (is_value(&value->items[i], wanted)) return true;
    }
    return false;
}

static bool check_required(const struct json_value *claims, const struct jwt_rules *rules, struct error *error)
{
    for (size_t i = 0; i < rules->required_count; i++) {
        const struct jwt_required_claim *required = &rules->required[i];
        const struct json_value *value = json_find(claims, required->name);
        if (!value || value->type == JSON_NULL)
            return jwt_refuse(error, "token-claim", "the token has no claim \"%.*s\"", SLICE_PRINT(required->name));
        if (!slice_is_absent(required->value) && !holds(value, required->value))
            return jwt_refuse(error, "token-claim", "the token's claim \"%.*s\" is not what it must be",
                              SLICE_PRINT(required->name));
    }
    return true;
}

bool jwt_check_claims(const struct json_value *claims, const struct jwt_rules *rules, int64_t now_s,
                      struct error *error)
{
    int64_t leeway_s = rules->leeway_s;
    return check_issuer(claims, rules->issuer, error) && check_expiry(claims, now_s, leeway_s, error) &&
           check_begin(claims, SLICE("nbf"), now_s + leeway_s, error) &&
           check_begin(claims, SLICE("iat"), now_s + leeway_s, error) && check_audience(claims, rules, error) &&
           check_required(claims, rules, error);
}

/* --- whom it speaks for --- */

/* Header fields lose white space at their ends, and control bytes mean something else to each reader: where a rule and the service must read
 * the same name there are none. */
static bool is_name(struct slice text)
{
    for (size_t i = 0; i < text.length; i++) {
        if ((uint8_t)text.at[i] < ' ' || text.at[i] == 0x7f) return false;
    }
    return text.length == 0 || (text.at[0] != ' ' && text.at[text.length - 1] != ' ');
}

/* Absent where the claim is; what becomes a header's value has no line breaks. */
static bool read_text(const struct json_value *claims, struct slice name, struct slice *text, struct error *error)
{
    const struct json_value *value = json_find(claims, name);
    *text = SLICE_ABSENT;
    if (!value || value->type == JSON_NULL) return true;
    if (value->type == JSON_STRING && is_name(value->text)) {
        if (value->text.length > 0) *text = value->text;
        return true;
    }
    return jwt_refuse(error, "token-claim",
                      "the token's claim \"%.*s\" is no text of one line without white space around it",
                      SLICE_PRINT(name));
}

/* One piece at a time, behind a space where it isn't the first; never longer than what it comes from. */
static void append_words(struct slice words, char *into, size_t *length)
{
    for (size_t i = 0; i < words.length;) {
        size_t end = i;
        while (end < words.length && words.at[end] != ' ') end++;
        if (end > i) {
            if (*length > 0) into[(*length)++] = ' ';
            memcpy(into + *length, words.at + i, end - i);
            *length += end - i;
        }
        i = end + 1;
    }
}

static bool is_plain(struct slice words)
{
    return words.length == 0 || (words.at[0] != ' ' && words.at[words.length - 1] != ' ' &&
                                 slice_find(words, SLICE("  ")) == SLICE_NOT_FOUND);
}

/* A text (RFC 8693 4.2) or a list of texts, as some issuers write it. */
static bool read_scopes(const struct json_value *value, struct arena *arena, struct slice *scopes, struct error *error)
{
    const struct json_value *items = value->type == JSON_ARRAY ? value->items : value;
    uint32_t count = value->type == JSON_ARRAY ? value->count : 1;
    size_t room = 1, length = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (items[i].type != JSON_STRING || !header_value_is_valid(items[i].text))
            return jwt_refuse(error, "token-claim", "the token's scopes are no texts of one line");
        room += items[i].text.length + 1;
    }
    if (count == 1 && is_plain(items[0].text)) {
        *scopes = items[0].text;
        return true;
    }
    char *into = arena_allocate(arena, room);
    if (!into) return jwt_no_memory(error);
    for (uint32_t i = 0; i < count; i++) append_words(items[i].text, into, &length);
    *scopes = slice_of(into, length);
    return true;
}

bool jwt_read_subject(const struct json_value *claims, struct arena *arena, struct jwt_subject *subject,
                      struct error *error)
{
    const struct json_value *scopes = json_find(claims, SLICE("scope")), *expires = json_find(claims, SLICE("exp"));
    if (!scopes || scopes->type == JSON_NULL) scopes = json_find(claims, SLICE("scp"));
    subject->scopes = SLICE_ABSENT;
    subject->expires_s = INT64_MAX;
    if (!read_text(claims, SLICE("sub"), &subject->user_id, error) ||
        !read_text(claims, SLICE("client_id"), &subject->client_id, error) ||
        !read_text(claims, SLICE("iss"), &subject->issuer, error))
        return false;
    if (slice_is_absent(subject->client_id) && !read_text(claims, SLICE("azp"), &subject->client_id, error))
        return false;
    if (expires && !read_time(expires, floor, &subject->expires_s))
        return jwt_refuse(error, "token-malformed", "the token's exp is no time");
    return !scopes || scopes->type == JSON_NULL || read_scopes(scopes, arena, &subject->scopes, error);
}
