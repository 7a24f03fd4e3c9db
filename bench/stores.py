"""The lines of the table for a configuration that lives in a store: how fast it is written, when a change is in force, what traffic feels of it,
what a start costs."""
import contextlib
import hashlib
import http.client
import json
import os
import pathlib
import random
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid

import peers
from measure import LOAD_CORE, LoadFailed, constant_rate, cpu_seconds, interval, peak_bytes, percentile, resident_bytes, wrk
from rows import Row, in_words, standing

# One fixture starts PostgreSQL, the tests' own.
sys.path.append(str(peers.ROOT / "tests" / "integration"))

ROUTES, WRITERS = 10000, 8
SQLITE, POSTGRES = "SQLite", "PostgreSQL"
IN_FORCE_MS, IN_FORCE_ELSEWHERE_MS = 10, 50


# What is measured: a store that is filled, gateways over it, their admin APIs

@contextlib.contextmanager
def scratch():
    """A folder for stores; and whoever measures stays on the load's core meanwhile, with PostgreSQL and all else that it starts."""
    folder, cores = tempfile.mkdtemp(prefix="bench-store-"), os.sched_getaffinity(0)
    os.sched_setaffinity(0, {int(LOAD_CORE)})
    try:
        yield pathlib.Path(folder)
    finally:
        os.sched_setaffinity(0, cores)
        shutil.rmtree(folder)


@contextlib.contextmanager
def empty_store(kind, folder):
    """Where a store is to be. PostgreSQL writes through to the disk here, as SQLite does."""
    if kind == SQLITE:
        yield f"sqlite:{folder}/sluice.db"
        return
    from postgres import PostgresServer, forget_template  # pylint: disable=import-outside-toplevel
    server = PostgresServer(durable=True)
    try:
        yield server.new_database().url
    finally:
        server.close()
        forget_template()


def sluice_says(*words):
    done = subprocess.run([peers.SLUICE, *map(str, words)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"sluice {words[0]}: {(done.stderr + done.stdout).strip()[-300:]}")


def fill(store, folder, services, routes):
    file = folder / "filling.yaml"
    file.write_text("services:\n" + "".join(f"  - {one}\n" for one in services) + "routes:\n" + "".join(f"  - {one}\n" for one in routes))
    sluice_says("import", file, "--store", store)


def fill_with_routes(store, folder, backend):
    """10,000 routes, the ones that writers change among them."""
    changed = [f"{{ name: changed{i}, path: /changed{i}, respond: {{ status: 200, body: \"0\" }} }}" for i in range(WRITERS)]
    routes = peers.many_routes(ROUTES - WRITERS)
    routes[ROUTES // 2:ROUTES // 2] = changed
    fill(store, folder, [f"{{ name: backend, instances: [\"127.0.0.1:{backend.port}\"] }}"], routes)


def start_over(store, workers=1, **how):
    return peers.Sluice(f"workers: {workers}\naccessLog: {{ path: off }}\nstore: \"{store}\"\n", **how)


@contextlib.contextmanager
def ten_thousand_routes(kind, instances=1, workers=1):
    """So many gateways over one store with them."""
    with scratch() as folder, standing(peers.start_backend) as (backend,), empty_store(kind, folder) as store:
        fill_with_routes(store, folder, backend)
        with standing(*[lambda: start_over(store, workers)] * instances) as gateways:
            yield gateways if instances > 1 else gateways[0]


class Client:
    """One kept connection. What is not answered as it should be makes the round void."""

    def __init__(self, port):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def ask(self, method, path, body=None):
        self.connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
        answer = self.connection.getresponse()
        text = answer.read()
        if answer.status >= 300:
            raise LoadFailed(f"{method} {path}: {answer.status} {text[:200].decode(errors='replace')}")
        return text

    def change(self, number, body):
        """Acknowledged when it returns."""
        self.ask("PUT", f"/admin/routes/changed{number}",
                 json.dumps({"name": f"changed{number}", "path": f"/changed{number}", "respond": {"status": 200, "body": str(body)}}).encode())

    def shows(self, number, body):
        return self.ask("GET", f"/changed{number}") == str(body).encode()

    def close(self):
        self.connection.close()


def sync_ms(folder):
    """What the disk takes to make 4 KiB durable: most of what a write costs, and nobody's doing here."""
    took = []
    with open(folder / "synced", "wb") as file:
        for _ in range(50):
            file.write(bytes(4096))
            file.flush()
            began = time.monotonic()
            os.fdatasync(file.fileno())
            took.append((time.monotonic() - began) * 1000)
    return statistics.median(took)


# Writes a second

def written(gateway, writers, seconds, first):
    """{"rate": a second, "cpu_us": of the gateway for each} of so many writers, each with a route of its own, one write after another."""
    counts, failures = [0] * writers, []
    until = time.monotonic() + seconds

    def write(number):
        client = Client(gateway.admin_port)
        try:
            while time.monotonic() < until:
                client.change(number, first + counts[number])
                counts[number] += 1
        except (LoadFailed, OSError, http.client.HTTPException) as error:
            failures.append(error)
        finally:
            client.close()
    spent, began = cpu_seconds(gateway.pid), time.monotonic()
    threads = [threading.Thread(target=write, args=(number,)) for number in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise LoadFailed(str(failures[0]))
    took, spent = time.monotonic() - began, cpu_seconds(gateway.pid) - spent
    return {"rate": sum(counts) / took, "cpu_us": spent * 1e6 / sum(counts)}


def writes(arguments):
    if not peers.sluice_is_built():
        return []
    rows = []
    for kind in (SQLITE, POSTGRES):
        found = {1: [], WRITERS: []}
        with ten_thousand_routes(kind) as gateway:
            for number in range(arguments.rounds):
                for writers, rounds in found.items():
                    rounds.append(written(gateway, writers, arguments.seconds, 1 + number * 1000000 + writers * 100000))
            disk_ms = sync_ms(pathlib.Path(gateway.directory))
        for writers, rounds in found.items():
            value, span = in_words([one["rate"] for one in rounds], 0)
            rows.append(Row(f"admin writes a second among {ROUTES:,} routes, {kind}, {'one writer' if writers == 1 else f'{writers} at once'}", "",
                            f"{value} /s", f"{span}; {statistics.median(one['cpu_us'] for one in rounds):.0f} µs of CPU each; "
                            f"the disk syncs 4 KiB in {disk_ms:.1f} ms", "-", rounds))
    return rows


# When it is in force

PAUSE_S = 0.005  # between two changes, so that one is over when the next comes


def judged(title, bar_ms, rounds, note):
    """P99 of each round in milliseconds, the median of them judged."""
    value, span = in_words([percentile(one, 0.99) * 1000 for one in rounds])
    every = [took for one in rounds for took in one]
    return Row(title, f"P99 ≤ {bar_ms} ms", f"{value} ms", f"{span}; median {statistics.median(every) * 1000:.2f} ms, {len(every):,} changes; {note}",
               "holds" if float(value) <= bar_ms else "MISSED", rounds)


def in_force_here(arguments):
    """An acknowledged write is in force on all workers. So the time that counts is the write's own, and every connection that asks after it
    has to see it at once."""
    rows = []
    for kind in (SQLITE, POSTGRES):
        sent, shown, late = [], [], 0
        with ten_thousand_routes(kind, workers=2) as gateway:
            admin, others = Client(gateway.admin_port), [Client(gateway.port) for _ in range(8)]
            number = 0
            for _ in range(arguments.rounds):
                sent.append([]), shown.append([])
                until = time.monotonic() + arguments.seconds
                while time.monotonic() < until:
                    number += 1
                    time.sleep(PAUSE_S)
                    began = time.monotonic()
                    admin.change(0, number)
                    acknowledged = time.monotonic()
                    late += not others[number % 8].shows(0, number)
                    shown[-1].append(time.monotonic() - acknowledged)
                    late += not all(other.shows(0, number) for other in others)
                    sent[-1].append(acknowledged - began)
            disk_ms = sync_ms(pathlib.Path(gateway.directory))
        seen = "the next request on each of 8 connections saw it" if not late else f"NOT YET SEEN {late} times"
        title = f"a change of one of {ROUTES:,} routes, {kind}"
        both = [judged(f"{title}: from sending it to its acknowledgement, in force on 2 workers", IN_FORCE_MS, sent,
                       f"the disk syncs 4 KiB in {disk_ms:.1f} ms"),
                judged(f"{title}: from its acknowledgement to an answer that shows it", IN_FORCE_MS, shown, seen)]
        rows += [row._replace(verdict="MISSED") for row in both] if late else both
    return rows


def in_force_elsewhere(arguments):
    took = []
    with ten_thousand_routes(POSTGRES, instances=2) as (one, other):
        admin, asker = Client(one.admin_port), Client(other.port)
        number = 0
        for _ in range(arguments.rounds):
            took.append([])
            until = time.monotonic() + arguments.seconds
            while time.monotonic() < until:
                number += 1
                time.sleep(PAUSE_S)
                admin.change(0, number)
                acknowledged = time.monotonic()
                while not asker.shows(0, number):
                    if time.monotonic() - acknowledged > 10:
                        raise LoadFailed(f"change {number} did not reach the other instance within 10 s")
                    time.sleep(0.0002)
                took[-1].append(time.monotonic() - acknowledged)
    return [judged(f"a change of one of {ROUTES:,} routes, {POSTGRES}: from its acknowledgement to its effect on another instance",
                   IN_FORCE_ELSEWHERE_MS, took, "asked every 0.2 ms")]


def in_force(arguments):
    return in_force_here(arguments) + in_force_elsewhere(arguments) if peers.sluice_is_built() else []


# What traffic feels

CHANGES_A_SECOND, MORE_MS = 50, 0.3
ROUNDS_A_ROUND = 3  # as for added latency: pauses of the host are all of a short round's P99


class Changing:
    """So many changes a second through the admin API, each writer's of a route of its own. Several writers, as one would wait for the disk."""

    def __init__(self, gateway):
        self.gateway, self.counts, self.failures = gateway, [0] * WRITERS, []
        self.ended = threading.Event()
        self.threads = [threading.Thread(target=self.run, args=(number,)) for number in range(WRITERS)]

    def run(self, number):
        client = Client(self.gateway.admin_port)
        try:
            while not self.ended.wait(max(0, self.began + (number + WRITERS * self.counts[number]) / CHANGES_A_SECOND - time.monotonic())):
                client.change(number, random.getrandbits(32))
                self.counts[number] += 1
        except (LoadFailed, OSError, http.client.HTTPException) as error:
            self.failures.append(error)
        finally:
            client.close()

    def __enter__(self):
        self.began = time.monotonic()
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        for thread in self.threads:
            thread.join()
        rate = sum(self.counts) / (time.monotonic() - self.began)
        if self.failures or rate < 0.9 * CHANGES_A_SECOND:
            raise LoadFailed(f"{rate:.0f} changes a second instead of {CHANGES_A_SECOND}: {(self.failures or ['they take too long'])[0]}")


def traffic_beside_changes(arguments):
    if not peers.sluice_is_built():
        return []
    without, beside, cpu_us = [], [], []
    with ten_thousand_routes(SQLITE) as gateway:
        seconds = min(arguments.seconds, 2)
        rate = int(wrk(gateway.port, path="/zzz/last", seconds=2)["rate"] / 2)

        def load():
            spent = cpu_seconds(gateway.pid)
            found = constant_rate(gateway.port, path="/zzz/last", rate=rate, seconds=seconds)
            return found["p99_us"] / 1000, cpu_seconds(gateway.pid) - spent

        def load_beside():
            with Changing(gateway):
                return load()
        for number in range(ROUNDS_A_ROUND * arguments.rounds):
            pair = [load(), load_beside()] if number % 2 == 0 else [load_beside(), load()][::-1]
            without.append(pair[0][0]), beside.append(pair[1][0])
            cpu_us.append((pair[1][1] - pair[0][1]) * 1e6 / (CHANGES_A_SECOND * seconds))
    more = [b - a for a, b in zip(without, beside)]
    value, span = in_words(more)
    _, low, high = interval(more)
    # Where others use the machine too, what a round finds is theirs.
    verdict = "void" if high - low > 10 * MORE_MS else "holds" if float(value) <= MORE_MS else "MISSED"
    return [Row(f"P99 of traffic at half load ({rate:,}/s) during {CHANGES_A_SECOND} changes a second on {ROUTES:,} routes", f"≤ +{MORE_MS} ms",
                f"{float(value):+.2f} ms", f"{span}; {statistics.median(without):.2f} ms without, {statistics.median(beside):.2f} ms beside them; "
                f"a change takes {statistics.median(cpu_us):.0f} µs of CPU", verdict,
                {"without": without, "beside": beside})]


# Starts

def start_out_of_a_store(arguments):
    if not peers.sluice_is_built():
        return []
    count, seconds, spent, resident, peak = 5000, [], [], [], []
    with scratch() as folder, standing(peers.start_backend) as (backend,), empty_store(SQLITE, folder) as store:
        fill(store, folder, [f"{{ name: s{i}, instances: [\"127.0.0.1:{backend.port}\"] }}" for i in range(count)],
             [f"{{ name: r{i}, path: \"/group{i % 71}/item{i}/*\", serviceId: s{i} }}" for i in range(count)])
        for _ in range(arguments.rounds):
            began = time.monotonic()
            with standing(lambda: start_over(store)) as (gateway,):
                seconds.append(time.monotonic() - began)
                spent.append(cpu_seconds(gateway.pid))
                wrk(gateway.port, path="/group1/item1/x", seconds=1)
                resident.append(resident_bytes(gateway.pid) / 1e6)
                peak.append(peak_bytes(gateway.pid) / 1e6)
    value, span = in_words(seconds)
    title = f"{count:,} routes × {count:,} services out of {SQLITE}"
    return [Row(f"{title}: start to the first answer", "≤ 1 s", f"{value} s", f"{span}; {statistics.median(spent):.2f} s of CPU", "holds" if float(value) <= 1 else "MISSED", seconds),
            Row(f"{title}: resident", "≤ 40 MB", f"{max(resident):.1f} MB", f"all processes; at most {max(peak):.1f} MB meanwhile",
                "holds" if max(resident) <= 40 else "MISSED", resident)]


KEYS = 1000000
KEY_COLUMNS = "key_id, key_hash, key_prefix, client_id, client_name, scopes, rate_limit_tier, created_at"


def key_row(number):
    """Ids as scattered as random ones, and the same in each run."""
    digest = hashlib.sha256(b"%d" % number).digest()
    return (str(uuid.UUID(bytes=digest[:16], version=4)), hashlib.sha256(digest).digest(), f"{number:08x}",
            str(uuid.UUID(bytes=digest[16:], version=4)), f"client {number}", ("read", "read write", "admin", "orders:read orders:write")[number % 4],
            ("free", "standard", "premium")[number % 3], number + 1)


def fill_with_keys(store):
    sluice_says("migrate", "--store", store)
    with contextlib.closing(sqlite3.connect(store.removeprefix("sqlite:"), isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA cache_size = -1000000")
        connection.execute("BEGIN")
        connection.executemany(f"INSERT INTO api_keys ({KEY_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", map(key_row, range(KEYS)))
        connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def keys_loaded(gateway):
    """How many seconds until the index holds them all."""
    client, began = Client(gateway.admin_port), time.monotonic()
    while time.monotonic() - began < 120:
        lines = client.ask("GET", "/admin/metrics").decode().splitlines()
        if f"sluice_api_keys {KEYS}" in lines and "sluice_api_keys_whole 1" in lines:
            client.close()
            return time.monotonic() - began
        time.sleep(0.02)
    raise LoadFailed(f"{KEYS:,} keys are not in the index after 120 s: {[line for line in lines if line.startswith('sluice_api_key')]}")


def start_with_keys(arguments):
    if not peers.sluice_is_built():
        return []
    seconds, spent, resident, peak = [], [], [], []
    with scratch() as folder, empty_store(SQLITE, folder) as store:
        fill_with_keys(store)
        for _ in range(arguments.rounds):
            began = time.monotonic()
            with standing(lambda: start_over(store)) as (gateway,):
                keys_loaded(gateway)
                seconds.append(time.monotonic() - began)
                spent.append(cpu_seconds(gateway.pid))
                resident.append(resident_bytes(gateway.pid) / 1e6)
                peak.append(peak_bytes(gateway.pid) / 1e6)
    value, span = in_words(seconds)
    title = f"{KEYS:,} API keys out of {SQLITE}"
    return [Row(f"{title}: start until all are loaded", "≤ 5 s", f"{value} s", f"{span}; {statistics.median(spent):.2f} s of CPU", "holds" if float(value) <= 5 else "MISSED", seconds),
            Row(f"{title}: resident", "≤ 120 MB", f"{max(resident):.1f} MB", f"all processes; at most {max(peak):.1f} MB meanwhile",
                "holds" if max(resident) <= 120 else "MISSED", resident)]


ALL = {
    "writes": ("admin writes a second, SQLite and PostgreSQL", writes),
    "inforce": ("when a change is in force, here and on another instance", in_force),
    "changes50": ("P99 of traffic during 50 changes a second on 10,000 routes", traffic_beside_changes),
    "startstore": ("5,000 routes x 5,000 services out of SQLite: start and memory", start_out_of_a_store),
    "startkeys": ("1,000,000 API keys out of SQLite: start and memory", start_with_keys),
}
