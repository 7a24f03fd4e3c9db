#include "config/path_warning.h"

#include "config/config.h"

static bool is_name_byte(char byte)
{
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || byte == '_';
}

/* The first segment that is a ':' and a name: how others capture. Absent: there is none. */
static struct slice find_colon_segment(struct slice pattern)
{
    struct slice rest = pattern, segment;
    while (rest.length > 0 && slice_next(&rest, '/', &segment)) {
        if (segment.length > 1 && segment.at[0] == ':' && is_name_byte(segment.at[1])) return segment;
    }
    return SLICE_ABSENT;
}

bool path_warning(struct slice pattern, char into[PATH_WARNING_BYTES])
{
    if (pattern.length < 2 || pattern.at[0] != '/') return false; /* "/" is a page of its own; "~" begins a regex */
    struct slice colon = find_colon_segment(pattern);
    struct excerpt shown = problems_excerpt(pattern);
    if (!slice_is_absent(colon)) {
        struct excerpt literal = problems_excerpt(colon), name = problems_excerpt(slice_after(colon, 1));
        snprintf(into, PATH_WARNING_BYTES, "\"%s\" in a path is literal text; \"{%s}\" captures a segment",
                 literal.text, name.text);
    } else if (pattern.at[pattern.length - 1] == '/') {
        snprintf(into, PATH_WARNING_BYTES, "\"%s\" takes that path alone; \"%s*\" takes all below it", shown.text,
                 shown.text);
    } else {
        return false;
    }
    return true;
}

void path_warnings_add(const struct configuration *configuration, struct problems *problems)
{
    const struct route_config *routes = configuration->routes.items;
    for (size_t i = 0; i < configuration->routes.count; i++) {
        char words[PATH_WARNING_BYTES];
        if (!path_warning(routes[i].path, words)) continue;
        const struct node *path = node_find(routes[i].node, "path");
        problems_add(problems, path ? path : node_find(routes[i].node, "pathPattern"), NULL, "warning: %s", words);
    }
}
