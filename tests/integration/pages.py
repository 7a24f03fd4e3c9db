"""Serves the pages of tests/web and the packages that they use, as npm installed them by the lock file."""
import fcntl
import functools
import http.server
import pathlib
import shutil
import subprocess
import threading

from gateway import BINARY

SOURCE = pathlib.Path(__file__).resolve().parents[1] / "web"
INSTALLED = pathlib.Path(BINARY).resolve().parent / "web"  # beside the program: a build's own


def install_packages(source=SOURCE, installed=INSTALLED):
    """`npm ci`, where the lock file has changed since the last time. Tests of one build may run side by side."""
    installed.mkdir(parents=True, exist_ok=True)
    lock, stamp = source / "package-lock.json", installed / "installed-lock.json"
    with open(installed / "lock", "w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        if stamp.exists() and stamp.read_bytes() == lock.read_bytes():
            return
        for name in ("package.json", "package-lock.json"):
            shutil.copy(source / name, installed / name)
        done = subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=installed, capture_output=True, text=True,
                              timeout=300, check=False)
        assert done.returncode == 0, f"npm ci failed:\n{done.stdout}{done.stderr}"
        shutil.copy(lock, stamp)


class Handler(http.server.SimpleHTTPRequestHandler):
    def translate_path(self, path):
        root = INSTALLED if path.startswith("/node_modules/") else SOURCE
        return str(root / path.split("?")[0].lstrip("/"))

    def log_message(self, *arguments):
        pass


class Pages:
    def __init__(self):
        install_packages()
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(SOURCE)))
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def origin(self, host="127.0.0.1"):
        return f"http://{host}:{self.port}"

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(5)
