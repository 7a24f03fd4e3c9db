"""A real OpenID provider and an independent signer of tokens (tests/openid, on Node), and issuers that are not well."""
import http.server
import json
import pathlib
import shutil
import ssl
import subprocess
import threading
import time

import httpx

from backend import free_port
from gateway import BINARY
from pages import install_packages
from plain_http import PLAIN_HTTP

SOURCE = pathlib.Path(__file__).resolve().parents[1] / "openid"
INSTALLED = pathlib.Path(BINARY).resolve().parent / "openid"
START_SECONDS = 60


def install():
    """The scripts beside their packages, which Node looks for from there."""
    install_packages(SOURCE, INSTALLED)
    for script in SOURCE.glob("*.js"):
        shutil.copy(script, INSTALLED / script.name)


def signed_by_jose(claims, secret):
    """{"ALG": {"token", "jwk", "pem"}}; HS without keys."""
    install()
    done = subprocess.run(["node", "signer.js", json.dumps(claims), secret], cwd=INSTALLED, capture_output=True, text=True, timeout=60,
                          check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


class Provider:
    """oidc-provider on loopback: token() asks it for an access token as any client would."""

    def __init__(self):
        install()
        self.port = free_port()
        self.issuer = f"http://127.0.0.1:{self.port}"
        self.process = None
        self.start()

    def start(self):
        self.process = subprocess.Popen(["node", "provider.js", str(self.port)], cwd=INSTALLED, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self._wait_for("READY")

    def _wait_for(self, word):
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            line = self.process.stdout.readline()
            assert line, f"the provider ended with {self.process.poll()}"
            if line.strip() == word:
                return
        raise AssertionError(f"the provider does not say {word}")

    def order(self, word):
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()
        self._wait_for("DONE")

    def token(self, scope="read"):
        answer = httpx.post(f"{self.issuer}/token", auth=("robot", "robots-secret-of-many-bytes"), **PLAIN_HTTP, timeout=20,
                            data={"grant_type": "client_credentials", "scope": scope})
        assert answer.status_code == 200, answer.text
        return answer.json()["access_token"]

    def stop(self):
        if self.process:
            self.process.kill()
            self.process.wait()
        self.process = None


class KeyServer:
    """Publishes a key set, or whatever `behave` does with a request; counts who asked. `tls`: a certificate and key in PEM, for https."""

    def __init__(self, document=None, tls=None):
        self.document, self.headers, self.status, self.behave = document, {}, 200, None
        self.asked = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                outer.asked.append(dict(self.headers))
                if outer.behave:
                    outer.behave(self)
                    return
                etag = outer.headers.get("ETag")
                unchanged = etag and self.headers.get("If-None-Match") == etag
                body = b"" if unchanged else json.dumps(outer.document).encode()
                self.send_response(304 if unchanged else outer.status)
                for name, value in outer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self.server.server_address[1]}/jwks"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(5)
