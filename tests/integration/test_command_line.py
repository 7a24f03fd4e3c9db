"""Commands over the admin API and over stores: sluice routes, import, diff, export, migrate, token, completion."""
import json
import os
import re
import shutil
import subprocess

import pytest
import yaml

from backend import free_port
from gateway import BINARY, run_sluice
from live import wait_until


class CommandLine:
    """One state directory, one gateway over its store, and commands that find both by their environment."""

    def __init__(self, start, path, **options):
        self.store = f"sqlite:{path}/sluice.db"
        self.running = start({"store": self.store}, **options)
        self.environment = {**os.environ, "XDG_STATE_HOME": str(path), "USER": "ann",
                            "SLUICE_ADMIN": f"http://127.0.0.1:{self.running.admin_port}"}
        self.environment.pop("SLUICE_TOKEN", None)

    def __call__(self, *words, token=None, **options):
        environment = {**self.environment, **({"SLUICE_TOKEN": token} if token else {})}
        return run_sluice(*words, env=environment, **options)

    def json(self, *words):
        done = self(*words, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture
def sluice(gateway, tmp_path):
    return CommandLine(gateway, tmp_path)


def rows(done):
    assert done.returncode == 0, done.stderr
    return [re.split(r"  +", line) for line in done.stdout.splitlines()]


def test_a_service_and_a_route_are_made_by_words_and_serve_at_once(sluice, backend):
    done = sluice("services", "create", "name=users", f"instances=[{backend.address}]")
    assert (done.returncode, done.stdout) == (0, 'service "users" created\n')
    done = sluice("routes", "create", "name=user", "path=/users/*", "serviceId=users", "methods=[GET, POST]", "priority=5")
    assert (done.returncode, done.stdout, done.stderr) == (0, 'route "user" created\n', "")
    assert sluice.running.get("/users/1").status == 200
    assert rows(sluice("routes", "list")) == [
        ["NAME", "HOST", "PATH", "METHODS", "ENDS IN", "PRIORITY", "ENABLED"],
        ["user", "-", "/users/*", "GET, POST", "users", "5", "yes"]]
    assert rows(sluice("services"))[1][:3] == ["users", "http", backend.address]


def test_a_resource_comes_from_a_file_or_standard_input(sluice, tmp_path):
    file = tmp_path / "route.yaml"
    file.write_text("name: hello\npath: /hello\nrespond: { status: 200, body: hello }\n")
    assert sluice("routes", "create", file).returncode == 0
    done = subprocess.run([BINARY, "routes", "create", "-"], input='{"name": "bye", "path": "/bye", "respond": {"body": "bye"}}',
                          capture_output=True, text=True, env=sluice.environment, timeout=20, check=False)
    assert done.returncode == 0, done.stderr
    assert sluice.running.get("/hello").body == b"hello" and sluice.running.get("/bye").body == b"bye"


def test_update_changes_what_it_is_given_and_replace_the_whole(sluice):
    sluice("routes", "create", "name=a", "path=/a", 'respond={status: 200, body: "one"}', "priority=3")
    assert sluice("routes", "update", "a", 'respond={status: 200, body: "two"}').returncode == 0
    kept = json.loads(sluice("routes", "get", "a").stdout)
    assert kept["priority"] == 3 and kept["respond"]["body"] == "two"
    assert sluice.running.get("/a").body == b"two"
    assert sluice("routes", "update", "a", "--replace", "name=a", "path=/b", "respond={}").returncode == 0
    assert json.loads(sluice("routes", "get", "a").stdout)["priority"] == 0
    assert sluice.running.get("/a").status == 404


def test_a_change_to_what_somebody_else_has_changed_is_refused(sluice):
    sluice("routes", "create", "name=a", "path=/a", "respond={}")
    done = sluice("routes", "update", "a", "priority=1", "--if-match", '"00000000000000000000000000000000"')
    assert done.returncode == 1 and "(412)" in done.stderr
    assert json.loads(sluice("routes", "get", "a").stdout)["priority"] == 0


def test_what_is_in_use_stays_and_who_uses_it_is_said(sluice):
    sluice("services", "create", "name=users", "instances=[127.0.0.1:1]")
    sluice("routes", "create", "name=user", "path=/u", "serviceId=users")
    done = sluice("services", "delete", "users")
    assert done.returncode == 1 and "used by routes user" in done.stderr
    assert "delete all of it with --cascade" in done.stderr and "?cascade" not in done.stderr
    done = sluice("services", "delete", "users", "--cascade")
    assert (done.returncode, done.stdout) == (0, 'service "users" deleted\nand with it:\n  routes user deleted\n')
    assert sluice.json("routes", "list") == []


def test_hints_are_in_the_words_of_the_command_line(sluice):
    sluice("services", "create", "name=users", "instances=[127.0.0.1:1]")
    done = sluice("services", "create", "name=users", "instances=[127.0.0.1:1]")
    assert done.returncode == 1 and "update the one that has it" in done.stderr and "PUT" not in done.stderr
    assert "(`sluice services` lists what there is)" in sluice("services", "get", "nope").stderr
    sluice("api-keys", "create", "clientName=bob")
    done = sluice("api-keys", "get", "bob")
    assert done.returncode == 1 and "(it goes by its id: `sluice api-keys` lists what there is)" in done.stderr


def test_the_history_is_listed_shown_and_gone_back_in(sluice):
    sluice("services", "create", "name=users", "instances=[127.0.0.1:1]", "--comment", "the first one")
    sluice("plugins", "create", "name=cors", 'config={allowedOrigins: ["https://a.example"]}')
    sluice("services", "update", "users", "lbAlgorithm=least_connections")
    listed = rows(sluice("revisions"))
    assert listed[0] == ["REVISION", "AT", "AUTHOR", "FROM", "CHANGES", "COMMENT"]
    assert [line[0] for line in listed[1:]] == ["3", "2", "1"]
    assert listed[1][4:] == ["~ services users", "-"] and listed[3][4:] == ["+ services users", "the first one"]
    assert listed[2][4].startswith("+ plugins cors (")
    shown = sluice("revisions", "3").stdout
    assert '    /lbAlgorithm: "round_robin" -> "least_connections"\n' in shown
    done = sluice("rollback", "2", "--dry-run")
    assert done.returncode == 0 and "nothing was" in done.stdout and sluice.json("services", "get", "users")["lbAlgorithm"] == "least_connections"
    done = sluice("rollback", "2", "--comment", "it was better before")
    assert done.returncode == 0 and "0 created, 1 updated, 0 deleted, revision 4" in done.stdout, done.stderr
    assert sluice.json("services", "get", "users")["lbAlgorithm"] == "round_robin"
    assert sluice.json("revisions", "4")["comment"] == "it was better before"
    assert "nothing to change" in sluice("rollback", "2").stdout
    done = sluice("rollback", "99")
    assert done.returncode == 1 and "(`sluice revisions` lists what there is)" in done.stderr
    for words in (["rollback"], ["rollback", "a"], ["revisions", "../routes"], ["rollback", "0"], ["revisions", "1", "2"]):
        assert sluice(*words).returncode == 2


def test_a_dry_run_says_what_would_change_and_changes_nothing(sluice):
    done = sluice("services", "create", "name=users", "instances=[127.0.0.1:1]", "--dry-run")
    assert (done.returncode, done.stdout) == (0, "+ services users\nthis would change; nothing was\n"), done.stderr
    assert sluice.json("services", "list") == []
    done = sluice("plugins", "create", "name=cors", 'config={allowedOrigins: ["https://a.example"]}', "--dry-run")
    assert re.match(r"\+ plugins cors \([0-9a-f-]{36}\)\n", done.stdout), done.stderr
    sluice("services", "create", "name=users", "instances=[127.0.0.1:1]")
    sluice("routes", "create", "name=user", "path=/u", "serviceId=users")
    assert "/priority: 0 -> 3" in sluice("routes", "update", "user", "priority=3", "--dry-run").stdout
    assert "nothing would change" in sluice("routes", "update", "user", "priority=0", "--dry-run").stdout
    done = sluice("services", "delete", "users", "--cascade", "--dry-run", "--comment", "away & gone")
    assert "- services users\n" in done.stdout and "- routes user\n" in done.stdout
    assert len(sluice.json("routes", "list")) == 1


def test_cells_say_what_a_route_ends_in_and_what_a_role_permits(sluice):
    for name in ("blue", "green"):
        sluice("services", "create", f"name={name}", "instances=[127.0.0.1:1]")
    sluice("routes", "create", "name=canary", "path=/a", "serviceId=blue", "split={canaryServiceId: green, canaryPercentage: 12.5}")
    sluice("routes", "create", "name=shares", "path=/b", "split={services: [{serviceId: blue, weight: 3}, {serviceId: green, weight: 1}]}")
    sluice("routes", "create", "name=both", "path=/c", "aggregate={parts: [{name: a, service: blue, path: /}, {name: b, service: green, path: /}]}")
    sluice("routes", "create", "name=fixed", "path=/d", "respond={status: 418}")
    assert {line[0]: line[4] for line in rows(sluice("routes"))[1:]} == {
        "canary": "blue 87.5 %, green 12.5 %", "shares": "blue 75 %, green 25 %", "both": "aggregate: blue, green", "fixed": "status 418"}
    done = sluice("roles", "create", "name=reader", "permissions=[{methods: [GET, HEAD], paths: [/api/*]}, {routes: [fixed]}]")
    assert done.returncode == 0, done.stderr
    assert rows(sluice("roles"))[1][:2] == ["reader", "GET, HEAD /api/*; all fixed"]


def test_a_reload_says_the_revision_and_what_it_could_not_do(sluice):
    sluice("services", "create", "name=users", "instances=[127.0.0.1:1]")
    running = sluice.running
    assert run_sluice("reload", "--control", running.control).stdout == "revision 1 in force, 0 routes\n"
    running.write_config({**running.config, "workers": 2})
    done = run_sluice("reload", "--control", running.control)
    assert done.returncode == 0 and done.stdout.splitlines()[1:] == [
        "warning: workers: 2 takes effect with the next `sluice upgrade` or start; 1 go on"]


def test_a_file_gateway_says_where_its_keys_and_its_history_are(gateway, tmp_path):
    running = gateway({"routes": [{"name": "a", "path": "/a", "respond": {}}], "apiKeys": [{"clientName": "bob", "hash": "sha256:" + "ab" * 32}]})
    environment = {**os.environ, "SLUICE_ADMIN": f"127.0.0.1:{running.admin_port}"}
    done = run_sluice("api-keys", env=environment)
    assert done.returncode == 1 and "the keys of a file are in force but not shown here" in done.stderr and '"apiKeys"' in done.stderr
    assert "has no history" in run_sluice("revisions", env=environment).stderr


def test_a_reload_names_the_route_whose_version_is_gone(sluice):
    running = sluice.running
    versions = {"apiVersions": [{"header": "X-V", "default": "1", "versions": [{"version": "1"}]}]}
    running.write_config({**running.config, **versions})
    assert run_sluice("reload", "--control", running.control).returncode == 0
    assert sluice("routes", "create", "name=users-1", "path=/a", "version=1", "respond={}").returncode == 0
    running.write_config({**{name: value for name, value in running.config.items() if name != "apiVersions"}})
    done = run_sluice("reload", "--control", running.control)
    assert done.returncode == 1 and 'route "users-1": "version" needs "apiVersions"' in done.stderr


@pytest.mark.parametrize("words, expected", [
    (["routes", "create", "path=/a", "serviceId=nope"], r'/serviceId: unknown service "nope"'),
    (["routes", "create", "pathh=/a", "respond={}"], r'unknown field "pathh" \(did you mean "path"\?\)'),
    (["routes", "get", "nope"], r"\(404\)"),
    (["routes", "delete", "nope"], r"\(404\)"),
    (["routes", "create", "/there/is/no.yaml"], r"cannot be read: no such file"),
    (["routes", "create"], r"a file \(- for standard input\), or fields"),
    (["routes", "create", "a=b", "file.yaml"], r"one file .* or name=value"),
    (["routes", "create", "respond={"], r"not valid YAML"),
    (["routes", "lists"], r'unknown word "lists" \(did you mean list\)'),
    (["routes", "rotate", "a"], r"only API keys"),
    (["routs", "list"], r'unknown command "routs" \(did you mean "routes"\?\)'),
    (["routes", "list", "--tags", "x"], r"unknown option --tags"),
    (["routes", "list", "--json=yes"], r"takes no value"),
])
def test_a_mistake_is_told_with_its_mend(sluice, words, expected):
    done = sluice(*words)
    assert done.returncode in (1, 2) and re.search(expected, done.stderr), done.stderr
    assert sluice.json("routes", "list") == []


@pytest.mark.parametrize("words", [["routes", "--help"], ["import", "x.yaml", "-h"], ["run", "--help"]])
def test_a_command_is_explained_when_asked(words):
    done = run_sluice(*words)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"usage: sluice {words[0]} ") and "\n    " in done.stdout


def test_nobody_there_is_said_with_the_way_out(tmp_path):
    done = run_sluice("routes", "list", env={**os.environ, "SLUICE_ADMIN": f"127.0.0.1:{free_port()}"})
    assert done.returncode == 1 and "no answer from 127.0.0.1:" in done.stderr and "SLUICE_ADMIN" in done.stderr


def test_more_than_one_page_is_one_list(sluice, tmp_path):
    file = tmp_path / "many.yaml"
    file.write_text(yaml.safe_dump({"routes": [{"name": f"r{i:04}", "path": f"/{i}", "respond": {}} for i in range(1200)]}))
    assert sluice("import", file, "--store", sluice.store).returncode == 0
    wait_until(lambda: len(sluice.json("routes", "list")) == 1200)
    assert [route["name"] for route in sluice.json("routes", "list")] == [f"r{i:04}" for i in range(1200)]


def test_an_odd_name_is_one_segment(sluice):
    assert sluice("routes", "create", "name=a?b c%ü", "path=/a", "respond={}").returncode == 0
    done = sluice("routes", "get", "a?b c%ü")
    assert done.returncode == 0 and json.loads(done.stdout)["name"] == "a?b c%ü"
    assert sluice("routes", "delete", "a?b c%ü").returncode == 0


def test_a_key_is_shown_once_and_rotated(sluice):
    done = sluice("api-keys", "create", "clientName=bob", "scopes=[read]")
    made = re.search(r'API key "([0-9a-f-]{36})" created\nkey: (\w{43}) ', done.stdout)
    assert made, done.stdout
    listed = sluice.json("api-keys", "list")
    assert listed[0]["keyPrefix"] == made[2][:8] and made[2] not in json.dumps(listed)
    done = sluice("api-keys", "rotate", made[1], "--overlap", "60")
    assert done.returncode == 0 and re.search(r"key: \w{43} ", done.stdout)
    assert len(sluice.json("api-keys", "list")) == 2


def test_the_path_of_a_store_counts_from_where_the_command_is_given(tmp_path):
    file = tmp_path / "some.yaml"
    file.write_text("services: [{ name: a, instances: ['127.0.0.1:1'] }]\n")
    assert run_sluice("import", file, "--store", "sqlite:shop.db", cwd=tmp_path).returncode == 0
    assert (tmp_path / "shop.db").exists()
    assert run_sluice("diff", file, "--store", f"sqlite:{tmp_path}/shop.db").returncode == 0
    done = run_sluice("export", "--store", "sqlite:", cwd=tmp_path)
    assert done.returncode != 0 and "--store: sqlite: needs an absolute path" in done.stderr


def test_tags_of_a_key_are_kept_by_an_export_and_its_import(sluice, tmp_path):
    assert sluice("api-keys", "create", "clientName=ann", "tags=[team-a, b]").returncode == 0
    exported, copy = tmp_path / "all.yaml", f"sqlite:{tmp_path}/copy.db"
    exported.write_text("routes: []\n" + sluice("export", "--store", sluice.store).stdout)
    assert yaml.safe_load(exported.read_text())["apiKeys"][0]["tags"] == ["team-a", "b"]
    assert run_sluice("import", exported, "--store", copy).returncode == 0
    assert run_sluice("diff", exported, "--store", copy).returncode == 0
    kept = sluice.json("api-keys", "list")[0]["id"]
    assert sluice("api-keys", "update", kept, "tags=[c]").returncode == 0
    assert sluice.json("api-keys", "get", kept)["tags"] == ["c"]


def test_only_an_api_key_is_called_a_secret_that_is_shown_once(sluice):
    done = sluice("rate-limits", "create", "name=default", "limit=1000", "window=60", "key=client_id")
    assert (done.returncode, done.stdout) == (0, 'rate limit "default" created\n')
    assert done.stderr == ""


def test_an_import_changes_what_was_made_over_the_api_by_its_name(sluice, backend, tmp_path):
    sluice("services", "create", "name=users", f"instances=[{backend.address}]")
    before = sluice.json("services", "get", "users")["id"]
    file = tmp_path / "shop.yaml"
    file.write_text(f'services: [{{ name: users, instances: ["{backend.address}"], lbAlgorithm: least_connections }}]\n'
                    "routes: [{ name: checkout, path: /c, serviceId: users }]\n")
    done = sluice("diff", file, "--store", sluice.store)
    assert done.returncode == 3
    assert done.stderr == "" and done.stdout.splitlines()[:3] == ["~ services users", '    /lbAlgorithm: "round_robin" -> "least_connections"', "+ routes checkout"]
    assert sluice("import", file, "--store", sluice.store).returncode == 0
    wait_until(lambda: sluice.json("services", "get", "users")["lbAlgorithm"] == "least_connections")
    assert sluice.json("services", "get", "users")["id"] == before


def test_a_token_opens_the_admin_api_by_its_hash_alone(gateway, tmp_path):
    made = run_sluice("token", "ann", "--role", "read-only").stdout
    token = re.search(r"^token: (\w{43})$", made, re.MULTILINE)[1]
    fragment = yaml.safe_load(made[made.index("admin:"):])
    sluice = CommandLine(gateway, tmp_path, admin=fragment["admin"], ready=False)
    wait_until(lambda: sluice("routes", "list", token=token).returncode == 0)
    assert sluice("routes", "list", token=token).returncode == 0
    done = sluice("routes", "create", "path=/a", "respond={}", token=token)
    assert done.returncode == 1 and "(403)" in done.stderr
    done = sluice("routes", "list")
    assert done.returncode == 1 and "(401)" in done.stderr and "SLUICE_TOKEN" in done.stderr
    assert token not in done.stderr + fragment["admin"]["tokens"][0]["hash"]


WHOLE = """
services:
  - { name: users, instances: ["127.0.0.1:9001", { host: users.internal, port: 80, weight: 5 }], tags: [shop] }
routes:
  - { name: second, path: /b, serviceId: users, priority: 3 }
  - { name: first, path: "/a/{id}", respond: { status: 200, body: "id ${path.id}\\nand more" }, methods: [GET], headers: { X-A: "12" } }
plugins:
  - { name: add-header, instanceName: tag, config: { name: X-Env, value: "0123" }, routes: [first] }
rateLimits:
  - { name: default, limit: 1000, window: 60, key: client_id }
apiKeys:
  - { clientName: bob, hash: "sha256:%s", scopes: [a, b] }
""" % ("ab" * 32)


@pytest.mark.parametrize("form", [[], ["--json"]], ids=["YAML", "JSON"])
def test_an_export_imported_into_an_empty_store_is_the_same_gateway(tmp_path, form):
    whole, stores = tmp_path / "whole.yaml", [f"sqlite:{tmp_path}/{name}.db" for name in ("one", "two")]
    whole.write_text(WHOLE)
    done = run_sluice("import", whole, "--store", stores[0])
    assert done.returncode == 0 and re.search(r"6 created, 0 updated, 0 deleted, revision 1\n", done.stdout), done.stderr
    export = run_sluice("export", "--store", stores[0], *form)
    assert export.returncode == 0, export.stderr
    again = tmp_path / f"again.{'json' if form else 'yaml'}"
    again.write_text(export.stdout)
    assert run_sluice("import", again, "--store", stores[1]).returncode == 0
    assert run_sluice("export", "--store", stores[1], *form).stdout == export.stdout
    for store in stores:
        done = run_sluice("import", again, "--store", store)
        assert done.returncode == 0 and "nothing to change, revision 1" in done.stdout


def test_a_diff_says_what_an_import_would_change_and_changes_nothing(tmp_path):
    whole, store = tmp_path / "whole.yaml", f"sqlite:{tmp_path}/s.db"
    whole.write_text(WHOLE)
    run_sluice("import", whole, "--store", store)
    whole.write_text(WHOLE.replace("priority: 3", "priority: 4").replace("{ name: default, limit: 1000, window: 60, key: client_id }",
                                                                         "{ name: other, limit: 1, window: 60, key: ip }"))
    done = run_sluice("diff", whole, "--store", store)
    assert done.returncode == 3
    assert "~ routes second\n    /priority: 3 -> 4\n" in done.stdout and "+ rate-limits other\n" in done.stdout and "- rate-limits default\n" in done.stdout
    before = run_sluice("export", "--store", store).stdout
    assert "priority: 3" in before and "name: default" in before
    assert run_sluice("import", whole, "--store", store).returncode == 0
    assert run_sluice("diff", whole, "--store", store).returncode == 0


def test_an_import_is_all_or_nothing(tmp_path):
    whole, store = tmp_path / "whole.yaml", f"sqlite:{tmp_path}/s.db"
    whole.write_text(WHOLE)
    run_sluice("import", whole, "--store", store)
    before = run_sluice("export", "--store", store).stdout
    whole.write_text(WHOLE.replace("/a/{id}", "/a/{id}/{id}").replace("name: users", "name: people"))
    done = run_sluice("import", whole, "--store", store)
    assert done.returncode == 1 and "whole.yaml:" in done.stderr and "nothing was changed" in done.stderr
    assert run_sluice("export", "--store", store).stdout == before


def test_an_import_brings_no_second_plugin_of_a_kind_for_the_same(tmp_path):
    """Neither two of one file nor one beside what the store has, whoever put that there."""
    def cors(name, origin, tag):
        return f"  - {{ name: cors, instanceName: {name}, config: {{ origins: ['https://{origin}.example'] }}, tags: [{tag}] }}\n"

    file, store = tmp_path / "one.yaml", f"sqlite:{tmp_path}/s.db"
    file.write_text("plugins:\n" + cors("c1", "a", "x") + cors("c2", "b", "x"))
    for command in (("check", file), ("import", file, "--store", store)):
        done = run_sluice(*command)
        assert done.returncode == 1, command
        assert 'one.yaml:3:5: plugin "c2": "cors" is there for all routes already, by plugin "c1" (line 2)' in done.stderr, done.stderr
    file.write_text("plugins:\n" + cors("c1", "a", "x"))
    assert run_sluice("import", file, "--store", store).returncode == 0
    before = run_sluice("export", "--store", store).stdout
    file.write_text("plugins:\n" + cors("c2", "b", "y"))
    for options in ((), ("--dry-run",)):
        done = run_sluice("import", file, "--store", store, "--tag", "y", *options)
        assert done.returncode == 1 and 'plugin "c2": "cors" is there for all routes already, by plugin "c1"' in done.stderr, done.stderr
    assert run_sluice("export", "--store", store).stdout == before
    file.write_text("plugins:\n" + cors("c2", "a", "y"))
    assert run_sluice("import", file, "--store", store, "--tag", "y").returncode == 0, "it says the same"


def test_a_running_gateway_hears_of_an_import(sluice, tmp_path):
    file = tmp_path / "one.yaml"
    file.write_text("routes: [{ name: a, path: /a, respond: { body: here } }]\n")
    assert sluice("import", file, "--store", sluice.store).returncode == 0
    wait_until(lambda: sluice.running.get("/a").status == 200)
    assert sluice.running.get("/a").body == b"here"


def test_a_tag_touches_its_own_part_alone(tmp_path):
    store, file = f"sqlite:{tmp_path}/s.db", tmp_path / "part.yaml"
    file.write_text("routes: [{ name: a, path: /a, respond: {}, tags: [team-a] }, { name: b, path: /b, respond: {} }]\n")
    run_sluice("import", file, "--store", store)
    file.write_text("routes: [{ name: c, path: /c, respond: {}, tags: [team-a] }]\n")
    assert run_sluice("import", file, "--store", store, "--tag", "team-a").returncode == 0
    kept = yaml.safe_load(run_sluice("export", "--store", store).stdout)
    assert {route["name"] for route in kept["routes"]} == {"b", "c"}


def test_a_secret_is_exported_as_its_reference_or_only_when_told(tmp_path):
    store, file = f"sqlite:{tmp_path}/s.db", tmp_path / "whole.yaml"
    certificate = subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                                  "-subj", "/CN=a.example", "-addext", "subjectAltName=DNS:a.example", "-keyout", tmp_path / "key.pem"],
                                 capture_output=True, text=True, check=True).stdout
    key = (tmp_path / "key.pem").read_text()
    file.write_text(yaml.safe_dump({"certificates": [{"name": "a", "certificate": certificate, "key": key}]}))
    assert run_sluice("import", file, "--store", store).returncode == 0
    done = run_sluice("export", "--store", store)
    assert done.returncode == 1 and "--with-secrets" in done.stderr and done.stdout == "" and "PRIVATE" not in done.stderr
    assert 'certificate "a" holds a secret' in done.stderr and "nothing was exported" in done.stderr
    done = run_sluice("export", "--store", store, "--with-secrets")
    assert yaml.safe_load(done.stdout)["certificates"][0]["key"] == key


VERSIONED = """
routes:
  - { name: users-1, path: /users/*, version: 1, respond: { body: one } }
  - { name: users-2, path: /users/*, version: 2, respond: { body: two } }
"""
API_VERSIONS = "apiVersions: [{ header: X-API-Version, default: 2, versions: [{ version: 1 }, { version: 2 }] }]\n"


@pytest.mark.parametrize("gateway_says, file_says", [("", API_VERSIONS), (API_VERSIONS, ""), (API_VERSIONS, API_VERSIONS)])
@pytest.mark.parametrize("with_store", [False, True])
def test_routes_with_versions_are_imported_and_judged_by_the_file_that_has_the_versions(tmp_path, gateway_says, file_says, with_store):
    store = ["--store", f"sqlite:{tmp_path}/s.db"] if with_store else []
    config, file = tmp_path / "sluice.yaml", tmp_path / "shop.yaml"
    config.write_text("store: sqlite:s.db\n" + gateway_says)
    file.write_text(file_says + VERSIONED)
    assert run_sluice("diff", file, "--config", config, *store).returncode == 3
    done = run_sluice("import", file, "--config", config, *store)
    assert done.returncode == 0 and "2 created" in done.stdout, done.stderr
    assert ("apiVersions" in done.stderr) == bool(file_says)
    file.write_text(file_says + VERSIONED.replace("version: 1", "version: 7"))
    done = run_sluice("import", file, "--config", config, *store)
    assert done.returncode == 1 and 'route "users-1": "apiVersions" has no version "7" (there are 1 and 2)' in done.stderr


def test_without_a_file_that_says_them_versions_are_not_judged_and_a_known_file_without_them_is_named(tmp_path):
    store, config, file = f"sqlite:{tmp_path}/s.db", tmp_path / "sluice.yaml", tmp_path / "shop.yaml"
    file.write_text(VERSIONED)
    config.write_text("store: sqlite:s.db\n")
    done = run_sluice("import", file, "--config", config)
    assert done.returncode == 1 and f'route "users-1": "version" needs "apiVersions" (write them into {config})' in done.stderr
    assert run_sluice("import", file, "--store", store).returncode == 0


@pytest.mark.parametrize("form", [[], ["--json"]], ids=["YAML", "JSON"])
def test_an_export_of_routes_with_versions_is_a_good_file_and_a_good_import(tmp_path, form):
    config, file, export = tmp_path / "sluice.yaml", tmp_path / "shop.yaml", tmp_path / f"export.{'json' if form else 'yaml'}"
    config.write_text("store: sqlite:s.db\n" + API_VERSIONS)
    file.write_text(VERSIONED)
    assert run_sluice("import", file, "--config", config).returncode == 0
    done = run_sluice("export", "--config", config, *form)
    assert (done.returncode, done.stderr) == (0, "")
    export.write_text(done.stdout)
    assert "good, 2 routes" in run_sluice("check", export).stdout
    assert "nothing to change" in run_sluice("import", export, "--config", config).stdout
    assert run_sluice("import", export, "--store", f"sqlite:{tmp_path}/empty.db").returncode == 0
    done = run_sluice("export", "--store", f"sqlite:{tmp_path}/empty.db", *form)
    assert done.returncode == 0 and "--config" in done.stderr and "apiVersions" not in done.stdout
    export.write_text(done.stdout)
    assert run_sluice("import", export, "--store", f"sqlite:{tmp_path}/third.db").returncode == 0


def test_an_import_says_what_of_the_file_it_left_out(tmp_path):
    file, store = tmp_path / "whole.yaml", f"sqlite:{tmp_path}/s.db"
    file.write_text("workers: 1\nlisteners: [{ address: 127.0.0.1:8080 }]\nadmin: { address: 127.0.0.1:9080 }\n" + WHOLE)
    for words in (["diff"], ["import"], ["import", "--dry-run"]):
        done = run_sluice(words[0], file, "--store", store, *words[1:])
        assert re.search(r"left out, .*: workers, listeners, admin\n$", done.stderr), done.stderr
    file.write_text(WHOLE)
    assert run_sluice("import", file, "--store", store).stderr == ""


def test_migrate_says_from_which_version_to_which(tmp_path):
    store = f"sqlite:{tmp_path}/s.db"
    assert re.search(r"s\.db: schema version 0 became \d+\n", run_sluice("migrate", "--store", store).stdout)
    assert re.search(r"s\.db: schema version \d+, as this program knows it\n", run_sluice("migrate", "--store", store).stdout)


@pytest.mark.parametrize("command", ["export", "migrate"])
@pytest.mark.parametrize("store, expected", [
    ("mysql://x", "sqlite:/absolute/path"), ("sqlite:/dev/null/s.db", "/dev/null/s.db"), ("postgres://ann:s3cret@127.0.0.1:1/x", "127.0.0.1"),
])
def test_a_store_that_can_t_be_had_is_named_without_its_password(command, store, expected):
    done = run_sluice(command, "--store", store)
    assert done.returncode == 1 and expected in done.stderr and "s3cret" not in done.stderr and done.stdout == ""


@pytest.mark.parametrize("shell, syntax", [("bash", ["bash", "-n"]), ("zsh", ["zsh", "-n"])])
def test_completion_is_a_script_that_its_shell_reads(shell, syntax, tmp_path):
    script = tmp_path / "completion"
    script.write_text(run_sluice("completion", shell).stdout)
    assert "rate-limits" in script.read_text()
    if not shutil.which(syntax[0]):
        pytest.skip(f"no {shell} here")
    assert subprocess.run([*syntax, script], capture_output=True, check=False).returncode == 0


def test_bash_completes_commands_words_and_names(sluice, tmp_path):
    sluice("routes", "create", "name=payments", "path=/a", "respond={}")
    script = f"""source <({BINARY} completion bash)
complete_at() {{ COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _sluice; echo "${{COMPREPLY[@]}}"; }}
PATH={os.path.dirname(BINARY)}:$PATH
cd {tmp_path}
complete_at sluice rou
complete_at sluice routes de
complete_at sluice routes delete pay
complete_at sluice import --st"""
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=sluice.environment, timeout=30, check=False)
    assert done.stdout.splitlines() == ["routes", "delete", "payments", "--store"], done.stderr


def test_the_manual_page_is_that_of_the_commands():
    manual = run_sluice("docs", "manual").stdout
    for command in ("sluice routes", "sluice import", "sluice token"):
        assert command in manual.replace("\\-", "-")
