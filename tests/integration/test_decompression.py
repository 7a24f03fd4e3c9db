"""Compressed requests on the wire: packed by independent encoders, unpacked for the service, refused where they are bombs or broken."""
import gzip
import os
import threading
import time
import zlib

import brotli
import httpx
import pytest
import zstandard

from backend import before_body, hang, read_body
from gateway import proxy
from h2_client import H2Client
from plain_http import PLAIN_HTTP
from wire import chunked, request_bytes

KIB, MIB = 1 << 10, 1 << 20
TEXT = b"".join(b'{"id":%d,"name":"user-%d"},' % (number, number * 7 % 100) for number in range(20000))

PACK = {"gzip": gzip.compress, "br": lambda text: brotli.compress(text, quality=5), "zstd": zstandard.ZstdCompressor().compress, "deflate": zlib.compress}
CODINGS = pytest.mark.parametrize("coding", PACK)


def unpacking(backend, **fields):
    return proxy(backend, route={"filters": [{"type": "decompression", **fields}], "retryCount": 0})


@pytest.fixture
def running(gateway, backend):
    return gateway(unpacking(backend))


def post(running, coding, body, **more):
    return running.request("POST", "/", {"Content-Encoding": coding, **more}, body)


@CODINGS
@pytest.mark.parametrize("size", [0, 10, 10 * KIB, len(TEXT)])
def test_the_service_gets_it_plain(running, backend, coding, size):
    response = post(running, coding, PACK[coding](TEXT[:size]), **{"Content-Digest": "sha-256=:x:"})
    request = backend.requests[0]
    assert response.status == 200 and request.body == TEXT[:size]
    assert "Content-Encoding" not in request.headers and "Content-Digest" not in request.headers
    running.gauges_at_zero()


@CODINGS
def test_in_chunks_of_any_size(running, backend, coding):
    packed = PACK[coding](TEXT)
    for step in (1000, 9973):
        pieces = [packed[at:at + step] for at in range(0, len(packed), step)]
        with running.send(request_bytes("POST", "/", {"Content-Encoding": coding, "Transfer-Encoding": "chunked"}) + chunked(*pieces)) as wire:
            assert wire.read_response().status == 200
    assert [request.body for request in backend.requests] == [TEXT, TEXT]


def test_digests_of_the_packed_bytes_in_trailers_do_not_go_on(running, backend):
    trailers = [("Content-Digest", "sha-256=:x:"), ("Repr-Digest", "sha-256=:x:"), ("digest", "x"), ("Content-MD5", "x"), ("X-Kept", "1")]
    with running.send(request_bytes("POST", "/", {"Content-Encoding": "gzip", "Transfer-Encoding": "chunked"}) + chunked(gzip.compress(TEXT), trailers=trailers)) as wire:
        assert wire.read_response().status == 200
    assert backend.requests[0].body == TEXT and [name for name, _ in backend.requests[0].trailers] == ["X-Kept"]


@CODINGS
def test_over_http_2(running, backend, coding):
    with H2Client(running.address) as client:
        assert client.request("POST", "/", [("content-encoding", coding)], PACK[coding](TEXT)).status == 200
    assert backend.requests[0].body == TEXT
    running.gauges_at_zero()


def test_several_members_are_one_body(running, backend):
    assert post(running, "gzip", gzip.compress(b"one ") + gzip.compress(b"") + gzip.compress(b"two")).status == 200
    assert post(running, "x-gzip", gzip.compress(b"one two")).status == 200
    assert post(running, "zstd", PACK["zstd"](b"one ") + PACK["zstd"](b"two")).status == 200
    assert [request.body for request in backend.requests] == [b"one two"] * 3


@CODINGS
def test_what_is_broken_is_refused(running, backend, coding):
    packed = PACK[coding](os.urandom(5000))
    for body, words in ((packed[:-3], "too early"), (packed + b"garbage!", "follow the end"), (b"\xff" * 300, "not what its")):
        response = post(running, coding, body)
        assert response.status == 400 and words in response.problem["detail"]
    damaged = bytearray(gzip.compress(TEXT))
    damaged[-6] ^= 1  # the checksum
    assert post(running, "gzip", bytes(damaged)).status == 400
    running.gauges_at_zero()


def bomb(coding, size):
    """Made as it is sent: zeros, a thousand times as large as they come."""
    if coding == "zstd":
        return zstandard.ZstdCompressor(level=19).compress(bytes(size))
    return PACK[coding](bytes(size))


@CODINGS
def test_bombs_are_refused(gateway, backend, coding):
    body = bomb(coding, 64 * MIB)
    by_ratio, by_size = gateway(unpacking(backend)), gateway(unpacking(backend, maxRatio=100000, maxBytes="1MiB"))
    for running, words in ((by_ratio, "grows too much"), (by_size, "too large once unpacked")):
        response = post(running, coding, body)
        assert response.status == 413 and words in response.problem["detail"]
        assert running.metric("sluice_buffer_bytes") < 40 * MIB
        running.gauges_at_zero()
    assert all(len(request.body) <= 2 * MIB for request in backend.requests)
    lines = by_ratio.log_lines(1)
    assert lines[0]["status"] == 413 and lines[0]["error"]["type"] == "decompression-ratio"


def test_other_codings_are_refused_with_what_is_understood(gateway, backend):
    running = gateway(unpacking(backend, codings=["gzip", "zstd"]))
    for coding in ("br", "lzma", "gzip, zstd"):
        response = post(running, coding, b"x")
        assert response.status == 415 and response.headers["Accept-Encoding"] == "gzip, zstd"
    passing = gateway(unpacking(backend, codings=["gzip"], otherCodings="pass"))
    assert post(passing, "br", b"as it is").status == 200
    assert backend.requests[-1].body == b"as it is" and backend.requests[-1].headers["Content-Encoding"] == "br"


def test_a_window_beyond_eight_mebibytes_is_refused(running):
    packed = zstandard.ZstdCompressor(compression_params=zstandard.ZstdCompressionParameters.from_level(3, window_log=25)).compressobj().compress(os.urandom(200000))
    response = post(running, "zstd", packed)
    assert response.status == 400 and "8 MiB" in response.problem["detail"]


def test_declared_windows_cost_other_requests_nothing(gateway, backend):
    """A frame's head asks for 8 MiB with five bytes; forty of them asked for more than the worker has."""
    running = gateway({**unpacking(backend), "limits": {"bufferBytesPerWorker": "64MiB"}})
    head = request_bytes("POST", "/", {"Content-Encoding": "zstd", "Transfer-Encoding": "chunked"})
    frame = bytes.fromhex("28b52ffd0068") + (100_000 << 3).to_bytes(3, "little") + b"half a block"
    wires = [running.send(head + b"%x\r\n%s\r\n" % (len(frame), frame)) for _ in range(40)]
    time.sleep(0.3)
    assert [running.get("/plain").status for _ in range(5)] == [200] * 5
    assert post(running, "gzip", gzip.compress(TEXT)).status == 200, "there is room for those who send, too"
    for wire in wires:
        wire.close()
    running.gauges_at_zero()


def test_clients_that_leave_in_the_middle_leave_nothing_behind(running, backend):
    backend.by_default(before_body, hang())
    packed = gzip.compress(os.urandom(300 * KIB))
    for cut in range(1, 20):
        wire = running.send(request_bytes("POST", "/", {"Content-Encoding": "gzip", "Content-Length": str(len(packed))}) + packed[:cut * 9000])
        time.sleep(0.01)
        wire.reset()
    running.gauges_at_zero()


def test_a_service_that_takes_nothing_holds_the_client_back(running, backend):
    go = threading.Event()
    backend.by_default(before_body, lambda wire, request: go.wait(10), read_body(), lambda wire, request: wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
    text = (TEXT * 20)[:9 * MIB]
    with running.connect() as wire:
        packed = gzip.compress(text)
        sender = threading.Thread(target=wire.send, args=(request_bytes("POST", "/", {"Content-Encoding": "gzip"}, packed),))
        sender.start()
        time.sleep(0.3)
        assert running.metric("sluice_buffer_bytes") < 2 * MIB
        go.set()
        sender.join()
        assert wire.read_response().status == 200
    assert backend.requests[0].body == text


def test_httpx_sends_packed_json(running, backend):
    with httpx.Client(base_url=running.url, **PLAIN_HTTP) as client:
        assert client.post("/", content=gzip.compress(b"{}"), headers={"Content-Encoding": "gzip"}).status_code == 200
    assert backend.requests[0].body == b"{}"


def test_the_way_there_and_back(gateway, backend):
    """Both policies on one route: the service sees and says plain text."""
    backend.by_default(lambda wire, request: wire.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s" % (len(request.body), request.body)))
    running = gateway(proxy(backend, route={"filters": [{"type": "decompression"}, {"type": "compression"}]}))
    response = post(running, "zstd", PACK["zstd"](TEXT), **{"Accept-Encoding": "gzip"})
    assert response.headers["Content-Encoding"] == "gzip" and gzip.decompress(response.body) == TEXT
