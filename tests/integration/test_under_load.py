"""What may change while everything is under way: the binary, the number of workers, the configuration, certificates. Nobody notices."""
import pytest

from certificates import Authority
from full_load import FullLoad
from gateway import BINARY, TEST_BINARY
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


@pytest.mark.slow
def test_twenty_upgrades_back_and_forth_with_other_numbers_of_workers_lose_nothing(upgradable, program, backend, h2_backend, certificate):
    """Each gateway before the last one still has its WebSockets, and the first one its streams, when the last one serves."""
    patient = {"drainTimeout": 300, "tunnelDrainTimeout": 300}
    load = FullLoad(upgradable, backend, h2_backend, certificate, workers=1, **patient)
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
    wait_until_drained(running, timeout=60)
    assert "ended by SIG" not in running.stderr()
