/* identity-gate: the last word on who asks: 401 where nobody was found and no policy lets in everybody.
 *
 * Not for configuration: chain_create() puts it behind the other policies of PHASE_IDENTITY where there are any. First it gives those that
 * have more places to look in their turns, so that all first places come before all late ones (exchange/identity.h). RFC 9110 15.5.2. */
#include "exchange/exchange.h"
#include "filters/filters.h"

static enum filter_result identity_gate_request(struct exchange *, const void *compiled, void *state);

static const struct field identity_gate_fields[] = { FIELDS_END };

const struct filter filter_identity_gate = {
    .name = "identity-gate",
    .summary = "Refuses requests of which no policy of identity knows who asks (401).",
    .phase = PHASE_IDENTITY,
    .fields = identity_gate_fields,
    .request = identity_gate_request,
};

/* Also once somebody was found: then a turn but takes its credentials off. */
static enum filter_result run_turns(struct exchange *exchange)
{
    struct identity *identity = &exchange->identity;
    while (identity->postponed) {
        struct identity_turn *turn = identity->postponed;
        enum filter_result result = turn->run(exchange, turn->compiled, turn->state);
        if (result != FILTER_NEXT) return result;
        identity->postponed = turn->next;
    }
    return FILTER_NEXT;
}

static enum filter_result identity_gate_request(struct exchange *exchange, const void *compiled, void *state)
{
    (void)compiled, (void)state;
    struct identity *identity = &exchange->identity;
    enum filter_result result = run_turns(exchange);
    if (result != FILTER_NEXT || identity_is_known(exchange)) return result;
    if (!identity->anonymous_allowed || identity->unread) return identity_demand(exchange, SLICE("identity"));
    identity->method = IDENTITY_ANONYMOUS;
    return FILTER_NEXT;
}
