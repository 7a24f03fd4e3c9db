"""A PostgreSQL of the tests' own: an unprivileged user's, on a free port, in a folder that goes with it.

    server = PostgresServer()              # as fast as it gets: fsync=off
    server = PostgresServer(durable=True)  # as an operator's, for tests that kill it
    database = server.new_database()
    database.url                           # postgres://sluice:...@127.0.0.1:PORT/NAME
    database.sql("SELECT 1")               # [(1,)]
    server.freeze(); server.thaw(); server.stop(); server.start(); server.kill()
"""
import os
import pathlib
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.parse

import psycopg2

from backend import free_port

PROGRAMS = next(iter(sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)
USER = "sluice"
PASSWORD = "correct horse/battery@staple"  # what a careless URL would break on
_template = None


def _as_user():
    """Words before a program that make it another user's: PostgreSQL refuses to run as root."""
    if os.getuid() != 0:
        return []
    names = {user.pw_name for user in pwd.getpwall()}
    name = "postgres" if "postgres" in names else "nobody"
    user = pwd.getpwnam(name)
    return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", "--pdeathsig=INT", "--"]


def _owner():
    words = _as_user()
    return (int(words[1].split("=")[1]), int(words[2].split("=")[1])) if words else (os.getuid(), os.getgid())


def _make_folder():
    """Its name says whose it is, so that what a killed run has left goes with the next one."""
    for left in pathlib.Path("/tmp").glob("sluice-postgres-*-*"):
        owner = left.name.split("-")[2]
        if owner.isdigit() and not pathlib.Path(f"/proc/{owner}").exists():
            shutil.rmtree(left, ignore_errors=True)
    folder = pathlib.Path(tempfile.mkdtemp(prefix=f"sluice-postgres-{os.getpid()}-", dir="/tmp"))
    os.chown(folder, *_owner())
    return folder


def _environment():
    """Without what a caller's shell says about servers of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return {**kept, "LC_ALL": "C.UTF-8", "TZ": "UTC"}


def _data_template():
    """initdb takes a second, so it runs once a session; every server gets a copy of what it made."""
    global _template
    if _template is None:
        _template = _make_folder()
        subprocess.run([*_as_user(), PROGRAMS / "initdb", "-D", _template / "data", "-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8",
                        "--wal-segsize=1", "--no-sync", "--auth-local=trust", "--auth-host=scram-sha-256"],
                       check=True, cwd="/", env=_environment(), stdout=subprocess.DEVNULL)
    return _template / "data"


def forget_template():
    global _template
    if _template is not None:
        shutil.rmtree(_template)
        _template = None


class Database:
    def __init__(self, server, name):
        self.server = server
        self.name = name

    @property
    def url(self):
        return self.server.url(self.name)

    def sql(self, text, *values):
        return self.server.sql(text, *values, database=self.name)

    def drop(self):
        self.server.sql(f'DROP DATABASE IF EXISTS "{self.name}" WITH (FORCE)')


class PostgresServer:
    def __init__(self, durable=False, **settings):
        assert PROGRAMS, "PostgreSQL is missing: make deps installs it"
        self.folder = _make_folder()
        self.port = free_port()
        self.log = self.folder / "server.log"
        self.process = None
        self.frozen = []
        self.databases = 0
        settings = {"listen_addresses": "127.0.0.1", "port": self.port, "unix_socket_directories": self.folder, "max_connections": 60,
                    "shared_buffers": "32MB", "jit": "off", **settings}
        if not durable:
            settings.update({"fsync": "off", "full_page_writes": "off"})
        self._settings = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        subprocess.run([*_as_user(), "cp", "-r", _data_template(), self.folder / "data"], check=True, cwd="/")
        self.start()
        self.sql(f"CREATE ROLE {USER} LOGIN CREATEDB PASSWORD %s", PASSWORD)

    # --- its life ---

    def start(self):
        assert self.process is None
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([*_as_user(), PROGRAMS / "postgres", "-D", self.folder / "data", *self._settings], cwd="/",
                                            env=_environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + 30
        while True:
            try:
                self.sql("SELECT 1")
                return
            except psycopg2.OperationalError:
                assert self.process.poll() is None, f"PostgreSQL ended at once:\n{self.log.read_text()}"
                assert time.monotonic() < deadline, f"PostgreSQL does not answer:\n{self.log.read_text()}"
                time.sleep(0.02)

    def stop(self):
        """Connections are ended, what was committed is kept."""
        self.thaw()
        self._end(signal.SIGINT)

    def kill(self):
        """As if the machine had lost power, but for its disk: every process of it is gone at once."""
        processes = [self.process.pid, *self._children()]
        for process in processes:
            _signal(process, signal.SIGKILL)
        self.frozen = []
        self._end(signal.SIGKILL)
        deadline = time.monotonic() + 10
        while any(pathlib.Path(f"/proc/{process}").exists() for process in processes):
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def restart(self):
        self.stop()
        self.start()

    def freeze(self):
        """Half-way: the kernel still takes connections and bytes for it, and nobody answers."""
        self.frozen = [self.process.pid]
        _signal(self.process.pid, signal.SIGSTOP)
        self.frozen += self._children()
        for child in self.frozen[1:]:
            _signal(child, signal.SIGSTOP)

    def thaw(self):
        for process in reversed(self.frozen):
            _signal(process, signal.SIGCONT)
        self.frozen = []

    def close(self):
        if self.process:
            self.thaw()
            self._end(signal.SIGQUIT)  # at once: nothing of it is kept
        shutil.rmtree(self.folder)

    # --- what is in it ---

    def url(self, database, user=USER, password=PASSWORD):
        return f"postgres://{user}:{urllib.parse.quote(password, safe='')}@127.0.0.1:{self.port}/{database}"

    def sql(self, text, *values, database="postgres"):
        """As the superuser; each call a connection and a transaction of its own."""
        connection = psycopg2.connect(host=str(self.folder), port=self.port, user="postgres", dbname=database, connect_timeout=10)
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(text, values or None)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    def new_database(self):
        self.databases += 1
        name = f"sluice_{self.databases}"
        self.sql(f"CREATE DATABASE {name} OWNER {USER}")
        return Database(self, name)

    def connections(self, database):
        """How many clients it has, this question's own left out."""
        return self.sql("SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND usename = %s", database.name, USER)[0][0]

    # --- private ---

    def _end(self, number):
        self.process.send_signal(number)
        try:
            self.process.wait(30)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            self.process = None

    def _children(self):
        found = []
        for status in pathlib.Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = status.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == self.process.pid:
                found.append(int(status.parent.name))
        return found


def _signal(process, number):
    try:
        os.kill(process, number)
    except ProcessLookupError:
        pass
