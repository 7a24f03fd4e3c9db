"""Rate limits on the wire: rules of a file and of the admin API, over all workers, through reloads, with clients that leave."""
import concurrent.futures
import hashlib
import struct
import time

import pytest

from backend import answer, hang
from gateway import is_sanitized, proxy
from h2_client import ACK, CANCEL, PING, RST_STREAM, H2Client, H2Wire, frame
from live import start_live, wait_until

pytestmark = pytest.mark.both_builds

HOUR = 3600


def limited(backend, *rules, **top):
    return {**proxy(backend), "rateLimits": list(rules), **top}


def rule(name="r", limit=2, window=HOUR, key="global", **more):
    return {"name": name, "limit": limit, "window": window, "key": key, **more}


def statuses(running, count, target="/", headers=()):
    return [running.get(target, headers).status for _ in range(count)]


def test_a_rule_of_a_file_limits_every_worker_together(gateway, backend):
    running = gateway(limited(backend, rule(limit=20), workers=4))
    assert statuses(running, 60).count(200) == 20
    refused = running.get("/")
    assert refused.status == 429 and refused.problem["rule"] == "r"
    assert refused.headers["X-RateLimit-Limit"] == "20" and refused.headers["X-RateLimit-Remaining"] == "0"
    assert refused.headers["RateLimit-Policy"] == '"r";q=20;w=3600'
    assert 0 < int(refused.headers["Retry-After"]) <= 180
    assert int(refused.headers["X-RateLimit-Reset"]) - time.time() <= HOUR + 1
    assert len(backend.requests) == 20
    assert running.metric("sluice_rate_limit_decisions_total", rule="r", decision="passed") == 20
    assert running.metric("sluice_rate_limit_decisions_total", rule="r", decision="refused") == 41
    assert running.metric("sluice_rate_limit_entries") >= 65536
    assert running.log_lines(61)[-1]["status"] == 429


def test_counters_survive_a_reload(gateway, backend):
    running = gateway(limited(backend, rule(limit=3)))
    assert statuses(running, 2) == [200, 200]
    running.reload(limited(backend, rule(limit=3), rule("other", limit=1000)))
    assert statuses(running, 2) == [200, 429]
    running.reload(limited(backend, rule(limit=4, algorithm="fixed_window")))
    assert statuses(running, 5).count(200) == 4, "another algorithm begins anew"


def test_who_raises_a_limit_without_a_name_hands_out_no_fresh_budget(gateway, backend):
    def of(limit, window=HOUR):
        return limited(backend, {"limit": limit, "window": window, "key": "global"})
    running = gateway(of(3))
    assert statuses(running, 4) == [200] * 3 + [429]
    running.reload(of(6))
    assert statuses(running, 1) == [429], "a bucket that is empty stays empty"
    running.reload(of(6, HOUR + 1))
    assert statuses(running, 1) == [200], "another window begins anew"


def test_a_negative_cost_is_counted_where_an_operator_sees_it(gateway, backend):
    running = gateway(limited(backend, rule(limit=2, cost="${int(request.headers['x-cost'])}")))
    assert statuses(running, 3, headers={"X-Cost": "-5"}) == [200, 200, 429]
    running.wait_for_metric("sluice_errors_total", 3, type="rate-limit-negative-cost")
    refused = running.get("/", {"X-Cost": "3"})
    assert refused.status == 429 and "can't pass, however long it waits" in refused.problem["detail"] and "Retry-After" not in refused.headers


def test_a_cost_that_cannot_be_worked_out_is_the_highest_and_an_operator_sees_it(gateway, backend):
    running = gateway(limited(backend, rule(limit=50, cost="${request.headers['x-list'].matches('x') ? 2 : 1}")))
    assert statuses(running, 2, headers={"X-List": "y" * 9000}) == [429, 429]
    running.wait_for_metric("sluice_errors_total", 2, type="rate-limit-unknown-cost")
    assert statuses(running, 1, headers={"X-List": "y"}) == [200]


def test_a_rule_is_in_force_when_the_admin_api_says_so(gateway, backend):
    running = start_live(gateway, proxy(backend, workers=2))
    assert set(statuses(running, 10)) == {200}
    made = running.admin.create("rate-limits", rule(limit=3, algorithm="fixed_window"))
    assert "warnings" not in made
    assert statuses(running, 6) == [200] * 3 + [429] * 3
    running.admin.patch("rate-limits", "r", {"limit": 5})
    assert statuses(running, 4).count(200) == 2, "what was taken stays taken"
    running.admin.patch("rate-limits", "r", {"enabled": False})
    assert set(statuses(running, 5)) == {200}
    running.admin.patch("rate-limits", "r", {"enabled": True})
    assert statuses(running, 6) == [200] * 5 + [429], "a rule that was disabled begins anew"
    running.admin.delete("rate-limits", "r")
    assert set(statuses(running, 5)) == {200}


def test_a_change_of_one_routes_rule_touches_no_other(gateway, backend):
    running = start_live(gateway, proxy(backend, route={"path": "/*"}))
    service = running.admin.get("/services")["items"][0]["name"]
    for name in "ab":
        running.admin.create("routes", {"name": name, "path": f"/{name}", "serviceId": service, "stripPrefix": False})
    running.admin.create("rate-limits", rule("of-a", limit=1, routeId="a"))
    running.admin.create("rate-limits", rule("of-b", limit=2, routeId="b"))
    assert statuses(running, 2, "/a") == [200, 429]
    assert statuses(running, 3, "/b") == [200, 200, 429]
    assert set(statuses(running, 3, "/c")) == {200}
    running.admin.patch("rate-limits", "of-a", {"routeId": "b"})
    assert set(statuses(running, 3, "/a")) == {200}
    refused = running.admin.ask("DELETE", "/routes/b", expect=409).text
    assert "of-a" in refused and "of-b" in refused


def test_a_rule_of_a_service_counts_its_routes_together(gateway, backend):
    running = start_live(gateway, proxy(backend, route={"path": "/a"}))
    service = running.admin.get("/services")["items"][0]["name"]
    running.admin.create("routes", {"name": "b", "path": "/b", "serviceId": service, "stripPrefix": False})
    running.admin.create("routes", {"name": "d", "path": "/d", "respond": {"status": 200}})
    running.admin.create("rate-limits", rule(limit=3, serviceId=service))
    assert statuses(running, 2, "/a") + statuses(running, 2, "/b") == [200, 200, 200, 429]
    assert set(statuses(running, 3, "/d")) == {200}
    running.admin.create("routes", {"name": "e", "path": "/e", "serviceId": service, "stripPrefix": False})
    assert statuses(running, 1, "/e") == [429], "a route that comes later is one of the service's"


def test_a_header_that_connection_takes_off_is_no_key(gateway, backend):
    """Else whoever wants a count of his own makes one up that the service never sees."""
    running = gateway(limited(backend, rule(limit=1, key="header:X-Tenant")))
    assert [running.get("/", {"X-Tenant": name, "Connection": "X-Tenant"}).status for name in "abc"] == [200, 429, 429]
    assert running.get("/", {"X-Tenant": "a"}).status == 200, "its own count is untouched"


def test_nothing_is_spent_where_a_later_rule_refuses(gateway, backend):
    rules = [rule("tenant", limit=1, key="header:X-Tenant"), rule("everybody", limit=3)]
    running = gateway(limited(backend, *rules, workers=2))
    assert statuses(running, 20, headers=[("X-Tenant", "a")]).count(200) == 1
    assert [running.get("/", [("X-Tenant", name)]).status for name in "bcd"] == [200, 200, 429]


def test_requests_under_way_are_counted_until_they_end(gateway, backend):
    backend.on("/hang", hang())
    running = gateway(limited(backend, {"name": "r", "limit": 2, "key": "global", "algorithm": "concurrency"}, workers=2))
    hanging = [running.connect() for _ in range(2)]
    for connection in hanging:
        connection.send(b"GET /hang HTTP/1.1\r\nHost: a\r\n\r\n")
    backend.wait_for_requests(2)
    refused = running.get("/")
    assert refused.status == 429 and "at once" in refused.problem["detail"]
    hanging[0].close()
    wait_until(lambda: running.get("/").status == 200, what="the place of who went away")
    hanging[1].close()
    assert running.gauges_at_zero()  # its place is back, too
    assert set(statuses(running, 20)) == {200}
    assert running.gauges_at_zero()


def test_throttled_requests_come_at_an_even_pace(gateway, backend):
    running = gateway(limited(backend, rule(limit=20, window=1, action="throttle", queueMaxWaitMs=5000), workers=2))
    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        seen = list(pool.map(lambda _: running.get("/").status, range(20)))
    assert set(seen) == {200}
    assert time.monotonic() - began >= 0.9, "the twentieth comes 19 twentieths of a second after the first"
    assert running.metric("sluice_rate_limit_waiting") == 0
    assert running.metric("sluice_rate_limit_decisions_total", rule="r", decision="queued") >= 15


def test_who_leaves_the_queue_is_forgotten(gateway, backend):
    running = gateway(limited(backend, rule(limit=1, window=10, action="queue", queueMaxWaitMs=15000, queueMaxLength=5)))
    assert running.get("/").status == 200
    waiting = [running.connect() for _ in range(3)]
    waiting[0].send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    running.wait_for_metric("sluice_rate_limit_waiting", 1)
    for connection in waiting[1:]:
        connection.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert [connection.read_response().status for connection in waiting[1:]] == [429, 429], "they would wait for longer than they may"
    for connection in waiting:
        connection.close()
    running.wait_for_metric("sluice_rate_limit_waiting", 0)
    assert len(backend.requests) == 1
    assert running.gauges_at_zero()


def reset_in_one_write(running):
    with H2Wire(running.address) as client:
        cancel = struct.pack(">I", CANCEL)
        client.send(*(piece for i in range(20) for piece in (client.get(2 * i + 1), frame(RST_STREAM, 0, 2 * i + 1, cancel))))
        client.send(frame(PING, payload=b"ping pon"))
        while client.next_frame()[:2] != (PING, ACK):
            pass


def reset_first_to_last(running):
    with H2Client(running.address) as client:
        streams = [client.ask() for _ in range(8)]
        running.wait_for_metric("sluice_rate_limit_waiting", 8)
        for stream in streams:
            client.reset(stream)
        running.wait_for_metric("sluice_rate_limit_waiting", 0)


def close_the_connection(running):
    with H2Client(running.address) as client:
        for _ in range(8):
            client.ask()
        running.wait_for_metric("sluice_rate_limit_waiting", 8)


def close_connections_of_several_workers(running):
    clients = [running.connect() for _ in range(8)]
    for client in clients:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    running.wait_for_metric("sluice_rate_limit_waiting", 8)
    for client in clients:
        client.close()


@pytest.mark.parametrize("leave", [reset_in_one_write, reset_first_to_last, close_the_connection, close_connections_of_several_workers])
def test_nobody_waits_behind_those_that_have_left(gateway, backend, leave):
    running = gateway(limited(backend, rule(limit=1, window=2, burst=1, action="queue", queueMaxWaitMs=20000), workers=2))
    assert running.get("/").status == 200
    leave(running)
    running.wait_for_metric("sluice_rate_limit_waiting", 0)
    began = time.monotonic()
    assert running.get("/").status == 200
    assert time.monotonic() - began < 3, "the first who comes then has the first place, two seconds behind the one that passed"


def test_bad_rules_are_refused_with_their_place(gateway, backend):
    running = start_live(gateway, proxy(backend))
    problem = running.admin.create("rate-limits", rule(cost=5), expect=422)
    assert problem["errors"][0]["pointer"] == "/cost" and "could ever pass" in problem["errors"][0]["message"]
    problem = running.admin.create("rate-limits", rule(algorithm="sliding_window", action="queue"), expect=422)
    assert problem["errors"][0]["pointer"] == "/action"
    problem = running.admin.create("rate-limits", rule(routeId="nowhere"), expect=422)
    assert problem["errors"][0]["pointer"] == "/routeId"


def test_a_header_that_a_policy_takes_off_is_refused_as_a_key(gateway, backend):
    """Whichever of the two comes first."""
    running = start_live(gateway, proxy(backend))
    api_key = running.admin.create("plugins", {"name": "api-key", "instanceName": "keys"})
    [problem] = running.admin.create("rate-limits", rule(key="header:X-API-Key"), expect=422)["errors"]
    assert problem["pointer"] == "/key" and 'the policy "api-key" takes the header "X-API-Key" off' in problem["message"]
    running.admin.create("rate-limits", rule(key="api_key"))
    running.admin.delete("plugins", api_key["id"])
    running.admin.create("rate-limits", rule("s", key="header:X-API-Key"))
    [problem] = running.admin.create("plugins", {"name": "api-key"}, expect=422)["errors"]
    assert 'takes the header "X-API-Key" off' in problem["message"]


def test_two_without_a_name_that_stand_in_one_place_are_two(gateway, backend):
    """In a whole configuration over the admin API too, and each time the same two."""
    running = start_live(gateway, proxy(backend))
    def put(*limits):
        whole = running.admin.ask("GET", "/config", expect=200).json()
        whole["rateLimits"] = [{"limit": limit, "window": HOUR, "key": "ip", "shadow": limit > 10} for limit in limits]
        running.admin.ask("PUT", "/config", whole, expect=200)
        return {one["limit"]: one["id"] for one in running.admin.ask("GET", "/rate-limits", expect=200).json()["items"]}
    before = put(3, 20)
    assert len(before) == 2
    after = put(4, 30)
    assert [after[4], after[30]] == [before[3], before[20]]


@pytest.mark.plain_build
@pytest.mark.parametrize("algorithm", ["token_bucket", "sliding_window", "fixed_window", "gcra"])
def test_a_flood_gets_what_the_limit_allows(gateway, backend, algorithm):
    """Some times the limit, from several connections, on two workers: what passes is what may, give or take what the beginning lends."""
    backend.by_default(answer(body=b"x"))
    limit, seconds = 40, 4
    burst = {"burst": 10} if algorithm in ("token_bucket", "gcra") else {}
    running = gateway(limited(backend, rule(limit=limit, window=1, algorithm=algorithm, **burst), workers=2))
    until = time.monotonic() + seconds

    def flood(_):
        seen = []
        with running.connect() as connection:
            while time.monotonic() < until:
                connection.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                seen.append(connection.read_response().status)
        return seen
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        seen = [status for some in pool.map(flood, range(4)) for status in some]
    passed = seen.count(200)
    assert set(seen) == {200, 429} and len(seen) > 2 * limit * seconds
    assert passed == len(backend.requests)
    most = limit * (seconds + (2 if algorithm.endswith("window") else 0.5)) + 10
    least = limit * seconds * (0.5 if is_sanitized() else 0.9)
    assert least <= passed <= most


def test_a_keys_tier_has_its_own_limit_and_each_client_its_own_count(gateway, backend):
    texts = {name: name * 43 for name in "fsp"}
    keys = [{"clientName": name, "clientId": f"client-{name}", "rateLimitTier": tier, "keyPrefix": text[:8],
             "hash": "sha256:" + hashlib.sha256(text.encode()).hexdigest()}
            for (name, text), tier in zip(texts.items(), ("free", "standard", "premium"))]
    limits = {"free": 1, "premium": 4}
    running = gateway(limited(backend, rule(limit=2, key="client_id", tierLimits=limits), rule("flood", limit=8, key="ip", beforeIdentity=True),
                              apiKeys=keys, plugins=[{"name": "api-key"}]))
    for name, passes in (("f", 1), ("s", 2)):
        assert statuses(running, passes + 1, headers=[("X-API-Key", texts[name])]) == [200] * passes + [429]
    answer_of_premium = running.get("/", [("X-API-Key", texts["p"])])
    assert answer_of_premium.status == 200 and answer_of_premium.headers["X-RateLimit-Limit"] == "8", "of eight there are two left, of four three"
    assert statuses(running, 2, headers=[("X-API-Key", "nobody")]) == [401, 401], "the last two of eight"
    assert running.get("/", [("X-API-Key", texts["p"])]).problem["rule"] == "flood"
