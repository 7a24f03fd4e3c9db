"""A real browser, whose user visits a stranger's page, and an admin API that is open on loopback: nothing but its own care protects it."""
import http.server
import json
import threading

import pytest

from admin import admin_gateway, service  # noqa: F401  pylint: disable=unused-import
from chromium import Chromium, PROGRAM, PageError

RULES = "--host-resolver-rules=MAP evil.example 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"


class Blank(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = b"<!doctype html><title>a stranger's page</title><iframe name=target></iframe>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def stranger():
    """The port of a stranger's web server."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Blank)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()
    thread.join(5)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if not PROGRAM:
        pytest.fail("chromium is missing: make deps installs it")
    chromium = Chromium(tmp_path_factory.mktemp("chromium"), options=[RULES])
    yield chromium
    chromium.stop()


@pytest.fixture
def prey(admin_gateway):
    gateway = admin_gateway()
    gateway.api.post("/admin/services", json=service("prey")).raise_for_status()
    return gateway


def form(target, kind, text):
    """Submits a form into the page's frame and waits until the frame has the answer."""
    return f"""new Promise(done => {{
        const form = document.createElement('form'), field = document.createElement('textarea');
        form.method = 'POST'; form.action = '{target}'; form.enctype = '{kind}'; form.target = 'target';
        field.name = {json.dumps(text)}; form.append(field); document.body.append(form);
        document.querySelector('iframe').onload = () => done('answered');
        form.submit();
    }})"""


def test_a_strangers_page_reads_nothing_and_changes_nothing(prey, browser, stranger):
    before = prey.state()
    page = browser.page(f"http://evil.example:{stranger}/")
    body = json.dumps(service("evil"))
    for url in (f"http://127.0.0.1:{prey.admin_port}", f"http://localhost:{prey.admin_port}"):
        for script in (f"fetch('{url}/admin/config').then(answer => answer.text())",
                       f"fetch('{url}/admin/services/prey', {{method: 'DELETE'}}).then(answer => answer.status)",
                       f"fetch('{url}/admin/services', {{method: 'POST', headers: {{'Content-Type': 'application/json'}},"
                       f" body: '{body}'}}).then(answer => answer.status)"):
            with pytest.raises(PageError):
                page.evaluate(script)
        for kind in ("text/plain", "application/x-www-form-urlencoded"):
            told = page.evaluate(f"fetch('{url}/admin/services', {{method: 'POST', mode: 'no-cors', headers: {{'Content-Type': '{kind}'}},"
                                 f" body: '{body}'}}).then(answer => answer.type + answer.status)")
            assert told == "opaque0", "it may not even know what was answered"
            page.evaluate(form(f"{url}/admin/services", kind, body))
        page.evaluate(f"fetch('{url}/admin/revisions/0/rollback', {{method: 'POST', mode: 'no-cors'}}).then(answer => answer.type)")
        page.evaluate(form(f"{url}/admin/revisions/0/rollback", "text/plain", ""))
    assert prey.state() == before
    assert {line["result"] for line in prey.audit() if line["action"] == "login"} == {"cross-origin"}


def test_a_rebound_name_is_no_way_in(prey, browser):
    """The attacker's name has come to mean 127.0.0.1: for the browser the API is now the page's own origin."""
    before = prey.state()
    page = browser.page(f"http://evil.example:{prey.admin_port}/live")
    assert page.evaluate("fetch('/admin/config').then(answer => answer.status)") == 403
    body = json.dumps(service("evil"))
    posted = "fetch('/admin/services', {method: 'POST', headers: {'Content-Type': 'application/json'}, body: '%s'}).then(answer => answer.status)"
    assert page.evaluate(posted % body) == 403
    assert page.evaluate("fetch('/admin/services/prey', {method: 'DELETE'}).then(answer => answer.status)") == 403
    assert prey.state() == before
    ours = browser.page(f"http://127.0.0.1:{prey.admin_port}/live")
    assert ours.evaluate("fetch('/admin/services/prey').then(answer => answer.status)") == 200, "its own pages may"
    assert ours.evaluate(posted % body) == 201
