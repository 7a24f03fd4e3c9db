"""Which route takes a request: DESIGN 7's total order and DESIGN 11's rules, seen from outside.

Routes here answer by themselves with their own name, so that an answer says who took the request."""
import itertools
import random

import pytest

from gateway import proxy, service
from wire import request_bytes


def route(name, path, **more):
    return {"name": name, "path": path, "respond": {"status": 200, "body": name}, **more}


def routes(*all_of):
    return {"routes": list(all_of)}


def who(running, target, method="GET", headers=(), host="gateway.test"):
    """The name of the route that answers, or the status where none does."""
    response = running.request(method, target, headers, host=host)
    return response.body.decode() if response.status == 200 else response.status


def ask(running, *questions):
    return [who(running, *question) if isinstance(question, tuple) else who(running, question) for question in questions]


def test_a_pattern_matches_the_whole_path(gateway):
    running = gateway(routes(route("exact", "/a"), route("rest", "/b/*"), route("id", "/c/{id}"), route("deep", "/c/{id}/x/{n}")))
    assert ask(running, "/a", "/a/", "/A", "/ab") == ["exact", 404, 404, 404]
    assert ask(running, "/b/", "/b/c", "/b/c/d", "/b") == ["rest", "rest", "rest", 404]
    assert ask(running, "/c/1", "/c/", "/c/1/2", "/c/1/x/2", "/c//x/2") == ["id", 404, 404, "deep", 404]
    assert who(running, "/a?b=/c") == "exact"


def test_a_star_in_the_middle_may_cross_slashes(gateway):
    running = gateway(routes(route("middle", "/files/*/raw"), route("two", "/x/*/y/*")))
    assert ask(running, "/files/a/raw", "/files/a/b/c/raw", "/files/raw", "/files/a/rawish") == ["middle", "middle", 404, 404]
    assert ask(running, "/x/1/y/", "/x/1/2/y/3/4", "/x/1/2") == ["two", "two", 404]


def test_segments_rank_literal_then_name_then_star_then_regex_behind_its_template(gateway):
    running = gateway(routes(route("star", "/p/*"), route("regex", "~/p/(?<id>[0-9]+)"), route("name", "/p/{id}"), route("literal", "/p/me")))
    assert ask(running, "/p/me", "/p/42", "/p/you", "/p/a/b") == ["literal", "name", "name", "star"]
    running = gateway(routes(route("late", "/{a}/x/z"), route("early", "/q/{b}/{c}")))
    assert who(running, "/q/x/z") == "early", "the leftmost difference decides"


def test_a_regex_matches_the_whole_path(gateway):
    running = gateway(routes(route("number", "~/n/(?<id>[0-9]+)"), route("end", "~.*/end(ing)?"), route("signs", "~^/s$"), route("either", "~/one|/two")))
    assert ask(running, "/n/42", "/n/42x", "/n/", "/x/n/42", "/n/42?x=y") == ["number", 404, 404, 404, "number"]
    assert ask(running, "/a/b/end", "/ending", "/end/x") == ["end", "end", 404]
    assert ask(running, "/s", "/s/s", "/one", "/two", "/one/two") == ["signs", 404, "either", "either", 404]


def test_a_regex_for_a_header_or_a_query_parameter_is_found_anywhere_in_it(gateway):
    running = gateway(routes(route("header", "/h", headers={"Accept": "~json"}), route("query", "/q", queryParams={"tag": "~^v[0-9]"})))
    assert ask(running, ("/h", "GET", {"Accept": "application/json;q=1"}), ("/h", "GET", {"Accept": "text/html"})) == ["header", 404]
    assert ask(running, "/q?tag=v1-beta", "/q?tag=xv1") == ["query", 404]


def test_priority_beats_everything(gateway):
    running = gateway(routes(route("literal", "/a/b"), route("star", "/a/*", priority=5), route("low", "/*", priority=-1)))
    assert ask(running, "/a/b", "/c") == ["star", "low"]
    running = gateway(routes(route("host", "/a", host="h.test"), route("none", "/a", priority=1)))
    assert who(running, "/a", "GET", (), "h.test") == "none"


def test_hosts_rank_exact_then_longer_suffix_then_none(gateway):
    running = gateway(routes(route("none", "/*"), route("wide", "/*", host="*.example.com"), route("narrow", "/*", host="*.api.example.com"),
                             route("exact", "/*", host="v1.api.example.com"), route("list", "/*", host=["one.test", "*.two.test"])))

    def at(host):
        return who(running, "/", "GET", (), host)
    assert at("v1.api.example.com") == "exact"
    assert at("v2.api.example.com") == at("a.b.api.example.com") == "narrow"
    assert at("www.example.com") == at("a.b.example.com") == "wide"
    assert at("example.com") == at("badexample.com") == "none"
    assert at("one.test") == at("x.two.test") == "list"
    assert at("V1.API.Example.COM") == at("v1.api.example.com:8080") == "exact"


def test_a_better_host_beats_a_better_path(gateway):
    running = gateway(routes(route("path", "/a/b/c"), route("host", "/*", host="h.test")))
    assert who(running, "/a/b/c", "GET", (), "h.test") == "host"


def test_methods_narrow_and_405_names_what_is_allowed(gateway):
    running = gateway(routes(route("read", "/a", methods=["GET"]), route("write", "/a", methods=["POST", "PUT"]), route("any", "/b"), route("some", "/b", methods=["DELETE"])))
    assert ask(running, ("/a",), ("/a", "POST"), ("/b", "DELETE"), ("/b", "PATCH")) == ["read", "write", "some", "any"]
    response = running.request("DELETE", "/a")
    assert response.status == 405
    assert {one.strip() for one in response.headers["Allow"].split(",")} >= {"GET", "HEAD", "POST", "PUT"}
    assert response.problem["status"] == 405


def test_get_serves_head(gateway):
    running = gateway(routes(route("read", "/a", methods=["GET"])))
    response = running.request("HEAD", "/a")
    assert response.status == 200 and response.body == b"" and response.headers["Content-Length"] == "4"


def test_405_comes_only_if_no_route_of_any_priority_takes_the_method(gateway):
    running = gateway(routes(route("first", "/a", methods=["GET"], priority=10), route("fallback", "/*", priority=-10)))
    assert ask(running, ("/a", "POST"), ("/a", "GET")) == ["fallback", "first"]


def test_headers_and_query_are_matched_exactly_by_presence_and_by_regex(gateway):
    running = gateway(routes(route("v2", "/a", headers={"X-Version": "2"}), route("any", "/a", headers={"X-Version": "*"}), route("number", "/b", headers={"X-Id": "~^[0-9]+$"}),
                             route("page", "/c", queryParams={"page": "1"}), route("paged", "/c", queryParams={"page": "*"}), route("plain", "/c"),
                             route("more", "/a", headers={"X-Version": "2", "X-Beta": "1"})))
    assert ask(running, ("/a", "GET", {"X-Version": "2"}), ("/a", "GET", {"x-version": "3"}), ("/a",), ("/a", "GET", {"X-Version": "2", "X-Beta": "1"})) == ["v2", "any", 404, "more"]
    assert ask(running, ("/b", "GET", {"X-Id": "42"}), ("/b", "GET", {"X-Id": "42x"})) == ["number", 404]
    assert ask(running, "/c?page=1", "/c?x=y&page=2", "/c?pages=1", "/c") == ["page", "paged", "plain", "plain"]


def test_the_earlier_route_wins_where_nothing_else_decides(gateway):
    running = gateway(routes(route("first", "/a/{x}"), route("second", "/a/{y}")))
    assert who(running, "/a/1") == "first"


def test_a_disabled_route_is_not_there(gateway):
    running = gateway(routes(route("off", "/a", enabled=False), route("on", "/*")))
    assert who(running, "/a") == "on"


def test_captures_stand_in_answers_redirects_headers_and_rewrites(gateway, backend):
    running = gateway({
        "services": [service(backend)],
        "routes": [
            {"name": "static", "path": "/hello/{name}", "respond": {"status": 200, "headers": {"X-Name": "${path.name}"}, "body": "hello ${path.name}"}},
            {"name": "moved", "path": "/old/{id}/{rest}", "redirect": {"to": "/new/${path.id}?r=${path.rest}", "status": 301}},
            {"name": "regex", "path": "~/r/(?<year>[0-9]{4})-(?<month>[0-9]{2})", "respond": {"status": 200, "body": "${path.month}/${path.year}"}},
            {"name": "header", "path": "/users/{id}", "serviceId": "backend", "stripPrefix": False,
             "filters": [{"type": "set_header", "name": "X-User", "value": "u-${path.id}"}]},
        ]})
    response = running.get("/hello/you")
    assert (response.body, response.headers["X-Name"]) == (b"hello you", "you")
    response = running.get("/old/7/x")
    assert response.status == 301 and response.headers["Location"] == "/new/7?r=x"
    assert running.get("/r/2024-05").body == b"05/2024"
    assert running.get("/users/42").status == 200
    assert backend.requests[0].headers["X-User"] == "u-42"


def test_a_capture_cannot_break_out_of_a_header(gateway):
    """CR and LF in what a client sends are refused or stay encoded: never a second field."""
    running = gateway({"routes": [{"name": "moved", "path": "/go/{to}", "redirect": {"to": "/x/${path.to}", "status": 302}},
                                  {"name": "says", "path": "/say/{word}", "respond": {"status": 200, "headers": {"X-Word": "${path.word}"}, "body": "x"}}]})
    for target in ("/go/a%0d%0aSet-Cookie:%20x=1", "/say/a%0d%0aSet-Cookie:%20x=1", "/say/%0a", "/go/%0d"):
        response = running.get(target)
        assert "Set-Cookie" not in response.headers and response.status in (200, 302, 400, 500)


@pytest.mark.parametrize("pattern, target, seen", [
    ("/api/v1/*", "/api/v1/a/b", "/a/b"), ("/api/v1/*", "/api/v1/", "/"), ("/users/{id}", "/users/42", "/42"), ("/users/{id}/posts", "/users/42/posts", "/42/posts"),
    ("/a/b/file-*", "/a/b/file-1", "/file-1"), ("/exact/path", "/exact/path", "/exact/path"), ("~/re/(?<x>.*)", "/re/y", "/re/y"), ("/*", "/a/b", "/a/b"),
    ("/api/v1/*", "/api/v1/a?x=/api/v1/", "/a?x=/api/v1/"),
])
def test_strip_prefix_takes_what_stands_before_the_last_slash_before_the_first_capture(gateway, backend, pattern, target, seen):
    running = gateway(proxy(backend, route={"path": pattern, "stripPrefix": True}))
    assert running.get(target).status == 200
    assert backend.targets() == [seen]


def test_strip_prefix_is_the_default(gateway, backend):
    running = gateway({"services": [service(backend)], "routes": [{"name": "a", "path": "/api/*", "serviceId": "backend"}]})
    running.get("/api/x")
    assert backend.targets() == ["/x"]


def test_routing_and_backend_see_the_same_normalised_path(gateway, backend):
    """A path that reads differently before and after decoding must not slip past a route."""
    running = gateway({"services": [service(backend)],
                       "routes": [route("guard", "/admin/*", priority=10), {"name": "rest", "path": "/*", "serviceId": "backend", "stripPrefix": False}]})
    for target in ("/admin/x", "/%61dmin/x", "/a/../admin/x", "/a/%2e%2e/admin/x", "/./admin/x", "/admin/./x", "/x/../admin//y"):
        assert who(running, target) == "guard", target
    assert who(running, "/a%2F..%2Fadmin/x") == "one", "an encoded slash separates nothing"
    assert backend.targets() == ["/a%2F..%2Fadmin/x"]


def test_a_catastrophic_regex_is_bounded(gateway):
    running = gateway(routes(route("evil", "~/(a+)+b"), route("rest", "/*")))
    with running.connect(timeout=5) as wire:
        wire.send(request_bytes(target="/" + "a" * 4000))
        assert wire.read_response().status in (200, 404, 500)
    assert who(running, "/x") == "rest"


@pytest.mark.plain_build
def test_ten_thousand_routes_on_one_path_answer_each_by_its_header(gateway):
    count = 10000
    running = gateway(routes(*[route(f"t{i}", "/t", headers={"X-Tenant": f"n{i}"}) for i in range(count)]))
    with running.connect() as wire:
        for i in random.Random(1).sample(range(count), 200):
            wire.send(request_bytes(target="/t", headers={"X-Tenant": f"n{i}"}))
            assert wire.read_response().body == b"t%d" % i


# The order, against a plain reading of it: DESIGN 7, 1 - 6.

SEGMENTS = ["a", "b", "{x}", "*"]


def specificity(path):
    return tuple(2 if segment == "*" else 1 if segment.startswith("{") else 0 for segment in path[1:].split("/"))


def matches(path, target):
    """Templates of literals, names and at most one trailing star."""
    pattern, segments = path[1:].split("/"), target[1:].split("/")
    if pattern[-1] == "*":
        return len(segments) >= len(pattern) and matches_segments(pattern[:-1], segments)
    return len(pattern) == len(segments) and matches_segments(pattern, segments)


def matches_segments(pattern, segments):
    return all(p == s or (p.startswith("{") and s != "") for p, s in zip(pattern, segments))


def expected(all_of, target, method, headers):
    candidates = []
    for order, one in enumerate(all_of):
        if not matches(one["path"], target) or any(headers.get(k) != v for k, v in one.get("headers", {}).items()):
            continue
        if "methods" in one and method not in one["methods"]:
            continue
        candidates.append(((-one.get("priority", 0), specificity(one["path"]), "methods" not in one, -len(one.get("headers", {})), order), one["name"]))
    return min(candidates)[1] if candidates else None


@pytest.mark.parametrize("seed", range(4))
def test_random_route_sets_answer_as_a_plain_list_would(gateway, seed):
    chance = random.Random(seed)
    paths = ["/" + "/".join(pattern) for length in (1, 2, 3) for pattern in itertools.product(SEGMENTS, repeat=length) if "*" not in pattern[:-1] and pattern.count("{x}") <= 1]
    all_of = []
    for i in range(60):
        one = route(f"r{i}", chance.choice(paths))
        if chance.random() < 0.3:
            one["priority"] = chance.choice([-1, 1, 2])
        if chance.random() < 0.3:
            one["methods"] = [chance.choice(["GET", "POST"])]
        if chance.random() < 0.3:
            one["headers"] = {"X-A": chance.choice(["1", "2"])}
        all_of.append(one)
    running = gateway(routes(*all_of))
    with running.connect() as wire:
        for _ in range(300):
            target = "/" + "/".join(chance.choice(["a", "b", "c"]) for _ in range(chance.choice([1, 2, 3, 4])))
            method, headers = chance.choice(["GET", "POST"]), {"X-A": chance.choice(["1", "2", "3"])}
            wire.send(request_bytes(method, target, headers, b"" if method == "POST" else None))
            response = wire.read_response()
            took = response.body.decode() if response.status == 200 else None
            assert took == expected(all_of, target, method, headers), (target, method, headers)
