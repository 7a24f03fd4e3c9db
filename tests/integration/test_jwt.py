"""jwt-auth: tokens of independent signers, a real OpenID provider whose keys rotate and which goes away, and issuers that mean no good."""
import base64
import concurrent.futures
import ipaddress
import json
import threading
import time

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from certificates import Authority
from gateway import proxy, run_sluice
from live import start_live, wait_until
from openid import KeyServer, Provider, signed_by_jose
from wire import request_bytes

SECRET = "an-example-secret-of-sixty-four-bytes-for-hs512-and-all-smaller!"


@pytest.fixture(scope="module")
def provider():
    made = Provider()
    yield made
    made.stop()


@pytest.fixture
def key_server():
    made = KeyServer()
    yield made
    made.stop()


def guarded(backend, **fields):
    return proxy(backend, route={"filters": [{"type": "jwt-auth", **fields}]})


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


def in_an_hour(**claims):
    return {"sub": "alice", "exp": int(time.time()) + 3600, **claims}


class Keys:
    """EC keys by name, their JWK set, and tokens by them."""

    def __init__(self, *names):
        self.keys = {name: ec.generate_private_key(ec.SECP256R1()) for name in names}

    def jwks(self, *names):
        return {"keys": [ec_jwk(self.keys[name], name) for name in names or self.keys]}

    def token(self, name, kid=None, **claims):
        return jwt.encode(in_an_hour(**claims), self.keys[name], "ES256", headers={"kid": kid or name})


def encode(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def ec_jwk(key, kid):
    numbers = key.public_key().public_numbers()
    return {"kty": "EC", "crv": "P-256", "kid": kid, "x": encode(numbers.x.to_bytes(32, "big")), "y": encode(numbers.y.to_bytes(32, "big"))}


# --- independent signers ---

def test_tokens_of_jose_are_taken_by_every_algorithm(gateway, backend):
    signed = signed_by_jose(in_an_hour(iss="jose", client_id="app", scope="read"), SECRET)
    routes = []
    for algorithm, made in signed.items():
        keys = {"jwks": {"keys": [made["jwk"]]}} if "jwk" in made else {"secret": SECRET}
        routes.append({"name": algorithm, "path": f"/{algorithm}", "serviceId": "backend",
                       "filters": [{"type": "jwt-auth", "issuer": "jose", "algorithm": algorithm, **keys}]})
        if "pem" in made:
            routes.append({"name": f"{algorithm}-pem", "path": f"/pem/{algorithm}", "serviceId": "backend",
                           "filters": [{"type": "jwt-auth", "algorithm": algorithm, "secret": made["pem"]}]})
    config = proxy(backend)
    running = gateway({**config, "routes": routes})
    for algorithm, made in signed.items():
        for other in signed:
            status = running.get(f"/{other}", bearer(made["token"])).status
            assert status == (200 if other == algorithm else 401), f"{algorithm} on the route of {other}: {status}"
        if "pem" in made:
            assert running.get(f"/pem/{algorithm}", bearer(made["token"])).status == 200
    seen = backend.requests[0].headers
    assert seen["X-Authenticated-User"] == "alice" and seen["X-Client-ID"] == "app" and "Authorization" not in seen


def test_tokens_of_pyjwt_are_taken(gateway, backend):
    key = rsa.generate_private_key(65537, 2048)
    jwk = {**json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key())), "kid": "one"}
    running = gateway(guarded(backend, jwks={"keys": [jwk]}, audience=["api"], issuer="https://issuer.test/"))
    good = in_an_hour(aud=["web", "api"], iss="https://issuer.test/")
    for algorithm in ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"):
        assert running.get("/a", bearer(jwt.encode(good, key, algorithm, headers={"kid": "one"}))).status == 200
    for wrong in ({"aud": "other"}, {"iss": "https://other.test/"}, {"exp": int(time.time()) - 60}, {"nbf": int(time.time()) + 60}):
        refused = running.get("/a", bearer(jwt.encode({**good, **wrong}, key, "RS256", headers={"kid": "one"})))
        assert refused.status == 401 and 'error="invalid_token"' in refused.headers["WWW-Authenticate"]
        assert refused.problem["rule"] == "jwt-auth"
    assert running.get("/a", bearer(jwt.encode(good, rsa.generate_private_key(65537, 2048), "RS256", headers={"kid": "one"}))).status == 401
    assert running.gauges_at_zero()


def test_tokens_that_bring_keys_along_are_refused_though_our_key_signed_them(gateway, backend):
    ours, theirs = Keys("one"), Keys("two")
    running = gateway(guarded(backend, jwks=ours.jwks()))

    def ask(header):
        return running.get("/", bearer(jwt.encode(in_an_hour(), ours.keys["one"], "ES256", headers={"kid": "one", **header})))

    assert ask({}).status == 200
    for header in ({"jwk": ours.jwks()["keys"][0]}, {"jwk": theirs.jwks()["keys"][0]}, {"jku": "https://keys.test/"}, {"x5c": ["AAAA"]},
                   {"x5u": "https://keys.test/"}):
        refused = ask(header)
        assert refused.status == 401, header
        assert 'error="invalid_token"' in refused.headers["WWW-Authenticate"]
        assert list(header)[0] in refused.problem["detail"]
    assert len(backend.requests) == 1


def test_what_is_no_token_and_what_is_several_is_said_in_answer_and_log(gateway, backend):
    running = gateway(guarded(backend, secret=SECRET))
    good = jwt.encode(in_an_hour(), SECRET, "HS256")
    rows = [
        (bearer("an-opaque-one"), 401, "invalid_token", "the token is not a JSON Web Token (three parts separated by dots)", "token-malformed"),
        (bearer("two words"), 400, "invalid_request", "malformed", "token-malformed"),
        (bearer(f"{good}, Bearer {good}"), 400, "invalid_request", "several credentials", "token-repeated"),
        ([("Authorization", "Basic YTpi"), ("Authorization", f"Bearer {good}")], 400, "invalid_request", "several credentials", "token-repeated"),
    ]
    for fields, status, code, words, _reason in rows:
        refused = running.get("/", fields)
        assert refused.status == status and words in refused.problem["detail"] and refused.problem["rule"] == "jwt-auth"
        challenge = refused.headers["WWW-Authenticate"]
        assert f'error="{code}", error_description="' in challenge and words in challenge
    lines = running.log_lines(len(rows))
    assert [line["error"]["type"] for line in lines] == [reason for *_, reason in rows]
    assert all(words in line["error"]["text"] for line, (_, _, _, words, _) in zip(lines, rows))
    assert backend.requests == []


def test_nothing_of_a_token_stands_in_answers_logs_and_figures(gateway, backend):
    running = gateway(guarded(backend, secret=SECRET, sources=["bearer", "query:access_token"]))
    good, bad = jwt.encode(in_an_hour(), SECRET, "HS256"), jwt.encode(in_an_hour(), "another-secret-of-thirty-two-bytes!", "HS256")
    assert running.get(f"/a?access_token={good}&x=1").status == 200
    assert backend.requests[0].target == "/a?x=1"
    refused = running.get("/a", bearer(bad))
    assert refused.status == 401
    running.log_lines(2)
    everything = refused.body.decode() + running.log_path.read_text() + running.stderr()
    for token in (good, bad):
        for part in token.split(".")[1:]:
            assert part not in everything
    assert SECRET not in everything
    assert running.log_lines(1)[0]["userId"] == "alice"
    metrics = running.metrics()
    assert metrics.get("sluice_jwt_tokens_total", result="verified") == 1
    assert metrics.get("sluice_jwt_tokens_total", result="refused") == 1


# --- a real provider ---

def test_a_real_provider_rotates_its_keys_and_no_client_notices(gateway, backend, provider):
    running = gateway(guarded(backend, issuers=[{"issuer": provider.issuer, "audience": "urn:api", "jwksUrl": f"{provider.issuer}/jwks",
                                                 "jwksCooldown": 1}]))
    first = provider.token()
    answer = running.get("/a", bearer(first))
    assert answer.status == 200, answer.body
    assert backend.requests[0].headers["X-Client-ID"] == "robot"
    provider.order("rotate")
    second = provider.token("read write")
    assert jwt.get_unverified_header(second)["kid"] != jwt.get_unverified_header(first)["kid"]
    time.sleep(1.1)  # the cool-down of the look that came with the start, if there was one
    assert running.get("/a", bearer(second)).status == 200
    assert running.get("/a", bearer(first)).status == 200
    # The old key goes. Its tokens do too, as soon as that is known.
    provider.order("rotate")
    provider.order("forget")
    third = provider.token()
    time.sleep(1.1)
    assert running.get("/a", bearer(third)).status == 200
    assert running.get("/a", bearer(first)).status == 401
    # The provider goes away: what was known stays known, also for tokens not seen yet.
    fourth = provider.token()
    provider.stop()
    assert running.get("/a", bearer(fourth)).status == 200
    assert running.metric("sluice_jwks_fetches_total", result="fetched") >= 3
    assert running.gauges_at_zero()
    provider.start()


# --- issuers ---

def test_a_gateway_starts_while_its_issuer_is_away_and_goes_on_when_it_comes(gateway, backend, key_server):
    keys = Keys("one")
    key_server.status = 500
    running = gateway(guarded(backend, jwksUrl=key_server.url))
    token = keys.token("one")
    refused = running.get("/a", bearer(token))
    assert refused.status == 503 and refused.headers["Retry-After"] == "5" and "WWW-Authenticate" not in refused.headers
    assert running.get("/a").status == 401  # nobody's keys are needed for that
    assert running.metric("sluice_jwks_failing") == 1
    key_server.document, key_server.status = keys.jwks(), 200
    wait_until(lambda: running.get("/a", bearer(token)).status == 200)
    assert running.metric("sluice_jwks_failing") == 0 and running.metric("sluice_jwks_keys") == 1


def test_a_storm_of_unknown_kids_reaches_the_issuer_once(gateway, backend, key_server):
    keys, strangers = Keys("one"), Keys("x")
    key_server.document = keys.jwks()
    running = gateway(guarded(backend, jwksUrl=key_server.url, jwksCooldown=60))
    assert running.get("/a", bearer(keys.token("one"))).status == 200
    asked = len(key_server.asked)
    tokens = [strangers.token("x", kid=f"stranger-{number}") for number in range(200)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda token: running.get("/a", bearer(token)).status, tokens))
    assert set(statuses) == {401}
    assert len(key_server.asked) - asked == 1
    assert running.get("/a", bearer(keys.token("one"))).status == 200
    assert running.gauges_at_zero()


def test_many_requests_wait_for_one_fetch(gateway, backend, key_server):
    """The issuer takes its time: all who come meanwhile are let in by its one answer, and others go on undisturbed."""
    keys = Keys("one")
    release = threading.Event()

    def late(handler):
        release.wait(10)
        body = json.dumps(keys.jwks()).encode()
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    key_server.behave = late
    config = guarded(backend, jwksUrl=key_server.url)
    config["routes"].insert(0, {"name": "open", "path": "/open", "serviceId": "backend"})
    running = gateway(config)
    waiting = [running.connect() for _ in range(10)]
    for wire in waiting:
        wire.send(request_bytes("GET", "/a", bearer(keys.token("one"))))
    wait_until(lambda: running.metric("sluice_waits_active") == 10, what="10 waits")
    assert running.get("/open").status == 200
    gone = waiting.pop()
    gone.close()  # a client that leaves takes nothing along
    release.set()
    assert [wire.read_response("GET").status for wire in waiting] == [200] * 9
    for wire in waiting:
        wire.close()
    assert len(key_server.asked) == 1
    assert running.gauges_at_zero()


def endless(handler):
    handler.send_response(200)
    handler.end_headers()
    try:
        while True:
            handler.wfile.write(b"x" * 65536)
    except OSError:
        pass


def trickle(handler):
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    try:
        for _ in range(600):
            handler.wfile.write(b" ")
            time.sleep(0.05)
    except OSError:
        pass


def many_keys(handler):
    body = json.dumps({"keys": [{"kty": "EC"}] * 300}).encode()
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def redirect_to(target):
    def redirect(handler):
        handler.send_response(302)
        handler.send_header("Location", target)
        handler.send_header("Content-Length", "0")
        handler.end_headers()
    return redirect


@pytest.mark.parametrize("behaviour", [endless, many_keys, redirect_to("/jwks"), redirect_to("file:///etc/passwd")],
                         ids=["endless", "many keys", "redirects in a circle", "redirects to a file"])
def test_a_hostile_issuer_gets_nowhere(gateway, backend, key_server, behaviour):
    keys = Keys("one")
    key_server.behave = behaviour
    running = gateway(guarded(backend, jwksUrl=key_server.url))
    assert running.get("/a", bearer(keys.token("one"))).status == 503
    assert running.metric("sluice_jwks_failing") == 1
    key_server.behave, key_server.document = None, keys.jwks()
    wait_until(lambda: running.get("/a", bearer(keys.token("one"))).status == 200)
    assert running.gauges_at_zero()


def test_keys_over_https_come_from_whom_the_authorities_vouch_for(gateway, backend, tmp_path):
    authority = Authority(tmp_path)
    server = authority.issue("issuer", alternatives=[x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    keys = Keys("one")
    issuer = KeyServer(keys.jwks(), tls=(server.certificate, server.key))
    routes = [{"name": name, "path": f"/{name}", "serviceId": "backend", "filters": [{"type": "jwt-auth", "jwksUrl": issuer.url, **more}]}
              for name, more in (("ours", {"jwksCa": str(authority.path)}), ("systems", {}))]
    running = gateway({**proxy(backend), "routes": routes})
    assert running.get("/ours", bearer(keys.token("one"))).status == 200
    assert running.get("/systems", bearer(keys.token("one"))).status == 503
    assert "certificate" in running.stderr().lower()
    assert len({labels["source"] for labels in running.metrics().labels("sluice_jwks_keys")}) == 2
    issuer.stop()


@pytest.mark.slow
def test_a_slow_issuer_holds_up_no_other(gateway, backend, key_server):
    keys, other = Keys("one"), KeyServer()
    other.document = keys.jwks()
    key_server.behave = trickle
    config = guarded(backend, jwksUrl=key_server.url)
    config["routes"].insert(0, {"name": "quick", "path": "/quick", "serviceId": "backend",
                                "filters": [{"type": "jwt-auth", "jwksUrl": other.url}]})
    running = gateway(config)
    began = time.monotonic()
    assert running.get("/quick", bearer(keys.token("one"))).status == 200
    assert time.monotonic() - began < 3
    assert running.get("/a", bearer(keys.token("one"))).status == 503
    assert time.monotonic() - began < 9
    other.stop()


def test_keys_are_fetched_again_ahead_of_their_end_and_asked_about_by_etag(gateway, backend, key_server):
    keys = Keys("one")
    key_server.document, key_server.headers = keys.jwks(), {"Cache-Control": "max-age=1", "ETag": '"v1"'}
    running = gateway(guarded(backend, jwksUrl=key_server.url))
    assert running.get("/a", bearer(keys.token("one"))).status == 200
    running.wait_for_metric("sluice_jwks_fetches_total", 1, timeout=10, result="unchanged")  # 5 s are the least
    assert key_server.asked[-1]["If-None-Match"] == '"v1"'
    assert "If-None-Match" not in key_server.asked[0]


def test_keys_are_given_up_once_nobody_could_confirm_them_for_too_long(gateway, backend, key_server):
    keys = Keys("one")
    key_server.document, key_server.headers = keys.jwks(), {"Cache-Control": "max-age=3600"}
    config = guarded(backend, jwksUrl=key_server.url, jwksMaxAge=5)
    config["routes"].insert(0, {"name": "kept", "path": "/kept", "serviceId": "backend",
                                "filters": [{"type": "jwt-auth", "jwksUrl": key_server.url}]})
    running, token = gateway(config), bearer(keys.token("one"))
    assert running.get("/a", token).status == 200
    wait_until(lambda: len(key_server.asked) >= 3, timeout=15)  # ahead of the bound, though its answers are good for an hour
    assert running.get("/a", token).status == 200
    key_server.status = 500
    wait_until(lambda: running.get("/a", token).status == 503, timeout=15)
    assert running.metric("sluice_jwks_failing") == 1
    assert running.get("/a", token).headers["Retry-After"] == "5"  # also to a token that was verified before
    assert running.get("/kept", token).status == 200
    key_server.status = 200
    wait_until(lambda: running.get("/a", token).status == 200, timeout=15)


def test_keys_out_of_a_cache_are_as_old_as_that_says(gateway, backend, key_server):
    keys = Keys("one")
    key_server.document, key_server.headers = keys.jwks(), {"Cache-Control": "max-age=86400", "Age": "3600"}
    config = guarded(backend, jwksUrl=key_server.url, jwksMaxAge=60)
    config["routes"].insert(0, {"name": "kept", "path": "/kept", "serviceId": "backend",
                                "filters": [{"type": "jwt-auth", "jwksUrl": key_server.url, "jwksMaxAge": 7200}]})
    running, token = gateway(config), bearer(keys.token("one"))
    assert running.get("/kept", token).status == 200
    assert running.get("/a", token).status == 503
    key_server.headers = {"Cache-Control": "max-age=86400"}
    wait_until(lambda: running.get("/a", token).status == 200, timeout=15)  # it asks again, and not all the time
    assert len(key_server.asked) <= 4


def test_an_issuer_is_asked_as_often_as_what_is_in_force_wants_it(gateway, backend, key_server):
    keys = Keys("one")
    key_server.document, key_server.headers = keys.jwks(), {"Cache-Control": "max-age=3600"}
    running, token = start_live(gateway, guarded(backend, jwksUrl=key_server.url)), bearer(keys.token("one"))
    name = running.admin.get("/routes")["items"][0]["name"]
    limited = {"filters": [{"type": "jwt-auth", "jwksUrl": key_server.url, "jwksMaxAge": 5}]}
    assert running.get("/a", token).status == 200
    time.sleep(0.5)  # the start may have looked twice: for what it only tried, and for what is in force
    asked = len(key_server.asked)
    running.admin.ask("PATCH", f"/routes/{name}?dryRun=true", limited)
    wrong = {"type": "ext-auth", "service": "backend", "cache": {"key": "${nonsense}"}}
    refused = running.admin.ask("PATCH", f"/routes/{name}", {"filters": [*limited["filters"], wrong]}, expect=422)
    assert "nonsense" in refused.text
    time.sleep(5)
    assert len(key_server.asked) == asked
    running.admin.patch("routes", name, limited)
    wait_until(lambda: len(key_server.asked) > asked, timeout=10)
    running.admin.patch("routes", name, {"filters": [{**limited["filters"][0], "jwksMaxAge": 3600}]})
    asked = len(key_server.asked)
    time.sleep(5)
    assert len(key_server.asked) == asked and running.get("/a", token).status == 200


def test_a_key_in_an_issuers_url_is_shown_to_nobody(gateway, backend, key_server, tmp_path):
    keys, url = Keys("one"), f"{key_server.url}?api_key=hush-hush"
    key_server.status, key_server.document = 500, keys.jwks()
    running = start_live(gateway, guarded(backend, jwksUrl=url))
    name = running.admin.get("/routes")["items"][0]["name"]
    assert running.get("/a", bearer(keys.token("one"))).status == 503
    key_server.status = 200
    wait_until(lambda: running.get("/a", bearer(keys.token("one"))).status == 200)
    read = running.admin.get(f"/routes/{name}")
    assert set(read["filters"][0]["jwksUrl"]) == {"$secret"}
    assert running.admin.put("routes", name, read)["filters"] == read["filters"]
    running.admin.patch("routes", name, {"tags": ["x"]})
    assert running.get("/a", bearer(keys.token("one"))).status == 200
    wrong = running.admin.ask("PATCH", f"/routes/{name}", {"filters": [{"type": "jwt-auth", "jwksUrl": f"ftp:{url}"}]}, expect=422)
    told = [wrong.text, running.stderr(), running.log_path.read_text()]
    told += [running.admin.ask("GET", path).text for path in ("/routes", "/config", "/revisions", "/metrics", "/health", f"/routes/{name}/stats")]
    told += [running.admin.ask("GET", f"/revisions/{number}").text for number in range(1, running.admin.revision() + 1)]
    assert not [text for text in told if "hush" in text]
    (tmp_path / "url").write_text(f"{url}\n")
    reference = "${file:%s/url}" % tmp_path
    changed = running.admin.patch("routes", name, {"filters": [{"type": "jwt-auth", "jwksUrl": reference}]})
    assert changed["filters"][0]["jwksUrl"] == reference and running.get("/a", bearer(keys.token("one"))).status == 200
    plain = running.admin.patch("routes", name, {"filters": [{"type": "jwt-auth", "jwksUrl": key_server.url}]})
    assert plain["filters"][0]["jwksUrl"] == key_server.url


# --- life ---

def test_a_file_of_keys_is_read_again_when_it_changes(gateway, backend, tmp_path):
    keys = Keys("one", "two")
    path = tmp_path / "keys.json"
    path.write_text(json.dumps(keys.jwks("one")))
    running = gateway(guarded(backend, jwksFile=str(path)))
    assert running.get("/a", bearer(keys.token("one"))).status == 200
    fresh = tmp_path / "keys.new"
    fresh.write_text(json.dumps(keys.jwks("two")))
    fresh.replace(path)
    assert running.get("/a", bearer(keys.token("two"))).status == 200  # waits for one look
    assert running.get("/a", bearer(keys.token("one"))).status == 401


def test_a_relative_path_counts_from_the_configuration(tmp_path):
    file = tmp_path / "sluice.yaml"
    file.write_text("routes:\n  - path: /a\n    respond: { status: 200 }\n    filters:\n"
                    "      - { type: jwt-auth, issuers: [{ issuer: a, jwksFile: keys.json }, { issuer: b, secret: '${file:secret}' }] }\n")
    done = run_sluice("check", str(file))
    assert done.returncode == 1 and '"jwksFile" can\'t be used' in done.stderr and '"secret" can\'t be used' in done.stderr
    (tmp_path / "keys.json").write_text(json.dumps(Keys("one").jwks()))
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    done = run_sluice("check", str(file), cwd="/")
    assert done.returncode == 0, done.stderr


def test_a_reload_with_another_secret_ends_the_tokens_of_the_one_before(gateway, backend):
    running = gateway(guarded(backend, secret=SECRET))
    token = jwt.encode(in_an_hour(), SECRET, "HS256")
    assert running.get("/a", bearer(token)).status == 200
    running.reload(guarded(backend, secret="another-secret-of-thirty-two-bytes!"))
    assert running.get("/a", bearer(token)).status == 401
    running.reload(guarded(backend, secret=SECRET))
    assert running.get("/a", bearer(token)).status == 200


def test_the_missions_flat_plugin_works_over_the_admin_api_and_hides_its_secret(gateway, backend):
    running = start_live(gateway, proxy(backend))
    running.admin.create("plugins", {"name": "jwt-auth", "config": {"secret": SECRET, "algorithm": "HS512"}, "routes": ["all"]})
    assert running.get("/a").status == 401
    assert running.get("/a", bearer(jwt.encode(in_an_hour(), SECRET, "HS512"))).status == 200
    assert running.get("/a", bearer(jwt.encode(in_an_hour(), SECRET, "HS256"))).status == 401
    shown = running.admin.get("/plugins")["items"][0]
    assert SECRET not in json.dumps(shown) and shown["config"]["secret"]["$secret"].startswith("sha256:")
    assert shown["config"]["algorithms"] == ["HS512"]
    running.admin.put("plugins", shown["id"], {**shown, "config": {**shown["config"], "leeway": 60}})  # the hash keeps the secret
    assert running.get("/a", bearer(jwt.encode(in_an_hour(), SECRET, "HS512"))).status == 200
    refused = running.admin.ask("POST", "/plugins", {"name": "jwt-auth", "config": {"secret": "short", "algorithm": "HS256"}}, expect=422)
    assert "at least 32 bytes" in refused.text


def test_check_says_what_is_wrong_with_its_place(tmp_path):
    file = tmp_path / "sluice.yaml"
    file.write_text("routes:\n  - path: /a\n    respond: { status: 200 }\n    filters:\n"
                    "      - type: jwt-auth\n        algorithm: RS256\n        secret: not-a-key\n")
    done = run_sluice("check", str(file))
    assert done.returncode == 1 and f"{file}:7:17: \"secret\" can't be used: RS256 wants a public key in PEM" in done.stderr
    file.write_text("routes:\n  - path: /a\n    respond: { status: 200 }\n    filters:\n"
                    "      - { type: jwt-auth, jwksUrl: 'https://issuer.test/jwks' }\n")
    assert run_sluice("check", str(file)).returncode == 0
