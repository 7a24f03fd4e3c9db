/* expr/builder.c: a text of unknown length, grown in the evaluation's arena and paid for as it grows. */
#include "expr/private.h"

bool builder_add(struct builder *builder, struct slice text)
{
    size_t wanted = builder->length + text.length;
    if (!evaluation_pay_bytes(builder->evaluation, text.length)) return false;
    if (wanted > builder->capacity) {
        size_t capacity = builder->capacity ? builder->capacity * 2 : 64;
        while (capacity < wanted) capacity *= 2;
        char *grown = evaluation_allocate(builder->evaluation, capacity);
        if (!grown) return false;
        if (builder->length) memcpy(grown, builder->at, builder->length);
        builder->at = grown;
        builder->capacity = capacity;
    }
    if (text.length) memcpy(builder->at + builder->length, text.at, text.length);
    builder->length = wanted;
    return true;
}

bool builder_add_byte(struct builder *builder, char byte) { return builder_add(builder, slice_of(&byte, 1)); }

bool builder_finish(const struct builder *builder, struct expression_value *result)
{
    *result = expression_string(slice_of(builder->at, builder->length));
    return true;
}
