"""Configuration that lives in a store: changed over the admin API while traffic runs, kept over restarts, crashes and upgrades."""
import contextlib
import os
import pathlib
import re
import signal
import sqlite3
import ssl
import statistics
import subprocess
import time
import types

import httpx
import pytest
import yaml
from cryptography.hazmat.primitives.serialization import Encoding
from h2.settings import SettingCodes

from backend import answer, free_port
from certificates import Authority
from full_load import Backends, FullLoad
from gateway import BINARY, run_sluice, service
from grpc_service import GrpcService
from live import Admin, start_live, wait_until
from load import Load
from plain_http import PLAIN_HTTP
from tls import client_context, shown_certificate, tls_connect, tls_get
from upgrading import install, upgrade
from wire import request_bytes


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("certificates"))


def said(path, body, **more):
    return {"name": path[1:], "path": path, "respond": {"status": 200, "body": body}, **more}


# Changes in force

def test_a_change_is_in_force_on_every_worker_when_it_is_answered(gateway):
    """Connections are dealt to the workers by the kernel: twenty of them reach all four."""
    running = start_live(gateway, {"workers": 4})
    for turn in range(20):
        if turn == 0:
            running.admin.create("routes", said("/a", "0"))
        else:
            running.admin.patch("routes", "a", {"respond": {"status": 200, "body": str(turn)}})
        assert {running.get("/a").body for _ in range(20)} == {str(turn).encode()}
    running.admin.delete("routes", "a")
    assert {running.get("/a").status for _ in range(20)} == {404}
    assert running.gauges_at_zero()


def test_services_and_plugins_change_what_requests_meet(gateway, backends):
    one, two, _ = backends
    one.by_default(answer(body=b"1"))
    two.by_default(answer(body=b"2"))
    running = start_live(gateway)
    running.admin.create("services", service(one))
    running.admin.create("routes", {"name": "all", "path": "/*", "serviceId": "backend"})
    assert running.get("/x").body == b"1"
    running.admin.put("services", "backend", service(two))
    assert running.get("/x").body == b"2"
    plugin = running.admin.create("plugins", {"name": "add-header", "config": {"headers": {"X-Seen": "yes"}, "on": "response"}},
                                  expect=(201, 422))
    if "id" not in plugin:
        plugin = running.admin.create("plugins", {"name": "security-headers", "config": {}})
    before = dict(running.get("/x").headers)
    running.admin.delete("plugins", plugin["id"])
    assert len(dict(running.get("/x").headers)) < len(before)


def test_what_cannot_run_is_refused_and_changes_nothing(gateway):
    running = start_live(gateway, {"routes": [said("/a", "a")]})
    revision = running.admin.revision()
    refused = running.admin.create("routes", {"path": "~^/(", "respond": {"status": 200}}, expect=422)
    assert refused["errors"][0]["pointer"].startswith("/path"), refused
    assert running.admin.revision() == revision
    assert running.get("/a").body == b"a"
    assert len(running.admin.get("/routes")["items"]) == 1


def test_a_service_that_is_renamed_takes_its_routes_along(gateway, backend):
    running = start_live(gateway, {"services": [service(backend)], "routes": [{"name": "all", "path": "/*", "serviceId": "backend"}]})
    assert running.get("/").status == 200
    running.admin.patch("services", "backend", {"name": "renamed"})
    assert running.get("/").status == 200
    assert running.metric("sluice_requests_total", route="all", service="renamed") == 1
    assert running.log_lines(2)[1]["service"] == "renamed"


# What stays

def test_what_was_stored_is_there_after_a_stop_a_crash_and_an_upgrade(upgradable, program):
    running = start_live(upgradable, {"routes": [said("/a", "a")]})
    before = running.serving_process()
    os.kill(before, signal.SIGKILL)
    running.wait_for_gateway_process(other_than=[before])
    running.wait_until_ready()
    assert running.get("/a").body == b"a"
    running.admin = Admin(running)
    running.admin.create("routes", said("/b", "b"))
    install(program)
    upgrade(running)
    assert running.get("/b").body == b"b"
    running.admin = Admin(running)
    running.admin.create("routes", said("/c", "c"))
    assert running.get("/c").body == b"c"
    running.stop()
    again = start_live(upgradable, store=f"sqlite:{running.directory}/sluice.db")
    assert [again.get(path).body for path in ("/a", "/b", "/c")] == [b"a", b"b", b"c"]
    assert again.admin.revision() == 3


def test_an_acknowledged_change_survives_the_death_of_all_processes(gateway):
    running = start_live(gateway)
    for turn in range(30):
        running.admin.create("routes", said(f"/r{turn}", str(turn)))
    for pid in running.processes():
        os.kill(pid, signal.SIGKILL)
    running.process.wait()
    running.expect_exit = -signal.SIGKILL
    again = start_live(gateway, store=f"sqlite:{running.directory}/sluice.db")
    assert [again.get(f"/r{turn}").body for turn in range(30)] == [str(turn).encode() for turn in range(30)]


def test_a_reload_keeps_what_is_stored_and_takes_what_the_file_says(gateway):
    running = start_live(gateway, {"routes": [said("/a", "a")]})
    running.reload({"store": "sqlite:sluice.db", "drainTimeout": 7})
    assert running.get("/a").body == b"a"
    running.admin.create("routes", said("/b", "b"))
    assert running.get("/b").body == b"b"
    done = running.reload({"store": "sqlite:other.db"}, expect=1)
    assert "can't become another one while Sluice runs" in done.stdout + done.stderr
    assert running.get("/a").body == b"a"
    running.write_config({"store": "sqlite:sluice.db"})


def test_reloads_and_changes_at_once_lose_nothing_of_either(gateway):
    running = start_live(gateway, {"workers": 2})
    for turn in range(25):
        running.signal(signal.SIGHUP)
        running.admin.create("routes", said(f"/r{turn}", str(turn)))
        assert running.get(f"/r{turn}").body == str(turn).encode()
    running.reload()
    assert [running.get(f"/r{turn}").status for turn in range(25)] == [200] * 25


def test_what_cannot_be_used_any_more_keeps_nothing_else_from_a_start(gateway, authority, backend):
    """As where another instance has stored what names a file that only it has."""
    lost = authority.directory / "lost.pem"
    lost.write_bytes(authority.path.read_bytes())
    running = start_live(gateway, {"services": [service(backend), service("127.0.0.1:1", name="lost", protocol="https", tls={"ca": str(lost)})],
                                   "routes": [said("/a", "a"), {"name": "lost", "path": "/lost", "serviceId": "lost"},
                                              {"name": "b", "path": "/b", "serviceId": "backend"}]})
    running.stop()
    lost.unlink()
    again = start_live(gateway, store=f"sqlite:{running.directory}/sluice.db")
    assert again.get("/a").body == b"a" and again.get("/b").status == 200 and again.get("/lost").status == 404
    assert "lost.pem" in again.stderr() and "left out" in again.stderr()
    assert len(again.admin.get("/routes")["items"]) == 3
    again.admin.create("routes", said("/c", "c"))
    assert again.get("/c").body == b"c"
    lost.write_bytes(authority.path.read_bytes())
    again.admin.patch("services", "lost", {"connectTimeoutMs": 1234})
    assert again.get("/lost").status in (502, 503)  # it is there again, and nobody listens


def test_a_crash_with_a_file_that_was_broken_meanwhile_serves_what_is_stored(gateway):
    running = start_live(gateway, {"routes": [said("/a", "a")]})
    running.admin.create("routes", said("/b", "b"))
    running.write_config(text="listeners: [")
    before = running.serving_process()
    os.kill(before, signal.SIGKILL)
    running.wait_for_gateway_process(other_than=[before])
    running.wait_until_ready()
    assert [running.get(path).body for path in ("/a", "/b")] == [b"a", b"b"]
    Admin(running).create("routes", said("/c", "c"))
    assert running.get("/c").body == b"c"


def test_the_database_is_locked_by_somebody_for_a_while(gateway):
    """A backup tool, an editor: writes are told to come again, requests don't notice."""
    running = start_live(gateway, {"routes": [said("/a", "a")]})
    with contextlib.closing(sqlite3.connect(running.directory / "sluice.db", isolation_level=None)) as somebody:
        somebody.execute("BEGIN IMMEDIATE")
        refused = running.admin.create("routes", said("/b", "b"), expect=503)
        assert refused["reason"] == "store-unavailable", refused
        assert running.get("/a").body == b"a"
        somebody.execute("COMMIT")
    wait_until(lambda: running.admin.ask("POST", "/routes", said("/b", "b"), expect=(201, 503)).status_code == 201, pause=0.05)
    assert running.get("/b").body == b"b"


@pytest.mark.slow
@pytest.mark.plain_build
def test_thousands_of_changes_leave_memory_flat(gateway):
    running = start_live(gateway, {"workers": 2, "routes": [said("/a", "a")]})

    def change(times):
        for turn in range(times):
            running.admin.patch("routes", "a", {"timeoutMs": 1000 + turn % 7})

    def resident_kib():
        status = pathlib.Path(f"/proc/{running.serving_process()}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1])
    change(1000)
    before = resident_kib()
    change(3000)
    assert resident_kib() < before + 2048, (before, resident_kib())


def test_a_file_with_a_store_may_not_hold_resources(gateway):
    running = gateway({"store": "sqlite:sluice.db", "routes": [said("/a", "a")]}, ready=False, expect_exit=1)
    running.process.wait(10)
    assert "sluice import" in running.stderr()


# Without a file

def run_without_a_file(directory, until):
    """What `sluice run` says; it is ended by SIGTERM once `until` holds for that."""
    environment = {**os.environ, "STATE_DIRECTORY": str(directory)}
    out = directory.parent / "out.txt"
    with open(out, "wb") as said_here, subprocess.Popen([BINARY, "run"], stdin=subprocess.DEVNULL, stdout=said_here,
                                                        stderr=subprocess.STDOUT, env=environment) as process:
        try:
            wait_until(lambda: until(out.read_text()), what="the gateway")
        finally:
            process.terminate()
            process.wait(20)
    return out.read_text()


def test_run_without_a_file_makes_one_with_an_embedded_store(tmp_path):
    """Its ports may be taken here; the file is made in any case, in a folder that is nobody else's."""
    folder = tmp_path / "new" / "sluice"
    folder.parent.mkdir()
    said_first = run_without_a_file(folder, lambda text: "/admin/routes" in text)
    assert folder.stat().st_mode & 0o777 == 0o700 and (folder / "sluice.yaml").stat().st_mode & 0o777 == 0o600
    assert "http://127.0.0.1:8080" in said_first and "http://127.0.0.1:9080/admin/routes" in said_first
    config = yaml.safe_load((folder / "sluice.yaml").read_text())
    assert config == {"listeners": ["127.0.0.1:8080"], "admin": {"address": "127.0.0.1:9080"}, "store": "sqlite:sluice.db"}
    with_log = (folder / "sluice.yaml").read_text().replace("# accessLog:", "accessLog:")
    assert yaml.safe_load(with_log) == {**config, "accessLog": {"path": "access.log"}}
    (folder / "sluice.yaml").write_text(with_log)
    assert run_sluice("check", folder / "sluice.yaml").returncode == 0


def test_run_without_a_file_goes_on_with_the_one_that_is_there(tmp_path):
    ports = types.SimpleNamespace(port=free_port(), admin_port=free_port())
    folder = tmp_path / "state"
    folder.mkdir()
    (folder / "sluice.yaml").write_text(f"listeners: ['127.0.0.1:{ports.port}']\nadmin: '127.0.0.1:{ports.admin_port}'\n"
                                          "store: 'sqlite:sluice.db'\n")

    def has_made_a_route(_text):
        Admin(ports).create("routes", said("/a", "a"), expect=(201, 409))
        return httpx.get(f"http://127.0.0.1:{ports.port}/a", **PLAIN_HTTP).text == "a"
    for _ in range(2):
        first = run_without_a_file(folder, has_made_a_route)
        assert f"http://127.0.0.1:{ports.port}" in first and f"http://127.0.0.1:{ports.admin_port}" in first
    assert (folder / "sluice.db").stat().st_mode & 0o777 == 0o600


# Under load

def test_a_thousand_changes_under_load_fail_no_request(gateway, backend):
    backend.by_default(answer(body=b"x"))
    running = start_live(gateway, {"workers": 2, "services": [service(backend)],
                                   "routes": [{"name": "all", "path": "/*", "serviceId": "backend"}]})
    took = []
    with Load(running, clients=4, think=0.001) as load, Load(running, clients=1, new_connections=True) as fresh:
        load.wait_for(50)
        for turn in range(1000):
            began = time.monotonic()
            name = f"n{turn // 4}"
            if turn % 4 == 0:
                running.admin.create("services", service(backend, name=name))
            elif turn % 4 == 1:
                running.admin.create("routes", {"name": name, "path": f"/{name}", "serviceId": name})
            elif turn % 4 == 2:
                running.admin.patch("services", "backend", {"connectTimeoutMs": 1000 + turn})
            else:
                running.admin.delete("services", name, params={"cascade": "true"})
            took.append(time.monotonic() - began)
        load.wait_for(50)
    assert load.faults() == [] and fresh.faults() == []
    assert load.reconnects == 0
    assert running.admin.revision() == 1001
    print(f"1,000 changes: median {statistics.median(took) * 1000:.1f} ms, slowest {max(took) * 1000:.1f} ms; "
          f"{load.answers + fresh.answers} requests beside them")
    assert running.gauges_at_zero()


@pytest.mark.slow
def test_changes_under_every_kind_of_traffic_lose_nothing(gateway, backend, new_h2_backend, authority):
    h2_backend, grpc_service = new_h2_backend(settings={SettingCodes.ENABLE_CONNECT_PROTOCOL: 1}), GrpcService()
    certificate = authority.issue("localhost")
    load = FullLoad(lambda config, **options: start_live(gateway, config, **options), Backends(backend, h2_backend, grpc_service),
                    certificate, workers=2)
    admin = load.running.admin
    with load:
        load.wait_for_each(10)
        for turn in range(1000):
            if turn % 2 == 0:
                admin.create("routes", {"name": f"added {turn}", "path": f"/added/{turn}/*", "serviceId": "one"})
            else:
                admin.delete("routes", f"added {turn - 1}")
        load.wait_for_each(10)
    grpc_service.stop()
    assert load.faults() == {}, load.figures()
    assert {name: part.reconnects for name, part in load.parts.items() if getattr(part, "reconnects", 0)} == {}, "a change sends nobody away"


# Certificates

def texts(issued):
    return {"certificate": issued.certificate.read_text(), "key": issued.key.read_text()}


def test_a_stored_certificate_is_shown_by_its_name_beside_those_of_files(gateway, authority):
    address = ("127.0.0.1", free_port())
    filed, stored, third = authority.issue("filed.test"), authority.issue("stored.test"), authority.issue("third.test")
    running = start_live(gateway, {"routes": [said("/a", "a")]}, more_listeners=[
        {"address": f"127.0.0.1:{address[1]}", "tls": {"certificates": [filed.config]}}])

    def shown(name):
        return shown_certificate(address, name=name)
    with Load(running, clients=1, target="/a") as load:
        assert shown("stored.test") == der(filed)
        made = running.admin.create("certificates", {"name": "s", **texts(stored)})
        assert "PRIVATE KEY" not in str(made)
        assert shown("stored.test") == der(stored) and shown("filed.test") == der(filed)
        running.admin.patch("certificates", "s", texts(third))
        assert shown("third.test") == der(third) and shown("stored.test") == der(filed)
        refused = running.admin.patch("certificates", "s", {"key": texts(stored)["key"]}, expect=422)
        assert "is not the key of" in str(refused) and "PRIVATE" not in str(refused)
        assert shown("third.test") == der(third)
        running.reload()
        assert shown("third.test") == der(third)
        running.admin.delete("certificates", "s")
        assert shown("third.test") == der(filed)
    assert load.faults() == []
    assert "PRIVATE KEY" not in running.stderr()


def test_a_certificate_is_judged_where_the_store_is_a_file(gateway, authority):
    """A dry run: nothing is written there."""
    running = gateway({"routes": [said("/a", "a")]})
    good, other = authority.issue("good.test"), authority.issue("other.test")

    def judge(**fields):
        asked = {"method": "POST", "path": "/admin/certificates", "body": {"name": "s", **texts(good), **fields}}
        return Admin(running).ask("POST", "/validate", asked, expect=(200, 422))
    assert judge().status_code == 200
    refused = judge(key=texts(other)["key"])
    assert "is not the key of" in refused.text


def test_a_listener_may_have_stored_certificates_alone(gateway, authority):
    address = ("127.0.0.1", free_port())
    listener = {"address": f"127.0.0.1:{address[1]}", "tls": {}}
    failed = gateway({"store": "sqlite:sluice.db"}, more_listeners=[listener], ready=False, expect_exit=1)
    failed.process.wait(10)
    assert "has no certificate to show" in failed.stderr()
    running = start_live(gateway)
    stored = authority.issue("stored.test")
    running.admin.create("certificates", {"name": "s", **texts(stored)})
    running.admin.create("routes", said("/a", "a"))
    running.stop()
    again = start_live(gateway, store=f"sqlite:{running.directory}/sluice.db", more_listeners=[listener])
    assert shown_certificate(address, name="stored.test") == der(stored)
    assert tls_get(address, "/a").body == b"a"
    refused = again.admin.ask("DELETE", "/certificates/s", expect=(409, 422))
    assert "has no certificate to show" in refused.text


def der(issued):
    return issued.document.public_bytes(Encoding.DER)


# The admin listener's own TLS, and probes

def admin_over_tls(running, path, context):
    with tls_connect(("127.0.0.1", running.admin_port), context) as wire:
        return wire.send(request_bytes("GET", path, host="localhost")).read_response()


def admin_gateway(gateway, issued, authority, **more):
    admin = {"tls": {"certificates": [issued.config], "clientAuth": "required", "clientCa": str(authority.path)}, **more}
    running = gateway({"store": "sqlite:sluice.db"}, admin=admin, ready=False)
    wait_until(lambda: running.connect().close() is None, what="the gateway")
    return running


def test_the_admin_api_over_tls_lets_in_whom_its_authorities_know(gateway, authority):
    issued, client = authority.issue("localhost"), authority.issue("operator", client=True)
    running = admin_gateway(gateway, issued, authority)
    known = client_context(identity=client)
    answered = admin_over_tls(running, "/admin/health", known)
    assert answered.status == 200
    with pytest.raises(ssl.SSLError):
        admin_over_tls(running, "/admin/health", client_context())
    issued.write(*authority.make("localhost"))
    running.reload()
    address = ("127.0.0.1", running.admin_port)
    wait_until(lambda: shown_certificate(address, context=known) == der(issued), what="the renewed certificate")


def test_probes_have_a_port_of_their_own_where_nothing_else_is_answered(gateway, authority):
    issued, port = authority.issue("localhost"), free_port()
    running = admin_gateway(gateway, issued, authority, probes=f"127.0.0.1:{port}")

    def probe(path):
        return httpx.get(f"http://127.0.0.1:{port}{path}", **PLAIN_HTTP).status_code
    wait_until(lambda: probe("/ready") == 200, what="readiness")
    assert probe("/live") == 200
    assert {probe(path) for path in ("/admin", "/admin/health", "/admin/routes", "/admin/metrics")} == {404}
    running.reload({"store": "sqlite:sluice.db", "admin": {**running.config["admin"], "probes": f"127.0.0.1:{free_port()}"}})
    assert probe("/live") == 200 and "another address takes effect with the next" in running.stderr()


def test_a_reload_that_moves_the_probes_takes_back_an_authority_all_the_same(gateway, authority, tmp_path):
    issued, operator, port = authority.issue("localhost"), authority.issue("operator", client=True), free_port()
    others = Authority(tmp_path, "others")
    running = admin_gateway(gateway, issued, authority, probes=f"127.0.0.1:{port}")
    wait_until(lambda: httpx.get(f"http://127.0.0.1:{port}/ready", **PLAIN_HTTP).status_code == 200, what="readiness")
    assert admin_over_tls(running, "/admin/health", client_context(identity=operator)).status == 200
    tls = {**running.config["admin"]["tls"], "clientCa": str(others.path)}
    running.reload({"store": "sqlite:sluice.db", "admin": {**running.config["admin"], "tls": tls, "probes": f"127.0.0.1:{free_port()}"}})
    with pytest.raises((ssl.SSLError, ConnectionError)):
        admin_over_tls(running, "/admin/health", client_context(identity=operator))
    assert admin_over_tls(running, "/admin/health", client_context(identity=others.issue("new", client=True))).status == 200
    assert httpx.get(f"http://127.0.0.1:{port}/admin/health", **PLAIN_HTTP).status_code == 404, "the old probes' address is what it was"
