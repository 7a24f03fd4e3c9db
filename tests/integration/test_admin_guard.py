"""Who may use the admin API: tokens, roles, certificates, browsers, guessers; and what the audit log tells of it."""
import concurrent.futures
import json
import re
import ssl
import time

import httpx
import pytest
import yaml

from admin import admin_gateway, problem, route, service, sha256, token  # noqa: F401  pylint: disable=unused-import
from backend import free_port
from certificates import Authority
from openapi import answers_as_documented  # noqa: F401  pylint: disable=unused-import
from plain_http import PLAIN_HTTP
from wire import connect

RW, RO = "rw-token-0123456789", "ro-token-0123456789"
TOKENS = [token("alice", RW), token("bob", RO, "read-only")]
CHANGES = [("POST", "/admin/services"), ("PUT", "/admin/services/s"), ("PATCH", "/admin/services/s"), ("DELETE", "/admin/services/s"),
           ("PUT", "/admin/config"), ("POST", "/admin/revisions/1/rollback"), ("POST", "/admin/api-keys"),
           ("POST", "/admin/api-keys/k/rotate")]


@pytest.fixture
def guarded(admin_gateway):
    return admin_gateway(admin={"tokens": TOKENS, "hosts": ["admin.example.com"]}, bearer=RW)


def raw(gateway, method="GET", path="/admin/services", host="localhost", headers=(), body=b""):
    """A request as it stands here, so that Host and Origin can say what they like."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", f"Content-Length: {len(body)}", *headers]
    with connect(gateway.admin_address) as wire:
        wire.send("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        answer = wire.read_response(method)
    return answer, json.loads(answer.body) if answer.body else None


def bearer(text):
    return f"Authorization: Bearer {text}"


def test_without_a_token_nobody_comes_in(guarded):
    with httpx.Client(base_url=guarded.admin_url, **PLAIN_HTTP) as stranger:
        for method, path in CHANGES + [("GET", "/admin/services"), ("GET", "/admin/metrics"), ("GET", "/admin"), ("GET", "/nowhere"),
                                       ("GET", "/admin/openapi.json"), ("GET", "/admin/config")]:
            answer = stranger.request(method, path)
            problem(answer, 401, "no-token")
            assert answer.headers["www-authenticate"].startswith("Bearer")
        assert stranger.get("/live").status_code == stranger.get("/ready").status_code == 200


def test_a_read_only_token_reads_and_tries_but_changes_nothing(guarded):
    guarded.api.post("/admin/services", json=service("s")).raise_for_status()
    before = guarded.state()
    with guarded.admin_client(RO) as reader:
        for path in ("/admin/services", "/admin/services/s", "/admin/config", "/admin/revisions", "/admin/health", "/admin/metrics"):
            assert reader.get(path).status_code == 200
        for method, path in CHANGES:
            problem(reader.request(method, path, json={}), 403, "read-only")
        problem(reader.post("/admin/validate", json={"certificates": [{"name": "c", "certificate": "${file:/etc/shadow}", "key": "${env:HOME}"}]}), 403,
                "read-only")
    assert guarded.state() == before


def test_dns_rebinding_gets_nothing(guarded):
    for host in ("evil.example", f"evil.example:{guarded.admin_port}", "localhost.evil.example", "127.0.0.1.nip.io", "xadmin.example.com"):
        answer, document = raw(guarded, host=host, headers=[bearer(RW)])
        assert answer.status == 403 and document["reason"] == "host-not-allowed" and "admin.hosts" in document["hint"]
        answer, _ = raw(guarded, "POST", host=host, headers=[bearer(RW), "Content-Type: application/json"], body=b'{"name":"x"}')
        assert answer.status == 403
    for host in ("localhost", f"localhost:{guarded.admin_port}", "127.0.0.1", "[::1]:9080", "admin.example.com", "Admin.Example.Com:80"):
        assert raw(guarded, host=host, headers=[bearer(RW)])[0].status == 200, host


def test_pages_of_other_origins_get_nothing(guarded):
    port = guarded.admin_port
    json_type, body = "Content-Type: application/json", json.dumps(service("evil")).encode()
    for elsewhere in ("Origin: https://evil.example", "Origin: null", "Origin: http://localhost:1", f"Origin: http://127.0.0.1:{port}",
                      "Sec-Fetch-Site: cross-site", "Sec-Fetch-Site: same-site"):
        for method in ("GET", "POST"):
            answer, document = raw(guarded, method, host=f"localhost:{port}", headers=[bearer(RW), json_type, elsewhere], body=body)
            assert answer.status == 403 and document["reason"] == "cross-origin", elsewhere
    preflight, _ = raw(guarded, "OPTIONS", host=f"localhost:{port}", headers=[
        "Origin: https://evil.example", "Access-Control-Request-Method: POST", "Access-Control-Request-Headers: authorization,content-type"])
    assert preflight.status == 403 and not [name for name, _ in preflight.headers if name.lower().startswith("access-control")]
    same, _ = raw(guarded, host=f"localhost:{port}", headers=[bearer(RW), f"Origin: http://localhost:{port}", "Sec-Fetch-Site: same-origin"])
    assert same.status == 200
    assert guarded.api.get("/admin/services").json()["items"] == []


def test_a_form_of_a_browser_that_says_no_origin_is_no_json(admin_gateway):
    gateway = admin_gateway()  # open on loopback: nothing but this stands in the way
    for kind in ("application/x-www-form-urlencoded", "text/plain", "multipart/form-data; boundary=x"):
        answer, _ = raw(gateway, "POST", headers=[f"Content-Type: {kind}"], body=json.dumps(service("evil")).encode())
        assert answer.status == 415
        answer, _ = raw(gateway, "POST", "/admin/revisions/0/rollback", headers=[f"Content-Type: {kind}"])
        assert answer.status == 415
    assert gateway.api.get("/admin/services").json()["items"] == []


def test_failed_logins_are_slowed_and_others_are_not(guarded):
    def guess(number):
        with guarded.admin_client(f"guess-{number}") as guesser:
            began = time.monotonic()
            answer = guesser.get("/admin/services")
            return answer.status_code, time.monotonic() - began
    taken = [guess(number) for number in range(4)]
    assert [status for status, _ in taken] == [401] * 4
    for (_, seconds), least in zip(taken, (0.1, 0.2, 0.4, 0.8)):
        assert seconds >= least
    began = time.monotonic()
    assert guarded.api.get("/admin/services").status_code == 200
    assert time.monotonic() - began < 0.5, "who knows a token waits for nobody"
    with concurrent.futures.ThreadPoolExecutor(40) as pool:
        began = time.monotonic()
        answers = list(pool.map(guess, range(40)))
    looked_at = [seconds for status, seconds in answers if status == 401]
    assert {status for status, _ in answers} == {401, 429} and len(looked_at) <= 30, "in parallel eight at a time are looked at"
    assert guarded.api.get("/admin/services").status_code == 200
    assert guarded.gauges_at_zero()


def test_tokens_are_rotated_by_a_reload_with_overlap(guarded):
    fresh = "fresh-token-0123456789"
    guarded.admin["tokens"] = TOKENS + [token("alice-2", fresh)]
    guarded.reload({"store": guarded.config["store"]})
    with guarded.admin_client(fresh) as api:
        assert api.get("/admin/services").status_code == 200
        assert guarded.api.get("/admin/services").status_code == 200
        guarded.bearer = fresh
        guarded.admin["tokens"] = [token("alice-2", fresh)]
        guarded.reload({"store": guarded.config["store"]})
        assert guarded.api.get("/admin/services").status_code == 401
        assert api.get("/admin/services").status_code == 200


def anybody_may(gateway):
    """The status of a change that somebody without a token asks for."""
    with httpx.Client(base_url=gateway.admin_url, **PLAIN_HTTP) as stranger:
        return stranger.post("/admin/services", json=service("strangers")).status_code


def bootstrap(gateway, admin):
    return {"store": gateway.config["store"], "listeners": gateway.config["listeners"], "accessLog": {"path": "access.log"},
            "workers": 1, **({"admin": admin} if admin else {})}


def test_a_reload_never_opens_an_admin_listener_that_stays_beyond_loopback(admin_gateway):
    """The address waits for a start. A file that is good for its own one, on loopback and without tokens, isn't for the running one."""
    port = free_port()
    gateway = admin_gateway(admin={"address": f"0.0.0.0:{port}", "tokens": TOKENS}, bearer=RW, ready=False)
    gateway.admin_port = port
    gateway.wait_until_ready()
    with gateway.admin_client() as api:
        for address in (f"127.0.0.1:{port}", f"127.0.0.1:{free_port()}"):
            gateway.write_config(text=yaml.dump(bootstrap(gateway, {"address": address})))
            refused = gateway.command("reload")
            assert refused.returncode == 1 and re.search(rf"sluice.yaml:\d+:\d+: admin: .*0\.0\.0\.0:{port}.*keep tokens", refused.stderr), refused
            assert anybody_may(gateway) == 401 and api.get("/admin/services").status_code == 200
        fresh = "fresh-token-0123456789"
        gateway.write_config(text=yaml.dump(bootstrap(gateway, {"address": f"127.0.0.1:{port}", "tokens": [token("carol", fresh)]})))
        assert gateway.command("reload").returncode == 0
        assert anybody_may(gateway) == 401 and api.get("/admin/services").status_code == 401, "a token is taken back at once, whatever the address"


@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.1"])
def test_an_admin_listener_that_was_taken_out_keeps_its_guard_until_it_is_gone(admin_gateway, host):
    port = free_port()
    gateway = admin_gateway(admin={"address": f"{host}:{port}", "tokens": TOKENS}, bearer=RW, ready=False)
    gateway.admin_port = port
    gateway.wait_until_ready()
    gateway.write_config(text=yaml.dump(bootstrap(gateway, None)))
    assert gateway.command("reload").returncode == 0
    assert "admin: it goes on as it is, with the tokens that it has, until" in gateway.stderr()
    assert anybody_may(gateway) == 401
    with gateway.admin_client() as api:
        assert api.get("/admin/services").json()["items"] == []


def test_the_audit_log_tells_who_did_what_from_where(guarded):
    made = guarded.api.post("/admin/services", json=service("s"))
    guarded.api.patch("/admin/services/s", json={"tags": ["x"]}).raise_for_status()
    guarded.api.post("/admin/services", json=service("s"))
    guarded.api.put("/admin/config", json={"services": [service("a"), service("b")]}).raise_for_status()
    guarded.api.delete("/admin/services/a").raise_for_status()
    guarded.api.post("/admin/validate", json={"services": []}).raise_for_status()
    with guarded.admin_client(RO) as reader:
        reader.delete("/admin/services/b")
    with guarded.admin_client("secret-guess") as guesser:
        guesser.get("/admin/services")
    guarded.wait_for_stderr("bad-token")
    lines = guarded.audit()
    assert all(line["type"] == "audit" and line["from"] == "127.0.0.1" and line["time"] and line["requestId"] for line in lines)
    told = [(line.get("who"), line["action"], line.get("kind"), line.get("name"), line["result"]) for line in lines]
    assert told == [
        ("alice", "create", "services", "s", "created"), ("alice", "patch", "services", "s", "updated"),
        ("alice", "create", "services", None, "name-taken"), ("alice", "apply", None, None, "updated"),
        ("alice", "delete", "services", "a", "deleted"), (None, "login", None, None, "read-only"), (None, "login", None, None, "bad-token"),
    ]
    assert lines[0]["id"] == made.json()["id"] and str(lines[0]["revision"]) == made.headers["sluice-revision"]
    assert (lines[3]["created"], lines[3]["deleted"]) == (2, 1)
    for secret in (RW, RO, "secret-guess", sha256(RW)[7:]):
        assert secret not in guarded.stderr()


def test_strangers_cannot_fill_the_log(guarded):
    with httpx.Client(base_url=guarded.admin_url, **PLAIN_HTTP) as stranger:
        began = time.monotonic()
        for _ in range(300):
            assert stranger.get("/admin/services").status_code == 401
        seconds = time.monotonic() - began
        time.sleep(1)
        stranger.get("/admin/services")
    guarded.wait_for_stderr("left-out")
    lines = guarded.audit()
    told = sum(line["result"] == "no-token" for line in lines)
    assert told <= 20 * (seconds + 2) + 1
    assert told + sum(line["count"] for line in lines if line["result"] == "left-out") == 301


def test_revisions_name_the_token_that_made_them(guarded):
    guarded.api.post("/admin/services", json=service("s")).raise_for_status()
    newest = guarded.api.get("/admin/revisions?limit=1").json()["items"][0]
    assert (newest["author"], newest["source"]) == ("alice", "127.0.0.1")


def test_a_client_certificate_is_a_login(admin_gateway, tmp_path):
    ours, theirs = Authority(tmp_path, "ours"), Authority(tmp_path, "theirs")
    server = ours.issue("localhost")
    tls = {"certificates": [server.config], "clientAuth": "optional", "clientCa": str(ours.path)}
    gateway = admin_gateway(admin={"tls": tls, "tokens": TOKENS}, ready=False)

    def client(identity=None, **options):
        context = ssl.create_default_context(cafile=str(ours.path))
        if identity:
            context.load_cert_chain(str(identity.certificate), str(identity.key))
        return httpx.Client(base_url=f"https://localhost:{gateway.admin_port}", verify=context, trust_env=False, **options)
    deadline = time.monotonic() + 20
    while True:
        try:
            with client() as probe:
                assert probe.get("/ready").status_code == 200
                break
        except httpx.HTTPError:
            assert time.monotonic() < deadline, gateway.stderr()
            time.sleep(0.02)
    with client(ours.issue("carol", client=True)) as carol:
        assert carol.post("/admin/services", json=service("s")).status_code == 201
    with client() as stranger:
        problem(stranger.get("/admin/services"), 401, "no-token")
        assert stranger.get("/admin/services", headers={"Authorization": f"Bearer {RO}"}).status_code == 200
    with client(theirs.issue("mallory", client=True)) as mallory, pytest.raises(httpx.HTTPError):
        mallory.get("/admin/services")
    assert [line["who"] for line in gateway.audit() if line["action"] == "create"] == ["CN=carol,O=Sluice tests"]


def test_probes_have_an_address_of_their_own(admin_gateway):
    port = free_port()
    gateway = admin_gateway(admin={"tokens": TOKENS, "probes": f"127.0.0.1:{port}"}, bearer=RW)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", **PLAIN_HTTP) as probe:
        assert probe.get("/live").status_code == 200
        assert probe.get("/ready").json() == {"status": "ready"}
        assert probe.get("/admin/services").status_code in (401, 404)
        assert probe.get("/admin/services", headers={"Authorization": f"Bearer {RW}"}).status_code == 404, "nothing else is there"


def test_who_holds_connections_to_the_probes_keeps_out_neither_probes_nor_the_api(admin_gateway):
    port = free_port()
    gateway = admin_gateway(admin={"tokens": TOKENS, "probes": f"127.0.0.1:{port}"}, bearer=RW)
    held = []
    try:
        for _ in range(290):
            held.append(connect(("127.0.0.1", port)).send(b"GET /ready HTTP/1.1\r\nHost: "))
        for _ in range(3):
            assert httpx.get(f"http://127.0.0.1:{port}/ready", **PLAIN_HTTP).status_code == 200
            with gateway.admin_client() as api:
                assert api.get("/admin/services").status_code == 200
    finally:
        for one in held:
            one.close()
    assert gateway.gauges_at_zero()


def test_beyond_loopback_it_wants_a_guard(admin_gateway, tmp_path):
    from gateway import run_sluice  # pylint: disable=import-outside-toplevel
    file = tmp_path / "open.yaml"
    file.write_text("listeners: ['127.0.0.1:1']\nadmin: { address: '0.0.0.0:9080' }\nstore: 'sqlite:s.db'\n")
    done = run_sluice("check", "--config", file) if "--config" in run_sluice("check", "--help").stdout else run_sluice("check", file)
    assert done.returncode != 0 and "token" in done.stdout + done.stderr
