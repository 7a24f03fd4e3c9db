"""A client that goes away, at each step of its request, by FIN or by reset: its call is cancelled, every lease, buffer
and permit comes back, the backend learns of it, and the log has its line."""
import threading
import time

import pytest

from backend import answer, before_body, hang, read_body, send, wait
from gateway import proxy
from wire import request_bytes, response_bytes

BIG = response_bytes(headers={"Content-Length": str(64 << 20)}, length=False)


@pytest.fixture(scope="module")
def running(module_gateway, module_backend):
    module_backend.on("/hang", hang())
    module_backend.on("/head", send(b"HTTP/1.1 200 OK\r\nContent-Le"), hang())
    module_backend.on("/body", send(response_bytes(headers={"Content-Length": "100"}, length=False) + b"begun"), hang())
    module_backend.on("/chunks", send(response_bytes(headers={"Transfer-Encoding": "chunked"}, length=False) + b"5\r\nbegun\r\n"), hang())
    module_backend.on("/interim", send(b"HTTP/1.1 103 Early Hints\r\n\r\n"), hang())
    module_backend.on("/big", send(BIG), lambda wire, request: [wire.send(b"x" * 65536) for _ in range(1024)])
    module_backend.on("/early", before_body, answer(200, body=b"early"), read_body())
    module_backend.on("/unread", before_body, hang())
    return module_gateway(proxy(module_backend, route={"timeoutMs": 20000, "retryCount": 2}, limits={"halfCloseTimeoutMs": 0}))


def reading(count):
    return lambda wire: wire.read_exactly(count)


# step: (what the client has sent, what it still does before it leaves)
STEPS = {
    "before it says anything": (b"", None),
    "inside the request line": (b"GET /ha", None),
    "inside the head": (b"GET /hang HTTP/1.1\r\nHost: a\r\nX-", None),
    "while its body is awaited": (request_bytes("POST", "/hang", {"Content-Length": "100"}), None),
    "inside its body": (request_bytes("POST", "/hang", {"Content-Length": "100"}) + b"half", None),
    "inside a chunk": (request_bytes("POST", "/hang", {"Transfer-Encoding": "chunked"}) + b"64\r\nhalf", None),
    "inside the trailers": (request_bytes("POST", "/hang", {"Transfer-Encoding": "chunked"}) + b"0\r\nX-Tr", None),
    "while 100 is awaited": (request_bytes("POST", "/hang", {"Expect": "100-continue", "Content-Length": "5"}), None),
    "while the backend doesn't read its body": (request_bytes("POST", "/unread", {"Content-Length": "10000000"}) + b"x" * 2_000_000, None),
    "while the answer is awaited": (request_bytes(target="/hang"), None),
    "while the answer's head comes in": (request_bytes(target="/head"), None),
    "after an interim answer": (request_bytes(target="/interim"), reading(12)),
    "inside the answer's body": (request_bytes(target="/body"), reading(30)),
    "inside the answer's chunks": (request_bytes(target="/chunks"), reading(30)),
    "under a flood it doesn't read": (request_bytes(target="/big"), reading(1000)),
    "after an early answer, with its body unsent": (request_bytes("POST", "/early", {"Content-Length": "100"}), reading(15)),
    "with a pipeline behind it": (request_bytes(target="/hang") + request_bytes(target="/") * 50, None),
    "between two requests": (request_bytes(target="/"), lambda wire: wire.read_response()),
}


@pytest.mark.parametrize("how", ["reset", "close"])
@pytest.mark.parametrize("step", STEPS)
def test_everything_comes_back_when_it_leaves(running, module_backend, step, how):
    module_backend.forget()
    sent, further = STEPS[step]
    wire = running.connect(receive_buffer=16384)
    sender = threading.Thread(target=lambda: try_send(wire, sent), daemon=True)
    sender.start()
    if further:
        further(wire)
    else:
        time.sleep(0.08)
    if how == "reset":
        wire.reset()
    else:
        wire.close()
    running.gauges_at_zero()
    for request in module_backend.requests:
        if request.target == "/hang" and request.complete:
            wait_until(lambda: hasattr(request, "abandoned_at"), "the backend still waits for a client that has gone")


def try_send(wire, data):
    try:
        wire.send(data)
    except OSError:
        pass


def wait_until(holds, complaint, timeout=3):
    deadline = time.monotonic() + timeout
    while not holds():
        assert time.monotonic() < deadline, complaint
        time.sleep(0.01)


def test_while_a_connection_to_a_deaf_instance_is_opened(gateway):
    import socket
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        fillers = [socket.socket() for _ in range(8)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(deaf.getsockname())
        running = gateway(proxy("127.0.0.1:%d" % deaf.getsockname()[1], service_fields={"connectTimeoutMs": 10000}, limits={"halfCloseTimeoutMs": 0}))
        for leave in ("close", "reset"):
            wire = running.send(request_bytes())
            time.sleep(0.1)
            getattr(wire, leave)()
            running.gauges_at_zero()
        for filler in fillers:
            filler.close()


def test_while_it_waits_in_line_for_a_connection(gateway, backend):
    backend.on("/hang", hang())
    running = gateway(proxy(backend, service_fields={"connectionsPerInstanceMax": 1}, limits={"halfCloseTimeoutMs": 0}))
    first = running.send(request_bytes(target="/hang"))
    backend.wait_for_requests(1)
    waiting = running.send(request_bytes(target="/"))
    time.sleep(0.1)
    waiting.reset()
    time.sleep(0.1)
    assert len(backend.requests) == 1
    first.reset()
    running.gauges_at_zero()
    assert running.get("/").status == 200


def test_while_a_retry_is_under_way(gateway, backends):
    from backend import reset
    backends[0].by_default(reset())
    backends[1].by_default(hang())
    running = gateway(proxy(*backends[:2], route={"retryCount": 1}, limits={"halfCloseTimeoutMs": 0}))
    for _ in range(4):
        wire = running.send(request_bytes())
        time.sleep(0.1)
        wire.reset()
    running.gauges_at_zero()


def test_an_unfinished_exchange_is_logged_with_what_happened(running):
    before = len(running.log_lines())
    wire = running.send(request_bytes(target="/hang", headers={"User-Agent": "leaver"}))
    time.sleep(0.1)
    wire.reset()
    running.gauges_at_zero()
    lines = running.log_lines(before + 1)
    mine = [line for line in lines if line.get("userAgent") == "leaver"]
    assert len(mine) == 1 and mine[0]["path"] == "/hang" and mine[0]["status"] in (0, 499)


def test_a_cancelled_call_never_gives_its_connection_to_the_next_request(running, module_backend):
    """The late answer to a request that was given up must not become the next one's."""
    module_backend.on("/late", wait(0.15), answer(200, body=b"LATE"))
    for _ in range(10):
        wire = running.send(request_bytes(target="/late"))
        time.sleep(0.03)
        wire.reset()
        assert running.get("/next").body == b"one"
    time.sleep(0.3)
    assert running.get("/next").body == b"one"
    running.gauges_at_zero()


@pytest.mark.slow
def test_two_thousand_leavers_at_random_moments(running):
    import random
    chance = random.Random(7)
    steps = [sent for sent, _ in STEPS.values()]
    for _ in range(2000):
        wire = running.connect()
        try_send(wire, chance.choice(steps)[:chance.randrange(1, 400)])
        time.sleep(chance.choice([0, 0, 0.001, 0.005]))
        wire.reset() if chance.random() < 0.5 else wire.close()
    running.gauges_at_zero(timeout=10)
    assert running.get("/").status == 200
