"""Fixtures: backends that misbehave on order, the gateway in front of them, a name server, PostgreSQL.

    /usr/bin/python3 -m pytest tests/integration                    # all but the slow ones: -m "not slow"
    SLUICE_BINARY=build/asan/sluice /usr/bin/python3 -m pytest ...  # another build
"""
import os
import pathlib
import shutil
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
pytest.register_assert_rewrite("gateway", "dns", "store_tool")

import chromium as chromium_module  # noqa: E402
from backend import Backend  # noqa: E402
from dns import DNSMASQ, NameServer  # noqa: E402
from gateway import BINARY, Gateway  # noqa: E402
from h2_backend import H2Backend  # noqa: E402
from openapi import answers_as_documented  # noqa: E402,F401
from pages import Pages  # noqa: E402
from store_tool import StoreTool  # noqa: E402
from upgrading import install  # noqa: E402


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: takes more than a few seconds; run by make test-all only")
    config.addinivalue_line("markers", "plain_build: measures what a sanitizer changes (memory, pace), or tests no code of ours")
    config.addinivalue_line("markers", "both_builds: leads through much of the program: make test runs it on the optimised build too")


def pytest_collection_modifyitems(config, items):
    """Without a binary nothing here can pass, and a silent skip would look like success."""
    if not os.access(BINARY, os.X_OK) and any("gateway" in item.fixturenames for item in items):
        raise pytest.UsageError(f"no gateway to test at {BINARY}: build it, or set SLUICE_BINARY")


def _backends_of(kind):
    """Makes backends and stops them; at the end each must have been sent nothing that a strict reader refuses."""
    made = []

    def make(name="one", **options):
        made.append(kind(name, **options))
        return made[-1]
    yield make
    for one in made:
        one.stop()
    violations = [f"backend {one.name}: {violation}" for one in made for violation in one.violations]
    assert not violations, f"the gateway sent what a strict reader refuses: {violations}"


@pytest.fixture
def new_backend():
    yield from _backends_of(Backend)


@pytest.fixture
def backend(new_backend):
    return new_backend()


@pytest.fixture
def new_h2_backend():
    yield from _backends_of(H2Backend)


@pytest.fixture
def h2_backend(new_h2_backend):
    return new_h2_backend()


@pytest.fixture(scope="module")
def module_h2_backend():
    made = H2Backend("one")
    yield made
    made.stop()
    assert not made.violations, f"the gateway sent what a strict reader refuses: {made.violations}"


@pytest.fixture
def backends(new_backend):
    """Three instances: one, two, three."""
    return [new_backend(name) for name in ("one", "two", "three")]


@pytest.fixture(scope="module")
def module_backend():
    """One backend for a whole file, for tables of many small cases. Say forget() before counting its requests."""
    made = Backend("one")
    yield made
    made.stop()
    assert not made.violations, f"the gateway sent what a strict reader refuses: {made.violations}"


def _starter(directory_of):
    """Starts gateways and stops them all, also when one of them fails its checks."""
    started = []

    def start(config, **options):
        started.append(Gateway(directory_of(len(started)), config, **options))
        return started[-1]

    def stop():
        failures = []
        for one in started:
            try:
                one.stop()
            except AssertionError as failure:
                failures.append(str(failure))
        assert not failures, "\n".join(failures)
    return start, stop


@pytest.fixture
def gateway(tmp_path):
    """gateway(config) starts one with that configuration; see gateway.py for what it offers."""
    start, stop = _starter(lambda number: tmp_path / f"gateway-{number}")
    yield start
    stop()


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "bin" / "sluice"
    path.parent.mkdir()
    install(path)
    return path


@pytest.fixture
def upgradable(gateway, program):
    """Starts gateways from a binary of their own, which can be replaced."""
    return lambda config, **options: gateway(config, binary=str(program), **options)


@pytest.fixture(scope="module")
def module_gateway(tmp_path_factory):
    """As `gateway`, but it lives for the whole file."""
    start, stop = _starter(lambda number: tmp_path_factory.mktemp("gateway"))
    yield start
    stop()


@pytest.fixture(scope="session")
def chromium(tmp_path_factory):
    if not chromium_module.PROGRAM:
        pytest.fail("chromium is missing: make deps installs it")
    browser = chromium_module.Chromium(tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.stop()


@pytest.fixture(scope="session")
def pages():
    """tests/web and its packages on an origin of their own."""
    served = Pages()
    yield served
    served.stop()


@pytest.fixture
def name_server(tmp_path):
    if not shutil.which(DNSMASQ):
        pytest.fail("dnsmasq is missing: make deps installs it")
    server = NameServer(tmp_path)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def postgres_server():
    """One PostgreSQL for all tests that leave it alone."""
    import postgres as postgres_module
    server = postgres_module.PostgresServer()
    yield server
    server.close()


@pytest.fixture
def postgres(postgres_server):
    """An empty database: .url, .sql(text)."""
    database = postgres_server.new_database()
    yield database
    database.drop()


@pytest.fixture
def new_postgres_server():
    """Starts servers of a test's own, to be stopped, frozen and killed: new_postgres_server(durable=True)."""
    import postgres as postgres_module
    started = []

    def start(**settings):
        started.append(postgres_module.PostgresServer(**settings))
        return started[-1]
    yield start
    for server in started:
        server.close()


@pytest.fixture(scope="session", autouse=True)
def _no_postgres_left():
    yield
    if "postgres" in sys.modules:
        sys.modules["postgres"].forget_template()


@pytest.fixture
def store_tool():
    """store_tool(LOCATION) opens a store in a process of its own; see store_tool.py."""
    started = []

    def start(*arguments, **options):
        started.append(StoreTool(*arguments, **options))
        return started[-1]
    yield start
    for tool in started:
        tool.stop()
