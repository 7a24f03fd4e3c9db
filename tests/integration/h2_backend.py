"""A real HTTP/2 server for the tests, on python3-h2, that misbehaves on order; backend.py's twin.

    backend.on("/late", wait(2), answer(200, body=b"at last"))
    backend.on("/odd", raw(headers_frame(stream, ...)), reset(ErrorCodes.CANCEL))

A path's script is a list of steps, run in order, in a thread of its own for each stream. Before the first step the
request's body is read, unless the script begins with `before_body`. A path without a script answers 200 with the
instance's name. h2 reads strictly: what it finds wrong with the gateway's frames ends up in `backend.violations`, and
the fixture fails the test for it.
"""
import itertools
import socket
import ssl
import threading
import time

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings

from tls import accept_tls
from wire import Headers

TIMEOUT_SECONDS = 10.0


class Gone(Exception):
    """The stream or its connection has ended."""


# Steps: functions of (stream)

def answer(status=200, headers=(), body=b"", trailers=None):
    def step(stream):
        stream.head(status, headers, end=not body and trailers is None)
        if body:
            stream.data(body, end=trailers is None)
        if trailers is not None:
            stream.trailers(trailers)
    return step


def head(status=200, headers=(), end=False):
    return lambda stream: stream.head(status, headers, end)


def data(body, end=False):
    return lambda stream: stream.data(body, end)


def trailers(fields):
    return lambda stream: stream.trailers(fields)


def echo():
    """200 with the request's body, and its trailers."""
    def step(stream):
        request = stream.request
        answer(200, (), request.body, list(request.trailers) or None)(stream)
    return step


def echo_as_it_comes():
    """After before_body: each piece goes back at once."""
    def step(stream):
        stream.head(200)
        for piece in stream.pieces():
            stream.data(piece)
        stream.data(b"", end=True)
    return step


def wait(seconds):
    return lambda stream: time.sleep(seconds)


def wait_for(event, timeout=TIMEOUT_SECONDS):
    return lambda stream: event.wait(timeout)


def read_body():
    return lambda stream: stream.read_body()


def reset(code=h2.errors.ErrorCodes.INTERNAL_ERROR):
    return lambda stream: stream.reset(code)


def goaway(last_stream=None, code=h2.errors.ErrorCodes.NO_ERROR):
    """With the last stream that was taken up as the last one, unless told otherwise; later ones are left alone."""
    return lambda stream: stream.connection.goaway(last_stream, code)


def close():
    return lambda stream: stream.connection.close()


def hang(timeout=30):
    """Says nothing until the stream ends, and records how."""
    def step(stream):
        stream.ended.wait(timeout)
        stream.request.abandoned_at = time.monotonic()
        stream.request.reset_code = stream.reset_code
        raise Gone
    return step


def raw(frames):
    """Bytes, or a function of the stream that makes them, whatever they are."""
    return lambda stream: stream.connection.write(frames(stream) if callable(frames) else frames)


def frame(kind, flags, number, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + number.to_bytes(4, "big") + payload


DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY = 0, 1, 3, 4, 6, 7
END_STREAM, END_HEADERS = 1, 4


def literal(name, value):
    """A field as HPACK's literal without indexing (RFC 7541 6.2.2), whatever it holds; up to 126 bytes each."""
    name, value = [text if isinstance(text, bytes) else text.encode("latin-1") for text in (name, value)]
    return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value


def raw_answer(*fields, end=True):
    """A HEADERS frame with just these fields."""
    block = b"".join(literal(name, value) for name, value in fields)
    return raw(lambda stream: frame(HEADERS, END_HEADERS | (END_STREAM if end else 0), stream.number, block))


def raw_data(body, end=True):
    return raw(lambda stream: frame(DATA, END_STREAM if end else 0, stream.number, body))


def before_body(stream):
    """First step of a script that wants to act before the request's body has come."""


class Request:
    def __init__(self, fields):
        fields = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in fields]
        self.pseudo = {name: value for name, value in fields if name.startswith(":")}
        self.headers = Headers([field for field in fields if not field[0].startswith(":")])
        self.method, self.target = self.pseudo.get(":method"), self.pseudo.get(":path")
        self.trailers = Headers()
        self.body = b""
        self.complete = False
        self.connection = self.instance = self.abandoned_at = self.reset_code = None

    def __repr__(self):
        return f"<{self.pseudo} {self.headers}>"


class Stream:
    def __init__(self, connection, number, request):
        self.connection, self.number, self.request = connection, number, request
        self.ended = threading.Event()  # reset, or the connection has gone
        self.reset_code = None
        self._queue, self._news = [], threading.Condition(connection.lock)

    # What the connection's thread tells

    def push(self, piece):
        self._queue.append(piece)
        self._news.notify_all()

    def end(self, code=None):
        self.reset_code = code
        self.ended.set()
        self._news.notify_all()

    def wake(self):
        self._news.notify_all()

    # What steps ask for

    def pieces(self):
        """The request's body as it comes."""
        while True:
            with self.connection.lock:
                if not self._news.wait_for(lambda: self._queue or self.ended.is_set(), TIMEOUT_SECONDS):
                    raise TimeoutError("no more of the request's body came")
                if not self._queue:
                    raise Gone
                piece = self._queue.pop(0)
                if piece:
                    self.connection.session.acknowledge_received_data(len(piece), self.number)
                    self.connection.flush()
            if piece is None:
                self.request.complete = True
                return
            yield piece

    def read_body(self):
        if not self.request.complete:
            self.request.body += b"".join(self.pieces())

    def head(self, status=200, headers=(), end=False):
        fields = headers.items() if isinstance(headers, dict) else headers
        self._do(lambda session: session.send_headers(self.number, [(":status", str(status)), *fields], end_stream=end))

    def trailers(self, fields):
        self._do(lambda session: session.send_headers(self.number, list(fields), end_stream=True))

    def data(self, body, end=False):
        """As the gateway's windows allow."""
        session, start = self.connection.session, 0
        while True:
            with self.connection.lock:
                if self.ended.is_set():
                    raise Gone
                room = min(session.local_flow_control_window(self.number), session.max_outbound_frame_size)
                part = body[start:start + room]
                if part or start == len(body):
                    start += len(part)
                    is_last = start == len(body)
                    if part or end:
                        session.send_data(self.number, part, end_stream=end and is_last)
                    self.connection.flush()
                    if is_last:
                        return
                elif not self._news.wait(TIMEOUT_SECONDS):
                    raise TimeoutError("the gateway gives no window")

    def reset(self, code):
        self._do(lambda session: session.reset_stream(self.number, code))
        raise Gone

    def _do(self, action):
        with self.connection.lock:
            if self.ended.is_set():
                raise Gone
            try:
                action(self.connection.session)
            except h2.exceptions.ProtocolError as error:
                raise Gone from error
            self.connection.flush()


class Connection:
    def __init__(self, backend, connected, number):
        self.backend, self.socket, self.number = backend, connected, number
        self.lock = threading.RLock()
        self.streams = {}
        self.last_stream = None  # what a GOAWAY said
        self.session = h2.connection.H2Connection(h2.config.H2Configuration(
            client_side=False, header_encoding=None, validate_outbound_headers=False, normalize_outbound_headers=False))

    def flush(self):
        self.write(self.session.data_to_send())

    def write(self, bytes_):
        if bytes_:
            with self.lock:
                self.socket.sendall(bytes_)

    def goaway(self, last_stream, code):
        with self.lock:
            self.last_stream = max(self.streams, default=0) if last_stream is None else last_stream
            self.write(frame(GOAWAY, 0, 0, self.last_stream.to_bytes(4, "big") + int(code).to_bytes(4, "big")))

    def close(self):
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def serve(self):
        try:
            with self.lock:
                values = {h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: 100, **self.backend.settings}
                self.session.local_settings = h2.settings.Settings(client=False, initial_values=values)
                self.session.initiate_connection()
                self.flush()
            while received := self.socket.recv(65536):
                self._take(received)
        except (OSError, ssl.SSLError):
            pass
        finally:
            with self.lock:
                for stream in self.streams.values():
                    stream.end()
            self.socket.close()

    def _take(self, received):
        with self.lock:
            try:
                events = self.session.receive_data(received)
            except h2.exceptions.ProtocolError as error:
                self.backend.violations.append(f"{type(error).__name__}: {error}")
                self.flush()
                self.close()
                return
            for event in events:
                self._take_event(event)
            self.flush()

    def _take_event(self, event):
        stream = self.streams.get(getattr(event, "stream_id", None))
        if isinstance(event, h2.events.RequestReceived):
            if self.last_stream is not None and event.stream_id > self.last_stream:
                return
            request = Request(event.headers)
            request.connection, request.instance = self.number, self.backend.name
            stream = self.streams[event.stream_id] = Stream(self, event.stream_id, request)
            threading.Thread(target=self.backend.run, args=(stream,), daemon=True).start()
        elif isinstance(event, h2.events.DataReceived) and stream:
            stream.push(event.data)
            if event.flow_controlled_length > len(event.data):
                self.session.acknowledge_received_data(event.flow_controlled_length - len(event.data), event.stream_id)
        elif isinstance(event, h2.events.TrailersReceived) and stream:
            stream.request.trailers = Headers(event.headers)
        elif isinstance(event, h2.events.StreamEnded) and stream:
            stream.push(None)
        elif isinstance(event, h2.events.StreamReset) and stream:
            stream.end(event.error_code)
        elif isinstance(event, h2.events.WindowUpdated):
            for one in self.streams.values():
                one.wake()
        elif isinstance(event, h2.events.ConnectionTerminated):
            self.backend.goaways.append(int(event.error_code))


class H2Backend:
    """One instance: a listening socket, a thread a connection and one a stream, scripts by path."""

    def __init__(self, name="one", host="127.0.0.1", port=0, tls=None, settings=None, before=None):
        self.name = name
        self.before = before        # called with each connection's socket, before TLS
        self.host = host
        self.tls = tls              # ssl.SSLContext; must offer "h2"
        self.settings = settings or {}
        self.requests = []
        self.violations = []
        self.goaways = []           # error codes of the gateway's GOAWAYs
        self.scripts = {}
        self.connections = 0
        self.handshakes = []        # tls.Handshake
        self.handshake_errors = []
        self.arrived = threading.Condition()
        self._open = set()
        self._counter = itertools.count(1)
        self._listener = socket.create_server((host, port), backlog=512)
        self.port = self._listener.getsockname()[1]
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    @property
    def address(self):
        return f"{self.host}:{self.port}"

    def on(self, path, *steps):
        self.scripts[path] = list(steps)
        return self

    def in_turn(self, path, *scripts):
        scripts = [list(script) for script in scripts]
        self.scripts[path] = lambda: scripts.pop(0) if len(scripts) > 1 else scripts[0]
        return self

    def wait_for_requests(self, count, timeout=5):
        with self.arrived:
            if not self.arrived.wait_for(lambda: len(self.requests) >= count, timeout):
                raise TimeoutError(f"{len(self.requests)} of {count} requests reached backend {self.name}")
        return self.requests

    def forget(self):
        with self.arrived:
            self.requests.clear()

    def drop_connections(self):
        for connection in list(self._open):
            connection.close()

    def stop(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._acceptor.join(5)
        self.drop_connections()

    def run(self, stream):
        """A stream's script."""
        script = self.scripts.get(stream.request.target.split("?")[0])
        if callable(script):
            script = script()
        if script is None:
            script = [answer(200, {"x-instance": self.name}, self.name.encode())]
        try:
            if not (script and script[0] is before_body):
                stream.read_body()
            self._record(stream.request)
            for step in script:
                step(stream)
        except (Gone, OSError):
            if stream.request not in self.requests:
                self._record(stream.request)

    def _record(self, request):
        with self.arrived:
            self.requests.append(request)
            self.arrived.notify_all()

    def _accept(self):
        while True:
            try:
                connected, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connected, next(self._counter)), daemon=True).start()

    def _serve(self, connected, number):
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.before:
            self.before(connected)
        if self.tls and not (connected := accept_tls(connected, self)):
            return
        connection = Connection(self, connected, number)
        self._open.add(connection)
        try:
            connection.serve()
        finally:
            self._open.discard(connection)
