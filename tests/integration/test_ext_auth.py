"""ext-auth: a decision service that is asked before a request goes on: in time and late, whole and broken, honest and hostile.

The decision service is a backend whose answers are scripts; what it is asked is read strictly, and `auth.requests` remembers it.
"""
import json
import shutil
import subprocess
import threading
import time

import pytest

from backend import Finished, answer, before_body, close, drip, hang, reset, send, wait, wait_for
from gateway import proxy, run_sluice, service
from live import start_live
from wire import chunked, connect, request_bytes, response_bytes


@pytest.fixture
def auth(new_backend):
    return new_backend("auth").by_default(answer(200))


def guarded(backend, auth, route=None, services=(), **fields):
    config = proxy(backend, route={"filters": [{"type": "ext-auth", "service": "auth", "timeoutMs": 400, **fields}], **(route or {})})
    config["services"] += [service(auth, name="auth"), *services]
    return config


def ext_authz(backend, auth, **fields):
    return guarded(backend, auth, mode="ext-authz", **fields)


# --- as nginx's auth_request ---

def test_a_request_goes_on_when_the_service_says_so(gateway, backend, auth):
    running = gateway(guarded(backend, auth, path="/check?from=sluice"))
    assert running.get("/a/b?c=d", {"Authorization": "Bearer x", "Cookie": "a=b"}).status == 200
    asked = auth.requests[0]
    assert (asked.method, asked.target) == ("GET", "/check?from=sluice")
    assert asked.headers["X-Original-URI"] == "/a/b?c=d" and asked.headers["X-Original-Method"] == "GET"
    assert asked.headers["Authorization"] == "Bearer x" and asked.headers["Cookie"] == "a=b"
    assert asked.headers["X-Forwarded-For"] == "127.0.0.1" and asked.headers["X-Forwarded-Proto"] == "http"
    assert asked.headers["X-Forwarded-Host"] == "gateway.test" and asked.headers["Host"] == auth.address
    assert asked.headers["X-Request-ID"] == backend.requests[0].headers["X-Request-ID"]
    assert running.gauges_at_zero()


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_never_reaches_the_service(gateway, backend, auth, status):
    auth.by_default(answer(status, {"WWW-Authenticate": 'Bearer realm="r"', "X-Why": "not you"}, b"a page"))
    running = gateway(guarded(backend, auth))
    refused = running.get("/a")
    assert refused.status == status and refused.problem["rule"] == "ext-auth"
    assert refused.headers["WWW-Authenticate"] == 'Bearer realm="r"' and "X-Why" not in refused.headers
    assert backend.requests == []
    assert running.log_lines(1)[-1]["status"] == status


@pytest.mark.parametrize("status", [204, 299])
def test_every_2xx_lets_through(gateway, backend, auth, status):
    auth.by_default(answer(status))
    assert gateway(guarded(backend, auth)).get("/a").status == 200


@pytest.mark.parametrize("status", [302, 404, 500, 503])
def test_any_other_status_is_no_decision(gateway, backend, auth, status):
    auth.by_default(answer(status, {"Location": "/login"}))
    running = gateway(guarded(backend, auth))
    refused = running.get("/a")
    assert refused.status == 503 and "Location" not in refused.headers
    assert backend.requests == []
    assert f"{status}" not in refused.problem["detail"]


def test_a_body_does_not_go_along_and_reaches_the_service_whole(gateway, backend, auth):
    running = gateway(guarded(backend, auth))
    assert running.request("POST", "/a", {"Content-Type": "text/plain"}, b"hello" * 1000).status == 200
    asked = auth.requests[0]
    assert asked.body == b"" and "Content-Length" not in asked.headers and asked.headers["X-Original-Method"] == "POST"
    assert backend.requests[0].body == b"hello" * 1000


def test_what_only_the_gateway_says_is_not_a_clients_to_say(gateway, backend, auth):
    running = gateway(guarded(backend, auth))
    forged = {"X-Original-URI": "/harmless", "X_Original_Method": "GET", "X-Forwarded-For": "10.0.0.1", "X-Authenticated-User": "root",
              "X_Client_ID": "root", "X-Real-IP": "10.0.0.1", "Forwarded": "for=10.0.0.1", "Connection": "X-Secret", "X-Secret": "1"}
    running.request("DELETE", "/admin", forged)
    asked = auth.requests[0].headers
    assert asked.all("X-Original-URI") == ["/admin"] and asked.all("X-Forwarded-For") == ["127.0.0.1"]
    assert not {"x_original_method", "x-authenticated-user", "x_client_id", "x-real-ip", "forwarded", "x-secret"} & set(asked.names())


def test_the_path_that_is_judged_is_the_one_that_is_routed(gateway, backend, auth):
    running = gateway(guarded(backend, auth))
    running.get("/public/%2e%2e/secret")
    assert auth.requests[0].headers["X-Original-URI"] == "/secret" and backend.requests[0].target == "/secret"


def test_headers_that_go_along_are_chosen_and_added(gateway, backend, auth):
    running = gateway(guarded(backend, auth, requestHeaders=["Authorization", "X-Tenant-*"], setHeaders={"X-Id": "id:${path.id}", "X-Kind": "page"},
                              route={"path": "/users/{id}"}))
    running.get("/users/7", {"Authorization": "b", "X-Tenant-Name": "t", "Cookie": "c=d", "X-Id": "mine"})
    asked = auth.requests[0].headers
    assert asked["Authorization"] == "b" and asked["X-Tenant-Name"] == "t" and "Cookie" not in asked
    assert asked.all("X-Id") == ["id:7"] and asked["X-Kind"] == "page"


def test_headers_of_the_decision_go_to_the_service_and_to_the_client(gateway, backend, auth):
    auth.by_default(answer(200, [("X-User", "alice"), ("X-Roles", "a"), ("X-Roles", "b"), ("X-Note", "n"), ("Set-Cookie", "s=1"), ("X-Other", "1")]))
    running = gateway(guarded(backend, auth, upstreamHeaders=["X-User", "X-Roles"], appendedHeaders=["X-Note"], clientHeaders=["Set-Cookie"]))
    got = running.get("/a", [("X-User", "root"), ("x_user", "root"), ("X-Note", "mine")])
    seen = backend.requests[0].headers
    assert seen.all("X-User") == ["alice"] and "x_user" not in seen and seen.all("X-Roles") == ["a", "b"]
    assert seen.all("X-Note") == ["mine", "n"] and "X-Other" not in seen and "Set-Cookie" not in seen
    assert got.headers["Set-Cookie"] == "s=1" and "X-User" not in got.headers


def test_a_client_never_speaks_for_a_decision_that_is_silent(gateway, backend, auth):
    running = gateway(guarded(backend, auth, upstreamHeaders=["X-User", "X-Auth-*"]))
    running.get("/a", {"X-User": "root", "X-Auth-Role": "admin", "X_AUTH_ROLE": "admin"})
    assert not {"x-user", "x-auth-role", "x_auth_role"} & set(backend.requests[0].headers.names())


def test_who_asks_may_come_from_the_decision(gateway, backend, auth):
    auth.by_default(answer(200, {"X-User": "alice", "X-App": "web"}))
    running = gateway(guarded(backend, auth, userIdHeader="X-User", clientIdHeader="X-App"))
    running.get("/a", {"X-Authenticated-User": "root"})
    seen = backend.requests[0].headers
    assert seen.all("X-Authenticated-User") == ["alice"] and seen.all("X-Client-ID") == ["web"]
    line = running.log_lines(1)[-1]
    assert (line["userId"], line["clientId"]) == ("alice", "web")


def test_roles_are_those_of_whom_the_decision_names(gateway, backend, auth):
    auth.by_default(answer(200, {"X-App": "svc"}))
    told = "${auth.roles.join(',')}"
    config = guarded(backend, auth, clientIdHeader="X-App", setHeaders={"X-Roles": told})  # asked for when nobody is known yet
    config["roles"] = [{"name": "ops", "clients": ["svc"], "permissions": [{}]}]
    config["routes"][0]["filters"].append({"type": "set-header", "name": "X-Seen", "value": told})
    running = gateway(config)
    assert running.get("/a").status == 200
    assert auth.requests[0].headers.all("X-Roles") == [""] and backend.requests[0].headers.all("X-Seen") == ["ops"]


def test_a_decision_without_a_name_lets_in_nobody_in_particular(gateway, backend, auth):
    running = gateway(guarded(backend, auth, userIdHeader="X-User"))
    assert running.get("/a", {"X-Authenticated-User": "root"}).status == 200
    assert "X-Authenticated-User" not in backend.requests[0].headers


# --- nginx itself in front of the same decision service ---

NGINX = shutil.which("nginx", path="/usr/sbin:/usr/bin:/sbin:/bin")

NGINX_CONF = """
daemon off; error_log stderr; pid {folder}/nginx.pid; worker_processes 1;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {folder}/a; proxy_temp_path {folder}/b; fastcgi_temp_path {folder}/c; uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
    server {{
        listen 127.0.0.1:{port};
        location / {{
            auth_request /check;
            auth_request_set $who $upstream_http_x_user;
            proxy_set_header X-User $who;
            proxy_pass http://{backend};
        }}
        location = /check {{
            internal;
            proxy_pass http://{auth};
            proxy_pass_request_body off;
            proxy_set_header Content-Length "";
            proxy_set_header X-Original-URI $request_uri;
            proxy_set_header X-Original-Method $request_method;
        }}
    }}
}}
"""


def decide(wire, request):
    """A decision service as people write them for nginx: by the original URI and a bearer token."""
    if request.headers.get("Authorization") != "Bearer good":
        wire.send(response_bytes(401, {"WWW-Authenticate": 'Bearer realm="shop"'}, b"no"))
    elif request.headers["X-Original-URI"].startswith("/admin") or request.headers["X-Original-Method"] == "DELETE":
        wire.send(response_bytes(403, {}, b"no"))
    else:
        wire.send(response_bytes(200, {"X-User": "alice"}, b"yes"))


@pytest.fixture
def nginx(tmp_path, backend, auth):
    if not NGINX or "http_auth_request_module" not in subprocess.run([NGINX, "-V"], capture_output=True, text=True).stderr:
        pytest.skip("no nginx with auth_request here")
    from backend import free_port
    port = free_port()
    file = tmp_path / "nginx.conf"
    file.write_text(NGINX_CONF.format(folder=tmp_path, port=port, backend=backend.address, auth=auth.address))
    process = subprocess.Popen([NGINX, "-e", "stderr", "-p", str(tmp_path), "-c", str(file)], stderr=subprocess.PIPE)
    deadline = time.monotonic() + 10
    while True:
        try:
            connect(("127.0.0.1", port)).close()
            break
        except OSError:
            assert process.poll() is None and time.monotonic() < deadline, process.stderr.read()
            time.sleep(0.02)
    yield ("127.0.0.1", port)
    process.terminate()
    process.wait(10)


def outcomes(address, backend):
    """What a client gets and what the service sees, of some requests."""
    found = []
    for method, target, token in [("GET", "/a?b=c", "good"), ("GET", "/a", "bad"), ("GET", "/a", None), ("GET", "/admin/x", "good"),
                                  ("DELETE", "/a", "good"), ("POST", "/form", "good")]:
        backend.forget()
        body = b"field=1" if method == "POST" else None
        with connect(address) as wire:
            wire.send(request_bytes(method, target, {"Authorization": f"Bearer {token}", "X-User": "root"} if token else {"X-User": "root"}, body))
            got = wire.read_response(method)
        seen = [(one.method, one.target, one.headers.all("X-User"), one.body) for one in backend.requests]
        found.append((method, target, token, got.status, got.headers.get("WWW-Authenticate"), seen))
    return found


def test_the_same_decision_service_works_behind_nginx_and_behind_us(gateway, backend, auth, nginx):
    auth.by_default(decide)
    behind_nginx = outcomes(nginx, backend)
    running = gateway(guarded(backend, auth, path="/check", upstreamHeaders=["X-User"]))
    assert outcomes(running.address, backend) == behind_nginx
    assert [status for _, _, _, status, _, _ in behind_nginx] == [200, 401, 401, 403, 403, 200]


def test_trailers_do_not_say_what_a_decision_says(gateway, backend, auth):
    auth.by_default(answer(200, {"X-User": "alice"}))
    running = gateway(guarded(backend, auth, upstreamHeaders=["X-User", "X-Auth-*"]))
    trailers = [("X-User", "root"), ("X_User", "root"), ("x_auth_role", "root"), ("X-Kept", "1")]
    with running.send(request_bytes("POST", "/", {"Transfer-Encoding": "chunked"}) + chunked(b"x", trailers=trailers)) as wire:
        assert wire.read_response().status == 200
    assert backend.requests[0].headers["X-User"] == "alice" and [name for name, _ in backend.requests[0].trailers] == ["X-Kept"]


def test_a_head_that_a_service_may_break_off_for_opens_nothing(gateway, backend, auth):
    """Many servers reset for a large head, which looks like a service that fails; who asks for `allow` gets 431 before it is sent."""
    running = gateway(guarded(backend, auth, onFailure="allow"))
    large = {"Cookie": "a=" + "x" * 17_000}
    assert running.get("/a", large).status == 431 and running.get("/a?" + "x" * 6000, {"Cookie": "a=" + "x" * 11_000}).status == 431
    assert running.get("/a", {"Cookie": "a=" + "x" * 15_000}).status == 200 and len(auth.requests) == 1
    running.reload(guarded(backend, auth))
    assert running.get("/a", large).status == 200
    running.reload(guarded(backend, auth, onFailure="allow", requestHeaders=["Authorization"]))
    assert running.get("/a", large).status == 200, "what doesn't go along doesn't count"


# --- as Envoy's ext_authz over HTTP ---

KNOWN_FIELDS = {"host", "content-length", "authorization", "x-envoy-auth-partial-body"}


def checks_every_field(allowed=(), prefix="", added=None, body=False):
    """A server that refuses (418) whatever the protocol does not document, and reports it."""
    added = {name.lower(): value for name, value in (added or {}).items()}

    def step(wire, request):
        names = request.headers.names()
        wrong = set(names) - KNOWN_FIELDS - {name.lower() for name in allowed} - set(added)
        if not body:
            wrong |= {"a body"} if request.body or "x-envoy-auth-partial-body" in names else set()
        if len(names) != len(set(names)) or request.headers.get("Content-Length") != str(len(request.body)):
            wrong.add(f"framing: {names}")
        if not request.target.startswith(prefix or "/"):
            wrong.add(f"target: {request.target}")
        wrong |= {name for name, value in added.items() if request.headers.all(name) != [value]}
        wire.send(response_bytes(418 if wrong else 200, {"X-Wrong": ", ".join(sorted(wrong))}))
    return step


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "OPTIONS", "PURGE"])
def test_ext_authz_asks_with_the_documented_fields_and_no_others(gateway, backend, auth, method):
    auth.by_default(checks_every_field(["X-Tenant", "Cookie"], "/authz", {"X-Via": "sluice"}))
    running = gateway(ext_authz(backend, auth, path="/authz/", requestHeaders=["X-Tenant", "Cookie"], setHeaders={"X-Via": "sluice"}, clientHeaders=["X-Wrong"]))
    headers = {"Authorization": "Basic x", "X-Tenant": "t", "Cookie": "a=b", "X-Other": "1", "User-Agent": "u", "Accept": "*/*"}
    got = running.request(method, "/a/b?c=d", headers, b"x" * 10 if method == "POST" else None)
    assert got.status == 200, got.headers.get("X-Wrong")
    asked = auth.requests[0]
    assert (asked.method, asked.target) == (method, "/authz/a/b?c=d") and asked.headers["Host"] == "gateway.test"
    assert asked.headers["Authorization"] == "Basic x" and asked.headers["Content-Length"] == "0"


def test_ext_authz_answers_the_client_with_the_services_refusal(gateway, backend, auth):
    auth.by_default(answer(302, [("Location", "https://login.test/"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("Content-Type", "text/html"),
                                 ("Server", "secret/1.0"), ("X-Why", "login")], b"<p>go there</p>"))
    running = gateway(ext_authz(backend, auth))
    refused = running.get("/a")
    assert refused.status == 302 and refused.headers["Location"] == "https://login.test/" and refused.body == b"<p>go there</p>"
    assert refused.headers.all("Set-Cookie") == ["a=1", "b=2"] and refused.headers["Content-Type"] == "text/html"
    assert refused.headers["X-Why"] == "login" and "Server" not in refused.headers and backend.requests == []


def test_ext_authz_refusals_bring_listed_headers_only_where_a_list_is_given(gateway, backend, auth):
    auth.by_default(answer(401, [("WWW-Authenticate", "Basic"), ("X-Why", "w"), ("X-Secret", "s"), ("Location", "/l")], b"no"))
    refused = gateway(ext_authz(backend, auth, deniedHeaders=["X-Why"])).get("/a")
    assert refused.status == 401 and refused.headers["X-Why"] == "w" and "X-Secret" not in refused.headers
    assert refused.headers["WWW-Authenticate"] == "Basic" and refused.headers["Location"] == "/l"


@pytest.mark.parametrize("cache", [{}, {"cache": {"key": "${request.path}"}}])
@pytest.mark.parametrize("said, told", [({"Content-Length": "70000"}, "70000"), ({"Content-Length": "0"}, "0"), ({"Transfer-Encoding": "chunked"}, None), ({}, None)])
def test_a_refusal_of_head_speaks_of_the_body_that_get_would_bring(gateway, backend, auth, said, told, cache):
    auth.by_default(send(response_bytes(403, {"Content-Type": "text/plain", "Content-Encoding": "gzip", **said}, length=False)))
    running = gateway({**ext_authz(backend, auth, **cache), "workers": 1})
    for _ in range(2):
        refused = running.request("HEAD", "/a")
        assert refused.status == 403 and refused.headers["Content-Type"] == "text/plain" and refused.headers["Content-Encoding"] == "gzip"
        assert refused.headers.get("Content-Length") == told


BY_NAME = ["content-type", "Content-Encoding", "Content-Range", "ETag", "Accept-Ranges", "Date", "Server", "Content-Security-Policy", "X-Why"]


@pytest.mark.parametrize("mode, status, lists", [
    ("auth-request", 200, {"clientHeaders": BY_NAME}),
    ("ext-authz", 200, {"clientHeaders": BY_NAME}),
    ("auth-request", 403, {"deniedHeaders": BY_NAME}),
    ("auth-request", 200, {"clientHeaders": ["Content-*", "D*", "E*", "Acc*", "X-Why"]}),
    ("ext-authz", 200, {"clientHeaders": ["Content-*", "D*", "E*", "Acc*", "X-Why"]}),
    ("auth-request", 403, {"deniedHeaders": ["Content-*", "D*", "E*", "Acc*", "X-Why"]}),
])
def test_what_speaks_of_a_decisions_body_goes_with_no_other(gateway, backend, auth, mode, status, lists):
    auth.by_default(answer(status, {"Content-Type": "text/html", "Content-Encoding": "br", "Content-Range": "bytes 0-0/1", "ETag": '"1"', "Accept-Ranges": "bytes",
                                    "Date": "Mon, 30 Nov 2020 09:00:00 GMT", "Server": "secret/1.0", "Content-Security-Policy": "default-src 'none'", "X-Why": "w"}, b"x"))
    backend.by_default(answer(200, {"Content-Type": "text/plain"}, b"whole"))
    got = gateway(guarded(backend, auth, mode=mode, **lists)).get("/a")
    assert got.status == status and got.headers["X-Why"] == "w" and "Content-Security-Policy" in got.headers
    assert len(got.headers.all("Content-Type")) == 1 and got.headers["Content-Type"] in ("text/plain", "application/problem+json")
    assert len(got.headers.all("Date")) == 1 and "2020" not in got.headers["Date"]
    assert not {"content-encoding", "content-range", "etag", "accept-ranges", "server"} & set(got.headers.names())


@pytest.mark.parametrize("mode, status, lists", [
    ("auth-request", 200, {"clientHeaders": ["X-Internal-*", "X-Why", "X-Debug", "Ser*"]}),
    ("auth-request", 403, {"deniedHeaders": ["X-*", "Ser*"]}),
    ("ext-authz", 200, {"clientHeaders": ["X-*", "Ser*"]}),
    ("ext-authz", 403, {}),
    ("ext-authz", 403, {"deniedHeaders": ["X-Internal-Debug", "X-Why", "X-Debug"]}),
])
@pytest.mark.parametrize("cache", [{}, {"cache": {"key": "${request.path}"}}])
def test_what_is_internal_reaches_no_client_by_way_of_a_decision(gateway, backend, auth, mode, status, lists, cache):
    auth.by_default(answer(status, {"X-Internal-Debug": "1", "x-internal-trace": "1", "X-Debug": "1", "Server": "secret/1.0", "X-Why": "w"}, b"x"))
    running = gateway({**guarded(backend, auth, mode=mode, upstreamHeaders="X-Internal-Debug", **lists, **cache), "internalResponseHeaders": ["X-Internal-*", "X-Debug"]})
    for _ in range(2):
        got = running.get("/a")
        assert got.status == status and got.headers["X-Why"] == "w"
        assert not {"x-internal-debug", "x-internal-trace", "x-debug", "server"} & set(got.headers.names())
    assert all(seen.headers["X-Internal-Debug"] == "1" for seen in backend.requests)  # the service may know


def test_what_is_internal_is_so_after_a_reload_for_kept_decisions_too(gateway, backend, auth):
    auth.by_default(answer(403, {"X-Why": "w"}))
    config = {**ext_authz(backend, auth, cache={"key": "${request.path}", "negativeTtl": 60}), "workers": 1}
    running = gateway(config)
    assert running.get("/a").headers["X-Why"] == "w"
    running.reload({**config, "internalResponseHeaders": ["X-Why"]})
    got = running.get("/a")
    assert got.status == 403 and "X-Why" not in got.headers and len(auth.requests) == 1


@pytest.mark.parametrize("status, expected", [(201, 201), (204, 204), (404, 404), (429, 429), (500, 503), (502, 503)])
def test_ext_authz_lets_through_200_alone(gateway, backend, auth, status, expected):
    auth.by_default(answer(status))
    assert gateway(ext_authz(backend, auth)).get("/a").status == expected
    assert backend.requests == []


def test_ext_authz_names_headers_that_the_service_is_not_to_see(gateway, backend, auth):
    auth.by_default(answer(200, {"x-envoy-auth-headers-to-remove": "Authorization, X-Debug, Host, Content-Length, not a name", "X-User": "alice"}))
    running = gateway(ext_authz(backend, auth, upstreamHeaders=["X-User"]))
    assert running.request("POST", "/a", {"Authorization": "b", "X-Debug": "1", "X-Kept": "1"}, b"body").status == 200
    seen = backend.requests[0]
    assert "Authorization" not in seen.headers and "X-Debug" not in seen.headers and seen.headers["X-Kept"] == "1"
    assert seen.body == b"body" and seen.headers["Host"] == "gateway.test"


def test_ext_authz_may_see_the_body_which_the_service_gets_whole(gateway, backend, auth):
    auth.by_default(checks_every_field(body=True))
    running = gateway(ext_authz(backend, auth, body={"maxBytes": "64KiB"}, clientHeaders=["X-Wrong"]))
    body = bytes(range(256)) * 200
    got = running.request("PUT", "/a", {}, body)
    assert got.status == 200, got.headers.get("X-Wrong")
    assert auth.requests[0].body == body and auth.requests[0].headers["x-envoy-auth-partial-body"] == "false"
    assert backend.requests[0].body == body
    assert running.gauges_at_zero()


def test_ext_authz_sees_chunks_and_slow_bodies_as_one(gateway, backend, auth):
    running = gateway(ext_authz(backend, auth, body={"maxBytes": "64KiB"}))
    with running.connect() as wire:
        wire.send(b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        time.sleep(0.1)
        assert auth.requests == []
        wire.send(b"6\r\n world\r\n0\r\n\r\n")
        assert wire.read_response().status == 200
    assert auth.requests[0].body == b"hello world" and backend.requests[0].body == b"hello world"


def test_a_body_in_many_small_pieces_is_one_body(gateway, backend, auth):
    """As small as chunks may be: in one read, and in one read each, more of them than a retry would keep."""
    running = gateway(ext_authz(backend, auth, body={"maxBytes": "64KiB"}))
    chunks = [b"2\r\n%02d\r\n" % (number % 100) for number in range(400)]
    whole = b"".join(b"%02d" % (number % 100) for number in range(400))
    for pause in (0, 0.002):
        with running.connect() as wire:
            wire.send(b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
            for chunk in chunks if pause else [b"".join(chunks)]:
                wire.send(chunk)
                time.sleep(pause)
            wire.send(b"0\r\n\r\n")
            assert wire.read_response().status == 200
        assert auth.requests[-1].body == whole and backend.requests[-1].body == whole
    assert running.gauges_at_zero()


def test_a_body_that_does_not_come_takes_no_memory(gateway, backend, auth):
    running = gateway(ext_authz(backend, auth, body={"maxBytes": "1MiB"}))
    heads = [b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", b"Content-Length: 1000000\r\n\r\nhello"]
    wires = [running.send(b"POST /a HTTP/1.1\r\nHost: a\r\n" + head) for head in heads * 10]
    time.sleep(0.3)
    assert running.metric("sluice_buffer_bytes") < 1 << 20
    for wire in wires:
        wire.close()
    assert running.gauges_at_zero()


def test_a_retry_sends_what_the_decision_service_has_seen_and_the_rest(gateway, backend, auth):
    running = gateway(ext_authz(backend, auth, body={"maxBytes": 1000, "allowPartial": True}))
    body = bytes(range(256)) * 100
    backend.in_turn("/a", [close()], [answer(200)])
    assert running.request("PUT", "/a", {}, body).status == 200
    assert auth.requests[0].body == body[:1000] and [request.body for request in backend.requests] == [body, body]


def test_a_body_beyond_the_limit_is_refused_or_cut(gateway, backend, auth):
    running = gateway(ext_authz(backend, auth, body={"maxBytes": 1000}))
    assert running.request("POST", "/a", {}, b"x" * 1001).status == 413
    with running.connect() as wire:
        wire.send(b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n" + b"x" * 1001 + b"\r\n0\r\n\r\n")
        assert wire.read_response().status == 413
    assert auth.requests == [] and backend.requests == []
    assert running.request("POST", "/a", {}, b"x" * 1000).status == 200
    running.reload(ext_authz(backend, auth, body={"maxBytes": 1000, "allowPartial": True}))
    backend.forget(), auth.forget()
    large = bytes(range(256)) * 2000
    assert running.request("POST", "/a", {}, large).status == 200
    assert auth.requests[0].body == large[:1000] and auth.requests[0].headers["x-envoy-auth-partial-body"] == "true"
    assert backend.requests[0].body == large


def test_a_client_that_breaks_its_body_off_leaves_nothing_behind(gateway, backend, auth):
    running = gateway(ext_authz(backend, auth, body={"maxBytes": "64KiB"}))
    with running.connect() as wire:
        wire.send(b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf")
        time.sleep(0.1)
    assert running.gauges_at_zero()
    assert auth.requests == [] and backend.requests == []


# --- services that fail ---

def oversized(wire, request):
    wire.send(response_bytes(403, {"Content-Type": "text/plain"}, b"x" * 1_000_000))


FAILURES = {
    "closes": [close()],
    "resets": [reset()],
    "late": [wait(1), answer(200)],
    "never answers": [hang()],
    "half a head": [send(b"HTTP/1.1 200 OK\r\nX-User: al"), close()],
    "half a body": [send(response_bytes(200, {"Content-Length": "100"}, b"half", length=False)), close()],
    "a body that never ends": [send(response_bytes(200, {"Content-Length": "100"}, b"half", length=False)), hang()],
    "no HTTP": [send(b"\x16\x03\x01\x00\xff" * 20), close()],
    "a split answer": [send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\n"), close()],
    "a huge head": [send(b"HTTP/1.1 200 OK\r\nX-A: " + b"a" * 200_000 + b"\r\n\r\n"), close()],
    "a head without end": [drip(b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 100, size=10, pause=0.02)],
    "an upgrade": [send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"), close()],
}


@pytest.mark.parametrize("what", FAILURES)
@pytest.mark.parametrize("mode", ["auth-request", "ext-authz"])
def test_a_service_that_fails_lets_nobody_in(gateway, backend, auth, what, mode):
    auth.by_default(*FAILURES[what])
    running = gateway(guarded(backend, auth, mode=mode, failureStatus=500))
    began = time.monotonic()
    refused = running.get("/a")
    assert refused.status == 500 and refused.problem["rule"] == "ext-auth"
    assert time.monotonic() - began < 3 and backend.requests == []
    assert auth.address not in refused.body.decode()
    assert running.log_lines(1)[-1]["status"] == 500
    assert running.gauges_at_zero()


def test_a_service_that_is_not_there_lets_nobody_in(gateway, backend, auth):
    running = gateway(guarded(backend, auth))
    auth.stop_listening()
    assert running.get("/a").status == 503
    assert backend.requests == []


@pytest.mark.parametrize("what", ["closes", "late", "half a body", "no HTTP"])
def test_on_failure_allow_goes_on_and_tells_the_service_so(gateway, backend, auth, what):
    auth.by_default(*FAILURES[what])
    running = gateway(guarded(backend, auth, onFailure="allow", failureHeader="X-Auth-Failed", upstreamHeaders=["X-User"]))
    assert running.get("/a", {"X-Auth-Failed": "false", "X-User": "root"}).status == 200
    seen = backend.requests[0].headers
    assert seen.all("X-Auth-Failed") == ["true"] and "X-User" not in seen
    running.wait_for_metric("sluice_errors_total", 1, type="ext-auth-failed")


def test_on_failure_allow_still_obeys_a_refusal(gateway, backend, auth):
    auth.by_default(answer(403))
    assert gateway(guarded(backend, auth, onFailure="allow")).get("/a").status == 403
    assert backend.requests == []


BREAKS_OFF = {
    "closes": [close()],
    "resets": [reset()],
    "never ends": [hang()],
}


@pytest.mark.parametrize("what", BREAKS_OFF)
@pytest.mark.parametrize("mode, status, cache", [
    ("auth-request", 401, None), ("auth-request", 403, {"key": ["${request.path}"], "ttl": 60, "negativeTtl": 60}),
    ("ext-authz", 403, None), ("ext-authz", 401, {"key": ["${request.path}"], "ttl": 60, "negativeTtl": 60})])
def test_a_refusal_whose_body_breaks_off_is_a_refusal(gateway, backend, auth, mode, status, what, cache):
    """Its status has come: `onFailure: allow` is not asked. No part of the body reaches the client, nor what spoke of it."""
    head = {"Content-Length": "100", "Content-Type": "text/plain", "Content-Encoding": "gzip", "ETag": '"1"', "WWW-Authenticate": "Basic"}
    auth.by_default(send(response_bytes(status, head, b"half", length=False)), *BREAKS_OFF[what])
    running = gateway(guarded(backend, auth, mode=mode, onFailure="allow", **({"cache": cache} if cache else {})))
    refused = running.get("/a")
    assert refused.status == status and refused.problem["detail"] == "the decision service refuses the request"
    assert refused.headers["WWW-Authenticate"] == "Basic" and "Content-Encoding" not in refused.headers and "ETag" not in refused.headers
    auth.by_default(answer(status, {"Content-Type": "text/plain"}, b"whole"))
    assert running.get("/a").status == status and len(auth.requests) == 2, "what broke off is not kept"
    assert backend.requests == [] and running.gauges_at_zero()


@pytest.mark.parametrize("status", [304, 400, 404, 429])
def test_an_answer_that_breaks_off_below_500_opens_nothing_either(gateway, backend, auth, status):
    auth.by_default(send(response_bytes(status, {"Content-Length": "100"}, b"" if status == 304 else b"half", length=False)), close())
    running = gateway(guarded(backend, auth, onFailure="allow"))
    assert running.get("/a").status == 503
    assert backend.requests == []


@pytest.mark.parametrize("status", [200, 500])
def test_an_answer_that_breaks_off_opens_where_it_would_have_let_through_or_failed(gateway, backend, auth, status):
    auth.by_default(send(response_bytes(status, {"Content-Length": "100"}, b"half", length=False)), close())
    running = gateway(guarded(backend, auth, onFailure="allow", failureHeader="X-Auth-Failed"))
    assert running.get("/a").status == 200 and backend.requests[0].headers["X-Auth-Failed"] == "true"
    running = gateway(guarded(backend, auth))
    assert running.get("/a").status == 503


@pytest.mark.parametrize("status", [304, 400, 414, 416, 429])
def test_an_answer_that_a_client_can_bring_about_opens_nothing(gateway, backend, auth, status):
    """`onFailure: allow` is for a service that is away, not for one that says something else than yes."""
    auth.by_default(answer(status))
    running = gateway(guarded(backend, auth, onFailure="allow"))
    assert running.get("/a").status in (403, 503)
    assert backend.requests == []


TENANT = {"setHeaders": {"X-Tenant": "${request.query.tenant}"}}
BY_AUTHORIZATION = {"key": ["${request.headers.authorization}"], "ttl": 60}


@pytest.mark.parametrize("mode", ["auth-request", "ext-authz"])
@pytest.mark.parametrize("cache", [None, BY_AUTHORIZATION])
@pytest.mark.parametrize("value", ["t1%0a", "t1%0d%0aX-Admin:%201", "%00", "t%01", "t%7f"])
def test_a_question_that_a_client_makes_unsendable_opens_nothing(gateway, backend, auth, mode, cache, value):
    auth.by_default(answer(403))
    fields = {"cache": cache} if cache else {}
    running = gateway(guarded(backend, auth, mode=mode, onFailure="allow", **TENANT, **fields))
    refused = running.get(f"/a?tenant={value}")
    assert refused.status == 400 and refused.problem["rule"] == "ext-auth" and "control character" in refused.problem["detail"]
    assert auth.requests == [] and backend.requests == []
    assert running.get("/a?tenant=t1").status == 403
    assert backend.requests == [] and running.gauges_at_zero()


def test_a_question_that_cannot_be_sent_is_nobody_elses(gateway, backend, auth):
    """Who waits for the same decision has it, whatever another one brought."""
    go_on = threading.Event()
    auth.by_default(wait_for(go_on), answer(200))
    running = gateway({**guarded(backend, auth, timeoutMs=3000, cache=BY_AUTHORIZATION, **TENANT), "workers": 1})
    assert running.get("/a?tenant=%0a").status == 400
    threads, statuses = ask_at_once(running, "/a?tenant=t1", 3)
    auth.wait_for_requests(1)
    go_on.set()
    for thread in threads:
        thread.join(10)
    assert statuses == [200] * 3


def test_a_question_that_a_client_makes_huge_opens_nothing(gateway, backend, auth):
    copies = {f"X-Copy-{i}": "${request.query.q}" for i in range(8)}
    running = gateway({**guarded(backend, auth, onFailure="allow", setHeaders=copies, timeoutMs=5000), "limits": {"requestLineBytes": "1MiB"}})
    assert running.get("/a?q=" + "x" * 400_000).status == 431
    assert auth.requests == [] and backend.requests == []


@pytest.mark.parametrize("cache", [None, BY_AUTHORIZATION])
def test_a_time_that_is_used_up_opens_nothing(gateway, backend, auth, cache):
    """A client may have used the route's time up itself, and nobody could go on in it."""
    auth.by_default(hang())
    fields = {"cache": cache} if cache else {}
    running = gateway(guarded(backend, auth, timeoutMs=10_000, onFailure="allow", route={"timeoutMs": 300}, **fields))
    refused = running.get("/a")
    assert refused.status == 503 and refused.problem["rule"] == "ext-auth"
    assert backend.requests == []


def test_what_would_make_it_another_question_does_not_go_along(gateway, backend, auth):
    running = gateway(guarded(backend, auth))
    assert running.get("/a", {"Range": "bytes=9-", "If-None-Match": '"x"', "if-range": '"x"', "Content-Language": "de", "X-Other": "1"}).status == 200
    asked = auth.requests[0].headers
    assert asked["X-Other"] == "1"
    assert not [name for name in ("Range", "If-None-Match", "If-Range", "Content-Language") if name in asked]
    assert backend.requests[0].headers["Range"] == "bytes=9-"


def test_a_field_that_connection_takes_off_is_in_no_key_and_no_question(gateway, backend, auth):
    def decide(wire, request):
        answer(403 if "X-Tenant" in request.headers else 200)(wire, request)
    auth.by_default(decide)
    running = gateway(guarded(backend, auth, cache={"key": ["${request.headers[?'x-tenant'].orValue('')}"], "ttl": 60}))
    assert running.get("/a", {"X-Tenant": "victim", "Connection": "X-Tenant"}).status == 200
    assert running.get("/a", {"X-Tenant": "victim"}).status == 403
    assert running.get("/a").status == 200 and len(auth.requests) == 2, "without the field it is the same question"
    assert [request.headers.get("X-Tenant") for request in backend.requests] == [None, None]


def test_who_was_let_in_never_says_that_nobody_decided(gateway, backend, auth):
    running = gateway(guarded(backend, auth, onFailure="allow", failureHeader="X-Auth-Failed"))
    running.get("/a", {"X-Auth-Failed": "true"})
    assert "X-Auth-Failed" not in backend.requests[0].headers


def test_an_oversized_answer_is_not_read_to_its_end(gateway, backend, auth):
    auth.by_default(oversized)
    running = gateway(ext_authz(backend, auth))
    refused = running.get("/a")
    assert refused.status == 403 and len(refused.body) < 1000
    assert refused.problem["detail"] == "the decision service refuses the request", "and not an empty body"
    auth.by_default(answer(200, body=b"y" * 1_000_000))
    assert running.get("/a").status == 200
    assert running.gauges_at_zero()


def test_a_refusals_body_goes_to_the_client_whole_or_not_at_all(gateway, backend, auth):
    headers = {"Content-Type": "text/plain", "Content-Language": "en", "Content-Security-Policy": "default-src 'none'", "X-Why": "w"}
    running = gateway(ext_authz(backend, auth))
    for chunked in (False, True):
        for size, whole in ((64 * 1024, True), (64 * 1024 + 1, False)):
            body = b"x" * size
            step = answer(403, headers, body) if not chunked else send(
                response_bytes(403, {**headers, "Transfer-Encoding": "chunked"}, b"%x\r\n%s\r\n0\r\n\r\n" % (size, body), length=False))
            auth.by_default(step)
            refused = running.get("/a")
            assert refused.status == 403 and refused.headers["X-Why"] == "w" and "Content-Security-Policy" in refused.headers
            assert (refused.body == body) == whole and ("Content-Language" in refused.headers) == whole
            assert whole or refused.problem["status"] == 403


@pytest.mark.parametrize("value", ["a\x0bb", "x" * 20_000, "\xff\xfe"])
def test_odd_values_of_a_decision_are_one_header(gateway, backend, auth, value):
    auth.by_default(answer(200, {"X-User": value}))
    running = gateway(guarded(backend, auth, upstreamHeaders=["X-User"]))
    status = running.get("/a").status
    assert status in (200, 500, 502, 503)
    assert all(len(one.headers.all("X-User")) == 1 for one in backend.requests)


def test_a_failed_connection_is_tried_again_elsewhere(gateway, backend, new_backend, auth):
    auth.by_default(reset())
    other = new_backend("auth2").by_default(answer(200))
    config = guarded(backend, auth)
    config["services"][1] = service(auth, other, name="auth")
    running = gateway(config)
    assert [running.get("/a").status for _ in range(4)] == [200] * 4


def test_a_connection_that_fails_is_tried_once_more_not_counting_one_that_was_kept(gateway, backend, auth):
    running = gateway({**guarded(backend, auth, timeoutMs=3000), "workers": 1})
    auth.by_default(reset())
    assert running.get("/a").status == 503 and len(auth.requests) == 2
    auth.forget()
    auth.in_turn("/", [answer(200)], [reset()], [reset()], [answer(200)])
    assert [running.get("/a").status for _ in range(2)] == [200, 200] and len(auth.requests) == 4


def test_a_client_that_leaves_takes_its_question_along(gateway, backend, auth):
    left = threading.Event()

    def until_closed(wire, request):
        wire.read_until_close(timeout=5)
        left.set()
        raise Finished
    auth.by_default(until_closed)
    running = gateway(guarded(backend, auth, timeoutMs=5000))
    with running.connect() as wire:
        wire.send(request_bytes(target="/a"))
        auth.wait_for_requests(1)
        wire.reset()
    assert left.wait(1)
    assert running.gauges_at_zero() and backend.requests == []


def test_the_routes_own_time_bounds_the_question(gateway, backend, auth):
    auth.by_default(hang())
    running = gateway(guarded(backend, auth, timeoutMs=10_000, route={"timeoutMs": 300}))
    began = time.monotonic()
    assert running.get("/a").status == 503
    assert time.monotonic() - began < 2


def test_connections_to_the_service_are_kept(gateway, backend, auth):
    auth.by_default(answer(200, body=b"some words that nobody reads"))
    running = gateway(guarded(backend, auth))
    assert [running.get("/a").status for _ in range(20)] == [200] * 20
    assert auth.connections <= 2


# --- decisions that are kept ---

def cached(backend, auth, **cache):
    return guarded(backend, auth, upstreamHeaders=["X-User"], clientHeaders=["X-Note"], timeoutMs=3000, route={"path": "/{id}"},
                   cache={"key": "${path.id}", **cache})


def named(wire, request):
    wire.send(response_bytes(200, {"X-User": "u" + request.headers["X-Original-URI"], "X-Note": "n"}))


def test_a_kept_decision_is_not_asked_for_again(gateway, backend, auth):
    auth.by_default(named)
    running = gateway({**cached(backend, auth), "workers": 1})
    for target in ["/a", "/a", "/b", "/a", "/b"]:
        got = running.get(target, {"X-User": "root"})
        assert got.status == 200 and got.headers["X-Note"] == "n"
    assert [one.headers["X-Original-URI"] for one in auth.requests] == ["/a", "/b"]
    assert [one.headers.all("X-User") for one in backend.requests] == [["u/a"], ["u/a"], ["u/b"], ["u/a"], ["u/b"]]


def test_a_refusal_is_kept_for_its_own_time(gateway, backend, auth):
    auth.by_default(answer(403, {"X-Why": "w"}))
    running = gateway({**cached(backend, auth, negativeTtl=0.5), "workers": 1})
    assert [running.get("/a").status for _ in range(3)] == [403] * 3
    assert len(auth.requests) == 1
    auth.by_default(answer(200))
    time.sleep(0.6)
    assert running.get("/a").status == 200 and len(auth.requests) == 2


def test_a_refusal_of_head_is_kept_for_head_alone(gateway, backend, auth):
    """What came without a body says nothing of the body that others get."""
    def refuses(wire, request):
        body = b"" if request.method == "HEAD" else b"why"
        wire.send(response_bytes(403, {"Content-Type": "text/plain", "Content-Length": "3"}, body, length=False))

    auth.by_default(refuses)
    running = gateway({**ext_authz(backend, auth, cache={"key": "${request.path}", "negativeTtl": 60}), "workers": 1})
    for method, body in [("HEAD", b""), ("GET", b"why"), ("HEAD", b""), ("POST", b"why"), ("GET", b"why")]:
        refused = running.request(method, "/a")
        assert refused.status == 403 and refused.body == body, method
    assert [one.method for one in auth.requests] == ["HEAD", "GET"]


def test_nobody_waits_for_the_answer_to_anothers_head(gateway, backend, auth):
    go_on = threading.Event()

    def refuses(wire, request):
        go_on.wait(5)
        wire.send(response_bytes(403, {"Content-Length": "3"}, b"" if request.method == "HEAD" else b"why", length=False))

    auth.by_default(refuses)
    running = gateway({**ext_authz(backend, auth, timeoutMs=5000, cache={"key": "${request.path}"}), "workers": 1})
    answers = {}
    threads = [threading.Thread(target=lambda method=method: answers.update({method: running.request(method, "/a")})) for method in ("HEAD", "GET")]
    for count, thread in enumerate(threads, 1):
        thread.start()
        auth.wait_for_requests(count)
    go_on.set()
    for thread in threads:
        thread.join()
    assert answers["GET"].body == b"why" and answers["HEAD"].status == 403


def test_what_may_not_be_kept_is_asked_for_each_time(gateway, backend, auth):
    running = gateway({**cached(backend, auth, ttl=60, negativeTtl=0), "workers": 1})
    for headers in [{"Cache-Control": "no-store"}, {"Cache-Control": "private, max-age=0"}, {"Cache-Control": "max-age=x"}]:
        auth.forget()
        auth.by_default(answer(200, headers))
        assert [running.get("/a").status for _ in range(2)] == [200] * 2 and len(auth.requests) == 2
    auth.forget()
    auth.by_default(answer(403))
    assert [running.get("/a").status for _ in range(2)] == [403] * 2 and len(auth.requests) == 2


def test_failures_are_not_kept(gateway, backend, auth):
    auth.in_turn("/", [answer(500)], [answer(200)])
    running = gateway({**cached(backend, auth), "workers": 1})
    assert [running.get("/a").status for _ in range(3)] == [503, 200, 200]
    assert len(auth.requests) == 2


def test_the_table_is_bounded(gateway, backend, auth):
    running = gateway({**cached(backend, auth, entries=2), "workers": 1})
    for target in ["/a", "/b", "/a", "/c", "/a", "/b"]:
        running.get(target)
    assert [one.headers["X-Original-URI"] for one in auth.requests] == ["/a", "/b", "/c", "/b"]


@pytest.mark.parametrize("key", ["${request.headers.tenant}", "${request.headers['Tenant']}", "${string(request.headers.tenant)}"])
def test_a_header_tells_decisions_apart_however_it_is_written(gateway, backend, auth, key):
    """Absent isn't empty, and a field that is there twice is both values, whether the key is looked up or evaluated."""
    running = gateway({**guarded(backend, auth, cache={"key": key, "ttl": 60}), "workers": 1})
    values = [[], ["a"], ["b"], ["a", "b"], [""]]
    for _ in range(2):
        for one in values:
            assert running.get("/a", [("Tenant", value) for value in one]).status == 200
    assert [request.headers.all("Tenant") for request in auth.requests] == values
    assert running.get("/a", {"Tenant": "a, b"}).status == 200 and len(auth.requests) == len(values)


def test_routes_share_no_decisions_though_their_filters_read_alike(gateway, backend, auth):
    def decide(wire, request):
        answer(200 if request.headers["X-Original-URI"] == "/public" else 403)(wire, request)
    def one():
        return {"type": "ext-auth", "service": "auth", "timeoutMs": 3000, "cache": {"key": ["${request.headers.authorization}"], "ttl": 60}}
    auth.by_default(decide)
    routes = [{"name": name, "path": f"/{name}", "serviceId": "backend", "filters": [one()]} for name in ["public", "secret"]]
    running = gateway({"services": [service(backend), service(auth, name="auth")], "routes": routes, "workers": 1})
    mine = {"Authorization": "Bearer x"}
    assert [running.get(target, mine).status for target in ["/public", "/secret", "/public", "/secret"]] == [200, 403, 200, 403]
    assert len(auth.requests) == 2 and [request.target for request in backend.requests] == ["/public"] * 2


def test_routes_wait_for_no_common_answer(gateway, backend, auth):
    go_on = threading.Event()
    auth.by_default(wait_for(go_on), answer(200))
    routes = [{"name": name, "path": f"/{name}", "serviceId": "backend"} for name in ["public", "secret"]]
    plugin = {"name": "ext-auth", "config": {"service": "auth", "timeoutMs": 3000, "cache": BY_AUTHORIZATION}}
    running = gateway({"services": [service(backend), service(auth, name="auth")], "routes": routes, "plugins": [plugin], "workers": 1})
    waiting = [ask_at_once(running, target, 2) for target in ["/public", "/secret"]]
    auth.wait_for_requests(2)
    go_on.set()
    for threads, _ in waiting:
        for thread in threads:
            thread.join(10)
    assert [statuses for _, statuses in waiting] == [[200] * 2] * 2
    assert sorted(request.headers["X-Original-URI"] for request in auth.requests) == ["/public", "/secret"]


def ask_at_once(running, target, count):
    """So many clients at once; the answers' statuses."""
    statuses = []
    threads = [threading.Thread(target=lambda: statuses.append(running.get(target).status)) for _ in range(count)]
    for thread in threads:
        thread.start()
    return threads, statuses


def test_those_that_wait_for_the_same_decision_ask_once(gateway, backend, auth):
    go_on = threading.Event()
    auth.by_default(wait_for(go_on), answer(200))
    running = gateway({**cached(backend, auth), "workers": 1})
    threads, statuses = ask_at_once(running, "/a", 20)
    auth.wait_for_requests(1)
    time.sleep(0.3)
    go_on.set()
    for thread in threads:
        thread.join(10)
    assert statuses == [200] * 20 and len(auth.requests) == 1


def test_those_that_wait_share_a_failure_and_the_next_one_asks_anew(gateway, backend, auth):
    go_on = threading.Event()
    auth.by_default(wait_for(go_on), answer(500))
    running = gateway({**cached(backend, auth), "workers": 1})
    threads, statuses = ask_at_once(running, "/a", 5)
    auth.wait_for_requests(1)
    time.sleep(0.2)
    go_on.set()
    for thread in threads:
        thread.join(10)
    assert statuses == [503] * 5 and len(auth.requests) == 1
    auth.by_default(answer(200))
    assert running.get("/a").status == 200
    assert running.gauges_at_zero()


def test_who_asked_first_may_leave_and_the_others_are_answered(gateway, backend, auth):
    go_on = threading.Event()
    auth.by_default(wait_for(go_on), named)
    running = gateway({**cached(backend, auth), "workers": 1})
    with running.connect() as first:
        first.send(request_bytes(target="/a"))
        auth.wait_for_requests(1)
        threads, statuses = ask_at_once(running, "/a", 3)
        time.sleep(0.3)
        first.reset()
    time.sleep(0.2)
    go_on.set()
    for thread in threads:
        thread.join(10)
    assert statuses == [200] * 3 and len(auth.requests) == 1
    assert backend.requests[0].headers.all("X-User") == ["u/a"]
    assert running.gauges_at_zero()


def test_the_last_one_that_leaves_ends_the_question(gateway, backend, auth):
    left = threading.Event()

    def until_closed(wire, request):
        wire.read_until_close(timeout=5)
        left.set()
        raise Finished
    auth.by_default(until_closed)
    running = gateway({**cached(backend, auth), "workers": 1})
    wires = [running.connect() for _ in range(3)]
    for wire in wires:
        wire.send(request_bytes(target="/a"))
    auth.wait_for_requests(1)
    time.sleep(0.2)
    assert not left.is_set()
    for wire in wires:
        wire.reset()
    assert left.wait(1)
    assert running.gauges_at_zero()


def test_a_reload_keeps_decisions_of_a_policy_that_did_not_change(gateway, backend, auth):
    config = {**cached(backend, auth), "workers": 1}
    running = gateway(config)
    running.get("/a")
    running.reload({**config, "routes": config["routes"] + [{"name": "other", "path": "/other/x", "respond": {"status": 200}}]})
    running.get("/a")
    assert len(auth.requests) == 1
    changed = {**cached(backend, auth, ttl=30), "workers": 1}
    running.reload(changed)
    running.get("/a")
    assert len(auth.requests) == 2


def test_a_reload_while_somebody_waits_changes_nothing_for_it(gateway, backend, new_backend, auth):
    go_on = threading.Event()
    auth.by_default(wait_for(go_on), answer(200))
    running = gateway({**cached(backend, auth), "workers": 1})
    threads, statuses = ask_at_once(running, "/a", 2)
    auth.wait_for_requests(1)
    other = new_backend("auth3").by_default(answer(403))
    running.reload({**cached(backend, other), "workers": 1})
    time.sleep(1.5)  # the sweep of old exchanges has come by
    go_on.set()
    for thread in threads:
        thread.join(10)
    assert statuses == [200, 200]
    assert running.get("/b").status == 403


# --- the service is named ---

def test_a_service_that_decides_is_not_deleted_and_its_new_name_follows(gateway, backend, auth):
    running = start_live(gateway, {
        "services": [service(backend), service(auth, name="auth"), service(auth, name="auth2")],
        "routes": [{"name": "all", "path": "/*", "serviceId": "backend", "filters": [{"type": "ext-auth", "service": "auth"}]}],
        "plugins": [{"name": "ext-auth", "instanceName": "everywhere", "config": {"service": "auth2"}, "enabled": False}],
    })
    for name, user in [("auth", "all"), ("auth2", "everywhere")]:
        refused = running.admin.delete("services", name, expect=409).json()
        assert [one["name"] for one in refused["users"]] == [user], refused
    running.admin.patch("services", "auth", {"name": "decisions"})
    assert running.admin.get("/routes/all")["filters"][0]["service"] == "decisions"
    running.admin.patch("services", "auth2", {"name": "decisions2"})
    assert running.admin.get("/plugins/everywhere")["config"]["service"] == "decisions2"
    assert running.get("/a").status == 200 and len(auth.requests) == 1
    running.admin.delete("services", "decisions?cascade=true")
    running.admin.ask("GET", "/routes/all", expect=404)
    assert running.get("/a").status == 404


def test_a_filter_that_names_no_service_is_refused(gateway, backend):
    running = start_live(gateway, {"services": [service(backend)]})
    refused = running.admin.ask("POST", "/routes", {"path": "/a", "serviceId": "backend", "filters": [{"type": "ext-auth", "service": "bakend"}]}, expect=422).json()
    assert refused["errors"][0]["pointer"] == "/filters/0/service" and "backend" in refused["errors"][0]["hint"]


def test_a_service_put_in_the_place_of_another_is_asked_from_then_on(gateway, backend, auth, new_backend):
    config = {
        "services": [service(backend), service(auth, name="auth")],
        "routes": [{"name": "all", "path": "/*", "serviceId": "backend", "filters": [{"type": "ext-auth", "service": "auth"}]}],
    }
    running = start_live(gateway, config)
    assert running.get("/a").status == 200
    other = new_backend("auth4").by_default(answer(403))
    running.admin.ask("PUT", "/config", {**config, "services": [service(backend), {**service(other, name="auth"), "id": "00000000-0000-4000-8000-000000000009"}]})
    assert running.get("/a").status == 403


@pytest.mark.parametrize("fields, words", [
    ({"body": {}}, "auth-request sends no body"),
    ({"mode": "ext-authz", "body": {}, "cache": {"key": "x"}}, "exclude each other"),
    ({"mode": "ext-authz", "path": "/a?b"}, "no query"),
    ({"path": "check"}, "not a path"),
    ({"userIdHeader": "X-User", "onFailure": "allow"}, "who asks would not be known"),
    ({"upstreamHeaders": ["X-Forwarded-For"]}, "written by Sluice itself"),
    ({"upstreamHeaders": ["X-Client-ID"]}, "clientIdHeader"),
    ({"upstreamHeaders": ["*"]}, "not a header name"),
    ({"clientHeaders": ["Transfer-Encoding"]}, "written by Sluice itself"),
    ({"cache": {"key": []}}, "must not be empty"),
    ({"cache": {"key": "${nonsense"}}, "key"),
    ({"setHeaders": {"X-A": "a\nb"}}, "line breaks"),
    ({"service": "nobody"}, "unknown service"),
])
def test_what_makes_no_sense_is_refused_with_words(tmp_path, backend, auth, fields, words):
    file = tmp_path / "sluice.json"
    file.write_text(json.dumps(guarded(backend, auth, **fields)))
    done = run_sluice("check", file)
    assert done.returncode == 1 and words in done.stderr, done.stderr


@pytest.mark.parametrize("mode, field, names, told", [
    ("auth-request", "clientHeaders", ["content-type", "X-A", "ETag", "Date", "Content-*"], {0: "speaks of", 2: "speaks of", 3: "reaches no client"}),
    ("ext-authz", "clientHeaders", ["Content-Language", "Content-Security-Policy"], {0: "speaks of"}),
    ("auth-request", "deniedHeaders", ["X-A", "Content-Encoding", "server"], {1: "speaks of", 2: "reaches no client"}),
    ("ext-authz", "deniedHeaders", ["Content-Encoding", "Server"], {1: "reaches no client"}),
])
@pytest.mark.parametrize("as_plugin", [False, True])
def test_headers_that_never_get_to_the_client_are_warned_of(tmp_path, backend, auth, mode, field, names, told, as_plugin):
    config = guarded(backend, auth, **{"mode": mode, field: names})
    if as_plugin:
        policy = config["routes"][0].pop("filters")[0]
        config["plugins"] = [{"name": policy.pop("type"), "config": policy}]
    file = tmp_path / "sluice.json"
    file.write_text(json.dumps(config))
    done = run_sluice("check", file)
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == len(told) and all("warning: header" in line for line in lines)
    for index, words in told.items():
        assert any(f'/{field}/{index}: warning: header "{names[index]}"' in line and words in line for line in lines)
