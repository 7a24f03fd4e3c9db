"""The real binary, started with a configuration of the test's own, watched from outside.

A `Gateway` writes its configuration as YAML into a directory of its own, picks free ports, waits until both listeners
answer and offers what a test asks for: connections, httpx clients, metrics, log lines, reload, the processes. When it
is stopped it checks what must always hold: exit code 0 after SIGTERM, no process left, no sanitizer report.
"""
import json
import os
import pathlib
import re
import signal
import subprocess
import time
import uuid

import httpx
import yaml

from backend import free_port
from plain_http import PLAIN_HTTP
from wire import connect, request_bytes

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = os.environ.get("SLUICE_BINARY", str(ROOT / "build" / "sluice"))
# The same with the policies of tests/filters beside its own.
TEST_BINARY = str(pathlib.Path(BINARY).parent / "tests" / "integration" / "sluice_test_gateway")

DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # ten times as fast, where PyYAML was built with libyaml

START_SECONDS = 60.0  # under a sanitizer on a busy machine; a start takes tens of milliseconds otherwise
STOP_SECONDS = 20.0
SANITIZER_REPORT = re.compile(
    r"(AddressSanitizer|LeakSanitizer|ThreadSanitizer|UndefinedBehaviorSanitizer|MemorySanitizer|runtime error:).*")

# Gauges that must stand at their resting value once nothing is under way. Idle pooled connections are no lease.
RESTING_GAUGES = ("sluice_connections_active", "sluice_exchanges_active", "sluice_upstream_leases",
                  "sluice_buffer_bytes", "sluice_waits_active", "sluice_tunnels_active")

METRIC_LINE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? ([^ ]+)\Z')
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"(?:,|\Z)')


class Metrics:
    """A Prometheus page: sums over the samples that carry the given labels."""

    def __init__(self, text):
        self.samples = []
        for line in text.splitlines():
            if not line or line.startswith("#"):
                continue
            parts = METRIC_LINE.match(line)
            assert parts, f"not a metric line: {line!r}"
            self.samples.append((parts[1], dict(LABEL.findall(parts[2] or "")), float(parts[3])))

    def names(self):
        return {name for name, _, _ in self.samples}

    def get(self, name, **labels):
        return sum(value for sample, its, value in self.samples
                   if sample == name and all(its.get(label) == wanted for label, wanted in labels.items()))

    def labels(self, name):
        return [its for sample, its, _ in self.samples if sample == name]


class Gateway:
    def __init__(self, directory, config, ready=True, expect_exit=0, environment=None, binary=BINARY,
                 inherit=(), listener=None, more_listeners=(), admin=None):
        self.directory = pathlib.Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.port, self.admin_port = free_port(), free_port()
        self.listener, self.more_listeners, self.admin_fields = listener or {}, list(more_listeners), admin or {}
        self.config = self._complete(config)
        self.file = self.directory / "sluice.yaml"
        self.control = self.directory / "control.sock"
        self.log_path = self.directory / "access.log"
        self.stderr_path = self.directory / "stderr.txt"
        self.stdout_path = self.directory / "stdout.txt"
        self.expect_exit = expect_exit
        self.token = uuid.uuid4().hex
        self.write_config()
        self.resting = None
        environment = {**os.environ, "SLUICE_TEST_TOKEN": self.token, "STATE_DIRECTORY": str(self.directory), **(environment or {})}
        with open(self.stderr_path, "wb") as stderr, open(self.stdout_path, "wb") as stdout:
            self.process = subprocess.Popen(
                [binary, "run", "--config", str(self.file), "--control", str(self.control)],
                cwd=self.directory, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, env=environment,
                pass_fds=inherit)
        if ready:
            self.wait_until_ready()
            self.resting = self.metrics()

    def _complete(self, config):
        """The test's configuration with the listeners, the admin address, one worker and the log filled in. What `listener`
        and `admin` say besides their address belongs to the first listener and the admin's."""
        whole = {"workers": 1, "listeners": [{"address": f"127.0.0.1:{self.port}", **self.listener}, *self.more_listeners],
                 "admin": {"address": f"127.0.0.1:{self.admin_port}", **self.admin_fields}, "accessLog": {"path": "access.log"}}
        return {**whole, **config}

    def write_config(self, config=None, text=None):
        """Replaces the file, as an operator's editor does; nothing is reloaded by that."""
        if config is not None:
            self.config = self._complete(config)
        temporary = self.file.with_suffix(".new")
        temporary.write_text(text if text is not None else yaml.dump(self.config, Dumper=DUMPER, sort_keys=False))
        temporary.replace(self.file)

    # Life

    def wait_until_ready(self, timeout=START_SECONDS):
        deadline = time.monotonic() + timeout
        while True:
            if self.process.poll() is not None:
                raise AssertionError(f"the gateway ended with {self.process.returncode}:\n{self.stderr()}")
            try:
                self.metrics()
                connect(("127.0.0.1", self.port)).close()
                return
            except (OSError, httpx.HTTPError) as error:
                if time.monotonic() > deadline:
                    self.process.kill()
                    raise AssertionError(f"not ready after {timeout} s ({error}):\n{self.stderr()}") from error
            time.sleep(0.01)

    def processes(self):
        """The pids of the master and everything it started, alive or zombie, by the token in their environment."""
        found = []
        for entry in os.scandir("/proc"):
            if entry.name.isdigit():
                try:
                    with open(f"/proc/{entry.name}/environ", "rb") as environment:
                        if self.token.encode() in environment.read():
                            found.append(int(entry.name))
                except OSError:
                    continue
        return found

    def gateway_processes(self):
        """The processes that carry traffic: all but the master."""
        return [pid for pid in self.processes() if pid != self.process.pid]

    def serving_process(self):
        """The gateway that commands go to. After an upgrade others may still drain: it is the one that was started last."""
        return max(self.gateway_processes(), key=lambda pid: (started(pid), pid))

    def wait_for_gateway_process(self, other_than=(), timeout=5):
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            fresh = [pid for pid in self.gateway_processes() if pid not in other_than]
            if fresh:
                return fresh[0]
            time.sleep(0.005)
        raise AssertionError(f"no new gateway process after {timeout} s:\n{self.stderr()}")

    def signal(self, number):
        self.process.send_signal(number)

    def stop(self):
        """SIGTERM, and everything that must hold at the end."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            left = self.processes()
            self._kill_all()
            raise AssertionError(f"still running {STOP_SECONDS} s after SIGTERM (pids {left}):\n{self.stderr()}") from None
        left = self.processes()
        self._kill_all()
        self.check_reports()
        assert code == self.expect_exit, f"exit code {code}, not {self.expect_exit}:\n{self.stderr()}"
        assert not left, f"processes outlived the master: {left}"

    def _kill_all(self):
        for pid in self.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def check_reports(self):
        report = SANITIZER_REPORT.search(self.stderr())
        assert not report, f"sanitizer report:\n{self.stderr()[max(0, report.start() - 200):][:6000]}"

    def stderr(self):
        return self.stderr_path.read_text(errors="replace")

    def stdout(self):
        return self.stdout_path.read_text(errors="replace")

    def wait_for_stderr(self, pattern, timeout=5, after=0):
        """The first match of a pattern in what the gateway wrote, from a given length on."""
        deadline = time.monotonic() + timeout
        while True:
            found = re.search(pattern, self.stderr()[after:])
            if found:
                return found
            if time.monotonic() > deadline:
                raise AssertionError(f"no {pattern!r} in stderr:\n{self.stderr()[after:]}")
            time.sleep(0.02)

    # Commands that find the running master

    def command(self, *arguments, timeout=20):
        return run_sluice(*arguments, "--control", str(self.control), timeout=timeout, cwd=self.directory)

    def reload(self, config=None, text=None, expect=0):
        if config is not None or text is not None:
            self.write_config(config, text)
        done = self.command("reload")
        assert done.returncode == expect, f"reload ended with {done.returncode}: {done.stdout}{done.stderr}"
        return done

    # Traffic

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    @property
    def address(self):
        return ("127.0.0.1", self.port)

    def connect(self, **options):
        return connect(self.address, **options)

    def request(self, method="GET", target="/", headers=(), body=None, **options):
        """One request on a fresh connection, answered strictly."""
        with self.connect() as wire:
            wire.send(request_bytes(method, target, headers, body, **options))
            return wire.read_response(method)

    def get(self, target="/", headers=(), **options):
        return self.request("GET", target, headers, **options)

    def send(self, data):
        """Raw bytes on a fresh connection; the caller reads what comes."""
        return self.connect().send(data)

    def client(self, **options):
        return httpx.Client(base_url=self.url, **{**PLAIN_HTTP, **options}, timeout=10)

    # What it counts and writes

    def metrics(self):
        answer = httpx.get(f"http://127.0.0.1:{self.admin_port}/admin/metrics", **PLAIN_HTTP, timeout=10)
        assert answer.status_code == 200, f"/admin/metrics answered {answer.status_code}"
        return Metrics(answer.text)

    def metric(self, name, **labels):
        return self.metrics().get(name, **labels)

    def wait_for_metric(self, name, value, timeout=5, **labels):
        """Waits until a sample has a value, or satisfies a function."""
        holds = value if callable(value) else lambda found: found == value
        deadline = time.monotonic() + timeout
        while True:
            found = self.metric(name, **labels)
            if holds(found):
                return found
            assert time.monotonic() < deadline, f"{name}{labels or ''} stays at {found}"
            time.sleep(0.02)

    def gauges_at_zero(self, timeout=5):
        """Nothing is held any more: each gauge is back where it stood before the first request."""
        deadline = time.monotonic() + timeout
        while True:
            now = self.metrics()
            missing = [name for name in RESTING_GAUGES if name not in now.names()]
            assert not missing, f"gauges that /admin/metrics does not have: {missing}"
            held = {name: now.get(name) for name in RESTING_GAUGES if now.get(name) > self.resting.get(name)}
            if not held:
                return True
            assert time.monotonic() < deadline, f"still held after {timeout} s: {held}"
            time.sleep(0.02)

    def log_lines(self, at_least=0, timeout=5):
        """The access log's lines as documents, once there are so many."""
        deadline = time.monotonic() + timeout
        while True:
            text = self.log_path.read_text() if self.log_path.exists() else ""
            whole = text[:text.rfind("\n") + 1].splitlines()
            if len(whole) >= at_least:
                return [json.loads(line) for line in whole]
            assert time.monotonic() < deadline, f"{len(whole)} of {at_least} log lines after {timeout} s"
            time.sleep(0.02)


def started(pid):
    """When a process began, in the kernel's ticks; 0 for one that is gone."""
    try:
        return int(pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, IndexError):
        return 0


def is_sanitized():
    """Whether the binary was built with a sanitizer, which is slow to start and to answer."""
    program = pathlib.Path(BINARY)
    return program.exists() and re.search(rb"__[at]san_init", program.read_bytes()) is not None


def run_sluice(*arguments, timeout=20, **options):
    """One command of the binary to its end."""
    return subprocess.run([BINARY, *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=timeout, check=False, **options)


def service(*backends, name="backend", **more):
    """A service in front of backends (or addresses)."""
    return {"name": name, "instances": [getattr(one, "address", one) for one in backends], **more}


def proxy(*backends, route=None, service_fields=None, **top):
    """The smallest configuration that sends everything to one service."""
    whole = {"name": "all", "path": "/*", "serviceId": "backend", "stripPrefix": False, **(route or {})}
    return {"services": [service(*backends, **(service_fields or {}))], "routes": [whole], **top}
