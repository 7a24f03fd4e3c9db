#include "http/our_names.h"

#include "base/base.h"

static char as_cgi(char byte)
{
    if (byte == '_') return '-';
    return byte >= 'A' && byte <= 'Z' ? (char)(byte | 0x20) : byte;
}

bool header_name_begins_like(struct slice name, struct slice beginning)
{
    if (name.length < beginning.length) return false;
    for (size_t i = 0; i < beginning.length; i++) {
        if (as_cgi(name.at[i]) != as_cgi(beginning.at[i])) return false;
    }
    return true;
}

bool header_name_looks_like(struct slice name, struct slice known)
{
    return name.length == known.length && header_name_begins_like(name, known);
}

bool header_name_reads_as(struct slice name, struct slice known, bool is_beginning)
{
    return is_beginning ? header_name_begins_like(name, known) : header_name_looks_like(name, known);
}

bool header_name_is_ours(struct slice name)
{
    static const struct slice ours[] = {
        SLICE("X-Authenticated-User"), SLICE("X-Client-ID"),      SLICE("X-Request-ID"),
        SLICE("X-Forwarded-For"),      SLICE("X-Forwarded-Host"), SLICE("X-Forwarded-Proto"),
    };
    for (size_t i = 0; i < COUNT_OF(ours); i++) {
        if (header_name_looks_like(name, ours[i])) return true;
    }
    return header_name_begins_like(name, SLICE("X-Client-Certificate-"));
}

bool header_name_is_a_proxys(struct slice name)
{
    return header_name_begins_like(name, SLICE("X-Forwarded-")) || header_name_looks_like(name, SLICE("X-Real-IP"));
}
