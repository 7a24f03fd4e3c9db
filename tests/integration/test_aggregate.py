"""aggregate: one answer out of several services' answers, some of which come late, broken, huge, hostile or not at all."""
import json
import threading
import time

import pytest

from backend import Finished, answer, close, drip, hang, reset, send, wait
from gateway import run_sluice, service
from live import start_live, wait_until
from wire import request_bytes, response_bytes


@pytest.fixture
def users(new_backend):
    return new_backend("users").by_default(as_json({"id": 7, "name": "Ada", "tags": ["a", {"deep": [1, 2]}]}))


@pytest.fixture
def orders(new_backend):
    return new_backend("orders").by_default(as_json([{"id": 1}, {"id": 2}]))


def as_json(value, **headers):
    return answer(200, {"Content-Type": "application/json", **headers}, json.dumps(value).encode())


def part(name, path="/", **fields):
    return {"name": name, "service": name, "path": path, **fields}


def page(users, orders, *parts, answer=None, route=None, **fields):
    """A route /users/{id}/page of two services."""
    aggregate = {"parts": list(parts) or [part("users", "/users/${path.id}"), part("orders", "/orders?user=${path.id}", required=False)], **fields}
    if answer is not None:
        aggregate["answer"] = answer
    return {"services": [service(users, name="users"), service(orders, name="orders")],
            "routes": [{"name": "page", "path": "/users/{id}/page", "aggregate": aggregate, **(route or {})}]}


def got_json(response, status=200):
    assert response.status == status, response
    assert response.headers["Content-Type"] == "application/json"
    return json.loads(response.body)


# --- the answer ---

def test_each_part_stands_under_its_name(gateway, users, orders):
    running = gateway(page(users, orders))
    assert got_json(running.get("/users/7/page")) == {"users": {"id": 7, "name": "Ada", "tags": ["a", {"deep": [1, 2]}]}, "orders": [{"id": 1}, {"id": 2}]}
    assert users.targets() == ["/users/7"] and orders.targets() == ["/orders?user=7"]
    asked = users.requests[0]
    assert asked.method == "GET" and asked.headers["Accept"] == "application/json" and "Accept-Encoding" not in asked.headers
    assert asked.headers["X-Forwarded-For"] == "127.0.0.1" and asked.headers["X-Forwarded-Host"] == "gateway.test"
    assert asked.headers["X-Request-ID"] == orders.requests[0].headers["X-Request-ID"]
    assert running.gauges_at_zero()


def test_who_guards_a_service_guards_the_aggregates_that_ask_it(gateway, users, orders):
    """A policy for a service has no way around it."""
    config = page(users, orders)
    config["plugins"] = [{"name": "ip-list", "services": ["orders"], "config": {"deny": ["127.0.0.0/8"]}}]
    refused = gateway(config).get("/users/7/page")
    assert refused.status == 403 and refused.problem["rule"] == "ip-list"
    assert users.requests == [] and orders.requests == []


def test_a_template_puts_values_where_it_says(gateway, users, orders):
    template = {
        "who": "${parts.users.name}", "second": "${parts.orders[1]}", "deep": "${parts.users.tags[1].deep[0]}", "quoted": '${parts.users["name"]}',
        "id": "${path.id}", "text": "user ${path.id} of ${request.host}", "list": ["${parts.users.id}", 1, "x"],
        "constant": {"number": 1.5, "yes": True, "none": None, "word": "word", "digits": "12"},
        "missing": "${parts.users.nothing}", "none?": "${parts.users.nothing}", "there?": "${parts.users.id}", "beyond": "${parts.orders[9]}",
        "no member": "${parts.users.name.first}", "literal": "$${path.id}",
    }
    running = gateway(page(users, orders, answer=template))
    assert got_json(running.get("/users/7/page")) == {
        "who": "Ada", "second": {"id": 2}, "deep": 1, "quoted": "Ada", "id": "7", "text": "user 7 of gateway.test", "list": [7, 1, "x"],
        "constant": {"number": 1.5, "yes": True, "none": None, "word": "word", "digits": "12"},
        "missing": None, "there": 7, "beyond": None, "no member": None, "literal": "${path.id}",
    }


def test_numbers_and_texts_come_through_as_they_were_written(gateway, users, orders):
    text = b'{ "big": 12345678901234567890123, "exact": 0.10, "e": 1E5, "text": "\\u00e9\\ud83d\\ude00\\/", "dup": 1, "dup": 2, "\\u006eame": "escaped" }'
    users.by_default(answer(200, {}, b"\n\t " + text + b" \r\n"))
    running = gateway(page(users, orders, answer={"all": "${parts.users}", "name": "${parts.users.name}"}))
    body = running.get("/users/7/page").body
    assert text in body and json.loads(body)["name"] == "escaped"


def test_both_are_asked_at_once(gateway, users, orders):
    users.by_default(wait(0.5), as_json(1))
    orders.by_default(wait(0.5), as_json(2))
    running = gateway(page(users, orders))
    began = time.monotonic()
    assert got_json(running.get("/users/7/page")) == {"users": 1, "orders": 2}
    assert time.monotonic() - began < 0.9


def test_head_gets_the_head_and_posts_body_is_nobodys(gateway, users, orders):
    running = gateway(page(users, orders))
    head = running.request("HEAD", "/users/7/page")
    assert head.status == 200 and head.body == b"" and int(head.headers["Content-Length"]) > 20
    assert got_json(running.request("POST", "/users/7/page", {}, b"x" * 100_000))["orders"] == [{"id": 1}, {"id": 2}]
    assert all(one.method == "GET" and one.body == b"" for one in users.requests)


def test_response_filters_see_the_answer(gateway, users, orders):
    running = gateway(page(users, orders, route={"filters": [{"type": "set-header", "on": "response", "name": "Cache-Control", "value": "no-store"}]}))
    assert running.get("/users/7/page").headers["Cache-Control"] == "no-store"


# --- what a part is asked for ---

@pytest.mark.parametrize("given, asked", [
    ("a%20b", "/users/a%20b"), ("a%2Fb", "/users/a%2Fb"), ("a&b=c", "/users/a&b=c"), ("%3Fx=1", "/users/%3Fx=1"), ("%E2%82%AC", "/users/%E2%82%AC"),
])
def test_a_capture_stays_one_segment(gateway, users, orders, given, asked):
    running = gateway(page(users, orders))
    assert running.get(f"/users/{given}/page").status == 200
    assert users.targets() == [asked]
    query = orders.targets()[0]
    assert query.startswith("/orders?user=") and "&" not in query and "?" not in query[8:] and query.count("=") == 1


def test_other_values_are_data_and_never_structure(gateway, users, orders):
    running = gateway(page(users, orders, part("users", "/users/${request.host}"), part("orders", "/o?h=${request.host}&fixed=1")))
    with running.connect() as wire:
        wire.send(b"GET /users/7/page HTTP/1.1\r\nHost: a.b&c=d;e\r\n\r\n")
        status = wire.read_response().status
    if status == 200:
        assert users.targets() == ["/users/a.b%26c%3Dd%3Be"] and orders.targets() == ["/o?h=a.b%26c%3Dd%3Be&fixed=1"]
    else:
        assert status == 400


def test_headers_of_a_part_are_chosen(gateway, users, orders):
    running = gateway(page(users, orders, part("users", forwardHeaders=["Authorization", "Accept-Language"], headers={"X-User": "u-${path.id}", "Accept": "application/hal+json"}),
                           part("orders")))
    running.get("/users/7/page", {"Authorization": "Bearer x", "Cookie": "a=b", "X-User": "root"})
    seen = users.requests[0].headers
    assert seen["Authorization"] == "Bearer x" and seen.all("X-User") == ["u-7"] and seen["Accept"] == "application/hal+json"
    assert not {"cookie", "accept-language"} & set(seen.names())
    assert "Authorization" not in orders.requests[0].headers


def test_a_client_says_nothing_in_a_proxys_stead(gateway, users, orders):
    said = {"X-Real-IP": "192.0.2.9", "X-Forwarded-Port": "1", "Forwarded": "for=192.0.2.9", "X-Other": "1"}
    config = page(users, orders, part("users", forwardHeaders=list(said)))
    gateway(config).get("/users/7/page", said)
    assert not {"x-real-ip", "x-forwarded-port", "forwarded"} & set(users.requests[0].headers.names())
    assert users.requests[0].headers["X-Other"] == "1"
    gateway({**config, "trustedProxies": ["127.0.0.1"]}).get("/users/7/page", said)
    assert users.requests[1].headers["X-Real-IP"] == "192.0.2.9" and users.requests[1].headers["Forwarded"] == "for=192.0.2.9"


# --- parts that fail ---

FAILURES = {
    "status": ([answer(500)], "status", 500),
    "not found": ([answer(404, body=b"{}")], "status", 404),
    "redirect": ([answer(302, {"Location": "/"})], "status", 302),
    "html": ([answer(200, {"Content-Type": "text/html"}, b"<p>hello</p>")], "not-json", 200),
    "empty": ([answer(200)], "not-json", 200),
    "no content": ([answer(204)], "not-json", 204),
    "cut JSON": ([answer(200, body=b'{"a": [1, 2')], "not-json", 200),
    "two values": ([answer(200, body=b"{} {}")], "not-json", 200),
    "not UTF-8": ([answer(200, body=b'"\xff\xfe"')], "not-json", 200),
    "a byte of control": ([answer(200, body=b'"a\x01b"')], "not-json", 200),
    "too deep": ([answer(200, body=b"[" * 100_000)], "not-json", 200),
    "deep and closed": ([answer(200, body=b"[" * 65 + b"]" * 65)], "not-json", 200),
    "NaN": ([answer(200, body=b"NaN")], "not-json", 200),
    "too large": ([answer(200, body=b'"' + b"x" * 300_000 + b'"')], "too-large", 200),
    "compressed": ([answer(200, {"Content-Encoding": "gzip"}, b"\x1f\x8b\x08")], "encoded", 200),
    "closes": ([close()], "reset", 502),
    "resets": ([reset()], "reset", 502),
    "half a body": ([send(response_bytes(200, {"Content-Length": "100"}, b"[1", length=False)), close()], "truncated-body", None),  # its head may have been seen before or not
    "half of the chunks": ([send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n[1\r\n"), close()], "truncated-body", None),
    "half a chunk": ([send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n[1"), close()], "truncated-body", None),
    "no HTTP": ([send(b"SSH-2.0-x\r\n\r\n"), close()], "bad-response", 502),
    "late": ([wait(1), answer(200, body=b"1")], "timeout", 504),
    "a body without end": ([send(response_bytes(200, {"Content-Length": "100"}, b"[1", length=False)), hang()], "timeout", 200),
    "a body a byte at a time": ([send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"), drip(b"[" * 1000, pause=0.01)], "timeout", 200),
}


@pytest.mark.parametrize("what", FAILURES)
def test_an_optional_part_that_fails_is_listed_and_the_rest_is_there(gateway, users, orders, what):
    script, reason, status = FAILURES[what]
    orders.by_default(*script)
    template = {"user": "${parts.users.name}", "orders": "${parts.orders}", "maybe?": "${parts.orders}", "first?": "${parts.orders[0].id}"}
    running = gateway(page(users, orders, part("users"), part("orders", required=False, timeoutMs=300), answer=template, route={"retryCount": 0}))
    began = time.monotonic()
    found = got_json(running.get("/users/7/page"))
    assert time.monotonic() - began < 2
    listed = found.pop("errors")
    assert found == {"user": "Ada", "orders": None}
    assert [(one["part"], one["reason"]) for one in listed] == [("orders", reason)]
    assert listed[0]["status"] == status or (status is None and listed[0]["status"] in (200, 502))
    running.wait_for_metric("sluice_errors_total", 1, type="aggregate-part-failed")
    assert running.gauges_at_zero()


@pytest.mark.parametrize("value", ["%0a", "a%0d%0aX-Admin:%201", "%00"])
def test_what_a_client_brings_into_a_parts_header_is_its_own_mistake(gateway, users, orders, value):
    def parts(required):
        return page(users, orders, part("users", headers={"X-Tag": "tag:${request.query.tag}"}, required=required), part("orders"))

    running = gateway(parts(True))
    refused = running.get(f"/users/7/page?tag={value}")
    assert refused.status == 400 and "bad-field" in refused.problem["detail"] and 'part "users"' in refused.problem["detail"]
    assert got_json(running.get("/users/7/page?tag=fine"))["users"]
    found = got_json(gateway(parts(False)).get(f"/users/7/page?tag={value}"))
    assert found == {"orders": [{"id": 1}, {"id": 2}], "errors": [{"part": "users", "reason": "bad-field", "status": 400}]}
    assert [one.headers["X-Tag"] for one in users.requests] == ["tag:fine"]
    assert running.gauges_at_zero()


@pytest.mark.parametrize("status, name, values", [
    (401, "WWW-Authenticate", ['Bearer realm="users"', "Basic"]), (429, "Retry-After", ["7"]), (503, "Retry-After", ["Mon, 30 Nov 2026 09:00:00 GMT"])])
def test_a_required_part_tells_the_client_what_to_do_better(gateway, users, orders, status, name, values):
    others = [("Retry-After", "9")] if status == 401 else [("WWW-Authenticate", "Basic")]
    users.by_default(answer(status, [*[(name, value) for value in values], *others, ("Set-Cookie", "a=b"), ("X-Why", "w")], b"no"))
    running = gateway(page(users, orders))
    failed = running.get("/users/7/page")
    assert failed.status == status and failed.headers.all(name) == values
    assert not {name for name, _ in others} & set(failed.headers) and "Set-Cookie" not in failed.headers and "X-Why" not in failed.headers
    running = gateway(page(users, orders, part("users", required=False), part("orders")))
    assert name not in running.get("/users/7/page").headers, "one that isn't required tells nobody"
    running = gateway({**page(users, orders), "internalResponseHeaders": [name]})
    assert values[0] not in running.get("/users/7/page").headers.all(name), "what is internal stays inside"
    assert running.gauges_at_zero()


@pytest.mark.parametrize("what, status", [("status", 502), ("not found", 404), ("redirect", 502), ("html", 502), ("too large", 502), ("closes", 502), ("late", 504),
                                          ("half a body", 502), ("half of the chunks", 502)])
def test_a_required_part_that_fails_is_the_answer(gateway, users, orders, what, status):
    users.by_default(*FAILURES[what][0])
    running = gateway(page(users, orders, part("users", timeoutMs=300), part("orders", required=False), route={"retryCount": 0}))
    failed = running.get("/users/7/page")
    assert failed.status == status and 'part "users"' in failed.problem["detail"]
    assert users.address not in failed.body.decode()
    assert running.gauges_at_zero()


def test_a_fallback_stands_in_the_place_of_a_part_that_failed(gateway, users, orders):
    orders.by_default(answer(500))
    running = gateway(page(users, orders, part("users"), part("orders", required=False, fallback={"items": [], "from": "nowhere"}),
                           answer={"orders": "${parts.orders}", "items": "${parts.orders.items}"}, errors="failed"))
    assert got_json(running.get("/users/7/page")) == {"orders": {"items": [], "from": "nowhere"}, "items": [],
                                                      "failed": [{"part": "orders", "reason": "status", "status": 500}]}


def test_once_a_required_part_has_failed_the_others_are_given_up(gateway, users, orders):
    left = threading.Event()

    def until_closed(wire, request):
        wire.read_until_close(timeout=5)
        left.set()
        raise Finished
    orders.by_default(until_closed)
    users.by_default(wait(0.1), answer(404))
    running = gateway(page(users, orders, part("users"), part("orders", required=False)))
    began = time.monotonic()
    assert running.get("/users/7/page").status == 404
    assert time.monotonic() - began < 1 and left.wait(1)
    assert running.gauges_at_zero()


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[1", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n[1\r\n"],
                         ids=["before the heads", "in the bodies", "between chunks"])
def test_a_client_that_leaves_takes_all_parts_along(gateway, users, orders, sent):
    begun, left = [], []

    def until_closed(wire, request):
        wire.send(sent)
        begun.append(request.target)
        wire.read_until_close(timeout=5)
        left.append(request.target)
        raise Finished
    users.by_default(until_closed)
    orders.by_default(until_closed)
    running = gateway(page(users, orders))
    with running.connect() as wire:
        wire.send(request_bytes(target="/users/7/page"))
        wait_until(lambda: len(begun) == 2)
        wire.reset()
    deadline = time.monotonic() + 2
    while len(left) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(left) == 2 and running.gauges_at_zero()


def test_the_routes_time_bounds_every_part(gateway, users, orders):
    orders.by_default(hang())
    running = gateway(page(users, orders, route={"timeoutMs": 400}))
    began = time.monotonic()
    found = got_json(running.get("/users/7/page"))
    assert found["users"]["name"] == "Ada" and found["errors"][0]["reason"] == "timeout"
    users.by_default(hang())
    assert running.get("/users/7/page").status == 504
    assert time.monotonic() - began < 3


def test_a_service_that_is_not_there_is_one_part_less(gateway, users, orders):
    running = gateway(page(users, orders))
    orders.stop_listening()
    found = got_json(running.get("/users/7/page"))
    assert found["errors"] == [{"part": "orders", "reason": "connect-failure", "status": 502}] and "orders" not in found


def test_a_text_is_taken_as_it_is(gateway, users, orders):
    orders.by_default(answer(200, {"Content-Type": "text/plain"}, b'say "hi"\n\xff\x00'))
    running = gateway(page(users, orders, part("users"), part("orders", **{"as": "text"})))
    assert got_json(running.get("/users/7/page"))["orders"] == 'say "hi"\n�\0'


def test_many_parts_and_large_ones(gateway, users, orders):
    large = json.dumps({"rows": [{"id": index, "text": "x" * 50} for index in range(3000)]}).encode()
    users.by_default(answer(200, {}, large))
    parts = [{"name": f"p{index}", "service": "users", "path": f"/{index}", "maxBytes": "1MiB"} for index in range(32)]
    running = gateway(page(users, orders, *parts))
    found = got_json(running.get("/users/7/page"))
    assert len(found) == 32 and found["p31"]["rows"][2999]["id"] == 2999
    assert sorted(users.targets()) == sorted(f"/{index}" for index in range(32))
    assert running.gauges_at_zero()


def test_a_reload_while_parts_are_on_their_way_changes_nothing_for_them(gateway, users, orders, new_backend):
    go_on = threading.Event()
    users.by_default(lambda wire, request: go_on.wait(10), as_json("old"))
    running = gateway(page(users, orders))
    with running.connect() as wire:
        wire.send(request_bytes(target="/users/7/page"))
        users.wait_for_requests(1)
        other = new_backend("other").by_default(as_json("new"))
        running.reload(page(other, orders))
        time.sleep(1.5)
        go_on.set()
        assert got_json(wire.read_response())["users"] == "old"
    assert got_json(running.get("/users/7/page"))["users"] == "new"


# --- over the admin API ---

def test_a_service_of_a_part_is_not_deleted_and_its_new_name_follows(gateway, users, orders):
    running = start_live(gateway, page(users, orders, answer={"u": "${parts.users}", "o?": "${parts.orders}", "n": [1, None, {"x": "${path.id}"}]}))
    refused = running.admin.delete("services", "orders", expect=409).json()
    assert [one["name"] for one in refused["users"]] == ["page"]
    running.admin.patch("services", "orders", {"name": "purchases"})
    route = running.admin.get("/routes/page")
    assert [one["service"] for one in route["aggregate"]["parts"]] == ["users", "purchases"]
    assert route["aggregate"]["answer"] == {"u": "${parts.users}", "o?": "${parts.orders}", "n": [1, None, {"x": "${path.id}"}]}
    assert got_json(running.get("/users/7/page")) == {"u": {"id": 7, "name": "Ada", "tags": ["a", {"deep": [1, 2]}]}, "o": [{"id": 1}, {"id": 2}], "n": [1, None, {"x": "7"}]}
    read = running.admin.ask("GET", "/routes/page").json()
    running.admin.put("routes", "page", {name: value for name, value in read.items() if name not in ("id", "createdAt", "updatedAt")})
    assert running.get("/users/7/page").status == 200


@pytest.mark.parametrize("change, words", [
    ({"parts": []}, "must not be empty"),
    ({"parts": [part("users"), part("users")]}, "is there already"),
    ({"parts": [part("1st")]}, "not a name for a part"),
    ({"parts": [part("nobody")]}, "unknown service"),
    ({"parts": [part("users", "users")]}, "begins with a /"),
    ({"parts": [part("users", "/a/../b")]}, "no path that can be asked for"),
    ({"parts": [part("users", "/a#b")]}, "no path that can be asked for"),
    ({"parts": [part("users", "/a/${path.id")]}, "}"),
    ({"parts": [part("users", "/a/${path.nothing}")]}, "nothing"),
    ({"parts": [part("users", headers={"Host": "x"})]}, "written by Sluice itself"),
    ({"parts": [part("users", forwardHeaders=["Content-Length"])]}, "written by Sluice itself"),
    ({"parts": [part("users", forwardHeaders=["X-Client-Certificate-Subject"])]}, "written by Sluice itself"),
    ({"parts": [part("users", forwardHeaders=["x_client_id"])]}, "written by Sluice itself"),
    ({"parts": [part("users", headers={"X_Request-Id": "x"})]}, "written by Sluice itself"),
    ({"parts": [part("users", fallback=1)]}, "required"),
    ({"parts": [part("users", maxBytes="8MiB")] + [{**part("users", maxBytes="8MiB"), "name": f"p{index}"} for index in range(4)]}, "32 MiB"),
    ({"answer": []}, "must be an object"),
    ({"answer": {"a": "${parts.nobody}"}}, "no such part"),
    ({"answer": {"a": "x ${parts.users}"}}, "stands alone"),
    ({"answer": {"a": "${parts.users}${parts.orders}"}}, "stands alone"),
    ({"answer": {"a": "${parts.users[}"}}, "not a place in a part"),
    ({"answer": {"a": "${parts.users..b}"}}, "not a place in a part"),
    ({"answer": {"a?": "x"}}, "only a part's value may be left out"),
    ({"answer": {"a": 1, "a?": "${parts.users}"}}, "with and without ?"),
    ({"answer": {"errors": 1}}, "another name"),
    ({"answer": {"a": "${nonsense}"}}, "nonsense"),
    ({"answer": {f"m{index}": "${parts.users.a}" for index in range(65)}}, "too many values"),
])
def test_what_makes_no_sense_is_refused_with_words(tmp_path, users, orders, change, words):
    config = page(users, orders)
    config["routes"][0]["aggregate"].update(change)
    file = tmp_path / "sluice.json"
    file.write_text(json.dumps(config))
    done = run_sluice("check", file)
    assert done.returncode == 1 and words in done.stderr, done.stderr


def test_a_route_has_one_ending(tmp_path, users, orders):
    file = tmp_path / "sluice.json"
    file.write_text(json.dumps(page(users, orders, route={"serviceId": "users"})))
    done = run_sluice("check", file)
    assert done.returncode == 1 and '"aggregate"; this one has several' in done.stderr
