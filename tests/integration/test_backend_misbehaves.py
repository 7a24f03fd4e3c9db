"""Whatever an instance does, the client gets a whole answer or a visibly cut one, and nothing stays held.

Each row of BAD_ANSWERS is a first answer no two parsers need agree on: 502, never passed on. The rest is about answers that
come late, in part, or from a connection that had gone stale."""
import contextlib
import os
import random
import signal
import socket
import threading
import time

import pytest

from backend import answer, close, drip, echo, hang, reset, send, send_with_fin, wait, wait_for
from gateway import proxy
from h2_client import H2Client
from measuring import stop_process
from wire import WireError, chunked, request_bytes, response_bytes


@pytest.fixture(scope="module")
def running(module_gateway, module_backend):
    return module_gateway(proxy(module_backend, route={"timeoutMs": 1500, "retryCount": 0, "idleTimeoutMs": 700}))


def ok(*fields, body=b"", status=b"HTTP/1.1 200 OK"):
    return status + b"\r\n" + b"".join(line + b"\r\n" for line in fields) + b"\r\n" + body


CHUNKED = b"5\r\nhello\r\n0\r\n\r\n"

# name: (bytes, RFC section). All become 502 before any byte of them reaches the client.
BAD_ANSWERS = {
    "Content-Length beside Transfer-Encoding": (ok(b"Content-Length: 5", b"Transfer-Encoding: chunked", body=CHUNKED), "9112 6.1"),
    "two Content-Length": (ok(b"Content-Length: 5", b"Content-Length: 5", body=b"hello"), "9112 6.3"),
    "two different Content-Length": (ok(b"Content-Length: 5", b"Content-Length: 6", body=b"hello!"), "9112 6.3"),
    "a list as Content-Length": (ok(b"Content-Length: 5, 5", body=b"hello"), "9112 6.3"),
    "a signed Content-Length": (ok(b"Content-Length: +5", body=b"hello"), "9110 8.6"),
    "an overflowing Content-Length": (ok(b"Content-Length: 18446744073709551621", body=b"hello"), "9110 8.6"),
    "an empty Content-Length": (ok(b"Content-Length:", body=b"hello"), "9110 8.6"),
    "Transfer-Encoding: gzip, chunked": (ok(b"Transfer-Encoding: gzip, chunked", body=CHUNKED), "9112 6.1"),
    "Transfer-Encoding: identity": (ok(b"Transfer-Encoding: identity", body=b"hello"), "9112 7"),
    "Transfer-Encoding twice": (ok(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked", body=CHUNKED), "9112 6.1"),
    "Transfer-Encoding in HTTP/1.0": (ok(b"Transfer-Encoding: chunked", body=CHUNKED, status=b"HTTP/1.0 200 OK"), "9112 6.1"),
    "a space before the colon": (ok(b"X-A : b", b"Content-Length: 0"), "9112 5.1"),
    "a folded line": (ok(b"X-A: b", b" c", b"Content-Length: 0"), "9112 5.2"),
    "a field without a colon": (ok(b"X-A", b"Content-Length: 0"), "9112 5"),
    "an empty field name": (ok(b": x", b"Content-Length: 0"), "9110 5.1"),
    "a bare LF": (b"HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n", "9112 2.2"),
    "a bare CR in a value": (ok(b"X-A: b\rc", b"Content-Length: 0"), "9110 5.5"),
    "NUL in a value": (ok(b"X-A: b\0c", b"Content-Length: 0"), "9110 5.5"),
    "no HTTP at all": (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "9112 4"),
    "HTTP/2 frames": (b"\0\0\x12\x04\0\0\0\0\0" + b"\0" * 18 + b"\r\n\r\n", "9112 4"),
    "HTTP/2.0 on a line": (ok(status=b"HTTP/2.0 200 OK"), "9112 2.3"),
    "HTTP/0.9": (b"hello there\r\n\r\n", "9112 4"),
    "a status of two digits": (ok(status=b"HTTP/1.1 20 OK"), "9112 4"),
    "a status of four digits": (ok(status=b"HTTP/1.1 2000 OK"), "9112 4"),
    "a status that is no number": (ok(status=b"HTTP/1.1 2xx OK"), "9112 4"),
    "a status below 100": (ok(status=b"HTTP/1.1 099 OK"), "9110 15"),
    "two spaces in the status line": (ok(status=b"HTTP/1.1  200 OK"), "9112 4"),
    "101 nobody asked for": (ok(b"Upgrade: x", b"Connection: upgrade", status=b"HTTP/1.1 101 Switching Protocols"), "9110 7.8"),
    "1xx with a length and nothing more": (ok(b"Content-Length: 5", body=b"hello", status=b"HTTP/1.1 103 Hints"), "9110 8.6"),
    "a head beyond the limit": (ok(b"X-Long: " + b"x" * 300_000, b"Content-Length: 0"), "our limit"),
    "too many fields": (ok(*[b"X-%d: y" % i for i in range(5000)], b"Content-Length: 0"), "our limit"),
}


@pytest.mark.parametrize("name", BAD_ANSWERS)
def test_an_answer_that_can_be_read_two_ways_is_502(running, module_backend, name):
    data, _section = BAD_ANSWERS[name]
    module_backend.on("/bad", send(data), close())
    response = running.get("/bad")
    assert response.status == 502
    assert response.problem["status"] == 502
    assert response.problem["requestId"] == (response.headers.get("X-Request-ID") or response.problem["requestId"])
    running.gauges_at_zero()


FAILURES = {
    "it closes without a word": ([close()], 502),
    "it resets without a word": ([reset()], 502),
    "it closes inside the status line": ([send(b"HTTP/1.1 20"), close()], 502),
    "it closes inside the head": ([send(b"HTTP/1.1 200 OK\r\nContent-"), close()], 502),
    "it resets inside the head": ([send(b"HTTP/1.1 200 OK\r\nContent-"), wait(0.05), reset()], 502),
    "it closes after an interim answer": ([send(b"HTTP/1.1 103 Early Hints\r\n\r\n"), close()], 502),
    "it never answers": ([hang()], 504),
    "its head never ends": ([drip(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 400, size=1, pause=0.05), hang()], 504),
    "it sends more interim answers than anybody needs": ([drip(b"HTTP/1.1 102 Processing\r\n\r\n" * 200, size=27, pause=0.02), hang()], 502),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_before_the_answer_is_said_in_words(running, module_backend, name):
    script, status = FAILURES[name]
    module_backend.on("/fail", *script)
    began = time.monotonic()
    response = running.get("/fail")
    assert response.status == status
    assert response.headers["Content-Type"].startswith("application/problem+json")
    assert response.problem["requestId"]
    assert time.monotonic() - began < 4
    assert running.get("/").status == 200
    running.gauges_at_zero()


@pytest.mark.parametrize("cut", [close, reset])
@pytest.mark.parametrize("body", ["length", "chunked", "chunked, at a chunk's end", "chunked, before the last line"])
def test_a_body_cut_short_is_cut_for_the_client_too(running, module_backend, cut, body):
    """A truncated body must never look whole: the client's connection ends before the length is reached."""
    beginning = {
        "length": response_bytes(headers={"Content-Length": "100"}, length=False) + b"half of it",
        "chunked": response_bytes(headers={"Transfer-Encoding": "chunked"}, length=False) + b"64\r\nhalf of it",
        "chunked, at a chunk's end": response_bytes(headers={"Transfer-Encoding": "chunked"}, length=False) + b"5\r\nhello\r\n",
        "chunked, before the last line": response_bytes(headers={"Transfer-Encoding": "chunked"}, length=False) + b"5\r\nhello\r\n0\r\n",
    }[body]
    module_backend.on("/cut", send(beginning), wait(0.1), cut())
    with running.send(request_bytes(target="/cut")) as wire:
        assert wire.read_response_head().status == 200
        rest = wire.read_until_close(5)
        assert not rest.endswith(b"0\r\n\r\n")
    running.gauges_at_zero()


@pytest.mark.parametrize("protocol", ["http/1.1", "h2"])
@pytest.mark.parametrize("cut", ["fin", "reset"])
@pytest.mark.parametrize("beginning", [
    response_bytes(headers={"Content-Length": "100"}, length=False),
    response_bytes(headers={"Content-Length": "100"}, length=False) + b"half of it",
    response_bytes(headers={"Transfer-Encoding": "chunked"}, length=False) + b"5\r\nhello\r\n",
    response_bytes(headers={"Transfer-Encoding": "chunked"}, length=False) + b"5\r\nhello\r\n0\r\n",
], ids=["a head", "half a body", "a chunk", "all but the last line"])
def test_an_answer_that_breaks_as_it_comes_is_told_in_words(running, module_backend, beginning, cut, protocol):
    """Head and break are there together: nothing has gone to the client, so it gets a whole 502 and not a cut answer (RFC 9110 15.6.3). A reset may be
    noticed a turn later than what came before it: then what has gone is visibly cut (RFC 9112 8). Never does it look whole."""
    module_backend.on("/breaks", *([send_with_fin(beginning)] if cut == "fin" else [send(beginning), reset()]))
    for _ in range(5):
        if protocol == "h2":
            with H2Client(running.address) as client:
                answer = client.get("/breaks")
            status, told, was_cut = answer.status, bytes(answer.body), answer.reset is not None
        else:
            with running.send(request_bytes(target="/breaks", headers={"Connection": "close"})) as wire:
                status, told, was_cut = read_what_came(wire)
        assert status == 502 or (cut == "reset" and status in (200, None) and was_cut), (status, told)
        if status == 502:
            assert b"the service broke off inside its answer" in told and not was_cut
    running.gauges_at_zero()


def read_what_came(wire):
    """Status, body and whether that was cut."""
    try:
        head = wire.read_response_head()
    except WireError:
        return None, b"", True
    try:
        wire.read_response_body(head)
        return head.status, bytes(head.body), False
    except WireError:
        return head.status, b"", True


BAD_BODIES = {
    "a chunk size that is no number": b"zz\r\nhello\r\n0\r\n\r\n",
    "a chunk longer than it says": b"4\r\nhello\r\n0\r\n\r\n",
    "a chunk size beyond 2^64": b"10000000000000005\r\nhello\r\n0\r\n\r\n",
    "bare LF after a chunk size": b"5\nhello\r\n0\r\n\r\n",
    "a folded trailer": b"5\r\nhello\r\n0\r\nX: a\r\n b\r\n\r\n",
}


@pytest.mark.parametrize("name", BAD_BODIES)
def test_bad_chunks_never_end_well(running, module_backend, name):
    """The head may have gone; then the body is cut. Never is a bad body completed for the client."""
    module_backend.on("/badchunk", send(response_bytes(headers={"Transfer-Encoding": "chunked"}, length=False)), wait(0.05), send(BAD_BODIES[name]), close())
    with running.send(request_bytes(target="/badchunk")) as wire:
        head = wire.read_response_head()
        if head.status == 200:
            assert not wire.read_until_close(5).endswith(b"0\r\n\r\n")
        else:
            assert head.status == 502
    running.gauges_at_zero()


def test_a_body_that_stalls_is_given_up(running, module_backend):
    """idleTimeoutMs between two pieces."""
    module_backend.on("/stall", send(response_bytes(headers={"Content-Length": "100"}, length=False) + b"begun"), hang())
    began = time.monotonic()
    with running.send(request_bytes(target="/stall")) as wire:
        wire.read_response_head()
        assert wire.read_until_close(5) == b"begun"
    assert 0.4 < time.monotonic() - began < 3
    running.gauges_at_zero()


def test_a_body_that_drips_within_the_time_is_not_given_up(running, module_backend):
    """Each piece renews the time: the whole may take longer than any limit."""
    module_backend.on("/drips", send(response_bytes(headers={"Content-Length": "12"}, length=False)), drip(b"x" * 12, size=1, pause=0.2))
    assert running.get("/drips").body == b"x" * 12


def test_bytes_beyond_the_length_reach_nobody(running, module_backend):
    """Double length: the connection is thrown away, the next request gets its own answer."""
    module_backend.on("/double", send(response_bytes(body=b"first") + response_bytes(body=b"STALE ANSWER FOR SOMEONE ELSE")))
    for _ in range(10):
        assert running.get("/double").body == b"first"
        assert running.get("/other").body == b"one"


def test_an_unasked_answer_on_an_idle_connection_reaches_nobody(running, module_backend):
    module_backend.on("/late-extra", answer(200, body=b"mine"), wait(0.1), send(response_bytes(408, body=b"unasked", reason="Request Timeout")))
    assert running.get("/late-extra").body == b"mine"
    time.sleep(0.3)
    for _ in range(5):
        assert running.get("/other").body == b"one"


def test_an_answer_to_head_with_a_body_does_not_poison_the_connection(running, module_backend):
    module_backend.on("/head", send(response_bytes(body=b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad")))
    for _ in range(5):
        with running.send(request_bytes("HEAD", "/head") + request_bytes(target="/other")) as wire:
            assert wire.read_response("HEAD").status == 200
            assert wire.read_response().body == b"one"


def test_204_with_a_body_does_not_poison_the_connection(running, module_backend):
    module_backend.on("/nothing", send(b"HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad"))
    for _ in range(5):
        with running.send(request_bytes(target="/nothing") + request_bytes(target="/other")) as wire:
            assert wire.read_response().status == 204
            assert wire.read_response().body == b"one"


def test_a_stale_kept_connection_never_shows(gateway, backend):
    """The backend closes what it has kept idle, at any moment: the client sees nothing but answers."""
    backend.close_idle_after = 0.05
    running = gateway(proxy(backend, route={"retryCount": 0}))
    for pause in (0, 0.02, 0.04, 0.045, 0.049, 0.05, 0.051, 0.055, 0.06, 0.1) * 3:
        assert running.get("/").status == 200
        time.sleep(pause)


def test_a_kept_connection_closed_under_a_post_never_shows_either(gateway, backend):
    """Each POST comes when the close is known for long."""
    backend.close_idle_after = 0.05
    running = gateway(proxy(backend, route={"retryCount": 0}))
    for _ in range(10):
        assert running.request("POST", "/", body=b"x").status == 200
        time.sleep(0.15)
    assert len(backend.requests) == 10


def stopped(running):
    """The gateway stands still meanwhile: what happens then reaches it all at once, in that order."""
    @contextlib.contextmanager
    def standing_still():
        pid, = running.gateway_processes()
        stop_process(pid)
        try:
            yield
            time.sleep(0.02)
        finally:
            os.kill(pid, signal.SIGCONT)
    return standing_still()


def kept_connections(running, backend, count):
    """As many clients, and as many connections kept to the backend."""
    gate = threading.Event()
    backend.on("/warm", wait_for(gate), answer(200))
    wires = [running.send(request_bytes(target="/warm")) for _ in range(count)]
    backend.wait_for_requests(count)
    gate.set()
    assert [wire.read_response().status for wire in wires] == [200] * count
    running.wait_for_metric("sluice_upstream_connections_idle", count)
    backend.forget()
    return wires


@pytest.mark.parametrize("last_words", [b"", response_bytes(408, body=b"too slow", reason="Request Timeout")], ids=["silently", "with a word"])
def test_posts_that_come_just_before_the_close_is_noticed_go_elsewhere(gateway, backend, last_words):
    """The requests stand before the FINs in what the gateway is told, and yet none is written to a connection whose FIN
    has come; nothing counts as a retry, and nothing is sent twice."""
    running = gateway(proxy(backend, route={"retryCount": 0}))
    wires = kept_connections(running, backend, 20)
    backend.by_default(echo())
    with stopped(running):
        for number, wire in enumerate(wires):
            wire.send(request_bytes("POST", "/post", body=b"%d" % number))
        for kept in list(backend._wires):
            kept.send(last_words)
            kept.half_close()
    responses = [wire.read_response() for wire in wires]
    assert [response.status for response in responses] == [200] * 20
    assert [response.body for response in responses] == [b"%d" % number for number in range(20)]
    assert len(backend.requests) == 20
    assert running.metric("sluice_upstream_retries_total") == 0
    for wire in wires:
        wire.close()
    running.gauges_at_zero()


def test_posts_racing_with_a_backend_that_closes_what_is_idle_are_answered(gateway, backend):
    """Unarranged: many clients, each of whose pauses is about as long as the backend's patience."""
    backend.close_idle_after = 0.02
    running = gateway(proxy(backend, route={"retryCount": 0}))
    statuses = []

    def client(seed):
        pauses = random.Random(seed)
        with running.connect() as wire:
            for _ in range(30):
                wire.send(request_bytes("POST", "/", body=b"x"))
                statuses.append(wire.read_response().status)
                time.sleep(pauses.uniform(0.015, 0.025))
    threads = [threading.Thread(target=client, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # A FIN may still cross with the request on the wire; then nobody knows whether it was executed, and 502 says so.
    assert len(statuses) == 240 and statuses.count(200) >= 230, statuses
    running.gauges_at_zero()


def test_a_refused_connection_is_502_with_the_instance_in_the_log(gateway, backend):
    running = gateway(proxy(backend, route={"retryCount": 0}))
    backend.stop_listening()
    response = running.get("/")
    assert response.status == 502 and response.problem["requestId"]
    assert backend.address not in response.body.decode(), "the client needn't know our addresses"
    running.gauges_at_zero()


def test_no_instance_at_all_is_503(gateway, backend):
    response = gateway(proxy({"host": "127.0.0.1", "port": backend.port, "weight": 0})).get("/")
    assert response.status == 503 and response.problem["status"] == 503
    assert backend.requests == []


def test_an_instance_that_accepts_nothing_is_504_by_connect_timeout(gateway):
    """A listener with a full backlog: SYNs go unanswered."""
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        port = deaf.getsockname()[1]
        fillers = []
        for _ in range(8):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
            fillers.append(filler)
        running = gateway(proxy(f"127.0.0.1:{port}", route={"retryCount": 0}, service_fields={"connectTimeoutMs": 300}))
        began = time.monotonic()
        response = running.get("/")
        assert response.status == 504 and time.monotonic() - began < 2
        for filler in fillers:
            filler.close()
        running.gauges_at_zero()


def test_an_answer_without_length_from_a_reset_is_not_passed_as_whole(running, module_backend):
    """Until-close bodies can't be told whole from cut, except by a reset."""
    module_backend.on("/eof-reset", send(response_bytes(body=b"part", length=False)), wait(0.1), reset())
    with running.send(request_bytes(target="/eof-reset")) as wire:
        head = wire.read_response_head()
        assert head.status == 200
        try:
            wire.read_response_body(head)
            whole = head.headers.get("Transfer-Encoding") is not None
        except WireError:
            whole = False
    assert not whole


def test_many_failures_at_once_leave_nothing_behind(running, module_backend):
    """Every kind in parallel, and after them all gauges are at rest."""
    scripts = {f"/storm{i}": script for i, script in enumerate(
        [[close()], [reset()], [send(b"HTTP/1.1 20"), reset()], [send_with_fin(response_bytes(body=b"fin"))],
         [send(response_bytes(headers={"Content-Length": "9"}, length=False) + b"cut"), reset()], [answer(200, body=b"fine")],
         [send(response_bytes(headers={"Transfer-Encoding": "chunked"}, length=False) + chunked(b"fine"))]])}
    for path, script in scripts.items():
        module_backend.on(path, *script)

    def one(path):
        for _ in range(10):
            with running.send(request_bytes(target=path)) as wire:
                try:
                    wire.read_response()
                except WireError:
                    pass
    threads = [threading.Thread(target=one, args=(path,)) for path in list(scripts) * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    running.gauges_at_zero()
    assert running.get("/").status == 200


def test_bytes_that_came_just_before_a_request_are_no_answer_to_it(gateway, backend):
    """The gateway is told of the requests first and of the unasked bytes behind, in one go: nobody gets them, nor another's answer."""
    running = gateway(proxy(backend, route={"retryCount": 0}))
    wires = kept_connections(running, backend, 10)
    backend.by_default(lambda wire, request: wire.send(response_bytes(body=request.target.encode())))
    with stopped(running):
        for number, wire in enumerate(wires):
            wire.send(request_bytes(target=f"/mine/{number}"))
        for kept in list(backend._wires):
            kept.send(response_bytes(200, body=b"poison"))
    responses = [wire.read_response() for wire in wires]
    assert [response.body for response in responses] == [b"/mine/%d" % number for number in range(10)]
    for wire in wires:
        wire.close()
    running.gauges_at_zero()
