"""What once went wrong with the real binary, each as the sentence that must hold since."""
import signal
import subprocess
import time

import pytest

from backend import answer, send
from gateway import BINARY, proxy
from wire import chunked, request_bytes


# Fields

def test_a_client_cannot_take_off_a_header_that_a_filter_has_set(gateway, backend):
    filters = [{"type": "set-header", "name": "X-Tenant", "value": "alice"},
               {"type": "add-header", "name": "X-Env", "value": "prod"}]
    sluice = gateway(proxy(backend, route={"filters": filters}))
    sluice.get("/", headers=[("Connection", "X-Tenant, X-Env, X-Mine"), ("X-Tenant", "mallory"), ("X-Mine", "1")])
    seen = backend.wait_for_requests(1)[0].headers
    assert seen["X-Tenant"] == "alice" and seen["X-Env"] == "prod"
    assert "X-Mine" not in seen


def test_an_interim_answer_tells_nothing_internal_either(gateway, backend):
    hints = b"HTTP/1.1 103 Early Hints\r\nServer: secret/1\r\nX-Internal-Host: db1\r\nLink: </a>\r\n\r\n"
    backend.on("/", send(hints), answer(200))
    interim = gateway(proxy(backend)).get("/").interim[0].headers
    assert interim["Link"] == "</a>"
    assert "Server" not in interim and "X-Internal-Host" not in interim


def test_a_trailer_that_looks_like_identity_or_framing_does_not_pass(gateway, backend):
    trailers = [("X_Authenticated_User", "root"), ("Content_Length", "5"), ("X-Sum", "1")]
    with gateway(proxy(backend)).connect() as wire:
        wire.send(request_bytes("POST", "/", [("Transfer-Encoding", "chunked")]) + chunked(b"x", trailers=trailers))
        assert wire.read_response().status == 200
    assert backend.requests[0].trailers.names() == ["x-sum"]


# The end of the process

@pytest.mark.parametrize("pause", [0, 0.002, 0.01, 0.03])
def test_a_stop_in_the_middle_of_a_reload_is_an_orderly_one(gateway, backend, pause):
    """The reload's second half found workers, log and publisher that had been freed. stop() checks exit code and reports."""
    sluice = gateway(proxy(backend))
    routes = [{"name": f"r{i}", "path": f"/{i}/*", "serviceId": "backend"} for i in range(200)]
    sluice.write_config({**proxy(backend), "routes": routes})
    command = subprocess.Popen([BINARY, "reload", "--control", str(sluice.control)],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    sluice.signal(signal.SIGHUP)
    time.sleep(pause)
    sluice.stop()
    command.wait(10)


def test_a_stop_does_not_wait_for_a_prefilter_that_is_being_built(gateway, backend):
    """And the prefilter that came after the workers' end is not handed to them."""
    config = proxy(backend)
    config["routes"] = [{"name": f"r{i}", "path": f"~.*/x{i}[a-z0-9]{{3,40}}(foo|bar|baz){{1,9}}/[^/]+",
                         "serviceId": "backend", "stripPrefix": False} for i in range(2000)]
    sluice = gateway(config)
    asked = time.monotonic()
    sluice.stop()
    assert time.monotonic() - asked < 10
