/* admin/errand.c: what a request asks of the changes thread, and the answer's way back.
 *
 * An errand is the handler's until it is under way, then both sides': whoever comes second frees it. The changes thread makes it DONE and
 * posts a ticket; the handler, when its client has gone or the time is over, makes it FORGOTTEN. A change whose client has gone is made all
 * the same, so it is the changes thread that writes the audit line. */
#include "admin/private.h"

enum errand_state { ERRAND_UNDER_WAY, ERRAND_DONE, ERRAND_FORGOTTEN };

struct admin_errand {
    _Atomic int state; /* enum errand_state */
    struct wait_ticket ticket;
    struct change_order *order; /* one of the two */
    struct change_question *question;
    char *request_id;
    /* The order's body counts against the limit until it is gone, whether or not its request still waits. */
    _Atomic size_t *body_bytes; /* the surroundings', which outlive it */
    size_t body_bytes_held;
};

static void errand_destroy(struct admin_errand *errand)
{
    atomic_fetch_sub(errand->body_bytes, errand->body_bytes_held);
    if (errand->order) change_order_destroy(errand->order);
    if (errand->question) change_question_destroy(errand->question);
    free(errand->request_id);
    free(errand);
}

/* --- the changes thread --- */

static bool errand_is_forgotten(const void *argument)
{
    const struct admin_errand *errand = argument;
    return atomic_load(&errand->state) == ERRAND_FORGOTTEN;
}

static void errand_done(struct admin_errand *errand)
{
    struct wait_ticket ticket = errand->ticket; /* behind the exchange the errand may be gone */
    int under_way = ERRAND_UNDER_WAY;
    if (atomic_compare_exchange_strong(&errand->state, &under_way, ERRAND_DONE))
        exchange_resume_from_thread(&ticket);
    else
        errand_destroy(errand);
}

static void order_done(struct change_order *order, void *argument)
{
    struct admin_errand *errand = argument;
    admin_audit_order(order, errand->request_id);
    errand_done(errand);
}

static void question_done(struct change_question *question, void *argument)
{
    (void)question;
    errand_done(argument);
}

/* --- the admin worker's --- */

void admin_errand_forget(struct admin_request *request)
{
    struct admin_errand *errand = request->errand;
    int under_way = ERRAND_UNDER_WAY;
    request->errand = NULL;
    if (errand && !atomic_compare_exchange_strong(&errand->state, &under_way, ERRAND_FORGOTTEN)) errand_destroy(errand);
}

static enum admin_step refuse_late(struct exchange *exchange, struct admin_request *request)
{
    bool is_order = request->then_order != NULL;
    admin_errand_forget(request);
    return admin_refuse(exchange, request, 504, "too-late",
                        is_order ? "look before you repeat it: GET /admin/revisions tells" : NULL, "%s",
                        is_order ? "the change did not come into force in time; it is still under way"
                                 : "the store did not answer in time");
}

static enum admin_step errand_is_over(struct exchange *exchange, struct admin_request *request)
{
    struct admin_errand *errand = request->errand;
    if (!errand) return admin_refuse(exchange, request, 503, "out-of-memory", NULL, "the gateway is short of memory");
    if (atomic_load(&errand->state) != ERRAND_DONE) return refuse_late(exchange, request);
    enum admin_step step = errand->order ? request->then_order(exchange, request, errand->order)
                                         : request->then_question(exchange, request, errand->question);
    if (request->errand == errand && step == ADMIN_ANSWERED) admin_errand_forget(request);
    return step;
}

/* False: no ticket is to be had; what waits is told so. */
static bool send_out(struct exchange *exchange, struct admin_request *request, struct admin_errand *errand)
{
    admin_wait(exchange, request, ADMIN_ERRAND_MS_MAX, errand_is_over);
    if (!exchange_wait_ticket(&request->wait, &errand->ticket)) {
        errand_destroy(errand);
        exchange_resume(&request->wait);
        return false;
    }
    request->errand = errand;
    return true;
}

static struct admin_errand *errand_create(const struct exchange *exchange)
{
    struct admin_errand *errand = memory_allocate(sizeof *errand);
    atomic_init(&errand->state, ERRAND_UNDER_WAY);
    errand->request_id = memory_copy_slice(exchange->request_id);
    errand->body_bytes = &exchange->worker->admin->body_bytes;
    return errand;
}

enum admin_step admin_errand_order(struct exchange *exchange, struct admin_request *request, struct change_order *order,
                                   enum admin_step (*then)(struct exchange *, struct admin_request *,
                                                           struct change_order *))
{
    struct admin_errand *errand = errand_create(exchange);
    errand->order = order;
    errand->body_bytes_held = order->body_length;
    atomic_fetch_add(errand->body_bytes, errand->body_bytes_held);
    order->done = order_done;
    order->is_forgotten = errand_is_forgotten;
    order->argument = errand;
    request->then_order = then;
    if (send_out(exchange, request, errand)) changes_submit(exchange->worker->admin->changes, order);
    return ADMIN_WAITS;
}

enum admin_step admin_errand_ask(struct exchange *exchange, struct admin_request *request,
                                 struct change_question *question,
                                 enum admin_step (*then)(struct exchange *, struct admin_request *,
                                                         struct change_question *))
{
    struct admin_errand *errand = errand_create(exchange);
    errand->question = question;
    question->done = question_done;
    question->is_forgotten = errand_is_forgotten;
    question->argument = errand;
    request->then_question = then;
    if (send_out(exchange, request, errand)) changes_ask(exchange->worker->admin->changes, question);
    return ADMIN_WAITS;
}
