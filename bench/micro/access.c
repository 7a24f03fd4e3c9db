/* What identity by an API key, access and edits of headers cost in process: nanoseconds and instructions a request through the links of a
 * route's chain.
 *
 *   bench/micro/access [--json] [--rounds N, default 7] [--keys N, default 1,000,000]
 *
 * A request of six fields is made anew each time, as its memory is; what that costs alone is measured in the same rounds and taken off. Keys
 * are asked for in random order. `access` is a role by scope whose permission allows the request, and five rules of which the last allows.
 * Bars of issue 6: an API key among 1,000,000 <= 350 ns, roles and five rules <= 250 ns. Among so many a key is two accesses to memory away that
 * nothing could foresee, one behind the other; what such an access takes on this machine is measured beside it. */
#include "base/clock.h"
#include "base/memory.h"
#include "base/random.h"
#include "exchange/exchange.h"
#include "filters/filters.h"
#include "handlers/handlers.h"
#include "keys/api_keys.h"
#include "measure.h"
#include "json/value.h"

#include <stdio.h>
#include <time.h>

#define TURNS 200000
#define REQUESTS_A_TURN 16 /* of the loop: then the index's reader is quiet */
#define ROUNDS_MAX 99
#define NOW_NS UINT64_C(1767225600000000000)

static const char configuration[] =
    "listeners: [{ address: '127.0.0.1:1' }]\n"
    "roles:\n"
    "  - { name: reader, scopes: ['orders:read'], permissions: [{ methods: [GET] }] }\n"
    "  - { name: writer, scopes: ['orders:write'], permissions: [{ methods: [GET, POST], routes: [access] }] }\n"
    "routes:\n"
    "  - { name: empty, path: /empty, respond: { status: 200 } }\n"
    "  - { name: key, path: /key, respond: { status: 200 }, filters: [{ type: api-key }] }\n"
    "  - name: headers\n"
    "    path: /headers\n"
    "    respond: { status: 200 }\n"
    "    filters:\n"
    "      - { type: add_header, name: X-Env, value: bench }\n"
    "      - { type: set_header, name: X-Host, value: \"${request.host}\" }\n"
    "      - { type: remove_header, name: X-Tenant }\n"
    "      - { type: add_header, name: X-Served-By, value: sluice, on: response }\n"
    "      - { type: remove_header, name: X-Powered-By, on: response }\n"
    "      - { type: set_header, name: Cache-Control, value: no-store, on: response }\n"
    "  - name: access\n"
    "    path: /orders/{id}\n"
    "    respond: { status: 200 }\n"
    "    filters:\n"
    "      - type: access\n"
    "        permissions: true\n"
    "        rules:\n"
    "          - { name: no-legacy, effect: deny, when: \"auth.client_id == 'old-app'\" }\n"
    "          - { name: no-guests, effect: deny, when: \"auth.claims.guest == true\" }\n"
    "          - { name: office, effect: deny, when: \"source.ip.startsWith('203.0.113.')\" }\n"
    "          - { name: tenants, effect: deny, when: \"request.headers['x-tenant'] != auth.claims.tenant\" }\n"
    "          - { name: readers, effect: allow, when: \"request.method == 'GET' && 'orders:read' in auth.scopes\" }\n";

static const char claims_text[] =
    "{\"iss\":\"https://id.example.com\",\"sub\":\"ann\",\"aud\":\"orders\",\"exp\":1767229200,"
    "\"guest\":false,\"tenant\":\"acme\",\"roles\":[\"clerk\"]}";

struct bench {
    struct exchange_worker worker;
    struct loop loop;
    struct arena_pool pool;
    struct arena kept; /* of the claims */
    struct snapshot_builder *builder;
    struct snapshot *snapshot;
    struct snapshot_pin pin;
    struct server_stream stream; /* whose client is `peer` */
    struct peer peer;
    struct api_keys *keys;
    struct json_value claims;
    struct random random;
    struct chase chase;
    uint64_t key_count;
};

enum what { EMPTY, KEY, ACCESS, HEADERS, WHAT_COUNT };

static struct slice text_of(uint64_t number, char into[44])
{
    return slice_of(into, (size_t)snprintf(into, 44, "%043llu", (unsigned long long)number * 2654435761u));
}

static void load_keys(struct bench *bench)
{
    struct error error;
    bench->keys = api_keys_create(&(struct api_keys_options){ UINT64_C(1) << 30, 1 }, &error);
    if (!bench->keys) fprintf(stderr, "%s\n", error.text), exit(1);
    api_keys_load_begin(bench->keys);
    api_keys_reserve(bench->keys, bench->key_count);
    for (uint64_t i = 0; i < bench->key_count; i++) {
        char id[API_KEY_UUID_BYTES], client[API_KEY_UUID_BYTES], text[44];
        uint8_t uuid[16] = { 1 };
        memcpy(uuid + 8, &i, sizeof i);
        api_key_uuid_write(uuid, id);
        uuid[0] = 2;
        api_key_uuid_write(uuid, client);
        struct api_key_row row = { .id = slice_of(id, 36),
                                   .client_id = slice_of(client, 36),
                                   .scopes = SLICE("orders:read orders:write"),
                                   .rate_limit_tier = SLICE("standard"),
                                   .enabled = true };
        api_key_hash(text_of(i, text), row.hash);
        if (!api_keys_put(bench->keys, &row, API_KEY_KEEP)) fprintf(stderr, "no room\n"), exit(1);
    }
    api_keys_load_end(bench->keys, true);
}

static void no_wake(void *argument) { (void)argument; }
static void no_pin(struct exchange_worker *worker, struct snapshot_pin *pin) { (void)worker, (void)pin; }

static void load(struct bench *bench, const struct policy_registry *registry, struct policy_surroundings *around)
{
    struct problems problems;
    struct policy_kinds kinds = policy_registry_kinds(registry);
    problems_init(&problems, NULL);
    bench->builder = snapshot_builder_create(&(struct snapshot_builder_settings){
        .registry = registry, .surroundings = around, .metrics = metrics_create(1), .workers = 1, .wake = no_wake });
    struct configuration *read = configuration_load_text(slice_from_cstring(configuration), "bench", "/", &kinds,
                                                         &problems);
    bench->snapshot = read ? snapshot_builder_load(bench->builder, read, &problems) : NULL;
    if (!bench->snapshot) fprintf(stderr, "%s\n", problems_to_text(&problems)), exit(1);
    problems_release(&problems);
    free((void *)(uintptr_t)kinds.items);
}

static void start(struct bench *bench, const struct policy_registry *registry, struct policy_surroundings *around)
{
    struct error error;
    load_keys(bench);
    *around = (struct policy_surroundings){ .api_keys = bench->keys, .workers = 1 };
    load(bench, registry, around);
    arena_pool_init(&bench->pool, 16, NULL);
    arena_init(&bench->kept, NULL);
    bench->worker = (struct exchange_worker){ .loop = &bench->loop,
                                              .filters = registry->filters,
                                              .pin_released = no_pin };
    if (!loop_init(&bench->loop, &error) || !exchange_worker_init(&bench->worker, &error) ||
        !json_parse(slice_from_cstring(claims_text), &bench->kept, &bench->claims, &error))
        fprintf(stderr, "%s\n", error.text), exit(1);
    bench->loop.wall_ns = NOW_NS;
    bench->pin.snapshot = bench->snapshot;
    bench->stream.peer = &bench->peer;
    random_init_seeded(&bench->random, 1);
    chase_init(&bench->chase, &bench->random);
}

/* The request as the session and the steps before leave it. */
static void make_request(struct bench *bench, struct exchange *exchange, struct request_head *head, struct slice key)
{
    struct arena *arena = exchange->arena;
    *head = (struct request_head){ .method = METHOD_GET,
                                   .method_text = SLICE("GET"),
                                   .host = SLICE("api.example.com") };
    head->target.path = SLICE("/orders/17");
    headers_init(&head->headers, arena);
    bool good = headers_add_from_wire(&head->headers, SLICE("Host"), SLICE("api.example.com")) &&
                headers_add_from_wire(&head->headers, SLICE("User-Agent"), SLICE("bench/1")) &&
                headers_add_from_wire(&head->headers, SLICE("Accept"), SLICE("application/json")) &&
                headers_add_from_wire(&head->headers, SLICE("Accept-Encoding"), SLICE("gzip, br")) &&
                headers_add_from_wire(&head->headers, SLICE("X-Tenant"), SLICE("acme")) &&
                headers_add_from_wire(&head->headers, SLICE("X-API-Key"), key);
    if (!good) exit(1);
    exchange->request = head;
    exchange->stream = &bench->stream;
    exchange->client_ip = SLICE("192.0.2.1");
    exchange->roles = bench->snapshot->roles;
}

static void make_identity(const struct bench *bench, struct identity *identity)
{
    identity->method = IDENTITY_JWT;
    identity->user_id = SLICE("ann");
    identity->client_id = SLICE("shop");
    identity->scopes = SLICE("orders:read orders:write");
    identity->claims = &bench->claims;
}

static const struct compiled_route *route_of(struct bench *bench, enum what what)
{
    static const char *const paths[WHAT_COUNT] = { "/empty", "/key", "/orders/17", "/headers" };
    struct request_head head = { .method = METHOD_GET, .method_text = SLICE("GET") };
    struct route_match match;
    struct arena arena;
    arena_init(&arena, NULL);
    headers_init(&head.headers, &arena);
    head.target.path = slice_from_cstring(paths[what]);
    if (router_match(bench->snapshot->router, bench->worker.router_scratch, &head, head.method, head.method_text, NULL,
                     &arena, &match) != ROUTE_FOUND)
        exit(1);
    arena_release(&arena);
    return match.target;
}

/* As a service answers. */
static void make_response(struct exchange *exchange, struct response_head *head)
{
    *head = (struct response_head){ .status = 200 };
    headers_init(&head->headers, exchange->arena);
    bool good = headers_add_from_wire(&head->headers, SLICE("Content-Type"), SLICE("application/json")) &&
                headers_add_from_wire(&head->headers, SLICE("Cache-Control"), SLICE("max-age=60")) &&
                headers_add_from_wire(&head->headers, SLICE("X-Powered-By"), SLICE("bench"));
    if (!good) exit(1);
    exchange->response = head;
}

static bool run_chain(struct exchange *exchange, const struct chain *chain)
{
    for (uint32_t i = 0; i < chain->count; i++) {
        const struct chain_link *link = &chain->links[i];
        void *state = exchange->filter_states + link->state_offset;
        if (link->request && link->request(exchange, link->compiled, state) != FILTER_NEXT) return false;
    }
    for (uint32_t i = chain->count; i-- > 0;) {
        const struct chain_link *link = &chain->links[i];
        void *state = exchange->filter_states + link->state_offset;
        if (link->response_head && link->response_head(exchange, link->compiled, state) != FILTER_NEXT) return false;
    }
    return true;
}

/* False: it was refused. */
static bool one_request(struct bench *bench, const struct compiled_route *route, enum what what, struct slice key)
{
    struct exchange exchange;
    struct request_head head;
    struct response_head response;
    struct arena arena;
    arena_init(&arena, &bench->pool);
    memset(&exchange, 0, offsetof(struct exchange, error));
    exchange.match.captures.count = 0;
    exchange.worker = &bench->worker;
    exchange.arena = &arena;
    exchange.pin = &bench->pin;
    exchange.route = (struct compiled_route *)(uintptr_t)route;
    make_request(bench, &exchange, &head, key);
    make_response(&exchange, &response);
    if (what == ACCESS) make_identity(bench, &exchange.identity);
    if (route->chain->state_bytes) exchange.filter_states = arena_allocate_zeroed(&arena, route->chain->state_bytes);
    bool passed = run_chain(&exchange, route->chain);
    arena_release(&arena);
    return passed;
}

static char texts[TURNS][44]; /* of the keys that are asked for */

static void requests(struct bench *bench, const struct compiled_route *route, enum what what, size_t count)
{
    size_t refused = 0;
    for (size_t i = 0; i < count; i++) {
        refused += !one_request(bench, route, what, slice_of(texts[i], 43));
        if (i % REQUESTS_A_TURN == 0) api_keys_quiesce(bench->keys, 0);
    }
    if (refused) fprintf(stderr, "%zu of %zu were refused\n", refused, count), exit(1);
}

/* Nanoseconds each. */
static double time_it(struct bench *bench, enum what what)
{
    for (size_t i = 0; i < TURNS; i++) text_of(random_below(&bench->random, bench->key_count), texts[i]);
    const struct compiled_route *route = route_of(bench, what);
    uint64_t begin = thread_ns();
    requests(bench, route, what, TURNS);
    return (double)(thread_ns() - begin) / TURNS;
}

/* Instructions each. */
static double count_it(struct bench *bench, enum what what)
{
    const struct compiled_route *route = route_of(bench, what);
    instructions_begin();
    requests(bench, route, what, COUNTED_CALLS);
    return instructions_end(COUNTED_CALLS);
}

/* As in a gateway that has run for a while: the first uses of a key in a minute, and ever, are written down. */
static void warm_up(struct bench *bench)
{
    struct api_key_use uses[API_KEY_USES_AT_ONCE];
    for (uint64_t i = 0; i < 3 * bench->key_count; i++) {
        char text[44];
        uint8_t hash[API_KEY_HASH_BYTES];
        struct api_key key;
        api_key_hash(text_of(i % bench->key_count, text), hash);
        if (api_keys_find(bench->keys, 0, hash, NOW_NS / 1000, &key) == API_KEY_FOUND)
            api_keys_note_use(bench->keys, 0, &key, NOW_NS / 1000);
        if (i % 256 == 0) api_keys_take_uses(bench->keys, uses);
        if (i % REQUESTS_A_TURN == 0) api_keys_quiesce(bench->keys, 0);
    }
}

static void tell(const char *name, double ns, double instructions, bool json)
{
    char counted[24];
    printf(json ? "{\"name\": \"%s\", \"ns\": %.0f, \"instructions\": %s}\n" : "%-28s %5.0f ns, %s instructions\n",
           name, ns, count_text(instructions, counted));
}

static void measure(struct bench *bench, int rounds, bool json)
{
    static const char *const names[WHAT_COUNT] = { "a request alone", "api-key", "access (roles, 5 rules)",
                                                   "six edits of headers" };
    double each[WHAT_COUNT][ROUNDS_MAX], memory[ROUNDS_MAX];
    warm_up(bench);
    for (int i = 0; i < rounds; i++) {
        each[EMPTY][i] = time_it(bench, EMPTY);
        for (enum what what = KEY; what < WHAT_COUNT; what++) each[what][i] = time_it(bench, what) - each[EMPTY][i];
        memory[i] = chase_ns(&bench->chase);
    }
    double alone = count_it(bench, EMPTY);
    tell(names[EMPTY], median(each[EMPTY], rounds), alone, json);
    for (enum what what = KEY; what < WHAT_COUNT; what++)
        tell(names[what], median(each[what], rounds), count_it(bench, what) - alone, json);
    printf(json ? "{\"name\": \"memory\", \"ns\": %.0f}\n" : "a random access to memory    %5.0f ns\n",
           median(memory, rounds));
}

int main(int count, char **arguments)
{
    static struct bench bench = { .key_count = 1000000 };
    static struct policy_surroundings around;
    const struct policy_registry registry = { .filters = filters_all, .handlers = handlers_all };
    bool json = false;
    int rounds = 7;
    for (int i = 1; i < count; i++) {
        if (strcmp(arguments[i], "--json") == 0) {
            json = true;
        } else if (strcmp(arguments[i], "--rounds") == 0 && i + 1 < count && atoi(arguments[i + 1]) > 0) {
            rounds = atoi(arguments[++i]) < ROUNDS_MAX ? atoi(arguments[i]) : ROUNDS_MAX;
        } else if (strcmp(arguments[i], "--keys") == 0 && i + 1 < count && atoll(arguments[i + 1]) > 0) {
            bench.key_count = strtoull(arguments[++i], NULL, 10);
        } else {
            fprintf(stderr, "usage: access [--json] [--rounds N] [--keys N]\n");
            return 2;
        }
    }
    start(&bench, &registry, &around);
    measure(&bench, rounds, json);
    return 0;
}
