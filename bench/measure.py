"""Measuring: CPU of processes, runs of the load generators, and what a handful of paired rounds allows us to say."""
import json
import math
import os
import pathlib
import re
import statistics
import subprocess

BENCH = pathlib.Path(__file__).resolve().parent
BUILT = BENCH / ".build"
GATEWAY_CORE, LOAD_CORE = "0", "1"
C_FLAGS = ["-std=gnu17", "-O2", "-Wall", "-Wextra", "-Werror"]


TLS_CLIENT = ["tls_client.c"], ["-lssl", "-lcrypto"]
TOOLS = {  # name: its sources beside NAME.c and common.c, its libraries
    "backend": ([], []),
    "client": TLS_CLIENT,
    "epoll_proxy": ([], []),
    "h2_backend": ([], ["-lnghttp2"]),
    "streams": ([], []),
    "streams_backend": ([], []),
    "tls_handshake": TLS_CLIENT,
    "tls_idle": TLS_CLIENT,
}


def build_tools():
    """Compiles the C pieces that are older than a source."""
    BUILT.mkdir(exist_ok=True)
    headers = [source.stat().st_mtime for source in BENCH.glob("*.h")]
    for name, (more, libraries) in TOOLS.items():
        sources, binary = [BENCH / file for file in (f"{name}.c", "common.c", *more)], BUILT / name
        if not binary.exists() or binary.stat().st_mtime < max([source.stat().st_mtime for source in sources] + headers):
            subprocess.run(["cc", *C_FLAGS, "-o", str(binary), *map(str, sources), *libraries], check=True)


def certificate():
    """A self-signed certificate with a P-256 key for all who are measured: the files of the certificate, of the key, of both."""
    found = BUILT / "certificate.pem", BUILT / "key.pem", BUILT / "both.pem"
    if not found[2].exists():
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "3650",
                        "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
                        "-keyout", str(found[1]), "-out", str(found[0])], check=True, capture_output=True)
        found[2].write_text(found[0].read_text() + found[1].read_text())
    return found


def descendants(pid):
    """A process and all below it."""
    found = [pid]
    for parent in found:
        for task in pathlib.Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                found += [int(child) for child in task.read_text().split()]
            except OSError:
                pass
    return found


def cpu_seconds(pid):
    """User and system time of a process, its threads and its children.

    /proc/PID/stat counts in ticks of 10 ms; the scheduler's own figure in task/TID/schedstat is the same time (the kernel
    scales utime + stime to it) in nanoseconds, so short rounds are as exact as long ones.
    """
    total = 0
    for process in descendants(pid):
        for task in pathlib.Path(f"/proc/{process}/task").glob("*/schedstat"):
            try:
                total += int(task.read_text().split()[0])
            except OSError:
                pass
    return total / 1e9


def resident_bytes(pid):
    """Resident memory of a process and its children, shared pages counted for each."""
    return memory_bytes(pid, "VmRSS")


def peak_bytes(pid):
    """The most that each of them ever had, added up."""
    return memory_bytes(pid, "VmHWM")


def memory_bytes(pid, name):
    total = 0
    for process in descendants(pid):
        status = pathlib.Path(f"/proc/{process}/status").read_text()
        found = re.search(rf"{name}:\s+(\d+) kB", status)
        total += int(found[1]) * 1024 if found else 0
    return total


def connections_to(port, pid):
    """How many connections a process and its children hold to a port of this machine."""
    lines = [line.split() for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]]
    wanted = {f"socket:[{parts[9]}]" for parts in lines if parts[2].endswith(f":{port:04X}") and parts[3] == "01"}
    found = 0
    for process in descendants(pid):
        for descriptor in pathlib.Path(f"/proc/{process}/fd").iterdir():
            try:
                found += os.readlink(descriptor) in wanted
            except OSError:
                pass
    return found


class LoadFailed(Exception):
    """The load generator met errors: such a round measures something else."""


def wrk(port, path="/", connections=64, seconds=4, headers=(), core=LOAD_CORE, scheme="http"):
    """A closed loop of so many connections. Returns requests and their rate; errors void the run."""
    command = ["taskset", "-c", core, "wrk", "-t1", f"-c{connections}", f"-d{seconds}s"]
    for header in headers:
        command += ["-H", header]
    text = subprocess.run(command + [f"{scheme}://127.0.0.1:{port}{path}"], check=True, capture_output=True, text=True).stdout
    trouble = re.search(r"(Non-2xx or 3xx responses: \d+|Socket errors: .*)", text)
    requests = int(re.search(r"(\d+) requests in", text)[1])
    closing = any(header.lower() == "connection: close" for header in headers)
    if trouble and not (closing and "connect 0, read" in trouble[1] and "write 0, timeout 0" in trouble[1]):
        raise LoadFailed(f"port {port}, {path}: {trouble[1]}")
    return {"requests": requests, "rate": float(re.search(r"Requests/sec:\s+([\d.]+)", text)[1])}


def h2load(port, path="/", connections=16, streams=32, seconds=4, headers=(), body=None, scheme="http"):
    """A closed loop of so many HTTP/2 connections with so many streams each; `body` is a file that each request posts."""
    command = ["taskset", "-c", LOAD_CORE, "h2load", "-t1", f"-c{connections}", f"-m{streams}", f"-D{seconds}"]
    for header in headers:
        command += ["-H", header]
    if body:
        command += ["-d", str(body)]
    text = subprocess.run(command + [f"{scheme}://127.0.0.1:{port}{path}"], check=True, capture_output=True, text=True).stdout
    done = re.search(r"(\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", text)
    if "Application protocol: h2" not in text or done is None or int(done[1]) == 0 or done[1] != done[2] or set(done.groups()[2:]) != {"0"}:
        raise LoadFailed(f"port {port}, {path}: h2load: {done[0] if done else text[-200:]}")
    return {"requests": int(done[1]), "rate": float(re.search(r"finished in .*?, ([\d.]+) req/s", text)[1])}


def handshakes(port, concurrent=64, seconds=4):
    """A closed loop of requests on a new TLS connection each, with a full handshake."""
    found = tool("tls_handshake", port, concurrent, seconds)
    if found["failed"] or found["unfinished"] or not found["requests"]:
        raise LoadFailed(f"port {port}: {found}")
    return found


def tool(name, *arguments):
    """One of ours to its end, on the load's core: the line of JSON that it wrote."""
    command = ["taskset", "-c", LOAD_CORE, str(BUILT / name), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LoadFailed(f"{name} {' '.join(map(str, arguments))}: {done.stderr.strip()[-200:]}")
    return json.loads(done.stdout)


def constant_rate(port, path="/", connections=128, rate=5000, seconds=4, headers=(), scheme="http"):
    """An open loop: latency from the moment a request was due."""
    found = tool("client", "tls-rate" if scheme == "https" else "rate", port, path, connections, rate, seconds, *headers)
    if found["failed"] or found["unfinished"]:
        raise LoadFailed(f"port {port}, {path}: {found}")
    return found


class Standing:
    """Connections that stand while something else is measured: client slow, client idle, tls_idle, streams."""

    def __init__(self, name, *arguments):
        self.process = subprocess.Popen(["taskset", "-c", LOAD_CORE, str(BUILT / name), *map(str, arguments)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if self.process.stdout.readline().strip() != "ready":
            said = " ".join(self.process.communicate()[1].split())[:100]
            raise LoadFailed(f"{name} {' '.join(map(str, arguments))}: the connections did not come to stand: {said}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.communicate()

    def result(self):
        """What it has seen: asked for with a line, of which those take no notice that end by the clock."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise LoadFailed(f"{self.process.args[3]}: ended with {self.process.wait()} and no figures")
        return json.loads(line)


def cost_us(target, generator=wrk, **load):
    """CPU microseconds a request under one run of a load generator."""
    before = cpu_seconds(target.pid)
    done = generator(target.port, **load)
    spent = cpu_seconds(target.pid) - before
    return {"us": spent * 1e6 / done["requests"], "rate": done["rate"]}


def percentile(values, share):
    """The smallest value that no more than 1 - share of them exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def interval(values):
    """The median and the interval of order statistics that holds it with 90 % or better (all values, if they are few)."""
    ordered = sorted(values)
    count = len(ordered)
    cut = 0
    while cut + 1 < count / 2:
        outside = 2 * sum(math.comb(count, i) for i in range(cut + 2)) / 2 ** count
        if outside > 0.1:
            break
        cut += 1
    return statistics.median(ordered), ordered[cut], ordered[count - 1 - cut]


def version(*command):
    """The first line of what a program says of itself; "?" where there is none."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "?"
    return ((done.stdout + done.stderr).splitlines() or ["?"])[0]


def machine_line():
    """What was measured, and what on."""
    model = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    loads = os.getloadavg()
    return (f"Sluice {version('git', '-C', str(BENCH), 'describe', '--always', '--dirty')} on "
            f"{os.cpu_count()} x {model[1] if model else 'unknown CPU'}, Linux {os.uname().release}, "
            f"{version('nginx', '-v').replace('nginx version: ', '')}, "
            f"{' '.join(version('haproxy', '-v').split()[:3])}, load average before {loads[0]:.1f}")
