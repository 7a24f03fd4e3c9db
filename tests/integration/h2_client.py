"""HTTP/2 clients: one that keeps the rules, by the h2 library, and one that sends whatever frames a test wants."""
import contextlib
import socket
import struct
import time

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import hpack

from wire import TIMEOUT_SECONDS, Headers, WireClosed, connect

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, END_HEADERS, ACK = 0x1, 0x4, 0x1
NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR, SETTINGS_TIMEOUT, STREAM_CLOSED, FRAME_SIZE_ERROR, REFUSED_STREAM, \
    CANCEL, COMPRESSION_ERROR, CONNECT_ERROR, ENHANCE_YOUR_CALM = range(12)


def pseudo(method="GET", path="/", authority="gateway.test", scheme="http"):
    return [(":method", method), (":scheme", scheme), (":authority", authority), (":path", path)]


class Answer:
    """What has come on a stream so far."""

    def __init__(self):
        self.interim = []      # the fields of 1xx heads
        self.status = None
        self.headers = Headers()
        self.body = b""
        self.pieces = []       # (when, bytes)
        self.trailers = Headers()
        self.complete = False  # END_STREAM came
        self.reset = None      # the error code of an RST_STREAM

    def __repr__(self):
        return f"<{self.status} {self.headers} {self.body[:80]!r} complete={self.complete} reset={self.reset}>"


class H2Client:
    """A connection that keeps the rules. Windows are opened as content comes, unless `takes` is False."""

    def __init__(self, address, wire=None, timeout=TIMEOUT_SECONDS, takes=True, receive_buffer=None, window=None):
        self.wire = wire or connect(address, timeout, receive_buffer=receive_buffer)
        self.timeout, self.takes = timeout, takes
        self.answers, self.goaways, self.settings_seen = {}, [], False
        self._rest = b""  # the beginning of a frame that is not whole yet
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="latin-1"))
        self.h2.initiate_connection()
        if window is not None:
            self.h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window})
        self.flush()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.wire.close()

    def flush(self):
        data = self.h2.data_to_send()
        if data:
            self.wire.send(data)

    # Sending

    def ask(self, method="GET", path="/", headers=(), end=True, **more):
        """Returns the stream's number."""
        stream = self.h2.get_next_available_stream_id()
        fields = headers.items() if isinstance(headers, dict) else headers
        self.h2.send_headers(stream, pseudo(method, path, **more) + [(name.lower(), value) for name, value in fields], end_stream=end)
        self.answers[stream] = Answer()
        self.flush()
        return stream

    def send_body(self, stream, body, end=True):
        """As the windows allow."""
        view, deadline = memoryview(body), time.monotonic() + self.timeout
        while len(view):
            room = min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size, len(view))
            if room <= 0:
                self.read_some(deadline)
                continue
            self.h2.send_data(stream, view[:room].tobytes())
            view = view[room:]
            self.flush()
        if end:
            self.h2.end_stream(stream)
            self.flush()

    def send_trailers(self, stream, fields):
        self.h2.send_headers(stream, fields, end_stream=True)
        self.flush()

    def reset(self, stream, code=CANCEL):
        self.h2.reset_stream(stream, code)
        self.flush()

    # Receiving

    def read_some(self, deadline=None):
        """What comes next, at least something. WireClosed at the connection's end."""
        deadline = deadline or time.monotonic() + self.timeout
        self.wire.socket.settimeout(max(0.001, deadline - time.monotonic()))
        try:
            data = self.wire.socket.recv(1 << 18)
        except socket.timeout as error:
            raise TimeoutError(f"nothing more came; so far: {self.answers} {self.goaways}") from error
        except ConnectionError as error:
            raise WireClosed(repr(error)) from error
        if not data:
            raise WireClosed(f"closed; so far: {self.answers} {self.goaways}")
        for event in self._receive(data):
            self._take(event)
        with contextlib.suppress(OSError):
            self.flush()

    def _receive(self, data):
        """GOAWAY is looked at here, and the library never sees it: that (4.1) takes it for the end of all streams, whereas those up to the
        last one that it names go on (RFC 9113 6.8)."""
        self._rest += data
        while len(self._rest) >= 9 and len(self._rest) >= (length := 9 + int.from_bytes(self._rest[:3], "big")):
            whole, self._rest = self._rest[:length], self._rest[length:]
            if whole[3] == GOAWAY:
                self.goaways.append(struct.unpack(">II", whole[9:17]))
            else:
                yield from self.h2.receive_data(whole)

    def _take(self, event):
        answer = self.answers.get(getattr(event, "stream_id", None))
        if isinstance(event, h2.events.ResponseReceived):
            answer.headers = Headers(event.headers)
            answer.status = int(answer.headers[":status"])
        elif isinstance(event, h2.events.InformationalResponseReceived):
            answer.interim.append(Headers(event.headers))
        elif isinstance(event, h2.events.TrailersReceived):
            answer.trailers = Headers(event.headers)
        elif isinstance(event, h2.events.DataReceived):
            answer.body += event.data
            answer.pieces.append((time.monotonic(), event.data))
            if self.takes and event.flow_controlled_length:
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            answer.complete = True
        elif isinstance(event, h2.events.StreamReset):
            answer.reset = event.error_code
        elif isinstance(event, h2.events.RemoteSettingsChanged):
            self.settings_seen = True

    def wait_for(self, condition, timeout=None):
        deadline = time.monotonic() + (timeout or self.timeout)
        while not condition():
            self.read_some(deadline)

    def read(self, stream, timeout=None):
        """The whole answer, or what there was when the stream was reset."""
        answer = self.answers[stream]
        self.wait_for(lambda: answer.complete or answer.reset is not None, timeout)
        return answer

    def request(self, method="GET", path="/", headers=(), body=None, **more):
        stream = self.ask(method, path, headers, end=body is None, **more)
        if body is not None:
            with contextlib.suppress(h2.exceptions.StreamClosedError):  # an early answer
                self.send_body(stream, body)
        return self.read(stream)

    def get(self, path="/", headers=(), **more):
        return self.request("GET", path, headers, **more)


def frame(kind, flags=0, stream=0, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


class H2Wire:
    """A connection that sends whatever it is told to, after a good preface, and tells what came."""

    def __init__(self, address, start=True, **options):
        self.wire = connect(address, **options)
        self.encoder, self.decoder = hpack.Encoder(), hpack.Decoder()
        if start:
            self.send(PREFACE, frame(SETTINGS), frame(SETTINGS, ACK))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.wire.close()

    def send(self, *pieces):
        self.wire.send(b"".join(pieces))
        return self

    def block(self, fields):
        return self.encoder.encode(fields)

    def head(self, stream, fields, flags=END_STREAM):
        return frame(HEADERS, flags | END_HEADERS, stream, self.block(fields))

    def get(self, stream, path="/", headers=()):
        return self.head(stream, pseudo("GET", path) + list(headers))

    def next_frame(self, timeout=None):
        """(type, flags, stream, payload); a head's payload is its fields."""
        head = self.wire.read_exactly(9, timeout)
        payload = self.wire.read_exactly(int.from_bytes(head[:3], "big"), timeout)
        if head[3] == HEADERS:
            payload = dict(self.decoder.decode(payload))
        return head[3], head[4], int.from_bytes(head[5:9], "big") & 0x7fffffff, payload

    def wait_for(self, kind, stream=None, timeout=None):
        """The payload of the next such frame; others are passed over."""
        deadline = time.monotonic() + (timeout or self.wire.timeout)
        while True:
            got, flags, on, payload = self.next_frame(deadline - time.monotonic())
            if got == kind and (stream is None or on == stream) and not (kind in (SETTINGS, PING) and flags & ACK):
                return payload

    def wait_for_goaway(self, timeout=None):
        """The error code of the GOAWAY that ends the connection; a notice is passed over."""
        while True:
            payload = self.wait_for(GOAWAY, timeout=timeout)
            last, code = struct.unpack(">II", payload[:8])
            if last != 0x7fffffff:
                return code

    def flood(self, piece, most=100000, batch=200):
        """Sends piece(i) for i = 0, 1, … until the peer takes no more; returns how many it took."""
        count = 0
        try:
            while count < most:
                self.wire.send(b"".join(piece(count + i) for i in range(batch)))
                count += batch
        except (OSError, TimeoutError):
            pass
        return count
