"""The admin API over SQLite: each endpoint, each status, and what a change leaves behind."""
import concurrent.futures
import contextlib
import json
import re
import sqlite3
import threading
import time
import urllib.parse

import httpx
import pytest

from admin import admin, admin_gateway, problem, route, service, shared_admin_gateway  # noqa: F401  pylint: disable=unused-import
from certificates import Authority
from gateway import ROOT
from live import wait_until
from openapi import answers_as_documented  # noqa: F401  pylint: disable=unused-import
from wire import connect

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")
TIME = re.compile(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\Z")

# Of each kind: one to create, a change by PATCH, and what is then to be read.
EXAMPLES = {
    "services": (service("one"), {"lbAlgorithm": "random"}, ("lbAlgorithm", "random")),
    "routes": ({"name": "one", "path": "/one", "respond": {"status": 204}}, {"priority": 7}, ("priority", 7)),
    "plugins": ({"name": "cors", "instanceName": "one", "config": {"origins": ["*"]}}, {"enabled": False}, ("enabled", False)),
    "rate-limits": ({"name": "one", "limit": 1000, "window": 60, "key": "client_id"}, {"limit": 5}, ("limit", 5)),
    "roles": ({"name": "one", "permissions": [{"paths": ["/a/*"]}]}, {"tags": ["x"]}, ("tags", ["x"])),
}


@pytest.mark.parametrize("kind", EXAMPLES)
def test_a_resource_lives_from_post_to_delete(admin, kind):
    body, patch, (field, value) = EXAMPLES[kind]
    made = admin.api.post(f"/admin/{kind}", json=body)
    assert made.status_code == 201, made.text
    document = made.json()
    assert UUID.match(document["id"]) and TIME.match(document["createdAt"]) and document["updatedAt"] == document["createdAt"]
    assert made.headers["location"] == f"/admin/{kind}/{document['id']}"
    assert re.match(r'"[0-9a-f]{32}"\Z', made.headers["etag"])

    by_id, by_name = admin.api.get(made.headers["location"]), admin.api.get(f"/admin/{kind}/one")
    assert by_id.json() == by_name.json() == {name: its for name, its in document.items() if name != "warnings"}
    assert by_id.headers["etag"] == made.headers["etag"]
    assert admin.api.get(f"/admin/{kind}/one", headers={"If-None-Match": made.headers["etag"]}).status_code == 304
    assert admin.api.head(f"/admin/{kind}/one").headers["content-length"] == by_id.headers["content-length"]

    patched = admin.api.patch(f"/admin/{kind}/one", json=patch)
    assert patched.status_code == 200 and patched.json()[field] == value
    assert patched.headers["etag"] != made.headers["etag"]
    assert patched.json()["createdAt"] == document["createdAt"] <= patched.json()["updatedAt"]
    again = admin.api.patch(f"/admin/{kind}/one", json=patch)
    assert again.status_code == 200 and again.headers["etag"] == patched.headers["etag"]
    assert again.headers["sluice-revision"] == patched.headers["sluice-revision"], "nothing changed, so no revision"

    read = admin.api.get(f"/admin/{kind}/one").json()
    put = admin.api.put(f"/admin/{kind}/one", json=read)
    assert put.status_code == 200 and put.headers["etag"] == patched.headers["etag"], "what was read can be written back"

    assert admin.api.delete(f"/admin/{kind}/one").status_code == 204
    problem(admin.api.get(f"/admin/{kind}/one"), 404, "not-found")
    problem(admin.api.delete(f"/admin/{kind}/one"), 404, "not-found")
    problem(admin.api.patch(f"/admin/{kind}/one", json={}), 404, "not-found")
    remade = admin.api.put(f"/admin/{kind}/{document['id']}", json=body)
    assert remade.status_code == 201 and remade.json()["id"] == document["id"], "PUT creates where there is none"


def test_a_change_is_in_force_when_it_is_acknowledged(admin, backend):
    admin.api.post("/admin/services", json={"name": "s", "instances": [backend.address]}).raise_for_status()
    for number in range(50):
        path = f"/in-force-{number}"
        admin.api.post("/admin/routes", json=route(f"r{number}", path, "s")).raise_for_status()
        assert admin.get(path).status == 200
        assert admin.api.delete(f"/admin/routes/r{number}").status_code == 204
        assert admin.get(path).status == 404


def test_two_editors_do_not_overwrite_each_other(admin):
    admin.api.post("/admin/services", json=service("s")).raise_for_status()
    seen = admin.api.get("/admin/services/s")
    mine = admin.api.put("/admin/services/s", json=service("s", 9002), headers={"If-Match": seen.headers["etag"]})
    assert mine.status_code == 200
    theirs = admin.api.put("/admin/services/s", json=service("s", 9003), headers={"If-Match": seen.headers["etag"]})
    assert "changed" in problem(theirs, 412, "changed-meanwhile")["detail"]
    assert theirs.headers["etag"] == mine.headers["etag"], "the refusal says what is there now"
    assert admin.api.get("/admin/services/s").json()["instances"][0]["port"] == 9002
    for method in ("PATCH", "DELETE"):
        content = {"json": {}} if method == "PATCH" else {}
        stale = admin.api.request(method, "/admin/services/s", headers={"If-Match": '"0", W/"1"'}, **content)
        problem(stale, 412, "changed-meanwhile")
    fine = admin.api.patch("/admin/services/s", json={"tags": ["x"]}, headers={"If-Match": f'"0", {mine.headers["etag"]}'})
    assert fine.status_code == 200
    problem(admin.api.put("/admin/services/s", json=service("s"), headers={"If-None-Match": "*"}), 412, "exists")
    assert admin.api.put("/admin/services/t", json=service("t"), headers={"If-None-Match": "*"}).status_code == 201
    problem(admin.api.put("/admin/services/u", json=service("u"), headers={"If-Match": "*"}), 412, "changed-meanwhile")


def test_a_path_that_hardly_means_what_was_meant_is_warned_of(admin):
    admin.api.post("/admin/services", json=service("s"))
    made = admin.api.post("/admin/routes", json=route("r", "/users/", "s")).json()
    assert made["warnings"] == ['"/users/" takes that path alone; "/users/*" takes all below it']
    changed = admin.api.patch("/admin/routes/r", json={"path": "/users/:id"}).json()
    assert changed["warnings"] == ['":id" in a path is literal text; "{id}" captures a segment']
    assert "warnings" not in admin.api.get("/admin/routes/r").json()
    assert "warnings" not in admin.api.put("/admin/routes/r", json={**changed, "path": "/users/{id}"}).json()


def test_many_editors_with_if_match_lose_no_change(admin):
    """Eight editors count a service's connect timeout up, each step by read, change and conditional write."""
    admin.api.post("/admin/services", json=service("s", connectTimeoutMs=1000)).raise_for_status()

    def edit(_):
        with admin.admin_client() as api:
            for _ in range(10):
                while True:
                    seen = api.get("/admin/services/s")
                    more = {"connectTimeoutMs": seen.json()["connectTimeoutMs"] + 1}
                    if api.patch("/admin/services/s", json=more, headers={"If-Match": seen.headers["etag"]}).status_code == 200:
                        break
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(edit, range(8)))
    assert admin.api.get("/admin/services/s").json()["connectTimeoutMs"] == 1080


def test_if_match_can_be_required(admin_gateway):
    gateway = admin_gateway(admin={"requireIfMatch": True})
    gateway.api.post("/admin/services", json=service("s")).raise_for_status()
    for method in ("PUT", "PATCH", "DELETE"):
        content = {} if method == "DELETE" else {"json": service("s")}
        problem(gateway.api.request(method, "/admin/services/s", **content), 428, "match-required")
    etag = gateway.api.get("/admin/services/s").headers["etag"]
    assert gateway.api.delete("/admin/services/s", headers={"If-Match": etag}).status_code == 204


def test_patch_takes_fields_away_by_null(admin):
    admin.api.post("/admin/services", json=service("s", tags=["a"], lbAlgorithm="random", connectTimeoutMs=5)).raise_for_status()
    patched = admin.api.patch("/admin/services/s", json={"lbAlgorithm": None, "tags": None},
                              headers={"Content-Type": "application/merge-patch+json"}).json()
    assert patched["lbAlgorithm"] == "round_robin" and not patched.get("tags") and patched["connectTimeoutMs"] == 5
    problem(admin.api.patch("/admin/services/s", json={"instances": None}), 422, "invalid")
    problem(admin.api.patch("/admin/services/s", json=[]), 422, "invalid")
    assert admin.api.get("/admin/services/s").json()["connectTimeoutMs"] == 5


def test_names_are_unique_and_say_who_has_them(admin):
    first = admin.api.post("/admin/services", json=service("s")).json()
    taken = problem(admin.api.post("/admin/services", json=service("s")), 409, "name-taken")
    assert [user["id"] for user in taken["users"]] == [first["id"]]
    admin.api.post("/admin/services", json=service("t")).raise_for_status()
    problem(admin.api.patch("/admin/services/t", json={"name": "s"}), 409, "name-taken")


def test_what_is_in_use_goes_with_its_users_or_not_at_all(admin):
    admin.api.post("/admin/services", json=service("s")).raise_for_status()
    admin.api.post("/admin/routes", json=route("r", "/r", "s")).raise_for_status()
    refused = problem(admin.api.delete("/admin/services/s"), 409, "in-use")
    assert [(user["kind"], user["name"]) for user in refused["users"]] == [("routes", "r")]
    assert "cascade" in refused["hint"]
    assert admin.api.delete("/admin/services/s?cascade=true").status_code == 204
    assert admin.api.get("/admin/routes").json()["items"] == []


def test_all_mistakes_are_told_at_once_with_pointer_and_mend(admin):
    wrong = {"name": "s", "instances": ["127.0.0.1:9001", "nowhere:99999"], "lbAlgoritm": "random", "connectTimeoutMs": "soon"}
    errors = {error["pointer"]: error for error in problem(admin.api.post("/admin/services", json=wrong), 422, "invalid")["errors"]}
    assert set(errors) == {"/instances/1", "/lbAlgoritm", "/connectTimeoutMs"}
    assert "lbAlgorithm" in errors["/lbAlgoritm"]["hint"]
    missing = problem(admin.api.post("/admin/routes", json=route("r", "/r", "nobody")), 422, "invalid")
    assert missing["errors"][0]["pointer"] == "/serviceId"


def cors(name, origin="https://a.example", **fields):
    return {"name": "cors", "instanceName": name, "config": {"origins": [origin]}, **fields}


def test_two_plugins_of_a_kind_never_silently_stand_for_each_other(admin):
    """The younger one used to be all that acted: of jwt-auth, say, without the audience that the other asks for."""
    other = "https://b.example"
    # Before there is a route: its writer would have to answer for what others wrote.
    admin.api.post("/admin/plugins", json=cors("wide")).raise_for_status()
    refused = problem(admin.api.post("/admin/plugins", json=cors("wider", other)), 422, "invalid")
    assert [error["pointer"] for error in refused["errors"]] == [""]
    assert refused["errors"][0]["message"] == 'plugin "wider": "cors" is there for all routes already, by plugin "wide"'
    refused = problem(admin.api.put("/admin/config", json={"plugins": [cors("wide"), cors("wider", other)]}), 422, "invalid")
    assert [error["pointer"] for error in refused["errors"]] == ["/plugins/1"]
    assert admin.api.post("/admin/plugins", json=cors("same")).status_code == 201, "it says the same"
    admin.empty()

    for name in ("s", "t"):
        admin.api.post("/admin/services", json=service(name)).raise_for_status()
    for name in ("one", "two"):
        admin.api.post("/admin/routes", json=route(name, f"/{name}", "s")).raise_for_status()
    older = admin.api.post("/admin/plugins", json=cors("older", routes=["one"])).json()
    refused = problem(admin.api.post("/admin/plugins", json=cors("younger", other, routes=["one", "two"])), 422, "invalid")
    assert [error["pointer"] for error in refused["errors"]] == [""]
    assert refused["errors"][0]["message"] == 'plugin "younger": "cors" is there for route "one" already, by plugin "older"'
    assert "disable one" in refused["errors"][0]["hint"]

    # Disabled it acts nowhere; enabled it would.
    admin.api.post("/admin/plugins", json=cors("younger", other, routes=["one", "two"], enabled=False)).raise_for_status()
    refused = problem(admin.api.patch("/admin/plugins/younger", json={"enabled": True}), 422, "invalid")
    assert admin.api.patch("/admin/plugins/younger", json={"enabled": True, "routes": ["two"]}).status_code == 200

    # Whichever of them is written, by name or by id.
    two = admin.api.get("/admin/routes/two").json()["id"]
    refused = problem(admin.api.patch("/admin/plugins/older", json={"routes": ["one", two]}), 422, "invalid")
    assert [error["pointer"] for error in refused["errors"]] == [""] and 'plugin "older"' in refused["errors"][0]["message"]
    assert admin.api.get("/admin/plugins/older").json()["id"] == older["id"]


def test_a_route_over_services_with_a_kind_each_is_refused_where_they_differ(admin):
    for name in ("s", "t"):
        admin.api.post("/admin/services", json=service(name)).raise_for_status()
        admin.api.post("/admin/plugins", json=cors(f"for-{name}", services=[name])).raise_for_status()
    admin.api.post("/admin/routes", json=route("r", "/r", "s")).raise_for_status()
    canary = {"split": {"canaryServiceId": "t", "canaryPercentage": 5}}
    assert admin.api.patch("/admin/routes/r", json=canary).status_code == 200, "both say the same"
    different = {"config": {"origins": ["https://b.example"]}}
    refused = problem(admin.api.patch("/admin/plugins/for-t", json=different), 422, "invalid")
    assert refused["errors"][0]["message"] == 'route "r" ends in services with a "cors" each, by plugin "for-s" and by plugin "for-t"'
    assert admin.api.patch("/admin/routes/r", json={"split": None}).status_code == 200
    assert admin.api.patch("/admin/plugins/for-t", json=different).status_code == 200
    refused = problem(admin.api.patch("/admin/routes/r", json=canary), 422, "invalid")
    assert '"filters"' in refused["errors"][0]["hint"]
    own = {"filters": [{"type": "cors", "origins": ["*"]}]}
    assert admin.api.patch("/admin/routes/r", json={**canary, **own}).status_code == 200


def enable_all_plugins(store):
    """As a version does that refuses nothing: what the last revision wrote disabled is enabled, in a revision of its own."""
    with contextlib.closing(sqlite3.connect(store.removeprefix("sqlite:"), isolation_level=None, timeout=10)) as connection:
        connection.executescript("""
            BEGIN IMMEDIATE;
            UPDATE plugins SET enabled = 1;
            INSERT INTO revisions (revision, at, changes)
                SELECT revision + 1, at + 1, replace(changes, '"enabled":false', '"enabled":true') FROM revisions
                WHERE revision = (SELECT max(revision) FROM revisions);
            UPDATE store_head SET revision = revision + 1;
            COMMIT;""")


def allowed_origins(gateway, path):
    """Which of the two origins the answer of a route is for."""
    origins = [f"https://{name}.example" for name in "ab"]
    answers = [gateway.get(path, {"Origin": origin}) for origin in origins]
    assert [answer.status for answer in answers] == [200, 200], path
    return [origin for origin, answer in zip(origins, answers) if answer.headers.get("Access-Control-Allow-Origin") == origin]


@pytest.mark.parametrize("plugins", [
    (cors("c1"), cors("c2", "https://b.example")),
    (cors("c1", routes=["r"]), cors("c2", "https://b.example", routes=["r"])),
], ids=["for all routes", "for a route"])
def test_plugins_that_a_store_holds_in_each_others_way_are_served_and_can_be_mended(admin_gateway, plugins):
    """A store that an older version has written, and a fleet of which one member is an older version still."""
    first, second = plugins
    running = admin_gateway()
    store = running.config["store"]
    running.api.post("/admin/routes", json={"name": "r", "path": "/r", "respond": {"status": 200}}).raise_for_status()
    running.api.post("/admin/plugins", json=first).raise_for_status()
    running.api.post("/admin/plugins", json={**second, "enabled": False}).raise_for_status()
    follower = admin_gateway({"store": store})
    assert allowed_origins(follower, "/r") == ["https://a.example"]
    problem(running.api.patch("/admin/plugins/c2", json={"enabled": True}), 422, "invalid")

    enable_all_plugins(store)
    wait_until(lambda: allowed_origins(follower, "/r") == allowed_origins(running, "/r") == ["https://b.example"], what="the last one")
    follower.wait_for_stderr(r'warning .*plugin "c2": "cors" is there for .* already, by plugin "c1"')
    assert "can't be put in force" not in follower.stderr() + running.stderr()
    # Orders that have nothing to do with them.
    follower.api.post("/admin/routes", json={"name": "q", "path": "/q", "respond": {"status": 200}}).raise_for_status()
    follower.api.patch("/admin/routes/r", json={"name": "renamed"}).raise_for_status()
    follower.api.post("/admin/plugins", json={"name": "security-headers"}).raise_for_status()

    follower.stop()
    again = admin_gateway({"store": store})
    assert allowed_origins(again, "/r") == ["https://b.example"] and again.get("/q").status == 200
    again.wait_for_stderr(r'warning .*plugin "c2": "cors" is there for .* already, by plugin "c1"')
    again.reload()
    assert allowed_origins(again, "/r") == ["https://b.example"]
    problem(again.api.patch("/admin/plugins/c1", json={"config": {"origins": ["https://c.example"]}}), 422, "invalid")
    again.api.patch("/admin/plugins/c2", json={"enabled": False}).raise_for_status()
    assert allowed_origins(again, "/r") == ["https://a.example"]
    problem(again.api.patch("/admin/plugins/c2", json={"enabled": True}), 422, "invalid")


def test_a_canary_that_a_store_holds_over_services_with_a_kind_each_goes_on(admin_gateway, backend):
    running = admin_gateway()
    store = running.config["store"]
    for name in ("s", "t"):
        running.api.post("/admin/services", json={"name": name, "instances": [backend.address]}).raise_for_status()
        running.api.post("/admin/routes", json=route(name, f"/{name}", name)).raise_for_status()
    running.api.post("/admin/routes", json={**route("both", "/both", "s"), "split": {"canaryServiceId": "t", "canaryPercentage": 5}})
    running.api.post("/admin/plugins", json=cors("for-s", services=["s"])).raise_for_status()
    running.api.post("/admin/plugins", json=cors("for-t", "https://b.example", services=["t"], enabled=False)).raise_for_status()
    enable_all_plugins(store)
    again = admin_gateway({"store": store})
    again.wait_for_stderr('route "both" ends in services with a "cors" each, by plugin "for-s" and by plugin "for-t"')
    assert [allowed_origins(again, path) for path in ("/s", "/t")] == [["https://a.example"], ["https://b.example"]]
    assert allowed_origins(again, "/both") == ["https://b.example"]
    # Who is on call can take the canary back without answering for the rest.
    again.api.patch("/admin/routes/both", json={"split": {"canaryPercentage": 0}}).raise_for_status()
    own = {"filters": [{"type": "cors", "origins": ["https://a.example"]}]}
    again.api.patch("/admin/routes/both", json=own).raise_for_status()
    assert allowed_origins(again, "/both") == ["https://a.example"]


@pytest.mark.parametrize("name", ["a b", "a/b", "ünïcode", "100%", "a?b#c", "a+b", "a;b", "日本", "quote\"s", "...", "a:b@c"])
def test_names_with_odd_characters_work_percent_encoded(admin, name):
    made = admin.api.post("/admin/services", json=service(name))
    if made.status_code == 422:  # a name that the schema refuses: with words, and nothing is there
        assert made.json()["errors"][0]["pointer"] == "/name"
        return
    assert made.status_code == 201, made.text
    with connect(admin.admin_address) as wire:
        wire.send(f"GET /admin/services/{urllib.parse.quote(name, safe='')} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        answer = wire.read_response("GET")
    assert answer.status == 200 and json.loads(answer.body)["name"] == name


# Lists


def test_pages_through_a_thousand_routes_while_they_change(admin):
    admin.api.post("/admin/services", json=service("s")).raise_for_status()
    routes = [route(f"r{number:04}", f"/p/{number}", "s") for number in range(1000)]
    admin.api.put("/admin/config", json={"services": [service("s")], "routes": routes}).raise_for_status()
    over = threading.Event()

    def disturb():
        with admin.admin_client() as api:
            number = 0
            while not over.is_set():
                api.patch(f"/admin/routes/r{number % 1000:04}", json={"priority": number}).raise_for_status()
                api.post("/admin/routes", json=route(f"x{number}", f"/x/{number}", "s")).raise_for_status()
                if number % 2:
                    assert api.delete(f"/admin/routes/x{number}").status_code == 204
                number += 7
    disturber = threading.Thread(target=disturb)
    disturber.start()
    try:
        for limit in (1000, 97):
            seen, cursor = [], None
            while True:
                page = admin.api.get("/admin/routes", params={"limit": limit, **({"cursor": cursor} if cursor else {})}).json()
                assert len(page["items"]) <= limit
                seen += [item["name"] for item in page["items"] if item["name"].startswith("r")]
                cursor = page["nextCursor"]
                if not cursor:
                    break
            assert seen == [one["name"] for one in routes], "each once, in order, whatever came and went"
    finally:
        over.set()
        disturber.join()


def test_lists_are_filtered(admin):
    admin.api.put("/admin/config", json={
        "services": [service("a", tags=["blue"]), service("b")],
        "routes": [route("ra", "/a", "a"), route("rb", "/b", "b", enabled=False, tags=["blue"])],
        "plugins": [{"name": "cors", "config": {"origins": ["*"]}, "routes": ["ra"]}],
    }).raise_for_status()

    def names(query):
        return [item["name"] for item in admin.api.get("/admin/" + query).json()["items"]]
    assert names("services?tag=blue") == ["a"]
    assert names("routes?serviceId=a") == ["ra"]
    assert names(f"routes?serviceId={admin.api.get('/admin/services/b').json()['id']}") == ["rb"]
    assert names("routes?enabled=false") == ["rb"]
    assert names("routes?name=ra&tag=blue") == []
    assert names("plugins?routeId=ra") == ["cors"]
    assert names("plugins?serviceId=a") == []
    for query in ("limit=0", "limit=1001", "limit=x", "cursor=x", "enabled=yes", "servceId=a", "tag=a&tag=b", "tag="):
        answer = admin.api.get("/admin/routes?" + query)
        assert answer.status_code == 400 and answer.json()["reason"] in ("bad-query", "bad-cursor"), query


# The whole


def test_the_whole_configuration_is_exported_and_applied(admin):
    whole = {"services": [service("a"), service("b")], "routes": [route("ra", "/a", "a")]}
    first = admin.api.put("/admin/config", json=whole).json()
    assert (first["created"], first["updated"], first["deleted"]) == (3, 0, 0)
    assert {change["name"] for change in first["changes"]} == {"a", "b", "ra"}
    exported = admin.api.get("/admin/config")
    assert exported.headers["etag"] == f'"{first["revision"]}"'
    again = admin.api.put("/admin/config", json=exported.json()).json()
    assert again["outcome"] == "unchanged" and again["revision"] == first["revision"]
    less = admin.api.put("/admin/config", json={"services": [service("a", 9009)]}).json()
    assert (less["created"], less["updated"], less["deleted"]) == (0, 1, 2)
    stale = admin.api.put("/admin/config", json=whole, headers={"If-Match": exported.headers["etag"]})
    problem(stale, 412, "changed-meanwhile")


def test_a_whole_configuration_is_all_or_nothing(admin):
    admin.api.put("/admin/config", json={"services": [service("a")]}).raise_for_status()
    before = admin.state()
    wrong = {"services": [service("a", 9009), service("b")], "routes": [route("r", "/r", "nobody")]}
    refused = problem(admin.api.put("/admin/config", json=wrong), 422, "invalid")
    assert refused["errors"][0]["pointer"] == "/routes/0/serviceId"
    assert admin.state() == before


def test_a_tagged_part_is_applied_alone(admin):
    admin.api.put("/admin/config", json={"services": [service("a", tags=["t"]), service("b")]}).raise_for_status()
    done = admin.api.put("/admin/config?tag=t", json={"services": [service("c", tags=["t"])]}).json()
    assert (done["created"], done["deleted"]) == (1, 1)
    assert {item["name"] for item in admin.api.get("/admin/services").json()["items"]} == {"b", "c"}
    assert [item["name"] for item in admin.api.get("/admin/config?tag=t").json()["services"]] == ["c"]
    problem(admin.api.put("/admin/config?tag=t", json={"services": [service("d")]}), 422, "invalid")


def test_history_tells_who_and_what_and_can_be_gone_back(admin):
    admin.api.post("/admin/services", json=service("before")).raise_for_status()
    made = admin.api.post("/admin/services?comment=for%20the%20shop", json=service("a"))
    revision = int(made.headers["sluice-revision"])
    admin.api.patch("/admin/services/a", json={"connectTimeoutMs": 77}).raise_for_status()
    newest = admin.api.get("/admin/revisions?limit=2").json()
    assert [item["revision"] for item in newest["items"]] == [revision + 1, revision]
    assert all(TIME.match(item["at"]) for item in newest["items"])
    assert newest["items"][1]["comment"] == "for the shop" and newest["items"][1]["author"] == "anonymous"
    older = admin.api.get("/admin/revisions", params={"limit": 1, "cursor": newest["nextCursor"]}).json()
    assert older["items"][0]["revision"] == revision - 1
    one = admin.api.get(f"/admin/revisions/{revision + 1}").json()
    assert one["changes"][0]["difference"] == [{"pointer": "/connectTimeoutMs", "before": 2000, "after": 77}]
    tried = admin.api.post(f"/admin/revisions/{revision}/rollback?dryRun=true").json()
    assert tried["valid"] and tried["updated"] == 1
    back = admin.api.post(f"/admin/revisions/{revision}/rollback")
    assert back.status_code == 200 and back.json()["revision"] == revision + 2
    assert admin.api.get("/admin/services/a").headers["etag"] == made.headers["etag"]
    for number in ("999999", "x", "-1", "18446744073709551616"):
        assert "there is no revision" in problem(admin.api.get(f"/admin/revisions/{number}"), 404, "not-found")["detail"]
        problem(admin.api.post(f"/admin/revisions/{number}/rollback"), 404, "not-found")


def test_validate_says_what_a_change_would_do_and_does_nothing(admin):
    admin.api.put("/admin/config", json={"services": [service("a")], "routes": [route("r", "/r", "a")]}).raise_for_status()
    before = admin.state()

    def validate(method, path, body=None):
        return admin.api.post("/admin/validate", json={"method": method, "path": path, **({"body": body} if body is not None else {})})
    made = validate("POST", "/admin/services", service("b")).json()
    assert made["valid"] and made["outcome"] == "created" and made["changes"][0]["name"] == "b"
    assert validate("DELETE", "/admin/services/a?cascade=true").json()["outcome"] == "deleted"
    assert len(validate("DELETE", "/admin/services/a?cascade=true").json()["changes"]) == 2
    problem(validate("DELETE", "/admin/services/a"), 409, "in-use")
    problem(validate("POST", "/admin/services", service("a")), 409, "name-taken")
    problem(validate("PATCH", "/admin/services/x", {}), 404, "not-found")
    problem(validate("POST", "/admin/routes", route("q", "/q", "x")), 422, "invalid")
    problem(validate("GET", "/admin/services"), 422, "invalid")
    problem(validate("POST", "/admin/validate", {"method": "POST", "path": "/admin/validate"}), 422, "invalid")
    whole = admin.api.post("/admin/validate", json={"services": [service("z")]}).json()
    assert whole["valid"] and (whole["created"], whole["deleted"]) == (1, 2)
    assert validate("PUT", "/admin/config", {"services": []}).json()["valid"]
    assert admin.api.put("/admin/services/a?dryRun=true", json=service("a", 9)).json()["outcome"] == "updated"
    assert admin.state() == before


# API keys


def test_an_api_key_is_shown_once_rotated_and_revoked(admin):
    made = admin.api.post("/admin/api-keys", json={"clientName": "shop", "scopes": ["read"]})
    assert made.status_code == 201, made.text
    key, document = made.json()["key"], made.json()
    assert re.match(r"[0-9A-Za-z]{43}\Z", key) and made.headers["location"] == f"/admin/api-keys/{document['id']}"
    read = admin.api.get(made.headers["location"])
    assert read.status_code == 200 and key not in read.text and "hash" not in read.text.lower()
    assert key[:8] in read.text, "the prefix helps people to tell keys apart"
    assert TIME.match(read.json()["createdAt"]), "as of every resource"
    set_by_hand = {"clientName": "shop", "expiresAt": "2099-01-31T12:00:00.000125Z"}
    exact = admin.api.post("/admin/api-keys", json=set_by_hand).json()
    assert admin.api.get(f"/admin/api-keys/{exact['id']}").json()["expiresAt"] == set_by_hand["expiresAt"], "what somebody set stays as it is"
    client = read.json()["clientId"]
    rotated = admin.api.post(f"{made.headers['location']}/rotate", json={"overlap": 60})
    assert rotated.status_code in (200, 201) and rotated.json()["key"] != key
    both = admin.api.get(f"/admin/api-keys?clientId={client}").json()["items"]
    assert {one["id"] for one in both} == {document["id"], rotated.json()["id"]}
    everything = admin.api.get("/admin/api-keys").text + admin.api.get("/admin/revisions").text + admin.stderr() + \
        admin.api.get("/admin/config").text
    assert key not in everything and rotated.json()["key"] not in everything
    assert admin.api.delete(made.headers["location"]).status_code == 204
    problem(admin.api.get(made.headers["location"]), 404, "not-found")
    problem(admin.api.post(f"{made.headers['location']}/rotate"), 404, "not-found")


def test_secrets_are_hidden_and_kept_when_they_are_written_back(admin, tmp_path):
    issued = Authority(tmp_path).issue("localhost")
    certificate, key = issued.certificate.read_text(), issued.key.read_text()
    made = admin.api.post("/admin/certificates", json={"name": "c", "certificate": certificate, "key": key})
    assert made.status_code == 201, made.text
    read = admin.api.get("/admin/certificates/c")
    assert re.match(r"sha256:[0-9a-f]{16}\Z", read.json()["key"]["$secret"]) and read.json()["certificate"] == certificate
    put = admin.api.put("/admin/certificates/c", json=read.json())
    assert put.status_code == 200 and put.headers["etag"] == read.headers["etag"], "the same secret, so nothing has changed"
    whole = admin.api.get("/admin/config").json()
    assert admin.api.put("/admin/config", json=whole).json()["outcome"] == "unchanged"
    unknown = {**read.json(), "key": {"$secret": "sha256:0000000000000000"}}
    assert problem(admin.api.put("/admin/certificates/c", json=unknown), 422, "invalid")["errors"][0]["pointer"].startswith("/key")
    assert admin.api.patch("/admin/certificates/c", json={"tags": ["x"]}).status_code == 200
    wrong = admin.api.post("/admin/certificates", json={"name": "d", "certificate": key, "key": certificate})
    problem(wrong, 422, "invalid")
    line = key.splitlines()[1]
    told = [wrong.text, made.text, read.text, put.text, json.dumps(whole), admin.api.get("/admin/certificates").text,
            admin.api.get("/admin/revisions?limit=9").text, admin.stderr()]
    for revision in range(int(made.headers["sluice-revision"]), int(admin.state()[0]) + 1):
        told.append(admin.api.get(f"/admin/revisions/{revision}").text)
    assert not [text for text in told if line in text]


# Methods, paths, bodies


def test_wrong_methods_and_paths_say_what_is_right(admin):
    for path, allow in (("/admin/services", "GET, HEAD, POST"), ("/admin/services/a", "GET, HEAD, PUT, PATCH, DELETE"),
                        ("/admin/config", "GET, HEAD, PUT"), ("/admin/health", "GET, HEAD"), ("/admin/validate", "POST"),
                        ("/admin/revisions/1/rollback", "POST")):
        answer = admin.api.request("BREW", path)
        problem(answer, 405, "method-not-allowed")
        assert answer.headers["allow"] == allow
        assert admin.api.options(path).headers["allow"] == allow
    for path in ("/", "/admin/", "/admin/service", "/admin/services/", "/admin/services/a/b", "/admin/routes/a/rotate"):
        problem(admin.api.get(path), 404, "no-endpoint")
    for path, hint in (("/metrics", "it is /admin/metrics"), ("/routes", "it is /admin/routes"), ("/services/a", "it is /admin/services/a"),
                       ("/validate", "it is /admin/validate"), ("/", "GET /admin lists what there is"), ("/nothing", "GET /admin lists what there is"),
                       ("/routes/", "leave the slash at the end out")):
        assert problem(admin.api.get(path), 404, "no-endpoint")["hint"] == hint
    index = admin.api.get("/admin").json()
    assert {"method": "POST", "path": "/admin/validate"}.items() <= next(
        one for one in index["endpoints"] if one["path"] == "/admin/validate").items()


DEEP = "[" * 100000
HOSTILE = {
    "nothing": b"", "truncated": b'{"name":"s","instances":["127.0.0.1:9001"', "half a string": b'{"name":"s',
    "trailing": b'{"name":"s","instances":[]} x', "two documents": b'{"name":"s"}{"name":"t"}', "not UTF-8": b'{"name":"\xff\xfe"}',
    "half a character": b'{"name":"\xc3"}', "surrogate": b'{"name":"\\ud800"}', "NUL": b'{"name":"a\x00b"}',
    "NUL by escape": b'{"name":"a\\u0000b"}', "duplicate key": b'{"name":"s","name":"t","instances":["127.0.0.1:1"]}',
    "deep lists": DEEP.encode(), "deep maps": b'{"a":' * 50000, "deep and whole": b"[" * 5000 + b"]" * 5000,
    "a number": b"1", "a text": b'"s"', "null": b"null", "a list": b"[]", "huge number": b'{"name":"s","priority":1e999}',
    "wrong types": b'{"name":{},"instances":"x","services":3,"routes":{},"path":[],"limit":"many","method":1}',
    "unknown fields": b'{"nme":"s"}', "comments": b'{/* */"name":"s"}', "single quotes": b"{'name':'s'}", "YAML": b"name: s\n",
    "byte order mark alone": b"\xef\xbb\xbf", "NaN": b'{"name":NaN}', "many keys": b"{" + b",".join(b'"k%d":1' % n for n in range(5000)) + b"}",
}
CHANGES = [("POST", f"/admin/{kind}") for kind in ("services", "routes", "plugins", "rate-limits", "roles", "certificates", "api-keys")] + \
    [(method, f"/admin/{kind}/existing") for kind in ("services", "routes") for method in ("PUT", "PATCH")] + \
    [("PUT", "/admin/config"), ("POST", "/admin/validate")]


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_bodies_are_a_clean_4xx_and_change_nothing(admin, what):
    admin.api.put("/admin/config", json={"services": [service("existing")], "routes": [route("existing", "/e", "existing")]}).raise_for_status()
    before, keys = admin.state(), admin.api.get("/admin/api-keys").text
    for method, path in CHANGES:
        answer = admin.api.request(method, path, content=HOSTILE[what], headers={"Content-Type": "application/json"})
        assert 400 <= answer.status_code < 500, f"{method} {path}: {answer.status_code} {answer.text}"
        assert answer.headers["content-type"] == "application/problem+json"
        assert json.loads(answer.text)["status"] == answer.status_code
    assert admin.state() == before and admin.api.get("/admin/api-keys").text == keys


def test_bodies_of_the_wrong_type_or_size_are_refused(admin):
    before = admin.state()
    body = json.dumps(service("s")).encode()
    for kind in ("", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/json; charset=latin1"):
        headers = {"Content-Type": kind} if kind else {}
        assert problem(admin.api.post("/admin/services", content=body, headers=headers), 415, "not-json")["hint"]
    problem(admin.api.post("/admin/services", content=b" " * (1 << 20) + body, headers={"Content-Type": "application/json"}), 413,
            "body-too-large")

    def chunks():
        for _ in range(40):
            yield b" " * 65536
        yield body
    over = admin.api.post("/admin/services", content=chunks(), headers={"Content-Type": "application/json"})
    problem(over, 413, "body-too-large")
    assert admin.state() == before
    just = body + b" " * ((1 << 20) - len(body))
    assert admin.api.post("/admin/services", content=just, headers={"Content-Type": "application/json"}).status_code == 201


def test_clients_that_break_off_or_dawdle_hold_nothing_up(admin):
    before = admin.state()
    head = b"POST /admin/services HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 60\r\n\r\n"
    body = json.dumps(service("slow")).encode().ljust(60)
    for count in (0, 1, 30, 59):
        with connect(admin.admin_address) as wire:
            wire.send(head + body[:count])
    assert admin.state() == before
    with connect(admin.admin_address) as wire:
        wire.send(head)
        for byte in body:
            wire.send(bytes([byte]))
            time.sleep(0.002)
        assert wire.read_response("POST").status == 201
    with connect(admin.admin_address) as wire:  # gone while the order is under way: the change is made all the same
        wire.send(head.replace(b"60", b"%d" % len(json.dumps(service("gone")))) + json.dumps(service("gone")).encode())
    deadline = time.monotonic() + 5
    while admin.api.get("/admin/services/gone").status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert admin.gauges_at_zero()


def test_a_client_may_ask_before_it_sends(admin):
    body = json.dumps(service("s")).encode()
    with connect(admin.admin_address) as wire:
        wire.send(b"POST /admin/services HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                  b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body))
        time.sleep(0.05)
        wire.send(body)
        assert wire.read_response("POST").status == 201


# The state


def test_health_live_ready_and_stats(admin, backend):
    health = admin.api.get("/admin/health").json()
    assert health["status"] == "ok" and health["store"]["available"] and health["store"]["location"].startswith("sqlite:")
    assert health["workers"] == {"configured": 1, "alive": 1}
    assert str(health["store"]["revision"]) == admin.state()[0]
    assert admin.api.get("/live").json() == {"status": "live"} and admin.api.get("/ready").json() == {"status": "ready"}
    admin.api.put("/admin/config", json={"services": [{"name": "s", "instances": [backend.address]}],
                                         "routes": [route("stats-route", "/stats", "s")]}).raise_for_status()
    for _ in range(5):
        assert admin.get("/stats").status == 200
    stats = admin.api.get("/admin/routes/stats-route/stats").json()
    assert stats["name"] == "stats-route"
    for window in ("1m", "5m", "total"):
        assert stats["windows"][window]["requests"] == 5 and stats["windows"][window]["byStatusClass"]["2xx"] == 5
    problem(admin.api.get("/admin/routes/nobody/stats"), 404, "not-found")


def test_a_plugin_is_found_by_the_policy_that_is_its_name_where_there_is_one_of_it(admin):
    one = {"name": "add_header", "config": {"name": "X-One", "value": "1"}}
    made = admin.api.post("/admin/plugins", json=one).json()
    assert made["name"] == "add-header"
    for name in ("add-header", "add_header"):
        assert admin.api.get(f"/admin/plugins/{name}").json() == made
    assert admin.api.patch("/admin/plugins/add-header", json={"priority": 3}).json()["id"] == made["id"]
    put = admin.api.put("/admin/plugins/add-header", json=one)
    assert put.status_code == 200 and put.json()["id"] == made["id"] and put.json()["priority"] == 0
    problem(admin.api.get("/admin/plugins/add-head"), 404, "not-found")

    # Whoever says an own name means that one, and makes it.
    own = admin.api.put("/admin/plugins/add-header", json={**one, "instanceName": "add-header"})
    assert own.status_code == 201 and own.json()["id"] != made["id"]
    assert admin.api.get("/admin/plugins/add-header").json()["id"] == own.json()["id"]
    assert admin.api.patch("/admin/plugins/add-header", json={"instanceName": "two"}).status_code == 200
    for method in ("GET", "PUT", "PATCH", "DELETE"):
        body = {} if method in ("GET", "DELETE") else {"json": one}
        problem(admin.api.request(method, "/admin/plugins/add-header", **body), 409, "ambiguous-name")
    assert admin.api.delete("/admin/plugins/two").status_code == 204
    assert admin.api.delete("/admin/plugins/add-header").status_code == 204


def test_a_missing_field_is_pointed_at_where_it_belongs(admin):
    told = problem(admin.api.post("/admin/routes", json={"serviceId": "none"}), 422, "invalid")
    assert [error["pointer"] for error in told["errors"]] == ["/path", "/serviceId"]
    whole = {"services": [{"name": "s"}], "rateLimits": [{"limit": 1}]}
    told = problem(admin.api.put("/admin/config", json=whole), 422, "invalid")
    assert [error["pointer"] for error in told["errors"]] == ["/services/0/instances", "/rateLimits/0/window"]
    told = problem(admin.api.post("/admin/validate", json={"method": "POST"}), 422, "invalid")
    assert [error["pointer"] for error in told["errors"]] == ["/path"]


def test_a_mistake_that_all_routes_have_is_told_once(admin):
    routes = [{"name": f"r{i}", "path": f"/r{i}", "respond": {"status": 200}} for i in range(120)]
    wrong = {"limit": 1, "window": 1, "key": "${auth.client_id}", "beforeIdentity": True}
    late = {"path": "/late", "respond": {"status": 200}, "filters": [{"type": "rate-limit", **wrong}]}
    told = problem(admin.api.put("/admin/config", json={"routes": [*routes, late], "plugins": [{"name": "rate-limit", "config": wrong}]}), 422, "invalid")
    assert told["detail"].startswith("2 mistakes stand in the way")
    assert {error["pointer"] for error in told["errors"]} == {"/plugins/0/config/key", "/routes/120/filters/0/key"}
    assert admin.api.put("/admin/config", json={"routes": routes}).status_code == 200
    told = problem(admin.api.post("/admin/plugins", json={"name": "rate-limit", "config": wrong}), 422, "invalid")
    assert told["detail"].startswith("1 mistake stands in the way")
    assert [error["pointer"] for error in told["errors"]] == ["/config/key"]


def test_nothing_is_stored_that_is_not_acted_on(admin):
    """A kind that this version only kept would come with a warning."""
    for kind in ("services", "rate-limits", "roles"):
        body = service("s") if kind == "services" else EXAMPLES[kind][0]
        assert "warnings" not in admin.api.post(f"/admin/{kind}", json=body).json()
    assert "warnings" not in admin.api.put("/admin/config", json={"services": [service("s")], "rateLimits": [EXAMPLES["rate-limits"][0]]}).json()


def test_a_configuration_in_a_file_can_be_read_and_not_written(admin_gateway, backend):
    gateway = admin_gateway({"store": None, "services": [{"name": "s", "instances": [backend.address]}],
                             "routes": [route("r", "/r", "s")]})
    assert gateway.api.get("/admin/routes/r").json()["path"] == "/r"
    assert [one["name"] for one in gateway.api.get("/admin/services").json()["items"]] == ["s"]
    for method, path in CHANGES[:-1]:
        answer = gateway.api.request(method, path, json={})
        assert problem(answer, 405, "store-is-read-only")["hint"] and answer.headers["allow"] == "GET, HEAD"
    assert gateway.api.get("/admin/health").json()["status"] == "ok"


def test_ten_thousand_routes_are_written_and_read_while_others_are_answered(admin):
    whole = {"services": [service("s")], "routes": [route(f"r{number}", f"/p/{number}", "s") for number in range(10000)]}
    slowest, over = [0.0], threading.Event()

    def probe():
        with admin.admin_client() as api:
            while not over.is_set():
                began = time.monotonic()
                assert api.get("/live").status_code == 200
                slowest[0] = max(slowest[0], time.monotonic() - began)
    admin.api.put("/admin/config", json=whole, timeout=120).raise_for_status()
    prober = threading.Thread(target=probe)
    prober.start()
    began = time.monotonic()
    exported = admin.api.get("/admin/config")
    took = time.monotonic() - began
    over.set()
    prober.join()
    assert len(exported.json()["routes"]) == 10000
    print(f"export of 10,000 routes: {len(exported.content) >> 10} KiB in {took * 1000:.0f} ms; slowest /live meanwhile {slowest[0] * 1000:.0f} ms")
    assert slowest[0] < 1.0


def test_the_docs_list_every_endpoint_as_the_program_does(admin):
    page = (ROOT / "docs" / "admin-api.md").read_text()
    rows = re.findall(r"^\| `([A-Z]+)` \| `(/[^`]+)` \| (.*) \|$", page, re.MULTILINE)
    told = [(one["method"], one["path"], one["summary"]) for one in admin.api.get("/admin").json()["endpoints"]]
    assert rows == told


def test_a_stop_in_the_middle_of_changes_loses_none_that_was_acknowledged(admin_gateway):
    gateway = admin_gateway()
    acknowledged, stopping = [], threading.Event()

    def write(number):
        with gateway.admin_client() as api:
            for step in range(1000):
                name = f"w{number}-{step}"
                try:
                    answer = api.post("/admin/services", json=service(name))
                except httpx.HTTPError:
                    return
                if answer.status_code != 201:
                    assert stopping.is_set() and answer.status_code == 503, answer.text
                    return
                acknowledged.append(name)
    writers = [threading.Thread(target=write, args=[number]) for number in range(8)]
    for writer in writers:
        writer.start()
    while len(acknowledged) < 20:
        time.sleep(0.01)
    stopping.set()
    gateway.stop()
    for writer in writers:
        writer.join()
    again = admin_gateway({"store": gateway.config["store"]})
    there, cursor = set(), None
    while True:
        page = again.api.get("/admin/services", params={"limit": 1000, **({"cursor": cursor} if cursor else {})}).json()
        there |= {item["name"] for item in page["items"]}
        cursor = page["nextCursor"]
        if not cursor:
            break
    assert set(acknowledged) <= there


def test_a_reload_names_the_stored_resource_that_cannot_be_used_here(admin_gateway, tmp_path):
    authority = Authority(tmp_path)
    gateway = admin_gateway()
    made = gateway.api.post("/admin/services", json=service("pay", protocol="https", tls={"ca": str(authority.path)}))
    assert made.status_code == 201, made.text
    authority.path.unlink()
    refused = gateway.command("reload")
    assert refused.returncode == 1
    assert f'service "pay": /services/{made.json()["id"]}/tls/ca: ca "{authority.path}" cannot be read' in refused.stderr, refused.stderr
    assert "sluice.yaml" not in refused.stderr, "it stands in no file"
    gateway.api.patch("/admin/services/pay", json={"tls": None}).raise_for_status()
    assert gateway.command("reload").returncode == 0
