"""The PROXY protocol at the listeners: the client it announces counts; nobody else speaks it, and nobody guesses."""
import socket
import struct
import time

import pytest

from certificates import Authority
from gateway import proxy
from tls import client_context, tls_connect
from wire import request_bytes

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def v1(source="192.0.2.7", port=1234):
    return f"PROXY TCP4 {source} 198.51.100.1 {port} 443\r\n".encode()


def v2(source="192.0.2.7", port=1234, command=0x21, more=b""):
    body = socket.inet_aton(source) + socket.inet_aton("198.51.100.1") + struct.pack("!HH", port, 443) + more
    return SIGNATURE + struct.pack("!BBH", command, 0x11, len(body)) + body


def v2_six(source="2001:db8::7"):
    body = socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, "2001:db8::1") + struct.pack("!HH", 1, 2)
    return SIGNATURE + struct.pack("!BBH", 0x21, 0x21, len(body)) + body


@pytest.fixture
def behind(gateway, backend):
    def start(fields=None, **more):
        return gateway(proxy(backend, **more), listener={"proxyProtocol": {"from": ["127.0.0.1"]}, **(fields or {})})
    return start


def client_of(backend):
    return backend.requests[-1].headers["X-Forwarded-For"]


@pytest.mark.parametrize("header, client", [
    (v1(), "192.0.2.7"), (v2(), "192.0.2.7"), (v2_six(), "2001:db8::7"), (v2(more=b"\x04\x00\x05hello"), "192.0.2.7"),
    (b"PROXY UNKNOWN\r\n", "127.0.0.1"), (v2(command=0x20), "127.0.0.1"), (v1("192.0.2.8").replace(b"TCP4 192.0.2.8 198.51.100.1", b"TCP6 2001:db8::9 2001:db8::1"), "2001:db8::9")])
def test_the_announced_client_is_the_client(behind, backend, header, client):
    running = behind()
    with running.send(header + request_bytes()) as wire:
        assert wire.read_response().status == 200
        assert wire.send(request_bytes()).read_response().status == 200, "the header stands once a connection"
    assert client_of(backend) == client
    assert [line["clientIp"] for line in running.log_lines(2)] == [client] * 2


def test_a_header_in_pieces_and_a_request_that_comes_late(behind, backend):
    running = behind()
    for header in (v1(), v2()):
        with running.connect() as wire:
            for i in range(len(header)):
                wire.send(header[i:i + 1])
                time.sleep(0.001)
            time.sleep(0.05)
            assert wire.send(request_bytes()).read_response().status == 200
            assert client_of(backend) == "192.0.2.7"


def test_a_trusted_peer_that_does_not_speak_it_is_closed_and_counted(behind, backend):
    running = behind()
    before = running.metric("sluice_proxy_protocol_failures_total", reason="header")
    cases = [request_bytes(), b"PROXY TCP4 1.2.3.4\r\n" + request_bytes(), v2(command=0x31) + request_bytes(), b"\r\n\r\n\0\r\nQUIT\r" + b"x" * 20,
             b"PROXY TCP4 " + b"1" * 200, SIGNATURE + b"\x21\x11\xff\xff" + b"x" * 70000]
    for sent in cases:
        with running.send(sent) as wire:
            assert wire.is_closed(5), sent[:30]
    assert backend.requests == []
    running.wait_for_metric("sluice_proxy_protocol_failures_total", before + len(cases), reason="header")


def test_a_truncated_or_late_header_ends_in_time(behind):
    running = behind(limits={"handshakeTimeoutMs": 300})
    with running.send(v1()[:20]) as cut, running.connect() as silent, running.send(v2()[:14]) as short:
        cut.half_close()
        for wire in (cut, silent, short):
            assert wire.is_closed(5)
    assert running.metric("sluice_connections_active") == running.resting.get("sluice_connections_active")


def test_a_stranger_is_closed_whatever_it_speaks(gateway, backend):
    running = gateway(proxy(backend), listener={"proxyProtocol": {"from": ["192.0.2.0/24"]}})
    for sent in (v1() + request_bytes(), request_bytes()):
        wire = running.connect()
        try:
            wire.send(sent)
            assert wire.is_closed(5)
        except ConnectionError:
            pass
    assert backend.requests == []
    running.wait_for_metric("sluice_proxy_protocol_failures_total", lambda found: found >= 2, reason="untrusted")


def test_from_trusted_proxies_and_a_listener_that_does_not_take_it(gateway, backend):
    running = gateway(proxy(backend, trustedProxies=["127.0.0.1"]), listener={"proxyProtocol": True})
    with running.send(v1() + request_bytes(headers={"X-Forwarded-For": "203.0.113.1"})) as wire:
        assert wire.read_response().status == 200
    assert client_of(backend) == "192.0.2.7", "the client is no trusted proxy, so its own word does not count"
    plain = gateway(proxy(backend))
    with plain.send(v1() + request_bytes()) as wire:
        assert wire.read_response().status == 400


def test_limits_by_address_count_the_announced_client(behind, backend):
    running = behind(limits={"connectionsPerAddress": 2})
    held = [running.send(v1("192.0.2.1") + request_bytes()) for _ in range(2)]
    assert [wire.read_response().status for wire in held] == [200, 200]
    with running.send(v1("192.0.2.1") + request_bytes()) as third:
        refused = third.read_response()
        assert refused.status == 503 and refused.headers["Retry-After"] == "1"
    with running.send(v1("192.0.2.2") + request_bytes()) as other:
        assert other.read_response().status == 200
    held.pop().close()
    deadline = time.monotonic() + 5
    while True:
        with running.send(v1("192.0.2.1") + request_bytes()) as again:
            status = again.read_response().status
        if status == 200:
            break
        assert time.monotonic() < deadline
    held.pop().close()
    assert running.gauges_at_zero()


def test_tls_follows_the_header(gateway, backend, tmp_path):
    server = Authority(tmp_path).issue("localhost")
    running = gateway(proxy(backend, limits={"handshakesPerAddressPerSecond": 4}),
                      listener={"proxyProtocol": {"from": ["127.0.0.1"]}, "tls": {"certificates": [server.config]}})
    for header in (v1(), v2("192.0.2.9")):
        with tls_connect(running.address, before=header) as wire:
            assert wire.send(request_bytes()).read_response().status == 200
            assert backend.requests[-1].headers["X-Forwarded-Proto"] == "https"
    assert client_of(backend) == "192.0.2.9"
    with pytest.raises(OSError):
        for _ in range(100):
            tls_connect(running.address, client_context(), before=v1("192.0.2.50")).close()
    running.wait_for_metric("sluice_tls_handshake_failures_total", lambda found: found >= 1, reason="rate-limit")


def test_the_redirect_works_behind_it(behind, backend):
    running = behind({"redirectToHttps": True})
    with running.send(v1() + request_bytes(host="shop.test")) as wire:
        assert wire.read_response().headers["Location"] == "https://shop.test/"
