"""Authorities and certificates for tests, made while they run: an elliptic key costs microseconds.

    authority = Authority(directory)
    server = authority.issue("a.example.com", "*.example.com")     # server.certificate, server.key: paths of PEM files
    alice = authority.issue("alice", client=True, alternatives=[x509.UniformResourceIdentifier("spiffe://x/alice")])
    authority.write_revocations("crl.pem", alice)
    authority.write_ocsp("a.ocsp", server)
"""
import datetime
import functools
import pathlib

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = datetime.timedelta(days=1)


@functools.lru_cache(maxsize=1)
def rsa_key():
    """One for all: making it takes a tenth of a second and more."""
    return rsa.generate_private_key(65537, 2048)


def new_key(kind):
    return rsa_key() if kind == "rsa" else ec.generate_private_key(ec.SECP256R1())


def now():
    return datetime.datetime.utcnow().replace(microsecond=0)


def name_of(text):
    return x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Sluice tests"), x509.NameAttribute(NameOID.COMMON_NAME, text)])


class Issued:
    """A certificate with its key, as objects and as files."""

    def __init__(self, directory, stem, certificate, key, chain=()):
        self.document, self.private = certificate, key
        self.certificate, self.key = directory / f"{stem}.pem", directory / f"{stem}.key"
        self.write(certificate, key, chain)

    def write(self, certificate, key, chain=()):
        """Also over the files of another one, as a renewal does."""
        self.document, self.private = certificate, key
        texts = [one.public_bytes(serialization.Encoding.PEM) for one in (certificate, *chain)]
        self.certificate.write_bytes(b"".join(texts))
        self.key.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))

    @property
    def config(self):
        """As a listener's configuration names it."""
        return {"certificate": str(self.certificate), "key": str(self.key)}

    @property
    def serial(self):
        return self.document.serial_number

    @property
    def fingerprint(self):
        return self.document.fingerprint(hashes.SHA256()).hex()


class Authority:
    def __init__(self, directory, name="root", issuer=None):
        self.directory = pathlib.Path(directory)
        self.name, self.issuer = name, issuer
        self.private = new_key("ec")
        subject = name_of(name)
        builder = self._builder(subject, self.private, (issuer or self).name, now() - DAY, now() + 365 * DAY)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        builder = builder.add_extension(x509.KeyUsage(False, False, False, False, False, True, True, False, False), critical=True)
        self.document = builder.sign((issuer or self).private, hashes.SHA256())
        self.path = self.directory / f"{name}-ca.pem"
        self.path.write_bytes(self.document.public_bytes(serialization.Encoding.PEM))
        self.count = 0

    def _builder(self, subject, key, issuer, begin, end):
        return (x509.CertificateBuilder().subject_name(subject).issuer_name(name_of(issuer)).public_key(key.public_key())
                .serial_number(x509.random_serial_number()).not_valid_before(begin).not_valid_after(end))

    def make(self, *names, key="ec", days=90.0, client=False, alternatives=None, private=None):
        """The certificate and its key, without files. Its first name is its common name."""
        private = private or new_key(key)
        end = now() + days * DAY
        builder = self._builder(name_of(names[0]), private, self.name, min(now(), end) - 2 * DAY, end)
        if alternatives is None and not client:
            alternatives = [x509.DNSName(name) for name in names]
        if alternatives:
            builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        purpose = ExtendedKeyUsageOID.CLIENT_AUTH if client else ExtendedKeyUsageOID.SERVER_AUTH
        builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        return builder.sign(self.private, hashes.SHA256()), private

    def issue(self, *names, chain=(), **options):
        self.count += 1
        certificate, private = self.make(*names, **options)
        stem = f"{self.name}-{self.count}-{names[0].replace('*', '_')}"
        return Issued(self.directory, stem, certificate, private, chain)

    def write_revocations(self, name, *revoked, days=7.0):
        builder = x509.CertificateRevocationListBuilder().issuer_name(name_of(self.name))
        builder = builder.last_update(now() - 8 * DAY).next_update(now() + days * DAY)
        for one in revoked:
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder().serial_number(one.serial).revocation_date(now() - DAY).build())
        path = self.directory / name
        path.write_bytes(builder.sign(self.private, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        return path

    def write_ocsp(self, name, issued, days=1.0):
        builder = ocsp.OCSPResponseBuilder().add_response(
            cert=issued.document, issuer=self.document, algorithm=hashes.SHA1(), cert_status=ocsp.OCSPCertStatus.GOOD,
            this_update=now() - 3 * DAY, next_update=now() + days * DAY, revocation_time=None, revocation_reason=None)
        response = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, self.document).sign(self.private, hashes.SHA256())
        path = self.directory / name
        path.write_bytes(response.public_bytes(serialization.Encoding.DER))
        return path
