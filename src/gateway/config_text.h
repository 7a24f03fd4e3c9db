/* gateway/config_text.h: the text of a configuration file as a descriptor of its own (memfd), so that the one that was good last outlives
 * both the file and the gateway: the master keeps it, and a gateway that is started after a crash falls back to it when the file on disk
 * has been broken meanwhile. */
#ifndef SLUICE_GATEWAY_CONFIG_TEXT_H
#define SLUICE_GATEWAY_CONFIG_TEXT_H

#include "base/error.h"
#include "base/slice.h"

/* A copy of the file; -1 and *error otherwise, whose text does not name it. */
int config_text_read(const char *path, struct error *error);
/* The text, mapped; give it back with config_text_unmap. Absent and *error otherwise. */
struct slice config_text_map(int descriptor, struct error *error);
void config_text_unmap(struct slice text);

#endif
