"""`sluice upgrade`: another binary takes over, and no client notices."""
import contextlib
import os
import re
import signal
import subprocess
import threading
import time

import httpx
import pytest

from backend import answer, free_port, hang, wait_for
from gateway import BINARY, START_SECONDS, TEST_BINARY, proxy, run_sluice
from load import EventStream, Load, NewConnections, numbered_events
from measuring import open_descriptors, stop_process, threads
from plain_http import PLAIN_HTTP
from upgrading import install, install_script, runs, status, upgrade, wait_until_drained
from websocket import echo_frames, open_websocket, switch
from wire import connect, request_bytes


def says(word, **more):
    return {"routes": [{"name": "said", "path": "/*", "respond": {"status": 200, "body": word}}], **more}


@contextlib.contextmanager
def full_load(running, backend, per_second=1000):
    """New connections, kept connections and a stream of events. At the end nothing of it has failed."""
    ended = threading.Event()
    backend.on("/events", numbered_events(ended))
    with NewConnections(running.address, per_second) as fresh, Load(running, clients=3, target="/said", think=0.002) as kept:
        stream = EventStream(running.address, "/events")
        with stream:
            try:
                stream.wait_for(2)
                yield fresh, kept, stream
            finally:
                ended.set()
    faults = {type(part).__name__: part.faults()[:5] for part in (fresh, kept, stream) if part.faults()}
    assert not faults, faults


def mixed(backend, **more):
    """What full_load() asks for: answers that cost little, and the backend's stream."""
    whole = proxy(backend, route={"path": "/events", "idleTimeoutMs": 20000}, **more)
    whole["routes"].append({"name": "said", "path": "/*", "respond": {"status": 200, "body": "x"}})
    return whole


# Nothing is lost

@pytest.mark.parametrize("workers", [1, 2])
def test_an_upgrade_under_load_loses_nothing(upgradable, program, backend, workers):
    running = upgradable(mixed(backend, workers=workers))
    before, master = running.serving_process(), running.process.pid
    with full_load(running, backend) as (fresh, kept, stream):
        fresh.wait_for(300)
        new = install(program)
        upgrade(running)
        assert running.serving_process() != before
        fresh.wait_for(700)
        kept.wait_for(100)
        stream.wait_for(20)
        assert before in running.gateway_processes(), "the stream is the old gateway's"
        assert status(running)["gatewaysDraining"] == 1
    wait_until_drained(running)
    assert running.process.pid == master and runs(master) == new and runs(running.serving_process()) == new
    assert "ended by SIG" not in running.stderr()


def test_the_number_of_workers_may_change(upgradable, backend):
    """From one worker to two, who share its socket, and back to one, who has the sockets of two."""
    running = upgradable(mixed(backend, workers=1))
    with full_load(running, backend) as (fresh, kept, stream):
        for workers in (2, 1, 2):
            running.write_config(mixed(backend, workers=workers))
            upgrade(running)
            fresh.wait_for(300)
            kept.wait_for(50)
            assert status(running)["workers"] == workers
    two = upgradable(mixed(backend, workers=2))
    with full_load(two, backend) as (fresh, kept, stream):
        two.write_config(mixed(backend, workers=1))
        upgrade(two)
        fresh.wait_for(300)
        assert sum(name.startswith("worker") for name in threads(two.serving_process()).values()) == 1


def test_two_upgrades_in_a_row_and_back_to_the_older_binary(upgradable, program, backend):
    """Another binary, and then the first one again: each can take over from the other."""
    if not os.access(TEST_BINARY, os.X_OK):
        pytest.skip("the test gateway is not built")
    running = upgradable(mixed(backend))
    with full_load(running, backend) as (fresh, kept, stream):
        for source in (TEST_BINARY, BINARY):
            new = install(program, source)
            upgrade(running)
            fresh.wait_for(200)
            assert runs(running.process.pid) == new and runs(running.serving_process()) == new
        stream.wait_for(5)
        assert len(running.gateway_processes()) >= 2
    wait_until_drained(running)


def test_an_idle_connection_may_ask_once_more(upgradable):
    running = upgradable(says("x"))
    idle, silent = running.send(request_bytes()), running.connect()
    assert idle.read_response().keeps_alive
    upgrade(running)
    for wire in (idle, silent):
        response = wire.send(request_bytes()).read_response()
        assert response.status == 200 and not response.keeps_alive
        assert wire.is_closed()
    wait_until_drained(running)


def test_idle_connections_do_not_keep_the_old_gateway_for_ever(upgradable):
    running = upgradable(says("x", drainTimeout=2))
    idle = running.send(request_bytes())
    assert idle.read_response().keeps_alive
    upgrade(running)
    assert idle.read_until_close(10) == b""
    wait_until_drained(running)


def test_connections_in_the_queue_are_served(upgradable):
    """Nobody has accepted them when the new gateway comes."""
    running = upgradable(says("x", workers=2))
    before = running.serving_process()
    stop_process(before)
    waiting = [running.send(request_bytes()) for _ in range(20)]
    try:
        upgrade(running)
        assert [wire.read_response().status for wire in waiting] == [200] * 20
    finally:
        os.kill(before, signal.SIGCONT)
    wait_until_drained(running)


def test_a_slow_answer_is_finished_by_the_old_gateway(upgradable, backend):
    done = threading.Event()
    backend.on("/slow", wait_for(done), answer(200, body=b"finished"))
    running = upgradable(proxy(backend))
    before = running.serving_process()
    wire = running.send(request_bytes(target="/slow"))
    backend.wait_for_requests(1)
    upgrade(running)
    assert status(running)["gatewaysDraining"] == 1 and before in running.gateway_processes()
    done.set()
    response = wire.read_response()
    assert response.body == b"finished" and not response.keeps_alive
    wait_until_drained(running)
    assert before not in running.gateway_processes()


# Limits: what has been counted where it was opened is given back there

def concurrent(limit):
    return [{"name": "r", "key": "global", "algorithm": "concurrency", "limit": limit}]


def kept(running, count):
    """Idle connections, which may each ask the old gateway once more behind an upgrade."""
    wires = [running.send(request_bytes(target="/plain")) for _ in range(count)]
    for wire in wires:
        assert wire.read_response().status == 200
    return wires


def ask_again(wire):
    response = wire.send(request_bytes(target="/plain")).read_response()
    assert not response.keeps_alive, "the old gateway's"
    return response.status


def test_requests_and_sockets_keep_their_places_in_a_limit(upgradable, backend):
    """In the old gateway they count until they end, and then their places are free for others there. The new one begins with none."""
    done = threading.Event()
    backend.on("/slow", wait_for(done), answer(200, body=b"finished")).on("/chat", switch(echo_frames)).on("/plain", answer(200))
    running = upgradable(proxy(backend, rateLimits=concurrent(3)))
    first, second, third = kept(running, 3)
    slow, ws = running.send(request_bytes(target="/slow")), open_websocket(running, "/chat")
    backend.wait_for_requests(5)
    extra = running.send(request_bytes(target="/slow"))
    backend.wait_for_requests(6)
    assert running.get("/plain").status == 429
    upgrade(running)
    assert [running.get("/plain").status for _ in range(4)] == [200] * 4
    assert ask_again(first) == 429
    done.set()
    for wire in (slow, extra):
        assert wire.read_response().body == b"finished"
    ws.send(b"still here").expect(b"still here")
    assert ask_again(second) == 200
    ws.close(1000).expect_close(1000)
    ws.wire.close()
    assert ask_again(third) == 200
    wait_until_drained(running)
    assert running.get("/plain").status == 200 and running.gauges_at_zero()


def test_a_place_of_who_goes_away_in_an_upgrade_is_given_back(upgradable, backend):
    backend.on("/hang", hang()).on("/chat", switch(echo_frames)).on("/plain", answer(200))
    running = upgradable(proxy(backend, rateLimits=concurrent(2)))
    first, second = kept(running, 2)
    hanging, ws = running.send(request_bytes(target="/hang")), open_websocket(running, "/chat")
    backend.wait_for_requests(4)
    upgrade(running)
    assert ask_again(first) == 429
    hanging.reset()
    ws.wire.reset()
    deadline = time.monotonic() + 10
    while not all(getattr(request, "abandoned_at", None) for request in backend.requests if request.target == "/hang"):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert ask_again(second) == 200
    wait_until_drained(running)


@pytest.mark.slow
def test_who_waits_in_a_limits_queue_gets_its_turn(upgradable, backend):
    """Three wait, one of them goes away; the others are answered in order by the gateway that let them wait, and the new one has no queue yet."""
    backend.on("/plain", answer(200))
    rule = {"name": "r", "key": "global", "limit": 1, "window": 8, "action": "queue", "queueMaxWaitMs": 60000}
    running = upgradable(proxy(backend, rateLimits=[rule], route={"timeoutMs": 60000}))
    began = time.monotonic()
    assert running.get("/plain").status == 200
    waiting = [running.send(request_bytes(target=f"/plain?{number}")) for number in range(3)]
    running.wait_for_metric("sluice_rate_limit_waiting", 3)
    upgrade(running)
    assert running.metric("sluice_rate_limit_waiting") == 0 and status(running)["gatewaysDraining"] == 1
    assert running.get("/plain?new").status == 200
    waiting.pop().close()
    for wire in waiting:
        assert wire.read_response().status == 200
    assert time.monotonic() - began > 15
    wait_until_drained(running)
    assert sorted(backend.targets()) == ["/plain", "/plain?0", "/plain?1", "/plain?new"], "who went away was not asked for"
    running.gauges_at_zero()


def test_a_queue_does_not_hold_the_old_gateway_beyond_its_drain(upgradable, backend):
    backend.on("/plain", answer(200))
    rule = {"name": "r", "key": "global", "limit": 1, "window": 20, "action": "queue", "queueMaxWaitMs": 25000}
    running = upgradable(proxy(backend, rateLimits=[rule], drainTimeout=1))
    assert running.get("/plain").status == 200
    waiting = running.send(request_bytes(target="/plain"))
    running.wait_for_metric("sluice_rate_limit_waiting", 1)
    upgrade(running)
    assert waiting.is_closed(timeout=10)
    wait_until_drained(running)
    assert len(backend.requests) == 1


def test_draining_is_bounded(upgradable, backend):
    backend.on("/hang", hang())
    running = upgradable(proxy(backend, drainTimeout=1, route={"timeoutMs": 60000}))
    wire = running.send(request_bytes(target="/hang"))
    backend.wait_for_requests(1)
    upgrade(running)
    wait_until_drained(running)
    assert wire.read_until_close(5) is not None
    assert running.get("/").status == 200


@pytest.mark.slow
def test_an_old_gateway_that_does_not_end_is_ended(upgradable):
    """It stands still, so it can't keep to its drain timeout."""
    running = upgradable(says("x", drainTimeout=0, tunnelDrainTimeout=0))
    before = running.serving_process()
    stop_process(before)
    upgrade(running)
    wait_until_drained(running, timeout=30)
    running.wait_for_stderr(rf"gateway {before} has not ended")
    assert running.get("/").status == 200


def test_metrics_are_the_new_gateways_at_once(upgradable, backend):
    """The old one's admin listener shares the socket: it must not answer one in two."""
    done = threading.Event()
    backend.on("/slow", wait_for(done), answer(200))
    running = upgradable(proxy(backend))
    wire = running.send(request_bytes(target="/slow"))
    backend.wait_for_requests(1)
    upgrade(running)
    assert [running.metric("sluice_exchanges_active") for _ in range(10)] == [0] * 10
    done.set()
    wire.read_response()


# A new binary that is no good leaves the old one serving

BAD_PROGRAMS = {
    "ends": ("#!/bin/sh\necho no such luck >&2\nexit 3\n", r"ended with status 3.*no such luck"),
    "crashes": ("#!/bin/sh\nkill -SEGV $$\n", "was ended by SIGSEGV"),
    "hangs": ("#!/bin/sh\nexec sleep 60\n", "did not get ready within 1 s"),
    "talks and hangs": ("#!/bin/sh\nfor i in $(seq 1 20000); do echo $i; done >&2; exec sleep 60\n", r"did not get ready within 1 s.*\b20000\b"),
}


def assert_untouched(running, before):
    assert running.gateway_processes() == [before] and runs(running.process.pid) == runs(before)
    assert running.get("/").status == 200
    assert status(running)["gatewaysDraining"] == 0


def wait_for_no_other(running, before, timeout=10):
    deadline = time.monotonic() + timeout
    while running.gateway_processes() != [before]:
        assert time.monotonic() < deadline, running.stderr()
        time.sleep(0.02)


@pytest.mark.parametrize("stage", ["tried as a master", "started as a gateway"])
@pytest.mark.parametrize("fault", BAD_PROGRAMS)
def test_a_binary_that_does_not_serve_changes_nothing(upgradable, program, fault, stage):
    """Before anything is handed over it is tried; what shows only later is found when its gateway starts."""
    text, told = BAD_PROGRAMS[fault]
    if stage == "started as a gateway":
        text = text.replace("\n", f'\n[ "$1" = gateway ] || exec {BINARY} "$@"\n', 1)
    running = upgradable(says("x"))
    before = running.serving_process()
    install_script(program, text)
    with NewConnections(running.address, per_second=300) as fresh:
        done = upgrade(running, "--timeout", "1", expect=1)
        fresh.wait_for(30)
    assert fresh.faults() == []
    assert re.search(told, done.stderr, re.DOTALL) and stage in done.stderr, done.stderr
    assert "the gateway that serves goes on" in done.stderr
    wait_for_no_other(running, before)
    assert_untouched(running, before)


def test_what_is_no_program_is_told(upgradable, program):
    running = upgradable(says("x"))
    before = running.serving_process()
    install_script(program, "only words")
    assert re.search("exec format error", upgrade(running, expect=1).stderr, re.IGNORECASE)
    assert_untouched(running, before)
    install(program)
    upgrade(running)


@pytest.mark.parametrize("fault", ["missing", "not executable"])
def test_a_file_that_cannot_be_executed_is_told(upgradable, program, fault):
    running = upgradable(says("x"))
    before = running.serving_process()
    if fault == "missing":
        program.unlink()
    else:
        install_script(program, "#!/bin/sh\n", mode=0o644)
    done = upgrade(running, expect=1)
    assert str(program) in done.stderr and ("no such file" in done.stderr.lower() or "denied" in done.stderr)
    assert_untouched(running, before)


def test_a_configuration_that_the_new_binary_refuses_is_told_with_its_place(upgradable):
    running = upgradable(says("x"))
    before = running.serving_process()
    running.write_config(text=running.file.read_text() + "nonsense: 1\n")
    done = upgrade(running, expect=1)
    assert 'unknown field "nonsense"' in done.stderr and "sluice.yaml:" in done.stderr
    assert_untouched(running, before)


def test_an_address_of_a_failed_upgrade_is_not_left_open(upgradable, backend):
    """The new gateway got sockets for the one that is free before it failed for the one that isn't."""
    running = upgradable(says("x"))
    before, port = running.serving_process(), free_port()
    running.write_config({**running.config, "listeners": [
        {"address": f"127.0.0.1:{running.port}"}, {"address": f"127.0.0.1:{port}"}, {"address": backend.address}]})
    done = upgrade(running, expect=1)
    assert backend.address in done.stderr
    with pytest.raises(ConnectionRefusedError):
        connect(("127.0.0.1", port))
    assert_untouched(running, before)


def test_a_master_that_cannot_be_executed_goes_on_with_the_new_gateway(upgradable, program):
    """The file is there for the gateway and gone for the master."""
    running = upgradable(says("x"))
    before, old = running.serving_process(), runs(running.process.pid)
    descriptors = open_descriptors(running.process.pid)
    install_script(program, f'#!/bin/sh\n[ "$1" = gateway ] && rm -f "$0"\nexec {BINARY} "$@"\n')
    done = upgrade(running, expect=1)
    assert "cannot execute" in done.stderr and "the master stays" in done.stderr
    assert runs(running.process.pid) == old and running.serving_process() != before
    assert running.get("/").status == 200
    install(program)
    upgrade(running)
    wait_until_drained(running)
    assert running.get("/").status == 200 and open_descriptors(running.process.pid) <= descriptors + 1


def test_a_gateway_that_ends_without_a_word_is_told(upgradable, program):
    running = upgradable(says("x"))
    before = running.serving_process()
    install_script(program, "#!/bin/sh\nexit 0\n")
    assert "ended with status 0, started as a gateway" in upgrade(running, expect=1).stderr
    assert_untouched(running, before)


# Ways to ask for it

def test_sigusr2_upgrades(upgradable, program):
    running = upgradable(says("x"))
    before, new = running.serving_process(), install(program)
    running.signal(signal.SIGUSR2)
    running.wait_for_stderr("upgrade: done", timeout=START_SECONDS)
    assert running.serving_process() != before and runs(running.process.pid) == new
    assert running.get("/").status == 200


def test_a_second_upgrade_and_a_reload_wait_for_the_first(upgradable, program):
    running = upgradable(says("x"))
    install_script(program, "#!/bin/sh\nexec sleep 60\n")
    waiting = subprocess.Popen([BINARY, "upgrade", "--timeout", "3", "--control", str(running.control)],
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    running.wait_for_stderr("upgrade: trying")
    assert "an upgrade is under way" in upgrade(running, expect=1).stderr
    assert "an upgrade is under way" in running.reload(expect=1).stderr
    assert running.command("status").returncode == 0
    running.signal(signal.SIGUSR2)
    running.write_config(says("after"))
    running.signal(signal.SIGHUP)
    _, told = waiting.communicate(timeout=20)
    assert waiting.returncode == 1 and "within 3 s" in told
    running.wait_for_stderr("reloaded")  # by the signal that came meanwhile
    assert running.get("/").body == b"after"


def test_sighup_during_an_upgrade_reloads_the_new_gateway(upgradable, program):
    running = upgradable(says("x"))
    install_script(program, f'#!/bin/sh\n[ "$1" = gateway ] && sleep 0.5\nexec {BINARY} "$@"\n')
    running.signal(signal.SIGUSR2)
    running.wait_for_stderr("upgrade: trying")
    running.signal(signal.SIGHUP)
    running.wait_for_stderr("upgrade: done", timeout=START_SECONDS)
    running.wait_for_stderr(r"gateway\[\d+\]: reloaded")
    assert running.get("/").status == 200


@pytest.mark.parametrize("value", ["0", "-1", "3601", "soon", ""])
def test_a_timeout_that_makes_no_sense_was_called_wrongly(value):
    assert run_sluice("upgrade", "--timeout", value).returncode == 2


def test_the_program_is_found_by_the_name_it_was_called_by(gateway, tmp_path, program):
    """An installation may be changed by turning a link to another folder."""
    other = tmp_path / "other" / "sluice"
    other.parent.mkdir()
    link = tmp_path / "link"
    link.symlink_to(program)
    running = gateway(says("x"), binary=str(link))
    new = install(other)
    link.unlink()
    link.symlink_to(other)
    upgrade(running)
    assert runs(running.process.pid) == new and runs(running.serving_process()) == new


def test_proxy_mode_upgrades_too(tmp_path, program, backend):
    port, control = free_port(), tmp_path / "control.sock"
    process = subprocess.Popen([program, "proxy", "--listen", f"127.0.0.1:{port}", "--to", backend.address, "--control", control],
                               stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + START_SECONDS
        while run_sluice("status", "--control", control).returncode != 0:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        new = install(program)
        assert run_sluice("upgrade", "--control", control, timeout=60).returncode == 0
        assert runs(process.pid) == new
        assert httpx.get(f"http://127.0.0.1:{port}/", **PLAIN_HTTP).status_code == 200
    finally:
        process.terminate()
        assert process.wait(20) == 0


# What the new master has taken over

def test_listeners_may_change_with_an_upgrade(upgradable):
    running = upgradable(says("x"))
    added, removed = free_port(), running.port
    running.write_config({**running.config, "listeners": [{"address": f"127.0.0.1:{added}"}]})
    upgrade(running)
    running.port = added
    assert running.get("/").status == 200
    deadline = time.monotonic() + 10
    with pytest.raises(ConnectionRefusedError):
        while time.monotonic() < deadline:
            connect(("127.0.0.1", removed)).close()
            time.sleep(0.01)
    running.write_config({**running.config, "listeners": [{"address": f"127.0.0.1:{added}"}, {"address": f"127.0.0.1:{removed}"}]})
    running.reload()
    running.port = removed
    assert running.get("/").status == 200


def test_the_admin_address_may_change_with_an_upgrade(upgradable):
    running = upgradable(says("x"))
    before, running.admin_port = running.admin_port, free_port()
    running.write_config({**running.config, "admin": {"address": f"127.0.0.1:{running.admin_port}"}})
    upgrade(running)
    assert running.metric("sluice_snapshot_version") == 1
    deadline = time.monotonic() + 10
    with pytest.raises(ConnectionRefusedError):
        while time.monotonic() < deadline:
            connect(("127.0.0.1", before)).close()
            time.sleep(0.01)


def test_a_gateway_killed_right_after_the_upgrade_is_started_again_from_the_new_binary(upgradable, program):
    running = upgradable(says("x"))
    old, new = running.serving_process(), install(program)
    upgrade(running)
    killed = running.serving_process()
    os.kill(killed, signal.SIGKILL)
    with connect(running.address, timeout=START_SECONDS) as wire:
        assert wire.send(request_bytes()).read_response_or_close() or running.get("/").status == 200
    assert runs(running.wait_for_gateway_process(other_than=[old, killed])) == new
    running.wait_until_ready()


def test_the_good_text_outlives_the_upgrade(upgradable):
    """A crash after an upgrade, with a file that has been broken meanwhile, is served from what was in force."""
    running = upgradable(says("x"))
    upgrade(running)
    wait_until_drained(running)
    running.write_config(text="nonsense: [")
    killed = running.serving_process()
    os.kill(killed, signal.SIGKILL)
    running.wait_for_gateway_process(other_than=[killed])
    running.wait_until_ready()
    assert running.get("/").body == b"x"


def test_a_crash_of_the_old_gateway_while_it_drains_harms_nobody_else(upgradable, backend):
    backend.on("/hang", hang())
    running = upgradable(proxy(backend, route={"timeoutMs": 60000}))
    before = running.serving_process()
    running.send(request_bytes(target="/hang"))
    backend.wait_for_requests(1)
    upgrade(running)
    after = running.serving_process()
    os.kill(before, signal.SIGKILL)
    running.wait_for_stderr(rf"gateway {before} was ended by SIGKILL")
    assert running.gateway_processes() == [after] and running.get("/").status == 200


def test_a_gateway_that_crashes_during_an_upgrade_is_replaced_and_the_upgrade_goes_on(upgradable, program):
    running = upgradable(says("x"))
    before = running.serving_process()
    install_script(program, f'#!/bin/sh\n[ "$1" = gateway ] && sleep 1\nexec {BINARY} "$@"\n')
    waiting = subprocess.Popen([BINARY, "upgrade", "--control", str(running.control)], stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    running.wait_for_stderr("upgrade: trying")
    os.kill(before, signal.SIGKILL)
    assert waiting.wait(30) == 0
    assert running.get("/").status == 200
    wait_until_drained(running)


def test_an_upgrade_ends_a_crash_loop(upgradable, program):
    """No gateway runs, as the next start of one is put off; the new binary's need not wait."""
    running = upgradable(says("x"))
    killed = []
    for _ in range(6):
        killed.append(running.wait_for_gateway_process(other_than=killed, timeout=15))
        os.kill(killed[-1], signal.SIGKILL)
    running.wait_for_stderr("next start in 1600 ms")
    new = install(program)
    upgrade(running)
    assert runs(running.serving_process()) == new and running.get("/").status == 200
    time.sleep(0.1)
    assert len(running.gateway_processes()) == 1


def test_upgrades_leak_no_descriptor(upgradable):
    running = upgradable(says("x", workers=2))
    upgrade(running)
    wait_until_drained(running)
    before = open_descriptors(running.process.pid)
    for _ in range(4):
        upgrade(running)
    wait_until_drained(running)
    assert open_descriptors(running.process.pid) <= before
    assert len(os.listdir(f"/proc/{running.serving_process()}/fd")) < 60


# SIGTERM in the middle

def test_sigterm_while_the_new_gateway_starts_stops_everything(upgradable, program, backend):
    done = threading.Event()
    backend.on("/slow", wait_for(done), answer(200, body=b"finished"))
    running = upgradable(proxy(backend))
    install_script(program, "#!/bin/sh\nexec sleep 60\n")
    waiting = subprocess.Popen([BINARY, "upgrade", "--control", str(running.control)], stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    running.wait_for_stderr("upgrade: trying")
    wire = running.send(request_bytes(target="/slow"))
    backend.wait_for_requests(1)
    running.signal(signal.SIGTERM)
    _, told = waiting.communicate(timeout=20)
    assert waiting.returncode == 1 and "stop" in told
    done.set()
    assert wire.read_response().body == b"finished"
    assert running.process.wait(20) == 0


def test_sigterm_while_the_old_gateway_drains_waits_for_it_too(upgradable, backend):
    done = threading.Event()
    backend.on("/slow", wait_for(done), answer(200, body=b"finished"))
    running = upgradable(proxy(backend))
    wire, idle = running.send(request_bytes(target="/slow")), running.connect()
    backend.wait_for_requests(1)
    upgrade(running)
    running.signal(signal.SIGTERM)
    assert idle.read_until_close(10) == b"", "whoever is idle is not waited for"
    assert running.process.poll() is None
    done.set()
    assert wire.read_response().body == b"finished"
    assert running.process.wait(20) == 0
    with pytest.raises(ConnectionRefusedError):
        connect(running.address)


def test_a_second_sigterm_cuts_what_still_drains(upgradable, backend):
    backend.on("/hang", hang())
    running = upgradable(proxy(backend, route={"timeoutMs": 60000}), expect_exit=None)
    running.send(request_bytes(target="/hang"))
    backend.wait_for_requests(1)
    upgrade(running)
    running.signal(signal.SIGTERM)
    running.wait_for_stderr("stopping")
    running.signal(signal.SIGTERM)
    running.expect_exit = running.process.wait(20)
    deadline = time.monotonic() + 5
    while running.processes():
        assert time.monotonic() < deadline, "a gateway outlived its master"
        time.sleep(0.02)
