"""`sluice check --test`: a configuration's own tests, run without sending anything."""
import hashlib
import json
import re
import subprocess

import jwt
import pytest

from gateway import BINARY, ROOT, run_sluice

CONFIGURATION = """
listeners: [{{ address: "127.0.0.1:1" }}]
trustedProxies: [10.0.0.0/8]
apiVersions: {{ header: X-API-Version, default: 1, versions: [{{ version: 1, deprecated: "2026-01-01T00:00:00Z" }}, {{ version: 2 }}] }}
services:
  - {{ name: users, instances: ["192.0.2.9:9"] }}
  - {{ name: users-next, instances: ["192.0.2.9:9"] }}
routes:
  - name: users
    path: /users/*
    version: 1
    serviceId: users
    filters: [{{ type: ip_list, deny: [198.51.100.0/24] }}, {{ type: set_header, name: X-Team, value: a }}]
    split: {{ canaryPercentage: 0, canaryServiceId: users-next, overrideHeader: X-Canary }}
  - {{ name: hello, path: /hello, respond: {{ status: 201, headers: {{ X-A: b }}, body: hi }} }}
tests:
{tests}
"""

GOOD = """
  - name: users go to their service
    request: { url: /users/1?x=2, headers: { Accept: text/plain } }
    backend: { status: 203, headers: { X-Seen: "yes", Server: secret, X-Internal-A: b }, body: hello }
    expect:
      route: users
      service: users
      status: 203
      rule: ""
      headers: { X-Seen: "yes", Server: "", X-Internal-A: "", Deprecation: "@1767225600", Vary: X-API-Version }
      upstreamPath: /1?x=2
      upstreamHeaders: { X-Team: a, X-Forwarded-For: 192.0.2.1, traceparent: "~^00-[0-9a-f]{32}-", X-Client-ID: "" }
  - name: the canary by its word, also with a body
    request: { method: POST, url: "https://api.example.com/users/1", headers: { X-Canary: always }, body: "{}" }
    expect: { service: users-next, status: 200, upstreamHeaders: { X-Forwarded-Proto: https, X-Forwarded-Host: api.example.com } }
  - name: strangers are kept out
    request: { url: /users/1, clientIp: 198.51.100.7 }
    expect: { route: users, service: "", status: 403, headers: { Content-Type: application/problem+json } }
  - name: behind a proxy the client's address counts
    request: { url: /users/1, clientIp: 10.0.0.1, headers: { X-Forwarded-For: 198.51.100.7 } }
    expect: { status: 403 }
  - name: nothing is at the root
    request: { url: / }
    expect: { route: "", service: "", status: 404 }
  - name: the gateway answers by itself
    request: { method: HEAD, url: /hello }
    expect: { route: hello, status: 201, headers: { X-A: "*" } }
  - name: a version that is not there
    request: { url: /users/1, headers: { X-API-Version: 3 } }
    expect: { route: "", status: 400 }
  - name: what no session lets through
    request: { url: "/a%00" }
    expect: { route: "", status: 400 }
"""

BAD = """
  - name: wrong in every way
    request: { url: /users/1 }
    expect:
      route: hello
      service: users-next
      status: 404
      rule: somebody
      headers: { X-A: b, Deprecation: "", Vary: "~^Or" }
      upstreamPath: /users/1
      upstreamHeaders: { X-Team: b }
  - name: right
    request: { url: /hello }
    expect: { status: 201 }
"""


@pytest.fixture
def check(tmp_path):
    def run(tests, *options):
        path = tmp_path / "sluice.yaml"
        path.write_text(CONFIGURATION.format(tests=tests))
        return subprocess.run([BINARY, "check", str(path), *options], capture_output=True, text=True, timeout=60, check=False)
    return run


def test_good_tests_pass_and_nothing_is_sent(check):
    answer = check(GOOD, "--test")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert answer.stdout.count("ok  ") == 8 and "8 passed, 0 failed" in answer.stdout and answer.stderr == ""


def test_what_is_not_as_expected_is_told_field_by_field(check):
    answer = check(BAD, "--test")
    assert answer.returncode == 3
    for words in ['FAIL  wrong in every way', 'route: expected "hello", got "users"', 'service: expected "users-next", got "users"',
                  'status: expected 404, got 200', 'rule: expected "somebody", got none', 'header X-A: expected "b", got nothing',
                  'header Deprecation: expected nothing, got "@1767225600"', 'header Vary: expected "~^Or", got "X-API-Version"',
                  'upstream path: expected "/users/1", got "/1"', 'upstream header X-Team: expected "b", got "a"',
                  'it met route "users" and service "users", asked for /1', "ok    right", "1 passed, 1 failed"]:
        assert words in answer.stdout, answer.stdout


def test_programs_read_json(check):
    answer = check(BAD, "--test", "--json")
    told = json.loads(answer.stdout)
    assert answer.returncode == 3 and (told["passed"], told["failed"]) == (1, 1)
    wrong, right = told["tests"]
    assert right["passed"] and right["differences"] == [] and right["got"]["route"] == "hello"
    assert {"field": "status", "expected": "404", "got": "200"} in wrong["differences"]
    assert wrong["got"]["service"] == "users" and wrong["line"] > 0
    assert {"name": "X-Team", "value": "a"} in wrong["got"]["upstreamHeaders"]


def test_a_wrong_configuration_is_no_failed_test(check):
    answer = check("  - { name: x, request: { url: /a }, expect: { state: 1 } }", "--test")
    assert answer.returncode == 1 and 'unknown field "state"' in answer.stderr and answer.stdout == ""


@pytest.mark.parametrize("field", ["headers", "upstreamHeaders"])
@pytest.mark.parametrize("options", [[], ["--test"]])
def test_a_broken_regex_is_told_with_its_place_before_anything_runs(check, field, options):
    answer = check(f"""  - name: x
    request: {{ url: /hello }}
    expect:
      {field}: {{ X-Good: "~^a", X-A: "~a(b" }}""", *options)
    assert answer.returncode == 1 and answer.stdout == ""
    assert re.search(r'sluice\.yaml:20:\d+: header "X-A" is no regular expression: missing closing parenthesis at position 5\n', answer.stderr)
    assert "X-Good" not in answer.stderr


def test_a_route_without_a_name_is_told_of_by_its_path(tmp_path):
    path = tmp_path / "sluice.yaml"
    path.write_text("""
listeners: ["127.0.0.1:1"]
services: [{ name: users, instances: ["192.0.2.9:9"] }]
routes: [{ path: "/users/{id}", serviceId: users, filters: [{ type: rate-limit, limit: 2, window: 60, key: ip }] }]
tests:
  - { name: by its path, request: { url: /users/1 }, expect: { route: "/users/{id}" } }
  - { name: not by another, request: { url: /users/1 }, expect: { route: users } }
  - { name: its limit, request: { url: /users/1, repeat: 3 }, expect: { status: 429, rule: "/users/{id}/rate-limit" } }
""")
    answer = run_sluice("check", "--test", str(path))
    assert answer.returncode == 3 and 'route: expected "users", got "/users/{id}"' in answer.stdout
    assert 'it met route "/users/{id}" and service "users"' in answer.stdout and "2 passed, 1 failed" in answer.stdout


def test_without_tests_there_is_nothing_to_try(check):
    answer = check("", "--test")
    assert answer.returncode == 1 and "it has no tests" in answer.stderr


def test_options_of_tests_need_test(check):
    assert check(GOOD, "--json").returncode == 2
    assert check(GOOD, "--explain").returncode == 2


def test_without_the_option_tests_are_read_and_not_run(check):
    answer = check(BAD)
    assert answer.returncode == 0 and "good, 2 routes" in answer.stdout


def test_time_can_be_set_and_requests_repeated(check):
    answer = check("""
  - name: often
    request: { url: /users/1, repeat: 50, time: "2030-01-01T00:00:00Z" }
    expect: { status: 200, service: users }
""", "--test", "--explain")
    assert answer.returncode == 0, answer.stdout


POLICIES = """
listeners: ["127.0.0.1:1"]
services: [{{ name: orders, instances: ["192.0.2.9:9"] }}]
routes:
  - name: orders
    path: /orders/*
    serviceId: orders
    filters: [{{ type: jwt-auth, secret: {secret}, algorithm: HS256 }}]
  - {{ name: keyed, path: /keyed, serviceId: orders, filters: [{{ type: api-key }}] }}
  - {{ name: search, path: /search, respond: {{ body: found }} }}
rateLimits: [{{ name: per-ip, limit: 10, window: 60, key: ip, routeId: search, algorithm: fixed_window }}]
apiKeys: [{{ clientName: bob, clientId: bob, hash: "sha256:{hash}" }}]
tests:
  - name: a token that is good at that time
    request: {{ url: /orders/1, headers: {{ Authorization: "Bearer {token}" }}, time: "2030-01-01T00:00:30Z" }}
    expect: {{ status: 200, service: orders, upstreamHeaders: {{ X-Authenticated-User: ann, Authorization: "" }} }}
  - name: and not any more later
    request: {{ url: /orders/1, headers: {{ Authorization: "Bearer {token}" }}, time: "2030-01-01T01:00:00Z" }}
    expect: {{ status: 401, service: "", headers: {{ WWW-Authenticate: "~invalid_token" }} }}
  - name: nobody in particular is refused
    request: {{ url: /orders/1 }}
    expect: {{ status: 401 }}
  - name: bob's key
    request: {{ url: /keyed, headers: {{ X-API-Key: {key} }} }}
    expect: {{ status: 200, upstreamHeaders: {{ X-Client-ID: bob }} }}
  - name: another's key
    request: {{ url: /keyed, headers: {{ X-API-Key: {other} }} }}
    expect: {{ status: 401 }}
  - name: ten a minute
    request: {{ url: /search, repeat: 10 }}
    expect: {{ status: 200, rule: "" }}
  - name: and no more
    request: {{ url: /search }}
    expect: {{ status: 429, rule: per-ip }}
"""


def test_policies_decide_as_they_do_when_they_serve(tmp_path):
    secret, key, other = "0123456789abcdef" * 4, "k" * 43, "o" * 43
    token = jwt.encode({"sub": "ann", "exp": 1893456060}, secret, algorithm="HS256")  # 2030-01-01T00:01:00Z
    path = tmp_path / "sluice.yaml"
    path.write_text(POLICIES.format(secret=secret, token=token, key=key, other=other, hash=hashlib.sha256(key.encode()).hexdigest()))
    answer = subprocess.run([BINARY, "check", str(path), "--test", "--explain"], capture_output=True, text=True, timeout=60, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert re.search(r"ok    and no more\n +rate-limit: ", answer.stdout), answer.stdout
    assert secret not in answer.stdout and token not in answer.stdout and key not in answer.stdout


ENDINGS = """
listeners: ["127.0.0.1:1"]
services:
  - { name: users, instances: ["192.0.2.9:9", "192.0.2.10:9"] }
  - { name: orders, instances: ["192.0.2.9:9"] }
  - { name: users-next, instances: ["192.0.2.9:9"] }
routes:
  - { name: users, path: /users/*, serviceId: users, timeoutMs: 5000, retryCount: 2 }
  - { name: once, path: /once, serviceId: users, stripPrefix: false, retryCount: 0 }
  - { name: split, path: /split, serviceId: users, split: { canaryPercentage: 100, canaryServiceId: users-next } }
  - { name: hello, path: /hello, respond: { status: 201, body: "hi, ${request.method}" } }
  - { name: empty, path: /empty, respond: { status: 204 } }
  - { name: moved, path: /moved/*, redirect: { to: "/${path.*}", status: 308, keepQuery: true } }
  - name: page
    path: /page/{id}
    timeoutMs: 9000
    aggregate:
      parts:
        - { name: user, service: users, path: "/users/${path.id}?token=${request.headers['x-secret']}", timeoutMs: 500 }
        - { name: orders, service: orders, path: /orders, required: false }
        - { name: news, service: orders, path: "/news/${request.query.day}", required: false, fallback: [] }
tests:
  - { name: proxy, request: { url: "/users/7?key=hidden" }, expect: { status: 200 } }
  - { name: proxy a POST, request: { method: POST, url: /users/7 }, expect: { status: 200 } }
  - { name: proxy once, request: { url: /once }, expect: { status: 200 } }
  - { name: a canary, request: { url: /split }, expect: { service: users-next } }
  - { name: respond, request: { url: /hello }, expect: { status: 201 } }
  - { name: respond with nothing, request: { url: /empty }, expect: { status: 204 } }
  - { name: redirect, request: { url: "/moved/a?key=hidden" }, expect: { status: 308 } }
  - { name: redirect nowhere, request: { url: "/moved//evil.example" }, expect: { status: 400 } }
  - { name: aggregate, request: { url: /page/7, headers: { X-Secret: hidden } }, backend: { headers: { Content-Type: application/json }, body: "1" }, expect: { status: 200 } }
"""

TOLD_OF_ENDINGS = {
    "proxy": ['proxy: asks service "users" for /7 and a query', "proxy: waits at most 5000 ms for an answer", "proxy: tries 2 more at most"],
    "proxy a POST": ['proxy: asks service "users" for /7', "proxy: waits at most 5000 ms for an answer",
                     "proxy: tries 2 more at most, while no instance can have acted on the request"],
    "proxy once": ['proxy: asks service "users" for /once', "proxy: waits at most 30000 ms for an answer"],
    "a canary": ['proxy: asks service "users-next", which the split has chosen, for /split', "proxy: waits at most 30000 ms for an answer",
                 "proxy: tries 1 more at most"],
    "respond": ["respond: answers 201 by itself, with a body of 7 bytes"],
    "respond with nothing": ["respond: answers 204 by itself, without a body"],
    "redirect": ["redirect: sends the client to /a and a query (308)"],
    "redirect nowhere": ["redirect: answers 400: the request's path makes no place to be sent to"],
    "aggregate": ["aggregate: asks all its parts at once, and puts one answer together",
                  'aggregate: part "user" (required) asks service "users" for /users/7 and a query, for at most 500 ms',
                  'aggregate: part "orders" (optional) asks service "orders" for /orders, for at most 9000 ms',
                  'aggregate: part "news" (optional, with a fallback) is not asked for: values of the request make no path'],
}


def test_what_a_route_ends_in_is_explained(tmp_path):
    path = tmp_path / "sluice.yaml"
    path.write_text(ENDINGS)
    answer = subprocess.run([BINARY, "check", str(path), "--test", "--explain", "--json"], capture_output=True, text=True, timeout=60, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    told = json.loads(answer.stdout)["tests"]
    assert {test["name"]: test["explanations"] for test in told} == TOLD_OF_ENDINGS
    assert not any("hidden" in line for test in told for line in test["explanations"])


EDGES = """
listeners: ["127.0.0.1:1"]
services: [{ name: one, instances: ["192.0.2.9:9"] }, { name: decides, instances: ["192.0.2.9:9"] }]
routes:
  - name: a
    path: /a
    serviceId: one
    methods: [GET]
    filters:
      - { type: ip-list, deny: [192.0.2.66] }
      - { type: cors, allowedOrigins: ["https://shop.example"] }
      - { type: ext-auth, service: decides, path: /decide }
      - { type: set-header, name: X-Key, value: hidden }
      - { type: add-header, name: Via-Too, value: "${request.id}", on: response }
      - { type: remove-header, name: X-Internal-* }
tests:
  - { name: a page, request: { url: /a, headers: { Origin: "https://shop.example" } }, expect: { status: 200 } }
  - { name: another, request: { url: /a, headers: { Origin: "https://else.example" } }, expect: { status: 200 } }
  - { name: nobody's, request: { url: /a }, expect: { status: 200 } }
  - name: preflight
    request: { method: OPTIONS, url: /a, headers: { Origin: "https://shop.example", Access-Control-Request-Method: GET } }
    expect: { status: 204 }
  - { name: kept out, request: { url: /a, clientIp: 192.0.2.66 }, expect: { status: 403 } }
"""


def test_what_edits_and_keeps_out_is_explained_once(tmp_path):
    path = tmp_path / "sluice.yaml"
    path.write_text(EDGES)
    answer = subprocess.run([BINARY, "check", str(path), "--test", "--explain", "--json"], capture_output=True, text=True, timeout=60, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    told = {test["name"]: test["explanations"] for test in json.loads(answer.stdout)["tests"]}
    let_in = "ip-list: lets 192.0.2.1 in"
    assert [line for line in told["a page"] if not line.startswith(("proxy", "ext-auth"))] == [
        let_in, "cors: pages of https://shop.example may read the answer", "set-header: sets X-Key of the request",
        "add-header: adds Via-Too to the answer", "remove-header: takes X-Internal-* off the request"]
    assert len([line for line in told["a page"] if 'ext-auth: asks service "decides"' in line]) == 1  # and not again behind the wait
    assert "cors: pages of https://else.example may not read the answer" in told["another"]
    assert "cors: the request comes from no other origin" in told["nobody's"]
    assert told["preflight"] == [let_in, "cors: answers the preflight: pages of https://shop.example may use the route"]
    assert told["kept out"] == ["ip-list: refuses 192.0.2.66 (403)"]
    assert not any("hidden" in line for lines in told.values() for line in lines)


def test_an_explanation_of_many_parts_is_whole(tmp_path):
    parts = [{"name": f"p{number}", "service": "s", "path": "/", "required": False} for number in range(32)]
    path = tmp_path / "sluice.json"
    path.write_text(json.dumps({
        "listeners": ["127.0.0.1:1"], "services": [{"name": "s", "instances": ["192.0.2.9:9"]}],
        "routes": [{"name": "a", "path": "/a", "aggregate": {"parts": parts}}],
        "tests": [{"name": "t", "request": {"url": "/a"}, "backend": {"body": "1"}, "expect": {"status": 200}}]}))
    answer = subprocess.run([BINARY, "check", str(path), "--test", "--explain"], capture_output=True, text=True, timeout=60, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert answer.stdout.count("aggregate: part ") == 32 and "more than fits" not in answer.stdout


def test_the_example_keeps_its_word():
    answer = run_sluice("check", ROOT / "examples" / "canary.yaml", "--test")
    assert answer.returncode == 0 and "7 passed, 0 failed" in answer.stdout, answer.stdout + answer.stderr
