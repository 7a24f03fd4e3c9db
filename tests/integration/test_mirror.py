"""mirror: copies reach the second service whole and clean, differences are told, and nothing of it reaches the client."""
import contextlib
import glob
import gzip
import json
import os
import pathlib
import re
import statistics
import threading
import time

import jwt
import pytest

from backend import answer, before_body, echo, hang, reset, send, wait, wait_for
from gateway import proxy, service
from h2_client import H2Client
from live import start_live, wait_until
from plain_http import PLAIN_HTTP
from wire import chunked, request_bytes, response_bytes

KIB, MIB = 1 << 10, 1 << 20
JSON = {"Content-Type": "application/json"}


def mirroring(primary, shadow, *, route=None, more_filters=(), **fields):
    config = proxy(primary, route={"filters": [*more_filters, {"type": "mirror", "service": "shadow", **fields}], "retryCount": 0, **(route or {})})
    config["services"].append(service(shadow, name="shadow"))
    return config


@pytest.fixture
def shadow(new_backend):
    return new_backend("shadow")


class Told:
    """GET /admin/routes/all/mirror."""

    def __init__(self, running):
        self.running = running

    def now(self):
        import httpx
        told = httpx.get(f"http://127.0.0.1:{self.running.admin_port}/admin/routes/all/mirror", **PLAIN_HTTP)
        assert told.status_code == 200, told.text
        return told.json()

    def wait(self, holds, timeout=10):
        end = time.monotonic() + timeout
        while True:
            told = self.now()
            if holds(told):
                return told
            assert time.monotonic() < end, told
            time.sleep(0.01)

    def wait_for_requests(self, **counts):
        return self.wait(lambda told: all(told["requests"][name] == count for name, count in counts.items()))

    def wait_for_comparisons(self, **counts):
        return self.wait(lambda told: all(told["comparisons"][name] == count for name, count in counts.items()))


# What the mirror gets

def test_the_mirror_gets_what_the_service_gets(gateway, backend, shadow):
    running = gateway(mirroring(backend, shadow, more_filters=[{"type": "set-header", "name": "X-Set", "value": "1"}, {"type": "rewrite-path", "path": "/new"}]))
    response = running.request("PUT", "/old?a=b", [("X-Twice", "1"), ("X-Twice", "2"), ("Accept", "*/*")], b"the body")
    assert response.status == 200 and response.body == b"one"
    shadow.wait_for_requests(1)
    first, copy = backend.requests[0], shadow.requests[0]
    assert (copy.method, copy.target, copy.body) == (first.method, first.target, first.body) == ("PUT", "/new?a=b", b"the body")
    assert copy.headers["Content-Length"] == "8" and copy.headers.all("X-Twice") == ["1", "2"] and copy.headers["X-Set"] == "1"
    for name in ("X-Request-ID", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "Via", "Accept"):
        assert copy.headers[name] == first.headers[name]
    assert copy.headers["X-Mirrored"] == "1" and "X-Mirrored" not in first.headers
    assert copy.headers["Host"] == first.headers["Host"] == "gateway.test"
    Told(running).wait_for_requests(answered=1)
    own_name = gateway(mirroring(backend, shadow, route={"preserveHost": False}))
    own_name.get("/")
    shadow.wait_for_requests(2)
    assert shadow.requests[1].headers["Host"] == shadow.address
    running.gauges_at_zero()


def test_credentials_stay_where_they_were_meant_for(gateway, backend, shadow):
    secrets = {"Authorization": "Bearer secret", "Cookie": "session=secret", "X-API-Key": "secret"}
    running = gateway(mirroring(backend, shadow))
    running.get("/", secrets)
    shadow.wait_for_requests(1)
    assert not any("secret" in value for _, value in shadow.requests[0].headers) and backend.requests[0].headers["Cookie"] == "session=secret"
    trusting = gateway(mirroring(backend, shadow, forwardCredentials=True))
    trusting.get("/", secrets)
    shadow.wait_for_requests(2)
    assert all(shadow.requests[1].headers[name] == value for name, value in secrets.items())


def test_tokens_that_the_service_gets_are_not_the_mirrors(gateway, backend, shadow):
    """Wherever an identity policy has found them and lets them go on: in headers and query parameters of any name."""
    secret = "an-example-secret-of-sixty-four-bytes-for-hs512-and-all-smaller!"
    token = jwt.encode({"sub": "alice", "exp": int(time.time()) + 600}, secret, "HS256")
    identity = {"type": "jwt-auth", "secret": secret, "algorithm": "HS256", "sources": ["header:X-Token", "query:tok", "cookie:session"], "forwardCredentials": True}
    ways = [("/a?b=1&tok=" + token + "&c=%20", {}, "/a?b=1&c=%20"), ("/a?tok=" + token, {}, "/a"), ("/a?b=1", {"X-Token": token}, "/a?b=1"),
            ("/a", {"Cookie": f"session={token}; a=b"}, "/a")]
    running = gateway(mirroring(backend, shadow, more_filters=[identity]))
    for number, (target, headers, mirrored) in enumerate(ways, 1):
        assert running.get(target, headers).status == 200
        shadow.wait_for_requests(number)
        assert token in str((backend.requests[-1].target, backend.requests[-1].headers))
        assert shadow.requests[-1].target == mirrored and token not in str(shadow.requests[-1].headers)
    running.reload(mirroring(backend, shadow, more_filters=[identity], forwardCredentials=True))
    assert running.get(ways[0][0]).status == 200
    shadow.wait_for_requests(len(ways) + 1)
    assert shadow.requests[-1].target == ways[0][0]


def test_a_copy_is_never_copied_again(gateway, backend):
    running = gateway(mirroring(backend, backend))
    running.config["services"][1]["instances"] = [f"127.0.0.1:{running.port}"]
    running.reload({key: running.config[key] for key in ("services", "routes")})
    assert running.get("/").status == 200
    backend.wait_for_requests(2)
    Told(running).wait_for_requests(answered=1)
    assert sorted("X-Mirrored" in request.headers for request in backend.requests) == [False, True]


@pytest.mark.parametrize("size", [1, 1000, 100 * KIB, 900 * KIB])
@pytest.mark.parametrize("way", ["length", "chunked", "h2"])
def test_bodies_come_whole(gateway, backend, shadow, size, way):
    running = gateway(mirroring(backend, shadow, bufferBytes="4MiB", maxBodyBytes="4MiB"))
    body = os.urandom(size)
    if way == "h2":
        with H2Client(running.address) as client:
            assert client.request("POST", "/", body=body).status == 200
    elif way == "chunked":
        pieces = [body[at:at + 50000] for at in range(0, size, 50000)]
        with running.send(request_bytes("POST", "/", {"Transfer-Encoding": "chunked"}) + chunked(*pieces, trailers=[("X-Sum", "1")])) as wire:
            assert wire.read_response().status == 200
    else:
        assert running.request("POST", "/", {}, body).status == 200
    shadow.wait_for_requests(1)
    assert shadow.requests[0].body == backend.requests[0].body == body
    running.gauges_at_zero()


def test_a_body_is_mirrored_as_the_service_gets_it(gateway, backend, shadow):
    running = gateway(mirroring(backend, shadow, more_filters=[{"type": "decompression"}]))
    running.request("POST", "/", {"Content-Encoding": "gzip"}, gzip.compress(b"plain" * 1000))
    shadow.wait_for_requests(1)
    assert shadow.requests[0].body == b"plain" * 1000 and "Content-Encoding" not in shadow.requests[0].headers


def test_a_share_is_mirrored(gateway, backend, shadow):
    running = gateway(mirroring(backend, shadow, percentage=25))
    with running.connect() as wire:
        for _ in range(400):
            wire.send(request_bytes())
            assert wire.read_response().status == 200
    told = Told(running).wait(lambda told: told["inFlight"] == 0)
    assert 60 < told["requests"]["answered"] < 140 and len(shadow.requests) == told["requests"]["answered"]


def test_the_same_path_falls_on_the_same_side_and_stays_there(gateway, backend, shadow):
    def mirrored(share):
        running = gateway(mirroring(backend, shadow, percentage=share, by="path", maxConcurrent=1000))
        shadow.forget()
        with running.connect() as wire:
            for number in range(100):
                wire.send(request_bytes(target=f"/{number}"))
                wire.read_response()
        Told(running).wait(lambda told: told["inFlight"] == 0)
        return {request.target for request in shadow.requests}
    some, again, more = mirrored(30), mirrored(30), mirrored(60.5)
    assert some == again and some < more and 15 < len(some) < 45 < len(more) < 76


# The client notices nothing

@pytest.mark.parametrize("script", [
    [hang()], [reset()], [send(b"no HTTP at all\r\n\r\n"), reset()], [answer(500)], [wait(0.5), answer()],
    [send(response_bytes(headers={"Transfer-Encoding": "chunked"}, length=False) + b"5\r\nab"), reset()],
    [before_body, answer(413, {"Connection": "close"})], [answer(200, {}, b"x" * 3 * MIB)],
], ids=["silent", "resets", "garbage", "fails", "slow", "cut", "early", "long"])
def test_whatever_the_mirror_does_the_client_gets_its_answer(gateway, backend, shadow, script):
    shadow.by_default(*script)
    backend.by_default(echo())
    running = gateway(mirroring(backend, shadow, timeoutMs=1000, compare={"body": "json"}))
    body = os.urandom(300 * KIB)
    for _ in range(3):
        began = time.monotonic()
        response = running.request("POST", "/", {}, body)
        assert response.status == 200 and response.body == body and time.monotonic() - began < 0.45
    told = Told(running).wait(lambda told: told["inFlight"] == 0)
    assert sum(told["requests"].values()) == 3
    running.gauges_at_zero()


def test_a_mirror_that_is_down_is_counted(gateway, backend, shadow):
    running = gateway(mirroring(backend, shadow))
    shadow.stop_listening()
    assert running.get("/").status == 200
    Told(running).wait_for_requests(failed=1)
    assert running.metric("sluice_mirror_requests_total", route="all", outcome="failed") == 1
    assert running.metric("sluice_requests_total", route="all") == 1  # copies are nobody's requests


def test_it_outlives_the_client(gateway, backend, shadow):
    go = threading.Event()
    shadow.by_default(wait_for(go), answer(200, JSON, b'{"a":1}'))
    backend.by_default(answer(200, JSON, b'{"a":1}'))
    running = gateway(mirroring(backend, shadow, compare={"body": "json"}))
    assert running.get("/").status == 200
    shadow.wait_for_requests(1)
    time.sleep(1.5)  # beyond what an exchange keeps its snapshot
    assert Told(running).now()["inFlight"] == 1
    running.reload()
    go.set()
    assert Told(running).wait_for_comparisons(alike=1)["requests"]["answered"] == 1
    running.gauges_at_zero()


def test_a_client_that_leaves_takes_the_copy_of_its_half_body_along_and_no_more(gateway, backend, shadow):
    for one in (backend, shadow):
        one.by_default(before_body, hang())
    running = gateway(mirroring(backend, shadow))
    for _ in range(5):
        wire = running.send(request_bytes("POST", "/", {"Content-Length": "100000"}) + b"x" * 50000)
        time.sleep(0.05)
        wire.reset()
    Told(running).wait_for_requests(cut=5)
    running.gauges_at_zero()


def test_a_mirror_that_lags_behind_loses_its_copy_and_holds_nobody_up(gateway, backend, shadow):
    shadow.by_default(before_body, hang())
    running = gateway(mirroring(backend, shadow, bufferBytes="64KiB", maxBodyBytes="100MiB"))
    body = os.urandom(20 * MIB)
    began = time.monotonic()
    assert running.request("POST", "/", {}, body).status == 200
    assert time.monotonic() - began < 8 and backend.requests[0].body == body  # the mirror takes nothing for 10 s
    Told(running).wait_for_requests(cut=1)
    running.gauges_at_zero()


def test_as_many_as_configured_are_under_way(gateway, backend, shadow):
    go = threading.Event()
    shadow.by_default(wait_for(go), answer())
    running = gateway(mirroring(backend, shadow, maxConcurrent=3))
    for _ in range(10):
        assert running.get("/").status == 200
    told = Told(running).wait_for_requests(busy=7)
    assert told["inFlight"] == 3
    go.set()
    Told(running).wait_for_requests(answered=3)
    assert running.get("/").status == 200
    Told(running).wait_for_requests(answered=4)


def test_longer_bodies_than_configured_are_not_mirrored(gateway, backend, shadow):
    running = gateway(mirroring(backend, shadow, maxBodyBytes=1000))
    assert running.request("POST", "/", {}, b"x" * 1001).status == 200 and running.request("POST", "/", {}, b"x" * 1000).status == 200
    told = Told(running).wait_for_requests(answered=1)
    assert told["requests"]["tooLarge"] == 1 and len(shadow.requests) == 1


def test_a_stop_waits_for_no_mirror(gateway, backend, shadow):
    shadow.by_default(hang())
    running = gateway(mirroring(backend, shadow, compare={"body": "bytes"}))
    for _ in range(5):
        assert running.get("/").status == 200
    shadow.wait_for_requests(5)
    began = time.monotonic()
    running.stop()
    assert time.monotonic() - began < 5


def test_connections_to_the_mirror_are_kept(gateway, backend, shadow):
    shadow.by_default(answer(200, {}, b"x" * 30000))
    running = gateway(mirroring(backend, shadow))
    for number in range(10):
        running.get("/")
        Told(running).wait_for_requests(answered=number + 1)
    assert shadow.connections <= 2


# Comparing

@pytest.mark.parametrize("primary, copy, differs", [
    ((200, JSON, b'{"a":1,"b":[1,2]}'), (200, JSON, b' { "b" : [1, 2.0], "a":1}'), None),
    ((200, JSON, b"{}"), (500, JSON, b"{}"), ("status", "200", "500")),
    ((200, {**JSON, "X-Total": "3"}, b"{}"), (200, JSON, b"{}"), ("header X-Total", "present", "absent")),
    ((200, {**JSON, "X-Other": "3"}, b"{}"), (200, JSON, b"{}"), None),
    ((200, JSON, b'{"items":[{"price":1},{"price":2}]}'), (200, JSON, b'{"items":[{"price":1},{"price":"2"}]}'), ("/items/1/price", "number", "string")),
    ((200, JSON, b'{"items":[1]}'), (200, JSON, b'{"items":[1,2]}'), ("/items/1", "absent", "number")),
    ((200, JSON, b'{"a/b":{"~":1}}'), (200, JSON, b'{"a/b":{}}'), ("/a~1b/~0", "number", "absent")),
    ((200, JSON, b'{"meta":{"at":1},"items":[{"at":1}]}'), (200, JSON, b'{"meta":2,"items":[{"at":9}]}'), None),
    ((200, JSON, b"{}"), (200, JSON, b"<html>"), ("body", "JSON", "not JSON")),
    ((200, JSON, b"text"), (200, JSON, b"texts"), ("body", "4 bytes", "5 bytes")),
    ((200, {**JSON, "Content-Encoding": "gzip"}, gzip.compress(b'{"a":1}')), (200, JSON, b'{"a": 1}'), None),
    ((200, {**JSON, "Content-Encoding": "gzip"}, gzip.compress(b'{"a":1}')), (200, JSON, b'{"a": 2}'), ("/a", "number", "number")),
    ((204, {}, b""), (204, {}, b""), None),
    # All lines of a field count, in their order, as the one line that they stand for.
    ((200, [*JSON.items(), ("X-Total", "1"), ("X-Total", "2")], b"{}"), (200, {**JSON, "X-Total": "1, 2"}, b"{}"), None),
    ((200, [*JSON.items(), ("X-Total", "1"), ("X-Total", "2")], b"{}"), (200, {**JSON, "X-Total": "1"}, b"{}"), ("header X-Total", "present", "present, with another value")),
    ((200, [*JSON.items(), ("X-Total", "1"), ("x-total", "2")], b"{}"), (200, [*JSON.items(), ("X-Total", "2"), ("X-Total", "1")], b"{}"), ("header X-Total", "present", "present, with another value")),
    # Those of Set-Cookie don't stand for one.
    ((200, [*JSON.items(), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")], b"{}"), (200, [*JSON.items(), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")], b"{}"), None),
    ((200, [*JSON.items(), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")], b"{}"), (200, [*JSON.items(), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=3")], b"{}"), ("header Set-Cookie", "present", "present, with another value")),
    ((200, [*JSON.items(), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")], b"{}"), (200, {**JSON, "Set-Cookie": "a=1, b=2"}, b"{}"), ("header Set-Cookie", "present", "present, with another value")),
    # Numbers are compared with all their digits.
    ((200, JSON, b'{"id":12345678901234567890123,"n":1e400}'), (200, JSON, b'{"n":10e399,"id":12345678901234567890123.0}'), None),
    ((200, JSON, b'{"id":9007199254740993.0}'), (200, JSON, b'{"id":9007199254740992}'), ("/id", "number", "number")),
    ((200, JSON, b'{"n":1e400}'), (200, JSON, b'{"n":1e401}'), ("/n", "number", "number")),
])
def test_answers_are_compared(gateway, backend, shadow, primary, copy, differs):
    backend.by_default(answer(*primary, length=primary[0] != 204))
    shadow.by_default(answer(*copy, length=copy[0] != 204))
    running = gateway(mirroring(backend, shadow, compare={"headers": ["X-Total", "Set-Cookie"], "body": "json", "ignore": ["/meta", "/items/*/at"]}))
    response = running.get("/path?token=secret")
    told = Told(running).wait_for_comparisons(**{"different" if differs else "alike": 1})
    if differs:
        [difference] = told["differences"]
        assert (difference["differsIn"], difference["primary"]["is"], difference["mirror"]["is"]) == differs
        assert difference["path"] == "/path" and difference["requestId"] == backend.requests[0].headers["X-Request-ID"]
        assert difference["primary"]["status"] == response.status and "value" not in difference["primary"] and "secret" not in json.dumps(told)
    else:
        assert told["differences"] == []


def test_values_are_shown_where_wished(gateway, backend, shadow):
    backend.by_default(answer(200, JSON, b'{"a":"one"}'))
    shadow.by_default(answer(200, JSON, b'{"a":"%s"}' % (b"two" * 100)))
    running = gateway(mirroring(backend, shadow, compare={"body": "json", "showValues": True}))
    running.get("/")
    [difference] = Told(running).wait_for_comparisons(different=1)["differences"]
    assert difference["primary"]["value"] == "one" and difference["mirror"]["value"] == ("two" * 100)[:64]


def test_what_is_too_long_or_not_whole_is_not_compared(gateway, backend, shadow):
    backend.on("/long", answer(200, JSON, b"[%s]" % (b"1," * 40000 + b"1"))).on("/cut", send(response_bytes(headers={**JSON, "Content-Length": "100"}, length=False) + b"{"), wait(0.2), reset())
    running = gateway(mirroring(backend, shadow, compare={"body": "json"}))
    running.get("/long")
    Told(running).wait_for_comparisons(notCompared=1)
    with running.send(request_bytes(target="/cut")) as wire:
        wire.read_response_head()
    Told(running).wait_for_comparisons(notCompared=2)
    running.gauges_at_zero()


def test_the_last_differences_are_kept_latest_first(gateway, backend, shadow):
    shadow.by_default(answer(500))
    running = gateway(mirroring(backend, shadow, compare={}))
    for number in range(40):
        running.get(f"/{number}")
        Told(running).wait_for_comparisons(different=number + 1)
    told = Told(running).now()
    assert [one["path"] for one in told["differences"]] == [f"/{number}" for number in range(39, 7, -1)]
    assert running.metric("sluice_mirror_comparisons_total", route="all", result="different") == 40


@contextlib.contextmanager
def all_at_once(client):
    """What is asked inside goes out in one write."""
    flush, client.flush = client.flush, lambda: None
    yield
    client.flush = flush
    client.flush()


def test_each_sides_time_runs_from_its_own_question(gateway, backend, shadow):
    """A copy goes out a turn of the loop after its request, which may have its answer by then."""
    shadow.by_default(answer(500))
    config = {**mirroring(backend, shadow, compare={}, maxConcurrent=100), "workers": 1}
    config["routes"].append({"name": "plain", "path": "/plain", "serviceId": "backend"})
    running = gateway(config)
    with H2Client(running.address) as client:
        client.get("/plain")
        for turn in range(8):
            with all_at_once(client):  # a long turn, in which the first of them are answered
                streams = [client.ask(path=f"/{number}") for number in range(30)] + [client.ask(path="/plain") for _ in range(60)]
            assert [client.read(stream).status for stream in streams] == [200] * 90
            told = Told(running).wait_for_comparisons(different=30 * (turn + 1))
            assert [one for one in told["differences"] if one["primary"]["ms"] <= 0 or one["mirror"]["ms"] <= 0] == []


def test_what_the_client_gets_compressed_is_compared_plain(gateway, backend, shadow):
    text = json.dumps(list(range(2000))).encode()
    for one in (backend, shadow):
        one.by_default(answer(200, JSON, text))
    running = gateway(mirroring(backend, shadow, more_filters=[{"type": "compression"}], compare={"body": "bytes"}))
    response = running.get("/", {"Accept-Encoding": "gzip"})
    assert gzip.decompress(response.body) == text
    Told(running).wait_for_comparisons(alike=1)


def threads_of(running):
    pid = running.gateway_processes()[0]
    return [pathlib.Path(path).read_text().strip() for path in glob.glob(f"/proc/{pid}/task/*/comm")]


def test_large_answers_are_compared_by_a_thread_of_their_own(gateway, backend, shadow):
    """Some MiB of JSON once they are unpacked."""
    for one, last in ((backend, 1), (shadow, 2)):
        text = json.dumps({"rows": ["x" * 1000] * 5000, "last": last}).encode()
        one.by_default(answer(200, {**JSON, "Content-Encoding": "gzip"}, gzip.compress(text, 1)))
    running = gateway(mirroring(backend, shadow, compare={"body": "json", "maxBytes": "1MiB"}))
    assert "mirror judge" in threads_of(running)
    assert "mirror judge" not in threads_of(gateway(mirroring(backend, shadow)))
    for _ in range(3):
        assert running.get("/").status == 200
    told = Told(running).wait(lambda told: sum(told["comparisons"].values()) == 3)
    assert told["comparisons"]["different"] == 3 and told["differences"][0]["differsIn"] == "/last"
    running.gauges_at_zero()


# Over the admin API

def test_mirrors_come_and_go_live(gateway, backend, shadow):
    running = start_live(gateway, {"services": [service(backend), service(shadow, name="shadow")], "routes": [{"name": "all", "path": "/*", "serviceId": "backend", "stripPrefix": False}]})
    assert running.admin.get("/routes/all/mirror", expect=404)["reason"] == "no-mirror"
    plugin = running.admin.create("plugins", {"name": "mirror", "config": {"service": "shadow", "percentage": 12.5, "compare": {"body": "json"}}})
    assert plugin["config"]["percentage"] == 12.5
    running.admin.ask("PATCH", f"/plugins/{plugin['id']}", {"config": {"percentage": "100"}}, expect=422)
    running.admin.patch("plugins", plugin["id"], {"config": {"percentage": 100}})
    running.get("/")
    Told(running).wait_for_comparisons(different=1)
    refused = running.admin.ask("DELETE", "/services/shadow", expect=409)
    assert "shadow" in refused.text
    running.admin.patch("services", "shadow", {"name": "double"})
    running.get("/")
    assert Told(running).wait_for_comparisons(different=2)["service"] == "double"
    running.admin.delete("plugins", plugin["id"])
    running.get("/")
    wait_until(lambda: running.admin.ask("GET", "/routes/all/mirror", expect=(200, 404)).status_code == 404, what="the mirror's end")
    assert len(shadow.requests) == 2
    running.gauges_at_zero()


def test_what_never_comes_into_force_renames_nothing(gateway, backend, shadow):
    """A dry run, a validation and a refused change are compiled too."""
    def route(service_name, *more, **fields):
        return {"name": "all", "path": "/*", "serviceId": "backend", "filters": [{"type": "mirror", "service": service_name}, *more], **fields}

    running = start_live(gateway, {"services": [service(backend), service(shadow, name="shadow"), service(shadow, name="other")], "routes": [route("shadow")]})
    was = Told(running).now()
    assert (was["name"], was["service"]) == ("all", "shadow")
    running.admin.ask("PUT", "/routes/all?dryRun=true", route("other", name="dry"))
    running.admin.ask("PUT", "/routes/all", route("other", {"type": "set-header", "name": "X", "value": "${nope}"}, name="bad"), expect=422)
    running.admin.ask("POST", "/validate", {"services": [service(backend), service(shadow, name="other")], "routes": [route("other", id=was["id"], name="tried")]})
    running.admin.ask("PUT", "/routes/new?dryRun=true", route("other", name="new", path="/new"))
    assert Told(running).now() == was
    running.admin.ask("GET", "/routes/new/mirror", expect=404)
    assert set(re.findall(r'sluice_mirror_\w+\{route="(\w+)"', running.admin.ask("GET", "/metrics").text)) == {"all"}
    running.admin.put("routes", "all", route("other", name="renamed"))
    now = running.admin.get("/routes/renamed/mirror")
    assert (now["name"], now["service"]) == ("renamed", "other")
    assert 'sluice_mirror_requests_total{route="renamed"' in running.admin.ask("GET", "/metrics").text


@pytest.mark.slow
@pytest.mark.plain_build
def test_the_client_waits_no_longer(gateway, backend, shadow):
    """A coarse look (bench/ has the fine one): medians over a kept connection, with and without a mirror."""
    def median(running):
        times = []
        with running.connect() as wire:
            for _ in range(500):
                began = time.perf_counter()
                wire.send(request_bytes())
                wire.read_response()
                times.append(time.perf_counter() - began)
        return statistics.median(times)
    plain, mirrored = median(gateway(proxy(backend))), median(gateway(mirroring(backend, shadow)))
    assert mirrored < plain + 0.001
