"""TLS connections to a gateway, opened as a test wants them."""
import socket
import ssl
import subprocess

from wire import TIMEOUT_SECONDS, Wire, request_bytes


def client_context(authority=None, version=None, alpn=(), identity=None, ciphers=None):
    """`identity` is the client's certificate (certificates.Issued)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    if authority:
        context.load_verify_locations(authority.path)
    else:
        context.verify_mode = ssl.CERT_NONE
    if version:
        context.minimum_version = context.maximum_version = version
    if alpn:
        context.set_alpn_protocols(list(alpn))
    if identity:
        context.load_cert_chain(identity.certificate, identity.key)
    if ciphers:
        context.set_ciphers(ciphers)
    return context


def server_context(issued, alpn=("http/1.1",), clients_of=None, version=None):
    """For backends. `clients_of`: the authority whose certificates clients must show."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(issued.certificate, issued.key)
    context.set_alpn_protocols(list(alpn))
    if clients_of:
        context.load_verify_locations(clients_of.path)
        context.verify_mode = ssl.CERT_REQUIRED
    if version:
        context.minimum_version = context.maximum_version = version

    def note_name(connected, name, _context):
        connected.name_asked_for = name
    context.sni_callback = note_name
    return context


class Handshake:
    """What a backend saw of one."""

    def __init__(self, connected):
        self.name = getattr(connected, "name_asked_for", None)
        self.resumed, self.version = connected.session_reused, connected.version()
        self.protocol = connected.selected_alpn_protocol()
        self.certificate = connected.getpeercert()


def accept_tls(connected, backend):
    """The connection over TLS, as backend.tls wants it; None where the handshake failed."""
    try:
        secured = backend.tls.wrap_socket(connected, server_side=True)
    except (OSError, ssl.SSLError) as error:
        backend.handshake_errors.append(str(error))
        connected.close()
        return None
    backend.handshakes.append(Handshake(secured))
    return secured


def tls_connect(address, context=None, name=None, session=None, before=b"", timeout=TIMEOUT_SECONDS):
    """A Wire over TLS. An end without close_notify is an error. `before` is sent in clear first."""
    plain = socket.create_connection(address, timeout)
    try:
        plain.sendall(before)
        context = context or client_context()
        return Wire(context.wrap_socket(plain, server_hostname=name, session=session, suppress_ragged_eofs=False), timeout)
    except BaseException:
        plain.close()
        raise


def tls_get(address, target="/", headers=(), **options):
    with tls_connect(address, **options) as wire:
        return wire.send(request_bytes("GET", target, headers)).read_response()


def shown_certificate(address, **options):
    """The certificate that the server shows, as DER."""
    with tls_connect(address, **options) as wire:
        return wire.socket.getpeercert(binary_form=True)


def s_client(address, *arguments, send="", timeout=20):
    """openssl s_client, to the end of the handshake: what it prints."""
    host, port = address
    done = subprocess.run(["openssl", "s_client", "-connect", f"{host}:{port}", *map(str, arguments)], input=send,
                          capture_output=True, text=True, timeout=timeout, check=False)
    return done.stdout + done.stderr
