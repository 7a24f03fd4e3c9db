/* gateway/entrance.c: see entrance.h. */
#include "gateway/entrance.h"

#include "base/log.h"
#include "base/memory.h"

#include <stdatomic.h>

struct entrances {
    _Atomic uint32_t references;
    size_t count;
    struct entrance items[];
};

static void make_entrance(struct entrances *all, struct entrance *entrance, const struct listener_config *listener,
                          struct ticket_ring *ring, struct problems *problems)
{
    *entrance = (struct entrance){
        .all = all,
        .address = listener->address,
        .proxies = memory_allocate_array(listener->proxy.from_count + 1, sizeof *entrance->proxies),
        .proxy_count = listener->proxy.from_count,
        .http2 = listener->http2,
        .redirect_port = listener->redirect_port,
    };
    if (entrance->proxy_count > 0)
        memcpy(entrance->proxies, listener->proxy.from, entrance->proxy_count * sizeof *entrance->proxies);
    if (!listener->has_tls) return;
    entrance->tls = tls_server_create(listener, ring, problems);
    entrance->is_closed = !entrance->tls;
}

static void warn_of_closed(const struct configuration *configuration, const struct entrances *all)
{
    const struct listener_config *listeners = configuration->listeners.items;
    for (size_t i = 0; i < all->count; i++) {
        if (!all->items[i].is_closed) continue;
        log_error("listener %.*s lets nobody in: its certificates cannot be had",
                  SLICE_PRINT(listeners[i].address_text));
    }
}

struct entrances *entrances_create(const struct configuration *configuration, struct ticket_ring *ring,
                                   enum entrances_demand demand, struct problems *problems)
{
    const struct listener_config *listeners = configuration->listeners.items;
    size_t count = configuration->listeners.count, before = problems->count;
    struct entrances *all = memory_allocate(sizeof *all + count * sizeof *all->items);
    all->references = 1;
    all->count = count;
    for (size_t i = 0; i < count; i++) make_entrance(all, &all->items[i], &listeners[i], ring, problems);
    if (problems->count == before) return all;
    if (demand == ENTRANCES_WHAT_CAN_BE_HAD) {
        warn_of_closed(configuration, all);
        return all;
    }
    entrances_drop(all);
    return NULL;
}

void entrances_retain(struct entrances *all)
{
    if (all) atomic_fetch_add_explicit(&all->references, 1, memory_order_relaxed);
}

void entrances_drop(struct entrances *all)
{
    if (!all || atomic_fetch_sub_explicit(&all->references, 1, memory_order_acq_rel) != 1) return;
    for (size_t i = 0; i < all->count; i++) {
        tls_server_destroy(all->items[i].tls);
        free(all->items[i].proxies);
    }
    free(all);
}

bool entrance_trusts(const struct entrance *entrance, const struct address *peer)
{
    for (size_t i = 0; i < entrance->proxy_count; i++) {
        if (address_range_contains(&entrance->proxies[i], peer)) return true;
    }
    return false;
}

const struct entrance *entrances_find(const struct entrances *all, const struct address *address)
{
    for (size_t i = 0; all && i < all->count; i++) {
        if (address_equal(&all->items[i].address, address)) return &all->items[i];
    }
    return NULL;
}

void entrances_list_certificates(const struct entrances *all, struct vector *facts)
{
    char listener[ADDRESS_TEXT_BYTES];
    vector_init(facts, sizeof(struct certificate_fact));
    for (size_t i = 0; all && i < all->count; i++) {
        const struct tls_server *tls = all->items[i].tls;
        address_write(&all->items[i].address, listener);
        for (size_t j = 0; tls && j < tls_server_certificate_count(tls); j++) {
            struct certificate_end end = tls_server_certificate(tls, j);
            struct certificate_fact *fact = vector_push(facts);
            fact->listener = memory_copy_slice(slice_from_cstring(listener));
            fact->name = memory_copy_slice(slice_from_cstring(end.name));
            fact->not_after = end.not_after;
        }
    }
}

void certificate_facts_release(struct vector *facts)
{
    for (size_t i = 0; i < facts->count; i++) {
        struct certificate_fact *fact = vector_at(facts, i);
        free(fact->listener);
        free(fact->name);
    }
    vector_release(facts);
}
