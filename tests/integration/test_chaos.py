"""Clients and backends at random, all at once: whatever they do, everything is given back and nobody gets another's answer.

Each behaviour is drawn from a seed, printed at a failure (CHAOS_SEED repeats the draw, not the schedule). An answer says for which
request it is and is checked wherever one came whole: a body, a trailer or a head that belongs to somebody else is the worst that a
gateway can do. At the end all gauges are back at rest, and the fixtures look for violations of HTTP/1.1 towards the backends, for
sanitizer reports and for what outlived the master.

    CHAOS_SECONDS=300 SLUICE_BINARY=... python3 -m pytest tests/integration/test_chaos.py -m "not slow"
"""
import os
import random
import threading
import time

import pytest

from backend import Finished, before_body
from gateway import service
from wire import WireError, chunked, request_bytes

SECONDS = float(os.environ.get("CHAOS_SECONDS", "20"))
SEED = int(os.environ.get("CHAOS_SEED", time.time_ns() % 1_000_000))
CLIENTS = 12
LARGE = 700_000  # more than the kernel's buffers of a slow reader and splice's threshold

CONFIG = {
    "workers": 2,
    "limits": {"headTimeoutMs": 1500, "bodyTimeoutMs": 1500, "idleTimeoutMs": 1500, "bufferBytesPerWorker": 4 << 20,
               "halfCloseTimeoutMs": 500, "bodyBytes": 2 << 20},
    "drainTimeout": 5,
}


# What a backend does with a request: draws from its own dice, answers with the request's number in head, body and trailer.

def content(number, size):
    return (b"%s;" % number.encode()) * (size // (len(number) + 1) + 1)


def is_content(body, number):
    """Whether it is a beginning of content(number, ...) and nothing else."""
    return body == content(number, len(body))[:len(body)]


def whole_answer(dice, number, method):
    body = content(number, dice.choice([0, 1, 100, 20_000, LARGE]))
    fields = f"X-Number: {number}\r\n"
    if dice.random() < 0.2:
        fields += "Connection: close\r\n"
    kind = dice.random()
    if kind < 0.4:
        head = f"HTTP/1.1 200 OK\r\n{fields}Content-Length: {len(body)}\r\n\r\n".encode()
    elif kind < 0.8:
        head = f"HTTP/1.1 200 OK\r\n{fields}Transfer-Encoding: chunked\r\n\r\n".encode()
        size = dice.choice([7, 1000, 50_000])
        pieces = [body[at:at + size] for at in range(0, min(len(body), 200 * size), size)]
        body = chunked(*pieces, trailers=[("X-Number", number)] if dice.random() < 0.7 else ())
    else:
        status = dice.choice([204, 304, 500, 503])
        length = "" if status == 204 else "Content-Length: 0\r\n"
        head, body = f"HTTP/1.1 {status} Some\r\n{fields}{length}\r\n".encode(), b""
    if dice.random() < 0.2:
        head = f"HTTP/1.1 103 Early Hints\r\nX-Number: {number}\r\n\r\n".encode() * dice.randint(1, 3) + head
    return head + (b"" if method == "HEAD" else body)


def behave(dice, wire, request):
    number = request.headers["X-Number"]
    if not is_content(request.body, number) or request.trailers.get("X-Number", number) != number:
        raise WireError(f"{number} came with {request.body[:40]!r} and {request.trailers}")
    data = whole_answer(dice, number, request.method)
    deed = dice.random()
    if deed < 0.55:
        wire.send(data)
    elif deed < 0.62:
        wire.drip(data[:40], 7, 0.002).send(data[40:])
    elif deed < 0.68:
        time.sleep(dice.random() * 0.5)
        wire.send(data)
    elif deed < 0.72 and len(data) < 20_000:  # what comes a while after a long one can't be told from the next answer
        wire.send(data + b"HTTP/1.1 200 OK\r\nX-Number: nobody\r\nContent-Length: 6\r\n\r\nnobody")
    elif deed < 0.80:
        wire.send(data[:dice.randrange(len(data))])
        raise Finished
    elif deed < 0.86:
        wire.send(data[:dice.randrange(len(data))])
        wire.reset()
        raise Finished
    elif deed < 0.90:
        wire.reset()
        raise Finished
    elif deed < 0.93:
        wire.send_with_fin(data[:20_000])
        raise Finished
    elif deed < 0.96:
        wire.send(dice.choice([b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
                               b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", b"HTTP/1.1 200 OK\r\n"]))
        raise Finished
    else:
        wire.read_until_close(2)
        raise Finished


def random_script(seed):
    dice, lock = random.Random(seed), threading.Lock()

    def script():
        with lock:
            own = random.Random(dice.getrandbits(64))
        early = [before_body] if own.random() < 0.2 else []
        return early + [lambda wire, request: behave(own, wire, request)]
    return script


# What a client does

REFUSED = (b"\x00\x01", b"GET / HTTP/1.1\r\n\r\n", b"GET / HTTP/9.9\r\nHost: a\r\n\r\n",
           b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999999\r\n\r\n")


class Client(threading.Thread):
    """One connection after the other, one deed after the other, until the time is up."""

    def __init__(self, sluice, seed, name, ends_at):
        super().__init__(daemon=True)
        self.sluice, self.dice, self.label, self.ends_at = sluice, random.Random(seed), name, ends_at
        self.count, self.answers, self.wrong = 0, 0, []

    def run(self):
        while time.monotonic() < self.ends_at and not self.wrong:
            try:
                self.one_connection()
            except (WireError, TimeoutError, OSError):
                pass  # backends and this client itself break off all the time; what counts is what did come
            except Exception as error:  # pylint: disable=broad-except
                self.wrong.append(f"{self.label}: {error!r}")

    def one_connection(self):
        slow = self.dice.random() < 0.2
        with self.sluice.connect(timeout=4, receive_buffer=4096 if slow else None) as wire:
            for _ in range(self.dice.randint(1, 8)):
                if not self.one_deed(wire):
                    return

    def next_request(self):
        self.count += 1
        number = f"{self.label}-{self.count}"
        method = self.dice.choice(["GET", "GET", "GET", "HEAD", "POST", "PUT"])
        fields, body = [("X-Number", number)], None
        if method in ("POST", "PUT"):
            body = content(number, self.dice.choice([0, 10, 5000, 300_000]))
            if self.dice.random() < 0.2:
                fields.append(("Expect", "100-continue"))
            if self.dice.random() < 0.5:
                size = self.dice.choice([1000, 70_000])
                pieces = [body[at:at + size] for at in range(0, len(body), size)]
                head = request_bytes(method, "/x", [*fields, ("Transfer-Encoding", "chunked")])
                return number, method, head + chunked(*pieces, trailers=[("X-Number", number)])
        if self.dice.random() < 0.1:
            fields.append(("Connection", self.dice.choice(["close", "X-Other", "keep-alive, TE"])))
        return number, method, request_bytes(method, "/x?a=b", fields, body)

    def one_deed(self, wire):
        """True: the connection may go on."""
        number, method, data = self.next_request()
        deed = self.dice.random()
        if deed < 0.6:
            wire.send(data)
            return self.read_one(wire, number, method)
        if deed < 0.7:  # pipelined
            asked = [(number, method, data)] + [self.next_request() for _ in range(self.dice.randint(1, 5))]
            wire.send(b"".join(one[2] for one in asked))
            return all(self.read_one(wire, one[0], one[1]) for one in asked)
        if deed < 0.76:
            wire.send(data[:self.dice.randrange(len(data))])
            if self.dice.random() < 0.5:
                time.sleep(self.dice.random())
            if self.dice.random() < 0.5:
                wire.reset()
            return False
        if deed < 0.82:
            wire.send(data)
            time.sleep(self.dice.random() * 0.05)
            wire.reset()
            return False
        if deed < 0.88:
            wire.send_with_fin(data)
            self.read_one(wire, number, method)
            return False
        if deed < 0.92:
            wire.drip(data[:30], 5, 0.005).send(data[30:])
            return self.read_one(wire, number, method)
        if deed < 0.96:
            wire.send(data)
            wire.read_response_head()
            time.sleep(self.dice.random() * 0.3)
            return False
        wire.send(self.dice.choice(REFUSED) + bytes(self.dice.randrange(100_000)))
        assert wire.read_response().status in (400, 404, 408, 413, 503, 505)
        return False

    def read_one(self, wire, number, method):
        if self.dice.random() < 0.1:
            time.sleep(self.dice.random() * 0.5)
        answer = wire.read_response(method)
        self.answers += 1
        for fields in (answer.headers, answer.trailers, *(interim.headers for interim in answer.interim)):
            self.check(fields, number)
        if "X-Number" in answer.headers and not is_content(answer.body, number):
            self.wrong.append(f"{number} was answered with the body {answer.body[:40]!r}")
        return answer.keeps_alive

    def check(self, fields, number):
        if fields.get("X-Number", number) != number:
            self.wrong.append(f"{number} was answered with {fields}")


def chaos(gateway, new_backend, seconds):
    dice = random.Random(SEED)
    backends = [new_backend(name) for name in ("one", "two", "three")]
    for one in backends:
        one.by_default()
        one.scripts["/x"] = random_script(dice.getrandbits(64))
    route = {"name": "all", "path": "/x", "serviceId": "backend", "timeoutMs": 2000, "retryCount": 2, "idleTimeoutMs": 1500}
    services = [service(*backends, "127.0.0.1:1", idleTimeoutMs=1000)]  # nobody listens at the last one
    sluice = gateway({**CONFIG, "services": services, "routes": [route]})
    ends_at = time.monotonic() + seconds
    clients = [Client(sluice, dice.getrandbits(64), f"c{number}", ends_at) for number in range(CLIENTS)]
    for client in clients:
        client.start()
    while time.monotonic() < ends_at:
        time.sleep(min(1.0, max(0.0, ends_at - time.monotonic())))
        sluice.reload()
    for client in clients:
        client.join(30)
    wrong = [fault for client in clients for fault in client.wrong]
    assert not wrong, f"seed {SEED}: " + "\n".join(wrong)
    assert sum(client.answers for client in clients) > 5 * seconds, f"seed {SEED}: hardly anything was answered"
    assert sluice.gauges_at_zero(timeout=15), f"seed {SEED}"


def test_in_chaos_everything_is_given_back_and_nobody_gets_anothers_answer(gateway, new_backend):
    chaos(gateway, new_backend, SECONDS)


@pytest.mark.slow
def test_in_ten_minutes_of_chaos_too(gateway, new_backend):
    chaos(gateway, new_backend, 600)
