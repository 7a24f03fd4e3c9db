/* exchange/guarded.c: names under which policies speak to the service, so that no trailer of the client's does, which comes after all of them. */
#include "exchange/exchange.h"
#include "http/our_names.h"

struct guarded_name {
    struct slice text;
    bool is_beginning;
    const struct guarded_name *next;
};

bool exchange_guard_name(struct exchange *exchange, struct slice name, bool is_beginning)
{
    if (LIKELY(!exchange->request_body)) return true; /* no body, no trailers */
    struct guarded_name *guarded = arena_allocate(exchange->arena, sizeof *guarded);
    if (!guarded) return false;
    *guarded = (struct guarded_name){ name, is_beginning, exchange->guarded_names };
    exchange->guarded_names = guarded;
    return true;
}

bool exchange_guards(const struct exchange *exchange, struct slice name)
{
    for (const struct guarded_name *guarded = exchange->guarded_names; guarded; guarded = guarded->next) {
        if (header_name_reads_as(name, guarded->text, guarded->is_beginning)) return true;
    }
    return false;
}
