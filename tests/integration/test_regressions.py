"""What once went wrong with the real binary, each as the sentence that must hold since."""
from backend import answer, send
from gateway import proxy
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
