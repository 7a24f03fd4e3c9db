"""HTTP/1.1 on a bare socket, read strictly: what both ends of the tests see of the gateway.

Client libraries forgive; these tests must not. A `Wire` reads heads, bodies and trailers exactly by RFC 9112 and
raises `WireError` for anything a second parser might read in another way. It never guesses a length and never waits
longer than its timeout.
"""
import re
import socket
import struct
import time

TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z")
FIELD_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*\Z")
CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]{1,15}\Z")
STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2}) ([\t\x20-\x7e\x80-\xff]*)\Z")
REQUEST_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([\x21-\x7e]+) HTTP/1\.([01])\Z")

TIMEOUT_SECONDS = 10.0


class WireError(Exception):
    """The peer sent something that is not strict HTTP/1.1."""


class WireClosed(WireError):
    """The peer closed (or reset) before the message was whole."""


class Headers:
    """Header fields in the order of arrival; names compare without case, values are text."""

    def __init__(self, fields=()):
        self.fields = [(_text(name), _text(value)) for name, value in fields]

    def all(self, name):
        return [value for field, value in self.fields if field.lower() == name.lower()]

    def get(self, name, fallback=None):
        """The only value of a field. Twice the same field is an error here: ask for all() where it may repeat."""
        values = self.all(name)
        if len(values) > 1:
            raise WireError(f"field {name} came {len(values)} times: {values}")
        return values[0] if values else fallback

    def __getitem__(self, name):
        value = self.get(name)
        if value is None:
            raise KeyError(f"no field {name} among {self.names()}")
        return value

    def __contains__(self, name):
        return bool(self.all(name))

    def __iter__(self):
        return iter(self.fields)

    def __repr__(self):
        return repr(self.fields)

    def names(self):
        return [name.lower() for name, _ in self.fields]


def _text(value):
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _bytes(value):
    return value.encode("latin-1") if isinstance(value, str) else value


class Message:
    """What requests and responses have in common: fields, a body, trailers, and the raw bytes of the head."""

    def __init__(self, raw_head, minor_version, headers):
        self.raw_head = raw_head
        self.minor_version = minor_version
        self.headers = headers
        self.body = b""
        self.trailers = Headers()
        self.chunks = []       # sizes of the chunks, where the body came in chunks
        self.complete = False  # the body was read to its end


class Request(Message):
    def __init__(self, raw_head, method, target, minor_version, headers):
        super().__init__(raw_head, minor_version, headers)
        self.method = method
        self.target = target
        self.connection = None  # which connection of the backend it came on
        self.instance = None    # which backend it came to

    def __repr__(self):
        return f"<{self.method} {self.target} {self.headers}>"


class Response(Message):
    def __init__(self, raw_head, status, reason, minor_version, headers):
        super().__init__(raw_head, minor_version, headers)
        self.status = status
        self.reason = reason
        self.interim = []  # the 1xx heads before it
        self.ended_by_close = False

    @property
    def problem(self):
        """The document of an application/problem+json answer."""
        import json

        kind = self.headers.get("Content-Type", "")
        if kind.split(";")[0].strip() != "application/problem+json":
            raise WireError(f"not a problem document: {kind!r}")
        return json.loads(self.body)

    @property
    def keeps_alive(self):
        options = [option.strip().lower() for value in self.headers.all("Connection") for option in value.split(",")]
        return "close" not in options and self.minor_version == 1 and not self.ended_by_close

    def __repr__(self):
        return f"<{self.status} {self.headers} {self.body[:80]!r}>"


class Wire:
    """A connected socket and what was read from it beyond the last message."""

    def __init__(self, connected, timeout=TIMEOUT_SECONDS):
        self.socket = connected
        self.timeout = timeout
        self.buffer = bytearray()
        self.peer_finished = False
        self.received = bytearray()  # everything that ever came, for messages and records
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    # Sending

    def send(self, data):
        self.socket.settimeout(self.timeout)
        self.socket.sendall(_bytes(data))
        return self

    def drip(self, data, size=1, pause=0.01):
        """Sends in pieces, each in a segment of its own as far as the kernel lets us."""
        data = _bytes(data)
        for start in range(0, len(data), size):
            self.send(data[start:start + size])
            time.sleep(pause)
        return self

    def send_with_fin(self, data):
        """The last bytes and the FIN in one segment: the peer's event says readable and closed at once."""
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
        self.send(data)
        self.half_close()
        return self

    def half_close(self):
        self.socket.shutdown(socket.SHUT_WR)
        return self

    def reset(self):
        """RST: the peer's next read or write fails."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # Receiving

    def _fill(self, deadline):
        """More bytes into the buffer; False once the peer has finished."""
        if self.peer_finished:
            return False
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"nothing more came; so far: {bytes(self.buffer[:200])!r}")
        self.socket.settimeout(left)
        try:
            piece = self.socket.recv(256 * 1024)
        except socket.timeout as error:
            raise TimeoutError(f"nothing more came; so far: {bytes(self.buffer[:200])!r}") from error
        except ConnectionError:
            piece = b""
        if not piece:
            self.peer_finished = True
            return False
        self.buffer += piece
        self.received += piece
        return True

    def _deadline(self, timeout=None):
        return time.monotonic() + (self.timeout if timeout is None else timeout)

    def _take(self, count):
        piece = bytes(self.buffer[:count])
        del self.buffer[:count]
        return piece

    def read_exactly(self, count, timeout=None):
        deadline = self._deadline(timeout)
        while len(self.buffer) < count:
            if not self._fill(deadline):
                raise WireClosed(f"closed after {len(self.buffer)} of {count} bytes")
        return self._take(count)

    def skip_exactly(self, count, timeout=None):
        """Reads bytes that nobody will look at, without keeping them."""
        deadline = self._deadline(timeout)
        while count > len(self.buffer):
            count -= len(self.buffer)
            self.buffer.clear()
            self.received.clear()
            if not self._fill(deadline):
                raise WireClosed(f"closed {count} bytes too early")
        self._take(count)

    def read_line(self, timeout=None):
        """One line without its CRLF. A bare CR or LF is an error."""
        deadline = self._deadline(timeout)
        while True:
            at = self.buffer.find(b"\n")
            if at >= 0:
                line = self._take(at + 1)
                if not line.endswith(b"\r\n") or b"\r" in line[:-2]:
                    raise WireError(f"line does not end in CRLF alone: {line!r}")
                return line[:-2]
            if not self._fill(deadline):
                raise WireClosed(f"closed inside a line: {bytes(self.buffer)!r}")

    def read_until_close(self, timeout=None):
        """All that still comes. TimeoutError when the peer stays open."""
        deadline = self._deadline(timeout)
        while self._fill(deadline):
            pass
        return self._take(len(self.buffer))

    def is_closed(self, timeout=2.0):
        """Whether the peer closes within a while, without a byte more."""
        try:
            return self.read_until_close(timeout) == b""
        except TimeoutError:
            return False

    def is_silent(self, seconds=0.2):
        """Whether the peer neither sends nor closes for a while."""
        if self.buffer:
            return False
        try:
            self._fill(self._deadline(seconds))
        except TimeoutError:
            return True
        return False

    def read_fields(self):
        """Field lines up to and including the empty line."""
        fields, raw = [], b""
        while True:
            line = self.read_line()
            raw += line + b"\r\n"
            if not line:
                return Headers(fields), raw
            name, colon, value = line.partition(b":")
            if not colon or not TOKEN.match(name):
                raise WireError(f"bad field name: {line!r}")
            value = value.strip(b" \t")
            if not FIELD_VALUE.match(value):
                raise WireError(f"bad field value: {line!r}")
            fields.append((name, value))

    def read_request_head(self):
        """The next request's head, or None when the peer closed between requests."""
        try:
            while not self.buffer:
                if not self._fill(self._deadline()):
                    return None
        except TimeoutError:
            return None
        line = self.read_line()
        parts = REQUEST_LINE.match(line)
        if not parts:
            raise WireError(f"bad request line: {line!r}")
        headers, raw = self.read_fields()
        request = Request(line + b"\r\n" + raw, parts[1].decode(), parts[2].decode(), int(parts[3]), headers)
        length_of(request.headers)  # an ambiguous request is an error here, before any body
        return request

    def read_request_body(self, request):
        length = length_of(request.headers)
        if length == "chunked":
            self._read_chunks(request)
        elif length:
            request.body = self.read_exactly(length)
        request.complete = True
        return request

    def read_response_head(self):
        line = self.read_line()
        parts = STATUS_LINE.match(line)
        if not parts:
            raise WireError(f"bad status line: {line!r}")
        headers, raw = self.read_fields()
        return Response(line + b"\r\n" + raw, int(parts[2]), parts[3].decode("latin-1"), int(parts[1]), headers)

    def read_response(self, method="GET", body=True):
        """One whole answer with the 1xx before it. The method matters: HEAD has a length but no body."""
        interim = []
        while True:
            response = self.read_response_head()
            if response.status >= 200 or response.status == 101:
                break
            if length_of(response.headers) is not None:
                raise WireError(f"{response.status} with a body length")
            interim.append(response)
        response.interim = interim
        if body:
            self.read_response_body(response, method)
        return response

    def read_response_or_close(self, method="GET"):
        """An answer, or None where the peer rightly closed (or reset) without one."""
        try:
            return self.read_response(method)
        except WireClosed:
            return None

    def read_response_body(self, response, method="GET"):
        length = length_of(response.headers)
        if response.status in (204, 304) or response.status < 200 or method == "HEAD":
            if response.status == 204 and length is not None:
                raise WireError("204 with a body length (RFC 9110 8.6)")
        elif length == "chunked":
            self._read_chunks(response)
        elif length is not None:
            response.body = self.read_exactly(length)
        else:
            response.body = self.read_until_close()
            response.ended_by_close = True
        response.complete = True
        return response

    def _read_chunks(self, message):
        body = bytearray()
        while True:
            line = self.read_line()
            if not CHUNK_SIZE.match(line):
                raise WireError(f"bad chunk size line: {line!r}")
            size = int(line, 16)
            if size == 0:
                break
            message.chunks.append(size)
            body += self.read_exactly(size)
            message.body = bytes(body)
            if self.read_exactly(2) != b"\r\n":
                raise WireError("a chunk does not end where its size says")
        message.body = bytes(body)
        message.trailers, _ = self.read_fields()


def length_of(headers):
    """The body's length by its fields: a number, "chunked", or None; anything ambiguous raises (RFC 9112 6.3)."""
    lengths, codings = headers.all("Content-Length"), headers.all("Transfer-Encoding")
    if lengths and codings:
        raise WireError("Content-Length beside Transfer-Encoding")
    if len(lengths) > 1 or len(codings) > 1:
        raise WireError(f"repeated framing field: {lengths + codings}")
    if codings:
        if codings[0].lower() != "chunked":
            raise WireError(f"Transfer-Encoding: {codings[0]}")
        return "chunked"
    if lengths:
        if not re.fullmatch(r"[0-9]{1,18}", lengths[0]):
            raise WireError(f"Content-Length: {lengths[0]}")
        return int(lengths[0])
    return None


def chunked(*pieces, trailers=(), extension=b""):
    """A body in chunks."""
    data = b"".join(b"%x%s\r\n%s\r\n" % (len(piece), extension, piece) for piece in pieces)
    return data + b"0\r\n" + b"".join(b"%s: %s\r\n" % (_bytes(n), _bytes(v)) for n, v in trailers) + b"\r\n"


def request_bytes(method="GET", target="/", headers=(), body=None, host="gateway.test", version="1.1"):
    """A well-formed request; a body of bytes gets its Content-Length. `host=None` leaves Host out."""
    lines = [f"{method} {target} HTTP/{version}"]
    if host is not None:
        lines.append(f"Host: {host}")
    lines += [f"{name}: {value}" for name, value in (headers.items() if isinstance(headers, dict) else headers)]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + (body or b"")


def response_bytes(status=200, headers=(), body=b"", reason="OK", version="1.1", length=True):
    """A well-formed answer; `length=False` leaves the framing to the caller."""
    lines = [f"HTTP/{version} {status} {reason}"]
    lines += [f"{name}: {value}" for name, value in (headers.items() if isinstance(headers, dict) else headers)]
    if length and status not in (204, 304):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + _bytes(body)


def connect(address, timeout=TIMEOUT_SECONDS, source=None, receive_buffer=None, segment=None):
    """A fresh connection. For readers that are slow on purpose `receive_buffer` bounds what the kernel takes in here, and a
    short `segment` what it takes at the other end, whose send buffer has room for a number of segments."""
    host, port = address
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    connected = socket.socket(family, socket.SOCK_STREAM)
    if receive_buffer:
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    if segment:
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, segment)
    if source:
        connected.bind((source, 0))
    connected.settimeout(timeout)
    connected.connect((host, port))
    return Wire(connected, timeout)
