"""Active health checks with real instances: what makes one go down and come up again, and what traffic makes of it."""
import collections
import contextlib
import itertools
import re
import signal
import socket
import threading
import time

import httpx
import pytest

import h2_backend
from backend import answer, hang, send, wait
from certificates import Authority
from gateway import is_sanitized, proxy, service
from live import wait_until
from plain_http import PLAIN_HTTP
from tls import server_context
from wire import request_bytes

ALGORITHMS = ("round_robin", "weighted_round_robin", "least_connections", "ip_hash", "random")


def checked(*backends, check=None, route=None, top=None, **fields):
    """One service, asked ten times a second."""
    health_check = {"path": "/health", "interval": 0.1, "timeout": 1, "healthyThreshold": 2, "unhealthyThreshold": 3,
                    **(check or {})}
    return proxy(*backends, route={"retryCount": 0, **(route or {})},
                 service_fields={"healthCheck": health_check, **fields}, **(top or {}))


def names(running, count=9):
    with running.connect() as wire:
        found = []
        for _ in range(count):
            wire.send(request_bytes())
            found.append(wire.read_response().body.decode())
        return found


def go_down(running, backend, why, timeout=5, after=0):
    """Waits for the line of the log that says so, and why; returns how many checks in a row it took."""
    found = running.wait_for_stderr(
        rf'service "backend": instance {re.escape(backend.address)} is down: {why} \((first check|(\d+) checks? in a row)\)\n', timeout, after)
    return int(found[2]) if found[2] else 0


def come_up(running, backend, timeout=5, after=0):
    """The same for its being up again; returns after how many seconds."""
    return float(running.wait_for_stderr(
        rf'service "backend": instance {re.escape(backend.address)} is up again after ([\d.]+) s\n', timeout, after)[1])


def is_up(running, backend):
    return running.metric("sluice_instance_up", service="backend", instance=backend.address)


def wait_until_checked(running, *backends):
    for one in backends:
        running.wait_for_metric("sluice_instance_up", 1, service="backend", instance=one.address)


def checks_of(backend):
    return [request for request in backend.requests if request.target == "/health"]


def refuse(backend):
    """Nobody listens there any more, and what was open is closed."""
    backend.stop_listening()
    backend.drop_connections()


# What a check is

def test_a_check_is_a_plain_get_of_the_path_on_a_connection_that_is_kept(gateway, backend):
    running = gateway(checked(backend, check={"path": "/health?full=1"}))
    requests = backend.wait_for_requests(5)
    assert {request.method for request in requests} == {"GET"}
    assert {request.target for request in requests} == {"/health?full=1"}
    assert {request.headers["Host"] for request in requests} == {backend.address}
    assert {request.headers["User-Agent"] for request in requests} == {"sluice-health-check"}
    assert {request.connection for request in requests} == {1}
    assert is_up(running, backend) == 1


def test_checks_are_neither_requests_nor_traffic(gateway, backend):
    """They stand in no log and in no metric of requests, and no balancer takes them for load."""
    running = gateway(checked(backend))
    backend.wait_for_requests(5)
    assert running.get("/one").status == 200
    assert [line["path"] for line in running.log_lines(1)] == ["/one"]
    metrics = running.metrics()
    assert metrics.get("sluice_requests_total", route="all") == 1
    assert metrics.get("sluice_upstream_duration_seconds_count") == 1
    assert metrics.get("sluice_upstream_connects_total") == 1
    assert metrics.get("sluice_health_checks_total", service="backend", result="success") >= 5
    assert metrics.get("sluice_health_checks_total", service="backend", result="failure") == 0


def test_checks_that_hang_are_no_load_for_the_fewest_connections(gateway, backends):
    backends[0].on("/health", hang())
    running = gateway(checked(*backends, check={"timeout": 30}, lbAlgorithm="least_connections"))
    backends[0].wait_for_requests(1)
    counts = collections.Counter(names(running, 90))
    assert counts["one"] > 10, counts


def test_only_services_that_ask_for_it_are_checked(gateway, backends):
    running = gateway({**checked(backends[0]), "services": [*checked(backends[0])["services"],
                                                              service(backends[1], name="unchecked")]})
    backends[0].wait_for_requests(5)
    assert backends[1].requests == []
    assert {labels["service"] for labels in running.metrics().labels("sluice_instance_up")} == {"backend"}


def test_redirects_and_interim_answers_are_not_followed(gateway, backends):
    backends[0].on("/health", send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"), answer(200))
    backends[1].on("/health", answer(302, {"Location": "/elsewhere"}))
    running = gateway(checked(*backends[:2]))
    go_down(running, backends[1], "status 302")
    assert "/elsewhere" not in backends[1].targets()
    wait_until_checked(running, backends[0])


def test_the_admin_api_shows_what_the_checks_said(gateway, backends):
    backends[1].on("/health", answer(500))
    running = gateway(checked(*backends[:2]))
    go_down(running, backends[1], "status 500")
    wait_until_checked(running, backends[0])

    def admin(path):
        return httpx.get(f"http://127.0.0.1:{running.admin_port}/admin/{path}", **PLAIN_HTTP, timeout=10).json()
    up, down = admin("services/backend")["instanceHealth"]
    assert (up["instance"], up["state"], up["lastStatus"], up["reason"]) == (backends[0].address, "up", 200, None)
    assert (down["instance"], down["state"], down["lastStatus"], down["reason"]) == (backends[1].address, "down", 500, "status 500")
    for time_of in (up, down):
        assert re.fullmatch(r"2\d{3}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", time_of["since"]) and time_of["lastCheck"] >= time_of["since"]
    assert admin("health")["instances"] == {"up": 1, "down": 1, "unknown": 0}


def test_instances_that_close_idle_connections_are_well(gateway, backend):
    """A check that met a connection as it was being closed is repeated on a fresh one."""
    backend.close_idle_after = 0.1
    running = gateway(checked(backend))
    running.wait_for_metric("sluice_health_checks_total", lambda found: found >= 12, service="backend", result="success")
    assert running.metric("sluice_health_checks_total", service="backend", result="failure") == 0
    wait_until(lambda: backend.connections > 3, timeout=30)
    assert running.metric("sluice_health_checks_total", service="backend", result="failure") == 0


# Down

def test_an_instance_whose_first_check_fails_is_down_at_once(gateway, backends):
    backends[0].on("/health", answer(500))
    running = gateway(checked(*backends))
    assert go_down(running, backends[0], "status 500") == 0
    assert set(names(running)) == {"two", "three"}
    assert is_up(running, backends[0]) == 0


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_refused_connections_make_it_down_and_no_request_notices_after_that(gateway, backends, algorithm):
    running = gateway(checked(*backends, lbAlgorithm=algorithm))
    wait_until_checked(running, *backends)
    refuse(backends[0])
    assert go_down(running, backends[0], "connection refused") == 3
    for _ in range(20):
        assert running.get("/").status == 200


def test_a_backend_that_hangs_is_down_after_its_timeouts(gateway, backends):
    running = gateway(checked(*backends, check={"timeout": 0.15}))
    wait_until_checked(running, *backends)
    backends[0].on("/health", hang())
    assert go_down(running, backends[0], "no answer within 150 ms") == 3
    assert set(names(running)) == {"two", "three"}


def test_a_backend_that_does_not_accept_is_down(gateway, backend):
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = "127.0.0.1:%d" % full.getsockname()[1]
        with contextlib.ExitStack() as stack:  # its queue is full: the kernel answers no further SYN
            for _ in range(4):
                filler = stack.enter_context(socket.socket())
                filler.setblocking(False)
                filler.connect_ex(full.getsockname())
            running = gateway(checked(backend, address, check={"timeout": 0.2}))
            running.wait_for_stderr(rf"instance {address} is down: cannot connect: no answer in time \(first check\)\n")


def test_a_status_that_is_not_expected_makes_it_down(gateway, backends):
    backends[0].in_turn("/health", [answer(200)], [answer(503, body=b"cooling down")])
    running = gateway(checked(*backends))
    assert go_down(running, backends[0], "status 503") == 3
    assert set(names(running)) == {"two", "three"}


def test_which_statuses_are_good_is_configured(gateway, backends):
    backends[0].on("/health", answer(204))
    backends[1].on("/health", answer(418))
    backends[2].on("/health", answer(200))
    running = gateway(checked(*backends, check={"expectedStatus": [204, "410-420"]}))
    go_down(running, backends[2], "status 200")
    wait_until_checked(running, *backends[:2])
    assert set(names(running)) == {"one", "two"}


def test_what_is_no_http_makes_it_down(gateway, backends):
    backends[0].on("/health", send(b"SSH-2.0-OpenSSH_9.2\r\n"))
    backends[1].on("/health", send(b"HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\n"))
    running = gateway(checked(*backends))
    go_down(running, backends[0], "response: its first line [^\n]*")
    go_down(running, backends[1], "response: a Content-Length that is no plain number")
    assert set(names(running)) == {"three"}


@pytest.mark.parametrize("ending", ["at once", "inside the head"])
def test_a_connection_that_breaks_off_is_a_failure(gateway, backends, ending):
    def cut(wire, request):
        if ending == "inside the head":
            wire.send(b"HTTP/1.1 200 OK\r\nContent-")
        wire.close()
    backends[0].on("/health", cut)
    running = gateway(checked(*backends))
    go_down(running, backends[0], "the backend [^\n]*")


def test_an_endless_answer_is_judged_by_its_head_and_dropped(gateway, backend):
    def endless(wire, request):
        wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(100000):
            wire.send(b"2000\r\n" + bytes(8192) + b"\r\n")
    backend.on("/health", endless)
    running = gateway(checked(backend))
    backend.wait_for_requests(5)
    assert is_up(running, backend) == 1


def test_an_answer_whose_body_stands_still_is_judged_by_its_head(gateway, backend):
    backend.on("/health", send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"), hang())
    running = gateway(checked(backend, check={"timeout": 0.2}))
    backend.wait_for_requests(4)
    assert is_up(running, backend) == 1


# Over other transports

@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


def over_tls(authority, *backends, http_version="auto", check=None):
    return checked(*backends, check=check, protocol="https", httpVersion=http_version, tls={"ca": str(authority.path), "serverName": "users.internal"})


def test_a_certificate_that_is_not_good_makes_it_down(gateway, new_backend, authority):
    good = new_backend("good", tls=server_context(authority.issue("users.internal")))
    bad = new_backend("bad", tls=server_context(authority.issue("somebody.else")))
    running = gateway(over_tls(authority, good, bad))
    go_down(running, bad, "tls: the certificate of the backend is refused: [^\n]*")
    wait_until_checked(running, good)
    assert set(names(running)) == {"good"}
    assert bad.requests == []


def test_http_2_instances_are_asked_in_http_2(gateway, new_h2_backend, authority):
    backend = new_h2_backend("one", tls=server_context(authority.issue("users.internal"), alpn=["h2"]))
    backend.on("/health", h2_backend.answer(200, body=b"fine"))
    running = gateway(over_tls(authority, backend, http_version="2"))
    running.wait_for_metric("sluice_health_checks_total", lambda found: found >= 5, service="backend", result="success")
    backend.on("/health", h2_backend.answer(500))
    assert go_down(running, backend, "status 500") == 3


def test_http_2_in_clear_with_prior_knowledge(gateway, h2_backend):
    running = gateway(checked(h2_backend, httpVersion="2"))
    running.wait_for_metric("sluice_health_checks_total", lambda found: found >= 5, service="backend", result="success")


def test_the_proxy_protocol_says_that_the_gateway_itself_asks(gateway, new_backend):
    seen = []

    def take_header(connected):
        header = b""
        while len(header) < 16:
            header += connected.recv(16 - len(header))
        assert header.startswith(b"\r\n\r\n\0\r\nQUIT\n")
        seen.append((header[12], header[13]))
        connected.recv(int.from_bytes(header[14:16], "big"))
    backend = new_backend(before=take_header)
    running = gateway(checked(backend, proxyProtocol="v2"))
    running.wait_for_metric("sluice_health_checks_total", lambda found: found >= 3, service="backend", result="success")
    assert {command for command, _ in seen} == {0x20}, "LOCAL"


# Up again

def test_it_comes_up_again_after_its_threshold(gateway, backends):
    running = gateway(checked(*backends, check={"healthyThreshold": 4}))
    wait_until_checked(running, *backends)
    refuse(backends[0])
    go_down(running, backends[0], "connection refused")
    backends[0].forget()
    backends[0].listen_again()
    down_for = come_up(running, backends[0])
    assert 0.3 <= down_for < 5
    assert len(checks_of(backends[0])) >= 4
    running.wait_for_metric("sluice_instance_up", 1, service="backend", instance=backends[0].address)
    assert "one" in names(running), "it gets its share at once"


def test_one_success_between_failures_does_not_make_it_up(gateway, backends):
    scripts = itertools.cycle([[answer(500)], [answer(500)], [answer(200)]])
    backends[0].scripts["/health"] = lambda: next(scripts)
    running = gateway(checked(*backends))
    go_down(running, backends[0], "status 500")
    backends[0].wait_for_requests(12)
    assert "is up again" not in running.stderr()


def test_where_all_are_down_it_says_so_and_goes_on_the_moment_one_is_up(gateway, backends):
    for one in backends:
        one.on("/health", answer(500))
    running = gateway(checked(*backends, check={"healthyThreshold": 1}))
    for one in backends:
        go_down(running, one, "status 500")
    running.wait_for_stderr('service "backend": all its instances are down: requests are answered with 503')
    response = running.get("/x")
    assert response.status == 503
    assert re.fullmatch(r"the service is not available: all 3 instances are down, the last one for \d+ s", response.problem["detail"])
    assert response.headers["Retry-After"] == "1"
    line = running.log_lines(1)[-1]
    assert line["error"]["type"] == "no-healthy-instance"
    assert re.fullmatch(r'service "backend": all 3 instances are down, the last one for \d+ s', line["error"]["text"])
    assert running.metric("sluice_errors_total", type="no-healthy-instance") == 1
    assert all("/x" not in one.targets() for one in backends)
    backends[1].on("/health", answer(200))
    come_up(running, backends[1])
    assert set(names(running)) == {"two"}


def test_retry_after_is_what_an_instance_takes_to_be_up(gateway, backend):
    backend.on("/health", answer(500))
    running = gateway(checked(backend, check={"interval": 1.5, "healthyThreshold": 3}))
    go_down(running, backend, "status 500")
    response = running.get("/x")
    assert response.headers["Retry-After"] == "5"
    assert re.search(r"its only instance has been down for \d+ s", response.problem["detail"])


def test_instances_without_weight_keep_their_own_words(gateway, backend):
    backend.on("/health", answer(500))
    running = gateway(checked({"host": "127.0.0.1", "port": backend.port, "weight": 0}))
    go_down(running, backend, "status 500")
    assert running.get("/x").problem["detail"] == "the service has no instance that could answer"


def test_a_request_under_way_is_not_cut_when_its_instance_goes_down(gateway, backend):
    backend.on("/slow", wait(1.5), answer(200, body=b"late"))
    running = gateway(checked(backend))
    wait_until_checked(running, backend)
    with running.send(request_bytes(target="/slow")) as wire:
        backend.on("/health", answer(500))
        go_down(running, backend, "status 500")
        assert wire.read_response().body == b"late"


def test_a_retry_does_not_go_to_an_instance_that_is_down(gateway, backends):
    backends[0].on("/health", answer(500))
    for one in backends:
        one.on("/x", answer(503))
    running = gateway(checked(*backends, route={"retryCount": 5, "retryOn": ["5xx"]}))
    go_down(running, backends[0], "status 500")
    running.get("/x")
    assert "/x" not in backends[0].targets()
    assert "/x" in backends[1].targets() and "/x" in backends[2].targets()


# Change

def test_a_reload_keeps_what_is_known_and_causes_no_storm_of_checks(gateway, backends):
    backends[0].on("/health", answer(500))
    config = checked(*backends, check={"interval": 2})
    running = gateway(config)
    go_down(running, backends[0], "status 500")
    wait_until_checked(running, *backends[1:])
    for one in backends:
        one.forget()
    begun = time.monotonic()
    for number in range(8):
        config["services"][0]["connectTimeoutMs"] = 1000 + number
        running.reload(config)
        assert set(names(running)) == {"two", "three"}, "an instance that is down gets nothing at any time"
    turns = (time.monotonic() - begun) / 2 + 2
    for one in backends:
        assert len(checks_of(one)) <= turns
    assert running.stderr().count("is down") == 1


def test_changes_over_the_admin_api_keep_what_is_known(gateway, backends, tmp_path):
    backends[0].on("/health", answer(500))
    running = gateway({"store": f"sqlite:{tmp_path}/sluice.db"})
    with httpx.Client(base_url=f"http://127.0.0.1:{running.admin_port}/admin/", **PLAIN_HTTP, timeout=10) as admin:
        config = checked(*backends, check={"interval": 2})
        assert admin.post("services", json=config["services"][0]).status_code == 201
        assert admin.post("routes", json=config["routes"][0]).status_code == 201
        go_down(running, backends[0], "status 500")
        wait_until_checked(running, *backends[1:])
        for one in backends:
            one.forget()
        begun = time.monotonic()
        for number in range(20):
            assert admin.patch("services/backend", json={"connectTimeoutMs": 1000 + number}).status_code == 200
            assert set(names(running)) == {"two", "three"}
        turns = (time.monotonic() - begun) / 2 + 2
        assert all(len(checks_of(one)) <= turns for one in backends)
        assert admin.get("services/backend").json()["instanceHealth"][0]["state"] == "down"
        assert admin.patch("services/backend", json={"healthCheck": None}).status_code == 200
        assert "one" in names(running)


def test_a_slow_check_survives_reloads(gateway, backends):
    """One that never ends before the next reload would else never fail."""
    config = checked(*backends, check={"timeout": 0.6, "unhealthyThreshold": 1})
    running = gateway(config)
    wait_until_checked(running, *backends)
    backends[0].on("/health", hang())
    for number in range(200):
        config["services"][0]["connectTimeoutMs"] = 1000 + number
        running.reload(config)
        if "is down: no answer within 600 ms" in running.stderr():
            return
        time.sleep(0.05)
    pytest.fail("it never went down")


def test_a_changed_interval_takes_effect(gateway, backend):
    config = checked(backend, check={"interval": 3600})
    running = gateway(config)
    backend.wait_for_requests(1)
    time.sleep(0.3)
    assert len(backend.requests) == 1
    config["services"][0]["healthCheck"]["interval"] = 0.1
    running.reload(config)
    backend.wait_for_requests(6, timeout=3)
    config["services"][0]["healthCheck"]["interval"] = 3600
    running.reload(config)
    time.sleep(0.3)
    count = len(backend.requests)
    time.sleep(0.7)
    assert len(backend.requests) == count


def test_a_changed_path_and_status_take_effect(gateway, backend):
    backend.on("/other", answer(410))
    config = checked(backend)
    running = gateway(config)
    wait_until_checked(running, backend)
    config["services"][0]["healthCheck"].update(path="/other")
    running.reload(config)
    assert go_down(running, backend, "status 410") == 3
    config["services"][0]["healthCheck"].update(expectedStatus=410)
    running.reload(config)
    come_up(running, backend)


def test_a_check_that_is_taken_away_is_forgotten(gateway, backends):
    backends[0].on("/health", answer(500))
    config = checked(*backends)
    running = gateway(config)
    go_down(running, backends[0], "status 500")
    assert "one" not in names(running)
    del config["services"][0]["healthCheck"]
    running.reload(config)
    assert "one" in names(running)
    assert running.metrics().labels("sluice_instance_up") == []
    for one in backends:
        one.forget()
    time.sleep(0.5)
    assert all(checks_of(one) == [] for one in backends)


def test_checks_of_a_service_that_is_removed_are_broken_off(gateway, backends):
    backends[0].on("/health", hang())
    config = checked(*backends[:2], check={"timeout": 60})
    running = gateway(config)
    request = backends[0].wait_for_requests(1)[0]
    running.reload(proxy(backends[2]))
    deadline = time.monotonic() + 3
    while not hasattr(request, "abandoned_at"):
        assert time.monotonic() < deadline, "the check still waits"
        time.sleep(0.02)
    assert running.get("/").body == b"three"


def test_instances_come_and_go(gateway, backends):
    running = gateway(checked(backends[0]))
    wait_until_checked(running, backends[0])
    backends[1].on("/health", answer(500))
    running.reload(checked(*backends))
    go_down(running, backends[1], "status 500")
    running.reload(checked(backends[2]))
    wait_until_checked(running, backends[2])
    assert {labels["instance"] for labels in running.metrics().labels("sluice_instance_up")} == {backends[2].address}
    after = len(running.stderr())
    running.reload(checked(*backends))
    assert go_down(running, backends[1], "status 500", after=after) == 0, "what came anew is unknown at first"


# Many

def test_a_hundred_instances_ten_times_a_second(gateway):
    """On one listening socket, under a hundred addresses of loopback."""
    with socket.create_server(("0.0.0.0", 0), backlog=512) as listener:
        port = listener.getsockname()[1]
        addresses = [f"127.1.0.{i + 1}:{port}" for i in range(100)]
        counts, lock = collections.Counter(), threading.Lock()
        sick = {addresses[7], addresses[70]}

        def serve(connected):
            with connected, contextlib.suppress(OSError):
                address = "%s:%d" % connected.getsockname()
                while connected.recv(4096):
                    with lock:
                        counts[address] += 1
                    connected.sendall(b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % (500 if address in sick else 200))

        def accept():
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
        threading.Thread(target=accept, daemon=True).start()
        running = gateway(checked(*addresses))
        running.wait_for_metric("sluice_instance_up", 98, timeout=20)
        with lock:
            counts.clear()
        begun = time.monotonic()
        time.sleep(2)
        with lock:
            seen, seconds = dict(counts), time.monotonic() - begun
        metrics = running.metrics()
        listener.shutdown(socket.SHUT_RDWR)
    expected = seconds / 0.1
    assert len(seen) == 100
    assert max(seen.values()) <= expected + 2, "more often than the interval says"
    if not is_sanitized():
        assert min(seen.values()) >= expected * 0.6
    assert metrics.get("sluice_instance_up", service="backend") == 98
    assert metrics.get("sluice_health_checks_total", result="skipped") == 0


def test_hanging_instances_do_not_hold_up_the_others(gateway, backend):
    """More of them than there are places; the one that is well is still asked in time."""
    with socket.create_server(("0.0.0.0", 0), backlog=4096) as listener:  # accepts by the kernel's hand, says nothing
        addresses = [f"127.1.{i // 250}.{i % 250 + 1}:{listener.getsockname()[1]}" for i in range(600)]
        running = gateway(checked(backend, *addresses, check={"timeout": 1, "interval": 0.2}))
        running.wait_for_metric("sluice_instance_up", lambda found: found <= 1, timeout=5)
        deadline = time.monotonic() + 30
        while len(running.metrics().labels("sluice_instance_up")) < 601:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        backend.forget()
        begun = time.monotonic()
        time.sleep(2)
        assert len(checks_of(backend)) >= (time.monotonic() - begun) / 0.2 * 0.6
        assert names(running) == ["one"] * 9


# The end

def test_a_stop_waits_for_no_check(gateway, backend):
    backend.on("/health", hang())
    running = gateway(checked(backend, check={"timeout": 60}))
    backend.wait_for_requests(1)
    begun = time.monotonic()
    running.stop()
    assert time.monotonic() - begun < (10 if is_sanitized() else 2)


def test_a_gateway_that_drains_asks_nobody(gateway, backend):
    backend.on("/slow", wait(1.2), answer(200, body=b"late"))
    running = gateway(checked(backend))
    wait_until_checked(running, backend)
    with running.send(request_bytes(target="/slow")) as wire:
        while "/slow" not in backend.targets():
            time.sleep(0.01)
        running.signal(signal.SIGTERM)
        time.sleep(0.3)
        count = len(checks_of(backend))
        assert wire.read_response().body == b"late"
        assert len(checks_of(backend)) == count
    assert running.process.wait(10) == 0
