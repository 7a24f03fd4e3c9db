"""A real HTTP/1.1 server for the tests that misbehaves on order and remembers every byte it was sent.

    backend.on("/late", wait(2), answer(200, body=b"at last"))
    backend.on("/cut", send(response_bytes(length=False) + ...), reset())

A path's script is a list of steps, run in order for each request to that path. Before the first step the request's
body is read, unless the script begins with `before_body`. After the last step the connection stays open for the next
request, unless a step has closed it. A path without a script answers 200 with the instance's name.

Threads rather than a loop, so that a script reads as what happens on the wire; a test has a few dozen connections at
most. What arrives is read strictly (wire.py): a request from the gateway that two parsers could read differently ends
up in `backend.violations`, and the fixture fails the test for it.
"""
import contextlib
import itertools
import random
import socket
import threading
import time

from tls import accept_tls
from wire import Wire, WireClosed, WireError, response_bytes


class Finished(Exception):
    """A step has closed the connection."""


# Steps: functions of (wire, request)

def send(data):
    """Raw bytes, whatever they are."""
    return lambda wire, request: wire.send(data)


def answer(status=200, headers=(), body=b"", **more):
    """A well-formed answer with Content-Length."""
    def step(wire, request):
        whole = response_bytes(status, headers, body, **more)
        wire.send(whole[:len(whole) - len(body)] if request.method == "HEAD" and body else whole)
    return step


def echo():
    """200 with the request's body as the answer's body."""
    return lambda wire, request: wire.send(response_bytes(body=request.body))


def wait(seconds):
    return lambda wire, request: time.sleep(seconds)


def wait_for(event, timeout=10):
    """Goes on once the test says so."""
    return lambda wire, request: event.wait(timeout)


def drip(data, size=1, pause=0.01):
    return lambda wire, request: wire.drip(data, size, pause)


def read_body():
    """Reads the body now: only after `before_body`."""
    return lambda wire, request: wire.read_request_body(request)


def send_with_fin(data):
    """The data and the FIN in one segment."""
    def step(wire, request):
        wire.send_with_fin(data)
        wire.read_until_close(timeout=5)
        raise Finished
    return step


def close():
    """An orderly FIN. Unread bytes would turn it into a reset, so they are read first."""
    def step(wire, request):
        wire.half_close()
        try:
            wire.read_until_close(timeout=5)
        except TimeoutError:
            pass
        raise Finished
    return step


def reset():
    def step(wire, request):
        wire.reset()
        raise Finished
    return step


def hang(timeout=30):
    """Says nothing until the peer goes away, and records that it did."""
    def step(wire, request):
        wire.read_until_close(timeout)
        request.abandoned_at = time.monotonic()
        raise Finished
    return step


def before_body(wire, request):
    """First step of a script that wants to act before the request's body has come."""


class Backend:
    """One instance: a listening socket, a thread a connection, scripts by path, and what it received."""

    def __init__(self, name="one", host="127.0.0.1", port=0, tls=None):
        self.name = name
        self.tls = tls          # ssl.SSLContext; None: plain
        self.handshakes = []    # tls.Handshake
        self.handshake_errors = []
        self.requests = []      # wire.Request, in order of arrival, all connections
        self.violations = []    # what the gateway sent that is not strict HTTP/1.1
        self.scripts = {}
        self.default = None
        self.connections = 0    # accepted since the start
        self.close_idle_after = None  # seconds; then an idle connection is closed, as impatient servers do
        self.arrived = threading.Condition()
        self._wires = set()
        self._counter = itertools.count(1)
        self._stopping = False
        self._listener = None
        self.host = host
        self._listen(port)

    def _listen(self, port):
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        self._listener = socket.socket(family, socket.SOCK_STREAM)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind((self.host, port))
        self._listener.listen(512)
        self.port = self._listener.getsockname()[1]
        self._acceptor = threading.Thread(target=self._accept, args=(self._listener,), daemon=True)
        self._acceptor.start()

    @property
    def address(self):
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    # What tests say

    def on(self, path, *steps):
        """The script of a path (the target up to its query)."""
        self.scripts[path] = list(steps)
        return self

    def by_default(self, *steps):
        """The script of every path without one."""
        self.default = list(steps)
        return self

    def in_turn(self, path, *scripts):
        """A script for the first request of a path, one for the second and so on; the last one stays."""
        scripts = [list(script) for script in scripts]

        def next_script():
            return scripts.pop(0) if len(scripts) > 1 else scripts[0]
        self.scripts[path] = next_script
        return self

    def wait_for_requests(self, count, timeout=5):
        with self.arrived:
            if not self.arrived.wait_for(lambda: len(self.requests) >= count, timeout):
                raise TimeoutError(f"{len(self.requests)} of {count} requests reached backend {self.name}")
        return self.requests

    def targets(self):
        return [request.target for request in self.requests]

    def forget(self):
        with self.arrived:
            self.requests.clear()

    def stop_listening(self):
        """From now on connecting is refused; open connections go on."""
        listener, self._listener = self._listener, None
        if listener:
            # The thread that sits in accept() keeps the socket alive beyond close(): wake it first.
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
            self._acceptor.join(5)

    def listen_again(self):
        self._listen(self.port)

    def drop_connections(self):
        """Closes every open connection, as a server does that restarts."""
        for wire in list(self._wires):
            with contextlib.suppress(OSError):
                socket.socket.shutdown(wire.socket, socket.SHUT_WR)  # below TLS, whose own one would leave the thread with raw records

    def stop(self):
        self._stopping = True
        self.stop_listening()
        for wire in list(self._wires):
            try:
                wire.socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    # What happens on the wire

    def _accept(self, listener):
        while True:
            try:
                connected, _ = listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connected, next(self._counter)), daemon=True).start()

    def _serve(self, connected, number):
        if self.tls and not (connected := accept_tls(connected, self)):
            return
        wire = Wire(connected, timeout=60)
        self._wires.add(wire)
        try:
            while self._serve_request(wire, number):
                pass
        except (Finished, WireClosed, OSError):
            pass
        except WireError as error:
            self.violations.append(str(error))
        finally:
            self._wires.discard(wire)
            wire.close()

    def _serve_request(self, wire, number):
        wire.timeout = self.close_idle_after or 60
        request = wire.read_request_head()
        wire.timeout = 60
        if request is None:
            return False
        request.connection, request.instance = number, self.name
        script = self.scripts.get(request.target.split("?")[0], self.default)
        if callable(script):
            script = script()
        if script is None:
            script = [answer(200, {"X-Instance": self.name}, self.name.encode())]
        early = bool(script) and script[0] is before_body
        if not early:
            if "100-continue" in [value.lower() for value in request.headers.all("Expect")]:
                wire.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            try:
                wire.read_request_body(request)
            except WireClosed:
                self._record(request)
                raise
        self._record(request)
        for step in script:
            step(wire, request)
        if early and not request.complete:
            wire.read_request_body(request)
        options = request.headers.all("Connection")
        return not any("close" in value.lower() for value in options)

    def _record(self, request):
        with self.arrived:
            self.requests.append(request)
            self.arrived.notify_all()


@contextlib.contextmanager
def refusing_in_http_1():
    """The address of a server that answers whatever bytes come by 400 in HTTP/1.1, once a connection, as many do that expect it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        def serve():
            with contextlib.suppress(OSError):
                while True:
                    connected, _ = listener.accept()
                    with connected, contextlib.suppress(OSError):
                        connected.settimeout(5)
                        connected.recv(65536)
                        connected.sendall(response_bytes(400))
                        connected.recv(65536)
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield "%s:%d" % listener.getsockname()
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)


# Below what the kernel gives to connections (net.ipv4.ip_local_port_range), where another run's clients would take them.
PORTS = range(10000, 32000)
_ports = iter(())


def free_port(host="127.0.0.1"):
    """A port nobody listens on, and none given out before until all were. Runs beside each other begin at places of their own."""
    global _ports
    while True:
        port = next(_ports, None)
        if port is None:
            begin = random.randrange(len(PORTS))
            _ports = iter([*PORTS[begin:], *PORTS[:begin]])
            continue
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            try:
                probe.bind((host, port))
                return port
            except OSError:
                continue
