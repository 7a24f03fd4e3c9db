/* A route's `aggregate`: the parts, and the answer that is made of them. What stands in templates is checked where they are compiled. */
#include "config/private.h"

#include "http/headers.h"
#include "http/our_names.h"

#define PARTS_MAX 32
#define BYTES_MAX_TOGETHER (32u << 20)

static bool check_part_name(struct schema_reading *, const struct node *, const void *value);
static bool check_part_path(struct schema_reading *, const struct node *, const void *value);
static bool check_part_header(struct schema_reading *, const struct node *, const void *value);
static bool check_forwarded(struct schema_reading *, const struct node *, const void *value);

/* A value of any kind, as it was written. */
static struct node *write_node(struct arena *arena, const void *from)
{
    const struct node *const *node = from;
    return *node ? node_copy(arena, *node) : NULL;
}

static const char *const part_forms[] = { "json", "text", NULL };

const struct field aggregate_part_fields[] = {
    { .name = "name",
      .type = FIELD_STRING,
      .into = offsetof(struct aggregate_part_config, name),
      .required = true,
      .check = check_part_name,
      .summary = "What `answer` calls it." },
    { .name = "service",
      .type = FIELD_STRING,
      .reference = FIELD_REFERENCE_SERVICE,
      .into = offsetof(struct aggregate_part_config, service),
      .required = true,
      .summary = "The service that is asked, by name or id." },
    { .name = "path",
      .type = FIELD_STRING,
      .into = offsetof(struct aggregate_part_config, path),
      .required = true,
      .check = check_part_path,
      .summary = "The path and query that is asked for (GET); `${...}` in it is put in percent-encoded." },
    { .name = "headers",
      .type = FIELD_STRING_MAP,
      .into = offsetof(struct aggregate_part_config, headers),
      .check = check_part_header,
      .maximum = 64,
      .summary = "Headers of that request; values may hold variables, and an empty one is left out." },
    { .name = "forwardHeaders",
      .type = FIELD_STRING_LIST,
      .into = offsetof(struct aggregate_part_config, forward_headers),
      .one_or_many = true,
      .check = check_forwarded,
      .maximum = 64,
      .summary = "Headers of the client's request that go along. Absent: none." },
    { .name = "timeoutMs",
      .type = FIELD_MILLISECONDS,
      .into = offsetof(struct aggregate_part_config, timeout_ms),
      .fallback = "0",
      .minimum = 0,
      .maximum = DAY_MS,
      .summary = "How long its answer is waited for. 0: as long as the route allows." },
    { .name = "required",
      .type = FIELD_BOOLEAN,
      .into = offsetof(struct aggregate_part_config, required),
      .fallback = "true",
      .summary = "Without it there is no answer: the others are given up and the client is told." },
    { .name = "as",
      .type = FIELD_ENUM,
      .into = offsetof(struct aggregate_part_config, form),
      .names = part_forms,
      .fallback = "json",
      .summary = "How its answer is read: as JSON, or as a text, whatever it is." },
    { .name = "maxBytes",
      .type = FIELD_BYTES,
      .into = offsetof(struct aggregate_part_config, bytes_max),
      .fallback = "256KiB",
      .minimum = 1,
      .maximum = 8 << 20,
      .summary = "The largest answer; a larger one counts as failed." },
    { .name = "fallback",
      .type = FIELD_CUSTOM,
      .into = offsetof(struct aggregate_part_config, fallback),
      .read = keep_node,
      .write = write_node,
      .type_text = "any value",
      .summary = "What stands in its place where it failed and is not required. Absent: nothing." },
    FIELDS_END,
};

const struct field aggregate_fields[] = {
    { .name = "parts",
      .type = FIELD_OBJECT_LIST,
      .into = offsetof(struct aggregate_config, parts),
      .fields = aggregate_part_fields,
      .item_size = sizeof(struct aggregate_part_config),
      .required = true,
      .minimum = 1,
      .maximum = PARTS_MAX,
      .own_table = true,
      .summary = "What is asked for, all at once." },
    { .name = "answer",
      .type = FIELD_CUSTOM,
      .into = offsetof(struct aggregate_config, answer),
      .read = keep_node,
      .write = write_node,
      .type_text = "map",
      .summary =
          "The answer: an object in which `${parts.NAME}` is a part and `${parts.NAME.member}` a value in it. Absent: each part under its name." },
    { .name = "errors",
      .type = FIELD_STRING,
      .into = offsetof(struct aggregate_config, errors),
      .fallback = "errors",
      .check = check_part_name,
      .summary = "The member of the answer that lists the parts that failed, where any did." },
    FIELDS_END,
};

static bool is_word_byte(char byte)
{
    return (byte >= '0' && byte <= '9') || ((byte | 0x20) >= 'a' && (byte | 0x20) <= 'z') || byte == '_' || byte == '-';
}

static bool check_part_name(struct schema_reading *reading, const struct node *node, const void *value)
{
    const struct slice *name = value;
    bool good = name->length > 0 && name->length <= 64 && !(name->at[0] >= '0' && name->at[0] <= '9') &&
                name->at[0] != '-';
    for (size_t i = 0; i < name->length; i++) good &= is_word_byte(name->at[i]);
    if (good) return true;
    problems_add(reading->problems, node, "letters, digits, _ and -, a letter first", "not a name for a part: \"%s\"",
                 problems_excerpt(*name).text);
    return false;
}

static bool check_part_path(struct schema_reading *reading, const struct node *node, const void *value)
{
    const struct slice *path = value;
    if (path->length > 0 && path->at[0] == '/') return true;
    problems_add(reading->problems, node, "it begins with a /", "not a path to ask for: \"%s\"",
                 problems_excerpt(*path).text);
    return false;
}

/* Framing and what is for one hop: written for each connection. Who asks and from where is Sluice's word alone. */
static bool is_own(struct slice name)
{
    enum header_id id = header_id_find(name);
    return header_is_sluices_own(id) || id == HEADER_PROXY_AUTHORIZATION || header_name_is_ours(name);
}

static bool check_forwarded(struct schema_reading *reading, const struct node *node, const void *value)
{
    const struct slice *name = value;
    if (header_name_is_valid(*name) && !is_own(*name)) return true;
    problems_add(reading->problems, node, NULL,
                 header_name_is_valid(*name) ? "header \"%s\" is written by Sluice itself"
                                             : "not a header name: \"%s\"",
                 problems_excerpt(*name).text);
    return false;
}

static bool check_part_header(struct schema_reading *reading, const struct node *node, const void *value)
{
    const struct pair *pair = value;
    if (!check_forwarded(reading, node, &pair->name)) return false;
    if (header_value_is_valid(pair->value)) return true;
    problems_add(reading->problems, node, NULL, "a header's value holds no line breaks or other control characters");
    return false;
}

bool check_aggregate(struct schema_reading *reading, const struct node *node, const void *value)
{
    const struct aggregate_config *aggregate = value;
    const struct aggregate_part_config *parts = aggregate->parts.items;
    const struct node *list = node_find(node, "parts");
    const struct node *item = list && list->kind == NODE_LIST ? list->first : list;
    uint64_t bytes = 0;
    bool good = true;
    for (size_t i = 0; i < aggregate->parts.count; i++, item = item ? item->next : NULL) {
        bytes += parts[i].bytes_max;
        if (parts[i].fallback && parts[i].required) {
            problems_add(reading->problems, parts[i].fallback, "required: false",
                         "without a part that is required there is no answer to put a fallback into");
            good = false;
        }
        for (size_t j = 0; j < i; j++) {
            if (parts[i].name.length == 0 || !slice_equal(parts[i].name, parts[j].name)) continue;
            problems_add(reading->problems, item ? item : node, NULL, "part \"%s\" is there already",
                         problems_excerpt(parts[i].name).text);
            good = false;
        }
    }
    if (bytes > BYTES_MAX_TOGETHER) {
        problems_add(reading->problems, list ? list : node, "lower their maxBytes",
                     "all parts together may be 32 MiB, not %llu bytes", (unsigned long long)bytes);
        good = false;
    }
    if (!aggregate->answer || aggregate->answer->kind == NODE_MAP) return good;
    problems_add(reading->problems, aggregate->answer, "written as { member: ${parts.NAME} }",
                 "\"answer\" must be an object");
    return false;
}
