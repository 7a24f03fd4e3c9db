"""The master keeps the sockets open and a gateway behind them, whatever happens to the gateway."""
import json
import os
import signal
import time

import pytest

from backend import answer, drip, hang, send, wait
from gateway import is_sanitized, proxy, run_sluice
from load import Load
from measuring import open_descriptors, stop_process, stop_thread, threads
from wire import connect, request_bytes, response_bytes

SANITIZED = is_sanitized()  # a sanitizer's start takes longer than 200 ms


def says(word, **more):
    return {"routes": [{"name": "said", "path": "/*", "respond": {"status": 200, "body": word}}], **more}


def first_answer_after(running, moment, timeout=10):
    """Seconds from a moment until a fresh connection is answered. Refusal is an error: the sockets stay open."""
    while True:
        try:
            with connect(running.address, timeout=timeout) as wire:
                wire.send(request_bytes())
                response = wire.read_response_or_close()
        except ConnectionRefusedError:
            raise AssertionError("the listening socket was closed") from None
        except ConnectionError:
            response = None
        if response and response.status == 200:
            return time.monotonic() - moment
        assert time.monotonic() - moment < timeout, "nobody answers any more"
        time.sleep(0.001)


@pytest.mark.parametrize("number", ["SIGSEGV", "SIGABRT", "SIGBUS", "SIGKILL"])
def test_a_gateway_that_dies_is_replaced_within_200_ms(gateway, number):
    running = gateway(says("x"))
    before = running.wait_for_gateway_process()
    moment = time.monotonic()
    os.kill(before, getattr(signal, number))
    took = first_answer_after(running, moment)
    after = running.wait_for_gateway_process(other_than=[before])
    assert after != before and (took < 0.2 or SANITIZED), f"{took:.3f} s"
    running.wait_for_stderr(rf"ended by {number}")


def test_a_crash_is_logged_with_a_backtrace(gateway):
    running = gateway(says("x"))
    before = running.wait_for_gateway_process()
    os.kill(before, signal.SIGSEGV)
    running.wait_for_gateway_process(other_than=[before])
    found = running.wait_for_stderr(r"SIGSEGV|SEGV|signal 11")
    assert found
    running.wait_for_stderr(r"(?m)(\[0x[0-9a-f]+\]|#\d+ 0x[0-9a-f]+|\(\+0x[0-9a-f]+\)|\+0x[0-9a-f]+)")


def test_a_crash_under_load_costs_at_most_the_requests_in_flight(gateway, backend):
    running = gateway(proxy(backend))
    clients = 6
    with Load(running, clients=clients) as load, Load(running, clients=1, new_connections=True) as fresh:
        load.wait_for(100)
        before = running.wait_for_gateway_process()
        os.kill(before, signal.SIGSEGV)
        running.wait_for_gateway_process(other_than=[before])
        load.wait_for(100)
    assert load.failures == [] and fresh.failures == []
    assert len(load.broken) <= 2 * clients, load.broken
    assert not any("Refused" in what for _, what in load.broken + fresh.broken), "the socket was closed for a moment"
    assert load.longest_gap < 0.25 or SANITIZED, f"{load.longest_gap:.3f} s without an answer"
    running.wait_until_ready()


def test_connections_that_were_waiting_in_the_backlog_are_served(gateway):
    """What the kernel had accepted for us before the crash isn't lost with it."""
    running = gateway(says("x"))
    before = running.wait_for_gateway_process()
    stop_process(before)
    waiting = [running.send(request_bytes()) for _ in range(5)]
    os.kill(before, signal.SIGKILL)
    assert [wire.read_response().status for wire in waiting] == [200] * 5


def test_a_gateway_that_stands_still_is_replaced(gateway):
    running = gateway(says("x", stallTimeoutMs=500))
    before = running.wait_for_gateway_process()
    stop_process(before)
    moment = time.monotonic()
    running.wait_for_gateway_process(other_than=[before], timeout=10)
    assert first_answer_after(running, moment) < 6
    running.wait_for_stderr("no sign of life")


def test_a_single_worker_that_no_longer_turns_is_found_and_replaced(gateway):
    """The other threads are well, so the process looks alive from outside."""
    running = gateway(says("x", stallTimeoutMs=500, workers=2))
    before = running.wait_for_gateway_process()
    worker = next(thread for thread, name in threads(before).items() if name.startswith("worker"))
    try:
        stop_thread(worker)
    except PermissionError:
        pytest.skip("stopping a thread needs a debugger's rights here")
    moment = time.monotonic()
    running.wait_for_gateway_process(other_than=[before], timeout=15)
    first_answer_after(running, moment, timeout=20)
    running.wait_for_stderr("has not turned")


def test_a_busy_worker_is_not_taken_for_a_stalled_one(gateway, backend):
    backend.on("/slow", wait(1.2), answer(200))
    running = gateway(proxy(backend, stallTimeoutMs=500))
    before = running.wait_for_gateway_process()
    with Load(running, clients=4):
        assert running.get("/slow").status == 200
    assert running.gateway_processes() == [before]


def test_a_crash_loop_backs_off_and_says_so_and_ends_with_the_cause(gateway):
    running = gateway(says("x"))
    killed = []
    for _ in range(5):
        pid = running.wait_for_gateway_process(other_than=killed, timeout=15)
        killed.append(pid)
        os.kill(pid, signal.SIGKILL)
    running.wait_for_stderr("crash loop")
    began = time.monotonic()
    running.wait_for_gateway_process(other_than=killed, timeout=30)
    assert first_answer_after(running, began, timeout=30) > 0


def test_sigterm_finishes_what_is_under_way(gateway, backend):
    backend.on("/slow", wait(0.6), answer(200, body=b"finished"))
    running = gateway(proxy(backend))
    wire = running.send(request_bytes(target="/slow"))
    backend.wait_for_requests(1)
    running.signal(signal.SIGTERM)
    time.sleep(0.1)
    response = wire.read_response()
    assert response.body == b"finished" and not response.keeps_alive
    assert running.process.wait(10) == 0


def test_sigterm_streams_a_body_to_its_end(gateway, backend):
    backend.on("/stream", send(response_bytes(headers={"Content-Length": "20"}, length=False)), drip(b"x" * 20, size=1, pause=0.05))
    running = gateway(proxy(backend))
    wire = running.send(request_bytes(target="/stream"))
    head = wire.read_response_head()
    running.signal(signal.SIGTERM)
    assert wire.read_response_body(head).body == b"x" * 20
    assert running.process.wait(10) == 0


def test_sigterm_closes_idle_connections_and_accepts_no_more(gateway):
    running = gateway(says("x"))
    idle = running.send(request_bytes())
    idle.read_response()
    running.signal(signal.SIGTERM)
    assert idle.read_until_close(5) == b""
    assert running.process.wait(10) == 0
    with pytest.raises(ConnectionRefusedError):
        connect(running.address)


@pytest.mark.parametrize("workers", [1, 2])
def test_while_draining_new_connects_are_refused_at_once(gateway, backend, workers):
    """What is under way goes on to its end meanwhile, and the admin listener answers."""
    backend.on("/slow", wait(1.5), answer(200, body=b"finished"))
    running = gateway(proxy(backend, workers=workers))
    wire = running.send(request_bytes(target="/slow"))
    backend.wait_for_requests(1)
    running.signal(signal.SIGTERM)
    time.sleep(0.3)
    for _ in range(20):
        with pytest.raises(ConnectionRefusedError):
            connect(running.address)
    assert running.metric("sluice_exchanges_active") == 1
    assert wire.read_response().body == b"finished"
    assert running.process.wait(10) == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_connections_that_wait_in_the_queue_at_sigterm_are_served(gateway, workers):
    running = gateway(says("x", workers=workers))
    pid = running.wait_for_gateway_process()
    stop_process(pid)
    waiting = [running.send(request_bytes()) for _ in range(30)]
    running.signal(signal.SIGTERM)
    time.sleep(0.1)
    os.kill(pid, signal.SIGCONT)
    assert [wire.read_response().status for wire in waiting] == [200] * 30
    assert running.process.wait(10) == 0


def test_draining_is_bounded(gateway, backend):
    backend.on("/hang", hang())
    running = gateway(proxy(backend, drainTimeout=1, route={"timeoutMs": 60000}))
    wire = running.send(request_bytes(target="/hang"))
    backend.wait_for_requests(1)
    began = time.monotonic()
    running.signal(signal.SIGTERM)
    running.process.wait(10)
    assert 0.8 < time.monotonic() - began < 5
    assert wire.read_until_close(5) is not None


def test_sigterm_under_load_breaks_no_request(gateway, backend):
    running = gateway(proxy(backend))
    with Load(running, clients=4) as load:
        load.wait_for(50)
        running.signal(signal.SIGTERM)
        code = running.process.wait(10)
        load.end()
    assert code == 0
    assert load.failures == []
    assert len(backend.requests) == load.answers, "a request that had reached the service was not answered"
    # A request may cross the close of its kept connection, or the end of listening, on the wire: once each.
    assert len([what for _, what in load.broken if "Refused" not in what]) <= 2 * 4, load.broken


def test_sigint_stops_as_sigterm_does(gateway):
    running = gateway(says("x"))
    running.signal(signal.SIGINT)
    assert running.process.wait(10) == 0


def test_status_tells_how_it_is_as_json(gateway):
    running = gateway(says("x"))
    done = running.command("status")
    assert done.returncode == 0
    assert json.loads(done.stdout)["snapshotVersion"] == 1


def test_the_control_socket_is_its_owners_alone_and_goes_with_the_master(gateway):
    running = gateway(says("x"))
    assert running.control.stat().st_mode & 0o077 == 0
    running.stop()
    assert not running.control.exists()
    assert run_sluice("status", "--control", running.control).returncode == 1


@pytest.mark.parametrize("command", ["reload", "status"])
def test_a_command_that_reaches_no_sluice_failed_and_was_not_called_wrongly(tmp_path, command):
    done = run_sluice(command, "--control", tmp_path / "nobody.sock")
    assert done.returncode == 1 and "is it running?" in done.stderr
    assert run_sluice(command, "--no-such-option").returncode == 2


def test_a_control_socket_left_behind_by_a_crash_is_no_obstacle(gateway, tmp_path):
    running = gateway(says("x"))
    running.signal(signal.SIGKILL)
    running.process.wait()
    deadline = time.monotonic() + 10
    while running.processes():
        assert time.monotonic() < deadline, "the gateway outlived its master"
        time.sleep(0.02)
    running.expect_exit = -signal.SIGKILL
    assert running.control.exists()
    again = gateway(says("y"))
    assert again.get("/").body == b"y"


def test_two_masters_do_not_share_a_control_socket_by_accident(gateway):
    running = gateway(says("x"))
    second = run_sluice("run", "--config", running.file, "--control", running.control)
    assert second.returncode == 1
    assert "another Sluice" in second.stderr
    assert running.get("/").status == 200 and running.command("status").returncode == 0


def test_a_start_that_cannot_listen_ends_with_1_and_the_address(gateway, backend):
    running = gateway(says("x", listeners=[{"address": backend.address}]), ready=False, expect_exit=1)
    assert running.process.wait(20) == 1
    assert backend.address in running.stderr()


def test_reload_and_restart_leak_no_descriptor(gateway):
    running = gateway(says("x"))
    pid = running.process.pid
    running.reload(says("y"))
    before = open_descriptors(pid)
    for turn in range(10):
        running.reload(says(f"{turn}"))
    for _ in range(2):
        gateway_pid = running.wait_for_gateway_process()
        os.kill(gateway_pid, signal.SIGKILL)
        running.wait_for_gateway_process(other_than=[gateway_pid])
        running.wait_until_ready()
    assert open_descriptors(pid) <= before + 1


def test_all_workers_share_the_load(gateway, backend):
    running = gateway(proxy(backend, workers=2))
    pid = running.wait_for_gateway_process()
    assert sum(name.startswith("worker") for name in threads(pid).values()) == 2
    assert [running.get("/").status for _ in range(40)] == [200] * 40
