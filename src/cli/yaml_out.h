/* cli/yaml_out.h: a tree as YAML for people, by libyaml. */
#ifndef SLUICE_CLI_YAML_OUT_H
#define SLUICE_CLI_YAML_OUT_H

#include "config/node.h"

/* Begins a document that is one map; between, members are written; then it is ended. False from any: it can't be written. */
struct yaml_out;
struct yaml_out *yaml_out_begin(FILE *);
bool yaml_out_key(struct yaml_out *, const char *key);
bool yaml_out_list_begin(struct yaml_out *);
bool yaml_out_list_end(struct yaml_out *);
bool yaml_out_node(struct yaml_out *, const struct node *);
bool yaml_out_end(struct yaml_out *); /* and frees it */

#endif
