"""What once went wrong on the wire, each as the sentence that must hold since."""
import time

from backend import send
from gateway import proxy
from wire import chunked, request_bytes


def in_chunks(body, *trailers):
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(body, trailers=trailers)


def until_the_client_is_full(sluice, piece):
    """Chunks until the gateway has to keep some: the client's and its own kernel buffers take no more."""
    def step(wire, request):
        wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        kept_at_rest = None
        while True:
            wire.send(b"%x\r\n%s\r\n" % (len(piece), piece))
            time.sleep(0.002)
            kept = sluice.metric("sluice_buffer_bytes")
            kept_at_rest = kept_at_rest or kept
            if kept > kept_at_rest + len(piece) / 2:
                return
    return step


def test_a_slow_reader_gets_the_trailers_of_its_own_answer(gateway, backend):
    """The connection that had brought them carried somebody else's answer before the slow one came to its end."""
    sluice = gateway(proxy(backend))
    backend.on("/slow", until_the_client_is_full(sluice, b"a" * 16384), send(chunked(b"end", trailers=[("X-Whose", "hers")])))
    backend.on("/fast", send(in_chunks(b"b", ("X-Whose", "his"))))
    with sluice.connect(receive_buffer=4096) as slow:
        slow.send(request_bytes("GET", "/slow"))
        backend.wait_for_requests(1)
        sluice.wait_for_metric("sluice_upstream_connections_idle", 1)
        assert sluice.get("/fast").trailers["X-Whose"] == "his"
        assert slow.read_response().trailers["X-Whose"] == "hers"
    assert backend.connections == 1
