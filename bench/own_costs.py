"""What each policy costs by itself, in process: nanoseconds and instructions a request, beside the budget of which promise 1 is made up."""
import json
import pathlib
import re
import subprocess

import limits
import peers
from measure import GATEWAY_CORE
from rows import Row, instructions_in_words

PROGRAMS = ("router", "jwt", "access", "access_log", "traffic")


def output(program, *arguments):
    binary = pathlib.Path(peers.SLUICE).parent / "bench" / f"micro-{program}"
    return subprocess.run(["taskset", "-c", GATEWAY_CORE, str(binary), *arguments], check=True, capture_output=True, text=True).stdout


def told(program, *arguments):
    return [json.loads(line) for line in output(program, "--json", *arguments).splitlines()]


def row(name, bar, nanoseconds, instructions, detail=""):
    return Row(f"in process: {name}", f"≤ {bar} ns", f"{nanoseconds:.0f} ns", "; ".join(filter(None, [instructions_in_words(instructions), detail])),
               "holds" if nanoseconds <= bar else "MISSED", {"ns": nanoseconds, "instructions": instructions})


def in_text(line, text):
    """The nanoseconds and instructions of a program's line that begins so."""
    found = re.search(rf"^ *{line} +([\d.]+) ns.*?, (\d+|null) instructions", text, re.MULTILINE)
    return float(found[1]), json.loads(found[2])


def routing():
    return [row("routing, a path with a parameter, the last of 10,000 routes", 100, *in_text("last with a parameter", output("router", "0.1")))]


def tokens():
    rows = []
    for line in told("jwt"):
        if "cached" in line:
            rows.append(row(f"a JWT that is kept, of {line['cached']:,}", 350, line["hit_ns"], line["instructions"], f"{line['bytes_a_token']} bytes a token"))
        else:
            rows.append(Row(f"in process: a JWT read and verified anew, {line['algorithm']}", "≤ 1.15 × OpenSSL", f"{line['ratio']:.2f} × OpenSSL",
                            f"{line['anew_ns'] / 1000:.1f} µs", "holds" if line["ratio"] <= 1.15 else "MISSED", line))
    return rows


def by_name(lines):
    return {line["name"]: line for line in lines}


def identity_and_access(arguments):
    few, many = (by_name(told("access", "--rounds", str(arguments.rounds), "--keys", str(keys))) for keys in (1000, 1_000_000))
    key, access, headers = many["api-key"], few["access (roles, 5 rules)"], few["six edits of headers"]
    return [row("an API key, of 1,000,000", 350, key["ns"], key["instructions"],
                f"{few['api-key']['ns']:.0f} ns of 1,000; reading memory at random costs {many['memory']['ns']:.0f} ns here"),
            row("roles and five rules", 250, access["ns"], access["instructions"]),
            row("six edits of headers", 200, headers["ns"], headers["instructions"])]


def records():
    named = by_name(told("access_log"))
    line, figures = named["line of the access log"], named["figures, 10,000 routes in turn"]
    return [row("a line of the JSON access log", 400, line["median"], line["instructions"]),
            row("the figures of a request, 10,000 routes in turn", 150, figures["median"], figures["instructions"])]


def traces():
    return [row("request id and trace context", 150, *in_text("a request id and a trace that goes on", output("traffic")))]


def own_costs(arguments):
    if not peers.sluice_is_built():
        return []
    build = pathlib.Path(peers.SLUICE).parent
    subprocess.run(["ninja", "-C", str(build), *(f"bench/micro-{program}" for program in PROGRAMS)], check=True, stdout=subprocess.DEVNULL)
    rules = [one for one in limits.in_process(arguments, keys=1000) if one.title.startswith("rate limits in process")]
    return [*routing(), *tokens(), *identity_and_access(arguments), *rules, *records(), *traces()]


ALL = {"own-costs": ("what each policy costs in process, beside its budget", own_costs)}
