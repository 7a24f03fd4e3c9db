/* json/scan.h: JSON text (RFC 8259) looked over, not read into a tree: whether it is valid, and where in it a value stands.
 *
 * For answers of services that are put together by cutting them up: no allocation, one pass, bounded depth. All slices point into the text.
 * Duplicate names are let through (the first one is found), as are lone surrogates in escapes; bytes are UTF-8. Pure; any thread. */
#ifndef SLUICE_JSON_SCAN_H
#define SLUICE_JSON_SCAN_H

#include "base/error.h"
#include "base/slice.h"

#define JSON_SCAN_DEPTH_MAX 64

/* One value, and nothing but white space around it. *value without that. False: *error (text alone) says what and at which byte, from 1. */
bool json_scan_whole(struct slice text, struct slice *value, struct error *error) MUST_USE;
/* In a value that json_scan_whole() gave, or one of its parts. Absent: it is no object (array), or has no such member (item). */
struct slice json_scan_member(struct slice object, struct slice name);
struct slice json_scan_item(struct slice array, size_t index);
/* Of such a part: it is a string, and says this once its escapes are read. */
bool json_scan_is_text(struct slice value, struct slice text);

#endif
