"""A request that two parsers could read differently is refused with 400 and its connection closed; one that all
parsers read alike passes, however odd it looks. Each row names the section of RFC 9110 or 9112 it rests on."""
import pytest

from backend import send
from gateway import proxy
from wire import chunked, response_bytes

pytestmark = pytest.mark.both_builds


@pytest.fixture(scope="module")
def strict(module_gateway, module_backend):
    return module_gateway(proxy(module_backend))


def post(*fields, body=b"", version=b"1.1", target=b"/"):
    """A request whose field lines are given raw, CRLF added."""
    return b"POST %s HTTP/%s\r\nHost: a\r\n" % (target, version) + b"".join(line + b"\r\n" for line in fields) + b"\r\n" + body


def get(*fields, target=b"/", method=b"GET", host=b"Host: a"):
    return b"%s %s HTTP/1.1\r\n" % (method, target) + (host + b"\r\n" if host else b"") + b"".join(line + b"\r\n" for line in fields) + b"\r\n"


def in_chunks(body, *fields):
    return post(b"Transfer-Encoding: chunked", *fields, body=body)


CHUNKED = b"5\r\nhello\r\n0\r\n\r\n"

# name: (bytes, RFC section). All are answered 400 and the connection closes; no request reaches the backend.
REFUSED = {
    # Which length? RFC 9112 6.1 - 6.3
    "Content-Length beside Transfer-Encoding": (post(b"Content-Length: 5", b"Transfer-Encoding: chunked", body=CHUNKED), "9112 6.1"),
    "Transfer-Encoding before Content-Length": (post(b"Transfer-Encoding: chunked", b"Content-Length: 5", body=CHUNKED), "9112 6.1"),
    "two different Content-Length": (post(b"Content-Length: 5", b"Content-Length: 6", body=b"hello!"), "9112 6.3"),
    "the same Content-Length twice": (post(b"Content-Length: 5", b"Content-Length: 5", body=b"hello"), "9112 6.3"),
    "a list as Content-Length": (post(b"Content-Length: 5, 5", body=b"hello"), "9112 6.3"),
    "a signed Content-Length": (post(b"Content-Length: +5", body=b"hello"), "9110 8.6"),
    "a negative Content-Length": (post(b"Content-Length: -5", body=b"hello"), "9110 8.6"),
    "a hexadecimal Content-Length": (post(b"Content-Length: 0x5", body=b"hello"), "9110 8.6"),
    "an empty Content-Length": (post(b"Content-Length:", body=b""), "9110 8.6"),
    "a Content-Length with a space inside": (post(b"Content-Length: 1 0", body=b"hello"), "9110 8.6"),
    "a Content-Length with a decimal point": (post(b"Content-Length: 5.0", body=b"hello"), "9110 8.6"),
    "a Content-Length with an underscore": (post(b"Content-Length: 1_0", body=b"hello"), "9110 8.6"),
    "a Content-Length of 2^64": (post(b"Content-Length: 18446744073709551616"), "9110 8.6"),
    "a Content-Length of 2^64 + 5": (post(b"Content-Length: 18446744073709551621", body=b"hello"), "9110 8.6"),
    "a Content-Length of 2^63": (post(b"Content-Length: 9223372036854775808"), "9110 8.6"),
    "a Content-Length of 200 digits": (post(b"Content-Length: " + b"9" * 200), "9110 8.6"),
    "a Content-Length in wide digits": (post("Content-Length: \u0665".encode(), body=b"hello"), "9110 8.6"),
    "Transfer-Encoding: identity": (post(b"Transfer-Encoding: identity"), "9112 7"),
    "Transfer-Encoding: gzip, chunked": (post(b"Transfer-Encoding: gzip, chunked", body=CHUNKED), "9112 6.1"),
    "Transfer-Encoding: chunked, gzip": (post(b"Transfer-Encoding: chunked, gzip", body=CHUNKED), "9112 6.1"),
    "Transfer-Encoding: chunked, chunked": (post(b"Transfer-Encoding: chunked, chunked", body=CHUNKED), "9112 6.1"),
    "Transfer-Encoding twice": (post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked", body=CHUNKED), "9112 6.1"),
    "Transfer-Encoding: chunked, identity in two lines": (post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity", body=CHUNKED), "9112 6.1"),
    "Transfer-Encoding: xchunked": (post(b"Transfer-Encoding: xchunked", body=CHUNKED), "9112 6.1"),
    "Transfer-Encoding: chunkedx": (post(b"Transfer-Encoding: chunkedx", body=CHUNKED), "9112 6.1"),
    "Transfer-Encoding: chunked;q=1": (post(b"Transfer-Encoding: chunked;q=1", body=CHUNKED), "9112 7"),
    'Transfer-Encoding: "chunked"': (post(b'Transfer-Encoding: "chunked"', body=CHUNKED), "9112 7"),
    "Transfer-Encoding with a vertical tab": (post(b"Transfer-Encoding: \x0bchunked", body=CHUNKED), "9110 5.5"),
    "Transfer-Encoding with a leading comma": (post(b"Transfer-Encoding: ,chunked", body=CHUNKED), "9112 6.1"),
    "Transfer-Encoding: CHUNKED": (post(b"Transfer-Encoding: CHUNKED", body=CHUNKED), "9112 7, stricter: exactly chunked"),
    "an empty Transfer-Encoding": (post(b"Transfer-Encoding:"), "9112 6.1"),
    "Transfer-Encoding in HTTP/1.0": (post(b"Transfer-Encoding: chunked", body=CHUNKED, version=b"1.0"), "9112 6.1"),
    # Field lines. RFC 9112 2.2, 5; 9110 5.1, 5.5
    "a space before the colon": (get(b"X-A : b"), "9112 5.1"),
    "a tab before the colon": (get(b"X-A\t: b"), "9112 5.1"),
    "a space before the colon of Content-Length": (post(b"Content-Length : 5", body=b"hello"), "9112 5.1"),
    "a folded line": (get(b"X-A: b", b" c"), "9112 5.2"),
    "a folded line by a tab": (get(b"X-A: b", b"\tc"), "9112 5.2"),
    "a folded Transfer-Encoding": (post(b"Transfer-Encoding:", b" chunked", body=CHUNKED), "9112 5.2"),
    "a space before the first field": (b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", "9112 2.2"),
    "a field without a colon": (get(b"X-A"), "9112 5"),
    "an empty field name": (get(b": b"), "9110 5.1"),
    "a field name with a slash": (get(b"X/A: b"), "9110 5.1"),
    "a field name with a NUL": (get(b"X\0A: b"), "9110 5.1"),
    "a field name beyond ASCII": (get(b"X-\xe4: b"), "9110 5.1"),
    "a field name in quotes": (get(b'"X": b'), "9110 5.1"),
    "NUL in a value": (get(b"X-A: b\0c"), "9110 5.5"),
    "a bare CR in a value": (get(b"X-A: b\rc"), "9110 5.5"),
    "a bare CR before the line's end": (get(b"X-A: b\r"), "9110 5.5"),
    "a control character in a value": (get(b"X-A: b\x01c"), "9110 5.5"),
    "DEL in a value": (get(b"X-A: b\x7fc"), "9110 5.5"),
    "bare LF after the request line": (b"GET / HTTP/1.1\nHost: a\r\n\r\n", "9112 2.2, strict"),
    "bare LF after a field": (b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", "9112 2.2, strict"),
    "bare LF as the empty line": (b"GET / HTTP/1.1\r\nHost: a\r\n\n", "9112 2.2, strict"),
    "bare LF throughout": (b"GET / HTTP/1.1\nHost: a\n\n", "9112 2.2, strict"),
    # The request line. RFC 9112 3
    "two spaces in the request line": (b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", "9112 3"),
    "a tab in the request line": (b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", "9112 3"),
    "a space after the version": (b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", "9112 3"),
    "a space before the method": (b" GET / HTTP/1.1\r\nHost: a\r\n\r\n", "9112 3"),
    "a space in the target": (b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", "9112 3.2"),
    "no version": (b"GET /\r\nHost: a\r\n\r\n", "9112 3"),
    "a lower-case version": (b"GET / http/1.1\r\nHost: a\r\n\r\n", "9112 2.3"),
    "a version without its minor": (b"GET / HTTP/1\r\nHost: a\r\n\r\n", "9112 2.3"),
    "a version with two digits": (b"GET / HTTP/1.10\r\nHost: a\r\n\r\n", "9112 2.3"),
    "a version with a leading zero": (b"GET / HTTP/01.1\r\nHost: a\r\n\r\n", "9112 2.3"),
    "an odd method": (get(method=b"G(ET"), "9110 9.1"),
    "no method": (b" / HTTP/1.1\r\nHost: a\r\n\r\n", "9112 3"),
    # The target. RFC 9112 3.2, 9110 7.1; DESIGN 11, odd characters
    "a target without a slash": (get(target=b"a"), "9112 3.2"),
    "an empty authority": (get(target=b"http:///a"), "9112 3.2.2"),
    "a scheme that is not HTTP": (get(target=b"ftp://a/"), "9112 3.2.2"),
    "userinfo in an absolute target": (get(target=b"http://u:p@a/"), "9110 4.2.4"),
    "a fragment": (get(target=b"/a#b"), "9112 3.2"),
    "an asterisk for GET": (get(target=b"*"), "9112 3.2.4"),
    "a backslash": (get(target=b"/a\\b"), "3986 3.3"),
    "an encoded backslash": (get(target=b"/a%5Cb"), "odd characters"),
    "a raw byte beyond ASCII": (get(target=b"/\xc3\xa4"), "3986 2"),
    "encoded invalid UTF-8": (get(target=b"/%C3%28"), "odd characters"),
    "encoded overlong UTF-8": (get(target=b"/%C0%AF"), "odd characters"),
    "an encoded NUL": (get(target=b"/a%00b"), "odd characters"),
    "a percent sign alone": (get(target=b"/100%"), "3986 2.1"),
    "a percent sign before no digits": (get(target=b"/%zz"), "3986 2.1"),
    "a control character in the target": (get(target=b"/a\x01b"), "9112 3.2"),
    "dot segments that would leave the root": (get(target=b"/../../a"), "3986 5.2.4, stricter"),
    "an angle bracket in the target": (get(target=b"/<a>"), "3986 2"),
    "a raw byte beyond ASCII in the query": (get(target=b"/?\xff"), "3986 3.4"),
    # Host. RFC 9112 3.2
    "no Host in HTTP/1.1": (get(host=None), "9112 3.2"),
    "two Hosts": (get(b"Host: a"), "9112 3.2"),
    "two different Hosts": (get(b"Host: b"), "9112 3.2"),
    "two Hosts in HTTP/1.0": (b"GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n", "9112 3.2"),
    "a list as Host": (get(host=b"Host: a, b"), "9112 3.2"),
    "a Host with a slash": (get(host=b"Host: a/b"), "9112 3.2"),
    "a Host with a space": (get(host=b"Host: a b"), "9112 3.2"),
    "a Host with an at sign": (get(host=b"Host: u@a"), "9112 3.2"),
    "a Host with a port that is no number": (get(host=b"Host: a:8x"), "9110 7.2"),
    "a Host with a port beyond 65535": (get(host=b"Host: a:65536"), "9110 7.2"),
    "a Host that disagrees with the absolute target": (get(target=b"http://b/"), "9112 3.2.2, stricter"),
    "an absolute target without Host": (get(target=b"http://a/", host=None), "9112 3.2"),
    # Chunks. RFC 9112 7.1
    "a chunk size that is no number": (in_chunks(b"x\r\nhello\r\n0\r\n\r\n"), "9112 7.1"),
    "an empty chunk size": (in_chunks(b"\r\nhello\r\n0\r\n\r\n"), "9112 7.1"),
    "a chunk size with 0x": (in_chunks(b"0x5\r\nhello\r\n0\r\n\r\n"), "9112 7.1"),
    "a signed chunk size": (in_chunks(b"+5\r\nhello\r\n0\r\n\r\n"), "9112 7.1"),
    "a negative chunk size": (in_chunks(b"-5\r\nhello\r\n0\r\n\r\n"), "9112 7.1"),
    "a space before a chunk size": (in_chunks(b" 5\r\nhello\r\n0\r\n\r\n"), "9112 7.1"),
    "a space after a chunk size": (in_chunks(b"5 \r\nhello\r\n0\r\n\r\n"), "9112 7.1"),
    "a tab after a chunk size": (in_chunks(b"5\t\r\nhello\r\n0\r\n\r\n"), "9112 7.1"),
    "a chunk size with an underscore": (in_chunks(b"0_5\r\nhello\r\n0\r\n\r\n"), "9112 7.1"),
    "a chunk size of 2^64": (in_chunks(b"10000000000000000\r\nhello\r\n0\r\n\r\n"), "9112 7.1"),
    "a chunk size of 2^64 + 5": (in_chunks(b"10000000000000005\r\nhello\r\n0\r\n\r\n"), "9112 7.1"),
    "a chunk longer than it says": (in_chunks(b"4\r\nhello\r\n0\r\n\r\n"), "9112 7.1"),
    "a chunk shorter than it says": (in_chunks(b"6\r\nhello\r\n0\r\n\r\n"), "9112 7.1"),
    "bare LF after a chunk size": (in_chunks(b"5\nhello\r\n0\r\n\r\n"), "9112 7.1, strict"),
    "bare CR after a chunk size": (in_chunks(b"5\rhello\r\n0\r\n\r\n"), "9112 7.1"),
    "bare LF after a chunk's data": (in_chunks(b"5\r\nhello\n0\r\n\r\n"), "9112 7.1"),
    "two odd bytes after a chunk's data": (in_chunks(b"5\r\nhelloXX0\r\n\r\n"), "9112 7.1"),
    "bare LF as the last line": (in_chunks(b"5\r\nhello\r\n0\r\n\n"), "9112 7.1"),
    "bare LF in an extension": (in_chunks(b"5;a\nb\r\nhello\r\n0\r\n\r\n"), "9112 7.1.1"),
    "bare CR in an extension": (in_chunks(b"5;a\rb\r\nhello\r\n0\r\n\r\n"), "9112 7.1.1"),
    "NUL in an extension": (in_chunks(b"5;a\0\r\nhello\r\n0\r\n\r\n"), "9112 7.1.1"),
    "an extension without a name": (in_chunks(b"5;=b\r\nhello\r\n0\r\n\r\n"), "9112 7.1.1"),
    "an extension that never closes its quotes": (in_chunks(b"5;a=\"b\r\nhello\r\n0\r\n\r\n"), "9112 7.1.1"),
    "extensions beyond the cap": (in_chunks(b"5;" + b"a" * 70000 + b"\r\nhello\r\n0\r\n\r\n"), "9112 7.1.1"),
    "a trailer with a space before its colon": (in_chunks(b"0\r\nX : a\r\n\r\n"), "9112 7.1.2"),
    "a folded trailer": (in_chunks(b"0\r\nX: a\r\n b\r\n\r\n"), "9112 7.1.2"),
    "a trailer without a colon": (in_chunks(b"0\r\nX\r\n\r\n"), "9112 7.1.2"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_with_400_and_the_connection_closed(strict, module_backend, name):
    data, _section = REFUSED[name]
    module_backend.forget()
    with strict.send(data + get(target=b"/smuggled")) as wire:
        response = wire.read_response()
        assert response.status == 400
        assert not response.keeps_alive
        assert response.problem["status"] == 400
        assert wire.read_until_close(5) == b"", "something was answered after the refusal"
    # A bad chunk may come after its request's head has gone upstream; that request must never have become whole there.
    assert "/smuggled" not in module_backend.targets()
    assert not any(request.complete for request in module_backend.requests)


def test_a_refusal_carries_a_request_id_as_every_error_does(strict):
    with strict.send(get(b"X : y")) as wire:
        assert wire.read_response().problem["requestId"]


# Whoever wrote the client learns what it did wrong, in the words of the log.
EXPLAINED = {
    "a raw | in the path": (get(target=b"/a|b"), "request: a target with a character in its path that must be percent-encoded"),
    "a raw quote in the query": (get(target=b'/a?b"c'), "request: a target with a character in its query that must be percent-encoded"),
    "a percent sign alone": (get(target=b"/a%zz"), "request: a target with a percent sign without two hex digits in its path"),
    "a path above the root": (get(target=b"/../x"), 'request: a target with ".." above the root'),
    "no Host": (get(host=None), "request: no Host"),
}


@pytest.mark.parametrize("name", EXPLAINED)
def test_a_refusal_says_what_is_wrong(strict, name):
    data, detail = EXPLAINED[name]
    with strict.send(data) as wire:
        problem = wire.read_response().problem
    assert (problem["status"], problem["title"], problem["detail"]) == (400, "Bad Request", detail)


# name: (bytes, status, RFC section): refused too, by a status of their own.
REFUSED_BY_NAME = {
    "CONNECT": (b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", 501, "9110 9.3.6"),
    "HTTP/2.0 on a line": (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505, "9110 15.6.6"),
    "HTTP/0.9": (b"GET / HTTP/0.9\r\nHost: a\r\n\r\n", 505, "9110 15.6.6"),
    "HTTP/3.7": (b"GET / HTTP/3.7\r\nHost: a\r\n\r\n", 505, "9110 15.6.6"),
    "an expectation nobody knows": (post(b"Expect: cake", b"Content-Length: 0"), 417, "9110 10.1.1"),
}


@pytest.mark.parametrize("name", REFUSED_BY_NAME)
def test_it_is_refused_by_the_status_that_names_it(strict, module_backend, name):
    data, status, _section = REFUSED_BY_NAME[name]
    module_backend.forget()
    with strict.send(data) as wire:
        assert wire.read_response().status == status
    assert module_backend.requests == []


# name: (bytes, what the backend must see of target and body, RFC section)
ACCEPTED = {
    "a plain request": (get(), "/", b"", "9112 3"),
    "an empty line before the request line": (b"\r\n" + get(), "/", b"", "9112 2.2"),
    "no space after the colon": (b"GET / HTTP/1.1\r\nHost:a\r\n\r\n", "/", b"", "9112 5"),
    "spaces and tabs around a value": (get(b"X-A: \t b \t"), "/", b"", "9112 5"),
    "an empty value": (get(b"X-A:"), "/", b"", "9110 5.5"),
    "bytes beyond ASCII in a value": (get(b"X-A: \xc3\xa4\xff"), "/", b"", "9110 5.5"),
    "every character of a token as a name": (get(b"X!#$%&'*+-.^_`|~9: b"), "/", b"", "9110 5.6.2"),
    "a field many times": (get(b"X-A: 1", b"X-A: 2", b"x-a: 3"), "/", b"", "9110 5.3"),
    "a method of one's own": (get(method=b"BREW"), "/", b"", "9110 9.1"),
    "Content-Length: 0": (post(b"Content-Length: 0"), "/", b"", "9110 8.6"),
    "a Content-Length with leading zeros": (post(b"Content-Length: 0005", body=b"hello"), "/", b"hello", "9110 8.6"),
    "a body with GET": (get(b"Content-Length: 5") + b"hello", "/", b"hello", "9110 9.3.1"),
    "chunks": (in_chunks(CHUNKED), "/", b"hello", "9112 7.1"),
    "a chunk size in capitals and with zeros": (in_chunks(b"000A\r\nhellohello\r\n0\r\n\r\n"), "/", b"hellohello", "9112 7.1"),
    "the last chunk as 000": (in_chunks(b"5\r\nhello\r\n000\r\n\r\n"), "/", b"hello", "9112 7.1"),
    "a chunk extension": (in_chunks(b"5;a=b\r\nhello\r\n0\r\n\r\n"), "/", b"hello", "9112 7.1.1"),
    "a chunk extension in quotes": (in_chunks(b'5;a="b;c"\r\nhello\r\n0;x\r\n\r\n'), "/", b"hello", "9112 7.1.1"),
    "an absolute target": (get(target=b"http://a/b?c"), "/b?c", b"", "9112 3.2.2"),
    "an absolute target in capitals": (get(target=b"HTTP://A/b"), "/b", b"", "9110 4.2.3"),
    "an absolute target without a path": (get(target=b"http://a?c"), "/?c", b"", "9112 3.2.1"),
    "the default port on one side": (get(target=b"http://a:80/b"), "/b", b"", "9110 4.2.3"),
    "a Host with a port": (get(host=b"Host: a:8080"), "/", b"", "9110 7.2"),
    "a Host that is an IPv6 address": (get(host=b"Host: [::1]:8080"), "/", b"", "9110 7.2"),
    "an empty query": (get(target=b"/?"), "/?", b"", "3986 3.4"),
    "odd but legal characters in the path": (get(target=b"/a;b=c,d:e@f!$&'()*+"), "/a;b=c,d:e@f!$&'()*+", b"", "3986 3.3"),
    "a question mark in the query": (get(target=b"/?a=?/"), "/?a=?/", b"", "3986 3.4"),
    "an encoded slash stays encoded": (get(target=b"/a%2Fb"), "/a%2Fb", b"", "odd characters"),
    "an encoded slash in small letters is written large": (get(target=b"/a%2fb"), "/a%2Fb", b"", "3986 6.2.2.1"),
    "what needs no encoding is decoded": (get(target=b"/%61%7e%2D"), "/a~-", b"", "3986 6.2.2.2"),
    "dot segments are resolved": (get(target=b"/a/./b/../c"), "/a/c", b"", "3986 6.2.2.3"),
    "encoded dot segments are resolved too": (get(target=b"/a/%2e%2E/c"), "/c", b"", "3986 6.2.2.3"),
    "two slashes stay two": (get(target=b"//a//b"), "//a//b", b"", "mergeSlashes"),
    "encoded UTF-8": (get(target=b"/%C3%A4"), "/%C3%A4", b"", "odd characters"),
    "a semicolon is an ordinary character": (get(target=b"/a;/../b"), "/b", b"", "3986 3.3"),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_it_passes_and_the_backend_reads_it_as_meant(strict, module_backend, name):
    data, target, body, _section = ACCEPTED[name]
    module_backend.forget()
    with strict.send(data) as wire:
        assert wire.read_response().status == 200
        wire.send(get(target=b"/next"))
        assert wire.read_response().status == 200, "the connection was not in step after it"
    seen = module_backend.wait_for_requests(2)[0]
    assert (seen.target, seen.body) == (target, body)


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_the_cut_between_reads_changes_nothing(strict, module_backend, size):
    module_backend.forget()
    data = in_chunks(b"5;x\r\nhello\r\n3\r\nyou\r\n0\r\nX-Sum: 1\r\n\r\n", b"X-A: b")
    with strict.connect() as wire:
        wire.drip(data, size=size, pause=0.001)
        assert wire.read_response().status == 200
    assert module_backend.requests[0].body == b"helloyou"


def test_a_refused_request_ends_a_pipeline_after_the_answers_before_it(strict):
    with strict.send(get(target=b"/1") + get(target=b"/2") + get(b"X : y") + get(target=b"/3")) as wire:
        assert [wire.read_response().status for _ in range(3)] == [200, 200, 400]
        assert wire.read_until_close() == b""


def test_framing_is_written_anew_and_never_copied(strict, module_backend):
    module_backend.forget()
    with strict.send(post(b"tRaNsFeR-eNcOdInG: chunked", body=b"5;ext=1\r\nhello\r\n0\r\n\r\n")) as wire:
        wire.read_response()
    raw = module_backend.requests[0].raw_head
    assert b"\r\nTransfer-Encoding: chunked\r\n" in raw
    assert b"tRaNsFeR" not in raw and b"ext" not in raw
    module_backend.forget()
    with strict.send(post(b"content-LENGTH: 0005", body=b"hello")) as wire:
        wire.read_response()
    assert b"\r\nContent-Length: 5\r\n" in module_backend.requests[0].raw_head


HOP_BY_HOP = ["Connection: keep-alive, X-Named", "X-Named: 1", "Keep-Alive: timeout=5", "Proxy-Connection: keep-alive", "TE: trailers, deflate",
              "Trailer: X-Sum", "Upgrade: websocket-not-really", "Proxy-Authorization: Basic x", "X-Kept: 1"]


def test_hop_by_hop_fields_stop_here_on_the_way_in(strict, module_backend):
    """RFC 9110 7.6.1. TE may go on as `trailers` alone."""
    module_backend.forget()
    with strict.send(get(*[line.encode() for line in HOP_BY_HOP])) as wire:
        wire.read_response()
    seen = module_backend.requests[0].headers
    for name in ("X-Named", "Keep-Alive", "Proxy-Connection", "Upgrade", "Proxy-Authorization"):
        assert name not in seen, name
    assert seen.get("TE") in (None, "trailers")
    assert seen["X-Kept"] == "1"


def test_hop_by_hop_fields_stop_here_on_the_way_out(strict, module_backend):
    fields = [("Connection", "X-Named"), ("X-Named", "1"), ("Keep-Alive", "timeout=5"), ("Proxy-Connection", "keep-alive"),
              ("Proxy-Authenticate", "Basic"), ("Upgrade", "h2c"), ("X-Kept", "1")]
    module_backend.on("/hop", send(response_bytes(headers=fields, body=b"x")))
    seen = strict.get("/hop").headers
    for name in ("X-Named", "Keep-Alive", "Proxy-Connection", "Upgrade"):
        assert name not in seen, name
    assert seen["X-Kept"] == "1"


@pytest.mark.parametrize("named", ["Host", "Content-Length", "Transfer-Encoding", "X-Forwarded-For", "X-Request-ID"])
def test_connection_cannot_name_away_what_the_gateway_sets(strict, module_backend, named):
    """RFC 9110 7.6.1: only what is meant for this hop may be named; framing and identity stay."""
    module_backend.forget()
    with strict.send(post(b"Connection: " + named.encode(), b"Content-Length: 5", body=b"hello")) as wire:
        response = wire.read_response()
    if response.status == 200:
        seen = module_backend.requests[0]
        assert seen.body == b"hello" and "Host" in seen.headers and "X-Forwarded-For" in seen.headers
    else:
        assert response.status == 400


def test_http_1_0_is_answered_and_closed_and_kept_when_it_asks(strict):
    with strict.send(b"GET / HTTP/1.0\r\n\r\n") as wire:
        response = wire.read_response()
        assert response.status == 200 and wire.is_closed()
    with strict.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n") as wire:
        response = wire.read_response()
        assert response.status == 200
        if "keep-alive" in (response.headers.get("Connection") or "").lower():
            wire.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            assert wire.read_response().status == 200


def test_http_1_0_never_gets_chunks(strict, module_backend):
    """RFC 9112 6.1: no Transfer-Encoding to a client that may not know it."""
    module_backend.on("/chunks", send(response_bytes(headers={"Transfer-Encoding": "chunked"}, length=False) + chunked(b"hello")))
    with strict.send(b"GET /chunks HTTP/1.0\r\n\r\n") as wire:
        response = wire.read_response()
    assert "Transfer-Encoding" not in response.headers and response.body == b"hello"


def test_options_asterisk_is_answered_by_the_gateway(strict, module_backend):
    module_backend.forget()
    with strict.send(get(method=b"OPTIONS", target=b"*")) as wire:
        assert wire.read_response("OPTIONS").status == 204
    assert module_backend.requests == []


def test_a_close_is_honoured_and_announced(strict):
    with strict.send(get(b"Connection: close")) as wire:
        response = wire.read_response()
        assert response.headers["Connection"].lower() == "close" and wire.is_closed()


def test_host_less_http_1_0_reaches_routes_without_a_host_only(gateway, backend):
    config = proxy(backend)
    config["routes"] = [{"name": "hosted", "path": "/*", "host": "a.test", "serviceId": "backend", "stripPrefix": False}]
    with gateway(config).send(b"GET / HTTP/1.0\r\n\r\n") as wire:
        assert wire.read_response().status == 404


def test_many_slashes_become_one_where_it_is_configured(gateway, backend):
    running = gateway(proxy(backend, mergeSlashes=True))
    assert running.get("//a///b").status == 200
    assert backend.targets() == ["/a/b"]


def test_via_and_forwarding_fields_are_the_gateways_own(strict, module_backend):
    module_backend.forget()
    with strict.send(get(b"X-Forwarded-For: 6.6.6.6", b"X-Forwarded-Host: evil", b"X-Forwarded-Proto: gopher", b"X-Request-ID: mine")) as wire:
        wire.read_response()
    seen = module_backend.requests[0].headers
    assert seen["X-Forwarded-For"] == "127.0.0.1"
    assert seen["X-Forwarded-Host"] == "a" and seen["X-Forwarded-Proto"] == "http"
    assert seen["X-Request-ID"] not in ("", "mine")
    assert "1.1" in seen["Via"]


def test_a_request_line_as_long_as_allowed_passes_whole(strict, module_backend):
    module_backend.forget()
    target = "/" + "a" * 7000
    assert strict.get(target).status == 200
    assert module_backend.targets() == [target]
