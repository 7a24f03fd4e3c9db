#include "base/nearest.h"

#define COMPARED_LENGTH_MAX 48

/* Lower-case and without '_' and '-', so that strip_prefix is near stripPrefix. 0 where there is nothing to compare. */
static size_t plain_letters(struct slice text, char into[COMPARED_LENGTH_MAX])
{
    size_t length = 0;
    for (size_t i = 0; i < text.length; i++) {
        if (text.at[i] == '_' || text.at[i] == '-') continue;
        if (length == COMPARED_LENGTH_MAX) return 0;
        char byte = text.at[i];
        into[length++] = (char)(byte >= 'A' && byte <= 'Z' ? byte | 0x20 : byte);
    }
    return length;
}

static unsigned least(unsigned a, unsigned b, unsigned c)
{
    unsigned two = a < b ? a : b;
    return two < c ? two : c;
}

/* Edits from one text to the other: insert, delete, replace, swap two neighbours (optimal string alignment). */
static unsigned edit_distance(const char *a, size_t a_length, const char *b, size_t b_length)
{
    unsigned rows[3][COMPARED_LENGTH_MAX + 1];
    unsigned *before = rows[0], *previous = rows[1], *current = rows[2];
    for (unsigned j = 0; j <= b_length; j++) previous[j] = j;
    for (unsigned i = 1; i <= a_length; i++) {
        current[0] = i;
        for (unsigned j = 1; j <= b_length; j++) {
            unsigned replaced = previous[j - 1] + (a[i - 1] != b[j - 1]);
            current[j] = least(previous[j] + 1, current[j - 1] + 1, replaced);
            bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
            if (swapped && before[j - 2] + 1 < current[j]) current[j] = before[j - 2] + 1;
        }
        unsigned *oldest = before;
        before = previous;
        previous = current;
        current = oldest;
    }
    return previous[b_length];
}

const char *nearest_name(struct slice text, const char *const *names, size_t count)
{
    char wanted[COMPARED_LENGTH_MAX], candidate[COMPARED_LENGTH_MAX];
    size_t wanted_length = plain_letters(text, wanted);
    if (wanted_length == 0) return NULL;
    const char *nearest = NULL;
    unsigned nearest_distance = wanted_length < 3 ? 1 : wanted_length < 6 ? 2 : wanted_length < 12 ? 3 : 4;
    for (size_t i = 0; i < count && nearest_distance > 0; i++) {
        size_t length = plain_letters(slice_from_cstring(names[i]), candidate);
        size_t apart = length > wanted_length ? length - wanted_length : wanted_length - length;
        if (length == 0 || apart >= nearest_distance) continue;
        unsigned distance = edit_distance(wanted, wanted_length, candidate, length);
        if (distance >= nearest_distance) continue;
        nearest = names[i];
        nearest_distance = distance;
    }
    return nearest;
}
