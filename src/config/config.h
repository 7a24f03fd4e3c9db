/* config/: what an operator wrote, read with positions, checked against schema tables, and given back as plain structs.
 *
 * A text (YAML, or JSON by jansson) becomes a tree of nodes that know their line and column; a schema table turns a node into a
 * struct and every mistake into an error with its place and its mend. Nothing here compiles, resolves or opens anything.
 * Control plane: allocation ends the process when memory runs out. A struct configuration owns all it points at. */
#ifndef SLUICE_CONFIG_CONFIG_H
#define SLUICE_CONFIG_CONFIG_H

#include "config/node.h"
#include "config/problems.h"
#include "config/resources.h"
#include "config/schema.h"

/* Reads, checks and cross-checks (names unique, references there, one ending a route). Without problems the result is
 * complete and defaults are filled in; with any it is NULL and *problems holds all of them.
 * `kinds` are the policies this build has. Relative paths in the file are made absolute from the file's folder.
 * The file's name stays in problems->file (not owned), so that what is found later, when it is compiled, names it too. */
struct configuration *configuration_load_file(const char *path, const struct policy_kinds *kinds,
                                              struct problems *problems);
/* The same of a file whose resources go into a store (resource.h, configuration_documents): it may name a store and hold resources all
 * the same, and kinds that this version only keeps. What stands in it beside resources is checked and of no effect. */
struct configuration *configuration_load_file_to_import(const char *path, const struct policy_kinds *kinds,
                                                        struct problems *problems);
/* configuration_load_file() from memory; `name` stands for the file's name in problems, `folder` is where relative paths start. */
struct configuration *configuration_load_text(struct slice text, const char *name, const char *folder,
                                              const struct policy_kinds *kinds, struct problems *problems);
/* `sluice proxy`: one listener, one service of these instances, one route that takes everything. `access_log`: an absolute path, or "-" for
 * standard output; NULL: none. */
struct configuration *configuration_for_proxy(const char *listen, const char *instances_comma_list,
                                              const char *access_log, const struct policy_kinds *kinds,
                                              struct problems *problems);
void configuration_destroy(struct configuration *);
/* The text of an open file; one that is too large for a document is refused by whoever reads the document. Absent and errno where reading
 * fails. Free its `at`. */
struct slice configuration_read_whole(int file);
/* The mend where a file can't be read for such an errno; NULL: none but the obvious. */
const char *configuration_read_hint(int number);

#endif
