"""An HTTP transport that no server can hold, fill or lead elsewhere; for clients that send a secret and wait.

An attempt is bounded as a whole: in seconds from the first byte of the connection to the last of the reply, in bytes
read and in bytes inflated. The lookup of the host's name is not, which the system bounds. Every attempt has a
connection of its own, so nothing that a server sends beyond its reply is taken for the next one. Of the reply's headers
only Retry-After is handed on: no redirect can be followed and no cookie kept. Imports the clients; import it late.
"""

import logging
import socket
import ssl
import time
import urllib.request
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from urllib.parse import urlsplit

import httpcore2
import httpx2

from interp.errors import InterpError

LARGEST = 2**20
"""Bytes of a reply with its headers, and again of what it inflates to. An answer has a few thousand."""
PIECE = 2**14
"""Bytes that are written between two looks at the clock."""
HANDED_ON = (b"retry-after",)
INFLATED: Mapping[bytes, int] = {b"gzip": 31, b"x-gzip": 31, b"deflate": 15}
"""Encodings that are read although none is asked for, by zlib's number."""
Reduce = Callable[[int, bytes], bytes]
"""From a reply's status and body to what of the body is handed on."""

_asking: ContextVar[bool] = ContextVar("asking", default=False)


class Unusable(Exception):
    """A reply that is not read to its end; another attempt would give the same."""


class _NotAsking(logging.Filter):
    """Drops what httpcore2 logs of an attempt, headers and all: the server may have put the key into them."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not _asking.get()


for _name in ("connection", "http11", "proxy"):
    logging.getLogger(f"httpcore2.{_name}").addFilter(_NotAsking())


class _Left:
    """What an attempt may still take."""

    def __init__(self, seconds: float, size: int) -> None:
        self._end = time.monotonic() + seconds
        self._size = size

    def seconds(self) -> float:
        left = self._end - time.monotonic()
        if left <= 0:
            raise httpcore2.ReadTimeout("out of time")
        return left

    def take(self, size: int) -> None:
        self._size -= size
        if self._size < 0:
            raise Unusable("reply too long")


class _Stream(httpcore2.NetworkStream):
    """A connection under one attempt's bounds; the timeouts of single calls are not looked at."""

    def __init__(self, inner: httpcore2.NetworkStream, left: _Left) -> None:
        self._inner = inner
        self._left = left

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        data = self._inner.read(max_bytes, self._left.seconds())
        self._left.take(len(data))
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for start in range(0, len(buffer), PIECE):
            self._inner.write(buffer[start : start + PIECE], self._left.seconds())

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, self._left.seconds()), self._left)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class _Backend(httpcore2.NetworkBackend):
    """Connects under one attempt's bounds."""

    def __init__(self, left: _Left) -> None:
        self._left = left

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:
        failed = httpcore2.ConnectError("no address")
        for place in _places(host, port):
            try:
                inner = httpcore2.SyncBackend().connect_tcp(place, port, self._left.seconds(), None, socket_options)
            except httpcore2.ConnectError as error:
                failed = error
            else:
                return _Stream(inner, self._left)
        raise failed


def _places(host: str, port: int) -> Iterator[str]:
    """The addresses of a host; each is tried within the time that is left, not within all of it again."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        found = []
    yield from dict.fromkeys(str(entry[4][0]) for entry in found)


class Transport(httpx2.BaseTransport):
    """Sends requests to one server under bounds."""

    def __init__(self, url: str, seconds: float, size: int = LARGEST, reduce: Reduce | None = None) -> None:
        """Look up the proxy for a server, if the environment names one.

        Args:
            url: the server's.
            seconds: of one attempt as a whole.
            size: bytes of a reply, and bytes that it may inflate to.
            reduce: what of a reply's body is handed on; all if None.

        Raises:
            InterpError: the proxy is none of HTTP.
        """
        self._seconds, self._size, self._reduce = seconds, size, reduce
        self._ssl = httpx2.create_ssl_context() if url.startswith("https:") else None
        self._proxy = _proxy(url)

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send once and read the whole reply."""
        with _errors(), _unlogged(), self._pool(_Left(self._seconds, self._size)) as pool:
            reply = pool.handle_request(_plain(request))
            try:
                body = reply.read()
            finally:
                reply.close()
        encoding = b",".join(value for name, value in reply.headers if name.lower() == b"content-encoding")
        body = inflated(body, encoding, self._size)
        headers = [(name, value) for name, value in reply.headers if name.lower() in HANDED_ON]
        return httpx2.Response(
            reply.status, headers=headers, content=self._reduce(reply.status, body) if self._reduce else body
        )

    def _pool(self, left: _Left) -> httpcore2.ConnectionPool:
        settings: dict[str, Any] = {"ssl_context": self._ssl, "network_backend": _Backend(left)}
        if self._proxy is None:
            return httpcore2.ConnectionPool(**settings)
        return httpcore2.HTTPProxy(
            proxy_url=str(self._proxy.url),
            proxy_auth=self._proxy.raw_auth,
            proxy_headers=self._proxy.headers.raw,
            **settings,
        )


def _plain(request: httpx2.Request) -> httpcore2.Request:
    """A request as the connection takes it; it asks for a reply that need not be inflated."""
    url = request.url
    where = httpcore2.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
    own = (b"accept-encoding", b"connection")
    headers = [(name, value) for name, value in request.headers.raw if name.lower() not in own]
    headers += [(b"Accept-Encoding", b"identity"), (b"Connection", b"close")]
    return httpcore2.Request(request.method, where, headers=headers, content=request.read())


def _proxy(url: str) -> httpx2.Proxy | None:
    """The proxy that the environment names for a server."""
    parts = urlsplit(url)
    named = urllib.request.getproxies()
    given = named.get(parts.scheme) or named.get("all")
    if not given or urllib.request.proxy_bypass(parts.netloc):
        return None
    try:
        proxy = httpx2.Proxy(given if "://" in given else f"http://{given}")
    except (ValueError, httpx2.InvalidURL):
        proxy = None
    if proxy is None or proxy.url.scheme not in ("http", "https"):
        raise InterpError(
            f"the environment's proxy for {parts.scheme} is no HTTP proxy; correct {parts.scheme.upper()}_PROXY or "
            f"name {parts.hostname} in NO_PROXY"
        )
    return proxy


@contextmanager
def _errors() -> Iterator[None]:
    """Failures of the connection as httpx2's, without their words, which may be the server's, and without a cause."""
    try:
        yield
        return
    except httpcore2.TimeoutException:
        kind: type[httpx2.TransportError] = httpx2.ReadTimeout
    except (httpcore2.NetworkError, httpcore2.ProtocolError, httpcore2.ProxyError) as error:
        kind = getattr(httpx2, type(error).__name__, httpx2.TransportError)
    raise kind("")


@contextmanager
def _unlogged() -> Iterator[None]:
    before = _asking.set(True)
    try:
        yield
    finally:
        _asking.reset(before)


def inflated(body: bytes, encoding: bytes, size: int) -> bytes:
    """A body without its encoding.

    Args:
        body: as it was read.
        encoding: of its header.
        size: bytes that it may inflate to.

    Raises:
        Unusable: it would be longer, or the encoding is another or one on another.
        httpx2.DecodingError: it is damaged or ends too early.
    """
    names = [name for part in encoding.lower().split(b",") if (name := part.strip()) not in (b"", b"identity")]
    if not names:
        return body
    if len(names) > 1 or names[0] not in INFLATED:
        raise Unusable("encoding not asked for")
    machine = zlib.decompressobj(INFLATED[names[0]])
    try:
        out = machine.decompress(body, size + 1)
    except zlib.error:
        raise httpx2.DecodingError("") from None
    if len(out) > size:
        raise Unusable("reply too long")
    if not machine.eof:
        raise httpx2.DecodingError("")
    return out
