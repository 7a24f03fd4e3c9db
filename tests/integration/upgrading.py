"""What tests of `sluice upgrade` share: binaries that are installed and replaced, the command, the end of a drain."""
import json
import os
import shutil
import time

from gateway import BINARY


def install(path, source=BINARY):
    """As a package does: the new file takes the old one's name in one step. Returns its identity."""
    fresh = path.with_suffix(".fresh")
    shutil.copy(source, fresh)
    fresh.replace(path)
    return identity(path)


def install_script(path, text, mode=0o755):
    """A binary that is no good."""
    fresh = path.with_suffix(".fresh")
    fresh.write_text(text)
    fresh.chmod(mode)
    fresh.replace(path)


def identity(path):
    about = os.stat(path)
    return about.st_dev, about.st_ino


def runs(pid):
    """The identity of the file that a process executes, deleted or not."""
    return identity(f"/proc/{pid}/exe")


def upgrade(running, *arguments, expect=0):
    done = running.command("upgrade", *arguments, timeout=60)
    assert done.returncode == expect, f"upgrade ended with {done.returncode}: {done.stdout}{done.stderr}{running.stderr()}"
    return done


def status(running):
    done = running.command("status")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def wait_until_drained(running, timeout=20):
    deadline = time.monotonic() + timeout
    while status(running)["gatewaysDraining"] > 0 or len(running.gateway_processes()) > 1:
        assert time.monotonic() < deadline, f"still draining:\n{running.stderr()}"
        time.sleep(0.02)
