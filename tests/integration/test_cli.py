"""The command line: what it prints, where, and the exit codes: 0 done, 1 it failed and said why, 2 it was called wrongly."""
import contextlib
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import threading
import time

import pytest
import yaml

from backend import free_port
from certificates import Authority
from gateway import BINARY, ROOT, run_sluice
from wire import connect, request_bytes

GOOD = """
listeners: [{ address: 127.0.0.1:8080 }]
services:
  - name: users
    instances: ["127.0.0.1:9001", { host: 127.0.0.1, port: 9002, weight: 50 }]
    lbAlgorithm: weighted_round_robin
routes:
  - name: user-routes
    path: /api/v1/users/*
    methods: [GET, POST]
    host: api.example.com
    headers: { X-Version: "2" }
    serviceId: users
    stripPrefix: true
    priority: 10
    timeoutMs: 30000
    retryCount: 1
    retryOn: [5xx, reset, connect-failure]
    filters:
      - { type: add_header, name: X-Env, value: prod }
"""


# What a first day with Sluice brings, beside BAD below: each told with the place, the cause and the mend.
FIRST_DAY = {
    "a list item's field too far left": ("routes:\n  - name: a\n    path: /a\n   serviceId: x\n", r"sluice\.yaml:4:4: not valid YAML: .*\(.*\"- \".*\)"),
    "a line too far right": ("routes:\n- name: a\n  path: /a\n   serviceId: x\n", r"sluice\.yaml:4:13: not valid YAML: .*indented too far"),
    "a tab": ("routes:\n\t- name: a\n", r"sluice\.yaml:2:1: .*use spaces"),
    "an unknown kind of filter": ("routes: [{ name: a, path: /a, respond: {}, filters: [{ type: teleport }] }]\n", r'sluice\.yaml:1:\d+: unknown policy "teleport" \(there are access, '),
    "a filter by its name": ("routes: [{ name: a, path: /a, respond: {}, filters: [cors] }]\n", r"sluice\.yaml:1:\d+: .*\{ type: KIND"),
    "no ending": ("routes:\n  - { name: a, path: /a }\n", r"sluice\.yaml:2:5: .*has none \(to proxy: serviceId"),
    "two endings": ("services: [{ name: s, instances: [\"127.0.0.1:1\"] }]\nroutes: [{ name: a, path: /a, serviceId: s, respond: {} }]\n", r"sluice\.yaml:2:10: .*several \(keep one\)"),
    "a name twice": ("routes:\n  - { name: a, path: /a, respond: {} }\n  - { name: a, path: /b, respond: {} }\n", r'sluice\.yaml:3:13: route name "a" is already given in line 2 \(.*change it\)'),
    "a port beyond all ports": ("listeners: [\"127.0.0.1:99999\"]\n", r"sluice\.yaml:1:13: .*\(a port from 1 to 65535"),
    "a range that is none": ("trustedProxies: [10.0.0.0/33]\n", r'sluice\.yaml:1:18: not an address or range: "10\.0\.0\.0/33" \(like '),
    "a regex for a part of the path": ("routes: [{ name: a, path: '~\\.php$', respond: {} }]\n", r"sluice\.yaml:1:27: .*write ~/.* or ~\.\*"),
    "a regex in a header": ("routes: [{ name: a, path: /a, headers: { X: '~*' }, respond: {} }]\n", r'sluice\.yaml:1:40: route "a": header "X": regex "\*": byte 1'),
    "a service that is nowhere": ("routes: [{ name: a, path: /a, serviceId: xyzzy }]\n", r'sluice\.yaml:1:42: unknown service "xyzzy" \(it is to stand under "services"\)'),
    "nothing": ("", r'sluice\.yaml: holds nothing.*\(begin with "routes:"\)'),
    "a number beyond all numbers": ("workers: 99999999999999999999\n", r"sluice\.yaml:1:10: .*between 1 and 1024"),
    "a negative weight": ("services: [{ name: s, instances: [{ host: x, port: 1, weight: -1 }] }]\n", r'sluice\.yaml:1:\d+: "weight" must be between 0 and 65535, not "-1"'),
    "a map for a list": ("services: { s: { instances: [] } }\n", r'sluice\.yaml:1:11: "services" must be a list, not a map \(.*"- "\)'),
    "a text for a map": ("routes: [{ name: a, path: /a, redirect: /b }]\n", r'sluice\.yaml:1:41: "redirect" must be a map of fields, not "/b" \(its fields: to, status, keepQuery\)'),
    "a word of another program": ("routes: [{ name: a, path: /a, respond: {}, upstream: x }]\n", r'sluice\.yaml:1:44: unknown field "upstream" \(here it is "serviceId"\)'),
    "a word of nobody": ("routes: [{ name: a, path: /a, respond: {}, zzzzzzzz: x }]\n", r'sluice\.yaml:1:44: unknown field "zzzzzzzz" \(known here: name, id, path, '),
}


@pytest.mark.parametrize("name", FIRST_DAY)
def test_a_beginners_mistake_is_told_with_place_cause_and_mend(tmp_path, name):
    text, words = FIRST_DAY[name]
    done = check(tmp_path, text)
    assert done.returncode == 1 and re.search(words, done.stderr), done.stderr


@pytest.mark.parametrize("text, words", [
    ('{ "routes": [ { "name": "a", } ] }\n', r"sluice\.json:1:\d+: not valid JSON: .*\(no comma stands before \] or \}\)"),
    ("workers: 1\n", r"sluice\.json:1:\d+: not valid JSON: .*YAML ends in \.yaml"),
    ('{ "routes": [ { "name": "a", "pth": "/a", "respond": {} } ] }\n', r'sluice\.json: /routes/0/pth: unknown field "pth" \(did you mean "path"\?\)'),
])
def test_mistakes_in_json_too(tmp_path, text, words):
    done = check(tmp_path, text, "sluice.json")
    assert done.returncode == 1 and re.search(words, done.stderr), done.stderr


@pytest.mark.parametrize("command", [["check"], ["run", "--config"]])
def test_a_file_that_cannot_be_read_says_why_and_what_to_do(tmp_path, command):
    folder = run_sluice(*command, tmp_path)
    assert folder.returncode == 1 and folder.stderr.endswith(f"{tmp_path}: cannot be read: is a directory (name a file in it)\n")
    missing = run_sluice(*command, tmp_path / "no.yaml")
    assert missing.returncode == 1 and "no.yaml: cannot be read: no such file or directory (write one" in missing.stderr


def check(tmp_path, text, name="sluice.yaml"):
    file = tmp_path / name
    file.write_text(text)
    return run_sluice("check", file.name, cwd=tmp_path)


def test_version_and_help():
    version = run_sluice("version")
    assert version.returncode == 0 and version.stdout.startswith("sluice ") and not version.stderr
    usage = run_sluice("help")
    assert usage.returncode == 0
    for command in ("run", "proxy", "check", "reload", "status", "version"):
        assert command in usage.stdout


@pytest.mark.parametrize("arguments, complaint", [
    ([], "usage"), (["serve"], "serve"), (["run", "--config"], "--config"), (["run", "--cofnig", "x"], "--cofnig"),
    (["proxy", "--listen", "127.0.0.1:1"], "--to"), (["check"], "FILE"), (["check", "a", "b"], "b"), (["version", "x"], "x"), (["statu"], 'did you mean "status"?'), (["run", "x.yaml"], "named by --config"),
    (["run", "--config", "a", "--config", "b"], "--config"),
])
def test_a_wrong_call_is_2_with_the_usage_on_stderr(arguments, complaint):
    done = run_sluice(*arguments)
    assert done.returncode == 2 and complaint in done.stderr and "usage" in done.stderr and not done.stdout


def test_a_file_with_a_store_is_good_without_a_count_of_what_was_not_looked_at(tmp_path):
    done = check(tmp_path, "store: sqlite:s.db\n")
    assert done.returncode == 0 and "in its store" in done.stdout and "0 routes" not in done.stdout
    assert not (tmp_path / "s.db").exists()


@pytest.mark.parametrize("listen, to, words", [("127.0.0.1:x", "127.0.0.1:1", "--listen:"), ("127.0.0.1:1", "127.0.0.1:99999", "--to:")])
def test_a_proxys_wrong_address_is_all_that_is_said(tmp_path, listen, to, words):
    done = run_sluice("proxy", "--listen", listen, "--to", to, env={**os.environ, "STATE_DIRECTORY": "/dev/null/none"})
    assert done.returncode == 1 and done.stderr.startswith(words) and len(done.stderr.splitlines()) == 1, done.stderr


def test_an_unknown_command_is_told_without_all_the_others():
    done = run_sluice("frobnicate")
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 2 and "`sluice help` lists them" in done.stderr


@pytest.mark.parametrize("word, meant", [("-t", "check"), ("validate", "check"), ("test", "check"), ("upstreams", "services")])
def test_what_is_called_otherwise_elsewhere_is_pointed_to(word, meant):
    done = run_sluice(word, "sluice.yaml")
    assert done.returncode == 2 and f'did you mean "{meant}"?' in done.stderr


@pytest.mark.parametrize("command", ["routes", "api-keys"])
@pytest.mark.parametrize("words", [["{}", "--help"], ["{}", "create", "--help"], ["help", "{}"]])
def test_the_options_of_resources_are_listed(command, words):
    done = run_sluice(*(word.format(command) for word in words))
    assert done.returncode == 0 and done.stdout.startswith(f"usage: sluice {command} ")
    for option in ("--admin URL", "--json", "--tag", "--if-match", "--replace", "--cascade"):
        assert option in done.stdout


def test_help_of_a_command_that_is_none_is_a_mistake():
    done = run_sluice("help", "rotues")
    assert done.returncode == 2 and 'did you mean "routes"?' in done.stderr
    assert run_sluice("-v").stdout == run_sluice("version").stdout
    assert run_sluice("help", "check").stdout == run_sluice("check", "--help").stdout


def test_a_good_file_is_0(tmp_path):
    done = check(tmp_path, GOOD)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("file", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda file: file.name)
def test_an_example_is_good(file):
    done = run_sluice("check", file)
    assert done.returncode == 0, done.stderr


def yaml_in_pages():
    """Every YAML block of the README and of docs/, by page and line."""
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        text = page.read_text()
        for block in re.finditer(r"^```ya?ml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            yield pytest.param(block[1], id=f"{page.name}:{text.count(chr(10), 0, block.start()) + 1}")


def made_whole(block):
    """A list is a route's filters. Services that are only spoken of are added, so that the rest of the block is read as it stands."""
    if isinstance(yaml.safe_load(block), list):
        captures = "".join(f"/{{{name}}}" for name in sorted(set(re.findall(r"\$\{path\.(\w+)\}", block))))
        filters = "".join(f"      {line}\n" for line in block.splitlines())
        block = f"routes:\n  - name: a\n    path: {captures or '/a'}\n    respond: {{ status: 200 }}\n    filters:\n{filters}"
    if {"ticketKeys", "clientAuth"} & set(yaml.safe_load(block)):  # more of a listener's tls
        lines = "".join(f"      {line.strip()}\n" for line in block.splitlines())
        block = f"listeners:\n  - address: 127.0.0.1:8443\n    tls:\n      certificates: [{{ certificate: a.pem, key: a.key }}]\n{lines}"
    return block + added_services(yaml.safe_load(block))


def added_services(config):
    named = {route["serviceId"] for route in config.get("routes", []) if "serviceId" in route}
    named |= {part["service"] for route in config.get("routes", []) for part in route.get("aggregate", {}).get("parts", [])}
    named |= {name for plugin in config.get("plugins", []) for name in plugin.get("services", [])}
    named -= {service["name"] for service in config.get("services", [])}
    made = [{"name": name, "instances": ["127.0.0.1:9001"]} for name in sorted(named)]
    if "services" not in config:
        return "services: " + json.dumps(made) + "\n"
    assert not made, "a page that lists services lists all that it names"
    return ""


def make_files(directory, block):
    """The certificates, keys and lists that a page speaks of, of one authority."""
    authority = Authority(directory)
    issued = authority.issue("shop.example.com")
    contents = {"certificate": issued.certificate, "key": issued.key, "clientCa": authority.path, "ca": authority.path,
                "clientCrl": authority.write_revocations("none.crl"), "ocsp": authority.write_ocsp("good.ocsp", issued)}
    files = [(match[2], contents[match[1]].read_bytes()) for match in re.finditer(r"\b(\w+): ([\w./-]+)", block) if match[1] in contents]
    for listed in re.findall(r"ticketKeys: \[(.*?)\]", block):
        files += [(name, os.urandom(80)) for name in listed.replace(" ", "").split(",")]
    for name, content in files:
        path = directory / name
        assert not pathlib.Path(name).is_absolute(), f"{name}: pages name relative paths"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)


@pytest.mark.parametrize("block", yaml_in_pages())
def test_what_the_pages_show_is_good(tmp_path, block):
    whole = made_whole(block)
    make_files(tmp_path, whole)
    done = check(tmp_path, whole)
    assert done.returncode == 0, done.stderr


# name: (text, what must be said, place and mend included)
BAD = {
    "an unknown field": ("routes:\n  - name: a\n    path: /a\n    servceId: x\n", 'sluice.yaml:4:5: unknown field "servceId" (did you mean "serviceId"?)'),
    "an unknown field at the top": ("worker: 1\n", 'sluice.yaml:1:1: unknown field "worker" (did you mean "workers"?)'),
    "a field given twice": ("workers: 1\nworkers: 2\n", 'sluice.yaml:2:1: duplicate key "workers"'),
    "an unknown service": ("services: [{ name: users, instances: [\"127.0.0.1:1\"] }]\nroutes: [{ name: a, path: /a, serviceId: user }]\n",
                           'unknown service "user" (did you mean "users"?)'),
    "an unknown policy": ("routes: [{ name: a, path: /a, respond: { status: 200 }, filters: [{ type: add_heder, name: X, value: y }] }]\n", '"add_heder"'),
    "a path without a slash": ("routes: [{ name: a, path: a, respond: { status: 200 } }]\n", "sluice.yaml:1:"),
    "a bad regex": ("routes: [{ name: a, path: \"~/a(\", respond: { status: 200 } }]\n", "sluice.yaml:1:"),
    "a bad regex in a header": ("routes: [{ name: a, path: /a, headers: { X: \"~(\" }, respond: { status: 200 } }]\n", "sluice.yaml:1:"),
    "no ending": ("routes: [{ name: a, path: /a }]\n", "serviceId"),
    "two endings": ("routes: [{ name: a, path: /a, respond: { status: 200 }, redirect: { to: /b } }]\n", "sluice.yaml:1:"),
    "a port out of range": ("services: [{ name: a, instances: [\"127.0.0.1:70000\"] }]\n", "70000"),
    "no port": ("services: [{ name: a, instances: [\"127.0.0.1\"] }]\n", "sluice.yaml:1:"),
    "a wrong type": ("workers: many\n", "sluice.yaml:1:10"),
    "a number below its minimum": ("workers: -1\n", "sluice.yaml:1:10"),
    "an unknown algorithm": ("services: [{ name: a, instances: [\"127.0.0.1:1\"], lbAlgorithm: roundrobin }]\n", 'did you mean "round_robin"?'),
    "two routes of one name": ("routes: [{ name: a, path: /a, respond: { status: 200 } }, { name: a, path: /b, respond: { status: 200 } }]\n", '"a"'),
    "a capture that is none": ("routes: [{ name: a, path: \"/a/{id}\", redirect: { to: \"/b/${path.di}\" } }]\n", "di"),
    "a status that is none": ("routes: [{ name: a, path: /a, respond: { status: 99 } }]\n", "sluice.yaml:1:"),
    "a bad method": ("routes: [{ name: a, path: /a, methods: [\"GE T\"], respond: { status: 200 } }]\n", "sluice.yaml:1:"),
    "a bad host": ("routes: [{ name: a, path: /a, host: \"a/b\", respond: { status: 200 } }]\n", "sluice.yaml:1:"),
    "a bad network": ("trustedProxies: [10.0.0.0/33]\n", "10.0.0.0/33"),
    "a bad listener": ("listeners: [{ address: \"127.0.0.1\" }]\n", "sluice.yaml:1:"),
    "CR and LF in a header": ("routes: [{ name: a, path: /a, respond: { status: 200, headers: { X: \"a\\r\\nb\" } } }]\n", "sluice.yaml:1:"),
    "what is not built yet": ("services: [{ name: a, discoveryType: consul, instances: [\"127.0.0.1:1\"] }]\n", "not in this version"),
    "a store of no known kind": ("store: mysql://x\n", "must be file, sqlite:PATH or postgres://"),
    "broken YAML": ("routes: [\n", "sluice.yaml:"),
    "a YAML alias bomb": ("a: &a [x, x, x]\nb: &b [*a, *a, *a]\n", "sluice.yaml:"),
    "no UTF-8": (b"routes: \xff\xfe\n".decode("latin-1"), "sluice.yaml"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_1_with_place_and_mend(tmp_path, name):
    text, complaint = BAD[name]
    done = check(tmp_path, text)
    assert done.returncode == 1 and complaint in done.stderr, done.stderr


def test_all_problems_come_at_once_and_in_order(tmp_path):
    done = check(tmp_path, "worker: 1\nroutes:\n  - name: a\n    pth: /a\n    serviceId: nobody\n  - name: b\n    path: /b\n    respond: { statos: 200 }\n")
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if line.startswith("sluice.yaml:")]
    assert len(lines) >= 3
    places = [int(line.split(":")[1]) for line in lines]
    assert places == sorted(places)


def test_json_is_read_too_and_its_problems_have_pointers(tmp_path):
    assert check(tmp_path, '{"routes": [{"name": "a", "path": "/a", "respond": {"status": 200}}]}', "sluice.json").returncode == 0
    done = check(tmp_path, '{"routes": [{"name": "a", "pth": "/a", "respond": {"status": 200}}]}', "sluice.json")
    assert done.returncode == 1 and "pth" in done.stderr and "/routes/0" in done.stderr
    done = check(tmp_path, '{"routes": [', "sluice.json")
    assert done.returncode == 1 and "sluice.json:1:" in done.stderr
    done = check(tmp_path, '{"workers": 1, "workers": 2}', "sluice.json")
    assert done.returncode == 1 and "sluice.json:1:" in done.stderr and "workers" in done.stderr


def test_a_file_that_is_not_there_is_1(tmp_path):
    for arguments in (["check", "none.yaml"], ["run", "--config", "none.yaml"]):
        done = run_sluice(*arguments, cwd=tmp_path)
        assert done.returncode == 1 and "none.yaml" in done.stderr


def test_mistakes_of_fields_are_told_together_and_then_those_of_what_is_compiled(tmp_path):
    text = """
services: [{ name: s, instances: ["127.0.0.1:1"] }]
routes:
  - { path: /a, serviceId: s, timeoutMs: soon }
  - { path: "~(", serviceId: s }
  - { path: /c, serviceId: nowhere }
rateLimits:
  - { limit: 1, window: -1 }
  - { limit: 1, window: 1, key: "${auth.client_id}", beforeIdentity: true }
"""
    def lines_with_mistakes(text):
        done = check(tmp_path, text)
        assert done.returncode == 1
        return [int(line.split(":")[1]) for line in done.stderr.splitlines()]
    assert lines_with_mistakes(text) == [4, 6, 8]
    text = text.replace("soon", "1000").replace("nowhere", "s").replace("-1", "60")
    assert lines_with_mistakes(text) == [5, 9]


def test_run_with_a_bad_file_is_1_with_the_same_words_as_check(tmp_path):
    (tmp_path / "sluice.yaml").write_text("worker: 1\n")
    done = run_sluice("run", "--config", "sluice.yaml", "--control", "control.sock", cwd=tmp_path)
    assert done.returncode == 1 and 'unknown field "worker" (did you mean "workers"?)' in done.stderr


def test_commands_without_a_running_master_say_so(tmp_path):
    for command in ("reload", "status"):
        done = run_sluice(command, "--control", tmp_path / "none.sock")
        assert done.returncode in (1, 2) and "none.sock" in done.stderr


def test_the_control_socket_is_found_by_the_state_directory(tmp_path, backend):
    """No --control anywhere: run, status and reload agree on $STATE_DIRECTORY."""
    port, admin = free_port(), free_port()
    (tmp_path / "sluice.yaml").write_text(f"listeners: [{{ address: '127.0.0.1:{port}' }}]\nadmin: {{ address: '127.0.0.1:{admin}' }}\n"
                                          "routes: [{ name: a, path: /a, respond: { status: 200 } }]\n")
    environment = {**os.environ, "STATE_DIRECTORY": str(tmp_path / "state")}
    process = subprocess.Popen([BINARY, "run", "--config", "sluice.yaml"], cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        wait_for_port(port)
        for command in ("status", "reload"):
            done = run_sluice(command, env=environment)
            assert done.returncode == 0, done.stderr
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def test_the_installed_service_is_found_where_the_state_directory_has_none(tmp_path):
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("no namespaces here")
    (tmp_path / "sluice.yaml").write_text(f"listeners: ['127.0.0.1:{free_port()}']\nadmin: {{ address: '127.0.0.1:{free_port()}' }}\n")
    script = f"""mount -t tmpfs none /run && mkdir /run/sluice
{BINARY} status && exit 9
{BINARY} run --config sluice.yaml --control /run/sluice/sluice.sock 2>/dev/null & master=$!
for _ in $(seq 600); do {BINARY} status 2>/dev/null && break; sleep 0.05; done
kill $master; wait $master"""
    done = subprocess.run(["unshare", "-rm", "sh", "-c", script], cwd=tmp_path, env={**os.environ, "STATE_DIRECTORY": str(tmp_path / "state")},
                          capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0 and json.loads(done.stdout), done.stderr
    assert f"cannot reach Sluice at {tmp_path}/state/sluice.sock: " in done.stderr and "nor is it at /run/sluice/sluice.sock" in done.stderr


@contextlib.contextmanager
def run_without_a_file(tmp_path, port, admin):
    """In a state directory that has its file already, for the one that is made has ports of its own."""
    state = tmp_path / "state"
    state.mkdir()
    (state / "sluice.yaml").write_text(f"listeners: ['127.0.0.1:{port}']\nadmin: {{ address: '127.0.0.1:{admin}' }}\nstore: sqlite:sluice.db\n")
    process = subprocess.Popen([BINARY, "run"], env={**os.environ, "STATE_DIRECTORY": str(state)}, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=30)


def test_the_first_steps_are_told_once_they_can_be_taken(tmp_path):
    port, admin = free_port(), free_port()
    with run_without_a_file(tmp_path, port, admin) as process:
        assert process.stdout.readline().startswith(f"Sluice serves http://127.0.0.1:{port} ")
        connect(("127.0.0.1", port)).close()
        assert f"http://127.0.0.1:{admin}" in process.stdout.readline()


def test_a_sluice_that_cannot_serve_does_not_say_that_it_serves(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with run_without_a_file(tmp_path, port, free_port()) as process:
            stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 1 and stdout == "" and f"cannot listen on 127.0.0.1:{port}" in stderr


def test_the_quickstart_says_nothing_of_a_sluice_that_is_somebody_elses(tmp_path):
    (tmp_path / "sluice").symlink_to(BINARY)
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    try:
        other = socket.create_server(("127.0.0.1", 9080))
    except OSError:
        other = None  # taken by somebody else: as good
    if other:
        def serve():
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = other.accept()
                    connection.sendall(answer)
                    connection.close()
        threading.Thread(target=serve, daemon=True).start()
    done = subprocess.run([ROOT / "scripts" / "run-quickstart"], env={**os.environ, "BUILD": str(tmp_path)}, capture_output=True, text=True,
                          timeout=90, check=False)
    if other:
        other.shutdown(socket.SHUT_RDWR)
        other.close()
    assert done.returncode == 1 and "does not start" in done.stderr and "Sluice runs" not in done.stdout


def wait_for_port(port, timeout=20):
    deadline = time.monotonic() + timeout
    while True:
        try:
            return connect(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_proxy_needs_no_file_at_all(tmp_path, backends):
    port = free_port()
    process = subprocess.Popen([BINARY, "proxy", "--listen", f"127.0.0.1:{port}", "--to", ",".join(one.address for one in backends[:2]),
                                "--control", str(tmp_path / "control.sock")], cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for_port(port)
        with connect(("127.0.0.1", port)) as wire:
            bodies = [wire.send(request_bytes(target="/a/b?c")).read_response().body for _ in range(4)]
        assert sorted(bodies) == [b"one", b"one", b"two", b"two"]
        assert backends[0].targets() == ["/a/b?c"] * 2
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def test_check_warns_of_paths_that_hardly_mean_what_was_meant(tmp_path):
    done = check(tmp_path, "routes:\n  - { path: /pfx/, respond: { status: 200 } }\n  - { path: '/users/:id', respond: { status: 200 } }\n")
    assert done.returncode == 0 and "good, 2 routes" in done.stdout
    assert done.stderr == ('sluice.yaml:2:13: warning: "/pfx/" takes that path alone; "/pfx/*" takes all below it\n'
                           'sluice.yaml:3:13: warning: ":id" in a path is literal text; "{id}" captures a segment\n')


def quick_proxy(tmp_path, port, to, *options):
    with open(tmp_path / "stdout.txt", "w") as out, open(tmp_path / "stderr.txt", "w") as told:
        return subprocess.Popen([BINARY, "proxy", "--listen", f"127.0.0.1:{port}", "--to", to, "--control", str(tmp_path / "control.sock"), *options],
                                cwd=tmp_path, stdout=out, stderr=told)


def test_the_quick_proxy_says_where_it_listens_and_why_it_answers_502(tmp_path):
    port, nobody = free_port(), free_port()
    process = quick_proxy(tmp_path, port, f"127.0.0.1:{nobody}")
    try:
        wait_for_port(port)
        with connect(("127.0.0.1", port)) as wire:
            assert [wire.send(request_bytes(target="/")).read_response().status for _ in range(20)] == [502] * 20
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    told = (tmp_path / "stderr.txt").read_text()
    assert re.search(rf"is serving at 127\.0\.0\.1:{port}, version 1,", told)
    lines = [line for line in told.splitlines() if "cannot connect" in line]
    assert re.search(rf' warning .*: service "proxy": cannot connect to 127\.0\.0\.1:{nobody}: connection refused', lines[0])
    assert len(lines) < 20  # one a second, so that a service that is away doesn't fill a disk


@pytest.mark.parametrize("option", ["-", "logs/access.log"])
def test_the_quick_proxy_writes_an_access_log_where_it_is_told_to(tmp_path, backends, option):
    port = free_port()
    (tmp_path / "logs").mkdir()
    process = quick_proxy(tmp_path, port, backends[0].address, f"--access-log={option}")
    try:
        wait_for_port(port)
        with connect(("127.0.0.1", port)) as wire:
            assert wire.send(request_bytes(target="/logged")).read_response().status == 200
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    lines = (tmp_path / ("stdout.txt" if option == "-" else option)).read_text().splitlines()
    assert [json.loads(line)["path"] for line in lines] == ["/logged"]


def test_the_example_service_answers_as_the_readme_says(tmp_path):
    port = free_port()
    process = subprocess.Popen(["/usr/bin/python3", str(ROOT / "examples" / "service.py"), "--port", str(port), "--name", "one"], stdout=subprocess.DEVNULL)
    try:
        wait_for_port(port)
        with connect(("127.0.0.1", port)) as wire:
            answer = json.loads(wire.send(request_bytes(target="/a?b=c", headers={"X-One": "1"})).read_response().body)
            assert (answer["instance"], answer["path"], answer["query"], answer["headers"]["x-one"]) == ("one", "/a", "b=c", "1")
            wire.send(request_bytes("HEAD", "/a"))
            assert wire.read_response("HEAD").status == 200
            wire.send(request_bytes(target="/status/503"))
            assert wire.read_response().status == 503
    finally:
        process.terminate()
        assert process.wait(10) == 0


def test_paths_in_a_file_count_from_the_file(tmp_path):
    port, admin = free_port(), free_port()
    folder = tmp_path / "conf"
    folder.mkdir()
    (folder / "sluice.yaml").write_text(f"listeners: [{{ address: '127.0.0.1:{port}' }}]\nadmin: {{ address: '127.0.0.1:{admin}' }}\naccessLog: {{ path: here.log }}\n"
                                        "routes: [{ name: a, path: /a, respond: { status: 200 } }]\n")
    process = subprocess.Popen([BINARY, "run", "--config", "conf/sluice.yaml", "--control", str(tmp_path / "c.sock")], cwd=tmp_path,
                               stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        wait_for_port(port)
        assert pathlib.Path(folder / "here.log").exists()
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
