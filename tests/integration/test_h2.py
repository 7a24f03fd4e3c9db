"""HTTP/2 from clients, in clear by prior knowledge: real clients, one policy for both versions, streams that do not wait for each other,
draining, and what attackers do while others are served. ALPN is in test_tls.py."""
import hashlib
import os
import struct
import subprocess
import threading
import time

import httpx
import pytest

from backend import answer, before_body, drip, echo, send, wait, wait_for
from certificates import Authority
from gateway import proxy
from h2_client import (ACK, CANCEL, CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, GOAWAY, HEADERS, NO_ERROR, PING, PREFACE,
                       PRIORITY, PROTOCOL_ERROR, REFUSED_STREAM, RST_STREAM, SETTINGS, SETTINGS_TIMEOUT, WINDOW_UPDATE, H2Client, H2Wire,
                       frame, pseudo)
from load import Load
from measuring import resident_bytes
from plain_http import PLAIN_HTTP
from tls import client_context, tls_connect
from wire import WireClosed, chunked, response_bytes

pytestmark = pytest.mark.both_builds

TE = {"Transfer-Encoding": "chunked"}
NOTICE = 0x7fffffff  # the last stream of a GOAWAY that only announces


@pytest.fixture(scope="module")
def running(module_gateway, module_backend):
    return module_gateway(proxy(module_backend))


@pytest.fixture(autouse=True)
def forget(module_backend):
    module_backend.forget()


def run(*command, timeout=60):
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)


# Real clients

def test_curl_speaks_http_2_by_prior_knowledge(running):
    done = run("curl", "-s", "--http2-prior-knowledge", "-w", " %{http_version}", f"{running.url}/a")
    assert (done.returncode, done.stdout) == (0, "one 2"), done.stderr


def test_curl_sends_and_receives_a_large_body(running, module_backend, tmp_path):
    module_backend.on("/echo", echo())
    body = tmp_path / "body"
    body.write_bytes(os.urandom(5 << 20))
    done = subprocess.run(["curl", "-s", "--http2-prior-knowledge", "--data-binary", f"@{body}", f"{running.url}/echo"], capture_output=True,
                          timeout=60, check=False)
    assert done.stdout == body.read_bytes()


def test_nghttp_gets_many_at_once(running):
    done = run("nghttp", "-n", "-v", "--no-verify-peer", *[f"{running.url}/{i}" for i in range(20)])
    assert done.returncode == 0 and done.stdout.count(":status: 200") == 20, done.stdout[-2000:]


def test_httpx_speaks_http_2(running):
    with httpx.Client(http1=False, http2=True, **PLAIN_HTTP) as client:
        answers = [client.get(f"{running.url}/a") for _ in range(3)]
    assert [(one.status_code, one.http_version, one.text) for one in answers] == [(200, "HTTP/2", "one")] * 3


def test_h2load_has_all_its_requests_answered(running):
    done = run("h2load", "-n", "3000", "-c", "8", "-m", "32", f"{running.url}/load")
    assert "3000 succeeded, 0 failed" in done.stdout, done.stdout


def test_http_1_1_is_served_on_the_same_listener(running):
    assert running.get("/a").body == b"one"


# The same policy, the same backend

def test_the_backend_hears_what_it_would_hear_from_http_1_1(running, module_backend):
    with H2Client(running.address) as client:
        client.get("/a?b=c", [("cookie", "x=1"), ("cookie", "y=2"), ("x-twice", "1"), ("x-twice", "2"), ("te", "trailers")])
    request = module_backend.requests[0]
    assert (request.method, request.target, request.headers["Host"]) == ("GET", "/a?b=c", "gateway.test")
    assert request.headers["Cookie"] == "x=1; y=2"
    assert request.headers.all("X-Twice") == ["1", "2"]
    assert request.headers["Via"] == "2 sluice"
    assert request.headers["X-Forwarded-Host"] == "gateway.test"
    assert request.headers["X-Forwarded-Proto"] == "http"
    assert module_backend.violations == []


def test_the_answer_has_lower_case_names_and_no_fields_of_the_connection(running, module_backend):
    fields = {"X-Mixed-Case": "Yes", "Connection": "keep-alive, x-hop", "X-Hop": "1", "Keep-Alive": "timeout=5", **TE}
    module_backend.on("/fields", send(response_bytes(headers=fields, length=False) + chunked(b"body")))
    with H2Client(running.address) as client:
        got = client.get("/fields")
    assert got.body == b"body" and got.headers["x-mixed-case"] == "Yes"
    assert not {"connection", "keep-alive", "transfer-encoding", "x-hop"} & set(got.headers.names())
    assert all(name == name.lower() for name, _ in got.headers)


def test_head_and_statuses_without_content(running, module_backend):
    module_backend.on("/none", answer(204)).on("/same", answer(304, {"ETag": '"1"'}))
    with H2Client(running.address) as client:
        head = client.request("HEAD", "/a")
        assert (head.status, head.headers["content-length"], head.body) == (200, "3", b"")
        assert client.get("/none").status == 204
        assert client.get("/same").status == 304


@pytest.mark.parametrize("fields, status", [
    (pseudo(path="/../up"), 400), (pseudo(path="/a#b"), 400), (pseudo(scheme="ftp"), 400), (pseudo(authority="a@b"), 400),
    ([*pseudo(), ("host", "other.test")], 400), ([*pseudo(), ("content_length", "1")], 400), ([*pseudo(), ("expect", "x")], 417),
    (pseudo(path="/" + "a" * 9000), 414), ([*pseudo(), ("x", "v" * 40000)], 431), ([(":method", "CONNECT"), (":authority", "h:1")], 501),
], ids=lambda value: str(value)[-40:])
def test_what_http_1_1_refuses_is_refused(running, module_backend, fields, status):
    with H2Wire(running.address) as client:
        block = client.block(fields)
        pieces = [block[i:i + 16384] for i in range(0, len(block), 16384)]
        client.send(frame(HEADERS, END_STREAM | (END_HEADERS if len(pieces) == 1 else 0), 1, pieces[0]))
        for i, piece in enumerate(pieces[1:], 2):
            client.send(frame(CONTINUATION, END_HEADERS if i == len(pieces) else 0, 1, piece))
        head = client.wait_for(HEADERS, 1)
        assert head[":status"] == str(status) and head["content-type"] == "application/problem+json"
        client.send(client.get(3))
        assert client.wait_for(HEADERS, 3)[":status"] == "200"
    assert len(module_backend.requests) == 1


@pytest.mark.parametrize("field", [("transfer-encoding", "chunked"), ("connection", "close"), ("upgrade", "h2c"), ("te", "gzip"),
                                   ("X-Upper", "1"), ("x", "a\r\nb: c"), ("x", "a\0b"), ("content-length", "-1"), (":path", "/b")],
                         ids=lambda field: field[0])
def test_what_cannot_be_in_http_2_resets_the_stream(running, module_backend, field):
    before = running.metric("sluice_requests_total", status_class="4xx")
    with H2Wire(running.address) as client:
        client.send(client.head(1, [*pseudo(), field]))
        assert struct.unpack(">I", client.wait_for(RST_STREAM, 1))[0] == PROTOCOL_ERROR
    assert module_backend.requests == []
    running.wait_for_metric("sluice_requests_total", before + 1, status_class="4xx")


def test_content_that_disagrees_with_its_length_never_looks_whole_to_the_backend(running, module_backend):
    for content in (b"four", b"sixsix"):
        with H2Wire(running.address) as client:
            client.send(client.head(1, [*pseudo("POST"), ("content-length", "5")], 0), frame(DATA, END_STREAM, 1, content))
            assert struct.unpack(">I", client.wait_for(RST_STREAM, 1))[0] == PROTOCOL_ERROR
    assert all(not request.complete for request in module_backend.requests)


def test_requests_are_logged_with_what_was_sent_and_received(gateway, module_backend):
    running = gateway(proxy(module_backend))
    with H2Client(running.address) as client:
        client.request("POST", "/logged", body=b"x" * 1000)
    line = running.log_lines(at_least=1)[-1]
    assert (line["method"], line["path"], line["status"]) == ("POST", "/logged", 200)
    assert line["bytesIn"] > 1000 and line["bytesOut"] > 3


# Bodies

@pytest.mark.parametrize("size", [0, 1, 16384, 65535, 65536, 1 << 20, 10 << 20], ids=str)
def test_a_body_comes_back_as_it_was_sent(running, module_backend, size):
    module_backend.on("/echo", echo())
    body = os.urandom(size)
    with H2Client(running.address, timeout=30) as client:
        stream = client.ask("POST", "/echo", {"content-length": str(size)}, end=False)
        client.send_body(stream, body)
        got = client.read(stream)
    assert got.status == 200 and hashlib.sha256(got.body).digest() == hashlib.sha256(body).digest()


def test_trailers_travel_both_ways(running, module_backend):
    module_backend.on("/t", send(response_bytes(headers=TE, length=False) + chunked(b"body", trailers=[("X-Sum", "42")])))
    with H2Client(running.address) as client:
        stream = client.ask("POST", "/t", end=False)
        client.send_body(stream, b"content", end=False)
        client.send_trailers(stream, [("x-up", "1"), ("authorization", "never")])
        got = client.read(stream)
    assert (got.body, got.trailers["x-sum"]) == (b"body", "42")
    assert module_backend.requests[0].body == b"content"
    assert module_backend.requests[0].trailers.names() == ["x-up"]


def test_pieces_are_passed_on_at_once(running, module_backend):
    module_backend.on("/events", send(response_bytes(headers=TE, length=False)),
                      *[step for i in range(5) for step in (send(b"7\r\nevent %d\r\n" % i), wait(0.1))], send(b"0\r\n\r\n"))
    with H2Client(running.address) as client:
        got = client.read(client.ask("GET", "/events"))
    assert got.body == b"".join(b"event %d" % i for i in range(5))
    moments = [moment for moment, piece in got.pieces if piece]
    assert len(moments) == 5 and moments[-1] - moments[0] > 0.3


def test_interim_answers_are_passed_on(running, module_backend):
    module_backend.on("/early", send(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n" + response_bytes(body=b"ok")))
    with H2Client(running.address) as client:
        got = client.get("/early")
    assert [(one[":status"], one["link"]) for one in got.interim] == [("103", "</a.css>")] and got.body == b"ok"


def test_an_expected_100_comes_before_the_body_is_sent(running, module_backend):
    module_backend.on("/expect", echo())
    with H2Client(running.address) as client:
        stream = client.ask("POST", "/expect", {"expect": "100-continue", "content-length": "5"}, end=False)
        client.wait_for(lambda: client.answers[stream].interim)
        client.send_body(stream, b"hello")
        got = client.read(stream)
    assert got.interim[0][":status"] == "100" and got.body == b"hello"


def test_an_early_answer_is_whole_and_the_rest_is_not_needed(running, module_backend):
    module_backend.on("/early-403", before_body, answer(403, body=b"no"))
    with H2Client(running.address) as client:
        stream = client.ask("POST", "/early-403", {"content-length": str(50 << 20)}, end=False)
        client.send_body(stream, b"x" * 1000, end=False)
        got = client.answers[stream]
        client.wait_for(lambda: got.reset is not None)
        assert (got.status, got.body, got.complete, got.reset) == (403, b"no", True, NO_ERROR)
        assert client.get("/next").body == b"one"


def test_an_answer_that_is_cut_short_resets_its_stream(running, module_backend):
    go = threading.Event()
    module_backend.on("/cut", send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"), wait_for(go), lambda wire, request: wire.reset())
    with H2Client(running.address) as client:
        got = client.answers[stream := client.ask("GET", "/cut")]
        client.wait_for(lambda: got.body == b"half")
        go.set()
        client.read(stream)
        assert not got.complete and got.reset == 2 and got.body == b"half"
        assert client.get("/next").body == b"one"


def test_bodies_go_both_ways_over_tls_at_once(gateway, module_backend, tmp_path):
    certificate = Authority(tmp_path).issue("localhost")
    running = gateway(proxy(module_backend), listener={"tls": {"certificates": [certificate.config]}})
    module_backend.on("/echo", echo())
    body = os.urandom(3 << 20)
    with H2Client(None, wire=tls_connect(running.address, client_context(alpn=["h2"])), timeout=30) as client:
        streams = [client.ask("POST", "/echo", scheme="https", end=False) for _ in range(3)]
        for stream in streams:
            client.send_body(stream, body)
        assert [client.read(stream).body == body for stream in streams] == [True] * 3
    done = run("h2load", "-n", "2000", "-c", "4", "-m", "32", f"https://127.0.0.1:{running.port}/load")
    assert "2000 succeeded, 0 failed" in done.stdout, done.stdout


# Streams beside each other

def test_answers_come_as_they_are_ready(running, module_backend):
    go = threading.Event()
    module_backend.on("/slow", wait_for(go), answer(body=b"slow"))
    with H2Client(running.address) as client:
        slow = [client.ask("GET", "/slow") for _ in range(20)]
        assert client.get("/fast").body == b"one"
        assert not any(client.answers[stream].complete for stream in slow)
        go.set()
        assert {client.read(stream).body for stream in slow} == {b"slow"}


def test_one_more_than_the_limit_is_refused_and_can_be_sent_again(gateway, module_backend):
    go = threading.Event()
    running = gateway(proxy(module_backend, limits={"streamsPerConnection": 4}))
    module_backend.on("/slow", wait_for(go), answer(body=b"slow"))
    with H2Wire(running.address, start=False) as client:  # it has not acknowledged the limit yet
        client.send(PREFACE, frame(SETTINGS), *[client.get(stream, "/slow") for stream in (1, 3, 5, 7, 9)])
        assert struct.unpack(">I", client.wait_for(RST_STREAM, 9))[0] == REFUSED_STREAM
        go.set()
        answered = 0
        while answered < 4:
            answered += client.next_frame()[0] == DATA
        client.send(client.get(11, "/slow"))
        assert client.wait_for(HEADERS, 11)[":status"] == "200"


def test_a_stream_that_is_not_taken_holds_up_no_other_and_little_memory(running, module_backend):
    body = os.urandom(8 << 20)
    module_backend.on("/large", answer(body=body))
    with H2Client(running.address, takes=False, timeout=30) as client:
        client.h2.increment_flow_control_window(1 << 28)
        client.flush()
        stalled = client.ask("GET", "/large")
        client.wait_for(lambda: len(client.answers[stalled].body) == 65535)
        for _ in range(20):
            assert client.get("/small").body == b"one"
        assert len(client.answers[stalled].body) == 65535
        assert running.metric("sluice_buffer_bytes") < 1 << 20
        client.h2.increment_flow_control_window(1 << 28, stalled)
        client.flush()
        assert client.read(stalled).body == body


def test_an_upload_that_the_backend_does_not_take_holds_up_no_other(running, module_backend):
    go = threading.Event()
    module_backend.on("/upload", before_body, wait_for(go), lambda wire, request: wire.read_request_body(request), answer(body=b"done"))
    body = os.urandom(20 << 20)
    with H2Client(running.address, timeout=30) as client:
        stream = client.ask("POST", "/upload", {"content-length": str(len(body))}, end=False)
        sent = 0
        deadline = time.monotonic() + 20
        while (room := min(client.h2.local_flow_control_window(stream), 16384)) > 0 or sent < 1 << 20:
            assert time.monotonic() < deadline
            if room > 0:
                client.h2.send_data(stream, body[sent:sent + room])
                sent += room
                client.flush()
                continue
            try:
                client.read_some(time.monotonic() + 0.3)
            except TimeoutError:
                break
        assert sent < len(body)
        assert client.request("POST", "/other", body=b"x" * 200000).body == b"one"
        go.set()
        client.send_body(stream, body[sent:])
        assert client.read(stream).body == b"done"
    upload = next(request for request in module_backend.requests if request.target == "/upload")
    assert hashlib.sha256(upload.body).digest() == hashlib.sha256(body).digest()


def test_a_cancelled_stream_cancels_its_call(running, module_backend):
    module_backend.on("/hang", drip(response_bytes(headers={"Content-Length": "1000"}, length=False) + b"x" * 100, 1, 0.02))
    with H2Client(running.address) as client:
        stream = client.ask("GET", "/hang")
        module_backend.wait_for_requests(1)
        client.reset(stream)
        running.wait_for_metric("sluice_upstream_leases", 0)
        assert client.get("/next").body == b"one"


def test_a_client_that_leaves_takes_its_requests_along(running, module_backend):
    go = threading.Event()
    module_backend.on("/slow", wait_for(go), answer(body=b"slow"))
    client = H2Client(running.address)
    for _ in range(10):
        client.ask("GET", "/slow")
    module_backend.wait_for_requests(10)
    client.close()
    running.wait_for_metric("sluice_exchanges_active", 0)
    go.set()


# Drain and reload

def last_stream(client):
    """The stream that the next GOAWAY names."""
    last, code = struct.unpack(">II", client.wait_for(GOAWAY, timeout=20)[:8])
    assert code == NO_ERROR
    return last


def test_streams_under_way_are_finished_when_the_gateway_stops(gateway, module_backend):
    go = threading.Event()
    running = gateway(proxy(module_backend, drainTimeout=20))
    module_backend.on("/slow", wait_for(go), answer(body=b"slow"))
    with H2Wire(running.address, timeout=20) as client, H2Wire(running.address, timeout=20) as idle:
        client.send(client.get(1, "/slow"))
        idle.send(idle.get(1))
        module_backend.wait_for_requests(2)
        assert idle.wait_for(HEADERS, 1)[":status"] == "200"
        running.signal(15)
        assert [last_stream(client), last_stream(idle)] == [NOTICE, NOTICE]
        client.send(client.get(3, "/crossed"), frame(PING, ACK, 0, bytes(8)))
        idle.send(frame(PING, ACK, 0, bytes(8)))
        assert [last_stream(client), last_stream(idle)] == [3, 1]
        assert idle.wire.is_closed()
        go.set()
        assert client.wait_for(DATA, 1) == b"slow"
        client.wire.read_until_close()
        running.process.wait(20)


def test_reloads_cost_no_stream(gateway, module_backend):
    running = gateway(proxy(module_backend))
    load = subprocess.Popen(["h2load", "-D", "3", "-c", "4", "-m", "16", f"{running.url}/load"], stdout=subprocess.PIPE, text=True)
    for i in range(6):
        running.reload({**proxy(module_backend), "internalResponseHeaders": [f"X-Internal-{i}"]})
        time.sleep(0.2)
    output = load.communicate(timeout=60)[0]
    assert ", 0 failed, 0 errored, 0 timeout" in output and ", 0 4xx, 0 5xx" in output, output


# Time

def test_a_client_that_says_nothing_is_left(gateway, module_backend):
    running = gateway(proxy(module_backend, limits={"headTimeoutMs": 300}))
    with H2Wire(running.address, start=False) as client:
        client.send(PREFACE)
        assert client.wait_for_goaway() == SETTINGS_TIMEOUT
        assert client.wire.is_closed()


def test_a_slow_head_is_not_waited_for(gateway, module_backend):
    running = gateway(proxy(module_backend, limits={"headTimeoutMs": 400}))
    with H2Wire(running.address) as client:
        client.send(frame(HEADERS, END_STREAM, 1, client.block(pseudo())))
        rest = frame(CONTINUATION, 0, 1, client.block([("x-long", "a" * 1000)]))
        for at in range(40):
            try:
                client.send(rest[at:at + 1])
            except OSError:
                break
            time.sleep(0.05)
        assert client.wait_for_goaway() == ENHANCE_YOUR_CALM
    assert module_backend.requests == []


def test_a_zero_window_is_not_waited_for_for_ever(gateway, module_backend):
    running = gateway(proxy(module_backend, limits={"idleTimeoutMs": 400}))
    with H2Client(running.address, window=0, timeout=20) as client:
        stream = client.ask("GET", "/stalled")
        started = time.monotonic()
        while client.answers[stream].reset is None and time.monotonic() - started < 10:
            client.h2.ping(b"12345678")  # other frames make no difference
            client.flush()
            client.read_some()
            time.sleep(0.02)
        assert client.answers[stream].reset == CANCEL
    running.wait_for_metric("sluice_upstream_leases", 0)


def test_an_idle_connection_is_closed_with_a_goaway(gateway, module_backend):
    running = gateway(proxy(module_backend, limits={"idleTimeoutMs": 300}))
    with H2Client(running.address) as client:
        client.get("/a")
        with pytest.raises(WireClosed):
            client.wait_for(lambda: False)
        assert client.goaways == [(1, NO_ERROR)]


# Attacks, while others are served

def one_setting(number, value):
    return struct.pack(">HI", number, value)


def rapid_reset(client):
    return lambda i: client.get(2 * i + 1, "/attack") + frame(RST_STREAM, 0, 2 * i + 1, struct.pack(">I", CANCEL))


def made_you_reset(client):
    return lambda i: client.head(2 * i + 1, pseudo("POST", "/attack"), 0) + frame(WINDOW_UPDATE, 0, 2 * i + 1, b"\x7f\xff\xff\xff")


def malformed(client):
    return lambda i: client.head(2 * i + 1, [*pseudo("GET", "/attack"), ("connection", "close")])


def repeated(piece):
    return lambda client: lambda i: piece


def after_a_post(piece):
    def attack(client):
        client.send(client.head(1, pseudo("POST", "/attack"), 0))
        return lambda i: piece
    return attack


def priorities(client):
    return lambda i: frame(PRIORITY, 0, 2 * i + 1, b"\0\0\0\0\x10")


def continuations(client):
    client.send(frame(HEADERS, END_STREAM, 1, client.block(pseudo("GET", "/attack"))))
    return lambda i: frame(CONTINUATION, 0, 1, b"" if i % 2 else client.encoder.encode([("x-%d" % i, "v")]))


MANY_FRAMES = 1000000
ONE_TOO_MANY = ("MadeYouReset", "malformed heads")  # may have more streams open than they were told
FLOODS = {
    "rapid reset": rapid_reset, "MadeYouReset": made_you_reset, "malformed heads": malformed, "CONTINUATION": continuations,
    "PRIORITY": priorities, "PING": repeated(frame(PING, 0, 0, b"12345678")), "SETTINGS": repeated(frame(SETTINGS, 0, 0, one_setting(3, 100))),
    "WINDOW_UPDATE": after_a_post(frame(WINDOW_UPDATE, 0, 1, b"\0\0\0\1")), "empty DATA": after_a_post(frame(DATA, 0, 1, b"")),
    "padding": after_a_post(frame(DATA, 0x8, 1, b"\3\0\0\0")), "unknown frames": repeated(frame(0xbc, 0, 0, b"hello")),
}


@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_is_stopped_and_others_are_served(running, module_backend, name):
    before = resident_bytes(running.gateway_processes()[0])
    with Load(running, clients=2) as load:
        with H2Wire(running.address) as client:
            taken = client.flood(FLOODS[name](client), most=MANY_FRAMES)
            try:
                code = client.wait_for_goaway(timeout=20)
            except WireClosed:  # a reset that what it still sent has brought about took the GOAWAY along
                code = None
        load.wait_for(20)
    assert taken < MANY_FRAMES, "nobody stopped it"
    assert code in (ENHANCE_YOUR_CALM, None) or (code == PROTOCOL_ERROR and name in ONE_TOO_MANY)
    assert load.failures == load.broken == []
    running.wait_for_metric("sluice_exchanges_active", 0)
    assert resident_bytes(running.gateway_processes()[0]) - before < 32 << 20
    assert sum(request.target == "/attack" for request in module_backend.requests) <= 2500


def test_an_hpack_bomb_is_not_unpacked(running, module_backend):
    with Load(running, clients=2) as load, H2Wire(running.address) as client:
        block = client.block([*pseudo("GET", "/bomb"), ("x-bomb", "v" * 2900)])
        client.send(frame(HEADERS, END_STREAM, 1, block), *[frame(CONTINUATION, 0, 1, b"\xbe" * 16384) for _ in range(20)],
                    frame(CONTINUATION, END_HEADERS, 1))
        assert struct.unpack(">I", client.wait_for(RST_STREAM, 1))[0] == ENHANCE_YOUR_CALM
        client.send(client.get(3))
        assert client.wait_for(HEADERS, 3)[":status"] == "200"
        load.wait_for(20)
    assert load.failures == load.broken == []
    assert "/bomb" not in module_backend.targets()


def test_a_flooder_that_reads_nothing_is_not_read_from(gateway, module_backend):
    running = gateway(proxy(module_backend, limits={"idleTimeoutMs": 1500}))
    with Load(running, clients=2) as load:
        with H2Wire(running.address, receive_buffer=4096, timeout=3) as client:
            client.flood(lambda i: frame(PING, 0, 0, b"12345678"), most=400000)
        load.wait_for(20)
    assert load.failures == load.broken == []
    running.wait_for_metric("sluice_connections_active", 0)


@pytest.mark.slow
def test_many_slow_readers_cost_bounded_memory(gateway, module_backend):
    """Each of 50 connections asks for 20 large answers and takes nothing beyond its windows."""
    module_backend.on("/large", answer(body=b"x" * (4 << 20)))
    running = gateway(proxy(module_backend))
    clients = [H2Client(running.address, takes=False) for _ in range(50)]
    for client in clients:
        for _ in range(20):
            client.ask("GET", "/large")
    time.sleep(2)
    assert running.metric("sluice_buffer_bytes") < 200 << 20
    with Load(running, clients=2) as load:
        load.wait_for(50)
    assert load.failures == load.broken == []
    for client in clients:
        client.close()
    running.wait_for_metric("sluice_exchanges_active", 0, timeout=20)
