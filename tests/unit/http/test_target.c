#include "unit_test.h"

#include "http/target.h"

static struct arena arena;

static int start(void **state)
{
    arena_init(&arena, NULL);
    return 0;
}

static int stop(void **state)
{
    arena_release(&arena);
    return 0;
}

struct path_row {
    const char *sentence, *raw;
    const char *path;   /* NULL: refused with 400 */
    const char *merged; /* with merge_slashes; NULL: the same */
};

/* RFC 3986 6.2.2, 5.2.4 and the rules for odd characters. */
static const struct path_row paths[] = {
    { "the root", "/", "/", NULL },
    { "a plain path", "/api/v1/users/42", "/api/v1/users/42", NULL },
    { "every character that stands for itself", "/aZ09-._~!$&'()*+,;=:@", "/aZ09-._~!$&'()*+,;=:@", NULL },
    { "case counts", "/Users", "/Users", NULL },
    { "encoded unreserved characters are decoded", "/%61%5A%30%2d%2E%5f%7e", "/aZ0-._~", NULL },
    { "other encoded characters stay, in capitals", "/a%20b%3a%c3%a4", "/a%20b%3A%C3%A4", NULL },
    { "an encoded slash separates nothing", "/a%2fb/..%2F..", "/a%2Fb/..%2F..", NULL },
    { "an encoded percent sign isn't decoded twice", "/%2561", "/%2561", NULL },
    { "an encoded question mark and hash stay in the path", "/a%3fb%23c", "/a%3Fb%23c", NULL },
    { "a dot segment", "/./a/./b/.", "/a/b/", NULL },
    { "a double dot segment", "/a/b/../c", "/a/c", NULL },
    { "a double dot at the end leaves its slash", "/a/b/..", "/a/", NULL },
    { "up to the root", "/a/..", "/", NULL },
    { "encoded dots are dots", "/a/%2e%2E/b/.%2e/%2e/c", "/c", NULL },
    { "three dots are a name", "/.../a..b/.c/d.", "/.../a..b/.c/d.", NULL },
    { "dots with a parameter are a name", "/a/..;/b", "/a/..;/b", NULL },
    { "slashes stay as they are", "//a///b//", "//a///b//", "/a/b/" },
    { "a double dot takes away an empty segment", "/a//../b", "/a/b", "/b" },
    { "an empty segment behind dots", "/a/.//b", "/a//b", "/a/b" },
    { "above the root", "/..", NULL, NULL },
    { "above the root from below it", "/a/../../b", NULL, NULL },
    { "above the root in encoded dots", "/%2e%2e/b", NULL, NULL },
    { "above the root over an empty segment that merges away", "//../../b", NULL, NULL },
    { "NUL", "/a%00", NULL, NULL },
    { "a backslash", "/a\\b", NULL, NULL },
    { "an encoded backslash", "/a%5cb", NULL, NULL },
    { "a byte beyond ASCII", "/\xc3\xa4", NULL, NULL },
    { "a space", "/a b", NULL, NULL },
    { "a control character", "/a\x01", NULL, NULL },
    { "a tab", "/a\tb", NULL, NULL },
    { "DEL", "/a\x7f", NULL, NULL },
    { "a fragment", "/a#b", NULL, NULL },
    { "brackets", "/a[1]", NULL, NULL },
    { "braces", "/{a}", NULL, NULL },
    { "angle brackets", "/<a>", NULL, NULL },
    { "a quotation mark", "/\"", NULL, NULL },
    { "a bar", "/a|b", NULL, NULL },
    { "a circumflex", "/^", NULL, NULL },
    { "a backquote", "/`", NULL, NULL },
    { "a percent sign alone", "/100%", NULL, NULL },
    { "a percent sign with one digit", "/%4", NULL, NULL },
    { "a percent sign before no digits", "/%zz", NULL, NULL },
    { "a percent sign before %u", "/%u0061", NULL, NULL },
    { "a continuation byte alone", "/%80", NULL, NULL },
    { "UTF-8 cut short", "/%C3", NULL, NULL },
    { "UTF-8 cut short by a character", "/%C3a", NULL, NULL },
    { "UTF-8 cut short by an encoded character", "/%C3%41", NULL, NULL },
    { "an overlong slash", "/%C0%AF", NULL, NULL },
    { "an overlong slash of three bytes", "/%E0%80%AF", NULL, NULL },
    { "an overlong slash of four bytes", "/%F0%80%80%AF", NULL, NULL },
    { "a surrogate", "/%ED%A0%80", NULL, NULL },
    { "beyond U+10FFFF", "/%F4%90%80%80", NULL, NULL },
    { "a byte that UTF-8 has not", "/%FF", NULL, NULL },
    { "the first and last of each length", "/%C2%80%DF%BF%E0%A0%80%EF%BF%BF%F0%90%80%80%F4%8F%BF%BF",
      "/%C2%80%DF%BF%E0%A0%80%EF%BF%BF%F0%90%80%80%F4%8F%BF%BF", NULL },
    { "the last before and the first behind the surrogates", "/%ED%9F%BF%EE%80%80", "/%ED%9F%BF%EE%80%80", NULL },
    { "an empty query", "/a?", "/a", NULL },
    { "a query has no dot segments", "/a?b/../c", "/a", NULL },
    { "what browsers leave raw in a query", "/a?f[x]={1|2}^`", "/a", NULL },
    { "a query with slashes, question marks and encoded bytes", "/a?/?:@%00%ff", "/a", NULL },
    { "a bad percent sign in the query", "/a?b%", NULL, NULL },
    { "a byte beyond ASCII in the query", "/a?\xc3\xa4", NULL, NULL },
    { "a space in the query", "/a?b c", NULL, NULL },
    { "a backslash in the query", "/a?\\", NULL, NULL },
    { "a quotation mark in the query", "/a?\"", NULL, NULL },
    { "angle brackets in the query", "/a?<b>", NULL, NULL },
    { "a fragment behind the query", "/a?b#c", NULL, NULL },
};

static void assert_path_is(const struct path_row *row, bool merge, const char *expected)
{
    struct target target, again;
    struct error error = { 0 };
    struct slice raw = slice_from_cstring(row->raw);
    bool read = target_parse(raw, merge, &arena, &target, &error);
    if (read != (expected != NULL)) fail_msg("%s: %s", row->sentence, read ? "accepted" : error.text);
    if (!read) {
        assert_int_equal(error.status, 400);
        assert_int_equal(error.blame, BLAME_CLIENT);
        return;
    }
    if (!slice_equal(target.path, slice_from_cstring(expected)))
        fail_msg("%s: %.*s", row->sentence, SLICE_PRINT(target.path));
    assert_true(slice_equal(target.raw, raw));
    /* Normal is normal: a second reading changes nothing and copies nothing. */
    assert_true(target_parse(target.path, merge, &arena, &again, &error));
    assert_true(slice_equal(again.path, target.path));
}

static void a_path_has_one_normal_form(void **state)
{
    for (size_t i = 0; i < COUNT_OF(paths); i++) {
        const struct path_row *row = &paths[i];
        assert_path_is(row, false, row->path);
        assert_path_is(row, true, row->merged ? row->merged : row->path);
    }
}

static void a_normal_path_is_not_copied(void **state)
{
    struct target target;
    struct slice raw = SLICE("/api/v1.2/users?x=%41");
    assert_true(target_parse(raw, false, &arena, &target, NULL));
    assert_ptr_equal(target.path.at, raw.at);
    assert_slice_is(target.query, "x=%41");
    assert_true(target_parse(SLICE("/a"), false, &arena, &target, NULL));
    assert_true(slice_is_absent(target.query));
    assert_true(target_parse(SLICE("/a?"), false, &arena, &target, NULL));
    assert_true(!slice_is_absent(target.query) && target.query.length == 0);
}

struct form_row {
    const char *raw;
    bool accepted;
    enum target_form form;
    const char *scheme, *authority, *path;
};

/* RFC 9112 3.2. */
static void a_target_has_one_of_four_forms(void **state)
{
    static const struct form_row rows[] = {
        { "/a", true, TARGET_ORIGIN, "", "", "/a" },
        { "//a/b", true, TARGET_ORIGIN, "", "", "//a/b" },
        { "http://a", true, TARGET_ABSOLUTE, "http", "a", "/" },
        { "https://a:8443?b", true, TARGET_ABSOLUTE, "https", "a:8443", "/" },
        { "HTTPS://A/./b", true, TARGET_ABSOLUTE, "HTTPS", "A", "/b" },
        { "http://[::1]:80/a", true, TARGET_ABSOLUTE, "http", "[::1]:80", "/a" },
        { "http://a/http://b", true, TARGET_ABSOLUTE, "http", "a", "/http://b" },
        { "a:443", true, TARGET_AUTHORITY, "", "a:443", "" },
        { "*", true, TARGET_ASTERISK, "", "", "*" },
        { .raw = "" },
        { .raw = "?a" },
        { .raw = "a/b" },
        { .raw = "http:/a" },
        { .raw = "http:a" },
        { .raw = "http://" },
        { .raw = "http:///a" },
        { .raw = "http://?a" },
        { .raw = "http://u@a/" },
        { .raw = "http://a\\b/" },
        { .raw = "http://a b/" },
        { .raw = "http://a%2fb/" },
        { .raw = "http://a#b" },
        { .raw = "ftp://a/" },
        { .raw = "ws://a/" },
        { .raw = "httpx://a/" },
        { .raw = "://a" },
        { .raw = "javascript:alert(1)" },
        { .raw = "**" },
        { .raw = "*/a" },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct target target;
        struct error error = { 0 };
        bool read = target_parse(slice_from_cstring(rows[i].raw), false, &arena, &target, &error);
        if (read != rows[i].accepted) fail_msg("\"%s\": %s", rows[i].raw, read ? "accepted" : error.text);
        if (!read) continue;
        assert_int_equal(target.form, rows[i].form);
        assert_slice_is(target.scheme, rows[i].scheme);
        assert_slice_is(target.authority, rows[i].authority);
        assert_slice_is(target.path, rows[i].path);
    }
}

struct authority_row {
    const char *text, *host; /* NULL: refused */
    unsigned port;
};

/* RFC 3986 3.2.2, 3.2.3. */
static void an_authority_is_a_host_and_perhaps_a_port(void **state)
{
    static const struct authority_row rows[] = {
        { "a", "a", 0 },
        { "Api.Example.COM", "api.example.com", 0 },
        { "a.b.", "a.b", 0 },
        { "a.b.:80", "a.b", 80 },
        { "a_b-c~9", "a_b-c~9", 0 },
        { "a:", "a", 0 },
        { "a:00080", "a", 80 },
        { "a:65535", "a", 65535 },
        { "127.0.0.1:80", "127.0.0.1", 80 },
        { "[::1]", "[::1]", 0 },
        { "[FE80::ABCD]:80", "[fe80::abcd]", 80 },
        { "[::ffff:127.0.0.1]", "[::ffff:127.0.0.1]", 0 },
        { "", NULL, 0 },
        { ":80", NULL, 0 },
        { ".", NULL, 0 },
        { ".a", NULL, 0 },
        { "a..b", NULL, 0 },
        { "a..", NULL, 0 },
        { "a:0", NULL, 0 },
        { "a:000080", NULL, 0 },
        { "a:65536", NULL, 0 },
        { "a:+80", NULL, 0 },
        { "a:80 ", NULL, 0 },
        { "a:80:80", NULL, 0 },
        { "a:b", NULL, 0 },
        { "u@a", NULL, 0 },
        { "a/b", NULL, 0 },
        { "a?b", NULL, 0 },
        { "a#b", NULL, 0 },
        { "a\\b", NULL, 0 },
        { "a b", NULL, 0 },
        { "a,b", NULL, 0 },
        { "a;b", NULL, 0 },
        { "a%41", NULL, 0 },
        { "a'b", NULL, 0 },
        { "\xc3\xa4", NULL, 0 },
        { "[::1", NULL, 0 },
        { "::1", NULL, 0 },
        { "[]", NULL, 0 },
        { "[::1]a", NULL, 0 },
        { "[::1]80", NULL, 0 },
        { "[::1%25eth0]", NULL, 0 },
        { "[v1.a]", NULL, 0 },
        { "[127.0.0.1]", NULL, 0 },
        { "a[::1]", NULL, 0 },
        { "[::1]:80:80", NULL, 0 },
        { "[1:2:3:4:5:6:7:8:9]", NULL, 0 },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct slice host;
        uint16_t port;
        bool read = target_parse_authority(slice_from_cstring(rows[i].text), &arena, &host, &port);
        if (read != (rows[i].host != NULL)) fail_msg("\"%s\"", rows[i].text);
        if (!read) continue;
        assert_slice_is(host, rows[i].host);
        assert_int_equal(port, rows[i].port);
    }
    char long_name[300];
    memset(long_name, 'a', sizeof long_name);
    struct slice host;
    uint16_t port;
    assert_true(target_parse_authority(slice_of(long_name, 255), &arena, &host, &port));
    assert_false(target_parse_authority(slice_of(long_name, 256), &arena, &host, &port));
    assert_false(target_parse_authority(SLICE("[::1\0]"), &arena, &host, &port));
}

static void without_memory_a_target_is_refused_with_503(void **state)
{
    struct arena_pool pool;
    struct arena empty;
    arena_pool_init(&pool, 0, &(struct memory_ceiling){ .bytes_max = 1 });
    arena_init(&empty, &pool);
    struct target target;
    struct error error = { 0 };
    assert_true(target_parse(SLICE("/a"), false, &empty, &target, &error));
    assert_false(target_parse(SLICE("/a/../b"), false, &empty, &target, &error));
    assert_int_equal(error.status, 503);
    assert_int_equal(error.blame, BLAME_US);
    arena_release(&empty);
    arena_pool_release(&pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_path_has_one_normal_form),
        cmocka_unit_test(a_normal_path_is_not_copied),
        cmocka_unit_test(a_target_has_one_of_four_forms),
        cmocka_unit_test(an_authority_is_a_host_and_perhaps_a_port),
        cmocka_unit_test(without_memory_a_target_is_refused_with_503),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
