"""A headless Chromium, spoken to by its DevTools protocol over a pair of pipes: real pages make real requests.

    page = chromium.page("http://127.0.0.1:8000/page.html")
    page.evaluate("fetch('/x').then(answer => answer.status)")

One thread. What a page throws, or rejects, is raised here as PageError.
"""
import json
import os
import pathlib
import select
import shutil
import signal
import subprocess
import sys
import time

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
TIMEOUT_SECONDS = 60

# Nothing but the test's own servers is talked to, and nothing is found of a user's.
OPTIONS = [
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--no-default-browser-check",
    "--disable-background-networking", "--disable-component-update", "--disable-default-apps", "--disable-extensions",
    "--disable-sync", "--disable-breakpad", "--metrics-recording-only", "--no-pings", "--password-store=basic",
    "--no-proxy-server", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
    "--remote-debugging-pipe",
]

# It reads commands from descriptor 3 and writes answers to 4.
WITH_PIPES = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(text), fcntl.F_DUPFD_CLOEXEC, 10) for text in sys.argv[1:3]]
os.dup2(ends[0], 3)
os.dup2(ends[1], 4)
os.execv(sys.argv[3], sys.argv[3:])
"""


class PageError(Exception):
    """A page's script threw, or its promise was rejected."""


class Chromium:
    def __init__(self, directory, options=()):
        self.directory = pathlib.Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.log_path = self.directory / "chromium.txt"
        self.number, self.answers, self.events, self.buffer = 0, {}, [], b""
        (its_input, self.commands), (self.replies, its_output) = os.pipe(), os.pipe()
        command = [PROGRAM, f"--user-data-dir={self.directory / 'profile'}", *OPTIONS, *options, "about:blank"]
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", WITH_PIPES, str(its_input), str(its_output), *command], pass_fds=(its_input, its_output),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                env={**os.environ, "HOME": str(self.directory)})
        os.close(its_input)
        os.close(its_output)
        self.command("Browser.getVersion")

    def stop(self):
        """It ends its many processes itself; what is left of them is killed."""
        try:
            self.command("Browser.close")
            self.process.wait(10)
        except (RuntimeError, TimeoutError, OSError, subprocess.TimeoutExpired):
            pass
        try:
            os.killpg(self.process.pid, signal.SIGKILL)  # the group is its own
        except ProcessLookupError:
            pass
        self.process.wait()
        os.close(self.commands)
        os.close(self.replies)

    def page(self, url="about:blank"):
        """A page that has been loaded."""
        target = self.command("Target.createTarget", url="about:blank")["targetId"]
        session = self.command("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        return Page(self, target, session).open(url)

    def command(self, method, session=None, timeout=TIMEOUT_SECONDS, **parameters):
        """A command's result; events that come meanwhile are kept."""
        self.number += 1
        number = self.number
        message = {"id": number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self.commands, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + timeout
        while number not in self.answers:
            self._read_message(deadline)
        answer = self.answers.pop(number)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']['message']}")
        return answer["result"]

    def wait_for_event(self, method, session, timeout=TIMEOUT_SECONDS):
        deadline = time.monotonic() + timeout
        while True:
            for event in self.events:
                if event["method"] == method and event.get("sessionId") == session:
                    self.events.remove(event)
                    return event["params"]
            self._read_message(deadline)

    def _read_message(self, deadline):
        while b"\0" not in self.buffer:
            ready, _, _ = select.select([self.replies], [], [], max(0, deadline - time.monotonic()))
            if not ready:
                raise TimeoutError(f"chromium says nothing; it wrote:\n{self.log_path.read_text(errors='replace')[-3000:]}")
            piece = os.read(self.replies, 1 << 16)
            if not piece:
                raise RuntimeError(f"chromium ended; it wrote:\n{self.log_path.read_text(errors='replace')[-3000:]}")
            self.buffer += piece
        text, self.buffer = self.buffer.split(b"\0", 1)
        message = json.loads(text)
        if "id" in message:
            self.answers[message["id"]] = message
        else:
            self.events.append(message)


class Page:
    def __init__(self, browser, target, session):
        self.browser, self.target, self.session = browser, target, session
        self.command("Page.enable")

    def command(self, method, **parameters):
        return self.browser.command(method, self.session, **parameters)

    def open(self, url):
        result = self.command("Page.navigate", url=url)
        assert not result.get("errorText"), f"{url}: {result['errorText']}"
        self.browser.wait_for_event("Page.loadEventFired", self.session)
        return self

    def evaluate(self, expression):
        """The value of an expression, as JSON would carry it; a promise is awaited."""
        result = self.command("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in result:
            details = result["exceptionDetails"]
            raise PageError(details.get("exception", {}).get("description") or str(details.get("exception", {}).get("value", details["text"])))
        return result["result"].get("value")

    def call(self, function, *arguments):
        """What a function of the page returns for these."""
        return self.evaluate(f"{function}({', '.join(map(json.dumps, arguments))})")

    def wait_until(self, expression, timeout=TIMEOUT_SECONDS):
        deadline = time.monotonic() + timeout
        while not self.evaluate(expression):
            assert time.monotonic() < deadline, f"never true: {expression}"
            time.sleep(0.01)

    def close(self):
        self.browser.command("Target.closeTarget", targetId=self.target)
