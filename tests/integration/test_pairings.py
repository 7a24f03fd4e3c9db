"""Whatever version a client speaks and whatever a backend: bodies, trailers, HEAD, interim answers, early answers and resets are the same."""
import contextlib
import itertools
import time

import pytest

import backend as h1
import h2_backend as h2
from certificates import Authority
from gateway import proxy
from h2_client import H2Client
from tls import server_context
from wire import Headers, WireClosed, chunked, request_bytes, response_bytes

pytestmark = pytest.mark.both_builds

NAME = "service.internal"
BODY = bytes(range(256)) * 1200  # more than a window


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def issued(authority):
    return authority.issue(NAME)


# Backends: what tests script, in the words of either version

class BackendOfHttp1:
    words = h1

    def __init__(self, backend):
        self.backend = backend

    def answer(self, status=200, headers=(), body=b"", trailers=None):
        if trailers is None:
            return h1.answer(status, headers, body)
        return h1.send(response_bytes(status, {**dict(headers), "Transfer-Encoding": "chunked"}, length=False) + chunked(body, trailers=trailers))

    def interim(self, status, headers=()):
        return h1.send(response_bytes(status, headers, reason="Interim", length=False))

    def empty_answer_of(self, length):
        return h1.send(response_bytes(200, {"Content-Length": length}, length=False))

    def begin_answer(self, piece, length):
        return h1.send(response_bytes(200, {"Content-Length": length}, length=False) + piece)


class BackendOfHttp2:
    words = h2

    def __init__(self, backend):
        self.backend = backend

    def answer(self, status=200, headers=(), body=b"", trailers=None):
        return h2.answer(status, {"content-length": str(len(body)), **lower(headers)} if trailers is None else lower(headers), body, trailers)

    def interim(self, status, headers=()):
        return h2.head(status, lower(headers))

    def empty_answer_of(self, length):
        return h2.head(200, {"content-length": str(length)}, end=True)

    def begin_answer(self, piece, length):
        def step(stream):
            stream.head(200, {"content-length": str(length)})
            stream.data(piece)
        return step


def lower(headers):
    return {name.lower(): value for name, value in dict(headers).items()}


@pytest.fixture(params=["http/1.1", "https/1.1", "h2c", "https h2"])
def service(request, new_backend, new_h2_backend, authority, issued):
    """A backend, with the fields of its service."""
    is_tls, is_h2 = request.param.startswith("https"), "h2" in request.param
    options = {"tls": server_context(issued, alpn=("h2",) if is_h2 else ("http/1.1",))} if is_tls else {}
    made = BackendOfHttp2(new_h2_backend(**options)) if is_h2 else BackendOfHttp1(new_backend(**options))
    made.fields = {"protocol": "https", "tls": {"ca": str(authority.path), "serverName": NAME}} if is_tls else {"httpVersion": 2} if is_h2 else {}
    return made


# Clients: what tests ask, and what they may then look at

class Got:
    def __init__(self, status, headers, body=b"", trailers=None, interim=(), is_whole=True):
        self.status, self.headers, self.body, self.trailers = status, headers, body, trailers or Headers()
        self.interim, self.is_whole = list(interim), is_whole


class ClientOfHttp1:
    def __init__(self, running):
        self.wire = running.connect()

    def ask(self, method="GET", path="/", headers=(), body=None, trailers=None):
        headers = {"TE": "trailers", "Connection": "TE", **dict(headers)}
        if trailers is None:
            self.wire.send(request_bytes(method, path, headers, body))
        else:
            self.wire.send(request_bytes(method, path, {**headers, "Transfer-Encoding": "chunked"}) + chunked(body, trailers=trailers))
        return self.read(method)

    def read(self, method):
        got = self.wire.read_response_head()
        interim = []
        while got.status < 200:
            interim.append(got.status)
            got = self.wire.read_response_head()
        with contextlib.suppress(WireClosed):
            self.wire.read_response_body(got, method)
        return Got(got.status, got.headers, got.body, got.trailers, interim, got.complete)

    def begin(self, method, path, length):
        """A head that announces a body, of which nothing comes yet."""
        self.wire.send(request_bytes(method, path, {"Content-Length": length}))
        return method

    def leave(self, _):
        self.wire.reset()

    def close(self):
        self.wire.close()


class ClientOfHttp2:
    def __init__(self, running):
        self.client = H2Client(running.address)

    def ask(self, method="GET", path="/", headers=(), body=None, trailers=None):
        headers = {"te": "trailers", **lower(headers)}
        if body is not None and trailers is None:
            headers["content-length"] = str(len(body))
        stream = self.client.ask(method, path, headers, end=body is None)
        if body is not None:
            self.client.send_body(stream, body, end=trailers is None)
        if trailers is not None:
            self.client.send_trailers(stream, trailers)
        return self.read(stream)

    def read(self, stream):
        got = self.client.read(stream)
        return Got(got.status, got.headers, got.body, got.trailers, [int(one[":status"]) for one in got.interim], got.complete)

    def begin(self, method, path, length):
        return self.client.ask(method, path, {"content-length": str(length)}, end=False)

    def leave(self, stream):
        self.client.reset(stream)

    def close(self):
        self.client.close()


@pytest.fixture(params=[ClientOfHttp1, ClientOfHttp2], ids=["h1-client", "h2-client"])
def start(request, gateway, service):
    """start(): the gateway and a client of it."""
    clients = []

    def start(**more):
        running = gateway(proxy(service.backend, service_fields=service.fields, **more))
        clients.append(request.param(running))
        return running, clients[-1]
    yield start
    for client in clients:
        client.close()


def nothing_is_held(running):
    for name in ("sluice_upstream_leases", "sluice_exchanges_active"):
        running.wait_for_metric(name, 0)


def test_bodies_and_trailers_pass_both_ways(start, service):
    service.backend.on("/echo", service.words.echo())
    service.backend.on("/trailers", service.answer(200, (), b"some", [("x-sum", "4")]))
    service.backend.on("/nothing", service.answer(204))
    running, client = start()
    got = client.ask("POST", "/echo", {"X-Mine": "yes"}, BODY)
    assert (got.status, got.body, got.is_whole) == (200, BODY, True)
    asked = service.backend.requests[-1]
    assert asked.headers["x-mine"] == "yes" and asked.headers["content-length"] == str(len(BODY))
    got = client.ask("PUT", "/trailers", (), b"more", [("x-up", "1")])
    assert (got.body, got.trailers["x-sum"], got.is_whole) == (b"some", "4", True)
    asked = service.backend.requests[-1]
    assert asked.body == b"more" and list(asked.trailers) == [("x-up", "1")] and "content-length" not in asked.headers.names()
    got = client.ask("DELETE", "/nothing")
    assert (got.status, got.body, got.is_whole) == (204, b"", True) and "content-length" not in got.headers.names()
    nothing_is_held(running)


def test_heads_alone_pass(start, service):
    service.backend.on("/head", service.empty_answer_of(1234))
    service.backend.on("/same", service.words.answer(304, {"etag": '"x"'}))
    _, client = start()
    got = client.ask("HEAD", "/head")
    assert (got.status, got.headers["content-length"], got.body, got.is_whole) == (200, "1234", b"", True)
    got = client.ask("GET", "/same")
    assert (got.status, got.headers["etag"], got.body, got.is_whole) == (304, '"x"', b"", True)
    assert client.ask("GET", "/").status == 200


def test_interim_answers_pass(start, service):
    service.backend.on("/hints", service.interim(103, {"Link": "</a.css>"}), service.interim(103, {"Link": "</b.css>"}), service.answer(200, (), b"done"))
    service.backend.on("/waits", service.words.before_body, service.interim(100), service.words.read_body(), service.words.echo())
    _, client = start()
    got = client.ask("GET", "/hints")
    assert (got.interim, got.status, got.body) == ([103, 103], 200, b"done")
    got = client.ask("POST", "/waits", {"Expect": "100-continue"}, b"body")
    assert (got.status, got.body, got.is_whole) == (200, b"body", True)


def test_an_answer_may_come_before_the_request_is_whole(start, service):
    """The rest isn't needed then."""
    service.backend.on("/early", service.words.before_body, service.answer(403, (), b"no"))
    running, client = start()
    got = client.read(client.begin("POST", "/early", 50 << 20))
    assert (got.status, got.body, got.is_whole) == (403, b"no", True)
    nothing_is_held(running)


def test_a_reset_before_an_answer_is_tried_again_where_that_is_safe(start, service):
    counter = itertools.count()
    service.backend.on("/get", lambda *given: None if next(counter) else service.words.reset()(*given), service.answer(200, (), b"second"))
    service.backend.on("/post", service.words.reset())
    running, client = start(route={"retryCount": 1, "retryOn": ["connect-failure", "reset"]})
    got = client.ask("GET", "/get")
    assert (got.status, got.body) == (200, b"second")
    assert client.ask("POST", "/post", body=b"once").status == 502
    assert [one.path for one in map(as_asked, service.backend.requests)] == ["/get", "/get", "/post"]
    nothing_is_held(running)


class as_asked:
    def __init__(self, request):
        self.path = request.pseudo[":path"] if hasattr(request, "pseudo") else request.target


def test_a_reset_inside_a_body_is_told(start, service):
    service.backend.on("/cut", service.begin_answer(b"beginning", 1000), service.words.wait(0.2), service.words.reset())
    running, client = start()
    got = client.ask("GET", "/cut")
    assert got.status == 200 and not got.is_whole and b"beginning".startswith(got.body)
    nothing_is_held(running)
    assert running.log_lines(1)[0]["error"]["type"] == "truncated-body"


def test_a_client_that_leaves_is_gone_for_the_backend_too(start, service):
    service.backend.on("/hang", service.words.before_body, service.words.hang())
    running, client = start()
    asked = client.begin("POST", "/hang", 10)
    service.backend.wait_for_requests(1)
    client.leave(asked)
    deadline = time.monotonic() + 10
    while not getattr(service.backend.requests[0], "abandoned_at", None):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    nothing_is_held(running)


def test_a_service_that_gives_no_answer_in_time_is_left(start, service):
    service.backend.on("/hang", service.words.hang())
    running, client = start(route={"timeoutMs": 200, "retryCount": 0})
    assert client.ask("GET", "/hang").status == 504
    nothing_is_held(running)
