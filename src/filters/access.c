/* access: who may do what: scopes, roles and rules.
 *
 * Up to four questions, in this order, and all that are asked must say yes: has the caller the scopes that the method needs, one of the roles
 * named here, a role whose permissions allow the request (/admin/roles), and what do the rules say: the first whose condition holds
 * decides, none: the default. Several of these policies on a route are all asked, the widest scope first, so a route can't lift what is denied
 * everywhere. Who has not said who he is gets a 401 where there is a way to say it, else 403.
 * State: the compiled questions (route). Never waits; what expressions make lives in the exchange's arena. */
#include "filters/filters.h"

#include "base/memory.h"
#include "exchange/variables.h"
#include "expr/variables.h"
#include "filters/private.h"
#include "http/our_names.h"

struct scope_settings {
    struct slice_list methods, scopes;
};

struct rule_settings {
    struct slice name, condition;
    int effect; /* index into effects */
};

struct access_settings {
    struct slice name;
    struct slice_list claims, roles;
    bool permissions, dry_run;
    struct object_list scopes; /* struct scope_settings */
    struct object_list rules;  /* struct rule_settings */
    int otherwise;             /* index into effects */
    int on_failure;
};

struct scope_question {
    struct method_set methods;
    struct slice *scopes;
    size_t count;
};

struct access_rule {
    struct slice name;
    bool denies;
    struct expression *condition; /* NULL: always */
};

struct access {
    struct arena arena; /* of all texts and arrays */
    struct slice name;
    struct role_claims claims;
    struct slice *roles;
    size_t role_count;
    struct scope_question *scopes;
    size_t scope_count;
    size_t scope_bytes; /* of all, each with a space */
    struct access_rule *rules;
    size_t rule_count;
    struct slice *read_names; /* of request headers, by all rules; maybe one more than once */
    size_t read_name_count;
    bool reads_underscores; /* in one of those: see header_may_look_like() */
    bool asks_permissions, denies_otherwise, denies_on_failure, is_dry;
};

static bool check_rule_name(struct schema_reading *, const struct node *, const void *text);
static bool check_claim(struct schema_reading *, const struct node *, const void *text);
static bool check_role_name(struct schema_reading *, const struct node *, const void *text);
static bool check_method_name(struct schema_reading *, const struct node *, const void *text);

static const char *const effects[] = { "deny", "allow", NULL };

static const struct field scope_fields[] = {
    { .name = "scopes",
      .type = FIELD_STRING_LIST,
      .into = offsetof(struct scope_settings, scopes),
      .required = true,
      .minimum = 1,
      .maximum = 64,
      .one_or_many = true,
      .check = check_scope_word,
      .summary = "Scopes that the caller must have, all of them." },
    { .name = "methods",
      .type = FIELD_STRING_LIST,
      .into = offsetof(struct scope_settings, methods),
      .maximum = 64,
      .one_or_many = true,
      .check = check_method_name,
      .summary = "The methods they are needed for; `GET` means `HEAD` too. Absent: all." },
    FIELDS_END,
};

static const struct field rule_fields[] = {
    { .name = "name",
      .type = FIELD_STRING,
      .into = offsetof(struct rule_settings, name),
      .required = true,
      .check = check_rule_name,
      .summary = "What a refusal calls it." },
    { .name = "effect",
      .type = FIELD_ENUM,
      .into = offsetof(struct rule_settings, effect),
      .names = effects,
      .required = true,
      .summary = "What becomes of requests that the condition holds for." },
    { .name = "when",
      .type = FIELD_STRING,
      .into = offsetof(struct rule_settings, condition),
      .summary = "The condition, an expression. Absent: it always holds." },
    FIELDS_END,
};

static const struct field access_fields[] = {
    { .name = "name",
      .type = FIELD_STRING,
      .into = offsetof(struct access_settings, name),
      .fallback = "access",
      .check = check_rule_name,
      .summary = "What a refusal calls the policy, where no rule refused." },
    { .name = "requiredScopes",
      .type = FIELD_OBJECT_LIST,
      .into = offsetof(struct access_settings, scopes),
      .fields = scope_fields,
      .item_size = sizeof(struct scope_settings),
      .maximum = 64,
      .one_or_many = true,
      .summary = "Scopes by method; all that fit the request's method count. Absent: none are needed." },
    { .name = "roles",
      .type = FIELD_STRING_LIST,
      .into = offsetof(struct access_settings, roles),
      .maximum = 64,
      .one_or_many = true,
      .check = check_role_name,
      .summary = "Names of roles, of which the caller must have one. Absent: none is needed." },
    { .name = "permissions",
      .type = FIELD_BOOLEAN,
      .into = offsetof(struct access_settings, permissions),
      .fallback = "false",
      .summary = "Whether a role of the caller must allow the request by its `permissions`." },
    { .name = "roleClaims",
      .type = FIELD_STRING_LIST,
      .into = offsetof(struct access_settings, claims),
      .fallback = "[roles]",
      .maximum = 16,
      .one_or_many = true,
      .check = check_claim,
      .summary =
          "Claims whose texts name roles of the caller: a member's name, or a JSON pointer such as `/realm_access/roles`." },
    { .name = "rules",
      .type = FIELD_OBJECT_LIST,
      .into = offsetof(struct access_settings, rules),
      .fields = rule_fields,
      .item_size = sizeof(struct rule_settings),
      .maximum = 256,
      .summary = "In order: the first whose condition holds decides. Absent: the other questions decide alone." },
    { .name = "default",
      .type = FIELD_ENUM,
      .into = offsetof(struct access_settings, otherwise),
      .names = effects,
      .fallback = "deny",
      .summary = "What becomes of requests that no rule's condition holds for." },
    { .name = "onFailure",
      .type = FIELD_ENUM,
      .into = offsetof(struct access_settings, on_failure),
      .names = effects,
      .fallback = "deny",
      .summary =
          "What a rule of effect `deny` does when its condition can't be evaluated; when that meets a bound it denies "
          "all the same. One of effect `allow` then doesn't allow." },
    { .name = "dryRun",
      .type = FIELD_BOOLEAN,
      .into = offsetof(struct access_settings, dry_run),
      .fallback = "false",
      .summary = "Refuses nothing; the access log's `wouldRefuse` names the rule." },
    FIELDS_END,
};

static bool access_check(struct schema_reading *, const struct node *, const void *value);
static bool access_compile(const struct filter_compile *, const void *value, void **compiled);
static void access_release(void *compiled);
static enum filter_result access_request(struct exchange *, const void *compiled, void *state);
static void access_explain(struct exchange *, const void *compiled, struct explanation *);

const struct filter filter_access = {
    .name = "access",
    .summary = "Refuses callers that lack scopes or roles, or by rules (403).",
    .phase = PHASE_ACCESS,
    .fields = access_fields,
    .config_size = sizeof(struct access_settings),
    .all_scopes_apply = true,
    .check = access_check,
    .compile = access_compile,
    .release = access_release,
    .request = access_request,
    .explain = access_explain,
};

/* --- loading --- */

static bool is_text(struct slice text, size_t length_max)
{
    for (size_t i = 0; i < text.length; i++) {
        if ((unsigned char)text.at[i] < ' ' || text.at[i] == 0x7f) return false;
    }
    return text.length > 0 && text.length <= length_max;
}

static bool check_text(struct schema_reading *reading, const struct node *node, const void *value, const char *what)
{
    const struct slice *text = value;
    if (is_text(*text, 200)) return true;
    problems_add(reading->problems, node, "1 to 200 characters, none of control", "not %s: \"%s\"", what,
                 problems_excerpt(*text).text);
    return false;
}

static bool check_rule_name(struct schema_reading *reading, const struct node *node, const void *text)
{
    return check_text(reading, node, text, "a name");
}

static bool check_claim(struct schema_reading *reading, const struct node *node, const void *text)
{
    return check_text(reading, node, text, "a claim's name or pointer");
}

static bool check_role_name(struct schema_reading *reading, const struct node *node, const void *text)
{
    return check_text(reading, node, text, "a role's name");
}

static bool check_method_name(struct schema_reading *reading, const struct node *node, const void *text)
{
    const struct slice *method = text;
    if (header_name_is_valid(*method) && method->length <= METHOD_BYTES_MAX) return true; /* both are tokens */
    problems_add(reading->problems, node, NULL, "not a method: \"%s\"", problems_excerpt(*method).text);
    return false;
}

static bool access_check(struct schema_reading *reading, const struct node *node, const void *value)
{
    const struct access_settings *settings = value;
    const struct rule_settings *rules = settings->rules.items;
    bool good = true;
    if (settings->roles.count + settings->scopes.count + settings->rules.count == 0 && !settings->permissions) {
        problems_add(reading->problems, node, NULL,
                     "one of \"requiredScopes\", \"roles\", \"permissions\" and \"rules\" must say who is let in");
        return false;
    }
    for (size_t i = 0; i < settings->rules.count; i++) {
        for (size_t j = 0; j < i; j++) {
            if (rules[i].name.length == 0 || !slice_equal(rules[i].name, rules[j].name)) continue;
            problems_add(reading->problems, node_find(node, "rules"), "each name tells one rule",
                         "two rules are called \"%s\"", problems_excerpt(rules[i].name).text);
            good = false;
        }
    }
    return good;
}

static void *allocate(struct access *access, size_t count, size_t size)
{
    void *memory = arena_allocate_zeroed(&access->arena, (count + 1) * size);
    PROMISE(memory != NULL); /* control plane: out of memory */
    return memory;
}

static struct slice *keep_all(struct access *access, const struct slice_list *texts)
{
    struct slice *copies = allocate(access, texts->count, sizeof *copies);
    for (size_t i = 0; i < texts->count; i++) copies[i] = arena_keep(&access->arena, texts->items[i]);
    return copies;
}

static void compile_scopes(struct access *access, const struct object_list *list)
{
    const struct scope_settings *settings = list->items;
    access->scopes = allocate(access, list->count, sizeof *access->scopes);
    for (; access->scope_count < list->count; access->scope_count++, settings++) {
        struct scope_question *question = &access->scopes[access->scope_count];
        struct slice *others = allocate(access, settings->methods.count, sizeof *others);
        question->methods = method_set_of(keep_all(access, &settings->methods), settings->methods.count, others);
        question->scopes = keep_all(access, &settings->scopes);
        question->count = settings->scopes.count;
        for (size_t i = 0; i < question->count; i++) access->scope_bytes += question->scopes[i].length + 1;
    }
}

/* Problems are told at the rule, not at the policy. */
static bool compile_rules(struct access *access, const struct filter_compile *compile, const struct object_list *list)
{
    const struct rule_settings *settings = list->items;
    const struct node *nodes = compile->node ? node_find(compile->node, "rules") : NULL;
    const struct node *node = nodes && nodes->kind == NODE_LIST ? nodes->first : NULL;
    struct filter_compile here = *compile;
    bool good = true;
    access->rules = allocate(access, list->count, sizeof *access->rules);
    for (; access->rule_count < list->count; access->rule_count++, settings++) {
        struct access_rule *rule = &access->rules[access->rule_count];
        rule->name = arena_keep(&access->arena, settings->name);
        rule->denies = settings->effect == 0;
        if (node) here.node = node;
        if (!slice_is_absent(settings->condition)) {
            rule->condition = filter_compile_expression(&here, "when", settings->condition, EXPRESSION_BOOL);
            good = good && rule->condition;
        }
        if (node) node = node->next;
    }
    return good;
}

static void count_name(void *argument, struct slice name)
{
    (void)name;
    ++*(size_t *)argument;
}

static void note_name(void *argument, struct slice name)
{
    struct access *access = argument;
    access->read_names[access->read_name_count++] = name;
    access->reads_underscores |= slice_find_byte(name, '_') != SLICE_NOT_FOUND;
}

static void find_read_names(struct access *access)
{
    size_t count = 0;
    for (size_t i = 0; i < access->rule_count; i++) {
        const struct expression *condition = access->rules[i].condition;
        if (condition) expression_each_key(condition, VARIABLE_REQUEST_HEADERS, count_name, &count);
    }
    access->read_names = allocate(access, count, sizeof *access->read_names);
    for (size_t i = 0; i < access->rule_count; i++) {
        const struct expression *condition = access->rules[i].condition;
        if (condition) expression_each_key(condition, VARIABLE_REQUEST_HEADERS, note_name, access);
    }
}

static bool access_compile(const struct filter_compile *compile, const void *value, void **compiled)
{
    const struct access_settings *settings = value;
    struct access *access = memory_allocate(sizeof *access);
    arena_init(&access->arena, NULL);
    access->name = arena_keep(&access->arena, settings->name);
    access->claims = (struct role_claims){ keep_all(access, &settings->claims), settings->claims.count };
    access->roles = keep_all(access, &settings->roles);
    access->role_count = settings->roles.count;
    access->asks_permissions = settings->permissions;
    access->denies_otherwise = settings->otherwise == 0;
    access->denies_on_failure = settings->on_failure == 0;
    access->is_dry = settings->dry_run;
    compile_scopes(access, &settings->scopes);
    if (compile_rules(access, compile, &settings->rules)) {
        find_read_names(access);
        *compiled = access;
        return true;
    }
    access_release(access);
    return false;
}

static void access_release(void *compiled)
{
    struct access *access = compiled;
    for (size_t i = 0; i < access->rule_count; i++) expression_destroy(access->rules[i].condition);
    arena_release(&access->arena);
    free(access);
}

/* --- deciding: without effects, so that it can be tried, explained and logged --- */

struct refusal {
    struct slice rule;  /* what refuses */
    const char *reason; /* for metrics */
    const char *format; /* the client's text, with `what` */
    struct slice what;  /* may be empty */
    bool lacks_scope;
};

static bool concerns(const struct scope_question *question, const struct request_head *request)
{
    return method_set_holds(&question->methods, request->method, request->method_text);
}

static bool has_scopes(const struct exchange *exchange, const struct access *access, struct refusal *refusal)
{
    for (size_t i = 0; i < access->scope_count; i++) {
        const struct scope_question *question = &access->scopes[i];
        if (!concerns(question, exchange->request)) continue;
        for (size_t j = 0; j < question->count; j++) {
            if (identity_has_scope(&exchange->identity, question->scopes[j])) continue;
            *refusal = (struct refusal){ access->name, "insufficient-scope", "the scope \"%.*s\" is missing",
                                         question->scopes[j], true };
            return false;
        }
    }
    return true;
}

static bool has_a_role(const struct exchange *exchange, const struct access *access, struct refusal *refusal)
{
    if (access->role_count == 0) return true;
    for (size_t i = 0; i < access->role_count; i++) {
        if (identity_has_role(exchange, access->roles[i])) return true;
    }
    *refusal = (struct refusal){ .rule = access->name, .reason = "access-denied", .format = "a role is missing%.*s" };
    return false;
}

static bool is_permitted(const struct exchange *exchange, const struct access *access, struct refusal *refusal)
{
    if (!access->asks_permissions) return true;
    const struct role_request request = {
        .method = exchange->request->method,
        .method_text = exchange->request->method_text,
        .route_id = slice_from_cstring(exchange->route->id),
        .route_name = exchange->route->name_slice,
        .path = exchange->request->target.path,
        .scratch = exchange->worker->router_scratch,
    };
    if (identity_roles_allow(exchange, &request)) return true;
    *refusal = (struct refusal){ .rule = access->name,
                                 .reason = "access-denied",
                                 .format = "no role of the caller allows this%.*s" };
    return false;
}

/* What can't be evaluated never opens a door. `onFailure` speaks of what the request doesn't have; that a bound was met says nothing of the
 * request, and a stranger could meet it on purpose to get past a rule: then it denies. */
static bool condition_holds(const struct access *access, const struct access_rule *rule,
                            const struct expression_inputs *inputs, struct arena *arena)
{
    struct expression_value value;
    if (!rule->condition) return true;
    enum expression_outcome outcome = expression_try(rule->condition, inputs, arena, &value, NULL);
    if (outcome == EXPRESSION_DONE) return value.boolean;
    bool met_bound = outcome == EXPRESSION_TOO_COSTLY || outcome == EXPRESSION_OUT_OF_MEMORY;
    return rule->denies && (access->denies_on_failure || met_bound);
}

static bool rules_allow(struct exchange *exchange, const struct access *access, struct refusal *refusal)
{
    struct exchange_inputs inputs;
    exchange_inputs_init(&inputs, exchange);
    for (size_t i = 0; i < access->rule_count; i++) {
        const struct access_rule *rule = &access->rules[i];
        if (!condition_holds(access, rule, &inputs.inputs, exchange->arena)) continue;
        if (!rule->denies) return true;
        *refusal = (struct refusal){
            .rule = rule->name, .reason = "access-denied", .format = "refused by the rule \"%.*s\"", .what = rule->name
        };
        return false;
    }
    if (access->rule_count == 0 || !access->denies_otherwise) return true;
    *refusal = (struct refusal){ .rule = access->name, .reason = "access-denied", .format = "no rule allows this%.*s" };
    return false;
}

static bool allows(struct exchange *exchange, const struct access *access, struct refusal *refusal)
{
    return has_scopes(exchange, access, refusal) && has_a_role(exchange, access, refusal) &&
           is_permitted(exchange, access, refusal) && rules_allow(exchange, access, refusal);
}

/* --- requests --- */

static void append_scopes(const struct exchange *exchange, const struct access *access, char *into, size_t *length)
{
    for (size_t i = 0; i < access->scope_count; i++) {
        const struct scope_question *question = &access->scopes[i];
        for (size_t j = 0; j < question->count && concerns(question, exchange->request); j++) {
            if (scopes_hold(slice_of(into, *length), question->scopes[j])) continue;
            if (*length > 0) into[(*length)++] = ' ';
            memcpy(into + *length, question->scopes[j].at, question->scopes[j].length);
            *length += question->scopes[j].length;
        }
    }
}

/* The policy of a link that refuses where scopes are missing; else NULL. */
static const struct access *scope_policy(const struct chain_link *link)
{
    const struct access *access = link->filter == &filter_access ? link->compiled : NULL;
    return access && !access->is_dry ? access : NULL;
}

/* What a token needs for this request at all the route's policies, so that its client has to ask for another one once. Absent: memory is short. */
static struct slice needed_scopes(struct exchange *exchange)
{
    const struct chain *chain = exchange->route->chain;
    const struct access *access;
    size_t room = 1, length = 0;
    for (size_t i = 0; i < chain->count; i++) {
        if ((access = scope_policy(&chain->links[i])) != NULL) room += access->scope_bytes;
    }
    char *into = arena_allocate(exchange->arena, room);
    if (!into) return SLICE_ABSENT;
    for (size_t i = 0; i < chain->count; i++) {
        if ((access = scope_policy(&chain->links[i])) != NULL) append_scopes(exchange, access, into, &length);
    }
    return slice_of(into, length);
}

/* RFC 6750 3.1. */
static bool add_challenge(struct exchange *exchange)
{
    struct slice scopes = needed_scopes(exchange);
    const struct challenge_parameter parameters[] = { { SLICE("error"), SLICE("insufficient_scope") },
                                                      { SLICE("scope"), scopes } };
    if (slice_is_absent(scopes)) return false;
    struct slice text = identity_challenge_write(exchange->arena, SLICE("Bearer"), parameters, COUNT_OF(parameters));
    return !slice_is_absent(text) && headers_add(&exchange->own_response.headers, SLICE("WWW-Authenticate"), text);
}

static enum filter_result refuse(struct exchange *exchange, const struct refusal *refusal)
{
    const struct identity *identity = &exchange->identity;
    if (!identity_is_known(exchange) && identity_can_be_proven(exchange))
        return identity_demand(exchange, refusal->rule);
    exchange_respond_problem(exchange, 403, refusal->reason, refusal->rule, refusal->format,
                             SLICE_PRINT(refusal->what));
    bool has_token = identity->method == IDENTITY_JWT || identity->method == IDENTITY_EXTERNAL;
    if (refusal->lacks_scope && has_token && !add_challenge(exchange)) respond_no_memory(exchange);
    return FILTER_RESPOND;
}

/* A service by CGI or WSGI reads X_Tenant where a rule has judged X-Tenant. */
static bool only_looks_like_read(const struct access *access, struct slice name)
{
    bool looks_like = false;
    for (size_t i = 0; i < access->read_name_count; i++) {
        if (slice_equal_ignore_case(name, access->read_names[i])) return false;
        looks_like |= header_name_looks_like(name, access->read_names[i]);
    }
    return looks_like;
}

static void remove_lookalikes(const struct access *access, struct headers *headers)
{
    for (struct header *header = headers_next(headers, NULL); header; header = headers_next(headers, header)) {
        if (header_may_look_like(header, access->reads_underscores) && only_looks_like_read(access, header->name))
            headers_remove_one(headers, header);
    }
}

/* What is judged is what the service gets: fields and trailers that could be read in its stead don't go on. */
static bool guard_read_names(struct exchange *exchange, const struct access *access)
{
    struct headers *headers = &exchange->request->headers;
    if (UNLIKELY(headers_may_look_like(headers, access->reads_underscores))) remove_lookalikes(access, headers);
    for (size_t i = 0; i < access->read_name_count; i++) {
        if (!exchange_guard_name(exchange, access->read_names[i], false)) return false;
    }
    return true;
}

static enum filter_result access_request(struct exchange *exchange, const void *compiled, void *state)
{
    (void)state;
    const struct access *access = compiled;
    struct refusal refusal;
    if (access->read_name_count > 0 && !access->is_dry && !guard_read_names(exchange, access)) {
        respond_no_memory(exchange);
        return FILTER_RESPOND;
    }
    identity_set_role_claims(exchange, &access->claims);
    if (LIKELY(allows(exchange, access, &refusal))) return FILTER_NEXT;
    if (!access->is_dry) return refuse(exchange, &refusal);
    if (exchange->would_refuse.length == 0) exchange->would_refuse = refusal.rule;
    return FILTER_NEXT;
}

static void access_explain(struct exchange *exchange, const void *compiled, struct explanation *explanation)
{
    const struct access *access = compiled;
    struct refusal refusal;
    uint32_t count;
    identity_set_role_claims(exchange, &access->claims);
    const struct slice *roles = identity_roles(exchange, &count);
    for (uint32_t i = 0; roles && i < count && i < 8; i++)
        explanation_add(explanation, "the caller has the role \"%.*s\"", SLICE_PRINT(roles[i]));
    if (allows(exchange, access, &refusal)) {
        explanation_add(explanation, "allowed");
        return;
    }
    struct slice text = arena_format(exchange->arena, refusal.format, SLICE_PRINT(refusal.what));
    explanation_add(explanation, "%s by \"%.*s\": %.*s", access->is_dry ? "would be refused, on trial," : "refused",
                    SLICE_PRINT(refusal.rule), SLICE_PRINT(text));
}
