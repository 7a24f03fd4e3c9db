"""The embedded store and what happens to files: killed processes, full disks, locks, garbage."""
import os
import pathlib
import random
import re
import shutil
import sqlite3
import subprocess
import threading
import time

import pytest

from store_tool import StoreTool, find_program

ID = "00000000-0000-4000-8000-{:012d}".format
SERVICE = {"instances": []}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "sluice.db"


@pytest.fixture
def location(path):
    return f"sqlite:{path}"


# --- what was acknowledged is kept ---

def test_what_was_acknowledged_survives_kill_9(store_tool, location):
    chance = random.Random(5)
    number, acknowledged, revision, rounds = 0, [], 0, 12
    for _ in range(rounds):
        tool = StoreTool(location)
        threading.Timer(chance.uniform(0.01, 0.25), tool.kill).start()
        try:
            while True:
                number += 1
                answer = tool.write("services", ID(number), SERVICE)
                assert answer.ok, answer
                acknowledged.append(ID(number))
                revision = int(answer.text)
        except (AssertionError, BrokenPipeError, ValueError):
            assert tool.process.wait() == -9
    assert acknowledged
    after = store_tool(location)
    rows = after.must("all").text
    assert all(id in rows for id in acknowledged)
    # A write may have been committed and its acknowledgement lost, once a round; then it is there as a whole.
    assert after.head() == rows.count('"instances"')
    assert revision <= after.head() <= len(acknowledged) + rounds


def _traced(tmp_path, calls):
    trace = tmp_path / "trace"
    return trace, ("strace", "-y", "-s", "32", "-e", f"trace={calls}", "-o", trace)


def _calls(trace):
    """(name, file, whole line) of each call, in order."""
    found = []
    for line in trace.read_text().splitlines():
        match = re.match(r"(\w+)\((?:\d+<([^>]*)>|[^,)]*)?", line)
        if match:
            found.append((match[1], match[2] or "", line))
    return found


def test_a_commit_is_on_the_disk_before_it_is_acknowledged(store_tool, tmp_path, location, path):
    trace, strace = _traced(tmp_path, "read,write,pwrite64,fsync,fdatasync")
    tool = store_tool(location, before=strace, timeout_ms=10000)
    assert tool.write("services", ID(1), SERVICE).ok
    assert tool.write("services", ID(2), SERVICE).ok
    tool.stop()
    calls = _calls(trace)
    asked = [at for at, (name, _, line) in enumerate(calls) if name == "read" and '"commit' in line]
    assert len(asked) == 2
    for at in asked:
        answered = next(i for i in range(at, len(calls)) if calls[i][0] == "write" and '"ok ' in calls[i][2])
        between = [(name, pathlib.Path(file).name) for name, file, _ in calls[at:answered]]
        writes = [i for i, (name, file) in enumerate(between) if name == "pwrite64" and file == "sluice.db-wal"]
        syncs = [i for i, (name, file) in enumerate(between) if name in ("fsync", "fdatasync") and file == "sluice.db-wal"]
        assert writes and syncs, between
        assert max(writes) < max(syncs), "the last byte of the log was written after the last sync"


def test_a_new_file_and_its_name_are_synced_before_anything_is_in_it(store_tool, tmp_path):
    trace, strace = _traced(tmp_path, "openat,mkdir,fsync,fdatasync,pwrite64")
    folder = tmp_path / "made" / "for"
    store_tool(f"sqlite:{folder}/it.db", before=strace, timeout_ms=10000).stop()
    calls = [(name, file, line) for name, file, line in _calls(trace)]
    first_write = next(i for i, (name, file, _) in enumerate(calls) if name == "pwrite64" and file.startswith(str(folder)))
    synced = [file for name, file, _ in calls[:first_write] if name == "fsync"]
    assert synced[:4] == [str(tmp_path), str(tmp_path / "made"), str(folder / "it.db"), str(folder)]
    assert folder.stat().st_mode & 0o777 == 0o700


# --- no room ---

def test_a_full_disk_is_told_and_loses_nothing(store_tool, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    # A mount of the process's own: nothing is left behind whatever happens.
    mount = f"mount -t tmpfs -o size=2m sluice-test {disk} && head -c 600000 /dev/zero >{disk}/ballast && exec \"$0\""
    if subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode != 0:
        pytest.skip("needs a mount namespace")
    tool = store_tool(f"sqlite:{disk}/sluice.db", before=("unshare", "-m", "sh", "-c", mount))
    large = {"instances": [], "more": "x" * 30000}
    written = 0
    while (answer := tool.write("services", ID(written + 1), large)).ok:
        written += 1
        assert written < 200
    assert written > 5
    assert answer.reason == "store-full" and "no room" in answer.text
    assert not tool.write("services", ID(1), {**large, "more": "y" * 30000}).ok
    assert tool.head() == written
    rows = tool.must("all").text
    assert "yyy" not in rows and rows.count('"instances"') >= 1
    (pathlib.Path(f"/proc/{tool.process.pid}/root") / str(disk / "ballast").lstrip("/")).unlink()
    answer = tool.write("services", ID(written + 1), large)
    assert answer.ok and int(answer.text) == written + 1


# --- others ---

def test_a_locked_file_is_told_in_time_and_tried_again(store_tool, location, path):
    tool = store_tool(location, timeout_ms=400)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    answer = tool.call("begin")
    assert answer.reason == "store-unavailable" and "locked by another process" in answer.text
    assert 350 <= answer.ms < 3000
    assert tool.head() == 0
    other.execute("ROLLBACK")
    assert tool.write("services", ID(1), SERVICE).ok
    other.close()


def test_a_file_that_is_taken_away_is_not_written_into(store_tool, location, path):
    tool = store_tool(location)
    assert tool.write("services", ID(1), SERVICE).ok
    kept = path.with_name("kept.db")
    for end in ("", "-wal", "-shm"):
        os.rename(f"{path}{end}", f"{kept}{end}")
    answer = tool.call("begin")
    assert answer.reason == "store-unavailable" and "the file is gone" in answer.text
    for end in ("", "-wal", "-shm"):
        os.rename(f"{kept}{end}", f"{path}{end}")
    assert tool.write("services", ID(2), SERVICE).ok
    assert tool.head() == 2


def test_a_backup_put_in_its_place_is_taken_for_what_it_is(store_tool, tmp_path, location, path):
    backup = store_tool(f"sqlite:{tmp_path}/backup.db")
    for number in range(1, 4):
        assert backup.write("services", ID(number), SERVICE).ok
    backup.stop()
    tool = store_tool(location)
    assert tool.head() == 0
    for end in ("-wal", "-shm"):
        os.unlink(f"{path}{end}")
    os.replace(tmp_path / "backup.db", path)
    assert tool.head() == 3


# --- garbage ---

def _filled(store_tool, location):
    tool = store_tool(location)
    for number in range(1, 30):
        assert tool.write("services", ID(number), {"instances": [], "more": "x" * 2000}).ok
    tool.stop()


def test_a_file_that_is_no_database_is_refused_and_left_alone(store_tool, location, path):
    path.write_text("routes:\n  - path: /\n" * 100)
    answer = store_tool(location, must_open=False).opened
    assert answer.reason == "store-damaged" and str(path) in answer.text and "backup" in answer.text
    assert path.read_text().startswith("routes:")


def test_a_database_with_garbage_in_its_middle_is_told(store_tool, location, path):
    _filled(store_tool, location)
    size = path.stat().st_size
    with open(path, "r+b") as file:
        file.seek(size // 2 // 4096 * 4096)
        file.write(random.Random(1).randbytes(size // 3))
    tool = store_tool(location, must_open=False)
    answer = tool.call("all") if tool.opened.ok else tool.opened
    assert answer.reason == "store-damaged" and str(path) in answer.text


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_database_that_was_cut_off_is_told(store_tool, location, path, share):
    _filled(store_tool, location)
    os.truncate(path, int(path.stat().st_size * share))
    tool = store_tool(location, must_open=False)
    answer = tool.call("all") if tool.opened.ok else tool.opened
    assert answer.reason == "store-damaged" and str(path) in answer.text


@pytest.mark.slow
def test_every_byte_of_the_head_can_be_wrong_without_a_crash(store_tool, location, path, tmp_path):
    _filled(store_tool, location)
    whole = path.read_bytes()
    chance = random.Random(7)
    for _ in range(60):
        broken = bytearray(whole)
        for _ in range(chance.randrange(1, 8)):
            broken[chance.randrange(0, 4096)] = chance.randrange(256)
        for end in ("-wal", "-shm"):
            pathlib.Path(f"{path}{end}").unlink(missing_ok=True)
        path.write_bytes(broken)
        tool = StoreTool(location, must_open=False, timeout_ms=500)
        if tool.opened.ok:
            tool.call("all")
            tool.write("services", ID(1), SERVICE)
        tool.stop()
        assert tool.process.returncode == 0


def test_a_row_of_nonsense_is_named_with_its_table(store_tool, location, path):
    tool = store_tool(location)
    assert tool.write("services", ID(1), SERVICE).ok
    other = sqlite3.connect(path)
    other.execute("PRAGMA ignore_check_constraints=ON")
    other.execute("UPDATE services SET instances = '[{\"host\": nonsense'")
    other.commit()
    other.close()
    answer = tool.call("all")
    assert answer.reason == "store-damaged"
    assert '"services"' in answer.text and ID(1) in answer.text and '"instances"' in answer.text


@pytest.mark.parametrize("location, words", [
    ("sqlite:relative.db", "absolute path"),
    ("sqlite:", "absolute path"),
    ("sqlite:/", "not of a folder"),
    ("sqlite:/proc/no/such.db", "cannot make the folder"),
    ("sqlite:/etc", "cannot open the database"),
    ("mysql://somewhere", "sqlite:/absolute/path or postgres://"),
])
def test_a_location_that_cannot_be_is_refused_with_words(store_tool, location, words):
    answer = store_tool(location, must_open=False).opened
    assert answer.reason == "store-settings" and words in answer.text
