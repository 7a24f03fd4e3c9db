#include "base/memory.h"
#include "resolve/private.h"

#include <netdb.h>
#include <stdlib.h>

#define RECORDS_MAX 256 /* of one answer that are looked at */

/* --- sets --- */

void address_set_release(struct address_set *set)
{
    free(set->items);
    *set = (struct address_set){ 0 };
}

static int compare(const struct address *a, const struct address *b)
{
    if (a->any.sa_family != b->any.sa_family) return a->any.sa_family < b->any.sa_family ? -1 : 1;
    if (a->any.sa_family == AF_INET) return memcmp(&a->v4.sin_addr, &b->v4.sin_addr, sizeof a->v4.sin_addr);
    return memcmp(&a->v6.sin6_addr, &b->v6.sin6_addr, sizeof a->v6.sin6_addr);
}

void address_set_add(struct address_set *set, const struct address *address)
{
    size_t at = 0;
    while (at < set->count && compare(&set->items[at], address) < 0) at++;
    if (at < set->count && compare(&set->items[at], address) == 0) return;
    if (at >= ADDRESSES_MAX) return;
    if (set->count == ADDRESSES_MAX) set->count--;
    set->items = memory_resize(set->items, (set->count + 1) * sizeof *set->items);
    memmove(set->items + at + 1, set->items + at, (set->count - at) * sizeof *set->items);
    set->items[at] = *address;
    set->count++;
}

void address_set_join(struct address_set *into, const struct address_set *sets, size_t count)
{
    *into = (struct address_set){ 0 };
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < sets[i].count; j++) address_set_add(into, &sets[i].items[j]);
    }
}

bool address_set_equal(const struct address_set *a, const struct address_set *b)
{
    if (a->count != b->count) return false;
    for (size_t i = 0; i < a->count; i++) {
        if (compare(&a->items[i], &b->items[i]) != 0) return false;
    }
    return true;
}

/* --- answers --- */

/* No service stands at "any address" or at a group's; connecting to the former would even reach this host. */
static bool is_usable(const struct address *address)
{
    if (address->any.sa_family == AF_INET) {
        uint32_t ip = ntohl(address->v4.sin_addr.s_addr);
        return ip >> 24 != 0 && ip >> 28 != 0xe && ip != INADDR_BROADCAST;
    }
    return !IN6_IS_ADDR_UNSPECIFIED(&address->v6.sin6_addr) && !IN6_IS_ADDR_MULTICAST(&address->v6.sin6_addr);
}

static void add_ip(struct answer *answer, int family, const void *ip)
{
    struct address address = { 0 };
    if (family == FAMILY_V4) {
        address.v4.sin_family = AF_INET;
        memcpy(&address.v4.sin_addr, ip, sizeof address.v4.sin_addr);
    } else {
        address.v6.sin6_family = AF_INET6;
        memcpy(&address.v6.sin6_addr, ip, sizeof address.v6.sin6_addr);
    }
    if (!is_usable(&address)) return;
    address_set_add(&answer->addresses, &address);
    answer->kind = ANSWER_FOUND;
}

/* RFC 2181 8: a TTL is 31 bits; one with the highest bit set counts as 0. */
static void note_ttl(struct answer *answer, int ttl_s)
{
    uint64_t ttl_ms = ttl_s > 0 ? (uint64_t)ttl_s * 1000 : 0;
    if (ttl_ms < answer->ttl_ms) answer->ttl_ms = ttl_ms;
}

static int parse_v4(struct answer *answer, const unsigned char *bytes, int length)
{
    struct ares_addrttl records[RECORDS_MAX];
    int count = RECORDS_MAX;
    int status = ares_parse_a_reply(bytes, length, NULL, records, &count);
    for (int i = 0; status == ARES_SUCCESS && i < count; i++) {
        add_ip(answer, FAMILY_V4, &records[i].ipaddr);
        note_ttl(answer, records[i].ttl);
    }
    return status;
}

static int parse_v6(struct answer *answer, const unsigned char *bytes, int length)
{
    struct ares_addr6ttl records[RECORDS_MAX];
    int count = RECORDS_MAX;
    int status = ares_parse_aaaa_reply(bytes, length, NULL, records, &count);
    for (int i = 0; status == ARES_SUCCESS && i < count; i++) {
        add_ip(answer, FAMILY_V6, &records[i].ip6addr);
        note_ttl(answer, records[i].ttl);
    }
    return status;
}

void answer_parse(struct answer *answer, int family, int status, const unsigned char *bytes, int length)
{
    *answer = (struct answer){ .kind = ANSWER_NONE, .ttl_ms = UINT64_MAX };
    if (status == ARES_SUCCESS) {
        status = family == FAMILY_V4 ? parse_v4(answer, bytes, length) : parse_v6(answer, bytes, length);
    }
    if (status == ARES_SUCCESS || status == ARES_ENODATA || status == ARES_ENOTFOUND) return;
    answer->kind = ANSWER_TROUBLE;
    answer->why = ares_strerror(status);
}

static void answer_own_address(struct answer answers[FAMILIES])
{
    const struct in_addr v4 = { htonl(INADDR_LOOPBACK) };
    const struct in6_addr v6 = IN6ADDR_LOOPBACK_INIT;
    add_ip(&answers[FAMILY_V4], FAMILY_V4, &v4);
    add_ip(&answers[FAMILY_V6], FAMILY_V6, &v6);
}

bool answer_localhost(const char *name, struct answer answers[FAMILIES])
{
    struct slice text = slice_from_cstring(name);
    if (slice_ends_with(text, SLICE("."))) text.length--;
    if (!slice_equal(text, SLICE("localhost")) && !slice_ends_with(text, SLICE(".localhost"))) return false;
    answer_own_address(answers);
    return true;
}

bool answer_from_hosts_file(ares_channel channel, const char *name, struct answer answers[FAMILIES])
{
    static const int system_families[FAMILIES] = { AF_INET, AF_INET6 };
    bool found = false;
    for (int i = 0; i < FAMILIES; i++) {
        struct hostent *host = NULL;
        if (ares_gethostbyname_file(channel, name, system_families[i], &host) != ARES_SUCCESS) continue;
        for (char **ip = host->h_addr_list; *ip; ip++) add_ip(&answers[i], i, *ip);
        found |= answers[i].kind == ANSWER_FOUND;
        ares_free_hostent(host);
    }
    return found;
}
