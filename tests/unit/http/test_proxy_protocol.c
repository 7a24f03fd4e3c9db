#include "unit_test.h"

#include "http/proxy_protocol.h"

#include <stdlib.h>

#define V2 "\r\n\r\n\0\r\nQUIT\n"
#define V4_ADDRESSES "\xc0\xa8\0\x01\xc0\xa8\0\x0b\xdc\x04\x01\xbb" /* 192.168.0.1:56324 to 192.168.0.11:443 */
/* As HAProxy 2.6 wrote it: 127.0.0.1:47252 to 127.0.0.1:18091, a CRC32C, the unique id "abc". */
#define BY_HAPROXY                                                                                  \
    V2 "\x21\x11\0\x19\x7f\0\0\x01\x7f\0\0\x01\xb8\x94\x46\xab\x03\0\x04\x8a\xbe\xca\x87\x05\0\x03" \
       "abc"

static struct address address_of(const char *text)
{
    struct address address = { 0 };
    if (text) assert_true(address_parse(slice_from_cstring(text), &address));
    return address;
}

static void assert_address_is(const struct address *address, const char *expected)
{
    char text[ADDRESS_TEXT_BYTES];
    address_write(address, text);
    assert_string_equal(text, expected ? expected : "");
}

/* Parses a copy of exactly that length, so that a sanitizer sees a read behind it. */
static enum proxy_protocol_result parse(struct slice bytes, struct proxy_protocol_header *header, struct error *error)
{
    char *copy = malloc(bytes.length ? bytes.length : 1);
    assert_non_null(copy);
    memcpy(copy, bytes.at, bytes.length);
    memset(header, 0x55, sizeof *header);
    *error = (struct error){ 0 };
    enum proxy_protocol_result result = proxy_protocol_parse(copy, bytes.length, header, error);
    free(copy);
    return result;
}

struct good_row {
    const char *sentence;
    struct slice bytes;
    const char *source, *destination; /* NULL: none */
    bool local;
};

static const struct good_row good_rows[] = {
    { "TCP4", SLICE("PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n"), "192.168.0.1:56324", "192.168.0.11:443",
      false },
    { "the longest TCP4", SLICE("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n"), "255.255.255.255:65535",
      "255.255.255.255:65535", false },
    { "ports of zero", SLICE("PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n"), "0.0.0.0:0", "0.0.0.0:0", false },
    { "TCP6", SLICE("PROXY TCP6 2001:db8::1 ::1 1 2\r\n"), "[2001:db8::1]:1", "[::1]:2", false },
    { "TCP6 in capitals and in full",
      SLICE("PROXY TCP6 FFFF:FFFF:FFFF:FFFF:FFFF:FFFF:FFFF:FFFF ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 "
            "65535\r\n"),
      "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535", "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535", false },
    { "TCP6 that is mapped IPv4", SLICE("PROXY TCP6 ::ffff:10.1.2.3 ::ffff:a01:204 1 2\r\n"), "10.1.2.3:1",
      "10.1.2.4:2", false },
    { "UNKNOWN", SLICE("PROXY UNKNOWN\r\n"), NULL, NULL, false },
    { "UNKNOWN with something behind it", SLICE("PROXY UNKNOWN ::1  x\0y\xff 70000\r\n"), NULL, NULL, false },
    { "version 2, IPv4", SLICE(V2 "\x21\x11\0\x0c" V4_ADDRESSES), "192.168.0.1:56324", "192.168.0.11:443", false },
    { "version 2 by HAProxy", SLICE(BY_HAPROXY), "127.0.0.1:47252", "127.0.0.1:18091", false },
    { "version 2, IPv6",
      SLICE(V2 "\x21\x21\0\x24\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01"
               "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\x01\0\x02"),
      "[2001:db8::1]:1", "[::1]:2", false },
    { "version 2, mapped IPv4",
      SLICE(V2 "\x21\x21\0\x24\0\0\0\0\0\0\0\0\0\0\xff\xff\x0a\x01\x02\x03"
               "\0\0\0\0\0\0\0\0\0\0\xff\xff\x0a\x01\x02\x04\0\x01\0\x02"),
      "10.1.2.3:1", "10.1.2.4:2", false },
    { "an empty vector of an unknown type", SLICE(V2 "\x21\x11\0\x0f" V4_ADDRESSES "\xee\0\0"), "192.168.0.1:56324",
      "192.168.0.11:443", false },
    { "UDP has no address for us", SLICE(V2 "\x21\x12\0\x0c" V4_ADDRESSES), NULL, NULL, false },
    { "IPv4 without a transport", SLICE(V2 "\x21\x10\0\x02xx"), NULL, NULL, false },
    { "a transport without a family", SLICE(V2 "\x21\x01\0\x02xx"), NULL, NULL, false },
    { "UNSPEC", SLICE(V2 "\x21\0\0\0"), NULL, NULL, false },
    { "UNSPEC with bytes that say nothing", SLICE(V2 "\x21\0\0\x05\x03\xff\xffxx"), NULL, NULL, false },
    { "LOCAL", SLICE(V2 "\x20\0\0\0"), NULL, NULL, true },
    { "LOCAL with addresses, which don't count", SLICE(V2 "\x20\x11\0\x0c" V4_ADDRESSES), NULL, NULL, true },
    { "LOCAL with fewer bytes than its family has", SLICE(V2 "\x20\x11\0\x01x"), NULL, NULL, true },
    { "LOCAL with a family that doesn't exist", SLICE(V2 "\x20\xff\0\x01x"), NULL, NULL, true },
};

static void good_headers_are_read(void **state)
{
    for (size_t i = 0; i < COUNT_OF(good_rows); i++) {
        const struct good_row *row = &good_rows[i];
        struct proxy_protocol_header header;
        struct error error;
        if (parse(row->bytes, &header, &error) != PROXY_PROTOCOL_COMPLETE)
            fail_msg("%s: %s", row->sentence, error.text);
        assert_int_equal(header.length, row->bytes.length);
        assert_int_equal(header.version, row->bytes.at[0] == 'P' ? 1 : 2);
        assert_int_equal(header.local, row->local);
        assert_address_is(&header.source, row->source);
        assert_address_is(&header.destination, row->destination);
    }
}

/* 216 bytes of addresses; a longer header than any other, too. */
static void a_unix_socket_has_no_address_for_us(void **state)
{
    char bytes[16 + 216 + 3] = V2 "\x21\x31\0\xdb";
    bytes[16 + 216] = 4;
    struct proxy_protocol_header header;
    struct error error;
    assert_int_equal(parse(slice_of(bytes, sizeof bytes), &header, &error), PROXY_PROTOCOL_COMPLETE);
    assert_int_equal(header.length, sizeof bytes);
    assert_address_is(&header.source, NULL);
    bytes[15] = (char)0xd7;
    assert_int_equal(parse(slice_of(bytes, sizeof bytes), &header, &error), PROXY_PROTOCOL_BAD);
}

static void every_beginning_of_a_good_header_asks_for_more(void **state)
{
    for (size_t i = 0; i < COUNT_OF(good_rows); i++) {
        for (size_t length = 0; length < good_rows[i].bytes.length; length++) {
            struct proxy_protocol_header header;
            struct error error;
            if (parse(slice_before(good_rows[i].bytes, length), &header, &error) != PROXY_PROTOCOL_NEED_MORE)
                fail_msg("%s, %zu bytes: not NEED_MORE", good_rows[i].sentence, length);
            assert_int_equal(header.version, 0x55); /* untouched */
        }
    }
}

static void what_follows_a_header_is_left_alone(void **state)
{
    static const char *const followers[] = { "GET / HTTP/1.1\r\n", "\r\n", "PROXY UNKNOWN\r\n", "\x03" };
    for (size_t i = 0; i < COUNT_OF(good_rows); i++) {
        for (size_t k = 0; k < COUNT_OF(followers); k++) {
            char bytes[512];
            size_t length = good_rows[i].bytes.length, more = strlen(followers[k]);
            memcpy(bytes, good_rows[i].bytes.at, length);
            memcpy(bytes + length, followers[k], more);
            struct proxy_protocol_header header;
            struct error error;
            assert_int_equal(parse(slice_of(bytes, length + more), &header, &error), PROXY_PROTOCOL_COMPLETE);
            assert_int_equal(header.length, length);
        }
    }
}

struct bad_row {
    const char *sentence;
    struct slice bytes;
    const char *complaint; /* a part of it */
};

static const struct bad_row bad_rows[] = {
    { "a request", SLICE("GET / HTTP/1.1\r\n"), "doesn't begin with one" },
    { "a byte that isn't the first of one", SLICE("G"), "doesn't begin with one" },
    { "a TLS handshake", SLICE("\x16\x03\x01"), "doesn't begin with one" },
    { "half a signature", SLICE("\r\n\r\nGET"), "doesn't begin with one" },
    { "lower case", SLICE("proxy TCP4 1.1.1.1 1.1.1.1 1 1\r\n"), "doesn't begin with one" },
    { "a tab for the first space", SLICE("PROXY\tTCP4 1.1.1.1 1.1.1.1 1 1\r\n"), "doesn't begin with one" },
    { "no protocol", SLICE("PROXY \r\n"), "none of TCP4" },
    { "two spaces", SLICE("PROXY  TCP4 1.1.1.1 1.1.1.1 1 1\r\n"), "none of TCP4" },
    { "UDP4", SLICE("PROXY UDP4 1.1.1.1 1.1.1.1 1 1\r\n"), "none of TCP4" },
    { "a longer word than UNKNOWN", SLICE("PROXY UNKNOWNS\r\n"), "none of TCP4" },
    { "LF alone", SLICE("PROXY TCP4 1.1.1.1 1.1.1.1 1 1\n"), "LF alone" },
    { "LF alone before CRLF", SLICE("PROXY UNKNOWN \n\r\n"), "LF alone" },
    { "CR alone", SLICE("PROXY UNKNOWN \r \r\n"), "CR without LF" },
    { "a space before the line's end", SLICE("PROXY TCP4 1.1.1.1 1.1.1.1 1 1 \r\n"), "follows" },
    { "a third port", SLICE("PROXY TCP4 1.1.1.1 1.1.1.1 1 1 1\r\n"), "follows" },
    { "two spaces between fields", SLICE("PROXY TCP4 1.1.1.1  1.1.1.1 1 1\r\n"), "destination address" },
    { "a tab between fields", SLICE("PROXY TCP4 1.1.1.1\t1.1.1.1 1 1\r\n"), "source address" },
    { "a tab within a field", SLICE("PROXY TCP4 1.1.1.1 1.1.1.1 1\t 1\r\n"), "source port" },
    { "no source", SLICE("PROXY TCP4\r\n"), "source address" },
    { "no destination", SLICE("PROXY TCP4 1.1.1.1\r\n"), "destination address" },
    { "no ports", SLICE("PROXY TCP4 1.1.1.1 1.1.1.1\r\n"), "source port" },
    { "no destination port", SLICE("PROXY TCP4 1.1.1.1 1.1.1.1 1\r\n"), "destination port" },
    { "an empty port", SLICE("PROXY TCP4 1.1.1.1 1.1.1.1 1 \r\n"), "destination port" },
    { "a zero before an octet", SLICE("PROXY TCP4 1.1.1.01 1.1.1.1 1 1\r\n"), "source address" },
    { "an octet beyond 255", SLICE("PROXY TCP4 1.1.1.1 1.1.1.256 1 1\r\n"), "destination address" },
    { "three octets", SLICE("PROXY TCP4 1.1.1 1.1.1.1 1 1\r\n"), "source address" },
    { "a NUL in an address", SLICE("PROXY TCP4 1.1.1.1\0 1.1.1.1 1 1\r\n"), "source address" },
    { "a host name", SLICE("PROXY TCP4 localhost 1.1.1.1 1 1\r\n"), "source address" },
    { "IPv6 under TCP4", SLICE("PROXY TCP4 ::1 ::1 1 1\r\n"), "source address" },
    { "IPv4 under TCP6", SLICE("PROXY TCP6 ::1 1.1.1.1 1 1\r\n"), "destination address" },
    { "two double colons", SLICE("PROXY TCP6 1::2::3 ::1 1 1\r\n"), "source address" },
    { "nine groups", SLICE("PROXY TCP6 1:2:3:4:5:6:7:8:9 ::1 1 1\r\n"), "source address" },
    { "a group of five digits", SLICE("PROXY TCP6 ::00001 ::1 1 1\r\n"), "source address" },
    { "a zone", SLICE("PROXY TCP6 fe80::1%lo ::1 1 1\r\n"), "source address" },
    { "brackets", SLICE("PROXY TCP6 [::1] ::1 1 1\r\n"), "source address" },
    { "a zero before a port", SLICE("PROXY TCP4 1.1.1.1 1.1.1.1 01 1\r\n"), "source port" },
    { "a port beyond 65535", SLICE("PROXY TCP4 1.1.1.1 1.1.1.1 1 65536\r\n"), "destination port" },
    { "a port with a sign", SLICE("PROXY TCP4 1.1.1.1 1.1.1.1 +1 1\r\n"), "source port" },
    { "another version under version 2's signature", SLICE(V2 "\x11\x11\0\x0c" V4_ADDRESSES), "another version" },
    { "a third command", SLICE(V2 "\x22\x11\0\x0c" V4_ADDRESSES), "neither LOCAL nor PROXY" },
    { "a fifth family", SLICE(V2 "\x21\x41\0\x0c" V4_ADDRESSES), "doesn't exist" },
    { "a fourth transport", SLICE(V2 "\x21\x13\0\x0c" V4_ADDRESSES), "doesn't exist" },
    { "IPv4 in eleven bytes", SLICE(V2 "\x21\x11\0\x0b" V4_ADDRESSES), "shorter" },
    { "IPv6 in IPv4's bytes", SLICE(V2 "\x21\x21\0\x0c" V4_ADDRESSES), "shorter" },
    { "UDP in eleven bytes", SLICE(V2 "\x21\x12\0\x0b" V4_ADDRESSES), "shorter" },
    { "a vector's type alone", SLICE(V2 "\x21\x11\0\x0d" V4_ADDRESSES "\x04"), "don't add up" },
    { "a vector beyond the end", SLICE(V2 "\x21\x11\0\x0f" V4_ADDRESSES "\x04\0\x01x"), "don't add up" },
    { "a sum of five bytes", SLICE(V2 "\x21\x11\0\x14" V4_ADDRESSES "\x03\0\x05xxxxx"), "don't add up" },
    { "two sums", SLICE(V2 "\x21\x11\0\x1a" V4_ADDRESSES "\x03\0\x04xxxx\x03\0\x04xxxx"), "don't add up" },
    { "a wrong sum", SLICE(V2 "\x21\x11\0\x13" V4_ADDRESSES "\x03\0\x04xxxx"), "CRC32C" },
    { "a wrong sum of a local one", SLICE(V2 "\x20\0\0\x07\x03\0\x04xxxx"), "CRC32C" },
};

/* What is bad stays bad, whatever comes behind it. */
static void bad_headers_are_refused_with_words(void **state)
{
    for (size_t i = 0; i < COUNT_OF(bad_rows); i++) {
        const struct bad_row *row = &bad_rows[i];
        bool was_bad = false;
        char words[sizeof((struct error *)0)->text] = "";
        for (size_t length = 0; length <= row->bytes.length; length++) {
            struct proxy_protocol_header header;
            struct error error;
            enum proxy_protocol_result result = parse(slice_before(row->bytes, length), &header, &error);
            if (was_bad) assert_string_equal(error.text, words);
            if (was_bad || length == row->bytes.length) assert_int_equal(result, PROXY_PROTOCOL_BAD);
            assert_int_not_equal(result, PROXY_PROTOCOL_COMPLETE);
            was_bad = result == PROXY_PROTOCOL_BAD;
            if (was_bad) memcpy(words, error.text, sizeof words);
            if (was_bad) assert_int_equal(error.blame, BLAME_CLIENT);
        }
        if (!strstr(words, row->complaint)) fail_msg("%s: \"%s\"", row->sentence, words);
    }
}

/* Each byte of it is under the sum, the sum itself too. But for two: with another transport nobody knows where the
 * vectors begin, and then no address is taken; with another type the sum is a vector like others. */
static void a_changed_byte_is_found_by_the_sum(void **state)
{
    struct slice whole = SLICE(BY_HAPROXY);
    for (size_t i = 0; i < whole.length; i++) {
        char bytes[64];
        memcpy(bytes, whole.at, whole.length);
        bytes[i] ^= 1;
        struct proxy_protocol_header header;
        struct error error;
        enum proxy_protocol_result result = parse(slice_of(bytes, whole.length), &header, &error);
        if (i == 13) assert_address_is(&header.source, NULL);
        if (i != 13 && i != 28 && result == PROXY_PROTOCOL_COMPLETE) fail_msg("byte %zu", i);
    }
}

static void a_line_has_at_most_107_bytes(void **state)
{
    char bytes[200];
    struct proxy_protocol_header header;
    struct error error;
    memset(bytes, 'x', sizeof bytes);
    memcpy(bytes, "PROXY UNKNOWN ", 14);
    memcpy(bytes + 105, "\r\n", 2);
    assert_int_equal(parse(slice_of(bytes, 107), &header, &error), PROXY_PROTOCOL_COMPLETE);
    assert_int_equal(header.length, 107);
    memcpy(bytes + 105, "x\r\n", 3);
    assert_int_equal(parse(slice_of(bytes, 106), &header, &error), PROXY_PROTOCOL_NEED_MORE);
    assert_int_equal(parse(slice_of(bytes, 107), &header, &error), PROXY_PROTOCOL_BAD);
    assert_int_equal(parse(slice_of(bytes, 108), &header, &error), PROXY_PROTOCOL_BAD);
    assert_non_null(strstr(error.text, "107"));
}

static void version_2_has_at_most_4096_bytes_behind_its_first_16(void **state)
{
    static char bytes[16 + 4096] = V2 "\x21\x11\x10\x00" V4_ADDRESSES "\x04\x0f\xf1";
    struct proxy_protocol_header header;
    struct error error;
    assert_int_equal(parse(slice_of(bytes, sizeof bytes), &header, &error), PROXY_PROTOCOL_COMPLETE);
    assert_int_equal(header.length, PROXY_PROTOCOL_BYTES_MAX);
    assert_int_equal(parse(slice_of(bytes, sizeof bytes - 1), &header, &error), PROXY_PROTOCOL_NEED_MORE);
    bytes[15] = 1;
    assert_int_equal(parse(slice_of(bytes, 16), &header, &error), PROXY_PROTOCOL_BAD);
    assert_non_null(strstr(error.text, "4096"));
}

struct written_row {
    const char *source, *destination;
    struct slice v1, v2;
};

static void headers_are_written_by_the_letter(void **state)
{
    static const struct written_row rows[] = {
        { "192.168.0.1:56324", "192.168.0.11:443", SLICE("PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n"),
          SLICE(V2 "\x21\x11\0\x0c" V4_ADDRESSES) },
        { "[::ffff:192.168.0.1]:56324", "192.168.0.11:443", SLICE("PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n"),
          SLICE(V2 "\x21\x11\0\x0c" V4_ADDRESSES) },
        { "[::1]:1", "10.1.2.3:65535", SLICE("PROXY TCP6 ::1 ::ffff:10.1.2.3 1 65535\r\n"),
          SLICE(V2 "\x21\x21\0\x24\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01"
                   "\0\0\0\0\0\0\0\0\0\0\xff\xff\x0a\x01\x02\x03\0\x01\xff\xff") },
        { "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe]:65535", "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
          SLICE("PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 "
                "65535\r\n"),
          SLICE(V2 "\x21\x21\0\x24\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe"
                   "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff") },
        { NULL, "10.1.2.3:1", SLICE("PROXY UNKNOWN\r\n"), SLICE(V2 "\x20\0\0\0") },
        { "10.1.2.3:1", NULL, SLICE("PROXY UNKNOWN\r\n"), SLICE(V2 "\x20\0\0\0") },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct address source = address_of(rows[i].source), destination = address_of(rows[i].destination);
        char into[PROXY_PROTOCOL_WRITTEN_BYTES_MAX];
        size_t length = proxy_protocol_write_v1(&source, &destination, into);
        assert_int_equal(length, rows[i].v1.length);
        assert_memory_equal(into, rows[i].v1.at, length);
        length = proxy_protocol_write_v2(&source, &destination, into);
        assert_int_equal(length, rows[i].v2.length);
        assert_memory_equal(into, rows[i].v2.at, length);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_headers_are_read),
        cmocka_unit_test(a_unix_socket_has_no_address_for_us),
        cmocka_unit_test(every_beginning_of_a_good_header_asks_for_more),
        cmocka_unit_test(what_follows_a_header_is_left_alone),
        cmocka_unit_test(bad_headers_are_refused_with_words),
        cmocka_unit_test(a_changed_byte_is_found_by_the_sum),
        cmocka_unit_test(a_line_has_at_most_107_bytes),
        cmocka_unit_test(version_2_has_at_most_4096_bytes_behind_its_first_16),
        cmocka_unit_test(headers_are_written_by_the_letter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
