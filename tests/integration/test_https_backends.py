"""Instances behind TLS: whom the gateway takes for an instance, whom it asks for, what it shows, and that handshakes are not repeated."""
import ipaddress
import pathlib
import socket
import ssl
import threading

import pytest
import yaml
from cryptography import x509

import h2_backend
from backend import answer, echo, refusing_in_http_1, reset
from certificates import Authority
from gateway import proxy, run_sluice
from test_dns import until
from tls import server_context
from websocket import echo_frames, open_websocket, switch

NAME = "users.internal"


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def server(authority):
    return authority.issue(NAME)


@pytest.fixture(scope="module")
def server_of_ip(authority):
    return authority.issue("ip", alternatives=[x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])


def over_tls(*backends, authority=None, service=None, **tls):
    """A configuration with `protocol: https`; what is None is left out."""
    fields = {"ca": authority and str(authority.path), **tls}
    return proxy(*backends, route={"retryCount": 0, "timeoutMs": 5000},
                 service_fields={"protocol": "https", "tls": {name: value for name, value in fields.items() if value is not None},
                                 **(service or {})})


def failure(running, status=502):
    """Why a request failed, for the operator; the client is told no more than that it did."""
    response = running.get("/x")
    assert response.status == status and "tls" not in response.problem["detail"].lower(), response.body
    lines = running.log_lines(1)
    while lines[-1]["requestId"] != response.problem["requestId"]:
        lines = running.log_lines(len(lines) + 1)
    return lines[-1]["error"]["text"]


# Who is an instance

def test_a_request_and_its_body_pass_over_tls(gateway, new_backend, authority, server):
    backend = new_backend(tls=server_context(server))
    backend.on("/a", echo())
    running = gateway(over_tls(backend, authority=authority, serverName=NAME))
    response = running.request("POST", "/a", body=bytes(range(256)) * 4000)
    assert response.body == bytes(range(256)) * 4000
    assert backend.requests[0].headers["X-Forwarded-Proto"] == "http"
    assert [one.name for one in backend.handshakes] == [NAME]
    running.gauges_at_zero()


def test_a_connection_is_used_again(gateway, new_backend, authority, server):
    backend = new_backend(tls=server_context(server))
    running = gateway(over_tls(backend, authority=authority, serverName=NAME))
    assert [running.get("/x").status for _ in range(5)] == [200] * 5
    assert backend.connections == 1


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_new_connection_resumes_the_session(gateway, new_backend, authority, server, version):
    backend = new_backend(tls=server_context(server, version=version))
    backend.by_default(answer(200, {"Connection": "close"}))
    running = gateway(over_tls(backend, authority=authority, serverName=NAME))
    for _ in range(4):
        assert running.get("/x").status == 200
    assert [one.resumed for one in backend.handshakes] == [False, True, True, True]


def test_a_strangers_certificate_is_refused(gateway, new_backend, tmp_path, authority, server):
    stranger = Authority(tmp_path, "stranger").issue(NAME)
    backend = new_backend(tls=server_context(stranger))
    running = gateway(over_tls(backend, authority=authority, serverName=NAME))
    words = failure(running)
    assert "certificate of the backend is refused" in words and "unable to get local issuer certificate" in words
    assert backend.requests == []
    running.gauges_at_zero()


def test_the_systems_authorities_do_not_know_ours(gateway, new_backend, server):
    backend = new_backend(tls=server_context(server))
    assert "issuer" in failure(gateway(over_tls(backend, serverName=NAME)))
    assert backend.requests == []


def test_the_systems_authorities_are_enough(gateway, new_backend, authority, server):
    """OpenSSL's own variable says what the system's are."""
    backend = new_backend(tls=server_context(server))
    running = gateway(over_tls(backend, serverName=NAME), environment={"SSL_CERT_FILE": str(authority.path)})
    assert running.get("/x").status == 200 and backend.handshakes[0].name == NAME


def test_another_name_than_asked_for_is_refused(gateway, new_backend, authority, server):
    backend = new_backend(tls=server_context(server))
    assert "hostname mismatch" in failure(gateway(over_tls(backend, authority=authority, serverName="orders.internal")))
    assert backend.requests == []


def test_an_expired_certificate_is_refused(gateway, new_backend, authority):
    backend = new_backend(tls=server_context(authority.issue(NAME, days=-1)))
    assert "certificate has expired" in failure(gateway(over_tls(backend, authority=authority, serverName=NAME)))


def test_a_clients_certificate_is_none_of_a_server(gateway, new_backend, authority):
    backend = new_backend(tls=server_context(authority.issue(NAME, client=True, alternatives=[x509.DNSName(NAME)])))
    assert "refused" in failure(gateway(over_tls(backend, authority=authority, serverName=NAME)))


def test_an_ip_is_looked_for_in_the_certificate_and_never_asked_for(gateway, new_backend, authority, server, server_of_ip):
    good, bad = new_backend(tls=server_context(server_of_ip)), new_backend(tls=server_context(server))
    running = gateway(over_tls(good, authority=authority))
    assert running.get("/x").status == 200 and good.handshakes[0].name is None
    assert "IP address mismatch" in failure(gateway(over_tls(bad, authority=authority)))


def test_a_host_name_is_asked_for_and_verified(gateway, new_backend, name_server, authority):
    backend = new_backend(tls=server_context(authority.issue("users.test")))
    name_server.set(users=["127.0.0.1"])
    config = over_tls(f"users.test:{backend.port}", authority=authority)
    running = gateway({**config, "resolver": {"servers": [name_server.address]}})
    until(running, lambda response: response.status == 200)
    assert backend.handshakes[0].name == "users.test"


def test_without_verification_anybody_is_an_instance(gateway, new_backend, tmp_path):
    backend = new_backend(tls=server_context(Authority(tmp_path, "stranger").issue("who.knows")))
    assert gateway(over_tls(backend, verify=False)).get("/x").status == 200


def test_an_instance_that_fails_its_handshake_is_passed_over(gateway, new_backend, tmp_path, authority, server):
    stranger = new_backend("stranger", tls=server_context(Authority(tmp_path, "stranger").issue(NAME)))
    good = new_backend("good", tls=server_context(server))
    config = over_tls(stranger, good, authority=authority, serverName=NAME)
    config["routes"][0]["retryCount"] = 1
    running = gateway(config)
    assert [running.get("/x").body for _ in range(6)] == [b"good"] * 6
    assert stranger.requests == []


def test_an_instance_that_speaks_no_tls_is_named(gateway, authority):
    with refusing_in_http_1() as address:
        assert "does not speak TLS" in failure(gateway(over_tls(address, authority=authority, serverName=NAME)))


def test_a_handshake_without_an_end_times_out(gateway, authority):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        running = gateway(over_tls(f"127.0.0.1:{listener.getsockname()[1]}", authority=authority,
                                   service={"connectTimeoutMs": 200}))
        assert "no answer within 200 ms" in failure(running, status=504)
        running.gauges_at_zero()


def test_a_version_that_is_too_old_is_refused(gateway, new_backend, authority, server):
    backend = new_backend(tls=server_context(server, version=ssl.TLSVersion.TLSv1_2))
    words = failure(gateway(over_tls(backend, authority=authority, serverName=NAME, minVersion="1.3")))
    assert "no TLS version" in words


# What the gateway shows

def test_an_instance_that_asks_for_a_certificate_is_shown_it(gateway, new_backend, authority, server):
    ours = authority.issue("gateway", client=True)
    backend = new_backend(tls=server_context(server, clients_of=authority))
    running = gateway(over_tls(backend, authority=authority, serverName=NAME, certificate=str(ours.certificate), key=str(ours.key)))
    assert running.get("/x").status == 200
    assert (("commonName", "gateway"),) in backend.handshakes[0].certificate["subject"]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_without_one_the_instance_refuses_us(gateway, new_backend, authority, server, version):
    backend = new_backend(tls=server_context(server, clients_of=authority, version=version))
    running = gateway(over_tls(backend, authority=authority, serverName=NAME))
    assert running.get("/x").status == 502 and backend.requests == []
    running.gauges_at_zero()


# Which version of HTTP

def test_http_2_is_spoken_where_the_instance_offers_it(gateway, new_h2_backend, authority, server):
    backend = new_h2_backend(tls=server_context(server, alpn=("h2", "http/1.1")))
    running = gateway(over_tls(backend, authority=authority, serverName=NAME))
    statuses = []
    threads = [threading.Thread(target=lambda: statuses.append(running.get("/x").status)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert statuses == [200] * 20 and backend.connections == 1
    assert backend.requests[0].pseudo[":scheme"] == "https" and backend.handshakes[0].protocol == "h2"
    running.gauges_at_zero()


@pytest.mark.parametrize("alpn", [("http/1.1",), ()])
def test_http_1_is_spoken_where_it_does_not(gateway, new_backend, authority, server, alpn):
    backend = new_backend(tls=server_context(server, alpn=alpn))
    everybody = threading.Barrier(5)
    backend.on("/wait", lambda wire, request: everybody.wait(10), answer(200))
    running = gateway(over_tls(backend, authority=authority, serverName=NAME))
    statuses = []
    threads = [threading.Thread(target=lambda: statuses.append(running.get("/wait").status)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(15)
    assert statuses == [200] * 5 and backend.connections == 5


def test_http_version_1_offers_nothing_else(gateway, new_backend, authority, server):
    backend = new_backend(tls=server_context(server, alpn=("h2", "http/1.1")))
    running = gateway(over_tls(backend, authority=authority, serverName=NAME, service={"httpVersion": 1}))
    assert running.get("/x").status == 200 and backend.handshakes[0].protocol == "http/1.1"


def test_http_version_2_takes_nothing_else(gateway, new_backend, authority, server):
    backend = new_backend(tls=server_context(server, alpn=()))
    words = failure(gateway(over_tls(backend, authority=authority, serverName=NAME, service={"httpVersion": 2})))
    assert "doesn't offer HTTP/2" in words and backend.requests == []


def test_a_websocket_is_carried_by_http_1_where_the_instance_would_choose_http_2(gateway, new_backend, authority, server):
    """For other requests too HTTP/1.1 would do, but the instance prefers HTTP/2, which may not carry it."""
    backend = new_backend(tls=server_context(server, alpn=("h2", "http/1.1")))
    backend.on("/echo", switch(echo_frames))
    running = gateway(over_tls(backend, authority=authority, serverName=NAME))
    ws = open_websocket(running, "/echo")
    ws.send(b"hello").expect(b"hello")
    ws.close(1000).expect_close(1000)
    assert ws.sees_end() and [one.protocol for one in backend.handshakes] == ["http/1.1"]
    ws.wire.close()
    running.gauges_at_zero()


# Bodies

def test_large_bodies_pass_both_ways(gateway, new_backend, new_h2_backend, authority, server):
    body = bytes(range(256)) * 4_000
    one, two = new_backend(tls=server_context(server)), new_h2_backend(tls=server_context(server, alpn=("h2",)))
    one.on("/a", echo())
    two.on("/a", h2_backend.echo())
    for backend in (one, two):
        running = gateway(over_tls(backend, authority=authority, serverName=NAME))
        assert running.request("POST", "/a", body=body).body == body
        running.gauges_at_zero()


def test_a_reset_over_tls_is_502(gateway, new_backend, authority, server):
    backend = new_backend(tls=server_context(server))
    backend.on("/a", reset())
    running = gateway(over_tls(backend, authority=authority, serverName=NAME))
    assert running.request("POST", "/a", body=b"x").status == 502
    running.gauges_at_zero()


def test_a_connection_that_was_closed_while_idle_is_replaced(gateway, new_backend, authority, server):
    backend = new_backend(tls=server_context(server))
    running = gateway(over_tls(backend, authority=authority, serverName=NAME))
    for method in ("GET", "POST", "GET", "POST"):
        backend.drop_connections()
        assert running.request(method, "/x", body=b"b" if method == "POST" else None).status == 200


# Configuration

def test_a_reload_takes_the_files_as_they_are_now(gateway, new_backend, tmp_path, authority, server):
    backend = new_backend(tls=server_context(server))
    stranger = Authority(tmp_path, "stranger")
    trusted = tmp_path / "trusted.pem"
    trusted.write_bytes(pathlib.Path(authority.path).read_bytes())
    config = over_tls(backend, serverName=NAME, ca=str(trusted))
    running = gateway(config)
    assert running.get("/x").status == 200
    running.reload()
    assert running.get("/x").status == 200 and backend.connections == 1  # nothing has changed
    trusted.write_bytes(pathlib.Path(stranger.path).read_bytes())
    running.reload()
    assert "issuer" in failure(running)
    trusted.write_bytes(b"no certificate")
    done = running.reload(expect=1)
    assert 'holds no certificate in PEM' in done.stderr + done.stdout + running.stderr()
    trusted.write_bytes(pathlib.Path(authority.path).read_bytes())
    running.reload()
    assert running.get("/x").status == 200
    running.gauges_at_zero()


BAD_FIELDS = {
    "tls on plain http": ({"protocol": "http", "tls": {"ca": "ca.pem"}}, '"tls" without TLS'),
    "a key alone": ({"protocol": "https", "tls": {"key": "a.key"}}, '"key" needs "certificate"'),
    "a certificate alone": ({"protocol": "https", "tls": {"certificate": "a.pem"}}, '"certificate" needs "key"'),
    "a ca without verification": ({"protocol": "https", "tls": {"ca": "ca.pem", "verify": False}}, '"ca" is of no use'),
    "a ca that isn't there": ({"protocol": "https", "tls": {"ca": "ca.pem"}}, 'ca.pem" cannot be read: no such file'),
    "a server name with a space": ({"protocol": "https", "tls": {"serverName": "a b"}}, '"serverName" must be'),
    "an unknown field": ({"protocol": "https", "tls": {"servername": "a"}}, 'did you mean "serverName"?'),
}


@pytest.mark.parametrize("name", BAD_FIELDS)
def test_what_can_not_be_is_told_with_its_place(tmp_path, name):
    fields, words = BAD_FIELDS[name]
    file = tmp_path / "sluice.yaml"
    file.write_text(yaml.dump(proxy("127.0.0.1:1", service_fields=fields)))
    done = run_sluice("check", file)
    assert done.returncode == 1 and words in done.stderr, done.stderr
    assert "sluice.yaml:" in done.stderr
