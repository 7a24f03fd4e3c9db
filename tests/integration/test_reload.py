"""A reload swaps the configuration with nothing lost; a bad file changes nothing and says why."""
import os
import re
import shutil
import signal
import time

import pytest

from backend import answer, free_port, hang, wait
from gateway import is_sanitized, proxy, service
from load import Load
from measuring import resident_bytes
from wire import connect, request_bytes


def says(word, **more):
    return {"routes": [{"name": "said", "path": "/*", "respond": {"status": 200, "body": word}}], **more}


def test_a_reload_is_in_force_when_the_command_returns(gateway):
    running = gateway(says("before"))
    assert running.get("/").body == b"before"
    running.reload(says("after"))
    assert running.get("/").body == b"after"
    assert running.metric("sluice_snapshot_version") == 2


def test_an_open_connection_gets_the_new_configuration_with_its_next_request(gateway):
    running = gateway(says("before"))
    with running.connect() as wire:
        assert wire.send(request_bytes()).read_response().body == b"before"
        running.reload(says("after"))
        assert wire.send(request_bytes()).read_response().body == b"after"


def test_sighup_reloads_too(gateway):
    running = gateway(says("before"))
    running.write_config(says("after"))
    running.signal(signal.SIGHUP)
    deadline = time.monotonic() + 5
    while running.get("/").body != b"after":
        assert time.monotonic() < deadline
        time.sleep(0.02)


BAD_FILES = {
    "no YAML": ("routes: [", r"sluice\.yaml:\d+:\d+: "),
    "an unknown field": ("routes:\n  - name: a\n    pth: /x\n", r'sluice\.yaml:3:5: unknown field "pth" \(did you mean "path"\?\)'),
    "a route to nowhere": ("routes:\n  - name: a\n    path: /x\n    serviceId: nobody\n", r'sluice\.yaml:4:16: unknown service "nobody"'),
    "a bad regex": ("routes:\n  - name: a\n    path: \"~/(\"\n    respond: { status: 200 }\n", r"sluice\.yaml:3:\d+: "),
    "an empty file": ("", r"sluice\.yaml"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_keeps_the_old_configuration_and_says_why(gateway, name):
    text, complaint = BAD_FILES[name]
    running = gateway(says("good"))
    with Load(running, clients=2) as load:
        written = len(running.stderr())
        done = running.reload(text=text, expect=1)
        load.wait_for(20)
    assert re.search(complaint, done.stdout + done.stderr), done.stdout + done.stderr
    running.wait_for_stderr(complaint, after=written)
    assert load.failures == [] and load.broken == [] and load.bodies == {b"good"}
    assert running.get("/").body == b"good"
    running.reload(says("mended"))
    assert running.get("/").body == b"mended"


def test_each_mistake_of_a_refused_reload_is_a_line_of_the_log(gateway):
    running = gateway(says("good"))
    running.reload(text="worker: 1\nroute: []\n", expect=1)
    running.wait_for_stderr(r'(?m)^\S+ error gateway\[\d+\]: \S+sluice\.yaml:1:1: unknown field "worker".*\n\S+ error gateway\[\d+\]: \S+sluice\.yaml:2:1: unknown')


def test_a_file_that_is_gone_keeps_the_old_configuration(gateway):
    running = gateway(says("good"))
    running.file.unlink()
    done = running.command("reload")
    assert done.returncode == 1 and "sluice.yaml" in done.stdout + done.stderr
    assert running.get("/").body == b"good"


def test_a_request_under_way_ends_under_the_configuration_it_began_with(gateway, backend):
    backend.on("/slow", wait(0.5), answer(200, body=b"slow"))
    running = gateway(proxy(backend))
    with running.send(request_bytes(target="/slow")) as wire:
        backend.wait_for_requests(1)
        running.reload(says("elsewhere"))
        assert running.get("/").body == b"elsewhere"
        assert wire.read_response().body == b"slow"
        assert wire.send(request_bytes(target="/slow")).read_response().body == b"elsewhere"
    running.gauges_at_zero()


def test_many_reloads_under_load_fail_no_request(gateway, backends):
    a = proxy(*backends)
    b = {"services": [service(*backends[:2])], "routes": [a["routes"][0], {"name": "more", "path": "/more", "respond": {"status": 200}}]}
    running = gateway(a)
    with Load(running, clients=3) as load, Load(running, clients=1, new_connections=True) as fresh:
        for turn in range(20):
            running.reload(b if turn % 2 == 0 else a)
        load.wait_for(50)
    for one in (load, fresh):
        assert one.failures == [] and one.broken == []
    assert load.reconnects == 0, "a reload closes no kept connection"
    running.gauges_at_zero()
    assert running.metric("sluice_snapshot_version") == 21


# Each is a command of its own, and under a sanitizer both its ends are several times as slow. Either number takes about a minute.
RELOADS = 200 if is_sanitized() else 1000
# What AddressSanitizer holds back of freed memory would grow for as long as the test runs.
NO_QUARANTINE = {"ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":quarantine_size_mb=1:thread_local_quarantine_size_kb=64"}


@pytest.mark.slow
def test_many_reloads_under_full_load_fail_nothing_and_leave_memory_flat(gateway, backends):
    many = [{"name": f"r{i}", "path": f"/r{i}/*", "serviceId": "backend"} for i in range(500)]
    a, b = proxy(*backends), proxy(*backends[:2])
    a["routes"], b["routes"] = many + a["routes"], many[:250] + b["routes"]
    running = gateway(a, environment=NO_QUARANTINE)
    text_a = running.file.read_text()
    running.write_config(b)
    text_b = running.file.read_text()
    pid = running.wait_for_gateway_process()
    with Load(running, clients=6) as load, Load(running, clients=2, new_connections=True) as fresh:
        for turn in range(RELOADS):
            running.reload(text=text_b if turn % 2 == 0 else text_a)
            if turn == RELOADS // 5:
                early = resident_bytes(pid)
        load.wait_for(100)
    late = resident_bytes(pid)
    assert load.failures == [] and load.broken == [] and fresh.failures == [] and fresh.broken == []
    assert load.reconnects == 0
    running.gauges_at_zero()
    assert late < early * 1.2 + (4 << 20), f"{early} grew to {late}"


def test_the_state_of_instances_survives(gateway, backends):
    """An instance that refused is still passed over after a reload, and the turn of round robin goes on."""
    running = gateway(proxy(*backends, route={"retryCount": 2}))
    with running.connect() as wire:
        first = [wire.send(request_bytes()).read_response().body for _ in range(2)]
        running.reload(proxy(*backends, route={"retryCount": 2, "timeoutMs": 9000}))
        first.append(wire.send(request_bytes()).read_response().body)
    assert sorted(first) == [b"one", b"three", b"two"], "the turn began anew"


def test_requests_in_flight_still_count_for_least_connections(gateway, backends):
    for one in backends:
        one.on("/hold", hang())
    config = proxy(*backends[:2], service_fields={"lbAlgorithm": "least_connections"})
    running = gateway(config)
    holder = running.send(request_bytes(target="/hold"))
    deadline = time.monotonic() + 5
    while not any(one.requests for one in backends[:2]) and time.monotonic() < deadline:
        time.sleep(0.01)
    busy = next(one for one in backends[:2] if one.requests)
    running.reload({**config, "drainTimeout": 7})
    assert all(running.get("/").body != busy.name.encode() for _ in range(6))
    holder.close()


def test_warm_connections_are_kept(gateway, backend):
    running = gateway(proxy(backend))
    running.get("/")
    running.reload(proxy(backend, route={"timeoutMs": 1234}))
    running.get("/")
    assert len({request.connection for request in backend.requests}) == 1


def test_connections_to_an_instance_that_is_gone_are_closed(gateway, backends):
    running = gateway(proxy(backends[0]))
    running.get("/")
    running.wait_for_metric("sluice_upstream_connections_idle", 1)
    running.reload(proxy(backends[1]))
    running.get("/")
    running.wait_for_metric("sluice_upstream_connections_idle", 1)


def test_listeners_come_and_go_without_losing_a_connection(gateway):

    running = gateway(says("x"))
    first, second = running.port, free_port()

    def at(*ports):
        return says("x", listeners=[{"address": f"127.0.0.1:{port}"} for port in ports])
    kept = running.connect()
    assert kept.send(request_bytes()).read_response().status == 200
    running.reload(at(first, second))

    with connect(("127.0.0.1", second)) as wire:
        assert wire.send(request_bytes()).read_response().body == b"x"
    running.reload(at(second))
    deadline = time.monotonic() + 5
    while True:
        try:
            connect(("127.0.0.1", first)).close()
        except ConnectionRefusedError:
            break
        assert time.monotonic() < deadline, "the removed address still accepts"
        time.sleep(0.05)
    answered = kept.send(request_bytes()).read_response_or_close()
    assert answered is None or answered.status == 200
    kept.close()


def test_an_address_in_use_refuses_the_reload_and_changes_nothing(gateway, backend):
    running = gateway(says("good"))
    done = running.reload(says("bad", listeners=[{"address": f"127.0.0.1:{running.port}"}, {"address": backend.address}]), expect=1)
    place = running.file.read_text().splitlines().index(f"- address: {backend.address}") + 1
    assert f"sluice.yaml:{place}:12: cannot listen on {backend.address}: the address is in use" in done.stdout + done.stderr
    assert running.get("/").body == b"good"


def test_the_access_log_moves_without_losing_a_line(gateway):
    running = gateway(says("x"))
    running.get("/first")
    running.log_lines(1)
    running.reload(says("x", accessLog={"path": "second.log"}))
    running.get("/second")
    running.log_path = running.directory / "second.log"
    assert [line["path"] for line in running.log_lines(1)] == ["/second"]


@pytest.mark.parametrize("path", ["missing/folder/access.log", "."])
def test_an_access_log_that_cannot_be_opened_refuses_the_reload_and_changes_nothing(gateway, path):
    running = gateway(says("good"))
    second = free_port()
    bad = says("bad", listeners=[{"address": f"127.0.0.1:{running.port}"}, {"address": f"127.0.0.1:{second}"}],
               accessLog={"path": path})
    done = running.reload(bad, expect=1)
    place = running.file.read_text().splitlines().index(f"  path: {path}") + 1
    assert re.search(rf'sluice\.yaml:{place}:9: access log ".*" cannot be opened: .* \(name a file', done.stdout + done.stderr), done
    running.get("/still-logged")
    assert running.log_lines(1)[-1]["path"] == "/still-logged"
    with pytest.raises(ConnectionRefusedError):
        connect(("127.0.0.1", second))
    assert running.metric("sluice_snapshot_version") == 1
    running.reload(says("mended", accessLog={"path": "second.log"}))
    assert running.get("/").body == b"mended"


def test_an_access_log_that_cannot_be_opened_is_an_error_at_the_start(gateway):
    running = gateway(says("x", accessLog={"path": "missing/access.log"}), ready=False, expect_exit=1)
    assert running.process.wait(10) == 1
    assert re.search(r'sluice\.yaml:\d+:9: access log ".*" cannot be opened: no such file', running.stderr()), running.stderr()


def test_after_a_crash_a_log_that_cannot_be_opened_any_more_keeps_nobody_from_serving(gateway, tmp_path):
    folder = tmp_path / "logs"
    folder.mkdir()
    running = gateway(says("x", accessLog={"path": str(folder / "access.log")}))
    before = running.wait_for_gateway_process()
    shutil.rmtree(folder)
    os.kill(before, signal.SIGKILL)
    running.wait_for_gateway_process(other_than=[before])
    assert running.get("/").body == b"x"
    running.wait_for_stderr("cannot be opened")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_user_who_does_not_exist_refuses_the_reload(gateway):
    running = gateway(says("good", user="root"))
    done = running.reload(says("bad", user="nobody-at-all"), expect=1)
    assert re.search(r'sluice\.yaml:\d+:7: user "nobody-at-all" does not exist', done.stdout + done.stderr), done
    assert running.get("/").body == b"good"


@pytest.mark.slow
def test_a_change_of_one_route_among_ten_thousand_is_quick(gateway):
    many = [{"name": f"r{i}", "path": f"/r{i}/*", "respond": {"status": 200, "body": "x"}} for i in range(10000)]
    running = gateway({"routes": many})
    many[5000]["respond"]["body"] = "changed"
    began = time.monotonic()
    running.reload({"routes": many})
    assert running.get("/r5000/").body == b"changed"
    assert time.monotonic() - began < 10, "reading the file included"


def test_a_listener_on_the_address_of_the_running_admin_is_refused(gateway):
    """Another admin address takes a restart: until then the admin worker has the old one, and a listener there would serve nobody."""
    running = gateway(says("before"))
    taken = f"127.0.0.1:{running.admin_port}"
    listeners = [{"address": f"127.0.0.1:{running.port}"}, {"address": taken}]
    refused = running.reload(says("after", listeners=listeners, admin={"address": f"127.0.0.1:{free_port()}"}), expect=1)
    assert re.search(rf"sluice\.yaml:\d+:\d+: cannot listen on {taken}: .*admin.*start", refused.stderr), refused.stderr
    assert running.get("/").body == b"before"
    assert running.metric("sluice_snapshot_version") == 1
    running.reload(says("after"))
    assert running.get("/").body == b"after"
