/* Accept-Encoding (RFC 9110 12.5.3): which coding a client gets for what it says. */
#include "unit_test.h"

#include "filters/content_coding.h"

#include <stdio.h>

static const enum content_coding offered[] = { CODING_ZSTD, CODING_BROTLI, CODING_GZIP };

/* "br gzip": what is accepted, best first. `second` is a second field of the same name. */
static void ranked_as(const char *first, const char *second, struct accepted_codings *accepted, char text[64])
{
    struct arena arena;
    struct headers headers;
    enum content_coding ranked[CODING_COUNT];
    arena_init(&arena, NULL);
    headers_init(&headers, &arena);
    if (first) assert_true(headers_add_known(&headers, HEADER_ACCEPT_ENCODING, slice_from_cstring(first)));
    if (second) assert_true(headers_add_known(&headers, HEADER_ACCEPT_ENCODING, slice_from_cstring(second)));
    accepted_codings_read(&headers, accepted);
    size_t count = accepted_codings_rank(accepted, offered, COUNT_OF(offered), ranked), length = 0;
    text[0] = '\0';
    for (size_t i = 0; i < count; i++) {
        struct slice name = content_coding_name(ranked[i]);
        length += (size_t)snprintf(text + length, 64 - length, "%s%.*s", i ? " " : "", SLICE_PRINT(name));
    }
    arena_release(&arena);
}

static void what_a_client_says_decides(void **state)
{
    static const struct {
        const char *field, *ranked;
    } rows[] = {
        { NULL, "" },
        { "", "" },
        { "gzip", "gzip" },
        { "GZip", "gzip" },
        { "x-gzip", "gzip" },
        { "gzip, deflate, br, zstd", "zstd br gzip" },
        { "gzip;q=1.0, br;q=0.9", "gzip br" },
        { "gzip;q=0.5,br;q=0.501", "br gzip" },
        { "br;q=0, gzip", "gzip" },
        { "br ; Q=0.000 ,\tgzip ; q=1", "gzip" },
        { "*", "zstd br gzip" },
        { "*;q=0", "" },
        { "*;q=0, gzip;q=0.1", "gzip" },
        { "*;q=0.5, br;q=0", "zstd gzip" },
        { "gzip;q=0.2, *;q=0.7", "zstd br" }, /* identity, which `*` names as well, is liked better than gzip */
        { "identity", "" },
        { "identity;q=0", "" },
        { "identity, gzip", "gzip" },
        { "identity;q=1, gzip;q=0.5", "" },
        { "identity;q=0.5, gzip;q=0.5", "gzip" },
        { "identity;q=0, gzip;q=0.001", "gzip" },
        { "deflate, compress, unknown", "" },
        /* What can't be read is not accepted; its neighbours are. */
        { "gzip;q=2, br", "br" },
        { "gzip;q=1.001, br", "br" },
        { "gzip;q=0.1234, br", "br" },
        { "gzip;q=, br", "br" },
        { "gzip;q=-1, br", "br" },
        { "gzip;q=.5, br", "br" },
        { "gzip;q=0.5;x=y, br", "br" },
        { "gzip;level=9, br", "br" },
        { ";q=1, br", "br" },
        { ",, ,br,", "br" },
        { "gzip br", "" },
        { "gzip;q=0.5;q=1", "" },
        /* Said twice: the lower one. */
        { "gzip, gzip;q=0", "" },
        { "gzip;q=0, gzip", "" },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct accepted_codings accepted;
        char text[64];
        ranked_as(rows[i].field, NULL, &accepted, text);
        if (strcmp(text, rows[i].ranked) != 0) fail_msg("\"%s\": %s", rows[i].field, text);
    }
}

static void two_fields_are_one_list(void **state)
{
    struct accepted_codings accepted;
    char text[64];
    ranked_as("gzip;q=0.3", "br;q=0.4", &accepted, text);
    assert_string_equal(text, "br gzip");
    ranked_as("gzip", "gzip;q=0", &accepted, text);
    assert_string_equal(text, "");
}

static void a_client_may_refuse_what_is_not_encoded(void **state)
{
    static const struct {
        const char *field;
        bool refused;
    } rows[] = { { "identity;q=0", true },     { "*;q=0", true }, { "gzip, *;q=0", true }, { "gzip", false },
                 { "identity, *;q=0", false }, { NULL, false },   { "*", false } };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct accepted_codings accepted;
        char text[64];
        ranked_as(rows[i].field, NULL, &accepted, text);
        assert_int_equal(accepted.identity_refused, rows[i].refused);
    }
}

static void names_are_found_whatever_their_case(void **state)
{
    assert_int_equal(content_coding_find(SLICE("BR")), CODING_BROTLI);
    assert_int_equal(content_coding_find(SLICE("deflate")), CODING_DEFLATE);
    assert_int_equal(content_coding_find(SLICE("identity")), CODING_IDENTITY);
    assert_int_equal(content_coding_find(SLICE("brotli")), CODING_COUNT);
    assert_int_equal(content_coding_find(SLICE("")), CODING_COUNT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_client_says_decides),
        cmocka_unit_test(two_fields_are_one_list),
        cmocka_unit_test(a_client_may_refuse_what_is_not_encoded),
        cmocka_unit_test(names_are_found_whatever_their_case),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
