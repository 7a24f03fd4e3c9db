"""The lines of the table for TLS, HTTP/2, gRPC, WebSocket and streams, one function each; rows.py judges them as the others."""
import collections
import statistics
import subprocess
import time

import peers
from measure import (BUILT, LoadFailed, Standing, connections_to, constant_rate, cost_us, cpu_seconds, h2load, handshakes,
                     resident_bytes, wrk)
from rows import (Row, against_backend, against_better, better_of, in_words, nothing, ratio_row, ratios, rounds_of, sluice_starters,
                  standing)

MANY_STREAMS = {"generator": h2load, "connections": 16, "streams": 32}


def fronted(front, make=peers.sluice_config):
    """Everybody with the same kind of listener before an HTTP/1.1 backend."""
    return [lambda backend: peers.start_nginx(backend, front=front), lambda backend: peers.start_haproxy(backend, front=front),
            *sluice_starters(make, tls=front == peers.TLS)]


# TLS

def tls13(arguments):
    return against_better("TLS 1.3 keep-alive, P-256, 64 connections, 128-byte answers", 0.9, arguments, fronted(peers.TLS),
                          connections=64, scheme="https")


def tls_handshake(arguments):
    return against_better("new TLS connection each request, full handshake, P-256", 1.0, arguments, fronted(peers.TLS),
                          generator=handshakes)


# HTTP/2

def h2_tls(arguments):
    return against_better("h2 over TLS, 16 connections × 32 streams", 0.95, arguments, fronted(peers.TLS), others=["haproxy"],
                          scheme="https", **MANY_STREAMS)


def h2c(arguments):
    return against_better("h2 cleartext, 16 connections × 32 streams", 0.95, arguments, fronted(peers.H2C), others=["haproxy"],
                          **MANY_STREAMS)


def sluice_to_h2(backend):
    service = f"{{ name: backend, protocol: http, httpVersion: 2, instances: [\"127.0.0.1:{backend.port}\"] }}"
    return peers.sluice_config(backend, services=[service])


def h2_upstream(arguments):
    """nginx 1.22 speaks no HTTP/2 to a backend. Clients that speak it too meet both sides' cost, those of HTTP/1.1 show the
    upstream side beside the known row."""
    rows = []
    for clients, front, load in (("16 × 32 h2 streams", peers.H2C, MANY_STREAMS), ("64 h1 connections", peers.CLEAR, {"connections": 64})):
        with standing(peers.start_h2_backend) as (backend,), \
                standing(lambda: peers.start_haproxy(backend, front=front, upstream_h2=True),
                         *[lambda s=start: s(backend) for start in sluice_starters(sluice_to_h2)]) as all_of:
            costs = rounds_of(all_of, arguments, **load)
            upstream = ", ".join(f"{one.name} {connections_to(backend.port, one.pid)}" for one in all_of)
        title = f"h2 upstream, calls of {clients}"
        row = ratio_row(title, costs, "sluice", "haproxy", None) if "sluice" in costs else nothing(title, costs)
        rows.append(row._replace(note=f"{row.note}; upstream connections: {upstream}"))
    return rows


# gRPC

GRPC_PATH = "/bench.Echo/Unary"
GRPC_FIELDS = ["content-type: application/grpc", "te: trailers"]


def grpc_message():
    """A file with a message of 27 bytes behind gRPC's prefix: not compressed, its length."""
    file = BUILT / "grpc-message"
    file.write_bytes(b"\0" + (27).to_bytes(4, "big") + b"x" * 27)
    return file


def grpc_cost(one, seconds):
    """CPU a call. The load generator looks at the status alone, so one call more shows that trailers come through."""
    message = grpc_message()
    cost = cost_us(one, h2load, path=GRPC_PATH, connections=1, streams=64, headers=GRPC_FIELDS, body=message, seconds=seconds)
    fields = [part for field in GRPC_FIELDS for part in ("-H", field)]
    text = subprocess.run(["nghttp", "-nv", "-d", str(message), *fields, f"http://127.0.0.1:{one.port}{GRPC_PATH}"],
                          check=True, capture_output=True, text=True).stdout
    if "grpc-status: 0" not in text:
        raise LoadFailed(f"{one.name}: a call came back without grpc-status 0")
    return cost


def sluice_to_grpc(backend):
    return peers.sluice_config(backend, services=[f"{{ name: backend, protocol: grpc, instances: [\"127.0.0.1:{backend.port}\"] }}"])


def grpc(arguments):
    starters = [lambda backend: peers.start_nginx(backend, front=peers.H2C, kind="grpc"),
                lambda backend: peers.start_haproxy(backend, front=peers.H2C, upstream_h2=True), *sluice_starters(sluice_to_grpc)]
    return against_better("gRPC unary, 64 streams on a connection", 0.9, arguments, starters,
                          start_backend=lambda: peers.start_h2_backend(grpc=True), cost=grpc_cost)


# WebSocket

SOCKETS = 1000
ECHO_BAR = 1.1


def echo_cost(one, seconds):
    """CPU a message there and back; the sockets are open before and stay open after."""
    with Standing("streams", "echo", one.port, SOCKETS, seconds) as load:
        before = cpu_seconds(one.pid)
        found = load.result()
        spent = cpu_seconds(one.pid) - before
    if found["failed"] or not found["messages"]:
        raise LoadFailed(f"{one.name}: {found}")
    return {"us": spent * 1e6 / found["messages"]}


def websocket(arguments):
    title = f"WebSocket echo, {SOCKETS:,} sockets, messages per CPU-second"
    with against_backend(lambda backend: peers.start_nginx(backend, kind="websocket"), peers.start_haproxy,
                         *sluice_starters(peers.sluice_config), start_backend=peers.start_streams_backend) as all_of:
        costs = rounds_of(all_of, arguments, cost=echo_cost)
    each = "; ".join(f"{name} {1e6 / statistics.median(values):,.0f} a CPU-second" for name, values in costs.items())
    if "sluice" not in costs:
        return [nothing(title, costs)._replace(note=each)]
    other = better_of(costs, ["nginx", "haproxy"])
    value, span = in_words(ratios(costs, other, "sluice"))
    return [Row(title, f"≥ {ECHO_BAR} × {other}", f"{value} × {other}", f"{span}; {each}", "holds" if float(value) >= ECHO_BAR else "MISSED", costs)]


# Idle connections

IDLE = 10000
IDLE_LIMITS = "limits: { connectionsPerWorker: 11000, idleTimeoutMs: 300000 }\n"


def idle_rows(title, protocol, bar_mb):
    """Who has a TLS connection each, asked once, keeps it. Everybody may keep more than there are."""
    rows = []
    for start in [*sluice_starters(lambda backend: peers.sluice_config(backend, extra=IDLE_LIMITS), tls=True),
                  lambda backend: peers.start_nginx(backend, front=peers.TLS),
                  lambda backend: peers.start_haproxy(backend, front=peers.TLS, connections=IDLE + 1000)]:
        with against_backend(start) as (one,):
            empty = resident_bytes(one.pid) / 1e6
            with Standing("tls_idle", one.port, IDLE, protocol) as idle:
                time.sleep(2)
                value = resident_bytes(one.pid) / 1e6
                ended = idle.result()["ended"]
        if ended:
            raise LoadFailed(f"{one.name}: {ended} of {IDLE} connections were ended")
        ours = one.name == "sluice"
        rows.append(Row(f"{IDLE:,} {title}, {one.name}", f"≤ {bar_mb} MB" if ours else "", f"{value:.0f} MB",
                        f"resident, all processes; {empty:.0f} MB before them", ("holds" if value <= bar_mb else "MISSED") if ours else "-"))
    return rows


def idle_tls(arguments):
    return idle_rows("idle TLS connections", "h1", 170)


def idle_h2(arguments):
    return idle_rows("idle h2 connections over TLS", "h2", 210)


# Latency

STREAMS = 100  # of 20 events a second each
ROUNDS_A_ROUND = 3  # a pause of a virtual machine is all of a short round's P99: so many rounds
EVENT_BAR_MS = 1
STAGE_TLS_BUDGET_MS = 0.5


def events_p99_us(one, seconds):
    with Standing("streams", "events", one.port, STREAMS, seconds) as load:
        found = load.result()
    if found["failed"] or not found["messages"]:
        raise LoadFailed(f"{one.name}: {found}")
    return found["p99_us"]


def pieces(arguments):
    """How much later a server-sent event arrives than from the backend directly, each with nginx's and HAProxy's own advice for them."""
    with standing(peers.start_streams_backend) as (backend,), \
            standing(*[lambda s=start: s(backend) for start in (
                *sluice_starters(peers.sluice_config), lambda backend: peers.start_nginx(backend, kind="events"),
                lambda backend: peers.start_haproxy(backend, no_delay=True))]) as all_of:
        found = p99_rounds([backend, *all_of], arguments, events_p99_us)
    return [added_row(f"added delay of a piece, {STREAMS} event streams, {one.name}", found[one.name], found["backend"],
                      EVENT_BAR_MS if one.name == "sluice" else None, "<", "direct") for one in all_of]


def p99_rounds(candidates, arguments, p99_us):
    found = collections.defaultdict(list)
    for _ in range(ROUNDS_A_ROUND * arguments.rounds):
        for one in candidates:
            found[one.name].append(p99_us(one, min(arguments.seconds, 2)))
    return found


def added_row(title, found, base, bar_ms, sign, base_name):
    """The median of the rounds' differences between two P99."""
    value, span = in_words([(a - b) / 1000 for a, b in zip(found, base)])
    holds = bar_ms is None or (float(value) < bar_ms if sign == "<" else float(value) <= bar_ms)
    note = f"{span}; P99 {statistics.median(found) / 1000:.2f} ms, {base_name} {statistics.median(base) / 1000:.2f} ms"
    return Row(title, "" if bar_ms is None else f"P99 {sign} {bar_ms} ms", f"{value} ms", note,
               "-" if bar_ms is None else "holds" if holds else "MISSED", {"found": found, "base": base})


def stage_tls(arguments):
    """What TLS adds to an answer's P99: the same program with and without it, at half of what the slowest of them saturates at."""
    def starters(front):
        return [lambda backend: peers.start_nginx(backend, front=front, name=f"nginx {front}"),
                *sluice_starters(peers.sluice_config, name=f"sluice {front}", tls=front == peers.TLS)]

    with against_backend(*starters(peers.CLEAR), *starters(peers.TLS)) as all_of:
        scheme = {one.name: "https" if one.name.endswith(peers.TLS) else "http" for one in all_of}
        rate = int(min(wrk(one.port, seconds=2, scheme=scheme[one.name])["rate"] for one in all_of) / 2)
        found = p99_rounds(all_of, arguments, lambda one, seconds: constant_rate(one.port, rate=rate, seconds=seconds,
                                                                                 scheme=scheme[one.name])["p99_us"])
    return [added_row(f"stage TLS: added at half load ({rate:,}/s, open loop), {name}", found[f"{name} {peers.TLS}"], found[f"{name} {peers.CLEAR}"],
                      STAGE_TLS_BUDGET_MS if name == "sluice" else None, "≤", "in clear")
            for name in ("sluice", "nginx") if f"{name} {peers.TLS}" in found]


ALL = {
    "tls13": ("TLS 1.3 keep-alive, P-256", tls13),
    "h2_tls": ("h2 over TLS, 16 connections × 32 streams", h2_tls),
    "h2c": ("h2 cleartext, 16 connections × 32 streams", h2c),
    "h2_upstream": ("h2 to the backend, many calls over few connections", h2_upstream),
    "tls_handshake": ("new TLS connection each request, full handshake", tls_handshake),
    "grpc": ("gRPC unary, 64 streams", grpc),
    "websocket": ("WebSocket echo, 1,000 sockets", websocket),
    "idle_tls": ("10,000 idle TLS connections", idle_tls),
    "idle_h2": ("10,000 idle h2 connections over TLS", idle_h2),
    "pieces": ("added delay of a streamed piece", pieces),
    "stage_tls": ("what TLS adds to latency at half load", stage_tls),
}
