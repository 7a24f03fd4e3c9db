"""Instances that speak HTTP/2: many requests share few connections, and nothing of what HTTP/1.1 backends are held to is let through.

What HTTP/2 says of itself (refused streams, GOAWAY) is used: what surely wasn't executed goes out again, the rest doesn't."""
import threading
import time

import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes

from backend import refusing_in_http_1
from gateway import proxy
from h2_backend import (PING, SETTINGS, answer, before_body, close, data, echo, echo_as_it_comes, frame, goaway, hang, head, raw, raw_answer, raw_data,
                        read_body, reset, wait, wait_for)
from websocket import CLOSE, close_payload, frame_bytes, handshake, open_websocket
from wire import WireClosed, chunked, request_bytes

H2 = {"httpVersion": 2}


def over_h2(*backends, **more):
    fields = {**H2, **more.pop("service_fields", {})}
    return proxy(*backends, service_fields=fields, **more)


@pytest.fixture
def running(gateway, h2_backend):
    return gateway(over_h2(h2_backend))


def test_head_and_body_pass_both_ways(running, h2_backend):
    h2_backend.on("/a", echo())
    response = running.request("POST", "/a?b=c", {"X-Mine": "yes"}, b"hello " * 20_000)
    assert response.status == 200 and response.body == b"hello " * 20_000
    request = h2_backend.requests[0]
    assert request.pseudo == {":method": "POST", ":scheme": "http", ":path": "/a?b=c",
                              ":authority": "gateway.test"}
    assert request.headers["x-mine"] == "yes" and request.headers["content-length"] == "120000"
    assert request.headers["te"] == "trailers" and "host" not in request.headers.names()
    assert running.log_lines(1)[0]["instance"] == h2_backend.address
    running.gauges_at_zero()


def test_a_chunked_body_and_both_trailers_pass(running, h2_backend):
    h2_backend.on("/a", echo())
    with running.connect() as wire:
        wire.send(request_bytes("POST", "/a", {"Transfer-Encoding": "chunked", "TE": "trailers"})
                  + chunked(b"one", b"two", trailers=[("X-Sum", "6")]))
        response = wire.read_response("POST")
    assert response.body == b"onetwo" and response.trailers["x-sum"] == "6"
    assert "content-length" not in h2_backend.requests[0].headers.names()


def test_what_a_backend_says_without_a_body(running, h2_backend):
    h2_backend.on("/204", answer(204)).on("/304", answer(304, {"etag": '"x"'})).on("/empty", answer(200))
    assert running.get("/204").status == 204
    assert running.get("/304").headers["etag"] == '"x"'
    response = running.get("/empty")
    assert response.status == 200 and response.headers["Content-Length"] == "0"
    h2_backend.on("/head", head(200, {"content-length": "1234"}, end=True))
    assert running.request("HEAD", "/head").headers["Content-Length"] == "1234"


def test_interim_answers_pass(running, h2_backend):
    h2_backend.on("/hints", head(103, {"link": "</a.css>"}), answer(200, body=b"done"))
    response = running.get("/hints")
    assert response.body == b"done" and [one.status for one in response.interim] == [103]


def test_a_body_waits_for_100(running, h2_backend):
    h2_backend.on("/yes", before_body, head(100), read_body(), echo())
    response = running.request("POST", "/yes", {"Expect": "100-continue"}, b"body")
    assert response.body == b"body"
    h2_backend.on("/no", before_body, answer(417))
    with running.connect() as wire:
        wire.send(request_bytes("POST", "/no", {"Expect": "100-continue"}, b"x" * 100)[:-100])
        assert wire.read_response("POST").status == 417
    assert h2_backend.requests[-1].body == b""


def test_many_requests_share_one_connection(running, h2_backend):
    everybody = threading.Barrier(30)
    h2_backend.on("/wait", lambda stream: everybody.wait(10), answer(200, body=b"together"))
    with running.client() as client:
        answers = []
        threads = [threading.Thread(target=lambda: answers.append(running.get("/wait").body)) for _ in range(30)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(15)
        assert answers == [b"together"] * 30 and client.get("/x").status_code == 200
    assert h2_backend.connections == 1
    running.gauges_at_zero()


def test_no_more_streams_than_the_backend_allows(gateway, new_h2_backend):
    backend = new_h2_backend(settings={SettingCodes.MAX_CONCURRENT_STREAMS: 2})
    running = gateway(over_h2(backend))
    assert running.get("/x").status == 200  # its SETTINGS have come
    release = threading.Event()
    backend.on("/wait", wait_for(release), answer(200))
    statuses = []
    threads = [threading.Thread(target=lambda: statuses.append(running.get("/wait").status)) for _ in range(6)]
    for thread in threads:
        thread.start()
    backend.wait_for_requests(7)
    release.set()
    for thread in threads:
        thread.join(10)
    assert statuses == [200] * 6 and backend.connections == 3


def test_at_the_cap_of_connections_requests_wait_for_a_place(gateway, new_h2_backend):
    backend = new_h2_backend(settings={SettingCodes.MAX_CONCURRENT_STREAMS: 2})
    running = gateway(over_h2(backend, service_fields={"connectionsPerInstanceMax": 1}))
    assert running.get("/x").status == 200
    backend.on("/slow", wait(0.02), answer(200))
    statuses = []
    threads = [threading.Thread(target=lambda: statuses.append(running.get("/slow").status)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert statuses == [200] * 8 and backend.connections == 1


def test_a_large_body_needs_no_more_memory_than_its_window(running, h2_backend):
    """The client doesn't read: the backend is held back."""
    sent = []
    h2_backend.on("/big", head(200), *[lambda stream: sent.append(stream.data(bytes(100_000)))] * 50, data(b"", end=True))
    with running.connect() as wire:
        wire.send(request_bytes("GET", "/big"))
        h2_backend.wait_for_requests(1)
        time.sleep(0.3)
        assert len(sent) < 45 and running.metric("sluice_buffer_bytes") < 2_000_000
        assert len(wire.read_response().body) == 5_000_000
    running.gauges_at_zero()


def test_one_slow_reader_holds_nobody_else_up(running, h2_backend):
    h2_backend.on("/big", answer(200, body=bytes(2_000_000)))
    with running.connect() as slow:
        slow.send(request_bytes("GET", "/big"))
        h2_backend.wait_for_requests(1)
        for _ in range(5):
            assert len(running.get("/big").body) == 2_000_000
        assert len(slow.read_response().body) == 2_000_000
    assert h2_backend.connections == 1


def read_chunk(wire):
    piece = wire.read_exactly(int(wire.read_line(), 16))
    assert wire.read_line() == b""
    return piece


def test_both_directions_flow_at_once(running, h2_backend):
    h2_backend.on("/echo", before_body, echo_as_it_comes())
    with running.connect() as wire:
        wire.send(request_bytes("POST", "/echo", {"Transfer-Encoding": "chunked"}))
        for piece in (b"one", b"two", b"three"):
            wire.send(b"%x\r\n%s\r\n" % (len(piece), piece))
            if piece == b"one":
                response = wire.read_response_head()
            assert read_chunk(wire) == piece
        wire.send(b"0\r\n\r\n")
        assert read_chunk(wire) == b"" and response.status == 200


def test_an_early_answer_ends_the_upload(running, h2_backend):
    h2_backend.on("/no", before_body, answer(403, body=b"no"), hang())
    with running.connect() as wire:
        wire.send(request_bytes("POST", "/no", {"Content-Length": "1000000"}) + bytes(1000))
        assert wire.read_response("POST").body == b"no"
    running.gauges_at_zero()
    assert running.get("/x").status == 200 and h2_backend.connections == 1


def test_a_client_that_goes_resets_its_stream_alone(running, h2_backend):
    h2_backend.on("/hang", hang())
    wire = running.connect()
    wire.send(request_bytes("GET", "/hang"))
    h2_backend.wait_for_requests(1)
    wire.reset()
    deadline = time.monotonic() + 5
    while h2_backend.requests[0].reset_code is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert h2_backend.requests[0].reset_code == ErrorCodes.CANCEL
    assert running.get("/x").status == 200 and h2_backend.connections == 1
    running.gauges_at_zero()


# What is refused

def fields(*more):
    return [(":status", "200"), *more]


BAD_ANSWERS = {
    "a body shorter than its content-length": [raw_answer(*fields(("content-length", "5")), end=False), raw_data(b"abc")],
    "a body longer than its content-length": [raw_answer(*fields(("content-length", "2")), end=False), raw_data(b"abc")],
    "content-length and no body": [raw_answer(*fields(("content-length", "5")))],
    "two content-length": [raw_answer(*fields(("content-length", "0"), ("content-length", "0")))],
    "a signed content-length": [raw_answer(*fields(("content-length", "+0")))],
    "transfer-encoding": [raw_answer(*fields(("transfer-encoding", "chunked")))],
    "connection": [raw_answer(*fields(("connection", "close")))],
    "keep-alive": [raw_answer(*fields(("keep-alive", "timeout=5")))],
    "upgrade": [raw_answer(*fields(("upgrade", "websocket")))],
    "an upper-case name": [raw_answer(*fields(("X-Upper", "a")))],
    "an empty name": [raw_answer(*fields(("", "a")))],
    "a space in a name": [raw_answer(*fields(("x y", "a")))],
    "a colon in a name": [raw_answer(*fields(("x:y", "a")))],
    "CR in a value": [raw_answer(*fields(("x-a", "a\rb")))],
    "LF in a value": [raw_answer(*fields(("x-a", "a\nb")))],
    "NUL in a value": [raw_answer(*fields(("x-a", "a\0b")))],
    "no status": [raw_answer(("x-a", "b"))],
    "two statuses": [raw_answer(*fields((":status", "200")))],
    "a status behind a field": [raw_answer(("x-a", "b"), (":status", "200"))],
    "a status of two digits": [raw_answer((":status", "20"))],
    "a status that is no number": [raw_answer((":status", "2xx"))],
    "a status above 599": [raw_answer((":status", "600"))],
    "a request's pseudo field": [raw_answer(*fields((":path", "/")))],
    "an unknown pseudo field": [raw_answer(*fields((":odd", "a")))],
    "101": [raw_answer((":status", "101"))],
    "an interim answer that ends the stream": [raw_answer((":status", "103"))],
    "data before any head": [raw_data(b"abc")],
    "a framing field's twin": [raw_answer(*fields(("content_length", "5")))],
    "too many fields": [raw_answer(*fields(*[("x-a", "b")] * 1000))],
}


def assert_refused(running, target, after_head=False):
    """502; or where the head was good and had been passed on already, an answer that is visibly cut."""
    with running.connect() as wire:
        wire.send(request_bytes("GET", target))
        try:
            assert wire.read_response().problem["status"] == 502
        except WireClosed:
            assert after_head


@pytest.fixture(scope="module")
def strict(module_gateway, module_h2_backend):
    return module_gateway(over_h2(module_h2_backend, route={"timeoutMs": 2000, "retryCount": 0, "idleTimeoutMs": 1000}))


@pytest.mark.parametrize("name", BAD_ANSWERS)
def test_an_answer_that_breaks_the_rules_is_502(strict, module_h2_backend, name):
    module_h2_backend.on("/bad", *BAD_ANSWERS[name])
    assert_refused(strict, "/bad", after_head="body" in name and "no body" not in name)
    strict.gauges_at_zero()
    assert strict.get("/fine").status == 200


@pytest.mark.parametrize("name", ["x-a", "CR"])
def test_bad_trailers_break_the_body_off(strict, module_h2_backend, name):
    bad = ("X-Upper", "a") if name == "x-a" else ("x-a", "a\rb")
    module_h2_backend.on("/bad", head(200), data(b"hello"), raw_answer(bad))
    assert_refused(strict, "/bad", after_head=True)


def test_an_answer_to_head_has_no_body(strict, module_h2_backend):
    module_h2_backend.on("/head", head(200), data(b"abc", end=True))
    assert strict.request("HEAD", "/head").status in (200, 502)
    assert strict.get("/fine").status == 200


def test_who_speaks_http_1_is_named(gateway):
    with refusing_in_http_1() as address:
        running = gateway(over_h2(address, route={"retryCount": 0}))
        assert running.get("/x").problem["status"] == 502
    assert "the first bytes are no HTTP/2" in running.log_lines(1)[0]["error"]["text"]


def test_a_reset_before_the_answer_is_502_and_inside_it_cuts(strict, module_h2_backend):
    module_h2_backend.on("/reset", reset(ErrorCodes.INTERNAL_ERROR))
    assert strict.get("/reset").problem["status"] == 502
    module_h2_backend.on("/cut", head(200), data(b"some"), reset(ErrorCodes.INTERNAL_ERROR))
    assert_refused(strict, "/cut", after_head=True)
    strict.gauges_at_zero()


# What wasn't executed

@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_refused_stream_goes_out_again(running, h2_backend, method):
    h2_backend.in_turn("/a", [reset(ErrorCodes.REFUSED_STREAM)], [echo()])
    response = running.request(method, "/a", body=b"body" if method == "POST" else None)
    assert response.status == 200 and response.body == (b"body" if method == "POST" else b"")
    assert len(h2_backend.requests) == 2


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_request_beyond_goaway_goes_out_again(running, h2_backend, method):
    h2_backend.in_turn("/a", [goaway(last_stream=0), hang()], [echo()])
    assert running.request(method, "/a", body=b"body" if method == "POST" else None).status == 200
    assert h2_backend.connections == 2


def test_what_the_backend_has_begun_is_finished_after_goaway(running, h2_backend):
    release = threading.Event()
    h2_backend.on("/slow", goaway(), wait_for(release), answer(200, body=b"finished"))
    with running.connect() as slow:
        slow.send(request_bytes("GET", "/slow"))
        h2_backend.wait_for_requests(1)
        for _ in range(3):  # on a new connection
            assert running.get("/x").status == 200
        assert h2_backend.connections == 2
        release.set()
        assert slow.read_response().body == b"finished"
    running.gauges_at_zero()


def test_a_post_that_was_executed_is_not_repeated(running, h2_backend):
    h2_backend.in_turn("/a", [close()], [echo()])
    assert running.request("POST", "/a", body=b"body").status == 502
    assert len(h2_backend.requests) == 1


def test_a_connection_that_was_closed_while_idle_is_replaced(running, h2_backend):
    assert running.get("/x").status == 200
    h2_backend.drop_connections()
    assert running.get("/x").status == 200, running.log_lines(1)[-1]["error"]
    h2_backend.drop_connections()
    running.wait_for_metric("sluice_upstream_connections_active", 0)  # a FIN still on its way can't be known of, and a POST isn't repeated
    assert running.request("POST", "/x", body=b"b").status == 200, running.log_lines(1)[-1]["error"]


def test_a_restart_fails_no_request(gateway, new_h2_backend):
    """Each answer ends with GOAWAY, as servers do that bound the requests on a connection."""
    backend = new_h2_backend()
    running = gateway(over_h2(backend))
    backend.on("/x", answer(200, body=b"x"), goaway())
    with running.client() as client:
        assert [client.get("/x").status_code for _ in range(50)] == [200] * 50


def test_pings_and_settings_are_answered(running, h2_backend):
    h2_backend.on("/ping", raw(frame(PING, 0, 0, b"12345678") + frame(SETTINGS, 0, 0)), answer(200))
    assert running.get("/ping").status == 200 and running.get("/x").status == 200
    assert h2_backend.connections == 1 and h2_backend.violations == []


# WebSockets (RFC 8441)

def greet(stream):
    """Answers the client's first bytes, and then its close frame."""
    pieces = stream.pieces()
    next(pieces)
    stream.data(frame_bytes(b"from h2"))
    next(pieces)
    stream.data(frame_bytes(close_payload(1000), CLOSE), end=True)


def test_a_websocket_passes_as_an_extended_connect(gateway, new_h2_backend):
    backend = new_h2_backend(settings={SettingCodes.ENABLE_CONNECT_PROTOCOL: 1})
    backend.on("/chat", before_body, head(200, {"sec-websocket-protocol": "chat"}), greet)
    running = gateway(over_h2(backend))
    ws = open_websocket(running, "/chat")  # on a new connection, whose SETTINGS have to come first
    assert ws.response.headers["Sec-WebSocket-Protocol"] == "chat"
    ws.send(b"hello").expect(b"from h2")
    ws.close(1000).expect(close_payload(1000), CLOSE)
    assert ws.sees_end() and running.get("/x").status == 200 and backend.connections == 1
    ws.wire.close()
    pseudo = backend.requests[0].pseudo
    assert (pseudo[":method"], pseudo[":protocol"], pseudo[":path"]) == ("CONNECT", "websocket", "/chat")
    running.gauges_at_zero()


def test_a_websocket_to_who_doesnt_offer_it_is_refused(running, h2_backend):
    assert running.get("/x").status == 200
    with running.send(handshake("/chat")) as wire:
        assert wire.read_response().problem["status"] == 502
    assert len(h2_backend.requests) == 1


def test_a_reload_changes_the_version(gateway, backend, h2_backend):
    running = gateway(over_h2(h2_backend))
    assert running.get("/x").headers["x-instance"] == "one"
    running.reload(proxy(backend))
    assert running.get("/x").status == 200 and len(backend.requests) == 1
