"""Every kind of client in front of every kind of backend: HTTP/1.1 and HTTP/2, in clear and over TLS. Policies, routes and errors know of neither,
so what a client gets and what a backend hears is the same in all sixteen pairs, the words for the connection itself apart."""
import itertools
import os
import shutil
import subprocess
import time

import httpx
import pytest

import backend as h1
import h2_backend as h2
from backend import Backend, free_port
from certificates import Authority
from gateway import service
from h2_backend import H2Backend
from tls import client_context, server_context
from wire import connect

CLIENTS = {"h1": ("http", False), "h1 over TLS": ("https", False), "h2": ("http", True), "h2 over TLS": ("https", True)}
SERVICES = ("h1", "h1-tls", "h2", "h2-tls")
SPOKEN = {"h1": {}, "h1-tls": {"protocol": "https", "httpVersion": 1}, "h2": {"httpVersion": 2}, "h2-tls": {"protocol": "https", "httpVersion": 2}}
BODY = os.urandom(300_000)
# Of the connection, or new each time.
APART = {"date", "x-request-id", "traceparent", "via", "connection", "te", "host", "x-forwarded-host", "x-forwarded-proto", "content-length", "transfer-encoding"}
OF_HTTPX = {"accept", "accept-encoding", "user-agent"}


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def issued(authority):
    return authority.issue("localhost")


@pytest.fixture(scope="module")
def instances(issued):
    """A backend of each kind, with the same answers."""
    made = {"h1": Backend(), "h1-tls": Backend(tls=server_context(issued)), "h2": H2Backend(),
            "h2-tls": H2Backend(tls=server_context(issued, alpn=("h2",)))}
    for name, one in made.items():
        room = h1 if name.startswith("h1") else h2
        one.on("/echo", room.echo())
        one.on("/teapot", room.answer(418, {"x-internal-trace": "1", "server": "pot", "x-kept": "yes"}.items(), b"short and stout"))
        one.on("/late", room.wait(1), room.answer(200))
    yield made
    for one in made.values():
        one.stop()
        assert not one.violations, one.violations


def routes_to(name):
    edits = [{"type": "set-header", "name": "X-Env", "value": "prod"}, {"type": "add-query-param", "name": "tenant", "value": "a&b"},
             {"type": "set-header", "name": "X-Seen", "value": "${request.method} ${request.path}", "on": "response"}]
    fields = {"serviceId": name, "retryCount": 0}
    return [{"name": f"{name} echo", "path": f"/{name}/echo", "filters": [*edits, {"type": "rewrite-path", "path": "/echo"}], **fields},
            {"name": f"{name} teapot", "path": f"/{name}/*", **fields},
            {"name": f"{name} denied", "path": f"/{name}/denied", "filters": [{"type": "ip-list", "deny": ["127.0.0.0/8"]}], **fields},
            {"name": f"{name} late", "path": f"/{name}/late", "timeoutMs": 100, **fields, "filters": [{"type": "rewrite-path", "path": "/late"}]},
            {"name": f"{name} cors", "path": f"/{name}/cors", "filters": [{"type": "cors", "allowedOrigins": ["https://app.test"]}], **fields}]


@pytest.fixture(scope="module")
def running(module_gateway, instances, authority, issued):
    services = []
    for name, one in instances.items():
        tls = {"tls": {"ca": str(authority.path), "serverName": "localhost"}} if name.endswith("-tls") else {}
        services.append(service(one, name=name, **SPOKEN[name], **tls))
    started = module_gateway({"services": services, "routes": [route for name in SERVICES for route in routes_to(name)]},
                             more_listeners=[{"address": f"127.0.0.1:{free_port()}", "tls": {"certificates": [issued.config]}}])
    return started


@pytest.fixture(scope="module")
def clients(running, authority):
    made = {}
    for name, (scheme, version_2) in CLIENTS.items():
        listener = running.config["listeners"][1 if scheme == "https" else 0]
        made[name] = httpx.Client(base_url=f"{scheme}://{listener['address']}", http1=not version_2, http2=version_2, timeout=20,
                                  verify=client_context() if scheme == "https" else True)
    yield made
    for one in made.values():
        one.close()


def told(response):
    """What the client got, without what is the connection's or new each time."""
    headers = sorted((name, value) for name, value in response.headers.items() if name not in APART)
    body = response.content
    if response.headers.get("content-type") == "application/problem+json":
        body = {name: value for name, value in response.json().items() if name != "requestId"}
    return response.status_code, headers, body


def heard(request):
    headers = sorted((name.lower(), value) for name, value in request.headers if name.lower() not in APART | OF_HTTPX)
    return request.method, request.target, headers, request.body


@pytest.mark.parametrize("client, name", itertools.product(CLIENTS, SERVICES))
def test_each_pair_is_served_alike(running, instances, clients, client, name):
    instance = instances[name]
    instance.forget()

    def ask(method, path, **more):
        response = clients[client].request(method, f"/{name}/{path}", **more)
        assert response.http_version == ("HTTP/2" if CLIENTS[client][1] else "HTTP/1.1")
        return told(response)
    assert ask("POST", "echo", content=BODY, headers={"X-Mine": "1"}) == (200, [("x-seen", f"POST /{name}/echo")], BODY)
    fields = [("x-env", "prod"), ("x-forwarded-for", "127.0.0.1"), ("x-mine", "1")]
    [request] = [one for one in instance.requests if one.target.startswith("/echo")]
    assert heard(request) == ("POST", "/echo?tenant=a%26b", fields, BODY)
    said = request.headers
    assert said["Via"] == ("2 sluice" if CLIENTS[client][1] else "1.1 sluice") and said["X-Forwarded-Proto"] == CLIENTS[client][0]
    assert ask("GET", "teapot") == (418, [("x-kept", "yes")], b"short and stout")
    status, _, problem = ask("GET", "denied")
    assert status == 403 and problem["status"] == 403
    assert ask("OPTIONS", "cors", headers={"Origin": "https://app.test", "Access-Control-Request-Method": "PUT"})[0] == 204
    assert {one.target for one in instance.requests} <= {"/echo?tenant=a%26b", "/teapot", "/late"}, "what policies answer reaches no backend"
    status, _, problem = ask("GET", "late")
    assert status == 504 and problem["detail"] == "the service did not answer in time"


# A server that others wrote

@pytest.fixture
def nghttpd(tmp_path, issued):
    """Starts one that serves a folder of its own."""
    program = shutil.which("nghttpd") or pytest.fail("nghttpd is missing: make deps installs it")
    started = []
    (tmp_path / "file").write_bytes(BODY)

    def start(*more):
        port = free_port()
        started.append(subprocess.Popen([program, "-d", str(tmp_path), "-a", "127.0.0.1", *more[:1], str(port), *more[1:]], stdout=subprocess.DEVNULL))
        deadline = time.monotonic() + 10
        while True:
            try:
                connect(("127.0.0.1", port)).close()
                return f"127.0.0.1:{port}"
            except OSError:
                assert time.monotonic() < deadline and started[-1].poll() is None, "nghttpd does not serve"
                time.sleep(0.01)
    yield start
    for one in started:
        one.terminate()
        one.wait(10)


@pytest.mark.parametrize("over_tls", [False, True], ids=["clear", "TLS"])
def test_nghttpd_is_a_backend(gateway, nghttpd, authority, issued, over_tls):
    address = nghttpd("--echo-upload", str(issued.key), str(issued.certificate)) if over_tls else nghttpd("--no-tls", "--echo-upload")
    tls = {"protocol": "https", "tls": {"ca": str(authority.path), "serverName": "localhost"}} if over_tls else {}
    running = gateway({"services": [service(address, **{"httpVersion": 2, **tls})], "routes": [{"path": "/*", "serviceId": "backend"}]})
    assert running.get("/file").body == BODY
    assert running.get("/none").status == 404
    assert running.request("POST", "/upload", {}, BODY).body == BODY
    done = subprocess.run(["h2load", "-n", "500", "-c", "4", "-m", "16", f"{running.url}/file"], capture_output=True, text=True, timeout=60, check=True)
    assert "500 succeeded" in done.stdout and "500 2xx" in done.stdout, done.stdout
    running.gauges_at_zero()
