/* The table of a configuration's own tests (`sluice check --test`). A gateway that runs reads them and does nothing with them. */
#include "config/private.h"
#include "http/headers.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

static bool check_method_name(struct schema_reading *reading, const struct node *node, const void *value)
{
    return header_name_is_valid(*(const struct slice *)value) || /* both are tokens */
           schema_refuse(reading, &(struct field){ .name = "method" }, node, NULL, "a method, like GET");
}

/* It becomes a request line: nothing that would end it may stand in it. */
static bool check_url(struct schema_reading *reading, const struct node *node, const void *value)
{
    struct slice url = *(const struct slice *)value;
    bool is_good = slice_starts_with(url, SLICE("/")) || slice_starts_with(url, SLICE("http://")) ||
                   slice_starts_with(url, SLICE("https://")) || slice_equal(url, SLICE("*"));
    for (size_t i = 0; i < url.length; i++) is_good &= (unsigned char)url.at[i] > ' ' && url.at[i] != 0x7f;
    return is_good || schema_refuse(reading, &(struct field){ .name = "url" }, node,
                                    "/users/1?x=2 or https://example.com/users/1", "a URL without blanks");
}

static bool check_client_ip(struct schema_reading *reading, const struct node *node, const void *value)
{
    struct address address;
    return address_parse_ip(*(const struct slice *)value, 1, &address) ||
           schema_refuse(reading, &(struct field){ .name = "clientIp" }, node, NULL, "an IP, like 192.0.2.1");
}

/* A regex that is none is told before any test runs, as a route's is. */
static bool check_expected_header(struct schema_reading *reading, const struct node *node, const void *value)
{
    const struct pair *header = value;
    if (!check_match_header(reading, node, value)) return false;
    if (!slice_starts_with(header->value, SLICE("~"))) return true;
    struct slice text = slice_after(header->value, 1);
    int code;
    PCRE2_SIZE offset;
    pcre2_code *regex = pcre2_compile((PCRE2_SPTR)text.at, text.length, PCRE2_DOLLAR_ENDONLY, &code, &offset, NULL);
    pcre2_code_free(regex);
    if (regex) return true;
    char message[100];
    pcre2_get_error_message(code, (PCRE2_UCHAR *)message, sizeof message);
    problems_add(reading->problems, node, NULL, "header \"%s\" is no regular expression: %s at position %zu",
                 problems_excerpt(header->name).text, message, offset + 2); /* behind the "~" */
    return false;
}

static const struct field request_fields[] = {
    { .name = "method",
      .type = FIELD_STRING,
      .into = offsetof(struct test_request_config, method),
      .fallback = "GET",
      .check = check_method_name,
      .summary = "The request's method." },
    { .name = "url",
      .type = FIELD_STRING,
      .into = offsetof(struct test_request_config, url),
      .required = true,
      .check = check_url,
      .summary = "From the path on, or with scheme and host; `https` is as if it came over TLS." },
    { .name = "headers",
      .type = FIELD_STRING_MAP,
      .into = offsetof(struct test_request_config, headers),
      .check = check_answer_header,
      .maximum = 100,
      .summary = "Its header fields. `Host` is the URL's host, else `localhost`." },
    { .name = "body",
      .type = FIELD_STRING,
      .into = offsetof(struct test_request_config, body),
      .summary = "Its body. Absent: none." },
    { .name = "clientIp",
      .type = FIELD_STRING,
      .into = offsetof(struct test_request_config, client_ip),
      .fallback = "192.0.2.1",
      .check = check_client_ip,
      .summary = "Where the connection comes from." },
    { .name = "time",
      .type = FIELD_CUSTOM,
      .into = offsetof(struct test_request_config, time_us),
      .read = read_time,
      .write = write_time,
      .type_text = "time (RFC 3339)",
      .summary = "When it comes, so that tokens and the like can be tested. Absent: now." },
    { .name = "repeat",
      .type = FIELD_INTEGER,
      .into = offsetof(struct test_request_config, repeat),
      .fallback = "1",
      .minimum = 1,
      .maximum = 10000,
      .summary = "How often it is sent; what is expected is expected of the last one." },
    FIELDS_END,
};

static const struct field backend_fields[] = {
    { .name = "status",
      .type = FIELD_INTEGER,
      .into = offsetof(struct test_backend_config, status),
      .fallback = "200",
      .minimum = 200,
      .maximum = 599,
      .summary = "What services answer: the status," },
    { .name = "headers",
      .type = FIELD_STRING_MAP,
      .into = offsetof(struct test_backend_config, headers),
      .check = check_answer_header,
      .maximum = 100,
      .summary = "header fields," },
    { .name = "body",
      .type = FIELD_STRING,
      .into = offsetof(struct test_backend_config, body),
      .summary = "and the body. Absent: none." },
    FIELDS_END,
};

static const struct field expect_fields[] = {
    { .name = "route",
      .type = FIELD_STRING,
      .into = offsetof(struct test_expect_config, route),
      .summary = "The name of the route that takes it, or its path if it has none; `\"\"`: none does." },
    { .name = "service",
      .type = FIELD_STRING,
      .into = offsetof(struct test_expect_config, service),
      .summary = "The name of the service that is asked; `\"\"`: none is." },
    { .name = "status",
      .type = FIELD_INTEGER,
      .into = offsetof(struct test_expect_config, status),
      .present = offsetof(struct test_expect_config, has_status),
      .minimum = 100,
      .maximum = 599,
      .summary = "The answer's status." },
    { .name = "headers",
      .type = FIELD_STRING_MAP,
      .into = offsetof(struct test_expect_config, headers),
      .check = check_expected_header,
      .maximum = 100,
      .summary =
          "The answer's header fields: exact, `*` for any, a leading `~` for a regex, `\"\"` for none of the name." },
    { .name = "rule",
      .type = FIELD_STRING,
      .into = offsetof(struct test_expect_config, rule),
      .summary = "What refuses it, as the answer's `rule` says; `\"\"`: nothing does." },
    { .name = "upstreamPath",
      .type = FIELD_STRING,
      .into = offsetof(struct test_expect_config, upstream_path),
      .summary = "Path and query as the service gets them." },
    { .name = "upstreamHeaders",
      .type = FIELD_STRING_MAP,
      .into = offsetof(struct test_expect_config, upstream_headers),
      .check = check_expected_header,
      .maximum = 100,
      .summary = "Header fields as the service gets them, written like `headers`." },
    FIELDS_END,
};

static bool is_name(struct slice name) { return name.length > 0; }

bool check_test(struct schema_reading *reading, const struct node *node, const void *value)
{
    struct test_config *test = (struct test_config *)(uintptr_t)value; /* being filled */
    test->node = node;
    return is_name(test->name) ||
           schema_refuse(reading, &(struct field){ .name = "name" }, node_find(node, "name"), NULL, "a sentence");
}

const struct field test_fields[] = {
    { .name = "name",
      .type = FIELD_STRING,
      .into = offsetof(struct test_config, name),
      .required = true,
      .summary = "What it says: `strangers see no orders`." },
    { .name = "request",
      .type = FIELD_OBJECT,
      .into = offsetof(struct test_config, request),
      .fields = request_fields,
      .required = true,
      .summary = "What is asked." },
    { .name = "backend",
      .type = FIELD_OBJECT,
      .into = offsetof(struct test_config, backend),
      .fields = backend_fields,
      .summary = "What stands in for every service." },
    { .name = "expect",
      .type = FIELD_OBJECT,
      .into = offsetof(struct test_config, expect),
      .fields = expect_fields,
      .required = true,
      .summary = "What is to come of it; what is not said may be anything." },
    FIELDS_END,
};
