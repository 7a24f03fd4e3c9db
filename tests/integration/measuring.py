"""What the kernel says about a process."""
import ctypes
import os
import pathlib
import re


def resident_bytes(pid):
    return int(re.search(r"VmRSS:\s+(\d+) kB", pathlib.Path(f"/proc/{pid}/status").read_text())[1]) * 1024


def threads(pid):
    """{thread id: name}"""
    return {int(task): pathlib.Path(f"/proc/{pid}/task/{task}/comm").read_text().strip() for task in os.listdir(f"/proc/{pid}/task")}


def open_descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


PTRACE_SEIZE, PTRACE_INTERRUPT = 0x4206, 0x4207


def stop_thread(thread):
    """Stops one thread of a process for good (until the process dies or this one ends): a worker that no longer turns.

    Without a debugger's right to do so this raises PermissionError."""
    trace = ctypes.CDLL(None, use_errno=True).ptrace
    trace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    for request in (PTRACE_SEIZE, PTRACE_INTERRUPT):
        if trace(request, thread, None, None) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
