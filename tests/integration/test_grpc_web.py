"""grpc-web on the wire, in front of a service that speaks gRPC's frames over HTTP/1.1 with trailers behind the chunks."""
import base64
import threading

import pytest

from backend import answer, hang, send, wait_for
from gateway import proxy
from grpc_web import answer_of, decoded, frames, message
from wire import WireClosed, chunked, request_bytes

BINARY = {"Content-Type": "application/grpc-web+proto", "X-Grpc-Web": "1"}
TEXT = {"Content-Type": "application/grpc-web-text", "Accept": "application/grpc-web-text"}
KINDS = pytest.mark.parametrize("fields", [BINARY, TEXT], ids=["binary", "text"])

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\nTransfer-Encoding: chunked\r\nTrailer: grpc-status\r\n\r\n"
OUTCOME = (("grpc-status", "0"), ("grpc-message", ""), ("x-cost-bin", "AAE"))


def grpc_answer(*pieces, trailers=OUTCOME):
    return send(HEAD + chunked(*pieces, trailers=trailers))


@pytest.fixture
def translated(gateway, backend):
    return gateway(proxy(backend, route={"filters": [{"type": "grpc-web"}], "retryCount": 0}))


def call(running, fields, body, **more):
    sent = base64.b64encode(body) if fields is TEXT else body
    return running.request("POST", "/a.B/C", {**fields, **more}, sent)


@KINDS
def test_a_call_is_grpc_to_the_service(translated, backend, fields):
    backend.by_default(grpc_answer(message(b"four") + message(b""), message(b"more")))
    response = call(translated, fields, message(b"\x08\x02") + message(b"", flags=1))
    assert response.status == 200 and response.trailers.fields == []
    assert answer_of(response) == ([b"four", b"", b"more"], dict(OUTCOME))
    request = backend.requests[0]
    assert request.body == message(b"\x08\x02") + message(b"", flags=1)
    assert request.headers["Content-Type"] == ("application/grpc+proto" if fields is BINARY else "application/grpc")
    assert request.headers["TE"] == "trailers" and request.headers["Connection"] == "TE"
    translated.gauges_at_zero()


@KINDS
def test_a_stream_is_passed_on_message_by_message(translated, backend, fields):
    """Each message is awaited here before the service sends the next one."""
    steps, go_ons = [send(HEAD)], []
    for number in range(5):
        content = message(b"%d" % number * number)
        go_ons.append(threading.Event())
        steps += [send(b"%x\r\n%s\r\n" % (len(content), content)), wait_for(go_ons[-1])]
    backend.by_default(*steps, send(chunked(trailers=OUTCOME)))
    sent = base64.b64encode(message(b"")) if fields is TEXT else message(b"")
    with translated.send(request_bytes("POST", "/", fields, sent)) as wire:
        assert wire.read_response_head().status == 200
        for number, go_on in enumerate(go_ons):
            chunk = wire.read_exactly(int(wire.read_line(), 16))
            assert wire.read_line() == b""
            assert frames(decoded(chunk) if fields is TEXT else chunk) == [(0, b"%d" % number * number)]
            go_on.set()


@KINDS
def test_a_long_answer_comes_whole(translated, backend, fields):
    content = bytes(range(256)) * 4096
    backend.by_default(grpc_answer(*[message(content)[at:at + 10007] for at in range(0, len(content) + 5, 10007)]))
    response = call(translated, fields, message(content))
    assert answer_of(response)[0] == [content]
    assert backend.requests[0].body == message(content)
    translated.gauges_at_zero()


@KINDS
def test_an_outcome_in_the_head_comes_in_the_body(translated, backend, fields):
    backend.by_default(answer(200, {"Content-Type": "application/grpc", "grpc-status": "12", "grpc-message": "no such call"}))
    response = call(translated, fields, message(b""))
    assert answer_of(response) == ([], {"grpc-status": "12", "grpc-message": "no such call"})
    assert "grpc-status" not in response.headers


def test_what_is_no_grpc_is_said_in_grpc_or_passes(translated, backend):
    backend.on("/page", answer(404, {"Content-Type": "text/html"}, b"<html>"))
    backend.on("/json", answer(200, {"Content-Type": "application/json"}, b"{}"))
    response = translated.request("POST", "/page", BINARY, message(b""))
    assert answer_of(response) == ([], {"grpc-status": "12", "grpc-message": "the service gave an answer that is not gRPC"})
    response = translated.request("POST", "/json", {"Content-Type": "application/json"}, b'{"a": 1}')
    assert response.headers["Content-Length"] == "2" and response.body == b"{}"
    assert backend.requests[1].headers["Content-Length"] == "8" and "TE" not in backend.requests[1].headers
    backend.stop_listening()
    backend.drop_connections()
    messages, trailers = answer_of(translated.request("POST", "/", TEXT, b"AAAAAAA="))
    assert messages == [] and trailers["grpc-status"] == "14"  # what the gateway itself says is translated as well


@pytest.mark.parametrize("fields, body, words", [
    (TEXT, b"AAAA*AAA", "base64"), (TEXT, b"AAAAAAA", "group"), (TEXT, b"AAAAAAP/", "message"),
    (BINARY, b"\x80\0\0\0\0", "flags"), (BINARY, b"\0\xff\xff\xff\xffabc", "message"),
])
def test_a_broken_call_is_refused(translated, backend, fields, body, words):
    backend.by_default(grpc_answer())
    response = translated.request("POST", "/", fields, body)
    messages, trailers = answer_of(response)
    assert messages == [] and trailers["grpc-status"] == "13" and words in trailers["grpc-message"]
    translated.gauges_at_zero()


@KINDS
def test_half_a_message_is_never_ended_by_trailers(translated, backend, fields):
    """What was there as a whole becomes a failure, since nothing of it had been sent; what came in pieces is cut."""
    backend.by_default(grpc_answer(message(b"whole") + message(b"half of it")[:-5]))
    with translated.send(request_bytes("POST", "/", fields, base64.b64encode(message(b"")) if fields is TEXT else message(b""))) as wire:
        try:
            response = wire.read_response()
            messages, trailers = answer_of(response)
            assert (messages, trailers["grpc-status"]) == ([], "14")
        except WireClosed:
            pass
    [line] = translated.log_lines(1)
    assert line["error"]["type"] == "bad-grpc-answer" and "within a message" in line["error"]["text"]
    translated.gauges_at_zero()


def test_a_client_that_goes_takes_its_stream_with_it(translated, backend):
    backend.by_default(send(HEAD), hang())
    with translated.send(request_bytes("POST", "/", BINARY, message(b""))) as wire:
        wire.read_response_head()
        wire.reset()
    translated.gauges_at_zero()
