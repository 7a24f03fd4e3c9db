"""A store opened by a program that does what it is told, line by line: what of a gateway's store thread can be tested from outside.

    tool = StoreTool("sqlite:/tmp/x.db", timeout_ms=500)
    tool.write("services", ID, {"name": "a"})   # an Answer; .ok, .text, .ms, .reason
"""
import json
import os
import pathlib
import selectors
import subprocess
import time

from gateway import BINARY


def find_program():
    built = pathlib.Path(BINARY).resolve().parent
    return os.environ.get("SLUICE_STORE_TOOL", str(built / "tests" / "integration" / "sluice_store_tool"))


class Answer:
    def __init__(self, line):
        word, ms, rest = line.split(" ", 2)
        self.ok = word == "ok"
        self.ms = int(ms)
        self.reason, _, self.text = ("", "", rest) if self.ok else rest.partition(" ")

    def __repr__(self):
        return f"{'ok' if self.ok else self.reason} after {self.ms} ms: {self.text}"


class StoreTool:
    def __init__(self, location, timeout_ms=2000, before=(), must_open=True):
        self.process = subprocess.Popen([*before, find_program()], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.opened = self.call("open", timeout_ms, location)
        assert self.opened.ok or not must_open, self.opened

    def send(self, *words):
        self.process.stdin.write((" ".join(str(word) for word in words) + "\n").encode())
        self.process.stdin.flush()

    def receive(self, timeout=30):
        """A tool that doesn't answer is the very thing that is tested, so the wait for it has an end."""
        deadline = time.monotonic() + timeout
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            assert selector.select(max(0, deadline - time.monotonic())), "the store's thread hangs"
        line = self.process.stdout.readline().decode()
        assert line, f"the program has ended with {self.process.wait()}"
        return Answer(line.rstrip("\n"))

    def call(self, *words):
        self.send(*words)
        return self.receive()

    def must(self, *words):
        answer = self.call(*words)
        assert answer.ok, answer
        return answer

    def put(self, kind, id, document):
        return self.call("put", kind, id, 1000, json.dumps({"name": id, "id": id, **document}, separators=(",", ":"), ensure_ascii=False))

    def write(self, kind, id, document):
        """Begin, put, commit; the first answer that is an error, else the commit's, whose text is the revision's number."""
        for step in (lambda: self.call("begin"), lambda: self.put(kind, id, document), lambda: self.call("commit")):
            answer = step()
            if not answer.ok:
                self.call("abort")
                return answer
        return answer

    def head(self):
        return int(self.must("head").text)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        if self.process.poll() is None:
            self.process.stdin.close()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.kill()
                raise
        self.process.stdout.close()
