"""Sluice under a service manager: notifications, watchdog, sockets that are passed, and the units of packaging/.

The manager is played by a datagram socket of our own and by systemd-socket-activate: neither needs a running systemd."""
import os
import pathlib
import re
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time

import pytest

from backend import answer, free_port, wait_for
from gateway import BINARY, ROOT, START_SECONDS, proxy
from load import NewConnections
from measuring import stop_process
from wire import connect, request_bytes

PACKAGING = ROOT / "packaging"


def says(word, **more):
    return {"routes": [{"name": "said", "path": "/*", "respond": {"status": 200, "body": word}}], **more}


def needs(tool):
    return pytest.mark.skipif(not shutil.which(tool), reason=f"{tool} is missing: make deps installs it")


# Notifications

class Manager:
    """The other end of NOTIFY_SOCKET. Each message is kept with the process that sent it and its time."""

    def __init__(self, name):
        self.name = str(name)
        self.messages = []  # (seconds, pid, {field: value})
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._socket.bind("\0" + self.name[1:] if self.name.startswith("@") else self.name)
        self._arrived = threading.Condition()
        self._ended = False
        self._thread = threading.Thread(target=self._receive, daemon=True)
        self._thread.start()

    def _receive(self):
        self._socket.settimeout(0.2)
        while not self._ended:
            try:
                data, ancillary, _, _ = self._socket.recvmsg(4096, socket.CMSG_SPACE(12))
            except TimeoutError:
                continue
            pid = struct.unpack("iII", ancillary[0][2])[0]
            fields = dict(line.split("=", 1) for line in data.decode().splitlines())
            with self._arrived:
                self.messages.append((time.monotonic(), pid, fields))
                self._arrived.notify_all()

    def stop(self):
        self._ended = True
        self._thread.join()
        self._socket.close()

    def all(self, field):
        return [fields[field] for _, _, fields in self.messages if field in fields]

    def wait_for(self, field, value=".", count=1, timeout=START_SECONDS):
        """Until so many messages had such a field; the last of them."""
        def found():
            return [fields for _, _, fields in self.messages if field in fields and re.search(value, fields[field])]
        with self._arrived:
            assert self._arrived.wait_for(lambda: len(found()) >= count, timeout), f"no {field}={value} in {self.messages}"
            return found()[count - 1]


@pytest.fixture
def manager(tmp_path):
    one = Manager(tmp_path / "notify.sock")
    yield one
    one.stop()


def managed(manager, **more):
    return {"NOTIFY_SOCKET": manager.name, **more}


def test_it_says_when_it_serves_and_who_it_is(gateway, manager):
    running = gateway(says("x"), ready=False, environment=managed(manager))
    manager.wait_for("READY", "1")
    assert running.get("/").status == 200, "it serves from that moment on"
    assert manager.wait_for("STATUS")["STATUS"].startswith("gateway ")
    assert {pid for _, pid, _ in manager.messages} == {running.process.pid}, "NotifyAccess=main hears nobody else"
    running.resting = running.metrics()


def test_an_abstract_socket_is_as_good(gateway, tmp_path):
    one = Manager(f"@sluice-test-{os.getpid()}")
    try:
        gateway(says("x"), environment=managed(one))
        one.wait_for("READY", "1")
    finally:
        one.stop()


@pytest.mark.parametrize("name", ["/no/such/socket", "nonsense", "vsock:2:1234", "@" + "x" * 200, ""])
def test_a_manager_that_is_not_there_is_no_obstacle(gateway, name):
    running = gateway(says("x"), environment={"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "100000"})
    assert running.get("/").status == 200


def test_a_start_that_fails_is_never_called_ready(gateway, manager, backend):
    running = gateway(says("x", listeners=[{"address": backend.address}]), ready=False, expect_exit=1,
                      environment=managed(manager))
    assert running.process.wait(START_SECONDS) == 1
    assert manager.all("READY") == []


@pytest.mark.parametrize("how", ["command", "signal"])
def test_a_reload_is_told_from_its_beginning_to_its_end(gateway, manager, how):
    running = gateway(says("x"), environment=managed(manager))
    manager.wait_for("READY", "1")
    earliest = time.clock_gettime(time.CLOCK_MONOTONIC) * 1e6
    running.write_config(says("y"))
    if how == "command":
        running.reload()
    else:
        running.signal(signal.SIGHUP)
    began = manager.wait_for("RELOADING", "1")
    assert int(began["MONOTONIC_USEC"]) >= earliest
    manager.wait_for("READY", "1", count=2)
    assert running.get("/").body == b"y"
    order = [next(iter(fields)) for _, _, fields in manager.messages if "READY" in fields or "RELOADING" in fields]
    assert order == ["READY", "RELOADING", "READY"]


def test_a_reload_that_is_refused_ends_too(gateway, manager):
    running = gateway(says("x"), environment=managed(manager))
    running.reload(text="nonsense: [", expect=1)
    manager.wait_for("RELOADING", "1")
    manager.wait_for("READY", "1", count=2)


def test_a_reload_that_dies_with_the_gateway_ends_with_the_next_one(gateway, manager):
    running = gateway(says("x"), environment=managed(manager))
    pid = running.wait_for_gateway_process()
    stop_process(pid)
    running.signal(signal.SIGHUP)
    manager.wait_for("RELOADING", "1")
    os.kill(pid, signal.SIGKILL)
    manager.wait_for("STATUS", "has ended")
    manager.wait_for("READY", "1", count=2)


def test_the_end_is_told_with_the_time_it_may_take(gateway, manager, backend):
    done = threading.Event()
    backend.on("/slow", wait_for(done), answer(200))
    running = gateway(proxy(backend, drainTimeout=77), environment=managed(manager))
    wire = running.send(request_bytes(target="/slow"))
    backend.wait_for_requests(1)
    running.signal(signal.SIGTERM)
    told = manager.wait_for("STOPPING", "1")
    assert 77_000_000 <= int(told["EXTEND_TIMEOUT_USEC"]) <= 100_000_000
    done.set()
    assert wire.read_response().status == 200
    assert running.process.wait(20) == 0


def test_an_upgrade_keeps_the_process_that_the_manager_watches(gateway, manager):
    running = gateway(says("x"), environment=managed(manager, WATCHDOG_USEC="400000"))
    manager.wait_for("READY", "1")
    before = manager.wait_for("STATUS")["STATUS"]
    assert running.command("upgrade", timeout=60).returncode == 0
    manager.wait_for("READY", "1", count=2)
    seen = len(manager.all("WATCHDOG"))
    manager.wait_for("WATCHDOG", "1", count=seen + 3)
    assert manager.all("STOPPING") == [] and manager.all("STATUS")[-1] != before
    assert {pid for _, pid, _ in manager.messages} == {running.process.pid}


# The watchdog

def test_signs_of_life_come_at_half_the_time(gateway, manager):
    gateway(says("x"), environment=managed(manager, WATCHDOG_USEC="400000"))
    manager.wait_for("WATCHDOG", "1", count=6)
    times = [seconds for seconds, _, fields in manager.messages if "WATCHDOG" in fields]
    assert (times[-1] - times[0]) / (len(times) - 1) > 0.15, "more often than is of use"


@pytest.mark.slow
def test_they_go_on_while_a_gateway_is_replaced(gateway, manager):
    running = gateway(says("x", stallTimeoutMs=500), environment=managed(manager, WATCHDOG_USEC="400000"))
    before = running.wait_for_gateway_process()
    stop_process(before)
    running.wait_for_gateway_process(other_than=[before], timeout=20)
    running.wait_until_ready()
    seen = len(manager.all("WATCHDOG"))
    manager.wait_for("WATCHDOG", "1", count=seen + 2)
    times = [seconds for seconds, _, fields in manager.messages if "WATCHDOG" in fields]
    assert max(b - a for a, b in zip(times, times[1:])) < 3, "a real manager would have lost its patience"


def test_a_watchdog_of_another_process_is_none_of_ours(gateway, manager):
    running = gateway(says("x"), environment=managed(manager, WATCHDOG_USEC="20000", WATCHDOG_PID="1"))
    running.reload(says("y"))
    manager.wait_for("READY", "1", count=2)
    assert manager.all("WATCHDOG") == []


@pytest.mark.parametrize("microseconds", ["0", "soon", "-1", "99999999999999999999"])
def test_a_watchdog_time_that_makes_no_sense_is_none(gateway, manager, microseconds):
    running = gateway(says("x"), environment=managed(manager, WATCHDOG_USEC=microseconds))
    running.reload(says("y"))
    assert manager.all("WATCHDOG") == []


# Sockets that are passed

@pytest.fixture
def activated(gateway, tmp_path):
    """Starts a gateway by systemd-socket-activate, whose first connection on one of the ports starts it."""
    def start(config, *ports, listeners=None, ready=True, **options):
        starter = tmp_path / "starter"
        listens = " ".join(f"-l 127.0.0.1:{port}" for port in ports)
        kept = " ".join(f"-E {name}" for name in os.environ if name.endswith("SAN_OPTIONS"))
        starter.write_text(f'#!/bin/sh\nexec systemd-socket-activate {listens} -E SLUICE_TEST_TOKEN {kept} {BINARY} "$@"\n')
        starter.chmod(0o755)
        listeners = listeners or [{"address": f"127.0.0.1:{port}"} for port in ports]
        running = gateway({**config, "listeners": listeners}, binary=str(starter), ready=False, **options)
        running.port = ports[0]
        running.wait_for_stderr("Listening on", timeout=START_SECONDS)
        if ready:
            running.resting = None
            first = running.send(request_bytes())
            assert first.read_response().status == 200, running.stderr()
            running.wait_until_ready()
            running.resting = running.metrics()
        return running
    return start


@needs("systemd-socket-activate")
@pytest.mark.parametrize("workers", [1, 2])
def test_a_passed_socket_is_served(activated, workers):
    """By all workers, though it is one; and by the connection that was there before Sluice."""
    running = activated(says("x", workers=workers), free_port())
    assert [running.get("/").status for _ in range(20)] == [200] * 20
    assert "was passed" not in running.stderr()
    assert len(listening_sockets(running.port)) == 1


def listening_sockets(port):
    """The kernel's list, by inode."""
    wanted = f"0100007F:{port:04X}"
    rows = [line.split() for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return [row[9] for row in rows if row[1] == wanted and row[3] == "0A"]


@needs("systemd-socket-activate")
def test_several_passed_sockets_find_their_listeners(activated):
    ports = free_port(), free_port()
    running = activated(says("x"), *ports)
    for running.port in ports:
        assert running.get("/").status == 200
        assert len(listening_sockets(running.port)) == 1


@needs("systemd-socket-activate")
def test_a_passed_socket_that_no_listener_names_is_told(activated):
    used, unused = free_port(), free_port()
    running = activated(says("x"), used, unused, listeners=[{"address": f"127.0.0.1:{used}"}])
    running.wait_for_stderr(rf"127\.0\.0\.1:{unused} was passed by the service manager, but no listener")
    assert f":{used} was passed" not in running.stderr()
    running.reload({**running.config, "listeners": [{"address": f"127.0.0.1:{port}"} for port in (used, unused)]})
    running.port = unused
    assert running.get("/").status == 200


@needs("systemd-socket-activate")
def test_a_passed_socket_with_another_address_of_that_port_is_told(activated):
    port = free_port()
    running = activated(says("x"), port, listeners=[{"address": f"0.0.0.0:{port}"}], ready=False, expect_exit=1)
    connect(("127.0.0.1", port)).close()
    assert running.process.wait(START_SECONDS) == 1
    assert f"the service manager has passed 127.0.0.1:{port} instead" in running.stderr()


@needs("systemd-socket-activate")
def test_what_is_passed_and_no_tcp_listener_is_told(gateway, tmp_path):
    starter = tmp_path / "starter"
    starter.write_text(f"#!/bin/sh\nexec systemd-socket-activate -l {tmp_path}/passed.sock -E SLUICE_TEST_TOKEN {BINARY} \"$@\"\n")
    starter.chmod(0o755)
    running = gateway(says("x"), binary=str(starter), ready=False)
    running.wait_for_stderr("Listening on")
    with socket.socket(socket.AF_UNIX) as first:
        first.connect(f"{tmp_path}/passed.sock")
        running.wait_until_ready()
    running.resting = running.metrics()
    assert re.search("descriptor 3, passed by the service manager, is no TCP socket", running.stderr())


@needs("systemd-socket-activate")
def test_a_passed_socket_survives_crash_reload_and_upgrade(activated):
    port = free_port()
    running = activated(says("x", workers=2), port)
    inodes = listening_sockets(port)
    with NewConnections(running.address, per_second=200) as fresh:
        running.reload({**running.config, **says("y")})
        assert running.command("upgrade", timeout=60).returncode == 0
        fresh.wait_for(50)
    assert fresh.faults() == []
    killed = running.serving_process()
    os.kill(killed, signal.SIGKILL)
    running.wait_for_gateway_process(other_than=[killed])
    running.wait_until_ready()
    assert running.get("/").body == b"y" and listening_sockets(port) == inodes


def test_a_passed_socket_still_takes_connections_after_the_end(gateway, tmp_path):
    """The manager has it too: whoever connects waits there for the next start, and is served by it."""
    with socket.socket() as passed:
        passed.bind(("127.0.0.1", 0))
        passed.listen(100)
        port = passed.getsockname()[1]
        starter = tmp_path / "starter"
        starter.write_text("#!/bin/sh\nexec /usr/bin/python3 -c '\nimport os, sys\n"
                           f"os.dup2({passed.fileno()}, 3)\nos.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=\"1\")\n"
                           f"os.execv(sys.argv[1], sys.argv[1:])' {BINARY} \"$@\"\n")
        starter.chmod(0o755)
        os.set_inheritable(passed.fileno(), True)
        config = says("x", listeners=[{"address": f"127.0.0.1:{port}"}])

        def start():
            running = gateway(config, binary=str(starter), ready=False, inherit=[passed.fileno()])
            running.port = port
            running.wait_until_ready()
            running.resting = running.metrics()
            return running
        start().stop()
        waiting = connect(("127.0.0.1", port)).send(request_bytes())
        running = start()
        assert waiting.read_response().status == 200
        assert running.get("/").status == 200


@pytest.mark.parametrize("environment", [{"LISTEN_PID": "1", "LISTEN_FDS": "3"}, {"LISTEN_FDS": "3"},
                                         {"LISTEN_PID": "x", "LISTEN_FDS": "3"}])
def test_sockets_of_another_process_are_none_of_ours(gateway, environment):
    running = gateway(says("x"), environment=environment)
    assert running.get("/").status == 200 and "passed" not in running.stderr()


# The units

def unit_settings(name):
    """[(setting, value)] in order."""
    lines = (PACKAGING / name).read_text().splitlines()
    return [tuple(line.split("=", 1)) for line in lines if "=" in line and not line.startswith(("#", ";"))]


def with_our_binary(tmp_path):
    """The units as installed, with a program that is there."""
    folder = tmp_path / "units"
    folder.mkdir()
    for unit in ("sluice.service", "sluice.socket"):
        (folder / unit).write_text((PACKAGING / unit).read_text().replace("/usr/bin/sluice", BINARY))
    return folder


@needs("systemd-analyze")
def test_the_units_are_correct(tmp_path):
    folder = with_our_binary(tmp_path)
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", folder / "sluice.service", folder / "sluice.socket"],
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stderr.strip() == "", done.stderr


@needs("systemd-analyze")
def test_the_service_has_no_privileges_that_it_does_not_need(tmp_path):
    done = subprocess.run(["systemd-analyze", "security", "--offline=yes", "--threshold=20", "--no-pager",
                           with_our_binary(tmp_path) / "sluice.service"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout


def allowed_system_calls():
    """What the service's SystemCallFilter lets through, as systemd reads it: the lines in order, sets resolved."""
    allowed = set()
    for setting, value in unit_settings("sluice.service"):
        if setting == "SystemCallFilter":
            calls = set().union(*(members_of(one) for one in value.lstrip("~").split()))
            allowed = allowed - calls if value.startswith("~") else allowed | calls
    return allowed


def members_of(name, known={}):
    if not name.startswith("@"):
        return {name}
    if name not in known:
        listed = subprocess.run(["systemd-analyze", "syscall-filter", name], capture_output=True, text=True, check=True, timeout=60)
        lines = [line.strip() for line in listed.stdout.splitlines()[1:]]
        known[name] = set().union(*(members_of(line) for line in lines if line and not line.startswith("#")))
    return known[name]


def traced_gateway(running):
    """Not the tracer, which has the same environment."""
    return next(pid for pid in running.gateway_processes()
                if b"\0gateway\0" in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes())


@needs("systemd-analyze")
@needs("strace")
def test_the_service_lets_every_system_call_through_that_sluice_makes(gateway, backend, tmp_path):
    """At start, in service, at a reload, a crash, an upgrade and the end; started anew by the kernel's rules each time."""
    calls, starter = tmp_path / "calls", tmp_path / "starter"
    # The tracer goes a moment after what it traces, so it must not look like a part of that.
    starter.write_text('#!/bin/sh\nexec env -u SLUICE_TEST_TOKEN strace -E SLUICE_TEST_TOKEN="$SLUICE_TEST_TOKEN" '
                       f'-D -f -qq -e signal=none -o {calls} {BINARY} "$@"\n')
    starter.chmod(0o755)
    running = gateway(proxy(backend, workers=2, route={"path": "~/(?<rest>.*)"}), binary=str(starter), environment={
        "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"})  # its check can't be traced
    backend.on("/large", answer(200, body=b"x" * 2_000_000))
    assert [running.get(target).status for target in ("/", "/large")] == [200] * 2
    running.reload()
    os.kill(traced_gateway(running), signal.SIGKILL)
    running.wait_until_ready()
    assert running.command("upgrade", timeout=60).returncode == 0
    running.stop()
    made = set(re.findall(r"^\d+ +(\w+)\(", calls.read_text(), re.MULTILINE))
    assert {"execve", "epoll_wait", "accept4", "memfd_create"} <= made, "that was not Sluice"
    assert made - allowed_system_calls() == set()


def test_regexes_work_without_memory_that_is_writable_and_executable(gateway, tmp_path):
    """MemoryDenyWriteExecute takes PCRE2's compiler its memory; then it interprets. The kernel's own switch, since Linux 6.3."""
    starter = tmp_path / "starter"
    starter.write_text("#!/bin/sh\nexec /usr/bin/python3 -c '\nimport ctypes, os, sys\n"
                       "if ctypes.CDLL(None).prctl(65, 1, 0, 0, 0) != 0: sys.exit(\"no PR_SET_MDWE\")\n"
                       f"os.execv(sys.argv[1], sys.argv[1:])' {BINARY} \"$@\"\n")
    starter.chmod(0o755)
    routes = [{"name": "regex", "path": "~/users/(?<id>[0-9]+)", "respond": {"status": 200, "body": "x"}}]
    running = gateway({"routes": routes}, binary=str(starter), ready=False)
    try:
        running.wait_until_ready()
    except AssertionError:
        if "no PR_SET_MDWE" not in running.stderr():
            raise
        running.expect_exit = 1
        pytest.skip("this kernel has no PR_SET_MDWE")
    running.resting = running.metrics()
    assert running.get("/users/12").status == 200 and running.get("/users/twelve").status == 404
