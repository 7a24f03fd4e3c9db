"""A gateway with a store, driven over its admin API.

    def test_something(admin_gateway):
        gateway = admin_gateway()                       # SQLite in its directory, no tokens
        assert gateway.api.post("/admin/services", json={...}).status_code == 201
"""
import hashlib
import json
import re

import httpx
import pytest

from gateway import Gateway, Metrics
from plain_http import PLAIN_HTTP

KINDS = ("services", "routes", "plugins", "rate-limits", "roles", "certificates")
PROBLEM = "application/problem+json"


def sha256(text):
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def token(name, text, role="admin"):
    return {"name": name, "hash": sha256(text), "role": role}


class AdminGateway(Gateway):
    """`admin` is what stands in the configuration beside the admin listener's address; `bearer` the token that requests bring."""

    def __init__(self, directory, config=None, admin=None, bearer=None, **options):
        self.admin, self.bearer = admin or {}, bearer
        config = {"store": f"sqlite:{directory}/store.db", **(config or {})}
        super().__init__(directory, {name: value for name, value in config.items() if value is not None}, **options)
        self.api = self.admin_client()

    def _complete(self, config):
        whole = super()._complete(config)
        return {**whole, "admin": {**whole["admin"], **self.admin}}

    @property
    def admin_url(self):
        return f"http://127.0.0.1:{self.admin_port}"

    @property
    def admin_address(self):
        return ("127.0.0.1", self.admin_port)

    def admin_client(self, bearer=None, **options):
        bearer = bearer or self.bearer
        headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
        return httpx.Client(base_url=self.admin_url, headers=headers, **{**PLAIN_HTTP, **options}, timeout=30)

    def metrics(self):
        with self.admin_client() as client:
            answer = client.get("/admin/metrics")
        assert answer.status_code == 200, f"/admin/metrics answered {answer.status_code}"
        return Metrics(answer.text)

    def stop(self):
        if hasattr(self, "api"):
            self.api.close()
        super().stop()

    def empty(self):
        """Takes everything out of the store that can be asked for by kind."""
        answer = self.api.put("/admin/config", json={})
        assert answer.status_code == 200, answer.text

    def state(self):
        """All that a change could have changed: the configuration and the revision it is."""
        answer = self.api.get("/admin/config")
        return answer.headers["sluice-revision"], answer.text

    def audit(self):
        """The audit log's lines, as documents."""
        return [json.loads(line) for line in re.findall(r'(\{"type":"audit".*\})', self.stderr())]


@pytest.fixture
def admin_gateway(tmp_path):
    started = []

    def start(config=None, **options):
        started.append(AdminGateway(tmp_path / f"gateway-{len(started)}", config, **options))
        return started[-1]
    yield start
    for one in started:
        one.stop()


@pytest.fixture(scope="module")
def shared_admin_gateway(tmp_path_factory):
    """One for a whole file, without tokens."""
    gateway = AdminGateway(tmp_path_factory.mktemp("admin"))
    yield gateway
    gateway.stop()


@pytest.fixture
def admin(shared_admin_gateway):
    """The file's gateway, its configuration empty."""
    shared_admin_gateway.empty()
    return shared_admin_gateway


def problem(answer, status, reason):
    """The answer is this refusal, in the form that all of them have."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == PROBLEM
    document = answer.json()
    assert document["status"] == status and document["reason"] == reason, document
    assert document["requestId"] and document["detail"] and document["title"]
    return document


def service(name, port=9001, **more):
    return {"name": name, "instances": [f"127.0.0.1:{port}"], **more}


def route(name, path, service_name, **more):
    return {"name": name, "path": path, "serviceId": service_name, **more}
