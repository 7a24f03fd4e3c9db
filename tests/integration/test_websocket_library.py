"""WebSockets between the clients and servers that people use: python3-websockets at both ends, compression and all."""
import asyncio
import threading

import pytest
import websockets

from gateway import proxy


class Server:
    """websockets' own server on a loop of its own."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.closed = []  # (code, reason) as handlers saw them
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        self.server = self._run(self._start())
        self.port = self.server.sockets[0].getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"

    async def _start(self):
        return await websockets.serve(self._handle, "127.0.0.1", 0, max_size=None, subprotocols=["v2.chat", "v1.chat"])

    def _run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(20)

    async def _handle(self, connection, path="/"):
        if connection.path == "/closes":
            await connection.close(4002, "go away")
        try:
            async for message in connection:
                await connection.send(message)
        except websockets.ConnectionClosed:
            pass
        self.closed.append((connection.close_code, connection.close_reason))

    def stop(self):
        async def close():
            self.server.close()
            await self.server.wait_closed()
        self._run(close())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)


@pytest.fixture(scope="module")
def server():
    made = Server()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def running(module_gateway, server):
    return module_gateway(proxy(server))


def talk(running, path, conversation, **options):
    async def run():
        async with websockets.connect(f"ws://127.0.0.1:{running.port}{path}", max_size=None, open_timeout=10, **options) as connection:
            return await conversation(connection)
    return asyncio.run(asyncio.wait_for(run(), 60))


@pytest.mark.parametrize("compression", [None, "deflate"])
def test_text_and_binary_of_any_size_come_back(running, compression):
    async def conversation(connection):
        assert bool(connection.extensions) == bool(compression)
        for message in ("", "grüß dich", "x" * 125, "y" * 126, "z" * 70_000, b"", bytes(range(256)) * 5000, "large " * 500_000):
            await connection.send(message)
            assert await connection.recv() == message
    talk(running, "/", conversation, compression=compression)


def test_a_message_in_fragments_comes_back_whole(running):
    async def conversation(connection):
        async def pieces():
            for i in range(50):
                yield f"piece {i} "
        await connection.send(pieces())
        assert await connection.recv() == "".join(f"piece {i} " for i in range(50))
    talk(running, "/", conversation)


def test_pings_are_answered_by_the_server(running):
    async def conversation(connection):
        for _ in range(3):
            await asyncio.wait_for(await connection.ping(), 10)
        await connection.send("still here")
        assert await connection.recv() == "still here"
    talk(running, "/", conversation)


def test_the_server_chooses_among_the_clients_subprotocols(running):
    async def conversation(connection):
        return connection.subprotocol
    assert talk(running, "/", conversation, subprotocols=["v1.chat"]) == "v1.chat"
    assert talk(running, "/", conversation, subprotocols=["v0.chat", "v2.chat"]) == "v2.chat"
    assert talk(running, "/", conversation) is None


def test_what_the_client_says_at_its_close_reaches_the_server(running, server):
    async def conversation(connection):
        await connection.close(4001, "that's it")
        return connection.close_code
    assert talk(running, "/", conversation) == 4001
    running.wait_for_metric("sluice_websocket_closes_total", lambda count: count >= 1, side="client", code="other")
    assert (4001, "that's it") in server.closed


def test_what_the_server_says_at_its_close_reaches_the_client(running):
    async def conversation(connection):
        with pytest.raises(websockets.ConnectionClosed):
            await connection.recv()
        return connection.close_code, connection.close_reason
    assert talk(running, "/closes", conversation) == (4002, "go away")
    running.wait_for_metric("sluice_websocket_closes_total", lambda count: count >= 1, side="backend", code="other")


def test_many_talk_at_once_and_nobody_hears_another(running):
    async def one(number):
        async with websockets.connect(f"ws://127.0.0.1:{running.port}/", open_timeout=20) as connection:
            for i in range(20):
                message = f"{number}-{i} " * (1 + number * 7 % 400)
                await connection.send(message)
                assert await connection.recv() == message

    async def all_of_them():
        await asyncio.gather(*(one(number) for number in range(60)))
    asyncio.run(asyncio.wait_for(all_of_them(), 60))
    assert running.gauges_at_zero()
