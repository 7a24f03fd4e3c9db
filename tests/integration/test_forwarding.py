"""What the service is told of the client: by us, in our fields, and never by the client's own copies of them."""
import pytest

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


def test_identity_is_not_believed_even_from_a_trusted_proxy(gateway, backend):
    running = gateway(proxy(backend, trustedProxies=["127.0.0.0/8"]))
    seen = seen_with(running, backend, {"X-Authenticated-User": "root", "X-Client-ID": "root"})
    assert "root" not in str(seen)
