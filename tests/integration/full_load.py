"""Every kind of traffic that Sluice carries, at once, on a gateway of its own kind:

    with FullLoad(starter, Backends(backend, h2_backend, grpc_service), certificate) as load:
        load.wait_for_each()
        ...                         whatever may not disturb anybody
        load.wait_for_each()
    assert load.faults() == {}

`load.parts` has them by name, so that a test can look at one.
"""
import collections
import contextlib
import threading
import time
import types

from backend import answer, echo, free_port
from grpc_load import GrpcCalls, GrpcTalk
from h2_backend import answer as h2_answer, before_body
from h2_load import H2EventStream, H2Load, h2_over_tls, open_websocket_alone
from load import Echoes, EventStream, Load, NewConnectionsApart, NewTlsConnections, Uploads, numbered_events
from tls import client_context, tls_connect
from websocket import echo_frames, finish_opening, handshake, switch, switch_h2


Backends = collections.namedtuple("Backends", "h1 h2 grpc")


def whole_config(backends):
    """Answers of the gateway itself and of each kind of backend; streams and WebSockets."""
    def proxied(path, to="one", **fields):
        return {"name": path[1:], "path": path, "serviceId": to, **fields}
    return {
        "services": [{"name": "one", "instances": [backends.h1.address]}, {"name": "two", "instances": [backends.h2.address], "httpVersion": 2},
                     {"name": "grpc", "instances": [backends.grpc.address], "protocol": "grpc"}],
        "routes": [proxied("/events", idleTimeoutMs=20000), proxied("/echo"), proxied("/h1"), proxied("/upload"), proxied("/h2", to="two"), proxied("/echo2", to="two"),
                  
                   proxied("/test.Echo/*", to="grpc", name="grpc", stripPrefix=False, idleTimeoutMs=20000),
                   {"name": "said", "path": "/*", "respond": {"status": 200, "body": "x"}}],
    }


class FullLoad:
    STREAMS = {"events", "events over TLS", "events on h2 over TLS", "gRPC talk"}  # that go on until all ends

    def __init__(self, starter, backends, certificate, per_second=1000, **more):
        """`starter` starts the gateway, as the fixtures do; `more` stands in its configuration."""
        self.backends, self.more = backends, more
        self.tls_address = ("127.0.0.1", free_port())
        tls_listener = {"address": f"127.0.0.1:{self.tls_address[1]}", "tls": {"certificates": [certificate.config]}}
        self._streams_end = threading.Event()
        backends.h1.on("/events", numbered_events(self._streams_end)).on("/h1", answer(body=b"1")).on("/echo", switch(echo_frames))
        backends.h1.on("/upload", echo())
        backends.h2.on("/h2", h2_answer(body=b"2")).on("/echo2", before_body, switch_h2(echo_frames))
        self.running = starter(self.config(), more_listeners=[tls_listener])
        self.parts = self._make_parts(per_second)
        self._stack = contextlib.ExitStack()

    def config(self):
        return {**whole_config(self.backends), **self.more}

    def _make_parts(self, per_second):
        plain, secured = self.running.address, self.tls_address
        context, secured_listener = client_context(), types.SimpleNamespace(address=secured)

        def over_tls(address):
            return tls_connect(address, context)
        return {
            "new connections": NewConnectionsApart(plain, per_second),
            "new TLS connections": NewTlsConnections(secured),
            "new h2 connections": H2Load(plain, streams=2, requests_each=2, think=0.005),
            "new h2 connections over TLS": H2Load(secured, streams=2, requests_each=2, think=0.005, connecting=h2_over_tls),
            "h1": Load(self.running, clients=2, think=0.002),
            "h1 to h1": Load(self.running, clients=1, target="/h1", think=0.005),
            "h1 over TLS to h2": Load(secured_listener, clients=1, target="/h2", think=0.005, connecting=over_tls),
            "uploads over TLS": Uploads(secured_listener, clients=1, target="/upload", connecting=over_tls),
            "h2": H2Load(plain, streams=8, think=0.002),
            "h2 over TLS": H2Load(secured, streams=8, think=0.002, connecting=h2_over_tls),
            "h2 over TLS to h1": H2Load(secured, streams=4, target="/h1", think=0.005, connecting=h2_over_tls),
            "h2 to h2": H2Load(plain, streams=4, target="/h2", think=0.005),
            "events": EventStream(plain, "/events"),
            "events over TLS": EventStream(secured, "/events", over_tls),
            "events on h2 over TLS": H2EventStream(secured, "/events", h2_over_tls),
            "gRPC": GrpcCalls(plain),
            "gRPC talk": GrpcTalk(plain),
            **self.sockets("first ", pause=0.01),
        }

    def sockets(self, prefix="", pause=0.1):
        """WebSockets of each kind that are to be opened, by name."""
        plain, secured = self.running.address, self.tls_address
        return {
            f"{prefix}WebSocket": Echoes(lambda: finish_opening(self.running.send(handshake("/echo"))), pause),
            f"{prefix}WebSocket over TLS": Echoes(lambda: finish_opening(tls_connect(secured).send(handshake("/echo"))), pause),
            f"{prefix}WebSocket on h2": Echoes(lambda: open_websocket_alone(plain, "/echo"), pause),
            f"{prefix}WebSocket on h2 over TLS": Echoes(lambda: open_websocket_alone(secured, "/echo", h2_over_tls), pause),
            f"{prefix}WebSocket on h2 to h2": Echoes(lambda: open_websocket_alone(plain, "/echo2"), pause),
        }

    def __enter__(self):
        self.began = time.monotonic()
        for part in self.parts.values():
            self._stack.enter_context(part)
        return self

    def __exit__(self, *_):
        self._streams_end.set()  # whose clients read to the end
        self._stack.close()
        self.seconds = time.monotonic() - self.began

    def add(self, parts):
        """More traffic, from now on."""
        self.parts.update(parts)
        for part in parts.values():
            self._stack.enter_context(part)

    def wait_for_each(self, answers=10, more_of=()):
        """Until each part has had so many more answers, and those in `more_of` ({name: answers}) theirs. Who has come to its end has no more."""
        wanted = {name: part.answers + dict(more_of).get(name, answers) for name, part in self.parts.items()}
        deadline = time.monotonic() + 60
        while late := [name for name, part in self.parts.items() if part.answers < wanted[name] and part.goes_on()]:
            assert time.monotonic() < deadline, f"stands still: {late}; {self.faults()}"
            time.sleep(0.005)

    def faults(self):
        return {name: part.faults()[:5] for name, part in self.parts.items() if part.faults()}

    def figures(self):
        """For people."""
        lines = [f"{part.answers:8} {part.answers / self.seconds:7.0f} a second, {len(part.faults())} faults: {name}" for name, part in self.parts.items()]
        return "\n".join(lines)
