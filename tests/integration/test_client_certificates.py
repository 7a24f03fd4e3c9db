"""Client certificates: who is let in under which policy, what backends hear of it, revocation, resumption."""
import ssl

import pytest
from cryptography import x509

from certificates import Authority
from gateway import proxy
from tls import client_context, tls_connect, tls_get
from wire import request_bytes

TLS12, TLS13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def people(authority, tmp_path_factory):
    stranger = Authority(tmp_path_factory.mktemp("strangers"), "stranger")
    return {"alice": authority.issue("alice", client=True, alternatives=[x509.UniformResourceIdentifier("spiffe://x.test/alice"), x509.DNSName("alice.test")]),
            "bob": authority.issue("bob, the \u00fcbel \r\nX-Evil: yes", client=True),
            "expired": authority.issue("expired", client=True, days=-1.0),
            "server": authority.issue("localhost"),
            "stranger": stranger.issue("stranger", client=True),
            "nobody": None}


def asking(authority, people, auth, **more):
    return {"tls": {"certificates": [people["server"].config], "clientAuth": auth, "clientCa": str(authority.path), **more}}


def visit(running, identity, version=None):
    """The status, or None where the handshake or the first read failed."""
    try:
        return tls_get(running.address, context=client_context(version=version, identity=identity)).status
    except OSError:
        return None


@pytest.mark.parametrize("version", [TLS12, TLS13])
@pytest.mark.parametrize("auth, in_", [("optional", {"alice", "bob", "nobody"}), ("required", {"alice", "bob"})])
def test_who_is_let_in(gateway, backend, authority, people, auth, in_, version):
    running = gateway(proxy(backend), listener=asking(authority, people, auth))
    for name in ("alice", "bob", "expired", "stranger", "nobody", "server"):
        assert visit(running, people[name], version) == (200 if name in in_ else None), name
    missing = running.metric("sluice_tls_handshake_failures_total", reason="certificate-missing")
    assert missing == (auth == "required")
    assert running.metric("sluice_tls_handshake_failures_total", reason="certificate-refused") == 3


@pytest.mark.parametrize("version, words", [(TLS12, "handshake.failure"), (TLS13, "certificate.required")])
def test_a_client_that_is_refused_reads_the_alert_and_no_reset(gateway, backend, authority, people, version, words):
    running = gateway(proxy(backend), listener=asking(authority, people, "required"))
    for _ in range(10):
        with pytest.raises(ssl.SSLError, match=f"(?i){words}"):
            tls_get(running.address, headers={"X-Long": "x" * 20000}, context=client_context(version=version))


def heard(backend):
    return {name.lower(): value for name, value in backend.requests[-1].headers if name.lower().replace("_", "-").startswith("x-client-certificate")}


def test_backends_hear_the_verified_names_and_never_a_clients_own_word(gateway, backend, authority, people):
    forged = {"X-Client-Certificate-Subject": "CN=root", "X_Client_Certificate_San": "DNS:evil.test", "x-client-certificate-fingerprint": "00",
              "X-Client-Certificate-Anything": "y"}
    running = gateway(proxy(backend, trustedProxies=["127.0.0.1"]), listener=asking(authority, people, "optional"))
    assert tls_get(running.address, headers=forged, context=client_context(identity=people["alice"])).status == 200
    assert heard(backend) == {"x-client-certificate-subject": "CN=alice,O=Sluice tests", "x-client-certificate-fingerprint": people["alice"].fingerprint,
                              "x-client-certificate-san": "URI:spiffe://x.test/alice, DNS:alice.test"}
    assert tls_get(running.address, headers=forged).status == 200
    assert heard(backend) == {}


def test_policies_and_answers_can_name_who_came(gateway, backend, authority, people):
    who = "${source.certificate.subject}|${source.certificate.san}|${source.certificate.fingerprint}"
    answer = {"path": "/who", "respond": {"body": who}}
    config = proxy(backend, route={"filters": [{"type": "set-header", "name": "X-Who", "value": who}]})
    running = gateway({**config, "routes": [*config["routes"], answer]}, listener=asking(authority, people, "optional"))
    alice = client_context(identity=people["alice"])
    expected = "CN=alice,O=Sluice tests|URI:spiffe://x.test/alice, DNS:alice.test|" + people["alice"].fingerprint
    assert tls_get(running.address, "/who", context=alice).body.decode() == expected
    assert tls_get(running.address, "/", context=alice).status == 200 and backend.requests[-1].headers["X-Who"] == expected
    assert tls_get(running.address, "/who").body == b"||"


def test_names_in_a_certificate_cannot_break_out_of_their_field(gateway, backend, authority, people):
    running = gateway(proxy(backend), listener=asking(authority, people, "required"))
    assert visit(running, people["bob"]) == 200
    assert heard(backend)["x-client-certificate-subject"] == "CN=bob\\, the \\C3\\BCbel \\0D\\0AX-Evil: yes,O=Sluice tests"
    assert "x-evil" not in backend.requests[-1].headers.names()


def test_the_same_connection_says_the_same_names_again(gateway, backend, authority, people):
    running = gateway(proxy(backend), listener=asking(authority, people, "required"))
    with tls_connect(running.address, client_context(identity=people["alice"])) as wire:
        for _ in range(3):
            assert wire.send(request_bytes()).read_response().status == 200
            assert heard(backend)["x-client-certificate-subject"].startswith("CN=alice")


def test_an_intermediate_authority_is_followed_to_its_root(gateway, backend, authority, people, tmp_path):
    intermediate = Authority(tmp_path, "intermediate", issuer=authority)
    carol = intermediate.issue("carol", client=True, chain=[intermediate.document])
    running = gateway(proxy(backend), listener=asking(authority, people, "required"))
    assert visit(running, carol) == 200
    running.reload({**running.config, "listeners": [{"address": f"127.0.0.1:{running.port}", **asking(intermediate, people, "required")}]})
    assert visit(running, carol) == 200, "the authority that is named is trusted as it stands"
    assert visit(running, people["alice"]) is None


@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_a_revoked_certificate_is_refused_also_with_a_session_from_before(gateway, backend, authority, people, version):
    eve = authority.issue("eve", client=True)
    revocations = authority.write_revocations("crl.pem")
    running = gateway(proxy(backend), listener=asking(authority, people, "required", clientCrl=str(revocations)))
    context = client_context(version=version, identity=eve)
    with tls_connect(running.address, context) as wire:
        assert wire.send(request_bytes()).read_response().status == 200
        session = wire.socket.session
    with tls_connect(running.address, context, session=session) as wire:
        assert wire.send(request_bytes()).read_response().status == 200
        assert wire.socket.session_reused
        assert heard(backend)["x-client-certificate-subject"].startswith("CN=eve"), "a resumed session says it as well"
    authority.write_revocations("crl.pem", eve)
    running.reload()
    with pytest.raises(ssl.SSLError, match="(?i)certificate.revoked"):
        tls_get(running.address, context=context, session=session)
    assert visit(running, people["alice"], version) == 200


def test_a_session_without_a_certificate_is_not_resumed_where_one_is_required(gateway, backend, authority, people):
    running = gateway(proxy(backend), listener={"tls": {"certificates": [people["server"].config]}})
    context = client_context()
    with tls_connect(running.address, context) as wire:
        wire.send(request_bytes()).read_response()
        session = wire.socket.session
    running.reload({**running.config, "listeners": [{"address": f"127.0.0.1:{running.port}", **asking(authority, people, "required")}]})
    with pytest.raises(ssl.SSLError, match="(?i)certificate.required"):
        tls_get(running.address, context=context, session=session)


def test_an_outdated_revocation_list_is_a_warning_and_lets_nobody_in(gateway, backend, authority, people):
    stale = authority.write_revocations("stale.pem", days=-1.0)
    running = gateway(proxy(backend), listener=asking(authority, people, "required", clientCrl=str(stale)))
    running.wait_for_stderr("the revocation list of .*root.* is out of date: every client certificate of it is refused")
    assert visit(running, people["alice"]) is None
