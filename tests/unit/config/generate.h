/* Random resources by their schema tables: most of them right, in every spelling that the tables allow. */
#ifndef SLUICE_TESTS_CONFIG_GENERATE_H
#define SLUICE_TESTS_CONFIG_GENERATE_H

#include "config/resource.h"

#include "base/random.h"

#include <inttypes.h>

struct generator {
    struct random random;
    FILE *out;
    const struct policy_kinds *kinds;
};

/* What fits a field of this name, as JSON, where its type doesn't say. */
static const struct {
    const char *name, *values[8];
} generate_pool[] = {
    { "id", { "\"0b9f6a3e-1c2d-4e5f-8a9b-0c1d2e3f4a5b\"", "\"00000000-0000-4000-8000-000000000001\"" } },
    { "path", { "\"/a/*\"", "\"/users/{id}\"", "\"~^/v[0-9]+\"", "\"*\"" } },
    { "pathPattern", { "\"/b\"" } },
    { "paths", { "\"/a/*\"", "\"/users/{id}\"" } },
    { "host", { "\"Example.com\"", "[\"a.example\",\"*.b.example\"]", "\"[::1]\"", "\"localhost.\"" } },
    { "methods", { "\"GET\"", "\"POST\"", "\"PURGE\"" } },
    { "allowedMethods", { "\"GET\"", "\"PUT\"" } },
    { "instances", { "\"10.0.0.1:80\"", "\"[::1]:9001\"", "\"Users.internal:8080\"" } },
    { "port", { "80", "65535" } },
    { "weight", { "0", "7", "65535" } },
    { "ca", { "\"ca.pem\"", "\"/etc/ca.pem\"" } },
    { "serverName", { "\"users.internal\"" } },
    { "expectedStatus", { "200", "\"200-299\"", "[200,301,\"201-204\"]", "[\"500-599\"]" } },
    { "to", { "\"https://x.example/${path.id}\"", "\"/y\"" } },
    { "status", { "302", "307", "200" } },
    { "key", { "\"client_id\"", "\"header:X-A\"", "\"${auth.claims.sub}\"", "\"ip\"", "\"${env:KEY}\"", "\"k.pem\"" } },
    { "cost", { "1", "0", "\"${request.size}\"" } },
    { "expiresAt", { "\"2030-01-31T12:00:00Z\"", "\"2030-01-31t12:00:00.250+02:00\"" } },
    { "certificate", { "\"${file:/etc/a.pem}\"", "\"${env:CERTIFICATE}\"" } },
    { "ocsp", { "\"MAMKAQA=\"" } },
    { "listeners", { "\"0.0.0.0:8443\"", "\"[::]:443\"" } },
    { "hash", { "\"sha256:00000000000000000000000000000000000000000000000000000000000000af\"" } },
    { "keyPrefix", { "\"abcdefgh\"", "\"a\"" } },
    { "scopes", { "\"users:read\"", "\"a\"" } },
    { "allowedOrigins", { "\"https://a.example\"", "\"https://*.b.example\"", "\"*\"" } },
    { "origins", { "\"https://a.example\"" } },
    { "allow", { "\"10.0.0.0/8\"", "\"::1\"" } },
    { "deny", { "\"10.1.0.0/16\"" } },
    { "pattern", { "\"^/a\"" } },
    { "createdAt", { "\"2026-01-01T00:00:00Z\"", "7", "null" } },
};

/* The n-th of NULL-ended texts, by chance. */
static inline const char *pick(struct generator *generator, const char *const *texts)
{
    size_t count = 0;
    while (texts[count]) count++;
    return texts[random_below(&generator->random, count)];
}

static inline void generate_word(struct generator *generator, const char *name)
{
    static const char *const words[] = {
        "\"x\"", "\"X-Word\"", "\"two words\"", "\"12\"", "\"\\u00e4\\\"\\n\"", "\"hunter2\"", "true", "17", NULL
    };
    for (size_t i = 0; i < COUNT_OF(generate_pool); i++) {
        if (strcmp(generate_pool[i].name, name) != 0) continue;
        fputs(pick(generator, generate_pool[i].values), generator->out);
        return;
    }
    fputs(pick(generator, words), generator->out);
}

static inline bool chance(struct generator *generator, unsigned percent)
{
    return random_below(&generator->random, 100) < percent;
}

static inline uint64_t generate_within(struct generator *generator, const struct field *field)
{
    uint64_t low = (uint64_t)field->minimum, high = field->maximum ? (uint64_t)field->maximum : 100000;
    if (chance(generator, 20)) return low;
    if (chance(generator, 20)) return high;
    return low + random_below(&generator->random, high - low + 1);
}

static inline void generate_map(struct generator *, const struct field *fields);
static inline void generate_fields(struct generator *, const struct field *fields, const char *separator);

static inline void generate_number(struct generator *generator, const struct field *field)
{
    if (field->type == FIELD_INTEGER && field->minimum < 0) {
        fprintf(generator->out, "%" PRId64, field->minimum + (int64_t)random_below(&generator->random, 100));
        return;
    }
    uint64_t value = generate_within(generator, field);
    if (field->type == FIELD_SECONDS)
        fprintf(generator->out, "%" PRIu64 ".%03" PRIu64, value / 1000, value % 1000);
    else if (field->type == FIELD_BYTES && value % 1024 == 0)
        fprintf(generator->out, "\"%" PRIu64 "KiB\"", value / 1024);
    else
        fprintf(generator->out, "%" PRIu64, value);
}

static inline void generate_list(struct generator *generator, const struct field *field)
{
    size_t count = (size_t)field->minimum + random_below(&generator->random, 3);
    bool alone = field->one_or_many && chance(generator, 40);
    if (!alone) fputc('[', generator->out);
    for (size_t i = 0; i < (alone ? 1 : count); i++) {
        if (i) fputc(',', generator->out);
        if (field->type == FIELD_STRING_LIST || (field->read && chance(generator, 50)))
            generate_word(generator, field->name);
        else
            generate_map(generator, field->fields);
    }
    if (!alone) fputc(']', generator->out);
}

static inline void generate_names(struct generator *generator, const struct field *field)
{
    fputc('[', generator->out);
    for (size_t i = 0, count = random_below(&generator->random, 4); i < count; i++)
        fprintf(generator->out, "%s\"%s\"", i ? "," : "", pick(generator, field->names));
    fputc(']', generator->out);
}

static inline const struct policy_kind *generate_kind(struct generator *generator)
{
    return &generator->kinds->items[random_below(&generator->random, generator->kinds->count)];
}

static inline void generate_filters(struct generator *generator)
{
    fputc('[', generator->out);
    for (size_t i = 0, count = random_below(&generator->random, 4); i < count; i++) {
        const struct policy_kind *kind = generate_kind(generator);
        fprintf(generator->out, "%s{\"type\":\"%s\",\"priority\":%u", i ? "," : "", kind->name, (unsigned)i);
        if (kind->on_response_allowed && chance(generator, 30)) fputs(",\"on\":\"response\"", generator->out);
        generate_fields(generator, kind->fields, ",");
        fputc('}', generator->out);
    }
    fputc(']', generator->out);
}

static inline void generate_value(struct generator *generator, const struct field *field)
{
    switch (field->type) {
    case FIELD_BOOLEAN: fputs(chance(generator, 50) ? "true" : "false", generator->out); return;
    case FIELD_INTEGER:
    case FIELD_BYTES:
    case FIELD_MILLISECONDS:
    case FIELD_SECONDS: generate_number(generator, field); return;
    case FIELD_ENUM: fprintf(generator->out, "\"%s\"", pick(generator, field->names)); return;
    case FIELD_ENUM_SET: generate_names(generator, field); return;
    case FIELD_STRING_LIST:
    case FIELD_OBJECT_LIST: generate_list(generator, field); return;
    case FIELD_STRING_MAP:
        fputs(chance(generator, 50) ? "{\"X-A\":\"1\",\"b\":\"~x+\"}" : "{}", generator->out);
        return;
    case FIELD_OBJECT: generate_map(generator, field->fields); return;
    default: generate_word(generator, field->name); return;
    }
}

/* Some of the fields: required ones always, others where it falls; each under one of its names. `separator` stands before the first. */
static inline void generate_fields(struct generator *generator, const struct field *fields, const char *separator)
{
    for (const struct field *field = fields; field->name; field++) {
        if (field->type == FIELD_NOT_YET || strcmp(field->name, "config") == 0) continue;
        if (!field->required && !chance(generator, 35)) continue;
        fprintf(generator->out, "%s\"%s\":", separator,
                field->also && chance(generator, 50) ? field->also : field->name);
        separator = ",";
        if (strcmp(field->name, "filters") == 0)
            generate_filters(generator);
        else
            generate_value(generator, field);
    }
}

static inline void generate_map(struct generator *generator, const struct field *fields)
{
    fputc('{', generator->out);
    generate_fields(generator, fields, "");
    fputc('}', generator->out);
}

/* The kind of a plugin stands in its name, and its config is that kind's. */
static inline void generate_plugin(struct generator *generator)
{
    const struct policy_kind *kind = generate_kind(generator);
    fprintf(generator->out, "{\"name\":\"%s\",\"config\":", kind->name);
    generate_map(generator, kind->fields);
    generate_fields(generator, plugin_fields + 1, ",");
    fputc('}', generator->out);
}

static inline void generate_resource(struct generator *generator, enum resource_kind kind)
{
    if (kind == RESOURCE_PLUGIN)
        generate_plugin(generator);
    else
        generate_map(generator, resource_types[kind].fields);
}

#endif
