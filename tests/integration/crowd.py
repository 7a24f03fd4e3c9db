"""Many WebSockets at once, in processes of their own: a test's process has neither the descriptors nor the time for both ends.

    crowd.py backend              prints its port; accepts WebSockets and echoes small frames, until standard input ends
    crowd.py clients PORT COUNT   opens so many, says "open"; then, for each line it is given: "talk" sends a message on each
                                  and waits for all echoes, "leave" counts who gets a close frame 1001; answers with a number
"""
import base64
import hashlib
import resource
import selectors
import socket
import sys

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
# What a browser sends.
ASK = (b"GET /chat HTTP/1.1\r\nHost: gateway.test\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:109.0) Gecko/20100101 Firefox/117.0\r\n"
       b"Accept: */*\r\nAccept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br\r\nSec-WebSocket-Version: 13\r\n"
       b"Origin: https://gateway.test\r\nSec-WebSocket-Extensions: permessage-deflate\r\nSec-WebSocket-Key: " + KEY +
       b"\r\nConnection: keep-alive, Upgrade\r\nCookie: session=0123456789abcdef0123456789abcdef\r\nUpgrade: websocket\r\n\r\n")
SWITCH = (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
          + base64.b64encode(hashlib.sha1(KEY + GUID).digest()) + b"\r\n\r\n")
MASK = b"\1\2\3\4"
MESSAGE = b"\x81\x85" + MASK + bytes(a ^ b for a, b in zip(b"hello", MASK + MASK))
ECHO = b"\x81\x05hello"


def take(connected):
    try:
        return connected.recv(4096)
    except OSError:
        return b""


def serve():
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    listener.setblocking(False)
    print(listener.getsockname()[1], flush=True)
    events = selectors.EpollSelector()
    events.register(listener, selectors.EVENT_READ)
    events.register(sys.stdin, selectors.EVENT_READ)
    while True:
        for key, _ in events.select():
            if key.fileobj is sys.stdin:
                return
            if key.fileobj is listener:
                connected, _ = listener.accept()
                events.register(connected, selectors.EVENT_READ)
                continue
            received = take(key.fileobj)
            if not received:
                events.unregister(key.fileobj)
                key.fileobj.close()
            elif received.startswith(b"GET "):
                key.fileobj.send(SWITCH)
            elif received[0] == 0x81:
                key.fileobj.send(ECHO)
            else:
                key.fileobj.send(b"\x88\x02\x03\xe9")


def crowd(port, count):
    sockets = []
    for _ in range(count):
        connected = socket.create_connection(("127.0.0.1", port), 30)
        connected.sendall(ASK)
        answer = connected.recv(4096)
        assert answer.startswith(b"HTTP/1.1 101 ") and answer.endswith(b"\r\n\r\n"), answer
        sockets.append(connected)
    print("open", flush=True)
    for order in sys.stdin:
        if order.strip() == "talk":
            for connected in sockets:
                connected.sendall(MESSAGE)
            print(sum(connected.recv(100) == ECHO for connected in sockets), flush=True)
        else:
            print(sum(connected.recv(100) == b"\x88\x02\x03\xe9" for connected in sockets), flush=True)


if __name__ == "__main__":
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if sys.argv[1] == "backend":
        serve()
    else:
        crowd(int(sys.argv[2]), int(sys.argv[3]))
