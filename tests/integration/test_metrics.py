"""GET /admin/metrics as Prometheus reads it: text format 0.0.4 by the rules, with the names and labels of docs/observability.md; and a route's
statistics beside it."""
import collections
import math
import pathlib
import re
import socket
import time

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from plain_http import PLAIN_HTTP

LINE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(\{(?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\[\\"n])*",?)*\})? (-?[0-9.]+|\+Inf|NaN)')
DOCS = pathlib.Path(__file__).resolve().parents[2] / "docs" / "observability.md"
ROUTES = 300


def config(backend):
    routes = [{"name": f"r{number}", "path": f"/r{number}/*", "serviceId": "s"} for number in range(ROUTES)]
    return {"services": [{"name": "s", "instances": [backend.address]},
                         {"name": "gone", "instances": ["127.0.0.1:1"]}],
            "routes": [*routes, {"name": "gone", "path": "/gone", "serviceId": "gone"},
                       {"name": "fixed", "path": "/fixed", "respond": {"status": 404, "body": "no"}}]}


@pytest.fixture(scope="module")
def used(module_gateway, module_backend):
    """A gateway that had a request on each route."""
    gateway = module_gateway(config(module_backend))
    with httpx.Client(base_url=f"http://127.0.0.1:{gateway.port}", **PLAIN_HTTP) as client:
        for number in range(ROUTES):
            assert client.get(f"/r{number}/x").status_code == 200
        client.post("/r0/x", content=b"12345")
        assert client.get("/gone").status_code in (502, 503)
        assert client.get("/fixed").status_code == 404
        assert client.get("/nowhere").status_code == 404
    return gateway


def scrape(gateway):
    response = httpx.get(f"http://127.0.0.1:{gateway.admin_port}/admin/metrics", **PLAIN_HTTP)
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return response.text


def family_of(sample, types):
    for suffix in ("_bucket", "_sum", "_count"):
        if sample.endswith(suffix) and types.get(sample[:-len(suffix)]) == "histogram":
            return sample[:-len(suffix)]
    return sample


def test_every_line_is_one_of_the_format(used):
    text = scrape(used)
    assert text.endswith("\n") and "\r" not in text and "\n\n" not in text
    for line in text.splitlines():
        assert line.startswith(("# HELP ", "# TYPE ")) or LINE.fullmatch(line), line


def test_a_metric_is_told_once_head_first_and_in_one_piece(used):
    types, seen, series, current = {}, [], set(), None
    for line in scrape(used).splitlines():
        if line.startswith("# HELP "):
            current = line.split(" ", 3)[2]
            assert current not in seen, f"{current} is begun twice"
            seen.append(current)
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name == current and name not in types and kind in ("counter", "gauge", "histogram")
            types[name] = kind
        else:
            name, labels, _ = LINE.fullmatch(line).groups()
            assert family_of(name, types) == current, f"{line}: among the lines of {current}"
            assert (name, labels) not in series, f"{line}: told twice"
            series.add((name, labels))
    assert "sluice_requests_total" in types


def test_the_official_parser_reads_it(used):
    families = {family.name: family for family in text_string_to_metric_families(scrape(used))}
    assert families["sluice_requests"].type == "counter"
    requests = {tuple(sample.labels[name] for name in ("route", "service", "method", "status_class")): sample.value
                for sample in families["sluice_requests"].samples}
    assert requests["r7", "s", "GET", "2xx"] == 1
    assert requests["r0", "s", "POST", "2xx"] == 1
    assert requests["fixed", "", "GET", "4xx"] == 1
    assert requests["", "", "GET", "4xx"] == 1


@pytest.mark.parametrize("name", ["sluice_request_duration_seconds", "sluice_upstream_duration_seconds"])
def test_histograms_are_cumulative_and_end_in_their_count(used, name):
    family = next(family for family in text_string_to_metric_families(scrape(used)) if family.name == name)
    buckets, counts, sums = collections.defaultdict(list), {}, {}
    for sample in family.samples:
        assert set(sample.labels) - {"le"} == {"route", "service"}
        key = sample.labels["route"], sample.labels["service"]
        if sample.name.endswith("_bucket"):
            buckets[key].append((float(sample.labels["le"]), sample.value))
        else:
            (counts if sample.name.endswith("_count") else sums)[key] = sample.value
    assert len(counts) >= ROUTES and buckets.keys() == counts.keys() == sums.keys()
    for key, pairs in buckets.items():
        assert pairs == sorted(pairs) and [value for _, value in pairs] == sorted(value for _, value in pairs)
        assert pairs[-1] == (math.inf, counts[key])
        assert sums[key] <= counts[key] * 30


def test_every_metric_is_in_the_docs(used):
    documented = set(re.findall(r"`([a-z][a-z_]+)`", DOCS.read_text(encoding="utf-8")))
    told = set(re.findall(r"^# TYPE ([a-z_]+) ", scrape(used), re.MULTILINE))
    shortened = {name for name in told if "upstream_connections_" in name}  # `…_idle` stands for one of them there
    assert told - documented - shortened == set()


def stats(gateway, route):
    response = httpx.get(f"http://127.0.0.1:{gateway.admin_port}/admin/routes/{route}/stats", **PLAIN_HTTP)
    assert response.status_code == 200, response.text
    return response.json()["windows"]


def test_statistics_of_a_route_count_exactly(used):
    windows = stats(used, "r0")
    for window in ("1m", "5m", "total"):
        its = windows[window]
        assert its["requests"] == its["byStatusClass"]["2xx"] == 2
        assert sum(its["byStatusClass"].values()) == 2
        assert its["upstreamErrors"] == 0
        assert its["bytesIn"] > 5 and its["bytesOut"] > 0
        latency = its["latencyMs"]
        assert 0 < latency["p50"] <= latency["p90"] <= latency["p99"] <= latency["max"] < 60000


def test_a_service_that_is_not_reached_is_an_upstream_error(used):
    windows = stats(used, "gone")
    assert windows["1m"]["requests"] == windows["1m"]["upstreamErrors"] == windows["1m"]["byStatusClass"]["5xx"] == 1
    assert stats(used, "fixed")["total"]["upstreamErrors"] == 0


def test_a_route_nobody_asked_for_has_no_figures(module_gateway, module_backend):
    gateway = module_gateway({"routes": [{"name": "quiet", "path": "/quiet", "respond": {"status": 204}}]})
    assert stats(gateway, "quiet")["total"]["requests"] == 0


# --- ten thousand routes ---

MANY = 10000


def memory(gateway, name):
    status = pathlib.Path(f"/proc/{gateway.serving_process()}/status").read_text(encoding="ascii")
    return int(re.search(rf"{name}:\s+(\d+) kB", status)[1]) * 1024


def forget_peak(gateway):
    pathlib.Path(f"/proc/{gateway.serving_process()}/clear_refs").write_text("5", encoding="ascii")


def use_all(gateway):
    """A request on each route, pipelined over one connection: one worker serves them."""
    with socket.create_connection(("127.0.0.1", gateway.port)) as client, client.makefile("rb") as answers:
        for start in range(0, MANY, 100):
            client.sendall(b"".join(b"GET /many/%d HTTP/1.1\r\nHost: a\r\n\r\n" % number for number in range(start, start + 100)))
            for _ in range(100):
                assert answers.readline().startswith(b"HTTP/1.1 204 ")
                while answers.readline() != b"\r\n":
                    pass


@pytest.mark.plain_build
def test_ten_thousand_routes_take_four_kib_each_and_a_scrape_less_than_a_mebibyte(module_gateway):
    gateway = module_gateway({"accessLog": "off", "routes": [
        {"name": f"a-route-{number}", "path": f"/many/{number}", "respond": {"status": 204}} for number in range(MANY)]})
    before = memory(gateway, "VmRSS")
    use_all(gateway)
    assert (memory(gateway, "VmRSS") - before) / MANY <= 4096 + 256  # and what malloc and the connection need
    forget_peak(gateway)
    before = memory(gateway, "VmRSS")
    lines = 0
    with httpx.stream("GET", f"http://127.0.0.1:{gateway.admin_port}/admin/metrics", **PLAIN_HTTP) as response:
        for piece in response.iter_raw():
            lines += piece.count(b"\n")
    assert lines > MANY * 21
    assert memory(gateway, "VmHWM") - before <= 1 << 20


@pytest.mark.plain_build
def test_a_scraper_that_reads_nothing_costs_no_more_and_holds_nobody_up(module_gateway):
    gateway = module_gateway({"accessLog": "off", "routes": [
        {"name": f"a-route-{number}", "path": f"/many/{number}", "respond": {"status": 204}} for number in range(MANY)]})
    use_all(gateway)
    forget_peak(gateway)
    before = memory(gateway, "VmRSS")
    with socket.create_connection(("127.0.0.1", gateway.admin_port)) as stuck:
        stuck.sendall(b"GET /admin/metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        time.sleep(0.3)
        assert stats(gateway, "a-route-7")["total"]["requests"] == 1
        assert httpx.get(f"http://127.0.0.1:{gateway.port}/many/7", **PLAIN_HTTP).status_code == 204
        assert memory(gateway, "VmHWM") - before <= 1 << 20
