"""gRPC end to end: real clients and services of grpcio, every kind of method; and what the gateway itself has to say, said in gRPC."""
import queue
import threading
import time

import grpc
import pytest
import yaml

from backend import refusing_in_http_1
from certificates import Authority
from gateway import TEST_BINARY, proxy, run_sluice, service
from grpc_service import GrpcClient, GrpcService
from h2_backend import answer, data, goaway, hang, head, reset, trailers

Code = grpc.StatusCode
GRPC = {"content-type": "application/grpc"}


def over_grpc(*backends, route=None, fields=None, **top):
    return proxy(*backends, route={"timeoutMs": 5000, **(route or {})}, service_fields={"protocol": "grpc", **(fields or {})}, **top)


@pytest.fixture
def echo():
    made = GrpcService()
    yield made
    made.stop()


@pytest.fixture
def running(gateway, echo):
    return gateway(over_grpc(echo))


@pytest.fixture
def client(running):
    with GrpcClient("127.0.0.1:%d" % running.port) as made:
        yield made


def calling(running, **options):
    return GrpcClient("127.0.0.1:%d" % running.port, **options)


def settled(running, client):
    """Nothing is held any more but what the open connection holds."""
    client.channel.close()
    return running.gauges_at_zero()


# Every kind of method

def test_a_unary_call_with_its_metadata(running, client, echo):
    sent = (("x-mine", "yes"), ("x-binary-bin", bytes(range(256))))
    response, call = client.unary(b"hello", metadata=sent)
    assert response == b"hello" and call.code() == Code.OK
    assert dict(call.initial_metadata())["x-served-by"] == "one"
    trailing = dict(call.trailing_metadata())
    assert trailing["x-length"] == "5" and trailing["x-raw-bin"] == bytes(range(256))
    method, metadata, _ = echo.calls[0]
    assert method == "/test.Echo/Unary" and metadata["x-mine"] == "yes" and metadata["x-binary-bin"] == bytes(range(256))
    assert metadata["x-forwarded-for"] == "127.0.0.1"
    settled(running, client)


@pytest.mark.parametrize("length", [0, 1, 16_384, 65_536, 8_000_000])
def test_a_message_of_any_size(client, length):
    response, _ = client.unary(b"m" * length)
    assert response == b"m" * length


def test_messages_stream_from_the_service(running, client):
    assert list(client.download(2000)) == [b"%d" % number for number in range(2000)]
    settled(running, client)


def test_messages_stream_to_the_service(client):
    assert client.upload(b"x" * 1000 for _ in range(2000)) == b"2000000"


def test_both_talk_at_once(running, client):
    """Each message is answered before the next one is sent."""
    asked = queue.Queue()
    answers = client.talk(iter(asked.get, None))
    for number in range(50):
        asked.put(b"%d" % number)
        assert next(answers) == b"heard %d" % number
    asked.put(None)
    assert list(answers) == [] and answers.code() == Code.OK
    settled(running, client)


def test_many_calls_at_once_share_connections(running, client):
    results = []
    threads = [threading.Thread(target=lambda: results.append(client.unary(b"x" * 100)[0])) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(15)
    assert results == [b"x" * 100] * 50
    assert running.metric("sluice_upstream_connects_total") == 1


def test_the_services_own_failures_pass(client):
    assert client.status(method="Fail") == (Code.FAILED_PRECONDITION, "not yet: 100 % ready, für dich")
    assert client.status(method="Unknown")[0] == Code.UNIMPLEMENTED


def test_methods_have_routes_of_their_own(gateway, echo):
    other = GrpcService("other")
    try:
        config = over_grpc(echo)
        config["services"].append(service(other, name="other", protocol="grpc"))
        config["routes"] = [{"name": "unary", "path": "/test.Echo/Unary", "serviceId": "other"},
                            {"name": "rest", "path": "/test.Echo/*", "serviceId": "backend", "stripPrefix": False}]
        running = gateway(config)
        with calling(running) as client:
            assert dict(client.unary()[1].initial_metadata())["x-served-by"] == "other"
            assert list(client.download(3)) == [b"0", b"1", b"2"]
            assert client.status(service="test.Nobody")[0] == Code.UNIMPLEMENTED
    finally:
        other.stop()


def test_services_over_tls(gateway, tmp_path):
    authority = Authority(tmp_path)
    issued = authority.issue("echo.internal")
    secured = GrpcService(credentials=grpc.ssl_server_credentials([(issued.key.read_bytes(), issued.certificate.read_bytes())]))
    try:
        running = gateway(over_grpc(secured, fields={"tls": {"ca": str(authority.path), "serverName": "echo.internal"}}))
        with calling(running) as client:
            assert client.unary(b"secret")[0] == b"secret"
            assert len(list(client.download(500))) == 500
    finally:
        secured.stop()


# Deadlines and cancelling

def test_a_deadline_goes_along(client, echo):
    client.unary(timeout=30.0)
    assert 10.0 < echo.calls[0][2] < 35.0  # grpcio rounds up what it sends
    client.unary(timeout=None)
    assert echo.calls[1][2] > 1e9  # none


def test_the_time_that_has_gone_is_taken_off(gateway, new_h2_backend):
    backend = new_h2_backend()
    backend.on("/a", answer(200, GRPC, b"\0\0\0\0\0", trailers={"grpc-status": "0"}.items()))
    wait = {"type": "test-wait", "delayMs": 200}
    running = gateway(over_grpc(backend, route={"filters": [wait]}), binary=TEST_BINARY)
    response = running.request("POST", "/a", {**GRPC, "grpc-timeout": "4S"}, b"")
    assert response.status == 200
    left = backend.requests[0].headers["grpc-timeout"]
    assert left.endswith("m") and 1 <= int(left[:-1]) <= 3_800


def test_at_its_deadline_a_call_is_over(running, client, echo):
    begun = time.monotonic()
    assert client.status(method="Hang", timeout=0.3)[0] == Code.DEADLINE_EXCEEDED
    assert time.monotonic() - begun < 3
    assert echo.cancelled.wait(5)  # the service is told
    settled(running, client)


def test_the_routes_timeout_is_a_deadline_too(gateway, echo):
    running = gateway(over_grpc(echo, route={"timeoutMs": 200}))
    with calling(running) as client:
        assert client.status(method="Hang") == (Code.DEADLINE_EXCEEDED, "the service did not answer in time")
        assert echo.cancelled.wait(5)
        # Once the service has answered there is no limit to a stream.
        asked = queue.Queue()
        answers = client.talk(iter(asked.get, None))
        for _ in range(3):
            asked.put(b"x")
            assert next(answers) == b"heard x"
            time.sleep(0.15)
        asked.put(None)
        assert list(answers) == []


def test_a_cancelled_call_is_cancelled_at_the_service(running, client, echo):
    pending = client.channel.unary_unary("/test.Echo/Hang").future(b"x", timeout=10)
    deadline = time.monotonic() + 5
    while not echo.calls and time.monotonic() < deadline:
        time.sleep(0.01)
    pending.cancel()
    assert echo.cancelled.wait(5)
    settled(running, client)


# What the gateway says

def test_without_a_route_a_method_is_unimplemented(gateway, echo):
    running = gateway(over_grpc(echo, route={"path": "/elsewhere"}))
    with calling(running) as client:
        assert client.status() == (Code.UNIMPLEMENTED, "no route matches this host and path")


def test_without_an_instance_a_service_is_unavailable(gateway):
    running = gateway(over_grpc("127.0.0.1:1"))
    with calling(running) as client:
        assert client.status() == (Code.UNAVAILABLE, "the service could not be reached")
    assert "connection refused" in running.log_lines(1)[0]["error"]["text"]


def test_a_policy_refuses_in_grpc(gateway, echo):
    running = gateway(over_grpc(echo, route={"filters": [{"type": "ip-list", "deny": ["127.0.0.1"]}]}))
    with calling(running) as client:
        assert client.status()[0] == Code.PERMISSION_DENIED
    assert echo.calls == []


def test_a_message_beyond_the_limit_is_refused(gateway, echo):
    running = gateway(over_grpc(echo, limits={"bodyBytes": 10_000}))
    with calling(running) as client:
        assert client.unary(b"x" * 9_000)[0] == b"x" * 9_000
        assert client.status(b"x" * 100_000)[0] in (Code.UNKNOWN, Code.INTERNAL)


def test_a_backend_that_is_no_grpc_is_unavailable(gateway):
    with refusing_in_http_1() as address:
        running = gateway(over_grpc(address, route={"retryCount": 0}))
        with calling(running) as client:
            assert client.status() == (Code.UNAVAILABLE, "the service gave an answer that is not valid HTTP")


@pytest.fixture
def scripted(gateway, new_h2_backend):
    """A backend that does what the test says, and a client."""
    backend = new_h2_backend()
    running = gateway(over_grpc(backend, route={"retryCount": 0}))
    with calling(running) as client:
        yield backend, client, running


FOREIGN = {401: Code.UNAUTHENTICATED, 403: Code.PERMISSION_DENIED, 404: Code.UNIMPLEMENTED, 400: Code.INTERNAL, 429: Code.UNAVAILABLE,
           502: Code.UNAVAILABLE, 503: Code.UNAVAILABLE, 500: Code.UNKNOWN, 200: Code.UNKNOWN}


@pytest.mark.parametrize("status", FOREIGN)
def test_an_answer_that_is_not_grpc_is_mapped(scripted, status):
    backend, client, running = scripted
    backend.on("/test.Echo/Unary", answer(status, {"content-type": "text/html"}, b"<html>" * 1000))
    assert client.status() == (FOREIGN[status], "the service gave an answer that is not gRPC")
    settled(running, client)


def test_an_outcome_in_the_head_passes(scripted):
    backend, client, _ = scripted
    backend.on("/test.Echo/Unary", head(200, {**GRPC, "grpc-status": "7", "grpc-message": "no%20way"}, end=True))
    assert client.status() == (Code.PERMISSION_DENIED, "no way")


def test_trailers_alone_after_an_empty_body_pass(scripted):
    backend, client, _ = scripted
    backend.on("/test.Echo/Unary", head(200, GRPC), trailers({"grpc-status": "9"}.items()))
    assert client.status()[0] == Code.FAILED_PRECONDITION


def test_a_reset_before_the_answer_is_unavailable_and_inside_it_no_success(scripted):
    backend, client, _ = scripted
    backend.on("/test.Echo/Unary", reset())
    assert client.status()[0] == Code.UNAVAILABLE
    backend.on("/test.Echo/Unary", head(200, GRPC), data(b"\0\0\0\0\x05he"), reset())
    assert client.status()[0] in (Code.INTERNAL, Code.UNAVAILABLE, Code.UNKNOWN)


def test_what_was_not_executed_is_asked_again(scripted):
    """A draining service refuses; nobody notices."""
    backend, client, _ = scripted
    done = answer(200, GRPC, b"\0\0\0\0\x02ok", trailers={"grpc-status": "0"}.items())
    backend.in_turn("/test.Echo/Unary", [goaway(last_stream=0), hang()], [done])
    assert client.unary()[0] == b"ok" and len(backend.requests) == 2


def test_a_bad_timeout_is_refused(running, echo):
    """Also over HTTP/1.1, where no service of gRPC listens; what asks in gRPC is answered in it."""
    response = running.request("POST", "/test.Echo/Unary", {**GRPC, "grpc-timeout": "soon"}, b"")
    assert response.status == 200 and response.headers["grpc-status"] == "13" and response.body == b""
    assert response.headers["Content-Type"] == "application/grpc" and "grpc-timeout" in response.headers["grpc-message"]
    response = running.request("POST", "/test.Echo/Unary", {**GRPC, "grpc-timeout": "0S"}, b"")
    assert response.headers["grpc-status"] == "4"
    assert echo.calls == []


def test_grpc_means_http_2(tmp_path):
    file = tmp_path / "sluice.yaml"
    file.write_text(yaml.dump(over_grpc("127.0.0.1:1", fields={"httpVersion": 1})))
    done = run_sluice("check", file)
    assert done.returncode == 1 and "gRPC is spoken over HTTP/2 only" in done.stderr
