"""Several Sluice over one PostgreSQL: what one changes, all serve; one is killed, one starts while the database is away, which is stopped
and frozen in the middle of it all."""
import contextlib
import os
import signal
import socket
import statistics
import time

import psycopg2
import pytest

from backend import answer
from gateway import service
from live import Admin, start_live, wait_until
from load import Load
from postgres import PostgresServer, forget_template


@pytest.fixture(scope="module")
def server():
    made = PostgresServer(durable=True)
    yield made
    made.close()
    forget_template()


@pytest.fixture
def database(server):
    made = server.new_database()
    yield made
    made.drop()


@pytest.fixture
def start(gateway, database):
    """start() is one more Sluice over the database."""
    return lambda config=None, **options: start_live(gateway, {"workers": 2, **(config or {})}, store=database.url, **options)


def said(path, body):
    return {"name": path[1:], "path": path, "respond": {"status": 200, "body": body}}


def serves(running, path, body):
    return running.get(path).body == body.encode()


@contextlib.contextmanager
def traffic(*gateways):
    """On each of them one client; nothing may go wrong with any."""
    with contextlib.ExitStack() as stack:
        loads = [stack.enter_context(Load(one, clients=1, target="/x", think=0.002)) for one in gateways]
        yield loads
        for load in loads:
            load.wait_for(10)
    for load in loads:
        assert load.faults() == [] and load.reconnects == 0


BASE = {"routes": [said("/x", "x")]}


def test_changes_through_each_of_three_are_in_force_on_all(start):
    first = start(BASE)
    all_three = [first, start(), start()]
    with traffic(*all_three):
        for turn in range(12):
            maker = all_three[turn % 3]
            maker.admin.create("routes", said(f"/r{turn}", str(turn)))
            assert serves(maker, f"/r{turn}", str(turn))
            for one in all_three:
                wait_until(lambda: serves(one, f"/r{turn}", str(turn)), what=f"change {turn}")
        all_three[1].admin.delete("routes", "r0")
        for one in all_three:
            wait_until(lambda: one.get("/r0").status == 404, what="the removal")
    assert {one.admin.revision() for one in all_three} == {14}
    assert len({tuple(sorted(item["name"] for item in one.admin.get("/routes?limit=100")["items"])) for one in all_three}) == 1


@pytest.mark.plain_build
def test_a_change_reaches_another_one_soon(start):
    first, second = start(BASE), start()
    took = []
    for turn in range(40):
        first.admin.put("routes", "x", said("/x", str(turn)))
        took.append(wait_until(lambda: serves(second, "/x", str(turn)), pause=0.0005, what="the change"))
    took.sort()
    print(f"from an acknowledged write to its effect on another one: median {statistics.median(took) * 1000:.1f} ms, "
          f"P90 {took[35] * 1000:.1f} ms, slowest {took[-1] * 1000:.1f} ms")
    assert statistics.median(took) < 0.5


def test_two_editors_at_two_gateways_do_not_lose_each_other(start):
    first, second = start(BASE), start()
    tag = first.admin.ask("GET", "/routes/x").headers["ETag"]
    first.admin.put("routes", "x", said("/x", "1"), headers={"If-Match": tag})
    refused = second.admin.ask("PUT", "/routes/x", said("/x", "2"), expect=412, headers={"If-Match": tag})
    assert refused.status_code == 412
    wait_until(lambda: serves(second, "/x", "1"))
    for turn in range(10):  # names are one's: whoever comes second is told
        outcomes = {one.admin.ask("POST", "/routes", said(f"/n{turn}", "n"), expect=(201, 409)).status_code for one in (first, second)}
        assert outcomes == {201, 409}


def test_a_stopped_database_is_no_outage(start, server):
    first, second = start(BASE), start()
    with traffic(first, second):
        first.admin.create("routes", said("/before", "b"))
        wait_until(lambda: serves(second, "/before", "b"))
        server.stop()
        try:
            refused = first.admin.create("routes", said("/during", "d"), expect=503)
            assert refused["reason"] == "store-unavailable" and "correct" not in str(refused)
            assert first.admin.get("/routes/before")["path"] == "/before"
            wait_until(lambda: first.admin.store()["available"] is False, what="the health")
            assert serves(first, "/before", "b") and serves(second, "/before", "b")
        finally:
            server.start()
        wait_until(lambda: second.admin.store()["available"], what="the store")
        wait_until(lambda: second.admin.ask("POST", "/routes", said("/after", "a"), expect=(201, 503)).status_code == 201, pause=0.05)
        wait_until(lambda: serves(first, "/after", "a"), what="what was missed")
    assert "correct" not in first.stderr() and "correct" not in second.stderr()


def test_a_frozen_database_is_no_outage(start, server):
    first, second = start(BASE), start()
    with traffic(first, second):
        server.freeze()
        try:
            began = time.monotonic()
            first.admin.create("routes", said("/during", "d"), expect=503)
            assert time.monotonic() - began < 20
            assert serves(first, "/x", "x")
            first.reload()
            assert serves(first, "/x", "x")
        finally:
            server.thaw()
        wait_until(lambda: first.admin.ask("POST", "/routes", said("/after", "a"), expect=(201, 503)).status_code == 201, pause=0.05, timeout=30)
        wait_until(lambda: serves(second, "/after", "a"), timeout=30, what="what was missed")


def test_one_is_killed_and_starts_from_its_copy_while_the_database_is_away(start, server):
    first, second, third = start(BASE), start(), start()
    first.admin.create("routes", said("/a", "a"))
    wait_until(lambda: serves(second, "/a", "a") and serves(third, "/a", "a"))
    wait_until(lambda: any(second.directory.glob("copy-*")), what="the copy")
    with traffic(first, third):
        before = second.serving_process()
        os.kill(before, signal.SIGKILL)
        second.wait_for_gateway_process(other_than=[before])
        second.wait_until_ready()
        assert serves(second, "/a", "a")
        time.sleep(1.5)  # the copy is written behind the changes
        server.stop()
        try:
            before = second.serving_process()
            os.kill(before, signal.SIGKILL)
            second.wait_for_gateway_process(other_than=[before])
            second.wait_until_ready()
            second.admin = Admin(second)
            assert serves(second, "/a", "a") and serves(second, "/x", "x")
            store = second.admin.store()
            assert store["fromLocalCopy"] is True
            assert store["location"].startswith("postgres://sluice@") and "correct" not in store["location"]
            second.admin.create("routes", said("/no", "n"), expect=503)
        finally:
            server.start()
        wait_until(lambda: first.admin.ask("POST", "/routes", said("/b", "b"), expect=(201, 503)).status_code == 201, pause=0.05)
        for one in (second, third):
            wait_until(lambda: serves(one, "/b", "b"), what="what was missed")
        assert second.admin.store()["fromLocalCopy"] is False


def test_a_start_without_database_and_copy_says_why(gateway, server, database):
    server.stop()
    try:
        failed = gateway({"store": database.url}, ready=False, expect_exit=1)
        failed.process.wait(30)
        assert "127.0.0.1" in failed.stderr() and "correct" not in failed.stderr()
    finally:
        server.start()


def test_health_services_and_policies_reach_the_others_too(start, backends):
    one, two, _ = backends
    one.by_default(answer(body=b"1"))
    two.by_default(answer(body=b"2"))
    first, second = start({"services": [service(one)], "routes": [{"name": "all", "path": "/*", "serviceId": "backend"}]}), start()
    assert serves(second, "/x", "1")
    first.admin.patch("services", "backend", service(two))
    wait_until(lambda: serves(second, "/x", "2"))
    plugin = second.admin.create("plugins", {"name": "security-headers", "config": {}})
    wait_until(lambda: "X-Content-Type-Options" in dict(first.get("/x").headers))
    first.admin.delete("plugins", plugin["id"])
    wait_until(lambda: "X-Content-Type-Options" not in dict(second.get("/x").headers))


def slow_commit(database, seconds):
    """The server's time limit is not for commits; whoever waits for one gives up after 3.5 s."""
    database.sql(f"""
        CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep({seconds}); RETURN NULL; END $$;
        CREATE CONSTRAINT TRIGGER dawdles AFTER INSERT ON revisions DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION dawdle()""")


def test_a_commit_that_nobody_waited_for_is_found_to_have_been_made(start, database):
    """The connection is given up in the middle of a commit that the server makes all the same, a second later: that is known by whoever gets
    the head's lock after it."""
    running = start(BASE)
    slow_commit(database, 5)
    answered = running.admin.ask("POST", "/routes", said("/slow", "slow"), expect=(201, 503))
    assert answered.status_code == 201, f"refused, and in force nevertheless: {answered.text}"
    assert serves(running, "/slow", "slow")
    assert running.admin.revision() == 2
    # The connection is another one now, most likely under the same number: it is listened to like the first.
    database.sql("DROP TRIGGER dawdles ON revisions")
    other = start()
    for turn in range(5):
        other.admin.create("routes", said(f"/r{turn}", str(turn)))
        wait_until(lambda turn=turn: serves(running, f"/r{turn}", str(turn)), timeout=0.4, what="what the other has changed")


def test_a_commit_of_which_nobody_knows_is_not_said_to_have_failed(start, database):
    running = start(BASE)
    slow_commit(database, 12)
    answered = running.admin.ask("POST", "/routes", said("/slow", "slow"), expect=503)
    problem = answered.json()
    assert problem["reason"] == "store-unavailable" and "may have been" in problem["detail"], problem
    assert "nothing was changed" not in problem["detail"], problem
    wait_until(lambda: serves(running, "/slow", "slow"), timeout=20, what="what was written after all")


def test_a_turn_that_does_not_come_is_no_store_that_is_lost(start, database, server):
    running = start(BASE)
    other = psycopg2.connect(host=str(server.folder), port=server.port, user="postgres", dbname=database.name)
    try:
        with other.cursor() as cursor:
            cursor.execute("SELECT revision FROM store_head FOR UPDATE")
            answered = running.admin.ask("POST", "/routes", said("/late", "late"), expect=503)
        assert answered.json()["reason"] == "store-busy" and answered.headers["Retry-After"] == "1", answered.text
        assert running.admin.store()["available"] is True
    finally:
        other.close()
    running.admin.create("routes", said("/late", "late"))
    assert "store: lost" not in running.stderr()


def test_queries_that_are_no_utf8_are_the_askers_mistake(start):
    """PostgreSQL takes no other text: what it would say to that is no fault of the store."""
    running = start(BASE)
    for method, path, body in (("POST", "/routes?comment=%FF", said("/a", "a")), ("GET", "/api-keys?clientId=%ff", None),
                               ("GET", "/api-keys?clientId=%C3", None), ("PUT", "/config?tag=%ED%A0%80", {})):
        answered = running.admin.ask(method, path, body, expect=400)
        assert answered.json()["reason"] == "bad-query", answered.text
    assert running.admin.revision() == 1


def gateways_of(running):
    return running.admin.get("/health", expect=(200, 503)).get("gateways", [])


def test_gateways_over_one_database_see_each_other(start, database):
    """Who ends is gone at once; of who is killed the row stays, and is left out after 30 s and removed after an hour."""
    first, second, third = all_three = [start(BASE), start(), start()]
    names = sorted(f"{socket.gethostname()} 127.0.0.1:{one.admin_port}" for one in all_three)
    for one in all_three:
        wait_until(lambda: sorted(item["name"] for item in gateways_of(one)) == names, what="all three")
        [own] = [item for item in gateways_of(one) if item["self"]]
        assert own["name"].endswith(f":{one.admin_port}") and own["revision"] == one.admin.revision() == 1
        assert all(item["seenAgoMs"] < 12000 for item in gateways_of(one))
    before = database.sql("SELECT count(*) FROM revisions")
    first.admin.create("routes", said("/y", "y"))
    wait_until(lambda: {item["revision"] for item in gateways_of(second)} == {2}, timeout=15, what="the revision")
    assert database.sql("SELECT count(*) FROM revisions")[0][0] == before[0][0] + 1  # none of the beats

    third.expect_exit = -signal.SIGKILL
    gateways = third.gateway_processes()
    for process in (third.process.pid, *gateways):  # the master first: it would start another
        os.kill(process, signal.SIGKILL)
    [left] = [item["id"] for item in gateways_of(first) if item["name"].endswith(f":{third.admin_port}")]
    database.sql("UPDATE gateways SET seen_at = now() - interval '31 seconds' WHERE gateway_id = %s", left)
    wait_until(lambda: left not in [item["id"] for item in gateways_of(first)], what="that the killed one is left out")
    assert database.sql("SELECT count(*) FROM gateways") == [(3,)]
    database.sql("UPDATE gateways SET seen_at = now() - interval '61 minutes' WHERE gateway_id = %s", left)
    wait_until(lambda: database.sql("SELECT count(*) FROM gateways") == [(2,)], what="that its row is removed")

    second.stop()
    wait_until(lambda: [item["self"] for item in gateways_of(first)] == [True], what="that it is alone")
    assert database.sql("SELECT count(*) FROM gateways") == [(1,)]
