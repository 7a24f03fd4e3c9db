"""Steady traffic beside a test's own doings: every answer is checked, and what went wrong is kept."""
import socket
import threading
import time

from wire import WireClosed, connect, request_bytes, response_bytes


class Load:
    """`with Load(gateway) as load:` some clients send one request after another until the block ends.

    A connection that the gateway closes between two answers is opened again and counted in `reconnects`; anything else
    that isn't a 200 is in `failures`, as (seconds since the start, what happened). `broken` are moments at which a
    connection broke with a request under way: only a crash may do that.
    """

    def __init__(self, gateway, clients=4, target="/", new_connections=False, think=0.0, expect=200, connecting=None):
        """`connecting` opens a connection to an address; plain ones are opened by default."""
        self.connecting = connecting or connect
        self.address, self.target, self.think, self.expect = gateway.address, target, think, expect
        self.new_connections = new_connections
        self.answers, self.reconnects, self.failures, self.broken = 0, 0, [], []
        self.bodies = set()
        self.slowest = 0.0
        self.longest_gap = 0.0
        self._last = time.monotonic()
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._client, daemon=True) for _ in range(clients)]

    def __enter__(self):
        self.began = self._last = time.monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.end()

    def end(self):
        self._ended.set()
        for thread in self._threads:
            thread.join(30)

    def wait_for(self, answers, timeout=20):
        """Until so many more have been answered."""
        wanted, deadline = self.answers + answers, time.monotonic() + timeout
        while self.answers < wanted:
            assert time.monotonic() < deadline, f"traffic stands still: {self.failures[-3:]} {self.broken[-3:]}"
            time.sleep(0.005)

    def _client(self):
        wire = None
        while not self._ended.is_set():
            try:
                if wire is None:
                    wire = self.connecting(self.address)
                wire = self._one(wire)
            except (OSError, WireClosed) as error:
                with self._lock:
                    self.broken.append((time.monotonic() - self.began, repr(error)))
                wire = None
                time.sleep(0.002)
            except Exception as error:
                with self._lock:
                    self.failures.append((time.monotonic() - self.began, repr(error)))
                wire = None
            if self.think:
                time.sleep(self.think)
        if wire:
            wire.close()

    def _one(self, wire):
        began = time.monotonic()
        fields = {"Connection": "close"} if self.new_connections else {}
        wire.received.clear()
        wire.send(request_bytes(target=self.target, headers=fields))
        response = wire.read_response()
        with self._lock:
            now = time.monotonic()
            self.answers += 1
            self.slowest = max(self.slowest, now - began)
            self.longest_gap = max(self.longest_gap, now - self._last)
            self._last = now
            self.bodies.add(response.body)
            if response.status != self.expect:
                self.failures.append((now - self.began, response))
        if response.keeps_alive:
            return wire
        self.reconnects += not self.new_connections
        wire.close()
        return None


class NewConnections:
    """`with NewConnections(gateway.address, per_second=1000) as fresh:` so many connections a second, each with one request, until the
    block ends. `failures` holds whatever wasn't a whole 200; a connection that was reset, refused or closed is one."""

    BURSTS_A_SECOND = 100  # a sleep for each connection would take longer than the connection

    def __init__(self, address, per_second=1000, target="/", threads=2):
        self.address, self.target = address, target
        self.answers, self.failures = 0, []
        self._each = per_second / self.BURSTS_A_SECOND / threads
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._client, daemon=True) for _ in range(threads)]

    def __enter__(self):
        self.began = time.monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        for thread in self._threads:
            thread.join(30)

    def wait_for(self, answers, timeout=30):
        """Until so many more have been answered."""
        wanted, deadline = self.answers + answers, time.monotonic() + timeout
        while self.answers < wanted:
            assert time.monotonic() < deadline, f"traffic stands still: {self.failures[-3:]}"
            time.sleep(0.005)

    def _client(self):
        request = request_bytes(target=self.target, headers={"Connection": "close"})
        owed, began = 0.0, time.monotonic()
        while not self._ended.is_set():
            owed += self._each
            while owed >= 1:
                owed -= 1
                self._one(request)
            began += 1 / self.BURSTS_A_SECOND
            time.sleep(max(0.0, began - time.monotonic()))
            began = max(began, time.monotonic() - 0.1)  # a busy machine: what was missed is not made up for

    def _one(self, request):
        try:
            with socket.create_connection(self.address, timeout=20) as connected:
                connected.sendall(request)
                answer = b""
                while piece := connected.recv(65536):
                    answer += piece
            fault = None if answer.startswith(b"HTTP/1.1 200 ") and b"\r\n\r\n" in answer else answer[:200]
        except OSError as error:
            fault = error
        with self._lock:
            self.answers += fault is None
            if fault is not None:
                self.failures.append((time.monotonic() - self.began, repr(fault)))


def numbered_events(ended, pause=0.005):
    """A backend's step: an event stream that counts, until it is told to end."""
    def step(wire, request):
        wire.send(response_bytes(headers={"Content-Type": "text/event-stream", "Transfer-Encoding": "chunked"}, length=False))
        number = 0
        while not ended.is_set():
            event = b"data: %d\n\n" % number
            wire.send(b"%x\r\n%s\r\n" % (len(event), event))
            number += 1
            time.sleep(pause)
        wire.send(b"0\r\n\r\n")
    return step


class EventStream:
    """A client of numbered_events: it reads until the stream's end. `failure` is None where each number came, in order, and the end was
    an orderly one."""

    def __init__(self, address, target):
        self.address, self.target = address, target
        self.events, self.failure = 0, "it has not ended"
        self._thread = threading.Thread(target=self._client, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._thread.join(30)

    def wait_for(self, events, timeout=20):
        """Until so many more have come."""
        wanted, deadline = self.events + events, time.monotonic() + timeout
        while self.events < wanted:
            assert time.monotonic() < deadline and self._thread.is_alive(), f"the stream stands still: {self.failure}"
            time.sleep(0.005)

    def _client(self):
        try:
            with connect(self.address, timeout=20) as wire:
                wire.send(request_bytes(target=self.target))
                head = wire.read_response_head()
                assert head.status == 200, head
                self._read(wire)
            self.failure = None
        except Exception as error:
            self.failure = repr(error)

    def _read(self, wire):
        """A chunk may hold several events, and an event may stand in two: what counts is the bytes."""
        text = b""
        while (size := int(wire.read_line(), 16)) > 0:
            text += wire.read_exactly(size)
            wire.read_exactly(2)
            *whole, text = text.split(b"\n\n")
            for event in whole:
                assert event == b"data: %d" % self.events, (event, self.events)
                self.events += 1
        assert wire.read_line() == b"" and text == b"", text
