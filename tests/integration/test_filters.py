"""Policies on the wire: what the service sees, what the client sees, and in which order they act."""
import pytest

from backend import answer
from gateway import proxy, run_sluice
from wire import chunked, request_bytes

pytestmark = pytest.mark.both_builds


def filtered(backend, *filters, plugins=None, **route):
    config = proxy(backend, route={"filters": list(filters), **route})
    return {**config, "plugins": plugins} if plugins else config


def on_response(**fields):
    return {**fields, "on": "response"}


# Headers

def test_headers_are_added_set_and_removed_on_the_way_in(gateway, backend):
    running = gateway(filtered(backend, {"type": "add_header", "name": "X-Many", "value": "2"}, {"type": "set_header", "name": "X-One", "value": "new"},
                               {"type": "remove_header", "name": "X-Gone"}))
    running.get("/", [("X-Many", "1"), ("X-One", "old"), ("x-one", "older"), ("X-GONE", "1"), ("X-Kept", "1")])
    seen = backend.requests[0].headers
    assert seen.all("X-Many") == ["1", "2"]
    assert seen.all("X-One") == ["new"]
    assert "X-Gone" not in seen and seen["X-Kept"] == "1"


TENANT = [{"type": "set-header", "name": "X-Tenant", "value": "fixed-${request.headers.x_tenant}"}, {"type": "remove-header", "name": "X-Internal-*"},
          {"type": "remove-header", "name": "X-Gone"}]


def test_names_that_cgi_would_read_as_set_or_removed_go_with_them(gateway, backend):
    running = gateway(filtered(backend, *TENANT, {"type": "set-header", "name": "X_Own", "value": "1"}))
    running.get("/", [("X_Tenant", "evil"), ("x_tenant", "evil"), ("X_Internal_Admin", "1"), ("X-Internal_Admin", "1"), ("X_Gone", "1"), ("X_Other", "kept"), ("X-Tenants", "kept")])
    seen = backend.requests[0].headers
    assert seen["X-Tenant"] == "fixed-evil, evil" and seen["X_Other"] == "kept" and seen["X-Tenants"] == "kept" and seen["X_Own"] == "1"
    assert not {"X_Tenant", "X_Internal_Admin", "X-Internal_Admin", "X_Gone"} & {name for name, _ in seen}


def test_trailers_do_not_bring_back_what_was_set_or_removed(gateway, backend):
    running = gateway(filtered(backend, *TENANT))
    trailers = [("X-Tenant", "evil"), ("x_tenant", "evil"), ("X-Internal-Admin", "1"), ("X_Gone", "1"), ("X-Kept", "1")]
    with running.send(request_bytes("POST", "/", {"Transfer-Encoding": "chunked"}) + chunked(b"x", trailers=trailers)) as wire:
        assert wire.read_response().status == 200
    assert [name for name, _ in backend.requests[0].trailers] == ["X-Kept"]


def test_headers_are_added_set_and_removed_on_the_way_out(gateway, backend):
    backend.by_default(answer(200, [("X-Many", "1"), ("X-One", "old"), ("X-Gone", "1"), ("X-Kept", "1")], b"x"))
    running = gateway(filtered(backend, on_response(type="add_header", name="X-Many", value="2"), on_response(type="set_header", name="X-One", value="new"),
                               on_response(type="remove_header", name="X-Gone")))
    seen = running.get("/").headers
    assert seen.all("X-Many") == ["1", "2"] and seen.all("X-One") == ["new"]
    assert "X-Gone" not in seen and seen["X-Kept"] == "1"


def test_a_beginning_with_a_star_removes_a_family(gateway, backend):
    running = gateway(filtered(backend, {"type": "remove-header", "name": "X-Debug-*"}))
    running.get("/", {"X-Debug-A": "1", "X-Debug-B": "2", "X-Debugger": "3"})
    assert "X-Debug-A" not in backend.requests[0].headers and "X-Debugger" in backend.requests[0].headers


def test_response_filters_act_on_the_gateways_own_answers_too(gateway, backend):
    running = gateway(filtered(backend, on_response(type="set_header", name="X-Served-By", value="sluice"), retryCount=0))
    backend.stop_listening()
    response = running.get("/")
    assert response.status == 502 and response.headers["X-Served-By"] == "sluice"


def test_values_may_hold_captures(gateway, backend):
    running = gateway(filtered(backend, {"type": "set_header", "name": "X-User", "value": "u:${path.id}"},
                               on_response(type="set_header", name="X-Id", value="${path.id}"), path="/users/{id}"))
    response = running.get("/users/a%20b")
    assert response.headers["X-Id"] in ("a b", "a%20b")
    assert backend.requests[0].headers["X-User"] == "u:" + response.headers["X-Id"]


@pytest.mark.parametrize("target", ["/users/a%0d%0aX-Evil:%201", "/users/%0a", "/users/%0d", "/users/a%0d%0a%0d%0aGET%20/smuggled%20HTTP/1.1"])
def test_a_capture_never_becomes_a_second_header(gateway, backend, target):
    running = gateway(filtered(backend, {"type": "set_header", "name": "X-User", "value": "${path.id}"},
                               on_response(type="set_header", name="X-Id", value="${path.id}"), path="/users/{id}"))
    with running.send(request_bytes(target=target)) as wire:
        response = wire.read_response()
    assert "X-Evil" not in response.headers
    assert all("X-Evil" not in request.headers and "smuggled" not in request.target.split("%")[0] for request in backend.requests)
    assert len(backend.requests) <= 1


@pytest.mark.parametrize("side", ["request", "response"])
@pytest.mark.parametrize("value", ["a%0d%0aX-Evil:%201", "%0a", "%0d", "%00", "a%1b[2Jb", "%01", "a%7fb"])
def test_a_control_character_that_a_query_brings_is_the_clients_mistake(gateway, backend, side, value):
    running = gateway(filtered(backend, {"type": "set_header", "name": "X-User", "value": "${request.query.a}", "on": side}))
    refused = running.get(f"/?a={value}")
    assert refused.status == 400 and refused.problem["rule"] == "set-header" and '"X-User"' in refused.problem["detail"]
    assert "X-Evil" not in refused.headers and len(backend.requests) == (side == "response")
    assert running.get("/?a=b").status == 200 and running.gauges_at_zero()


@pytest.mark.parametrize("name", ["Content-Length", "Transfer-Encoding", "Connection", "X-Request-ID", "X-Forwarded-For", "Bad Name", "X:Y", ""])
def test_what_no_filter_may_write_is_refused_at_load(tmp_path, name):
    file = tmp_path / "sluice.yaml"
    file.write_text(f"routes: [{{ name: a, path: /a, respond: {{ status: 200 }}, filters: [{{ type: set_header, name: \"{name}\", value: x }}] }}]\n")
    done = run_sluice("check", file)
    assert done.returncode == 1 and "sluice.yaml:1:" in done.stderr


def test_internal_headers_of_services_stay_inside(gateway, backend):
    backend.by_default(answer(200, {"X-Internal-Trace": "1", "Server": "secret/1.0", "X-Kept": "1"}, b"x"))
    seen = gateway(proxy(backend)).get("/").headers
    assert "X-Internal-Trace" not in seen and "Server" not in seen and seen["X-Kept"] == "1"
    backend.by_default(answer(200, {"X-Internal-Trace": "1", "X-Secret": "1"}, b"x"))
    seen = gateway(proxy(backend, internalResponseHeaders=["X-Secret"])).get("/").headers
    assert "X-Secret" not in seen and "X-Internal-Trace" in seen
    backend.by_default(answer(200, {"X-Client-ID": "1", "X-Client-Tier": "1", "X-Request-ID": "1"}, b"x"))
    seen = gateway(proxy(backend, internalResponseHeaders=["X-Client-*"])).get("/").headers
    assert "X-Client-ID" not in seen and "X-Client-Tier" not in seen and "X-Request-ID" in seen


# Paths and queries

@pytest.mark.parametrize("fields, target, seen", [
    ({"pattern": "^/old/(.*)$", "replacement": "/new/$1"}, "/old/a/b", "/new/a/b"),
    ({"pattern": "^/old/(.*)$", "replacement": "/new/$1"}, "/other", "/other"),
    ({"pattern": "^/old/(.*)$", "replacement": "/new/$1"}, "/old/a?b=/old/c", "/new/a?b=/old/c"),
    ({"pattern": "/v[0-9]+/", "replacement": "/"}, "/v1/a/v2/b", "/a/v2/b"),
    ({"path": "/fixed"}, "/anything?q=1", "/fixed?q=1"),
])
def test_paths_are_rewritten(gateway, backend, fields, target, seen):
    gateway(filtered(backend, {"type": "rewrite_path", **fields})).get(target)
    assert backend.targets() == [seen]


def test_a_rewrite_sees_the_path_after_strip_prefix(gateway, backend):
    running = gateway(filtered(backend, {"type": "rewrite_path", "pattern": "^/", "replacement": "/internal/"}, path="/api/*", stripPrefix=True))
    running.get("/api/x")
    assert backend.targets() == ["/internal/x"]


def test_a_rewrite_cannot_smuggle_a_line_or_dots(gateway, backend):
    running = gateway(filtered(backend, {"type": "rewrite_path", "path": "/files/${path.name}"}, path="/get/{name}"))
    for target in ("/get/..%2F..%2Fetc", "/get/a%0d%0aX:%20y", "/get/a%20b", "/get/a%3Fb"):
        running.get(target)
    for request in backend.requests:
        assert request.target.startswith("/files/") and "?" not in request.target and " " not in request.target


def test_query_parameters_are_added(gateway, backend):
    running = gateway(filtered(backend, {"type": "add_query_param", "name": "src", "value": "gate way&x=1"}))
    running.get("/a")
    running.get("/a?b=c")
    first, second = backend.targets()
    assert first == "/a?src=gate%20way%26x%3D1"
    assert second == "/a?b=c&src=gate%20way%26x%3D1"


# Who may come in

def test_addresses_are_let_in_or_kept_out(gateway, backend):
    running = gateway(filtered(backend, {"type": "ip-list", "allow": ["127.0.0.0/30"], "deny": ["127.0.0.2"]}))

    def status(source):
        with running.connect(source=source) as wire:
            return wire.send(request_bytes()).read_response().status
    assert [status(source) for source in ("127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4")] == [200, 403, 200, 403]
    assert len(backend.requests) == 2


def test_an_address_from_a_header_counts_from_trusted_proxies_only(gateway, backend):
    deny = {"type": "ip-list", "deny": ["10.9.9.9"]}
    running = gateway(filtered(backend, deny))
    assert running.get("/", {"X-Forwarded-For": "10.9.9.9"}).status == 200, "anybody may write that header"
    trusting = gateway({**filtered(backend, deny), "trustedProxies": ["127.0.0.1"]})
    assert trusting.get("/", {"X-Forwarded-For": "10.9.9.9"}).status == 403
    assert trusting.get("/", {"X-Forwarded-For": "10.9.9.9, 10.1.1.1"}).status == 200, "the last untrusted one is the client"
    assert trusting.get("/", {"X-Forwarded-For": "10.1.1.1, 127.0.0.1"}).status == 200
    assert backend.requests[-1].headers["X-Forwarded-For"] == "10.1.1.1, 127.0.0.1, 127.0.0.1"


def test_a_request_id_of_a_trusted_proxy_is_kept(gateway, backend):
    running = gateway(proxy(backend, trustedProxies=["127.0.0.1"]))
    running.get("/", {"X-Request-ID": "abc-123"})
    assert backend.requests[0].headers["X-Request-ID"] == "abc-123"
    assert running.log_lines(1)[0]["requestId"] == "abc-123"


def test_a_global_deny_cannot_be_lifted_by_a_route(gateway, backend):
    plugin = {"name": "ip-list", "config": {"deny": ["127.0.0.1"]}}
    running = gateway(filtered(backend, {"type": "ip-list", "allow": ["127.0.0.1"]}, plugins=[plugin]))
    assert running.get("/").status == 403


def test_a_plugin_is_everywhere_or_where_it_says(gateway, backend):
    config = proxy(backend)
    config["routes"].append({"name": "other", "path": "/other", "serviceId": "backend"})
    config["plugins"] = [{"name": "set-header", "instanceName": "a", "config": {"name": "X-All", "value": "1"}},
                         {"name": "set-header", "instanceName": "b", "config": {"name": "X-Other", "value": "1"}, "routes": ["other"]}]
    running = gateway(config)
    running.get("/")
    running.get("/other")
    first, second = backend.requests
    assert "X-All" in first.headers and "X-Other" not in first.headers
    assert "X-All" in second.headers and "X-Other" in second.headers


def test_underscores_and_hyphens_name_the_same_policy(gateway, backend):
    running = gateway(filtered(backend, {"type": "add-header", "name": "X-A", "value": "1"}, {"type": "add_header", "name": "X-B", "value": "2"}))
    running.get("/")
    assert backend.requests[0].headers["X-A"] == "1" and backend.requests[0].headers["X-B"] == "2"


# Browsers

CORS = {"type": "cors", "origins": ["https://app.example.com"], "methods": ["GET", "PUT"], "headers": ["Content-Type", "X-Token"], "allowCredentials": True, "maxAge": 600}


def preflight(running, origin="https://app.example.com", method="PUT", headers="content-type"):
    return running.request("OPTIONS", "/", {"Origin": origin, "Access-Control-Request-Method": method, "Access-Control-Request-Headers": headers})


def test_a_preflight_is_answered_here_and_names_what_is_allowed(gateway, backend):
    running = gateway(filtered(backend, CORS, methods=["GET", "PUT"]))
    response = preflight(running)
    assert response.status in (200, 204)
    assert response.headers["Access-Control-Allow-Origin"] == "https://app.example.com"
    assert "PUT" in response.headers["Access-Control-Allow-Methods"]
    assert "x-token" in response.headers["Access-Control-Allow-Headers"].lower() or "content-type" in response.headers["Access-Control-Allow-Headers"].lower()
    assert response.headers["Access-Control-Max-Age"] == "600"
    assert response.headers["Access-Control-Allow-Credentials"] == "true"
    assert "Origin" in response.headers["Vary"]
    assert backend.requests == []


@pytest.mark.parametrize("refused", [{"origin": "https://evil.example.com"}, {"origin": "https://app.example.com.evil.com"}, {"origin": "null"},
                                     {"method": "DELETE"}, {"headers": "x-other"}])
def test_a_preflight_for_what_is_not_allowed_gets_no_permission(gateway, backend, refused):
    running = gateway(filtered(backend, CORS))
    response = preflight(running, **refused)
    allowed = (response.headers.get("Access-Control-Allow-Origin") == refused.get("origin", "https://app.example.com")
               and refused.get("method", "PUT") in response.headers.get("Access-Control-Allow-Methods", "")
               and refused.get("headers", "content-type") in response.headers.get("Access-Control-Allow-Headers", "").lower())
    assert not allowed
    assert backend.requests == []


def test_the_actual_request_carries_the_permission_and_the_services_own_is_replaced(gateway, backend):
    backend.by_default(answer(200, {"Access-Control-Allow-Origin": "*"}, b"x"))
    running = gateway(filtered(backend, CORS))
    response = running.get("/", {"Origin": "https://app.example.com"})
    assert response.headers.all("Access-Control-Allow-Origin") == ["https://app.example.com"]
    assert "Origin" in response.headers["Vary"]
    assert "Access-Control-Allow-Origin" not in running.get("/", {"Origin": "https://evil.example.com"}).headers


def test_without_cors_options_is_an_ordinary_request(gateway, backend):
    running = gateway(proxy(backend))
    assert preflight(running).status == 200
    assert backend.requests[0].method == "OPTIONS"


def test_security_headers_are_there_on_every_answer(gateway, backend):
    running = gateway(filtered(backend, {"type": "security-headers"}, retryCount=0))
    ok = running.get("/").headers
    backend.stop_listening()
    failed = running.get("/").headers
    for seen in (ok, failed):
        assert seen["X-Content-Type-Options"] == "nosniff"
        assert seen["X-Frame-Options"].upper() in ("DENY", "SAMEORIGIN")


# Handlers

def test_a_static_answer_needs_no_service(gateway):
    running = gateway({"routes": [{"name": "a", "path": "/a", "respond": {"status": 418, "headers": {"X-A": "b", "Content-Type": "text/plain"}, "body": "short"}},
                                  {"name": "empty", "path": "/e", "respond": {"status": 204}}]})
    response = running.request("POST", "/a", body=b"ignored" * 1000)
    assert (response.status, response.headers["X-A"], response.body) == (418, "b", b"short")
    assert running.get("/e").status == 204
    with running.connect() as wire:
        for _ in range(3):
            wire.send(request_bytes("POST", "/a", body=b"x" * 100_000))
            assert wire.read_response().status == 418, "the connection is in step after an unread body"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_says_where_to(gateway, status):
    running = gateway({"routes": [{"name": "a", "path": "/a/*", "redirect": {"to": "https://example.com/b", "status": status}}]})
    response = running.get("/a/x")
    assert response.status == status and response.headers["Location"] == "https://example.com/b"


def test_errors_are_problem_documents_with_the_requests_id(gateway, backend):
    running = gateway(proxy(backend, route={"path": "/only"}))
    response = running.get("/nowhere")
    assert response.status == 404
    problem = response.problem
    assert problem["status"] == 404 and problem["title"] and problem["requestId"] == running.log_lines(1)[0]["requestId"]


def test_metrics_count_by_route_service_method_and_class(gateway, backend):
    backend.on("/bad", answer(503))
    running = gateway(proxy(backend, route={"retryCount": 0}))
    for target in ("/a", "/b", "/bad"):
        running.get(target)
    running.request("BREW", "/a")
    metrics = running.metrics()
    assert metrics.get("sluice_requests_total", route="all", service="backend", method="GET", status_class="2xx") == 2
    assert metrics.get("sluice_requests_total", route="all", status_class="5xx") == 1
    assert metrics.get("sluice_requests_total", method="OTHER") == 1
    assert metrics.get("sluice_request_duration_seconds_count", route="all") == 4
    assert metrics.get("sluice_upstream_duration_seconds_count", service="backend") == 4
    assert not any("path" in labels for labels in metrics.labels("sluice_requests_total"))
