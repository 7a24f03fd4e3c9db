"""What the kernel says about a process, and the gateway about itself."""
import ctypes
import os
import pathlib
import re
import signal
import threading
import time


def resident_bytes(pid):
    return int(re.search(r"VmRSS:\s+(\d+) kB", pathlib.Path(f"/proc/{pid}/status").read_text())[1]) * 1024


def threads(pid):
    """{thread id: name}"""
    return {int(task): pathlib.Path(f"/proc/{pid}/task/{task}/comm").read_text().strip() for task in os.listdir(f"/proc/{pid}/task")}


def stop_process(pid, timeout=5):
    """SIGSTOP, and the wait until each of its threads stands: a busy machine lets them run on for a moment."""
    os.kill(pid, signal.SIGSTOP)
    deadline = time.monotonic() + timeout
    while any(_state(pid, thread) not in "Tt" for thread in threads(pid)):
        assert time.monotonic() < deadline, "a thread does not stop"
        time.sleep(0.001)


def _state(pid, thread):
    return pathlib.Path(f"/proc/{pid}/task/{thread}/stat").read_text().rpartition(")")[2].split()[0]


def open_descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


PTRACE_SEIZE, PTRACE_INTERRUPT, WAIT_FOR_ALL = 0x4206, 0x4207, 0x40000000


def stop_thread(thread):
    """Stops one thread of a process for good: a worker that no longer turns, in a process that looks alive.

    Without a debugger's right to do so this raises PermissionError. Whoever traces a thread is told of its end first, and
    until it has listened the process can't be gone for its parent: so somebody listens in the background."""
    trace = ctypes.CDLL(None, use_errno=True).ptrace
    trace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    for request in (PTRACE_SEIZE, PTRACE_INTERRUPT):
        if trace(request, thread, None, None) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    threading.Thread(target=_wait_for_end, args=(thread,), daemon=True).start()


def _wait_for_end(thread):
    while True:
        _, status = os.waitpid(thread, WAIT_FOR_ALL)
        if os.WIFEXITED(status) or os.WIFSIGNALED(status):
            return


class Peak:
    """The highest value of a gauge that anybody could have read meanwhile."""

    def __init__(self, running, name):
        self.running, self.name, self.value, self.done = running, name, 0, threading.Event()

    def __enter__(self):
        self.watcher = threading.Thread(target=self.watch, daemon=True)
        self.watcher.start()
        return self

    def watch(self):
        while not self.done.wait(0.01):
            self.value = max(self.value, self.running.metric(self.name))

    def __exit__(self, *_):
        self.done.set()
        self.watcher.join()
