"""The gateway beside two other readers, python3-h11 and Node's parser, on the same bytes.

Dangerous is one case only: the gateway forwards a request and another reader sees another one in the same bytes (another
method, body, or number of requests). That must not happen, except where EXPLAINED names the section that makes the other
reader's refusal its own affair. That the gateway refuses what others accept is what it is for."""
import json
import random
import re
import shutil
import subprocess

import h11
import pytest

from backend import Backend, answer, close, send
from gateway import proxy
from test_http1_strict import ACCEPTED, REFUSED, REFUSED_BY_NAME
from wire import WireError, connect

NODE_METHODS = set("DELETE GET HEAD POST PUT OPTIONS TRACE PATCH SEARCH COPY LOCK MKCOL MOVE PROPFIND PROPPATCH UNLOCK BIND REBIND UNBIND ACL REPORT "
                   "MKACTIVITY CHECKOUT MERGE NOTIFY SUBSCRIBE UNSUBSCRIBE PURGE MKCALENDAR LINK UNLINK SOURCE QUERY M-SEARCH".split())


class Node:
    def __init__(self):
        self.process = subprocess.Popen([shutil.which("node"), str(__file__).replace("test_differential.py", "node_reader.js")],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline())

    def read(self, data):
        with connect(("127.0.0.1", self.port), timeout=5) as wire:
            send_whole(wire, data)
            wire.read_until_close()
        return [(request["method"], request["body"].encode("latin-1")) for request in json.loads(self.process.stdout.readline())]

    def stop(self):
        self.process.stdin.close()
        self.process.wait(10)


def send_whole(wire, data):
    try:
        wire.send(data).half_close()
    except OSError:
        pass  # refused and closed while the rest was still on its way


def read_by_h11(data):
    """The requests that h11 reads; it stops at what it refuses. The one empty line that RFC 9112 2.2 asks to skip before a
    request line is skipped for it."""
    seen = []
    try:
        while data:
            method, body, data, goes_on = one_by_h11(data[2:] if data.startswith(b"\r\n") else data)
            seen.append((method, body))
            if not goes_on:
                break
    except (h11.ProtocolError, RuntimeError):
        pass
    return seen


def one_by_h11(data):
    """Method, body, the bytes behind it, and whether the connection goes on. A request that never ends is an error."""
    reader = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    reader.receive_data(data)
    reader.receive_data(b"")
    method, body = None, b""
    while True:
        event = reader.next_event()
        if isinstance(event, h11.Request):
            method = event.method.decode()
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            return method, body, reader.trailing_data[0], reader.their_state is h11.DONE
        else:
            raise RuntimeError("no whole request")


BAD_WHITE_SPACE = "9112 7.1.1: white space around a chunk extension's parts is bad, and to be read"

# (reader, what the bytes hold, why it refuses or stops where the gateway may go on)
EXPLAINED = [
    ("h11", rb"HTTP/1\.0", "9112 9.3: an HTTP/1.0 client may ask to keep its connection; h11 never does"),
    ("h11", rb"[0-9A-Fa-f][ \t]+;", BAD_WHITE_SPACE),
    ("node", rb"[0-9A-Fa-f][ \t]+;|\n[0-9A-Fa-f]+;[^\r\n]*[ \t]", BAD_WHITE_SPACE),
    ("node", rb"[ \t]\r\n", "9112 5.1: white space behind a value is no part of it"),
    ("node", rb"(?s);.*\"", "9112 7.1.1: a chunk extension's value may be a quoted string"),
    ("node", rb"HTTP/1\.[2-9]", "9110 2.5: a higher minor version is read as the highest that one knows"),
    ("node", rb"(?s)\r\n0\r\n.*(Connection|Content-Length|Transfer-Encoding)", "9110 6.5.1: trailers say nothing about framing or connection"),
    ("node", rb"(?s).{16384}", "a limit of Node's own"),
]


def explained(reader, data, ours, theirs):
    """Why another reader may see fewer requests than the gateway; None where nothing explains it.

    `theirs` are the first of `ours`: nothing was read differently, the rest was not read at all."""
    if reader == "node" and ours[len(theirs)][0] not in NODE_METHODS:
        return "9110 9.1: methods are open to extension; Node knows a list"
    return next((reason for its, pattern, reason in EXPLAINED if its == reader and re.search(pattern, data)), None)


@pytest.fixture(scope="module")
def node():
    if not shutil.which("node"):
        pytest.fail("node is missing: make deps installs it")
    started = Node()
    yield started
    started.stop()


@pytest.fixture(scope="module")
def ours(module_gateway):
    """A function: bytes in, the requests that reached the backend whole out, in order."""
    backend = Backend("one")
    backend.by_default(answer(200))
    running = module_gateway(proxy(backend, route={"retryCount": 0}, accessLog={"path": "off"}))

    def read(data):
        backend.forget()
        with running.connect(timeout=5) as wire:
            send_whole(wire, data)
            wire.read_until_close()
        return [(request.method, request.body) for request in backend.requests if request.complete]
    yield read
    backend.stop()
    assert not backend.violations, backend.violations


def compare(data, ours, node):
    forwarded = ours(data)
    for reader, theirs in (("h11", read_by_h11(data)), ("node", node.read(data))):
        common = min(len(forwarded), len(theirs))
        assert forwarded[:common] == theirs[:common], f"{reader} reads {theirs}, we forwarded {forwarded}: {data!r}"
        if len(forwarded) > len(theirs):
            assert explained(reader, data, forwarded, theirs), f"{reader} refuses what we forwarded, {forwarded[common:]}: {data!r}"


TABLE = {**{name: row[0] for name, row in REFUSED.items()}, **{name: row[0] for name, row in REFUSED_BY_NAME.items()},
         **{name: row[0] for name, row in ACCEPTED.items()}}


@pytest.mark.parametrize("name", TABLE)
def test_the_tables_rows_are_read_alike_or_refused(ours, node, name):
    compare(TABLE[name] + b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n", ours, node)


SEEDS = [
    b"GET /a HTTP/1.1\r\nHost: a\r\nX-A: b\r\n\r\n",
    b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Type: text/plain\r\n\r\n5;a=b\r\nhello\r\n3\r\nyou\r\n0\r\nX-T: 1\r\n\r\n",
    b"PUT /a HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\nContent-Length: 43\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\nX-Padding: 1",
    b"POST /a HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello",
]
MORSELS = [b" ", b"\t", b"\r", b"\n", b"\r\n", b"\0", b":", b";", b",", b"\x0b", b"\x0c", b"\x7f", b"\x85", b"\xa0", b"\xff", b"+", b"-", b"0", b"1", b"5", b"f",
           b"0x", b"_", b'"', b"\\", b"%", b"#", b"chunked", b", chunked", b"identity", b"gzip, ", b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n",
           b"Content-Length: 0\r\n", b"Host: b\r\n", b"Connection: close\r\n", b"Content-Length: 5\r\n", b"\r\n\r\n", b"0\r\n\r\n", b"X: y\r\n", b" HTTP/1.1", b"HTTP/1.0"]


def mutated(chance):
    data = bytearray(chance.choice(SEEDS))
    for _ in range(chance.choice([1, 1, 1, 2, 2, 3])):
        at = chance.randrange(len(data) + 1)
        kind = chance.random()
        if kind < 0.5:
            data[at:at] = chance.choice(MORSELS)
        elif kind < 0.65:
            del data[at:at + chance.choice([1, 1, 2, 4])]
        elif kind < 0.8:
            data[at:at + 1] = chance.choice(MORSELS)
        else:
            # A morsel at the start of a line hits what parsers look at.
            line = data.find(b"\n", at) + 1
            data[line:line] = chance.choice(MORSELS)
    return bytes(data) + b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.mark.parametrize("seed", range(4))
def test_mutated_requests_are_read_alike_or_refused(ours, node, seed):
    chance = random.Random(seed)
    for _ in range(150):
        compare(mutated(chance), ours, node)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 140))
def test_many_more_mutated_requests_are_read_alike_or_refused(ours, node, seed):
    chance = random.Random(seed)
    for _ in range(500):
        compare(mutated(chance), ours, node)


# Answers: what h11 refuses as an answer, or reads as another body, must not reach a client as a good one.

ANSWERS = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-A: b\r\n\r\n5;a=b\r\nhello\r\n3\r\nyou\r\n0\r\nX-T: 1\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nX-A: b\r\n\r\nuntil the end",
    b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
]


def answer_by_h11(data):
    """(status, body) or None where it refuses or the body is cut."""
    reader = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
    reader.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
    reader.send(h11.EndOfMessage())
    reader.receive_data(data)
    reader.receive_data(b"")
    status, body = None, b""
    try:
        while True:
            event = reader.next_event()
            if isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                return status, body
            elif event in (h11.NEED_DATA, h11.PAUSED) or isinstance(event, h11.ConnectionClosed):
                return None
    except (h11.ProtocolError, RuntimeError):
        return None


@pytest.mark.parametrize("seed", range(3))
def test_mutated_answers_are_read_alike_or_refused(gateway, new_backend, seed):
    chance = random.Random(1000 + seed)
    backend = new_backend("one")
    running = gateway(proxy(backend, route={"retryCount": 0, "timeoutMs": 2000}, accessLog={"path": "off"}))
    for _ in range(120):
        data = bytearray(chance.choice(ANSWERS))
        for _ in range(chance.choice([1, 1, 2])):
            at = chance.randrange(len(data) + 1)
            if chance.random() < 0.6:
                data[at:at] = chance.choice(MORSELS)
            else:
                del data[at:at + chance.choice([1, 1, 2])]
        data = bytes(data)
        backend.on("/", send(data), close())
        with running.connect() as wire:
            wire.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            try:
                response = wire.read_response()
                passed = (response.status, response.body) if response.status != 502 else None
            except WireError:
                passed = None
        theirs = answer_by_h11(data)
        assert passed is None or passed == theirs or theirs is None and answer_is_ours_to_pass(data), f"we passed {passed}, h11 reads {theirs}: {data!r}"


def answer_is_ours_to_pass(data):
    """h11 refuses some good answers: a reason phrase or value with bytes it has no pattern for, and bytes after the end."""
    head = data.split(b"\r\n\r\n")[0]
    return any(byte > 0x7f for byte in head) or data.count(b"HTTP/1.") > 1 or len(data) > len(head) + 4
