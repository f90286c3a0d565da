"""Local servers: some play a script of replies and keep what they were asked, some play no good reply at all."""

import json
import socket
import struct
import threading
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Request:
    """What a client sent."""

    path: str
    headers: Mapping[str, str]
    body: Any


@dataclass(frozen=True)
class Reply:
    """What the server answers; bytes go out as they are, anything else as JSON."""

    body: Any = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    late: float = 0.0
    """Seconds until it comes."""
    cut: bool = False
    """The line is closed in place of an answer."""


class Server:
    """Answers each request with the next reply, and with the last one from then on.

    A reply may be made from its request, where several come at once.
    """

    def __init__(self, *script: Reply | Callable[[Request], Reply]) -> None:
        self.script = script
        self.requests: list[Request] = []
        self._lock = threading.Lock()
        self._closing = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                server._play(self)

            def log_message(self, *_: Any) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}"

    def _play(self, handler: BaseHTTPRequestHandler) -> None:
        body = json.loads(handler.rfile.read(int(handler.headers["content-length"])))
        request = Request(handler.path, {k.lower(): v for k, v in handler.headers.items()}, body)
        with self._lock:
            chosen = self.script[min(len(self.requests), len(self.script) - 1)]
            self.requests.append(request)
        reply = chosen if isinstance(chosen, Reply) else chosen(request)
        if reply.late:
            self._closing.wait(reply.late)
        handler.close_connection = True
        if reply.cut or self._closing.is_set():
            return
        data = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
        handler.send_response(reply.status)
        for name, value in {"Content-Type": "application/json", **reply.headers}.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    def __enter__(self) -> "Server":
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._closing.set()
        self._http.shutdown()
        self._http.server_close()


Play = Callable[[socket.socket, threading.Event], None]
"""Plays a reply on a connection whose request was read, unless the event ends the play."""
OPENAI_SAYS = json.dumps({"choices": [{"message": {"content": "A"}, "finish_reason": "stop"}]}).encode()
GEMINI_SAYS = json.dumps(
    {"candidates": [{"content": {"parts": [{"text": "A"}], "role": "model"}, "finishReason": "STOP"}]}
).encode()
SAYS = json.dumps(json.loads(OPENAI_SAYS) | json.loads(GEMINI_SAYS)).encode()
"""An answer to clients of both systems."""


def head(status: str = "200 OK", **headers: Any) -> bytes:
    """A status line with headers; `_` in a name stands for `-`."""
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""]).encode()


def whole(body: bytes, status: str = "200 OK", **headers: Any) -> bytes:
    """A reply with its length."""
    return head(status, Content_Type="application/json", Content_Length=len(body), **headers) + body


def says(*parts: bytes) -> Play:
    """Sends some bytes and closes."""

    def play(line: socket.socket, _: threading.Event) -> None:
        for part in parts:
            line.sendall(part)

    return play


def forever(start: bytes, part: bytes, pause: float = 0.0) -> Play:
    """Sends a beginning, then a part again and again, until the client goes."""

    def play(line: socket.socket, ending: threading.Event) -> None:
        line.sendall(start)
        while not ending.wait(pause) if pause else not ending.is_set():
            line.sendall(part)

    return play


def silent(line: socket.socket, ending: threading.Event) -> None:
    """Says nothing."""
    ending.wait(60)


def reset(line: socket.socket, _: threading.Event) -> None:
    """Begins a reply and resets the connection."""
    line.sendall(head(Content_Length=1000) + b"{")
    line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _zipped(data: bytes, wbits: int = 31) -> bytes:
    machine = zlib.compressobj(9, wbits=wbits)
    return machine.compress(data) + machine.flush()


@cache
def _bomb(wbits: int) -> bytes:
    """An answer and a hundred megabytes of spaces behind it, in a tenth of a megabyte."""
    return _zipped(SAYS + b" " * 100_000_000, wbits)


ROGUES: dict[str, tuple[Callable[[], Play], str]] = {
    # takes its time
    "drips the body": (lambda: forever(head(Content_Length=100_000), b" ", 0.05), "timeout"),
    "drips the headers": (lambda: forever(b"HTTP/1.1 200 OK\r\nX: ", b"x", 0.05), "timeout"),
    "drips the status line": (lambda: forever(b"H", b"T", 0.05), "timeout"),
    "drips chunks": (lambda: forever(head(Transfer_Encoding="chunked"), b"1\r\n \r\n", 0.05), "timeout"),
    "drips provisional replies": (lambda: forever(b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.05), "timeout"),
    "says nothing": (lambda: silent, "timeout"),
    # does not end
    "never ends the headers": (
        lambda: forever(b"HTTP/1.1 200 OK\r\n", b"X-More: and more of it\r\n"),
        "connection (RemoteProtocolError)",
    ),
    "never ends one header": (
        lambda: forever(b"HTTP/1.1 200 OK\r\nX: ", b"x" * 999),
        "connection (RemoteProtocolError)",
    ),
    "never ends the body": (lambda: forever(head(), b" " * 2**16), "reply too long"),
    "never ends the chunks": (
        lambda: forever(head(Transfer_Encoding="chunked"), b"1000\r\n" + b" " * 4096 + b"\r\n"),
        "reply too long",
    ),
    "never ends the provisional replies": (
        lambda: forever(b"", b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" * 99),
        "reply too long or timeout",
    ),
    "sends 50 MB": (lambda: says(head(Content_Length=50_000_000), *[b" " * 1_000_000] * 50), "reply too long"),
    # inflates
    "gzip bomb": (lambda: says(whole(_bomb(31), Content_Encoding="gzip")), "reply too long"),
    "deflate bomb": (lambda: says(whole(_bomb(15), Content_Encoding="deflate")), "reply too long"),
    "gzip in gzip": (
        lambda: says(whole(_zipped(_zipped(SAYS)), Content_Encoding="gzip, gzip")),
        "encoding not asked for",
    ),
    "encoding unknown": (lambda: says(whole(SAYS, Content_Encoding="br")), "encoding not asked for"),
    "gzip damaged": (
        lambda: says(whole(b"\x1f\x8b" + SAYS, Content_Encoding="gzip")),
        "connection (DecodingError)",
    ),
    "gzip cut": (lambda: says(whole(_zipped(SAYS)[:-9], Content_Encoding="gzip")), "connection (DecodingError)"),
    "gzip that is none": (lambda: says(whole(SAYS, Content_Encoding="gzip")), "connection (DecodingError)"),
    # is cut
    "closes at once": (lambda: says(), "connection (RemoteProtocolError)"),
    "cut in the headers": (lambda: says(b"HTTP/1.1 200 OK\r\nContent-"), "connection (RemoteProtocolError)"),
    "cut in the body": (lambda: says(head(Content_Length=999) + SAYS[:9]), "connection (RemoteProtocolError)"),
    "cut in a chunk": (
        lambda: says(head(Transfer_Encoding="chunked") + b"50\r\n{"),
        "connection (RemoteProtocolError)",
    ),
    "reset in the body": (lambda: reset, "connection (ReadError)"),
    # is no HTTP
    "no HTTP": (lambda: says(b"220 smtp.example ESMTP\r\n"), "connection (RemoteProtocolError)"),
    "HTTP 0.9": (lambda: says(SAYS), "connection (RemoteProtocolError)"),
    "random bytes": (lambda: says(bytes(range(256)) * 9), "connection (RemoteProtocolError)"),
    "status 000": (lambda: says(whole(SAYS, "000 No")), "connection (RemoteProtocolError)"),
    "status 1000": (lambda: says(whole(SAYS, "1000 No")), "connection (RemoteProtocolError)"),
    "another protocol": (
        lambda: says(head("101 Switching Protocols", Upgrade="h2c", Connection="upgrade")),
        "connection (RemoteProtocolError)",
    ),
    "status 999": (lambda: says(whole(SAYS, "999 No")), "HTTP 999"),
    "two lengths": (
        lambda: says(head(Content_Length=3)[:-2] + b"Content-Length: 5\r\n\r\n" + SAYS),
        "connection (RemoteProtocolError)",
    ),
    "negative length": (lambda: says(head(Content_Length=-5) + SAYS), "connection (RemoteProtocolError)"),
    "chunk of no size": (
        lambda: says(head(Transfer_Encoding="chunked") + b"zz\r\n" + SAYS),
        "connection (RemoteProtocolError)",
    ),
    # says something else
    "no content": (lambda: says(head("204 No Content")), "malformed reply"),
    "a page": (lambda: says(whole(b"<html>It works!</html>", Server="x")), "malformed reply"),
    "half of the JSON": (lambda: says(whole(SAYS[: len(SAYS) // 2])), "malformed reply"),
    "JSON in UTF-16": (lambda: says(whole(SAYS.decode().encode("utf-16"))), "malformed reply"),
    "deep JSON": (lambda: says(whole(b"[" * 100_000 + b"]" * 100_000)), "malformed reply"),
    "deep JSON inside": (
        lambda: says(whole(b'{"choices": ' + b"[" * 99_999 + b"]" * 99_999 + b', "candidates": 1}')),
        "malformed reply",
    ),
    "wrong types": (
        lambda: says(whole(b'{"choices": {"0": "A"}, "candidates": {"content": "A"}, "error": []}')),
        "malformed reply",
    ),
    "a long number": (lambda: says(whole(b"9" * 10_000)), "malformed reply"),
    "a stream of events": (
        lambda: says(whole(b"data: " + SAYS + b"\n\ndata: [DONE]\n\n", Content_type="text/event-stream")),
        "malformed reply",
    ),
}
"""Servers that give no answer: what plays each, and the reason under which the picture is counted."""


class Rogue:
    """A server of bare sockets: it reads a request and plays what is no good reply."""

    def __init__(self, play: Play, read: bool = True) -> None:
        self.play, self.read = play, read
        self.requests: list[bytes] = []
        self._ending = threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def __enter__(self) -> "Rogue":
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def _serve(self) -> None:
        while True:
            try:
                line, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(line,), daemon=True).start()

    def _answer(self, line: socket.socket) -> None:
        with line, suppress(OSError):  # the client goes when it has had enough
            if self.read:
                self.requests.append(_request(line))
            self.play(line, self._ending)

    def __exit__(self, *_: Any) -> None:
        self._ending.set()
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


def _request(line: socket.socket) -> bytes:
    """A whole request, by its length."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += line.recv(2**16) or b"\r\n\r\n"
    top, _, body = data.partition(b"\r\n\r\n")
    length = next(int(part.split(b":")[1]) for part in top.split(b"\r\n") if part.lower().startswith(b"content-length"))
    while len(body) < length:
        body += line.recv(2**16)
    return top + b"\r\n\r\n" + body
