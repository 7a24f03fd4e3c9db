"""GET /admin/openapi.json: a valid OpenAPI 3.1 document that says what the admin API takes and answers.

The document's own soundness, and that real answers fit it. That the tests of the admin API are held against it too is openapi.py's part.
"""
import copy

import httpx
import jsonschema
import pytest

import openapi
from certificates import Authority
from plain_http import PLAIN_HTTP

CONFIG = {"services": [{"name": "s", "instances": ["127.0.0.1:1"]}],
          "routes": [{"name": "r", "path": "/r/*", "serviceId": "s"}, {"name": "t", "path": "/t", "respond": {"status": 204}}]}

KINDS = {"services": "Service", "routes": "Route", "plugins": "Plugin", "rate-limits": "RateLimit", "roles": "Role",
         "certificates": "Certificate", "api-keys": "ApiKey"}


@pytest.fixture(scope="module")
def admin(module_gateway):
    gateway = module_gateway(CONFIG)
    with httpx.Client(base_url=f"http://127.0.0.1:{gateway.admin_port}", **PLAIN_HTTP) as client:
        yield client


@pytest.fixture(scope="module")
def document(admin):
    response = admin.get("/admin/openapi.json")
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    return openapi.Document(content=response.json())


def test_the_document_is_sound(document):
    assert document.faults() == []


def test_the_check_finds_what_is_unsound(document):
    """Each fault by itself, so that a check that sees nothing would fail here."""
    def spoil(change):
        content = copy.deepcopy(document.content)
        change(content)
        return openapi.Document(content=content).faults()
    assert spoil(lambda content: content.pop("info"))
    assert spoil(lambda content: content["paths"].update({"no-slash": {}}))
    assert spoil(lambda content: content["paths"]["/live"]["get"].pop("responses"))
    assert spoil(lambda content: content["paths"]["/live"]["get"].update(operationId="ready"))
    assert spoil(lambda content: content["components"]["schemas"].pop("Problem"))
    assert spoil(lambda content: content["components"]["schemas"]["Problem"].update(type="thing"))
    assert spoil(lambda content: content["components"]["schemas"].update(Unused={}))
    assert spoil(lambda content: content["components"]["schemas"]["RouteInput"]["properties"]["timeoutMs"].update(default=0))
    assert spoil(lambda content: content["components"]["parameters"]["id"].update(required=False))


@pytest.mark.parametrize("path, kind", KINDS.items())
def test_every_kind_has_all_operations_and_an_example(document, path, kind):
    paths = document.content["paths"]
    assert set(paths[f"/admin/{path}"]) == {"get", "post"}
    assert set(paths[f"/admin/{path}/{{id}}"]) == {"get", "put", "patch", "delete"}
    media = paths[f"/admin/{path}"]["post"]["requestBody"]["content"]["application/json"]
    assert media["schema"] == {"$ref": f"#/components/schemas/{kind}Input"}
    document.validator(media["schema"]).validate(media["example"])


@pytest.mark.parametrize("schema, value, fault", [
    ("RouteInput", {"path": "/a", "serviceId": "s"}, None),
    ("RouteInput", {"pathPattern": "/a", "serviceId": "s"}, None),
    ("RouteInput", {"serviceId": "s"}, "path"),
    ("RouteInput", {"path": "/a", "servce": "s"}, "servce"),
    ("RouteInput", {"path": "/a", "timeoutMs": 0}, "minimum"),
    ("RouteInput", {"path": "/a", "methods": "GET"}, None),
    ("RouteInput", {"path": "/a", "retryOn": ["sometimes"]}, "sometimes"),
    ("RouteInput", {"path": "/a", "retryBufferBytes": "1MiB"}, None),
    ("RouteInput", {"path": "/a", "retryBufferBytes": "much"}, "much"),
    ("RouteInput", {"path": "/a", "filters": [{"type": "add_header", "name": "X-A", "value": "b"}]}, None),
    ("RouteInput", {"path": "/a", "filters": [{"type": "add-header", "nme": "X-A"}]}, "add-header"),
    ("RouteInput", {"path": "/a", "filters": [{"type": "no-such-kind"}]}, "no-such-kind"),
    ("PluginInput", {"name": "cors", "config": {"origins": "*"}}, None),
    ("PluginInput", {"name": "cors", "config": {"originz": "*"}}, "cors"),
    ("PluginInput", {"name": "no-such-kind"}, "no-such-kind"),
    ("ServiceInput", {"name": "s", "instances": [{"host": "h", "port": 0}]}, "h"),
    ("RateLimitInput", {"limit": 1, "window": 60, "key": "header:X-Tenant"}, None),
    ("RateLimitInput", {"limit": 1, "window": 60, "key": "client"}, "client"),
    ("Certificate", {"id": "b8f9e3f0-0000-4000-8000-000000000000", "name": "c", "certificate": "PEM", "key": "PEM"}, "key"),
])
def test_schemas_take_what_the_gateway_takes_and_no_more(document, schema, value, fault):
    validator = document.validator({"$ref": f"#/components/schemas/{schema}"})
    if fault is None:
        validator.validate(value)
    else:
        with pytest.raises(jsonschema.ValidationError, match=fault):
            validator.validate(value)


@pytest.mark.parametrize("path", ["/live", "/ready", "/admin", "/admin/health", "/admin/metrics", "/admin/config", "/admin/revisions",
                                  "/admin/revisions/1", "/admin/no-such-thing", "/admin/routes/r/stats", "/admin/routes/no/stats",
                                  "/admin/routes?limit=1", "/admin/routes?limit=0", "/admin/routes?nonsense=1"])
def test_reads_are_answered_as_documented(admin, path):
    assert admin.get(path).status_code < 500
    assert admin.head(path).status_code < 500


@pytest.mark.parametrize("path", KINDS)
def test_kinds_are_answered_as_documented(admin, path):
    admin.get(f"/admin/{path}")
    admin.get(f"/admin/{path}/no-such-one")
    for body in ({}, {"name": 5}, {"nonsense": True}, [], "text", None):
        admin.post(f"/admin/{path}", json=body)
        admin.put(f"/admin/{path}/x", json=body)
        admin.patch(f"/admin/{path}/x", json=body)
    admin.post(f"/admin/{path}", content=b"{", headers={"content-type": "application/json"})
    admin.post(f"/admin/{path}", content=b"{}", headers={"content-type": "text/plain"})
    admin.post(f"/admin/{path}")
    admin.delete(f"/admin/{path}/x")
    admin.request("OPTIONS", f"/admin/{path}")
    admin.request("TRACE", f"/admin/{path}")


def test_resources_are_answered_as_documented(admin):
    for path in ("services/s", "routes/r", "routes/t"):
        response = admin.get(f"/admin/{path}")
        if response.status_code == 200:
            again = admin.get(f"/admin/{path}", headers={"if-none-match": response.headers["etag"]})
            assert again.status_code in (200, 304)


# --- with a store ---

@pytest.fixture
def stored(gateway):
    started = gateway({"store": "sqlite:state.db"})
    with httpx.Client(base_url=f"http://127.0.0.1:{started.admin_port}", **PLAIN_HTTP) as client:
        yield client


def examples(client, directory):
    """The document's own, in an order in which they can be created; a certificate needs files that are there."""
    paths = client.get("/admin/openapi.json").json()["paths"]
    for path in KINDS:
        example = paths[f"/admin/{path}"]["post"]["requestBody"]["content"]["application/json"]["example"]
        if path == "certificates":
            made = Authority(directory).issue("example.com")
            example.update(certificate=f"${{file:{made.certificate}}}", key=f"${{file:{made.key}}}")
        yield path, example


def test_every_example_can_be_created_read_changed_and_deleted(stored, tmp_path):
    created = []
    for path, example in examples(stored, tmp_path):
        assert stored.post(f"/admin/{path}", json=example, params={"dryRun": "true"}).status_code == 200
        answer = stored.post(f"/admin/{path}", json=example)
        assert answer.status_code == 201, answer.text
        where = answer.headers["location"]
        read = stored.get(where)
        assert read.status_code == 200
        assert stored.get(where, headers={"if-none-match": read.headers["etag"]}).status_code in (200, 304)
        assert stored.patch(where, json={"tags": ["mine"]}).status_code == 200
        stored.patch(where, json={"tags": ["yours"]}, headers={"if-match": '"stale"'})
        stored.patch(where, content=b'{"nonsense": [1', headers={"content-type": "application/merge-patch+json"})
        body = {name: value for name, value in stored.get(where).json().items() if name != "instanceHealth"}
        stored.put(where, json=body)
        stored.post(f"/admin/{path}", json=example)
        assert stored.get(f"/admin/{path}").json()["items"]
        created.append(where)
    assert stored.delete(created[0]).status_code == 409
    for where in reversed(created):
        cascade = {"cascade": "true"}  # the second plugin, which has no name of its own, uses the route
        assert stored.delete(where, params={"dryRun": "true", **cascade}).status_code == 200
        assert stored.delete(where, params=cascade).status_code == 204
        assert stored.get(where).status_code == 404


def test_the_whole_configuration_and_its_history_are_as_documented(stored):
    whole = {"services": [{"name": "s", "instances": ["127.0.0.1:1"]}], "routes": [{"name": "r", "path": "/r", "serviceId": "s"}]}
    assert stored.put("/admin/config", json=whole, params={"dryRun": "true"}).status_code == 200
    assert stored.put("/admin/config", json=whole, params={"comment": "the first"}).status_code == 200
    assert stored.get("/admin/config").status_code == 200
    assert stored.put("/admin/config", json={"routes": [{"path": "no"}], "nonsense": 1}).status_code == 422
    assert stored.put("/admin/config", json={"services": whole["services"], "routes": []}).status_code == 200
    assert stored.get("/admin/revisions", params={"limit": 1}).json()["items"]
    assert stored.get("/admin/revisions/1").json()["comment"] == "the first"
    assert stored.get("/admin/revisions/99").status_code == 404
    assert stored.post("/admin/revisions/1/rollback").status_code == 200
    assert stored.post("/admin/revisions/99/rollback").status_code == 404
    assert stored.get("/admin/routes/r/stats").status_code == 200
    assert stored.post("/admin/validate", json=whole).status_code == 200
    for change in ({"method": "DELETE", "path": "/admin/routes/r"}, {"method": "DELETE", "path": "/admin/routes/none"},
                   {"method": "DELETE", "path": "/admin/services/s"}, {"method": "GET", "path": "/admin/routes"},
                   {"method": "POST", "path": "/admin/routes", "body": {"path": "no"}}, {"method": "POST"}):
        stored.post("/admin/validate", json=change)


def test_a_rotated_key_is_as_documented(stored):
    where = stored.post("/admin/api-keys", json={"clientName": "c", "expiresAt": "2099-01-01T00:00:00Z"}).headers["location"]
    assert stored.post(f"{where}/rotate", json={"overlap": 60}).status_code < 300
    assert stored.post(f"{where}/rotate", json={"overlap": "long"}).status_code >= 400
    assert len(stored.get("/admin/api-keys", params={"limit": 1}).json()["items"]) == 1


def test_an_answer_that_is_not_as_documented_is_found(admin, document):
    response = admin.get("/ready")
    document.check(response)
    for spoiled in (b"{}", b'{"status":"well"}', b'{"status":"ready","more":1}'):
        with pytest.raises(AssertionError):
            document.check(httpx.Response(200, headers={"content-type": "application/json"}, content=spoiled,
                                          request=response.request))
    with pytest.raises(AssertionError):
        document.check(httpx.Response(418, request=response.request))
    with pytest.raises(AssertionError):
        document.check(httpx.Response(200, headers={"content-type": "text/html"}, content=response.content,
                                      request=response.request))
