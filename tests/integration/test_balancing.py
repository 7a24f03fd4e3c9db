"""Who gets which request. The distribution itself is a unit test; here it is seen on the wire."""
import collections
import threading
import time

import pytest

from backend import answer, hang, wait
from gateway import proxy, service
from wire import request_bytes


def served(running, count, target="/", headers=()):
    """Which instances answered, in order."""
    with running.connect() as wire:
        answers = []
        for _ in range(count):
            wire.send(request_bytes(target=target, headers=headers))
            answers.append(wire.read_response().body.decode())
        return answers


def weighted(backends, weights):
    return [{"host": "127.0.0.1", "port": one.port, "weight": weight} for one, weight in zip(backends, weights)]


def test_round_robin_takes_turns(gateway, backends):
    order = served(gateway(proxy(*backends)), 12)
    assert order[:3] * 4 == order and sorted(order[:3]) == ["one", "three", "two"]


def test_weights_are_kept_and_spread_smoothly(gateway, backends):
    running = gateway(proxy(*weighted(backends, [50, 20, 10]), service_fields={"lbAlgorithm": "weighted_round_robin"}))
    order = served(running, 80)
    assert collections.Counter(order) == {"one": 50, "two": 20, "three": 10}
    assert "one" * 6 not in "".join(order), "a heavy instance is hit in one burst"


def test_a_weight_of_zero_gets_nothing(gateway, backends):
    for algorithm in ("round_robin", "weighted_round_robin", "least_connections", "ip_hash", "random"):
        running = gateway(proxy(*weighted(backends, [0, 100, 100]), service_fields={"lbAlgorithm": algorithm}))
        assert "one" not in served(running, 30), algorithm


def test_the_fewest_connections_win(gateway, backends):
    backends[0].on("/hold", hang())
    for one in backends[1:]:
        one.on("/hold", hang())
    running = gateway(proxy(*backends, service_fields={"lbAlgorithm": "least_connections"}))
    holders = [running.send(request_bytes(target="/hold")) for _ in range(2)]
    deadline = time.monotonic() + 5
    while sum(len(one.requests) for one in backends) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    busy = {one.name for one in backends if one.requests}
    assert len(busy) == 2
    free = ({"one", "two", "three"} - busy).pop()
    assert set(served(running, 10)) == {free}
    for holder in holders:
        holder.reset()
    running.gauges_at_zero()


def test_one_client_stays_with_one_instance_and_only_a_lost_instances_clients_move(gateway, backends):
    running = gateway(proxy(*backends, service_fields={"lbAlgorithm": "ip_hash"}, trustedProxies=["127.0.0.1"]))
    clients = [f"10.1.{i // 250}.{i % 250 + 1}" for i in range(60)]

    def chosen():
        with running.connect() as wire:
            found = {}
            for client in clients:
                wire.send(request_bytes(headers={"X-Forwarded-For": client}))
                found[client] = wire.read_response().body.decode()
            return found
    before = chosen()
    assert len(set(before.values())) == 3
    assert chosen() == before
    running.reload(proxy(*backends[:2], service_fields={"lbAlgorithm": "ip_hash"}, trustedProxies=["127.0.0.1"]))
    after = chosen()
    assert all(after[client] == name for client, name in before.items() if name != "three")


def test_random_reaches_everybody(gateway, backends):
    running = gateway(proxy(*backends, service_fields={"lbAlgorithm": "random"}))
    counts = collections.Counter(served(running, 150))
    assert len(counts) == 3 and min(counts.values()) > 20


@pytest.mark.parametrize("algorithm", ["round_robin", "weighted_round_robin", "least_connections", "ip_hash", "random"])
def test_an_instance_that_refused_is_passed_over_for_a_while_and_comes_back(gateway, backends, algorithm):
    running = gateway(proxy(*backends, service_fields={"lbAlgorithm": algorithm}, route={"retryCount": 2}))
    backends[0].stop_listening()
    assert "one" not in served(running, 30)
    failures = running.metric("sluice_upstream_connect_failures_total")
    assert failures <= 3, "it is tried again and again"
    backends[0].listen_again()
    if algorithm == "ip_hash":
        return
    deadline = time.monotonic() + 10
    while "one" not in served(running, 12):
        assert time.monotonic() < deadline, "it never came back"
        time.sleep(0.2)


def test_where_all_are_passed_over_one_is_tried_rather_than_none(gateway, backends):
    running = gateway(proxy(*backends[:2], route={"retryCount": 1}))
    for one in backends[:2]:
        one.stop_listening()
    assert running.get("/").status == 502
    for one in backends[:2]:
        one.listen_again()
    deadline = time.monotonic() + 5
    while running.get("/").status != 200:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_pool_reuses_the_connection_used_last(gateway, backend):
    running = gateway(proxy(backend))
    served(running, 50)
    assert len({request.connection for request in backend.requests}) == 1


def test_connections_to_an_instance_stay_under_their_cap(gateway, backend):
    backend.by_default(wait(0.1), answer(200, body=b"one"))
    running = gateway(proxy(backend, service_fields={"connectionsPerInstanceMax": 2}))
    results = []
    threads = [threading.Thread(target=lambda: results.append(running.get("/").status)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [200] * 8
    assert backend.connections <= 2
    running.gauges_at_zero()


def test_idle_connections_are_closed_after_their_time(gateway, backend):
    running = gateway(proxy(backend, service_fields={"idleTimeoutMs": 300}))
    assert running.get("/").status == 200
    running.wait_for_metric("sluice_upstream_connections_idle", 0, timeout=5)


def test_two_services_are_balanced_apart(gateway, backends):
    config = {"services": [service(backends[0], backends[1], name="a"), service(backends[2], name="b")],
              "routes": [{"name": "a", "path": "/a", "serviceId": "a"}, {"name": "b", "path": "/b", "serviceId": "b"}]}
    running = gateway(config)
    assert set(served(running, 6, "/b")) == {"three"}
    assert collections.Counter(served(running, 6, "/a")) == {"one": 3, "two": 3}
