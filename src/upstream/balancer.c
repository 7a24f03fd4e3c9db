/* Each algorithm looks for the best endpoint that may be taken (weight, not down, not tried, not passed over). Only where there is none is
 * the lesser evil looked for, in one way for all of them. What is down by its health checks is never taken, not even as that. */
#include "upstream/balancer.h"

#include "upstream/private.h"

#define BEGIN_STEPS_MAX 4096 /* endpoints looked at, at most, to begin weighted round robin somewhere in its sequence */

static bool was_tried(const struct balancer_question *question, uint32_t index)
{
    for (unsigned i = 0; i < question->tried_count; i++) {
        if (question->tried[i] == index) return true;
    }
    return false;
}

static bool is_out(const struct endpoint *endpoint)
{
    return endpoint->weight == 0 || health_is_down(&endpoint->instance->health);
}

static bool may_take(const struct service *service, const struct balancer_question *question, uint32_t index)
{
    const struct endpoint *endpoint = &service->endpoints[index];
    return !is_out(endpoint) && !instance_is_passed_over(endpoint->instance, question->now_ms) &&
           !was_tried(question, index);
}

static uint32_t pick_round_robin(const struct service *service, const struct balancer_question *question,
                                 struct random *random)
{
    struct service_line *line = &service->state->lines[question->worker];
    uint32_t count = service->endpoint_count;
    if (!line->begun) {
        line->position = (uint32_t)random_below(random, count);
        line->begun = true;
    }
    uint32_t index = line->position < count ? line->position : 0;
    for (uint32_t i = 0; i < count; i++) {
        if (may_take(service, question, index)) {
            line->position = index + 1;
            return index;
        }
        if (++index == count) index = 0;
    }
    return ENDPOINT_NONE;
}

/* Smooth weighted round robin, as nginx has it: everyone gains its weight, the richest is taken and pays what all gained.
 * 5:1:1 gives a a b a c a a, not a a a a a b c. */
static uint32_t pick_smooth(const struct service *service, const struct balancer_question *question)
{
    uint32_t best = ENDPOINT_NONE;
    int64_t best_balance = 0, gained = 0;
    for (uint32_t i = 0; i < service->endpoint_count; i++) {
        if (!may_take(service, question, i)) continue;
        struct instance_line *line = &service->endpoints[i].instance->lines[question->worker];
        line->balance += service->endpoints[i].weight;
        gained += service->endpoints[i].weight;
        if (best == ENDPOINT_NONE || line->balance > best_balance) {
            best = i;
            best_balance = line->balance;
        }
    }
    if (best != ENDPOINT_NONE) service->endpoints[best].instance->lines[question->worker].balance -= gained;
    return best;
}

static uint32_t pick_weighted_round_robin(const struct service *service, const struct balancer_question *question,
                                          struct random *random)
{
    struct service_line *line = &service->state->lines[question->worker];
    if (UNLIKELY(!line->begun)) {
        uint64_t steps_max = BEGIN_STEPS_MAX / service->endpoint_count + 1;
        uint64_t steps = random_below(random, service->weight_sum < steps_max ? service->weight_sum : steps_max);
        while (steps-- > 0) pick_smooth(service, question);
        line->begun = true;
    }
    return pick_smooth(service, question);
}

/* The lowest load for its weight. Among equals chance decides by weight, so that an idle service is balanced by weight too. */
static uint32_t pick_least_connections(const struct service *service, const struct balancer_question *question,
                                       struct random *random)
{
    uint32_t best = ENDPOINT_NONE;
    uint64_t best_load = 0, best_weight = 1, equals_weight = 0;
    for (uint32_t i = 0; i < service->endpoint_count; i++) {
        if (!may_take(service, question, i)) continue;
        uint64_t weight = service->endpoints[i].weight;
        int64_t in_flight = instance_in_flight(service->endpoints[i].instance);
        uint64_t load = in_flight > 0 ? (uint64_t)in_flight : 0; /* the sum of lines read one by one may dip below */
        if (best != ENDPOINT_NONE && load * best_weight > best_load * weight) continue;
        bool is_better = best == ENDPOINT_NONE || load * best_weight < best_load * weight;
        equals_weight = is_better ? weight : equals_weight + weight;
        if (is_better || random_below(random, equals_weight) < weight) {
            best = i;
            best_load = load;
            best_weight = weight;
        }
    }
    return best;
}

/* Each takes the place of those before it with its share of the weight so far. One look at each, as whether it may be taken changes
 * under our hands: another worker strikes or praises. */
static uint32_t pick_random(const struct service *service, const struct balancer_question *question,
                            struct random *random)
{
    uint32_t picked = ENDPOINT_NONE;
    uint64_t sum = 0;
    for (uint32_t i = 0; i < service->endpoint_count; i++) {
        if (!may_take(service, question, i)) continue;
        uint64_t weight = service->endpoints[i].weight;
        sum += weight;
        if (random_below(random, sum) < weight) picked = i;
    }
    return picked;
}

static uint32_t pick_ip_hash(const struct service *service, const struct balancer_question *question)
{
    size_t points;
    size_t at = hash_ring_find(service->ring, question->client_hash, &points);
    for (size_t i = 0; i < points; i++) {
        uint32_t index = hash_ring_endpoint(service->ring, at);
        if (may_take(service, question, index)) return index;
        if (++at == points) at = 0;
    }
    return ENDPOINT_NONE;
}

/* None is left that was not tried and is not passed over. Better one that wasn't tried, then the one whose time is up first (or
 * is up already); among equals by chance. */
static uint32_t pick_lesser_evil(const struct service *service, const struct balancer_question *question,
                                 struct random *random)
{
    uint32_t best = ENDPOINT_NONE, equals = 0;
    bool best_tried = false;
    uint64_t best_until_ms = 0;
    for (uint32_t i = 0; i < service->endpoint_count; i++) {
        const struct endpoint *endpoint = &service->endpoints[i];
        if (is_out(endpoint)) continue;
        bool tried = was_tried(question, i);
        uint64_t until_ms = atomic_load_explicit(&endpoint->instance->passed_over_until_ms, memory_order_relaxed);
        if (until_ms <= question->now_ms) until_ms = 0;
        bool is_equal = best != ENDPOINT_NONE && tried == best_tried && until_ms == best_until_ms;
        bool is_better = best == ENDPOINT_NONE || tried < best_tried ||
                         (tried == best_tried && until_ms < best_until_ms);
        if (!is_equal && !is_better) continue;
        equals = is_better ? 1 : equals + 1;
        if (random_below(random, equals) != 0) continue;
        best = i;
        best_tried = tried;
        best_until_ms = until_ms;
    }
    return best;
}

uint32_t balancer_pick(const struct service *service, const struct balancer_question *question, struct random *random)
{
    if (service->weight_sum == 0) return ENDPOINT_NONE;
    uint32_t index = ENDPOINT_NONE;
    switch (service->algorithm) {
    case LB_ROUND_ROBIN: index = pick_round_robin(service, question, random); break;
    case LB_WEIGHTED_ROUND_ROBIN: index = pick_weighted_round_robin(service, question, random); break;
    case LB_LEAST_CONNECTIONS: index = pick_least_connections(service, question, random); break;
    case LB_IP_HASH: index = pick_ip_hash(service, question); break;
    case LB_RANDOM: index = pick_random(service, question, random); break;
    }
    return LIKELY(index != ENDPOINT_NONE) ? index : pick_lesser_evil(service, question, random);
}
