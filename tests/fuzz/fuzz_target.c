/* A normal path is normal: read again it stays as it is, and it holds nothing that a backend could resolve further.
 *
 * The input's first bit chooses whether slashes are merged, the rest is the target. */
#include "h1_fuzzing.h"

static void require_normal_path(struct slice path, bool merge_slashes)
{
    PROMISE(path.length > 0 && path.at[0] == '/');
    for (size_t i = 0; i < path.length; i++)
        PROMISE(path.at[i] > ' ' && path.at[i] < 0x7f && !strchr("\\?#\"<>", path.at[i]));
    struct slice rest = slice_after(path, 1), segment;
    while (slice_next(&rest, '/', &segment)) {
        PROMISE(!slice_equal(segment, SLICE(".")) && !slice_equal(segment, SLICE("..")));
        PROMISE(!merge_slashes || segment.length > 0 || slice_is_absent(rest));
    }
    static const char *const never[] = { "%00", "%5C", "%2E", "%41", "%7E", "%2f", "%c3" };
    for (size_t i = 0; i < COUNT_OF(never); i++)
        PROMISE(slice_find(path, slice_from_cstring(never[i])) == SLICE_NOT_FOUND);
}

static void require_authority(struct slice text, struct arena *arena)
{
    struct slice host, again;
    uint16_t port, port_again;
    if (!target_parse_authority(text, arena, &host, &port)) return;
    PROMISE(host.length > 0);
    for (size_t i = 0; i < host.length; i++) PROMISE(!(host.at[i] >= 'A' && host.at[i] <= 'Z'));
    PROMISE(target_parse_authority(host, arena, &again, &port_again));
    PROMISE(slice_equal(host, again) && port_again == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    if (length == 0) return 0;
    bool merge_slashes = bytes[0] & 1;
    char *copy = fuzz_copy((const char *)bytes + 1, length - 1);
    struct slice raw = slice_of(copy, length - 1);
    struct arena arena;
    struct target target, again;
    struct error error;
    arena_init(&arena, NULL);
    require_authority(raw, &arena);
    if (target_parse(raw, merge_slashes, &arena, &target, &error)) {
        PROMISE(slice_equal(target.raw, raw));
        if (target.form == TARGET_ORIGIN || target.form == TARGET_ABSOLUTE) {
            require_normal_path(target.path, merge_slashes);
            PROMISE(target_parse(target.path, merge_slashes, &arena, &again, &error));
            PROMISE(again.form == TARGET_ORIGIN && slice_equal(again.path, target.path));
        }
    } else {
        PROMISE(error.status == 400 && error.blame == BLAME_CLIENT);
    }
    arena_release(&arena);
    free(copy);
    return 0;
}
