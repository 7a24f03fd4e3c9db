"""A gRPC service for tests, test.Words, once over HTTP/1.1 with trailers behind the chunks and once by grpcio.

    message Word { string text = 1; uint32 number = 2; }
    Echo(Word) returns (Word)             the same word; trailing metadata x-cost
    Refuse(Word) returns (Word)           NOT_FOUND with the text as message
    Count(Word) returns (stream Word)     1 to number; each but the first waits for `go_on`
    BreakOff(Word) returns (stream Word)  two words, then RESOURCE_EXHAUSTED
"""
import concurrent.futures
import threading

import grpc

from grpc_web import frames, message
from wire import WireError, chunked, response_bytes

COST = ("x-cost", "3")


class Refusal(Exception):
    def __init__(self, code, text):
        super().__init__(text)
        self.code, self.text = code, text


def _varint(value):
    found = b""
    while value > 127:
        found += bytes([value & 127 | 128])
        value >>= 7
    return found + bytes([value])


def word(text="", number=0):
    content = text.encode()
    return (b"\x0a" + _varint(len(content)) + content if text else b"") + (b"\x10" + _varint(number) if number else b"")


def word_of(data):
    """(text, number)."""
    found, at = {1: b"", 2: 0}, 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value
    while at < len(data):
        tag = varint()
        if tag >> 3 == 1:
            length = varint()
            found[1], at = data[at:at + length], at + length
        else:
            found[2] = varint()
    return found[1].decode(), found[2]


class Words:
    """What the service does, whichever way it is spoken to."""

    def __init__(self):
        self.calls = []  # (method, (text, number), metadata) in order of arrival
        self.go_on = threading.Semaphore(0)

    def answers(self, method, data, metadata):
        """The messages of an answer as they come; Refusal where it ends badly."""
        text, number = word_of(data)
        self.calls.append((method, (text, number), metadata))
        if method == "Echo":
            yield word(text, number)
        elif method == "Refuse":
            raise Refusal(grpc.StatusCode.NOT_FOUND, text)
        elif method == "Count":
            for one in range(1, number + 1):
                if one > 1 and not self.go_on.acquire(timeout=30):
                    return
                yield word(text, one)
        elif method == "BreakOff":
            yield word(text, 1)
            yield word(text, 2)
            raise Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "that was all")


class WordsOverHttp1(Words):
    """By a backend of the tests. A refusal before any message comes in the head, as trailers-only."""

    CODE_WHEN_GONE = 14  # UNAVAILABLE: the gateway's answer is gRPC, whatever the service speaks

    def __init__(self, new_backend):
        super().__init__()
        self.backend = new_backend("words")
        self.backend.by_default(self.serve)
        self.service = {"name": "words", "instances": [self.backend.address]}

    def serve(self, wire, request):
        if request.headers["Content-Type"].split("+")[0] != "application/grpc" or request.headers["TE"] != "trailers":
            raise WireError(f"no gRPC: {request.headers}")
        [(_, data)] = frames(request.body)
        metadata = {name.lower(): value for name, value in request.headers}
        outcome, begun = [("grpc-status", "0")], False
        try:
            for content in self.answers(request.target.split("/")[-1], data, metadata):
                if not begun:
                    wire.send(response_bytes(headers={"Content-Type": "application/grpc", "Transfer-Encoding": "chunked"}, length=False))
                    begun = True
                piece = message(content)
                wire.send(b"%x\r\n%s\r\n" % (len(piece), piece))
        except Refusal as refusal:
            outcome = [("grpc-status", str(refusal.code.value[0])), ("grpc-message", percent_encoded(refusal.text))]
        if begun:
            wire.send(chunked(trailers=[*outcome, COST]))
        else:
            wire.send(response_bytes(headers=[("Content-Type", "application/grpc"), *outcome, COST]))

    def stop(self):
        self.backend.stop()


def percent_encoded(text):
    """As gRPC writes grpc-message: printable ASCII but for the per cent sign."""
    return "".join(chr(byte) if 0x20 <= byte <= 0x7e and byte != 0x25 else f"%{byte:02X}" for byte in text.encode())


class WordsByGrpcio(Words):
    """By grpcio, over HTTP/2."""

    CODE_WHEN_GONE = 14  # UNAVAILABLE: the gateway's answer is gRPC
    METHODS = {"Echo": False, "Refuse": False, "Count": True, "BreakOff": True}  # does it stream?

    def __init__(self, new_backend=None):
        super().__init__()
        self.server = grpc.server(concurrent.futures.ThreadPoolExecutor(16))
        handlers = {method: self.handler(method, streams) for method, streams in self.METHODS.items()}
        self.server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("test.Words", handlers)])
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()
        self.service = {"name": "words", "protocol": "grpc", "instances": [f"127.0.0.1:{self.port}"]}

    def handler(self, method, streams):
        def answer(data, context):
            context.set_trailing_metadata([COST])
            metadata = dict(context.invocation_metadata())
            remaining = context.time_remaining()
            if remaining is not None and remaining < 1e6:
                metadata["grpc-timeout"] = f"{int(remaining * 1000)}m"
            try:
                yield from self.answers(method, data, metadata)
            except Refusal as refusal:
                context.abort(refusal.code, refusal.text)
        if streams:
            return grpc.unary_stream_rpc_method_handler(answer)
        return grpc.unary_unary_rpc_method_handler(lambda data, context: next(answer(data, context)))

    def stop(self):
        self.server.stop(None).wait(10)
