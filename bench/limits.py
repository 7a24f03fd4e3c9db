"""The lines of the table for rate limits: what passes of a flood, what two workers on one key cost, what a limit costs in process."""
import contextlib
import http.client
import json
import pathlib
import re
import subprocess
import time

import peers
from measure import LOAD_CORE, LoadFailed, cost_us
from rows import Row, in_words, instructions_in_words, ratios, rounds_of, standing

ALGORITHMS = ("token_bucket", "sliding_window", "fixed_window", "gcra")
LIMIT, FLOOD = 2000, 10
BOTH_CORES = "0,1"


def limited(backend, rules, workers=2):
    return peers.sluice_config(backend, workers=workers, extra="rateLimits:\n" + "".join(f"  - {rule}\n" for rule in rules))


def decisions(gateway, decision):
    """How often rules said so, by the gateway's own count."""
    connection = http.client.HTTPConnection("127.0.0.1", gateway.admin_port, timeout=10)
    with contextlib.closing(connection):
        connection.request("GET", "/admin/metrics")
        text = connection.getresponse().read().decode()
    return sum(int(line.split()[-1]) for line in text.splitlines()
               if line.startswith("sluice_rate_limit_decisions_total{") and f'decision="{decision}"' in line)


# Ten times the limit for 30 s

def reading(gateway):
    """How many have passed, and when that was told: in the middle of a window, of which all has passed by then; windows begin with seconds."""
    time.sleep((0.5 - time.time()) % 1)
    passed = decisions(gateway, "passed")
    return passed, time.monotonic()


def flood(gateway, seconds, by_windows):
    """The share of the limit that passed, over a stretch from the second second on: what a full bucket lends at first isn't in it."""
    # wrk's closed loop is as fast as it can be, so the limit is far below; 429s are what is to come. It lasts until it is stopped.
    load = subprocess.Popen(["taskset", "-c", LOAD_CORE, "wrk", "-t1", "-c64", f"-d{seconds + 60}s", f"http://127.0.0.1:{gateway.port}/"],
                            stdout=subprocess.PIPE, text=True)
    time.sleep(2)
    before, begun = reading(gateway)
    refused = decisions(gateway, "refused")
    time.sleep(seconds)
    after, ended = reading(gateway)
    rate = (decisions(gateway, "refused") - refused + after - before) / (ended - begun)
    load.terminate()
    load.communicate()
    stretch = round(ended - begun) if by_windows else ended - begun
    return {"passed": (after - before) / stretch / LIMIT, "rate": rate, "enough": rate >= LIMIT * FLOOD / 2}


def floods(arguments):
    rows, seconds = [], 30 if arguments.seconds >= 4 else 4 * arguments.seconds
    for algorithm in ALGORITHMS:
        rule = f"{{ name: flood, limit: {LIMIT}, window: 1, key: global, algorithm: {algorithm} }}"
        with standing(peers.start_backend) as (backend,), standing(
                lambda: peers.Sluice(limited(backend, [rule]), core=BOTH_CORES)) as (gateway,):  # pylint: disable=cell-var-from-loop
            found = flood(gateway, seconds, algorithm.endswith("window"))
        share = found["passed"]
        verdict = "void" if not found["enough"] else "holds" if abs(share - 1) <= 0.01 else "MISSED"
        rows.append(Row(f"{FLOOD} × the limit for {seconds} s, 2 workers, {algorithm}", "within ±1 %", f"{share:.4f}",
                        f"{found['rate']:,.0f} requests/s came, {LIMIT} may pass", verdict, found))
    return rows


# One key, or one for each connection

class Named:
    """The same gateway under two names: what is asked of it is the difference."""

    def __init__(self, gateway, name, header):
        self.port, self.pid, self.name, self.header = gateway.port, gateway.pid, name, header


def keyed_load(one, seconds):
    return cost_us(one, generator=lambda port, **load: wrk_with_keys(port, one.header, **load), seconds=seconds)


KEYS_SCRIPT = """
local number = 0
request = function()
  number = (number + 1) %% 64
  return wrk.format("GET", "/", { ["X-Key"] = %s })
end
"""


def wrk_with_keys(port, header, seconds=4):
    script = peers.ROOT / "bench" / ".build" / "keys.lua"
    script.write_text(KEYS_SCRIPT % header)
    text = subprocess.run(["taskset", "-c", LOAD_CORE, "wrk", "-t1", "-c64", f"-d{seconds}s", "-s", str(script), f"http://127.0.0.1:{port}/"],
                          check=True, capture_output=True, text=True).stdout
    if "Non-2xx" in text or "Socket errors" in text:
        raise LoadFailed(text[-200:])
    return {"requests": int(re.search(r"(\d+) requests in", text)[1]), "rate": float(re.search(r"Requests/sec:\s+([\d.]+)", text)[1])}


def hot_key(arguments):
    rule = "{ name: hot, limit: 1000000000, window: 1, key: \"header:X-Key\" }"
    with standing(peers.start_backend) as (backend,), standing(
            lambda: peers.Sluice(limited(backend, [rule]), core=BOTH_CORES)) as (gateway,):
        candidates = [Named(gateway, "one key", '"k"'), Named(gateway, "64 keys", '"k" .. number')]
        costs = rounds_of(candidates, arguments, cost=keyed_load)
    value, span = in_words(ratios(costs, "one key", "64 keys"), 3)
    return [Row("2 workers on one hot key, CPU a request", "≤ 1.05 × distinct keys", f"{value} ×", span,
                "holds" if float(value) <= 1.05 else "MISSED", costs)]


# In process

def in_process(arguments, keys=10_000_000):
    build = pathlib.Path(peers.SLUICE).parent
    subprocess.run(["ninja", "-C", str(build), "bench/micro-limits"], check=True, stdout=subprocess.DEVNULL)
    text = subprocess.run(["taskset", "-c", BOTH_CORES, str(build / "bench" / "micro-limits"), "--json", "--rounds", str(arguments.rounds), "--keys", str(keys)],
                          check=True, capture_output=True, text=True).stdout
    rows = []
    for line in map(json.loads, text.splitlines()):
        if "policy" in line:
            bar = {"one rule": 150, "four tiers": 400}[line["policy"]]
            rows.append(Row(f"rate limits in process, {line['policy']}", f"≤ {bar} ns", f"{line['ns']:.0f} ns",
                            instructions_in_words(line["instructions"]), "holds" if line["ns"] <= bar else "MISSED", line))
        elif "table" in line:
            good = line["p99_ns"] <= 2000 and line["resident_mb"] <= 320
            rows.append(Row(f"{keys:,} limit keys, {line['table']}", "P99 ≤ 2 µs, ≤ 320 MB", f"{line['p99_ns'] / 1000:.2f} µs",
                            f"{line['resident_mb']:.0f} MB; P99.99 {line['p9999_ns'] / 1000:.1f} µs, longest {line['longest_us']:.0f} µs",
                            "holds" if good else "MISSED", line))
        else:
            rows.append(Row("two threads on one limit entry", "", f"{line['difference_ns']:.0f} ns more a call than on their own",
                            f"{line['one_key_ns']:.0f} and {line['own_keys_ns']:.0f} ns", "-", line))
    return rows


ALL = {
    "limits": ("rate limits in process: one, four tiers, ten million keys", in_process),
    "limit-flood": ("ten times the limit on two workers, each algorithm", floods),
    "limit-hot-key": ("two workers on one key beside keys of their own", hot_key),
}
