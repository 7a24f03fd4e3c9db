/* config/problems.h: everything that is wrong with a configuration, each with its place and its mend.
 *
 * Printed as `sluice.yaml:12:5: unknown field "servce" (did you mean "service"?)`; over the admin API as {pointer, message, hint}. */
#ifndef SLUICE_CONFIG_PROBLEMS_H
#define SLUICE_CONFIG_PROBLEMS_H

#include "base/error.h"
#include "base/map.h"
#include "base/slice.h"
#include "base/vector.h"

struct node;

#define PROBLEMS_LISTED_MAX 100
/* So many different ones are told apart; behind them each counts as another one. */
#define PROBLEMS_TOLD_MAX 10000

struct problem {
    char *file;            /* NULL: none */
    uint32_t line, column; /* 0: unknown */
    char *pointer;         /* "" : the whole document */
    char *message;
    char *hint; /* NULL: none */
};

struct problems {
    struct vector
        list;     /* struct problem, by place in the file; the first 100, then one that says how many more there were */
    size_t count; /* how often one was added: whether anything is wrong */
    size_t
        mistakes; /* different ones: a policy for all routes is compiled for each of them, and is as wrong each time */
    struct map told;  /* these, by place and message */
    const char *file; /* stands in problems that are added now; not owned */
};

void problems_init(struct problems *, const char *file);
void problems_release(struct problems *);
/* At a node's value (or its key for unknown names); `node` may be NULL. `hint` may be NULL; it is copied. */
void problems_add(struct problems *, const struct node *, const char *hint, const char *format, ...) PRINTF_LIKE(4, 5);
void problems_add_at_key(struct problems *, const struct node *, const char *hint, const char *format, ...)
    PRINTF_LIKE(4, 5);
/* A field that its map lacks: the place is the map's, the pointer that of the field where it belongs. */
void problems_add_missing(struct problems *, const struct node *map, const char *field, const char *hint);
/* At a place of a text that has no nodes (yet). */
void problems_add_at(struct problems *, uint32_t line, uint32_t column, const char *hint, const char *format, ...)
    PRINTF_LIKE(5, 6);
/* "file:line:column: message (hint)\n" each; without a line "file: /the/pointer: message". Free the result. */
char *problems_to_text(const struct problems *);

/* What a message shows of a text from outside: cut short, control characters replaced. For printf: "%s", problems_excerpt(text).text */
struct excerpt {
    char text[72];
};
struct excerpt problems_excerpt(struct slice text);

#endif
