"""TLS at the listeners: which version, which certificate, which protocol; resumption; what a broken client gets."""
import os
import signal
import socket
import ssl
import subprocess
import threading
import time

import httpx
import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from backend import answer, echo, free_port
from certificates import Authority
from gateway import proxy, run_sluice
from load import Load
from tls import client_context, s_client, shown_certificate, tls_connect, tls_get
from upgrading import upgrade
from websocket import echo_frames, finish_opening, frame_bytes, handshake, switch
from wire import request_bytes

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000040000000000")
HELLO = {"routes": [{"name": "hello", "path": "/*", "respond": {"status": 200, "body": "hello\n"}}]}


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def server(authority):
    return authority.issue("localhost")


def secured(*certificates, **more):
    """A listener's fields."""
    return {"tls": {"certificates": [one.config for one in certificates], **more}}


@pytest.fixture(scope="module")
def running(module_gateway, server):
    """One gateway for the tests that only look."""
    return module_gateway(HELLO, listener=secured(server))


def der(issued):
    return issued.document.public_bytes(Encoding.DER)


# Real clients

def test_curl_and_httpx_get_answers_over_tls(running, authority):
    done = subprocess.run(["curl", "-s", "--http1.1", "--cacert", authority.path, "--connect-to", f"localhost:443:127.0.0.1:{running.port}",
                           "https://localhost/"], capture_output=True, text=True, timeout=20, check=False)
    assert (done.returncode, done.stdout) == (0, "hello\n"), done.stderr
    with httpx.Client(verify=str(authority.path), trust_env=False) as client:
        url = f"https://localhost:{running.port}/"
        assert [client.get(url).text for _ in range(3)] == ["hello\n"] * 3


def test_the_request_goes_through_the_same_chain_and_the_backend_hears_https(gateway, backend, server):
    running = gateway(proxy(backend), listener=secured(server))
    backend.on("/echo", echo())
    with tls_connect(running.address) as wire:
        body = os.urandom(200_000)
        answered = wire.send(request_bytes("POST", "/echo", {"X-Forwarded-Proto": "http"}, body)).read_response()
        assert answered.body == body
        assert wire.send(request_bytes(target="/two")).read_response().status == 200
    assert [request.headers["X-Forwarded-Proto"] for request in backend.requests] == ["https", "https"]


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_large_bodies_go_both_ways_whole(gateway, backend, server, tmp_path, version):
    running = gateway(proxy(backend), listener=secured(server))
    body = tmp_path / "body"
    body.write_bytes(os.urandom(4_000_000))
    backend.on("/echo", echo())
    done = subprocess.run(["curl", "-sk", "--http1.1", "--tls-max", version, "--data-binary", f"@{body}", f"https://127.0.0.1:{running.port}/echo"],
                          capture_output=True, timeout=30, check=False)
    assert done.returncode == 0 and done.stdout == body.read_bytes()
    assert running.gauges_at_zero()


def test_an_answer_that_ends_with_the_connection_ends_with_close_notify(gateway, backend, server):
    running = gateway(proxy(backend), listener=secured(server))
    with tls_connect(running.address) as wire:  # a ragged end would raise
        wire.send(request_bytes(headers={"Connection": "close"}))
        assert wire.read_response().status == 200
        assert wire.read_until_close() == b""


def test_a_websocket_over_tls_is_one_like_any_other(gateway, backend, server):
    backend.on("/echo", switch(echo_frames))
    running = gateway(proxy(backend), listener=secured(server))
    with tls_connect(running.address) as wire:
        wire.send(handshake("/echo") + frame_bytes(b"sent at once", masked=True))
        ws = finish_opening(wire)
        ws.expect(b"sent at once")
        for size in (1, 126, 65536, 300_000):
            payload = os.urandom(size)
            ws.send(payload).expect(payload)
        ws.close(1000).expect_close(1000)
        assert ws.sees_end()
    assert running.gauges_at_zero()


# Versions, ciphers, ALPN

def test_versions_are_1_2_and_1_3_and_nothing_older(running):
    for version, name in ((ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3")):
        with tls_connect(running.address, client_context(version=version)) as wire:
            assert wire.socket.version() == name
    said = s_client(running.address, "-tls1_1", "-cipher", "DEFAULT:@SECLEVEL=0")
    assert "alert protocol version" in said
    running.wait_for_metric("sluice_tls_handshake_failures_total", 1, reason="no-common-version")


def test_min_version_1_3_refuses_1_2(gateway, server):
    running = gateway(HELLO, listener=secured(server, minVersion="1.3"))
    with pytest.raises(ssl.SSLError, match="(?i)protocol.version"):
        tls_connect(running.address, client_context(version=ssl.TLSVersion.TLSv1_2))
    assert tls_get(running.address).body == b"hello\n"


def test_ciphers_and_suites_are_those_of_the_configuration(gateway, server):
    running = gateway(HELLO, listener=secured(server, ciphers="ECDHE-ECDSA-AES256-GCM-SHA384", cipherSuites="TLS_CHACHA20_POLY1305_SHA256"))
    with tls_connect(running.address, client_context(version=ssl.TLSVersion.TLSv1_2)) as wire:
        assert wire.socket.cipher()[0] == "ECDHE-ECDSA-AES256-GCM-SHA384"
    with tls_connect(running.address) as wire:
        assert wire.socket.cipher()[0] == "TLS_CHACHA20_POLY1305_SHA256"
    with pytest.raises(ssl.SSLError, match="(?i)handshake.failure"):
        tls_connect(running.address, client_context(version=ssl.TLSVersion.TLSv1_2, ciphers="ECDHE-ECDSA-AES128-GCM-SHA256"))
    running.wait_for_metric("sluice_tls_handshake_failures_total", 1, reason="no-common-cipher")


def test_alpn_agrees_on_http_1_1_and_refuses_what_is_not_spoken(running):
    with tls_connect(running.address, client_context(alpn=["spdy/3", "http/1.1"])) as wire:
        assert wire.socket.selected_alpn_protocol() == "http/1.1"
    with tls_connect(running.address) as wire:
        assert wire.socket.selected_alpn_protocol() is None
    with pytest.raises(ssl.SSLError, match="(?i)no.application.protocol"):
        tls_connect(running.address, client_context(alpn=["spdy/3"]))


def test_alpn_agrees_on_http_2_where_the_suite_is_good_enough_for_it(gateway, server):
    running = gateway(HELLO, listener=secured(server, ciphers="ECDHE+AESGCM:ECDHE+AES128+SHA256"))

    def agreed(**options):
        with tls_connect(running.address, client_context(alpn=["http/1.1", "h2"], **options)) as wire:
            return wire.socket.selected_alpn_protocol()

    assert agreed() == "h2"
    assert agreed(version=ssl.TLSVersion.TLSv1_2, ciphers="ECDHE+AESGCM") == "h2"
    assert agreed(version=ssl.TLSVersion.TLSv1_2, ciphers="ECDHE+AES128+SHA256:!AESGCM") == "http/1.1"


def test_curl_speaks_http_2_over_tls(running, authority):
    done = subprocess.run(["curl", "-s", "--http2", "-w", "%{http_version}", "--cacert", authority.path, "--connect-to",
                           f"localhost:443:127.0.0.1:{running.port}", "https://localhost/"],
                          capture_output=True, text=True, timeout=20, check=False)
    assert (done.returncode, done.stdout) == (0, "hello\n2"), done.stderr


def test_a_listener_that_takes_no_http_2_offers_none_and_hears_no_preface(gateway, server):
    running = gateway(HELLO, listener={**secured(server), "http2": False})
    with tls_connect(running.address, client_context(alpn=["h2", "http/1.1"])) as wire:
        assert wire.socket.selected_alpn_protocol() == "http/1.1"
        assert wire.send(request_bytes()).read_response().body == b"hello\n"
    with pytest.raises(ssl.SSLError, match="(?i)no.application.protocol"):
        tls_connect(running.address, client_context(alpn=["h2"]))
    running.reload({**HELLO, "listeners": [{"address": f"127.0.0.1:{running.port}", "http2": False}]})
    with running.send(PREFACE) as wire:
        assert wire.read_response().status in (400, 505)


def test_behind_tls_alpn_alone_says_http_2(running):
    for alpn in ([], ["http/1.1"]):
        with tls_connect(running.address, client_context(alpn=alpn)) as wire:
            assert wire.send(PREFACE).read_response().status in (400, 505)


def test_a_client_cannot_renegotiate(running):
    said = s_client(running.address, "-tls1_2", send="R\n")
    assert "no renegotiation" in said or "ssl handshake failure" in said


# Names

def test_the_certificate_is_chosen_by_name_exact_before_wildcard_before_default(gateway, authority, server):
    wildcard, exact = authority.issue("*.example.com", "example.org"), authority.issue("a.example.com")
    running = gateway(HELLO, listener=secured(server, wildcard, exact))
    for name, wanted in (("a.example.com", exact), ("A.Example.COM", exact), ("b.example.com", wildcard), ("example.org", wildcard),
                         ("a.b.example.com", server), ("example.com", server), ("localhost", server), ("other.test", server),
                         (None, server)):
        assert shown_certificate(running.address, name=name) == der(wanted), name


def test_ecdsa_and_rsa_of_one_name_stand_side_by_side(gateway, authority, server):
    ecdsa, rsa = authority.issue("both.test"), authority.issue("both.test", key="rsa")
    running = gateway(HELLO, listener=secured(server, ecdsa, rsa))
    tls12 = ssl.TLSVersion.TLSv1_2
    for ciphers, wanted in (("ECDHE-RSA-AES128-GCM-SHA256", rsa), ("ECDHE-ECDSA-AES128-GCM-SHA256", ecdsa)):
        context = client_context(version=tls12, ciphers=ciphers)
        assert shown_certificate(running.address, context=context, name="both.test") == der(wanted)
    for algorithms, wanted in (("RSA-PSS+SHA256", "RSA-PSS"), ("ECDSA+SHA256", "ECDSA")):
        said = s_client(running.address, "-servername", "both.test", "-sigalgs", algorithms)
        assert f"Peer signature type: {wanted}" in said


# Resumption

def resumes(address, context, session, **options):
    with tls_connect(address, context, session=session, **options) as wire:
        wire.send(request_bytes()).read_response()
        return wire.socket.session_reused


def a_session(address, context, **options):
    with tls_connect(address, context, **options) as wire:
        wire.send(request_bytes()).read_response()  # the tickets of TLS 1.3 come with it
        assert not wire.socket.session_reused
        return wire.socket.session


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_sessions_are_resumed_by_every_worker_and_after_a_reload(gateway, server, version):
    running = gateway({**HELLO, "workers": 3}, listener=secured(server))
    context = client_context(version=version)
    session = a_session(running.address, context)
    assert all(resumes(running.address, context, session) for _ in range(12))
    running.reload()
    assert all(resumes(running.address, context, session) for _ in range(6))
    assert running.metric("sluice_tls_handshakes_total", resumed="true") == 18


def ticket_key(directory, name, text=None):
    path = directory / name
    path.write_bytes(text if text is not None else os.urandom(80))
    return str(path)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_instances_with_the_same_ticket_keys_resume_each_others_sessions(gateway, server, tmp_path, version):
    old, new, other = (ticket_key(tmp_path, name) for name in ("old", "new", "other"))
    one = gateway(HELLO, listener=secured(server, ticketKeys=[old]))
    two = gateway(HELLO, listener=secured(server, ticketKeys=[new, old]))
    stranger = gateway(HELLO, listener=secured(server, ticketKeys=other))
    context = client_context(version=version)
    session = a_session(one.address, context)
    assert resumes(two.address, context, session), "an older key still decrypts"
    fresh = a_session(two.address, context)
    assert not resumes(one.address, context, fresh), "that key is not known there"
    assert not resumes(stranger.address, context, session)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_sessions_outlive_the_gateway_that_began_them(upgradable, server, version):
    """By upgrades, whose new masters pass the keys on, and a crash."""
    running = upgradable(HELLO, listener=secured(server))
    context = client_context(version=version)
    session = a_session(running.address, context)
    for _ in range(2):
        upgrade(running)
        assert resumes(running.address, context, session)
    before = running.gateway_processes()
    os.kill(running.serving_process(), signal.SIGKILL)
    running.wait_for_gateway_process(other_than=before)
    assert resumes(running.address, context, session)
    assert "ticket" not in running.stderr()


def test_without_key_files_a_ticket_is_good_in_its_own_process_only(gateway, server):
    context = client_context()
    session = a_session(gateway(HELLO, listener=secured(server)).address, context)
    assert not resumes(gateway(HELLO, listener=secured(server)).address, context, session)


# OCSP

def test_a_fresh_ocsp_response_is_stapled_and_a_stale_one_is_not(gateway, authority, tmp_path):
    certificate, stale = authority.issue("fresh.test"), authority.issue("stale.test")
    listener = {"tls": {"certificates": [
        {**certificate.config, "ocsp": str(authority.write_ocsp("fresh.ocsp", certificate))},
        {**stale.config, "ocsp": str(authority.write_ocsp("stale.ocsp", stale, days=-1))}]}}
    running = gateway(HELLO, listener=listener)
    assert "OCSP Response Status: successful" in s_client(running.address, "-status", "-servername", "fresh.test")
    assert "OCSP response: no response sent" in s_client(running.address, "-status", "-servername", "stale.test")
    running.wait_for_stderr("OCSP response .*stale.ocsp.* is out of date and not stapled")
    authority.write_ocsp("stale.ocsp", stale)
    running.reload()
    assert "OCSP Response Status: successful" in s_client(running.address, "-status", "-servername", "stale.test")


# Change

def test_a_certificate_changes_under_load_without_a_failed_request_or_a_lost_connection(gateway, authority):
    server = authority.issue("changing.test")
    running = gateway({**HELLO, "workers": 2}, listener=secured(server))
    context = client_context(authority)
    connecting = lambda address: tls_connect(address, context)  # noqa: E731
    with tls_connect(running.address) as established, Load(running, clients=2, connecting=connecting) as kept, \
            Load(running, clients=2, new_connections=True, connecting=connecting) as fresh:
        for _ in range(5):
            before = der(server)
            server.write(*authority.make("changing.test"))
            running.reload()
            assert shown_certificate(running.address) == der(server) != before
            kept.wait_for(20)
            fresh.wait_for(20)
        assert established.send(request_bytes()).read_response().status == 200
    for load in (kept, fresh):
        assert (load.failures, load.broken, load.reconnects) == ([], [], 0)


def refused_reload(running):
    done = running.reload(expect=1)
    return done.stdout + done.stderr


def test_files_that_cannot_be_used_are_refused_with_their_place_and_the_old_ones_serve(gateway, authority):
    server, other = authority.issue("keeps.test"), authority.issue("other.test")
    running = gateway(HELLO, listener=secured(server))
    good, key = server.certificate.read_bytes(), server.key.read_bytes()
    shown = shown_certificate(running.address)
    for path, text, words in (
            (server.key, other.key.read_bytes(), "is not the key of certificate"),
            (server.key, b"no key", "holds no private key in PEM"),
            (server.certificate, b"nothing", "holds no certificate in PEM"),
            (server.certificate, good + b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "what follows the first one is damaged"),
            (server.certificate, None, "cannot be read: no such file or directory")):
        path.unlink() if text is None else path.write_bytes(text)
        said = refused_reload(running)
        assert words in said and str(path) in said and "sluice.yaml:" in said
        assert shown_certificate(running.address) == shown
        server.certificate.write_bytes(good)
        server.key.write_bytes(key)
    running.reload()


def test_sluice_check_finds_what_a_start_would_refuse(authority, tmp_path):
    server = authority.issue("check.test")
    encrypted = tmp_path / "encrypted.key"
    subprocess.run(["openssl", "pkey", "-in", server.key, "-aes128", "-passout", "pass:x", "-out", encrypted], check=True, capture_output=True)
    short = ticket_key(tmp_path, "short", b"x" * 48)
    file = tmp_path / "sluice.yaml"
    file.write_text(f"""
listeners:
  - address: 127.0.0.1:1
    tls:
      certificates:
        - {{ certificate: {server.certificate}, key: {encrypted} }}
        - {{ certificate: missing.pem, key: {server.key} }}
      ciphers: ECDHE+AESGCM:AES-NONSENSE
      cipherSuites: TLS_NONSENSE
      clientAuth: optional
      clientCa: {server.key}
      clientCrl: {server.certificate}
      ticketKeys: [{short}]
routes:
  - {{ path: /, respond: {{ status: 204 }} }}
""")
    done = run_sluice("check", file)
    assert done.returncode == 1
    lines = [line.replace(f"{file}:", "") for line in done.stderr.splitlines()]
    assert [line.split(": ")[0] for line in lines] == [f"{at}" for at in ("6:" + lines[0].split(":")[1], "7:26", "8:16", "9:21", "11:17", "12:18", "13:20")]
    for line, words in zip(lines, ("has a passphrase", f'certificate "{tmp_path}/missing.pem" cannot be read', 'unknown cipher "AES-NONSENSE"',
                                   'unknown cipher "TLS_NONSENSE"', '"clientCa" holds no certificate in PEM', '"clientCrl" holds no revocation list in PEM',
                                   "must hold 80 bytes, not 48")):
        assert words in line


def test_a_certificate_near_its_end_is_a_warning_and_its_end_a_figure(gateway, authority, server):
    expired, soon = authority.issue("expired.test", days=-1.0), authority.issue("soon.test", days=5.5)
    running = gateway(HELLO, listener=secured(server, expired, soon))
    running.wait_for_stderr('the certificate of "expired.test" has expired')
    running.wait_for_stderr('the certificate of "soon.test" expires in 5 days')
    assert "localhost" not in running.stderr()
    ends = {labels["name"]: value for name, labels, value in running.metrics().samples if name == "sluice_certificate_expiry_timestamp_seconds"}
    assert set(ends) == {"localhost", "expired.test", "soon.test"}
    assert 5 * 86400 < ends["soon.test"] - time.time() < 6 * 86400
    assert shown_certificate(running.address, name="expired.test") == der(expired), "it is the operator's to judge"


def test_a_listener_turns_to_tls_and_back_by_reload(gateway, server):
    running = gateway(HELLO)
    plain = {**running.config}
    assert running.get().status == 200
    running.reload({**HELLO, "listeners": [{"address": f"127.0.0.1:{running.port}", **secured(server)}]})
    assert tls_get(running.address).status == 200
    running.reload(plain)
    assert running.get().status == 200


def test_after_a_crash_with_broken_files_the_other_listeners_still_serve(gateway, authority):
    server = authority.issue("crash.test")
    port = free_port()
    running = gateway(HELLO)
    running.reload({**HELLO, "listeners": [{"address": f"127.0.0.1:{running.port}"}, {"address": f"127.0.0.1:{port}", **secured(server)}]})
    assert tls_get(("127.0.0.1", port)).status == 200
    before = running.gateway_processes()
    server.key.unlink()
    os.kill(before[0], 9)
    running.wait_for_gateway_process(other_than=before)
    running.wait_until_ready()
    assert running.get().status == 200
    running.wait_for_stderr("lets nobody in: its certificates cannot be had")
    with pytest.raises(OSError):
        tls_connect(("127.0.0.1", port))
    running.wait_for_metric("sluice_tls_handshake_failures_total", 1, reason="no-certificate")


# Clients that are slow, hostile or wrong

def test_plain_http_on_a_tls_port_is_told_so_in_clear(running):
    for request in (request_bytes(), request_bytes("DELETE", "/x"), request_bytes("POST", "/", (), b"x" * 3000)):
        with running.send(request) as wire:
            refused = wire.read_response()
            assert (refused.status, refused.problem["detail"]) == (400, "plain HTTP on a port that speaks TLS (ask by https://)")
            assert wire.read_until_close() == b""


def client_hello(address):
    """The first bytes that a client of OpenSSL says."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def test_garbage_truncated_and_huge_hellos_end_in_a_close(gateway, server):
    running = gateway({**HELLO, "limits": {"handshakeTimeoutMs": 500}}, listener=secured(server))
    hello = client_hello(running.address)
    huge = b"\x16\x03\x01\x40\x00\x01\x02\x00\x00" + os.urandom(0x3ffc)
    for sent in (b"\x00" * 100, os.urandom(300), hello[:40], b"\x16\x03\x01\xff\xff" + b"x" * 100, huge, hello[:5] + b"\xff" * (len(hello) - 5), b"G", b""):
        with running.connect() as wire:
            wire.send(sent)
            wire.half_close() if sent == hello[:40] else None
            try:
                wire.read_until_close(5)
            except ConnectionError:
                pass
    assert tls_get(running.address).status == 200
    assert running.metric("sluice_tls_handshake_failures_total") >= 7
    running.wait_for_metric("sluice_tls_handshakes_active", 0)
    assert running.gauges_at_zero()


def test_a_handshake_that_dawdles_is_closed_in_time(gateway, server):
    running = gateway({**HELLO, "limits": {"handshakeTimeoutMs": 300}}, listener=secured(server))
    hello = client_hello(running.address)
    with running.connect() as silent, running.connect() as slow:
        began = time.monotonic()
        try:
            for i in range(len(hello)):
                slow.send(hello[i:i + 1])
                time.sleep(0.02)
        except ConnectionError:
            pass
        assert silent.is_closed(5) and time.monotonic() - began < 5
    running.wait_for_metric("sluice_tls_handshake_failures_total", 2, reason="timeout")


def test_a_flood_of_handshakes_from_one_address_is_bounded(gateway, server):
    running = gateway({**HELLO, "limits": {"handshakesPerAddressPerSecond": 5}}, listener=secured(server))
    done, refused = 0, 0
    while refused == 0 and done < 200:
        try:
            done += tls_get(running.address).status == 200
        except OSError:
            refused += 1
    assert refused == 1
    running.wait_for_metric("sluice_tls_handshake_failures_total", lambda found: found >= 1, reason="rate-limit")


def test_handshakes_do_not_stall_requests_under_way(gateway, authority, backend):
    """Sixty clients shake hands at once, RSA, which is the dearest; a request in clear is answered in between."""
    server = authority.issue("heavy.test", key="rsa")
    port = free_port()
    running = gateway(HELLO)
    running.reload({**HELLO, "listeners": [{"address": f"127.0.0.1:{running.port}"}, {"address": f"127.0.0.1:{port}", **secured(server)}]})
    context = client_context()
    context.options |= ssl.OP_NO_TICKET
    ended = threading.Event()

    def flood():
        while not ended.is_set():
            tls_connect(("127.0.0.1", port), context).close()
    threads = [threading.Thread(target=flood, daemon=True) for _ in range(8)]
    for thread in threads:
        thread.start()
    try:
        with running.connect() as wire:
            for _ in range(50):
                assert wire.send(request_bytes()).read_response().status == 200
    finally:
        ended.set()
        for thread in threads:
            thread.join(20)


def test_a_drain_lets_handshakes_and_requests_under_way_end_well(gateway, backend, server):
    released = threading.Event()
    backend.on("/slow", lambda wire, request: released.wait(10), answer(200, body=b"done"))
    running = gateway(proxy(backend), listener=secured(server))
    idle, busy = tls_connect(running.address), tls_connect(running.address)
    assert idle.send(request_bytes()).read_response().status == 200
    busy.send(request_bytes(target="/slow"))
    deadline = time.monotonic() + 5
    while len(backend.requests) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    plain = socket.create_connection(running.address, 10)
    hello = client_hello(running.address)
    plain.sendall(hello[:50])
    running.wait_for_metric("sluice_tls_handshakes_active", 1)
    running.signal(15)
    assert idle.read_until_close(5) == b"", "closed with close_notify"
    plain.sendall(hello[50:])
    assert plain.recv(5)[:3] == b"\x16\x03\x03", "the handshake goes on: its server's hello"
    plain.close()
    released.set()
    last = busy.read_response()
    assert last.body == b"done" and not last.keeps_alive
    assert busy.read_until_close(5) == b""
    running.process.wait(10)


# Redirect

def test_a_plain_listener_sends_its_clients_to_https(gateway, backend):
    running = gateway(proxy(backend), listener={"redirectToHttps": True})
    for target, host, location in (("/a/b?c=d&e={f}", "shop.test", "https://shop.test/a/b?c=d&e=%7Bf%7D"),
                                   ("/", "Shop.test:8080", "https://shop.test/"), ("/a//b/../c", "[::1]:80", "https://[::1]/a//c"),
                                   ("//evil.test/", "shop.test", "https://shop.test//evil.test/")):
        answered = running.get(target, host=host)
        assert (answered.status, answered.headers["Location"]) == (308, location)
    assert running.request("POST", "/form", body=b"x" * 100).status == 308
    assert running.request("GET", "/", version="1.0", host=None).status == 400
    assert backend.requests == []
    assert running.log_lines(6)[0]["status"] == 308


def test_the_redirect_names_the_port_that_is_given(gateway, backend):
    running = gateway(proxy(backend), listener={"redirectToHttps": 8443})
    assert running.get("/x", host="shop.test").headers["Location"] == "https://shop.test:8443/x"
