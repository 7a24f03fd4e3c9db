/* add-query-param: adds a parameter to the query that the service sees.
 *
 * Name and value are percent-encoded (all but RFC 3986's unreserved characters), so whatever a variable brings in stays one value.
 * State: the encoded parameter, whole or up to its value (route). Never waits; memory comes from the exchange's arena. */
#include "filters/filters.h"

#include "base/memory.h"
#include "filters/private.h"

struct add_query_param_config {
    struct slice name, value;
};

struct add_query_param {
    struct template *value; /* NULL: `text` holds the value too */
    char *text_bytes;
    struct slice text; /* "name=", or "name=value" */
};

static bool check_parameter_name(struct schema_reading *, const struct node *, const void *name);

static const struct field add_query_param_fields[] = {
    { .name = "name",
      .type = FIELD_STRING,
      .into = offsetof(struct add_query_param_config, name),
      .required = true,
      .check = check_parameter_name,
      .summary = "The parameter's name, not encoded." },
    { .name = "value",
      .type = FIELD_STRING,
      .into = offsetof(struct add_query_param_config, value),
      .required = true,
      .summary = "Its value, not encoded; may hold variables such as `${path.NAME}`." },
    FIELDS_END,
};

static bool add_query_param_compile(const struct filter_compile *, const void *value, void **compiled);
static void add_query_param_release(void *compiled);
static enum filter_result add_query_param_request(struct exchange *, const void *compiled, void *state);

const struct filter filter_add_query_param = {
    .name = "add-query-param",
    .summary = "Adds a parameter to the query that the service sees.",
    .phase = PHASE_TRANSFORM,
    .fields = add_query_param_fields,
    .config_size = sizeof(struct add_query_param_config),
    .all_scopes_apply = true,
    .compile = add_query_param_compile,
    .release = add_query_param_release,
    .request = add_query_param_request,
};

/* --- encoding --- */

static bool is_unreserved(char byte)
{
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || (byte >= '0' && byte <= '9') ||
           byte == '-' || byte == '.' || byte == '_' || byte == '~';
}

static size_t encoded_length(struct slice text)
{
    size_t length = text.length;
    for (size_t i = 0; i < text.length; i++) length += is_unreserved(text.at[i]) ? 0 : 2;
    return length;
}

static char *encode(struct slice text, char *into)
{
    static const char digits[] = "0123456789ABCDEF";
    for (size_t i = 0; i < text.length; i++) {
        uint8_t byte = (uint8_t)text.at[i];
        if (is_unreserved(text.at[i])) {
            *into++ = text.at[i];
            continue;
        }
        *into++ = '%';
        *into++ = digits[byte >> 4];
        *into++ = digits[byte & 15];
    }
    return into;
}

/* --- loading --- */

static bool check_parameter_name(struct schema_reading *reading, const struct node *node, const void *name)
{
    if (((const struct slice *)name)->length > 0) return true;
    problems_add(reading->problems, node, NULL, "a query parameter needs a name");
    return false;
}

static bool add_query_param_compile(const struct filter_compile *compile, const void *value, void **compiled)
{
    const struct add_query_param_config *config = value;
    struct template *template = filter_compile_template(compile, "value", config->value);
    if (!template) return false;
    struct slice constant = SLICE("");
    if (template_is_constant(template)) constant = template_render(template, NULL, NULL, NULL);
    struct add_query_param *parameter = memory_allocate(sizeof *parameter);
    parameter->text_bytes = memory_allocate(encoded_length(config->name) + 1 + encoded_length(constant));
    char *end = encode(config->name, parameter->text_bytes);
    *end++ = '=';
    end = encode(constant, end);
    parameter->text = slice_of(parameter->text_bytes, (size_t)(end - parameter->text_bytes));
    if (template_is_constant(template)) {
        template_destroy(template);
    } else {
        parameter->value = template;
    }
    *compiled = parameter;
    return true;
}

static void add_query_param_release(void *compiled)
{
    struct add_query_param *parameter = compiled;
    template_destroy(parameter->value);
    free(parameter->text_bytes);
    free(parameter);
}

/* --- requests --- */

/* Absent when memory is short. */
static struct slice encode_value(const struct exchange *exchange, const struct template *template)
{
    if (!template) return SLICE("");
    struct slice value = exchange_render(exchange, template);
    char *encoded = slice_is_absent(value) ? NULL : arena_allocate(exchange->arena, encoded_length(value) + 1);
    return encoded ? slice_of(encoded, (size_t)(encode(value, encoded) - encoded)) : SLICE_ABSENT;
}

static enum filter_result add_query_param_request(struct exchange *exchange, const void *compiled, void *state)
{
    const struct add_query_param *parameter = compiled;
    struct slice before = exchange->upstream_query, value = encode_value(exchange, parameter->value);
    struct slice parts[] = { before, before.length ? SLICE("&") : SLICE(""), parameter->text, value };
    struct slice query = slice_is_absent(value) ? value : arena_join(exchange->arena, parts, COUNT_OF(parts));
    if (slice_is_absent(query)) {
        respond_no_memory(exchange);
        return FILTER_RESPOND;
    }
    exchange->upstream_query = query;
    return FILTER_NEXT;
}
