/* Whatever a head holds, credentials are found in one reading, and once they are taken off nobody finds them; all else stays in its order.
 * A key is judged without a crash, and no answer quotes it.
 *
 * The input is a request head. */
#include "h1_fuzzing.h"

#include "base/memory.h"
#include "exchange/exchange.h"
#include "filters/filters.h"
#include "handlers/handlers.h"
#include "keys/api_keys.h"

static const char configuration[] =
    "listeners: [{ address: '127.0.0.1:1' }]\n"
    "routes: [{ name: a, path: /a, respond: { status: 200 }, filters: [{ type: api-key,\n"
    "  headers: [X-API-Key, Authorization], queryParams: [k, 'a b'] }] }]\n";

/* Made once: what a worker has. */
struct around {
    struct loop loop;
    struct exchange_worker worker;
    struct snapshot_builder *builder;
    struct snapshot *snapshot;
    const struct chain *chain;
};

static void no_wake(void *argument) { (void)argument; }

static const struct chain *find_chain(const struct snapshot *snapshot, struct router_scratch *scratch)
{
    struct request_head head = { .method = METHOD_GET, .method_text = SLICE("GET") };
    struct route_match match;
    struct arena arena;
    arena_init(&arena, NULL);
    headers_init(&head.headers, &arena);
    head.target.path = SLICE("/a");
    PROMISE(router_match(snapshot->router, scratch, &head, head.method, head.method_text, NULL, &arena, &match) ==
            ROUTE_FOUND);
    arena_release(&arena);
    return ((const struct compiled_route *)match.target)->chain;
}

static struct around *around(void)
{
    static const struct policy_registry registry = { .filters = filters_all, .handlers = handlers_all };
    static struct policy_surroundings surroundings;
    static struct around around;
    struct error error;
    struct problems problems;
    if (around.chain) return &around;
    surroundings.api_keys = api_keys_create(&(struct api_keys_options){ 1u << 20, 1 }, &error);
    surroundings.workers = 1;
    PROMISE(surroundings.api_keys != NULL);
    api_keys_load_begin(surroundings.api_keys);
    api_keys_load_end(surroundings.api_keys, true);
    struct policy_kinds kinds = policy_registry_kinds(&registry);
    problems_init(&problems, NULL);
    around.builder = snapshot_builder_create(&(struct snapshot_builder_settings){ .registry = &registry,
                                                                                  .surroundings = &surroundings,
                                                                                  .metrics = metrics_create(1),
                                                                                  .workers = 1,
                                                                                  .wake = no_wake });
    struct configuration *read = configuration_load_text(slice_from_cstring(configuration), "fuzz", "/", &kinds,
                                                         &problems);
    PROMISE(read && (around.snapshot = snapshot_builder_load(around.builder, read, &problems)) != NULL);
    problems_release(&problems);
    free((void *)(uintptr_t)kinds.items);
    PROMISE(loop_init(&around.loop, &error));
    around.worker.loop = &around.loop;
    struct router_scratch *scratch = router_scratch_create();
    around.chain = find_chain(around.snapshot, scratch);
    router_scratch_destroy(scratch);
    return &around;
}

/* Pairs that are not of this name, as the text between separators, one after the other. */
static size_t count_pairs(struct slice rest, char separator)
{
    size_t count = 0;
    for (struct slice piece; slice_next(&rest, separator, &piece);) count += piece.length > 0;
    return count;
}

static size_t count_fields(const struct headers *headers)
{
    size_t count = 0;
    for (const struct header *at = headers_next(headers, NULL); at; at = headers_next(headers, at)) count++;
    return count;
}

static void require_gone(struct exchange *exchange, const struct credential_source *source)
{
    struct slice value = SLICE_ABSENT;
    enum credential_found found = credential_find(exchange, source, &value);
    size_t fields = count_fields(&exchange->request->headers);
    size_t pairs = count_pairs(exchange->request->target.query, '&');
    if (found == CREDENTIAL_FOUND) PROMISE(!slice_is_absent(value));
    PROMISE(credential_strip(exchange, source));
    PROMISE(credential_find(exchange, source, &value) == CREDENTIAL_NONE);
    size_t fields_left = count_fields(&exchange->request->headers);
    size_t pairs_left = count_pairs(exchange->request->target.query, '&');
    if (found == CREDENTIAL_NONE) PROMISE(fields_left == fields && pairs_left == pairs);
    if (source->place == CREDENTIAL_IN_QUERY) {
        PROMISE(fields_left == fields && pairs_left <= pairs);
    } else {
        PROMISE(pairs_left == pairs && fields_left <= fields);
    }
    PROMISE(slice_equal(exchange->request->target.query, exchange->upstream_query));
}

static void require_answer(struct exchange *exchange, struct slice key)
{
    const struct response_head *head = &exchange->own_response;
    PROMISE(head->status == 401 || head->status == 400);
    const struct header *challenge = headers_find(&head->headers, SLICE("WWW-Authenticate"));
    PROMISE(challenge && header_value_is_valid(challenge->value));
    struct iovec run;
    bool has_body = exchange->response_body && body_pipe_peek(exchange->response_body, &run, 1) == 1;
    if (has_body && key.length >= 16) PROMISE(slice_find(slice_of(run.iov_base, run.iov_len), key) == SLICE_NOT_FOUND);
    if (exchange->response_body) body_pipe_release(exchange->response_body);
}

static void judge(struct exchange *exchange, const struct chain *chain)
{
    const struct credential_source header = credential_source_of(CREDENTIAL_IN_HEADER, SLICE("X-API-Key"));
    struct slice key = SLICE_ABSENT;
    if (credential_find(exchange, &header, &key) != CREDENTIAL_FOUND) key = SLICE_ABSENT;
    exchange->filter_states = arena_allocate_zeroed(exchange->arena, chain->state_bytes);
    for (uint32_t i = 0; i < chain->count; i++) {
        const struct chain_link *link = &chain->links[i];
        enum filter_result result = link->request(exchange, link->compiled,
                                                  exchange->filter_states + link->state_offset);
        PROMISE(result != FILTER_WAIT);
        if (result == FILTER_RESPOND) {
            require_answer(exchange, key);
            return;
        }
    }
    PROMISE(!"the index is empty, so nobody is let in");
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    const struct around *made = around();
    struct arena arena;
    struct h1_parser parser;
    struct request_head head;
    struct error error;
    char *copy = fuzz_copy((const char *)bytes, length);
    arena_init(&arena, NULL);
    h1_parser_init(&parser);
    request_head_init(&head, &arena);
    if (h1_parse_request(&parser, copy, length, &fuzz_limits, &head, &error) == H1_COMPLETE) {
        struct exchange *exchange = arena_allocate_zeroed(&arena, sizeof *exchange);
        exchange->arena = &arena;
        exchange->request = &head;
        exchange->worker = (struct exchange_worker *)(uintptr_t)&made->worker;
        exchange->upstream_query = head.target.query;
        judge(exchange, made->chain);
        const struct credential_source sources[] = { credential_source_of(CREDENTIAL_IN_HEADER, SLICE("X-API-Key")),
                                                     credential_source_of(CREDENTIAL_IN_HEADER, SLICE("X-Odd")),
                                                     credential_source_of(CREDENTIAL_IN_QUERY, SLICE("k")),
                                                     credential_source_of(CREDENTIAL_IN_QUERY, SLICE("a b")),
                                                     credential_source_of(CREDENTIAL_IN_COOKIE, SLICE("c")) };
        for (size_t i = 0; i < COUNT_OF(sources); i++) require_gone(exchange, &sources[i]);
    }
    arena_release(&arena);
    free(copy);
    return 0;
}
