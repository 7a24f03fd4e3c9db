/* The tables for people. What a table says, no page repeats by hand. */
#include "config/private.h"

#define FIELD_PREFIX_BYTES 128

static const char *type_words(const struct field *field)
{
    switch (field->type) {
    case FIELD_STRING: return "text";
    case FIELD_BOOLEAN: return "true or false";
    case FIELD_INTEGER: return "whole number";
    case FIELD_BYTES: return "size (`64KiB`)";
    case FIELD_MILLISECONDS: return "milliseconds";
    case FIELD_SECONDS: return "seconds";
    case FIELD_ENUM: return "one of";
    case FIELD_ENUM_SET: return "list of";
    case FIELD_STRING_LIST: return field->one_or_many ? "text or list of texts" : "list of texts";
    case FIELD_STRING_MAP: return "map of texts";
    case FIELD_OBJECT: return "map";
    case FIELD_OBJECT_LIST: return "list of maps";
    case FIELD_CUSTOM: return field->type_text ? field->type_text : "text";
    case FIELD_NOT_YET:
    case FIELD_IGNORED: break;
    }
    return "";
}

/* '|' would end the table's cell. */
static void write_cell(FILE *out, const char *text)
{
    for (const char *at = text; *at; at++) {
        if (*at == '|') fputc('\\', out);
        fputc(*at, out);
    }
}

static void write_type(FILE *out, const struct field *field)
{
    write_cell(out, type_words(field));
    bool has_names = field->type == FIELD_ENUM || field->type == FIELD_ENUM_SET;
    for (size_t i = 0; has_names && field->names[i]; i++) fprintf(out, "%s `%s`", i ? "," : "", field->names[i]);
}

static void write_default(FILE *out, const struct field *field)
{
    if (field->required)
        fputs("required", out);
    else if (field->secret || !field->fallback)
        fputs(field->type == FIELD_BOOLEAN ? "`false`" : "", out);
    else
        fprintf(out, "`%s`", field->fallback);
}

static void write_row(FILE *out, const char *prefix, const struct field *field)
{
    fprintf(out, "| `%s%s` | ", prefix, field->name);
    write_type(out, field);
    fputs(" | ", out);
    write_default(out, field);
    fputs(" | ", out);
    write_cell(out, field->summary ? field->summary : "");
    if (field->also) fprintf(out, " Also accepted as `%s`.", field->also);
    fputs(" |\n", out);
}

static void write_rows(FILE *out, const char *prefix, const struct field *fields)
{
    for (const struct field *field = fields; field->name; field++) {
        if (field->type == FIELD_NOT_YET || field->type == FIELD_IGNORED) continue;
        write_row(out, prefix, field);
        if (!field->fields || field->own_table) continue;
        char inner[FIELD_PREFIX_BYTES];
        snprintf(inner, sizeof inner, "%s%s%s.", prefix, field->name, field->type == FIELD_OBJECT_LIST ? "[]" : "");
        write_rows(out, inner, field->fields);
    }
}

void schema_write_markdown(FILE *out, const struct field *fields)
{
    if (!fields->name) {
        fputs("It has no fields of its own.\n", out);
        return;
    }
    fputs("| field | type | default | what |\n|---|---|---|---|\n", out);
    write_rows(out, "", fields);
}
