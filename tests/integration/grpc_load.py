"""Steady traffic by grpcio (load.py's twin), to a grpc_service.GrpcService."""
import queue

import grpc

from grpc_service import GrpcClient
from load import Traffic


class GrpcTraffic(Traffic):
    """A call that fails for whatever reason is `broken`."""

    def __init__(self, address, pause=0.005):
        super().__init__()
        self.address, self.pause = "%s:%d" % address, pause

    def _client(self):
        with GrpcClient(self.address) as client:
            try:
                self._use(client)
            except Exception as error:
                self._failed(error)

    def _use(self, client):
        raise NotImplementedError


class GrpcCalls(GrpcTraffic):
    """Unary calls, one after another. Without a connection they wait for one."""

    def _use(self, client):
        while not self._ended.is_set():
            request = b"%d" % self.answers
            try:
                response, _ = client.unary(request, wait_for_ready=True, timeout=30)
                assert response == request, (response, request)
                self._answered()
            except grpc.RpcError as error:
                self._broke(f"{error.code()} {error.details()}")
            self._ended.wait(self.pause)


class GrpcTalk(GrpcTraffic):
    """One call, in which each message is answered before the next one is sent."""

    def _use(self, client):
        asked = queue.Queue()
        try:
            heard = client.talk(iter(asked.get, None), timeout=None)
            while not self._ended.is_set():
                asked.put(b"%d" % self.answers)
                response = next(heard)
                assert response == b"heard %d" % self.answers, response
                self._answered()
                self._ended.wait(self.pause)
            asked.put(None)
            assert list(heard) == []
        except grpc.RpcError as error:
            self._broke(f"{error.code()} {error.details()}")
        finally:
            asked.put(None)
