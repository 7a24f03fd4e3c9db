"""Splits, versions, predicates and traces, by a gateway that runs: what services get, what clients get, what stands in log and metrics."""
import concurrent.futures
import hashlib
import re

import httpx
import pytest

from backend import answer
from gateway import service
from live import start_live
from plain_http import PLAIN_HTTP

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"


@pytest.fixture
def two(new_backend):
    made = [new_backend(name) for name in ("old", "new")]
    for backend, name in zip(made, ("old", "new")):
        backend.by_default(answer(body=name.encode()))
    return made


def split_config(two, split, **route):
    return {"services": [service(two[0], name="old"), service(two[1], name="new")],
            "routes": [{"name": "shop", "path": "/*", "stripPrefix": False, "split": split, **route}]}


def canary(two, percentage, **split):
    return split_config(two, {"canaryPercentage": percentage, "canaryServiceId": "new", "by": "header:X-User", **split}, serviceId="old")


def choices(running, users, name="X-User"):
    with running.client() as client:
        return {user: client.get("/", headers={name: user}).text for user in users}


# Splits

def test_a_growing_canary_takes_the_added_share_only(gateway, two):
    """2,000 clients: at 5 % some 100, a standard deviation of 10; at 10 % the same and some 100 more."""
    users = [f"user-{number}" for number in range(2000)]
    running = gateway(canary(two, 5))
    before = choices(running, users)
    running.reload(canary(two, 10))
    after = choices(running, users)
    first, then = ({user for user, body in drawn.items() if body == "new"} for drawn in (before, after))
    assert 50 < len(first) < 160 and first < then and 140 < len(then) < 270
    assert {user: body for user, body in after.items() if user not in then} == \
        {user: body for user, body in before.items() if user not in then}


def test_a_client_is_drawn_alike_by_every_worker_and_after_a_restart(gateway, two):
    users = [f"user-{number}" for number in range(200)]
    drawn = []
    for workers in (1, 4):
        running = gateway({"workers": workers, **canary(two, 30)})
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            for _ in range(3):
                drawn.append(dict(pool.map(lambda user: (user, running.get("/", [("X-User", user)]).body), users)))
    assert all(one == drawn[0] for one in drawn)
    assert 20 < sum(body == b"new" for body in drawn[0].values()) < 110


def test_a_client_is_one_whichever_key_it_shows(gateway, two):
    keys = {f"{client:02}-{number}" + "k" * 39: f"client-{client}" for client in range(16) for number in range(2)}
    running = gateway({**split_config(two, {"services": [{"serviceId": "old", "weight": 1}, {"serviceId": "new", "weight": 1}]},
                                      filters=[{"type": "api-key"}]),
                       "apiKeys": [{"clientName": key[:4], "clientId": client, "hash": "sha256:" + hashlib.sha256(key.encode()).hexdigest()}
                                   for key, client in keys.items()]})
    drawn = {}
    for key, body in choices(running, keys, "X-API-Key").items():
        assert drawn.setdefault(keys[key], body) == body
    assert set(drawn.values()) == {"old", "new"}  # all alike: once in 32,768


def test_the_chosen_service_stands_in_log_and_metrics(gateway, two):
    running = gateway(canary(two, 0, overrideHeader="X-Canary"))
    with running.client() as client:
        for word in ("always", "never", "never"):
            client.get("/", headers={"X-Canary": word})
    assert [line["service"] for line in running.log_lines(3)] == ["new", "old", "old"]
    assert running.metric("sluice_requests_total", route="shop", service="new") == 1
    assert running.metric("sluice_requests_total", route="shop", service="old") == 2
    assert len(two[1].requests) == 1 and two[1].requests[0].headers["X-Canary"] == "always"


def test_a_browser_stays_where_its_cookie_says(gateway, two):
    running = gateway(split_config(two, {"services": [{"serviceId": "old", "weight": 1}, {"serviceId": "new", "weight": 1}],
                                         "by": "cookie:group", "cookieMaxAge": 60}))
    seen = set()
    for _ in range(12):
        with running.client() as browser:  # keeps cookies
            first = browser.get("/")
            assert re.fullmatch(r"group=[0-9a-f]{16}; Path=/; Max-Age=60; HttpOnly; SameSite=Lax", first.headers["set-cookie"])
            for _ in range(3):
                again = browser.get("/")
                assert again.text == first.text and "set-cookie" not in again.headers
            seen.add(first.text)
    assert seen == {"old", "new"}  # all alike: once in 2,048


def test_a_service_of_a_split_is_in_use_and_its_new_name_follows(gateway, two):
    running = start_live(gateway, canary(two, 100))
    refused = running.admin.ask("DELETE", "/services/new", expect=409)
    assert "shop" in refused.text
    running.admin.patch("services", "new", {"name": "newer"})
    assert running.admin.get("/routes/shop")["split"]["canaryServiceId"] == "newer"
    assert running.get("/", [("X-User", "a")]).body == b"new"
    assert running.metric("sluice_requests_total", route="shop", service="newer") == 1
    running.admin.patch("routes", "shop", {"split": None})
    running.admin.delete("services", "newer")
    assert running.get("/", [("X-User", "a")]).body == b"old"


def test_a_split_comes_back_from_the_store_as_it_was_written(gateway, two):
    running = start_live(gateway, canary(two, 2.5, overrideHeader="X-Canary"))
    split = running.admin.get("/routes/shop")["split"]
    assert split == {"canaryPercentage": 2.5, "canaryServiceId": "new", "by": "header:X-User", "overrideHeader": "X-Canary",
                     "cookieMaxAge": 0}
    problem = running.admin.ask("PATCH", "/routes/shop", {"split": {"canaryPercentage": 101}}, expect=422).json()
    assert problem["errors"][0]["pointer"] == "/split/canaryPercentage"
    problem = running.admin.ask("PATCH", "/routes/shop", {"split": {"canaryPercentage": "5"}}, expect=422).json()
    assert problem["errors"][0]["hint"] == "a number stands without quotes"


# Versions

API = {"header": "X-API-Version", "mediaTypeParameter": "version", "default": "2",
       "versions": [{"version": "1", "deprecated": "2026-01-01T00:00:00Z", "sunset": "2027-01-01T00:00:00Z"}, {"version": "2"}]}


def test_versions_lead_to_their_services_and_old_ones_say_so(gateway, two):
    running = gateway({"apiVersions": API, "services": [service(two[0], name="old"), service(two[1], name="new")],
                       "routes": [{"path": "/a", "version": "1", "serviceId": "old"}, {"path": "/a", "version": "2", "serviceId": "new"}]})
    with running.client() as client:
        assert client.get("/a").text == "new"
        old = client.get("/a", headers={"Accept": "application/vnd.api+json; version=1"})
        assert old.text == "old" and old.headers["deprecation"] == "@1767225600" and old.headers["sunset"] == "Fri, 01 Jan 2027 00:00:00 GMT"
        assert old.headers.get_list("vary") and "X-API-Version" in old.headers["vary"]
        unknown = client.get("/a", headers={"X-API-Version": "7"})
        assert unknown.status_code == 400 and "1 and 2" in unknown.json()["detail"]
        assert client.get("/a", headers={"Accept": "a/b;version=7"}).status_code == 406
    assert running.metric("sluice_errors_total", type="unknown-version") == 2


def test_a_version_by_path_that_is_not_there_is_no_catch_alls(gateway, two):
    api = {"pathPrefix": "/v{version}", "versions": [{"version": "1", "deprecated": "2026-01-01T00:00:00Z"}, {"version": "2"}]}
    running = gateway({"apiVersions": api, "services": [service(two[0], name="old"), service(two[1], name="new")],
                       "routes": [{"path": "/*", "serviceId": "new"},
                                  {"path": "/v1/*", "version": "1", "methods": ["GET"], "serviceId": "old"}]})
    with running.client() as client:
        unknown = client.get("/v9/orders")
        assert unknown.status_code == 404 and unknown.json()["detail"] == 'there is no version "9"; there are 1 and 2'
        assert client.get("/v1/orders").text == "old"
        assert client.get("/vendors/acme").text == "new" and client.get("/orders").text == "new"


def test_what_a_cache_and_a_client_are_told_of_versions(gateway, two):
    running = gateway({"apiVersions": API, "services": [service(two[0], name="old"), service(two[1], name="new")],
                       "routes": [{"path": "/a", "version": "1", "methods": ["GET"], "serviceId": "old"}, {"path": "/*", "methods": ["GET"], "serviceId": "new"}]})
    with running.client() as client:
        for headers, status in (({}, 200), ({"X-API-Version": "7"}, 400), ({"Accept": "a/b;version=7"}, 406)):
            told = client.get("/a", headers=headers)
            assert told.status_code == status and set(told.headers.get_list("vary")) == {"X-API-Version", "Accept"}
        refused = client.post("/a", headers={"X-API-Version": "1"})
        assert refused.status_code == 405 and refused.headers["deprecation"] == "@1767225600" and refused.headers["allow"] == "GET, HEAD"
    twice = running.get("/a", [("X-API-Version", "1"), ("X-API-Version", "2")])
    assert twice.status == 400 and "send it once" in twice.problem["detail"]
    assert running.get("/a?vers%69on=1", []).body == b"new", "the API has no query parameter"


def test_a_preflight_finds_the_version_that_has_cors(gateway, two):
    cors = {"type": "cors", "allowedOrigins": ["https://app.example.com"], "allowedHeaders": ["X-API-Version"]}
    running = gateway({"apiVersions": {**API, "default": "1"}, "services": [service(two[0], name="old"), service(two[1], name="new")],
                       "routes": [{"path": "/a", "version": "1", "serviceId": "old"}, {"path": "/a", "version": "2", "serviceId": "new", "filters": [cors]}]})
    asked = [("Origin", "https://app.example.com"), ("Access-Control-Request-Method", "GET"), ("Access-Control-Request-Headers", "x-api-version")]
    preflight = running.request("OPTIONS", "/a", dict(asked))
    assert preflight.status == 204 and preflight.headers["Access-Control-Allow-Headers"] == "X-API-Version"
    answer = running.get("/a", [asked[0], ("X-API-Version", "2")])
    assert answer.body == b"new" and answer.headers["Access-Control-Allow-Origin"] == "https://app.example.com"


def test_a_stored_route_has_a_version_that_the_file_has(gateway, two):
    running = start_live(gateway, {"apiVersions": API, "services": [service(two[0], name="old")]})
    running.admin.create("routes", {"path": "/a", "version": "1", "serviceId": "old"})
    problem = running.admin.ask("POST", "/routes", {"path": "/b", "version": "3", "serviceId": "old"}, expect=422).json()
    assert problem["errors"][0]["pointer"] == "/version" and "1 and 2" in problem["errors"][0]["hint"]
    assert running.get("/a", [("X-API-Version", "1")]).status == 200


# Predicates

def test_predicates_choose_among_routes_over_the_api(gateway, two):
    running = start_live(gateway, {"services": [service(two[0], name="old"), service(two[1], name="new")],
                                   "routes": [{"path": "/*", "serviceId": "old"}]})
    running.admin.create("routes", {"path": "/*", "serviceId": "new", "predicates": ['request.headers["x-beta"] == "yes"']})
    assert running.get("/").body == b"old" and running.get("/", [("X-Beta", "yes")]).body == b"new"
    problem = running.admin.ask("POST", "/routes", {"path": "/b", "serviceId": "new", "predicates": ["true", "auth.user_id == 1"]},
                                expect=422).json()
    assert problem["errors"][0]["pointer"] == "/predicates/1"


# Traces

def test_a_trace_goes_through_and_its_ids_are_in_the_log(gateway, backend):
    running = gateway({"services": [service(backend)], "routes": [{"path": "/*", "serviceId": "backend"}]})
    for http2 in (False, True):
        with httpx.Client(base_url=running.url, http1=not http2, http2=http2, **PLAIN_HTTP) as client:
            client.get("/", headers=[("traceparent", f"00-{TRACE}-{SPAN}-01"), ("tracestate", "a=1"), ("tracestate", "b=2")])
    for line, request in zip(running.log_lines(2), backend.requests):
        version, trace, span, flags = request.headers["traceparent"].split("-")
        assert (version, trace, flags) == ("00", TRACE, "01") and span != SPAN and re.fullmatch("[0-9a-f]{16}", span)
        assert (line["traceId"], line["spanId"]) == (trace, span)
        assert request.headers["tracestate"].replace(" ", "") == "a=1,b=2"
    assert backend.requests[0].headers["traceparent"] != backend.requests[1].headers["traceparent"]


def test_traces_begin_and_are_all_different(gateway, backend):
    running = gateway({"workers": 2, "services": [service(backend)], "routes": [{"path": "/*", "serviceId": "backend"}]})
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: running.get("/"), range(200)))
    parents = [request.headers["traceparent"] for request in backend.requests]
    assert all(re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-03", parent) for parent in parents)
    assert len({parent[3:35] for parent in parents}) == 200 == len({parent[36:52] for parent in parents})
