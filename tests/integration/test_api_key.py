"""API keys: who they let in, what the service gets to see of them, when a change of one is in force, and what strangers send in their place."""
import hashlib
import re
import time

import httpx
import pytest

from backend import answer
from gateway import service
from live import start_live, wait_until
from plain_http import PLAIN_HTTP
from postgres import PostgresServer, forget_template


@pytest.fixture(scope="module")
def server():
    made = PostgresServer()
    yield made
    made.close()
    forget_template()


def with_keys(*backends, **fields):
    return {"services": [service(*backends)],
            "routes": [{"name": "all", "path": "/*", "serviceId": "backend", "stripPrefix": False}],
            "plugins": [{"name": "api-key", "config": fields}]}


def ask(running, key=None, target="/a", **headers):
    sent = [("X-API-Key", key)] if key is not None else []
    return running.get(target, sent + [(name.replace("_", "-"), value) for name, value in headers.items()])


def everything_written(running):
    """What the gateway has written down or tells anybody."""
    admin = f"http://127.0.0.1:{running.admin_port}/admin"
    texts = [httpx.get(f"{admin}/{path}", **PLAIN_HTTP).text
             for path in ("metrics", "config", "api-keys", "revisions", "plugins", "health")]
    return "\n".join(texts + [running.log_path.read_text(), running.stderr(), running.stdout()])


def test_a_key_lets_in_and_ends_at_the_gateway(gateway, backend):
    backend.by_default(answer(200))
    running = start_live(gateway, with_keys(backend, queryParams=["api_key"]))
    made = running.admin.create("api-keys", {"clientName": "shop", "scopes": ["read"]})
    key = made["key"]
    assert ask(running, key, X_Client_ID="somebody else", X_Authenticated_User="root").status == 200
    seen = backend.requests[-1]
    assert seen.headers.get("X-Client-ID") == made["clientId"] and seen.headers.get("X-Authenticated-User") is None
    assert seen.headers.get("X-API-Key") is None and key not in str(seen.headers)
    assert running.get(f"/a?x=1&api_key={key}&y=2").status == 200
    assert backend.requests[-1].target == "/a?x=1&y=2"
    assert running.get(f"/a?api_key={key}").status == 200
    assert backend.requests[-1].target == "/a"
    refused = [ask(running), ask(running, key[:-1] + ("a" if key[-1] != "a" else "b")), ask(running, key.lower())]
    assert [one.status for one in refused] == [401, 401, 401]
    assert refused[0].headers.get("WWW-Authenticate") == 'ApiKey realm="sluice", in="header", name="X-API-Key"'
    assert 'error="invalid_token"' in refused[1].headers.get("WWW-Authenticate")
    assert refused[0].problem["rule"] == "identity" and refused[1].problem["rule"] == "api-key"
    assert len(backend.requests) == 3
    lines = running.log_lines(at_least=6)
    assert [line["clientId"] for line in lines] == [made["clientId"]] * 3 + [None] * 3
    assert [line["path"] for line in lines] == ["/a"] * 6
    assert [line["error"]["type"] for line in lines[3:]] == ["no-credentials", "unknown-api-key", "unknown-api-key"]
    assert key not in everything_written(running)


def test_keys_of_a_file_are_good_and_changed_by_a_reload(gateway, backend):
    backend.by_default(answer(200))
    entry = {"clientId": "billing", "hash": "sha256:" + hashlib.sha256(b"the key's text").hexdigest()}
    config = {**with_keys(backend), "apiKeys": [entry]}
    running = gateway(config)
    assert ask(running, "the key's text").status == 200
    assert backend.requests[-1].headers.get("X-Client-ID") == "billing"
    running.reload({**config, "apiKeys": [{**entry, "enabled": False}]})
    assert ask(running, "the key's text").status == 401


def test_two_keys_of_a_client_overlap_while_one_takes_over(gateway, backend):
    backend.by_default(answer(200))
    running = start_live(gateway, with_keys(backend))
    old = running.admin.create("api-keys", {"clientName": "shop"})
    new = running.admin.ask("POST", f"/api-keys/{old['id']}/rotate", {"overlap": 2}).json()
    began = time.monotonic()
    for made in (old, new):
        assert ask(running, made["key"]).status == 200
        assert backend.requests[-1].headers.get("X-Client-ID") == old["clientId"]
    wait_until(lambda: ask(running, old["key"]).status == 401, timeout=5, what="the end of the overlap")
    assert time.monotonic() - began > 1
    assert ask(running, new["key"]).status == 200
    assert "expired" in ask(running, old["key"]).problem["detail"]


def test_a_change_is_in_force_with_its_answer(gateway, backend):
    backend.by_default(answer(200))
    running = start_live(gateway, {"workers": 2, **with_keys(backend)})
    made = running.admin.create("api-keys", {"clientName": "shop"})
    for _ in range(20):
        running.admin.patch("api-keys", made["id"], {"enabled": False})
        assert ask(running, made["key"]).status == 401
        running.admin.patch("api-keys", made["id"], {"enabled": True})
        assert ask(running, made["key"]).status == 200
    running.admin.delete("api-keys", made["id"])
    assert ask(running, made["key"]).status == 401


def test_a_revocation_reaches_the_other_instance(gateway, backend, server):
    backend.by_default(answer(200))
    database = server.new_database()
    try:
        one = start_live(gateway, with_keys(backend), store=database.url)
        two = start_live(gateway, store=database.url)
        times = []
        for turn in range(5):
            made = one.admin.create("api-keys", {"clientName": f"shop {turn}"})
            wait_until(lambda: ask(two, made["key"]).status == 200, what="the new key")
            one.admin.delete("api-keys", made["id"])
            assert ask(one, made["key"]).status == 401
            times.append(wait_until(lambda: ask(two, made["key"]).status == 401, timeout=1, pause=0.001, what="the revocation"))
        assert min(times) < 0.05, times
    finally:
        one.stop(), two.stop()
        database.drop()


def test_a_revocation_arrives_by_asking_where_notifications_are_lost(gateway, backend, server):
    """As behind a pooler that doesn't pass them on: here pg_notify is one that tells nobody."""
    backend.by_default(answer(200))
    database = server.new_database()
    database.sql("CREATE SCHEMA silent")
    database.sql("GRANT ALL ON SCHEMA silent TO PUBLIC")
    database.sql("CREATE FUNCTION silent.pg_notify(text, text) RETURNS void LANGUAGE sql AS 'SELECT'")
    database.sql(f'ALTER DATABASE "{database.name}" SET search_path = silent, pg_catalog, public')
    one = two = None
    try:
        one = start_live(gateway, with_keys(backend), store=database.url)
        two = start_live(gateway, store=database.url)
        times = []
        for turn in range(3):
            made = one.admin.create("api-keys", {"clientName": f"shop {turn}"})
            wait_until(lambda: ask(two, made["key"]).status == 200, what="the new key")
            one.admin.delete("api-keys", made["id"])
            times.append(wait_until(lambda: ask(two, made["key"]).status == 401, timeout=5, what="the revocation"))
        assert max(times) > 0.05, f"they were not lost: {times}"
        assert min(times) < 1.1, times
    finally:
        for running in (one, two):
            if running:
                running.stop()
        database.drop()


def test_an_open_connection_is_asked_again_for_each_request(gateway, backend):
    backend.by_default(answer(200))
    running = start_live(gateway, with_keys(backend))
    made = running.admin.create("api-keys", {"clientName": "shop"})
    with running.client(headers={"X-API-Key": made["key"]}) as client:
        assert client.get("/a").status_code == 200
        running.admin.delete("api-keys", made["id"])
        assert client.get("/a").status_code == 401
        assert client.get("/a", headers={"X-API-Key": "other"}).status_code == 401


def test_known_keys_are_good_while_the_database_is_away(gateway, backend, new_postgres_server):
    backend.by_default(answer(200))
    database = new_postgres_server()
    running = start_live(gateway, with_keys(backend), store=database.new_database().url)
    made = running.admin.create("api-keys", {"clientName": "shop"})
    running.wait_for_metric("sluice_api_keys_whole", 1)
    assert ask(running, made["key"]).status == 200
    database.stop()
    for _ in range(3):
        assert ask(running, made["key"]).status == 200
        assert ask(running, "unknown").status == 401
        time.sleep(0.2)
    database.start()
    wait_until(lambda: running.admin.ask("DELETE", f"/api-keys/{made['id']}", expect=(204, 503)).status_code == 204, pause=0.05)
    wait_until(lambda: ask(running, made["key"]).status == 401, what="the revocation")


def test_uses_are_written_down(gateway, backend):
    backend.by_default(answer(200))
    running = start_live(gateway, with_keys(backend))
    made = running.admin.create("api-keys", {"clientName": "shop"})
    assert running.admin.get(f"/api-keys/{made['id']}").get("lastUsedAt") is None
    assert ask(running, made["key"]).status == 200
    wait_until(lambda: running.admin.get(f"/api-keys/{made['id']}").get("lastUsedAt"), timeout=30, pause=0.1, what="the use")
    assert re.search(r":\d\d\.\d{3}Z$", running.admin.get(f"/api-keys/{made['id']}")["lastUsedAt"])


# --- what strangers send

HOSTILE = [
    (b"X-API-Key: \x00\r\n", {400}),
    (b"X-API-Key: a\x00b\r\n", {400}),
    (b"X-API-Key:\r\n", {401}),
    (b"X-API-Key: \xff\xfe\x80\r\n", {400, 401}),
    (b"X-API-Key: " + b"k" * 20000 + b"\r\n", {401}),
    (b"X-API-Key: " + b"k" * 70000 + b"\r\n", {431}),
    (b"X-API-Key: k\r\n" * 2, {400}),
    (b"X-API-Key: k\r\n" * 90, {400}),
    (b"X-API-Key: k\r\n" * 300, {431}),
    (b"X-Api-Key: k\r\nx-api-key: l\r\n", {400}),
    (b"X-API-Key: k\r\n l\r\n", {400}),
    (b"X-API-Key : k\r\n", {400}),
    (b"Authorization: Bearer k\r\nAuthorization: Bearer k\r\n", {400}),
    (b"Authorization: Basic a\r\nAuthorization: Bearer k\r\n", {400}),
    (b"Authorization: Bearer\r\n", {401}),
    (b"Authorization: Bearer " + b" " * 3000 + b"k\r\n", {401}),
    (b"Authorization: bearer k, Bearer l\r\n", {400}),
    (b"X_API_Key: k\r\n", {401}),
    (b"Connection: X-API-Key\r\nX-API-Key: k\r\n", {401}),
    (b"Cookie: X-API-Key=k\r\n", {401}),
]


@pytest.fixture(scope="module")
def guarded(module_gateway, module_backend):
    module_backend.by_default(answer(200))
    return module_gateway(with_keys(module_backend, headers=["X-API-Key", "Authorization"], queryParams=["k"]))


@pytest.mark.parametrize("fields, statuses", HOSTILE, ids=[str(i) for i in range(len(HOSTILE))])
def test_odd_fields_are_refused_and_never_reach_the_service(guarded, module_backend, fields, statuses):
    with guarded.send(b"GET /a HTTP/1.1\r\nHost: a\r\n" + fields + b"\r\n") as wire:
        assert wire.read_response("GET").status in statuses
    assert module_backend.requests == []
    assert guarded.get("/a").status == 401


@pytest.mark.parametrize("query", ["k=1&k=2", "k=%00", "k", "k=", "k=%", "%6B=" + "x" * 4000, "k=" + "&k=" * 500, "&" * 3000 + "k=1"])
def test_odd_queries_are_refused(guarded, query):
    assert guarded.get(f"/a?{query}").status in (400, 401)


def test_a_target_that_cannot_be_read_is_logged_without_its_query(gateway, backend):
    running = gateway(with_keys(backend, queryParams=["k"]))
    with running.send(b"GET /%zz?k=a-secret HTTP/1.1\r\nHost: a\r\n\r\n") as wire:
        assert wire.read_response("GET").status == 400
    [line] = running.log_lines(at_least=1)
    assert line["status"] == 400 and "a-secret" not in running.log_path.read_text()


def test_many_strangers_at_once_are_all_told_no(gateway, backend):
    backend.by_default(answer(200))
    running = start_live(gateway, with_keys(backend))
    made = running.admin.create("api-keys", {"clientName": "shop"})
    with running.client() as client:
        for turn in range(300):
            assert client.get("/a", headers={"X-API-Key": f"{turn:043}"}).status_code == 401
            if turn % 50 == 0:
                assert client.get("/a", headers={"X-API-Key": made["key"]}).status_code == 200
    assert running.metric("sluice_api_key_lookups_total", result="unknown") == 300
    running.gauges_at_zero()
