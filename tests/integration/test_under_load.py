"""What may change while everything is under way: the binary, the number of workers, the configuration, certificates. Nobody notices."""
import pytest

from certificates import Authority
from full_load import FullLoad
from upgrading import install, runs, status, upgrade, wait_until_drained


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def certificate(authority):
    return authority.issue("localhost")


def test_an_upgrade_under_every_kind_of_traffic_loses_nothing(upgradable, program, backend, h2_backend, certificate):
    load = FullLoad(upgradable, backend, h2_backend, certificate, workers=2)
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
    wait_until_drained(running)
    assert runs(running.process.pid) == new and "ended by SIG" not in running.stderr()
