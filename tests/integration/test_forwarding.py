"""What the service is told of the client: by us, in our fields, and never by the client's own copies of them."""
import pytest

from backend import answer, close
from gateway import proxy

pytestmark = pytest.mark.both_builds

OURS = ["X-Request-ID", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Authenticated-User", "X-Client-ID"]


def seen_with(running, backend, headers, **options):
    backend.forget()
    assert running.get("/x", headers, **options).status == 200
    return backend.requests[0].headers


@pytest.fixture
def running(gateway, backend):
    return gateway(proxy(backend))


def test_the_service_learns_who_asks_for_what(running, backend):
    seen = seen_with(running, backend, {}, host="api.example.com")
    assert seen["X-Forwarded-For"] == "127.0.0.1" and seen["X-Forwarded-Proto"] == "http"
    assert seen["X-Forwarded-Host"] == "api.example.com" and seen["Host"] == "api.example.com"
    assert len(seen["X-Request-ID"]) == 32 and seen["Via"] == "1.1 sluice"


@pytest.mark.parametrize("name", OURS)
def test_a_clients_own_copy_never_passes(running, backend, name):
    seen = seen_with(running, backend, [(name, "forged"), (name.lower(), "forged"), (name.upper(), "again")])
    assert "forged" not in str(seen) and "again" not in str(seen)


@pytest.mark.parametrize("name", OURS)
def test_nor_does_one_that_cgi_would_read_as_ours(running, backend, name):
    """CGI and WSGI turn '-' into '_', so the twin would be read as the real one."""
    seen = seen_with(running, backend, [(name.replace("-", "_"), "forged"), (name.replace("-", "_", 1).lower(), "forged")])
    assert "forged" not in str(seen)


PROXYS_WORDS = ["X-Forwarded-Prefix", "X-Forwarded-Port", "X-Forwarded-Ssl", "X-Forwarded-Server", "X-Real-IP", "x_forwarded_port", "Forwarded"]


@pytest.mark.parametrize("name", PROXYS_WORDS)
def test_what_only_a_proxy_may_say_passes_from_trusted_ones_alone(gateway, backend, name):
    assert "forged" not in str(seen_with(gateway(proxy(backend)), backend, {name: "forged"}))
    assert "forged" in str(seen_with(gateway(proxy(backend, trustedProxies=["127.0.0.0/8"])), backend, {name: "forged"}))


@pytest.mark.parametrize("name", ["X-Real-IP", "X-Forwarded-Port", "Forwarded"])
def test_what_a_policy_says_in_a_proxys_words_is_heard(gateway, backend, name):
    for kind in ("set-header", "add-header"):
        running = gateway(proxy(backend, route={"filters": [{"type": kind, "name": name, "value": "ours"}]}))
        seen = seen_with(running, backend, [(name, "forged"), (name, "twice")])
        assert seen[name] == "ours" and "forged" not in str(seen) and "twice" not in str(seen)


def test_a_request_that_names_no_host_is_passed_on_under_the_instances_name(running, backend):
    wire = running.send(b"GET /x HTTP/1.0\r\n\r\n")
    assert wire.read_response().status == 200
    assert backend.requests[-1].headers["Host"] == f"127.0.0.1:{backend.port}"


def test_connection_can_not_take_our_fields_away(running, backend):
    seen = seen_with(running, backend, {"Connection": ", ".join(OURS)})
    assert seen["X-Forwarded-For"] == "127.0.0.1" and "X-Request-ID" in seen


def test_a_trusted_proxy_is_believed_and_appended_to(gateway, backend):
    running = gateway(proxy(backend, trustedProxies=["127.0.0.0/8"]))
    seen = seen_with(running, backend, {"X-Forwarded-For": "198.51.100.7", "X-Request-ID": "abc-1", "X-Forwarded-Proto": "https"})
    assert seen["X-Forwarded-For"] == "198.51.100.7, 127.0.0.1"
    assert seen["X-Request-ID"] == "abc-1" and seen["X-Forwarded-Proto"] == "https"


def test_a_client_that_a_trusted_proxy_does_not_name_is_not_the_proxy(gateway, backend):
    """Some balancers write a port, some write `unknown`: no list that lets the proxy in lets them in."""
    running = gateway(proxy(backend, trustedProxies=["127.0.0.0/8"], route={"filters": [{"type": "ip-list", "allow": ["10.0.0.0/8", "127.0.0.0/8"]}]}))
    statuses = {said: running.get("/", {"X-Forwarded-For": said}).status for said in
                ("10.0.0.1", "10.0.0.1:4711", "203.0.113.9", "203.0.113.9:4711", "[2001:db8::1]:443", "unknown", "10.0.0.1, unknown", "unknown, 127.0.0.1", "unknown, 10.0.0.1")}
    assert statuses == {"10.0.0.1": 200, "10.0.0.1:4711": 200, "203.0.113.9": 403, "203.0.113.9:4711": 403, "[2001:db8::1]:443": 403, "unknown": 403,
                        "10.0.0.1, unknown": 403, "unknown, 127.0.0.1": 403, "unknown, 10.0.0.1": 200}
    assert running.get("/").status == 200, "the proxy itself"
    assert running.metric("sluice_errors_total", type="client-address-unreadable") == 3
    lines = running.log_lines(10)
    assert [line.get("clientIp") for line in lines[:6]] == ["10.0.0.1", "10.0.0.1", "203.0.113.9", "203.0.113.9", "2001:db8::1", None]


SPELLINGS = {"::ffff:10.0.0.1": "10.0.0.1", "::FFFF:0a00:0001": "10.0.0.1", "[::ffff:10.0.0.1]:4711": "10.0.0.1", "2001:DB8:0:0::1": "2001:db8::1",
             "[2001:0db8::0001]": "2001:db8::1", "2001:db8::1": "2001:db8::1", "::0102:0304": "::102:304"}


def test_a_client_has_one_address_however_a_proxy_spells_it(gateway, backend):
    """What rules compare, and what logs and services are told of it; others' words in the chain stay as they are."""
    rules = [{"name": "inside", "effect": "deny", "when": 'cidr("10.0.0.0/8").containsIP(source.ip) || source.ip == "2001:db8::1"'},
             {"name": "others", "effect": "allow", "when": "true"}]
    filters = [{"type": "set-header", "name": "X-Client", "value": "${source.ip}"}]
    denying = gateway(proxy(backend, trustedProxies=["127.0.0.0/8"], route={"filters": [{"type": "access", "rules": rules, "onFailure": "allow"}]}))
    running = gateway(proxy(backend, trustedProxies=["127.0.0.0/8"], route={"filters": filters}))
    for said, canonical in SPELLINGS.items():
        assert denying.get("/", {"X-Forwarded-For": said}).status == (200 if canonical == "::102:304" else 403), said
        seen = seen_with(running, backend, {"X-Forwarded-For": f"192.0.2.1, {said}"})
        assert seen["X-Client"] == canonical and seen["X-Forwarded-For"] == f"192.0.2.1, {said}, 127.0.0.1"
    assert [line["clientIp"] for line in running.log_lines(len(SPELLINGS))] == list(SPELLINGS.values())


def test_max_forwards_ends_at_the_gateway(running, backend):
    """RFC 9110 7.6.2: for OPTIONS and TRACE, and no other method."""
    for method, status in (("OPTIONS", 204), ("TRACE", 405)):
        last = running.request(method, "/x", {"Max-Forwards": "0"})
        assert last.status == status and "OPTIONS" in last.headers["Allow"]
    assert backend.requests == []
    for method, said, passed in (("OPTIONS", "7", "6"), ("TRACE", "1", "0"), ("OPTIONS", "soon", "soon"), ("GET", "0", "0")):
        backend.forget()
        assert running.request(method, "/x", {"Max-Forwards": said}).status == 200
        assert backend.requests[0].headers["Max-Forwards"] == passed


def test_every_answer_says_when_it_was_made(running, backend):
    for status in (200, 404, 500, 503):
        backend.by_default(answer(status))
        assert running.get("/x").headers["Date"].endswith("GMT")
    backend.by_default(close())
    assert running.get("/x").status == 502 and "Date" in running.get("/x").headers
    backend.by_default(answer(500, {"Date": "Tue, 24 Nov 2026 11:00:00 GMT"}))
    assert running.get("/x").headers.all("Date") == ["Tue, 24 Nov 2026 11:00:00 GMT"]


def test_identity_is_not_believed_even_from_a_trusted_proxy(gateway, backend):
    running = gateway(proxy(backend, trustedProxies=["127.0.0.0/8"]))
    seen = seen_with(running, backend, {"X-Authenticated-User": "root", "X-Client-ID": "root"})
    assert "root" not in str(seen)
