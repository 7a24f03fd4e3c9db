"""The shared store on a real PostgreSQL that is stopped, frozen, killed and silent in the middle of it."""
import os
import pathlib
import signal
import socket
import subprocess
import threading
import time

import pytest

from gateway import BINARY

ID = "00000000-0000-4000-8000-{:012d}".format
SERVICE = {"instances": []}
TIMEOUT_MS = 600


def test_it_passes_the_suite_of_all_stores(postgres):
    program = pathlib.Path(BINARY).resolve().parent / "tests" / "unit" / "store_test_postgres"
    done = subprocess.run([program], env={**os.environ, "SLUICE_TEST_POSTGRES": postgres.url}, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


# --- telling others ---

def test_a_write_is_heard_by_other_instances_within_50_ms(postgres, store_tool):
    one, other = store_tool(postgres.url), store_tool(postgres.url)
    waits = []
    for number in range(1, 21):
        other.send("wait", 2000)
        time.sleep(0.02)
        assert one.write("services", ID(number), SERVICE).ok
        committed = time.monotonic()
        answer = other.receive()
        waits.append(time.monotonic() - committed)
        assert answer.text == f"readable {number}"
    assert sorted(waits)[len(waits) // 2] < 0.05


def test_the_use_of_a_key_is_heard_by_nobody(postgres, store_tool):
    one, other = store_tool(postgres.url), store_tool(postgres.url)
    one.must("put-keys", 0, 1)
    assert other.must("wait", 2000).text == "readable 1"
    one.must("use-key", "00000000-0000-4000-8000-000000000000", 123456789)
    assert other.must("wait", 200).text == "silent 0"
    assert postgres.sql("SELECT extract(epoch FROM last_used_at)::text FROM api_keys") == [("123.456789",)]


# --- when it is not there ---

def test_a_frozen_server_costs_the_time_of_one_statement(new_postgres_server, store_tool):
    server = new_postgres_server()
    tool = store_tool(server.new_database().url, timeout_ms=TIMEOUT_MS)
    assert tool.write("services", ID(1), SERVICE).ok
    server.freeze()
    for command in ("head", "begin", "all", "head"):
        answer = tool.call(command)
        assert answer.reason == "store-unavailable", answer
        assert answer.ms < TIMEOUT_MS + 2000
    server.thaw()
    assert tool.head() == 1
    assert tool.write("services", ID(2), SERVICE).ok


def test_a_server_frozen_in_the_middle_of_a_write_leaves_it_whole_or_undone(new_postgres_server, store_tool):
    server = new_postgres_server()
    database = server.new_database()
    tool, other = store_tool(database.url, timeout_ms=TIMEOUT_MS), store_tool(database.url, timeout_ms=10000)
    assert tool.call("begin").ok and tool.put("services", ID(1), SERVICE).ok and tool.put("services", ID(2), SERVICE).ok
    server.freeze()
    answer = tool.call("commit")
    assert answer.reason == "store-unavailable" and answer.ms < TIMEOUT_MS + 2000
    server.thaw()
    # What the frozen server had got of it decides; the head tells, and the lock is gone in either case.
    assert other.call("begin").ok
    other.must("abort")
    head = other.head()
    assert other.must("all").text.count('"instances"') == 2 * head
    assert tool.write("services", ID(3), SERVICE).text == str(head + 1)


def test_an_instance_stopped_inside_a_write_does_not_keep_the_others(postgres, store_tool):
    stuck, other = store_tool(postgres.url, timeout_ms=TIMEOUT_MS), store_tool(postgres.url, timeout_ms=10000)
    assert stuck.call("begin").ok and stuck.put("services", ID(1), SERVICE).ok
    os.kill(stuck.process.pid, signal.SIGSTOP)
    answer = other.write("services", ID(2), SERVICE)
    os.kill(stuck.process.pid, signal.SIGCONT)
    assert answer.ok
    assert stuck.call("commit").reason == "store-unavailable"
    assert stuck.head() == 1
    assert stuck.write("services", ID(1), SERVICE).ok


def test_a_restarted_server_is_found_again_by_the_same_store(new_postgres_server, store_tool):
    server = new_postgres_server()
    tool = store_tool(server.new_database().url, timeout_ms=TIMEOUT_MS)
    assert tool.write("services", ID(1), SERVICE).ok
    server.stop()
    answer = tool.call("head")
    assert answer.reason == "store-unavailable" and "connection refused" in answer.text.lower()
    assert tool.call("wait", 10).reason == "store-unavailable"
    server.start()
    assert tool.write("services", ID(2), SERVICE).ok
    # And when nothing was asked meanwhile, nobody needs to know.
    server.restart()
    assert tool.write("services", ID(3), SERVICE).ok
    assert tool.must("wait", 1000).text.endswith(" 3")


def test_what_was_acknowledged_survives_the_servers_end(new_postgres_server, store_tool):
    server = new_postgres_server(durable=True)
    tool = store_tool(server.new_database().url, timeout_ms=TIMEOUT_MS)
    acknowledged = 0
    for _ in range(2):
        killer = threading.Timer(0.4, server.kill)
        killer.start()
        while (answer := tool.write("services", ID(acknowledged + 1), SERVICE)).ok:
            acknowledged = int(answer.text)
        assert answer.reason == "store-unavailable", answer
        killer.join()
        server.start()
        assert tool.head() in (acknowledged, acknowledged + 1)
        acknowledged = tool.head()
    assert acknowledged > 0
    rows = tool.must("all").text
    assert all(ID(number) in rows for number in range(1, acknowledged + 1))


def _silent_listener(backlog_full):
    """Somebody who takes connections and says nothing; or doesn't even take them."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=0)
    others = []
    for _ in range(4 if backlog_full else 0):
        other = socket.socket()
        other.setblocking(False)
        other.connect_ex(listener.getsockname())
        others.append(other)
    return listener, others


@pytest.mark.parametrize("backlog_full", [False, True])
def test_a_network_that_swallows_everything_costs_the_time_of_one_connection(store_tool, backlog_full):
    listener, others = _silent_listener(backlog_full)
    port = listener.getsockname()[1]
    answer = store_tool(f"postgres://a:b@127.0.0.1:{port}/d", timeout_ms=TIMEOUT_MS, must_open=False).opened
    assert answer.reason == "store-unavailable" and answer.ms < TIMEOUT_MS + 2000
    for one in (listener, *others):
        one.close()


def test_name_servers_that_do_not_answer_cost_the_time_of_one_connection(store_tool, tmp_path):
    """With resolv.conf of the process's own, and a name server that takes questions and says nothing."""
    if subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode != 0:
        pytest.skip("needs a mount namespace")
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.77\n")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.77", 53))
        mount = f"mount --bind {tmp_path}/resolv.conf /etc/resolv.conf && exec \"$0\""
        tool = store_tool("postgres://a:b@database.example/d", timeout_ms=TIMEOUT_MS, must_open=False,
                          before=("unshare", "-m", "sh", "-c", mount))
        assert tool.opened.reason == "store-unavailable" and "name servers" in tool.opened.text
        assert tool.opened.ms < TIMEOUT_MS + 2000
        tool.stop()


def test_a_host_is_found_by_its_name(postgres, store_tool):
    tool = store_tool(postgres.url.replace("127.0.0.1", "localhost"))
    assert tool.write("services", ID(1), SERVICE).ok
    tool = store_tool(postgres.url.replace("127.0.0.1", "no-such-host.invalid"), must_open=False)
    assert tool.opened.reason == "store-unavailable"


def test_of_several_hosts_one_that_is_there_will_do(postgres, store_tool):
    port = postgres.server.port
    url = postgres.url.replace(f"127.0.0.1:{port}", f"no-such-host.invalid:{port},127.0.0.1:1,localhost:{port}")
    assert store_tool(url).write("services", ID(1), SERVICE).ok


def test_answers_cut_off_by_the_network_are_told(postgres, store_tool):
    """A proxy that ends both directions after so many bytes, at every stage of connecting and asking."""
    for limit in (1, 9, 100, 400, 500, 700, 1000, 1500):
        proxy = socket.create_server(("127.0.0.1", 0))
        thread = threading.Thread(target=_cut_off_after, args=(proxy, postgres.server.port, limit), daemon=True)
        thread.start()
        url = postgres.url.replace(f":{postgres.server.port}/", f":{proxy.getsockname()[1]}/")
        tool = store_tool(url, timeout_ms=TIMEOUT_MS, must_open=False)
        answer = tool.opened
        assert answer.ok or answer.reason == "store-unavailable", answer
        proxy.close()
        tool.stop()


def _cut_off_after(proxy, port, limit):
    while True:
        try:
            client, _ = proxy.accept()
        except OSError:
            return
        server = socket.create_connection(("127.0.0.1", port))
        for one in (client, server):
            one.settimeout(0.2)
        left, idle = limit, 0
        while left > 0 and idle < 5:
            idle += 1
            for source, sink in ((client, server), (server, client)):
                try:
                    piece = source.recv(min(65536, left if source is server else 65536))
                    sink.sendall(piece)
                except OSError:
                    continue
                idle = 0 if piece else 5
                left -= len(piece) if source is server else 0
        client.close()
        server.close()


# --- who may ---

def test_a_password_of_special_characters_works_and_is_never_shown(postgres, store_tool):
    password = "p@ss:w/o?r#d & 100%=+'\"\\é"
    postgres.sql("CREATE ROLE odd LOGIN PASSWORD %s", password)
    postgres.sql(f'GRANT ALL ON DATABASE "{postgres.name}" TO odd')
    postgres.sql("GRANT ALL ON SCHEMA public TO odd")
    try:
        tool = store_tool(postgres.server.url(postgres.name, "odd", password))
        assert tool.write("services", ID(1), SERVICE).ok
        assert tool.opened.text == f"postgres://odd@127.0.0.1:{postgres.server.port}/{postgres.name}"
        wrong = store_tool(postgres.server.url(postgres.name, "odd", password + "x"), must_open=False).opened
        assert wrong.reason == "store-unavailable" and "password authentication failed" in wrong.text
        assert "p@ss" not in wrong.text and "p%40ss" not in wrong.text
        tool.stop()
    finally:
        postgres.sql("DROP OWNED BY odd CASCADE")
        postgres.sql("DROP ROLE odd")


def test_a_role_that_may_not_make_tables_is_told_so(postgres, store_tool):
    postgres.sql("CREATE ROLE guest LOGIN PASSWORD 'guest'")
    try:
        answer = store_tool(postgres.server.url(postgres.name, "guest", "guest"), must_open=False).opened
        assert answer.reason == "store-settings" and "permission denied" in answer.text
    finally:
        postgres.sql("DROP ROLE guest")


def test_a_database_that_is_not_there_is_named(postgres, store_tool):
    answer = store_tool(postgres.server.url("nobodys"), must_open=False).opened
    assert answer.reason == "store-unavailable" and '"nobodys" does not exist' in answer.text


def test_a_server_without_room_for_another_connection_is_told(new_postgres_server, store_tool):
    server = new_postgres_server(max_connections=5, superuser_reserved_connections=2)
    database = server.new_database()
    tools = [store_tool(database.url) for _ in range(3)]
    answer = store_tool(database.url, must_open=False).opened
    assert answer.reason == "store-unavailable" and "connection" in answer.text
    tools[0].stop()
    deadline = time.monotonic() + 10
    while server.connections(database) > 2:
        assert time.monotonic() < deadline
    assert store_tool(database.url).head() == 0


def test_a_server_that_would_lose_commits_is_told_to_keep_ours(new_postgres_server, store_tool):
    server = new_postgres_server(synchronous_commit="off", wal_writer_delay="10s")
    database = server.new_database()
    tool = store_tool(database.url)
    on_disk = 0
    for number in range(1, 6):
        assert tool.write("services", ID(number), SERVICE).ok
        on_disk += database.sql("SELECT pg_current_wal_flush_lsn() >= pg_current_wal_insert_lsn()")[0][0]
    assert on_disk >= 4, "acknowledged, and still in the server's memory"
