"""dnsmasq as a small authoritative server on a port of its own, for instances that are host names."""
import os
import pwd
import shutil
import signal
import socket
import struct
import subprocess
import time

from backend import free_port

DNSMASQ = shutil.which("dnsmasq") or "/usr/sbin/dnsmasq"


class NameServer:
    def __init__(self, directory, ttl=1):
        self.hosts = directory / "hosts"
        self.log = directory / "dnsmasq.log"
        self.hosts.write_text("")
        self.port = free_port()
        self.process = None
        self._arguments = [
            DNSMASQ, "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--no-poll",
            f"--addn-hosts={self.hosts}", f"--port={self.port}", "--listen-address=127.0.0.1", "--bind-interfaces",
            f"--local-ttl={ttl}", "--local=/test/", "--pid-file", f"--user={pwd.getpwuid(os.getuid()).pw_name}",
            "--log-queries", f"--log-facility={self.log}"]
        self.start()

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def start(self):
        self.process = subprocess.Popen(self._arguments, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while not self._answers():
            assert self.process.poll() is None, f"dnsmasq ended with {self.process.returncode}"
            assert time.monotonic() < deadline, "dnsmasq does not answer"
            time.sleep(0.02)

    def set(self, **names):
        """Replaces all records: set(users=["127.0.0.1"]) answers users.test."""
        self.hosts.write_text("".join(f"{address} {name}.test\n" for name, all_of in names.items() for address in all_of))
        self.process.send_signal(signal.SIGHUP)
        time.sleep(0.1)

    def queries(self, name):
        """How often a name was asked for."""
        return self.log.read_text().count(f"] {name}.test from ")

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(10)

    def _answers(self):
        query = struct.pack(">HHHHHH", 7, 0x100, 1, 0, 0, 0) + b"\x05ready\x04test\x00" + struct.pack(">HH", 1, 1)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.settimeout(0.2)
            probe.sendto(query, ("127.0.0.1", self.port))
            try:
                return probe.recv(512)[:2] == query[:2]
            except OSError:
                return False
