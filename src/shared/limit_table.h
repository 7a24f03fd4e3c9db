/* shared/limit_table.h: what was taken of limits, by key: one table for all threads of a process, in fixed memory and without locks.
 *
 * An entry is 16 bytes, four to a cache line, and changes as a whole by one compare-and-swap:
 *
 *     head   tag: 29 bits of the key's hash, 6 of its rule | being claimed, 1 bit | idle from this second on, 28 bits
 *     value  the algorithm's (limit.h)
 *
 * An entry that is idle is as one that was never used, so a second later any key may have it: nobody sweeps, and nothing ever pauses. Until
 * then it stays for threads whose time is that of their turn's beginning; now_ns may be that much behind another thread's. The
 * caller's hash must be keyed (base/hash.h); two keys of a rule share an entry by chance in 2^44, in a table of the usual size.
 *
 * A key never has two entries, or two threads could each let the whole limit through. A thread that finds none of its key claims an
 * idle one with a mark of its own, looks round once more, and only then makes the claim an entry:
 *   - where it sees an entry of the key by now, it gives the claim up;
 *   - where it sees another's claim for the key, it takes that away, whoever made it finds its mark gone and begins anew.
 * Of two claims in the one total order of these accesses the later one sees the earlier, so at most one becomes an entry. A thread
 * that is preempted in between keeps nobody waiting.
 *
 * A key that finds neither itself nor an idle entry among its neighbours, since the table is full, takes of the entry that the caller
 * brings along and that all such keys of a rule share: they get less than they may, never more. While anything of that is taken, keys that do
 * find a place begin with what it says.
 *
 * Keys may be made up by clients, as many as they like, so no rule gets the whole table: the last entry of each line is spare, and a new key of a
 * rule that has more entries than are free gets none of these. However many keys are made up for one rule, those of others find
 * room as in a table that is half full; a second rule that is flooded as well leaves half of the spare room, and so on. Nobody's entry is ever
 * taken away. Who has how many nobody counts (entries go idle by themselves): each claim looks who is in its home line, which is a fair
 * sample of the table, as hashes are keyed. That costs new keys a few nanoseconds, and those that are there nothing. */
#ifndef SLUICE_SHARED_LIMIT_TABLE_H
#define SLUICE_SHARED_LIMIT_TABLE_H

#include "base/error.h"
#include "shared/limit.h"

#include <stdatomic.h>

struct limit_table;

union limit_entry {
    __extension__ unsigned __int128 whole;
    struct {
        uint64_t value, head;
    };
} __attribute__((aligned(16)));

_Static_assert(sizeof(union limit_entry) == 16, "four entries a cache line");

/* Rules are told apart in entries by their stamps; rules of one stamp have one share of the table. */
#define LIMIT_STAMPS 64
#define LIMIT_STAMP_SHIFT 29

/* What the keys of a rule have in common, zeroed at first but for the stamp. Of one algorithm and window. */
struct limit_share {
    uint64_t stamp;                                  /* 0 to LIMIT_STAMPS - 1 << LIMIT_STAMP_SHIFT */
    _Alignas(CACHE_LINE) union limit_entry overflow; /* what its keys share that find no place */
    /* Of a line of the table, on average over its latest claims: how many entries are the rule's, and anybody's. */
    _Atomic int32_t own, used;
};

/* Where a key is looked for. */
struct limit_place {
    uint64_t hash;           /* with the rule's stamp */
    union limit_entry *home; /* the first of its neighbours */
    struct limit_share *share;
};

/* What was taken, to be given back at most once. */
struct limit_lease {
    union limit_entry *entry;
    struct limit_taken taken;
    uint64_t tag; /* of the entry's head */
};

/* Address space for `bytes` (64 KiB at least); pages come with use. Large ones where it is above 32 MiB. NULL: *error. */
struct limit_table *limit_table_create(uint64_t bytes, struct error *);
void limit_table_destroy(struct limit_table *);
uint64_t limit_table_capacity(const struct limit_table *); /* in entries */

/* Finds the place and lets the processor fetch it: first all places of a request, then what is taken there. */
struct limit_place limit_table_place(const struct limit_table *, uint64_t hash, struct limit_share *);

/* What a look found, and what would become of it: who takes behind it needs no look of his own, as long as nobody else has taken meanwhile. */
struct limit_plan {
    union limit_entry *entry; /* NULL: there is no plan */
    struct {
        uint64_t value, head;
    } seen, wanted; /* an entry's words, without its alignment */
};

/* What limit_table_take() would answer, taking nothing. `plan` (may be NULL) is filled. */
struct limit_outcome limit_table_look(struct limit_table *, const struct limit_place *, const struct limit *,
                                      uint64_t cost, uint64_t now_ns, uint64_t wait_max_ns, struct limit_plan *plan);
/* Takes as it was planned: with the outcome of the look, whose cost and now_ns these are. False: somebody was faster, or there is no plan; nothing
 * was taken, and limit_table_take() is to be asked. */
bool limit_table_take_planned(const struct limit_plan *, uint64_t cost, uint64_t now_ns, struct limit_lease *lease);
/* As limit_take(). *lease is filled unless it is refused. Any thread; never blocks. */
struct limit_outcome limit_table_take(struct limit_table *, const struct limit_place *, const struct limit *,
                                      uint64_t cost, uint64_t now_ns, uint64_t wait_max_ns, struct limit_lease *lease);
/* As limit_refund(); the limit is the one it was taken of, or one of the same algorithm and window. Any thread. False: it is still taken, since
 * others stand behind it or its time is over. */
bool limit_table_refund(const struct limit *, const struct limit_lease *, uint64_t now_ns);

struct limit_table_figures {
    uint64_t entries;    /* there is room for */
    uint64_t in_use;     /* estimated from a sample */
    uint64_t overflowed; /* times that a key found no place that it may have */
};
void limit_table_figures(const struct limit_table *, uint64_t now_ns, struct limit_table_figures *);

#endif
