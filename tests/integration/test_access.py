"""Access: roles and rules in front of a real service, changed while it runs, on one instance and on two; what is logged of a rule on trial."""
import time

import pytest

from backend import answer
from gateway import run_sluice, service
from live import start_live, wait_until
from postgres import PostgresServer, forget_template
from wire import chunked, request_bytes


@pytest.fixture(scope="module")
def server():
    made = PostgresServer()
    yield made
    made.close()
    forget_template()


def guarded(*backends, access, routes=(("a", "/a"), ("b", "/b")), **more):
    return {"services": [service(*backends)],
            "routes": [{"name": name, "path": path, "serviceId": "backend", "stripPrefix": False} for name, path in routes],
            "plugins": [{"name": "api-key", "config": more.pop("api_key", {})}, {"name": "access", "config": access}], **more}


def role(name, scopes=(), permissions=()):
    return {"name": name, "scopes": list(scopes), "permissions": list(permissions)}


def key_of(running, *scopes, **more):
    return running.admin.create("api-keys", {"clientName": "somebody", "scopes": list(scopes), **more})["key"]


def ask(running, key, method="GET", target="/a"):
    return running.request(method, target, [("X-API-Key", key)] if key else [])


def test_roles_allow_what_their_permissions_say(gateway, backend):
    backend.by_default(answer(200))
    running = start_live(gateway, guarded(backend, access={"permissions": True}, roles=[
        role("reader", ["read"], [{"methods": ["GET"]}]), role("clerk", ["desk"], [{"routes": ["b"]}])]))
    reader, clerk, nobody = key_of(running, "read"), key_of(running, "desk"), key_of(running)
    seen = {(who, method, target): ask(running, key, method, target).status for who, key in
            (("reader", reader), ("clerk", clerk), ("nobody", nobody)) for method in ("GET", "PUT") for target in ("/a", "/b")}
    assert seen == {("reader", "GET", "/a"): 200, ("reader", "GET", "/b"): 200, ("reader", "PUT", "/a"): 403, ("reader", "PUT", "/b"): 403,
                    ("clerk", "GET", "/a"): 403, ("clerk", "GET", "/b"): 200, ("clerk", "PUT", "/a"): 403, ("clerk", "PUT", "/b"): 200,
                    **{("nobody", method, target): 403 for method in ("GET", "PUT") for target in ("/a", "/b")}}
    refused = ask(running, reader, "PUT")
    assert refused.problem["rule"] == "access" and refused.headers.get("WWW-Authenticate") is None
    assert ask(running, None).status == 401


def test_what_a_rule_has_judged_is_what_the_service_gets(gateway, backend):
    """CGI and WSGI read X_Tenant as X-Tenant; a trailer comes after the rule."""
    backend.by_default(answer(200))
    rules = [{"name": "own", "effect": "allow", "when": "request.headers['x-tenant'] == 'mine' && !('x-debug-mode' in request.headers) && !has(request.headers.`x-trace-me`)"}]
    running = start_live(gateway, guarded(backend, access={"rules": rules}, api_key={"anonymous": "allow"}))
    fields = [("X-Tenant", "mine"), ("X_Tenant", "victim"), ("X_Debug_Mode", "1"), ("x-trace_me", "1"), ("X_Other", "kept")]
    trailers = [("X-Tenant", "victim"), ("X_Debug_Mode", "1"), ("X-Kept", "1")]
    with running.send(request_bytes("POST", "/a", [*fields, ("Transfer-Encoding", "chunked")]) + chunked(b"x", trailers=trailers)) as wire:
        assert wire.read_response().status == 200
    seen = backend.requests[0]
    assert seen.headers.all("X-Tenant") == ["mine"] and seen.headers["X_Other"] == "kept" and [name for name, _ in seen.trailers] == ["X-Kept"]
    assert not {"X_Tenant", "X_Debug_Mode", "x-trace_me"} & {name for name, _ in seen.headers}
    assert running.request("GET", "/a", [("X_Tenant", "mine")]).status == 401, "an anonymous client is asked who it is"


def test_a_header_that_connection_takes_off_is_judged_by_nobody(gateway, backend):
    backend.by_default(answer(200))
    rules = [{"name": "own", "effect": "allow", "when": "request.headers['x-tenant'] == 'mine'"}]
    running = start_live(gateway, guarded(backend, access={"rules": rules}))
    ours = [("X-API-Key", key_of(running)), ("X-Tenant", "mine")]
    for options in ("close, X-Tenant", "keep-alive,x-tenant", "X-TENANT"):
        assert running.request("GET", "/a", [*ours, ("Connection", options)]).status == 403
    assert running.request("GET", "/a", [*ours, ("Connection", "x-other"), ("Connection", "X-Tenant")]).status == 403
    assert backend.requests == []
    assert running.request("GET", "/a", [*ours, ("Connection", "close, X-API-Key"), ("Connection", "X-Other")]).status == 200
    assert backend.requests[0].headers["X-Tenant"] == "mine"


def test_a_changed_role_is_in_force_with_its_answer(gateway, backend):
    backend.by_default(answer(200))
    running = start_live(gateway, {"workers": 2, **guarded(backend, access={"permissions": True},
                                                           roles=[role("reader", ["read"], [{"methods": ["GET"]}])])})
    reader = key_of(running, "read")
    for _ in range(10):
        running.admin.patch("roles", "reader", {"permissions": [{"methods": ["PUT"]}]})
        assert (ask(running, reader).status, ask(running, reader, "PUT").status) == (403, 200)
        running.admin.patch("roles", "reader", {"permissions": [{"methods": ["GET"]}]})
        assert (ask(running, reader).status, ask(running, reader, "PUT").status) == (200, 403)
    assert "warnings" not in running.admin.create("roles", role("other", ["read"], [{}]))
    assert ask(running, reader, "PUT").status == 200
    running.admin.delete("roles", "other")
    assert ask(running, reader, "PUT").status == 403


def test_a_renamed_route_keeps_its_permission(gateway, backend):
    backend.by_default(answer(200))
    running = start_live(gateway, guarded(backend, access={"permissions": True}, roles=[role("clerk", ["desk"], [{"routes": ["b"]}])]))
    clerk = key_of(running, "desk")
    running.admin.patch("routes", "b", {"name": "bee"})
    assert ask(running, clerk, "GET", "/b").status == 200 and ask(running, clerk, "GET", "/a").status == 403
    assert running.admin.get("/roles/clerk")["permissions"][0]["routes"] == ["bee"]
    running.admin.delete("routes", "bee", expect=409)
    running.admin.delete("routes", "bee?cascade=true")
    assert running.get("/b").status == 404


def test_a_roles_change_reaches_the_other_instance(gateway, backend, server):
    backend.by_default(answer(200))
    database = server.new_database()
    try:
        one = start_live(gateway, guarded(backend, access={"permissions": True}, roles=[role("reader", ["read"], [{"methods": ["GET"]}])]),
                         store=database.url)
        two = start_live(gateway, store=database.url)
        reader = key_of(one, "read")
        wait_until(lambda: ask(two, reader).status == 200, what="the key")
        for methods, wanted in ((["PUT"], 403), (["GET"], 200), (["PUT"], 403)):
            one.admin.patch("roles", "reader", {"permissions": [{"methods": methods}]})
            assert ask(one, reader).status == wanted
            wait_until(lambda: ask(two, reader).status == wanted, timeout=2, what="the change")
    finally:
        one.stop(), two.stop()
        database.drop()


def test_roles_of_a_file_are_changed_by_a_reload(gateway, backend):
    backend.by_default(answer(200))
    config = guarded(backend, access={"permissions": True}, api_key={"anonymous": "allow"},
                     roles=[role("reader", ["read"], [{"methods": ["GET"]}])])
    config["apiKeys"] = [{"clientId": "c", "scopes": ["read"], "hash": "sha256:2c70e12b7a0646f92279f427c7b38e7334d8e5389cff167a1dc30e73f826b683"}]
    running = gateway(config)
    assert ask(running, "key").status == 200 and ask(running, "key", "PUT").status == 403
    config["roles"][0]["permissions"] = [{"methods": ["PUT"]}]
    running.reload(config)
    assert ask(running, "key").status == 403 and ask(running, "key", "PUT").status == 200


def test_a_route_lifts_nothing_that_is_denied_everywhere(gateway, backend):
    backend.by_default(answer(200))
    config = guarded(backend, access={"name": "house", "default": "allow",
                                      "rules": [{"name": "no-legacy", "effect": "deny", "when": "'legacy' in auth.scopes"}]})
    config["routes"][0]["filters"] = [{"type": "access", "rules": [{"name": "everybody", "effect": "allow"}]}]
    running = start_live(gateway, config)
    old, new = key_of(running, "legacy"), key_of(running)
    refused = ask(running, old)
    assert refused.status == 403 and refused.problem["rule"] == "no-legacy" and "no-legacy" in refused.problem["detail"]
    assert ask(running, new).status == 200
    [line] = [line for line in running.log_lines(at_least=2) if line["status"] == 403]
    assert line["error"]["type"] == "access-denied" and "no-legacy" in line["error"]["text"] and line["clientId"]


def test_a_rule_on_trial_refuses_nothing_and_is_logged(gateway, backend):
    backend.by_default(answer(200))
    running = start_live(gateway, guarded(backend, access={"dryRun": True, "rules": [
        {"name": "writers", "effect": "allow", "when": "request.method != 'PUT' || 'write' in auth.scopes"},
        {"name": "no-more", "effect": "deny"}]}))
    reader = key_of(running, "read")
    assert [ask(running, reader, method).status for method in ("GET", "PUT")] == [200, 200]
    first, second = running.log_lines(at_least=2)
    assert "wouldRefuse" not in first and second["wouldRefuse"] == "no-more" and "error" not in second
    assert len(backend.requests) == 2


def test_open_routes_ask_for_a_name_where_one_is_needed(gateway, backend):
    backend.by_default(answer(200))
    running = start_live(gateway, guarded(backend, api_key={"anonymous": "allow"}, access={
        "rules": [{"name": "reading", "effect": "allow", "when": "request.method == 'GET'"},
                  {"name": "writers", "effect": "allow", "when": "'write' in auth.scopes"}]}))
    assert ask(running, None).status == 200
    assert backend.requests[-1].headers.get("X-Client-ID") is None
    asked = ask(running, None, "PUT")
    assert asked.status == 401 and asked.headers["WWW-Authenticate"].startswith("ApiKey ")
    assert ask(running, key_of(running, "read"), "PUT").status == 403
    assert ask(running, key_of(running, "write"), "PUT").status == 200


def test_sending_more_gets_nobody_past_a_rule(gateway, backend):
    backend.by_default(answer(200))
    policy = {"default": "allow", "onFailure": "allow", "rules": [
        {"name": "no-evil", "effect": "deny", "when": "request.headers['user-agent'].matches('evil')"}]}
    running = gateway({**guarded(backend, access=policy), "plugins": [{"name": "access", "config": policy}]})
    assert [running.get("/a", [("User-Agent", agent)] if agent else []).status for agent in ("good", "", "evil", "evil" + 9000 * "x")] == [
        200, 200, 403, 403]


def test_mistakes_in_rules_are_told_at_their_place(gateway, backend):
    running = start_live(gateway, guarded(backend, access={"permissions": True}))
    told = running.admin.ask("POST", "/plugins", {"name": "access", "config": {"rules": [
        {"name": "good", "effect": "allow", "when": "true"}, {"name": "bad", "effect": "deny", "when": "auth.user_id == 3"}]}}, expect=422).json()
    assert {error["pointer"] for error in told["errors"]} == {"/config/rules/1/when"}, "once for each route that it would guard"


def test_mistakes_in_roles_are_told_at_their_place(gateway, backend):
    running = start_live(gateway, guarded(backend, access={"permissions": True}))
    for permissions, places in (([{"paths": ["/a/{b}{c}"]}], {"/permissions/0/paths/0"}), ([{}, {"paths": "~["}], {"/permissions/1/paths/0"}),
                                ([{"methods": ["GET"]}, {"paths": ["/a", "/b", "/{b}{c}"]}, {"paths": ["~["]}], {"/permissions/1/paths/2", "/permissions/2/paths/0"})):
        told = running.admin.ask("POST", "/roles", {"name": "x", "permissions": permissions}, expect=422).json()
        assert {error["pointer"] for error in told["errors"]} == places and 'role "x"' in told["errors"][0]["message"]
    running.admin.create("roles", {"name": "x", "permissions": [{"paths": ["/a"]}]})
    told = running.admin.ask("PATCH", "/roles/x", {"permissions": [{"paths": ["/a", "/{b}{c}"]}]}, expect=422).json()
    assert [error["pointer"] for error in told["errors"]] == ["/permissions/0/paths/1"]


def test_mistakes_in_a_files_roles_are_told_at_their_line(tmp_path):
    path = tmp_path / "roles.yaml"
    path.write_text("""listeners: [{ address: "127.0.0.1:1" }]
roles:
  - name: x
    permissions:
      - methods: GET
      - paths:
          - /good
          - /a/{b}{c}
""")
    done = run_sluice("check", path)
    assert done.returncode != 0 and f"{path}:8:13: role \"x\": " in done.stderr, done.stderr


def test_a_change_of_a_role_costs_the_same_with_many_routes(gateway, backend):
    """No route is compiled anew: a role of a gateway with 3,000 guarded routes changes in about the time it takes with two."""
    backend.by_default(answer(200))
    routes = [(f"r{i}", f"/r{i}") for i in range(3000)] + [("a", "/a")]
    running = start_live(gateway, guarded(backend, access={"permissions": True}, routes=routes,
                                          roles=[role("reader", ["read"], [{"methods": ["GET"]}])]))
    times = []
    for turn in range(6):
        began = time.monotonic()
        running.admin.patch("roles", "reader", {"permissions": [{"methods": ["GET", "PUT"][: 1 + turn % 2]}]})
        times.append(time.monotonic() - began)
    assert min(times) < 0.25, times
