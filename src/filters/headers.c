/* add-header, set-header, remove-header: edit the fields of the request on its way to the service, or of the answer on its way back.
 *
 * Names are checked at load, values are templates; one without variables costs nothing to render. Request side: the
 * service sees the change; X-Request-ID, X-Forwarded-* and the identity's headers are written behind all filters, so editing
 * them is refused at load. A client's fields that CGI and WSGI would read as the set or removed one (http/our_names.h) go with it, and its
 * trailers don't bring it back (exchange_guard_name). Response side: runs for the service's answers and for those that later filters made.
 * State: the compiled edit (route). Never waits; memory comes from the exchange's arena. RFC 9110 5. */
#include "filters/filters.h"

#include "base/memory.h"
#include "filters/private.h"
#include "http/our_names.h"

struct header_edit_config {
    struct slice name, value;
};

struct header_edit {
    bool is_prefix;    /* remove-header: all names that begin with it */
    bool is_of_answer; /* on: response */
    char *name_text;
    struct header_constant field; /* its value: what the template says, if that is the same for all */
    struct template *value;       /* NULL: remove-header */
};

static bool check_removed_name(struct schema_reading *, const struct node *, const void *value);

static const struct field written_fields[] = {
    { .name = "name",
      .type = FIELD_STRING,
      .into = offsetof(struct header_edit_config, name),
      .required = true,
      .check = check_header_name,
      .summary = "The header's name." },
    { .name = "value",
      .type = FIELD_STRING,
      .into = offsetof(struct header_edit_config, value),
      .required = true,
      .check = check_header_value,
      .summary = "Its value; may hold variables such as `${path.NAME}`." },
    FIELDS_END,
};

static const struct field removed_fields[] = {
    { .name = "name",
      .type = FIELD_STRING,
      .into = offsetof(struct header_edit_config, name),
      .required = true,
      .check = check_removed_name,
      .summary = "The header's name, or its beginning and a `*`." },
    FIELDS_END,
};

static bool header_edit_compile(const struct filter_compile *, const void *config, void **compiled);
static bool header_removal_compile(const struct filter_compile *, const void *config, void **compiled);
static void header_edit_release(void *compiled);
static enum filter_result add_header_request(struct exchange *, const void *compiled, void *state);
static enum filter_result add_header_response(struct exchange *, const void *compiled, void *state);
static enum filter_result set_header_request(struct exchange *, const void *compiled, void *state);
static enum filter_result set_header_response(struct exchange *, const void *compiled, void *state);
static enum filter_result remove_header_request(struct exchange *, const void *compiled, void *state);
static enum filter_result remove_header_response(struct exchange *, const void *compiled, void *state);
static void add_header_explain(struct exchange *, const void *compiled, struct explanation *);
static void set_header_explain(struct exchange *, const void *compiled, struct explanation *);
static void remove_header_explain(struct exchange *, const void *compiled, struct explanation *);

const struct filter filter_add_header = {
    .name = "add-header",
    .summary = "Adds a header to the request or the response, beside those of the same name.",
    .phase = PHASE_TRANSFORM,
    .fields = written_fields,
    .config_size = sizeof(struct header_edit_config),
    .all_scopes_apply = true,
    .on_response_allowed = true,
    .compile = header_edit_compile,
    .release = header_edit_release,
    .request = add_header_request,
    .response_head = add_header_response,
    .explain = add_header_explain,
};

const struct filter filter_set_header = {
    .name = "set-header",
    .summary = "Sets a header of the request or the response, in place of those of the same name.",
    .phase = PHASE_TRANSFORM,
    .fields = written_fields,
    .config_size = sizeof(struct header_edit_config),
    .all_scopes_apply = true,
    .on_response_allowed = true,
    .compile = header_edit_compile,
    .release = header_edit_release,
    .request = set_header_request,
    .response_head = set_header_response,
    .explain = set_header_explain,
};

const struct filter filter_remove_header = {
    .name = "remove-header",
    .summary = "Removes headers of the request or the response by name or by the beginning of their names.",
    .phase = PHASE_TRANSFORM,
    .fields = removed_fields,
    .config_size = sizeof(struct header_edit_config),
    .all_scopes_apply = true,
    .on_response_allowed = true,
    .compile = header_removal_compile,
    .release = header_edit_release,
    .request = remove_header_request,
    .response_head = remove_header_response,
    .explain = remove_header_explain,
};

/* --- loading --- */

/* A lone `*` would take off everything: it must say more. */
static bool check_removed_name(struct schema_reading *reading, const struct node *node, const void *value)
{
    const struct slice *name = value;
    size_t star = slice_find_byte(*name, '*');
    if (star == SLICE_NOT_FOUND) return check_header_name(reading, node, value);
    if (star + 1 == name->length && header_name_is_valid(slice_before(*name, star))) return true;
    problems_add(reading->problems, node, "a name, or its beginning and a *: X-Internal-*", "not a header name: \"%s\"",
                 problems_excerpt(*name).text);
    return false;
}

static struct header_edit *header_edit_create(const struct filter_compile *compile, struct slice name)
{
    if (compile->side == FILTER_ON_REQUEST && header_name_is_ours(name)) {
        const struct node *node = compile->node ? node_find(compile->node, "name") : NULL;
        problems_add(compile->problems, node ? node : compile->node, "it may be changed with on: response",
                     "request header \"%s\" is written by Sluice itself", problems_excerpt(name).text);
        return NULL;
    }
    struct header_edit *edit = memory_allocate(sizeof *edit);
    edit->name_text = memory_copy_slice(name);
    edit->field.key = header_key_of(slice_of(edit->name_text, name.length));
    edit->is_of_answer = compile->side != FILTER_ON_REQUEST;
    return edit;
}

static bool header_edit_compile(const struct filter_compile *compile, const void *config, void **compiled)
{
    const struct header_edit_config *written = config;
    struct header_edit *edit = header_edit_create(compile, written->name);
    if (!edit) return false;
    edit->value = filter_compile_template(compile, "value", written->value);
    if (!edit->value) {
        header_edit_release(edit);
        return false;
    }
    if (template_is_constant(edit->value))
        edit->field = header_constant_of(edit->field.key.name, template_render(edit->value, NULL, NULL, NULL));
    *compiled = edit;
    return true;
}

static bool header_removal_compile(const struct filter_compile *compile, const void *config, void **compiled)
{
    struct header_edit *edit = header_edit_create(compile, ((const struct header_edit_config *)config)->name);
    if (!edit) return false;
    struct slice name = edit->field.key.name;
    edit->is_prefix = slice_ends_with(name, SLICE("*"));
    if (edit->is_prefix) edit->field.key = header_key_of(slice_before(name, name.length - 1));
    *compiled = edit;
    return true;
}

static void header_edit_release(void *compiled)
{
    struct header_edit *edit = compiled;
    template_destroy(edit->value);
    free(edit->name_text);
    free(edit);
}

/* --- requests and answers --- */

/* False: an answer was prepared instead. */
typedef bool header_edit_apply(const struct header_edit *, struct exchange *, struct headers *);

static bool is_constant(const struct header_edit *edit) { return edit->field.value.at != NULL; }

static bool add(const struct header_edit *edit, struct exchange *exchange, struct headers *headers)
{
    const struct header_key *key = &edit->field.key;
    struct slice value;
    if (!is_constant(edit) && !exchange_render_field(exchange, edit->value, SLICE("add-header"), key->name, &value))
        return false;
    bool added = is_constant(edit) ? headers_add_constant(headers, &edit->field) : headers_add_by(headers, key, value);
    if (!added) respond_no_memory(exchange);
    return added;
}

static enum filter_result edit_request(struct exchange *exchange, const struct header_edit *edit,
                                       header_edit_apply *apply)
{
    bool good = apply == add || exchange_guard_name(exchange, edit->field.key.name, edit->is_prefix);
    if (!good) respond_no_memory(exchange);
    return good && apply(edit, exchange, &exchange->request->headers) ? FILTER_NEXT : FILTER_RESPOND;
}

static enum filter_result edit_response(struct exchange *exchange, const struct header_edit *edit,
                                        header_edit_apply *apply)
{
    (void)apply(edit, exchange, &exchange->response->headers);
    return FILTER_NEXT;
}

static enum filter_result add_header_request(struct exchange *exchange, const void *compiled, void *state)
{
    return edit_request(exchange, compiled, add);
}

static enum filter_result add_header_response(struct exchange *exchange, const void *compiled, void *state)
{
    return edit_response(exchange, compiled, add);
}

/* What the client sent under a name that looks like it; what was written by us stays. */
static void remove_lookalikes(const struct header_edit *edit, struct headers *headers)
{
    const struct header_key *key = &edit->field.key;
    if (LIKELY(!headers_may_look_like(headers, key->has_underscore))) return;
    for (struct header *header = headers_next(headers, NULL); header; header = headers_next(headers, header)) {
        if (header_may_look_like(header, key->has_underscore) &&
            header_name_reads_as(header->name, key->name, edit->is_prefix))
            headers_remove_one(headers, header);
    }
}

static bool set(const struct header_edit *edit, struct exchange *exchange, struct headers *headers)
{
    const struct header_key *key = &edit->field.key;
    struct slice value;
    if (!is_constant(edit) && !exchange_render_field(exchange, edit->value, SLICE("set-header"), key->name, &value))
        return false;
    bool is_set = is_constant(edit) ? headers_set_constant(headers, &edit->field) : headers_set_by(headers, key, value);
    if (!is_set) respond_no_memory(exchange);
    return is_set;
}

static bool set_only(const struct header_edit *edit, struct exchange *exchange, struct headers *headers)
{
    if (!set(edit, exchange, headers)) return false;
    remove_lookalikes(edit, headers); /* the value may have been made of one */
    return true;
}

static enum filter_result set_header_request(struct exchange *exchange, const void *compiled, void *state)
{
    return edit_request(exchange, compiled, set_only);
}

static enum filter_result set_header_response(struct exchange *exchange, const void *compiled, void *state)
{
    return edit_response(exchange, compiled, set);
}

/* What is Sluice's own stays also where a prefix would cover it. */
static bool begins_with(struct slice name, struct slice prefix)
{
    return name.length >= prefix.length && slice_equal_ignore_case(slice_before(name, prefix.length), prefix) &&
           !header_is_sluices_own(header_id_find(name));
}

static bool remove_some(const struct header_edit *edit, struct exchange *exchange, struct headers *headers)
{
    if (!edit->is_prefix) {
        headers_remove_by(headers, &edit->field.key);
        return true;
    }
    for (struct header *header = headers_next(headers, NULL); header; header = headers_next(headers, header)) {
        if (begins_with(header->name, edit->field.key.name)) headers_remove_one(headers, header);
    }
    return true;
}

static bool remove_all(const struct header_edit *edit, struct exchange *exchange, struct headers *headers)
{
    remove_lookalikes(edit, headers);
    return remove_some(edit, exchange, headers);
}

static enum filter_result remove_header_request(struct exchange *exchange, const void *compiled, void *state)
{
    return edit_request(exchange, compiled, remove_all);
}

static enum filter_result remove_header_response(struct exchange *exchange, const void *compiled, void *state)
{
    return edit_response(exchange, compiled, remove_some);
}

/* --- explanations: names alone, for values may be secrets --- */

static void explain(const struct header_edit *edit, struct explanation *explanation, const char *verb,
                    const char *preposition)
{
    explanation_add(explanation, "%s %s %s the %s", verb, edit->name_text, preposition,
                    edit->is_of_answer ? "answer" : "request");
}

static void add_header_explain(struct exchange *exchange, const void *compiled, struct explanation *explanation)
{
    explain(compiled, explanation, "adds", "to");
}

static void set_header_explain(struct exchange *exchange, const void *compiled, struct explanation *explanation)
{
    explain(compiled, explanation, "sets", "of");
}

static void remove_header_explain(struct exchange *exchange, const void *compiled, struct explanation *explanation)
{
    explain(compiled, explanation, "takes", "off");
}
