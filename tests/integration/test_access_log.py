"""One JSON line an exchange, with the fields of DESIGN 11; and whatever becomes of the log, requests go on."""
import datetime
import json
import os
import signal
import threading
import time

import pytest

from backend import answer, wait
from gateway import proxy
from wire import request_bytes

FIELDS = {"type", "time", "requestId", "method", "path", "route", "service", "instance", "status", "durationMs", "upstreamMs",
          "bytesIn", "bytesOut", "clientIp", "userAgent", "userId", "clientId", "traceId", "spanId"}


def test_a_line_has_the_fields_and_tells_the_truth(gateway, backend):
    backend.on("/a/b", wait(0.05), answer(201, body=b"hello"))
    running = gateway(proxy(backend))
    before = datetime.datetime.now(datetime.timezone.utc)
    response = running.request("POST", "/a/./b?secret=1", {"User-Agent": "tester/1"}, b"body!")
    (line,) = running.log_lines(1)
    assert set(line) >= FIELDS
    assert (line["method"], line["path"], line["route"], line["service"], line["status"]) == ("POST", "/a/b", "all", "backend", 201)
    assert line["instance"] == backend.address
    assert line["clientIp"] == "127.0.0.1" and line["userAgent"] == "tester/1"
    assert line["bytesIn"] >= 5 and line["bytesOut"] >= 5
    assert 45 <= line["upstreamMs"] <= line["durationMs"] < 5000
    assert line["requestId"] == backend.requests[0].headers["X-Request-ID"]
    assert "secret" not in json.dumps(line), "a query may hold secrets and is no part of the path"
    when = datetime.datetime.fromisoformat(line["time"].replace("Z", "+00:00"))
    assert abs((when - before).total_seconds()) < 5
    assert response.status == 201


def test_a_route_without_a_name_is_logged_by_its_path(gateway):
    running = gateway({"routes": [{"path": "/a/{id}", "respond": {}}]})
    running.get("/a/7")
    (line,) = running.log_lines(1)
    assert (line["route"], line["path"]) == ("/a/{id}", "/a/7")


def test_what_the_gateway_answers_itself_is_logged_too(gateway, backend):
    running = gateway({**proxy(backend), "routes": [{"name": "here", "path": "/here", "respond": {"status": 418, "body": "x"}}]})
    running.get("/here")
    running.get("/nowhere")
    lines = running.log_lines(2)
    assert [(line["route"], line["status"]) for line in lines] == [("here", 418), (lines[1]["route"], 404)]
    assert not lines[1]["route"]


def test_a_refused_request_has_a_line(gateway, backend):
    running = gateway(proxy(backend))
    with running.send(b"GET / HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n") as wire:
        wire.read_response()
    assert running.log_lines(1)[0]["status"] == 400


SECRET = "geheim"


@pytest.mark.parametrize("target, shown", [
    (f"GET http://user:{SECRET}@host/j/x", "host/j/x"),
    (f"GET http://{SECRET}@host", "host"),
    (f"GET http://user:{SECRET}@other@host/j", "host/j"),
    (f"GET http://user:a/{SECRET}@host/j", "host/j"),
    (f"GET http://user:{SECRET}@host/j?key={SECRET}", "host/j"),
    (f"GET http://user:a?{SECRET}@host/j", None),
    (f"GET http://user:{SECRET}@host/j?mail={SECRET}@example.com", None),
    (f"GET ftp://user:{SECRET}@host/j", "host/j"),
    (f"GET http:/user:{SECRET}@host/j", "host/j"),
    (f"GET user:{SECRET}@host:80", "host:80"),
    (f"CONNECT user:{SECRET}@host:80", "host:80"),
    # Where there is none, all but the query stays.
    (f"GET http://ho st/j?key={SECRET}", "http://ho st/j"),
    (f"GET ftp://host/j?key={SECRET}", "ftp://host/j"),
    ("CONNECT host:80", "host:80"),
    (f"GET /a@b/%zz?key={SECRET}", "/a@b/%zz"),
    (f"GET /a@b?key={SECRET}%zz", "/a@b"),
])
def test_a_target_that_cannot_be_read_shows_no_credentials(gateway, backend, target, shown):
    running = gateway(proxy(backend))
    with running.send(f"{target} HTTP/1.1\r\nHost: host\r\n\r\n".encode()) as wire:
        response = wire.read_response()
    (line,) = running.log_lines(1)
    assert response.status >= 400 and line["status"] == response.status
    assert line["path"] == shown
    assert SECRET not in json.dumps(line) + running.stderr() + repr(response.body)


@pytest.mark.parametrize("agent", ['say "hi"', "back\\slash", "\xff\xfe\xfd", "\xc3\xa4\xc3\xb6", "</script>", "tab\there", "a" * 2000])
def test_odd_bytes_stay_inside_their_string(gateway, backend, agent):
    """RFC 8259: one line is one document, whatever a client sends."""
    running = gateway(proxy(backend))
    running.get("/%22%0A%7D", {"User-Agent": agent})
    (line,) = running.log_lines(1)
    assert line["userAgent"][:1] == agent.encode("latin-1").decode("utf-8", "replace")[:1]


def test_it_is_reopened_on_sigusr1(gateway, backend):
    running = gateway(proxy(backend))
    running.get("/first")
    running.log_lines(1)
    rotated = running.log_path.with_suffix(".1")
    running.log_path.rename(rotated)
    running.get("/between")
    running.signal(signal.SIGUSR1)
    deadline = time.monotonic() + 5
    while not running.log_path.exists():
        assert time.monotonic() < deadline, "the log was not opened again"
        time.sleep(0.02)
    running.get("/second")
    assert running.log_lines(1)[-1]["path"] == "/second"
    old = [json.loads(line)["path"] for line in rotated.read_text().splitlines()]
    new = [line["path"] for line in running.log_lines(1)]
    assert sorted(old + new) == ["/between", "/first", "/second"], "no line lost, none twice"


def serve_many(running, count=300):
    """The slowest of many requests on one connection, in seconds."""
    slowest = 0
    with running.connect() as wire:
        for _ in range(count):
            began = time.monotonic()
            wire.send(request_bytes(headers={"User-Agent": "u" * 1000}))
            assert wire.read_response().status == 200
            slowest = max(slowest, time.monotonic() - began)
    return slowest


def test_a_full_disk_blocks_nobody_and_is_counted(gateway, backend):
    running = gateway(proxy(backend, accessLog={"path": "/dev/full"}))
    assert serve_many(running, 500) < 2
    running.wait_for_metric("sluice_access_log_lines_dropped_total", lambda dropped: dropped > 0)
    running.gauges_at_zero()


def test_a_stopped_reader_of_a_pipe_blocks_nobody_and_is_counted(gateway, backend, tmp_path):
    """A FIFO whose reader never reads: 64 KiB fit, then writing would block."""
    fifo = tmp_path / "log.fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        running = gateway(proxy(backend, accessLog={"path": str(fifo)}))
        # Some megabytes wait in pages before the first line is dropped.
        for _ in range(20):
            assert serve_many(running, 500) < 2
            if running.metric("sluice_access_log_lines_dropped_total"):
                break
        assert running.metric("sluice_access_log_lines_dropped_total") > 0
        # When the reader wakes up, whole lines come; none is torn.
        received = b""
        deadline = time.monotonic() + 3
        while time.monotonic() < deadline:
            try:
                received += os.read(reader, 1 << 20)
            except BlockingIOError:
                time.sleep(0.05)
        for line in received[:received.rfind(b"\n")].splitlines():
            json.loads(line)
        running.gauges_at_zero()
    finally:
        os.close(reader)


def test_a_fifo_nobody_reads_does_not_keep_the_gateway_from_starting(gateway, backend, tmp_path):
    fifo = tmp_path / "log.fifo"
    os.mkfifo(fifo)
    running = gateway(proxy(backend, accessLog={"path": str(fifo)}), ready=False)
    deadline = time.monotonic() + 20
    while True:
        try:
            assert running.get("/").status == 200
            return
        except ConnectionError:
            if running.process.poll() is not None:
                running.expect_exit = running.process.returncode
                assert "log.fifo" in running.stderr()
                return
            assert time.monotonic() < deadline, "it hangs in opening the log"
            time.sleep(0.05)


def test_off_writes_nothing(gateway, backend):
    running = gateway(proxy(backend, accessLog={"path": "off"}))
    running.get("/")
    time.sleep(0.3)
    assert not running.log_path.exists()


def test_stdout_gets_the_lines(gateway, backend):
    running = gateway(proxy(backend, accessLog={"path": "stdout"}))
    running.get("/to-stdout")
    deadline = time.monotonic() + 5
    while "/to-stdout" not in running.stdout():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert json.loads(running.stdout().splitlines()[-1])["path"] == "/to-stdout"


def test_no_line_is_lost_or_torn_under_load_and_at_the_end(gateway, backend):
    """Lines of all workers, the last ones written while it stops."""
    running = gateway(proxy(backend, workers=2))

    def client():
        with running.connect() as wire:
            for _ in range(250):
                wire.send(request_bytes())
                wire.read_response()
    threads = [threading.Thread(target=client) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    running.stop()
    lines = [json.loads(line) for line in running.log_path.read_text().splitlines()]
    assert len(lines) == 1000
    assert len({line["requestId"] for line in lines}) == 1000


def test_a_log_that_cannot_be_opened_is_said_at_the_start(gateway, backend):
    running = gateway(proxy(backend, accessLog={"path": "/nonexistent/folder/access.log"}), ready=False, expect_exit=1)
    assert running.process.wait(20) == 1
    assert "/nonexistent/folder/access.log" in running.stderr()
