#!/usr/bin/env python3
"""A small HTTP/1.1 service to put behind Sluice: it says who answered and what arrived.

    python3 examples/service.py --port 9001 --name one

Every answer is JSON: the instance's name, the method, path, query, headers and body size as the service
saw them, so `curl` shows at a glance what the gateway changed on the way. Three paths do something more:

    /health       answers 200 at once, for health checks
    /slow/SECONDS answers after a while, to watch time limits and draining
    /status/CODE  answers with that status, to watch retries and error pages

Python's standard library only. One asyncio loop serves all connections, which stay open between requests.
"""
import argparse
import asyncio
import http
import json
import signal
import sys
import urllib.parse

HEAD_BYTES_MAX = 64 * 1024
BODY_BYTES_MAX = 64 * 1024 * 1024
IDLE_SECONDS_MAX = 75


class BadRequest(Exception):
    """The bytes on the wire are no request this service can read."""


async def read_head(reader):
    """The request line and the header fields, or None when the client has closed the connection."""
    try:
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), IDLE_SECONDS_MAX)
    except (asyncio.IncompleteReadError, asyncio.TimeoutError, ConnectionError):
        return None
    except asyncio.LimitOverrunError as error:
        raise BadRequest("the request head is too long") from error
    request_line, *lines = head[:-4].decode("latin-1").split("\r\n")
    try:
        method, target, version = request_line.split(" ")
        headers = [(name.lower(), value.strip()) for name, value in (line.split(":", 1) for line in lines)]
    except ValueError as error:
        raise BadRequest("the request head is malformed") from error
    return method, target, version, headers


async def read_body(reader, headers):
    """The request body; the length comes from Content-Length or from the chunks themselves."""
    fields = dict(headers)
    if fields.get("transfer-encoding", "").lower() == "chunked":
        return await read_chunks(reader)
    try:
        length = int(fields.get("content-length", "0"))
    except ValueError as error:
        raise BadRequest("Content-Length is no number") from error
    if not 0 <= length <= BODY_BYTES_MAX:
        raise BadRequest("the request body is too long")
    return await reader.readexactly(length)


async def read_chunks(reader):
    body = bytearray()
    while True:
        line = await reader.readuntil(b"\r\n")
        try:
            size = int(line.split(b";")[0], 16)
        except ValueError as error:
            raise BadRequest("a chunk's size is no hexadecimal number") from error
        if size == 0:
            break
        if len(body) + size > BODY_BYTES_MAX:
            raise BadRequest("the request body is too long")
        body += await reader.readexactly(size)
        if await reader.readexactly(2) != b"\r\n":
            raise BadRequest("a chunk does not end where its size says")
    while await reader.readuntil(b"\r\n") != b"\r\n":
        pass  # trailers are read and dropped
    return bytes(body)


async def answer(name, method, target, headers, body):
    """The status and the JSON document for one request."""
    url = urllib.parse.urlsplit(target)
    kind, _, argument = url.path.strip("/").partition("/")
    status = 200
    if kind == "slow":
        await asyncio.sleep(min(float(argument), 60))
    elif kind == "status":
        status = int(argument)
        if not 200 <= status <= 599:
            raise ValueError(argument)
    document = {
        "instance": name,
        "method": method,
        "path": url.path,
        "query": url.query,
        "headers": {field: value for field, value in headers},
        "bodyBytes": len(body),
    }
    return status, document


def write_response(writer, method, status, document, keep_alive):
    body = json.dumps(document, indent=2).encode() + b"\n"
    try:
        phrase = http.HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    has_body = status not in (204, 304)
    head = [f"HTTP/1.1 {status} {phrase}", f"X-Instance: {document.get('instance', '')}"]
    if has_body:
        head += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    if not keep_alive:
        head.append("Connection: close")
    writer.write("\r\n".join(head).encode() + b"\r\n\r\n" + (body if has_body and method != "HEAD" else b""))


async def serve_connection(name, reader, writer):
    """One client connection: requests are answered in turn until one side wants to stop."""
    try:
        keep_alive = True
        while keep_alive:
            try:
                head = await read_head(reader)
                if head is None:
                    break
                method, target, version, headers = head
                fields = dict(headers)
                if fields.get("expect", "").lower() == "100-continue":
                    writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                body = await read_body(reader, headers)
                connection = fields.get("connection", "").lower()
                keep_alive = "close" not in connection and version == "HTTP/1.1"
                try:
                    status, document = await answer(name, method, target, headers, body)
                except ValueError:
                    status, document = 404, {"instance": name, "error": "no such path"}
                write_response(writer, method, status, document, keep_alive)
            except BadRequest as error:
                keep_alive = False
                write_response(writer, "GET", 400, {"instance": name, "error": str(error)}, keep_alive)
            await writer.drain()
    except (ConnectionError, asyncio.IncompleteReadError):
        pass  # the client went away: nobody is left to answer
    finally:
        writer.close()


async def main():
    parser = argparse.ArgumentParser(description="A small HTTP/1.1 service to put behind Sluice.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=9001, help="port to listen on, 0 picks one (default: %(default)s)")
    parser.add_argument("--name", help="what this instance calls itself (default: its port)")
    arguments = parser.parse_args()

    name = arguments.name or str(arguments.port)
    connections = set()

    async def on_connection(reader, writer):
        task = asyncio.current_task()
        connections.add(task)
        try:
            await serve_connection(name, reader, writer)
        except asyncio.CancelledError:
            pass  # the service stops; nobody awaits this task but asyncio's own callback, which would print a traceback
        finally:
            connections.discard(task)

    server = await asyncio.start_server(on_connection, arguments.host, arguments.port, limit=HEAD_BYTES_MAX, backlog=1024)
    port = server.sockets[0].getsockname()[1]
    print(f"service {name} listens on {arguments.host}:{port}", flush=True)

    stop = asyncio.Event()
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(signal_number, stop.set)
    await stop.wait()
    server.close()
    for task in connections:
        task.cancel()
    await asyncio.gather(*connections, return_exceptions=True)
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
