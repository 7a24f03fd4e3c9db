"""WebSocket on a bare wire, frame by frame, for both ends of a test: what a library would hide is what is looked at here.

    ws = open_websocket(gateway, "/chat")           a client: the handshake is checked, frames are masked
    backend.on("/chat", switch(echo_frames))        a backend: sends its 101, then the steps get (ws, request)
"""
import base64
import collections
import hashlib
import os
import struct

from backend import Finished
from h2_client import Answer
from wire import WireClosed, WireError, request_bytes

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
KEY = "dGhlIHNhbXBsZSBub25jZQ=="

Frame = collections.namedtuple("Frame", "fin opcode payload masked")


def accept_of(key):
    return base64.b64encode(hashlib.sha1(key.encode() + GUID).digest()).decode()


def frame_bytes(payload=b"", opcode=BINARY, fin=True, masked=False, first_byte=None):
    """`first_byte` sets reserved bits and opcodes that nobody has defined."""
    head = bytes([(0x80 if fin else 0) | opcode if first_byte is None else first_byte])
    mask_bit = 0x80 if masked else 0
    if len(payload) < 126:
        head += bytes([mask_bit | len(payload)])
    elif len(payload) < 65536:
        head += struct.pack("!BH", mask_bit | 126, len(payload))
    else:
        head += struct.pack("!BQ", mask_bit | 127, len(payload))
    if not masked:
        return head + payload
    mask = os.urandom(4)
    return head + mask + apply_mask(payload, mask)


def apply_mask(payload, mask):
    if not payload:
        return b""
    whole = (mask * (len(payload) // 4 + 1))[:len(payload)]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(whole, "big")).to_bytes(len(payload), "big")


def close_payload(code, reason=b""):
    return struct.pack("!H", code) + reason


class WebSocket:
    def __init__(self, wire, response=None, is_client=True):
        self.wire, self.response, self.is_client = wire, response, is_client

    def send(self, payload=b"", opcode=BINARY, **more):
        self.wire.send(frame_bytes(payload, opcode, masked=self.is_client, **more))
        return self

    def close(self, code=1000, reason=b""):
        return self.send(close_payload(code, reason), CLOSE)

    def read(self, timeout=None):
        """The next frame. That a client's are masked and a server's are not is checked (RFC 6455 5.1)."""
        first, second = self.wire.read_exactly(2, timeout)
        length, masked = second & 0x7F, bool(second & 0x80)
        if length == 126:
            length, = struct.unpack("!H", self.wire.read_exactly(2, timeout))
        elif length == 127:
            length, = struct.unpack("!Q", self.wire.read_exactly(8, timeout))
        mask = self.wire.read_exactly(4, timeout) if masked else b""
        payload = self.wire.read_exactly(length, timeout)
        if masked == self.is_client:
            raise WireError("a frame is masked that mustn't be, or isn't though it must")
        return Frame(bool(first & 0x80), first & 0x0F, apply_mask(payload, mask) if masked else payload, masked)

    def expect(self, payload, opcode=BINARY, timeout=None):
        frame = self.read(timeout)
        assert (frame.opcode, frame.payload) == (opcode, payload), frame
        return frame

    def expect_close(self, code, timeout=None):
        frame = self.read(timeout)
        assert frame.opcode == CLOSE and frame.payload[:2] == struct.pack("!H", code), frame

    def sees_end(self, timeout=5):
        """The peer has finished (or reset) and said nothing more."""
        return self.wire.is_closed(timeout)


def handshake(target="/", headers=(), key=KEY, version="13", connection="Upgrade", upgrade="websocket", **more):
    fields = [("Connection", connection), ("Upgrade", upgrade), ("Sec-WebSocket-Key", key), ("Sec-WebSocket-Version", version)]
    fields = [(name, value) for name, value in fields if value is not None]
    return request_bytes("GET", target, fields + list(headers), **more)


def open_websocket(gateway, target="/", headers=(), behind=b"", receive_buffer=None, **more):
    """`behind`: bytes sent together with the request."""
    wire = gateway.connect(receive_buffer=receive_buffer)
    wire.send(handshake(target, headers, **more) + behind)
    return finish_opening(wire, more.get("key", KEY))


def finish_opening(wire, key=KEY):
    response = wire.read_response(body=False)
    assert response.status == 101, response
    assert response.headers["Upgrade"] == "websocket" and response.headers["Connection"].lower() == "upgrade"
    assert response.headers["Sec-WebSocket-Accept"] == accept_of(key)
    assert "Content-Length" not in response.headers and "Transfer-Encoding" not in response.headers
    return WebSocket(wire, response)


# Steps of a backend

def switch_head(request, headers=()):
    fields = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Accept": accept_of(request.headers["Sec-WebSocket-Key"]), **dict(headers)}
    return ("HTTP/1.1 101 Switching Protocols\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields.items()) + "\r\n").encode()


def switch(*steps, headers=(), behind=b""):
    """The 101, and then steps of (ws, request). After the last one the connection is closed."""
    def step(wire, request):
        wire.send(switch_head(request, headers) + behind)
        ws = WebSocket(wire, is_client=False)
        for one in steps:
            one(ws, request)
        raise Finished
    return step


def echo_frames(ws, request):
    """Each frame comes back as it is; a close is answered, and the connection then closed, as a server does."""
    while True:
        frame = ws.read(timeout=60)
        if frame.opcode == PING:
            ws.send(frame.payload, PONG)
            continue
        ws.send(frame.payload, frame.opcode, fin=frame.fin)
        if frame.opcode == CLOSE:
            return


def keep_frames(into):
    """Notes every frame until the client has gone."""
    def step(ws, request):
        try:
            while True:
                into.append(ws.read(timeout=60))
        except (WireClosed, OSError):
            return
    return step


# The same on streams of HTTP/2 (RFC 8441): what stands in for a wire

class ClientStream:
    """A stream of h2_client.H2Client."""

    def __init__(self, client, number):
        self.client, self.number, self.at = client, number, 0
        self.answer = client.answers[number]

    def send(self, data):
        self.client.send_body(self.number, data, end=False)
        return self

    def half_close(self):
        self.client.h2.end_stream(self.number)
        self.client.flush()
        return self

    def reset(self):
        self.client.reset(self.number)

    def _is_over(self):
        return self.answer.complete or self.answer.reset is not None

    def read_exactly(self, count, timeout=None):
        self.client.wait_for(lambda: len(self.answer.body) >= self.at + count or self._is_over(), timeout)
        if len(self.answer.body) < self.at + count:
            raise WireClosed(f"the stream ended: {self.answer}")
        self.at += count
        return self.answer.body[self.at - count:self.at]

    def is_closed(self, timeout=2.0):
        self.client.wait_for(self._is_over, timeout)
        return len(self.answer.body) == self.at


def ask_for_websocket_h2(client, target="/", headers=()):
    """Returns the stream's number. It may not be asked for before the server's SETTINGS offer it."""
    client.wait_for(lambda: client.settings_seen)
    assert client.h2.remote_settings.enable_connect_protocol == 1
    number = client.h2.get_next_available_stream_id()
    client.h2.send_headers(number, [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":authority", "gateway.test"),
                                    (":path", target), ("sec-websocket-version", "13"), *headers])
    client.answers[number] = Answer()
    client.flush()
    return number


def open_websocket_h2(client, target="/", headers=()):
    stream = ClientStream(client, ask_for_websocket_h2(client, target, headers))
    client.wait_for(lambda: stream.answer.status is not None)
    assert stream.answer.status == 200, stream.answer
    left = {"upgrade", "connection", "sec-websocket-accept", "sec-websocket-key", "content-length"} & set(stream.answer.headers.names())
    assert not left, left
    return WebSocket(stream, stream.answer)


class BackendStream:
    """A stream of h2_backend's."""

    def __init__(self, stream):
        self.stream, self.buffer, self.pieces = stream, bytearray(), stream.pieces()

    def send(self, data):
        self.stream.data(data)
        return self

    def read_exactly(self, count, timeout=None):
        while len(self.buffer) < count:
            piece = next(self.pieces, None)
            if piece is None:
                raise WireClosed(f"the stream ended with {bytes(self.buffer)!r}")
            self.buffer += piece
        taken = bytes(self.buffer[:count])
        del self.buffer[:count]
        return taken

    def read_until_close(self):
        return bytes(self.buffer) + b"".join(self.pieces)


def switch_h2(*steps, headers=()):
    """The 200, and then steps of (ws, request); use it behind before_body. After the last one the backend's side ends."""
    def step(stream):
        assert stream.request.pseudo[":method"] == "CONNECT" and stream.request.pseudo[":protocol"] == "websocket"
        stream.head(200, headers)
        ws = WebSocket(BackendStream(stream), is_client=False)
        try:
            for one in steps:
                one(ws, stream.request)
        except WireClosed:
            pass  # the client has finished, and so does a server then
        stream.data(b"", end=True)
    return step
