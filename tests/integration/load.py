"""Steady traffic beside a test's own doings: every answer is checked, and what went wrong is kept."""
import threading
import time

from wire import WireClosed, connect, request_bytes


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
