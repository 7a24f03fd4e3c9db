"""WebSockets by HTTP/1.1 to HTTP/1.1 backends: the handshake, frames untouched, ends passed on, limits, time, reload, drain."""
import pathlib
import signal
import subprocess
import sys
import threading
import time

import pytest

from backend import Finished, answer, hang
from gateway import is_sanitized, proxy, service
from measuring import resident_bytes
from websocket import (BINARY, CLOSE, CONTINUATION, KEY, PING, PONG, TEXT, WebSocket, accept_of, close_payload, echo_frames, finish_opening,
                       frame_bytes, handshake, keep_frames, open_websocket, switch, switch_head)
from wire import WireClosed, request_bytes


@pytest.fixture(scope="module")
def echoing(module_gateway, module_backend):
    """One gateway whose backend echoes at /echo; other paths are the tests' own."""
    module_backend.on("/echo", switch(echo_frames))
    return module_gateway(proxy(module_backend, route={"timeoutMs": 3000}))


def websocket_lines(gateway, count=1, **fields):
    """The log's lines of WebSockets that have ended."""
    deadline = time.monotonic() + 5
    while True:
        lines = [line for line in gateway.log_lines()
                 if line["type"] == "websocket" and all(line[name] == value for name, value in fields.items())]
        if len(lines) >= count:
            return lines
        assert time.monotonic() < deadline, gateway.log_lines()
        time.sleep(0.02)


# Bytes

def test_messages_go_both_ways_untouched(echoing):
    ws = open_websocket(echoing, "/echo")
    for size in (0, 1, 125, 126, 127, 65535, 65536, 300_000):
        payload = bytes(i * 7 & 255 for i in range(size))
        ws.send(payload).expect(payload)
    ws.send("grüß".encode(), TEXT).expect("grüß".encode(), TEXT)
    ws.close(1000, b"bye").expect(close_payload(1000, b"bye"), CLOSE)
    assert ws.sees_end()


def test_fragments_and_control_frames_keep_their_order(echoing):
    ws = open_websocket(echoing, "/echo")
    ws.send(b"one ", TEXT, fin=False).send(b"?", PING).send(b"two ", CONTINUATION, fin=False).send(b"three", CONTINUATION)
    frames = [ws.read() for _ in range(4)]
    assert [(frame.fin, frame.opcode, frame.payload) for frame in frames] == [
        (False, TEXT, b"one "), (True, PONG, b"?"), (False, CONTINUATION, b"two "), (True, CONTINUATION, b"three")]


def test_what_no_rfc_defines_passes_as_it_is(echoing, module_backend):
    """Reserved bits and opcodes are the two ends' business; so is a frame that the rules forbid."""
    seen = []
    module_backend.on("/odd", switch(lambda ws, request: seen.append(ws.wire.read_exactly(len(odd)))))
    odd = b"".join(frame_bytes(b"x" * size, first_byte=first, masked=True) for first, size in ((0xF3, 3), (0x0B, 200), (0x49, 126), (0x7F, 0)))
    ws = open_websocket(echoing, "/odd")
    ws.wire.send(odd)
    assert ws.sees_end()
    assert seen == [odd]


def test_a_frame_a_byte_at_a_time_arrives_whole(echoing):
    ws = open_websocket(echoing, "/echo")
    ws.wire.drip(frame_bytes(b"slowly", masked=True), pause=0.001)
    ws.expect(b"slowly")


def test_frames_sent_before_the_101_arrive_after_it(echoing, module_backend):
    """A client that doesn't wait: with the request, and while the backend still thinks."""
    go = threading.Event()
    module_backend.forget()
    module_backend.on("/late", lambda wire, request: go.wait(10), lambda wire, request: heard.append(bytes(wire.buffer)), switch(echo_frames))
    heard = []
    wire = echoing.connect()
    wire.send(handshake("/late") + frame_bytes(b"first", masked=True))
    module_backend.wait_for_requests(1)
    wire.send(frame_bytes(b"second", masked=True))
    assert wire.is_silent(0.2)  # no 101 before the backend's own
    go.set()
    ws = finish_opening(wire)
    ws.expect(b"first")
    ws.expect(b"second")
    assert heard == [b""]


def test_what_the_backend_sends_behind_its_101_arrives(echoing, module_backend):
    module_backend.on("/greets", switch(echo_frames, behind=frame_bytes(b"welcome")))
    open_websocket(echoing, "/greets").expect(b"welcome")


# The handshake

def test_the_backend_sees_an_ordinary_request_that_asks_for_an_upgrade(echoing, module_backend):
    module_backend.forget()
    module_backend.on("/asks", switch(echo_frames, headers={"Sec-WebSocket-Protocol": "v2.chat", "Sec-WebSocket-Extensions": "x-odd; a=\"b, c\"",
                                                            "X-Internal-Note": "secret", "Server": "odd"}))
    ws = open_websocket(echoing, "/asks", connection="keep-alive, Upgrade", upgrade="WebSocket", headers=[
        ("Sec-WebSocket-Protocol", "v1.chat,  v2.chat"), ("Sec-WebSocket-Extensions", "x-odd; a=\"b, c\", permessage-deflate"), ("Origin", "http://a.example"),
        ("X-Forwarded-For", "9.9.9.9"), ("Cookie", "a=b")])
    asked = module_backend.requests[0].headers
    assert (asked["Connection"], asked["Upgrade"], asked["Sec-WebSocket-Key"], asked["Sec-WebSocket-Version"]) == ("upgrade", "websocket", KEY, "13")
    assert asked["Sec-WebSocket-Protocol"] == "v1.chat,  v2.chat" and asked["Sec-WebSocket-Extensions"] == "x-odd; a=\"b, c\", permessage-deflate"
    assert asked["X-Forwarded-For"] == "127.0.0.1" and asked["Cookie"] == "a=b" and asked["Origin"] == "http://a.example"
    assert "Content-Length" not in asked and "Transfer-Encoding" not in asked
    answered = ws.response.headers
    assert answered["Sec-WebSocket-Protocol"] == "v2.chat" and answered["Sec-WebSocket-Extensions"] == "x-odd; a=\"b, c\""
    assert "X-Internal-Note" not in answered and "Server" not in answered


@pytest.mark.parametrize("key", ["", "short", KEY[:-1], KEY + "=", "dGhlIHNhbXBsZSBub25j*Q==", None])
def test_a_key_that_is_none_never_reaches_the_backend(echoing, module_backend, key):
    module_backend.forget()
    with echoing.send(handshake("/echo", key=key)) as wire:
        response = wire.read_response()
        assert response.status == 400 and "Sec-WebSocket-Key" in response.problem["detail"]
    assert module_backend.requests == []


def test_two_keys_are_none(echoing, module_backend):
    module_backend.forget()
    with echoing.send(handshake("/echo", headers=[("Sec-WebSocket-Key", KEY)])) as wire:
        assert wire.read_response().status == 400
    assert module_backend.requests == []


@pytest.mark.parametrize("framing", [("Content-Length", "0"), ("Content-Length", "10"), ("Transfer-Encoding", "chunked")])
def test_an_upgrade_with_a_body_is_refused(echoing, module_backend, framing):
    module_backend.forget()
    with echoing.send(handshake("/echo", headers=[framing]) + b"0\r\n\r\n12345") as wire:
        assert wire.read_response().status == 400
    assert module_backend.requests == []


@pytest.mark.parametrize("upgrade,method", [("h2c", "GET"), ("TLS/1.0", "GET"), ("websocket", "POST"), ("websockets", "GET"), ("websocket/13", "GET")])
def test_other_upgrades_are_dropped_and_the_request_goes_on(echoing, module_backend, upgrade, method):
    module_backend.forget()
    response = echoing.request(method, "/plain", [("Connection", "Upgrade"), ("Upgrade", upgrade), ("Sec-WebSocket-Key", KEY)], body=b"" if method == "POST" else None)
    assert response.status == 200
    asked = module_backend.requests[0].headers
    assert "Upgrade" not in asked and "upgrade" not in asked.get("Connection", "").lower()


def test_http_1_0_and_an_upgrade_without_connection_are_ordinary_requests(echoing, module_backend):
    module_backend.forget()
    for request in (handshake("/plain", version="13").replace(b"HTTP/1.1", b"HTTP/1.0"), handshake("/plain", connection=None)):
        with echoing.send(request) as wire:
            assert wire.read_response().status == 200
    assert ["Upgrade" in request.headers for request in module_backend.requests] == [False, False]


def test_websocket_among_several_protocols_is_the_one_asked_for(echoing, module_backend):
    module_backend.forget()
    module_backend.on("/several", switch(echo_frames))
    open_websocket(echoing, "/several", upgrade="h2c, websocket").send(b"x").expect(b"x")
    assert module_backend.requests[0].headers["Upgrade"] == "websocket"


def test_a_refusal_passes_and_both_connections_are_used_again(new_backend, gateway):
    backend = new_backend()
    backend.on("/no", answer(403, {"X-Why": "no"}, b"not you", reason="Forbidden"))
    running = gateway(proxy(backend))
    with running.send(handshake("/no")) as wire:
        for _ in range(3):
            response = wire.read_response()
            assert (response.status, response.headers["X-Why"], response.body) == (403, "no", b"not you")
            wire.send(handshake("/no"))
        wire.read_response()
        wire.send(request_bytes(target="/plain"))
        assert wire.read_response().status == 200
    assert backend.connections == 1
    assert running.gauges_at_zero()


def test_a_200_to_an_upgrade_is_an_answer_and_no_tunnel(new_backend, gateway):
    """What the client sent behind its request is then its next request, judged like any other."""
    backend = new_backend()
    backend.on("/ok", answer(200, body=b"plain"))
    running = gateway(proxy(backend))
    with running.send(handshake("/ok") + request_bytes(target="/next")) as wire:
        assert wire.read_response().body == b"plain"
        assert wire.read_response().body == b"one"
    assert backend.targets() == ["/ok", "/next"]
    with running.send(handshake("/ok") + frame_bytes(b"frame", masked=True) + b"\r\n\r\n") as wire:
        assert wire.read_response().body == b"plain"
        assert wire.read_response().status == 400
    assert len(backend.requests) == 3 and backend.connections == 1


BAD_SWITCHES = {
    "a wrong accept": lambda request: switch_head(request, {"Sec-WebSocket-Accept": accept_of("AAAAAAAAAAAAAAAAAAAAAA==")}),
    "no accept": lambda request: b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    "two accepts": lambda request: switch_head(request)[:-2] + b"Sec-WebSocket-Accept: x\r\n\r\n",
    "another protocol": lambda request: switch_head(request, {"Upgrade": "h2c"}),
    "no upgrade": lambda request: b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + accept_of(KEY).encode() + b"\r\n\r\n",
    "no connection option": lambda request: switch_head(request, {"Connection": "close"}),
}


@pytest.mark.parametrize("what", BAD_SWITCHES)
def test_a_101_that_does_not_fit_is_a_bad_gateway(echoing, module_backend, what):
    ended = threading.Event()

    def step(wire, request):
        wire.send(BAD_SWITCHES[what](request) + frame_bytes(b"HTTP/1.1 200 OK\r\n\r\n"))
        assert wire.read_until_close() == b""
        ended.set()
        raise Finished
    module_backend.on("/bad", step)
    with echoing.send(handshake("/bad")) as wire:
        response = wire.read_response()
        assert response.status == 502 and response.problem["status"] == 502
    assert ended.wait(5)
    assert echoing.gauges_at_zero()


def test_another_version_is_for_the_backend_to_refuse(echoing, module_backend):
    module_backend.on("/version", answer(426, {"Sec-WebSocket-Version": "13"}, reason="Upgrade Required"))
    with echoing.send(handshake("/version", version="8")) as wire:
        response = wire.read_response()
        assert response.status == 426 and response.headers["Sec-WebSocket-Version"] == "13"
    module_backend.on("/version", switch(echo_frames))
    with echoing.send(handshake("/version", version="8")) as wire:
        assert wire.read_response().status == 502


def test_a_backend_that_is_not_there_is_an_ordinary_failure(new_backend, gateway):
    backend = new_backend()
    backend.stop_listening()
    running = gateway(proxy(backend))
    with running.send(handshake("/")) as wire:
        response = wire.read_response()
        assert response.status == 502 and response.problem["requestId"]
    assert running.log_lines(1)[0]["error"]["type"] == "connect-failure"


def test_the_101_has_the_routes_time(new_backend, gateway):
    backend = new_backend()
    backend.on("/", hang())
    running = gateway(proxy(backend, route={"timeoutMs": 300, "retryCount": 0}))
    with running.send(handshake("/")) as wire:
        assert wire.read_response().status == 504
    assert running.gauges_at_zero()


def test_an_instance_that_is_down_is_passed_over(backends, gateway):
    for one in backends:
        one.on("/", switch(echo_frames))
    backends[0].stop_listening()
    running = gateway(proxy(*backends[:2]))
    for _ in range(4):
        open_websocket(running).send(b"x").expect(b"x")
    assert len(backends[1].requests) == 4


def test_filters_come_first(new_backend, gateway):
    backend = new_backend()
    backend.on("/open", switch(echo_frames))
    backend.on("/shut", switch(echo_frames))
    routes = [{"name": "open", "path": "/open", "serviceId": "backend", "filters": [
        {"type": "set-header", "name": "X-Who", "value": "${source.ip}"}, {"type": "set-header", "name": "X-Seen", "value": "yes", "on": "response"}]},
              {"name": "shut", "path": "/shut", "serviceId": "backend", "filters": [{"type": "ip-list", "deny": ["127.0.0.0/8"]}]}]
    running = gateway({"services": [service(backend)], "routes": routes})
    with running.send(handshake("/shut")) as wire:
        assert wire.read_response().status == 403
    ws = open_websocket(running, "/open")
    ws.send(b"x").expect(b"x")
    assert ws.response.headers["X-Seen"] == "yes"
    assert backend.targets() == ["/open"] and backend.requests[0].headers["X-Who"] == "127.0.0.1"


def test_pages_of_other_origins_are_refused(new_backend, gateway):
    backend = new_backend()
    backend.on("/", switch(echo_frames))
    running = gateway(proxy(backend, route={"filters": [{"type": "websocket", "allowedOrigins": ["https://*.example.com"]}]}))
    with running.send(handshake(headers=[("Origin", "https://evil.example")])) as wire:
        response = wire.read_response()
        assert response.status == 403 and response.problem["rule"] == "websocket"
    assert backend.requests == []
    open_websocket(running, headers=[("Origin", "https://app.example.com")]).send(b"x").expect(b"x")
    open_websocket(running).send(b"x").expect(b"x")


# Ends

def test_a_client_that_closes_is_logged_and_counted(echoing):
    before = echoing.metric("sluice_websocket_closes_total", side="client", code="1001")
    ws = open_websocket(echoing, "/echo", headers=[("User-Agent", "browser/1")])
    ws.send(b"hello").expect(b"hello")
    ws.close(1001).expect_close(1001)
    assert ws.sees_end()
    ws.wire.close()
    line = websocket_lines(echoing, path="/echo", userAgent="browser/1")[-1]
    assert (line["closeSide"], line["closeCode"], line["status"]) == ("client", 1001, 101)
    assert (line["route"], line["service"], line["method"]) == ("all", "backend", "GET") and line["instance"] and line["upstreamMs"] > 0
    assert line["bytesIn"] > 11 + 8 + 100 and line["bytesOut"] == len(ws.response.raw_head) + 7 + 4
    echoing.wait_for_metric("sluice_websocket_closes_total", before + 1, side="client", code="1001")
    assert echoing.gauges_at_zero()


@pytest.mark.parametrize("code,label", [(1011, "1011"), (4321, "other"), (None, "1005")])
def test_a_backend_that_closes_is_logged_and_counted(echoing, module_backend, code, label):
    path = f"/leaves-with-{label}"
    module_backend.on(path, switch(lambda ws, request: ws.close(code) if code else ws.send(b"", CLOSE), lambda ws, request: ws.read()))
    before = echoing.metric("sluice_websocket_closes_total", side="backend", code=label)
    ws = open_websocket(echoing, path)
    frame = ws.read()
    assert frame.opcode == CLOSE and frame.payload == (close_payload(code) if code else b"")
    ws.send(frame.payload, CLOSE)
    assert ws.sees_end()
    ws.wire.close()
    echoing.wait_for_metric("sluice_websocket_closes_total", before + 1, side="backend", code=label)
    line = websocket_lines(echoing, path=path)[-1]
    assert (line["closeSide"], line["closeCode"]) == ("backend", code or 1005)


def test_a_client_that_breaks_off_resets_the_backend(echoing, module_backend):
    seen = []

    def see_end(ws, request):
        try:
            seen.append(ws.wire.socket.recv(100))
        except ConnectionResetError:
            seen.append("reset")
    module_backend.on("/broken", switch(see_end))
    open_websocket(echoing, "/broken").wire.reset()
    line = websocket_lines(echoing, path="/broken")[-1]
    assert (line["closeSide"], line["closeCode"]) == ("client", 1006)
    assert echoing.gauges_at_zero()
    assert seen == ["reset"]


def test_a_backend_that_breaks_off_resets_the_client(echoing, module_backend):
    def break_off(ws, request):
        ws.wire.reset()
    module_backend.on("/breaks", switch(break_off))
    ws = open_websocket(echoing, "/breaks")
    with pytest.raises(ConnectionResetError):
        ws.wire.socket.recv(100)
    line = websocket_lines(echoing, path="/breaks")[-1]
    assert (line["closeSide"], line["closeCode"]) == ("backend", 1006)


def test_a_half_close_ends_one_direction_only(echoing, module_backend):
    def answer_after_end(ws, request):
        assert ws.wire.read_until_close() == b"not even frames"
        ws.send(b"late answer")
    module_backend.on("/half", switch(answer_after_end))
    ws = open_websocket(echoing, "/half")
    ws.wire.send(b"not even frames").half_close()
    ws.expect(b"late answer")
    assert ws.sees_end()
    line = websocket_lines(echoing, path="/half")[-1]
    assert (line["closeSide"], line["closeCode"]) == ("client", 1006)


@pytest.mark.slow
def test_whoever_does_not_follow_up_a_close_is_not_waited_for_long(new_backend, gateway):
    """Both have said close, and neither closes its connection: RFC 6455 7.1.1 wants that, and a tunnel costs a place."""
    backend = new_backend()

    def answer_close(ws, request):
        ws.send(ws.read().payload, CLOSE)
        ws.wire.read_until_close(timeout=20)
    backend.on("/", switch(answer_close))
    running = gateway(proxy(backend))
    ws = open_websocket(running)
    ws.close(1000).expect_close(1000)
    assert ws.wire.is_silent(0.3)
    assert ws.sees_end(timeout=15)
    assert websocket_lines(running)[0]["closeSide"] == "client"


# Large and slow

def test_large_messages_pass_both_ways_at_once(echoing, module_backend):
    size = 8 << 20
    payload = bytes(1 << 20) * (size >> 20)
    got = []

    def talk(ws, request):
        sender = threading.Thread(target=lambda: ws.send(payload))
        sender.start()
        got.append(len(ws.read(timeout=30).payload))
        sender.join()
        ws.close()
        ws.read(timeout=30)
    module_backend.on("/large", switch(talk))
    ws = open_websocket(echoing, "/large")
    sender = threading.Thread(target=lambda: ws.send(payload))
    sender.start()
    assert len(ws.read(timeout=30).payload) == size
    sender.join()
    ws.expect_close(1000)
    ws.close()
    assert ws.sees_end()
    assert got == [size]


@pytest.mark.plain_build
def test_slow_readers_on_both_sides_hold_a_bounded_amount(new_backend, gateway):
    backend = new_backend()
    total, sockets = 4 << 20, 10
    go = threading.Event()

    def flood(ws, request):
        ws.wire.socket.settimeout(30)
        sender = threading.Thread(target=lambda: ws.send(bytes(total)))
        sender.start()
        go.wait(30)
        assert len(ws.read(timeout=60).payload) == total
        sender.join()
        ws.close()
        ws.read(timeout=60)
    backend.on("/", switch(flood))
    running = gateway(proxy(backend))
    pid = running.gateway_processes()[0]
    before = resident_bytes(pid)
    open_ones = [open_websocket(running, receive_buffer=65536) for _ in range(sockets)]
    senders = [threading.Thread(target=lambda ws=ws: ws.send(bytes(total))) for ws in open_ones]
    for sender in senders:
        sender.start()
    highest, deadline = 0, time.monotonic() + 0.7
    while time.monotonic() < deadline:
        highest = max(highest, running.metric("sluice_buffer_bytes"))
        time.sleep(0.05)
    assert running.metric("sluice_tunnels_active") == sockets
    assert 0 < highest <= sockets * 2 * (128 * 1024 + 4096) + (1 << 16)
    assert resident_bytes(pid) - before < sockets * 2 * 192 * 1024 + (4 << 20)
    go.set()

    def read_all(ws):
        assert len(ws.read(timeout=60).payload) == total
        ws.expect_close(1000, timeout=60)
        ws.close()
        assert ws.sees_end()
        done.append(ws)
    done = []
    readers = [threading.Thread(target=read_all, args=(ws,)) for ws in open_ones]
    for thread in readers:
        thread.start()
    for thread in readers + senders:
        thread.join(60)
    assert len(done) == sockets
    for ws in open_ones:
        ws.wire.close()
    assert running.gauges_at_zero()


# Time and limits

def test_a_silent_socket_is_closed_by_both_sides_of_the_gateway(new_backend, gateway):
    backend = new_backend()
    frames = []
    backend.on("/", switch(lambda ws, request: frames.append(ws.read()), lambda ws, request: ws.send(frames[0].payload, CLOSE),
                           lambda ws, request: ws.wire.read_until_close()))
    running = gateway(proxy(backend, route={"tunnelIdleTimeoutMs": 400}))
    ws = open_websocket(running)
    ws.expect_close(1001, timeout=10)
    ws.close(1001)
    assert ws.sees_end()
    assert [(frame.opcode, frame.payload) for frame in frames] == [(CLOSE, close_payload(1001))]
    line = websocket_lines(running)[0]
    assert (line["closeSide"], line["closeCode"]) == ("timeout", 1001) and 390 <= line["durationMs"] < 5000
    assert running.metric("sluice_websocket_closes_total", side="timeout", code="1001") == 1
    assert running.gauges_at_zero()


def test_pings_keep_a_socket_open(new_backend, gateway):
    backend = new_backend()
    backend.on("/", switch(echo_frames))
    running = gateway(proxy(backend, route={"tunnelIdleTimeoutMs": 1500, "idleTimeoutMs": 200}, limits={"idleTimeoutMs": 200, "bodyTimeoutMs": 200}))
    ws = open_websocket(running)
    for _ in range(10):
        time.sleep(0.25)
        ws.send(b"", PING).expect(b"", PONG)
    ws.send(b"still here").expect(b"still here")


def test_a_worker_keeps_so_many_sockets_and_no_more(new_backend, gateway):
    backend = new_backend()
    backend.on("/", switch(echo_frames))
    running = gateway(proxy(backend, limits={"tunnelsPerWorker": 2}))
    first, second = open_websocket(running), open_websocket(running)
    with running.send(handshake()) as wire:
        response = wire.read_response()
        assert response.status == 503 and response.headers["Retry-After"]
        wire.send(request_bytes(target="/plain"))
        assert wire.read_response().status == 200  # a request that is none is let through
    assert len(backend.requests) == 3
    assert running.metric("sluice_tunnels_active") == 2
    first.close().expect_close(1000)
    first.wire.close()
    running.wait_for_metric("sluice_tunnels_active", 1)
    open_websocket(running).send(b"x").expect(b"x")
    second.send(b"x").expect(b"x")


def test_a_place_comes_back_when_the_upgrade_fails(new_backend, gateway):
    backend = new_backend()
    backend.on("/no", answer(403))
    backend.on("/hang", hang())
    backend.on("/", switch(echo_frames))
    running = gateway(proxy(backend, limits={"tunnelsPerWorker": 1, "halfCloseTimeoutMs": 0}))
    for _ in range(3):
        with running.send(handshake("/no")) as wire:
            assert wire.read_response().status == 403
        backend.forget()
        wire = running.send(handshake("/hang"))
        backend.wait_for_requests(1)
        wire.reset()
        assert running.gauges_at_zero()
    open_websocket(running).send(b"x").expect(b"x")


def test_an_open_socket_is_a_lease_of_its_instance(backends, gateway):
    for one in backends[:2]:
        one.on("/", switch(echo_frames))
    running = gateway(proxy(*backends[:2], service_fields={"lbAlgorithm": "least_connections"}))
    open_ones = [open_websocket(running) for _ in range(6)]
    assert [len(one.requests) for one in backends[:2]] == [3, 3]
    assert running.metric("sluice_upstream_leases") == 6 and running.metric("sluice_exchanges_active") == 0
    for ws in open_ones:
        ws.wire.close()
    assert running.gauges_at_zero()


# Change

def test_a_reload_leaves_open_sockets_alone(new_backend, gateway):
    old, new = new_backend("old"), new_backend("new")
    for one in (old, new):
        one.on("/", switch(echo_frames))
    running = gateway(proxy(old))
    ws = open_websocket(running)
    for number in range(5):
        running.reload(proxy(new, route={"name": f"all-{number}"}))
        ws.send(b"%d" % number).expect(b"%d" % number)
    other = open_websocket(running)
    other.send(b"x").expect(b"x")
    assert (len(old.requests), len(new.requests)) == (1, 1)
    ws.close().expect_close(1000)
    ws.wire.close()
    assert websocket_lines(running)[0]["route"] == "all"


def drained(running):
    running.signal(signal.SIGTERM)
    running.wait_for_stderr("stopping")


def ends(running):
    """By itself: a second SIGTERM would cut what is open. How it ended the fixture looks at."""
    running.process.wait(20)


def test_draining_says_goodbye_between_two_frames(new_backend, gateway):
    """Each side gets what was under way, then 1001; the connections close when both have answered."""
    backend = new_backend()
    frames = []
    payload = b"a message that takes its time"

    def step(ws, request):
        whole = frame_bytes(payload)
        ws.wire.send(whole[:9])
        first = ws.read()
        frames.append(first)
        ws.wire.send(whole[9:])
        frames.append(ws.read())
        ws.close(1001)
        frames.append(ws.wire.read_until_close())
    backend.on("/", switch(step))
    running = gateway(proxy(backend, tunnelDrainTimeout=0.5))
    ws = open_websocket(running)
    whole = frame_bytes(b"so does this", masked=True)
    ws.wire.send(whole[:5])
    drained(running)
    time.sleep(1.0)  # the drain has begun its goodbyes by now, and no frame has ended
    ws.wire.send(whole[5:] + frame_bytes(b"too late", masked=True))
    ws.expect(payload)
    ws.expect_close(1001)
    ws.close(1001)
    assert ws.sees_end()
    ends(running)
    assert frames[0].payload == b"so does this"
    assert (frames[1].opcode, frames[1].payload) == (CLOSE, close_payload(1001))
    assert frames[2] == b""
    line = websocket_lines(running)[0]
    assert (line["closeSide"], line["closeCode"]) == ("gateway", 1001)


def test_sockets_stay_open_while_requests_drain(new_backend, gateway):
    backend = new_backend()
    backend.on("/", switch(echo_frames))
    backend.on("/hang", hang())
    running = gateway(proxy(backend, drainTimeout=0.5, tunnelDrainTimeout=2))
    ws, request = open_websocket(running), running.send(request_bytes(target="/hang"))
    backend.wait_for_requests(2)
    drained(running)
    assert request.is_closed(timeout=10)  # the request is cut by drainTimeout, the tunnel goes on
    ws.send(b"still here").expect(b"still here")
    ws.expect_close(1001, timeout=10)
    ws.close(1001)
    assert ws.sees_end()
    ends(running)


def test_a_drain_without_sockets_does_not_wait_for_them(new_backend, gateway):
    running = gateway(proxy(new_backend(), tunnelDrainTimeout=60))
    began = time.monotonic()
    running.stop()
    assert time.monotonic() - began < 15


@pytest.mark.slow
def test_whoever_does_not_answer_the_goodbye_is_closed(new_backend, gateway):
    backend = new_backend()
    backend.on("/", switch(lambda ws, request: ws.wire.read_until_close(timeout=30)))
    running = gateway(proxy(backend, tunnelDrainTimeout=0))
    ws = open_websocket(running)
    drained(running)
    ws.expect_close(1001)
    assert ws.sees_end(timeout=15)
    ends(running)


def test_an_upgrade_under_way_when_all_are_told_to_close_is_told_too(new_backend, gateway):
    backend = new_backend()
    go = threading.Event()
    backend.on("/", lambda wire, request: go.wait(20), switch(echo_frames))
    running = gateway(proxy(backend, tunnelDrainTimeout=0))
    wire = running.send(handshake())
    backend.wait_for_requests(1)
    drained(running)
    time.sleep(0.3)
    go.set()
    ws = finish_opening(wire)
    ws.expect_close(1001)
    ws.close(1001)
    assert ws.sees_end()
    ends(running)


def test_a_place_of_those_under_way_is_held_across_a_reload(new_backend, gateway):
    backend = new_backend()
    backend.on("/", switch(echo_frames)).on("/plain", answer(200))
    limits = [{"name": "r", "key": "global", "algorithm": "concurrency", "limit": 2}]
    running = gateway(proxy(backend, rateLimits=limits))
    first, second = open_websocket(running), open_websocket(running)
    assert running.get("/plain").status == 429
    for limit, status in ((3, 200), (2, 429)):
        running.reload(proxy(backend, rateLimits=[{**limits[0], "limit": limit}]))
        first.send(b"x").expect(b"x")
        assert running.get("/plain").status == status
    first.close(1000).expect_close(1000)
    first.wire.close()
    running.wait_for_metric("sluice_tunnels_active", 1)
    assert running.get("/plain").status == 200
    second.wire.reset()
    assert running.gauges_at_zero()


def test_two_workers_share_nothing_but_the_counts(new_backend, gateway):
    backend = new_backend()
    backend.on("/", switch(echo_frames))
    running = gateway(proxy(backend, workers=2))
    open_ones = [open_websocket(running) for _ in range(20)]
    for ws in open_ones:
        ws.send(b"x").expect(b"x")
    running.wait_for_metric("sluice_tunnels_active", 20)
    for ws in open_ones:
        ws.close(1000).expect_close(1000)
        ws.wire.close()
    running.wait_for_metric("sluice_websocket_closes_total", 20, side="client", code="1000")
    assert running.gauges_at_zero()


# A crowd

SOCKETS, RESIDENT_BYTES_MAX = 9000, 54 << 20


def crowd(*arguments):
    program = pathlib.Path(__file__).with_name("crowd.py")
    return subprocess.Popen([sys.executable, str(program), *map(str, arguments)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def ask_crowd(people, order):
    people.stdin.write(order + "\n")
    people.stdin.flush()
    return people.stdout.readline().strip()


@pytest.mark.slow
@pytest.mark.skipif(is_sanitized(), reason="a sanitizer's own memory would be what is measured")
def test_nine_thousand_open_sockets_cost_54_mb(gateway):
    """As many as 20,000 descriptors allow, with all else that the process holds; none of it grows by talking."""
    with crowd("backend") as backend:
        running = gateway(proxy(f"127.0.0.1:{backend.stdout.readline().strip()}", tunnelDrainTimeout=0))
        pid = running.gateway_processes()[0]
        with crowd("clients", running.port, SOCKETS) as clients:
            assert clients.stdout.readline() == "open\n"
            assert running.metric("sluice_tunnels_active") == SOCKETS
            assert resident_bytes(pid) <= RESIDENT_BYTES_MAX
            for _ in range(3):
                assert ask_crowd(clients, "talk") == str(SOCKETS)
            assert resident_bytes(pid) <= RESIDENT_BYTES_MAX
            print(f"{resident_bytes(pid):,} bytes resident with {SOCKETS:,} sockets")
            drained(running)
            assert ask_crowd(clients, "leave") == str(SOCKETS)
            clients.stdin.close()
        ends(running)
        backend.stdin.close()
