"""Rows of the table: who is compared is started, takes interleaved rounds, and the median is judged by its bar."""
import collections
import contextlib
import statistics

import peers
from measure import cost_us, interval

# verdict: "holds", "MISSED", "void" (a condition of the comparison fails), "aim ..." or "-" (reported, no bar)
Row = collections.namedtuple("Row", "title bar value note verdict detail", defaults=[None])


@contextlib.contextmanager
def standing(*starters):
    """Starts programs one after another and stops them all at the end."""
    with contextlib.ExitStack() as stack:
        started = []
        for start in starters:
            started.append(start())
            stack.callback(started[-1].stop)
        yield started


@contextlib.contextmanager
def against_backend(*starters, start_backend=peers.start_backend):
    """The same with a backend first, which each starter is given."""
    with standing(start_backend) as (backend,), standing(*[lambda s=start: s(backend) for start in starters]) as started:
        yield started


def sluice_starters(make, **how):
    """Sluice as one candidate of a comparison, where it is built."""
    return [lambda backend: peers.Sluice(make(backend), **how)] if peers.sluice_is_built() else []


def rounds_of(candidates, arguments, cost=cost_us, **load):
    """Interleaved rounds: {name: [cost of round 1, ...]}; the first, shorter pass warms all of them up. `cost` is called
    with a candidate and the load, and gives {"us": ...}."""
    load = {"seconds": arguments.seconds, **load}
    for one in candidates:
        cost(one, **{**load, "seconds": 1})
    costs = collections.defaultdict(list)
    for number in range(arguments.rounds):
        # The order turns round by round, so that nobody always runs after the same neighbour.
        turn = number % len(candidates)
        for one in candidates[turn:] + candidates[:turn]:
            costs[one.name].append(cost(one, **load)["us"])
    return dict(costs)


def ratios(costs, name, other):
    return [a / b for a, b in zip(costs[name], costs[other])]


def instructions_in_words(count):
    """Not counted (null) where the processor can't stop behind each (bench/micro/measure.h)."""
    return "instructions not counted" if count is None else f"{count:,} instructions"


def in_words(values, digits=2):
    middle, low, high = interval(values)
    return f"{middle:.{digits}f}", f"{low:.{digits}f}–{high:.{digits}f}"


def costs_in_words(costs):
    return "; ".join(f"{name} {statistics.median(values):.1f} µs" for name, values in costs.items())


def ratio_row(title, costs, name, other, bar, verdict=None):
    value, span = in_words(ratios(costs, name, other))
    if verdict is None:
        verdict = "-" if bar is None else "holds" if float(value) <= bar else "MISSED"
    return Row(title, "" if bar is None else f"≤ {bar} × {other}", f"{value} × {other}", f"{span}; {costs_in_words(costs)}", verdict, costs)


def better_of(costs, names):
    return min(names, key=lambda name: statistics.median(costs[name]))


def nothing(title, costs):
    return Row(title, "", "no gateway", costs_in_words(costs), "-", costs)


def against_better(title, bar, arguments, starters=None, others=("nginx", "haproxy"), start_backend=peers.start_backend, **load):
    """One row: Sluice beside the better one of the others."""
    starters = starters or [peers.start_nginx, peers.start_haproxy, *sluice_starters(peers.sluice_config)]
    with against_backend(*starters, start_backend=start_backend) as all_of:
        costs = rounds_of(all_of, arguments, **load)
    return [ratio_row(title, costs, "sluice", better_of(costs, others), bar)] if "sluice" in costs else [nothing(title, costs)]
