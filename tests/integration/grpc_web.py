"""gRPC's messages and gRPC-Web's frames as bytes, for tests on both sides of the gateway."""
import base64
import struct


def message(content, flags=0):
    """A length-prefixed message."""
    return struct.pack(">BI", flags, len(content)) + content


def frames(data):
    """What a body holds, as (flags, content); the whole of it must be frames."""
    found = []
    while data:
        flags, length = struct.unpack(">BI", data[:5])
        assert len(data) >= 5 + length, f"a frame of {length} bytes is cut off: {data!r}"
        found.append((flags, data[5:5 + length]))
        data = data[5 + length:]
    return found


def decoded(text):
    """Base64 with padding at the end of any group of four."""
    assert len(text) % 4 == 0, f"not whole groups: {text!r}"
    return b"".join(base64.b64decode(text[at:at + 4], validate=True) for at in range(0, len(text), 4))


def answer_of(response):
    """The messages and the trailers of a gRPC-Web answer."""
    text = response.headers["Content-Type"].startswith("application/grpc-web-text")
    found = frames(decoded(response.body) if text else response.body)
    assert found and found[-1][0] == 0x80, f"no frame of trailers at the end: {found}"
    lines = found[-1][1].decode("latin-1").split("\r\n")
    assert lines.pop() == "", "the last line of the trailers has no end"
    return [content for flags, content in found[:-1]], dict(line.split(": ", 1) for line in lines)
