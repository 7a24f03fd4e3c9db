/* exchange/identity.c: the outcome of identity: challenges, refusals (RFC 9110 11.6.1, RFC 6750 3), scopes. */
#include "exchange/identity.h"

#include "exchange/exchange.h"

#include <stdarg.h>

struct slice identity_method_word(enum identity_method method)
{
    static const struct slice words[IDENTITY_METHOD_COUNT] = {
        [IDENTITY_NONE] = SLICE("none"),
        [IDENTITY_ANONYMOUS] = SLICE("anonymous"),
        [IDENTITY_JWT] = SLICE("jwt"),
        [IDENTITY_API_KEY] = SLICE("api-key"),
        [IDENTITY_CERTIFICATE] = SLICE("certificate"),
        [IDENTITY_EXTERNAL] = SLICE("external"),
    };
    return words[method];
}

bool identity_is_known(const struct exchange *exchange) { return exchange->identity.method > IDENTITY_ANONYMOUS; }

void identity_missing(struct exchange *exchange, struct slice challenge)
{
    struct identity *identity = &exchange->identity;
    struct identity_challenge *noted = arena_allocate(exchange->arena, sizeof *noted);
    if (!noted) {
        identity->challenge_lost = true;
        return;
    }
    *noted = (struct identity_challenge){ challenge, NULL };
    struct identity_challenge **end = &identity->challenges;
    while (*end) end = &(*end)->next;
    *end = noted;
}

void identity_allow_anonymous(struct exchange *exchange) { exchange->identity.anonymous_allowed = true; }

void identity_cannot_read(struct exchange *exchange, const struct identity_unread *unread)
{
    if (!exchange->identity.unread) exchange->identity.unread = unread;
}

void identity_postpone(struct exchange *exchange, struct identity_turn *turn)
{
    struct identity *identity = &exchange->identity;
    turn->next = NULL;
    if (!identity->postponed) identity->postponed_last = &identity->postponed;
    *identity->postponed_last = turn;
    identity->postponed_last = &turn->next;
}

/* --- refusing --- */

static bool add_challenge(struct exchange *exchange, struct slice text)
{
    return headers_add(&exchange->own_response.headers, SLICE("WWW-Authenticate"), text);
}

/* A field for each (RFC 9110 11.6.1 allows a list, which not every client can read). */
static bool add_noted_challenges(struct exchange *exchange)
{
    if (exchange->identity.challenge_lost) return false;
    for (const struct identity_challenge *at = exchange->identity.challenges; at; at = at->next) {
        if (!add_challenge(exchange, at->text)) return false;
    }
    return true;
}

/* A 401 without a challenge is none (RFC 9110 15.5.2). */
static void answer_no_memory(struct exchange *exchange)
{
    exchange_respond_problem(exchange, 503, "out-of-memory", SLICE_ABSENT, "the gateway is short of memory");
}

enum filter_result identity_refuse(struct exchange *exchange, unsigned status, const char *reason, struct slice rule,
                                   struct slice challenge, const char *format, ...)
{
    char text[sizeof exchange->error.text];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    exchange_respond_problem(exchange, status, reason, rule, "%s", text);
    if (slice_is_absent(challenge) || !add_challenge(exchange, challenge) || !add_noted_challenges(exchange)) {
        answer_no_memory(exchange);
    }
    return FILTER_RESPOND;
}

enum filter_result identity_demand(struct exchange *exchange, struct slice rule)
{
    const struct identity_unread *unread = exchange->identity.unread;
    if (unread)
        exchange_respond_problem(exchange, unread->status, unread->reason, unread->rule, "%s", unread->text);
    else
        exchange_respond_problem(exchange, 401, "no-credentials", rule, "the request brings no credentials");
    if (!add_noted_challenges(exchange)) answer_no_memory(exchange);
    return FILTER_RESPOND;
}

bool identity_can_be_proven(const struct exchange *exchange)
{
    return exchange->identity.challenges != NULL || exchange->identity.challenge_lost;
}

static char *write_quoted(char *at, struct slice text)
{
    *at++ = '"';
    for (size_t i = 0; i < text.length; i++) {
        if (text.at[i] == '"' || text.at[i] == '\\') *at++ = '\\';
        *at++ = text.at[i];
    }
    *at++ = '"';
    return at;
}

struct slice identity_challenge_write(struct arena *arena, struct slice scheme,
                                      const struct challenge_parameter *parameters, size_t count)
{
    size_t bytes = scheme.length;
    for (size_t i = 0; i < count; i++) bytes += parameters[i].name.length + 2 * parameters[i].value.length + 5;
    char *start = arena_allocate(arena, bytes);
    if (!start) return SLICE_ABSENT;
    char *at = mempcpy(start, scheme.at, scheme.length);
    const char *joint = " ";
    for (size_t i = 0; i < count; i++) {
        if (slice_is_absent(parameters[i].value)) continue;
        at = mempcpy(at, joint, strlen(joint));
        at = mempcpy(at, parameters[i].name.at, parameters[i].name.length);
        *at++ = '=';
        at = write_quoted(at, parameters[i].value);
        joint = ", ";
    }
    return slice_of(start, (size_t)(at - start));
}

/* --- */

bool scopes_hold(struct slice scopes, struct slice scope)
{
    while (scopes.length >= scope.length && scopes.length > 0) {
        size_t end = slice_find_byte(scopes, ' ');
        if (slice_equal(slice_before(scopes, end), scope)) return true;
        if (end == SLICE_NOT_FOUND) return false;
        scopes = slice_after(scopes, end + 1);
    }
    return false;
}

bool identity_has_scope(const struct identity *identity, struct slice scope)
{
    return scopes_hold(identity->scopes, scope);
}
