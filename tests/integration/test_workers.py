"""Two workers at once: what they share stays whole. `make test` runs this file under ThreadSanitizer too."""
import signal
import threading
import time

import pytest

from backend import answer, echo
from gateway import proxy
from wire import request_bytes

CLIENTS = 8
ROUNDS = 40


class Traffic:
    """Clients with a connection each that send until told to stop; every answer but 200 is remembered."""

    def __init__(self, gateway, target="/", method="GET", body=None):
        self.gateway, self.request = gateway, (method, target, (), body)
        self.sent, self.wrong = [0] * CLIENTS, []
        self.ended = threading.Event()
        self.threads = [threading.Thread(target=self._send, args=(number,)) for number in range(CLIENTS)]

    def _send(self, number):
        try:
            with self.gateway.connect() as wire:
                while not self.ended.is_set() or self.sent[number] < ROUNDS:
                    wire.send(request_bytes(*self.request))
                    response = wire.read_response(self.request[0])
                    self.sent[number] += 1
                    if response.status != 200:
                        self.wrong.append(response)
                    if not response.keeps_alive:
                        self.wrong.append("a connection that was not kept")
                        return
        except Exception as error:  # a thread's exception would be lost
            self.wrong.append(error)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        for thread in self.threads:
            thread.join()


@pytest.fixture
def running(gateway, backends):
    for one in backends:
        one.by_default(answer(200, body=one.name.encode()))
        one.on("/echo", echo())
    return gateway(proxy(*backends, service_fields={"lbAlgorithm": "least_connections"}, workers=2))


def test_what_two_workers_count_adds_up(running, backends):
    with Traffic(running) as traffic:
        for _ in range(5):
            running.metrics()
            time.sleep(0.1)
    assert traffic.wrong == []
    running.wait_for_metric("sluice_requests_total", sum(traffic.sent))
    assert sum(len(one.requests) for one in backends) == sum(traffic.sent)
    assert len(running.log_lines(at_least=sum(traffic.sent))) == sum(traffic.sent)
    assert running.gauges_at_zero()


def test_reloads_under_two_workers_lose_nothing(running):
    with Traffic(running, "/echo", "POST", b"x" * 5000) as traffic:
        for number in range(5):
            running.config["routes"][0]["filters"] = [
                {"type": "set_header", "name": "X-Round", "value": str(number), "on": "response"}]
            running.reload(running.config)
            running.metrics()
            running.signal(signal.SIGUSR1)
        assert running.get("/").headers["X-Round"] == "4"
    assert traffic.wrong == []
    assert running.gauges_at_zero()
