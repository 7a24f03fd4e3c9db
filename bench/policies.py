"""The policies' lines of the table: all of them together beside a bare nginx (promise 1), and what single ones cost end to end."""
import base64
import collections
import json
import subprocess
import time
import urllib.request

import peers
from measure import BUILT, constant_rate, wrk
from rows import Row, against_backend, in_words, nothing, ratio_row, rounds_of, sluice_starters, standing
from workloads import LATENCY_ROUNDS_A_ROUND, STAGE_BUDGET_MS, histogram_percentile, histograms

ISSUER, AUDIENCE = "https://issuer.example", "orders"


# A token, signed by a key of this machine

def signing_key():
    """Files of an RSA-2048 key and its public half."""
    private, public = BUILT / "signing.pem", BUILT / "signing.pub.pem"
    if not public.exists():
        subprocess.run(["openssl", "genrsa", "-out", str(private), "2048"], check=True, capture_output=True)
        subprocess.run(["openssl", "rsa", "-in", str(private), "-pubout", "-out", str(public)], check=True, capture_output=True)
    return private, public


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def token(subject="user-1"):
    private, _ = signing_key()
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": subject, "client_id": "bench", "exp": int(time.time()) + 86400, "scope": "orders:read orders:write",
              "tenant": "acme", "roles": ["clerk"], "email": "user-1@acme.example"}
    signed = ".".join(base64url(json.dumps(part).encode()) for part in ({"alg": "RS256", "typ": "JWT"}, claims))
    signature = subprocess.run(["openssl", "dgst", "-sha256", "-sign", str(private)], input=signed.encode(), check=True, capture_output=True).stdout
    return f"{signed}.{base64url(signature)}"


# All policies on

PLENTY = 1_000_000_000

ROLES = "roles:\n  - { name: clerk, permissions: [{ methods: [GET, POST], routes: [all] }] }\n"

LIMITS = "rateLimits:\n" + "".join(
    f"  - {{ name: {name}, key: {key}, limit: {PLENTY}, window: 1{more} }}\n"
    for name, key, more in (("everybody", "global", ""), ("this-api", "route", ", routeId: all"), ("each-client", "client_id", ""), ("each-address", "ip", "")))

RULES = [
    "{ name: no-legacy, effect: deny, when: \"auth.client_id in ['old-app', 'older-app']\" }",
    "{ name: no-strangers, effect: deny, when: \"!('orders:read' in auth.scopes)\" }",
    "{ name: no-debugging, effect: deny, when: \"'x-debug' in request.headers && request.headers['x-debug'] == 'all'\" }",
    "{ name: no-deletes, effect: deny, when: \"request.method == 'DELETE' && auth.claims.tenant != 'acme'\" }",
    "{ name: own-tenant, effect: allow, when: \"auth.claims.tenant == 'acme'\" }",
]


def identity_filter():
    _, public = signing_key()
    return (f"{{ type: jwt-auth, issuer: \"{ISSUER}\", audience: {AUDIENCE}, algorithm: RS256, secret: \"${{file:{public}}}\" }}")


def access_filter():
    return "{ type: access, permissions: true, rules: [" + ", ".join(RULES) + "] }"


def config_with_all(backend):
    """JWT, RBAC and five rules, four tiers of limits, six header edits, the JSON log; metrics, request id and trace context are built in."""
    filters = [identity_filter(), access_filter(), *peers.POLICIES]
    route = "{ name: all, path: \"/{rest}\", serviceId: backend, stripPrefix: false, filters: [" + ", ".join(filters) + "] }"
    return peers.sluice_config(backend, [route], log="access.log", extra=ROLES + LIMITS)


def promise1(arguments):
    title = "promise 1: JWT + RBAC and 5 rules + 4 limit tiers + 6 header filters + JSON log + metrics + request id + trace"
    with against_backend(peers.start_nginx, *sluice_starters(config_with_all)) as all_of:
        costs = rounds_of(all_of, arguments, connections=64, path="/item", headers=[f"Authorization: Bearer {token()}"])
    return [ratio_row(title, costs, "sluice", "nginx", 1.0)] if "sluice" in costs else [nothing(title, costs)]


# DESIGN 9: authentication 0.5 and rate limit 0.2 are a part of the request filters, as is the request's transform.
POLICY_STAGE_BUDGET_MS = {**STAGE_BUDGET_MS, "request filters": 0.9}


def policy_stages(arguments):
    """The stages of a request with all policies on, at half load."""
    if not peers.sluice_is_built():
        return []
    bearer = [f"Authorization: Bearer {token()}"]
    with against_backend(lambda backend: peers.Sluice(config_with_all(backend))) as (sluice,):
        rate = wrk(sluice.port, path="/item", seconds=2, headers=bearer)["rate"] / 2
        constant_rate(sluice.port, path="/item", rate=int(rate), seconds=max(4, arguments.rounds * arguments.seconds), headers=bearer)
        found = histograms(sluice, "sluice_stage_duration_seconds")
    rows = []
    for labels, buckets in found.items():
        stage = labels.split('stage="')[1].split('"')[0]
        p99_ms, budget = histogram_percentile(buckets, 0.99) * 1000, POLICY_STAGE_BUDGET_MS.get(stage)
        rows.append(Row(f"stage {stage} with all policies: P99 at half load", f"{budget} ms" if budget else "", f"{p99_ms:.3f} ms",
                        f"{buckets[-1][1]:,.0f} samples", "-" if budget is None else "holds" if p99_ms <= budget else "MISSED"))
    return rows or [Row("stages with all policies", "", "no samples", "", "MISSED")]


# ext-auth: a decision service on the load's core

def ext_auth_config(service, cached):
    def make(backend):
        cache = ", cache: { ttl: 60, key: ['${request.headers.authorization}'] }" if cached else ""
        check = f"{{ type: ext-auth, service: decisions, path: /check{cache} }}"
        route = f"{{ name: all, path: \"/*\", serviceId: backend, stripPrefix: false, filters: [{check}] }}"
        services = [f"{{ name: {name}, instances: [\"127.0.0.1:{port}\"] }}" for name, port in (("backend", backend.port), ("decisions", service.port))]
        return peers.sluice_config(backend, [route], services=services)
    return make


def ext_auth(arguments):
    """The bare request beside one whose decision is kept and one that asks each time."""
    if not peers.sluice_is_built():
        return []
    with standing(peers.start_backend, peers.start_backend) as (backend, decisions):
        starters = [lambda: peers.Sluice(peers.sluice_config(backend), name="bare"),
                    lambda: peers.Sluice(ext_auth_config(decisions, True)(backend), name="kept"),
                    lambda: peers.Sluice(ext_auth_config(decisions, False)(backend), name="asked")]
        with standing(*starters) as all_of:
            costs = rounds_of(all_of, arguments, connections=64, headers=["Authorization: Bearer abc"])
    more = [kept - bare for kept, bare in zip(costs["kept"], costs["bare"])]
    value, span = in_words(more)
    return [Row("ext-auth, the decision kept: more than the bare request", "≤ 0.5 µs", f"{value} µs", span, "holds" if float(value) <= 0.5 else "MISSED", costs),
            ratio_row("ext-auth, asked for each request", costs, "asked", "bare", 1.9)]


# compression: the same library at the same level; what comes out is compared, too

def gzip_config(backend):
    compression = f"{{ type: compression, codings: [gzip], levels: {{ gzip: {peers.GZIP_LEVEL} }} }}"
    return peers.sluice_config(backend, [f"{{ name: all, path: \"/*\", serviceId: backend, stripPrefix: false, filters: [{compression}] }}"])


def packed_bytes(target):
    request = urllib.request.Request(f"http://127.0.0.1:{target.port}/json", headers={"Accept-Encoding": "gzip"})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=5) as answer:
        assert answer.headers["Content-Encoding"] == "gzip", f"{target.name} does not compress"
        return len(answer.read())


def gzip_json(arguments):
    title = f"gzip of 10 KiB JSON, level {peers.GZIP_LEVEL}"
    with against_backend(lambda backend: peers.start_nginx(backend, kind="gzip"), *sluice_starters(gzip_config)) as all_of:
        sizes = {one.name: packed_bytes(one) for one in all_of}
        costs = rounds_of(all_of, arguments, connections=64, path="/json", headers=["Accept-Encoding: gzip"])
    if "sluice" not in costs:
        return [nothing(title, costs)]
    more = sizes["sluice"] / sizes["nginx"]
    return [ratio_row(title, costs, "sluice", "nginx", 1.05),
            Row(f"{title}: bytes that go out beside nginx's", "≤ 1.05 ×", f"{more:.2f} ×", f"{sizes['sluice']} and {sizes['nginx']} bytes",
                "holds" if more <= 1.05 else "MISSED")]


# mirror: every request is sent to a second service, too

def mirror_config(shadow):
    def make(backend):
        route = "{ name: all, path: \"/*\", serviceId: backend, stripPrefix: false, filters: [{ type: mirror, service: shadow, maxConcurrent: 1000 }] }"
        services = [f"{{ name: {name}, instances: [\"127.0.0.1:{port}\"] }}" for name, port in (("backend", backend.port), ("shadow", shadow.port))]
        return peers.sluice_config(backend, [route], services=services)
    return make


def mirror(arguments):
    """The primary's P99 with all of its requests mirrored and with none, at a rate that leaves room for twice the requests."""
    if not peers.sluice_is_built():
        return []
    found = collections.defaultdict(list)
    with standing(peers.start_backend, peers.start_backend) as (backend, shadow):
        starters = [lambda: peers.Sluice(peers.sluice_config(backend), name="bare"), lambda: peers.Sluice(mirror_config(shadow)(backend), name="mirrored")]
        with standing(*starters) as all_of:
            rate = wrk(all_of[1].port, seconds=2)["rate"] / 4
            for _ in range(LATENCY_ROUNDS_A_ROUND * arguments.rounds):
                for one in all_of:
                    found[one.name].append(constant_rate(one.port, rate=int(rate), seconds=min(arguments.seconds, 2)))
    added = [(mirrored["p99_us"] - bare["p99_us"]) / 1000 for mirrored, bare in zip(found["mirrored"], found["bare"])]
    value, span = in_words(added)
    return [Row(f"mirror of 100 %: added to the primary's P99 ({rate:,.0f}/s, open loop)", "≤ 0.3 ms", f"{value} ms", span,
                "holds" if float(value) <= 0.3 else "MISSED", dict(found))]


ALL = {
    "gzip": ("10 KiB of JSON in gzip, beside nginx", gzip_json),
    "mirror": ("the primary's latency with a mirror of all requests", mirror),
    "promise1": ("all policies on, beside a bare nginx", promise1),
    "policystages": ("each stage of a request with all policies on, sampled", policy_stages),
    "extauth": ("ext-auth, kept and asked", ext_auth),
}
