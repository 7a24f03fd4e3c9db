"""The admin API's OpenAPI document: is it one, and is an answer what it says?

    document = openapi.Document(gateway_url)
    assert document.faults() == []
    document.check(response)

In test_admin*.py and test_openapi.py each answer that httpx gets from an admin listener is checked without asking (answers_as_documented).

The schema of OpenAPI 3.1 itself is in no package of Debian's; what it asks of the parts that we use stands in SHAPE. Schemas are checked by
the meta-schema of JSON Schema 2020-12, which python3-jsonschema brings along.
"""
import datetime
import json
import re
import urllib.parse

import httpx
import jsonschema
import pytest

METHODS = ("get", "put", "post", "delete", "patch")

FORMATS = jsonschema.FormatChecker()


@FORMATS.checks("date-time")
def is_date_time(value):
    if not isinstance(value, str):
        return True
    if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", value):
        return False
    datetime.datetime.strptime(value[:19], "%Y-%m-%dT%H:%M:%S")
    return True


def _object(needed, /, **properties):
    return {"type": "object", "required": needed, "properties": properties, "additionalProperties": False}


_REFERENCE = _object(["$ref"], **{"$ref": {"type": "string", "pattern": "^#/components/[a-zA-Z]+/[a-zA-Z0-9._-]+$"}})
_TEXT = {"type": "string", "minLength": 1}
_SCHEMA = {"$ref": "https://json-schema.org/draft/2020-12/schema"}
_MEDIA = {"type": "object", "additionalProperties": _object(["schema"], schema=_SCHEMA, example={}),
          "propertyNames": {"pattern": "^[a-z]+/[a-z0-9.+-]+$"}, "minProperties": 1}
_HEADER = _object(["schema"], description=_TEXT, required={"type": "boolean"}, schema=_SCHEMA)


def _or_reference(shape):
    return {"if": {"type": "object", "required": ["$ref"]}, "then": _REFERENCE, "else": shape}


_RESPONSE = _object(["description"], description={"type": "string"}, content=_MEDIA,
                    headers={"type": "object", "additionalProperties": _or_reference(_HEADER)})
_PARAMETER = _object(["name", "in", "schema"], name=_TEXT, schema=_SCHEMA, description=_TEXT, required={"type": "boolean"},
                     **{"in": {"enum": ["path", "query", "header"]}})
_SECURITY = {"type": "array", "items": {"type": "object", "additionalProperties": {"type": "array", "maxItems": 0}}}
_OPERATION = _object(
    ["operationId", "summary", "responses"], operationId={"type": "string", "pattern": "^[a-z][a-zA-Z]+$"}, summary=_TEXT,
    description=_TEXT, tags={"type": "array", "items": _TEXT}, security=_SECURITY,
    parameters={"type": "array", "items": _or_reference(_PARAMETER), "uniqueItems": True},
    requestBody=_object(["content"], content=_MEDIA, required={"type": "boolean"}),
    responses={"type": "object", "propertyNames": {"pattern": "^[1-5][0-9][0-9]$"}, "minProperties": 1,
               "additionalProperties": _or_reference(_RESPONSE)})
_NAMED = {"pattern": "^[a-zA-Z0-9._-]+$"}

SHAPE = _object(
    ["openapi", "info", "paths", "components"], openapi={"const": "3.1.0"},
    info=_object(["title", "version"], title=_TEXT, version=_TEXT, description=_TEXT,
                 license=_object(["name"], name=_TEXT, identifier=_TEXT)),
    servers={"type": "array", "items": _object(["url"], url=_TEXT)}, security=_SECURITY,
    paths={"type": "object", "propertyNames": {"pattern": "^/"},
           "additionalProperties": _object([], **{method: _OPERATION for method in METHODS})},
    components=_object(
        [], schemas={"type": "object", "propertyNames": _NAMED, "additionalProperties": _SCHEMA},
        responses={"type": "object", "propertyNames": _NAMED, "additionalProperties": _RESPONSE},
        parameters={"type": "object", "propertyNames": _NAMED, "additionalProperties": _PARAMETER},
        headers={"type": "object", "propertyNames": _NAMED, "additionalProperties": _HEADER},
        securitySchemes={"type": "object", "additionalProperties": _object(
            ["type", "scheme"], type={"const": "http"}, scheme={"const": "bearer"}, description=_TEXT)}))


def walk(value, path="#"):
    """Every value of a JSON document with its place."""
    yield path, value
    if isinstance(value, dict):
        for key, child in value.items():
            yield from walk(child, f"{path}/{key.replace('~', '~0').replace('/', '~1')}")
    elif isinstance(value, list):
        for index, child in enumerate(value):
            yield from walk(child, f"{path}/{index}")


class Document:
    def __init__(self, url=None, headers=None, content=None):
        """From the listener at `url`, or from a parsed document."""
        if content is None:
            with httpx.Client(trust_env=False, verify=False) as client:
                response = client.get(urllib.parse.urljoin(url, "/admin/openapi.json"), headers=headers)
            assert response.status_code == 200, response.text
            content = response.json()
        self.content = content
        self.resolver = jsonschema.RefResolver("", content)
        self.paths = [(re.compile(re.sub(r"\{[a-z]+\}", "[^/]+", path)), path) for path in content["paths"]]

    # Is it one?

    def faults(self):
        """What is wrong with the document; an empty list: nothing."""
        shape = jsonschema.Draft202012Validator(SHAPE)
        found = [f"{'/'.join(map(str, fault.absolute_path))}: {fault.message[:300]}" for fault in shape.iter_errors(self.content)]
        if found:
            return found
        return [*self._dangling(), *self._unused(), *self._operations(), *self._values()]

    def _references(self):
        return {(path, value["$ref"]) for path, value in walk(self.content)
                if isinstance(value, dict) and isinstance(value.get("$ref"), str)}

    def _dangling(self):
        for path, reference in sorted(self._references()):
            try:
                self.resolver.resolve(reference)
            except jsonschema.RefResolutionError:
                yield f"{path}: {reference} is not there"

    def _unused(self):
        used = {reference for _, reference in self._references()}
        for section in ("schemas", "responses", "parameters", "headers"):
            for name in self.content["components"][section]:
                if f"#/components/{section}/{name}" not in used:
                    yield f"components/{section}/{name} is used by nobody"

    def _operations(self):
        ids = set()
        for path, item in self.content["paths"].items():
            for method, operation in item.items():
                if operation["operationId"] in ids:
                    yield f"{method} {path}: {operation['operationId']} is another operation's id too"
                ids.add(operation["operationId"])
                parameters = [self.resolve(parameter) for parameter in operation.get("parameters", [])]
                declared = {parameter["name"] for parameter in parameters if parameter["in"] == "path"}
                if declared != set(re.findall(r"\{([a-z]+)\}", path)):
                    yield f"{method} {path}: declares {declared}"
                if any(parameter["in"] == "path" and not parameter.get("required") for parameter in parameters):
                    yield f"{method} {path}: a part of the path is not required"

    def _values(self):
        """Defaults and examples are what their schemas ask for; every property has its sentence."""
        for path, value in walk(self.content):
            if isinstance(value, dict) and isinstance(value.get("example"), dict) and "schema" in value:
                yield from self._invalid(path, value["schema"], [value["example"]])
            is_a_schema = not path.endswith("/properties")  # that is a map of them: a property may be called "default"
            if isinstance(value, dict) and is_a_schema and path.startswith("#/components/schemas") and "/example" not in path:
                if "default" in value and ("type" in value or "anyOf" in value or "$ref" in value):
                    yield from self._invalid(path, value, [value["default"]])
                if isinstance(value.get("examples"), list):
                    yield from self._invalid(path, value, value["examples"])

    def _invalid(self, path, schema, values):
        for value in values:
            for fault in self.validator(schema).iter_errors(value):
                yield f"{path}: {value!r}: {fault.message[:300]}"

    # Is an answer what it says?

    def resolve(self, value):
        return self.resolver.resolve(value["$ref"])[1] if "$ref" in value else value

    def validator(self, schema):
        return jsonschema.Draft202012Validator(schema, resolver=self.resolver, format_checker=FORMATS)

    def operation(self, method, path):
        """None: the document has no such path, or the path no such method."""
        literal_first = sorted(self.paths, key=lambda pair: pair[1].count("{"))
        for pattern, name in literal_first:
            if pattern.fullmatch(path):
                item = self.content["paths"][name]
                method = "get" if method == "HEAD" else method.lower()
                return item.get(method)
        return None

    def check(self, response):
        """Fails where an httpx response (or one like it) is not as documented."""
        method, path = response.request.method, response.request.url.path
        what = f"{method} {path}: {response.status_code}"
        operation = self.operation(method, path)
        if operation is None:  # refused before any operation; 204: OPTIONS
            assert response.status_code in (204, 400, 401, 403, 404, 405, 429, 503), what
            answer = None if response.status_code == 204 else self.content["components"]["responses"]["Problem404"]
        else:
            assert str(response.status_code) in operation["responses"], f"{what} is not documented: {response.text[:500]}"
            answer = self.resolve(operation["responses"][str(response.status_code)])
        self._check_headers(what, answer or {}, response)
        if method != "HEAD":
            self._check_body(what, (answer or {}).get("content"), response)

    def _check_headers(self, what, answer, response):
        for name, header in answer.get("headers", {}).items():
            header = self.resolve(header)
            value = response.headers.get(name)
            assert value is not None or not header.get("required"), f"{what}: the header {name} is missing"
            if value is not None and header["schema"].get("type") == "integer":
                value = int(value)
            if value is not None:
                self.validator(header["schema"]).validate(value)

    def _check_body(self, what, content, response):
        if content is None:
            assert response.content == b"", f"{what}: a body, where there is none in the document"
            return
        media = response.headers.get("content-type", "").split(";")[0]
        assert media in content, f"{what}: {media!r}, where the document has {list(content)}"
        if media.endswith("json"):
            faults = list(self.validator(content[media]["schema"]).iter_errors(json.loads(response.content)))
            assert not faults, f"{what}: " + "\n".join(
                f"{fault.json_path}: {fault.message[:1000]}" for fault in faults) + f"\n{response.text[:2000]}"


def _is_admin(request):
    path = request.url.path
    return path in ("/live", "/ready", "/admin") or path.startswith("/admin/")


class _Checking:
    """Answers by listener. The document is read with the credentials of the first request that was let in, for one that is refused would
    stand in the gateway's audit log; what came before is checked then."""

    def __init__(self, send):
        self.send, self.documents, self.waiting = send, {}, {}

    def take(self, client, response):
        request = response.request
        where = f"{request.url.scheme}://{request.url.netloc.decode()}"
        self.waiting.setdefault(where, []).append(response)
        if where not in self.documents and response.is_success and request.url.path.startswith("/admin"):
            headers = {name: value for name, value in request.headers.items() if name in ("authorization", "host")}
            got = self.send(client, client.build_request("GET", where + "/admin/openapi.json", headers=headers))
            if got.status_code == 200:
                self.documents[where] = Document(content=got.json())
        if where in self.documents:
            for one in self.waiting.pop(where):
                self.documents[where].check(one)


@pytest.fixture(autouse=True)
def answers_as_documented(request, monkeypatch):
    """Every answer that httpx gets from a path of the admin API is held against the document of the same listener."""
    if not request.module.__name__.startswith(("test_admin", "test_openapi")):
        return
    send = httpx.Client.send
    checking = _Checking(send)

    def checked_send(client, request, **options):
        response = send(client, request, **options)
        if _is_admin(request) and request.url.path != "/admin/openapi.json" and not options.get("stream"):
            checking.take(client, response)
        return response
    monkeypatch.setattr(httpx.Client, "send", checked_send)
