"""The tests' own tools, tested against themselves: a backend that lies or a reader that forgives would hide faults."""
import socket

import httpx
import pytest

from backend import (answer, before_body, close, drip, echo, hang, read_body, reset, send, send_with_fin, wait)
from plain_http import PLAIN_HTTP
from wire import WireClosed, WireError, chunked, connect, request_bytes, response_bytes


def dial(backend):
    return connect((backend.host, backend.port))


def test_a_backend_answers_a_strict_client_and_a_library_alike(backend):
    backend.on("/echo", echo())
    with dial(backend) as wire:
        wire.send(request_bytes(target="/a?b=c", headers={"X-One": "1"}))
        assert wire.read_response().body == b"one"
        wire.send(request_bytes("POST", "/echo", body=b"hello"))
        assert wire.read_response().body == b"hello"
    assert httpx.post(f"http://{backend.address}/echo", content=b"there", **PLAIN_HTTP).content == b"there"
    assert backend.targets() == ["/a?b=c", "/echo", "/echo"]
    assert backend.requests[0].raw_head.startswith(b"GET /a?b=c HTTP/1.1\r\nHost: gateway.test\r\nX-One: 1\r\n")
    assert backend.requests[0].connection == backend.requests[1].connection != backend.requests[2].connection


def test_chunked_bodies_and_trailers_are_read_both_ways(backend):
    backend.on("/", send(response_bytes(headers={"Transfer-Encoding": "chunked"}, length=False)),
               send(chunked(b"one", b"two", trailers=[("X-Sum", "5")])))
    with dial(backend) as wire:
        wire.send(request_bytes("POST", headers={"Transfer-Encoding": "chunked"}) + chunked(b"ab", b"c", trailers=[("T", "v")]))
        response = wire.read_response()
    assert (response.body, response.chunks, response.trailers["X-Sum"]) == (b"onetwo", [3, 3], "5")
    assert (backend.requests[0].body, backend.requests[0].trailers["T"]) == (b"abc", "v")


def test_data_and_fin_arrive_together(backend):
    backend.on("/", send_with_fin(response_bytes(body=b"bye")))
    with dial(backend) as wire:
        wire.send(request_bytes())
        assert wire.read_response().body == b"bye"
        assert wire.is_closed()


def test_a_reset_in_the_middle_is_seen_as_cut(backend):
    backend.on("/", send(response_bytes(headers={"Content-Length": "10"}, length=False) + b"half"), wait(0.1), reset())
    with dial(backend) as wire:
        wire.send(request_bytes())
        with pytest.raises(WireClosed):
            wire.read_response()


def test_a_slow_answer_trickles_in_and_an_orderly_close_follows(backend):
    backend.on("/", drip(response_bytes(body=b"slow"), size=8, pause=0.001), close())
    with dial(backend) as wire:
        wire.send(request_bytes())
        assert wire.read_response().body == b"slow"
        assert wire.is_closed()


def test_an_answer_can_come_before_the_body_was_read(backend):
    backend.on("/", before_body, answer(413), read_body())
    with dial(backend) as wire:
        wire.send(request_bytes("POST", headers={"Content-Length": "5"}))
        assert wire.read_response().status == 413
        wire.send(b"12345" + request_bytes(target="/next"))
        assert wire.read_response().status == 200
    assert backend.requests[0].body == b"12345"


def test_scripts_in_turn_are_used_one_after_another(backend):
    backend.in_turn("/", [answer(503)], [answer(200)])
    with dial(backend) as wire:
        assert [wire.send(request_bytes()).read_response().status for _ in range(3)] == [503, 200, 200]


def test_several_interim_answers_are_kept_apart(backend):
    backend.on("/", send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n"), answer())
    with dial(backend) as wire:
        response = wire.send(request_bytes()).read_response()
    assert [one.status for one in response.interim] == [103, 102] and response.status == 200


@pytest.mark.parametrize("bad", [
    b"GET / HTTP/1.1\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX:\r\n folded\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;x\r\na\r\n0\r\n\r\n",
])
def test_a_backend_notes_what_a_strict_reader_refuses(new_backend, bad):
    strict = new_backend("strict")
    with dial(strict) as wire:
        wire.send(bad).half_close()
        wire.read_until_close()
    assert strict.violations
    strict.violations.clear()


@pytest.mark.parametrize("bad", [
    b"HTTP/1.1 200\r\n\r\n", b"HTTP/1.1 200 OK\nA: b\r\n\r\n", b"HTTP/2.0 200 OK\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
])
def test_the_reader_refuses_a_lax_answer(backend, bad):
    backend.on("/", send(bad), close())
    with dial(backend) as wire, pytest.raises(WireError):
        wire.send(request_bytes()).read_response()


def test_a_backend_that_stops_listening_refuses_and_comes_back(backend):
    port = backend.port
    backend.stop_listening()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 2)
    backend.listen_again()
    with dial(backend) as wire:
        assert wire.send(request_bytes()).read_response().status == 200


def test_a_hanging_script_notices_that_the_peer_left(backend):
    backend.on("/", hang())
    dial(backend).send(request_bytes()).close()
    request = backend.wait_for_requests(1)[0]
    for _ in range(100):
        if hasattr(request, "abandoned_at"):
            break
        wait(0.02)(None, None)
    assert request.abandoned_at


def test_the_name_server_answers_and_forgets(name_server):
    name_server.set(users=["127.0.0.1", "127.0.0.2"])
    assert name_server._answers()
    assert name_server.queries("users") == 0
