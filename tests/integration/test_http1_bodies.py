"""Bodies pass both ways as streams: whole, in order, framed anew, with their trailers, and never held back in full."""
import hashlib
import os
import threading
import time

import pytest

from backend import answer, before_body, close, drip, echo, read_body, send, send_with_fin, wait, wait_for
from gateway import proxy
from wire import chunked, request_bytes, response_bytes

pytestmark = pytest.mark.both_builds

TE = {"Transfer-Encoding": "chunked"}


@pytest.fixture(scope="module")
def running(module_gateway, module_backend):
    return module_gateway(proxy(module_backend))


@pytest.fixture(autouse=True)
def forget(module_backend):
    module_backend.forget()


@pytest.mark.parametrize("size", [0, 1, 4095, 65536, 1 << 20, 20 << 20], ids=str)
def test_a_body_comes_back_as_it_was_sent(running, module_backend, size):
    module_backend.on("/echo", echo())
    body = os.urandom(size)
    with running.connect() as wire:
        threading.Thread(target=wire.send, args=(request_bytes("POST", "/echo", body=body),), daemon=True).start()
        response = wire.read_response()
    assert response.status == 200
    assert hashlib.sha256(response.body).digest() == hashlib.sha256(body).digest()


@pytest.mark.parametrize("pieces", [[b"a"], [b"a", b"bc", b"def"], [b"x" * 70000, b"y"], [bytes([i]) for i in range(200)]], ids=lambda pieces: f"{len(pieces)} chunks")
def test_chunks_go_in_and_come_back(running, module_backend, pieces):
    module_backend.on("/chunks", send(response_bytes(headers=TE, length=False) + chunked(*pieces)))
    with running.send(request_bytes("POST", "/chunks", TE) + chunked(*pieces)) as wire:
        response = wire.read_response()
    assert response.body == b"".join(pieces) == module_backend.requests[0].body
    assert response.headers["Transfer-Encoding"] == "chunked"


def test_trailers_travel_both_ways(running, module_backend):
    module_backend.on("/t", send(response_bytes(headers={**TE, "Trailer": "X-Sum"}, length=False) + chunked(b"body", trailers=[("X-Sum", "42"), ("X-More", "y")])))
    with running.send(request_bytes("POST", "/t", {**TE, "TE": "trailers"}) + chunked(b"body", trailers=[("X-Up", "1")])) as wire:
        response = wire.read_response()
    assert (response.trailers["X-Sum"], response.trailers["X-More"]) == ("42", "y")
    assert module_backend.requests[0].trailers["X-Up"] == "1"


@pytest.mark.parametrize("name", [
    "Content-Length", "Transfer-Encoding", "Host", "Connection", "TE", "Trailer", "Upgrade", "Keep-Alive", "Expect", "Content-Type",
    "Authorization", "Proxy-Authorization", "Cookie", "X-API-Key", "Forwarded", "X-Forwarded-For", "X-Forwarded-Host",
    "X-Forwarded-Proto", "X-Request-ID", "X-Authenticated-User", "X-Client-ID", "X_Client_ID", "x-authenticated_user", "X_Forwarded-For"])
def test_a_trailer_that_must_not_be_one_does_not_pass(running, module_backend, name):
    """RFC 9110 6.5.1: framing, routing and authentication can't come after the body; nor can what heads don't bring in."""
    with running.send(request_bytes("POST", "/t2", TE) + chunked(b"body", trailers=[(name, "1"), ("X-Fine", "1")])) as wire:
        response = wire.read_response()
    if response.status == 200:
        assert name not in module_backend.requests[0].trailers
    else:
        assert response.status == 400


def test_trailers_that_connection_names_stay_on_their_hop(running, module_backend):
    """RFC 9110 7.6.1, both ways; what a field is named to be it is in the trailers too."""
    module_backend.on("/t3", send(response_bytes(headers={**TE, "Connection": "x-hop, X-Other"}, length=False) +
                                  chunked(b"body", trailers=[("X-Hop", "1"), ("X-Fine", "1")])))
    module_backend.forget()
    with running.send(request_bytes("POST", "/t3", [*TE.items(), ("Connection", "X-Mine"), ("Connection", "X-Too")]) +
                      chunked(b"body", trailers=[("X-Mine", "1"), ("x-too", "1"), ("X-Fine", "1")])) as wire:
        response = wire.read_response()
    assert response.trailers.names() == ["x-fine"]
    assert module_backend.requests[0].trailers.names() == ["x-fine"]


@pytest.mark.parametrize("pause", [0, 0.05], ids=["with the head", "later"])
def test_what_no_response_carries_no_trailer_carries(gateway, backend, pause):
    """The internal names and Server; the list may hold a known name."""
    trailers = [("X-Internal-Host", "db1"), ("x-internal-", "1"), ("Server", "secret/1"), ("X-Debug", "1"), ("ETag", '"a"'), ("X-Fine", "1")]
    backend.on("/", send(response_bytes(headers=TE, length=False)), wait(pause), send(chunked(b"body", trailers=trailers)))
    running = gateway(proxy(backend, internalResponseHeaders=["X-Internal-*", "X-Debug", "ETag"]))
    assert running.get("/").trailers.names() == ["x-fine"]


def test_a_chunk_arrives_while_the_next_is_still_to_come(running, module_backend):
    """Nothing waits for the whole: the first piece is with the client before the backend has written the second."""
    go_on = threading.Event()
    module_backend.on("/stream", send(response_bytes(headers=TE, length=False) + b"5\r\nfirst\r\n"), wait_for(go_on), send(b"6\r\nsecond\r\n0\r\n\r\n"))
    with running.send(request_bytes(target="/stream")) as wire:
        head = wire.read_response_head()
        assert head.status == 200
        size = int(wire.read_line(), 16)
        assert wire.read_exactly(size + 2) == b"first\r\n"
        go_on.set()
        assert wire.read_line() == b"6"


def test_a_request_body_arrives_while_the_client_still_sends(running, module_backend):
    seen = threading.Event()

    def first_piece(wire, request):
        assert wire.read_exactly(10) == b"0123456789"
        seen.set()
        wire.read_exactly(10)
        request.complete = True
    module_backend.on("/up", before_body, first_piece, answer(200))
    with running.send(request_bytes("POST", "/up", {"Content-Length": "20"}) + b"0123456789") as wire:
        assert seen.wait(5), "the first half was held back"
        wire.send(b"0123456789")
        assert wire.read_response().status == 200


def test_an_answer_that_ends_with_the_connection_is_whole(running, module_backend):
    module_backend.on("/eof", send(response_bytes(body=b"until the end", length=False)), close())
    response = running.get("/eof")
    assert response.status == 200 and response.body == b"until the end"


def test_data_and_fin_in_one_segment_lose_nothing(running, module_backend):
    for size in (1, 100, 16384, 200_000):
        module_backend.on("/fin", send_with_fin(response_bytes(body=b"z" * size)))
        assert running.get("/fin").body == b"z" * size
        module_backend.on("/fin", send_with_fin(response_bytes(body=b"z" * size, length=False)))
        assert running.get("/fin").body == b"z" * size


def test_a_dripping_head_and_body_are_put_together(running, module_backend):
    module_backend.on("/drip", drip(response_bytes(headers=TE, length=False) + chunked(b"slow", b"er"), size=1, pause=0.001))
    assert running.get("/drip").body == b"slower"


@pytest.mark.parametrize("length", ["Content-Length: 10", "Transfer-Encoding: chunked", None])
def test_head_has_the_length_and_no_body(running, module_backend, length):
    fields = [tuple(length.split(": "))] if length else []
    module_backend.on("/head", send(response_bytes(headers=fields, length=False)))
    with running.send(request_bytes("HEAD", "/head") + request_bytes(target="/after")) as wire:
        response = wire.read_response("HEAD")
        assert response.status == 200 and response.body == b""
        if length and "Content-Length" in length:
            assert response.headers["Content-Length"] == "10"
        assert wire.read_response().body == b"one"


@pytest.mark.parametrize("status", [204, 304])
def test_what_has_no_body_gets_none(running, module_backend, status):
    fields = {"ETag": '"x"', **({"Content-Length": "10"} if status == 304 else {})}
    module_backend.on("/none", send(response_bytes(status, fields, length=False)))
    with running.send(request_bytes(target="/none") + request_bytes(target="/after")) as wire:
        response = wire.read_response()
        assert response.status == status and response.headers["ETag"] == '"x"'
        assert wire.read_response().body == b"one"


def test_interim_answers_pass_in_order(running, module_backend):
    module_backend.on("/hints", send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </b>\r\n\r\n"),
                      wait(0.05), send(b"HTTP/1.1 102 Processing\r\n\r\n"), answer(200, body=b"done"))
    with running.send(request_bytes(target="/hints")) as wire:
        response = wire.read_response()
    assert [one.status for one in response.interim] == [103, 103, 102]
    assert [one.headers.get("Link") for one in response.interim] == ["</a>", "</b>", None]
    assert response.body == b"done"


def test_http_1_0_clients_get_no_interim_answer(running, module_backend):
    module_backend.on("/hints10", send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"), answer(200, body=b"done"))
    with running.send(b"GET /hints10 HTTP/1.0\r\n\r\n") as wire:
        response = wire.read_response()
    assert response.interim == [] and response.body == b"done"


def test_expect_100_continue_is_answered_before_the_body(running, module_backend):
    with running.send(request_bytes("POST", "/expect", {"Expect": "100-continue", "Content-Length": "5"})) as wire:
        assert wire.read_response_head().status == 100
        wire.send(b"hello")
        response = wire.read_response()
    assert response.status == 200 and response.interim == []
    assert module_backend.requests[0].body == b"hello"


def test_a_final_answer_may_come_instead_of_100(running, module_backend):
    module_backend.on("/refuse", before_body, answer(403, {"Connection": "close"}, b"no"), close())
    with running.send(request_bytes("POST", "/refuse", {"Expect": "100-continue", "Content-Length": "5"})) as wire:
        response = wire.read_response()
    assert response.status == 403 and response.body == b"no"


def test_an_early_answer_reaches_the_client_while_it_still_sends(running, module_backend):
    module_backend.on("/early", before_body, answer(413, {"Connection": "close"}, b"too much"), wait(0.2), close())
    with running.send(request_bytes("POST", "/early", {"Content-Length": "100000000"}) + b"x" * 100_000) as wire:
        response = wire.read_response()
    assert response.status == 413 and response.body == b"too much"


def test_an_early_answer_on_a_kept_connection_leaves_it_in_step(running, module_backend):
    """The rest of a body that nobody wants is drained, or the connection is closed: never read as the next request."""
    module_backend.on("/early2", before_body, answer(200, body=b"early"), read_body())
    body = request_bytes(target="/smuggled")
    with running.send(request_bytes("POST", "/early2", {"Content-Length": str(len(body))})) as wire:
        assert wire.read_response().body == b"early"
        try:
            wire.send(body + request_bytes(target="/next"))
        except OSError:
            pass  # closed already, which is right too
        rest = wire.read_response_or_close()
        assert rest is None or rest.body == b"one"
    assert "/smuggled" not in module_backend.targets()


def test_a_client_that_has_finished_sending_still_gets_its_answer(running, module_backend):
    """Half-closed connections are served while an answer begins within limits.halfCloseTimeoutMs."""
    module_backend.on("/half", wait(0.2), answer(200, body=b"still here"))
    with running.send(request_bytes(target="/half")) as wire:
        wire.half_close()
        assert wire.read_response().body == b"still here"
        assert wire.is_closed()


def test_a_pipeline_is_answered_in_order(running, module_backend):
    module_backend.on("/slow", wait(0.2), answer(200, body=b"slow"))
    with running.send(b"".join(request_bytes(target=target) for target in ("/slow", "/a", "/slow", "/b"))) as wire:
        assert [wire.read_response().body for _ in range(4)] == [b"slow", b"one", b"slow", b"one"]


def test_a_pipeline_of_a_thousand_is_answered_whole(running):
    with running.connect() as wire:
        threading.Thread(target=wire.send, args=(b"".join(request_bytes(target=f"/{i}") for i in range(1000)),), daemon=True).start()
        for _ in range(1000):
            assert wire.read_response().status == 200


def test_pipelined_posts_keep_their_own_bodies(running, module_backend):
    module_backend.on("/echo", echo())
    bodies = [b"first", b"", b"third" * 1000, b"4"]
    data = b"".join(request_bytes("POST", "/echo", body=body) for body in bodies)
    with running.send(data) as wire:
        assert [wire.read_response().body for _ in bodies] == bodies


def test_a_slow_reader_holds_back_the_backend_not_the_gateways_memory(running, module_backend):
    """Back-pressure: while a client reads nothing, buffers stay within a small bound and the backend can't get rid of more."""
    sent = []

    def endless(wire, request):
        wire.send(response_bytes(headers={"Content-Length": str(1 << 30)}, length=False))
        wire.socket.settimeout(2)
        try:
            while sum(sent) < 1 << 30:
                wire.socket.sendall(b"x" * 65536)
                sent.append(65536)
        except OSError:
            pass
        wire.reset()
    module_backend.on("/endless", endless)
    with running.connect(receive_buffer=8192) as wire:
        wire.send(request_bytes(target="/endless"))
        wire.read_response_head()
        time.sleep(1.5)
        assert running.metric("sluice_buffer_bytes") <= 4 << 20
        assert sum(sent) < 64 << 20, "the backend could push everything at once"


def test_the_answer_of_an_http_1_0_backend_is_understood(running, module_backend):
    module_backend.on("/old", send(response_bytes(body=b"old", version="1.0")), close())
    response = running.get("/old")
    assert response.status == 200 and response.body == b"old" and response.minor_version == 1
    module_backend.on("/older", send(b"HTTP/1.0 200 OK\r\n\r\nolder"), close())
    assert running.get("/older").body == b"older"


OWN = {"routes": [{"name": "said", "path": "/said", "respond": {"status": 200, "body": "said"}},
                  {"name": "moved", "path": "/moved", "redirect": {"to": "/said"}}]}


@pytest.mark.parametrize("target, status", [("/said", 200), ("/moved", 302), ("/nowhere", 404)])
def test_an_answer_without_the_request_s_body_says_whether_the_connection_goes_on(module_gateway, target, status):
    """A client that was told that it may use the connection again would lose its next request on it."""
    own = module_gateway(OWN)
    def post(length):
        return request_bytes("POST", target, {"Content-Length": str(length)})
    with own.send(post(10 << 20) + b"x" * 1000) as wire:
        response = wire.read_response()
        assert response.status == status and response.headers["Connection"] == "close"
    with own.connect() as wire:
        for length in (1, 1000, 200 * 1024):  # little enough to be passed over
            wire.send(post(length))
            response = wire.read_response()
            assert response.status == status and "Connection" not in response.headers
            wire.send(b"x" * length)
        wire.send(request_bytes("GET", "/said"))
        assert wire.read_response().body == b"said"
