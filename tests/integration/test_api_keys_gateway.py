"""The index of API keys inside a running gateway. No policy looks keys up yet, so what it holds is read off the metrics."""
import pytest

from admin import admin_gateway  # noqa: F401  pylint: disable=unused-import
from live import Admin, start_live, wait_until
from postgres import PostgresServer, forget_template


@pytest.fixture(scope="module")
def server():
    made = PostgresServer()
    yield made
    made.close()
    forget_template()


def create(running, name):
    made = running.api.post("/admin/api-keys", json={"clientName": name, "scopes": ["read"]})
    assert made.status_code == 201, made.text
    return made.headers["location"]


def test_keys_come_into_the_index_and_leave_it_as_they_are_made_and_deleted(admin_gateway):
    running = admin_gateway()
    running.wait_for_metric("sluice_api_keys_whole", 1)
    assert running.metric("sluice_api_keys") == 0
    keys = [create(running, f"client {i}") for i in range(3)]
    running.wait_for_metric("sluice_api_keys", 3)
    assert running.api.delete(keys[1]).status_code == 204
    running.wait_for_metric("sluice_api_keys", 2)
    assert running.api.post(f"{keys[0]}/rotate", json={"overlap": 60}).status_code in (200, 201)
    running.wait_for_metric("sluice_api_keys", 3)
    assert 0 < running.metric("sluice_api_key_memory_bytes") < 1 << 20
    for result in ("found", "disabled", "expired", "unknown", "ask", "away"):
        assert running.metric("sluice_api_key_lookups_total", result=result) == 0


def test_keys_are_read_again_at_the_next_start(admin_gateway, tmp_path):
    store = f"sqlite:{tmp_path}/kept.db"
    running = admin_gateway({"store": store})
    for i in range(5):
        create(running, f"client {i}")
    running.stop()
    again = admin_gateway({"store": store, "apiKeyMemory": "2MiB"})
    again.wait_for_metric("sluice_api_keys", 5)
    assert again.metric("sluice_api_keys_whole") == 1


def test_a_key_made_through_one_instance_reaches_the_other(gateway, server):
    database = server.new_database()
    try:
        one, two = (start_live(gateway, {"workers": 1}, store=database.url) for _ in range(2))
        two.wait_for_metric("sluice_api_keys_whole", 1)
        one.admin.create("api-keys", {"clientName": "shop"})
        two.wait_for_metric("sluice_api_keys", 1)
        one.wait_for_metric("sluice_api_keys", 1)
    finally:
        one.stop(), two.stop()
        database.drop()


def test_keys_outlive_a_start_without_the_database(gateway, new_postgres_server):
    server = new_postgres_server()
    running = start_live(gateway, {"workers": 1}, store=server.new_database().url)
    keys = [running.admin.create("api-keys", {"clientName": f"client {i}"}) for i in range(20)]
    running.wait_for_metric("sluice_api_keys", 20)
    wait_until(lambda: any(running.directory.glob("keys-*")), what="the copy")
    [copy] = running.directory.glob("keys-*")
    assert copy.stat().st_mode & 0o777 == 0o600
    for made in keys:  # a copy of hashes, not of keys
        assert made["key"].encode() not in copy.read_bytes()
    running.stop()  # what the copy, which is written once a minute, has not is written now
    server.stop()
    again = gateway({"store": running.config["store"]}, environment={"STATE_DIRECTORY": str(running.directory)})
    again.wait_for_stderr(r"API keys: 20 in memory, from the local copy of")
    assert again.metric("sluice_api_keys") == 20 and again.metric("sluice_api_keys_whole") == 0
    server.start()
    again.wait_for_metric("sluice_api_keys_whole", 1, timeout=20)
    assert again.metric("sluice_api_keys") == 20
    again.admin = Admin(again)
    wait_until(lambda: again.admin.ask("DELETE", f"/api-keys/{keys[0]['id']}", expect=(204, 503)).status_code == 204, pause=0.05)
    again.wait_for_metric("sluice_api_keys", 19)
