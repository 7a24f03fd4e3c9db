/* expr/regex.c: matches(). PCRE2 with limits: the operator writes the pattern, a client often the text. A constant pattern is compiled (and
 * refused, if it is wrong) at load; one that comes while running is compiled in the evaluation's arena, interpreted, and costs more.
 *
 * Patterns are those of RE2 by the language's definition; what both libraries know means the same here: "$" is the very end, "\d"
 * is ASCII's digits, "." a whole character. */
#include "expr/private.h"

#include "base/memory.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#define PATTERN_BYTES_MAX 4096
#define RUNNING_PATTERN_BYTES_MAX 512
#define SUBJECT_BYTES_MAX \
    8192 /* longer ones cost up to the square of their length, which the step limit does not see */
#define STEPS_MAX 100000
#define DEPTH_MAX 1000
#define HEAP_KIB_MAX 256
#define COMPILE_COST 500
#define MATCH_COST 10
#define OPTIONS (PCRE2_UTF | PCRE2_MATCH_INVALID_UTF | PCRE2_DOLLAR_ENDONLY | PCRE2_NEVER_BACKSLASH_C)

struct regex {
    pcre2_code *code;
    struct regex *next;
};

struct regex *regex_compile_constant(struct slice pattern, struct regex *next, struct error *error)
{
    int code;
    PCRE2_SIZE offset;
    if (pattern.length > PATTERN_BYTES_MAX) {
        (void)error_format(error, "the pattern is longer than %d bytes", PATTERN_BYTES_MAX);
        return NULL;
    }
    pcre2_code *compiled = pcre2_compile((PCRE2_SPTR)pattern.at, pattern.length, OPTIONS, &code, &offset, NULL);
    if (!compiled) {
        char message[100];
        pcre2_get_error_message(code, (PCRE2_UCHAR *)message, sizeof message);
        (void)error_format(error, "the pattern's byte %zu: %s", offset + 1, message);
        return NULL;
    }
    pcre2_jit_compile(compiled, PCRE2_JIT_COMPLETE); /* where it can't, pcre2_match() interprets */
    struct regex *regex = memory_allocate(sizeof *regex);
    *regex = (struct regex){ compiled, next };
    return regex;
}

void regex_free_all(struct regex *regex)
{
    while (regex) {
        struct regex *next = regex->next;
        pcre2_code_free(regex->code);
        free(regex);
        regex = next;
    }
}

/* --- PCRE2's memory is the evaluation's arena --- */

static void *allocate(PCRE2_SIZE size, void *arena) { return arena_allocate(arena, size ? size : 1); }

static void give_back(void *memory, void *arena)
{ /* with the arena */
}

/* What a match needs beside the pattern; all of it in the arena. */
struct matching {
    pcre2_general_context *memory;
    pcre2_match_context *limits;
    pcre2_match_data *data;
};

static bool prepare(struct evaluation *evaluation, struct matching *matching)
{
    matching->memory = pcre2_general_context_create(allocate, give_back, evaluation->arena);
    matching->limits = matching->memory ? pcre2_match_context_create(matching->memory) : NULL;
    matching->data = matching->limits ? pcre2_match_data_create(1, matching->memory) : NULL;
    if (!matching->data) return evaluation_out_of_memory(evaluation);
    pcre2_set_match_limit(matching->limits, STEPS_MAX);
    pcre2_set_depth_limit(matching->limits, DEPTH_MAX);
    pcre2_set_heap_limit(matching->limits, HEAP_KIB_MAX);
    return true;
}

static bool compile_now(struct evaluation *evaluation, const struct matching *matching, struct slice pattern,
                        pcre2_code **code)
{
    int number;
    PCRE2_SIZE offset;
    if (!evaluation_pay(evaluation, COMPILE_COST)) return false;
    if (pattern.length > RUNNING_PATTERN_BYTES_MAX) {
        (void)evaluation_too_costly(evaluation);
        evaluation->fault = "a pattern that is no constant is at most 512 bytes long";
        return false;
    }
    pcre2_compile_context *context = pcre2_compile_context_create(matching->memory);
    if (!context) return evaluation_out_of_memory(evaluation);
    *code = pcre2_compile((PCRE2_SPTR)pattern.at, pattern.length, OPTIONS, &number, &offset, context);
    if (*code) return true;
    if (number == PCRE2_ERROR_HEAP_FAILED) return evaluation_out_of_memory(evaluation);
    return evaluation_fail(evaluation, "the pattern is no regular expression");
}

bool regex_run(struct evaluation *evaluation, const struct term *term, const struct expression_value *arguments,
               struct expression_value *result)
{
    struct matching matching;
    if (arguments[0].type != EXPRESSION_STRING || arguments[1].type != EXPRESSION_STRING) {
        return evaluation_no_overload(evaluation);
    }
    struct slice text = arguments[0].text;
    if (text.length > SUBJECT_BYTES_MAX) return evaluation_too_costly(evaluation);
    if (!evaluation_pay(evaluation, MATCH_COST + text.length / 4 + text.length * text.length / 4096)) return false;
    if (!prepare(evaluation, &matching)) return false;
    pcre2_code *code = term->regex ? term->regex->code : NULL;
    if (!code && !compile_now(evaluation, &matching, arguments[1].text, &code)) return false;
    int matched = pcre2_match(code, (PCRE2_SPTR)text.at, text.length, 0, 0, matching.data, matching.limits);
    *result = expression_bool(matched >= 0);
    if (matched >= 0 || matched == PCRE2_ERROR_NOMATCH) return true;
    if (matched == PCRE2_ERROR_NOMEMORY) return evaluation_out_of_memory(evaluation);
    return evaluation_too_costly(evaluation); /* a limit of steps or depth was met: another match would cost as much */
}
