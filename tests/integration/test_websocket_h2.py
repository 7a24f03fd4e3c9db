"""WebSockets over HTTP/2 (RFC 8441), from clients, to backends, and both: each pairing is the same to who talks, to policies, log and metrics."""
import signal
import socket
import threading
import time

import pytest
from h2.settings import SettingCodes

from backend import hang
from gateway import proxy
from h2_backend import answer as h2_answer, before_body
from h2_client import CANCEL, H2Client
from websocket import (CLOSE, PING, PONG, TEXT, BackendStream, WebSocket, ask_for_websocket_h2, close_payload, echo_frames, handshake, keep_frames, open_websocket,
                       open_websocket_h2, switch, switch_h2)
from wire import WireClosed

EXTENDED_CONNECT = {SettingCodes.ENABLE_CONNECT_PROTOCOL: 1}


class OneOfEither:
    """A backend and what opens WebSockets, of whichever version."""

    def __init__(self, backend, service_fields, script):
        self.backend, self.service_fields, self.script = backend, service_fields, script

    def on(self, path, *steps):
        self.backend.on(path, *self.script(*steps))


@pytest.fixture(params=["h1", "h2"])
def either_backend(request, new_backend, new_h2_backend):
    if request.param == "h1":
        return OneOfEither(new_backend(), {}, lambda *steps: [switch(*steps)])
    return OneOfEither(new_h2_backend(settings=EXTENDED_CONNECT), {"httpVersion": 2}, lambda *steps: [before_body, switch_h2(*steps)])


@pytest.fixture
def start(gateway, either_backend):
    return lambda **more: gateway(proxy(either_backend.backend, service_fields=either_backend.service_fields, **more))


@pytest.fixture(params=["h1", "h2"])
def opener(request):
    """opener(gateway, path) opens a WebSocket, over h2 on a connection of its own."""
    clients = []

    def over_h2(running, path="/", headers=()):
        clients.append(H2Client(running.address))
        return open_websocket_h2(clients[-1], path, headers)
    yield over_h2 if request.param == "h2" else open_websocket
    for client in clients:
        client.close()


def nothing_is_held(running):
    """All gauges are at rest but for the clients' connections, which HTTP/2 keeps."""
    for name in ("sluice_tunnels_active", "sluice_upstream_leases", "sluice_exchanges_active"):
        running.wait_for_metric(name, 0)
    return True


# Every pairing

@pytest.mark.parametrize("ends", ["client closes", "client resets", "backend closes", "backend breaks off"])
def test_a_place_of_those_under_way_is_held_until_the_websocket_is_over(start, either_backend, opener, ends):
    def says_goodbye(ws, request):
        ws.expect(b"go")
        if ends == "backend closes":
            ws.close(1000).expect_close(1000)

    either_backend.on("/chat", says_goodbye if ends.startswith("backend") else echo_frames)
    running = start(rateLimits=[{"name": "r", "key": "global", "algorithm": "concurrency", "limit": 1}])
    ws = opener(running, "/chat")
    running.wait_for_metric("sluice_exchanges_active", 0)  # that of the request which opened it
    assert running.get("/").status == 429
    if ends == "client closes":
        ws.close(1000).expect_close(1000)
    elif ends == "backend closes":
        ws.send(b"go").expect_close(1000)
        ws.close(1000)
    elif ends == "backend breaks off":
        assert ws.send(b"go").sees_end()
    ws.wire.reset() if ends == "client resets" else ws.wire.half_close()
    running.wait_for_metric("sluice_tunnels_active", 0)
    assert running.get("/").status != 429
    assert nothing_is_held(running)


def test_messages_and_closes_pass_both_ways(start, either_backend, opener):
    either_backend.on("/echo", echo_frames)
    running = start()
    ws = opener(running, "/echo")
    for size in (0, 1, 125, 126, 65535, 65536, 300_000):
        payload = bytes(i * 7 & 255 for i in range(size))
        ws.send(payload).expect(payload)
    ws.send("grüß".encode(), TEXT).expect("grüß".encode(), TEXT)
    ws.send(b"?", PING).expect(b"?", PONG)
    assert running.metric("sluice_tunnels_active") == 1
    ws.close(4000, b"bye").expect(close_payload(4000, b"bye"), CLOSE)
    assert ws.sees_end()
    ws.wire.half_close()
    running.wait_for_metric("sluice_websocket_closes_total", 1, side="client", code="other")
    line = running.log_lines(1)[0]
    assert (line["type"], line["closeSide"], line["closeCode"], line["status"], line["method"]) == ("websocket", "client", 4000, 101, "GET")
    assert line["bytesIn"] > 430_000 and line["bytesOut"] > 430_000
    assert running.metric("sluice_requests_total", route="all", method="GET", status_class="1xx") == 1


def test_a_backend_that_finishes_can_still_be_spoken_to(start, either_backend, opener):
    heard = []
    script = [lambda ws, request: ws.send(b"my last")]
    if either_backend.service_fields:
        def finish_and_listen(ws, request):
            ws.wire.stream.data(b"", end=True)
            heard.append(ws.wire.read_until_close())
        either_backend.backend.on("/", before_body, lambda stream: stream.head(200),
                                  lambda stream: [one(WebSocket(BackendStream(stream), is_client=False), stream.request) for one in (*script, finish_and_listen)])
    else:
        def finish_and_listen(ws, request):
            ws.wire.half_close()
            heard.append(ws.wire.read_until_close())
        either_backend.on("/", *script, finish_and_listen)
    running = start()
    ws = opener(running)
    ws.expect(b"my last")
    assert ws.sees_end()  # or who ended first would be anybody's guess
    ws.wire.send(b"late")
    ws.wire.half_close()
    running.wait_for_metric("sluice_tunnels_active", 0)
    assert heard == [b"late"]
    running.wait_for_metric("sluice_websocket_closes_total", 1, side="backend", code="1006")


def test_a_client_that_breaks_off_is_passed_on(start, either_backend, opener):
    ended = threading.Event()

    def until_the_end(ws, request):
        try:
            ws.wire.read_exactly(1)
        except Exception:
            ended.set()
            raise
    either_backend.on("/", until_the_end)
    running = start()
    opener(running).wire.reset()
    assert ended.wait(5)
    running.wait_for_metric("sluice_websocket_closes_total", 1, side="client", code="1006")
    assert nothing_is_held(running)


def test_a_silent_one_is_closed_by_both_sides_of_the_gateway(start, either_backend, opener):
    frames = []
    either_backend.on("/", lambda ws, request: frames.append(ws.read()), lambda ws, request: ws.send(frames[0].payload, CLOSE))
    running = start(route={"tunnelIdleTimeoutMs": 400})
    ws = opener(running)
    ws.expect_close(1001, timeout=10)
    ws.close(1001)
    assert ws.sees_end()
    assert frames[0].payload == close_payload(1001)
    running.wait_for_metric("sluice_websocket_closes_total", 1, side="timeout", code="1001")
    assert nothing_is_held(running)


def test_draining_says_goodbye(start, either_backend, opener):
    frames = []
    either_backend.on("/", lambda ws, request: frames.append(ws.read()), lambda ws, request: ws.send(frames[0].payload, CLOSE))
    running = start(tunnelDrainTimeout=0.5)
    ws = opener(running)
    running.signal(signal.SIGTERM)
    ws.expect_close(1001, timeout=10)
    ws.close(1001)
    assert ws.sees_end()
    running.process.wait(20)
    assert frames[0].payload == close_payload(1001)


def test_slow_readers_hold_a_bounded_amount(start, either_backend, opener):
    total = 4 << 20
    go = threading.Event()

    def flood(ws, request):
        sender = threading.Thread(target=lambda: ws.send(bytes(total)))
        sender.start()
        go.wait(30)
        sender.join(30)
    either_backend.on("/", flood)
    running = start()
    ws = opener(running)
    highest, deadline = 0, time.monotonic() + 0.5
    while time.monotonic() < deadline:
        highest = max(highest, running.metric("sluice_buffer_bytes"))
        time.sleep(0.05)
    assert 0 < highest <= 512 * 1024
    assert len(ws.read(timeout=30).payload) == total
    go.set()


# Clients of HTTP/2

def test_a_backend_of_http_1_is_asked_with_a_key_of_the_gateways(new_backend, gateway):
    """What a client sends as key means nothing in HTTP/2 (RFC 8441 5)."""
    backend = new_backend()
    backend.on("/", switch(echo_frames, headers={"Sec-WebSocket-Protocol": "chat"}))
    running = gateway(proxy(backend))
    keys = set()
    for headers in ((), [("sec-websocket-key", "mine")]):
        with H2Client(running.address) as client:
            ws = open_websocket_h2(client, headers=[("sec-websocket-protocol", "chat, other"), ("origin", "https://a.example"), *headers])
            assert ws.response.headers["sec-websocket-protocol"] == "chat"
            ws.send(b"x").expect(b"x")
        asked = backend.requests[-1].headers
        keys.add(asked["Sec-WebSocket-Key"])
        assert asked["Sec-WebSocket-Protocol"] == "chat, other" and asked["Upgrade"] == "websocket" and asked["Origin"] == "https://a.example"
    assert len(keys) == 2 and "mine" not in keys


def test_many_share_a_connection_with_other_requests(new_backend, gateway):
    backend = new_backend()
    backend.on("/echo", switch(echo_frames))
    running = gateway(proxy(backend))
    with H2Client(running.address) as client:
        open_ones = [open_websocket_h2(client, "/echo") for _ in range(20)]
        for number, ws in enumerate(open_ones):
            ws.send(b"%d" % number)
        assert client.get("/plain").status == 200
        for number, ws in enumerate(open_ones):
            ws.expect(b"%d" % number)
        open_ones[3].wire.reset()
        running.wait_for_metric("sluice_tunnels_active", 19)
        open_ones[4].send(b"still").expect(b"still")
        assert running.metric("sluice_connections_active") == 1
    running.wait_for_metric("sluice_tunnels_active", 0)
    assert running.gauges_at_zero()


def test_one_that_is_not_read_holds_no_other_back(new_backend, gateway):
    backend = new_backend()
    go = threading.Event()

    def flood(ws, request):
        sender = threading.Thread(target=_quietly, args=(ws.send, bytes(4 << 20)), daemon=True)
        sender.start()
        go.wait(20)
        ws.wire.socket.shutdown(socket.SHUT_RDWR)
        sender.join(20)
    backend.on("/flood", switch(flood))
    backend.on("/echo", switch(echo_frames))
    running = gateway(proxy(backend))
    with H2Client(running.address, takes=False, window=16384) as client:
        open_websocket_h2(client, "/flood")
        ws = open_websocket_h2(client, "/echo")
        for _ in range(10):
            ws.send(b"x").expect(b"x")
        assert client.get("/plain").status == 200
        go.set()


def _quietly(action, *arguments):
    try:
        action(*arguments)
    except OSError:
        pass


def test_a_refusal_is_an_answer_and_the_connection_goes_on(new_backend, gateway):
    backend = new_backend()
    backend.on("/", switch(echo_frames))
    running = gateway(proxy(backend, route={"filters": [{"type": "websocket", "allowedOrigins": ["https://a.example"]}]}))
    with H2Client(running.address) as client:
        stream = ask_for_websocket_h2(client, headers=[("origin", "https://evil.example")])
        client.wait_for(lambda: client.answers[stream].status is not None)
        assert client.answers[stream].status == 403
        open_websocket_h2(client, headers=[("origin", "https://a.example")]).send(b"x").expect(b"x")
    assert len(backend.requests) == 1


def test_a_backend_that_resets_resets_the_stream_alone(new_backend, gateway):
    backend = new_backend()
    backend.on("/", switch(lambda ws, request: ws.wire.reset()))
    backend.on("/echo", switch(echo_frames))
    running = gateway(proxy(backend))
    with H2Client(running.address) as client:
        other, ws = open_websocket_h2(client, "/echo"), open_websocket_h2(client)
        client.wait_for(lambda: ws.response.reset is not None)
        assert ws.response.reset == CANCEL
        other.send(b"x").expect(b"x")


def test_a_backend_that_does_not_answer_in_time(new_backend, gateway):
    backend = new_backend()
    backend.on("/", hang())
    running = gateway(proxy(backend, route={"timeoutMs": 300, "retryCount": 0}))
    with H2Client(running.address) as client:
        stream = ask_for_websocket_h2(client)
        client.wait_for(lambda: client.answers[stream].status is not None)
        assert client.answers[stream].status == 504
    assert running.gauges_at_zero()


# Backends of HTTP/2

def test_a_backend_of_http_2_gets_no_key(new_h2_backend, gateway):
    backend = new_h2_backend(settings=EXTENDED_CONNECT)
    backend.on("/chat", before_body, switch_h2(echo_frames, headers=[("sec-websocket-protocol", "chat")]))
    running = gateway(proxy(backend, service_fields={"httpVersion": 2}))
    ws = open_websocket(running, "/chat?room=1", headers=[("Sec-WebSocket-Protocol", "chat")])
    assert ws.response.headers["Sec-WebSocket-Protocol"] == "chat"
    ws.send(b"x").expect(b"x")
    request = backend.requests[0]
    assert request.pseudo == {":method": "CONNECT", ":protocol": "websocket", ":scheme": "http", ":path": "/chat?room=1", ":authority": "gateway.test"}
    names = request.headers.names()
    assert not {"sec-websocket-key", "upgrade", "connection", "content-length"} & set(names) and "sec-websocket-version" in names


def test_a_backend_that_offers_no_extended_connect_is_a_bad_gateway(new_h2_backend, gateway):
    backend = new_h2_backend()
    running = gateway(proxy(backend, service_fields={"httpVersion": 2}))
    with running.connect() as wire:
        wire.send(handshake())
        assert wire.read_response().status == 502
    assert running.log_lines(1)[0]["error"]["type"] == "no-tunnel"
    assert backend.requests == []


def test_tunnels_and_requests_share_a_connection_to_the_backend(new_h2_backend, gateway):
    backend = new_h2_backend(settings=EXTENDED_CONNECT)
    backend.on("/echo", before_body, switch_h2(echo_frames))
    backend.on("/plain", h2_answer(200, body=b"plain"))
    running = gateway(proxy(backend, service_fields={"httpVersion": 2}))
    open_ones = [open_websocket(running, "/echo") for _ in range(20)]
    for number, ws in enumerate(open_ones):
        ws.send(b"%d" % number)
        assert running.get("/plain").body == b"plain"
    for number, ws in enumerate(open_ones):
        ws.expect(b"%d" % number)
    assert backend.connections == 1
    for ws in open_ones:
        ws.wire.close()
    running.wait_for_metric("sluice_tunnels_active", 0)
    assert running.gauges_at_zero()


def test_a_backend_connection_that_breaks_breaks_its_tunnels(new_h2_backend, gateway):
    backend = new_h2_backend(settings=EXTENDED_CONNECT)
    backend.on("/", before_body, switch_h2(keep_frames([])))
    running = gateway(proxy(backend, service_fields={"httpVersion": 2}))
    open_ones = [open_websocket(running) for _ in range(3)]
    backend.drop_connections()
    for ws in open_ones:
        with pytest.raises((ConnectionResetError, WireClosed)):
            ws.wire.read_exactly(1)
    running.wait_for_metric("sluice_websocket_closes_total", 3, side="backend", code="1006")
    assert running.gauges_at_zero()


def test_a_backend_that_refuses_answers(new_h2_backend, gateway):
    backend = new_h2_backend(settings=EXTENDED_CONNECT)
    backend.on("/", before_body, h2_answer(403, body=b"no"))
    running = gateway(proxy(backend, service_fields={"httpVersion": 2}))
    with running.send(handshake()) as wire:
        response = wire.read_response()
        assert (response.status, response.body) == (403, b"no")
