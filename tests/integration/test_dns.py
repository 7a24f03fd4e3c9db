"""Instances that are host names: resolved without blocking, refreshed by TTL, all their addresses used. dnsmasq answers."""
import collections
import socket
import time

import pytest

from gateway import proxy


def named(name_server, port):
    return proxy(f"users.test:{port}", resolver={"servers": [name_server.address]})


@pytest.fixture
def twins(new_backend):
    """Two backends on one port of two addresses, as one name with two records has them."""
    first = new_backend("first", host="127.0.0.1")
    second = new_backend("second", host="127.0.0.2", port=first.port)
    return first, second


def until(running, holds, timeout=8):
    """The first answer that satisfies; names take a moment to be resolved."""
    deadline = time.monotonic() + timeout
    while True:
        response = running.get("/")
        if holds(response):
            return response
        assert time.monotonic() < deadline, response
        time.sleep(0.05)


def test_a_name_is_resolved_and_used(gateway, name_server, backend):
    name_server.set(users=["127.0.0.1"])
    running = gateway(named(name_server, backend.port))
    assert until(running, lambda response: response.status == 200).body == b"one"
    assert backend.requests[-1].headers["Host"] == "gateway.test"


def test_all_addresses_of_a_name_are_balanced(gateway, name_server, twins):
    name_server.set(users=["127.0.0.1", "127.0.0.2"])
    running = gateway(named(name_server, twins[0].port))
    until(running, lambda response: response.status == 200)
    counts = collections.Counter(running.get("/").body for _ in range(20))
    assert counts[b"first"] == counts[b"second"] == 10


def test_a_change_is_followed_when_the_ttl_is_over(gateway, name_server, twins):
    name_server.set(users=["127.0.0.1"])
    running = gateway(named(name_server, twins[0].port))
    assert until(running, lambda response: response.status == 200).body == b"first"
    name_server.set(users=["127.0.0.2"])
    assert until(running, lambda response: response.body == b"second", timeout=10)
    assert [running.get("/").body for _ in range(5)] == [b"second"] * 5


def test_an_unknown_name_is_503_and_is_asked_for_again(gateway, name_server, backend):
    running = gateway(named(name_server, backend.port))
    assert running.get("/").status == 503
    name_server.set(users=["127.0.0.1"])
    assert until(running, lambda response: response.status == 200, timeout=15).body == b"one"


def test_a_name_server_that_has_gone_leaves_the_last_answer_in_use(gateway, name_server, backend):
    name_server.set(users=["127.0.0.1"])
    running = gateway(named(name_server, backend.port))
    until(running, lambda response: response.status == 200)
    name_server.stop()
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline:
        assert running.get("/").status == 200
        time.sleep(0.1)


def test_a_reload_brings_other_name_servers(gateway, name_server, backend):
    name_server.set(users=["127.0.0.1"])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        elsewhere = proxy(f"users.test:{backend.port}", resolver={"servers": ["127.0.0.1:%d" % silent.getsockname()[1]]})
        running = gateway(elsewhere)
        assert running.get("/").status == 503
        running.reload(named(name_server, backend.port))
        until(running, lambda response: response.status == 200)
        running.reload(elsewhere)
        assert running.get("/").status == 200, "what is known stays until the new server says otherwise"


def test_a_name_server_that_is_silent_blocks_neither_start_nor_others(gateway, backend):
    """A socket that swallows every question."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        config = proxy("users.test:1", resolver={"servers": ["127.0.0.1:%d" % silent.getsockname()[1]]})
        config["services"].append({"name": "known", "instances": [backend.address]})
        config["routes"].append({"name": "known", "path": "/known", "serviceId": "known"})
        running = gateway(config)
        began = time.monotonic()
        assert running.get("/known").status == 200
        assert running.get("/").status == 503
        assert time.monotonic() - began < 2
        running.gauges_at_zero()


def test_a_forged_answer_from_elsewhere_is_not_believed(gateway, name_server, backend):
    """Only what comes from the server asked, for the question asked, counts; a name with no record stays without."""
    name_server.set(others=["127.0.0.1"])
    running = gateway(named(name_server, backend.port))
    for _ in range(5):
        assert running.get("/").status == 503
    assert backend.requests == []


def test_refreshing_asks_about_once_a_ttl(gateway, name_server, backend):
    name_server.set(users=["127.0.0.1"])
    running = gateway(named(name_server, backend.port))
    until(running, lambda response: response.status == 200)
    before = name_server.queries("users")
    for _ in range(50):
        running.get("/")
    assert name_server.queries("users") - before <= 8, "a request asks no name server"


def test_an_address_that_stays_keeps_its_warm_connections(gateway, name_server, twins):
    name_server.set(users=["127.0.0.1"])
    running = gateway(named(name_server, twins[0].port))
    until(running, lambda response: response.status == 200)
    name_server.set(users=["127.0.0.1", "127.0.0.2"])
    until(running, lambda response: response.body == b"second", timeout=10)
    running.get("/")
    assert len({request.connection for request in twins[0].requests}) == 1
