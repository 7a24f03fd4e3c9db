"""WebSockets as a browser opens them: Chromium, over TLS, by HTTP/2 where the gateway offers that and by HTTP/1.1 where it doesn't."""
import pytest

from certificates import Authority
from chromium import Chromium
from gateway import service
from websocket import echo_frames, switch

TALK = """
(messages, url) => new Promise((resolve, reject) => {
    const socket = new WebSocket(url, ["v2.chat", "v1.chat"]), got = [];
    socket.onopen = () => messages.forEach(message => socket.send(message));
    socket.onmessage = event => { got.push(event.data); if (got.length == messages.length) socket.close(4003, "enough"); };
    socket.onclose = event => resolve({ got, protocol: socket.protocol, code: event.code, reason: event.reason, clean: event.wasClean });
    socket.onerror = () => reject(new Error("the WebSocket failed"));
})
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    made = Chromium(tmp_path_factory.mktemp("chromium"), ["--ignore-certificate-errors"])
    yield made
    made.stop()


def with_page(backend, **more):
    """The page comes from the gateway too, so that the browser has a connection before it opens a WebSocket."""
    page = {"name": "page", "path": "/page", "respond": {"headers": {"Content-Type": "text/html"}, "body": "<!doctype html><title>page</title>"}}
    chat = {"name": "chat", "path": "/chat", "serviceId": "backend", **more}
    return {"services": [service(backend)], "routes": [page, chat]}


def talk(browser, running, messages, path="/chat"):
    page = browser.page(f"https://127.0.0.1:{running.port}/page")
    try:
        return page.call(f"({TALK})", messages, f"wss://127.0.0.1:{running.port}{path}")
    finally:
        page.close()


@pytest.mark.parametrize("http2,version", [(True, "2"), (False, "1.1")], ids=["HTTP/2", "HTTP/1.1"])
def test_a_browsers_websocket_passes(browser, gateway, new_backend, tmp_path, http2, version):
    backend = new_backend()
    backend.on("/chat", switch(echo_frames, headers={"Sec-WebSocket-Protocol": "v2.chat"}))
    certificate = Authority(tmp_path).issue("localhost")
    running = gateway(with_page(backend), listener={"tls": {"certificates": [certificate.config]}, "http2": http2})
    messages = ["", "grüß dich", "x" * 126, "y" * 70_000, "last"]
    told = talk(browser, running, messages)
    assert told == {"got": messages, "protocol": "v2.chat", "code": 4003, "reason": "enough", "clean": True}
    asked = backend.requests[0].headers
    assert asked["Via"] == f"{version} sluice" and asked["Origin"] == f"https://127.0.0.1:{running.port}"
    running.wait_for_metric("sluice_websocket_closes_total", 1, side="client", code="other")
