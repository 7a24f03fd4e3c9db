/* cli/yaml_out.c: see yaml_out.h. A text that would read as something else stands in quotes. */
#include "cli/yaml_out.h"

#include "base/memory.h"

#include <stdlib.h>
#include <yaml.h>

struct yaml_out {
    yaml_emitter_t emitter;
};

static bool emit(struct yaml_out *out, yaml_event_t *event) { return yaml_emitter_emit(&out->emitter, event) == 1; }

struct yaml_out *yaml_out_begin(FILE *to)
{
    struct yaml_out *out = memory_allocate(sizeof *out);
    yaml_event_t event;
    PROMISE(yaml_emitter_initialize(&out->emitter));
    yaml_emitter_set_output_file(&out->emitter, to);
    yaml_emitter_set_unicode(&out->emitter, 1);
    yaml_emitter_set_width(&out->emitter, 130);
    yaml_stream_start_event_initialize(&event, YAML_UTF8_ENCODING);
    emit(out, &event);
    yaml_document_start_event_initialize(&event, NULL, NULL, NULL, 1);
    emit(out, &event);
    yaml_mapping_start_event_initialize(&event, NULL, NULL, 1, YAML_BLOCK_MAPPING_STYLE);
    emit(out, &event);
    return out;
}

/* What YAML 1.1 and 1.2 take for a number, a boolean or nothing, and then some: quotes too many do no harm. */
static bool reads_as_something_else(struct slice text)
{
    static const char *const words[] = { "null", "true", "false", "yes", "no", "on", "off", "y", "n", "~" };
    if (text.length == 0) return true;
    for (size_t i = 0; i < COUNT_OF(words); i++) {
        if (slice_equal_ignore_case(text, slice_from_cstring(words[i]))) return true;
    }
    return strchr("0123456789+-.", text.at[0]) != NULL;
}

static bool scalar(struct yaml_out *out, struct slice text, bool is_text)
{
    yaml_event_t event;
    bool quoted = is_text && reads_as_something_else(text);
    bool is_long = is_text && slice_find_byte(text, '\n') != SLICE_NOT_FOUND;
    yaml_scalar_style_t style = is_long  ? YAML_LITERAL_SCALAR_STYLE
                                : quoted ? YAML_DOUBLE_QUOTED_SCALAR_STYLE
                                         : YAML_PLAIN_SCALAR_STYLE;
    return yaml_scalar_event_initialize(&event, NULL, NULL, (const yaml_char_t *)(text.at ? text.at : ""),
                                        (int)text.length, 1, 1, style) &&
           emit(out, &event);
}

bool yaml_out_key(struct yaml_out *out, const char *key) { return scalar(out, slice_from_cstring(key), true); }

static bool list_begin(struct yaml_out *out, yaml_sequence_style_t style)
{
    yaml_event_t event;
    yaml_sequence_start_event_initialize(&event, NULL, NULL, 1, style);
    return emit(out, &event);
}

bool yaml_out_list_begin(struct yaml_out *out) { return list_begin(out, YAML_BLOCK_SEQUENCE_STYLE); }

bool yaml_out_list_end(struct yaml_out *out)
{
    yaml_event_t event;
    yaml_sequence_end_event_initialize(&event);
    return emit(out, &event);
}

static bool map_out(struct yaml_out *out, const struct node *map)
{
    yaml_event_t event;
    yaml_mapping_start_event_initialize(&event, NULL, NULL, 1, YAML_BLOCK_MAPPING_STYLE);
    bool good = emit(out, &event);
    for (const struct node *child = map->first; child && good; child = child->next)
        good = scalar(out, child->key, true) && yaml_out_node(out, child);
    yaml_mapping_end_event_initialize(&event);
    return good && emit(out, &event);
}

static bool is_short_list(const struct node *list)
{
    for (const struct node *item = list->first; item; item = item->next) {
        if (item->kind != NODE_SCALAR || item->text.length > 40) return false;
    }
    return list->count <= 8;
}

static bool list_out(struct yaml_out *out, const struct node *list)
{
    bool good = list_begin(out, is_short_list(list) ? YAML_FLOW_SEQUENCE_STYLE : YAML_BLOCK_SEQUENCE_STYLE);
    for (const struct node *item = list->first; item && good; item = item->next) good = yaml_out_node(out, item);
    return good && yaml_out_list_end(out);
}

bool yaml_out_node(struct yaml_out *out, const struct node *node)
{
    switch (node->kind) {
    case NODE_MAP: return map_out(out, node);
    case NODE_LIST: return list_out(out, node);
    case NODE_NULL: return scalar(out, SLICE("null"), false);
    default: return scalar(out, node->text, node->quoted);
    }
}

bool yaml_out_end(struct yaml_out *out)
{
    yaml_event_t event;
    yaml_mapping_end_event_initialize(&event);
    bool good = emit(out, &event);
    yaml_document_end_event_initialize(&event, 1);
    good = good && emit(out, &event);
    yaml_stream_end_event_initialize(&event);
    good = good && emit(out, &event) && yaml_emitter_flush(&out->emitter);
    yaml_emitter_delete(&out->emitter);
    free(out);
    return good;
}
