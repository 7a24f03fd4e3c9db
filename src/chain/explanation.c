/* chain/explanation.c: sentences in an arena. */
#include "chain/explanation.h"

#include <stdarg.h>
#include <stdio.h>

#define SENTENCE_BYTES 512

void explanation_add(struct explanation *explanation, const char *format, ...)
{
    char sentence[SENTENCE_BYTES];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(sentence, sizeof sentence, format, arguments);
    va_end(arguments);
    if (length < 0 || explanation->count == EXPLANATION_LINES_MAX) {
        explanation->is_cut = true;
        return;
    }
    if ((size_t)length >= sizeof sentence) {
        length = sizeof sentence - 1;
        explanation->is_cut = true;
    }
    struct slice line = arena_copy(explanation->arena, (struct slice){ sentence, (size_t)length });
    if (slice_is_absent(line)) {
        explanation->is_cut = true;
        return;
    }
    explanation->lines[explanation->count++] = line;
}
