"""A second reading of the expression language, slow and plain, to compare the gateway's with: parser and evaluator in one pass, without types
known ahead. evaluate(text, variables) returns a value or raises Failed.

Values: None, bool, Int, UInt, float, str, bytes, Timestamp and Duration (nanoseconds), list, Map (pairs), Type.
"""
import decimal
import math
import re
from dataclasses import dataclass

INT = (-2**63, 2**63 - 1)
UINT = (0, 2**64 - 1)
SECOND = 10**9
FIRST, LAST = -62135596800 * SECOND, 253402300800 * SECOND - 1


class Failed(Exception):
    """The expression has no value."""


class Int(int):
    pass


class UInt(int):
    pass


class Timestamp(int):
    pass


class Duration(int):
    pass


class Type(str):
    pass


@dataclass
class Map:
    pairs: list

    def find(self, key):
        for candidate, value in self.pairs:
            if key_equal(candidate, key):
                return value
        raise Failed("no such key")

    def has(self, key):
        return any(key_equal(candidate, key) for candidate, _ in self.pairs)


# --- types ---

NAMES = {type(None): "null_type", bool: "bool", Int: "int", UInt: "uint", float: "double", str: "string", bytes: "bytes",
         list: "list", Map: "map", Timestamp: "google.protobuf.Timestamp", Duration: "google.protobuf.Duration", Type: "type"}
NUMBERS = (Int, UInt, float)


def bounded(kind, value):
    low, high = {Int: INT, UInt: UINT, Duration: INT, Timestamp: (FIRST, LAST)}[kind]
    if not low <= value <= high:
        raise Failed("out of range")
    return kind(value)


# --- comparing ---

def compare(a, b):
    """-1, 0, 1, or None where one is no number."""
    if type(a) in NUMBERS and type(b) in NUMBERS:
        if float in (type(a), type(b)):
            a, b = float(a), float(b)
            if math.isnan(a) or math.isnan(b):
                return None
        else:
            a, b = int(a), int(b)
    elif type(a) is not type(b) or type(a) not in (bool, str, bytes, Timestamp, Duration):
        raise Failed("no such overload")
    elif type(a) is str:
        a, b = a.encode(), b.encode()
    return (a > b) - (a < b)


def equal(a, b):
    if type(a) in NUMBERS and type(b) in NUMBERS:
        return compare(a, b) == 0
    if type(a) is not type(b):
        return False
    if type(a) is list:
        return len(a) == len(b) and all(equal(x, y) for x, y in zip(a, b))
    if type(a) is Map:
        return len(a.pairs) == len(b.pairs) and all(b.has(k) and equal(v, b.find(k)) for k, v in a.pairs)
    return a == b


def key_equal(a, b):
    if type(a) in NUMBERS and type(b) in NUMBERS:
        return compare(a, b) == 0
    return type(a) is type(b) and type(a) in (bool, str) and a == b


# --- arithmetic ---

def same(a, b, *kinds):
    return type(a) is type(b) and type(a) in kinds


def add(a, b):
    if same(a, b, Int, UInt, Duration):
        return bounded(type(a), int(a) + int(b))
    if same(a, b, float, str, bytes, list):
        return a + b
    if {type(a), type(b)} == {Timestamp, Duration}:
        return bounded(Timestamp, int(a) + int(b))
    raise Failed("no such overload")


def subtract(a, b):
    if same(a, b, Int, UInt, Duration):
        return bounded(type(a), int(a) - int(b))
    if same(a, b, float):
        return a - b
    if same(a, b, Timestamp):
        return bounded(Duration, int(a) - int(b))
    if type(a) is Timestamp and type(b) is Duration:
        return bounded(Timestamp, int(a) - int(b))
    raise Failed("no such overload")


def multiply(a, b):
    if same(a, b, Int, UInt):
        return bounded(type(a), int(a) * int(b))
    if same(a, b, float):
        return a * b
    raise Failed("no such overload")


def divide(a, b):
    if same(a, b, Int, UInt):
        if b == 0:
            raise Failed("division by zero")
        quotient = abs(int(a)) // abs(int(b))
        return bounded(type(a), quotient if (a < 0) == (b < 0) else -quotient)
    if not same(a, b, float):
        raise Failed("no such overload")
    if b != 0:
        return a / b
    if a == 0 or math.isnan(a) or math.isnan(b):
        return math.nan
    return math.copysign(math.inf, math.copysign(1, a) * math.copysign(1, b))


def modulo(a, b):
    if not same(a, b, Int, UInt):
        raise Failed("no such overload")
    if b == 0:
        raise Failed("division by zero")
    bounded(type(a), abs(int(a)) // abs(int(b)) * (1 if (a < 0) == (b < 0) else -1))
    rest = abs(int(a)) % abs(int(b))
    return type(a)(-rest if a < 0 else rest)


def is_in(a, b):
    if type(b) is list:
        return any(equal(a, item) for item in b)
    if type(b) is Map:
        return b.has(a)
    raise Failed("no such overload")


def order(*wanted):
    return lambda a, b: compare(a, b) in wanted


BINARY = {"+": add, "-": subtract, "*": multiply, "/": divide, "%": modulo, "in": is_in, "==": equal,
          "!=": lambda a, b: not equal(a, b), "<": order(-1), "<=": order(-1, 0), ">": order(1), ">=": order(1, 0)}
LEVELS = [["<", "<=", ">", ">=", "==", "!=", "in"], ["+", "-"], ["*", "/", "%"]]


def index(of, key):
    if type(of) is Map:
        return of.find(key)
    if type(of) is not list or type(key) not in NUMBERS:
        raise Failed("no such overload")
    if math.isnan(key) or math.isinf(key) or key != int(key) or not 0 <= key < len(of):
        raise Failed("index")
    return of[int(key)]


# --- conversions ---

def plain(seconds_and_fraction):
    whole, fraction = divmod(seconds_and_fraction, SECOND)
    return f"{whole}" + (f".{fraction:09d}".rstrip("0") if fraction else "")


def calendar(nanoseconds):
    """year, month, day, day of the year from 0, day of the week from Sunday, second of the day; by counting."""
    days, rest = divmod(nanoseconds // SECOND, 86400)
    year, left = 1970, days
    cycles, left = divmod(left, 146097)
    year += 400 * cycles
    while left >= (length := 366 if leap(year) else 365):
        left -= length
        year += 1
    month, day = 1, left
    for length in month_lengths(year):
        if day < length:
            break
        day -= length
        month += 1
    return year, month, day + 1, left, (days + 4) % 7, rest


def leap(year):
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


def month_lengths(year):
    return [31, 29 if leap(year) else 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]


def to_string(value):
    if type(value) is bool:
        return "true" if value else "false"
    if type(value) in (Int, UInt):
        return str(int(value))
    if type(value) is str:
        return value
    if type(value) is bytes:
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise Failed("utf-8") from None
    if type(value) is float:
        if math.isnan(value) or math.isinf(value):
            return {True: "NaN", False: "Infinity" if value > 0 else "-Infinity"}[math.isnan(value)]
        if value == 0 or 1e-6 <= abs(value) < 1e21:
            return re.sub(r"\.0$", "", f"{decimal.Decimal(repr(value)):f}")
        digits, exponent = f"{decimal.Decimal(repr(value)).normalize():e}".split("e")
        return f"{digits}e{int(exponent):+d}"
    if type(value) is Duration:
        return ("-" if value < 0 else "") + plain(abs(int(value))) + "s"
    if type(value) is Timestamp:
        year, month, day, _, _, second = calendar(value)
        fraction = f".{value % SECOND:09d}".rstrip("0") if value % SECOND else ""
        return f"{year:04d}-{month:02d}-{day:02d}T{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}{fraction}Z"
    raise Failed("no such overload")


def to_whole(kind, pattern, value):
    if type(value) in (Int, UInt):
        return bounded(kind, int(value))
    if type(value) is Timestamp and kind is Int:
        return Int(value // SECOND)
    if type(value) is float:
        low, high = (-2.0**63, 2.0**63) if kind is Int else (0, 2.0**64)
        if not (low < value < high or value == low == 0):
            raise Failed("range")
        return kind(int(value))
    if type(value) is str:
        if not re.fullmatch(pattern, value, re.ASCII):
            raise Failed("no number")
        return bounded(kind, int(value))
    raise Failed("no such overload")


def to_double(value):
    if type(value) in NUMBERS:
        return float(value)
    if type(value) is not str:
        raise Failed("no such overload")
    if re.fullmatch(r"[+-]?(nan|inf|infinity)", value, re.IGNORECASE | re.ASCII):
        return float(value)
    if not re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", value, re.ASCII) or math.isinf(float(value)):
        raise Failed("no double")
    return float(value)


def to_bool(value):
    if type(value) is bool:
        return value
    if type(value) is not str:
        raise Failed("no such overload")
    if value in ("1", "t", "true", "TRUE", "True"):
        return True
    if value in ("0", "f", "false", "FALSE", "False"):
        return False
    raise Failed("no bool")


def to_bytes(value):
    if type(value) is bytes:
        return value
    if type(value) is not str:
        raise Failed("no such overload")
    return value.encode()


def to_timestamp(value):
    if type(value) is Timestamp:
        return value
    if type(value) is Int:
        return bounded(Timestamp, int(value) * SECOND)
    if type(value) is not str:
        raise Failed("no such overload")
    found = re.fullmatch(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:Z|([+-])(\d\d):(\d\d))", value, re.ASCII)
    if not found:
        raise Failed("no timestamp")
    year, month, day, hour, minute, second = (int(part) for part in found.groups()[:6])
    if not (1 <= year and 1 <= month <= 12 and hour < 24 and minute < 60 and second < 60):
        raise Failed("no timestamp")
    if not 1 <= day <= month_lengths(year)[month - 1]:
        raise Failed("no timestamp")
    days = sum(366 if leap(y) else 365 for y in range(1, year)) + sum(month_lengths(year)[:month - 1]) + day - 1 - 719162
    offset = 0
    if found[8]:
        if int(found[9]) > 23 or int(found[10]) > 59:
            raise Failed("no timestamp")
        offset = (int(found[9]) * 60 + int(found[10])) * 60 * (-1 if found[8] == "-" else 1)
    seconds = days * 86400 + hour * 3600 + minute * 60 + second - offset
    return bounded(Timestamp, seconds * SECOND + int((found[7] or "").ljust(9, "0")[:9]))


UNITS = {"ns": 1, "us": 1000, "µs": 1000, "ms": 10**6, "s": SECOND, "m": 60 * SECOND, "h": 3600 * SECOND}


def to_duration(value):
    if type(value) is Duration:
        return value
    if type(value) is not str:
        raise Failed("no such overload")
    if not re.fullmatch(r"[+-]?(0|((\d+\.?\d*|\.\d+)(ns|us|µs|ms|s|m|h))+)", value, re.ASCII):
        raise Failed("no duration")
    total = 0
    for whole, fraction, unit in re.findall(r"(\d*)\.?(\d*)(ns|us|µs|ms|s|m|h)", value, re.ASCII):
        total += int(whole or 0) * UNITS[unit] + int(fraction.ljust(9, "0")[:9]) * UNITS[unit] // SECOND
    return bounded(Duration, -total if value.startswith("-") else total)


def size(value):
    if type(value) in (str, bytes, list):
        return Int(len(value))
    if type(value) is Map:
        return Int(len(value.pairs))
    raise Failed("no such overload")


def text_function(function):
    def run(a, b):
        if not same(a, b, str):
            raise Failed("no such overload")
        return function(a, b)
    return run


def part(of_timestamp, of_duration=None):
    def run(value, zone=None):
        if type(value) is Duration and of_duration and zone is None:
            magnitude = of_duration(abs(int(value)))
            return Int(-magnitude if value < 0 else magnitude)
        if type(value) is not Timestamp or (zone is not None and type(zone) is not str):
            raise Failed("no such overload")
        found = re.fullmatch(r"([+-]?)(\d\d):(\d\d)", zone or "UTC", re.ASCII)
        if not found and zone not in (None, "UTC", "Z"):
            raise Failed("zone")
        offset = (int(found[2]) * 60 + int(found[3])) * (-60 if found[1] == "-" else 60) if found else 0
        if found and (int(found[2]) > 23 or int(found[3]) > 59):
            raise Failed("zone")
        return Int(of_timestamp(calendar(int(value) + offset * SECOND), int(value)))
    return run


GLOBAL = {"size": size, "string": to_string, "bytes": to_bytes, "bool": to_bool, "double": to_double,
          "int": lambda value: to_whole(Int, r"[+-]?[0-9]+", value), "uint": lambda value: to_whole(UInt, r"[0-9]+", value),
          "timestamp": to_timestamp, "duration": to_duration, "dyn": lambda value: value,
          "type": lambda value: Type(NAMES[type(value)])}
RECEIVER = {"size": size, "startsWith": text_function(str.startswith), "endsWith": text_function(str.endswith),
            "contains": text_function(lambda a, b: b in a),
            "getFullYear": part(lambda c, _: c[0]), "getMonth": part(lambda c, _: c[1] - 1),
            "getDate": part(lambda c, _: c[2]), "getDayOfMonth": part(lambda c, _: c[2] - 1),
            "getDayOfYear": part(lambda c, _: c[3]), "getDayOfWeek": part(lambda c, _: c[4]),
            "getHours": part(lambda c, _: c[5] // 3600, lambda d: d // SECOND // 3600),
            "getMinutes": part(lambda c, _: c[5] // 60 % 60, lambda d: d // SECOND // 60),
            "getSeconds": part(lambda c, _: c[5] % 60, lambda d: d // SECOND),
            "getMilliseconds": part(lambda c, v: v % SECOND // 10**6, lambda d: d // 10**6 % 1000)}

# --- reading ---

TOKEN = re.compile(r"""\s*(?:(?P<float>(?:\d+\.\d+|\.\d+)(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+)
    |(?P<hex>0x[0-9a-fA-F]+)(?P<hexu>[uU])?|(?P<int>\d+)(?P<intu>[uU])?
    |(?P<bytes>b)?(?P<text>"(?:[^"\\]|\\.)*")
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*)|(?P<sign>&&|\|\||==|!=|<=|>=|[-+*/%!<>?:.,()\[\]{}]))""", re.VERBOSE | re.ASCII)


def tokens_of(text):
    tokens, at = [], 0
    while at < len(text.rstrip()):
        found = TOKEN.match(text, at)
        if not found:
            raise Failed("syntax")
        tokens.append(found)
        at = found.end()
    return tokens


def unescape(text, is_bytes):
    """The escapes that the generator writes: \\xHH, \\uHHHH, \\", \\\\, \\n."""
    def one(found):
        escape = found[0]
        if escape[1] == "x" and is_bytes:
            return chr(int(escape[2:], 16) + 0xf0000)
        if escape[1] in "xuU":
            return chr(int(escape[2:], 16))
        return {"n": "\n"}.get(escape[1], escape[1])
    plain_text = re.sub(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|.)", one, text, flags=re.DOTALL)
    if not is_bytes:
        return plain_text
    return b"".join(bytes([ord(c) - 0xf0000]) if 0xf0000 <= ord(c) < 0xf0100 else c.encode() for c in plain_text)


class Reader:
    """Reads text into nested tuples: ("const", value), ("name", n), ("call", name, args), ("method", name, args), …"""

    def __init__(self, text):
        self.tokens, self.at = tokens_of(text), 0

    def sign(self):
        token = self.tokens[self.at] if self.at < len(self.tokens) else None
        return (token["sign"] or token["name"]) if token else None

    def take(self, sign):
        if self.sign() != sign:
            return False
        self.at += 1
        return True

    def want(self, sign):
        if not self.take(sign):
            raise Failed(f"syntax: no {sign}")

    def whole(self):
        term = self.expression()
        if self.at != len(self.tokens):
            raise Failed("syntax: more behind")
        return term

    def expression(self):
        condition = self.chain("||", lambda: self.chain("&&", lambda: self.binary(0)))
        if not self.take("?"):
            return condition
        first = self.chain("||", lambda: self.chain("&&", lambda: self.binary(0)))
        self.want(":")
        return "if", condition, first, self.expression()

    def chain(self, sign, operand):
        terms = [operand()]
        while self.take(sign):
            terms.append(operand())
        return (sign, *terms) if len(terms) > 1 else terms[0]

    def binary(self, level):
        if level == len(LEVELS):
            return self.unary()
        left = self.binary(level + 1)
        while self.sign() in LEVELS[level]:
            sign = self.sign()
            self.at += 1
            left = "binary", sign, left, self.binary(level + 1)
        return left

    def unary(self):
        if self.take("!"):
            return "not", self.unary()
        if self.take("-"):
            token = self.tokens[self.at]
            if token["int"] or token["hex"] or token["float"]:
                return self.suffixes(self.number(-1))
            return "negative", self.unary()
        return self.suffixes(self.primary())

    def number(self, sign):
        token = self.tokens[self.at]
        self.at += 1
        if token["float"]:
            return "const", sign * float(token["float"])
        digits, is_uint = (int(token["hex"], 16), token["hexu"]) if token["hex"] else (int(token["int"]), token["intu"])
        if is_uint and sign < 0:
            raise Failed("negative uint")
        return "const", bounded(UInt if is_uint else Int, sign * digits)

    def primary(self):
        if self.at == len(self.tokens):
            raise Failed("syntax: the end")
        token = self.tokens[self.at]
        if token["int"] or token["hex"] or token["float"]:
            return self.number(1)
        if token["text"]:
            self.at += 1
            return "const", unescape(token["text"][1:-1], bool(token["bytes"]))
        if self.take("("):
            term = self.expression()
            self.want(")")
            return term
        if self.take("["):
            return "list", self.items("]")
        if self.take("{"):
            return "map", self.entries()
        if not token["name"]:
            raise Failed("syntax")
        self.at += 1
        if token["name"] in ("true", "false", "null"):
            return "const", {"true": True, "false": False, "null": None}[token["name"]]
        if self.take("("):
            arguments = self.items(")")
            return ("has", arguments[0]) if token["name"] == "has" else ("call", token["name"], arguments)
        return "name", token["name"]

    def items(self, end):
        items = []
        while not self.take(end):
            items.append(self.expression())
            if not self.take(","):
                self.want(end)
                break
        return items

    def entries(self):
        entries = []
        while not self.take("}"):
            key = self.expression()
            self.want(":")
            entries.append((key, self.expression()))
            if not self.take(","):
                self.want("}")
                break
        return entries

    def suffixes(self, term):
        while True:
            if self.take("["):
                term = "index", term, self.expression()
                self.want("]")
            elif self.take("."):
                name = self.tokens[self.at]["name"]
                self.at += 1
                if self.take("("):
                    arguments = self.items(")")
                    is_macro = name in ("all", "exists", "exists_one", "map", "filter") and len(arguments) == 2
                    term = ("macro" if is_macro else "method", name, term, arguments)
                else:
                    term = "select", term, name
            else:
                return term


# --- evaluating ---

def want_bool(value):
    if type(value) is not bool:
        raise Failed("no bool")
    return value


def decide(deciding, attempts):
    """One that decides settles it, whatever failed; else the first failure counts."""
    failure = None
    for attempt in attempts:
        try:
            if want_bool(attempt()) == deciding:
                return deciding
        except Failed as failed:
            failure = failure or failed
    if failure:
        raise failure
    return not deciding


class Evaluator:
    def __init__(self, variables):
        self.variables = variables

    def value(self, term):
        return getattr(self, "on_" + WORDS.get(term[0], term[0]))(*term[1:])

    def on_const(self, value):
        return value

    def on_name(self, name):
        if name in self.variables:
            return self.variables[name]
        if name in NAMES.values():
            return Type(name)
        raise Failed("unknown variable")

    def on_select(self, of, name):
        value = self.value(of)
        if type(value) is not Map:
            raise Failed("no fields")
        return value.find(name)

    def on_has(self, term):
        value = self.value(term[1])
        if type(value) is not Map:
            raise Failed("no fields")
        return value.has(term[2])

    def on_list(self, items):
        return [self.value(item) for item in items]

    def on_map(self, entries):
        made = Map([])
        for key, value in entries:
            key, value = self.value(key), self.value(value)
            if type(key) not in (bool, Int, UInt, str) or made.has(key):
                raise Failed("key")
            made.pairs.append((key, value))
        return made

    def on_index(self, of, key):
        return index(self.value(of), self.value(key))

    def on_binary(self, sign, left, right):
        return BINARY[sign](self.value(left), self.value(right))

    def on_not(self, operand):
        return not want_bool(self.value(operand))

    def on_negative(self, operand):
        value = self.value(operand)
        if type(value) is float:
            return -value
        if type(value) is not Int:
            raise Failed("no such overload")
        return bounded(Int, -int(value))

    def on_and(self, *terms):
        return decide(False, [lambda term=term: self.value(term) for term in terms])

    def on_or(self, *terms):
        return decide(True, [lambda term=term: self.value(term) for term in terms])

    def on_if(self, condition, first, second):
        return self.value(first if want_bool(self.value(condition)) else second)

    def on_call(self, name, arguments):
        return self.run(GLOBAL, name, arguments)

    def on_method(self, name, of, arguments):
        return self.run(RECEIVER, name, [of, *arguments])

    def run(self, table, name, arguments):
        if name not in table:
            raise Failed("no such function")
        values = [self.value(argument) for argument in arguments]
        try:
            return table[name](*values)
        except TypeError:
            raise Failed("wrong number of arguments") from None

    def on_macro(self, name, of, arguments):
        items = self.value(of)
        if type(items) is Map:
            items = [key for key, _ in items.pairs]
        if type(items) is not list or arguments[0][0] != "name":
            raise Failed("no range")
        inner = [Evaluator({**self.variables, arguments[0][1]: item}) for item in items]
        attempts = [lambda one=one: one.value(arguments[1]) for one in inner]
        if name in ("all", "exists"):
            return decide(name == "exists", attempts)
        if name == "map":
            return [attempt() for attempt in attempts]
        passed = [item for item, attempt in zip(items, attempts) if want_bool(attempt())]
        return len(passed) == 1 if name == "exists_one" else passed


WORDS = {"&&": "and", "||": "or"}


def evaluate(text, variables):
    return Evaluator(variables).value(Reader(text).whole())
