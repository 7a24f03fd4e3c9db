"""Steady traffic by HTTP/2 clients (load.py's twin). They do what good ones do: one that hears GOAWAY opens no more streams on its connection,
finishes those under way, and connects anew."""
import time

from h2_client import NO_ERROR, H2Client
from load import NumberedEvents, Traffic
from tls import client_context, tls_connect
from websocket import open_websocket_h2
from wire import WireClosed, connect

TIMEOUT_SECONDS = 20.0


def h2_over_tls(address):
    wire = tls_connect(address, client_context(alpn=["h2"]))
    assert wire.socket.selected_alpn_protocol() == "h2"
    return wire


def open_client(address, connecting=connect):
    """`connecting` gives a Wire: cleartext with prior knowledge by default."""
    return H2Client(address, connecting(address), TIMEOUT_SECONDS)


def open_websocket_alone(address, target, connecting=connect):
    """On a connection of its own, which is closed with it."""
    client = open_client(address, connecting)
    ws = open_websocket_h2(client, target)
    ws.wire.close = client.close
    return ws


def check(client, streams):
    """No stream under way may be lost, whatever the gateway says."""
    for last, code in client.goaways:
        assert code == NO_ERROR, f"GOAWAY with error code {code}"
        assert all(stream <= last for stream in streams), f"of streams {list(streams)} GOAWAY wants none beyond {last}"
    for stream in streams:
        assert client.answers[stream].reset is None, f"stream {stream} was reset: {client.answers[stream]}"


class H2Load(Traffic):
    """Each client has one connection with so many requests under way at all times. One that is told to go by GOAWAY finishes them and
    connects anew, which `reconnects` counts; unless `connects_anew` is False: then that is its end. After `requests_each` on one connection
    it connects anew of itself."""

    def __init__(self, address, clients=1, streams=4, target="/", think=0.0, connecting=connect, connects_anew=True, requests_each=10**9):
        super().__init__(clients)
        self.address, self.streams, self.target, self.think, self.connecting = address, streams, target, think, connecting
        self.connects_anew, self.requests_each, self.reconnects = connects_anew, requests_each, 0

    def _client(self):
        while not self._ended.is_set() and (self.connects_anew or self.reconnects == 0):
            try:
                with open_client(self.address, self.connecting) as client:
                    self._use(client)
            except (OSError, WireClosed) as error:
                self._broke(error)
                time.sleep(0.002)
            except Exception as error:
                self._failed(error)

    def _use(self, client):
        asked = 0
        while True:
            may_ask = not client.goaways and not self._ended.is_set()
            while may_ask and asked < self.requests_each and len(client.answers) < self.streams:
                client.ask(path=self.target)
                asked += 1
            if not client.answers:
                self.reconnects += bool(client.goaways)
                return
            client.read_some()
            check(client, client.answers)
            for stream in [stream for stream, answer in client.answers.items() if answer.complete]:
                self._judge(client.answers.pop(stream))

    def _judge(self, answer):
        if answer.status == 200:
            self._answered()
        else:
            self._failed(answer)
        if self.think:
            time.sleep(self.think)


class H2EventStream(Traffic):
    """load.EventStream on a stream of HTTP/2."""

    def __init__(self, address, target, connecting=connect):
        super().__init__()
        self.address, self.target, self.connecting = address, target, connecting
        self.was_told_to_go = False

    def _client(self):
        try:
            with open_client(self.address, self.connecting) as client:
                self._read(client, client.ask(path=self.target))
        except (OSError, WireClosed) as error:
            self._broke(error)
        except Exception as error:
            self._failed(error)

    def _read(self, client, stream):
        answer, events = client.answers[stream], NumberedEvents()
        while not answer.complete:
            client.read_some()
            check(client, [stream])
            self.answers += events.take(answer.body)
            answer.body = b""
            self.was_told_to_go = bool(client.goaways)
        assert answer.status == 200 and events.rest == b"", (answer.status, events.rest)
