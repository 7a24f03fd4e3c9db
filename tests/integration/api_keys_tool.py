"""The index of API keys over a store, in a program that does what it is told, and stores filled with millions of keys.

    location = fill_sqlite(path, 1_000_000)     # "key 0" to "key 999999"
    tool = ApiKeysTool(location)
    tool.call("loaded")                         # {"keys": 1000000, "whole": True, "resident_kb": ...}
    tool.find("key 7")                          # "found"
"""
import hashlib
import json
import os
import pathlib
import sqlite3
import subprocess
import time

from gateway import BINARY
from store_tool import StoreTool

# Key N: its id and its client's are UUIDs that end in N, its hash is that of "key N", and it was made in the Nth microsecond.
SQLITE_KEYS = """
    WITH RECURSIVE numbers (n) AS (SELECT :first UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < :behind)
    INSERT INTO api_keys (key_id, key_hash, key_prefix, client_id, client_name, scopes, rate_limit_tier, created_at)
    SELECT printf('00000000-0000-4000-8000-%012x', n), key_hash(n), 'abcdefgh', printf('00000000-0000-4000-9000-%012x', n),
        'client', CASE n % 4 WHEN 0 THEN 'read' WHEN 1 THEN 'read write' WHEN 2 THEN 'admin' ELSE '' END, 'standard', n + 1
    FROM numbers"""
POSTGRES_KEYS = """
    INSERT INTO api_keys (key_id, key_hash, key_prefix, client_id, client_name, scopes, rate_limit_tier, created_at)
    SELECT ('00000000-0000-4000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, sha256(('key ' || n)::bytea), 'abcdefgh',
        '00000000-0000-4000-9000-' || lpad(to_hex(n), 12, '0'), 'client',
        CASE n %% 4 WHEN 0 THEN 'read' WHEN 1 THEN 'read write' WHEN 2 THEN 'admin' ELSE '' END, 'standard',
        timestamptz '2026-01-01' + n * interval '1 microsecond'
    FROM generate_series(0, %s) AS n"""


def key_id(number):
    return f"00000000-0000-4000-8000-{number:012x}"


def find_program():
    return str(pathlib.Path(BINARY).resolve().parent / "tests" / "integration" / "sluice_api_keys_tool")


def fill_sqlite(path, count):
    location = f"sqlite:{path}"
    StoreTool(location).stop()  # makes the tables
    with sqlite3.connect(path, isolation_level=None) as connection:
        connection.create_function("key_hash", 1, lambda n: hashlib.sha256(b"key %d" % n).digest(), deterministic=True)
        connection.execute("PRAGMA journal_mode = OFF")  # a log of ten million rows is as large as they are
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA cache_size = -2000000")
        connection.execute("BEGIN")
        connection.execute(SQLITE_KEYS, {"first": 0, "behind": count})
        connection.execute("COMMIT")
        connection.execute("PRAGMA journal_mode = WAL")
    return location


def fill_postgres(database, count):
    StoreTool(database.url).stop()
    database.sql(POSTGRES_KEYS % (count - 1))
    database.sql("ANALYZE api_keys")
    return database.url


class ApiKeysTool:
    def __init__(self, location, bytes_max=256 << 20):
        self.started = time.monotonic()
        self.process = subprocess.Popen([find_program(), location, str(bytes_max)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True, env={**os.environ})

    def call(self, *words):
        self.process.stdin.write(" ".join(str(word) for word in words) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, f"the program has ended with {self.process.wait()}"
        return json.loads(line)

    def find(self, text):
        answer = self.call("find", text)
        return next(word for word in ("found", "disabled", "expired", "unknown", "ask", "away") if answer[word])

    def find_becomes(self, text, word, seconds):
        """Asks again and again; how long that took, in seconds."""
        began = time.monotonic()
        while self.find(text) != word:
            assert time.monotonic() - began < seconds, f"{text} is {self.find(text)}, not {word}"
        return time.monotonic() - began

    def close(self):
        self.process.stdin.close()
        assert self.process.wait(60) == 0
