"""Steady traffic beside a test's own doings: every answer is checked, and what went wrong is kept.

    with NewConnections(running.address, per_second=1000) as fresh:
        ...
        fresh.wait_for(300)
    assert fresh.faults() == []
"""
import json
import socket
import subprocess
import sys
import threading
import time

from tls import client_context
from websocket import CLOSE, TEXT
from wire import WireClosed, connect, request_bytes, response_bytes


class Traffic:
    """Clients in threads of their own, until the block ends. `answers` counts what came back as it should. `broken` are connections that
    broke with something under way, which only a crash may do; `failures` is all else that should not be. Both are lists of (seconds since
    the start, what happened)."""

    def __init__(self, clients=1):
        self.clients, self.answers, self.failures, self.broken = clients, 0, [], []
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._client, daemon=True) for _ in range(clients)]

    def __enter__(self):
        self.began = time.monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.end()

    def end(self):
        self._ended.set()
        for thread in self._threads:
            thread.join(30)
            if thread.is_alive():
                self._failed("a client does not come to its end")

    def wait_for(self, answers, timeout=30):
        """Until so many more have been answered."""
        wanted, deadline = self.answers + answers, time.monotonic() + timeout
        while self.answers < wanted:
            assert time.monotonic() < deadline, f"{type(self).__name__} stands still: {self.faults()[-3:]}"
            time.sleep(0.005)

    def goes_on(self):
        return any(thread.is_alive() for thread in self._threads)

    def faults(self):
        return self.failures + self.broken

    def _client(self):
        raise NotImplementedError

    def _answered(self):
        with self._lock:
            self.answers += 1

    def _failed(self, what):
        self._note(self.failures, what)

    def _broke(self, what):
        self._note(self.broken, what)

    def _note(self, where, what):
        with self._lock:
            where.append((time.monotonic() - self.began, what if isinstance(what, str) else repr(what)))


class Load(Traffic):
    """`with Load(gateway) as load:` some clients send one request after another until the block ends. A connection that the gateway closes
    between two answers is opened again and counted in `reconnects`."""

    def __init__(self, gateway, clients=4, target="/", new_connections=False, think=0.0, expect=200, connecting=None):
        """`connecting` opens a connection to an address; plain ones are opened by default."""
        super().__init__(clients)
        self.connecting = connecting or connect
        self.address, self.target, self.think, self.expect = gateway.address, target, think, expect
        self.new_connections = new_connections
        self.reconnects = 0
        self.bodies = set()
        self.slowest = 0.0
        self.longest_gap = 0.0

    def __enter__(self):
        self._last = time.monotonic()
        return super().__enter__()

    def _client(self):
        wire = None
        while not self._ended.is_set():
            try:
                if wire is None:
                    wire = self.connecting(self.address)
                wire = self._one(wire)
            except (OSError, WireClosed) as error:
                self._broke(error)
                wire = None
                time.sleep(0.002)
            except Exception as error:
                self._failed(error)
                wire = None
            if self.think:
                time.sleep(self.think)
        if wire:
            wire.close()

    def _one(self, wire):
        began = time.monotonic()
        fields = {"Connection": "close"} if self.new_connections else {}
        wire.received.clear()
        response = self._ask(wire, fields)
        with self._lock:
            now = time.monotonic()
            self.answers += 1
            self.slowest = max(self.slowest, now - began)
            self.longest_gap = max(self.longest_gap, now - self._last)
            self._last = now
            self.bodies.add(response.body)
        if response.status != self.expect:
            self._failed(response)
        if response.keeps_alive:
            return wire
        self.reconnects += not self.new_connections
        wire.close()
        return None

    def _ask(self, wire, fields):
        return wire.send(request_bytes(target=self.target, headers=fields)).read_response()


class Uploads(Load):
    """Bodies that take their time, and come back as they are."""

    def _ask(self, wire, fields):
        body = b"%08d" % self.answers * 4096
        wire.send(request_bytes("POST", self.target, {**fields, "Content-Length": len(body)}))
        wire.drip(body, len(body) // 4, pause=0.02)
        response = wire.read_response("POST")
        assert response.body == body, (response, len(response.body))
        return response


class NewConnections(Traffic):
    """`with NewConnections(gateway.address, per_second=1000) as fresh:` so many connections a second, each with one request, until the
    block ends. One that was closed without a whole answer, or reset, is `broken`."""

    BURSTS_A_SECOND = 100  # a sleep for each connection would take longer than the connection

    def __init__(self, address, per_second=1000, target="/", clients=2):
        super().__init__(clients)
        self.address = address
        self._request = request_bytes(target=target, headers={"Connection": "close"})
        self._each = per_second / self.BURSTS_A_SECOND / clients

    def _client(self):
        owed, began = 0.0, time.monotonic()
        while not self._ended.is_set():
            owed += self._each
            while owed >= 1:
                owed -= 1
                self._one()
            began += 1 / self.BURSTS_A_SECOND
            time.sleep(max(0.0, began - time.monotonic()))
            began = max(began, time.monotonic() - 0.1)  # a busy machine: what was missed is not made up for

    def _one(self):
        try:
            connected = socket.create_connection(self.address, timeout=20)
        except OSError as error:
            self._failed(error)
            return
        answer = b""
        try:
            with connected:
                answer = self._ask(connected)
        except OSError as error:
            self._broke(error)
            return
        if not answer:
            self._broke("closed without an answer")
        elif not answer.startswith(b"HTTP/1.1 200 ") or b"\r\n\r\n" not in answer:
            self._failed(repr(answer[:200]))
        else:
            self._answered()

    def _ask(self, connected):
        connected.sendall(self._request)
        answer = b""
        while piece := connected.recv(65536):
            answer += piece
        return answer


class NewTlsConnections(NewConnections):
    """The same over TLS. Each asks to go on with the newest session: `resumed` and `full` count the handshakes by what came of it."""

    def __init__(self, address, per_second=50, target="/", clients=2):
        super().__init__(address, per_second, target, clients)
        self._context, self._session = client_context(), None
        self.resumed, self.full = 0, 0

    def _ask(self, connected):
        """An end without close_notify raises."""
        with self._context.wrap_socket(connected, session=self._session, suppress_ragged_eofs=False) as secured:
            answer = super()._ask(secured)
            with self._lock:
                self.resumed += secured.session_reused
                self.full += not secured.session_reused
                self._session = secured.session
            return answer


class NewConnectionsApart(Traffic):
    """NewConnections in a process of its own, so that whatever else a test's threads do takes nothing from its pace."""

    def __init__(self, address, per_second=1000, target="/"):
        super().__init__()
        self.clients = 2
        self._command = [sys.executable, __file__, address[0], str(address[1]), str(per_second), target]

    def __enter__(self):
        self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return super().__enter__()

    def end(self):
        self._process.stdin.close()
        super().end()
        self._process.wait(10)

    def _client(self):
        line = "{}"
        for line in self._process.stdout:
            self.answers = json.loads(line)["answers"]
        last = json.loads(line)
        if "failures" not in last:
            self._failed("its process has ended")
        with self._lock:
            self.failures += last.get("failures", [])
            self.broken += last.get("broken", [])


def tell_of_new_connections(host, port, per_second, target):
    """What that process does: NewConnections until standard input ends, and what has come of it on standard output."""
    ended = threading.Thread(target=sys.stdin.read, daemon=True)
    with NewConnections((host, int(port)), float(per_second), target) as fresh:
        ended.start()
        while ended.is_alive():
            ended.join(0.02)
            print(json.dumps({"answers": fresh.answers}), flush=True)
    print(json.dumps({"answers": fresh.answers, "failures": fresh.failures, "broken": fresh.broken}), flush=True)


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


class NumberedEvents:
    """Reads what numbered_events() sends, cut anywhere, and sees that each number comes, in order."""

    def __init__(self):
        self.count, self.rest = 0, b""

    def take(self, piece):
        *whole, self.rest = (self.rest + piece).split(b"\n\n")
        for event in whole:
            assert event == b"data: %d" % self.count, (event, self.count)
            self.count += 1
        return len(whole)


class EventStream(Traffic):
    """A client of numbered_events: it reads until the stream's end, so that is to be told first. Each answer is an event."""

    def __init__(self, address, target, connecting=connect):
        super().__init__()
        self.address, self.target, self.connecting = address, target, connecting

    def _client(self):
        try:
            with self.connecting(self.address) as wire:
                wire.timeout = 20
                wire.send(request_bytes(target=self.target))
                head = wire.read_response_head()
                assert head.status == 200, head
                self._read(wire)
        except (OSError, WireClosed) as error:
            self._broke(error)
        except Exception as error:
            self._failed(error)

    def _read(self, wire):
        events = NumberedEvents()
        while (size := int(wire.read_line(), 16)) > 0:
            self.answers += events.take(wire.read_exactly(size))
            assert wire.read_exactly(2) == b"\r\n"
        assert wire.read_line() == b"" and events.rest == b"", events.rest


class Echoes(Traffic):
    """A WebSocket that sends a number and waits for its echo, one after another. `opening` opens it. When the gateway says goodbye (1001)
    that is noted in `goodbye`, as seconds since the start, and no fault."""

    def __init__(self, opening, pause=0.01):
        super().__init__()
        self.opening, self.pause, self.goodbye = opening, pause, None

    def _client(self):
        try:
            ws = self.opening()
            ws.wire.timeout = 20
            while not self._ended.is_set() and self._one(ws):
                self._ended.wait(self.pause)
            if self.goodbye is None:
                ws.close(1000).expect_close(1000)
            assert ws.sees_end(), "it stays open after both have said goodbye"
            ws.wire.close()
        except (OSError, WireClosed) as error:
            self._broke(error)
        except Exception as error:
            self._failed(error)

    def _one(self, ws):
        message = b"%d" % self.answers
        ws.send(message, TEXT)
        frame = ws.read()
        if frame.opcode == CLOSE:
            self.goodbye = time.monotonic() - self.began
            assert frame.payload[:2] == (1001).to_bytes(2, "big"), frame
            ws.send(frame.payload, CLOSE)
            return False
        assert (frame.opcode, frame.payload) == (TEXT, message), (frame, message)
        self._answered()
        return True


if __name__ == "__main__":
    tell_of_new_connections(*sys.argv[1:])
