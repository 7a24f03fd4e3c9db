"""Policies that wait and body stages, on the wire: what unit tests prove with memory for a client holds with sockets too."""
import os
import time

import pytest

from backend import answer, echo
from gateway import TEST_BINARY, proxy
from wire import chunked, request_bytes

pytestmark = pytest.mark.skipif(not os.access(TEST_BINARY, os.X_OK), reason=f"no {TEST_BINARY}: the build has no test gateway")


@pytest.fixture
def filtered(gateway, backend):
    """filtered({...}, {...}) starts a gateway whose one route has these filters."""
    def start(*filters, **route):
        backend.by_default(echo())
        return gateway(proxy(backend, route={"filters": list(filters), "retryCount": 0, **route}), binary=TEST_BINARY)
    return start


@pytest.mark.parametrize("kind", ["test-wait", "test_wait_thread"])
def test_a_request_and_its_answer_wait_and_go_on(filtered, backend, kind):
    running = filtered({"type": kind, "delayMs": 20}, {"type": kind, "delayMs": 20, "on": "response"})
    begun = time.monotonic()
    response = running.get("/")
    assert response.status == 200 and response.headers["X-Waited"] == "done"
    assert backend.requests[0].headers["X-Waited"] == "done"
    assert time.monotonic() - begun >= 0.04
    running.gauges_at_zero()


@pytest.mark.parametrize("kind", ["test-wait", "test-wait-thread"])
def test_what_comes_too_late_is_not_waited_for(filtered, backend, kind):
    running = filtered({"type": kind, "delayMs": 400, "deadlineMs": 30})
    response = running.get("/")
    assert response.status == 504 and response.problem["rule"] == "test-wait"
    assert backend.requests == []
    time.sleep(0.45)  # the thread's ticket arrives and finds nobody
    assert running.get("/").status == 504
    running.gauges_at_zero()


@pytest.mark.parametrize("how", ["reset", "close"])
@pytest.mark.parametrize("kind", ["test-wait", "test-wait-thread"])
@pytest.mark.parametrize("side", ["request", "response"])
def test_a_client_that_goes_ends_the_wait(gateway, backend, kind, side, how):
    config = proxy(backend, route={"filters": [{"type": kind, "on": side, "delayMs": 4000}], "retryCount": 0},
                   limits={"halfCloseTimeoutMs": 0})
    running = gateway(config, binary=TEST_BINARY)
    wires = [running.send(request_bytes()) for _ in range(20)]
    time.sleep(0.05)
    for wire in wires:
        getattr(wire, how)()
    running.gauges_at_zero(timeout=2)  # long before the wait is over by itself


BODY = bytes(range(256)) * 1200  # beyond the windows of pipes and slabs


def sent(body, in_chunks):
    if not in_chunks:
        return request_bytes("POST", "/", body=body)
    pieces = [body[at:at + 5000] for at in range(0, len(body), 5000)]
    return request_bytes("POST", "/", {"Transfer-Encoding": "chunked"}) + chunked(*pieces)


def grown(body):
    return bytes(byte for byte in body for _ in range(2))


def on_response(kind):
    return {"type": kind, "on": "response"}


GROW, SHRINK = {"type": "test-grow"}, {"type": "test-shrink"}
WAYS = {
    "a request grows": ([GROW], grown(BODY)),
    "a request shrinks": ([SHRINK], BODY[::2]),
    "an answer grows": ([on_response("test-grow")], grown(BODY)),
    "an answer shrinks": ([on_response("test-shrink")], BODY[::2]),
    "both grow and shrink": ([GROW, SHRINK, on_response("test-shrink"), on_response("test-grow")], BODY),
}


@pytest.mark.parametrize("in_chunks", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_bodies_grow_and_shrink_on_their_way(filtered, way, in_chunks):
    filters, expected = WAYS[way]
    running = filtered(*filters)
    with running.send(sent(BODY, in_chunks)) as wire:
        response = wire.read_response("POST")
    assert response.status == 200 and response.body == expected, f"{len(response.body)} of {len(expected)} bytes"
    running.gauges_at_zero()


def test_a_held_body_arrives_as_a_whole(filtered):
    running = filtered({"type": "test-hold"})
    with running.send(sent(BODY[:20000], True)) as wire:
        assert wire.read_response("POST").body == BODY[:20000]


def test_a_client_that_expects_100_is_asked_for_a_body_behind_a_stage(filtered):
    running = filtered({"type": "test-grow"})
    with running.send(request_bytes("POST", "/", {"Expect": "100-continue", "Content-Length": "3"})) as wire:
        assert wire.read_response_head().status == 100
        wire.send(b"abc")
        assert wire.read_response("POST").body == b"aabbcc"


def test_a_stage_that_breaks_off_half_way_answers_for_the_request(filtered):
    running = filtered({"type": "test-refuse", "bytes": "10KiB"})
    with running.send(sent(BODY, True)) as wire:
        assert wire.read_response("POST").status == 413
    assert running.get("/").status == 200
    running.gauges_at_zero()


def test_an_answer_that_is_broken_off_half_way_looks_broken_off(filtered, backend):
    running = filtered({"type": "test-refuse", "bytes": "100KiB", "on": "response"})
    backend.by_default(answer(200, body=BODY))
    with running.send(request_bytes()) as wire:
        head = wire.read_response_head()
        assert head.status == 200 and "Content-Length" not in head.headers
        assert not wire.read_until_close().endswith(b"0\r\n\r\n")
    running.gauges_at_zero()


def test_a_header_that_cannot_be_written_gives_one_clean_500(filtered, backend):
    running = filtered({"type": "test-line-break"}, {"type": "test-grow", "on": "response"})
    response = running.get("/")
    assert response.status == 500 and "X-Second" not in response.headers
    assert response.problem["status"] == 500
    running.gauges_at_zero()
