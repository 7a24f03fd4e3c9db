"""A gateway whose configuration lives in a store, changed over its admin API while it runs.

    running = start_live(gateway, store="sqlite:sluice.db", services=[...], routes=[...])
    running.admin.create("routes", {"path": "/a", "respond": {"status": 200}})
    assert running.get("/a").status == 200
"""
import time

import httpx

from plain_http import PLAIN_HTTP

RESOURCES = ("services", "routes", "plugins", "rateLimits", "roles", "certificates")


class Admin:
    """The admin API of one gateway, on one kept connection. What is not answered as expected fails the test with the answer's text."""

    def __init__(self, running):
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{running.admin_port}", **PLAIN_HTTP, timeout=30)

    def ask(self, method, path, body=None, expect=(200, 201, 204), **options):
        answer = self.client.request(method, f"/admin{path}", json=body, **options)
        expected = expect if isinstance(expect, tuple) else (expect,)
        assert answer.status_code in expected, f"{method} /admin{path}: {answer.status_code} {answer.text}"
        return answer

    def get(self, path, **options):
        return self.ask("GET", path, **options).json()

    def create(self, kind, body, **options):
        return self.ask("POST", f"/{kind}", body, **options).json()

    def put(self, kind, name, body, **options):
        return self.ask("PUT", f"/{kind}/{name}", body, **options).json()

    def patch(self, kind, name, body, **options):
        return self.ask("PATCH", f"/{kind}/{name}", body, **options).json()

    def delete(self, kind, name, **options):
        return self.ask("DELETE", f"/{kind}/{name}", **options)

    def store(self):
        return self.get("/health", expect=(200, 503))["store"]

    def revision(self):
        return self.store()["revision"]


def start_live(gateway, config=None, store="sqlite:sluice.db", **options):
    """Resources in `config` are put in over the admin API."""
    config = config or {}
    running = gateway({"store": store, **{name: value for name, value in config.items() if name not in RESOURCES}}, **options)
    running.admin = Admin(running)
    resources = {name: config[name] for name in RESOURCES if name in config}
    if resources:
        running.admin.ask("PUT", "/config", resources)
    return running


def wait_until(holds, timeout=10, pause=0.005, what="it"):
    """How many seconds it took until a function said yes. Refused connections count as no."""
    began = time.monotonic()
    while True:
        try:
            if holds():
                return time.monotonic() - began
        except (OSError, httpx.HTTPError):
            pass
        assert time.monotonic() - began < timeout, f"{what} does not come within {timeout} s"
        time.sleep(pause)
