/* What the OpenAPI document says there is, and what the admin API serves: two tables, which must say the same. And fields of policies. */
#include "unit_test.h"

#include "admin/private.h"
#include "config/openapi_private.h"
#include "filters/filters.h"

static const struct openapi_endpoint *told(const struct admin_endpoint *endpoint)
{
    for (size_t i = 0; i < openapi_endpoint_count; i++) {
        if (strcmp(openapi_endpoints[i].path, endpoint->path) == 0 && openapi_endpoints[i].method == endpoint->method)
            return &openapi_endpoints[i];
    }
    fail_msg("%s is not in config/openapi_endpoints.c", endpoint->path);
    return NULL;
}

static void every_endpoint_is_told_as_it_is_served(void **state)
{
    assert_int_equal(openapi_endpoint_count, admin_endpoint_count);
    for (size_t i = 0; i < admin_endpoint_count; i++) {
        const struct admin_endpoint *served = &admin_endpoints[i];
        const struct openapi_endpoint *endpoint = told(served);
        assert_int_equal((int)endpoint->access, (int)served->access);
        assert_string_equal(endpoint->queries, served->queries);
        assert_int_equal(endpoint->request != NULL, served->body_bytes_max > 0);
        assert_int_equal(endpoint->request_optional, served->body_may_be_absent);
    }
}

static void lists_can_be_asked_for_what_is_told(void **state)
{
    for (size_t kind = 0; kind < RESOURCE_KIND_COUNT; kind++)
        assert_string_equal(openapi_list_queries((enum resource_kind)kind), admin_list_queries(&resource_types[kind]));
}

static void fields_of_policies_have_a_type(void **state)
{
    for (const struct filter *const *filter = filters_all; *filter; filter++) {
        for (const struct field *field = (*filter)->fields; field->name; field++) {
            if (field->type != FIELD_CUSTOM) continue;
            json_t *known = openapi_custom(field->type_text, true);
            if (!known) fail_msg("%s.%s: openapi_schema.c knows no such type", (*filter)->name, field->name);
            json_decref(known);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_endpoint_is_told_as_it_is_served),
        cmocka_unit_test(lists_can_be_asked_for_what_is_told),
        cmocka_unit_test(fields_of_policies_have_a_type),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
