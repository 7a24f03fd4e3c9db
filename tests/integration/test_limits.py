"""Limits answer clearly and hold memory down: 408, 413, 414, 431, 503, and what comes back once there is room again."""
import os
import socket
import threading
import time

import pytest

from backend import answer, before_body, echo, hang, read_body, send
from gateway import proxy
from measuring import Peak
from wire import chunked, request_bytes, response_bytes


def limited(backend, route=None, **limits):
    return proxy(backend, route=route, limits=limits)


def refusal(wire):
    """The answer that ends a connection."""
    response = wire.read_response()
    assert not response.keeps_alive and response.problem["status"] == response.status
    assert wire.read_until_close(5) == b""
    return response.status


def test_a_request_line_too_long_is_414(gateway, backend):
    running = gateway(limited(backend, requestLineBytes=1024))
    with running.send(request_bytes(target="/" + "a" * 2000)) as wire:
        assert refusal(wire) == 414
    assert running.get("/" + "a" * 900).status == 200
    with running.send(b"GET /" + b"a" * 5000) as wire:
        assert refusal(wire) == 414, "it need not wait for the line's end"


def test_headers_too_large_or_too_many_are_431(gateway, backend):
    running = gateway(limited(backend, headerBytes=4096, headerCount=20))
    with running.send(request_bytes(headers={"X-Long": "x" * 5000})) as wire:
        assert refusal(wire) == 431
    with running.send(request_bytes(headers=[(f"X-{i}", "y") for i in range(30)])) as wire:
        assert refusal(wire) == 431
    with running.send(b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 20000) as wire:
        assert refusal(wire) == 431, "it need not wait for the head's end"
    assert running.get("/", [(f"X-{i}", "y") for i in range(15)]).status == 200
    assert len(backend.requests) == 1


def test_trailers_have_the_limits_of_headers(gateway, backend):
    running = gateway(limited(backend, headerBytes=4096, headerCount=20))
    with running.send(request_bytes("POST", headers={"Transfer-Encoding": "chunked"}) + chunked(b"x", trailers=[(f"X-{i}", "y" * 500) for i in range(30)])) as wire:
        response = wire.read_response()
        assert response.status in (400, 431)


def test_a_body_too_large_is_413_by_its_length_at_once(gateway, backend):
    running = gateway(limited(backend, bodyBytes=1000))
    with running.send(request_bytes("POST", headers={"Content-Length": "1001"})) as wire:
        assert wire.read_response().status == 413
    assert backend.requests == []
    assert running.request("POST", "/", body=b"x" * 1000).status == 200


def test_a_chunked_body_too_large_is_413_when_it_has_grown_too_large(gateway, backend):
    running = gateway(limited(backend, bodyBytes=1000))
    with running.send(request_bytes("POST", headers={"Transfer-Encoding": "chunked"}) + chunked(*[b"x" * 100] * 11)) as wire:
        assert refusal(wire) == 413
    assert not any(request.complete for request in backend.requests)
    running.gauges_at_zero()
    with running.send(request_bytes("POST", headers={"Transfer-Encoding": "chunked"}) + chunked(*[b"x" * 100] * 10)) as wire:
        assert wire.read_response().status == 200


def test_a_413_reaches_a_client_that_is_still_sending(gateway, backend):
    """The answer isn't lost to a reset: the connection is closed in two steps."""
    running = gateway(limited(backend, bodyBytes=1000))
    with running.send(request_bytes("POST", headers={"Content-Length": "3000000"})) as wire:
        try:
            wire.send(b"x" * 300_000)
        except OSError:
            pass
        assert wire.read_response().status == 413


@pytest.mark.parametrize("beginning", [b"GET / HTT", b"GET / HTTP/1.1\r\nHost: a\r\nX-A", b"GET / HTTP/1.1\r\n"])
def test_a_head_that_does_not_come_is_408(gateway, backend, beginning):
    running = gateway(limited(backend, headTimeoutMs=400))
    began = time.monotonic()
    with running.send(beginning) as wire:
        assert refusal(wire) == 408
    assert 0.3 < time.monotonic() - began < 2


def test_a_dripping_head_is_408_too(gateway, backend):
    """The time is for the whole head: a byte now and then doesn't renew it (slowloris)."""
    running = gateway(limited(backend, headTimeoutMs=500))
    with running.connect() as wire:
        def drip():
            try:
                wire.drip(request_bytes(headers={"X-Long": "x" * 500}), size=1, pause=0.05)
            except OSError:
                pass
        threading.Thread(target=drip, daemon=True).start()
        began = time.monotonic()
        assert wire.read_response().status == 408
        assert time.monotonic() - began < 2


def test_a_connection_that_never_says_anything_is_closed_in_silence(gateway, backend):
    running = gateway(limited(backend, headTimeoutMs=300, idleTimeoutMs=300))
    with running.connect() as wire:
        assert wire.read_until_close(3) == b""


def test_a_kept_connection_is_closed_after_the_idle_time(gateway, backend):
    running = gateway(limited(backend, idleTimeoutMs=300))
    with running.send(request_bytes()) as wire:
        assert wire.read_response().status == 200
        began = time.monotonic()
        assert wire.read_until_close(3) == b""
        assert time.monotonic() - began > 0.2
    running.gauges_at_zero()


def test_a_body_that_stalls_is_408_and_its_call_is_given_up(gateway, backend):
    running = gateway(limited(backend, bodyTimeoutMs=400))
    with running.send(request_bytes("POST", headers={"Content-Length": "100"}) + b"half") as wire:
        assert refusal(wire) == 408
    running.gauges_at_zero()
    assert not any(request.complete for request in backend.requests)


def test_a_body_that_drips_within_the_time_passes(gateway, backend):
    backend.by_default(echo())
    running = gateway(limited(backend, bodyTimeoutMs=500))
    with running.send(request_bytes("POST", headers={"Content-Length": "10"})) as wire:
        wire.drip(b"0123456789", size=1, pause=0.1)
        assert wire.read_response().body == b"0123456789"


def test_connections_beyond_a_workers_limit_are_turned_away_and_others_served(gateway, backend):
    running = gateway(limited(backend, connectionsPerWorker=10))
    standing = []
    for _ in range(10):
        wire = running.send(request_bytes())
        response = wire.read_response_or_close()
        if response and response.status == 200:
            standing.append(wire)
    assert len(standing) >= 8, "readiness probes may still be closing"
    extra = [running.connect() for _ in range(5)]
    time.sleep(0.05)
    for wire in extra:
        wire.drip(request_bytes(), size=20, pause=0.005)
        response = wire.read_response()
        assert response.status == 503 and int(response.headers["Retry-After"]) >= 1 and response.problem["requestId"]
        assert wire.socket.recv(1) == b"", "an orderly end, not a reset"
    for wire in standing:
        wire.send(request_bytes())
        assert wire.read_response().status == 200, "the connections within the limit go on"
        wire.close()
    for wire in extra:
        wire.close()
    running.gauges_at_zero()
    assert running.get("/").status == 200


def test_connections_of_one_address_are_limited_apart_from_others(gateway, backend):
    running = gateway(limited(backend, connectionsPerAddress=3))
    standing = [running.send(request_bytes()) for _ in range(3)]
    assert [wire.read_response().status for wire in standing] == [200] * 3
    refused = running.send(request_bytes())
    response = refused.read_response()
    assert response.status == 503
    with running.connect(source="127.0.0.9") as other:
        assert other.send(request_bytes()).read_response().status == 200
    for wire in standing + [refused]:
        wire.close()
    running.gauges_at_zero()
    assert running.get("/").status == 200


def test_new_connections_of_one_address_are_limited_by_the_second(gateway, backend):
    running = gateway(limited(backend, newConnectionsPerAddressPerSecond=5))
    time.sleep(1.1)
    outcomes = []
    for _ in range(20):
        try:
            with running.send(request_bytes()) as wire:
                outcomes.append(wire.read_response().status)
        except OSError as error:
            outcomes.append(error)
    assert 3 <= outcomes.count(200) <= 12 and outcomes.count(503) == 20 - outcomes.count(200), outcomes
    with running.connect(source="127.0.0.9") as other:
        assert other.send(request_bytes()).read_response().status == 200
    time.sleep(1.2)
    assert running.get("/").status == 200


def test_at_the_ceiling_of_buffers_new_requests_are_503_with_retry_after(gateway, backend):
    """Slow readers fill the buffers; what comes then is shed, the worker lives, and afterwards all is well again."""
    def flood(wire, request):
        wire.send(response_bytes(headers={"Content-Length": str(64 << 20)}, length=False))
        for _ in range(1024):
            wire.send(b"x" * 65536)
    backend.on("/flood", flood)
    running = gateway(limited(backend, bufferBytesPerWorker=2 << 20))
    readers, shed = [], 0
    for _ in range(100):
        wire = running.connect(receive_buffer=4096)
        wire.send(request_bytes(target="/flood"))
        readers.append(wire)
    time.sleep(1)
    for _ in range(20):
        response = running.get("/")
        if response.status == 503:
            shed += 1
            assert int(response.headers["Retry-After"]) >= 1
        assert running.metric("sluice_buffer_bytes") <= 2 << 20
    for wire in readers:
        wire.reset()
    running.gauges_at_zero(timeout=10)
    assert running.get("/").status == 200
    assert shed or running.metric("sluice_buffer_bytes") <= 2 << 20


def read_large(wire, body):
    """200 with the whole body, or 503 that says when to come again."""
    wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    response = wire.read_response()
    if response.status == 503:
        assert int(response.headers["Retry-After"]) >= 1
    else:
        assert response.status == 200 and response.body == body
    return response.status


@pytest.mark.parametrize("framing", ["chunked", "length"])
def test_the_ceiling_of_buffers_holds_and_who_was_let_in_gets_through(gateway, backend, framing):
    """More slow readers than there is memory for: what was promised to those let in is enough for each of them to get
    to the end, the others are shed, and nobody ever sees the gauge above the ceiling."""
    ceiling = 4 << 20
    size = 1 << 20 if framing == "chunked" else 250_000  # a longer one would go through kernel pipes
    body = os.urandom(size)
    pieces = [body[at:at + 64000] for at in range(0, size, 64000)]
    whole = response_bytes(headers={"Transfer-Encoding": "chunked"}, length=False) + chunked(*pieces) if framing == "chunked" else response_bytes(body=body)
    backend.on("/large", send(whole))
    running = gateway(limited(backend, bufferBytesPerWorker=ceiling))
    with Peak(running, "sluice_buffer_bytes") as peak:
        readers = [running.connect(receive_buffer=2048) for _ in range(200)]
        for wire in readers:
            wire.send(request_bytes(target="/large"))
        time.sleep(1)
        others = [running.get("/") for _ in range(20)]
        statuses = [read_large(wire, body) for wire in readers]
    assert statuses.count(200) >= 20 and 503 in statuses
    assert all(response.status == 200 or int(response.headers["Retry-After"]) >= 1 for response in others)
    assert 0 < peak.value <= ceiling + running.resting.get("sluice_buffer_bytes")
    for wire in readers:
        wire.close()
    running.gauges_at_zero()
    assert running.get("/").status == 200


def test_slow_heads_hold_no_more_than_their_bytes(gateway, backend):
    running = gateway(limited(backend, headTimeoutMs=1000))
    wires = [running.send(b"GET / HTTP/1.1\r\nHost: a\r\nX: ") for _ in range(200)]
    time.sleep(0.2)
    assert running.metric("sluice_buffer_bytes") <= 200 * 32768
    assert running.get("/").status == 200
    for wire in wires:
        assert wire.read_response().status == 408
        wire.close()
    running.gauges_at_zero()


def test_the_upload_of_a_slow_backend_is_held_back_at_the_client(gateway, backend):
    """Credit the other way round: a client can't push a body into the gateway's memory."""
    release = threading.Event()
    backend.on("/up", before_body, lambda wire, request: release.wait(10), read_body(), answer(200))
    running = gateway(proxy(backend))
    body = os.urandom(64 << 20)
    sent = []
    with running.send(request_bytes("POST", "/up", {"Content-Length": str(len(body))})) as wire:
        def push():
            view = memoryview(body)
            for start in range(0, len(body), 65536):
                wire.socket.settimeout(30)
                wire.socket.sendall(view[start:start + 65536])
                sent.append(65536)
        pusher = threading.Thread(target=push, daemon=True)
        pusher.start()
        time.sleep(1)
        assert sum(sent) < len(body), "everything went into somebody's memory"
        assert running.metric("sluice_buffer_bytes") <= 2 << 20
        release.set()
        pusher.join(30)
        assert wire.read_response().status == 200
    assert backend.requests[0].body == body


def test_a_limit_is_not_fooled_by_a_pipeline(gateway, backend):
    """Hundreds of requests in one write wait in the kernel, not in the gateway."""
    backend.on("/hang", hang())
    running = gateway(proxy(backend))
    with running.connect() as wire:
        data = request_bytes(target="/hang") + request_bytes() * 20000

        def push():
            try:
                wire.send(data)
            except OSError:
                pass
        threading.Thread(target=push, daemon=True).start()
        time.sleep(0.7)
        assert running.metric("sluice_buffer_bytes") <= 1 << 20
        assert running.metric("sluice_exchanges_active") <= running.resting.get("sluice_exchanges_active") + 2
        wire.reset()
    running.gauges_at_zero()


def test_the_backends_head_limit_is_ours_too(gateway, backend):
    backend.on("/endless", send(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200_000))
    running = gateway(proxy(backend, route={"retryCount": 0}))
    assert running.get("/endless").status == 502
    running.gauges_at_zero()
