/* gateway/entrance.c: see entrance.h. */
#include "gateway/entrance.h"

#include "base/log.h"
#include "base/memory.h"
#include "config/resource.h"
#include "keys/certificates.h"

#include <openssl/crypto.h>
#include <stdatomic.h>

struct entrances {
    _Atomic uint32_t references;
    struct vector stored; /* struct certificate *: of the configuration itself; listeners share them */
    size_t count;
    struct entrance items[];
};

/* --- stored certificates --- */

/* A key may stand elsewhere than in the store: ${file:PATH}, ${env:NAME}. */
static bool resolve(struct arena *arena, struct slice written, const struct certificate_resource_config *config,
                    const char *field, struct slice *text, struct problems *problems)
{
    struct error error;
    if (resource_resolve_secret(arena, written, "/", text, &error)) return true;
    const struct node *node = config->node ? node_find(config->node, field) : NULL;
    problems_add(problems, node, NULL, "\"%s\": %s", field, error.text);
    return false;
}

/* NULL: it can't be used. */
static struct certificate *read_one(const struct certificate_resource_config *config, struct problems *problems)
{
    struct arena arena;
    struct certificate_texts texts = { .ocsp = config->ocsp };
    arena_init(&arena, NULL);
    bool good = resolve(&arena, config->certificate, config, "certificate", &texts.certificate, problems);
    good &= resolve(&arena, config->key, config, "key", &texts.key, problems);
    struct certificate *certificate = good ? certificate_read_texts(&texts, config->node, problems) : NULL;
    if (good && texts.key.at != config->key.at) OPENSSL_cleanse((void *)(uintptr_t)texts.key.at, texts.key.length);
    arena_release(&arena);
    return certificate;
}

/* In the order of the list; NULL where one can't be used. */
static void read_stored(struct entrances *all, const struct object_list *certificates, struct problems *problems)
{
    const struct certificate_resource_config *items = certificates->items;
    for (size_t i = 0; i < certificates->count; i++) vector_push_pointer(&all->stored, read_one(&items[i], problems));
}

static bool is_for(const struct certificate_resource_config *certificate, const struct listener_config *listener)
{
    struct address address;
    for (size_t i = 0; i < certificate->listeners.count; i++) {
        if (address_parse(certificate->listeners.items[i], &address) && address_equal(&address, &listener->address))
            return true;
    }
    return certificate->listeners.count == 0;
}

/* Those that this listener shows; free the items. */
static struct stored_certificates choose_stored(const struct entrances *all, const struct object_list *certificates,
                                                const struct listener_config *listener)
{
    const struct certificate_resource_config *items = certificates->items;
    struct certificate **chosen = memory_allocate_array(certificates->count + 1, sizeof(struct certificate *));
    size_t count = 0;
    for (size_t i = 0; i < certificates->count; i++) {
        struct certificate *certificate = vector_pointer_at(&all->stored, i);
        if (certificate && is_for(&items[i], listener)) chosen[count++] = certificate;
    }
    return (struct stored_certificates){ chosen, count };
}

/* --- all of them --- */

static void make_entrance(struct entrances *all, struct entrance *entrance, const struct listener_config *listener,
                          const struct object_list *certificates, struct ticket_ring *ring, struct problems *problems)
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
    struct stored_certificates stored = choose_stored(all, certificates, listener);
    entrance->tls = tls_server_create(listener, &stored, ring, problems);
    entrance->is_closed = !entrance->tls;
    free((void *)(uintptr_t)stored.items);
}

static void warn_of_closed(const struct listener_config *listener)
{
    log_error("listener %.*s lets nobody in: its certificates cannot be had", SLICE_PRINT(listener->address_text));
}

static struct entrances *create(const struct listener_config *listeners, size_t count,
                                const struct object_list *certificates, struct ticket_ring *ring,
                                enum entrances_demand demand, struct problems *problems)
{
    size_t before = problems->count;
    struct entrances *all = memory_allocate(sizeof *all + count * sizeof *all->items);
    all->references = 1;
    vector_init(&all->stored, sizeof(struct certificate *));
    read_stored(all, certificates, problems);
    for (; all->count < count; all->count++) {
        struct entrance *entrance = &all->items[all->count];
        entrance->is_closed = false;
        make_entrance(all, entrance, &listeners[all->count], certificates, ring, problems);
        if (entrance->is_closed && demand == ENTRANCES_WHAT_CAN_BE_HAD) warn_of_closed(&listeners[all->count]);
    }
    if (problems->count == before || demand == ENTRANCES_WHAT_CAN_BE_HAD) return all;
    entrances_drop(all);
    return NULL;
}

struct entrances *entrances_create(const struct configuration *configuration, const struct object_list *certificates,
                                   struct ticket_ring *ring, enum entrances_demand demand, struct problems *problems)
{
    return create(configuration->listeners.items, configuration->listeners.count, certificates, ring, demand, problems);
}

struct entrances *entrances_create_admin(const struct configuration *configuration,
                                         const struct object_list *certificates, struct ticket_ring *ring,
                                         enum entrances_demand demand, struct problems *problems)
{
    static const struct object_list none;
    const struct admin_config *admin = &configuration->admin;
    struct listener_config listeners[] = {
        { .address_text = admin->address_text,
          .address = admin->address,
          .has_tls = admin->has_tls,
          .tls = admin->tls,
          .http2 = true,
          .node = configuration->node ? node_find(configuration->node, "admin") : NULL },
        { .address_text = admin->probes_text, .address = admin->probes, .http2 = true },
    };
    if (!admin->enabled) return create(NULL, 0, &none, ring, demand, problems);
    struct entrances *all = create(listeners, admin->has_probes ? 2 : 1, admin->has_tls ? certificates : &none, ring,
                                   demand, problems);
    if (all && admin->has_probes) all->items[1].only_probes = true;
    return all;
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
    for (size_t i = 0; i < all->stored.count; i++) {
        struct certificate *certificate = vector_pointer_at(&all->stored, i);
        if (certificate) certificate_destroy(certificate);
    }
    vector_release(&all->stored);
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
