"""Streams: each piece passes on at once, bodies of any length take the same memory, and slow readers a bounded one."""
import concurrent.futures
import hashlib
import os
import socket
import threading
import time

import pytest

from backend import before_body, send, wait_for
from gateway import TEST_BINARY, proxy
from measuring import Peak, resident_bytes
from wire import WireClosed, length_of, request_bytes, response_bytes

KIB, MIB = 1 << 10, 1 << 20

# Pieces, each awaited at the other end before the next is sent: what is held back, however short, never arrives.

EVENTS = [b": hello\n\n", b"id: 1\nevent: tick\ndata: one\n\n", b"data: " + b"x" * 20000 + b"\n\n", b"\n", b"data: last\n\n"]
SSE = {"Content-Type": "text/event-stream", "Cache-Control": "no-store"}
FRAMINGS = {
    "chunked": {"Transfer-Encoding": "chunked"},
    "length": {"Content-Length": str(sum(map(len, EVENTS)))},
    "until the end": {},
}
STAGES = {
    "no stage": [],
    "a stage": [{"type": "test-grow", "on": "response"}],
    "two stages": [{"type": "test-shrink", "on": "response"}, {"type": "test-grow", "on": "response"}],
}


def framed(piece, headers):
    return b"%x\r\n%s\r\n" % (len(piece), piece) if "Transfer-Encoding" in headers else piece


class Pieces:
    """The content of a body as it comes, whatever its framing; nothing is kept of it."""

    def __init__(self, wire, headers):
        self.wire, self.length = wire, length_of(headers)
        self.left, self.in_chunk, self.ended = self.length, 0, False

    def read_some(self, most=256 * KIB):
        """What is there, once there is something; b"" at the end."""
        if self.ended:
            return b""
        if self.length == "chunked":
            return self._read_of_chunk(most)
        if not self.wire.buffer and self.left != 0 and not self.wire._fill(self.wire._deadline()):
            assert self.length is None, f"closed {self.left} bytes early"
        piece = self.wire._take(most if self.left is None else min(most, self.left))
        if self.left is not None:
            self.left -= len(piece)
        return self._passed(piece)

    def read(self, count):
        """Exactly so many bytes."""
        found = b""
        while len(found) < count:
            found += self.read_some(count - len(found))
            assert not self.ended, f"the body ended after {found!r}"
        return found

    def _read_of_chunk(self, most):
        if self.in_chunk == 0:
            self.in_chunk = int(self.wire.read_line(), 16)
            if self.in_chunk == 0:
                self.wire.read_fields()
                return self._passed(b"")
        piece = self.wire.read_exactly(min(most, self.in_chunk))
        self.in_chunk -= len(piece)
        if self.in_chunk == 0:
            assert self.wire.read_exactly(2) == b"\r\n"
        return self._passed(piece)

    def _passed(self, piece):
        self.wire.received.clear()
        self.ended = not piece
        return piece


@pytest.fixture
def streaming(gateway, backend):
    def start(*filters, service_fields=None, limits=None, **route):
        config = proxy(backend, route={"filters": list(filters), "retryCount": 0, **route}, service_fields=service_fields)
        return gateway({**config, "limits": limits} if limits else config, binary=TEST_BINARY)
    return start


def events_by_word(headers, events):
    """A script that sends an event, then waits for its word; and the words."""
    words, steps = [threading.Event() for _ in events], [send(response_bytes(headers={**SSE, **headers}, length=False))]
    for event, word in zip(events, words):
        steps += [send(framed(event, headers)), wait_for(word)]
    if "Transfer-Encoding" in headers:
        steps.append(send(b"0\r\n\r\n"))
    if not headers:
        steps.append(lambda wire, request: wire.half_close())
    return steps, words


@pytest.mark.parametrize("stages", STAGES)
@pytest.mark.parametrize("framing", FRAMINGS)
def test_each_event_of_a_stream_arrives_before_the_next_is_sent(streaming, backend, framing, stages):
    running = streaming(*STAGES[stages])
    steps, words = events_by_word(FRAMINGS[framing], EVENTS)
    backend.by_default(*steps)
    with running.send(request_bytes(headers={"Accept": "text/event-stream"})) as wire:
        head = wire.read_response_head()
        assert head.status == 200 and head.headers["Content-Type"] == "text/event-stream"
        pieces = Pieces(wire, head.headers)
        for event, word in zip(EVENTS, words):
            expected = bytes(byte for byte in event for _ in range(2)) if stages == "a stage" else event
            assert pieces.read(len(expected)) == expected
            word.set()
        assert pieces.read_some() == b""
    running.gauges_at_zero()


def test_a_stream_has_no_total_limit_of_time(streaming, backend):
    """timeoutMs is for the head, idleTimeoutMs between pieces; four of these are longer than the one, none than the other."""
    backend.by_default(send(response_bytes(headers={**SSE, "Transfer-Encoding": "chunked"}, length=False)),
                       lambda wire, request: wire.drip(framed(b"tick", {"Transfer-Encoding": "chunked"}) * 4, 9, 0.2), send(b"0\r\n\r\n"))
    running = streaming(timeoutMs=300, idleTimeoutMs=5000)
    assert running.get("/").body == b"tick" * 4


def test_a_stream_that_stands_still_too_long_is_cut(streaming, backend):
    never = threading.Event()
    backend.by_default(send(response_bytes(headers={**SSE, "Transfer-Encoding": "chunked"}, length=False) + b"1\r\nx\r\n"), wait_for(never))
    running = streaming(idleTimeoutMs=200)
    with running.send(request_bytes()) as wire:
        pieces = Pieces(wire, wire.read_response_head().headers)
        assert pieces.read(1) == b"x"
        with pytest.raises(WireClosed):
            pieces.read_some()
    never.set()
    running.gauges_at_zero()


@pytest.mark.parametrize("stages", [[], [{"type": "test-grow"}, {"type": "test-shrink"}]], ids=["no stage", "two stages"])
@pytest.mark.parametrize("framing", ["chunked", "length"])
def test_a_conversation_passes_piece_by_piece(streaming, backend, framing, stages):
    """The client sends the next piece once the service's answer to the last one has come back."""
    said = [b"a", b"bcd", b"e" * 30000, b"f"]
    headers = FRAMINGS["chunked"] if framing == "chunked" else {"Content-Length": str(sum(map(len, said)))}

    def reply(wire, request):
        wire.send(response_bytes(headers=FRAMINGS["chunked"], length=False))
        pieces = Pieces(wire, request.headers)
        while piece := pieces.read_some():
            wire.send(framed(piece, FRAMINGS["chunked"]))
        request.complete = True
        wire.send(b"0\r\n\r\n")
    backend.by_default(before_body, reply)
    running = streaming(*stages)
    with running.send(request_bytes("POST", "/", headers)) as wire:
        pieces = None
        for piece in said:
            wire.send(framed(piece, headers))
            pieces = pieces or Pieces(wire, wire.read_response_head().headers)
            assert pieces.read(len(piece)) == piece
        if framing == "chunked":
            wire.send(b"0\r\n\r\n")
        assert pieces.read_some() == b""
    running.gauges_at_zero()


class Pusher:
    """Sends a long body in a thread, as fast as it is taken, and counts."""

    def __init__(self, wire, size):
        self.wire, self.size, self.sent = wire, size, 0
        self.thread = threading.Thread(target=self.push, daemon=True)
        self.thread.start()

    def push(self):
        while self.sent < self.size:
            self.sent += self.wire.socket.send(BLOCK[:min(MIB, self.size - self.sent)])


def wait_until_still(look, timeout=20):
    """What is seen doesn't change any more."""
    seen, still, deadline = None, 0, time.monotonic() + timeout
    while still < 8:
        assert time.monotonic() < deadline, "it still moves"
        time.sleep(0.05)
        now = look()
        still = still + 1 if now == seen else 0
        seen = now


@pytest.mark.parametrize("framing", ["length", "until the end"])
def test_two_bodies_that_cross_and_stand_still_hold_up_nobody_else(streaming, backend, framing):
    """Client and service send and read nothing: each has bytes to come and no room to go. The worker has to wait, not to
    run in circles."""
    size, go_on, pushers = 64 * MIB, threading.Event(), []
    headers = {"Content-Length": str(size)}

    def cross(wire, request):
        wire.timeout = 60
        wire.send(response_bytes(headers=headers if framing == "length" else {}, length=False))
        own = Pusher(wire, size - 1)  # a whole answer would end the exchange
        pushers.append(own)
        go_on.wait(30)
        pieces = Pieces(wire, request.headers)
        while pieces.read_some():
            pass
        own.thread.join(30)
        wire.send(b"!")
        wire.half_close()
    backend.on("/cross", before_body, cross)
    running = streaming()
    with running.send(request_bytes("POST", "/cross", headers)) as wire:
        wire.timeout = 60
        own = Pusher(wire, size)
        pushers.append(own)
        head = wire.read_response_head()
        wait_until_still(lambda: [pusher.sent for pusher in pushers])
        assert all(pusher.sent < size - 1 for pusher in pushers), "somebody took it all"
        assert [running.get("/").status for _ in range(5)] == [200] * 5
        go_on.set()
        pieces, came = Pieces(wire, head.headers), 0
        while piece := pieces.read_some():
            came += len(piece)
        own.thread.join(30)
        assert came == size and own.sent == size
    running.gauges_at_zero()


# Bodies of any length

BLOCK = os.urandom(MIB)


def send_body(wire, size, headers):
    """A body of that size, made of one block turned by its number; what it was."""
    digest = hashlib.blake2b()
    for number in range(size // MIB):
        block = BLOCK[number % 1000:] + BLOCK[:number % 1000]
        digest.update(block)
        wire.send(framed(block, headers))
    if "Transfer-Encoding" in headers:
        wire.send(b"0\r\n\r\n")
    return digest.hexdigest()


def digest_of(wire, headers):
    digest, pieces = hashlib.blake2b(), Pieces(wire, headers)
    while piece := pieces.read_some():
        digest.update(piece)
    return digest.hexdigest()


def framing_headers(framing, size):
    return FRAMINGS["chunked"] if framing == "chunked" else {"Content-Length": str(size)}


class Transfer:
    """A service that takes a long body, gives one, or sends back what it gets while it comes."""

    def __init__(self, backend, framing, size):
        self.headers, self.size, self.digests = framing_headers(framing, size), size, {}
        backend.on("/download", self.give)
        backend.on("/upload", before_body, self.take)
        backend.on("/echo", before_body, self.echo)

    def give(self, wire, request):
        wire.timeout = 120
        wire.send(response_bytes(headers=self.headers, length=False))
        self.digests["service"] = send_body(wire, self.size, self.headers)

    def take(self, wire, request):
        self.digests["service"] = digest_of(wire, request.headers)
        request.complete = True
        wire.send(response_bytes())

    def echo(self, wire, request):
        wire.timeout = 120
        wire.send(response_bytes(headers=self.headers, length=False))
        pieces = Pieces(wire, request.headers)
        while piece := pieces.read_some():
            wire.send(framed(piece, self.headers))
        request.complete = True
        if "Transfer-Encoding" in self.headers:
            wire.send(b"0\r\n\r\n")

    def run(self, running, way):
        """Whether what came is what was sent, all of it, at either end."""
        with running.connect(timeout=120) as wire:
            if way == "download":
                wire.send(request_bytes(target="/download"))
                self.digests["client"] = digest_of(wire, wire.read_response_head().headers)
                return self.digests["client"] == self.digests["service"]
            wire.send(request_bytes("POST", f"/{way}", self.headers))
            if way == "upload":
                self.digests["client"] = send_body(wire, self.size, self.headers)
                assert wire.read_response("POST").status == 200
                return self.digests["client"] == self.digests["service"]
            sender = threading.Thread(target=lambda: self.digests.update(client=send_body(wire, self.size, self.headers)))
            sender.start()
            came_back = digest_of(wire, wire.read_response_head().headers)
            sender.join()
            return came_back == self.digests["client"]


SIZES = pytest.mark.parametrize("size", [pytest.param(64 * MIB, id="64 MiB"), pytest.param(1 << 30, id="1 GiB", marks=pytest.mark.slow)])
EXCHANGE_BYTES = 48 * KIB  # of an exchange and its two connections: heads, arena, what was read along
# A stage holds what its own pipe has room for.
WAYS = {
    "download": ([], 1), "upload": ([], 1), "echo": ([], 2),
    "download by a stage": ([{"type": "test-grow", "factor": 1, "on": "response"}], 2),
    "upload by a stage": ([{"type": "test-refuse", "bytes": "2GiB"}], 2),
}


@pytest.mark.plain_build
@SIZES
@pytest.mark.parametrize("framing", ["chunked", "length"])
@pytest.mark.parametrize("way", WAYS)
def test_a_long_body_takes_no_more_memory_than_a_short_one(streaming, backend, way, framing, size):
    filters, directions = WAYS[way]
    running = streaming(*filters, timeoutMs=120000)  # it runs while the request is sent, and a busy machine takes its time
    transfer = Transfer(backend, framing, size)
    [pid] = running.gateway_processes()
    before = resident_bytes(pid)
    with Peak(running, "sluice_buffer_bytes") as peak:
        assert transfer.run(running, way.split()[0])
    held = peak.value - running.resting.get("sluice_buffer_bytes")
    grown = resident_bytes(pid) - before
    print(f"{way}, {framing}: {held / KIB:.0f} KiB of buffers, {grown / KIB:.0f} KiB resident")
    assert held <= directions * 128 * KIB + EXCHANGE_BYTES, f"{held} bytes in buffers"
    assert grown <= 4 * MIB, f"{grown} bytes more resident"
    running.gauges_at_zero()


# Slow readers

def read_all(wire):
    wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, MIB)
    pieces, came = Pieces(wire, wire.read_response_head().headers), 0
    while piece := pieces.read_some():
        came += len(piece)
    wire.close()
    return came


@pytest.mark.plain_build
@pytest.mark.parametrize("filters", [[], [{"type": "test-grow", "factor": 1, "on": "response"}]], ids=["no stage", "a stage"])
@pytest.mark.parametrize("count", [100, pytest.param(1000, marks=pytest.mark.slow)])
def test_slow_readers_hold_a_window_each_and_get_all_in_the_end(streaming, backend, count, filters):
    """They read nothing until nobody gets on any more. What the kernel's buffers on either side don't take, the gateway
    holds, and no more than a window of it."""
    size, pushers = MIB, []

    def give(wire, request):
        wire.timeout = 120
        wire.send(response_bytes(length=False))
        pushers.append(Pusher(wire, size))
        pushers[-1].thread.join(120)
        wire.half_close()
    backend.on("/large", give)
    # Each may hold its windows: what is looked at here is how much that is, not what is refused at the ceiling.
    running = streaming(*filters, limits={"bufferBytesPerWorker": "1GiB"}, service_fields={"connectTimeoutMs": 60000}, timeoutMs=300000, idleTimeoutMs=300000)
    [pid] = running.gateway_processes()
    before = resident_bytes(pid)
    readers = [running.connect(receive_buffer=4096, segment=536, timeout=120) for _ in range(count)]
    for wire in readers:
        wire.send(request_bytes(target="/large"))
    backend.wait_for_requests(count, timeout=60)
    buffers = "sluice_buffer_bytes"
    wait_until_still(lambda: [running.metric(buffers), *(pusher.sent for pusher in pushers)], timeout=60)
    held = running.metric(buffers) - running.resting.get(buffers)
    grown = resident_bytes(pid) - before
    print(f"{count} readers: {held / count / KIB:.0f} KiB of buffers, {grown / count / KIB:.0f} KiB resident each")
    assert count * 32 * KIB <= held <= count * ((1 + len(filters)) * 128 * KIB + EXCHANGE_BYTES)
    assert grown <= count * ((1 + len(filters)) * 144 * KIB + EXCHANGE_BYTES) + 4 * MIB
    assert running.get("/").status == 200, "the others are served meanwhile"
    with concurrent.futures.ThreadPoolExecutor(50) as pool:
        assert set(pool.map(read_all, readers)) == {size}
    running.gauges_at_zero()
