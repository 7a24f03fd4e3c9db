"""Steady traffic by HTTP/2 clients on python3-h2 (load.py's twin).


GOAWAY is looked at here and python3-h2 never sees it: that library (4.1) takes it for the end of all streams, whereas by RFC 9113 6.8
those up to the last one it names go on. So a client of ours does what a good one does: it opens no more streams on such a connection,
finishes those under way, and connects anew.
"""
import time

import h2.config
import h2.connection
import h2.events
import h2.exceptions

from load import NumberedEvents, Traffic
from tls import client_context, tls_connect
from wire import WireClosed, connect

GOAWAY = 7
TIMEOUT_SECONDS = 20.0


def h2_over_tls(address):
    wire = tls_connect(address, client_context(alpn=["h2"]))
    assert wire.socket.selected_alpn_protocol() == "h2"
    return wire


class H2Client:
    """A connection, driven by the one thread that uses it. `connecting` gives a Wire: cleartext with prior knowledge by default."""

    def __init__(self, address, connecting=connect):
        self.wire = connecting(address)
        self.wire.timeout = TIMEOUT_SECONDS
        self.scheme = "https" if hasattr(self.wire.socket, "selected_alpn_protocol") else "http"
        self.last_stream = None  # what a GOAWAY says; None: none has come
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="latin-1"))
        self.h2.initiate_connection()
        self.flush()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.wire.close()

    def flush(self):
        data = self.h2.data_to_send()
        if data:
            self.wire.send(data)

    def request(self, target="/", method="GET", fields=(), protocol=None):
        """Its stream's number. A `protocol` makes it an extended CONNECT, which stays open."""
        assert self.last_stream is None, "no stream may be opened after GOAWAY"
        stream = self.h2.get_next_available_stream_id()
        pseudo = [(":method", method), (":scheme", self.scheme), (":path", target), (":authority", "gateway.test")]
        pseudo += [(":protocol", protocol)] if protocol else []
        self.h2.send_headers(stream, pseudo + list(fields), end_stream=not protocol)
        self.flush()
        return stream

    def read(self):
        """The events of the next frame. What came of bodies may be sent again at once. WireClosed: the connection has ended."""
        head = self.wire.read_exactly(9)
        frame = head + self.wire.read_exactly(int.from_bytes(head[:3], "big"))
        if frame[3] == GOAWAY:
            last, code = int.from_bytes(frame[9:13], "big"), int.from_bytes(frame[13:17], "big")
            assert code == 0, f"GOAWAY with error code {code}: {frame[17:]!r}"
            assert self.last_stream is None or last <= self.last_stream, "a later GOAWAY names a later stream"
            self.last_stream = last
            return []
        events = self.h2.receive_data(frame)
        for event in events:
            if isinstance(event, h2.events.DataReceived) and event.flow_controlled_length > 0:
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        self.flush()
        return events


class Answer:
    def __init__(self):
        self.status, self.body = None, b""

    def take(self, event):
        """Whether it is whole now."""
        if isinstance(event, h2.events.ResponseReceived):
            self.status = int(dict(event.headers)[":status"])
        elif isinstance(event, h2.events.DataReceived):
            self.body += event.data
        elif isinstance(event, h2.events.StreamReset):
            raise AssertionError(f"the stream was reset: {event}")
        return isinstance(event, h2.events.StreamEnded)


class H2Load(Traffic):
    """Each client has one connection with so many requests under way at all times. One that is told to go by GOAWAY finishes them and
    connects anew, which `reconnects` counts; unless `connects_anew` is False: then that is its end."""

    def __init__(self, address, clients=1, streams=4, target="/", think=0.0, connecting=connect, connects_anew=True):
        super().__init__(clients)
        self.address, self.streams, self.target, self.think, self.connecting = address, streams, target, think, connecting
        self.connects_anew, self.reconnects = connects_anew, 0

    def _client(self):
        while not self._ended.is_set() and (self.connects_anew or self.reconnects == 0):
            try:
                with H2Client(self.address, self.connecting) as client:
                    self._use(client)
            except (OSError, WireClosed) as error:
                self._broke(error)
                time.sleep(0.002)
            except Exception as error:
                self._failed(error)

    def _use(self, client):
        under_way = {}
        while True:
            may_ask = client.last_stream is None and not self._ended.is_set()
            while may_ask and len(under_way) < self.streams:
                under_way[client.request(self.target)] = Answer()
            if not under_way:
                self.reconnects += client.last_stream is not None
                return
            for event in client.read():
                self._take(event, under_way)
            lost = [stream for stream in under_way if client.last_stream is not None and stream > client.last_stream]
            assert not lost, f"streams {lost} were under way when GOAWAY said {client.last_stream}"

    def _take(self, event, under_way):
        stream = getattr(event, "stream_id", None)
        if stream not in under_way or not under_way[stream].take(event):
            return
        answer = under_way.pop(stream)
        if answer.status == 200:
            self._answered()
        else:
            self._failed(f"{answer.status} {answer.body[:200]!r}")
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
            with H2Client(self.address, self.connecting) as client:
                self._read(client, client.request(self.target))
        except (OSError, WireClosed) as error:
            self._broke(error)
        except Exception as error:
            self._failed(error)

    def _read(self, client, stream):
        answer, events, is_whole = Answer(), NumberedEvents(), False
        while not is_whole:
            for event in client.read():
                is_whole = is_whole or answer.take(event)
            self.answers += events.take(answer.body)
            answer.body = b""
            self.was_told_to_go = client.last_stream is not None
            assert client.last_stream is None or stream <= client.last_stream
        assert answer.status == 200 and events.rest == b"", (answer.status, events.rest)
