"""gRPC-Web as browsers speak it: the grpc-web package on a page of another origin, inside Chromium, through the gateway."""
import pytest

from chromium import PageError
from words import WordsByGrpcio, WordsOverHttp1


@pytest.fixture(params=[WordsOverHttp1, WordsByGrpcio], ids=["HTTP/1.1", "grpcio"])
def words(request, new_backend):
    service = request.param(new_backend)
    yield service
    service.stop()


@pytest.fixture
def running(gateway, pages, words):
    cors = {"type": "cors", "allowedOrigins": [pages.origin()], "allowedMethods": "POST", "exposedHeaders": ["Grpc-Status", "Grpc-Message"],
            "allowedHeaders": ["Content-Type", "X-Grpc-Web", "X-User-Agent", "Grpc-Timeout", "Grpc-Accept-Encoding", "X-Tenant"]}
    route = {"name": "words", "path": "/test.Words/*", "serviceId": "words", "stripPrefix": False, "retryCount": 0,
             "filters": [{"type": "grpc-web"}, cors]}
    return gateway({"services": [words.service], "routes": [route], "limits": {"halfCloseTimeoutMs": 100}})


@pytest.fixture
def page(chromium, pages, running):
    opened = chromium.page(f"{pages.origin()}/grpc_web.html")
    yield opened
    opened.close()


FORMATS = pytest.mark.parametrize("format", ["text", "binary"])


def given_back(running):
    """All but the connection, which the browser keeps for its next call."""
    for gauge in ("sluice_exchanges_active", "sluice_upstream_leases", "sluice_waits_active"):
        running.wait_for_metric(gauge, 0)


def unary(page, running, method, format, word, **metadata):
    return page.call("unary", {"url": running.url, "method": f"/test.Words/{method}", "format": format, "word": word, "metadata": metadata})


@FORMATS
def test_a_unary_call_comes_back(page, running, words, format):
    told = unary(page, running, "Echo", format, {"text": "grüß dich", "number": 300}, **{"X-Tenant": "acme"})
    assert told["error"] is None and told["word"] == {"text": "grüß dich", "number": 300}
    assert told["status"]["code"] == 0 and told["status"]["metadata"]["x-cost"] == "3"
    [(method, word, metadata)] = words.calls
    assert (method, word) == ("Echo", ("grüß dich", 300)) and metadata["x-tenant"] == "acme"
    given_back(running)


@FORMATS
@pytest.mark.parametrize("size", [0, 1, 2, 3, 300, 100_000], ids=str)
def test_words_of_any_length_come_back(page, running, words, format, size):
    assert unary(page, running, "Echo", format, {"text": "x" * size, "number": 1})["word"] == {"text": "x" * size, "number": 1}


@FORMATS
def test_a_refusal_comes_with_its_status_and_words(page, running, words, format):
    told = unary(page, running, "Refuse", format, {"text": "no such thing: é, 100%"})
    assert told["word"] is None
    assert (told["error"]["code"], told["error"]["message"]) == (5, "no such thing: é, 100%")
    given_back(running)


def test_a_deadline_reaches_the_service(page, running, words):
    page.evaluate("window.inAMinute = { deadline: String(Date.now() + 60000) }")
    told = page.evaluate(f"unary({{ url: '{running.url}', method: '/test.Words/Echo', format: 'text', word: {{}}, metadata: inAMinute }})")
    assert told["error"] is None
    timeout = words.calls[0][2]["grpc-timeout"]
    assert timeout[-1] == "m" and 1000 < int(timeout[:-1]) <= 60000


def open_stream(page, running, method, number, format="text"):
    page.call("openStream", {"name": "one", "url": running.url, "method": f"/test.Words/{method}", "format": format,
                             "word": {"text": "n", "number": number}})


def told_of(page):
    return page.evaluate("streams.one.told")


def test_a_stream_arrives_word_by_word(page, running, words):
    """Each word is awaited on the page before the service sends the next one."""
    open_stream(page, running, "Count", 5)
    for number in range(1, 6):
        page.wait_until(f"streams.one.told.words.length === {number}")
        words.go_on.release()
    page.wait_until("streams.one.told.ended")
    told = told_of(page)
    assert told["words"] == [{"text": "n", "number": number} for number in range(1, 6)] and told["errors"] == []
    assert told["status"]["code"] == 0 and told["status"]["metadata"]["x-cost"] == "3"
    given_back(running)


def test_a_stream_that_the_service_breaks_off_ends_with_its_status(page, running, words):
    open_stream(page, running, "BreakOff", 2)
    page.wait_until("streams.one.told.ended || streams.one.told.errors.length > 0")
    told = told_of(page)
    assert [word["number"] for word in told["words"]] == [1, 2]
    assert [(error["code"], error["message"]) for error in told["errors"]] == [(8, "that was all")]
    assert told["status"]["code"] == 8


def test_a_stream_that_the_page_cancels_is_given_up(page, running, words):
    open_stream(page, running, "Count", 1000)
    page.wait_until("streams.one.told.words.length === 1")
    page.call("cancelStream", "one")
    given_back(running)


def test_a_service_that_is_gone_is_an_error(page, running, words):
    """Of a plain 502 the package makes UNKNOWN."""
    words.stop()
    error = unary(page, running, "Echo", "text", {"text": "x"})["error"]
    assert error["code"] == words.CODE_WHEN_GONE


def test_a_page_of_another_origin_reaches_nobody(chromium, pages, running, words):
    stranger = chromium.page(f"{pages.origin('localhost')}/grpc_web.html")
    told = unary(stranger, running, "Echo", "text", {"text": "x"})
    assert told["error"] is not None and told["word"] is None
    assert words.calls == []
    stranger.close()


def test_what_a_page_throws_is_told(page):
    """Of the tests' own tool."""
    with pytest.raises(PageError, match="oh no"):
        page.evaluate("Promise.reject(new Error('oh no'))")
