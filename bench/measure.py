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


def build_tools():
    """Compiles the C pieces that are older than their source."""
    BUILT.mkdir(exist_ok=True)
    for name in ("backend", "client", "epoll_proxy"):
        source, binary = BENCH / f"{name}.c", BUILT / name
        if not binary.exists() or binary.stat().st_mtime < source.stat().st_mtime:
            subprocess.run(["cc", *C_FLAGS, "-o", str(binary), str(source)], check=True)


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
    total = 0
    for process in descendants(pid):
        status = pathlib.Path(f"/proc/{process}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        total += int(found[1]) * 1024 if found else 0
    return total


class LoadFailed(Exception):
    """The load generator met errors: such a round measures something else."""


def wrk(port, path="/", connections=64, seconds=4, headers=(), core=LOAD_CORE):
    """A closed loop of so many connections. Returns requests and their rate; errors void the run."""
    command = ["taskset", "-c", core, "wrk", "-t1", f"-c{connections}", f"-d{seconds}s"]
    for header in headers:
        command += ["-H", header]
    text = subprocess.run(command + [f"http://127.0.0.1:{port}{path}"], check=True, capture_output=True, text=True).stdout
    trouble = re.search(r"(Non-2xx or 3xx responses: \d+|Socket errors: .*)", text)
    requests = int(re.search(r"(\d+) requests in", text)[1])
    closing = any(header.lower() == "connection: close" for header in headers)
    if trouble and not (closing and "connect 0, read" in trouble[1] and "write 0, timeout 0" in trouble[1]):
        raise LoadFailed(f"port {port}, {path}: {trouble[1]}")
    return {"requests": requests, "rate": float(re.search(r"Requests/sec:\s+([\d.]+)", text)[1])}


def constant_rate(port, path="/", connections=128, rate=5000, seconds=4):
    """An open loop: latency from the moment a request was due."""
    command = ["taskset", "-c", LOAD_CORE, str(BUILT / "client"), "rate", str(port), path, str(connections), str(rate), str(seconds)]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    if found["failed"] or found["unfinished"]:
        raise LoadFailed(f"port {port}, {path}: {found}")
    return found


class Standing:
    """Connections that stand while something else is measured: client slow, client idle."""

    def __init__(self, mode, port, path, connections, *rest):
        self.process = subprocess.Popen(
            ["taskset", "-c", LOAD_CORE, str(BUILT / "client"), mode, str(port), path, str(connections), *map(str, rest)],
            stdout=subprocess.PIPE, text=True)
        if self.process.stdout.readline().strip() != "ready":
            self.process.wait()
            raise LoadFailed(f"client {mode}: the connections did not come to stand")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()

    def result(self):
        """What it saw by its own end."""
        text = self.process.stdout.read()
        self.process.wait()
        return json.loads(text)


def cost_us(target, **load):
    """CPU microseconds a request under one run of wrk."""
    before = cpu_seconds(target.pid)
    done = wrk(target.port, **load)
    spent = cpu_seconds(target.pid) - before
    return {"us": spent * 1e6 / done["requests"], "rate": done["rate"]}


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


def machine_line():
    """What it was measured on."""
    model = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    loads = os.getloadavg()
    def version(command):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return ((done.stdout + done.stderr).splitlines() or ["?"])[0]
    return (f"{os.cpu_count()} x {model[1] if model else 'unknown CPU'}, Linux {os.uname().release}, "
            f"{version(['nginx', '-v']).replace('nginx version: ', '')}, "
            f"{' '.join(version(['haproxy', '-v']).split()[:3])}, load average before {loads[0]:.1f}")
