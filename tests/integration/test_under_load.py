"""What may change while everything is under way: the binary, the number of workers, the configuration, certificates. Nobody notices."""
import contextlib
import os
import signal
import ssl
import threading
import time

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from h2.settings import SettingCodes

from backend import answer, wait
from certificates import Authority
from full_load import Backends, FullLoad
from gateway import BINARY, TEST_BINARY, proxy
from grpc_service import GrpcService
from h2_client import NO_ERROR, H2Client
from h2_load import H2EventStream, H2Load
from load import Echoes, numbered_events
from tls import client_context, shown_certificate
from upgrading import install, runs, status, upgrade, wait_until_drained
from websocket import echo_frames, finish_opening, handshake, switch
from wire import request_bytes

pytestmark = pytest.mark.both_builds


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def certificate(authority):
    return authority.issue("localhost")


@pytest.fixture
def start_load(backend, new_h2_backend, certificate):
    """start_load(starter) makes a FullLoad; `more` stands in its gateway's configuration."""
    h2_backend, grpc_service = new_h2_backend(settings={SettingCodes.ENABLE_CONNECT_PROTOCOL: 1}), GrpcService()
    yield lambda starter, **more: FullLoad(starter, Backends(backend, h2_backend, grpc_service), certificate, **more)
    grpc_service.stop()


def assert_sessions_go_on(load):
    """Only the first ones had none to go on with."""
    fresh = load.parts["new TLS connections"]
    assert fresh.full <= fresh.clients and fresh.resumed > 0, (fresh.full, fresh.resumed)


def test_an_upgrade_under_every_kind_of_traffic_loses_nothing(upgradable, program, start_load):
    load = start_load(upgradable, workers=2)
    running = load.running
    with load:
        load.wait_for_each(10, {"new connections": 200})
        before, new = running.serving_process(), install(program)
        upgrade(running)
        assert running.serving_process() != before
        load.add(load.sockets("second "))
        load.wait_for_each(20, {"new connections": 300})
        assert before in running.gateway_processes(), "streams and WebSockets are the old gateway's"
        assert status(running)["gatewaysDraining"] == 1
        h2_stream = load.parts["events on h2 over TLS"]
        assert h2_stream.was_told_to_go
    assert load.faults() == {}, load.figures()
    assert all(load.parts[name].reconnects > 0 for name in load.parts if name.startswith("h")), "whoever can moves to the new one"
    assert_sessions_go_on(load)
    wait_until_drained(running)
    assert runs(running.process.pid) == new and "ended by SIG" not in running.stderr()


def test_reloads_and_new_certificates_under_every_kind_of_traffic_lose_nothing(gateway, authority, certificate, start_load):
    """Whoever is connected stays connected, and sessions go on."""
    load = start_load(gateway, workers=2)
    running, plain_routes = load.running, load.config()["routes"]
    with load:
        load.wait_for_each(10)
        for turn in range(6):
            certificate.write(*authority.make("localhost"))
            load.more["routes"] = [{"name": f"added {turn}", "path": f"/added/{turn}/*", "serviceId": "one"}, *plain_routes]
            running.reload(load.config())
            assert shown_certificate(load.tls_address) == certificate.document.public_bytes(Encoding.DER)
            load.wait_for_each(5, {"new connections": 100})
    assert load.faults() == {}
    assert {name: part.reconnects for name, part in load.parts.items() if getattr(part, "reconnects", 0)} == {}, "a reload sends nobody away"
    assert_sessions_go_on(load)


def test_a_crash_under_every_kind_of_traffic_costs_what_was_in_flight(gateway, start_load):
    """Whoever connects meanwhile waits, and is served by the next gateway."""
    load = start_load(gateway, workers=2)
    running = load.running
    with load:
        load.wait_for_each(10)
        before = running.serving_process()
        os.kill(before, signal.SIGKILL)
        running.wait_for_gateway_process(other_than=[before])
        load.wait_for_each(20, {"new connections": 200})
        running.wait_until_ready()
    for name, part in load.parts.items():
        assert part.failures == [], (name, part.failures)
        assert len(part.broken) <= part.clients, (name, part.broken)
        assert not any("Refused" in what for _, what in part.broken), (name, part.broken)
    assert_sessions_go_on(load)


def test_whoever_is_connected_finishes_when_all_ends(gateway, backend):
    """SIGTERM: what is under way on HTTP/2 is answered, a stream goes on to its end, a WebSocket is told goodbye in its time."""
    streams_end = threading.Event()
    backend.on("/events", numbered_events(streams_end)).on("/slow", wait(0.1), answer(body=b"slow")).on("/echo", switch(echo_frames))
    running = gateway(proxy(backend, tunnelDrainTimeout=0.5))
    with contextlib.ExitStack() as stack:
        asking = stack.enter_context(H2Load(running.address, clients=2, streams=8, target="/slow", connects_anew=False))
        stream = stack.enter_context(H2EventStream(running.address, "/events"))
        echoes = stack.enter_context(Echoes(lambda: finish_opening(running.send(handshake("/echo")))))
        for part in (asking, stream, echoes):
            part.wait_for(10)
        running.signal(signal.SIGTERM)
        running.wait_for_stderr("stopping")
        stream.wait_for(50)
        assert stream.was_told_to_go and running.process.poll() is None
        streams_end.set()
        assert running.process.wait(20) == 0
    assert [part.faults() for part in (asking, stream, echoes)] == [[], [], []]
    assert asking.reconnects == 2 and echoes.goodbye is not None


def half_way(connected, between):
    """The first thing that is sent goes in two halves, with something between them."""
    whole = connected.send

    def send(data):
        connected.send = whole
        whole(data[:len(data) // 2])
        between()
        return whole(data[len(data) // 2:])
    connected.send = send
    return connected


def test_a_preface_that_an_upgrade_meets_half_way_gets_its_answers(upgradable, backend):
    running = upgradable(proxy(backend))
    with H2Client(running.address, half_way(running.connect(), lambda: upgrade(running))) as client:
        streams = [client.ask() for _ in range(3)]
        assert [client.read(stream).status for stream in streams] == [200] * 3
        client.wait_for(lambda: (max(streams), NO_ERROR) in client.goaways)
    wait_until_drained(running)


def test_a_handshake_that_an_upgrade_meets_half_way_goes_on(upgradable, backend, certificate):
    running = upgradable(proxy(backend), listener={"tls": {"certificates": [certificate.config]}})
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = client_context().wrap_bio(incoming, outgoing)

    def step(action):
        """Until it needs nothing more of the gateway."""
        while True:
            try:
                return action()
            except ssl.SSLWantReadError:
                wire.send(outgoing.read())
                incoming.write(wire.socket.recv(65536))
    with half_way(running.connect(), lambda: upgrade(running)) as wire:
        step(session.do_handshake)
        session.write(request_bytes())
        assert step(lambda: session.read(65536)).startswith(b"HTTP/1.1 200 ")
    wait_until_drained(running)


def test_websockets_stay_with_the_old_gateway_for_the_time_they_are_given(upgradable, start_load):
    """Requests and streams have less: they are over, or cut, before the first WebSocket hears of it."""
    load = start_load(upgradable, per_second=100, drainTimeout=1, tunnelDrainTimeout=3)
    running, sockets = load.running, load.sockets(pause=0.01)
    with load:
        load.add(sockets)
        load.wait_for_each(10)
        before = running.serving_process()
        upgrade(running)
        deadline = time.monotonic() + 20
        while load.parts["events"].goes_on():
            assert time.monotonic() < deadline, "a stream is not cut when its time is over"
            time.sleep(0.01)
        assert all(part.goodbye is None for part in sockets.values()) and before in running.gateway_processes()
        for part in sockets.values():
            part.wait_for(10)
        wait_until_drained(running)
    cut = {name: part.began + part.broken[0][0] for name, part in load.parts.items() if part.broken}
    assert set(load.faults()) == set(cut) == load.STREAMS, load.faults()
    for name, part in sockets.items():
        assert part.faults() == [] and part.began + part.goodbye - max(cut.values()) > 1, (name, part.faults(), part.goodbye)


@pytest.mark.slow
def test_twenty_upgrades_back_and_forth_with_other_numbers_of_workers_lose_nothing(upgradable, program, start_load):
    """Each gateway before the last one still has its WebSockets, and the first one its streams, when the last one serves."""
    patient = {"drainTimeout": 300, "tunnelDrainTimeout": 300}
    load = start_load(upgradable, workers=1, **patient)
    running = load.running
    with load:
        load.wait_for_each(10)
        for turn in range(20):
            new = install(program, TEST_BINARY if turn % 2 == 0 else BINARY)
            load.more["workers"] = 1 + (turn + 1) % 3
            running.write_config(load.config())
            upgrade(running)
            serving = running.serving_process()
            assert runs(running.process.pid) == runs(serving) == new and status(running)["workers"] == load.more["workers"]
            load.add(load.sockets(f"{turn + 2}. "))
            load.wait_for_each(5, {"new connections": 1000})
        assert status(running)["gatewaysDraining"] == 20
    print(load.figures())
    assert load.faults() == {}
    assert_sessions_go_on(load)
    wait_until_drained(running, timeout=60)
    assert "ended by SIG" not in running.stderr()
