"""Answers compressed on the wire, read by independent decoders: zlib, Google's Brotli, Zstandard, and httpx that does it by itself."""
import json
import os
import socket
import threading
import time
import zlib

import brotli
import httpx
import pytest
import zstandard

from backend import answer, reset, send, wait_for
from gateway import proxy
from h2_client import H2Client
from measuring import Peak
from plain_http import PLAIN_HTTP
from wire import WireClosed, chunked, request_bytes, response_bytes

KIB, MIB = 1 << 10, 1 << 20
JSON = {"Content-Type": "application/json"}
TEXT = json.dumps([{"id": number, "name": f"user-{number}", "active": number % 3 == 0} for number in range(2000)]).encode()


class Gunzip:
    def __init__(self):
        self.reader = zlib.decompressobj(31)

    def add(self, data):
        return self.reader.decompress(data)

    def is_whole(self):
        return self.reader.eof and not self.reader.unused_data


class Unbrotli:
    def __init__(self):
        self.reader = brotli.Decompressor()

    def add(self, data):
        return self.reader.process(data)

    def is_whole(self):
        return self.reader.is_finished()


class Unzstd:
    def __init__(self):
        self.reader = zstandard.ZstdDecompressor(max_window_size=8 * MIB).decompressobj()

    def add(self, data):
        return self.reader.decompress(data)

    def is_whole(self):
        try:
            self.reader.decompress(b"x")
        except zstandard.ZstdError:
            return True  # it is over and takes no more
        return False


READERS = {"gzip": Gunzip, "br": Unbrotli, "zstd": Unzstd}
CODINGS = pytest.mark.parametrize("coding", READERS)


def unpacked(coding, data):
    reader = READERS[coding]()
    text = reader.add(data)
    assert reader.is_whole(), "the body is cut"
    return text


def compressing(backend, *, route=None, **fields):
    return proxy(backend, route={"filters": [{"type": "compression", **fields}], "retryCount": 0, **(route or {})})


@pytest.fixture
def running(gateway, backend):
    return gateway(compressing(backend))


# Whole answers

@CODINGS
@pytest.mark.parametrize("size", [1 * KIB, 10 * KIB, 100 * KIB, 3 * MIB])
def test_bytes_come_back_whole(running, backend, coding, size):
    text = (TEXT * (size // len(TEXT) + 1))[:size]
    backend.by_default(answer(200, {**JSON, "ETag": '"v1"'}, text))
    with running.connect() as wire:
        for _ in range(2):  # the connection goes on behind it
            wire.send(request_bytes(headers={"Accept-Encoding": coding}))
            response = wire.read_response()
            assert response.headers["Content-Encoding"] == coding and response.headers["Vary"] == "Accept-Encoding"
            assert response.headers["ETag"] == 'W/"v1"' and len(response.body) < size / 2
            assert unpacked(coding, response.body) == text
    running.gauges_at_zero()


def test_a_small_answer_goes_out_with_its_length_and_a_long_one_in_chunks(running, backend):
    backend.on("/small", answer(200, JSON, TEXT[:10 * KIB])).on("/long", answer(200, JSON, TEXT * 20))
    small, long = running.get("/small", {"Accept-Encoding": "gzip"}), running.get("/long", {"Accept-Encoding": "gzip"})
    assert small.headers["Content-Length"] == str(len(small.body)) and "Transfer-Encoding" not in small.headers
    assert long.headers["Transfer-Encoding"] == "chunked" and "Content-Length" not in long.headers


@CODINGS
def test_the_same_over_http_2(running, backend, coding):
    backend.on("/a", answer(200, JSON, TEXT)).on("/long", answer(200, JSON, TEXT * 20))
    with H2Client(running.address) as client:
        for path, text in (("/a", TEXT), ("/long", TEXT * 20)):
            got = client.get(path, [("accept-encoding", coding)])
            assert got.status == 200 and got.headers["content-encoding"] == coding and got.headers["vary"] == "Accept-Encoding"
            assert unpacked(coding, got.body) == text
    running.gauges_at_zero()


@pytest.mark.parametrize("http2", [False, True])
def test_httpx_reads_what_it_asks_for(running, backend, http2):
    backend.by_default(answer(200, JSON, TEXT))
    with httpx.Client(base_url=running.url, **PLAIN_HTTP, http1=not http2, http2=http2) as client:
        got = client.get("/", headers={"Accept-Encoding": "gzip, deflate, br"})
    assert got.content == TEXT and got.headers["content-encoding"] == "br"
    assert got.http_version == ("HTTP/2" if http2 else "HTTP/1.1")


def test_http_1_0_gets_it_as_it_is(running, backend):
    backend.by_default(answer(200, JSON, TEXT))
    response = running.get("/", {"Accept-Encoding": "gzip"}, version="1.0")
    assert response.body == TEXT and "Content-Encoding" not in response.headers and response.headers["Content-Length"] == str(len(TEXT))


def test_head_says_what_get_would(running, backend):
    backend.by_default(answer(200, {**JSON, "ETag": '"v1"'}, TEXT))
    response = running.request("HEAD", "/", {"Accept-Encoding": "gzip"})
    assert response.headers["Content-Encoding"] == "gzip" and response.headers["ETag"] == 'W/"v1"' and "Content-Length" not in response.headers


def test_what_must_not_be_touched_is_not(running, backend):
    packed = zlib.compress(TEXT)
    backend.on("/packed", answer(200, {**JSON, "Content-Encoding": "deflate"}, packed))
    backend.on("/part", answer(206, {**JSON, "Content-Range": f"bytes 0-2047/{len(TEXT)}"}, TEXT[:2048]))
    backend.on("/fixed", answer(200, {**JSON, "Cache-Control": "no-transform"}, TEXT))
    backend.on("/image", answer(200, {"Content-Type": "image/png"}, TEXT))
    backend.on("/same", answer(304, {"ETag": '"v1"'}))
    for path, body in (("/packed", packed), ("/part", TEXT[:2048]), ("/fixed", TEXT), ("/image", TEXT)):
        response = running.get(path, {"Accept-Encoding": "gzip", "Range": "bytes=0-2047"})
        assert response.body == body and response.headers["Content-Length"] == str(len(body)) and "Vary" not in response.headers
    assert running.get("/same", {"Accept-Encoding": "gzip", "If-None-Match": 'W/"v1"'}).headers["ETag"] == 'W/"v1"'


def test_answers_that_are_not_compressed_vary_as_those_that_are(running, backend):
    """A short one, and a 304: what a cache learns of them holds for all of the resource."""
    backend.on("/short", answer(200, JSON, b"{}"))
    backend.on("/same", answer(304, {"ETag": '"v1"'})).on("/told", answer(304, {**JSON, "ETag": '"v1"'}))
    for headers in ({}, {"Accept-Encoding": "gzip"}):
        assert running.get("/short", headers).headers["Vary"] == "Accept-Encoding"
        assert running.get("/same", {**headers, "If-None-Match": '"v1"'}).headers["Vary"] == "Accept-Encoding"
    told = running.get("/told", {"Accept-Encoding": "gzip", "If-Modified-Since": "Mon, 30 Nov 2026 09:00:00 GMT"})
    assert told.status == 304 and told.headers["ETag"] == 'W/"v1"' and told.headers["Vary"] == "Accept-Encoding"


def test_secrets_that_could_be_guessed_are_not_compressed(running, backend):
    backend.by_default(answer(200, JSON, TEXT))

    def coding(headers):
        return running.get("/", {"Accept-Encoding": "gzip", **headers}).headers.get("Content-Encoding")
    assert coding({"Cookie": "session=1"}) is None
    assert coding({"Cookie": "session=1", "Sec-Fetch-Site": "cross-site"}) is None
    assert coding({"Cookie": "session=1", "Sec-Fetch-Site": "same-origin"}) == "gzip"
    assert coding({"Authorization": "Basic dTpw"}) is None
    assert coding({"Authorization": "Bearer abc"}) == "gzip"
    backend.by_default(answer(200, {**JSON, "Set-Cookie": "session=1"}, TEXT))
    assert coding({}) is None


# What is counted

def counted(running):
    """What became of answers so far, by outcome."""
    name, page = "sluice_compression_answers_total", running.metrics()
    return {labels["outcome"]: page.get(name, **labels) for labels in page.labels(name)}


@CODINGS
def test_compressed_answers_and_their_bytes_are_counted(running, backend, coding):
    backend.by_default(answer(200, JSON, TEXT))
    packed = [len(running.get("/", {"Accept-Encoding": coding}).body) for _ in range(3)]
    assert counted(running) == {coding: 3}
    assert running.metric("sluice_compression_input_bytes_total", coding=coding) == 3 * len(TEXT)
    assert running.metric("sluice_compression_output_bytes_total", coding=coding) == sum(packed)


@pytest.mark.parametrize("outcome, status, fields, asks", [
    ("partial", 206, {"Content-Range": f"bytes 0-9999/{len(TEXT)}"}, {}),
    ("encoded", 200, {"Content-Encoding": "deflate"}, {}),
    ("no-transform", 200, {"Cache-Control": "no-transform"}, {}),
    ("digest", 200, {"Repr-Digest": "sha-256=:AA==:"}, {}),
    ("type", 200, {"Content-Type": "image/png"}, {}),
    ("not-accepted", 200, {}, {"Accept-Encoding": "identity"}),
    ("secret", 200, {}, {"Cookie": "session=1"}),
])
def test_an_answer_that_is_left_alone_is_counted_with_the_reason(running, backend, outcome, status, fields, asks):
    backend.by_default(answer(status, {**JSON, **fields}, TEXT[:10000]))
    assert running.get("/", {"Accept-Encoding": "gzip", **asks}).body == TEXT[:10000]
    assert counted(running) == {outcome: 1}


def test_short_answers_and_those_without_a_body_are_told_apart(running, backend):
    backend.on("/short", answer(200, JSON, b"{}")).on("/same", answer(304, {"ETag": '"v1"'})).on("/long", answer(200, JSON, TEXT))
    running.get("/short", {"Accept-Encoding": "gzip"})
    running.get("/same", {"Accept-Encoding": "gzip", "If-None-Match": '"v1"'})
    running.request("HEAD", "/long", {"Accept-Encoding": "gzip"})
    assert counted(running) == {"short": 1}


def test_a_worker_that_is_short_of_memory_counts_what_it_leaves_alone(gateway, backend):
    running = gateway({**compressing(backend), "limits": {"bufferBytesPerWorker": "1MiB"}})
    backend.by_default(answer(200, JSON, TEXT))
    assert "Content-Encoding" not in running.get("/", {"Accept-Encoding": "br"}).headers
    assert counted(running) == {"memory": 1}


def test_trailers_come_behind_it(running, backend):
    head = response_bytes(headers={**JSON, "Transfer-Encoding": "chunked", "Trailer": "X-Sum"}, length=False)
    backend.by_default(send(head + chunked(TEXT, trailers=[("X-Sum", "7"), ("Repr-Digest", "sha-256=:x:"), ("content-md5", "x")])))
    response = running.get("/", {"Accept-Encoding": "gzip", "TE": "trailers"})
    assert unpacked("gzip", response.body) == TEXT and response.trailers["X-Sum"] == "7"
    assert [name for name, _ in response.trailers] == ["X-Sum"], "digests of the plain bytes say nothing of the packed ones"
    plain = running.get("/", {"TE": "trailers"})
    assert plain.body == TEXT and plain.trailers["Repr-Digest"] == "sha-256=:x:"


# Streams

@CODINGS
@pytest.mark.parametrize("fields", [{"Content-Type": "text/event-stream"}, JSON], ids=["events", "slow"])
def test_each_piece_arrives_before_the_next_is_sent(running, backend, coding, fields):
    events = [b"data: %d\n\n" % number * (number + 1) for number in range(20)]
    words = [threading.Event() for _ in events]
    steps = [send(response_bytes(headers={**fields, "Transfer-Encoding": "chunked"}, length=False))]
    for event, word in zip(events, words):
        steps += [send(b"%x\r\n%s\r\n" % (len(event), event)), wait_for(word)]
    backend.by_default(*steps, send(b"0\r\n\r\n"))
    reader = READERS[coding]()
    with running.send(request_bytes(headers={"Accept-Encoding": coding})) as wire:
        assert wire.read_response_head().headers["Content-Encoding"] == coding
        for event, word in zip(events, words):
            come = b""
            while len(come) < len(event):
                size = int(wire.read_line(), 16)
                come += reader.add(wire.read_exactly(size))
                assert wire.read_line() == b""
            assert come == event
            word.set()
        rest = b""
        while (size := int(wire.read_line(), 16)) > 0:
            rest += wire.read_exactly(size)
            assert wire.read_line() == b""
        assert reader.add(rest) == b"" and reader.is_whole()
    running.gauges_at_zero()


def test_events_over_http_2_arrive_one_by_one(running, backend):
    words = [threading.Event() for _ in range(5)]
    steps = [send(response_bytes(headers={"Content-Type": "text/event-stream", "Transfer-Encoding": "chunked"}, length=False))]
    for number, word in enumerate(words):
        steps += [send(b"9\r\ndata: %d\n\n\r\n" % number), wait_for(word)]
    backend.by_default(*steps, send(b"0\r\n\r\n"))
    reader = Gunzip()
    with H2Client(running.address) as client:
        stream, come, seen = client.ask(headers=[("accept-encoding", "gzip")]), b"", 0
        for number, word in enumerate(words):
            expected = b"".join(b"data: %d\n\n" % earlier for earlier in range(number + 1))
            while come != expected:
                client.wait_for(lambda: len(client.answers[stream].body) > seen)
                come, seen = come + reader.add(client.answers[stream].body[seen:]), len(client.answers[stream].body)
            word.set()
        client.read(stream)
        reader.add(client.answers[stream].body[seen:])
        assert reader.is_whole()


def test_an_answer_that_breaks_off_does_not_look_whole(running, backend):
    backend.by_default(send(response_bytes(headers={**JSON, "Transfer-Encoding": "chunked"}, length=False) + b"%x\r\n%s" % (len(TEXT), TEXT[:-9])), reset())
    with running.send(request_bytes(headers={"Accept-Encoding": "gzip"})) as wire:
        response = wire.read_response_head()
        with pytest.raises(WireClosed):
            wire.read_response_body(response)
    running.gauges_at_zero()


@CODINGS
def test_a_slow_reader_holds_the_service_back_and_gets_all(running, backend, coding):
    noise = os.urandom(64 * KIB) * 200  # 12 MiB that shrink little: the windows are 64 KiB and less
    backend.by_default(answer(200, JSON, noise))
    reader, come = READERS[coding](), 0
    with running.connect(receive_buffer=8 * KIB) as wire:
        wire.send(request_bytes(headers={"Accept-Encoding": coding}))
        assert wire.read_response_head().headers["Content-Encoding"] == coding
        time.sleep(0.3)
        buffered = running.metric("sluice_buffer_bytes")
        assert buffered < 4 * MIB
        while (size := int(wire.read_line(), 16)) > 0:
            text = reader.add(wire.read_exactly(size))
            assert text == (noise + noise)[come:come + len(text)]
            come += len(text)
            assert wire.read_line() == b""
    assert come == len(noise) and reader.is_whole()
    running.gauges_at_zero()


@CODINGS
def test_clients_that_leave_in_the_middle_leave_nothing_behind(running, backend, coding):
    backend.by_default(answer(200, JSON, TEXT * 100))
    for cut in range(20):
        wire = running.send(request_bytes(headers={"Accept-Encoding": coding}))
        wire.read_exactly(1 + cut * 900)
        wire.reset()
    running.gauges_at_zero()


@pytest.mark.plain_build
def test_many_streams_take_a_bounded_memory(running, backend):
    """A silent event stream holds its encoder and hardly more."""
    forever = threading.Event()
    backend.by_default(send(response_bytes(headers={"Content-Type": "text/event-stream", "Transfer-Encoding": "chunked"}, length=False) + b"9\r\ndata: 1\n\n\r\n"),
                       wait_for(forever, 60))
    wires = [running.send(request_bytes(headers={"Accept-Encoding": "gzip"})) for _ in range(100)]
    for wire in wires:
        assert wire.read_response_head().headers["Content-Encoding"] == "gzip"
    each = (running.metric("sluice_buffer_bytes") - running.resting.get("sluice_buffer_bytes")) / len(wires)
    assert each < 160 * KIB
    for wire in wires:
        wire.close()
    forever.set()
    running.gauges_at_zero()


def test_a_reload_changes_what_is_compressed(gateway, backend):
    backend.by_default(answer(200, JSON, TEXT))
    running = gateway(compressing(backend, codings=["gzip"]))
    ask = {"Accept-Encoding": "gzip, br"}
    assert running.get("/", ask).headers["Content-Encoding"] == "gzip"
    running.reload(compressing(backend, codings=["br", "gzip"], levels={"br": 1}))
    assert running.get("/", ask).headers["Content-Encoding"] == "br"
    running.reload(compressing(backend, types="image/*"))
    assert "Content-Encoding" not in running.get("/", ask).headers
