"""The data plane's lines of the table, one function each: start who is compared, take interleaved rounds, judge the median by its bar."""
import collections
import json
import pathlib
import re
import statistics
import subprocess
import threading
import time
import urllib.request

import peers
from measure import GATEWAY_CORE, LOAD_CORE, Standing, constant_rate, cost_us, descendants, resident_bytes, wrk
from rows import (Row, against_backend, against_better, costs_in_words, in_words, nothing, ratio_row, rounds_of, sluice_starters,
                  standing)

EPOLL_SHARE_MAX = 0.78  # of nginx, or the minimal proxy is no yardstick


# Proxying

def keepalive64(arguments):
    title = "keep-alive, 64 connections, 128-byte answers"
    with against_backend(peers.start_nginx, peers.start_haproxy, peers.start_epoll_proxy, *sluice_starters(peers.sluice_config)) as all_of:
        costs = rounds_of(all_of, arguments, connections=64)
    rows = [ratio_row("the minimal epoll proxy itself", costs, "epoll proxy", "nginx", EPOLL_SHARE_MAX),
            ratio_row("HAProxy beside nginx", costs, "haproxy", "nginx", None)]
    if "sluice" in costs:
        rows = [ratio_row(title, costs, "sluice", "nginx", 0.85), beside_the_floor(title, costs, rows[0])] + rows
    return rows


def beside_the_floor(title, costs, floor):
    """An aim, not a bar; void where the floor itself lies too high."""
    row = ratio_row(f"{title}, beside the minimal proxy", costs, "sluice", "epoll proxy", 1.12)
    verdict = "void" if floor.verdict != "holds" else "aim reached" if row.verdict == "holds" else "aim not reached"
    return row._replace(bar=row.bar.replace("≤", "aim ≤"), verdict=verdict)


def policies64(arguments):
    title = "the same with JSON access log, request id and 6 header filters"
    with against_backend(peers.start_nginx, *sluice_starters(peers.sluice_config_with_policies)) as all_of:
        costs = rounds_of(all_of, arguments, connections=64, path="/item")
    return [ratio_row(title, costs, "sluice", "nginx", 0.95)] if "sluice" in costs else [nothing(title, costs)]


def keepalive512(arguments):
    return against_better("512 connections", 0.8, arguments, connections=512)


def new_connections(arguments):
    return against_better("new connection each request", 0.9, arguments, connections=64, headers=["Connection: close"])


def bodies(title, path, bar, arguments):
    """The bar stands beside HAProxy as it comes; HAProxy told to splice is reported too, for it is another program then."""
    starters = [peers.start_haproxy, lambda backend: peers.start_haproxy(backend, splice=True), peers.start_nginx, peers.start_epoll_proxy]
    with against_backend(*starters, *sluice_starters(peers.sluice_config)) as all_of:
        costs = rounds_of(all_of, arguments, path=path, connections=32)
    if "sluice" not in costs:
        return [nothing(title, costs)]
    return [ratio_row(title, costs, "sluice", "haproxy", bar),
            ratio_row(f"{title}, beside HAProxy with splice-response", costs, "sluice", "haproxy splice", None)]


def body64k(arguments):
    return bodies("64 KiB bodies", "/64k", 0.65, arguments)


def body1m(arguments):
    return bodies("1 MiB bodies", "/1m", 0.6, arguments)


# Sluice against itself

def routes_cost(arguments, routes, loads):
    """One route against many: {title: (costs with one, costs with many)} for each load on the many."""
    found = {}
    if not peers.sluice_is_built():
        return found
    with against_backend(lambda backend: peers.Sluice(peers.sluice_config(backend), name="one"),
                         lambda backend: peers.Sluice(peers.sluice_config(backend, routes), name="many")) as (one, many):
        for title, load in loads.items():
            wait_until_settled(one, many, load)
            found[title] = rounds_of([one, many], arguments, **load)
    return found


def wait_until_settled(one, many, load):
    """What is made in the background after a start (the sieve of regexes) shall be there; if it never comes, the rounds show it."""
    deadline = time.monotonic() + 60
    while cost_us(many, seconds=1, **load)["us"] > 2 * cost_us(one, seconds=1, **load)["us"] and time.monotonic() < deadline:
        time.sleep(2)


def scaling_rows(arguments, title, routes, loads, bar=1.1):
    rows = []
    for where, costs in routes_cost(arguments, routes, loads).items():
        row = ratio_row(f"{title}, {where}", costs, "many", "one", bar)
        rows.append(row._replace(bar=f"≤ {bar} × 1 route", value=row.value.replace("one", "1 route")))
    return rows


def routes_in_number(count):
    def run(arguments):
        loads = {where: {"path": path} for where, path in peers.many_route_paths(count).items()}
        return scaling_rows(arguments, f"{count:,} routes", peers.many_routes(count), loads)
    return run


def routes_by_header(arguments):
    loads = {f"the {word}": {"path": "/tenant", "headers": [f"X-Tenant: tenant{i}"]} for word, i in (("first", 0), ("last", 9999))}
    return scaling_rows(arguments, "10,000 routes on one path by header", peers.routes_by_header(10000), loads)


def prefixless_regexes(arguments):
    title = "1,000 prefix-less regexes"
    rows = []
    for where, costs in routes_cost(arguments, peers.prefixless_regexes(1000), {"the last": {"path": "/some/where/kind999/42"}}).items():
        more = [b - a for a, b in zip(costs["one"], costs["many"])]
        value, span = in_words(more, 1)
        rows.append(Row(f"{title}, {where}", "≤ 5 µs more", f"{value} µs more", f"{span}; {costs_in_words(costs)}",
                        "holds" if float(value) <= 5 else "MISSED", costs))
    return rows


def system_calls(arguments):
    """`strace -c -f` on the processes that carry traffic, at 64 connections."""
    rows = []
    with against_backend(*sluice_starters(peers.sluice_config), peers.start_epoll_proxy, peers.start_nginx) as all_of:
        for one in all_of:
            wrk(one.port, seconds=1)
            tracer = subprocess.Popen(["strace", "-c", "-f", "-qq"] + [f"-p{pid}" for pid in descendants(one.pid)],
                                      stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
            time.sleep(0.5)
            requests = wrk(one.port, seconds=max(2, arguments.seconds))["requests"]
            tracer.send_signal(2)
            text = tracer.communicate()[1]
            calls = {parts[-1]: int(parts[3]) for parts in (line.split() for line in text.splitlines())
                     if len(parts) >= 5 and parts[3].isdigit() and parts[-1] != "total"}
            value = sum(calls.values()) / requests
            note = ", ".join(f"{name} {count / requests:.2f}" for name, count in sorted(calls.items(), key=lambda item: -item[1])[:5])
            ours = one.name == "sluice"
            rows.append(Row(f"system calls per keep-alive request, {one.name}", "≤ 4.3" if ours else "", f"{value:.2f}", note,
                            ("holds" if value <= 4.3 else "MISSED") if ours else "-", calls))
    return rows


def two_workers(arguments):
    """Both kinds share both cores with their load: what is compared is the cost of being two, not the speed."""
    if not peers.sluice_is_built():
        return []
    with against_backend(lambda backend: peers.Sluice(peers.sluice_config(backend), name="1 worker", core="0,1"),
                         lambda backend: peers.Sluice(peers.sluice_config(backend, workers=2), name="2 workers", core="0,1")) as all_of:
        costs = rounds_of(all_of, arguments, connections=128, core="0,1")
    a_core = 1e6 / statistics.median(costs["2 workers"])
    return [ratio_row("2 workers against 1", costs, "2 workers", "1 worker", 1.05),
            Row("requests a second and core, of 100,000 an instance", "", f"{a_core:,.0f} a core",
                f"extrapolated: {100000 / a_core:.1f} cores for 100,000 a second, were the load made elsewhere", "-")]


# Memory and start

def idle_connections(arguments):
    rows = []
    for start in [*sluice_starters(peers.sluice_config), peers.start_nginx]:
        with against_backend(start) as (one,):
            with Standing("client", "idle", one.port, "/", 10000, 600):
                time.sleep(2)
                value = resident_bytes(one.pid) / 1e6
            ours = one.name == "sluice"
            rows.append(Row(f"10,000 idle keep-alive connections, {one.name}", "≤ 25 MB" if ours else "", f"{value:.1f} MB",
                            "resident, all processes", ("holds" if value <= 25 else "MISSED") if ours else "-"))
    return rows


CEILING_BYTES = 128 * 1024 * 1024


def slow_readers(arguments):
    """2,000 readers at 1 KB/s of 10 MB bodies, and what others feel of them in the gateway: their clients live on the load's core, so
    what the backend shows when asked directly beside them is taken off."""
    if not peers.sluice_is_built():
        return []
    extra = f"limits: {{ bufferBytesPerWorker: {CEILING_BYTES} }}\n"
    more_ms, resident = [], 0
    with standing(peers.start_backend) as (backend,), \
            standing(lambda: peers.Sluice(peers.sluice_config(backend, extra=extra))) as (sluice,):
        for _ in range(arguments.rounds):
            before = added_p99_us(sluice, backend, arguments)
            with Standing("client", "slow", sluice.port, "/10m", 2000, 1024, 600):
                time.sleep(8)  # until all of them stand
                during = added_p99_us(sluice, backend, arguments)
                resident = max(resident, resident_bytes(sluice.pid))
            time.sleep(1)
            more_ms.append((during - before) / 1000)
    value, span = in_words(more_ms)
    return [Row("2,000 readers at 1 KB/s: P99 of others", "≤ +1 ms", f"{value} ms", span, "holds" if float(value) <= 1 else "MISSED", more_ms),
            Row("2,000 readers at 1 KB/s: resident", f"< {CEILING_BYTES / 1e6:.0f} MB (the ceiling set)", f"{resident / 1e6:.1f} MB", "peak, all processes",
                "holds" if resident < CEILING_BYTES else "MISSED")]


def added_p99_us(gateway, backend, arguments):
    """What the gateway adds to the P99 of 2,000 requests a second."""
    through, direct = (constant_rate(one.port, rate=2000, seconds=arguments.seconds)["p99_us"] for one in (gateway, backend))
    return through - direct


def start_up(arguments):
    if not peers.sluice_is_built():
        return []
    count, seconds, resident = 5000, [], []
    with standing(peers.start_backend) as (backend,):
        services = [f"{{ name: s{i}, instances: [\"127.0.0.1:{backend.port}\"] }}" for i in range(count)]
        routes = [f"{{ name: r{i}, path: \"/group{i % 71}/item{i}/*\", serviceId: s{i} }}" for i in range(count)]
        config = peers.sluice_config(backend, routes, services=services)
        for _ in range(arguments.rounds):
            began = time.monotonic()
            with standing(lambda: peers.Sluice(config)) as (sluice,):
                seconds.append(time.monotonic() - began)
                wrk(sluice.port, path="/group1/item1/x", seconds=1)
                resident.append(resident_bytes(sluice.pid) / 1e6)
    value, span = in_words(seconds)
    title = "5,000 routes × 5,000 services"
    return [Row(f"{title}: start to the first answer", "≤ 1 s", f"{value} s", span, "holds" if float(value) <= 1 else "MISSED", seconds),
            Row(f"{title}: resident", "≤ 40 MB", f"{max(resident):.1f} MB", "all processes", "holds" if max(resident) <= 40 else "MISSED", resident)]


# Latency

LATENCY_ROUNDS_A_ROUND = 3


def added_latency(arguments):
    """Half of what the slowest saturates at, sent to everybody; "added" is beside the backend asked directly."""
    with standing(peers.start_backend) as (backend,):
        starters = [*sluice_starters(peers.sluice_config), peers.start_nginx, peers.start_haproxy]
        with standing(*[lambda s=start: s(backend) for start in starters]) as all_of:
            rate = min(wrk(one.port, seconds=2)["rate"] for one in all_of) / 2
            found = collections.defaultdict(list)
            # A virtual machine is taken off its core for 10 ms and more now and then, which is all of a short round's P99: so many rounds.
            for _ in range(LATENCY_ROUNDS_A_ROUND * arguments.rounds):
                for one in [backend, *all_of]:
                    found[one.name].append(constant_rate(one.port, rate=int(rate), seconds=min(arguments.seconds, 2)))
    rows = []
    for one in all_of:
        added = [(a["p99_us"] - b["p99_us"]) / 1000 for a, b in zip(found[one.name], found["backend"])]
        value, span = in_words(added)
        ours = one.name == "sluice"
        p50 = statistics.median(a["p50_us"] for a in found[one.name])
        rows.append(Row(f"added latency at half load ({rate:,.0f}/s, open loop), {one.name}", "P99 < 1 ms" if ours else "", f"{value} ms",
                        f"{span}; P50 with the backend {p50 / 1000:.2f} ms",
                        ("holds" if float(value) < 1 else "MISSED") if ours else "-", found[one.name]))
    return rows


# Change: in process what the builder is handed, from outside what traffic feels of whole reloads

CHANGE_WORDS = {"put route": "builder", "in force": "from the hand-over to a worker that uses it"}
CHANGE_BARS_MS = {"put route": {10000: 1, 100000: 3}, "in force": {10000: 10, 100000: 10}}


def change_of_a_route(arguments):
    """The builder's time for one route among many, by bench/micro/change; the file isn't read, as the bar has it."""
    if not peers.sluice_is_built():
        return []
    build = pathlib.Path(peers.SLUICE).resolve().parent
    subprocess.run(["ninja", "-C", str(build), "bench/micro-change"], check=True, stdout=subprocess.DEVNULL)
    text = subprocess.run(["taskset", "-c", GATEWAY_CORE, str(build / "bench" / "micro-change"), "--json", "10000", "100000"],
                          check=True, capture_output=True, text=True).stdout
    rows = []
    for found in map(json.loads, text.splitlines()):
        if found["name"] not in CHANGE_BARS_MS:
            continue
        bar_ms = CHANGE_BARS_MS[found["name"]][found["routes"]]
        rows.append(Row(f"change of one route among {found['routes']:,}: {CHANGE_WORDS[found['name']]}", f"≤ {bar_ms} ms",
                        f"{found['p99'] / 1000:.3f} ms", f"P99; median {found['median'] / 1000:.3f} ms, at most {found['most'] / 1000:.3f} ms",
                        "holds" if found["p99"] / 1000 <= bar_ms else "MISSED", found))
    return rows + traffic_beside_reloads(arguments)


def traffic_beside_reloads(arguments):
    """P99 of steady traffic with and without a change of one route among 10,000 every half second. The file is read on the
    gateway's own core here, so this is an upper bound for a change that is handed over."""
    routes = peers.many_routes(10000)
    more_ms, in_force_ms = [], []
    with standing(peers.start_backend) as (backend,), standing(lambda: peers.Sluice(peers.sluice_config(backend, routes))) as (sluice,):
        for _ in range(arguments.rounds):
            before = constant_rate(sluice.port, path="/zzz/last", rate=2000, seconds=arguments.seconds)
            with Reloading(sluice, backend, routes) as reloading:
                during = constant_rate(sluice.port, path="/zzz/last", rate=2000, seconds=arguments.seconds)
            more_ms.append((during["p99_us"] - before["p99_us"]) / 1000)
            in_force_ms += reloading.took_ms
    value, span = in_words(more_ms)
    return [Row("P99 of traffic beside reloads of the whole file with 10,000 routes", "≤ +0.3 ms for a change alone", f"{value} ms",
                f"{span}; a whole reload takes {statistics.median(in_force_ms):.0f} ms", "-", more_ms)]


class Reloading:
    """`sluice reload` again and again, each time with one route changed."""

    def __init__(self, sluice, backend, routes):
        self.sluice, self.backend, self.routes = sluice, backend, list(routes)
        self.took_ms = []
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self):
        number = 0
        while not self.ended.wait(0.5):
            number += 1
            self.routes[5000] = f"{{ name: r5000, path: /changed/route/{number}, serviceId: backend, stripPrefix: false }}"
            self.sluice.write(peers.sluice_config(self.backend, self.routes))
            began = time.monotonic()
            subprocess.run(["taskset", "-c", LOAD_CORE, peers.SLUICE, "reload", "--control", str(self.sluice.control)], check=True,
                           stdout=subprocess.DEVNULL)
            self.took_ms.append((time.monotonic() - began) * 1000)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()


# Stages: read from the gateway's own figures

def histograms(sluice, name):
    """{labels: [(bound in seconds, cumulative count), ...]} of a histogram on the metrics page."""
    text = urllib.request.urlopen(f"http://127.0.0.1:{sluice.admin_port}/admin/metrics", timeout=10).read().decode()
    found = collections.defaultdict(list)
    for labels, bound, count in re.findall(rf'^{name}_bucket\{{(.*?),?le="([^"]+)"\}} (\S+)$', text, re.M):
        found[labels].append((float(bound), float(count)))
    return {labels: sorted(buckets) for labels, buckets in found.items()}


def histogram_percentile(buckets, share):
    """The upper bound of the bucket that holds the percentile."""
    total = buckets[-1][1]
    return next((bound for bound, count in buckets if count >= share * total), float("inf"))


# DESIGN 9: P99 in milliseconds, by stage.
STAGE_BUDGET_MS = {"route": 0.1, "request filters": 0.2, "response filters": 0.2, "log": 0.3}


def stages(arguments):
    if not peers.sluice_is_built():
        return []
    with against_backend(lambda backend: peers.Sluice(peers.sluice_config_with_policies(backend))) as (sluice,):
        rate = wrk(sluice.port, path="/item", seconds=2)["rate"] / 2
        constant_rate(sluice.port, path="/item", rate=int(rate), seconds=max(4, arguments.rounds * arguments.seconds))
        found = histograms(sluice, "sluice_stage_duration_seconds")
    rows = []
    for labels, buckets in found.items():
        stage = re.search(r'stage="([^"]+)"', labels)[1]
        p99 = histogram_percentile(buckets, 0.99) * 1000
        budget = STAGE_BUDGET_MS.get(stage)
        rows.append(Row(f"stage {stage}: P99 at half load", f"{budget} ms" if budget else "", f"{p99:.3f} ms", f"{buckets[-1][1]:,.0f} samples",
                        "-" if budget is None else "holds" if p99 <= budget else "MISSED"))
    return rows or [Row("stages of a request", "", "no samples", "", "MISSED")]


ALL = {
    "keepalive64": ("keep-alive, 64 connections, 128-byte answers", keepalive64),
    "policies64": ("with JSON access log, request id and 6 header filters", policies64),
    "keepalive512": ("512 connections", keepalive512),
    "body64k": ("64 KiB bodies", body64k),
    "body1m": ("1 MiB bodies", body1m),
    "newconn": ("new connection each request", new_connections),
    "routes10k": ("10,000 routes against 1", routes_in_number(10000)),
    "routes100k": ("100,000 routes against 1", routes_in_number(100000)),
    "headers10k": ("10,000 routes on one path by header", routes_by_header),
    "regex1000": ("1,000 prefix-less regexes", prefixless_regexes),
    "change": ("change of one route among 10,000 and 100,000", change_of_a_route),
    "syscalls": ("system calls per keep-alive request", system_calls),
    "idle": ("10,000 idle keep-alive connections", idle_connections),
    "slowreaders": ("2,000 readers at 1 KB/s of 10 MB bodies", slow_readers),
    "start": ("5,000 routes x 5,000 services: start and memory", start_up),
    "latency": ("added latency at half load, open loop", added_latency),
    "workers2": ("2 workers against 1", two_workers),
    "stages": ("each stage of a request, sampled", stages),
}
