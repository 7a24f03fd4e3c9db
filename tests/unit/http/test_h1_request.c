#include "reading.h"

static const struct reader client = { .limits = { 1000, 4000, 30, false } };

/* The request line and a good Host, then the given bytes: field lines, the empty line, a body. */
#define GET(rest) SLICE("GET / HTTP/1.1\r\nHost: a\r\n" rest)
#define POST(rest) SLICE("POST / HTTP/1.1\r\nHost: a\r\n" rest)
#define LINE(line) SLICE(line "\r\nHost: a\r\n\r\n")

/* RFC 9112 3: method SP request-target SP HTTP-version CRLF. */
static const struct head_row request_lines[] = {
    { "a plain request line is read", LINE("GET / HTTP/1.1"), 0 },
    { "every character of a token may be in a method", LINE("!#$%&'*+-.^_`|~9aZ / HTTP/1.1"), 0 },
    { "a higher minor version is read as HTTP/1.1 (RFC 9110 2.5)", LINE("GET / HTTP/1.9"), 0 },
    { "no method", LINE(" / HTTP/1.1"), 400 },
    { "a white space before the method", LINE(" GET / HTTP/1.1"), 400 },
    { "a method that is no token", LINE("G(T / HTTP/1.1"), 400 },
    { "a method beyond ASCII", LINE("G\xc3\x84T / HTTP/1.1"), 400 },
    { "a method in quotes", LINE("\"GET\" / HTTP/1.1"), 400 },
    { "a colon behind the method", LINE("GET: / HTTP/1.1"), 400 },
    { "a method longer than any method (RFC 9112 3)", LINE("GETGETGETGETGETGETGETGETGETGETGET / HTTP/1.1"), 501 },
    { "two spaces before the target", LINE("GET  / HTTP/1.1"), 400 },
    { "two spaces behind the target", LINE("GET /  HTTP/1.1"), 400 },
    { "a tab before the target", LINE("GET\t/ HTTP/1.1"), 400 },
    { "a tab behind the target", LINE("GET /\tHTTP/1.1"), 400 },
    { "a space behind the version", LINE("GET / HTTP/1.1 "), 400 },
    { "a space inside the target", LINE("GET /a b HTTP/1.1"), 400 },
    { "no target", LINE("GET HTTP/1.1"), 400 },
    { "no target but its spaces", LINE("GET  HTTP/1.1"), 400 },
    { "a method alone", LINE("GET"), 400 },
    { "a method and a space", LINE("GET "), 400 },
    { "no version, as in HTTP/0.9", SLICE("GET /\r\n\r\n"), 400 },
    { "a version in lower case", LINE("GET / http/1.1"), 400 },
    { "a version of two digits", LINE("GET / HTTP/1.10"), 400 },
    { "a version with a leading zero", LINE("GET / HTTP/01.1"), 400 },
    { "a version without its minor", LINE("GET / HTTP/1"), 400 },
    { "a version with a comma", LINE("GET / HTTP/1,1"), 400 },
    { "a version with a letter", LINE("GET / HTTP/1.x"), 400 },
    { "a version of another protocol", LINE("GET / ICAP/1.1"), 400 },
    { "a version cut short", LINE("GET / HTTP/1."), 400 },
    { "HTTP/2.0 (RFC 9110 15.6.6)", LINE("GET / HTTP/2.0"), 505 },
    { "HTTP/0.9 by name", LINE("GET / HTTP/0.9"), 505 },
    { "the preface of HTTP/2", SLICE("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 505 },
    { "a TLS handshake", SLICE("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n"), 400 },
    { "one empty line before it is skipped (RFC 9112 2.2)", SLICE("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"), 0 },
    { "two empty lines before it", SLICE("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"), 400 },
    { "a bare LF before it", SLICE("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"), 400 },
    { "white space on the line before it", SLICE(" \r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"), 400 },
};

/* RFC 9112 2.2: a bare LF may be tolerated, we don't; a bare CR must not. RFC 9110 5.5: no control characters. */
static const struct head_row line_ends[] = {
    { "LF alone behind the request line", SLICE("GET / HTTP/1.1\nHost: a\r\n\r\n"), 400 },
    { "CR alone behind the request line", SLICE("GET / HTTP/1.1\rHost: a\r\n\r\n"), 400 },
    { "two CR behind the request line", SLICE("GET / HTTP/1.1\r\r\nHost: a\r\n\r\n"), 400 },
    { "LF alone behind a field", GET("X: b\nY: c\r\n\r\n"), 400 },
    { "CR alone behind a field", GET("X: b\rY: c\r\n\r\n"), 400 },
    { "two CR behind a field", GET("X: b\r\r\n\r\n"), 400 },
    { "LF alone as the empty line", GET("\n"), 400 },
    { "CR and CR LF as the empty line", GET("\r\r\n"), 400 },
    { "CR alone and then nothing good", GET("\rX"), 400 },
    { "LF before CR", GET("X: b\n\r\n\r\n"), 400 },
    { "NUL in a value", GET("X: b\0c\r\n\r\n"), 400 },
    { "NUL in a name", GET("X\0: b\r\n\r\n"), 400 },
    { "NUL behind a value", GET("X: b\0\r\n\r\n"), 400 },
    { "NUL before a name", GET("\0X: b\r\n\r\n"), 400 },
    { "NUL in the target", LINE("GET /a\0b HTTP/1.1"), 400 },
    { "NUL behind the version", LINE("GET / HTTP/1.1\0"), 400 },
    { "a vertical tab in a value", GET("X: b\vc\r\n\r\n"), 400 },
    { "a form feed before the value", GET("X:\fb\r\n\r\n"), 400 },
    { "ESC in a value", GET("X: \x1b[31m\r\n\r\n"), 400 },
    { "DEL in a value", GET("X: b\x7f\r\n\r\n"), 400 },
    { "a control character far into a long value", GET("X: 0123456789abcdef0123456789abcdef0123456789\x01\r\n\r\n"),
      400 },
    { "a tab in a value is white space", GET("X: b\tc\r\n\r\n"), 0 },
    { "bytes beyond ASCII in a value are obs-text", GET("X: \x80\xff \xc3\xa4\r\n\r\n"), 0 },
};

/* RFC 9112 5, 5.1, 5.2; RFC 9110 5.1. */
static const struct head_row fields[] = {
    { "no white space behind the colon", SLICE("GET / HTTP/1.1\r\nHost:a\r\n\r\n"), 0 },
    { "much white space around a value", GET("X: \t  b \t \r\n\r\n"), 0 },
    { "an empty value", GET("X:\r\n\r\n"), 0 },
    { "a value of white space", GET("X: \t \r\n\r\n"), 0 },
    { "a colon in a value", GET("X: :b:\r\n\r\n"), 0 },
    { "every character of a token in a name", GET("!#$%&'*+-.^_`|~9aZ: b\r\n\r\n"), 0 },
    { "a space before the colon", GET("X : b\r\n\r\n"), 400 },
    { "a tab before the colon", GET("X\t: b\r\n\r\n"), 400 },
    { "a space inside a name", GET("X Y: b\r\n\r\n"), 400 },
    { "a space before Content-Length's colon", POST("Content-Length : 5\r\n\r\nhello"), 400 },
    { "a space before Transfer-Encoding's colon", POST("Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n"), 400 },
    { "a line folded by a space", GET("X: b\r\n c\r\n\r\n"), 400 },
    { "a line folded by a tab", GET("X: b\r\n\tc\r\n\r\n"), 400 },
    { "a folded line that looks like a field", GET("X: b\r\n Content-Length: 5\r\n\r\n"), 400 },
    { "a folded line of nothing but a space", GET("X: b\r\n \r\n\r\n"), 400 },
    { "white space before the first field", SLICE("GET / HTTP/1.1\r\n Host: a\r\n\r\n"), 400 },
    { "an empty line with a space", GET(" \r\n\r\n"), 400 },
    { "a line without a colon", GET("X\r\n\r\n"), 400 },
    { "a second request line among the fields", GET("GET / HTTP/1.1\r\n\r\n"), 400 },
    { "a name of no bytes", GET(": b\r\n\r\n"), 400 },
    { "a colon alone", GET(":\r\n\r\n"), 400 },
    { "a slash in a name", GET("X/Y: b\r\n\r\n"), 400 },
    { "a name in quotes", GET("\"X\": b\r\n\r\n"), 400 },
    { "a name in brackets", GET("X[1]: b\r\n\r\n"), 400 },
    { "a name beyond ASCII", GET("X\xc3\xa4: b\r\n\r\n"), 400 },
    { "a byte order mark before a name", GET("\xef\xbb\xbfX: b\r\n\r\n"), 400 },
    { "no-break space before the colon", GET("X\xa0: b\r\n\r\n"), 400 },
    { "Content_Length, which some backends read as the framing field", GET("Content_Length: 5\r\n\r\n"), 400 },
    { "transfer_encoding likewise", GET("transfer_encoding: chunked\r\n\r\n"), 400 },
    { "another name with an underscore", GET("X_Y: b\r\n\r\n"), 0 },
};

/* RFC 9112 6.1 to 6.3, RFC 9110 8.6. */
static const struct head_row framings[] = {
    { "a length", POST("Content-Length: 5\r\n\r\nhello"), 0 },
    { "a length with zeros before it", POST("Content-Length: 0005\r\n\r\nhello"), 0 },
    { "a length of nothing", POST("Content-Length: 0\r\n\r\n"), 0 },
    { "a length with white space around it", POST("Content-Length: \t5 \r\n\r\nhello"), 0 },
    { "the largest length", POST("Content-Length: 9223372036854775807\r\n\r\n"), 0 },
    { "a body with GET", GET("Content-Length: 5\r\n\r\nhello"), 0 },
    { "chunked", POST("Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 0 },
    { "chunked under a name in odd case", POST("tRANSFER-eNCODING:chunked\r\n\r\n0\r\n\r\n"), 0 },
    { "a length of 2^63", POST("Content-Length: 9223372036854775808\r\n\r\n"), 400 },
    { "a length of 2^64", POST("Content-Length: 18446744073709551616\r\n\r\n"), 400 },
    { "a length of 2^64 + 5", POST("Content-Length: 18446744073709551621\r\n\r\nhello"), 400 },
    { "a length of forty digits", POST("Content-Length: 9999999999999999999999999999999999999999\r\n\r\n"), 400 },
    { "an empty length", POST("Content-Length:\r\n\r\n"), 400 },
    { "a length of white space", POST("Content-Length:   \r\n\r\n"), 400 },
    { "a length with a plus", POST("Content-Length: +5\r\n\r\nhello"), 400 },
    { "a negative length", POST("Content-Length: -5\r\n\r\nhello"), 400 },
    { "a length of minus zero", POST("Content-Length: -0\r\n\r\n"), 400 },
    { "a length in hexadecimal", POST("Content-Length: 0x5\r\n\r\nhello"), 400 },
    { "a length in hexadecimal without its prefix", POST("Content-Length: a\r\n\r\n"), 400 },
    { "a length with a fraction", POST("Content-Length: 5.0\r\n\r\nhello"), 400 },
    { "a length with an exponent", POST("Content-Length: 1e1\r\n\r\nhello"), 400 },
    { "a length with an underscore", POST("Content-Length: 1_0\r\n\r\nhello"), 400 },
    { "a length with a space inside", POST("Content-Length: 1 0\r\n\r\nhello"), 400 },
    { "a length in quotes", POST("Content-Length: \"5\"\r\n\r\nhello"), 400 },
    { "a length with a semicolon", POST("Content-Length: 5;\r\n\r\nhello"), 400 },
    { "a length in Arabic digits", POST("Content-Length: \xd9\xa5\r\n\r\nhello"), 400 },
    { "a list of equal lengths", POST("Content-Length: 5, 5\r\n\r\nhello"), 400 },
    { "a list of one length and nothing", POST("Content-Length: 5,\r\n\r\nhello"), 400 },
    { "a list with nothing and one length", POST("Content-Length: 5 ,5\r\n\r\nhello"), 400 },
    { "the same length twice", POST("Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello"), 400 },
    { "two lengths", POST("Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello"), 400 },
    { "two lengths in different case, apart", POST("Content-Length: 5\r\nX: b\r\ncontent-length: 5\r\n\r\nhello"),
      400 },
    { "a length and an empty one", POST("Content-Length: 5\r\nContent-Length:\r\n\r\nhello"), 400 },
    { "a length beside chunked", POST("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 400 },
    { "chunked beside a length", POST("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"), 400 },
    { "a length beside a coding nobody knows", POST("Content-Length: 5\r\nTransfer-Encoding: x\r\n\r\nhello"), 400 },
    { "chunked twice", POST("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 400 },
    { "chunked in a list with itself", POST("Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"), 400 },
    { "chunked, then identity", POST("Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"), 400 },
    { "identity, then chunked", POST("Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n"), 400 },
    { "identity", POST("Transfer-Encoding: identity\r\n\r\n"), 400 },
    { "gzip, then chunked", POST("Transfer-Encoding: gzip, chunked\r\n\r\n"), 400 },
    { "an empty coding", POST("Transfer-Encoding:\r\n\r\n"), 400 },
    { "chunked behind a comma", POST("Transfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n"), 400 },
    { "chunked before a comma", POST("Transfer-Encoding: chunked,\r\n\r\n0\r\n\r\n"), 400 },
    { "chunked with a parameter", POST("Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n"), 400 },
    { "chunked in quotes", POST("Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n"), 400 },
    { "chunked with a letter more", POST("Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"), 400 },
    { "chunked with a space inside", POST("Transfer-Encoding: chunk ed\r\n\r\n0\r\n\r\n"), 400 },
    { "chunked in other than lower case, on purpose", POST("Transfer-Encoding: Chunked\r\n\r\n0\r\n\r\n"), 400 },
    { "chunked in HTTP/1.0 (RFC 9112 6.1)", SLICE("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"),
      400 },
    { "a length in HTTP/1.0", SLICE("POST / HTTP/1.0\r\nContent-Length: 5\r\n\r\nhello"), 0 },
    { "TRACE with a body (RFC 9110 9.3.8)", SLICE("TRACE / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"),
      400 },
    { "TRACE with chunks", SLICE("TRACE / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 400 },
    { "TRACE", SLICE("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n"), 0 },
};

/* RFC 9112 3.2, RFC 9110 7.2. */
static const struct head_row hosts[] = {
    { "a name", SLICE("GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n"), 0 },
    { "a name and a port", SLICE("GET / HTTP/1.1\r\nHost: api.example.com:8080\r\n\r\n"), 0 },
    { "an address", SLICE("GET / HTTP/1.1\r\nHost: 127.0.0.1:80\r\n\r\n"), 0 },
    { "an address of version 6", SLICE("GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n"), 0 },
    { "no Host in HTTP/1.1", SLICE("GET / HTTP/1.1\r\n\r\n"), 400 },
    { "no Host in HTTP/1.0", SLICE("GET / HTTP/1.0\r\n\r\n"), 0 },
    { "an empty Host", SLICE("GET / HTTP/1.1\r\nHost:\r\n\r\n"), 400 },
    { "an empty Host in HTTP/1.0", SLICE("GET / HTTP/1.0\r\nHost:\r\n\r\n"), 400 },
    { "the same Host twice", SLICE("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"), 400 },
    { "two Hosts", SLICE("GET / HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n"), 400 },
    { "two Hosts in HTTP/1.0", SLICE("GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n"), 400 },
    { "a list of hosts", SLICE("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n"), 400 },
    { "a Host with a user", SLICE("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n"), 400 },
    { "a Host with a scheme", SLICE("GET / HTTP/1.1\r\nHost: http://a\r\n\r\n"), 400 },
    { "a Host with a path", SLICE("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"), 400 },
    { "a Host with a space", SLICE("GET / HTTP/1.1\r\nHost: a b\r\n\r\n"), 400 },
    { "a Host beyond ASCII", SLICE("GET / HTTP/1.1\r\nHost: \xc3\xa4\r\n\r\n"), 400 },
    { "a port that is no number", SLICE("GET / HTTP/1.1\r\nHost: a:8x\r\n\r\n"), 400 },
    { "a port beyond 65535", SLICE("GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n"), 400 },
    { "two ports", SLICE("GET / HTTP/1.1\r\nHost: a:80:80\r\n\r\n"), 400 },
    { "a target that agrees with Host", SLICE("GET http://A/b HTTP/1.1\r\nHost: a\r\n\r\n"), 0 },
    { "a target with the default port", SLICE("GET http://a:80/b HTTP/1.1\r\nHost: a\r\n\r\n"), 0 },
    { "a Host with the default port", SLICE("GET https://a/b HTTP/1.1\r\nHost: a:443\r\n\r\n"), 0 },
    { "a target with the other scheme's port", SLICE("GET https://a:80/b HTTP/1.1\r\nHost: a\r\n\r\n"), 400 },
    { "a target of another host, on purpose", SLICE("GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n"), 400 },
    { "a target of another port", SLICE("GET http://a:81/ HTTP/1.1\r\nHost: a:82\r\n\r\n"), 400 },
    { "a target of another host in HTTP/1.0", SLICE("GET http://b/ HTTP/1.0\r\nHost: a\r\n\r\n"), 400 },
    { "an absolute target without Host in HTTP/1.1", SLICE("GET http://a/ HTTP/1.1\r\n\r\n"), 400 },
    { "an absolute target without Host in HTTP/1.0", SLICE("GET http://a/ HTTP/1.0\r\n\r\n"), 0 },
};

/* RFC 9112 3.2.1 to 3.2.4. What a path may hold is test_target's matter. */
static const struct head_row target_forms[] = {
    { "an absolute target", LINE("GET http://a/b?c HTTP/1.1"), 0 },
    { "an absolute target in capitals", LINE("GET HTTP://A/ HTTP/1.1"), 0 },
    { "an absolute target without a path", LINE("GET http://a HTTP/1.1"), 0 },
    { "a scheme that isn't HTTP", LINE("GET ftp://a/ HTTP/1.1"), 400 },
    { "a scheme of a file", LINE("GET file:///etc/passwd HTTP/1.1"), 400 },
    { "no scheme before the slashes", LINE("GET ://a/ HTTP/1.1"), 400 },
    { "an empty authority", LINE("GET http:///b HTTP/1.1"), 400 },
    { "a user in the authority (RFC 9110 4.2.4)", LINE("GET http://u:p@a/ HTTP/1.1"), 400 },
    { "a relative path", LINE("GET a/b HTTP/1.1"), 400 },
    { "a query alone", LINE("GET ?a HTTP/1.1"), 400 },
    { "an authority without CONNECT", LINE("GET a:80 HTTP/1.1"), 400 },
    { "CONNECT (RFC 9110 9.3.6)", LINE("CONNECT a:443 HTTP/1.1"), 501 },
    { "CONNECT with a path", LINE("CONNECT / HTTP/1.1"), 501 },
    { "OPTIONS *", LINE("OPTIONS * HTTP/1.1"), 0 },
    { "GET *", LINE("GET * HTTP/1.1"), 400 },
    { "OPTIONS of two asterisks", LINE("OPTIONS ** HTTP/1.1"), 400 },
    { "a fragment", LINE("GET /a#b HTTP/1.1"), 400 },
    { "a fragment behind the query", LINE("GET /a?b#c HTTP/1.1"), 400 },
    { "a fragment behind the authority", LINE("GET http://a#b HTTP/1.1"), 400 },
};

/* RFC 9110 10.1.1. */
static const struct head_row expectations[] = {
    { "an Expect of 100-continue in any case", POST("Expect: 100-Continue\r\nContent-Length: 5\r\n\r\n"), 0 },
    { "another Expect", POST("Expect: cake\r\nContent-Length: 5\r\n\r\n"), 417 },
    { "an empty Expect", POST("Expect:\r\nContent-Length: 5\r\n\r\n"), 417 },
    { "two Expects", POST("Expect: 100-continue\r\nExpect: 100-continue\r\n\r\n"), 417 },
    { "any Expect in HTTP/1.0", SLICE("GET / HTTP/1.0\r\nExpect: cake\r\n\r\n"), 0 },
};

#define ROWS_TEST(name, table) \
    static void name(void **state) { read_rows(&client, table, COUNT_OF(table)); }

ROWS_TEST(a_request_line_has_one_form, request_lines)
ROWS_TEST(a_line_ends_with_crlf_and_holds_no_control_character, line_ends)
ROWS_TEST(a_field_line_has_one_form, fields)
ROWS_TEST(a_body_has_one_length, framings)
ROWS_TEST(a_request_is_for_one_host, hosts)
ROWS_TEST(a_target_has_the_form_of_its_method, target_forms)
ROWS_TEST(only_one_expectation_is_known, expectations)

static void read_whole(struct slice bytes, struct reading *reading)
{
    read_head_every_way(&client, bytes, reading);
    if (reading->result != H1_COMPLETE) fail_msg("%s", reading_text(&client, reading));
}

static void a_head_tells_all_of_a_request(void **state)
{
    struct reading reading;
    read_whole(SLICE("PATCH /users/%34%32?full=1 HTTP/1.1\r\nHost: API.example.com.:8080\r\nX-Trace:  a b \r\n"
                     "Content-Length: 11\r\n\r\nhello world"),
               &reading);
    const struct request_head *head = &reading.request;
    assert_int_equal(head->method, METHOD_PATCH);
    assert_slice_is(head->method_text, "PATCH");
    assert_int_equal(head->version, HTTP_1_1);
    assert_slice_is(head->target.raw, "/users/%34%32?full=1");
    assert_slice_is(head->target.path, "/users/42");
    assert_slice_is(head->target.query, "full=1");
    assert_slice_is(head->authority, "API.example.com.:8080");
    assert_slice_is(head->host, "api.example.com");
    assert_int_equal(head->port, 8080);
    assert_true(head->has_body && head->body_length == 11);
    assert_slice_is(headers_find(&head->headers, SLICE("x-trace"))->value, "a b");
    assert_true(reading.parser.keep_alive && !reading.parser.chunked);
    assert_int_equal(reading.parser.head_length, reading.request.headers.items[2].value.at - reading.bytes + 6);
    reading_release(&reading);
}

static void a_method_of_ones_own_is_kept_by_its_text(void **state)
{
    struct reading reading;
    read_whole(LINE("brew /pot HTTP/1.1"), &reading);
    assert_int_equal(reading.request.method, METHOD_OTHER);
    assert_slice_is(reading.request.method_text, "brew");
    reading_release(&reading);
}

/* RFC 9112 3.2.4: what stands for the server as a whole. */
static void options_of_a_bare_authority_means_the_server(void **state)
{
    struct reading reading;
    read_whole(LINE("OPTIONS http://a HTTP/1.1"), &reading);
    assert_int_equal(reading.request.target.form, TARGET_ASTERISK);
    assert_slice_is(reading.request.target.path, "*");
    reading_release(&reading);
    read_whole(LINE("OPTIONS http://a/ HTTP/1.1"), &reading);
    assert_slice_is(reading.request.target.path, "/");
    reading_release(&reading);
}

static void an_absolute_target_gives_the_authority(void **state)
{
    struct reading reading;
    read_whole(SLICE("GET http://Api:8080?q HTTP/1.0\r\n\r\n"), &reading);
    assert_slice_is(reading.request.authority, "Api:8080");
    assert_slice_is(reading.request.host, "api");
    assert_int_equal(reading.request.port, 8080);
    assert_slice_is(reading.request.target.path, "/");
    assert_slice_is(reading.request.target.query, "q");
    reading_release(&reading);
}

static void http_1_0_without_host_has_no_authority(void **state)
{
    struct reading reading;
    read_whole(SLICE("GET / HTTP/1.0\r\n\r\n"), &reading);
    assert_true(slice_is_absent(reading.request.authority) && slice_is_absent(reading.request.host));
    assert_int_equal(reading.request.version, HTTP_1_0);
    reading_release(&reading);
}

struct keep_row {
    struct slice bytes;
    bool keeps;
};

/* RFC 9112 9.3. */
static void a_connection_is_kept_by_version_and_option(void **state)
{
    static const struct keep_row rows[] = {
        { GET("\r\n"), true },
        { GET("Connection: close\r\n\r\n"), false },
        { GET("Connection: CLOSE\r\n\r\n"), false },
        { GET("Connection: x, close\r\n\r\n"), false },
        { GET("Connection: keep-alive\r\nConnection: close\r\n\r\n"), false },
        { GET("Connection: closed\r\n\r\n"), true },
        { SLICE("GET / HTTP/1.0\r\n\r\n"), false },
        { SLICE("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"), true },
        { SLICE("GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n"), false },
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct reading reading;
        read_whole(rows[i].bytes, &reading);
        assert_int_equal(reading.parser.keep_alive, rows[i].keeps);
        reading_release(&reading);
    }
}

/* RFC 9110 10.1.1, 7.8. */
static void continue_and_upgrade_are_wanted_only_where_they_mean_something(void **state)
{
    struct reading reading;
    read_whole(POST("Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n"), &reading);
    assert_true(reading.request.expects_continue && reading.parser.chunked);
    assert_true(reading.request.body_length == BODY_LENGTH_UNKNOWN);
    reading_release(&reading);
    read_whole(POST("Expect: 100-continue\r\nContent-Length: 0\r\n\r\n"), &reading);
    assert_true(!reading.request.expects_continue && reading.request.has_body);
    reading_release(&reading);
    read_whole(SLICE("POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"), &reading);
    assert_false(reading.request.expects_continue);
    reading_release(&reading);

    read_whole(GET("Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n"), &reading);
    assert_true(reading.request.wants_upgrade && !reading.request.has_body);
    reading_release(&reading);
    read_whole(GET("Upgrade: websocket\r\n\r\n"), &reading);
    assert_false(reading.request.wants_upgrade);
    reading_release(&reading);
    read_whole(GET("Connection: upgrade\r\n\r\n"), &reading);
    assert_false(reading.request.wants_upgrade);
    reading_release(&reading);
    read_whole(SLICE("GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"), &reading);
    assert_false(reading.request.wants_upgrade);
    reading_release(&reading);
}

static void what_follows_the_head_is_left_alone(void **state)
{
    struct reading reading;
    read_head(&client, GET("\r\nGET /\0next\n"), AT_ONCE, &reading);
    assert_int_equal(reading.result, H1_COMPLETE);
    assert_int_equal(reading.parser.head_length, GET("\r\n").length);
    reading_release(&reading);
}

static void every_beginning_of_a_good_head_asks_for_more(void **state)
{
    struct slice whole = SLICE("\r\nGET /a HTTP/1.1\r\nHost: a\r\nX-Long: 0123456789abcdef0123456789\r\n\r\n");
    for (size_t length = 0; length < whole.length; length++) {
        struct reading reading;
        read_head_every_way(&client, slice_before(whole, length), &reading);
        assert_int_equal(reading.result, H1_MORE);
        reading_release(&reading);
    }
}

static void limits_are_exact_and_named(void **state)
{
    static const struct reader narrow = { .limits = { 16, 20, 2, false } };
    static const struct head_row rows[] = {
        { "a request line of 16 bytes", SLICE("GET /ab HTTP/1.1\r\nHost: a\r\n\r\n"), 0 },
        { "one of 17", SLICE("GET /abc HTTP/1.1\r\nHost: a\r\n\r\n"), 414 },
        { "one that never ends", SLICE("GET /abcdefghijkl"), 414 },
        { "a target that never ends behind an empty line", SLICE("\r\nGET /abcdefghijkl"), 414 },
        { "fields of 20 bytes", SLICE("GET /ab HTTP/1.1\r\nHost: a\r\nX: 456789\r\n\r\n"), 0 },
        { "fields of 21 bytes", SLICE("GET /ab HTTP/1.1\r\nHost: a\r\nX: 4567890\r\n\r\n"), 431 },
        { "fields that never end", SLICE("GET /ab HTTP/1.1\r\nHost: a\r\nX: 456789012"), 431 },
        { "two fields", SLICE("GET /ab HTTP/1.1\r\nHost: a\r\nX:\r\n\r\n"), 0 },
        { "three fields", SLICE("GET /ab HTTP/1.1\r\nHost: a\r\nX:\r\nY:\r\n\r\n"), 431 },
        { "no room for another field", SLICE("GET /ab HTTP/1.1\r\nHost: a\r\nX: 45678\r\nY"), 431 },
        { "a bad line that is also too long is too long", SLICE("GET /ab HTTP/1.1\r\nHost: a\r\nX : 4567890\r\n\r\n"),
          431 },
    };
    read_rows(&narrow, rows, COUNT_OF(rows));
}

/* What Connection names is looked for among all fields, so it can't be a list without end. */
static void a_connection_field_names_a_kilobyte_at_most(void **state)
{
    for (int more = 0; more <= 1; more++) {
        char text[2048], options[513];
        memset(options, ',', sizeof options);
        int length = snprintf(text, sizeof text,
                              "GET / HTTP/1.1\r\nHost: a\r\nConnection: %.*s\r\nConnection: %.*s\r\n\r\n", 512, options,
                              512 + more, options);
        struct reading reading;
        read_head_every_way(&client, slice_of(text, (size_t)length), &reading);
        assert_int_equal(reading.result, more ? H1_BAD : H1_COMPLETE);
        if (more) assert_int_equal(reading.error.status, 431);
        reading_release(&reading);
    }
}

static void the_size_of_no_piece_matters_where_the_vectors_end(void **state)
{
    char text[256];
    for (int padding = 0; padding < 70; padding++) {
        int length = snprintf(text, sizeof text, "GET / HTTP/1.1\r\nHost: a\r\nX: %.*s\r\n\r\n", padding,
                              "0123456789012345678901234567890123456789012345678901234567890123456789");
        struct reading reading;
        read_whole(slice_of(text, (size_t)length), &reading);
        assert_int_equal(headers_find(&reading.request.headers, SLICE("X"))->value.length, padding);
        reading_release(&reading);
        text[length - 5 - (padding > 0)] = padding > 0 ? '\x7f' : '\x01';
        read_head_every_way(&client, slice_of(text, (size_t)length), &reading);
        assert_int_equal(reading.result, H1_BAD);
        reading_release(&reading);
    }
}

static void without_memory_a_request_is_refused_with_503(void **state)
{
    struct arena_pool pool;
    struct arena arena;
    arena_pool_init(&pool, 0, &(struct memory_ceiling){ .bytes_max = 1 });
    arena_init(&arena, &pool);
    struct h1_parser parser;
    struct request_head head;
    struct error error = { 0 };
    struct slice bytes = GET("\r\n");
    h1_parser_init(&parser);
    request_head_init(&head, &arena);
    assert_int_equal(h1_parse_request(&parser, bytes.at, bytes.length, &usual_limits, &head, &error), H1_BAD);
    assert_int_equal(error.status, 503);
    assert_int_equal(error.blame, BLAME_US);
    arena_release(&arena);
    arena_pool_release(&pool);
}

/* A reload may change the limits while a head comes in. */
static void a_limit_that_is_lowered_meanwhile_still_holds(void **state)
{
    static const char first[] = "GET / HTTP/1.1\r\nHost: a\r\nX-A: 12345678901234567890\r\nX-B: 123456789012345";
    static const struct h1_limits lower[] = { { 1000, 20, 30, false }, { 1000, 45, 30, false }, { 5, 5, 30, false } };
    for (size_t i = 0; i < COUNT_OF(lower); i++) {
        char *bytes = malloc(sizeof first - 1); /* to its exact end: a read beyond is seen */
        memcpy(bytes, first, sizeof first - 1);
        struct arena arena;
        struct request_head head;
        struct h1_parser parser;
        struct error error;
        arena_init(&arena, NULL);
        request_head_init(&head, &arena);
        h1_parser_init(&parser);
        assert_int_equal(h1_parse_request(&parser, bytes, sizeof first - 1, &client.limits, &head, &error), H1_MORE);
        assert_int_equal(h1_parse_request(&parser, bytes, sizeof first - 1, &lower[i], &head, &error), H1_BAD);
        assert_int_equal(error.status, 431);
        arena_release(&arena);
        free(bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_head_tells_all_of_a_request),
        cmocka_unit_test(a_request_line_has_one_form),
        cmocka_unit_test(a_line_ends_with_crlf_and_holds_no_control_character),
        cmocka_unit_test(a_field_line_has_one_form),
        cmocka_unit_test(a_body_has_one_length),
        cmocka_unit_test(a_request_is_for_one_host),
        cmocka_unit_test(a_target_has_the_form_of_its_method),
        cmocka_unit_test(only_one_expectation_is_known),
        cmocka_unit_test(a_method_of_ones_own_is_kept_by_its_text),
        cmocka_unit_test(a_limit_that_is_lowered_meanwhile_still_holds),
        cmocka_unit_test(options_of_a_bare_authority_means_the_server),
        cmocka_unit_test(an_absolute_target_gives_the_authority),
        cmocka_unit_test(http_1_0_without_host_has_no_authority),
        cmocka_unit_test(a_connection_is_kept_by_version_and_option),
        cmocka_unit_test(continue_and_upgrade_are_wanted_only_where_they_mean_something),
        cmocka_unit_test(what_follows_the_head_is_left_alone),
        cmocka_unit_test(every_beginning_of_a_good_head_asks_for_more),
        cmocka_unit_test(limits_are_exact_and_named),
        cmocka_unit_test(a_connection_field_names_a_kilobyte_at_most),
        cmocka_unit_test(the_size_of_no_piece_matters_where_the_vectors_end),
        cmocka_unit_test(without_memory_a_request_is_refused_with_503),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
