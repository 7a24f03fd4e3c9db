"""gRPC for the tests, by grpcio, messages being plain bytes: a service of every kind of method, and calls to it."""
import concurrent.futures
import threading

import grpc

BIG = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


class GrpcService(grpc.GenericRpcHandler):
    """Serves on a port of its own from its start; `calls` is what came: (method, metadata, seconds left)."""

    def __init__(self, name="one", credentials=None):
        self.name = name
        self.calls = []
        self.release, self.cancelled = threading.Event(), threading.Event()
        self._server = grpc.server(concurrent.futures.ThreadPoolExecutor(32), handlers=[self], options=BIG)
        self.port = (self._server.add_secure_port("127.0.0.1:0", credentials) if credentials
                     else self._server.add_insecure_port("127.0.0.1:0"))
        self._server.start()

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def stop(self):
        self.release.set()
        self._server.stop(0).wait(10)

    def service(self, details):
        kinds = {"Unary": (grpc.unary_unary_rpc_method_handler, self._unary),
                 "Fail": (grpc.unary_unary_rpc_method_handler, self._fail),
                 "Hang": (grpc.unary_unary_rpc_method_handler, self._hang),
                 "Download": (grpc.unary_stream_rpc_method_handler, self._download),
                 "Upload": (grpc.stream_unary_rpc_method_handler, self._upload),
                 "Talk": (grpc.stream_stream_rpc_method_handler, self._talk)}
        known = kinds.get(details.method.rsplit("/", 1)[1])
        return known and known[0](self._noted(details, known[1]))

    def _noted(self, details, behaviour):
        def run(request, context):
            self.calls.append((details.method, dict(context.invocation_metadata()), context.time_remaining()))
            return behaviour(request, context)
        return run

    def _unary(self, request, context):
        context.send_initial_metadata((("x-served-by", self.name),))
        context.set_trailing_metadata((("x-length", str(len(request))), ("x-raw-bin", bytes(range(256)))))
        return request

    def _fail(self, request, context):
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not yet: 100 % ready, für dich")

    def _hang(self, request, context):
        context.add_callback(self.cancelled.set)
        self.release.wait(20)
        return b"late"

    def _download(self, request, context):
        for number in range(int(request)):
            yield b"%d" % number

    def _upload(self, requests, context):
        return b"%d" % sum(len(request) for request in requests)

    def _talk(self, requests, context):
        for request in requests:
            yield b"heard " + request


class GrpcClient:
    """Calls to one address, over one connection."""

    def __init__(self, address, credentials=None, options=()):
        options = [*BIG, *options]
        self.channel = (grpc.secure_channel(address, credentials, options) if credentials
                        else grpc.insecure_channel(address, options))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.channel.close()

    def unary(self, request=b"hello", method="Unary", service="test.Echo", **options):
        """The response and the call."""
        return self.channel.unary_unary(f"/{service}/{method}").with_call(request, **{"timeout": 10, **options})

    def status(self, request=b"hello", **options):
        """The code and the message of a call that fails."""
        try:
            self.unary(request, **options)
        except grpc.RpcError as error:
            return error.code(), error.details()
        return grpc.StatusCode.OK, ""

    def download(self, count, **options):
        return self.channel.unary_stream("/test.Echo/Download")(b"%d" % count, **{"timeout": 20, **options})

    def upload(self, requests, **options):
        return self.channel.stream_unary("/test.Echo/Upload")(requests, **{"timeout": 20, **options})

    def talk(self, requests, **options):
        return self.channel.stream_stream("/test.Echo/Talk")(requests, **{"timeout": 20, **options})
