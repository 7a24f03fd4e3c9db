"""The expression language: random expressions against a reference evaluator, `sluice expr`, and values in a running gateway."""
import json
import os
import pathlib
import random
import subprocess

import pytest

import expression_reference as reference
from expression_reference import Duration, Failed, Int, Map, Timestamp, Type, UInt
from gateway import BINARY, run_sluice

# --- the tool that evaluates as the gateway does ---


class Tool:
    def __init__(self):
        program = pathlib.Path(BINARY).resolve().parent / "tests" / "integration" / "sluice_expression_tool"
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, text, variables, unchecked=False):
        question = {"e": text, "variables": variables, "unchecked": unchecked}
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, f"the tool ended at {question}"
        return json.loads(answer)


@pytest.fixture(scope="module")
def tool():
    tool = Tool()
    yield tool
    tool.process.stdin.close()
    assert tool.process.wait(10) == 0


# --- values as JSON ---

def to_json(value):
    kind = {Timestamp: "timestamp", Duration: "duration"}.get(type(value), reference.NAMES[type(value)].removesuffix("_type"))
    if value is None:
        return ["null"]
    if kind in ("int", "uint", "duration"):
        return [kind, str(int(value))]
    if kind == "timestamp":
        return [kind, str(value // reference.SECOND), value % reference.SECOND]
    if kind == "double":
        return [kind, repr(value)]
    if kind == "bytes":
        return [kind, value.hex()]
    if kind == "list":
        return [kind, [to_json(item) for item in value]]
    if kind == "map":
        return [kind, [[to_json(key), to_json(item)] for key, item in value.pairs]]
    return [kind, value]


def from_json(answer):
    """A form that compares by type and value; -0 is 0, and a map has no order."""
    kind, *held = answer
    if kind == "double":
        return kind, repr(float(held[0]) + 0.0)
    if kind == "list":
        return kind, [from_json(item) for item in held[0]]
    if kind == "map":
        return kind, sorted(repr((from_json(key), from_json(item))) for key, item in held[0])
    return kind, *held


def comparable(value):
    kind, *held = to_json(value)
    if kind in ("string", "bytes", "type"):
        return kind, held[0] if kind == "bytes" else held[0].encode().hex()
    if kind == "timestamp":
        return kind, f"{held[0]}.{held[1]:09d}"
    if kind == "double":
        return kind, repr(float(held[0]) + 0.0)
    if kind == "list":
        return kind, [comparable(item) for item in value]
    if kind == "map":
        return kind, sorted(repr((comparable(key), comparable(item))) for key, item in value.pairs)
    return kind, *held


# --- random expressions ---

TEXTS = ["", "a", "ab", "abc", "é", "😀x", "\n\"\\", "1", "-7", "true", "2.5", "1e3", "inf", "2024-02-29T12:34:56.789Z",
         "2023-12-31T23:59:59+02:00", "1h30m", "-2.5s", "0", "9223372036854775808", "Z", "+05:45", "x" * 40]
INTS = [0, 1, -1, 2, 7, 10, 63, -64, 2**31, 2**53 + 1, 2**63 - 1, -2**63, 1700000000]
UINTS = [0, 1, 2, 9, 2**32, 2**63, 2**64 - 1]
DOUBLES = [0.0, -0.0, 1.0, -1.5, 2.5, 0.1, 1e-7, 1e21, 1e300, 5e-324, 2.0**53, 2.0**63, -2.0**63, 2.0**64, float("inf"), float("nan")]
BYTES = [b"", b"a", b"abc", b"\x00\xff", "é".encode()]
TIMES = [Timestamp(0), Timestamp(1709210096789000000), Timestamp(reference.FIRST), Timestamp(reference.LAST), Timestamp(-1)]
SPANS = [Duration(0), Duration(1), Duration(-1), Duration(90 * reference.SECOND), Duration(2**63 - 1), Duration(-2**63)]

SCALARS = ["bool", "int", "uint", "double", "string", "bytes", "timestamp", "duration"]
TYPES = [*SCALARS, "list(int)", "list(string)", "map(string, int)", "map(int, string)", "null"]
PLAIN = {"bool": [True, False], "int": [Int(i) for i in INTS], "uint": [UInt(i) for i in UINTS], "double": DOUBLES,
         "string": TEXTS, "bytes": BYTES, "timestamp": TIMES, "duration": SPANS, "null": [None]}


def quoted(text):
    return '"' + "".join({"\n": "\\n", '"': '\\"', "\\": "\\\\"}.get(c, c) for c in text) + '"'


class Generator:
    def __init__(self, seed, types_fit):
        self.random = random.Random(seed)
        self.types_fit = types_fit
        self.variables, self.locals = {}, []
        for number in range(8):
            kind = self.random.choice(TYPES)
            self.variables[f"v{number}"] = (kind, self.sample(kind))
        self.variables["anything"] = ("dyn", self.sample(self.random.choice(TYPES)))

    def sample(self, kind):
        if kind in PLAIN:
            return self.random.choice(PLAIN[kind])
        inner = [part.strip() for part in kind[kind.index("(") + 1:-1].split(",")]
        if len(inner) == 1:
            return [self.sample(inner[0]) for _ in range(self.random.randrange(4))]
        made = Map([])
        for _ in range(self.random.randrange(4)):
            key = self.sample(inner[0])
            if not made.has(key):
                made.pairs.append((key, self.sample(inner[1])))
        return made

    def literal(self, kind):
        value = self.sample(kind)
        if kind == "int":
            return str(int(value)) if self.random.random() < 0.8 or value < 0 else hex(value)
        if kind == "uint":
            return f"{int(value)}u"
        if kind == "double":
            text = repr(value)
            return f"double({quoted(text)})" if "inf" in text or "nan" in text else text
        if kind == "bytes":
            return 'b"' + "".join(f"\\x{byte:02x}" for byte in value) + '"'
        if kind == "timestamp":
            return f"timestamp({quoted(reference.to_string(value))})"
        if kind == "duration":
            return f"duration({quoted(reference.to_string(value))})"
        return {"string": quoted, "bool": lambda v: str(v).lower(), "null": lambda v: "null"}[kind](value)

    def leaf(self, kind):
        names = [name for name, (of, _) in self.variables.items() if of == kind or of == "dyn" and not self.types_fit]
        names += [name for name, of in self.locals if of == kind]
        if names and self.random.random() < 0.5:
            return self.random.choice(names)
        if kind in PLAIN:
            return self.literal(kind)
        inner = [part.strip() for part in kind[kind.index("(") + 1:-1].split(",")]
        if len(inner) == 1:
            return "[" + ", ".join(self.leaf(inner[0]) for _ in range(self.random.randrange(4))) + "]" \
                if self.random.random() < 0.9 else f"[{self.leaf(inner[0])}]"
        return "{" + ", ".join(f"{self.leaf(inner[0])}: {self.leaf(inner[1])}" for _ in range(self.random.randrange(3))) + "}"

    def make(self, kind, depth):
        """An expression of the type; where types need not fit, now and then one of another."""
        if not self.types_fit and self.random.random() < 0.12:
            kind = self.random.choice(TYPES)
        if depth <= 0:
            return self.leaf(kind)
        rules = RULES.get(kind, []) + ([] if kind == "null" else ANY)
        rule = self.random.choice(rules) if rules and self.random.random() < 0.9 else None
        text = rule(self, kind, depth - 1) if rule else self.leaf(kind)
        return f"({text})" if self.random.random() < 0.3 else text

    def group(self, kind, depth):
        return f"({self.make(kind, depth)})"

    def binary(self, signs, kinds):
        def rule(self, _, depth):
            left = right = self.random.choice(kinds)
            if isinstance(left, tuple):
                left, right = left
            return f"{self.group(left, depth)} {self.random.choice(signs)} {self.group(right, depth)}"
        return rule

    def macro(self, name, of, kind, depth, body):
        variable = f"x{len(self.locals)}"
        held = of[of.index("(") + 1:-1].split(",")[0].strip()
        range_text = self.group(of, depth)
        self.locals.append((variable, held))
        text = f"{range_text}.{name}({variable}, {self.make(body, depth)})"
        self.locals.pop()
        return text


def pick(*signs, of):
    def rule(g, _, depth):
        kinds = g.random.choice(of)
        left, right = kinds if isinstance(kinds, tuple) else (kinds, kinds)
        return f"{g.group(left, depth)} {g.random.choice(signs)} {g.group(right, depth)}"
    return rule


def call(pattern, *of):
    """A pattern with one place a type: "{}.getHours()"."""
    def rule(g, _, depth):
        return pattern.format(*[g.group(g.random.choice(kind) if isinstance(kind, list) else kind, depth) for kind in of])
    return rule


LISTS, MAPS = ["list(int)", "list(string)"], ["map(string, int)", "map(int, string)"]
NUMBERS = [(a, b) for a in ("int", "uint", "double") for b in ("int", "uint", "double")]
ANY = [lambda g, kind, depth: f"{g.group('bool', depth)} ? {g.group(kind, depth)} : {g.group(kind, depth)}"]
RULES = {
    "bool": [pick("==", "!=", of=TYPES), pick("<", "<=", ">", ">=", of=[*SCALARS, *NUMBERS]), pick("&&", "||", of=["bool"]),
             lambda g, _, d: " && ".join(g.group("bool", d) for _ in range(3)), call("!{}", "bool"),
             call("{} in {}", "int", "list(int)"), call("{} in {}", "string", "list(string)"), call("{} in {}", "string", "map(string, int)"),
             call("{}.startsWith({})", "string", "string"), call("{}.endsWith({})", "string", "string"),
             call("{}.contains({})", "string", "string"), call("bool({})", ["string", "bool"]), call("has({}.a)", "map(string, int)"),
             call("dyn({}) == dyn({})", TYPES, TYPES), call("dyn({}) < dyn({})", SCALARS, SCALARS),
             lambda g, k, d: g.macro(g.random.choice(["all", "exists", "exists_one"]), g.random.choice(LISTS + MAPS), k, d, "bool")],
    "int": [pick("+", "-", "*", "/", "%", of=["int"]), call("-{}", "int"), call("size({})", [*LISTS, *MAPS, "string", "bytes"]),
            call("{}.size()", [*LISTS, *MAPS, "string", "bytes"]), call("int({})", ["int", "uint", "double", "string", "timestamp"]),
            call("{}[{}]", "list(int)", "int"), call("{}[{}]", "map(string, int)", "string"), call("{}.a", "map(string, int)"),
            *[call(f"{{}}.get{part}()", "timestamp") for part in
              ("FullYear", "Month", "Date", "DayOfMonth", "DayOfYear", "DayOfWeek", "Hours", "Minutes", "Seconds", "Milliseconds")],
            *[call(f"{{}}.get{part}()", "duration") for part in ("Hours", "Minutes", "Seconds", "Milliseconds")],
            call('{}.getHours("+05:45")', "timestamp"), call('{}.getDate("-11:30")', "timestamp")],
    "uint": [pick("+", "-", "*", "/", "%", of=["uint"]), call("uint({})", ["int", "uint", "double", "string"])],
    "double": [pick("+", "-", "*", "/", of=["double"]), call("-{}", "double"), call("double({})", ["int", "uint", "double", "string"])],
    "string": [pick("+", of=["string"]), call("string({})", SCALARS), call("{}[{}]", "list(string)", "int"),
               call("{}[{}]", "map(int, string)", "int")],
    "bytes": [pick("+", of=["bytes"]), call("bytes({})", ["string", "bytes"])],
    "timestamp": [pick("+", of=[("timestamp", "duration"), ("duration", "timestamp")]), pick("-", of=[("timestamp", "duration")]),
                  call("timestamp({})", ["string", "int", "timestamp"])],
    "duration": [pick("+", "-", of=["duration"]), pick("-", of=["timestamp"]), call("duration({})", ["string", "duration"])],
    "list(int)": [pick("+", of=["list(int)"]), lambda g, k, d: g.macro("filter", "list(int)", k, d, "bool"),
                  lambda g, k, d: g.macro("map", g.random.choice(LISTS), k, d, "int"), call("[{}, {}]", "int", "int")],
    "list(string)": [pick("+", of=["list(string)"]), lambda g, k, d: g.macro("map", g.random.choice(LISTS + MAPS), k, d, "string")],
    "map(string, int)": [call('{{"a": {}, {}: {}}}', "int", "string", "int")],
    "map(int, string)": [call("{{{}: {}, 7: {}}}", "int", "string", "string")],
}


def expected(text, variables):
    try:
        return comparable(reference.evaluate(text, variables))
    except Failed as failed:
        return f"failed: {failed}"


def given(answer):
    return from_json(answer["v"]) if "v" in answer else f"failed: {answer['error']}"


def agree(a, b):
    return a == b or isinstance(a, str) and isinstance(b, str)


ROUNDS = int(os.environ.get("SLUICE_EXPRESSION_ROUNDS", "3000"))


@pytest.mark.parametrize("types_fit", [True, False])
def test_random_expressions_mean_what_the_reference_says(tool, types_fit):
    seed = int(os.environ.get("SLUICE_EXPRESSION_SEED", "1"))
    with_value, differing = 0, []
    for number in range(ROUNDS):
        generator = Generator(f"{seed}.{types_fit}.{number}", types_fit)
        text = generator.make(generator.random.choice(TYPES[:-1]), generator.random.randrange(1, 5))
        variables = {name: value for name, (_, value) in generator.variables.items()}
        typed = {name: {"type": kind, "v": to_json(value)} for name, (kind, value) in generator.variables.items()}
        right = expected(text, variables)
        unchecked, checked = tool.ask(text, typed, unchecked=True), tool.ask(text, typed)
        refused = checked.get("at") == "load"
        with_value += "v" in unchecked
        if not agree(right, given(unchecked)) or not refused and not agree(right, given(checked)) or types_fit and refused:
            differing.append((text, variables, right, given(unchecked), given(checked)))
    assert not differing, "\n".join(f"{len(differing)} differ, as {row}" for row in differing[:3])
    assert with_value > ROUNDS / 5


# --- sluice expr ---

REQUEST = ["--request", "GET http://api.example/users/7?page=2&tag=a&tag=b%20c", "-H", "X-Tier: gold", "-H", "Cookie: s=1; t=2",
           "--route", "/users/{id}", "--claims", '{"sub": "ann", "azp": "app", "scope": "read write", "roles": ["admin"], "level": 3, "org": {"id": 9}}']


@pytest.mark.parametrize("text, printed", [
    ('request.path.startsWith("/users/") && auth.claims.sub == "ann"', "true"),
    ('request.method + " " + request.host', '"GET api.example"'),
    ("request.query", '{"page": "2", "tag": "a,b c", "tag": "a,b c"}'),
    ('request.headers["x-tier"]', '"gold"'),
    ('request.headers[?"x-none"].orValue("free")', '"free"'),
    ("request.cookies.t", '"2"'),
    ("auth.scopes", '["read", "write"]'),
    ('"admin" in auth.roles', "true"),
    ("auth.claims.level >= 3 && auth.claims.org.id == 9", "true"),
    ("has(auth.claims.none) || has(auth.key_id)", "false"),
    ("auth.client_id", '"app"'),
    ("request.headers.host", '"api.example"'),
    ("path.id", '"7"'),
    ("[1, 2u, 2.0, b\"\\xff\", null, duration(\"90m\"), timestamp(0)]",
     '[1, 2u, 2.0, b"\\xff", null, duration("5400s"), timestamp("1970-01-01T00:00:00Z")]'),
])
def test_the_command_line_evaluates(text, printed):
    done = run_sluice("expr", text, *REQUEST)
    assert (done.returncode, done.stdout, done.stderr) == (0, printed + "\n", "")


@pytest.mark.parametrize("claims, text, printed", [
    ({"scope": "a  b "}, "auth.scopes", '["a", "b"]'),
    ({"scope": ["a b", "", "c"]}, "auth.scopes", '["a", "b", "c"]'),
    ({"scope": None, "scp": "a"}, "auth.scopes", '["a"]'),
    ({"sub": "", "client_id": None, "azp": "app"}, 'has(auth.user_id) ? "named" : auth.client_id', '"app"'),
])
def test_the_command_line_reads_claims_as_the_gateway_does(claims, text, printed):
    done = run_sluice("expr", text, "--claims", json.dumps(claims))
    assert (done.returncode, done.stdout, done.stderr) == (0, printed + "\n", "")


@pytest.mark.parametrize("claims", [{"scope": 5}, {"scope": ["a", 5]}, {"sub": 5}, {"sub": " a"}, {"azp": "a\nb"}, {"iss": []}, {"exp": "soon"}])
def test_the_command_line_refuses_claims_that_the_gateway_refuses(claims):
    done = run_sluice("expr", "1", "--claims", json.dumps(claims))
    assert (done.returncode, done.stdout) == (2, "") and "--claims" in done.stderr and "the token's" in done.stderr


def test_the_command_line_has_the_clients_address_in_the_gateways_spelling():
    for said, seen in (("::FFFF:10.0.0.1", "10.0.0.1"), ("2001:DB8:0::1", "2001:db8::1"), ("::102:304", "::102:304")):
        assert run_sluice("expr", "source.ip == string(ip(source.ip)) ? source.ip : 'two spellings'", "--client-ip", said).stdout == f'"{seen}"\n'


@pytest.mark.parametrize("text, status, words", [
    ("request.tme", 1, 'unknown variable "request.tme" at position 1 (did you mean "request.time"?)'),
    ('1 + "a"', 1, '"+" does not take (int, string) at position 3'),
    ("size(request.path) == ", 1, "the expression ends where a value is missing at position 23"),
    ('request.path.matches("(")', 1, "missing closing parenthesis"),
    ('request.time.getHours("Mars/Base")', 1, 'there is no time zone "Mars/Base"'),
    ("response.status", 1, 'there is no "response.status" before there is an answer'),
    ("auth.claims.none", 1, 'no such key "none"'),
    ("auth.key_id", 1, 'there is no value of "auth.key_id"'),
    ("path.name", 1, 'there is no value of "path.name"'),
    ("1 / (size(request.path) - 8)", 1, "division by zero at position 3"),
])
def test_the_command_line_says_what_is_wrong(text, status, words):
    done = run_sluice("expr", text, *REQUEST)
    assert (done.returncode, done.stdout) == (status, "")
    assert words in done.stderr


@pytest.mark.parametrize("text, printed", [
    ("[auth.method, auth.client_id, auth.key_id, auth.tier]", '["api-key", "app", "k-1", "premium"]'),
    ("auth.scopes", '["read", "write"]'),
    ("auth.roles", '["clerk"]'),
    ("size(auth.claims) == 0 && !has(auth.user_id)", "true"),
])
def test_who_asks_is_said_field_by_field(text, printed):
    auth = {"client_id": "app", "key_id": "k-1", "tier": "premium", "scopes": ["read", "write"], "roles": ["clerk"]}
    assert run_sluice("expr", text, "--auth", json.dumps(auth)).stdout == printed + "\n"


def test_fields_of_who_asks_go_over_those_of_claims():
    done = run_sluice("expr", '[auth.method, auth.user_id, auth.client_id, auth.claims.sub] + auth.roles', *REQUEST, "--auth", '{"user_id": "bob"}')
    assert done.stdout == '["jwt", "bob", "app", "ann", "admin"]\n'


def test_a_host_of_its_own_is_the_field_that_is_seen():
    done = run_sluice("expr", 'request.host + " " + request.headers.host', "-H", "Host: Other.example:81")
    assert done.stdout == '"other.example Other.example:81"\n'


@pytest.mark.parametrize("words", [["--route", "/orders/{id}"], ["--route", "/a/{"], ["--auth", "[1]"], ["--auth", '{"tier": "gold"}'],
                                   ["--auth", '{"user": "ann"}'], ["--auth", '{"roles": "clerk"}'], ["--auth", '{"method": "magic"}']])
def test_the_command_line_refuses_a_route_or_somebody_it_cannot_read(words):
    done = run_sluice("expr", "1", "--request", "GET http://api.example/users/7", *words)
    assert done.returncode == 2 and done.stderr.startswith("sluice: " + words[0])


@pytest.mark.parametrize("words", [[], ["1", "2"], ["1", "--request", "GET"], ["1", "-H", "nonsense"], ["1", "-H"],
                                   ["1", "--claims", "[1]"], ["1", "--claims", "{"], ["1", "--client-ip", "nowhere"], ["1", "--status", "9"]])
def test_the_command_line_refuses_what_it_cannot_read(words):
    done = run_sluice("expr", *words)
    assert done.returncode == 2 and done.stderr


# --- in a gateway ---

def test_header_values_are_expressions(gateway, backend):
    running = gateway({"services": [{"name": "s", "instances": [backend.address]}], "routes": [{
        "path": "/users/{id}", "serviceId": "s", "filters": [
            {"type": "add-header", "name": "X-Who",
             "value": '${path.id}-${request.query[?"page"].orValue("1")}-${request.headers["x-a"].upperAscii()}'},
            {"type": "add-header", "name": "X-Absent", "value": '[${request.headers["x-none"]}]'},
            {"type": "add-header", "on": "response", "name": "X-Status",
             "value": '${response.status >= 400 ? "bad" : "good"} ${response.headers["content-type"].contains("/")}'}]}]})
    answer = running.get("/users/7?page=3", headers={"X-A": "abc"})
    sent = {name.lower(): value for name, value in backend.requests[-1].headers}
    assert sent["x-who"] == "7-3-ABC" and sent["x-absent"] == "[]"
    assert answer.headers["X-Status"].startswith("good")


def test_a_mistake_in_an_expression_is_told_where_it_stands(gateway, tmp_path):
    file = tmp_path / "sluice.yaml"
    file.write_text('listeners: [{address: "127.0.0.1:18080"}]\n'
                    'services: [{name: s, instances: ["127.0.0.1:1"]}]\n'
                    'routes:\n  - path: /a\n    serviceId: s\n    filters:\n'
                    '      - { type: add-header, name: X, value: "${request.pth}" }\n')
    done = run_sluice("check", str(file))
    assert done.returncode == 1
    assert 'sluice.yaml:7:' in done.stderr
    assert '"value": unknown variable "request.pth" at position 3 (did you mean "request.path"?)\n' in done.stderr
