"""The PROXY protocol to instances: each connection says whose it is, carries one request, and is nobody else's."""
import ipaddress
import socket
import struct
import threading

import pytest

import h2_backend
from backend import answer, echo, wait
from certificates import Authority
from gateway import proxy
from tls import server_context
from wire import request_bytes

V2_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


class Headers:
    """Takes the header off each connection; `ends` is what they said: (source, source port, destination, destination port)."""

    def __init__(self):
        self.ends, self.versions = [], []

    def __call__(self, connected):
        connected.settimeout(10)
        start = self._read(connected, 12)
        if start == V2_SIGNATURE:
            self.versions.append(2)
            self._take_v2(*struct.unpack(">BBH", self._read(connected, 4)), connected)
        else:
            self.versions.append(1)
            while not start.endswith(b"\r\n"):
                start += self._read(connected, 1)
            _, family, source, destination, source_port, destination_port = start.decode().split()
            assert family == ("TCP6" if ":" in source else "TCP4")
            self.ends.append((source, int(source_port), destination, int(destination_port)))
        connected.settimeout(None)

    def _take_v2(self, command, family, length, connected):
        payload = self._read(connected, length)
        assert command == 0x21 and family in (0x11, 0x21)
        size = 4 if family == 0x11 else 16
        source, destination = (str(ipaddress.ip_address(payload[at:at + size])) for at in (0, size))
        self.ends.append((source, *struct.unpack(">H", payload[2 * size:2 * size + 2]),
                          destination, *struct.unpack(">H", payload[2 * size + 2:2 * size + 4])))

    @staticmethod
    def _read(connected, count):
        taken = b""
        while len(taken) < count:
            piece = connected.recv(count - len(taken))
            assert piece, f"closed inside the header: {taken!r}"
            taken += piece
        return taken


@pytest.fixture
def headers():
    return Headers()


def announcing(*backends, version="v2", fields=None, **top):
    return proxy(*backends, service_fields={"proxyProtocol": version, **(fields or {})}, route={"retryCount": 0}, **top)


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_an_instance_is_told_the_clients_address(gateway, new_backend, headers, version):
    backend = new_backend(before=headers)
    backend.on("/a", echo())
    running = gateway(announcing(backend, version=version))
    with running.connect(source="127.0.0.5") as wire:
        port = wire.socket.getsockname()[1]
        wire.send(request_bytes("POST", "/a", body=b"hello"))
        assert wire.read_response("POST").body == b"hello"
    assert headers.ends == [("127.0.0.5", port, "127.0.0.1", running.port)]
    assert headers.versions == [int(version[1])]
    running.gauges_at_zero()


def test_each_request_has_a_connection_of_its_own(gateway, new_backend, headers):
    backend = new_backend(before=headers)
    running = gateway(announcing(backend))
    with running.connect(source="127.0.0.5") as one, running.connect(source="127.0.0.6") as other:
        for wire in (one, other, one, other):
            wire.send(request_bytes("GET", "/x"))
            assert wire.read_response().status == 200
    assert [ends[0] for ends in headers.ends] == ["127.0.0.5", "127.0.0.6"] * 2
    assert backend.connections == 4
    running.wait_for_metric("sluice_upstream_connections_active", 0)


def test_at_the_cap_clients_wait_and_none_gets_anothers_connection(gateway, new_backend, headers):
    backend = new_backend(before=headers)
    backend.by_default(wait(0.01), answer(200))
    running = gateway(announcing(backend, fields={"connectionsPerInstanceMax": 2}))
    seen = {}

    def ask(number):
        source = f"127.0.0.{number}"
        with running.connect(source=source) as wire:
            wire.send(request_bytes("GET", "/x"))
            assert wire.read_response().status == 200
        seen[source] = True
    threads = [threading.Thread(target=ask, args=(number,)) for number in range(10, 20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(15)
    assert len(seen) == 10 and sorted(ends[0] for ends in headers.ends) == sorted(seen)
    running.gauges_at_zero()


def test_the_header_goes_before_tls(gateway, new_backend, tmp_path, headers):
    authority = Authority(tmp_path)
    backend = new_backend(before=headers, tls=server_context(authority.issue("users.internal")))
    running = gateway(announcing(backend, version="v1", fields={
        "protocol": "https", "tls": {"ca": str(authority.path), "serverName": "users.internal"}}))
    assert [running.get("/x").status for _ in range(3)] == [200] * 3
    assert len(headers.ends) == 3 and [one.resumed for one in backend.handshakes] == [False, True, True]


def test_http_2_connections_are_nobody_elses_too(gateway, new_h2_backend, headers):
    backend = new_h2_backend(before=headers)
    backend.on("/a", h2_backend.echo())
    running = gateway(announcing(backend, fields={"httpVersion": 2}))
    with running.connect(source="127.0.0.7") as wire:
        for _ in range(2):
            wire.send(request_bytes("POST", "/a", body=b"hello"))
            assert wire.read_response("POST").body == b"hello"
    assert [ends[0] for ends in headers.ends] == ["127.0.0.7"] * 2 and backend.connections == 2
    running.gauges_at_zero()


def test_what_a_proxy_in_front_announced_is_passed_on(gateway, new_backend, headers):
    backend = new_backend(before=headers)
    running = gateway(announcing(backend), listener={"proxyProtocol": {"from": ["127.0.0.1/32"]}}, ready=True)
    headers.ends.clear()
    for line, ends in ((b"PROXY TCP4 203.0.113.7 198.51.100.1 4711 443\r\n", ("203.0.113.7", 4711, "198.51.100.1", 443)),
                       (b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 443\r\n", ("2001:db8::7", 4711, "2001:db8::1", 443))):
        with running.connect() as wire:
            wire.send(line + request_bytes("GET", "/x"))
            assert wire.read_response().status == 200
        assert headers.ends[-1] == ends


def test_a_client_that_goes_while_connecting_leaves_nothing(gateway):
    with socket.create_server(("127.0.0.1", 0), backlog=1) as listener:
        running = gateway(announcing("127.0.0.1:%d" % listener.getsockname()[1]))
        with running.connect() as wire:
            wire.send(request_bytes("GET", "/x"))
            running.wait_for_metric("sluice_upstream_connections_active", 1)
            wire.reset()
        running.wait_for_metric("sluice_upstream_connections_active", 0)
        running.gauges_at_zero()
